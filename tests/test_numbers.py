"""Numbers of any type: which of them lose digits as doubles, and decimals of every width."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

import margrave as mg
from faulty import refused
from margrave.digits import lost
from margrave.frames import check
from small_night import Frames, frames, sweep

DIGEST = sweep(frames()).manifest["result_digest"]

#: `positions.quantity` of the small night.
QUANTITY = [2, -3, 1, 100, 5]


def with_numbers(values: Any, frame: str = "positions", column: str = "quantity") -> Frames:
    """Return the small night with one column of an Arrow table replaced."""
    table = frames()[frame].to_arrow()
    at = table.column_names.index(column)
    return {**frames(), frame: table.set_column(at, column, values)}


# Digits


def kept(value: Decimal | int) -> bool:
    """Whether the nearest double is the value, or, for a Decimal, prints as it."""
    double = float(value)
    if Fraction(double) == Fraction(value):
        return True
    return isinstance(value, Decimal) and Fraction(Decimal(repr(double))) == Fraction(value)


@pytest.mark.parametrize(
    ("dtype", "bits"), [(pl.Int64, 63), (pl.UInt64, 64), (pl.Int128, 127), (pl.UInt128, 128)]
)
def test_integers_that_are_no_doubles_are_counted(dtype: Any, bits: int) -> None:
    draw = random.Random(bits)
    signs = (1,) if bits % 2 == 0 else (1, -1)
    values: list[int | None] = [2**53, 2**53 + 1, 2**bits - 1, None, 0]
    for _ in range(1_000):
        number = draw.getrandbits(draw.randint(1, bits)) >> (low := draw.randint(0, bits)) << low
        values += [draw.choice(signs) * number, draw.getrandbits(bits)]
    wanted = sum(value is not None and not kept(value) for value in values)
    assert 1_000 < wanted < 2_000
    assert lost(pl.Series(values, dtype=dtype)) == wanted


@pytest.mark.parametrize("scale", [0, 1, 2, 8, 18, 30, 37])
def test_decimals_that_do_not_come_back_are_counted(scale: int) -> None:
    draw = random.Random(scale)
    values: list[Decimal | None] = [None, Decimal(0)]
    with localcontext(prec=80):
        for _ in range(1_000):
            size = draw.randint(1, 37)
            units = draw.randint(-(10**size), 10**size)
            zeros = 10 ** draw.randint(0, size)
            values += [Decimal(units // zeros * zeros).scaleb(-scale)]
    wanted = sum(value is not None and not kept(value) for value in values)
    assert 100 < wanted < 900
    assert lost(pl.Series(values, dtype=pl.Decimal(38, scale))) == wanted


def test_texts_that_do_not_come_back_are_counted() -> None:
    draw = random.Random(5)
    texts: list[str | None] = [None, "", "1e-400", "inf", "NaN", "0e99999999999999999999"]
    for _ in range(3_000):
        text = str(draw.randint(0, 10 ** draw.randint(1, 20)))
        if draw.random() < 0.7:
            text += f".{draw.randint(0, 10 ** draw.randint(1, 22))}{'0' * draw.randint(0, 9)}"
        if draw.random() < 0.3:
            text += f"{draw.choice('eE')}{draw.choice(('', '+', '-'))}{draw.randint(0, 30)}"
        texts.append(draw.choice(("", "-")) + text)
    wanted = sum(not kept(Decimal(text)) for text in texts[6:] if text)
    assert 500 < wanted < 2_500
    assert lost(pl.Series(texts)) == wanted + 1  # the last of the first six says nothing sane


def test_floats_and_short_integers_lose_nothing() -> None:
    for dtype in (pl.Float16, pl.Float32, pl.Float64, pl.Int32, pl.UInt32, pl.Int8):
        assert lost(pl.Series([0, 1, 100], dtype=dtype)) == 0
    assert lost(pl.Series([0.1, float("nan"), float("inf")], dtype=pl.Float32)) == 0
    assert lost(pl.Series([None], dtype=pl.Int64)) == 0
    assert lost(pl.Series([], dtype=pl.Decimal(38, 10))) == 0


def test_the_manifest_counts_the_values_of_each_column_that_lost_digits() -> None:
    assert sweep(frames()).manifest["inexact_numbers"] == {}
    night = frames()
    big = 2**53 + 1
    night["positions"] = night["positions"].with_columns(
        quantity=pl.Series([big, 1, -big, 100, None], dtype=pl.Int64).fill_null(7),
        leverage=pl.Series([Decimal("10")] * 5, dtype=pl.Decimal(38, 18)),
    )
    long = ["1.00000000000000000001", "0.1", "2", "3", "4"]
    night["balances"] = night["balances"].with_columns(
        amount=pl.Series([Decimal(text) for text in long], dtype=pl.Decimal(38, 20))
    )
    result = sweep(night)
    assert result.manifest["inexact_numbers"] == {
        "positions.quantity": 2,
        "balances.amount": 1,
    }
    assert result.accounting["inexact_numbers"] == result.manifest["inexact_numbers"]
    assert float(big) == result.positions["quantity"][0] == 2.0**53


def test_the_texts_of_a_csv_are_held_to_the_same(tmp_path: Path) -> None:
    lines = ["a,USD,0.30000000000000004", "b,USD,0.3000000000000000000001", "c,BTC,1.50"]
    text = "\n".join(["account_id,asset_id,amount", *lines, "d,USD,9007199254740993"])
    (tmp_path / "balances.csv").write_text(text, encoding="utf-8")
    result = sweep({**frames(), "balances": tmp_path / "balances.csv"})
    assert result.manifest["inexact_numbers"] == {"balances.amount": 2}


def test_a_value_that_rounds_to_the_default_has_lost_its_digits() -> None:
    sizes = pl.Series([Decimal("1.00000000000000000001")] * 3, dtype=pl.Decimal(38, 20))
    found = check("instruments", frames()["instruments"].with_columns(contract_size=sizes))
    assert "contract_size" not in found.known.columns  # it says no more than its default
    assert found.inexact == {"instruments.contract_size": 3}


# Decimals of every width


WIDTHS = [
    pa.decimal32(7, 2),
    pa.decimal64(12, 3),
    pa.decimal128(38, 10),
    pa.decimal256(50, 2),
    pa.decimal256(76, 20),
    pa.decimal256(76, 60),
]
NARROW_OR_WIDE = [kind for kind in WIDTHS if "128" not in str(kind)]


def column(kind: Any, values: list[Any]) -> Any:
    return pa.array([None if v is None else Decimal(v) for v in values], type=kind)


@pytest.mark.parametrize("kind", WIDTHS, ids=str)
@pytest.mark.parametrize("make", ["table", "batch", "reader", "chunks"])
def test_decimals_of_every_width_are_their_values(kind: Any, make: str) -> None:
    night = with_numbers(column(kind, QUANTITY))
    table = night["positions"]
    night["positions"] = {
        "table": lambda: table,
        "batch": lambda: table.to_batches()[0],
        "reader": lambda: table.to_reader(max_chunksize=2),
        "chunks": lambda: pa.concat_tables([table.slice(0, 2), table.slice(2, 3)]),
    }[make]()
    assert sweep(night).manifest["result_digest"] == DIGEST


@pytest.mark.parametrize("kind", WIDTHS, ids=str)
def test_a_decimal_of_any_width_keeps_its_fraction_its_sign_and_its_nulls(kind: Any) -> None:
    values = ["-3.25", None, "1.5", "0", "7"]
    result = sweep(with_numbers(column(kind, values)), on_error="quarantine")
    assert result.positions["quantity"].to_list() == [-3.25, None, 1.5, 0.0, 7.0]
    assert result.rejects.rows() == [("positions", 1, "quantity", None, "null")]


def test_a_decimal256_too_wide_for_128_bits_is_the_double_nearest_to_it() -> None:
    wide = Decimal("123456789012.3456789012345678901234567890123456789")
    amounts = column(pa.decimal256(76, 50), [wide, "2", "3", "4", "5"])
    result = sweep(with_numbers(amounts))
    assert result.positions["quantity"].to_list() == [float(wide), 2.0, 3.0, 4.0, 5.0]


class Opaque:
    """A producer that shows nothing but its stream."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return self.table.__arrow_c_stream__()


