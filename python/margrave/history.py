"""Scenarios of the past: every window of a frame of prices as one simultaneous move.

`historical` takes the prices as they are kept, one row per time and factor, and returns the
frame that a stress takes. A window is two moments of the frame; what lies between them does
not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

import polars as pl

from margrave.errors import DataError, MargraveError, SchemaError
from margrave.frames import pick, read, shown
from margrave.moves import LARGEST

__all__ = ["historical"]

#: Names under which a column is found, by the keyword that names another.
COLUMNS: dict[str, tuple[str, ...]] = {
    "time": ("time", "ts", "timestamp", "date"),
    "factor": ("factor", "symbol", "asset", "asset_id", "instrument_id", "base_asset", "coin"),
    "price": ("price", "close", "mark_price"),
}

ROWS_SHOWN = 5


def historical(
    prices: object,
    horizon: str | int | timedelta,
    *,
    time: str | None = None,
    factor: str | None = None,
    price: str | None = None,
) -> pl.DataFrame:
    """Return a scenario for every window of `horizon` that a frame of prices holds.

    A window begins at any time of the frame and ends exactly `horizon` later; where the frame
    has no such time, none begins. In it a factor moves by its price at the end over that at
    the start, less 1. A factor without a price at either end is left out of that window; it
    then moves with `*` where the scenario has one, else not at all.

    Args:
        prices: A frame (or path) with a row per time and factor, in any order. Its columns are
            found by their names: `time`, `ts`, `timestamp` or `date` (Date, Datetime or ISO
            text; naive is UTC); `factor`, `symbol`, `asset`, `asset_id`, `instrument_id`,
            `base_asset` or `coin` (text or integers); `price`, `close` or `mark_price`
            (above 0). Others are ignored.
        horizon: A duration as Polars writes it (`"1d"`, `"4h"`, `"1w"`, `"1mo"`), a
            `timedelta`, or a number of steps from one time of the frame to the next.
        time: Name of the column of times, where it has another or several fit.
        factor: The same for the factors.
        price: The same for the prices.

    Returns:
        `scenario_id`, `factor`, `price_shock` (a fraction), by start of the window and by
        factor. The id is the window's times in UTC (`2020-03-12 to 2020-03-13`), with hours and
        minutes where a time of the frame is not midnight. Windows overlap where `horizon` is
        longer than a step. No rows give no scenarios.

    Raises:
        SchemaError: A column is missing, mistyped or not the only one that fits; a factor has
            two prices at one time.
        DataError: A time, factor or price is null, or a price is no number above 0.
        MargraveError: `horizon` is no duration above 0, or no two times lie so far apart.

    Example:
        From 100 to 80 within a day, and on to 88 (`+10 %`):

        >>> from datetime import date
        >>> days = [date(2020, 3, day) for day in (11, 12, 13)]
        >>> prices = pl.DataFrame({"date": days, "symbol": "BTC", "close": [100.0, 80.0, 88.0]})
        >>> moves = historical(prices, horizon="1d")
        >>> moves["scenario_id"].to_list()
        ['2020-03-11 to 2020-03-12', '2020-03-12 to 2020-03-13']
        >>> moves["price_shock"].round(9).to_list()
        [-0.2, 0.1]
    """
    raw = read("prices", prices)
    named = {"time": time, "factor": factor, "price": price}
    columns = {role: _column(raw, role, name) for role, name in named.items()}
    rows = pl.DataFrame(
        [
            _times(raw[columns["time"]]).alias("time"),
            _factors(raw[columns["factor"]]).alias("factor"),
            _prices(raw[columns["price"]]).alias("price"),
        ]
    )
    _require_one_price(rows, columns)
    windows = _windows(rows["time"].unique().sort(), horizon)
    return _moves(rows, windows)


def _column(raw: pl.DataFrame, role: str, name: str | None) -> str:
    """Return the column of the frame that has this role."""
    have = f"hint: prices has the columns {', '.join(raw.columns[:30]) or 'none'}"
    known = COLUMNS[role]
    if name is not None:
        if name in raw.columns:
            return name
        near = _near(name, raw.columns)
        raise SchemaError(f"prices.{name}: {role}={shown(name)}, no such column{near}\n{have}")
    found = [column for column in known if column in raw.columns]
    if len(found) == 1:
        return found[0]
    if found:
        raise SchemaError(
            f"prices.{found[0]}: prices.{found[1]} may be meant as well; say {role}="
            f"{found[0]!r} or {role}={found[1]!r}"
        )
    near = next((text for name in raw.columns if (text := _near(name, known))), "")
    raise SchemaError(
        f"prices.{role}: this column is missing; it may be called {', '.join(known)}{near}, or "
        f'say {role}="..." (a frame with a column per factor: unpivot it first)\n{have}'
    )


def _near(name: str, known: Sequence[str]) -> str:
    """Return which name may be meant, as the end of a message; empty where none is near."""
    by_lower = {other.lower(): other for other in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


def _times(series: pl.Series) -> pl.Series:
    """Return times as naive Datetimes of UTC."""
    _refuse("null", series, series.is_null(), "a time", "drop those rows")
    if isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical)):
        texts = series.cast(pl.String)
        parsed = {text: _parsed(text) for text in texts.unique()}
        bad = texts.is_in([text for text, when in parsed.items() if when is None])
        _refuse("no ISO date or time", series, bad, "2020-03-12 or 2020-03-12T08:00:00Z")
        return pl.Series([parsed[text] for text in texts], dtype=pl.Datetime("us"))
    if series.dtype == pl.Date or (series.is_empty() and series.dtype == pl.Null):
        return series.cast(pl.Datetime("us"))
    if not isinstance(series.dtype, pl.Datetime):
        raise SchemaError(
            f"prices.{series.name}: its type is {series.dtype}, not Date, Datetime or ISO text; "
            "cast the column (numbers since 1970 with pl.from_epoch)"
        )
    if series.dtype.time_zone is None:
        return series
    return series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _parsed(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo is None else when.astimezone(UTC).replace(tzinfo=None)


def _factors(series: pl.Series) -> pl.Series:
    _refuse("null", series, series.is_null(), "text or an integer", "drop those rows")
    is_text = isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical))
    if not is_text and not series.dtype.is_integer() and len(series):
        raise SchemaError(
            f"prices.{series.name}: its type is {series.dtype}, not text or integer; cast it"
        )
    return series.cast(pl.String)


def _prices(series: pl.Series) -> pl.Series:
    """Return prices as Float64, all of them above 0."""
    if not series.dtype.is_numeric() and len(series):
        if series.dtype == pl.Null:
            _refuse("null", series, series.is_null(), "a number above 0 and at most 1e18")
        raise SchemaError(
            f"prices.{series.name}: its type is {series.dtype}, not a number (integer, float or "
            "Decimal); cast the column"
        )
    values = series.cast(pl.Float64)
    allowed, cure = "a number above 0 and at most 1e18", "drop those rows"
    _refuse("null", series, values.is_null(), allowed, cure)
    _refuse("no finite number", series, ~values.is_finite(), allowed, cure)
    _refuse("out of range", series, (values <= 0) | (values > LARGEST), allowed, cure)
    return values


def _refuse(
    what: str, series: pl.Series, bad: pl.Series, allowed: str, cure: str = "correct them"
) -> None:
    """Raise a DataError that shows the first rows, where any is bad."""
    at = bad.arg_true()
    if at.is_empty():
        return
    rows = ", ".join(str(row) for row in at[:ROWS_SHOWN])
    values = [shown(value) for value in series.gather(at[:ROWS_SHOWN]) if value is not None]
    given = f"; values {', '.join(values)}" if values else ""
    count = "1 value is" if len(at) == 1 else f"{len(at)} values are"
    raise DataError(
        f"prices.{series.name}: {count} {what} (first rows: {rows}{given}); allowed is {allowed}\n"
        f"hint: {cure}"
    )


def _require_one_price(rows: pl.DataFrame, columns: dict[str, str]) -> None:
    """Refuse two prices of one factor at one time."""
    twice = pick(rows, ("time", "factor")).is_duplicated().arg_true()
    if twice.is_empty():
        return
    first = rows.row(int(twice[0]), named=True)
    same = (rows["factor"] == first["factor"]) & (rows["time"] == first["time"])
    at = ", ".join(str(row) for row in same.arg_true()[:ROWS_SHOWN])
    raise SchemaError(
        f"prices.{columns['factor']}, prices.{columns['time']}: {len(twice)} rows share their time "
        f"and factor with another (first: {shown(first['factor'])} at {first['time']}, rows {at}); "
        "keep one price of each, of one source and one interval"
    )


def _windows(times: pl.Series, horizon: str | int | timedelta) -> pl.DataFrame:
    """Return `start`, `end` and `scenario_id` of every window, the first first."""
    if isinstance(horizon, int) and not isinstance(horizon, bool):
        if horizon < 1:
            raise _no_horizon(horizon)
        steps = min(horizon, len(times))
        starts, ends = times.head(len(times) - steps), times.slice(steps)
    else:
        starts, ends = times, _later(times, horizon)
    labels = _labels(times)
    named = pl.DataFrame({"end": times, "last": labels})
    windows = (
        pl.DataFrame({"start": starts, "end": ends, "first": labels.head(len(starts))})
        .join(named, on="end", how="inner", maintain_order="left")
        .select("start", "end", scenario_id=pl.format("{} to {}", "first", "last"))
    )
    if windows.is_empty() and len(times):
        raise MargraveError(
            f"horizon: no two times of prices lie {horizon} {_unit(horizon)}apart; prices has "
            f"{len(times)} times from {labels[0]} to {labels[-1]}"
        )
    return windows


def _later(times: pl.Series, horizon: object) -> pl.Series:
    """Return each time moved by a duration."""
    if not isinstance(horizon, (str, timedelta)):
        raise _no_horizon(horizon)
    probe = pl.Series([datetime(2000, 1, 1)], dtype=times.dtype)
    try:
        moved = [
            s.dt.offset_by(horizon) if isinstance(horizon, str) else s + horizon
            for s in (probe, times)
        ]
    except (ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise _no_horizon(horizon) from error
    if not all(bool((late > s).all()) for late, s in zip(moved, (probe, times), strict=True)):
        raise _no_horizon(horizon)
    return moved[1]


def _no_horizon(horizon: object) -> MargraveError:
    return MargraveError(
        f'horizon: {shown(horizon)} given; give a duration above 0 such as "1d", "4h" or "1mo", a '
        "timedelta, or a number of steps from 1"
    )


def _unit(horizon: object) -> str:
    return "steps " if isinstance(horizon, int) else ""


def _labels(times: pl.Series) -> pl.Series:
    """Return times as text: days where all are midnights, else as fine as they need."""
    for unit, pattern in (("1d", "%Y-%m-%d"), ("1m", "%Y-%m-%dT%H:%M")):
        if bool((times.dt.truncate(unit) == times).all()):
            return times.dt.strftime(pattern)
    is_whole = bool((times.dt.truncate("1s") == times).all())
    return times.dt.strftime("%Y-%m-%dT%H:%M:%S" + ("" if is_whole else "%.f"))


def _moves(rows: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """Return the move of each factor in each window that has both its prices."""
    moves = (
        windows.join(rows, left_on="start", right_on="time", how="inner")
        .join(rows, left_on=["end", "factor"], right_on=["time", "factor"], suffix="_at_end")
        .sort("start", "factor")
        .select("scenario_id", "factor", price_shock=pl.col("price_at_end") / pl.col("price") - 1.0)
    )
    shocks = moves["price_shock"]
    bad = ((shocks <= -1.0) | ~(shocks <= LARGEST)).arg_true()
    if len(bad):
        at = moves.row(int(bad[0]), named=True)
        raise DataError(
            f"prices: {shown(at['factor'])} moves by {at['price_shock']} from "
            f"{at['scenario_id']}, which no scenario can hold; look at its prices"
        )
    return moves
