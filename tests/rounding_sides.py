"""How far what one side of a bucket requires may stray in doubles, and where it may jump.

Between jumps a requirement is a sum of products; its bound is the number of roundings times the
sum of the absolute terms. A jump is a decision that rounding may turn: the tier of a size on a
slab's edge, the sign of an option's net quantity, whether next to nothing is left of a net
quantity. Then either outcome is an answer, and the bound grows by what lies between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from reference_bucket import NET_OF_GROSS, equity_at, profits
from reference_inputs import ZERO, Bucket, World, exact
from reference_requirement import (
    Need,
    own_needs,
    pairs,
    requirement_value,
    smaller_sides,
    tier_of,
    tier_unit,
)

UNIT = Fraction(1, 2**53)
#: Roundings of one term before it is added: products, a division, a tier's deduction.
ROUNDINGS = 12


@dataclass
class SideSlack:
    """One side, what it requires by itself, and how far off that may be, in its settle asset."""

    own: Need
    dropped: bool  # the other side outweighs it
    maintenance: Fraction
    initial: Fraction
    tiers: set[int] = field(default_factory=set)  # that the maintenance size may be in
    in_doubt: bool = False  # which of two sides is kept

    def price(self, world: World) -> Fraction:
        """Return the price of the settle asset."""
        return world.settle_price(self.own.instrument_id)


@dataclass
class Moved:
    """Where a bucket is looked at: contract values, and those on which fees are charged."""

    values: Mapping[Any, Fraction]
    fees: Mapping[Any, Fraction]
    moving: frozenset[Any] = (
        frozenset()
    )  # whose marks move: tiers change at prices, not by rounding


def side_slacks(bucket: Bucket, at: Moved, world: World, dyadic: bool) -> list[SideSlack]:
    """Return the bounds of each side of a bucket."""
    needs = own_needs(bucket, at.values, at.fees, world)
    larger = world.rule["netting"] == "larger_side"
    dropped = [id(need) for need in smaller_sides(needs)] if larger else []
    slacks = {
        id(need): SideSlack(need, id(need) in dropped, ZERO, ZERO, {need.tier})
        if dyadic
        else _slack_of_side(need, id(need) in dropped, bucket, at, world)
        for need in needs
    }
    for long, short in pairs(needs) if larger and not dyadic else []:
        sides = slacks[id(long)], slacks[id(short)]
        room = sides[0].maintenance + sides[1].maintenance
        for side in sides:
            side.in_doubt = 0 < room >= abs(long.maintenance - short.maintenance)
    return list(slacks.values())


def sum_of_sides(sides: list[SideSlack], world: World) -> dict[str, Fraction]:
    """Return the bounds of the sums over the sides, in the valuation asset.

    The larger of two requirements is off by at most the larger of their bounds. Where rounding
    decides which side is kept, the initial requirement is that of the one or of the other.
    """
    out = {"maintenance": ZERO, "initial": ZERO}
    for side in sides:
        if side.in_doubt or not side.dropped:
            out["initial"] += side.initial * side.price(world)
    groups: dict[Any, list[SideSlack]] = {}
    for side in sides:
        groups.setdefault(side.own.group, []).append(side)
    for group in groups.values():
        netted = [side.maintenance for side in group]
        larger = world.rule["netting"] == "larger_side"
        bound = max(netted) if larger else sum(netted, ZERO)
        out["maintenance"] += bound * group[0].price(world)
        if group[0].in_doubt:
            between = abs(group[0].own.initial - group[1].own.initial)
            out["initial"] += between * group[0].price(world)
    return out


def _slack_of_side(need: Need, dropped: bool, bucket: Bucket, at: Moved, world: World) -> SideSlack:
    rows, instrument = need.rows, need.instrument_id
    unit = (len(rows) + ROUNDINGS) * UNIT
    value = requirement_value(rows, at.values[instrument], world)
    table = world.tiers[rows[0].tier_table]
    sizes = sum((abs(row.quantity) for row in rows), ZERO)
    orders = sum((row.buy + row.sell for row in rows), ZERO)
    kept = sizes + (orders if world.rule["open_orders"] == "both" else ZERO)
    opened = sizes + (orders if world.rule["open_orders"] != "none" else ZERO)
    short = world.is_option(instrument) and need.net < 0
    in_doubt = world.is_option(instrument) and _is_rounded_away(need)
    if world.is_option(instrument) and not short and not in_doubt:
        tiers = _tiers_of(need, need.kept, kept, value, world)
        return SideSlack(need, dropped, ZERO, ZERO, tiers)
    rate = exact(world.instruments[instrument].get("close_fee_rate"), 0)
    off, jump = _fee_value_slack(bucket, instrument, at, world)
    fee = unit * kept * at.fees[instrument] * rate + (kept * off + need.kept * jump) * rate
    maintenance = unit * kept * value * _rates(table, "maintenance_rate") + fee
    leverages = [row.leverage for row in rows if row.leverage is not None]
    by_leverage = 1 / min(leverages) if leverages else ZERO
    initial = unit * opened * value * (_rates(table, "initial_rate") + by_leverage)
    tiers = _tiers_of(need, need.kept, kept, value, world)
    if world.rule["tier_mode"] == "slab":
        other = _tiers_of(need, need.opened, opened, value, world)
        moves = instrument in at.moving and tier_unit(
            instrument, at.values[instrument], world
        ) != tier_unit(instrument, at.values[instrument] * 2, world)
        if not moves or world.rule["price_basis"] == "entry":
            maintenance += need.kept * value * _spread(table, "maintenance_rate", tiers)
        initial += need.opened * value * _spread(table, "initial_rate", other)
    if in_doubt:  # margined in full, or not at all
        margined = _as_if_short(need, bucket, at, world)
        maintenance += margined.maintenance
        initial += margined.initial
    return SideSlack(need, dropped, maintenance, initial, tiers)


def _as_if_short(need: Need, bucket: Bucket, at: Moved, world: World) -> Need:
    """Return what an option's side would require with a net quantity next to nothing, but short."""
    if need.net < 0:
        return need
    tiny = replace(need.rows[0], quantity=need.rows[0].quantity - need.net - Fraction(1, 10**40))
    rows = [row if row is not need.rows[0] else tiny for row in need.rows]
    other = Bucket(bucket.account_id, bucket.label, bucket.isolated, rows)
    return own_needs(other, at.values, at.fees, world)[0]


