"""Bad input is refused or set aside, as the contract has it, column by column of the schema."""

from __future__ import annotations

from functools import partial
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import (
    EDGES,
    NIGHTLY,
    QUARANTINED,
    ROW,
    RULES,
    WRONG,
    assert_b_alone_is_unknown,
    assert_no_nan,
    bad_numbers,
    bits,
    columns,
    each,
    error_of,
    misnomers,
    name_of,
    outcome,
    refused,
    respell,
)
from margrave.schema import ALLOWED, FRAMES, REJECT_COLUMNS, Column
from small_night import frames, sweep, with_value

MODES = ("raise", "quarantine")
NEAR = [(f, c, word) for f, c in columns() if f != "accounts" for word in respell(c.name)]
WRONGLY_TYPED = [(f, c, wrong) for f, c in columns(*WRONG) for wrong in WRONG[c.kind]]
ON_THE_EDGE = [(f, c, value) for f, c in columns("number") for value in EDGES[c.allowed]]


def spoilt(frame: str, column: str, value: Any, row: int = ROW) -> dict[str, Any]:
    """Return the small night with one value replaced."""
    night = frames()
    return {**night, frame: with_value(night[frame], column, row, value)}


def in_both_modes(error: type[mg.MargraveError], night: dict[str, Any]) -> str:
    """Return the message of an error that is the same in both modes."""
    one, other = (refused(error, partial(sweep, night, on_error=mode)) for mode in MODES)
    assert one == other
    return one


# Structure: refused in both modes


@each()
def test_a_required_column_must_be_there(frame: str, column: Column) -> None:
    night = frames()
    night[frame] = night[frame].drop(column.name)
    if column.required:
        message = in_both_modes(mg.SchemaError, night)
        assert f"{frame}.{column.name}: this required column is missing" in message
    elif (frame, column.name) == ("weights", "floor"):
        assert "weights.floor: 1 keys occur" in in_both_modes(mg.SchemaError, night)
    elif column.name != "isolated_margin":  # row 1 must state it
        sweep(night)


def test_all_missing_columns_are_named_at_once() -> None:
    message = in_both_modes(mg.SchemaError, {**frames(), "positions": pl.DataFrame({"x": [1]})})
    wanted = [f"positions.{c.name}: " for c in FRAMES["positions"] if c.required]
    assert all(line in message for line in wanted)


@pytest.mark.parametrize(("frame", "column", "word"), NEAR, ids=name_of)
def test_a_near_miss_says_which_column_was_meant(frame: str, column: Column, word: str) -> None:
    night = frames()
    night[frame] = night[frame].rename({column.name: word})
    message = in_both_modes(mg.SchemaError, night)
    assert f"{frame}.{word}: no such column; did you mean {column.name}?" in message
    assert message.count("did you mean") == 1


@pytest.mark.parametrize(("frame", "word", "meant"), misnomers())
def test_a_name_from_elsewhere_says_which_column_was_meant(
    frame: str, word: str, meant: str
) -> None:
    night = frames()
    night[frame] = night[frame].rename({meant: word})
    message = in_both_modes(mg.SchemaError, night)
    assert f"{frame}.{word}: no such column; did you mean {meant}?" in message


@pytest.mark.parametrize("frame", [frame for frame in NIGHTLY if frame != "accounts"])
def test_near_misses_beside_the_columns_themselves_are_ignored(frame: str) -> None:
    night = frames()
    beside = [night[f][c.name].alias(word) for f, c, word in NEAR if f == frame]
    assert outcome({**night, frame: night[frame].with_columns(beside)}) == outcome(night)


@pytest.mark.parametrize(
    "word",
    ["everage", "levrg", "sleverage", "lverag__", "mark", "asset", "balance", "floor", "tier", ""],
)
def test_a_name_that_is_not_near_is_ignored(word: str) -> None:
    night = frames()
    lacking = night["positions"].drop("leverage", "tier_table")
    renamed = lacking.with_columns(night["positions"]["leverage"].alias(word))
    assert outcome({**night, "positions": renamed}) == outcome({**night, "positions": lacking})


