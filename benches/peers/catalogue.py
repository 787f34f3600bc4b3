"""Which peers do which work, and what each leaves out.

Works: `w1` frames to account frame; `hot` prepared book to account frame; `w3` frames to prepared
book (`w3s`: text ids); `positions` the rows of a sweep with their liquidation prices; `totals`;
`w2` prepared book to what 100 price scenarios do; `breach` to each account's distance to its line.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from exchange import Exchange
    from peers.task import Task

Answer = Literal["same", "thin", "book", "positions", "totals", "stress", "outcomes", "breach"]


@dataclass(frozen=True)
class Entry:
    """Where a peer's way to do a work is, how it is called in tables, and what it answers."""

    module: str
    factory: str
    label: str
    answer: Answer
    arguments: tuple[str, ...] = ()


STREAMING, MEMORY = "streaming", "in-memory"


def _polars(form: str, engine: str) -> Entry:
    label = f"Polars {form}, {engine}"
    return Entry("polars_thin", "task", label, "thin", (form, engine))


def _book(form: str, engine: str) -> Entry:
    label = f"Polars {form}, {engine}"
    return Entry("polars_book", "task", label, "book", (form, engine))


def _short(engine: str) -> str:
    return "streaming" if engine == STREAMING else "memory"


BOOKS = {
    "margrave": Entry("ours", "book", "margrave", "book"),
    **{
        f"polars-{form}-{_short(engine)}": _book(form, engine)
        for form in ("sort", "number", "lists")
        for engine in (STREAMING, MEMORY)
    },
    "numpy": Entry("numpy_thin", "book", "NumPy (Polars sorts)", "book"),
    "duckdb": Entry("duckdb_thin", "book", "DuckDB", "book"),
    "pandas": Entry("pandas_thin", "book", "pandas", "book"),
}

WORKS: dict[str, dict[str, Entry]] = {
    "w1": {
        "margrave": Entry("ours", "frames", "margrave", "same"),
        "polars-same": Entry("polars_sweep", "task", "Polars, same answer", "same", (MEMORY,)),
        "polars-same-streaming": Entry(
            "polars_sweep", "task", "Polars, same answer, streaming", "same", (STREAMING,)
        ),
        **{
            f"polars-{form}-{_short(engine)}": _polars(form, engine)
            for form in ("split", "convex", "when")
            for engine in (STREAMING, MEMORY)
        },
        "numba": Entry("numba_peer", "frames", "Numba (Polars sorts)", "thin"),
        "numpy": Entry("numpy_thin", "frames", "NumPy (Polars sorts)", "thin"),
        "duckdb-range": Entry("duckdb_thin", "frames", "DuckDB range", "thin", ("range",)),
        "duckdb-convex": Entry("duckdb_thin", "frames", "DuckDB convex", "thin", ("convex",)),
        "duckdb-arrow": Entry("duckdb_thin", "frames", "DuckDB convex, arrow", "thin", ("arrow",)),
        "pandas": Entry("pandas_thin", "frames", "pandas", "thin"),
    },
    "hot": {
        "margrave": Entry("ours", "hot", "margrave", "same"),
        "numba": Entry("numba_peer", "hot", "Numba, 7 columns", "thin"),
        "numba-wide": Entry("numba_peer", "hot_wide", "Numba, all columns", "same"),
        "numpy": Entry("numpy_thin", "hot", "NumPy", "thin"),
        "polars-streaming": Entry("polars_book", "hot", "Polars, streaming", "thin", (STREAMING,)),
        "polars-memory": Entry("polars_book", "hot", "Polars, in-memory", "thin", (MEMORY,)),
    },
    "w3": BOOKS,
    "w3s": BOOKS,
    "positions": {
        "margrave": Entry("ours", "positions", "margrave", "positions"),
        "numba": Entry("numba_peer", "positions", "Numba", "positions"),
    },
    "totals": {"margrave": Entry("ours", "totals", "margrave", "totals")},
    "w2": {
        "margrave": Entry("ours", "stress", "margrave", "stress"),
        "numba": Entry("numba_stress", "thin", "Numba, 5 columns", "outcomes"),
        "numba-wide": Entry("numba_stress_wide", "wide", "Numba, all columns", "stress"),
        "scipy": Entry("scipy_stress", "single", "SciPy, one thread", "outcomes"),
        "scipy-threads": Entry("scipy_stress", "threaded", "SciPy, blocks on threads", "outcomes"),
        "polars-streaming": Entry(
            "polars_stress", "task", "Polars, streaming", "outcomes", (STREAMING,)
        ),
        "numpy": Entry("matrix_stress", "by_numpy", "NumPy", "outcomes"),
    },
    "breach": {
        "margrave": Entry("ours", "breach", "margrave", "breach"),
        "numba": Entry("numba_breach", "breach", "Numba", "breach"),
    },
}

#: What a peer cannot do on an exchange with all columns.
PLAIN_ONLY = {
    ("hot", "numba-wide"),
    ("positions", "numba"),
    *((work, name) for work in ("w2", "breach") for name in WORKS[work] if name != "margrave"),
}


def load(work: str, name: str) -> Callable[[Exchange], Task]:
    """Return the peer's way to do this work; its module is imported here, and its library."""
    entry = WORKS[work][name]
    factory = getattr(importlib.import_module(f"peers.{entry.module}"), entry.factory)
    if entry.arguments:
        factory = factory(*entry.arguments)
    found: Callable[[Exchange], Task] = factory
    return found
