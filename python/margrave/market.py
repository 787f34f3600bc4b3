"""The market: what contracts are and what everything is worth."""

from __future__ import annotations

import polars as pl

from margrave import engine
from margrave.errors import InternalError, SchemaError
from margrave.faults import raise_faults, rejects
from margrave.frames import Frame, check, require_unique
from margrave.ids import common_kind, id_column, meet
from margrave.schema import KIND

__all__ = ["Market"]

AVAILABLE = ("linear", "inverse")


class Market:
    """Contract terms, marks and asset prices.

    `Market(instruments, assets)` takes two frames (DESIGN section 3) in any form: Polars,
    pandas, pyarrow, DuckDB, a `LazyFrame`, or a Parquet or CSV path. Marks are in the unit
    that the contract is quoted in, asset prices in the valuation asset.

    Raises:
        SchemaError: A column is missing or mistyped, an id occurs twice, a kind is unknown
            or not available yet.
        DataError: A value is null, not finite or out of range.
    """

    def __init__(self, instruments: object, assets: object) -> None:
        terms = check("instruments", instruments)
        prices = check("assets", assets)
        instrument_ids = id_column(terms, "instrument_id")
        settle_ids = id_column(terms, "settle_asset")
        asset_ids = id_column(prices, "asset_id")
        require_unique("instruments", instrument_ids.values)
        require_unique("assets", asset_ids.values)
        self._require_available(terms)
        settle, asset = meet([settle_ids, asset_ids], is_account=False)
        (instrument,) = meet([instrument_ids], is_account=False)
        self.instrument_kind = None if instrument_ids.is_csv else common_kind([instrument_ids])
        self.asset_kind = None if asset_ids.is_csv else common_kind([asset_ids])
        self.settle_assets = _names(instrument_ids.values, settle_ids.values)
        self.frames = {
            "instruments": terms.with_ids(instrument_id=instrument, settle_asset=settle),
            "assets": prices.with_ids(asset_id=asset),
        }
        raw = {"instruments": terms.raw, "assets": prices.raw}
        core = self._build()
        market, faults = core
        raise_faults(
            pl.concat([rejects(faults, raw), _null_kinds(terms)]), may_quarantine=False
        )
        if market is None:
            raise InternalError("the market was refused without a reason; please report this")
        self._core = market

    def _build(self) -> tuple[engine.CoreMarket | None, pl.DataFrame]:
        instruments = self.frames["instruments"]
        size = instruments["contract_size"] if "contract_size" in instruments.columns else None
        ones = pl.Series("contract_size", [1.0]).new_from_index(0, instruments.height)
        kind = instruments["kind"].fill_null(0)
        complete = instruments.with_columns(ones if size is None else size, kind)
        return engine.build_market(complete, self.frames["assets"])

    @staticmethod
    def _require_available(terms: Frame) -> None:
        codes = terms.known["kind"]
        later = (codes >= len(AVAILABLE)).fill_null(value=False).arg_true()
        if len(later):
            word, row = KIND[codes[int(later[0])]], int(later[0])
            raise SchemaError(
                f"instruments.kind: {word!r} is not available yet ({len(later)} rows, first: row "
                f"{row}); this version has {' and '.join(AVAILABLE)}"
            )

    @property
    def instruments(self) -> int:
        """Number of instruments."""
        return self.frames["instruments"].height

    @property
    def assets(self) -> int:
        """Number of assets."""
        return self.frames["assets"].height

    def __repr__(self) -> str:
        return f"Market({self.instruments} instruments, {self.assets} assets)"


def _names(instruments: pl.Series, settle: pl.Series) -> dict[str, str]:
    texts = (series.cast(pl.String).to_list() for series in (instruments, settle))
    return dict(zip(*texts, strict=True))


def _null_kinds(terms: Frame) -> pl.DataFrame:
    rows = terms.known["kind"].is_null().arg_true().cast(pl.Int64)
    faults = pl.DataFrame({"row": rows}).with_columns(
        frame=pl.lit("instruments"), column=pl.lit("kind"), reason=pl.lit("null")
    )
    return rejects(faults, {"instruments": terms.raw})
