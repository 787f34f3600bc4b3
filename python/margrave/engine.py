"""The compiled core, and the only file that knows it: Polars frames in and out.

Everything here is one call of `_core` with its frames wrapped; nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from margrave import _core, memory
from margrave.errors import MargraveError
from margrave.exact import units
from margrave.schema import FRAMES, MONEY, STATUS

__all__ = [
    "CoreBook",
    "CoreMarket",
    "CoreRules",
    "CoreSweep",
    "account_ids",
    "account_rows",
    "accounts",
    "breach",
    "buckets",
    "build_book",
    "build_market",
    "build_rules",
    "check_threads",
    "control",
    "cores",
    "digest_file",
    "digests",
    "exact_totals",
    "faults",
    "numerics",
    "positions",
    "progress",
    "read_stream",
    "release_memory",
    "reverse_stress",
    "shards_of",
    "shocked",
    "stress",
    "sweep",
    "synthetic",
    "totals",
    "totals_of",
    "version",
]

CoreBook = _core.Book
CoreMarket = _core.Market
CoreRules = _core.Rules
CoreSweep = _core.Sweep

RANGES = {
    f"{frame}.{column.name}": column.allowed
    for frame, columns in FRAMES.items()
    for column in columns
    if column.kind == "number" and frame != "scenarios"
}

#: Positions from which on a book may keep more memory for the next one.
_MANY = 1_000_000


def version() -> str:
    """Return the version of the compiled core, which is the package's."""
    return _core.VERSION


def numerics() -> int:
    """Return which numbers this engine makes: it rises when any bit of any result may change."""
    return _core.NUMERICS


def cores() -> int:
    """Return the number of cores that this process may use, its quota counted."""
    return _core.cores()


class _Stream:
    """An Arrow stream that was handed over, as an object that hands it over."""

    def __init__(self, source: Any) -> None:
        self._capsule = source.__arrow_c_stream__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> Any:
        return self._capsule


def read_stream(source: Any) -> pl.DataFrame:
    """Return the rows of an object with `__arrow_c_stream__`, validated before Polars sees them.

    Decimals of 32, 64 and 256 bits become decimals of 128 bits, or, where those cannot hold a
    value of the column, the nearest doubles. A stream that only Polars can read (columns of
    Null, types of its own) is left to it.

    Raises:
        SchemaError: The stream breaks the Arrow format.
    """
    stream = _Stream(source)
    table = _core.read_stream(stream)
    return pl.DataFrame(stream if table is None else table)


@contextmanager
def progress(told: Callable[[float], object]) -> Iterator[None]:
    """Have `told` called with how much is done, 0 to 1, while this thread's calls run.

    That is a few times a second, and where a call knows how much there is.
    """
    _core.progress(told)
    try:
        yield
    finally:
        _core.progress(None)


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads below 1.

    Raises:
        MargraveError: `threads` is no integer of at least 1.
    """
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise MargraveError(
            f"threads: {threads!r} is no number of threads; give an integer of at least 1, or "
            "None for all cores"
        )


def build_book(
    positions: pl.DataFrame,
    balances: pl.DataFrame,
    accounts: pl.DataFrame | None,
    instruments: pl.DataFrame,
    threads: int | None,
) -> CoreBook:
    """Return the book of checked frames; its faults are the caller's to look at."""
    if positions.height >= _MANY:
        free = memory.free()
        _core.keep_memory(0 if free == memory.UNKNOWN else free)
    return _core.build_book(positions, balances, accounts, instruments, RANGES, threads)


def build_market(
    instruments: pl.DataFrame, assets: pl.DataFrame
) -> tuple[CoreMarket | None, pl.DataFrame]:
    """Return the market of checked frames, or None and its faults."""
    market, faults = _core.build_market(instruments, assets, RANGES)
    return market, pl.DataFrame(faults)


def build_rules(
    tiers: pl.DataFrame,
    weights: pl.DataFrame,
    valuation_asset: str,
    words: Mapping[str, str],
    profit_weight: float,
    level: float,
    ladder: Sequence[tuple[str, float]],
) -> CoreRules:
    """Return the ruleset of checked tables; `words` are those of its file, by key.

    Raises:
        RulesError: With all mistakes of the tables.
    """
    return _core.build_rules(
        tiers, weights, valuation_asset, dict(words), profit_weight, level, list(ladder)
    )


