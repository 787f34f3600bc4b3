"""The liquidation curve: sorted outwards, added up exactly, and nobody lost on the way."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from math import inf, nan
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import margrave as mg
from faulty import refused

KINDS = ("root", "none", "breached")
SCHEMA = {
    "breach_shock": pl.Float64,
    "accounts": pl.Int64,
    "notional": pl.Float64,
    "cumulated_accounts": pl.Int64,
    "cumulated_notional": pl.Float64,
}


def frames(*rows: tuple[Any, float | None, str | None, float | None]) -> tuple[Any, Any]:
    """Return breach and accounts of rows of id, shock, kind and notional."""
    ids, shocks, kinds, notionals = zip(*rows, strict=True) if rows else ((), (), (), ())
    kind = pl.Series(kinds, dtype=pl.Enum(KINDS))
    breach = pl.DataFrame({"account_id": ids, "breach_kind": kind}).with_columns(
        breach_shock=pl.Series(shocks, dtype=pl.Float64)
    )
    notional = pl.Series(notionals, dtype=pl.Float64)
    return breach, pl.DataFrame({"account_id": ids}).with_columns(gross_notional=notional)


def curve(*rows: tuple[Any, float | None, str | None, float | None]) -> list[tuple[Any, ...]]:
    return mg.liquidation_curve(*frames(*rows)).rows()


def test_the_curve_goes_outwards_and_adds_up() -> None:
    assert curve(
        ("a", -0.25, "root", 1_000.0),
        ("b", None, "breached", 200.0),
        ("c", -0.1, "root", 50.0),
        ("d", None, "none", 9_000.0),
        ("e", -0.25, "root", 7.0),
    ) == [
        (0.0, 1, 200.0, 1, 200.0),
        (-0.1, 1, 50.0, 2, 250.0),
        (-0.25, 2, 1_007.0, 4, 1_257.0),
    ]


def test_shocks_above_0_go_outwards_too() -> None:
    made = curve((1, 0.5, "root", 1.0), (2, 0.25, "root", 2.0), (3, 3.0, "root", 4.0))
    assert [row[0] for row in made] == [0.25, 0.5, 3.0]
    assert [row[4] for row in made] == [2.0, 3.0, 7.0]


def test_on_the_line_and_past_it_are_one_step_at_0() -> None:
    made = curve((1, 0.0, "root", 1.0), (2, -0.0, "root", 2.0), (3, None, "breached", 4.0))
    assert made == [(0.0, 3, 7.0, 3, 7.0)]
    assert math.copysign(1, made[0][0]) == 1


def test_accounts_that_are_indeterminate_are_left_out() -> None:
    assert curve((1, None, None, None), (2, -0.5, "root", 3.0)) == [(-0.5, 1, 3.0, 1, 3.0)]


def test_an_account_of_quantity_0_breaches_with_no_notional() -> None:
    assert curve((1, -0.5, "root", 0.0)) == [(-0.5, 1, 0.0, 1, 0.0)]


@pytest.mark.parametrize(
    "rows", [(), ((1, None, "none", 5.0),), ((1, None, None, None),)], ids=["no", "none", "null"]
)
def test_where_nobody_breaches_the_curve_has_no_rows(rows: Any) -> None:
    made = mg.liquidation_curve(*frames(*rows))
    assert made.is_empty()
    assert made.schema == SCHEMA


def test_frames_without_rows_may_have_any_types() -> None:
    breach = pl.DataFrame(schema=["account_id", "breach_shock", "breach_kind"])
    accounts = pl.DataFrame(schema=["account_id", "gross_notional"])
    assert mg.liquidation_curve(breach, accounts).schema == SCHEMA


def test_a_sum_is_rounded_once_whatever_the_order() -> None:
    # 1e16 + 1 + 1 is 10000000000000002; added one after another both ones are lost.
    rows = [(1, -0.1, "root", 1e16), (2, -0.1, "root", 1.0), (3, -0.2, "root", 1.0)]
    for order in (rows, rows[::-1]):
        made = mg.liquidation_curve(*frames(*order))
        assert made["notional"].to_list() == [1e16, 1.0]
        assert made["cumulated_notional"].to_list() == [1e16, 1e16 + 2]


MONEY = st.one_of(
    st.floats(0, 1e18), st.sampled_from([0.1, 0.2, 0.3, 1e16, 1.0, 1e-300, 5e-324, 2.0**53])
)
SHOCKS = st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.3]), st.floats(0, 10))


@given(st.lists(st.tuples(SHOCKS, st.sampled_from(KINDS), MONEY)), st.booleans(), st.randoms())
def test_the_curve_is_the_sum_of_what_breaches_up_to_a_shock(
    drawn: list[tuple[float, str, float]], is_down: bool, random: Random
) -> None:
    sign = -1 if is_down else 1
    rows = [
        (number, sign * shock if kind == "root" else None, kind, notional)
        for number, (shock, kind, notional) in enumerate(drawn)
    ]
    at = [0.0 if kind == "breached" else shock for shock, kind, _ in drawn if kind != "none"]
    held = [notional for _, kind, notional in drawn if kind != "none"]
    made = mg.liquidation_curve(*frames(*rows))
    assert made["breach_shock"].abs().to_list() == sorted(set(at))
    for shock, accounts, notional, cumulated, cumulated_notional in made.iter_rows():
        here = [n for a, n in zip(at, held, strict=True) if a == abs(shock)]
        so_far = [n for a, n in zip(at, held, strict=True) if a <= abs(shock)]
        assert (accounts, cumulated) == (len(here), len(so_far))
        assert notional == float(sum(map(Fraction, here)))
        assert cumulated_notional == float(sum(map(Fraction, so_far)))
    random.shuffle(rows)
    assert mg.liquidation_curve(*frames(*rows)).equals(made)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_the_liquidation_curve_equals_a_direct_stress(direction: str) -> None:
    exchange = mg.generate(400, seed=11)
    market = mg.Market(exchange.instruments, exchange.assets)
    book = mg.Book(exchange.positions, exchange.balances, exchange.instruments)
    base = book.sweep(market, exchange.rules).accounts
    made = mg.liquidation_curve(book.breach(market, exchange.rules, direction), base)
    assert made.height > 30
    # Halfway between two steps, a step being where rounding decides, and from the last to the end.
    steps = made["breach_shock"].to_list()
    ends = [*steps[1:], 10.0 if direction == "up" else -1.0]
    halfway = {
        (step + end) / 2: row
        for row, (step, end) in enumerate(zip(steps, ends, strict=True))
        if abs(end - step) > 1e-6
    }
    scenarios = mg.scenarios.uniform(list(halfway))
    matrix = book.stress(market, exchange.rules, scenarios).matrix().collect()
    by_scenario = matrix.partition_by("scenario_id", maintain_order=True)
    notional = base["gross_notional"].to_list()
    fallen = set(base["is_liquidatable"].arg_true())
    for row, accounts in zip(halfway.values(), by_scenario, strict=True):
        fallen |= set(accounts["is_liquidatable"].arg_true())
        assert made["cumulated_accounts"][row] == len(fallen)
        assert made["cumulated_notional"][row] == math.fsum(notional[place] for place in fallen)


# Ids


def test_accounts_meet_by_id_in_any_order_and_type() -> None:
    breach, accounts = frames((1, -0.1, "root", 1.0), (2, -0.2, "root", 2.0))
    expected = mg.liquidation_curve(breach, accounts)
    there = accounts.reverse()
    integers: list[Any] = [pl.Int8, pl.UInt64, pl.Int128]
    for dtype in integers:
        cast = there.with_columns(pl.col("account_id").cast(dtype))
        assert mg.liquidation_curve(breach, cast).equals(expected)
    texts = breach.with_columns(pl.col("account_id").cast(pl.String))
    text_types: list[Any] = [pl.String, pl.Categorical, pl.Enum(["2", "1"])]
    for dtype in text_types:
        cast = there.with_columns(pl.col("account_id").cast(pl.String).cast(dtype))
        assert mg.liquidation_curve(texts, cast).equals(expected)


def test_integers_never_meet_texts() -> None:
    breach, accounts = frames((1, -0.1, "root", 1.0))
    texts = accounts.with_columns(pl.col("account_id").cast(pl.String))
    message = refused(mg.SchemaError, lambda: mg.liquidation_curve(breach, texts))
    assert "accounts.account_id: " in message


def test_an_account_that_one_frame_lacks_is_named() -> None:
    breach, accounts = frames(*((f"a{n}", -0.1, "root", 1.0) for n in range(9)))
    message = refused(mg.SchemaError, lambda: mg.liquidation_curve(breach.head(8), accounts))
    assert "accounts.account_id: not in breach: 'a8' (first row: 8)" in message
    message = refused(mg.SchemaError, lambda: mg.liquidation_curve(breach, accounts.head(3)))
    assert "breach.account_id: not in accounts: 'a3'" in message
    assert "'a7' and 1 more (first row: 3)" in message


def test_an_account_that_stands_in_a_frame_twice_is_refused() -> None:
    breach, accounts = frames((1, -0.1, "root", 1.0))
    for pair in ((pl.concat([breach, breach]), accounts), (breach, pl.concat([accounts] * 2))):
        message = refused(mg.SchemaError, partial(mg.liquidation_curve, *pair))
        assert "account_id: 1 ids occur more than once" in message


def test_a_row_without_account_is_refused() -> None:
    breach, accounts = frames((1, -0.1, "root", 1.0), (2, -0.1, "root", 1.0))
    nobody = breach.with_columns(pl.Series("account_id", [1, None]))
    message = refused(mg.SchemaError, lambda: mg.liquidation_curve(nobody, accounts))
    assert "breach.account_id: 1 ids are null (first: row 1)" in message


# Columns and values


@pytest.mark.parametrize("column", ["account_id", "breach_shock", "breach_kind"])
def test_a_column_that_breach_lacks_is_named(column: str) -> None:
    breach, accounts = frames((1, -0.1, "root", 1.0))
    message = refused(mg.SchemaError, lambda: mg.liquidation_curve(breach.drop(column), accounts))
    assert f"breach.{column}: this required column is missing" in message


@pytest.mark.parametrize("column", ["account_id", "gross_notional"])
def test_a_column_that_accounts_lacks_is_named(column: str) -> None:
    breach, accounts = frames((1, -0.1, "root", 1.0))
    message = refused(mg.SchemaError, lambda: mg.liquidation_curve(breach, accounts.drop(column)))
    assert f"accounts.{column}: this required column is missing" in message


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("breach_shock", "-0.1"),
        ("breach_shock", True),
        ("breach_kind", 1),
        ("breach_kind", "rooted"),
        ("account_id", 1.5),
        ("gross_notional", "1.0"),
    ],
)
def test_a_column_of_another_type_or_word_is_refused(column: str, value: Any) -> None:
    pair = frames((1, -0.1, "root", 1.0))
    spoilt = [f.with_columns(pl.lit(value).alias(column)) if column in f else f for f in pair]
    assert f".{column}: " in refused(mg.SchemaError, lambda: mg.liquidation_curve(*spoilt))


@pytest.mark.parametrize("shock", [None, nan, inf, -inf])
def test_a_root_without_its_shock_is_refused(shock: float | None) -> None:
    pair = frames((1, -0.1, "root", 1.0), (2, shock, "root", 1.0))
    message = refused(mg.DataError, lambda: mg.liquidation_curve(*pair))
    assert "breach.breach_shock: 1 values are null or not finite" in message
    assert "first rows: 1" in message


@pytest.mark.parametrize("notional", [None, nan, inf, -1.0])
def test_an_account_that_breaches_with_no_notional_known_is_refused(
    notional: float | None,
) -> None:
    pair = frames((1, -0.1, "root", 1.0), (2, -0.1, "root", notional))
    message = refused(mg.DataError, lambda: mg.liquidation_curve(*pair))
    assert "accounts.gross_notional: " in message
    assert "row 1, and account 2 breaches" in message


def test_shocks_of_both_signs_are_refused() -> None:
    pair = frames((1, -0.1, "root", 1.0), (2, 0.1, "root", 1.0))
    message = refused(mg.DataError, lambda: mg.liquidation_curve(*pair))
    assert "-0.1 in row 0 and 0.1 in row 1 have both signs" in message


def test_frames_come_from_files_and_other_libraries(tmp_path: Path) -> None:
    rows: Any = [("a", -0.25, "root", 1.5), ("b", None, "breached", 2.0), ("c", None, None, None)]
    breach, accounts = frames(*rows)
    expected = mg.liquidation_curve(breach, accounts)
    assert expected.height == 2
    for name, write in (("csv", pl.DataFrame.write_csv), ("parquet", pl.DataFrame.write_parquet)):
        paths = [tmp_path / f"{frame}.{name}" for frame in ("breach", "accounts")]
        write(breach, paths[0])
        write(accounts, paths[1])
        assert mg.liquidation_curve(*paths).equals(expected)
        assert mg.liquidation_curve(breach.lazy(), str(paths[1])).equals(expected)
    pyarrow = pytest.importorskip("pyarrow")
    tables = [
        pyarrow.table(frame.with_columns(pl.col(pl.Enum(KINDS)).cast(pl.String)))
        for frame in (breach, accounts)
    ]
    assert mg.liquidation_curve(*tables).equals(expected)


@pytest.mark.parametrize("source", [None, 5, {"account_id": [1]}])
def test_what_is_no_frame_is_refused(source: Any) -> None:
    breach, accounts = frames((1, -0.1, "root", 1.0))
    assert "breach: " in refused(mg.SchemaError, lambda: mg.liquidation_curve(source, accounts))
    assert "accounts: " in refused(mg.SchemaError, lambda: mg.liquidation_curve(breach, source))
