"""How the commands work through a night in shards, and how much room they have for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from margrave import memory, night
from margrave.delivery import Result, heading
from margrave.shards import FRAMES, Shards
from margrave.sources import record
from margrave.terminal import Session

if TYPE_CHECKING:
    import polars as pl

    import margrave as mg
    from margrave.manifest import Run
    from margrave.parts import Whole
    from margrave.publish import Publication
    from margrave.sharded_night import ShardedNight

__all__ = ["Job", "Work", "stated"]


@dataclass(frozen=True)
class Work:
    """How a night is worked through: what its result does not depend on.

    Attributes:
        cut: The night in shards, None where it is in none.
        threads: How many threads a shard may use, None for its share of all cores.
        workers: How many shards are in work at a time.
        resume: Whether a run that was stopped is to be gone on with.
        peak: The bytes that it takes at its peak, about: of the night, or of the largest shards
            as many times as there are workers.
    """

    cut: Shards | None
    threads: int | None
    workers: int
    resume: bool
    peak: int

    @classmethod
    def planned(
        cls,
        files: Mapping[str, Sequence[Path]],
        cut: Shards | None,
        *,
        threads: int | None,
        workers: int | None,
        room: str | None,
        resume: bool,
    ) -> Work:
        """Return how to work through a night in the memory that there is.

        Args:
            files: The files of the night.
            cut: The night in shards, if it is.
            threads: `--threads`.
            workers: `--workers`.
            room: `--memory`.
            resume: `--resume`.

        Raises:
            RefusedError: The night, or a shard of it, takes more memory than there is; or what is
                asked for is for nights in shards, and this one is whole.
        """
        free = memory.parsed(room) if room else int(memory.SHARE * memory.free())
        if cut is None:
            if resume or workers is not None:
                what = "--resume" if resume else "--workers"
                raise night.RefusedError(
                    f"{what}: this night is not in shards\nhint: cut it with margrave shard first"
                )
            needed = memory.estimate(files)
            _require(needed, free, "the night", 1)
            return cls(None, threads, 1, False, needed)
        largest = max(memory.estimate(cut.of(shard)) for shard in range(cut.count))
        _require(largest, free, "a shard of it", cut.count)
        most = max(1, (free - memory.BASE) // max(1, largest - memory.BASE))
        most = min(most, cut.count)
        workers = min(workers or min(most, _WORKERS), most)
        needed = memory.BASE + workers * (largest - memory.BASE)
        return cls(cut, threads, workers, resume, needed)

    def shown(self) -> str:
        """Return how much memory it takes, as people are told."""
        shards = f"{self.workers} shard{'s' if self.workers > 1 else ''} at a time"
        whose = "" if self.cut is None else f", {shards}"
        return f"about {memory.shown(self.peak)} at the peak of a sweep{whose}"


#: Shards in work at a time unless more are asked for: one reads and writes while one computes.
_WORKERS = 2


def _require(needed: int, free: int, what: str, shards: int) -> None:
    if needed <= free:
        return
    cut = "cut it into files that fit: margrave shard NIGHT --shards"
    if free > memory.BASE:
        count = shards * math.ceil((needed - memory.BASE) / (free - memory.BASE))
        cure = f"{cut} {max(2, count)} --out DIR; or allow more with --memory"
    else:  # which no shard would fit in
        cure = (
            f"{cut} N --out DIR, and allow at least {memory.shown(2 * memory.BASE)} with --memory"
        )
    raise night.RefusedError(
        f"{what} takes about {memory.shown(needed)} of memory, and {memory.shown(free)} may be "
        f"used\nhint: {cure}"
    )


#: What people are told whose run over shards was stopped.
_KEPT = "finished shards are kept: the same command with --resume goes on from there"


@dataclass(frozen=True)
class Job:
    """A command over a night in shards.

    Attributes:
        session: The run of the command line.
        work: How the night is worked through.
        ruleset: What must be held.
        publication: Where the tables go.
        run: What the manifest says of the run.
        on_error: Whether bad rows are set aside, or refuse the night.
    """

    session: Session
    work: Work
    ruleset: mg.Rules
    publication: Publication
    run: Run
    on_error: Literal["raise", "quarantine"]

    def sweep(self) -> Result:
        """Sweep a night in shards."""
        from margrave import report

        with self.session.step("sweep", f"sweeping {self._whose()}") as show:
            of_night = self._night(show)
            whole, shown = of_night.sweep(worst=3, held=1)
        self._tell_reused(of_night)
        unit = self.ruleset.valuation_asset
        counts = whole.counts()
        parts = [
            heading(self.ruleset, accounts=counts["accounts"], positions=counts["positions"]),
            report.summary(whole.by_status(), whole.totals, whole.rejects, unit=unit),
            report.accounting(whole.accounting),
            report.worst(shown["accounts"], shown["positions"], unit=unit, count=3, held=1),
        ]
        text = "" if self.session.quiet else "\n\n".join(parts) + "\n"
        tables = {"totals": whole.totals, "rejects": whole.rejects}
        return _result(whole, self.ruleset, tables, text, ("accounts", "buckets", "positions"))

    def stress(self, market: mg.Market, scenarios: object) -> Result:
        """Put a night in shards through scenarios."""
        from margrave import report

        with self.session.step("stress", f"stressing {self._whose()}") as show:
            of_night = self._night(show)
            whole, tables = of_night.stress(market, scenarios)
        self._tell_reused(of_night)
        count = tables["scenarios"].height
        told = report.scenarios(tables["scenarios"], unit=self.ruleset.valuation_asset)
        text = _text(self.session, self.ruleset, {"scenarios": count}, told, whole)
        return _result(whole, self.ruleset, tables, text, ("accounts",), scenarios=count)

    def breach(self, *, market: mg.Market, direction: str | dict[str, float], name: str) -> Result:
        """Move a night in shards along a direction."""
        from margrave import report

        with self.session.step("breach", f"moving {self._whose()} along the direction") as show:
            of_night = self._night(show)
            whole, found = of_night.breach(market, direction)
        self._tell_reused(of_night)
        unit = self.ruleset.valuation_asset
        told = report.breach(found["breach"], found["curve"], direction=name, unit=unit)
        text = _text(self.session, self.ruleset, {}, told, whole)
        return _result(
            whole, self.ruleset, {"curve": found["curve"]}, text, ("breach",), direction=direction
        )

    def _night(self, show: Callable[[float], object]) -> ShardedNight:
        from margrave import engine
        from margrave.sharded_night import ShardedNight

        cut = self.work.cut
        assert cut is not None
        common = {
            "versions": [engine.version(), engine.numerics()],
            "ruleset": self.ruleset.hash,
            "command": self.run.command,
            "files": self.run.sources.records(but=FRAMES),
        }

        def key(shard: int) -> str:
            files = {
                name: [record(path) for path in paths] for name, paths in cut.of(shard).items()
            }
            return json.dumps([common, shard, files], sort_keys=True)

        def told(shard: int, is_reused: bool) -> None:
            self.session.tell("shard", shard=shard, of=cut.count, reused=is_reused)

        def at_stop() -> str:
            return _KEPT if self.publication.keeps else ""

        self.session.at_stop = at_stop
        workers = self.work.workers
        threads = self.work.threads or max(1, engine.cores() // workers)
        return ShardedNight(
            cut, self.ruleset, self.publication, self.on_error, threads, workers, key, show, told
        )

    def _tell_reused(self, of_night: ShardedNight) -> None:
        if self.work.resume:
            self.session.say(
                f"Resumed: {len(of_night.reused)} of {self._whose()} were finished already."
            )

    def _whose(self) -> str:
        cut = self.work.cut
        assert cut is not None
        return f"{cut.count} shards of {cut.folder}"


def _text(
    session: Session, ruleset: mg.Rules, counts: Mapping[str, int], told: str, whole: Whole
) -> str:
    from margrave import report

    if session.quiet:
        return ""
    parts = [heading(ruleset, accounts=whole.counts()["accounts"], **counts), told]
    if whole.rejects.height:
        parts.append(report.rejected(whole.rejects))
    return "\n\n".join([*parts, report.accounting(whole.accounting)]) + "\n"


def _result(
    whole: Whole,
    ruleset: mg.Rules,
    tables: Mapping[str, pl.DataFrame],
    text: str,
    folders: Sequence[str],
    **more: Any,
) -> Result:
    def manifest() -> dict[str, Any]:
        return {**stated(whole, ruleset, tables), **more}

    return Result(whole, ruleset, tables, manifest, text, folders)


def stated(whole: Whole, ruleset: mg.Rules, tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """Return what the manifest states of all shards together, as `Sweep.manifest` of a sweep.

    Args:
        whole: All shards.
        ruleset: What they were swept under.
        tables: The tables that are not in shards.
    """
    from margrave import engine

    return {
        "margrave_version": engine.version(),
        "ruleset_id": ruleset.id,
        "ruleset_hash": ruleset.hash,
        **whole.about(tables),
    }
