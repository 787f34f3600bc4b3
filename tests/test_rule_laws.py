"""Laws that tie one rule to another: the same exchange swept under two rulesets or two readings.

They are read through the public API alone; the oracle only says how far rounding reaches.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agreement import slacks_of
from exchanges import Exchange
from test_keys import under
from test_laws import ANY, bits, by_bucket, examples, sweep, word


class Room:
    """How far apart, by rounding alone, figures of a bucket may be in several readings of it."""

    def __init__(self, dyadic: bool, *readings: Exchange) -> None:
        self.slacks = [slacks_of(reading, dyadic=dyadic) for reading in readings]

    def of(self, key: Any, column: str) -> float:
        return float(sum((slacks[key].bounds[column] for slacks in self.slacks), Fraction(0)))


def assert_at_least(
    more: Exchange, less: Exchange, columns: tuple[str, ...], *, dyadic: bool
) -> None:
    """Assert that every bucket has at least as much in one reading as in the other."""
    one, other, room = by_bucket(sweep(more)), by_bucket(sweep(less)), Room(dyadic, more, less)
    for key, row in one.items():
        for column in columns:
            least = other[key][column] - room.of(key, column)
            assert row[column] >= least, (key, column, row, other[key])


def assert_same(one: Exchange, other: Exchange, columns: tuple[str, ...], *, dyadic: bool) -> None:
    """Assert that every bucket has the same in both readings, up to rounding."""
    assert_at_least(one, other, columns, dyadic=dyadic)
    assert_at_least(other, one, columns, dyadic=dyadic)


REQUIREMENTS = ("maintenance_margin", "initial_margin")


@examples(40)
@given(ANY)
def test_both_sides_require_at_least_the_larger_one(drawn: tuple[Exchange, bool]) -> None:
    exchange, dyadic = drawn
    gross, larger = (under(exchange, netting=netting) for netting in ("gross", "larger_side"))
    assert_at_least(gross, larger, (*REQUIREMENTS, "gross_notional"), dyadic=dyadic)
    assert_at_least(larger, gross, ("gross_notional",), dyadic=dyadic)
    for row in sweep(larger).buckets.to_dicts():
        assert row["maintenance_margin"] >= 0
        assert row["initial_margin"] >= 0


@examples(40)
@given(ANY)
def test_netting_shows_no_more_notional_and_the_same_profit(drawn: tuple[Exchange, bool]) -> None:
    exchange, dyadic = drawn
    net, gross = (under(exchange, netting=netting) for netting in ("net", "gross"))
    assert_at_least(gross, net, ("gross_notional",), dyadic=dyadic)
    assert_same(gross, net, ("net_notional",), dyadic=dyadic)
    left, right = sweep(net).buckets, sweep(gross).buckets
    for column in ("unrealized_pnl", "equity", "margin_balance"):
        assert left[column].to_list() == right[column].to_list(), column


@examples(40)
@given(ANY)
def test_orders_counted_in_more_places_require_no_less(drawn: tuple[Exchange, bool]) -> None:
    exchange, dyadic = drawn
    # A slab's rates may fall with size; a side may be kept for its maintenance alone.
    plain = under(exchange, tier_mode="marginal", netting="gross")
    both, initial, none = (under(plain, open_orders=w) for w in ("both", "initial", "none"))
    assert_at_least(both, initial, ("maintenance_margin",), dyadic=dyadic)
    assert_at_least(initial, none, ("initial_margin",), dyadic=dyadic)
    assert_same(both, initial, ("initial_margin",), dyadic=dyadic)
    assert_same(initial, none, ("maintenance_margin",), dyadic=dyadic)


@examples(40)
@given(ANY)
def test_a_slab_requires_no_less_than_slices_where_rates_rise(
    drawn: tuple[Exchange, bool],
) -> None:
    exchange, dyadic = drawn
    tiers: dict[Any, list[dict[str, Any]]] = {}
    for row in exchange.rules["tiers"]:
        tiers.setdefault(row["tier_table"], []).append(row)
    rising = [
        {**row, "maintenance_rate": keep, "initial_rate": begin}
        for table in tiers.values()
        for row, keep, begin in zip(
            table,
            sorted(row["maintenance_rate"] for row in table),
            sorted(row["initial_rate"] for row in table),
            strict=True,
        )
    ]
    plain = under(exchange, tiers=rising, netting="net")
    slab, marginal = (under(plain, tier_mode=mode) for mode in ("slab", "marginal"))
    assert_at_least(slab, marginal, REQUIREMENTS, dyadic=dyadic)


@examples(40)
@given(ANY)
def test_profit_joined_at_full_weight_counts_as_much_as_beside(
    drawn: tuple[Exchange, bool],
) -> None:
    exchange, dyadic = drawn
    full = [
        {"weight_table": name, "maintenance_weight": 1.0}
        for name in dict.fromkeys(row["weight_table"] for row in exchange.rules["weights"])
    ]
    plain = under(exchange, weights=full)
    beside, joined = (under(plain, profit_and_loss=w) for w in ("beside", "settle_asset"))
    columns = ("margin_balance", "margin_buffer", "equity", "unrealized_pnl")
    assert_same(beside, joined, columns, dyadic=dyadic)


@examples(40)
@given(ANY)
def test_joined_collateral_less_debt_is_the_profit_that_counts(
    drawn: tuple[Exchange, bool],
) -> None:
    exchange, dyadic = drawn
    exchange = under(exchange, profit_and_loss="settle_asset", profit_weight=1.0)
    night, room = sweep(exchange), Room(dyadic, exchange)
    options = {r["instrument_id"] for r in exchange.instruments if r["kind"] in ("call", "put")}
    with_options = {
        (row["account_id"], row["bucket_id"])
        for row in night.positions.to_dicts()
        if row["instrument_id"] in options
    }
    for key, row in by_bucket(night).items():
        if key not in with_options and key[1].startswith("cross"):
            apart = row["equity"] - (row["collateral_value"] - row["debt_value"])
            assert abs(apart) <= room.of(key, "equity") + 2 * room.of(key, "debt_value"), row


@examples(40)
@given(ANY)
def test_pooling_moves_no_money(drawn: tuple[Exchange, bool]) -> None:
    exchange, dyadic = drawn
    plain = under(exchange, close_fee="none", profit_and_loss="beside")
    one, apart = (under(plain, pooling=pooling) for pooling in ("all", "settle_asset"))
    slacks = [slacks_of(reading, dyadic=dyadic).items() for reading in (one, apart)]
    for left, right in zip(
        sweep(one).accounts.to_dicts(), sweep(apart).accounts.to_dicts(), strict=True
    ):
        for column in ("equity", "collateral_value", "debt_value", *REQUIREMENTS):
            rounding = sum(
                float(slack.bounds[column])
                for reading in slacks
                for key, slack in reading
                if key[0] == left["account_id"]
            )
            rounding += 0.0 if dyadic else 16 * 2**-53 * abs(left[column])
            assert abs(left[column] - right[column]) <= rounding, (column, left, right)


@examples(40)
@given(ANY, st.sampled_from([0.5, 2.0]))
def test_a_requirement_at_entry_does_not_move_with_the_mark(
    drawn: tuple[Exchange, bool], move: float
) -> None:
    exchange, _ = drawn
    held = under(exchange, price_basis="entry", close_fee="none")
    options = {r["instrument_id"] for r in held.instruments if r["kind"] in ("call", "put")}
    moved = replace(
        held,
        instruments=[{**r, "mark_price": r["mark_price"] * move} for r in held.instruments],
    )
    with_entry = {
        (row["account_id"], row["instrument_id"]) for row in held.positions if row["quantity"]
    }
    alone = {  # an order alone stands at the mark
        (row["account_id"], row["instrument_id"]) for row in held.positions if not row["quantity"]
    }
    for one, other in zip(
        sweep(held).positions.to_dicts(), sweep(moved).positions.to_dicts(), strict=True
    ):
        key = (one["account_id"], one["instrument_id"])
        if key in with_entry - alone and one["instrument_id"] not in options:
            for column in (*REQUIREMENTS, "tier"):
                assert one[column] == other[column], (column, one, other)


@examples(40)
@given(ANY)
def test_half_as_many_contracts_of_twice_the_size_are_the_same(
    drawn: tuple[Exchange, bool],
) -> None:
    exchange, _ = drawn
    if word(exchange, "tier_basis") == "contracts":
        exchange = under(exchange, tier_basis="base")
    counts = ("quantity", "open_buy_quantity", "open_sell_quantity")
    doubled = replace(
        exchange,
        positions=[
            {**row, **{c: row[c] / 2 for c in counts if row[c] is not None}}
            for row in exchange.positions
        ],
        instruments=[
            {**row, "contract_size": (row["contract_size"] or 1.0) * 2}
            for row in exchange.instruments
        ],
    )
    one, other = sweep(exchange), sweep(doubled)
    assert bits(one.accounts) == bits(other.accounts)
    assert bits(one.buckets) == bits(other.buckets)
    assert bits(one.positions.drop("quantity")) == bits(other.positions.drop("quantity"))


@examples(40)
@given(ANY)
def test_a_quanto_with_a_multiplier_of_one_is_linear(drawn: tuple[Exchange, bool]) -> None:
    exchange, _ = drawn
    kinds = {"linear": "quanto", "quanto": "quanto"}
    quanto = [
        {**row, "kind": kinds.get(row["kind"], row["kind"]), "quanto_multiplier": 1.0}
        for row in exchange.instruments
    ]
    linear = [
        {**row, "kind": "linear" if row["kind"] == "quanto" else row["kind"]} for row in quanto
    ]
    one = sweep(replace(exchange, instruments=quanto))
    other = sweep(replace(exchange, instruments=linear))
    assert bits(one.buckets) == bits(other.buckets)
    assert bits(one.positions) == bits(other.positions)


@examples(40)
@given(ANY)
def test_the_ladder_is_the_lowest_rung_that_money_is_below(drawn: tuple[Exchange, bool]) -> None:
    exchange, _ = drawn
    rungs = exchange.rules.get("ladder", [])
    for row in sweep(exchange).buckets.to_dicts():
        balance, required = row["margin_balance"], row["maintenance_margin"]
        below = [rung["name"] for rung in rungs if balance < rung["margin_level_below"] * required]
        assert row["ladder"] == (below[-1] if below and required else None), row


@examples(40)
@given(ANY)
def test_profit_counted_in_full_covers_no_less(drawn: tuple[Exchange, bool]) -> None:
    exchange, dyadic = drawn
    full, given_weight = under(exchange, profit_weight=1.0), exchange
    columns = ("margin_balance", "margin_buffer")
    assert_at_least(full, given_weight, columns, dyadic=dyadic)
    left, right = sweep(full).buckets, sweep(given_weight).buckets
    for column in ("equity", "unrealized_pnl", "gross_notional", "bad_debt"):
        assert left[column].to_list() == right[column].to_list(), column
