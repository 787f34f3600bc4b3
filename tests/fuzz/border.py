"""Random frames and rulesets thrown at the public API; the first fault ends it with exit code 1.

    PYTHONPATH=tests python -m fuzz.border --calls 100000 --seconds 1800 --seed 1

A case is one random night with all that is done with it: a handful of calls of the public API,
each of which is counted. Its numbers come from the seed and the number of the case alone, so that
`--seed K --case N` runs it again. Cases run in processes of their own, which are watched from
here: a crash or a case that hangs is told like any other fault.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fuzz.api import Api, Counts
from fuzz.cases import run
from fuzz.judge import Found

__all__ = ["main"]

#: How long a case may take before its process is ended, seconds.
HANGS = 60.0
LINE_EVERY = 30.0


@dataclass
class Worker:
    """A process that runs every so-manieth case, and the last one that it began."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    began: int
    since: float = field(default_factory=time.monotonic)
    rest: bytes = b""


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 where every case held, 1 where one did not."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.border", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000, help="calls of the API to make")
    parser.add_argument("--seconds", type=float, default=1800.0, help="time that it may take")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--mode", choices=("frames", "files"), default="frames")
    parser.add_argument("--case", type=int, help="run this case alone, here, and tell all")
    parser.add_argument("--self-test", action="store_true", help="does the alarm ring?")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.self_test:
        from fuzz.plants import self_test

        return self_test(options.seed)
    if options.case is not None:
        return _alone(options)
    if options.worker is not None:
        return _work(options)
    return _watch(options)


def _alone(options: argparse.Namespace) -> int:
    counts = Counts()
    try:
        run(options.mode, options.seed, options.case, counts, talk=print)
    except Found as found:
        print(f"FAULT: {found}")
        return 1
    print(f"held: {counts}")
    return 0


def _work(options: argparse.Namespace) -> int:
    """Run cases, with a line to the watcher before and after each."""
    Api.is_watched = True
    number = options.worker
    while True:
        counts = Counts()
        print(f"begin {number}", flush=True)
        try:
            run(options.mode, options.seed, number, counts)
        except Found as found:
            print(f"fault {number} {str(found).encode('unicode_escape').decode()}", flush=True)
            return 1
        print(f"done {counts.line()}", flush=True)
        number += options.jobs


class Watch:
    """The watcher: workers, what they counted, and the first fault with the number of its case."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.counts = Counts()
        self.fault: tuple[int, str] | None = None
        self.open = contextlib.ExitStack()
        self.selector = self.open.enter_context(selectors.DefaultSelector())
        self.workers = [self._start(number) for number in range(options.jobs)]

    def _start(self, number: int) -> Worker:
        """Start a worker at a case."""
        options = self.options
        command = [sys.executable, "-m", "fuzz.border", "--seed", str(options.seed)]
        command += ["--mode", options.mode, "--jobs", str(options.jobs), "--worker", str(number)]
        paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        traces = "1" if options.mode == "files" else "0"
        environment = {**os.environ, "RUST_BACKTRACE": traces}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        errors = self.open.enter_context(tempfile.TemporaryFile("a+b"))  # noqa: SIM115
        process = self.open.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
        )
        worker = Worker(process, errors, number)
        assert process.stdout is not None
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)
        return worker

    def wait(self) -> None:
        """Take in what the workers say, for a second at most."""
        for key, _ in self.selector.select(timeout=1.0):
            self._listen(key.data)
        for worker in self.workers:
            if time.monotonic() - worker.since > HANGS:
                self._told(worker.began, f"no answer within {HANGS:.0f} s")

    def end(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.process.kill()
        self.open.close()

    def _told(self, number: int, text: str) -> None:
        self.fault = self.fault or (number, text)

    def _listen(self, worker: Worker) -> None:
        assert worker.process.stdout is not None
        data = os.read(worker.process.stdout.fileno(), 65536)
        *lines, worker.rest = (worker.rest + data).split(b"\n")
        for line in lines:
            word, _, text = line.decode("utf-8", "replace").partition(" ")
            if word == "begin":
                worker.began, worker.since = int(text), time.monotonic()
            elif word == "done":
                self.counts += Counts.of(text)
            elif word == "fault":
                number, _, told = text.partition(" ")
                self._told(int(number), told)
        if not data:
            self._ended(worker)

    def _ended(self, worker: Worker) -> None:
        """A worker is dead: by its case, unless Polars asked for more memory than there is."""
        assert worker.process.stdout is not None
        self.selector.unregister(worker.process.stdout)
        self.workers.remove(worker)
        code = worker.process.wait()
        worker.errors.seek(0)
        text = worker.errors.read().decode("utf-8", "replace")
        of_polars = "memory allocation of" in text and "polars_parquet" in text
        if code == -signal.SIGABRT and self.options.mode == "files" and of_polars:
            self.counts += Counts(cases=1, calls=1, errors={"aborts-of-Polars": 1})
            self.workers.append(self._start(worker.began + self.options.jobs))
        else:
            self._told(worker.began, f"the process ended with {code}: {text[-2000:]}")


def _watch(options: argparse.Namespace) -> int:
    begun = last = time.monotonic()
    watch = Watch(options)
    try:
        while watch.fault is None:
            watch.wait()
            now = time.monotonic()
            if now - last >= LINE_EVERY:
                last = now
                print(f"{now - begun:.0f} s: {watch.counts}", flush=True)
            if watch.counts.calls >= options.calls or now - begun >= options.seconds:
                break
    finally:
        watch.end()
    took = time.monotonic() - begun
    print(f"{took:.0f} s, seed {options.seed}, {options.mode}: {watch.counts}")
    if watch.fault is None:
        return 0
    number, text = watch.fault
    print(f"FAULT in case {number}: {text}")
    again = f"--mode {options.mode} --seed {options.seed} --case {number}"
    print(f"again: PYTHONPATH=tests python -m fuzz.border {again}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
