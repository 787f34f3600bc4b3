"""The oracle's reverse stress: the least move along a direction that costs the exchange so much.

`bad_debt_reached` and `notional_reached` return between which two sizes of the shock the total is
first reached, None where it never is; `totals_at` says what the totals are out there. A bucket's
equity has no corners, so bad debt is found piece by piece between the points at which buckets run
dry; the notional of flagged accounts between the edges of their triggers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from reference_inputs import ZERO
from reference_roots import Bracket, Polynomial, roots, through, value_at
from reference_walk import Line, Walk

#: From one size of the shock to another, and whether the trigger holds between them.
Stretch = tuple[Fraction, Fraction, bool]


def totals_at(walks: Sequence[Walk], t: Fraction) -> dict[str, Any]:
    """Return total bad debt, and number and gross notional of the accounts flagged there."""
    figures = [walk.figures(t) for walk in walks]
    flagged = {f["account_id"] for f in figures if f["is_liquidatable"]}
    return {
        "bad_debt": sum((f["bad_debt"] for f in figures), ZERO),
        "liquidatable_notional": sum(
            (f["gross_notional"] for f in figures if f["account_id"] in flagged), ZERO
        ),
        "liquidatable_accounts": len(flagged),
    }


def bad_debt_reached(walks: Sequence[Walk], target: Fraction) -> Bracket | None:
    """Return where total bad debt first reaches the target."""
    if totals_at(walks, ZERO)["bad_debt"] >= target:
        return ZERO, ZERO
    if not walks:
        return None
    whole = _Whole(walks)
    equities = [whole.fitted(walk, "equity") for walk in walks]
    corners = [root for equity in equities for root in whole.roots(equity)]

    def lacking(t: Fraction) -> Polynomial:
        """Return target less bad debt, times the divisor, of the piece around t."""
        owed = [equity for equity in equities if value_at(equity, t) < 0]
        return _total([whole.scaled(target), *owed])

    return whole.first(corners, lacking)


def notional_reached(walks: Sequence[Walk], target: Fraction) -> Bracket | None:
    """Return where the gross notional of all flagged accounts together first reaches the target.

    Under `lt` an account is flagged just past its edge: the edge is what comes back. A trigger that
    holds at a single point is passed over.
    """
    if totals_at(walks, ZERO)["liquidatable_notional"] >= target:
        return ZERO, ZERO
    if not walks:
        return None
    whole = _Whole(walks)
    notionals = [whole.fitted(walk, "gross_notional") for walk in walks]
    stretches = [[s for s in walk.stretches() if s[0] < s[1]] for walk in walks]
    corners = [corner for own in stretches for corner in _edges(own)]

    def lacking(t: Fraction) -> Polynomial:
        """Return target less notional, times the divisor, of the piece around t."""
        flagged = {
            walk.bucket.account_id
            for walk, own in zip(walks, stretches, strict=True)
            if any(low < t < high and holds for low, high, holds in own)
        }
        counted = [
            [-c for c in notional]
            for walk, notional in zip(walks, notionals, strict=True)
            if walk.bucket.account_id in flagged
        ]
        return _total([whole.scaled(target), *counted])

    return whole.first(corners, lacking)


def _edges(stretches: Sequence[Stretch]) -> Iterator[Bracket]:
    """Yield what lies between one stretch and the next."""
    for (_, left, _), (right, _, _) in pairwise(stretches):
        yield left, right


class _Whole:
    """All buckets on one line, their figures over one common divisor."""

    def __init__(self, walks: Sequence[Walk]) -> None:
        self.line: Line = walks[0].line
        self.divisors = sorted({slope for walk in walks for slope in walk.divisors})

    def divisor(self, t: Fraction) -> Fraction:
        out = Fraction(1)
        for slope in self.divisors:
            out *= 1 + slope * t
        return out

    def _places(self) -> list[Fraction]:
        count = len(self.divisors) + 3
        return [self.line.end * (k + 1) / (count + 1) for k in range(count)]

    def fitted(self, walk: Walk, column: str) -> Polynomial:
        """Return a figure that has no corners, times the divisor."""
        return through([(t, walk.figures(t)[column] * self.divisor(t)) for t in self._places()])

    def scaled(self, amount: Fraction) -> Polynomial:
        return through([(t, amount * self.divisor(t)) for t in self._places()])

    def roots(self, polynomial: Polynomial) -> list[Bracket]:
        return roots(polynomial, ZERO, self.line.end)

    def first(
        self, corners: Sequence[Bracket], lacking: Callable[[Fraction], Polynomial]
    ) -> Bracket | None:
        """Return where what is lacking is first 0 or less, piece by piece between the corners."""
        last = start = ZERO
        ends = sorted([*corners, (self.line.end, self.line.end)])
        for left, right in ends:
            if start < left:
                polynomial = lacking((start + left) / 2)
                inside = roots(polynomial, start, left)
                beyond = inside[0][0] if inside else left
                if value_at(polynomial, (start + beyond) / 2) <= 0:
                    return last, start
                if inside:
                    return inside[0]
                last = left
            start = max(start, right)
        return None


def _total(polynomials: Sequence[Polynomial]) -> Polynomial:
    size = max(len(p) for p in polynomials)
    return [sum((p[k] for p in polynomials if k < len(p)), ZERO) for k in range(size)]
