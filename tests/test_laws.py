"""Laws that hold for every book, market and ruleset, on exchanges drawn at random.

Each law is read through the public API alone; the oracle serves where exact figures are asked for.
Runs repeat: the draws are fixed unless MARGRAVE_EXAMPLES is set, which gives the number of examples
a law gets and draws new ones every time.
"""

from __future__ import annotations

import math
import os
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import margrave as mg
from agreement import check, slacks_of
from exchange_rules import DYADIC, UGLY
from exchanges import Exchange, Rows, exchanges
from reference import STATUSES
from reference_bucket import MONEY
from reference_inputs import DEFAULTS

ASKED = os.environ.get("MARGRAVE_EXAMPLES")
ANY = st.booleans().flatmap(
    lambda dyadic: st.tuples(exchanges(dyadic=dyadic), st.just(dyadic))
)  # an exchange, and whether it is free of rounding


def examples(count: int) -> Callable[[Any], Any]:
    """Return the settings of a law: `count` fixed examples, or the number of new ones asked for."""
    return settings(
        max_examples=int(ASKED) if ASKED else count,
        derandomize=ASKED is None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def sweep(exchange: Exchange, **options: Any) -> Any:
    return mg.sweep(**exchange.frames(), rules=mg.Rules.load(exchange.rules), **options)


def tables(night: Any) -> dict[str, pl.DataFrame]:
    return {name: getattr(night, name) for name in ("accounts", "buckets", "positions", "totals")}


def bits(frame: pl.DataFrame) -> dict[str, Any]:
    """Return a frame's columns such that equal means equal to the last bit, 0.0 and -0.0 apart."""
    out: dict[str, Any] = {}
    for column in frame.get_columns():
        values = column.to_list()
        if column.dtype == pl.Float64:
            values = [None if v is None else struct.pack("<d", v) for v in values]
        out[column.name] = (column.dtype, values)
    return out


def assert_same_bits(one: Any, other: Any) -> None:
    for (name, left), right in zip(tables(one).items(), tables(other).values(), strict=True):
        assert bits(left) == bits(right), name


def by_bucket(night: Any) -> dict[tuple[Any, str], dict[str, Any]]:
    return {(row["account_id"], row["bucket_id"]): row for row in night.buckets.to_dicts()}


def word(exchange: Exchange, key: str) -> Any:
    """Return what the ruleset says for a key, its default where it says nothing."""
    section = next(name for name, keys in DEFAULTS.items() if key in keys)
    return exchange.rules.get(section, {}).get(key, DEFAULTS[section][key])


def trigger_of(exchange: Exchange) -> tuple[str, bool]:
    """Return the word of `compare` and whether nothing required means no trigger."""
    return word(exchange, "compare"), word(exchange, "zero_requirement") == "never"


@examples(100)
@given(exchanges(dyadic=True))
def test_engine_equals_reference_where_doubles_are_exact(exchange: Exchange) -> None:
    check(sweep(exchange), exchange, dyadic=True)


@examples(120)
@given(exchanges())
def test_engine_equals_reference(exchange: Exchange) -> None:
    check(sweep(exchange), exchange)


@examples(100)
@given(ANY)
def test_flag_agrees_with_buffer(drawn: tuple[Exchange, bool]) -> None:
    exchange, _ = drawn
    compare, never = trigger_of(exchange)
    night = sweep(exchange)
    flagged: dict[Any, bool] = defaultdict(bool)
    for row in night.buckets.to_dicts():
        past = row["margin_buffer"] < 0 or (compare == "le" and row["margin_buffer"] == 0)
        excused = row["status"] == "flat" or (never and row["maintenance_margin"] == 0)
        assert row["is_liquidatable"] == (past and not excused), row
        assert (row["status"] == "bankrupt") == (row["equity"] < 0), row
        flagged[row["account_id"]] |= row["is_liquidatable"]
    for row in night.accounts.to_dicts():
        assert row["is_liquidatable"] == flagged[row["account_id"]], row
    assert night.totals["liquidatable_accounts"].item() == sum(flagged.values())


@examples(80)
@given(ANY)
def test_accounts_are_sums_and_the_worst_of_their_buckets(drawn: tuple[Exchange, bool]) -> None:
    exchange, _ = drawn
    night = sweep(exchange)
    buckets = night.buckets.to_dicts()
    for row in night.accounts.to_dicts():
        own = [bucket for bucket in buckets if bucket["account_id"] == row["account_id"]]
        for column in MONEY:
            parts = [bucket[column] for bucket in own]
            size = sum(map(abs, parts))
            assert abs(row[column] - math.fsum(parts)) <= len(parts) * size * 2**-53, column
        if own:
            rank = max(STATUSES.index(bucket["status"]) for bucket in own)
            worst = [bucket for bucket in own if bucket["status"] == STATUSES[rank]]
            assert row["status"] == STATUSES[rank]
            assert row["margin_level"] == min(bucket["margin_level"] for bucket in worst)
        assert row["positions"] == sum(bucket["positions"] for bucket in own)


@examples(80)
@given(ANY)
def test_totals_are_the_correctly_rounded_sums(drawn: tuple[Exchange, bool]) -> None:
    exchange, _ = drawn
    night = sweep(exchange)
    (totals,) = night.totals.to_dicts()
    for column in MONEY:
        assert totals[column] == math.fsum(night.accounts[column]), column
    flagged = night.accounts.filter(pl.col("is_liquidatable"))
    assert totals["liquidatable_notional"] == math.fsum(flagged["gross_notional"])
    assert totals["total_bad_debt"] == math.fsum(night.accounts["bad_debt"])
    deficits = [max(0.0, -buffer) for buffer in night.buckets["margin_buffer"]]
    assert totals["total_margin_deficit"] == math.fsum(deficits)
    for status in STATUSES:
        assert totals[f"{status}_accounts"] == (night.accounts["status"] == status).sum(), status


@examples(100)
@given(ANY, st.data())
def test_more_cash_never_hurts(drawn: tuple[Exchange, bool], data: st.DataObject) -> None:
    exchange, dyadic = drawn
    ids = [row["account_id"] for row in sweep(exchange).accounts.to_dicts()]
    # The fee at the bankruptcy price of a short grows with cash.
    if not ids or word(exchange, "close_fee") == "bankruptcy":
        return
    account = data.draw(st.sampled_from(ids))
    asset = data.draw(st.sampled_from([row["asset_id"] for row in exchange.assets]))
    amount = data.draw(st.sampled_from([0.5, 8.0, 64.0] if dyadic else [1e-3, 7.3, 1e6]))
    paid = {"account_id": account, "asset_id": asset, "amount": amount}
    richer = replace(exchange, balances=[*exchange.balances, paid])
    before, after = by_bucket(sweep(exchange)), by_bucket(sweep(richer))
    slack, slack_after = slacks_of(exchange, dyadic=dyadic), slacks_of(richer, dyadic=dyadic)
    for key, was in before.items():
        now, room = after[key], {}
        for column in ("margin_buffer", "free_collateral", "equity", "bad_debt"):
            room[column] = float(slack[key].bounds[column] + slack_after[key].bounds[column])
        assert now["margin_buffer"] >= was["margin_buffer"] - room["margin_buffer"], (was, now)
        assert now["free_collateral"] >= was["free_collateral"] - room["free_collateral"]
        assert now["equity"] >= was["equity"] - room["equity"]
        assert now["bad_debt"] <= was["bad_debt"] + room["bad_debt"]
        doubts = slack[key].doubts | slack_after[key].doubts
        if "flag" not in doubts:
            assert was["is_liquidatable"] or not now["is_liquidatable"], (was, now)
        if "status" not in doubts:
            assert STATUSES.index(now["status"]) <= STATUSES.index(was["status"]), (was, now)


@st.composite
def tier_tables(draw: st.DrawFn) -> Rows:
    numbers = draw(st.sampled_from([DYADIC, UGLY]))
    floors = [0.0, *sorted(draw(st.lists(numbers.floor, min_size=1, max_size=6, unique=True)))]
    return [
        {
            "tier_table": "T",
            "floor": floor,
            "maintenance_rate": draw(numbers.rate),
            "initial_rate": draw(numbers.rate),
        }
        for floor in floors
    ]


@examples(60)
@given(tier_tables(), st.sampled_from([1, -1]))
def test_marginal_tiers_are_continuous(tiers: Rows, side: int) -> None:
    sizes = sorted(
        {
            tier["floor"] * nudge
            for tier in tiers
            for nudge in (1 - 1e-9, 1 - 2**-53, 1.0, 1 + 2**-52, 1 + 1e-9)
        }
    )
    terms = {"instrument_id": "T", "kind": "linear", "settle_asset": "USD", "mark_price": 1.0}
    exchange = Exchange(
        positions=[
            {"account_id": n, "instrument_id": "T", "quantity": side * size, "entry_price": 1.0}
            for n, size in enumerate(sizes)
        ],
        balances=[],
        accounts=None,
        instruments=[terms],
        assets=[{"asset_id": "USD", "price": 1.0}],
        rules={"id": "random", "tiers": tiers},
    )
    rows = sweep(exchange).positions.to_dicts()
    floors = [tier["floor"] for tier in tiers]
    for size, row in zip(sizes, rows, strict=True):
        assert row["tier"] == sum(size >= floor for floor in floors), (size, row)
    for one, other in pairwise(rows):
        step = other["notional"] - one["notional"]
        rounding = 8 * len(tiers) * 2**-53 * other["notional"]
        for column in ("maintenance_margin", "initial_margin"):
            jump = other[column] - one[column]
            assert -rounding <= jump <= step + rounding, (column, one, other)


def split_rows(rows: Rows, columns: Iterable[str]) -> Rows:
    """Return each row as two of half the size; the halves of a double are exact."""
    out = []
    for row in rows:
        halves = {key: row[key] / 2 for key in columns if row.get(key) is not None}
        parts = 1 if row.get("margin_mode") == "isolated" else 2  # an isolated row is a bucket
        out += [row] if parts == 1 else [{**row, **halves}] * 2
    return out


@examples(80)
@given(ANY)
def test_splitting_a_row_changes_nothing(drawn: tuple[Exchange, bool]) -> None:
    exchange, dyadic = drawn
    columns = ("quantity", "open_buy_quantity", "open_sell_quantity")
    split = replace(
        exchange,
        positions=split_rows(exchange.positions, columns),
        balances=split_rows(exchange.balances, ("amount",)),
    )
    whole, halves = by_bucket(sweep(exchange)), by_bucket(sweep(split))
    assert list(whole) == list(halves)
    for key, slack in slacks_of(split, dyadic=dyadic).items():
        for column in MONEY:
            apart = abs(whole[key][column] - halves[key][column])
            assert apart <= 2 * slack.bounds[column], (key, column)
        for column, doubt in (("is_liquidatable", "flag"), ("status", "status")):
            if doubt not in slack.doubts:
                assert whole[key][column] == halves[key][column], (key, column)


def shuffled(data: st.DataObject, rows: Rows) -> list[int]:
    """Return an order of the rows that moves accounts about but keeps each account's own order."""
    queues: dict[Any, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        queues[row["account_id"]].append(index)
    owners = data.draw(st.permutations([row["account_id"] for row in rows]))
    return [queues[owner].pop(0) for owner in owners]


@examples(80)
@given(ANY, st.data())
def test_row_order_between_accounts_does_not_matter(
    drawn: tuple[Exchange, bool], data: st.DataObject
) -> None:
    exchange, _ = drawn
    order = shuffled(data, exchange.positions)
    moved = replace(
        exchange,
        positions=[exchange.positions[i] for i in order],
        balances=[exchange.balances[i] for i in shuffled(data, exchange.balances)],
    )
    one, other = sweep(exchange), sweep(moved)
    assert bits(one.totals) == bits(other.totals)
    for name in ("accounts", "buckets"):
        left, right = getattr(one, name), getattr(other, name)
        ids = left["account_id"].unique(maintain_order=True)
        for account in ids:
            own = pl.col("account_id") == account
            assert bits(left.filter(own)) == bits(right.filter(own)), (name, account)
    assert bits(one.positions[order]) == bits(other.positions)


@examples(40)
@given(ANY)
def test_threads_do_not_change_bits(drawn: tuple[Exchange, bool]) -> None:
    exchange, _ = drawn
    one = sweep(exchange, threads=1)
    for threads in (2, 3, 7):
        assert_same_bits(one, sweep(exchange, threads=threads))


@pytest.fixture(scope="module")
def many() -> Any:
    """An exchange large enough that every thread has work."""
    return mg.generate(accounts=6_000, seed=11)


def test_threads_do_not_change_bits_of_many_accounts(many: Any) -> None:
    frames = (many.positions, many.balances, many.instruments, many.assets, many.rules)
    one = mg.sweep(*frames, threads=1)
    for threads in (2, 3, 7):
        assert_same_bits(one, mg.sweep(*frames, threads=threads))


def in_chunks(frame: Any, size: int) -> Any:
    if frame is None or frame.height <= size:
        return frame
    parts = [frame[start : start + size] for start in range(0, frame.height, size)]
    return pl.concat(parts, rechunk=False)


@examples(60)
@given(ANY, st.integers(1, 3))
def test_chunks_do_not_change_bits(drawn: tuple[Exchange, bool], size: int) -> None:
    exchange, _ = drawn
    frames = {name: in_chunks(frame, size) for name, frame in exchange.frames().items()}
    rules = mg.Rules.load(exchange.rules)
    assert_same_bits(sweep(exchange), mg.sweep(**frames, rules=rules))


def test_chunks_do_not_change_bits_of_many_accounts(many: Any) -> None:
    names = ("positions", "balances", "instruments", "assets")
    frames = {name: getattr(many, name) for name in names}
    chunked = {name: in_chunks(frame, 997) for name, frame in frames.items()}
    assert chunked["positions"].n_chunks() > 10
    assert_same_bits(mg.sweep(**frames, rules=many.rules), mg.sweep(**chunked, rules=many.rules))


@examples(80)
@given(ANY)
def test_rows_out_equal_accounts_in(drawn: tuple[Exchange, bool]) -> None:
    exchange, _ = drawn
    night = sweep(exchange)
    frames = (exchange.positions, exchange.balances, exchange.accounts or [])
    ids = list(dict.fromkeys(row["account_id"] for rows in frames for row in rows))
    assert night.accounts["account_id"].to_list() == ids
    assert night.totals["accounts"].item() == len(ids)
    owners = [row["account_id"] for row in exchange.positions]
    assert night.positions["account_id"].to_list() == owners
    assert night.buckets["positions"].sum() == len(exchange.positions)
    assert set(night.buckets["account_id"]) <= set(ids)
    assert night.rejects.is_empty()
