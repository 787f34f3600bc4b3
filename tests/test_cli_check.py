"""`margrave check`: what is wrong with a night by rule, with the exit code that a sweep has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from command_line import assert_refused, make_night, margrave, names, read
from stored_text import assert_stored


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path / "night")


def rewrite(night: Path, frame: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    file = night / f"{frame}.parquet"
    change(pl.read_parquet(file)).write_parquet(file)


def spoil(night: Path) -> None:
    """Spoil twelve positions: NaN, null, an unlisted hostile id, and rows without account."""
    rewrite(
        night,
        "positions",
        lambda frame: pl.concat([frame] * 3).with_columns(
            quantity=pl.Series([1.0, float("nan"), None, 4.0] * 3),
            instrument_id=pl.Series(["BTC", "ETH", "BTC", "\x1b[2J[/red]"] * 3),
            account_id=pl.Series([1, 2, 3, None] * 3),
        ),
    )


def test_a_clean_night_is_0_and_says_so(night: Path) -> None:
    ran = margrave("check", night)
    assert (ran.code, ran.out) == (0, "")
    assert "3 accounts, 4 positions, 3 balances" in ran.err
    assert "No value is rejected." in ran.err
    assert "Set aside" not in ran.err
    assert "Control: in = used + set aside, 2 instruments, 1 asset" in ran.err
    assert names(ran.folder) == ["night"]


def test_what_is_wrong_is_told_by_rule_with_the_first_rows(night: Path) -> None:
    spoil(night)
    ran = margrave("check", night)
    assert (ran.code, ran.out) == (1, "")
    _, rest = ran.err.split("\n\n", 1)  # the first paragraph names the ruleset's hash
    assert_stored(rest, "check")
    assert "\x1b" not in ran.err
    assert names(ran.folder) == ["night"]


def test_json_has_every_rule_with_its_count_and_first_rows(night: Path) -> None:
    spoil(night)
    ran = margrave("check", night, "--json", "--quiet")
    printed = json.loads(ran.out)
    broken = {(f["frame"], f["column"], f["reason"]): f for f in printed["faults"]}
    assert {rule: f["rows"] for rule, f in broken.items()} == {
        ("positions", "account_id", "null"): 3,
        ("positions", "instrument_id", "instrument missing in instruments"): 3,
        ("positions", "quantity", "NaN"): 3,
        ("positions", "quantity", "null"): 3,
    }
    nan = [{"row": row, "value": "NaN"} for row in (1, 5, 9)]
    assert broken["positions", "quantity", "NaN"]["first"] == nan
    missing = broken["positions", "instrument_id", "instrument missing in instruments"]
    assert missing["first"][0] == {"row": 3, "value": "\x1b[2J[/red]"}
    assert printed["set_aside"] == {
        "indeterminate_accounts": 2,
        "rows_of_indeterminate_accounts": {"positions": 6, "balances": 2},
        "rows_without_account": {"positions": 3, "balances": 0},
    }
    assert printed["rejects"] == sum(fault["rows"] for fault in broken.values())
    assert printed["exit_code"] == ran.code == 1
    assert printed["totals"]["indeterminate_accounts"] == 2


def test_json_agrees_with_the_manifest_of_a_sweep(night: Path) -> None:
    spoil(night)
    swept = json.loads(margrave("sweep", night, "--out", "out", "--json").out)
    checked = json.loads(margrave("check", night, "--json").out)
    assert checked.pop("faults")
    assert checked.pop("estimated_peak_bytes") > 0
    besides = {"run_id", "command", "ruleset", "inputs", "files", "machine", "manifest_digest"}
    assert set(swept) - set(checked) == besides
    agreed = {key: swept[key] for key in checked}
    assert {**checked, "seconds": 0} == {**agreed, "seconds": 0}


def test_only_the_first_rows_of_a_rule_are_shown(night: Path) -> None:
    rewrite(
        night,
        "balances",
        lambda frame: pl.concat([frame] * 1_000).with_columns(amount=pl.lit(2e18)),
    )
    ran = margrave("check", night, "--json", "--max-rejects", "3000")
    assert ran.code == 0
    (fault,) = json.loads(ran.out)["faults"]
    assert fault["rows"] == 3_000
    assert [bad["row"] for bad in fault["first"]] == [0, 1, 2, 3, 4]
    assert "balances.amount: beyond 1e18 in size (3,000)" in ran.err
    assert "first rows: 0 (2e+18), 1 (2e+18), 2 (2e+18), 3 (2e+18), 4 (2e+18), ..." in ran.err


def broken_rules(night: Path) -> None:
    (night / "rules.toml").write_text("surprise = 1", encoding="utf-8")


def no_tiers(night: Path) -> None:
    text = (night / "rules.toml").read_text(encoding="utf-8")
    (night / "rules.toml").write_text(text.replace('"ETH"', '"DOGE"'), encoding="utf-8")


NIGHTS: dict[str, Callable[[Path], Any]] = {
    "clean": lambda night: None,
    "rejects": spoil,
    "no rules": lambda night: (night / "rules.toml").unlink(),
    "broken rules": broken_rules,
    "no tiers": no_tiers,
    "no balances": lambda night: (night / "balances.parquet").unlink(),
    "twice": lambda night: (night / "assets.csv").touch(),
    "no parquet": lambda night: (night / "positions.parquet").write_bytes(b"PAR1"),
    "near miss": lambda night: rewrite(
        night, "positions", lambda frame: frame.rename({"quantity": "qty"})
    ),
    "bad market": lambda night: rewrite(
        night, "assets", lambda frame: frame.with_columns(price=pl.lit(-1.0))
    ),
    "texts for ids": lambda night: rewrite(
        night, "balances", lambda frame: frame.with_columns(pl.col("account_id").cast(pl.String))
    ),
    "no assets": lambda night: rewrite(night, "assets", lambda frame: frame.clear()),
    "no instruments": lambda night: rewrite(night, "instruments", lambda frame: frame.clear()),
}


@pytest.mark.parametrize(("name", "limit"), [*((name, 0) for name in NIGHTS), ("rejects", 12)])
def test_check_ends_with_the_code_of_a_sweep_and_writes_nothing(
    night: Path, name: str, limit: int
) -> None:
    NIGHTS[name](night)
    before = {path: path.read_bytes() for path in night.iterdir()}
    checked = margrave("check", night, "--max-rejects", limit)
    assert names(night.parent) == ["night"]
    assert {path: path.read_bytes() for path in night.iterdir()} == before
    swept = margrave("sweep", night, "--out", "out", "--max-rejects", limit)
    assert checked.code == swept.code
    assert checked.out == ""
    assert "Traceback" not in checked.err
    if swept.code in (2, 3):
        assert swept.err.strip() in checked.err


def test_all_refusals_are_told_and_the_code_is_that_of_the_first(night: Path) -> None:
    broken_rules(night)
    NIGHTS["near miss"](night)
    NIGHTS["bad market"](night)
    ran = margrave("check", night)
    assert_refused(ran, 2, "surprise: no such key", "positions.qty", "assets.price")
    assert ran.err.index("surprise") < ran.err.index("positions.qty") < ran.err.index("assets.")


def test_what_book_and_market_both_refuse_is_told_once(night: Path) -> None:
    rewrite(night, "instruments", lambda frame: frame.drop("instrument_id"))
    ran = margrave("check", night)
    assert ran.code == 3
    assert ran.err.count("instruments.instrument_id: this required column is missing") == 1


def test_quiet_says_only_what_went_wrong(night: Path) -> None:
    assert margrave("check", night, "--quiet").err == ""
    spoil(night)
    ran = margrave("check", night, "--quiet")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "exit code 1: 12 rejected values, 2 indeterminate accounts; --max-rejects 0 allows no "
        "more of either"
    ]


def test_debug_shows_where_a_refusal_comes_from(night: Path) -> None:
    NIGHTS["bad market"](night)
    assert "Traceback" in margrave("check", night, "--debug").err


def test_rules_and_tables_are_those_that_are_named(night: Path) -> None:
    (night / "rules.toml").rename(night.parent / "my.toml")
    assert margrave("check", night, "--rules", "my.toml").code == 0
    assert margrave("check", night, "--rules", "none.toml").code == 3
    assert margrave("check", night, "--rules", "hyperlikwid").code == 2
    rates = {"maintenance_rate": [0.1], "initial_rate": [0.1]}
    tiers = pl.DataFrame({"tier_table": ["BTC"], "floor": [0]} | rates)
    tiers.write_csv(night.parent / "tiers.csv")
    ran = margrave("check", night, "--rules", "my.toml", "--tiers", "tiers.csv")
    assert_refused(ran, 2, 'tiers.tier_table: no table "ETH"')


def test_a_sweep_says_and_states_what_it_set_aside(night: Path) -> None:
    spoil(night)
    rewrite(
        night, "balances", lambda frame: frame.with_columns(amount=pl.Series([2**53 + 1, 1, 1]))
    )
    ran = margrave("sweep", night, "--out", "out")
    assert ran.code == 1
    shown = ran.err.split("Set aside")[1].split("\n\n")[0]
    assert shown == (
        ": input that enters no figure\n"
        "  rows                         positions  balances\n"
        "  of 2 indeterminate accounts          6         2\n"
        "  without an account                   3         0\n"
        "Numbers that lost digits as 64-bit floats: balances.amount 1\n"
        "Control: in = used + set aside, 3 instruments, 1 asset"
    )
    stored = json.loads((ran.folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert stored["set_aside"]["rows_without_account"] == {"positions": 3, "balances": 0}
    assert stored["inexact_numbers"] == {"balances.amount": 1}
    assert read(ran.folder / "out", "rejects").height == 12
