"""`--log-json`: one object a line for machines, no text for people, whatever happens."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import environment, harness, make_night, margrave
from margrave import events

ROOT = Path(__file__).parent.parent

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path / "night")


def spoil(night: Path) -> None:
    """Spoil one balance: its account is indeterminate."""
    file = night / "balances.parquet"
    pl.read_parquet(file).with_columns(amount=pl.Series([1.0, None, 1.0])).write_parquet(file)


def read(text: str) -> list[dict[str, Any]]:
    """Return the events of a log, each of which has what every event has."""
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        assert list(event)[:3] == ["schema", "time", "event"]
        assert event["schema"] == events.SCHEMA
        assert TIME.fullmatch(event["time"])
    assert found == sorted(found, key=lambda event: str(event["time"]))
    assert text.isascii()
    return found


def named(log: list[dict[str, Any]]) -> list[str]:
    """Return the names of events, steps by their own."""
    return [event.get("name", event["event"]) for event in log]


def of(log: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the one event of this name, without what every event has."""
    (event,) = [event for event in log if event["event"] == name]
    return {key: value for key, value in event.items() if key not in ("schema", "time", "event")}


STEPS = {
    "sweep": ["start", "sweep", "tables", "rejects", "digest", "write", "publish", "end"],
    "stress": ["start", "read", "stress", "rejects", "digest", "write", "publish", "end"],
    "breach": [
        *("start", "read", "sweep", "breach", "curve"),
        *("rejects", "digest", "write", "publish", "end"),
    ],
    "check": ["start", "check", "rejects", "end"],
    "generate": ["start", "generate", "write", "publish", "end"],
}


@pytest.mark.parametrize("command", STEPS)
def test_a_run_is_logged_from_start_to_end(night: Path, command: str) -> None:
    arguments: list[object] = [command, night]
    if command == "stress":
        arguments += ["--scenarios", "2020-03-12"]
        file = night / "instruments.parquet"
        bases = pl.read_parquet(file).with_columns(base_asset=pl.col("instrument_id"))
        bases.write_parquet(file)
    if command == "generate":
        arguments = [command, "--accounts", 20]
    if command != "check":
        arguments += ["--out", "out"]
    ran = margrave(*arguments, "--log-json", folder=night.parent)
    assert (ran.code, ran.out) == (0, "")
    log = read(ran.err)
    assert named(log) == STEPS[command]
    assert of(log, "start") == {"command": command, "margrave_version": mg.__version__}
    end = of(log, "end")
    assert end["exit_code"] == 0
    assert end["seconds"] >= sum(e["seconds"] for e in log if e["event"] == "step") > 0
    if command != "check":
        files = [path.name for path in (night.parent / "out").iterdir()]
        published = of(log, "publish")
        assert published["out"] == "out"
        assert sorted(published["files"]) == sorted(files)


def test_a_log_and_an_answer_stand_beside_each_other(night: Path) -> None:
    plain = margrave("sweep", night, "--out", "a", "--json", "--quiet")
    ran = margrave("sweep", night, "--out", "b", "--json", "--log-json", "--quiet")
    assert read(ran.err)[-1]["exit_code"] == 0
    assert {**json.loads(ran.out), "seconds": 0} == {**json.loads(plain.out), "seconds": 0}


def test_what_was_rejected_is_logged_by_rule(night: Path) -> None:
    spoil(night)
    for command in (("sweep", night, "--out", "out"), ("check", night)):
        ran = margrave(*command, "--log-json")
        assert ran.code == 1
        log = read(ran.err)
        rule = {"frame": "balances", "column": "amount", "reason": "null", "rows": 1}
        counts = {"rejects": 1, "indeterminate_accounts": 1, "rules": 1}
        assert of(log, "rejects") == {**counts, "by_rule": [rule]}
        gate = of(log, "gate")
        assert gate.pop("message").startswith("exit code 1: 1 rejected values, 1 indeterminate")
        assert gate == {
            **{"gate": "max_rejects", "rejects": 1, "indeterminate_accounts": 1, "limit": 0},
        }
        assert of(log, "end")["exit_code"] == 1


