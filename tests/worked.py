"""A small market for examples worked by hand: every kind of contract, every kind of asset.

Marks and prices are round, every tier table is one rate of 1/8 (1/4 to open) and every weight 1
unless an example says otherwise. USD is the valuation asset and USDC is stable; `IDX` has no base,
`PEG` is on USDC and `SELF` on USD.
"""

from __future__ import annotations

from typing import Any

from exchanges import Exchange, Rows

#: instrument, kind, settle asset, mark, base
_TERMS = [
    ("BTC-P", "linear", "USD", 100.0, "BTC"),
    ("BTC-Q", "linear", "USD", 100.0, "BTC"),
    ("ETH-P", "linear", "USD", 10.0, "ETH"),
    ("IDX", "linear", "USD", 40.0, None),
    ("PEG", "linear", "USD", 1.0, "USDC"),
    ("SELF", "linear", "USD", 1.0, "USD"),
    ("COIN", "inverse", "BTC", 100.0, "BTC"),
    ("CROSS", "quanto", "BTC", 10.0, "ETH"),
    ("CALL", "call", "USD", 5.0, "BTC"),
]

INSTRUMENTS: Rows = [
    {
        "instrument_id": name,
        "kind": kind,
        "settle_asset": settle,
        "mark_price": mark,
        "base_asset": base,
        "quanto_multiplier": 0.01 if kind == "quanto" else None,
        "underlying_price": 100.0 if kind == "call" else None,
        "close_fee_rate": 0.0,
    }
    for name, kind, settle, mark, base in _TERMS
]
ASSETS: Rows = [
    {"asset_id": "USD", "price": 1.0, "is_stable": False},
    {"asset_id": "USDC", "price": 1.0, "is_stable": True},
    {"asset_id": "BTC", "price": 100.0, "is_stable": False},
    {"asset_id": "ETH", "price": 10.0, "is_stable": False},
]
ONE_RATE = ((0.0, 0.125, 0.25),)


def position(account: str, instrument: str, quantity: float, **more: Any) -> dict[str, Any]:
    """Return a position that was entered at the mark unless told otherwise."""
    entry = next(r["mark_price"] for r in INSTRUMENTS if r["instrument_id"] == instrument)
    row = {"account_id": account, "instrument_id": instrument, "quantity": quantity}
    return {**row, "entry_price": entry, **more}


def balance(account: str, amount: float, asset: str = "USD") -> dict[str, Any]:
    """Return a balance, in USD unless told otherwise."""
    return {"account_id": account, "asset_id": asset, "amount": amount}


def night(
    *rows: dict[str, Any],
    accounts: Rows | None = None,
    tiers: tuple[tuple[float, float, float], ...] = ONE_RATE,
    weights: dict[str, Rows] | None = None,
    fee: float = 0.0,
    **rules: dict[str, Any],
) -> Exchange:
    """Return the exchange of these positions and balances.

    Args:
        rows: What `position` and `balance` return.
        accounts: Rows of that frame, if there is one.
        tiers: Floor, maintenance and initial rate of every table.
        weights: Rows of the weight table by asset, where it is not one weight of 1.
        fee: Closing fee of every contract.
        rules: Sections of the ruleset.
    """
    one: Rows = [{"floor": 0.0, "maintenance_weight": 1.0}]
    ruleset: dict[str, Any] = {"id": "by hand", **rules}
    ruleset["tiers"] = [
        {"tier_table": r["instrument_id"], "floor": f, "maintenance_rate": m, "initial_rate": i}
        for r in INSTRUMENTS
        for f, m, i in tiers
    ]
    ruleset["weights"] = [
        {"weight_table": r["asset_id"], **row}
        for r in ASSETS
        for row in (weights or {}).get(r["asset_id"], one)
    ]
    return Exchange(
        positions=[row for row in rows if "instrument_id" in row],
        balances=[row for row in rows if "asset_id" in row],
        accounts=accounts,
        instruments=[{**row, "close_fee_rate": fee} for row in INSTRUMENTS],
        assets=ASSETS,
        rules=ruleset,
    )


def shocks(**scenarios: dict[str, float]) -> Rows:
    """Return the rows of scenarios, each a mapping of factor to shock."""
    return [
        {"scenario_id": name, "factor": factor, "price_shock": shock}
        for name, factors in scenarios.items()
        for factor, shock in factors.items()
    ]
