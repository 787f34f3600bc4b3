"""What scenarios, shocked markets and stresses refuse, and in which words."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import OVER, WRONG, bits, refused, respell
from moving_exchanges import book_of, market_of, rules_of, scenario_frame
from small_night import frames
from small_night import rules_of as small_rules
from test_laws import assert_same_bits
from test_stress import LONG, THREE, frames_by_name
from worked import balance, night, position

BOOK, MARKET, RULES = book_of(LONG), market_of(LONG), rules_of(LONG)

GOOD = pl.DataFrame(
    {
        "scenario_id": ["one", "one", "two"],
        "factor": ["BTC", "ETH", "*"],
        "price_shock": [-0.25, 0.5, -0.5],
        "vol_shock": [0.0, None, None],
    }
)


def stress(scenarios: object) -> Any:
    return BOOK.stress(MARKET, RULES, scenarios)


def spoilt(column: str, value: Any, dtype: Any = None) -> pl.DataFrame:
    """Return the good scenarios with the value in row 1."""
    values = GOOD[column].to_list()
    values[1] = value
    return GOOD.with_columns(pl.Series(column, values, dtype=dtype or GOOD[column].dtype))


def same(one: object, other: object) -> bool:
    """Return whether two frames of scenarios give the same stress."""
    left, right = frames_by_name(stress(one)), frames_by_name(stress(other))
    return all(bits(left[name]) == bits(right[name]) for name in left)


BAD_SHOCKS = [-1.0, -1.5, math.nextafter(-1.0, -2.0), math.nan, math.inf, -math.inf, 1e19, OVER]


@pytest.mark.parametrize("shock", [*BAD_SHOCKS, None])
def test_a_shock_that_leaves_no_price_is_refused(shock: float | None) -> None:
    message = refused(mg.DataError, partial(stress, spoilt("price_shock", shock)))
    assert "scenarios.price_shock" in message
    assert "first rows: 1" in message
    quarantining = book_of(LONG, on_error="quarantine")
    run = partial(quarantining.stress, MARKET, RULES, spoilt("price_shock", shock))
    assert refused(mg.DataError, run) == message
    if shock is not None:
        shocked = refused(mg.DataError, lambda: MARKET.shocked({"ETH": 0.5, "BTC": shock}))
        assert "scenarios.price_shock" in shocked
        assert "BTC" in shocked


@pytest.mark.parametrize("shock", [math.nextafter(-1.0, 0.0), -0.0, 0.0, 5e-324, 100.0])
def test_a_shock_just_inside_its_range_passes(shock: float) -> None:
    assert stress(spoilt("price_shock", shock)).scenarios.height == 2
    assert MARKET.shocked({"BTC": shock}).instruments == MARKET.instruments


def test_a_factor_twice_in_a_scenario_is_refused() -> None:
    twice = pl.concat([GOOD, GOOD.slice(0, 1)])
    message = refused(mg.SchemaError, partial(stress, twice))
    assert "scenarios.factor" in message
    assert "BTC" in message
    same_again = pl.concat([GOOD, GOOD.slice(0, 1).with_columns(scenario_id=pl.lit("two"))])
    assert stress(same_again).scenarios.height == 2


@pytest.mark.parametrize(
    ("factor", "meant"),
    [("BTX", "BTC"), ("btc", "BTC"), ("ETH_P", "ETH-P"), ("USDT", "USD"), ("SOMETHING", None)],
)
def test_a_factor_that_names_nothing_is_refused_with_what_may_be_meant(
    factor: str, meant: str | None
) -> None:
    for run in (
        partial(stress, spoilt("factor", factor)),
        partial(MARKET.shocked, {"BTC": 0.5, factor: 0.0}),
    ):
        message = refused(mg.DataError, run)
        assert "scenarios.factor" in message
        assert factor in message
        assert ("did you mean" in message) == (meant is not None)
        assert meant is None or meant in message


def test_all_unknown_factors_are_named_at_once() -> None:
    unknown = GOOD.with_columns(factor=pl.Series(["BTX", "ETX", "*"]))
    message = refused(mg.DataError, partial(stress, unknown))
    assert "BTX" in message
    assert "ETX" in message


@pytest.mark.parametrize("shock", [0.1, -5e-324, math.nan, math.inf])
def test_volatility_is_not_moved_yet(shock: float) -> None:
    message = refused(mg.DataError, partial(stress, spoilt("vol_shock", shock)))
    assert "scenarios.vol_shock" in message


def test_no_move_of_volatility_may_be_said_in_any_way() -> None:
    for vol in (pl.lit(0.0), pl.lit(-0.0), pl.lit(0), pl.lit(None), pl.lit(None, pl.String)):
        assert same(GOOD.with_columns(vol_shock=vol), GOOD)
    assert same(GOOD.drop("vol_shock"), GOOD)


@pytest.mark.parametrize("column", ["scenario_id", "factor", "price_shock"])
def test_a_required_column_must_be_there_and_full(column: str) -> None:
    message = refused(mg.SchemaError, partial(stress, GOOD.drop(column)))
    assert f"scenarios.{column}: this required column is missing" in message
    message = refused(mg.DataError, partial(stress, spoilt(column, None)))
    assert f"scenarios.{column}" in message
    assert "null" in message
    nothing = GOOD.with_columns(pl.Series(column, [None] * 3, dtype=pl.Null))
    assert f"scenarios.{column}" in refused(mg.SchemaError, partial(stress, nothing))


KINDS = {"scenario_id": "id", "factor": "name", "price_shock": "number", "vol_shock": "number"}
WRONGLY = [(column, wrong) for column, kind in KINDS.items() for wrong in WRONG[kind]]


@pytest.mark.parametrize(("column", "wrong"), WRONGLY)
def test_a_column_of_the_wrong_type_is_refused(column: str, wrong: pl.Series) -> None:
    values = wrong.gather([0, 1, 0]).alias(column)
    message = refused(mg.SchemaError, partial(stress, GOOD.with_columns(values)))
    assert f"scenarios.{column}: its type is {wrong.dtype}" in message


@pytest.mark.parametrize("column", KINDS)
def test_a_near_miss_says_which_column_was_meant(column: str) -> None:
    for word in respell(column):
        message = refused(mg.SchemaError, partial(stress, GOOD.rename({column: word})))
        assert f"scenarios.{word}: no such column; did you mean {column}?" in message
    beside = GOOD.with_columns(GOOD[column].alias(f"{column}s"), note=pl.lit("x"))
    assert same(beside, GOOD)


@pytest.mark.parametrize("nothing", [None, 5, [], {}, "scenarios", pl.Series([1]), {"BTC": -0.1}])
def test_what_holds_no_frame_is_refused(nothing: Any) -> None:
    assert "scenarios" in refused(mg.SchemaError, partial(stress, nothing))


@pytest.mark.parametrize(
    "given",
    [
        lambda: GOOD.lazy(),
        lambda: GOOD.to_arrow(),
        lambda: GOOD.to_pandas(),
        lambda: GOOD.with_columns(pl.col("price_shock").cast(pl.Decimal(10, 4))),
        lambda: GOOD.with_columns(pl.col("factor").cast(pl.Categorical)),
        lambda: pl.concat([GOOD[:1], GOOD[1:]], rechunk=False),
    ],
)
def test_scenarios_may_come_in_any_form(given: Callable[[], object]) -> None:
    assert same(given(), GOOD)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_scenarios_may_come_from_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scenarios.{suffix}"
    getattr(GOOD, f"write_{suffix}")(path)
    assert same(path, GOOD)
    assert same(str(path), GOOD)


def test_ids_of_a_csv_are_integers_where_all_are_written_so(tmp_path: Path) -> None:
    path = tmp_path / "scenarios.csv"
    for ids, dtype in (([1, 1, 2], pl.Int64), (["01", "01", "2"], pl.String)):
        GOOD.with_columns(scenario_id=pl.Series(ids)).write_csv(path)
        found = stress(path).scenarios["scenario_id"]
        assert (found.dtype, found.to_list()) == (dtype, ids[1:])


def test_rows_of_a_scenario_may_lie_apart_and_order_is_that_of_appearance() -> None:
    apart = GOOD[[2, 0, 1]].with_columns(scenario_id=pl.Series(["two", "one", "one"]))
    found = stress(pl.concat([apart[1:2], apart[:1], apart[2:]]))
    assert found.scenarios["scenario_id"].to_list() == ["one", "two"]
    assert found.scenarios.rows() == stress(GOOD).scenarios.rows()


def test_factors_are_compared_as_text() -> None:
    ids = {"BTC-P": 7, "COIN": 8}
    exchange = night(position("a", "BTC-P", 2.0), balance("a", 60.0))
    for row in (*exchange.positions, *exchange.instruments):
        row["instrument_id"] = ids.get(row["instrument_id"], 9)
    exchange.instruments[:] = [row for row in exchange.instruments if row["instrument_id"] == 7]
    exchange.instruments[0]["tier_table"] = "BTC-P"
    book, market, rules = book_of(exchange), market_of(exchange), rules_of(exchange)
    for factor in (pl.Series([7]), pl.Series(["7"]), pl.Series([7], dtype=pl.UInt8)):
        frame = pl.DataFrame({"scenario_id": [1], "factor": factor, "price_shock": [-0.25]})
        assert book.stress(market, rules, frame).scenarios["liquidatable_accounts"].item() == 1
    integer: Any = {7: -0.25}
    for moves in (integer, {"7": -0.25}):
        night_ = book.sweep(market.shocked(moves), rules)
        assert night_.accounts["margin_buffer"].to_list() == [-8.75]


@pytest.mark.parametrize("given", [None, 5, "BTC", [("BTC", 0.1)], pl.DataFrame({"BTC": [0.1]})])
def test_a_market_is_shocked_by_a_mapping(given: Any) -> None:
    assert "scenarios.factor" in refused(mg.SchemaError, lambda: MARKET.shocked(given))


@pytest.mark.parametrize("value", ["0.1", None, True, [0.1], 1j])
def test_a_shock_of_a_market_is_a_number(value: Any) -> None:
    message = refused(mg.SchemaError, lambda: MARKET.shocked({"BTC": value}))
    assert "scenarios.price_shock" in message


def test_a_shock_of_a_market_may_be_any_kind_of_number() -> None:
    wanted = BOOK.sweep(MARKET.shocked({"BTC": -0.25}), RULES)
    one: Any = {"BTC": Decimal("-0.25")}
    assert_same_bits(BOOK.sweep(MARKET.shocked(one), RULES), wanted)
    assert_same_bits(BOOK.sweep(MARKET, RULES), BOOK.sweep(MARKET.shocked({}), RULES))
    doubled = BOOK.sweep(MARKET.shocked({"BTC": 1}), RULES)
    assert doubled.positions["mark_price"].to_list() == [200.0]


def test_everything_leaves_the_valuation_asset_of_the_ruleset_alone() -> None:
    exchange = night(balance("a", 1.0), balance("b", 1.0, "BTC"), balance("c", 1.0, "USDC"))
    book, market = book_of(exchange), market_of(exchange).shocked({"*": 1.0})
    in_usd = mg.Rules.load(exchange.rules)
    in_btc = in_usd.replace(valuation_asset="BTC")
    # The same shocked market: which asset stays is the ruleset's to say. USDC is stable.
    assert book.sweep(market, in_usd).accounts["equity"].to_list() == [1.0, 200.0, 1.0]
    assert book.sweep(market, in_btc).accounts["equity"].to_list() == [2.0, 100.0, 1.0]


def test_the_market_that_was_shocked_stays_as_it_was() -> None:
    before = BOOK.sweep(MARKET, RULES)
    once = MARKET.shocked({"BTC": -0.5})
    twice = once.shocked({"*": -0.5})
    assert_same_bits(BOOK.sweep(MARKET, RULES), before)
    marks = [BOOK.sweep(m, RULES).positions["mark_price"].item() for m in (once, twice)]
    assert marks == [50.0, 25.0]
    manifests = [BOOK.sweep(m, RULES).manifest for m in (MARKET, once, twice)]
    digests = {name: {m[name] for m in manifests} for name in ("input_digest", "result_digest")}
    assert [len(found) for found in digests.values()] == [3, 3]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_below_one_are_refused(threads: Any) -> None:
    run = partial(BOOK.stress, MARKET, RULES, scenario_frame(THREE), threads=threads)
    assert "threads" in refused(mg.MargraveError, run)


def test_a_stress_takes_a_market_and_rules() -> None:
    rows: Any = scenario_frame(THREE)
    wrong: Any = "rules"
    assert "market" in refused(mg.MargraveError, lambda: BOOK.stress(wrong, RULES, rows))
    assert "rules" in refused(mg.MargraveError, lambda: BOOK.stress(MARKET, wrong, rows))


def test_what_a_sweep_refuses_a_stress_refuses() -> None:
    held = frames()
    book = mg.Book(held["positions"], held["balances"], held["instruments"])
    rules = small_rules(held)
    rows = pl.DataFrame({"scenario_id": [1], "factor": ["*"], "price_shock": [-0.1]})
    without = {
        "instruments": held["instruments"].filter(pl.col("instrument_id") != "ETH"),
        "assets": held["assets"].filter(pl.col("asset_id") == "USD"),
    }
    for frame, error in (("instruments", mg.UnknownInstrument), ("assets", mg.UnknownAsset)):
        market = mg.Market(**{**{n: held[n] for n in without}, frame: without[frame]})
        message = refused(error, partial(book.stress, market, rules, rows))
        assert message == refused(error, partial(book.sweep, market, rules))
    market = mg.Market(held["instruments"], held["assets"])
    bare = rules.with_tables(tiers=held["tiers"].filter(pl.col("tier_table") == "BTC"))
    message = refused(mg.RulesError, partial(book.stress, market, bare, rows))
    assert message == refused(mg.RulesError, partial(book.sweep, market, bare))


@pytest.mark.parametrize("contracts", [1e4, -1e4])
@pytest.mark.parametrize("on_error", ["raise", "quarantine"])
def test_money_that_overflows_in_a_scenario_is_told(contracts: float, on_error: Any) -> None:
    # A contract is worth 1 / 1e-290 coins; times 1e16 more after the fall it is beyond doubles.
    inverse = {"instrument_id": "X", "kind": "inverse", "settle_asset": "C", "mark_price": 1e-290}
    held = {"account_id": 1, "instrument_id": "X", "quantity": contracts, "entry_price": 1e-290}
    tier = {"tier_table": "X", "floor": 0, "maintenance_rate": 0.1, "initial_rate": 0.2}
    rules = mg.Rules.load(
        {"tiers": [tier], "weights": [{"weight_table": "C", "maintenance_weight": 1}]}
    )
    terms = pl.DataFrame([inverse])
    market = mg.Market(terms, pl.DataFrame([{"asset_id": "C", "price": 1.0}]))
    cash = pl.DataFrame([{"account_id": 1, "asset_id": "C", "amount": 5.0}])
    book = mg.Book(pl.DataFrame([held]), cash, terms, on_error=on_error)
    fall = {"factor": "X", "price_shock": [-0.9999999999999999, 0.0]}
    falls = pl.DataFrame({"scenario_id": ["to nothing", "none"], **fall})
    message = refused(mg.DataError, partial(book.stress, market, rules, falls))
    assert "scenarios.price_shock" in message
    assert '"to nothing"' in message
