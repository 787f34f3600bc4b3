"""The oracle's scenarios: which price a factor moves, and what a stress says of them.

`resolve` finds the shock of every mark, underlying and asset price, the most specific factor first;
`moved` gives the rows of a moved market; `stress` sweeps each of them. Numbers in brackets name the
section of the contract that a line comes from. A moved price is the product in fractions
(`exactly`) or the double that an engine multiplies with (`in_doubles`).

>>> resolve({"BTC": -0.5, "*": 0.25}, instruments, assets, "USD").marks
{'BTC-PERP': -0.5, 'ETH-PERP': 0.25}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reference import sweep
from reference_inputs import DEFAULTS, OPTIONS, ZERO, Row

#: The price that a price becomes by a relative shock.
Multiply = Callable[[Any, Any], Any]

ALL = "*"


@dataclass(frozen=True)
class Moves:
    """The relative shock of each price that a factor reaches; all other prices stand still."""

    marks: dict[Any, Any]
    underlyings: dict[Any, Any]  # of options
    assets: dict[Any, Any]


def exactly(price: Any, shock: Any) -> Fraction:
    """Return the moved price as the fraction it is."""
    return Fraction(price) * (1 + Fraction(shock))


def in_doubles(price: float, shock: float) -> float:
    """Return the moved price as a double: two roundings."""
    return price * (1.0 + shock)


def valuation_asset(rules: Mapping[str, Any]) -> str:
    """Return the asset that prices are in, as text."""
    given = rules.get("buckets", {}).get("valuation_asset")
    return str(DEFAULTS["buckets"]["valuation_asset"] if given is None else given)


def names_of(instruments: Sequence[Row], assets: Sequence[Row]) -> set[str]:
    """Return every factor that names something in the market. [3]"""
    bases = {str(r["base_asset"]) for r in instruments if r.get("base_asset") is not None}
    ids = {str(r["instrument_id"]) for r in instruments} | {str(r["asset_id"]) for r in assets}
    return {ALL} | bases | ids


def standing(assets: Sequence[Row], valuation: str) -> set[str]:
    """Return what `*` leaves alone: the valuation asset and the stable ones. [3]"""
    return {valuation} | {str(row["asset_id"]) for row in assets if row.get("is_stable")}


def resolve(
    factors: Mapping[str, Any],
    instruments: Sequence[Row],
    assets: Sequence[Row],
    valuation: str,
) -> Moves:
    """Return what the factors move: a row's own, else that of its base, else `*`. [DETAILS 3]

    An option's own row moves its mark, that of its base (or `*`) its underlying price alone. An
    instrument and an asset of one name both move by it.
    """
    unknown = set(factors) - names_of(instruments, assets)
    if unknown:
        raise ValueError(f"factors that name nothing: {sorted(unknown)}")
    still, out = standing(assets, valuation), Moves({}, {}, {})
    for row in instruments:
        own, base = str(row["instrument_id"]), row.get("base_asset")
        inherited = None if base is None else factors.get(str(base))
        if inherited is None and (base is None or str(base) not in still):
            inherited = factors.get(ALL)
        named = factors.get(own)
        if row["kind"] in OPTIONS:
            _note(out.marks, row["instrument_id"], named)
            _note(out.underlyings, row["instrument_id"], inherited)
        else:
            _note(out.marks, row["instrument_id"], inherited if named is None else named)
    for row in assets:
        named = factors.get(str(row["asset_id"]))
        if named is None and str(row["asset_id"]) not in still:
            named = factors.get(ALL)
        _note(out.assets, row["asset_id"], named)
    return out


def _note(shocks: dict[Any, Any], name: Any, shock: Any) -> None:
    if shock is not None:
        shocks[name] = shock


def unpriced(positions: Sequence[Row], moves: Moves) -> set[Any]:
    """Return the options held whose base moves while no factor names them. [DETAILS 3]

    They are not repriced, so such a scenario is refused.
    """
    held = {row["instrument_id"] for row in positions}
    return {option for option in moves.underlyings if option in held and option not in moves.marks}


def moved(
    instruments: Sequence[Row], assets: Sequence[Row], moves: Moves, times: Multiply = exactly
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of both frames with every reached price moved once. [DETAILS 3]"""
    new_instruments, new_assets = [], []
    for row in instruments:
        new, name = dict(row), row["instrument_id"]
        if name in moves.marks:
            new["mark_price"] = times(row["mark_price"], moves.marks[name])
        if name in moves.underlyings and row.get("underlying_price") is not None:
            new["underlying_price"] = times(row["underlying_price"], moves.underlyings[name])
        new_instruments.append(new)
    for row in assets:
        shock = moves.assets.get(row["asset_id"])
        price = row["price"] if shock is None else times(row["price"], shock)
        new_assets.append({**row, "price": price})
    return new_instruments, new_assets


