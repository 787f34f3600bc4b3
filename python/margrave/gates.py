"""Gates: what a night must pass to end with exit code 0, and what is said where it does not.

A gate changes nothing of what is computed or published. It is judged over `totals`, over the
rejects and over the times of prices; what fails stands in the manifest.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from margrave import ages, night
from margrave.exits import REJECTS
from margrave.report import printable
from margrave.schema import TOTAL_COLUMNS

__all__ = ["Gates", "asked", "text"]


@dataclass(frozen=True)
class Gates:
    """The gates of a run.

    Attributes:
        max_rejects: How many rejected values, and how many indeterminate accounts, are accepted.
        fail_above: By column of `totals`, what it may reach and not exceed.
        too_old: What `ages.too_old` found; nothing where nobody asked.
    """

    max_rejects: int = 0
    fail_above: tuple[tuple[str, float], ...] = ()
    too_old: tuple[Mapping[str, Any], ...] = ()

    def failed(self, totals: Mapping[str, Any], rejects: int) -> list[dict[str, Any]]:
        """Return the gates that are not passed, as the manifest states them.

        Args:
            totals: The `totals` of the market as given.
            rejects: How many values were rejected.
        """
        failed: list[dict[str, Any]] = []
        indeterminate = totals["indeterminate_accounts"]
        if max(rejects, indeterminate) > self.max_rejects:
            failed.append(
                {
                    "gate": "max_rejects",
                    "rejects": rejects,
                    "indeterminate_accounts": indeterminate,
                    "limit": self.max_rejects,
                }
            )
        for column, limit in self.fail_above:
            value = totals[column]
            if not value <= limit:  # what cannot be compared does not pass
                failed.append(
                    {"gate": "fail_above", "column": column, "value": value, "limit": limit}
                )
        return [*failed, *map(dict, self.too_old)]


def asked(
    files: Mapping[str, Sequence[Path]],
    max_rejects: int,
    fail_above: Sequence[str] | None,
    max_mark_age: str | None,
    now: datetime,
) -> Gates:
    """Return the gates that the options of a command ask for.

    Args:
        files: The frames of the night, as `night.find` has them: times are read at once.
        max_rejects: `--max-rejects`.
        fail_above: Each `--fail-above`.
        max_mark_age: `--max-mark-age`.
        now: The moment that ages count to.

    Raises:
        RefusedError: A column is none of `totals`, or there twice; a limit is no number; an age
            is none, or the night has no times.
        MargraveError: Times are asked for, and a frame cannot be used.
    """
    limits: dict[str, float] = {}
    for wanted in fail_above or ():
        column, number = _limit(wanted)
        if column in limits:
            raise night.RefusedError(f"--fail-above: {column} is there twice\nhint: give it once")
        limits[column] = number
    allowed = None if max_mark_age is None else ages.limit(max_mark_age)
    old = () if allowed is None else tuple(ages.too_old(files, allowed, now))
    return Gates(max_rejects, tuple(limits.items()), old)


def text(gate: Mapping[str, Any]) -> str:
    """Return what to tell people about a gate that was not passed."""
    head = f"exit code {REJECTS}: "
    if gate["gate"] == "fail_above":
        column, value, limit = gate["column"], gate["value"], gate["limit"]
        return f"{head}{column} is {value:,}; --fail-above {column}={limit} allows no more"
    if gate["gate"] == "max_mark_age":
        return f"{head}{_told_ages(gate)}"
    return (
        f"{head}{gate['rejects']:,} rejected values, "
        f"{gate['indeterminate_accounts']:,} indeterminate accounts; "
        f"--max-rejects {gate['limit']:,} allows no more of either"
    )


def _told_ages(gate: Mapping[str, Any]) -> str:
    without = gate["without_time"]
    none = f", {without:,} of them without a time" if without else ""
    first = ", ".join(
        f"{printable(id_)} ({time or 'null'})"
        for id_, time in (row.values() for row in gate["first"])
    )
    more = ", ..." if gate["rows"] > len(gate["first"]) else ""
    return (
        f"{gate['frame']}.{gate['column']}: {gate['rows']:,} of {gate['of']:,} rows are older "
        f"than --max-mark-age {gate['limit']}{none} (first: {first}{more})"
    )


def _limit(wanted: str) -> tuple[str, float]:
    column, _, number = (part.strip() for part in wanted.rpartition("="))
    if not column:
        raise night.RefusedError(
            f"--fail-above: {wanted!r} is not COLUMN=N\nhint: write liquidatable_accounts=100"
        )
    if column not in TOTAL_COLUMNS:
        near = difflib.get_close_matches(column.lower(), TOTAL_COLUMNS, n=3, cutoff=0.6)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        raise night.RefusedError(
            f"--fail-above: totals has no column {column!r}{meant}\n"
            f"hint: its columns are {', '.join(TOTAL_COLUMNS)}"
        )
    limit = _number(number)
    if limit is None:
        raise night.RefusedError(
            f"--fail-above: {number!r} is no finite number for {column}\nhint: write {column}=100"
        )
    return column, limit


def _number(text: str) -> float | None:
    """Return a number as it is written, an integer exactly; None where it is none."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None
