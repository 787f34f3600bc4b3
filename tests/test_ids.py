"""Ids meet by value, whatever their type, and come back in the type that they came in."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import refused
from small_night import Frames, frames, rules_of, sweep

ACCOUNTS = ["a", "b", "c", "d", "e"]
NUMBERS = {"account": {a: n for n, a in enumerate(ACCOUNTS, 1)}, "asset": {"USD": 1, "BTC": 2}}
NUMBERS["instrument"] = {"BTC": 1, "ETH": 2, "COIN": 3}

#: Every column of ids: its frame, its name, and what it names.
ID_COLUMNS = [
    ("positions", "account_id", "account"),
    ("balances", "account_id", "account"),
    ("accounts", "account_id", "account"),
    ("positions", "instrument_id", "instrument"),
    ("instruments", "instrument_id", "instrument"),
    ("balances", "asset_id", "asset"),
    ("assets", "asset_id", "asset"),
    ("instruments", "settle_asset", "asset"),
]
INTEGERS: list[Any] = [
    *(pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128),
    *(pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64),
]
CATEGORIES = ["z", *ACCOUNTS, "USD", *NUMBERS["instrument"]]
TEXTS: list[Any] = [pl.String, pl.Categorical, pl.Enum(CATEGORIES), pl.Enum(CATEGORIES[::-1])]
RESULTS = ("accounts", "buckets", "positions", "totals", "rejects")


def typed(dtype: Any, *only: str, night: Frames | None = None) -> Frames:
    """Return a night with its ids of this type, or only those of some frames."""
    night = dict(night or frames())
    for frame, column, _ in ID_COLUMNS:
        if not only or frame in only:
            night[frame] = night[frame].with_columns(pl.col(column).cast(dtype))
    return night


def numbered(dtype: Any = pl.Int64) -> Frames:
    """Return the small night with integers for ids."""
    night = frames()
    for frame, column, what in ID_COLUMNS:
        ids = pl.col(column).replace_strict(NUMBERS[what], return_dtype=pl.Int64).cast(dtype)
        night[frame] = night[frame].with_columns(ids)
    return night


def with_ids(night: Frames, what: str, ids: dict[Any, Any], dtype: Any) -> Frames:
    """Return a night with the ids of one thing replaced."""
    night = dict(night)
    for frame, column, named in ID_COLUMNS:
        if named == what:
            new = pl.Series(
                column, [ids.get(old, old) for old in night[frame][column]], dtype=dtype
            )
            night[frame] = night[frame].with_columns(new)
    return night


def assert_same_figures(one: mg.Sweep, other: mg.Sweep) -> None:
    for name in RESULTS:
        left, right = (
            getattr(night, name).drop("^(account|instrument|bucket)_id$") for night in (one, other)
        )
        assert left.equals(right), name


def ids_of(result: mg.Sweep) -> dict[str, Any]:
    return {
        f"{name}.{column}": getattr(result, name).schema[column]
        for name in ("accounts", "buckets", "positions")
        for column in ("account_id", "instrument_id")
        if column in getattr(result, name).columns
    }


# Types


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_of_any_width_come_back_as_they_came(dtype: Any) -> None:
    result = sweep(numbered(dtype))
    assert set(ids_of(result).values()) == {dtype}
    assert result.accounts["account_id"].to_list() == [1, 2, 3, 4, 5]
    assert result.positions["instrument_id"].to_list() == [1, 2, 1, 3, 2]
    assert_same_figures(result, sweep(numbered()))
    assert result.manifest["result_digest"] == sweep(numbered()).manifest["result_digest"]


@pytest.mark.parametrize("dtype", TEXTS, ids=str)
def test_texts_of_any_type_come_back_as_they_came(dtype: Any) -> None:
    result = sweep(typed(dtype))
    assert set(ids_of(result).values()) == {dtype if isinstance(dtype, pl.Enum) else dtype()}
    assert result.accounts["account_id"].to_list() == ACCOUNTS
    assert result.manifest["result_digest"] == sweep(frames()).manifest["result_digest"]
    assert result.manifest["input_digest"] == sweep(frames()).manifest["input_digest"]


@pytest.mark.parametrize(("one", "other"), list(product(TEXTS, TEXTS)), ids=str)
def test_texts_of_different_types_meet_by_value(one: Any, other: Any) -> None:
    result = sweep(typed(one, "positions", "assets", night=typed(other)))
    assert set(ids_of(result).values()) == {one if isinstance(one, pl.Enum) else one()}
    assert_same_figures(result, sweep(frames()))


@pytest.mark.parametrize(("one", "other"), list(product(INTEGERS, [pl.Int8, pl.UInt64])), ids=str)
def test_integers_of_different_widths_meet_by_value(one: Any, other: Any) -> None:
    result = sweep(typed(one, "positions", "assets", night=numbered(other)))
    assert set(ids_of(result).values()) == {one}
    assert_same_figures(result, sweep(numbered()))


BEYOND: list[tuple[Any, list[int]]] = [
    (pl.UInt64, [2**64 - 1, 2**63, 2**63 - 1, 0, 5]),
    (pl.Int64, [-(2**63), 2**63 - 1, -1, 0, 5]),
    (pl.Int128, [2**127 - 1, -(2**127), 2**64, 0, 5]),
    (pl.Int128, [2**64 - 1, 2**63, 0, 1, 2]),
]


@pytest.mark.parametrize(("dtype", "ids"), BEYOND, ids=str)
@pytest.mark.parametrize("what", ["account", "instrument"])
def test_the_largest_integers_stay_apart(what: str, dtype: Any, ids: list[int]) -> None:
    new = dict(zip(range(1, 6), ids, strict=True))
    result = sweep(with_ids(numbered(), what, new, dtype))
    table = result.accounts if what == "account" else result.positions
    order = [0, 1, 2, 3, 4] if what == "account" else [0, 1, 0, 2, 1]
    assert table[f"{what}_id"].to_list() == [ids[number] for number in order]
    assert table.schema[f"{what}_id"] == dtype
    assert_same_figures(result, sweep(numbered()))
    assert len(result.manifest["result_digest"]) == 64


LARGE = [2**64 - 1, 2**63, 2**63 - 1, 5, 0]


@pytest.mark.parametrize("what", ["account", "instrument", "asset"])
@pytest.mark.parametrize("width", [pl.Int64, pl.Int128, pl.UInt8])
def test_unsigned_ids_beyond_int64_meet_ids_of_other_widths(what: str, width: Any) -> None:
    new = dict(zip(range(1, 6), LARGE[::-1], strict=True))  # 1 is 0, 2 is 5, 3 is beyond
    night = with_ids(numbered(), what, new, pl.UInt64)
    small = {"account": "accounts", "instrument": "positions", "asset": "balances"}[what]
    column = next(c for f, c, named in ID_COLUMNS if (f, named) == (small, what))
    night[small] = night[small].filter(pl.col(column) <= 5)
    wide = dict(night)
    night[small] = night[small].with_columns(pl.col(column).cast(width))
    assert night[small].height
    assert_same_figures(sweep(night), sweep(wide))
    assert sweep(night).manifest["result_digest"] == sweep(wide).manifest["result_digest"]


def test_negative_ids_and_ids_beyond_int64_come_back_as_text() -> None:
    night = numbered()
    positions = pl.Series("account_id", [2**63, 1, 1, 2, 2**63], dtype=pl.UInt64)
    balances = pl.Series("account_id", [-1, 1, 2, -2, -2], dtype=pl.Int64)
    night["positions"] = night["positions"].with_columns(positions)
    night["balances"] = night["balances"].with_columns(balances)
    ids = sweep(night).accounts["account_id"]
    assert ids.to_list() == ["9223372036854775808", "1", "2", "-1", "-2", "5"]


def test_a_market_that_lacks_the_large_ids_of_a_book_still_knows_the_small_ones() -> None:
    large = {1: 2**64 - 1, 2: 7, 3: 2**63}
    night = with_ids(numbered(), "instrument", large, pl.UInt64)
    book = mg.Book(
        night["positions"], night["balances"], night["instruments"], on_error="quarantine"
    )
    few = night["instruments"].filter(pl.col("instrument_id") == 7)
    few = few.with_columns(pl.col("instrument_id").cast(pl.Int8))
    result = book.sweep(mg.Market(few, night["assets"]), rules_of(night))
    assert result.positions["mark_price"].to_list() == [None, 10.0, None, None, 10.0]
    values = [str(large[n]) for n in (1, 1, 3)]
    assert result.rejects["value"].to_list() == values


@pytest.mark.parametrize(
    ("positions", "balances", "back"),
    [
        (pl.UInt64, pl.Int64, pl.Int64),  # -5 among the balances
        (pl.Int8, pl.Int64, pl.Int64),  # 1,000 among the balances
        (pl.Int8, pl.Int8, pl.Int8),
        (pl.Int128, pl.Int8, pl.Int128),
    ],
)
def test_a_narrower_type_that_cannot_hold_another_frames_ids_gives_way(
    positions: Any, balances: Any, back: Any
) -> None:
    extra = {pl.UInt64: -5, pl.Int8: 1_000}.get(positions, 7) if balances == pl.Int64 else 7
    night = typed(positions, "positions", night=numbered())
    ids = [1, 2, 3, extra, extra]
    night["balances"] = night["balances"].with_columns(pl.Series("account_id", ids, dtype=balances))
    night["accounts"] = night["accounts"][:2]
    result = sweep(night)
    assert result.accounts.schema["account_id"] == back
    assert result.accounts["account_id"].to_list() == [1, 2, 3, extra]


def test_an_enum_that_lacks_a_category_of_another_frame_gives_way_to_text() -> None:
    night = typed(pl.Enum(["a", "b", "c", *NUMBERS["instrument"]]), "positions")
    result = sweep(night)
    assert result.accounts.schema["account_id"] == pl.String
    assert result.accounts["account_id"].to_list() == ACCOUNTS
    held = typed(pl.Enum(["c", "b", "a", "BTC", "ETH", "COIN"]), "positions")
    held["balances"] = held["balances"].filter(pl.col("account_id") != "d")
    held["accounts"] = held["accounts"][:2]
    assert sweep(held).accounts.schema["account_id"] == held["positions"].schema["account_id"]


#: Far more categories than rows: the ids of accounts that are not in this night.
OTHERS = [f"{number:036}" for number in range(3_000)]
ONE, OTHER = pl.Enum([*OTHERS, *ACCOUNTS]), pl.Enum([*ACCOUNTS[::-1], *OTHERS])


@pytest.mark.parametrize(
    ("positions", "balances", "accounts"),
    [
        (ONE, ONE, ONE),
        (ONE, OTHER, ONE),
        (OTHER, ONE, pl.String),
        (pl.String, ONE, pl.Categorical),
        (pl.Categorical, pl.Categorical, pl.Categorical),
    ],
)
def test_accounts_of_many_categories_are_those_of_their_texts(
    positions: Any, balances: Any, accounts: Any
) -> None:
    night, types = frames(), {"positions": positions, "balances": balances, "accounts": accounts}
    night["balances"] = night["balances"][::-1]
    column = pl.col("account_id")
    is_nobody = pl.int_range(pl.len()) == 2
    for name in types:
        night[name] = night[name].with_columns(pl.when(~is_nobody).then(column))
    texts = sweep(night, on_error="quarantine")
    for name, dtype in types.items():
        night[name] = night[name].with_columns(column.cast(dtype))
    result = sweep(night, on_error="quarantine")
    assert result.accounts.schema["account_id"] == positions
    for name in RESULTS:
        found = getattr(result, name).with_columns(pl.col("^account_id$").cast(pl.String))
        assert found.equals(getattr(texts, name)), name
    assert result.rejects.height == 3
    for digest in ("input_digest", "result_digest"):
        assert result.manifest[digest] == texts.manifest[digest]


def test_categories_that_all_frames_share_are_not_looked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    night, column = frames(), pl.col("account_id").cast(ONE)
    for name in ("positions", "balances", "accounts"):
        night[name] = night[name].with_columns(column)
    looked: list[int] = []
    made = pl.Enum.__init__

    def seen(self: pl.Enum, categories: Any) -> None:
        looked.append(len(categories))
        made(self, categories)

    monkeypatch.setattr(pl.Enum, "__init__", seen)
    result = sweep(night)
    assert result.accounts.height + result.buckets.height + result.positions.height == 15
    assert len(OTHERS) + len(ACCOUNTS) not in looked
    assert night["positions"].schema["account_id"] == ONE
    assert len(OTHERS) + len(ACCOUNTS) in looked  # so that it is seen where Polars does


def test_books_without_rows_of_an_enum_have_no_accounts() -> None:
    night = {name: frame.clear() for name, frame in typed(pl.Enum(CATEGORIES)).items()}
    book = mg.Book(night["positions"], night["balances"], night["instruments"])
    ids = book._held.account_ids()
    assert ids.is_empty()
    assert ids.dtype == pl.Enum(CATEGORIES)


# Kinds


PAIRS = [
    ("positions", "account_id", "balances.account_id"),
    ("balances", "account_id", "balances.account_id"),
    ("accounts", "account_id", "accounts.account_id"),
    ("positions", "instrument_id", "instruments.instrument_id"),
    ("instruments", "instrument_id", "instruments.instrument_id"),
    ("balances", "asset_id", "asset_id"),
    ("assets", "asset_id", "assets.asset_id"),
    ("instruments", "settle_asset", "assets.asset_id"),
]


@pytest.mark.parametrize(("frame", "column", "named"), PAIRS)
@pytest.mark.parametrize("mode", ["raise", "quarantine"])
def test_integers_never_meet_text(frame: str, column: str, named: str, mode: str) -> None:
    night = numbered()
    night[frame] = night[frame].with_columns(pl.col(column).cast(pl.String))
    message = refused(mg.SchemaError, partial(sweep, night, on_error=mode))
    assert named in message
    assert "integers never meet text" in message


def test_table_names_are_compared_as_text() -> None:
    night = frames()
    names = {"BTC": 56, "alt": 55, "USD": 1}
    text, number = dict(night), dict(night)
    for frame, column in [
        ("positions", "tier_table"),
        ("instruments", "tier_table"),
        ("tiers", "tier_table"),
        ("assets", "weight_table"),
        ("weights", "weight_table"),
    ]:
        ids = night[frame][column].replace_strict(names, return_dtype=pl.Int64)
        number[frame] = night[frame].with_columns(ids.alias(column))
        text[frame] = night[frame].with_columns(ids.cast(pl.String).alias(column))
    digests = {
        sweep({**text, **{name: number[name] for name in some}}).manifest["result_digest"]
        for some in ([], ["positions"], ["tiers"], ["weights", "instruments"], list(number))
    }
    assert digests == {sweep(night).manifest["result_digest"]}
    padded = {
        **text,
        "tiers": text["tiers"].with_columns(tier_table=pl.lit("0") + pl.col("tier_table")),
    }
    assert '"56"' in refused(mg.RulesError, partial(sweep, padded))


# Strange ids


HOSTILE = [
    "",
    " ",
    "<script>alert(1)</script>",
    "a\0b",
    "\u202eevil\u202c",
    "\r\n\t\x1b[31m",
    "é",
    "e\u0301",
    "NaN",
    "null",
    "x" * 1_000_000,
    "x" * 999_999 + "y",
    "'; drop table accounts; --",
    "😀",
    "👩‍👩‍👧‍👦",
    "مرحبا",
    "\u2066שלום\u2069",
    "日本語",
    "\ufeffa",
    "\u2028",
    "007",
    "-0",
    "{0}%s\\",
]


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical], ids=str)
def test_ids_may_be_any_text(dtype: Any) -> None:
    night = frames()
    ids = pl.Series("account_id", HOSTILE, dtype=dtype)
    held = pl.Series("instrument_id", HOSTILE, dtype=dtype)
    night["positions"] = pl.DataFrame([ids, held]).with_columns(
        quantity=1.0, entry_price=1.0, margin_mode=pl.lit("isolated"), isolated_margin=7.0
    )
    night["balances"] = pl.DataFrame([ids.reverse(), held.alias("asset_id")]).with_columns(
        amount=1.0
    )
    night["instruments"] = pl.DataFrame([held, held.alias("settle_asset")]).with_columns(
        kind=pl.lit("linear"), mark_price=2.0, tier_table=pl.lit("alt")
    )
    night["assets"] = pl.DataFrame([held.alias("asset_id")]).with_columns(
        price=1.0, weight_table=pl.lit("USD")
    )
    night["accounts"] = pl.DataFrame([ids])
    result = sweep(night)
    assert result.accounts["account_id"].to_list() == HOSTILE
    assert result.positions["bucket_id"].to_list() == [f"isolated:{text}" for text in HOSTILE]
    assert result.accounts["equity"].to_list() == [9.0] * len(HOSTILE)  # 1 + 7 + 1 * (2 - 1)
    unlisted = {
        **night,
        "instruments": night["instruments"].with_columns(
            instrument_id=pl.lit("other") + held.cast(pl.String)
        ),
    }
    message = refused(mg.UnknownInstrument, partial(sweep, unlisted))
    assert len(message) < 1_000
    rejects = sweep(unlisted, on_error="quarantine").rejects
    assert rejects["value"].to_list() == HOSTILE
