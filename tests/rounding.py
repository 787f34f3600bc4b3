"""How far a figure in doubles may stray from the oracle's exact one.

An engine adds, in doubles, terms that the oracle adds exactly. A sum of n terms, each the product
of a few numbers, is off by at most about (n + a few) * 2**-53 times the sum of the absolute terms:
the bounds here are those sums, column by column, and nothing else; what a side requires is bounded
in `rounding_sides`. Where the exact figure lies closer to a line than its bound (a buffer of
1e-17), either side of the line is an answer. A `dyadic` exchange has no rounding: its bounds of
money are 0 and every flag is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from reference_bucket import fee_values, joined_values
from reference_inputs import ZERO, Bucket, World, exact
from rounding_sides import (
    ROUNDINGS,
    UNIT,
    Moved,
    SideSlack,
    equity_terms,
    premium_terms,
    profit_terms,
    side_slacks,
    sum_of_sides,
)


@dataclass
class Slack:
    """How much each figure of a bucket or account may be off, in the valuation asset."""

    bounds: dict[str, Fraction]
    owed_in_doubt: bool = False
    doubts: set[str] = field(default_factory=set)  # which of flag, status, ladder may turn
    sides: list[SideSlack] = field(default_factory=list)


def slack_of(
    bucket: Bucket,
    figures: Mapping[str, Any],
    world: World,
    dyadic: bool,
    at: Moved | None = None,
) -> Slack:
    """Return the bounds of one bucket and which of its answers they leave open.

    `at` says where the figures were taken, if not at the marks.
    """
    if at is None:
        at = Moved(world.marks(), fee_values(bucket, world.marks(), world))
    count = len(bucket.rows) + len(bucket.balances) + ROUNDINGS
    unit = ZERO if dyadic else count * UNIT
    held = held_terms(bucket, at.values, world, unit)
    profit = sum(profit_terms(bucket, at.values, world).values(), ZERO)
    beside = ZERO if _joins(bucket, world) else profit
    premium = premium_terms(bucket, at.values, world)
    sides = side_slacks(bucket, at, world, dyadic)
    needs = sum_of_sides(sides, world)
    notional = notional_terms(bucket, at.values, world)
    bounds = {
        "collateral_value": unit * held["owned"],
        "debt_value": unit * held["owed"],
        "unrealized_pnl": unit * profit,
        "gross_notional": unit * notional,
        "net_notional": unit * notional,
        "equity": unit * equity_terms(bucket, at.values, world),
        "margin_balance": unit * (held["weighted"] + beside + premium),
        "weighted_collateral": unit * held["weighted"],
        # A bucket adds its sides: no more roundings than it has rows.
        "maintenance_margin": needs["maintenance"]
        + unit * (held["keep"] + figures["maintenance_margin"]),
        "initial_margin": needs["initial"] + unit * (held["open"] + figures["initial_margin"]),
    }
    bounds["bad_debt"] = _positive_part(-figures["equity"], bounds["equity"])
    bounds["initial_balance"] = bounds["margin_balance"]
    level = exact(world.rule["level"])
    bounds["margin_buffer"] = bounds["margin_balance"] + level * bounds["maintenance_margin"]
    if not dyadic:  # the product and the difference themselves
        bounds["margin_buffer"] += 2 * UNIT * level * figures["maintenance_margin"]
    bounds["margin_deficit"] = _positive_part(-figures["margin_buffer"], bounds["margin_buffer"])
    headroom = figures["initial_balance"] - figures["initial_margin"]
    bounds["headroom"] = bounds["margin_balance"] + bounds["initial_margin"]
    bounds["free_collateral"] = _positive_part(headroom, bounds["headroom"])
    slack = Slack(bounds, sides=sides)
    if unit:
        _note_doubts(slack, figures, world, held["owed in doubt"] > 0)
    return slack


def _positive_part(value: Fraction, bound: Fraction) -> Fraction:
    """Return the bound of what a figure is above 0, given that of the figure."""
    return bound if value > -bound else ZERO


def _joins(bucket: Bucket, world: World) -> bool:
    return world.rule["profit_and_loss"] == "settle_asset" and not bucket.isolated


def held_terms(
    bucket: Bucket, values: Mapping[Any, Fraction], world: World, unit: Fraction
) -> dict[str, Fraction]:
    """Return the sums of absolute terms of what the weights see: balances, and profit that joins.

    Weighing and slicing is continuous through 0 and every floor: its slope is the liability weight
    or a weight, and its terms are at most the value once a slice. "owed in doubt" counts the assets
    of which rounding decides whether they are owed.
    """
    out = dict.fromkeys(("owned", "owed", "keep", "open", "weighted", "owed in doubt"), ZERO)
    sums, _ = joined_values(bucket, values, world)
    terms = {
        asset: amount * exact(world.assets[asset]["price"])
        for asset, amount in bucket.gross_balances.items()
    }
    for instrument, size in profit_terms(bucket, values, world).items():
        if _joins(bucket, world):
            asset = world.instruments[instrument]["settle_asset"]
            terms[asset] = terms.get(asset, ZERO) + size
    for asset, size in terms.items():
        in_doubt = size > 0 and abs(sums[asset]) <= unit * size
        out["owed in doubt"] += in_doubt
        if sums[asset] >= 0 or in_doubt:
            out["owned"] += size
        if sums[asset] < 0 or in_doubt:
            out["owed"] += size
            first = world.slices(asset)[0]
            out["keep"] += size * exact(first.get("borrow_maintenance_rate"), 0)
            out["open"] += size * exact(first.get("borrow_initial_rate"), 0)
        slices = [] if bucket.isolated else world.slices(asset)
        worst = max([exact(row.get("liability_weight"), 1) for row in slices[:1]] + [Fraction(1)])
        out["weighted"] += size * max(worst, Fraction(len(slices)))
    return out


def notional_terms(bucket: Bucket, values: Mapping[Any, Fraction], world: World) -> Fraction:
    """Return the sum of the absolute notionals of all rows."""
    return sum(
        (
            abs(row.quantity)
            * world.notional_value(row.instrument_id, values[row.instrument_id])
            * world.settle_price(row.instrument_id)
            for row in bucket.rows
        ),
        ZERO,
    )


def _note_doubts(
    slack: Slack, figures: Mapping[str, Any], world: World, owed_in_doubt: bool
) -> None:
    """Write down which answers rounding may turn."""
    bounds = slack.bounds
    required, bound = figures["maintenance_margin"], bounds["maintenance_margin"]
    slack.owed_in_doubt = owed_in_doubt
    if abs(figures["margin_buffer"]) <= bounds["margin_buffer"] or owed_in_doubt:
        slack.doubts |= {"flag", "status"}
    if world.rule["zero_requirement"] == "never" and required <= bound and bound:
        slack.doubts |= {"flag", "status"}
    headroom = figures["initial_balance"] - figures["initial_margin"]
    if abs(figures["equity"]) <= bounds["equity"] or abs(headroom) <= bounds["headroom"]:
        slack.doubts.add("status")
    for step in world.rule["ladder"]:
        below = exact(step["margin_level_below"])
        off = bounds["margin_balance"] + below * bound + 2 * UNIT * below * required
        if abs(figures["margin_balance"] - below * required) <= off or (
            bound and required <= bound
        ):
            slack.doubts.add("ladder")
