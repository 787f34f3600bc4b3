"""The thin answer by pandas: terms mapped by code, then one `groupby`. Its frames are pandas'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl

from exchange import Exchange
from peers.task import BOOK, SUMS, THIN, Task
from peers.terms import RATES, read_terms


def frames(exchange: Exchange) -> Task:
    """Return the work `w1`."""
    positions, balances = _pandas(exchange)
    return Task(lambda: sweep(exchange, positions, balances), _polars)


def book(exchange: Exchange) -> Task:
    """Return the works `w3` and `w3s`: both frames sorted by a dense number of the account."""
    positions, balances = _pandas(exchange)

    def call() -> tuple[Any, pd.DataFrame, pd.DataFrame]:
        ids = pd.concat([positions["account_id"], balances["account_id"]], ignore_index=True)
        numbers, known = pd.factorize(ids)
        parts = []
        for frame, number in zip(
            (positions, balances), np.split(numbers, [len(positions)]), strict=True
        ):
            order = np.argsort(number, kind="stable")
            parts.append(frame.drop(columns="account_id").assign(number=number).iloc[order])
        return known, parts[0], parts[1]

    return Task(call, lambda built: _summary(*built))


def sweep(exchange: Exchange, positions: pd.DataFrame, balances: pd.DataFrame) -> pd.DataFrame:
    """Return the thin answer, its index the account id."""
    terms = read_terms(exchange)
    code = positions["instrument_id"].cat.codes.to_numpy()
    quantity, entry = (positions[name].to_numpy() for name in ("quantity", "entry_price"))
    a, b, c = (terms.numbers(name).take(code) for name in "abc")
    notional = np.abs(quantity * b)
    rows = {"equity": (a * entry + b + c / entry) * quantity, "notional": notional}
    above = np.flatnonzero(notional >= terms.numbers("second_floor").take(code))
    for name in RATES:
        rows[name] = notional * terms.rates[name][:, 0].take(code)
        sizes, codes = notional[above, None], code[above]
        brackets = sizes * terms.rates[name][codes] - terms.deductions[name][codes]
        rows[name][above] = brackets.max(axis=1)
    held = pd.DataFrame(rows).groupby(positions["account_id"].to_numpy(), sort=False).sum()
    price = terms.assets["weighted_price"].to_numpy()
    worth = balances["amount"] * price.take(balances["asset_id"].cat.codes.to_numpy())
    cash = worth.groupby(balances["account_id"].to_numpy(), sort=False).sum()
    accounts = held.reindex(held.index.union(cash.index, sort=False), fill_value=0.0)
    accounts["equity"] += cash.reindex(accounts.index, fill_value=0.0)
    accounts["ratio"] = accounts["maintenance"] / accounts["equity"]
    accounts["leverage"] = accounts["notional"] / accounts["equity"]
    accounts["flag"] = accounts["equity"] < accounts["maintenance"]
    return accounts


def _pandas(exchange: Exchange) -> tuple[pd.DataFrame, pd.DataFrame]:
    return exchange.positions.to_pandas(), exchange.balances.to_pandas()


def _polars(accounts: pd.DataFrame) -> pl.DataFrame:
    columns = {name: accounts[name].to_numpy() for name in [*SUMS, "ratio", "leverage", "flag"]}
    return pl.DataFrame({"account_id": accounts.index.to_numpy(), **columns}).select(THIN)


def _summary(known: Any, positions: pd.DataFrame, balances: pd.DataFrame) -> pl.DataFrame:
    numbers = positions["number"].to_numpy()
    rows = np.bincount(numbers, minlength=len(known))
    quantity = np.bincount(numbers, positions["quantity"].to_numpy(), len(known))
    amount = np.bincount(balances["number"].to_numpy(), balances["amount"].to_numpy(), len(known))
    ids = pl.Series(list(known))
    return pl.DataFrame(dict(zip(BOOK, [ids, rows, quantity, amount], strict=True)))
