"""Bad rows: as messages that raise, and as the `rejects` frame that is kept.

The core says where a fault is and why; here it gets its value and its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from margrave.errors import DataError, MargraveError, UnknownAsset, UnknownInstrument
from margrave.frames import shown
from margrave.ids import in_type
from margrave.schema import ALLOWED, FRAMES, REJECT_COLUMNS

__all__ = ["TYPES", "merged", "null_rejects", "raise_faults", "rejects"]

SHOWN = 5
SETTLE = "settle asset missing in the market"
OVERFLOW = "with this market, money of the row overflows"
TYPES = {name: pl.Int64 if name == "row" else pl.String for name in REJECT_COLUMNS}

Bad = tuple[int, str | None]

UNKNOWN: dict[str, type[MargraveError]] = {
    "instrument missing in instruments": UnknownInstrument,
    "instrument missing in the market": UnknownInstrument,
    SETTLE: UnknownAsset,
    "asset missing in the market": UnknownAsset,
}


def rejects(
    faults: pl.DataFrame,
    frames: Mapping[str, pl.DataFrame],
    settle_assets: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Return one row per bad value: frame, row, column, value as text, reason.

    Args:
        faults: Columns frame, row, column, reason; in order of the first three.
        frames: The frames as they came, by name.
        settle_assets: For each instrument, the asset that it settles in; named in the
            reason where that asset is what is missing.
    """
    names, columns, reasons = (faults[name].to_list() for name in ("frame", "column", "reason"))
    values: list[str | None] = [None] * len(names)
    for frame, column in set(zip(names, columns, strict=True)):
        if column in frames[frame].columns:
            at = ((faults["frame"] == frame) & (faults["column"] == column)).arg_true()
            texts = _as_text(frames[frame][column].gather(faults["row"].gather(at)))
            for index, text in zip(at, texts, strict=True):
                values[index] = text
    for index, reason in enumerate(reasons):
        if reason == SETTLE and settle_assets:
            asset = settle_assets.get(str(values[index]))
            reasons[index] = f"settle asset {asset} missing in the market"
    rows = (names, faults["row"].to_list(), columns, values, reasons)
    return pl.DataFrame(dict(zip(REJECT_COLUMNS, rows, strict=True)), schema=TYPES)


def _as_text(values: pl.Series) -> pl.Series:
    return in_type(values, pl.String())


def null_rejects(frame: str, values: pl.Series) -> pl.DataFrame:
    """Return one row for every null of a column that may have none."""
    rows = [(frame, row, values.name, None, "null") for row in values.is_null().arg_true()]
    return pl.DataFrame(rows, schema=TYPES, orient="row")


def merged(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of both, in order of frame, row and column."""
    if one.is_empty() or other.is_empty():
        return other if one.is_empty() else one
    rows = sorted([*one.iter_rows(), *other.iter_rows()], key=lambda row: row[:3])
    return pl.DataFrame(rows, schema=TYPES, orient="row")


def raise_faults(rejected: pl.DataFrame, *, may_quarantine: bool) -> None:
    """Raise what the rejected rows deserve; nothing where there are none.

    Raises:
        DataError: Values are null, not finite or out of range.
        UnknownInstrument: Ids of instruments are missing.
        UnknownAsset: Ids of assets are missing.
    """
    found: dict[type[MargraveError], dict[tuple[str, str, str], list[Bad]]] = {}
    for frame, row, column, value, reason in rejected.iter_rows():
        of_class = found.setdefault(_class(reason), {})
        of_class.setdefault((frame, column, reason), []).append((row, value))
    for error in (DataError, UnknownInstrument, UnknownAsset):
        if error in found:
            lines = [_line(error, *place, bad) for place, bad in found[error].items()]
            raise error("\n".join([*lines, _hint(error, may_quarantine=may_quarantine)]))


def _class(reason: str) -> type[MargraveError]:
    return UnknownAsset if reason.startswith("settle asset") else UNKNOWN.get(reason, DataError)


def _line(
    error: type[MargraveError], frame: str, column: str, reason: str, bad: Sequence[Bad]
) -> str:
    first = ", ".join(str(row) for row, _ in bad[:SHOWN])
    if reason == OVERFLOW:
        return (
            f"{frame}.{column}: {reason} ({len(bad)} rows, first: {first}); a price or leverage so "
            "near 0 leaves no number: look at it, and at instruments.mark_price"
        )
    if error is DataError:
        values = [shown(v)[1:-1] for _, v in bad[:SHOWN] if v is not None]
        given = f"; values {', '.join(values)}" if values else ""
        count = "1 value is" if len(bad) == 1 else f"{len(bad)} values are"
        return (
            f"{frame}.{column}: {count} {reason} (first rows: {first}{given}); "
            f"{_allowed(frame, column)}"
        )
    ids = list(dict.fromkeys(value for _, value in bad))
    named = ", ".join(shown(value) for value in ids[:SHOWN])
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"{frame}.{column}: {reason}: {named}{more} ({len(bad)} rows, first: {first})"


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
