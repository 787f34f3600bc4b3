"""`margrave replay`: the same digests come out again, or what differs is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, Ran, environment, harness, make_night, margrave, names
from margrave import engine, manifest

#: Whatever is run fails for want of a place.
WITHOUT_TEMPORARY = (
    "import tempfile\nfrom margrave import cli\ntempfile.tempdir = 'not/there'\ncli.main()"
)

SCENARIOS = "scenario_id,factor,price_shock\nhalf,*,-0.5\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a folder with a night and what else is read, and an empty one for what is made."""
    make_night(tmp_path / "night")
    (tmp_path / "moves.csv").write_text(SCENARIOS, encoding="utf-8")
    pl.DataFrame({"factor": ["BTC"], "beta": [-1.0]}).write_csv(tmp_path / "along.csv")
    weights = {"weight_table": ["USDC"], "maintenance_weight": [0.5]}
    pl.DataFrame(weights).write_parquet(tmp_path / "weights.parquet")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "made").mkdir()
    return tmp_path


def run(base: Path, *arguments: str, code: int = 0) -> Path:
    """Run a command into `base/out`, which is returned."""
    ran = margrave(*arguments, "--out", "out", "--quiet", folder=base)
    assert ran.code == code, ran.err
    return base / "out"


def replay(base: Path, *options: str) -> Ran:
    """Replay `base/out` from another folder; nothing may be left of it anywhere."""
    before = contents(base)
    made = {"TMPDIR": str(base / "made")}
    ran = margrave("replay", base / "out", *options, folder=base / "elsewhere", env=made)
    assert contents(base) == before
    return ran


