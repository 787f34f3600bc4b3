"""Faults: ways to spoil a sound night, one at a time or many at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from fuzz.draw import Draw
from fuzz.night import Night
from margrave.schema import FRAMES, MISNOMERS

__all__ = ["junk_series", "spoil", "spoil_rules"]

BOOK = ("positions", "balances", "positions", "balances", "accounts", "instruments", "assets")
NOTHING: tuple[Any, ...] = (
    *(None, 5, [], [1], {}, "positions", "no such.parquet", "p.txt", pl.Series([1]), b"x", object),
    *(["a.csv", 3], {"account_id": [1]}, "\x00.csv", ".parquet", "x" * 5000 + ".csv", ["."]),
)

#: What Polars raises where a frame cannot be spoilt in some way, being spoilt in another.
OF_POLARS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)

#: Types of columns, each with values that it may hold.
TYPES: tuple[tuple[Any, tuple[Any, ...]], ...] = (
    (pl.Null, (None,)),
    *((dtype, (0, 1, 100, None)) for dtype in (pl.Int8, pl.UInt8, pl.Int64, pl.Int128)),
    (pl.UInt64, (0, 2**64 - 1, None)),
    (pl.Float16, (0.0, 1.5, None)),
    (pl.Float32, (0.0, 1.5, float("nan"), float("inf"), None)),
    (pl.Float64, (0.0, 1e18, float("nan"), -float("inf"), None)),
    (pl.Decimal(38, 0), (Decimal(0), Decimal(10**37), None)),
    (pl.Decimal(38, 37), (Decimal("0.1"), Decimal("1e-37"), None)),
    (pl.Boolean, (True, False, None)),
    (pl.String, ("", "1", "cross", "linear", "\x00", None)),
    (pl.Binary, (b"", b"\xff\xfe", None)),
    (pl.Date, (date(2026, 1, 1), date.min, None)),
    (pl.Datetime("ns", "UTC"), (datetime(2026, 1, 1), None)),
    (pl.Datetime("ms"), (datetime(2026, 1, 1), None)),
    (pl.Duration("us"), (timedelta(1), None)),
    (pl.Time, (time(1, 2), None)),
    (pl.List(pl.Int8), ([], [1], None)),
    (pl.List(pl.String), (["a"], [None], None)),
    (pl.Array(pl.Float64, 2), ([1.0, 2.0], None)),
    (pl.Struct({"a": pl.Int8, "b": pl.String}), ({"a": 1, "b": "x"}, {"a": None, "b": None}, None)),
    (pl.Enum(["a", "b", "linear", "cross"]), ("a", "cross", None)),
    (pl.Enum([]), (None,)),
    (pl.Categorical, ("a", "isolated", "", None)),
    (pl.Object, (object(), None)),
)


def junk_series(draw: Draw, name: str, rows: int) -> pl.Series:
    """Return a column of any type at all."""
    dtype, values = draw.one(TYPES)
    if draw.chance(0.2):
        values = (draw.one(values),)
    return pl.Series(name, [draw.one(values) for _ in range(rows)], dtype=dtype)


def spoil(draw: Draw, night: Night, name: str = "", frame: Any = None) -> str:
    """Put one fault (or what looks like one) into the night; return its name.

    Args:
        draw: What is drawn from.
        night: Whose frame is replaced.
        name: Which frame; any of a book and its market by default.
        frame: What it is spoilt from; what the night has by default.
    """
    fault = draw.one(FAULTS)
    name = name or draw.one(BOOK)
    frame = night.frames.get(name) if frame is None else frame
    if isinstance(frame, pl.DataFrame):
        night.frames[name] = frame
        try:
            night.frames[name] = fault(draw, name, frame)
        except (TypeError, ValueError, OverflowError, *OF_POLARS):
            return f"{name} {fault.__name__} (not to be had)"
    return f"{name} {fault.__name__}"


def _value(draw: Draw, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Replace one value of a number column, or null any."""
    if not frame.height or not frame.width:
        return frame
    numbers = {c.name for c in FRAMES[name] if c.kind == "number"}
    column = draw.one(frame.columns)
    row = draw.upto(0, frame.height - 1)
    values = frame[column].to_list()
    if column in numbers:
        values[row] = draw.number()
        return frame.with_columns(pl.Series(column, map(_double, values), dtype=pl.Float64))
    values[row] = None
    return frame.with_columns(pl.Series(column, values, dtype=frame.schema[column]))


def _double(value: Any) -> float | None:
    return None if value is None else float(value)


