"""All-or-nothing output: a `Publication` is a folder that appears whole, or not at all.

Files are written to a hidden folder beside the wanted one, flushed to disk, and renamed
into place at once; where a folder is replaced, the two are exchanged in one step. Whoever
looks sees the old night or the new one, and a run that was killed leaves at most hidden
names, which the next run to the same place removes.

Of several runs to one place the first that is done wins. The place is looked at when a
publication begins and again when it is its turn to publish: whoever finds then that another
run has published there has lost, and changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import polars as pl

from margrave import swap
from margrave.locks import locked, turn
from margrave.replaceable import OutputRefusedError, check, keep_others, refuse_input
from margrave.sources import inside, record

if TYPE_CHECKING:
    from polars._typing import ParquetCompression

__all__ = ["KEPT", "SCRATCH", "OutputRefusedError", "Publication", "UnpublishedError"]

#: The folder of a date, under which its readers find it.
_DATED = "business_date="

#: What is of use until a folder is published, inside it: to a run that resumes this one, to this.
KEPT, SCRATCH = ".kept", ".scratch"
_ASIDE = (KEPT, SCRATCH)

#: What a killed run leaves: a folder in the making, one that was moved away, a lock.
_LEFT = re.compile(r"\.(.+)\.margrave-([0-9a-f]{8}|[0-9a-f]{8}\.old|lock)")


class UnpublishedError(Exception):
    """Writing failed; what was there before is intact."""


class Publication:
    """A folder in the making.

    Attributes:
        out: The folder to publish.
        name: How people know it.
        date: The business date that it is the result of, where one was given.
        keeps: Whether what was written and not committed stays for a run that resumes it.

    Example:
        Nothing is at `out` before the last line, everything is after it:

        >>> with Publication(Path("out")) as publication:  # doctest: +SKIP
        ...     publication.write("totals.parquet", frame)
        ...     publication.write("manifest.json", text)
        ...     publication.commit()
    """

    def __init__(
        self,
        out: Path,
        *,
        overwrite: bool = False,
        inputs: Iterable[Path] = (),
        date: str | None = None,
        resume: bool = False,
    ) -> None:
        """Check `out`, and remove what killed runs left beside it; write nothing yet.

        Args:
            out: The folder to publish; its parents are made where they are missing.
            overwrite: Whether `out` may hold something already. Files of Margrave's are
                replaced, other files stay.
            inputs: What is being read and must not be replaced.
            date: Publish in `out/business_date=DATE` instead, and replace what is there as
                long as it is Margrave's alone. Other dates are left as they are.
            resume: Hold what runs that were stopped kept for this place, see `kept`.

        Raises:
            OutputRefusedError: `out` is no folder that can be written or replaced.
            UnpublishedError: The system does not let it be looked at.
        """
        self.date = date
        self.overwrite = overwrite
        self.name = str(out if date is None else out / f"{_DATED}{date}")
        self.keeps = False
        self._kept: list[Path] = []
        self._stage: Path | None = None
        self._held = contextlib.ExitStack()
        with self._trouble(self.name):
            if out.is_symlink():
                raise OutputRefusedError(f"{out} is a symbolic link, which is not followed")
            self.out = _place(out) if date is None else _place(out) / f"{_DATED}{date}"
            if self.out.is_symlink():
                raise OutputRefusedError(f"{self.name} is a symbolic link, which is not followed")
            if resume:
                self._hold_kept()
            _tidy(self.out, dated=date is not None)
            self._seen = _state(self.out, self._held)
            refuse_input(self.out, self.name, inputs)
            self._check()

    @property
    def kept(self) -> Sequence[Path]:
        """The folders that runs that were stopped kept for this place; gone after a commit."""
        return self._kept

    def write(
        self, name: str, content: pl.DataFrame | str, *, compression: ParquetCompression = "zstd"
    ) -> None:
        """Add the file `name`: a frame as Parquet, a text as UTF-8.

        Args:
            name: The file, or the file in a folder, as `accounts/shard-00000.parquet`.
            content: What it holds.
            compression: Of a frame.

        Raises:
            UnpublishedError: It cannot be written.
        """
        with self._trouble(f"{self.name}/{name}"):
            stage = self._staged()
            path = stage / name
            if path.parent != stage:
                path.parent.mkdir(exist_ok=True)
            with path.open("wb") as file:
                if isinstance(content, str):
                    file.write(content.encode())
                else:
                    content.write_parquet(file, compression=compression)
                file.flush()
                os.fsync(file.fileno())

    def copy(self, name: str, path: Path) -> None:
        """Add the file `name` with what the file at `path` holds.

        Raises:
            UnpublishedError: It cannot be read or written.
        """
        with self._trouble(f"{self.name}/{name}"):
            copied = self._staged() / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
            with copied.open("rb+") as file:
                os.fsync(file.fileno())

    def take(self, name: str, path: Path) -> None:
        """Add the file `name`, which is the one at `path`: on the same disk it is not copied.

        Raises:
            UnpublishedError: It cannot be had.
        """
        with self._trouble(f"{self.name}/{name}"):
            taken = self._staged() / name
            taken.parent.mkdir(exist_ok=True)
            try:
                os.link(path, taken)
            except OSError:
                self.copy(name, path)

    def aside(self, folder: str) -> Path:
        """Return a folder for what is of use until the commit, and gone after it.

        Args:
            folder: `KEPT` for what a run that resumes this one asks for, `SCRATCH` for the rest.

        Raises:
            UnpublishedError: It cannot be made.
        """
        with self._trouble(self.name):
            path = self._staged() / folder
            path.mkdir(exist_ok=True)
            return path

    def written(self, name: str) -> dict[str, Any] | None:
        """Return bytes and BLAKE3 of a file that was written, None where it was not.

        Raises:
            UnpublishedError: It cannot be read again.
        """
        with self._trouble(f"{self.name}/{name}"):
            path = self._staged() / name
            return record(path) if path.is_file() else None

    def records(self) -> dict[str, dict[str, Any]]:
        """Return bytes and BLAKE3 of each file that was written so far, by name, sorted.

        Raises:
            UnpublishedError: One cannot be read again.
        """
        with self._trouble(self.name):
            stage = self._staged()
            aside = {stage / folder for folder in _ASIDE}
            paths = sorted(p for p in inside(stage) if p.is_file() and aside.isdisjoint(p.parents))
            return {path.relative_to(stage).as_posix(): record(path) for path in paths}

    def commit(self) -> None:
        """Put the folder in its place, in one step. Should not be interrupted.

        Raises:
            UnpublishedError: It cannot be done, or another run was first; what was there
                before is there still.
        """
        old = None
        with self._trouble(self.name):
            stage = self._staged()
            for folder in [path for path in inside(stage) if path.is_dir()]:
                swap.flush(folder)
            with turn(self.out):
                self._look_again()
                self.keeps = False  # from here on it is a result, or nothing
                for path in [stage / folder for folder in _ASIDE]:
                    if path.exists():
                        shutil.rmtree(path)
                is_there = self.out.exists()
                if is_there:
                    shutil.copymode(self.out, stage)
                if self.overwrite:
                    keep_others(self.out, stage)
                swap.flush(stage)
                if is_there and any(self.out.iterdir()):
                    self._held.enter_context(locked(self.out))
                    old = swap.replace(self.out, stage)
                else:
                    swap.appear(self.out, stage)
                self._stage = None
        for path in (*self._kept, *([] if old is None else [old])):
            swap.remove(path)
        self._held.close()

    def discard(self) -> None:
        """Remove what was written and not committed, unless it is kept."""
        if self._stage is not None and not self.keeps:
            swap.remove(self._stage)
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

    def _hold_kept(self) -> None:
        """Hold the folders that runs that were stopped kept for this place."""
        if not self.out.parent.is_dir():
            return
        with turn(self.out):
            for path in sorted(self.out.parent.iterdir()):
                found = _LEFT.fullmatch(path.name)
                if found and found[1] == self.out.name and (path / KEPT).is_dir():
                    held = contextlib.ExitStack()
                    if held.enter_context(locked(path)):
                        self._kept.append(path)
                        self._held.enter_context(held)
                    else:
                        held.close()

    def _staged(self) -> Path:
        if self._stage is None:
            _make(self.out.parent)
            stage = _beside(self.out)
            with turn(self.out):  # nobody tidies between the two steps
                self._stage = stage  # before it exists: an interrupt in between must find it
                stage.mkdir()
                self._held.enter_context(locked(stage))
        return self._stage

    def _check(self) -> None:
        """Raise where what is at `out` may not be replaced."""
        may_replace = self.overwrite or self.date is not None
        keeps = self.overwrite or self.date is None
        check(self.out, self.name, may_replace=may_replace, keeps=keeps)

    def _look_again(self) -> None:
        """Raise where `out` is not what it was when this publication began."""
        now = _state(self.out)
        if now is not None and now != self._seen:
            self.keeps = False
            raise UnpublishedError(
                f"{self.name}: another run has published there since this one began\n"
                "hint: the result of this run is discarded, that of the other one is intact; "
                "run this one again if it is to replace it"
            )
        try:
            self._check()
        except OutputRefusedError as refusal:
            raise UnpublishedError(f"meanwhile, {refusal}") from refusal

    @contextlib.contextmanager
    def _trouble(self, what: str) -> Iterator[None]:
        try:
            yield
        except swap.HalfwayError as error:
            self._stage = None  # it may be the old one that has its name
            raise UnpublishedError(f"{self.name}: {error}") from error
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UnpublishedError(
                f"{what} could not be written: {error}\n"
                "hint: nothing was published; what was there before is intact"
            ) from error


def _place(out: Path) -> Path:
    """Return `out` as an absolute path whose last part is not followed if it is a link."""
    named = out.name not in ("", "..")
    return out.parent.resolve() / out.name if named else out.resolve()


def _state(place: Path, held: contextlib.ExitStack | None = None) -> tuple[int, int] | None:
    """Return what tells the folder at `place` from any that replaces it; None if none is there.

    Numbers of folders are used again once one is gone: `held` keeps it from being so.
    """
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    if held is not None and os.name == "posix" and stat.S_ISDIR(found.st_mode):
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        held.callback(_close, handle)
        found = os.fstat(handle)
    return found.st_dev, found.st_ino


def _close(handle: int) -> None:
    with contextlib.suppress(OSError):  # nothing was written through it
        os.close(handle)


def _make(folder: Path) -> None:
    """Make `folder` where it is missing, with its parents, so that they stay made."""
    if folder.is_dir():
        return
    _make(folder.parent)
    folder.mkdir(exist_ok=True)
    swap.flush(folder.parent)


def _beside(out: Path) -> Path:
    return out.with_name(f".{out.name}.margrave-{secrets.token_hex(4)}")


def _tidy(out: Path, *, dated: bool) -> None:
    """Remove what killed processes left beside `out`, or put it back.

    Where two folders cannot be exchanged in one step, a process killed between two
    renames leaves the old folder under its hidden name and nothing at `out`. A `dated` place
    is tidied together with the other dates beside it, which may never be run again.
    """
    left: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        for path in out.parent.iterdir():
            found = _LEFT.fullmatch(path.name)
            is_of_date = dated and found and found[1].startswith(_DATED) and not _is_kept(path)
            if found and (found[1] == out.name or is_of_date):
                left.setdefault(found[1], []).append(path)
    for name, paths in left.items():
        place = out.with_name(name)
        with contextlib.suppress(OSError), turn(place, patience=0):
            for path in paths:
                _tidy_one(place, path)


def _is_kept(path: Path) -> bool:
    """Return whether `path` is of use to a run that resumes the one that left it."""
    return (path / KEPT).is_dir()


def _tidy_one(place: Path, path: Path) -> None:
    if path.name.endswith("-lock"):  # the turn that we have takes it away
        return
    with locked(path) as is_ours:
        if is_ours and path.name.endswith(swap.OLD) and not os.path.lexists(place):
            path.rename(place)
        elif is_ours:
            swap.remove(path)
