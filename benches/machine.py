"""What figures hold for: processor, system, versions, load, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LIBRARIES = ("margrave", "polars", "numpy", "numba", "scipy", "duckdb", "pandas", "pyarrow")


def machine() -> dict[str, Any]:
    """Return processor, cores, memory in GiB and system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    huge = pages.read_text().partition("[")[2].partition("]")[0] if pages.exists() else "none"
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": _system(),
        "huge_pages": huge,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of every library that is installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def about() -> dict[str, Any]:
    """Return what stands at the head of every file of results."""
    now = datetime.now(UTC)
    return {
        "date": now.strftime("%Y-%m-%dT%H:%MZ"),
        "command": " ".join(["python", "-m", Path(sys.argv[0]).stem, *_said(sys.argv[1:])]),
        "load_before": round(os.getloadavg()[0], 2),
        "machine": machine(),
        "versions": versions(),
    }


def _said(arguments: list[str]) -> list[str]:
    """Return the arguments without folders: where files went changes no figure."""
    after = ["", *arguments[:-1]]
    folders = ("--out", "--scratch")
    pairs = zip(arguments, after, strict=True)
    return [word for word, before in pairs if word not in folders and before not in folders]


def file_name(kind: str) -> str:
    """Return a name by date and kind of machine, never the machine's own name."""
    found = machine()
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    short = short_name(found).replace(",", "").replace(" ", "-").lower()
    return f"{day}-{short}-{kind}.json"


def short_name(found: dict[str, Any]) -> str:
    """Return the processor's name in two words, and the number of cores."""
    words = [word for word in found["processor"].replace("(R)", "").split() if word.isalnum()]
    return f"{' '.join(words[:2]) or 'unknown'}, {found['cores']} cores"


def _system() -> str:
    """Return system, its version in two numbers, and the C library."""
    release = ".".join(platform.release().split("-")[0].split(".")[:2])
    return f"{platform.system()} {release}, {' '.join(platform.libc_ver())}"


def _processor() -> str:
    """Return the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
