"""Rulesets: where they come from and what they refuse."""

from __future__ import annotations

import math
import re
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import margrave as mg
from faulty import refused
from full_ruleset import FULL, NUMBERS, SECTIONS, load, with_key, words

# Where rulesets come from


def test_an_empty_ruleset_has_the_defaults_of_the_contract() -> None:
    first = "all net marginal notional upper mark tier none initial beside lt compare"
    assert " ".join(allowed[0] for _, _, allowed in words()) == first
    given: dict[str, Any] = {section: {} for section in SECTIONS} | {"tiers": [], "weights": []}
    for section, key, allowed in words():
        given[section][key] = allowed[0]
    given["buckets"]["valuation_asset"] = "USD"
    given["collateral"]["profit_weight"] = given["trigger"]["level"] = 1.0
    assert load({}).hash == load(given).hash
    assert load({}).valuation_asset == "USD"
    assert (load({}).tiers.height, load({}).weights.height) == (0, 0)


def test_a_file_a_mapping_and_its_own_text_are_the_same_ruleset(tmp_path: Path) -> None:
    path = tmp_path / "full.toml"
    path.write_text(load(FULL).to_toml(), encoding="utf-8")
    for rules in (load(path), load(str(path)), load({**FULL, "title": None})):
        assert rules == load(FULL)
        assert rules.tiers.drop("deduction").equals(load(FULL).tiers.drop("deduction"))
        assert rules.weights.equals(load(FULL).weights)
    assert load(path).title == FULL["title"]
    assert load(path).to_toml() == load(FULL).to_toml()
    assert load({**FULL, "title": None}).title == "full"


def test_presets_are_listed_and_loaded() -> None:
    assert "hyperliquid" in mg.Rules.presets()
    for name in mg.Rules.presets():
        assert mg.Rules.preset(name).id == name
    assert "hyperliquid" in refused(mg.RulesError, partial(mg.Rules.preset, "../hyperliquid"))


