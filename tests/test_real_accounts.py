"""Real accounts: what the engine says against what the venue said of the same account.

18,724 accounts of Hyperliquid in 72 snapshots. Nothing here is computed twice by us: the
liquidation prices are the venue's, and the account values were read off them (`SOURCES.md`
beside the data states how closely). Skipped, with a warning, where the data are absent.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import polars as pl
import pytest

import margrave as mg
import real_accounts
from real_accounts import Night

# A skip hides in a row of dots; the warning stands in the summary, also where warnings are errors.
pytestmark = pytest.mark.filterwarnings("default:the real accounts are absent")


@pytest.fixture(scope="module")
def data() -> None:
    """Skip what needs the real accounts where they are absent, and say so."""
    absent = real_accounts.missing()
    if absent:
        reason = (
            "the real accounts are absent, nothing was compared with the venue: "
            f"{', '.join(path.name for path in absent)} below {real_accounts.DATA}"
        )
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def night(data: None) -> Night:
    return real_accounts.load()


@pytest.fixture(scope="module")
def swept(night: Night) -> mg.Sweep:
    return _sweep(night)


@pytest.fixture(scope="module")
def rows(night: Night, swept: mg.Sweep) -> pl.DataFrame:
    """One row per position: what the sweep says of it, and the venue's figures beside it."""
    return _beside(swept, night)


@pytest.fixture(scope="module")
def venue_state(data: None) -> Night:
    return real_accounts.load_venue_state()


def _sweep(night: Night) -> mg.Sweep:
    return mg.sweep(
        night.positions,
        night.balances,
        night.instruments,
        night.assets,
        mg.Rules.preset("hyperliquid"),
        accounts=night.accounts,
    )


def _beside(swept: mg.Sweep, night: Night) -> pl.DataFrame:
    ours = swept.positions
    assert ours.height == night.positions.height
    assert ours["instrument_id"].to_list() == night.positions["instrument_id"].to_list()
    return ours.select(
        "account_id",
        "bucket_id",
        "instrument_id",
        ours="liquidation_price",
        kind="liquidation_price_kind",
    ).hstack(night.venue_positions.rename({"liquidation_price": "venues"}))


def _errors(rows: pl.DataFrame) -> list[float]:
    """Return our prices' relative errors to the venue's where it prints one, least first."""
    printed = rows.filter(pl.col("venues").is_not_null())
    assert printed["ours"].null_count() == 0, printed.filter(pl.col("ours").is_null())
    assert printed["kind"].cast(pl.String).unique().to_list() == ["root"]
    errors = printed.select((pl.col("ours") / pl.col("venues") - 1).abs().sort())
    return errors.to_series().to_list()


def test_the_night_holds_all_72_snapshots(night: Night, swept: mg.Sweep) -> None:
    assert night.accounts["snapshot"].n_unique() == 72
    assert swept.accounts.height == 18_724
    assert swept.accounts.height == night.venue_accounts.height
    assert swept.positions.height == 150_063
    assert swept.rejects.is_empty()


def test_liquidation_prices_are_the_venues(rows: pl.DataFrame) -> None:
    errors = _errors(rows.filter(pl.col("mode_evidence") != "no_two_agree"))
    assert len(errors) == 103_585
    assert errors[len(errors) // 2] <= 1e-11
    assert errors[len(errors) * 99 // 100] <= 1e-8
    assert errors[-1] <= 1e-5


def test_no_price_liquidates_where_the_venue_prints_none(rows: pl.DataFrame) -> None:
    unprinted = rows.filter(
        pl.col("venues").is_null() & (pl.col("account_evidence") == "liq_px_agrees")
    )
    assert unprinted.height == 39_488
    assert unprinted["kind"].cast(pl.String).unique().to_list() == ["none"]
    assert unprinted["ours"].null_count() == unprinted.height


def test_the_cross_bucket_has_the_margin_ratio_of_the_accounts_file(
    night: Night, swept: mg.Sweep
) -> None:
    cross = swept.buckets.filter(pl.col("bucket_id") == "cross")
    both = night.venue_accounts.join(cross, on="account_id", suffix="_ours", validate="1:1")
    assert both.height == 18_724
    for column in ("margin_ratio", "maintenance_margin"):
        errors = both.select((pl.col(f"{column}_ours") / pl.col(column) - 1).abs())
        assert (errors.to_series() <= 1e-9).all(), column


def test_nobody_is_flagged(swept: mg.Sweep) -> None:
    assert not swept.accounts["is_liquidatable"].any()
    assert not swept.buckets["is_liquidatable"].any()
    assert swept.accounts["is_liquidatable"].null_count() == 0
    assert swept.totals["liquidatable_accounts"].item() == 0
    assert (swept.accounts["margin_buffer"] > 0).all()


def test_isolated_rows_are_buckets_of_their_own(night: Night, swept: mg.Sweep) -> None:
    isolated = night.positions.filter(pl.col("margin_mode") == "isolated")
    assert isolated.height == 1_667
    labels = swept.buckets.filter(pl.col("bucket_id") != "cross")["bucket_id"].to_list()
    assert sorted(labels) == sorted(f"isolated:{row}" for row in isolated["instrument_id"])


def test_a_snapshot_swept_alone_gives_the_same_rows(night: Night, swept: mg.Sweep) -> None:
    last = real_accounts.snapshots()[-1]
    alone = _sweep(real_accounts.load(last)).accounts
    assert alone.height > 100
    assert alone.equals(swept.accounts.filter(pl.col("snapshot") == last))


def test_a_folder_of_real_accounts_is_swept_on_the_command_line(data: None, tmp_path: Path) -> None:
    night = real_accounts.write_night(tmp_path / "night", real_accounts.snapshots()[-1])
    command = shutil.which("margrave", path=str(Path(sys.executable).parent)) or "margrave"
    done = subprocess.run(
        [command, "sweep", str(tmp_path / "night"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip(), "a sweep prints its summary to standard error"
    assert (tmp_path / "out" / "manifest.json").exists()

    duckdb = pytest.importorskip("duckdb")
    for table in ("accounts", "buckets", "positions", "totals", "rejects"):
        path = tmp_path / "out" / f"{table}.parquet"
        rows = pl.read_parquet(path).height
        counted = duckdb.sql(f"select count(*) from read_parquet('{path}')").fetchall()
        assert counted == [(rows,)], table
    accounts = pl.read_parquet(tmp_path / "out" / "accounts.parquet")
    assert (
        accounts["account_id"].to_list()
        == night.positions["account_id"].unique(maintain_order=True).to_list()
    )
    assert not accounts["is_liquidatable"].any()


def test_the_venues_own_state_has_its_margins(venue_state: Night) -> None:
    cross = _sweep(venue_state).buckets.row(0, named=True)
    venues = venue_state.venue_accounts.row(0, named=True)
    assert cross["bucket_id"] == "cross"
    assert abs(cross["maintenance_margin"] - venues["maintenance_margin"]) <= 1e-5
    assert abs(cross["initial_margin"] - venues["initial_margin"]) <= 1e-5
    assert abs(cross["margin_ratio"] / venues["margin_ratio"] - 1) <= 1e-9
    assert not cross["is_liquidatable"]


def test_the_venues_own_state_has_its_ten_liquidation_prices(venue_state: Night) -> None:
    rows = _beside(_sweep(venue_state), venue_state)
    errors = _errors(rows)
    assert len(errors) == 10
    assert errors[-1] <= 1e-7
    unprinted = rows.filter(pl.col("venues").is_null())
    assert unprinted["kind"].cast(pl.String).to_list() == ["none"] * 6
