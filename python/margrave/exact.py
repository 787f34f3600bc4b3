"""Exact sums of the core in Python: integers, in units of the smallest double.

What shards of an exchange sum to adds up here without rounding, so that a total does not
depend on how the exchange was cut.
"""

from __future__ import annotations

import math

__all__ = ["rounded", "units"]

#: Units in 1.
_ONE = 1 << 1074


def units(data: bytes) -> int:
    """Return an exact sum as the core hands it over: signed, lowest byte first."""
    return int.from_bytes(data, "little", signed=True)


def rounded(sum_: int) -> float:
    """Return the double nearest to an exact sum, ties to even; infinity beyond all doubles.

    Example:
        >>> rounded(3 << 1073)
        1.5
    """
    try:
        return sum_ / _ONE  # Python rounds the quotient of two integers once
    except OverflowError:
        return math.inf if sum_ > 0 else -math.inf
