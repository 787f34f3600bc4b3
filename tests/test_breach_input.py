"""What a breach returns besides its figures, and what directions it refuses, in which words."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import partial
from typing import Any

import polars as pl
import pytest

import margrave as mg
from exchanges import Exchange
from faulty import OVER, bits, refused
from moving_exchanges import book_of, market_of, rules_of
from small_night import frames
from small_night import rules_of as small_rules
from worked import balance, night, position

LONG = night(position("a", "BTC-P", 2.0), balance("a", 60.0), balance("b", 1.0))
BOOK, MARKET, RULES = book_of(LONG), market_of(LONG), rules_of(LONG)
KINDS = pl.Enum(["root", "none", "breached"])


def breach(direction: Any, **options: Any) -> pl.DataFrame:
    found = BOOK.breach(MARKET, RULES, direction, **options)
    assert isinstance(found, pl.DataFrame)
    return found


def rows_of(exchange: Exchange, direction: Any = "down", **options: Any) -> pl.DataFrame:
    found = book_of(exchange, **options).breach(market_of(exchange), rules_of(exchange), direction)
    assert isinstance(found, pl.DataFrame)
    return found


def test_columns_types_and_the_default_direction() -> None:
    found = BOOK.breach(MARKET, RULES)
    types = {"account_id": pl.String, "breach_shock": pl.Float64, "breach_kind": KINDS}
    assert list(found.schema.items()) == list(types.items())
    assert bits(found) == bits(breach("down"))
    empty = rows_of(night())
    assert list(empty.schema.items()) == list(types.items())
    assert empty.height == 0


def test_accounts_come_in_the_order_of_a_sweep_and_in_their_type() -> None:
    exchange = night(
        position("b", "BTC-P", 1.0),
        balance("c", 5.0),
        balance("b", 1e4),
        accounts=[{"account_id": "z"}, {"account_id": "c"}],
    )
    assert rows_of(exchange)["account_id"].to_list() == ["b", "c", "z"]
    frames_ = exchange.frames()
    types: list[Any] = [pl.Enum(["z", "c", "b", "y"]), pl.Categorical]
    for dtype in types:
        cast = {
            name: frames_[name].with_columns(pl.col("account_id").cast(dtype))
            for name in ("positions", "balances", "accounts")
        }
        book = mg.Book(instruments=frames_["instruments"], **cast)
        found = book.breach(market_of(exchange), rules_of(exchange))
        assert found["account_id"].dtype == dtype
        assert found["account_id"].to_list() == ["b", "c", "z"]


def test_an_indeterminate_account_has_neither_shock_nor_kind() -> None:
    exchange = night(
        position("bad", "BTC-P", math.nan),
        position("a", "BTC-P", 2.0),
        balance("a", 60.0),
        balance("bad", 60.0),
        balance("none", 60.0),
    )
    for direction in ("down", "up", "adverse", {"BTC": -1.0}):
        found = rows_of(exchange, direction, on_error="quarantine")
        assert found.row(0) == ("bad", None, None)
        assert found.row(2) == ("none", None, "none")
        assert found.row(1)[2] == ("none" if direction == "up" else "root")
    unlisted = night(position("a", "BTC-P", 2.0), balance("a", 60.0), balance("b", 1.0, "ETH"))
    without = pl.DataFrame([row for row in unlisted.assets if row["asset_id"] != "ETH"])
    market = mg.Market(unlisted.frames()["instruments"], without)
    rules = rules_of(unlisted)
    book = book_of(unlisted, on_error="quarantine")
    assert book.breach(market, rules).row(1) == ("b", None, None)
    run = partial(book_of(unlisted).breach, market, rules)
    assert refused(mg.UnknownAsset, run) == refused(
        mg.UnknownAsset, partial(book_of(unlisted).sweep, market, rules)
    )


def test_an_option_of_an_indeterminate_account_is_held_by_nobody() -> None:
    exchange = night(
        position("bad", "CALL", math.nan), position("a", "BTC-P", 2.0), balance("a", 60.0)
    )
    found = rows_of(exchange, "down", on_error="quarantine")
    assert found["breach_kind"].to_list() == [None, "root"]


@pytest.mark.parametrize("quantity", [1.0, -1.0, 0.0])
def test_an_option_is_refused_where_its_base_moves(quantity: float) -> None:
    exchange = night(position("a", "CALL", quantity), balance("a", 600.0))
    for direction in ("down", "up", "adverse", {"BTC": 1.0}, {"*": -1.0}):
        message = refused(mg.DataError, partial(rows_of, exchange, direction))
        assert "CALL" in message
    for direction in ({"ETH": 1.0}, {"CALL": 1.0}, {"BTC-P": 1.0}):
        assert rows_of(exchange, direction)["breach_kind"].to_list() == ["none"]
    # On what `*` leaves alone an option may be held, but never against "adverse".
    exchange.instruments[-1]["base_asset"] = "USDC"
    assert rows_of(exchange, "down")["breach_kind"].to_list() == ["none"]
    assert "CALL" in refused(mg.DataError, partial(rows_of, exchange, "adverse"))


def test_an_option_whose_base_was_shocked_is_refused_along_any_direction() -> None:
    exchange = night(position("a", "CALL", -1.0), balance("a", 600.0))
    book, market, rules = book_of(exchange), market_of(exchange), rules_of(exchange)
    for direction in ({"ETH": 1.0}, {"CALL": 1.0}):
        with pytest.raises(mg.DataError, match="CALL"):
            book.breach(market.shocked({"BTC": -0.1}), rules, direction)
        named = market.shocked({"BTC": -0.1, "CALL": -0.2})
        assert book.breach(named, rules, direction)["breach_kind"].to_list()[0] != "breached"


@pytest.mark.parametrize("direction", ["Down", "", "left", "*", "BTC", "adverse ", "direction.csv"])
def test_another_word_is_no_direction(direction: str) -> None:
    message = refused(mg.MargraveError, partial(breach, direction))
    assert "direction" in message
    for word in ("down", "up", "adverse"):
        assert word in message


@pytest.mark.parametrize("direction", [None, 5, -0.1, ["down"], [("BTC", 1.0)], {"BTC"}])
def test_what_is_no_direction_is_refused(direction: Any) -> None:
    with pytest.raises(mg.MargraveError, match="direction"):
        breach(direction)


def frame(factors: Any, betas: Any) -> pl.DataFrame:
    return pl.DataFrame({"factor": factors, "beta": betas})


@pytest.mark.parametrize(("factor", "meant"), [("BTX", "BTC"), ("eth", "ETH"), ("NOTHING", None)])
def test_a_factor_that_names_nothing_is_refused(factor: str, meant: str | None) -> None:
    for direction in ({"BTC": 1.0, factor: 0.0}, frame(["BTC", factor], [1.0, 0.0])):
        message = refused(mg.DataError, partial(breach, direction))
        assert "direction.factor" in message
        assert factor in message
        assert ("did you mean" in message) == (meant is not None)
        assert meant is None or meant in message


@pytest.mark.parametrize("beta", [math.nan, math.inf, -math.inf, 1e19, -OVER])
def test_a_beta_out_of_range_is_refused(beta: float) -> None:
    for direction in ({"BTC": 1.0, "ETH": beta}, frame(["BTC", "ETH"], [1.0, beta])):
        assert "direction.beta" in refused(mg.DataError, partial(breach, direction))


@pytest.mark.parametrize("beta", ["1", None, True, [1.0]])
def test_a_beta_of_a_mapping_is_a_number(beta: Any) -> None:
    assert "direction.beta" in refused(mg.SchemaError, partial(breach, {"BTC": beta}))


def test_a_frame_is_a_direction_as_its_mapping_is() -> None:
    wanted = breach({"BTC": -0.5, "*": 1.0})
    assert wanted["breach_shock"].to_list()[0] == pytest.approx(0.4)
    plain = frame(["BTC", "*"], [-0.5, 1.0])
    for given in (
        plain,
        plain.lazy(),
        plain.to_arrow(),
        plain.to_pandas(),
        plain[[1, 0]],
        plain.with_columns(pl.col("factor").cast(pl.Categorical), note=pl.lit("x")),
        plain.with_columns(pl.col("beta").cast(pl.Decimal(10, 2))),
        {"BTC": Decimal("-0.5"), "*": 1},
    ):
        assert bits(breach(given)) == bits(wanted)


def test_frames_that_are_no_directions_are_refused() -> None:
    good = frame(["BTC", "*"], [-0.5, 1.0])
    for column in ("factor", "beta"):
        message = refused(mg.SchemaError, partial(breach, good.drop(column)))
        assert f"direction.{column}" in message
        null = good.with_columns(pl.Series(column, [None, good[column][1]]))
        message = refused(mg.DataError, partial(breach, null))
        assert f"direction.{column}" in message
    message = refused(mg.SchemaError, partial(breach, frame(["BTC", "BTC"], [1.0, 1.0])))
    assert "direction.factor" in message
    for wrong in (frame([1.5], [1.0]), frame(["BTC"], ["1"]), frame([True], [1.0])):
        assert "direction." in refused(mg.SchemaError, partial(breach, wrong))
    message = refused(mg.SchemaError, partial(breach, good.rename({"factor": "factors"})))
    assert "direction.factor" in message


def test_a_direction_names_a_factor_at_least() -> None:
    none: list[Any] = [{}, frame([], []), frame(["BTC"], [1.0]).clear()]
    for nothing in none:
        assert "direction.factor" in refused(mg.DataError, partial(breach, nothing))


def test_factors_are_compared_as_text() -> None:
    exchange = night(position("a", "BTC-P", 2.0), balance("a", 60.0))
    exchange.instruments[:] = [{**exchange.instruments[0], "instrument_id": 7}]
    exchange.instruments[0]["tier_table"] = "BTC-P"
    exchange.positions[0]["instrument_id"] = 7
    for direction in ({7: -1.0}, {"7": -1.0}, frame([7], [-1.0]), frame(["7"], [-1.0])):
        found = rows_of(exchange, direction)
        assert found["breach_shock"].to_list() == [pytest.approx(0.2)]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_below_one_are_refused(threads: Any) -> None:
    assert "threads" in refused(mg.MargraveError, partial(breach, "down", threads=threads))


def test_a_breach_takes_a_market_and_rules() -> None:
    wrong: Any = "x"
    assert "market" in refused(mg.MargraveError, lambda: BOOK.breach(wrong, RULES))
    assert "rules" in refused(mg.MargraveError, lambda: BOOK.breach(MARKET, wrong))


def test_what_a_sweep_refuses_a_breach_refuses() -> None:
    held = frames()
    book = mg.Book(held["positions"], held["balances"], held["instruments"])
    rules = small_rules(held)
    eth = held["instruments"].filter(pl.col("instrument_id") != "ETH")
    market = mg.Market(eth, held["assets"])
    message = refused(mg.UnknownInstrument, partial(book.breach, market, rules))
    assert message == refused(mg.UnknownInstrument, partial(book.sweep, market, rules))
    market = mg.Market(held["instruments"], held["assets"])
    bare = rules.with_tables(weights=held["weights"].filter(pl.col("weight_table") == "BTC"))
    message = refused(mg.RulesError, partial(book.breach, market, bare))
    assert message == refused(mg.RulesError, partial(book.sweep, market, bare))


def test_an_id_of_the_other_kind_never_meets() -> None:
    exchange = night(position("a", "BTC-P", 2.0), balance("a", 60.0))
    integers = [{**exchange.instruments[0], "instrument_id": 7}]
    market = mg.Market(pl.DataFrame(integers), exchange.frames()["assets"])
    with pytest.raises(mg.SchemaError, match="instrument_id"):
        book_of(exchange).breach(market, rules_of(exchange))
