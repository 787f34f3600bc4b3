"""Faults, generated from the schema: what may stand in a column and what may not.

A new column of the schema is a new row of these lists, so no test of bad input can forget it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import polars as pl
import pytest

import margrave as mg
from margrave.schema import FRAMES, MARGIN_COLUMNS, MISNOMERS, Column, Range
from small_night import Frames, sweep

#: The row that is spoilt: account `b`'s in positions, balances and accounts.
ROW = 1

QUARANTINED = ("positions", "balances")
RULES = ("tiers", "weights")
TINY = 5e-324
OVER = math.nextafter(1e18, math.inf)

_ANYWHERE = [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")]

#: Values just outside each range, with the reason that is given.
BAD: dict[Range, list[tuple[float, str]]] = {
    "any": [*_ANYWHERE, (OVER, "beyond 1e18 in size"), (-OVER, "beyond 1e18 in size")],
    "positive": [
        *_ANYWHERE,
        (0.0, "not above 0"),
        (-0.0, "not above 0"),
        (-TINY, "not above 0"),
        (OVER, "beyond 1e18 in size"),
    ],
    "not_negative": [*_ANYWHERE, (-TINY, "below 0"), (OVER, "beyond 1e18 in size")],
    "rate": [
        *_ANYWHERE,
        (-TINY, "outside 0 to 1"),
        (math.nextafter(1.0, 2.0), "outside 0 to 1"),
    ],
}

#: Values exactly on the edge of each range, which pass.
EDGES: dict[Range, list[float]] = {
    "any": [1e18, -1e18, 0.0, -0.0, TINY],
    "positive": [1e18, TINY],
    "not_negative": [1e18, 0.0, -0.0],
    "rate": [0.0, 1.0, -0.0],
}

#: Columns of types that a kind of column may not have.
WRONG: dict[str, list[pl.Series]] = {
    "id": [
        pl.Series([1.0, 2.0]),
        pl.Series([True, False]),
        pl.Series([date(2026, 1, 1), date(2026, 1, 2)]),
        pl.Series([[1], [2]]),
        pl.Series([b"a", b"b"]),
    ],
    "number": [
        pl.Series(["1", "2"]),
        pl.Series([True, False]),
        pl.Series([date(2026, 1, 1), date(2026, 1, 2)]),
        pl.Series([[1.0], [2.0]]),
    ],
    "word": [pl.Series([1, 2]), pl.Series([True, False]), pl.Series([0.5, 1.5])],
    "name": [pl.Series([1.5, 2.5]), pl.Series([True, False]), pl.Series([b"a", b"b"])],
    "flag": [pl.Series([1, 0]), pl.Series(["true", "false"])],
    "time": [pl.Series([20260101, 1]), pl.Series([1.5, 2.5]), pl.Series([True, False])],
}


#: The frames of a sweep: scenarios have tests of their own.
NIGHTLY = tuple(frame for frame in FRAMES if frame != "scenarios")


def columns(*kinds: str, among: tuple[str, ...] = NIGHTLY) -> list[tuple[str, Column]]:
    """Return every column of these kinds with its frame; of all kinds where none is named."""
    return [(f, c) for f in among for c in FRAMES[f] if not kinds or c.kind in kinds]


def name_of(value: Any) -> str:
    """Return how a parameter is called in the id of a test."""
    if isinstance(value, Column):
        return value.name
    return str(value.dtype) if isinstance(value, pl.Series) else str(value)


def each(*kinds: str, among: tuple[str, ...] = NIGHTLY) -> pytest.MarkDecorator:
    """Run a test for every column of these kinds."""
    return pytest.mark.parametrize(("frame", "column"), columns(*kinds, among=among), ids=name_of)


def bad_numbers(*among: str) -> list[tuple[str, Column, float | None, str]]:
    """Return every value that a number column may not hold, null where it is required."""
    rows: list[tuple[str, Column, float | None, str]] = []
    for frame, column in columns("number", among=among):
        rows += [(frame, column, value, reason) for value, reason in BAD[column.allowed]]
        if column.required or column.name == "isolated_margin":  # row 1 is isolated
            rows.append((frame, column, None, "null"))
    return rows


def respell(name: str) -> Iterator[str]:
    """Yield spellings of a name that lie near it, its first letter kept."""
    middle = len(name) // 2
    yield name.upper()
    yield name.capitalize()
    yield name[:middle] + "x" + name[middle + 1 :]
    yield name[:middle] + name[middle + 1 :]
    yield name[:middle] + "x" + name[middle:]
    yield name + "s"
    if len(name) > 5:
        yield name[:-1] + "xx"
        yield name[:-2]
        yield name.upper() + "_2"


def misnomers() -> list[tuple[str, str, str]]:
    """Return frame, other name, and the column that it is taken for."""
    known = {frame: [c.name for c in cs] for frame, cs in FRAMES.items() if frame != "accounts"}
    return [
        (frame, word, meant)
        for frame, names in known.items()
        for word, meant in MISNOMERS.items()
        if meant in names
    ]


def error_of(frame: str) -> type[mg.MargraveError]:
    """Return the class of a bad value in a frame."""
    return mg.RulesError if frame in RULES else mg.DataError


def refused(error: type[Exception], run: Callable[[], Any]) -> str:
    """Return the message of the error that `run` raises, which is exactly of this class."""
    with pytest.raises(mg.MargraveError) as caught:
        run()
    assert type(caught.value) is error, repr(caught.value)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def outcome(night: Frames, **options: Any) -> tuple[str, ...]:
    """Return what a night gives: the digest of its sweep, or the error it raises."""
    try:
        return (sweep(night, **options).manifest["result_digest"],)
    except mg.MargraveError as error:
        return type(error).__name__, str(error)


def assert_b_alone_is_unknown(result: mg.Sweep, night: dict[str, Any]) -> None:
    """Assert that `b` is indeterminate and that all others stand as if `b` had no rows."""
    known = pl.col("account_id") != "b"
    without = {
        name: frame.filter(known.fill_null(value=True)) if "account_id" in frame.columns else frame
        for name, frame in night.items()
    }
    clean = sweep(without)
    accounts = result.accounts
    assert accounts["account_id"].to_list() == ["a", "b", "c", "d", "e"]
    (row,) = accounts.filter(pl.col("account_id") == "b").select(MARGIN_COLUMNS).rows(named=True)
    assert row.pop("status") == "indeterminate"
    assert set(row.values()) == {None}
    assert bits(accounts.filter(known)) == bits(clean.accounts)
    assert bits(result.buckets) == bits(clean.buckets)
    assert bits(result.positions.filter(known)) == bits(clean.positions)
    totals = result.totals.with_columns(accounts=pl.lit(4), indeterminate_accounts=pl.lit(0))
    assert result.totals["accounts"].item() == 5
    assert result.totals["indeterminate_accounts"].item() == 1
    assert totals.rows() == clean.totals.rows()
    of_b = result.positions.filter(pl.col("account_id") == "b")
    kept = ("account_id", "instrument_id", "quantity", "entry_price", "mark_price")
    assert of_b.height == 2
    assert of_b.drop(kept).null_count().row(0) == (2,) * (of_b.width - len(kept))
    assert_no_nan(result)


def bits(frame: pl.DataFrame) -> list[Any]:
    """Return the columns of a frame such that equal means equal to the last bit."""
    packed = {
        c.name: [None if v is None else struct.pack("<d", v) for v in c]
        for c in frame
        if c.dtype == pl.Float64
    }
    return [(c.name, c.dtype, packed.get(c.name, c.to_list())) for c in frame]


def assert_no_nan(result: mg.Sweep) -> None:
    for frame in (result.accounts, result.buckets, result.positions, result.totals):
        for column in frame:
            if column.dtype == pl.Float64:
                assert not column.is_nan().any(), column.name
