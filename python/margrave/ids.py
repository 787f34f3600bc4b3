"""Ids: which of the frames speak of the same things, by value and not by type.

Integers of any width meet each other, and so do String, Enum and Categorical; integers
never meet text. A CSV has no types: its ids take the kind that the others have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from margrave.errors import SchemaError
from margrave.frames import Frame

__all__ = ["IdColumn", "account_type", "common_kind", "id_column", "meet"]

Kind = Literal["integer", "text"]

CANONICAL = r"^(0|-?[1-9][0-9]*)$"
INT64 = (-(2**63), 2**63 - 1)
UINT64 = (0, 2**64 - 1)


@dataclass(frozen=True)
class IdColumn:
    """The ids of one column; `kind` is None where there are no rows that settle it."""

    label: str
    values: pl.Series
    kind: Kind | None
    is_csv: bool


def id_column(frame: Frame, column: str) -> IdColumn:
    """Return the ids of a column.

    Raises:
        SchemaError: The column holds neither integers nor text.
    """
    label, values = f"{frame.name}.{column}", frame.raw[column]
    if values.is_empty():
        return IdColumn(label, values, None, frame.is_csv)
    kind = _kind_of(values.dtype)
    if kind is None:
        raise SchemaError(
            f"{label}: its type is {values.dtype}; ids are integers or text, so cast the column"
        )
    return IdColumn(label, values, kind, frame.is_csv)


def _kind_of(dtype: pl.DataType) -> Kind | None:
    if dtype.is_integer():
        return "integer"
    return "text" if isinstance(dtype, (pl.String, pl.Enum, pl.Categorical)) else None


def common_kind(columns: list[IdColumn]) -> Kind | None:
    """Return what kind of id the columns hold; None where nothing settles it.

    Raises:
        SchemaError: Some hold integers, others text.
    """
    typed = [column for column in columns if column.kind is not None and not column.is_csv]
    for column in typed[1:]:
        if column.kind != typed[0].kind:
            raise SchemaError(
                f"{column.label}: these ids are {_words(column)}, but those of {typed[0].label} "
                f"are {_words(typed[0])}; integers never meet text, so cast one of the columns"
            )
    if typed:
        return typed[0].kind
    texts = [column for column in columns if column.is_csv and column.kind is not None]
    if not texts:
        return None
    return "integer" if all(_is_canonical(column.values) for column in texts) else "text"


def _words(column: IdColumn) -> str:
    return f"{'integers' if column.kind == 'integer' else 'text'} ({column.values.dtype})"


def _is_canonical(texts: pl.Series) -> bool:
    """Whether every text is an integer written without needless characters that fits Int64."""
    written = texts.drop_nulls()
    return bool(written.str.contains(CANONICAL).all()) and (
        written.cast(pl.Int64, strict=False).null_count() == 0
    )


def meet(columns: list[IdColumn], *, is_account: bool) -> list[pl.Series]:
    """Return the columns in one type in which they can be compared by value.

    That is Int64 for integers that fit it, or text. Account ids of UInt64 beyond it are
    carried by their 64 bits.

    Raises:
        SchemaError: Integers and text are mixed; or an account id in a CSV is no integer
            where the other frames have integers.
    """
    kind = common_kind(columns)
    if kind is None:
        return [_nothing(column) for column in columns]
    if kind == "text":
        return [column.values if column.kind else _nothing(column) for column in columns]
    parsed = []
    for column in columns:
        if column.kind is None:
            parsed.append(column.values.head(0).cast(pl.Int64, strict=False))
        elif column.is_csv and column.kind == "text":
            if not _is_canonical(column.values):
                if not is_account:  # such an id is simply not found
                    return [_as_text(column) for column in columns]
                raise _not_canonical(column)
            parsed.append(column.values.cast(pl.Int64))
        else:
            parsed.append(column.values)
    return _as_integers(parsed, is_account=is_account)


def _nothing(column: IdColumn) -> pl.Series:
    return pl.Series(column.values.name, [], dtype=pl.String)


def _as_text(column: IdColumn) -> pl.Series:
    return column.values.cast(pl.String) if column.kind else _nothing(column)


def _not_canonical(column: IdColumn) -> SchemaError:
    bad = column.values.filter(~column.values.str.contains(CANONICAL).fill_null(value=True))
    first = bad[0] if len(bad) else column.values.max()
    return SchemaError(
        f"{column.label}: {first!r} is no integer as the ids of the other frames are; write "
        "plain integers, or give those frames text ids"
    )


def _as_integers(columns: list[pl.Series], *, is_account: bool) -> list[pl.Series]:
    low, high = _bounds(columns)
    if low >= INT64[0] and high <= INT64[1]:
        return [column.cast(pl.Int64) for column in columns]
    if is_account and low >= UINT64[0] and high <= UINT64[1]:
        return [column.cast(pl.UInt64).reinterpret(signed=True) for column in columns]
    return [column.cast(pl.String) for column in columns]


def _bounds(columns: list[pl.Series]) -> tuple[int, int]:
    values = [v for c in columns for v in (c.min(), c.max()) if isinstance(v, int)]
    return min(values, default=0), max(values, default=0)


def account_type(columns: list[IdColumn]) -> pl.DataType:
    """Return the type that account ids come back in.

    That of the first column whose kind is that of the rows there are. Where it cannot hold
    an id of another column: String, or Int64.
    """
    kind = common_kind(columns)
    types = [_type_of(column, kind) for column in columns]
    fitting = [t for t in types if t is not None and kind in (None, _kind_of(t))]
    if not fitting:
        return pl.Int64() if kind == "integer" else pl.String()
    first = fitting[0]
    filled = [column.values for column in columns if column.kind is not None]
    if isinstance(first, pl.Enum):
        categories = set(first.categories)
        others = (values.drop_nulls().unique() for values in filled if values.dtype != first)
        held = all(set(values.cast(pl.String)) <= categories for values in others)
        return first if held else pl.String()
    if kind == "integer":
        low, high = _bounds([values for values in filled if values.dtype.is_integer()])
        return _holding(first, low, high)
    return first


def _type_of(column: IdColumn, kind: Kind | None) -> pl.DataType | None:
    if column.is_csv:
        return pl.Int64() if kind == "integer" else pl.String()
    return column.values.dtype if _kind_of(column.values.dtype) else None


def _holding(dtype: pl.DataType, low: int, high: int) -> pl.DataType:
    def holds(dtype: pl.DataType) -> bool:
        bounds = pl.select(dtype.min().alias("low"), dtype.max().alias("high")).row(0)
        return bool(bounds[0] <= low and high <= bounds[1])

    if holds(dtype):
        return dtype
    return pl.Int64() if holds(pl.Int64()) else pl.String()
