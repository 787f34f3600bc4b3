"""Every key of a ruleset, and every number of a contract, matters and is heeded.

On one small exchange an engine that is perfect but for one key, which it takes for another of its
words, is caught by the check that all engines are held to. And with that key alone set, the engine
agrees with the oracle on exchanges drawn at random. So a key that is ignored fails here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agreement import check
from exchanges import Exchange, exchanges
from perfect_engine import as_sweep, is_caught, rounded, unnoticed_faults
from reference_inputs import DEFAULTS, WORDS
from test_laws import examples, sweep

# 3 long and 1 short of 2 units at 100 net to 400, which is a floor; the tiers of the three bases
# are apart: 2 contracts, 4 units, 400 USD.
TIERS = [(0, 0.0625, 0.125), (3, 0.09375, 0.1875), (400, 0.125, 0.25), (5000, 0.25, 0.5)]
SMALL = Exchange(
    positions=[
        {"account_id": "a", "instrument_id": "X", "quantity": 3.0, "entry_price": 90.0}
        | {"leverage": 10.0, "open_buy_quantity": 2.0},
        {"account_id": "a", "instrument_id": "X", "quantity": -1.0, "entry_price": 120.0}
        | {"leverage": 20.0, "open_sell_quantity": 1.0},
        {"account_id": "a", "instrument_id": "Y", "quantity": 40.0, "entry_price": 45_000.0},
        {"account_id": "a", "instrument_id": "Q", "quantity": -5.0, "entry_price": 12.0}
        | {"leverage": 1.5},
        {"account_id": "a", "instrument_id": "O", "quantity": -2.0, "entry_price": 5.0},
        # On the line: 1 * 2 * 100 * 0.0625 is the 12.5 there is.
        {"account_id": "b", "instrument_id": "X", "quantity": 1.0, "entry_price": 100.0}
        | {"tier_table": "flat"},
    ],
    balances=[
        {"account_id": "a", "asset_id": "USD", "amount": 500.0},
        {"account_id": "a", "asset_id": "BTC", "amount": 0.01},
        {"account_id": "b", "asset_id": "USD", "amount": 12.5},
        # Owes, and nothing is required.
        {"account_id": "c", "asset_id": "USD", "amount": -1.0},
    ],
    accounts=None,
    instruments=[
        {"instrument_id": "X", "kind": "linear", "settle_asset": "USD", "mark_price": 100.0}
        | {"contract_size": 2.0, "close_fee_rate": 0.01},
        {"instrument_id": "Y", "kind": "inverse", "settle_asset": "BTC", "mark_price": 50_000.0}
        | {"contract_size": 100.0, "close_fee_rate": 0.02},
        {"instrument_id": "Q", "kind": "quanto", "settle_asset": "USD", "mark_price": 10.0}
        | {"quanto_multiplier": 0.5, "close_fee_rate": 0.01},
        {"instrument_id": "O", "kind": "put", "settle_asset": "USD", "mark_price": 5.0}
        | {"underlying_price": 95.0, "close_fee_rate": 0.01},
    ],
    assets=[{"asset_id": "USD", "price": 1.0}, {"asset_id": "BTC", "price": 50_000.0}],
    rules={
        "id": "small",
        "tiers": [
            {"tier_table": t, "floor": floor, "maintenance_rate": keep, "initial_rate": begin}
            for t in ("X", "Y", "Q", "O")
            for floor, keep, begin in TIERS
        ]
        + [{"tier_table": "flat", "floor": 0, "maintenance_rate": 0.0625, "initial_rate": 0.125}],
        "weights": [
            {"weight_table": "USD", "maintenance_weight": 1.0},
            {"weight_table": "USD", "floor": 550.0, "maintenance_weight": 0.75},
            {"weight_table": "BTC", "maintenance_weight": 0.875, "initial_weight": 0.75}
            | {"liability_weight": 1.25, "borrow_maintenance_rate": 0.0625},
        ],
    },
)
# What of it has no rounding, so that a tie is a tie.
TIED = replace(
    SMALL,
    positions=[row for row in SMALL.positions if row["instrument_id"] == "X"],
    balances=[row for row in SMALL.balances if row["asset_id"] == "USD"],
)
LADDER = [
    {"name": "call", "margin_level_below": 1000.0},
    {"name": "reduce_only", "margin_level_below": 2.0},
]
SECTIONS = {key: section for section, keys in DEFAULTS.items() for key in keys}


def under(exchange: Exchange, **keys: Any) -> Exchange:
    """Return the exchange with these keys of its ruleset set."""
    rules = dict(exchange.rules)
    for key, value in keys.items():
        if key in SECTIONS:
            section = SECTIONS[key]
            rules[section] = {**rules.get(section, {}), key: value}
        else:
            rules[key] = value
    return replace(exchange, rules=rules)


def is_mistaken(taken_for: Exchange, exchange: Exchange, *, dyadic: bool = False) -> bool:
    """Return whether an engine that answers for the one exchange is caught by the other."""
    assert not is_caught(as_sweep(rounded(exchange)), exchange, dyadic=dyadic)
    return is_caught(as_sweep(rounded(taken_for)), exchange, dyadic=dyadic)


def small(key: str) -> tuple[Exchange, bool]:
    """Return the exchange on which a key shows, and whether it is free of rounding."""
    return (TIED, True) if key in ("compare", "tier_edge") else (SMALL, False)


def pairs_of_words() -> list[Any]:
    """Return each key with each of its words, and each other word it may be taken for."""
    return [
        pytest.param(key, word, other, id=f"{key}: {word} is not {other}")
        for key, words in WORDS.items()
        for word in words
        for other in words
        if word != other
    ]


@pytest.mark.parametrize(("key", "word", "other"), pairs_of_words())
def test_a_key_taken_for_another_word_is_noticed(key: str, word: str, other: str) -> None:
    exchange, dyadic = small(key)
    engine = under(exchange, **{key: other})
    assert is_mistaken(engine, under(exchange, **{key: word}), dyadic=dyadic)


@pytest.mark.parametrize(
    ("key", "value", "default"),
    [("profit_weight", 0.5, 1.0), ("level", 1.25, 1.0), ("ladder", LADDER, [])],
)
def test_a_number_or_ladder_taken_for_its_default_is_noticed(
    key: str, value: Any, default: Any
) -> None:
    assert is_mistaken(under(SMALL, **{key: default}), under(SMALL, **{key: value}))


def test_the_order_of_rungs_and_their_names_are_noticed() -> None:
    swapped = [{**LADDER[0], "name": "reduce_only"}, {**LADDER[1], "name": "call"}]
    assert is_mistaken(under(SMALL, ladder=swapped), under(SMALL, ladder=LADDER))
    assert is_mistaken(under(SMALL, ladder=LADDER[:1]), under(SMALL, ladder=LADDER))


def test_a_fault_in_any_cell_is_caught_under_other_rules_too() -> None:
    for word in (1, 2):  # the last word of every key, and the one before it
        words = {key: words[-word] for key, words in WORDS.items() if key != "compare"}
        exchange = under(SMALL, **words, profit_weight=0.5, level=1.25, ladder=LADDER)
        # Of the account on the line rounding decides the flag.
        untied = replace(
            exchange,
            positions=[row for row in exchange.positions if row["account_id"] != "b"],
            balances=[row for row in exchange.balances if row["account_id"] != "b"],
        )
        assert unnoticed_faults(untied, by=1e-11) == []


# Each number or name of a contract that a figure depends on, and the rule under which it does.
TERMS: list[tuple[str, str, Any, dict[str, str]]] = [
    ("X", "contract_size", 1.0, {}),
    ("X", "close_fee_rate", 0.0, {"close_fee": "mark"}),
    ("X", "close_fee_rate", 0.0, {"close_fee": "bankruptcy"}),
    ("Y", "close_fee_rate", 0.01, {"close_fee": "mark"}),
    ("Y", "close_fee_rate", 0.01, {"close_fee": "bankruptcy"}),
    ("O", "close_fee_rate", 0.0, {"close_fee": "mark"}),
    ("O", "close_fee_rate", 0.0, {"close_fee": "bankruptcy"}),
    ("Q", "quanto_multiplier", 1.0, {}),
    ("O", "underlying_price", 5.0, {}),
    ("X", "kind", "inverse", {}),
    ("Y", "kind", "linear", {}),
    ("O", "kind", "linear", {}),
    ("X", "settle_asset", "BTC", {}),
    ("X", "tier_table", "flat", {}),
]


@pytest.mark.parametrize(("instrument", "column", "other", "rule"), TERMS)
def test_a_term_of_a_contract_taken_for_another_is_noticed(
    instrument: str, column: str, other: Any, rule: dict[str, str]
) -> None:
    exchange = under(SMALL, **rule)
    changed = [
        {**row, column: other} if row["instrument_id"] == instrument else row
        for row in exchange.instruments
    ]
    assert is_mistaken(replace(exchange, instruments=changed), exchange)


def test_without_a_rule_for_fees_their_rate_enters_no_figure() -> None:
    free = [{**row, "close_fee_rate": 0.0} for row in SMALL.instruments]
    assert not is_mistaken(replace(SMALL, instruments=free), SMALL)


def settings_of_keys() -> list[dict[str, Any]]:
    """Return each key with each of its words that is not its default, and what rides with some."""
    alone: list[dict[str, Any]] = [{k: word} for k, words in WORDS.items() for word in words[1:]]
    alone += [{"profit_weight": 0.5}, {"profit_weight": 0.0}, {"level": 1.25}, {"level": 0.5}]
    return [
        *alone,
        {"ladder": None},  # drawn
        {"tier_mode": "slab", "tier_edge": "lower"},  # where the edge decides money
        {"tier_mode": "slab", "tier_basis": "contracts"},
        {"close_fee": "bankruptcy", "netting": "larger_side"},
        {"profit_and_loss": "settle_asset", "profit_weight": 0.5},
        {"price_basis": "entry", "netting": "gross"},
        {"open_orders": "both", "close_fee": "mark"},
    ]


@pytest.mark.parametrize(
    "only", settings_of_keys(), ids=lambda only: ", ".join(f"{k}: {v}" for k, v in only.items())
)
def test_the_engine_heeds_a_key_that_is_set_alone(only: dict[str, Any]) -> None:
    @examples(30)
    @given(st.booleans(), st.data())
    def agrees(dyadic: bool, data: st.DataObject) -> None:
        exchange = data.draw(exchanges(dyadic=dyadic, only=only))
        check(sweep(exchange), exchange, dyadic=dyadic)

    agrees()


@pytest.mark.parametrize(("key", "word", "other"), pairs_of_words())
def test_the_engine_heeds_each_word_on_the_small_exchange(key: str, word: str, other: str) -> None:
    exchange, dyadic = small(key)
    told, otherwise = under(exchange, **{key: word}), under(exchange, **{key: other})
    check(sweep(told), told, dyadic=dyadic)
    assert is_caught(sweep(otherwise), told, dyadic=dyadic)
