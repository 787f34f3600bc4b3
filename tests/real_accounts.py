"""Real Hyperliquid accounts as Margrave frames: 72 snapshots of February 2026, and one
account exactly as the venue returned it.

`load()` returns a `Night` of the snapshots, `load_venue_state()` one of the single account;
`write_night(folder)` writes a folder that `margrave sweep` takes. The data lie beside the
repository in `../shared/data`, described in its `SOURCES.md`; `missing()` says what is absent.

Conventions of the conversion:

- An account is an `account_id` in one snapshot. Those whose account value nobody could infer
  (`cross_account_value_usd` is null) are left out.
- The marks of one coin were taken minutes apart, so every row is an instrument of its own,
  named `coin@row`; its `base_asset` is the coin.
- The files give account values at the marks; Margrave takes what was put in. So the profit of
  the rows, `quantity * (mark - entry)`, comes off the cross value and the isolated margin.

Run as a program, it writes a night: `python tests/real_accounts.py NIGHT [SNAPSHOT]`.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
POSITIONS = DATA / "accounts" / "hyperliquid_positions_2026-02.parquet"
ACCOUNTS = DATA / "accounts" / "hyperliquid_accounts_2026-02.parquet"
VENUE_STATE = DATA / "accounts" / "hyperliquid_venue_state_2026-01-14.json"
MARKETS = DATA / "margin_tiers" / "hyperliquid_markets_2026-02-04.csv"
RULES = ROOT / "python" / "margrave" / "presets" / "hyperliquid.toml"


@dataclass(frozen=True)
class Night:
    """What a sweep takes, and beside it what the venue says comes out."""

    positions: pl.DataFrame
    balances: pl.DataFrame
    instruments: pl.DataFrame
    assets: pl.DataFrame
    accounts: pl.DataFrame
    """`account_id`, `owner_id` (the account without its snapshot), `snapshot`."""
    venue_positions: pl.DataFrame
    """One row per position, in its order: `liquidation_price` (USDC, null where the venue
    prints none), `mode_evidence`, `account_evidence` (see `SOURCES.md`)."""
    venue_accounts: pl.DataFrame
    """One row per account: `account_id`, and of its cross bucket `margin_ratio`,
    `maintenance_margin` and `initial_margin` (null in the snapshots, which lack it)."""


def missing() -> list[Path]:
    """Return the files of real data that are absent; an empty list where all are there."""
    return [path for path in (POSITIONS, ACCOUNTS, VENUE_STATE, MARKETS) if not path.exists()]


def snapshots() -> list[datetime]:
    """Return the moments of the 72 snapshots, the first first."""
    return pl.read_parquet(ACCOUNTS, columns=["snapshot"])["snapshot"].unique().sort().to_list()


def load(snapshot: datetime | None = None) -> Night:
    """Return the accounts of one snapshot, or of all 72."""
    accounts = pl.read_parquet(ACCOUNTS).filter(pl.col("cross_account_value_usd").is_not_null())
    if snapshot is not None:
        accounts = accounts.filter(pl.col("snapshot") == snapshot)
    accounts = accounts.select(
        pl.format("{}@{}", "account_id", pl.col("snapshot").dt.strftime("%Y-%m-%dT%H:%M")),
        owner_id="account_id",
        snapshot="snapshot",
        margin_ratio="margin_ratio",
        maintenance_margin="cross_mm_usd",
        initial_margin=pl.lit(None, pl.Float64),
        account_value="cross_account_value_usd",
        account_evidence="av_evidence",
    )
    rows = (
        pl.read_parquet(POSITIONS)
        .rename({"account_id": "owner_id"})
        .join(accounts, on=["owner_id", "snapshot"], how="inner", maintain_order="left")
        .select(
            "account_id",
            "account_evidence",
            "mode_evidence",
            "tiered",
            "max_leverage",
            coin="instrument",
            quantity="qty",
            entry_price="entry_px",
            mark_price="mark_px",
            isolated=pl.col("margin_mode") == "isolated",
            margin_with_profit="isolated_margin_usd",
            leverage="leverage_setting",
            liquidation_price="venue_liq_px",
        )
    )
    return _night(rows, accounts)


def load_venue_state() -> Night:
    """Return the one account of the venue's own `clearinghouseState`, with nothing inferred."""
    state = json.loads(VENUE_STATE.read_text())
    value = float(state["crossMarginSummary"]["accountValue"])
    maintenance_margin = float(state["crossMaintenanceMarginUsed"])
    account_id = "venue@2026-01-14T13:23"
    accounts = pl.DataFrame(
        {
            "account_id": [account_id],
            "owner_id": ["venue"],
            "snapshot": [datetime.fromisoformat("2026-01-14T13:23:30+00:00")],
            "margin_ratio": [maintenance_margin / value],
            "maintenance_margin": [maintenance_margin],
            "initial_margin": [float(state["crossMarginSummary"]["totalMarginUsed"])],
            "account_value": [value],
            "account_evidence": ["venue"],
        }
    )
    rows = pl.DataFrame([_venue_row(entry["position"]) for entry in state["assetPositions"]])
    rows = rows.with_columns(
        account_id=pl.lit(account_id),
        account_evidence=pl.lit("venue"),
        mode_evidence=pl.lit("venue"),
        tiered=pl.lit(value=True),
    )
    return _night(rows, accounts)


