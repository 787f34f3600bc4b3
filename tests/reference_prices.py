"""The oracle's prices: where a bucket meets its trigger, and where its equity is gone.

Everything here speaks of the contract value of one instrument (`m P` linear, `m / P` inverse,
`m k P` quanto), in which profit and requirement are straight lines between kinks. A kink too many
does no harm: figures are read off at the kinks themselves and, between two of them, off the line
through two inner points, so that a step (slab tiers) is seen from both sides. All arithmetic is
exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from reference_bucket import bankruptcy_value, evaluate, fee_values, joined_values
from reference_inputs import ZERO, Bucket, Row, World, exact
from reference_requirement import own_needs, pairs, tier_unit

# margin_buffer and maintenance_margin at a contract value.
At = Callable[[Fraction], tuple[Fraction, Fraction]]
# The contract values on which fees are charged, at a contract value.
Fees = Callable[[Fraction], dict[Any, Fraction]]


def prices(
    bucket: Bucket, figures: Row, instrument: Any, world: World, shift: Any = 0
) -> dict[str, Any]:
    """Return liquidation and bankruptcy price of one instrument in one bucket. [6]

    `shift` is added to the margin buffer before its sign is asked for (tests use it to see how
    far rounding may carry a price).
    """
    marks = world.marks()
    _, gross = bucket.net_and_gross(instrument)
    value = bankruptcy_value(bucket, instrument, marks, world)
    out: dict[str, Any] = {
        "bankruptcy_price": None if value is None else world.price_of(instrument, value),
        "liquidation_price": None,
        "liquidation_price_kind": "none",
    }
    if figures["is_liquidatable"]:
        out["liquidation_price_kind"] = "breached"
    elif gross and not world.is_option(instrument):
        found = trigger_values(
            bucket_at(bucket, instrument, world, shift),
            kinks(bucket, instrument, world),
            marks[instrument],
            world.rule["compare"],
            world.rule["zero_requirement"] == "never",
        )
        if found:
            mark = exact(world.instruments[instrument]["mark_price"])
            price = nearer_price([world.price_of(instrument, v) for v in found], mark)
            out |= {"liquidation_price": price, "liquidation_price_kind": "root"}
    return out


def fees_held(bucket: Bucket, instrument: Any, world: World) -> Fees:
    """Return the fee values as a function of the contract value of one instrument. [6]

    Those of other instruments are what they are now. The bankruptcy price of the instrument
    itself does not move with its mark, nor does the notional of an option.
    """
    now = fee_values(bucket, world.marks(), world)
    moves = world.rule["close_fee"] == "mark" and not world.is_option(instrument)
    return lambda value: {**now, instrument: value} if moves else now


def bucket_at(bucket: Bucket, instrument: Any, world: World, shift: Any = 0) -> At:
    """Return the bucket's figures as a function of the contract value of one instrument."""
    marks, fees = world.marks(), fees_held(bucket, instrument, world)

    def at(value: Fraction) -> tuple[Fraction, Fraction]:
        moved = evaluate(bucket, {**marks, instrument: value}, world, fees(value))
        return moved["margin_buffer"] + shift, moved["maintenance_margin"]

    return at


def kinks(bucket: Bucket, instrument: Any, world: World) -> list[Fraction]:
    """Return the contract values between which every figure of the bucket is a straight line."""
    marks, found = world.marks(), []
    fees = fees_held(bucket, instrument, world)
    needs = own_needs(bucket, marks, fees(marks[instrument]), world)
    # A size moves with the mark where its unit on the tier basis does.
    here = marks[instrument]
    moves = world.rule["price_basis"] == "mark" and (
        tier_unit(instrument, here, world) != tier_unit(instrument, here * 2, world)
    )
    for need in needs:
        if need.instrument_id == instrument and need.kept and moves:
            table = world.tiers[need.rows[0].tier_table]
            found += [exact(tier["floor"]) / need.kept for tier in table]
    net, _ = bucket.net_and_gross(instrument)
    if net:  # where the instrument's profit is 0, the point at which profit_weight sets in
        rows = [row for row in bucket.rows if row.instrument_id == instrument]
        entry = (row.quantity * world.contract_value(instrument, row.entry_price) for row in rows)
        found.append(sum(entry, ZERO) / net)
    found = sorted({value for value in found if value > 0})
    return found + crossings(
        lambda value: watched(bucket, instrument, value, fees(value), world), found
    )


