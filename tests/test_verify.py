"""`margrave verify`: files that changed, are missing or were added are named, each of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Ran, make_night, margrave, names
from margrave import manifest, night, proof

COMMANDS = {
    "sweep": (),
    "stress": ("--scenarios", "2020-03-12"),
    "breach": (),
}


@pytest.fixture(scope="module", params=COMMANDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that a command wrote."""
    folder = tmp_path_factory.mktemp(request.param)
    make_night(folder / "night")
    given = (request.param, "night", *COMMANDS[request.param], "--out", "out")
    assert margrave(*given, folder=folder).code == 0
    return folder / "out"


@pytest.fixture
def out(written: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to spoil."""
    return shutil.copytree(written, tmp_path / "out")


def found(out: Path) -> proof.Difference:
    """Return what differs, without a process."""
    facts, is_intact = manifest.load(out)
    differing = proof.files(out, facts, lambda done: None)
    return differing if is_intact else proof.Difference([manifest.NAME, *differing.changed])


def is_noticed(out: Path) -> bool:
    """Return whether the manifest is told to have changed, or is none any more."""
    try:
        return found(out).changed[:1] == [manifest.NAME]
    except night.UnreadableError as error:
        return manifest.NAME in str(error)


def flip(file: Path, place: int) -> bytes:
    """Change one bit of a byte; return what the file was."""
    whole = file.read_bytes()
    data = bytearray(whole)
    data[place] ^= 1
    file.write_bytes(data)
    return whole


def assert_named(ran: Ran, *lines: str) -> None:
    assert ran.code == 3
    assert [line.strip() for line in ran.err.splitlines() if line.startswith("  ")] == list(lines)
    assert "is not what was written to it" in ran.err
    assert ran.err.splitlines()[-1].startswith("hint:")


def test_what_was_written_is_0(out: Path) -> None:
    ran = margrave("verify", out)
    assert (ran.code, ran.out) == (0, "")
    facts, _ = manifest.load(out)
    size = sum((out / name).stat().st_size for name in facts["files"])
    assert ran.err == (
        f"{out}: {len(facts['files'])} files, {size:,} bytes, all as written by run "
        f"{facts['run_id']}\n"
    )
    assert margrave("verify", out, "--quiet").err == ""


def test_a_changed_byte_of_each_file_is_named(out: Path) -> None:
    for name in names(out):
        if name == manifest.NAME:
            continue
        whole = (out / name).read_bytes()
        for place in (0, len(whole) // 2, -1):
            flip(out / name, place)
            assert found(out).changed == [name]
            (out / name).write_bytes(whole)
    assert not found(out)


def test_a_changed_byte_of_the_manifest_is_named_or_makes_it_none(out: Path) -> None:
    file = out / manifest.NAME
    whole = file.read_bytes()
    seconds = whole.index(b'"seconds": ') + len(b'"seconds": ')
    free = range(seconds, whole.index(b",", seconds))  # how long it took is proved by nobody
    for place in range(0, len(whole), 7):
        if place in free:
            continue
        flip(file, place)
        assert is_noticed(out), whole[place - 20 : place + 20]
        file.write_bytes(whole)
    assert not found(out)


@pytest.mark.parametrize(
    ("spoil", "lines"),
    [
        (lambda out: flip(out / "accounts.parquet", 99), ["changed: accounts.parquet"]),
        (lambda out: flip(out / manifest.NAME, 30), ["changed: manifest.json"]),
        (
            lambda out: (out / "totals.parquet").write_bytes(
                (out / "totals.parquet").read_bytes() * 2
            ),
            ["changed: totals.parquet"],
        ),
        (lambda out: (out / "totals.parquet").unlink(), ["missing: totals.parquet"]),
        (lambda out: (out / "more.parquet").touch(), ["added: more.parquet"]),
        (
            lambda out: ((out / "accounts").mkdir(), (out / "accounts" / "0.parquet").touch()),
            ["added: accounts", "added: accounts/0.parquet"],
        ),
        (
            lambda out: (
                (out / "buckets.parquet").rename(out / "buckets"),
                flip(out / "rejects.parquet", 5),
                flip(out / "accounts.parquet", 5),
            ),
            [
                *("changed: accounts.parquet", "changed: rejects.parquet"),
                *("missing: buckets.parquet", "added: buckets"),
            ],
        ),
    ],
)
@pytest.mark.parametrize("written", ["sweep"], indirect=True)
def test_what_differs_is_3_and_named(
    out: Path, spoil: Callable[[Path], object], lines: list[str]
) -> None:
    spoil(out)
    assert_named(margrave("verify", out), *lines)


@pytest.mark.parametrize("written", ["sweep"], indirect=True)
def test_json_says_what_differs(out: Path) -> None:
    facts, _ = manifest.load(out)
    about = {key: facts[key] for key in ("run_id", "margrave_version", "numerics", "command")}
    size = sum(file["bytes"] for file in facts["files"].values())
    counts = {"files": 5, "bytes": size}
    nothing: dict[str, list[str]] = {"changed": [], "missing": [], "added": []}
    told = json.loads(margrave("verify", out, "--json").out)
    assert told == {**about, **counts, **nothing, "exit_code": 0}
    flip(out / "totals.parquet", 9)
    (out / "notes.txt").touch()
    ran = margrave("verify", out, "--json")
    differing = {"changed": ["totals.parquet"], "missing": [], "added": ["notes.txt"]}
    assert json.loads(ran.out) == {**about, **counts, **differing, "exit_code": 3}
    assert ran.code == 3


@pytest.mark.parametrize("written", ["sweep"], indirect=True)
def test_files_in_folders_are_looked_at(out: Path) -> None:
    (out / "accounts").mkdir()
    (out / "accounts.parquet").rename(out / "accounts" / "0.parquet")
    facts, _ = manifest.load(out)
    moved = facts["files"].pop("accounts.parquet")
    facts["files"]["accounts/0.parquet"] = moved
    (out / manifest.NAME).write_text(
        f"{manifest.printed(manifest.sealed(facts, facts['files']))}\n", encoding="utf-8"
    )
    assert margrave("verify", out).code == 0
    flip(out / "accounts" / "0.parquet", 12)
    (out / "accounts" / "1.parquet").touch()
    lines = ["changed: accounts/0.parquet", "added: accounts/1.parquet"]
    assert_named(margrave("verify", out), *lines)


@pytest.mark.parametrize("written", ["sweep"], indirect=True)
def test_a_file_that_overwrite_kept_is_added(out: Path, written: Path) -> None:
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    ran = margrave("sweep", written.parent / "night", "--out", out, "--overwrite")
    assert ran.code == 0
    assert_named(margrave("verify", out), "added: notes.txt")


@pytest.mark.parametrize("written", ["sweep"], indirect=True)
def test_names_move_no_cursor(out: Path) -> None:
    (out / "\x1b[2J").touch()
    ran = margrave("verify", out)
    assert ran.code == 3
    assert "\x1b" not in ran.err


# What is no night


def test_a_folder_without_manifest_is_3(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, word in (
        ("none", "none does not exist"),
        ("file", "file is not a folder"),
        ("empty", "empty/manifest.json does not exist"),
    ):
        for command in ("verify", "replay"):
            ran = margrave(command, name, folder=tmp_path)
            assert (ran.code, ran.err) == (3, f"error: {word}\n")


def test_the_dates_of_a_folder_are_told(tmp_path: Path) -> None:
    for date in ("2026-11-27", "2026-11-28"):
        (tmp_path / "out" / f"business_date={date}").mkdir(parents=True)
        (tmp_path / "out" / f"business_date={date}" / manifest.NAME).touch()
    ran = margrave("verify", "out", folder=tmp_path)
    assert ran.code == 3
    assert "hint: name one of its dates, out/business_date=2026-11-28" in ran.err


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "is no manifest"),
        ("[]", "it is no object"),
        ("[" * 100_000, "is no manifest"),
        ("\xff", "is no manifest"),
        ('{"margrave_version": "0.1.0"}', "run_id is missing"),
        ('{"run_id": 7}', "run_id is of the wrong kind"),
    ],
    ids=range(6),
)
def test_what_is_no_manifest_is_3(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / manifest.NAME).write_bytes(text.encode("latin-1"))
    ran = margrave("verify", "out", folder=tmp_path)
    assert ran.code == 3
    assert "Traceback" not in ran.err
    assert word in ran.err


@pytest.mark.parametrize("name", ["../night/rules.toml", "/etc/hosts", "", "a/../../b"])
@pytest.mark.parametrize("written", ["sweep"], indirect=True)
def test_a_manifest_names_nothing_outside_its_folder(out: Path, name: str) -> None:
    facts, _ = manifest.load(out)
    whole = manifest.sealed(facts, {name: facts["files"]["totals.parquet"]})
    (out / manifest.NAME).write_text(f"{manifest.printed(whole)}\n", encoding="utf-8")
    with pytest.raises(night.UnreadableError, match="lies outside of it"):
        manifest.load(out)
