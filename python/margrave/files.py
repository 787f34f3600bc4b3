"""Frames from files: Parquet and CSV, one or several whose rows count on.

A CSV has no types: what the schema knows is read as the text that is written. Columns that
`accounts` carries get a type only where that loses nothing, so `007` stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from margrave.errors import SchemaError
from margrave.schema import FRAMES

__all__ = ["CANONICAL", "is_csv", "is_path", "is_text", "read_files"]

#: Integers written without needless characters.
CANONICAL = r"^(0|-?[1-9][0-9]*)$"
DECIMAL = r"^-?(0|[1-9][0-9]*)\.[0-9]+$"


def is_path(source: object) -> bool:
    """Whether `source` names a file, or several."""
    if isinstance(source, (list, tuple)):
        return bool(source) and all(isinstance(path, (str, Path)) for path in source)
    return isinstance(source, (str, Path))


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it: not where it has half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_csv(source: object) -> bool:
    """Whether `source` names a CSV file, or several."""
    paths = source if isinstance(source, (list, tuple)) else [source]
    return any(isinstance(p, (str, Path)) and Path(p).suffix == ".csv" for p in paths)


def read_files(name: str, paths: Sequence[str | Path]) -> pl.DataFrame:
    """Return the rows of the files, one after another.

    Args:
        name: Which frame they hold.
        paths: `.parquet` or `.csv` files.

    Raises:
        SchemaError: A file cannot be read, or a column is not of one kind in all of them.
    """
    parts = [_read_file(name, Path(path)) for path in paths]
    whole = parts[0] if len(parts) == 1 else _join(name, parts, paths)
    if name == "accounts" and is_csv(paths):
        ids = {column.name for column in FRAMES.get(name, ())}
        return pl.DataFrame([c if c.name in ids else _carried(c) for c in whole])
    return whole


def _read_file(name: str, path: Path) -> pl.DataFrame:
    try:
        if not is_text(str(path)):
            raise ValueError("its name is no UTF-8 text; rename the file")
        if path.suffix == ".parquet":
            return pl.read_parquet(path, glob=False)
        if path.suffix == ".csv":
            return _read_csv(name, path)
    except (OSError, ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise SchemaError(f"{name}: {path} cannot be read: {error}") from error
    raise SchemaError(f"{name}: {path} is neither a .parquet nor a .csv file")


def _read_csv(name: str, path: Path) -> pl.DataFrame:
    """Read columns as text, as they are written; let Polars infer those that are ignored."""
    header = pl.read_csv(path, n_rows=1, has_header=False, infer_schema=False, glob=False).row(0)
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise ValueError(f"the column {twice[0][:80]!r} is there more than once")
    if name == "accounts":
        return pl.read_csv(path, infer_schema=False, glob=False)
    texts = {c.name: pl.String for c in FRAMES.get(name, ()) if c.name in header}
    return pl.read_csv(path, schema_overrides=texts, infer_schema_length=None, glob=False)


def _carried(texts: pl.Series) -> pl.Series:
    """Return a carried column of a CSV in a type that holds all that its texts say."""
    written = texts.drop_nulls()
    if written.is_empty():
        return texts
    if bool(written.str.contains(CANONICAL).all()):
        numbers = texts.cast(pl.Int64, strict=False)
        return numbers if numbers.null_count() == texts.null_count() else texts
    if bool((written.str.contains(DECIMAL) & (written.str.len_bytes() <= 16)).all()):
        return texts.cast(pl.Float64)
    if bool(written.is_in(["true", "false"]).all()):
        return texts == "true"
    return texts


def _join(name: str, parts: list[pl.DataFrame], paths: Sequence[str | Path]) -> pl.DataFrame:
    """Put parts together whose columns are of one kind each, in the order of the first part."""
    columns = parts[0].columns
    for part, path in zip(parts, paths, strict=True):
        if set(part.columns) != set(columns):
            other = sorted(set(part.columns) ^ set(columns))[0]
            raise SchemaError(f"{name}.{other}: not in all files (see {path})")
    joined = [_join_column(name, c, [part[c] for part in parts], paths) for c in columns]
    return pl.DataFrame(joined)


def _join_column(
    name: str, column: str, parts: list[pl.Series], paths: Sequence[str | Path]
) -> pl.Series:
    filled = [(p, path) for p, path in zip(parts, paths, strict=True) if p.null_count() < len(p)]
    kinds = {_kind(part.dtype): path for part, path in reversed(filled)}
    declared = {c.name: c.kind for c in FRAMES.get(name, ())}.get(column)
    if declared == "number":
        kinds = {"number" if k in ("integer", "float") else k: path for k, path in kinds.items()}
    if len(kinds) > 1:
        found = ", ".join(f"{kind} ({Path(path).name})" for kind, path in sorted(kinds.items()))
        raise SchemaError(f"{name}.{column}: not of one kind in all files: {found}; cast it")
    types = {part.dtype for part, _ in filled} or {parts[0].dtype}
    try:
        if len(types) > 1 and "text" in kinds:
            parts = [part.cast(pl.String) for part in parts]
        elif len(types) == 1:
            parts = [p if p.dtype in types else p.cast(next(iter(types))) for p in parts]
        frames = [pl.DataFrame([part.alias(column)]) for part in parts]
        return pl.concat(frames, how="vertical_relaxed").to_series()
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{name}.{column}: its files do not fit together: {error}") from error


def _kind(dtype: pl.DataType) -> str:
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "float"
    return "text" if isinstance(dtype, (pl.String, pl.Enum, pl.Categorical)) else str(dtype)
