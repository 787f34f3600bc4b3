"""Moves: factors with a number each, checked against what a market has.

`check_scenarios` reads a frame of scenarios, `factor_map` one mapping. Which price a factor
moves is the core's to say; here it must name something, and its number must be one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real

import polars as pl

from margrave.errors import DataError, SchemaError
from margrave.faults import null_rejects, raise_faults
from margrave.frames import check, shown
from margrave.ids import id_column, in_type, type_of_all
from margrave.schema import ALLOWED

__all__ = ["EVERYTHING", "LARGEST", "Scenarios", "check_scenarios", "double", "factor_map"]

#: The factor that moves whatever nothing else moves.
EVERYTHING = "*"

LARGEST = 1e18
ROWS_SHOWN = 5


@dataclass(frozen=True)
class Scenarios:
    """Checked scenarios in order of first appearance.

    Attributes:
        ids: Their ids, in the type that they came in.
        moves: Of each, the relative move of every factor that it names.
        frame: scenario_id as text, factor, price_shock: what was checked, row by row.
    """

    ids: pl.Series
    moves: list[dict[str, float]]
    frame: pl.DataFrame

    def named(self) -> list[tuple[str, dict[str, float]]]:
        """Return each scenario's id as text, with its moves."""
        names = in_type(self.ids, pl.String()).to_list()
        return list(zip(names, self.moves, strict=True))


def check_scenarios(source: object, known: Collection[str]) -> Scenarios:
    """Return the scenarios of a frame; `known` are the factors that the market has.

    Raises:
        SchemaError: A column is missing or mistyped; a scenario has a factor twice.
        DataError: A null; a move of -1 or below, beyond 1e18 or no number; a factor that names
            nothing in the market; a `vol_shock`.
    """
    frame = check("scenarios", source)
    ids = id_column(frame, "scenario_id")
    factors = _texts(frame.known, "factor", frame.raw.height)
    for column in (ids.values.alias("scenario_id"), factors):
        raise_faults(null_rejects("scenarios", column), may_quarantine=False)
    shocks = frame.known["price_shock"]
    _require_shocks(shocks)
    if "vol_shock" in frame.known.columns:
        _require_no_vol(frame.known["vol_shock"])
    _require_known(factors, known, "scenarios.factor")
    names = in_type(ids.values, pl.String())
    rows = pl.DataFrame([names.alias("scenario_id"), factors, shocks])
    by_scenario = rows.with_row_index("row").group_by("scenario_id", maintain_order=True)
    grouped = by_scenario.agg(pl.col("row").first(), "factor", "price_shock")
    listed = zip(grouped["factor"].to_list(), grouped["price_shock"].to_list(), strict=True)
    moves = [dict(zip(factors, shocks, strict=True)) for factors, shocks in listed]
    if sum(len(factors) for factors in moves) < rows.height:
        raise _repeated(rows)
    kept = in_type(ids.values.gather(grouped["row"]), type_of_all([ids])).alias("scenario_id")
    return Scenarios(kept, moves, rows)


def _repeated(rows: pl.DataFrame) -> SchemaError:
    """Return what is said of the first row whose factor its scenario has already."""
    is_first = rows.select(pl.struct("scenario_id", "factor").is_first_distinct()).to_series()
    row = int(is_first.not_().arg_max() or 0)
    name, factor, _ = rows.row(row)
    return SchemaError(
        f"scenarios.factor: scenario {shown(name)} has {shown(factor)} more than once "
        f"(again in row {row}); keep one row of each"
    )


