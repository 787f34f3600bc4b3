"""The synthetic exchange: the same for a seed, shaped as promised, and fit for a sweep."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import margrave as mg

ACCOUNTS = 20_000
FRAMES = ("positions", "balances", "instruments", "assets")


@pytest.fixture(scope="module")
def night() -> Any:
    return mg.generate(ACCOUNTS, seed=7)


@pytest.fixture(scope="module")
def swept(night: Any) -> Any:
    return mg.sweep(night.positions, night.balances, night.instruments, night.assets, night.rules)


def settle_prices(night: Any) -> pl.DataFrame:
    """Price `settle` in USDT of every `settle_asset`."""
    frame: pl.DataFrame = night.assets
    return frame.select(settle_asset=pl.col("asset_id").cast(pl.String), settle="price")


def with_terms(night: Any) -> pl.DataFrame:
    """Positions with the terms of their instrument and their `notional` in USDT."""
    positions: pl.DataFrame = night.positions
    instruments: pl.DataFrame = night.instruments
    inverse = pl.col("kind") == "inverse"
    per_unit = pl.when(inverse).then(1 / pl.col("mark_price")).otherwise("mark_price")
    size = pl.col("quantity").abs() * pl.col("contract_size")
    return (
        positions.join(instruments, on="instrument_id", maintain_order="left")
        .join(settle_prices(night), on="settle_asset", maintain_order="left")
        .with_columns(notional=size * per_unit * pl.col("settle"))
    )


def test_the_same_seed_gives_the_same_frames_and_rules(night: Any) -> None:
    again = mg.generate(ACCOUNTS, seed=7)
    for frame in FRAMES:
        assert_frame_equal(getattr(night, frame), getattr(again, frame), check_exact=True)
    assert night.rules.hash == again.rules.hash


def test_another_seed_gives_other_frames_and_rules(night: Any) -> None:
    other = mg.generate(ACCOUNTS, seed=8)
    for frame in FRAMES:
        assert not getattr(night, frame).equals(getattr(other, frame))
    assert night.rules.hash != other.rules.hash


def test_exchanges_of_one_seed_share_market_and_rules(night: Any) -> None:
    small = mg.generate(10, seed=7)
    assert_frame_equal(night.instruments, small.instruments, check_exact=True)
    assert_frame_equal(night.assets, small.assets, check_exact=True)
    assert night.rules.hash == small.rules.hash


def test_the_frames_have_the_columns_of_the_contract(night: Any) -> None:
    instrument_ids = pl.Enum(night.instruments["instrument_id"].cast(pl.String))
    asset_ids = pl.Enum(night.assets["asset_id"].cast(pl.String))
    assert night.positions.schema == {
        "account_id": pl.Int64,
        "instrument_id": instrument_ids,
        "quantity": pl.Float64,
        "entry_price": pl.Float64,
        "margin_mode": pl.Enum(["cross", "isolated"]),
        "isolated_margin": pl.Float64,
        "leverage": pl.Float64,
        "open_buy_quantity": pl.Float64,
        "open_sell_quantity": pl.Float64,
    }
    assert night.balances.schema == {
        "account_id": pl.Int64,
        "asset_id": asset_ids,
        "amount": pl.Float64,
    }
    assert night.instruments.schema == {
        "instrument_id": instrument_ids,
        "kind": pl.String,
        "settle_asset": pl.String,
        "mark_price": pl.Float64,
        "contract_size": pl.Float64,
        "base_asset": pl.String,
    }
    assert night.assets.schema == {
        "asset_id": asset_ids,
        "price": pl.Float64,
        "is_stable": pl.Boolean,
    }


def test_the_market_has_400_instruments_on_20_assets(night: Any) -> None:
    assert night.instruments["kind"].value_counts().sort("kind").rows() == [
        ("inverse", 80),
        ("linear", 320),
    ]
    assert night.assets["asset_id"].head(4).to_list() == ["USDT", "USDC", "BTC", "ETH"]
    assert night.assets["price"].head(4).to_list() == [1.0, 0.9998, 60_000.0, 3_000.0]
    assert night.assets["is_stable"].to_list() == [True, True] + [False] * 18


def test_only_isolated_rows_have_a_margin_and_it_is_notional_over_leverage(night: Any) -> None:
    rows = with_terms(night)
    isolated = rows.filter(pl.col("margin_mode") == "isolated")
    assert 0.025 < isolated.height / rows.height < 0.035
    assert rows["isolated_margin"].count() == isolated.height
    margin = isolated["isolated_margin"] * isolated["settle"] * isolated["leverage"]
    assert ((margin / isolated["notional"] - 1).abs() < 1e-12).all()


def test_some_rows_have_a_chosen_leverage_and_some_open_orders(night: Any) -> None:
    rows = night.positions
    assert 0.07 < rows["leverage"].count() / rows.height < 0.09
    assert rows["leverage"].drop_nulls().is_between(1, 50).all()
    orders = rows.select(
        buys=pl.col("open_buy_quantity") > 0, sells=pl.col("open_sell_quantity") > 0
    )
    assert 0.015 < orders.select((pl.col("buys") | pl.col("sells")).mean()).item() < 0.025
    assert orders.select((pl.col("buys") & pl.col("sells")).any()).item()


def test_rows_follow_the_published_distributions(night: Any) -> None:
    rows = with_terms(night)
    assert rows.height == 5 * ACCOUNTS
    rank = pl.col("instrument_id").to_physical()
    drawn = rows.select(
        first=(rank == 0).mean(),
        first_20=(rank < 20).mean(),
        long=(pl.col("quantity") > 0).mean(),
        median_notional=pl.col("notional").median(),
        entry_sigma=(pl.col("entry_price") / pl.col("mark_price")).log().std(),
    ).row(0, named=True)
    published = {
        "first": 0.10,
        "first_20": 0.51,
        "long": 0.55,
        "median_notional": 1_500,
        "entry_sigma": 0.08,
    }
    assert drawn == pytest.approx(published, rel=0.04)


def test_few_accounts_hold_most_positions(night: Any) -> None:
    counts = night.positions["account_id"].value_counts()["count"].sort().to_list()
    assert len(counts) / ACCOUNTS == pytest.approx(0.9, abs=0.01)
    assert [counts[len(counts) * quarter // 4] for quarter in (1, 2, 3)] == [1, 2, 4]
    assert sum(counts[-len(counts) // 10 :]) > 0.5 * sum(counts)
    assert counts[-1] > 300


def test_two_balances_in_a_hundred_are_debts(night: Any) -> None:
    amounts = night.balances["amount"]
    assert 0.015 < (amounts < 0).mean() < 0.025
    assert 1.65 < amounts.len() / ACCOUNTS < 1.80


def test_first_floors_are_round_in_usdt(night: Any) -> None:
    terms = night.instruments.select(
        "settle_asset",
        rank=pl.int_range(pl.len()),
        tier_table=pl.col("instrument_id").cast(pl.String),
    ).join(settle_prices(night), on="settle_asset")
    first = (
        night.rules.tiers.with_columns(pl.col("tier_table").cast(pl.String))
        .filter(pl.col("floor") > 0)
        .group_by("tier_table")
        .agg(pl.col("floor").min())
        .join(terms, on="tier_table")
        .sort("rank")
    )
    rounded = (first["floor"] * first["settle"]).round(6).to_list()
    assert rounded == [50_000.0] * 20 + [20_000.0] * 80 + [5_000.0] * 300


def test_a_sweep_of_it_rejects_nothing_and_has_every_account_once(night: Any, swept: Any) -> None:
    assert swept.rejects.is_empty()
    assert swept.accounts.height == ACCOUNTS
    assert swept.accounts["account_id"].n_unique() == ACCOUNTS
    assert night.balances["account_id"].n_unique() == ACCOUNTS


def test_every_status_has_enough_accounts_to_be_interesting(swept: Any) -> None:
    shares = {
        status: count / ACCOUNTS
        for status, count in swept.accounts["status"].cast(pl.String).value_counts().rows()
    }
    assert shares.keys() == {"flat", "healthy", "below_initial", "liquidation", "bankrupt"}
    assert 0.08 < shares["flat"] < 0.12
    assert shares["healthy"] > 0.75
    assert shares["below_initial"] > 0.03
    assert shares["liquidation"] > 0.005
    assert shares["bankrupt"] > 0.01
    assert 0.02 < swept.accounts["is_liquidatable"].mean() < 0.05


@pytest.mark.parametrize("accounts", [0, -1, 1.5, "10", None, True, 10**9])
def test_a_wrong_number_of_accounts_is_refused_by_name(accounts: Any) -> None:
    with pytest.raises(mg.MargraveError, match=r"^accounts: .* from 1 to 100,000,000"):
        mg.generate(accounts)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "7", None, False])
def test_a_wrong_seed_is_refused_by_name(seed: Any) -> None:
    with pytest.raises(mg.MargraveError, match=r"^seed: .* whole number from 0 to"):
        mg.generate(10, seed=seed)


def test_the_smallest_exchange_and_the_largest_seed_work() -> None:
    night = mg.generate(1, seed=2**64 - 1)
    assert night.positions.height == 5
    assert night.balances["account_id"].n_unique() == 1


def test_the_repr_says_what_it_holds(night: Any) -> None:
    assert repr(night) == (
        "Exchange(20,000 accounts, 100,000 positions, "
        f"{night.balances.height:,} balances, 400 instruments, 20 assets, ruleset 'synthetic')"
    )
