"""How much memory a night takes, and how much there is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, names
from cut_night import CUT, make_whole, run
from margrave import _core, engine, memory, night


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole(tmp_path_factory.mktemp("whole") / "night")


def test_a_night_that_is_too_big_is_refused_before_it_is_read(whole: Path, tmp_path: Path) -> None:
    for room in ("100MB", "181MiB"):
        ran = run("sweep", whole, "--memory", room, "--out", tmp_path / "out", code=2)
        assert "margrave shard" in ran.err
        assert "--shards" in ran.err
    assert names(tmp_path) == []


def test_check_says_how_much_memory_a_night_takes(whole: Path) -> None:
    ran = run("check", whole, "--json")
    assert "Memory: about" in ran.err
    assert json.loads(ran.out)["estimated_peak_bytes"] == memory.estimate(night.find(whole))
    refused = run("check", whole, "--memory", "100MB", code=2)
    assert "margrave shard" in refused.err


def test_options_of_shards_are_refused_for_a_whole_night(whole: Path, tmp_path: Path) -> None:
    for option in (["--resume"], ["--workers", 2]):
        ran = run("sweep", whole, *option, "--out", tmp_path / "out", code=2)
        assert str(option[0]) in ran.err
        assert "margrave shard" in ran.err


@pytest.mark.parametrize(
    ("text", "size"),
    [("6GiB", 6 << 30), ("6G", 6 << 30), ("500MB", 500_000_000), ("1.5 gib", 3 << 29), ("9", 9)],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert memory.parsed(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "0", "-1GiB", "6XB", "6 GiB more", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(mg.MargraveError, match="memory"):
        memory.parsed(text)


def test_the_estimate_grows_with_the_night(whole: Path, tmp_path: Path) -> None:
    files = night.find(whole)
    doubled = tmp_path / "night"
    shutil.copytree(whole, doubled)
    positions = pl.read_parquet(whole / "positions.parquet")
    pl.concat([positions, positions]).write_parquet(doubled / "positions.parquet")
    added = memory.estimate(night.find(doubled)) - memory.estimate(files)
    assert 200 * positions.height < added < 1000 * positions.height


def test_the_estimate_of_a_csv_is_near_that_of_the_same_parquet(
    whole: Path, tmp_path: Path
) -> None:
    """A night of 100,000 rows of positions: most of its rows are not in the sample."""
    for kind in ("parquet", "csv"):
        (tmp_path / kind).mkdir()
    for name in FRAMES:
        frame = pl.read_parquet(whole / f"{name}.parquet")
        frame = pl.concat([frame] * (1 + 100_000 // frame.height if name in CUT else 1))
        frame.write_parquet(tmp_path / "parquet" / f"{name}.parquet")
        frame.write_csv(tmp_path / "csv" / f"{name}.csv")
    of_csv, of_parquet = (
        memory.estimate(night.find(tmp_path / kind)) for kind in ("csv", "parquet")
    )
    assert of_parquet < of_csv < 1.5 * of_parquet
    assert of_parquet - memory.BASE < of_csv - memory.BASE < 1.5 * (of_parquet - memory.BASE)


@pytest.mark.parametrize("text", [b"", b"account_id,amount\n", b'a,b\n"', b"a,b\n\xff,1\n", None])
def test_a_csv_without_rows_or_that_cannot_be_read_takes_nothing(
    text: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "balances.csv"
    if text is not None:
        path.write_bytes(text)
    assert memory.estimate({"balances": [path]}) == memory.BASE


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A control group of 1,000 bytes inside one of 5,000, of which 300 are in use."""
    for path, limit, used in (("outer", "5000", "4500"), ("outer/inner", "1000", "300")):
        (tmp_path / path).mkdir()
        (tmp_path / path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / path / "memory.current").write_text(f"{used}\n")
        (tmp_path / path / "memory.stat").write_text("anon 1\ninactive_file 50\n")
    (tmp_path / "own").write_text("0::/outer/inner\n")
    return tmp_path


def test_the_limit_of_any_group_above_counts(groups: Path) -> None:
    assert memory._of_group(groups, groups / "own") == 5000 - 4500 + 50
    (groups / "outer" / "memory.max").write_text("max\n")
    assert memory._of_group(groups, groups / "own") == 1000 - 300 + 50
    assert memory._of_group(groups, groups / "none") == 1 << 62


@pytest.mark.parametrize(
    ("rows_of_a_large_book", "free", "told"),
    [(1, 8 << 30, [8 << 30]), (1, memory.UNKNOWN, [0]), (1 << 40, 8 << 30, [])],
)
def test_a_large_book_leaves_memory_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch, rows_of_a_large_book: int, free: int, told: list[int]
) -> None:
    heard: list[int] = []
    monkeypatch.setattr(engine, "_MANY", rows_of_a_large_book)
    monkeypatch.setattr(memory, "free", lambda: free)
    monkeypatch.setattr(_core, "keep_memory", heard.append)
    exchange = mg.generate(accounts=5, seed=1)
    mg.Book(exchange.positions, exchange.balances, exchange.instruments)
    assert heard == told
