"""What a book holds, as it came: frames checked, ids brought together, rows by account.

A `Held` knows the user's frames and the core's book of them. What is computed of it asks here
for ids, for carried columns, and for the rows that came in.
"""

from __future__ import annotations

from functools import cached_property

import polars as pl

from margrave import engine
from margrave.errors import SchemaError
from margrave.faults import null_rejects, raise_faults, rejects
from margrave.frames import Frame, check, require_unique
from margrave.ids import common_kind, id_column, in_type, meet, share_codes, type_of_all
from margrave.market import Market
from margrave.schema import MARGIN_COLUMNS

__all__ = ["Held", "checked_threads"]

#: Integers whose values all fit in Int64.
NARROW = {pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32}

#: More threads than these would only wait for one another.
MOST_THREADS = 1024


class Held:
    """The frames of a book and the core's book of them; its faults are the caller's to look at."""

    def __init__(
        self,
        positions: object,
        balances: object,
        instruments: object,
        accounts: object | None,
        threads: int | None,
    ) -> None:
        """Check the frames and build the book; users call `Book`.

        Raises:
            SchemaError: As `Book`.
            DataError: An id of `instruments` is null.
        """
        self._positions = check("positions", positions)
        self._balances = check("balances", balances)
        self._accounts = None if accounts is None else check("accounts", accounts)
        listed = check("instruments", instruments, only=frozenset({"instrument_id"}))
        self._settle_ids(listed)
        frames = {name: self._for_core(frame) for name, frame in self.frames.items()}
        self.core = engine.build_book(
            frames["positions"], frames["balances"], frames.get("accounts"), self._listed, threads
        )
        self.rejects = rejects(engine.faults(self.core), self.raw)

    def _settle_ids(self, listed: Frame) -> None:
        """Bring the ids of all frames to types in which they can be compared."""
        frames = [self._positions, self._balances]
        frames += [self._accounts] if self._accounts is not None else []
        account_ids = [id_column(frame, "account_id") for frame in frames]
        held = id_column(self._positions, "instrument_id")
        instruments = id_column(listed, "instrument_id")
        assets = id_column(self._balances, "asset_id")
        require_unique("instruments", instruments.values)
        raise_faults(null_rejects("instruments", instruments.values), may_quarantine=False)
        if self._accounts is not None:
            require_unique("accounts", self._accounts.raw["account_id"])
            _require_carriable(self._accounts.raw)
        # None where they come back as they came.
        self._account_type = None if share_codes(account_ids) else type_of_all(account_ids)
        self._account_columns = dict(zip([f.name for f in frames], account_ids, strict=True))
        # What comes back are ids of positions: their own type always holds them.
        settled = held.kind is not None and not held.is_csv
        self._instrument_type = type_of_all([held] if settled else [held, instruments])
        self._instrument_kind = None if held.is_csv else common_kind([held])
        self._asset_kind = None if assets.is_csv else common_kind([assets])
        held_ids, listed_ids = meet([held, instruments], is_account=False)
        (asset_ids,) = meet([assets], is_account=False)
        self._listed = pl.DataFrame([listed_ids.alias("instrument_id").rechunk()])
        others = {"positions": {"instrument_id": held_ids}, "balances": {"asset_id": asset_ids}}
        self.frames = {
            frame.name: frame.with_ids(account_id=ids, **others.get(frame.name, {}))
            for frame, ids in zip(frames, meet(account_ids, is_account=True), strict=True)
        }
        self.raw = {frame.name: frame.raw for frame in frames}
        self.inexact = self._positions.inexact | self._balances.inexact

    def _for_core(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a frame with its account ids as integers, where all frames share their codes."""
        if self._account_type is not None:
            return frame
        codes = frame["account_id"].to_physical().cast(pl.Int64)
        return pl.DataFrame({column.name: column for column in frame} | {codes.name: codes})

    def require_same_ids(self, market: Market) -> None:
        """Refuse a market whose ids are of another kind.

        Raises:
            SchemaError: Integers here, text there.
        """
        pairs = (
            ("instrument_id", self._instrument_kind, market.instrument_kind),
            ("asset_id", self._asset_kind, market.asset_kind),
        )
        for column, mine, theirs in pairs:
            if mine is not None and theirs is not None and mine != theirs:
                raise SchemaError(
                    f"{column}: the book's ids are {mine}s, the market's are {theirs}s; integers "
                    "never meet text, so cast one of the columns"
                )

    @cached_property
    def _account_rows(self) -> pl.DataFrame:
        return engine.account_rows(self.core)

    @cached_property
    def _account_ids(self) -> pl.Series:
        # Wider ones are held as other numbers of 64 bits, or as texts, and codes as integers.
        dtype, columns = self._account_type, self._account_columns.values()
        narrow = all(not column.is_coded and column.dtype in NARROW for column in columns)
        if dtype is not None and narrow and (known := engine.account_ids(self.core)) is not None:
            return in_type(known, dtype)
        frame, row = self._account_rows.get_columns()[:2]
        parts, begin = [], 0
        for number, name in enumerate(("positions", "balances", "accounts")):  # in this order
            count = int((frame == number).sum())
            if count:
                ids = self.raw[name]["account_id"].gather(row.slice(begin, count))
                parts.append(self._as_settled(name, ids))
            begin += count
        none = self.raw["positions"]["account_id"].head(0)
        return pl.concat(parts) if parts else self._as_settled("positions", none)

    def _as_settled(self, name: str, ids: pl.Series) -> pl.Series:
        """Return account ids of a frame in the type that they come back in.

        Those that have it stay as they are: a cast to an Enum would hash all its categories.
        """
        dtype = self._account_type
        if dtype is None or self._account_columns[name].dtype is dtype:
            return ids
        return in_type(ids, dtype)

    def account_ids(self) -> pl.Series:
        """Return the id of each account, in order of first appearance."""
        return self._account_ids

    def carried(self) -> pl.DataFrame:
        """Return the columns carried from `accounts`, a row per account."""
        if self._accounts is None:
            return pl.DataFrame()
        rows = self._account_rows["account_row"]
        columns = self._accounts.raw.get_columns()
        return pl.DataFrame({c.name: c.gather(rows) for c in columns if c.name != "account_id"})

    def position_rows(self) -> pl.DataFrame:
        """Return account_id, instrument_id, quantity and entry_price of the input rows.

        NaN, which only a rejected row has, is null.
        """
        raw, known = self.raw["positions"], self.frames["positions"]
        numbers = [known["quantity"], known["entry_price"]]
        if not self.rejects.is_empty():
            numbers = [values.set(values.is_nan(), None) for values in numbers]
        ids = [
            self._as_settled("positions", raw["account_id"]),
            in_type(raw["instrument_id"], self._instrument_type),
        ]
        return pl.DataFrame([*ids, *numbers])

    def counts(self) -> dict[str, int]:
        """Return the number of input rows of positions and balances."""
        return {name: self.raw[name].height for name in ("positions", "balances")}

    def listed(self) -> tuple[int, pl.Series] | None:
        """Return the rows of the accounts frame, and whether each account has one of them."""
        if self._accounts is None:
            return None
        return self._accounts.raw.height, self._account_rows["account_row"].is_not_null()


def checked_threads(threads: int | None) -> int | None:
    """Return how many threads are started where so many are asked for."""
    engine.check_threads(threads)
    return None if threads is None else min(threads, MOST_THREADS)


def _require_carriable(accounts: pl.DataFrame) -> None:
    taken = [c for c in accounts.columns if c in (*MARGIN_COLUMNS, "bucket_id")]
    if taken:
        raise SchemaError(
            f"accounts.{taken[0]}: a carried column may not be named like a result column; "
            f"rename {', '.join(taken)}"
        )
