"""Ids: which of the frames speak of the same things, by value and not by type.

Integers of any width meet each other, and so do String, Enum and Categorical; integers
never meet text. A CSV has no types: its ids take the kind that the others have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from operator import and_
from typing import Literal

import polars as pl

from margrave.errors import SchemaError
from margrave.frames import Frame, shown

__all__ = [
    "INT64",
    "IdColumn",
    "bounds",
    "common_kind",
    "id_column",
    "in_type",
    "meet",
    "share_codes",
    "type_of_all",
]

Kind = Literal["integer", "text"]

INT64 = (-(2**63), 2**63 - 1)
UINT64 = (0, 2**64 - 1)


@dataclass(frozen=True)
class IdColumn:
    """The ids of one column; `kind` is None where no row has an id that settles it.

    `is_coded` says that they are codes into categories.
    """

    label: str
    values: pl.Series
    kind: Kind | None
    is_csv: bool
    is_coded: bool

    @cached_property
    def dtype(self) -> pl.DataType:
        """Their type: not cheap where categories are many, so asked for once, where needed."""
        return self.values.dtype


def id_column(frame: Frame, column: str) -> IdColumn:
    """Return the ids of a column.

    Raises:
        SchemaError: The column holds neither integers nor text.
    """
    label, values = f"{frame.name}.{column}", frame.raw[column]
    is_coded = column in frame.coded
    dtype = pl.String() if is_coded else values.dtype
    kind = _kind_of(dtype)
    if values.null_count() == len(values) and (values.is_empty() or dtype != pl.Null):
        return IdColumn(label, values, None, frame.is_csv, is_coded)
    if kind is None:
        raise SchemaError(
            f"{label}: its type is {dtype}; ids are integers or text, so cast the column"
        )
    return IdColumn(label, values, kind, frame.is_csv, is_coded)


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
    return f"{'integers' if column.kind == 'integer' else 'text'} ({column.dtype})"


def _is_canonical(texts: pl.Series) -> bool:
    """Whether every text is an integer written without needless characters that fits Int64."""
    return not _strange(texts, pl.Int64()).any()


def _integers(column: IdColumn, columns: list[IdColumn]) -> pl.Series | None:
    """Return the ids of a column as integers: of Int64, or of a type that another column has.

    None where it holds texts and not all of them write such an integer.
    """
    if column.kind == "integer":
        return column.values
    for dtype in _integer_types(columns):
        if not _strange(column.values, dtype).any():
            return column.values.cast(dtype)
    return None


def _integer_types(columns: list[IdColumn]) -> list[pl.DataType]:
    return [pl.Int64(), *(c.dtype for c in columns if c.kind == "integer")]


def _strange(texts: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return which texts are no integers of this type, written without needless characters."""
    return texts.cast(dtype, strict=False).cast(pl.String).ne_missing(texts)


def meet(columns: list[IdColumn], *, is_account: bool) -> list[pl.Series]:
    """Return the columns in one type in which they can be compared by value.

    That is Int64 for integers that fit it, or text. Account ids of UInt64 beyond it are
    carried by their 64 bits. The ids of a CSV are integers where the others are.

    Raises:
        SchemaError: Integers and text are mixed; or an account id in a CSV is no integer
            where the other frames have integers.
    """
    kind = common_kind(columns)
    if kind is None:
        return [_nothing(column, pl.String()) for column in columns]
    if kind == "text":
        return [c.values if c.kind else _nothing(c, pl.String()) for c in columns]
    parsed = []
    for column in columns:
        integers = _integers(column, columns) if column.kind else _nothing(column, pl.Int64())
        if integers is None:  # a CSV's
            if is_account:
                raise _no_integer(column, columns)
            return [_as_text(column) for column in columns]  # such an id is simply not found
        parsed.append(integers)
    return _as_integers(parsed, is_account=is_account)


def _nothing(column: IdColumn, dtype: pl.DataType) -> pl.Series:
    """Return as many nulls as the column has rows."""
    return pl.Series(column.values.name, [None], dtype).new_from_index(0, len(column.values))


