"""Runs over shards that are stopped, and gone on with."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import environment, margrave, names
from cut_night import content, make_cut, make_whole, run
from margrave import shards


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole(tmp_path_factory.mktemp("whole") / "night")


@pytest.fixture(scope="module")
def cut(whole: Path) -> Path:
    return make_cut(whole)


# Stops once so many shards are done, by a signal to itself or for good.
STOPPED = """
import os, signal, sys
from margrave import cli, ledger

after, number = int(sys.argv[1]), int(sys.argv[2])
put = ledger.Ledger.put

def counted(self, *rest):
    put(self, *rest)
    counted.done += 1
    if counted.done == after:
        os.kill(os.getpid(), number)

counted.done = 0
ledger.Ledger.put = counted
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.run(sys.argv[3:]))
"""


def stopped(after: int, number: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STOPPED, str(after), str(number), *map(str, arguments)],
        env=environment(None),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2), (signal.SIGKILL, -9, 2)],
)
def test_a_stopped_run_publishes_nothing_and_is_gone_on_with(
    cut: Path, number: int, code: int, workers: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("sweep", cut, "--out", out, "--workers", workers, "--threads", 1)
    ran = stopped(2, number, *command)
    assert ran.returncode == code, ran.stderr
    assert not out.exists()
    assert len(names(tmp_path)) == 1  # what is kept
    if number != signal.SIGKILL:
        assert "--resume" in ran.stderr
    again = run(*command, "--resume", "--log-json")
    events = [json.loads(line) for line in again.err.splitlines()]
    reused = [e["shard"] for e in events if e["event"] == "shard" and e["reused"]]
    assert len(reused) >= 2
    assert len([e for e in events if e["event"] == "shard"]) == 5
    assert names(tmp_path) == ["out"]
    run("sweep", cut, "--out", tmp_path / "fresh")
    assert content(out) == content(tmp_path / "fresh")


def test_a_run_that_does_not_resume_leaves_no_debris(cut: Path, tmp_path: Path) -> None:
    stopped(2, signal.SIGKILL, "sweep", cut, "--out", tmp_path / "out", "--workers", 1)
    assert len(names(tmp_path)) == 1
    run("sweep", cut, "--out", tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_what_is_not_the_same_any_more_is_computed_again(cut: Path, tmp_path: Path) -> None:
    """A shard whose file changed, a table that was damaged, and other rules."""
    copied = tmp_path / "cut"
    shutil.copytree(cut, copied)
    out = tmp_path / "out"
    command = ("sweep", copied, "--out", out, "--workers", 1)

    def reused(*more: object) -> list[int]:
        lines = run(*command, "--resume", "--log-json", *more).err.splitlines()
        events = [json.loads(line) for line in lines]
        shutil.rmtree(out)
        return [e["shard"] for e in events if e["event"] == "shard" and e["reused"]]

    def stop() -> Path:
        stopped(3, signal.SIGKILL, *command)
        (kept,) = [path for path in tmp_path.iterdir() if path.name.startswith(".out.")]
        return kept

    stop()
    balances = copied / shards.file_name("balances", 1)
    pl.read_parquet(balances).with_columns(pl.col("amount") * 2).write_parquet(balances)
    assert reused() == [0, 2]
    damaged = stop() / "accounts" / "shard-00002.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    assert reused() == [0, 1]
    stop()
    rules = mg.Rules.load(copied / "rules.toml").replace(level=1.5)
    (copied / "other.toml").write_text(
        rules.to_toml(tiers="tiers.parquet", weights="weights.parquet")
    )
    assert reused("--rules", copied / "other.toml") == []


def test_two_runs_do_not_go_on_with_the_same(cut: Path, tmp_path: Path) -> None:
    """What a living run is making is not taken from it."""
    waiting = STOPPED.replace("os.kill(os.getpid(), number)", "time.sleep(60)").replace(
        "import os,", "import time, os,"
    )
    out = tmp_path / "out"
    arguments = ["sweep", cut, "--out", out, "--workers", 1]
    with subprocess.Popen(
        [sys.executable, "-c", waiting, "2", "0", *map(str, arguments)],
        env=environment(None),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        try:
            _until(lambda: any(tmp_path.glob(".out.*/.kept/00001.json")))
            run(*arguments, "--resume")
            assert content(out)
            assert any(tmp_path.glob(".out.*/.kept/00001.json"))
        finally:
            first.kill()


def test_what_another_command_kept_is_not_published(cut: Path, tmp_path: Path) -> None:
    """A stopped breach, and a stopped sweep of more shards, leave nothing in what comes after."""
    more = tmp_path / "more"
    run("shard", cut, "--shards", 8, "--out", more, code=0)
    out = tmp_path / "out"
    stopped(2, signal.SIGKILL, "breach", cut, "--out", out, "--workers", 1)
    run("sweep", cut, "--out", out, "--resume")
    assert not (out / "breach").exists()
    assert margrave("verify", out).code == 0
    shutil.rmtree(out)
    stopped(7, signal.SIGKILL, "sweep", more, "--out", out, "--workers", 1)
    run("sweep", cut, "--out", out, "--resume")
    assert len(names(out / "accounts")) == 5
    assert margrave("verify", out).code == 0
    assert names(tmp_path) == ["more", "out"]


# Stops once the manifest is written, before it is published.
UNCOMMITTED = """
import os, signal, sys
from margrave import cli, publish

