"""One book under two rulesets: figures by hand, the matrix of statuses, what is refused."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import bits, refused
from margrave.comparison import COMPARED_COLUMNS
from small_night import frames, rules_of, with_value
from test_processes import in_a_child

#: Cash of accounts that hold 1 contract at 100, `k` short; `n` holds nothing, `o` holds NaN.
CASH = {"h": 30.0, "i": 15.0, "j": 7.0, "k": 7.0, "l": 2.0, "m": -1.0, "n": 0.0, "o": 50.0}
QUANTITY = {"h": 1.0, "i": 1.0, "j": 1.0, "k": -1.0, "l": 1.0, "m": 1.0, "o": math.nan}
MARKET = {
    "instruments": pl.DataFrame(
        {
            "instrument_id": ["X"],
            "kind": ["linear"],
            "settle_asset": ["USD"],
            "mark_price": [100.0],
        }
    ),
    "assets": pl.DataFrame({"asset_id": ["USD"], "price": [1.0]}),
}


def rules(maintenance: float, initial: float, **keys: Any) -> mg.Rules:
    """Return a ruleset with one rate for everything."""
    rates = {"floor": 0.0, "maintenance_rate": maintenance, "initial_rate": initial}
    weight = {"weight_table": "USD", "maintenance_weight": 1.0}
    return mg.Rules.load({"tiers": [{"tier_table": "X"} | rates], "weights": [weight]} | keys)


def book(quantity: dict[str, float], cash: dict[str, float], **options: Any) -> mg.Book:
    positions = pl.DataFrame({"account_id": list(quantity), "quantity": list(quantity.values())})
    positions = positions.with_columns(instrument_id=pl.lit("X"), entry_price=100.0)
    balances = pl.DataFrame({"account_id": list(cash), "amount": list(cash.values())})
    return mg.Book(
        positions,
        balances.with_columns(asset_id=pl.lit("USD")),
        MARKET["instruments"],
        on_error="quarantine",
        **options,
    )


def market() -> mg.Market:
    return mg.Market(MARKET["instruments"], MARKET["assets"])


#: 6.25 must be held now and 12.5 to open; 12.5 and 25 after the change.
NOW, THEN = rules(0.0625, 0.125), rules(0.125, 0.25)


def test_the_change_of_every_account_is_that_of_two_sweeps_by_hand() -> None:
    found = book(QUANTITY, CASH).compare(market(), NOW, THEN).accounts
    assert found.columns == ["account_id", *COMPARED_COLUMNS]
    assert found["account_id"].to_list() == list("hijklmon")  # as in a sweep: positions first
    buffers = found.select("margin_buffer_a", "margin_buffer_b", "margin_buffer_change").rows()
    assert buffers == [
        (23.75, 17.5, -6.25),  # 30 - 6.25, 30 - 12.5
        (8.75, 2.5, -6.25),
        (0.75, -5.5, -6.25),
        (0.75, -5.5, -6.25),
        (-4.25, -10.5, -6.25),
        (-7.25, -13.5, -6.25),
        (None, None, None),
        (0.0, 0.0, 0.0),
    ]
    required = found.select(pl.col("^(maintenance|initial)_margin_.*$")).rows()
    assert required[:6] == [(6.25, 12.5, 6.25, 12.5, 25.0, 12.5)] * 6
    assert required[6:] == [(None,) * 6, (0.0,) * 6]
    flags = found.select("is_liquidatable_a", "is_liquidatable_b").rows()
    assert flags == [
        *[(False, False)] * 2,
        *[(False, True)] * 2,
        *[(True, True)] * 2,
        (None, None),
        (False, False),
    ]


def test_the_matrix_of_statuses_by_hand() -> None:
    found = book(QUANTITY, CASH).compare(market(), NOW, THEN).transitions
    assert found.columns == [
        *("status_a", "status_b", "accounts", "gross_notional_a", "gross_notional_b"),
        "margin_buffer_change",
    ]
    assert found.rows() == [
        ("flat", "flat", 1, 0.0, 0.0, 0.0),  # n
        ("healthy", "healthy", 1, 100.0, 100.0, -6.25),  # h: 30 covers 25
        ("healthy", "below_initial", 1, 100.0, 100.0, -6.25),  # i: 15 covers 12.5, not 25
        ("below_initial", "liquidation", 2, 200.0, 200.0, -12.5),  # j and k: 7 covers 6.25
        ("liquidation", "liquidation", 1, 100.0, 100.0, -6.25),  # l
        ("bankrupt", "bankrupt", 1, 100.0, 100.0, -6.25),  # m owes
        ("indeterminate", "indeterminate", 1, None, None, None),  # o
    ]
    assert (
        found.schema["status_a"]
        == found.schema["status_b"]
        == pl.Enum(["flat", "healthy", "below_initial", "liquidation", "bankrupt", "indeterminate"])
    )


def test_the_way_back_has_the_signs_turned() -> None:
    there = book(QUANTITY, CASH).compare(market(), NOW, THEN)
    back = book(QUANTITY, CASH).compare(market(), THEN, NOW)
    forth = there.accounts["margin_buffer_change"].drop_nulls()
    assert back.accounts["margin_buffer_change"].drop_nulls().to_list() == (-forth).to_list()
    pairs = {row[:3] for row in there.transitions.iter_rows()}
    assert {(b, a, n) for a, b, n, *_ in back.transitions.iter_rows()} == pairs


def test_notional_is_that_of_each_ruleset() -> None:
    positions = pl.DataFrame({"account_id": ["a", "a"], "quantity": [3.0, -1.0]})
    positions = positions.with_columns(instrument_id=pl.lit("X"), entry_price=100.0)
    balances = pl.DataFrame({"account_id": ["a"], "asset_id": ["USD"], "amount": [500.0]})
    hedged = mg.Book(positions, balances, MARKET["instruments"])
    gross = rules(0.0625, 0.125, buckets={"netting": "gross"})
    (row,) = hedged.compare(market(), NOW, gross).transitions.rows()
    # net 2 contracts: 200, 12.5 held; both sides 4 contracts: 400, 25 held
    assert row == ("healthy", "healthy", 1, 200.0, 400.0, -12.5)


def test_a_ruleset_compared_with_itself_changes_nothing() -> None:
    exchange = mg.generate(300)
    held = mg.Book(exchange.positions, exchange.balances, exchange.instruments)
    prices = mg.Market(exchange.instruments, exchange.assets)
    found = held.compare(prices, exchange.rules, exchange.rules)
    assert (found.transitions["status_a"] == found.transitions["status_b"]).all()
    changes = found.accounts.select(pl.col("^.*_change$"))
    assert set(changes.unpivot()["value"]) == {0.0}
    swept = held.sweep(prices, exchange.rules).accounts
    for name in ("status", "is_liquidatable", "margin_buffer", "initial_margin"):
        for side in "ab":
            assert bits(found.accounts.select(pl.col(f"{name}_{side}").alias(name))) == bits(
                swept.select(name)
            )


def test_sums_do_not_depend_on_the_order_of_accounts() -> None:
    exchange = mg.generate(2_000)
    stricter = exchange.rules.with_tables(
        tiers=exchange.rules.tiers.with_columns(pl.col("maintenance_rate") * 1.7)
    )
    prices = mg.Market(exchange.instruments, exchange.assets)
    tables = []
    for seed in (None, 1, 2):
        frames = [exchange.positions, exchange.balances]
        if seed is not None:  # whole accounts move; the rows of one stay in order
            order = exchange.balances["account_id"].unique().shuffle(seed)
            ranks = pl.DataFrame([order]).with_row_index("rank")
            frames = [
                frame.join(ranks, on="account_id", maintain_order="left")
                .sort("rank", maintain_order=True)
                .drop("rank")
                for frame in frames
            ]
        positions, balances = frames
        compared = mg.Book(positions, balances, exchange.instruments).compare(
            prices, exchange.rules, stricter
        )
        tables.append(compared.transitions)
    assert tables[0].height > 5
    assert bits(tables[0]) == bits(tables[1]) == bits(tables[2])
    assert tables[0]["accounts"].sum() == 2_000


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads: int) -> None:
    one = book(QUANTITY, CASH).compare(market(), NOW, THEN)
    other = book(QUANTITY, CASH).compare(market(), NOW, THEN, threads=threads)
    assert bits(one.accounts) == bits(other.accounts)
    assert bits(one.transitions) == bits(other.transitions)


BOOK = book(QUANTITY, CASH)


def changes() -> list[Any]:
    """Return what a comparison finds: for a process to send home."""
    found = BOOK.compare(market(), NOW, THEN)
    return [found.accounts.rows(), found.transitions.rows(), found.rejects.rows()]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_compares_as_its_parent_does(method: str) -> None:
    pl.DataFrame({"x": range(100_000)}).group_by(pl.col("x") % 7).sum()  # starts Polars' threads
    assert in_a_child(method, changes) == changes()


def test_no_accounts_give_empty_tables_of_the_same_types() -> None:
    full = book(QUANTITY, CASH).compare(market(), NOW, THEN)
    empty = book({}, {}).compare(market(), NOW, THEN)
    for name in ("accounts", "transitions", "rejects"):
        assert getattr(empty, name).is_empty()
    assert empty.transitions.schema == full.transitions.schema
    without = {k: v for k, v in full.accounts.schema.items() if k != "account_id"}
    assert {k: v for k, v in empty.accounts.schema.items() if k != "account_id"} == without


def test_rejects_are_those_of_the_book_and_of_both_sweeps_each_once() -> None:
    found = book(QUANTITY, CASH).compare(market(), NOW, THEN)
    assert found.rejects.rows() == [("positions", 6, "quantity", "NaN", "NaN")]
    # With so small a leverage notional / leverage is no number: under one ruleset alone.
    night = frames()
    night["positions"] = with_value(night["positions"], "leverage", 1, 5e-324)
    held = {name: night[name] for name in ("positions", "balances", "instruments")}
    base = rules_of(night)
    tables = {"tiers": night["tiers"], "weights": night["weights"]}
    by_leverage = mg.Rules.load(
        {"buckets": {"valuation_asset": "USD"}, "requirement": {"initial": "leverage"}}
    ).with_tables(**tables)
    quarantined = mg.Book(**held, on_error="quarantine")
    prices = mg.Market(night["instruments"], night["assets"])
    compared = quarantined.compare(prices, base, by_leverage)
    assert [row[:3] for row in compared.rejects.iter_rows()] == [("positions", 1, "leverage")]
    (moved,) = compared.transitions.filter(pl.col("status_b") == "indeterminate").rows()
    assert moved[0] != "indeterminate"
    assert moved[2] == 1
    assert moved[3] is not None
    assert moved[4:] == (None, None)
    of_b = compared.accounts.row(by_predicate=pl.col("account_id") == "b", named=True)
    assert of_b["margin_buffer_a"] is not None
    assert of_b["margin_buffer_b"] is None is of_b["margin_buffer_change"]


def test_carried_columns_come_last_and_may_not_hide_a_column() -> None:
    night = frames()
    held = {name: night[name] for name in ("positions", "balances", "instruments")}
    prices, base = mg.Market(night["instruments"], night["assets"]), rules_of(night)
    found = mg.Book(**held, accounts=night["accounts"]).compare(prices, base, base)
    assert found.accounts.columns == ["account_id", *COMPARED_COLUMNS, "owner_id", "desk"]
    assert found.accounts["desk"].to_list() == [7, 8, None, None, 9]
    for name in COMPARED_COLUMNS:
        carried = mg.Book(**held, accounts=night["accounts"].rename({"desk": name}))
        message = refused(mg.SchemaError, partial(carried.compare, prices, base, base))
        assert f"accounts.{name}: " in message


def test_money_in_different_assets_is_not_compared() -> None:
    euro = rules(0.1, 0.2, buckets={"valuation_asset": "EUR"})
    compare = book(QUANTITY, CASH).compare
    message = refused(mg.RulesError, lambda: compare(market(), NOW, euro))
    assert message.startswith("buckets.valuation_asset: 'USD' in rules_a, 'EUR' in rules_b")


def test_what_is_no_market_or_no_rules_is_named() -> None:
    compare: Any = book(QUANTITY, CASH).compare
    assert "rules_a: str" in refused(mg.MargraveError, lambda: compare(market(), "x", NOW))
    assert "rules_b: NoneType" in refused(mg.MargraveError, lambda: compare(market(), NOW, None))
    assert "market: Rules" in refused(mg.MargraveError, lambda: compare(NOW, NOW, THEN))
    for threads in (0, "2"):
        run = partial(compare, market(), NOW, THEN, threads=threads)
        message = refused(mg.MargraveError, run)
        assert message.startswith("threads")


def test_a_missing_table_of_either_ruleset_is_refused() -> None:
    lacking = NOW.with_tables(tiers=NOW.tiers.with_columns(tier_table=pl.lit("Y")))
    compare = book(QUANTITY, CASH).compare
    for name, pair in (("rules_a", (lacking, NOW)), ("rules_b", (NOW, lacking))):
        message = refused(mg.RulesError, partial(compare, market(), *pair))
        assert message.startswith(f"{name} ({lacking.id!r}): ")
        assert 'tiers.tier_table: no table "X"' in message
