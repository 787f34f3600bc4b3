"""A sweep gives the same bits on any number of threads, in any process, however it was begun."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from small_night import SECTIONS, digest, frames, rules_of, sweep, with_value

KEYS = [
    "margrave_version",
    "ruleset_id",
    "ruleset_hash",
    "accounts",
    "buckets",
    "positions",
    "balances",
    "rejects",
    "input_digest",
    "result_digest",
    "seconds",
]
RESULTS = ("accounts", "buckets", "positions", "totals", "rejects")
PATIENCE = 20.0


def answer_of(work: Any, queue: Any) -> None:
    try:
        queue.put(work())
    except BaseException as error:
        queue.put(repr(error))


def in_a_child(method: str, work: Any) -> Any:
    """Return what `work` gives in a process of its own, which has 20 seconds for it."""
    context: Any = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=answer_of, args=(work, queue))
    with warnings.catch_warnings():  # later Pythons warn of any fork beside threads
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    try:
        return queue.get(timeout=PATIENCE)
    finally:
        child.kill()
        child.join()


def large_digest() -> str:
    """Sweep a night that is large enough for threads, on three of them."""
    exchange = mg.generate(accounts=20_000, seed=1)
    inputs = (exchange.positions, exchange.balances, exchange.instruments, exchange.assets)
    return str(mg.sweep(*inputs, exchange.rules, threads=3).manifest["result_digest"])


@pytest.fixture
def warm() -> None:
    """Let Polars and the core have used their threads before the process is forked."""
    large_digest()
    frame = pl.DataFrame({"x": range(100_000)})
    frame.lazy().group_by((pl.col("x") % 7).alias("z")).agg(
        pl.col("x").sum(), pl.col("x").max().alias("y")
    ).collect()


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.usefixtures("warm")
def test_a_child_sweeps_from_frames_to_the_same_digest(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    assert in_a_child(method, digest) == digest()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.usefixtures("warm")
def test_a_child_starts_threads_of_its_own(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    assert in_a_child(method, large_digest) == large_digest()


@pytest.mark.usefixtures("warm")
def test_a_child_is_forked_while_another_thread_sweeps() -> None:
    exchange = mg.generate(accounts=20_000, seed=1)  # Polars' threads do not survive a fork
    book = mg.Book(exchange.positions, exchange.balances, exchange.instruments)
    market = mg.Market(exchange.instruments, exchange.assets)

    def work() -> str:
        return str(book.sweep(market, exchange.rules, threads=3).manifest["result_digest"])

    with ThreadPoolExecutor(1) as pool:
        beside = [pool.submit(work) for _ in range(5)]
        forked = in_a_child("fork", work)
        assert {forked} == {run.result() for run in beside}


@pytest.mark.parametrize("spoil", [False, True])
@pytest.mark.usefixtures("warm")
def test_a_forked_child_sweeps_the_book_of_its_parent(spoil: bool) -> None:
    night = frames()
    if spoil:
        night["positions"] = with_value(night["positions"], "quantity", 1, float("nan"))
        night["balances"] = with_value(night["balances"], "asset_id", 3, "EUR")
    inputs = (night["positions"], night["balances"], night["instruments"], night["accounts"])
    book = mg.Book(*inputs, on_error="quarantine")
    market, rules = mg.Market(night["instruments"], night["assets"]), rules_of(night)

    def work() -> Any:
        result = book.sweep(market, rules)
        return result.manifest["result_digest"], result.accounts.rows(), result.positions.rows()

    assert in_a_child("fork", work) == work()


@pytest.mark.usefixtures("warm")
def test_a_forked_child_takes_frames_in_chunks_from_every_producer() -> None:
    def night() -> Any:
        parts = {n: pl.concat(list(f.iter_slices(2)), rechunk=False) for n, f in frames().items()}
        return {
            **parts,
            "balances": parts["balances"].to_arrow(),
            "assets": parts["assets"].to_pandas(),
        }

    given = night()
    assert in_a_child("fork", lambda: sweep(given).manifest["result_digest"]) == digest()


@pytest.mark.usefixtures("warm")
def test_a_forked_child_is_told_what_is_wrong() -> None:
    night = frames()
    night["positions"] = with_value(night["positions"], "quantity", 1, float("nan"))

    def work() -> str:
        try:
            sweep(night)
        except mg.MargraveError as error:
            return str(error)
        return ""

    assert in_a_child("fork", work) == work() != ""


def test_twelve_threads_may_sweep_one_book_at_once() -> None:
    exchange = mg.generate(accounts=3_000, seed=3)
    book = mg.Book(exchange.positions, exchange.balances, exchange.instruments)
    market = mg.Market(exchange.instruments, exchange.assets)
    first = book.sweep(market, exchange.rules, threads=1)
    with ThreadPoolExecutor(12) as pool:
        runs = [
            pool.submit(book.sweep, market, exchange.rules, threads=n % 3 + 1) for n in range(12)
        ]
        nights = [run.result() for run in runs]
    for night in nights:
        assert all(getattr(night, name).equals(getattr(first, name)) for name in RESULTS)
    shared = book.sweep(market, exchange.rules)
    with ThreadPoolExecutor(12) as pool:
        tables = list(pool.map(lambda name: getattr(shared, name), RESULTS * 4))
    for name, table in zip(RESULTS * 4, tables, strict=True):
        assert table.equals(getattr(first, name))


@pytest.mark.parametrize("threads", [None, 1, 2, 7, 64, 2**31, 2**63 - 1, 2**64, 10**30])
def test_any_number_of_threads_gives_the_same_bits(threads: int | None) -> None:
    exchange = mg.generate(accounts=1_500, seed=3)
    inputs = (exchange.positions, exchange.balances, exchange.instruments, exchange.assets)
    result, base = (mg.sweep(*inputs, exchange.rules, threads=n) for n in (threads, 1))
    assert {**result.manifest, "seconds": 0} == {**base.manifest, "seconds": 0}


def test_rules_are_pickled_whole() -> None:
    rules = rules_of(frames())
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(rules, protocol))
        assert back == rules
        assert back.hash == rules.hash
        assert back.tiers.equals(rules.tiers)
        assert back.weights.equals(rules.weights)
        assert (back.id, back.title, back.valuation_asset) == ("small", "small", "USD")
    with_book = partial(digest_under, pickle.dumps(rules))
    assert in_a_child("spawn", with_book) == digest()


def digest_under(rules: bytes) -> str:
    night = frames()
    inputs = (night["positions"], night["balances"], night["instruments"], night["assets"])
    result = mg.sweep(*inputs, pickle.loads(rules), accounts=night["accounts"])
    return str(result.manifest["result_digest"])


def test_a_manifest_has_its_keys_and_differs_in_nothing_but_seconds() -> None:
    one, other = sweep(frames()).manifest, sweep(frames(), threads=1).manifest
    assert list(one)[: len(KEYS)] == KEYS
    assert {key: one[key] for key in KEYS[3:8]} == {
        "accounts": 5,
        "buckets": 5,
        "positions": 5,
        "balances": 5,
        "rejects": 0,
    }
    assert one["margrave_version"] == mg.__version__
    assert one["ruleset_hash"] == rules_of(frames()).hash
    for key in ("input_digest", "result_digest"):
        assert len(one[key]) == 64
        assert set(one[key]) <= set("0123456789abcdef")
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


CHANGES: list[tuple[str, str, Any]] = [
    ("positions", "quantity", 7.0),
    ("positions", "account_id", "z"),
    ("positions", "tier_table", "BTC"),
    ("positions", "margin_mode", "cross"),
    ("balances", "amount", 51.0),
    ("balances", "asset_id", "BTC"),
    ("accounts", "account_id", "z"),
    ("instruments", "mark_price", 11.0),
    ("assets", "price", 99.0),
    ("assets", "is_stable", True),
]


@pytest.mark.parametrize(("frame", "column", "value"), CHANGES)
def test_one_other_value_is_another_input(frame: str, column: str, value: Any) -> None:
    night = frames()
    changed = {**night, frame: with_value(night[frame], column, 1, value)}
    assert sweep(changed).manifest["input_digest"] != sweep(night).manifest["input_digest"]


def test_every_repr_says_what_it_holds() -> None:
    night = frames()
    night["positions"] = with_value(night["positions"], "quantity", 1, float("nan"))
    book = mg.Book(
        night["positions"], night["balances"], night["instruments"], on_error="quarantine"
    )
    market, rules = mg.Market(night["instruments"], night["assets"]), rules_of(night)
    assert repr(book) == "Book(4 accounts, 5 positions, 5 balances, 1 rejects)"
    assert repr(market) == "Market(3 instruments, 2 assets)"
    assert repr(rules).startswith(
        "Rules('small', 2 tier tables, 2 weight tables, valued in USD, hash "
    )
    assert rules.hash[:12] in repr(rules)
    assert repr(book.sweep(market, rules)) == (
        "Sweep(4 accounts: 3 healthy, 1 indeterminate; 1 rejects; ruleset 'small')"
    )
    assert repr(mg.Rules.load(SECTIONS)).startswith("Rules('small', 0 tier tables, 0 weight tables")
    exchange = repr(mg.generate(accounts=100, seed=1))
    assert "100 accounts" in exchange
    assert len(exchange) < 300


def test_importing_loads_none_of_the_heavy_packages() -> None:
    heavy = ["pandas", "pyarrow", "numpy", "duckdb", "typer", "rich", "altair"]
    code = f"import margrave, sys; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    assert ran.stdout.strip() == "[]"
