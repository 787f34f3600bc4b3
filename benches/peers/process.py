"""One peer in a process of its own, so that its memory, its threads and its first call are its own.

`Peer(work, name, folder)` starts one on the frames in `folder` (`exchange.write` wrote them);
`Peer.run()` returns the `Cost` of one call. The peer waits between calls, so that the rounds of
several can be interleaved. `exchange`, `task` and the peers themselves are imported in that
process alone.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peers.task import Task

BENCHES = Path(__file__).resolve().parents[1]

#: Settings that some systems make, and that slow NumPy and the rest down.
FOREIGN = ("OPENBLAS_", "OMP_", "MKL_", "NPY_", "NUMBA_", "POLARS_", "MALLOC_", "GLIBC_TUNABLES")


@dataclass(frozen=True)
class Cost:
    """What one call took: seconds on the clock and on all processors, and the process's peak
    memory so far in bytes, its frames included."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


class Missing(RuntimeError):
    """The peer's library is not installed."""


def threads() -> int:
    """Return how many threads a peer may use: as many as it has processors."""
    return len(os.sched_getaffinity(0))


def environment(count: int) -> dict[str, str]:
    """Return the environment of a peer: as many threads for each library, nothing else set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    names = ("POLARS_MAX_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
    return {**kept, **dict.fromkeys(names, str(count))}


class Peer:
    """A running peer; use it in a `with` statement."""

    def __init__(self, work: str, name: str, folder: Path, *, cores: int | None = None) -> None:
        self.name = name
        count = threads() if cores is None else cores
        self._process = subprocess.Popen(
            [sys.executable, "-m", "peers.process", work, name, str(folder), str(count)],
            cwd=BENCHES,
            env=environment(count),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self) -> Cost:
        """Return the cost of one more call."""
        return Cost(**self._ask("run"))

    def answer(self, path: Path) -> None:
        """Write the answer of one more call as a frame."""
        self._ask(f"answer {path}")

    def _ask(self, request: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError(f"{self.name} ended with exit code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(reply)
        if "missing" in answer:
            raise Missing(answer["missing"])
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


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far.

    Not `ru_maxrss`, which a process inherits from the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the peak of memory")


def forget_peak() -> None:
    """Count the peak from now on: what reading the frames took beside them is not the peer's."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(task: Task) -> Cost:
    """Return the cost of one call, the release of its result included."""
    gc.collect()
    cpu, start = time.process_time(), time.perf_counter()
    result = task.call()
    del result
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    return Cost(seconds, cpu_seconds, peak_bytes())


def _serve(work: str, name: str, folder: Path) -> None:
    """Answer requests from standard input until it ends."""
    from exchange import read
    from peers.catalogue import load

    try:
        factory = load(work, name)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    exchange = read(folder)
    forget_peak()
    task = factory(exchange)
    for line in sys.stdin:
        request, _, path = line.strip().partition(" ")
        if request == "answer":
            task.answer(task.call()).write_ipc(Path(path))
            print("{}", flush=True)
        else:
            print(json.dumps(asdict(measure(task))), flush=True)


if __name__ == "__main__":
    work, name, folder, count = sys.argv[1:]
    cores = sorted(os.sched_getaffinity(0))[: int(count)]
    os.sched_setaffinity(0, cores)
    _serve(work, name, Path(folder))
