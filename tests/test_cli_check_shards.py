"""`margrave check` of a night in shards: one shard in memory at a time, and the same answer."""

from __future__ import annotations

import json
import shutil
import signal
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from command_line import Ran, assert_refused, make_night, margrave, names
from margrave import checks, cli, hygiene, memory, night, shards

CUT = ("positions", "balances", "accounts")

#: Shards of the night.
COUNT = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night of texts in which a little of everything is wrong.

    Bad rows, rows of nobody, numbers that lose digits; one mark a hundred times too high, times
    that stood still, accounts written in two ways under two owners.
    """
    folder = tmp_path_factory.mktemp("night") / "whole"
    assert margrave("generate", "--accounts", 600, "--out", folder).code == 0
    rows = pl.int_range(pl.len())
    ids = pl.format("Konto {}", "account_id").alias("account_id")
    rewrite(
        folder / "positions.parquet",
        lambda frame: frame.with_columns(
            pl.when(rows % 97 != 5).then(ids),
            pl.when(rows % 131 == 3).then(None).otherwise("quantity").alias("quantity"),
            pl.when(rows % 211 == 7)
            .then(float("nan"))
            .otherwise("entry_price")
            .alias("entry_price"),
        ),
    )
    rewrite(
        folder / "balances.parquet",
        lambda frame: frame.with_columns(
            ids, amount=pl.when(rows % 50 == 1).then(2e18).otherwise("amount")
        ),
    )
    held = pl.read_parquet(folder / "positions.parquet")["account_id"].drop_nulls().unique()
    known = held.sort().head(200)
    again = pl.concat([known, known.head(7).str.to_lowercase() + " "])
    owners = pl.Series("owner_id", [f"owner {n}" for n in range(len(again))])
    pl.DataFrame([again.alias("account_id"), owners]).write_parquet(folder / "accounts.parquet")
    now = datetime.now(UTC)
    with_times(folder, now - timedelta(minutes=2), now - timedelta(days=1))
    rewrite(
        folder / "instruments.parquet",
        lambda frame: frame.with_columns(
            mark_price=pl.when(rows == 2).then(pl.col("mark_price") * 100).otherwise("mark_price")
        ),
    )
    return folder


@pytest.fixture(scope="module")
def cut(whole: Path) -> Path:
    """The same night in shards."""
    folder = whole.parent / "cut"
    ran = margrave("shard", whole, "--shards", COUNT, "--out", folder)
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture
def mine(cut: Path, tmp_path: Path) -> Path:
    """The night in shards, to be spoiled."""
    shutil.copytree(cut, tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def in_process() -> Iterator[None]:
    """Hear signals again after a run of the command line, which ends by ignoring them."""
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in heard.items():
        signal.signal(number, handler)


def rewrite(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    change(pl.read_parquet(path)).write_parquet(path)


def with_times(folder: Path, usual: datetime, first: datetime) -> None:
    """Give all prices a time, and the first of each frame another."""
    for name, column in (("instruments", "mark_time"), ("assets", "price_time")):
        file = folder / f"{name}.parquet"
        time = pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(first)).otherwise(pl.lit(usual))
        pl.read_parquet(file).with_columns(time.alias(column)).write_parquet(file)


def answer(ran: Ran, code: int = 1) -> dict[str, Any]:
    assert ran.code == code, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


def in_order(control: dict[str, Any]) -> dict[str, Any]:
    """Return control totals in the order of ids, as those of shards stand."""
    named = {"quantity": "instrument_id", "amount": "asset_id"}
    rows = {
        key: sorted(control[key], key=lambda row: (row[name] is None, row[name] or ""))
        for key, name in named.items()
    }
    return {**control, **rows}


def stray(folder: Path) -> str:
    """Put a balance of shard 1 into shard 3, and return its account."""
    path = folder / shards.file_name("balances", 3)
    one = pl.read_parquet(folder / shards.file_name("balances", 1)).head(1)
    rewrite(path, lambda frame: pl.concat([frame, one]))
    return str(one["account_id"][0])


def twice(folder: Path, shard: int) -> None:
    """Repeat the first row of a shard's accounts, whose key it is."""
    path = folder / shards.file_name("accounts", shard)
    rewrite(path, lambda frame: pl.concat([frame, frame.head(1)]))


# The same answer


