"""`margrave rules`: what diff and check say, and what each ends with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import margrave as mg
from command_line import Ran, assert_refused, margrave
from stored_text import assert_stored

MINE = """
id = "mine"
title = "My own"
differs = ["it rounds"]

[buckets]
valuation_asset = "USDC"

[trigger]
level = 1.05

[[ladder]]
name = "call"
margin_level_below = 1.5

[[tiers]]
tier_table = "BTC"
floor = 0
maintenance_rate = 0.05
initial_rate = 0.1

[[weights]]
weight_table = "USDC"
maintenance_weight = 1.0
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    return path


def rules(*arguments: object, folder: Path) -> Ran:
    return margrave("rules", *arguments, folder=folder)


def answered(ran: Ran) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(ran.out)
    return answer


@pytest.mark.parametrize("command", ["diff", "check"])
def test_the_help_reads_as_stored(tmp_path: Path, command: str) -> None:
    ran = rules(command, "--help", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert_stored(ran.out, f"help_rules_{command}")


# diff


def test_a_difference_is_printed_line_by_line(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(MINE.replace("1.05", "1.1").replace("0.05", "0.06"), encoding="utf-8")
    ran = rules("diff", "mine.toml", "other.toml", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "path                          mine.toml  other.toml",
        "trigger.level                 1.05       1.1",
        "tiers.BTC.0.maintenance_rate  0.05       0.06",
    ]
    ladder = MINE[MINE.index("[[ladder]]") : MINE.index("[[tiers]]")]
    mine.write_text(MINE.replace(ladder, ""), encoding="utf-8")
    ran = rules("diff", "other.toml", "mine.toml", folder=tmp_path)
    assert "ladder.0.name                 call        -" in ran.out.splitlines()


def test_presets_and_files_are_compared_with_each_other(mine: Path, tmp_path: Path) -> None:
    ran = rules("diff", "hyperliquid", mine, "--json", folder=tmp_path)
    answer = answered(ran)
    left, right = mg.Rules.preset("hyperliquid"), mg.Rules.load(mine)
    assert answer["left"] == {"id": "hyperliquid", "hash": left.hash}
    assert answer["right"] == {"id": "mine", "hash": right.hash}
    assert answer["differences"] == left.diff(right).to_dicts()
    assert (answer["equal"], answer["exit_code"], ran.code) == (False, 0, 0)


def test_equal_rulesets_have_nothing_to_print(mine: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.toml"
    renamed.write_text(MINE.replace("My own", "Another title"), encoding="utf-8")
    ran = rules("diff", mine, renamed, "--exit-code", folder=tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, "", "The rulesets are equal.\n")
    answer = answered(rules("diff", mine, renamed, "--json", folder=tmp_path))
    assert (answer["equal"], answer["differences"]) == (True, [])


def test_a_gate_may_be_made_of_a_difference(mine: Path, tmp_path: Path) -> None:
    ran = rules("diff", mine, "dydx_v4", "--exit-code", "--json", folder=tmp_path)
    assert (ran.code, answered(ran)["exit_code"]) == (1, 1)


def test_what_stands_for_no_ruleset_is_refused(mine: Path, tmp_path: Path) -> None:
    assert_refused(rules("diff", mine, "nope", folder=tmp_path), 2, "B: ", "'nope'", "hyperliquid")
    assert_refused(rules("diff", "nope", mine, folder=tmp_path), 2, "A: ", "'nope'")
    assert_refused(rules("diff", mine, "nope.toml", folder=tmp_path), 3, "nope.toml", "not exist")
    assert_refused(rules("diff", tmp_path, mine, folder=tmp_path), 3, "is not a file")
    assert_refused(rules("diff", mine, folder=tmp_path), 2, "B")
    (tmp_path / "bad.toml").write_text("[trigger]\nlevel = -1\n", encoding="utf-8")
    assert_refused(rules("diff", "bad.toml", mine, folder=tmp_path), 2, "trigger.level: ")


def test_hostile_names_do_not_reach_the_terminal(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    hostile = MINE.replace('"BTC"', r'"\u001b[31mBTC\u202e"').replace('"call"', r'"a\nb\u0007"')
    other.write_text(hostile, encoding="utf-8")
    out = rules("diff", mine, other, folder=tmp_path).out
    assert "BTC" in out
    assert not set(out) & set("\x1b\u202e\x07")
    assert len(out.splitlines()) == 6  # a heading, the rung's name, two rates on either side


# check


def test_a_ruleset_without_mistakes_says_what_it_holds(mine: Path, tmp_path: Path) -> None:
    ran = rules("check", mine, folder=tmp_path)
    assert (ran.code, ran.err) == (0, f"{mine}: no mistakes\n")
    facts = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    wanted = {
        **{"id": "mine", "hash": mg.Rules.load(mine).hash, "title": "My own"},
        **{"valuation_asset": "USDC", "tier_tables": 1, "tier_rows": 1},
        **{"weight_tables": 1, "weight_rows": 1, "rungs": 1, "differs": 1},
    }
    assert facts == {name: str(value) for name, value in wanted.items()}
    answer = answered(rules("check", mine, "--json", folder=tmp_path))
    assert answer == {**wanted, "exit_code": 0}


def test_all_mistakes_are_told_and_nothing_is_answered(tmp_path: Path) -> None:
    text = MINE.replace("1.05", "-1").replace("0.05", "5.0").replace("1.5", "0") + "x = 1\n"
    (tmp_path / "bad.toml").write_text(text, encoding="utf-8")
    for options in ([], ["--json"]):
        ran = rules("check", "bad.toml", *options, folder=tmp_path)
        assert_refused(ran, 2, "bad.toml: 4 mistakes", "trigger.level: ", "weights.0.x: ")
        assert "tiers.0.maintenance_rate: " in ran.err
        assert "ladder.0.margin_level_below: " in ran.err


def test_a_table_beside_the_file_is_checked_too(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('tiers = "tiers.csv"\n', encoding="utf-8")
    assert_refused(rules("check", file, folder=tmp_path), 2, "tiers: ", "is no file")
    table = tmp_path / "tiers.csv"
    head = "tier_table,floor,maintenance_rate,initial_rate\n"
    table.write_text(f"{head}56,0,0.1,0.2\n56,5,0.2,2\n", encoding="utf-8")
    assert_refused(rules("check", file, folder=tmp_path), 2, "tiers.initial_rate: row 1: 2.0")
    table.write_text(f"{head}56,0,0.1,0.2\n56,5,0.2,0.4\n", encoding="utf-8")
    answer = answered(rules("check", file, "--json", folder=tmp_path))
    assert (answer["tier_tables"], answer["tier_rows"]) == (1, 2)


@pytest.mark.parametrize("name", ["none.toml", "."])
def test_a_file_that_is_not_there_is_missing_input(tmp_path: Path, name: str) -> None:
    assert_refused(rules("check", name, folder=tmp_path), 3, name)


def test_a_preset_written_down_is_the_preset(tmp_path: Path) -> None:
    text = mg.Rules.preset("binance_spot_margin").to_toml()
    (tmp_path / "copy.toml").write_text(text, encoding="utf-8")
    assert rules("check", "copy.toml", folder=tmp_path).code == 0
    ran = rules("diff", "binance_spot_margin", "copy.toml", "--exit-code", folder=tmp_path)
    assert (ran.code, ran.out) == (0, "")
