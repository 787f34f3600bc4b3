"""Locks on folders: who is at work, and whose turn it is to publish at a place.

The system drops a lock when its process dies, however it dies: that is how a folder in the
making is told from what a killed run left, in containers too, where processes cannot see one
another.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

__all__ = ["locked", "turn", "turn_file"]

#: Seconds that a run waits for another one that is publishing at the same place.
PATIENCE = 60.0

#: What a file system answers that knows no locks.
_UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

#: What it answers where somebody else has the lock.
_TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of `folder`; the value is false where a living process has it.

    Where folders cannot be locked nobody has it.
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
        _close(handle)


def turn_file(place: Path) -> Path:
    """Return the file that a run locks while it is its turn at `place`; else it is not there."""
    return place.with_name(f".{place.name}.margrave-lock")


@contextlib.contextmanager
def turn(place: Path, *, patience: float | None = None) -> Iterator[None]:
    """Have `place` for oneself: whoever looks and then publishes does both within one turn.

    What is locked is a file beside the place, which is gone after the turn. Neither the place
    itself will do, which may not be there yet, nor the folder around it, which people lock.
    Where files cannot be locked (Windows, some network drives) every run has its turn at once,
    and what decides is the rename.

    Args:
        place: The folder to publish; the one around it must be there.
        patience: How many seconds to wait for another run; a minute by default.

    Raises:
        OSError: Another run has it still, or the file cannot be made.
    """
    if fcntl is None:
        yield
        return
    file = turn_file(place)
    handle = _taken(file, place, PATIENCE if patience is None else patience)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it stays for the next run
            file.unlink()
        _close(handle)


def _taken(file: Path, place: Path, patience: float) -> int:
    """Return the handle of `file`, locked."""
    end = time.monotonic() + patience
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            if _lock(handle) and _is(file, handle):
                return handle
        except BaseException:
            _close(handle)
            raise
        _close(handle)
        if time.monotonic() >= end:
            raise OSError(errno.EBUSY, "another run is publishing there", str(place))
        time.sleep(0.002)


def _lock(handle: int) -> bool:
    """Return whether the lock was free, and is ours now."""
    assert fcntl is not None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno not in _UNKNOWN:
            raise
    return True


def _is(file: Path, handle: int) -> bool:
    """Return whether `file` is the file behind `handle`: its last owner may have removed it."""
    try:
        there = file.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(handle))


def _close(handle: int) -> None:
    with contextlib.suppress(OSError):  # nothing was written through it
        os.close(handle)
