"""Nights by business date: each in its own folder, which a run of that date replaces."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import polars as pl
import pytest

from command_line import assert_refused, harness, make_night, margrave, names, read
from margrave.publish import OutputRefusedError, Publication, UnpublishedError

DAY = "2026-11-28"
FOLDER = f"business_date={DAY}"


def put(out: Path, text: str = "new", *, date: str | None = DAY, overwrite: bool = False) -> None:
    with Publication(out, date=date, overwrite=overwrite) as publication:
        publication.write("accounts/shard-00000.parquet", text)
        publication.write("manifest.json", text)
        publication.commit()


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_date_is_a_folder_that_readers_of_partitions_find(tmp_path: Path) -> None:
    night = make_night(tmp_path / "night")
    for day in ("2026-11-27", DAY):
        ran = margrave("sweep", night, "--out", "out", "--date", day)
        assert ran.code == 0, ran.err
        assert f"Written to out/business_date={day}: accounts" in ran.err
    assert names(tmp_path / "out") == ["business_date=2026-11-27", FOLDER]
    found = pl.read_parquet(
        tmp_path / "out" / "business_date=*" / "accounts.parquet",
        hive_partitioning=True,
        try_parse_hive_dates=True,
    )
    counts = found.group_by("business_date").len().sort("business_date")
    assert counts.rows() == [(datetime.date(2026, 11, 27), 3), (datetime.date(2026, 11, 28), 3)]


def test_a_run_replaces_its_date_and_no_other(tmp_path: Path) -> None:
    put(tmp_path, "other", date="2026-11-27")
    put(tmp_path, "old")
    put(tmp_path, "new")
    assert set(content(tmp_path / FOLDER).values()) == {"new"}
    assert set(content(tmp_path / "business_date=2026-11-27").values()) == {"other"}
    assert names(tmp_path) == ["business_date=2026-11-27", FOLDER]


@pytest.mark.parametrize("command", ["sweep", "stress", "breach"])
def test_every_command_that_writes_results_takes_a_date(tmp_path: Path, command: str) -> None:
    night = make_night(tmp_path / "night")
    more = ("--scenarios", "2020-03-12") if command == "stress" else ()
    for _ in range(2):
        ran = margrave(command, night, "--out", "out", "--date", DAY, *more)
        assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "out" / FOLDER / "manifest.json").read_text("utf-8"))
    assert names(tmp_path / "out") == [FOLDER]


def test_today_is_the_date_in_utc(tmp_path: Path) -> None:
    night = make_night(tmp_path / "night")
    before = datetime.datetime.now(datetime.UTC).date()
    ran = margrave("sweep", night, "--out", "out", "--date", "today")
    after = datetime.datetime.now(datetime.UTC).date()
    assert ran.code == 0, ran.err
    assert names(tmp_path / "out")[0] in (f"business_date={before}", f"business_date={after}")


@pytest.mark.parametrize("given", ["20261128", "2026-02-30", "2026-W48-6", "yesterday", ""])
def test_what_is_no_date_is_wrong_usage(tmp_path: Path, given: str) -> None:
    night = make_night(tmp_path / "night")
    ran = margrave("sweep", night, "--out", "out", "--date", given)
    assert_refused(ran, 2, "--date", "is no date; write it as 2026-01-31, or today", "hint: ")


def test_a_date_that_holds_more_than_margraves_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "old")
    (tmp_path / FOLDER / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputRefusedError, match=r"more than Margrave wrote: 'notes\.txt'\nhint: "):
        put(tmp_path)
    assert content(tmp_path / FOLDER)["manifest.json"] == "old"
    put(tmp_path, overwrite=True)
    assert content(tmp_path / FOLDER)["manifest.json"] == "new"
    assert content(tmp_path / FOLDER)["notes.txt"] == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_in_a_date_that_is_no_table_is_refused(tmp_path: Path, overwrite: bool) -> None:
    put(tmp_path, "old")
    (tmp_path / FOLDER / "accounts" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputRefusedError, match="more than files: 'accounts'"):
        put(tmp_path, overwrite=overwrite)
    assert content(tmp_path / FOLDER)["accounts/mine.txt"] == "mine"


def test_what_came_into_a_date_meanwhile_is_not_lost(tmp_path: Path) -> None:
    put(tmp_path, "old")
    with Publication(tmp_path, date=DAY) as publication:
        publication.write("manifest.json", "new")
        (tmp_path / FOLDER / "notes.txt").write_text("mine", encoding="utf-8")
        with pytest.raises(UnpublishedError, match=r"meanwhile, .*'notes.txt'\nhint: "):
            publication.commit()
    assert content(tmp_path / FOLDER)["notes.txt"] == "mine"
    assert content(tmp_path / FOLDER)["manifest.json"] == "old"


def test_links_are_not_followed_at_either_level(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OutputRefusedError, match="link is a symbolic link"):
        put(tmp_path / "link")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FOLDER).symlink_to(target)
    with pytest.raises(OutputRefusedError, match=f"{FOLDER} is a symbolic link"):
        put(tmp_path / "out")
    assert not content(target)


def test_the_next_date_removes_what_a_killed_run_of_another_left(tmp_path: Path) -> None:
    moved = tmp_path / f".{FOLDER}.margrave-0123abcd.old"
    moved.mkdir()
    (moved / "manifest.json").write_text("old", encoding="utf-8")
    for name in (".business_date=2026-11-27.margrave-0123abcd", ".mine.margrave-0123abcd"):
        (tmp_path / name).mkdir()
    (tmp_path / f".{FOLDER}.margrave-lock").touch()
    put(tmp_path, date="2026-11-29")
    assert names(tmp_path) == [".mine.margrave-0123abcd", FOLDER, "business_date=2026-11-29"]
    assert content(tmp_path / FOLDER) == {"manifest.json": "old"}


def test_the_later_of_two_runs_loses_and_says_so(tmp_path: Path) -> None:
    put(tmp_path, "old")
    with Publication(tmp_path, date=DAY) as slow:
        slow.write("manifest.json", "slow")
        put(tmp_path, "quick")
        put(tmp_path, "quicker")  # its folder may have the number of the first one
        with pytest.raises(UnpublishedError, match=r"another run has published there.*\nhint: "):
            slow.commit()
    assert set(content(tmp_path / FOLDER).values()) == {"quicker"}
    assert names(tmp_path) == [FOLDER]


OVERTAKEN = """
import sys
from margrave import cli, delivery
from margrave.publish import Publication

