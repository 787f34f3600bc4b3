"""The oracle's prices: where a bucket meets its trigger, and where its equity is gone.

Everything here speaks of the contract value of one instrument (`m P` linear, `m / P` inverse),
in which profit and requirement are straight lines between kinks. A bucket is asked only for its
figures at a value, `at(value) -> (margin_buffer, maintenance_margin, equity)`, so no formula of
the margin is repeated here. All arithmetic is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import pairwise

Figures = tuple[Fraction, Fraction, Fraction]
At = Callable[[Fraction], Figures]

# A net quantity this small beside the gross one counts as none. [DETAILS 4, bankruptcy_price]
NET_OF_GROSS = Fraction(1, 10**12)


def bankruptcy_value(at: At, mark: Fraction, net: Fraction, gross: Fraction) -> Fraction | None:
    """Return the contract value at which equity is 0, None where there is no positive one."""
    if abs(net) <= NET_OF_GROSS * gross:
        return None
    equity = at(mark)[2]
    slope = at(mark + 1)[2] - equity  # equity is one straight line in the contract value
    value = mark - equity / slope
    return value if value > 0 else None


def nearer_price(prices: Iterable[Fraction], mark: Fraction) -> Fraction:
    """Return the price nearest to the mark by ratio, the lower one if equal."""
    return min(sorted(prices), key=lambda price: max(price / mark, mark / price))


def trigger_values(
    at: At, kinks: Iterable[Fraction], mark: Fraction, compare: str, never: bool
) -> list[Fraction]:
    """Return the first contract value at which the trigger is reached, below and above the mark.

    The trigger does not hold at the mark. "Reached" is the edge of the values where it holds: at
    it the buffer is 0, and just past it (under `lt`) or at it (under `le`) there is a flag. With
    `zero_requirement = "never"` the edge may also be the value where a requirement begins, the
    buffer being negative already. A buffer that touches 0 and turns back is reached under `le`
    only. Exactly on the line it is the mark, whatever comes next. [DETAILS 6]
    """
    buffer, required, _ = at(mark)
    if buffer == 0 and not (never and required == 0):
        return [mark]
    points = sorted({*kinks})
    above = [mark, *(p for p in points if p > mark)]
    below = [mark, *reversed([p for p in points if p < mark]), Fraction(0)]
    found = []
    for path, open_end in ((below, False), (above, True)):
        # Past the last kink the line runs on for ever; any point on it gives its slope.
        ends = [*path, path[-1] + 1] if open_end else path
        for start, end in pairwise(ends):
            endless = open_end and end == ends[-1]
            value = _first_on_line(at, start, end, endless, compare, never)
            if value is not None:
                found.append(value)
                break
    return found


def _first_on_line(
    at: At, start: Fraction, end: Fraction, endless: bool, compare: str, never: bool
) -> Fraction | None:
    """Return the edge of the trigger on one straight piece, walking from `start` to `end`.

    A requirement is a line that is never negative, so inside the piece it is 0 everywhere or
    nowhere.
    """
    (here, need_here, _), (there, need_there, _) = at(start), at(end)
    if never and need_here == 0 and need_there == 0:
        return None
    if here < 0 or (here == 0 and (there < 0 or (there == 0 and compare == "le"))):
        return start
    if here == 0 or there >= here:
        return None
    share = here / (here - there)  # of the way from start to end, where the buffer is 0
    if share < 1 or endless:
        return start + share * (end - start)
    # Exactly on the far kink: under `le` the trigger holds there; under `lt` the next piece tells.
    holds_at_end = compare == "le" and end > 0 and not (never and need_there == 0)
    return end if share == 1 and holds_at_end else None
