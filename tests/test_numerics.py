"""A changed bit needs a raised `numerics` and an entry in the changelog."""

from __future__ import annotations

import copy
import math
from typing import Any

import polars as pl
import pytest

import golden
import margrave as mg
from margrave import engine
from small_night import frames, sweep

MADE = golden.made()
LOG = golden.CHANGELOG.read_text(encoding="utf-8")


def test_the_golden_nights_have_the_bits_that_are_kept() -> None:
    told = golden.complaints(golden.stored(engine.numerics()), MADE, LOG)
    assert not told, "\n".join(told)


def test_all_numerics_are_kept_and_told() -> None:
    for number in range(1, engine.numerics() + 1):
        assert golden.stored(number) is not None
        assert number in golden.entries(LOG)


def test_the_manifest_says_which_numerics_it_is_of() -> None:
    assert sweep(frames()).manifest["numerics"] == engine.numerics() >= 1


# The alarm rings


def test_a_bit_of_an_account_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = engine.accounts

    def one_ulp_off(swept: engine.CoreSweep) -> pl.DataFrame:
        rows = whole(swept)
        money = rows["equity"].to_list()
        money[-1] = math.nextafter(money[-1], math.inf)
        return rows.with_columns(pl.Series("equity", money))

    monkeypatch.setattr(engine, "accounts", one_ulp_off)
    told = golden.complaints(MADE, golden.made(), LOG)
    wanted = {f"{name}: sweep: accounts has other bits: raise NUMERICS" for name in MADE["results"]}
    assert wanted <= set(told)
    assert not [line for line in told if "positions" in line or "input" in line]


@pytest.mark.parametrize("name", MADE["results"])
def test_each_digest_that_differs_is_named(name: str) -> None:
    for part, tables in MADE["results"][name].items():
        for table in tables:
            other: dict[str, Any] = copy.deepcopy(MADE)
            other["results"][name][part][table] = "0" * 64
            assert golden.complaints(MADE, other, LOG) == [
                f"{name}: {part}: {table} has other bits: raise NUMERICS"
            ]


def test_raised_numerics_need_an_entry_and_a_golden_night() -> None:
    raised = {**MADE, "numerics": engine.numerics() + 1}
    told = golden.complaints(golden.stored(raised["numerics"]), raised, LOG)
    assert [line.split(": ")[0] for line in told] == [
        f"CHANGELOG.md has no entry '* numerics {raised['numerics']}",
        f"numerics {raised['numerics']} has no golden night",
    ]


def test_another_input_is_told_from_other_numbers() -> None:
    other = {**MADE, "inputs": {**MADE["inputs"], "own": "0" * 64}}
    assert golden.complaints(MADE, other, LOG) == [
        "own: the input itself changed (generator, presets of the tests)"
    ]


def test_an_entry_stands_under_its_heading_and_says_something() -> None:
    entry = "* numerics 2: `equity` of accounts in debt, by one ulp"
    assert golden.entries(f"## 0.2.0\n\n### Numbers\n\n{entry}\n") == {2}
    assert golden.entries(f"## 0.2.0\n\n### Added\n\n{entry}\n") == set()
    assert golden.entries("### Numbers\n\n* numerics 2:\n* numerics x: y\n") == set()


def test_the_golden_nights_hold_what_can_go_wrong() -> None:
    exchange = mg.generate(accounts=2000, seed=7)
    swept = mg.sweep(
        exchange.positions,
        exchange.balances,
        exchange.instruments,
        exchange.assets,
        exchange.rules,
    )
    statuses = set(swept.accounts["status"].unique())
    assert statuses >= {"flat", "healthy", "below_initial", "liquidation", "bankrupt"}
    assert set(exchange.instruments["kind"].unique()) == {"linear", "inverse"}
