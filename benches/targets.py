"""The targets of the project as ratios, from the JSON of the suite: what is met, what is missed.

    python -m targets results/*.json

Later files win where two have the same case. A target is a ratio of minima on one machine, warm
unless said; a ratio that no file can give is shown as not measured.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import short_name

SMALL, LARGE = 1_000_000, 10_000_000


@dataclass
class Results:
    """What some files hold: cases of the suite by work and shape, peaks of memory by size."""

    cases: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    memory: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    heads: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def read(paths: Iterable[Path]) -> Results:
        """Return what these files hold, in the order of their dates."""
        found = Results()
        files = [json.loads(path.read_text()) for path in paths]
        # What `sharded.py` measures are steps of one night, which README.md tells by itself.
        files = [file for file in files if "cases" in file]
        for file in sorted(files, key=lambda file: str(file["date"])):
            found.heads.append({k: v for k, v in file.items() if k != "cases"})
            for case in file["cases"]:
                shape = case["shape"]
                case["machine"] = short_name(file["machine"])
                if file["set"] == "memory":
                    found.memory[(shape["accounts"], shape["columns"])] = case
                elif not case["series"]:
                    found.cases[_key(case["work"], case["cores"], shape)] = case
        return found

    @property
    def machines(self) -> set[str]:
        """The machines that were measured on, by short name."""
        return {short_name(head["machine"]) for head in self.heads}

    @property
    def cores(self) -> int:
        """The number of processors of the machine."""
        return int(self.heads[-1]["machine"]["cores"]) if self.heads else 0

    def case(self, work: str, accounts: int = SMALL, **other: Any) -> dict[str, Any] | None:
        """Return a case, of the plain shuffled exchange unless told otherwise."""
        cores = other.pop("cores", self.cores)
        return self.cases.get(_key(work, cores, {"accounts": accounts, **other}))


def _key(work: str, cores: int, shape: dict[str, Any]) -> tuple[Any, ...]:
    usual = {"columns": "plain", "order": "shuffled", "ids": "text" if work == "w3s" else "int"}
    usual |= {"chunks": "1"}
    return (work, cores, shape["accounts"], *(str(shape.get(k, v)) for k, v in usual.items()))


@dataclass(frozen=True)
class Measured:
    """A figure, and the machine that it was measured on."""

    value: float
    machine: str


Figure = Callable[[Results], Measured | None]


@dataclass(frozen=True)
class Target:
    """A ratio: its name, at least (or at most) what, the aim, and how it is found."""

    name: str
    bound: float
    aim: float
    find: Figure
    at_most: bool = False

    def met(self, value: float) -> str:
        """Return what to call a value."""

        def good(line: float) -> bool:
            return value <= line if self.at_most else value >= line

        return "aim" if good(self.aim) else "met" if good(self.bound) else "MISSED"


def least(work: str, who: str | tuple[str, ...], what: str = "min", **shape: Any) -> Figure:
    """Return how to find the figure of the peer `who`, of several the least of all whose names
    begin so."""

    def is_one(name: str) -> bool:
        return name == who if isinstance(who, str) else name.startswith(who)

    return _least(work, lambda name, _: is_one(name), what, shape)


def _least(
    work: str, is_one: Callable[[str, dict[str, Any]], bool], what: str, shape: dict[str, Any]
) -> Figure:
    def find(results: Results) -> Measured | None:
        case = results.case(work, **shape)
        peers = case["peers"].items() if case else ()
        chosen = [float(peer[what]) for name, peer in peers if is_one(name, peer)]
        return Measured(min(chosen), case["machine"]) if case and chosen else None

    return find


def thin(what: str = "min", **shape: Any) -> Figure:
    """Return how to find the fastest thin Polars form; `first` is that of first calls."""

    def is_thin(name: str, peer: dict[str, Any]) -> bool:
        return name.startswith("polars") and bool(peer["answer"] == "thin")

    return _least("w1", is_thin, what, shape)


def over(above: Figure, below: Figure) -> Figure:
    """Return how to find a quotient; of two machines there is none."""

    def find(results: Results) -> Measured | None:
        one, other = above(results), below(results)
        if one is None or other is None or one.machine != other.machine:
            return None
        return Measured(one.value / other.value, one.machine)

    return find


def peak(accounts: int) -> Figure:
    """Return how to find the peak of book and account frame over the input frames."""

    def find(results: Results) -> Measured | None:
        case = results.memory.get((accounts, "plain"))
        if case is None:
            return None
        return Measured(float(case["stages"]["accounts"]["over_frames"]), case["machine"])

    return find


def ours(work: str, what: str = "min", **shape: Any) -> Figure:
    """Return how to find Margrave's own figure."""
    return least(work, "margrave", what, **shape)


FULL = {"columns": "full"}
GROUPED = {"order": "grouped"}
SORTED = ("polars-sort", "polars-number")
"""The forms of Polars' sorted, numbered book."""

