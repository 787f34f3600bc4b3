"""The oracle: margin of every account in exact fractions, slow and obvious.

Written from the rules alone (the numbers in brackets name the section of the contract they come
from), never from the engine, so that the two can be held against each other. Frames are lists of
row dicts, a key left out is null; the ruleset is a mapping as its TOML file parses. Every input
number is taken for exactly the double it is, and nothing is rounded after that: money comes back
as `Fraction` in the valuation asset, "not applicable" as None, infinity as `math.inf`. It knows
every word of every rule; what a file beside the ruleset holds must be given as rows.

`reference_inputs` reads, `reference_requirement` margins the sides of a bucket, `reference_bucket`
makes all figures of a bucket, `reference_prices` finds its two prices, and this file adds up.
`reference_scenarios` moves a market and stresses it, `reference_breach` finds the breach of an
account along a direction (on `reference_walk` and `reference_roots`), `reference_reverse` the
move at which an exchange reaches an amount.

>>> night = sweep(positions, balances, accounts, instruments, assets, rules)
>>> night["accounts"][0]["equity"]
Fraction(-5, 1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from reference_bucket import MONEY, evaluate, fee_values, levels, ratios
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
from reference_prices import prices
from reference_requirement import requirements

# [2] Order of badness; `indeterminate` needs a rejected input, which the oracle never has.
STATUSES = ["flat", "healthy", "below_initial", "liquidation", "bankrupt", "indeterminate"]


def sum_account(account_id: Any, buckets: list[Row]) -> dict[str, Any]:
    """Return an account: money summed, status, level and ladder of its worst bucket. [6]"""
    out: dict[str, Any] = {"account_id": account_id, "ladder": None}
    for column in (*MONEY, "weighted_collateral", "positions"):
        out[column] = sum((b[column] for b in buckets), 0 if column == "positions" else ZERO)
    out["is_liquidatable"] = any(b["is_liquidatable"] for b in buckets)
    out |= {"status": "flat"} | levels(out) | ratios(out)
    if buckets:
        worst = min(buckets, key=lambda b: (-STATUSES.index(b["status"]), b["margin_level"]))
        out |= {k: worst[k] for k in ("status", "margin_ratio", "margin_level", "ladder")}
    return out


def position_rows(bucket: Bucket, figures: Row, world: World) -> dict[int, dict[str, Any]]:
    """Return the rows of `positions` of one bucket by input index. [6]"""
    marks, out = world.marks(), {}
    orders_seen = {
        "maintenance": world.rule["open_orders"] == "both",
        "initial": world.rule["open_orders"] != "none",
    }
    found = {i: prices(bucket, figures, i, world) for i in bucket.instruments()}
    for need in requirements(bucket, marks, fee_values(bucket, marks, world), world):
        instrument = need.instrument_id
        price = world.settle_price(instrument)
        shares = {kind: _shares(need.rows, seen) for kind, seen in orders_seen.items()}
        for number, row in enumerate(need.rows):
            size, value = abs(row.quantity), marks[instrument]
            entry = world.contract_value(instrument, row.entry_price)
            gain = world.direction(instrument) * (value - entry)
            if world.is_option(instrument):
                gain = value  # its value q m V S stands in the place of profit [DETAILS 4]
            out[row.index] = {
                "account_id": row.account_id,
                "bucket_id": bucket.label,
                "instrument_id": instrument,
                "quantity": row.quantity,
                "entry_price": row.entry_price,
                "mark_price": exact(world.instruments[instrument]["mark_price"]),
                "notional": size * world.notional_value(instrument, value) * price,
                "unrealized_pnl": row.quantity * gain * price,
                "tier": need.tier,
                "maintenance_margin": need.maintenance * price * shares["maintenance"][number],
                "initial_margin": need.initial * price * shares["initial"][number],
                **found[instrument],
            }
    return out


def _shares(rows: Sequence[Position], orders_seen: bool) -> list[Fraction]:
    """Return each row's share of its side's requirement: by |q|, or |q| + buy + sell. [4]"""
    sizes = [abs(row.quantity) + (row.buy + row.sell if orders_seen else 0) for row in rows]
    total = sum(sizes, ZERO)
    return [size / total if total else ZERO for size in sizes]


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
