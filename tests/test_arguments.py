"""Wrong arguments are named, and never taken for something else."""

from __future__ import annotations

from typing import Any

import pytest

import margrave as mg
from faulty import refused
from small_night import frames, rules_of, sweep


@pytest.mark.parametrize("threads", [0, -1, True, False, "2", 1.5, 2.0, [1]])
def test_a_wrong_number_of_threads_is_named(threads: Any) -> None:
    night = frames()
    book = mg.Book(night["positions"], night["balances"], night["instruments"])
    market = mg.Market(night["instruments"], night["assets"])
    runs: list[Any] = [
        lambda: mg.Book(
            night["positions"], night["balances"], night["instruments"], threads=threads
        ),
        lambda: book.sweep(market, rules_of(night), threads=threads),
        lambda: sweep(night, threads=threads),
    ]
    for run in runs:
        assert "threads" in refused(mg.MargraveError, run)


@pytest.mark.parametrize("on_error", ["ignore", "Raise", None, "", 1, ["raise"]])
def test_a_wrong_on_error_is_named(on_error: Any) -> None:
    message = refused(mg.MargraveError, lambda: sweep(frames(), on_error=on_error))
    assert "on_error" in message


def test_what_is_no_market_and_no_rules_is_named() -> None:
    night = frames()
    book: Any = mg.Book(night["positions"], night["balances"], night["instruments"])
    market = mg.Market(night["instruments"], night["assets"])
    assert "market" in refused(mg.MargraveError, lambda: book.sweep(None, rules_of(night)))
    assert "rules" in refused(mg.MargraveError, lambda: book.sweep(market, "hyperliquid"))
