"""Bad rows: as messages that raise, and as the `rejects` frame that is kept.

The core says where a fault is and why; here it gets its value and its words.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from margrave.errors import DataError, MargraveError, UnknownAsset, UnknownInstrument
from margrave.schema import ALLOWED, FRAMES, REJECT_COLUMNS

__all__ = ["no_rejects", "raise_faults", "rejects"]

SHOWN = 5

UNKNOWN: dict[str, type[MargraveError]] = {
    "instrument missing in instruments": UnknownInstrument,
    "instrument missing in the market": UnknownInstrument,
    "settle asset missing in the market": UnknownAsset,
    "asset missing in the market": UnknownAsset,
}


def no_rejects() -> pl.DataFrame:
    """Return `rejects` without rows."""
    types = {name: pl.Int64 if name == "row" else pl.String for name in REJECT_COLUMNS}
    return pl.DataFrame(schema=types)


def rejects(
    faults: pl.DataFrame,
    frames: Mapping[str, pl.DataFrame],
    settle_assets: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Return one row per bad value: frame, row, column, value as text, reason.

    Args:
        faults: Columns frame, row, column, reason.
        frames: The frames as they came, by name.
        settle_assets: For each instrument, the asset that it settles in; named in the
            reason where that asset is what is missing.
    """
    parts = []
    for (frame, column), part in faults.group_by("frame", "column", maintain_order=True):
        raw = frames[str(frame)]
        if column in raw.columns:
            values = raw[str(column)].gather(part["row"]).cast(pl.String)
        else:
            values = pl.Series([None] * len(part), dtype=pl.String)
        parts.append(part.with_columns(value=values))
    if not parts:
        return no_rejects()
    found = pl.concat(parts).select(REJECT_COLUMNS)
    if settle_assets:
        named = pl.concat_str(
            pl.lit("settle asset "),
            pl.col("value").replace_strict(settle_assets, default="", return_dtype=pl.String),
            pl.lit(" missing in the market"),
        )
        is_settle = pl.col("reason") == "settle asset missing in the market"
        found = found.with_columns(reason=pl.when(is_settle).then(named).otherwise("reason"))
    return found.sort("frame", "row", "column", maintain_order=True)


def raise_faults(rejected: pl.DataFrame, *, may_quarantine: bool) -> None:
    """Raise what the rejected rows deserve; nothing where there are none.

    Raises:
        DataError: Values are null, not finite or out of range.
        UnknownInstrument: Ids of instruments are missing.
        UnknownAsset: Ids of assets are missing.
    """
    if rejected.is_empty():
        return
    kinds = rejected["reason"].map_elements(_class_name, return_dtype=pl.String)
    for error in (DataError, UnknownInstrument, UnknownAsset):
        part = rejected.filter(kinds == error.__name__)
        if part.is_empty():
            continue
        lines = [
            _line(str(frame), str(column), str(reason), rows)
            for (frame, column, reason), rows in part.group_by(
                "frame", "column", "reason", maintain_order=True
            )
        ]
        raise error("\n".join([*lines, _hint(error, may_quarantine=may_quarantine)]))


def _class_name(reason: str) -> str:
    if reason.startswith("settle asset"):
        return UnknownAsset.__name__
    return UNKNOWN.get(reason, DataError).__name__


def _line(frame: str, column: str, reason: str, rows: pl.DataFrame) -> str:
    first = ", ".join(str(row) for row in rows["row"].head(SHOWN))
    if _class_name(reason) == DataError.__name__:
        values = [v for v in rows["value"].head(SHOWN) if v is not None]
        shown = f"; values {', '.join(values)}" if values else ""
        allowed = _allowed(frame, column)
        count = "1 value is" if len(rows) == 1 else f"{len(rows)} values are"
        return f"{frame}.{column}: {count} {reason} (first rows: {first}{shown}); {allowed}"
    ids = rows["value"].unique(maintain_order=True)
    shown = ", ".join(repr(v) for v in ids.head(SHOWN))
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"{frame}.{column}: {reason}: {shown}{more} ({len(rows)} rows, first: {first})"


def _allowed(frame: str, column: str) -> str:
    declared = {c.name: c for c in FRAMES[frame]}.get(column)
    if declared is None or declared.kind != "number":
        return "allowed is any value but null"
    if column == "isolated_margin":
        return f"allowed is {ALLOWED[declared.allowed]}, and every isolated row needs one"
    return f"allowed is {ALLOWED[declared.allowed]}"


def _hint(error: type[MargraveError], *, may_quarantine: bool) -> str:
    what = "correct or drop those rows" if error is DataError else "add what is missing"
    if not may_quarantine:
        return f"hint: {what}"
    return f'hint: {what}, or set them aside with on_error="quarantine"'
