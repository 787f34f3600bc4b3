"""The market: what contracts are and what everything is worth."""

from __future__ import annotations

import polars as pl

from margrave import engine, notebook
from margrave.errors import InternalError
from margrave.faults import merged, null_rejects, raise_faults, rejects
from margrave.frames import check, require_unique
from margrave.ids import common_kind, id_column, in_type, meet

__all__ = ["Market"]


class Market:
    """Contract terms, marks and asset prices.

    `Market(instruments, assets)` takes two frames in any form: Polars,
    pandas, pyarrow, DuckDB, a `LazyFrame`, or a Parquet or CSV path. Marks are in the unit
    that the contract is quoted in, asset prices in the valuation asset.

    Raises:
        SchemaError: A column is missing or mistyped, an id occurs twice, a kind is unknown.
        DataError: A value is null, not finite or out of range; a quanto has no
            `quanto_multiplier`, an option no `underlying_price`.
    """

    def __init__(self, instruments: object, assets: object) -> None:
        terms = check("instruments", instruments)
        prices = check("assets", assets)
        instrument_ids = id_column(terms, "instrument_id")
        settle_ids = id_column(terms, "settle_asset")
        asset_ids = id_column(prices, "asset_id")
        require_unique("instruments", instrument_ids.values)
        require_unique("assets", asset_ids.values)
        settle, asset = meet([settle_ids, asset_ids], is_account=False)
        (instrument,) = meet([instrument_ids], is_account=False)
        self.instrument_kind = None if instrument_ids.is_csv else common_kind([instrument_ids])
        self.asset_kind = None if asset_ids.is_csv else common_kind([asset_ids])
        self.settle_assets = _names(instrument_ids.values, settle_ids.values)
        self.frames = {
            "instruments": terms.with_ids(instrument_id=instrument, settle_asset=settle),
            "assets": prices.with_ids(asset_id=asset),
        }
        self.inexact = terms.inexact | prices.inexact
        raw = {"instruments": terms.raw, "assets": prices.raw}
        market, faults = self._build()
        kinds = null_rejects("instruments", terms.known["kind"])
        raise_faults(merged(rejects(faults, raw), kinds), may_quarantine=False)
        if market is None:
            raise InternalError("the market was refused without a reason; please report this")
        self._core = market

    def _build(self) -> tuple[engine.CoreMarket | None, pl.DataFrame]:
        columns = {column.name: column for column in self.frames["instruments"]}
        kind, rows = columns["kind"], self.frames["instruments"].height
        if "contract_size" not in columns:
            ones = pl.Series("contract_size", [1.0]).new_from_index(0, rows)
            columns["contract_size"] = ones
        columns["kind"] = kind.set(kind.is_null(), 0)
        complete = pl.DataFrame(list(columns.values()))
        return engine.build_market(complete, self.frames["assets"])

    @property
    def instruments(self) -> int:
        """Number of instruments."""
        return self.frames["instruments"].height

    @property
    def assets(self) -> int:
        """Number of assets."""
        return self.frames["assets"].height

    def _repr_html_(self) -> str:
        counts = {"instruments": self.instruments, "assets": self.assets}
        return notebook.table("Market", counts)

    def __repr__(self) -> str:
        return f"Market({self.instruments} instruments, {self.assets} assets)"


def _names(instruments: pl.Series, settle: pl.Series) -> dict[str, str]:
    texts = (in_type(series, pl.String()).to_list() for series in (instruments, settle))
    return dict(zip(*texts, strict=True))
