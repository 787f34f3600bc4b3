"""Frames in, account frame out: Margrave beside Polars with the same answer.

    pytest benches/end_to_end.py

A million accounts and five million positions of `mg.generate`; `MARGRAVE_BENCH_ACCOUNTS` takes
another number, `MARGRAVE_BENCH_ROUNDS` another than 5. The answers are compared before anything
is timed. `README.md` beside this file says what is compared and what each form leaves out.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import margrave as mg
from peers.polars_sweep import COLUMNS, MONEY, RATIOS
from peers.process import NAMES, Cost, Peer, write_exchange

ACCOUNTS = int(os.environ.get("MARGRAVE_BENCH_ACCOUNTS", "1_000_000"))
ROUNDS = int(os.environ.get("MARGRAVE_BENCH_ROUNDS", "5"))
SEED = 7
TOLERANCE = 1e-9
ROUNDING = 1e-14
LABELS = {
    "margrave": "margrave",
    "polars": "Polars, same answer",
    "thin": "Polars, thin",
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The exchange, written once for every process, and gone in the end."""
    with TemporaryDirectory() as name:
        path = Path(name)
        write_exchange(mg.generate(ACCOUNTS, seed=SEED), path)
        yield path


@pytest.fixture
def peers(folder: Path) -> Iterator[dict[str, Peer]]:
    """All peers, running and waiting, their answers compared."""
    compare_answers(folder)
    with ExitStack() as stack:
        yield {name: stack.enter_context(Peer(name, folder)) for name in NAMES}


def test_frames_to_account_frame(
    benchmark: BenchmarkFixture,
    peers: dict[str, Peer],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = {name: peer.run() for name, peer in peers.items()}
    rounds: dict[str, list[Cost]] = {name: [] for name in peers}

    def others() -> None:
        """The other peers' round, outside Margrave's time: so the rounds are interleaved."""
        for name in peers:
            if name != "margrave":
                rounds[name].append(peers[name].run())

    def margrave() -> None:
        rounds["margrave"].append(peers["margrave"].run())

    # pytest-benchmark leaves this one untyped.
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        margrave, setup=others, rounds=ROUNDS
    )
    lines = report(first, rounds, folder)
    benchmark.extra_info["report"] = lines
    with capsys.disabled():
        print("\n\n" + "\n".join(lines))


# Answers


def compare_answers(folder: Path) -> None:
    """Fail unless both answers are the same: ids, order, counts and words exactly, figures to
    `TOLERANCE` of themselves."""
    frames = {}
    for name in NAMES:
        with Peer(name, folder) as peer:
            frames[name] = peer.answer(folder / f"{name}-accounts.arrow")
    ours, theirs = frames["margrave"], frames["polars"]
    assert ours.columns == theirs.columns == COLUMNS
    assert ours.height == theirs.height == frames["thin"].height == ACCOUNTS
    assert ours.schema == theirs.schema
    for column in ("account_id", "status", "is_liquidatable", "positions", "ladder"):
        assert ours[column].equals(theirs[column], null_equal=True), column
    counts = pl.DataFrame(
        {name: [_apart(ours, theirs, name)] for name in (*MONEY, *RATIOS)},
    )
    apart = {name: count for name, count in counts.row(0, named=True).items() if count}
    assert not apart, f"accounts whose figure is not the same: {apart}"


def _apart(ours: pl.DataFrame, theirs: pl.DataFrame, name: str) -> int:
    """Return in how many accounts the figures differ.

    A figure near 0 may be the difference of two large ones, whose last digits depend on the
    order of a sum; so `ROUNDING` of what the account turns over is allowed beside.
    """
    left, right = ours[name], theirs[name]
    assert not left.is_nan().any(), name
    turnover = ours["gross_notional"] + ours["collateral_value"] + ours["debt_value"]
    larger = pl.select(pl.max_horizontal(left.abs(), right.abs())).to_series()
    rounding = ROUNDING * turnover
    if name in RATIOS:
        least = pl.select(pl.min_horizontal(ours["margin_balance"].abs(), ours["equity"].abs()))
        rounding = rounding * larger / least.to_series()
    near = (left - right).abs() <= TOLERANCE * larger + rounding
    same = left.eq_missing(right) | (left.is_finite() & right.is_finite() & near)
    return ours.height - int(same.fill_null(value=False).sum())


# Report


def report(first: dict[str, Cost], rounds: dict[str, list[Cost]], folder: Path) -> list[str]:
    """Return the lines to read: the ratio, the table, and what it was measured on."""
    best = {name: min(cost.seconds for cost in costs) for name, costs in rounds.items()}
    counts = [
        pl.scan_ipc(folder / f"{name}.arrow").select(pl.len()) for name in ("positions", "balances")
    ]
    positions, balances = (frame.item() for frame in pl.collect_all(counts))
    lines = [
        f"frames in, account frame out: {ACCOUNTS:,} accounts, {positions:,} positions, "
        f"{balances:,} balances, seed {SEED}; answers equal",
        f"margrave is {best['polars'] / best['margrave']:.2f} times as fast as Polars with the "
        f"same answer, {best['thin'] / best['margrave']:.2f} times as fast as the thin form",
        "",
        f"{'':20} {'min s':>8} {'median s':>9} {'CPU s':>8} {'first s':>8} {'peak GiB':>9}",
    ]
    for name, costs in rounds.items():
        lines.append(
            f"{LABELS[name]:20} {best[name]:8.3f} "
            f"{statistics.median(cost.seconds for cost in costs):9.3f} "
            f"{min(cost.cpu_seconds for cost in costs):8.3f} "
            f"{first[name].seconds:8.3f} "
            f"{max(cost.peak_bytes for cost in costs) / 2**30:9.2f}"
        )
    return [*lines, "", *machine()]


def machine() -> list[str]:
    """Return what the figures hold for: processor, system, versions, command."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    settings = [f"{name}={os.environ[name]}" for name in sorted(os.environ) if name in SETTINGS]
    return [
        f"{_processor()}, {cores} cores, {memory:.0f} GiB, {platform.platform()}",
        f"Python {platform.python_version()}, Polars {pl.__version__} on "
        f"{pl.thread_pool_size()} threads, margrave {mg.__version__} on {cores}",
        f"{ROUNDS} rounds, interleaved, after one call each; times are of processes of their own",
        " ".join([*settings, "pytest", *sys.argv[1:]]),
    ]


SETTINGS = ("MARGRAVE_BENCH_ACCOUNTS", "MARGRAVE_BENCH_ROUNDS", "POLARS_MAX_THREADS")


def _processor() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
