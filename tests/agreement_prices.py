"""The check that rows of `positions` are the oracle's, their two prices above all.

A price is held to what it promises, not to a number of digits: at a bankruptcy price no equity is
left, at a liquidation price the trigger is reached and nowhere nearer, both up to the rounding of
the figures there. That is as strict as the problem is well posed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from reference_bucket import NET_OF_GROSS, equity_at, evaluate
from reference_inputs import ZERO, Bucket, Position, World, exact
from reference_prices import fees_held, prices
from rounding import Slack, slack_of
from rounding_sides import ROUNDINGS, UNIT, Moved, SideSlack, premium_terms, profit_terms


def check_positions(
    rows: list[dict[str, Any]],
    expected: Mapping[str, Any],
    buckets: list[Bucket],
    slacks: list[Slack],
    world: World,
    dyadic: bool,
) -> None:
    assert len(rows) == len(expected["positions"])
    for bucket, slack, figures in zip(buckets, slacks, expected["buckets"], strict=True):
        for side in slack.sides:
            for position in side.own.rows:
                row, wanted = rows[position.index], expected["positions"][position.index]
                where = f"position {position.index}"
                assert list(row) == [key for key in POSITION_ORDER if key in wanted], where
                for column in ("account_id", "bucket_id", "instrument_id"):
                    assert row[column] == wanted[column], (where, column)
                for column in ("quantity", "entry_price", "mark_price"):
                    assert Fraction(row[column]) == wanted[column], (where, column)
                _check_row(where, row, wanted, position, side, world)
                _check_requirement(where, row, wanted, position, side, world, dyadic)
                _check_bankruptcy(where, row, wanted, position, bucket, world)
                _check_liquidation(where, row, wanted, position, bucket, figures, slack, world)


POSITION_ORDER = (
    "account_id",
    "bucket_id",
    "instrument_id",
    "quantity",
    "entry_price",
    "mark_price",
    "notional",
    "unrealized_pnl",
    "tier",
    "maintenance_margin",
    "initial_margin",
    "liquidation_price",
    "liquidation_price_kind",
    "bankruptcy_price",
)


def _check_row(
    where: str,
    row: Mapping[str, Any],
    wanted: Mapping[str, Any],
    position: Position,
    side: SideSlack,
    world: World,
) -> None:
    """Check a row's own figures, and its tier."""
    alone = Bucket(position.account_id, "", True, [position])
    marks = world.marks()
    gain = sum(profit_terms(alone, marks, world).values(), premium_terms(alone, marks, world))
    bounds = {"notional": wanted["notional"], "unrealized_pnl": gain}
    for column, terms in bounds.items():
        off = abs(Fraction(row[column]) - wanted[column])
        assert off <= ROUNDINGS * UNIT * terms, (where, column, row[column], float(wanted[column]))
    assert row["tier"] in side.tiers, (where, "tier", row["tier"], wanted["tier"], side.tiers)


def _check_requirement(
    where: str,
    row: Mapping[str, Any],
    wanted: Mapping[str, Any],
    position: Position,
    side: SideSlack,
    world: World,
    dyadic: bool,
) -> None:
    """Check a row's shares of its side's requirements: none of a side that is not kept.

    Where rounding decides which side is kept, a share of either outcome will do. A share is a
    quotient of sums of positive terms: a few roundings, also where nothing else is rounded.
    """
    orders = {"maintenance": world.rule["open_orders"] == "both"}
    orders["initial"] = world.rule["open_orders"] != "none"
    for kind, counts in orders.items():
        sizes = [abs(r.quantity) + (r.buy + r.sell if counts else ZERO) for r in side.own.rows]
        size = abs(position.quantity) + (position.buy + position.sell if counts else ZERO)
        share = size / sum(sizes, ZERO) if any(sizes) else ZERO
        own = getattr(side.own, kind) * side.price(world) * share
        bound = ZERO if dyadic else getattr(side, kind) * side.price(world) * share
        answers = [(ZERO, ZERO)] if side.in_doubt or side.dropped else []
        if side.in_doubt or not side.dropped:
            answers.append((own, bound))
        actual, rounding = Fraction(row[f"{kind}_margin"]), (ROUNDINGS + len(sizes)) * UNIT
        assert any(abs(actual - a) <= off + rounding * a for a, off in answers), (
            where,
            kind,
            float(actual),
            [(float(answer), float(off)) for answer, off in answers],
        )
        if not side.in_doubt:
            assert wanted[f"{kind}_margin"] == answers[0][0], where


