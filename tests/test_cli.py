"""The command line as people and machines use it: real processes, exit codes, streams, text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import margrave as mg
from command_line import (
    FRAMES,
    assert_refused,
    environment,
    harness,
    make_night,
    margrave,
    names,
    read,
)
from stored_text import assert_stored


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path / "night")


# Generate and demo


def test_generate_writes_a_night_that_sweeps(tmp_path: Path) -> None:
    ran = margrave("generate", "--accounts", "500", "--out", "night", folder=tmp_path)
    assert ran.code == 0, ran.err
    tables = [*FRAMES, "tiers", "weights"]
    assert names(tmp_path / "night") == sorted([*(f"{t}.parquet" for t in tables), "rules.toml"])
    assert "next: margrave sweep night --out tables" in ran.err
    assert margrave("sweep", "night", "--out", "tables", folder=tmp_path).code == 0
    exchange = mg.generate(500)
    assert mg.Rules.load(tmp_path / "night" / "rules.toml").hash == exchange.rules.hash
    assert read(tmp_path / "tables", "accounts").height == 500
    result = mg.sweep(
        exchange.positions,
        exchange.balances,
        exchange.instruments,
        exchange.assets,
        exchange.rules,
    )
    assert read(tmp_path / "tables", "totals").equals(result.totals)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        generated = ("generate", "--accounts", 200, "--seed", seed, "--out", out, "--quiet")
        assert margrave(*generated, folder=tmp_path).code == 0
    for file in names(tmp_path / "a"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    positions = [(tmp_path / out / "positions.parquet").read_bytes() for out in ("a", "c")]
    assert positions[0] != positions[1]


def test_generate_replaces_a_night_only_when_told(tmp_path: Path) -> None:
    generated = ("generate", "--accounts", 10, "--out", "night")
    codes = [
        margrave(*generated, *more, folder=tmp_path).code for more in ((), (), ("--overwrite",))
    ]
    assert codes == [0, 2, 0]


def test_demo_shows_what_a_risk_officer_asks_first(tmp_path: Path) -> None:
    ran = margrave("demo", "--accounts", "2000", folder=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.out == ""
    for words in (
        "Accounts by status",
        "bankrupt",
        "liquidatable notional",
        "bad debt",
        "The 10 worst accounts and what they hold",
        "liquidated at",
        "Nothing was written",
        "margrave generate --accounts 1000 --out night\n  margrave sweep night --out tables",
    ):
        assert words in ran.err
    assert names(tmp_path) == []


def test_demo_keeps_its_tables_when_told(tmp_path: Path) -> None:
    ran = margrave("demo", "--accounts", "200", "--out", "out", "--quiet", folder=tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert len(names(tmp_path / "out")) == 6
    assert margrave("demo", "--accounts", "200", "--out", "out", folder=tmp_path).code == 2


@pytest.mark.parametrize("command", ["demo", "generate"])
def test_no_accounts_at_all_is_wrong_usage(tmp_path: Path, command: str) -> None:
    ran = margrave(command, "--accounts", "0", "--out", "out", folder=tmp_path)
    assert_refused(ran, 2, "--accounts")


def test_presets_are_listed_and_shown(tmp_path: Path) -> None:
    listed = margrave("rules", "list", folder=tmp_path)
    assert listed.code == 0
    assert listed.err == ""
    for line, preset in zip(listed.out.splitlines(), mg.Rules.presets(), strict=True):
        assert line.split(maxsplit=1) == [preset, mg.Rules.preset(preset).title]
        shown = margrave("rules", "show", preset, folder=tmp_path)
        (tmp_path / "copy.toml").write_text(shown.out, encoding="utf-8")
        assert mg.Rules.load(tmp_path / "copy.toml").hash == mg.Rules.preset(preset).hash
    assert margrave("rules", "show", "nope", folder=tmp_path).code == 2


# The program itself


@pytest.mark.parametrize(
    "command",
    [
        "",
        "demo",
        "generate",
        "sweep",
        "check",
        "verify",
        "replay",
        "shard",
        "rules",
        "rules list",
        "rules show",
    ],
    ids=lambda command: command.replace(" ", "_") or "margrave",
)
def test_the_help_reads_as_stored(tmp_path: Path, command: str) -> None:
    ran = margrave(*command.split(), "--help", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert_stored(ran.out, f"help_{command.replace(' ', '_') or 'margrave'}")


def test_no_command_shows_the_help_and_is_2(tmp_path: Path) -> None:
    ran = margrave(folder=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == margrave("--help", folder=tmp_path).out


@pytest.mark.parametrize(
    "arguments",
    [
        "check",
        "check x --max-rejects -1",
        "check x --out y",
        "stress x",
        "rules diff a",
        "sweep",
        "sweep x",
        "sweep x --out",
        "sweep x --out y --threads 0",
        "sweep x --out y --max-rejects -1",
        "sweep x --out y --on-error ignore",
        "generate --out y",
        "generate --accounts ten --out y",
        "demo --seed -1",
        "demo --nope",
    ],
)
def test_wrong_usage_is_2_and_says_where_help_is(tmp_path: Path, arguments: str) -> None:
    ran = margrave(*arguments.split(), folder=tmp_path)
    assert_refused(ran, 2, "error: ", "hint: margrave", "--help")
    assert names(tmp_path) == []


def test_the_version_is_printed_without_loading_what_it_does_not_need(tmp_path: Path) -> None:
    ran = harness(
        "import sys\nfrom margrave.cli import run\ncode = run(['--version'])\n"
        "heavy = {'pandas', 'pyarrow', 'numpy', 'rich', 'altair', 'jinja2', 'ray', 'deltalake'}\n"
        "print(sorted(heavy & set(sys.modules)), code)",
        folder=tmp_path,
    )
    assert ran.out == f"margrave {mg.__version__}\n[] 0\n"


def test_the_console_script_is_the_same_program(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("margrave")
    if not script.exists():
        pytest.skip("margrave is not installed as a script here")
    ran = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == margrave("--version", folder=tmp_path).out


def test_the_shell_completes_commands_and_words(tmp_path: Path) -> None:
    for words, at, answer in (
        ("margrave swe", 1, "sweep\n"),
        ("margrave sweep --on-error ", 3, "quarantine\nraise\n"),
    ):
        shell = {"_MARGRAVE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        ran = margrave(folder=tmp_path, env=shell)
        assert (ran.code, ran.out) == (0, answer)


FAULTY = """
import sys
import margrave
from margrave.cli import main

