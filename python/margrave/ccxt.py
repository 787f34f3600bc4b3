"""Leverage tiers as the library ccxt gives them, as a frame of `tiers`.

`tiers_from_ccxt` reads what `fetch_leverage_tiers` returns, and the files that freqtrade
ships, which have the same structure. A gap, a missing figure or a published deduction that
the rates contradict is refused with its symbol and row: nothing is guessed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from margrave.errors import RulesError
from margrave.files import is_text
from margrave.frames import shown
from margrave.tables import mistakes

__all__ = ["tiers_from_ccxt"]

#: What every tier must have: a number, by ccxt's name.
FIGURES = ("minNotional", "maxNotional", "maintenanceMarginRate", "maxLeverage")

#: Where venues' own answers, kept under `info`, hold the deduction of maintenance.
DEDUCTIONS = ("cum", "mmDeduction", "maintAmount", "maintAmt")

#: A number as text, as venues write it.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

#: The largest file that is read, bytes, and how many mistakes a message names.
MAX_BYTES = 256 * 2**20
LINES_SHOWN = 100

#: ccxt's name of each of our columns.
NAMES = {"floor": "minNotional", "maintenance_rate": "maintenanceMarginRate"}


def tiers_from_ccxt(source: str | Path | Mapping[str, object]) -> pl.DataFrame:
    """Return leverage tiers in ccxt's unified structure as a frame for `Rules.with_tables`.

    Args:
        source: What `fetch_leverage_tiers` returns, each symbol's tiers by symbol, or the path
            of a JSON file that holds it.

    Returns:
        One row per tier: `tier_table` (the symbol, `BTC/USDT:USDT`), `floor`,
        `maintenance_rate`, `initial_rate` (1 / `maxLeverage`), `deduction` (where the venue
        publishes one, else null). Floors are in the venue's own unit, which the ruleset's
        `tier_basis` must be: most venues' are notional, some count contracts or coins.

    Raises:
        RulesError: The file cannot be read, has another structure, lacks a figure, has a gap
            between tiers, or a deduction that its rates contradict. All are in the message,
            each with its symbol and row (from 0).

    Example:
        >>> tier = {"minNotional": 0, "maxNotional": 50_000, "maintenanceMarginRate": 0.004}
        >>> tiers_from_ccxt({"BTC/USDT:USDT": [tier | {"maxLeverage": 125}]}).row(0)
        ('BTC/USDT:USDT', 0.0, 0.004, 0.008, None)
    """
    content = source if isinstance(source, Mapping) else _read(source)
    if not isinstance(content, Mapping):
        raise RulesError(
            f"ccxt: {type(content).__name__} holds no tiers by symbol; give what "
            "fetch_leverage_tiers returns"
        )
    if not content:
        raise RulesError("ccxt: there are no symbols in it")
    told: list[str] = []
    columns: dict[str, list[Any]] = {name: [] for name in _TYPES}
    for symbol, tiers in content.items():
        rows, lines = _table(symbol, tiers)
        told += lines
        for row in rows if not told else ():
            for name, values in columns.items():
                values.append(row[name])
    if len(told) > LINES_SHOWN:
        told[LINES_SHOWN:] = [f"and {len(told) - LINES_SHOWN} more mistakes"]
    if told:
        raise RulesError("\n".join(told))
    return pl.DataFrame(columns, schema=_TYPES)


_TYPES: dict[str, Any] = {
    "tier_table": pl.String,
    "floor": pl.Float64,
    "maintenance_rate": pl.Float64,
    "initial_rate": pl.Float64,
    "deduction": pl.Float64,
}


def _read(source: object) -> object:
    if not isinstance(source, (str, Path)):
        raise RulesError(f"ccxt: {type(source).__name__} is neither a path nor a mapping")
    path = Path(source)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise OSError(f"it may hold {MAX_BYTES // 2**20} MB at most")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RulesError(f"{path}: the tiers cannot be read: {error}") from error
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RulesError(f"{path}: no JSON of tiers: {error}") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} is there twice")
    return content


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no number")


def _table(symbol: object, tiers: object) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of one symbol, and what is wrong with them."""
    if not isinstance(symbol, str) or not symbol or not is_text(symbol):
        return [], [f"ccxt: {shown(symbol)} is no symbol"]
    if isinstance(tiers, (str, bytes)) or not isinstance(tiers, Sequence):
        return [], [f"{symbol}: {type(tiers).__name__} is no list of tiers"]
    if not tiers:
        return [], [f"{symbol}: it has no tiers"]
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    cap: float | None = 0.0
    for number, tier in enumerate(tiers):
        if not isinstance(tier, Mapping):
            told.append(f"{symbol}: row {number}: {type(tier).__name__} is no tier")
            rows.append({})
            cap = None
            continue
        row, lines = _row(symbol, tier, is_last=number == len(tiers) - 1)
        if cap is not None and row["floor"] is not None and row["floor"] != cap:
            end = f"the tier before ends at {cap}"
            before = "the first tier begins at 0" if number == 0 else end
            lines.append(f"minNotional: {row['floor']} is given, but {before}")
        told += [f"{symbol}: row {number}: {line}" for line in lines]
        rows.append(row)
        cap = row["cap"]
    if not told:
        told = [
            f"{symbol}: row {number}: {NAMES.get(column, column)}: {text}"
            for number, column, text in mistakes("tiers", rows)
        ]
    return rows, told