def test_it_is_that_of_a_sweep_of_the_same_shards(cut: Path, tmp_path: Path) -> None:
    gates = ("--fail-above", "liquidatable_accounts=1", "--max-rejects", 2, "--max-mark-age", "1h")
    swept = answer(margrave("sweep", cut, "--out", tmp_path / "out", "--json", *gates))
    checked = answer(margrave("check", cut, "--json", *gates))
    faults = checked.pop("faults")
    assert sum(fault["rows"] for fault in faults) == checked["rejects"] > 2
    assert checked.pop("estimated_peak_bytes") > 0
    assert len(checked["gates"]) == 4
    besides = {"run_id", "command", "ruleset", "inputs", "files", "machine", "manifest_digest"}
    assert set(swept) - set(checked) == besides
    agreed = {key: swept[key] for key in checked}
    assert {**checked, "seconds": 0} == {**agreed, "seconds": 0}


def test_it_is_that_of_the_same_files_read_whole(cut: Path, mine: Path) -> None:
    """All but digests, which are over those of shards, and the order of control totals."""
    (mine / shards.MARK).unlink()
    one, other = margrave("check", cut, "--json"), margrave("check", mine, "--json")
    text = [ran.err.split("Memory: ")[0] for ran in (one, other)]
    assert text[0] == text[1]
    assert "without an account" in text[0]
    assert "values are rejected, by rule" in text[0]
    cut_facts, whole_facts = answer(one), answer(other)
    assert cut_facts.pop("shards") == COUNT
    assert set(cut_facts) == set(whole_facts)
    whole_facts["control"] = in_order(whole_facts["control"])
    apart = {"input_digest", "result_digest", "results", "seconds", "estimated_peak_bytes"}
    for key in set(whole_facts) - apart:
        assert cut_facts[key] == whole_facts[key], key
    for table in ("totals", "rejects"):
        assert cut_facts["results"][table] == whole_facts["results"][table]


def test_it_has_the_totals_and_counts_of_the_night_that_was_cut(whole: Path, cut: Path) -> None:
    one, other = (answer(margrave("check", folder, "--json")) for folder in (cut, whole))
    for key in ("accounts", "positions", "balances", "rejects", "totals", "set_aside", "gates"):
        assert one[key] == other[key], key

    def rules(facts: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**fault, "first": len(fault["first"])} for fault in facts["faults"]]

    assert rules(one) == rules(other)


def test_hygiene_is_that_of_the_whole_night(whole: Path, cut: Path) -> None:
    found = [
        answer(margrave("check", folder, "--hygiene", "--json"))["hygiene"]
        for folder in (whole, cut)
    ]
    assert found[0] == found[1]
    assert [(w["warning"], w["where"]) for w in found[0]["warnings"]] == [
        ("open_interest_differs", "positions.quantity"),
        ("mark_far_from_entries", "instruments.mark_price"),
        ("stale_time", "instruments.mark_time"),
        ("stale_time", "assets.price_time"),
        ("account_in_two_owners", "accounts.owner_id"),
    ]
    assert found[0]["warnings"][-1]["count"] == 7
    assert found[0]["not_looked_at"] == []


@pytest.mark.parametrize("count", [1, 2, 9])
def test_hygiene_does_not_depend_on_how_books_are_cut(whole: Path, count: int) -> None:
    """Medians of odd and even numbers of rows, books without a row, owners apart."""
    files, now = night.find(whole), datetime.now(UTC)
    positions = pl.read_parquet(files["positions"][0]).with_columns(
        pl.col("entry_price").fill_nan(None)
    )
    accounts = pl.read_parquet(files["accounts"][0])
    at_once = hygiene.examine(files, [hygiene.seen(positions, accounts)], now)
    parts = [
        hygiene.seen(*(frame.gather_every(count, k) for frame in (positions, accounts)))
        for k in range(count)
    ]
    empty = hygiene.seen(positions.clear(), accounts.clear())
    assert hygiene.examine(files, [*parts, empty], now) == at_once
    assert len(at_once.warnings) >= 3


def test_owners_of_integers_and_of_a_night_without_owners(whole: Path) -> None:
    files, now = night.find(whole), datetime.now(UTC)
    positions = pl.read_parquet(files["positions"][0]).clear()
    whole_numbers = pl.DataFrame({"account_id": [1, 2], "owner_id": ["x", "y"]})
    books = [hygiene.seen(positions, whole_numbers.slice(row, 1)) for row in range(2)]
    assert hygiene.examine(files, books, now).not_looked_at == []
    books = [hygiene.seen(positions, whole_numbers.drop("owner_id"))] * 2
    (missing,) = hygiene.examine(files, books, now).not_looked_at
    assert missing.startswith("accounts.owner_id")


