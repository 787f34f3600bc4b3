"""Every system call of `sweep` and `stress` under their output fails once, by every fault.

    PYTHONPATH=tests python -m faults.loop   (make faults: every call, a quarter of an hour)
    PYTHONPATH=tests python -m faults.loop --calls 20

After each fault the place holds the old night or the new one, byte for byte (seconds apart), the
exit code says which, and the same command once more leaves the new night and nothing beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from command_line import TABLES, make_night
from faults.calls import FAULTS, Call, Run, why_not
from faults.nursery import Ended, Nursery

__all__ = ["COMMANDS", "Case", "judge", "main", "prepared"]

COMMANDS = ("sweep", "stress", "first")

#: What a night is, file by file; None where there is none.
Content = dict[str, bytes] | None

#: Seconds that a fault may cost a run: it never hangs.
SLOW = 60.0

#: Calls without which nothing is kept, whatever else goes well.
_VITAL = ("write", "fsync", "mkdir", "rename", "renameat2")

_DATE = "business_date=2026-11-28"
_OTHER = "business_date=2026-11-27"


@dataclass(frozen=True)
class Case:
    """A command, its place with the old night in it, and what the new night is.

    Attributes:
        run: The command.
        old: What is in place before: a copy is put there for each fault.
        old_content: The same, as it is compared.
        new_content: What the command publishes.
        is_final: Whether the command is refused where it has published already.
    """

    run: Run
    old: Path
    old_content: Content
    new_content: Content
    is_final: bool

    def reset(self) -> None:
        """Put the old night in place, and nothing else."""
        around = self.run.place.parent
        shutil.rmtree(around, ignore_errors=True)
        shutil.copytree(self.old, around)

    def beside(self) -> list[str]:
        """Return what is beside the place and was not there before."""
        known = {path.name for path in self.old.iterdir()} | {self.run.place.name}
        return sorted(
            path.name for path in self.run.place.parent.iterdir() if path.name not in known
        )


@contextlib.contextmanager
def prepared(command: str, plant: str = "") -> Iterator[Case]:
    """Make the case of `command`; `plant` is Python that spoils its runs.

    `sweep` replaces a date, beside another one; `stress` overwrites a folder in which somebody
    keeps notes; `first` is a sweep to where nothing was.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())).resolve()
        sound, spoilt = Nursery(), Nursery(plant) if plant else None
        stack.callback(sound.close)
        made = _case(command, folder, sound)
        if spoilt is not None:
            stack.callback(spoilt.close)
            made = replace(made, run=replace(made.run, nursery=spoilt))
        yield made


def _case(command: str, folder: Path, nursery: Nursery) -> Case:
    night = make_night(folder / "night")
    around, old = folder / "around", folder / "old"
    place, notes = around / "out", dict[str, str]()
    tables: Sequence[str] = TABLES
    arguments = ["sweep", str(night), "--out", str(place)]
    if command == "sweep":
        place = around / _DATE
        arguments = ["sweep", str(night), "--out", str(around), "--date", "2026-11-28"]
    elif command == "stress":
        moves = folder / "moves.csv"
        moves.write_text("scenario_id,factor,price_shock\ndown,*,-0.1\nup,*,0.1\n", "utf-8")
        arguments = ["stress", *arguments[1:], "--overwrite", "--scenarios", str(moves)]
        tables, notes = ("scenarios", "accounts"), {"notes.txt": "mine"}
    files = [*(f"{name}.parquet" for name in tables), "manifest.json", *notes]
    run = Run(nursery, arguments, place, files)
    around.mkdir()
    if command != "first":
        _publish(run)
        for name, text in notes.items():
            (place / name).write_text(text, "utf-8")
    if command == "sweep":
        shutil.copytree(place, around / _OTHER)
    old_content = content(place)
    shutil.copytree(around, old)
    _double(night)
    _publish(run)
    new_content = content(place)
    assert old_content != new_content
    made = Case(run, old, old_content, new_content, is_final=command == "first")
    made.reset()
    return made


def _publish(run: Run) -> None:
    ended = run.plain()
    if ended.code not in (0, 1):
        raise AssertionError(ended.err)


def _double(night: Path) -> None:
    """Change the night, so that the old result and the new one differ in every table."""
    for name, column in (("positions", "quantity"), ("balances", "amount")):
        file = night / f"{name}.parquet"
        pl.read_parquet(file).with_columns(pl.col(column) * 2).write_parquet(file)


