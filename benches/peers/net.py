"""A book whose rows of one account and instrument are one: what peers that net are prepared with.

`net(build(exchange), terms)` returns a `Net`, `weights_of(exchange)` what assets count for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exchange import Exchange
from peers.csr import Csr, rows_of_accounts
from peers.terms import Terms

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Net:
    """A book whose rows of one account and instrument are one. `entry_sum` is the sum that its
    kind of contract needs: `sum q E`, or `sum q / E` if inverse."""

    ids: pl.Series
    offsets: Array
    code: Array
    quantity: Array
    entry_sum: Array
    absolute: Array
    rows: Array
    flat: Array
    cash_offsets: Array
    asset: Array
    amount: Array


def net(book: Csr, terms: Terms) -> Net:
    """Return the book netted."""
    rows = pl.LazyFrame(
        {
            "account": rows_of_accounts(book.offsets).astype(np.uint32),
            "code": book.code,
            "quantity": book.quantity,
            "entry": book.entry,
        }
    )
    cash = pl.LazyFrame(
        {
            "account": rows_of_accounts(book.cash_offsets).astype(np.uint32),
            "code": book.asset,
            "amount": book.amount,
        }
    )
    quantity, entry = pl.col("quantity"), pl.col("entry")
    netted = rows.group_by("account", "code").agg(
        quantity.sum(),
        times=(quantity * entry).sum(),
        over=(quantity / entry).sum(),
        absolute=quantity.abs().sum(),
    )
    held, owned = pl.collect_all(
        [
            netted.sort("account", "code"),
            cash.group_by("account", "code").agg(pl.col("amount").sum()).sort("account", "code"),
        ],
        engine="streaming",
    )
    account, code = held["account"].to_numpy(), held["code"].to_numpy()
    inverse = terms.instruments["inverse"].to_numpy()
    count = len(book.ids)
    total = np.bincount(account, held["absolute"].to_numpy(), count)
    offsets = [
        np.concatenate(([0], np.cumsum(np.bincount(a, minlength=count))))
        for a in (account, owned["account"].to_numpy())
    ]
    return Net(
        book.ids,
        offsets[0],
        code,
        held["quantity"].to_numpy(),
        np.where(inverse.take(code), held["over"].to_numpy(), held["times"].to_numpy()),
        held["absolute"].to_numpy(),
        np.diff(book.offsets),
        total == 0,
        offsets[1],
        owned["code"].to_numpy(),
        owned["amount"].to_numpy(),
    )


def weights_of(exchange: Exchange) -> Array:
    """Return a line of nine numbers for each asset; at most two slices are known."""
    ids = exchange.balances.schema["asset_id"]
    assert isinstance(ids, pl.Enum)
    assets = exchange.assets.with_columns(pl.col("asset_id").cast(pl.String))
    lines = []
    for name in ids.categories:
        slices = exchange.weights.filter(pl.col("weight_table") == name).sort("floor")
        if not 1 <= slices.height <= 2:
            raise ValueError(f"{name}: {slices.height} slices; this peer knows one or two")
        first, last = slices.row(0, named=True), slices.row(-1, named=True)
        floor = last["floor"] if slices.height == 2 else np.inf
        price = assets.filter(pl.col("asset_id") == name)["price"].item()
        both = [
            part[f"{kind}_weight"] for kind in ("maintenance", "initial") for part in (first, last)
        ]
        borrow = [first["borrow_maintenance_rate"], first["borrow_initial_rate"]]
        lines.append([price, floor, *both, first["liability_weight"], *borrow])
    return np.array(lines)
