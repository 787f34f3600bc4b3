"""Answers first: whether a peer's answer is Margrave's, before any time is printed.

`compare(kind, ours, theirs)` raises an `AssertionError` that says what differs. Figures must
agree to `TOLERANCE` of themselves; where one is the small difference of large ones, whose last
digits depend on the order of a sum, `ROUNDING` of what the account turns over is allowed beside.
"""

from __future__ import annotations

import polars as pl

from exchange import Exchange
from peers.outcomes import apart
from peers.polars_sweep import COLUMNS, MONEY, RATIOS
from peers.task import BOOK, SUMS, THIN

TOLERANCE = 1e-9
ROUNDING = 1e-14

EXACT = ["account_id", "status", "is_liquidatable", "positions", "ladder"]


def compare_same(ours: pl.DataFrame, theirs: pl.DataFrame, *, ordered: bool) -> int:
    """Compare two account frames in every column; return how many accounts were compared."""
    assert ours.columns == theirs.columns == COLUMNS
    assert ours.height == theirs.height
    if not ordered:
        theirs = ours.select("account_id").join(theirs, on="account_id", maintain_order="left")
        assert ours.height == theirs.height
    assert ours.schema == theirs.schema
    for column in EXACT:
        assert ours[column].equals(theirs[column], null_equal=True), column
    counts = {name: _apart(ours, theirs, name) for name in (*MONEY, *RATIOS)}
    apart = {name: count for name, count in counts.items() if count}
    assert not apart, f"accounts whose figure is not the same: {apart}"
    return ours.height


def _apart(ours: pl.DataFrame, theirs: pl.DataFrame, name: str) -> int:
    """Return in how many accounts the figures differ."""
    left, right = ours[name], theirs[name]
    assert not left.is_nan().any(), name
    turnover = ours["gross_notional"] + ours["collateral_value"] + ours["debt_value"]
    larger = pl.select(pl.max_horizontal(left.abs(), right.abs())).to_series()
    rounding = ROUNDING * turnover
    if name in RATIOS:
        least = pl.select(pl.min_horizontal(ours["margin_balance"].abs(), ours["equity"].abs()))
        rounding = rounding * larger / least.to_series()
    near = (left - right).abs() <= TOLERANCE * larger + rounding
    same = left.eq_missing(right) | (left.is_finite() & right.is_finite() & near)
    return ours.height - int(same.fill_null(value=False).sum())


# Thin answers


def comparable(exchange: Exchange, accounts: pl.DataFrame) -> pl.Series:
    """Return the ids of the accounts for which the thin question is the whole question.

    No two rows are in one instrument, none is isolated or has open orders or a chosen leverage;
    nothing is owed, and no collateral reaches its second slice.
    """
    positions = exchange.positions
    odd = pl.lit(value=False)
    for name, plain in (("open_buy_quantity", 0.0), ("open_sell_quantity", 0.0)):
        if name in positions.columns:
            odd = odd | (pl.col(name).fill_null(plain) != plain)
    if "leverage" in positions.columns:
        odd = odd | pl.col("leverage").is_not_null()
    if "margin_mode" in positions.columns:
        odd = odd | (pl.col("margin_mode") == "isolated")
    held = positions.group_by("account_id").agg(
        odd=odd.any(), repeated=pl.col("instrument_id").n_unique() < pl.len()
    )
    owed = exchange.balances.group_by("account_id").agg(owed=(pl.col("amount") < 0).any())
    floors = exchange.weights.filter(pl.col("floor") > 0)["floor"]
    second = floors.min() if len(floors) else float("inf")
    return (
        accounts.select("account_id", "collateral_value")
        .join(held, on="account_id", how="left")
        .join(owed, on="account_id", how="left")
        .filter(
            ~pl.col("odd").fill_null(value=False)
            & ~pl.col("repeated").fill_null(value=False)
            & ~pl.col("owed").fill_null(value=False)
            & (pl.col("collateral_value") < second)
        )["account_id"]
    )


THIN_OF_SAME = {
    "equity": "margin_balance",
    "maintenance": "maintenance_margin",
    "initial": "initial_margin",
    "notional": "gross_notional",
    "flag": "is_liquidatable",
}


def compare_thin_with_same(thin: pl.DataFrame, accounts: pl.DataFrame, ids: pl.Series) -> int:
    """Compare the thin answer with the account frame, for these accounts; return their number.

    Thin `equity` is weighted, so it is our margin balance; leverage is of that and is left out.
    """
    both = (
        ids.to_frame()
        .join(accounts, on="account_id", maintain_order="left")
        .join(thin, on="account_id", maintain_order="left", suffix="_thin")
    )
    scale = both["gross_notional"] + both["collateral_value"]
    for name, column in THIN_OF_SAME.items():
        theirs = both["equity_thin"] if name == "equity" else both[name]
        if name == "flag":
            assert both[column].equals(theirs), "flag"
        else:
            _close(both[column], theirs, scale, name)
    return both.height