def test_short_names_have_one_edit_and_the_nearest_name_is_meant() -> None:
    night = frames()
    floors = night["weights"].rename({"floor": "flours"})  # two edits from five letters
    sweep({**night, "weights": floors.filter(floors["flours"] == 0)})
    message = in_both_modes(
        mg.SchemaError,
        {
            **night,
            "positions": night["positions"]
            .drop("open_buy_quantity")
            .rename({"open_sell_quantity": "open_bell_quantity"}),
        },
    )
    assert "did you mean open_sell_quantity?" in message


def test_accounts_have_no_near_misses_since_their_columns_are_carried() -> None:
    night = frames()
    night["accounts"] = night["accounts"].rename({"owner_id": "account_ids", "desk": "size"})
    assert sweep(night).accounts.columns[-2:] == ["account_ids", "size"]


@pytest.mark.parametrize(("frame", "column", "wrong"), WRONGLY_TYPED, ids=name_of)
def test_a_column_of_the_wrong_type_is_refused(
    frame: str, column: Column, wrong: pl.Series
) -> None:
    night = frames()
    values = wrong.gather([row % 2 for row in range(night[frame].height)]).alias(column.name)
    message = in_both_modes(mg.SchemaError, {**night, frame: night[frame].with_columns(values)})
    assert f"{frame}.{column.name}: its type is {wrong.dtype}" in message


@each()
def test_a_column_of_nulls_is_absent_where_optional(frame: str, column: Column) -> None:
    night = frames()
    absent = {**night, frame: night[frame].drop(column.name)}
    for dtype in (pl.Null, pl.String, pl.List(pl.Int8)):
        nulls = pl.Series(column.name, [None] * night[frame].height, dtype=dtype)
        null = {**night, frame: night[frame].with_columns(nulls)}
        if not column.required:
            assert outcome(null) == outcome(absent)
        elif dtype == pl.Null:
            assert f"{frame}.{column.name}: " in in_both_modes(mg.SchemaError, null)
        else:
            message = refused(error_of(frame), partial(sweep, null))
            assert f"{frame}.{column.name}: " in message
            assert "null" in message


@each("word")
@pytest.mark.parametrize("word", ["Cross", "LINEAR", "", "cross ", "\u200bcross", "x" * 100_000])
def test_a_word_outside_its_list_is_refused(frame: str, column: Column, word: str) -> None:
    for dtype in (pl.String, pl.Categorical):
        night = spoilt(frame, column.name, word)
        night[frame] = night[frame].with_columns(pl.col(column.name).cast(dtype))
        message = in_both_modes(mg.SchemaError, night)
        assert f"{frame}.{column.name}: 1 values are none of {', '.join(column.words)}" in message
        assert f"rows {ROW})" in message
        assert len(message) < 400


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("quanto", "quanto_multiplier"),
        ("call", "underlying_price"),
        ("put", "underlying_price"),
    ],
)
def test_what_a_kind_needs_must_be_given_with_it(kind: str, column: str) -> None:
    night = spoilt("instruments", "kind", kind)
    others = {"quanto_multiplier", "underlying_price"} - {column}
    night["instruments"] = night["instruments"].drop(others)
    sweep(night)
    lacking = {**night, "instruments": with_value(night["instruments"], column, ROW, None)}
    message = in_both_modes(mg.DataError, lacking)
    assert f"instruments.{column}: 1 value is null (first rows: {ROW})" in message
    absent = {**night, "instruments": night["instruments"].drop(column)}
    assert f"instruments.{column}: 1 value is null" in in_both_modes(mg.DataError, absent)


@pytest.mark.parametrize(
    ("frame", "key"),
    [
        ("accounts", "account_id"),
        ("instruments", "instrument_id"),
        ("assets", "asset_id"),
        ("tiers", "floor"),
        ("weights", "floor"),
    ],
)
def test_a_key_that_occurs_twice_is_refused(frame: str, key: str) -> None:
    night = frames()
    night[frame] = pl.concat([night[frame], night[frame].slice(ROW, 1)])
    message = in_both_modes(mg.SchemaError, night)
    assert f"{frame}.{key}: 1 " in message
    assert f"rows {ROW}, {night[frame].height - 1}" in message


