"""Peak memory by stage: frames read, book built, account frame, stress. Each in its own process.

    python -m memory --accounts 1000000

A peak is `VmHWM`, the largest resident memory of the whole process, interpreter and frames
included; the ratio is over the bytes of the input frames. Every stage ends with what it is named
after: `accounts` goes through the book to the account frame, `stress` through the book to the
outcomes of 100 scenarios, book and frames still alive.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cases
from exchange import Shape, read, write
from machine import about, file_name
from peers.process import BENCHES, environment, forget_peak, peak_bytes, threads
from suite import RESULTS, say, scratch

STAGES = ("frames", "book", "accounts", "stress")


def main() -> None:
    """Measure every stage, print it, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m memory")
    parser.add_argument("--accounts", type=int, nargs="+", default=[cases.SMALL])
    parser.add_argument("--columns", choices=("plain", "full"), nargs="+", default=["plain"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(stage(given.stage, given.scratch)))
        return
    result: dict[str, Any] = {**about(), "set": "memory", "cases": []}
    with scratch(given.scratch) as folder:
        for accounts in given.accounts:
            for columns in given.columns:
                result["cases"].append(peaks(Shape(accounts, columns=columns), folder))
    path = given.out if given.out.suffix == ".json" else given.out / file_name("memory")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    say(f"written: {path}")


def peaks(shape: Shape, folder: Path) -> dict[str, Any]:
    """Return the peak of each stage in bytes, and over the bytes of the input frames."""
    path = write(shape, folder)
    size = json.loads((path / "shape.json").read_text())["bytes"]
    say(f"\n{shape.name}: frames of {size / 2**30:.3f} GiB")
    found = {}
    for name in STAGES:
        done = subprocess.run(
            [sys.executable, "-m", "memory", "--stage", name, "--scratch", str(path)],
            cwd=BENCHES,
            env=environment(threads()),
            check=True,
            capture_output=True,
            text=True,
        )
        peak = int(json.loads(done.stdout)["peak"])
        found[name] = {"peak_bytes": peak, "over_frames": round(peak / size, 3)}
        say(f"  {name:10} {peak / 2**30:7.3f} GiB  {peak / size:6.2f} times the frames")
    return {"shape": {**asdict(shape), "bytes": size}, "stages": found}


def stage(name: str, folder: Path) -> dict[str, int]:
    """Return this process's peak once it has come as far as the stage."""
    exchange = read(folder)
    forget_peak()
    kept: list[Any] = []
    if name != "frames":
        from peers import ours

        book = ours.book_of(exchange)
        kept.append(book)
        if name == "accounts":
            kept.append(ours.sweep_of(book, exchange).accounts)
        if name == "stress":
            kept.append(ours.stress_of(book, exchange))
    return {"peak": peak_bytes()}


if __name__ == "__main__":
    main()
