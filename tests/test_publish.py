"""Output appears whole or not at all, whatever stops the run and wherever it stops."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from margrave import locks, swap
from margrave.publish import OutputRefusedError, Publication, UnpublishedError

FRAME = pl.DataFrame({"account_id": [1, 2]})


def put(out: Path, text: str = "new", *, overwrite: bool = False) -> None:
    with Publication(out, overwrite=overwrite) as publication:
        publication.write("accounts.parquet", FRAME)
        publication.write("manifest.json", text)
        publication.commit()


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def debris(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith(".")]


def test_nothing_is_there_before_the_commit_and_everything_after(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Publication(out) as publication:
        publication.write("accounts.parquet", FRAME)
        publication.write("manifest.json", "{}")
        assert not out.exists()
        publication.commit()
        assert pl.read_parquet(out / "accounts.parquet").equals(FRAME)
        assert (out / "manifest.json").read_text(encoding="utf-8") == "{}"
    assert names(tmp_path) == ["out"]


def test_without_a_commit_nothing_is_left(tmp_path: Path) -> None:
    with Publication(tmp_path / "out") as publication:
        publication.write("accounts.parquet", FRAME)
    assert not names(tmp_path)


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Publication(tmp_path / "out") as publication:
            publication.write("accounts.parquet", FRAME)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not names(tmp_path)


def test_missing_parents_are_made(tmp_path: Path) -> None:
    put(tmp_path / "2026" / "11" / "out")
    assert len(content(tmp_path / "2026" / "11" / "out")) == 2


def test_the_folder_has_the_permissions_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    put(tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o700)
    put(out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    put(out, overwrite=True)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700


def test_an_empty_folder_may_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    put(tmp_path / "out")
    assert len(content(tmp_path / "out")) == 2


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "out", "old")
    with pytest.raises(OutputRefusedError, match="not empty\nhint: --overwrite"):
        put(tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8") == "old"


def test_overwrite_replaces_what_is_margraves_and_keeps_other_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, "old")
    (out / "totals.parquet").write_text("stale", encoding="utf-8")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    put(out, overwrite=True)
    assert sorted(content(out)) == ["accounts.parquet", "manifest.json", "notes.txt"]
    assert content(out)["manifest.json"] == b"new"
    assert content(out)["notes.txt"] == b"mine"
    assert names(tmp_path) == ["out"]


def test_overwrite_of_nothing_is_a_first_write(tmp_path: Path) -> None:
    put(tmp_path / "out", overwrite=True)
    assert content(tmp_path / "out")["manifest.json"] == b"new"


def test_a_link_is_refused_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for overwrite in (False, True):
        with pytest.raises(OutputRefusedError, match="symbolic link"):
            put(tmp_path / "link", overwrite=overwrite)
    assert not content(tmp_path / "target")


def test_a_link_that_turns_up_meanwhile_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "manifest.json").write_text("precious", encoding="utf-8")
    for overwrite in (False, True):
        out = tmp_path / f"out{overwrite}"
        with Publication(out, overwrite=overwrite) as publication:
            publication.write("manifest.json", "new")
            out.symlink_to(target)
            with contextlib.suppress(UnpublishedError):
                publication.commit()
    assert content(target) == {"manifest.json": b"precious"}


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputRefusedError, match="not a folder"):
        put(tmp_path / "out", overwrite=True)


def test_a_folder_of_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out" / "src").mkdir(parents=True)
    with pytest.raises(OutputRefusedError, match="more than files: 'src'"):
        put(tmp_path / "out", overwrite=True)


def test_the_working_directory_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out" / "below")
    for out in (tmp_path / "out", Path(".."), Path()):
        with pytest.raises(OutputRefusedError, match="working directory"):
            put(out, overwrite=True)


def test_what_is_being_read_is_not_replaced(tmp_path: Path) -> None:
    night = tmp_path / "night"
    night.mkdir()
    for out in (night, tmp_path):
        with pytest.raises(OutputRefusedError, match="holds the input"):
            Publication(out, overwrite=True, inputs=[night])
    Publication(night / "out", inputs=[night])


def test_two_runs_at_once_leave_one_whole_result(tmp_path: Path) -> None:
    with Publication(tmp_path / "out") as slow:
        slow.write("manifest.json", "slow")
        put(tmp_path / "out", "quick")
        with pytest.raises(UnpublishedError):
            slow.commit()
    assert content(tmp_path / "out")["manifest.json"] == b"quick"
    assert names(tmp_path) == ["out"]


def test_what_a_living_run_has_written_is_left_alone(tmp_path: Path) -> None:
    with Publication(tmp_path / "out") as slow:
        slow.write("manifest.json", "slow")
        assert len(debris(tmp_path)) == 1
        Publication(tmp_path / "out")
        slow.commit()
    assert content(tmp_path / "out") == {"manifest.json": b"slow"}


def test_nobody_elses_hidden_folder_is_removed(tmp_path: Path) -> None:
    for name in (".out", ".out.margrave-backup", ".other.margrave-0123abcd"):
        (tmp_path / name).mkdir()
    put(tmp_path / "out")
    assert len(debris(tmp_path)) == 3


def test_a_write_that_fails_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UnpublishedError, match="could not be written"):
        put(tmp_path / "file" / "out")
    with (
        pytest.raises(UnpublishedError),
        Publication(tmp_path / "out") as publication,
    ):
        publication.write("no/such/folder.parquet", FRAME)
    assert names(tmp_path) == ["file"]


@contextlib.contextmanager
def failing(at: int) -> Iterator[list[str]]:
    """Let the `at`-th call that changes the disk fail; the value lists the calls made."""
    made: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) == at:
                raise OSError(28, "No space left on device")
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", counted("fsync", os.fsync))
        patch.setattr(os, "link", counted("link", os.link))
        for name in ("mkdir", "rename", "open"):
            patch.setattr(Path, name, counted(name, getattr(Path, name)))
        patch.setattr(
            pl.DataFrame, "write_parquet", counted("parquet", FRAME.__class__.write_parquet)
        )
        yield made


@pytest.fixture(params=["exchange", "two renames"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "two renames":
        monkeypatch.setattr(swap, "_exchange", lambda one, other: False)


@pytest.mark.usefixtures("_way")
def test_whichever_call_fails_the_old_folder_is_intact(tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(out, "old")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    old = content(out)
    for at in range(1, 100):
        failed = False
        with failing(at) as made:
            try:
                put(out, overwrite=True)
            except UnpublishedError as error:
                failed = "No space left" in str(error)
        assert names(tmp_path) == ["out"], made[-1]
        if not failed and len(made) < at:
            break
        if failed:
            assert content(out) == old, made[-1]
        else:  # a link that cannot be made is a copy
            assert made[at - 1] == "link"
            assert content(out)["notes.txt"] == b"mine"
            put(out, "old", overwrite=True)
    assert at > 8


@pytest.mark.usefixtures("_way")
def test_whichever_call_fails_a_new_folder_does_not_appear(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for at in range(1, 100):
        with failing(at) as made:
            try:
                put(out)
            except UnpublishedError:
                assert not names(tmp_path), made[-1]
                continue
        assert len(made) < at
        break
    assert at > 6


KILLED = """
import os, signal, sys
from pathlib import Path
from margrave import publish, swap

