"""A prepared book as arrays: rows by account, offsets between. Polars sorts, NumPy keeps.

`build(exchange)` returns `Csr`, its accounts sorted by integer id, or numbered by first sight where
ids are text, which is cheaper than sorting text. `net(csr)` adds the rows of one account in one
instrument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exchange import Exchange
from peers.task import BOOK

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Csr:
    """Rows of account `i` are `offsets[i]` to `offsets[i + 1]`; of its balances likewise."""

    ids: pl.Series
    offsets: Ints
    code: Ints
    quantity: Floats
    entry: Floats
    cash_offsets: Ints
    asset: Ints
    amount: Floats


def build(exchange: Exchange) -> Csr:
    """Return the book of these frames."""
    positions = exchange.positions.lazy().select(
        "account_id",
        "quantity",
        "entry_price",
        code=pl.col("instrument_id").to_physical(),
    )
    balances = exchange.balances.lazy().select(
        "account_id", "amount", asset=pl.col("asset_id").to_physical()
    )
    if exchange.positions.schema["account_id"].is_integer():
        ids, sorted_positions, sorted_balances, offsets = _by_id(positions, balances)
    else:
        ids, sorted_positions, sorted_balances, offsets = _by_number(positions, balances)
    return Csr(
        ids,
        offsets[0],
        sorted_positions["code"].to_numpy(),
        sorted_positions["quantity"].to_numpy(),
        sorted_positions["entry_price"].to_numpy(),
        offsets[1],
        sorted_balances["asset"].to_numpy(),
        sorted_balances["amount"].to_numpy(),
    )


Parts = tuple[pl.Series, pl.DataFrame, pl.DataFrame, list[Ints]]


def _by_id(positions: pl.LazyFrame, balances: pl.LazyFrame) -> Parts:
    queries = [positions.sort("account_id"), balances.sort("account_id")]
    frames = [frame.rechunk() for frame in pl.collect_all(queries, engine="streaming")]
    keys = [frame["account_id"].to_numpy() for frame in frames]
    starts = [_starts(key) for key in keys]
    first = [key[start] for key, start in zip(keys, starts, strict=True)]
    ids = first[1] if np.array_equal(first[0], first[1]) else np.union1d(first[0], first[1])
    offsets = []
    for key, own, start in zip(keys, first, starts, strict=True):
        ends = np.append(start, len(key))
        offsets.append(ends if len(own) == len(ids) else _spread(ids, own, ends))
    return pl.Series("account_id", ids), frames[0], frames[1], offsets


def _starts(key: npt.NDArray[Any]) -> Ints:
    changed = np.empty(len(key), dtype=bool)
    changed[:1] = True
    np.not_equal(key[1:], key[:-1], out=changed[1:])
    return np.flatnonzero(changed)


def _spread(ids: npt.NDArray[Any], own: npt.NDArray[Any], ends: Ints) -> Ints:
    """Return offsets for all accounts, those without rows included."""
    counts = np.zeros(len(ids), dtype=np.int64)
    counts[np.searchsorted(ids, own)] = np.diff(ends)
    return np.concatenate(([0], np.cumsum(counts)))


def _by_number(positions: pl.LazyFrame, balances: pl.LazyFrame) -> Parts:
    together = pl.concat([positions.select("account_id"), balances.select("account_id")])
    ids = together.unique().collect(engine="streaming").with_row_index("number")
    queries = [
        frame.join(ids.lazy(), on="account_id").drop("account_id").sort("number")
        for frame in (positions, balances)
    ]
    frames = [frame.rechunk() for frame in pl.collect_all(queries, engine="streaming")]
    offsets = [
        np.concatenate(([0], np.cumsum(np.bincount(f["number"].to_numpy(), minlength=len(ids)))))
        for f in frames
    ]
    return ids["account_id"], frames[0], frames[1], offsets


def rows_of_accounts(offsets: Ints) -> Ints:
    """Return the account of each row."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def summary(book: Csr) -> pl.DataFrame:
    """Return what two books are compared by."""
    quantity = np.bincount(rows_of_accounts(book.offsets), book.quantity, len(book.ids))
    amount = np.bincount(rows_of_accounts(book.cash_offsets), book.amount, len(book.ids))
    numbers = [pl.Series(np.diff(book.offsets)).cast(pl.Int64), quantity, amount]
    columns: list[Any] = [book.ids, *numbers]
    return pl.DataFrame(dict(zip(BOOK, columns, strict=True)))
