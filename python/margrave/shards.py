"""A night in shards: a folder whose files each hold whole accounts.

Shard `k` of `n` holds the rows of the accounts whose id has the hash `k` modulo `n`: XXH3 of 64
bits, seed 0, of the id as UTF-8 text, an integer as it is written in decimal. That never
changes, so rows of one account are never in two files, whoever wrote them. A row without an
account id is in shard 0.

The folder is a night like any other (`positions/shard-00000.parquet`, ...), so anything that
reads a night reads it whole; `shards.json` says that it may be read shard by shard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl

import margrave as mg
from margrave import engine, night
from margrave.errors import DataError, SchemaError
from margrave.frames import shown
from margrave.publish import SCRATCH, Publication
from margrave.sources import State, state

__all__ = ["FRAMES", "MARK", "Shards", "check_ids", "file_name", "find", "mark", "split"]

#: What says that a folder is in shards.
MARK = "shards.json"

#: Frames that are cut; the others belong to the market and are the same for every shard.
FRAMES = ("positions", "balances", "accounts")

#: Rows that are in memory at a time while a frame is cut.
BATCH_ROWS = 4_000_000

OnError = Literal["raise", "quarantine"]

_HASH = "xxh3-64 of the account id as UTF-8 text, modulo the number of shards"

#: Ids that a message shows.
_SHOWN = 5

#: Shards at most: each is a file of every frame.
MOST = 100_000


def file_name(frame: str, shard: int) -> str:
    """Return the name of a shard's file inside the night."""
    return f"{frame}/shard-{shard:05}.parquet"


@dataclass(frozen=True)
class Shards:
    """A night in shards.

    Attributes:
        folder: Where it is.
        count: How many shards it has.
        files: The files of every frame, as `night.find` returns them.
    """

    folder: Path
    count: int
    files: Mapping[str, Sequence[Path]]

    def of(self, shard: int) -> dict[str, list[Path]]:
        """Return the files of one shard, by frame."""
        return {name: [self.folder / file_name(name, shard)] for name in self._cut()}

    def book(self, shard: int, *, on_error: OnError, threads: int | None) -> mg.Book:
        """Return the book of one shard.

        Args:
            shard: Its number.
            on_error: Whether bad rows are set aside, or refuse the shard.
            threads: How many threads build it; all cores by default.

        Raises:
            MargraveError: As `Book` does.
        """
        files: Mapping[str, Any] = self.of(shard)
        return mg.Book(
            files["positions"],
            files["balances"],
            self.files["instruments"],
            files.get("accounts"),
            on_error=on_error,
            threads=threads,
        )

    def market(self) -> mg.Market:
        """Return the market, which all shards have in common.

        Raises:
            MargraveError: As `Market` does.
        """
        return mg.Market(self.files["instruments"], self.files["assets"])

    def _cut(self) -> list[str]:
        return [name for name in FRAMES if name in self.files]

    def check_files(self) -> None:
        """Refuse a folder whose files are not one of every frame for every shard.

        Raises:
            RefusedError: A file is missing, or one is there that belongs to no shard.
        """
        for name in self._cut():
            there = {path.name for path in self.files[name]}
            wanted = {Path(file_name(name, shard)).name for shard in range(self.count)}
            faults = [
                f"{what} {', '.join(sorted(names)[:_SHOWN])}"
                for what, names in (("lacks", wanted - there), ("holds", there - wanted))
                if names
            ]
            if faults:
                raise night.RefusedError(
                    f"{self.folder / name} {' and '.join(faults)}; {MARK} says {self.count} shards"
                    "\nhint: cut the night again with margrave shard"
                )

    def states(self, shard: int) -> list[State]:
        """Return what tells the files of a shard from what they may be replaced by.

        Raises:
            UnreadableError: One cannot be looked at.
        """
        try:
            return [state(path) for paths in self.of(shard).values() for path in paths]
        except OSError as error:
            raise night.UnreadableError(f"{error}") from error

    def check_types(self) -> None:
        """Refuse shards whose files differ in types: what comes of them would, too.

        Raises:
            SchemaError: With the frame and the files.
        """
        ids: dict[str, Any] = {}
        for name in self._cut():
            paths = sorted(self.files[name])
            schemas = [_schema_of(name, path) for path in paths]
            for path, schema in zip(paths, schemas, strict=True):
                if schema != schemas[0]:
                    raise SchemaError(
                        f"{name}: {path} has other columns or types than {paths[0]}\nhint: cut the "
                        "night again with margrave shard"
                    )
            ids[name] = schemas[0].get("account_id")
        _require_one_type(ids)

    def check_accounts(self, shard: int, ids: pl.Series) -> None:
        """Refuse a shard that holds accounts of another: their rows would never meet.

        Args:
            shard: The number of the shard.
            ids: Its account ids.

        Raises:
            DataError: With the first of them, and where each belongs.
        """
        belongs = engine.shards_of(_texts(ids), self.count)
        strays = (belongs != shard).arg_true()
        if strays.is_empty():
            return
        first = ", ".join(
            f"{shown(ids[row])} (of shard {belongs[row]})" for row in strays.head(_SHOWN)
        )
        more = f" and {len(strays) - _SHOWN} more" if len(strays) > _SHOWN else ""
        raise DataError(
            f"account_id: shard {shard} of {self.folder} holds {len(strays)} accounts that belong "
            f"to other shards: {first}{more}\nhint: an account in two shards would be swept "
            "twice, in halves; cut the night again with margrave shard"
        )