def _is_rounded_away(need: Need) -> bool:
    """Return whether rounding decides on which side of 0 the net quantity is."""
    sizes = sum((abs(row.quantity) for row in need.rows), ZERO)
    return len(need.rows) > 1 and abs(need.net) <= len(need.rows) * UNIT * sizes and sizes > 0


def _rates(table: list[Any], column: str) -> Fraction:
    """Return the sum of the absolute terms of `x r_k - d_k`, as a fraction of x.

    The deduction is a sum of floor * step in the rate over floors of at most x.
    """
    rates = [exact(row[column]) for row in table]
    steps = [abs(high - low) for low, high in pairwise(rates)]
    return max(rates) + sum(steps, ZERO)


def _spread(table: list[Any], column: str, tiers: set[int]) -> Fraction:
    rates = [exact(table[tier - 1][column]) for tier in tiers]
    return max(rates) - min(rates)


def _tiers_of(
    need: Need, size: Fraction, terms: Fraction, value: Fraction, world: World
) -> set[int]:
    """Return the tiers that a size may be in, its contracts being a sum of these terms."""
    instrument, table = need.instrument_id, world.tiers[need.rows[0].tier_table]
    unit = tier_unit(instrument, value, world)
    # One row's contracts times 1 are what they are; anything else is rounded.
    counted = world.rule["tier_basis"] != "notional" and world.kind(instrument) != "inverse"
    counted |= world.rule["tier_basis"] == "contracts"
    plain = counted and unit == 1 and len(need.rows) == 1 and terms == size
    room = ZERO if plain else (len(need.rows) + ROUNDINGS) * UNIT * terms * unit
    edge = world.rule["tier_edge"]
    low, high = (tier_of(size * unit + sign * room, table, edge) for sign in (-1, 1))
    return {*range(low, high + 1)}


def _fee_value_slack(
    bucket: Bucket, instrument: Any, at: Moved, world: World
) -> tuple[Fraction, Fraction]:
    """Return how far off the contract value at the bankruptcy price may be, and its jump.

    It is `v - equity / net` in the settle asset. Equity is off by the sum of its terms, the net
    quantity by that of the gross one: both grow by gross / net. Next to nothing of a net quantity,
    there may be a price or none.
    """
    if world.rule["close_fee"] != "bankruptcy" or world.is_option(instrument):
        return ZERO, ZERO
    net, gross = bucket.net_and_gross(instrument)
    rows = [row for row in bucket.rows if row.instrument_id == instrument]
    room = len(rows) * UNIT * gross if len(rows) > 1 else ZERO
    if abs(net) <= room or abs(net) + room <= NET_OF_GROSS * gross:
        return ZERO, ZERO
    marks = world.marks()  # what the instrument itself is worth now decides nothing
    price, here = world.settle_price(instrument), marks[instrument]
    equity = equity_at(bucket, marks, world)
    exactly = here - world.direction(instrument) * equity / (net * price)
    unit = (len(bucket.rows) + len(bucket.balances) + ROUNDINGS) * UNIT
    apart = room / abs(net)  # relative, of the net quantity
    terms = equity_terms(bucket, marks, world)
    off = unit * (here + abs(exactly)) + abs(here - exactly) * apart / (1 - apart)
    off += unit * terms / ((abs(net) - room) * price)
    in_doubt = abs(abs(net) - NET_OF_GROSS * gross) <= room + 4 * UNIT * NET_OF_GROSS * gross
    return off, max(ZERO, exactly) + off if in_doubt else ZERO


def equity_terms(bucket: Bucket, values: Mapping[Any, Fraction], world: World) -> Fraction:
    """Return the sum of the absolute terms of equity: balances, both ends of profit, premiums."""
    held = (
        amount * exact(world.assets[asset]["price"])
        for asset, amount in bucket.gross_balances.items()
    )
    profit = sum(profit_terms(bucket, values, world).values(), ZERO)
    return sum(held, ZERO) + profit + premium_terms(bucket, values, world)


def profit_terms(
    bucket: Bucket, values: Mapping[Any, Fraction], world: World
) -> dict[Any, Fraction]:
    """Return the sum of the absolute terms of each instrument's profit."""
    out = dict.fromkeys(profits(bucket, values, world), ZERO)
    for row in bucket.rows:
        i = row.instrument_id
        if i in out:
            both = values[i] + world.contract_value(i, row.entry_price)
            out[i] += abs(row.quantity) * both * world.settle_price(i)
    return out


def premium_terms(bucket: Bucket, values: Mapping[Any, Fraction], world: World) -> Fraction:
    """Return the sum of the absolute values of options."""
    return sum(
        (
            abs(row.quantity) * values[row.instrument_id] * world.settle_price(row.instrument_id)
            for row in bucket.rows
            if world.is_option(row.instrument_id)
        ),
        ZERO,
    )
