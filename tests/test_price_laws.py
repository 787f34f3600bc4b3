"""Laws of the liquidation price, seen by sweeping the same book at other marks.

The oracle serves only to say how far rounding reaches: at a price that close to the line either
answer will do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

import margrave as mg
from agreement import slacks_of
from exchanges import Exchange
from test_laws import ANY, by_bucket, examples, sweep, trigger_of, word


def with_mark(exchange: Exchange, instrument_id: Any, mark: float) -> Exchange:
    instruments = [
        {**row, "mark_price": mark} if row["instrument_id"] == instrument_id else row
        for row in exchange.instruments
    ]
    return replace(exchange, instruments=instruments)


class Moved:
    """One bucket seen at other marks of one instrument, by sweeping the same book again."""

    def __init__(self, exchange: Exchange, row: dict[str, Any]) -> None:
        frames = exchange.frames()
        self.exchange, self.instrument_id = exchange, row["instrument_id"]
        self.key = (row["account_id"], row["bucket_id"])
        self.rules = mg.Rules.load(exchange.rules)
        self.book = mg.Book(frames["positions"], frames["balances"], frames["instruments"])

    def at(self, mark: float) -> tuple[bool | None, float, float]:
        """Return the flag (None where rounding decides it), the buffer and its rounding."""
        moved = with_mark(self.exchange, self.instrument_id, mark)
        frames = moved.frames()
        night = self.book.sweep(mg.Market(frames["instruments"], frames["assets"]), self.rules)
        bucket, slack = by_bucket(night)[self.key], slacks_of(moved)[self.key]
        flag = None if "flag" in slack.doubts else bool(bucket["is_liquidatable"])
        return flag, bucket["margin_buffer"], float(slack.bounds["margin_buffer"])


def stands_still(exchange: Exchange, row: dict[str, Any]) -> bool:
    """Return whether a sweep at another mark of the row's instrument sees all else held.

    Fees at the bankruptcy prices of other instruments move with equity; a liquidation price holds
    them where they are. An option has no liquidation price, but its mark moves equity all the same.
    """
    terms = {terms["instrument_id"]: terms for terms in exchange.instruments}
    if terms[row["instrument_id"]]["kind"] in ("call", "put"):
        return False
    others = {r["instrument_id"] for r in exchange.positions} - {row["instrument_id"]}
    fees = any(terms[other]["close_fee_rate"] for other in others)
    return not (fees and word(exchange, "close_fee") == "bankruptcy")


def drawn_row(exchange: Exchange, data: st.DataObject, kind: str) -> dict[str, Any] | None:
    found = sweep(exchange).positions.filter(pl.col("liquidation_price_kind") == kind).to_dicts()
    rows = [row for row in found if stands_still(exchange, row)]
    return data.draw(st.sampled_from(rows)) if rows else None


@examples(150)
@given(ANY, st.data())
def test_no_flag_at_the_liquidation_price_and_a_flag_just_past_it(
    drawn: tuple[Exchange, bool], data: st.DataObject
) -> None:
    exchange, _ = drawn
    compare, never = trigger_of(exchange)
    row = drawn_row(exchange, data, "root")
    if row is None or not 1e-17 < row["liquidation_price"] < 1e17:
        return
    moved, price, mark = Moved(exchange, row), row["liquidation_price"], row["mark_price"]
    flag, buffer, rounding = moved.at(price)
    if not never:  # else the price may be where the requirement begins, the buffer negative
        assert abs(buffer) <= rounding, (row, buffer, rounding)
    assert flag in (None, compare == "le"), row
    for share in (0.25, 0.999999):
        between = mark * (price / mark) ** share
        if price != mark:
            assert moved.at(between)[0] in (None, False), (row, between)
    sides = [1 + 1e-6, 1 - 1e-6] if price == mark else [1 + 1e-6 if price > mark else 1 - 1e-6]
    past = [moved.at(price * side) for side in sides]
    constant = all(buffer == 0 for _, buffer, _ in past)  # a line that no price leaves
    assert constant or any(flag in (None, True) for flag, _, _ in past), (row, past)


@examples(60)
@given(ANY, st.data())
def test_no_flag_anywhere_where_there_is_no_liquidation_price(
    drawn: tuple[Exchange, bool], data: st.DataObject
) -> None:
    exchange, _ = drawn
    row = drawn_row(exchange, data, "none")
    if row is None:
        return
    moved = Moved(exchange, row)
    for ratio in (1e-6, 0.5, 0.9, 1.1, 3.0, 1e6):
        mark = row["mark_price"] * ratio
        if mark < 1e18:
            assert moved.at(mark)[0] in (None, False), (row, ratio)
