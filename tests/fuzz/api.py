"""The public API, watched: every call of a case goes through `Api`, and is counted.

What comes out of a call is its answer or an error of the family; it takes its time within reason
and prints nothing.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import margrave as mg
from fuzz.judge import Found, require

__all__ = ["Api", "Counts"]

#: How long a call may take, seconds.
MOST_SECONDS = 10.0

#: What may come out of a call. `InternalError` may not: it is a panic that was caught.
FAMILY = (
    *(mg.SchemaError, mg.DataError, mg.UnknownInstrument, mg.UnknownAsset, mg.RulesError),
    mg.MargraveError,
)

#: Where panics of ours stand, as they are printed.
OURS = ("margrave", "rust/core", "rust/bindings")
_T = TypeVar("_T")


@dataclass
class Counts:
    """How many cases and calls there were, and how they ended."""

    cases: int = 0
    calls: int = 0
    sweeps: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        names = {**self.errors, **other.errors}
        errors = {n: self.errors.get(n, 0) + other.errors.get(n, 0) for n in names}
        cases, calls = self.cases + other.cases, self.calls + other.calls
        return Counts(cases, calls, self.sweeps + other.sweeps, errors)

    def line(self) -> str:
        """Return the counts as a line that `of` reads."""
        errors = (f"{name}={count}" for name, count in self.errors.items())
        return " ".join([str(self.cases), str(self.calls), str(self.sweeps), *errors])

    @classmethod
    def of(cls, line: str) -> Counts:
        """Return the counts of a line."""
        cases, calls, sweeps, *errors = line.split()
        pairs = (error.split("=") for error in errors)
        return cls(int(cases), int(calls), int(sweeps), {name: int(n) for name, n in pairs})

    def __str__(self) -> str:
        errors = ", ".join(f"{count:,} {name}" for name, count in sorted(self.errors.items()))
        return (
            f"{self.calls:,} calls in {self.cases:,} cases, {self.sweeps:,} sweeps judged, "
            f"{errors or 'no errors'}"
        )


class Api:
    """The public API, watched: what comes out of a call is its answer or an error of the family."""

    #: Whether standard error is a file of the watcher's.
    is_watched: ClassVar[bool] = False

    def __init__(self, counts: Counts, talk: Callable[[str], None]) -> None:
        self.counts = counts
        self.talk = talk

    def __enter__(self) -> Api:
        """Catch what is written to standard error, by Python or beneath it.

        In a worker it is a file already, which is left there for the watcher to read.
        """
        sys.stderr.flush()
        self._kept = None
        if self.is_watched:
            os.ftruncate(2, 0)
        else:
            self._kept = os.dup(2)
            with tempfile.TemporaryFile(mode="a+b") as file:
                os.dup2(file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        """Give standard error back."""
        sys.stderr.flush()
        if self._kept is not None:
            os.dup2(self._kept, 2)
            os.close(self._kept)

    def call(self, name: str, make: Callable[[], _T]) -> _T | None:
        """Return what a call answers; None where it is refused.

        Raises:
            Found: Another exception came out, or it took too long, or something was printed.
        """
        answer, _ = self.attempt(name, make)
        return answer

    def attempt(
        self, name: str, make: Callable[[], _T]
    ) -> tuple[_T | None, mg.MargraveError | None]:
        """Return what a call answers, or the error that it raised."""
        self.counts.calls += 1
        answer, refusal = None, None
        printed = os.fstat(2).st_size
        started = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                answer = make()
        except (KeyboardInterrupt, Found):
            raise
        except BaseException as error:
            if not isinstance(error, mg.MargraveError) or type(error) not in FAMILY:
                raise Found(f"{name}: {type(error).__name__}: {str(error)[:2000]}") from error
            refusal = error
            kind = type(error).__name__
            self.counts.errors[kind] = self.counts.errors.get(kind, 0) + 1
            require(bool(str(error).strip()), f"{name}: {kind} without a message")
        took = time.monotonic() - started
        require(took <= MOST_SECONDS, f"{name}: it took {took:.1f} s")
        self._silent(name, printed, refusal)
        self.talk(f"{name}: {'answered' if refusal is None else repr(refusal)[:300]}")
        return answer, refusal

    def _silent(self, name: str, printed: int, refusal: mg.MargraveError | None) -> None:
        """Nothing is printed, but for panics of Polars and of arrow, which became errors."""
        length = os.fstat(2).st_size - printed
        if not length:
            return
        text = os.pread(2, length, printed).decode("utf-8", "replace")
        panics = [line for line in text.splitlines() if "panicked at" in line]
        theirs = panics and not any(word in line for line in panics for word in OURS)
        if theirs and isinstance(refusal, mg.SchemaError):
            key = "panics-of-others"
            self.counts.errors[key] = self.counts.errors.get(key, 0) + len(panics)
            self.talk(text)
            return
        raise Found(f"{name}: printed to standard error: {text[:2000]}")
