"""Runs of `margrave` that begin at once: forked from a process that has everything imported.

The process itself never computes, so that its children find no threads missing. A child waits
until it is told to begin: strace can take hold of it before.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from command_line import environment

__all__ = ["KNOWN", "Ended", "Nursery"]

#: The random part of hidden names is made known, so that they can be watched.
KNOWN = "00000000"

#: Seconds that a run may take.
LONG = 120.0

_NURSERY = f"""
import ctypes, json, os, secrets, sys
import margrave, margrave.breach, margrave.cli, margrave.publish, margrave.report
{{plant}}
secrets.token_hex = lambda count: "{KNOWN}"
for line in sys.stdin:
    asked = json.loads(line)
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # anybody may trace it
        os.dup2(os.open(asked["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.read(ready, 1)
        code = margrave.cli.run(asked["arguments"])
        os._exit(code)
    print(child, flush=True)
    sys.stdin.readline()
    os.write(go, b"!")
    status = os.waitpid(child, 0)[1]
    os.close(ready)
    os.close(go)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a run ended: `code` is negative where a signal ended it."""

    code: int
    err: str


class Nursery:
    """A process from which runs are forked, one at a time.

    Attributes:
        plant: Python that is run in it first, to plant a fault of ours.
    """

    def __init__(self, plant: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _NURSERY.format(plant=plant)],
            cwd="/",
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: Sequence[str]) -> Ended:
        """Return how a run ends."""
        return self._run(arguments, lambda child: None)

    def traced(self, arguments: Sequence[str], options: Sequence[str]) -> tuple[Ended, list[str]]:
        """Return how a run ends under strace with these options, and the lines of its log."""
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as tracing:
            log = Path(folder) / "log"

            def trace(child: int) -> None:
                command = ["strace", "-f", "-y", "-qq", "-o", str(log), *options, "-p", str(child)]
                tracing.enter_context(_tracing(command, child))

            ended = self._run(arguments, trace)
            tracing.close()
            return ended, log.read_text(encoding="utf-8", errors="replace").splitlines()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _run(self, arguments: Sequence[str], trace: Callable[[int], None]) -> Ended:
        asked, told = self._process.stdin, self._process.stdout
        assert asked is not None
        assert told is not None
        with tempfile.NamedTemporaryFile() as err:
            asked.write(json.dumps({"arguments": [*arguments], "err": err.name}) + "\n")
            asked.flush()
            child = int(told.readline())
            trace(child)
            asked.write("\n")
            asked.flush()
            code = int(told.readline())
            return Ended(code, err.read().decode())


@contextlib.contextmanager
def _tracing(command: Sequence[str], child: int) -> Iterator[None]:
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        status = Path(f"/proc/{child}/status")
        while "TracerPid:\t0\n" in status.read_text(encoding="ascii"):
            if tracer.poll() is not None:
                os.kill(child, 9)
                break
            time.sleep(0.001)
        yield
        _, said = tracer.communicate(timeout=LONG)
        if tracer.returncode != 0:
            raise AssertionError(f"strace: {said}")
