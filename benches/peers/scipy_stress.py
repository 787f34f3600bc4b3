"""The stress by SciPy's sparse products, on one thread or, a block of accounts each, on all: the
products release the interpreter."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from exchange import Exchange
from peers.linear import Array, Floats
from peers.matrix_stress import task
from peers.process import threads
from peers.task import Task

BLOCK = 2048


def single(exchange: Exchange) -> Task:
    """Return the work `w2` on one thread."""
    return task(exchange, sparse, block=BLOCK, workers=1)


def threaded(exchange: Exchange) -> Task:
    """Return the work `w2`, blocks on all threads."""
    return task(exchange, sparse, block=BLOCK, workers=threads())


def sparse(values: Floats, columns: Array, offsets: Array, other: Floats) -> Floats:
    """Return the product."""
    shape = (len(offsets) - 1, len(other))
    product: Floats = np.asarray(csr_array((values, columns, offsets), shape=shape) @ other)
    return product
