"""System calls of a run under its output, counted and then made to fail, by `strace`.

Counting comes first: one run without a fault lists its calls on the paths given. Threads of
Polars write the tables, and strace counts the calls of each thread apart, so that a number alone
names no call: one of the main thread is named by its number there, which no other thread reaches
before; one of another thread by its path, its name and its number among those.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.nursery import KNOWN, Ended, Nursery

__all__ = ["FAULTS", "Call", "Run", "why_not"]

#: What strace is told to do to a call, by the name of the fault. The last one never ends.
FAULTS = {
    "SIGKILL": "signal=SIGKILL:when={}",
    "EIO": "error=EIO:when={}",
    "EACCES": "error=EACCES:when={}",
    "ENOSPC": "error=ENOSPC:when={}",
    "ENOSPC for good": "error=ENOSPC:when={}+",
}

#: Every call that takes a path or what was opened.
_ALL = "%file,%desc"

_BEGUN = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_PATH = re.compile(r'(?<!CWD)[<"](/[^">]*)[">]')


@dataclass(frozen=True)
class Call:
    """A system call of a run: what strace is to be told, so that it is this one.

    Attributes:
        name: The call.
        path: The path that it is about.
        number: Which one it is: of all of the main thread, or of its name and path.
        is_main: Whether the main thread makes it.
    """

    name: str
    path: str
    number: int
    is_main: bool


@dataclass(frozen=True)
class Run:
    """A command that publishes at `place`, and the names of the files it may touch there.

    Attributes:
        nursery: Where it runs.
        arguments: Those of `margrave`.
        place: The folder that is published.
        files: What is in it, before or after.
    """

    nursery: Nursery
    arguments: Sequence[str]
    place: Path
    files: Iterable[str]

    @property
    def paths(self) -> list[Path]:
        """Every path under the output that the run can touch, the folder around it first."""
        stage = self.place.with_name(f".{self.place.name}.margrave-{KNOWN}")
        lock = self.place.with_name(f".{self.place.name}.margrave-lock")
        folders = [self.place, stage, stage.with_name(f"{stage.name}.old")]
        inside = [folder / name for folder in folders for name in self.files]
        return [self.place.parent, lock, *folders, *inside]

    def plain(self) -> Ended:
        """Return how the run ends when nothing befalls it."""
        return self.nursery.run(self.arguments)

    def calls(self) -> list[Call]:
        """Return the calls of a run that nothing befalls, in order."""
        ended, lines = self._traced(self.paths, [f"trace={_ALL}"])
        if ended.code not in (0, 1):
            raise AssertionError(ended.err)
        return _calls(lines)

    def with_fault(self, fault: str, call: Call) -> tuple[Ended, bool]:
        """Return how the run ends when `fault` befalls it at `call`, and whether it did."""
        names = _ALL if call.is_main else call.name
        paths = self.paths if call.is_main else [Path(call.path)]
        told = FAULTS[fault].format(call.number)
        ended, lines = self._traced(paths, [f"trace={names}", f"inject={names}:{told}"])
        return ended, any("(INJECTED)" in line or "killed by SIGKILL" in line for line in lines)

    def _traced(self, paths: Sequence[Path], options: Sequence[str]) -> tuple[Ended, list[str]]:
        watched = [part for path in paths for part in ("-P", str(path))]
        asked = [part for option in options for part in ("-e", option)]
        return self.nursery.traced(self.arguments, [*asked, *watched])


def _calls(lines: Iterable[str]) -> list[Call]:
    made: list[Call] = []
    main = None
    of_main = 0
    among: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        begun = _BEGUN.match(line)
        if begun is None:  # the rest of a call, or the end of a thread
            continue
        thread, name = begun["thread"], begun["name"]
        main = main or thread  # it looks at the place before anything is written
        path = _PATH.search(begun["rest"])
        where = path[1] if path else ""
        of_main += thread == main
        among[thread, name, where] += 1
        number = of_main if thread == main else among[thread, name, where]
        made.append(Call(name, where, number, thread == main))
    return made


@functools.cache
def why_not() -> str:
    """Return why system calls cannot be made to fail here; empty where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    ran = subprocess.run(
        ["strace", "-e", "inject=getcwd:error=EIO", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if ran.returncode == 0 else f"strace cannot trace here: {ran.stderr.strip()}"
