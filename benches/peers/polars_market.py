"""Terms, prices and marginal tables as the Polars peer gathers them: by the code of an id.

`read_market(exchange)` returns a `Market`. All of it is a few hundred rows, read anew at each
call, as an engine does that is given frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from exchange import Exchange

LARGEST = 1e18


def gather(values: pl.Series, code: pl.Expr) -> pl.Expr:
    """Return the value of each row's code."""
    return pl.lit(values).gather(code)


@dataclass(frozen=True)
class Schedule:
    """Marginal tables by code. Row `first[code]` of `rows` is the first slice; `floors[k][code]`
    is the value, in the valuation asset, at which slice `k + 1` begins, infinite where none does.
    """

    first: pl.Series
    floors: list[pl.Series]
    rows: pl.DataFrame

    def slice_of(self, code: pl.Expr, value: pl.Expr) -> pl.Expr:
        """Return the row of the slice in which `value` ends."""
        row = gather(self.first, code)
        for floor in self.floors:
            row = row + (value >= gather(floor, code)).cast(pl.UInt32)
        return row

    def total(self, rate: str, value: pl.Expr, row: pl.Expr) -> pl.Expr:
        """Return the sum of slice times rate, for a `value` that ends in slice `row`."""
        return value * gather(self.rows[rate], row) - gather(self.rows[f"{rate}_deduction"], row)


@dataclass(frozen=True)
class Market:
    """Terms and prices in the order of the ids' codes, and the schedules over them."""

    instruments: pl.DataFrame
    assets: pl.DataFrame
    tiers: Schedule
    weights: Schedule


def read_market(exchange: Exchange) -> Market:
    """Return terms and tables by code, checked; raises a `ValueError` where one is no good."""
    weights = _weights(exchange.weights)
    first = weights.unique("table", keep="first").drop("floor")
    assets = _named(exchange.assets, "asset_id", "weight_table")
    assets = assets.join(first, on="table", how="left", maintain_order="left")
    settle = assets.select(
        "maintenance_borrow_rate", "initial_borrow_rate", settle_asset="id", settle_price="price"
    )
    inverse = pl.col("kind").cast(pl.String) == "inverse"
    instruments = (
        _named(exchange.instruments, "instrument_id", "tier_table")
        .with_columns(pl.col("settle_asset").cast(pl.String), inverse=inverse)
        .join(settle, on="settle_asset", how="left", maintain_order="left")
        .with_columns(unit=pl.col("contract_size") * pl.col("settle_price"))
        .with_columns(
            # What one contract is worth: q m P in the settle asset, q m / P if inverse.
            value=pl.when("inverse")
            .then(pl.col("unit") / pl.col("mark_price"))
            .otherwise(pl.col("unit") * pl.col("mark_price"))
        )
    )
    check_market(instruments, assets)
    instruments = _by_code(instruments, exchange.positions.schema["instrument_id"])
    assets = _by_code(assets, exchange.balances.schema["asset_id"]).with_columns(one=pl.lit(1.0))
    rates = ["maintenance_rate", "initial_rate"]
    tables = exchange.tiers.with_columns(table=pl.col("tier_table").cast(pl.String))
    tiers = _schedule(tables, instruments, "settle_price", rates)
    rates = ["maintenance_weight", "initial_weight"]
    return Market(instruments, assets, tiers, _schedule(weights, assets, "one", rates))


def _named(frame: pl.DataFrame, key: str, table: str) -> pl.DataFrame:
    """Return the frame with `id` and `table` as text, and optional columns with defaults."""
    named = pl.col(key).cast(pl.String)
    chosen = [pl.col(table).cast(pl.String)] if table in frame.columns else []
    size = [pl.col("contract_size")] if "contract_size" in frame.columns else []
    return frame.with_columns(
        id=named,
        table=pl.coalesce(*chosen, named),
        contract_size=pl.coalesce(*size, pl.lit(1.0)),
    )


def _weights(weights: pl.DataFrame) -> pl.DataFrame:
    """Return the weights under the peer's names, optional columns with their defaults."""

    def given(column: str, default: pl.Expr) -> pl.Expr:
        return pl.coalesce(*([column] if column in weights.columns else []), default)

    maintenance = pl.col("maintenance_weight")
    return weights.select(
        maintenance,
        table=pl.col("weight_table").cast(pl.String),
        floor=given("floor", pl.lit(0.0)),
        initial_weight=given("initial_weight", maintenance),
        liability_weight=given("liability_weight", pl.lit(1.0)),
        maintenance_borrow_rate=given("borrow_maintenance_rate", pl.lit(0.0)),
        initial_borrow_rate=given("borrow_initial_rate", pl.lit(0.0)),
    )


def _by_code(frame: pl.DataFrame, ids: pl.DataType) -> pl.DataFrame:
    """Return the frame in the order of an Enum's categories, null where it lacks one."""
    if not isinstance(ids, pl.Enum):
        raise TypeError(f"ids are {ids}; cast them to an Enum first")
    codes = pl.DataFrame({"id": ids.categories}).with_row_index("code")
    return codes.join(frame, on="id", how="left", maintain_order="left")


def _schedule(tables: pl.DataFrame, by_code: pl.DataFrame, unit: str, rates: list[str]) -> Schedule:
    """Return the tables in money of the valuation asset; `unit` is the price of the floors."""
    floor = pl.col("floor")
    risen = floor.diff().over("table").fill_null(floor) > 0
    sound = (pl.col("floor").first().over("table") == 0) & (risen | (floor == 0))
    for rate in rates:
        sound &= pl.col(rate).is_between(0, 1)
    if not tables.select(sound.fill_null(value=False).all()).item():
        raise ValueError("a table's floors do not rise from 0, or a rate is no fraction")
    rows = by_code.select("code", "table", unit=unit).join(tables, on="table").sort("code", "floor")
    rows = rows.with_columns(
        floor=floor * pl.col("unit"), slice=pl.int_range(pl.len()).over("code")
    )
    step = [pl.col(rate) - pl.col(rate).shift().over("code").fill_null(0.0) for rate in rates]
    rows = rows.with_columns(
        (floor * rise).cum_sum().over("code").alias(f"{rate}_deduction")
        for rate, rise in zip(rates, step, strict=True)
    ).with_row_index("row")

    def column(number: int, name: str) -> pl.Series:
        found = rows.filter(pl.col("slice") == number).select("code", name)
        return by_code.select("code").join(found, on="code", how="left", maintain_order="left")[
            name
        ]

    most = rows.group_by("code").len()["len"].max()
    assert isinstance(most, int)
    floors = [column(number, "floor").fill_null(float("inf")) for number in range(1, most)]
    return Schedule(column(0, "row"), floors, rows)


def check_market(instruments: pl.DataFrame, assets: pl.DataFrame) -> None:
    """Raise a `ValueError` where terms or prices are no good."""
    good = {
        "instruments.instrument_id": instruments["id"].is_unique(),
        "assets.asset_id": assets["id"].is_unique(),
        "assets.price": assets["price"].is_between(0, LARGEST, closed="right"),
        "instruments.kind": instruments["kind"].cast(pl.String).is_in(["linear", "inverse"]),
        "instruments.mark_price": instruments["mark_price"].is_between(0, LARGEST, closed="right"),
        "instruments.contract_size": instruments["unit"].is_between(0, LARGEST, closed="right"),
    }
    for column, flags in good.items():
        if not flags.fill_null(value=False).all():
            raise ValueError(
                f"{column}: {(~flags.fill_null(value=False)).sum()} values are refused"
            )
