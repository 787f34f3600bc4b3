"""Numba's loops: one account after the other, accounts in parallel, fast arithmetic.

Numbers of an instrument stand in one row of `terms`, so that a position meets one cache line:
profit is `q b + x k` where `x` is the row's entry sum, notional `q value`.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

# All of `fastmath` but the promise that nothing is infinite: ratios and floors are.
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}

A, B, C, VALUE, SECOND_FLOOR, MAINTENANCE, INITIAL, MARK = range(8)


@nb.njit(inline="always")
def upper(notional: float, code: int, floors: Any, rates: Any) -> Any:
    """Return maintenance and initial requirement above the first bracket."""
    k = 1
    while k + 1 < floors.shape[1] and notional >= floors[code, k + 1]:
        k += 1
    maintenance = notional * rates[code, k, 0] - rates[code, k, 1]
    return maintenance, notional * rates[code, k, 2] - rates[code, k, 3], k


@nb.njit(parallel=True, fastmath=FAST, cache=True)
def thin(
    offsets: Any,
    code: Any,
    quantity: Any,
    entry: Any,
    cash_offsets: Any,
    asset: Any,
    amount: Any,
    terms: Any,
    floors: Any,
    rates: Any,
    prices: Any,
) -> Any:
    """Return the thin answer's seven columns."""
    count = len(offsets) - 1
    equity, maintenance, initial = np.empty(count), np.empty(count), np.empty(count)
    gross, ratio, leverage = np.empty(count), np.empty(count), np.empty(count)
    flag = np.empty(count, dtype=np.bool_)
    for i in nb.prange(count):
        worth, held, opened, size = 0.0, 0.0, 0.0, 0.0
        for j in range(cash_offsets[i], cash_offsets[i + 1]):
            worth += amount[j] * prices[asset[j]]
        for j in range(offsets[i], offsets[i + 1]):
            line = terms[code[j]]
            q, e = quantity[j], entry[j]
            worth += q * (line[A] * e + line[B] + line[C] / e)
            notional = abs(q) * line[VALUE]
            size += notional
            if notional < line[SECOND_FLOOR]:
                held += notional * line[MAINTENANCE]
                opened += notional * line[INITIAL]
            else:
                more, most, _ = upper(notional, code[j], floors, rates)
                held += more
                opened += most
        equity[i], maintenance[i], initial[i], gross[i] = worth, held, opened, size
        ratio[i], leverage[i], flag[i] = held / worth, size / worth, worth < held
    return equity, maintenance, initial, gross, ratio, leverage, flag


STATUS_FLAT, STATUS_HEALTHY, STATUS_BELOW, STATUS_LIQUIDATION, STATUS_BANKRUPT = range(5)


@nb.njit(parallel=True, fastmath=FAST, cache=True)
def wide(
    offsets: Any,
    code: Any,
    quantity: Any,
    entry_sum: Any,
    flat: Any,
    cash_offsets: Any,
    asset: Any,
    amount: Any,
    terms: Any,
    floors: Any,
    rates: Any,
    weights: Any,
) -> Any:
    """Return status, flag, 12 columns of money and 7 ratios; rows and balances are netted.

    `flat` says that all rows of the account have a quantity of 0. `weights` has for each asset:
    price, second floor, maintenance weight and initial weight of two slices, liability weight and
    both borrow rates.
    """
    count = len(offsets) - 1
    status, flag = np.empty(count, dtype=np.uint8), np.empty(count, dtype=np.bool_)
    equity, margin_balance, collateral = np.empty(count), np.empty(count), np.empty(count)
    debts, profits, gross, net = (
        np.empty(count),
        np.empty(count),
        np.empty(count),
        np.empty(count),
    )
    initial, maintenance, buffer = np.empty(count), np.empty(count), np.empty(count)
    free, bad_debt = np.empty(count), np.empty(count)
    margin_ratio, margin_level = np.empty(count), np.empty(count)
    required_ratio, equity_ratio = np.empty(count), np.empty(count)
    leverage, ltv, health = np.empty(count), np.empty(count), np.empty(count)
    infinite = np.inf
    for i in nb.prange(count):
        owned, owed, weighted, opening, liability, held, opened = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(cash_offsets[i], cash_offsets[i + 1]):
            line = weights[asset[j]]
            value = amount[j] * line[0]
            if value >= 0.0:
                first = min(value, line[1])
                owned += value
                weighted += first * line[2] + (value - first) * line[3]
                opening += first * line[4] + (value - first) * line[5]
            else:
                owed -= value
                liability -= value * line[6]
                held -= value * line[7]
                opened -= value * line[8]
        profit, size, signed = 0.0, 0.0, 0.0
        for j in range(offsets[i], offsets[i + 1]):
            line = terms[code[j]]
            q = quantity[j]
            profit += q * line[B] + entry_sum[j] * line[A]
            value = q * line[VALUE]
            notional = abs(value)
            signed += value
            size += notional
            if notional < line[SECOND_FLOOR]:
                held += notional * line[MAINTENANCE]
                opened += notional * line[INITIAL]
            else:
                more, most, _ = upper(notional, code[j], floors, rates)
                held += more
                opened += most
        own = owned - owed + profit
        balance = weighted - liability + profit
        start = opening - liability + profit
        idle = flat[i] and owed == 0.0
        past = balance < held and not idle
        flag[i] = past
        if idle:
            status[i] = STATUS_FLAT
        elif own < 0.0:
            status[i] = STATUS_BANKRUPT
        elif past:
            status[i] = STATUS_LIQUIDATION
        elif start < opened:
            status[i] = STATUS_BELOW
        else:
            status[i] = STATUS_HEALTHY
        equity[i], margin_balance[i], collateral[i], debts[i] = own, balance, owned, owed
        profits[i], gross[i], net[i], initial[i], maintenance[i] = (
            profit,
            size,
            signed,
            opened,
            held,
        )
        buffer[i], free[i], bad_debt[i] = balance - held, max(0.0, start - opened), max(0.0, -own)
        margin_ratio[i] = 0.0 if held == 0.0 else (held / balance if balance > 0.0 else infinite)
        margin_level[i] = infinite if held == 0.0 else balance / held
        # Minus one stands for null; no ratio here is negative but `equity_ratio`.
        required_ratio[i] = held / size if size > 0.0 else -1.0
        equity_ratio[i] = balance / size if size > 0.0 else infinite
        leverage[i] = size / own if own > 0.0 else -1.0
        ltv[i] = 0.0 if owed == 0.0 else (owed / owned if owned > 0.0 else infinite)
        health[i] = infinite if owed == 0.0 else weighted / owed
    money = (equity, margin_balance, collateral, debts, profits, gross, net, initial, maintenance)
    ratios = (margin_ratio, margin_level, required_ratio, equity_ratio, leverage, ltv, health)
    return status, flag, (*money, buffer, free, bad_debt), ratios
