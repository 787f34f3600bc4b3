"""Small exchanges drawn at random, as rows and as frames.

`exchanges()` draws one `Exchange`: up to six accounts and eight positions under random
conventions, with the corners that break margin engines (zero quantities, rows that net to nothing,
debts, orders alone, labels that collide, several tier tables on one instrument, rates that fall).
With `dyadic=True` every number is a small multiple of a power of two, so that doubles are exact and
ties are real ties; otherwise sizes are as ugly as doubles get. `frames` makes Polars frames of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import polars as pl
from hypothesis import strategies as st

from reference import sweep as oracle

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
    "instruments": ("mark_price", "contract_size", "close_fee_rate"),
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


@dataclass(frozen=True)
class Numbers:
    """Where the numbers of one exchange come from."""

    quantity: st.SearchStrategy[float]
    order: st.SearchStrategy[float]
    mark: st.SearchStrategy[float]
    inverse_mark: st.SearchStrategy[float]
    move: st.SearchStrategy[float]  # entry over mark
    contract_size: st.SearchStrategy[float]
    asset_price: st.SearchStrategy[float]
    share: st.SearchStrategy[float]  # of notional: what is posted, or owed
    leverage: st.SearchStrategy[float]
    floor: st.SearchStrategy[float]
    rate: st.SearchStrategy[float]
    weight: st.SearchStrategy[float]
    liability_weight: st.SearchStrategy[float]
    level: st.SearchStrategy[float]
    profit_weight: st.SearchStrategy[float]


def _pick(*values: float) -> st.SearchStrategy[float]:
    return st.sampled_from(values)


def _sized(low: float, high: float) -> st.SearchStrategy[float]:
    """Return doubles in a range above 0, so that no product of a few of them underflows."""
    return st.floats(low, high)


#: Products and sums of these are exact in doubles, in any order.
DYADIC = Numbers(
    quantity=_pick(1.0, -1.0, 2.0, -2.0, 4.0, -8.0, 0.5, -3.0, 6.0, 0.0),
    order=_pick(0.0, 1.0, 2.0, 5.0, 0.5),
    mark=_pick(8.0, 16.0, 12.0, 10.0, 24.0, 1.0),
    inverse_mark=_pick(8.0, 16.0, 4.0, 2.0),
    move=_pick(1.0, 1.0, 1.0, 0.5, 2.0, 0.25),
    contract_size=_pick(1.0, 2.0, 0.5),
    asset_price=_pick(1.0, 2.0, 0.5, 4.0),
    share=_pick(0.0, 0.125, 0.25, 0.5, 1.0, 1.0, 2.0, 4.0, -0.0625, -0.5),
    leverage=_pick(1.0, 2.0, 8.0, 0.5),
    floor=_pick(1.0, 2.0, 8.0, 16.0, 20.0, 48.0, 96.0),
    rate=_pick(0.0, 0.0625, 0.0625, 0.125, 0.25, 0.5, 1.0),
    weight=_pick(1.0, 0.875, 0.5, 0.25, 0.0),
    liability_weight=_pick(1.0, 1.25, 0.5, 0.0, 2.0),
    level=_pick(1.0, 1.0, 1.25, 0.5, 0.0, 4.0),
    profit_weight=_pick(1.0, 0.5, 0.0, 0.75),
)

#: Sensible sizes, round decimals, and what a generous double can do to both.
UGLY = Numbers(
    quantity=_pick(0.1, -0.3, 0.2, 1.0, -7.0, 123.456, -1e6, 1e-6, 0.0)
    | _sized(1e-9, 1e4)
    | _sized(1e-9, 1e4).map(lambda size: -size),
    order=_pick(0.0, 0.1, 3.0, 1e5) | _sized(1e-9, 1e3),
    mark=_pick(0.1, 1.0, 97.566, 76497.0, 1e-9, 1e12) | _sized(1e-3, 1e5),
    inverse_mark=_pick(0.1, 97.566, 76497.0, 1e-6) | _sized(1e-3, 1e5),
    move=_pick(1.0, 1.0, 0.9, 1.1, 3.0) | _sized(0.5, 2.0),
    contract_size=_pick(1.0, 100.0, 0.001, 1.0),
    asset_price=_pick(1.0, 0.9998, 76535.0, 0.05) | _sized(1e-6, 1e6),
    share=_pick(0.0, 0.05, 0.1, 0.5, 1.0, 2.0, 3.0, -0.01, -0.3) | _sized(1e-9, 4.0),
    leverage=_pick(1.0, 3.0, 10.0, 125.0, 0.1),
    floor=_pick(1.0, 10.0, 5e4, 3e6, 150e6) | _sized(0.01, 1e9),
    rate=_pick(0.0, 0.004, 0.0125, 0.05, 1 / 3, 1.0) | _sized(1e-9, 0.25),
    weight=_pick(1.0, 0.95, 0.9, 0.5, 0.0) | _sized(1e-9, 1.0),
    liability_weight=_pick(1.0, 1.05, 0.0) | _sized(1e-9, 3.0),
    level=_pick(1.0, 1.05, 1.1, 0.0, 100.0),
    profit_weight=_pick(1.0, 0.9, 0.5, 0.0),
)

_ACCOUNT_IDS: st.SearchStrategy[list[Any]] = st.sampled_from(
    [["b", "a", "c", "é", "", "zz"], [3, 1, 2, -5, 10**15, 0]]
)
_INSTRUMENT_IDS: st.SearchStrategy[list[Any]] = st.sampled_from(
    [["BTC", "ETH", "ETH:2", "56"], [7, 3, 56, -1]]
)
_ASSET_IDS: st.SearchStrategy[list[Any]] = st.sampled_from([["USD", "BTC", "EUR"], [1, 2, 3]])
_SHARED_TABLE = "shared"


@st.composite
def exchanges(draw: st.DrawFn, *, dyadic: bool = False) -> Exchange:
    """Draw one exchange; `dyadic` ones are exact in doubles and often stand on the line."""
    numbers = DYADIC if dyadic else UGLY
    instrument_ids = draw(_INSTRUMENT_IDS)[: draw(st.integers(1, 4))]
    asset_ids = draw(_ASSET_IDS)[: draw(st.integers(1, 3))]
    account_ids = draw(_ACCOUNT_IDS)[: draw(st.integers(0, 6))]
    assets = [_asset(draw, numbers, asset) for asset in asset_ids]
    instruments = [_instrument(draw, numbers, i, asset_ids) for i in instrument_ids]
    rules = _rules(draw, numbers, [str(i) for i in instrument_ids], [str(a) for a in asset_ids])
    count = draw(st.integers(0, 8)) if account_ids else 0
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
    if dyadic and draw(st.booleans()):
        return _on_the_line(exchange)
    return exchange


def _asset(draw: st.DrawFn, numbers: Numbers, asset_id: Any) -> dict[str, Any]:
    table = draw(st.sampled_from([None, _SHARED_TABLE]))
    return {"asset_id": asset_id, "price": draw(numbers.asset_price), "weight_table": table}


def _instrument(draw: st.DrawFn, numbers: Numbers, i: Any, assets: list[Any]) -> dict[str, Any]:
    kind = draw(st.sampled_from(["linear", "inverse"]))
    return {
        "instrument_id": i,
        "kind": kind,
        "settle_asset": draw(st.sampled_from(assets)),
        "mark_price": draw(numbers.mark if kind == "linear" else numbers.inverse_mark),
        "contract_size": draw(st.none() | numbers.contract_size),
        "tier_table": draw(st.sampled_from([None, _SHARED_TABLE])),
    }


def _rules(draw: st.DrawFn, n: Numbers, tables: list[str], assets: list[str]) -> dict[str, Any]:
    rules: dict[str, Any] = {"id": "random", "tiers": [], "weights": []}
    sections: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "buckets": {"valuation_asset": st.just("USD")},
        "requirement": {"initial": st.sampled_from(["tier", "leverage", "larger"])},
        "collateral": {"profit_weight": n.profit_weight},
        "trigger": {
            "compare": st.sampled_from(["lt", "le"]),
            "level": n.level,
            "zero_requirement": st.sampled_from(["compare", "never"]),
        },
    }
    for section, keys in sections.items():
        if draw(st.booleans()):
            rules[section] = {key: draw(values) for key, values in keys.items()}
    for table in [*tables, _SHARED_TABLE]:
        for floor in _floors(draw, n, 4):
            rates = {"maintenance_rate": draw(n.rate), "initial_rate": draw(n.rate)}
            rules["tiers"].append({"tier_table": table, "floor": floor, **rates})
    for table in [*assets, _SHARED_TABLE]:
        for floor in _floors(draw, n, 3):
            row = {"weight_table": table, "floor": floor, "maintenance_weight": draw(n.weight)}
            if draw(st.booleans()):
                row["initial_weight"] = draw(n.weight)
            if draw(st.booleans()):
                row["liability_weight"] = draw(n.liability_weight)
                row["borrow_maintenance_rate"] = draw(n.rate)
                row["borrow_initial_rate"] = draw(n.rate)
            rules["weights"].append(row)
    return rules


def _floors(draw: st.DrawFn, numbers: Numbers, most: int) -> list[float]:
    return [0.0, *sorted(draw(st.lists(numbers.floor, max_size=most - 1, unique=True)))]


def _position(
    draw: st.DrawFn, numbers: Numbers, account_ids: list[Any], instruments: Rows
) -> dict[str, Any]:
    terms = draw(st.sampled_from(instruments))
    other = [None, None, _SHARED_TABLE, *(str(row["instrument_id"]) for row in instruments)]
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
    mark = terms["mark_price"] if terms["kind"] == "linear" else 1.0 / terms["mark_price"]
    return float(size * mark * _price_of(assets, terms["settle_asset"]))


def _unseen(account_ids: list[Any]) -> Any:
    return -99 if account_ids and isinstance(account_ids[0], int) else "unseen"


def _is_of(row: dict[str, Any], account_id: Any) -> bool:
    return bool(row["account_id"] == account_id)


def _on_the_line(exchange: Exchange) -> Exchange:
    """Return it with money added until each short bucket has a buffer of exactly 0."""
    cash = "cash" if isinstance(exchange.assets[0]["asset_id"], str) else 99
    weight = {"weight_table": str(cash), "maintenance_weight": 1.0}
    rules = {**exchange.rules, "weights": [*exchange.rules["weights"], weight]}
    assets = [*exchange.assets, {"asset_id": cash, "price": 1.0}]
    expected = exchange.expected()
    short: dict[tuple[Any, str], Fraction] = {
        (bucket["account_id"], bucket["bucket_id"]): -bucket["margin_buffer"]
        for bucket in expected["buckets"]
        if bucket["margin_buffer"] < 0
    }
    positions = [dict(row) for row in exchange.positions]
    for row, result in zip(positions, expected["positions"], strict=True):
        lack = short.get((result["account_id"], result["bucket_id"]), Fraction(0))
        if row["margin_mode"] == "isolated" and lack:
            price = _price_of(assets, _find(exchange.instruments, row)["settle_asset"])
            row["isolated_margin"] += float(lack / Fraction(price))
    added = [
        {"account_id": account, "asset_id": cash, "amount": float(lack)}
        for (account, label), lack in short.items()
        if label == "cross"
    ]
    balances = [*exchange.balances, *added]
    return Exchange(positions, balances, exchange.accounts, exchange.instruments, assets, rules)
