"""Writes what was measured into `README.md`, between its markers: no figure is typed by hand.

    python -m table results/*.json

Between `<!-- measured -->` and `<!-- /measured -->` come the tables of every work, memory, the
targets, where we lose, and what it was measured on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import targets
from targets import Results

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"

TITLES = {
    "w1": "Frames to account frame",
    "hot": "Prepared book to account frame",
    "w3": "Frames to prepared book, integer ids",
    "w3s": "Frames to prepared book, text ids",
    "positions": "Rows with liquidation prices, over a prepared sweep",
    "totals": "A sweep and its totals",
    "w2": "Prepared book through 100 price scenarios",
    "breach": "Prepared book to the fall at which each account reaches its line",
}
ANSWERS = {
    "same": "same",
    "thin": "thin",
    "book": "book",
    "positions": "rows",
    "totals": "totals",
    "stress": "same",
    "outcomes": "5 columns",
    "breach": "same",
}
SMALLER = {"thin": " (thin answer)", "outcomes": " (5 columns)"}
"""What to say of a peer that answers less."""


def main(arguments: list[str]) -> None:
    """Render the tables of these files, by default of all results."""
    found = sorted(README.with_name("results").glob("*.json"))
    results = Results.read([Path(name) for name in arguments] or found)
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    body = "\n".join(render(results))
    README.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}")


def render(results: Results) -> list[str]:
    """Return the lines between the markers."""
    lines: list[str] = []
    for work, title in TITLES.items():
        cases = [case for case in results.cases.values() if case["work"] == work]
        cases.sort(
            key=lambda case: (case["shape"]["accounts"], _beside(case) != "", -case["cores"])
        )
        if cases:
            lines += [f"### {title} (`{work}`)", ""]
        for case in cases:
            lines += [*_table(case, results), ""]
    if results.memory:
        lines += ["### Memory", "", *_memory(results), ""]
    lines += ["### Targets", "", *_targets(results), ""]
    lines += ["### Where we lose", "", *_lost(results), ""]
    return [*lines, "### Measured on", "", *_heads(results)]


def _beside(case: dict[str, Any]) -> str:
    """Return what is unlike the plain, shuffled exchange."""
    shape, said = case["shape"], []
    said += ["all input columns"] if shape["columns"] == "full" else []
    said += [f"rows {shape['order']}"] if shape["order"] != "shuffled" else []
    said += [f"{shape['ids']} ids"] if shape["ids"] != "int" and case["work"] != "w3s" else []
    said += [f"{shape['chunks']} chunks"] if shape["chunks"] != 1 else []
    return ", ".join(said)


def _title(case: dict[str, Any], results: Results) -> str:
    """Return what was measured; where there are several machines, on which."""
    shape = case["shape"]
    cores = "1 thread" if case["cores"] == 1 else f"{case['cores']} threads"
    said = [f"{shape['accounts']:,} accounts, {shape['rows']:,} positions", cores, _beside(case)]
    said += [case["machine"]] if len(results.machines) > 1 else []
    return ", ".join(part for part in said if part)


def _table(case: dict[str, Any], results: Results) -> Iterator[str]:
    """Return the lines of one case, the fastest first."""
    rounds = "1 round" if case["rounds"] == 1 else f"{case['rounds']} rounds"
    calls = "1 warm one" if case["calls"] == 1 else f"{case['calls']} warm ones"
    yield f"{_title(case, results)}; {rounds} of a first call and {calls}:"
    yield ""
    yield "| form | answer | min s | median s | CPU s | first s | peak GiB | × ours |"
    yield "|---|---|---|---|---|---|---|---|"
    ours = case["peers"]["margrave"]["min"]
    for name, peer in sorted(case["peers"].items(), key=lambda item: item[1]["min"]):
        label = f"**{peer['label']}**" if name == "margrave" else peer["label"]
        figures = [f"{peer[key]:.3g}" for key in ("min", "median", "cpu", "first")]
        memory = f"{peer['peak_bytes'] / 2**30:.2f}"
        columns = [label, ANSWERS[peer["answer"]], *figures, memory, f"{peer['min'] / ours:.2f}"]
        yield "| " + " | ".join(columns) + " |"
    for name, why in case["skipped"].items():
        yield f"\n{name} was skipped: {why}."


def _memory(results: Results) -> Iterator[str]:
    yield "| accounts | input columns | frames GiB | stage | peak GiB | × frames |"
    yield "|---|---|---|---|---|---|"
    for (accounts, columns), case in sorted(results.memory.items()):
        for stage, peak in case["stages"].items():
            frames = f"{case['shape']['bytes'] / 2**30:.2f}"
            figures = f"{peak['peak_bytes'] / 2**30:.2f} | {peak['over_frames']:.2f}"
            yield f"| {accounts:,} | {columns} | {frames} | {stage} | {figures} |"


def _targets(results: Results) -> Iterator[str]:
    yield "| target | at least (≥) or at most (≤) | aim | figure | |"
    yield "|---|---|---|---|---|"
    for row in targets.rows(results):
        yield "| " + " | ".join(row) + " |"


def _lost(results: Results) -> list[str]:
    """Return a line for every peer that was faster, or took less memory, for a whole work."""
    lines = []
    for case in results.cases.values():
        ours = case["peers"]["margrave"]
        for name, peer in case["peers"].items():
            said = []
            if peer["min"] < ours["min"]:
                said.append(f"takes {peer['min'] / ours['min']:.2f} of our time")
            if peer["first"] < ours["first"]:
                said.append(f"{peer['first'] / ours['first']:.2f} of our first call's")
            if name != "margrave" and said:
                answer = SMALLER.get(peer["answer"], "")
                where = f"`{case['work']}`, {_title(case, results)}"
                lines.append(f"* {where}: {peer['label']}{answer} {', '.join(said)}.")
    return lines or ["Nowhere in what was measured."]


def _heads(results: Results) -> Iterator[str]:
    for head in results.heads:
        machine = head["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
        yield (
            f"* {head['date']}, set `{head['set']}`: `{head['command']}`; {machine['processor']}, "
            f"{machine['cores']} cores, {machine['memory_gib']:.0f} GiB, {machine['system']}, huge "
            f"pages {machine['huge_pages']}, load before {head['load_before']}; {versions}."
        )


if __name__ == "__main__":
    main(sys.argv[1:])
