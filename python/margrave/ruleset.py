"""The ruleset file: every key of the contract, its words and its defaults.

One pydantic model a section. `parse` returns the checked content of a file; a key or word
that the contract lacks is refused by name, with all other mistakes of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)

from margrave.errors import RulesError
from margrave.files import is_text
from margrave.frames import shown
from margrave.tables import LIMIT, mistakes

__all__ = ["TABLES", "RulesFile", "beside", "parse", "replaced"]

#: The sections of a ruleset file that hold keys, and its two tables.
SECTIONS = ("buckets", "requirement", "collateral", "trigger")
TABLES = ("tiers", "weights")


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

    pooling: Literal["all", "settle_asset"] = "all"
    netting: Literal["net", "gross", "larger_side"] = "net"
    valuation_asset: str = "USD"


class Requirement(Section):
    """What a position must hold."""

    tier_mode: Literal["marginal", "slab"] = "marginal"
    tier_basis: Literal["notional", "base", "contracts"] = "notional"
    tier_edge: Literal["upper", "lower"] = "upper"
    price_basis: Literal["mark", "entry"] = "mark"
    initial: Literal["tier", "leverage", "larger"] = "tier"
    close_fee: Literal["none", "mark", "bankruptcy"] = "none"
    open_orders: Literal["initial", "both", "none"] = "initial"


class Collateral(Section):
    """What profit counts for."""

    profit_and_loss: Literal["beside", "settle_asset"] = "beside"
    profit_weight: float = Field(default=1.0, ge=0.0, le=1.0)


class Trigger(Section):
    """When an account is past the line."""

    compare: Literal["lt", "le"] = "lt"
    level: float = Field(default=1.0, ge=0.0, le=100.0)
    zero_requirement: Literal["compare", "never"] = "compare"


class Rung(Section):
    """A named rung of the ladder: it holds where the margin level is below."""

    name: str = Field(min_length=1)
    margin_level_below: float = Field(gt=0.0, le=LIMIT)


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
    differs: list[str] = Field(default_factory=list)
    buckets: Buckets = Buckets()
    requirement: Requirement = Requirement()
    collateral: Collateral = Collateral()
    trigger: Trigger = Trigger()
    ladder: list[Rung] = Field(default_factory=list)
    tiers: Tiers = Field(default_factory=list)
    weights: Weights = Field(default_factory=list)

    def sections(self) -> dict[str, dict[str, str | float]]:
        """Return every key of every section, defaults filled in."""
        return {name: getattr(self, name).model_dump() for name in SECTIONS}

    def rungs(self) -> list[tuple[str, float]]:
        """Return the ladder, each rung's name and the margin level below which it holds."""
        return [(rung.name, rung.margin_level_below + 0.0) for rung in self.ladder]

    def conventions(self) -> dict[str, Any]:
        """Return what the engine computes with: `words` by key, numbers, the ladder."""
        keys = {key: value for part in self.sections().values() for key, value in part.items()}
        words = {k: v for k, v in keys.items() if isinstance(v, str) and k != "valuation_asset"}
        numbers = {k: v for k, v in keys.items() if not isinstance(v, str)}
        asset = keys["valuation_asset"]
        return {"valuation_asset": asset, "words": words, **numbers, "ladder": self.rungs()}


#: The section of every key that is in one; no name occurs in two.
SECTION_OF: dict[str, str] = {
    key: section for section, keys in RulesFile().sections().items() for key in keys
}


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
    told = dict(_text_mistakes(given, ()))
    file = None
    try:
        file = RulesFile.model_validate(given)
    except ValidationError as error:
        for one in error.errors():
            told.setdefault(_path(one["loc"]), _message(one))
    for path, text in _ladder_mistakes(given.get("ladder")):
        told.setdefault(path, text)
    for name in TABLES:
        table = given.get(name)
        if isinstance(table, str):
            if fault := _file_mistake(table, folder):
                told.setdefault(name, fault)
        elif isinstance(table, list):
            rows = [row if isinstance(row, dict) else {} for row in table]
            for row, column, text in mistakes(name, rows):
                told.setdefault(f"{name}.{row}.{column}", text)
    if file is None or told:
        count = "1 mistake" if len(told) == 1 else f"{len(told)} mistakes"
        lines = [f"{path}: {text}" for path, text in told.items()]
        raise RulesError("\n".join([f"{origin}: {count}", *lines]))
    return file


