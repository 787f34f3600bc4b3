"""What a folder of results may be put in place of, and what of an old one stays.

An old file of Margrave's goes when its folder is replaced, any other stays; a folder that holds
more than files and tables in parts is never replaced.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["OutputRefusedError", "check", "keep_others", "refuse_input"]

#: What Margrave writes: an old one goes when its folder is replaced, any other file stays.
_TABLES = (
    *("positions", "balances", "instruments", "assets", "accounts", "tiers", "weights"),
    *("buckets", "totals", "rejects", "scenarios", "breach", "curve"),
)
_OURS = {"manifest.json", "rules.toml", "shards.json"} | {f"{name}.parquet" for name in _TABLES}

#: A file in the folder of a table that is written in parts.
_PART = re.compile(r"shard-\d+\.parquet")


class OutputRefusedError(Exception):
    """The output folder may not be used; nothing was touched."""


def refuse_input(out: Path, name: str, inputs: Iterable[Path]) -> None:
    """Raise where `out`, known as `name`, is or holds one of the `inputs`."""
    for path in inputs:
        read = path.resolve()
        if out == read or out in read.parents:
            raise OutputRefusedError(f"{name} holds the input {path}\nhint: choose another folder")


def check(out: Path, name: str, *, may_replace: bool, keeps: bool) -> None:
    """Raise unless `out` is not there, or is a folder that may be replaced.

    Args:
        out: The folder.
        name: How people know it.
        may_replace: Whether it may hold something already.
        keeps: Whether files in it that are not Margrave's stay, or are a reason to refuse it.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputRefusedError(f"{name} is not a folder")
    if out == Path.cwd() or out in Path.cwd().parents or out.is_mount():
        raise OutputRefusedError(
            f"{name} cannot be replaced: it is a mount point or holds the working directory\n"
            "hint: name a folder inside it"
        )
    inside = sorted(out.iterdir())
    if inside and not may_replace:
        raise OutputRefusedError(f"{name} exists and is not empty\nhint: --overwrite replaces it")
    strange = [path.name for path in inside if not (_is_file(path) or _is_in_parts(path))]
    if strange:
        raise OutputRefusedError(
            f"{name} holds more than files: {', '.join(map(repr, strange[:3]))}\n"
            "hint: only a folder of files is replaced; choose another one"
        )
    others = [path.name for path in inside if _is_file(path) and path.name not in _OURS]
    if others and not keeps:
        raise OutputRefusedError(
            f"{name} holds more than Margrave wrote: {', '.join(map(repr, others[:3]))}\n"
            "hint: --overwrite keeps that and replaces the rest; or move it away"
        )


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_in_parts(path: Path) -> bool:
    """Return whether `path` is a table written in parts, and holds nothing else."""
    if path.name not in _TABLES or path.is_symlink() or not path.is_dir():
        return False
    return all(_is_file(part) and _PART.fullmatch(part.name) for part in path.iterdir())


def keep_others(out: Path, stage: Path) -> None:
    """Add to `stage` the files of `out` that are neither Margrave's nor written anew."""
    if not out.is_dir():
        return
    for path in out.iterdir():
        kept = stage / path.name
        if path.name in _OURS or _is_in_parts(path) or kept.exists():
            continue
        try:
            os.link(path, kept, follow_symlinks=False)
        except OSError:
            shutil.copy2(path, kept, follow_symlinks=False)
            with kept.open("rb+") as file:
                os.fsync(file.fileno())