def _unknown_id(draw: Draw, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Replace one id by another, which may be listed nowhere."""
    ids = [c.name for c in FRAMES[name] if c.kind == "id" and c.name in frame.columns]
    if not frame.height or not ids:
        return frame
    column = draw.one(ids)
    values = [value if value is None else str(value) for value in frame[column].to_list()]
    row = draw.upto(0, frame.height - 1)
    if frame.schema[column].is_integer():
        numbers = [value if value is None else int(value) for value in values]
        numbers[row] = draw.one((7, -1, 2**63, 2**64 - 1, None))
        return frame.with_columns(pl.Series(column, numbers, dtype=pl.Int128))
    values[row] = draw.text()
    return frame.with_columns(pl.Series(column, values, dtype=pl.String))


def _typed(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Cast one column to another type; what does not fit becomes null."""
    if not frame.width:
        return frame
    column = draw.one(frame.columns)
    dtype, _values = draw.one(TYPES)
    try:
        return frame.with_columns(frame[column].cast(dtype, strict=False))
    except (pl.exceptions.PolarsError, TypeError):
        return frame.with_columns(junk_series(draw, column, frame.height))


def _junk_column(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    if not frame.width:
        return frame
    return frame.with_columns(junk_series(draw, draw.one(frame.columns), frame.height))


def _missing(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop(draw.one(frame.columns)) if frame.width else frame


def _renamed(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    if not frame.width:
        return frame
    column = draw.one(frame.columns)
    middle = draw.upto(0, len(column))
    names = [column.upper(), column + "s", column[:middle] + column[middle + 1 :], draw.text()]
    names += [other for other, meant in MISNOMERS.items() if meant == column]
    name = draw.one([*names, f"{column}\x00", f" {column}"])
    return frame if name in frame.columns else frame.rename({column: name})


def _extra(draw: Draw, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    known = [c.name for columns in FRAMES.values() for c in columns]
    added = draw.one([draw.text(), draw.one(known), "status", "bucket_id", "equity", "kind"])
    return frame.with_columns(junk_series(draw, added, frame.height))


def _many(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    count = 10_000 if draw.chance(0.01) else draw.upto(20, 200)
    column = junk_series(draw, "x", frame.height)
    return frame.with_columns([column.alias(f"{draw.text()} {i}") for i in range(count)])


def _columns_moved(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(draw.sample(frame.columns, frame.width))


def _rows_moved(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame[draw.some(range(frame.height), 0, 2 * frame.height)] if frame.height else frame


def _emptied(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    kind = draw.upto(0, 3)
    if kind == 0:
        return frame.clear()
    if kind == 1:
        return pl.DataFrame(schema=dict.fromkeys(frame.columns, draw.one(TYPES)[0]))
    if kind == 2:
        return pl.DataFrame()
    return pl.DataFrame({name: pl.Series([None] * frame.height) for name in frame.columns})


def _no_frame(draw: Draw, _: str, frame: pl.DataFrame) -> Any:
    return draw.one(NOTHING)


def _row_gone(draw: Draw, _: str, frame: pl.DataFrame) -> pl.DataFrame:
    row = draw.upto(0, max(0, frame.height - 1))
    return pl.concat([frame[:row], frame[row + 1 :]], rechunk=draw.chance(0.5))


FAULTS: list[Callable[[Draw, str, pl.DataFrame], Any]] = [
    *(_value, _value, _value, _value, _unknown_id, _unknown_id, _typed, _typed, _junk_column),
    *(_missing, _renamed, _extra, _extra, _many, _columns_moved, _rows_moved, _rows_moved),
    *(_emptied, _no_frame, _row_gone, _row_gone),
]


def spoil_rules(draw: Draw, rules: dict[str, Any]) -> Any:
    """Return the content of a ruleset with something in it replaced, added or taken away."""
    if draw.chance(0.03):
        return draw.junk()
    for _ in range(draw.upto(1, 2)):
        place: Any = rules
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw.one(keys) if keys else None
            inner = place[key] if keys else None
            if key is None or not isinstance(inner, (dict, list)) or draw.chance(0.15):
                break
            place = inner
        if isinstance(place, list):
            place[key if key is not None else 0 :] = [draw.junk()] if draw.chance(0.7) else []
        elif draw.chance(0.2) or key is None:
            place[draw.text()] = draw.junk()
        elif draw.chance(0.2):
            del place[key]
        else:
            place[key] = draw.number() if draw.chance(0.5) else draw.junk()
    return rules
