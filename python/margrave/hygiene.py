"""Hygiene: what looks wrong in a night and breaks no rule. Warnings with counts, never corrections.

`examine` returns a `Found`: warnings, and what could not be looked at. No figure, no reject and
no exit code depends on it. It is given what `seen` keeps of each book that the night is read as:
one, or one for each shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from margrave import night
from margrave.ages import FIRST, Prices, age, prices
from margrave.frames import check
from margrave.ids import in_type
from margrave.report import printable

__all__ = ["APART", "FAR", "SKEW", "STALE", "Found", "Seen", "examine", "seen", "text"]

#: Longs and shorts of an instrument differ where they do by more than this part of the larger.
APART = 1e-9

#: A mark is far from the median entry where one is more than this many times the other: half of
#: ten, so that a decimal point in the wrong place shows, whichever way prices have gone since.
FAR = 5.0

#: A price is stale that is older than the median of its frame by more than this, in seconds.
STALE = 3_600.0

#: A price is ahead of time that is later than the clock by more than this, in seconds.
SKEW = 60.0

#: Ids as text, once there is a row for each and no longer one for each position.
_NAMES = pl.col("instrument_id").cast(pl.String)

#: Contracts whose price is not near where they were bought: options fade.
_FADING = ("call", "put")


@dataclass
class Found:
    """What `examine` found.

    Attributes:
        warnings: Dicts of `warning`, `where` (frame and column), `count`, `of` (how many were
            looked at), `first` (the first of them, with the figures) and `message`.
        not_looked_at: What could not be looked at, and why.
    """

    warnings: list[dict[str, Any]] = field(default_factory=list)
    not_looked_at: list[str] = field(default_factory=list)

    def warn(
        self, warning: str, where: str, said: str, of: int, bad: int, first: list[dict[str, Any]]
    ) -> None:
        """Add a warning, where there is anything to warn of."""
        if bad:
            facts = {"warning": warning, "where": where, "count": bad, "of": of, "first": first}
            named = ", ".join(_shown(row) for row in first)
            more = ", ..." if bad > len(first) else ""
            message = f"{where}: {bad:,} of {of:,} {said}; first: {named}{more}"
            self.warnings.append({**facts, "message": message})


@dataclass(frozen=True)
class Seen:
    """What is kept of a book: of each position its entry price, 8 bytes, and no other column.

    Attributes:
        held: A row for each instrument: `instrument_id` (text), sums of quantity `long` and
            `short`, and `entries`, the entry prices of all its positions.
        owned: `account_id` and `owner_id` as text, a row for each account; none where ids are
            integers, which are written in one way. None where the night has no `owner_id`.
    """

    held: pl.DataFrame
    owned: pl.DataFrame | None


def seen(positions: pl.DataFrame, accounts: pl.DataFrame) -> Seen:
    """Return what hygiene needs of a book.

    Args:
        positions: Its rows: `instrument_id`, `quantity`, `entry_price`. What is null is left out.
        accounts: Its accounts: `account_id` and, where the night has it, `owner_id`.
    """
    quantity, entry = pl.col("quantity"), pl.col("entry_price")
    held = (
        positions.lazy()
        .select("instrument_id", "quantity", "entry_price")
        .filter(quantity.is_finite() & (quantity != 0) & pl.col("instrument_id").is_not_null())
        .group_by("instrument_id")
        .agg(
            long=quantity.filter(quantity > 0).sum(),
            short=quantity.filter(quantity < 0).abs().sum(),
            entries=entry.filter(entry.is_finite() & (entry > 0)),
        )
        .with_columns(_NAMES)
        .collect()
    )
    return Seen(held, _owned(accounts))


def _owned(accounts: pl.DataFrame) -> pl.DataFrame | None:
    if "owner_id" not in accounts.columns:
        return None
    if accounts.schema["account_id"].is_integer():
        accounts = accounts.clear()
    names = ("account_id", "owner_id")
    return pl.DataFrame([in_type(accounts[name], pl.String()) for name in names])


def examine(files: Mapping[str, Sequence[Path]], books: Sequence[Seen], now: datetime) -> Found:
    """Return what looks wrong in a night.

    In memory are the entry prices of all positions, some three times over while their medians
    are taken, and of accounts whose ids are texts these and their owners.

    Args:
        files: Its frames, as `night.find` has them; `instruments` and `assets` are read.
        books: What `seen` kept of each book of it; there is at least one.
        now: When that is asked.

    Raises:
        MargraveError: `instruments` or `assets` cannot be used.
    """
    found = Found()
    held = (
        pl.concat([book.held for book in books])
        .lazy()
        .group_by("instrument_id")
        .agg(pl.col("long", "short").sum(), pl.col("entries").explode().drop_nulls())
        .with_columns(
            median_entry=pl.col("entries").list.median(), positions=pl.col("entries").list.len()
        )
        .drop("entries")
        .sort("instrument_id")
        .collect()
    )
    _open_interest(found, held)
    _marks(found, held, files)
    for source in prices(files):
        _times(found, source, now)
    owned = [book.owned for book in books if book.owned is not None]
    _owners(found, pl.concat(owned) if owned else None)
    return found


def text(found: Found) -> str:
    """Return the warnings as lines of plain text."""
    count = len(found.warnings)
    told = "nothing looks wrong" if not count else f"{count} warning{'s' if count > 1 else ''}"
    lines = [f"Hygiene: {told}", *(f"  {warning['message']}" for warning in found.warnings)]
    return "\n".join([*lines, *(f"  not looked at: {what}" for what in found.not_looked_at)])


def _open_interest(found: Found, held: pl.DataFrame) -> None:
    """Warn of instruments that are held more on one side than on the other."""
    sides = held.select("instrument_id", "long", "short")
    larger = pl.max_horizontal("long", "short")
    apart = sides.filter((pl.col("long") - pl.col("short")).abs() > APART * larger)
    said = "instruments are held more on one side than on the other"
    first = _rows(apart)
    found.warn(
        "open_interest_differs", "positions.quantity", said, sides.height, apart.height, first
    )


def _marks(found: Found, held: pl.DataFrame, files: Mapping[str, Sequence[Path]]) -> None:
    """Warn of marks that are far from what the positions were bought at."""
    with night.reading():
        frame = check("instruments", list(files["instruments"]))
    marks = pl.DataFrame(
        [
            in_type(frame.raw["instrument_id"], pl.String()),
            frame.known["mark_price"],
            frame.raw["kind"].cast(pl.String),
        ]
    ).filter(~pl.col("kind").is_in(_FADING))
    medians = held.select("instrument_id", "median_entry", "positions").filter(
        pl.col("positions") > 0
    )
    known = marks.join(medians, on="instrument_id", maintain_order="left").drop("kind")
    mark, median = pl.col("mark_price"), pl.col("median_entry")
    far = known.filter((mark > FAR * median) | (median > FAR * mark))
    said = f"marks are more than {FAR:g} times the median entry of their positions, or less than "
    said += f"1/{FAR:g} of it"
    first = _rows(far)
    found.warn(
        "mark_far_from_entries", "instruments.mark_price", said, known.height, far.height, first
    )


def _times(found: Found, source: Prices, now: datetime) -> None:
    """Warn of prices that stood still while others moved, that are ahead, or have no time."""
    where = f"{source.frame}.{source.column}"
    if source.rows is None:
        found.not_looked_at.append(f"{where}, which the night does not have")
        return
    times = source.rows["time"]
    lacking = times.is_null()
    median = times.median()
    older = pl.Series([False] * len(times))
    if isinstance(median, datetime):
        older = (age(times, median) > STALE).fill_null(False)
    ahead = (age(times, now + timedelta(seconds=SKEW)) < 0).fill_null(False)
    for warning, said, wanted in (
        ("stale_time", f"are more than {STALE / 60:g} minutes older than the median", older),
        ("time_ahead", f"are more than {SKEW:g} seconds ahead of the clock", ahead),
        ("no_time", "say not when they were taken", lacking),
    ):
        said = f"prices {said}"
        first = source.first(wanted)
        found.warn(warning, where, said, len(times), int(wanted.sum()), first)


def _owners(found: Found, owned: pl.DataFrame | None) -> None:
    """Warn of accounts that are one to a reader and stand under two owners.

    An id is the key of `accounts`, so that no id has two owners. What slips through are ids that
    differ in case or in space around them: `A17` of one owner, `a17 ` of another, or of none.
    """
    if owned is None:
        found.not_looked_at.append("accounts.owner_id, which the night does not have")
        return
    rows = owned.with_columns(read=owned["account_id"].str.strip_chars().str.to_lowercase())
    alike = (
        rows.filter(rows["read"].is_duplicated() & rows["read"].is_not_null())
        .lazy()
        .group_by("read")
        .agg(
            pl.col("account_id").sort().head(FIRST).alias("account_ids"),
            pl.col("owner_id").n_unique().alias("owners"),
        )
        .filter(pl.col("owners") > 1)
        .sort("read")
        .collect()
    )
    first = [
        {"account_ids": ids, "owners": owners}
        for ids, owners in alike.head(FIRST).select("account_ids", "owners").iter_rows()
    ]
    said = "accounts are written in several ways, under several owners"
    found.warn("account_in_two_owners", "accounts.owner_id", said, rows.height, alike.height, first)


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the first rows; sums, whose last digits depend on threads, without these."""
    return [
        {name: float(f"{v:.9g}") if isinstance(v, float) else v for name, v in row.items()}
        for row in frame.head(FIRST).to_dicts()
    ]


def _shown(row: Mapping[str, Any]) -> str:
    """Return a row as people read it: what it is, and its figures in brackets."""
    (what, *figures) = row.items()
    name = what[1]
    head = " = ".join(map(_quoted, name)) if isinstance(name, list) else printable(name)
    told = ", ".join(f"{key.replace('_', ' ')} {_figure(value)}" for key, value in figures)
    return f"{head} ({told})"


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "null" if value is None else str(value)
