"""Hygiene: each warning at its line and past it, what is not looked at, and no correction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import make_night
from margrave import hygiene, night

NOW = datetime(2026, 12, 25, 9, tzinfo=UTC)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    return night.find(make_night(tmp_path / "night"))


def held(*rows: tuple[str | None, float | None, float | None]) -> pl.DataFrame:
    """Return rows of positions: instrument, quantity, entry price."""
    types: dict[str, Any] = {
        "instrument_id": pl.String,
        "quantity": pl.Float64,
        "entry_price": pl.Float64,
    }
    return pl.DataFrame(rows, schema=types, orient="row")


def owned(*rows: tuple[str | None, str | None]) -> pl.DataFrame:
    types: dict[str, Any] = {"account_id": pl.String, "owner_id": pl.String}
    return pl.DataFrame(rows, schema=types, orient="row")


def looked(
    files: dict[str, list[Path]],
    positions: pl.DataFrame | None = None,
    accounts: pl.DataFrame | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the warnings by name."""
    book = hygiene.seen(
        held() if positions is None else positions,
        owned() if accounts is None else accounts,
    )
    found = hygiene.examine(files, [book], NOW)
    assert hygiene.text(found).count("\n") == len(found.warnings) + len(found.not_looked_at)
    return {warning["warning"]: warning for warning in found.warnings}


def change(files: dict[str, list[Path]], frame: str, **columns: Any) -> None:
    file = files[frame][0]
    pl.read_parquet(file).with_columns(**columns).write_parquet(file)


# Open interest


def test_longs_and_shorts_that_differ_are_told_by_instrument(files: dict[str, list[Path]]) -> None:
    sides = [("BTC", 2.0), ("BTC", -0.5), ("ETH", 3.0), ("ETH", -3.0), ("SOL", 1.0), ("SOL", -4.0)]
    positions = held(*((name, quantity, 1.0) for name, quantity in sides))
    warning = looked(files, positions)["open_interest_differs"]
    assert (warning["where"], warning["count"], warning["of"]) == ("positions.quantity", 2, 3)
    assert warning["first"] == [
        {"instrument_id": "BTC", "long": 2.0, "short": 0.5},
        {"instrument_id": "SOL", "long": 1.0, "short": 4.0},
    ]
    assert warning["message"].endswith("; first: BTC (long 2, short 0.5), SOL (long 1, short 4)")


@pytest.mark.parametrize(("short", "warned"), [(1.0 - 0.9e-9, False), (1.0 - 1.1e-9, True)])
def test_sides_may_differ_by_rounding(
    files: dict[str, list[Path]], short: float, warned: bool
) -> None:
    found = looked(files, held(("BTC", 1e6, 1.0), ("BTC", -1e6 * short, 1.0)))
    assert ("open_interest_differs" in found) == warned


def test_rows_that_hold_nothing_or_no_number_take_no_side(files: dict[str, list[Path]]) -> None:
    rows = [("BTC", 0.0, 1.0), ("BTC", None, 1.0), ("BTC", float("inf"), 1.0), (None, 1.0, 1.0)]
    assert "open_interest_differs" not in looked(files, held(*rows))


# Marks


@pytest.mark.parametrize(
    ("entry", "warned"),
    [(61_000 / 5, False), (12_199.0, True), (305_000.0, False), (305_001.0, True)],
)
def test_a_mark_is_far_past_five_times_the_median_entry(
    files: dict[str, list[Path]], entry: float, warned: bool
) -> None:
    rows = [("BTC", 1.0, entry), ("BTC", -1.0, entry), ("BTC", 1.0, 1.0), ("BTC", -1.0, 1e9)]
    found = looked(files, held(*rows))
    assert ("mark_far_from_entries" in found) == warned
    if warned:
        first = {"instrument_id": "BTC", "mark_price": 61_000.0}
        assert found["mark_far_from_entries"]["first"] == [
            {**first, "median_entry": entry, "positions": 4}
        ]


def test_rows_that_hold_nothing_say_nothing_of_a_mark(files: dict[str, list[Path]]) -> None:
    rows = [("BTC", 0.0, 1.0), ("BTC", 1.0, None), ("BTC", 1.0, -3.0), ("UNLISTED", 1.0, 1.0)]
    assert "mark_far_from_entries" not in looked(files, held(*rows))


