"""The stress by products of matrices, in blocks of accounts whose buffers stay in the cache:

    buffers = holdings @ worth - owners @ maximum(0, hinges @ worth)

and equity by one more. `by_numpy` does the products by NumPy alone, on one thread;
`scipy_stress` by sparse matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import scenarios
from exchange import Exchange
from peers import linear
from peers.linear import Array, Floats, Linear
from peers.outcomes import Outcomes, names_of, to_frame
from peers.task import Task

Product = Callable[[Floats, Array, Array, Floats], Floats]
"""From values, columns and offsets of the rows of a sparse matrix, and a dense one, to their
product."""


def by_numpy(exchange: Exchange) -> Task:
    """Return the work `w2` by NumPy."""
    return task(exchange, dense, block=256, workers=1)


def task(exchange: Exchange, product: Product, *, block: int, workers: int) -> Task:
    """Return the work `w2` by these products, so many accounts at a time."""
    moves = scenarios.moved(exchange, scenarios.draw(exchange))
    book, names = linear.prepare(exchange), names_of(exchange)
    return Task(
        lambda: stress(book, *moves, product, block, workers),
        lambda found: to_frame(book.ids, names, found),
    )


def dense(values: Floats, columns: Array, offsets: Array, other: Floats) -> Floats:
    """Return the product, each row's terms laid out and added; `reduceat` knows no empty row."""
    found = np.zeros((len(offsets) - 1, other.shape[1]))
    filled = np.flatnonzero(offsets[:-1] < offsets[1:])
    if len(filled):
        terms = other.take(columns, axis=0)
        terms *= values[:, None]
        found[filled] = np.add.reduceat(terms, offsets[filled], axis=0)
    return found


def stress(
    book: Linear, marks: Floats, prices: Floats, product: Product, block: int, workers: int
) -> Outcomes:
    """Return what the scenarios do."""
    moved = linear.move(book, marks, prices)
    hinges = linear.hinges(book, moved)
    # A hinge is a row of two: so many of the holding's thing, less so many of what it is paid in.
    ends = np.column_stack([hinges.code, hinges.scale]).astype(np.int32).ravel()
    slopes = np.column_stack([hinges.slope, -hinges.start]).ravel()
    owned = np.searchsorted(hinges.row, book.offsets)
    worth = np.ascontiguousarray(moved.worth[:, : moved.scenarios])
    worst = np.empty(book.accounts, dtype=np.int64)
    lowest = np.empty(book.accounts)

    def part(first: int) -> tuple[Array, Floats, Floats]:
        last = min(first + block, book.accounts)
        begin, end = book.offsets[first], book.offsets[last]
        codes = book.code[begin:end]
        rows = (book.offsets[first : last + 1] - begin).astype(np.int32)
        buffers = product(book.buffer[begin:end], codes, rows, worth)
        hinge = slice(2 * owned[first], 2 * owned[last])
        count = owned[last] - owned[first]
        pairs = np.arange(0, 2 * count + 1, 2, dtype=np.int32)
        more = product(slopes[hinge], ends[hinge], pairs, worth)
        np.maximum(more, 0.0, out=more)
        owners = (owned[first : last + 1] - owned[first]).astype(np.int32)
        each = np.arange(count, dtype=np.int32)
        buffers -= product(np.ones(count), each, owners, more)
        at = buffers.argmin(axis=1)
        worst[first:last], lowest[first:last] = at, buffers[np.arange(len(at)), at]
        equity = product(book.equity[begin:end], codes, rows, worth)
        flagged = np.count_nonzero(buffers < 0.0, axis=0)
        np.minimum(buffers, 0.0, out=buffers)
        np.minimum(equity, 0.0, out=equity)
        return flagged, -equity.sum(axis=0), -buffers.sum(axis=0)

    starts = range(0, book.accounts, block)
    if workers == 1:
        parts = [part(first) for first in starts]
    else:
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(part, starts))
    flagged, debts, deficits = (sum(column) for column in zip(*parts, strict=True))
    return Outcomes(flagged, debts, deficits, worst, lowest)
