"""All-or-nothing output: a `Publication` is a folder that appears whole, or not at all.

Files are written to a hidden folder beside the wanted one, flushed to disk, and renamed
into place at once; where a folder is replaced, the two are exchanged in one step. Whoever
looks sees the old night or the new one, and a run that was killed leaves at most a hidden
folder, which the next run to the same place removes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from margrave.sources import record

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

__all__ = ["OutputRefusedError", "Publication", "UnpublishedError"]

#: What Margrave writes: an old one goes when its folder is replaced, any other file stays.
_TABLES = (
    *("positions", "balances", "instruments", "assets", "accounts", "tiers", "weights"),
    *("buckets", "totals", "rejects", "scenarios", "breach", "curve"),
)
_OURS = {"manifest.json", "rules.toml"} | {f"{name}.parquet" for name in _TABLES}

_OLD = ".old"


class OutputRefusedError(Exception):
    """The output folder may not be used; nothing was touched."""


class UnpublishedError(Exception):
    """Writing failed; what was there before is intact."""


class Publication:
    """A folder in the making.

    Example:
        Nothing is at `out` before the last line, everything is after it:

        >>> with Publication(Path("out")) as publication:  # doctest: +SKIP
        ...     publication.write("totals.parquet", frame)
        ...     publication.write("manifest.json", text)
        ...     publication.commit()
    """

    def __init__(self, out: Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
        """Check `out`, and remove what killed runs left beside it; write nothing yet.

        Args:
            out: The folder to publish; its parents are made where they are missing.
            overwrite: Whether `out` may hold something already. Files of Margrave's are
                replaced, other files stay.
            inputs: What is being read and must not be replaced.

        Raises:
            OutputRefusedError: `out` is no folder that can be written or replaced.
        """
        if out.is_symlink():
            raise OutputRefusedError(f"{out} is a symbolic link, which is not followed")
        self.out = _place(out)
        self.name = str(out)
        self.overwrite = overwrite
        self._stage: Path | None = None
        self._held = contextlib.ExitStack()
        _tidy(self.out)
        _check(self.out, self.name, overwrite, inputs)

    def write(self, name: str, content: pl.DataFrame | str) -> None:
        """Add the file `name`: a frame as Parquet, a text as UTF-8.

        Raises:
            UnpublishedError: It cannot be written.
        """
        with self._trouble(f"{self.name}/{name}"):
            path = self._staged() / name
            if isinstance(content, str):
                path.write_text(content, encoding="utf-8")
            else:
                content.write_parquet(path)
            with path.open("rb+") as file:
                os.fsync(file.fileno())

    def records(self) -> dict[str, dict[str, Any]]:
        """Return bytes and BLAKE3 of each file that was written so far, by name, sorted.

        Raises:
            UnpublishedError: One cannot be read again.
        """
        with self._trouble(self.name):
            stage = self._staged()
            paths = sorted(path for path in stage.rglob("*") if path.is_file())
            return {path.relative_to(stage).as_posix(): record(path) for path in paths}

    def commit(self) -> None:
        """Put the folder in its place, in one step. Should not be interrupted.

        Raises:
            UnpublishedError: It cannot be done; what was there before is there still.
        """
        with self._trouble(self.name):
            stage = self._staged()
            if self.out.exists():
                shutil.copymode(self.out, stage)
            if self.overwrite:
                _keep_others(self.out, stage)
            _flush(stage)
            if self.overwrite and os.path.lexists(self.out):
                with _locked(self.out):
                    old = _replace(self.out, stage)
                    self._stage = None
                    _remove(old)
            else:
                _appear(self.out, stage)
                self._stage = None
        self._held.close()

    def discard(self) -> None:
        """Remove what was written and not committed."""
        if self._stage is not None:
            _remove(self._stage)
            self._stage = None
        self._held.close()

    def __enter__(self) -> Publication:
        """Return the publication; what is not committed on leaving is discarded."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Discard what was not committed."""
        self.discard()

    def _staged(self) -> Path:
        if self._stage is None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            stage = _beside(self.out)
            self._stage = stage  # before it exists: an interrupt in between must find it
            stage.mkdir()
            self._held.enter_context(_locked(stage))
        return self._stage

    @contextlib.contextmanager
    def _trouble(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UnpublishedError(
                f"{what} could not be written: {error}\n"
                "hint: nothing was published; what was there before is intact"
            ) from error


def _place(out: Path) -> Path:
    """Return `out` as an absolute path whose last part is not followed if it is a link."""
    named = out.name not in ("", "..")
    return out.parent.resolve() / out.name if named else out.resolve()


def _check(out: Path, name: str, overwrite: bool, inputs: Iterable[Path]) -> None:
    for path in inputs:
        read = path.resolve()
        if out == read or out in read.parents:
            raise OutputRefusedError(f"{name} holds the input {path}\nhint: choose another folder")
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputRefusedError(f"{name} is not a folder")
    if out == Path.cwd() or out in Path.cwd().parents or out.is_mount():
        raise OutputRefusedError(
            f"{name} cannot be replaced: it is a mount point or holds the working directory\n"
            "hint: name a folder inside it"
        )
    inside = sorted(os.scandir(out), key=lambda entry: entry.name)
    if inside and not overwrite:
        raise OutputRefusedError(f"{name} exists and is not empty\nhint: --overwrite replaces it")
    strange = [entry.name for entry in inside if not entry.is_file(follow_symlinks=False)]
    if strange:
        raise OutputRefusedError(
            f"{name} holds more than files: {', '.join(map(repr, strange[:3]))}\n"
            "hint: only a folder of files is replaced; choose another one"
        )


def _beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.margrave-{secrets.token_hex(4)}")


def _tidy(out: Path) -> None:
    """Remove what killed processes left beside `out`, or put it back.

    Where two folders cannot be exchanged in one step, a process killed between two
    renames leaves the old folder under its hidden name and nothing at `out`.
    """
    ours = re.compile(rf"\.{re.escape(out.name)}\.margrave-[0-9a-f]{{8}}(\.old)?")
    with contextlib.suppress(OSError):
        for path in [path for path in out.parent.iterdir() if ours.fullmatch(path.name)]:
            with _locked(path) as is_ours:
                if is_ours and path.name.endswith(_OLD) and not os.path.lexists(out):
                    path.rename(out)
                elif is_ours:
                    _remove(path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of `folder`; the value is false where a living process has it.

    The system drops the lock when its process dies, however it dies: that is how a folder
    in the making is told from what a killed run left, in containers too, where processes
    cannot see one another. Where folders cannot be locked nobody has it.
    """
    if fcntl is None:
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            got = True
        except OSError:
            got = False
        yield got
    finally:
        os.close(handle)


def _keep_others(out: Path, stage: Path) -> None:
    """Add to `stage` the files of `out` that are neither Margrave's nor written anew."""
    if not out.is_dir():
        return
    for path in out.iterdir():
        if path.name in _OURS or (stage / path.name).exists():
            continue
        try:
            os.link(path, stage / path.name, follow_symlinks=False)
        except OSError:
            shutil.copy2(path, stage / path.name, follow_symlinks=False)


def _appear(out: Path, stage: Path) -> None:
    """Rename `stage` to `out`, which is not there or is an empty folder."""
    stage.rename(out)
    try:
        _flush(out.parent)
    except OSError:
        out.rename(stage)
        raise


def _replace(out: Path, stage: Path) -> Path:
    """Put `stage` in the place of `out`; return where the old one is now."""
    if _exchange(out, stage):
        old = stage
        try:
            _flush(out.parent)
        except OSError:
            _exchange(out, stage)
            raise
        return old
    old = stage.with_name(stage.name + _OLD)
    out.rename(old)
    try:
        stage.rename(out)
        _flush(out.parent)
    except BaseException:
        if os.path.lexists(out):
            out.rename(stage)
        old.rename(out)
        raise
    return old


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; return whether this system can (Linux, macOS)."""
    if os.name != "posix":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    first, second, swap = os.fsencode(one), os.fsencode(other), 2
    here = -100  # AT_FDCWD: paths are absolute or from the working directory
    if hasattr(library, "renameat2"):
        return bool(library.renameat2(here, first, here, second, swap) == 0)
    if hasattr(library, "renamex_np"):
        return bool(library.renamex_np(first, second, swap) == 0)
    return False


def _flush(folder: Path) -> None:
    """Make the names in `folder` durable; Windows has no such call and needs none."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Remove a folder of ours; what cannot be removed stays for the next run."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
