"""Which rows are bad, read from the frames alone: nothing of the engine's own checks is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

__all__ = ["Scan", "scan"]

LIMIT = 1e18
Place = tuple[str, int, str]

ABOVE_0 = ("leverage",)
FROM_0 = ("open_buy_quantity", "open_sell_quantity")
TERMS_ABOVE_0 = ("contract_size", "quanto_multiplier", "strike", "underlying_price")


@dataclass
class Scan:
    """Bad values by frame, row and column; whose rows they are; who is there at all."""

    places: set[Place] = field(default_factory=set)
    market_places: set[Place] = field(default_factory=set)
    bad_accounts: set[str] = field(default_factory=set)
    accounts: list[str] = field(default_factory=list)
    owner: dict[tuple[str, int], str | None] = field(default_factory=dict)


def scan(frames: Mapping[str, pl.DataFrame], market: Mapping[str, pl.DataFrame]) -> Scan:
    """Return what is bad in the frames of a book, beside those of a market.

    Args:
        frames: `positions`, `balances`, `instruments`, perhaps `accounts`, as the engine takes
            them: their structure is right.
        market: `instruments` and `assets` of the market.
    """
    found = Scan()
    listed = set(_texts(frames["instruments"], "instrument_id"))
    terms = _texts(market["instruments"], "instrument_id")
    settle = dict(zip(terms, _texts(market["instruments"], "settle_asset"), strict=True))
    assets = set(_texts(market["assets"], "asset_id"))
    _positions(found, frames["positions"], listed, settle, assets)
    _balances(found, frames["balances"], assets)
    if "accounts" in frames:
        for row, account in enumerate(_texts(frames["accounts"], "account_id")):
            _belongs(found, "accounts", row, account)
    for frame, row, _ in found.places:
        owner = found.owner[frame, row]
        if owner is not None:
            found.bad_accounts.add(owner)
    _market(found, market)
    return found


def _belongs(found: Scan, frame: str, row: int, account: str | None) -> None:
    found.owner[frame, row] = account
    if account is None:
        found.places.add((frame, row, "account_id"))
    elif account not in found.accounts:
        found.accounts.append(account)


def _texts(frame: pl.DataFrame, name: str) -> list[Any]:
    return [None if value is None else str(value) for value in frame[name].to_list()]


def _numbers(frame: pl.DataFrame, name: str) -> list[float | None]:
    if name not in frame.columns:
        return [None] * frame.height
    column = frame[name]
    if column.null_count() == len(column):
        return [None] * frame.height
    return column.cast(pl.Float64).to_list()


def _is_off(value: float | None, *, least: float = -LIMIT) -> bool:
    """Return whether a number is not finite or outside its range; null is not."""
    return value is not None and not least <= value <= LIMIT


def _positions(
    found: Scan, frame: pl.DataFrame, listed: set[Any], settle: dict[Any, Any], assets: set[Any]
) -> None:
    if not frame.height:
        return
    tiny = 5e-324
    columns = {n: _numbers(frame, n) for n in ("quantity", "entry_price", "isolated_margin")}
    ranged = {**dict.fromkeys(ABOVE_0, tiny), **dict.fromkeys(FROM_0, 0.0)}
    optional = {name: _numbers(frame, name) for name in ranged}
    modes = (
        _texts(frame, "margin_mode") if "margin_mode" in frame.columns else [None] * frame.height
    )
    ids = _texts(frame, "instrument_id")
    for row, account in enumerate(_texts(frame, "account_id")):
        _belongs(found, "positions", row, account)
        bad = set()
        quantity, entry = columns["quantity"][row], columns["entry_price"][row]
        if quantity is None or _is_off(quantity):
            bad.add("quantity")
        if entry is None or _is_off(entry, least=tiny):
            bad.add("entry_price")
        margin = columns["isolated_margin"][row]
        if _is_off(margin) or (margin is None and modes[row] == "isolated"):
            bad.add("isolated_margin")
        bad |= {n for n, values in optional.items() if _is_off(values[row], least=ranged[n])}
        instrument = ids[row]
        if instrument not in listed or instrument not in settle or settle[instrument] not in assets:
            bad.add("instrument_id")
        found.places |= {("positions", row, column) for column in bad}


def _balances(found: Scan, frame: pl.DataFrame, assets: set[Any]) -> None:
    if not frame.height:
        return
    amounts, ids = _numbers(frame, "amount"), _texts(frame, "asset_id")
    for row, account in enumerate(_texts(frame, "account_id")):
        _belongs(found, "balances", row, account)
        amount = amounts[row]
        if amount is None or _is_off(amount):
            found.places.add(("balances", row, "amount"))
        if ids[row] not in assets:
            found.places.add(("balances", row, "asset_id"))


def _market(found: Scan, market: Mapping[str, pl.DataFrame]) -> None:
    tiny = 5e-324
    for name, required in (("instruments", "mark_price"), ("assets", "price")):
        frame = market[name]
        bad: dict[str, list[bool]] = {
            required: [v is None or _is_off(v, least=tiny) for v in _numbers(frame, required)]
        }
        for column in ("instrument_id", "settle_asset", "kind", "asset_id"):
            if column in frame.columns and (name == "assets") == (column == "asset_id"):
                bad[column] = frame[column].is_null().to_list()
        if name == "instruments":
            for column in TERMS_ABOVE_0:
                bad[column] = [_is_off(v, least=tiny) for v in _numbers(frame, column)]
            for column in ("open_interest", "mark_iv"):
                bad[column] = [_is_off(v, least=0.0) for v in _numbers(frame, column)]
            rates = _numbers(frame, "close_fee_rate")
            bad["close_fee_rate"] = [_is_off(v, least=0.0) or (v or 0.0) > 1.0 for v in rates]
            for column, kinds in (
                ("quanto_multiplier", ("quanto",)),
                ("underlying_price", ("call", "put")),
            ):
                needs = [kind in kinds for kind in _texts(frame, "kind")]
                values = _numbers(frame, column)
                for row, value in enumerate(values):
                    bad[column][row] |= needs[row] and value is None
        found.market_places |= {
            (name, row, column)
            for column, rows in bad.items()
            for row, is_bad in enumerate(rows)
            if is_bad
        }
