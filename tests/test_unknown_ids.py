"""Ids that a frame or a ruleset lacks: raised, or set aside with the accounts that need them."""

from __future__ import annotations

from functools import partial

import polars as pl
import pytest

import margrave as mg
from faulty import assert_b_alone_is_unknown, refused
from small_night import Frames, frames, rules_of, sweep, with_value


def lacking(
    what: str,
) -> tuple[Frames, type[mg.MargraveError], str, list[tuple[str, int, str, str, str]]]:
    """Return a night in which `b` alone needs something, the error, the id, and the rejects."""
    night = frames()
    if what == "instrument":
        night["positions"] = with_value(night["positions"], "instrument_id", 1, "DOGE")
        rejects = [("positions", 1, "instrument_id", "DOGE", "instrument missing in instruments")]
        return night, mg.UnknownInstrument, "DOGE", rejects
    if what == "asset":
        night["balances"] = with_value(night["balances"], "asset_id", 1, "EUR")
        night["balances"] = with_value(night["balances"], "amount", 1, 0.0)
        rejects = [("balances", 1, "asset_id", "EUR", "asset missing in the market")]
        return night, mg.UnknownAsset, "EUR", rejects
    night["positions"] = with_value(night["positions"], "instrument_id", 1, "EURUSD")
    night["positions"] = with_value(night["positions"], "quantity", 1, 0.0)
    new = night["instruments"][1:2].with_columns(
        instrument_id=pl.lit("EURUSD"), settle_asset=pl.lit("EUR")
    )
    night["instruments"] = pl.concat([night["instruments"], new])
    reason = "settle asset EUR missing in the market"
    return night, mg.UnknownAsset, "EUR", [("positions", 1, "instrument_id", "EURUSD", reason)]


@pytest.mark.parametrize("what", ["instrument", "asset", "settle asset"])
def test_an_unknown_id_raises_or_makes_its_account_indeterminate(what: str) -> None:
    night, error, named, rejects = lacking(what)
    message = refused(error, partial(sweep, night))
    assert named in message
    assert f"{rejects[0][0]}.{rejects[0][2]}" in message
    result = sweep(night, on_error="quarantine")
    assert result.rejects.rows() == rejects
    assert_b_alone_is_unknown(result, night)


@pytest.mark.parametrize("what", ["instrument", "asset", "settle asset"])
def test_an_unknown_id_is_a_reject_whatever_else_is_wrong_with_its_account(what: str) -> None:
    night, _, _, rejects = lacking(what)
    night["positions"] = with_value(night["positions"], "quantity", 2, float("nan"))
    other = ("positions", 2, "quantity", "NaN", "NaN")
    assert sweep(night, on_error="quarantine").rejects.rows() == [*rejects, other]


def test_an_instrument_that_the_market_alone_lacks_is_met_at_the_sweep() -> None:
    night = frames()
    book = mg.Book(night["positions"], night["balances"], night["instruments"])
    market = mg.Market(
        night["instruments"].filter(pl.col("instrument_id") != "COIN"), night["assets"]
    )
    rules = rules_of(night)
    message = refused(mg.UnknownInstrument, lambda: book.sweep(market, rules))
    assert "'COIN'" in message
    book = mg.Book(
        night["positions"], night["balances"], night["instruments"], on_error="quarantine"
    )
    result = book.sweep(market, rules)
    reason = "instrument missing in the market"
    assert result.rejects.rows() == [("positions", 3, "instrument_id", "COIN", reason)]
    assert result.positions["mark_price"].to_list() == [100.0, 10.0, 100.0, None, 10.0]
    whole = book.sweep(mg.Market(night["instruments"], night["assets"]), rules)
    assert whole.rejects.is_empty()


def test_all_unknown_ids_are_counted_and_the_first_are_named() -> None:
    night = frames()
    ids = [f"X{number}" for number in range(20)]
    night["positions"] = pl.concat([night["positions"][:1]] * 20).with_columns(
        instrument_id=pl.Series(ids)
    )
    message = refused(mg.UnknownInstrument, partial(sweep, night))
    assert "'X0', 'X1', 'X2', 'X3', 'X4' and 15 more (20 rows" in message


TABLES = [
    ("positions", "tier_table", "tiers.tier_table"),
    ("instruments", "tier_table", "tiers.tier_table"),
    ("assets", "weight_table", "weights.weight_table"),
]


@pytest.mark.parametrize(("frame", "column", "path"), TABLES)
@pytest.mark.parametrize("mode", ["raise", "quarantine"])
def test_a_missing_table_is_a_mistake_of_the_rules_in_both_modes(
    frame: str, column: str, path: str, mode: str
) -> None:
    night = frames()
    if frame == "instruments":
        night["positions"] = night["positions"].drop("tier_table")
    night[frame] = with_value(night[frame], column, 1, "nowhere")
    message = refused(mg.RulesError, partial(sweep, night, on_error=mode))
    assert path in message
    assert '"nowhere"' in message


@pytest.mark.parametrize("frame", ["positions", "balances"])
def test_only_rows_of_determinate_accounts_ask_for_tables(frame: str) -> None:
    night = frames()
    night["positions"] = with_value(night["positions"], "tier_table", 1, "nowhere")
    night["positions"] = with_value(night["positions"], "isolated_margin", 1, -5.0)
    column = {"positions": "entry_price", "balances": "amount"}[frame]
    night[frame] = with_value(night[frame], column, 1, float("nan"))
    result = sweep(night, on_error="quarantine")
    assert_b_alone_is_unknown(result, night)


def test_what_nobody_holds_needs_no_table() -> None:
    night = frames()
    new = night["instruments"][:1].with_columns(
        instrument_id=pl.lit("NEW"), tier_table=pl.lit("nowhere"), settle_asset=pl.lit("GONE")
    )
    asset = night["assets"][:1].with_columns(asset_id=pl.lit("NEW"), weight_table=pl.lit("nowhere"))
    more = {
        **night,
        "instruments": pl.concat([night["instruments"], new]),
        "assets": pl.concat([night["assets"], asset]),
    }
    assert sweep(more).accounts.equals(sweep(night).accounts)


@pytest.mark.parametrize("mode", ["raise", "quarantine"])
def test_only_isolated_debt_needs_the_weights_of_what_it_settles_in(mode: str) -> None:
    night, _, _, _ = lacking("settle asset")
    night["positions"] = with_value(night["positions"], "quantity", 1, 1.0)
    euro = pl.DataFrame({"asset_id": ["EUR"], "price": [2.0]})
    night["assets"] = pl.concat([night["assets"], euro], how="diagonal")
    assert sweep(night, on_error=mode).buckets["collateral_value"][2] == 40.0
    night["positions"] = with_value(night["positions"], "isolated_margin", 1, -5.0)
    message = refused(mg.RulesError, partial(sweep, night, on_error=mode))
    assert message.startswith('weights.weight_table: no table "EUR"')


def test_all_missing_tables_are_named_at_once() -> None:
    night = frames()
    night["tiers"], night["weights"] = night["tiers"].clear(), night["weights"].clear()
    message = refused(mg.RulesError, partial(sweep, night))
    names = ("tiers", "BTC"), ("tiers", "alt"), ("weights", "BTC"), ("weights", "USD")
    assert all(f'{table}.{table[:-1]}_table: no table "{name}"' in message for table, name in names)
