"""Margrave alone, from frames to frames, by pytest-benchmark: every work, in the shapes of users.

    pytest benches/end_to_end.py

Ingest, sweep, positions, totals, stress and breach, by size, id type, order of rows, chunks and
threads; each warm, and cold: the cold ones are the first call of a process of its own. The peers
are in `suite.py`, which compares answers; here are only times. `MARGRAVE_BENCH_ACCOUNTS` takes
another number of accounts than 100,000, `MARGRAVE_BENCH_ROUNDS` another of rounds than 5.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import margrave as mg
from exchange import Exchange, Shape, read, write
from peers import ours
from peers.process import Peer, threads

ACCOUNTS = int(os.environ.get("MARGRAVE_BENCH_ACCOUNTS", "100_000"))
ROUNDS = int(os.environ.get("MARGRAVE_BENCH_ROUNDS", "5"))

USUAL = Shape(ACCOUNTS)
SIZES = [Shape(max(1, ACCOUNTS // k)) for k in (100, 10, 1)]
SHAPES = [
    USUAL,
    Shape(ACCOUNTS, columns="full"),
    Shape(ACCOUNTS, ids="text"),
    Shape(ACCOUNTS, ids="enum"),
    Shape(ACCOUNTS, order="grouped"),
    Shape(ACCOUNTS, order="sorted"),
    Shape(ACCOUNTS, order="skewed"),
    Shape(ACCOUNTS, chunks=64),
]
STRESSED = [Shape(ACCOUNTS, columns="full"), Shape(ACCOUNTS, ids="text")]
"""Beside the sizes: what a prepared book still feels."""
THREADS = sorted({1, min(2, threads()), threads()})


def shown(shape: Shape) -> str:
    """The name of a shape in pytest's table."""
    return f"{shape.accounts}-{shape.columns}-{shape.order}-{shape.ids}-{shape.chunks}"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The exchanges, written once each, gone in the end."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def exchange(request: pytest.FixtureRequest, folder: Path) -> Exchange:
    """The exchange of the shape that the test asks for."""
    return read(write(request.param, folder))


def timed(benchmark: BenchmarkFixture, exchange: Exchange, call: Callable[[], Any]) -> None:
    """Time a call after a warm one; the release of its result is inside."""

    def released() -> None:
        call()

    rows = exchange.positions.height
    benchmark.extra_info["positions"] = rows
    benchmark.extra_info["rows"] = rows + exchange.balances.height
    # pytest-benchmark leaves this one untyped.
    benchmark.pedantic(released, rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("exchange", [*SIZES, *SHAPES[1:]], indirect=True, ids=shown)
@pytest.mark.benchmark(group="ingest")
def test_ingest(benchmark: BenchmarkFixture, exchange: Exchange) -> None:
    timed(benchmark, exchange, ours.book(exchange).call)


@pytest.mark.parametrize("exchange", [*SIZES, *SHAPES[1:]], indirect=True, ids=shown)
@pytest.mark.benchmark(group="sweep")
def test_sweep(benchmark: BenchmarkFixture, exchange: Exchange) -> None:
    timed(benchmark, exchange, ours.hot(exchange).call)


@pytest.mark.parametrize("exchange", [*SIZES, *SHAPES[1:]], indirect=True, ids=shown)
@pytest.mark.benchmark(group="positions")
def test_positions(benchmark: BenchmarkFixture, exchange: Exchange) -> None:
    timed(benchmark, exchange, ours.positions(exchange).call)


@pytest.mark.parametrize("exchange", SIZES, indirect=True, ids=shown)
@pytest.mark.benchmark(group="totals")
def test_totals(benchmark: BenchmarkFixture, exchange: Exchange) -> None:
    timed(benchmark, exchange, ours.totals(exchange).call)


@pytest.mark.parametrize("exchange", [*SIZES, *STRESSED], indirect=True, ids=shown)
@pytest.mark.benchmark(group="stress, 100 scenarios")
def test_stress(benchmark: BenchmarkFixture, exchange: Exchange) -> None:
    timed(benchmark, exchange, ours.stress(exchange).call)


@pytest.mark.parametrize("exchange", [*SIZES, *STRESSED], indirect=True, ids=shown)
@pytest.mark.benchmark(group="breach")
def test_breach(benchmark: BenchmarkFixture, exchange: Exchange) -> None:
    timed(benchmark, exchange, ours.breach(exchange).call)


@pytest.mark.parametrize("exchange", [*SIZES, *SHAPES[1:]], indirect=True, ids=shown)
@pytest.mark.benchmark(group="frames to account frame")
def test_frames_to_account_frame(benchmark: BenchmarkFixture, exchange: Exchange) -> None:
    timed(benchmark, exchange, ours.frames(exchange).call)


@pytest.mark.parametrize("count", THREADS)
@pytest.mark.parametrize("exchange", [USUAL], indirect=True, ids=shown)
@pytest.mark.benchmark(group="threads")
def test_threads(benchmark: BenchmarkFixture, exchange: Exchange, count: int) -> None:
    rules = ours.rules_of(exchange)
    frames = (exchange.positions, exchange.balances, exchange.instruments, exchange.assets)
    timed(benchmark, exchange, lambda: mg.sweep(*frames, rules, threads=count).accounts)


@pytest.mark.parametrize("work", ["w1", "hot", "w3", "positions", "totals", "w2", "breach"])
@pytest.mark.benchmark(group="first call of a process")
def test_first_call(benchmark: BenchmarkFixture, folder: Path, work: str) -> None:
    path = write(USUAL, folder)
    seconds: list[float] = []

    def first() -> None:
        """Start a process and keep what its first call says of itself: that is the figure."""
        with Peer(work, "margrave", path) as peer:
            seconds.append(peer.run().seconds)

    # pytest's own column holds the start of the process too; `first` in the JSON does not.
    benchmark.pedantic(first, rounds=min(3, ROUNDS))  # type: ignore[no-untyped-call]
    benchmark.extra_info["first"] = seconds
