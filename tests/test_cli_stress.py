"""`margrave stress`: where scenarios come from, what is refused, what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, assert_refused, make_night, margrave, names, read

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
    rows = {"scenarios": 2, "accounts": 3, "positions": 4, "balances": 3, "rejects": 0}
    assert {name: printed[name] for name in rows} == rows
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
    assert ids.dtype == pl.Int64
    assert ids.to_list() == [10, 11, 20, 21]
    ran = stress(night, "--scenarios", "falls.parquet", moves="moves1.parquet", out="mixed")
    ids = read(ran.folder / "mixed", "scenarios")["scenario_id"]
    assert ids.to_list() == ["10", "11", "mild", "hard"]


def test_no_scenarios_leave_empty_tables(night: Path) -> None:
    nothing: dict[str, list[Any]] = {"scenario_id": [], "factor": [], "price_shock": []}
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
def test_a_bad_value_is_3(night: Path, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    pl.DataFrame(FALLS | changes).write_parquet(night.parent / "bad.parquet")
    assert_refused(stress(night, "--max-rejects", "99", moves="bad.parquet"), 3, *words)


def test_of_several_files_the_bad_one_is_named(night: Path) -> None:
    make_moves(night.parent / "bad.parquet", FALLS | {"factor": "BTX", "scenario_id": ["a", "b"]})
    ran = stress(night, "--scenarios", "bad.parquet")
    assert_refused(ran, 3, "in bad.parquet, scenarios.factor: 'BTX'")


@pytest.mark.parametrize(
    ("suffix", "content"),
    [(".parquet", b""), (".parquet", b"PAR1 and no more"), (".csv", b""), (".csv", b"\x00" * 4096)],
    ids=["empty", "cut", "empty_csv", "zeros"],
)
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
