"""Frames as users have them, read and checked against the schema.

`read` takes whatever holds rows and gives a Polars frame; `check` gives the columns that
the engine knows, in its types. Structure is settled here: a missing or mistyped column, a
near miss of a name, a word outside its list. Values are the core's to check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from margrave.errors import SchemaError
from margrave.schema import FRAMES, MISNOMERS, Column

__all__ = ["Frame", "check", "read", "require_unique"]

ROWS_SHOWN = 5


@dataclass(frozen=True)
class Frame:
    """One input frame: `raw` as it came, `known` in the engine's types.

    `known` has no id columns: those are settled over several frames by `ids`. Optional
    columns that say nothing (all null, all default) are left out of it.
    """

    name: str
    raw: pl.DataFrame
    known: pl.DataFrame
    is_csv: bool

    def with_ids(self, **ids: pl.Series) -> pl.DataFrame:
        """Return `known` with id columns of these names after it."""
        columns = [values.alias(name) for name, values in ids.items()]
        return pl.DataFrame([*self.known.get_columns(), *columns])


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
        return _read_file(name, Path(source))
    if isinstance(source, (list, tuple)) and source and _are_paths(source):
        parts = [_read_file(name, Path(path)) for path in source]
        try:
            return pl.concat(parts, how="vertical_relaxed")
        except pl.exceptions.PolarsError as error:
            raise SchemaError(f"{name}: its files do not fit together: {error}") from error
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, pl.Series) or not hasattr(source, "__arrow_c_stream__"):
        raise SchemaError(
            f"{name}: {type(source).__name__} holds no frame; give a Polars, pandas, pyarrow or "
            "DuckDB frame, a LazyFrame, or the path of a .parquet or .csv file"
        )
    try:
        return pl.DataFrame(source)
    except (pl.exceptions.PolarsError, TypeError, ValueError, pl.exceptions.PanicException) as e:
        raise SchemaError(f"{name}: its Arrow stream cannot be read: {e}") from e


def _are_paths(source: Sequence[Any]) -> bool:
    return all(isinstance(path, (str, Path)) for path in source)


def _is_csv(source: object) -> bool:
    paths = source if isinstance(source, (list, tuple)) else [source]
    return any(isinstance(p, (str, Path)) and Path(p).suffix == ".csv" for p in paths)


def _read_file(name: str, path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path, glob=False)
        if path.suffix == ".csv":
            return _read_csv(name, path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"{name}: {path} cannot be read: {error}") from error
    raise SchemaError(f"{name}: {path} is neither a .parquet nor a .csv file")


def _read_csv(name: str, path: Path) -> pl.DataFrame:
    """Read ids, names and words as text; let Polars infer the rest from all rows."""
    texts = {c.name: pl.String for c in FRAMES[name] if c.kind in ("id", "name", "word")}
    header = pl.read_csv(path, n_rows=0, infer_schema=False, glob=False).columns
    overrides = {column: pl.String for column in header if column in texts}
    return pl.read_csv(path, schema_overrides=overrides, infer_schema_length=None, glob=False)


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
    raw = read(name, source)
    columns = [c for c in FRAMES[name] if only is None or c.name in only]
    _require(name, raw, columns)
    known: list[pl.Series] = []
    for column in columns:
        if column.kind in ("id", "free") or column.name not in raw.columns:
            continue
        series = _typed(name, column, raw[column.name])
        if series is not None:
            known.append(series)
    return Frame(name, raw, pl.DataFrame(known), _is_csv(source))


def _require(name: str, raw: pl.DataFrame, columns: Sequence[Column]) -> None:
    """Refuse missing columns and near misses, all at once."""
    faults = []
    if name != "accounts":
        faults = [
            f"{name}.{unknown}: no such column; did you mean {meant}?"
            for unknown in raw.columns
            if (meant := near_miss(name, unknown, raw.columns)) is not None
        ]
    missing = [c.name for c in columns if c.required and c.name not in raw.columns]
    faults += [f"{name}.{column}: this required column is missing" for column in missing]
    if faults:
        have = ", ".join(raw.columns[:30]) or "none"
        faults.append(f"hint: {name} has the columns {have}")
        raise SchemaError("\n".join(faults))


def near_miss(name: str, unknown: str, present: Sequence[str]) -> str | None:
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
    for column in lacking:
        limit = 1 if len(column) <= 5 else 2
        if lower[:1] == column[0] and _edits(lower, column, limit) <= limit:
            return column
    return None


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


def _typed(name: str, column: Column, series: pl.Series) -> pl.Series | None:
    """Return the column in the engine's type; None where it says nothing."""
    if series.is_empty():
        return _empty(column)
    if series.dtype == pl.Null:
        if column.required:
            raise SchemaError(
                f"{name}.{column.name}: all {len(series)} values are null and the column has no "
                "type; fill it in"
            )
        return None
    if column.kind == "number":
        return _number(name, column, series)
    if column.kind == "word":
        return _word(name, column, series)
    if column.kind == "name":
        return _name(name, column, series)
    if series.dtype != pl.Boolean:
        raise _mistyped(name, column, series, "Boolean")
    return series


