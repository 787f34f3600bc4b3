"""The oracle of breaches itself: its roots, its corners, and its alarm proved to ring."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agreement_breach import check_breach, walks_of
from exchanges import Exchange
from moving_exchanges import directions, moving
from reference_breach import breach, middle
from reference_inputs import ZERO, build_buckets, build_world
from reference_prices import bucket_at, kinks, trigger_values
from reference_reverse import bad_debt_reached, notional_reached, totals_at
from reference_roots import Polynomial, roots, through, value_at
from reference_walk import Line, Walk, first_reached
from worked import balance, night, position

quick = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def with_roots(*places: Fraction) -> Polynomial:
    """Return a polynomial with these roots alone, by points on it."""

    def value(x: Fraction) -> Fraction:
        out = Fraction(-3)
        for place in places:
            out *= x - place
        return out

    return through([(Fraction(k), value(Fraction(k))) for k in range(len(places) + 2)])


PLACES = st.lists(
    st.sampled_from([Fraction(k, 12) for k in range(-6, 60)])
    | st.fractions(0, 5, max_denominator=10**6)
    | st.just(Fraction(1, 3) + Fraction(1, 10**30)),
    max_size=6,
)


@quick
@given(PLACES)
def test_every_root_is_found_once_and_in_order(places: list[Fraction]) -> None:
    polynomial = with_roots(*places)
    assert len(polynomial) == len(places) + 1
    inside = sorted({place for place in places if 0 < place < 4})
    found = roots(polynomial, ZERO, Fraction(4))
    assert len(found) == len(inside)
    for (low, high), place in zip(found, inside, strict=True):
        assert low <= place <= high
        assert high - low <= Fraction(1, 2**64) * low


def test_what_has_no_root_has_none() -> None:
    for polynomial in ([], [Fraction(1)], [Fraction(1), ZERO, Fraction(1)]):
        assert roots(polynomial, ZERO, Fraction(9)) == []
    (root,) = roots([Fraction(-2), ZERO, Fraction(1)], ZERO, Fraction(9))
    assert value_at([Fraction(-2), ZERO, Fraction(1)], root[0]) < 0
    assert abs(middle(root) ** 2 - 2) < Fraction(1, 2**60)


def drawn(data: st.DataObject, **options: Any) -> tuple[Exchange, Any]:
    exchange, dyadic = data.draw(moving(**options))
    return exchange, data.draw(directions(exchange, dyadic=dyadic))


def rows_of(exchange: Exchange, direction: Any) -> list[dict[str, Any]]:
    return breach(
        exchange.positions,
        exchange.balances,
        exchange.accounts,
        exchange.instruments,
        exchange.assets,
        exchange.rules,
        direction,
    )


@quick
@given(st.data())
def test_the_trigger_holds_nowhere_before_the_breach_and_right_behind_it(
    data: st.DataObject,
) -> None:
    exchange, direction = drawn(data)
    for walk in walks_of(exchange, direction):
        if walk.holds(ZERO):
            continue
        found = first_reached(walk)
        end = walk.line.end if found is None else found[0]
        for share in range(1, 40):
            assert not walk.holds(end * Fraction(share, 40)), share
        if found is None or walk.is_on_the_line():
            continue
        low, high = found
        step = (walk.line.end - high) / 10**30
        touched = walk.compare == "le" and low == high and walk.holds(low)
        assert touched or walk.holds(high + step) or walk.compare == "le"


@quick
@given(moving())
def test_the_breach_of_one_instrument_is_its_liquidation_price(
    drawn: tuple[Exchange, bool],
) -> None:
    exchange, _ = drawn
    world = build_world(exchange.instruments, exchange.assets, exchange.rules)
    if world.rule["close_fee"] == "bankruptcy":
        return  # fees of other instruments follow the moved market, a price holds them
    for bucket in build_buckets(exchange.positions, exchange.balances, world):
        for instrument in bucket.instruments():
            mark = world.marks()[instrument]
            values = trigger_values(
                bucket_at(bucket, instrument, world),
                kinks(bucket, instrument, world),
                mark,
                world.rule["compare"],
                world.rule["zero_requirement"] == "never",
            )
            for slope in (Fraction(1), Fraction(-1)):
                line = Line({instrument: slope}, {}, Fraction(1 if slope < 0 else 1000), False)
                walk = Walk(bucket, world, line)
                if walk.is_flat or walk.figures(ZERO)["is_liquidatable"]:
                    continue
                found = first_reached(walk)
                price = world.price_of(instrument, mark)
                moves = [(world.price_of(instrument, v) / price - 1) / slope for v in values if v]
                inside = [t for t in moves if 0 <= t < line.end]
                if found is None and inside == [0]:
                    continue  # a step at the mark itself, which the other way jumps the line
                assert (found is None) == (not inside), (found, inside)
                if found is not None:
                    assert abs(middle(found) - inside[0]) <= Fraction(1, 2**60) * inside[0]


def rounded(exchange: Exchange, direction: Any) -> list[dict[str, Any]]:
    """Return what the oracle says in doubles: a perfect engine's answer."""
    rows = rows_of(exchange, direction)
    shocks = [row["breach_shock"] for row in rows]
    found = [None if shock is None else float(shock) for shock in shocks]
    return [{**row, "breach_shock": shock} for row, shock in zip(rows, found, strict=True)]


