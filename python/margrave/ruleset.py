"""The ruleset file: every key of the contract, its words and its defaults.

One pydantic model a section. A key or word that the contract has and this version has not
is refused by name: it is never accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)
from pydantic.functional_validators import field_validator

from margrave.errors import RulesError
from margrave.frames import shown
from margrave.schema import ALLOWED, FRAMES, Column

__all__ = ["RulesFile", "beside", "parse", "table_mistakes"]

#: The largest size of a number, and by how much a published deduction may be off, relative.
LIMIT = 1e18
TOLERANCE = 1e-9


def _only(*available: str) -> AfterValidator:
    """Admit words that this version computes; refuse the contract's others by name."""

    def check(word: str) -> str:
        if word not in available:
            raise ValueError(f"{word!r} is not available yet; this version has {_or(available)}")
        return word

    return AfterValidator(check)


def _or(words: tuple[str, ...]) -> str:
    return " or ".join(repr(word) for word in words)


def _name(value: object) -> object:
    """Take a table name written as an integer for its text."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_integer else value


def _date(value: object) -> object:
    if not isinstance(value, (date, str)):
        raise ValueError(f"a date or its text is wanted (given: {shown(value)})")
    return value


def _rows_or_file(value: object) -> str:
    return "file" if isinstance(value, str) else "rows"


class Section(BaseModel):
    """A part of a ruleset file: unknown keys and wrong types are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Buckets(Section):
    """What stands or falls together."""

    pooling: Annotated[Literal["all", "settle_asset"], _only("all")] = "all"
    netting: Annotated[Literal["net", "gross", "larger_side"], _only("net")] = "net"
    valuation_asset: str = "USD"


class Requirement(Section):
    """What a position must hold."""

    tier_mode: Annotated[Literal["marginal", "slab"], _only("marginal")] = "marginal"
    tier_basis: Annotated[Literal["notional", "base", "contracts"], _only("notional")] = "notional"
    tier_edge: Annotated[Literal["upper", "lower"], _only("upper")] = "upper"
    price_basis: Annotated[Literal["mark", "entry"], _only("mark")] = "mark"
    initial: Literal["tier", "leverage", "larger"] = "tier"
    close_fee: Annotated[Literal["none", "mark", "bankruptcy"], _only("none")] = "none"
    open_orders: Annotated[Literal["initial", "both", "none"], _only("initial")] = "initial"


class Collateral(Section):
    """What profit counts for."""

    profit_and_loss: Annotated[Literal["beside", "settle_asset"], _only("beside")] = "beside"
    profit_weight: float = Field(default=1.0, ge=0.0, le=1.0)


class Trigger(Section):
    """When an account is past the line."""

    compare: Literal["lt", "le"] = "lt"
    level: float = Field(default=1.0, ge=0.0, le=100.0)
    zero_requirement: Literal["compare", "never"] = "compare"


class TierRow(Section):
    """A row of `tiers`; ranges are the engine's to check."""

    tier_table: Annotated[str, BeforeValidator(_name)]
    floor: float
    maintenance_rate: float
    initial_rate: float
    deduction: float | None = None


class WeightRow(Section):
    """A row of `weights`; ranges are the engine's to check."""

    weight_table: Annotated[str, BeforeValidator(_name)]
    floor: float = 0.0
    maintenance_weight: float
    initial_weight: float | None = None
    liability_weight: float = 1.0
    borrow_maintenance_rate: float = 0.0
    borrow_initial_rate: float = 0.0


IsFile = Annotated[str, Tag("file")]
Tiers = Annotated[Annotated[list[TierRow], Tag("rows")] | IsFile, Discriminator(_rows_or_file)]
Weights = Annotated[Annotated[list[WeightRow], Tag("rows")] | IsFile, Discriminator(_rows_or_file)]


