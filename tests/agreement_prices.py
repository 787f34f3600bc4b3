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

from reference import evaluate, prices, tier_of
from reference_inputs import Bucket, Position, World, exact
from rounding import ROUNDINGS, UNIT, Slack, slack_of, terms_of


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
        for side in bucket.sides():
            for position in side:
                row, wanted = rows[position.index], expected["positions"][position.index]
                where = f"position {position.index}"
                assert list(row) == [key for key in POSITION_ORDER if key in wanted], where
                for column in ("account_id", "bucket_id", "instrument_id"):
                    assert row[column] == wanted[column], (where, column)
                for column in ("quantity", "entry_price", "mark_price"):
                    assert Fraction(row[column]) == wanted[column], (where, column)
                _check_row(where, row, wanted, position, side, bucket, world, dyadic)
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
    side: list[Position],
    bucket: Bucket,
    world: World,
    dyadic: bool,
) -> None:
    """Check a row's own figures and its share of its side's requirements."""
    unit = ROUNDINGS * UNIT + len(side) * UNIT
    alone = Bucket(bucket.account_id, bucket.label, bucket.isolated, side)
    terms = terms_of(alone, world)
    entry = terms_of(Bucket(bucket.account_id, "", True, [position]), world)["profit"]
    sizes = sum((abs(r.quantity) for r in side), Fraction(0))
    opened = sizes + sum((r.buy + r.sell for r in side), Fraction(0))
    size = abs(position.quantity)
    shares = {
        "maintenance_margin": (size, sizes),
        "initial_margin": (size + position.buy + position.sell, opened),
    }
    bounds = {"notional": unit * wanted["notional"], "unrealized_pnl": unit * entry}
    for column, (part, whole) in shares.items():
        share = part / whole if whole else Fraction(0)
        rounding = 0 if dyadic else terms[column.removesuffix("_margin")] * share
        bounds[column] = unit * (wanted[column] + rounding)
    for column, bound in bounds.items():
        off = abs(Fraction(row[column]) - wanted[column])
        assert off <= bound, (where, column, row[column], float(wanted[column]))
    if row["tier"] != wanted["tier"]:
        marks, table = world.marks(), world.tiers[position.tier_table]
        value = marks[position.instrument_id]
        net = abs(sum((r.quantity for r in side), Fraction(0))) * value
        room = Fraction(0) if dyadic else unit * sizes * value
        allowed = {tier_of(net - room, table), tier_of(net + room, table)}
        assert row["tier"] in allowed, (where, "tier", row["tier"], wanted["tier"])


def _at_price(
    bucket: Bucket, instrument: Any, price: float, world: World
) -> tuple[Mapping[str, Any], Slack]:
    """Return figures and bounds of the bucket with that instrument's mark moved to `price`."""
    terms = {**world.instruments[instrument], "mark_price": price}
    moved = World(
        {**world.instruments, instrument: terms},
        world.assets,
        world.tiers,
        world.weights,
        world.rule,
    )
    figures = evaluate(bucket, moved.marks(), moved)
    return figures, slack_of(bucket, figures, moved, False)


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
    rows = [r for r in bucket.rows if r.instrument_id == instrument]
    net = abs(sum((r.quantity for r in rows), Fraction(0)))
    gross = sum((abs(r.quantity) for r in rows), Fraction(0))
    if abs(net - gross / 10**12) <= 8 * UNIT * gross and len(rows) > 1:
        return
    # One of them sees a positive price: rounding must be what separates it from 0 or infinity.
    marks = world.marks()
    none_left = evaluate(bucket, {**marks, instrument: Fraction(0)}, world)["equity"]
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
    room = 1 + 8 * UNIT
    assert nearest <= ratio * room, (*context, "too near", float(nearest), float(ratio))
    assert farthest is None or ratio <= farthest * room, (*context, "too far", float(ratio))


def _double(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _distance(found: Mapping[str, Any], mark: Fraction) -> Fraction | None:
    price = found["liquidation_price"]
    return None if price is None else max(price / mark, mark / price)
