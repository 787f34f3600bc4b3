"""`margrave breach`: directions as people write them, what is left, and runs that are stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, assert_refused, environment, make_night, margrave, names, read

TABLES = ("breach", "curve")

#: Where account 1 reaches its trigger when all falls by s, on its way from
#: 10,000 + 61,000 (1 + s) - 60,000 to 5 % of 61,000 (1 + s).
LINE = -7_950 / 57_950


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path / "night")


def breach(night: Path, *options: object, out: str = "out") -> Any:
    return margrave("breach", night, "--out", out, *options)


def found(night: Path, direction: Any) -> tuple[mg.Sweep, pl.DataFrame]:
    """Return what the API finds: the sweep of the night, and its breach."""
    positions, balances, instruments, assets = (night / f"{name}.parquet" for name in FRAMES)
    book = mg.Book(positions, balances, instruments)
    market, rules = mg.Market(instruments, assets), mg.Rules.load(night / "rules.toml")
    return book.sweep(market, rules), book.breach(market, rules, direction)


# What a breach leaves


def test_a_breach_writes_two_tables_and_a_manifest(night: Path) -> None:
    ran = breach(night)
    assert (ran.code, ran.out) == (0, ""), ran.err
    out = ran.folder / "out"
    assert names(out) == ["breach.parquet", "curve.parquet", "manifest.json"]
    accounts = read(out, "breach")
    assert accounts["account_id"].to_list() == [1, 2, 3]
    assert accounts["breach_kind"].to_list() == ["root", "breached", "breached"]
    assert accounts["breach_shock"].to_list() == [pytest.approx(LINE, rel=1e-12), None, None]
    # 2 and 3 are past it with 61,000 and 30,000 (a quantity of 0 counts nothing), then comes 1.
    curve = read(out, "curve")
    assert curve["breach_shock"].to_list() == [0.0, accounts["breach_shock"][0]]
    assert curve["cumulated_accounts"].to_list() == [2, 3]
    assert curve["cumulated_notional"].to_list() == [91_000.0, 152_000.0]


def test_people_are_told_how_many_and_where(night: Path) -> None:
    err = breach(night).err
    told = [" ".join(line.split()) for line in err.splitlines()]
    for line in (
        "Accounts along the direction down",
        "past its trigger already 2 66.67 %",
        "reaches its trigger 1 33.33 %",
        "never reaches it 0 0.00 %",
        "The liquidation curve, in USDC",
        "0 % 2 91,000.00 2 91,000.00",
        "-13.72 % 1 61,000.00 3 152,000.00",
        "-10 % 2 91,000.00",
        "-20 % 3 152,000.00",
        "Control: in = used + set aside, 2 instruments, 1 asset",
        "Written to out: breach, curve, manifest.json",
    ):
        assert line in told


@pytest.mark.parametrize("direction", ["down", "up", "adverse"])
def test_the_tables_are_those_of_the_api(night: Path, direction: str) -> None:
    ran = breach(night, "--direction", direction)
    assert ran.code == 0, ran.err
    swept, accounts = found(night, direction)
    assert read(ran.folder / "out", "breach").equals(accounts)
    curve = mg.liquidation_curve(accounts, swept.accounts)
    assert read(ran.folder / "out", "curve").equals(curve)


def test_json_is_the_manifest_with_direction_and_counts(night: Path) -> None:
    ran = breach(night, "--json")
    printed = json.loads(ran.out)
    stored = (ran.folder / "out" / "manifest.json").read_text(encoding="utf-8")
    assert printed == json.loads(stored)
    counts = {"breached": 2, "root": 1, "none": 0, "indeterminate": 0}
    assert {kind: printed[f"{kind}_accounts"] for kind in counts} == counts
    assert printed["direction"] == "down"
    rows = {"accounts": 3, "positions": 4, "balances": 3, "rejects": 0}
    assert {name: printed[name] for name in rows} == rows
    wanted = "margrave_version ruleset_id ruleset_hash input_digest result_digest seconds control"
    assert set(printed) >= {*wanted.split(), "totals", "gates"}
    assert printed["exit_code"] == 0


def test_digests_tell_directions_and_results_apart(night: Path) -> None:
    runs = {
        direction: json.loads(breach(night, "--json", "--direction", direction, out=f"o{n}").out)
        for n, direction in enumerate(("down", "adverse", "BTC=-1", "BTC=-1,ETH=-0.5"))
    }
    assert len({run["input_digest"] for run in runs.values()}) == 4
    assert runs["down"]["result_digest"] != runs["BTC=-1"]["result_digest"]
    assert runs["BTC=-1,ETH=-0.5"]["direction"] == {"BTC": -1.0, "ETH": -0.5}


def test_two_runs_differ_in_nothing_but_seconds(night: Path) -> None:
    runs = [breach(night, "--json", "--threads", n, out=f"out{n}") for n in (1, 2)]
    one, two = (json.loads(ran.out) for ran in runs)
    del one["seconds"], two["seconds"]
    assert one == two
    for table in TABLES:
        parts = [(night.parent / f"out{n}" / f"{table}.parquet").read_bytes() for n in (1, 2)]
        assert parts[0] == parts[1]


def test_quiet_says_nothing(night: Path) -> None:
    ran = breach(night, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


# Directions


def test_betas_may_be_written_out_or_stand_in_a_file(night: Path) -> None:
    betas = {"BTC": -1.0, "ETH": -1.5}
    pl.DataFrame({"factor": list(betas), "beta": list(betas.values())}).write_parquet(
        night.parent / "betas.parquet"
    )
    pl.read_parquet(night.parent / "betas.parquet").write_csv(night.parent / "betas.csv")
    _, accounts = found(night, betas)
    assert accounts["breach_shock"][0] == pytest.approx(-LINE, rel=1e-12)
    digests = set()
    for out, given in enumerate(("BTC=-1, ETH=-1.5", "betas.parquet", "betas.csv")):
        ran = breach(night, "--direction", given, "--json", out=f"out{out}")
        assert ran.code == 0, ran.err
        assert read(ran.folder / f"out{out}", "breach").equals(accounts)
        printed = json.loads(ran.out)
        assert printed["direction"] == betas
        digests.add((printed["input_digest"], printed["result_digest"]))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        ("dwon", ("'dwon' is no direction; did you mean down?", "adverse, FACTOR=BETA")),
        ("", ("'' is no direction", "hint:")),
        ("BTC", ("'BTC' is no direction",)),
        ("BTC=", ("'BTC=' is not FACTOR=BETA", "hint:")),
        ("=-1", ("'=-1' is not FACTOR=BETA",)),
        ("BTC=-1,ETH", ("'ETH' is not FACTOR=BETA",)),
        ("BTC=low", ("'BTC=low' is not FACTOR=BETA",)),
        ("BTC=-1,BTC=2", ("'BTC' is there twice", "hint:")),
    ],
)
def test_what_is_no_direction_is_2(night: Path, direction: str, words: tuple[str, ...]) -> None:
    assert_refused(breach(night, "--direction", direction), 2, "--direction: ", *words)


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        ("none.csv", ("none.csv does not exist",)),
        ("BTX=-1", ("direction.factor", "'BTX'", "did you mean 'BTC'")),
        ("BTC=nan", ("direction.beta",)),
        ("BTC=1e19", ("direction.beta",)),
        ("broken.parquet", ("broken.parquet",)),
        ("other.csv", ("direction.factor", "missing")),
    ],
)
def test_a_direction_that_cannot_be_used_is_3(
    night: Path, direction: str, words: tuple[str, ...]
) -> None:
    (night.parent / "broken.parquet").write_bytes(b"PAR1")
    (night.parent / "other.csv").write_text("beta\n1\n", encoding="utf-8")
    assert_refused(breach(night, "--direction", direction), 3, *words)


# Rejects, rules, output


def test_rejects_beyond_the_limit_are_1_written_and_marked(night: Path) -> None:
    file = night / "positions.parquet"
    kept = pl.when(pl.col("account_id") != 2).then(pl.col("quantity"))
    pl.read_parquet(file).with_columns(quantity=kept).write_parquet(file)
    ran = breach(night, "--json")
    assert ran.code == 1
    accounts = read(ran.folder / "out", "breach")
    assert accounts["breach_kind"].to_list() == ["root", None, "breached"]
    assert read(ran.folder / "out", "curve")["cumulated_accounts"].to_list() == [1, 2]
    printed = json.loads(ran.out)
    gate = {"gate": "max_rejects", "rejects": 1, "indeterminate_accounts": 1, "limit": 0}
    assert (printed["gates"], printed["exit_code"]) == ([gate], 1)
    assert (printed["indeterminate_accounts"], printed["rejects"]) == (1, 1)
    for words in ("indeterminate             1  33.33 %", "1 value rejected"):
        assert words in ran.err
    assert breach(night, "--overwrite", "--max-rejects", "1").code == 0
    refused = breach(night, "--on-error", "raise", out="out2")
    assert refused.code == 3
    assert "positions.quantity" in refused.err


def test_a_ruleset_that_is_not_there_is_3(night: Path) -> None:
    (night / "rules.toml").rename(night.parent / "my.toml")
    assert_refused(breach(night), 3, "--rules", "rules.toml does not exist")
    assert breach(night, "--rules", "my.toml").code == 0


def test_overwrite_leaves_no_table_of_another_command(night: Path) -> None:
    assert margrave("sweep", night, "--out", "out").code == 0
    assert "--overwrite" in breach(night).err
    assert breach(night, "--overwrite").code == 0
    assert names(night.parent / "out") == ["breach.parquet", "curve.parquet", "manifest.json"]
    moves = ("--scenarios", "2020-03-12", "--overwrite")
    assert margrave("stress", night, "--out", "out", *moves).code == 0
    assert "breach.parquet" not in names(night.parent / "out")


def test_betas_are_not_overwritten(night: Path) -> None:
    (night.parent / "kept").mkdir()
    file = night.parent / "kept" / "betas.csv"
    file.write_text("factor,beta\nBTC,-1\n", encoding="utf-8")
    ran = breach(night, "--direction", "kept/betas.csv", "--overwrite", out="kept")
    assert ran.code == 2
    assert "kept holds the input kept/betas.csv" in ran.err
    assert names(night.parent / "kept") == ["betas.csv"]


# Runs that are stopped

STEPS = """
import signal, sys, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored
import polars as pl
import margrave
from margrave import cli

