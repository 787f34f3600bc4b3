"""The stress by Numba with every column that Margrave gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba as nb
import numpy as np
import polars as pl

import scenarios
from exchange import Exchange
from peers import linear
from peers.csr import build, rows_of_accounts
from peers.linear import Linear
from peers.net import net
from peers.numba_kernels import (
    FAST,
    STATUS_BANKRUPT,
    STATUS_BELOW,
    STATUS_FLAT,
    STATUS_HEALTHY,
    STATUS_LIQUIDATION,
)
from peers.numba_stress import CHUNK, first_lowest, gather, reach, require, tables_of
from peers.outcomes import names_of, together
from peers.polars_sweep import STATUS
from peers.task import Task
from peers.terms import read_terms

LIQUIDATABLE, NEWLY, BANKRUPT = range(3)
NOTIONAL, BAD_DEBT, DEFICIT = range(3)
COUNTS = ["liquidatable_accounts", "newly_liquidatable_accounts", "bankrupt_accounts"]
SUMS = ["liquidatable_notional", "total_bad_debt", "total_margin_deficit"]


@dataclass(frozen=True)
class Prepared:
    """A book under maintenance and under initial rules. `idle` accounts hold and owe nothing."""

    book: Linear
    opening: Linear
    idle: linear.Array


def wide(exchange: Exchange) -> Task:
    """Return the work `w2`, all columns."""
    marks, prices = scenarios.moved(exchange, scenarios.draw(exchange))
    # The market as given is one more scenario, the last.
    nothing = scenarios.draw(exchange)[:1].with_columns(price_shock=0.0)
    still = scenarios.moved(exchange, nothing)
    moves = np.hstack([marks, still[0]]), np.hstack([prices, still[1]])
    names = names_of(exchange)
    few = replace(exchange, positions=exchange.positions[:1000], balances=exchange.balances[:1000])
    stress(prepare(few), *moves)
    prepared = prepare(exchange)
    return Task(
        lambda: stress(prepared, *moves), lambda found: _frame(prepared.book.ids, names, *found)
    )


def prepare(exchange: Exchange) -> Prepared:
    """Return the book of these frames under the exchange's rules."""
    terms = read_terms(exchange)
    book = net(build(exchange), terms)
    owner = rows_of_accounts(book.cash_offsets)
    owes = np.bincount(owner[book.amount < 0.0], minlength=len(book.ids)) > 0
    kept, opening = (linear.fold(book, exchange, terms, n) for n in ("maintenance", "initial"))
    return Prepared(kept, opening, book.flat & ~owes)


def stress(prepared: Prepared, marks: linear.Floats, prices: linear.Floats) -> Any:
    """Return counts and sums by scenario, and the columns of the accounts."""
    book, opening = prepared.book, prepared.opening
    moved = linear.move(book, marks, prices)
    counts, sums, columns = put_through(
        book.offsets,
        book.code.view(np.uint32),
        (book.buffer, opening.buffer, book.equity, book.size),
        prepared.idle,
        tables_of(book),
        tables_of(opening),
        moved.worth,
        moved.least,
        moved.most,
        moved.scenarios - 1,
        len(book.unit),
    )
    return counts.sum(axis=0), sums.sum(axis=0), columns


def _frame(ids: pl.Series, names: pl.Series, counts: Any, sums: Any, columns: Any) -> pl.DataFrame:
    worst, lowest, status, bad_debt, flagged = columns
    by_scenario = {"scenario_id": names, "accounts": [len(ids)] * len(names)}
    by_scenario |= dict(zip(COUNTS, counts, strict=True))
    by_scenario |= dict(zip(SUMS, sums, strict=True))
    by_account = {
        "account_id": ids,
        "worst_scenario": names.gather(worst),
        "margin_buffer": lowest,
        "status": pl.Series(status).cat.to(STATUS),
        "bad_debt": bad_debt,
        "scenarios_liquidatable": flagged,
    }
    return together(pl.DataFrame(by_scenario), pl.DataFrame(by_account))


