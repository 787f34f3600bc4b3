"""Small exchanges drawn at random, as rows and as frames.

`exchanges()` draws one `Exchange`: up to six accounts and eight positions of every kind under a
random ruleset, with the corners that break margin engines (zero quantities, rows that net to
nothing, debts, orders alone, labels that collide, several tier tables on one instrument, rates that
fall). With `dyadic=True` every number is a small multiple of a power of two, so that doubles are
exact and ties are real ties; otherwise sizes are as ugly as doubles get. `only` holds every rule
but the named ones to its default. `frames` makes Polars frames of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from hypothesis import strategies as st

from exchange_lines import is_exact, on_the_line
from exchange_rules import DYADIC, SHARED_TABLE, UGLY, Numbers, rulesets
from reference import sweep as oracle
from reference_inputs import OPTIONS

Rows = list[dict[str, Any]]

# Columns that the rows may have; ids take the type of their values.
NUMBERS: dict[str, tuple[str, ...]] = {
    "positions": (
        "quantity",
        "entry_price",
        "isolated_margin",
        "leverage",
        "open_buy_quantity",
        "open_sell_quantity",
    ),
    "balances": ("amount",),
    "accounts": (),
    "instruments": (
        "mark_price",
        "contract_size",
        "close_fee_rate",
        "quanto_multiplier",
        "underlying_price",
    ),
    "assets": ("price",),
}
TEXTS: dict[str, tuple[str, ...]] = {
    "positions": ("margin_mode", "tier_table"),
    "instruments": ("kind", "tier_table", "base_asset"),
    "assets": ("weight_table",),
}
REQUIRED: dict[str, tuple[str, ...]] = {
    "positions": ("account_id", "instrument_id", "quantity", "entry_price"),
    "balances": ("account_id", "asset_id", "amount"),
    "accounts": ("account_id",),
    "instruments": ("instrument_id", "kind", "settle_asset", "mark_price"),
    "assets": ("asset_id", "price"),
}


@dataclass(frozen=True)
class Exchange:
    """Rows of the five frames (`accounts` None where there is no such frame) and a ruleset."""

    positions: Rows
    balances: Rows
    accounts: Rows | None
    instruments: Rows
    assets: Rows
    rules: dict[str, Any]

    def expected(self) -> dict[str, Any]:
        """Return what the oracle says of it."""
        return oracle(
            self.positions,
            self.balances,
            self.accounts,
            self.instruments,
            self.assets,
            self.rules,
        )

    def frames(self) -> dict[str, Any]:
        """Return the frames by name, typed, also where they have no rows."""
        return {
            "positions": frame("positions", self.positions),
            "balances": frame("balances", self.balances),
            "accounts": None if self.accounts is None else frame("accounts", self.accounts),
            "instruments": frame("instruments", self.instruments),
            "assets": frame("assets", self.assets),
        }


def frame(name: str, rows: Rows) -> pl.DataFrame:
    """Return the rows as a frame: its required columns and every other one that a row has."""
    columns = list(dict.fromkeys([*REQUIRED[name], *(key for row in rows for key in row)]))
    series = []
    for column in columns:
        values = [row.get(column) for row in rows]
        dtype: Any = None
        if column in NUMBERS[name]:
            values, dtype = [None if v is None else float(v) for v in values], pl.Float64
        elif column in TEXTS.get(name, ()):
            dtype = pl.String
        elif column in REQUIRED[name]:
            dtype = pl.Int64 if any(isinstance(v, int) for v in values) else pl.String
        series.append(pl.Series(column, values, dtype=dtype))
    return pl.DataFrame(series)


_ACCOUNT_IDS: st.SearchStrategy[list[Any]] = st.sampled_from(
    [["b", "a", "c", "é", "", "zz"], [3, 1, 2, -5, 10**15, 0]]
)
_INSTRUMENT_IDS: st.SearchStrategy[list[Any]] = st.sampled_from(
    [["BTC", "ETH", "ETH:2", "56"], [7, 3, 56, -1]]
)
_ASSET_IDS: st.SearchStrategy[list[Any]] = st.sampled_from([["USD", "BTC", "EUR"], [1, 2, 3]])
_KINDS = st.sampled_from(["linear", "linear", "inverse", "inverse", "quanto", "call", "put"])
_HOW_MANY_ROWS = st.sampled_from([2, 1, 0, 3, 4, 5, 6, 8])
_HOW_MANY = st.sampled_from([1, 2, 3, 6, 0])  # accounts; few of them share many positions


@st.composite
def exchanges(
    draw: st.DrawFn, *, dyadic: bool = False, only: Mapping[str, Any] | None = None
) -> Exchange:
    """Draw one exchange; `dyadic` ones are exact in doubles and often stand on the line.

    With `only` every key of the ruleset that it does not name has its default.
    """
    numbers = DYADIC if dyadic else UGLY
    instrument_ids = draw(_INSTRUMENT_IDS)[: draw(st.integers(1, 4))]
    asset_ids = draw(_ASSET_IDS)[: draw(st.integers(1, 3))]
    account_ids = draw(_ACCOUNT_IDS)[: draw(_HOW_MANY)]
    assets = [_asset(draw, numbers, asset) for asset in asset_ids]
    instruments = [_instrument(draw, numbers, i, asset_ids) for i in instrument_ids]
    tables = [str(i) for i in instrument_ids]
    rules = rulesets(draw, numbers, tables, [str(a) for a in asset_ids], only)
    count = draw(_HOW_MANY_ROWS) if account_ids else 0
    positions = [_position(draw, numbers, account_ids, instruments) for _ in range(count)]
    for row in positions:
        if row["margin_mode"] == "isolated":
            worth = _notional(row, instruments, assets)
            price = _price_of(assets, _find(instruments, row)["settle_asset"])
            row["isolated_margin"] = _within(draw(numbers.share) * worth / price)
    balances = []
    for account in account_ids:
        worth = sum(_notional(p, instruments, assets) for p in positions if _is_of(p, account))
        for _ in range(draw(st.integers(0, 2))):
            asset = draw(st.sampled_from(asset_ids))
            amount = _within(draw(numbers.share) * (worth or 16.0) / _price_of(assets, asset))
            balances.append({"account_id": account, "asset_id": asset, "amount": amount})
    accounts = None
    if draw(st.booleans()):
        listed = draw(st.sampled_from([[], account_ids[:2], [*account_ids, _unseen(account_ids)]]))
        accounts = [{"account_id": a, "owner_id": f"group of {a}", "desk": 1} for a in listed]
    exchange = Exchange(positions, balances, accounts, instruments, assets, rules)
    if dyadic:
        exchange = _without_quotients(exchange)
        return on_the_line(exchange) if draw(st.booleans()) else exchange
    return exchange


def _without_quotients(exchange: Exchange) -> Exchange:
    """Return an exact exchange: entries of an instrument made one, or without fees, if need be."""
    if is_exact(exchange):
        return exchange
    first: dict[Any, float] = {}
    for row in exchange.positions:
        first.setdefault(row["instrument_id"], row["entry_price"])
    positions = [{**row, "entry_price": first[row["instrument_id"]]} for row in exchange.positions]
    exchange = replace(exchange, positions=positions)
    if is_exact(exchange):
        return exchange
    # A bankruptcy price that no double holds: at the mark then.
    requirement = {**exchange.rules["requirement"], "close_fee": "mark"}
    return replace(exchange, rules={**exchange.rules, "requirement": requirement})


def _asset(draw: st.DrawFn, numbers: Numbers, asset_id: Any) -> dict[str, Any]:
    table = draw(st.sampled_from([None, SHARED_TABLE]))
    return {"asset_id": asset_id, "price": draw(numbers.asset_price), "weight_table": table}


def _instrument(draw: st.DrawFn, numbers: Numbers, i: Any, assets: list[Any]) -> dict[str, Any]:
    kind = draw(_KINDS)
    return {
        "instrument_id": i,
        "kind": kind,
        "settle_asset": draw(st.sampled_from(assets)),
        "mark_price": draw(numbers.inverse_mark if kind == "inverse" else numbers.mark),
        "contract_size": draw(st.none() | numbers.contract_size),
        "tier_table": draw(st.sampled_from([None, SHARED_TABLE])),
        "close_fee_rate": draw(st.none() | numbers.fee_rate),
        "quanto_multiplier": draw(numbers.multiplier) if kind == "quanto" else None,
        "underlying_price": draw(numbers.mark) if kind in OPTIONS else None,
    }


def _position(
    draw: st.DrawFn, numbers: Numbers, account_ids: list[Any], instruments: Rows
) -> dict[str, Any]:
    terms = draw(st.sampled_from(instruments))
    other = [
        None,
        None,
        None,
        None,
        SHARED_TABLE,
        *(str(row["instrument_id"]) for row in instruments),
    ]
    with_orders = draw(st.booleans())
    return {
        "account_id": draw(st.sampled_from(account_ids)),
        "instrument_id": terms["instrument_id"],
        "quantity": draw(numbers.quantity),
        "entry_price": terms["mark_price"] * draw(numbers.move),
        "margin_mode": draw(st.sampled_from([None, "cross", "cross", "isolated"])),
        "isolated_margin": None,
        "leverage": draw(st.none() | numbers.leverage),
        "tier_table": draw(st.sampled_from(other)),
        "open_buy_quantity": draw(numbers.order) if with_orders else None,
        "open_sell_quantity": draw(numbers.order) if with_orders else None,
    }


def _within(amount: float) -> float:
    """Return the amount, or the most that is allowed (1e18) with room to add."""
    return max(-1e17, min(1e17, amount))


def _find(instruments: Rows, position: dict[str, Any]) -> dict[str, Any]:
    return next(r for r in instruments if r["instrument_id"] == position["instrument_id"])


def _price_of(assets: Rows, asset_id: Any) -> float:
    return float(next(row["price"] for row in assets if row["asset_id"] == asset_id))


def _notional(position: dict[str, Any], instruments: Rows, assets: Rows) -> float:
    terms = _find(instruments, position)
    size = abs(position["quantity"]) * (terms["contract_size"] or 1.0)
    mark = terms["underlying_price"] or terms["mark_price"]
    value = 1.0 / mark if terms["kind"] == "inverse" else mark * (terms["quanto_multiplier"] or 1.0)
    return float(size * value * _price_of(assets, terms["settle_asset"]))


def _unseen(account_ids: list[Any]) -> Any:
    return -99 if account_ids and isinstance(account_ids[0], int) else "unseen"


def _is_of(row: dict[str, Any], account_id: Any) -> bool:
    return bool(row["account_id"] == account_id)
