"""Does the alarm ring: faults planted in the package, each of which the fuzzing must find.

A plant replaces one function of the package for a while. `missed` runs cases until one is found
to break a law, and returns the plants that none did.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import polars as pl

import margrave as mg
from fuzz.api import Counts
from fuzz.cases import run
from fuzz.judge import Found
from margrave import book, engine, frames, held
from margrave.schema import STATUS

__all__ = ["PLANTS", "found", "missed", "self_test"]

#: How many cases a plant may take to be found.
MOST_CASES = 400

#: The module of `Sweep`, whose name the package gives to a function.
SWEEP = sys.modules["margrave.sweep"]

#: A module, the name of a function in it, what takes its place, a word of the law that is broken.
Plant = tuple[Any, str, Callable[[Any], Any], str]


def _accounts(change: Callable[[pl.DataFrame], pl.DataFrame], law: str) -> Plant:
    return engine, "accounts", lambda real: lambda core: change(real(core)), law


def _first(column: str, value: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return a change of the first value of a column, where there is one and it is not null."""

    def changed(rows: pl.DataFrame) -> pl.DataFrame:
        values = rows[column].to_list()
        if values and values[0] is not None:
            values[0] = value(values[0]) if callable(value) else value
        return rows.with_columns(pl.Series(column, values, dtype=rows.schema[column]))

    return changed


def _healthy(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the accounts, those healthy of whom nothing can be said."""
    texts = rows["status"].cast(pl.String).replace(STATUS[-1], "healthy")
    return rows.with_columns(texts.cast(pl.Enum(STATUS)))


def _raises(error: type[BaseException]) -> Callable[[Any], Any]:
    def planted(_: Any) -> Any:
        def raising(*_: Any, **__: Any) -> Any:
            raise error("planted")

        return raising

    return planted


def _prints(real: Any) -> Any:
    def printing(*arguments: Any, **options: Any) -> Any:
        os.write(2, b"thread panicked at rust/core/sweep.rs:1:1:\nplanted\n")
        return real(*arguments, **options)

    return printing


def _chunky_digest(real: Any) -> Any:
    counter = itertools.count()

    def digests(frames: Any) -> Any:
        whole, parts = real(frames)
        return whole[:-2] + f"{next(counter) % 100:02}", parts

    return digests


def _without_first_row(real: Any) -> Any:
    def swallowing(name: str, source: object, **only: Any) -> Any:
        if name == "positions" and isinstance(source, pl.DataFrame) and source.height > 2:
            source = source[1:]
        return real(name, source, **only)

    return swallowing


#: What is planted, by what it is called.
PLANTS: dict[str, Plant] = {
    "NaN in money": _accounts(_first("equity", float("nan")), "accounts.equity has NaN"),
    "an infinity in money": _accounts(_first("initial_margin", float("inf")), "an infinity"),
    "money that is no sum": _accounts(_first("free_collateral", lambda v: v + 1.0), "no sum"),
    "a healthy account with a rejected row": _accounts(_healthy, "the account is healthy"),
    "a flag turned round": (
        *(engine, "buckets"),
        lambda real: lambda *a: _first("is_liquidatable", lambda v: not v)(real(*a)),
        "the flag is",
    ),
    "a price without a root": (
        *(engine, "positions"),
        lambda real: lambda *a: _first("liquidation_price", lambda _: None)(real(*a)),
        "price None of kind root",
    ),
    "totals off by one ulp": (
        *(engine, "totals"),
        lambda real: lambda *a: real(*a).with_columns(pl.col("equity") * (1 + 2**-52)),
        "totals.equity",
    ),
    "rejects that are forgotten": (
        *(book, "rejects"),
        lambda real: lambda *a: real(*a).clear(),
        "bad ",
    ),
    "a row of positions that is swallowed": (
        *(held, "check"),
        _without_first_row,
        "accounts are",
    ),
    "a digest that is another each time": (engine, "digests", _chunky_digest, "other chunks"),
    "a foreign exception": (frames, "near_miss", _raises(KeyError), "KeyError"),
    "an exception that is none": (SWEEP, "bounds", _raises(SystemExit), "SystemExit"),
    "an error that is a bug": (engine, "buckets", _raises(mg.InternalError), "InternalError"),
    "a panic that is printed": (engine, "sweep", _prints, "printed to standard error"),
}


def found(plant: Plant, seed: int) -> tuple[int, str] | None:
    """Return the case that finds a plant, and what it says; None where none does."""
    module, name, make, law = plant
    with mock.patch.object(module, name, make(getattr(module, name))):
        for number in range(MOST_CASES):
            try:
                run("frames", seed, number, Counts())
            except Found as fault:
                if law in str(fault):
                    return number, str(fault)
    return None


def missed(seed: int) -> list[str]:
    """Return the plants that are not found."""
    return [name for name, plant in PLANTS.items() if found(plant, seed) is None]


def self_test(seed: int) -> int:
    """Print which case finds each plant; return 0 where all are found, else 1."""
    lost = 0
    for name, plant in PLANTS.items():
        started = time.monotonic()
        answer = found(plant, seed)
        took = time.monotonic() - started
        lost += answer is None
        told = "MISSED" if answer is None else f"case {answer[0]}: {answer[1][:100]}"
        print(f"{name} ({took:.1f} s): {told}")
    print(f"{len(PLANTS) - lost} of {len(PLANTS)} plants found")
    return 1 if lost else 0