def shocked(market: CoreMarket, factors: Mapping[str, float]) -> CoreMarket:
    """Return the market moved by checked factors, after whatever moved it before."""
    return market.shocked(dict(factors))


def sweep(
    book: CoreBook, market: CoreMarket, rules: CoreRules, *, quarantine: bool, threads: int | None
) -> CoreSweep:
    """Return the margin of every account; its faults are the caller's to look at."""
    return _core.run_sweep(book, market, rules, quarantine, threads)


def stress(
    book: CoreBook,
    market: CoreMarket,
    rules: CoreRules,
    scenarios: Sequence[tuple[str, Mapping[str, float]]],
    *,
    quarantine: bool,
    threads: int | None,
) -> tuple[CoreSweep, pl.DataFrame, list[list[int]], pl.DataFrame]:
    """Return the sweep of the market as given, a row per scenario, and a row per account.

    Between these two stand the exact sums behind the money of each scenario, in its order.

    The faults of the sweep are the caller's to look at. `scenarios` are names with checked
    factors; `worst_scenario` is one of the names.

    Raises:
        DataError: A scenario leaves no price, or an option that it must name.
    """
    named = [(name, dict(factors)) for name, factors in scenarios]
    swept, outcomes, sums, worst = _core.run_stress(book, market, rules, named, quarantine, threads)
    exact = [[units(data) for data in row] for row in sums]
    return swept, pl.DataFrame(outcomes), exact, pl.DataFrame(worst)


def breach(
    book: CoreBook,
    market: CoreMarket,
    rules: CoreRules,
    direction: str | dict[str, float],
    *,
    quarantine: bool,
    threads: int | None,
) -> tuple[CoreSweep, pl.DataFrame]:
    """Return the sweep of the market as given, and shock and kind of every account.

    Raises:
        DataError: An account holds an option whose base the direction moves.
    """
    swept, found = _core.run_breach(book, market, rules, direction, quarantine, threads)
    return swept, pl.DataFrame(found)


def reverse_stress(
    book: CoreBook,
    market: CoreMarket,
    rules: CoreRules,
    direction: str | dict[str, float],
    target: tuple[bool, float],
    *,
    quarantine: bool,
    threads: int | None,
) -> tuple[CoreSweep, tuple[float, float, float, int] | None]:
    """Return the sweep of the market as given, and the move at which the target is reached.

    Raises:
        DataError: As `breach`.
    """
    by_debt, amount = target
    return _core.run_reverse_stress(
        book, market, rules, direction, by_debt, amount, quarantine, threads
    )


def account_ids(book: CoreBook) -> pl.Series | None:
    """Return the id of each account as Int64, or None where ids are texts."""
    ids = book.account_ids()
    return None if ids is None else pl.DataFrame(ids)["account_id"]


def account_rows(book: CoreBook) -> pl.DataFrame:
    """Return where each account appears first, and its row of the accounts frame."""
    return pl.DataFrame(book.account_rows())


def faults(of: CoreBook | CoreSweep) -> pl.DataFrame:
    """Return the bad rows that were found: frame, row, column, reason."""
    return pl.DataFrame(of.faults())


def accounts(swept: CoreSweep) -> pl.DataFrame:
    """Return one row per account, without ids."""
    return pl.DataFrame(swept.accounts())


def buckets(swept: CoreSweep, threads: int | None) -> pl.DataFrame:
    """Return one row per bucket, with the number of its account."""
    return pl.DataFrame(swept.buckets(threads))


def positions(swept: CoreSweep, threads: int | None) -> pl.DataFrame:
    """Return one row per input position, without what the input holds already."""
    return pl.DataFrame(swept.positions(threads))


def totals(swept: CoreSweep) -> pl.DataFrame:
    """Return counts and money over the exchange, one row."""
    by_status, money, liquidatable, notional, deficit = swept.totals()
    return totals_of(by_status, liquidatable, [*money, notional, deficit])


