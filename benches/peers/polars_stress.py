"""The stress in Polars: scenarios ten at a time as columns, one `group_by` for them all.

Worth is gathered by the code of a thing. Rows of hinges join the holdings' before they are
grouped; equity is added for the accounts that some scenario of the ten leads past the line. One
query a scenario takes three times as long, a row for each holding and scenario (a cross join) as
long as that; lists of holdings by account ten times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

import scenarios
from exchange import Exchange
from peers import linear
from peers.linear import Floats, Linear, Moved
from peers.outcomes import Outcomes, names_of, to_frame
from peers.polars_thin import Engine, gather
from peers.task import Task

TOGETHER = 10


def task(engine: Engine) -> Callable[[Exchange], Task]:
    """Return the work `w2` in one engine."""

    def prepared(exchange: Exchange) -> Task:
        moves = scenarios.moved(exchange, scenarios.draw(exchange))
        book, names = linear.prepare(exchange), names_of(exchange)
        holdings = holdings_of(book)
        return Task(
            lambda: stress(book, holdings, *moves, engine),
            lambda found: to_frame(book.ids, names, found),
        )

    return prepared


def holdings_of(book: Linear) -> pl.DataFrame:
    """Return number of the account, code, buffer and equity of each holding."""
    return pl.DataFrame(
        {
            "account": accounts_of(book),
            "code": book.code.astype(np.uint32),
            "buffer": book.buffer,
            "equity": book.equity,
        }
    )


def accounts_of(book: Linear) -> linear.Array:
    """Return the number of each holding's account."""
    return np.repeat(np.arange(book.accounts, dtype=np.uint32), np.diff(book.offsets))


def stress(
    book: Linear, holdings: pl.DataFrame, marks: Floats, prices: Floats, engine: Engine
) -> Outcomes:
    """Return what the scenarios do."""
    moved = linear.move(book, marks, prices)
    hinges = _hinges(book, holdings["account"], moved)
    sums, worst = [], None
    for first in range(0, moved.scenarios, TOGETHER):
        numbers = range(first, min(first + TOGETHER, moved.scenarios))
        buffers = _buffers(holdings, hinges, moved, numbers).collect(engine=engine)
        queries = _sums(buffers, holdings, moved, numbers)
        sums.append(pl.concat(pl.collect_all(queries, engine=engine), how="horizontal"))
        worst = _worst(worst, buffers.lazy(), numbers).collect(engine=engine)
    assert worst is not None
    row, worst = pl.concat(sums, how="horizontal").row(0, named=True), worst.sort("account")
    flagged, debts, deficits = (
        np.array([row[f"{name}{k}"] for k in range(moved.scenarios)])
        for name in ("flagged", "debt", "deficit")
    )
    at, lowest = worst["worst"].to_numpy(), worst["lowest"].to_numpy()
    return Outcomes(flagged, debts, deficits, at, lowest)


def _hinges(book: Linear, account: pl.Series, moved: Moved) -> pl.DataFrame:
    found = linear.hinges(book, moved)
    return pl.DataFrame(
        {
            "account": account.gather(found.row),
            "code": found.code.astype(np.uint32),
            "slope": found.slope,
            "scale": found.scale.astype(np.uint32),
            "start": found.start,
        }
    )


def _worth(moved: Moved, number: int, code: str) -> pl.Expr:
    """Return the worth, in one scenario, of the thing of this code."""
    return gather(pl.Series(moved.worth[:, number]), pl.col(code))


def _columns(name: str, numbers: range, of: Callable[[int], pl.Expr]) -> Iterator[pl.Expr]:
    """Return an expression for each scenario, under its name."""
    return (of(number).alias(f"{name}{number}") for number in numbers)


def _buffers(
    holdings: pl.DataFrame, hinges: pl.DataFrame, moved: Moved, numbers: range
) -> pl.LazyFrame:
    """Return account, its buffer in each scenario, and the lowest of them."""

    def linear_part(number: int) -> pl.Expr:
        return pl.col("buffer") * _worth(moved, number, "code")

    def hinge(number: int) -> pl.Expr:
        own = pl.col("slope") * _worth(moved, number, "code")
        return -(own - pl.col("start") * _worth(moved, number, "scale")).clip(lower_bound=0.0)

    parts = [
        holdings.lazy().select("account", *_columns("buffer", numbers, linear_part)),
        hinges.lazy().select("account", *_columns("buffer", numbers, hinge)),
    ]
    together: pl.LazyFrame = pl.concat(parts)
    buffers = [f"buffer{number}" for number in numbers]
    sums = together.group_by("account").agg(pl.col(buffers).sum())
    return sums.with_columns(lowest=pl.min_horizontal(buffers))


def _sums(
    buffers: pl.DataFrame, holdings: pl.DataFrame, moved: Moved, numbers: range
) -> list[pl.LazyFrame]:
    """Return a row of counts and deficits, and one of bad debts, by scenario."""

    def of(number: int) -> pl.Expr:
        return pl.col(f"buffer{number}")

    flags = buffers.lazy().select(
        *_columns("flagged", numbers, lambda number: (of(number) < 0).sum()),
        *_columns("deficit", numbers, lambda number: -of(number).clip(upper_bound=0.0).sum()),
    )
    past = buffers.lazy().filter(pl.col("lowest") < 0).select("account")
    equity = pl.col("equity")
    debts = (
        holdings.lazy()
        .join(past, on="account", how="semi")
        .select("account", *_columns("debt", numbers, lambda k: equity * _worth(moved, k, "code")))
        .group_by("account")
        .agg(pl.all().sum())
        .select(-pl.exclude("account").clip(upper_bound=0.0).sum())
    )
    return [flags, debts]


def _worst(before: pl.DataFrame | None, buffers: pl.LazyFrame, numbers: range) -> pl.LazyFrame:
    """Return account, the first scenario with the lowest buffer so far, and that buffer."""
    at = pl.lit(None, pl.UInt32)
    for number in reversed(numbers):
        is_lowest = pl.col(f"buffer{number}") == pl.col("lowest")
        at = pl.when(is_lowest).then(pl.lit(number, pl.UInt32)).otherwise(at)
    now = buffers.select("account", "lowest", worst=at)
    if before is None:
        return now
    return (
        before.lazy()
        .join(now, on="account")
        .select(
            "account",
            lowest=pl.min_horizontal("lowest", "lowest_right"),
            worst=pl.when(pl.col("lowest_right") < pl.col("lowest"))
            .then("worst_right")
            .otherwise("worst"),
        )
    )
