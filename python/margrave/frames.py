"""Frames as users have them, read and checked against the schema.

`read` takes whatever holds rows and gives a Polars frame; `check` gives the columns that
the engine knows, in its types. Structure is settled here: a missing or mistyped column, a
near miss of a name, a word outside its list. Values are the core's to check.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from margrave import engine
from margrave.digits import lost
from margrave.errors import DataError, SchemaError
from margrave.files import is_csv, is_path, read_files
from margrave.schema import FRAMES, MISNOMERS, Column

__all__ = ["Frame", "check", "pick", "read", "require_unique", "shown"]

ROWS_SHOWN = 5
LETTERS_SHOWN = 80

#: Rows that are looked at first where all of a column must be alike.
ROWS_TRIED = 4096

#: The engine's types, by kind of column.
ENGINE: dict[str, Any] = {
    "number": pl.Float64,
    "word": pl.UInt8,
    "name": pl.String,
    "flag": pl.Boolean,
}

#: What pandas calls an index without a name when it hands over a frame: no column of the user.
INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True)
class Frame:
    """One input frame: `raw` as it came, `known` in the engine's types.

    `known` has no id columns: those are settled over several frames by `ids`. Optional
    columns that say nothing (all null, all default) are left out of it. `inexact` counts
    the values that lose digits as f64, by frame and column (`positions.quantity`).
    """

    name: str
    raw: pl.DataFrame
    known: pl.DataFrame
    is_csv: bool
    inexact: dict[str, int] = field(default_factory=dict)

    @cached_property
    def coded(self) -> frozenset[str]:
        """The columns of `raw` that are codes into categories."""
        return _coded(self.raw)

    def with_ids(self, **ids: pl.Series) -> pl.DataFrame:
        """Return `known` with id columns of these names after it, each in one chunk.

        Polars hands over chunks by its thread pool, which a forked child lacks.
        """
        columns = [*self.known.get_columns(), *(values.alias(name) for name, values in ids.items())]
        return pl.DataFrame([column.rechunk() for column in columns])


def read(name: str, source: object) -> pl.DataFrame:
    """Return the rows of `source` as a Polars frame.

    Args:
        name: What the frame is, for messages (`positions`).
        source: An object with `__arrow_c_stream__` (Polars, pandas, pyarrow, DuckDB), a
            `LazyFrame`, the path of a Parquet or CSV file, or a list of such paths, whose
            rows count on in that order.

    Raises:
        SchemaError: `source` is nothing of the kind, or a file that cannot be read.
    """
    if isinstance(source, (str, Path)):
        return read_files(name, [source])
    if isinstance(source, (list, tuple)) and is_path(source):
        return read_files(name, source)
    if isinstance(source, pl.DataFrame):
        return source.clone()  # which the caller may change in place without being seen here
    lazy = isinstance(source, pl.LazyFrame)
    if not lazy and (isinstance(source, pl.Series) or not hasattr(source, "__arrow_c_stream__")):
        raise SchemaError(
            f"{name}: {type(source).__name__} holds no frame; give a Polars, pandas, pyarrow or "
            "DuckDB frame, a LazyFrame, or the path of a .parquet or .csv file"
        )
    try:
        raw = source.collect() if isinstance(source, pl.LazyFrame) else engine.read_stream(source)
    except (Exception, pl.exceptions.PanicException) as error:
        what = "LazyFrame cannot be collected" if lazy else "Arrow stream cannot be read"
        raise SchemaError(f"{name}: its {what}: {error}") from error
    return raw if lazy else _owned(name, raw)


def _owned(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return a producer's frame with the numbers that are read in memory of its own.

    What comes over a stream may be NumPy's memory, which its owner may still write to.
    """
    columns = {c.name: c for c in frame if not INDEX.fullmatch(c.name)}
    known = columns if name == "accounts" else {c.name for c in FRAMES.get(name, ())}
    numbers = {
        n: c
        for n, c in columns.items()
        if n in known and (c.dtype.is_integer() or c.dtype.is_float())
    }
    copies = {name: c.zip_with(c.is_not_null(), c) for name, c in numbers.items()}
    return pl.DataFrame(columns | copies)


