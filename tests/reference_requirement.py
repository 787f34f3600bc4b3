"""The oracle's requirement: what the sides of a bucket must hold, in exact fractions.

A side is the rows that are margined as one size. `requirements` returns a `Need` for each side of a
bucket, in its settle asset, given the contract value of every instrument and the contract value on
which each one's closing fee is charged. Numbers in brackets name the section of the contract that
a line comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reference_inputs import ZERO, Bucket, Position, Row, World, exact


@dataclass
class Need:
    """What one side requires, in its settle asset; `maintenance` includes the closing `fee`."""

    rows: list[Position]
    net: Fraction  # contracts, signed
    kept: Fraction  # contracts that maintenance sees
    opened: Fraction  # contracts that initial sees
    tier: int  # of the maintenance size
    fee: Fraction
    maintenance: Fraction
    initial: Fraction
    short: bool

    @property
    def instrument_id(self) -> Any:
        """The instrument of all its rows."""
        return self.rows[0].instrument_id

    @property
    def group(self) -> tuple[Any, str]:
        """What it shares with the other side: instrument and tier table."""
        return self.rows[0].instrument_id, self.rows[0].tier_table


def marginal(size: Fraction, table: Sequence[Row], column: str) -> Fraction:
    """Return the sum of slice * rate. [4]

    The same as `x r_k - d_k` with `d_k = d_(k-1) + floor_k (r_k - r_(k-1))`, and the same slices
    that weigh collateral. A weight left out: maintenance_weight for initial_weight. [3]
    """
    total = ZERO
    floors = [exact(row.get("floor"), 0) for row in table]
    for floor, ceiling, row in zip(floors, [*floors[1:], None], table, strict=True):
        top = size if ceiling is None else min(size, ceiling)
        if top > floor:
            total += (top - floor) * exact(row.get(column), row.get("maintenance_weight"))
    return total


def tier_of(size: Fraction, table: Sequence[Row], edge: str = "upper") -> int:
    """Return the tier, counted from 1, of a size on the tier basis. [5, tier_edge]"""
    reached = [
        size >= exact(row["floor"]) if edge == "upper" else size > exact(row["floor"])
        for row in table
    ]
    return max(k for k, inside in enumerate(reached, 1) if k == 1 or inside)


def charge(size: Fraction, table: Sequence[Row], column: str, world: World) -> Fraction:
    """Return x r_k - d_k, or under slab x r_k, the whole size at the rate of its tier. [4]"""
    if world.rule["tier_mode"] == "marginal":
        return marginal(size, table, column)
    return size * exact(table[tier_of(size, table, world.rule["tier_edge"]) - 1][column])


def requirement_value(rows: list[Position], value: Fraction, world: World) -> Fraction:
    """Return the contract value that stands in notional and x of the requirement.

    The mark's, or that of the average entry which keeps the value at entry, weighted by |q|; an
    order alone has no entry: the mark. An option's is m U under both. [5, price_basis]
    """
    instrument = rows[0].instrument_id
    sizes = sum((abs(row.quantity) for row in rows), ZERO)
    if world.rule["price_basis"] == "entry" and sizes and not world.is_option(instrument):
        entries = (
            abs(row.quantity) * world.contract_value(instrument, row.entry_price) for row in rows
        )
        return sum(entries, ZERO) / sizes
    return world.notional_value(instrument, value)


def tier_unit(instrument: Any, value: Fraction, world: World) -> Fraction:
    """Return the size on the tier basis of one contract of this notional. [5, tier_basis]

    notional: its value; base: m, of an inverse m / P, which is its value; contracts: 1.
    """
    basis, kind = world.rule["tier_basis"], world.kind(instrument)
    if basis == "notional" or (basis == "base" and kind == "inverse"):
        return value
    return world.contract_size(instrument) if basis == "base" else Fraction(1)


def side_need(
    rows: list[Position], value: Fraction, fee_value: Fraction, short: bool, world: World
) -> Need:
    """Return what one side requires by itself. [4]

    `value` is the contract value at the mark, `fee_value` that on which the fee is charged.
    """
    rule, instrument = world.rule, rows[0].instrument_id
    table = world.tiers[rows[0].tier_table]
    net = sum((row.quantity for row in rows), ZERO)
    buy, sell = sum((row.buy for row in rows), ZERO), sum((row.sell for row in rows), ZERO)
    filled = max(abs(net + buy), abs(net - sell))  # the worst fill [4, open orders]
    kept = filled if rule["open_orders"] == "both" else abs(net)
    opened = abs(net) if rule["open_orders"] == "none" else filled
    notional = requirement_value(rows, value, world)
    unit = tier_unit(instrument, notional, world)
    tier = tier_of(kept * unit, table, rule["tier_edge"])
    if world.is_option(instrument) and net >= 0:  # only a short side requires margin [4]
        return Need(rows, net, kept, opened, tier, ZERO, ZERO, ZERO, short)
    # Off the notional basis (x r_k - d_k) * notional / x. [4]
    fee = kept * fee_value * exact(world.instruments[instrument].get("close_fee_rate"), 0)
    maintenance = charge(kept * unit, table, "maintenance_rate", world) * notional / unit + fee
    initial = charge(opened * unit, table, "initial_rate", world) * notional / unit
    leverages = [row.leverage for row in rows if row.leverage is not None]
    if rule["initial"] != "tier" and leverages:  # the smallest given; none given: by tier
        by_leverage = opened * notional / min(leverages)
        initial = max(initial, by_leverage) if rule["initial"] == "larger" else by_leverage
    return Need(rows, net, kept, opened, tier, fee, maintenance, initial, short)


def requirements(
    bucket: Bucket,
    values: Mapping[Any, Fraction],
    fee_values: Mapping[Any, Fraction],
    world: World,
) -> list[Need]:
    """Return what each side of a bucket requires, after netting. [4, 5]"""
    netting = world.rule["netting"]
    needs = own_needs(bucket, values, fee_values, world)
    if netting == "larger_side":
        for dropped in smaller_sides(needs):
            dropped.fee = dropped.maintenance = dropped.initial = ZERO
    return needs


def own_needs(
    bucket: Bucket,
    values: Mapping[Any, Fraction],
    fee_values: Mapping[Any, Fraction],
    world: World,
) -> list[Need]:
    """Return what each side of a bucket requires by itself, the other side aside."""
    netting = world.rule["netting"]
    return [
        side_need(
            rows,
            values[rows[0].instrument_id],
            fee_values[rows[0].instrument_id],
            netting != "net" and rows[0].quantity < 0,
            world,
        )
        for rows in bucket.sides(netting)
    ]


def pairs(needs: list[Need]) -> list[tuple[Need, Need]]:
    """Return the long and the short side of each instrument and tier table that has both."""
    longs = {need.group: need for need in needs if not need.short}
    return [(longs[need.group], need) for need in needs if need.short and need.group in longs]


def smaller_sides(needs: list[Need]) -> list[Need]:
    """Return the sides that the other side outweighs; the shorts where both weigh the same. [4]"""
    return [long if short.maintenance > long.maintenance else short for long, short in pairs(needs)]
