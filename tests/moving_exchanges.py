"""Random exchanges that move: bases, stable assets, scenarios and directions on top of `exchanges`.

`moving()` draws an exchange whose contracts have bases and some of whose assets are stable;
`factors_of` and `directions` draw what may move it. Options are made linear contracts unless they
are asked for, since most directions may not meet them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
from hypothesis import strategies as st

import margrave as mg
from exchanges import Exchange, Rows, exchanges
from near_exchanges import near
from reference_breach import Direction, sign_of, slopes
from reference_inputs import OPTIONS
from reference_scenarios import Moves, in_doubles, moved, names_of, resolve, valuation_asset

DYADIC_SHOCKS = (-0.5, -0.25, 0.5, 1.0, 0.0, -0.75, 3.0)
UGLY_SHOCKS = (-0.1, -0.35, 0.07, -0.999, 2.5, 1e-9, -1e-12, 0.0)
DYADIC_BETAS = (1.0, -1.0, 0.5, -0.5, 2.0, 0.0, -0.0625)
UGLY_BETAS = (1.0, -1.0, 0.7, -1.3, 3.0, -0.05, 1e-6, -1e-9, 0.0)


@st.composite
def moving(
    draw: st.DrawFn,
    *,
    dyadic: bool | None = None,
    only: Mapping[str, Any] | None = None,
    options: bool = False,
) -> tuple[Exchange, bool]:
    """Draw an exchange with bases and stable assets, and whether it is free of rounding."""
    if dyadic is None:
        dyadic = draw(st.booleans())
    exchange = draw(exchanges(dyadic=dyadic, only=only))
    names = [str(row["asset_id"]) for row in exchange.assets] + ["SOL", None, None]
    instruments, assets = [], []
    for row in exchange.instruments:
        kind = row["kind"] if options or row["kind"] not in OPTIONS else "linear"
        base = draw(st.sampled_from(names))
        instruments.append({**row, "kind": kind, "base_asset": base})
    for row in exchange.assets:
        assets.append({**row, "is_stable": draw(st.sampled_from([False, False, True]))})
    exchange = replace(exchange, instruments=instruments, assets=assets)
    is_paid = any(row["asset_id"] in ("cash", 99) for row in assets)
    return exchange if is_paid or draw(st.integers(0, 3)) == 0 else draw(near(exchange)), dyadic


def factors_of(exchange: Exchange) -> list[str]:
    """Return every factor of the market, in order."""
    return sorted(names_of(exchange.instruments, exchange.assets))


@st.composite
def scenarios(draw: st.DrawFn, exchange: Exchange, *, dyadic: bool) -> Rows:
    """Draw up to four scenarios; one of them may move nothing."""
    shocks = st.sampled_from(DYADIC_SHOCKS if dyadic else UGLY_SHOCKS)
    if not dyadic:
        shocks |= st.floats(-0.9, 2.0)
    ids: st.SearchStrategy[list[Any]] = st.sampled_from([["a", "b", "c", "d"], [4, 3, 2, 1]])
    names = draw(ids)[: draw(st.integers(0, 4))]
    rows = []
    for name in names:
        for factor in draw(some_factors(exchange)):
            row = {"scenario_id": name, "factor": factor, "price_shock": draw(shocks)}
            rows.append(row)
    return draw(st.permutations(rows))


def some_factors(exchange: Exchange) -> st.SearchStrategy[list[str]]:
    names = st.sampled_from([*factors_of(exchange), "*"])
    return st.lists(names, min_size=1, max_size=4, unique=True)


@st.composite
def betas(draw: st.DrawFn, exchange: Exchange, *, dyadic: bool) -> dict[str, float]:
    """Draw a direction that is a mapping."""
    values = st.sampled_from(DYADIC_BETAS if dyadic else UGLY_BETAS)
    return {factor: draw(values) for factor in draw(some_factors(exchange))}


def directions(
    exchange: Exchange, *, dyadic: bool, adverse: bool = True
) -> st.SearchStrategy[Direction]:
    """Draw a direction of any form."""
    words = ["down", "up", "adverse"] if adverse else ["down", "up"]
    return st.sampled_from(words) | betas(exchange, dyadic=dyadic)


def scenario_frame(rows: Rows) -> pl.DataFrame:
    """Return scenarios as a frame, typed, also where there are none."""
    ids = [row["scenario_id"] for row in rows]
    return pl.DataFrame(
        {
            "scenario_id": pl.Series(ids, dtype=None if ids else pl.String),
            "factor": pl.Series([row["factor"] for row in rows], dtype=pl.String),
            "price_shock": pl.Series([row["price_shock"] for row in rows], dtype=pl.Float64),
        }
    )


def book_of(exchange: Exchange, **options: Any) -> mg.Book:
    """Return the book of an exchange."""
    frames = exchange.frames()
    held = (frames[name] for name in ("positions", "balances", "instruments", "accounts"))
    return mg.Book(*held, **options)


def market_of(exchange: Exchange) -> mg.Market:
    """Return the market of an exchange."""
    frames = exchange.frames()
    return mg.Market(frames["instruments"], frames["assets"])


def rules_of(exchange: Exchange) -> mg.Rules:
    """Return the ruleset of an exchange."""
    return mg.Rules.load(exchange.rules)


def moved_exchange(exchange: Exchange, factors: Mapping[str, float]) -> Exchange:
    """Return the exchange in the market that the factors move it to, prices as doubles."""
    valuation = valuation_asset(exchange.rules)
    moves = resolve(factors, exchange.instruments, exchange.assets, valuation)
    instruments, assets = moved(exchange.instruments, exchange.assets, moves, in_doubles)
    return replace(exchange, instruments=instruments, assets=assets)


def moves_of(exchange: Exchange, direction: Direction) -> Moves:
    """Return what a direction moves, and how fast outwards."""
    valuation = valuation_asset(exchange.rules)
    return slopes(direction, exchange.instruments, exchange.assets, valuation)


def factors_at(direction: Direction, size: float) -> dict[str, float]:
    """Return the scenario that stands `size` out on a direction other than "adverse"."""
    if isinstance(direction, str):
        return {"*": sign_of(direction) * size}
    return {factor: beta * size for factor, beta in direction.items()}
