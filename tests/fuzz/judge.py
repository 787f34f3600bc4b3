"""What a result must be, whatever went in: the laws that every case is held to.

`judge` raises `Found` with the first law that does not hold. Figures themselves are other tests'
to check; here it is what no input may break: no NaN, everybody there once, nobody healthy whose
row was rejected, totals that are the sum of their parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import polars as pl

import margrave as mg
from fuzz.scan import Scan
from margrave.faults import OVERFLOW
from margrave.schema import MARGIN_COLUMNS, MONEY, RATIOS, REJECT_COLUMNS, STATUS

__all__ = ["Found", "judge", "judge_results", "require"]

RESULTS = ("accounts", "buckets", "positions", "totals", "rejects")
WORST = STATUS[-1]


class Found(Exception):
    """A law does not hold: what the fuzzing is for."""


def require(holds: bool, law: str) -> None:
    """Go on only where a law holds.

    Raises:
        Found: It does not.
    """
    if not holds:
        raise Found(law)


def judge(read: Callable[[str], Any], scan: Scan, positions: pl.DataFrame, rules: mg.Rules) -> None:
    """Hold a sweep to the laws.

    Args:
        read: Returns a result of the sweep by its name.
        scan: What is bad in the input, as far as the frames alone tell.
        positions: The positions frame that went in.
        rules: What it was swept under.
    """
    results = judge_results(read, rules)
    _rejects(results, scan)
    _accounts(results, scan)
    _position_rows(results, scan, positions)
    _manifest(read("manifest"), results, scan)


def judge_results(read: Callable[[str], Any], rules: mg.Rules) -> dict[str, pl.DataFrame]:
    """Hold the results of a sweep to each other, whatever they came from; return them."""
    results = {name: read(name) for name in RESULTS}
    _numbers(results)
    _flags(results["buckets"], rules)
    _sums(results)
    _totals(results)
    return results


def _numbers(results: dict[str, pl.DataFrame]) -> None:
    for name, frame in results.items():
        computed = frame.columns if name in ("positions", "totals") else MARGIN_COLUMNS
        for column in computed if name != "rejects" else ():
            values = frame[column]
            if values.dtype != pl.Float64:
                continue
            require(not values.is_nan().any(), f"{name}.{column} has NaN")
            given = name == "positions" and column in ("quantity", "entry_price")
            if column not in RATIOS and not given:
                require(not values.is_infinite().any(), f"{name}.{column} has an infinity")


def _rejects(results: dict[str, pl.DataFrame], scan: Scan) -> None:
    rejects = results["rejects"]
    require(tuple(rejects.columns) == REJECT_COLUMNS, "rejects has other columns")
    rows = rejects.rows()
    places = [row[:3] for row in rows]
    require(places == sorted(places), "rejects are out of order")
    require(len(set(places)) == len(places), "a reject is there twice")
    told = {row[:3] for row in rows if row[4] != OVERFLOW}
    missing, more = scan.places - told, told - scan.places
    require(not missing, f"bad values are not rejected: {sorted(missing)[:3]}")
    require(not more, f"sound values are rejected: {sorted(more)[:3]}")


def _accounts(results: dict[str, pl.DataFrame], scan: Scan) -> None:
    accounts, buckets = results["accounts"], results["buckets"]
    ids = [None if v is None else str(v) for v in accounts["account_id"].to_list()]
    require(ids == scan.accounts, f"accounts are {ids}, the input has {scan.accounts}")
    unknown = _unknown(results, scan)
    statuses = accounts["status"].to_list()
    for account, status in zip(ids, statuses, strict=True):
        is_bad = account in unknown
        require((status == WORST) == is_bad, f"account {account!r} is {status}, bad row: {is_bad}")
    is_unknown = accounts["status"] == WORST
    for column in MARGIN_COLUMNS[1:]:
        nulls = accounts[column].is_null()
        require(bool(nulls.filter(is_unknown).all()), f"indeterminate accounts have {column}")
        if column in (*MONEY, "is_liquidatable", "positions"):
            require(not nulls.filter(~is_unknown).any(), f"accounts.{column} is null")
    owners = buckets["account_id"].cast(pl.String).to_list()
    known = [account for account in ids if account not in unknown]
    require(set(owners) <= set(known), "an indeterminate account has buckets")
    require(
        owners == sorted(owners, key={a: i for i, a in enumerate(known)}.__getitem__),
        "buckets are out of order",
    )
    labels = list(zip(owners, buckets["bucket_id"].to_list(), strict=True))
    require(len(set(labels)) == len(labels), "a bucket is there twice")


def _unknown(results: dict[str, pl.DataFrame], scan: Scan) -> set[str]:
    """Return the accounts of bad rows: of those that the frames show, and of overflows."""
    rows = results["rejects"].rows()
    overflown = {scan.owner[row[0], row[1]] for row in rows if row[4] == OVERFLOW}
    return scan.bad_accounts | {account for account in overflown if account is not None}


def _position_rows(results: dict[str, pl.DataFrame], scan: Scan, given: pl.DataFrame) -> None:
    rows = results["positions"]
    require(rows.height == given.height, f"{given.height} positions in, {rows.height} out")
    for column in ("account_id", "instrument_id"):
        out, put = ([*f[column].cast(pl.String)] for f in (rows, given))
        require(out == put, f"positions.{column} changed")
    for column in ("quantity", "entry_price"):
        numbers = [*given[column].cast(pl.Float64)] if given.height else []
        wanted = [None if v is None or math.isnan(v) else v for v in numbers]
        require(rows[column].to_list() == wanted, f"positions.{column} changed")
    accounts = results["accounts"]
    names = accounts["account_id"].cast(pl.String).to_list()
    status = dict(zip(names, accounts["status"].to_list(), strict=True))
    buckets = results["buckets"]
    flags = dict(
        zip(
            zip(buckets["account_id"].cast(pl.String).to_list(), buckets["bucket_id"], strict=True),
            buckets["is_liquidatable"],
            strict=True,
        )
    )
    for row in rows.select(pl.col("account_id").cast(pl.String), pl.exclude("account_id")).rows(
        named=True
    ):
        account, kind, price = (
            row[c] for c in ("account_id", "liquidation_price_kind", "liquidation_price")
        )
        if account is None or status[account] == WORST:
            require(row["bucket_id"] is None and kind is None and price is None, "nobody's figures")
            require(row["notional"] is None and row["maintenance_margin"] is None, "nobody's money")
            continue
        flag = flags.get((account, row["bucket_id"]))
        require(flag is not None, f"no bucket {row['bucket_id']!r} of account {account!r}")
        require((kind == "root") == (price is not None), f"price {price} of kind {kind}")
        require(price is None or price > 0.0, f"liquidation price {price}")
        require((kind == "breached") == flag, f"kind {kind} in a bucket whose flag is {flag}")
        require(row["mark_price"] is not None and row["tier"] is not None, "no mark or tier")
        require(row["tier"] >= 1, "a tier below 1")
        require(row["notional"] >= 0.0 and row["maintenance_margin"] >= 0.0, "money below 0")


def _flags(buckets: pl.DataFrame, rules: mg.Rules) -> None:
    """The trigger compares the money that is shown."""
    trigger = rules.sections()["trigger"]
    level, is_le = float(trigger["level"]), trigger["compare"] == "le"
    never = trigger["zero_requirement"] == "never"
    for row in buckets.rows(named=True):
        balance, line = row["margin_balance"], level * row["maintenance_margin"]
        holds = balance <= line if is_le else balance < line
        if row["status"] == "flat" or (never and row["maintenance_margin"] == 0.0):
            holds = False
        require(row["is_liquidatable"] == holds, f"the flag is {row['is_liquidatable']}: {row}")
        require(row["margin_buffer"] == balance - line, f"the buffer is no difference: {row}")
        status = row["status"]
        require((status == "bankrupt") == (row["equity"] < 0.0 and status != "flat"), f"{row}")


def _sums(results: dict[str, pl.DataFrame]) -> None:
    """An account is the sum of its buckets, to rounding; its status and flag the worst of them."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in results["buckets"].rows(named=True):
        parts.setdefault(str(row["account_id"]), []).append(row)
    for row in results["accounts"].rows(named=True):
        if row["status"] == WORST:
            continue
        of = parts.get(str(row["account_id"]), [])
        for column in (*MONEY, "positions"):
            values = [part[column] for part in of]
            known = row[column] is not None and None not in values
            require(known, f"{column} is null though the account is {row['status']}")
            slack = 1e-12 * sum(abs(value) for value in values)
            require(abs(row[column] - exact_sum(values)) <= slack, f"accounts.{column} is no sum")
        worst = max((STATUS.index(part["status"]) for part in of), default=0)
        require(STATUS.index(row["status"]) == worst, f"status {row['status']} is not the worst")
        flag = any(part["is_liquidatable"] for part in of)
        require(row["is_liquidatable"] == flag, "the flag is not that of any bucket")


