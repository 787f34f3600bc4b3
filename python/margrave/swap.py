"""A folder put in the place of another: in one step, or all is as it was.

`appear` and `replace` either do it or raise an OSError after which nothing has changed. Where
the disk fails once more while the step is taken back, a `HalfwayError` says what is where.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

__all__ = ["OLD", "HalfwayError", "appear", "flush", "remove", "replace"]

#: Ends the hidden name of a folder that was moved away and is to come back.
OLD = ".old"

#: What a system answers that cannot exchange two folders in one step.
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


class HalfwayError(Exception):
    """The disk failed twice, and what is where is not as it was; the text says how it is."""


def appear(out: Path, stage: Path) -> None:
    """Rename `stage` to `out`, which is not there or is an empty folder."""
    stage.rename(out)
    _settle(out, lambda: out.rename(stage))


def replace(out: Path, stage: Path) -> Path:
    """Put `stage` in the place of `out`; return where the old one is now."""
    if _exchange(out, stage):
        _settle(out, lambda: _exchange_back(out, stage))
        return stage
    old = stage.with_name(stage.name + OLD)
    out.rename(old)
    try:
        stage.rename(out)
    except BaseException as error:
        _put_back(out, old, error)
        raise

    def undo() -> None:
        out.rename(stage)
        _put_back(out, old, None)

    _settle(out, undo)
    return old


def _settle(out: Path, undo: Callable[[], object]) -> None:
    """Make a rename durable, or undo it."""
    try:
        flush(out.parent)
    except OSError as error:
        try:
            undo()
        except OSError:
            raise HalfwayError(
                f"the new result is in its place, whole, but the disk did not confirm it: {error}\n"
                "hint: look after the disk, then run the command again"
            ) from error
        raise


def _put_back(out: Path, old: Path, error: BaseException | None) -> None:
    try:
        old.rename(out)
    except OSError as fault:
        raise HalfwayError(
            f"the disk failed twice: {error or fault}; what was there before is in {old}\n"
            "hint: the next run that writes there puts it back"
        ) from fault


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; return whether this system can (Linux, macOS)."""
    if os.name != "posix":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    first, second, swap = os.fsencode(one), os.fsencode(other), 2
    here = -100  # AT_FDCWD: paths are absolute or from the working directory
    if hasattr(library, "renameat2"):
        answer = library.renameat2(here, first, here, second, swap)
    elif hasattr(library, "renamex_np"):
        answer = library.renamex_np(first, second, swap)
    else:
        return False
    if answer == 0:
        return True
    fault = ctypes.get_errno()
    if fault in _CANNOT:
        return False
    raise OSError(fault, os.strerror(fault), str(one))


def _exchange_back(out: Path, stage: Path) -> None:
    if not _exchange(out, stage):
        raise OSError(errno.EIO, "it cannot be taken back", str(out))


def flush(folder: Path) -> None:
    """Make the names in `folder` durable; Windows has no such call and needs none."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        with contextlib.suppress(OSError):  # it is on the disk
            os.close(handle)


def remove(path: Path) -> None:
    """Remove a folder or file of ours; what cannot be removed stays for the next run."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
