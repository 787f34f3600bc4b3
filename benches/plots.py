"""How time grows, as small SVG files for the documentation.

    python -m plots results/*-growth.json

Draws `docs/performance-<series>.svg` for each series of the set `growth`: accounts, positions,
instruments, tiers, threads. The same results give the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import ticker
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parents[1] / "docs"

AXES: dict[str, tuple[str, Callable[[dict[str, Any]], int]]] = {
    "accounts": ("accounts, five positions each", lambda case: case["shape"]["accounts"]),
    "positions": ("positions an account", lambda case: case["shape"]["positions"]),
    "instruments": ("instruments listed", lambda case: case["shape"]["instruments"]),
    "tiers": ("most brackets of a table", lambda case: case["shape"]["brackets"]),
    "threads": ("threads", lambda case: case["cores"]),
}
WORKS = {
    "w1": ("frames to account frame", "#b5482f", "o"),
    "hot": ("prepared book to account frame", "#2f6fb5", "s"),
}
LOGARITHMIC = ("accounts", "instruments")


def main(arguments: list[str]) -> None:
    """Draw every series of the newest of these files."""
    found = sorted(Path(__file__).with_name("results").glob("*-growth.json"))
    paths = [Path(name) for name in arguments] or found
    if not paths:
        raise SystemExit("no results of the set `growth`: python -m suite --set growth")
    result = json.loads(paths[-1].read_text())
    for series in AXES:
        cases = [case for case in result["cases"] if case["series"] == series]
        if cases:
            print(draw(series, cases, result))


def draw(series: str, cases: list[dict[str, Any]], result: dict[str, Any]) -> Path:
    """Draw one series, and return the file."""
    label, along = AXES[series]
    settings = {"svg.hashsalt": "margrave", "svg.fonttype": "none", "font.size": 9}
    path = DOCS / f"performance-{series}.svg"
    with mpl.rc_context(settings):
        figure = Figure(figsize=(5.2, 3.0), layout="constrained")
        axes = figure.subplots()
        for work, (name, colour, marker) in WORKS.items():
            points = sorted((along(c), _shown(c)) for c in cases if c["work"] == work)
            axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=name)
        if series in LOGARITHMIC:
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
                axis.set_minor_locator(ticker.NullLocator())
                axis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        else:
            axes.set_ylim(bottom=0)
            axes.set_xticks(sorted({along(case) for case in cases}))
        axes.set_xlabel(label)
        axes.set_ylabel("milliseconds, least of the warm calls")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        machine = result["machine"]
        about = f"{machine['processor']}, {machine['cores']} cores; {result['date'][:10]}"
        axes.set_title(about, fontsize=7, loc="right")
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def _shown(case: dict[str, Any]) -> float:
    return float(case["peers"]["margrave"]["min"]) * 1e3


if __name__ == "__main__":
    main(sys.argv[1:])
