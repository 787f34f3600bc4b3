"""The peer with the same answer: a night's sweep in plain Polars.

`same_answer(exchange, engine)` returns what `mg.sweep(...).accounts` returns: every column, in
order of first appearance, after the same checks of the input.

It reads an exchange as `mg.generate` makes it, with all its columns or the required ones alone,
under its conventions: linear and inverse contracts, pooling all, netting net, marginal tiers on
notional at the mark, `initial = "larger"`, open orders in the initial requirement, profit beside
the collateral and in full, `lt` at level 1. Ids are Enums. A tier table chosen by row is refused.

What makes it fast, each timed against the alternative on two threads: terms are gathered by the
ids' codes, not joined; rows are netted by one 128-bit key of account and code, not by two keys;
brackets are counted, which is as fast as splitting rows off for `join_asof`; the streaming engine
groups, the in-memory engine joins in order; and the first stages are collected together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import polars as pl

from exchange import Exchange
from peers.polars_market import LARGEST, Market, gather, read_market
from peers.task import Task, same

Engine = Literal["streaming", "in-memory"]

STATUS = pl.Enum(["flat", "healthy", "below_initial", "liquidation", "bankrupt", "indeterminate"])
FLAT, HEALTHY, BELOW_INITIAL, LIQUIDATION, BANKRUPT = range(5)

MONEY = ["equity", "margin_balance", "collateral_value", "debt_value", "unrealized_pnl"]
MONEY += ["gross_notional", "net_notional", "initial_margin", "maintenance_margin"]
MONEY += ["margin_buffer", "free_collateral", "bad_debt"]
RATIOS = ["margin_ratio", "margin_level", "maintenance_margin_ratio", "equity_ratio"]
RATIOS += ["effective_leverage", "ltv", "health_factor"]
COLUMNS = ["account_id", "status", "is_liquidatable", *MONEY, *RATIOS, "positions", "ladder"]
"""The account frame, in the contract's order."""

HELD = ["unrealized_pnl", "gross_notional", "net_notional", "initial_margin"]
HELD += ["maintenance_margin", "positions", "largest"]
CASH = ["collateral_value", "debt_value", "weighted_collateral", "initial_collateral"]
CASH += ["liability", "maintenance_borrow", "initial_borrow"]
SUMS = [*MONEY, "weighted_collateral", "positions"]
CODES = 1 << 32
WORST = ["rank", "margin_level", "margin_ratio"]


def task(engine: Engine) -> Callable[[Exchange], Task]:
    """Return the work `w1`, accounts joined by one engine or the other."""
    return lambda exchange: Task(lambda: same_answer(exchange, engine), same)


def same_answer(exchange: Exchange, engine: Engine = "in-memory") -> pl.DataFrame:
    """Return the account frame of a sweep: 24 columns, in order of first appearance."""
    market = read_market(exchange)
    positions, balances = exchange.positions.lazy(), exchange.balances.lazy()
    ids = [positions.select("account_id"), balances.select("account_id")]
    stages = [
        pl.concat(ids).unique(maintain_order=True),
        net_positions(positions, market),
        cash_of_accounts(balances, market),
        *refused_rows(exchange, market),
    ]
    if "margin_mode" in exchange.positions.columns:
        stages.append(isolated_buckets(positions, market))
    order, net_rows, cash, *others = pl.collect_all(stages, engine="streaming")
    refused, isolated = others[:2], others[2] if others[2:] else pl.DataFrame()
    for counts in refused:
        if any(counts.row(0)):
            raise ValueError(f"rows are refused: {counts.row(0, named=True)}")
    held = positions_of_accounts(net_rows, market).collect(engine="streaming")
    cross = (
        order.lazy()
        .join(held.lazy(), on="account_id", how="left", maintain_order="left")
        .join(cash.lazy(), on="account_id", how="left", maintain_order="left")
        .with_columns(pl.col(*HELD, *CASH).fill_null(0))
    )
    return accounts(bucket(cross), isolated).collect(engine=engine)


