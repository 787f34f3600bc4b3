"""The oracle: margin of every account in exact fractions, slow and obvious.

Written from the rules alone (the numbers in brackets name the section of the contract they come
from), never from the engine, so that the two can be held against each other. Frames are lists of
row dicts, a key left out is null; the ruleset is a mapping as its TOML file parses. Every input
number is taken for exactly the double it is, and nothing is rounded after that: money comes back
as `Fraction` in the valuation asset, "not applicable" as None, infinity as `math.inf`.

>>> night = sweep(positions, balances, accounts, instruments, assets, rules)
>>> night["accounts"][0]["equity"]
Fraction(-5, 1)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from reference_inputs import (
    ZERO,
    Bucket,
    Position,
    Row,
    World,
    build_buckets,
    build_world,
    exact,
    in_order,
)
from reference_prices import bankruptcy_value, nearer_price, trigger_values

# [2] Order of badness; `indeterminate` needs a rejected input, which the oracle never has.
STATUSES = ["flat", "healthy", "below_initial", "liquidation", "bankrupt", "indeterminate"]
# [6] Money columns of accounts and buckets, in their order.
MONEY = (
    "equity",
    "margin_balance",
    "collateral_value",
    "debt_value",
    "unrealized_pnl",
    "gross_notional",
    "net_notional",
    "initial_margin",
    "maintenance_margin",
    "margin_buffer",
    "free_collateral",
    "bad_debt",
)


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


def tier_of(size: Fraction, table: Sequence[Row]) -> int:
    """Return the tier, counted from 1; a size on a floor is in the upper one. [5, tier_edge]"""
    return max(k for k, row in enumerate(table, 1) if k == 1 or size >= exact(row["floor"]))


def side_requirement(side: list[Position], value: Fraction, world: World) -> dict[str, Any]:
    """Return notional, tier and both requirements of one side, in its settle asset. [4]

    `value` is the contract value, so notional is |Q| times it. Maintenance sees the net quantity;
    initial sees its worst fill max(|Q + buys|, |Q - sells|) [4, open orders].
    """
    table = world.tiers[side[0].tier_table]
    net = sum((row.quantity for row in side), ZERO)
    buy, sell = sum((row.buy for row in side), ZERO), sum((row.sell for row in side), ZERO)
    filled = max(abs(net + buy), abs(net - sell)) * value
    initial = marginal(filled, table, "initial_rate")
    leverages = [row.leverage for row in side if row.leverage is not None]
    if world.rule["initial"] != "tier" and leverages:  # the smallest given; none given: by tier
        by_leverage = filled / min(leverages)
        larger = world.rule["initial"] == "larger"
        initial = max(initial, by_leverage) if larger else by_leverage
    return {
        "net": net * value,
        "tier": tier_of(abs(net) * value, table),
        "maintenance": marginal(abs(net) * value, table, "maintenance_rate"),
        "initial": initial,
    }


def counted_profit(
    bucket: Bucket, values: Mapping[Any, Fraction], world: World
) -> tuple[Fraction, Fraction]:
    """Return all profit and the counted one: per instrument, gains times profit_weight. [2]"""
    everything = counted = ZERO
    for instrument in bucket.instruments():
        profit = ZERO
        for row in bucket.rows:
            if row.instrument_id == instrument:
                entry = world.contract_value(instrument, row.entry_price)
                # linear q m (P - E); inverse q m (1/E - 1/P) [4]
                gain = world.direction(instrument) * (values[instrument] - entry)
                profit += row.quantity * gain * world.settle_price(instrument)
        everything += profit
        counted += profit * exact(world.rule["profit_weight"]) if profit > 0 else profit
    return everything, counted


def collateral(bucket: Bucket, world: World) -> dict[str, Fraction]:
    """Return collateral, debt, both weighted sums and both borrow requirements. [4]"""
    out = dict.fromkeys(("gross", "debt", "owed", "maintenance", "initial", "keep", "open"), ZERO)
    for asset, amount in bucket.balances.items():
        value = amount * exact(world.assets[asset]["price"])
        if value >= 0:
            out["gross"] += value
            # An isolated bucket's margin counts at full price. [4]
            for kind in ("maintenance", "initial"):
                weighted = value if bucket.isolated else ZERO
                if not bucket.isolated and value > 0:
                    weighted = marginal(value, world.slices(asset), f"{kind}_weight")
                out[kind] += weighted
        else:
            first = world.slices(asset)[0]
            out["debt"] -= value
            out["owed"] -= value * (
                1 if bucket.isolated else exact(first.get("liability_weight"), 1)
            )
            out["keep"] -= value * exact(first.get("borrow_maintenance_rate"), 0)
            out["open"] -= value * exact(first.get("borrow_initial_rate"), 0)
    return out


def evaluate(bucket: Bucket, values: Mapping[Any, Fraction], world: World) -> dict[str, Any]:
    """Return every figure of one bucket at the given contract values. [2]"""
    held = collateral(bucket, world)
    profit, counted = counted_profit(bucket, values, world)
    out: dict[str, Any] = dict.fromkeys(MONEY, ZERO)
    out |= {"account_id": bucket.account_id, "bucket_id": bucket.label}
    out["maintenance_margin"], out["initial_margin"] = held["keep"], held["open"]
    for side in bucket.sides():
        price = world.settle_price(side[0].instrument_id)
        need = side_requirement(side, values[side[0].instrument_id], world)
        out["gross_notional"] += abs(need["net"]) * price
        out["net_notional"] += need["net"] * price
        out["maintenance_margin"] += need["maintenance"] * price
        out["initial_margin"] += need["initial"] * price
    out["collateral_value"], out["debt_value"] = held["gross"], held["debt"]
    out["unrealized_pnl"] = profit
    out["equity"] = held["gross"] - held["debt"] + profit
    out["margin_balance"] = held["maintenance"] - held["owed"] + counted
    out["initial_balance"] = held["initial"] - held["owed"] + counted
    level = exact(world.rule["level"])
    out["margin_buffer"] = out["margin_balance"] - level * out["maintenance_margin"]
    out["free_collateral"] = max(ZERO, out["initial_balance"] - out["initial_margin"])
    out["bad_debt"] = max(ZERO, -out["equity"])
    out["weighted_collateral"] = held["maintenance"]
    out["positions"] = len(bucket.rows)
    out["is_flat"] = not held["debt"] and not any(row.quantity for row in bucket.rows)
    out["is_liquidatable"] = is_triggered(out, world)
    out["status"] = _status(out)
    out |= ratios(out) | levels(out) | {"ladder": None}
    return out


def is_triggered(bucket: Row, world: World) -> bool:
    """Return whether the trigger holds, compared as money; never for a flat bucket. [2, 4]"""
    if bucket["is_flat"]:
        return False
    if world.rule["zero_requirement"] == "never" and bucket["maintenance_margin"] == 0:
        return False
    buffer = bucket["margin_buffer"]
    return bool(buffer <= 0 if world.rule["compare"] == "le" else buffer < 0)


def _status(bucket: Row) -> str:
    if bucket["is_flat"]:
        return "flat"
    if bucket["equity"] < 0:  # whether or not the trigger holds [2]
        return "bankrupt"
    if bucket["is_liquidatable"]:
        return "liquidation"
    return "below_initial" if bucket["initial_balance"] < bucket["initial_margin"] else "healthy"


def levels(money: Row) -> dict[str, Any]:
    """Return margin_ratio and margin_level, which never contain `level`. [2]"""
    balance, required = money["margin_balance"], money["maintenance_margin"]
    if required == 0:
        return {"margin_ratio": ZERO, "margin_level": math.inf}
    ratio = required / balance if balance > 0 else math.inf
    return {"margin_ratio": ratio, "margin_level": balance / required}


def ratios(money: Row) -> dict[str, Any]:
    """Return the ratios that an account computes from its sums. [2]"""
    gross, equity, debt = money["gross_notional"], money["equity"], money["debt_value"]
    ltv = money["debt_value"] / money["collateral_value"] if money["collateral_value"] else math.inf
    return {
        "maintenance_margin_ratio": money["maintenance_margin"] / gross if gross else None,
        "equity_ratio": money["margin_balance"] / gross if gross else None,
        "effective_leverage": gross / equity if equity > 0 else None,
        "ltv": ltv if debt else ZERO,
        "health_factor": money["weighted_collateral"] / debt if debt else math.inf,
    }


def sum_account(account_id: Any, buckets: list[Row]) -> dict[str, Any]:
    """Return an account: money summed, status and level of its worst bucket. [6]"""
    out: dict[str, Any] = {"account_id": account_id, "ladder": None}
    for column in (*MONEY, "weighted_collateral", "positions"):
        out[column] = sum((b[column] for b in buckets), 0 if column == "positions" else ZERO)
    out["is_liquidatable"] = any(b["is_liquidatable"] for b in buckets)
    out |= {"status": "flat"} | levels(out) | ratios(out)
    if buckets:
        worst = min(buckets, key=lambda b: (-STATUSES.index(b["status"]), b["margin_level"]))
        out |= {key: worst[key] for key in ("status", "margin_ratio", "margin_level")}
    return out


def position_rows(bucket: Bucket, figures: Row, world: World) -> dict[int, dict[str, Any]]:
    """Return the rows of `positions` of one bucket by input index. [6]"""
    marks, out = world.marks(), {}
    for side in bucket.sides():
        instrument = side[0].instrument_id
        need = side_requirement(side, marks[instrument], world)
        price = world.settle_price(instrument)
        sizes = sum((abs(row.quantity) for row in side), ZERO)
        orders = sum((row.buy + row.sell for row in side), ZERO)
        for row in side:
            size, entry = abs(row.quantity), world.contract_value(instrument, row.entry_price)
            # Shared by |q|, or by |q| + buy + sell where the requirement sees orders. [4]
            kept = size / sizes if sizes else ZERO
            opened = (size + row.buy + row.sell) / (sizes + orders) if sizes + orders else ZERO
            gain = world.direction(instrument) * (marks[instrument] - entry)
            out[row.index] = {
                "account_id": row.account_id,
                "bucket_id": bucket.label,
                "instrument_id": instrument,
                "quantity": row.quantity,
                "entry_price": row.entry_price,
                "mark_price": exact(world.instruments[instrument]["mark_price"]),
                "notional": size * marks[instrument] * price,
                "unrealized_pnl": row.quantity * gain * price,
                "tier": need["tier"],
                "maintenance_margin": need["maintenance"] * price * kept,
                "initial_margin": need["initial"] * price * opened,
                **prices(bucket, figures, instrument, world),
            }
    return out


def prices(
    bucket: Bucket, figures: Row, instrument: Any, world: World, shift: Any = 0
) -> dict[str, Any]:
    """Return liquidation and bankruptcy price of one instrument in one bucket. [6]

    `shift` is added to the margin buffer before its sign is asked for (tests use it to see how
    far rounding may carry a price).
    """
    marks = world.marks()
    rows = [row for row in bucket.rows if row.instrument_id == instrument]
    net = sum((row.quantity for row in rows), ZERO)
    gross = sum((abs(row.quantity) for row in rows), ZERO)

    def at(value: Fraction) -> tuple[Fraction, Fraction, Fraction]:
        moved = evaluate(bucket, {**marks, instrument: value}, world)
        return moved["margin_buffer"] + shift, moved["maintenance_margin"], moved["equity"]

    def price_of(value: Fraction) -> Fraction:
        per_unit = world.contract_value(instrument, Fraction(1))  # m, of m P or of m / P
        return value / per_unit if world.direction(instrument) > 0 else per_unit / value

    value = bankruptcy_value(at, marks[instrument], net, gross)
    out: dict[str, Any] = {"bankruptcy_price": None if value is None else price_of(value)}
    out |= {"liquidation_price": None, "liquidation_price_kind": "none"}
    if figures["is_liquidatable"]:
        out["liquidation_price_kind"] = "breached"
    elif gross:
        never = world.rule["zero_requirement"] == "never"
        kinks = _kinks(bucket, instrument, net, rows, world)
        found = trigger_values(at, kinks, marks[instrument], world.rule["compare"], never)
        if found:
            mark = exact(world.instruments[instrument]["mark_price"])
            price = nearer_price([price_of(v) for v in found], mark)
            out |= {"liquidation_price": price, "liquidation_price_kind": "root"}
    return out


def _kinks(
    bucket: Bucket, instrument: Any, net: Fraction, rows: list[Position], world: World
) -> list[Fraction]:
    """Return the contract values between which every figure of the bucket is a straight line."""
    found = []
    for side in bucket.sides():
        size = abs(sum((row.quantity for row in side), ZERO))
        if side[0].instrument_id == instrument and size:
            found += [exact(tier["floor"]) / size for tier in world.tiers[side[0].tier_table]]
    if net:  # where the instrument's profit is 0, the point at which profit_weight sets in
        entry = sum(
            (row.quantity * world.contract_value(instrument, row.entry_price) for row in rows), ZERO
        )
        found.append(entry / net)
    return [value for value in found if value > 0]


def sweep(
    positions: Sequence[Row],
    balances: Sequence[Row],
    accounts: Sequence[Row] | None,
    instruments: Sequence[Row],
    assets: Sequence[Row],
    rules: Mapping[str, Any],
) -> dict[str, Any]:
    """Return `accounts`, `buckets`, `positions` (lists of dicts) and `totals` (a dict). [6]"""
    world = build_world(instruments, assets, rules)
    buckets = build_buckets(positions, balances, world)
    figures = [evaluate(bucket, world.marks(), world) for bucket in buckets]
    rows: dict[int, dict[str, Any]] = {}
    for bucket, money in zip(buckets, figures, strict=True):
        rows |= position_rows(bucket, money, world)
    carried = {row["account_id"]: row for row in accounts or []}
    names = list(dict.fromkeys(key for row in accounts or [] for key in row if key != "account_id"))
    out_accounts = []
    for owner in in_order(positions, balances, accounts or []):
        account = sum_account(owner, [f for f in figures if f["account_id"] == owner])
        out_accounts.append(account | {n: carried.get(owner, {}).get(n) for n in names})
    return {
        "accounts": out_accounts,
        "buckets": figures,
        "positions": [rows[index] for index in range(len(positions))],
        "totals": sum_totals(out_accounts, figures),
    }


def sum_totals(accounts: list[dict[str, Any]], buckets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return counts and money over the exchange. [6]"""
    flagged = [row for row in accounts if row["is_liquidatable"]]
    out: dict[str, Any] = {"accounts": len(accounts)}
    out |= {f"{s}_accounts": sum(row["status"] == s for row in accounts) for s in STATUSES}
    out |= {column: sum((row[column] for row in accounts), ZERO) for column in MONEY}
    out["liquidatable_accounts"] = len(flagged)
    out["liquidatable_notional"] = sum((row["gross_notional"] for row in flagged), ZERO)
    out["total_bad_debt"] = out["bad_debt"]
    # Over buckets: a rich cross bucket hides no isolated shortfall. [6]
    out["total_margin_deficit"] = sum((max(ZERO, -b["margin_buffer"]) for b in buckets), ZERO)
    return out
