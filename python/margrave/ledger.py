"""What is done of a night in shards, on disk: a run that was stopped goes on from there.

A `Ledger` keeps the summary of each finished shard beside its tables, under a key: everything
that decides what the shard makes. A shard whose key is another one, or whose tables are no longer
what they were, is computed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from margrave.parts import Part
from margrave.publish import Publication

__all__ = ["Done", "Ledger"]


@dataclass(frozen=True)
class Done:
    """What is kept of a shard: its summary, and frames of few or narrow rows."""

    part: Part
    frames: dict[str, pl.DataFrame] = field(default_factory=dict)


class Ledger:
    """The finished shards of a publication in the making."""

    def __init__(self, publication: Publication, key: Callable[[int], str]) -> None:
        """Open the ledger of `publication`, which is kept where the run is stopped.

        Args:
            publication: Where the tables of the shards go.
            key: What decides the result of a shard, as text.
        """
        self._publication = publication
        self._key = key
        self._folder = publication.scratch()
        publication.keeps = True

    def get(self, shard: int) -> Done | None:
        """Return what is kept of a shard, None where it is to be computed."""
        try:
            facts = json.loads(self._path(shard).read_text(encoding="utf-8"))
            is_its = facts["key"] == self._key(shard)
            files = facts["files"]
            if not is_its or any(self._publication.written(n) != files[n] for n in files):
                return None
            frames = {
                n: pl.read_parquet(self._frame(shard, n), glob=False) for n in facts["frames"]
            }
            return Done(Part.read(facts["part"]), frames)
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
            return None

    def put(self, shard: int, done: Done, names: Iterable[str]) -> None:
        """Keep what a shard made, once its tables `names` are written.

        Raises:
            OSError: It cannot be written.
        """
        for name, frame in done.frames.items():
            with self._frame(shard, name).open("wb") as file:
                frame.write_parquet(file)
        facts = {
            "key": self._key(shard),
            "files": {name: self._publication.written(name) for name in names},
            "frames": list(done.frames),
            "part": done.part.text(),
        }
        path = self._path(shard)
        beside = path.with_suffix(".new")
        with beside.open("w", encoding="utf-8") as file:
            file.write(json.dumps(facts))
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)

    def _path(self, shard: int) -> Path:
        return self._folder / f"{shard:05}.json"

    def _frame(self, shard: int, name: str) -> Path:
        return self._folder / f"{shard:05}-{name}.parquet"
