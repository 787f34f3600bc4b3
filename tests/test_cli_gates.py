"""`--fail-above`, `--max-mark-age` and `check --hygiene`, as processes: codes, text, manifest."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import assert_refused, make_night, margrave, names


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path / "night")


def with_times(night: Path, *ages: timedelta) -> None:
    """Give marks these ages, and asset prices the first of them."""
    now = datetime.now(UTC)
    for name, column, count in (("instruments", "mark_time", 2), ("assets", "price_time", 1)):
        times = pl.Series(column, [now - age for age in ages[:count]])
        file = night / f"{name}.parquet"
        pl.read_parquet(file).with_columns(times).write_parquet(file)


def based(night: Path) -> None:
    file = night / "instruments.parquet"
    pl.read_parquet(file).with_columns(base_asset=pl.col("instrument_id")).write_parquet(file)


COMMANDS = {"sweep": (), "stress": ("--scenarios", "2020-03-12"), "breach": ()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_failed_gate_is_1_and_the_output_is_written_and_marked(night: Path, command: str) -> None:
    based(night)
    run = (command, night, *COMMANDS[command])
    passed = ("--fail-above", "liquidatable_accounts=2", "--fail-above", "bankrupt_accounts=1")
    ran = margrave(*run, *passed, "--out", "passed")
    assert ran.code == 0, ran.err
    failed = ("--fail-above", "liquidatable_accounts=1", "--fail-above", "total_bad_debt=499.5")
    ran = margrave(*run, *failed, "--out", "failed", "--quiet")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        "exit code 1: liquidatable_accounts is 2; --fail-above liquidatable_accounts=1 allows no "
        "more",
        "exit code 1: total_bad_debt is 500.0; --fail-above total_bad_debt=499.5 allows no more",
    ]
    assert names(night.parent / "failed") == names(night.parent / "passed")
    stored = json.loads((night.parent / "failed" / "manifest.json").read_text(encoding="utf-8"))
    assert stored["exit_code"] == 1
    assert stored["gates"] == [
        {"gate": "fail_above", "column": "liquidatable_accounts", "value": 2, "limit": 1},
        {"gate": "fail_above", "column": "total_bad_debt", "value": 500.0, "limit": 499.5},
    ]


@pytest.mark.parametrize("command", [*COMMANDS, "check"])
def test_a_column_that_totals_lacks_is_wrong_usage(night: Path, command: str) -> None:
    out = () if command == "check" else ("--out", "out")
    run = (command, night, *COMMANDS.get(command, ()), *out)
    ran = margrave(*run, "--fail-above", "liquidatable_acounts=1")
    assert_refused(ran, 2, "'liquidatable_acounts'; did you mean liquidatable_accounts", "hint: ")


@pytest.mark.parametrize("command", [*COMMANDS, "check"])
def test_marks_that_are_too_old_are_1(night: Path, command: str) -> None:
    based(night)
    with_times(night, timedelta(minutes=1), timedelta(days=2))
    out = () if command == "check" else ("--out", "out")
    run = (command, night, *COMMANDS.get(command, ()), *out)
    ran = margrave(*run, "--max-mark-age", "15m", "--quiet", "--json")
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert line.startswith("exit code 1: instruments.mark_time: 1 of 2 rows are older than ")
    (gate,) = json.loads(ran.out)["gates"]
    assert (gate["gate"], gate["frame"], gate["rows"]) == ("max_mark_age", "instruments", 1)
    assert gate["first"][0]["instrument_id"] == "ETH"
    assert ("out" in names(night.parent)) == (command != "check")


def test_marks_that_are_fresh_enough_are_0(night: Path) -> None:
    with_times(night, timedelta(minutes=1), timedelta(hours=2))
    ran = margrave("sweep", night, "--out", "out", "--max-mark-age", "3h", "--json")
    assert (ran.code, json.loads(ran.out)["gates"]) == (0, [])


def test_a_night_without_times_cannot_be_held_to_an_age(night: Path) -> None:
    ran = margrave("sweep", night, "--out", "out", "--max-mark-age", "15m")
    assert_refused(ran, 2, "no instruments.mark_time and no assets.price_time", "hint: ")
    assert_refused(margrave("sweep", night, "--out", "out", "--max-mark-age", "15"), 2, "is no age")


def test_input_that_cannot_be_read_is_3_with_an_age_too(night: Path) -> None:
    with_times(night, timedelta(0), timedelta(0))
    (night / "assets.parquet").write_bytes(b"PAR1")
    ran = margrave("sweep", night, "--out", "out", "--max-mark-age", "15m")
    assert_refused(ran, 3, "assets: ", "assets.parquet cannot be read")


# Hygiene


def test_hygiene_warns_and_changes_nothing(night: Path) -> None:
    before = {path: path.read_bytes() for path in night.iterdir()}
    plain = margrave("check", night)
    ran = margrave("check", night, "--hygiene")
    assert (ran.code, ran.out) == (0, "")
    text, hygiene = ran.err.split("Hygiene: ")
    assert text == plain.err
    assert hygiene.splitlines()[0] == "1 warning"
    assert "positions.quantity: 2 of 2 instruments are held more on one side" in hygiene
    assert "first: BTC (long 2, short 0), ETH (long 10, short 0)" in hygiene
    assert "not looked at: accounts.owner_id" in hygiene
    assert {path: path.read_bytes() for path in night.iterdir()} == before
    assert margrave("check", night, "--hygiene", "--quiet").err == ""


def test_hygiene_is_a_key_beside_the_others(night: Path) -> None:
    accounts: dict[str, Any] = {"account_id": [1, 2, 3], "owner_id": ["x", "x", "y"]}
    pl.DataFrame(accounts).write_parquet(night / "accounts.parquet")
    with_times(night, timedelta(minutes=1), timedelta(days=2))
    plain = json.loads(margrave("check", night, "--json").out)
    printed = json.loads(margrave("check", night, "--json", "--hygiene").out)
    hygiene = printed.pop("hygiene")
    assert {**printed, "seconds": 0} == {**plain, "seconds": 0}
    assert [warning["warning"] for warning in hygiene["warnings"]] == [
        "open_interest_differs",
        "stale_time",
    ]
    assert hygiene["not_looked_at"] == []


def test_accounts_of_two_owners_are_found_in_a_night_of_texts(night: Path) -> None:
    for name in ("positions", "balances"):
        file = night / f"{name}.parquet"
        frame = pl.read_parquet(file)
        written = pl.Series("account_id", [f"ann{' ' * n}" for n in frame["account_id"]])
        frame.with_columns(written).write_parquet(file)
    accounts = {"account_id": ["ann ", "ann  "], "owner_id": ["x", "y"]}
    pl.DataFrame(accounts).write_parquet(night / "accounts.parquet")
    ran = margrave("check", night, "--hygiene", "--json")
    warnings = {w["warning"]: w for w in json.loads(ran.out)["hygiene"]["warnings"]}
    (first,) = warnings["account_in_two_owners"]["first"]
    assert first == {"account_ids": ["ann ", "ann  ", "ann   "], "owners": 3}


def test_a_night_that_is_refused_is_not_looked_at(night: Path) -> None:
    (night / "rules.toml").write_text("surprise = 1", encoding="utf-8")
    ran = margrave("check", night, "--hygiene")
    assert_refused(ran, 2, "surprise")
    assert "Hygiene" not in ran.err
