"""The oracle's walk: one bucket along a line of markets, piece by piece, in exact fractions.

On a `Line` each price is what it is, times 1 + slope * t, where t >= 0 is how far out one has gone.
`Walk` sees one bucket on it. Between corners (a tier's floor, the turn from profit to loss, a floor
of a weight, a debt that begins, a side that outweighs the other, a fee that falls to nothing) every
figure is a polynomial in t over the product of the 1 + slope * t by which inverse contracts divide.
So its polynomial is found from a few exact values inside a piece and held to one more of them: a
corner that was missed would not go unseen. `stretches` says where the trigger holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

from reference_bucket import NET_OF_GROSS, equity_at, evaluate, fee_values, joined_values
from reference_inputs import ZERO, Bucket, Row, World, exact
from reference_requirement import own_needs, pairs, tier_unit
from reference_roots import Bracket, Polynomial, roots, through, value_at

#: From where to where, both ends apart from a point.
Gap = tuple[Fraction, Fraction]
ONE = Fraction(1)


@dataclass(frozen=True)
class Line:
    """How fast each mark and asset price moves, as a share of it; one left out stands still."""

    marks: Mapping[Any, Fraction]
    assets: Mapping[Any, Fraction]
    end: Fraction
    reaches_end: bool


class Walk:
    """One bucket along a line; `shift` is added to its margin buffer wherever its sign counts."""

    def __init__(self, bucket: Bucket, world: World, line: Line, shift: Fraction = ZERO) -> None:
        held = bucket.instruments()
        settled = {world.instruments[i]["settle_asset"] for i in held}
        self.bucket, self.line, self.shift = bucket, line, shift
        self.world = replace(
            world,
            instruments={i: world.instruments[i] for i in held},
            assets={a: row for a, row in world.assets.items() if a in settled | {*bucket.balances}},
        )
        slopes = [line.marks.get(i, ZERO) for i in held if world.kind(i) == "inverse"]
        self.divisors = sorted({slope for slope in slopes if slope})
        self.compare = world.rule["compare"]
        self.never = world.rule["zero_requirement"] == "never"

    def world_at(self, t: Fraction) -> World:
        """Return the market out there."""
        return moved_world(self.world, self.line, t)

    def figures(self, t: Fraction) -> dict[str, Any]:
        """Return every figure of the bucket out there."""
        world = self.world_at(t)
        return evaluate(self.bucket, world.marks(), world)

    def holds(self, t: Fraction) -> bool:
        """Return whether the trigger holds exactly there."""
        figures = self.figures(t)
        buffer = figures["margin_buffer"] + self.shift
        if figures["is_flat"] or self._is_excused(figures):
            return False
        return bool(buffer <= 0 if self.compare == "le" else buffer < 0)

    def is_on_the_line(self) -> bool:
        """Return whether it stands on the trigger's line, or past it, before any move."""
        figures = self.figures(ZERO)
        outside = figures["is_flat"] or self._is_excused(figures)
        return not outside and figures["margin_buffer"] + self.shift <= 0

    def _is_excused(self, figures: Mapping[str, Any]) -> bool:
        return bool(self.never and figures["maintenance_margin"] == 0)

    def divisor(self, t: Fraction) -> Fraction:
        """Return what every figure is multiplied by to be a polynomial: above 0 on the line."""
        out = ONE
        for slope in self.divisors:
            out *= 1 + slope * t
        return out

    def fitted(
        self, figures: Callable[[Fraction], Sequence[Fraction]], low: Fraction, high: Fraction
    ) -> list[Polynomial]:
        """Return each figure's polynomial between two corners, times the divisor.

        A price of an asset times a contract's value is of degree 2; every divisor adds one.
        """
        count = len(self.divisors) + 3
        step = (high - low) / (count + 2)
        places = [low + step * (k + 1) for k in range(count + 1)]
        rows = [[f * self.divisor(t) for f in figures(t)] for t in places]
        out = []
        for values in zip(*rows, strict=True):
            points = list(zip(places, values, strict=True))
            polynomial = through([*points[:2], *points[3:]])
            assert value_at(polynomial, places[2]) == values[2], "a corner was missed"
            out.append(polynomial)
        return out

    # Corners

    def gaps(self) -> Iterator[Gap]:
        """Yield the pieces between corners, outwards; what lies between two of them is a corner."""
        corners = sorted(t for t in {*self._floors(), *self._turns()} if 0 < t < self.line.end)
        ends = [ZERO, *corners, self.line.end]
        gaps: Iterator[Gap] = pairwise(ends)
        return self._split(self._split(gaps, self._sums), self._sides)

    def _split(
        self, gaps: Iterator[Gap], watched: Callable[[Fraction], Sequence[Fraction]]
    ) -> Iterator[Gap]:
        """Yield the gaps, cut where a watched figure is 0."""
        for low, high in gaps:
            found: list[Bracket] = []
            for polynomial in self.fitted(watched, low, high):
                found += roots(polynomial, low, high)
            start = low
            for left, right in sorted(found):
                if start < left:
                    yield start, left
                start = max(start, right)
            if start < high:
                yield start, high

    def _floors(self) -> Iterator[Fraction]:
        """Yield where a size reaches a floor of its tiers."""
        marks = self.world.marks()
        if self.world.rule["price_basis"] == "entry":
            return
        for need in own_needs(self.bucket, marks, dict.fromkeys(marks, ZERO), self.world):
            instrument = need.instrument_id
            here = marks[instrument]
            unit = tier_unit(instrument, here, self.world)
            moves = unit != tier_unit(instrument, here * 2, self.world)
            if need.kept and moves and not self.world.is_option(instrument):
                for row in self.world.tiers[need.rows[0].tier_table]:
                    yield from self._where(instrument, exact(row["floor"]) / need.kept)

    def _turns(self) -> Iterator[Fraction]:
        """Yield where the profit of an instrument turns."""
        for instrument in self.bucket.instruments():
            net, _ = self.bucket.net_and_gross(instrument)
            if net and not self.world.is_option(instrument):
                rows = [row for row in self.bucket.rows if row.instrument_id == instrument]
                entry = (
                    row.quantity * self.world.contract_value(instrument, row.entry_price)
                    for row in rows
                )
                yield from self._where(instrument, sum(entry, ZERO) / net)

    def _where(self, instrument: Any, value: Fraction) -> Iterator[Fraction]:
        """Yield where one contract has this value, if anywhere."""
        slope, here = self.line.marks.get(instrument, ZERO), self.world.marks()[instrument]
        if slope and value > 0:
            ratio = here / value if self.world.kind(instrument) == "inverse" else value / here
            yield (ratio - 1) / slope

    def _sums(self, t: Fraction) -> list[Fraction]:
        """Return the height of what is weighted above its floors, 0 among them, and of fees.

        A fee at the bankruptcy price is 0 from where that price is no longer positive.
        """
        world = self.world_at(t)
        marks = world.marks()
        out: list[Fraction] = []
        if not self.bucket.isolated:
            for asset, total in sorted(joined_values(self.bucket, marks, world)[0].items()):
                out += [total - exact(row.get("floor"), 0) for row in world.slices(asset)]
        if world.rule["close_fee"] == "bankruptcy":
            equity = equity_at(self.bucket, marks, world)
            for i in self.bucket.instruments():
                net, gross = self.bucket.net_and_gross(i)
                if abs(net) > NET_OF_GROSS * gross and not world.is_option(i):
                    lost = world.direction(i) * equity / net
                    out.append(marks[i] * world.settle_price(i) - lost)
        return out

    def _sides(self, t: Fraction) -> list[Fraction]:
        """Return by how much each long side outweighs its short one, where the larger counts."""
        world = self.world_at(t)
        if world.rule["netting"] != "larger_side":
            return []
        marks = world.marks()
        fees = fee_values(self.bucket, marks, world)
        return [
            (long.maintenance - short.maintenance) * world.settle_price(long.instrument_id)
            for long, short in pairs(own_needs(self.bucket, marks, fees, world))
        ]

    # The trigger

    @cached_property
    def is_flat(self) -> bool:
        """Return whether nothing is held or owed, which no price changes."""
        return bool(self.figures(ZERO)["is_flat"])

    def stretches(self) -> Iterator[tuple[Fraction, Fraction, bool]]:
        """Yield pieces and points, outwards, and whether the trigger holds all along each.

        Where one ends short of the next, an edge that no fraction gives lies between them.
        """
        yield ZERO, ZERO, self.holds(ZERO)
        if self.is_flat:
            yield ZERO, self.line.end, False
            return
        last = ZERO
        for low, high in self.gaps():
            if last == low > 0:
                yield low, low, self.holds(low)
            yield from self._between(low, high)
            last = high
        if self.line.reaches_end and last == self.line.end:
            yield last, last, self.holds(last)

    def _between(self, low: Fraction, high: Fraction) -> Iterator[tuple[Fraction, Fraction, bool]]:
        """Yield the stretches between two corners."""
        # A requirement is never negative, so between corners it is 0 everywhere or nowhere.
        if self._is_excused(self.figures((low + high) / 2)):
            yield low, high, False
            return
        (buffer,) = self.fitted(
            lambda t: [self.figures(t)["margin_buffer"] + self.shift], low, high
        )
        start = low
        for left, right in [*roots(buffer, low, high), (high, high)]:
            value = value_at(buffer, (start + left) / 2)
            if start < left:
                yield start, left, value < 0 or (value == 0 and self.compare == "le")
            if left < high and self.compare == "le":
                yield right, right, True
            start = right


def moved_world(world: World, line: Line, t: Fraction) -> World:
    """Return the market with each price moved by its slope times t."""

    def price(row: Mapping[str, Any], column: str, slope: Fraction) -> dict[str, Any]:
        return {**row, column: exact(row[column]) * (1 + slope * t)}

    instruments: dict[Any, Row] = {
        i: price(row, "mark_price", line.marks.get(i, ZERO)) for i, row in world.instruments.items()
    }
    assets: dict[Any, Row] = {
        a: price(row, "price", line.assets.get(a, ZERO)) for a, row in world.assets.items()
    }
    return replace(world, instruments=instruments, assets=assets)


def first_reached(walk: Walk) -> Bracket | None:
    """Return how far out the trigger is first reached: between which two, or exactly where.

    Under `lt` that is the edge of where it holds, where the buffer is 0 or a slab's step jumps the
    line; a buffer that touches 0 and turns back is reached under `le` alone. [DETAILS 6]
    """
    if walk.is_on_the_line():
        return ZERO, ZERO
    last = ZERO
    for low, high, holds in walk.stretches():
        if holds:
            return last, low
        last = high
    return None
