"""The same rows in other hands: chunks, slices, other producers, and streams that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]

from fuzz.draw import Draw

__all__ = ["chunked", "hostile", "produced"]

#: How many columns of a frame get another type: it takes time by their square.
MOST = 30


def chunked(draw: Draw, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same rows as chunks, as a slice of more rows, or with chunks by column."""
    if not frame.width or frame.height < 2:
        return frame
    try:
        return _cut(draw, frame)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):  # it cannot be cut like that
        return frame


def _cut(draw: Draw, frame: pl.DataFrame) -> pl.DataFrame:
    kind = draw.upto(0, 3)
    if kind == 0:
        return pl.concat(list(frame.iter_slices(draw.upto(1, 3))), rechunk=False)
    if kind == 1:
        around = [frame.reverse(), frame, frame]
        return pl.concat(around, rechunk=draw.chance(0.5))[frame.height : 2 * frame.height]
    if kind == 2:
        cuts = [draw.upto(1, frame.height - 1) for _ in frame.columns]
        pairs = zip(frame, cuts, strict=True)
        return pl.DataFrame([pl.concat([c[:cut], c[cut:]], rechunk=False) for c, cut in pairs])
    return frame.rechunk()


def _require_names(frame: Any) -> None:
    """Refuse names over which Polars, asked for its stream, aborts the process."""
    if isinstance(frame, pl.DataFrame) and any("\x00" in name for name in frame.columns):
        raise ValueError("a column has NUL in its name")


class Stream:
    """A producer that nobody has heard of: it shows its Arrow stream, and that once."""

    def __init__(self, source: Any) -> None:
        _require_names(source)
        self.sources = [source]

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return self.sources.pop().__arrow_c_stream__()


def produced(draw: Draw, frame: pl.DataFrame) -> tuple[Any, bool]:
    """Return the frame as another producer has it, and whether NaN has become null on the way.

    Where a producer cannot hold the frame, Polars' own is returned.
    """
    name, make = draw.one(PRODUCERS)
    try:
        return make(draw, frame), name == "pandas"
    except (Exception, pl.exceptions.PanicException):  # the producer's: it has no such type
        return frame, False


def _arrow(draw: Draw, frame: pl.DataFrame) -> Any:
    table = frame.to_arrow()
    if draw.chance(0.5):
        for number, field in enumerate([*table.schema][:MOST]):
            column = _retyped(draw, field, table.column(number))
            table = table.set_column(number, field.name, column)
    if draw.chance(0.3) and table.num_rows > 1:
        around = pa.concat_tables([table, table, table])
        table = around.slice(table.num_rows, table.num_rows)
    return table


def _retyped(draw: Draw, field: Any, column: Any) -> Any:
    """Return the same values in another Arrow type, texts and numbers both."""
    if pa.types.is_large_string(field.type) or pa.types.is_string_view(field.type):
        kinds = [pa.string(), pa.large_string(), pa.string_view()]
        kinds.append(pa.dictionary(draw.one([pa.int8(), pa.int32(), pa.uint16()]), pa.string()))
        return column.cast(draw.one(kinds))
    if pa.types.is_float64(field.type) and draw.chance(0.2):
        kinds = [pa.float32(), pa.decimal128(38, 9), pa.decimal256(60, 9)]
        other = column.cast(draw.one(kinds), safe=False)
        return other if other.cast(pa.float64()).equals(column) else column
    return column


def _dictionary(draw: Draw, frame: pl.DataFrame) -> Any:
    """Return text columns as dictionaries whose nulls are in the keys or in the values."""
    table = frame.to_arrow()
    for number, column in enumerate(frame.get_columns()[:MOST]):
        if column.dtype == pl.String:
            distinct = column.unique(maintain_order=True).drop_nulls().to_list()
            values = [*distinct, None, "unused"]
            place = {value: at for at, value in enumerate(values)}
            if draw.chance(0.5):
                place.pop(None)
            keys = pa.array(
                [place.get(value) for value in column], draw.one([pa.int8(), pa.int64()])
            )
            array = pa.DictionaryArray.from_arrays(keys, pa.array(values, pa.string()))
            table = table.set_column(number, column.name, array)
    return table


PRODUCERS: list[tuple[str, Callable[[Draw, pl.DataFrame], Any]]] = [
    ("LazyFrame", lambda _, frame: frame.lazy()),
    ("pyarrow", _arrow),
    ("pyarrow", _arrow),
    ("dictionary", _dictionary),
    ("reader", lambda draw, frame: frame.to_arrow().to_reader(max_chunksize=draw.upto(1, 3))),
    ("stream", lambda _, frame: Stream(frame)),
    ("stream", lambda draw, frame: Stream(_arrow(draw, frame))),
    ("pandas", lambda _, frame: frame.to_pandas()),
    ("DuckDB", lambda _, frame: duckdb.from_arrow(frame.to_arrow())),
]


def hostile(draw: Draw, frame: pl.DataFrame) -> Any:
    """Return what shows a stream that fails, lies or ends early, so far as pyarrow lets us."""
    try:
        return draw.one(HOSTILE)(draw, frame)
    except (Exception, pl.exceptions.PanicException):  # pyarrow's: it does not let us
        return frame


