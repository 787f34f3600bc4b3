"""The oracle's breach: the least move along a direction at which an account's trigger is reached.

`breach` returns the rows of the frame, exact. A direction is "down", "up", "adverse" or a mapping
of factor to beta; `line_of` makes a line of markets of it, for each bucket its own under "adverse".
Where a root is no fraction, the shock returned is the middle of a bracket 2**-64 wide. Numbers in
brackets name the section of the contract that a line comes from.

>>> breach(positions, balances, None, instruments, assets, rules, "down")
[{'account_id': 'a', 'breach_shock': Fraction(-1, 10), 'breach_kind': 'root'}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from reference_bucket import NET_OF_GROSS, counted, profits
from reference_inputs import (
    OPTIONS,
    ZERO,
    Bucket,
    Row,
    World,
    build_buckets,
    build_world,
    exact,
    in_order,
)
from reference_roots import Bracket
from reference_scenarios import ALL, Moves, resolve, valuation_asset
from reference_walk import ONE, Line, Walk, first_reached

Direction = str | Mapping[str, Any]

#: How far "up" and a mapping go. [6]
FARTHEST = Fraction(10)


def sign_of(direction: Direction) -> int:
    """Return the sign of the shock: what is walked is its size."""
    return -1 if direction == "down" else 1


def slopes(
    direction: Direction, instruments: Sequence[Row], assets: Sequence[Row], valuation: str
) -> Moves:
    """Return how fast each price moves, outwards; under "adverse" what moves at all, at 1. [6]"""
    if isinstance(direction, str):
        return resolve({ALL: Fraction(sign_of(direction))}, instruments, assets, valuation)
    betas = {factor: Fraction(beta) for factor, beta in direction.items()}
    return resolve(betas, instruments, assets, valuation)


def line_of(direction: Direction, moves: Moves) -> Line:
    """Return the line of a direction other than "adverse": how far it goes and how fast. [6]

    Under a mapping the first price of the market that would be 0 ends it, held or not.
    """
    if direction == "down":
        return Line(moves.marks, moves.assets, ONE, reaches_end=False)
    falls = [-1 / slope for slope in [*moves.marks.values(), *moves.assets.values()] if slope < 0]
    if falls and min(falls) <= FARTHEST:
        return Line(moves.marks, moves.assets, min(falls), reaches_end=False)
    return Line(moves.marks, moves.assets, FARTHEST, reaches_end=True)


def adverse_line(bucket: Bucket, world: World, moves: Moves) -> Line:
    """Return the line on which all that moves does so against the bucket. [DETAILS 6]

    Signs are those of the market as given; what is at most 1e-12 of its gross has none.
    """
    marks: dict[Any, Fraction] = {}
    for instrument in bucket.instruments():
        if instrument in moves.marks:
            marks[instrument] = -_sign(*bucket.net_and_gross(instrument))
    assets = {
        asset: -_sign(net, gross)
        for asset, (net, gross) in weighted_sums(bucket, world).items()
        if asset in moves.assets
    }
    return Line(marks, assets, ONE, reaches_end=False)


def _sign(net: Fraction, gross: Fraction) -> Fraction:
    if abs(net) <= NET_OF_GROSS * gross:
        return ZERO
    return ONE if net > 0 else -ONE


def weighted_sums(bucket: Bucket, world: World) -> dict[Any, tuple[Fraction, Fraction]]:
    """Return net and gross of each sum that is weighted: rows of balances, and profit that joins.

    An isolated bucket's is its posted margin.
    """
    out: dict[Any, tuple[Fraction, Fraction]] = {}
    for asset, amount in bucket.balances.items():
        price = exact(world.assets[asset]["price"])
        out[asset] = amount * price, bucket.gross_balances[asset] * price
    if world.rule["profit_and_loss"] == "settle_asset" and not bucket.isolated:
        for instrument, profit in profits(bucket, world.marks(), world).items():
            asset, joined = world.instruments[instrument]["settle_asset"], counted(profit, world)
            net, gross = out.get(asset, (ZERO, ZERO))
            out[asset] = net + joined, gross + abs(joined)
    return out


def refused_options(
    direction: Direction, positions: Sequence[Row], instruments: Sequence[Row], moves: Moves
) -> set[Any]:
    """Return the options held, at quantity 0 too, that the direction may not meet. [DETAILS 6]

    Under "adverse" any; else those whose base it moves.
    """
    held = {row["instrument_id"] for row in positions}
    options = {r["instrument_id"] for r in instruments if r["kind"] in OPTIONS}
    return held & (options if direction == "adverse" else set(moves.underlyings))


def walks(
    positions: Sequence[Row],
    balances: Sequence[Row],
    instruments: Sequence[Row],
    assets: Sequence[Row],
    rules: Mapping[str, Any],
    direction: Direction,
) -> list[Walk]:
    """Return the walk of every bucket, in order; refuse options that would have to be repriced."""
    moves = slopes(direction, instruments, assets, valuation_asset(rules))
    if options := refused_options(direction, positions, instruments, moves):
        raise ValueError(f"{direction!r} moves the base of {options}")
    world = build_world(instruments, assets, rules)
    buckets = build_buckets(positions, balances, world)
    if direction == "adverse":
        return [Walk(bucket, world, adverse_line(bucket, world, moves)) for bucket in buckets]
    line = line_of(direction, moves)
    return [Walk(bucket, world, line) for bucket in buckets]


def breach_of_bucket(walk: Walk) -> tuple[str, Bracket | None]:
    """Return the kind, and between which two sizes of the shock it is where there is a root.

    On the line it is `root` with 0 under `lt`, `breached` under `le`. [DETAILS 6]
    """
    if walk.figures(ZERO)["is_liquidatable"]:
        return "breached", None
    found = first_reached(walk)
    return ("none", None) if found is None else ("root", found)


def breach(
    positions: Sequence[Row],
    balances: Sequence[Row],
    accounts: Sequence[Row] | None,
    instruments: Sequence[Row],
    assets: Sequence[Row],
    rules: Mapping[str, Any],
    direction: Direction,
) -> list[dict[str, Any]]:
    """Return account_id, breach_shock and breach_kind of every account, in order. [6]"""
    found: dict[Any, list[tuple[str, Bracket | None]]] = {}
    for walk in walks(positions, balances, instruments, assets, rules, direction):
        found.setdefault(walk.bucket.account_id, []).append(breach_of_bucket(walk))
    out = []
    for account_id in in_order(positions, balances, accounts or []):
        kinds = [kind for kind, _ in found.get(account_id, [])]
        brackets = [bracket for _, bracket in found.get(account_id, []) if bracket]
        kind = next((k for k in ("breached", "root") if k in kinds), "none")
        shock = sign_of(direction) * middle(min(brackets)) if kind == "root" else None
        out.append({"account_id": account_id, "breach_shock": shock, "breach_kind": kind})
    return out


def middle(bracket: Bracket) -> Fraction:
    """Return the middle of a bracket: the root where it is one."""
    return sum(bracket, ZERO) / 2
