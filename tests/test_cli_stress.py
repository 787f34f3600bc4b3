"""`margrave stress`: scenarios from files and from the library, and what is left of a run."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, assert_refused, environment, make_night, margrave, names, read
from margrave import report
from margrave.schema import SCENARIO_COLUMNS
from stored_text import assert_stored

TABLES = ("scenarios", "accounts")

FALLS = {"scenario_id": ["mild", "hard"], "factor": "*", "price_shock": [-0.1, -0.2]}


@pytest.fixture
def night(tmp_path: Path) -> Path:
    make_moves(tmp_path / "falls.parquet", FALLS)
    return make_night(tmp_path / "night")


def make_moves(file: Path, rows: dict[str, Any]) -> None:
    frame = pl.DataFrame(rows)
    frame.write_csv(file) if file.suffix == ".csv" else frame.write_parquet(file)


def stress(night: Path, *options: object, moves: str = "falls.parquet", out: str = "out") -> Any:
    return margrave("stress", night, "--scenarios", moves, "--out", out, *options)


def spoil(night: Path, **changes: Any) -> None:
    """Write `positions` anew with these columns changed."""
    file = night / "positions.parquet"
    pl.read_parquet(file).with_columns(**changes).write_parquet(file)


# What a stress leaves


def test_a_stress_writes_two_tables_and_a_manifest(night: Path) -> None:
    ran = stress(night)
    assert (ran.code, ran.out) == (0, ""), ran.err
    out = ran.folder / "out"
    assert names(out) == ["accounts.parquet", "manifest.json", "scenarios.parquet"]
    assert "Written to out: scenarios, accounts, manifest.json" in ran.err
    assert "Control: in = used + set aside, 2 instruments, 1 asset" in ran.err


def test_its_figures_are_those_of_the_moved_marks(night: Path) -> None:
    """By hand, in USDC.

    BTC at 54,900 or 48,800, ETH at 2,700 or 2,400:
    1: 10,000 + 54,900 - 60,000 = 4,900 against 2,745; 10,000 + 48,800 - 60,000 = -1,200
    2: 2,000 + 54,900 - 61,000 = -4,100; 2,000 + 48,800 - 61,000 = -10,200
    3: 500 + 10 * (2,700 - 3,100) = -3,500; 500 + 10 * (2,400 - 3,100) = -6,500
    """
    out = stress(night).folder / "out"
    scenarios, accounts = (read(out, table) for table in TABLES)
    assert scenarios["scenario_id"].to_list() == ["mild", "hard"]
    assert scenarios["liquidatable_accounts"].to_list() == [2, 3]
    assert scenarios["newly_liquidatable_accounts"].to_list() == [0, 1]
    assert scenarios["total_bad_debt"].to_list() == pytest.approx([7_600.0, 17_900.0])
    assert accounts["account_id"].to_list() == [1, 2, 3]
    assert accounts["worst_scenario"].to_list() == ["hard"] * 3
    assert accounts["bad_debt"].to_list() == pytest.approx([1_200.0, 10_200.0, 6_500.0])
    assert accounts["scenarios_liquidatable"].to_list() == [1, 2, 2]


def test_the_tables_are_those_of_the_api(night: Path) -> None:
    ran = stress(night)
    positions, balances, instruments, assets = (night / f"{name}.parquet" for name in FRAMES)
    book = mg.Book(positions, balances, instruments)
    rules = mg.Rules.load(night / "rules.toml")
    found = book.stress(mg.Market(instruments, assets), rules, ran.folder / "falls.parquet")
    for table in TABLES:
        assert read(ran.folder / "out", table).equals(getattr(found, table)), table
    stored = json.loads((ran.folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    for key in found.manifest.keys() - {"seconds"}:
        assert stored[key] == found.manifest[key], key


def test_duckdb_reads_the_tables(night: Path) -> None:
    out = stress(night).folder / "out"
    with duckdb.connect() as connection:
        for table in TABLES:
            path = str(out / f"{table}.parquet")
            rows = connection.execute("select count(*) from read_parquet(?)", [path]).fetchone()
            assert rows == (read(out, table).height,)


def test_json_is_one_object_the_same_as_the_manifest(night: Path) -> None:
    ran = stress(night, "--json")
    printed = json.loads(ran.out)
    stored = (ran.folder / "out" / "manifest.json").read_text(encoding="utf-8")
    assert printed == json.loads(stored)
    wanted = "margrave_version ruleset_id ruleset_hash scenarios accounts input_digest"
    assert set(printed) >= {*wanted.split(), "result_digest", "seconds", "control", "totals"}
    assert (printed["scenarios"], printed["accounts"]) == (2, 3)
    assert (printed["gates"], printed["exit_code"]) == ([], 0)
    assert printed["totals"]["liquidatable_accounts"] == 2  # at the marks as given


def test_two_runs_differ_in_nothing_but_seconds(night: Path) -> None:
    runs = [stress(night, "--json", "--threads", n, out=f"out{n}") for n in (1, 2)]
    one, two = (json.loads(ran.out) for ran in runs)
    del one["seconds"], two["seconds"]
    assert one == two
    for table in TABLES:
        parts = [(night.parent / f"out{n}" / f"{table}.parquet").read_bytes() for n in (1, 2)]
        assert parts[0] == parts[1]


def test_quiet_says_nothing(night: Path) -> None:
    ran = stress(night, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


# Where scenarios come from


def test_a_csv_file_gives_what_a_parquet_file_gives(night: Path) -> None:
    make_moves(night.parent / "falls.csv", FALLS)
    stress(night, out="parquet")
    assert stress(night, moves="falls.csv", out="csv").code == 0
    for table in TABLES:
        frames = [read(night.parent / out, table) for out in ("parquet", "csv")]
        assert frames[0].equals(frames[1])


def test_events_of_the_library_are_joined_by_commas_or_given_again(night: Path) -> None:
    ran = stress(night, "--scenarios", "2024-08-05", moves="2020-03-12, 2022-05_luna")
    assert ran.code == 0, ran.err
    ids = read(ran.folder / "out", "scenarios")["scenario_id"].to_list()
    assert ids == ["2020-03-12", "2022-05 LUNA", "2024-08-05"]
    files = {name: night / f"{name}.parquet" for name in FRAMES}
    market = mg.Market(files["instruments"], files["assets"])
    book = mg.Book(files["positions"], files["balances"], files["instruments"])
    events = pl.concat([mg.scenarios.library(name, market) for name in ids])
    found = book.stress(market, mg.Rules.load(night / "rules.toml"), events)
    for table in TABLES:
        assert read(ran.folder / "out", table).equals(getattr(found, table)), table


def test_files_and_events_are_put_one_after_another(night: Path) -> None:
    ran = stress(night, "--scenarios", "2020-03-12")
    assert ran.code == 0, ran.err
    ids = read(ran.folder / "out", "scenarios")["scenario_id"].to_list()
    assert ids == ["mild", "hard", "2020-03-12"]
    alone = stress(night, out="alone").folder / "alone"
    together = read(ran.folder / "out", "scenarios").head(2)
    assert together.equals(read(alone, "scenarios"))


def test_a_file_whose_name_has_a_comma_is_one_file(night: Path) -> None:
    (night.parent / "falls.parquet").rename(night.parent / "falls,all.parquet")
    ran = stress(night, moves="falls,all.parquet")
    assert ran.code == 0, ran.err
    assert read(ran.folder / "out", "scenarios").height == 2


def test_ids_of_several_files_are_integers_where_all_are(night: Path) -> None:
    for number in (1, 2):
        moves = FALLS | {"scenario_id": [number * 10, number * 10 + 1]}
        make_moves(night.parent / f"moves{number}.parquet", moves)
    ran = stress(night, "--scenarios", "moves2.parquet", moves="moves1.parquet")
    ids = read(ran.folder / "out", "scenarios")["scenario_id"]
    assert (ids.dtype, ids.to_list()) == (pl.Int64, [10, 11, 20, 21])
    ran = stress(night, "--scenarios", "falls.parquet", moves="moves1.parquet", out="mixed")
    ids = read(ran.folder / "mixed", "scenarios")["scenario_id"]
    assert ids.to_list() == ["10", "11", "mild", "hard"]


def test_no_scenarios_leave_empty_tables(night: Path) -> None:
    nothing = {"scenario_id": [], "factor": [], "price_shock": []}
    make_moves(night.parent / "none.parquet", nothing)
    ran = stress(night, moves="none.parquet")
    assert ran.code == 0, ran.err
    for table in TABLES:
        assert read(ran.folder / "out", table).height == 0
    assert "There are no scenarios." in ran.err


def test_a_scenario_in_two_places_is_2_and_named_with_both(night: Path) -> None:
    make_moves(night.parent / "more.csv", FALLS | {"scenario_id": ["new", "hard"]})
    ran = stress(night, "--scenarios", "more.csv")
    assert_refused(ran, 2, "scenario 'hard' is in falls.parquet and in more.csv", "hint:")
    ran = stress(night, moves="2020-03-12,2020-03-12")
    assert_refused(ran, 2, "scenario '2020-03-12' is in 2020-03-12 and in 2020-03-12")


def test_a_file_that_is_missing_is_3(night: Path) -> None:
    assert_refused(stress(night, moves="none.csv"), 3, "none.csv does not exist")
    assert_refused(stress(night, "--scenarios", "none.csv"), 3, "none.csv does not exist")
    assert_refused(stress(night, moves="falls.parquet,none.csv"), 3, "none.csv")


@pytest.mark.parametrize(
    ("name", "meant"), [("2020-03-13", "2020-03-12"), ("luna", ""), ("", ""), ("falls", "")]
)
def test_a_name_that_no_event_has_is_2(night: Path, name: str, meant: str) -> None:
    ran = stress(night, moves=name)
    assert_refused(ran, 2, f"--scenarios: no library scenario {name!r}", "2022-11 FTX", "hint:")
    assert not meant or f"did you mean {meant!r}" in ran.err


def test_scenarios_must_be_asked_for(night: Path) -> None:
    ran = margrave("stress", night, "--out", "out")
    assert_refused(ran, 2, "--scenarios", "hint: margrave stress --help")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"price_shock": [-1.0, -0.2]}, ("scenarios.price_shock", "-1.0", "above -1")),
        ({"price_shock": [0.1, float("nan")]}, ("scenarios.price_shock", "nan")),
        ({"price_shock": [0.1, None]}, ("scenarios.price_shock", "null")),
        ({"scenario_id": "one"}, ("scenarios.factor", "more than once", "'one'")),
        ({"factor": "BTX"}, ("scenarios.factor", "'BTX'", "did you mean 'BTC'")),
        ({"vol_shock": 0.5}, ("scenarios.vol_shock",)),
    ],
    ids=["total", "nan", "null", "twice", "unknown", "vol"],
)
@pytest.mark.parametrize("more", [False, True], ids=["alone", "with_more"])
def test_a_bad_value_is_3(
    night: Path, changes: dict[str, Any], words: tuple[str, ...], more: bool
) -> None:
    pl.DataFrame(FALLS | changes).write_parquet(night.parent / "bad.parquet")
    options = ("--scenarios", "falls.parquet") if more else ()
    ran = stress(night, *options, "--max-rejects", "99", moves="bad.parquet")
    assert_refused(ran, 3, *words)
    assert ("in bad.parquet, " in ran.err) == more


@pytest.mark.parametrize(
    "content", [b"", b"PAR1 and not much more", b"\x00" * 4096], ids=["empty", "cut", "zeros"]
)
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_broken_file_is_3(night: Path, suffix: str, content: bytes) -> None:
    (night.parent / f"broken{suffix}").write_bytes(content)
    ran = stress(night, "--scenarios", "falls.parquet", moves=f"broken{suffix}")
    assert_refused(ran, 3, f"broken{suffix}", "scenarios")


def test_columns_that_are_missing_are_3_and_a_near_miss_is_named(night: Path) -> None:
    shocks = pl.DataFrame(FALLS).rename({"price_shock": "price_shok"})
    shocks.write_parquet(night.parent / "falls.parquet")
    assert_refused(stress(night), 3, "scenarios.price_shok", "did you mean price_shock")


def test_a_file_of_another_kind_is_3(night: Path) -> None:
    (night.parent / "falls.txt").write_text("x", encoding="utf-8")
    assert_refused(stress(night, moves="falls.txt"), 3, "falls.txt is neither a .parquet nor")


# Rejects, rules, refusals


def test_rejects_beyond_the_limit_are_1_written_and_marked(night: Path) -> None:
    spoil(night, quantity=pl.when(pl.col("account_id") != 2).then(pl.col("quantity")))
    ran = stress(night, "--json")
    assert ran.code == 1
    out = ran.folder / "out"
    accounts = read(out, "accounts")
    assert accounts["status"].to_list()[1] == "indeterminate"
    assert accounts["worst_scenario"].to_list() == ["hard", None, "hard"]
    assert read(out, "scenarios")["liquidatable_accounts"].to_list() == [1, 2]
    stored = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    gate = {"gate": "max_rejects", "rejects": 1, "indeterminate_accounts": 1, "limit": 0}
    assert stored["gates"] == [gate]
    assert stored["exit_code"] == json.loads(ran.out)["exit_code"] == 1
    for words in ("1 value rejected", "positions.quantity: null", "of 1 indeterminate account"):
        assert words in ran.err
    assert stress(night, "--overwrite", "--max-rejects", "1").code == 0


def test_on_error_raise_refuses_the_night(night: Path) -> None:
    spoil(night, quantity=pl.lit(None, pl.Float64))
    assert_refused(stress(night, "--on-error", "raise"), 3, "positions.quantity")


def test_an_unlisted_instrument_does_not_stop_the_night(night: Path) -> None:
    spoil(night, instrument_id=pl.col("instrument_id").replace("ETH", "DOGE"))
    ran = stress(night)
    assert ran.code == 1
    assert "DOGE" in ran.err


def test_rules_may_be_named_and_their_tables_replaced(night: Path) -> None:
    (night / "rules.toml").rename(night.parent / "my.toml")
    rates = {"maintenance_rate": [0.0, 0.0], "initial_rate": [0.0, 0.0]}
    tiers = pl.DataFrame({"tier_table": ["BTC", "ETH"], "floor": [0, 0]} | rates)
    tiers.write_csv(night.parent / "tiers.csv")
    assert_refused(stress(night), 3, "--rules", "rules.toml does not exist")
    assert_refused(stress(night, "--rules", "hyperlikwid"), 2, "no preset 'hyperlikwid'")
    ran = stress(night, "--rules", "my.toml", "--tiers", "tiers.csv")
    assert ran.code == 0, ran.err
    # Nothing is required, so what is liquidatable owes something.
    scenarios = read(ran.folder / "out", "scenarios")
    assert scenarios["liquidatable_accounts"].to_list() == scenarios["bankrupt_accounts"].to_list()


def test_a_night_that_lacks_a_frame_is_3(night: Path) -> None:
    (night / "assets.parquet").unlink()
    assert_refused(stress(night), 3, "assets.parquet, assets.csv or assets/")


# Output


def test_output_that_exists_is_2_and_intact(night: Path) -> None:
    assert stress(night).code == 0
    before = (night.parent / "out" / "manifest.json").read_bytes()
    ran = stress(night)
    assert ran.code == 2
    assert "out exists and is not empty\nhint: --overwrite" in ran.err
    assert (night.parent / "out" / "manifest.json").read_bytes() == before


def test_overwrite_leaves_no_table_of_another_command(night: Path) -> None:
    assert margrave("sweep", night, "--out", "out").code == 0
    (night.parent / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    assert stress(night, "--overwrite").code == 0
    ours = ["accounts.parquet", "manifest.json", "scenarios.parquet"]
    assert names(night.parent / "out") == sorted([*ours, "notes.txt"])
    assert margrave("sweep", night, "--out", "out", "--overwrite").code == 0
    assert "scenarios.parquet" not in names(night.parent / "out")


def test_the_scenarios_are_not_overwritten(night: Path) -> None:
    (night.parent / "kept").mkdir()
    (night.parent / "falls.parquet").rename(night.parent / "kept" / "scenarios.parquet")
    ran = stress(night, "--overwrite", moves="kept/scenarios.parquet", out="kept")
    assert ran.code == 2
    assert "kept holds the input kept/scenarios.parquet" in ran.err
    assert names(night.parent / "kept") == ["scenarios.parquet"]


def test_output_that_cannot_be_written_is_4(night: Path) -> None:
    (night.parent / "file").touch()
    assert_refused(stress(night, out="file/out"), 4, "could not be written", "hint:")


STEPS = """
import signal, sys, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored
import polars as pl
import margrave
from margrave import cli

