"""The oracle's bucket: what it owns, what it must hold and what that makes of it, exact.

`evaluate(bucket, values, world)` returns every figure of one bucket at given contract values. The
requirement comes from `reference_requirement`. Numbers in brackets name the section of the contract
that a line comes from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from reference_inputs import ZERO, Bucket, Row, World, exact
from reference_requirement import marginal, requirements

# A net quantity this small beside the gross one counts as none. [DETAILS 4, bankruptcy_price]
NET_OF_GROSS = Fraction(1, 10**12)
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


def profits(bucket: Bucket, values: Mapping[Any, Fraction], world: World) -> dict[Any, Fraction]:
    """Return the profit of each instrument, all its rows together, options left out. [2, 4]"""
    out: dict[Any, Fraction] = {}
    for row in bucket.rows:
        if not world.is_option(row.instrument_id):
            i = row.instrument_id
            # linear q m (P - E); inverse q m (1/E - 1/P); quanto q m k (P - E) [4]
            gain = world.direction(i) * (values[i] - world.contract_value(i, row.entry_price))
            out[i] = out.get(i, ZERO) + row.quantity * gain * world.settle_price(i)
    return out


def counted(profit: Fraction, world: World) -> Fraction:
    """Return what counts of the profit of one instrument: gains times profit_weight. [2]"""
    return profit * exact(world.rule["profit_weight"]) if profit > 0 else profit


def option_value(bucket: Bucket, values: Mapping[Any, Fraction], world: World) -> Fraction:
    """Return q m V S of all options. [DETAILS 4]"""
    return sum(
        (
            row.quantity * values[row.instrument_id] * world.settle_price(row.instrument_id)
            for row in bucket.rows
            if world.is_option(row.instrument_id)
        ),
        ZERO,
    )


def balance_values(bucket: Bucket, world: World) -> dict[Any, Fraction]:
    """Return the value of the balance of each asset, signed."""
    return {a: amount * exact(world.assets[a]["price"]) for a, amount in bucket.balances.items()}


def equity_at(bucket: Bucket, values: Mapping[Any, Fraction], world: World) -> Fraction:
    """Return balances at full price, all profit and option value, whatever counts. [2]"""
    held = sum(balance_values(bucket, world).values(), ZERO)
    profit = sum(profits(bucket, values, world).values(), ZERO)
    return held + profit + option_value(bucket, values, world)


def bankruptcy_value(
    bucket: Bucket, instrument: Any, values: Mapping[Any, Fraction], world: World
) -> Fraction | None:
    """Return the contract value at which equity is 0, None where there is no positive one. [4]"""
    net, gross = bucket.net_and_gross(instrument)
    if abs(net) <= NET_OF_GROSS * gross:
        return None
    here = values[instrument]
    equity = equity_at(bucket, values, world)
    moved = equity_at(bucket, {**values, instrument: here + 1}, world)
    value = here - equity / (moved - equity)  # equity is one straight line in the contract value
    return value if value > 0 else None


def fee_values(bucket: Bucket, values: Mapping[Any, Fraction], world: World) -> dict[Any, Fraction]:
    """Return the contract value on which each instrument's closing fee is charged. [5, close_fee]

    At the mark, also under price_basis = "entry"; or at the bankruptcy price, 0 where there is
    none; of an option m U either way.
    """
    out = {}
    for instrument in bucket.instruments():
        value = values[instrument]
        if world.is_option(instrument):
            value = world.notional_value(instrument, value)
        elif world.rule["close_fee"] == "bankruptcy":
            value = bankruptcy_value(bucket, instrument, values, world) or ZERO
        out[instrument] = ZERO if world.rule["close_fee"] == "none" else value
    return out


def joined_values(
    bucket: Bucket, values: Mapping[Any, Fraction], world: World
) -> tuple[dict[Any, Fraction], Fraction]:
    """Return the value of each asset that the weights see, and the profit that stays beside it.

    Under profit_and_loss = "settle_asset" counted profit joins the balance of its settle asset,
    but never in an isolated bucket. [4, collateral]
    """
    sums, beside = balance_values(bucket, world), ZERO
    joins = world.rule["profit_and_loss"] == "settle_asset" and not bucket.isolated
    for instrument, profit in profits(bucket, values, world).items():
        if joins:
            asset = world.instruments[instrument]["settle_asset"]
            sums[asset] = sums.get(asset, ZERO) + counted(profit, world)
        else:
            beside += counted(profit, world)
    return sums, beside


def collateral(bucket: Bucket, sums: Mapping[Any, Fraction], world: World) -> dict[str, Fraction]:
    """Return collateral, debt, both weighted sums and both borrow requirements. [4]"""
    out = dict.fromkeys(("gross", "debt", "owed", "maintenance", "initial", "keep", "open"), ZERO)
    for asset, value in sums.items():
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


def evaluate(
    bucket: Bucket,
    values: Mapping[Any, Fraction],
    world: World,
    fees: Mapping[Any, Fraction] | None = None,
) -> dict[str, Any]:
    """Return every figure of one bucket at the given contract values. [2]

    `fees` are the contract values on which closing fees are charged, where they are not those of
    `values` themselves.
    """
    sums, beside = joined_values(bucket, values, world)
    held = collateral(bucket, sums, world)
    options = option_value(bucket, values, world)
    out: dict[str, Any] = dict.fromkeys(MONEY, ZERO)
    out |= {"account_id": bucket.account_id, "bucket_id": bucket.label}
    out["maintenance_margin"], out["initial_margin"] = held["keep"], held["open"]
    charged = fee_values(bucket, values, world) if fees is None else fees
    for need in requirements(bucket, values, charged, world):
        instrument = need.instrument_id
        price = world.settle_price(instrument)
        notional = need.net * world.notional_value(instrument, values[instrument]) * price
        out["gross_notional"] += abs(notional)
        out["net_notional"] += notional
        out["maintenance_margin"] += need.maintenance * price
        out["initial_margin"] += need.initial * price
    out["collateral_value"], out["debt_value"] = held["gross"], held["debt"]
    out["unrealized_pnl"] = sum(profits(bucket, values, world).values(), ZERO)
    out["equity"] = equity_at(bucket, values, world)
    # Option value counts in full, whatever the weights. [DETAILS 2]
    out["margin_balance"] = held["maintenance"] - held["owed"] + beside + options
    out["initial_balance"] = held["initial"] - held["owed"] + beside + options
    level = exact(world.rule["level"])
    out["margin_buffer"] = out["margin_balance"] - level * out["maintenance_margin"]
    out["free_collateral"] = max(ZERO, out["initial_balance"] - out["initial_margin"])
    out["bad_debt"] = max(ZERO, -out["equity"])
    out["weighted_collateral"] = held["maintenance"]
    out["positions"] = len(bucket.rows)
    out["is_flat"] = not held["debt"] and not any(row.quantity for row in bucket.rows)
    out["is_liquidatable"] = _is_triggered(out, world)
    out["status"] = _status(out)
    out |= ratios(out) | levels(out) | {"ladder": rung(out, world)}
    return out


def _is_triggered(bucket: Row, world: World) -> bool:
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


def rung(money: Row, world: World) -> str | None:
    """Return the lowest rung whose level the balance is below, compared as money. [DETAILS 5]"""
    required = money["maintenance_margin"]
    held = [
        (exact(step["margin_level_below"]), str(step["name"]))
        for step in world.rule["ladder"]
        if money["margin_balance"] < exact(step["margin_level_below"]) * required
    ]
    return min(held)[1] if held and required else None


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
