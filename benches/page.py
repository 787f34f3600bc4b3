"""Writes our own figures into `docs/performance.md`, between its markers.

    python -m page results/*.json

By default of all results: what each form of input costs at `S`, and what it costs at `L`; what a
stress costs; then the instructions on record in `instructions/figures.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from targets import LARGE, SMALL, Results

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
FIGURES = HERE / "instructions" / "figures.json"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"

ROWS: list[tuple[str, str, dict[str, Any]]] = [
    ("`Book`, rows in no order, integer ids", "w3", {}),
    ("`Book`, rows grouped by account", "w3", {"order": "grouped"}),
    ("`Book`, rows sorted by account", "w3", {"order": "sorted"}),
    ("`Book`, one account with most rows", "w3", {"order": "skewed"}),
    ("`Book`, ids an Enum", "w3", {"ids": "enum"}),
    ("`Book`, ids texts of 36 bytes", "w3s", {}),
    ("`Book`, frames in 64 chunks", "w3", {"chunks": 64}),
    ("`Book`, one thread", "w3", {"cores": 1}),
    ("sweep, all columns of `accounts`", "hot", {}),
    ("the same, one thread", "hot", {"cores": 1}),
    ("sweep and `totals`", "totals", {}),
    ("`breach` of every account", "breach", {}),
    ("`positions`, over a prepared sweep", "positions", {}),
    ("the same, rows grouped by account", "positions", {"order": "grouped"}),
    ("frames to `accounts`", "w1", {}),
    ("the same, rows grouped by account", "w1", {"order": "grouped"}),
    ("the same, with all optional columns", "w1", {"columns": "full"}),
]


STRESSES: list[tuple[str, int, dict[str, Any]]] = [
    ("100 scenarios, 1,000,000 accounts", SMALL, {}),
    ("the same, one thread", SMALL, {"cores": 1}),
    ("the same, with all optional columns", SMALL, {"columns": "full"}),
    ("100 scenarios, 10,000,000 accounts", LARGE, {}),
]
SCENARIOS = 100


def main(arguments: list[str]) -> None:
    """Render the figures of these files, by default of all results."""
    found = sorted((HERE / "results").glob("*.json"))
    results = Results.read([Path(name) for name in arguments] or found)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n".join(render(results))
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def render(results: Results) -> Iterator[str]:
    """Yield the lines between the markers."""
    for accounts in (SMALL, LARGE):
        lines = list(_lines(results, accounts))
        if lines:
            size = f"{accounts:,} accounts, {5 * accounts:,} positions, {results.cores} threads"
            on = {case["machine"] for case in results.cases.values() if _is_of(case, accounts)}
            yield f"{size}; {', '.join(sorted(on))}:"
            yield ""
            yield "| | ms | ns a position | first call, ms |"
            yield "|---|---|---|---|"
            yield from lines
            yield ""
    stresses = list(_stresses(results))
    if stresses:
        yield "| stress | ms | ns a pair | bytes a pair | first call, ms |"
        yield "|---|---|---|---|---|"
        yield from stresses
        yield ""
        yield "(A pair: an account in a scenario. Bytes: what the process holds beyond its frames.)"
        yield ""
    if FIGURES.exists():
        record = json.loads(FIGURES.read_text(encoding="utf-8"))
        counts = record["instructions"]
        yield f"Instructions on one thread, rustc {record['rustc']}, {record['target']}:"
        yield ""
        yield "| " + " | ".join(counts) + " |"
        yield "|" + "---|" * len(counts)
        yield "| " + " | ".join(f"{count:.0f}" for count in counts.values()) + " |"
        yield ""
        yield (
            "(`ingest…`: a row of positions or balances; `stress`: an account-scenario; the "
            "others: a position.)"
        )


def _is_of(case: dict[str, Any], accounts: int) -> bool:
    return bool(case["shape"]["accounts"] == accounts)


def _lines(results: Results, accounts: int) -> Iterator[str]:
    for name, work, shape in ROWS:
        case = results.case(work, accounts, **shape)
        if case is not None:
            ours = case["peers"]["margrave"]
            each = ours["min"] / case["shape"]["rows"] * 1e9
            yield f"| {name} | {ours['min'] * 1e3:.1f} | {each:.1f} | {ours['first'] * 1e3:.0f} |"


def _stresses(results: Results) -> Iterator[str]:
    for name, accounts, shape in STRESSES:
        case = results.case("w2", accounts, **shape)
        if case is not None:
            ours = case["peers"]["margrave"]
            pairs = SCENARIOS * accounts
            # Beyond the input frames: the book, the worst of each account, and no array of pairs.
            memory = (ours["peak_bytes"] - case["shape"]["bytes"]) / pairs
            figures = f"{ours['min'] * 1e3:.0f} | {ours['min'] / pairs * 1e9:.2f} | {memory:.1f}"
            yield f"| {name} | {figures} | {ours['first'] * 1e3:.0f} |"


if __name__ == "__main__":
    main(sys.argv[1:])