def find(folder: Path) -> Shards | None:
    """Return the night in shards at `folder`, or None where it is in none.

    Raises:
        MissingError: There is no such folder, or it lacks frames.
        RefusedError: It is in shards, and not as `shards.json` says.
        UnreadableError: `shards.json` cannot be read.
    """
    mark = folder / MARK
    if not mark.exists():
        return None
    try:
        facts = json.loads(mark.read_text(encoding="utf-8"))
        version, count, how = facts["version"], facts["shards"], facts["hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise night.UnreadableError(f"{mark} cannot be read: {error!r}") from error
    if version != 1 or how != _HASH or not isinstance(count, int) or not 1 <= count <= MOST:
        raise night.RefusedError(
            f"{mark}: shards of another kind than this version of Margrave reads\nhint: cut the "
            "night again with margrave shard"
        )
    found = Shards(folder, count, night.find(folder))
    found.check_files()
    found.check_types()
    return found


def mark(count: int) -> str:
    """Return what `shards.json` says of a night in so many shards."""
    return json.dumps({"version": 1, "shards": count, "hash": _HASH}, indent=2) + "\n"


def split(
    name: str,
    paths: Sequence[Path],
    count: int,
    *,
    publication: Publication,
    show: Callable[[float], object],
) -> int:
    """Cut a frame into shards, in the order of its rows, a few million rows at a time.

    Args:
        name: The frame.
        paths: Its Parquet files, in order.
        count: How many shards.
        publication: Where they go.
        show: Told how much is done, from 0 to 1.

    Returns:
        The rows of the frame.

    Raises:
        SchemaError: A file is no Parquet file or has no account ids, or files do not fit.
        UnpublishedError: A shard cannot be written.
    """
    schema = _schema(name, paths)
    scratch = publication.aside(SCRATCH)
    rows, done = 0, 0
    sizes = [_rows(name, path) for path in paths]
    whole = max(1, sum(sizes))
    batches = 0
    for path, size in zip(paths, sizes, strict=True):
        for begin in range(0, size, BATCH_ROWS):
            for shard, part in _parts(name, path, begin, schema, count):
                file = f"{SCRATCH}/{batches}-{shard}.parquet"
                publication.write(file, part, compression="lz4")
            batches += 1
            done += min(BATCH_ROWS, size - begin)
            show(0.5 * done / whole)
        rows += size
    for shard in range(count):
        parts = [scratch / f"{batch}-{shard}.parquet" for batch in range(batches)]
        frames = [pl.read_parquet(path, glob=False) for path in parts if path.exists()]
        table = pl.concat(frames) if frames else pl.DataFrame(schema=schema)
        publication.write(file_name(name, shard), table)
        for path in parts:
            path.unlink(missing_ok=True)
        show(0.5 + 0.5 * (shard + 1) / count)
    return rows


def _parts(
    name: str, path: Path, begin: int, schema: pl.Schema, count: int
) -> list[tuple[int, pl.DataFrame]]:
    """Return the rows of each shard among some millions of rows of a file."""
    lazy = pl.scan_parquet(path, glob=False).slice(begin, BATCH_ROWS)
    try:
        frame = lazy.cast(schema).select(list(schema)).collect()
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{name}: {path} cannot be read: {error}") from error
    numbers = engine.shards_of(_texts(frame["account_id"]), count).alias("\0shard")
    cut = frame.with_columns(numbers).partition_by(
        "\0shard", maintain_order=True, include_key=False, as_dict=True
    )
    return [(shard, part) for (shard,), part in cut.items()]


def check_ids(files: Mapping[str, Sequence[Path]]) -> None:
    """Refuse frames whose account ids are of different types: shards would differ in theirs.

    Raises:
        SchemaError: With the types.
    """
    cut = [name for name in FRAMES if name in files]
    _require_one_type({name: _schema(name, files[name])["account_id"] for name in cut})


def _require_one_type(ids: Mapping[str, Any]) -> None:
    known = {name: dtype for name, dtype in ids.items() if dtype not in (None, pl.Null())}
    if len(set(map(str, known.values()))) > 1:
        types = ", ".join(f"{name} {dtype}" for name, dtype in known.items())
        raise SchemaError(
            f"account_id: its types differ ({types}); shards need one\nhint: cast the column to "
            "one type in all frames"
        )


def _texts(ids: pl.Series) -> pl.Series:
    """Return ids as the texts that are hashed: a whole number in decimal, however wide."""
    if isinstance(ids.dtype, pl.Decimal):
        ids = ids.cast(pl.Int128)
    return ids.cast(pl.String)


def _schema(name: str, paths: Sequence[Path]) -> pl.Schema:
    """Return the types that the columns of all files have together."""
    found = []
    for path in paths:
        if path.suffix != ".parquet":
            raise SchemaError(
                f"{name}: {path} is no Parquet file; only those are cut into shards\n"
                "hint: write it as Parquet, with ids of the type that they have elsewhere"
            )
        found.append(_schema_of(name, path))
    for path, schema in zip(paths, found, strict=True):
        lacking = sorted(set(found[0]) ^ set(schema))
        if lacking:
            raise SchemaError(f"{name}.{lacking[0]}: not in all files (see {path})")
    if "account_id" not in found[0]:
        raise SchemaError(f"{name}.account_id: missing; shards are cut by it")
    for path, schema in zip(paths, found, strict=True):
        if not _is_of_ids(schema["account_id"]):
            raise SchemaError(
                f"{name}.account_id: {schema['account_id']} holds no ids (see {path}); an id is "
                "an integer or text"
            )
    try:
        empty = [pl.DataFrame(schema=schema).select(list(found[0])) for schema in found]
        return pl.concat(empty, how="vertical_relaxed").schema
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{name}: its files do not fit together: {error}") from error


def _schema_of(name: str, path: Path) -> pl.Schema:
    try:
        return pl.Schema(pl.read_parquet_schema(path))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"{name}: {path} cannot be read: {error}") from error


def _is_of_ids(dtype: pl.DataType) -> bool:
    is_whole = dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)
    return is_whole or isinstance(dtype, (pl.String, pl.Enum, pl.Categorical, pl.Null))


def _rows(name: str, path: Path) -> int:
    try:
        return int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"{name}: {path} cannot be read: {error}") from error
