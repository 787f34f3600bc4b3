"""Rulesets: where they come from, what they refuse, and what tells two of them apart."""

from __future__ import annotations

import copy
import math
import re
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest

import margrave as mg
from faulty import BAD, each, refused
from margrave.ruleset import RulesFile
from margrave.schema import ALLOWED, Column
from small_night import frames, rules_of

load: Any = mg.Rules.load

SECTIONS = ("buckets", "requirement", "collateral", "trigger")

#: Keys of which this version has the first word alone.
FIRST_ONLY = ["pooling", "netting", "tier_mode", "tier_basis", "tier_edge", "price_basis"]
FIRST_ONLY += ["close_fee", "open_orders", "profit_and_loss"]

TIERS = ("tier_table", "floor", "maintenance_rate", "initial_rate", "deduction")
WEIGHTS = ["weight_table", "maintenance_weight", "floor", "initial_weight", "liability_weight"]
WEIGHTS += ["borrow_maintenance_rate", "borrow_initial_rate"]

FULL: dict[str, Any] = {
    **{"id": "full", "title": "A ruleset with every key", "source": "nowhere"},
    "as_of": date(2026, 2, 4),
    "buckets": {"pooling": "all", "netting": "net", "valuation_asset": "USDC"},
    "requirement": {
        **{"tier_mode": "marginal", "tier_basis": "notional", "tier_edge": "upper"},
        **{"price_basis": "mark", "initial": "larger"},
        **{"close_fee": "none", "open_orders": "initial"},
    },
    "collateral": {"profit_and_loss": "beside", "profit_weight": 0.5},
    "trigger": {"compare": "le", "level": 1.25, "zero_requirement": "never"},
    "tiers": [
        dict(zip(TIERS, row, strict=False))
        for row in [("56", 0, 0.05, 0.1), ("56", 100, 0.1, 0.2, 5.0), ("ETH", 0, 0.2, 0.4)]
    ],
    "weights": [
        dict(zip(WEIGHTS, ("BTC", 0.9, 0, 0.8, 1.1, 0.01, 0.02), strict=True)),
        {"weight_table": "BTC", "maintenance_weight": 0.5, "floor": 1000},
        {"weight_table": "USDC", "maintenance_weight": 1},
    ],
}


