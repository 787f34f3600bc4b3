"""Threads: as many as the process may use, none where few rows are, none that stay.

How many there are is read from `/proc/self/task` in a process of its own, by a thread that
looks all the time: it may miss one that lives shortly, so what is forbidden is done often.
`std::thread::available_parallelism` counts cores by affinity and by the quota of the control
group, of either version; only the affinity can be tried without rights of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

import margrave as mg
from margrave import engine

linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="tasks are in /proc")

RESULTS = ("accounts", "buckets", "positions", "totals")
LARGE = 12_000  # accounts that are worth threads, and rows that are worth partitions
SMALL = 500

COUNTING = """
import contextlib, json, os, signal, sys, threading, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored

def tasks():
    return len(os.listdir("/proc/self/task"))

def settled(expected):
    for _ in range(500):  # a thread that was joined stays in the list for a moment
        if tasks() <= expected:
            break
        time.sleep(0.01)
    return tasks()

@contextlib.contextmanager
def watched():
    most, over = [0], threading.Event()
    def watch():
        while not over.is_set():
            most[0] = max(most[0], tasks())
    watcher = threading.Thread(target=watch)
    watcher.start()
    before = tasks()
    try:
        yield most
    finally:
        over.set()
        watcher.join()
        most[0] -= before

def night(accounts):
    import margrave as mg
    exchange = mg.generate(accounts=accounts, seed=3)
    inputs = (exchange.positions, exchange.balances, exchange.instruments)
    return inputs, mg.Market(exchange.instruments, exchange.assets), exchange.rules

def everything(inputs, market, rules, threads):
    import margrave as mg
    result = mg.Book(*inputs, threads=threads).sweep(market, rules, threads=threads)
    for name in ("accounts", "buckets", "positions", "totals", "rejects", "accounting"):
        getattr(result, name)
"""


def python(code: str, *arguments: str) -> Any:
    """Return what a process of its own prints last, as JSON."""
    ran = subprocess.run(
        [sys.executable, "-c", COUNTING + code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(ran.stdout.splitlines()[-1])


STARTED = """
accounts, threads, times, cores = (json.loads(argument) for argument in sys.argv[1:])
if cores is not None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
given = night(accounts)
everything(*given, threads)  # Polars starts its own threads when it likes
with watched() as most:
    for _ in range(times):
        everything(*given, threads)
print(most[0])
"""


def started(accounts: int, *, threads: int | None, times: int = 5, cores: int | None = None) -> int:
    """Return the most threads beside the caller's that were seen at once."""
    arguments = (json.dumps(value) for value in (accounts, threads, times, cores))
    return int(python(STARTED, *arguments))


@linux
def test_as_many_threads_work_as_are_asked_for_the_callers_among_them() -> None:
    assert started(LARGE, threads=3) == 2


@linux
def test_on_one_core_no_thread_is_started() -> None:
    assert started(LARGE, threads=None, cores=1) == 0


@linux
def test_there_are_never_more_threads_than_cores_unless_asked_for() -> None:
    cores = len(os.sched_getaffinity(0))
    assert started(LARGE, threads=None) <= cores - 1


@linux
def test_a_small_book_is_worth_no_thread() -> None:
    assert started(SMALL, threads=8, times=100) == 0


@linux
def test_importing_starts_no_thread() -> None:
    code = "import polars; before = tasks(); import margrave; print(tasks() - before)"
    assert python(code) == 0


@linux
def test_no_call_leaves_a_thread_behind() -> None:
    code = f"""
given = night({LARGE})
everything(*given, 4)
before = settled(0) if tasks() < 2 else tasks()
left = []
for _ in range(3):
    everything(*given, 4)
    left.append(settled(before) - before)
print(json.dumps(left))
"""
    assert python(code) == [0, 0, 0]


