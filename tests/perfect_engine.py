"""A perfect engine: the oracle's figures rounded to doubles, in the shape of a sweep.

What it says passes the check of `agreement`; spoil a cell, or ask it under other rules than those
it is checked by, and the check must ring.
"""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from agreement import check
from agreement_prices import POSITION_ORDER
from exchanges import Exchange
from reference_bucket import MONEY


def rounded(exchange: Exchange) -> dict[str, list[dict[str, Any]]]:
    """Return the oracle's figures as doubles, in the columns of a sweep: a perfect engine's."""
    expected = exchange.expected()
    ratios = ("margin_ratio", "margin_level", "maintenance_margin_ratio", "equity_ratio")
    columns = ["status", "is_liquidatable", *MONEY, *ratios, "effective_leverage", "ltv"]
    columns += ["health_factor", "positions", "ladder"]
    carried = [name for row in exchange.accounts or [] for name in row if name != "account_id"]
    orders = {
        "accounts": ["account_id", *columns, *dict.fromkeys(carried)],
        "buckets": ["account_id", "bucket_id", *columns],
        "positions": list(POSITION_ORDER),
        "totals": list(expected["totals"]),
    }
    rows = {**expected, "totals": [expected["totals"]]}
    return {
        frame: [
            {c: float(row[c]) if isinstance(row[c], Fraction) else row[c] for c in order}
            for row in rows[frame]
        ]
        for frame, order in orders.items()
    }


def as_sweep(frames: dict[str, list[dict[str, Any]]]) -> Any:
    def frame(rows: list[dict[str, Any]]) -> SimpleNamespace:
        return SimpleNamespace(to_dicts=lambda: rows)

    return SimpleNamespace(**{name: frame(rows) for name, rows in frames.items()})


def is_caught(sweep: Any, exchange: Exchange, *, dyadic: bool = False) -> bool:
    """Return whether the check rings."""
    try:
        check(sweep, exchange, dyadic=dyadic)
    except AssertionError:
        return True
    return False


def spoiled(value: Any, by: float = 1e-12) -> Any:
    """Return another value of the same kind, close to it where there is a close one."""
    if value is None:
        return 1.0
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value * (1 + by) if math.isfinite(value) and value else 1e-9
    if isinstance(value, int):
        return value + 1
    return {"root": "none", "none": "breached", "breached": "none"}.get(value, "indeterminate")


def unnoticed_faults(exchange: Exchange, by: float = 1e-12) -> list[tuple[str, int, str]]:
    """Return frame, row and column of each cell whose fault passes the check."""
    sound = rounded(exchange)
    check(as_sweep(sound), exchange)
    out = []
    for name, rows in sound.items():
        for number, row in enumerate(rows):
            for column, value in row.items():
                faulty = [dict(r) for r in rows]
                faulty[number][column] = spoiled(value, by)
                if not is_caught(as_sweep({**sound, name: faulty}), exchange):
                    out.append((name, number, column))
    return out
