"""How far everyone is from the line: directions, breaches, and the exchange's reverse stress.

A direction says how prices move by a shock `s`: each by `1 + beta * s`. `check_direction`
makes one of what users give; what it does to an account is the core's to find.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import polars as pl

from margrave.errors import DataError, MargraveError, SchemaError
from margrave.frames import read, shown
from margrave.ids import in_type
from margrave.moves import double, factor_map
from margrave.sweep import Sweep

__all__ = [
    "DIRECTIONS",
    "Direction",
    "ReverseStress",
    "about",
    "check_direction",
    "check_target",
]

#: The directions that have a word.
DIRECTIONS = ("down", "up", "adverse")

#: A word, or the beta of each factor.
Direction = str | dict[str, float]


@dataclass(frozen=True)
class ReverseStress:
    """The smallest move at which an exchange reaches an amount.

    Attributes:
        shock: The move `s` along the direction, negative under `down`; None where the amount is
            not reached as far as the direction goes.
        bad_debt: Total bad debt at it, valuation asset; None with `shock`.
        liquidatable_notional: Gross notional of the accounts past the line at it, at its prices.
        liquidatable_accounts: How many these are.
    """

    shock: float | None
    bad_debt: float | None = None
    liquidatable_notional: float | None = None
    liquidatable_accounts: int | None = None


def check_direction(direction: object, known: frozenset[str]) -> Direction:
    """Return a direction as the core takes it.

    Args:
        direction: `"down"`, `"up"` or `"adverse"`; a mapping of factor to beta; a frame with
            the columns `factor` and `beta`, or the path of its file.
        known: The factors that the market has; `*` is one besides.

    Raises:
        MargraveError: A text that is no direction.
        SchemaError: Neither text, mapping nor frame; a column that is missing or mistyped; a
            factor twice.
        DataError: A factor that names nothing in the market, a beta that is no number, no
            factor at all. Messages name `direction.factor` and `direction.beta`.
    """
    if isinstance(direction, str):
        if direction not in DIRECTIONS:
            words = ", ".join(DIRECTIONS)
            raise MargraveError(
                f"direction: {shown(direction)} is none of {words}; or give betas by factor"
            )
        return direction
    betas = direction if isinstance(direction, Mapping) else _of_frame(direction)
    checked = factor_map(betas, known, "direction.factor", "direction.beta", shocks=False)
    if not checked:
        raise DataError("direction.factor: no factor is given; name at least one, or *")
    return checked


def _of_frame(source: object) -> dict[str, float]:
    """Return the betas of a frame, by factor.

    Raises:
        SchemaError: A column is missing or mistyped, or a factor is there twice.
        DataError: A null, or a beta that is no number.
    """
    frame = read("direction", source)
    for name in ("factor", "beta"):
        if name not in frame.columns:
            have = ", ".join(frame.columns[:30]) or "none"
            raise SchemaError(
                f"direction.{name}: this required column is missing\n"
                f"hint: direction has the columns {have}"
            )
    factors, betas = frame["factor"], frame["beta"]
    if isinstance(source, (str, Path)) and betas.dtype == pl.String:  # a CSV's
        betas = _parsed(betas)
    is_text = isinstance(factors.dtype, (pl.String, pl.Enum, pl.Categorical))
    if frame.height and not is_text and not factors.dtype.is_integer():
        raise SchemaError(f"direction.factor: its type is {factors.dtype}, not text or integer")
    if frame.height and not betas.dtype.is_numeric():
        raise SchemaError(f"direction.beta: its type is {betas.dtype}, not a number")
    for column in (factors, betas):
        if column.null_count():
            row = column.is_null().arg_true()[0]
            raise DataError(
                f"direction.{column.name}: {column.null_count()} values are null (first row: "
                f"{row}); fill them in"
            )
    names = in_type(factors, pl.String()).to_list()
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise SchemaError(f"direction.factor: {shown(twice)} occurs more than once; keep one row")
    return dict(zip(names, betas.cast(pl.Float64).to_list(), strict=True))


def _parsed(texts: pl.Series) -> pl.Series:
    numbers = texts.cast(pl.Float64, strict=False)
    bad = (numbers.is_null() & texts.is_not_null()).arg_true()
    if len(bad):
        first = int(bad[0])
        raise SchemaError(
            f"direction.beta: {len(bad)} values are not numbers (first: {shown(texts[first])}, row "
            f"{first}); write them plainly"
        )
    return numbers


def check_target(bad_debt: object, liquidatable_notional: object) -> tuple[bool, float]:
    """Return whether the target is bad debt, and its amount.

    Raises:
        MargraveError: Not just one target is given, or it is no finite number above 0.
    """
    given = {"bad_debt": bad_debt, "liquidatable_notional": liquidatable_notional}
    targets = {name: amount for name, amount in given.items() if amount is not None}
    if len(targets) != 1:
        raise MargraveError("reverse_stress: give one of bad_debt and liquidatable_notional")
    ((name, amount),) = targets.items()
    if (
        not isinstance(amount, Real)
        or isinstance(amount, bool)
        or not 0 < double(amount) < math.inf
    ):
        raise MargraveError(f"{name}: {shown(amount)} is no finite number above 0")
    return name == "bad_debt", double(amount)


def about(
    base: Sweep,
    direction: str | dict[str, float],
    tables: Mapping[str, pl.DataFrame],
    seconds: float,
) -> dict[str, Any]:
    """Return the manifest of a breach: as a sweep's, with the direction and counts by kind.

    `result_digest` is over `breach`, `curve` and the rejects; `seconds` are those that the
    sweep took and these.
    """
    found = tables["breach"]
    kinds = dict(found["breach_kind"].cast(pl.String).value_counts().iter_rows())
    asked = [direction] if isinstance(direction, str) else list(direction)
    betas = None if isinstance(direction, str) else list(direction.values())
    rows = pl.DataFrame({"factor": asked, "beta": betas}, schema_overrides={"beta": pl.Float64})
    counts = {
        "accounts": found.height,
        **{f"{kind}_accounts": kinds.get(kind, 0) for kind in ("breached", "root", "none")},
        "indeterminate_accounts": kinds.get(None, 0),
        **base.counts(),
        "rejects": base.rejects.height,
    }
    results = [*tables.items(), ("rejects", base.rejects)]
    about = base.about([("direction", rows)], results, counts)
    return {**about, "seconds": about["seconds"] + seconds, "direction": direction}