class Panic(BaseException):
    pass

def broken(*arguments, **options):
    raise {fault}

margrave.sweep = broken
main()
"""


@pytest.mark.parametrize(
    "fault",
    [
        "KeyError('x')",
        "Panic('x')",
        "RuntimeError('x')",
        "margrave.InternalError('x')",
        "MemoryError('x')",
        "AssertionError('x')",
        "RecursionError('x')",
    ],
)
def test_a_bug_is_70_and_asks_to_be_reported(night: Path, fault: str) -> None:
    sweep = ("sweep", night, "--out", "out")
    ran = harness(FAULTY.format(fault=fault), *sweep, folder=night.parent)
    assert_refused(ran, 70, "internal error: ", "Please report it", "--debug", mg.__version__)
    shown = harness(FAULTY.format(fault=fault), *sweep, "--debug", folder=night.parent)
    assert shown.code == 70
    assert "Traceback" in shown.err
    by_variable = {"MARGRAVE_DEBUG": "1"}
    shown = harness(FAULTY.format(fault=fault), *sweep, folder=night.parent, env=by_variable)
    assert "Traceback" in shown.err
    assert "Please report it" in shown.err


def test_a_stray_system_exit_does_not_look_like_rejects(night: Path) -> None:
    code = FAULTY.format(fault="SystemExit(1)")
    assert harness(code, "sweep", night, "--out", "out", folder=night.parent).code not in (0, 1)


def test_a_reader_that_has_gone_changes_nothing(night: Path) -> None:
    for arguments in (("--help",), ("rules", "list"), ("sweep", night, "--out", "out", "--json")):
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            ran = margrave(*arguments, stdout=write_end, folder=night.parent)
        finally:
            os.close(write_end)
        assert (ran.code, "Traceback" in ran.err, "BrokenPipe" in ran.err) == (0, False, False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_answer_that_cannot_be_written_is_4(night: Path) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        for arguments in (("--version",), ("sweep", night, "--out", "out", "--json")):
            ran = margrave(*arguments, stdout=full.fileno(), folder=night.parent)
            assert ran.code == 4
            assert "standard output could not be written" in ran.err
        ran = margrave("sweep", night, "--out", "two", "--json", stderr=full.fileno())
        assert ran.code == 0
        assert json.loads(ran.out)["exit_code"] == 0


def test_nothing_is_printed_where_standard_error_is_closed(night: Path) -> None:
    command = [sys.executable, "-m", "margrave", "sweep", str(night), "--out", "out", "--json"]
    closed = shutil.which("sh")
    assert closed is not None
    ran = subprocess.run(
        [closed, "-c", 'exec "$@" 2>&-', closed, *command],
        cwd=night.parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout)["exit_code"] == 0
