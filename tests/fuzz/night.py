"""Random nights that are sound: small, every kind of contract, ids and numbers of many types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from fuzz.draw import HOSTILE_TEXTS, Draw
from margrave.ruleset import SECTIONS, RulesFile
from margrave.schema import KIND, MARGIN_MODE

__all__ = ["Night", "ruleset", "sound"]

SHARED = "shared"
INTEGERS: tuple[Any, ...] = (
    *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
)
BOUNDS = {kind: pl.select(kind.min(), kind.max().alias("most")).row(0) for kind in INTEGERS}
LARGE = (2**63, 2**64 - 1, -(2**63), 2**63 - 1, -1, 0, 255, 256, 2**31)
MODE_TYPES: tuple[Any, ...] = (pl.String, pl.Categorical, pl.Enum(MARGIN_MODE))
KIND_TYPES: tuple[Any, ...] = (pl.String, pl.Categorical, pl.Enum(KIND))
FLOORS = (0.5, 1.0, 10.0, 100.0, 1000.0, 5e4, 1e6, 1e18)
RATES = (0.0, 0.004, 0.0125, 0.05, 1 / 3, 0.5, 1.0)

#: The words of every key that has words.
WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    section: {
        key: tuple(field.annotation.__args__)
        for key, field in model.annotation.model_fields.items()
        if hasattr(field.annotation, "__args__")
    }
    for section, model in ((name, RulesFile.model_fields[name]) for name in SECTIONS)
    if model.annotation is not None
}


@dataclass
class Night:
    """Frames by name (`accounts` may be lacking) and the content of a ruleset."""

    frames: dict[str, Any]
    rules: dict[str, Any]
    is_mild: bool


def sound(draw: Draw) -> Night:
    """Return a night without a fault; where it `is_mild`, its money cannot overflow either."""
    is_mild = draw.chance(0.7)
    accounts = _ids(draw, draw.upto(1, 6))
    instruments = _ids(draw, draw.upto(1, 4))
    assets = _ids(draw, draw.upto(1, 3))
    frames = {
        "positions": _positions(draw, is_mild, accounts, instruments),
        "balances": _balances(draw, is_mild, accounts, assets),
        "instruments": _instruments(draw, is_mild, instruments, assets),
        "assets": _assets(draw, is_mild, assets),
    }
    if draw.chance(0.5):
        frames["accounts"] = _accounts(draw, accounts)
    rules = ruleset(draw, [*map(str, instruments), SHARED], [*map(str, assets), SHARED])
    return Night(frames, rules, is_mild)


def _ids(draw: Draw, count: int) -> list[Any]:
    """Return distinct ids, all integers or all texts."""
    if draw.chance(0.4):
        numbers = tuple(range(-2, 100)) if draw.chance(0.8) else LARGE
        return list(dict.fromkeys(draw.some(numbers, count, count)))
    plain = ("BTC", "ETH", "USD", "a", "b", "c", "d", "a longer name than twelve bytes")
    pool = plain if draw.chance(0.7) else HOSTILE_TEXTS
    return list(dict.fromkeys(draw.some(pool, count, count)))


def _column(draw: Draw, name: str, values: list[Any], domain: list[Any]) -> pl.Series:
    """Return ids in a type that holds all of the domain."""
    if isinstance(domain[0], str):
        kinds: Any = (pl.String, pl.String, pl.Categorical, pl.Enum(domain), pl.Enum(domain[::-1]))
        return pl.Series(name, values, dtype=draw.one(kinds))
    if min(domain) < -(2**63) or (min(domain) < 0 and max(domain) >= 2**63):
        return pl.Series(name, values, dtype=pl.Int128)
    if max(domain) >= 2**63:
        return pl.Series(name, values, dtype=draw.one((pl.UInt64, pl.Int128)))
    wide = pl.Series(name, values, dtype=pl.Int64)
    dtype = draw.one(INTEGERS)
    least, most = BOUNDS[dtype]
    return wide.cast(dtype) if least <= min(domain) and max(domain) <= most else wide


def _number(draw: Draw, is_mild: bool, *, sign: bool = False) -> float:
    """Return a number above 0, or of any sign, which is in every range but that of rates."""
    size = draw.one((1.0, 2.0, 3.0, 10.0, 64.0, 0.5, 0.1, 97.566, 76497.0))
    if draw.chance(0.3):
        size = 10.0 ** draw.uniform(-4.0, 5.0)
    if not is_mild and draw.chance(0.3):
        size = draw.one((1e18, 5e-324, 1e-300, 1e-18, 1e15, 2.0**-1074, 1e12, 1e-9))
    return -size if sign and draw.chance(0.5) else size


def _numbers(draw: Draw, name: str, values: list[float | None]) -> pl.Series:
    """Return numbers as they are, or in a type of numbers that holds them all the same."""
    series = pl.Series(name, values, dtype=pl.Float64)
    if draw.chance(0.75):
        return series
    kinds: Any = (pl.Int64, pl.Int16, pl.UInt32, pl.Float32, pl.Decimal(38, 9), pl.Int128)
    other = series.cast(draw.one(kinds), strict=False)
    return other if other.cast(pl.Float64).eq_missing(series).all() else series


def _positions(draw: Draw, mild: bool, accounts: list[Any], instruments: list[Any]) -> pl.DataFrame:
    count = draw.upto(0, 9)
    named = [draw.one(instruments) for _ in range(count)]
    modes = [draw.one((None, "cross", "cross", *MARGIN_MODE)) for _ in range(count)]
    has_margin = "isolated" in modes
    columns = [
        _column(draw, "account_id", [draw.one(accounts) for _ in range(count)], accounts),
        _column(draw, "instrument_id", named, instruments),
        _numbers(draw, "quantity", [_quantity(draw, mild) for _ in range(count)]),
        _numbers(draw, "entry_price", [_number(draw, mild) for _ in range(count)]),
    ]
    if has_margin or draw.chance(0.2):
        columns.append(pl.Series("margin_mode", modes, dtype=draw.one(MODE_TYPES)))
    margins = [
        _number(draw, mild, sign=True) if m == "isolated" or draw.chance(0.3) else None
        for m in modes
    ]
    if has_margin:
        columns.append(_numbers(draw, "isolated_margin", margins))
    if draw.chance(0.5):
        columns.append(_numbers(draw, "leverage", [_some(draw, mild) for _ in range(count)]))
    if draw.chance(0.3):
        tables = [draw.one((None, SHARED, *map(str, instruments))) for _ in range(count)]
        columns.append(pl.Series("tier_table", tables, dtype=pl.String))
    for name in ("open_buy_quantity", "open_sell_quantity"):
        if draw.chance(0.4):
            columns.append(_numbers(draw, name, [_some(draw, mild) for _ in range(count)]))
    return pl.DataFrame(columns)


def _quantity(draw: Draw, mild: bool) -> float:
    return 0.0 if draw.chance(0.1) else _number(draw, mild, sign=True)


def _some(draw: Draw, mild: bool) -> float | None:
    return None if draw.chance(0.3) else _number(draw, mild)


def _balances(draw: Draw, mild: bool, accounts: list[Any], assets: list[Any]) -> pl.DataFrame:
    count = draw.upto(0, 8)
    amounts: list[float | None] = [_number(draw, mild, sign=draw.chance(0.5)) for _ in range(count)]
    return pl.DataFrame(
        [
            _column(draw, "account_id", [draw.one(accounts) for _ in range(count)], accounts),
            _column(draw, "asset_id", [draw.one(assets) for _ in range(count)], assets),
            _numbers(draw, "amount", amounts),
        ]
    )


def _instruments(draw: Draw, mild: bool, instruments: list[Any], assets: list[Any]) -> pl.DataFrame:
    kinds = [draw.one(("linear", "linear", *KIND)) for _ in instruments]
    settle = [draw.one(assets) for _ in instruments]
    columns = [
        _column(draw, "instrument_id", instruments, instruments),
        pl.Series("kind", kinds, dtype=draw.one(KIND_TYPES)),
        _column(draw, "settle_asset", settle, assets),
        _numbers(draw, "mark_price", [_number(draw, mild) for _ in instruments]),
    ]
    if "quanto" in kinds or draw.chance(0.2):
        columns.append(_numbers(draw, "quanto_multiplier", [_number(draw, mild) for _ in kinds]))
    if {"call", "put"} & set(kinds):
        columns.append(_numbers(draw, "underlying_price", [_number(draw, mild) for _ in kinds]))
    if draw.chance(0.4):
        columns.append(_numbers(draw, "contract_size", [_some(draw, mild) for _ in kinds]))
    if draw.chance(0.4):
        columns.append(pl.Series("close_fee_rate", [draw.one(RATES) for _ in kinds]))
    if draw.chance(0.3):
        tables = [draw.one((None, SHARED, *map(str, instruments))) for _ in kinds]
        columns.append(pl.Series("tier_table", tables, dtype=pl.String))
    return pl.DataFrame(columns)


def _assets(draw: Draw, mild: bool, assets: list[Any]) -> pl.DataFrame:
    columns = [
        _column(draw, "asset_id", assets, assets),
        _numbers(draw, "price", [_number(draw, mild) for _ in assets]),
    ]
    if draw.chance(0.3):
        tables = [draw.one((None, SHARED, *map(str, assets))) for _ in assets]
        columns.append(pl.Series("weight_table", tables, dtype=pl.String))
    if draw.chance(0.3):
        stable = [draw.one((None, True, False)) for _ in assets]
        columns.append(pl.Series("is_stable", stable, dtype=pl.Boolean))
    return pl.DataFrame(columns)


def _accounts(draw: Draw, accounts: list[Any]) -> pl.DataFrame:
    listed = draw.sample(accounts, draw.upto(0, len(accounts)))
    columns = [_column(draw, "account_id", listed, accounts)]
    if draw.chance(0.5):
        columns.append(pl.Series("owner_id", [draw.text() for _ in listed], dtype=pl.String))
    if draw.chance(0.3):
        columns.append(pl.Series("desk", [draw.number() for _ in listed], dtype=pl.Float64))
    return pl.DataFrame(columns)


def ruleset(draw: Draw, tables: list[str], assets: list[str]) -> dict[str, Any]:
    """Return the content of a sound ruleset: every key, a table for every name."""
    rules: dict[str, Any] = {"id": "fuzz"}
    if draw.chance(0.1):
        rules |= {"title": draw.text(), "source": draw.text(), "as_of": "2026-02-04"}
    for section, keys in WORDS.items():
        rules[section] = {key: draw.one(words) for key, words in keys.items() if draw.chance(0.7)}
    rules["collateral"]["profit_weight"] = draw.one((1.0, 0.5, 0.0, 0.9, 1))
    rules["trigger"]["level"] = draw.one((1.0, 1.0, 1.05, 0.0, 100.0, 0.5, 1))
    if draw.chance(0.3):
        levels = sorted(set(draw.some((0.5, 1.0, 1.1, 1.5, 2.0, 1e18), 1, 3)), reverse=True)
        rules["ladder"] = [
            {"name": f"rung {number}", "margin_level_below": below}
            for number, below in enumerate(levels)
        ]
    rules["tiers"] = [
        {"tier_table": t, "floor": floor, "maintenance_rate": draw.one(RATES)}
        | {"initial_rate": draw.one(RATES)}
        for t in dict.fromkeys(tables)
        for floor in _floors(draw)
    ]
    rules["weights"] = [
        {"weight_table": w, "floor": floor, "maintenance_weight": draw.one(RATES), **_debt(draw)}
        for w in dict.fromkeys(assets)
        for floor in _floors(draw)
    ]
    return rules


def _floors(draw: Draw) -> list[float]:
    return [0.0] if draw.chance(0.5) else [0.0, *sorted(set(draw.some(FLOORS, 1, 3)))]


def _debt(draw: Draw) -> dict[str, float]:
    if draw.chance(0.6):
        return {}
    rates = {key: draw.one(RATES) for key in ("borrow_maintenance_rate", "borrow_initial_rate")}
    rates["initial_weight"] = draw.one(RATES)
    return rates | {"liability_weight": draw.one((1.0, 1.1, 0.0, 3.0))}
