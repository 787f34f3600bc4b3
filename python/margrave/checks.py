"""A night looked at and not swept into files: what is wrong with it, by rule.

`examine` runs everything that can refuse or reject a part of a night, past the first
refusal; `faults` groups what was rejected, and `text` says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from margrave import night
from margrave.errors import InternalError, MargraveError
from margrave.report import accounting, printable

if TYPE_CHECKING:
    import margrave as mg

__all__ = ["Finding", "examine", "faults", "text"]

#: How many bad rows of a rule are shown.
ROWS_SHOWN = 5

_T = TypeVar("_T")


@dataclass
class Finding:
    """What `examine` found.

    `refusals` are the faults for which a sweep would refuse the night, the one that it would
    end with first; without any, `swept` is the sweep, `ruleset` what it was under, and `book` what
    was swept.
    """

    refusals: list[Exception] = field(default_factory=list)
    ruleset: mg.Rules | None = None
    book: mg.Book | None = None
    swept: mg.Sweep | None = None

    def attempt(self, make: Callable[[], _T]) -> _T | None:
        """Return what `make` makes; None where that is refused, which is noted."""
        try:
            return make()
        except InternalError:
            raise
        except (MargraveError, night.MissingError, night.RefusedError) as refusal:
            if str(refusal) not in map(str, self.refusals):
                self.refusals.append(refusal)
            return None


def examine(
    folder: Path,
    files: Mapping[str, list[Path]],
    rules: str | None,
    *,
    tiers: Path | None = None,
    weights: Path | None = None,
    threads: int | None = None,
) -> Finding:
    """Return all that is wrong with a night: its rules, its book, its market, and together.

    Args:
        folder: The night.
        files: Its frames, as `night.find` has them.
        rules: As `night.ruleset` takes them; `tiers` and `weights` too.
        tiers: See `rules`.
        weights: See `rules`.
        threads: How many threads to use; all cores by default.
    """
    import margrave as mg

    found = Finding()
    named = night.ruleset
    found.ruleset = found.attempt(lambda: named(folder, rules, tiers=tiers, weights=weights))
    book = found.attempt(
        lambda: mg.Book(
            files["positions"],
            files["balances"],
            files["instruments"],
            files.get("accounts"),
            on_error="quarantine",
            threads=threads,
        )
    )
    found.book = book
    market = found.attempt(lambda: mg.Market(files["instruments"], files["assets"]))
    ruleset = found.ruleset
    if book is not None and market is not None and ruleset is not None:
        found.swept = found.attempt(lambda: book.sweep(market, ruleset, threads=threads))
    return found


def faults(rejects: pl.DataFrame) -> list[dict[str, Any]]:
    """Return one entry for each rule that values broke, in order of frame and column.

    Args:
        rejects: The `rejects` of a sweep.

    Returns:
        Dicts of `frame`, `column`, `reason`, `rows` (how many values broke it) and `first`:
        the first rows, each with its `row` and `value` (text; None for null).
    """
    by_rule: dict[tuple[str, str, str], dict[str, Any]] = {}
    for frame, row, column, value, reason in rejects.iter_rows():
        rule = by_rule.setdefault(
            (frame, column, reason),
            {"frame": frame, "column": column, "reason": reason, "rows": 0, "first": []},
        )
        rule["rows"] += 1
        if len(rule["first"]) < ROWS_SHOWN:
            rule["first"].append({"row": row, "value": value})
    return [by_rule[rule] for rule in sorted(by_rule)]


def text(swept: mg.Sweep, ruleset: mg.Rules, broken: Sequence[Mapping[str, Any]]) -> str:
    """Return what was looked at and what is wrong with it, as lines of plain text.

    Args:
        swept: The sweep of the night.
        ruleset: What it was swept under.
        broken: What `faults` made of its rejects.
    """
    rows = {"accounts": swept.totals["accounts"].item(), **swept.counts()}
    counts = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    head = f"Ruleset {ruleset.id} ({ruleset.hash[:12]}): {counts}"
    parts = [head, _by_rule(broken), accounting(swept.accounting)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _by_rule(broken: Sequence[Mapping[str, Any]]) -> str:
    if not broken:
        return "No value is rejected."
    count = sum(rule["rows"] for rule in broken)
    lines = ["1 value is rejected" if count == 1 else f"{count:,} values are rejected, by rule"]
    for rule in broken:
        first = ", ".join(_row(bad) for bad in rule["first"])
        more = ", ..." if rule["rows"] > len(rule["first"]) else ""
        reason = printable(rule["reason"], 100)
        lines.append(f"  {rule['frame']}.{rule['column']}: {reason} ({rule['rows']:,})")
        lines.append(f"    first rows: {first}{more}")
    return "\n".join(lines)


def _row(bad: Mapping[str, Any]) -> str:
    value = "null" if bad["value"] is None else printable(bad["value"])
    return f"{bad['row']:,} ({value})"
