"""The liquidation curve: how much falls at which shock, along one direction.

`liquidation_curve` sorts what `Book.breach` found outwards from 0 and adds it up: a step
function that is exact, because each account breaches at one shock of its own.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import polars as pl

from margrave.errors import DataError, SchemaError
from margrave.files import is_csv
from margrave.frames import Frame, read, require_unique, shown
from margrave.ids import id_column, in_type, meet
from margrave.schema import LIQUIDATION_PRICE_KIND

__all__ = ["liquidation_curve"]

ROWS_SHOWN = 5

#: The columns of the result, in order.
TYPES = {
    "breach_shock": pl.Float64,
    "accounts": pl.Int64,
    "notional": pl.Float64,
    "cumulated_accounts": pl.Int64,
    "cumulated_notional": pl.Float64,
}


def liquidation_curve(breach: object, accounts: object) -> pl.DataFrame:
    """Return how many accounts, with how much notional, breach at which shock.

    The curve is a step function of the shock: up to the first row nothing breaches, from a
    row on (outwards) what its `cumulated_` columns say has been past its trigger on the way
    there; what a larger move would bring back stays counted. Accounts that are past their
    trigger already (`breached`) stand at 0, those that no shock breaches (`none`) and
    indeterminate ones (null) are left out.

    Args:
        breach: The frame of `Book.breach`: `account_id`, `breach_shock`, `breach_kind`.
            Frames in any form, or a path, as for `Book`.
        accounts: The accounts of a sweep of the same book and market: `account_id` and
            `gross_notional`; other columns are ignored. Order does not matter.

    Returns:
        One row per distinct shock, from 0 outwards: `breach_shock` (a fraction, signed as in
        `breach`), `accounts` and `notional` that breach just there, `cumulated_accounts` and
        `cumulated_notional` from 0 up to there. Notional is `gross_notional` at the marks as
        given, valuation asset; each sum is the exact one, rounded once.

    Raises:
        SchemaError: A column is missing or mistyped, an id occurs twice, or one frame has an
            account that the other lacks.
        DataError: An account that breaches has no finite shock or no `gross_notional` of 0 or
            more, or shocks have both signs: they come of more than one direction.

    Example:
        One account is past its trigger, two fall at -10 %:

        >>> breach = pl.DataFrame({
        ...     "account_id": [1, 2, 3],
        ...     "breach_shock": [-0.1, None, -0.1],
        ...     "breach_kind": ["root", "breached", "root"],
        ... })
        >>> accounts = pl.DataFrame({"account_id": [1, 2, 3], "gross_notional": [50.0, 20.0, 30.0]})
        >>> liquidation_curve(breach, accounts).rows()
        [(0.0, 1, 20.0, 1, 20.0), (-0.1, 2, 80.0, 3, 100.0)]
    """
    found = _frame("breach", breach, ("account_id", "breach_shock", "breach_kind"))
    margins = _frame("accounts", accounts, ("account_id", "gross_notional"))
    shocks = _shocks(_kinds(found), _numbers(found, "breach_shock"))
    places = _places(found, margins).filter(shocks.is_not_null())
    notionals = _numbers(margins, "gross_notional").gather(places)
    _require_notionals(notionals, margins.raw["account_id"], places)
    return _curve(pl.DataFrame({"shock": shocks.drop_nulls(), "notional": notionals}))


def _frame(name: str, source: object, needed: tuple[str, ...]) -> Frame:
    """Return a frame that has the columns that are needed."""
    raw = read(name, source)
    faults = [
        f"{name}.{column}: this required column is missing"
        for column in needed
        if column not in raw.columns
    ]
    if faults:
        have = ", ".join(raw.columns[:30]) or "none"
        raise SchemaError("\n".join([*faults, f"hint: {name} has the columns {have}"]))
    return Frame(name, raw, pl.DataFrame(), is_csv(source))


def _numbers(frame: Frame, column: str) -> pl.Series:
    """Return a column as Float64; the texts of a CSV are read as they are written."""
    series, label = frame.raw[column], f"{frame.name}.{column}"
    if frame.is_csv and series.dtype == pl.String:
        texts = series.set(series == "", None)
        series = texts.cast(pl.Float64, strict=False)
        bad = (series.is_null() & texts.is_not_null()).arg_true()
        if len(bad):
            raise SchemaError(
                f"{label}: {len(bad)} values are not numbers (first: {shown(texts[int(bad[0])])}, "
                f"row {bad[0]}); write them plainly"
            )
    if not series.dtype.is_numeric() and series.null_count() < len(series):
        raise SchemaError(
            f"{label}: its type is {series.dtype}, not a number (integer, float or Decimal); cast "
            "the column"
        )
    return series.cast(pl.Float64)


def _kinds(frame: Frame) -> pl.Series:
    """Return the words of `breach_kind`."""
    series = frame.raw["breach_kind"]
    words = ", ".join(LIQUIDATION_PRICE_KIND)
    if series.null_count() == len(series):
        return series.cast(pl.String)
    if not isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical)):
        raise SchemaError(
            f"breach.breach_kind: its type is {series.dtype}, not text, one of {words}; cast it"
        )
    kinds = series.cast(pl.String)
    if frame.is_csv:
        kinds = kinds.set(kinds == "", None)
    bad = (~kinds.is_in(LIQUIDATION_PRICE_KIND) & kinds.is_not_null()).arg_true()
    if len(bad):
        rows = ", ".join(str(row) for row in bad[:ROWS_SHOWN])
        raise SchemaError(
            f"breach.breach_kind: {len(bad)} values are none of {words} "
            f"(first: {shown(kinds[int(bad[0])])}; rows {rows})"
        )
    return kinds


def _places(found: Frame, margins: Frame) -> pl.Series:
    """Return for each row of `found` the row of `margins` with the same account."""
    columns = [id_column(frame, "account_id") for frame in (found, margins)]
    for frame, column in zip((found, margins), columns, strict=True):
        nulls = column.values.is_null().arg_true()
        if len(nulls):
            raise SchemaError(
                f"{frame.name}.account_id: {len(nulls)} ids are null (first: row {nulls[0]}); it "
                "is the frame's key, so drop those rows"
            )
        require_unique(frame.name, column.values)
    ours, theirs = (
        pl.DataFrame({"account": ids if ids.dtype.is_integer() else in_type(ids, pl.String())})
        for ids in meet(columns, is_account=True)
    )
    ours, theirs = ours.with_row_index("row"), theirs.with_row_index("row")
    lacking = ours.join(theirs, on="account", how="anti", maintain_order="left")["row"]
    extra = theirs.join(ours, on="account", how="anti", maintain_order="left")["row"]
    faults = [
        _lacks(one, other, rows)
        for one, other, rows in ((found, margins, lacking), (margins, found, extra))
        if len(rows)
    ]
    if faults:
        raise SchemaError(
            "\n".join([*faults, "hint: both frames are to be of one book, all its accounts"])
        )
    both = ours.join(theirs, on="account", suffix="_there", maintain_order="left")
    return both["row_there"]


def _lacks(one: Frame, other: Frame, rows: pl.Series) -> str:
    ids = in_type(one.raw["account_id"].gather(rows[:ROWS_SHOWN]), pl.String())
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return (
        f"{one.name}.account_id: not in {other.name}: {', '.join(map(shown, ids))}{more} "
        f"(first row: {rows[0]})"
    )


def _shocks(kinds: pl.Series, shocks: pl.Series) -> pl.Series:
    """Return the shock at which each row breaches, all of one sign; null where none does it."""
    is_root = (kinds == "root").fill_null(False)
    bad = (is_root & ~shocks.is_finite().fill_null(False)).arg_true()
    if len(bad):
        rows = ", ".join(str(row) for row in bad[:ROWS_SHOWN])
        raise DataError(
            f"breach.breach_shock: {len(bad)} values are null or not finite where breach_kind is "
            f"root (first rows: {rows}); allowed is a finite number"
        )
    at = (shocks + 0.0).zip_with(is_root, pl.Series([None], dtype=pl.Float64))  # -0.0 is 0.0
    at = at.set((kinds == "breached").fill_null(False), 0.0)
    down, up = (at < 0).arg_true(), (at > 0).arg_true()
    if len(down) and len(up):
        raise DataError(
            f"breach.breach_shock: {at[int(down[0])]} in row {down[0]} and {at[int(up[0])]} in row "
            f"{up[0]} have both signs; allowed are the shocks of one direction, so make a curve of "
            "each"
        )
    return at


def _require_notionals(notionals: pl.Series, ids: pl.Series, places: pl.Series) -> None:
    good = (notionals >= 0) & notionals.is_finite()
    bad = (~good.fill_null(False)).arg_true()
    if len(bad):
        row = int(places[int(bad[0])])
        raise DataError(
            f"accounts.gross_notional: {notionals[int(bad[0])]} in row {row}, and account "
            f"{shown(ids[row])} breaches; allowed is a finite number of 0 or more"
        )


def _curve(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the curve of the notionals that breach, one row each, at their shocks."""
    rows = rows.sort(pl.col("shock").abs())
    shocks = rows["shock"]
    ends = (shocks != shocks.shift(-1)).fill_null(True).arg_true()
    # Floats are whole numbers of parts of a power of two: those add up exactly.
    ratios = [value.as_integer_ratio() for value in rows["notional"].to_list()]
    parts = max((part for _, part in ratios), default=1)
    running = list(accumulate(number * (parts // part) for number, part in ratios))
    sums = [running[end] for end in ends]
    steps = [after - before for before, after in pairwise([0, *sums])]
    counts = ends.cast(pl.Int64) + 1
    return pl.DataFrame(
        {
            "breach_shock": shocks.gather(ends),
            "accounts": counts - counts.shift(1).fill_null(0),
            "notional": [_money(step, parts) for step in steps],
            "cumulated_accounts": counts,
            "cumulated_notional": [_money(total, parts) for total in sums],
        },
        schema=TYPES,
    )


def _money(whole: int, parts: int) -> float:
    """Return the float nearest to a number of parts, of which so many make 1."""
    try:
        return whole / parts
    except OverflowError as error:
        raise DataError(
            "accounts.gross_notional: the sum is larger than any number; allowed is at most 1e18"
        ) from error
