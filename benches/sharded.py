"""A whole exchange in less memory than it takes: cut, swept and verified under the kernel's limit.

    python -m sharded --accounts 10000000 --limit 6GiB --shards 16

Every step is the command line in a process of its own, inside a control group whose memory the
kernel limits: one that takes more is killed. Needs root, or a control group that may be written
to. The night is generated outside of the limit. What is printed for each step: seconds, the
largest resident memory of the process, and the most memory that the group has held so far, files
in the page cache included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl

from machine import about, file_name
from margrave import memory
from suite import RESULTS, say, scratch

ROOT = Path("/sys/fs/cgroup")


class Group:
    """A control group with a limit on memory; its processes are those that `join` was called in."""

    def __init__(self, limit: int) -> None:
        """Make it.

        Raises:
            OSError: It cannot be made.
        """
        is_second = (ROOT / "cgroup.controllers").exists()
        self._folder = (ROOT if is_second else ROOT / "memory") / f"margrave-{os.getpid()}"
        self._folder.mkdir()
        name, self._peak = (
            ("memory.max", "memory.peak")
            if is_second
            else ("memory.limit_in_bytes", "memory.max_usage_in_bytes")
        )
        (self._folder / name).write_text(str(limit))

    def join(self) -> None:
        """Put this process into it."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self) -> int:
        """Return the most bytes that it held, page cache included."""
        return int((self._folder / self._peak).read_text())

    def close(self) -> None:
        """Remove it."""
        self._folder.rmdir()


def step(group: Group, *arguments: object) -> dict[str, Any]:
    """Run a command inside the group; it must end with 0."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "margrave", *map(str, arguments), "--quiet"],
        preexec_fn=group.join,
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise SystemExit(f"margrave {arguments[0]} ended with {code}")
    peak, of_group = usage.ru_maxrss * 1024, group.peak()
    say(
        f"{arguments[0]!s:8} {seconds:8.1f} s   peak {memory.shown(peak)}, "
        f"with page cache {memory.shown(of_group)}"
    )
    return {
        "step": str(arguments[0]),
        "seconds": seconds,
        "peak_bytes": peak,
        "group_peak_bytes": of_group,
    }


def main() -> None:
    """Do all steps, print them, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m sharded")
    parser.add_argument("--accounts", type=int, default=10_000_000)
    parser.add_argument("--limit", default="6GiB")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--scratch", type=Path)
    given = parser.parse_args()
    limit = memory.parsed(given.limit)
    result: dict[str, Any] = {**about(), "set": "sharded", "limit_bytes": limit}
    result |= {"accounts": given.accounts, "shards": given.shards}
    with scratch(given.scratch) as folder:
        night, cut, out = folder / "night", folder / "cut", folder / "out"
        command = [sys.executable, "-m", "margrave", "generate", "--quiet"]
        say(f"generating {given.accounts:,} accounts")
        subprocess.run(
            [*command, "--accounts", str(given.accounts), "--out", str(night)], check=True
        )
        group = Group(limit)
        try:
            steps = [
                step(group, "shard", night, "--shards", given.shards, "--out", cut),
                step(group, "sweep", cut, "--out", out),
                step(group, "verify", out),
            ]
        finally:
            group.close()
        totals = pl.read_parquet(out / "totals.parquet")
        facts = json.loads((out / "manifest.json").read_text())
    result |= {"steps": steps, "positions": facts["positions"]}
    say(f"{totals['accounts'].item():,} accounts, {facts['positions']:,} positions")
    path = given.out if given.out.suffix == ".json" else given.out / file_name("sharded")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    say(f"written: {path}")


if __name__ == "__main__":
    main()
