"""The frames that every peer reads: the synthetic exchange, in the shapes that users have.

`Shape` says which; `write(shape, folder)` writes its frames as Arrow files, and `read(folder)`
gives them back, in memory and not mapped, so that no peer pays for a page of a file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

import margrave as mg

SEED = 7
REQUIRED = ("account_id", "instrument_id", "quantity", "entry_price")
FRAMES = ("positions", "balances", "instruments", "assets", "tiers", "weights")

Columns = Literal["plain", "full"]
Order = Literal["shuffled", "grouped", "sorted", "skewed"]
Ids = Literal["int", "text", "enum"]


@dataclass(frozen=True)
class Shape:
    """How large an exchange is, and how its frames come.

    `columns`: `plain` has the four required columns of positions (26 bytes a row, all rows
    cross, no open orders, no chosen leverage), `full` has all that `mg.generate` gives (59).
    `order`: of the rows of both frames. `grouped` has each account's rows together, in order of
    first appearance; `sorted` by id; `skewed` gives every second row to one account.
    `ids`: of accounts: 64-bit integers, 36 characters of text, or an Enum of such text.
    `chunks`: of positions and of balances.
    `positions`, `instruments`, `brackets`: positions an account on average, contracts, and the
    most brackets a tier table has.
    """

    accounts: int
    columns: Columns = "plain"
    order: Order = "shuffled"
    ids: Ids = "int"
    chunks: int = 1
    positions: int = 5
    instruments: int = 400
    brackets: int = 12

    @property
    def name(self) -> str:
        """A name for a folder."""
        return "-".join(str(value) for value in asdict(self).values())


@dataclass(frozen=True)
class Exchange:
    """The frames of one exchange, tables included."""

    positions: pl.DataFrame
    balances: pl.DataFrame
    instruments: pl.DataFrame
    assets: pl.DataFrame
    tiers: pl.DataFrame
    weights: pl.DataFrame

    @property
    def size(self) -> int:
        """Bytes of the two frames that grow."""
        return int(self.positions.estimated_size() + self.balances.estimated_size())


def make(shape: Shape) -> Exchange:
    """Return the exchange of this shape."""
    made = mg.generate(shape.accounts, seed=SEED)
    positions, balances = made.positions, made.balances
    instruments, tiers = made.instruments, made.rules.tiers
    if shape.positions != 5:
        positions = resized(positions, shape.positions)
    if shape.instruments != instruments.height:
        positions, instruments, tiers = relisted(positions, instruments, tiers, shape.instruments)
    if shape.brackets != 12:
        tiers = tiers.filter(pl.int_range(pl.len()).over("tier_table") < shape.brackets)
    if shape.columns == "plain":
        positions = positions.select(REQUIRED)
    positions, balances = _ordered(positions, balances, shape.order)
    if shape.ids != "int":
        positions, balances = _with_text_ids(positions, balances, as_enum=shape.ids == "enum")
    return Exchange(positions, balances, instruments, made.assets, tiers, made.rules.weights)


def write(shape: Shape, folder: Path) -> Path:
    """Write the frames of this shape into a folder of their own, once, and return it."""
    path = folder / shape.name
    if (path / "shape.json").exists():
        return path
    path.mkdir(parents=True, exist_ok=True)
    exchange = make(shape)
    for name in FRAMES:
        frame: pl.DataFrame = getattr(exchange, name)
        chunks = shape.chunks if name in ("positions", "balances") else 1
        rows = max(1, -(-frame.height // chunks))
        frame.rechunk().write_ipc(path / f"{name}.arrow", record_batch_size=rows)
    about = {**asdict(shape), "seed": SEED, "bytes": exchange.size}
    about |= {"positions": exchange.positions.height, "balances": exchange.balances.height}
    (path / "shape.json").write_text(json.dumps(about))
    return path


def read(folder: Path) -> Exchange:
    """Return the frames of a folder, in memory."""
    frames = {}
    for name in FRAMES:
        path = folder / f"{name}.arrow"
        frames[name] = pl.read_ipc(path)
    return Exchange(**frames)


def resized(positions: pl.DataFrame, each: int) -> pl.DataFrame:
    """Return `each` positions an account instead of five: fewer rows, or the rows again, moved on
    by some contracts."""
    if each <= 5:
        return positions.head(positions.height * each // 5)
    ids = positions.schema["instrument_id"]
    assert isinstance(ids, pl.Enum)
    count, copies = len(ids.categories), []
    for copy in range(-(-each // 5)):
        code = (pl.col("instrument_id").to_physical().cast(pl.UInt32) + 7 * copy) % count
        moved = pl.lit(ids.categories.cast(ids)).gather(code).alias("instrument_id")
        copies.append(positions.with_columns(moved))
    rows = positions.height * each // 5
    return pl.concat(copies).head(rows).sample(rows, shuffle=True, seed=SEED)


def relisted(
    positions: pl.DataFrame, instruments: pl.DataFrame, tiers: pl.DataFrame, count: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the exchange with `count` contracts: the first of them, or all of them again under
    other names."""
    listed = instruments.height
    copies = -(-count // listed)
    names = instruments["instrument_id"].cast(pl.String)
    every = pl.concat([names if k == 0 else names + f"#{k}" for k in range(copies)]).head(count)
    ids = pl.Enum(every)
    code = pl.col("instrument_id").to_physical().cast(pl.UInt32)
    code = (code + pl.int_range(pl.len(), dtype=pl.UInt32) % copies * listed) % count
    positions = positions.with_columns(pl.lit(every.cast(ids)).gather(code).alias("instrument_id"))
    instruments = pl.concat([instruments] * copies).head(count)
    instruments = instruments.with_columns(every.cast(ids).alias("instrument_id"))
    table = pl.col("tier_table")
    tables = [tiers.with_columns(table + f"#{k}") if k else tiers for k in range(copies)]
    return positions, instruments, pl.concat(tables)


def _ordered(
    positions: pl.DataFrame, balances: pl.DataFrame, order: Order
) -> tuple[pl.DataFrame, pl.DataFrame]:
    if order == "sorted":
        by_id = [f.sort("account_id", maintain_order=True) for f in (positions, balances)]
        return by_id[0], by_id[1]
    if order == "grouped":
        ids = pl.concat([positions["account_id"], balances["account_id"]])
        rank = ids.unique(maintain_order=True).to_frame().with_row_index("rank")
        grouped = [
            frame.join(rank, on="account_id", maintain_order="left")
            .sort("rank", maintain_order=True)
            .drop("rank")
            for frame in (positions, balances)
        ]
        return grouped[0], grouped[1]
    if order == "skewed":
        one = positions["account_id"][0]
        heavy = pl.when(pl.int_range(pl.len()) % 2 == 0).then(one).otherwise("account_id")
        return positions.with_columns(heavy.cast(pl.Int64).alias("account_id")), balances
    return positions, balances


def _with_text_ids(
    positions: pl.DataFrame, balances: pl.DataFrame, *, as_enum: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    frames = (positions, balances)
    ids = pl.concat([frame["account_id"] for frame in frames]).unique(maintain_order=True)
    text = uuids(ids.to_numpy())
    named = pl.DataFrame({"account_id": ids, "text": text})
    if as_enum:
        named = named.with_columns(pl.col("text").cast(pl.Enum(text)))
    out = []
    for frame in frames:
        joined = frame.join(named, on="account_id", maintain_order="left")
        # A gather shares the text of all; an export has its own, a string after the other.
        column = joined["text"] if as_enum else _own(joined["text"])
        out.append(frame.with_columns(column.alias("account_id")))
    return out[0], out[1]


def _own(text: pl.Series) -> pl.Series:
    """Return the same text, copied string by string."""
    return text.cast(pl.Binary).bin.slice(0, 36).cast(pl.String)


def uuids(ids: npt.NDArray[np.int64]) -> pl.Series:
    """Return a text of 36 characters for each id, in the form of a UUID."""
    words = np.empty((len(ids), 2), dtype=np.uint64)
    words[:, 0] = ids.view(np.uint64)
    words[:, 1] = words[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(0xD1B54A32D192ED03)
    raw = words.byteswap().view(np.uint8).reshape(len(ids), 16)
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    letters = np.empty((len(ids), 32), dtype=np.uint8)
    letters[:, 0::2], letters[:, 1::2] = digits[raw >> 4], digits[raw & 15]
    pieces = [letters[:, a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))]
    dash = np.full((len(ids), 1), ord("-"), dtype=np.uint8)
    row = np.hstack([piece for part in pieces for piece in (part, dash)][:-1])
    return pl.Series("text", row.view("S36").ravel().tolist(), dtype=pl.Binary).cast(pl.String)
