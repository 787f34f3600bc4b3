"""Laws of stresses, on exchanges, rulesets and scenarios drawn at random.

The heart of them: a scenario is a sweep of the shocked market, bit for bit, and that sweep is the
oracle's of the moved rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import margrave as mg
from agreement import slacks_of
from exchanges import Exchange, Rows
from moving_exchanges import (
    book_of,
    market_of,
    moved_exchange,
    moving,
    rules_of,
    scenario_frame,
    scenarios,
)
from reference_bucket import MONEY
from reference_scenarios import (
    MATRIX,
    grouped,
    resolve,
    scenario_row,
    unpriced,
    valuation_asset,
    worst_rows,
)
from rounding_sides import UNIT
from test_laws import assert_same_bits, bits, examples, sweep
from test_stress import frames_by_name

#: An exchange, its scenarios, and whether it is free of rounding.
Drawn = tuple[Exchange, Rows, bool]


@st.composite
def stressed(draw: st.DrawFn, *, options: bool = False) -> Drawn:
    # Often under the default rules, which most venues share and the fastest kernel knows.
    only: dict[str, Any] | None = draw(st.sampled_from([None, None, {}]))
    exchange, dyadic = draw(moving(options=options, only=only))
    return exchange, draw(scenarios(exchange, dyadic=dyadic)), dyadic


def stress(exchange: Exchange, rows: Rows, **options: Any) -> Any:
    return book_of(exchange).stress(
        market_of(exchange), rules_of(exchange), scenario_frame(rows), **options
    )


def assert_same_frames(one: Any, other: Any) -> None:
    for name, frame in frames_by_name(one).items():
        assert bits(frame) == bits(frames_by_name(other)[name]), name


@examples(60)
@given(stressed())
def test_engine_equals_reference(drawn: Drawn) -> None:
    exchange, rows, _ = drawn
    found = frames_by_name(stress(exchange, rows))
    matrix = iter(found["matrix"].to_dicts())
    for name, factors in grouped(rows).items():
        there = moved_exchange(exchange, factors)
        expected, slacks = there.expected(), slacks_of(there)
        for account in expected["accounts"]:
            row = next(matrix)
            assert (row["scenario_id"], row["account_id"]) == (name, account["account_id"])
            own = [slack for key, slack in slacks.items() if key[0] == account["account_id"]]
            for column in set(MONEY) & set(MATRIX):
                room = sum((slack.bounds[column] for slack in own), Fraction(0))
                room += len(own) * 8 * UNIT * abs(account[column])
                assert abs(Fraction(row[column]) - account[column]) <= room, (row, column)
            doubts = set().union(*(slack.doubts for slack in own))
            for column, doubt in (("is_liquidatable", "flag"), ("status", "status")):
                assert doubt in doubts or row[column] == account[column], (row, column)
    assert next(matrix, None) is None


@examples(60)
@given(stressed())
def test_each_scenario_is_the_sweep_of_the_shocked_market(drawn: Drawn) -> None:
    exchange, rows, _ = drawn
    book, market, rules = book_of(exchange), market_of(exchange), rules_of(exchange)
    found = frames_by_name(book.stress(market, rules, scenario_frame(rows)))
    base = as_rows(book.sweep(market, rules))
    nights, expected = {}, []
    for name, factors in grouped(rows).items():
        there = book.sweep(market.shocked(factors), rules)
        # A shocked market is the market of the moved rows.
        assert_same_bits(there, sweep(moved_exchange(exchange, factors)))
        nights[name] = there.accounts.to_dicts()
        expected.append(scenario_row(name, as_rows(there), base))
        part = found["matrix"].filter(pl.col("scenario_id") == name).drop("scenario_id")
        assert bits(part) == bits(there.accounts.select(MATRIX))
    assert found["scenarios"].to_dicts() == expected
    assert found["accounts"].to_dicts() == worst_rows(nights)
    assert found["matrix"].height == len(nights) * len(base["accounts"])


def as_rows(night: Any) -> dict[str, Any]:
    return {"accounts": night.accounts.to_dicts(), "totals": night.totals.row(0, named=True)}


@examples(60)
@given(moving(options=True), st.data())
def test_zero_shock_is_the_base(drawn: tuple[Exchange, bool], data: st.DataObject) -> None:
    exchange, _ = drawn
    names = {str(row["asset_id"]) for row in exchange.assets}
    names |= {str(row["instrument_id"]) for row in exchange.instruments}
    # Options are named, so that a factor on their base may stand beside them.
    factors = sorted(names | ({"*"} if data.draw(st.booleans()) else set()))
    rows = [{"scenario_id": 1, "factor": factor, "price_shock": 0.0} for factor in factors]
    found = frames_by_name(stress(exchange, rows))
    night = sweep(exchange)
    assert bits(found["matrix"].drop("scenario_id")) == bits(night.accounts.select(MATRIX))
    base = as_rows(night)
    assert found["scenarios"].to_dicts() == [scenario_row(1, base, base)]
    assert found["scenarios"]["newly_liquidatable_accounts"].to_list() == [0]


@examples(40)
@given(stressed(), st.data())
def test_the_order_and_the_company_of_scenarios_change_no_bits(
    drawn: Drawn, data: st.DataObject
) -> None:
    exchange, rows, _ = drawn
    whole = frames_by_name(stress(exchange, rows))
    order = data.draw(st.permutations(sorted({row["scenario_id"] for row in rows})))
    kept = order[: data.draw(st.integers(0, len(order)))]
    some = [row for name in kept for row in rows if row["scenario_id"] == name]
    part = frames_by_name(stress(exchange, data.draw(within(some))))
    assert part["scenarios"]["scenario_id"].to_list() == kept
    for frame in ("scenarios", "matrix"):
        for name in kept:
            own = pl.col("scenario_id") == name
            assert bits(part[frame].filter(own)) == bits(whole[frame].filter(own)), frame


def within(rows: Rows) -> st.SearchStrategy[Rows]:
    """Return the rows with those of each scenario in another order."""
    names = list(dict.fromkeys(row["scenario_id"] for row in rows))
    groups = [[row for row in rows if row["scenario_id"] == name] for name in names]
    mixed = st.tuples(*map(st.permutations, groups))
    return mixed.map(lambda parts: [row for part in parts for row in part])


@examples(30)
@given(stressed())
def test_threads_do_not_change_bits(drawn: Drawn) -> None:
    exchange, rows, _ = drawn
    one = stress(exchange, rows, threads=1)
    for threads in (2, 3, 7):
        assert_same_frames(one, stress(exchange, rows, threads=threads))


@pytest.fixture(scope="module")
def many() -> Any:
    """An exchange large enough that every thread has work."""
    return mg.generate(accounts=6_000, seed=11)


def many_scenarios(count: int) -> pl.DataFrame:
    """Return so many scenarios, no two alike, some of one factor and some of three."""
    rows = []
    for number in range(count):
        rows.append({"scenario_id": number, "factor": "*", "price_shock": -0.02 * number})
        if number % 3 == 0:
            rows.append({"scenario_id": number, "factor": "BTC", "price_shock": 0.01 * number})
            rows.append({"scenario_id": number, "factor": "ETH", "price_shock": -0.005 * number})
    return scenario_frame(rows)


def many_stressed(many: Any, count: int, **options: Any) -> tuple[Any, Any, Any]:
    book = mg.Book(many.positions, many.balances, many.instruments)
    market = mg.Market(many.instruments, many.assets)
    return book, market, book.stress(market, many.rules, many_scenarios(count), **options)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 17])
def test_many_accounts_and_scenarios_are_their_sweeps(many: Any, count: int) -> None:
    book, market, found = many_stressed(many, count)
    base = as_rows(book.sweep(market, many.rules))
    nights, expected, frames = {}, [], []
    for name, factors in grouped(many_scenarios(count).to_dicts()).items():
        there = book.sweep(market.shocked(factors), many.rules)
        nights[name] = there.accounts.to_dicts()
        expected.append(scenario_row(name, as_rows(there), base))
        frames.append(there.accounts.select(MATRIX))
    assert found.scenarios.to_dicts() == expected
    assert found.accounts.to_dicts() == worst_rows(nights)
    matrix = found.matrix().collect()
    assert bits(matrix.drop("scenario_id")) == bits(pl.concat(frames))
    assert matrix["scenario_id"].to_list() == [n for n in nights for _ in base["accounts"]]


def all_ways(many: Any, count: int) -> pl.DataFrame:
    """Return so many scenarios, down and up, in which every contract goes its own way."""
    bases = many.instruments["base_asset"].unique(maintain_order=True).to_list()
    rows = []
    for number in range(count):
        move = (-1) ** number * 0.6 * (number + 1) / count
        for place, base in enumerate(bases):
            own = 1.0 if number % 2 else 0.6 + 0.1 * ((7 * place + 3 * number) % 8)
            rows.append({"scenario_id": number, "factor": base, "price_shock": move * own})
    return scenario_frame(rows)


@pytest.mark.parametrize(("accounts", "count"), [(1_500, 50), (300, 137)])
@pytest.mark.parametrize("tiers", ["rise", "fall"])
def test_runs_that_are_passed_over_are_their_sweeps(accounts: int, count: int, tiers: str) -> None:
    many = mg.generate(accounts, seed=5)
    rules = many.rules
    if tiers == "fall":
        # Deductions are below 0, and the steepest tier is the first.
        rate = pl.col("maintenance_rate").reverse().over("tier_table")
        rules = rules.with_tables(tiers=rules.tiers.with_columns(rate, initial_rate=1.0))
    plain = many.positions.select(pl.exclude("leverage", "open_buy_quantity", "open_sell_quantity"))
    book = mg.Book(plain, many.balances, many.instruments)
    market, frame = mg.Market(many.instruments, many.assets), all_ways(many, count)
    found, base = book.stress(market, rules, frame), as_rows(book.sweep(market, rules))
    nights, expected = {}, []
    for name, factors in grouped(frame.to_dicts()).items():
        there = as_rows(book.sweep(market.shocked(factors), rules))
        nights[name] = there["accounts"]
        expected.append(scenario_row(name, there, base))
    assert found.scenarios.to_dicts() == expected
    assert found.accounts.to_dicts() == worst_rows(nights)


def test_threads_do_not_change_bits_of_many_accounts(many: Any) -> None:
    _, _, one = many_stressed(many, 11, threads=1)
    for threads in (2, 3, 7):
        assert_same_frames(one, many_stressed(many, 11, threads=threads)[2])


def test_the_matrix_can_be_asked_for_in_part(many: Any) -> None:
    _, _, found = many_stressed(many, 5)
    matrix, whole = found.matrix(), found.matrix().collect()
    flagged = pl.col("is_liquidatable") & (pl.col("scenario_id") > 1)
    asked: Iterable[tuple[Any, Any]] = (
        (matrix.head(7), whole.head(7)),
        (matrix.head(6_003), whole.head(6_003)),
        (matrix.select("bad_debt", "account_id"), whole.select("bad_debt", "account_id")),
        (matrix.filter(flagged), whole.filter(flagged)),
        (matrix.filter(flagged).select("equity"), whole.filter(flagged).select("equity")),
        (matrix.select(pl.len()), whole.select(pl.len())),
    )
    for lazy, wanted in asked:
        assert bits(lazy.collect()) == bits(wanted)


@examples(40)
@given(stressed(options=True))
def test_a_held_option_must_be_named_where_its_base_moves(drawn: Drawn) -> None:
    exchange, rows, _ = drawn
    lacking: list[Any] = []
    for factors in grouped(rows).values():
        valuation = valuation_asset(exchange.rules)
        moves = resolve(factors, exchange.instruments, exchange.assets, valuation)
        options = unpriced(exchange.positions, moves)
        # Whether a shock of 0 moves a base the contract does not say.
        assume(all(moves.underlyings[option] for option in options))
        lacking += options
    if not lacking:
        stress(exchange, rows)
        return
    with pytest.raises(mg.DataError) as caught:
        stress(exchange, rows)
    assert any(str(option) in str(caught.value) for option in lacking)


@examples(40)
@given(stressed(), st.data())
def test_shocked_twice_the_moves_multiply(drawn: Drawn, data: st.DataObject) -> None:
    exchange, rows, _ = drawn
    factors = list(grouped(rows).values())[:3]
    market, there = market_of(exchange), exchange
    for moves in factors:
        market = market.shocked(moves)
        there = moved_exchange(there, moves)
    book, rules = book_of(exchange), rules_of(exchange)
    assert_same_bits(book.sweep(market, rules), sweep(there))
    # What is stressed is the market as it has been moved.
    if factors:
        again = scenario_frame(
            [row for row in rows if row["scenario_id"] == rows[0]["scenario_id"]]
        )
        once = book.stress(market_of(there), rules, again)
        assert_same_frames(book.stress(market, rules, again), once)


@examples(40)
@given(stressed(), st.data())
def test_other_accounts_change_no_bits(drawn: Drawn, data: st.DataObject) -> None:
    exchange, rows, _ = drawn
    ids = [row["account_id"] for row in exchange.expected()["accounts"]]
    assume(ids and rows)
    account = data.draw(st.sampled_from(ids))
    alone = replace(
        exchange,
        positions=[row for row in exchange.positions if row["account_id"] == account],
        balances=[row for row in exchange.balances if row["account_id"] == account],
        accounts=[row for row in exchange.accounts or [] if row["account_id"] == account] or None,
    )
    whole, part = frames_by_name(stress(exchange, rows)), frames_by_name(stress(alone, rows))
    for frame in ("accounts", "matrix"):
        own = whole[frame].filter(pl.col("account_id") == account)
        assert bits(own) == bits(part[frame]), frame
