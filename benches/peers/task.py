"""What a peer does in one work: `Task`. Its thin answer's columns: `THIN`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

THIN = ["account_id", "equity", "maintenance", "initial", "notional", "ratio", "leverage", "flag"]
"""The thin answer: weighted collateral and profit, both requirements, gross notional, then
requirement over equity, notional over equity, and equity below the requirement."""

SUMS = ["equity", "maintenance", "initial", "notional"]

BOOK = ["account_id", "rows", "quantity", "amount"]
"""What two prepared books are compared by: rows, quantity and amount of each account."""


@dataclass(frozen=True)
class Task:
    """One peer's way to do one work, everything outside the time done already.

    `call` is what is timed. `answer` makes a frame of what it returned, for comparison.
    """

    call: Callable[[], Any]
    answer: Callable[[Any], pl.DataFrame]


def same(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame: the answer of a peer that returns one."""
    return frame
