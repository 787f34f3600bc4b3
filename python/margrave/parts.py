"""Parts of an exchange: what is kept of each once its tables are written, and their sum.

A `Part` is the small exact summary of a shard. Counts add up, sums of money add up without
rounding (`exact`), rejects count on through the shards: `Whole` is, to the last bit, what a
sweep of all shards at once says, whatever the number of shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from margrave import engine
from margrave.exact import rounded
from margrave.faults import TYPES
from margrave.schema import STATUS
from margrave.sweep import Sweep, plain, shown_control

__all__ = ["Part", "Whole"]

_FRAMES = ("positions", "balances", "accounts")
_SUMS = ("in", "used", "set_aside")

#: What manifests count, of a sweep, a stress and a breach.
_COUNTED = (
    *("accounts", "buckets", "breached_accounts", "root_accounts", "none_accounts"),
    *("indeterminate_accounts", "positions", "balances", "rejects"),
)


@dataclass(frozen=True)
class Part:
    """What a sweep of some accounts adds to the figures of the exchange.

    Attributes:
        counts: Accounts, buckets and rows of input, as its manifest counts them.
        listed: Rows of the accounts frame.
        by_status: Accounts by status.
        liquidatable: Accounts past the line.
        sums: Exact sums behind its totals, see `engine.exact_totals`.
        notional: Gross notional by status, for people to read.
        control: Control totals, their sums exact.
        set_aside: As `Sweep.accounting` has it.
        inexact: Numbers that lost digits, by frame and column.
        digests: Digests of its tables, by name.
        input_digest: The digest of its input.
        seconds: What it took.
        rejects: Its bad values, rows counted from its own first one.
        more: What a stress or a breach adds up besides.
    """

    counts: dict[str, int]
    listed: int
    by_status: list[int]
    liquidatable: int
    sums: list[int]
    notional: dict[str, float]
    control: dict[str, Any]
    set_aside: dict[str, Any]
    inexact: dict[str, int]
    digests: dict[str, str]
    input_digest: str
    seconds: float
    rejects: list[tuple[Any, ...]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        swept: Sweep,
        facts: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Part:
        """Return the summary of a sweep, whose tables are digested for it.

        Args:
            swept: The sweep of the market as given.
            facts: The manifest of what was made of it; its own by default.
            more: What is to be kept besides.
        """
        facts = swept.manifest if facts is None else facts
        by_status, liquidatable, sums = swept.exact_totals()
        notional = dict.fromkeys(STATUS, 0.0) | dict(
            swept.accounts.group_by(pl.col("status").cast(pl.String))
            .agg(pl.col("gross_notional").sum())
            .iter_rows()
        )
        return cls(
            counts={name: facts[name] for name in _COUNTED if name in facts},
            listed=swept.listed(),
            by_status=by_status,
            liquidatable=liquidatable,
            sums=sums,
            notional=notional,
            control=swept.control,
            set_aside=facts["set_aside"],
            inexact=facts["inexact_numbers"],
            digests=facts["results"],
            input_digest=facts["input_digest"],
            seconds=facts["seconds"],
            rejects=swept.rejects.rows(),
            more=dict(more or {}),
        )

    def text(self) -> str:
        """Return it as JSON, which `read` takes."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Part:
        """Return what `text` made a text of.

        Raises:
            ValueError: It did not.
        """
        facts = json.loads(text)
        try:
            return cls(**facts | {"rejects": [tuple(row) for row in facts["rejects"]]})
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error


