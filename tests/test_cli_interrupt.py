"""Signals, kills and progress: what a run that is stopped leaves, and what a terminal sees."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_line import environment, make_night, margrave, names

# Says where it is on standard output, and stays there until it is stopped.
STEPS = """
import signal, sys, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored
import polars as pl
import margrave
from pathlib import Path
from margrave import cli, swap

def wait(what):
    print(what, flush=True)
    for _ in range(600):  # a signal just before a sleep does not end that sleep
        time.sleep(0.1)

stop = sys.argv.pop(1)
sweep, write, remove = margrave.sweep, pl.DataFrame.write_parquet, swap.remove

def slow_sweep(*arguments, **options):
    if stop == "sweeping":
        wait(stop)
    if stop == "swallowed":
        try:
            wait(stop)
        except KeyboardInterrupt:
            pass
    return sweep(*arguments, **options)

def slow_write(frame, file, **options):
    write(frame, file, **options)
    name = Path(file.name).name
    if stop in ("writing", "removing") and name == "positions.parquet":
        wait("writing")
    if stop == "deep in polars" and name == "positions.parquet":
        big = pl.select(a=pl.int_range(20_000_000)).with_columns(b=pl.col("a").cast(pl.String))
        print(stop, flush=True)
        write(big, file, compression="zstd", compression_level=19)

def slow_remove(path):
    if stop == "removing":
        print(stop, flush=True)
        time.sleep(1)
    remove(path)

margrave.sweep, pl.DataFrame.write_parquet, swap.remove = slow_sweep, slow_write, slow_remove
cli.main()
"""

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path / "night")


@contextlib.contextmanager
def stopped_at(step: str, night: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start a sweep of `night` to `out` and yield once it has reached `step`."""
    command = [sys.executable, "-c", STEPS, step, "sweep", str(night), "--out", "out", *options]
    with subprocess.Popen(
        command,
        cwd=night.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            reached = "writing" if step == "removing" else step
            assert process.stdout.readline() == f"{reached}\n"
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("step", ["sweeping", "writing"])
def test_a_signal_ends_the_run_and_leaves_nothing(
    night: Path, step: str, number: signal.Signals, code: int
) -> None:
    with stopped_at(step, night) as process:
        process.send_signal(number)
        assert ended(process) == (code, "", "interrupted; nothing was published\n")
    assert names(night.parent) == ["night"]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_leaves_the_old_output(night: Path, number: signal.Signals, code: int) -> None:
    margrave("sweep", night, "--out", "out")
    before = (night.parent / "out" / "manifest.json").read_bytes()
    with stopped_at("writing", night, "--overwrite") as process:
        process.send_signal(number)
        assert ended(process)[0] == code
    assert (night.parent / "out" / "manifest.json").read_bytes() == before
    assert names(night.parent) == ["night", "out"]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_further_signals_do_not_interrupt_the_cleanup(
    night: Path, number: signal.Signals, code: int
) -> None:
    with stopped_at("removing", night) as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "removing\n"
        for further in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            process.send_signal(further)
            time.sleep(0.05)
        assert ended(process) == (code, "", "interrupted; nothing was published\n")
    assert names(night.parent) == ["night"]


def test_an_interrupt_that_polars_raises_too_is_one_interrupt(night: Path) -> None:
    with stopped_at("deep in polars", night) as process:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert ended(process) == (130, "", "interrupted; nothing was published\n")
        assert time.monotonic() - begin < 10
    assert names(night.parent) == ["night"]


def test_a_signal_that_somebody_swallowed_still_publishes_nothing(night: Path) -> None:
    with stopped_at("swallowed", night) as process:
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 143
    assert names(night.parent) == ["night"]


def test_a_run_that_was_killed_leaves_nothing_that_looks_finished(night: Path) -> None:
    with stopped_at("writing", night) as process:
        process.kill()
        assert ended(process)[0] == -signal.SIGKILL
    left = names(night.parent)
    assert "out" not in left
    assert [name[:14] for name in left if name != "night"] == [".out.margrave-"]
    assert margrave("sweep", night, "--out", "out").code == 0
    assert names(night.parent) == ["night", "out"]


def test_a_kill_leaves_the_old_output_and_the_next_run_cleans_up(night: Path) -> None:
    margrave("sweep", night, "--out", "out")
    before = (night.parent / "out" / "manifest.json").read_bytes()
    with stopped_at("writing", night, "--overwrite") as process:
        process.kill()
    assert (night.parent / "out" / "manifest.json").read_bytes() == before
    assert margrave("sweep", night, "--out", "out").code == 2
    assert names(night.parent) == ["night", "out"]


SLOW = """
import time
import margrave
from margrave import cli

sweep = margrave.sweep

def slow_sweep(*arguments, **options):
    time.sleep({seconds})
    return sweep(*arguments, **options)

margrave.sweep = slow_sweep
cli.main()
"""


def on_a_terminal(night: Path, seconds: float, *options: str, env: dict[str, str]) -> str:
    """Return what a terminal on standard error sees of a sweep that takes so long."""
    terminal, inside = pty.openpty()
    command = [sys.executable, "-c", SLOW.format(seconds=seconds), "sweep", str(night)]
    with subprocess.Popen(
        [*command, "--out", "out", *options],
        cwd=night.parent,
        env=environment({"TERM": "xterm-256color"} | env),
        stdout=subprocess.DEVNULL,
        stderr=inside,
    ) as process:
        os.close(inside)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(terminal, 4096):
                seen += part
        os.close(terminal)
        assert process.wait(30) == 0
    return seen.decode()


def test_a_long_step_is_shown_on_a_terminal(night: Path) -> None:
    seen = on_a_terminal(night, 2.0, env={})
    assert "sweeping " in seen
    assert "0:00:0" in seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h")  # the cursor is back


def test_a_step_of_less_than_a_second_is_not_shown(night: Path) -> None:
    seen = on_a_terminal(night, 0.0, env={})
    assert "sweeping" not in seen
    assert "Accounts by status" in seen


@pytest.mark.parametrize(
    ("option", "env"), [("--quiet", {}), ("--json", {"MARGRAVE_NO_PROGRESS": "1"})]
)
def test_progress_can_be_declined(night: Path, option: str, env: dict[str, str]) -> None:
    assert "sweeping" not in on_a_terminal(night, 1.5, option, env=env)


def test_no_color_is_honoured(night: Path) -> None:
    seen = on_a_terminal(night, 2.0, env={"NO_COLOR": "1"})
    assert "sweeping" in seen
    assert "\x1b[3" not in seen


def test_without_a_terminal_there_is_no_progress(night: Path) -> None:
    with stopped_at("sweeping", night) as process:
        time.sleep(1.3)
        process.send_signal(signal.SIGINT)
        assert ended(process)[2] == "interrupted; nothing was published\n"
