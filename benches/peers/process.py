"""One peer in a process of its own, so that its peak memory is its own.

`Peer(name, folder)` starts one on the frames that `write_exchange(exchange, folder)` wrote;
`Peer.run()` returns the `Cost` of one call, frames in, account frame out. The peer waits between
calls, so that the rounds of several can be interleaved.
"""

from __future__ import annotations

import gc
import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Protocol

import polars as pl

BENCHES = Path(__file__).resolve().parents[1]
FRAMES = ("positions", "balances", "instruments", "assets")
TABLES = ("tiers", "weights")
NAMES = ("margrave", "polars", "thin")


class Exchange(Protocol):
    """What `mg.generate` returns."""

    @property
    def positions(self) -> pl.DataFrame: ...
    @property
    def balances(self) -> pl.DataFrame: ...
    @property
    def instruments(self) -> pl.DataFrame: ...
    @property
    def assets(self) -> pl.DataFrame: ...
    @property
    def rules(self) -> Any: ...


@dataclass(frozen=True)
class Cost:
    """What one call took: seconds on the clock and on all processors, and the process's peak
    memory so far in bytes, its frames included."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Peer:
    """A running peer; use it in a `with` statement."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peers.process", name, str(folder)],
            cwd=BENCHES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self) -> Cost:
        """Return the cost of one more call."""
        return Cost(**self._ask("run"))

    def answer(self, path: Path) -> pl.DataFrame:
        """Return the account frame that the peer gives."""
        self._ask(f"answer {path}")
        return pl.read_ipc(path)

    def _ask(self, request: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"{self.name} ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The end of its input ends it.
        self._process.communicate()


def write_exchange(exchange: Exchange, folder: Path) -> None:
    """Write the frames and tables, in one chunk each, for peers to read."""
    for name in FRAMES:
        _write(getattr(exchange, name), folder / f"{name}.arrow")
    for name in TABLES:
        _write(getattr(exchange.rules, name), folder / f"{name}.arrow")


def _write(frame: pl.DataFrame, path: Path) -> None:
    frame.write_ipc(path, record_batch_size=max(1, frame.height))


def _sweep(name: str, folder: Path) -> Callable[[], pl.DataFrame]:
    """Return the peer's call, everything it needs read and imported."""
    frames = {frame: pl.read_ipc(folder / f"{frame}.arrow") for frame in FRAMES}
    tables = {table: pl.read_ipc(folder / f"{table}.arrow") for table in TABLES}
    if name == "margrave":
        margrave = importlib.import_module("margrave")
        # Market and conventions depend on the seed alone; the tables are those written.
        rules = margrave.generate(1).rules.with_tables(**tables)
        return lambda: margrave.sweep(*frames.values(), rules).accounts
    peer = importlib.import_module("peers.polars_sweep")
    exchange = SimpleNamespace(**frames, rules=SimpleNamespace(**tables))
    call = peer.same_answer if name == "polars" else peer.thin
    return lambda: call(exchange)


def _measure(sweep: Callable[[], pl.DataFrame]) -> Cost:
    """Return the cost of one call, the release of its result included."""
    gc.collect()
    cpu, start = time.process_time(), time.perf_counter()
    accounts = sweep()
    del accounts
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    # Linux counts it in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(seconds, cpu_seconds, peak)


def _serve(name: str, folder: Path) -> None:
    """Answer requests from standard input until it ends."""
    sweep = _sweep(name, folder)
    for line in sys.stdin:
        request, _, path = line.strip().partition(" ")
        if request == "answer":
            _write(sweep(), Path(path))
            print("{}", flush=True)
        else:
            print(json.dumps(asdict(_measure(sweep))), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]))
