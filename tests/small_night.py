"""A small exchange in which every column of the schema has a value in every row.

Five accounts: `a`, `b` and `c` hold positions, `d` balances alone, `e` stands in `accounts`
alone. Row 1 of positions, balances and accounts is `b`'s. What spoils a value, a column or a
frame starts from here, so that the fault is the only one there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

import margrave as mg

Frames = dict[str, Any]

SECTIONS = {"id": "small", "buckets": {"valuation_asset": "USD"}}


def frames() -> Frames:
    """Return the seven frames by name."""
    return {
        "positions": pl.DataFrame(
            {
                "account_id": ["a", "b", "b", "c", "a"],
                "instrument_id": ["BTC", "ETH", "BTC", "COIN", "ETH"],
                "quantity": [2.0, -3.0, 1.0, 100.0, 5.0],
                "entry_price": [90.0, 11.0, 100.0, 80.0, 9.0],
                "margin_mode": ["cross", "isolated", "cross", "cross", "cross"],
                "isolated_margin": [0.0, 20.0, 0.0, 0.0, 0.0],
                "leverage": [10.0, 5.0, 10.0, 4.0, 5.0],
                "tier_table": ["BTC", "alt", "BTC", "BTC", "alt"],
                "open_buy_quantity": [1.0, 0.0, 2.0, 0.0, 1.0],
                "open_sell_quantity": [0.5, 2.0, 0.0, 1.0, 1.0],
            }
        ),
        "balances": pl.DataFrame(
            {
                "account_id": ["a", "b", "c", "d", "d"],
                "asset_id": ["USD", "USD", "BTC", "USD", "BTC"],
                "amount": [100.0, 50.0, 1.5, -10.0, 1.0],
            }
        ),
        "accounts": pl.DataFrame(
            {
                "account_id": ["a", "b", "e"],
                "owner_id": ["x", "y", "x"],
                "desk": [7, 8, 9],
            }
        ),
        "instruments": pl.DataFrame(
            {
                "instrument_id": ["BTC", "ETH", "COIN"],
                "kind": ["linear", "linear", "inverse"],
                "settle_asset": ["USD", "USD", "BTC"],
                "mark_price": [100.0, 10.0, 100.0],
                "contract_size": [1.0, 2.0, 1.0],
                "base_asset": ["BTC", "ETH", "BTC"],
                "tier_table": ["BTC", "alt", "BTC"],
                "close_fee_rate": [0.001, 0.002, 0.001],
                "quanto_multiplier": [1.0, 1.0, 1.0],
                "open_interest": [1e6, 1e6, 1e6],
                "underlying_id": ["BTC", "ETH", "BTC"],
                "strike": [1.0, 1.0, 1.0],
                "expiry": [date(2027, 1, 1)] * 3,
                "mark_time": [datetime(2026, 12, 25, 8)] * 3,
                "mark_iv": [0.5, 0.5, 0.5],
                "underlying_price": [100.0, 10.0, 100.0],
            }
        ),
        "assets": pl.DataFrame(
            {
                "asset_id": ["USD", "BTC"],
                "price": [1.0, 100.0],
                "weight_table": ["USD", "BTC"],
                "is_stable": [True, False],
                "price_time": ["2026-12-25T08:00:00Z", "2026-12-25"],
            }
        ),
        "tiers": pl.DataFrame(
            {
                "tier_table": ["BTC", "BTC", "alt"],
                "floor": [0.0, 150.0, 0.0],
                "maintenance_rate": [0.05, 0.1, 0.1],
                "initial_rate": [0.1, 0.2, 0.2],
                "deduction": [0.0, 7.5, 0.0],  # 150 * (0.1 - 0.05)
            }
        ),
        "weights": pl.DataFrame(
            {
                "weight_table": ["BTC", "BTC", "USD"],
                "floor": [0.0, 120.0, 0.0],
                "maintenance_weight": [0.9, 0.5, 1.0],
                "initial_weight": [0.8, 0.4, 1.0],
                "liability_weight": [1.1, 1.1, 1.0],
                "borrow_maintenance_rate": [0.05, 0.05, 0.02],
                "borrow_initial_rate": [0.1, 0.1, 0.04],
            }
        ),
    }


def rules_of(night: Mapping[str, Any]) -> mg.Rules:
    """Return the ruleset with the night's tables."""
    return mg.Rules.load(SECTIONS).with_tables(tiers=night["tiers"], weights=night["weights"])


def sweep(night: Mapping[str, Any], **options: Any) -> mg.Sweep:
    """Return the sweep of a night's seven frames."""
    inputs = {name: night[name] for name in ("positions", "balances", "instruments", "assets")}
    return mg.sweep(**inputs, rules=rules_of(night), accounts=night["accounts"], **options)


def with_value(frame: pl.DataFrame, column: str, row: int, value: Any) -> pl.DataFrame:
    """Return the frame with one value replaced, in the column's type."""
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, dtype=frame[column].dtype))


def digest() -> str:
    """Return the digest of the small night's results: for a process to send home."""
    return str(sweep(frames()).manifest["result_digest"])