class Whole:
    """All parts of an exchange together: what a `Sweep` says, but for its large tables."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Take the parts, in the order of their shards; there is at least one."""
        self.parts = parts

    @cached_property
    def totals(self) -> pl.DataFrame:
        """One row: accounts by status, and exactly rounded sums of money."""
        by_status = [sum(of) for of in zip(*(p.by_status for p in self.parts), strict=True)]
        sums = [rounded(sum(of)) for of in zip(*(p.sums for p in self.parts), strict=True)]
        return engine.totals_of(by_status, sum(p.liquidatable for p in self.parts), sums)

    @cached_property
    def rejects(self) -> pl.DataFrame:
        """One row per bad value: rows count on through the files of a frame."""
        begin = dict.fromkeys(_FRAMES, 0)
        rows = []
        for part in self.parts:
            rows += [(frame, row + begin[frame], *rest) for frame, row, *rest in part.rejects]
            begin["accounts"] += part.listed
            for frame in ("positions", "balances"):
                begin[frame] += part.counts[frame]
        rows.sort(key=lambda row: row[:3])
        return pl.DataFrame(rows, schema=TYPES, orient="row")

    def counts(self) -> dict[str, int]:
        """Return accounts, buckets, input rows and rejects."""
        return _added(part.counts for part in self.parts)

    @cached_property
    def accounting(self) -> dict[str, Any]:
        """What became of the input, as in the manifest of a sweep."""
        controls = [part.control for part in self.parts]
        added = {n: _added(c[n] for c in controls) for n in ("positions", "balances", "accounts")}
        by_id = {
            key: _by_id(name, (control[key] for control in controls))
            for key, name in (("quantity", "instrument_id"), ("amount", "asset_id"))
        }
        asides = [part.set_aside for part in self.parts]
        return {
            "set_aside": {
                "indeterminate_accounts": sum(a["indeterminate_accounts"] for a in asides),
                **{
                    name: _added(aside[name] for aside in asides)
                    for name in ("rows_of_indeterminate_accounts", "rows_without_account")
                },
            },
            "inexact_numbers": self._inexact(),
            "control": shown_control({**added, **by_id}),
        }

    def _inexact(self) -> dict[str, int]:
        """Return the counts of numbers that lost digits; those of the market are in every part."""
        of_first = self.parts[0].inexact
        common = {n: of_first[n] for n in of_first if n.split(".")[0] not in _FRAMES}
        own = ({n: p.inexact[n] for n in p.inexact if n not in common} for p in self.parts)
        return _added([common, *own])

    def about(self, results: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
        """Return a manifest, as a sweep of all shards at once would have it.

        The digests of tables that are in shards, and of the input, are over those of their
        shards, in order; others are those of the tables.

        Args:
            results: The tables that are not in shards.
        """
        names = [name for name in self.parts[0].digests if name not in results]
        digests = {name: _over(part.digests[name] for part in self.parts) for name in names}
        digests |= engine.digests(plain(list(results.items())))[1]
        return {
            "shards": len(self.parts),
            **self.counts(),
            "input_digest": _over(part.input_digest for part in self.parts),
            "result_digest": _over(digests.values()),
            "seconds": sum(part.seconds for part in self.parts),
            "numerics": engine.numerics(),
            "results": digests,
            **self.accounting,
        }

    def by_status(self) -> pl.DataFrame:
        """Return `status` and `gross_notional`, a row for each status, for people to read."""
        added = _added(part.notional for part in self.parts)
        return pl.DataFrame({"status": list(added), "gross_notional": list(added.values())})


def _over(digests: Iterable[str]) -> str:
    """Return the digest of digests, in their order."""
    return engine.digests([("digests", pl.DataFrame({"blake3": list(digests)}))])[0]


def _added(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums of what parts count under each name, in order of first appearance."""
    sums: dict[str, Any] = {}
    for part in parts:
        for name, number in part.items():
            sums[name] = sums.get(name, 0) + number
    return sums


def _by_id(name: str, parts: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Add rows of control totals up by their id, in the order of ids, that without one last."""
    sums: dict[str | None, dict[str, int]] = {}
    for part in parts:
        for row in part:
            of_id = sums.setdefault(row[name], dict.fromkeys(_SUMS, 0))
            for key in _SUMS:
                of_id[key] += row[key]
    ids = sorted(sums, key=lambda found: (found is None, found or ""))
    return [{name: found, **sums[found]} for found in ids]
