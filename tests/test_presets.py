"""The rulesets that ship: what each file says of itself, and one account worked by hand under each.

The arithmetic stands beside each account. Tables that a preset leaves to its user are given
in the test.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg

PRESETS = mg.Rules.presets()

WANTED = {"aave_v3", "binance_coinm", "binance_multi_assets", "binance_spot_margin"}
WANTED |= {"binance_usdm", "bybit_linear", "compound_v3", "dydx_v4", "hyperliquid"}
WANTED |= {"kraken_futures", "okx_multi_currency"}

#: Keys that say nothing about margin, and the tables.
ABOUT = {"id", "title", "as_of", "source", "differs", "tiers", "weights", "ladder"}

Rows = list[dict[str, Any]]

POSITIONS = ("account_id", "instrument_id", "quantity", "entry_price")


def content(preset: str) -> dict[str, Any]:
    """Return the file of a preset as TOML reads it."""
    file = resources.files("margrave").joinpath("presets", f"{preset}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def swept(
    rules: mg.Rules,
    balances: Sequence[tuple[int, str, float]],
    assets: dict[str, float],
    positions: Rows | None = None,
    instruments: Rows | None = None,
) -> mg.Sweep:
    """Return the sweep of a few accounts, numbered from 1."""
    held: dict[str, Any] = dict.fromkeys(POSITIONS, pl.Float64)
    held |= {"account_id": pl.Int64, "instrument_id": pl.String}
    listed = {"instrument_id": "none", "kind": "linear", "settle_asset": next(iter(assets))}
    return mg.sweep(
        pl.DataFrame(positions) if positions else pl.DataFrame(schema=held),
        pl.DataFrame(balances, schema=("account_id", "asset_id", "amount"), orient="row"),
        pl.DataFrame(instruments or [{**listed, "mark_price": 1.0}]),
        pl.DataFrame({"asset_id": list(assets), "price": list(assets.values())}),
        rules,
    )


def tiers(table: str, *rows: tuple[float, float, float]) -> pl.DataFrame:
    """Return a table of tiers: floor, maintenance rate, initial rate."""
    columns = ("floor", "maintenance_rate", "initial_rate")
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns(pl.lit(table).alias("tier_table"))


def assert_row(frame: pl.DataFrame, row: int, **figures: Any) -> None:
    """Fail unless a row has these figures: numbers to 1e-12, words and flags exactly."""
    found = frame.row(row, named=True)
    for name, value in figures.items():
        if isinstance(value, float):
            assert math.isclose(found[name], value, rel_tol=1e-12), (name, found[name], value)
        else:
            assert found[name] == value, (name, found[name], value)


# What the files say of themselves


def test_all_wanted_presets_are_there() -> None:
    assert set(PRESETS) >= WANTED


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_what_it_is_from_when_and_from_where(preset: str) -> None:
    rules, file = mg.Rules.preset(preset), content(preset)
    assert rules.id == file["id"] == preset
    assert rules.title != preset
    assert isinstance(file["as_of"], date)
    assert rules.as_of == str(file["as_of"])
    assert rules.source is not None
    assert len(rules.source) > 40
    assert rules.differs == file["differs"]
    assert len(rules.differs) >= 3
    assert all(len(text) > 20 and not text.endswith(".") for text in rules.differs)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_writes_down_every_key(preset: str) -> None:
    file = content(preset)
    assert {k: v for k, v in file.items() if k not in ABOUT} == mg.Rules.preset(preset).sections()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_being_written(preset: str, tmp_path: Path) -> None:
    rules = mg.Rules.preset(preset)
    path = tmp_path / "copy.toml"
    path.write_text(rules.to_toml(), encoding="utf-8")
    copy = mg.Rules.load(path)
    assert copy.hash == rules.hash
    assert copy.diff(rules).is_empty()
    assert (copy.title, copy.source, copy.as_of) == (rules.title, rules.source, rules.as_of)
    assert (copy.differs, copy.ladder) == (rules.differs, rules.ladder)


def test_no_two_presets_are_the_same_ruleset() -> None:
    hashes = {mg.Rules.preset(preset).replace(id="same").hash for preset in PRESETS}
    # the lenders have the conventions of each other, and weights of their own
    assert len(hashes) == len(PRESETS)


# One account under each


def test_hyperliquid_rests_on_account_value_and_hands_over_below_two_thirds() -> None:
    # 1 BTC at 58,000, table 56: 58,000 * 0.0125 = 725 to keep, 58,000 / 20 = 2,900 to open
    # 1: 2,900 + (58,000 - 60,000) = 900; 2: 400 < 2/3 * 725 = 483.33
    # liquidation of 1: 2,900 - 60,000 + P = 0.0125 P
    btc = {"instrument_id": "BTC", "quantity": 1.0, "entry_price": 60_000.0, "leverage": 20.0}
    night = swept(
        mg.Rules.preset("hyperliquid"),
        [(1, "USDC", 2_900.0), (2, "USDC", 2_400.0)],
        {"USDC": 1.0},
        [{"account_id": 1, **btc}, {"account_id": 2, **btc}],
        [
            {
                **{"instrument_id": "BTC", "kind": "linear", "settle_asset": "USDC"},
                **{"mark_price": 58_000.0, "tier_table": 56},
            }
        ],
    )
    assert_row(night.accounts, 0, equity=900.0, maintenance_margin=725.0, initial_margin=2_900.0)
    assert_row(night.accounts, 0, status="below_initial", ladder=None)
    assert_row(night.accounts, 1, status="liquidation", ladder="backstop")
    assert_row(night.positions, 0, liquidation_price=57_100 / 0.9875)


USDM = {"kind": "linear", "settle_asset": "USDT", "tier_table": "BTC/USDT:USDT"}
BRACKETS = tiers("BTC/USDT:USDT", (0.0, 0.004, 0.008), (50_000.0, 0.005, 0.01))


def test_binance_usdm_margins_both_legs_and_liquidates_on_the_line() -> None:
    # BTC at 30,000. The second bracket's amount is 50,000 * (0.005 - 0.004) = 50.
    # 1: long 2: 60,000 * 0.005 - 50 = 250; short 1: 30,000 * 0.004 = 120; profit of the short 1,000
    #    to open: (60,000 + 30,000) / 20 = 4,500, against 1,000 + 1,000; its USDC back nothing here
    # 2: long 1: requires 120 and has 120, a ratio of 100 %
    rows = [
        {"account_id": 1, "quantity": 2.0, "entry_price": 30_000.0},
        {"account_id": 1, "quantity": -1.0, "entry_price": 31_000.0},
        {"account_id": 2, "quantity": 1.0, "entry_price": 30_000.0},
    ]
    night = swept(
        mg.Rules.preset("binance_usdm").with_tables(tiers=BRACKETS),
        [(1, "USDT", 1_000.0), (1, "USDC", 9_000.0), (2, "USDT", 120.0)],
        {"USDT": 1.0, "USDC": 1.0},
        [{**row, "instrument_id": "BTCUSDT", "leverage": 20.0} for row in rows],
        [{"instrument_id": "BTCUSDT", "mark_price": 30_000.0, **USDM}],
    )
    assert night.buckets["bucket_id"].to_list() == ["cross:USDT", "cross:USDC", "cross:USDT"]
    assert_row(night.buckets, 0, margin_balance=2_000.0, maintenance_margin=370.0)
    assert_row(night.buckets, 0, initial_margin=4_500.0, gross_notional=90_000.0)
    assert_row(night.accounts, 0, status="below_initial", equity=11_000.0)
    assert_row(night.accounts, 1, is_liquidatable=True, margin_ratio=1.0, margin_buffer=0.0)
    assert night.positions["maintenance_margin"].to_list() == [250.0, 120.0, 120.0]


def test_binance_coinm_counts_brackets_in_coins_and_keeps_coins_apart() -> None:
    # 100 contracts of 100 USD from 50,000, now 40,000: 10,000 / 40,000 = 0.25 BTC.
    # profit: 10,000 * (1/50,000 - 1/40,000) = -0.05 BTC; second bracket from 0.2 BTC, amount 0.0002
    # to keep: 0.25 * 0.005 - 0.0002 = 0.00105 BTC = 42 USD; to open: 0.025 BTC = 1,000 USD
    night = swept(
        mg.Rules.preset("binance_coinm").with_tables(
            tiers=tiers("BTCUSD", (0.0, 0.004, 0.008), (0.2, 0.005, 0.01))
        ),
        [(1, "BTC", 0.1), (1, "ETH", 5.0)],
        {"BTC": 40_000.0, "ETH": 2_000.0},
        [
            {
                **{"account_id": 1, "instrument_id": "BTCUSD_PERP", "quantity": 100.0},
                **{"entry_price": 50_000.0, "leverage": 10.0},
            }
        ],
        [
            {
                **{"instrument_id": "BTCUSD_PERP", "kind": "inverse", "settle_asset": "BTC"},
                **{"mark_price": 40_000.0, "contract_size": 100.0, "tier_table": "BTCUSD"},
            }
        ],
    )
    assert night.buckets["bucket_id"].to_list() == ["cross:BTC", "cross:ETH"]
    assert_row(night.buckets, 0, margin_balance=2_000.0, maintenance_margin=42.0)
    assert_row(night.buckets, 0, initial_margin=1_000.0, status="healthy")
    assert_row(night.positions, 0, tier=2, notional=10_000.0, unrealized_pnl=-2_000.0)


def test_binance_multi_assets_counts_sums_at_bid_and_debts_at_ask() -> None:
    # BTC: 0.1 * 40,000 * 0.95 = 3,800. USDT: -500 + (40,000 - 39,700) = -200, at ask -200.02
    # to keep: 40,000 * 0.005 = 200, at the ask rate 200.02; to open: 40,000 / 10 = 4,000
    night = swept(
        mg.Rules.preset("binance_multi_assets").with_tables(
            tiers=tiers("BTC/USDT:USDT", (0.0, 0.005, 0.01))
        ),
        [(1, "BTC", 0.1), (1, "USDT", -500.0)],
        {"BTC": 40_000.0, "USDT": 1.0},
        [
            {
                **{"account_id": 1, "instrument_id": "BTCUSDT", "quantity": 1.0},
                **{"entry_price": 39_700.0, "leverage": 10.0},
            }
        ],
        [{"instrument_id": "BTCUSDT", "mark_price": 40_000.0, **USDM}],
    )
    assert_row(night.accounts, 0, equity=3_800.0, collateral_value=4_000.0, debt_value=200.0)
    assert_row(night.accounts, 0, margin_balance=3_599.98, maintenance_margin=200.0)
    assert_row(night.accounts, 0, margin_buffer=3_399.96, status="below_initial")


def test_binance_spot_margin_liquidates_at_a_level_of_one_point_one() -> None:
    # assets / debt of 1: 44,000 / 40,000 = 1.1, on the line; of 2: 44,000 / 36,000 = 1.2222, below
    # the call at 1.3; of 3: 44,000 / 20,000 = 2.2, and 24,000 against 20,000 * 0.5 to open
    # 4 owes nothing
    owed = {1: 40_000.0, 2: 36_000.0, 3: 20_000.0}
    night = swept(
        mg.Rules.preset("binance_spot_margin"),
        [(a, "BTC", 1.0) for a in range(1, 5)] + [(a, "USDT", -owed[a]) for a in owed],
        {"BTC": 44_000.0, "USDT": 1.0},
    )
    statuses = ["liquidation", "below_initial", "healthy", "flat"]
    assert night.accounts["status"].to_list() == statuses
    assert night.accounts["ladder"].to_list() == ["margin_call", "margin_call", None, None]
    assert_row(night.accounts, 0, margin_balance=4_000.0, maintenance_margin=4_000.0)
    assert_row(night.accounts, 0, health_factor=1.1)
    assert_row(night.accounts, 1, health_factor=44_000 / 36_000)
    assert_row(night.accounts, 2, free_collateral=14_000.0)


def test_bybit_linear_counts_the_fee_to_close_at_the_bankruptcy_price() -> None:
    # 1 BTC isolated at 50,000 with 10x: bankrupt at 45,000, fee 45,000 * 0.00055 = 24.75
    # to keep: 50,000 * 0.005 + 24.75 = 274.75
    # liquidation: 5,000 + (P - 50,000) = 0.005 P + 24.75
    night = swept(
        mg.Rules.preset("bybit_linear").with_tables(tiers=tiers("BTCUSDT", (0.0, 0.005, 0.01))),
        [(1, "USDT", 0.0)],
        {"USDT": 1.0},
        [
            {
                **{"account_id": 1, "instrument_id": "BTCUSDT", "quantity": 1.0},
                **{"entry_price": 50_000.0, "leverage": 10.0},
                **{"margin_mode": "isolated", "isolated_margin": 5_000.0},
            }
        ],
        [
            {
                **{"instrument_id": "BTCUSDT", "kind": "linear", "settle_asset": "USDT"},
                **{"mark_price": 50_000.0, "close_fee_rate": 0.00055},
            }
        ],
    )
    assert_row(night.positions, 0, bankruptcy_price=45_000.0, maintenance_margin=274.75)
    assert_row(night.positions, 0, liquidation_price=45_024.75 / 0.995, initial_margin=5_000.0)


def test_okx_takes_the_whole_position_at_the_rate_of_its_tier() -> None:
    # contracts of 0.01 BTC at 50,000; 1,000 contracts are the last of the first tier
    # 1: 500,000 * (0.004 + 0.0005) = 2,250; 2: 500,500 * (0.005 + 0.0005) = 2,752.75
    # coins: 25,000 * 0.95 + 25,000 * 0.9 = 46,250; USDT: 1,000 - 5,000 = -4,000 for account 1
    weights = {
        "weight_table": ["BTC", "BTC", "USDT"],
        "floor": [0.0, 25_000.0, 0.0],
        "maintenance_weight": [0.95, 0.9, 1.0],
    }
    rules = mg.Rules.preset("okx_multi_currency").with_tables(
        tiers=tiers("BTC-USDT-SWAP", (0.0, 0.004, 0.01), (1_000.0, 0.005, 0.0125)),
        weights=pl.DataFrame(weights),
    )
    swap = {"instrument_id": "BTC-USDT-SWAP", "leverage": 20.0}
    night = swept(
        rules,
        [(a, coin, amount) for a in (1, 2) for coin, amount in (("BTC", 1.0), ("USDT", 1_000.0))],
        {"BTC": 50_000.0, "USDT": 1.0},
        [
            {"account_id": 1, "quantity": 1_000.0, "entry_price": 50_500.0, **swap},
            {"account_id": 2, "quantity": 1_001.0, "entry_price": 50_000.0, **swap},
        ],
        [
            {
                **{"instrument_id": "BTC-USDT-SWAP", "kind": "linear", "settle_asset": "USDT"},
                **{"mark_price": 50_000.0, "contract_size": 0.01, "close_fee_rate": 0.0005},
            }
        ],
    )
    assert_row(night.accounts, 0, margin_balance=42_250.0, maintenance_margin=2_250.0)
    assert_row(night.accounts, 0, initial_margin=25_000.0, debt_value=4_000.0)
    assert_row(night.accounts, 1, margin_balance=47_250.0, maintenance_margin=2_752.75)
    assert night.positions["tier"].to_list() == [1, 2]


def test_kraken_futures_margins_at_entry_and_haircuts_collateral() -> None:
    # 2 BTC from 40,000, now 35,000: margin levels at 80,000: 1 % to keep = 800, by leverage 5
    # 16,000 to open (2 % would be 1,600)
    # 1 BTC: 35,000 * 0.97 * 0.9975 = 33,865.125, less the loss of 10,000
    levels = tiers("PF_XBTUSD", (0.0, 0.01, 0.02), (25.0, 0.02, 0.04))
    weights = pl.DataFrame({"weight_table": ["BTC"], "maintenance_weight": [0.97 * 0.9975]})
    usd = mg.Rules.preset("kraken_futures").weights.select("weight_table", "maintenance_weight")
    night = swept(
        mg.Rules.preset("kraken_futures").with_tables(
            tiers=levels, weights=pl.concat([usd, weights])
        ),
        [(1, "BTC", 1.0)],
        {"BTC": 35_000.0, "USD": 1.0},
        [
            {
                **{"account_id": 1, "instrument_id": "PF_XBTUSD", "quantity": 2.0},
                **{"entry_price": 40_000.0, "leverage": 5.0},
            }
        ],
        [
            {
                **{"instrument_id": "PF_XBTUSD", "kind": "linear", "settle_asset": "USD"},
                **{"mark_price": 35_000.0},
            }
        ],
    )
    assert_row(night.accounts, 0, equity=25_000.0, margin_balance=23_865.125)
    assert_row(night.accounts, 0, maintenance_margin=800.0, initial_margin=16_000.0)
    assert_row(night.accounts, 0, gross_notional=70_000.0)


def test_dydx_v4_never_liquidates_without_a_requirement() -> None:
    # 10 ETH from 2,000, now 1,800, Large-Cap: 18,000 * 0.012 = 216 to keep, 360 to open
    # 1: 2,200 - 2,000 = 200; 2: 216, on the line; 3 owes 5 and holds nothing
    eth = {"instrument_id": "ETH-USD", "quantity": 10.0, "entry_price": 2_000.0}
    night = swept(
        mg.Rules.preset("dydx_v4"),
        [(1, "USDC", 2_200.0), (2, "USDC", 2_216.0), (3, "USDC", -5.0)],
        {"USDC": 1.0},
        [{"account_id": 1, **eth}, {"account_id": 2, **eth}],
        [
            {
                **{"instrument_id": "ETH-USD", "kind": "linear", "settle_asset": "USDC"},
                **{"mark_price": 1_800.0, "tier_table": 0},
            }
        ],
    )
    assert night.accounts["is_liquidatable"].to_list() == [True, False, False]
    assert night.accounts["status"].to_list() == ["liquidation", "below_initial", "bankrupt"]
    assert_row(night.accounts, 0, equity=200.0, maintenance_margin=216.0, initial_margin=360.0)


def test_aave_v3_liquidates_below_a_health_factor_of_one() -> None:
    # 10 WETH at 2,000: 20,000 * 0.83 = 16,600 at the threshold, 16,100 at the loan-to-value
    # 1 owes 100 AAVE at 166 = 16,600, a health factor of 1; 2 owes 101; 3 owes 50, 8,300
    night = swept(
        mg.Rules.preset("aave_v3"),
        [(a, "WETH", 10.0) for a in (1, 2, 3)]
        + [(1, "AAVE", -100.0), (2, "AAVE", -101.0), (3, "AAVE", -50.0)],
        {"WETH": 2_000.0, "AAVE": 166.0},
    )
    assert night.accounts["is_liquidatable"].to_list() == [False, True, False]
    assert_row(night.accounts, 0, health_factor=1.0, margin_buffer=0.0, status="below_initial")
    assert_row(night.accounts, 1, health_factor=16_600 / 16_766)
    assert_row(night.accounts, 2, health_factor=2.0, free_collateral=7_800.0, status="healthy")


def test_compound_v3_absorbs_below_a_liquidity_of_zero() -> None:
    # 10 WETH at 2,000: 20,000 * 0.895 = 17,900 to keep, 20,000 * 0.825 = 16,500 to borrow
    # 1 owes 17,900; 2 owes a dollar more; 3 owes 10,000; 4 supplies USDC
    base = {1: -17_900.0, 2: -17_901.0, 3: -10_000.0, 4: 5.0}
    night = swept(
        mg.Rules.preset("compound_v3"),
        [(a, "WETH", 10.0) for a in base] + [(a, "USDC", base[a]) for a in base],
        {"WETH": 2_000.0, "USDC": 1.0},
    )
    statuses = ["below_initial", "liquidation", "healthy", "flat"]
    assert night.accounts["status"].to_list() == statuses
    assert_row(night.accounts, 1, margin_buffer=-1.0, maintenance_margin=0.0)
    assert_row(night.accounts, 2, free_collateral=6_500.0)
    assert_row(night.accounts, 3, margin_balance=17_905.0)
