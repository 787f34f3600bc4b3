"""Stresses by examples worked by hand, the arithmetic beside them, and what a stress refuses.

The figures are asked of the oracle and of the public API alike.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import polars as pl
import pytest

import margrave as mg
from exchanges import Exchange, Rows
from margrave.schema import STATUS
from moving_exchanges import book_of, market_of, rules_of, scenario_frame
from reference_scenarios import stress as oracle
from worked import balance, night, position, shocks

Tables = dict[str, Rows]
Stressing = Callable[[Exchange, Rows], Tables]


def frames_by_name(found: Any) -> dict[str, pl.DataFrame]:
    """Return the three frames of a stress."""
    frames = {"scenarios": found.scenarios, "accounts": found.accounts}
    return {**frames, "matrix": found.matrix().collect()}


def by_engine(exchange: Exchange, scenarios: Rows) -> Tables:
    """Return the three frames of a stress through the public API, as rows."""
    found = book_of(exchange).stress(
        market_of(exchange), rules_of(exchange), scenario_frame(scenarios)
    )
    return {name: frame.to_dicts() for name, frame in frames_by_name(found).items()}


def by_oracle(exchange: Exchange, scenarios: Rows) -> Tables:
    """Return the same from the oracle, in doubles."""
    found = oracle(
        exchange.positions,
        exchange.balances,
        exchange.accounts,
        exchange.instruments,
        exchange.assets,
        exchange.rules,
        scenarios,
    )
    return {name: [in_doubles(row) for row in rows] for name, rows in found.items()}


def in_doubles(row: dict[str, Any]) -> dict[str, Any]:
    return {k: float(v) if isinstance(v, Fraction) else v for k, v in row.items()}


both = pytest.mark.parametrize("stress", [by_oracle, by_engine])


def column(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows]


LONG = night(position("a", "BTC-P", 2.0), balance("a", 60.0))
THREE = shocks(up={"BTC": 0.25}, down={"BTC": -0.25}, crash={"BTC": -0.5})


@both
def test_one_account_through_three_scenarios(stress: Stressing) -> None:
    found = stress(LONG, THREE)
    # At 125, 75 and 50: 60 + 2 (P - 100) in hand, 2 P / 8 required.
    assert column(found["matrix"], "scenario_id") == ["up", "down", "crash"]
    assert column(found["matrix"], "equity") == [110.0, 10.0, -40.0]
    assert column(found["matrix"], "margin_balance") == [110.0, 10.0, -40.0]
    assert column(found["matrix"], "maintenance_margin") == [31.25, 18.75, 12.5]
    assert column(found["matrix"], "margin_buffer") == [78.75, -8.75, -52.5]
    assert column(found["matrix"], "bad_debt") == [0.0, 0.0, 40.0]
    assert column(found["matrix"], "status") == ["healthy", "liquidation", "bankrupt"]
    assert column(found["matrix"], "is_liquidatable") == [False, True, True]
    assert found["scenarios"] == [
        scenario("up"),
        scenario("down", 1, 1, 0, 150.0, 0.0, 8.75),
        scenario("crash", 1, 1, 1, 100.0, 40.0, 52.5),
    ]
    assert found["accounts"] == [
        {
            "account_id": "a",
            "worst_scenario": "crash",
            "margin_buffer": -52.5,
            "status": "bankrupt",
            "bad_debt": 40.0,
            "scenarios_liquidatable": 2,
        }
    ]


def scenario(
    name: Any,
    flagged: int = 0,
    new: int = 0,
    bankrupt: int = 0,
    notional: float = 0.0,
    bad_debt: float = 0.0,
    deficit: float = 0.0,
    accounts: int = 1,
) -> dict[str, Any]:
    """Return a row of `scenarios`, in the order of its columns."""
    return {
        "scenario_id": name,
        "accounts": accounts,
        "liquidatable_accounts": flagged,
        "newly_liquidatable_accounts": new,
        "bankrupt_accounts": bankrupt,
        "liquidatable_notional": notional,
        "total_bad_debt": bad_debt,
        "total_margin_deficit": deficit,
    }


ONE_EACH = night(
    *(position(name, name, 1.0) for name in ("BTC-P", "BTC-Q", "ETH-P", "IDX", "PEG", "SELF")),
    balance("btc", 1.0, "BTC"),
    balance("eth", 1.0, "ETH"),
    balance("usdc", 10.0, "USDC"),
    balance("usd", 10.0),
)


@both
@pytest.mark.parametrize(
    ("factors", "equities"),
    [
        # Positions stand at 0, balances at what they are worth.
        ({"*": 0.0}, [0, 0, 0, 0, 0, 0, 100, 10, 10, 10]),
        # A row of its own wins over one of the base, that over *; what is on a stable asset or on
        # the valuation asset stays, and so do they.
        (
            {"*": -0.5, "BTC": -0.25, "BTC-P": 0.25},
            [25, -25, -5, -20, 0, 0, 75, 5, 10, 10],
        ),
        ({"*": 1.0}, [100, 100, 10, 40, 0, 0, 200, 20, 10, 10]),
        # Whatever is named moves, stable or not, and what is on it.
        ({"USDC": -0.5}, [0, 0, 0, 0, -0.5, 0, 100, 10, 5, 10]),
        ({"USDC": -0.5, "*": 1.0}, [100, 100, 10, 40, -0.5, 0, 200, 20, 5, 10]),
        ({"USD": 0.5}, [0, 0, 0, 0, 0, 0.75, 100, 10, 10, 15]),
        ({"PEG": 0.5, "BTC-Q": -0.125}, [0, -12.5, 0, 0, 0.5, 0, 100, 10, 10, 10]),
        ({"*": 1.0, "ETH": 0.0}, [100, 100, 0, 40, 0, 0, 200, 10, 10, 10]),
    ],
)
def test_the_most_specific_factor_moves_a_price_once(
    stress: Stressing, factors: dict[str, float], equities: list[float]
) -> None:
    # Under USD 0.5 the contract SELF gains half a USD, which is worth 1.5.
    assert column(stress(ONE_EACH, shocks(one=factors))["matrix"], "equity") == equities


@both
def test_a_base_moves_its_contracts_and_itself_as_collateral(stress: Stressing) -> None:
    # 1 BTC at 100 backs a short of 1: 150 + (100 - 150) = 100 and 80 + 20 = 100, less P / 8.
    hedged = night(position("a", "BTC-P", -1.0), balance("a", 1.0, "BTC"))
    found = stress(hedged, shocks(up={"BTC": 0.5}, down={"BTC": -0.25}, mark={"BTC-P": 0.5}))
    # The mark alone: 100 - 50 - 150 / 8.
    assert column(found["matrix"], "margin_buffer") == [100 - 18.75, 100 - 9.375, 50 - 18.75]


@both
def test_a_name_that_is_instrument_and_asset_moves_both(stress: Stressing) -> None:
    exchange = night(position("a", "IDX", 1.0), balance("b", 1.0, "ETH"))
    renamed = Exchange(
        positions=[{**row, "instrument_id": "ETH"} for row in exchange.positions],
        balances=exchange.balances,
        accounts=None,
        instruments=[
            {**row, "instrument_id": "ETH", "tier_table": "IDX"}
            if row["instrument_id"] == "IDX"
            else row
            for row in exchange.instruments
        ],
        assets=exchange.assets,
        rules=exchange.rules,
    )
    # 40 - 20 and 10 - 5; * leaves what is named alone.
    found = stress(renamed, shocks(one={"ETH": -0.5, "*": 1.0}))
    assert column(found["matrix"], "equity") == [-20, 5]


@both
def test_of_equally_bad_scenarios_the_first_is_the_worst(stress: Stressing) -> None:
    # Down 10 long costs what up 10 costs short; requirements are the same on the entry.
    exchange = night(
        position("a", "BTC-P", 1.0),
        position("a", "BTC-Q", -1.0),
        balance("a", 60.0),
        requirement={"price_basis": "entry"},
    )
    tied = shocks(z={"BTC-P": -0.25}, a={"BTC-Q": 0.25}, m={"BTC-P": -0.125})
    (row,) = stress(exchange, tied)["accounts"]
    # 60 - 25 less twice 100 / 8.
    assert (row["worst_scenario"], row["margin_buffer"]) == ("z", 10.0)
    assert (row["status"], row["scenarios_liquidatable"]) == ("below_initial", 0)


@both
def test_only_accounts_that_were_not_flagged_before_are_new(stress: Stressing) -> None:
    # `b` lacks 12.5 at the start and recovers at 200: 100 - 25.
    exchange = night(position("b", "BTC-P", 1.0), *LONG.positions, *LONG.balances)
    found = stress(exchange, shocks(down={"BTC": -0.25}, up={"BTC": 1.0}))
    # At 75 `a` lacks 8.75, `b` -25 - 9.375; both are flagged, `a` alone is new.
    assert found["scenarios"] == [
        scenario("down", 2, 1, 1, 225.0, 25.0, 43.125, accounts=2),
        scenario("up", accounts=2),
    ]


@both
def test_a_rich_cross_bucket_hides_no_isolated_shortfall(stress: Stressing) -> None:
    exchange = night(
        position("a", "BTC-P", 2.0, margin_mode="isolated", isolated_margin=30.0),
        balance("a", 1000.0),
    )
    found = stress(exchange, shocks(down={"BTC": -0.25}))
    # 30 - 50 = -20 of equity against 150 / 8: 38.75 is lacking, while the account has 961.25.
    assert found["scenarios"] == [scenario("down", 1, 1, 1, 150.0, 20.0, 38.75)]
    (row,) = found["accounts"]
    assert (row["margin_buffer"], row["status"], row["bad_debt"]) == (961.25, "bankrupt", 20.0)


@both
@pytest.mark.parametrize(("word", "flagged"), [("compare", 2), ("never", 1)])
def test_never_excuses_only_who_must_hold_nothing(
    stress: Stressing, word: str, flagged: int
) -> None:
    # `a` lacks 8.75 at 75; `d` owes 85 against 1 BTC, which is 10 too much there, and must
    # hold nothing.
    exchange = night(
        *LONG.positions,
        *LONG.balances,
        balance("d", 1.0, "BTC"),
        balance("d", -85.0),
        trigger={"zero_requirement": word},
    )
    found = stress(exchange, shocks(down={"BTC": -0.25}, still={"ETH": 0.0}))
    assert column(found["scenarios"], "liquidatable_accounts") == [flagged, 0]
    assert column(found["scenarios"], "newly_liquidatable_accounts") == [flagged, 0]
    assert column(found["scenarios"], "total_margin_deficit") == [18.75, 0.0]
    assert column(found["accounts"], "scenarios_liquidatable") == [1, flagged - 1]


@both
def test_an_option_moves_by_its_own_row_and_its_underlying_by_the_base(stress: Stressing) -> None:
    exchange = night(position("a", "CALL", -2.0), balance("a", 100.0))
    found = stress(
        exchange,
        shocks(
            both={"BTC": -0.25, "CALL": -0.5},
            own={"CALL": 1.0},
            all={"*": 0.5, "CALL": 0.0},
            other={"ETH": -0.5},
        ),
    )
    # 100 - 2 V, and 2 U / 8 required: V and U are 2.5 and 75, 10 and 100, 5 and 150, 5 and 100.
    assert column(found["matrix"], "equity") == [95.0, 80.0, 90.0, 90.0]
    assert column(found["matrix"], "maintenance_margin") == [18.75, 25.0, 37.5, 25.0]


def test_a_held_option_must_be_named_where_its_base_moves() -> None:
    for quantity in (-2.0, 0.0):
        exchange = night(position("a", "CALL", quantity), balance("a", 100.0))
        book, market, rules = book_of(exchange), market_of(exchange), rules_of(exchange)
        for factors in ({"BTC": -0.25}, {"*": -0.25}):
            for given in (shocks(one=factors), shocks(calm={"ETH": 0.1}, one=factors)):
                with pytest.raises(ValueError, match="CALL"):
                    by_oracle(exchange, given)
                with pytest.raises(mg.DataError, match="CALL"):
                    book.stress(market, rules, scenario_frame(given))
            with pytest.raises(mg.DataError, match="CALL"):
                book.sweep(market.shocked(factors), rules)
    assert by_engine(LONG, shocks(one={"BTC": -0.25}))["matrix"][0]["equity"] == 10.0


NO_SCENARIOS = [
    scenario_frame([]),
    scenario_frame(THREE).clear(),
    pl.DataFrame({"scenario_id": [], "factor": [], "price_shock": []}),
]
SCENARIO_TYPES = {
    "accounts": pl.Int64,
    "liquidatable_accounts": pl.Int64,
    "newly_liquidatable_accounts": pl.Int64,
    "bankrupt_accounts": pl.Int64,
    "liquidatable_notional": pl.Float64,
    "total_bad_debt": pl.Float64,
    "total_margin_deficit": pl.Float64,
}
WORST_TYPES = {
    "account_id": pl.String,
    "worst_scenario": pl.String,
    "margin_buffer": pl.Float64,
    "status": pl.Enum(STATUS),
    "bad_debt": pl.Float64,
    "scenarios_liquidatable": pl.Int64,
}
MATRIX_TYPES = {
    "scenario_id": pl.String,
    "account_id": pl.String,
    "status": pl.Enum(STATUS),
    "is_liquidatable": pl.Boolean,
    "equity": pl.Float64,
    "margin_balance": pl.Float64,
    "maintenance_margin": pl.Float64,
    "margin_buffer": pl.Float64,
    "bad_debt": pl.Float64,
}


@pytest.mark.parametrize("scenarios", [*NO_SCENARIOS, scenario_frame(THREE)])
def test_columns_and_types_are_the_same_with_and_without_scenarios(
    scenarios: pl.DataFrame,
) -> None:
    found = book_of(LONG).stress(market_of(LONG), rules_of(LONG), scenarios)
    matrix = found.matrix()
    assert isinstance(matrix, pl.LazyFrame)
    assert found.scenarios.schema == {"scenario_id": pl.String, **SCENARIO_TYPES}
    assert list(found.scenarios.schema) == ["scenario_id", *SCENARIO_TYPES]
    assert list(found.accounts.schema.items()) == list(WORST_TYPES.items())
    assert list(matrix.collect_schema().items()) == list(MATRIX_TYPES.items())
    assert list(matrix.collect().schema.items()) == list(MATRIX_TYPES.items())
    count = scenarios["scenario_id"].n_unique()
    heights = [found.scenarios.height, found.accounts.height, matrix.collect().height]
    assert heights == [count, min(count, 1), count]


@pytest.mark.parametrize(
    "ids",
    [
        pl.Series([2, 1, 1], dtype=pl.Int64),
        pl.Series([2, 1, 1], dtype=pl.UInt8),
        pl.Series(["y", "x", "x"]),
        pl.Series(["y", "x", "x"], dtype=pl.Enum(["x", "y", "z"])),
        pl.Series(["y", "x", "x"], dtype=pl.Categorical),
    ],
)
def test_scenario_ids_come_back_in_the_type_they_came_in(ids: pl.Series) -> None:
    rows = {"scenario_id": ids, "factor": ["BTC", "ETH", "BTC"], "price_shock": [0.5, 0.5, -0.5]}
    found = book_of(LONG).stress(market_of(LONG), rules_of(LONG), pl.DataFrame(rows))
    first = ids.gather([0, 1])
    for series in (
        found.scenarios["scenario_id"],
        found.matrix().collect()["scenario_id"],
        found.accounts["worst_scenario"],
    ):
        assert series.dtype == ids.dtype
    assert found.scenarios["scenario_id"].to_list() == first.to_list()
    assert found.matrix().collect()["scenario_id"].to_list() == first.to_list()
    assert found.accounts["worst_scenario"].to_list() == [first[1]]


def test_accounts_and_scenarios_without_anything_in_them() -> None:
    listed = [{"account_id": "nobody", "owner_id": "x"}]
    for stress in (by_oracle, by_engine):
        found = stress(night(accounts=listed), THREE)
        assert column(found["matrix"], "status") == ["flat"] * 3
        assert column(found["matrix"], "margin_buffer") == [0.0] * 3
        assert found["accounts"][0]["worst_scenario"] == "up"
        nothing = stress(night(), THREE)
        assert nothing["accounts"] == nothing["matrix"] == []
        assert column(nothing["scenarios"], "accounts") == [0, 0, 0]


def test_an_indeterminate_account_is_counted_and_nothing_else() -> None:
    exchange = night(position("bad", "BTC-P", float("nan")), *LONG.positions, *LONG.balances)
    book = book_of(exchange, on_error="quarantine")
    found = book.stress(market_of(exchange), rules_of(exchange), scenario_frame(THREE))
    alone = by_engine(LONG, THREE)
    assert found.scenarios.to_dicts() == [{**row, "accounts": 2} for row in alone["scenarios"]]
    unknown, known = found.accounts.to_dicts()
    assert known == alone["accounts"][0]
    assert unknown.pop("account_id") == "bad"
    assert unknown.pop("status") == "indeterminate"
    assert set(unknown.values()) == {None}
    matrix = found.matrix().collect()
    assert matrix["account_id"].to_list() == ["bad", "a"] * 3
    of_bad = matrix.filter(pl.col("account_id") == "bad")
    assert of_bad["status"].to_list() == ["indeterminate"] * 3
    figures = of_bad.drop("scenario_id", "account_id", "status")
    assert figures.null_count().row(0) == (3,) * figures.width
    assert matrix.filter(pl.col("account_id") == "a").to_dicts() == alone["matrix"]
    assert found.rejects.height == 1