def compare_thin(left: pl.DataFrame, right: pl.DataFrame) -> int:
    """Compare two thin answers in every account and column; return how many accounts."""
    assert left.columns == right.columns == THIN
    assert left.height == right.height
    right = left.select("account_id").join(right, on="account_id", maintain_order="left")
    scale = left["notional"] + left["equity"].abs()
    for name in SUMS:
        _close(left[name], right[name], scale, name)
    near_line = (left["equity"] - left["maintenance"]).abs() <= TOLERANCE * scale
    assert ((left["flag"] == right["flag"]) | near_line).all(), "flag"
    for name, below in (("ratio", "maintenance"), ("leverage", "notional")):
        # A quotient says no more than what it is made of, but it must be there.
        sane = left["equity"].abs() > 1e-6 * scale
        one, other = (frame.filter(sane)[name] for frame in (left, right))
        near = (one - other).abs() <= 1e3 * TOLERANCE * (1 + one.abs())
        assert near.all(), f"{name}: {below} over equity"
    return left.height


def _close(left: pl.Series, right: pl.Series, scale: pl.Series, name: str) -> None:
    larger = pl.select(pl.max_horizontal(left.abs(), right.abs())).to_series()
    near = (left - right).abs() <= TOLERANCE * larger + 10 * ROUNDING * scale
    bad = len(left) - int(near.fill_null(value=False).sum())
    assert bad == 0, f"{name}: {bad} of {len(left)} accounts differ"


# Books and positions


def compare_books(left: pl.DataFrame, right: pl.DataFrame) -> int:
    """Compare what two prepared books hold; return how many accounts."""
    assert left.columns == right.columns == BOOK
    assert left.height == right.height
    right = left.select("account_id").join(right, on="account_id", maintain_order="left")
    assert left["rows"].cast(pl.Int64).equals(right["rows"].cast(pl.Int64)), "rows"
    for name in ("quantity", "amount"):
        one, other = left[name], right[name]
        assert ((one - other).abs() <= 1e-6 + TOLERANCE * one.abs()).all(), name
    return left.height


POSITION_NUMBERS = ["mark_price", "notional", "unrealized_pnl"]
POSITION_NUMBERS += ["maintenance_margin", "initial_margin"]
POSITION_PRICES = ["liquidation_price", "bankruptcy_price"]


def compare_positions(ours: pl.DataFrame, theirs: pl.DataFrame) -> int:
    """Compare the figures of each row; return how many rows.

    A price is the quotient of a difference, so it is compared to `1e-6`; a price next to 0 or
    next to none at all may fall on either side, in one row of 10,000.
    """
    assert ours.height == theirs.height
    assert ours["tier"].equals(theirs["tier"]), "tier"
    for name in POSITION_NUMBERS:
        scale = ours["notional"] if name != "mark_price" else ours["mark_price"]
        _close(ours[name], theirs[name], 100 * scale, name)
    kinds = (ours["liquidation_price_kind"] != theirs["liquidation_price_kind"]).sum()
    assert kinds <= ours.height * 1e-4, f"liquidation_price_kind: {kinds} rows differ"
    for name in POSITION_PRICES:
        one, other = ours[name], theirs[name]
        near = (one - other).abs() <= 1e-6 * one.abs()
        same = (near | one.eq_missing(other)).fill_null(value=False)
        bad = ours.height - int(same.sum())
        assert bad <= ours.height * 1e-4, f"{name}: {bad} of {ours.height} rows differ"
    return ours.height


# Stresses and breaches

COUNTS = ["scenario_id", "accounts", "liquidatable_accounts", "newly_liquidatable_accounts"]
COUNTS += ["bankrupt_accounts", "account_id", "worst_scenario", "status", "scenarios_liquidatable"]
"""What must be equal as it stands, where a peer answers it."""


def compare_stress(ours: pl.DataFrame, theirs: pl.DataFrame, accounts: pl.DataFrame) -> int:
    """Compare two stresses in the columns that the peer answers; return how many accounts.

    `accounts` is the account frame of the market as given: what an account turns over.
    """
    left, right = apart(ours), apart(theirs)
    assert left[0].height == right[0].height
    for name in right[0].columns:
        one, other = left[0][name], right[0][name]
        if name in COUNTS:
            assert one.equals(other), name
        else:
            assert ((one - other).abs() <= TOLERANCE * one.abs()).all(), name
    assert left[1].height == right[1].height
    both = left[1].join(right[1], on="account_id", maintain_order="left", suffix="_theirs")
    both = both.join(accounts, on="account_id", maintain_order="left", suffix="_given")
    turnover = both["gross_notional"] + both["collateral_value"] + both["debt_value"]
    for name in right[1].columns[1:]:
        one, other = both[name], both[f"{name}_theirs"]
        if name in COUNTS:
            bad = both.height - int(one.eq_missing(other).sum())
            assert bad == 0, f"{name}: {bad} accounts differ"
        else:
            _close(one, other, turnover, name)
    return both.height


def compare_breaches(ours: pl.DataFrame, theirs: pl.DataFrame) -> int:
    """Compare the shock at which each account breaches, to 1e-9; return how many accounts."""
    assert ours.columns == theirs.columns
    assert ours.height == theirs.height
    both = ours.join(theirs, on="account_id", maintain_order="left", suffix="_theirs")
    kinds = both.height - int(both["breach_kind"].eq_missing(both["breach_kind_theirs"]).sum())
    assert kinds == 0, f"breach_kind: {kinds} accounts differ"
    one, other = both["breach_shock"], both["breach_shock_theirs"]
    same = ((one - other).abs() <= TOLERANCE) | one.eq_missing(other)
    bad = both.height - int(same.fill_null(value=False).sum())
    assert bad == 0, f"breach_shock: {bad} accounts differ"
    return both.height