@pytest.mark.parametrize("frame", ["positions", "balances", "instruments", "assets"])
@pytest.mark.parametrize("nothing", [None, 5, [], [1], {}, "positions", "p.txt", pl.Series([1])])
def test_what_holds_no_frame_is_refused(frame: str, nothing: Any) -> None:
    assert frame in in_both_modes(mg.SchemaError, {**frames(), frame: nothing})


# Values: refused, or set aside where they are of one account


@pytest.mark.parametrize(
    ("frame", "column", "value", "reason"), bad_numbers("positions", "balances"), ids=name_of
)
def test_a_bad_number_raises_or_is_set_aside(
    frame: str, column: Column, value: float | None, reason: str
) -> None:
    night = spoilt(frame, column.name, value)
    message = refused(mg.DataError, lambda: sweep(night))
    assert f"{frame}.{column.name}: 1 value is {reason} (first rows: {ROW}" in message
    assert ALLOWED[column.allowed] in message
    assert (
        'hint: correct or drop those rows, or set them aside with on_error="quarantine"' in message
    )
    result = sweep(night, on_error="quarantine")
    text = pl.Series([value], dtype=pl.Float64).cast(pl.String)[0]
    assert result.rejects.rows() == [(frame, ROW, column.name, text, reason)]
    assert_b_alone_is_unknown(result, night)


@pytest.mark.parametrize(
    ("frame", "column", "value", "reason"),
    bad_numbers(*(f for f in NIGHTLY if f not in QUARANTINED)),
    ids=name_of,
)
def test_a_bad_number_of_the_market_or_the_rules_raises_in_both_modes(
    frame: str, column: Column, value: float | None, reason: str
) -> None:
    message = in_both_modes(error_of(frame), spoilt(frame, column.name, value))
    assert f"{frame}.{column.name}: " in message
    if frame in RULES:
        assert f"row {ROW}" in message
        assert ("null" if value is None else ALLOWED[column.allowed]) in message
    else:
        assert f"1 value is {reason} (first rows: {ROW}" in message
        assert ALLOWED[column.allowed] in message


@pytest.mark.parametrize(("frame", "column", "value"), ON_THE_EDGE, ids=name_of)
def test_a_number_exactly_on_the_edge_passes(frame: str, column: Column, value: float) -> None:
    night = frames()
    night["tiers"] = night["tiers"].drop("deduction")
    if column.name == "deduction" or (column.name == "floor" and value == 0.0):
        return
    night[frame] = with_value(night[frame], column.name, ROW, value)
    result = sweep(night)
    assert result.rejects.is_empty()
    assert_no_nan(result)


@each("id", "word", among=("positions", "balances", "accounts", "instruments", "assets"))
def test_a_null_id_or_word_raises_or_is_set_aside(frame: str, column: Column) -> None:
    night = spoilt(frame, column.name, None)
    if not column.required:
        sweep(night)
        return
    message = refused(mg.DataError, lambda: sweep(night))
    assert f"{frame}.{column.name}: 1 value is null (first rows: {ROW})" in message
    if frame in ("instruments", "assets"):
        assert in_both_modes(mg.DataError, night) == message
        return
    result = sweep(night, on_error="quarantine")
    assert result.rejects.rows() == [(frame, ROW, column.name, None, "null")]
    if column.name == "account_id":
        assert result.accounts["status"].is_in(["indeterminate"]).sum() == 0
    else:
        assert_b_alone_is_unknown(result, night)


def test_a_null_instrument_is_refused_by_the_book_alone() -> None:
    night = spoilt("instruments", "instrument_id", None)
    message = refused(
        mg.DataError,
        lambda: mg.Book(night["positions"], night["balances"], night["instruments"]),
    )
    assert "instruments.instrument_id: 1 value is null" in message


