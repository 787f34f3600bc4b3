"""The thin answer by NumPy: Polars sorts, then arrays and `reduceat`, on one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from exchange import Exchange
from peers.csr import Csr, build, summary
from peers.task import THIN, Task, same
from peers.terms import RATES, Terms, read_terms

Floats = npt.NDArray[np.float64]


def frames(exchange: Exchange) -> Task:
    """Return the work `w1`."""
    return Task(lambda: to_frame(*_book_and_sweep(exchange)), same)


def hot(exchange: Exchange) -> Task:
    """Return the work `hot`."""
    book, terms = build(exchange), read_terms(exchange)
    return Task(lambda: sweep(book, terms), lambda columns: to_frame(book, columns))


def book(exchange: Exchange) -> Task:
    """Return the works `w3` and `w3s`."""
    return Task(lambda: build(exchange), summary)


def _book_and_sweep(exchange: Exchange) -> tuple[Csr, dict[str, Any]]:
    book = build(exchange)
    return book, sweep(book, read_terms(exchange))


def to_frame(book: Csr, columns: dict[str, Any]) -> pl.DataFrame:
    """Return the thin answer as a frame."""
    return pl.DataFrame({"account_id": book.ids, **columns}).select(THIN)


def sweep(book: Csr, terms: Terms) -> dict[str, Any]:
    """Return the columns of the thin answer, but for the ids."""
    a, b, c = (terms.numbers(name).take(book.code) for name in "abc")
    notional = np.abs(book.quantity)
    notional *= np.abs(b)
    profit = (a * book.entry + b + c / book.entry) * book.quantity
    above = np.flatnonzero(notional >= terms.numbers("second_floor").take(book.code))
    sums = {"equity": profit, "notional": notional}
    for name in RATES:
        required = notional * terms.rates[name][:, 0].take(book.code)
        sizes, codes = notional[above, None], book.code[above]
        brackets = sizes * terms.rates[name][codes] - terms.deductions[name][codes]
        required[above] = brackets.max(axis=1)
        sums[name] = required
    columns: dict[str, Any] = {n: _summed(values, book.offsets) for n, values in sums.items()}
    worth = book.amount * terms.assets["weighted_price"].to_numpy().take(book.asset)
    columns["equity"] += _summed(worth, book.cash_offsets)
    with np.errstate(divide="ignore", invalid="ignore"):
        columns["ratio"] = columns["maintenance"] / columns["equity"]
        columns["leverage"] = columns["notional"] / columns["equity"]
    columns["flag"] = columns["equity"] < columns["maintenance"]
    return columns


def _summed(values: Floats, offsets: npt.NDArray[np.integer[Any]]) -> Floats:
    """Return the sum of each account's values; `reduceat` knows no empty stretch."""
    sums = np.zeros(len(offsets) - 1)
    filled = np.flatnonzero(offsets[:-1] < offsets[1:])
    if len(filled):
        sums[filled] = np.add.reduceat(values, offsets[filled])
    return sums
