"""Every portfolio of `cases/` through the public API and through the oracle.

The figures in the files were worked by hand from the rules; both must give them, and must not give
them once a key that the case sets is left out. The Rust core reads the same files.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import margrave as mg
from exchanges import Exchange
from margrave.ruleset import RulesFile

FILES = sorted((Path(__file__).parent / "cases").glob("*.toml"))

#: The top keys of a case.
PARTS = {"title", "rules", "instruments", "assets", "positions", "balances", "accounts", "expect"}

#: Cases that show a key which changes nothing there.
UNMOVED = {
    ("basis_base_inverse", "tier_basis"),  # the coins of an inverse contract are its notional
    ("close_fee_without_bankruptcy_price", "close_fee"),
    ("joined_isolated_debt", "profit_and_loss"),
    ("ladder_without_requirement", "ladder"),
    ("option_at_entry", "price_basis"),
    ("slab_step_jumps_the_line_lower", "tier_edge"),  # the edge of a step is one price
    ("touch_without_requirement", "compare"),
}


def load(path: Path) -> tuple[Exchange, dict[str, Any]]:
    """Return the exchange of a case file and what the file expects of it."""
    return read(path.read_text(encoding="utf-8"))


def read(text: str) -> tuple[Exchange, dict[str, Any]]:
    """Return the exchange of a case and what the case expects of it."""
    case = tomllib.loads(text)
    assert set(case) <= PARTS, f"{sorted(set(case) - PARTS)} are no parts of a case"
    exchange = Exchange(
        positions=case.get("positions", []),
        balances=case.get("balances", []),
        accounts=case.get("accounts"),
        instruments=case.get("instruments", []),
        assets=case.get("assets", []),
        rules=case["rules"],
    )
    return exchange, case["expect"]


def assert_rows(
    frame: str, actual: list[dict[str, Any]], expected: list[Mapping[str, Any]]
) -> None:
    assert len(actual) == len(expected), f"{frame}: {len(actual)} rows, {len(expected)} expected"
    for number, (row, wanted) in enumerate(zip(actual, expected, strict=True)):
        for column, value in wanted.items():
            assert column in row, f"{frame}[{number}] has no {column}"
            assert_figure(f"{frame}[{number}].{column}", row[column], value)


def assert_figure(where: str, actual: Any, expected: Any) -> None:
    """Assert a figure to 1e-12, relative or near 0 absolute; words and counts exactly."""
    if expected == "null":
        assert actual is None, f"{where} is {actual!r}, expected null"
    elif isinstance(expected, float):
        assert actual is not None, f"{where} is null, expected {expected!r}"
        same = math.isclose(actual, expected, rel_tol=1e-12, abs_tol=1e-12)
        assert same, f"{where} is {actual!r}, expected {expected!r}"
    else:
        assert actual == expected, f"{where} is {actual!r}, expected {expected!r}"
        assert type(actual) is type(expected), f"{where} is a {type(actual).__name__}"


def in_doubles(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: float(v) if isinstance(v, Fraction) else v for k, v in row.items()}


def assert_expected(result: Mapping[str, list[dict[str, Any]]], expect: Mapping[str, Any]) -> None:
    assert set(expect) <= {"accounts", "buckets", "positions", "totals"}
    for frame in ("accounts", "buckets", "positions"):
        if frame in expect:
            assert_rows(frame, result[frame], expect[frame])
    if "totals" in expect:
        assert_rows("totals", result["totals"], [expect["totals"]])


def assert_oracle(exchange: Exchange, expect: Mapping[str, Any]) -> None:
    """Assert that the oracle gives what a case expects."""
    result = exchange.expected()
    frames = {name: [in_doubles(row) for row in result[name]] for name in list(result)[:3]}
    assert_expected({**frames, "totals": [in_doubles(result["totals"])]}, expect)


def assert_engine(exchange: Exchange, expect: Mapping[str, Any]) -> None:
    """Assert that the public API gives what a case expects."""
    night = mg.sweep(**exchange.frames(), rules=mg.Rules.load(exchange.rules))
    names = ("accounts", "buckets", "positions", "totals")
    assert_expected({name: getattr(night, name).to_dicts() for name in names}, expect)


def keys_set(rules: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return section and key of what a ruleset sets to another value than its default.

    Tables are no keys, and the valuation asset changes no figure: prices are given in it.
    """
    defaults = RulesFile().sections()
    found = [
        (section, key)
        for section, keys in defaults.items()
        for key, value in rules.get(section, {}).items()
        if value != keys[key] and key != "valuation_asset"
    ]
    return [*found, *([("ladder", "ladder")] if rules.get("ladder") else [])]


def unmoved_keys(exchange: Exchange, expect: Mapping[str, Any]) -> set[str]:
    """Return the keys that a case sets and whose default gives the expected figures too."""
    unmoved = set()
    for section, key in keys_set(exchange.rules):
        rules = deepcopy(exchange.rules)
        del (rules if section == key else rules[section])[key]
        with suppress(AssertionError):
            assert_engine(replace(exchange, rules=rules), expect)
            unmoved.add(key)
    return unmoved


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_oracle_gives_the_figures_worked_by_hand(path: Path) -> None:
    assert_oracle(*load(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_engine_gives_the_figures_worked_by_hand(path: Path) -> None:
    assert_engine(*load(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_case_fails_where_a_key_that_it_sets_is_ignored(path: Path) -> None:
    assert unmoved_keys(*load(path)) == {key for stem, key in UNMOVED if stem == path.stem}


def test_every_case_says_what_it_shows() -> None:
    assert len(FILES) >= 140
    titles = [tomllib.loads(path.read_text(encoding="utf-8"))["title"] for path in FILES]
    assert len(set(titles)) == len(FILES)
