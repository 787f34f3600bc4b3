"""A prepared book in Polars, and the thin sweep of one.

`sort` is the usual form: both frames sorted by account, and a dense number for each. `lists`
gathers each account's rows into lists, which is quicker where ids are text. `hot` sweeps the
sorted form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from exchange import Exchange
from peers.polars_thin import Engine, when
from peers.task import BOOK, THIN, Task


def task(form: str, engine: Engine) -> Callable[[Exchange], Task]:
    """Return the works `w3` and `w3s` in one form."""
    build = {"sort": by_sort, "number": by_number, "lists": by_lists}[form]
    summary = summary_of_lists if form == "lists" else summary_of_rows
    return lambda exchange: Task(lambda: build(exchange, engine), summary)


def by_sort(exchange: Exchange, engine: Engine) -> list[pl.DataFrame]:
    """Return both frames sorted by account, with its dense number, and the accounts."""
    frames = [exchange.positions, exchange.balances]
    rows = pl.collect_all([f.lazy().sort("account_id") for f in frames], engine=engine)
    held, owned = (frame["account_id"].rle().struct.unnest() for frame in rows)
    names = {"value": "account_id"}
    accounts = (
        owned.rename({**names, "len": "balances"})
        .join(held.rename({**names, "len": "rows"}), on="account_id", how="full", coalesce=True)
        .sort("account_id")
        .with_row_index("number")
    )
    numbers = [
        accounts.select(
            pl.col("number").repeat_by(pl.col(name).fill_null(0)).explode(empty_as_null=False)
        )["number"]
        for name in ("rows", "balances")
    ]
    numbered = [f.with_columns(n) for f, n in zip(rows, numbers, strict=True)]
    return [accounts, *numbered]


def by_number(exchange: Exchange, engine: Engine) -> list[pl.DataFrame]:
    """Return the same, accounts numbered first and rows sorted by number: no text is sorted."""
    frames = [exchange.positions.lazy(), exchange.balances.lazy()]
    ids = pl.concat([frame.select("account_id") for frame in frames])
    accounts = ids.unique().collect(engine=engine).with_row_index("number")
    queries = [frame.join(accounts.lazy(), on="account_id").sort("number") for frame in frames]
    return [accounts, *pl.collect_all(queries, engine=engine)]


def by_lists(exchange: Exchange, engine: Engine) -> pl.DataFrame:
    """Return a row per account, its rows in lists."""
    positions = exchange.positions.lazy().group_by("account_id")
    balances = exchange.balances.lazy().group_by("account_id")
    held = positions.agg("instrument_id", "quantity", "entry_price")
    owned = balances.agg("asset_id", "amount")
    return owned.join(held, on="account_id", how="full", coalesce=True).collect(engine=engine)


def hot(engine: Engine) -> Callable[[Exchange], Task]:
    """Return the work `hot`: the quick query over numbered, sorted rows."""

    def prepared(exchange: Exchange) -> Task:
        accounts, positions, balances = by_sort(exchange, "streaming")
        ids = accounts["account_id"]
        numbered = [
            frame.drop("account_id").rename({"number": "account_id"}).set_sorted("account_id")
            for frame in (positions, balances)
        ]
        book = replace(exchange, positions=numbered[0], balances=numbered[1])
        return Task(
            lambda: when(book).collect(engine=engine),
            lambda frame: frame.with_columns(ids.gather(frame["account_id"])).select(THIN),
        )

    return prepared


def summary_of_rows(book: list[pl.DataFrame]) -> pl.DataFrame:
    """Return what two books are compared by."""
    accounts, positions, balances = book
    held = positions.group_by("number").agg(rows=pl.len(), quantity=pl.col("quantity").sum())
    owned = balances.group_by("number").agg(amount=pl.col("amount").sum())
    return (
        accounts.select("number", "account_id")
        .join(held, on="number", how="left")
        .join(owned, on="number", how="left")
        .with_columns(pl.col("rows", "quantity", "amount").fill_null(0))
        .select(BOOK)
    )


def summary_of_lists(book: pl.DataFrame) -> pl.DataFrame:
    """Return what two books are compared by."""
    return book.select(
        "account_id",
        rows=pl.col("quantity").list.len().fill_null(0),
        quantity=pl.col("quantity").list.sum().fill_null(0),
        amount=pl.col("amount").list.sum().fill_null(0),
    )
