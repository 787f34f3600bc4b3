"""A night in shards: cut by a hash that never changes, computed a few at a time, resumed."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import FRAMES, Ran, environment, make_night, margrave, names
from margrave import memory, night, shards

#: Accounts of the night that is cut.
ACCOUNTS = 1500

CUT = ("positions", "balances")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic night, with an account of a bad row, a row of nobody and an accounts frame."""
    folder = tmp_path_factory.mktemp("whole") / "night"
    assert margrave("generate", "--accounts", ACCOUNTS, "--out", folder).code == 0
    positions = pl.read_parquet(folder / "positions.parquet")
    rows = pl.int_range(pl.len())
    positions = positions.with_columns(
        quantity=pl.when(rows % 700 == 3).then(None).otherwise("quantity"),
        account_id=pl.when(rows == 11).then(None).otherwise("account_id"),
    )
    positions.write_parquet(folder / "positions.parquet")
    ids = positions["account_id"].drop_nulls().unique(maintain_order=True)[:700]
    owners = pl.DataFrame({"account_id": ids, "owner_id": [f"owner {i % 90}" for i in range(700)]})
    owners.write_parquet(folder / "accounts.parquet")
    return folder


@pytest.fixture(scope="module")
def cut(whole: Path) -> Path:
    """The same night in 5 shards."""
    ran = margrave("shard", whole, "--shards", 5, "--out", whole.parent / "cut")
    assert ran.code == 0, ran.err
    return whole.parent / "cut"


def table(folder: Path, name: str) -> pl.DataFrame:
    """Return a table of a result, in shards or not, in the order of accounts."""
    path = folder / name
    files = sorted(path.iterdir()) if path.is_dir() else [folder / f"{name}.parquet"]
    frame = pl.concat([pl.read_parquet(file) for file in files])
    return frame.sort("account_id", maintain_order=True) if "account_id" in frame.columns else frame


def content(folder: Path) -> dict[str, str]:
    """Return the digest of each table of a result."""
    files = sorted(path for path in folder.rglob("*.parquet"))
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def run(*arguments: object, code: int = 1) -> Ran:
    """Run a command; 1 is what a night with rejects ends with."""
    ran = margrave(*arguments)
    assert ran.code == code, ran.err
    return ran


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


# Stops once so many shards are done, by a signal to itself or for good.
STOPPED = """
import os, signal, sys
from margrave import cli, ledger

after, number = int(sys.argv[1]), int(sys.argv[2])
put = ledger.Ledger.put

def counted(self, *rest):
    put(self, *rest)
    counted.done += 1
    if counted.done == after:
        os.kill(os.getpid(), number)

counted.done = 0
ledger.Ledger.put = counted
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(cli.run(sys.argv[3:]))
"""