def words() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return section, key and words of every key that has words, from the model itself."""
    found = []
    for section in SECTIONS:
        model: Any = RulesFile.model_fields[section].annotation
        for key, field in model.model_fields.items():
            if field.annotation not in (str, float):
                found.append((section, key, get_args(field.annotation)))
    return found


def with_key(path: str, value: Any) -> dict[str, Any]:
    """Return the full ruleset with the value at a path replaced."""
    content = copy.deepcopy(FULL)
    *parents, key = (int(part) if part.isdigit() else part for part in path.split("."))
    place: Any = content
    for parent in parents:
        place = place[parent]
    place[key] = value
    return content


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
        rules = mg.Rules.preset(name)
        assert rules.id == name
        assert rules.tiers.height > 0
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
    assert "[[" not in path.read_text(encoding="utf-8")
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
def test_words_are_taken_refused_or_not_available_yet(
    section: str, key: str, allowed: tuple[str, ...]
) -> None:
    path = f"{section}.{key}"
    for word in allowed:
        if word == allowed[0] or key not in FIRST_ONLY:
            load(with_key(path, word))
        else:
            message = refused(mg.RulesError, partial(load, with_key(path, word)))
            assert f"{path}: '{word}' is not available yet" in message
    for wrong in ("", allowed[0].upper(), f"{allowed[0]} ", 1, True, None, ["x"]):
        content = with_key(path, wrong)
        if wrong is None:
            load(content)
            continue
        message = refused(mg.RulesError, partial(load, content))
        assert all(text in message for text in (f"{path}: ", *map(repr, allowed)))


def test_all_that_is_not_available_yet_is_named_at_once() -> None:
    content: dict[str, Any] = {section: {} for section in SECTIONS}
    wanted = ["ladder: "]
    content["ladder"] = [{"name": "reduce_only", "margin_level_below": 1.2}]
    for section, key, allowed in words():
        if key in FIRST_ONLY:
            content[section][key] = allowed[-1]
            wanted.append(f"{section}.{key}: '{allowed[-1]}' is not available yet")
    message = refused(mg.RulesError, partial(load, content))
    assert f"{len(wanted)} mistakes" in message
    assert all(line in message for line in wanted)


NUMBERS = [("collateral.profit_weight", 0.0, 1.0), ("trigger.level", 0.0, 100.0)]
NUMBERS += [(f"tiers.0.{key}", 0.0, 1.0) for key in ("maintenance_rate", "initial_rate")]
NUMBERS += [(f"weights.0.{key}", 0.0, 1.0) for key in ("maintenance_weight", "initial_weight")]
NUMBERS += [(f"weights.0.borrow_{key}_rate", 0.0, 1.0) for key in ("maintenance", "initial")]
NUMBERS += [("weights.0.liability_weight", 0.0, 1e18), ("tiers.2.floor", 0.0, 0.0)]


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
    "path", ["x", "buckets.x", "requirement.level", "trigger.Level", "tiers.1.rate", "weights.0.x"]
)
def test_an_unknown_key_is_a_mistake(path: str) -> None:
    message = refused(mg.RulesError, partial(load, with_key(path, 1.0)))
    assert f"{path}: no such key" in message


def test_all_mistakes_are_told_at_once_with_their_paths() -> None:
    content = with_key("trigger.level", "high")
    content |= {"x": 1, "as_of": 5, "id": "", "title": 7, "buckets": [], "source": False}
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
        + [f"tiers.0.{key}" for key in ("floor", "maintenance_rate", "initial_rate")]
        + ["tiers.1.floor", "tiers.1.initial_rate", "tiers.2.deduction"]
        + ["tiers.3.initial_rate", "tiers.4.floor", "tiers.5"]
    )
    assert message.splitlines()[0] == "ruleset: 17 mistakes"


# What tells two rulesets apart


WORDS = [(f"{s}.{key}", word) for s, key, ws in words() if key not in FIRST_ONLY for word in ws]
SHARES = [path for path, _, high in NUMBERS if high > 0.0]
OTHERS = [("id", "other"), ("buckets.valuation_asset", "USD"), ("tiers.1.floor", 99)]
OTHERS += [("weights.1.floor", 99), ("tiers.2.tier_table", "57"), ("weights.2.weight_table", "USD")]
OTHERS += [("weights.1.initial_weight", 0.4), ("weights.2.borrow_initial_rate", 0.1)]


@pytest.mark.parametrize(("path", "value"), [*WORDS, *((path, 0.15) for path in SHARES), *OTHERS])
def test_every_key_and_value_counts(path: str, value: Any) -> None:
    changed, base = with_key(path, value), with_key("tiers.1.deduction", None)
    changed["tiers"][1]["deduction"] = None
    differs = changed != base
    assert (load(changed).hash != load(base).hash) == differs
    assert (load(changed) != load(base)) == differs
    assert re.fullmatch(r"[0-9a-f]{64}", load(changed).hash)


def test_what_says_nothing_does_not_count() -> None:
    full = load(FULL)
    same: list[dict[str, Any]] = [
        {**FULL, "title": "other"},
        {**FULL, "source": None},
        {**FULL, "as_of": "2027"},
        {**FULL, "tiers": [FULL["tiers"][2], *FULL["tiers"][:2]]},
        {**FULL, "tiers": [FULL["tiers"][0], FULL["tiers"][2], FULL["tiers"][1]]},
        {**FULL, "weights": [FULL["weights"][2], *FULL["weights"][:2]]},
        with_key("tiers.1.deduction", None),
        with_key("tiers.1.deduction", 5.000000001),
        with_key("tiers.0.deduction", 0),
        with_key("tiers.0.tier_table", 56),
        with_key("tiers.0.floor", -0.0),
        with_key("weights.1.initial_weight", 0.5),
        with_key("weights.2.floor", 0),
        with_key("weights.2.liability_weight", 1),
        with_key("weights.2.borrow_initial_rate", 0.0),
    ]
    assert {load(content).hash for content in same} == {full.hash}
    integers = full.tiers.with_columns(
        tier_table=pl.Series(["56", "56", "ETH"], dtype=pl.Categorical)
    )
    assert full.with_tables(tiers=integers.drop("deduction").lazy()) == full


# Tables as frames


def test_with_tables_replaces_whole_tables_and_keeps_the_rest() -> None:
    night, full = frames(), load(FULL)
    rules = full.with_tables(tiers=night["tiers"])
    assert rules.tiers.equals(night["tiers"])
    assert rules.weights.equals(full.weights)
    assert full.tiers["tier_table"].to_list() == ["56", "56", "ETH"]
    assert full.with_tables() == full
    assert (rules.id, rules.valuation_asset) == ("full", "USDC")
    assert rules.with_tables(tiers=full.tiers, weights=full.weights) == full
    full.tiers[0, "floor"] = 7.0  # of a copy
    assert full.tiers["floor"][0] == 0.0


FAULTS = [
    ("tiers", {"floor": [5.0, 150.0, 0.0]}, "tiers.floor: row 0: 5.0 is the table's first"),
    ("tiers", {"floor": [-0.0, 0.0, 0.0], "deduction": None}, None),
    (
        "tiers",
        {"tier_table": ["BTC", "BTC", "BTC"], "floor": [0.0, 9.0, 8.0]},
        "row 2: 8.0 does not",
    ),
    ("tiers", {"deduction": [0.0, 7.6, 0.0]}, "tiers.deduction: row 1: 7.6 is given"),
    ("tiers", {"deduction": [1e-300, 7.5, 0.0]}, "tiers.deduction: row 0: 1e-300 is given"),
    ("weights", {"floor": [120.0, 0.0, 0.0]}, "weights.floor: row 0: 120.0 is the table's first"),
    ("weights", {"weight_table": [None, "BTC", "USD"]}, "weights.weight_table: null in row 0"),
]


@pytest.mark.parametrize(("name", "columns", "wanted"), FAULTS, ids=str)
def test_wrong_tables_are_refused(name: str, columns: dict[str, Any], wanted: str | None) -> None:
    night = frames()
    series = [pl.Series(key, values) for key, values in columns.items() if values is not None]
    night[name] = night[name].with_columns(series)
    if wanted is None:  # -0.0 and 0.0 are one floor
        assert "1 keys occur more than once" in refused(mg.SchemaError, partial(rules_of, night))
    else:
        assert wanted in refused(mg.RulesError, partial(rules_of, night))


@each("number", among=("tiers", "weights"))
def test_all_wrong_values_of_both_tables_are_told_at_once(frame: str, column: Column) -> None:
    night = frames()
    for name, other in (("tiers", "initial_rate"), ("weights", "liability_weight")):
        night[name] = night[name].with_columns(pl.Series(other, [0.1, -1.0, 0.1]))
    for value, _ in BAD[column.allowed]:
        night[frame] = night[frame].with_columns(pl.Series(column.name, [0.0, value, 0.0]))
        message = refused(mg.RulesError, partial(rules_of, night))
        assert f"{frame}.{column.name}: row 1: {value} is not {ALLOWED[column.allowed]}" in message
        assert message.count(": row 1: ") == 3 - (
            column.name in ("initial_rate", "liability_weight")
        )
