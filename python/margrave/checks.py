"""A night looked at and not swept into files: what is wrong with it, by rule.

`examine` runs everything that can refuse or reject a part of a night, past the first
refusal; `examine_shards` does so shard by shard, with one of them in memory at a time. `faults`
groups what was rejected, and `text` says it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from margrave import night, sharded
from margrave.errors import InternalError, MargraveError
from margrave.parts import Part, Whole
from margrave.report import accounting, printable
from margrave.shards import Shards

if TYPE_CHECKING:
    import margrave as mg

__all__ = ["Finding", "Look", "examine", "examine_shards", "faults", "text"]

#: Shown a book and its sweep before both are forgotten.
Look = Callable[["mg.Book", "mg.Sweep"], object]

#: How many bad rows of a rule are shown.
ROWS_SHOWN = 5

_T = TypeVar("_T")


@dataclass
class Finding:
    """What was found.

    Attributes:
        refusals: The faults for which a sweep would refuse the night, the one that it would end
            with first, each once however many shards have it.
        ruleset: What the night was swept under, None where that is refused.
        swept: The sweep, or that of all shards together; None where anything is refused.
    """

    refusals: list[Exception] = field(default_factory=list)
    ruleset: mg.Rules | None = None
    swept: mg.Sweep | Whole | None = None
    _said: set[str] = field(default_factory=set)

    def attempt(self, make: Callable[[], _T], shard: int | None = None) -> _T | None:
        """Return what `make` makes; None where that is refused, which is noted.

        Args:
            make: What may be refused.
            shard: The number of the shard that it is made of, which the refusal then names.
        """
        try:
            return make()
        except InternalError as error:
            if shard is None:
                raise
            raise sharded.named(error, shard) from error
        except (MargraveError, night.MissingError, night.RefusedError) as refusal:
            if str(refusal) not in self._said:
                self._said.add(str(refusal))
                self.refusals.append(refusal if shard is None else _of_shard(refusal, shard))
            return None


def _of_shard(refusal: Exception, shard: int) -> Exception:
    """Return why a shard is refused, without what would hold its book in memory.

    That is the traceback, whose frames know the book: its text goes along for `--debug`.
    """
    if not isinstance(refusal, MargraveError):
        return refusal
    found = sharded.named(refusal, shard)
    found.add_note("".join(traceback.format_exception(refusal)))
    return found


def examine(
    folder: Path,
    files: Mapping[str, list[Path]],
    rules: str | None,
    *,
    tiers: Path | None = None,
    weights: Path | None = None,
    threads: int | None = None,
    look: Look | None = None,
) -> Finding:
    """Return all that is wrong with a night: its rules, its book, its market, and together.

    Args:
        folder: The night.
        files: Its frames, as `night.find` has them.
        rules: As `night.ruleset` takes them; `tiers` and `weights` too.
        tiers: See `rules`.
        weights: See `rules`.
        threads: How many threads to use; all cores by default.
        look: Shown the book and its sweep, where there is one.
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
    market = found.attempt(lambda: mg.Market(files["instruments"], files["assets"]))
    ruleset = found.ruleset
    if book is not None and market is not None and ruleset is not None:
        swept = found.attempt(lambda: book.sweep(market, ruleset, threads=threads))
        if swept is not None and look is not None:
            look(book, swept)
        found.swept = swept
    return found


def examine_shards(
    cut: Shards,
    rules: str | None,
    *,
    tiers: Path | None = None,
    weights: Path | None = None,
    threads: int | None = None,
    look: Look | None = None,
    told: Callable[[int], object],
) -> Finding:
    """Return all that is wrong with a night in shards: its rules, its market, each shard.

    One shard is in memory at a time. What is kept of it is a `Part`: its counts, exact sums and
    rejected values. The sum of the parts is the one that a sweep of the night makes.

    Args:
        cut: The night.
        rules: See `examine`.
        tiers: See `examine`.
        weights: See `examine`.
        threads: See `examine`.
        look: Shown the book of each shard and its sweep, as long as nothing is refused.
        told: Told of each shard that was looked at.
    """
    found = Finding()
    named, folder = night.ruleset, cut.folder
    found.ruleset = found.attempt(lambda: named(folder, rules, tiers=tiers, weights=weights))
    market = found.attempt(cut.market)
    parts = []
    for shard in range(cut.count):
        part = _part(found, cut, shard, market, threads, look)
        parts += [part] if part is not None else []
        told(shard)
    if not found.refusals:
        found.swept = Whole(parts)
    return found


def _part(
    found: Finding,
    cut: Shards,
    shard: int,
    market: mg.Market | None,
    threads: int | None,
    look: Look | None,
) -> Part | None:
    """Return what is kept of a shard; None where the night is refused, for it or another one."""
    ruleset = found.ruleset
    book = found.attempt(lambda: cut.book(shard, on_error="quarantine", threads=threads), shard)
    if book is None:
        return None
    swept = None
    if market is not None and ruleset is not None:
        swept = found.attempt(lambda: book.sweep(market, ruleset, threads=threads), shard)
    found.attempt(lambda: cut.check_accounts(shard, book._held.account_ids()), shard)
    if swept is None or found.refusals:
        return None
    if look is not None:
        look(book, swept)
    return Part.of(swept)


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


def text(swept: mg.Sweep | Whole, ruleset: mg.Rules, broken: Sequence[Mapping[str, Any]]) -> str:
    """Return what was looked at and what is wrong with it, as lines of plain text.

    Args:
        swept: The sweep of the night, or of all its shards together.
        ruleset: What it was swept under.
        broken: What `faults` made of its rejects.
    """
    rows = {"accounts": swept.totals["accounts"].item(), **swept.counts()}
    counts = ", ".join(f"{rows[name]:,} {name}" for name in ("accounts", "positions", "balances"))
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
