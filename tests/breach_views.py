"""Buckets seen somewhere along a direction, by sweeping the moved rows through the public API.

`Seen` holds an exchange and a direction; `at` says of each bucket of an account whether it is
flagged at a size of the shock, and how far its buffer may stray there. Under "adverse" each bucket
has a market of its own, so it is swept once for each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from agreement import slacks_of
from agreement_breach import walks_of
from exchanges import Exchange
from reference_breach import Direction, sign_of
from reference_walk import Line, Walk
from test_laws import by_bucket, sweep


@dataclass(frozen=True)
class View:
    """One bucket at some place."""

    flag: bool | None  # None where rounding decides it
    buffer: float
    rounding: float


class Seen:
    """An exchange along a direction."""

    def __init__(self, exchange: Exchange, direction: Direction) -> None:
        self.exchange = exchange
        self.sign = sign_of(direction)
        self.walks: dict[Any, list[Walk]] = {}
        for walk in walks_of(exchange, direction):
            self.walks.setdefault(walk.bucket.account_id, []).append(walk)

    def at(self, account_id: Any, size: float) -> list[View]:
        """Return every bucket of the account where the shock has this size."""
        views = []
        for walk in self.walks.get(account_id, []):
            there = moved_along(self.exchange, walk.line, size)
            key = (account_id, walk.bucket.label)
            slack, row = slacks_of(there)[key], by_bucket(sweep(there))[key]
            flag = None if "flag" in slack.doubts else bool(row["is_liquidatable"])
            rounding = float(slack.bounds["margin_buffer"])
            views.append(View(flag, row["margin_buffer"], rounding))
        return views

    def flag(self, account_id: Any, size: float) -> bool | None:
        """Return whether the account is flagged there, None where rounding decides it."""
        flags = [view.flag for view in self.at(account_id, size)]
        return True if True in flags else None if None in flags else False

    def reaches(self, account_id: Any, size: float) -> bool:
        """Return whether that size of the shock lies on the account's lines."""
        lines = [walk.line for walk in self.walks.get(account_id, [])]
        return all(
            size < line.end or (line.reaches_end and Fraction(size) == line.end) for line in lines
        )


def moved_along(exchange: Exchange, line: Line, size: float) -> Exchange:
    """Return the exchange that far along a line, prices as doubles."""

    def shock(slope: Fraction | None) -> float:
        return 1.0 + float(slope or 0) * size

    instruments = [
        {**row, "mark_price": row["mark_price"] * shock(line.marks.get(row["instrument_id"]))}
        for row in exchange.instruments
    ]
    assets = [
        {**row, "price": row["price"] * shock(line.assets.get(row["asset_id"]))}
        for row in exchange.assets
    ]
    return replace(exchange, instruments=instruments, assets=assets)