HOSTILE = ['"', "\\", "a\nb", "\x00\x1f\x7f", "é😀\u202e", "'''", "#", "[x]", " ", "\u2028"]


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_and_number_survives_being_written(text: str, tmp_path: Path) -> None:
    content = {**FULL, "id": text, "title": text, "source": text, "as_of": text}
    content["tiers"] = [{**FULL["tiers"][0], "tier_table": text, "maintenance_rate": 5e-324}]
    content["weights"] = [{**FULL["weights"][2], "weight_table": text, "liability_weight": 1e18}]
    path = tmp_path / "odd.toml"
    path.write_text(load(content).to_toml(), encoding="utf-8", newline="")
    assert load(path) == load(content)
    assert load(path).tiers.equals(load(content).tiers)
    assert (load(path).id, load(path).title) == (text, text)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_may_stand_in_files_beside_the_ruleset(suffix: str, tmp_path: Path) -> None:
    rules = load(FULL)
    (tmp_path / "sub").mkdir()
    for name, table in (("tiers", rules.tiers), ("weights", rules.weights)):
        write = table.write_csv if suffix == ".csv" else table.write_parquet
        write(tmp_path / "sub" / f"{name}{suffix}")
    names = {name: f"sub/{name}{suffix}" for name in ("tiers", "weights")}
    path = tmp_path / "rules.toml"
    path.write_text(rules.to_toml(**names), encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    assert "[[tiers" not in text
    assert "[[weights" not in text
    assert load(path) == rules
    assert load(path).tiers.equals(rules.tiers)


OUTSIDE = ["../t.csv", "/etc/hosts", "sub/../../t.csv", "link.csv", "linked/t.csv"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_table_may_not_leave_the_folder_of_its_ruleset(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    load(FULL).tiers.write_csv(tmp_path / "t.csv")
    (home / "link.csv").symlink_to(tmp_path / "t.csv")
    (home / "linked").symlink_to(tmp_path)
    (home / "rules.toml").write_text(f'tiers = "{name}"\n', encoding="utf-8")
    assert "tiers: " in refused(mg.RulesError, partial(load, home / "rules.toml"))


@pytest.mark.parametrize("name", ["none.csv", "", ".", "a\0b.csv", "x" * 5000 + ".csv"])
def test_a_table_that_is_no_file_is_a_mistake_like_any_other(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    text = load({"title": name}).to_toml(tiers=name) + "[trigger]\nlevel = 500\n"
    text = re.sub(r"\[trigger\]\ncompare.*?\n\n?(?=\[trigger\])", "", text, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")
    message = refused(mg.RulesError, partial(load, path))
    assert "tiers: " in message
    assert "trigger.level: " in message
    assert len(message) < 2_000


FILES = {
    "nothing": None,
    "bytes": b"\xff\xfe",
    "no TOML": b"id = ",
    "deep": b"x = " + b"[" * 50_000,
}
FILES |= {"twice": b"id = 'a'\nid = 'b'", "digits": b"x = " + b"9" * 10_000}


@pytest.mark.parametrize("name", FILES)
def test_what_cannot_be_read_is_a_rules_error_that_names_the_file(
    name: str, tmp_path: Path
) -> None:
    path, content = tmp_path / "rules.toml", FILES[name]
    if content is not None:
        path.write_bytes(content)
    assert str(path) in refused(mg.RulesError, partial(load, path))


@pytest.mark.parametrize("source", [None, 5, ["a"], b"x.toml", "a\0.toml", ""])
def test_what_is_neither_path_nor_mapping_is_refused(source: Any) -> None:
    refused(mg.RulesError, partial(load, source))


# What rulesets refuse


@pytest.mark.parametrize(("section", "key", "allowed"), words())
def test_words_are_taken_and_others_refused(
    section: str, key: str, allowed: tuple[str, ...]
) -> None:
    path = f"{section}.{key}"
    for word in allowed:
        assert load(with_key(path, word)).sections()[section][key] == word
    for wrong in ("", allowed[0].upper(), f"{allowed[0]} ", 1, True, None, ["x"]):
        content = with_key(path, wrong)
        if wrong is None:
            assert load(content).sections()[section][key] == allowed[0]
            continue
        message = refused(mg.RulesError, partial(load, content))
        assert all(text in message for text in (f"{path}: ", *map(repr, allowed)))


LADDERS: list[tuple[Any, list[str]]] = [
    ({"name": "a"}, ["ladder"]),
    ("rungs.csv", ["ladder"]),
    ([5], ["ladder.0"]),
    ([{"name": "", "margin_level_below": 1}], ["ladder.0.name"]),
    ([{"name": 5, "margin_level_below": 1}], ["ladder.0.name"]),
    ([{"margin_level_below": 1}], ["ladder.0.name"]),
    ([{"name": "a"}], ["ladder.0.margin_level_below"]),
    ([{"name": "a", "margin_level_below": 1, "level": 2}], ["ladder.0.level"]),
    *(
        ([{"name": "a", "margin_level_below": wrong}], ["ladder.0.margin_level_below"])
        for wrong in (0, -1.0, math.nan, math.inf, 1.1e18, 10**400, "1", True)
    ),
    (
        [{"name": n, "margin_level_below": below} for n, below in [("a", 3), ("b", 2), ("a", 2)]],
        ["ladder.2.name", "ladder.2.margin_level_below"],
    ),
    (
        [{"name": n, "margin_level_below": below} for n, below in [("a", 1), ("b", 2), ("c", 3)]],
        ["ladder.1.margin_level_below", "ladder.2.margin_level_below"],
    ),
]


@pytest.mark.parametrize(("ladder", "wanted"), LADDERS, ids=str)
def test_a_ladder_has_distinct_names_and_falls(ladder: Any, wanted: list[str]) -> None:
    message = refused(mg.RulesError, partial(load, {"ladder": ladder}))
    assert [line.split(": ")[0] for line in message.splitlines()[1:]] == wanted


def test_a_ladder_is_read_as_it_stands() -> None:
    assert load({}).ladder == []
    assert load(FULL).ladder == FULL["ladder"]
    edges = [{"name": "a", "margin_level_below": 1e18}, {"name": "b", "margin_level_below": 5e-324}]
    assert load({"ladder": edges}).ladder == edges


@pytest.mark.parametrize(("path", "low", "high"), NUMBERS)
def test_numbers_are_numbers_in_their_range(path: str, low: float, high: float) -> None:
    for right in (low, high, -0.0, int(high)):
        content = with_key(path, right)
        content["tiers"][1]["deduction"] = None
        load(content)
    outside = [math.nextafter(low, -math.inf), math.nextafter(high, math.inf), 10**400, -1]
    for wrong in [
        *outside,
        math.nan,
        math.inf,
        -math.inf,
        "1.0",
        "",
        True,
        False,
        [1.0],
        date.today(),
    ]:
        message = refused(mg.RulesError, partial(load, with_key(path, wrong)))
        assert "1 mistake\n" in message
        assert f"\n{path}: " in message


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("x", None),
        ("buckets.x", None),
        ("requirement.level", "trigger.level"),
        ("trigger.Level", "trigger.level"),
        ("nettings", "buckets.netting"),
        ("Title", "title"),
        ("tiers.1.initial", "initial_rate"),
        ("weights.0.x", None),
        ("ladder.0.nam", "name"),
    ],
)
def test_an_unknown_key_is_a_mistake(path: str, near: str | None) -> None:
    message = refused(mg.RulesError, partial(load, with_key(path, 1.0)))
    end = f"; did you mean {near}?" if near else ""
    assert message == f"ruleset: 1 mistake\n{path}: no such key{end}"


def test_all_mistakes_are_told_at_once_with_their_paths() -> None:
    content = with_key("trigger.level", "high")
    content |= {"x": 1, "as_of": 5, "id": "", "title": 7, "buckets": [], "source": False}
    content |= {"differs": ["x", 5], "ladder": [{"name": "a", "margin_level_below": 0}] * 2}
    content["tiers"] = [
        {"tier_table": 56, "floor": 1, "maintenance_rate": 1.5, "initial_rate": "1"},
        {"tier_table": "56", "floor": 1, "maintenance_rate": 0.1, "initial_rate": -0.1},
        {
            "tier_table": "a",
            "floor": 0,
            "maintenance_rate": 0.1,
            "initial_rate": 0.1,
            "deduction": 3,
        },
        {"tier_table": "a", "floor": 5, "maintenance_rate": 0.1},
        {"tier_table": "a", "floor": 4, "maintenance_rate": 0.1, "initial_rate": 0.1},
        "row",
    ]
    content["weights"] = "weights.csv"
    message = refused(mg.RulesError, partial(load, content))
    paths = [line.split(":")[0] for line in message.splitlines()[1:]]
    assert sorted(paths) == sorted(
        ["id", "title", "as_of", "source", "buckets", "trigger.level", "x", "weights"]
        + ["differs.1", "ladder.0.margin_level_below", "ladder.1.margin_level_below"]
        + ["ladder.1.name"]
        + [f"tiers.0.{key}" for key in ("floor", "maintenance_rate", "initial_rate")]
        + ["tiers.1.floor", "tiers.1.initial_rate", "tiers.2.deduction"]
        + ["tiers.3.initial_rate", "tiers.4.floor", "tiers.5"]
    )
    assert message.splitlines()[0] == "ruleset: 21 mistakes"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('id = "marked"\n', encoding="utf-8-sig")
    assert mg.Rules.load(path).id == "marked"
