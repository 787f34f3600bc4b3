"""Breaches by examples worked by hand, the arithmetic beside them.

Each is asked of the oracle and of the public API alike; in the names of the figures `P` is the mark
and `s` the shock. Money is compared nowhere here: only where the line is met.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from exchanges import Exchange
from moving_exchanges import book_of, market_of, rules_of
from reference_breach import Direction
from reference_breach import breach as oracle
from worked import balance, night, position

#: The one account's kind and shock.
Asking = Callable[[Exchange, Direction], tuple[str, float | None]]


def by_engine(exchange: Exchange, direction: Direction) -> tuple[str, float | None]:
    """Return the kind and the shock of the first account, through the public API."""
    found = book_of(exchange).breach(market_of(exchange), rules_of(exchange), direction)
    row = found.row(0, named=True)
    return row["breach_kind"], row["breach_shock"]


def by_oracle(exchange: Exchange, direction: Direction) -> tuple[str, float | None]:
    """Return the same from the oracle."""
    row = oracle(
        exchange.positions,
        exchange.balances,
        exchange.accounts,
        exchange.instruments,
        exchange.assets,
        exchange.rules,
        direction,
    )[0]
    shock = row["breach_shock"]
    return row["breach_kind"], None if shock is None else float(shock)


both = pytest.mark.parametrize("asked", [by_oracle, by_engine])


def root(shock: float) -> tuple[str, Any]:
    return "root", pytest.approx(shock, rel=1e-12, abs=1e-15)


NONE = ("none", None)
BREACHED = ("breached", None)

# 60 + 2 (P - 100) = 2 P / 8 at 80; short: 60 - 2 (P - 100) = 2 P / 8 at 1040 / 9.
LONG = night(position("a", "BTC-P", 2.0), balance("a", 60.0))
SHORT = night(position("a", "BTC-P", -2.0), balance("a", 60.0))


@both
@pytest.mark.parametrize(
    ("exchange", "direction", "expected"),
    [
        (LONG, "down", root(-0.2)),
        (LONG, "up", NONE),
        (LONG, "adverse", root(0.2)),
        (SHORT, "down", NONE),
        (SHORT, "up", root(7 / 45)),
        (SHORT, "adverse", root(7 / 45)),
        (LONG, {"BTC": -1}, root(0.2)),
        (LONG, {"BTC": -0.5}, root(0.4)),
        (LONG, {"BTC-P": -1.0, "BTC": 1.0, "*": 1.0}, root(0.2)),
        (LONG, {"BTC": 0.0, "*": -1.0}, NONE),
        (LONG, {"ETH": -1.0}, NONE),
        (LONG, {"BTC": 1.0}, NONE),
        (SHORT, {"BTC": 1.0}, root(7 / 45)),
        (SHORT, {"*": 2.0}, root(7 / 90)),
        (SHORT, {"BTC": -1.0}, NONE),
    ],
)
def test_one_linear_account_in_every_direction(
    asked: Asking, exchange: Exchange, direction: Direction, expected: Any
) -> None:
    assert asked(exchange, direction) == expected


@both
def test_down_and_up_move_what_everything_moves_and_nothing_else(asked: Asking) -> None:
    for instrument in ("PEG", "SELF"):
        still = night(position("a", instrument, 200.0), balance("a", 60.0))
        assert [asked(still, d) for d in ("down", "up", "adverse")] == [NONE] * 3
    # On no base at all it moves: 100 - 40 s = 5 (1 - s) at 19 / 7 beyond -1; with 20 in cash
    # 20 - 40 s = 5 (1 - s) at 3 / 7.
    assert asked(night(position("a", "IDX", 1.0), balance("a", 100.0)), "down") == NONE
    assert asked(night(position("a", "IDX", 1.0), balance("a", 20.0)), "down") == root(-3 / 7)
    # A stable balance stays: 60 - 200 s = 25 (1 - s) as with USD.
    stable = night(position("a", "BTC-P", 2.0), balance("a", 60.0, "USDC"))
    assert [asked(stable, d) for d in ("down", "adverse")] == [root(-0.2), root(0.2)]


@both
def test_exactly_on_the_line_is_a_root_at_0_or_breached_already(asked: Asking) -> None:
    # 25 in cash and 200 / 8 required.
    for direction in ("down", "up", "adverse", {"ETH": 1.0}):
        rows = position("a", "BTC-P", 2.0), balance("a", 25.0)
        assert asked(night(*rows), direction) == root(0.0)
        assert asked(night(*rows, trigger={"compare": "le"}), direction) == BREACHED
        short_of = position("a", "BTC-P", 2.0), balance("a", 24.0)
        assert asked(night(*short_of), direction) == BREACHED


@both
@pytest.mark.parametrize("compare", ["lt", "le"])
@pytest.mark.parametrize("edge", ["upper", "lower"])
def test_where_a_slabs_step_jumps_the_line_it_is_the_shock_of_the_step(
    asked: Asking, compare: str, edge: str
) -> None:
    # Short 1, all of it at 1/4 from 150 on: at 150 there are 80 - 50 = 30 left, which is above
    # 150 / 8 and below 150 / 4.
    exchange = night(
        position("a", "BTC-P", -1.0),
        balance("a", 80.0),
        tiers=((0.0, 0.125, 0.25), (150.0, 0.25, 0.5)),
        requirement={"tier_mode": "slab", "tier_edge": edge},
        trigger={"compare": compare},
    )
    for direction, shock in (("up", 0.5), ("adverse", 0.5), ({"BTC": 0.125}, 4.0)):
        assert asked(exchange, direction) == root(shock)
    # With 95 left over there is enough for the step: 95 - (P - 100) = P / 4 at 156.
    rich = night(
        position("a", "BTC-P", -1.0),
        balance("a", 95.0),
        tiers=((0.0, 0.125, 0.25), (150.0, 0.25, 0.5)),
        requirement={"tier_mode": "slab", "tier_edge": edge},
        trigger={"compare": compare},
    )
    assert asked(rich, "up") == root(0.56)


@both
def test_the_tier_that_is_open_counts(asked: Asking) -> None:
    # Marginal: short 1 from 100 with 80, 1/8 up to 150 and 1/4 of what is beyond:
    # 180 - P = P / 4 - 18.75 at 159.
    exchange = night(
        position("a", "BTC-P", -1.0),
        balance("a", 80.0),
        tiers=((0.0, 0.125, 0.25), (150.0, 0.25, 0.5)),
    )
    assert asked(exchange, "up") == root(0.59)


@both
def test_an_inverse_contract_backed_by_its_own_coin(asked: Asking) -> None:
    # 100 of 1 each are 1 BTC at 100; in BTC 0.5 + 1 - 100 / P = 12.5 / P at 75, whatever BTC
    # itself is worth; short 0.5 - 1 + 100 / P = 12.5 / P at 175.
    longs = night(position("a", "COIN", 100.0), balance("a", 0.5, "BTC"))
    for direction, shock in (("down", -0.25), ("adverse", 0.25), ({"COIN": -1.0}, 0.25)):
        assert asked(longs, direction) == root(shock)
    shorts = night(position("a", "COIN", -100.0), balance("a", 0.5, "BTC"))
    for direction, shock in (("up", 0.75), ("adverse", 0.75), ({"COIN": 0.5, "BTC": -0.25}, 1.5)):
        assert asked(shorts, direction) == root(shock)


@both
def test_the_first_breach_counts_where_the_buffer_turns_back(asked: Asking) -> None:
    # A quanto of 10 * 0.01 = 0.1 BTC a unit on ETH, ten of them from 10, settled in BTC at 100.
    # Both fall: 25 - 100 s (1 - s) against (1 - s)^2 100 / 8: 12.5 - 75 s + 87.5 s^2 is 0 at
    # (75 -+ sqrt(1250)) / 175; before and beyond there is no trigger.
    exchange = night(position("a", "CROSS", 10.0), balance("a", 25.0))
    first = (75 - math.sqrt(1250)) / 175
    assert asked(exchange, "down") == root(-first)
    assert asked(exchange, {"CROSS": -1.0, "BTC": -1.0}) == root(first)
    # With 29.5 it is 17 - 75 s + 87.5 s^2, which is never 0: 75^2 is less than 4 * 17 * 87.5.
    assert asked(night(position("a", "CROSS", 10.0), balance("a", 29.5)), "down") == NONE
    # BTC alone leaves 25 against 12.5 (1 - s); ETH alone 25 - 100 s against it, at 1 / 7.
    assert asked(exchange, {"BTC": -1.0}) == NONE
    assert asked(exchange, {"CROSS": -1.0}) == root(1 / 7)


@both
def test_any_bucket_counts(asked: Asking) -> None:
    # Isolated: 20 + P - 100 = P / 8 at 640 / 7; cross as before at 80.
    isolated = position("a", "BTC-P", 1.0, margin_mode="isolated", isolated_margin=20.0)
    rows = position("a", "BTC-P", 2.0), balance("a", 60.0)
    for exchange in (night(*rows, isolated), night(isolated, *rows)):
        assert asked(exchange, "down") == root(-3 / 35)
        assert asked(exchange, {"BTC-Q": -1.0}) == NONE
        assert asked(exchange, "up") == NONE
    # What is posted in BTC falls too; in BTC 0.25 + 1 - 100 / P = 12.5 / P at 90.
    coin = position("a", "COIN", 100.0, margin_mode="isolated", isolated_margin=0.25)
    assert asked(night(coin, *rows), "down") == root(-0.1)
    assert asked(night(coin, *rows), "adverse") == root(0.1)


@both
def test_collateral_and_debt_move_too(asked: Asking) -> None:
    # 1 BTC of which half counts, and short 1: 50 (1 + s) - 100 s = 12.5 (1 + s) at 0.6; against
    # it both ways 50 (1 - s) - 100 s = 12.5 (1 + s) at 3 / 13.
    half = {"BTC": [{"floor": 0.0, "maintenance_weight": 0.5}]}
    hedged = night(position("a", "BTC-P", -1.0), balance("a", 1.0, "BTC"), weights=half)
    assert asked(hedged, "up") == root(0.6)
    assert asked(hedged, "adverse") == root(3 / 13)
    assert asked(hedged, "down") == NONE
    # 1 BTC owed against 150: at 150 nothing is left; requiring nothing may excuse it.
    owing = balance("a", 150.0), balance("a", -1.0, "BTC")
    for direction in ("up", "adverse"):
        assert asked(night(*owing), direction) == root(0.5)
        excused = night(*owing, trigger={"zero_requirement": "never"})
        assert asked(excused, direction) == NONE
    assert asked(night(*owing), "down") == NONE
    # Slices: 2 BTC, 100 in full and half beyond, against 130 owed, of which 1/8 is required:
    # 100 + (200 (1 - s) - 100) / 2 = 146.25 at 0.0375.
    sliced = {
        "BTC": [
            {"floor": 0.0, "maintenance_weight": 1.0},
            {"floor": 100.0, "maintenance_weight": 0.5},
        ],
        "USD": [{"maintenance_weight": 1.0, "borrow_maintenance_rate": 0.125}],
    }
    owed = night(balance("a", 2.0, "BTC"), balance("a", -130.0), weights=sliced)
    assert asked(owed, "down") == root(-0.0375)


@both
def test_profit_that_joins_the_balance_through_slices_and_through_0(asked: Asking) -> None:
    joined: dict[str, Any] = {"collateral": {"profit_and_loss": "settle_asset"}}
    weights = {
        "USD": [
            {"floor": 0.0, "maintenance_weight": 1.0, "liability_weight": 2.0},
            {"floor": 40.0, "maintenance_weight": 0.5},
        ]
    }
    rows = position("a", "BTC-P", 1.0), balance("a", 50.0)
    # Below 90 the sum P - 50 counts in full: P - 50 = P / 8 at 400 / 7.
    assert asked(night(*rows, weights=weights, **joined), "down") == root(-3 / 7)
    # 20 beside it carry the account through 0: 20 - 2 (50 - P) = P / 8 at 128 / 3.
    more = night(*rows, balance("a", 20.0, "USDC"), weights=weights, **joined)
    assert asked(more, "down") == root(-43 / 75)
    assert asked(more, "adverse") == root(43 / 75)


@both
def test_the_corner_where_profit_turns_into_loss(asked: Asking) -> None:
    # Long 1 entered at 80 with 12, half of profit counts: 12 + 10 against 12.5. In profit it
    # would be 12 + (P - 80) / 2 = P / 8 at 224 / 3, below 80; so 12 + P - 80 = P / 8 at 544 / 7.
    exchange = night(
        position("a", "BTC-P", 1.0, entry_price=80.0),
        balance("a", 12.0),
        collateral={"profit_weight": 0.5},
    )
    assert asked(exchange, "down") == root(-39 / 175)


@both
def test_fees_at_the_bankruptcy_price_follow_the_moved_market(asked: Asking) -> None:
    # Long 4 with 80: gone at 80, where 320 / 16 is the fee: 80 + 4 (P - 100) = P / 2 + 20 at
    # 340 / 3.5.
    fees: dict[str, Any] = {"fee": 0.0625, "requirement": {"close_fee": "bankruptcy"}}
    exchange = night(position("a", "BTC-P", 4.0), balance("a", 80.0), **fees)
    assert asked(exchange, {"BTC-P": -1.0}) == root(1 / 35)
    # 4 BTC-P and 10 ETH-P with 180, all falling: equity is 180 - 500 s, 500 (1 - s) / 8 is
    # required, and fees are a sixteenth of 400 (1 - s) - equity = 220 + 100 s and of
    # 100 (1 - s) - equity = 400 s - 80, the second from 0.2 on alone. There 80 are left for
    # 50 + 15; beyond 180 - 500 s = 62.5 (1 - s) + 8.75 + 31.25 s.
    two = night(
        position("a", "BTC-P", 4.0), position("a", "ETH-P", 10.0), balance("a", 180.0), **fees
    )
    assert asked(two, "down") == root(-108.75 / 468.75)


@both
def test_the_range_of_a_direction_and_what_lies_beyond(asked: Asking) -> None:
    # A price falls to 0 at most: 300 + 2 (0 - 100) is left.
    rich = night(position("a", "BTC-P", 2.0), balance("a", 300.0))
    for direction in ("down", {"BTC": -1.0}, {"BTC": -0.1}, "adverse"):
        assert asked(rich, direction) == NONE
    # s goes to 10: at -0.05 each the mark falls to 50, and LONG's root at 80 is at 4.
    assert asked(LONG, {"BTC": -0.05}) == root(4.0)
    assert asked(LONG, {"BTC": -0.0175}) == NONE
    # Another price that would be 0 ends it before, held or not.
    assert asked(LONG, {"BTC": -0.05, "ETH": -0.5}) == NONE
    assert asked(LONG, {"BTC": -0.05, "USDC": -0.26}) == NONE
    assert asked(LONG, {"BTC": -0.05, "ETH": -0.24}) == root(4.0)
    # Up to eleven times the price: 1000 - 2 (P - 100) = P / 4 at 1600 / 3; at 2325 no more.
    assert asked(night(position("a", "BTC-P", -2.0), balance("a", 1000.0)), "up") == root(13 / 3)
    assert asked(night(position("a", "BTC-P", -2.0), balance("a", 2325.0)), "up") == NONE


@both
def test_adverse_moves_each_instrument_against_its_net_position(asked: Asking) -> None:
    # 60 - 200 s - 100 s = 25 (1 - s) + 12.5 (1 + s) at 9 / 115.
    apart = night(position("a", "BTC-P", 2.0), position("a", "ETH-P", -10.0), balance("a", 60.0))
    assert asked(apart, "adverse") == root(9 / 115)
    # A net quantity of 0 moves nothing, though both sides require: one could fall alone.
    flat = position("a", "BTC-P", 1.0), position("a", "BTC-P", -1.0), balance("a", 26.0)
    gross = night(*flat, buckets={"netting": "gross"})
    assert asked(gross, "adverse") == NONE
    assert asked(gross, "up") == root(0.04)  # 26 = 2 (1 + s) 100 / 8
    # Two rows of one instrument in one bucket are one net position, of another bucket not.
    parts = position("a", "BTC-P", 3.0), position("a", "BTC-P", -1.0), balance("a", 60.0)
    assert asked(night(*parts), "adverse") == root(0.2)
    isolated = position("a", "BTC-P", -1.0, margin_mode="isolated", isolated_margin=20.0)
    # Short, isolated: 20 - 100 s = 12.5 (1 + s) at 1 / 15.
    assert asked(night(*parts, isolated), "adverse") == root(1 / 15)


@both
def test_adverse_goes_by_the_sum_that_is_weighted(asked: Asking) -> None:
    # COIN entered at 200 and now at 100 has lost 0.5 - 1 BTC, which joins the 0.25 there are: the
    # sum is owed, so BTC rises against it while COIN falls.
    exchange = night(
        position("a", "COIN", 100.0, entry_price=200.0),
        balance("a", 0.25, "BTC"),
        balance("a", 200.0),
        collateral={"profit_and_loss": "settle_asset"},
    )
    # (0.75 - 1 / (1 - s)) BTC at 100 (1 + s) beside 200, against 12.5 (1 + s) / (1 - s): times
    # 1 - s it is 200 (1 - s) + (1 + s) (75 (1 - s) - 100) = 12.5 (1 + s), which is
    # 75 s^2 + 312.5 s - 162.5 = 0.
    shock = (-312.5 + math.sqrt(312.5**2 + 4 * 75 * 162.5)) / 150
    assert asked(exchange, "adverse") == root(shock)


@both
@pytest.mark.parametrize(
    ("coins", "shock"),
    [
        # COIN long from 100, in BTC 1 - 1.125 / (1 - s) with 50 beside: BTC stays at 100 where
        # it sums up to 0, or next to it: 150 (1 - s) = 112.5.
        ((), 0.25),
        ((1.0, -1.0), 0.25),
        ((1.0, 2.0**-42 - 1.0), 0.25),
        # 1/2 more of it falls: 50 + 100 (1 - s) (1.5 - 1.125 / (1 - s)) = 87.5 - 150 s.
        ((0.25, 0.25), 87.5 / 150),
        # 1/4 owed rises: 50 (1 - s) + 100 (1 + s) (0.75 (1 - s) - 1.125) =
        # 12.5 - 162.5 s - 75 s^2.
        ((-0.25,), (-162.5 + math.sqrt(162.5**2 + 300 * 12.5)) / 150),
    ],
)
def test_adverse_leaves_a_sum_next_to_nothing_alone(
    asked: Asking, coins: tuple[float, ...], shock: float
) -> None:
    owned = (balance("a", amount, "BTC") for amount in coins)
    exchange = night(position("a", "COIN", 100.0), balance("a", 50.0), *owned)
    kind, found = asked(exchange, "adverse")
    assert kind == "root"
    assert found == pytest.approx(shock, rel=1e-11)  # of next to nothing 2e-11 USD are left


@both
def test_betas_of_any_size(asked: Asking) -> None:
    assert asked(SHORT, {"BTC": 1e18}) == root(7 / 45 * 1e-18)
    assert asked(LONG, {"BTC": -1e18}) == root(0.2e-18)
    assert asked(LONG, {"BTC": -1e-3, "ETH": 1e18}) == NONE
    assert asked(LONG, {"BTC": -5e-324}) == NONE
    # The mark of an option that nobody holds ends it too.
    assert asked(LONG, {"BTC": -0.05, "CALL": -1.0}) == NONE


@both
def test_an_underlying_price_is_no_mark_and_ends_no_direction(asked: Asking) -> None:
    # Of an option that nobody holds, at s = 1; LONG's root is at 4.
    exchange = night(*LONG.positions, *LONG.balances)
    exchange.instruments[-1]["base_asset"] = "SOL"
    assert asked(exchange, {"BTC": -0.05, "SOL": -1.0}) == root(4.0)


@both
def test_flat_buckets_and_accounts_without_any_never_breach(asked: Asking) -> None:
    for direction in ("down", "up", "adverse", {"BTC": -1.0}):
        for trigger in ({"compare": "lt"}, {"compare": "le"}):
            flat = balance("a", 1.0, "BTC"), position("a", "BTC-P", 0.0)
            assert asked(night(*flat, trigger=trigger), direction) == NONE
            assert asked(night(position("a", "BTC-P", 0.0), trigger=trigger), direction) == NONE
            assert asked(night(accounts=[{"account_id": "a"}], trigger=trigger), direction) == NONE


@both
def test_an_option_moves_by_its_own_factor(asked: Asking) -> None:
    # Short 2 at 5 with 60, on 2 of 100: 60 - 2 V = 25 at 17.5.
    exchange = night(position("a", "CALL", -2.0), balance("a", 60.0))
    assert asked(exchange, {"CALL": 1.0}) == root(2.5)
    assert asked(exchange, {"CALL": -1.0, "ETH": 2.0}) == NONE
