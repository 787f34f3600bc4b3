"""The check that breaches are the oracle's, as close as rounding lets them be asked for.

A breach is held to what it promises, not to a number of digits: the trigger is reached there and
nowhere nearer, both up to the rounding of the figures there and at the start. So the oracle walks
twice, with the margin buffer shifted down and up by that rounding, and the answer must lie between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from exchanges import Exchange
from reference_breach import Direction, breach_of_bucket, middle, sign_of, walks
from reference_bucket import fee_values
from reference_inputs import ZERO
from reference_roots import Bracket
from reference_walk import Walk, first_reached
from rounding import Slack, slack_of
from rounding_sides import UNIT, Moved


def walks_of(exchange: Exchange, direction: Direction) -> list[Walk]:
    """Return the walk of every bucket of an exchange."""
    return walks(
        exchange.positions,
        exchange.balances,
        exchange.instruments,
        exchange.assets,
        exchange.rules,
        direction,
    )


def slack_at(walk: Walk, t: Fraction, *, still: bool = False) -> Slack:
    """Return how far a bucket's figures may stray out there.

    Where prices move, the tier of a size changes along the way; where they stand `still`, rounding
    may decide it.
    """
    world = walk.world_at(t)
    values = world.marks()
    moving = frozenset(i for i, slope in walk.line.marks.items() if slope and not still)
    at = Moved(values, fee_values(walk.bucket, values, world), moving)
    return slack_of(walk.bucket, walk.figures(t), world, False, at)


def check_breach(rows: Sequence[dict[str, Any]], exchange: Exchange, direction: Direction) -> None:
    """Assert that the rows of a breach are the oracle's, within the bounds."""
    own: dict[Any, list[Walk]] = {}
    for walk in walks_of(exchange, direction):
        own.setdefault(walk.bucket.account_id, []).append(walk)
    ids = [row["account_id"] for row in exchange.expected()["accounts"]]
    assert [row["account_id"] for row in rows] == ids
    for row in rows:
        assert list(row) == ["account_id", "breach_shock", "breach_kind"]
        check_account(row, own.get(row["account_id"], []), direction)


def check_account(row: dict[str, Any], own: Sequence[Walk], direction: Direction) -> None:
    """Assert that one account's row is the oracle's, given the walks of its buckets."""
    kind, shock = row["breach_kind"], row["breach_shock"]
    where = f"account {row['account_id']!r} {kind} {shock!r}"
    assert (kind == "root") == (shock is not None), where
    found = [breach_of_bucket(walk) for walk in own]
    doubted = any("flag" in slack_at(walk, ZERO, still=True).doubts for walk in own)
    if "breached" in (kind, *(k for k, _ in found)):
        right = kind == "breached" and any(k == "breached" for k, _ in found)
        assert right or doubted, (where, found)
        return
    places = [middle(bracket) for _, bracket in found if bracket]
    if shock is not None:
        size = sign_of(direction) * Fraction(shock)
        assert size >= 0, where
        places.append(size)
    near, far = [], []
    for walk in own:
        inside = [place for place in places if _is_on(walk, place)]
        room = sum((slack_at(walk, t).bounds["margin_buffer"] for t in [ZERO, *inside]), ZERO)
        near.append(_shifted(walk, -room))
        far.append(_shifted(walk, room))
    nearest, farthest = _least(near, 0), _least(far, 1)
    context = (where, [(k, b and float(middle(b))) for k, b in found])
    if shock is None:
        assert farthest is None, (*context, "there is a root", float(farthest or 0))
        return
    room = max((room_of_steps(walk, size) for walk in own), default=ZERO) + 4 * UNIT * size
    assert nearest is not None, (*context, "there is no root")
    assert nearest <= size + room, (*context, "too near", float(nearest))
    assert farthest is None or size <= farthest + room, (*context, "too far", float(farthest))


def _is_on(walk: Walk, t: Fraction) -> bool:
    return t <= walk.line.end if walk.line.reaches_end else t < walk.line.end


def _shifted(walk: Walk, shift: Fraction) -> Bracket | None:
    return first_reached(Walk(walk.bucket, walk.world, walk.line, shift))


def _least(found: Iterable[Bracket | None], end: int) -> Fraction | None:
    return min((bracket[end] for bracket in found if bracket), default=None)


def room_of_steps(walk: Walk, t: Fraction) -> Fraction:
    """Return how far off the shock may be at which a size reaches a floor.

    The price there is off by a few roundings, more where the size's contracts nearly cancel; and
    a price that moves slowly makes a long way of them.
    """
    room = ZERO
    for side in slack_at(walk, t if _is_on(walk, t) else ZERO).sides:
        slope = abs(walk.line.marks.get(side.own.instrument_id, ZERO))
        if side.own.kept and slope:
            rows = side.own.rows
            terms = sum((abs(row.quantity) + row.buy + row.sell for row in rows), ZERO)
            relative = (8 + len(rows)) * UNIT * terms / side.own.kept
            room = max(room, relative * (1 + slope * t) / slope)
    return room
