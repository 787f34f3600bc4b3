"""The stress by Numba: accounts in parallel, all scenarios of one account at a time.

An account's scenarios are one line of numbers that stays in the cache; four holdings are added to
it at once, so that it is read and written a fourth as often. Compiling is outside the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numba as nb
import numpy as np

import scenarios
from exchange import Exchange
from peers import linear
from peers.linear import Linear
from peers.numba_kernels import FAST
from peers.outcomes import Outcomes, names_of, to_frame
from peers.task import Task

CHUNK = 512
"""Accounts of which one thread keeps the tallies."""


def thin(exchange: Exchange) -> Task:
    """Return the work `w2`."""
    moves = scenarios.moved(exchange, scenarios.draw(exchange))
    book, names = linear.prepare(exchange), names_of(exchange)
    few = replace(exchange, positions=exchange.positions[:1000], balances=exchange.balances[:1000])
    stress(linear.prepare(few), *moves)
    return Task(lambda: stress(book, *moves), lambda found: to_frame(book.ids, names, found))


def stress(book: Linear, marks: linear.Floats, prices: linear.Floats) -> Outcomes:
    """Return what the scenarios do."""
    moved = linear.move(book, marks, prices)
    flagged, deficits, debts, worst, lowest = put_through(
        book.offsets,
        book.code.view(np.uint32),
        book.buffer,
        book.equity,
        book.size,
        tables_of(book),
        moved.worth,
        moved.least,
        moved.most,
        moved.scenarios,
    )
    sums = (flagged.sum(axis=0), debts.sum(axis=0), deficits.sum(axis=0))
    return Outcomes(*sums, worst, lowest)


def tables_of(book: Linear) -> tuple[Any, ...]:
    """Return the tables as the kernels take them."""
    scale = book.scale.astype(np.uint32)
    return book.floors, book.rates, book.steps, book.deductions, scale


@nb.njit(inline="always")
def gather(total: Any, begin: int, end: int, code: Any, times: Any, worth: Any) -> None:
    """Set `total` to the sum of these holdings times their worth."""
    width, j = worth.shape[1], begin
    left = (end - begin) % 4
    if left == 0:
        total[:] = 0.0
    elif left == 1:
        a, p = worth[code[j]], times[j]
        for k in range(width):
            total[k] = p * a[k]
    elif left == 2:
        a, b, p, q = worth[code[j]], worth[code[j + 1]], times[j], times[j + 1]
        for k in range(width):
            total[k] = p * a[k] + q * b[k]
    else:
        a, b, c = worth[code[j]], worth[code[j + 1]], worth[code[j + 2]]
        p, q, r = times[j], times[j + 1], times[j + 2]
        for k in range(width):
            total[k] = p * a[k] + q * b[k] + r * c[k]
    j += left
    while j < end:
        a, b, c, d = worth[code[j]], worth[code[j + 1]], worth[code[j + 2]], worth[code[j + 3]]
        p, q, r, s = times[j], times[j + 1], times[j + 2], times[j + 3]
        for k in range(width):
            total[k] += (p * a[k] + q * b[k]) + (r * c[k] + s * d[k])
        j += 4


@nb.njit(inline="always")
def reach(code: int, notional: float, floors: Any) -> int:
    """Return the bracket of a notional, -1 for the first of all."""
    bracket = -1
    while bracket + 1 < floors.shape[1] and notional >= floors[code, bracket + 1]:
        bracket += 1
    return bracket


@nb.njit(inline="always")
def require(
    buffer: Any, code: int, size: float, least: Any, most: Any, tables: Any, worth: Any
) -> None:
    """Take what a large holding requires beyond the first bracket off `buffer`."""
    floors, rates, steps, deductions, scale = tables
    own, paid_in = worth[code], worth[scale[code]]
    low = reach(code, size * least[code], floors)
    if low >= 0:
        slope, start = size * rates[code, low], deductions[code, low]
        for k in range(len(buffer)):
            buffer[k] -= slope * own[k] - start * paid_in[k]
    for bracket in range(low + 1, reach(code, size * most[code], floors) + 1):
        slope = size * steps[code, bracket]
        start = steps[code, bracket] * floors[code, bracket]
        for k in range(len(buffer)):
            buffer[k] -= max(0.0, slope * own[k] - start * paid_in[k])


@nb.njit(inline="always")
def first_lowest(buffer: Any, scenarios: int) -> Any:
    """Return the first scenario with the lowest buffer, and that buffer."""
    lowest = np.inf
    for k in range(scenarios):
        lowest = min(lowest, buffer[k])
    at = 0
    while buffer[at] != lowest:
        at += 1
    return at, lowest


@nb.njit(parallel=True, fastmath=FAST, cache=True)
def put_through(
    offsets: Any,
    code: Any,
    times: Any,
    equities: Any,
    sizes: Any,
    tables: Any,
    worth: Any,
    least: Any,
    most: Any,
    scenarios: int,
) -> Any:
    """Return accounts past the line, their deficits and bad debts, by chunk and scenario, and each
    account's worst scenario and its buffer there. Equity is looked at only where the line is
    passed: no weight is above 1, so it is not below 0 elsewhere."""
    floors = tables[0]
    accounts, width = len(offsets) - 1, worth.shape[1]
    chunks = (accounts + CHUNK - 1) // CHUNK
    flagged = np.zeros((chunks, width), dtype=np.int64)
    deficits, debts = np.zeros((chunks, width)), np.zeros((chunks, width))
    worst, lowest = np.empty(accounts, dtype=np.int64), np.empty(accounts)
    for chunk in nb.prange(chunks):
        buffer, equity = np.empty(width), np.empty(width)
        past, lacks, owes = flagged[chunk], deficits[chunk], debts[chunk]
        for i in range(chunk * CHUNK, min(accounts, (chunk + 1) * CHUNK)):
            begin, end = offsets[i], offsets[i + 1]
            gather(buffer, begin, end, code, times, worth)
            for j in range(begin, end):
                if sizes[j] * most[code[j]] >= floors[code[j], 0]:
                    require(buffer, code[j], sizes[j], least, most, tables, worth)
            worst[i], lowest[i] = first_lowest(buffer, scenarios)
            if lowest[i] < 0.0:
                gather(equity, begin, end, code, equities, worth)
                for k in range(width):
                    past[k] += buffer[k] < 0.0
                    lacks[k] -= min(buffer[k], 0.0)
                    owes[k] -= min(equity[k], 0.0)
    return flagged[:, :scenarios], deficits[:, :scenarios], debts[:, :scenarios], worst, lowest