def watched(
    bucket: Bucket, instrument: Any, value: Fraction, fees: Mapping[Any, Fraction], world: World
) -> list[Fraction]:
    """Return the figures at whose 0 another kink lies.

    Of two sides, the difference of their requirements (netting larger_side); of the settle asset
    joined by profit, how far its sum is above each floor of its weights, 0 among them.
    """
    values = {**world.marks(), instrument: value}
    out = []
    if world.rule["netting"] == "larger_side":
        for long, short in pairs(own_needs(bucket, values, fees, world)):
            out.append(long.maintenance - short.maintenance)
    asset = world.instruments[instrument]["settle_asset"]
    if world.rule["profit_and_loss"] == "settle_asset" and not bucket.isolated:
        total = joined_values(bucket, values, world)[0].get(asset, ZERO)
        out += [total - exact(row.get("floor"), 0) for row in world.slices(asset)]
    return out


def crossings(
    watch: Callable[[Fraction], Sequence[Fraction]], points: Sequence[Fraction]
) -> list[Fraction]:
    """Return the values between the points at which one of the watched lines is 0."""
    found = []
    ends: list[Fraction | None] = [*points, None]
    for start, end in zip([ZERO, *points], ends, strict=True):
        one, two = _inside(start, end)
        for near, far in zip(watch(one), watch(two), strict=True):
            if near != far:
                value = one + near * (two - one) / (near - far)
                if value > start and (end is None or value < end):
                    found.append(value)
    return found


def _inside(start: Fraction, end: Fraction | None) -> tuple[Fraction, Fraction]:
    """Return two values between start and end, where None is infinity."""
    step = Fraction(1) if end is None else (end - start) / 3
    return start + step, start + 2 * step


def nearer_price(found: Iterable[Fraction], mark: Fraction) -> Fraction:
    """Return the price nearest to the mark by ratio, the lower one if equal."""
    return min(sorted(found), key=lambda price: max(price / mark, mark / price))


def trigger_values(
    at: At, kinks: Iterable[Fraction], mark: Fraction, compare: str, never: bool
) -> list[Fraction]:
    """Return the first contract value at which the trigger is reached, below and above the mark.

    The trigger does not hold at the mark. "Reached" is the edge of the values where it holds: at
    it the buffer is 0, and just past it (under `lt`) or at it (under `le`) there is a flag; or a
    step of a slab jumps the line there. With `zero_requirement = "never"` the edge may also be the
    value where a requirement begins, the buffer being negative already. A buffer that touches 0
    and turns back is reached under `le` only. Exactly on the line it is the mark, whatever comes
    next. [DETAILS 6]
    """
    buffer, required = at(mark)
    if buffer == 0 and not (never and required == 0):
        return [mark]
    points = sorted({*kinks})
    above = [mark, *(p for p in points if p > mark), None]
    below = [mark, *reversed([p for p in points if p < mark]), ZERO]
    found = []
    for path in (below, above):
        for start, end in pairwise(path):
            assert start is not None
            value = _first_between(at, start, end, compare, never)
            if value is None and end and _holds(at(end), compare, never):
                value = end
            if value is not None:
                found.append(value)
                break
    return found


def _holds(figures: tuple[Fraction, Fraction], compare: str, never: bool) -> bool:
    buffer, required = figures
    return not (never and required == 0) and (buffer <= 0 if compare == "le" else buffer < 0)


def _first_between(
    at: At, start: Fraction, end: Fraction | None, compare: str, never: bool
) -> Fraction | None:
    """Return the edge of the trigger strictly between start and end, walking from `start`.

    The edge may be `start` itself: the limit of the values where the trigger holds. A requirement
    is a line that is never negative, so between the two it is 0 everywhere or nowhere. `end` is
    None where the line runs on for ever.
    """
    if end is None or end > start:
        one, two = _inside(start, end)
    else:
        two, one = _inside(end, start)
    (near, need), (far, _) = at(one), at(two)
    if never and need == 0:
        return None
    slope = (far - near) / (two - one)  # a step as long as from start to the first inner point
    first = near + slope * (start - one)
    if first < 0 or (first == 0 and (near < 0 or (near == 0 and compare == "le"))):
        return start
    if first == 0 or slope == 0:
        return None
    value = start - first / slope
    if end is None:
        return value if value > start else None
    return value if min(start, end) < value < max(start, end) else None
