"""The check that a sweep is the oracle's: every column of accounts, buckets, positions, totals.

Money within the bounds of `rounding`; flags, words and counts equal wherever those bounds leave no
doubt; ratios the quotient of their parts; prices as `agreement_prices` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from agreement_prices import check_positions
from exchanges import Exchange
from reference import STATUSES
from reference_bucket import MONEY, evaluate
from reference_inputs import build_buckets, build_world
from rounding import Slack, slack_of
from rounding_sides import UNIT


def slacks_of(exchange: Exchange, *, dyadic: bool = False) -> dict[tuple[Any, str], Slack]:
    """Return how far each bucket's figures may stray, by account and bucket id."""
    world = build_world(exchange.instruments, exchange.assets, exchange.rules)
    return {
        (bucket.account_id, bucket.label): slack_of(
            bucket, evaluate(bucket, world.marks(), world), world, dyadic
        )
        for bucket in build_buckets(exchange.positions, exchange.balances, world)
    }


def check(sweep: Any, exchange: Exchange, *, dyadic: bool = False) -> None:
    """Assert that every figure of a `Sweep` is the oracle's, within the bounds."""
    expected = exchange.expected()
    world = build_world(exchange.instruments, exchange.assets, exchange.rules)
    buckets = build_buckets(exchange.positions, exchange.balances, world)
    slacks = [
        slack_of(bucket, figures, world, dyadic)
        for bucket, figures in zip(buckets, expected["buckets"], strict=True)
    ]
    rows = sweep.buckets.to_dicts()
    assert len(rows) == len(buckets)
    for row, figures, slack in zip(rows, expected["buckets"], slacks, strict=True):
        where = f"bucket {row['account_id']!r} {row['bucket_id']}"
        assert (row["account_id"], row["bucket_id"]) == (
            figures["account_id"],
            figures["bucket_id"],
        )
        _check_money(where, row, figures, slack)
        _check_words(where, row, figures, slack)
        _check_ratios(where, row, figures, slack)
        _check_levels(where, row, [(figures, slack)])
    _check_accounts(sweep.accounts.to_dicts(), expected, slacks)
    check_positions(sweep.positions.to_dicts(), expected, buckets, slacks, world, dyadic)
    _check_totals(sweep.totals.to_dicts(), expected, slacks)


def _check_money(
    where: str, row: Mapping[str, Any], figures: Mapping[str, Any], slack: Slack
) -> None:
    for column in MONEY:
        off = abs(Fraction(row[column]) - figures[column])
        assert off <= slack.bounds[column], (
            f"{where} {column}: {row[column]!r}, exactly {float(figures[column])!r}, "
            f"off by {float(off):.3g} of {float(slack.bounds[column]):.3g} allowed"
        )


def _check_words(
    where: str, row: Mapping[str, Any], figures: Mapping[str, Any], slack: Slack
) -> None:
    for column, doubt in (("is_liquidatable", "flag"), ("status", "status")):
        if doubt not in slack.doubts:
            assert row[column] == figures[column], (where, column, row[column], figures[column])
    assert row["positions"] == figures["positions"], where


def _check_ratios(
    where: str, row: Mapping[str, Any], figures: Mapping[str, Any], slack: Slack
) -> None:
    """Hold each ratio to its quotient, where rounding leaves no doubt that it has one."""
    pairs = {
        "maintenance_margin_ratio": ("maintenance_margin", "gross_notional"),
        "equity_ratio": ("margin_balance", "gross_notional"),
        "effective_leverage": ("gross_notional", "equity"),
        "ltv": ("debt_value", "collateral_value"),
        "health_factor": ("weighted_collateral", "debt_value"),
    }
    for column, (above, below) in pairs.items():
        if column in ("ltv", "health_factor") and slack.owed_in_doubt:
            continue
        _check_quotient(f"{where} {column}", row[column], figures, slack, column, above, below)


def _check_levels(
    where: str, row: Mapping[str, Any], candidates: list[tuple[Mapping[str, Any], Slack]]
) -> None:
    """Hold margin_ratio, margin_level and ladder to one of the buckets that may be the worst."""
    failures = []
    for figures, slack in candidates:
        try:
            for column, above, below in (
                ("margin_ratio", "maintenance_margin", "margin_balance"),
                ("margin_level", "margin_balance", "maintenance_margin"),
            ):
                required, bound = figures["maintenance_margin"], slack.bounds["maintenance_margin"]
                if not (bound and required <= bound):
                    value = row[column]
                    name = f"{where} {column}"
                    _check_quotient(name, value, figures, slack, column, above, below)
            if "ladder" not in slack.doubts:
                assert row["ladder"] == figures["ladder"], (where, row["ladder"], "ladder")
            return
        except AssertionError as failure:
            failures.append(str(failure))
    raise AssertionError(failures)


