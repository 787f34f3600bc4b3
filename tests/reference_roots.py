"""The oracle's roots: where a polynomial with exact coefficients is 0, none missed.

A polynomial is the list of its coefficients, the constant first, as fractions. `through` makes one
of points on it, `roots` brackets every root between two ends: Sturm's theorem counts them, halving
parts them. A root of a line is exact; any other bracket is narrower than 2**-64 of its ends, or is
the root itself where halving meets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm

Polynomial = list[Fraction]
#: A root lies between the two, or is both.
Bracket = tuple[Fraction, Fraction]

ZERO = Fraction(0)
NARROW = Fraction(1, 2**64)


def through(points: Sequence[tuple[Fraction, Fraction]]) -> Polynomial:
    """Return the polynomial of least degree through the points, by Newton's differences."""
    places = [place for place, _ in points]
    steps = [value for _, value in points]
    for order in range(1, len(points)):
        for k in range(len(points) - 1, order - 1, -1):
            steps[k] = (steps[k] - steps[k - 1]) / (places[k] - places[k - order])
    out: Polynomial = []
    for place, step in zip(reversed(places), reversed(steps), strict=True):
        out = _sum(_product(out, [-place, Fraction(1)]), [step])
    return _trimmed(out)


def value_at(polynomial: Polynomial, place: Fraction) -> Fraction:
    """Return the value of the polynomial at a place."""
    total = ZERO
    for coefficient in reversed(polynomial):
        total = total * place + coefficient
    return total


def roots(polynomial: Polynomial, low: Fraction, high: Fraction) -> list[Bracket]:
    """Return a bracket for each root above `low` >= 0 and below `high`, in order.

    A root of any order is one root; a polynomial that is 0 everywhere has none.
    """
    simple = _square_free(_trimmed(polynomial))
    for end in (low, high):
        simple = _without(simple, end)
    if len(simple) == 2:
        root = -simple[0] / simple[1]
        return [(root, root)] if low < root < high else []
    found: list[Bracket] = []
    chain = _chain(simple)
    open_ends = [(low, high)]
    while open_ends:
        start, end = open_ends.pop()
        count = _changes(chain, start) - _changes(chain, end)
        middle = (start + end) / 2
        if count > 0 and value_at(simple, middle) == 0:
            found.append((middle, middle))
            simple = _without(simple, middle)
            chain = _chain(simple)
            count -= 1
        if count == 1 and start > 0:
            found.append(_narrowed(simple, start, end))
        elif count > 0:
            open_ends += [(start, middle), (middle, end)]
    return sorted(found)


def _narrowed(simple: Polynomial, start: Fraction, end: Fraction) -> Bracket:
    """Return a narrow bracket of the one root between the two, both above 0."""
    left = value_at(simple, start) > 0
    while end - start > NARROW * start:
        middle = (start + end) / 2
        value = value_at(simple, middle)
        if value == 0:
            return middle, middle
        if (value > 0) == left:
            start = middle
        else:
            end = middle
    return start, end


def _changes(chain: Sequence[Polynomial], place: Fraction) -> int:
    """Return how often the sign changes along the chain; a 0 has no sign."""
    signs = [value > 0 for p in chain if (value := value_at(p, place)) != 0]
    return sum(one != other for one, other in pairwise(signs))


def _chain(simple: Polynomial) -> list[Polynomial]:
    """Return Sturm's chain: what changes of sign it has at two places, their difference is roots.

    It counts those above the lower place, the higher place itself included.
    """
    chain = [_scaled(simple), _scaled(_derivative(simple))]
    while chain[-1]:
        chain.append(_scaled([-c for c in _remainder(chain[-2], chain[-1])]))
    return chain[:-1]


def _square_free(polynomial: Polynomial) -> Polynomial:
    """Return a polynomial with the same roots, each of them once."""
    one, other = polynomial, _derivative(polynomial)
    while other:
        one, other = other, _scaled(_remainder(one, other))
    return _scaled(_quotient(polynomial, one)) if len(one) > 1 else _scaled(polynomial)


def _without(simple: Polynomial, root: Fraction) -> Polynomial:
    """Return the polynomial without that root, if it is one."""
    if len(simple) < 2 or value_at(simple, root) != 0:
        return simple
    return _scaled(_quotient(simple, [-root, Fraction(1)]))


def _scaled(polynomial: Polynomial) -> Polynomial:
    """Return it times a number above 0, the coefficients small integers."""
    if not polynomial:
        return []
    below = lcm(*(c.denominator for c in polynomial))
    whole = [c.numerator * (below // c.denominator) for c in polynomial]
    common = gcd(*whole)
    return [Fraction(c // common) for c in whole]


def _trimmed(polynomial: Sequence[Fraction]) -> Polynomial:
    out = list(polynomial)
    while out and out[-1] == 0:
        out.pop()
    return out


def _sum(one: Polynomial, other: Polynomial) -> Polynomial:
    size = max(len(one), len(other))
    pairs = ([*p, *[ZERO] * (size - len(p))] for p in (one, other))
    return _trimmed([a + b for a, b in zip(*pairs, strict=True)])


def _product(one: Polynomial, other: Polynomial) -> Polynomial:
    out = [ZERO] * (len(one) + len(other))
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            out[i + j] += a * b
    return _trimmed(out)


def _derivative(polynomial: Polynomial) -> Polynomial:
    return _trimmed([c * power for power, c in enumerate(polynomial)][1:])


def _divided(one: Polynomial, by: Polynomial) -> tuple[Polynomial, Polynomial]:
    """Return quotient and remainder."""
    left, out = list(one), [ZERO] * max(0, len(one) - len(by) + 1)
    for shift in range(len(one) - len(by), -1, -1):
        factor = left[shift + len(by) - 1] / by[-1]
        out[shift] = factor
        for k, coefficient in enumerate(by):
            left[shift + k] -= factor * coefficient
    return _trimmed(out), _trimmed(left)


def _quotient(one: Polynomial, by: Polynomial) -> Polynomial:
    return _divided(one, by)[0]


def _remainder(one: Polynomial, by: Polynomial) -> Polynomial:
    return _divided(one, by)[1]