def test_a_row_without_account_is_nobodys_and_its_other_values_are_still_looked_at() -> None:
    night = spoilt("positions", "account_id", None)
    night["positions"] = with_value(night["positions"], "quantity", ROW, float("nan"))
    result = sweep(night, on_error="quarantine")
    assert result.rejects.rows() == [
        ("positions", ROW, "account_id", None, "null"),
        ("positions", ROW, "quantity", "NaN", "NaN"),
    ]
    clean = {
        **night,
        "positions": pl.concat([night["positions"][:ROW], night["positions"][ROW + 1 :]]),
    }
    assert bits(result.accounts) == bits(sweep(clean).accounts)
    assert bits(result.buckets) == bits(sweep(clean).buckets)
    assert result.totals.rows() == sweep(clean).totals.rows()
    nobody = result.positions.row(ROW, named=True)
    kept = {"instrument_id": "ETH", "entry_price": 11.0, "mark_price": 10.0}
    assert {name: value for name, value in nobody.items() if value is not None} == kept


def test_an_unknown_accounts_position_rows_show_what_was_given() -> None:
    night = spoilt("positions", "quantity", -2e18)
    night["positions"] = with_value(night["positions"], "entry_price", 2, float("inf"))
    night["positions"] = with_value(night["positions"], "instrument_id", 0, None)
    rows = sweep(night, on_error="quarantine").positions.select(
        "account_id", "instrument_id", "quantity", "entry_price", "mark_price", "notional"
    )
    assert rows.rows() == [
        ("a", None, 2.0, 90.0, None, None),
        ("b", "ETH", -2e18, 11.0, 10.0, None),
        ("b", "BTC", 1.0, float("inf"), 100.0, None),
        ("c", "COIN", 100.0, 80.0, 100.0, 100.0),
        ("a", "ETH", 5.0, 9.0, 10.0, None),
    ]


def test_rejects_are_in_order_of_frame_row_and_column_whenever_they_are_found() -> None:
    night = spoilt("positions", "quantity", float("nan"), 3)
    night["positions"] = with_value(night["positions"], "entry_price", 3, -1.0)
    night["positions"] = with_value(night["positions"], "leverage", 0, 0.0)
    night["balances"] = with_value(night["balances"], "amount", 4, None)
    night["accounts"] = with_value(night["accounts"], "account_id", 2, None)
    night["assets"] = night["assets"].filter(pl.col("asset_id") == "USD")  # found by the sweep
    rejects = sweep(night, on_error="quarantine").rejects
    places = rejects.select("frame", "row", "column").rows()
    assert places == sorted(places)
    assert places == [
        ("accounts", 2, "account_id"),
        ("balances", 2, "asset_id"),
        ("balances", 4, "amount"),
        ("balances", 4, "asset_id"),
        ("positions", 0, "leverage"),
        ("positions", 3, "entry_price"),
        ("positions", 3, "instrument_id"),
        ("positions", 3, "quantity"),
    ]
    assert rejects.schema == {
        name: pl.Int64 if name == "row" else pl.String for name in REJECT_COLUMNS
    }


def test_all_bad_values_are_told_at_once_with_the_first_five_rows() -> None:
    night = frames()
    night["positions"] = pl.concat([night["positions"]] * 3).with_columns(
        quantity=float("nan"), leverage=pl.Series([0.0, -1.0, None] * 5)
    )
    message = refused(mg.DataError, lambda: sweep(night))
    lines = message.splitlines()
    assert lines[0].startswith(
        "positions.leverage: 10 values are not above 0 (first rows: 0, 1, 3, 4, 6;"
    )
    assert lines[1].startswith("positions.quantity: 15 values are NaN (first rows: 0, 1, 2, 3, 4;")
    assert lines[-1].startswith("hint: ")
    assert len(lines) == 3


def test_a_leverage_so_small_that_money_overflows_is_bad_data() -> None:
    night = spoilt("positions", "leverage", 5e-324)
    rules = mg.Rules.load({"requirement": {"initial": "leverage"}})
    inputs = {name: night[name] for name in ("positions", "balances", "instruments", "assets")}
    run = partial(
        mg.sweep, **inputs, rules=rules.with_tables(tiers=night["tiers"], weights=night["weights"])
    )
    assert "positions.leverage" in refused(mg.DataError, run)
    assert run(on_error="quarantine").rejects.rows()[0][:3] == ("positions", ROW, "leverage")
