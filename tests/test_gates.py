"""Gates: what a night must pass, how that is asked for, and what is said where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import make_night
from margrave import ages, errors, gates, night
from margrave.schema import TOTAL_COLUMNS
from small_night import frames, sweep

NOW = datetime(2026, 12, 25, 9, tzinfo=UTC)

NOTHING: Mapping[str, Any] = dict.fromkeys(TOTAL_COLUMNS, 0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    return night.find(make_night(tmp_path / "night"))


def asked(files: dict[str, list[Path]], *above: str, age: str | None = None) -> gates.Gates:
    return gates.asked(files, 0, above, age, NOW)


def with_times(files: dict[str, list[Path]], marks: pl.Series, prices: pl.Series) -> None:
    for name, column, times in (
        ("instruments", "mark_time", marks),
        ("assets", "price_time", prices),
    ):
        file = files[name][0]
        pl.read_parquet(file).with_columns(times.alias(column)).write_parquet(file)


# --fail-above


def test_the_columns_of_totals_are_those_that_a_sweep_has() -> None:
    assert sweep(frames()).totals.columns == list(TOTAL_COLUMNS)


@pytest.mark.parametrize("column", TOTAL_COLUMNS)
def test_any_column_of_totals_may_reach_its_limit_and_not_exceed_it(
    files: dict[str, list[Path]], column: str
) -> None:
    wanted = gates.asked(files, 3, [f"{column}=2.5"], None, NOW)
    assert wanted.failed({**NOTHING, column: 2.5}, 0) == []
    gate = {"gate": "fail_above", "column": column, "value": 2.75, "limit": 2.5}
    assert wanted.failed({**NOTHING, column: 2.75}, 0) == [gate]


def test_gates_are_judged_each_for_itself_in_the_order_in_which_they_are_asked_for(
    files: dict[str, list[Path]],
) -> None:
    wanted = asked(files, "net_notional=-1e3", "accounts = 10", "equity=1")
    failed = wanted.failed({**NOTHING, "accounts": 11, "net_notional": -999.5}, 3)
    assert [gate.get("column", gate["gate"]) for gate in failed] == [
        "max_rejects",
        "net_notional",
        "accounts",
    ]
    assert [gate["limit"] for gate in failed] == [0, -1_000.0, 10]


def test_a_count_is_compared_to_the_last_digit(files: dict[str, list[Path]]) -> None:
    wanted = asked(files, f"accounts={2**53 + 1}")
    assert wanted.failed({**NOTHING, "accounts": 2**53 + 1}, 0) == []
    assert len(wanted.failed({**NOTHING, "accounts": 2**53 + 2}, 0)) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_cannot_be_compared_does_not_pass(files: dict[str, list[Path]], value: float) -> None:
    assert len(asked(files, "equity=1e300").failed({**NOTHING, "equity": value}, 0)) == 1


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("liquidatable_acounts=1", "did you mean liquidatable_accounts"),
        ("bad_det=1", "did you mean bad_debt"),
        ("Equity=1", "did you mean equity"),
        ("x=1", "hint: its columns are accounts, flat_accounts"),
        ("accounts", "is not COLUMN=N"),
        ("=1", "is not COLUMN=N"),
        ("accounts=", "is no finite number for accounts"),
        ("accounts=many", "'many' is no finite number"),
        ("accounts=nan", "is no finite number"),
        ("accounts=inf", "is no finite number"),
        ("equity=1=1", "totals has no column 'equity=1'"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_may_have_been_meant(
    files: dict[str, list[Path]], wanted: str, words: str
) -> None:
    with pytest.raises(night.RefusedError, match=r"--fail-above: .*\nhint: ") as refusal:
        asked(files, wanted)
    assert words in str(refusal.value)


def test_a_column_twice_is_refused(files: dict[str, list[Path]]) -> None:
    with pytest.raises(night.RefusedError, match="accounts is there twice"):
        asked(files, "accounts=1", "equity=2", "accounts=3")


# --max-mark-age


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1.5h", 5_400), ("2d", 172_800), (" 15m ", 900), ("0.5s", 0.5)],
)
def test_an_age_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert ages.limit(text).seconds == seconds


@pytest.mark.parametrize(
    "text", ["", "15", "m", "-15m", "15 m", "15M", "1h30m", "0m", "1e3s", "٣m"]
)
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(night.RefusedError, match=r"--max-mark-age: .* is no age\nhint: "):
        ages.limit(text)


def test_a_price_may_be_as_old_as_allowed_and_no_older(files: dict[str, list[Path]]) -> None:
    at_the_line = NOW - timedelta(minutes=15)
    past = at_the_line - timedelta(microseconds=1)
    with_times(files, pl.Series([at_the_line, past]), pl.Series([at_the_line]))
    (gate,) = asked(files, age="15m").failed(NOTHING, 0)
    assert gate == {
        **{"gate": "max_mark_age", "frame": "instruments", "column": "mark_time"},
        **{"rows": 1, "of": 2, "without_time": 0},
        "first": [{"instrument_id": "ETH", "mark_time": "2026-12-25T08:44:59.999999Z"}],
        **{"limit": "15m", "limit_seconds": 900.0},
    }
    assert asked(files, age="16m").failed(NOTHING, 0) == []


def test_a_price_without_a_time_is_too_old(files: dict[str, list[Path]]) -> None:
    with_times(files, pl.Series([NOW, None]), pl.Series([None], dtype=pl.String))
    marks, prices = asked(files, age="2d").failed(NOTHING, 0)
    assert (marks["rows"], marks["without_time"]) == (1, 1)
    assert marks["first"] == [{"instrument_id": "ETH", "mark_time": None}]
    assert prices["first"] == [{"asset_id": "USDC", "price_time": None}]
    assert (prices["rows"], prices["of"]) == (1, 1)


def test_the_first_ids_are_named_and_the_rest_counted(files: dict[str, list[Path]]) -> None:
    one = pl.read_parquet(files["instruments"][0]).head(1)
    ids = pl.Series("instrument_id", [f"X{n}" for n in range(12)])
    pl.concat([one] * 12).with_columns(ids, mark_time=NOW - timedelta(days=3)).write_parquet(
        files["instruments"][0]
    )
    file = files["assets"][0]
    pl.read_parquet(file).with_columns(price_time=pl.lit(NOW)).write_parquet(file)
    (gate,) = asked(files, age="15m").failed(NOTHING, 0)
    assert (gate["rows"], len(gate["first"])) == (12, ages.FIRST)
    assert (
        "12 of 12 rows are older than --max-mark-age 15m (first: X0 (2026-12-22T09:00:00Z), X1"
        in (gates.text(gate))
    )
    assert gates.text(gate).endswith("X4 (2026-12-22T09:00:00Z), ...)")


MOMENT = datetime(2026, 12, 25, 8, tzinfo=UTC)

TIMES = {
    "UTC": pl.Series([MOMENT]),
    "another zone": pl.Series([MOMENT]).dt.convert_time_zone("Asia/Tokyo"),
    "naive": pl.Series([MOMENT.replace(tzinfo=None)]),
    "nanoseconds": pl.Series([MOMENT.replace(tzinfo=None)], dtype=pl.Datetime("ns")),
    "milliseconds": pl.Series([MOMENT]).cast(pl.Datetime("ms", "UTC")),
    "text": pl.Series(["2026-12-25T08:00:00Z"]),
    "text of another zone": pl.Series(["2026-12-25T17:00:00+09:00"]),
    "naive text": pl.Series(["2026-12-25 08:00"]),
    "categorical": pl.Series(["2026-12-25T08:00:00Z"], dtype=pl.Categorical),
    "enum": pl.Series(["2026-12-25T08:00Z"], dtype=pl.Enum(["2026-12-25T08:00Z"])),
}


@pytest.mark.parametrize("form", TIMES)
def test_a_moment_is_the_same_however_it_is_written(form: str) -> None:
    assert ages.instants(TIMES[form]).to_list() == [MOMENT]


def test_a_date_is_its_first_moment_and_null_is_none() -> None:
    midnight = [MOMENT.replace(hour=0), None]
    for column in (pl.Series([date(2026, 12, 25), None]), pl.Series(["2026-12-25", None])):
        assert ages.instants(column).to_list() == midnight
    for nulls in (pl.Series([None, None]), pl.Series([None, None], dtype=pl.String)):
        assert ages.instants(nulls).to_list() == [None, None]
    assert ages.instants(pl.Series([], dtype=pl.Date)).is_empty()


def test_a_moment_is_written_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert ages.written(datetime(2026, 12, 25, 17, tzinfo=tokyo)) == "2026-12-25T08:00:00Z"
    assert ages.written(None) is None


def test_a_csv_has_times_too(tmp_path: Path, files: dict[str, list[Path]]) -> None:
    with_times(files, pl.Series(["2026-12-25T08:59:00Z", None]), pl.Series(["2026-12-25T08:59Z"]))
    for name in ("instruments", "assets"):
        pl.read_parquet(files[name][0]).write_csv(tmp_path / f"{name}.csv")
    written = {name: [tmp_path / f"{name}.csv"] for name in ("instruments", "assets")}
    (gate,) = asked(files | written, age="15m").failed(NOTHING, 0)
    assert (gate["frame"], gate["rows"], gate["without_time"]) == ("instruments", 1, 1)


def test_a_night_without_times_is_told_which_are_missing(files: dict[str, list[Path]]) -> None:
    with pytest.raises(
        night.RefusedError, match=r"no instruments\.mark_time and no assets\.price_time\nhint: "
    ):
        asked(files, age="15m")
    with_times(files, pl.Series([NOW] * 2), pl.Series([None]))  # of no type: as good as absent
    with pytest.raises(night.RefusedError, match=r"the night has no assets\.price_time\nhint: "):
        asked(files, age="15m")


def test_times_that_cannot_be_read_refuse_the_night(files: dict[str, list[Path]]) -> None:
    with_times(files, pl.Series(["soon", "2026"]), pl.Series([NOW]))
    with pytest.raises(errors.DataError, match=r"instruments\.mark_time: 2 values are no ISO"):
        asked(files, age="15m")
    pl.read_parquet(files["assets"][0]).rename({"price_time": "price_tme"}).write_parquet(
        files["assets"][0]
    )
    with_times(files | {"assets": files["balances"]}, pl.Series([NOW] * 2), pl.Series([NOW] * 3))
    with pytest.raises(errors.SchemaError, match="did you mean price_time"):
        asked(files, age="15m")


def test_nobody_who_asks_for_no_age_needs_times(files: dict[str, list[Path]]) -> None:
    files["instruments"][0].unlink()
    assert asked(files).failed(NOTHING, 0) == []


# What is said


def test_a_failed_gate_says_what_it_found_and_what_was_allowed() -> None:
    above = {"gate": "fail_above", "column": "total_bad_debt", "value": 1234567.5, "limit": 10}
    assert gates.text(above) == (
        "exit code 1: total_bad_debt is 1,234,567.5; --fail-above total_bad_debt=10 allows no more"
    )
    old = {
        **{"gate": "max_mark_age", "frame": "assets", "column": "price_time"},
        **{"rows": 2, "of": 30, "without_time": 1, "limit": "15m", "limit_seconds": 900},
        "first": [
            {"asset_id": "BTC", "price_time": "2026-12-25T08:00:00Z"},
            {"asset_id": "\x1b[2J", "price_time": None},
        ],
    }
    assert gates.text(old) == (
        "exit code 1: assets.price_time: 2 of 30 rows are older than --max-mark-age 15m, 1 of "
        "them without a time (first: BTC (2026-12-25T08:00:00Z), \\x1b[2J (null))"
    )