publish.Publication.commit = lambda self: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(cli.run(sys.argv[1:]))
"""


def test_a_run_that_was_killed_before_its_commit_is_gone_on_with(cut: Path, tmp_path: Path) -> None:
    command = ["sweep", cut, "--out", tmp_path / "out"]
    subprocess.run(
        [sys.executable, "-c", UNCOMMITTED, *map(str, command)],
        env=environment(None),
        capture_output=True,
        check=False,
    )
    ran = run(*command, "--resume")
    assert "Resumed: 5 of 5" in ran.err
    assert margrave("verify", tmp_path / "out").code == 0


def test_a_run_that_fails_to_resume_takes_nothing_away(cut: Path, tmp_path: Path) -> None:
    command = ["sweep", cut, "--out", tmp_path / "out", "--workers", 1]
    stopped(3, signal.SIGKILL, *command)
    run(*command, "--resume", "--rules", "no_such_preset", code=2)
    assert stopped(1, signal.SIGTERM, *command, "--resume").returncode == 143
    assert "Resumed: 4 of 5" in run(*command, "--resume").err
    assert names(tmp_path) == ["out"]


# Writes a file of the night anew while its shard is in work.
REWRITTEN = """
import sys
from pathlib import Path
from margrave import cli, sharded_night

check = sharded_night.ShardedNight._check

def rewriting(self, shard, swept):
    check(self, shard, swept)
    path = Path(sys.argv[1])
    path.write_bytes(path.with_suffix(".new").read_bytes())

sharded_night.ShardedNight._check = rewriting
sys.exit(cli.run(sys.argv[2:]))
"""


def test_a_file_that_changes_while_it_is_read_is_never_resumed_from(
    cut: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "cut"
    shutil.copytree(cut, copied)
    file = copied / shards.file_name("balances", 0)
    doubled = pl.read_parquet(file).with_columns(pl.col("amount") * 2)
    doubled.write_parquet(file.with_suffix(".new"))
    (tmp_path / "elsewhere").mkdir()
    new = file.with_suffix(".new").rename(tmp_path / "elsewhere" / "new.parquet")
    code = REWRITTEN.replace('path.with_suffix(".new")', f"Path({str(new)!r})")
    command = ["sweep", copied, "--out", tmp_path / "out", "--workers", 1]
    ran = subprocess.run(
        [sys.executable, "-c", code, str(file), *map(str, command)],
        env=environment(None),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3, ran.stderr
    assert "changed while it was read" in ran.stderr
    run(*command, "--resume")
    run("sweep", copied, "--out", tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def _until(is_so: Any) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


# Two shards in work: one asks the run to end, twice, and both take their time.
HURRIED = """
import os, signal, time
from margrave import sharded

signal.signal(signal.SIGINT, signal.default_int_handler)
ended = []

def work(number):
    time.sleep(0.3)
    for _ in range(2 if number == 0 else 0):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
    time.sleep(0.6)
    ended.append(number)

try:
    sharded.run([0, 1, 2, 3], work, workers=2, told=print)
except KeyboardInterrupt:
    print("stopped after", sorted(ended))
"""


def test_a_second_signal_does_not_leave_shards_in_work() -> None:
    """What is still written when a run clears away would be left behind."""
    ran = subprocess.run(
        [sys.executable, "-c", HURRIED],
        env=environment(None),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stdout == "stopped after [0, 1]\n", ran.stderr