def _empty(column: Column) -> pl.Series | None:
    if not column.required:
        return None
    types: dict[str, Any] = {"number": pl.Float64, "word": pl.UInt8, "name": pl.String}
    return pl.Series(column.name, [], dtype=types[column.kind])


def _mistyped(name: str, column: Column, series: pl.Series, wanted: str) -> SchemaError:
    return SchemaError(
        f"{name}.{column.name}: its type is {series.dtype}, not {wanted}; cast the column"
    )


def _number(name: str, column: Column, series: pl.Series) -> pl.Series | None:
    if not series.dtype.is_numeric():
        raise _mistyped(name, column, series, "a number (integer, float or Decimal)")
    series = series.cast(pl.Float64)
    if column.required:
        return series
    if series.null_count() == len(series):
        return None
    if column.default is None:
        return series
    series = series.fill_null(column.default)
    return None if bool((series == column.default).all()) else series


def _word(name: str, column: Column, series: pl.Series) -> pl.Series | None:
    if not isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical)):
        raise _mistyped(name, column, series, "text, one of " + ", ".join(column.words))
    codes = series.cast(pl.Enum(column.words), strict=False)
    bad = (codes.is_null() & series.is_not_null()).arg_true()
    if len(bad):
        rows = ", ".join(str(row) for row in bad[:ROWS_SHOWN])
        word = series[int(bad[0])]
        raise SchemaError(
            f"{name}.{column.name}: {len(bad)} values are none of {', '.join(column.words)} "
            f"(first: {word!r}; rows {rows})"
        )
    if column.default is not None:
        codes = codes.fill_null(column.default)
        if bool((codes == column.default).all()):
            return None
    return codes.to_physical().cast(pl.UInt8).rename(column.name)


def _name(name: str, column: Column, series: pl.Series) -> pl.Series | None:
    if series.dtype.is_integer():
        series = series.cast(pl.String)
    if not isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical)):
        raise _mistyped(name, column, series, "text or integer")
    if not column.required and series.null_count() == len(series):
        return None
    return series


def require_unique(name: str, ids: pl.Series) -> None:
    """Refuse ids that occur twice where they are the key of the frame.

    Raises:
        SchemaError: Naming the first ids that do, with their rows.
    """
    twice = (ids.is_duplicated() & ids.is_not_null()).arg_true()
    if not len(twice):
        return
    first = ids[int(twice[0])]
    rows = ", ".join(str(row) for row in (ids == first).arg_true()[:ROWS_SHOWN])
    count = ids.gather(twice).n_unique()
    raise SchemaError(
        f"{name}.{ids.name}: {count} ids occur more than once (first: {first!r}, rows {rows}); "
        "it is the frame's key, so keep one row of each"
    )
