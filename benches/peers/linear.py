"""A prepared book as one sparse matrix, for peers that stress it: sums of amounts by what each is
worth, and what large holdings require beyond that.

`prepare(exchange)` returns a `Linear`. A *thing* is an instrument, an asset, or the number one, in
this order of codes; a holding is so many of a thing. Rows of one account and instrument are netted;
balances stand with the entry sums that are paid in their asset. Terms, tables and weights are
folded into the coefficients: this book is one ruleset's. Then, in a scenario,

    buffer = sum(buffer_i worth) - sum(extra(size_i)),    equity = sum(equity_i worth)

and `extra(x) = scale max(0, max_k(rate_k x value - deduction_k))`: the brackets above the first,
and the slices of collateral above the first, tables being marginal and rates rising.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exchange import Exchange
from peers.csr import build
from peers.net import Net, net, weights_of
from peers.terms import Terms, read_terms

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

LINE = 8
"""Numbers in a line of the cache."""


@dataclass(frozen=True)
class Linear:
    """Holdings of account `i` are `offsets[i]` to `offsets[i + 1]`.

    `size` is what brackets are cut by: contracts, or an amount that is owned; 0 where nothing is.
    By thing and bracket, the first of all left out: `floors`, the size times value at which it
    begins, infinite where there is none; `rates` and `deductions` of the module's `extra`. `scale`
    is the thing whose worth they are in. `unit` turns a mark (one over it if inverse) into the
    notional of a contract.
    """

    ids: pl.Series
    offsets: Array
    code: Array
    buffer: Floats
    equity: Floats
    size: Floats
    floors: Floats
    rates: Floats
    deductions: Floats
    scale: Array
    unit: Floats
    inverse: Array

    @property
    def accounts(self) -> int:
        """The number of accounts."""
        return len(self.ids)

    @property
    def steps(self) -> Floats:
        """How much each bracket's rate is above that of the one before."""
        return np.diff(self.rates, axis=1, prepend=0.0)


@dataclass(frozen=True)
class Moved:
    """Things by scenario. Rows are as long as an odd number of cache lines, and filled up with
    the last scenario: a row of a power of two would share its place in the cache with others.

    `worth` is in the valuation asset. `least` and `most` are those of the notional of a contract in
    its settle asset, or of the price of an asset, over all scenarios.
    """

    scenarios: int
    worth: Floats
    least: Floats
    most: Floats


def prepare(exchange: Exchange) -> Linear:
    """Return the book of these frames under the exchange's rules."""
    terms = read_terms(exchange)
    return fold(net(build(exchange), terms), exchange, terms)


def fold(book: Net, exchange: Exchange, terms: Terms, requirement: str = "maintenance") -> Linear:
    """Return a netted book with rules folded in; `requirement` says which buffer."""
    weights, settle = weights_of(exchange), _settle(exchange)
    # Price and both borrow rates aside: weights of both slices and of debt, and what debt requires.
    chosen = {"maintenance": [2, 3, 6, 7], "initial": [4, 5, 6, 8]}[requirement]
    price, second = weights[:, 0], weights[:, 1]
    counted = weights[:, chosen]
    contracts, assets, most = len(settle), len(price), terms.brackets - 1
    paid_in = terms.numbers("settle_price")
    unit = terms.numbers("unit") / paid_in
    inverse = terms.instruments["inverse"].to_numpy()
    rates = terms.rates[requirement]
    rows = _holdings(book, counted, rates[:, 0], (settle, unit, inverse))
    offsets = np.cumsum(np.bincount(rows["account"], minlength=len(book.ids)))
    # Rows: instruments, assets, and the number one, which has no second bracket.
    last = contracts + assets
    floors = np.full((last + 1, most), np.inf)
    above, deductions = np.zeros((last + 1, most)), np.zeros((last + 1, most))
    known = np.isfinite(terms.floors[:, 1:])
    floors[:contracts] = terms.floors[:, 1:] / paid_in[:, None]
    above[:contracts] = np.where(known, rates[:, 1:] - rates[:, :1], 0.0)
    deductions[:contracts] = terms.deductions[requirement][:, 1:] / paid_in[:, None]
    floors[contracts:last, 0] = second
    sliced = np.flatnonzero(np.isfinite(second))
    above[contracts + sliced, 0] = (counted[:, 0] - counted[:, 1])[sliced]
    deductions[contracts + sliced, 0] = second[sliced] * above[contracts + sliced, 0]
    return Linear(
        book.ids,
        np.concatenate(([0], offsets)),
        rows["code"].to_numpy().astype(np.int32),
        rows["buffer"].to_numpy(),
        rows["equity"].to_numpy(),
        rows["size"].to_numpy(),
        floors,
        above,
        deductions,
        np.concatenate([contracts + settle, np.full(assets + 1, last)]),
        unit,
        inverse,
    )


