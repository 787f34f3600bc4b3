"""The oracle itself: worked by hand, held to laws of its own, and its alarm proved to ring."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agreement import check
from exchange_rules import UGLY
from exchanges import Exchange, exchanges
from perfect_engine import as_sweep, rounded, unnoticed_faults
from reference_bucket import MONEY, evaluate
from reference_inputs import ZERO, build_buckets, build_world
from reference_prices import fees_held, nearer_price, trigger_values
from reference_requirement import marginal, tier_of
from test_cases import load

quick = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
EVERY = st.booleans().flatmap(lambda dyadic: exchanges(dyadic=dyadic))

TIERS: list[dict[str, Any]] = [
    {"tier_table": "X", "floor": 0, "maintenance_rate": 0.0125, "initial_rate": 0.025},
    {"tier_table": "X", "floor": 150_000_000, "maintenance_rate": 0.025, "initial_rate": 0.05},
]


def simple(**changed: Any) -> Exchange:
    """Return the example of the contract: long 2 at 100, now at 90, with 15 in cash, rate 5 %."""
    parts: dict[str, Any] = {
        "positions": [
            {"account_id": "a", "instrument_id": "X", "quantity": 2.0, "entry_price": 100.0}
        ],
        "balances": [{"account_id": "a", "asset_id": "USD", "amount": 15.0}],
        "accounts": None,
        "instruments": [
            {"instrument_id": "X", "kind": "linear", "settle_asset": "USD", "mark_price": 90.0}
        ],
        "assets": [{"asset_id": "USD", "price": 1.0}],
        "rules": {
            "id": "simple",
            "tiers": [
                {"tier_table": "X", "floor": 0, "maintenance_rate": 0.0625, "initial_rate": 0.125}
            ],
            "weights": [{"weight_table": "USD", "maintenance_weight": 1.0}],
        },
    }
    return Exchange(**{**parts, **changed})


def test_the_example_of_the_contract_comes_out() -> None:
    account = simple().expected()["accounts"][0]
    assert account["equity"] == 15 + 2 * (90 - 100)
    assert account["maintenance_margin"] == Fraction(180, 16)
    assert account["margin_level"] == Fraction(-5 * 16, 180)
    assert account["margin_ratio"] == math.inf
    assert account["status"] == "bankrupt"
    assert account["is_liquidatable"]


def test_the_deduction_of_a_published_table_comes_out() -> None:
    size = Fraction(180_000_000)
    rates = [Fraction(tier["maintenance_rate"]) for tier in TIERS]
    deduction = 150_000_000 * (rates[1] - rates[0])
    assert float(deduction) == 1_875_000.0
    assert marginal(size, TIERS, "maintenance_rate") == size * rates[1] - deduction


@quick
@given(st.lists(st.tuples(UGLY.floor, UGLY.rate), max_size=5), UGLY.floor)
def test_slices_are_the_same_as_rate_less_deduction(
    steps: list[tuple[float, float]], size: float
) -> None:
    floors = [0.0, *sorted({floor for floor, _ in steps})]
    table = [
        {"floor": floor, "maintenance_rate": rate}
        for floor, rate in zip(floors, [0.125, *(rate for _, rate in steps)], strict=False)
    ]
    x, deduction, rate = Fraction(size), ZERO, Fraction(table[0]["maintenance_rate"])
    for tier in table[1 : tier_of(x, table)]:
        step = Fraction(tier["maintenance_rate"]) - rate
        deduction, rate = deduction + Fraction(tier["floor"]) * step, rate + step
    assert marginal(x, table, "maintenance_rate") == x * rate - deduction


def test_a_word_that_there_is_not_is_refused() -> None:
    rules = {**simple().rules, "requirement": {"tier_mode": "slabs"}}
    with pytest.raises(ValueError, match=r"requirement\.tier_mode"):
        simple(rules=rules).expected()


def test_of_two_prices_the_nearer_is_nearer_by_ratio() -> None:
    mark = Fraction(100)
    assert nearer_price([Fraction(60), Fraction(150)], mark) == 150  # 1.67 and 1.5
    assert nearer_price([Fraction(50), Fraction(200)], mark) == 50  # equal: the lower one


def line(*points: tuple[int, int]) -> Any:
    """Return figures whose buffer runs straight through the points and whose requirement is 1."""

    def at(value: Fraction) -> tuple[Fraction, Fraction]:
        pairs = list(pairwise(points))
        (x, y), (u, w) = next((p for p in pairs if value <= p[1][0]), pairs[-1])
        return Fraction(y) + Fraction(w - y, u - x) * (value - x), Fraction(1)

    return at


@pytest.mark.parametrize(
    ("points", "compare", "found"),
    [
        # The mark is 10; kinks are the inner points.
        ([(0, -10), (20, 10)], "lt", [10]),  # exactly on the line: the mark
        ([(0, -5), (20, 15)], "lt", [5]),
        ([(0, 15), (20, -5)], "lt", [15]),
        ([(0, -5), (5, 0), (15, 10), (30, -5)], "lt", [5, 25]),  # a root on a kink, one past all
        ([(0, 5), (5, 0), (20, 15)], "lt", []),  # touches 0 and turns back
        ([(0, 5), (5, 0), (20, 15)], "le", [5]),
        ([(0, -4), (4, 0), (6, 0), (20, 14)], "lt", [4]),  # a stretch of 0, then past it
        ([(0, -4), (4, 0), (6, 0), (20, 14)], "le", [6]),
        ([(0, 0), (20, 20)], "lt", []),  # 0 is no price
        ([(0, 0), (20, 20)], "le", []),
    ],
)
def test_the_trigger_is_reached_at_the_edge_of_where_it_holds(
    points: list[tuple[int, int]], compare: str, found: list[int]
) -> None:
    kinks = [Fraction(x) for x, _ in points[1:-1]]
    assert trigger_values(line(*points), kinks, Fraction(10), compare, False) == found


@pytest.mark.parametrize(
    ("edge", "compare", "found"),
    [
        # The mark is 10. The buffer is 3 up to 20 and -3 beyond; or down to 5 and -3 below.
        (20, "lt", [20]),
        (20, "le", [20]),
        (5, "lt", [5]),
        (5, "le", [5]),
        (10, "lt", [10]),  # a step at the mark itself
    ],
)
@pytest.mark.parametrize("belongs", [True, False])
def test_a_step_over_the_line_is_reached_where_it_is(
    edge: int, compare: str, found: list[int], belongs: bool
) -> None:
    def at(value: Fraction) -> tuple[Fraction, Fraction]:
        past = value > edge if edge >= 10 else value < edge
        on_it = value == edge and edge != 10 and belongs  # the step's own value
        return Fraction(-3 if past or on_it else 3), Fraction(1)

    assert trigger_values(at, [Fraction(edge)], Fraction(10), compare, False) == found


@quick
@given(EVERY)
def test_the_oracle_flags_past_its_liquidation_price_and_never_before(exchange: Exchange) -> None:
    for row, figures, at in moved_buckets(exchange):
        assert row["liquidation_price_kind"] in ("root", "none", "breached")
        if row["bankruptcy_price"] is not None:
            assert at(row["bankruptcy_price"])["equity"] == 0
        if row["liquidation_price_kind"] == "breached":
            assert figures["is_liquidatable"]
        mark, price = row["mark_price"], row["liquidation_price"]
        if price is None:
            continue
        step = Fraction(1, 10**40)
        past = [price * (1 + step), price * (1 - step)]
        if price != mark:
            past = past[:1] if price > mark else past[1:]
            for share in (Fraction(1, 10), Fraction(9, 10), 1 - step):
                assert not at(mark + (price - mark) * share)["is_liquidatable"]
        buffers = {at(p)["margin_buffer"] for p in past}
        assert buffers == {0} or any(at(p)["is_liquidatable"] for p in [price, *past])
        slab = exchange.rules.get("requirement", {}).get("tier_mode") == "slab"
        if not slab:  # whose steps jump the line
            assert at(price)["margin_buffer"] == 0 or at(price)["maintenance_margin"] == 0


@quick
@given(EVERY)
def test_the_oracle_flags_nowhere_nearer_than_its_liquidation_price(exchange: Exchange) -> None:
    for row, _, at in moved_buckets(exchange):
        if row["liquidation_price_kind"] == "breached" or is_option(exchange, row):
            continue
        mark, price = row["mark_price"], row["liquidation_price"]
        if price == mark:
            continue
        for power in (*range(-12, 0), *range(1, 13)):
            moved = mark * Fraction(5, 4) ** power  # up to 14 times as far
            ratio = max(moved / mark, mark / moved)
            if price is None or ratio < max(price / mark, mark / price):
                assert not at(moved)["is_liquidatable"], (row, float(moved))


def is_option(exchange: Exchange, row: dict[str, Any]) -> bool:
    """Return whether a row is of an option, which has no liquidation price."""
    kinds = {terms["instrument_id"]: terms["kind"] for terms in exchange.instruments}
    return kinds[row["instrument_id"]] in ("call", "put")


def moved_buckets(exchange: Exchange) -> Iterator[tuple[Any, Any, Any]]:
    """Return each position's row, its bucket's figures, and those figures at another mark."""
    world = build_world(exchange.instruments, exchange.assets, exchange.rules)
    expected = exchange.expected()
    buckets = build_buckets(exchange.positions, exchange.balances, world)
    for bucket, figures in zip(buckets, expected["buckets"], strict=True):
        for position in bucket.rows:
            row = expected["positions"][position.index]
            instrument = position.instrument_id
            fees = fees_held(bucket, instrument, world)

            def at(
                price: Fraction,
                bucket: Any = bucket,
                instrument: Any = instrument,
                fees: Any = fees,
            ) -> Any:
                value = world.contract_value(instrument, price)
                values = {**world.marks(), instrument: value}
                return evaluate(bucket, values, world, fees(value))

            yield row, figures, at


@quick
@given(EVERY)
def test_the_oracles_accounts_add_up(exchange: Exchange) -> None:
    night = exchange.expected()
    for column in MONEY:
        total = sum((row[column] for row in night["buckets"]), ZERO)
        assert total == sum((row[column] for row in night["accounts"]), ZERO)
        assert total == night["totals"][column]
    shares = sum((row["maintenance_margin"] for row in night["positions"]), ZERO)
    assert shares <= night["totals"]["maintenance_margin"]
    joins = exchange.rules.get("collateral", {}).get("profit_and_loss") == "settle_asset"
    options = any(row["kind"] in ("call", "put") for row in exchange.instruments)
    for row in night["buckets"]:
        held = row["collateral_value"] - row["debt_value"]
        if not joins and not options:
            assert row["equity"] == held + row["unrealized_pnl"]


@quick
@given(EVERY)
def test_a_perfect_engine_passes_the_check(exchange: Exchange) -> None:
    check(as_sweep(rounded(exchange)), exchange)


@pytest.mark.parametrize(
    "case",
    [
        "linear_long",
        "inverse_long",
        "rows_net",
        "debt_with_weight_and_borrow_rates",
        "isolated_twice_on_one_instrument",
        "two_liquidation_prices",
    ],
)
def test_a_fault_in_any_cell_is_caught(case: str) -> None:
    exchange, _ = load(Path(__file__).parent / "cases" / f"{case}.toml")
    assert unnoticed_faults(exchange) == []
