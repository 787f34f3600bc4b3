"""Scenarios: frames of simultaneous moves, made by hand, from the past, or of known crashes.

A scenario is a set of rows `scenario_id`, `factor`, `price_shock`. A factor is an instrument,
an asset, a base asset of the market, or `*`: all that no other row moves, but not the
valuation asset nor what is stable. Shocks are fractions of the price: -0.2 takes a fifth of it.
`docs/scenarios.md` has the rules of precedence and where the library's figures come from.
"""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from importlib import resources
from numbers import Real

import polars as pl

from margrave.errors import DataError, MargraveError, SchemaError
from margrave.frames import shown
from margrave.history import historical
from margrave.market import Market
from margrave.moves import EVERYTHING, LARGEST
from margrave.schema import ALLOWED

__all__ = ["grid", "historical", "library", "names", "uniform"]

#: The most scenarios that `grid` makes.
MOST_SCENARIOS = 1_000_000


TYPES = {"scenario_id": pl.String, "factor": pl.String, "price_shock": pl.Float64}


def uniform(shocks: Iterable[float]) -> pl.DataFrame:
    """Return one scenario per shock, each moving everything (`*`) by it.

    Args:
        shocks: Fractions above -1; an iterable of numbers.

    Returns:
        `scenario_id` (the shock in percent, such as `-20%`), `factor`, `price_shock`; one row
        per shock, in order.

    Raises:
        DataError: A shock is null, not finite, or -1 or below.
        SchemaError: A shock occurs twice.
        MargraveError: `shocks` is no iterable of numbers.

    Example:
        >>> uniform([-0.2, 0.05]).rows()
        [('-20%', '*', -0.2), ('+5%', '*', 0.05)]
    """
    return _combined([EVERYTHING], _shocks(shocks), named=False)


def grid(factors: Iterable[str | int], shocks: Iterable[float]) -> pl.DataFrame:
    """Return a scenario for every combination of a shock for each factor.

    Args:
        factors: Names of instruments, assets or base assets, or `*`.
        shocks: Fractions above -1, the same for each factor; with `n` of them and `k`
            factors there are `n ** k` scenarios, at most 1,000,000.

    Returns:
        `scenario_id` (such as `BTC -20%, ETH +10%`), `factor`, `price_shock`; one row per
        scenario and factor, the last factor's shock changing first.

    Raises:
        DataError: A shock is null, not finite, or -1 or below.
        SchemaError: A shock or a factor occurs twice.
        MargraveError: There are too many combinations, or an argument is no iterable of
            names or numbers.

    Example:
        Two shocks for two factors are four scenarios:

        >>> moves = grid(["BTC", "ETH"], [-0.2, 0.1])
        >>> moves["scenario_id"].unique(maintain_order=True).to_list()
        ['BTC -20%, ETH -20%', 'BTC -20%, ETH +10%', 'BTC +10%, ETH -20%', 'BTC +10%, ETH +10%']
    """
    return _combined(_factors(factors), _shocks(shocks), named=True)


def names() -> list[str]:
    """Return the names of the events that `library` knows, the earliest first.

    Example:
        >>> names()[0], names()[-1]
        ('2020-03-12', '2025-10-10')
    """
    return list(_events())


def library(name: str, market: Market) -> pl.DataFrame:
    """Return one scenario: what prices did in a known crash, for the coins of a market.

    Each coin of the event that the market has as an asset, base asset or instrument moves by
    its own lowest price in the event's window over its price at the start, less 1; all else
    by the median of the event's coins, as `*`. Both are of spot prices in USDT of one venue. In
    `2023-03 USDC depeg` USDC itself falls, in `2022-05 LUNA` UST.

    Args:
        name: One of `names()`; capitals, and a hyphen or underscore in place of a space, make
            no difference.
        market: Whose coins are moved.

    Returns:
        `scenario_id` (the name), `factor`, `price_shock`; `*` first, then the coins by name.

    Raises:
        MargraveError: There is no such event; the message lists those there are.

    Example:
        A contract on LUNA, settled in an asset that the event does not know:

        >>> contract = {"instrument_id": "LUNA-PERP", "kind": "linear", "settle_asset": "USD"}
        >>> instruments = pl.DataFrame([contract | {"mark_price": 64.0, "base_asset": "LUNA"}])
        >>> market = Market(instruments, pl.DataFrame({"asset_id": ["USD"], "price": [1.0]}))
        >>> library("2022-05 LUNA", market).rows()
        [('2022-05 LUNA', '*', -0.527883), ('2022-05 LUNA', 'LUNA', -0.999996)]
    """
    if not isinstance(market, Market):
        raise MargraveError(f"market: {type(market).__name__} is no Market")
    known = {_plain(event): event for event in _events()}
    event = known.get(_plain(name)) if isinstance(name, str) else None
    if event is None:
        near = get_close_matches(_plain(str(name)), known, n=2, cutoff=0.5)
        meant = f"; did you mean {' or '.join(repr(known[key]) for key in near)}?" if near else ""
        raise MargraveError(
            f"name: no library scenario {shown(name)}{meant} (there are {', '.join(names())})"
        )
    shocks = _events()[event]
    coins = sorted(market.factors & shocks.keys() - {EVERYTHING})
    rows = [(event, factor, shocks[factor]) for factor in (EVERYTHING, *coins)]
    return pl.DataFrame(rows, schema=TYPES, orient="row")