def _at_price(
    bucket: Bucket, instrument: Any, price: float, world: World
) -> tuple[Mapping[str, Any], Slack]:
    """Return figures and bounds of the bucket with that instrument's mark moved to `price`."""
    value = world.contract_value(instrument, Fraction(price))
    values = {**world.marks(), instrument: value}
    fees = fees_held(bucket, instrument, world)(value)
    figures = evaluate(bucket, values, world, fees)
    return figures, slack_of(
        bucket, figures, world, False, Moved(values, fees, frozenset({instrument}))
    )


def _check_bankruptcy(
    where: str,
    row: Mapping[str, Any],
    wanted: Mapping[str, Any],
    position: Position,
    bucket: Bucket,
    world: World,
) -> None:
    """Hold the price to the equity that is left there: none, up to rounding."""
    actual, price = row["bankruptcy_price"], wanted["bankruptcy_price"]
    if actual is not None:
        assert actual > 0, where
        assert math.isfinite(actual), where
    instrument = position.instrument_id
    mark = float(world.instruments[instrument]["mark_price"])
    here = _at_price(bucket, instrument, mark, world)[1].bounds["equity"]
    if actual is not None and price is not None:
        figures, slack = _at_price(bucket, instrument, actual, world)
        allowed = slack.bounds["equity"] + here
        assert abs(figures["equity"]) <= allowed, (where, actual, float(price))
        return
    if actual is None and price is None:
        return
    net, gross = bucket.net_and_gross(instrument)
    if len(bucket.rows) > 1 and abs(abs(net) - NET_OF_GROSS * gross) <= 8 * UNIT * gross:
        return
    # One of them sees a positive price: rounding must be what separates it from 0 or infinity.
    marks = world.marks()
    none_left = equity_at(bucket, {**marks, instrument: ZERO}, world)
    assert abs(none_left) <= 2 * here, (where, actual, price and float(price))


def _check_liquidation(
    where: str,
    row: Mapping[str, Any],
    wanted: Mapping[str, Any],
    position: Position,
    bucket: Bucket,
    figures: Mapping[str, Any],
    slack: Slack,
    world: World,
) -> None:
    """Hold the price to the trigger: no nearer and no farther than rounding can carry it.

    The buffer's rounding at the price and at the mark shifts the line; the price must lie between
    those of the line shifted up and down, and its buffer must be 0 up to that shift.
    """
    kind, price = row["liquidation_price_kind"], row["liquidation_price"]
    assert (kind == "root") == (price is not None), where
    if (kind == "breached") != figures["is_liquidatable"]:
        assert "flag" in slack.doubts, (where, kind, wanted["liquidation_price_kind"])
        return
    if kind == "breached" or (kind == "none" and wanted["liquidation_price_kind"] == "none"):
        return
    instrument = position.instrument_id
    mark = exact(world.instruments[instrument]["mark_price"])
    ends = [float(mark)]
    ends += [p for p in (price, _double(wanted["liquidation_price"])) if p is not None]
    shift = sum(
        (_at_price(bucket, instrument, p, world)[1].bounds["margin_buffer"] for p in ends),
        Fraction(0),
    )
    loose = {**figures, "is_liquidatable": False}
    nearest, farthest = (
        _distance(prices(bucket, loose, instrument, world, shift=sign * shift), mark)
        for sign in (-1, 1)
    )
    context = (where, kind, price, wanted["liquidation_price_kind"], wanted["liquidation_price"])
    if price is None:
        assert farthest is None, (*context, "there is a price")
        return
    assert nearest is not None, (*context, "there is no price")
    ratio = max(Fraction(price) / mark, mark / Fraction(price))
    room = 1 + _room_of_kinks(instrument, slack)
    assert nearest <= ratio * room, (*context, "too near", float(nearest), float(ratio))
    assert farthest is None or ratio <= farthest * room, (*context, "too far", float(ratio))


def _room_of_kinks(instrument: Any, slack: Slack) -> Fraction:
    """Return how far off, relative, the price may be at which a size reaches a floor.

    It is the floor over a size, whose contracts are a sum that may nearly cancel.
    """
    room = 8 * UNIT
    for side in slack.sides:
        if side.own.instrument_id == instrument and side.own.kept:
            rows = side.own.rows
            terms = sum((abs(row.quantity) + row.buy + row.sell for row in rows), ZERO)
            room = max(room, (8 + len(rows)) * UNIT * terms / side.own.kept)
    return room


def _double(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _distance(found: Mapping[str, Any], mark: Fraction) -> Fraction | None:
    price = found["liquidation_price"]
    return None if price is None else max(price / mark, mark / price)