def exact_totals(swept: CoreSweep) -> tuple[list[int], int, list[int]]:
    """Return what `totals_of` takes, with exact sums that add up over parts of an exchange."""
    by_status, _, liquidatable, _, _ = swept.totals()
    return list(by_status), liquidatable, [units(data) for data in swept.sums()]


def totals_of(by_status: Sequence[int], liquidatable: int, sums: Sequence[float]) -> pl.DataFrame:
    """Return the row of `totals`.

    Args:
        by_status: Accounts by status.
        liquidatable: Accounts past the line.
        sums: Money, in the order of the columns; the notional of accounts past the line; what
            buckets lack.
    """
    *money, notional, deficit = sums
    counts = {f"{status}_accounts": n for status, n in zip(STATUS, by_status, strict=True)}
    by_name = dict(zip(MONEY, money, strict=True))
    row: dict[str, int | float] = {
        "accounts": sum(by_status),
        **counts,
        **by_name,
        "liquidatable_accounts": liquidatable,
        "liquidatable_notional": notional,
        "total_bad_debt": by_name["bad_debt"],
        "total_margin_deficit": deficit,
    }
    types = {name: pl.Int64 if isinstance(v, int) else pl.Float64 for name, v in row.items()}
    return pl.DataFrame([row], schema=types)


def control(swept: CoreSweep, threads: int | None) -> dict[str, Any]:
    """Return control totals: for each frame how many rows came in, were used and set aside.

    `quantity` has a row per instrument (contracts), `amount` one per asset (units): the exact
    sums (`exact.rounded`) of what came in, what was used and what was set aside. The id is None
    for rows that name none.

    Raises:
        InternalError: What came in is not what was used and what was set aside.
    """
    positions, balances, accounts, indeterminate, quantity, amount = swept.control(threads)

    def rows(counts: Sequence[int]) -> dict[str, int]:
        return dict(zip(("rows", "used", "set_aside", "without_account"), counts, strict=True))

    def sums(key: str, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        names = (key, "in", "used", "set_aside")
        return [dict(zip(names, (name, *map(units, of)), strict=True)) for name, *of in rows]

    used = accounts - indeterminate
    return {
        "positions": rows(positions),
        "balances": rows(balances),
        "accounts": {"distinct": accounts, "used": used, "set_aside": indeterminate},
        "quantity": sums("instrument_id", quantity),
        "amount": sums("asset_id", amount),
    }


def shards_of(ids: pl.Series, shards: int) -> pl.Series:
    """Return the shard of each of these texts, from 0; nulls stand in the first."""
    column = pl.DataFrame([ids.alias("account_id").rechunk()])
    return pl.DataFrame(_core.shards_of(column, shards))["shard"]


def release_memory() -> int:
    """Give the memory that is kept for the next call back to the system; return its bytes.

    Large buffers of a book or a sweep that is gone are kept, because fresh memory costs more than
    the arithmetic does: up to 512 MiB, or a quarter of what was free when a book of a million
    positions or more was built. Call this where a long-lived process has swept its
    last night for a while. What books, sweeps and frames in use hold is not touched.

    Example:
        >>> import margrave as mg
        >>> mg.release_memory() >= 0
        True
    """
    return _core.release_memory()


def digests(frames: Sequence[tuple[str, pl.DataFrame]]) -> tuple[str, dict[str, str]]:
    """Return BLAKE3 over the values of all frames, and of each alone by name: 64 hex digits."""
    whole, parts = _core.digest(list(frames))
    return whole, {name: part for (name, _), part in zip(frames, parts, strict=True)}


def digest_file(path: Path) -> tuple[int, str]:
    """Return how many bytes a file has and their BLAKE3, 64 hex digits, as `b3sum` prints it.

    Raises:
        OSError: It cannot be read; the error names it.
    """
    return _core.digest_file(path)


def synthetic(accounts: int, seed: int) -> dict[str, pl.DataFrame]:
    """Return the columns of a synthetic exchange, by frame."""
    return {name: pl.DataFrame(table) for name, table in _core.synthetic(accounts, seed).items()}
