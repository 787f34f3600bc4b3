"""Two runs publish one night at the same time, again and again: exactly one wins.

    PYTHONPATH=tests python -m faults.race --rounds 1000

Both look at the place, write, wait for one another, and commit at once. The place is a new one,
a date that is replaced, or a folder that is overwritten, in turn. After each round it holds what
the winner wrote, and nothing is beside it; the loser says that another run was first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from command_line import environment, names

__all__ = ["main", "race"]

_WRITER = """
import json, sys
from pathlib import Path
{plant}
from margrave.publish import Publication, UnpublishedError

for line in iter(sys.stdin.readline, ""):
    asked = json.loads(line)
    files = asked.pop("files")
    with Publication(Path(asked.pop("out")), **asked) as publication:
        for name, text in files.items():
            publication.write(name, text)
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            publication.commit()
            said = "won"
        except UnpublishedError as error:
            said = str(error).splitlines()[0]
    print(said, flush=True)
"""

WRITERS = ("one", "other")


def race(rounds: int, plant: str = "") -> Counter[str]:
    """Return how often each writer won.

    Raises:
        AssertionError: Not exactly one won, or something else than the winner's is there.
    """
    won: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        writers = [stack.enter_context(_writer(plant)) for _ in WRITERS]
        for number in range(rounds):
            won[WRITERS[_round(number, folder, writers)]] += 1
    return won


def _round(number: int, folder: Path, writers: Sequence[subprocess.Popen[str]]) -> int:
    """Return which of the writers won."""
    around = folder / "around"
    place, options = _place(number, around)
    given = [_files(name, number) for name in WRITERS]
    for writer, files in zip(writers, given, strict=True):
        _tell(writer, {**options, "files": files})
    for writer in writers:
        assert _heard(writer) == "ready"
    for writer in writers:
        _tell(writer, "go")
    said = [_heard(writer) for writer in writers]
    assert said.count("won") == 1, f"round {number}: {said}"
    winner = said.index("won")
    assert "another run has published there" in said[1 - winner], f"round {number}: {said}"
    found = {str(p.relative_to(place)): p.read_text("utf-8") for p in place.rglob("*.*")}
    assert found == given[winner], f"round {number}: {found}"
    assert names(around) == [place.name], f"round {number}: {names(around)}"
    return winner


def _place(number: int, around: Path) -> tuple[Path, dict[str, object]]:
    """Return the place of a round, and what a publication there is asked."""
    place = around / "business_date=2026-11-28"
    if number % 3 == 0:  # nothing is there
        shutil.rmtree(around, ignore_errors=True)
        around.mkdir()
    if number % 3 == 2:  # no date is named
        return place, {"out": str(place), "overwrite": True}
    return place, {"out": str(around), "date": "2026-11-28"}


def _files(name: str, number: int) -> dict[str, str]:
    text = f"{name} {number}"
    return {"accounts/shard-00000.parquet": text, "totals.parquet": text, "manifest.json": text}


@contextlib.contextmanager
def _writer(plant: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER.format(plant=plant)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _tell(writer: subprocess.Popen[str], what: object) -> None:
    assert writer.stdin is not None
    writer.stdin.write(json.dumps(what) + "\n")
    writer.stdin.flush()


def _heard(writer: subprocess.Popen[str]) -> str:
    assert writer.stdout is not None
    return writer.stdout.readline().strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 where every round had one winner."""
    parser = argparse.ArgumentParser(prog="python -m faults.race", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    won = race(options.rounds)
    each = ", ".join(f"{name} won {count}" for name, count in sorted(won.items()))
    print(f"{options.rounds} races, one winner each: {each}; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