def _as_text(column: IdColumn) -> pl.Series:
    return column.values.cast(pl.String) if column.kind else _nothing(column, pl.String())


def _no_integer(column: IdColumn, columns: list[IdColumn]) -> SchemaError:
    masks = [_strange(column.values, dtype) for dtype in _integer_types(columns)]
    in_all = reduce(and_, masks)  # none, where each text is of some type, but all are of none
    row = int((in_all if in_all.any() else masks[0]).arg_true()[0])
    return SchemaError(
        f"{column.label}: {shown(column.values[row])} in row {row} is no integer as the ids of the "
        "other frames are; write plain integers, or give those frames text ids"
    )


def _as_integers(columns: list[pl.Series], *, is_account: bool) -> list[pl.Series]:
    if all(_fits(column.dtype, INT64) for column in columns):
        return [column.cast(pl.Int64) for column in columns]
    low, high = bounds(columns)
    if low >= INT64[0] and high <= INT64[1]:
        return [_as_int64(column) for column in columns]
    if is_account and low >= UINT64[0] and high <= UINT64[1]:
        return [column.cast(pl.UInt64).reinterpret(signed=True) for column in columns]
    return [column.cast(pl.String) for column in columns]


def _as_int64(column: pl.Series) -> pl.Series:
    """Return integers that fit Int64 in it; those of UInt64 have the same bits, so at no cost."""
    if column.dtype == pl.UInt64:
        return column.reinterpret(signed=True)
    return column.cast(pl.Int64)


def bounds(columns: list[pl.Series]) -> tuple[int, int]:
    """Return the least and the largest of the integers of some columns, and of 0."""
    values = [v for c in columns for v in (c.min(), c.max()) if isinstance(v, int)]
    return min(values, default=0), max(values, default=0)


def type_of_all(columns: list[IdColumn]) -> pl.DataType:
    """Return the type that ids come back in: one that holds the ids of all columns.

    That of the first column whose kind is that of the rows there are; a CSV has none of its
    own. Where it cannot hold an id of another column: String, or Int64.
    """
    kind = common_kind(columns)
    types = [column.dtype for column in columns if not column.is_csv]
    fitting = [t for t in types if _kind_of(t) and kind in (None, _kind_of(t))]
    filled = [column for column in columns if column.kind is not None]
    if kind == "integer":
        integers = [v for column in filled if (v := _integers(column, filled)) is not None]
        if len(integers) < len(filled):
            return pl.String()
        if fitting and all(_fits(v.dtype, _range(fitting[0])) for v in integers):
            return fitting[0]  # whatever the values are
        least, most = bounds(integers)
        for dtype in (*fitting[:1], pl.Int64()):
            low, high = _range(dtype)
            if low <= least and most <= high:
                return dtype
        return pl.String()
    if not fitting:
        return pl.String()
    first = fitting[0]
    if isinstance(first, pl.Enum):
        others = [c.values for c in filled if c.dtype != first]
        categories = set(first.categories) if others else set()
        held = (set(values.drop_nulls().unique().cast(pl.String)) for values in others)
        return first if all(ids <= categories for ids in held) else pl.String()
    return first


def _range(dtype: pl.DataType) -> tuple[int, int]:
    """Return the least and the largest value of an integer type."""
    name = str(dtype)
    bits = int(name.removeprefix("U").removeprefix("Int"))
    return (0, 2**bits - 1) if name[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _fits(dtype: pl.DataType, into: tuple[int, int]) -> bool:
    """Whether every value of an integer type lies between two others."""
    low, high = _range(dtype)
    return into[0] <= low and high <= into[1]


def share_codes(columns: list[IdColumn]) -> bool:
    """Whether ids of all columns are equal where their codes are: all are of one Enum, say.

    Then they are compared by code, and no category is looked at.
    """
    if not all(column.is_coded for column in columns):
        return False
    try:
        pl.concat([column.values.head(0) for column in columns])
    except pl.exceptions.SchemaError:
        return False
    return True


def in_type(ids: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return ids in the type that they come back in."""
    if ids.null_count() == len(ids):
        return pl.Series(ids.name, [None], dtype).new_from_index(0, len(ids))
    return ids.cast(dtype)