@nb.njit(inline="always")
def in_one(
    begin: int, end: int, code: Any, times: Any, sizes: Any, tables: Any, worth: Any, at: int
) -> float:
    """Return the buffer of an account in one scenario."""
    floors, rates, _, deductions, scale = tables
    buffer = 0.0
    for j in range(begin, end):
        c = code[j]
        buffer += times[j] * worth[c, at]
        if sizes[j] * worth[c, at] >= floors[c, 0] * worth[scale[c], at]:
            k = reach(c, sizes[j] * worth[c, at] / worth[scale[c], at], floors)
            if k >= 0:
                more = sizes[j] * rates[c, k] * worth[c, at]
                buffer -= more - deductions[c, k] * worth[scale[c], at]
    return buffer


@nb.njit(parallel=True, fastmath=FAST, cache=True)
def put_through(
    offsets: Any,
    code: Any,
    numbers: Any,
    idle: Any,
    tables: Any,
    opening_tables: Any,
    worth: Any,
    least: Any,
    most: Any,
    scenarios: int,
    contracts: int,
) -> Any:
    """Return counts and sums by chunk and scenario, and the columns of the accounts. The market as
    given is scenario number `scenarios`, which has no tally."""
    times, opening, equities, sizes = numbers
    floors = tables[0]
    accounts, width = len(offsets) - 1, worth.shape[1]
    chunks = (accounts + CHUNK - 1) // CHUNK
    counts, sums = np.zeros((chunks, 3, width), dtype=np.int64), np.zeros((chunks, 3, width))
    worst, lowest = np.empty(accounts, dtype=np.int64), np.empty(accounts)
    status, bad_debt = np.empty(accounts, dtype=np.uint8), np.empty(accounts)
    flagged = np.empty(accounts, dtype=np.int64)
    for chunk in nb.prange(chunks):
        buffer, equity, notional = np.empty(width), np.empty(width), np.empty(width)
        count, total = counts[chunk], sums[chunk]
        for i in range(chunk * CHUNK, min(accounts, (chunk + 1) * CHUNK)):
            begin, end = offsets[i], offsets[i + 1]
            gather(buffer, begin, end, code, times, worth)
            for j in range(begin, end):
                if sizes[j] * most[code[j]] >= floors[code[j], 0]:
                    require(buffer, code[j], sizes[j], least, most, tables, worth)
            at, low = first_lowest(buffer, scenarios)
            worst[i], lowest[i], bad_debt[i], flagged[i] = at, low, 0.0, 0
            if low < 0.0:
                last = begin
                while last < end and code[last] < contracts:
                    last += 1
                gather(equity, begin, end, code, equities, worth)
                gather(notional, begin, last, code, sizes, worth)
                is_new = buffer[scenarios] >= 0.0
                past = 0
                for k in range(width):
                    is_past = buffer[k] < 0.0
                    past += is_past and k < scenarios
                    count[LIQUIDATABLE, k] += is_past
                    count[NEWLY, k] += is_past and is_new
                    count[BANKRUPT, k] += equity[k] < 0.0
                    total[NOTIONAL, k] += notional[k] if is_past else 0.0
                    total[BAD_DEBT, k] -= min(equity[k], 0.0)
                    total[DEFICIT, k] -= min(buffer[k], 0.0)
                flagged[i], bad_debt[i] = past, max(0.0, -equity[at])
            if idle[i]:
                status[i] = STATUS_FLAT
            elif bad_debt[i] > 0.0:
                status[i] = STATUS_BANKRUPT
            elif low < 0.0:
                status[i] = STATUS_LIQUIDATION
            elif in_one(begin, end, code, opening, sizes, opening_tables, worth, at) < 0.0:
                status[i] = STATUS_BELOW
            else:
                status[i] = STATUS_HEALTHY
    columns = (worst, lowest, status, bad_debt, flagged)
    return counts[:, :, :scenarios], sums[:, :, :scenarios], columns