def replaced(file: RulesFile, keys: Mapping[str, object]) -> RulesFile:
    """Return `file` with other values of keys, which are named without their section.

    Args:
        file: A checked ruleset file; its tables are left out of what comes back.
        keys: Values by name; one of None is the key's default.

    Raises:
        RulesError: There is no such key, or it cannot have that value; all are named.
    """
    content = file.model_dump(exclude=set(TABLES))
    refused = [f"{name}: {text}" for name in keys if (text := _not_replaced(name))]
    if refused:
        raise RulesError("\n".join(["replace: these are not keys", *refused]))
    for key, value in keys.items():
        place = content[SECTION_OF[key]] if key in SECTION_OF else content
        place[key] = value
    return parse(content, "replace", None)


def _not_replaced(name: str) -> str | None:
    if name in TABLES:
        return f"tables are given to with_tables({name}=...)"
    if name in SECTIONS:
        keys = ", ".join(key for key, section in SECTION_OF.items() if section == name)
        return f"a section; give its keys by name: {keys}"
    known = name in SECTION_OF or name in RulesFile.model_fields
    return None if known else f"no such key{_near((name,))}"


def _near(location: tuple[int | str, ...]) -> str:
    """Return the keys that an unknown one may stand for, as the end of a message."""
    place, name = location[0], str(location[-1])
    rows: dict[str, type[Section]] = {"tiers": TierRow, "weights": WeightRow, "ladder": Rung}
    if str(place) in rows and len(location) > 1:
        paths = {key: key for key in rows[str(place)].model_fields}
    else:
        paths = {key: key for key in RulesFile.model_fields}
        paths |= {key: f"{section}.{key}" for key, section in SECTION_OF.items()}
    word = name.lower()
    found = [paths[key] for key in ([word] if word in paths else get_close_matches(word, paths))]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _ladder_mistakes(rungs: object) -> list[tuple[str, str]]:
    """Return what is wrong between the rungs of a ladder: names twice, levels that don't fall."""
    told: list[tuple[str, str]] = []
    names: set[str] = set()
    last: float | None = None
    for number, rung in enumerate(rungs if isinstance(rungs, list) else []):
        name, below = (
            (rung.get("name"), rung.get("margin_level_below"))
            if isinstance(rung, dict)
            else (None, None)
        )
        if isinstance(name, str):
            if name in names:
                told.append((f"ladder.{number}.name", f"{shown(name)} is an earlier rung's too"))
            names.add(name)
        if isinstance(below, (int, float)) and not isinstance(below, bool):
            if last is not None and not below < last:
                text = f"{shown(below)} does not fall below {shown(last)}, the rung before"
                told.append((f"ladder.{number}.margin_level_below", text))
            last = below
    return told


def _plain(content: Any) -> Any:
    """Return a mapping as TOML would make it: dicts and lists, keys of None left out."""
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items() if value is not None}
    return [_plain(value) for value in content] if isinstance(content, (list, tuple)) else content


def _text_mistakes(content: object, place: tuple[int | str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the path of every text and key that UTF-8 cannot hold, and what is wrong with it."""
    if isinstance(content, str) and not is_text(content):
        yield _path(place), f"{shown(content)} holds half of a surrogate pair; write whole letters"
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _text_mistakes(key, (*place, str(key)))
            yield from _text_mistakes(value, (*place, str(key)))
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _text_mistakes(value, (*place, number))


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


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part not in ("rows", "file")) or "ruleset"


def _message(error: Any) -> str:
    kind, message, given = error["type"], str(error["msg"]), error.get("input")
    if kind == "extra_forbidden":
        return f"no such key{_near(error['loc'])}"
    if kind == "missing":
        return "this key is missing"
    if kind == "literal_error":
        return f"{shown(given)} is none of the words {error['ctx']['expected']}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]} (given: {shown(given)})"