def stopped(after: int, number: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STOPPED, str(after), str(number), *map(str, arguments)],
        env=environment(None),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2), (signal.SIGKILL, -9, 2)],
)
def test_a_stopped_run_publishes_nothing_and_is_gone_on_with(
    cut: Path, number: int, code: int, workers: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("sweep", cut, "--out", out, "--workers", workers, "--threads", 1)
    ran = stopped(2, number, *command)
    assert ran.returncode == code, ran.stderr
    assert not out.exists()
    assert len(names(tmp_path)) == 1  # what is kept
    if number != signal.SIGKILL:
        assert "--resume" in ran.stderr
    again = run(*command, "--resume", "--log-json")
    events = [json.loads(line) for line in again.err.splitlines()]
    reused = [e["shard"] for e in events if e["event"] == "shard" and e["reused"]]
    assert len(reused) >= 2
    assert len([e for e in events if e["event"] == "shard"]) == 5
    assert names(tmp_path) == ["out"]
    run("sweep", cut, "--out", tmp_path / "fresh")
    assert content(out) == content(tmp_path / "fresh")


def test_a_run_that_does_not_resume_leaves_no_debris(cut: Path, tmp_path: Path) -> None:
    stopped(2, signal.SIGKILL, "sweep", cut, "--out", tmp_path / "out", "--workers", 1)
    assert len(names(tmp_path)) == 1
    run("sweep", cut, "--out", tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_what_is_not_the_same_any_more_is_computed_again(cut: Path, tmp_path: Path) -> None:
    """A shard whose file changed, a table that was damaged, and other rules."""
    copied = tmp_path / "cut"
    shutil.copytree(cut, copied)
    out = tmp_path / "out"
    command = ("sweep", copied, "--out", out, "--workers", 1)

    def reused(*more: object) -> list[int]:
        lines = run(*command, "--resume", "--log-json", *more).err.splitlines()
        events = [json.loads(line) for line in lines]
        shutil.rmtree(out)
        return [e["shard"] for e in events if e["event"] == "shard" and e["reused"]]

    def stop() -> Path:
        stopped(3, signal.SIGKILL, *command)
        (kept,) = [path for path in tmp_path.iterdir() if path.name.startswith(".out.")]
        return kept

    stop()
    balances = copied / shards.file_name("balances", 1)
    pl.read_parquet(balances).with_columns(pl.col("amount") * 2).write_parquet(balances)
    assert reused() == [0, 2]
    damaged = stop() / "accounts" / "shard-00002.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    assert reused() == [0, 1]
    stop()
    rules = mg.Rules.load(copied / "rules.toml").replace(level=1.5)
    (copied / "other.toml").write_text(
        rules.to_toml(tiers="tiers.parquet", weights="weights.parquet")
    )
    assert reused("--rules", copied / "other.toml") == []


def test_two_runs_do_not_go_on_with_the_same(cut: Path, tmp_path: Path) -> None:
    """What a living run is making is not taken from it."""
    waiting = STOPPED.replace("os.kill(os.getpid(), number)", "time.sleep(60)").replace(
        "import os,", "import time, os,"
    )
    out = tmp_path / "out"
    arguments = ["sweep", cut, "--out", out, "--workers", 1]
    with subprocess.Popen(
        [sys.executable, "-c", waiting, "2", "0", *map(str, arguments)],
        env=environment(None),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        try:
            _until(lambda: any(tmp_path.glob(".out.*/.kept/00001.json")))
            run(*arguments, "--resume")
            assert content(out)
            assert any(tmp_path.glob(".out.*/.kept/00001.json"))
        finally:
            first.kill()


def test_what_another_command_kept_is_not_published(cut: Path, tmp_path: Path) -> None:
    """A stopped breach, and a stopped sweep of more shards, leave nothing in what comes after."""
    more = tmp_path / "more"
    run("shard", cut, "--shards", 8, "--out", more, code=0)
    out = tmp_path / "out"
    stopped(2, signal.SIGKILL, "breach", cut, "--out", out, "--workers", 1)
    run("sweep", cut, "--out", out, "--resume")
    assert not (out / "breach").exists()
    assert margrave("verify", out).code == 0
    shutil.rmtree(out)
    stopped(7, signal.SIGKILL, "sweep", more, "--out", out, "--workers", 1)
    run("sweep", cut, "--out", out, "--resume")
    assert len(names(out / "accounts")) == 5
    assert margrave("verify", out).code == 0
    assert names(tmp_path) == ["more", "out"]


# Stops once the manifest is written, before it is published.
UNCOMMITTED = """
import os, signal, sys
from margrave import cli, publish

publish.Publication.commit = lambda self: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(cli.run(sys.argv[1:]))
"""


def test_a_run_that_was_killed_before_its_commit_is_gone_on_with(cut: Path, tmp_path: Path) -> None:
    command = ["sweep", cut, "--out", tmp_path / "out"]
    subprocess.run(
        [sys.executable, "-c", UNCOMMITTED, *map(str, command)],
        env=environment(None),
        capture_output=True,
        check=False,
    )
    ran = run(*command, "--resume")
    assert "Resumed: 5 of 5" in ran.err
    assert margrave("verify", tmp_path / "out").code == 0


def test_a_run_that_fails_to_resume_takes_nothing_away(cut: Path, tmp_path: Path) -> None:
    command = ["sweep", cut, "--out", tmp_path / "out", "--workers", 1]
    stopped(3, signal.SIGKILL, *command)
    run(*command, "--resume", "--rules", "no_such_preset", code=2)
    assert stopped(1, signal.SIGTERM, *command, "--resume").returncode == 143
    assert "Resumed: 4 of 5" in run(*command, "--resume").err
    assert names(tmp_path) == ["out"]


# Writes a file of the night anew while its shard is in work.
REWRITTEN = """
import sys
from pathlib import Path
from margrave import cli, sharded_night

check = sharded_night.ShardedNight._check

def rewriting(self, shard, swept):
    check(self, shard, swept)
    path = Path(sys.argv[1])
    path.write_bytes(path.with_suffix(".new").read_bytes())

sharded_night.ShardedNight._check = rewriting
sys.exit(cli.run(sys.argv[2:]))
"""


def test_a_file_that_changes_while_it_is_read_is_never_resumed_from(
    cut: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "cut"
    shutil.copytree(cut, copied)
    file = copied / shards.file_name("balances", 0)
    doubled = pl.read_parquet(file).with_columns(pl.col("amount") * 2)
    doubled.write_parquet(file.with_suffix(".new"))
    (tmp_path / "elsewhere").mkdir()
    new = file.with_suffix(".new").rename(tmp_path / "elsewhere" / "new.parquet")
    code = REWRITTEN.replace('path.with_suffix(".new")', f"Path({str(new)!r})")
    command = ["sweep", copied, "--out", tmp_path / "out", "--workers", 1]
    ran = subprocess.run(
        [sys.executable, "-c", code, str(file), *map(str, command)],
        env=environment(None),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3, ran.stderr
    assert "changed while it was read" in ran.stderr
    run(*command, "--resume")
    run("sweep", copied, "--out", tmp_path / "fresh")
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


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


def _until(is_so: Any) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


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


def test_all_frames_of_a_night_that_are_not_cut_are_copied(whole: Path, cut: Path) -> None:
    for name in set(FRAMES) - set(CUT):
        assert (cut / f"{name}.parquet").read_bytes() == (whole / f"{name}.parquet").read_bytes()


def test_files_deep_in_a_night_are_copied(tmp_path: Path) -> None:
    small = make_night(tmp_path / "small")
    (small / "tables" / "old").mkdir(parents=True)
    (small / "tables" / "old" / "notes.txt").write_text("kept")
    run("shard", small, "--shards", 2, "--out", tmp_path / "cut", code=0)
    assert (tmp_path / "cut" / "tables" / "old" / "notes.txt").read_text() == "kept"


# Two shards in work: one asks the run to end, twice, and both take their time.
HURRIED = """
import os, signal, time
from margrave import sharded

signal.signal(signal.SIGINT, signal.default_int_handler)
ended = []

def work(number):
    time.sleep(0.3)
    for _ in range(2 if number == 0 else 0):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
    time.sleep(0.6)
    ended.append(number)

try:
    sharded.run([0, 1, 2, 3], work, workers=2, told=print)
except KeyboardInterrupt:
    print("stopped after", sorted(ended))
"""


def test_a_second_signal_does_not_leave_shards_in_work() -> None:
    """What is still written when a run clears away would be left behind."""
    ran = subprocess.run(
        [sys.executable, "-c", HURRIED],
        env=environment(None),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stdout == "stopped after [0, 1]\n", ran.stderr
