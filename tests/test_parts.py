"""Whole or in shards: the same bits in every account row, in the totals, in the controls."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import margrave as mg
from exchanges import exchanges
from faulty import bits
from margrave import engine
from margrave.exact import rounded, units
from margrave.parts import Part, Whole
from small_night import with_value
from test_laws import examples

CUT = ("positions", "balances", "accounts")


def shard_numbers(frame: pl.DataFrame, count: int) -> pl.Series:
    return engine.shards_of(frame["account_id"].cast(pl.String), count)


def cut(frames: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the frames of each shard, rows in their order."""

    def part(name: str, frame: Any, shard: int) -> Any:
        if name not in CUT or frame is None:
            return frame
        return frame.filter(shard_numbers(frame, count) == shard)

    return [{n: part(n, f, k) for n, f in frames.items()} for k in range(count)]


def sweep(frames: dict[str, Any], rules: mg.Rules) -> mg.Sweep:
    return mg.sweep(**frames, rules=rules, on_error="quarantine")


def by_account(frames: list[pl.DataFrame]) -> dict[Any, list[Any]]:
    """Return the rows of each account, bits and all, in their order."""
    rows: dict[Any, list[Any]] = {}
    for frame in frames:
        for key, part in frame.partition_by(
            "account_id", maintain_order=True, as_dict=True
        ).items():
            rows.setdefault(key[0], []).extend(bits(part))
    return rows


def sorted_controls(accounting: dict[str, Any]) -> dict[str, Any]:
    control = dict(accounting["control"])
    for key, name in (("quantity", "instrument_id"), ("amount", "asset_id")):
        control[key] = sorted(control[key], key=lambda row: (row[name] is None, row[name] or ""))
    return {**accounting, "control": control}


def without_rows(swept: mg.Sweep | Whole) -> list[tuple[Any, ...]]:
    return swept.rejects.drop("row").rows()


@st.composite
def faulty_nights(draw: st.DrawFn) -> tuple[dict[str, Any], mg.Rules]:
    """Draw an exchange, with a bad row or a row of nobody here and there."""
    exchange = draw(exchanges())
    frames = exchange.frames()
    for name, column in (("positions", "quantity"), ("balances", "amount")):
        height = frames[name].height
        if height and draw(st.booleans()):
            row = draw(st.integers(0, height - 1))
            what = draw(st.sampled_from([(column, None), (column, 1e19), ("account_id", None)]))
            frames[name] = with_value(frames[name], what[0], row, what[1])
    return frames, mg.Rules.load(exchange.rules)


@given(faulty_nights(), st.sampled_from([1, 2, 3, 7]))
@examples(80)
def test_whole_or_in_shards_the_bits_are_the_same(
    night: tuple[dict[str, Any], mg.Rules], count: int
) -> None:
    frames, rules = night
    whole = sweep(frames, rules)
    swept = [sweep(part, rules) for part in cut(frames, count)]
    for name in ("accounts", "buckets", "positions"):
        parts = by_account([getattr(one, name) for one in swept])
        assert parts == by_account([getattr(whole, name)]), name
    together = Whole([Part.read(Part.of(one).text()) for one in swept])
    assert bits(together.totals) == bits(whole.totals)
    assert sorted_controls(together.accounting) == sorted_controls(whole.accounting)
    facts = whole.manifest
    names = ("accounts", "buckets", "positions", "balances", "rejects")
    assert together.counts() == {name: facts[name] for name in names}
    told = [
        (frame, column, value, reason) for frame, _, column, value, reason in whole.rejects.rows()
    ]
    found = [
        (frame, column, value, reason)
        for frame, _, column, value, reason in together.rejects.rows()
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, told))


@given(faulty_nights(), st.sampled_from([2, 3]))
@examples(30)
def test_rejects_count_on_through_the_files_of_a_frame(
    night: tuple[dict[str, Any], mg.Rules], count: int
) -> None:
    frames, rules = night
    parts = cut(frames, count)
    cut_frames = [name for name in CUT if frames[name] is not None]
    joined = {name: pl.concat([part[name] for part in parts]) for name in cut_frames}
    whole = sweep(frames | joined, rules)
    together = Whole([Part.of(sweep(part, rules)) for part in parts])
    assert together.rejects.equals(whole.rejects)


def test_the_order_of_the_parts_changes_no_total() -> None:
    exchange = mg.generate(3000, 5)
    frames = {n: getattr(exchange, n) for n in ("positions", "balances", "instruments", "assets")}
    parts = [Part.of(sweep(part, exchange.rules)) for part in cut(frames, 5)]
    assert bits(Whole(parts[::-1]).totals) == bits(Whole(parts).totals)
    assert bits(Whole(parts).totals) == bits(sweep(frames, exchange.rules).totals)


def test_a_lost_part_is_a_lost_total() -> None:
    exchange = mg.generate(3000, 5)
    frames = {n: getattr(exchange, n) for n in ("positions", "balances", "instruments", "assets")}
    parts = [Part.of(sweep(part, exchange.rules)) for part in cut(frames, 5)]
    whole = sweep(frames, exchange.rules)
    assert bits(Whole(parts[1:]).totals) != bits(whole.totals)
    assert Whole(parts[1:]).accounting["control"] != Whole(parts).accounting["control"]


def test_a_text_that_is_no_part_is_refused() -> None:
    for text in ("", "{}", "[]", '{"counts": {}}'):
        with pytest.raises(ValueError, match=r"."):
            Part.read(text)


@pytest.mark.parametrize("value", [0.0, 5e-324, -5e-324, 0.1, -1e308, 1.7976931348623157e308])
def test_an_exact_sum_of_one_value_is_the_value(value: float) -> None:
    numerator, denominator = value.as_integer_ratio()
    exact = (numerator << 1074) // denominator
    assert rounded(exact) == value
    data = exact.to_bytes(280, "little", signed=True)
    assert units(data) == exact


def test_an_exact_sum_is_rounded_once_ties_to_even() -> None:
    one = 1 << 1074
    ulp = 1 << (1074 - 52)
    assert rounded(one + ulp // 2) == 1.0
    assert rounded(one + ulp // 2 + 1) == 1.0 + 2**-52
    assert rounded(one + ulp + ulp // 2) == 1.0 + 2**-51
    assert list(accumulate([rounded(ulp), rounded(-ulp)])) == [2**-52, 0.0]
    assert rounded(1 << 3000) == float("inf")
    assert rounded(-(1 << 3000)) == float("-inf")
