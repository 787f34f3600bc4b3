"""The comparison: every peer in a process of its own, answers first, rounds interleaved.

    python -m suite --set comparison --accounts 1000000 --out results/

Sets: `quick`, `comparison` (at `S`), `large` (at `L`), `growth`. Each case is compared, then
measured: in every round each peer starts anew, makes its first call and then its warm ones, and
ends; so no two are in memory at once. The figures go into one JSON file by date and machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

import answers
import cases
from cases import Case
from exchange import SEED, read, write
from machine import about, file_name
from peers.catalogue import WORKS
from peers.process import Cost, Missing, Peer, threads

RESULTS = Path(__file__).parent / "results"
SETS = ("quick", "comparison", "large", "growth")


def main(arguments: list[str] | None = None) -> None:
    """Run a set of cases, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m suite")
    parser.add_argument("--set", choices=SETS, default="comparison")
    parser.add_argument("--accounts", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--works", help="only these, by commas")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder or file of the JSON")
    parser.add_argument("--scratch", type=Path, help="folder to keep the exchanges in")
    given = parser.parse_args(arguments)
    chosen = chosen_cases(given.set, given.accounts, given.rounds)
    if given.works:
        chosen = [case for case in chosen if case.work in given.works.split(",")]
    result: dict[str, Any] = {**about(), "set": given.set, "seed": SEED, "cases": []}
    path = given.out if given.out.suffix == ".json" else given.out / file_name(given.set)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch(given.scratch) as folder:
        for number, case in enumerate(chosen):
            result["cases"].append(run(case, folder))
            # After each, so that what was measured survives what comes.
            path.write_text(json.dumps(result, indent=1) + "\n")
            later = {other.shape for other in chosen[number + 1 :]}
            if given.scratch is None and case.shape not in later:
                shutil.rmtree(folder / case.shape.name)
    say(f"written: {path}")


def chosen_cases(name: str, accounts: int | None, rounds: int) -> list[Case]:
    """Return the cases of a set."""
    if name == "quick":
        return cases.quick(accounts or 50_000)
    if name == "growth":
        return cases.growth(accounts or cases.SMALL)
    if name == "large":
        return cases.large(accounts or cases.LARGE, rounds)
    return cases.comparison(accounts or cases.SMALL, rounds)


@contextmanager
def scratch(kept: Path | None) -> Iterator[Path]:
    """Give the folder of the exchanges; it goes in the end unless one was named."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
    else:
        with TemporaryDirectory() as name:
            yield Path(name)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def run(case: Case, folder: Path) -> dict[str, Any]:
    """Return what was measured of a case, its answers compared."""
    path = write(case.shape, folder)
    shape = json.loads((path / "shape.json").read_text())
    cores = case.cores or threads()
    title = f"{case.work} {case.shape.name}, {cores} cores"
    say(f"\n{title}: {shape['accounts']:,} accounts, {shape['positions']:,} positions")
    compared, missing = compare(case, path)
    names = [name for name in case.names if name not in missing]
    for name, why in missing.items():
        say(f"  {name}: SKIPPED, {why}")
    measured = measure(case, path, names)
    figures = {name: summary(case, name, *measured[name]) for name in names}
    for figure in sorted(figures.values(), key=lambda figure: figure["min"]):
        say(
            f"  {figure['label']:32} min {figure['min']:8.4f}  median {figure['median']:8.4f}  "
            f"cpu {figure['cpu']:8.4f}  first {figure['first']:8.4f}  "
            f"peak {figure['peak_bytes'] / 2**30:6.2f} GiB"
        )
    return {
        "work": case.work,
        "shape": {**asdict(case.shape), "rows": shape["positions"], "bytes": shape["bytes"]},
        "balances": shape["balances"],
        "cores": cores,
        "series": case.series,
        "compared": compared,
        "skipped": missing,
        "rounds": case.rounds,
        "calls": case.calls,
        "peers": figures,
    }


# Answers


def compare(case: Case, path: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Return how many accounts or rows of each peer were compared, and what is not installed."""
    ours: pl.DataFrame | None = None
    thin: pl.DataFrame | None = None
    given: pl.DataFrame | None = None
    compared, missing = {}, {}
    if list(case.names) == ["margrave"]:
        return {}, {}
    exchange = read(path)
    for name in case.names:
        answer = WORKS[case.work][name].answer
        try:
            found = answer_of(case, name, path)
        except Missing as error:
            missing[name] = str(error)
            continue
        if ours is None:
            ours = found
        elif answer == "same":
            compared[name] = answers.compare_same(ours, found, ordered=name != "numba-wide")
        elif answer == "thin":
            ids = answers.comparable(exchange, ours)
            compared[name] = answers.compare_thin_with_same(found, ours, ids)
            if thin is not None:
                answers.compare_thin(thin, found)
            thin = found
        elif answer == "book":
            compared[name] = answers.compare_books(ours, found)
        elif answer in ("stress", "outcomes"):
            given = given_accounts(case, path) if given is None else given
            compared[name] = answers.compare_stress(ours, found, given)
        elif answer == "breach":
            compared[name] = answers.compare_breaches(ours, found)
        else:
            compared[name] = answers.compare_positions(ours, found)
    say(f"  answers equal: {compared}")
    return compared, missing


def given_accounts(case: Case, path: Path) -> pl.DataFrame:
    """Return Margrave's accounts in the market as given."""
    return answer_of(replace(case, work="hot"), "margrave", path)


def answer_of(case: Case, name: str, path: Path) -> pl.DataFrame:
    """Return a peer's answer, given by a process of its own."""
    file = path / f"{case.work}-{name}.arrow"
    try:
        with Peer(case.work, name, path, cores=case.cores) as peer:
            peer.answer(file)
        return pl.read_ipc(file)
    finally:
        file.unlink(missing_ok=True)


# Times


def measure(case: Case, path: Path, names: list[str]) -> dict[str, tuple[list[Cost], list[Cost]]]:
    """Return the first calls and the warm calls of each peer."""
    costs: dict[str, tuple[list[Cost], list[Cost]]] = {name: ([], []) for name in names}
    for _ in range(case.rounds):
        for name in names:
            first, warm = costs[name]
            with Peer(case.work, name, path, cores=case.cores) as peer:
                first.append(peer.run())
                warm += [peer.run() for _ in range(case.calls)]
    return costs


def summary(case: Case, name: str, first: list[Cost], warm: list[Cost]) -> dict[str, Any]:
    """Return the figures of one peer: seconds, and the peak of memory in bytes."""
    seconds = [cost.seconds for cost in warm]
    entry = WORKS[case.work][name]
    return {
        "label": entry.label,
        "answer": entry.answer,
        "min": min(seconds),
        "median": statistics.median(seconds),
        "cpu": min(cost.cpu_seconds for cost in warm),
        "first": min(cost.seconds for cost in first),
        "first_median": statistics.median(cost.seconds for cost in first),
        "peak_bytes": max(cost.peak_bytes for cost in [*first, *warm]),
        "first_peak_bytes": max(cost.peak_bytes for cost in first),
        "seconds": [round(value, 6) for value in seconds],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
