"""Margrave's own works, in the form of a peer."""

from __future__ import annotations

from typing import Any

import polars as pl

import margrave as mg
import scenarios
from exchange import Exchange
from peers.outcomes import together
from peers.task import BOOK, Task, same


def rules_of(exchange: Exchange) -> mg.Rules:
    """Return the ruleset: market and conventions depend on the seed alone."""
    rules = mg.generate(1).rules
    return rules.with_tables(tiers=exchange.tiers, weights=exchange.weights)


def frames(exchange: Exchange) -> Task:
    """Return the work `w1`."""
    rules = rules_of(exchange)
    parts = (exchange.positions, exchange.balances, exchange.instruments, exchange.assets)
    return Task(lambda: mg.sweep(*parts, rules).accounts, same)


def book_of(exchange: Exchange) -> mg.Book:
    """Return the prepared book."""
    return mg.Book(exchange.positions, exchange.balances, exchange.instruments)


def sweep_of(book: mg.Book, exchange: Exchange) -> mg.Sweep:
    """Return a sweep of the book at the exchange's own market and rules."""
    return book.sweep(mg.Market(exchange.instruments, exchange.assets), rules_of(exchange))


def hot(exchange: Exchange) -> Task:
    """Return the work `hot`."""
    book, market = book_of(exchange), mg.Market(exchange.instruments, exchange.assets)
    rules = rules_of(exchange)
    return Task(lambda: book.sweep(market, rules).accounts, same)


def book(exchange: Exchange) -> Task:
    """Return the works `w3` and `w3s`. A book shows its rows through a sweep."""

    def summary(built: Any) -> pl.DataFrame:
        swept = sweep_of(built, exchange)
        held = swept.positions.group_by("account_id").agg(pl.col("quantity").sum())
        owned = exchange.balances.group_by("account_id").agg(pl.col("amount").sum())
        return (
            swept.accounts.select("account_id", rows="positions")
            .join(held, on="account_id", how="left")
            .join(owned, on="account_id", how="left")
            .with_columns(pl.col("quantity", "amount").fill_null(0.0))
            .select(BOOK)
        )

    return Task(lambda: book_of(exchange), summary)


def positions(exchange: Exchange) -> Task:
    """Return the work `positions`: the frame of one more sweep, the sweep itself outside."""
    swept = sweep_of(book_of(exchange), exchange)

    def call() -> pl.DataFrame:
        # A sweep keeps what it has computed: the next call is to compute it again.
        swept.__dict__.pop("positions", None)
        found: pl.DataFrame = swept.positions
        swept.__dict__.pop("positions", None)
        return found

    return Task(call, same)


def totals(exchange: Exchange) -> Task:
    """Return the work `totals`: one more sweep, and its row of totals instead of its accounts."""
    book, market = book_of(exchange), mg.Market(exchange.instruments, exchange.assets)
    rules = rules_of(exchange)
    return Task(lambda: book.sweep(market, rules).totals, same)


def stress_of(book: mg.Book, exchange: Exchange) -> mg.Stress:
    """Return the book in the scenarios of `w2`."""
    market = mg.Market(exchange.instruments, exchange.assets)
    return book.stress(market, rules_of(exchange), scenarios.draw(exchange))


def stress(exchange: Exchange) -> Task:
    """Return the work `w2`: a row for each scenario, and the worst of each account."""
    book, market = book_of(exchange), mg.Market(exchange.instruments, exchange.assets)
    rules, moves = rules_of(exchange), scenarios.draw(exchange)
    return Task(
        lambda: book.stress(market, rules, moves),
        lambda found: together(found.scenarios, found.accounts),
    )


def breach(exchange: Exchange) -> Task:
    """Return the work `breach`: how far everything must fall until an account reaches its line."""
    book, market = book_of(exchange), mg.Market(exchange.instruments, exchange.assets)
    rules = rules_of(exchange)
    return Task(lambda: book.breach(market, rules, "down"), same)
