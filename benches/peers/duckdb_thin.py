"""The thin answer by DuckDB. `range` finds a row's bracket by an inequality join, `convex` takes
the maximum over all from a wide table; both load native tables first, as DuckDB's users do.
`arrow` is `convex` on the frames themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]

from exchange import Exchange
from peers.process import threads
from peers.task import BOOK, THIN, Task
from peers.terms import RATES, Terms, read_terms

ROWS = """
    SELECT account_id, code, quantity * (a * entry_price + b + c / entry_price) AS equity,
           abs(quantity) * value AS notional {more}
    FROM positions JOIN instruments USING (code)
"""
RANGE = """
    SELECT account_id, equity, notional,
           notional * maintenance_rate - maintenance_deduction AS maintenance,
           notional * initial_rate - initial_deduction AS initial
    FROM rows JOIN brackets
      ON rows.code = brackets.code AND notional >= floor AND notional < ceiling
"""
ACCOUNTS = """
    WITH rows AS ({rows}), required AS ({required}), together AS (
        SELECT account_id, equity, maintenance, initial, notional FROM required
        UNION ALL
        SELECT account_id, amount * weighted_price, 0, 0, 0 FROM balances JOIN assets USING (asset)
    ), sums AS (
        SELECT account_id, sum(equity) AS equity, sum(maintenance) AS maintenance,
               sum(initial) AS initial, sum(notional) AS notional
        FROM together GROUP BY account_id
    )
    SELECT *, maintenance / equity AS ratio, notional / equity AS leverage,
           equity < maintenance AS flag
    FROM sums
"""


def frames(form: str) -> Callable[[Exchange], Task]:
    """Return the work `w1` in one form."""
    return lambda exchange: Task(lambda: sweep(exchange, form), _polars)


def book(exchange: Exchange) -> Task:
    """Return the works `w3` and `w3s`: both frames as native tables sorted by account."""

    def call() -> duckdb.DuckDBPyConnection:
        connection = _connect(exchange)
        for name in ("positions", "balances"):
            connection.execute(
                f"CREATE TABLE sorted_{name} AS SELECT * FROM {name} ORDER BY account_id"
            )
        return connection

    return Task(call, _summary)


def sweep(exchange: Exchange, form: str) -> pa.Table:
    """Return the thin answer as Arrow."""
    terms = read_terms(exchange)
    connection = _connect(exchange)
    wide = terms.instruments.select("a", "b", "c", "value").with_row_index("code")
    if form == "range":
        connection.register("brackets", _brackets(terms).to_arrow())
    else:
        wide = wide.with_columns(*_wide(terms))
    connection.register("instruments", wide.with_columns(pl.col("code").cast(pl.UInt16)).to_arrow())
    assets = terms.assets.select("weighted_price").with_row_index("asset")
    connection.register("assets", assets.with_columns(pl.col("asset").cast(pl.UInt8)).to_arrow())
    if form != "arrow":
        for name in ("positions", "balances"):
            connection.execute(f"CREATE TABLE native_{name} AS SELECT * FROM {name}")
            connection.unregister(name)
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM native_{name}")
    required = RANGE if form == "range" else _largest(terms)
    more = "" if form == "range" else "".join(f", {column}" for column in _names(terms))
    query = ACCOUNTS.format(rows=ROWS.format(more=more), required=required)
    return connection.sql(query).to_arrow_table()


def _connect(exchange: Exchange) -> duckdb.DuckDBPyConnection:
    """Return a database of its own that sees the two frames, ids of contracts as codes."""
    connection = duckdb.connect(config={"threads": threads(), "preserve_insertion_order": False})
    positions = exchange.positions.select(
        "account_id",
        "quantity",
        "entry_price",
        code=pl.col("instrument_id").to_physical().cast(pl.UInt16),
    )
    balances = exchange.balances.select(
        "account_id", "amount", asset=pl.col("asset_id").to_physical().cast(pl.UInt8)
    )
    connection.register("positions", positions.to_arrow())
    connection.register("balances", balances.to_arrow())
    return connection


def _names(terms: Terms) -> list[str]:
    return [f"{name}_{word}{k}" for name in RATES for word in "rd" for k in range(terms.brackets)]


def _wide(terms: Terms) -> list[pl.Series]:
    """Return rate and deduction of each bracket as columns."""
    columns = []
    for name in RATES:
        for word, table in (("r", terms.rates), ("d", terms.deductions)):
            columns += [
                pl.Series(f"{name}_{word}{k}", table[name][:, k]) for k in range(terms.brackets)
            ]
    return columns


def _largest(terms: Terms) -> str:
    """Return the query of both requirements as maxima."""
    required = [
        "greatest("
        + ", ".join(f"notional * {name}_r{k} - {name}_d{k}" for k in range(terms.brackets))
        + f") AS {name}"
        for name in RATES
    ]
    return f"SELECT account_id, equity, notional, {', '.join(required)} FROM rows"


def _brackets(terms: Terms) -> pl.DataFrame:
    """Return a row for each bracket, with the floor of the next as its ceiling."""
    frames = []
    for k in range(terms.brackets):
        ceiling = terms.floors[:, k + 1] if k + 1 < terms.brackets else None
        columns = [pl.Series("floor", terms.floors[:, k])]
        columns += [pl.Series(f"{name}_rate", terms.rates[name][:, k]) for name in RATES]
        columns += [pl.Series(f"{name}_deduction", terms.deductions[name][:, k]) for name in RATES]
        frame = pl.DataFrame(columns).with_row_index("code")
        top = pl.lit(float("inf")) if ceiling is None else pl.Series(ceiling)
        frames.append(frame.with_columns(pl.col("code").cast(pl.UInt16), ceiling=top))
    return pl.concat(frames).filter(pl.col("floor").is_finite())


def _polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(THIN)


def _summary(connection: Any) -> pl.DataFrame:
    table = connection.sql("""
        SELECT account_id, count(quantity) AS rows, coalesce(sum(quantity), 0) AS quantity,
               coalesce(sum(amount), 0) AS amount
        FROM (SELECT account_id, quantity, NULL AS amount FROM sorted_positions UNION ALL
              SELECT account_id, NULL, amount FROM sorted_balances)
        GROUP BY account_id
    """).to_arrow_table()
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(BOOK)