stop = sys.argv.pop(1)
compute, write = margrave.Book.stress, pl.DataFrame.write_parquet

def wait(what):
    print(what, flush=True)
    for _ in range(600):  # a signal just before a sleep does not end that sleep
        time.sleep(0.1)

def slow_stress(*arguments, **options):
    if stop == "stressing":
        wait(stop)
    return compute(*arguments, **options)

def slow_write(frame, path, **options):
    write(frame, path, **options)
    if stop == "writing":
        wait(stop)

margrave.Book.stress, pl.DataFrame.write_parquet = slow_stress, slow_write
cli.main()
"""


@contextlib.contextmanager
def stopped_at(step: str, night: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start a stress of `night` to `out` and yield once it has reached `step`."""
    command = [sys.executable, "-c", STEPS, step, "stress", str(night), "--out", "out", *options]
    with subprocess.Popen(
        [*command, "--scenarios", "falls.parquet"],
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
@pytest.mark.parametrize("step", ["stressing", "writing"])
def test_a_signal_ends_the_run_and_leaves_nothing(
    night: Path, step: str, number: signal.Signals, code: int
) -> None:
    with stopped_at(step, night) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (
            code,
            "",
            "interrupted; nothing was published\n",
        )
    assert names(night.parent) == ["falls.parquet", "night"]


def test_a_run_that_was_killed_leaves_the_old_output(night: Path) -> None:
    stress(night)
    before = (night.parent / "out" / "manifest.json").read_bytes()
    with stopped_at("writing", night, "--overwrite") as process:
        process.kill()
        process.communicate(timeout=30)
    assert (night.parent / "out" / "manifest.json").read_bytes() == before
    assert stress(night, "--overwrite").code == 0
    assert names(night.parent) == ["falls.parquet", "night", "out"]


# What people see


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


@pytest.mark.parametrize("command", ["stress", "breach"])
def test_the_help_reads_as_stored(tmp_path: Path, command: str) -> None:
    ran = margrave(command, "--help", folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert_stored(ran.out, f"help_{command}")


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
    from margrave.terminal import Session

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
