"""The book: who holds what. And `sweep`, which needs a market and a ruleset besides."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

import polars as pl

from margrave import engine, notebook
from margrave.breach import ReverseStress, check_direction, check_target
from margrave.comparison import Comparison, require_carriable
from margrave.errors import MargraveError, RulesError
from margrave.faults import merged, raise_faults, rejects
from margrave.files import is_path
from margrave.frames import pick, read, shown
from margrave.held import Held, checked_threads
from margrave.market import Market
from margrave.moves import check_scenarios
from margrave.rules import Rules
from margrave.schema import FRAMES
from margrave.stress import Asked, Stress
from margrave.sweep import Sweep

__all__ = ["Book", "sweep"]

OnError = Literal["raise", "quarantine"]


class Book:
    """Positions and balances of every account, built once and swept many times.

    Args:
        positions: Who holds which contracts, at what entry price (its columns: `schema.FRAMES`).
        balances: Who holds or owes how much of which asset.
        instruments: The contracts that exist; only their ids are used here.
        accounts: Optional. Its columns are carried to the results, null for accounts that it
            lacks.
        on_error: `"raise"` refuses a book with bad rows; `"quarantine"` sets them aside in
            `rejects` and makes their accounts `indeterminate`.
        threads: How many threads build it; all cores by default.

    Frames may be Polars, pandas, pyarrow or DuckDB, a `LazyFrame`, or Parquet or CSV paths.

    Raises:
        SchemaError: A column is missing or mistyped, a word is unknown, ids don't match.
        DataError: A value is null, not finite or out of range.
        UnknownInstrument: A position is in an instrument that `instruments` lacks.
    """

    def __init__(
        self,
        positions: object,
        balances: object,
        instruments: object,
        accounts: object | None = None,
        *,
        on_error: OnError = "raise",
        threads: int | None = None,
    ) -> None:
        if on_error not in ("raise", "quarantine"):
            raise MargraveError(f'on_error: {on_error!r} is neither "raise" nor "quarantine"')
        threads = checked_threads(threads)
        started = time.perf_counter()
        self._quarantine = on_error == "quarantine"
        self._held = Held(positions, balances, instruments, accounts, threads)
        self._core = self._held.core
        self._rejects = self._held.rejects
        if not self._quarantine:
            raise_faults(self._rejects, may_quarantine=True)
        self._seconds = time.perf_counter() - started

    def sweep(self, market: Market, rules: Rules, *, threads: int | None = None) -> Sweep:
        """Return the margin of every account of this book at the marks of `market`.

        Args:
            market: Contract terms and marks; must know every instrument and asset that the
                book holds.
            rules: What must be held. Money comes back in its valuation asset.
            threads: How many threads to use; all cores by default. The answer has the same
                bits on any number.

        Returns:
            A `Sweep`. Its `accounts` has one row per account, in order of first appearance,
            with `margin_balance`, `maintenance_margin` and `is_liquidatable`
            (`margin_balance < level * maintenance_margin`).

        Raises:
            UnknownInstrument: The book holds an instrument that `market` lacks.
            UnknownAsset: The same of an asset.
            RulesError: A held instrument or asset has no table.

        Example:
            Long 2 at 100, now at 90, with 15 in cash: equity is 15 + 2 * (90 - 100).

            >>> import margrave as mg
            >>> import polars as pl
            >>> held = {"account_id": 1, "instrument_id": "X", "quantity": 2, "entry_price": 100}
            >>> terms = {"instrument_id": "X", "kind": "linear", "settle_asset": "USD"}
            >>> flat = {"tier_table": "X", "floor": 0, "maintenance_rate": 0.1, "initial_rate": 0.2}
            >>> full = {"weight_table": "USD", "maintenance_weight": 1}
            >>> positions = pl.DataFrame([held])
            >>> balances = pl.DataFrame([{"account_id": 1, "asset_id": "USD", "amount": 15}])
            >>> instruments = pl.DataFrame([terms | {"mark_price": 90}])
            >>> assets = pl.DataFrame([{"asset_id": "USD", "price": 1}])
            >>> rules = mg.Rules.load({"tiers": [flat], "weights": [full]})
            >>> book = mg.Book(positions, balances, instruments)
            >>> book.sweep(mg.Market(instruments, assets), rules).accounts["equity"].to_list()
            [-5.0]
        """
        threads = self._checked_inputs(market, rules, threads)
        started = time.perf_counter()
        swept = engine.sweep(
            self._core, market._core, rules._core, quarantine=self._quarantine, threads=threads
        )
        return self._swept(swept, market, rules, threads, started)

    def stress(
        self, market: Market, rules: Rules, scenarios: object, *, threads: int | None = None
    ) -> Stress:
        """Return every account of this book in many scenarios.

        Args:
            market: As in `sweep`; each scenario moves its marks and asset prices.
            rules: As in `sweep`.
            scenarios: A frame `scenario_id`, `factor` (an `instrument_id`, an `asset_id`, a
                `base_asset`, or `*`), `price_shock` (relative, -0.2 is a fall by 20 %). The most
                specific factor wins; `*` moves all but the valuation asset and stable ones.
            threads: As in `sweep`.

        Returns:
            A `Stress`: `scenarios` (a row for each), `accounts` (the worst of each), `matrix()`
            (all pairs, lazily), `cover()`. Each figure has the bits of the sweep of
            `market.shocked(...)`.

        Raises:
            SchemaError: A column of `scenarios` is missing or mistyped, or a scenario has a
                factor twice.
            DataError: A value of it is null, not finite or out of range, a factor names nothing
                in the market, or an option whose base moves is held and not named.
            MargraveError: As `sweep` does.

        Example:
            Long 2 at 100 with 30 in cash. 10 % down: 30 - 20 = 10, of which 18 is required. At
            20 % down 30 - 40 leaves a debt of 10.

            >>> import margrave as mg
            >>> import polars as pl
            >>> held = {"account_id": 1, "instrument_id": "X", "quantity": 2, "entry_price": 100}
            >>> terms = {"instrument_id": "X", "kind": "linear", "settle_asset": "USD"}
            >>> cash = {"account_id": 1, "asset_id": "USD", "amount": 30}
            >>> flat = {"tier_table": "X", "floor": 0, "maintenance_rate": 0.1, "initial_rate": 0.2}
            >>> full = {"weight_table": "USD", "maintenance_weight": 1}
            >>> instruments = pl.DataFrame([terms | {"mark_price": 100}])
            >>> market = mg.Market(instruments, pl.DataFrame([{"asset_id": "USD", "price": 1}]))
            >>> book = mg.Book(pl.DataFrame([held]), pl.DataFrame([cash]), instruments)
            >>> rules = mg.Rules.load({"tiers": [flat], "weights": [full]})
            >>> falls = {"scenario_id": ["mild", "hard"], "price_shock": [-0.1, -0.2]}
            >>> stress = book.stress(market, rules, pl.DataFrame(falls | {"factor": "*"}))
            >>> stress.scenarios["total_bad_debt"].to_list()
            [0.0, 10.0]
            >>> stress.accounts["worst_scenario"].to_list()
            ['hard']
        """
        threads = self._checked_inputs(market, rules, threads)
        checked = check_scenarios(scenarios, market.factors)
        started = time.perf_counter()
        swept, outcomes, sums, worst = engine.stress(
            self._core,
            market._core,
            rules._core,
            checked.named(),
            quarantine=self._quarantine,
            threads=threads,
        )
        base = self._swept(swept, market, rules, threads, started)
        asked = Asked(self._core, self._held, market, rules, checked, threads)
        return Stress(asked, base, outcomes, sums, worst)

    def breach(
        self,
        market: Market,
        rules: Rules,
        direction: str | Mapping[str, float] | object = "down",
        *,
        threads: int | None = None,
    ) -> pl.DataFrame:
        """Return how far each account is from its trigger, along a direction.

        Args:
            market: As in `sweep`.
            rules: As in `sweep`.
            direction: How prices move by the shock `s`. `"down"` and `"up"` move what `*` moves
                by `s` in (-1, 0] and [0, 10]; a mapping, or a frame `factor`, `beta`, moves each
                factor by `beta * s`, `s` in [0, 10] as long as every price stays above 0;
                `"adverse"` moves every instrument by `s` in [0, 1) against the bucket's net
                position, collateral down and debts up.
            threads: As in `sweep`.

        Returns:
            One row per account, in their order: `account_id`; `breach_shock`, the least `s` in
            size at which any bucket's trigger is reached, exact through tiers and slices, null
            unless `root`; `breach_kind`: `root`, `none` (nowhere), `breached` (already).

        Raises:
            DataError: A factor that the market lacks, a beta that is no number, or an option
                that is held where its base moves: `direction.factor`, `direction.beta`.
            MargraveError: A direction that is none; and as `sweep` does.

        Example:
            Long 2 at 100 with 30 in cash and a flat 10 %: `30 + 200 s = 20 (1 + s)` at
            `s = -10 / 180`.

            >>> import margrave as mg
            >>> import polars as pl
            >>> held = {"account_id": 1, "instrument_id": "X", "quantity": 2, "entry_price": 100}
            >>> terms = {"instrument_id": "X", "kind": "linear", "settle_asset": "USD"}
            >>> cash = {"account_id": 1, "asset_id": "USD", "amount": 30}
            >>> flat = {"tier_table": "X", "floor": 0, "maintenance_rate": 0.1, "initial_rate": 0.2}
            >>> full = {"weight_table": "USD", "maintenance_weight": 1}
            >>> instruments = pl.DataFrame([terms | {"mark_price": 100}])
            >>> market = mg.Market(instruments, pl.DataFrame([{"asset_id": "USD", "price": 1}]))
            >>> book = mg.Book(pl.DataFrame([held]), pl.DataFrame([cash]), instruments)
            >>> rules = mg.Rules.load({"tiers": [flat], "weights": [full]})
            >>> book.breach(market, rules)["breach_shock"].round(6).to_list()
            [-0.055556]
        """
        threads = self._checked_inputs(market, rules, threads)
        checked = check_direction(direction, market.factors)
        started = time.perf_counter()
        swept, found = engine.breach(
            self._core,
            market._core,
            rules._core,
            checked,
            quarantine=self._quarantine,
            threads=threads,
        )
        self._swept(swept, market, rules, threads, started)
        return pl.DataFrame([self._held.account_ids().alias("account_id"), *found])

    def reverse_stress(
        self,
        market: Market,
        rules: Rules,
        direction: str | Mapping[str, float] | object = "down",
        *,
        bad_debt: float | None = None,
        liquidatable_notional: float | None = None,
        threads: int | None = None,
    ) -> ReverseStress:
        """Return the smallest move along a direction at which the exchange reaches an amount.

        Args:
            market: As in `sweep`.
            rules: As in `sweep`.
            direction: As in `breach`.
            bad_debt: The amount that total bad debt is to reach, such as an insurance fund;
                valuation asset.
            liquidatable_notional: Or the amount that the gross notional of all accounts past the
                line, at the moved prices, is to reach.
            threads: As in `sweep`.

        Raises:
            MargraveError: Not just one target is given, or it is no finite number above 0; and
                as `breach` does.
        """
        threads = self._checked_inputs(market, rules, threads)
        target = check_target(bad_debt, liquidatable_notional)
        checked = check_direction(direction, market.factors)
        started = time.perf_counter()
        swept, reached = engine.reverse_stress(
            self._core,
            market._core,
            rules._core,
            checked,
            target,
            quarantine=self._quarantine,
            threads=threads,
        )
        self._swept(swept, market, rules, threads, started)
        return ReverseStress(None) if reached is None else ReverseStress(*reached)

    def _checked_inputs(self, market: Market, rules: Rules, threads: int | None) -> int | None:
        if not isinstance(market, Market):
            raise MargraveError(f"market: {type(market).__name__} is no Market")
        if not isinstance(rules, Rules):
            raise MargraveError(f"rules: {type(rules).__name__} is no Rules")
        self._held.require_same_ids(market)
        return checked_threads(threads)

    def _swept(
        self,
        swept: engine.CoreSweep,
        market: Market,
        rules: Rules,
        threads: int | None,
        started: float,
    ) -> Sweep:
        """Return a sweep of the core as users see it.

        Raises:
            MargraveError: Rows cannot be priced, and this book sets none aside.
        """
        found = rejects(engine.faults(swept), self._held.raw, market.settle_assets)
        if not self._quarantine:
            raise_faults(found, may_quarantine=True)
        about: dict[str, Any] = {
            "ruleset_id": rules.id,
            "ruleset_hash": rules.hash,
            "seconds": self._seconds + time.perf_counter() - started,
        }
        inputs = _in_order([*self._held.frames.items(), *market.frames.items()])
        return Sweep(
            swept,
            self._held,
            rejects=merged(self._rejects, found),
            about=about,
            inputs=[*inputs, *market.shocks_as_frames()],
            inexact=self._held.inexact | market.inexact,
            threads=threads,
        )

    def compare(
        self, market: Market, rules_a: Rules, rules_b: Rules, *, threads: int | None = None
    ) -> Comparison:
        """Return status, buffer and requirement of every account under two rulesets.

        Args:
            market: As in `sweep`.
            rules_a: What must be held now.
            rules_b: What must be held instead; changes are its figures minus those of `rules_a`.
            threads: As in `sweep`.

        Returns:
            A `Comparison`: `accounts`, a row for each, and `transitions`, a row for each pair
            of statuses. In quarantine, what either sweep sets aside is in its `rejects`.

        Raises:
            RulesError: The rulesets have different valuation assets: a change of money would
                mean nothing.
            SchemaError: A carried column is named like a column of the comparison.
            MargraveError: As `sweep` does.
        """
        for name, rules in (("rules_a", rules_a), ("rules_b", rules_b)):
            if not isinstance(rules, Rules):
                raise MargraveError(f"{name}: {type(rules).__name__} is no Rules")
        units = [rules.valuation_asset for rules in (rules_a, rules_b)]
        if units[0] != units[1]:
            raise RulesError(
                f"buckets.valuation_asset: {shown(units[0])} in rules_a, {shown(units[1])} in "
                "rules_b; money in different assets has no difference"
            )
        require_carriable(self._held.carried().columns)
        swept = []
        for name, rules in (("rules_a", rules_a), ("rules_b", rules_b)):
            try:
                swept.append(self.sweep(market, rules, threads=threads))
            except RulesError as error:
                raise RulesError(f"{name} ({shown(rules.id)}): {error}") from error
        return Comparison(swept[0], swept[1], (rules_a.id, rules_b.id))

    def _repr_html_(self) -> str:
        rows = {name: raw.height for name, raw in self._held.raw.items() if name != "accounts"}
        facts = {"accounts": self._core.accounts, **rows, "rejects": self._rejects.height}
        return notebook.table("Book", facts)

    def __repr__(self) -> str:
        rows = self._held.counts()
        return (
            f"Book({self._core.accounts} accounts, {rows['positions']} positions, "
            f"{rows['balances']} balances, {self._rejects.height} rejects)"
        )


def _in_order(inputs: list[tuple[str, pl.DataFrame]]) -> list[tuple[str, pl.DataFrame]]:
    """Put frames and their columns in the order of the schema."""
    frames = dict(inputs)
    return [
        (name, pick(frames[name], [c.name for c in columns if c.name in frames[name].columns]))
        for name, columns in FRAMES.items()
        if name in frames
    ]


def sweep(
    positions: object,
    balances: object,
    instruments: object,
    assets: object,
    rules: Rules,
    *,
    accounts: object | None = None,
    on_error: OnError = "raise",
    threads: int | None = None,
) -> Sweep:
    """Return the margin of every account in one call: `Book`, `Market` and `Book.sweep`.

    Args:
        positions: See `Book`.
        balances: See `Book`.
        instruments: Contract terms and marks, see `Market`.
        assets: Asset prices, see `Market`.
        rules: What must be held.
        accounts: See `Book`.
        on_error: See `Book`.
        threads: How many threads to use; all cores by default.

    Raises:
        MargraveError: As `Book`, `Market` and `Book.sweep` do.
    """
    if not is_path(instruments):  # which both of them read: a stream may be read once only
        instruments = read("instruments", instruments)
    book = Book(positions, balances, instruments, accounts, on_error=on_error, threads=threads)
    return book.sweep(Market(instruments, assets), rules, threads=threads)