def exact_sum(values: Sequence[float]) -> float:
    """Return the sum, rounded once."""
    try:
        return math.fsum(values)
    except OverflowError:
        return float(sum(map(Fraction, values)))


def _totals(results: dict[str, pl.DataFrame]) -> None:
    accounts, buckets = results["accounts"], results["buckets"]
    require(results["totals"].height == 1, "totals are not one row")
    totals = results["totals"].row(0, named=True)
    statuses = accounts["status"].to_list()
    require(totals["accounts"] == accounts.height, "totals.accounts")
    for status in STATUS:
        require(totals[f"{status}_accounts"] == statuses.count(status), f"totals of {status}")
    wanted = {c: exact_sum(accounts[c].drop_nulls().to_list()) for c in MONEY}
    flags = accounts["is_liquidatable"].fill_null(value=False)
    wanted["liquidatable_accounts"] = int(flags.sum())
    wanted["liquidatable_notional"] = exact_sum(accounts["gross_notional"].filter(flags).to_list())
    wanted["total_bad_debt"] = wanted["bad_debt"]
    lacking = [max(0.0, -buffer) for buffer in buckets["margin_buffer"].to_list()]
    wanted["total_margin_deficit"] = exact_sum(lacking)
    for name, value in wanted.items():
        require(totals[name] == value, f"totals.{name} is {totals[name]!r}, the sum is {value!r}")


def _manifest(manifest: dict[str, Any], results: dict[str, pl.DataFrame], scan: Scan) -> None:
    for name in ("accounts", "buckets", "rejects"):
        require(manifest[name] == results[name].height, f"manifest.{name}")
    unknown = _unknown(results, scan)
    for name in ("positions", "balances"):
        owners = [owner for (frame, _), owner in scan.owner.items() if frame == name]
        nobodys = owners.count(None)
        aside = nobodys + sum(owner in unknown for owner in owners if owner is not None)
        wanted = {"rows": len(owners), "used": len(owners) - aside, "set_aside": aside}
        wanted["without_account"] = nobodys
        require(manifest[name] == len(owners), f"manifest.{name}")
        control = manifest["control"][name]
        require(control == wanted, f"control.{name} is {control}, not {wanted}")
