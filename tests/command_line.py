"""Running the command line as a process of its own, and a small night to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

__all__ = [
    "FRAMES",
    "TABLES",
    "Ran",
    "assert_refused",
    "environment",
    "harness",
    "make_night",
    "margrave",
    "names",
    "read",
]

FRAMES = ("positions", "balances", "instruments", "assets")

TABLES = ("accounts", "buckets", "positions", "totals", "rejects")

RULES = """
id = "small"
title = "Small"

[buckets]
valuation_asset = "USDC"

[[tiers]]
tier_table = "BTC"
floor = 0
maintenance_rate = 0.05
initial_rate = 0.1

[[tiers]]
tier_table = "ETH"
floor = 0
maintenance_rate = 0.05
initial_rate = 0.1

[[weights]]
weight_table = "USDC"
maintenance_weight = 1.0
"""


@dataclass(frozen=True)
class Ran:
    """What a process left: exit code, both outputs, and the folder it ran in."""

    code: int
    out: str
    err: str
    folder: Path


def make_night(folder: Path) -> Path:
    """Write three accounts: 1 is healthy, 2 in liquidation, 3 bankrupt.

    1: 10,000 + 1 * (61,000 - 60,000) = 11,000 against 5 % of 61,000 = 3,050
    2: 2,000 in cash, requirement 3,050
    3: 500 + 10 * (3,000 - 3,100) + 0 = -500
    """
    folder.mkdir()
    pl.DataFrame(
        {
            "account_id": [1, 3, 2, 3],
            "instrument_id": ["BTC", "ETH", "BTC", "BTC"],
            "quantity": [1.0, 10.0, 1.0, 0.0],
            "entry_price": [60_000.0, 3_100.0, 61_000.0, 50_000.0],
        }
    ).sort("account_id", maintain_order=True).write_parquet(folder / "positions.parquet")
    pl.DataFrame(
        {
            "account_id": [1, 2, 3],
            "asset_id": ["USDC"] * 3,
            "amount": [10_000.0, 2_000.0, 500.0],
        }
    ).write_parquet(folder / "balances.parquet")
    pl.DataFrame(
        {
            "instrument_id": ["BTC", "ETH"],
            "kind": ["linear"] * 2,
            "settle_asset": ["USDC"] * 2,
            "mark_price": [61_000.0, 3_000.0],
        }
    ).write_parquet(folder / "instruments.parquet")
    pl.DataFrame({"asset_id": ["USDC"], "price": [1.0]}).write_parquet(folder / "assets.parquet")
    (folder / "rules.toml").write_text(RULES, encoding="utf-8")
    return folder


def margrave(
    *arguments: object,
    folder: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Ran:
    """Run `margrave` in `folder`: by default where the first path among `arguments` lies."""
    if folder is None:
        folder = next(argument for argument in arguments if isinstance(argument, Path)).parent
    ran = subprocess.run(
        [sys.executable, "-m", "margrave", *map(str, arguments)],
        cwd=folder,
        env=environment(env),
        stdout=stdout,
        stderr=stderr,
        text=True,
        check=False,
        timeout=120,
    )
    return Ran(ran.returncode, ran.stdout or "", ran.stderr or "", Path(folder))


def harness(
    code: str, *arguments: object, folder: Path, env: Mapping[str, str] | None = None
) -> Ran:
    """Run `code` in a fresh Python with these arguments."""
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment(env),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr, folder)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this environment with 80 columns and without what changes the output."""
    unwanted = ("MARGRAVE_", "_MARGRAVE_", "NO_COLOR", "FORCE_COLOR", "TERMINAL_WIDTH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return kept | {"COLUMNS": "80", "LC_ALL": "C.UTF-8"} | dict(more or {})


def names(folder: Path) -> list[str]:
    """Return the sorted names of what `folder` holds."""
    return sorted(path.name for path in folder.iterdir())


def read(out: Path, table: str) -> pl.DataFrame:
    """Return a table that a run wrote to `out`."""
    return pl.read_parquet(out / f"{table}.parquet")


def assert_refused(ran: Ran, code: int, *words: str) -> None:
    """Fail unless the run ended with `code`, wrote no output, and said all `words`."""
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err
    assert not [name for name in names(ran.folder) if name.lstrip(".").startswith("out")]