def refused_rows(exchange: Exchange, market: Market) -> list[pl.LazyFrame]:
    """Return, for positions and balances, how many values of each column are no good."""
    if "tier_table" in exchange.positions.columns:
        raise ValueError("positions.tier_table: this peer does not read it")
    column, posted = pl.col, pl.col("isolated_margin")
    listed = market.instruments["value"].is_not_null() & market.tiers.first.is_not_null()
    missing = (column("margin_mode") == "isolated") & posted.is_null()
    priced = market.assets["price"].is_not_null() & market.weights.first.is_not_null()
    positions = {
        "account_id": column("account_id").is_not_null(),
        "instrument_id": gather(listed, column("instrument_id").to_physical()),
        "quantity": column("quantity").is_between(-LARGEST, LARGEST),
        "entry_price": column("entry_price").is_between(0, LARGEST, closed="right"),
        "margin_mode": column("margin_mode").is_not_null(),
        "isolated_margin": posted.is_between(-LARGEST, LARGEST) | (posted.is_null() & ~missing),
        "leverage": _optional("leverage", closed="right"),
        "open_buy_quantity": _optional("open_buy_quantity"),
        "open_sell_quantity": _optional("open_sell_quantity"),
    }
    balances = {
        "account_id": column("account_id").is_not_null(),
        "asset_id": gather(priced, column("asset_id").to_physical()),
        "amount": column("amount").is_between(-LARGEST, LARGEST),
    }
    frames = ((exchange.positions, positions), (exchange.balances, balances))
    return [
        _refused(frame, {name: flags for name, flags in good.items() if name in frame.columns})
        for frame, good in frames
    ]


def _optional(name: str, *, closed: Literal["both", "right"] = "both") -> pl.Expr:
    return pl.col(name).is_between(0, LARGEST, closed=closed).fill_null(value=True)


def _refused(frame: pl.DataFrame, good: dict[str, pl.Expr]) -> pl.LazyFrame:
    bad = {name: (~flags.fill_null(value=False)).sum() for name, flags in good.items()}
    return frame.lazy().select(**bad)


# Book: rows to accounts


def sized(rows: pl.LazyFrame, market: Market) -> pl.LazyFrame:
    """Return net rows with their notional and what they require, in the valuation asset.

    The size of the initial requirement is that of the worse fill of the row's orders.
    """
    code, quantity = pl.col("code"), pl.col("quantity")
    value = gather(market.instruments["value"], code)
    notional, size, known = pl.col("gross_notional"), pl.col("size"), rows.collect_schema()
    slices = {"slice": market.tiers.slice_of(code, notional)}
    if "open_buy_quantity" in known:
        bought = (quantity + pl.col("open_buy_quantity")).abs()
        sold = (quantity - pl.col("open_sell_quantity")).abs()
        rows = rows.with_columns(size=pl.max_horizontal(bought, sold) * value)
        slices["initial_slice"] = market.tiers.slice_of(code, size)
    else:
        rows = rows.with_columns(size=quantity.abs() * value)
    by_tier = market.tiers.total("initial_rate", size, pl.col(list(slices)[-1]))
    # Without a leverage the second is null, and the largest of what is left counts.
    initial = pl.max_horizontal(by_tier, size / pl.col("leverage"))
    return (
        rows.with_columns(gross_notional=quantity.abs() * value, net_notional=quantity * value)
        .with_columns(**slices)
        .with_columns(
            maintenance_margin=market.tiers.total("maintenance_rate", notional, pl.col("slice")),
            initial_margin=initial if "leverage" in known else by_tier,
        )
    )


def unrealized_pnl(market: Market) -> pl.Expr:
    """Return the profit of a row: q m (P - E) S, or q m (1/E - 1/P) S if inverse."""
    code, entry = pl.col("code"), pl.col("entry_price")
    mark = gather(market.instruments["mark_price"], code)
    unit = gather(market.instruments["unit"], code)
    inverse = gather(market.instruments["inverse"], code)
    scale = pl.when(inverse).then(entry * mark).otherwise(1.0)
    return pl.col("quantity") * unit * (mark - entry) / scale


