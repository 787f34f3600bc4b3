"""Contract terms, weights and brackets as the thin peers need them: a few hundred rows of numbers.

`read_terms(exchange)` returns `Terms`, whose frames stand in the order of the ids' codes. Profit
of a row is `q (a E + b + c / E)`, its notional `|q| |b|`, both in the valuation asset:

    linear   q m S (P - E)        a = -m S   b = m S P     c = 0
    inverse  q m S (1/E - 1/P)    a = 0      b = -m S / P  c = m S

A requirement is `max over brackets of rate n - deduction`: tables are marginal and rates rise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from exchange import Exchange

Floats = npt.NDArray[np.float64]

RATES = {"maintenance": "maintenance_rate", "initial": "initial_rate"}


@dataclass(frozen=True)
class Terms:
    """Numbers by code. `floors`, and rates and deductions by requirement, have a column for each
    bracket; where an instrument has fewer, the floor is infinite and the rest 0."""

    instruments: pl.DataFrame
    assets: pl.DataFrame
    floors: Floats
    rates: dict[str, Floats]
    deductions: dict[str, Floats]

    @property
    def brackets(self) -> int:
        """The largest number of brackets."""
        return int(self.floors.shape[1])

    def numbers(self, name: str) -> Floats:
        """Return a column of instruments."""
        return self.instruments[name].to_numpy()


def read_terms(exchange: Exchange) -> Terms:
    """Return the terms in the order of the codes of positions and balances."""
    held = exchange.positions.schema["instrument_id"]
    owned = exchange.balances.schema["asset_id"]
    assets = _assets(exchange, owned)
    settle = assets.select(settle_asset=pl.col("asset_id").cast(pl.String), settle_price="price")
    unit, mark, inverse = pl.col("unit"), pl.col("mark_price"), pl.col("kind") == "inverse"
    instruments = (
        _by_code(exchange.instruments, "instrument_id", held)
        .join(settle, on="settle_asset", how="left", maintain_order="left")
        .with_columns(unit=pl.col("contract_size") * pl.col("settle_price"))
        .select(
            "instrument_id",
            "settle_price",
            "unit",
            "mark_price",
            inverse=inverse,
            a=pl.when(inverse).then(0.0).otherwise(-unit),
            b=pl.when(inverse).then(-unit / mark).otherwise(unit * mark),
            c=pl.when(inverse).then(unit).otherwise(0.0),
        )
        .with_columns(value=pl.col("b").abs())
    )
    floors, rates, deductions = _brackets(exchange.tiers, instruments)
    first = {f"{name}_rate": rates[name][:, 0] for name in RATES}
    second = floors[:, 1] if floors.shape[1] > 1 else np.full(len(floors), np.inf)
    instruments = instruments.with_columns(
        pl.Series("second_floor", second), *(pl.Series(n, v) for n, v in first.items())
    )
    return Terms(instruments, assets, floors, rates, deductions)


def _by_code(frame: pl.DataFrame, key: str, ids: pl.DataType) -> pl.DataFrame:
    """Return the frame in the order of an Enum's categories."""
    if not isinstance(ids, pl.Enum):
        raise TypeError(f"{key}: ids are {ids}; cast them to an Enum first")
    codes = pl.DataFrame({key: ids.categories.cast(ids)})
    known = frame.with_columns(pl.col(key).cast(pl.String).cast(ids))
    return codes.join(known, on=key, how="left", maintain_order="left")


def _assets(exchange: Exchange, ids: pl.DataType) -> pl.DataFrame:
    """Return price, and price times the weight of the first slice, by code."""
    first = exchange.weights.filter(pl.col("floor") == 0).select(
        asset_id=pl.col("weight_table").cast(ids), weight="maintenance_weight"
    )
    assets = _by_code(exchange.assets, "asset_id", ids)
    return assets.join(first, on="asset_id", how="left", maintain_order="left").select(
        "asset_id", "price", weighted_price=pl.col("price") * pl.col("weight")
    )


def _brackets(
    tiers: pl.DataFrame, instruments: pl.DataFrame
) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
    """Return floors in the valuation asset, rates and deductions, by code and bracket."""
    price = instruments["settle_price"].to_numpy()
    codes = instruments.select(
        tier_table=pl.col("instrument_id").cast(pl.String), code=pl.int_range(pl.len())
    )
    rows = (
        tiers.with_columns(pl.col("tier_table").cast(pl.String))
        .join(codes, on="tier_table")
        .sort("code", "floor")
        .with_columns(bracket=pl.int_range(pl.len()).over("code"))
    )
    code, bracket = rows["code"].to_numpy(), rows["bracket"].to_numpy()
    shape = (len(price), int(bracket.max()) + 1)
    floors = np.full(shape, np.inf)
    floors[code, bracket] = rows["floor"].to_numpy() * price[code]
    rates, deductions = {}, {}
    for name, column in RATES.items():
        rate = np.zeros(shape)
        rate[code, bracket] = rows[column].to_numpy()
        rise = np.diff(rate, axis=1, prepend=0.0)
        used = np.isfinite(floors)
        steps = np.where(used, np.where(used, floors, 0.0) * rise, 0.0)
        rates[name] = np.where(used, rate, 0.0)
        deductions[name] = np.where(used, np.cumsum(steps, axis=1), 0.0)
    return floors, rates, deductions
