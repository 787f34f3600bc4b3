"""One run: what it says, what it shows on a terminal while it works, how it is stopped.

A `Session` sends text for people to standard error, or events for machines instead, and answers
to standard output; it holds what must be put away however the run ends.

Python turns the first Ctrl-C into `KeyboardInterrupt`, and so does Polars inside a call of
its own: one signal may be raised twice. `hold` makes an end of both, so that what is being
put away, or put in place, is not interrupted. SIGTERM is turned into the same exception.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from margrave import events

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

__all__ = ["Session"]

#: Seconds that a step must take before it is shown.
_PATIENCE = 1.0

#: Characters of a step that are shown: the times beside it must have room.
_WIDTH = 48

_T = TypeVar("_T")


class Session:
    """One run of the program.

    Attributes:
        quiet: Says nothing but what went wrong.
        debug: Shows the traceback of what went wrong.
        log: Writes events for machines, and no text for people.
        began: When the run began, UTC.
        muted: Says nothing at all: whoever set it tells what is to be told.
        seconds: How long each finished step took, by its name.
        at_stop: Returns what to say besides where the run is interrupted.
    """

    def __init__(self) -> None:
        self.quiet = False
        self.at_stop: Callable[[], str] = str
        self.debug = os.environ.get("MARGRAVE_DEBUG", "") not in ("", "0")
        self.log = False
        self.began = datetime.now(UTC)
        self.muted = False
        self.seconds: dict[str, float] = {}
        self._clock = time.perf_counter()
        self._received: int | None = None
        self._closing = ExitStack()
        if _is_main_thread() and signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
            signal.signal(signal.SIGTERM, self._terminate)

    def say(self, text: str) -> None:
        """Tell people, unless the run is quiet or logs."""
        if not self.quiet and not self.log:
            self.complain(text)

    def complain(self, text: str) -> None:
        """Tell people, quiet or not; a run that logs tells it as a warning."""
        if self.muted:
            return
        if self.log:
            self.tell("warning", message=text)
        else:
            _print(_shown(text))

    def tell(self, event: str, **facts: Any) -> None:
        """Log an event, where the run logs."""
        if self.log:
            _print(events.line(event, facts, datetime.now(UTC)))

    def fail(self, fault: BaseException, message: str, code: int) -> None:
        """Say what ends the run, with its traceback where that is asked for.

        Args:
            fault: What was raised.
            message: What people are told about it.
            code: The exit code that it stands for.
        """
        trace = "".join(traceback.format_exception(fault)) if self.debug else ""
        if self.log:
            traced = {"traceback": trace} if trace else {}
            self.tell("error", message=message, exit_code=code, **traced)
            return
        if trace:
            self.complain(trace)
        self.complain(message)

    def close(self, code: int) -> None:
        """Log that the run ends, and how: the last that is heard of it."""
        self.tell("end", exit_code=code, seconds=round(time.perf_counter() - self._clock, 6))

    def answer(self, text: str) -> None:
        """Print what was asked for to standard output."""
        if sys.stdout is not None:
            print(text, file=sys.stdout)

    def enter(self, context: AbstractContextManager[_T]) -> _T:
        """Enter `context`, and leave it when the run ends, however it ends."""
        return self._closing.enter_context(context)

    @contextlib.contextmanager
    def step(self, name: str, what: str) -> Iterator[Callable[[float], None]]:
        """Time a step; on a terminal, show `what` is being done once it takes a second.

        The value is a function that takes how much of the step is done, from 0 to 1: once it
        was called, the line shows that and the time that is left.
        """
        begin = time.perf_counter()
        line = _Line(what) if self._shows_progress() else None
        if line is not None:
            self._closing.callback(line.stop)  # where the step fails: after `hold`
            line.start()
        yield _unseen if line is None else line.advance
        if line is not None:
            line.stop()
        took = time.perf_counter() - begin
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        self.tell("step", name=name, seconds=round(took, 6))

    def hold(self) -> None:
        """Ignore signals from here on.

        Raises:
            KeyboardInterrupt: One was received, and whoever ran at that moment swallowed it.
        """
        self._ignore()
        if self._received is not None:
            raise KeyboardInterrupt

    def end(self) -> None:
        """Put everything away, undisturbed, and send off what was printed."""
        self._ignore()
        self._closing.close()
        if sys.stdout is not None:
            try:
                sys.stdout.flush()
            except BrokenPipeError:  # the reader has had enough
                _discard(sys.stdout)

    def abort(self) -> None:
        """Put everything away after a fault; the same Ctrl-C may be raised once more here."""
        try:
            self._ignore()
        except KeyboardInterrupt:
            self._ignore()
        self._closing.close()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                try:
                    stream.flush()
                except (OSError, ValueError):
                    _discard(stream)

    @property
    def signal(self) -> int:
        """The signal that stopped the run, SIGINT unless it was another."""
        return self._received or signal.SIGINT

    def _terminate(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        self._ignore()
        raise KeyboardInterrupt

    def _ignore(self) -> None:
        if _is_main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _shows_progress(self) -> bool:
        unwanted = (
            self.quiet or self.log or os.environ.get("MARGRAVE_NO_PROGRESS", "") not in ("", "0")
        )
        return not unwanted and sys.stderr is not None and sys.stderr.isatty()


class _Line:
    """A line on the terminal that turns up when a step takes long, and goes with it.

    It has a spinner and the time that has passed; a bar and the time that is left besides, as
    soon as it is told how far the step is.
    """

    def __init__(self, what: str) -> None:
        shown = " ".join(_shown(what).split())
        self._what = shown if len(shown) <= _WIDTH else f"{shown[: _WIDTH - 1]}…"
        self._done: float | None = None
        self._measured: tuple[ProgressColumn, ...] = ()
        self._bar: Progress | None = None
        self._timer = threading.Timer(_PATIENCE, self._show)
        self._timer.daemon = True

    def start(self) -> None:
        self._timer.start()

    def advance(self, done: float) -> None:
        """Take how much of the step is done, from 0 to 1; what is done stays done."""
        self._done = max(done, self._done or 0.0)
        self._measure()

    def stop(self) -> None:
        self._timer.cancel()
        if self._timer.is_alive():
            self._timer.join()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self) -> None:
        from rich import progress
        from rich.console import Console
        from rich.table import Column

        narrow = Column(min_width=7)
        before = (progress.SpinnerColumn("line"), progress.TimeElapsedColumn(narrow))
        after = progress.TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True)
        )
        left = progress.TextColumn("left", markup=False)
        known = (progress.BarColumn(20), progress.TaskProgressColumn())
        remaining = progress.TimeRemainingColumn(table_column=narrow)
        self._measured = (*before, *known, remaining, left, after)
        bar = progress.Progress(*before, after, console=Console(stderr=True), transient=True)
        bar.add_task(self._what, total=None)
        bar.start()
        self._bar = bar
        self._measure()

    def _measure(self) -> None:
        """Show how far the step is, once the line is there and has been told."""
        bar, done = self._bar, self._done
        if bar is not None and done is not None:
            bar.columns = self._measured
            bar.update(bar.task_ids[0], total=1.0, completed=done)


def _unseen(done: float) -> None:
    """Take how much of a step is done where nobody is shown it."""


def _print(text: str) -> None:
    """Print to standard error. One that is full or gone stops no run."""
    if sys.stderr is not None:  # print would take standard output for it
        try:
            print(text, file=sys.stderr, flush=True)
        except (OSError, ValueError):  # what it still holds would fail once more at the end
            _discard(sys.stderr)


def _shown(text: str) -> str:
    """Return `text` without what could move the cursor or colour the screen."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "�" for c in text
    )


def _discard(stream: TextIO) -> None:
    """Send what `stream` still holds to nowhere, or the interpreter fails on it at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
