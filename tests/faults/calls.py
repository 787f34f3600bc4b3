"""System calls of a run under its output, counted and then made to fail, by `strace`.

Counting comes first: one run that nothing befalls lists its calls on the paths given. strace
counts the calls of each name and each thread apart (threads of Polars write the tables), so that
a number alone names no call: its name, its path and its number among those do.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.nursery import KNOWN, Ended, Nursery

__all__ = ["FAULTS", "Call", "Run", "why_not"]

#: A process that anybody may trace, and that ends once its input does.
_WAITS = """
import ctypes, sys
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))
print(flush=True)
sys.stdin.read()
"""

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
    """A system call of a run.

    Attributes:
        thread: Which thread makes it.
        name: What it is.
        paths: The watched paths that it is about, or goes through.
    """

    thread: str
    name: str
    paths: tuple[str, ...]


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
        return _calls(lines, self.paths)

    def with_fault(self, fault: str, calls: Sequence[Call], at: int) -> tuple[Ended, bool]:
        """Return how the run ends when `fault` befalls it at the call `at`, and whether it did."""
        told = FAULTS[fault]
        lasting = told.endswith("+")
        paths, numbers = _from(calls, at) if lasting else _alone(calls, at)
        options = [f"trace={','.join(numbers)}"]
        options += [f"inject={name}:{told.format(number)}" for name, number in numbers.items()]
        ended, lines = self._traced(paths, options)
        return ended, any("(INJECTED)" in line or "killed by SIGKILL" in line for line in lines)

    def _traced(
        self, paths: Iterable[Path | str], options: Sequence[str]
    ) -> tuple[Ended, list[str]]:
        watched = [part for path in paths for part in ("-P", str(path))]
        asked = [part for option in options for part in ("-e", option)]
        return self.nursery.traced(self.arguments, [*asked, *watched])


def _calls(lines: Iterable[str], watched: Iterable[Path]) -> list[Call]:
    known = {str(path) for path in watched}
    made: list[Call] = []
    for line in lines:
        begun = _BEGUN.match(line)
        if begun is not None:  # else it is the rest of a call, or the end of a thread
            paths = dict.fromkeys(path for path in _PATH.findall(begun["rest"]) if path in known)
            made.append(Call(begun["thread"], begun["name"], tuple(paths)))
    return [call for call in made if call.paths]


def _alone(calls: Sequence[Call], at: int) -> tuple[list[str], dict[str, int]]:
    """Return which path to watch, and the number of the call `at` among those of its name."""
    call = calls[at]
    path = call.paths[0]  # strace looks at no other one of a rename
    number = 1 + sum(
        (one.thread, one.name) == (call.thread, call.name) and path in one.paths
        for one in calls[:at]
    )
    return [path], {call.name: number}


def _from(calls: Sequence[Call], at: int) -> tuple[list[str], dict[str, int]]:
    """Return what to watch, and from which number of each name on, for all calls from `at` on.

    Paths that are done with by then are not watched: what another thread did there counts not.
    """
    paths = {path for call in calls[at:] for path in call.paths}
    numbers = {call.name: 1 for call in calls[at:]}
    for call in calls[:at]:
        if call.thread == calls[at].thread and call.name in numbers and paths & {*call.paths}:
            numbers[call.name] += 1
    return sorted(paths), numbers


@functools.cache
def why_not() -> str:
    """Return why system calls cannot be made to fail here; empty where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-S", "-c", _WAITS], stdin=pipe, stdout=pipe) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdin is not None
        waiting.stdout.readline()
        command = ["strace", "-e", "inject=getcwd:error=EIO", "-o", os.devnull, "-p"]
        with subprocess.Popen([*command, str(waiting.pid)], stderr=pipe, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()  # that it has taken hold of it, or why it cannot
            waiting.stdin.close()
            said += tracer.stderr.read()
    return "" if tracer.returncode == 0 else f"strace cannot trace here: {said.strip()}"
