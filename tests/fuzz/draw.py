"""Where the random choices of a case come from: one generator, named by its seed and number."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, TypeVar

__all__ = ["HOSTILE_NUMBERS", "HOSTILE_TEXTS", "Draw"]

_T = TypeVar("_T")

#: Numbers that arithmetic, printing or comparing may trip over.
HOSTILE_NUMBERS: tuple[float | None, ...] = (
    *(None, math.nan, math.inf, -math.inf, 0.0, -0.0, 1e18, -1e18, 1e17, -1e17, 1.0, -1.0),
    *(math.nextafter(1e18, math.inf), math.nextafter(-1e18, -math.inf), 1e308, -1e308),
    *(5e-324, -5e-324, 2.2e-308, 1e-300, 1e-18, 1e-12, 0.1, 1 / 3, 2**53, 2**53 + 2.0, 2.0**63),
    *(1.0 + 2**-52, 1.0 - 2**-53, 1e-9, 4e9, 123.456, -123.45600000012345),
)

#: Texts that terminals, pages, parsers and keys may trip over.
HOSTILE_TEXTS: tuple[str, ...] = (
    *(
        "",
        " ",
        "\x00",
        "a\x00b",
        "\x1b[2J",
        "[/red]",
        "<script>alert(1)</script>",
        "=1+1",
        "\u202e",
    ),
    *("cross", "cross:USD", "isolated:BTC:2", "*", "null", "nan", "0056", "-0", "1e5", "'; --"),
    *("e\u0301", "\u00e9", "\U0001f4a9", "\ufeff", "\u200b", "\n", "\r\n", "\t", '"', "\\", "a.b"),
    *("x" * 12, "x" * 13, "x" * 300, "9" * 40, "True", "account_id", "\U0010ffff", "\x7f"),
)


class Draw(random.Random):
    """Random choices; the same for the same seed and number, on every machine."""

    def __init__(self, seed: int, number: int) -> None:
        super().__init__(f"{seed}:{number}")

    def chance(self, share: float) -> bool:
        """Return True in this share of all calls."""
        return self.random() < share

    def one(self, values: Sequence[_T]) -> _T:
        """Return one of the values."""
        return values[int(self.random() * len(values))]

    def some(self, values: Sequence[_T], least: int, most: int) -> list[_T]:
        """Return `least` to `most` of the values, each as often as it comes."""
        return [self.one(values) for _ in range(self.upto(least, most))]

    def upto(self, least: int, most: int) -> int:
        """Return an integer from `least` to `most`."""
        return least + int(self.random() * (most - least + 1))

    def number(self) -> float | None:
        """Return any double: a hostile one, one of any size, or null."""
        if self.chance(0.6):
            return self.one(HOSTILE_NUMBERS)
        return math.copysign(math.pow(10.0, self.uniform(-320.0, 308.0)), self.random() - 0.5)

    def text(self) -> str:
        """Return any text, long ones seldom."""
        if self.chance(0.7):
            return self.one(HOSTILE_TEXTS)
        if self.chance(0.02):
            return self.one("ab\u00e9\U0001f600") * self.upto(1, 200_000)
        letters = self.some("abXYZ019._-:/ \u00e9\u4e2d\U0001f600", 0, 20)
        return "".join(letters)

    def junk(self, depth: int = 0) -> Any:
        """Return any value that Python or TOML may hold where another one is expected."""
        kind = self.upto(0, 9 if depth < 3 else 6)
        if kind == 0:
            return None
        if kind == 1:
            return self.number()
        if kind == 2:
            return self.text()
        if kind == 3:
            return self.one([0, 1, -1, 2**63, -(2**63), 2**64, 10**400, 7])
        if kind == 4:
            return self.chance(0.5)
        if kind == 5:
            return self.one([b"bytes", 1j, (), {1}, object(), "\ud800", range(3), float])
        if kind in (6, 7):
            return [self.junk(depth + 1) for _ in range(self.upto(0, 3))]
        return {self.text(): self.junk(depth + 1) for _ in range(self.upto(0, 3))}