def _venue_row(position: dict[str, object]) -> dict[str, object]:
    """Return one position of the venue's answer in numbers; its decimals come as text."""
    leverage = position["leverage"]
    assert isinstance(leverage, dict)
    quantity = float(str(position["szi"]))
    isolated = leverage["type"] == "isolated"
    price = position["liquidationPx"]
    return {
        "coin": position["coin"],
        "quantity": quantity,
        "entry_price": float(str(position["entryPx"])),
        "mark_price": float(str(position["positionValue"])) / abs(quantity),
        "isolated": isolated,
        "margin_with_profit": float(str(position["marginUsed"])) if isolated else None,
        "leverage": leverage["value"],
        "max_leverage": position["maxLeverage"],
        "liquidation_price": None if price is None else float(str(price)),
    }


def _night(rows: pl.DataFrame, accounts: pl.DataFrame) -> Night:
    """Return Margrave's frames of `rows`, one position each, and of their `accounts`."""
    tables = pl.read_csv(MARKETS).select(coin="instrument", market_table="margin_table_id")
    profit = pl.col("quantity") * (pl.col("mark_price") - pl.col("entry_price"))
    rows = (
        rows.join(tables, on="coin", how="left", maintain_order="left")
        .with_row_index("row")
        .with_columns(
            instrument_id=pl.format("{}@{}", "coin", "row"),
            margin_mode=pl.when("isolated").then(pl.lit("isolated")).otherwise(pl.lit("cross")),
            # Positions kept from before a cap was lowered have the flat table of the old cap.
            tier_table=pl.when("tiered").then("market_table").otherwise("max_leverage"),
            profit=profit,
        )
    )
    cross = rows.filter(~pl.col("isolated")).group_by("account_id", maintain_order=True)
    by_account = cross.agg("profit")
    # Sums of Polars' own depend on how its threads cut the rows.
    sums = [math.fsum(profits) for profits in by_account["profit"]]
    cross_profit = by_account.with_columns(pl.Series("profit", sums, pl.Float64))
    balances = accounts.join(cross_profit, on="account_id", how="left", maintain_order="left")
    return Night(
        positions=rows.select(
            "account_id",
            "instrument_id",
            "quantity",
            "entry_price",
            "margin_mode",
            isolated_margin=pl.col("margin_with_profit") - pl.col("profit"),
            leverage="leverage",
        ),
        balances=balances.select(
            "account_id",
            asset_id=pl.lit("USDC"),
            amount=pl.col("account_value") - pl.col("profit").fill_null(0.0),
        ),
        instruments=rows.select(
            "instrument_id",
            kind=pl.lit("linear"),
            settle_asset=pl.lit("USDC"),
            mark_price="mark_price",
            base_asset="coin",
            tier_table=pl.col("tier_table").cast(pl.String),
        ),
        assets=pl.DataFrame({"asset_id": ["USDC"], "price": [1.0], "is_stable": [True]}),
        accounts=accounts.select("account_id", "owner_id", "snapshot"),
        venue_positions=rows.select("liquidation_price", "mode_evidence", "account_evidence"),
        venue_accounts=accounts.select(
            "account_id", "margin_ratio", "maintenance_margin", "initial_margin"
        ),
    )


def write_night(folder: Path, snapshot: datetime | None = None) -> Night:
    """Write a folder that `margrave sweep` takes, with rules, and return what it holds."""
    night = load(snapshot)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("positions", "balances", "instruments", "assets", "accounts"):
        getattr(night, name).write_parquet(folder / f"{name}.parquet")
    shutil.copyfile(RULES, folder / "rules.toml")
    return night


def _main(arguments: list[str]) -> None:
    """Write the night that the command line asks for."""
    if not 1 <= len(arguments) <= 2:
        sys.exit("usage: python tests/real_accounts.py NIGHT [SNAPSHOT, as 2026-02-05T18]")
    if absent := missing():
        sys.exit(f"absent: {', '.join(map(str, absent))}")
    snapshot = None
    if len(arguments) == 2:
        meant = [time for time in snapshots() if time.isoformat().startswith(arguments[1])]
        if len(meant) != 1:
            listed = ", ".join(time.isoformat(timespec="minutes") for time in snapshots())
            sys.exit(f"{arguments[1]} names {len(meant)} of the snapshots {listed}")
        snapshot = meant[0]
    night = write_night(Path(arguments[0]), snapshot)
    print(f"{night.accounts.height} accounts, {night.positions.height} positions")


if __name__ == "__main__":
    _main(sys.argv[1:])