def contents(base: Path) -> dict[str, bytes]:
    files = (path for path in base.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


def forge(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a manifest that says something else and is as it was written."""
    facts, _ = manifest.load(out)
    change(facts)
    whole = manifest.sealed(facts, facts["files"])
    (out / manifest.NAME).write_text(f"{manifest.printed(whole)}\n", encoding="utf-8")


COMMANDS = [
    ["sweep", "night"],
    ["sweep", "night", "--weights", "weights.parquet", "--on-error", "raise"],
    ["stress", "night", "--scenarios", "moves.csv", "--scenarios", "2020-03-12"],
    ["breach", "night"],
    ["breach", "night", "--direction", "along.csv"],
    ["breach", "night", "--direction", "BTC=-1,ETH=-2"],
    ["demo", "--accounts", "100"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_same_comes_out_again(base: Path, command: list[str]) -> None:
    out = run(base, *command)
    facts, _ = manifest.load(out)
    ran = replay(base)
    assert ran.code == 0, ran.err
    tables = ", ".join(facts["results"])
    assert ran.err == f"{out}: the same digests came out again ({tables})\n"


def test_json_has_both_digests(base: Path) -> None:
    out = run(base, "sweep", "night")
    facts, _ = manifest.load(out)
    ran = replay(base, "--json", "--quiet", "--threads", "1")
    assert ran.err == ""
    assert json.loads(ran.out) == {
        **{key: facts[key] for key in ("run_id", "margrave_version", "numerics", "command")},
        **{"replay_version": mg.__version__, "replay_numerics": engine.numerics()},
        **{"results": facts["results"], "replay_results": facts["results"]},
        **{"differing": [], "exit_code": 0},
    }


def test_a_night_that_failed_a_gate_comes_out_again(base: Path) -> None:
    file = base / "night" / "positions.parquet"
    pl.read_parquet(file).with_columns(quantity=pl.lit(None, pl.Float64)).write_parquet(file)
    run(base, "sweep", "night", code=1)
    ran = replay(base)
    assert ran.code == 0
    assert "exit code 1" not in ran.err


def test_bytes_count_and_times_do_not(base: Path) -> None:
    run(base, "sweep", "night")
    for file in (base / "night").iterdir():
        os.utime(file, (1, 1))
    assert replay(base).code == 0


# Inputs


def test_an_input_that_changed_is_3_and_nothing_is_run(base: Path) -> None:
    run(base, "stress", "night", "--scenarios", "moves.csv", "--weights", "weights.parquet")
    frames = (f"night/{frame}.parquet" for frame in FRAMES)
    for name in (*frames, "night/rules.toml", "weights.parquet", "moves.csv"):
        file = base / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        ran = harness(WITHOUT_TEMPORARY, "replay", "out", folder=base)
        assert ran.code == 3
        assert ran.err.splitlines()[1:] == [
            f"  changed: {file}",
            "hint: a replay needs the bytes that the run read; put them back",
        ]
        file.write_bytes(whole)


def test_all_inputs_that_differ_are_named(base: Path) -> None:
    run(base, "breach", "night", "--direction", "along.csv")
    (base / "along.csv").unlink()
    (base / "night" / "assets.parquet").rename(base / "night" / "assets.old")
    with (base / "night" / "rules.toml").open("a", encoding="utf-8") as file:
        file.write("\n")
    ran = replay(base)
    assert ran.code == 3
    assert [line.strip() for line in ran.err.splitlines()[1:-1]] == [
        f"changed: {base / 'night' / 'rules.toml'}",
        f"missing: {base / 'night' / 'assets.parquet'}",
        f"missing: {base / 'along.csv'}",
    ]


def test_a_frame_that_was_added_is_3(base: Path) -> None:
    run(base, "sweep", "night")
    pl.DataFrame({"account_id": [9]}).write_parquet(base / "night" / "accounts.parquet")
    ran = replay(base)
    assert ran.code == 3
    assert f"  added: {base / 'night' / 'accounts.parquet'}" in ran.err.splitlines()


def test_a_preset_that_is_another_now_is_3(base: Path) -> None:
    tiers = {"tier_table": ["BTC", "ETH"], "floor": [0, 0]}
    rates = {"maintenance_rate": [0.1, 0.1], "initial_rate": [0.1, 0.1]}
    pl.DataFrame(tiers | rates).write_csv(base / "tiers.csv")
    out = run(base, "sweep", "night", "--rules", "hyperliquid", "--tiers", "tiers.csv")
    assert replay(base).code == 0
    forge(out, lambda facts: facts["ruleset"].update(text="another"))
    ran = replay(base)
    assert ran.code == 3
    assert "  changed: the preset hyperliquid" in ran.err.splitlines()


# Manifests


def test_a_manifest_that_changed_is_3(base: Path) -> None:
    file = run(base, "sweep", "night") / manifest.NAME
    file.write_text(file.read_text(encoding="utf-8").replace('"rejects": 0', '"rejects": 1'))
    ran = replay(base)
    assert ran.code == 3
    assert f"{file} changed since it was written" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["generate", "--accounts", "10"],
        ["replay", "out"],
        ["rules", "list"],
        ["sweep", "night", "--out", "elsewhere"],
        ["sweep", "night", "--overwrite"],
        ["sweep", "night", "--out=elsewhere"],
    ],
    ids=" ".join,
)
def test_a_manifest_runs_nothing_but_what_computes_a_night(base: Path, command: list[str]) -> None:
    out = run(base, "sweep", "night")
    forge(out, lambda facts: facts.update(command=command))
    ran = replay(base)
    assert ran.code == 3
    assert "holds no command that can be replayed" in ran.err
    assert names(base / "elsewhere") == []


def test_a_command_of_another_version_is_2(base: Path) -> None:
    out = run(base, "sweep", "night")
    forge(out, lambda facts: facts["command"].extend(["--from-the-future", "1"]))
    ran = replay(base)
    assert ran.code == 2
    assert "--from-the-future" in ran.err


# What comes out otherwise


def other_digest(table: str) -> Callable[[dict[str, Any]], object]:
    return lambda facts: facts["results"].update({table: "0" * 64})


@pytest.mark.parametrize("table", ["accounts", "scenarios", "rejects"])
def test_a_table_that_differs_is_1_and_named(base: Path, table: str) -> None:
    out = run(base, "stress", "night", "--scenarios", "moves.csv")
    forge(out, other_digest(table))
    ran = replay(base, "--json")
    assert ran.code == 1
    assert ran.err.splitlines()[:2] == [
        f"exit code 1: {out} does not come out again:",
        f"  differs: {table}",
    ]
    assert "equal numerics must give equal figures" in ran.err
    told = json.loads(ran.out)
    assert told["differing"] == [table]
    assert told["results"][table] == "0" * 64 != told["replay_results"][table]
    assert told["exit_code"] == 1


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"input_digest": "0" * 64}, "input"),
        ({"ruleset_hash": "0" * 64}, "ruleset"),
        ({"totals": {}}, "totals"),
    ],
)
def test_what_is_no_table_is_named_too(base: Path, change: Mapping[str, Any], name: str) -> None:
    out = run(base, "breach", "night")
    forge(out, lambda facts: facts.update(change))
    ran = replay(base)
    assert ran.code == 1
    assert f"  differs: {name}" in ran.err.splitlines()


def test_other_numerics_are_told(base: Path) -> None:
    out = run(base, "sweep", "night")

    def change(facts: dict[str, Any]) -> None:
        other_digest("buckets")(facts)
        facts.update(numerics=engine.numerics() + 1, margrave_version="9.9")

    forge(out, change)
    ran = replay(base)
    assert ran.code == 1
    assert "  differs: buckets" in ran.err.splitlines()
    assert f"made by margrave 9.9 (numerics {engine.numerics() + 1})" in ran.err


def test_one_bit_of_one_account_is_seen(base: Path) -> None:
    """The whole way: an engine that is one ulp off in one figure does not replay."""
    run(base, "sweep", "night")
    code = (
        "import math\nimport polars as pl\nfrom margrave import cli, engine\n"
        "whole = engine.accounts\n"
        "def off(swept):\n    rows = whole(swept)\n    money = rows['equity'].to_list()\n"
        "    money[-1] = math.nextafter(money[-1], math.inf)\n"
        "    return rows.with_columns(pl.Series('equity', money))\n"
        "engine.accounts = off\ncli.main()"
    )
    ran = harness(code, "replay", "out", folder=base)
    assert ran.code == 1
    assert [x for x in ran.err.splitlines() if x.startswith("  ")] == ["  differs: accounts"]


def test_a_full_temporary_folder_is_4(base: Path) -> None:
    run(base, "sweep", "night")
    code = (
        "import resource\nfrom margrave import cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\ncli.main()"
    )
    made = {"TMPDIR": str(base / "made")}
    ran = harness(code, "replay", "out", folder=base, env=made)
    assert ran.code == 4
    assert names(base / "made") == []


def test_a_temporary_folder_that_is_not_there_is_4(base: Path) -> None:
    run(base, "sweep", "night")
    ran = harness(WITHOUT_TEMPORARY, "replay", "out", folder=base)
    assert ran.code == 4
    assert "not/there" in ran.err
    assert "hint: TMPDIR" in ran.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_replay_and_leaves_nothing(
    base: Path, number: signal.Signals, code: int
) -> None:
    run(base, "sweep", "night")
    slow = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import polars as pl\nfrom margrave import cli\n"
        "def slow(frame, file, **options):\n    print('writing', flush=True)\n"
        "    for _ in range(600):\n        time.sleep(0.1)\n"
        "pl.DataFrame.write_parquet = slow\ncli.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", slow, "replay", "out"],
        cwd=base,
        env=environment({"TMPDIR": str(base / "made")}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        assert names(base / "made") != []
        process.send_signal(number)
        assert process.communicate(timeout=30)[1] == "interrupted; nothing was published\n"
        assert process.returncode == code
    assert names(base / "made") == []