def _check_quotient(
    where: str,
    actual: float | None,
    figures: Mapping[str, Any],
    slack: Slack,
    column: str,
    above: str,
    below: str,
) -> None:
    wanted = figures[column]
    bound = slack.bounds[below]
    divisor = abs(figures[below])
    if bound and divisor <= bound and (divisor or column not in ("ltv", "health_factor")):
        return  # whether there is anything to divide by is in doubt
    if wanted is None or wanted == math.inf:
        assert actual == wanted, (where, actual, wanted)
        return
    assert actual is not None, (where, actual, wanted)
    assert math.isfinite(actual), (where, actual, wanted)
    off = abs(Fraction(actual) - wanted)
    allowed = 4 * UNIT * abs(wanted)
    if divisor > bound:
        allowed += (slack.bounds[above] + abs(wanted) * bound) / (divisor - bound)
    assert off <= allowed, (where, actual, float(wanted), float(off), float(allowed))


def _check_accounts(
    rows: list[dict[str, Any]], expected: Mapping[str, Any], slacks: list[Slack]
) -> None:
    assert [row["account_id"] for row in rows] == [a["account_id"] for a in expected["accounts"]]
    for row, account in zip(rows, expected["accounts"], strict=True):
        where = f"account {row['account_id']!r}"
        own = [
            (figures, slack)
            for figures, slack in zip(expected["buckets"], slacks, strict=True)
            if figures["account_id"] == account["account_id"]
        ]
        slack = _sum_slack(own)
        _check_money(where, row, account, slack)
        _check_words(where, row, account, slack)
        _check_ratios(where, row, account, slack)
        if "status" not in slack.doubts:
            worst = [pair for pair in own if pair[0]["status"] == account["status"]]
            _check_levels(where, row, _lowest(worst) or [(account, slack)])
        for column in set(account) - set(row):
            assert column == "weighted_collateral", (where, column)
        for column in list(row)[24:]:  # carried
            assert row[column] == account[column], (where, column)


def _sum_slack(own: Iterable[tuple[Mapping[str, Any], Slack]]) -> Slack:
    total = Slack(dict.fromkeys([*MONEY, "weighted_collateral"], Fraction(0)))
    flagged = False
    for figures, slack in own:
        for column in total.bounds:
            rounding = 8 * UNIT * abs(figures[column]) if any(slack.bounds.values()) else 0
            total.bounds[column] += slack.bounds[column] + rounding
        total.owed_in_doubt |= slack.owed_in_doubt
        total.doubts |= slack.doubts
        flagged |= figures["is_liquidatable"] and "flag" not in slack.doubts
    if flagged:
        total.doubts.discard("flag")
    return total


def _lowest(
    worst: list[tuple[Mapping[str, Any], Slack]],
) -> list[tuple[Mapping[str, Any], Slack]]:
    """Return the buckets whose level may be the lowest, rounding considered."""

    def edge(pair: tuple[Mapping[str, Any], Slack], sign: int) -> Any:
        figures, slack = pair
        required, bound = figures["maintenance_margin"], slack.bounds["maintenance_margin"]
        if required <= bound:
            return math.inf if sign > 0 or not bound else -math.inf
        balance = figures["margin_balance"] + sign * slack.bounds["margin_balance"]
        return balance / (required - sign * bound if balance > 0 else required + sign * bound)

    if not worst:
        return []
    ceiling = min(edge(pair, 1) for pair in worst)
    return [pair for pair in worst if edge(pair, -1) <= ceiling]


def _check_totals(
    rows: list[dict[str, Any]], expected: Mapping[str, Any], slacks: list[Slack]
) -> None:
    assert len(rows) == 1
    row, wanted = rows[0], expected["totals"]
    assert list(row) == list(wanted)
    slack = _sum_slack(zip(expected["buckets"], slacks, strict=True))
    loose = {f"{status}_accounts": "status" for status in STATUSES}
    loose |= {"liquidatable_accounts": "flag", "liquidatable_notional": "flag"}
    doubts = set().union(*(s.doubts for s in slacks))
    bounds = slack.bounds | {
        "liquidatable_notional": slack.bounds["gross_notional"],
        "total_bad_debt": slack.bounds["bad_debt"],
        "total_margin_deficit": sum((s.bounds["margin_deficit"] for s in slacks), Fraction(0)),
    }
    for column, value in wanted.items():
        if loose.get(column) in doubts:
            continue
        if isinstance(value, int):
            assert row[column] == value, (column, row[column], value)
        else:
            off = abs(Fraction(row[column]) - value)
            allowed = bounds[column] + 2 * UNIT * abs(value)
            assert off <= allowed, (column, row[column], float(value))