def grouped(scenarios: Sequence[Row]) -> dict[Any, dict[str, Any]]:
    """Return the factors of each scenario, by first appearance; a factor twice is refused."""
    out: dict[Any, dict[str, Any]] = {}
    for row in scenarios:
        factors, factor = out.setdefault(row["scenario_id"], {}), str(row["factor"])
        if factor in factors:
            raise ValueError(f"{row['scenario_id']!r} has {factor} twice")
        if not row["price_shock"] > -1:
            raise ValueError(f"a shock of {row['price_shock']!r}")
        factors[factor] = row["price_shock"]
    return out


def stress(
    positions: Sequence[Row],
    balances: Sequence[Row],
    accounts: Sequence[Row] | None,
    instruments: Sequence[Row],
    assets: Sequence[Row],
    rules: Mapping[str, Any],
    scenarios: Sequence[Row],
    times: Multiply = exactly,
) -> dict[str, list[dict[str, Any]]]:
    """Return `scenarios`, `accounts` and `matrix` of a stress, lists of dicts. [DETAILS 6]

    The oracle has no rejected input, so no account of it is `indeterminate`.
    """
    base = sweep(positions, balances, accounts, instruments, assets, rules)
    nights = {}
    for name, factors in grouped(scenarios).items():
        moves = resolve(factors, instruments, assets, valuation_asset(rules))
        if lacking := unpriced(positions, moves):
            raise ValueError(f"{name!r} moves the base of {lacking}")
        world = moved(instruments, assets, moves, times)
        nights[name] = sweep(positions, balances, accounts, *world, rules)
    return {
        "scenarios": [scenario_row(name, night, base) for name, night in nights.items()],
        "accounts": worst_rows({name: night["accounts"] for name, night in nights.items()}),
        "matrix": [
            {"scenario_id": name, **{column: row[column] for column in MATRIX}}
            for name, night in nights.items()
            for row in night["accounts"]
        ],
    }


#: The columns of `matrix` after `scenario_id`. [DETAILS 6]
MATRIX = (
    "account_id",
    "status",
    "is_liquidatable",
    "equity",
    "margin_balance",
    "maintenance_margin",
    "margin_buffer",
    "bad_debt",
)


def scenario_row(name: Any, night: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of one scenario, given its sweep and that of the market as given."""
    totals = night["totals"]
    pairs = list(zip(night["accounts"], base["accounts"], strict=True))
    new = [now for now, was in pairs if now["is_liquidatable"] and not was["is_liquidatable"]]
    return {
        "scenario_id": name,
        "accounts": totals["accounts"],
        "liquidatable_accounts": totals["liquidatable_accounts"],
        "newly_liquidatable_accounts": len(new),
        "bankrupt_accounts": totals["bankrupt_accounts"],
        "liquidatable_notional": totals["liquidatable_notional"],
        "total_bad_debt": totals["total_bad_debt"],
        "total_margin_deficit": totals["total_margin_deficit"],
    }


def worst_rows(nights: Mapping[Any, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return each account's worst scenario: of the lowest buffer, the first if equal.

    `nights` holds the rows of `accounts` of each scenario; without scenarios there are none. An
    account that is `indeterminate` has its id and status alone.
    """
    out = []
    for rows in zip(*nights.values(), strict=True):
        first: dict[str, Any] = dict.fromkeys(WORST)
        first |= {name: rows[0][name] for name in ("account_id", "status")}
        if first["status"] != "indeterminate":
            buffers = [row["margin_buffer"] for row in rows]
            place = buffers.index(min(buffers))
            worst = rows[place]
            first |= {name: worst[name] for name in ("margin_buffer", "status", "bad_debt")}
            first["worst_scenario"] = list(nights)[place]
            first["scenarios_liquidatable"] = sum(bool(row["is_liquidatable"]) for row in rows)
        out.append(first)
    return out


#: The columns of `accounts` of a stress. [DETAILS 6]
WORST = (
    "account_id",
    "worst_scenario",
    "margin_buffer",
    "status",
    "bad_debt",
    "scenarios_liquidatable",
)


def largest_groups(
    nights: Mapping[Any, Sequence[Mapping[str, Any]]], owners: Mapping[Any, Any], count: int
) -> dict[Any, Fraction]:
    """Return for each scenario the bad debt of its `count` largest groups of accounts together.

    A group is the accounts of one `owner_id`, an account without one a group of its own.
    """
    out = {}
    for name, rows in nights.items():
        groups: dict[Any, Fraction] = {}
        for row in rows:
            owner = owners.get(row["account_id"])
            group = ("account", row["account_id"]) if owner is None else ("owner", owner)
            groups[group] = groups.get(group, ZERO) + Fraction(row["bad_debt"] or 0)
        out[name] = sum(sorted(groups.values(), reverse=True)[:count], ZERO)
    return out