stop = sys.argv.pop(1)
write = pl.DataFrame.write_parquet

def wait(what):
    print(what, flush=True)
    for _ in range(600):  # a signal just before a sleep does not end that sleep
        time.sleep(0.1)

def slow(*arguments, **options):
    wait(stop)

def slow_write(frame, path, **options):
    write(frame, path, **options)
    if stop == "writing":
        wait(stop)

if stop == "computing":
    margrave.Book.stress = margrave.Book.breach = slow
pl.DataFrame.write_parquet = slow_write
cli.main()
"""


COMMANDS = {"stress": ("--scenarios", "2020-03-12"), "breach": ("--direction", "down")}


@contextlib.contextmanager
def stopped_at(
    step: str, command: str, night: Path, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """Start a command on `night` that writes to `out` and yield once it has reached `step`."""
    arguments = [command, str(night), "--out", "out", *COMMANDS[command], *options]
    with subprocess.Popen(
        [sys.executable, "-c", STEPS, step, *arguments],
        cwd=night.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"{step}\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("step", ["computing", "writing"])
@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_signal_ends_the_run_and_leaves_nothing(
    night: Path, command: str, step: str, number: signal.Signals, code: int
) -> None:
    with stopped_at(step, command, night) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert err == "interrupted; nothing was published\n"
    assert names(night.parent) == ["night"]


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_run_that_was_killed_leaves_the_old_output(night: Path, command: str) -> None:
    whole = (command, night, "--out", "out", *COMMANDS[command], "--overwrite")
    assert margrave(*whole).code == 0
    before = (night.parent / "out" / "manifest.json").read_bytes()
    with stopped_at("writing", command, night, "--overwrite") as process:
        process.kill()
        process.communicate(timeout=30)
    assert (night.parent / "out" / "manifest.json").read_bytes() == before
    assert margrave(*whole).code == 0
    assert names(night.parent) == ["night", "out"]