def net(rows: pl.LazyFrame, *sums: pl.Expr) -> pl.LazyFrame:
    """Return `rows` reduced to one per `account_id` and `code`."""
    account_id = rows.collect_schema()["account_id"]
    key = pl.col("account_id").cast(pl.Int128) * CODES + pl.col("code")
    return (
        rows.group_by(key.alias("key"))
        .agg(*sums)
        .with_columns(
            account_id=(pl.col("key") // CODES).cast(account_id),
            code=(pl.col("key") % CODES).cast(pl.UInt32),
        )
        .drop("key")
    )


def net_positions(positions: pl.LazyFrame, market: Market) -> pl.LazyFrame:
    """Return the cross positions, one row per account and instrument."""
    known = positions.collect_schema().names()
    summed = ["quantity", "unrealized_pnl"]
    summed += [name for name in ("open_buy_quantity", "open_sell_quantity") if name in known]
    smallest = [pl.col("leverage").min()] if "leverage" in known else []
    if "margin_mode" in known:
        positions = positions.filter(pl.col("margin_mode") == "cross")
    rows = positions.with_columns(code=pl.col("instrument_id").to_physical())
    return net(
        rows.with_columns(unrealized_pnl=unrealized_pnl(market)),
        pl.col(summed).sum(),
        *smallest,
        pl.col("quantity").abs().max().alias("largest"),
        pl.len().alias("positions"),
    )


def positions_of_accounts(net_rows: pl.DataFrame, market: Market) -> pl.LazyFrame:
    """Return per account what its net cross positions are worth and require."""
    sums = pl.col([name for name in HELD if name != "largest"]).sum()
    rows = sized(net_rows.lazy(), market)
    return rows.group_by("account_id").agg(sums, pl.col("largest").max())


def cash_of_accounts(balances: pl.LazyFrame, market: Market) -> pl.LazyFrame:
    """Return per account what its balances are worth, weigh and owe."""
    code, value = pl.col("code"), pl.col("value")
    owned, debt = pl.col("collateral_value"), pl.col("debt_value")
    terms, weights = market.assets, market.weights
    rows = balances.with_columns(code=pl.col("asset_id").to_physical())
    return (
        net(rows, pl.col("amount").sum())
        .with_columns(value=pl.col("amount") * gather(terms["price"], code))
        .with_columns(
            collateral_value=value.clip(lower_bound=0.0), debt_value=(-value).clip(lower_bound=0.0)
        )
        .with_columns(slice=weights.slice_of(code, owned))
        .with_columns(
            weighted_collateral=weights.total("maintenance_weight", owned, pl.col("slice")),
            initial_collateral=weights.total("initial_weight", owned, pl.col("slice")),
            liability=debt * gather(terms["liability_weight"], code),
            maintenance_borrow=debt * gather(terms["maintenance_borrow_rate"], code),
            initial_borrow=debt * gather(terms["initial_borrow_rate"], code),
        )
        .group_by("account_id")
        .agg(pl.col(CASH).sum())
    )


def isolated_buckets(positions: pl.LazyFrame, market: Market) -> pl.LazyFrame:
    """Return per account the sums over its isolated rows, and the worst of them."""
    code = pl.col("code")
    terms = market.instruments
    posted = pl.col("isolated_margin") * gather(terms["settle_price"], code)
    debt = pl.col("debt_value")
    rows = (
        positions.filter(pl.col("margin_mode") == "isolated")
        .with_columns(code=pl.col("instrument_id").to_physical())
        .with_columns(
            pl.col("open_buy_quantity", "open_sell_quantity").fill_null(0.0),
            unrealized_pnl=unrealized_pnl(market),
            largest=pl.col("quantity").abs(),
            positions=pl.lit(1, pl.UInt32),
            collateral_value=posted.clip(lower_bound=0.0),
            debt_value=(-posted).clip(lower_bound=0.0),
        )
        .with_columns(
            weighted_collateral="collateral_value",
            initial_collateral="collateral_value",
            liability="debt_value",
            maintenance_borrow=debt * gather(terms["maintenance_borrow_rate"], code),
            initial_borrow=debt * gather(terms["initial_borrow_rate"], code),
        )
    )
    return (
        bucket(sized(rows, market))
        .sort("rank", "margin_level", descending=[True, False])
        .group_by("account_id")
        .agg(pl.col(SUMS).sum(), pl.col("is_liquidatable").any(), pl.col(WORST).first())
    )


def bucket(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return what a bucket has and must have, its status as a rank, and its two ratios."""
    balance, required = pl.col("margin_balance"), pl.col("maintenance_margin")
    initial_balance, initial = pl.col("initial_balance"), pl.col("initial_margin")
    debt, profit = pl.col("debt_value"), pl.col("unrealized_pnl")
    flat = (pl.col("largest") == 0) & (debt == 0)
    return (
        rows.with_columns(
            equity=pl.col("collateral_value") - debt + profit,
            margin_balance=pl.col("weighted_collateral") - pl.col("liability") + profit,
            initial_balance=pl.col("initial_collateral") - pl.col("liability") + profit,
            maintenance_margin=required + pl.col("maintenance_borrow"),
            initial_margin=initial + pl.col("initial_borrow"),
        )
        .with_columns(
            is_liquidatable=(balance < required) & ~flat,
            margin_buffer=balance - required,
            free_collateral=(initial_balance - initial).clip(lower_bound=0.0),
            bad_debt=(-pl.col("equity")).clip(lower_bound=0.0),
            margin_ratio=pl.when(required == 0)
            .then(0.0)
            .when(balance <= 0)
            .then(float("inf"))
            .otherwise(required / balance),
            margin_level=pl.when(required == 0).then(float("inf")).otherwise(balance / required),
        )
        .with_columns(
            rank=pl.when(flat)
            .then(FLAT)
            .when(pl.col("equity") < 0)
            .then(BANKRUPT)
            .when("is_liquidatable")
            .then(LIQUIDATION)
            .when(initial_balance < initial)
            .then(BELOW_INITIAL)
            .otherwise(HEALTHY)
            .cast(pl.UInt8)
        )
    )


def accounts(cross: pl.LazyFrame, isolated: pl.DataFrame) -> pl.LazyFrame:
    """Return the account frame: sums over buckets, and the status and ratios of the worst."""
    if isolated.height:
        other = {name: pl.col(f"{name}_isolated") for name in (*SUMS, *WORST, "is_liquidatable")}
        level = pl.col("margin_level")
        lower = (other["rank"] == pl.col("rank")) & (other["margin_level"] < level)
        worse = (other["rank"] > pl.col("rank")) | lower
        cross = cross.join(
            isolated.lazy(),
            on="account_id",
            how="left",
            maintain_order="left",
            suffix="_isolated",
        ).with_columns(
            *(pl.col(name) + other[name].fill_null(0) for name in SUMS),
            *(pl.when(worse).then(other[name]).otherwise(name).alias(name) for name in WORST),
            pl.col("is_liquidatable") | other["is_liquidatable"].fill_null(value=False),
        )
    gross, equity, debt = pl.col("gross_notional"), pl.col("equity"), pl.col("debt_value")
    owned, infinite = pl.col("collateral_value"), float("inf")
    return cross.with_columns(
        status=pl.col("rank").cat.to(STATUS),
        maintenance_margin_ratio=pl.when(gross > 0).then(pl.col("maintenance_margin") / gross),
        equity_ratio=pl.when(gross > 0).then(pl.col("margin_balance") / gross),
        effective_leverage=pl.when(equity > 0).then(gross / equity),
        ltv=pl.when(debt == 0).then(0.0).when(owned == 0).then(infinite).otherwise(debt / owned),
        health_factor=pl.when(debt == 0)
        .then(infinite)
        .otherwise(pl.col("weighted_collateral") / debt),
        positions=pl.col("positions").cast(pl.Int64),
        ladder=pl.lit(None, pl.String),
    ).select(COLUMNS)