TARGETS = [
    Target("w1 S: Polars, same answer / ours", 3, 5, over(least("w1", "polars-same"), ours("w1"))),
    Target(
        "w1 S, all input columns: Polars, same answer / ours",
        3,
        5,
        over(least("w1", "polars-same", **FULL), ours("w1", **FULL)),
    ),
    Target("w1 S: fastest thin Polars / ours", 1.2, 2, over(thin(), ours("w1"))),
    Target(
        "w1 S, all input columns: fastest thin Polars / ours",
        1.2,
        2,
        over(thin(**FULL), ours("w1", **FULL)),
    ),
    Target(
        "w1 L: fastest thin Polars / ours",
        1.6,
        2,
        over(thin(accounts=LARGE), ours("w1", accounts=LARGE)),
    ),
    Target(
        "hot S: ours / Numba, 7 columns", 2.0, 1.3, over(ours("hot"), least("hot", "numba")), True
    ),
    Target(
        "hot S: ours / Numba, all columns",
        1.0,
        0.8,
        over(ours("hot"), least("hot", "numba-wide")),
        True,
    ),
    Target(
        "hot L: ours / Numba, 7 columns",
        1.2,
        1.2,
        over(ours("hot", accounts=LARGE), least("hot", "numba", accounts=LARGE)),
        True,
    ),
    Target("w3 S: Polars' sorted book / ours", 2, 3, over(least("w3", SORTED), ours("w3"))),
    Target(
        "w3 L: Polars' sorted book / ours",
        3.5,
        3.5,
        over(least("w3", SORTED, accounts=LARGE), ours("w3", accounts=LARGE)),
    ),
    Target("w3s S: Polars' sorted book / ours", 6, 10, over(least("w3s", SORTED), ours("w3s"))),
    Target(
        "w3s S: Polars' lists, unsorted / ours",
        6,
        10,
        over(least("w3s", ("polars-lists",)), ours("w3s")),
    ),
    Target("w3 S: grouped / shuffled", 0.5, 0.35, over(ours("w3", **GROUPED), ours("w3")), True),
    Target("w3 S: skewed / shuffled", 2, 1, over(ours("w3", order="skewed"), ours("w3")), True),
    Target(
        "w3 S: sorted by id / shuffled", 2, 1, over(ours("w3", order="sorted"), ours("w3")), True
    ),
    Target("memory L: peak / frames", 3.8, 2.5, peak(LARGE), True),
    Target("memory S: peak / frames", 3.8, 2.5, peak(SMALL), True),
    *(
        Target(f"{work} S: 1 thread / 2 threads", 1.8, 1.95, over(ours(work, cores=1), ours(work)))
        for work in ("w1", "hot", "w3", "w2")
    ),
    *(
        Target(f"{work}: L / S", 12, 10.5, over(ours(work, accounts=LARGE), ours(work)), True)
        for work in ("w1", "hot", "w3", "w2")
    ),
    Target(
        "positions S: grouped / a sweep",
        4,
        3,
        over(ours("positions", **GROUPED), ours("hot", **GROUPED)),
        True,
    ),
    Target("positions S: shuffled / a sweep", 12, 8, over(ours("positions"), ours("hot")), True),
    Target(
        "positions S: ours / Numba, shuffled",
        1.0,
        0.8,
        over(ours("positions"), least("positions", "numba")),
        True,
    ),
    Target(
        "positions S: ours / Numba, grouped",
        1.0,
        0.8,
        over(ours("positions", **GROUPED), least("positions", "numba", **GROUPED)),
        True,
    ),
    Target("w2 S: SciPy, one thread / ours", 10, 20, over(least("w2", "scipy"), ours("w2"))),
    Target(
        "w2 S: SciPy, blocks on threads / ours",
        5,
        10,
        over(least("w2", "scipy-threads"), ours("w2")),
    ),
    Target("w2 S: Numba, 5 columns / ours", 1.5, 2.5, over(least("w2", "numba"), ours("w2"))),
    Target("w2 S: Polars / ours", 50, 50, over(least("w2", "polars-streaming"), ours("w2"))),
    Target("breach S: ours / a sweep", 5, 5, over(ours("breach"), ours("hot")), True),
    Target("w1 S: first call / warm", 2, 1, over(ours("w1", "first"), ours("w1")), True),
    Target(
        "w1 L: first call / warm",
        3,
        1,
        over(ours("w1", "first", accounts=LARGE), ours("w1", accounts=LARGE)),
        True,
    ),
    Target(
        "w1 L: first call of thin Polars / ours",
        1,
        1,
        over(thin("first", accounts=LARGE), ours("w1", "first", accounts=LARGE)),
    ),
]


def rows(results: Results) -> list[tuple[str, str, str, str, str]]:
    """Return name, bound, aim, figure and verdict of each target."""
    found = []
    for target in TARGETS:
        sign = "≤" if target.at_most else "≥"
        value = target.find(results)
        figure = "–" if value is None else f"{value.value:.2f}"
        verdict = "not measured" if value is None else target.met(value.value)
        found.append((target.name, f"{sign} {target.bound:g}", f"{target.aim:g}", figure, verdict))
    return found


def main(arguments: list[str]) -> None:
    """Print the table."""
    default = sorted((Path(__file__).parent / "results").glob("*.json"))
    results = Results.read([Path(name) for name in arguments] or default)
    print(f"{'target':52} {'at least':>9} {'aim':>5} {'figure':>7}")
    for name, bound, aim, figure, verdict in rows(results):
        print(f"{name:52} {bound:>9} {aim:>5} {figure:>7}  {verdict}")
    print(
        "instructions: benches/instructions/ (at most 90 a position, 500 a row, 100 an "
        "account-scenario)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
