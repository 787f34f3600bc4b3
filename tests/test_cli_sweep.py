"""`margrave sweep` on nights as they come: what may be in one, what is refused, what is left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import margrave as mg
from command_line import (
    FRAMES,
    TABLES,
    assert_refused,
    harness,
    make_night,
    margrave,
    names,
    read,
)


@pytest.fixture
def night(tmp_path: Path) -> Path:
    return make_night(tmp_path / "night")


def spoil(night: Path, **changes: Any) -> None:
    """Write `positions` anew with these columns changed."""
    file = night / "positions.parquet"
    pl.read_parquet(file).with_columns(**changes).write_parquet(file)


# What a sweep leaves


def test_a_sweep_writes_five_tables_and_a_manifest(night: Path) -> None:
    ran = margrave("sweep", night, "--out", "out")
    assert ran.code == 0, ran.err
    assert ran.out == ""
    out = ran.folder / "out"
    assert names(out) == sorted([*(f"{table}.parquet" for table in TABLES), "manifest.json"])
    accounts = read(out, "accounts")
    assert accounts["account_id"].to_list() == [1, 2, 3]
    assert accounts["status"].to_list() == ["healthy", "liquidation", "bankrupt"]
    assert "bankrupt" in ran.err
    assert "Written to out" in ran.err


def test_the_tables_are_those_of_the_api(night: Path) -> None:
    ran = margrave("sweep", night, "--out", "out")
    positions, balances, instruments, assets = (night / f"{name}.parquet" for name in FRAMES)
    rules = mg.Rules.load(night / "rules.toml")
    result = mg.sweep(positions, balances, instruments, assets, rules)
    for table in TABLES:
        assert read(ran.folder / "out", table).equals(getattr(result, table)), table


def test_duckdb_reads_the_tables(night: Path) -> None:
    ran = margrave("sweep", night, "--out", "out")
    with duckdb.connect() as connection:
        for table in TABLES:
            path = str(ran.folder / "out" / f"{table}.parquet")
            rows = connection.execute("select count(*) from read_parquet(?)", [path]).fetchone()
            assert rows == (read(ran.folder / "out", table).height,)


def test_json_is_one_object_the_same_as_the_manifest(night: Path) -> None:
    ran = margrave("sweep", night, "--out", "out", "--json")
    printed = json.loads(ran.out)
    stored = json.loads((ran.folder / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert printed == stored
    wanted = "margrave_version ruleset_id ruleset_hash accounts buckets positions balances rejects"
    assert set(printed) >= {*wanted.split(), "input_digest", "result_digest", "seconds"}
    assert printed["exit_code"] == 0
    assert printed["gates"] == []
    totals = read(ran.folder / "out", "totals")
    assert printed["totals"] == totals.row(0, named=True)


def test_two_runs_differ_in_nothing_but_seconds(night: Path) -> None:
    one = json.loads(margrave("sweep", night, "--out", "one", "--json", "--threads", "1").out)
    two = json.loads(margrave("sweep", night, "--out", "two", "--json", "--threads", "2").out)
    del one["seconds"], two["seconds"]
    assert one == two
    folder = night.parent
    for table in TABLES:
        parts = [(folder / out / f"{table}.parquet").read_bytes() for out in ("one", "two")]
        assert parts[0] == parts[1]


def test_quiet_says_nothing(night: Path) -> None:
    ran = margrave("sweep", night, "--out", "out", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


# What a night may look like


def test_rows_of_a_folder_count_on_in_name_order(night: Path) -> None:
    frame = pl.read_parquet(night / "positions.parquet")
    frame = frame.with_columns(quantity=pl.when(pl.col("account_id") == 3).then(pl.col("quantity")))
    (night / "positions.parquet").unlink()
    (night / "positions").mkdir()
    for number in range(frame.height):
        part = night / "positions" / f"part-{number}.parquet"
        frame.slice(number, 1).write_parquet(part)
    (night / "positions" / "_SUCCESS").touch()
    ran = margrave("sweep", night, "--out", "out")
    assert ran.code == 1
    rejects = read(ran.folder / "out", "rejects")
    bad = frame.with_row_index("row").filter(pl.col("quantity").is_null())
    assert rejects["row"].to_list() == bad["row"].to_list()


def test_csv_files_give_what_parquet_files_give(night: Path) -> None:
    margrave("sweep", night, "--out", "parquet")
    for name in FRAMES:
        file = night / f"{name}.parquet"
        pl.read_parquet(file).write_csv(file.with_suffix(".csv"))
        file.unlink()
    ran = margrave("sweep", night, "--out", "csv")
    assert ran.code == 0, ran.err
    for table in ("accounts", "positions", "totals"):
        assert read(ran.folder / "csv", table).equals(read(ran.folder / "parquet", table))


def test_columns_of_the_optional_accounts_frame_are_carried(night: Path) -> None:
    owners = pl.DataFrame({"account_id": [2, 9], "owner_id": ["fund", "idle"]})
    owners.write_parquet(night / "accounts.parquet")
    ran = margrave("sweep", night, "--out", "out")
    accounts = read(ran.folder / "out", "accounts")
    assert accounts.select("account_id", "owner_id").rows() == [
        (1, None),
        (2, "fund"),
        (3, None),
        (9, "idle"),
    ]


def test_a_night_that_is_not_there_is_3(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for missing, words in (("nowhere", "does not exist"), ("file", "is not a folder")):
        ran = margrave("sweep", missing, "--out", "out", folder=tmp_path)
        assert_refused(ran, 3, missing, words)


def test_frames_that_are_missing_are_all_named(night: Path) -> None:
    (night / "balances.parquet").unlink()
    (night / "assets.parquet").unlink()
    ran = margrave("sweep", night, "--out", "out")
    assert_refused(ran, 3, "balances.parquet, balances.csv or balances/", "assets.csv")


def test_a_folder_without_files_is_3(night: Path) -> None:
    (night / "assets.parquet").unlink()
    (night / "assets").mkdir()
    assert_refused(margrave("sweep", night, "--out", "out"), 3, "assets holds no .parquet")


def test_a_frame_found_twice_is_2(night: Path) -> None:
    (night / "assets.csv").touch()
    ran = margrave("sweep", night, "--out", "out")
    assert_refused(ran, 2, "assets twice: assets.parquet and assets.csv")
    (night / "assets.csv").unlink()
    (night / "assets").mkdir()
    assert_refused(margrave("sweep", night, "--out", "out"), 2, "assets.parquet and assets")


@pytest.mark.parametrize("stray", ["b.csv", "b.parquet.tmp", "deeper"])
def test_a_folder_of_anything_but_one_kind_of_files_is_2(night: Path, stray: str) -> None:
    (night / "assets").mkdir()
    (night / "assets.parquet").rename(night / "assets" / "a.parquet")
    assert margrave("sweep", night, "--out", "fine").code == 0
    path = night / "assets" / stray
    path.mkdir() if stray == "deeper" else path.touch()
    assert_refused(margrave("sweep", night, "--out", "out"), 2, "assets", "hint:")


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"PAR1 and not much more", b"\x00" * 4096], ids=range(4)
)
@pytest.mark.parametrize("frame", ["positions", "instruments"])
def test_a_broken_parquet_file_is_3(night: Path, frame: str, content: bytes) -> None:
    (night / f"{frame}.parquet").write_bytes(content)
    assert_refused(margrave("sweep", night, "--out", "out"), 3, f"{frame}.parquet")


def test_a_truncated_parquet_file_is_3(night: Path) -> None:
    file = night / "positions.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    assert_refused(margrave("sweep", night, "--out", "out"), 3, "positions.parquet")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2,3\n", b"\xff\xfe\x00,\n"], ids=range(3))
def test_a_broken_csv_file_is_3(night: Path, content: bytes) -> None:
    (night / "balances.parquet").unlink()
    (night / "balances.csv").write_bytes(content)
    assert_refused(margrave("sweep", night, "--out", "out"), 3, "balances")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_3(night: Path) -> None:
    (night / "assets.parquet").chmod(0)
    assert_refused(margrave("sweep", night, "--out", "out"), 3, "assets.parquet")


# Rejects and refusals


def test_rejects_beyond_the_limit_are_1_written_and_marked(night: Path) -> None:
    spoil(night, quantity=pl.lit(None, pl.Float64))
    ran = margrave("sweep", night, "--out", "out", "--json", "--max-rejects", "3")
    assert ran.code == 1
    out = ran.folder / "out"
    rejects = read(out, "rejects").height
    accounts = read(out, "accounts").filter(pl.col("status") == "indeterminate").height
    assert (rejects, accounts) == (4, 3)
    stored = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    gate = {"gate": "max_rejects", "rejects": 4, "indeterminate_accounts": 3, "limit": 3}
    assert stored["gates"] == [gate]
    assert stored["exit_code"] == json.loads(ran.out)["exit_code"] == 1
    assert "4 rejected values, 3 indeterminate accounts" in ran.err


def test_rejects_up_to_the_limit_are_0(night: Path) -> None:
    spoil(night, quantity=pl.lit(None, pl.Float64))
    ran = margrave("sweep", night, "--out", "out", "--max-rejects", "4")
    assert ran.code == 0
    assert read(ran.folder / "out", "rejects").height == 4


def test_an_unlisted_instrument_does_not_stop_the_night(night: Path) -> None:
    spoil(night, instrument_id=pl.col("instrument_id").replace("ETH", "DOGE"))
    ran = margrave("sweep", night, "--out", "out")
    assert ran.code == 1
    assert "DOGE" in ran.err


def test_on_error_raise_refuses_the_night(night: Path) -> None:
    spoil(night, quantity=pl.lit(None, pl.Float64))
    ran = margrave("sweep", night, "--out", "out", "--on-error", "raise")
    assert_refused(ran, 3, "positions.quantity")


def test_a_column_that_is_missing_is_3(night: Path) -> None:
    file = night / "positions.parquet"
    pl.read_parquet(file).rename({"quantity": "qty"}).write_parquet(file)
    assert_refused(margrave("sweep", night, "--out", "out"), 3, "quantity", "qty")


def test_a_bad_value_in_the_market_is_3(night: Path) -> None:
    file = night / "assets.parquet"
    pl.read_parquet(file).with_columns(price=pl.lit(-1.0)).write_parquet(file)
    assert_refused(margrave("sweep", night, "--out", "out"), 3, "assets.price")


def test_a_refusal_moves_no_cursor(night: Path) -> None:
    spoil(night, instrument_id=pl.lit("\x1b[2J[/red]"))
    ran = margrave("sweep", night, "--out", "out", "--on-error", "raise")
    assert ran.code == 3
    assert "\x1b" not in ran.err
    assert "[/red]" in ran.err


# Rules


def test_rules_may_be_a_preset_or_a_file(night: Path) -> None:
    (night / "rules.toml").rename(night.parent / "my.toml")
    assert margrave("sweep", night, "--out", "out", "--rules", "my.toml").code == 0
    ran = margrave("sweep", night, "--out", "preset", "--rules", "hyperliquid", "--json")
    assert ran.code == 2  # it has no tier table named BTC
    assert "tier" in ran.err


def test_without_rules_the_option_is_named(night: Path) -> None:
    (night / "rules.toml").unlink()
    ran = margrave("sweep", night, "--out", "out")
    assert_refused(ran, 3, "--rules", "rules.toml does not exist", "hyperliquid")


def test_an_id_that_is_no_preset_is_2(night: Path) -> None:
    ran = margrave("sweep", night, "--out", "out", "--rules", "hyperlikwid")
    assert_refused(ran, 2, "no preset 'hyperlikwid'", "hyperliquid")


@pytest.mark.parametrize("option", ["--rules", "--tiers", "--weights"])
def test_a_rules_file_that_is_missing_is_3(night: Path, option: str) -> None:
    ran = margrave("sweep", night, "--out", "out", option, "none.toml")
    assert_refused(ran, 3, "none.toml does not exist")


@pytest.mark.parametrize("text", ["id = ", "id = 'x'\nsurprise = 1\n", "\x00"], ids=range(3))
def test_a_ruleset_that_cannot_be_used_is_2(night: Path, text: str) -> None:
    (night / "rules.toml").write_text(text, encoding="utf-8")
    assert_refused(margrave("sweep", night, "--out", "out"), 2, "rules.toml")


def test_tiers_and_weights_replace_whole_tables(night: Path) -> None:
    tiers = {"tier_table": ["BTC", "ETH"], "floor": [0, 0]}
    rates = {"maintenance_rate": [0.0, 0.0], "initial_rate": [0.0, 0.0]}
    pl.DataFrame(tiers | rates).write_csv(night.parent / "tiers.csv")
    weights = pl.DataFrame({"weight_table": ["USDC"], "maintenance_weight": [0.5]})
    weights.write_parquet(night.parent / "weights.parquet")
    given = ("--tiers", "tiers.csv", "--weights", "weights.parquet")
    ran = margrave("sweep", night, "--out", "out", *given)
    assert ran.code == 0, ran.err
    accounts = read(ran.folder / "out", "accounts")
    assert accounts["maintenance_margin"].to_list() == [0.0, 0.0, 0.0]
    assert accounts["margin_balance"][0] == 0.5 * 10_000 + 1_000


# Output


def test_output_that_exists_is_2_and_intact(night: Path) -> None:
    assert margrave("sweep", night, "--out", "out").code == 0
    before = (night.parent / "out" / "manifest.json").read_bytes()
    ran = margrave("sweep", night, "--out", "out")
    assert ran.code == 2
    assert "out exists and is not empty\nhint: --overwrite" in ran.err
    assert (night.parent / "out" / "manifest.json").read_bytes() == before


def test_overwrite_replaces_output_and_keeps_other_files(night: Path) -> None:
    margrave("sweep", night, "--out", "out")
    (night.parent / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    spoil(night, quantity=pl.col("quantity") * 0)
    ran = margrave("sweep", night, "--out", "out", "--overwrite")
    assert ran.code == 0
    assert read(ran.folder / "out", "totals")["gross_notional"].item() == 0
    assert (ran.folder / "out" / "notes.txt").exists()
    assert names(ran.folder) == ["night", "out"]


def test_a_refused_night_leaves_the_old_output(night: Path) -> None:
    margrave("sweep", night, "--out", "out")
    before = (night.parent / "out" / "manifest.json").read_bytes()
    (night / "positions.parquet").write_bytes(b"")
    assert margrave("sweep", night, "--out", "out", "--overwrite").code == 3
    assert (night.parent / "out" / "manifest.json").read_bytes() == before


def test_output_through_a_link_is_2(night: Path) -> None:
    (night.parent / "elsewhere").mkdir()
    (night.parent / "link").symlink_to("elsewhere")
    ran = margrave("sweep", night, "--out", "link", "--overwrite")
    assert ran.code == 2
    assert "symbolic link" in ran.err
    assert names(night.parent / "elsewhere") == []


def test_the_night_is_not_its_own_output(night: Path) -> None:
    before = names(night)
    for out in (night, night.parent):
        ran = margrave("sweep", night, "--out", out, "--overwrite", folder="/")
        assert ran.code == 2
        assert "holds the input" in ran.err
    assert names(night) == before


def test_output_that_cannot_be_written_is_4(night: Path) -> None:
    (night.parent / "file").touch()
    ran = margrave("sweep", night, "--out", "file/out")
    assert_refused(ran, 4, "could not be written", "file/out", "hint:")


def test_a_full_disk_is_4_and_the_old_output_intact(night: Path) -> None:
    margrave("sweep", night, "--out", "out")
    before = (night.parent / "out" / "manifest.json").read_bytes()
    code = (
        "import resource\nfrom margrave import cli\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\ncli.main()"
    )
    ran = harness(code, "sweep", night, "--out", "out", "--overwrite", folder=night.parent)
    assert ran.code == 4, ran.err
    assert "could not be written" in ran.err
    assert (night.parent / "out" / "manifest.json").read_bytes() == before
    assert names(night.parent) == ["night", "out"]
