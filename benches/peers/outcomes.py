"""What peers answer to a stress: `Outcomes`, and the one frame that two answers are compared by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import scenarios
from exchange import Exchange

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Outcomes:
    """By scenario: accounts past the line, their bad debt, what they lack. By account: the number
    of its worst scenario, the first if equal, and its buffer there."""

    liquidatable: Array
    bad_debt: Array
    deficit: Array
    worst: Array
    lowest: Array


def names_of(exchange: Exchange) -> pl.Series:
    """Return the ids of the scenarios."""
    return scenarios.names(scenarios.draw(exchange))


def to_frame(ids: pl.Series, names: pl.Series, found: Outcomes) -> pl.DataFrame:
    """Return the answer: rows of scenarios, then rows of accounts."""
    return together(
        pl.DataFrame(
            {
                "scenario_id": names,
                "liquidatable_accounts": found.liquidatable.astype(np.int64),
                "total_bad_debt": found.bad_debt,
                "total_margin_deficit": found.deficit,
            }
        ),
        pl.DataFrame(
            {
                "account_id": ids,
                "worst_scenario": names.gather(found.worst),
                "margin_buffer": found.lowest,
            }
        ),
    )


def together(by_scenario: pl.DataFrame, by_account: pl.DataFrame) -> pl.DataFrame:
    """Return both frames as one; a row has only its own columns."""
    return pl.concat([by_scenario, by_account], how="diagonal")


def apart(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the two frames that were put together."""
    is_scenario = pl.col("scenario_id").is_not_null()
    parts = [frame.filter(is_scenario), frame.filter(~is_scenario)]
    first = frame.columns.index("account_id")
    by_scenario, by_account = frame.columns[:first], frame.columns[first:]
    return parts[0].select(by_scenario), parts[1].select(by_account)