# Each step works until it is interrupted, at most a minute, and says how that went.
INTERRUPTED = """
(inputs, market, rules), threads = night(int(sys.argv[1])), int(sys.argv[2])
import margrave as mg
book = mg.Book(*inputs)
steps = {
    "Book": lambda: mg.Book(*inputs, threads=threads),
    "sweep": lambda: book.sweep(market, rules, threads=threads),
    "positions": lambda: book.sweep(market, rules, threads=threads).positions,
}
for name, step in steps.items():
    step()
    before, began = tasks(), time.monotonic()
    print(name, flush=True)
    try:
        while time.monotonic() < began + 60:
            step()
        ended = None
    except KeyboardInterrupt:
        ended = time.monotonic()
    try:
        time.sleep(0.3)  # where Polars was at work, it raises once more
    except KeyboardInterrupt:
        pass
    print(json.dumps([ended, settled(before) - before]), flush=True)
    step()
"""


def interrupted(accounts: int, threads: int) -> Iterator[tuple[str, float, int]]:
    """Interrupt each step; yield its name, the seconds that it went on, the threads it left."""
    command = [sys.executable, "-c", COUNTING + INTERRUPTED, str(accounts), str(threads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for name in process.stdout:
                time.sleep(0.4)
                sent = time.monotonic()
                process.send_signal(signal.SIGINT)
                ended, left = json.loads(process.stdout.readline())
                assert ended is not None, f"{name.strip()} never stopped"
                yield name.strip(), ended - sent, left
            assert process.wait(60) == 0
        finally:
            process.kill()


@linux
@pytest.mark.parametrize(("accounts", "threads"), [(1_000_000, 2), (200_000, 1)])
def test_an_interrupt_stops_five_million_positions_at_once(accounts: int, threads: int) -> None:
    # At most 0.25 s on a machine that does nothing else; a busy one is allowed more.
    for name, seconds, left in interrupted(accounts, threads):
        assert (name, left) == (name, 0)
        assert seconds < 5, f"{name} went on for {seconds:.2f} s"


def test_twelve_threads_use_one_book_at_once() -> None:
    exchange = mg.generate(accounts=LARGE, seed=3)
    book = mg.Book(exchange.positions, exchange.balances, exchange.instruments, threads=1)
    market = mg.Market(exchange.instruments, exchange.assets)
    first = book.sweep(market, exchange.rules, threads=1)

    def work(number: int) -> list[bool]:
        night = book.sweep(market, exchange.rules, threads=number % 4 + 1)
        order = RESULTS[number % 4 :] + RESULTS[: number % 4]
        return [getattr(night, name).equals(getattr(first, name)) for name in order]

    with ThreadPoolExecutor(12) as pool:
        assert all(all(same) for same in pool.map(work, range(24)))


def test_twelve_threads_build_books_at_once() -> None:
    exchange = mg.generate(accounts=LARGE, seed=3)
    market = mg.Market(exchange.instruments, exchange.assets)
    inputs = (exchange.positions, exchange.balances, exchange.instruments)

    def work(threads: int) -> pl.DataFrame:
        return mg.Book(*inputs, threads=threads).sweep(market, exchange.rules).accounts

    first = work(1)
    with ThreadPoolExecutor(12) as pool:
        assert all(accounts.equals(first) for accounts in pool.map(work, [1, 2, 3] * 4))


def grouped(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(pl.col("account_id").hash(), maintain_order=True)


def as_texts(frame: pl.DataFrame) -> pl.DataFrame:
    long = pl.lit("an account with a long name: ") + pl.col("account_id").cast(pl.String)
    return frame.with_columns(long)


def as_codes(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("account_id").cast(pl.String).cast(pl.Categorical))


def in_chunks(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(list(frame.iter_slices(997)), rechunk=False)


PATHS: list[tuple[str, int, list[Callable[[pl.DataFrame], pl.DataFrame]]]] = [
    ("threads", 2, []),
    ("more threads than cores", 7, []),
    ("texts", 1, [as_texts]),
    ("texts on threads", 3, [as_texts]),
    ("codes", 2, [as_codes]),
    ("grouped", 1, [grouped]),
    ("grouped on threads", 3, [grouped]),
    ("grouped texts", 2, [grouped, as_texts]),
    ("grouped codes", 2, [grouped, as_codes]),
    ("chunks", 2, [in_chunks]),
    ("grouped chunks of texts", 3, [grouped, as_texts, in_chunks]),
]


@pytest.fixture(scope="module")
def exchange() -> mg.Exchange:
    return mg.generate(accounts=LARGE, seed=11)


def tables(exchange: mg.Exchange, threads: int, steps: list[Any]) -> dict[str, pl.DataFrame]:
    """Return the results of the exchange in some form, each in an order of its own ids."""
    frames = [exchange.positions.with_row_index("row"), exchange.balances]
    for step in steps:
        frames = [step(frame) for frame in frames]
    rows = frames[0]["row"]
    book = mg.Book(frames[0].drop("row"), frames[1], exchange.instruments, threads=threads)
    result = book.sweep(
        mg.Market(exchange.instruments, exchange.assets), exchange.rules, threads=threads
    )

    def plain(frame: pl.DataFrame) -> pl.DataFrame:
        given = pl.col("account_id").cast(pl.String).str.split(": ").list.last()
        return frame.with_columns(given)

    return {
        "accounts": plain(result.accounts).sort("account_id"),
        "buckets": plain(result.buckets).sort("account_id", maintain_order=True),
        "positions": plain(result.positions.with_columns(row=rows)).sort("row"),
        "totals": result.totals,
    }


@pytest.fixture(scope="module")
def base(exchange: mg.Exchange) -> dict[str, pl.DataFrame]:
    return tables(exchange, 1, [])


@pytest.mark.parametrize(
    ("threads", "steps"), [path[1:] for path in PATHS], ids=[path[0] for path in PATHS]
)
def test_every_path_gives_the_same_bits(
    exchange: mg.Exchange, base: dict[str, pl.DataFrame], threads: int, steps: list[Any]
) -> None:
    for name, table in tables(exchange, threads, steps).items():
        expected = base[name]
        if "bucket_id" in table.columns and as_texts in steps:
            table, expected = table.drop("bucket_id"), expected.drop("bucket_id")
        assert table.equals(expected), name


# The border


def texts(rows: int, bad: int | None, *, as_codes: bool) -> pa.Table:
    """Return balances of `rows` accounts, one of whose ids may be no UTF-8."""
    ids = [b"an account of many bytes %d" % (row % 70_001) for row in range(rows)]
    if bad is not None:
        ids[bad] = b"an account that is no text: \xff"
    if as_codes:
        distinct = list(dict.fromkeys(ids))
        codes = pa.array([distinct.index(ids[0])] * (rows - 1) + [len(distinct) - 1], pa.uint32())
        column = pa.DictionaryArray.from_arrays(codes, viewed(distinct), safe=False)
    else:
        column = viewed(ids)
    one = viewed([b"USD"] * rows)
    return pa.table({"account_id": column, "asset_id": one, "amount": pa.array([1.0] * rows)})


def viewed(values: list[bytes]) -> Any:
    binary = pa.array(values, pa.binary_view())
    return pa.Array.from_buffers(pa.string_view(), len(values), binary.buffers())


@pytest.mark.parametrize("as_codes", [False, True])
def test_what_is_no_text_is_refused_by_any_number_of_threads(as_codes: bool) -> None:
    rows, bad = 150_000, 140_001
    empty = pl.DataFrame(schema=dict.fromkeys(("account_id", "instrument_id"), pl.String))
    numbers = pl.lit(None, pl.Float64)
    empty = empty.with_columns(quantity=numbers, entry_price=numbers)
    listed = pl.DataFrame({"instrument_id": ["X"]})

    def build(bad: int | None, threads: int) -> Any:
        balances: Any = texts(rows, bad, as_codes=as_codes)
        return engine.build_book(empty, balances, None, listed, threads)

    said = []
    for threads in (1, 2, 3):
        assert build(None, threads).accounts == (2 if as_codes else 70_001)
        with pytest.raises(mg.SchemaError, match="non-UTF-8") as refusal:
            build(bad, threads)
        said.append(str(refusal.value))
    assert len(set(said)) == 1
    assert ("child #0" if as_codes else f"index {bad}") in said[0]
