"""Numba's loops for rows with liquidation prices: accounts in parallel, then a gather by row."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from peers.numba_kernels import (
    FAST,
    INITIAL,
    MAINTENANCE,
    MARK,
    SECOND_FLOOR,
    VALUE,
    A,
    B,
    C,
    upper,
)

ROOT, NONE, BREACHED = range(3)


@nb.njit(parallel=True, fastmath=FAST, cache=True)
def prices(
    offsets: Any,
    code: Any,
    quantity: Any,
    margin_balance: Any,
    maintenance: Any,
    equity: Any,
    terms: Any,
    floors: Any,
    rates: Any,
) -> Any:
    """Return liquidation price, its kind, bankruptcy price, both requirements and the bracket of
    each netted row.

    All else held, the account's buffer is `rest + s n - requirement(n)` in the row's notional `n`,
    with `s` 1 where profit rises with it. It is concave, so from the mark the root lies where
    notional gets worse; the walk starts in the bracket of the mark.
    """
    count, rows = len(offsets) - 1, len(code)
    price, broke = np.empty(rows), np.empty(rows)
    kind = np.empty(rows, dtype=np.uint8)
    held, opened = np.empty(rows), np.empty(rows)
    bracket = np.empty(rows, dtype=np.int64)
    for i in nb.prange(count):
        buffer = margin_balance[i] - maintenance[i]
        for j in range(offsets[i], offsets[i + 1]):
            c = code[j]
            line = terms[c]
            value = line[VALUE]
            notional = abs(quantity[j]) * value
            if notional < line[SECOND_FLOOR]:
                own, most, k = notional * line[MAINTENANCE], notional * line[INITIAL], 0
            else:
                own, most, k = upper(notional, c, floors, rates)
            held[j], opened[j], bracket[j] = own, most, k + 1
            inverse = line[C] > 0.0
            sign = 1.0 if (quantity[j] > 0.0) != inverse else -1.0
            mark = line[MARK]
            found = _root(buffer + own - sign * notional, sign, c, k, floors, rates)
            if buffer < 0.0:
                kind[j], price[j] = BREACHED, np.nan
            elif notional > 0.0 and found > 0.0 and found < np.inf:
                kind[j] = ROOT
                price[j] = mark * (notional / found if inverse else found / notional)
            else:
                kind[j], price[j] = NONE, np.nan
            left = notional - sign * equity[i]
            if notional > 0.0 and left > 0.0:
                broke[j] = mark * (notional / left if inverse else left / notional)
            else:
                broke[j] = np.nan
    return price, kind, broke, held, opened, bracket


@nb.njit(inline="always")
def _root(rest: float, sign: float, code: int, k: int, floors: Any, rates: Any) -> Any:
    """Return the notional at which `rest + sign n = requirement(n)`, 0 or less where none is."""
    if sign > 0.0:
        while k > 0 and rest + floors[code, k] * (1.0 - rates[code, k, 0]) + rates[code, k, 1] > 0:
            k -= 1
        slope = rates[code, k, 0] - 1.0
        return (rest + rates[code, k, 1]) / slope if slope < 0.0 else -1.0
    while k + 1 < floors.shape[1]:
        floor = floors[code, k + 1]
        if floor == np.inf or rest - floor * (1.0 + rates[code, k, 0]) + rates[code, k, 1] < 0.0:
            break
        k += 1
    return (rest + rates[code, k, 1]) / (1.0 + rates[code, k, 0])


@nb.njit(parallel=True, fastmath=FAST, cache=True)
def gathered(
    codes: Any,
    quantity: Any,
    entry: Any,
    net_row: Any,
    share: Any,
    terms: Any,
    price: Any,
    kind: Any,
    broke: Any,
    held: Any,
    opened: Any,
    bracket: Any,
) -> Any:
    """Return the columns of each input row, in input order; `share` is one over the quantities
    of the netted row."""
    rows = len(codes)
    mark, notional, profit = np.empty(rows), np.empty(rows), np.empty(rows)
    tier, maintenance, initial = np.empty(rows, dtype=np.int64), np.empty(rows), np.empty(rows)
    liquidation, bankruptcy = np.empty(rows), np.empty(rows)
    kinds = np.empty(rows, dtype=np.uint8)
    for i in nb.prange(rows):
        line = terms[codes[i]]
        j, q, e = net_row[i], quantity[i], entry[i]
        part = abs(q) * share[j]
        mark[i], notional[i] = line[MARK], abs(q) * abs(line[VALUE])
        profit[i] = q * (line[A] * e + line[B] + line[C] / e)
        tier[i], maintenance[i], initial[i] = bracket[j], held[j] * part, opened[j] * part
        liquidation[i], kinds[i], bankruptcy[i] = price[j], kind[j], broke[j]
    return mark, notional, profit, tier, maintenance, initial, liquidation, kinds, bankruptcy
