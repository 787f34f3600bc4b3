"""A night in shards: cut by a hash that never changes, computed a few at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, make_night, names
from cut_night import CUT, content, facts, make_cut, make_whole, run, table
from margrave import shards


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole(tmp_path_factory.mktemp("whole") / "night")


@pytest.fixture(scope="module")
def cut(whole: Path) -> Path:
    return make_cut(whole)


@pytest.fixture(scope="module")
def swept(whole: Path) -> Path:
    """The sweep of the whole night."""
    run("sweep", whole, "--out", whole.parent / "swept")
    return whole.parent / "swept"


def test_a_shard_holds_whole_accounts_and_their_rows_in_order(whole: Path, cut: Path) -> None:
    assert names(cut) == sorted(
        [
            *("accounts", "assets.parquet", "balances", "instruments.parquet", "positions"),
            *("rules.toml", "shards.json", "tiers.parquet", "weights.parquet"),
        ]
    )
    for name in (*CUT, "accounts"):
        before = pl.read_parquet(whole / f"{name}.parquet")
        parts = [pl.read_parquet(cut / shards.file_name(name, k)) for k in range(5)]
        assert all(part.schema == before.schema for part in parts)
        homes: dict[Any, int] = {}
        for number, part in enumerate(parts):
            for account in part["account_id"].drop_nulls().unique():
                assert homes.setdefault(account, number) == number
        rows = pl.concat(parts).sort("account_id", maintain_order=True, nulls_last=True)
        assert rows.equals(before.sort("account_id", maintain_order=True, nulls_last=True))


def test_the_hash_is_the_one_that_is_documented(cut: Path) -> None:
    """Figures of the reference implementation: XXH3 of "1", "42", "abc" and "-7", modulo 16."""
    ids = pl.Series(["1", "42", "abc", "-7"])
    assert mg.engine.shards_of(ids, 16).to_list() == [8, 1, 0, 8]
    assert json.loads((cut / "shards.json").read_text())["hash"].startswith("xxh3-64")


@pytest.mark.parametrize(("count", "workers"), [(1, 1), (2, 1), (7, 3)])
def test_whole_or_in_shards_every_row_and_total_is_the_same(
    whole: Path, swept: Path, count: int, workers: int, tmp_path: Path
) -> None:
    run("shard", whole, "--shards", count, "--out", tmp_path / "cut", code=0)
    out = tmp_path / "out"
    run("sweep", tmp_path / "cut", "--workers", workers, "--threads", 2, "--out", out)
    for name in ("accounts", "buckets", "positions", "totals"):
        assert table(out, name).equals(table(swept, name)), name
    assert names(out / "accounts") == [f"shard-{k:05}.parquet" for k in range(count)]
    one, other = facts(out), facts(swept)
    for key in ("accounts", "buckets", "positions", "balances", "rejects", "set_aside", "totals"):
        assert one[key] == other[key], key
    assert one["control"]["positions"] == other["control"]["positions"]
    assert one["results"]["totals"] == other["results"]["totals"]
    assert one["shards"] == count


def test_workers_and_threads_change_no_byte(cut: Path, tmp_path: Path) -> None:
    run("sweep", cut, "--workers", 1, "--threads", 1, "--out", tmp_path / "one")
    run("sweep", cut, "--workers", 4, "--threads", 3, "--out", tmp_path / "other")
    assert content(tmp_path / "one") == content(tmp_path / "other")
    apart = ("seconds", "manifest_digest")
    one, other = facts(tmp_path / "one"), facts(tmp_path / "other")
    assert {**one, **dict.fromkeys(apart)} == {**other, **dict.fromkeys(apart)}


def test_rejects_name_rows_as_the_folder_counts_them(cut: Path, tmp_path: Path) -> None:
    """A folder that is read whole counts its rows on through its files: so does one in shards."""
    run("sweep", cut, "--out", tmp_path / "out")
    plain = tmp_path / "plain"
    shutil.copytree(cut, plain)
    (plain / "shards.json").unlink()
    run("sweep", plain, "--out", tmp_path / "whole")
    assert table(tmp_path / "out", "rejects").equals(table(tmp_path / "whole", "rejects"))


def test_a_stress_of_shards_is_that_of_the_whole(whole: Path, cut: Path, tmp_path: Path) -> None:
    for folder, out in ((whole, "whole"), (cut, "cut")):
        run("stress", folder, "--scenarios", "2020-03-12,2022-11-ftx", "--out", tmp_path / out)
    for name in ("scenarios", "accounts"):
        assert table(tmp_path / "cut", name).equals(table(tmp_path / "whole", name)), name
    assert facts(tmp_path / "cut")["totals"] == facts(tmp_path / "whole")["totals"]
    assert facts(tmp_path / "cut")["scenarios"] == 2


@pytest.mark.parametrize("direction", ["down", "BTC=-1,ETH=0.5"])
def test_a_breach_of_shards_is_that_of_the_whole(
    whole: Path, cut: Path, direction: str, tmp_path: Path
) -> None:
    for folder, out in ((whole, "whole"), (cut, "cut")):
        run("breach", folder, "--direction", direction, "--out", tmp_path / out)
    for name in ("breach", "curve"):
        assert table(tmp_path / "cut", name).equals(table(tmp_path / "whole", name)), name
    for key in ("root_accounts", "breached_accounts", "none_accounts", "totals"):
        assert facts(tmp_path / "cut")[key] == facts(tmp_path / "whole")[key], key


@pytest.mark.parametrize(
    "command", [["sweep"], ["stress", "--scenarios", "2020-03-12"], ["breach"]]
)
def test_an_account_in_two_shards_is_refused_with_its_id(
    cut: Path, command: list[str], tmp_path: Path
) -> None:
    split = tmp_path / "split"
    shutil.copytree(cut, split)
    path = split / shards.file_name("balances", 3)
    mine = pl.read_parquet(split / shards.file_name("balances", 1))
    pl.concat([pl.read_parquet(path), mine.head(1)]).write_parquet(path)
    ran = run(*command, split, "--out", tmp_path / "out", code=3)
    assert str(mine["account_id"][0]) in ran.err
    assert "shard 3" in ran.err
    assert "of shard 1" in ran.err
    assert names(tmp_path) == ["split"]


def test_files_that_are_not_those_of_the_shards_are_refused(cut: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(cut, lacking)
    (lacking / shards.file_name("positions", 2)).unlink()
    ran = run("sweep", lacking, "--out", tmp_path / "out", code=2)
    assert "shard-00002.parquet" in ran.err
    (lacking / "positions" / "more.parquet").write_bytes(
        (cut / shards.file_name("positions", 2)).read_bytes()
    )
    assert "more.parquet" in run("sweep", lacking, "--out", tmp_path / "out", code=2).err


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 3),
        ("[]", 3),
        ('{"version": 1}', 3),
        ('{"version": 2, "shards": 5, "hash": "another"}', 2),
        ('{"version": 1, "shards": 0, "hash": "another"}', 2),
    ],
)
def test_a_mark_that_is_none_is_refused(cut: Path, text: str, code: int, tmp_path: Path) -> None:
    marked = tmp_path / "marked"
    shutil.copytree(cut, marked)
    (marked / "shards.json").write_text(text)
    assert "shards.json" in run("sweep", marked, "--out", tmp_path / "out", code=code).err


def test_shards_may_be_empty(tmp_path: Path) -> None:
    small = make_night(tmp_path / "small")
    run("shard", small, "--shards", 9, "--out", tmp_path / "cut", code=0)
    run("sweep", tmp_path / "cut", "--out", tmp_path / "out", code=0)
    run("sweep", small, "--out", tmp_path / "whole", code=0)
    for name in ("accounts", "buckets", "positions", "totals"):
        assert table(tmp_path / "out", name).equals(table(tmp_path / "whole", name)), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.drop("account_id"), "positions.account_id"),
        (lambda p: p.with_columns(account_id=pl.lit(0.5)), "positions.account_id"),
    ],
)
def test_a_frame_that_cannot_be_cut_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    small = make_night(tmp_path / "small")
    positions = pl.read_parquet(small / "positions.parquet")
    change(positions).write_parquet(small / "positions.parquet")
    ran = run("shard", small, "--shards", 2, "--out", tmp_path / "cut", code=3)
    assert message in ran.err
    assert names(tmp_path) == ["small"]


def test_a_csv_is_not_cut(tmp_path: Path) -> None:
    small = make_night(tmp_path / "small")
    pl.read_parquet(small / "balances.parquet").write_csv(small / "balances.csv")
    (small / "balances.parquet").unlink()
    ran = run("shard", small, "--shards", 2, "--out", tmp_path / "cut", code=3)
    assert "balances.csv" in ran.err
    assert "hint:" in ran.err


def test_files_of_a_frame_count_on_and_texts_are_cut_too(tmp_path: Path) -> None:
    """Two files of positions, ids as text, more rows than fit in one batch."""
    small = make_night(tmp_path / "small")
    for name in CUT:
        frame = pl.read_parquet(small / f"{name}.parquet")
        frame = frame.with_columns(pl.format("konto ß {}", "account_id").alias("account_id"))
        (small / f"{name}.parquet").unlink()
        (small / name).mkdir()
        frame.head(2).write_parquet(small / name / "0.parquet")
        frame.tail(-2).write_parquet(small / name / "1.parquet")
    run("shard", small, "--shards", 3, "--out", tmp_path / "cut", code=0)
    run("sweep", tmp_path / "cut", "--out", tmp_path / "out", code=0)
    run("sweep", small, "--out", tmp_path / "whole", code=0)
    assert table(tmp_path / "out", "accounts").equals(table(tmp_path / "whole", "accounts"))


def test_check_sees_an_account_in_two_shards(cut: Path, tmp_path: Path) -> None:
    split = tmp_path / "split"
    shutil.copytree(cut, split)
    path = split / shards.file_name("balances", 3)
    mine = pl.read_parquet(split / shards.file_name("balances", 1)).head(1)
    pl.concat([pl.read_parquet(path), mine]).write_parquet(path)
    assert str(mine["account_id"][0]) in run("check", split, code=3).err


def test_ids_are_of_one_type_in_all_shards(cut: Path, tmp_path: Path) -> None:
    small = make_night(tmp_path / "small")
    balances = pl.read_parquet(small / "balances.parquet")
    balances.cast({"account_id": pl.UInt64}).write_parquet(small / "balances.parquet")
    ran = run("shard", small, "--shards", 2, "--out", tmp_path / "cut", code=3)
    assert "positions Int64, balances UInt64" in ran.err
    mixed = tmp_path / "mixed"
    shutil.copytree(cut, mixed)
    path = mixed / shards.file_name("positions", 2)
    pl.read_parquet(path).cast({"account_id": pl.String}).write_parquet(path)
    assert "shard-00002.parquet" in run("sweep", mixed, "--out", tmp_path / "out", code=3).err


def test_numbers_of_the_market_that_lose_digits_are_counted_once(tmp_path: Path) -> None:
    small = make_night(tmp_path / "small")
    assets = pl.read_parquet(small / "assets.parquet")
    price = pl.Series("price", ["1.00000000000000000001"]).cast(pl.Decimal(38, 20))
    assets.with_columns(price).write_parquet(small / "assets.parquet")
    run("shard", small, "--shards", 3, "--out", tmp_path / "cut", code=0)
    run("sweep", tmp_path / "cut", "--out", tmp_path / "out", code=0)
    assert facts(tmp_path / "out")["inexact_numbers"] == {"assets.price": 1}


def test_all_frames_of_a_night_that_are_not_cut_are_copied(whole: Path, cut: Path) -> None:
    for name in set(FRAMES) - set(CUT):
        assert (cut / f"{name}.parquet").read_bytes() == (whole / f"{name}.parquet").read_bytes()


def test_files_deep_in_a_night_are_copied(tmp_path: Path) -> None:
    small = make_night(tmp_path / "small")
    (small / "tables" / "old").mkdir(parents=True)
    (small / "tables" / "old" / "notes.txt").write_text("kept")
    run("shard", small, "--shards", 2, "--out", tmp_path / "cut", code=0)
    assert (tmp_path / "cut" / "tables" / "old" / "notes.txt").read_text() == "kept"
