"""The sweep of a netted book by Numba, all columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from peers import numba_kernels as kernels
from peers.net import Array, Net
from peers.terms import Terms


def lines_of(terms: Terms) -> tuple[Array, Array]:
    """Return the numbers of each instrument in a line, and rates and deductions by bracket."""
    names = ["a", "b", "c", "value", "second_floor", "maintenance_rate", "initial_rate"]
    line = np.column_stack([terms.numbers(name) for name in [*names, "mark_price"]])
    rates = [
        table[name]
        for name in ("maintenance", "initial")
        for table in (terms.rates, terms.deductions)
    ]
    return np.ascontiguousarray(line), np.ascontiguousarray(np.stack(rates, axis=2))


def sweep_wide(book: Net, terms: Terms, weights: Array) -> Any:
    """Return status, flag and the columns of figures."""
    line, rates = lines_of(terms)
    # The factor of the entry sum, whichever it is.
    line[:, kernels.A] += line[:, kernels.C]
    return kernels.wide(
        book.offsets,
        book.code,
        book.quantity,
        book.entry_sum,
        book.flat,
        book.cash_offsets,
        book.asset,
        book.amount,
        line,
        terms.floors,
        rates,
        weights,
    )