def test_options_fade_and_are_not_looked_at(files: dict[str, list[Path]]) -> None:
    positions = held(("BTC", 1.0, 1.0), ("ETH", 1.0, 1.0))
    change(files, "instruments", kind=pl.Series(["call", "linear"]), underlying_price=pl.lit(1.0))
    warning = looked(files, positions)["mark_far_from_entries"]
    assert [row["instrument_id"] for row in warning["first"]] == ["ETH"]


# Times


def test_a_price_that_stands_still_is_told_and_so_is_one_ahead(tmp_path: Path) -> None:
    folder = make_night(tmp_path / "night")
    one = pl.read_parquet(folder / "instruments.parquet").head(1)
    times = [NOW] * 4 + [NOW - timedelta(hours=1), NOW - timedelta(hours=1, seconds=1)]
    times += [NOW + timedelta(seconds=60), NOW + timedelta(seconds=61)]
    ids = pl.Series("instrument_id", [f"X{n}" for n in range(9)])
    pl.concat([one] * 9).with_columns(ids, mark_time=pl.Series([*times, None])).write_parquet(
        folder / "instruments.parquet"
    )
    found = looked(night.find(folder))
    names = {name: [row["instrument_id"] for row in w["first"]] for name, w in found.items()}
    assert names == {"stale_time": ["X5"], "time_ahead": ["X7"], "no_time": ["X8"]}
    assert found["stale_time"]["where"] == "instruments.mark_time"
    assert found["stale_time"]["first"][0]["mark_time"] == "2026-12-25T07:59:59Z"


def test_a_night_of_old_that_was_taken_at_once_has_no_stale_times(
    files: dict[str, list[Path]],
) -> None:
    change(files, "instruments", mark_time=pl.lit("2021-01-01"))
    change(files, "assets", price_time=pl.lit("2021-01-01"))
    assert looked(files) == {}


def test_what_a_night_does_not_have_is_said(files: dict[str, list[Path]]) -> None:
    found = hygiene.examine(files, [hygiene.seen(held(), pl.DataFrame({"account_id": [1]}))], NOW)
    assert hygiene.text(found).splitlines() == [
        "Hygiene: nothing looks wrong",
        "  not looked at: instruments.mark_time, which the night does not have",
        "  not looked at: assets.price_time, which the night does not have",
        "  not looked at: accounts.owner_id, which the night does not have",
    ]


# Owners


@pytest.mark.parametrize(
    ("rows", "warned"),
    [
        ([("A17", "x"), ("a17 ", "y")], True),
        ([("A17", "x"), ("a17", None)], True),
        ([("A17", "x"), ("a17", "x")], False),
        ([("A17", None), ("a17", None)], False),
        ([("A17", "x"), ("B17", "y")], False),
        ([("", "x"), (" ", "y")], True),
        ([(None, "x"), (None, "y")], False),
    ],
)
def test_ids_that_read_alike_under_two_owners_are_told(
    files: dict[str, list[Path]], rows: list[tuple[str | None, str | None]], warned: bool
) -> None:
    assert ("account_in_two_owners" in looked(files, accounts=owned(*rows))) == warned


def test_the_ways_an_account_is_written_are_shown(files: dict[str, list[Path]]) -> None:
    accounts = owned(("A17", "x"), ("z", "x"), ("a17 ", None), ("\x1b", "y"))
    warning = looked(files, accounts=accounts)["account_in_two_owners"]
    assert warning["first"] == [{"account_ids": ["A17", "a17 "], "owners": 2}]
    assert warning["message"] == (
        "accounts.owner_id: 1 of 4 accounts are written in several ways, under several owners; "
        "first: 'A17' = 'a17 ' (owners 2)"
    )


def test_integers_are_written_in_one_way(files: dict[str, list[Path]]) -> None:
    accounts = pl.DataFrame({"account_id": [1, 2], "owner_id": ["x", "y"]})
    assert looked(files, accounts=accounts) == {}


# All of it


def test_counts_go_on_where_the_names_stop(files: dict[str, list[Path]]) -> None:
    rows = [(f"X{n:02}", 1.0, 1.0) for n in range(12)]
    warning = looked(files, held(*rows))["open_interest_differs"]
    assert (warning["count"], len(warning["first"])) == (12, 5)
    assert warning["message"].endswith("X04 (long 1, short 0), ...")


def test_hostile_ids_are_shown_and_not_obeyed(files: dict[str, list[Path]]) -> None:
    warning = looked(files, held(("\x1b[2J", 1.0, 1.0)))["open_interest_differs"]
    assert "\x1b" not in warning["message"]
    assert warning["first"][0]["instrument_id"] == "\x1b[2J"
