"""What sweep, stress and breach make of a night in shards: its files, and a small exact sum.

Each shard is a book of its own, put through the same market and ruleset. Its tables go to files
of its own at once; what is left of it is a `Part`, and the few rows that people are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

import margrave as mg
from margrave import report, sharded
from margrave.exact import rounded
from margrave.ledger import Done, Ledger
from margrave.parts import Part, Whole
from margrave.publish import Publication
from margrave.shards import Shards, file_name

__all__ = ["ShardedNight"]

_TABLES = ("accounts", "buckets", "positions")

#: Columns of a scenario that count, then those of money, in the order of its exact sums.
_COUNTS = (
    *("accounts", "liquidatable_accounts", "newly_liquidatable_accounts", "bankrupt_accounts"),
)
_MONEY = ("liquidatable_notional", "total_bad_debt", "total_margin_deficit")


@dataclass(frozen=True)
class ShardedNight:
    """A night in shards under a ruleset.

    Attributes:
        shards: The night.
        ruleset: What must be held.
        publication: Where the tables of each shard go.
        on_error: Whether bad rows are set aside, or refuse the night.
        threads: How many threads a shard may use.
        workers: How many shards are in work at a time.
        key: What decides the result of a shard, as text.
        show: Told how much is done, from 0 to 1.
        told: Told of each finished shard, with whether it was done already.
        reused: The shards that were.
    """

    shards: Shards
    ruleset: mg.Rules
    publication: Publication
    on_error: Literal["raise", "quarantine"]
    threads: int | None
    workers: int
    key: Callable[[int], str]
    show: Callable[[float], object]
    told: Callable[[int, bool], object]
    reused: list[int] = field(default_factory=list)

    def sweep(self, *, worst: int, held: int) -> tuple[Whole, dict[str, pl.DataFrame]]:
        """Sweep every shard, and write its accounts, buckets and positions.

        Args:
            worst: How many of the worst accounts are kept to be shown.
            held: How many positions of each.

        Returns:
            The sum of all shards; the worst `accounts` and their `positions`.
        """
        market = self.shards.market()

        def work(shard: int) -> Done:
            book = self._book(shard)
            swept = book.sweep(market, self.ruleset, threads=self.threads)
            self._check(shard, swept)
            for name in _TABLES:
                self.publication.write(file_name(name, shard), getattr(swept, name))
            accounts, positions = report.candidates(swept.accounts, swept.positions, worst, held)
            return Done(Part.of(swept), {"accounts": accounts, "positions": positions})

        return self._together(work, _TABLES)

    def stress(self, market: mg.Market, scenarios: object) -> tuple[Whole, dict[str, pl.DataFrame]]:
        """Put every shard through all scenarios, and write its accounts.

        Returns:
            The sum of all shards; the frame `scenarios`.
        """

        def work(shard: int) -> Done:
            found = self._book(shard).stress(market, self.ruleset, scenarios, threads=self.threads)
            self._check(shard, found.base)
            self.publication.write(file_name("accounts", shard), found.accounts)
            counts = found.scenarios.select(_COUNTS).rows()
            more = {"counts": counts, "sums": found.sums}
            frames = {"scenarios": found.scenarios} if shard == 0 else {}
            return Done(Part.of(found.base, found.manifest, more), frames)

        whole, frames = self._together(work, ("accounts",))
        return whole, {"scenarios": _scenarios(frames["scenarios"], whole)}

    def breach(
        self, market: mg.Market, direction: str | dict[str, float]
    ) -> tuple[Whole, dict[str, pl.DataFrame]]:
        """Move every shard along a direction, and write its breach.

        Returns:
            The sum of all shards; the frame `breach` (numbered accounts with shock and kind) and
            their `curve`.
        """
        from margrave.breach import about

        def work(shard: int) -> Done:
            book = self._book(shard)
            base = book.sweep(market, self.ruleset, threads=self.threads)
            self._check(shard, base)
            found = book.breach(market, self.ruleset, direction, threads=self.threads)
            self.publication.write(file_name("breach", shard), found)
            facts = about(base, direction, {"breach": found}, 0.0)
            narrow = found.drop("account_id").with_columns(base.accounts["gross_notional"])
            return Done(Part.of(base, facts), {"breach": narrow})

        whole, frames = self._together(work, ("breach",))
        found = frames["breach"].with_row_index("account_id")
        curve = mg.liquidation_curve(found, found.select("account_id", "gross_notional"))
        return whole, {"breach": found.drop("gross_notional"), "curve": curve}

    def _book(self, shard: int) -> mg.Book:
        return self.shards.book(shard, on_error=self.on_error, threads=self.threads)

    def _check(self, shard: int, swept: mg.Sweep) -> None:
        self.shards.check_accounts(shard, swept.accounts["account_id"])

    def _together(
        self, work: Callable[[int], Done], tables: Sequence[str]
    ) -> tuple[Whole, dict[str, pl.DataFrame]]:
        """Work through all shards; return their sum, and their frames one below another.

        Args:
            work: Reads, computes and writes a shard.
            tables: The tables that it writes.
        """
        ledger = Ledger(self.publication, self.key)
        finished = 0

        def once(shard: int) -> tuple[Done, bool]:
            begun = self.shards.states(shard)
            done, key = ledger.get(shard)
            if done is not None:
                return done, True
            done = work(shard)
            if self.shards.states(shard) == begun:  # else nobody knows what it was made from
                ledger.put(shard, key, done, [file_name(name, shard) for name in tables])
            return done, False

        def told(shard: int, result: tuple[Done, bool]) -> None:
            nonlocal finished
            finished += 1
            self.show(finished / self.shards.count)
            if result[1]:
                self.reused.append(shard)
            self.told(shard, result[1])

        numbers = range(self.shards.count)
        try:
            done = sharded.run(numbers, once, workers=self.workers, told=told)
        except mg.MargraveError:  # the same command would end in the same way
            self.publication.keeps = False
            raise
        in_order = [done[number][0] for number in numbers]
        names = dict.fromkeys(name for one in in_order for name in one.frames)
        frames = {
            name: pl.concat([one.frames[name] for one in in_order if name in one.frames])
            for name in names
        }
        return Whole([one.part for one in in_order]), frames


def _scenarios(of_first: pl.DataFrame, whole: Whole) -> pl.DataFrame:
    """Return the frame of scenarios over all shards, the ids of which any shard has."""
    counts = [part.more["counts"] for part in whole.parts]
    sums = [part.more["sums"] for part in whole.parts]
    rows = range(of_first.height)
    columns: dict[str, list[Any]] = {
        name: [sum(of[row][place] for of in counts) for row in rows]
        for place, name in enumerate(_COUNTS)
    }
    columns |= {
        name: [rounded(sum(of[row][place] for of in sums)) for row in rows]
        for place, name in enumerate(_MONEY)
    }
    types = of_first.schema
    return pl.DataFrame(
        [
            pl.Series(name, columns[name], dtype=types[name]) if name in columns else of_first[name]
            for name in of_first.columns
        ]
    )