class RulesFile(Section):
    """A whole ruleset file. Tables are rows, or the name of a file beside it."""

    id: str = Field(default="custom", min_length=1)
    title: str | None = None
    as_of: Annotated[Any, BeforeValidator(_date)] = None
    source: str | None = None
    buckets: Buckets = Buckets()
    requirement: Requirement = Requirement()
    collateral: Collateral = Collateral()
    trigger: Trigger = Trigger()
    ladder: list[Any] = Field(default_factory=list)
    tiers: Tiers = Field(default_factory=list)
    weights: Weights = Field(default_factory=list)

    @field_validator("ladder")
    @classmethod
    def _no_ladder(cls, rungs: list[Any]) -> list[Any]:
        if rungs:
            raise ValueError("ladders are not available yet")
        return rungs

    def conventions(self) -> dict[str, str | float]:
        """Return the keys that the engine computes with, by name."""
        return {
            "initial": self.requirement.initial,
            "profit_weight": self.collateral.profit_weight,
            "compare": self.trigger.compare,
            "level": self.trigger.level,
            "zero_requirement": self.trigger.zero_requirement,
        }

    def sections(self) -> dict[str, dict[str, str | float]]:
        """Return every key of every section, defaults filled in."""
        names = ("buckets", "requirement", "collateral", "trigger")
        return {name: getattr(self, name).model_dump() for name in names}


def parse(content: Mapping[str, object], origin: str, folder: Path | None) -> RulesFile:
    """Return the checked content of a ruleset file.

    Args:
        content: The file as TOML reads it; a key of None counts as left out.
        origin: What to call it in messages.
        folder: Where the file stands, and the tables that it names; None where it is no file.

    Raises:
        RulesError: With every mistake, each after its path (`trigger.level`).
    """
    given = _plain(content)
    mistakes: dict[str, str] = {}
    file = None
    try:
        file = RulesFile.model_validate(given)
    except ValidationError as error:
        for one in error.errors():
            mistakes.setdefault(_path(one["loc"]), _message(one))
    for name in ("tiers", "weights"):
        table = given.get(name)
        if isinstance(table, str):
            fault = _file_mistake(table, folder)
            mistakes.update({name: fault} if fault else {})
        elif isinstance(table, list):
            rows = [row if isinstance(row, dict) else {} for row in table]
            for row, column, text in table_mistakes(name, rows):
                mistakes.setdefault(f"{name}.{row}.{column}", text)
    if file is None or mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        lines = [f"{path}: {text}" for path, text in mistakes.items()]
        raise RulesError("\n".join([f"{origin}: {count}", *lines]))
    return file


def _plain(content: Any) -> Any:
    """Return a mapping as TOML would make it: dicts and lists, keys of None left out."""
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items() if value is not None}
    return [_plain(value) for value in content] if isinstance(content, (list, tuple)) else content


def beside(file: str, folder: Path) -> Path:
    """Return the path of a file that a ruleset names, in the ruleset's folder."""
    return (folder.resolve() / file).resolve()


def _file_mistake(file: str, folder: Path | None) -> str | None:
    if folder is None:
        return f"{shown(file)} names a file, but the ruleset is in none"
    try:
        table = beside(file, folder)
        if not table.is_relative_to(folder.resolve()):
            return f"{shown(file)} leaves the ruleset's folder; keep the table beside it"
        return None if table.is_file() else f"{shown(str(table))} is no file"
    except (OSError, ValueError) as error:
        return f"{shown(file)} is no name of a file: {getattr(error, 'strerror', error)}"


#: A mistake of a table: its row, its column, what is wrong.
Mistake = tuple[int, str, str]


def table_mistakes(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Mistake]:
    """Return what is wrong with the values of `tiers` or `weights`, in order of rows.

    Values that are null or no numbers are passed over: that is told elsewhere. Within a
    table floors start at 0 and rise; a deduction is what floors and rates imply.
    """
    key = FRAMES[name][0].name
    mistakes: list[Mistake] = []
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
        mistakes += [(number, column, f"{text} (table {shown(table)})") for column, text in found]
    return mistakes


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


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part not in ("rows", "file")) or "ruleset"


def _message(error: Any) -> str:
    kind, message, given = error["type"], str(error["msg"]), error.get("input")
    if kind == "extra_forbidden":
        return "no such key"
    if kind == "missing":
        return "this key is missing"
    if kind == "literal_error":
        return f"{shown(given)} is none of the words {error['ctx']['expected']}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]} (given: {shown(given)})"
