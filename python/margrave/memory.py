"""How much memory a night takes, and how much there is: refused early rather than killed late.

`estimate` knows a night by its files alone: rows and types stand in a Parquet file's footer, and
a sample says how wide a row is; of a CSV file also how long a row is, so how many there are.
`free` asks the machine and the control group of this process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from margrave.errors import MargraveError

__all__ = ["estimate", "free", "parsed", "shown"]

#: Bytes that Python, Polars and the core take before they see a row.
BASE = 180 << 20

#: Bytes of work and results for each row of a frame, beside what the row itself takes twice:
#: measured on synthetic nights of 250,000 to 10,000,000 accounts (`benches/README.md`).
_PER_ROW = {"positions": 260, "balances": 200, "accounts": 260}

#: Rows of a file that say how wide its rows are.
_SAMPLE = 20_000

#: Bytes of a text beside its letters, and of a number.
_TEXT, _NUMBER = 16, 8

#: What is free where nothing says how much.
UNKNOWN = 1 << 62

#: What of the free memory a run takes unless it is told.
SHARE = 0.8

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}iB": 1 << 10 * power for power, letter in enumerate("KMGT", 1)}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)}
_UNITS |= {letter: 1 << 10 * power for power, letter in enumerate("KMGT", 1)}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parsed(text: str) -> int:
    """Return the bytes of a size as people write it: `6GiB`, `6G`, `500MB`.

    Raises:
        MargraveError: It is no size above 0.

    Example:
        >>> parsed("1.5GiB")
        1610612736
    """
    match = _SIZE.fullmatch(text.strip())
    units = {name.upper(): size for name, size in _UNITS.items()}
    size = 0
    if match is not None and match[2].upper() in units:
        size = int(float(match[1]) * units[match[2].upper()])
    if size < 1:
        raise MargraveError(f"memory: {text!r} is no size\nhint: write it as 6GiB, 6G or 500MB")
    return size


def shown(size: float) -> str:
    """Return a size as people read it.

    Example:
        >>> shown(3 << 29)
        '1.5 GiB'
    """
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def estimate(files: Mapping[str, Sequence[Path]]) -> int:
    """Return the bytes that a sweep of these files takes at its peak, about.

    Args:
        files: The files of every frame, as `night.find` returns them. The rows of a CSV file,
            which nobody has counted, are its size by the length of its first ones; of a file
            that cannot be read nothing is taken.
    """
    return BASE + sum(_of_frame(name, paths) for name, paths in files.items())


def _of_frame(name: str, paths: Sequence[Path]) -> int:
    per_row = _PER_ROW.get(name, 0)
    return sum(_of_file(path, per_row) for path in paths)


def _of_file(path: Path, per_row: int) -> int:
    try:
        rows, width = _of_csv(path) if path.suffix == ".csv" else _of_parquet(path)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return 0  # whoever reads it says what is wrong with it
    return int(rows * (width + per_row))


def _of_parquet(path: Path) -> tuple[float, float]:
    """Return the rows of a file, and the bytes that each takes: as it came, and as it is known."""
    lazy = pl.scan_parquet(path, glob=False)
    rows = int(lazy.select(pl.len()).collect().item())
    sample = lazy.head(_SAMPLE).collect()
    return rows, 2 * sample.estimated_size() / max(1, sample.height)


def _of_csv(path: Path) -> tuple[float, float]:
    """Return the same of a CSV, about: its columns come as text, and are known as numbers."""
    sample = pl.read_csv(path, n_rows=_SAMPLE, infer_schema=False, glob=False)
    letters = sum(int(column.str.len_bytes().sum()) for column in sample) / max(1, sample.height)
    rows = path.stat().st_size / (letters + sample.width)  # a comma, or the end of the line, each
    return (0 if sample.is_empty() else rows), letters + (_TEXT + _NUMBER) * sample.width


def free() -> int:
    """Return the bytes that may still be taken: of the machine, or of the control group.

    `UNKNOWN` where neither says.
    """
    return min(_of_machine(), _of_group())


def _of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        pass
    return UNKNOWN


def _of_group(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return what the control groups of this process, and those above them, leave free."""
    least = UNKNOWN
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return least
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root if controllers == "" else root / "memory"
        names = ("memory.max", "memory.current", "inactive_file")
        if controllers:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        folder = top / path.lstrip("/")
        for group in (folder, *folder.parents):
            if group != top and top not in group.parents:
                break
            least = min(least, _left(group, *names))
    return least


def _left(group: Path, limit: str, usage: str, cache: str) -> int:
    try:
        most = int((group / limit).read_text())  # "max" is no number
        used = int((group / usage).read_text())
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return UNKNOWN
    return max(0, most - used + int(facts.get(cache, 0)))