def _row(
    symbol: str, tier: Mapping[Any, object], *, is_last: bool
) -> tuple[dict[str, Any], list[str]]:
    """Return a tier in our columns, with its `cap`, and what is wrong with its figures."""
    told: list[str] = []
    values: dict[str, float | None] = {}
    for name in FIGURES:
        value, fault = _figure(tier, name)
        open_end = name == "maxNotional" and is_last and name in tier and tier[name] is None
        told += [] if fault is None or open_end else [f"{name}: {fault}"]
        values[name] = value
    leverage = values["maxLeverage"]
    if leverage is not None and leverage < 1:
        told.append(f"maxLeverage: {leverage} is below 1")
        leverage = None
    floor, cap = values["minNotional"], values["maxNotional"]
    if floor is not None and cap is not None and cap <= floor:
        told.append(f"maxNotional: {cap} does not lie above {floor}, the tier's minNotional")
    named = tier.get("symbol")
    if named is not None and named != symbol:
        told.append(f"symbol: {shown(named)} is not the one that the tiers stand under")
    deduction, fault = _deduction(tier.get("info"))
    told += [fault] if fault else []
    row = {
        "tier_table": symbol,
        "floor": floor,
        "maintenance_rate": values["maintenanceMarginRate"],
        "initial_rate": None if leverage is None else 1.0 / leverage,
        "deduction": deduction,
        "cap": cap,
    }
    return row, told


def _figure(tier: Mapping[Any, object], name: str) -> tuple[float | None, str | None]:
    """Return a unified figure, which ccxt gives as a number, or what is wrong with it."""
    if name not in tier:
        return None, "this key is missing"
    value = tier[name]
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None, "it is null" if value is None else f"{shown(value)} is no number"
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return None, f"{shown(value)} is not a finite number"
    return number, None


def _deduction(info: object) -> tuple[float | None, str | None]:
    """Return the deduction of the venue's own answer, often text, or what is wrong with it."""
    if info is None:
        return None, None
    if not isinstance(info, Mapping):
        return None, f"info: {type(info).__name__} is no mapping"
    name = next((name for name in DEDUCTIONS if info.get(name) not in (None, "")), None)
    if name is None:
        return None, None
    value = info[name]
    text = str(value)
    if isinstance(value, bool) or not NUMBER.fullmatch(text) or not abs(float(text)) <= 1e18:
        return None, f"info.{name}: {shown(value)} is no number"
    return float(text), None
