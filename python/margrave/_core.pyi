"""The compiled core. Frames go in and out as Arrow C streams."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, final

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any: ...

__all__ = [
    "NUMERICS",
    "VERSION",
    "Book",
    "Market",
    "Rules",
    "Sweep",
    "Table",
    "build_book",
    "build_market",
    "build_rules",
    "cores",
    "digest",
    "digest_file",
    "keep_memory",
    "progress",
    "read_stream",
    "release_memory",
    "run_breach",
    "run_reverse_stress",
    "run_stress",
    "run_sweep",
    "shards_of",
    "synthetic",
]

_Sums = tuple[str | None, bytes, bytes, bytes]

NUMERICS: int
VERSION: str

@final
class Table:
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any: ...

@final
class Book:
    @property
    def accounts(self) -> int: ...
    def account_ids(self) -> Table | None: ...
    def account_rows(self) -> Table: ...
    def faults(self) -> Table: ...

@final
class Market:
    def shocked(self, factors: dict[str, float]) -> Market: ...

@final
class Rules: ...

@final
class Sweep:
    def accounts(self) -> Table: ...
    def buckets(self, threads: int | None) -> Table: ...
    def control(
        self, threads: int | None
    ) -> tuple[list[int], list[int], int, int, list[_Sums], list[_Sums]]: ...
    def faults(self) -> Table: ...
    def positions(self, threads: int | None) -> Table: ...
    def sums(self) -> list[bytes]: ...
    def totals(self) -> tuple[list[int], list[float], int, float, float]: ...

def build_book(
    positions: _ArrowStream,
    balances: _ArrowStream,
    accounts: _ArrowStream | None,
    instruments: _ArrowStream,
    ranges: Mapping[str, str],
    threads: int | None,
) -> Book: ...
def build_market(
    instruments: _ArrowStream, assets: _ArrowStream, ranges: Mapping[str, str]
) -> tuple[Market | None, Table]: ...
def build_rules(
    tiers: _ArrowStream,
    weights: _ArrowStream,
    valuation_asset: str,
    words: dict[str, str],
    profit_weight: float,
    level: float,
    ladder: list[tuple[str, float]],
) -> Rules: ...
def cores() -> int: ...
def digest(frames: list[tuple[str, _ArrowStream]]) -> tuple[str, list[str]]: ...
def digest_file(path: str | Path) -> tuple[int, str]: ...
def progress(told: Callable[[float], object] | None) -> None: ...
def read_stream(source: _ArrowStream) -> Table | None: ...
def keep_memory(free: int) -> None: ...
def release_memory() -> int: ...
def run_breach(
    book: Book,
    market: Market,
    rules: Rules,
    direction: str | dict[str, float],
    quarantine: bool,
    threads: int | None,
) -> tuple[Sweep, Table]: ...
def run_reverse_stress(
    book: Book,
    market: Market,
    rules: Rules,
    direction: str | dict[str, float],
    by_debt: bool,
    amount: float,
    quarantine: bool,
    threads: int | None,
) -> tuple[Sweep, tuple[float, float, float, int] | None]: ...
def run_stress(
    book: Book,
    market: Market,
    rules: Rules,
    scenarios: list[tuple[str, dict[str, float]]],
    quarantine: bool,
    threads: int | None,
) -> tuple[Sweep, Table, list[list[bytes]], Table]: ...
def run_sweep(
    book: Book, market: Market, rules: Rules, quarantine: bool, threads: int | None
) -> Sweep: ...
def shards_of(ids: _ArrowStream, shards: int) -> Table: ...
def synthetic(accounts: int, seed: int) -> dict[str, Table]: ...