def pick(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return columns of a frame: without Polars' thread pool, which a forked child lacks."""
    return pl.DataFrame({column: frame[column] for column in columns})


def shown(value: object) -> str:
    """Return a value as messages show it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LETTERS_SHOWN else f"{text[: LETTERS_SHOWN - 3]}..."


def check(name: str, source: object, *, only: frozenset[str] | None = None) -> Frame:
    """Return `source` with the columns that the engine knows, in its types.

    Args:
        name: Which frame of the schema it is.
        source: What `read` takes.
        only: The columns that are needed; all of the schema by default. Others may be
            missing then, and are left out.

    Raises:
        SchemaError: A required column is missing or has the wrong type, an unknown column
            is a near miss of a known name, or a word is outside its list.
    """
    raw, from_csv = _with_integer_ids(name, read(name, source)), is_csv(source)
    columns = [c for c in FRAMES[name] if only is None or c.name in only]
    _require(name, raw, columns)
    known: list[pl.Series] = []
    inexact: dict[str, int] = {}
    for column in columns:
        if column.kind == "id" or column.name not in raw.columns:
            continue
        series = raw[column.name]
        if from_csv and column.kind in ("number", "flag", "word", "time"):
            series = _parsed(name, column, series)
        if column.kind == "time":
            _check_times(name, column, series)
            continue
        typed = _typed(name, column, series)
        if typed is not None:
            known.append(typed)
        if column.kind == "number" and (count := lost(raw[column.name])):
            inexact[f"{name}.{column.name}"] = count
    return Frame(name, raw, pl.DataFrame(known), from_csv, inexact)


def _coded(raw: pl.DataFrame) -> frozenset[str]:
    """Return which columns are Enums or Categoricals.

    Not by their types: whenever that of an Enum is asked for, Polars looks through all of its
    categories, and ids can have as many as there are accounts.
    """
    return frozenset(raw.head(0).select_seq(cs.enum() | cs.categorical()).columns)


def _with_integer_ids(name: str, raw: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with ids of Decimals without decimals, as DuckDB has HUGEINT, as Int128."""
    present = set(raw.columns) - _coded(raw)
    ids = [raw[c.name] for c in FRAMES[name] if c.kind == "id" and c.name in present]
    whole = {
        values.name: values.cast(pl.Int128)
        for values in ids
        if isinstance(dtype := values.dtype, pl.Decimal) and dtype.scale == 0
    }
    return pl.DataFrame({c.name: c for c in raw} | whole) if whole else raw


def _require(name: str, raw: pl.DataFrame, columns: Sequence[Column]) -> None:
    """Refuse missing columns and near misses, all at once."""
    faults = []
    names = raw.columns
    present = set(names)
    if name != "accounts":
        faults = [
            f"{name}.{unknown}: no such column; did you mean {meant}?"
            for unknown in names
            if (meant := near_miss(name, unknown, present)) is not None
        ]
    missing = [c.name for c in columns if c.required and c.name not in present]
    faults += [f"{name}.{column}: this required column is missing" for column in missing]
    if faults:
        have = ", ".join(names[:30]) or "none"
        faults.append(f"hint: {name} has the columns {have}")
        raise SchemaError("\n".join(faults))


def near_miss(name: str, unknown: str, present: Collection[str]) -> str | None:
    """Return the known column that `unknown` was meant to be, if it is so near to one.

    Near is: the same first letter, and at most two letters inserted, deleted or replaced
    (one, for names of up to five letters), in lower case; or a usual name of other systems
    (`qty`). Only columns that the frame lacks are meant.
    """
    known = [column.name for column in FRAMES[name]]
    if unknown in known:
        return None
    lacking = [column for column in known if column not in present]
    lower = unknown.lower()
    if MISNOMERS.get(lower) in lacking:
        return MISNOMERS[lower]
    near = []
    for column in lacking:
        limit = 1 if len(column) <= 5 else 2
        edits = _edits(lower, column, limit) if lower[:1] == column[0] else limit + 1
        if edits <= limit:
            near.append((edits, column))
    return min(near, key=lambda found: found[0])[1] if near else None


def _edits(one: str, other: str, limit: int) -> int:
    """Return how many letters to insert, delete or replace, or more than `limit` at once."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def _parsed(name: str, column: Column, texts: pl.Series) -> pl.Series:
    """Return what the texts of a CSV say, in the type that the column has elsewhere."""
    if texts.dtype != pl.String:
        return texts
    texts = texts.set(texts == "", None)
    if column.kind in ("word", "time"):
        return texts
    if column.kind == "number":
        values, wanted = texts.cast(pl.Float64, strict=False), "numbers"
    else:
        lower = texts.str.to_lowercase()
        values = (lower == "true").set((lower != "true") & (lower != "false"), None)
        wanted = "true or false"
    bad = (values.is_null() & texts.is_not_null()).arg_true()
    if len(bad):
        rows = ", ".join(str(row) for row in bad[:ROWS_SHOWN])
        raise SchemaError(
            f"{name}.{column.name}: {len(bad)} values are not {wanted} "
            f"(first: {shown(texts[int(bad[0])])}; rows {rows}); write them plainly"
        )
    return values


def _typed(name: str, column: Column, series: pl.Series) -> pl.Series | None:
    """Return the column in the engine's type; None where it says nothing.

    A column of nulls has any type, but a required one must have a type if it has rows.
    """
    if series.null_count() == len(series):
        if column.required and len(series) and series.dtype == pl.Null:
            raise SchemaError(
                f"{name}.{column.name}: all {len(series)} values are null and the column has no "
                "type; fill it in"
            )
        if not column.required:
            return None
        return pl.Series(column.name, [None], ENGINE[column.kind]).new_from_index(0, len(series))
    if column.kind == "number":
        values = _number(name, column, series)
    elif column.kind == "word":
        values = _word(name, column, series)
    elif column.kind == "name":
        return _name(name, column, series)
    elif series.dtype == pl.Boolean:
        values = series
    else:
        raise _mistyped(name, column, series, "Boolean")
    return values if column.required else _filled(column, values)


def _check_times(name: str, column: Column, series: pl.Series) -> None:
    """Refuse what is no time. Times enter no figure, so they are looked at and left.

    Raises:
        SchemaError: The type is neither Date nor Datetime nor text.
        DataError: A text is no ISO date or time.
    """
    says_nothing = series.null_count() == len(series)  # then it has any type
    if says_nothing or isinstance(series.dtype, (pl.Date, pl.Datetime)):
        return
    if not isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical)):
        raise _mistyped(name, column, series, "Date, Datetime or ISO text")
    known: dict[str, bool] = {}
    bad = [
        row
        for row, text in enumerate(series.cast(pl.String).to_list())
        if text is not None and not known.setdefault(text, _is_time(text))
    ]
    if bad:
        rows = ", ".join(str(row) for row in bad[:ROWS_SHOWN])
        raise DataError(
            f"{name}.{column.name}: {len(bad)} values are no ISO date or time "
            f"(first: {shown(series[bad[0]])}; rows {rows}); write 2026-12-25 or "
            "2026-12-25T08:00:00Z"
        )


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _filled(column: Column, values: pl.Series) -> pl.Series | None:
    """Return the values with the default for null; None where there is nothing else."""
    default: Any = column.default
    if default is None:
        return values
    if column.kind == "word":
        default = column.words.index(default)
    if values.null_count():
        values = values.set(values.is_null(), default)
    says_nothing = all(
        bool((part == default).all()) for part in (values.head(ROWS_TRIED), values)
    )  # a look at the first rows spares most columns the long one
    return None if says_nothing else values


def _mistyped(name: str, column: Column, series: pl.Series, wanted: str) -> SchemaError:
    return SchemaError(
        f"{name}.{column.name}: its type is {series.dtype}, not {wanted}; cast the column"
    )


def _number(name: str, column: Column, series: pl.Series) -> pl.Series:
    if not series.dtype.is_numeric():
        raise _mistyped(name, column, series, "a number (integer, float or Decimal)")
    return series.cast(pl.Float64)


def _word(name: str, column: Column, series: pl.Series) -> pl.Series:
    """Return the number of each word in the column's list."""
    if not isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical)):
        raise _mistyped(name, column, series, "text, one of " + ", ".join(column.words))
    codes = series.cast(pl.Enum(column.words), strict=False)
    bad = (codes.is_null() & series.is_not_null()).arg_true()
    if len(bad):
        rows = ", ".join(str(row) for row in bad[:ROWS_SHOWN])
        raise SchemaError(
            f"{name}.{column.name}: {len(bad)} values are none of {', '.join(column.words)} "
            f"(first: {shown(series[int(bad[0])])}; rows {rows})"
        )
    return codes.to_physical().cast(pl.UInt8).rename(column.name)


def _name(name: str, column: Column, series: pl.Series) -> pl.Series:
    if series.dtype.is_integer():
        return series.cast(pl.String)
    if not isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical)):
        raise _mistyped(name, column, series, "text or integer")
    return series


def require_unique(name: str, ids: pl.Series) -> None:
    """Refuse ids that occur twice where they are the key of the frame.

    Raises:
        SchemaError: Naming the first ids that do, with their rows.
    """
    if ids.null_count() == len(ids):
        return
    twice = (ids.is_duplicated() & ids.is_not_null()).arg_true()
    if not len(twice):
        return
    first = ids[int(twice[0])]
    rows = ", ".join(str(row) for row in (ids == first).arg_true()[:ROWS_SHOWN])
    count = ids.gather(twice).n_unique()
    raise SchemaError(
        f"{name}.{ids.name}: {count} ids occur more than once (first: {shown(first)}, "
        f"rows {rows}); it is the frame's key, so keep one row of each"
    )
