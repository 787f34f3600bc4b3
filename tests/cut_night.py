"""A synthetic night, whole and in shards, and what commands make of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl

from command_line import Ran, margrave

#: Accounts of the night that is cut, the frames that are, and into how many shards.
ACCOUNTS = 1500
CUT = ("positions", "balances")
SHARDS = 5


def make_whole(folder: Path) -> Path:
    """Write a night with an account of a bad row, a row of nobody and an accounts frame."""
    assert margrave("generate", "--accounts", ACCOUNTS, "--out", folder).code == 0
    positions = pl.read_parquet(folder / "positions.parquet")
    rows = pl.int_range(pl.len())
    positions = positions.with_columns(
        quantity=pl.when(rows % 700 == 3).then(None).otherwise("quantity"),
        account_id=pl.when(rows == 11).then(None).otherwise("account_id"),
    )
    positions.write_parquet(folder / "positions.parquet")
    ids = positions["account_id"].drop_nulls().unique(maintain_order=True)[:700]
    owners = pl.DataFrame({"account_id": ids, "owner_id": [f"owner {i % 90}" for i in range(700)]})
    owners.write_parquet(folder / "accounts.parquet")
    return folder


def make_cut(whole: Path) -> Path:
    """Write the same night in shards, beside it."""
    run("shard", whole, "--shards", SHARDS, "--out", whole.parent / "cut", code=0)
    return whole.parent / "cut"


def table(folder: Path, name: str) -> pl.DataFrame:
    """Return a table of a result, in shards or not, in the order of accounts."""
    path = folder / name
    files = sorted(path.iterdir()) if path.is_dir() else [folder / f"{name}.parquet"]
    frame = pl.concat([pl.read_parquet(file) for file in files])
    return frame.sort("account_id", maintain_order=True) if "account_id" in frame.columns else frame


def content(folder: Path) -> dict[str, str]:
    """Return the digest of each table of a result."""
    files = sorted(path for path in folder.rglob("*.parquet"))
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return found


def run(*arguments: object, code: int = 1) -> Ran:
    """Run a command; 1 is what a night with rejects ends with."""
    ran = margrave(*arguments)
    assert ran.code == code, ran.err
    return ran
