"""The price scenarios of the work `w2`, and what each makes of every price.

`draw(exchange)` returns the frame that `Book.stress` takes: 50 uniform moves, then 50 in which each
coin follows the market by a beta of its own, the last five with a depeg of the stable assets.
`moved(exchange, scenarios)` returns the same as prices, for peers that know no factors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exchange import Exchange

SEED = 8
UNIFORM, DRAWN, DEPEGS = 50, 50, 5

Floats = npt.NDArray[np.float64]


def draw(exchange: Exchange) -> pl.DataFrame:
    """Return `scenario_id`, `factor`, `price_shock`.

    A uniform move is one of `*` by 1 to 50 %, up or down. In the others a `base_asset` moves by
    `beta m + own`: beta from U(0.6, 1.5), once for each; `m` from N(0, 0.15), once for each
    scenario; `own` from N(0, 0.06). A coin that is collateral moves with its instruments. In the
    last five, stable assets fall by up to 15 % besides, the valuation asset's price too.
    """
    stream = np.random.Generator(np.random.PCG64(SEED))
    sizes = np.linspace(0.01, 0.50, UNIFORM // 2)
    rows = [(f"uniform {shock:+.4f}", "*", shock) for size in sizes for shock in (-size, size)]
    bases = exchange.instruments["base_asset"].unique(maintain_order=True).to_list()
    stable = exchange.assets.filter("is_stable")["asset_id"].cast(pl.String).to_list()
    betas = stream.uniform(0.6, 1.5, len(bases))
    for number in range(DRAWN):
        name = f"drawn {number:02}"
        shocks = betas * stream.normal(0, 0.15) + stream.normal(0, 0.06, len(bases))
        rows += [(name, base, max(s, -0.9)) for base, s in zip(bases, shocks.tolist(), strict=True)]
        if number >= DRAWN - DEPEGS:
            rows += [(name, asset, -stream.uniform(0.01, 0.15)) for asset in stable]
    return pl.DataFrame(rows, schema=["scenario_id", "factor", "price_shock"], orient="row")


def names(scenarios: pl.DataFrame) -> pl.Series:
    """Return the ids in order of appearance."""
    return scenarios["scenario_id"].unique(maintain_order=True)


def moved(exchange: Exchange, scenarios: pl.DataFrame) -> tuple[Floats, Floats]:
    """Return marks by code of instrument and scenario, and prices by code of asset and scenario.

    The most specific factor wins: an instrument's or asset's own name, then its base asset's, then
    `*`, which leaves stable assets (the valuation asset is one) alone.
    """
    instruments, assets = exchange.instruments, exchange.assets
    stable = set(assets.filter("is_stable")["asset_id"].cast(pl.String))
    held = [
        instruments["instrument_id"].cast(pl.String).to_list(),
        instruments["base_asset"].to_list(),
    ]
    owned = assets["asset_id"].cast(pl.String).to_list()
    factors = scenarios.partition_by("scenario_id", maintain_order=True)
    shocks = [dict(zip(f["factor"], f["price_shock"], strict=True)) for f in factors]

    def of(shock: dict[str, float], *known: str) -> float:
        named = [shock[name] for name in known if name in shock]
        every = 0.0 if known[-1] in stable else shock.get("*", 0.0)
        return 1.0 + (named[0] if named else every)

    moves = np.array([[of(shock, *known) for shock in shocks] for known in zip(*held, strict=True)])
    falls = np.array([[of(shock, name) for shock in shocks] for name in owned])
    marks = instruments["mark_price"].to_numpy()[:, None] * moves
    prices = assets["price"].to_numpy()[:, None] * falls
    return (
        marks.take(_order(instruments, "instrument_id", exchange.positions), axis=0),
        prices.take(_order(assets, "asset_id", exchange.balances), axis=0),
    )


def _order(frame: pl.DataFrame, key: str, rows: pl.DataFrame) -> npt.NDArray[Any]:
    """Return the row of each code that `rows` has."""
    ids = rows.schema[key]
    assert isinstance(ids, pl.Enum)
    place = {name: row for row, name in enumerate(frame[key].cast(pl.String))}
    return np.array([place[name] for name in ids.categories])
