"""What the oracle reads: rows of the frames and a ruleset, every number exact.

The first half of `reference.py`'s way: `build_world` makes market and rules, `build_buckets` the
book. Numbers in brackets name the section of the contract that a line comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Row = Mapping[str, Any]
ZERO = Fraction(0)

# [5] Each key of a ruleset with the word that stands where it is left out.
DEFAULTS: dict[str, dict[str, Any]] = {
    "buckets": {"pooling": "all", "netting": "net", "valuation_asset": "USD"},
    "requirement": {
        "tier_mode": "marginal",
        "tier_basis": "notional",
        "tier_edge": "upper",
        "price_basis": "mark",
        "initial": "tier",
        "close_fee": "none",
        "open_orders": "initial",
    },
    "collateral": {"profit_and_loss": "beside", "profit_weight": 1.0},
    "trigger": {"compare": "lt", "level": 1.0, "zero_requirement": "compare"},
}
# [5] Each key that takes a word, with all its words, the default first.
WORDS: dict[str, tuple[str, ...]] = {
    "pooling": ("all", "settle_asset"),
    "netting": ("net", "gross", "larger_side"),
    "tier_mode": ("marginal", "slab"),
    "tier_basis": ("notional", "base", "contracts"),
    "tier_edge": ("upper", "lower"),
    "price_basis": ("mark", "entry"),
    "initial": ("tier", "leverage", "larger"),
    "close_fee": ("none", "mark", "bankruptcy"),
    "open_orders": ("initial", "both", "none"),
    "profit_and_loss": ("beside", "settle_asset"),
    "compare": ("lt", "le"),
    "zero_requirement": ("compare", "never"),
}
OPTIONS = ("call", "put")


def exact(value: Any, default: Any = None) -> Fraction:
    """Return a cell as the exact number it is; a null cell is the column's default."""
    return Fraction(default if value is None else value)


@dataclass
class Position:
    """One input row: contracts (signed), price and posted margin as given."""

    index: int
    account_id: Any
    instrument_id: Any
    quantity: Fraction
    entry_price: Fraction
    isolated: bool
    isolated_margin: Fraction
    leverage: Fraction | None
    buy: Fraction
    sell: Fraction
    tier_table: str


@dataclass
class Bucket:
    """Positions and collateral that stand or fall together. [2]"""

    account_id: Any
    label: str
    isolated: bool
    rows: list[Position] = field(default_factory=list)
    balances: dict[Any, Fraction] = field(default_factory=dict)  # amount by asset
    gross_balances: dict[Any, Fraction] = field(default_factory=dict)  # the same, unsigned

    def add_balance(self, asset_id: Any, amount: Fraction) -> None:
        """Add a row: those of one account and asset are summed before the sign counts. [3]"""
        self.balances[asset_id] = self.balances.get(asset_id, ZERO) + amount
        self.gross_balances[asset_id] = self.gross_balances.get(asset_id, ZERO) + abs(amount)

    def instruments(self) -> list[Any]:
        """Return the instruments held, by first appearance."""
        return list(dict.fromkeys(row.instrument_id for row in self.rows))

    def sides(self, netting: str) -> list[list[Position]]:
        """Return the rows margined as one size, by first appearance. [4, netting]

        They share instrument and tier table; longs (quantities of 0 too) and shorts stand apart
        unless `netting` is "net".
        """
        sides: dict[tuple[Any, str, bool], list[Position]] = {}
        for row in self.rows:
            short = netting != "net" and row.quantity < 0
            sides.setdefault((row.instrument_id, row.tier_table, short), []).append(row)
        return list(sides.values())

    def net_and_gross(self, instrument_id: Any) -> tuple[Fraction, Fraction]:
        """Return the signed and the unsigned sum of the contracts held of an instrument."""
        held = [row.quantity for row in self.rows if row.instrument_id == instrument_id]
        return sum(held, ZERO), sum(map(abs, held), ZERO)


