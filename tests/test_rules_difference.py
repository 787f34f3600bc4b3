"""`replace` and `diff`: one key changed, and where two rulesets are not the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import refused
from full_ruleset import FULL, load, with_key, words

FULL_RULES = load(FULL)


def rows(left: mg.Rules, right: mg.Rules) -> list[tuple[Any, ...]]:
    found = left.diff(right)
    assert found.schema == {"path": pl.String, "left": pl.String, "right": pl.String}
    return found.rows()


# One key changed


def test_a_key_is_replaced_by_its_name_alone() -> None:
    changed = FULL_RULES.replace(level=1.05, netting="gross", initial="tier")
    assert changed.sections()["trigger"] == {**FULL["trigger"], "level": 1.05}
    assert changed.sections()["buckets"] == {**FULL["buckets"], "netting": "gross"}
    assert rows(FULL_RULES, changed) == [
        ("buckets.netting", "net", "gross"),
        ("requirement.initial", "larger", "tier"),
        ("trigger.level", "1.25", "1.05"),
    ]
    assert load(FULL) == FULL_RULES  # which does not change


@pytest.mark.parametrize(("section", "key", "allowed"), words())
def test_every_word_can_be_put_in_place(section: str, key: str, allowed: tuple[str, ...]) -> None:
    for word in allowed:
        changed = FULL_RULES.replace(**{key: word})
        assert changed == load(with_key(f"{section}.{key}", word))
        before = FULL[section][key]
        wanted = [] if word == before else [(f"{section}.{key}", before, word)]
        assert rows(FULL_RULES, changed) == wanted


def test_tables_and_what_is_not_named_stay() -> None:
    changed = FULL_RULES.replace(id="mine", title="Mine", source="here", as_of="2027", differs=[])
    assert (changed.id, changed.title, changed.source) == ("mine", "Mine", "here")
    assert (changed.as_of, changed.differs) == ("2027", [])
    assert changed.tiers.equals(FULL_RULES.tiers)
    assert changed.weights.equals(FULL_RULES.weights)
    assert changed.sections() == FULL_RULES.sections()
    assert changed.ladder == FULL_RULES.ladder
    assert FULL_RULES.replace() == FULL_RULES
    assert changed.replace(id="full") == FULL_RULES


def test_none_is_the_default_of_a_key() -> None:
    changed = FULL_RULES.replace(level=None, compare=None, ladder=None, id=None, title=None)
    assert changed.sections()["trigger"] == {
        **{"compare": "lt", "level": 1.0, "zero_requirement": "never"}
    }
    assert (changed.ladder, changed.id, changed.title) == ([], "custom", "custom")


def test_a_ladder_is_put_in_place_of_the_other() -> None:
    ladder = [{"name": "call", "margin_level_below": 3.0}]
    assert FULL_RULES.replace(ladder=ladder).ladder == ladder
    assert FULL_RULES.replace(ladder=FULL_RULES.ladder) == FULL_RULES


REFUSED = [
    ({"lvel": 1.0}, ["lvel: no such key; did you mean trigger.level?"]),
    ({"zzz": 1.0, "level": 2.0}, ["zzz: no such key"]),
    ({"Level": 1.0, "nettings": "net"}, ["Level: ", "trigger.level", "nettings: ", "netting?"]),
    ({"trigger": {"level": 2.0}}, ["trigger: ", "compare, level, zero_requirement"]),
    ({"tiers": FULL_RULES.tiers}, ["tiers: ", "with_tables(tiers=...)"]),
    ({"level": -1}, ["trigger.level: "]),
    ({"level": "high", "netting": "nett"}, ["2 mistakes", "trigger.level: ", "buckets.netting: "]),
    ({"ladder": [{"name": "a"}]}, ["ladder.0.margin_level_below: "]),
    ({"id": ""}, ["id: "]),
]


@pytest.mark.parametrize(("keys", "wanted"), REFUSED, ids=str)
def test_what_is_no_key_or_cannot_be_its_value_is_refused(
    keys: dict[str, Any], wanted: list[str]
) -> None:
    message = refused(mg.RulesError, partial(FULL_RULES.replace, **keys))
    assert all(text in message for text in wanted)


# Where two rulesets differ


def test_rows_of_tables_are_named_by_table_and_floor() -> None:
    content = with_key("tiers.1.deduction", None)
    content["tiers"] = [
        {"tier_table": "56", "floor": 0, "maintenance_rate": 0.05, "initial_rate": 0.1},
        {"tier_table": "56", "floor": 100, "maintenance_rate": 0.15, "initial_rate": 0.2},
        {"tier_table": "a.b", "floor": 0, "maintenance_rate": 0.3, "initial_rate": 0.5},
    ]
    content["weights"][0] = {**content["weights"][0], "liability_weight": 1.2}
    content["weights"][1] = {**content["weights"][1], "floor": 0.5}
    assert rows(FULL_RULES, load(content)) == [
        ("tiers.56.100.maintenance_rate", "0.1", "0.15"),
        ("tiers.ETH.0.maintenance_rate", "0.2", None),
        ("tiers.ETH.0.initial_rate", "0.4", None),
        ('tiers."a.b".0.maintenance_rate', None, "0.3"),
        ('tiers."a.b".0.initial_rate', None, "0.5"),
        ("weights.BTC.0.liability_weight", "1.1", "1.2"),
        ("weights.BTC.1000.maintenance_weight", "0.5", None),
        ("weights.BTC.1000.initial_weight", "0.5", None),
        ("weights.BTC.1000.liability_weight", "1.0", None),
        ("weights.BTC.1000.borrow_maintenance_rate", "0.0", None),
        ("weights.BTC.1000.borrow_initial_rate", "0.0", None),
        ("weights.BTC.0.5.maintenance_weight", None, "0.5"),
        ("weights.BTC.0.5.initial_weight", None, "0.5"),
        ("weights.BTC.0.5.liability_weight", None, "1.0"),
        ("weights.BTC.0.5.borrow_maintenance_rate", None, "0.0"),
        ("weights.BTC.0.5.borrow_initial_rate", None, "0.0"),
    ]


def test_rungs_are_compared_by_their_place() -> None:
    shorter = FULL_RULES.replace(ladder=[{"name": "warned", "margin_level_below": 1.5}])
    assert rows(FULL_RULES, shorter) == [
        ("ladder.0.margin_level_below", "2.0", "1.5"),
        ("ladder.1.name", "reduce_only", None),
        ("ladder.1.margin_level_below", "1.2", None),
    ]
    assert rows(shorter, FULL_RULES)[-1] == ("ladder.1.margin_level_below", None, "1.2")


def test_a_difference_turned_round_has_the_sides_exchanged() -> None:
    presets = [mg.Rules.preset(name) for name in mg.Rules.presets()]
    for left in presets:
        for right in presets:
            turned = {(path, b, a) for path, a, b in rows(right, left)}
            assert set(rows(left, right)) == turned
            assert bool(turned) == (left.hash != right.hash)


CHANGED = ["id", "title", "as_of", "source", "trigger.level", "buckets.valuation_asset"]
CHANGED += ["tiers.0.initial_rate", "weights.2.borrow_initial_rate", "ladder.1.name"]


@pytest.mark.parametrize("path", CHANGED)
def test_there_are_rows_exactly_where_hashes_differ(path: str) -> None:
    value = 0.75 if path.endswith(("level", "rate")) else "other"
    other = load(with_key(path, value))
    assert (FULL_RULES.hash != other.hash) == (path not in ("title", "as_of", "source"))
    assert bool(rows(FULL_RULES, other)) == (FULL_RULES.hash != other.hash)


def test_tables_that_could_share_a_path_do_not() -> None:
    rates = {"maintenance_rate": 0.1, "initial_rate": 0.1}
    tables = [
        [("a", 0.0), ("a", 0.5), ("a.0", 0.0)],
        [("a", 0.0), ("a.0", 0.0), ("a.0", 5.0)],
    ]
    one, other = (
        load({"tiers": [{"tier_table": name, "floor": floor, **rates} for name, floor in table]})
        for table in tables
    )
    paths = [path for path, *_ in rows(one, other)]
    assert [path.rpartition(".")[0] for path in paths[::2]] == ["tiers.a.0.5", 'tiers."a.0".5']


@pytest.mark.parametrize("other", [None, "hyperliquid", {}])
def test_only_rulesets_are_compared(other: Any) -> None:
    assert "other: " in refused(mg.MargraveError, partial(FULL_RULES.diff, other))


# How a ruleset shows itself


def test_a_notebook_shows_a_ruleset_as_one_escaped_table() -> None:
    hostile = FULL_RULES.replace(
        title="<script>",
        valuation_asset="<b>&",
        ladder=[{"name": "</td>", "margin_level_below": 1}],
    )
    shown = hostile._repr_html_()
    assert shown.startswith("<table>")
    assert "<script>" not in shown
    assert "<b>&<" not in shown
    assert "</td></th>" not in shown
    assert all(text in shown for text in ("trigger.level", "netting", FULL_RULES.id))
    for name in mg.Rules.presets():
        assert len(mg.Rules.preset(name)._repr_html_()) < 20_000
    assert len(FULL_RULES.replace(title="x" * 10**6, id="y" * 10**6)._repr_html_()) < 20_000