@cache
def _events() -> dict[str, dict[str, float]]:
    """Return the shocks of every event by its name."""
    events = {}
    files = resources.files("margrave").joinpath("library").iterdir()
    for file in sorted(files, key=lambda file: file.name):
        if file.name.endswith(".toml"):
            content = tomllib.loads(file.read_text(encoding="utf-8"))
            events[str(content["name"])] = dict(content["shocks"])
    return events


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.strip().lower())


def _combined(factors: list[str], shocks: list[float], *, named: bool) -> pl.DataFrame:
    """Return the scenarios of every combination; their ids name the factors where asked to."""
    count = len(shocks) ** len(factors) if factors else 0
    if count > MOST_SCENARIOS:
        raise MargraveError(
            f"shocks: {len(shocks)} shocks for each of {len(factors)} factors are {count:,} "
            f"scenarios; at most {MOST_SCENARIOS:,} are made, so give fewer"
        )
    labels = {shock: _percent(shock) for shock in shocks}
    combinations = list(itertools.product(shocks, repeat=len(factors))) if factors else []
    ids = [
        ", ".join(
            f"{factor} {labels[shock]}" if named else labels[shock]
            for factor, shock in zip(factors, combination, strict=True)
        )
        for combination in combinations
    ]
    return pl.DataFrame(
        {
            "scenario_id": [one for one in ids for _ in factors],
            "factor": factors * len(combinations),
            "price_shock": list(itertools.chain.from_iterable(combinations)),
        },
        schema=TYPES,
    )


def _percent(shock: float) -> str:
    """Return a shock in percent with its sign, exactly: different numbers differ.

    Example:
        >>> _percent(-0.07), _percent(0.0)
        ('-7%', '0%')
    """
    scaled = Decimal(repr(shock)).scaleb(2).normalize()
    if not scaled:
        return "0%"
    return f"{scaled:+f}%" if -12 <= scaled.adjusted() <= 20 else f"{scaled:+}%"


def _shocks(given: Iterable[float]) -> list[float]:
    """Return shocks as floats that a scenario can have, each of them once."""
    shocks = [
        _shock(place, value) for place, value in enumerate(_items("shocks", given, "numbers"))
    ]
    _require_unique("shocks", shocks)
    return shocks


def _shock(place: int, value: object) -> float:
    is_number = isinstance(value, (Real, Decimal)) and not isinstance(value, bool)
    if value is not None and not is_number:
        raise MargraveError(
            f"shocks: number {place} is {shown(value)}; give fractions such as -0.2"
        )
    try:
        shock = math.nan if value is None else float(value)  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        shock = math.inf
    if not -1.0 < shock <= LARGEST:
        what = "null" if value is None else shown(value)
        raise DataError(f"shocks: number {place} is {what}; allowed is {ALLOWED['shock']}")
    return shock + 0.0  # -0.0 is 0.0


def _factors(given: Iterable[str | int]) -> list[str]:
    """Return factors as text, each of them once."""
    items = _items("factors", given, "names")
    for place, value in enumerate(items):
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise MargraveError(f"factors: number {place} is {shown(value)}; give names of factors")
    factors = [str(value) for value in items]
    _require_unique("factors", factors)
    return factors


def _items(name: str, given: object, what: str) -> list[object]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise MargraveError(f"{name}: {shown(given)} given; give a list of {what}")
    return list(given)


def _require_unique(name: str, values: Sequence[float | str]) -> None:
    seen: set[float | str] = set()
    for value in values:
        if value in seen:
            raise SchemaError(f"{name}: {shown(value)} occurs more than once; give each once")
        seen.add(value)