def test_the_rules_that_most_values_broke_come_first() -> None:
    rules = [f"rule {n % 25:02}" for n in range(1_000)]
    rejects = pl.DataFrame({"reason": [*rules, "null"]}).select(
        pl.lit("balances").alias("frame"), pl.lit("amount").alias("column"), "reason"
    )
    found = events.rejected(rejects, 7)
    assert (found["rejects"], found["indeterminate_accounts"], found["rules"]) == (1_001, 7, 26)
    assert [rule["reason"] for rule in found["by_rule"]] == [f"rule {n:02}" for n in range(20)]
    assert events.rejected(rejects.clear(), 0)["by_rule"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words", "begun"),
    [
        ("sweep none --out out", 3, "none does not exist", True),
        ("sweep night --out out --fail-above x=1", 2, "totals has no column 'x'", True),
        ("sweep night --out night", 2, "night holds the input", True),
        ("sweep night --nope", 2, "No such option", False),
        ("sweep night", 2, "--out", False),
        ("check none", 3, "none does not exist", True),
    ],
)
def test_what_went_wrong_is_one_event_and_no_text(
    night: Path, arguments: str, code: int, words: str, begun: bool
) -> None:
    ran = margrave(*arguments.split(), "--log-json", folder=night.parent)
    log = read(ran.err)
    assert (ran.code, ran.out) == (code, "")
    assert named(log) == [*(["start"] if begun else []), "error", "end"]
    error = of(log, "error")
    assert words in error["message"]
    assert "traceback" not in error
    assert error["exit_code"] == of(log, "end")["exit_code"] == code


def test_each_refusal_of_a_check_is_an_event(night: Path) -> None:
    (night / "rules.toml").write_text("surprise = 1", encoding="utf-8")
    pl.DataFrame({"asset_id": ["USDC"], "price": [-1.0]}).write_parquet(night / "assets.parquet")
    ran = margrave("check", night, "--log-json")
    log = read(ran.err)
    assert [event["exit_code"] for event in log if event["event"] == "error"] == [2, 3]
    assert of(log, "end")["exit_code"] == ran.code == 2


def test_the_traceback_is_a_field_where_it_is_asked_for(night: Path) -> None:
    ran = margrave("sweep", "none", "--out", "out", "--log-json", "--debug", folder=night.parent)
    assert "MissingError" in of(read(ran.err), "error")["traceback"]


BROKEN = """
import margrave
from margrave.cli import main

def broken(*arguments, **options):
    raise {fault}

margrave.sweep = broken
main()
"""


def test_a_bug_is_logged_as_one(night: Path) -> None:
    code = BROKEN.format(fault="KeyError('x')")
    ran = harness(code, "sweep", night, "--out", "out", "--log-json", folder=night.parent)
    log = read(ran.err)
    assert ran.code == of(log, "end")["exit_code"] == of(log, "error")["exit_code"] == 70
    assert "Please report it" in of(log, "error")["message"]


WAITING = """
import time
import margrave
from margrave.cli import main

def slow(*arguments, **options):
    print("sweeping", flush=True)
    for _ in range(600):  # one long sleep would not see a signal that comes just before it
        time.sleep(0.1)

margrave.sweep = slow
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_logged_with_its_code(night: Path, number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", WAITING, "sweep", str(night), "--out", "out", "--log-json"]
    with subprocess.Popen(
        command,
        cwd=night.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sweeping\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    log = read(err)
    assert named(log) == ["start", "error", "end"]
    assert process.returncode == of(log, "end")["exit_code"] == code
    assert of(log, "error")["message"] == "interrupted; nothing was published"


def test_a_name_that_is_no_text_does_not_break_the_log(night: Path) -> None:
    ran = margrave("sweep", "n\udcff\x1b\u202e", "--out", "out", "--log-json", folder=night.parent)
    assert ran.code == 3
    assert "n\ufffd\x1b\u202e does not exist" in of(read(ran.err), "error")["message"]


def test_other_commands_have_no_log(night: Path) -> None:
    ran = margrave("rules", "list", "--log-json", folder=night.parent)
    assert ran.code == 2
    assert named(read(ran.err)) == ["error", "end"]


def test_warnings_of_hygiene_are_events(night: Path) -> None:
    ran = margrave("check", night, "--hygiene", "--log-json", "--json")
    log = read(ran.err)
    assert ran.code == 0
    printed = json.loads(ran.out)["hygiene"]["warnings"]
    logged = [event for event in log if event["event"] == "warning"]
    assert [warning["warning"] for warning in printed] == ["open_interest_differs"]
    assert {"schema": 1, "time": logged[0]["time"], "event": "warning", **printed[0]} == logged[0]
    assert [event["message"].split(",")[0] for event in logged[1:]] == [
        "not looked at: instruments.mark_time",
        "not looked at: assets.price_time",
        "not looked at: accounts.owner_id",
    ]


def test_an_event_has_its_time_in_utc() -> None:
    text = events.line(
        "x", {"path": Path("a"), "n": 1}, datetime.fromisoformat("2026-12-25T17:00+09:00")
    )
    assert json.loads(text) == {
        **{"schema": 1, "time": "2026-12-25T08:00:00.000Z", "event": "x"},
        **{"path": "a", "n": 1},
    }