def content(place: Path) -> Content:
    """Return what is at `place`, the seconds in the manifest apart."""
    if not place.exists():
        return None
    found = {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if not path.is_dir()
    }
    if "manifest.json" in found:
        with contextlib.suppress(ValueError):  # half a manifest is compared as it is
            facts = json.loads(found["manifest.json"])
            kept = {key: value for key, value in facts.items() if key not in ("seconds", "machine")}
            found["manifest.json"] = json.dumps(kept).encode()
    return found


def judge(case: Case, fault: str, calls: Sequence[Call], at: int) -> tuple[str, str]:
    """Return what became of a run with a fault, and what is wrong with that; empty if nothing is.

    The word for what became of it: `unhit` where the run did not come to that call, `killed` or
    the exit code, then `old` or `new`.
    """
    case.reset()
    began = time.monotonic()
    ended, was_hit = case.run.with_fault(fault, calls, at)
    took = time.monotonic() - began
    found = content(case.run.place)
    which = "new" if found == case.new_content else "old" if found == case.old_content else "mixed"
    how = "killed" if ended.code == -9 else f"exit {ended.code}"
    word = f"{how}, {which}" if was_hit else "unhit"
    wrong = [*_wrong(ended, which, fault, calls[at].name), *(["it hung"] if took > SLOW else [])]
    if not was_hit:
        wrong.append("the run did not come to that call")
    debris = case.beside()
    again = case.run.plain()
    if again.code != (2 if case.is_final and which == "new" else 0):
        wrong.append(f"the next run ends in {again.code}: {again.err}")
    if content(case.run.place) != case.new_content:
        wrong.append("the next run does not publish")
    if case.beside():
        wrong.append(f"the next run leaves {case.beside()} of {debris}")
    wrong += _neighbours(case)
    return word, "; ".join(wrong)


def _wrong(ended: Ended, which: str, fault: str, name: str) -> Iterator[str]:
    if which == "mixed":
        yield "neither the old night nor the new one"
    if ended.code == 0 and which != "new":
        yield "exit code 0, and the new night is not there"
    if ended.code == 0 and name in _VITAL:
        yield f"exit code 0, though {name} failed"
    if ended.code == 4 and which != ("new" if "in its place" in ended.err else "old"):
        yield f"exit code 4, and the {which} night is there: {ended.err}"
    if ended.code == 4 and ("error: " not in ended.err or "hint: " not in ended.err):
        yield f"it does not say what happened: {ended.err}"
    if ended.code not in ({-9, 0} if fault == "SIGKILL" else {0, 4}):
        yield f"exit code {ended.code}: {ended.err}"


def _neighbours(case: Case) -> Iterator[str]:
    for path in case.old.iterdir():
        if path.name != case.run.place.name and content(path) != content(
            case.run.place.with_name(path.name)
        ):
            yield f"{path.name} is not as it was"


@dataclass
class Row:
    """The figures of a command under a fault."""

    calls: int = 0
    words: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def row(case: Case, fault: str, first: int | None = None) -> Row:
    """Return the figures of a command under a fault at its calls, or the `first` so many."""
    figures = Row()
    calls = case.run.calls()
    for at in range(len(calls[:first])):
        word, wrong = judge(case, fault, calls, at)
        figures.calls += 1
        figures.words[word] += 1
        if wrong:
            figures.wrong.append(f"{fault} at call {at + 1}, {calls[at]}: {wrong}")
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 where nothing was wrong, 1 where something was, 2 without strace."""
    parser = argparse.ArgumentParser(prog="python -m faults.loop", description=__doc__)
    parser.add_argument("--calls", type=int, help="the first so many calls alone")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--jobs", type=int, default=2, help="commands under a fault at a time")
    options = parser.parse_args(arguments)
    if why_not():
        print(f"nothing was tried: {why_not()}", file=sys.stderr)
        return 2
    began = time.monotonic()
    asked = [(command, fault) for command in options.commands for fault in options.faults]

    def figures(pair: tuple[str, str]) -> Row:
        with prepared(pair[0]) as made:
            return row(made, pair[1], options.calls)

    print(f"{'command':14}{'fault':17}{'calls':>6}  what became of the runs")
    wrong = []
    total = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for (command, fault), done in zip(asked, pool.map(figures, asked), strict=True):
            words = ", ".join(f"{count} {word}" for word, count in sorted(done.words.items()))
            print(f"{command:14}{fault:17}{done.calls:>6}  {words}", flush=True)
            wrong += [f"{command}: {text}" for text in done.wrong]
            total += done.calls
    print(f"{total} faults, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    for text in wrong:
        print(f"wrong: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
