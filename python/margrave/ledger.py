"""What is done of a night in shards, on disk: a run that was stopped goes on from there.

A `Ledger` keeps the summary of each finished shard beside its tables, under a key: everything
that decides what the shard makes. A shard whose key is another one, or whose tables are no longer
what they were, is computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from margrave.parts import Part
from margrave.publish import KEPT, Publication
from margrave.sources import record

__all__ = ["Done", "Ledger"]


@dataclass(frozen=True)
class Done:
    """What is kept of a shard: its summary, and frames of few or narrow rows."""

    part: Part
    frames: dict[str, pl.DataFrame] = field(default_factory=dict)


class Ledger:
    """The finished shards of a publication in the making, and of those that were stopped."""

    def __init__(self, publication: Publication, key: Callable[[int], str]) -> None:
        """Open the ledger of `publication`, which is kept where the run is stopped.

        Args:
            publication: Where the tables of the shards go.
            key: What decides the result of a shard, as text: everything it is made from, by
                digest. Asked for once, before the shard is read.
        """
        self._publication = publication
        self._key = key
        self._folder = publication.aside(KEPT)
        publication.keeps = True

    def get(self, shard: int) -> tuple[Done | None, str]:
        """Return what was kept of a shard, None where it is to be computed; and its key.

        The tables of a shard that was kept are taken over into the publication.

        Raises:
            UnpublishedError: They cannot be.
        """
        key = self._key(shard)
        for kept in self._publication.kept:
            done = self._found(kept, shard, key)
            if done is not None:
                return done, key
        return None, key

    def put(self, shard: int, key: str, done: Done, names: Iterable[str]) -> None:
        """Keep what a shard made, once its tables `names` are written.

        Raises:
            UnpublishedError: It cannot be written.
        """
        frames = {name: f"{KEPT}/{_frame(shard, name)}" for name in done.frames}
        for name, path in frames.items():
            self._publication.write(path, done.frames[name])
        part = done.part.text()
        facts = {
            "key": key,
            "files": {name: self._publication.written(name) for name in names},
            "frames": {name: self._publication.written(path) for name, path in frames.items()},
            "part": part,
            "digest": _digest(part),
        }
        self._publication.write(f"{KEPT}/{shard:05}.new", json.dumps(facts))
        (self._folder / f"{shard:05}.new").rename(self._folder / f"{shard:05}.json")

    def _found(self, kept: Path, shard: int, key: str) -> Done | None:
        """Return what a stopped run kept of a shard; None unless all of it is as it was."""
        mark = kept / KEPT / f"{shard:05}.json"
        try:
            facts = json.loads(mark.read_text(encoding="utf-8"))
            if facts["key"] != key or _digest(facts["part"]) != facts["digest"]:
                return None
            frames = {name: kept / KEPT / _frame(shard, name) for name in facts["frames"]}
            files = {name: kept / name for name in facts["files"]}
            wanted = [*facts["frames"].values(), *facts["files"].values()]
            there = [record(path) for path in (*frames.values(), *files.values())]
            if there != wanted:
                return None
            read = {name: pl.read_parquet(path, glob=False) for name, path in frames.items()}
            done = Done(Part.read(facts["part"]), read)
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
            return None
        for name, path in files.items():
            self._publication.take(name, path)
        for path in (*frames.values(), mark):
            self._publication.take(f"{KEPT}/{path.name}", path)
        return done


def _frame(shard: int, name: str) -> str:
    return f"{shard:05}-{name}.parquet"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
