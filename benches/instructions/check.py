"""Instructions of a fixed piece of work, counted by callgrind, against the figures on record.

    python benches/instructions/check.py             exits with 1 where one moved by over 3 %
    python benches/instructions/check.py --update    writes what was counted to figures.json

One thread, 20,000 synthetic accounts. Each work is counted with one call and with six, and the
difference divided by five and by the rows: what is prepared cancels out. Counts depend on the
compiler and the processor's vectors; where those are not the ones on record it says so, loudly,
prints the counts and holds nothing.

The C library copies and clears larger runs by one `rep` instruction, of which callgrind counts
every byte. It is told to use vectors instead: an instruction for 32 bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
FIGURES = Path(__file__).with_name("figures.json")
WORKS = {
    "ingest": "row",
    "ingest_grouped": "row",
    "ingest_texts": "row",
    "sweep": "position",
    "positions": "position",
    "stress": "account-scenario",
}
MORE_CALLS = 6
TUNABLES = ":".join(f"glibc.cpu.x86_rep_{name}_threshold={2**30}" for name in ("movsb", "stosb"))
TOLERANCE = 0.03


def platform() -> dict[str, str]:
    """Return what counts depend on: minor version of the compiler, target, widest vectors."""
    said = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="utf-8").split() if cpu.exists() else []
    return {
        "rustc": ".".join(facts["release"].split(".")[:2]),
        "target": facts["host"],
        "vectors": "avx2" if "avx2" in flags and "fma" in flags else "baseline",
    }


def build() -> Path:
    """Return the binary, built in release."""
    command = ["cargo", "build", "--release", "--bench", "instructions", "--message-format=json"]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in ran.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "instructions" and message.get("executable"):
            return Path(message["executable"])
    raise SystemExit("cargo built no binary")


def run(binary: Path, work: str, calls: int) -> tuple[int, int]:
    """Return the instructions of the whole process, and the rows that a call handles."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    ran = subprocess.run(
        [*command, str(binary), work, str(calls)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GLIBC_TUNABLES": TUNABLES},
    )
    collected = re.search(r"Collected\s*:\s*(\d+)", ran.stderr)
    if ran.returncode or collected is None:
        raise SystemExit(f"{work} failed under callgrind:\n{ran.stderr}")
    return int(collected[1]), int(ran.stdout)


def count(binary: Path) -> dict[str, float]:
    """Return the instructions a row of each work."""

    def each(work: str) -> float:
        (few, rows), (many, _) = run(binary, work, 1), run(binary, work, MORE_CALLS)
        return round((many - few) / (MORE_CALLS - 1) / rows, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(WORKS, pool.map(each, WORKS), strict=True))


def compare(counted: dict[str, float], recorded: dict[str, float]) -> bool:
    """Print each figure beside the one on record; return whether all are within 3 %."""
    stands = True
    for work, unit in WORKS.items():
        now, then = counted[work], recorded.get(work)
        line = f"{work:15}{now:9.1f} instructions a {unit}"
        if then is None:
            stands = False
            line += "  none on record"
        else:
            moved = now / then - 1
            line += f"{then:11.1f} on record  {moved:+.1%}"
            if abs(moved) > TOLERANCE:
                stands = False
                line += "  MOVED"
        print(line)
    return stands


def skip(why: str) -> None:
    print(f"\n{'!' * 78}\nINSTRUCTIONS NOT HELD: {why}\n{'!' * 78}\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold instruction counts within 3 %.")
    parser.add_argument("--update", action="store_true", help="write figures.json")
    update = parser.parse_args().update
    if shutil.which("valgrind") is None:
        skip("valgrind is not installed")
        return int(update)
    here = platform()
    recorded: dict[str, Any] = {}
    if FIGURES.exists():
        recorded = json.loads(FIGURES.read_text(encoding="utf-8"))
    counted = count(build())
    stands = compare(counted, recorded.get("instructions", {}))
    if update:
        FIGURES.write_text(json.dumps({**here, "instructions": counted}, indent=2) + "\n", "utf-8")
        return 0
    differs = [
        f"{name} {value}, on record {recorded.get(name)}"
        for name, value in here.items()
        if value != recorded.get(name)
    ]
    if differs:
        skip("; ".join(differs))
        return 0
    if not stands:
        print("What is meant to be so: say why in the commit, and record it with --update.")
    return int(not stands)


if __name__ == "__main__":
    sys.exit(main())
