"""Windows of the past: two prices make a shock, and what lacks one makes none."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import partial
from math import inf, nan
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import refused

START = datetime(2024, 8, 1)


def frame(times: list[Any], **closes: list[float | None]) -> pl.DataFrame:
    """Return prices with a row per time and factor; None is a price that is not there."""
    rows = [
        (time, factor, close)
        for factor, column in closes.items()
        for time, close in zip(times, column, strict=True)
        if close is not None
    ]
    return pl.DataFrame(rows, schema=["ts", "symbol", "close"], orient="row")


def hours(*numbers: int) -> list[datetime]:
    return [START + timedelta(hours=number) for number in numbers]


def historical(prices: object, horizon: Any = "1h", **names: Any) -> pl.DataFrame:
    return mg.scenarios.historical(prices, horizon=horizon, **names)


def test_a_window_is_the_price_at_its_end_over_that_at_its_start() -> None:
    prices = frame(hours(0, 1, 2), BTC=[100.0, 50.0, 75.0], ETH=[8.0, 8.0, 4.0])
    assert historical(prices).rows() == [
        ("2024-08-01T00:00 to 2024-08-01T01:00", "BTC", -0.5),  # 50 / 100 - 1
        ("2024-08-01T00:00 to 2024-08-01T01:00", "ETH", 0.0),
        ("2024-08-01T01:00 to 2024-08-01T02:00", "BTC", 0.5),  # 75 / 50 - 1
        ("2024-08-01T01:00 to 2024-08-01T02:00", "ETH", -0.5),
    ]


def test_windows_overlap_where_the_horizon_is_longer_than_a_step() -> None:
    prices = frame(hours(0, 1, 2, 3), BTC=[1.0, 2.0, 4.0, 8.0])
    made = historical(prices, "2h")
    assert made["price_shock"].to_list() == [3.0, 3.0]
    assert made["scenario_id"].to_list() == [
        "2024-08-01T00:00 to 2024-08-01T02:00",
        "2024-08-01T01:00 to 2024-08-01T03:00",
    ]


def test_a_factor_that_lacks_a_price_at_an_end_is_left_out_of_the_window() -> None:
    prices = frame(hours(0, 1, 2), BTC=[1.0, 2.0, 4.0], NEW=[None, 1.0, 3.0], OLD=[2.0, 1.0, None])
    made = historical(prices).group_by("scenario_id", maintain_order=True).agg("factor")
    assert made["factor"].to_list() == [["BTC", "OLD"], ["BTC", "NEW"]]


def test_no_window_begins_where_none_can_end() -> None:
    prices = frame(hours(0, 1, 4, 5), BTC=[1.0, 2.0, 4.0, 8.0])
    assert historical(prices)["scenario_id"].to_list() == [
        "2024-08-01T00:00 to 2024-08-01T01:00",
        "2024-08-01T04:00 to 2024-08-01T05:00",
    ]


def test_steps_count_the_times_of_the_frame_whatever_lies_between() -> None:
    prices = frame(hours(0, 1, 4, 5), BTC=[1.0, 2.0, 4.0, 8.0], ETH=[1.0, None, 1.0, None])
    made = historical(prices, 2)
    assert made.select("factor", "price_shock").rows() == [("BTC", 3.0), ("ETH", 0.0), ("BTC", 3.0)]
    assert made["scenario_id"][-1] == "2024-08-01T01:00 to 2024-08-01T05:00"


def test_the_order_of_rows_makes_no_difference() -> None:
    prices = frame(hours(0, 1, 2, 3), BTC=[1.0, 2.0, 4.0, 8.0], ETH=[5.0, 4.0, None, 3.0])
    rows = prices.rows()
    Random(5).shuffle(rows)
    shuffled = pl.DataFrame(rows, schema=prices.schema, orient="row")
    assert historical(shuffled).equals(historical(prices))


def test_what_lies_within_a_window_does_not_count() -> None:
    prices = frame(hours(0, 1, 2), BTC=[100.0, 1.0, 90.0])
    (row,) = historical(prices, "2h").rows()
    assert row[2] == 90.0 / 100.0 - 1.0


@pytest.mark.parametrize(
    ("horizon", "end"),
    [
        ("1d", date(2024, 2, 1)),
        ("1w", date(2024, 2, 7)),
        ("1mo", date(2024, 2, 29)),
        ("1d12h12h", date(2024, 2, 2)),
        (timedelta(days=1), date(2024, 2, 1)),
        (timedelta(hours=24), date(2024, 2, 1)),
        (1, date(2024, 2, 1)),
        (3, date(2024, 2, 7)),
    ],
)
def test_a_horizon_is_a_duration_or_a_number_of_steps(horizon: Any, end: date) -> None:
    days = [date(2024, 1, 31), date(2024, 2, 1), date(2024, 2, 2), date(2024, 2, 7)]
    days.append(date(2024, 2, 29))
    prices = frame(days, BTC=[1.0, 2.0, 3.0, 4.0, 5.0])
    row = historical(prices, horizon).row(0)
    assert row == (f"2024-01-31 to {end}", "BTC", float(days.index(end)))


@pytest.mark.parametrize(
    "horizon",
    ["", "0d", "-1d", "1", "1 day", "1i", "d", 0, -1, True, 1.5, None, timedelta(0), ["1d"]],
)
def test_what_is_no_horizon_is_refused(horizon: Any) -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0])
    assert "horizon: " in refused(mg.MargraveError, lambda: historical(prices, horizon))


@pytest.mark.parametrize("horizon", ["2h", "30m", 2, 10**30, timedelta(days=99_999), "9999y"])
def test_a_horizon_that_no_two_times_have_is_refused(horizon: Any) -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0])
    assert "horizon: " in refused(mg.MargraveError, lambda: historical(prices, horizon))


# Ids


@pytest.mark.parametrize(
    ("step", "scenario_id"),
    [
        (timedelta(days=1), "2024-08-01 to 2024-08-02"),
        (timedelta(hours=12), "2024-08-01T00:00 to 2024-08-01T12:00"),
        (timedelta(minutes=1), "2024-08-01T00:00 to 2024-08-01T00:01"),
        (timedelta(seconds=30), "2024-08-01T00:00:00 to 2024-08-01T00:00:30"),
        (timedelta(microseconds=1), "2024-08-01T00:00:00 to 2024-08-01T00:00:00.000001"),
    ],
)
def test_an_id_is_as_fine_as_its_times(step: timedelta, scenario_id: str) -> None:
    made = historical(frame([START, START + step], BTC=[1.0, 2.0]), step)
    assert made["scenario_id"].to_list() == [scenario_id]


@pytest.mark.parametrize(
    "times",
    [
        pl.Series(["2024-08-01", "2024-08-02"]),
        pl.Series(["2024-08-01T00:00:00Z", "2024-08-02T02:00:00+02:00"]),
        pl.Series([date(2024, 8, 1), date(2024, 8, 2)]),
        pl.Series([START, START + timedelta(days=1)], dtype=pl.Datetime("ns")),
        pl.Series([START, START + timedelta(days=1)], dtype=pl.Datetime("ms", "UTC")),
        pl.Series(["2024-08-01", "2024-08-02"], dtype=pl.Categorical),
    ],
    ids=lambda times: f"{times.dtype} {times[1]}",
)
def test_times_come_in_any_type_that_holds_them(times: pl.Series) -> None:
    prices = pl.DataFrame({"time": times, "factor": "BTC", "price": [1.0, 2.0]})
    assert historical(prices, "1d").rows() == [("2024-08-01 to 2024-08-02", "BTC", 1.0)]


# Columns


@pytest.mark.parametrize("time", ["time", "ts", "timestamp", "date"])
@pytest.mark.parametrize(
    "factor", ["factor", "symbol", "asset", "asset_id", "instrument_id", "coin"]
)
@pytest.mark.parametrize("price", ["price", "close", "mark_price"])
def test_columns_are_found_by_their_usual_names(time: str, factor: str, price: str) -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0]).rename({"ts": time, "symbol": factor})
    made = historical(prices.rename({"close": price}))
    assert made["price_shock"].to_list() == [1.0]


def test_columns_of_other_names_are_named() -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0]).rename(
        {"ts": "when", "symbol": "what", "close": "worth"}
    )
    made = historical(prices, time="when", factor="what", price="worth")
    assert made["price_shock"].to_list() == [1.0]


def test_a_named_column_wins_over_those_that_are_found() -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0]).with_columns(price=pl.lit(3.0))
    assert historical(prices, price="close")["price_shock"].to_list() == [1.0]
    assert historical(prices, price="price")["price_shock"].to_list() == [0.0]


def test_of_several_columns_that_fit_one_must_be_named() -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0]).with_columns(price=pl.lit(3.0))
    message = refused(mg.SchemaError, lambda: historical(prices))
    assert "price='price' or price='close'" in message


@pytest.mark.parametrize(
    ("column", "other", "meant"),
    [
        ("close", "Close", "close"),
        ("symbol", "symbols", "symbol"),
        ("ts", "time_stamp", "timestamp"),
    ],
)
def test_a_near_miss_of_a_column_says_which_was_meant(column: str, other: str, meant: str) -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0]).rename({column: other})
    message = refused(mg.SchemaError, lambda: historical(prices))
    assert f"did you mean {meant}" in message
    assert other in message


def test_a_wide_frame_is_told_to_unpivot() -> None:
    prices = pl.DataFrame({"time": hours(0, 1), "BTC": [1.0, 2.0], "ETH": [1.0, 2.0]})
    assert "unpivot" in refused(mg.SchemaError, lambda: historical(prices))


def test_a_keyword_that_names_no_column_is_told_those_there_are() -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0])
    message = refused(mg.SchemaError, lambda: historical(prices, price="closes"))
    assert "did you mean close" in message
    assert "ts, symbol, close" in message


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("ts", [1, 2]),
        ("ts", [1.5, 2.5]),
        ("symbol", [1.5, 2.5]),
        ("symbol", [True, False]),
        ("close", ["1", "2"]),
        ("close", [True, False]),
    ],
)
def test_a_column_of_another_type_is_refused(column: str, values: list[Any]) -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0]).with_columns(pl.Series(column, values))
    assert f"prices.{column}: " in refused(mg.SchemaError, lambda: historical(prices))


# Values


@pytest.mark.parametrize("close", [None, nan, inf, -inf, 0.0, -1.0, 1e19])
def test_a_price_that_is_none_is_refused(close: float | None) -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0]).with_columns(close=pl.Series([1.0, close]))
    message = refused(mg.DataError, lambda: historical(prices))
    assert "prices.close: 1 value is" in message
    assert "first rows: 1" in message
    assert "above 0" in message


@pytest.mark.parametrize("column", ["ts", "symbol"])
def test_a_row_without_time_or_factor_is_refused(column: str) -> None:
    prices = frame(hours(0, 1), BTC=[1.0, 2.0])
    prices = prices.with_columns(pl.col(column).shift(1))
    assert f"prices.{column}: 1 value is null" in refused(mg.DataError, lambda: historical(prices))


def test_a_text_that_is_no_time_is_refused() -> None:
    prices = pl.DataFrame({"ts": ["2024-08-01", "soon"], "symbol": "BTC", "close": [1.0, 2.0]})
    message = refused(mg.DataError, lambda: historical(prices))
    assert "prices.ts: 1 value is no ISO date or time (first rows: 1; values 'soon')" in message


def test_two_prices_at_one_time_are_refused() -> None:
    prices = frame(hours(0, 1, 1), BTC=[1.0, 2.0, 2.0])
    message = refused(mg.SchemaError, lambda: historical(prices))
    assert "prices.symbol, prices.ts: " in message
    assert "'BTC' at 2024-08-01 01:00:00, rows 1, 2" in message


def test_a_move_beyond_all_numbers_is_refused() -> None:
    of_both: list[list[float | None]] = [[1e18, 1e-18], [1e-300, 1e18]]
    for closes in of_both:
        message = refused(mg.DataError, partial(historical, frame(hours(0, 1), BTC=closes)))
        assert "'BTC' moves by" in message


def test_integers_and_decimals_are_prices_and_integers_are_factors() -> None:
    prices = frame(hours(0, 1), BTC=[100.0, 50.0]).with_columns(symbol=pl.lit(7))
    for dtype in (pl.Int32, pl.UInt64, pl.Float32, pl.Decimal(10, 2)):
        made = historical(prices.with_columns(pl.col("close").cast(dtype)))
        assert made.select("factor", "price_shock").rows() == [("7", -0.5)]


# Producers


def test_prices_come_from_anything_that_holds_a_frame(tmp_path: Path) -> None:
    prices = frame(hours(0, 1, 2), BTC=[1.0, 2.0, 3.0], ETH=[3.0, 2.0, 1.0])
    expected = historical(prices)
    prices.write_parquet(tmp_path / "prices.parquet")
    prices.write_csv(tmp_path / "prices.csv")
    sources = [prices.lazy(), tmp_path / "prices.parquet", str(tmp_path / "prices.csv")]
    sources.append([tmp_path / "prices.parquet"])
    for source in sources:
        assert historical(source).equals(expected)
    pandas = pytest.importorskip("pandas")
    as_pandas = pandas.DataFrame({c.name: c.to_list() for c in prices})
    assert historical(as_pandas).equals(expected)
    pyarrow = pytest.importorskip("pyarrow")
    assert historical(pyarrow.table(as_pandas)).equals(expected)


@pytest.mark.parametrize("source", [None, 5, {"ts": [1]}, pl.Series([1])])
def test_what_is_no_frame_is_refused(source: Any) -> None:
    assert "prices: " in refused(mg.SchemaError, lambda: historical(source))
