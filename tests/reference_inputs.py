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
# Words the oracle can compute; another one is refused, never computed as if it were these.
KNOWN: dict[str, set[str]] = {
    "pooling": {"all"},
    "netting": {"net"},
    "tier_mode": {"marginal"},
    "tier_basis": {"notional"},
    "tier_edge": {"upper"},
    "price_basis": {"mark"},
    "initial": {"tier", "leverage", "larger"},
    "close_fee": {"none"},
    "open_orders": {"initial"},
    "profit_and_loss": {"beside"},
    "compare": {"lt", "le"},
    "zero_requirement": {"compare", "never"},
}


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

    def sides(self) -> list[list[Position]]:
        """Rows margined as one size: one instrument, one tier table. [4, netting]"""
        sides: dict[tuple[Any, str], list[Position]] = {}
        for row in self.rows:
            sides.setdefault((row.instrument_id, row.tier_table), []).append(row)
        return list(sides.values())


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

    def contract_value(self, instrument_id: Any, price: Fraction) -> Fraction:
        """Settle asset that one contract is worth: m P linear, m / P inverse. [4]"""
        terms = self.instruments[instrument_id]
        size = exact(terms.get("contract_size"), 1)
        return {"linear": size * price, "inverse": size / price}[terms["kind"]]

    def direction(self, instrument_id: Any) -> int:
        """+1 where a long gains as the contract value rises (linear), -1 where it loses."""
        return {"linear": 1, "inverse": -1}[self.instruments[instrument_id]["kind"]]

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
    """Return market and rules with defaults filled in; refuse a word the oracle lacks. [5]"""
    rule: dict[str, Any] = {}
    for section, keys in DEFAULTS.items():
        for key, default in keys.items():
            rule[key] = rules.get(section, {}).get(key, default)
            if key in KNOWN and rule[key] not in KNOWN[key]:
                raise NotImplementedError(f"{section}.{key} = {rule[key]!r}")
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
    """Return buckets account by account: cross first, then isolated ones in input order. [6]"""
    cross: dict[Any, Bucket] = {}
    isolated: dict[Any, list[Bucket]] = {}
    for index, given in enumerate(positions):
        row = _read_position(index, given, world)
        if row.isolated:
            held = isolated.setdefault(row.account_id, [])
            label = _free_label(f"isolated:{row.instrument_id}", {b.label for b in held})
            posted = Bucket(row.account_id, label, True, [row])
            asset = world.instruments[row.instrument_id]["settle_asset"]
            posted.add_balance(asset, row.isolated_margin)
            held.append(posted)
        else:
            pool = cross.setdefault(row.account_id, Bucket(row.account_id, "cross", False))
            pool.rows.append(row)
    for given in balances:
        owner = given["account_id"]
        pool = cross.setdefault(owner, Bucket(owner, "cross", False))
        pool.add_balance(given["asset_id"], exact(given["amount"]))
    buckets: list[Bucket] = []
    for owner in in_order(positions, balances):
        buckets += [cross[owner]] if owner in cross else []
        buckets += isolated.get(owner, [])
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
