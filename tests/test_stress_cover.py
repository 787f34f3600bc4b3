"""What the default of the largest groups would cost, by hand and as a law."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given

import margrave as mg
from exchanges import Exchange, Rows
from faulty import refused
from moving_exchanges import book_of, market_of, rules_of, scenario_frame
from reference_scenarios import largest_groups
from test_laws import examples
from test_stress_laws import Drawn, stressed
from worked import balance, night, position, shocks


def stress(exchange: Exchange, scenarios: Rows) -> Any:
    return book_of(exchange).stress(
        market_of(exchange), rules_of(exchange), scenario_frame(scenarios)
    )


# Long 1 of BTC-P at 100 with 30, 20 and 10, long 4 of ETH-P at 10 with 4, short 1 of BTC-P with 40.
HELD = (
    *(position(name, "BTC-P", 1.0) for name in ("a", "b", "c")),
    *(balance(name, cash) for name, cash in (("a", 30.0), ("b", 20.0), ("c", 10.0))),
    position("d", "ETH-P", 4.0),
    balance("d", 4.0),
    position("e", "BTC-P", -1.0),
    balance("e", 40.0),
)
OWNED: Rows = [
    {"account_id": "a", "owner_id": "x"},
    {"account_id": "b", "owner_id": "y"},
    {"account_id": "d", "owner_id": "x"},
    {"account_id": "c", "owner_id": None},
]
CASES = shocks(
    calm={"BTC": -0.05},
    btc={"BTC": -0.5},  # a, b and c owe 20, 30 and 40
    eth={"ETH": -0.5, "BTC": -0.25},  # b, c and d owe 5, 15 and 16
    up={"BTC": 0.95},  # e owes 55
)


def test_cover_1_and_2_of_accounts() -> None:
    found = stress(night(*HELD), CASES).cover(2)
    assert found.rows() == [(1, "up", 55.0, ["e"]), (2, "btc", 70.0, ["c", "b"])]
    assert stress(night(*HELD), CASES).cover().rows() == found.rows()
    assert stress(night(*HELD), CASES).cover(1).rows() == found.rows()[:1]
    assert stress(night(*HELD), CASES).cover(9).rows()[3] == (4, "btc", 90.0, ["c", "b", "a"])


def test_accounts_of_one_owner_are_one_group() -> None:
    # x owes 20 in `btc`, 16 in `eth`; y 30 and 5; c, who has no owner, 40 and 15.
    found = stress(night(*HELD, accounts=OWNED), CASES[:-1]).cover(3)
    assert found["scenario_id"].to_list() == ["btc"] * 3
    assert found["bad_debt"].to_list() == [40.0, 70.0, 90.0]
    together = [{**row, "owner_id": "x"} for row in OWNED]
    # All of them: 90 in `btc`, 36 in `eth`; e has no row in accounts.
    found = stress(night(*HELD, accounts=together), CASES).cover(2)
    assert found["scenario_id"].to_list() == ["btc", "btc"]
    assert found["bad_debt"].to_list() == [90.0, 90.0]


def test_an_owner_called_like_an_account_is_another_group() -> None:
    for name in ("c", "account c"):
        listed = [{"account_id": "a", "owner_id": name}, {"account_id": "b", "owner_id": name}]
        found = stress(night(*HELD, accounts=listed), CASES[1:2]).cover(1)
        assert found["bad_debt"].to_list() == [50.0], name  # a and b, without the 40 of c


def test_of_equal_scenarios_and_groups_the_first() -> None:
    rows = (position("b", "BTC-P", 1.0), position("a", "BTC-Q", 1.0))
    even = shocks(second={"BTC-P": -0.5}, third={"BTC-Q": -0.5}, both={"BTC": -0.5})
    found = stress(night(*rows), even).cover(2)
    assert found.rows() == [(1, "second", 50.0, ["b"]), (2, "both", 100.0, ["b", "a"])]


def test_without_bad_debt_or_scenarios_nobody_is_named() -> None:
    for scenarios in ([], CASES[:1]):
        found = stress(night(*HELD), scenarios).cover(2)
        assert found.rows() == [(1, None, 0.0, []), (2, None, 0.0, [])]
        assert found.schema["scenario_id"] == pl.String
    assert stress(night(), CASES).cover(1).rows() == [(1, None, 0.0, [])]


@pytest.mark.parametrize("groups", [0, -1, 1.5, "2", True, None])
def test_the_number_of_groups_is_at_least_1(groups: Any) -> None:
    assert "groups" in refused(mg.MargraveError, lambda: stress(night(), []).cover(groups))


@examples(60)
@given(stressed())
def test_cover_is_the_largest_sum_over_all_scenarios(drawn: Drawn) -> None:
    exchange, rows, _ = drawn
    found = stress(exchange, rows)
    nights: dict[Any, Rows] = {}
    for row in found.matrix().collect().to_dicts():
        nights.setdefault(row["scenario_id"], []).append(row)
    owners = {row["account_id"]: row["owner_id"] for row in exchange.accounts or []}
    for row in found.cover(3).to_dicts():
        sums = largest_groups(nights, owners, row["groups"])
        most = max(sums.values(), default=Fraction(0))
        assert row["bad_debt"] == float(most), row
        if most:
            near = [name for name, total in sums.items() if math.isclose(total, most)]
            assert row["scenario_id"] in near
            assert 1 <= len(row["group_ids"]) <= row["groups"]
