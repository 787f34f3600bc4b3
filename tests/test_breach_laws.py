"""Laws of breaches, seen by sweeping the same book in markets along the direction.

The oracle serves to say how far rounding reaches: at a shock that close to the line either answer
will do. Markets along a direction are rows moved as a scenario moves them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import margrave as mg
from agreement import slacks_of
from agreement_breach import check_account, check_breach, walks_of
from breach_views import Seen, moved_along
from exchanges import Exchange
from moving_exchanges import (
    book_of,
    directions,
    factors_at,
    market_of,
    moved_exchange,
    moves_of,
    moving,
    rules_of,
)
from reference_breach import Direction, refused_options
from test_laws import bits, by_bucket, examples, sweep, trigger_of, word
from test_price_laws import stands_still

#: An exchange and a direction.
Drawn = tuple[Exchange, Direction]


@st.composite
def walking(draw: st.DrawFn, *, adverse: bool = True, options: bool = False) -> Drawn:
    # Often under the default rules, which most venues share and the fastest path knows.
    only: dict[str, Any] | None = draw(st.sampled_from([None, None, {}]))
    exchange, dyadic = draw(moving(only=only, options=options))
    return exchange, draw(directions(exchange, dyadic=dyadic, adverse=adverse))


def breach(exchange: Exchange, direction: Direction, **options: Any) -> pl.DataFrame:
    found = book_of(exchange).breach(market_of(exchange), rules_of(exchange), direction, **options)
    assert isinstance(found, pl.DataFrame)
    return found


def roots_of(exchange: Exchange, direction: Direction) -> list[tuple[Any, float]]:
    """Return the accounts that breach somewhere, and how far out."""
    rows = breach(exchange, direction).filter(pl.col("breach_kind") == "root").to_dicts()
    return [(row["account_id"], abs(row["breach_shock"])) for row in rows]


@examples(100)
@given(walking())
def test_engine_equals_reference(drawn: Drawn) -> None:
    exchange, direction = drawn
    check_breach(breach(exchange, direction).to_dicts(), exchange, direction)


@examples(60)
@given(walking())
def test_breach_is_on_the_line(drawn: Drawn) -> None:
    exchange, direction = drawn
    compare, never = trigger_of(exchange)
    steps = word(exchange, "tier_mode") == "slab"
    seen = Seen(exchange, direction)
    for account, size in roots_of(exchange, direction):
        assert seen.reaches(account, size), (account, size)
        views = seen.at(account, size)
        # A slab's step jumps the line; a requirement may begin where the buffer is negative.
        if not (steps or never):
            on_it = any(abs(view.buffer) <= view.rounding for view in views)
            assert on_it or is_between_doubles(seen, account, size), (account, size, views)
        flags = [view.flag for view in views]
        if compare == "lt" and not steps:
            assert True not in flags, (account, size, views)
        reached = compare == "le" and not steps and not never
        assert not reached or set(flags) & {True, None}, (account, size, views)


def is_between_doubles(seen: Seen, account: Any, size: float) -> bool:
    """Return whether a buffer changes its sign within two doubles of the shock.

    Where a price is next to 0, its next double as a shock is a long way off.
    """
    apart = 2 * math.ulp(size)
    if not seen.reaches(account, size + apart):
        return True
    sides = zip(seen.at(account, size - apart), seen.at(account, size + apart), strict=True)
    return any(before.buffer >= 0 >= after.buffer for before, after in sides)


@examples(60)
@given(walking())
def test_no_flag_just_inside(drawn: Drawn) -> None:
    exchange, direction = drawn
    seen = Seen(exchange, direction)
    for account, size in roots_of(exchange, direction):
        for share in (0.25, 0.9, 1 - 1e-6, 1 - 1e-9):
            if size:
                assert seen.flag(account, size * share) is not True, (account, size, share)


@examples(60)
@given(walking())
def test_a_flag_just_past_the_breach(drawn: Drawn) -> None:
    exchange, direction = drawn
    compare, _ = trigger_of(exchange)
    seen = Seen(exchange, direction)
    for account, size in roots_of(exchange, direction):
        past = [size * (1 + by) for by in (1e-12, 1e-9, 1e-6)]
        flags = [seen.flag(account, p) for p in past if seen.reaches(account, p)]
        if compare == "le":  # a buffer may touch the line and turn back
            flags.append(seen.flag(account, size))
        # At 0 it is the line itself, whatever comes next.
        assert not flags or not size or set(flags) & {True, None}, (account, size, flags)


@examples(40)
@given(walking(), st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=4))
def test_no_flag_anywhere_where_there_is_no_breach(drawn: Drawn, shares: list[float]) -> None:
    exchange, direction = drawn
    found = breach(exchange, direction).filter(pl.col("breach_kind") == "none")
    seen = Seen(exchange, direction)
    for account in found["account_id"]:
        lines = [walk.line for walk in seen.walks.get(account, [])]
        for share in (*shares, 1 - 1e-9) if lines else ():
            size = float(lines[0].end) * share
            assert seen.flag(account, size) is not True, (account, size)


@examples(60)
@given(walking())
def test_breached_are_those_that_the_sweep_flags(drawn: Drawn) -> None:
    exchange, direction = drawn
    found, night = breach(exchange, direction), sweep(exchange)
    assert found["account_id"].to_list() == night.accounts["account_id"].to_list()
    breached = (found["breach_kind"] == "breached").to_list()
    assert breached == night.accounts["is_liquidatable"].to_list()
    shocks = found["breach_shock"]
    assert shocks.is_not_null().to_list() == (found["breach_kind"] == "root").to_list()
    signs = {math.copysign(1, shock) for shock in shocks.drop_nulls() if shock}
    assert signs <= ({-1.0} if direction == "down" else {1.0})
    assert not any(str(shock) == "-0.0" for shock in shocks.drop_nulls())


@examples(80)
@given(moving(), st.data())
def test_breach_of_one_instrument_is_its_liquidation_price(
    drawn: tuple[Exchange, bool], data: st.DataObject
) -> None:
    exchange, _ = drawn
    assets = {str(row["asset_id"]) for row in exchange.assets}
    bases = {row["base_asset"] for row in exchange.instruments}
    # A name that is an asset or a base as well would move more than its instrument.
    names = [row["instrument_id"] for row in exchange.instruments]
    alone = [name for name in names if str(name) not in assets | bases]
    assume(alone)
    instrument = data.draw(st.sampled_from(alone))
    found = {
        beta: {
            row["account_id"]: row for row in breach(exchange, {str(instrument): beta}).to_dicts()
        }
        for beta in (-1.0, 1.0)
    }
    night = sweep(exchange)
    buckets = night.buckets["account_id"].to_list()
    rows = night.positions.filter(pl.col("instrument_id") == instrument).to_dicts()
    for row in rows:
        account, price, mark = row["account_id"], row["liquidation_price"], row["mark_price"]
        if not stands_still(exchange, row) or buckets.count(account) > 1:
            continue
        kinds = {beta: found[beta][account]["breach_kind"] for beta in found}
        if row["liquidation_price_kind"] == "breached":
            assert set(kinds.values()) == {"breached"}, row
        elif price is not None and not mark * 1e-9 < price < mark * 11 * (1 - 1e-9):
            assert kinds[1.0 if price > mark else -1.0] == "none", row
        elif price is not None and price != mark:
            beta = 1.0 if price > mark else -1.0
            shock = found[beta][account]["breach_shock"]
            # The price as a shock is an answer too, and the other way there is none nearer.
            assert shock is not None, row
            for answer in (shock, abs(price / mark - 1)):
                given = {**found[beta][account], "breach_shock": answer}
                check_one(exchange, {str(instrument): beta}, given)
            other = found[-beta][account]["breach_shock"]
            ratio = max(price / mark, mark / price)
            back = None if other is None else (1 + other if beta < 0 else 1 / (1 - other))
            assert back is None or back >= ratio * (1 - 1e-9), (row, other)
        elif price is None and word(exchange, "zero_requirement") == "compare":
            assert set(kinds.values()) == {"none"}, (row, kinds)


def check_one(exchange: Exchange, direction: Direction, row: dict[str, Any]) -> None:
    own = [w for w in walks_of(exchange, direction) if w.bucket.account_id == row["account_id"]]
    check_account(row, own, direction)


#: Rules under which "adverse" bounds a box, whatever the rest of them says.
CERTIFIED: dict[str, Any] = {
    "pooling": st.sampled_from(["all", "settle_asset"]),
    "netting": "net",
    "tier_mode": "marginal",
    "tier_basis": st.sampled_from(["notional", "base", "contracts"]),
    "price_basis": st.sampled_from(["mark", "entry"]),
    "open_orders": st.sampled_from(["initial", "none"]),
    "compare": st.sampled_from(["lt", "le"]),
    "level": st.sampled_from([1.0, 1.25, 0.5, 2.0]),
}


@st.composite
def boxed(draw: st.DrawFn) -> Exchange:
    """Draw an exchange whose adverse breaches bound a box. [DETAILS 6]

    Sizes are net: one tier table to an instrument. Rates rise, times the level they are below 1,
    and what positions settle in stands still.
    """
    exchange, _ = draw(moving(only=CERTIFIED))
    level = exchange.rules.get("trigger", {}).get("level", 1.0)
    settled = {row["settle_asset"] for row in exchange.instruments}
    highest: dict[str, float] = {}
    tiers = []
    for row in exchange.rules["tiers"]:
        rate = min(row["maintenance_rate"], 0.9 / max(level, 1.0))
        table = str(row["tier_table"])
        highest[table] = max(rate, highest.get(table, 0.0))
        tiers.append({**row, "maintenance_rate": highest[table]})
    return replace(
        exchange,
        positions=[{**row, "tier_table": None} for row in exchange.positions],
        assets=[
            {**row, "is_stable": row["is_stable"] or row["asset_id"] in settled}
            for row in exchange.assets
        ],
        rules={**exchange.rules, "tiers": tiers},
    )


#: How far each price goes, of the adverse shock, either way.
SHARES = st.sampled_from([-1.0, 1.0, -0.999999, 0.999999, 0.0, 0.5]) | st.floats(-1.0, 1.0)


@examples(80)
@given(boxed(), st.data())
def test_nothing_inside_the_adverse_box_breaches(exchange: Exchange, data: st.DataObject) -> None:
    found = {row["account_id"]: row for row in breach(exchange, "adverse").to_dicts()}
    moves = moves_of(exchange, "adverse")
    shares = {
        kind: {name: data.draw(SHARES) for name in names}
        for kind, names in (("marks", moves.marks), ("assets", moves.assets))
    }
    for walk in walks_of(exchange, "adverse"):
        row = found[walk.bucket.account_id]
        if row["breach_kind"] == "breached":
            continue
        size = (1.0 if row["breach_shock"] is None else row["breach_shock"]) * (1 - 1e-9)
        line = replace(
            walk.line,
            marks={name: Fraction(share) for name, share in shares["marks"].items()},
            assets={name: Fraction(share) for name, share in shares["assets"].items()},
        )
        there = moved_along(exchange, line, size)
        key = (walk.bucket.account_id, walk.bucket.label)
        bucket = by_bucket(sweep(there))[key]
        # A bucket that stands on the line already is a root at 0: its box has no inside.
        if row["breach_shock"] != 0:
            assert not bucket["is_liquidatable"] or is_doubtful(there, key), (row, bucket)


def is_doubtful(exchange: Exchange, key: Any) -> bool:
    return "flag" in slacks_of(exchange)[key].doubts


@examples(60)
@given(walking(options=True))
def test_options_that_would_be_repriced_are_refused(drawn: Drawn) -> None:
    exchange, direction = drawn
    moves = moves_of(exchange, direction)
    refused = refused_options(direction, exchange.positions, exchange.instruments, moves)
    if direction != "adverse":  # whether a beta of 0 moves a base the contract does not say
        assume(all(moves.underlyings[option] for option in refused))
    if not refused:
        check_breach(breach(exchange, direction).to_dicts(), exchange, direction)
        return
    with pytest.raises(mg.DataError) as caught:
        breach(exchange, direction)
    assert any(str(option) in str(caught.value) for option in refused)


@examples(40)
@given(walking())
def test_threads_do_not_change_bits(drawn: Drawn) -> None:
    exchange, direction = drawn
    one = breach(exchange, direction, threads=1)
    for threads in (2, 3, 7):
        assert bits(one) == bits(breach(exchange, direction, threads=threads))


@examples(40)
@given(walking(), st.data())
def test_other_accounts_change_no_bits(drawn: Drawn, data: st.DataObject) -> None:
    exchange, direction = drawn
    whole = breach(exchange, direction)
    assume(whole.height > 0)
    account = data.draw(st.sampled_from(whole["account_id"].to_list()))
    alone = replace(
        exchange,
        positions=[row for row in exchange.positions if row["account_id"] == account],
        balances=[row for row in exchange.balances if row["account_id"] == account],
        accounts=[row for row in exchange.accounts or [] if row["account_id"] == account] or None,
    )
    own = whole.filter(pl.col("account_id") == account)
    assert bits(own) == bits(breach(alone, direction))


@examples(40)
@given(walking(adverse=False), st.sampled_from([0.5, 0.25, 2.0]))
def test_a_shocked_market_is_nearer_by_what_it_was_shocked(drawn: Drawn, share: float) -> None:
    exchange, direction = drawn
    assume(not isinstance(direction, str))
    book, rules, market = book_of(exchange), rules_of(exchange), market_of(exchange)
    # What is walked on from a shocked market is the line through the moved rows.
    factors = {f: b * share for f, b in factors_at(direction, 1.0).items() if b * share > -1}
    found = book.breach(market.shocked(factors), rules, direction)
    there = moved_exchange(exchange, factors)
    assert bits(found) == bits(book.breach(market_of(there), rules, direction))
