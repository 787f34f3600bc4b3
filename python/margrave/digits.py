"""Digits that a number loses when it becomes a double.

`lost` counts them in one column. A value keeps its digits if the double nearest to it is the
value itself, or prints as it: 0.1 is no double, but the double nearest to it prints as 0.1,
so nothing is lost. 9007199254740993 becomes ...992, so something is.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import polars as pl

__all__ = ["lost"]

#: Integers up to this size are doubles, all of them.
WHOLE = 2**53

#: Decimals of so many digits come back from the nearest double, all of them.
SAFE_DIGITS = 15


def lost(column: pl.Series) -> int:
    """Return how many values of a column of numbers, or of their texts, lose digits as f64.

    An integer loses digits if it is no double. A Decimal does if the nearest double, printed
    in the fewest digits that tell it apart from other doubles, is another Decimal of its
    scale (and it is no whole number that is a double). The texts of a CSV are held to the
    same. Floats lose none, and cost nothing here.

    Example:
        The first integer that is no double is 2**53 + 1; 0.1 comes back as 0.1.

        >>> lost(pl.Series([2**53, 2**53 + 1, 2**60]))
        1
        >>> lost(pl.Series(["0.1", "0.1000000000000000000001", "9007199254740993"]))
        2
    """
    dtype = column.dtype
    if dtype.is_integer():
        return _lost_integers(column)
    if isinstance(dtype, pl.Decimal):
        return _lost_decimals(column)
    return _lost_texts(column) if dtype == pl.String else 0


def _lost_integers(column: pl.Series) -> int:
    if column.dtype in (pl.Int8, pl.UInt8, pl.Int16, pl.UInt16, pl.Int32, pl.UInt32):
        return 0
    if _within(column, WHOLE):
        return 0
    back = column.cast(pl.Float64).cast(column.dtype, strict=False)  # null where too large
    return int(back.ne_missing(column).sum())


def _lost_decimals(column: pl.Series) -> int:
    units = column.to_physical()  # the value times 10**scale
    if _within(units, 10**SAFE_DIGITS):
        return 0
    is_long = (units > 10**SAFE_DIGITS) | (units < -(10**SAFE_DIGITS))
    column, units = column.filter(is_long), units.filter(is_long)
    assert isinstance(column.dtype, pl.Decimal)
    scale = column.dtype.scale
    values = column.cast(pl.Float64)
    printed = values.cast(pl.String).cast(pl.Decimal(38, scale), strict=False).to_physical()
    whole = values.cast(pl.Int128, strict=False) * pl.Series([10**scale], dtype=pl.Int128)
    return int((printed.ne_missing(units) & whole.ne_missing(units)).sum())


def _lost_texts(column: pl.Series) -> int:
    texts = column.filter(column.str.len_bytes() > SAFE_DIGITS)
    if texts.is_empty():
        return 0
    values = texts.cast(pl.Float64, strict=False)
    printed = values.cast(pl.String)
    same = texts.str.strip_chars_end("0") == printed.str.strip_chars_end("0")
    rest = (~same & values.is_finite()).arg_true()
    pairs = zip(texts.gather(rest), values.gather(rest), strict=True)
    return sum(_differs(text, value) for text, value in pairs)


def _differs(text: str, value: float) -> bool:
    try:
        return Decimal(text) not in (Decimal(value), Decimal(repr(value)))
    except InvalidOperation:  # an exponent beyond all reason
        return True


def _within(column: pl.Series, size: int) -> bool:
    """Whether no value is beyond `size` in either direction."""
    least, most = column.min(), column.max()
    return not isinstance(least, int) or (least >= -size and isinstance(most, int) and most <= size)
