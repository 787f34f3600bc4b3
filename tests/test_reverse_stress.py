"""Reverse stresses and liquidation curves: examples worked by hand, laws, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import margrave as mg
from agreement import slacks_of
from agreement_breach import walks_of
from exchanges import Exchange
from faulty import refused
from moving_exchanges import (
    book_of,
    directions,
    factors_at,
    market_of,
    moved_exchange,
    moving,
    rules_of,
)
from reference_breach import Direction, middle, sign_of
from reference_reverse import bad_debt_reached, notional_reached, totals_at
from test_laws import examples
from worked import balance, night, position

#: shock, bad_debt, liquidatable_notional, liquidatable_accounts; or None.
Answer = tuple[float, float, float, int] | None
Asking = Callable[..., Answer]

REACHED = {"bad_debt": bad_debt_reached, "liquidatable_notional": notional_reached}


def by_oracle(exchange: Exchange, direction: Direction, **target: float) -> Answer:
    """Return what the oracle says, at the answer or just past it."""
    ((name, amount),) = target.items()
    walks = walks_of(exchange, direction)
    found = REACHED[name](walks, Fraction(amount))
    if found is None:
        return None
    owed, notional, accounts = totals_at(walks, found[1] + Fraction(1, 10**20)).values()
    shock = sign_of(direction) * middle(found)
    return float(shock), float(owed), float(notional), accounts


def by_engine(exchange: Exchange, direction: Direction, **target: float) -> Answer:
    """Return the same through the public API."""
    found = reverse(exchange, direction, **target)
    if found.shock is None:
        return None
    return found.shock, found.bad_debt, found.liquidatable_notional, found.liquidatable_accounts


def reverse(exchange: Exchange, direction: Any, **options: Any) -> Any:
    return book_of(exchange).reverse_stress(
        market_of(exchange), rules_of(exchange), direction, **options
    )


both = pytest.mark.parametrize("asked", [by_oracle, by_engine])


def about(*figures: float) -> Any:
    return pytest.approx(figures, rel=1e-12, abs=1e-12)


# `a` is flagged below 80 and owes below 70, `b` below 400 / 7 and 50.
TWO = night(
    position("a", "BTC-P", 2.0),
    balance("a", 60.0),
    position("b", "BTC-P", 1.0),
    balance("b", 50.0),
)


@both
@pytest.mark.parametrize(
    ("direction", "amount", "expected"),
    [
        # 2 (70 - P) = 20 at 60; `b` is not flagged there.
        ("down", 20.0, (-0.4, 20.0, 120.0, 1)),
        # 2 (70 - P) + 50 - P = 46 at 48.
        ("down", 46.0, (-0.52, 46.0, 144.0, 2)),
        ({"BTC": -0.5}, 46.0, (1.04, 46.0, 144.0, 2)),
        ({"*": 1.0, "BTC-P": -0.25}, 20.0, (1.6, 20.0, 120.0, 1)),
    ],
)
def test_the_least_move_that_costs_an_insurance_fund(
    asked: Asking, direction: Direction, amount: float, expected: Any
) -> None:
    assert asked(TWO, direction, bad_debt=amount) == about(*expected)


@both
def test_what_is_never_reached_has_no_shock(asked: Asking) -> None:
    # At 0 they owe 140 + 50, which no price above 0 reaches.
    assert asked(TWO, "down", bad_debt=190.0) is None
    assert asked(TWO, "down", bad_debt=1e18) is None
    assert asked(TWO, "up", bad_debt=1e-9) is None
    assert asked(TWO, {"ETH": -1.0}, bad_debt=1e-9) is None
    assert asked(TWO, "down", liquidatable_notional=1000.0) is None
    assert asked(night(), "down", bad_debt=1.0) is None


@both
def test_bad_debt_is_that_of_buckets(asked: Asking) -> None:
    # 30 + 2 (P - 100) is 0 at 85 and -20 at 75, whatever the account has besides.
    exchange = night(
        position("a", "BTC-P", 2.0, margin_mode="isolated", isolated_margin=30.0),
        balance("a", 1000.0),
    )
    assert asked(exchange, "down", bad_debt=20.0) == about(-0.25, 20.0, 150.0, 1)


@both
def test_bad_debt_that_moves_with_its_settle_asset(asked: Asking) -> None:
    # Ten of 0.1 BTC a unit on ETH from 10, with 15: 15 - 100 s (1 - s) is least at 1/2, -10.
    exchange = night(position("a", "CROSS", 10.0), balance("a", 15.0))
    # -6 at 100 s^2 - 100 s + 21 = 0, first at 0.3. 100 (1 - s)^2 are at stake.
    assert asked(exchange, "down", bad_debt=6.0) == about(-0.3, 6.0, 49.0, 1)
    assert asked(exchange, "down", bad_debt=10.5) is None


@both
def test_what_stands_there_already_is_reached_at_0(asked: Asking) -> None:
    exchange = night(position("a", "BTC-P", 2.0), balance("a", -10.0))
    assert asked(exchange, "down", bad_debt=10.0)[0] == 0.0  # type: ignore[index]
    assert asked(exchange, "up", bad_debt=5.0)[0] == 0.0  # type: ignore[index]
    assert asked(exchange, "up", liquidatable_notional=200.0)[0] == 0.0  # type: ignore[index]


@both
@pytest.mark.parametrize(
    ("amount", "shock"),
    [
        (150.0, -0.2),  # 160 from 80 down
        (165.0, -3 / 7),  # 2 P falls from there; 3 * 400 / 7 with `b`
    ],
)
def test_the_first_move_that_puts_so_much_up_for_liquidation(
    asked: Asking, amount: float, shock: float
) -> None:
    found = asked(TWO, "down", liquidatable_notional=amount)
    assert found is not None
    assert found[0] == pytest.approx(shock, rel=1e-12)
    assert found[2] >= amount
    assert found[3] == (1 if shock == -0.2 else 2)


@both
def test_notional_may_be_reached_between_two_breaches(asked: Asking) -> None:
    # Short 2 with 60 is flagged from 1040 / 9 on: 2 P = 250 at 125.
    exchange = night(position("a", "BTC-P", -2.0), balance("a", 60.0))
    found = asked(exchange, "up", liquidatable_notional=250.0)
    # It owes -60 + 50 there: nothing.
    assert found == about(0.25, 0.0, 250.0, 1)


def test_the_answer_is_a_frozen_record() -> None:
    found = reverse(TWO, "down", bad_debt=46.0)
    assert isinstance(found.shock, float)
    assert isinstance(found.liquidatable_accounts, int)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.shock = 0.0
    assert reverse(TWO, "up", bad_debt=46.0).shock is None


@pytest.mark.parametrize("amount", [0.0, -1.0, math.nan, math.inf, 10**400, "1", True])
def test_a_target_is_a_finite_number_above_0(amount: Any) -> None:
    for name in REACHED:
        run = partial(reverse, TWO, "down", **{name: amount})
        assert name in refused(mg.MargraveError, run)


def test_exactly_one_target_is_given() -> None:
    for targets in ({}, {"bad_debt": 1.0, "liquidatable_notional": 1.0}):
        message = refused(mg.MargraveError, partial(reverse, TWO, "down", **targets))
        assert "bad_debt" in message
        assert "liquidatable_notional" in message


def test_directions_are_refused_as_a_breach_refuses_them() -> None:
    option = night(position("a", "CALL", 1.0))
    with pytest.raises(mg.DataError, match="CALL"):
        reverse(option, "down", bad_debt=1.0)
    with pytest.raises(mg.DataError, match=r"direction\.factor"):
        reverse(TWO, {"BTX": 1.0}, bad_debt=1.0)
    assert "direction" in refused(mg.MargraveError, partial(reverse, TWO, "left", bad_debt=1.0))


@examples(60)
@given(st.data())
def test_reverse_stress_reaches_its_target_and_not_just_inside(data: st.DataObject) -> None:
    exchange, dyadic = data.draw(moving())
    direction = data.draw(directions(exchange, dyadic=dyadic, adverse=False))
    name = data.draw(st.sampled_from(sorted(REACHED)))
    own = walks_of(exchange, direction)
    assume(own)
    far = max(
        totals_at(own, own[0].line.end * Fraction(part, 100))[name] for part in (0, 40, 80, 99)
    )
    target = float(far) * data.draw(st.sampled_from([0.3, 0.7, 0.999, 1.5]))
    assume(0 < target < 1e18)
    found = reverse(exchange, direction, **{name: target})
    wanted = REACHED[name](own, Fraction(target))
    if found.shock is None:
        # Rounding may decide whether a total that barely reaches it does.
        assert (
            wanted is None
            or REACHED[name](own, Fraction(target) * (1 + Fraction(1, 10**9))) is None
        )
        return
    size = abs(found.shock)
    assert (found.shock <= 0) == (direction == "down") or not size
    totals, room, doubtful = seen(exchange, direction, size)
    assert found.bad_debt == totals["total_bad_debt"]
    assert found.liquidatable_notional == totals["liquidatable_notional"]
    assert found.liquidatable_accounts == totals["liquidatable_accounts"]
    if name == "liquidatable_notional":
        assert doubtful or found.liquidatable_notional >= target * (1 - 1e-9)
    elif size:
        assert abs(found.bad_debt - target) <= target * 1e-9 + room
    for share in (0.25, 0.9, 1 - 1e-6, 1 - 1e-9):
        if not size:
            continue
        totals, room, doubtful = seen(exchange, direction, size * share)
        if name == "liquidatable_notional":
            assert doubtful or totals["liquidatable_notional"] <= target * (1 + 1e-9), share
        else:
            assert totals["total_bad_debt"] <= target * (1 + 1e-9) + room, share


def seen(
    exchange: Exchange, direction: Direction, size: float
) -> tuple[dict[str, Any], float, bool]:
    """Return the totals out there, the rounding of bad debt, and whether a flag is in doubt."""
    factors = factors_at(direction, size)
    night_ = book_of(exchange).sweep(market_of(exchange).shocked(factors), rules_of(exchange))
    slacks = slacks_of(moved_exchange(exchange, factors)).values()
    room = sum((slack.bounds["bad_debt"] for slack in slacks), Fraction(0))
    doubtful = any("flag" in slack.doubts for slack in slacks)
    return night_.totals.row(0, named=True), float(room), doubtful


# The liquidation curve


def curve(exchange: Exchange, direction: Direction) -> pl.DataFrame:
    book, market, rules = book_of(exchange), market_of(exchange), rules_of(exchange)
    breach = book.breach(market, rules, direction)
    found = mg.liquidation_curve(breach, book.sweep(market, rules).accounts)
    assert isinstance(found, pl.DataFrame)
    return found


def test_a_curve_by_hand() -> None:
    # `c` is past its line, `d` has nothing to lose; `e` falls with `a`.
    exchange = night(
        *TWO.positions,
        *TWO.balances,
        position("c", "ETH-P", 1.0),
        balance("d", 1.0),
        position("e", "BTC-Q", 4.0),
        balance("e", 120.0),
    )
    rows = curve(exchange, "down").rows()
    assert rows[0] == (0.0, 1, 10.0, 1, 10.0)
    assert rows[1] == (pytest.approx(-0.2, rel=1e-12), 2, 600.0, 3, 610.0)
    assert rows[2] == (pytest.approx(-3 / 7, rel=1e-12), 1, 100.0, 4, 710.0)
    assert len(rows) == 3
    assert curve(exchange, "up").rows() == [(0.0, 1, 10.0, 1, 10.0)]


@st.composite
def falling(draw: st.DrawFn) -> Exchange:
    """Draw an exchange in which no buffer rises as prices fall: longs, and balances held.

    Rates rise and are below 1, and what positions settle in stands still.
    """
    exchange, _ = draw(moving(only={"compare": st.sampled_from(["lt", "le"])}))
    settled = {row["settle_asset"] for row in exchange.instruments}
    highest: dict[str, float] = {}
    tiers = []
    for row in exchange.rules["tiers"]:
        table = str(row["tier_table"])
        highest[table] = max(min(row["maintenance_rate"], 0.9), highest.get(table, 0.0))
        tiers.append({**row, "maintenance_rate": highest[table]})
    return replace(
        exchange,
        positions=[
            {**row, "quantity": abs(row["quantity"]), "isolated_margin": kept(row)}
            for row in exchange.positions
        ],
        balances=[{**row, "amount": abs(row["amount"])} for row in exchange.balances],
        assets=[
            {**row, "is_stable": row.get("is_stable") or row["asset_id"] in settled}
            for row in exchange.assets
        ],
        rules={**exchange.rules, "tiers": tiers},
    )


def kept(row: dict[str, Any]) -> float | None:
    margin = row["isolated_margin"]
    return None if margin is None else abs(margin)


@examples(60)
@given(falling(), st.floats(0.0, 0.999))
def test_the_curve_is_a_direct_stress_at_any_point(exchange: Exchange, size: float) -> None:
    book, market, rules = book_of(exchange), market_of(exchange), rules_of(exchange)
    steps = curve(exchange, "down")
    shocks = [abs(shock) for shock in steps["breach_shock"]]
    assert shocks == sorted(set(shocks))
    # Between the steps, and a little off each of them.
    nearby = [shock * (1 + by) for shock in shocks for by in (-1e-9, 1e-9)]
    base = book.sweep(market, rules).accounts
    for point in [size, *nearby]:
        if not 0 < point < 1:
            continue
        there = moved_exchange(exchange, {"*": -point})
        if any("flag" in slack.doubts for slack in slacks_of(there).values()):
            continue
        frame = pl.DataFrame({"scenario_id": [1], "factor": ["*"], "price_shock": [-point]})
        stress = book.stress(market, rules, frame)
        reached = steps.filter(pl.col("breach_shock").abs() <= point)
        assert reached["accounts"].sum() == stress.scenarios["liquidatable_accounts"].item()
        flagged = stress.matrix().collect()["is_liquidatable"]
        notional = math.fsum(base.filter(flagged)["gross_notional"])
        cumulated = reached["cumulated_notional"].to_list()[-1:] or [0.0]
        assert cumulated == [pytest.approx(notional, rel=1e-15)]
