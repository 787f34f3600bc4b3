"""Every row is accounted for: what is set aside is counted, by frame, and shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import assert_no_nan
from small_night import Frames, frames, sweep, with_value
from test_ids import numbered, typed

NOTHING = {"positions": 0, "balances": 0, "accounts": 0}


def quarantined(night: Frames) -> mg.Sweep:
    return sweep(night, on_error="quarantine")


def spoilt(*places: tuple[str, str, int, Any], night: Frames | None = None) -> Frames:
    """Return the small night with values replaced: frame, column, row, value."""
    night = dict(night or frames())
    for frame, column, row, value in places:
        night[frame] = with_value(night[frame], column, row, value)
    return night


def by_hand(night: Frames, bad: Iterable[Any]) -> dict[str, Any]:
    """Return what is set aside where `bad` are the indeterminate accounts."""
    ids = {name: night[name]["account_id"].to_list() for name in NOTHING}
    return {
        "indeterminate_accounts": len(set(bad)),
        "rows_of_indeterminate_accounts": {
            name: sum(account in set(bad) for account in column) for name, column in ids.items()
        },
        "rows_without_account": {name: column.count(None) for name, column in ids.items()},
    }


def test_a_clean_night_sets_nothing_aside() -> None:
    for mode in ("raise", "quarantine"):
        result = sweep(frames(), on_error=mode)
        aside = {
            "indeterminate_accounts": 0,
            "rows_of_indeterminate_accounts": NOTHING,
            "rows_without_account": NOTHING,
        }
        assert result.accounting["set_aside"] == result.manifest["set_aside"] == aside


def test_good_rows_of_an_indeterminate_account_are_set_aside_too() -> None:
    night = spoilt(("positions", "quantity", 1, float("nan")))
    # b has two positions, one balance and one row of accounts
    assert quarantined(night).manifest["set_aside"] == {
        "indeterminate_accounts": 1,
        "rows_of_indeterminate_accounts": {"positions": 2, "balances": 1, "accounts": 1},
        "rows_without_account": NOTHING,
    }


def test_rows_without_account_are_counted_apart_and_mark_no_account() -> None:
    night = spoilt(
        ("positions", "account_id", 0, None),
        ("balances", "account_id", 3, None),
        ("balances", "account_id", 4, None),
        ("accounts", "account_id", 2, None),
    )
    result = quarantined(night)
    assert result.manifest["set_aside"] == {
        "indeterminate_accounts": 0,
        "rows_of_indeterminate_accounts": NOTHING,
        "rows_without_account": {"positions": 1, "balances": 2, "accounts": 1},
    }
    assert result.accounts["account_id"].to_list() == ["b", "c", "a"]
    assert [row[:3] for row in result.rejects.iter_rows()] == [
        ("accounts", 2, "account_id"),
        ("balances", 3, "account_id"),
        ("balances", 4, "account_id"),
        ("positions", 0, "account_id"),
    ]
    assert "indeterminate" not in result.accounts["status"].to_list()


@pytest.mark.parametrize(
    "make",
    [
        frames,
        numbered,
        lambda: typed(pl.Categorical),
        lambda: typed(pl.Enum([*"zabcde", "USD", "BTC", "ETH", "COIN"])),
        lambda: typed(pl.Categorical, "balances", night=typed(pl.String)),
        lambda: typed(pl.UInt8, "balances", night=numbered(pl.Int64)),
    ],
)
def test_ids_of_every_type_are_counted(make: Any) -> None:
    night = spoilt(
        ("positions", "entry_price", 3, -1.0),
        ("balances", "amount", 3, float("inf")),
        ("balances", "account_id", 0, None),
        night=make(),
    )
    bad = [night["positions"]["account_id"][3], night["balances"]["account_id"][3]]
    result = quarantined(night)
    assert result.manifest["set_aside"] == by_hand(night, bad)
    assert result.manifest["set_aside"]["rows_of_indeterminate_accounts"]["balances"] == 3


def test_a_csv_is_counted_by_the_ids_of_the_other_frames(tmp_path: Any) -> None:
    night = spoilt(("positions", "quantity", 0, float("nan")), night=numbered())
    wanted = quarantined(night).manifest["set_aside"]
    night["balances"].write_csv(tmp_path / "balances.csv")
    night["accounts"].write_csv(tmp_path / "accounts.csv")
    paths = {name: tmp_path / f"{name}.csv" for name in ("balances", "accounts")}
    assert quarantined({**night, **paths}).manifest["set_aside"] == wanted
    assert wanted["rows_of_indeterminate_accounts"] == {
        "positions": 2,
        "balances": 1,
        "accounts": 1,
    }


def test_what_the_sweep_alone_finds_is_set_aside_in_it_alone() -> None:
    night = frames()
    held = {name: night[name] for name in ("positions", "balances", "instruments", "accounts")}
    book = mg.Book(**held, on_error="quarantine")
    rules = mg.Rules.load({"buckets": {"valuation_asset": "USD"}}).with_tables(
        tiers=night["tiers"], weights=night["weights"]
    )
    few = mg.Market(night["instruments"].filter(pl.col("instrument_id") != "COIN"), night["assets"])
    aside = book.sweep(few, rules).manifest["set_aside"]
    assert aside == by_hand(night, ["c"])
    whole = mg.Market(night["instruments"], night["assets"])
    assert book.sweep(whole, rules).manifest["set_aside"] == by_hand(night, [])


def test_used_and_set_aside_rows_are_all_rows() -> None:
    exchange = mg.generate(500)
    every = pl.int_range(exchange.positions.height, eager=True)
    positions = exchange.positions.with_columns(
        quantity=pl.when(every % 97 == 3).then(float("nan")).otherwise("quantity"),
        account_id=pl.when(every % 101 != 5).then("account_id"),
    )
    result = mg.sweep(
        positions,
        exchange.balances,
        exchange.instruments,
        exchange.assets,
        exchange.rules,
        on_error="quarantine",
    )
    aside = result.manifest["set_aside"]
    used = result.accounts["positions"].sum()  # null where indeterminate
    of_bad = aside["rows_of_indeterminate_accounts"]["positions"]
    of_nobody = aside["rows_without_account"]["positions"]
    assert of_nobody == positions["account_id"].null_count() > 20
    assert of_bad > aside["indeterminate_accounts"] > 20
    assert used + of_bad + of_nobody == positions.height
    assert result.totals["indeterminate_accounts"].item() == aside["indeterminate_accounts"]
    assert result.accounts.height == exchange.balances["account_id"].n_unique()
    assert_no_nan(result)


def assert_agrees_with_control(result: mg.Sweep, night: Frames) -> None:
    """Assert that control totals, which the core counts, say what is counted here by ids."""
    facts = result.manifest
    aside, control = facts["set_aside"], facts["control"]
    for frame in ("positions", "balances"):
        of_nobody = aside["rows_without_account"][frame]
        assert control[frame]["rows"] == night[frame].height == facts[frame]
        assert control[frame]["without_account"] == of_nobody
        of_all = aside["rows_of_indeterminate_accounts"][frame] + of_nobody
        assert control[frame]["set_aside"] == of_all
        assert control[frame]["used"] + of_all == control[frame]["rows"]
    assert control["accounts"]["set_aside"] == aside["indeterminate_accounts"]
    assert control["accounts"]["distinct"] == facts["accounts"]


def test_control_totals_are_the_exact_sums_of_the_input() -> None:
    night = spoilt(
        ("positions", "quantity", 3, float("nan")),
        ("positions", "entry_price", 1, 0.0),
        ("positions", "account_id", 4, None),
        ("balances", "amount", 1, 0.1),
    )
    result = quarantined(night)
    assert_agrees_with_control(result, night)
    # b, which holds -3 ETH, 1 BTC and 0.1 USD, is set aside; so is c; nobody's are 5 ETH
    assert {row.pop("instrument_id"): row for row in result.manifest["control"]["quantity"]} == {
        "BTC": {"in": 3.0, "used": 2.0, "set_aside": 1.0},
        "ETH": {"in": 2.0, "used": 0.0, "set_aside": 2.0},
        "COIN": {"in": 0.0, "used": 0.0, "set_aside": 0.0},
    }
    assert {row.pop("asset_id"): row for row in result.manifest["control"]["amount"]} == {
        "USD": {"in": 90.1, "used": 90.0, "set_aside": 0.1},  # 100 - 10 of a and d
        "BTC": {"in": 2.5, "used": 1.0, "set_aside": 1.5},
    }


def test_what_is_not_listed_has_its_own_line_in_the_control_totals() -> None:
    night = spoilt(
        ("positions", "instrument_id", 0, "DOGE"),
        ("positions", "instrument_id", 1, None),
        ("balances", "asset_id", 3, "EUR"),
        ("balances", "asset_id", 0, None),
    )
    result = quarantined(night)
    assert_agrees_with_control(result, night)
    names = {row["instrument_id"]: row["in"] for row in result.manifest["control"]["quantity"]}
    held = night["positions"]["quantity"].to_list()
    assert (names["DOGE"], names[None]) == (2.0, held[1])


@pytest.mark.parametrize("seed", range(4))
def test_control_totals_agree_with_what_is_counted_by_ids(seed: int) -> None:
    exchange = mg.generate(200, seed)
    night: Frames = {"positions": exchange.positions, "balances": exchange.balances}
    every = pl.int_range(exchange.positions.height, eager=True)
    night["positions"] = exchange.positions.with_columns(
        quantity=pl.when(every % 97 == seed).then(float("nan")).otherwise("quantity"),
        account_id=pl.when(every % 53 != seed).then("account_id"),
        instrument_id=pl.when(every % 71 != seed).then("instrument_id"),
    )
    night["balances"] = exchange.balances[::-1].with_columns(amount=pl.col("amount").shift(1))
    market = (exchange.instruments, exchange.assets)
    held = (night["positions"], night["balances"])
    result = mg.sweep(*held, *market, exchange.rules, on_error="quarantine")
    assert_agrees_with_control(result, night)
    assert result.manifest["set_aside"]["indeterminate_accounts"] > 5


def test_no_account_with_a_rejected_row_is_healthy_or_flagged() -> None:
    night = spoilt(
        ("positions", "leverage", 0, 0.0),
        ("positions", "isolated_margin", 1, None),
        ("balances", "asset_id", 2, "EUR"),
        ("balances", "amount", 4, 2e18),
        ("positions", "instrument_id", 3, "DOGE"),
    )
    result = quarantined(night)
    whose = [night[frame]["account_id"][row] for frame, row, *_ in result.rejects.iter_rows()]
    assert set(whose) == set("abcd")
    status = dict(result.accounts.select("account_id", "status").iter_rows())
    assert {status[account] for account in whose} == {"indeterminate"}
    assert status["e"] == "flat"
    assert result.accounts["is_liquidatable"].to_list() == [None] * 4 + [False]
    assert result.buckets["account_id"].to_list() == []
    assert result.totals["gross_notional"].item() == 0
