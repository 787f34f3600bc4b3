"""The same night from every producer, in the types that each of them has, gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

import margrave as mg
from faulty import refused
from margrave.schema import FRAMES
from small_night import Frames, frames, sweep
from test_ids import ID_COLUMNS, numbered

TEXT, NUMBER = (sweep(night).manifest for night in (frames(), numbered()))


def ids_of(frame: str) -> list[str]:
    return [column for name, column, _ in ID_COLUMNS if name == frame]


def numbers_of(frame: str) -> list[str]:
    return [column.name for column in FRAMES[frame] if column.kind == "number"]


def assert_same(night: Frames, wanted: dict[str, Any]) -> None:
    """Assert that a night gives the digests of the small one."""
    for mode in ("raise", "quarantine"):
        manifest = sweep(night, on_error=mode).manifest
        for digest in ("input_digest", "result_digest"):
            assert manifest[digest] == wanted[digest]


# pandas


def in_pandas(night: Frames, dtype: Any, of: Callable[[str], list[str]]) -> Frames:
    """Return the night as pandas frames, some of their columns in another type."""
    converted = {}
    for name, frame in night.items():
        rows = frame.to_pandas()
        columns = [column for column in of(name) if column in rows.columns]
        converted[name] = rows.astype(dict.fromkeys(columns, dtype))
    return converted


@pytest.mark.parametrize(
    "dtype", [object, "string", "category", "string[python]", pd.ArrowDtype(pa.large_string())]
)
def test_pandas_texts_of_any_kind_are_ids(dtype: Any) -> None:
    assert_same(in_pandas(frames(), dtype, ids_of), TEXT)


@pytest.mark.parametrize("dtype", [object, "Int64", "UInt64", "Int8", "category", "uint16"])
def test_pandas_integers_of_any_kind_are_ids(dtype: Any) -> None:
    assert_same(in_pandas(numbered(), dtype, ids_of), NUMBER)


@pytest.mark.parametrize("dtype", [object, "Float64", pd.ArrowDtype(pa.float64())])
def test_pandas_numbers_of_any_kind_are_numbers(dtype: Any) -> None:
    assert_same(in_pandas(frames(), dtype, numbers_of), TEXT)


def test_pandas_objects_may_be_decimals() -> None:
    rows = frames()["positions"].to_pandas()
    rows["quantity"] = [Decimal(str(value)) for value in rows["quantity"]]
    assert_same({**frames(), "positions": rows}, TEXT)


def test_pandas_words_may_be_categories_and_flags_may_be_nullable() -> None:
    night = {name: frame.to_pandas() for name, frame in frames().items()}
    night["positions"]["margin_mode"] = night["positions"]["margin_mode"].astype("category")
    night["instruments"]["kind"] = night["instruments"]["kind"].astype("category")
    night["assets"]["is_stable"] = night["assets"]["is_stable"].astype("boolean")
    assert_same(night, TEXT)


def test_nan_of_a_numpy_column_in_pandas_is_a_missing_value_and_so_a_reject() -> None:
    rows = frames()["positions"].to_pandas()
    rows.loc[1, "quantity"] = np.nan  # which pandas hands over as null
    result = sweep({**frames(), "positions": rows}, on_error="quarantine")
    assert result.rejects.rows() == [("positions", 1, "quantity", None, "null")]
    nan = frames()["positions"].with_columns(quantity=pl.Series([2.0, np.nan, 1.0, 100.0, 5.0]))
    result = sweep({**frames(), "positions": nan}, on_error="quarantine")
    assert result.rejects.rows() == [("positions", 1, "quantity", "NaN", "NaN")]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_pandas_id_is_a_null_id(missing: Any) -> None:
    rows = frames()["balances"].to_pandas()
    rows["account_id"] = pd.Series(["a", missing, "c", "d", "d"], dtype=object)
    result = sweep({**frames(), "balances": rows}, on_error="quarantine")
    assert result.rejects.rows() == [("balances", 1, "account_id", None, "null")]


def test_a_pandas_column_of_integers_and_texts_is_refused() -> None:
    rows = frames()["balances"].to_pandas()
    rows["account_id"] = pd.Series([1, "a", 2, "b", 3], dtype=object)
    message = refused(mg.SchemaError, lambda: sweep({**frames(), "balances": rows}))
    assert message.startswith("balances: ")
    assert "account_id" in message


# pyarrow


def in_pyarrow(night: Frames, change: Callable[[Any], Any]) -> Frames:
    """Return the night as pyarrow tables, their id columns changed."""
    tables = {}
    for name, frame in night.items():
        table = frame.to_arrow()
        for column in ids_of(name):
            at = table.column_names.index(column)
            table = table.set_column(at, column, change(table.column(column)))
        tables[name] = table
    return tables


def encoded(keys: Any, values: Any) -> Callable[[Any], Any]:
    """Return what makes a dictionary array of a column."""
    return lambda column: pa.chunked_array(
        [
            pa.DictionaryArray.from_arrays(part.indices.cast(keys), part.dictionary.cast(values))
            for part in column.cast(pa.string()).dictionary_encode().chunks
        ]
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_arrow_strings_of_any_layout_are_ids(kind: Any) -> None:
    assert_same(in_pyarrow(frames(), lambda column: column.cast(kind)), TEXT)


@pytest.mark.parametrize("keys", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("values", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_dictionary_arrays_of_texts_are_ids(keys: str, values: Any) -> None:
    assert_same(in_pyarrow(frames(), encoded(getattr(pa, keys)(), values)), TEXT)


@pytest.mark.parametrize("keys", [pa.int8(), pa.uint32(), pa.int64()], ids=str)
def test_dictionary_arrays_of_integers_are_ids(keys: Any) -> None:
    change = pa.ChunkedArray.dictionary_encode
    kind = pa.dictionary(keys, pa.int64())
    assert_same(in_pyarrow(numbered(), lambda column: change(column).cast(kind)), NUMBER)


def test_chunks_may_have_dictionaries_of_their_own() -> None:
    def change(column: Any) -> Any:
        texts = column.cast(pa.string()).combine_chunks()
        parts = [texts.slice(0, 1), texts.slice(1).take(pa.array(range(len(texts) - 1)))]
        return pa.chunked_array([part.dictionary_encode() for part in parts])

    assert_same(in_pyarrow(frames(), change), TEXT)


def test_decimals_without_decimals_are_integers_as_ids() -> None:
    night = in_pyarrow(numbered(), lambda column: column.cast(pa.decimal128(20, 0)))
    assert_same(night, NUMBER)
    assert sweep(night).accounts.schema["account_id"] == pl.Int128
    fraction = in_pyarrow(numbered(), lambda column: column.cast(pa.decimal128(24, 2)))
    assert "ids are integers or text" in refused(mg.SchemaError, lambda: sweep(fraction))


@pytest.mark.parametrize("kind", [pa.binary(), pa.float64(), pa.date32()], ids=str)
def test_what_is_neither_integer_nor_text_is_no_id(kind: Any) -> None:
    values = {pa.binary(): b"a", pa.float64(): 1.0, pa.date32(): 1}
    table = frames()["balances"].to_arrow()
    ids = pa.array([values[kind]] * 5, type=kind)
    night = {**frames(), "balances": table.set_column(0, "account_id", ids)}
    message = refused(mg.SchemaError, lambda: sweep(night))
    assert message.startswith("balances.account_id: its type is ")


# DuckDB


def in_duckdb(connection: Any, night: Frames, cast: dict[str, str]) -> Frames:
    """Return the night as DuckDB relations, some columns in another SQL type."""
    relations = {}
    for name, frame in night.items():
        connection.register(name, frame.to_arrow())
        columns = [f"cast({c} as {cast[c]}) as {c}" for c in frame.columns if c in cast]
        replaced = f"replace ({', '.join(columns)})" if columns else ""
        relations[name] = connection.sql(f"select * {replaced} from {name}")
    return relations


def test_duckdb_relations_are_frames() -> None:
    with duckdb.connect() as connection:
        assert_same(in_duckdb(connection, frames(), {}), TEXT)


@pytest.mark.parametrize("kind", ["tinyint", "usmallint", "uinteger", "ubigint", "hugeint"])
def test_duckdb_integers_of_any_width_are_ids(kind: str) -> None:
    ids = dict.fromkeys({column for _, column, _ in ID_COLUMNS}, kind)
    with duckdb.connect() as connection:
        assert_same(in_duckdb(connection, numbered(), ids), NUMBER)


@pytest.mark.parametrize("kind", ["float", "decimal(18, 6)", "decimal(38, 10)"])
def test_duckdb_numbers_of_any_type_are_numbers(kind: str) -> None:
    exact = dict.fromkeys(("quantity", "entry_price", "leverage", "amount", "mark_price"), kind)
    with duckdb.connect() as connection:
        assert_same(in_duckdb(connection, frames(), exact), TEXT)


def test_a_duckdb_enum_and_a_uuid_are_texts() -> None:
    with duckdb.connect() as connection:
        kind = "enum('a', 'b', 'c', 'd', 'e')"
        assert_same(in_duckdb(connection, frames(), {"account_id": kind}), TEXT)
        balances = connection.sql("select uuid() as account_id, 'USD' as asset_id, 1.5 as amount")
        account = sweep({**frames(), "balances": balances}).accounts["account_id"][3]
        assert len(account) == 36


# LazyFrame


def test_a_lazy_frame_is_collected_once() -> None:
    calls = []

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        calls.append(1)
        return frame

    night = {**frames(), "instruments": frames()["instruments"].lazy().map_batches(counted)}
    assert_same(night, TEXT)
    assert len(calls) == 2  # one for each mode, though Book and Market both read it
