"""Files whose bytes are not what they were: Parquet, CSV, TOML and JSON, flipped and cut.

Whatever the bytes say, a call answers or raises an error of the family, and a file of a few
kilobytes costs no more than a few hundred megabytes.
"""

from __future__ import annotations

import io
import json
import resource
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

import margrave as mg
from fuzz.api import Api
from fuzz.draw import HOSTILE_TEXTS, Draw
from fuzz.judge import judge_results, require
from fuzz.night import Night, sound
from fuzz.spoil import spoil

__all__ = ["file_case", "mutated"]

#: How far the resident memory may grow over a case, bytes.
MOST_MEMORY = 200 * 2**20

#: Pieces of bytes that parsers treat in a way of their own.
PIECES: tuple[bytes, ...] = (
    *(
        b"PAR1",
        b"\x00",
        b"\xff\xff\xff\x7f",
        b"\xff" * 8,
        b"\x80" * 9 + b"\x01",
        b'"',
        b"'",
        b'"""',
    ),
    *(b",", b";", b"\n", b"\r", b"[", b"[[", b"]", b"{", b"=", b"\\", b"\\u0000", b"\xef\xbb\xbf"),
    *(
        b"\xff\xfe",
        b"nan",
        b"inf",
        b"1e999",
        b"-0",
        b"null",
        b"true",
        b"9" * 400,
        b"[" * 2000,
        b"#",
    ),
    *(b"NaN", b"Infinity", b"1e-400", b"0x10", b"1_000", b"2026-02-04", b"../", b"/etc/passwd"),
    *(text.encode() for text in HOSTILE_TEXTS),
)


def file_case(draw: Draw, api: Api) -> None:
    """Put a night through files, with some of their bytes changed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(prefix="margrave-fuzz-") as name:
        _case(draw, api, Path(name))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    warm = api.counts.cases > 1 and before > 2**18  # what is loaded once does not count
    require(not warm or grown <= MOST_MEMORY, f"memory grew by {grown / 2**20:.0f} MB")


def _case(draw: Draw, api: Api, folder: Path) -> None:
    night = sound(draw)
    if draw.chance(0.3):
        spoil(draw, night)
    if draw.chance(0.05):
        _ccxt(draw, api, folder)
    rules = _rules(draw, api, folder, night)
    given = {name: _stored(draw, folder, name, frame) for name, frame in night.frames.items()}
    quarantine: Any = draw.one(("quarantine", "raise"))
    book = api.call(
        "Book",
        lambda: mg.Book(
            given["positions"],
            given["balances"],
            given["instruments"],
            given.get("accounts"),
            on_error=quarantine,
            threads=1,
        ),
    )
    market = api.call("Market", lambda: mg.Market(given["instruments"], given["assets"]))
    if book is None or market is None or rules is None:
        return
    swept = api.call("Book.sweep", lambda: book.sweep(market, rules, threads=1))
    if swept is not None:
        judge_results(lambda name: api.call(f"Sweep.{name}", lambda: getattr(swept, name)), rules)
        api.counts.sweeps += 1


def mutated(draw: Draw, data: bytes) -> bytes:
    """Return the bytes with a few of them flipped, cut out, put in, or all cut at some place."""
    changed = bytearray(data)
    for _ in range(draw.upto(1, 4)):
        at = draw.upto(0, max(0, len(changed) - 1))
        if draw.chance(0.3):  # the ends are where formats keep their heads and footers
            at = (
                min(len(changed) - 1, at % 16)
                if draw.chance(0.4)
                else max(0, len(changed) - 1 - at % 64)
            )
        kind = draw.upto(0, 6)
        if kind <= 1 and changed:
            changed[at] ^= 1 << draw.upto(0, 7)
        elif kind == 2 and changed:
            changed[at] = draw.upto(0, 255)
        elif kind == 3:
            piece = draw.one(PIECES)
            changed[at:at] = piece
        elif kind == 4:
            piece = draw.one(PIECES)
            changed[at : at + len(piece)] = piece
        elif kind == 5:
            del changed[at : at + draw.upto(1, 20)]
        else:
            del changed[at:]
    return bytes(changed)


def _stored(draw: Draw, folder: Path, name: str, frame: Any) -> Any:
    """Return the frame as a file, or several, whose bytes may be changed; or as it is."""
    if not isinstance(frame, pl.DataFrame) or draw.chance(0.4):
        return frame
    parts = [frame]
    if frame.height > 1 and draw.chance(0.2):
        parts = [frame[:1], frame[1:]]
    paths = []
    for number, part in enumerate(parts):
        suffix = draw.one((".parquet", ".parquet", ".csv"))
        data = _bytes(draw, part, suffix)
        if data is None:
            return frame
        path = folder / f"{name}-{number}{suffix}"
        path.write_bytes(mutated(draw, data) if draw.chance(0.4) else data)
        paths.append(path)
    return paths if len(paths) > 1 else draw.one((paths[0], str(paths[0])))


def _bytes(draw: Draw, frame: pl.DataFrame, suffix: str) -> bytes | None:
    file = io.BytesIO()
    try:
        if suffix == ".csv":
            frame.write_csv(file, quote_style=draw.one(("necessary", "always", "non_numeric")))
        else:
            kinds: Any = ("zstd", "snappy", "lz4", "gzip", "brotli", "uncompressed")
            frame.write_parquet(file, compression=draw.one(kinds), statistics=draw.chance(0.5))
    except (Exception, pl.exceptions.PanicException):  # Polars': no such type in such a file
        return None
    return file.getvalue()


def _rules(draw: Draw, api: Api, folder: Path, night: Night) -> mg.Rules | None:
    """Return the night's ruleset from a file, whose bytes may be changed."""
    whole = api.call("Rules.load", lambda: mg.Rules.load(night.rules))
    require(whole is not None, "a sound ruleset was refused")
    assert whole is not None
    names: dict[str, Any] = {}
    for name in ("tiers", "weights"):
        if draw.chance(0.3):
            suffix = draw.one((".parquet", ".csv"))
            data = _bytes(draw, getattr(whole, name), suffix)
            if data is not None:
                names[name] = f"{name}{suffix}"
                stored = mutated(draw, data) if draw.chance(0.3) else data
                (folder / names[name]).write_bytes(stored)
    data = whole.to_toml(**names).encode()
    changed = draw.chance(0.5)
    path = folder / "rules.toml"
    path.write_bytes(mutated(draw, data) if changed else data)
    loaded = api.call("Rules.load", lambda: mg.Rules.load(path))
    require(changed or bool(names) or loaded == whole, "a ruleset changed on its way through TOML")
    return loaded or whole


def _ccxt(draw: Draw, api: Api, folder: Path) -> None:
    tier = {"minNotional": 0, "maxNotional": 50_000, "maintenanceMarginRate": 0.004}
    rows: list[Any] = [tier | {"maxLeverage": 125, "info": {"cum": "0.0"}}]
    rows.append({**rows[0], "minNotional": 50_000, "maxNotional": None, "info": None})
    content: Any = {"BTC/USDT:USDT": rows}
    if draw.chance(0.5):
        rows[draw.upto(0, 1)][draw.one([*tier, "maxLeverage", "info", "symbol"])] = draw.junk()
    api.call("tiers_from_ccxt", lambda: mg.tiers_from_ccxt(content))
    try:
        data = json.dumps(content).encode()
    except (TypeError, ValueError):
        return
    path = folder / "tiers.json"
    path.write_bytes(mutated(draw, data))
    api.call("tiers_from_ccxt", lambda: mg.tiers_from_ccxt(path))