def factor_map(
    factors: object, known: Collection[str], names: str, numbers: str, *, shocks: bool = True
) -> dict[str, float]:
    """Return the factors of a mapping as texts, each with its number.

    Args:
        factors: Factor (text or integer) to number.
        known: The factors that the market has; `*` is one besides.
        names: What messages call a factor (`scenarios.factor`).
        numbers: What they call its number.
        shocks: Whether the numbers are relative moves, which lie above -1.

    Raises:
        SchemaError: It is no mapping; a factor is no text or integer, or is there twice; a
            number is of another type.
        DataError: A factor names nothing in the market; a number is out of range.
    """
    if not isinstance(factors, Mapping):
        raise SchemaError(f"{names}: {type(factors).__name__} is no mapping of factor to number")
    checked: dict[str, float] = {}
    for key, value in factors.items():
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise SchemaError(f"{names}: {shown(key)} is no text and no integer")
        if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
            raise SchemaError(f"{numbers}: {shown(value)} of factor {shown(key)} is no number")
        name, number = str(key), double(value)
        if name in checked:
            raise SchemaError(f"{names}: {shown(name)} occurs more than once; keep one of each")
        if not abs(number) <= LARGEST or (shocks and number <= -1):
            allowed = ALLOWED["shock" if shocks else "any"]
            raise DataError(
                f"{numbers}: {shown(value)} of factor {shown(key)} is out of range; allowed is "
                f"{allowed}"
            )
        checked[name] = number
    _require_known(pl.Series("factor", list(checked), pl.String), known, names)
    return checked


def double(value: Real | Decimal) -> float:
    """Return a number as a double; infinity where it is beyond all of them."""
    try:
        return float(value)
    except OverflowError:  # an integer beyond all doubles
        return math.inf


def _texts(known: pl.DataFrame, name: str, rows: int) -> pl.Series:
    """Return a column of names as texts; nulls where the frame says nothing."""
    if name not in known.columns:
        return pl.Series(name, [None], pl.String).new_from_index(0, rows)
    return in_type(known[name], pl.String())


def _require_shocks(shocks: pl.Series) -> None:
    """Refuse moves that leave no price.

    Raises:
        DataError: Naming the first rows.
    """
    raise_faults(null_rejects("scenarios", shocks), may_quarantine=False)
    good = (shocks > -1) & (shocks <= LARGEST) & shocks.is_not_nan()
    _refuse(shocks, ~good, "out of range", ALLOWED["shock"])


def _require_no_vol(shocks: pl.Series) -> None:
    """Refuse moves of volatility.

    Raises:
        DataError: Naming the first rows.
    """
    moved = shocks.is_not_null() & (shocks != 0)
    _refuse(shocks, moved, "no null and no 0", "null or 0, for options are not repriced yet")


def _refuse(values: pl.Series, bad: pl.Series, what: str, allowed: str) -> None:
    rows = bad.arg_true()
    if len(rows):
        first = ", ".join(str(row) for row in rows[:ROWS_SHOWN])
        given = ", ".join(str(values[int(row)]) for row in rows[:ROWS_SHOWN])
        raise DataError(
            f"scenarios.{values.name}: {len(rows)} values are {what} (first rows: {first}; values "
            f"{given}); allowed is {allowed}"
        )


def _require_known(factors: pl.Series, known: Collection[str], names: str) -> None:
    """Refuse factors that name nothing in the market.

    Raises:
        DataError: Naming them, with the names that they may have been meant to be.
    """
    unknown = [f for f in factors.unique(maintain_order=True) if f != EVERYTHING and f not in known]
    if not unknown:
        return
    lines = []
    for factor in unknown[:ROWS_SHOWN]:
        near = difflib.get_close_matches(factor, sorted(known), n=3, cutoff=0.6)
        near += [name for name in sorted(known) if name.lower() == factor.lower()]
        meant = " or ".join(shown(name) for name in dict.fromkeys(near))
        hint = f"; did you mean {meant}?" if near else ""
        lines.append(f"{names}: {shown(factor)} is no instrument, asset or base asset{hint}")
    if len(unknown) > ROWS_SHOWN:
        lines.append(f"and {len(unknown) - ROWS_SHOWN} more")
    lines.append("hint: name what the market has, or * for everything")
    raise DataError("\n".join(lines))