@pytest.mark.parametrize("kind", NARROW_OR_WIDE, ids=str)
def test_a_decimal_that_polars_would_misread_is_right_from_any_producer(kind: Any) -> None:
    night = with_numbers(column(kind, QUANTITY))
    table = night["positions"]
    for source in (Opaque(table), table.to_pandas(types_mapper=pd.ArrowDtype)):
        assert sweep({**night, "positions": source}).manifest["result_digest"] == DIGEST


def test_decimals_inside_a_carried_column_are_refused_too() -> None:
    one = column(pa.decimal64(5, 1), ["1.5"])
    nested = [
        pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), one),
        pa.StructArray.from_arrays([one], ["x"]),
        pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), one),
    ]
    for odd in nested:
        accounts = pa.table({"account_id": ["a"], "odd": odd})
        message = refused(mg.SchemaError, partial(sweep, {**frames(), "accounts": accounts}))
        assert "holds decimals of 32, 64 or 256 bits" in message
        assert "cast them to decimal128 or to a float" in message


def test_duckdb_decimals_in_the_newest_arrow_format_are_never_misread() -> None:
    held = frames()["positions"].to_arrow()
    query = "select * replace (cast(quantity as decimal(9, 2)) as quantity) from held"
    with duckdb.connect() as connection:
        connection.register("held", held)
        for version in ("1.0", "1.5"):
            connection.execute(f"set arrow_output_version = '{version}'")
            night = {**frames(), "positions": connection.sql(query)}
            assert sweep(night).manifest["result_digest"] == DIGEST
