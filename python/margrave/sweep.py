"""What a sweep found: accounts, buckets, positions, totals, rejects and a manifest."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import polars as pl

from margrave import engine, notebook
from margrave.exact import rounded
from margrave.frames import pick, shown
from margrave.ids import INT64, bounds
from margrave.schema import MARGIN_COLUMNS, POSITION_COLUMNS, STATUS

__all__ = ["Holder", "Sweep", "plain", "shown_control"]

#: The exact sums of a row of control totals.
_EXACT = ("in", "used", "set_aside")


class Holder(Protocol):
    """What a `Sweep` asks of the book that it came from."""

    def account_ids(self) -> pl.Series:
        """Return the id of each account, in output order."""

    def carried(self) -> pl.DataFrame:
        """Return the columns carried from the accounts frame, in output order."""

    def position_rows(self) -> pl.DataFrame:
        """Return account_id, instrument_id, quantity and entry_price of the input rows."""

    def counts(self) -> dict[str, int]:
        """Return the number of input rows by frame."""

    def listed(self) -> tuple[int, pl.Series] | None:
        """Return the rows of the accounts frame, and whether each account has one of them."""


class Sweep:
    """The margin of every account of a book, at one market and under one ruleset.

    `accounts` and `totals` are there at once; `buckets`, `positions` and `manifest` are
    computed when first asked for, and kept. Money is in the ruleset's valuation asset.
    """

    def __init__(
        self,
        core: engine.CoreSweep,
        holder: Holder,
        *,
        rejects: pl.DataFrame,
        about: dict[str, Any],
        inputs: list[tuple[str, pl.DataFrame]],
        inexact: dict[str, int],
        threads: int | None,
    ) -> None:
        """Take what the engine gave; users call `Book.sweep` or `margrave.sweep`."""
        self._core = core
        self._holder = holder
        self._about = about
        self._inputs = inputs
        self._inexact = inexact
        self._threads = threads
        self._rejects = rejects

    @cached_property
    def accounts(self) -> pl.DataFrame:
        """One row per account, in order of first appearance."""
        margins = pick(engine.accounts(self._core), MARGIN_COLUMNS)
        ids = self._holder.account_ids().alias("account_id")
        return pl.DataFrame({c.name: c for c in (ids, *margins, *self._holder.carried())})

    @cached_property
    def buckets(self) -> pl.DataFrame:
        """One row per bucket of every determinate account, in their order.

        The columns are those of `accounts`, carried ones too, after the bucket's id.
        """
        rows = engine.buckets(self._core, self._threads)
        account = rows["account"]
        ids = self._holder.account_ids().gather(account).alias("account_id")
        carried = [column.gather(account) for column in self._holder.carried()]
        return pl.DataFrame([ids, *pick(rows, ("bucket_id", *MARGIN_COLUMNS)), *carried])

    @cached_property
    def positions(self) -> pl.DataFrame:
        """One row per input position, in input order, with its liquidation price."""
        rows = engine.positions(self._core, self._threads)
        held = self._holder.position_rows()
        return pick(pl.DataFrame([*held, *rows]), POSITION_COLUMNS)

    @cached_property
    def totals(self) -> pl.DataFrame:
        """One row: accounts by status, and exactly rounded sums of money."""
        return engine.totals(self._core)

    @property
    def rejects(self) -> pl.DataFrame:
        """One row per bad value that was set aside: frame, row, column, value, reason."""
        return self._rejects

    def counts(self) -> dict[str, int]:
        """Return the number of input rows of positions and balances."""
        return self._holder.counts()

    def listed(self) -> int:
        """Return the number of input rows of accounts."""
        frame = self._holder.listed()
        return 0 if frame is None else frame[0]

    @cached_property
    def accounting(self) -> dict[str, Any]:
        """What became of the input, as in the manifest.

        `set_aside` is what enters no figure: the number of `indeterminate_accounts`, all
        `rows_of_indeterminate_accounts` by frame, good ones too, and `rows_without_account`,
        whose account id is null: nobody's. `inexact_numbers` counts the values that lost
        digits when they became doubles, by frame and column, where there are any.
        `control` proves that what came in is what was used and what was set aside: rows by
        frame, distinct accounts, exact sums of quantity and amount by instrument and asset.

        Raises:
            InternalError: What came in is not what was used and what was set aside.
        """
        control = self.control
        aside = {name: control[name]["set_aside"] for name in ("positions", "balances")}
        nobody = {name: control[name]["without_account"] for name in aside}
        rows = {name: aside[name] - nobody[name] for name in aside}
        if (frame := self._holder.listed()) is not None:
            height, listed = frame  # one row an account, so the other rows are nobody's
            is_aside = self.accounts["status"] == STATUS[-1]
            rows["accounts"] = int((listed & is_aside).sum())
            nobody["accounts"] = height - int(listed.sum())
        return {
            "set_aside": {
                "indeterminate_accounts": control["accounts"]["set_aside"],
                "rows_of_indeterminate_accounts": rows,
                "rows_without_account": nobody,
            },
            "inexact_numbers": self._inexact,
            "control": shown_control(control),
        }

    def exact_totals(self) -> tuple[list[int], int, list[int]]:
        """Return what `totals` is made of, as sums that add up over parts of an exchange."""
        return engine.exact_totals(self._core)

    @cached_property
    def control(self) -> dict[str, Any]:
        """What `accounting` says of the input, its sums exact: see `engine.control`."""
        return engine.control(self._core, self._threads)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was swept: versions, ruleset, counts, digests of inputs and results, seconds.

        All but `seconds` (building the book and sweeping it) is equal for equal input,
        whatever the chunks and threads. The digests are BLAKE3 over the values of the input
        frames (known columns, in the order of the schema) and of the five results (computed
        columns, in their order): of all results together, and in `results` of each. Versions
        of equal `numerics` make equal results of equal input.
        """
        counts = {
            "accounts": int(self.totals["accounts"].item()),
            "buckets": self.buckets.height,
            **self._holder.counts(),
            "rejects": self.rejects.height,
        }
        computed = pick(self.accounts, ("account_id", *MARGIN_COLUMNS))
        results = [
            ("accounts", computed),
            ("buckets", pick(self.buckets, ("account_id", "bucket_id", *MARGIN_COLUMNS))),
            ("positions", self.positions),
            ("totals", self.totals),
            ("rejects", self.rejects),
        ]
        return self.about([], results, counts)

    def about(
        self,
        inputs: list[tuple[str, pl.DataFrame]],
        results: list[tuple[str, pl.DataFrame]],
        counts: dict[str, int],
    ) -> dict[str, Any]:
        """Return a manifest of these results: of the sweep's inputs, and of others besides."""
        about = {key: value for key, value in self._about.items() if key != "seconds"}
        whole, parts = engine.digests(plain(results))
        return {
            "margrave_version": engine.version(),
            **about,
            **counts,
            "input_digest": engine.digests(plain([*self._inputs, *inputs]))[0],
            "result_digest": whole,
            "seconds": self._about["seconds"],
            "numerics": engine.numerics(),
            "results": parts,
            **self.accounting,
        }

    def __repr__(self) -> str:
        totals = self.totals.row(0, named=True)
        by_status = ", ".join(
            f"{totals[name]} {name.removesuffix('_accounts')}"
            for name in totals
            if name.endswith("_accounts") and name != "liquidatable_accounts" and totals[name]
        )
        return (
            f"Sweep({totals['accounts']} accounts: {by_status or 'none'}; "
            f"{self.rejects.height} rejects; ruleset {shown(self._about['ruleset_id'])})"
        )

    def _repr_html_(self) -> str:
        totals = self.totals.row(0, named=True)
        return notebook.table(
            "Sweep",
            {
                "ruleset": self._about["ruleset_id"],
                **{name.replace("_", " "): value for name, value in totals.items()},
                "rejects": self.rejects.height,
            },
        )


def shown_control(control: dict[str, Any]) -> dict[str, Any]:
    """Return control totals with each exact sum rounded once, as the manifest has them."""

    def row(sums: dict[str, Any]) -> dict[str, Any]:
        return {n: rounded(v) if n in _EXACT else v for n, v in sums.items()}

    by_id = {key: [row(sums) for sums in control[key]] for key in ("quantity", "amount")}
    return {**control, **by_id}


def plain(frames: list[tuple[str, pl.DataFrame]]) -> list[tuple[str, pl.DataFrame]]:
    """Bring ids and numbers to the types that digests are defined over."""

    def cast(column: pl.Series) -> pl.Series:
        if column.dtype.is_integer():
            low, high = bounds([column])
            fits = INT64[0] <= low and high <= INT64[1]
            return column.cast(pl.Int64 if fits else pl.String)
        is_text = isinstance(column.dtype, (pl.Enum, pl.Categorical))
        return column.cast(pl.String) if is_text or column.dtype == pl.Null else column

    return [(name, pl.DataFrame([cast(c).rechunk() for c in frame])) for name, frame in frames]