# One shard at a time


class Counting:
    """Makes books, and knows how many of their rows were in memory at a time."""

    def __init__(self) -> None:
        self.most = 0
        self._alive: weakref.WeakSet[mg.Book] = weakref.WeakSet()

    def __call__(self, *frames: Any, **options: Any) -> mg.Book:
        book = self._make(*frames, **options)
        self._alive.add(book)
        self.most = max(self.most, sum(sum(b._held.counts().values()) for b in self._alive))
        return book

    _make = mg.Book


def largest(cut: shards.Shards) -> int:
    """Return the rows of the largest shard."""
    return max(
        sum(pl.read_parquet(cut.of(k)[name][0]).height for name in ("positions", "balances"))
        for k in range(cut.count)
    )


@pytest.mark.usefixtures("in_process")
def test_no_more_than_a_shard_is_held(cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting()
    monkeypatch.setattr(mg, "Book", counting)
    assert cli.run(["check", str(cut), "--hygiene", "--quiet"]) == 1
    found = shards.find(cut)
    assert found is not None
    assert 0 < counting.most == largest(found)


def test_no_more_than_a_shard_is_held_where_each_is_refused(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a refusal says is kept, and not the book that it is about."""
    for shard in range(COUNT):
        path = mine / shards.file_name("balances", shard)
        other = pl.read_parquet(mine / shards.file_name("balances", (shard + 1) % COUNT))
        pl.concat([pl.read_parquet(path), other.head(1)]).write_parquet(path)
    cut = shards.find(mine)
    assert cut is not None
    counting = Counting()
    monkeypatch.setattr(mg, "Book", counting)
    told: list[int] = []
    found = checks.examine_shards(cut, None, told=told.append)
    assert (found.swept, len(found.refusals), told) == (None, COUNT, list(range(COUNT)))
    assert 0 < counting.most == largest(cut)


def test_the_peak_is_that_of_a_sweep_of_the_shards(cut: Path) -> None:
    found = shards.find(cut)
    assert found is not None
    rows = max(memory.estimate(found.of(k)) for k in range(COUNT)) - memory.BASE
    for room, workers, said in (
        (memory.BASE + rows, 1, "1 shard at a time"),
        (memory.BASE + 2 * rows, 2, "2 shards at a time"),
        (memory.BASE + 9 * rows, 2, "2 shards at a time"),
    ):
        ran = margrave("check", cut, "--json", "--memory", room)
        assert answer(ran)["estimated_peak_bytes"] == memory.BASE + workers * rows
        (line,) = [line for line in ran.err.splitlines() if line.startswith("Memory: ")]
        assert line.endswith(f"at the peak of a sweep, {said}")
    ran = margrave("check", cut, "--memory", memory.BASE + rows - 1)
    assert_refused(ran, 2, "a shard of it takes about", "hint: ")


def test_each_shard_is_told_in_the_log(cut: Path) -> None:
    log = [json.loads(line) for line in margrave("check", cut, "--log-json").err.splitlines()]
    told = [(e["shard"], e["of"], e["reused"]) for e in log if e["event"] == "shard"]
    assert told == [(shard, COUNT, False) for shard in range(COUNT)]


# Refusals


def test_rules_market_and_shards_are_all_refused_each_once(mine: Path) -> None:
    (mine / "rules.toml").write_text("surprise = 1", encoding="utf-8")
    rewrite(mine / "assets.parquet", lambda frame: frame.with_columns(price=pl.lit(-1.0)))
    twice(mine, 2)
    account = stray(mine)
    ran = margrave("check", mine)
    assert_refused(ran, 2, "surprise: no such key", f"'{account}' (of shard 1)")
    faults = ("surprise", "assets.price", "in shard 2, accounts.account_id", "in shard 3, ")
    places = [ran.err.index(fault) for fault in faults]
    assert places == sorted(places)
    assert ran.err.count("error: ") == len(faults)


def test_what_all_shards_and_the_market_are_refused_for_is_told_once(mine: Path) -> None:
    rewrite(mine / "instruments.parquet", lambda frame: frame.drop("instrument_id"))
    ran = margrave("check", mine)
    assert ran.code == 3
    assert ran.err.count("instruments.instrument_id: this required column is missing") == 1
    assert ran.err.count("error: ") == 1


def test_what_all_shards_lack_in_the_rules_is_told_of_the_first(mine: Path) -> None:
    tables = pl.read_parquet(mine / "tiers.parquet")["tier_table"].unique().sort()
    rewrite(mine / "tiers.parquet", lambda frame: frame.filter(frame["tier_table"] == tables[0]))
    ran = margrave("check", mine)
    assert_refused(ran, 2, "error: in shard 0, tiers.tier_table: no table")
    assert margrave("sweep", mine, "--out", "out", "--workers", 1).code == 2


@pytest.mark.parametrize("spoil", [stray, lambda folder: twice(folder, 2)])
def test_the_first_refusal_is_that_of_a_sweep(mine: Path, spoil: Callable[[Path], object]) -> None:
    spoil(mine)
    checked = margrave("check", mine)
    swept = margrave("sweep", mine, "--out", "out", "--workers", 1)
    assert checked.code == swept.code == 3
    assert checked.err == swept.err
    assert names(mine.parent) == ["mine"]


def test_a_shard_that_cannot_be_read_is_named(mine: Path) -> None:
    """Its footer is whole, so that only who reads its rows can see it."""
    path = mine / shards.file_name("positions", 2)
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(data)
    ran = margrave("check", mine)
    assert_refused(ran, 3, "error: in shard 2, positions: ", "shard-00002.parquet cannot be read")
    path.write_bytes(b"PAR1")
    assert_refused(margrave("check", mine), 3, "positions: ", "shard-00002.parquet cannot be read")


def test_debug_shows_where_the_refusal_of_a_shard_comes_from(mine: Path) -> None:
    stray(mine)
    ran = margrave("check", mine, "--debug")
    assert ran.code == 3
    assert "Traceback" in ran.err
    assert "in check_accounts" in ran.err
    assert "Traceback" not in margrave("check", mine).err


@pytest.mark.usefixtures("in_process")
def test_an_internal_error_names_its_shard(
    cut: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise mg.InternalError("a sum is none")

    monkeypatch.setattr(shards.Shards, "check_accounts", broken)
    assert cli.run(["check", str(cut)]) == 70
    assert "InternalError: in shard 0, a sum is none" in capsys.readouterr().err


# The age of prices


@pytest.fixture
def aged(tmp_path: Path) -> Path:
    """A small clean night in shards, one price of each frame 2 hours old."""
    small = make_night(tmp_path / "small")
    now = datetime.now(UTC)
    with_times(small, now, now - timedelta(hours=2))
    assert margrave("shard", small, "--shards", 2, "--out", tmp_path / "aged").code == 0
    return tmp_path / "aged"


COMMANDS = {"sweep": ("--out", "out"), "check": ()}


@pytest.mark.parametrize("command", COMMANDS)
def test_prices_that_are_too_old_are_1_and_listed(aged: Path, command: str) -> None:
    ran = margrave(command, aged, *COMMANDS[command], "--max-mark-age", "1h", "--json", "--quiet")
    gates = answer(ran)["gates"]
    assert [(g["gate"], g["frame"], g["rows"], g["of"]) for g in gates] == [
        ("max_mark_age", "instruments", 1, 2),
        ("max_mark_age", "assets", 1, 1),
    ]
    assert gates[0]["first"][0]["instrument_id"] == "BTC"
    lines = ran.err.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["exit code 1", "instruments.mark_time"],
        ["exit code 1", "assets.price_time"],
    ]
    assert ("out" in names(aged.parent)) == (command == "sweep")


@pytest.mark.parametrize("command", COMMANDS)
def test_prices_that_are_young_enough_are_0(aged: Path, command: str) -> None:
    ran = margrave(command, aged, *COMMANDS[command], "--max-mark-age", "3h", "--json")
    assert answer(ran, 0)["gates"] == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("column", ["mark_time", "price_time"])
def test_shards_without_times_cannot_be_held_to_an_age(
    aged: Path, command: str, column: str
) -> None:
    frame = "instruments" if column == "mark_time" else "assets"
    rewrite(aged / f"{frame}.parquet", lambda found: found.drop(column))
    ran = margrave(command, aged, *COMMANDS[command], "--max-mark-age", "3h")
    assert_refused(ran, 2, f"the night has no {frame}.{column}", "hint: ")
