"""Frames of every make and shape give the same answer, and results have the same types always."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

import margrave as mg
from faulty import assert_no_nan, refused
from margrave.schema import (
    FRAMES,
    LIQUIDATION_PRICE_KIND,
    MARGIN_COLUMNS,
    MONEY,
    POSITION_COLUMNS,
    RATIOS,
    REJECT_COLUMNS,
    STATUS,
)
from small_night import Frames, frames, rules_of, sweep

SMALL = sweep(frames()).manifest
RESULTS = ("accounts", "buckets", "positions", "totals", "rejects")


def assert_same(night: Frames, **options: Any) -> None:
    """Assert that a night gives what the small night does, to the last bit."""
    manifest = sweep(night, **options).manifest
    assert {**manifest, "seconds": None} == {**SMALL, "seconds": None}


# Shapes


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_chunks_change_nothing(rows: int) -> None:
    night = {
        name: pl.concat(list(frame.iter_slices(rows)), rechunk=False)
        for name, frame in frames().items()
    }
    assert night["positions"].n_chunks() == -(-5 // rows)
    assert_same(night)


def test_columns_may_have_chunks_of_their_own() -> None:
    night = frames()
    for name, frame in night.items():
        columns = []
        for number, column in enumerate(frame):
            cut = 1 + number % (len(column) - 1)
            columns.append(pl.concat([column[:cut], column[cut:]], rechunk=False))
        night[name] = pl.DataFrame(columns)
    assert_same(night)


def padded(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with rows before and after it that must not be seen."""
    last = frame.reverse()
    return pl.concat([last, last, frame, last], rechunk=True)


def test_slices_with_offsets_are_what_they_show() -> None:
    night = {
        name: padded(frame)[2 * frame.height : 3 * frame.height] for name, frame in frames().items()
    }
    assert_same(night)
    tables = {
        name: padded(frame).to_arrow().slice(2 * frame.height, frame.height)
        for name, frame in frames().items()
    }
    assert_same(tables)


def test_a_slice_may_cut_through_chunks_and_nulls() -> None:
    night = frames()
    hidden = night["positions"].with_columns(
        quantity=pl.lit(None, pl.Float64), account_id=pl.lit(None, pl.String)
    )
    parts = [hidden, night["positions"][:2], night["positions"][2:], hidden]
    night["positions"] = pl.concat(parts, rechunk=False)[5:10]
    assert_same(night)
    part = pa.concat_tables([part.to_arrow() for part in parts]).slice(5, 5)
    assert_same({**frames(), "positions": part})


# Producers


PRODUCERS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "LazyFrame": lambda frame: frame.lazy(),
    "pyarrow table": lambda frame: frame.to_arrow(),
    "pyarrow batches": lambda frame: pa.Table.from_batches(
        [batch for part in frame.iter_slices(2) for batch in part.to_arrow().to_batches()]
    ),
    "pyarrow reader": lambda frame: frame.to_arrow().to_reader(max_chunksize=2),
    "pandas": lambda frame: frame.to_pandas(),
    "pandas with an index": lambda frame: frame.to_pandas().set_axis(
        [f"row {row}" for row in range(frame.height)]
    ),
    "DuckDB": lambda frame: duckdb.from_arrow(frame.to_arrow()),
    "stream": lambda frame: Stream(frame),
}


