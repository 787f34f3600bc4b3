"""One book under two rulesets: what a risk desk sends out before the rules change.

A `Comparison` is what `Book.compare` returns. `accounts` has status, buffer and requirement
of every account under both rulesets and their change; `transitions` counts who moves from
which status to which.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import polars as pl

from margrave import notebook
from margrave.errors import SchemaError
from margrave.faults import merged
from margrave.frames import shown
from margrave.schema import MARGIN_COLUMNS, STATUS
from margrave.sweep import Sweep

__all__ = ["COMPARED_COLUMNS", "Comparison", "require_carriable"]

#: Money that is compared: the columns `_a`, `_b` and `_change` of each.
COMPARED = ("margin_buffer", "maintenance_margin", "initial_margin")

#: The columns of `accounts` after `account_id` and before those that are carried.
COMPARED_COLUMNS = (
    *(f"{name}_{side}" for name in ("status", "is_liquidatable") for side in "ab"),
    *(f"{name}_{what}" for name in COMPARED for what in ("a", "b", "change")),
)

#: The columns of `transitions`; money is summed over the accounts of the pair.
TRANSITIONS: dict[str, Any] = {
    "status_a": pl.Enum(STATUS),
    "status_b": pl.Enum(STATUS),
    "accounts": pl.Int64,
    "gross_notional_a": pl.Float64,
    "gross_notional_b": pl.Float64,
    "margin_buffer_change": pl.Float64,
}


class Comparison:
    """The accounts of a book at one market, under ruleset `a` and under ruleset `b`.

    Money is in the valuation asset that both rulesets have in common. A change is the figure
    under `b` minus that under `a`: a `margin_buffer_change` below 0 is money that the account
    loses towards its trigger.

    Example:
        Long 2 at 100, now at 90, with 30 in cash: the balance is 30 - 20 = 10. A rate of 5 %
        asks for 9 and leaves 1; a rate of 7 % asks for 12.6 and lacks 2.6.

        >>> import margrave as mg
        >>> import polars as pl
        >>> held = {"account_id": 1, "instrument_id": "X", "quantity": 2, "entry_price": 100}
        >>> terms = {"instrument_id": "X", "kind": "linear", "settle_asset": "USD"}
        >>> cash = {"account_id": 1, "asset_id": "USD", "amount": 30}
        >>> full = {"weight_table": "USD", "maintenance_weight": 1}
        >>> tier = {"tier_table": "X", "floor": 0, "initial_rate": 0.1}
        >>> now, then = (
        ...     mg.Rules.load({"tiers": [tier | {"maintenance_rate": rate}], "weights": [full]})
        ...     for rate in (0.05, 0.07)
        ... )
        >>> instruments = pl.DataFrame([terms | {"mark_price": 90}])
        >>> market = mg.Market(instruments, pl.DataFrame([{"asset_id": "USD", "price": 1}]))
        >>> book = mg.Book(pl.DataFrame([held]), pl.DataFrame([cash]), instruments)
        >>> comparison = book.compare(market, now, then)
        >>> comparison.accounts["margin_buffer_change"].round(9).to_list()
        [-3.6]
        >>> comparison.transitions.row(0)[:3]
        ('below_initial', 'liquidation', 1)
    """

    def __init__(self, a: Sweep, b: Sweep, rulesets: tuple[str, str]) -> None:
        """Take two sweeps of one book at one market; users call `Book.compare`."""
        self._rulesets = rulesets
        self._accounts = _accounts(a.accounts, b.accounts)
        self._transitions = _transitions(a.accounts, b.accounts)
        self._rejects = _rejects(a.rejects, b.rejects)

    @property
    def accounts(self) -> pl.DataFrame:
        """One row per account, in the order of a sweep's accounts.

        `account_id`; `status` and `is_liquidatable` under `_a` and `_b`; `margin_buffer`,
        `maintenance_margin` and `initial_margin` under `_a` and `_b` with their `_change`;
        then the columns carried from the accounts frame. What is null in a sweep, since the
        account is indeterminate in it, is null here, and so is the change.
        """
        return self._accounts

    @property
    def transitions(self) -> pl.DataFrame:
        """One row for each pair of statuses that occurs, in order of status.

        `status_a`, `status_b`, `accounts` (count), `gross_notional_a`, `gross_notional_b` and
        `margin_buffer_change`: correctly rounded sums over the accounts of the pair, so they
        do not depend on the order of accounts; null where a status is `indeterminate`.
        """
        return self._transitions

    @property
    def rejects(self) -> pl.DataFrame:
        """One row per bad value that either sweep set aside, in order of frame, row, column."""
        return self._rejects

    def _facts(self) -> dict[str, object]:
        moves = self._transitions.iter_rows()
        return {
            "ruleset a": self._rulesets[0],
            "ruleset b": self._rulesets[1],
            "accounts": self._accounts.height,
            **{
                before if before == after else f"{before} to {after}": count
                for before, after, count, *_ in moves
            },
            "rejects": self._rejects.height,
        }

    def _repr_html_(self) -> str:
        return notebook.table("Comparison", self._facts())

    def __repr__(self) -> str:
        ids = " and ".join(shown(ruleset) for ruleset in self._rulesets)
        moved = sum(row[2] for row in self._transitions.iter_rows() if row[0] != row[1])
        return (
            f"Comparison({self._accounts.height} accounts under {ids}: {moved} change status; "
            f"{self._rejects.height} rejects)"
        )


def _accounts(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    columns = {"account_id": a["account_id"]}
    for name in ("status", "is_liquidatable"):
        columns |= {f"{name}_a": a[name], f"{name}_b": b[name]}
    for name in COMPARED:
        columns |= {f"{name}_a": a[name], f"{name}_b": b[name]}
        columns[f"{name}_change"] = b[name] - a[name]
    carried = (c for c in a.columns if c not in ("account_id", *MARGIN_COLUMNS))
    return pl.DataFrame(columns | {name: a[name] for name in carried})


def _transitions(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    money = (a["gross_notional"], b["gross_notional"], b["margin_buffer"] - a["margin_buffer"])
    of_a, of_b = (frame["status"].to_physical() for frame in (a, b))
    rows = []
    for before, after in product(range(len(STATUS)), repeat=2):
        moved = (of_a == before) & (of_b == after)
        if count := int(moved.sum()):
            sums = [_sum(column.filter(moved)) for column in money]
            rows.append((STATUS[before], STATUS[after], count, *sums))
    return _by_column(rows, TRANSITIONS)


def _rejects(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of both, those that are in both once."""
    return _by_column(list(dict.fromkeys(merged(a, b).iter_rows())), a.schema)


def _by_column(rows: Sequence[tuple[Any, ...]], types: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows as a frame: without Polars' thread pool, which a forked child lacks."""
    values = zip(*rows, strict=True) if rows else [()] * len(types)
    columns = zip(types.items(), values, strict=True)
    return pl.DataFrame([pl.Series(name, column, dtype) for (name, dtype), column in columns])


def _sum(values: pl.Series) -> float | None:
    return None if values.null_count() else math.fsum(values)


def require_carriable(carried: list[str]) -> None:
    """Refuse carried columns that are named like a column of a comparison.

    Raises:
        SchemaError: Naming them.
    """
    taken = [name for name in carried if name in COMPARED_COLUMNS]
    if taken:
        raise SchemaError(
            f"accounts.{taken[0]}: a carried column may not be named like a column of the "
            f"comparison; rename {', '.join(taken)}"
        )
