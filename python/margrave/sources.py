"""The files that a run reads: noted before it reads them, digested after.

What the manifest says of an input must be true of the bytes that were computed with. So the
state of each file is noted before anybody reads it, and a file that is in another state once
it has been digested ends the run: nobody could say which of its bytes were used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["ChangedError", "Sources", "State", "inside", "record", "state"]

#: What tells whether a file was written to or replaced: its number, its size, its time.
State = tuple[int, int, int]


def inside(folder: Path) -> Iterator[Path]:
    """Return every file and folder in `folder`, however deep; links to folders are not followed.

    `Path.rglob` passes over a folder that cannot be listed: nobody would miss what is in it.

    Raises:
        OSError: A folder cannot be listed; the error names it.
    """

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=refuse):
        yield from (Path(place, name) for name in (*folders, *files))


class ChangedError(Exception):
    """A file is not what it was."""


def record(path: Path) -> dict[str, Any]:
    """Return how many bytes a file has and their BLAKE3, as a manifest has them.

    Raises:
        OSError: It cannot be read; the error names it.
    """
    from margrave import engine

    size, digest = engine.digest_file(path)
    return {"bytes": size, "blake3": digest}


class Sources:
    """The files that a run reads, by what they hold: a frame, the rules, scenarios."""

    def __init__(self, files: Mapping[str, Iterable[Path]] | None = None) -> None:
        """Note files that are about to be read."""
        self._noted: dict[str, list[tuple[Path, State]]] = {}
        for name, paths in (files or {}).items():
            self.note(name, paths)

    def note(self, name: str, paths: Iterable[Path]) -> None:
        """Note files that are about to be read; one that is not there is the reader's to refuse."""
        for path in paths:
            with contextlib.suppress(OSError):
                self._noted.setdefault(name, []).append((path.absolute(), state(path)))

    def paths(self, name: str) -> list[Path]:
        """Return the files noted under this name, in order, by their absolute paths."""
        return [path for path, _ in self._noted.get(name, [])]

    def records(self, *, but: Collection[str] = ()) -> dict[str, list[dict[str, Any]]]:
        """Return path, bytes and BLAKE3 of each file, in the order in which they were noted.

        Args:
            but: What to leave out.

        Raises:
            ChangedError: A file has changed since it was noted.
            OSError: A file cannot be read any more.
        """
        return {
            name: [{"path": str(path), **_unchanged(path, state)} for path, state in files]
            for name, files in self._noted.items()
            if name not in but
        }

    def require_unchanged(self) -> None:
        """Return where every file is in the state in which it was noted.

        Raises:
            ChangedError: A file has changed since.
        """
        for files in self._noted.values():
            for path, noted in files:
                with contextlib.suppress(FileNotFoundError):
                    if state(path) == noted:
                        continue
                raise _changed(path)


def _changed(path: Path) -> ChangedError:
    return ChangedError(
        f"{path} changed while it was read\nhint: run again once nobody writes to it any more"
    )


def _unchanged(path: Path, noted: State) -> dict[str, Any]:
    found = record(path)
    if state(path) != noted:
        raise _changed(path)
    return found


def state(path: Path) -> State:
    """Return what tells a file from what it may be replaced by, or become.

    Raises:
        OSError: It is not there.
    """
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
