"""The ruleset file: every key of the contract, its words and its defaults.

One pydantic model a section. A key or word that the contract has and this version has not
is refused by name: it is never accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.functional_validators import field_validator

from margrave.errors import RulesError

__all__ = ["RulesFile", "parse"]


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
    profit_weight: float = Field(1.0, ge=0.0, le=1.0)


class Trigger(Section):
    """When an account is past the line."""

    compare: Literal["lt", "le"] = "lt"
    level: float = Field(1.0, ge=0.0, le=100.0)
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


class RulesFile(Section):
    """A whole ruleset file. Tables are rows, or the name of a file beside it."""

    id: str = Field("custom", min_length=1)
    title: str | None = None
    as_of: date | str | None = None
    source: str | None = None
    buckets: Buckets = Buckets()
    requirement: Requirement = Requirement()
    collateral: Collateral = Collateral()
    trigger: Trigger = Trigger()
    ladder: list[Any] = Field(default_factory=list)
    tiers: list[TierRow] | str | None = None
    weights: list[WeightRow] | str | None = None

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


def parse(content: Mapping[str, object], origin: str) -> RulesFile:
    """Return the checked content of a ruleset file.

    Args:
        content: The file as TOML reads it.
        origin: What to call it in messages.

    Raises:
        RulesError: With every mistake, each after its path (`trigger.level`).
    """
    try:
        return RulesFile.model_validate(dict(content))
    except ValidationError as error:
        lines = [f"{_path(e['loc'])}: {_message(e)}" for e in error.errors()]
        raise RulesError("\n".join([f"{origin}: {len(lines)} mistakes", *lines])) from None


#: Names that pydantic puts into paths for the alternatives of a union.
ALTERNATIVES = ("list[TierRow]", "list[WeightRow]", "str", "float", "date")


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part not in ALTERNATIVES) or "ruleset"


def _message(error: Any) -> str:
    kind, message, given = error["type"], str(error["msg"]), error.get("input")
    if kind == "extra_forbidden":
        return "no such key"
    if kind == "missing":
        return "this key is missing"
    if kind == "literal_error":
        return f"{given!r} is none of the words {error['ctx']['expected']}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]} (given: {given!r})"


