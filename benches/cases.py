"""Which cases the suite runs: a work, on an exchange of some shape, by some peers."""

from __future__ import annotations

from dataclasses import dataclass, field

from exchange import Shape
from peers.catalogue import PLAIN_ONLY, WORKS

SMALL, LARGE = 1_000_000, 10_000_000
"""`S` and `L`: five positions an account."""

OURS = ("margrave",)
FEW = {
    "w1": ("margrave", "polars-same", "polars-when-streaming", "polars-split-streaming"),
    "hot": ("margrave", "numba", "numba-wide"),
    "w3": ("margrave", "polars-sort-streaming", "polars-number-streaming"),
    "w3s": ("margrave", "polars-lists-streaming", "polars-number-streaming"),
    "positions": ("margrave", "numba"),
    "totals": ("margrave",),
    "w2": ("margrave", "numba", "scipy", "polars-streaming"),
    "breach": ("margrave", "numba"),
}
"""The peers that matter most, for shapes beside the first and for `L`."""


@dataclass(frozen=True)
class Case:
    """One work on one shape, with as many cores, rounds, and warm calls a round."""

    work: str
    shape: Shape
    names: tuple[str, ...]
    cores: int | None = None
    rounds: int = 3
    calls: int = 3
    series: str = field(default="", kw_only=True)


def _all(work: str, shape: Shape) -> tuple[str, ...]:
    known = WORKS[work]
    return tuple(n for n in known if shape.columns == "plain" or (work, n) not in PLAIN_ONLY)


def comparison(accounts: int, rounds: int) -> list[Case]:
    """Return every work by every peer, then the other shapes by the few that matter most."""
    plain = Shape(accounts)
    found = [
        Case(work, plain, _all(work, plain), rounds=rounds, calls=5 if work == "hot" else 3)
        for work in ("w1", "hot", "w3", "positions", "totals")
    ]
    found.append(Case("w2", plain, _all("w2", plain), rounds=rounds, calls=1))
    found.append(Case("breach", plain, _all("breach", plain), rounds=rounds))
    text = Shape(accounts, ids="text")
    found.append(Case("w3s", text, _all("w3s", text), rounds=rounds, calls=2))
    full = Shape(accounts, columns="full")
    found += [
        Case("w1", full, FEW["w1"], rounds=rounds),
        Case("hot", full, ("margrave", "numba"), rounds=rounds),
        Case("positions", full, OURS, rounds=rounds),
        Case("w2", full, OURS, rounds=rounds, calls=1),
        Case("breach", full, OURS, rounds=rounds),
    ]
    grouped = Shape(accounts, order="grouped")
    found += [Case(w, grouped, FEW[w], rounds=rounds) for w in ("w1", "hot", "w3", "positions")]
    shapes = [
        Shape(accounts, order="sorted"),
        Shape(accounts, order="skewed"),
        Shape(accounts, ids="enum"),
        Shape(accounts, chunks=64),
    ]
    found += [Case("w3", shape, ("margrave", "polars-sort-streaming")) for shape in shapes]
    found += [Case(work, plain, FEW[work], cores=1, rounds=rounds) for work in ("w1", "hot", "w3")]
    return [*found, Case("w2", plain, ("margrave", "numba"), cores=1, rounds=rounds, calls=1)]


def large(accounts: int, rounds: int) -> list[Case]:
    """Return the works at `L` by the few that matter most, each alone in memory."""
    plain = Shape(accounts)
    # The second call of a process finds kept memory of the sizes that the end of the first had.
    works = {"w1": 2, "hot": 3, "w3": 2}
    found = [Case(w, plain, FEW[w], rounds=rounds, calls=calls) for w, calls in works.items()]
    alone = ("positions", "w2", "breach")
    return [*found, *(Case(work, plain, OURS, rounds=1, calls=1) for work in alone)]


def growth(accounts: int) -> list[Case]:
    """Return Margrave alone as accounts, positions, contracts, brackets and threads grow."""
    series: dict[str, list[Shape]] = {
        "accounts": [Shape(accounts * k // 100) for k in (1, 3, 10, 30, 100)],
        "positions": [Shape(accounts // 4, positions=k) for k in (1, 2, 5, 10, 20)],
        "instruments": [Shape(accounts // 4, instruments=k) for k in (10, 100, 400, 2000, 8000)],
        "tiers": [Shape(accounts // 4, brackets=k) for k in (1, 2, 4, 8, 12)],
    }
    works = ("w1", "hot")
    found = [
        Case(work, shape, OURS, rounds=1, calls=5, series=name)
        for name, shapes in series.items()
        for shape in shapes
        for work in works
    ]
    threads = [
        Case(work, Shape(accounts), OURS, cores=k, rounds=1, calls=5, series="threads")
        for work in works
        for k in _powers()
    ]
    return [*found, *threads]


def _powers() -> list[int]:
    """Return 1, 2, 4, and so on, to as many as there are processors."""
    from peers.process import threads

    most = threads()
    return sorted({min(2**k, most) for k in range(8)})


def quick(accounts: int) -> list[Case]:
    """Return a case of each work by the few that matter most, in under a minute."""
    shapes = {"w3s": Shape(accounts, ids="text"), "w2": Shape(max(1, accounts // 5))}
    plain = Shape(accounts)
    found = [Case(work, shapes.get(work, plain), names, rounds=1) for work, names in FEW.items()]
    grouped = Shape(accounts, order="grouped")
    return [*found, *(Case(work, grouped, OURS, rounds=1) for work in ("w3", "positions"))]
