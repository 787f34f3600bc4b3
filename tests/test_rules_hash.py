"""Rulesets: what tells two of them apart, and tables given as frames."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import BAD, each, refused
from full_ruleset import FULL, NUMBERS, load, with_key, words
from margrave.schema import ALLOWED, Column
from small_night import frames, rules_of

# What tells two rulesets apart


WORDS = [(f"{s}.{key}", word) for s, key, ws in words() for word in ws]
SHARES = [path for path, _, high in NUMBERS if high > 0.0]
OTHERS = [("id", "other"), ("buckets.valuation_asset", "USD"), ("tiers.1.floor", 99)]
OTHERS += [("ladder.0.margin_level_below", 3), ("ladder.1.name", "reduce"), ("ladder", [])]
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
        {**FULL, "differs": []},
        {**FULL, "tiers": [FULL["tiers"][2], *FULL["tiers"][:2]]},
        {**FULL, "tiers": [FULL["tiers"][0], FULL["tiers"][2], FULL["tiers"][1]]},
        {**FULL, "weights": [FULL["weights"][2], *FULL["weights"][:2]]},
        with_key("ladder.0.margin_level_below", 2.0),
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
