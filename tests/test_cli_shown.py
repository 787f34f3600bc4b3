"""What people see of a stress and a breach: tables, help, progress; and what `demo` shows."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, environment, margrave, names
from margrave import report
from margrave.schema import LIQUIDATION_PRICE_KIND, SCENARIO_COLUMNS
from margrave.terminal import Session
from stored_text import assert_stored

# Tables


def outcomes(*rows: tuple[str, int, int, int, float, float, float]) -> pl.DataFrame:
    """Return the frame of a stress of 1,000 accounts."""
    full = [(name, 1_000, *rest) for name, *rest in rows]
    return pl.DataFrame(full, schema=list(SCENARIO_COLUMNS), orient="row")


def test_the_worst_scenarios_read_as_stored() -> None:
    frame = outcomes(
        ("calm", 3, 0, 1, 2_000.5, 10.0, 20.0),
        ("\x1b[2J crash", 950, 947, 700, 3_000_000.0, 250_000.25, 400_000.0),
        ("deep", 3, 0, 1, 2_000.5, 10.0, 21.0),
        ("wide", 3, 0, 1, 2_000.75, 10.0, 20.0),
        ("calm again", 3, 0, 1, 2_000.5, 10.0, 20.0),
    )
    few = report.scenarios(frame, unit="USDC", count=3)
    assert "calm" not in few
    text = "\n\n".join(
        [few, report.scenarios(frame, unit="USDC"), report.scenarios(frame[:1], unit="€")]
    )
    assert_stored(text, "report_scenarios")


def found(*rows: tuple[str, float | None, str | None]) -> pl.DataFrame:
    """Return the frame of a breach."""
    schema: dict[str, Any] = {
        "account_id": pl.String,
        "breach_shock": pl.Float64,
        "breach_kind": pl.Enum(LIQUIDATION_PRICE_KIND),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def curve_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the curve of accounts that hold 1,000, 2,000 and so on."""
    money = pl.Series("gross_notional", [1_000.0 * (n + 1) for n in range(frame.height)])
    return mg.liquidation_curve(frame, frame.select("account_id", money))


def test_a_breach_reads_as_stored() -> None:
    frame = found(
        ("near", -0.000123456, "root"),
        ("far", -0.25, "root"),
        ("past", None, "breached"),
        ("never", None, "none"),
        ("unknown", None, None),
        *((f"{n}", -n / 100, "root") for n in range(1, 10)),
    )
    up = found(("near", 0.5, "root"), ("past", None, "breached"))
    past = found(("past", None, "breached"))
    parts = [
        report.breach(frame, curve_of(frame), direction="down", unit="USDC"),
        report.breach(up, curve_of(up), direction="\x1b[2J=1", unit="€"),
        report.breach(past, curve_of(past), direction="up", unit="USD"),
        report.breach(past.clear(), curve_of(past.clear()), direction="up", unit="USD"),
    ]
    assert_stored("\n\n\n".join(parts), "report_breach")


@pytest.mark.parametrize("command", ["stress", "breach"])
def test_the_help_reads_as_stored(tmp_path: Path, command: str) -> None:
    ran = margrave(command, "--help", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert_stored(ran.out, f"help_{command}")


# Progress

MEASURED = """
import time
from margrave.terminal import Session

session = Session()
with session.step("work", "working [hard]") as show:
    for number in range(40):
        time.sleep(0.05)
        if {told}:
            show((number + 1) / 80)
session.end()
"""


@pytest.mark.parametrize("told", [True, False])
def test_a_step_that_says_how_far_it_is_shows_the_time_that_is_left(told: bool) -> None:
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", MEASURED.format(told=told)],
        env=environment({"TERM": "xterm-256color"}),
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
    text = seen.decode()
    assert "working [hard]" in text
    assert ("%" in text) == told
    assert ("left" in text) == told
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is back


def test_progress_is_told_and_not_shown_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    session = Session()
    with session.step("work", "working") as show:
        show(0.5)
    assert list(session.seconds) == ["work"]
    assert capsys.readouterr() == ("", "")


# Demo and generate


def test_demo_shows_what_falls_would_do(tmp_path: Path) -> None:
    ran = margrave("demo", "--accounts", "500", folder=tmp_path)
    assert ran.code == 0, ran.err
    table = ran.err.split("4 scenarios, in USDT")[1].split("\n\n")[0].splitlines()
    shown = [line.split()[0] for line in table[2:]]
    assert sorted(shown) == sorted(["2020-03-12", "-10%", "-20%", "-30%"])
    assert "margrave stress night --scenarios 2020-03-12 --out stress" in ran.err


def test_demo_and_generate_print_one_object(tmp_path: Path) -> None:
    ran = margrave("demo", "--accounts", "200", "--json", "--out", "out", folder=tmp_path)
    printed = json.loads(ran.out)
    stored = (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")
    assert printed == json.loads(stored)
    assert (printed["accounts"], printed["exit_code"]) == (200, 0)
    exchange = mg.generate(200)
    given = ("generate", "--accounts", "200", "--out", "night", "--json", "--quiet")
    ran = margrave(*given, folder=tmp_path)
    assert ran.err == ""
    assert json.loads(ran.out) == {
        "margrave_version": mg.__version__,
        "seed": 7,
        "accounts": 200,
        **{name: getattr(exchange, name).height for name in FRAMES},
        "ruleset_id": exchange.rules.id,
        "ruleset_hash": exchange.rules.hash,
        "exit_code": 0,
    }


def test_what_demo_says_to_do_next_works(tmp_path: Path) -> None:
    said = margrave("demo", "--accounts", "200", folder=tmp_path).err
    commands = [line.split()[1:] for line in said.splitlines() if line.startswith("  margrave ")]
    assert [command[0] for command in commands] == ["generate", "sweep", "stress"]
    for command in commands:
        ran = margrave(*command, folder=tmp_path)
        assert ran.code == 0, ran.err
    assert names(tmp_path) == ["night", "stress", "tables"]
