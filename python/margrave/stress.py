"""A stress: every account of a book in many scenarios.

A `Stress` is what `Book.stress` returns: totals by scenario, the worst scenario of each
account, and, asked for, every account in every scenario, made a scenario at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from margrave import engine, notebook
from margrave.errors import DataError, MargraveError
from margrave.frames import pick, shown
from margrave.ids import in_type
from margrave.market import Market
from margrave.moves import Scenarios
from margrave.rules import Rules
from margrave.schema import MATRIX_COLUMNS, SCENARIO_COLUMNS, STATUS, WORST_COLUMNS
from margrave.sweep import Holder, Sweep

__all__ = ["Asked", "Stress"]

#: A group of accounts: whether it is an owner's, and what it or its only account is called.
_Group = tuple[bool, str]


@dataclass(frozen=True)
class Asked:
    """What was put through what: the inputs of a stress."""

    core: engine.CoreBook
    holder: Holder
    market: Market
    rules: Rules
    scenarios: Scenarios
    threads: int | None


class Stress:
    """A book in many markets: the market as given, moved by each scenario.

    Money is in the ruleset's valuation asset. Each figure has the bits of the sweep of
    `market.shocked(...)`; a scenario without a move has those of the sweep of the market.
    """

    def __init__(
        self,
        asked: Asked,
        base: Sweep,
        outcomes: pl.DataFrame,
        sums: list[list[int]],
        worst: pl.DataFrame,
    ) -> None:
        """Take what the engine gave; users call `Book.stress`."""
        self._asked = asked
        self._base = base
        self.sums = sums
        self._scenarios = _scenarios(asked, outcomes)
        self._accounts = _accounts(asked, worst)

    @property
    def scenarios(self) -> pl.DataFrame:
        """One row per scenario, in order of appearance.

        `scenario_id`, `accounts` (all of the book, indeterminate ones too),
        `liquidatable_accounts`, `newly_liquidatable_accounts` (not so in the market as given),
        `bankrupt_accounts`, `liquidatable_notional`, `total_bad_debt`, `total_margin_deficit`
        (over buckets), each money the correctly rounded sum.
        """
        return self._scenarios

    @property
    def accounts(self) -> pl.DataFrame:
        """One row per account, in order of first appearance: its worst scenario.

        `account_id`, `worst_scenario` (lowest `margin_buffer`, the first if equal), its
        `margin_buffer`, `status` and `bad_debt`, and `scenarios_liquidatable`, the number of
        scenarios in which the account is past the line. Of an indeterminate account all but id
        and status is null. Without scenarios there are no rows.
        """
        return self._accounts

    @property
    def rejects(self) -> pl.DataFrame:
        """One row per bad value that was set aside, as those of a sweep."""
        return self._base.rejects

    @property
    def base(self) -> Sweep:
        """The sweep of the market as given."""
        return self._base

    def matrix(self) -> pl.LazyFrame:
        """Return every account in every scenario, lazily, a scenario at a time.

        Columns: `scenario_id`, `account_id`, `status`, `is_liquidatable`, `equity`,
        `margin_balance`, `maintenance_margin`, `margin_buffer`, `bad_debt`; scenarios, then
        accounts, in order. It is never all in memory where it is sunk, as by
        `matrix().sink_parquet("matrix.parquet")`. Each collection sweeps anew.
        """
        schema = self._matrix_schema()

        def batches(
            with_columns: list[str] | None,
            predicate: pl.Expr | None,
            n_rows: int | None,
            batch_size: int | None,
        ) -> Iterator[pl.DataFrame]:
            left = n_rows
            for frame in self._swept():
                part = frame if left is None else frame.head(left)
                left = None if left is None else left - part.height
                part = part if predicate is None else part.filter(predicate)
                yield part if with_columns is None else part.select(with_columns)
                if left == 0:
                    return

        return register_io_source(batches, schema=schema)

    def cover(self, groups: int = 2) -> pl.DataFrame:
        """Return what the default of the largest groups would cost: Cover-1, Cover-2, and so on.

        A group is the accounts of one `owner_id`, or an account that has none. In each
        scenario groups are ranked by bad debt; a row says in which scenario the `groups`
        largest owe most together.

        Args:
            groups: How many groups at most.

        Returns:
            One row for each number up to `groups`: `groups`, `scenario_id` (the first if
            equal), `bad_debt` (correctly rounded), `group_ids` (the largest first, those that
            appear first if equal; as text). Where there is no bad debt anywhere, `scenario_id`
            is null and nobody is named.

        Raises:
            MargraveError: `groups` is no integer of at least 1.
        """
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise MargraveError(f"groups: {groups!r} is no number of groups of at least 1")
        found: list[tuple[int, Any, float, list[str]]] = [
            (count, None, 0.0, []) for count in range(1, groups + 1)
        ]
        owners = self._owners()
        for frame in self._swept():
            owed: dict[_Group, list[float]] = {}
            debts = frame["bad_debt"].fill_null(0.0)
            for row in (debts > 0).arg_true():
                owed.setdefault(owners[row], []).append(debts[row])
            ranked = sorted(((math.fsum(d), o) for o, d in owed.items()), key=lambda g: -g[0])
            for count in range(1, groups + 1):
                largest = ranked[:count]
                total = math.fsum(debt for debt, _ in largest)
                if total > found[count - 1][2]:
                    names = [name for _, (_, name) in largest]
                    found[count - 1] = (count, frame["scenario_id"][0], total, names)
        types: dict[str, Any] = {
            "groups": pl.Int64,
            "scenario_id": self._scenarios["scenario_id"].dtype,
            "bad_debt": pl.Float64,
            "group_ids": pl.List(pl.String),
        }
        return pl.DataFrame(found, schema=types, orient="row")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was put through what: as a sweep's manifest, with the scenarios.

        All but `seconds` is equal for equal input. `result_digest` is over `scenarios`,
        `accounts` and `rejects`.
        """
        return self._base.about(
            [("scenarios", self._asked.scenarios.frame)],
            [
                ("scenarios", self._scenarios),
                ("accounts", self._accounts),
                ("rejects", self.rejects),
            ],
            {
                "scenarios": self._scenarios.height,
                "accounts": self._asked.core.accounts,
                **self._asked.holder.counts(),
                "rejects": self.rejects.height,
            },
        )

    def _swept(self) -> Iterator[pl.DataFrame]:
        """Give the rows of the matrix, a scenario at a time.

        Raises:
            DataError: A scenario makes the money of an account overflow.
        """
        asked = self._asked
        known = self._indeterminate(self._base.accounts)
        schema = self._matrix_schema()
        ids = asked.holder.account_ids().alias("account_id")
        for name, moves in zip(asked.scenarios.ids, asked.scenarios.moves, strict=True):
            swept = engine.sweep(
                asked.core,
                engine.shocked(asked.market._core, moves),
                asked.rules._core,
                quarantine=True,
                threads=asked.threads,
            )
            margins = engine.accounts(swept)
            if self._indeterminate(margins) != known:
                raise DataError(
                    f"scenarios.price_shock: in scenario {shown(name)} the money of an account "
                    "overflows"
                )
            scenario = pl.Series("scenario_id", [name], schema["scenario_id"])
            of_all = scenario.new_from_index(0, len(ids))
            yield pl.DataFrame([of_all, ids, *pick(margins, MATRIX_COLUMNS[2:])])

    @staticmethod
    def _indeterminate(accounts: pl.DataFrame) -> int:
        return int((accounts["status"] == STATUS[-1]).sum())

    def _matrix_schema(self) -> pl.Schema:
        types: dict[str, Any] = dict.fromkeys(MATRIX_COLUMNS, pl.Float64)
        types["scenario_id"] = self._scenarios["scenario_id"].dtype
        types["account_id"] = self._asked.holder.account_ids().dtype
        types["status"] = pl.Enum(STATUS)
        types["is_liquidatable"] = pl.Boolean
        return pl.Schema(types)

    def _owners(self) -> list[_Group]:
        """Return the group of each account: its owner, or itself where it has none."""
        ids = self._asked.holder.account_ids().cast(pl.String).to_list()
        carried = self._asked.holder.carried()
        if "owner_id" not in carried.columns:
            return [(False, name) for name in ids]
        pairs = zip(ids, carried["owner_id"].cast(pl.String).to_list(), strict=True)
        return [(False, name) if owner is None else (True, owner) for name, owner in pairs]

    def _facts(self) -> dict[str, object]:
        worst = self._scenarios["liquidatable_accounts"].max()
        return {
            "scenarios": self._scenarios.height,
            "accounts": self._base.accounts.height,
            "liquidatable accounts in the worst": worst,
            "largest total bad debt": self._scenarios["total_bad_debt"].max(),
            "rejects": self.rejects.height,
        }

    def _repr_html_(self) -> str:
        return notebook.table("Stress", self._facts())

    def __repr__(self) -> str:
        return (
            f"Stress({self._scenarios.height} scenarios, {self._base.accounts.height} accounts; "
            f"ruleset {shown(self._asked.rules.id)})"
        )


def _scenarios(asked: Asked, outcomes: pl.DataFrame) -> pl.DataFrame:
    ids = asked.scenarios.ids.alias("scenario_id")
    count = pl.Series("accounts", [asked.core.accounts], pl.Int64).new_from_index(0, len(ids))
    return pick(pl.DataFrame([ids, count, *outcomes.get_columns()]), SCENARIO_COLUMNS)


def _accounts(asked: Asked, worst: pl.DataFrame) -> pl.DataFrame:
    ids = asked.holder.account_ids().alias("account_id").head(worst.height)
    scenario = in_type(worst["worst_scenario"], asked.scenarios.ids.dtype)
    columns = {c.name: c for c in (ids, *worst.get_columns())} | {"worst_scenario": scenario}
    return pick(pl.DataFrame(columns), WORST_COLUMNS)
