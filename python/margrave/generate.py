"""A synthetic exchange to try things on: book, market and rules of any size from one seed.

`generate` returns an `Exchange`, whose frames go straight into `Book` and `Market`. It is
shaped like a real venue: few accounts hold most positions, few instruments are in most of
them, and a few accounts in a hundred no longer cover what they must hold.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import SupportsIndex

import polars as pl

from margrave import engine
from margrave.errors import MargraveError
from margrave.rules import Rules
from margrave.schema import MARGIN_MODE

__all__ = ["Exchange", "generate"]

#: A million accounts take a third of a gigabyte.
MOST_ACCOUNTS = 100_000_000


@dataclass(frozen=True, eq=False, repr=False)
class Exchange:
    """What `generate` returns: the input of a sweep, its frames in the columns of the contract.

    Money is in USDT, the valuation asset of `rules`.

    Attributes:
        positions: Five rows an account on average, in random order. Three in a hundred are
            isolated, eight have a chosen leverage, two have open orders.
        balances: One to four rows an account, in random order. Two in a hundred are debts.
        instruments: 320 linear and 80 inverse contracts, the most held first.
        assets: Two stable assets and 18 coins, the most held first.
        rules: Marginal tiers for each instrument, weights in two slices for each asset.
    """

    positions: pl.DataFrame
    balances: pl.DataFrame
    instruments: pl.DataFrame
    assets: pl.DataFrame
    rules: Rules

    def __repr__(self) -> str:
        accounts = self.balances["account_id"].n_unique()
        return (
            f"Exchange({accounts:,} accounts, {self.positions.height:,} positions, "
            f"{self.balances.height:,} balances, {self.instruments.height:,} instruments, "
            f"{self.assets.height:,} assets, ruleset {self.rules.id!r})"
        )


def generate(accounts: int = 1_000_000, seed: int = 7) -> Exchange:
    """Return a synthetic exchange, the same one for the same arguments on any machine.

    The seed alone decides market and rules, so that exchanges of different sizes have them
    in common. About 10 % of the accounts are flat, 80 % healthy, 7 % below their initial
    margin, 1 % in liquidation and 2 % bankrupt.

    Args:
        accounts: How many accounts, from 1 to 100,000,000. Each has a balance at least.
        seed: Which exchange, from 0 to 2**64 - 1.

    Returns:
        An `Exchange` with `positions`, `balances`, `instruments`, `assets` and `rules`.

    Raises:
        MargraveError: An argument is no whole number, or out of range.

    Example:
        >>> night = generate(1_000)
        >>> night.positions.height
        5000
    """
    accounts = _whole("accounts", accounts, 1, MOST_ACCOUNTS)
    seed = _whole("seed", seed, 0, 2**64 - 1)
    columns = engine.synthetic(accounts, seed)
    instrument_ids = _enum(columns["instruments"]["instrument_id"])
    asset_ids = _enum(columns["assets"]["asset_id"])
    return Exchange(
        positions=_positions(columns["positions"], instrument_ids),
        balances=columns["balances"].select(
            "account_id", pl.lit(asset_ids).gather("asset").alias("asset_id"), "amount"
        ),
        instruments=_instruments(columns["instruments"], instrument_ids, asset_ids),
        assets=columns["assets"].select(asset_ids, "price", "is_stable"),
        rules=_rules(columns),
    )


def _enum(ids: pl.Series) -> pl.Series:
    """Return the ids as an Enum of themselves; a code picks its id from them by position."""
    return ids.cast(pl.Enum(ids))


def _whole(name: str, value: SupportsIndex, least: int, most: int) -> int:
    """Return the argument as an int, or raise an error that names it."""
    if not isinstance(value, bool):
        try:
            number = operator.index(value)
        except TypeError:
            pass
        else:
            if least <= number <= most:
                return number
    raise MargraveError(f"{name}: {value!r} given; give a whole number from {least:,} to {most:,}")


def _positions(columns: pl.DataFrame, instrument_ids: pl.Series) -> pl.DataFrame:
    """Return the positions frame: null where a row has no isolated margin or no leverage."""
    isolated = pl.col("isolated")
    leverage = pl.col("leverage")
    cross_word, isolated_word = (pl.lit(word, dtype=pl.Enum(MARGIN_MODE)) for word in MARGIN_MODE)
    return columns.select(
        "account_id",
        pl.lit(instrument_ids).gather("instrument").alias("instrument_id"),
        "quantity",
        "entry_price",
        pl.when(isolated).then(isolated_word).otherwise(cross_word).alias("margin_mode"),
        pl.when(isolated).then("isolated_margin").alias("isolated_margin"),
        pl.when(leverage > 0).then(leverage).alias("leverage"),
        "open_buy_quantity",
        "open_sell_quantity",
    )


def _instruments(
    columns: pl.DataFrame, instrument_ids: pl.Series, asset_ids: pl.Series
) -> pl.DataFrame:
    """Return the instruments frame; each instrument has a tier table of its own name."""
    return columns.select(
        instrument_ids,
        pl.when("inverse").then(pl.lit("inverse")).otherwise(pl.lit("linear")).alias("kind"),
        pl.lit(asset_ids.cast(pl.String)).gather("settle_asset").alias("settle_asset"),
        "mark_price",
        "contract_size",
        "base_asset",
    )


def _rules(columns: Mapping[str, pl.DataFrame]) -> Rules:
    """Return the ruleset of the exchange, with the tables drawn for it."""
    rules = Rules.load(
        {
            "id": "synthetic",
            "title": "The synthetic exchange",
            "source": "margrave.generate",
            "buckets": {"valuation_asset": "USDT"},
            "requirement": {"initial": "larger"},
        }
    )
    return rules.with_tables(tiers=columns["tiers"], weights=columns["weights"])
