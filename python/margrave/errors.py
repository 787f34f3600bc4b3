"""The exceptions of Margrave: one base, one class per kind of fault.

Every one is a `MargraveError`, and that is a `ValueError`. A message names the frame
and the column (`positions.quantity`), says what is allowed and what to do.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "InternalError",
    "MargraveError",
    "RulesError",
    "SchemaError",
    "UnknownAsset",
    "UnknownInstrument",
]


class MargraveError(ValueError):
    """Whatever Margrave refuses; also raised as it is for a wrong argument.

    A message can always be written: what UTF-8 cannot hold, half of a surrogate pair, is
    escaped in it (`\\ud800`).
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*(_writable(part) if isinstance(part, str) else part for part in parts))


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class SchemaError(MargraveError):
    """The structure of a frame is wrong: a column, a type, a word, a duplicate key."""


class DataError(MargraveError):
    """Values in rows are null, not finite or out of range."""


class UnknownInstrument(MargraveError):
    """A position is in an instrument that the instruments frame or the market lacks."""


class UnknownAsset(MargraveError):
    """A balance, or what a position settles in, is an asset that the market lacks."""


class RulesError(MargraveError):
    """A ruleset cannot be read, contradicts itself, or lacks a table that is needed."""


class InternalError(MargraveError):
    """A bug in Margrave. Please report it with the message."""
