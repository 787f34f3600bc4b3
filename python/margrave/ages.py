"""How old prices are: when a night says that each was taken, and which are older than allowed.

Times stand in `instruments.mark_time` and `assets.price_time`. They enter no figure; a night
computed from yesterday's prices is right to the last bit and wrong all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from margrave import night
from margrave.frames import check
from margrave.ids import in_type

__all__ = [
    "FIRST",
    "TIMES",
    "Limit",
    "Prices",
    "age",
    "instants",
    "limit",
    "prices",
    "too_old",
    "written",
]

#: Where times stand: the frame, its key, its column.
TIMES = (
    ("instruments", "instrument_id", "mark_time"),
    ("assets", "asset_id", "price_time"),
)

#: How many ids are named.
FIRST = 5

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WRITTEN = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)([smhd])", re.ASCII)


@dataclass(frozen=True)
class Limit:
    """How old a price may be: as it was asked for (`15m`), and in seconds."""

    text: str
    seconds: float


@dataclass(frozen=True)
class Prices:
    """The prices of a frame with the time of each.

    Attributes:
        frame: `instruments` or `assets`.
        key: Its key column.
        column: Its column of times.
        rows: `id` (text) and `time` (UTC; null where none is given). None where the frame lacks
            the column.
    """

    frame: str
    key: str
    column: str
    rows: pl.DataFrame | None

    def first(self, wanted: pl.Series) -> list[dict[str, str | None]]:
        """Return ids and times of the first rows for which `wanted` is true."""
        if self.rows is None:
            return []
        rows = self.rows.filter(wanted).head(FIRST)
        return [{self.key: id_, self.column: written(time)} for id_, time in rows.iter_rows()]


def limit(text: str) -> Limit:
    """Return the age that `--max-mark-age` asks for.

    Raises:
        RefusedError: It is no number with a unit.

    Example:
        >>> limit("15m").seconds, limit("1.5h").seconds
        (900.0, 5400.0)
    """
    found = _WRITTEN.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds == 0.0:
        raise night.RefusedError(
            f"--max-mark-age: {text!r} is no age\nhint: a number above 0 with s, m, h or d: 90s, "
            "15m, 1.5h, 2d"
        )
    return Limit(text.strip(), seconds)


def prices(files: Mapping[str, Sequence[Path]]) -> list[Prices]:
    """Return the prices of a night, `instruments` and then `assets`, with their times.

    Args:
        files: The frames of a night, as `night.find` has them.

    Raises:
        MargraveError: A frame cannot be used.
    """
    found = []
    for name, key, column in TIMES:
        with night.reading():
            raw = check(name, list(files[name])).raw
        there = column in raw.columns and raw.schema[column] != pl.Null
        ids = in_type(raw[key], pl.String()).alias("id")
        times = instants(raw[column]).alias("time") if there else None
        found.append(
            Prices(name, key, column, None if times is None else pl.DataFrame([ids, times]))
        )
    return found


def too_old(
    files: Mapping[str, Sequence[Path]], allowed: Limit, now: datetime
) -> list[dict[str, Any]]:
    """Return a gate for each frame with prices older than `allowed`, as a manifest states it.

    A price without a time counts as too old. Every row counts, held or not.

    Args:
        files: The frames of a night, as `night.find` has them.
        allowed: How old a price may be.
        now: When that is asked.

    Raises:
        RefusedError: A frame has no column of times.
        MargraveError: A frame cannot be used.
    """
    found = prices(files)
    lacking = [f"{source.frame}.{source.column}" for source in found if source.rows is None]
    if lacking:
        raise night.RefusedError(
            f"--max-mark-age: the night has no {' and no '.join(lacking)}\nhint: add when prices "
            "were taken (Datetime, or ISO text, UTC), or leave --max-mark-age out"
        )
    gates = []
    for source in found:
        assert source.rows is not None
        times = source.rows["time"]
        old = (age(times, now) > allowed.seconds).fill_null(True)
        if old.any():
            counts = {"rows": int(old.sum()), "of": len(times), "without_time": times.null_count()}
            gates.append(
                {
                    **{"gate": "max_mark_age", "frame": source.frame, "column": source.column},
                    **counts,
                    **{"first": source.first(old), "limit": allowed.text},
                    "limit_seconds": allowed.seconds,
                }
            )
    return gates


def age(times: pl.Series, now: datetime) -> pl.Series:
    """Return how many seconds before `now` each time is."""
    return (pl.Series([now]).cast(times.dtype).new_from_index(0, len(times)) - times).cast(
        pl.Float64
    ) / 1e6


def instants(times: pl.Series) -> pl.Series:
    """Return the moments that a checked column of times names, in UTC.

    A Date is its first moment; a time that names no zone is UTC.
    """
    moments = pl.Datetime("us", "UTC")
    if times.null_count() == len(times):
        return pl.Series(times.name, [None] * len(times), dtype=moments)
    if isinstance(times.dtype, pl.Datetime):
        zoned = times if times.dtype.time_zone else times.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").cast(moments)
    if isinstance(times.dtype, pl.Date):
        return times.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    texts = times.cast(pl.String).to_list()
    known = {text: _moment(text) for text in set(texts) if text}
    return pl.Series(times.name, [known.get(text) for text in texts], dtype=moments)


def written(time: datetime | None) -> str | None:
    """Return a moment as it is shown, in UTC: 2026-12-25T08:00:00Z."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
