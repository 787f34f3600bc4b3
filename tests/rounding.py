"""How far a figure in doubles may stray from the oracle's exact one.

An engine adds, in doubles, terms that the oracle adds exactly. A sum of n terms, each the product
of a few numbers, is off by at most about (n + a few) * 2**-53 times the sum of the absolute terms:
the bounds here are those sums, column by column, and nothing else. Where the exact figure lies
closer to a line than its bound (a buffer of 1e-17), either side of the line is an answer. A
`dyadic` exchange has no rounding: its bounds of money are 0 and every flag is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from reference_inputs import Bucket, World, exact

UNIT = Fraction(1, 2**53)
#: Roundings of one term before it is added: products, a division, a tier's deduction.
ROUNDINGS = 12


@dataclass
class Slack:
    """How much each figure of a bucket or account may be off, in the valuation asset."""

    bounds: dict[str, Fraction]
    owed_in_doubt: bool = False
    doubts: set[str] = field(default_factory=set)  # which of flag, status may go either way


def slack_of(bucket: Bucket, figures: Mapping[str, Any], world: World, dyadic: bool) -> Slack:
    """Return the bounds of one bucket and which of its answers they leave open."""
    count = len(bucket.rows) + len(bucket.balances) + ROUNDINGS
    unit = Fraction(0) if dyadic else count * UNIT
    terms = terms_of(bucket, world)
    level = exact(world.rule["level"])
    held, profit = terms["held"], terms["profit"]
    bounds = {
        "collateral_value": held,
        "debt_value": held,
        "unrealized_pnl": profit,
        "gross_notional": terms["notional"],
        "net_notional": terms["notional"],
        "equity": held + profit,
        "bad_debt": held + profit,
        "margin_balance": terms["weighted"] + profit,
        "weighted_collateral": terms["weighted"],
        "maintenance_margin": terms["maintenance"] + terms["owed"],
        "initial_margin": terms["initial"] + terms["owed"],
    }
    bounds["initial_balance"] = bounds["margin_balance"]
    bounds["margin_buffer"] = bounds["margin_balance"] + level * bounds["maintenance_margin"]
    bounds["free_collateral"] = bounds["margin_balance"] + bounds["initial_margin"]
    slack = Slack({key: value * unit for key, value in bounds.items()})
    if unit:
        _note_doubts(slack, bucket, figures, world)
    return slack


def terms_of(bucket: Bucket, world: World) -> dict[str, Fraction]:
    """Return the sums of absolute terms from which bounds are made."""
    marks = world.marks()
    out = dict.fromkeys(
        ("held", "owed", "weighted", "notional", "profit", "maintenance", "initial"), Fraction(0)
    )
    for asset, amount in bucket.gross_balances.items():
        value = amount * exact(world.assets[asset]["price"])
        out["held"] += value
        if bucket.balances[asset] < 0 or _is_in_doubt(bucket, asset):
            out["owed"] += value
        slices = [] if bucket.isolated else world.slices(asset)
        worst = max([exact(row.get("liability_weight"), 1) for row in slices[:1]] + [Fraction(1)])
        out["weighted"] += value * max(worst, Fraction(len(slices)))
    for side in bucket.sides():
        instrument = side[0].instrument_id
        unit = marks[instrument] * world.settle_price(instrument)
        sizes = sum((abs(row.quantity) for row in side), Fraction(0))
        orders = sum((row.buy + row.sell for row in side), Fraction(0))
        tiers = len(world.tiers[side[0].tier_table])
        leverages = [row.leverage for row in side if row.leverage is not None]
        out["notional"] += sizes * unit
        out["maintenance"] += sizes * unit * tiers
        by_leverage = 1 / min(leverages) if leverages else Fraction(0)
        out["initial"] += (sizes + orders) * unit * (tiers + by_leverage)
        for row in side:
            entry = world.contract_value(instrument, row.entry_price)
            out["profit"] += abs(row.quantity) * (unit + entry * world.settle_price(instrument))
    return out


def _is_in_doubt(bucket: Bucket, asset: Any) -> bool:
    """Return whether rounding decides if a sum of balances is owed."""
    gross = bucket.gross_balances[asset]
    return gross > 0 and abs(bucket.balances[asset]) <= (ROUNDINGS + 8) * UNIT * gross


def _note_doubts(slack: Slack, bucket: Bucket, figures: Mapping[str, Any], world: World) -> None:
    """Write down which answers rounding may turn."""
    bounds = slack.bounds
    slack.owed_in_doubt = any(_is_in_doubt(bucket, asset) for asset in bucket.balances)
    nothing_required = figures["maintenance_margin"] <= bounds["maintenance_margin"]
    never = world.rule["zero_requirement"] == "never"
    if abs(figures["margin_buffer"]) <= bounds["margin_buffer"] or slack.owed_in_doubt:
        slack.doubts |= {"flag", "status"}
    if never and nothing_required and bounds["maintenance_margin"]:
        slack.doubts |= {"flag", "status"}
    headroom = figures["initial_balance"] - figures["initial_margin"]
    if abs(figures["equity"]) <= bounds["equity"] or abs(headroom) <= bounds["free_collateral"]:
        slack.doubts.add("status")
