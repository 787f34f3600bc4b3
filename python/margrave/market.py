"""The market: what contracts are and what everything is worth."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property

import polars as pl

from margrave import engine, notebook
from margrave.errors import InternalError
from margrave.faults import merged, null_rejects, raise_faults, rejects
from margrave.frames import check, require_unique
from margrave.ids import common_kind, id_column, in_type, meet
from margrave.moves import factor_map

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
        self.shocks: list[dict[str, float]] = []

    def _build(self) -> tuple[engine.CoreMarket | None, pl.DataFrame]:
        columns = {column.name: column for column in self.frames["instruments"]}
        kind, rows = columns["kind"], self.frames["instruments"].height
        if "contract_size" not in columns:
            ones = pl.Series("contract_size", [1.0]).new_from_index(0, rows)
            columns["contract_size"] = ones
        columns["kind"] = kind.set(kind.is_null(), 0)
        complete = pl.DataFrame(list(columns.values()))
        return engine.build_market(complete, self.frames["assets"])

    @cached_property
    def factors(self) -> frozenset[str]:
        """Names that a scenario can move: of instruments, assets and base assets, as text."""
        terms, prices = self.frames["instruments"], self.frames["assets"]
        named = [terms["instrument_id"], prices["asset_id"]]
        named += [terms["base_asset"]] if "base_asset" in terms.columns else []
        return frozenset(
            name for column in named for name in in_type(column, pl.String()).drop_nulls()
        )

    def shocked(self, factors: Mapping[str, float]) -> Market:
        """Return this market moved as a scenario with these factors would move it.

        Args:
            factors: Relative price moves by factor: an `instrument_id`, an `asset_id`, a
                `base_asset`, or `*`. The most specific one wins. What `*` leaves alone besides
                stable assets, the valuation asset, only a ruleset knows; so a market is moved
                when it is swept.

        Returns:
            A new market: marks and prices times `1 + factor`. Shocked twice, the moves multiply.

        Raises:
            DataError: A factor that names nothing here; a move of -1 or below, beyond 1e18, or
                that is no number. Messages name `scenarios.factor` and `scenarios.price_shock`.
            SchemaError: `factors` is no mapping, or a move is of another type.

        Example:
            Long 2 at 100, marked at 100, with 30 in cash; the mark falls by 20 % to 80:
            30 + 2 * (80 - 100) = -10.

            >>> import margrave as mg
            >>> import polars as pl
            >>> held = {"account_id": 1, "instrument_id": "X", "quantity": 2, "entry_price": 100}
            >>> terms = {"instrument_id": "X", "kind": "linear", "settle_asset": "USD"}
            >>> cash = {"account_id": 1, "asset_id": "USD", "amount": 30}
            >>> flat = {"tier_table": "X", "floor": 0, "maintenance_rate": 0.1, "initial_rate": 0.2}
            >>> full = {"weight_table": "USD", "maintenance_weight": 1}
            >>> instruments = pl.DataFrame([terms | {"mark_price": 100}])
            >>> market = mg.Market(instruments, pl.DataFrame([{"asset_id": "USD", "price": 1}]))
            >>> book = mg.Book(pl.DataFrame([held]), pl.DataFrame([cash]), instruments)
            >>> rules = mg.Rules.load({"tiers": [flat], "weights": [full]})
            >>> book.sweep(market.shocked({"X": -0.2}), rules).accounts["equity"].to_list()
            [-10.0]
        """
        moves = factor_map(factors, self.factors, "scenarios.factor", "scenarios.price_shock")
        moved = copy.copy(self)
        moved._core = engine.shocked(self._core, moves)
        moved.shocks = [*self.shocks, moves]
        return moved

    def shocks_as_frames(self) -> list[tuple[str, pl.DataFrame]]:
        """Return what `shocked` has moved, a frame `factor`, `price_shock` for each time."""
        columns = {"factor": pl.String, "price_shock": pl.Float64}
        rows = (sorted(moves.items()) for moves in self.shocks)
        return [("shocks", pl.DataFrame(of, schema=columns, orient="row")) for of in rows]

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