publish = delivery.publish


def late(session, publication, *rest):
    with Publication(publication.out.parent, date=publication.date) as other:
        other.write("manifest.json", "first")
        other.commit()
    publish(session, publication, *rest)


delivery.publish = late
sys.exit(cli.run(sys.argv[1:]))
"""


def test_a_command_that_another_run_overtook_ends_in_4_and_changes_nothing(tmp_path: Path) -> None:
    night = make_night(tmp_path / "night")
    ran = harness(OVERTAKEN, "sweep", night, "--out", "out", "--date", DAY, folder=tmp_path)
    assert ran.code == 4
    assert ran.err.startswith(f"error: out/{FOLDER}: another run has published there since")
    assert ran.err.splitlines()[-1].startswith("hint: ")
    assert content(tmp_path / "out") == {f"{FOLDER}/manifest.json": "first"}
    assert names(tmp_path / "out") == [FOLDER]


def test_a_sharded_night_and_a_whole_one_replace_each_other(tmp_path: Path) -> None:
    night = make_night(tmp_path / "night")
    put(tmp_path / "out", "sharded", date=None)
    ran = margrave("sweep", night, "--out", "out", "--overwrite")
    assert ran.code == 0, ran.err
    assert read(tmp_path / "out", "accounts").height == 3
    put(tmp_path / "out", "sharded", date=None, overwrite=True)
    assert names(tmp_path / "out") == ["accounts", "manifest.json"]
