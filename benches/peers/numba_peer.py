"""The peers by Numba: Polars sorts, loops over arrays do the rest. Compiling is outside the time.

`frames` and `hot` give the thin answer. `hot_wide` gives all 23 columns for the same question as
Margrave's on a `plain` exchange, from rows that were netted when the book was prepared.
`positions` adds liquidation prices, in input order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from exchange import Exchange
from peers import numba_kernels as kernels
from peers import numba_prices
from peers.csr import Csr, build, rows_of_accounts, summary
from peers.net import Array, Net, net, weights_of
from peers.numba_net import lines_of, sweep_wide
from peers.numpy_thin import to_frame
from peers.polars_sweep import MONEY, RATIOS, STATUS
from peers.task import Task, same
from peers.terms import Terms, read_terms

THIN_COLUMNS = ["equity", "maintenance", "initial", "notional", "ratio", "leverage", "flag"]


def frames(exchange: Exchange) -> Task:
    """Return the work `w1`."""
    sweep(build(_few(exchange)), read_terms(exchange))

    def call() -> pl.DataFrame:
        book = build(exchange)
        return to_frame(book, sweep(book, read_terms(exchange)))

    return Task(call, same)


def hot(exchange: Exchange) -> Task:
    """Return the work `hot`, seven columns."""
    book, terms = build(exchange), read_terms(exchange)
    sweep(build(_few(exchange)), terms)
    return Task(lambda: sweep(book, terms), lambda columns: to_frame(book, columns))


def hot_wide(exchange: Exchange) -> Task:
    """Return the work `hot`, all columns."""
    terms = read_terms(exchange)
    book = net(build(exchange), terms)
    weights = weights_of(exchange)
    few = net(build(_few(exchange)), terms)
    sweep_wide(few, terms, weights)
    return Task(lambda: sweep_wide(book, terms, weights), lambda found: _wide_frame(book, found))


def positions(exchange: Exchange) -> Task:
    """Return the work `positions` over a prepared sweep."""
    terms = read_terms(exchange)
    weights = weights_of(exchange)
    small = _few(exchange)
    for held in (small, exchange):
        book = net(build(held), terms)
        rows = InputRows.of(held, book)
        swept = sweep_wide(book, terms, weights)
        call = _positions_call(book, rows, swept, terms)
        if held is small:
            call()
    return Task(call, _positions_frame)


def _few(exchange: Exchange) -> Exchange:
    """Return a small part of the exchange, of the same types, to compile on."""
    positions, balances = exchange.positions.head(1000), exchange.balances.head(1000)
    return replace(exchange, positions=positions, balances=balances)


def sweep(book: Csr, terms: Terms) -> dict[str, Any]:
    """Return the thin answer's columns."""
    line, rates = lines_of(terms)
    columns = kernels.thin(
        book.offsets,
        book.code,
        book.quantity,
        book.entry,
        book.cash_offsets,
        book.asset,
        book.amount,
        line,
        terms.floors,
        rates,
        terms.assets["weighted_price"].to_numpy(),
    )
    return dict(zip(THIN_COLUMNS, columns, strict=True))


def _wide_frame(book: Net, found: Any) -> pl.DataFrame:
    status, flag, money, ratios = found
    columns = dict(zip([*MONEY, *RATIOS], [*money, *ratios], strict=True))
    frame = pl.DataFrame(
        {"account_id": book.ids, "rank": status, "is_liquidatable": flag, **columns}
    )
    none = pl.col("gross_notional") == 0
    return frame.with_columns(
        pl.when(~none).then("maintenance_margin_ratio"),
        pl.when(~none).then("equity_ratio"),
        pl.when(pl.col("equity") > 0).then("effective_leverage"),
        status=pl.col("rank").cat.to(STATUS),
        positions=pl.Series(book.rows).cast(pl.Int64),
        ladder=pl.lit(None, pl.String),
    ).select("account_id", "status", "is_liquidatable", *columns, "positions", "ladder")


# Positions


@dataclass(frozen=True)
class InputRows:
    """The rows as they came, and the netted row of each."""

    code: Array
    quantity: Array
    entry: Array
    net_row: Array

    @staticmethod
    def of(exchange: Exchange, book: Net) -> InputRows:
        """Return the input rows of this book."""
        ids = book.ids.alias("account_id").to_frame().with_row_index("account")
        held = pl.DataFrame(
            {
                "account": rows_of_accounts(book.offsets).astype(np.uint32),
                "code": book.code,
                "net_row": np.arange(len(book.code), dtype=np.uint32),
            }
        )
        rows = (
            exchange.positions.with_columns(code=pl.col("instrument_id").to_physical())
            .join(ids, on="account_id", how="left", maintain_order="left")
            .join(held, on=["account", "code"], how="left", maintain_order="left")
        )
        names = ["code", "quantity", "entry_price", "net_row"]
        return InputRows(*(rows[name].to_numpy() for name in names))


def _positions_call(book: Net, rows: InputRows, swept: Any, terms: Terms) -> Any:
    line, rates = lines_of(terms)
    share = np.divide(1.0, book.absolute, out=np.zeros_like(book.absolute), where=book.absolute > 0)
    figures = dict(zip(MONEY, swept[2], strict=True))

    def call() -> Any:
        found = numba_prices.prices(
            book.offsets,
            book.code,
            book.quantity,
            figures["margin_balance"],
            figures["maintenance_margin"],
            figures["equity"],
            line,
            terms.floors,
            rates,
        )
        return numba_prices.gathered(
            rows.code, rows.quantity, rows.entry, rows.net_row, share, line, *found
        )

    return call


POSITION_FIGURES = ["mark_price", "notional", "unrealized_pnl", "tier", "maintenance_margin"]
POSITION_FIGURES += ["initial_margin", "liquidation_price", "kind", "bankruptcy_price"]


def _positions_frame(columns: Any) -> pl.DataFrame:
    kinds = pl.Enum(["root", "none", "breached"])
    frame = pl.DataFrame(dict(zip(POSITION_FIGURES, columns, strict=True)))
    return frame.with_columns(
        pl.col("liquidation_price", "bankruptcy_price").fill_nan(None),
        liquidation_price_kind=pl.col("kind").cat.to(kinds),
    ).drop("kind")


def book(exchange: Exchange) -> Task:
    """Return the works `w3` and `w3s`."""
    return Task(lambda: build(exchange), summary)
