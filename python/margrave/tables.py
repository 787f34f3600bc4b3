"""The tables of a ruleset, `tiers` and `weights`: as frames, as rows, and what may be in them.

`read` returns a frame with its defaults filled in, `check` refuses wrong values,
`mistakes` says what is wrong with rows: with those of a ruleset file too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from margrave.errors import RulesError, SchemaError
from margrave.frames import check as check_frame
from margrave.frames import pick, shown
from margrave.ids import in_type
from margrave.schema import ALLOWED, FRAMES, Column

__all__ = ["Mistake", "canonical", "check", "mistakes", "read"]

#: The largest size of a number, and by how much a published deduction may be off, relative.
LIMIT = 1e18
TOLERANCE = 1e-9

#: How many mistakes of a table a message names.
LINES_SHOWN = 100

#: A mistake of a table: its row, its column, what is wrong.
Mistake = tuple[int, str, str]


def read(name: str, source: object) -> pl.DataFrame:
    """Return a table in the columns of the schema, defaults filled in.

    Raises:
        SchemaError: A column is missing or mistyped, or a key occurs twice.
    """
    known = check_frame(name, source).known
    columns = {column.name: column for column in known}
    key = FRAMES[name][0].name
    columns[key] = in_type(columns[key], pl.String())
    for column in FRAMES[name]:
        if column.default is not None and column.name not in columns:
            full = pl.Series(column.name, [column.default], dtype=pl.Float64)
            columns[column.name] = full.new_from_index(0, known.height)
    if name == "weights":
        maintenance = columns["maintenance_weight"].alias("initial_weight")
        initial = columns.get("initial_weight", maintenance)
        columns["initial_weight"] = initial.zip_with(initial.is_not_null(), maintenance)
    checked = pl.DataFrame([columns[c.name].rechunk() for c in FRAMES[name] if c.name in columns])
    _require_unique_rows(name, checked)
    return checked


def _require_unique_rows(name: str, table: pl.DataFrame) -> None:
    key = FRAMES[name][0].name
    rows: dict[tuple[object, ...], list[int]] = {}
    for number, row in enumerate(pick(table, (key, "floor")).iter_rows()):
        if None not in row:
            rows.setdefault(row, []).append(number)
    twice = [(row, numbers) for row, numbers in rows.items() if len(numbers) > 1]
    if twice:
        (label, floor), numbers = twice[0]
        raise SchemaError(
            f"{name}.{key}, {name}.floor: {len(twice)} keys occur more than once (first: "
            f"{shown(label)} at {floor}, rows {', '.join(map(str, numbers[:5]))}); keep one row "
            "of each"
        )


def check(tables: Mapping[str, pl.DataFrame]) -> None:
    """Refuse wrong values in tables, all at once.

    Raises:
        RulesError: Values are null or out of range, floors don't rise, a deduction is wrong.
    """
    lines = []
    for name, table in tables.items():
        for column in table.columns:
            rows = () if column == "deduction" else table[column].is_null().arg_true()
            lines += [f"{name}.{column}: null in row {row}; fill it in" for row in rows]
        found = mistakes(name, list(table.iter_rows(named=True)))
        lines += [f"{name}.{column}: row {row}: {text}" for row, column, text in found]
    if len(lines) > LINES_SHOWN:
        lines[LINES_SHOWN:] = [f"and {len(lines) - LINES_SHOWN} more mistakes"]
    if lines:
        raise RulesError("\n".join(lines))


def canonical(table: pl.DataFrame) -> list[list[object]]:
    """Return the rows of a table by name and floor, without deductions; -0 as 0."""
    columns = [column for column in table.columns if column != "deduction"]
    plain = (
        [v if isinstance(v, str) else v + 0.0 for v in row] for row in pick(table, columns).rows()
    )
    return sorted(plain, key=lambda row: row[:2])


def mistakes(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Mistake]:
    """Return what is wrong with the values of `tiers` or `weights`, in order of rows.

    Values that are null or no numbers are passed over: that is told elsewhere. Within a
    table floors start at 0 and rise; a deduction is what floors and rates imply.
    """
    key = FRAMES[name][0].name
    told: list[Mistake] = []
    last: dict[str, float] = {}
    implied: dict[str, _Deduction] = {}
    for number, row in enumerate(rows):
        table = str(row.get(key))
        values = {c.name: _number(c, row.get(c.name)) for c in FRAMES[name] if c.kind == "number"}
        found = [
            (column.name, f"{values[column.name]} is not {ALLOWED[column.allowed]}")
            for column in FRAMES[name]
            if values.get(column.name) is not None and not _holds(column, values[column.name])
        ]
        values |= dict.fromkeys(dict(found))  # nothing follows from a value that is wrong
        floor = values["floor"]
        if floor is not None:
            fault = _floor_mistake(floor, last.get(table))
            found += [("floor", fault)] if fault else []
            last[table] = max(floor, last.get(table, 0.0))
        if name == "tiers":
            deduction = implied.setdefault(table, _Deduction())
            fault = deduction.mistake(floor, values["maintenance_rate"], values["deduction"])
            found += [("deduction", fault)] if fault else []
        told += [(number, column, f"{text} (table {shown(table)})") for column, text in found]
    return told


def _number(column: Column, value: object) -> float | None:
    if value is None:
        value = column.default
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number else None  # type: ignore[return-value]


def _holds(column: Column, value: float | None) -> bool:
    low = {"any": -LIMIT, "positive": 5e-324, "not_negative": 0.0, "rate": 0.0}[column.allowed]
    return value is not None and low <= value <= (1.0 if column.allowed == "rate" else LIMIT)


def _floor_mistake(floor: float, below: float | None) -> str | None:
    if below is None:
        return None if floor == 0 else f"{floor} is the table's first and must be 0"
    return None if floor > below else f"{floor} does not rise above {below}, the one before"


class _Deduction:
    """The deduction that the rows of a table imply, so far as floors and rates are known."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self.value: float | None = 0.0

    def mistake(self, floor: float | None, rate: float | None, given: float | None) -> str | None:
        """Take the next row of the table; return what is wrong with its deduction."""
        before, self.rate = self.rate, rate
        if self.value is None or floor is None or rate is None:
            self.value = None
            return None
        if before is not None:
            self.value += floor * (rate - before)
        if given is None or abs(given - self.value) <= TOLERANCE * max(abs(given), abs(self.value)):
            return None
        return f"{given} is given, but floors and rates imply {self.value}"