@quick
@given(st.data())
def test_a_perfect_engine_passes_the_check(data: st.DataObject) -> None:
    exchange, direction = drawn(data)
    check_breach(rounded(exchange, direction), exchange, direction)


@pytest.mark.parametrize("direction", ["down", "adverse", {"BTC": -0.5}, {"*": -1.0, "ETH": 0.5}])
@pytest.mark.parametrize("compare", ["lt", "le"])
@pytest.mark.parametrize("mode", ["marginal", "slab"])
def test_a_fault_in_any_row_is_caught(direction: Any, compare: str, mode: str) -> None:
    exchange = night(
        position("a", "BTC-P", 2.0),
        balance("a", 60.0),
        position("b", "COIN", 100.0),
        balance("b", 0.5, "BTC"),
        position("c", "BTC-P", 1.0, margin_mode="isolated", isolated_margin=20.0),
        position("d", "BTC-P", 1.0),
        balance("e", 1.0),
        tiers=((0.0, 0.125, 0.25), (150.0, 0.25, 0.5)),
        requirement={"tier_mode": mode},
        trigger={"compare": compare},
    )
    rows = rounded(exchange, direction)
    assert [row["breach_kind"] for row in rows] == ["root", "root", "root", "breached", "none"]
    check_breach(rows, exchange, direction)
    for number, row in enumerate(rows):
        shock = row["breach_shock"]
        others = ["root", "none", "breached"] if shock is None else ["none", "breached"]
        faults: list[dict[str, Any]] = [
            {"breach_kind": kind, "breach_shock": -0.25 if direction == "down" else 0.25}
            if kind == "root"
            else {"breach_kind": kind, "breach_shock": None}
            for kind in others
            if kind != row["breach_kind"]
        ]
        if shock is not None:
            faults += [{"breach_shock": shock * by} for by in (1 - 1e-12, 1 + 1e-12, -1.0)]
        for fault in faults:
            spoiled = [dict(r) for r in rows]
            spoiled[number] |= fault
            assert is_caught(spoiled, exchange, direction), (row, fault)


def is_caught(rows: list[dict[str, Any]], exchange: Exchange, direction: Any) -> bool:
    try:
        check_breach(rows, exchange, direction)
    except AssertionError:
        return True
    return False


@quick
@given(st.data())
def test_reverse_stresses_are_reached_there_and_nowhere_before(data: st.DataObject) -> None:
    exchange, dyadic = data.draw(moving())
    direction = data.draw(directions(exchange, dyadic=dyadic, adverse=False))
    own = walks_of(exchange, direction)
    end = own[0].line.end if own else ZERO
    far = totals_at(own, end * Fraction(999, 1000))
    share = data.draw(st.sampled_from([Fraction(1, 3), Fraction(9, 10), Fraction(1)]))
    for name, reached in (
        ("bad_debt", bad_debt_reached),
        ("liquidatable_notional", notional_reached),
    ):
        target = far[name] * share or Fraction(1)
        found = reached(own, target)
        if found is None:
            assert far[name] < target, name
            continue
        low, high = found
        for part in range(20 if low else 0):
            assert totals_at(own, low * Fraction(part, 20))[name] < target, (name, part)
        past = [high + (end - high) / 10**30, high, ZERO]
        near = target * (1 - Fraction(1, 2**60))
        assert max(totals_at(own, t)[name] for t in past) >= near, name