out, at = Path(sys.argv[1]), int(sys.argv[2])
if sys.argv[3] == "two renames":
    swap._exchange = lambda one, other: False
calls = 0


def step(*_):
    global calls
    calls += 1
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)


EVENTS = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.chmod", "ctypes.dlopen")


def watch(event, arguments):
    if event in EVENTS or (event == "open" and out.name in str(arguments[0])):
        step()


fsync = os.fsync
os.fsync = lambda handle: (step(), fsync(handle))
sys.addaudithook(watch)
with publish.Publication(out, overwrite=True) as publication:
    publication.write("totals.parquet", "new")
    publication.write("manifest.json", "new")
    publication.commit()
    step()
"""


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_killed_anywhere_leaves_the_old_or_the_new_and_the_next_run_cleans_up(
    tmp_path: Path, way: str
) -> None:
    out = tmp_path / "out"
    seen = set()
    for at in range(1, 200):
        put(out, "old", overwrite=True)
        command = [sys.executable, "-c", KILLED, str(out), str(at), way]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        if way == "exchange" or out.exists():
            found = content(out)
            assert {found["manifest.json"]} <= {b"old", b"new"}, at
            assert len(found) == 2
            seen.add(found["manifest.json"])
        Publication(out, overwrite=True)
        assert names(tmp_path) == ["out"], at
        assert content(out)["manifest.json"] in (b"old", b"new"), at
        if ended.returncode == 0:
            break
    assert at > 10
    assert seen == {b"old", b"new"}


def test_whoever_waits_too_long_for_another_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    with locks.turn(tmp_path / "out"), pytest.raises(UnpublishedError, match="another run"):
        put(tmp_path / "out")
    assert not names(tmp_path)


def test_where_the_disk_fails_twice_the_message_says_what_is_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    put(out, "old")

    def failing(folder: Path) -> None:
        if folder == out.parent:
            monkeypatch.setattr(swap, "_exchange", gone)
            raise OSError(5, "Input/output error")

    def gone(one: Path, other: Path) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(swap, "flush", failing)
    with pytest.raises(UnpublishedError, match=r"in its place, whole, but .*\nhint: "):
        put(out, overwrite=True)
    assert content(out)["manifest.json"] == b"new"
    assert len(debris(tmp_path)) == 1  # the old one, until the next run
    monkeypatch.undo()
    put(out, "newer", overwrite=True)
    assert names(tmp_path) == ["out"]


def test_a_folder_that_may_not_be_exchanged_is_no_reason_for_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    put(out, "old")

    def failing(one: Path, other: Path) -> bool:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(swap, "_exchange", failing)
    with pytest.raises(UnpublishedError, match="Permission denied"):
        put(out, overwrite=True)
    assert content(out)["manifest.json"] == b"old"
    assert names(tmp_path) == ["out"]


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that names none of the files would be true of nothing."""
    listed = os.scandir

    def refused(path: str) -> object:
        if "accounts" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    with Publication(tmp_path / "out") as publication:
        publication.write("accounts/shard-00000.parquet", pl.DataFrame({"a": [1]}))
        publication.write("totals.parquet", pl.DataFrame({"a": [1]}))
        assert len(publication.records()) == 2
        monkeypatch.setattr(os, "scandir", refused)
        for step in (publication.records, publication.commit):
            with pytest.raises(UnpublishedError, match="Permission denied"):
                step()
    monkeypatch.undo()
    assert names(tmp_path) == []
