"""The oracle's rules, each by an example worked by hand, the arithmetic beside it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from exchanges import Exchange

LINEAR = {"instrument_id": "X", "kind": "linear", "settle_asset": "USD", "mark_price": 100.0}
COIN = {"instrument_id": "C", "kind": "inverse", "settle_asset": "BTC", "mark_price": 50.0}
QUANTO = {"instrument_id": "X", "kind": "quanto", "settle_asset": "USD", "mark_price": 100.0}
OPTION = {"instrument_id": "X", "kind": "call", "settle_asset": "USD", "mark_price": 5.0}
# Up to 1000 at 1/8, beyond at 1/4; to open twice that.
TIERS = [(0.0, 0.125, 0.25), (1000.0, 0.25, 0.5)]


def long(quantity: float, **more: Any) -> dict[str, Any]:
    """Return a position of account `a` in X, entered at 100 unless told otherwise."""
    row = {"account_id": "a", "instrument_id": "X", "quantity": quantity, "entry_price": 100.0}
    return {**row, **more}


def night(
    *positions: dict[str, Any],
    cash: float = 0.0,
    terms: dict[str, Any] = LINEAR,
    tiers: list[tuple[float, float, float]] = TIERS,
    weights: tuple[dict[str, Any], ...] = ({"maintenance_weight": 1.0},),
    **rules: dict[str, Any],
) -> dict[str, Any]:
    """Return what the oracle says of one account with so much cash."""
    return Exchange(
        positions=list(positions),
        balances=[{"account_id": "a", "asset_id": "USD", "amount": cash}],
        accounts=None,
        instruments=[terms, COIN],
        assets=[{"asset_id": "USD", "price": 1.0}, {"asset_id": "BTC", "price": 50.0}],
        rules={
            "id": "by hand",
            "tiers": [
                {"tier_table": table, "floor": floor, "maintenance_rate": r, "initial_rate": i}
                for table in ("X", "C")
                for floor, r, i in tiers
            ],
            "weights": [
                {"weight_table": asset, **row} for asset in ("USD", "BTC") for row in weights
            ],
            **rules,
        },
    ).expected()


def bucket(*positions: dict[str, Any], **given: Any) -> dict[str, Any]:
    """Return the figures of the one bucket there is."""
    (row,) = night(*positions, **given)["buckets"]
    return dict(row)


def requirement(**keys: Any) -> dict[str, Any]:
    return {"requirement": keys}


def test_pooling_by_settle_asset_backs_a_position_with_its_own_asset_alone() -> None:
    coin = {"account_id": "a", "instrument_id": "C", "quantity": 100.0, "entry_price": 50.0}
    rows = night(coin, long(1.0), cash=50.0, buckets={"pooling": "settle_asset", "netting": "net"})[
        "buckets"
    ]
    # By first appearance in positions: C settles in BTC, X in USD.
    assert [row["bucket_id"] for row in rows] == ["cross:BTC", "cross:USD"]
    assert [row["margin_balance"] for row in rows] == [0, 50]
    # 100 / 50 = 2 BTC, 1/8 of which is 0.25 BTC at 50; 100 * 1/8.
    assert [row["maintenance_margin"] for row in rows] == [12.5, 12.5]
    assert [row["is_liquidatable"] for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("netting", "maintenance", "gross"),
    [
        ("net", 600 / 8, 600),  # |8 - 2| * 100
        ("gross", 800 / 8 + 200 / 8, 1000),
        ("larger_side", 800 / 8, 1000),  # 100 against 25
    ],
)
def test_netting_of_longs_and_shorts(netting: str, maintenance: float, gross: int) -> None:
    row = bucket(long(8.0), long(-2.0), buckets={"netting": netting})
    assert row["maintenance_margin"] == maintenance
    assert row["gross_notional"] == gross
    assert row["net_notional"] == 600


def test_of_two_equal_sides_the_longs_are_kept() -> None:
    positions = night(
        long(-2.0), long(2.0, open_buy_quantity=1.0), buckets={"netting": "larger_side"}
    )["positions"]
    assert [row["maintenance_margin"] for row in positions] == [0, 25]
    assert [row["initial_margin"] for row in positions] == [0, 75]  # 3 * 100 / 4


def test_the_larger_side_is_that_with_its_closing_fee() -> None:
    # 4 long and 4 short at 100 require the same, and net to nothing, so that there is no
    # bankruptcy price and no fee: equal, 400 / 8.
    row = bucket(
        long(4.0),
        long(-4.0),
        cash=400.0,
        terms={**LINEAR, "close_fee_rate": 0.125},
        buckets={"netting": "larger_side"},
        **requirement(close_fee="bankruptcy"),
    )
    assert row["maintenance_margin"] == 50
    # With 2 more on order the shorts are larger: 600 / 8, and 600 / 8 to close them.
    row = bucket(
        long(4.0),
        long(-4.0, open_sell_quantity=2.0),
        terms={**LINEAR, "close_fee_rate": 0.125},
        buckets={"netting": "larger_side"},
        **requirement(close_fee="mark", open_orders="both"),
    )
    assert row["maintenance_margin"] == 150


def test_a_slab_charges_the_whole_size_at_its_tiers_rate() -> None:
    # 1200 at 1/4; marginal would be 1000 / 8 + 200 / 4 = 175.
    assert bucket(long(12.0), **requirement(tier_mode="slab"))["maintenance_margin"] == 300
    assert bucket(long(12.0))["maintenance_margin"] == 175


@pytest.mark.parametrize(("edge", "tier", "margin"), [("upper", 2, 250), ("lower", 1, 125)])
def test_a_size_on_a_floor_is_in_the_tier_that_the_edge_says(
    edge: str, tier: int, margin: int
) -> None:
    (row,) = night(long(10.0), **requirement(tier_mode="slab", tier_edge=edge))["positions"]
    assert row["tier"] == tier
    assert row["maintenance_margin"] == margin  # 1000 / 4, or 1000 / 8


@pytest.mark.parametrize(
    ("basis", "margin"),
    [
        # 4 contracts of 2 units at 100, the upper tier begins at 5.
        ("notional", 5 / 8 + 795 / 4),
        ("base", (5 / 8 + 3 / 4) * 100),  # 8 units at 100 each
        ("contracts", (4 / 8) * 200),  # 4 contracts at 200 each
    ],
)
def test_tiers_stand_on_their_basis(basis: str, margin: float) -> None:
    tiers = [(0.0, 0.125, 0.25), (5.0, 0.25, 0.5)]
    row = bucket(
        long(4.0),
        terms={**LINEAR, "contract_size": 2.0},
        tiers=tiers,
        **requirement(tier_basis=basis),
    )
    assert row["maintenance_margin"] == margin


def test_the_base_of_an_inverse_contract_is_its_value_in_the_coin() -> None:
    # 400 / 50 = 8 BTC: 5 / 8 + 3 / 4 of them, at 50.
    coin = {"account_id": "a", "instrument_id": "C", "quantity": 400.0, "entry_price": 50.0}
    tiers = [(0.0, 0.125, 0.25), (5.0, 0.25, 0.5)]
    row = bucket(coin, tiers=tiers, **requirement(tier_basis="base"))
    assert row["maintenance_margin"] == Fraction(11, 8) * 50


def test_a_requirement_at_entry_stands_still() -> None:
    # 3 at 80 and 1 at 120 average 90, the net quantity is 4: 360 / 8.
    positions = [long(3.0, entry_price=80.0), long(1.0, entry_price=120.0)]
    row = bucket(*positions, **requirement(price_basis="entry"))
    assert row["maintenance_margin"] == 45
    assert row["gross_notional"] == 400  # at the mark all the same


def test_the_average_entry_of_an_inverse_contract_is_harmonic() -> None:
    # 100 at 50 and 100 at 100: 2 + 1 BTC at entry, 1/8 of them at 50.
    rows = [
        {"account_id": "a", "instrument_id": "C", "quantity": 100.0, "entry_price": price}
        for price in (50.0, 100.0)
    ]
    row = bucket(*rows, **requirement(price_basis="entry"))
    assert row["maintenance_margin"] == Fraction(3, 8) * 50


def test_an_order_alone_has_no_entry_and_is_margined_at_the_mark() -> None:
    row = bucket(
        long(0.0, entry_price=10.0, open_buy_quantity=2.0), **requirement(price_basis="entry")
    )
    assert row["initial_margin"] == 50  # 2 * 100 / 4
    assert row["status"] == "flat"


def test_a_closing_fee_at_the_mark_joins_maintenance_alone() -> None:
    row = bucket(
        long(4.0), terms={**LINEAR, "close_fee_rate": 0.0625}, **requirement(close_fee="mark")
    )
    assert row["maintenance_margin"] == 50 + 25  # 400 / 8 + 400 / 16
    assert row["initial_margin"] == 100


def test_a_closing_fee_at_the_bankruptcy_price() -> None:
    terms = {**LINEAR, "close_fee_rate": 0.0625}
    # Long 4 from 100 with 80: gone at 80, where 320 / 16 is the fee. A short is gone at 120.
    longs, shorts = (
        night(long(side * 4.0), cash=80.0, terms=terms, **requirement(close_fee="bankruptcy"))
        for side in (1, -1)
    )
    assert longs["positions"][0]["bankruptcy_price"] == 80
    assert longs["accounts"][0]["maintenance_margin"] == 50 + 20
    assert shorts["accounts"][0]["maintenance_margin"] == 50 + 30
    # 80 + 4 (P - 100) = 4 P / 8 + 20, so P = 340 / 3.5.
    assert longs["positions"][0]["liquidation_price_kind"] == "root"
    assert longs["positions"][0]["liquidation_price"] == Fraction(340 * 2, 7)
    # With 400 in cash a long of 4 is never gone, and closing it costs nothing.
    rich = bucket(long(4.0), cash=400.0, terms=terms, **requirement(close_fee="bankruptcy"))
    assert rich["maintenance_margin"] == 50


@pytest.mark.parametrize(
    ("word", "maintenance", "initial"),
    [("initial", 50, 175), ("both", 87.5, 175), ("none", 50, 100)],
)
def test_open_orders_are_margined_where_the_rule_says(
    word: str, maintenance: float, initial: int
) -> None:
    # 4 held, and 3 more on order: 400 or 700, by 1/8 and by 1/4.
    row = bucket(long(4.0, open_buy_quantity=3.0), **requirement(open_orders=word))
    assert row["maintenance_margin"] == maintenance
    assert row["initial_margin"] == initial


SLICED = ({"maintenance_weight": 1.0}, {"floor": 100.0, "maintenance_weight": 0.5})


def test_profit_that_joins_the_settle_asset_is_weighted_with_it() -> None:
    # 80 in cash and 40 of profit: 100 + 20 / 2; beside it 80 + 40.
    position = long(4.0, entry_price=90.0)
    row = bucket(
        position, cash=80.0, weights=SLICED, collateral={"profit_and_loss": "settle_asset"}
    )
    assert row["margin_balance"] == 110
    assert row["collateral_value"] == 120
    assert row["equity"] == 120
    assert bucket(position, cash=80.0, weights=SLICED)["margin_balance"] == 120


def test_a_loss_larger_than_the_balance_is_a_debt() -> None:
    # 80 in cash and 200 of loss: 120 owed, one and a half times, and 1/4 of it required.
    debt = {"liability_weight": 1.5, "borrow_maintenance_rate": 0.25}
    row = bucket(
        long(4.0, entry_price=150.0),
        cash=80.0,
        weights=({"maintenance_weight": 1.0, **debt},),
        collateral={"profit_and_loss": "settle_asset"},
    )
    assert (row["collateral_value"], row["debt_value"]) == (0, 120)
    assert row["margin_balance"] == -180
    assert row["maintenance_margin"] == 50 + 30
    assert row["equity"] == -120


def test_a_price_through_the_slices_of_joined_profit() -> None:
    # Short 4 at 100 with 150: 150 + 4 (100 - P) is 100 at 112.5, so beyond it counts in full:
    # 550 - 4 P = 4 P / 8 at 550 / 4.5.
    (row,) = night(
        long(-4.0), cash=150.0, weights=SLICED, collateral={"profit_and_loss": "settle_asset"}
    )["positions"]
    assert row["liquidation_price"] == Fraction(1100, 9)


def test_the_price_of_a_slab_is_where_its_step_jumps_the_line() -> None:
    # Short 4 at 100 with 850: at 250 there is 850 - 600 = 250 left, and the whole 1000 is
    # charged at 1/4, which is 250. With 800 there is 200 left: above 1000 / 8, below 1000 / 4.
    slab = requirement(tier_mode="slab")
    assert night(long(-4.0), cash=850.0, **slab)["positions"][0]["liquidation_price"] == 250
    (row,) = night(long(-4.0), cash=800.0, **slab)["positions"]
    assert (row["liquidation_price_kind"], row["liquidation_price"]) == ("root", 250)


def test_the_price_through_the_corner_where_profit_turns_into_loss() -> None:
    # Long 4 entered at 96, now 100, half of profit counts: 20 + 8 = 28 against 50. In profit
    # it would need 20 + 2 (P - 96) = P / 2, which is above the mark: it is breached.
    half: dict[str, Any] = {"collateral": {"profit_weight": 0.5}}
    entered = long(4.0, entry_price=96.0)
    assert night(entered, cash=20.0, **half)["positions"][0]["liquidation_price_kind"] == "breached"
    # With 50 in cash 58 against 50; at 96 still 50 against 48, then 50 + 4 (P - 96) = P / 2.
    (row,) = night(entered, cash=50.0, **half)["positions"]
    assert row["liquidation_price"] == Fraction(334 * 2, 7)


def test_a_ladder_names_the_lowest_rung_reached() -> None:
    ladder = [
        {"name": "reduce_only", "margin_level_below": 2.0},
        {"name": "liquidation", "margin_level_below": 1.5},
    ]
    named: dict[str, Any] = {"ladder": ladder}
    # 50 is required: from 100 on there is no rung, from 75 on the first.
    for cash, rung in ((100.0, None), (99.0, "reduce_only"), (75.0, "reduce_only"), (74.0, "l")):
        account = night(long(4.0), cash=cash, **named)["accounts"][0]
        assert account["ladder"] == {"l": "liquidation"}.get(str(rung), rung)
    assert night(cash=-5.0, **named)["accounts"][0]["ladder"] is None  # nothing required


def test_a_quanto_contract_pays_its_multiplier_a_unit() -> None:
    # 4 * 1/2 * (100 - 90) = 20 of profit, 4 * 1/2 * 100 = 200 of notional.
    night_ = night(
        long(4.0, entry_price=90.0), cash=30.0, terms={**QUANTO, "quanto_multiplier": 0.5}
    )
    (row,) = night_["accounts"]
    assert (row["unrealized_pnl"], row["gross_notional"]) == (20, 200)
    assert row["maintenance_margin"] == 25
    # 30 + 2 (P - 90) = 2 P / 8 at 150 / 1.75; gone at 75.
    (position,) = night_["positions"]
    assert position["liquidation_price"] == Fraction(600, 7)
    assert position["bankruptcy_price"] == 75


def test_an_option_is_valued_at_its_premium_and_margined_when_short() -> None:
    terms = {**OPTION, "underlying_price": 80.0, "close_fee_rate": 0.0625}
    fee = requirement(close_fee="bankruptcy")
    longs, shorts = (
        night(long(side * 2.0), cash=100.0, terms=terms, **fee)["accounts"][0] for side in (1, -1)
    )
    # 2 * 5 of value, no profit; 2 * 80 of notional.
    assert (longs["equity"], longs["unrealized_pnl"], longs["gross_notional"]) == (110, 0, 160)
    assert (longs["maintenance_margin"], longs["initial_margin"]) == (0, 0)
    assert (shorts["equity"], shorts["margin_balance"]) == (90, 90)
    assert (shorts["maintenance_margin"], shorts["initial_margin"]) == (20 + 10, 40)
    assert (shorts["net_notional"], shorts["gross_notional"]) == (-160, 160)


def test_an_option_has_no_liquidation_price_but_a_bankruptcy_price() -> None:
    terms = {**OPTION, "underlying_price": 80.0}
    (row,) = night(long(-2.0), cash=100.0, terms=terms)["positions"]
    assert (row["liquidation_price"], row["liquidation_price_kind"]) == (None, "none")
    assert row["unrealized_pnl"] == -10
    assert row["bankruptcy_price"] == 50  # 100 - 2 V
    (row,) = night(long(-2.0), cash=20.0, terms=terms)["positions"]
    assert row["liquidation_price_kind"] == "breached"


def test_options_on_both_sides_are_margined_by_their_shorts_unless_they_net_long() -> None:
    terms = {**OPTION, "underlying_price": 80.0}
    rows = long(3.0), long(-2.0)
    net, gross = (
        bucket(*rows, terms=terms, buckets={"netting": word}) for word in ("net", "gross")
    )
    assert net["maintenance_margin"] == 0  # net 1 long
    assert gross["maintenance_margin"] == 20  # 2 * 80 / 8