class Stream:
    """What a producer that nobody has heard of shows: its Arrow stream, and that once."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.streams = [frame]

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return self.streams.pop().__arrow_c_stream__()


@pytest.mark.parametrize("name", PRODUCERS)
def test_frames_of_every_producer_are_taken(name: str) -> None:
    night = {frame: PRODUCERS[name](rows) for frame, rows in frames().items()}
    assert_same(night)


def test_a_stream_that_fails_is_a_schema_error() -> None:
    class Broken:
        def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
            raise RuntimeError("the cable is cut")

    twice = pa.table([pa.array([1]), pa.array([2])], names=["account_id", "account_id"])
    lazy = pl.LazyFrame({"x": [1]}).select(pl.col("y"))
    for broken in (Broken(), twice, lazy):
        message = refused(mg.SchemaError, partial(sweep, {**frames(), "balances": broken}))
        assert message.startswith("balances: ")


def test_pandas_nan_is_null_and_so_the_default_of_an_optional_column() -> None:
    night = frames()
    gone = night["positions"].with_columns(
        leverage=pl.lit(None, pl.Float64), open_buy_quantity=pl.lit(None, pl.Float64)
    )
    one = sweep({**night, "positions": gone})
    other = sweep({**night, "positions": gone.to_pandas().astype({"leverage": "float64"})})
    assert one.manifest["result_digest"] == other.manifest["result_digest"]


@pytest.mark.parametrize("make", ["clone", "to_pandas"])
def test_a_book_does_not_change_with_the_frames_that_it_came_from(make: str) -> None:
    night = {name: getattr(frame, make)() for name, frame in frames().items()}
    rules = rules_of(night)
    inputs = (night["positions"], night["balances"], night["instruments"], night["accounts"])
    book, market = mg.Book(*inputs), mg.Market(night["instruments"], night["assets"])
    values = {
        "account_id": "z",
        "quantity": 1e6,
        "amount": 1e6,
        "price": 3.0,
        "desk": 1,
        "floor": 9,
    }
    for frame in night.values():
        for column in values.keys() & set(frame.columns):
            if make == "clone":
                frame[0, column] = values[column]
            else:
                frame.loc[0, column] = values[column]
    result = book.sweep(market, rules)
    assert {**result.manifest, "seconds": None} == {**SMALL, "seconds": None}
    assert result.accounts["desk"].to_list() == [7, 8, None, None, 9]


# Numbers


NUMBERS: list[Any] = [
    *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.Float16, pl.Float32),
    *(pl.Decimal(10, 0), pl.Decimal(38, 18)),
]


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_numbers_may_be_any_integer_float_or_decimal(dtype: Any) -> None:
    whole, other = frames(), frames()
    for name, frame in whole.items():
        numbers = [c.name for c in FRAMES[name] if c.kind == "number" and c.allowed != "rate"]
        rounded = frame.with_columns(pl.col(numbers).round(0).clip(-100, 100))
        if name == "tiers":
            rounded = rounded.drop("deduction")
        whole[name] = rounded
        other[name] = rounded.with_columns(
            pl.col(c).cast(dtype) for c in numbers if c in rounded.columns
        )
    one, two = sweep(whole), sweep(other)
    assert one.manifest["input_digest"] == two.manifest["input_digest"]
    assert one.manifest["result_digest"] == two.manifest["result_digest"]


def test_a_decimal_is_the_double_nearest_to_it() -> None:
    texts = ["0.1", "123456789.123456789123456789", "-98765432101.000000000000000001", "3", "5e-9"]
    amounts = pl.Series("amount", [Decimal(text) for text in texts], dtype=pl.Decimal(38, 18))
    night = frames()
    one = sweep({**night, "balances": night["balances"].with_columns(amounts)})
    floats = pl.Series("amount", [float(text) for text in texts])
    other = sweep({**night, "balances": night["balances"].with_columns(floats)})
    assert one.manifest["result_digest"] == other.manifest["result_digest"]


# Nothing and little


def schema_of(name: str, id_type: Any) -> dict[str, Any]:
    """Return the columns and types of a result, to the letter of the contract."""
    if name == "rejects":
        return {c: pl.Int64 if c == "row" else pl.String for c in REJECT_COLUMNS}
    if name == "totals":
        counts = ["accounts", *(f"{status}_accounts" for status in STATUS)]
        return {
            **dict.fromkeys(counts, pl.Int64),
            **dict.fromkeys(MONEY, pl.Float64),
            "liquidatable_accounts": pl.Int64,
            **dict.fromkeys(
                ("liquidatable_notional", "total_bad_debt", "total_margin_deficit"), pl.Float64
            ),
        }
    if name == "positions":
        texts = {"account_id": id_type, "bucket_id": pl.String, "instrument_id": id_type}
        kind = {"tier": pl.Int64, "liquidation_price_kind": pl.Enum(LIQUIDATION_PRICE_KIND)}
        return {c: (texts | kind).get(c, pl.Float64) for c in POSITION_COLUMNS}
    ids = {"account_id": id_type, **({"bucket_id": pl.String} if name == "buckets" else {})}
    return {
        **ids,
        "status": pl.Enum(STATUS),
        "is_liquidatable": pl.Boolean,
        **dict.fromkeys((*MONEY, *RATIOS), pl.Float64),
        "positions": pl.Int64,
        "ladder": pl.String,
    }


def assert_schemas(result: mg.Sweep, id_type: Any = pl.String, *carried: str) -> None:
    for name in RESULTS:
        frame = getattr(result, name)
        if name in ("accounts", "buckets"):
            assert frame.columns[len(frame.columns) - len(carried) :] == list(carried)
            frame = frame.drop(carried)
        assert list(frame.schema.items()) == list(schema_of(name, id_type).items()), name


def test_results_have_the_columns_and_types_of_the_contract() -> None:
    assert_schemas(sweep(frames()), pl.String, "owner_id", "desk")
    assert sweep(frames()).accounts.columns[-2:] == ["owner_id", "desk"]


def emptied(frame: pl.DataFrame, dtype: Any = None) -> pl.DataFrame:
    return (
        frame.clear() if dtype is None else pl.DataFrame(schema=dict.fromkeys(frame.columns, dtype))
    )


@pytest.mark.parametrize("dtype", [None, pl.Null, pl.Date, pl.List(pl.Int8)], ids=str)
def test_nothing_at_all_gives_empty_results_of_the_same_types(dtype: Any) -> None:
    night = {name: emptied(frame, dtype) for name, frame in frames().items()}
    for mode in ("raise", "quarantine"):
        result = sweep(night, on_error=mode)
        assert_schemas(result, pl.String, "owner_id", "desk")
        assert [getattr(result, name).height for name in RESULTS] == [0, 0, 0, 1, 0]
        assert set(result.totals.row(0)) == {0}
        assert result.manifest["accounts"] == 0


@pytest.mark.parametrize("dtype", [None, pl.Null, pl.Float64], ids=str)
@pytest.mark.parametrize("name", ["positions", "balances", "accounts"])
def test_one_frame_may_be_without_rows(name: str, dtype: Any) -> None:
    night = frames()
    night[name] = emptied(night[name], dtype)
    result = sweep(night)
    held = [
        night[n]["account_id"].to_list() for n in ("positions", "balances", "accounts") if n != name
    ]
    assert result.accounts["account_id"].to_list() == list(dict.fromkeys(held[0] + held[1]))
    carried = ["owner_id", "desk"]
    assert_schemas(result, pl.String, *carried)
    assert_no_nan(result)


def test_the_type_of_ids_is_that_of_the_first_frame_of_their_kind() -> None:
    night = {
        "positions": emptied(frames()["positions"], pl.Null),
        "balances": pl.DataFrame({"account_id": [1], "asset_id": ["USD"], "amount": [1]}),
        "accounts": pl.DataFrame({"account_id": pl.Series([2], dtype=pl.UInt8)}),
    }
    as_was = {**frames(), **night}
    assert sweep(as_was).accounts.schema["account_id"] == pl.Int64
    small = night["balances"].with_columns(account_id=pl.lit(1, pl.Int16))
    assert sweep({**as_was, "balances": small}).accounts.schema["account_id"] == pl.Int16
    empty = small.clear()
    assert sweep({**as_was, "balances": empty}).accounts.schema["account_id"] == pl.Int16
    text = emptied(night["balances"], pl.Categorical)
    assert sweep({**as_was, "balances": text}).accounts.schema["account_id"] == pl.UInt8
    result = sweep(
        {
            **as_was,
            "instruments": frames()["instruments"].with_columns(
                pl.col("instrument_id").cast(pl.Categorical)
            ),
        }
    )
    assert result.positions.schema["instrument_id"] == pl.Categorical


def test_one_row_is_enough() -> None:
    night = {
        name: frame[-1:] if name == "weights" else frame[:1] for name, frame in frames().items()
    }
    result = sweep(night)
    assert result.accounts["equity"].to_list() == [120.0]  # 100 + 2 * (100 - 90)
    assert_schemas(result, pl.String, "owner_id", "desk")


# Carried columns


def test_every_column_of_accounts_is_carried_in_its_order_and_type() -> None:
    carried: dict[str, Any] = {
        "zone": pl.Series(["x", None, "y"], dtype=pl.Enum(["x", "y"])),
        "owner_id": pl.Series([3, 2, 1], dtype=pl.UInt16),
        "tags": [["a"], [], None],
        "about": [{"k": 1}, {"k": 2}, None],
        "quantity": [float("nan"), None, 1.0],
        "": [1, 2, 3],
        "nothing": pl.Series([None] * 3, dtype=pl.Null),
    }
    night = frames()
    night["accounts"] = pl.DataFrame({**carried, "account_id": ["e", "a", "b"]})
    accounts = sweep(night).accounts
    assert accounts.columns == ["account_id", *MARGIN_COLUMNS, *carried]
    assert accounts["owner_id"].to_list() == [2, 1, None, None, 3]
    for name in carried:
        assert accounts.schema[name] == night["accounts"].schema[name]
    listed = accounts.filter(pl.col("account_id").is_in(["a", "b", "e"]))
    wanted = [night["accounts"].row(row, named=True) for row in (1, 2, 0)]
    for row, want in zip(listed.select(list(carried)).to_dicts(), wanted, strict=True):
        assert str(row) == str({name: want[name] for name in carried})


@pytest.mark.parametrize("name", MARGIN_COLUMNS)
def test_a_carried_column_named_like_a_result_column_is_refused(name: str) -> None:
    night = frames()
    night["accounts"] = night["accounts"].rename({"desk": name})
    assert f"accounts.{name}: " in refused(mg.SchemaError, lambda: sweep(night))


# Much and strange


def test_more_instruments_than_two_bytes_count() -> None:
    count = 70_000
    numbers = pl.int_range(count, eager=True)
    night = frames()
    night["instruments"] = pl.DataFrame({"instrument_id": numbers}).with_columns(
        kind=pl.lit("linear"),
        settle_asset=pl.lit("USD"),
        mark_price=1.0 + numbers,
        tier_table=pl.lit("alt"),
    )
    ids = [0, 1, 65_535, 65_536, 65_537, 69_999]
    night["positions"] = pl.DataFrame(
        {
            "account_id": ["a"] * 6,
            "instrument_id": ids,
            "quantity": [1.0] * 6,
            "entry_price": [1.0] * 6,
        }
    )
    result = sweep(night)
    assert result.positions["mark_price"].to_list() == [1.0 + i for i in ids]
    assert result.accounts["unrealized_pnl"][0] == sum(ids)
    night["positions"] = night["positions"][:1].join(numbers.alias("id").to_frame(), how="cross")
    night["positions"] = night["positions"].with_columns(instrument_id="id").drop("id")
    assert sweep(night).positions["mark_price"].to_list() == [1.0 + i for i in range(count)]


def test_one_account_may_have_thousands_of_rows() -> None:
    night = frames()
    rows = 5_000
    night["positions"] = pl.concat([night["positions"][1:2]] * rows, rechunk=False).with_columns(
        isolated_margin=pl.int_range(rows, eager=True).cast(pl.Float64)
    )
    result = sweep(night)
    labels = result.buckets.filter(pl.col("account_id") == "b")["bucket_id"].to_list()
    assert labels == ["cross", "isolated:ETH", *(f"isolated:ETH:{n}" for n in range(2, rows + 1))]
    assert result.positions["bucket_id"].to_list() == labels[1:]
    assert result.accounts["positions"].to_list()[0] == rows
    # 50 in cash, 0 + 1 + ... + 4999 posted, and -3 * 2 * (10 - 11) = 6 of profit a row
    assert result.accounts["equity"][0] == 50 + rows * (rows - 1) / 2 + 6 * rows