def _settle(exchange: Exchange) -> Array:
    """Return the code of each instrument's settle asset, by code of instrument."""
    owned, held = exchange.balances.schema["asset_id"], exchange.positions.schema["instrument_id"]
    assert isinstance(owned, pl.Enum)
    assert isinstance(held, pl.Enum)
    assets = {name: code for code, name in enumerate(owned.categories)}
    frame = exchange.instruments
    paid = dict(zip(frame["instrument_id"].cast(pl.String), frame["settle_asset"], strict=True))
    return np.array([assets[paid[name]] for name in held.categories])


def _holdings(
    book: Net, counted: Array, first: Floats, contracts: tuple[Array, Array, Array]
) -> pl.DataFrame:
    """Return account, code, buffer, equity and size of each holding, accounts in order."""
    settle, unit, inverse = contracts
    account, owner = (
        np.repeat(np.arange(len(book.ids), dtype=np.uint32), np.diff(offsets))
        for offsets in (book.offsets, book.cash_offsets)
    )
    code, asset, amount = book.code, book.asset, book.amount
    sign = np.where(inverse, -1.0, 1.0)
    equity = book.quantity * sign.take(code)
    size = np.abs(book.quantity)
    held = pl.LazyFrame(
        {
            "account": account,
            "code": code.astype(np.uint16),
            "buffer": equity - size * first.take(code),
            "equity": equity,
            "size": size,
        }
    )
    # What was paid for the contracts stands in their settle asset, at full weight.
    paid = book.entry_sum * (-sign * unit).take(code)
    weight, _, liability, borrow = counted.T
    counts = np.where(amount < 0.0, (liability + borrow).take(asset), weight.take(asset))
    cash = pl.LazyFrame(
        {
            "account": np.concatenate([owner, account]),
            "code": len(unit) + np.concatenate([asset, settle.take(code)]).astype(np.uint16),
            "buffer": np.concatenate([amount * counts, paid]),
            "equity": np.concatenate([amount, paid]),
            "size": np.concatenate([np.maximum(amount, 0.0), np.zeros(len(paid))]),
        }
    )
    cash = cash.group_by("account", "code").agg(pl.col("buffer", "equity", "size").sum())
    return pl.concat([held, cash]).sort("account", "code").collect(engine="streaming")


def move(book: Linear, marks: Floats, prices: Floats) -> Moved:
    """Return what things are worth, by scenario; `marks` and `prices` are those of `scenarios`."""
    scenarios = prices.shape[1]
    lines = -(-scenarios // LINE)
    width = LINE * (lines + 1 - lines % 2)
    filled = np.minimum(np.arange(width), scenarios - 1)
    things = len(marks) + len(prices) + 1
    value = np.ones((things, width))
    value[: len(marks)] = marks[:, filled]
    inverse = np.flatnonzero(book.inverse)
    value[inverse] = 1.0 / value[inverse]
    value[: len(marks)] *= book.unit[:, None]
    value[len(marks) : -1] = prices[:, filled]
    worth = value * value.take(book.scale, axis=0)
    return Moved(scenarios, worth, value.min(axis=1), value.max(axis=1))


@dataclass(frozen=True)
class Hinges:
    """What large holdings require beyond the first bracket, in some scenarios:

        max(0, slope worth[code] - start worth[scale])

    A holding has one for the bracket that it never leaves downwards, and one for each that it may
    rise to. `row` is the holding; rows are in order.
    """

    row: Array
    code: Array
    slope: Floats
    scale: Array
    start: Floats


def hinges(book: Linear, moved: Moved) -> Hinges:
    """Return the hinges of all holdings that these scenarios lead beyond the first bracket."""
    bound = (book.floors[:, 0] / moved.most).take(book.code)
    large = np.flatnonzero(book.size >= bound)
    code, size = book.code.take(large), book.size.take(large)
    floors = book.floors.take(code, axis=0)
    low = (floors <= (size * moved.least.take(code))[:, None]).sum(axis=1) - 1
    high = (floors <= (size * moved.most.take(code))[:, None]).sum(axis=1) - 1
    base = np.flatnonzero(low >= 0)
    owner, bracket = [base], [low[base]]
    for step in range(1, int((high - low).max(initial=0)) + 1):
        rises = np.flatnonzero(low + step <= high)
        owner.append(rises)
        bracket.append(low[rises] + step)
    of, at = np.concatenate(owner), np.concatenate(bracket)
    is_step = np.arange(len(of)) >= len(base)
    order = np.argsort(of, kind="stable")
    of, at, is_step = of[order], at[order], is_step[order]
    thing = code[of]
    slope = np.where(is_step, book.steps[thing, at], book.rates[thing, at])
    start = np.where(is_step, slope * book.floors[thing, at], book.deductions[thing, at])
    return Hinges(large[of], thing, slope * size[of], book.scale.take(thing), start)
