"""The breach of every account by Numba, as everything but stable assets falls together.

At prices `t` times the marks, `t` from 1 down to 0, every holding of a plain exchange is worth
`fixed + moving t`: a linear contract settles in a stable asset, an inverse one in its own coin, so
that its worth stands still while the coin's falls. A hinge is linear in `t` too. The buffer is
therefore concave and made of straight pieces: from a point where it is below 0, steps along its
tangents climb to the one root and reach it. A contract that settles in another coin than its own
would bend the pieces; this peer refuses it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numba as nb
import numpy as np
import polars as pl

from exchange import Exchange
from peers import linear
from peers.csr import build
from peers.linear import Array, Floats, Linear
from peers.net import net
from peers.numba_kernels import FAST
from peers.numba_stress import reach, tables_of
from peers.task import Task
from peers.terms import read_terms

ROOT, NONE, BREACHED = range(3)
KINDS = pl.Enum(["root", "none", "breached"])
ENDLESS = 1e290
"""The notional of an inverse contract at a price next to 0; times any size it is a number still."""


def breach(exchange: Exchange) -> Task:
    """Return the work `breach`."""
    few = replace(exchange, positions=exchange.positions[:1000], balances=exchange.balances[:1000])
    solve(*prepare(few))
    prepared = prepare(exchange)
    ids = prepared[0].ids
    return Task(lambda: solve(*prepared), lambda found: _frame(ids, *found))


def prepare(exchange: Exchange) -> tuple[Linear, Floats, Array]:
    """Return the book, what a unit of each thing is worth at `t`, and which accounts are idle.

    Raises:
        ValueError: A contract's worth is not linear in `t`.
    """
    terms = read_terms(exchange)
    held = net(build(exchange), terms)
    book = linear.fold(held, exchange, terms)
    names = exchange.balances.schema["asset_id"]
    assert isinstance(names, pl.Enum)
    stable = set(exchange.assets.filter("is_stable")["asset_id"].cast(pl.String))
    moves = np.array([name not in stable for name in names.categories])
    prices = terms.assets["price"].to_numpy()
    settled_in_coin = moves.take(book.scale[: len(book.unit)] - len(book.unit))
    if not np.array_equal(settled_in_coin, book.inverse):
        raise ValueError("a contract settles in another coin than its own")
    value = terms.numbers("value")
    fixed = [np.where(book.inverse, value, 0.0), np.where(moves, 0.0, prices), np.ones(1)]
    moving = [np.where(book.inverse, 0.0, value), np.where(moves, prices, 0.0), np.zeros(1)]
    worth = np.column_stack([np.concatenate(fixed), np.concatenate(moving)])
    owner = np.repeat(np.arange(book.accounts), np.diff(held.cash_offsets))
    owes = np.bincount(owner[held.amount < 0.0], minlength=book.accounts) > 0
    return book, worth, held.flat & ~owes


def solve(book: Linear, worth: Floats, idle: Array) -> tuple[Array, Array]:
    """Return the shock and the kind of each account's breach."""
    # A contract's notional in its settle asset: an inverse one's grows without end as `t` falls.
    paid = worth.take(book.scale, axis=0)
    value = worth.sum(axis=1) / paid.sum(axis=1)
    most = np.where(paid[:, 1] > 0.0, ENDLESS, value)
    found: tuple[Array, Array] = roots(
        book.offsets,
        book.code.view(np.uint32),
        book.buffer,
        book.size,
        tables_of(book),
        worth,
        most,
        idle,
    )
    return found


def _frame(ids: pl.Series, shock: Array, kind: Array) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "account_id": ids,
            "breach_shock": pl.Series(shock).fill_nan(None),
            "breach_kind": pl.Series(kind).cat.to(KINDS),
        }
    )


@nb.njit(inline="always")
def tangent(fixed: float, moving: float, hinges: Any, count: int, t: float) -> Any:
    """Return the line that the buffer follows just above `t`, as its two numbers."""
    for k in range(count):
        constant, slope = hinges[k, 0], hinges[k, 1]
        height = constant + slope * t
        if height > 0.0 or (height == 0.0 and slope > 0.0):
            fixed -= constant
            moving -= slope
    return fixed, moving


@nb.njit(parallel=True, fastmath=FAST, cache=True)
def roots(
    offsets: Any,
    code: Any,
    times: Any,
    sizes: Any,
    tables: Any,
    worth: Any,
    most: Any,
    idle: Any,
) -> Any:
    """Return shock (NaN without a root) and kind by account."""
    floors, _, steps, _, scale = tables
    accounts = len(offsets) - 1
    shock, kind = np.empty(accounts), np.empty(accounts, dtype=np.uint8)
    chunks = (accounts + 511) // 512
    for chunk in nb.prange(chunks):
        hinges = np.empty((floors.size, 2))  # rows are netted: no account has more
        for i in range(chunk * 512, min(accounts, (chunk + 1) * 512)):
            fixed, moving, count = 0.0, 0.0, 0
            for j in range(offsets[i], offsets[i + 1]):
                c = code[j]
                fixed += times[j] * worth[c, 0]
                moving += times[j] * worth[c, 1]
                if sizes[j] * most[c] >= floors[c, 0]:
                    last = reach(c, sizes[j] * most[c], floors)
                    paid = scale[c]
                    for k in range(last + 1):
                        slope, start = sizes[j] * steps[c, k], steps[c, k] * floors[c, k]
                        hinges[count, 0] = slope * worth[c, 0] - start * worth[paid, 0]
                        hinges[count, 1] = slope * worth[c, 1] - start * worth[paid, 1]
                        count += 1
            shock[i] = np.nan
            here = tangent(fixed, moving, hinges, count, 1.0)
            if here[0] + here[1] < 0.0 and not idle[i]:
                kind[i] = BREACHED
                continue
            kind[i] = NONE
            # Where the line at the marks meets 0 the buffer is not above it: a start nearby.
            t = max(0.0, -here[0] / here[1]) if here[1] > 0.0 else 0.0
            constant, slope = tangent(fixed, moving, hinges, count, t)
            while constant + slope * t < 0.0 and slope > 0.0:
                further = -constant / slope
                if further <= t:
                    break
                t = further
                constant, slope = tangent(fixed, moving, hinges, count, t)
            if t > 0.0 and not idle[i]:
                kind[i], shock[i] = ROOT, min(t, 1.0) - 1.0
    return shock, kind
