"""The frames of Margrave, column by column: kind, range, default and unit.

This is the one place where a column is declared. `frames` reads it to check what comes
in, and the bad-input tests are generated from it. Money is in the valuation
asset unless the unit says otherwise; rates and weights are fractions (0.05 is 5 %).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ALLOWED",
    "FRAMES",
    "KIND",
    "LIQUIDATION_PRICE_KIND",
    "MARGIN_COLUMNS",
    "MARGIN_MODE",
    "MATRIX_COLUMNS",
    "MISNOMERS",
    "MONEY",
    "POSITION_COLUMNS",
    "RATIOS",
    "REJECT_COLUMNS",
    "SCENARIO_COLUMNS",
    "STATUS",
    "TOTAL_COLUMNS",
    "WORST_COLUMNS",
    "Column",
    "Range",
]

Kind = Literal["id", "number", "word", "name", "flag", "time"]
Range = Literal["any", "positive", "not_negative", "rate", "shock"]

#: What a range admits, as messages say it.
ALLOWED: dict[Range, str] = {
    "any": "a finite number of at most 1e18 in size",
    "positive": "a number above 0 and at most 1e18",
    "not_negative": "a number from 0 to 1e18",
    "rate": "a fraction from 0 to 1",
    "shock": "a relative move above -1 (-0.2 is a fall by 20 %) and at most 1e18",
}

MARGIN_MODE = ("cross", "isolated")
KIND = ("linear", "inverse", "quanto", "call", "put")
STATUS = ("flat", "healthy", "below_initial", "liquidation", "bankrupt", "indeterminate")
LIQUIDATION_PRICE_KIND = ("root", "none", "breached")


@dataclass(frozen=True)
class Column:
    """One input column: what it holds, whether it must be there, what it may be.

    `kind` is `id` (integer or text), `number`, `word` (one of `words`), `name` (integer or
    text, compared as text), `flag` (Boolean) or `time` (enters no figure).
    `default` stands for null and for an absent column; None means *not given*.
    """

    name: str
    kind: Kind
    unit: str
    required: bool = False
    allowed: Range = "any"
    default: float | str | bool | None = None
    words: tuple[str, ...] = ()


def _id(name: str, unit: str) -> Column:
    return Column(name, "id", unit, required=True)


def _number(
    name: str, allowed: Range, unit: str, default: float | None = None, *, required: bool = False
) -> Column:
    return Column(name, "number", unit, required=required, allowed=allowed, default=default)


def _name(name: str, unit: str, *, required: bool = False) -> Column:
    return Column(name, "name", unit, required=required)


def _time(name: str, unit: str) -> Column:
    return Column(name, "time", f"{unit}; Date, Datetime (naive is UTC) or ISO text")


FRAMES: dict[str, tuple[Column, ...]] = {
    "positions": (
        _id("account_id", "whose position it is"),
        _id("instrument_id", "what is held"),
        _number("quantity", "any", "contracts, long > 0", required=True),
        _number("entry_price", "positive", "price of one unit", required=True),
        Column("margin_mode", "word", "bucket it belongs to", default="cross", words=MARGIN_MODE),
        _number("isolated_margin", "any", "settle asset, without profit; < 0 is debt"),
        _number("leverage", "positive", "chosen leverage, times"),
        _name("tier_table", "tier table instead of the instrument's"),
        _number("open_buy_quantity", "not_negative", "contracts", 0.0),
        _number("open_sell_quantity", "not_negative", "contracts", 0.0),
    ),
    "balances": (
        _id("account_id", "whose balance it is"),
        _id("asset_id", "what is held"),
        _number("amount", "any", "units of the asset, < 0 is debt", required=True),
    ),
    "accounts": (_id("account_id", "the account; every other column is carried through"),),
    "instruments": (
        _id("instrument_id", "the contract"),
        Column("kind", "word", "kind of contract", required=True, words=KIND),
        Column("settle_asset", "id", "asset that profit is paid in", required=True),
        _number("mark_price", "positive", "price of one unit", required=True),
        _number("contract_size", "positive", "units a contract", 1.0),
        _name("base_asset", "asset that the contract is on"),
        _name("tier_table", "tier table; the instrument_id by default"),
        _number("close_fee_rate", "rate", "fraction of the value closed", 0.0),
        _number("quanto_multiplier", "positive", "settle asset a unit of price"),
        _number("open_interest", "not_negative", "contracts"),
        _name("underlying_id", "instrument that an option is on"),
        _number("strike", "positive", "settle asset"),
        _time("expiry", "when an option ends"),
        _number("mark_iv", "not_negative", "fraction a year"),
        _number("underlying_price", "positive", "settle asset"),
        _time("mark_time", "when the mark was taken"),
    ),
    "assets": (
        _id("asset_id", "the asset"),
        _number("price", "positive", "valuation asset", required=True),
        _name("weight_table", "weight table; the asset_id by default"),
        Column("is_stable", "flag", "true: not moved by the factor *", default=False),
        _time("price_time", "when the price was taken"),
    ),
    "tiers": (
        _name("tier_table", "name of the table", required=True),
        _number(
            "floor", "not_negative", "size at which the tier begins, tier basis", required=True
        ),
        _number("maintenance_rate", "rate", "fraction of size", required=True),
        _number("initial_rate", "rate", "fraction of size", required=True),
        _number("deduction", "any", "maintenance deduction, checked against the rates"),
    ),
    "weights": (
        _name("weight_table", "name of the table", required=True),
        _number("floor", "not_negative", "value at which the slice begins, valuation asset", 0.0),
        _number("maintenance_weight", "rate", "fraction of value that counts", required=True),
        _number("initial_weight", "rate", "the same for initial; maintenance_weight by default"),
        _number("liability_weight", "not_negative", "times debt, first row counts", 1.0),
        _number("borrow_maintenance_rate", "rate", "fraction of debt, first row counts", 0.0),
        _number("borrow_initial_rate", "rate", "fraction of debt, first row counts", 0.0),
    ),
    "scenarios": (
        _id("scenario_id", "the scenario; its rows move together"),
        _name("factor", "instrument_id, asset_id, base_asset, or * for all", required=True),
        _number("price_shock", "shock", "relative move, -0.2 is down by 20 %", required=True),
        _number("vol_shock", "any", "options are not repriced yet: null or 0"),
    ),
}

#: Names from other systems that are taken for a column of ours where that one is lacking.
MISNOMERS: dict[str, str] = {
    "qty": "quantity",
    "size": "quantity",
    "account": "account_id",
    "user_id": "account_id",
    "instrument": "instrument_id",
    "symbol": "instrument_id",
    "entry": "entry_price",
    "asset": "asset_id",
    "mark": "mark_price",
    "balance": "amount",
}

#: Columns of money in `accounts`, `buckets` and `totals`, valuation asset.
MONEY = (
    "equity",
    "margin_balance",
    "collateral_value",
    "debt_value",
    "unrealized_pnl",
    "gross_notional",
    "net_notional",
    "initial_margin",
    "maintenance_margin",
    "margin_buffer",
    "free_collateral",
    "bad_debt",
)

#: Columns of ratios in `accounts` and `buckets`; null where not applicable.
RATIOS = (
    "margin_ratio",
    "margin_level",
    "maintenance_margin_ratio",
    "equity_ratio",
    "effective_leverage",
    "ltv",
    "health_factor",
)

#: What `accounts` and `buckets` share, in order, after their ids.
MARGIN_COLUMNS = ("status", "is_liquidatable", *MONEY, *RATIOS, "positions", "ladder")

#: The columns of `totals`, in order.
TOTAL_COLUMNS = (
    "accounts",
    *(f"{status}_accounts" for status in STATUS),
    *MONEY,
    "liquidatable_accounts",
    "liquidatable_notional",
    "total_bad_debt",
    "total_margin_deficit",
)

#: The columns of the `positions` result, in order.
POSITION_COLUMNS = (
    "account_id",
    "bucket_id",
    "instrument_id",
    "quantity",
    "entry_price",
    "mark_price",
    "notional",
    "unrealized_pnl",
    "tier",
    "maintenance_margin",
    "initial_margin",
    "liquidation_price",
    "liquidation_price_kind",
    "bankruptcy_price",
)

#: The columns of `stress.scenarios`, in order.
SCENARIO_COLUMNS = (
    "scenario_id",
    "accounts",
    "liquidatable_accounts",
    "newly_liquidatable_accounts",
    "bankrupt_accounts",
    "liquidatable_notional",
    "total_bad_debt",
    "total_margin_deficit",
)

#: The columns of `stress.accounts`, in order.
WORST_COLUMNS = (
    "account_id",
    "worst_scenario",
    "margin_buffer",
    "status",
    "bad_debt",
    "scenarios_liquidatable",
)

#: The columns of `stress.matrix()`, in order.
MATRIX_COLUMNS = (
    "scenario_id",
    "account_id",
    "status",
    "is_liquidatable",
    "equity",
    "margin_balance",
    "maintenance_margin",
    "margin_buffer",
    "bad_debt",
)

#: The columns of the `rejects` result, in order.
REJECT_COLUMNS = ("frame", "row", "column", "value", "reason")