class _Shows:
    """An object whose stream is whatever a function returns."""

    def __init__(self, show: Callable[[], Any]) -> None:
        self._show = show

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return self._show()


def _raising(draw: Draw, _: pl.DataFrame) -> Any:
    errors = [RuntimeError("the cable is cut"), MemoryError(), KeyError("x"), StopIteration()]
    errors += [AssertionError(), OSError(5, "broken"), UnicodeError("u"), RecursionError()]
    error = draw.one(errors)

    def show() -> Any:
        raise error

    return _Shows(show)


def _no_capsule(draw: Draw, frame: pl.DataFrame) -> Any:
    given = draw.one([None, 5, "capsule", [], pa.schema([]).__arrow_c_schema__(), object()])
    return _Shows(lambda: given)


def _used_capsule(_: Draw, frame: pl.DataFrame) -> Any:
    _require_names(frame)
    capsule = frame.__arrow_c_stream__()
    pl.DataFrame(_Shows(lambda: capsule))
    return _Shows(lambda: capsule)


def _broken_reader(draw: Draw, frame: pl.DataFrame) -> Any:
    table = frame.to_arrow()
    batches = table.to_batches(max_chunksize=2)
    other = pa.record_batch([pa.array([1, 2])], names=["other"])

    def yielding() -> Iterator[Any]:
        yield from batches
        if draw.chance(0.5):
            raise ValueError("the cable is cut")
        yield other

    return pa.RecordBatchReader.from_batches(table.schema, yielding())


def _closed_reader(_: Draw, frame: pl.DataFrame) -> Any:
    reader = frame.to_arrow().to_reader()
    reader.close()
    return reader


def _duplicated(draw: Draw, frame: pl.DataFrame) -> Any:
    table = frame.to_arrow()
    if not frame.width:
        return table
    name = draw.one(frame.columns)
    return table.append_column(name, table.column(name))


def _array(draw: Draw, frame: pl.DataFrame) -> Any:
    """Return a stream that is no table: a column alone."""
    column = frame.to_arrow().column(0) if frame.width else pa.chunked_array([pa.array([1])])
    return draw.one([column, pa.chunked_array([], pa.int64()), pl.Series([1, 2])])


def _odd_types(draw: Draw, frame: pl.DataFrame) -> Any:
    """Return the frame with a column of a type that Polars lacks or reads in its own way."""
    table = frame.to_arrow()
    if not frame.width:
        return table
    number = draw.upto(0, frame.width - 1)
    rows = frame.height
    column = draw.one(
        [
            pa.array([{"a": 1}] * rows, pa.struct([("a", pa.int8())])),
            pa.array([[("k", 1)]] * rows, pa.map_(pa.string(), pa.int8())),
            pa.array([1] * rows, pa.decimal32(5, 2)),
            pa.array([1] * rows, pa.decimal64(10, 2)),
            pa.array([1] * rows, pa.decimal256(70, 2)),
            pa.array([b"ab"] * rows, pa.binary(2)),
            pa.array([1.5] * rows, pa.float16()),
            pa.array([(1, 2, 3)] * rows, pa.month_day_nano_interval()),
            pa.array([None] * rows, pa.null()),
            pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), pa.array([7])),
            pa.DictionaryArray.from_arrays(pa.array([None] * rows, pa.int8()), pa.array(["x"])),
            pa.RunEndEncodedArray.from_arrays(
                pa.array([rows] if rows else [], pa.int32()), pa.array(["x"] if rows else [])
            ),
            pa.array([["a"]] * rows, pa.list_view(pa.string())),
            pa.array([0] * rows, pa.time32("s")),
            pa.array([0] * rows, pa.date64()),
        ]
    )
    return table.set_column(number, frame.columns[number], column)


def _broken_memory(draw: Draw, frame: pl.DataFrame) -> Any:
    """Return the frame with a column that breaks Arrow's own contract: text that is no UTF-8,
    keys beyond their dictionary, views of a buffer that is not there."""
    table, rows = frame.to_arrow(), frame.height
    if not frame.width or not rows:
        return table
    number = draw.upto(0, frame.width - 1)
    kind = draw.upto(0, 2)
    if kind == 0:
        texts = pa.array([b"\xff\xfe", *[b"a"] * (rows - 1)], pa.binary())
        column = pa.StringArray.from_buffers(rows, *texts.buffers()[1:])
    elif kind == 1:
        keys = pa.array([draw.one((99, -3)), *[0] * (rows - 1)], draw.one((pa.int8(), pa.int64())))
        column = pa.DictionaryArray.from_arrays(keys, pa.array(["a", "b"]), safe=False)
    else:
        view = b"\x40\0\0\0abcd\3\0\0\0\0\0\0\0"
        buffers = [None, pa.py_buffer(view * rows), pa.py_buffer(b"abcde")]
        column = pa.Array.from_buffers(pa.string_view(), rows, buffers)
    return table.set_column(number, frame.columns[number], column)


HOSTILE: list[Callable[[Draw, pl.DataFrame], Any]] = [
    *(_raising, _no_capsule, _used_capsule, _broken_reader, _closed_reader, _duplicated, _array),
    *(_odd_types, _odd_types, _odd_types, _broken_memory, _broken_memory, _broken_memory),
]
