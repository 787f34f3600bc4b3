"""Every portfolio of `cases/` through the public API and through the oracle.

The figures in the files were worked by hand from the rules; both must give them. The Rust core
reads the same files.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import margrave as mg
from exchanges import Exchange

FILES = sorted((Path(__file__).parent / "cases").glob("*.toml"))


def load(path: Path) -> tuple[Exchange, dict[str, Any]]:
    """Return the exchange of a case file and what the file expects of it."""
    case = tomllib.loads(path.read_text(encoding="utf-8"))
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_oracle_gives_the_figures_worked_by_hand(path: Path) -> None:
    exchange, expect = load(path)
    result = exchange.expected()
    frames = {name: [in_doubles(row) for row in result[name]] for name in list(result)[:3]}
    assert_expected({**frames, "totals": [in_doubles(result["totals"])]}, expect)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_engine_gives_the_figures_worked_by_hand(path: Path) -> None:
    exchange, expect = load(path)
    rules = mg.Rules.load(exchange.rules)
    night = mg.sweep(**exchange.frames(), rules=rules)
    names = ("accounts", "buckets", "positions", "totals")
    assert_expected({name: getattr(night, name).to_dicts() for name in names}, expect)


def test_every_case_says_what_it_shows() -> None:
    assert len(FILES) >= 30
    titles = [tomllib.loads(path.read_text(encoding="utf-8"))["title"] for path in FILES]
    assert len(set(titles)) == len(FILES)