@dataclass
class World:
    """Market and rules, looked up by id, numbers exact."""

    instruments: dict[Any, Row]
    assets: dict[Any, Row]
    tiers: dict[str, list[Row]]
    weights: dict[str, list[Row]]
    rule: dict[str, Any]

    def settle_price(self, instrument_id: Any) -> Fraction:
        """Return the price of the asset that the instrument settles in."""
        return exact(self.assets[self.instruments[instrument_id]["settle_asset"]]["price"])

    def kind(self, instrument_id: Any) -> str:
        """Return linear, inverse, quanto, call or put."""
        return str(self.instruments[instrument_id]["kind"])

    def is_option(self, instrument_id: Any) -> bool:
        """Return whether its value is a premium, not profit. [4]"""
        return self.kind(instrument_id) in OPTIONS

    def contract_size(self, instrument_id: Any) -> Fraction:
        """Return m, the units of one contract."""
        return exact(self.instruments[instrument_id].get("contract_size"), 1)

    def contract_value(self, instrument_id: Any, price: Fraction) -> Fraction:
        """Settle asset that one contract is worth: m P linear, m / P inverse, m k P, m V. [4]"""
        size, kind = self.contract_size(instrument_id), self.kind(instrument_id)
        if kind == "inverse":
            return size / price
        if kind == "quanto":
            size *= exact(self.instruments[instrument_id]["quanto_multiplier"])
        return size * price

    def price_of(self, instrument_id: Any, value: Fraction) -> Fraction:
        """Return the price at which one contract has this value."""
        unit = self.contract_value(instrument_id, Fraction(1))
        return unit / value if self.kind(instrument_id) == "inverse" else value / unit

    def direction(self, instrument_id: Any) -> int:
        """+1 where a long gains as the contract value rises, -1 where it loses (inverse)."""
        return -1 if self.kind(instrument_id) == "inverse" else 1

    def notional_value(self, instrument_id: Any, value: Fraction) -> Fraction:
        """Return the notional of one contract of that value: the value, of an option m U. [4]"""
        if not self.is_option(instrument_id):
            return value
        underlying = exact(self.instruments[instrument_id]["underlying_price"])
        return self.contract_size(instrument_id) * underlying

    def marks(self) -> dict[Any, Fraction]:
        """Contract value of every instrument at its mark."""
        return {
            i: self.contract_value(i, exact(r["mark_price"])) for i, r in self.instruments.items()
        }

    def slices(self, asset_id: Any) -> list[Row]:
        """Rows of the asset's weight table; by default the table is named as the asset. [3]"""
        named = self.assets[asset_id].get("weight_table")
        return self.weights[str(asset_id if named is None else named)]


def build_world(
    instruments: Sequence[Row], assets: Sequence[Row], rules: Mapping[str, Any]
) -> World:
    """Return market and rules with defaults filled in; refuse a word that there is not. [5]"""
    rule: dict[str, Any] = {}
    for section, keys in DEFAULTS.items():
        for key, default in keys.items():
            rule[key] = rules.get(section, {}).get(key, default)
            if key in WORDS and rule[key] not in WORDS[key]:
                raise ValueError(f"{section}.{key} = {rule[key]!r}")
    rule["ladder"] = rules.get("ladder", [])
    tables: list[dict[str, list[Row]]] = []
    for key, name in (("tiers", "tier_table"), ("weights", "weight_table")):
        rows: dict[str, list[Row]] = {}
        for row in rules.get(key, []):
            rows.setdefault(str(row[name]), []).append(row)
        tables.append(rows)
    by_id = {row["instrument_id"]: row for row in instruments}
    by_asset = {row["asset_id"]: row for row in assets}
    return World(by_id, by_asset, tables[0], tables[1], rule)


def build_buckets(positions: Sequence[Row], balances: Sequence[Row], world: World) -> list[Bucket]:
    """Return buckets account by account: cross by first appearance, then isolated ones. [6]"""
    cross: dict[Any, dict[str, Bucket]] = {}
    isolated: dict[Any, list[Bucket]] = {}

    def pool(owner: Any, asset: Any) -> Bucket:
        """Return the cross bucket that holds what is in this asset. [5, pooling]"""
        label = "cross" if world.rule["pooling"] == "all" else f"cross:{asset}"
        return cross.setdefault(owner, {}).setdefault(label, Bucket(owner, label, False))

    for index, given in enumerate(positions):
        row = _read_position(index, given, world)
        asset = world.instruments[row.instrument_id]["settle_asset"]
        if row.isolated:
            held = isolated.setdefault(row.account_id, [])
            label = _free_label(f"isolated:{row.instrument_id}", {b.label for b in held})
            posted = Bucket(row.account_id, label, True, [row])
            posted.add_balance(asset, row.isolated_margin)
            held.append(posted)
        else:
            pool(row.account_id, asset).rows.append(row)
    for given in balances:
        asset = given["asset_id"]
        pool(given["account_id"], asset).add_balance(asset, exact(given["amount"]))
    buckets: list[Bucket] = []
    for owner in in_order(positions, balances):
        buckets += [*cross.get(owner, {}).values(), *isolated.get(owner, [])]
    return buckets


def _read_position(index: int, given: Row, world: World) -> Position:
    instrument = given["instrument_id"]
    table = given.get("tier_table")
    if table is None:  # [3] the instrument's, which by default is named as the instrument
        table = world.instruments[instrument].get("tier_table")
    leverage = given.get("leverage")
    return Position(
        index=index,
        account_id=given["account_id"],
        instrument_id=instrument,
        quantity=exact(given["quantity"]),
        entry_price=exact(given["entry_price"]),
        isolated=(given.get("margin_mode") or "cross") == "isolated",
        isolated_margin=exact(given.get("isolated_margin"), 0),
        leverage=None if leverage is None else exact(leverage),
        buy=exact(given.get("open_buy_quantity"), 0),
        sell=exact(given.get("open_sell_quantity"), 0),
        tier_table=str(instrument if table is None else table),
    )


def _free_label(label: str, taken: set[str]) -> str:
    """Return `label`, or with the first number from 2 on that is new in the account. [6]"""
    number, free = 1, label
    while free in taken:
        number += 1
        free = f"{label}:{number}"
    return free


def in_order(*frames: Sequence[Row]) -> list[Any]:
    """Account ids by first appearance. [6]"""
    return list(dict.fromkeys(row["account_id"] for frame in frames for row in frame))
