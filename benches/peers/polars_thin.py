"""Frames to eight columns in plain Polars: what a quick query would give, in its fastest forms.

Each form reads `THIN` of `task.py` from the frames: rows are margined as they come, nothing is
checked, netted or isolated, every balance takes the weight of its first slice, debts included,
and accounts come in any order. The forms differ in how they find a row's bracket:

* `split`: bracket 0 comes with the instrument; only rows above it pay `join_asof`.
* `convex`: the maximum over all brackets, from one wide table.
* `when`: bracket 0 with the instrument; only rows above it pay for the wide table.

Terms are gathered by the code of an Enum, which is a little faster than a join, but in `split`,
where the join is a little faster. One `group_by` over rows and balances together beats two and a
join.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import polars as pl

from exchange import Exchange
from peers.task import SUMS, THIN, Task, same
from peers.terms import RATES, Terms, read_terms

Engine = Literal["streaming", "in-memory"]

QUANTITY, ENTRY, NOTIONAL = pl.col("quantity"), pl.col("entry_price"), pl.col("notional")
CODE = pl.col("code")


def task(form: str, engine: Engine) -> Callable[[Exchange], Task]:
    """Return the work `w1` in one form."""
    query = {"split": split, "convex": convex, "when": when}[form]
    return lambda exchange: Task(lambda: query(exchange).collect(engine=engine), same)


def split(exchange: Exchange) -> pl.LazyFrame:
    """Return the thin answer; rows above the first bracket find theirs by `join_asof`."""
    terms = read_terms(exchange)
    by = terms.instruments.lazy().drop("unit", "mark_price", "inverse", "settle_price")
    rows = (
        exchange.positions.lazy()
        .join(by, on="instrument_id")
        .with_columns(
            notional=QUANTITY.abs() * pl.col("value"),
            equity=QUANTITY * (pl.col("a") * ENTRY + pl.col("b") + pl.col("c") / ENTRY),
        )
    )
    above = (
        rows.filter(pl.col("second_floor") <= NOTIONAL)
        .select("account_id", "instrument_id", "equity", "notional")
        .sort("notional")
        .join_asof(
            _brackets(terms),
            left_on="notional",
            right_on="floor",
            by="instrument_id",
            check_sortedness=False,
        )
        .with_columns(
            (NOTIONAL * pl.col(name) - pl.col(f"{name}_deduction")).alias(name) for name in RATES
        )
    )
    return summed(exchange, terms, _first_bracket(rows), above)


def convex(exchange: Exchange) -> pl.LazyFrame:
    """Return the thin answer; every row takes the maximum over its brackets."""
    terms = read_terms(exchange)
    return summed(exchange, terms, gathered(exchange, terms).with_columns(*_largest(terms)))


def when(exchange: Exchange) -> pl.LazyFrame:
    """Return the thin answer; rows above the first bracket take the maximum over theirs."""
    terms = read_terms(exchange)
    rows = gathered(exchange, terms).with_columns(
        gather(terms.instruments[name], CODE).alias(name)
        for name in ("second_floor", "maintenance_rate", "initial_rate")
    )
    above = rows.filter(pl.col("second_floor") <= NOTIONAL).with_columns(*_largest(terms))
    return summed(exchange, terms, _first_bracket(rows), above)


def gather(values: pl.Series, code: pl.Expr) -> pl.Expr:
    """Return the value of each row's code."""
    return pl.lit(values).gather(code)


def gathered(exchange: Exchange, terms: Terms) -> pl.LazyFrame:
    """Return the positions with their code, profit (as `equity`) and notional."""
    a, b, c, value = (gather(terms.instruments[name], CODE) for name in ("a", "b", "c", "value"))
    rows = exchange.positions.lazy().with_columns(code=pl.col("instrument_id").to_physical())
    return rows.with_columns(
        notional=QUANTITY.abs() * value, equity=QUANTITY * (a * ENTRY + b + c / ENTRY)
    )


def summed(exchange: Exchange, terms: Terms, *rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the accounts: the sums over these rows and the balances, and what follows."""
    price = gather(terms.assets["weighted_price"], pl.col("asset_id").to_physical())
    cash = exchange.balances.lazy().select("account_id", equity=pl.col("amount") * price)
    parts = [part.select("account_id", *SUMS) for part in rows]
    together: pl.LazyFrame = pl.concat([*parts, cash], how="diagonal")
    equity = pl.col("equity")
    return (
        together.group_by("account_id")
        .agg(pl.col(SUMS).sum())
        .with_columns(
            ratio=pl.col("maintenance") / equity,
            leverage=NOTIONAL / equity,
            flag=equity < pl.col("maintenance"),
        )
        .select(THIN)
    )


def _first_bracket(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.filter(pl.col("second_floor") > NOTIONAL).with_columns(
        maintenance=NOTIONAL * pl.col("maintenance_rate"),
        initial=NOTIONAL * pl.col("initial_rate"),
    )


def _largest(terms: Terms) -> list[pl.Expr]:
    """Return both requirements as maxima over the brackets of the row's instrument."""
    return [
        pl.max_horizontal(
            NOTIONAL * gather(pl.Series(terms.rates[name][:, k]), CODE)
            - gather(pl.Series(terms.deductions[name][:, k]), CODE)
            for k in range(terms.brackets)
        ).alias(name)
        for name in RATES
    ]


def _brackets(terms: Terms) -> pl.LazyFrame:
    """Return one row for each instrument and bracket, floors rising."""
    frames = [
        terms.instruments.select(
            "instrument_id",
            pl.Series("floor", terms.floors[:, k]),
            *(pl.Series(name, terms.rates[name][:, k]) for name in RATES),
            *(pl.Series(f"{name}_deduction", terms.deductions[name][:, k]) for name in RATES),
        )
        for k in range(terms.brackets)
    ]
    return pl.concat(frames).filter(pl.col("floor").is_finite()).sort("floor").lazy()
