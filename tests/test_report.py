"""What a night says in text: stored snapshots, the order of the worst, hostile ids."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from typing import Any

import polars as pl
import pytest

from margrave import report
from margrave.schema import (
    LIQUIDATION_PRICE_KIND,
    MARGIN_COLUMNS,
    MONEY,
    POSITION_COLUMNS,
    RATIOS,
    REJECT_COLUMNS,
    STATUS,
)
from stored_text import assert_stored

HOSTILE = (
    "<script>alert(1)</script>",
    "[/red]",
    "[bold]x",
    "\x1b[2J",
    "=1+1",
    "abc\u202edef",
    "a\nb\r\tc",
    "\ud800",
    "x" * 1_000_000,
    "",
    "\u2028",
    "\x00",
    "\x9b31m",
)


def accounts(*rows: dict[str, Any], id_type: Any = pl.String) -> pl.DataFrame:
    """Return an `accounts` frame: money 0, ratios and the like null unless a row says else."""
    types = dict.fromkeys((*MONEY, *RATIOS), pl.Float64)
    schema = {"account_id": id_type} | {
        "status": pl.Enum(STATUS),
        "is_liquidatable": pl.Boolean,
        **types,
        "positions": pl.Int64,
        "ladder": pl.String,
    }
    assert list(schema) == ["account_id", *MARGIN_COLUMNS]
    full = []
    for row in rows:
        flagged = row["status"] in ("liquidation", "bankrupt")
        computed = dict.fromkeys(MONEY, 0.0) | {"positions": 1, "is_liquidatable": flagged}
        base = {} if row["status"] == "indeterminate" else computed
        full.append(dict.fromkeys(schema) | base | row)
    return pl.DataFrame(full, schema=schema)


def positions(*rows: dict[str, Any], id_type: Any = pl.String) -> pl.DataFrame:
    schema: dict[str, Any] = dict.fromkeys(POSITION_COLUMNS, pl.Float64)
    schema |= {"account_id": id_type, "bucket_id": pl.String, "instrument_id": pl.String}
    schema |= {"tier": pl.Int64, "liquidation_price_kind": pl.Enum(LIQUIDATION_PRICE_KIND)}
    base = dict.fromkeys(schema) | {"bucket_id": "cross", "liquidation_price_kind": "none"}
    return pl.DataFrame([base | row for row in rows], schema=schema)


def totals(frame: pl.DataFrame, **given: float) -> pl.DataFrame:
    counts = {f"{s}_accounts": frame.filter(pl.col("status") == s).height for s in STATUS}
    money = {column: frame[column].sum() for column in MONEY}
    flagged = frame.filter(pl.col("is_liquidatable"))
    risk = {
        "liquidatable_accounts": flagged.height,
        "liquidatable_notional": flagged["gross_notional"].sum(),
        "total_bad_debt": frame["bad_debt"].sum(),
        "total_margin_deficit": -flagged["margin_buffer"].sum(),
    }
    return pl.DataFrame([{"accounts": frame.height} | counts | money | risk | given])


def rejects(*rows: tuple[str, int, str, str | None, str]) -> pl.DataFrame:
    schema = dict.fromkeys(REJECT_COLUMNS, pl.String) | {"row": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


NIGHT = accounts(
    {"account_id": "alice", "status": "healthy", "equity": 5_000.0, "gross_notional": 10_000.0},
    {
        "account_id": "bob",
        "status": "bankrupt",
        "equity": -1_250.5,
        "bad_debt": 1_250.5,
        "margin_buffer": -2_000.0,
        "gross_notional": 15_000.0,
        "positions": 2,
    },
    {
        "account_id": "carol",
        "status": "liquidation",
        "equity": 100.0,
        "margin_buffer": -0.001,
        "gross_notional": 2_000.0,
    },
    {"account_id": "dan", "status": "flat", "positions": 0},
    {"account_id": "erin", "status": "indeterminate"},
    {
        "account_id": "frank",
        "status": "below_initial",
        "equity": 300.0,
        "margin_buffer": 20.0,
        "margin_level": 1.25,
        "gross_notional": 5_600.0,
    },
)

HELD = positions(
    {
        "account_id": "bob",
        "instrument_id": "BTC",
        "quantity": -0.2,
        "mark_price": 60_000.0,
        "notional": 12_000.0,
        "liquidation_price_kind": "breached",
    },
    {
        "account_id": "bob",
        "bucket_id": "isolated:ETH",
        "instrument_id": "ETH",
        "quantity": 1.0,
        "mark_price": 3_000.0,
        "notional": 3_000.0,
        "liquidation_price": 2_700.0,
        "liquidation_price_kind": "root",
    },
    {"account_id": "carol", "instrument_id": "SOL", "quantity": 0.0, "notional": 0.0},
    {
        "account_id": "carol",
        "instrument_id": "SOL",
        "quantity": 10.0,
        "mark_price": 200.0,
        "notional": 2_000.0,
        "liquidation_price_kind": "none",
    },
    {
        "account_id": "frank",
        "instrument_id": "PEPE",
        "quantity": -8e8,
        "mark_price": 0.000007,
        "notional": 5_600.0,
        "liquidation_price": 0.00000714,
        "liquidation_price_kind": "root",
    },
    {"account_id": "erin", "instrument_id": "BTC", "quantity": 1.0},
)


def test_the_summary_reads_as_stored() -> None:
    refused = rejects(
        ("balances", 1_000, "amount", None, "is null"),
        ("positions", 7, "quantity", "NaN", "is not finite"),
        ("positions", 9, "quantity", "NaN", "is not finite"),
    )
    assert_stored(report.summary(NIGHT, totals(NIGHT), refused, unit="USDC"), "report_summary")


def test_the_worst_accounts_read_as_stored() -> None:
    assert_stored(report.worst(NIGHT, HELD, unit="USDC"), "report_worst")


def test_without_rejects_none_are_spoken_of() -> None:
    assert "reject" not in report.summary(NIGHT, totals(NIGHT), rejects(), unit="USDC")


def test_an_empty_night_has_a_summary() -> None:
    nobody = NIGHT.clear()
    text = report.summary(nobody, totals(nobody), rejects(), unit="USD")
    assert "all                   0" in text
    assert "nan" not in text.lower().split()
    assert report.worst(nobody, HELD.clear(), unit="USD") == "No account has anything at stake."


def shown_ids(frame: pl.DataFrame, held: pl.DataFrame = HELD, **options: int) -> list[str]:
    lines = report.worst(frame, held, unit="USD", **options).splitlines()[2:]
    return [line.split()[0] for line in lines if not line.startswith("    ")]


def test_the_worst_status_comes_first_then_the_largest_loss() -> None:
    rows = [
        ("healthy far", "healthy", 0.0, 10.0, 9.0),
        ("healthy near", "healthy", 0.0, 500.0, 1.5),
        ("small deficit", "liquidation", 0.0, -1.0, 0.9),
        ("large deficit", "liquidation", 0.0, -50.0, 0.9),
        ("isolated debt", "liquidation", 3.0, 40.0, 0.5),
        ("small debt", "bankrupt", 5.0, -900.0, -1.0),
        ("large debt", "bankrupt", 6.0, -10.0, -1.0),
        ("below", "below_initial", 0.0, 1.0, 1.2),
    ]
    columns = ("account_id", "status", "bad_debt", "margin_buffer", "margin_level")
    frame = accounts(*(dict(zip(columns, row, strict=True)) for row in rows))
    frame = frame.with_columns(pl.col("account_id").str.replace(" ", "-"))
    order = ["large-debt", "small-debt", "isolated-debt", "large-deficit", "small-deficit"]
    order += ["below", "healthy-near", "healthy-far"]
    assert shown_ids(frame) == order
    assert shown_ids(frame, count=3) == order[:3]


def test_equals_keep_the_order_of_the_frame() -> None:
    frame = accounts(*({"account_id": f"a{n}", "status": "bankrupt"} for n in range(20)))
    assert shown_ids(frame) == [f"a{n}" for n in range(10)]


def test_positions_past_their_trigger_come_before_larger_ones() -> None:
    rows = [
        {"account_id": "bob", "instrument_id": f"I{n}", "quantity": 1.0, "notional": float(n)}
        for n in range(4)
    ]
    rows[1]["liquidation_price_kind"] = rows[2]["liquidation_price_kind"] = "breached"
    lines = report.worst(NIGHT, positions(*rows), unit="USD", held=4).splitlines()
    assert [line.split()[1] for line in lines if "long" in line] == ["I2", "I1", "I3", "I0"]


def test_only_the_largest_positions_are_shown() -> None:
    rows = [
        {"account_id": "bob", "instrument_id": f"I{n}", "quantity": 1.0, "notional": float(n)}
        for n in range(5)
    ]
    text = report.worst(NIGHT, positions(*rows), unit="USD", held=2)
    assert "I4" in text
    assert "I3" in text
    assert "I2" not in text


@pytest.mark.parametrize(
    "id_type", [pl.Int64, pl.UInt32, pl.String, pl.Categorical, pl.Enum(["1", "2"])]
)
def test_ids_of_any_type_find_their_positions(id_type: Any) -> None:
    integers = id_type in (pl.Int64, pl.UInt32)
    ids = [1, 2] if integers else ["1", "2"]
    frame = accounts(*({"account_id": i, "status": "bankrupt"} for i in ids), id_type=id_type)
    held = positions(
        *({"account_id": i, "instrument_id": f"I{i}", "quantity": 1.0} for i in ids),
        id_type=id_type,
    )
    assert report.worst(frame, held, unit="USD").count("long I") == 2


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_id_is_shown_safely_on_one_line(hostile: str) -> None:
    if hostile != "\ud800":  # no frame can hold it; a file name can
        frame = accounts({"account_id": hostile, "status": "bankrupt"})
        held = positions({"account_id": hostile, "instrument_id": hostile, "quantity": 1.0})
        text = report.worst(frame, held, unit="USD")
        assert len(text.splitlines()) == 4
        assert len(text) < 1_000
        assert not {unicodedata.category(c) for c in text if c != "\n"} & {"Cc", "Cf", "Cs"}
    shown = report.printable(hostile)
    assert 0 < len(shown) <= 36
    shown.encode("utf-8")


def test_ids_that_differ_are_shown_differently() -> None:
    shown = {report.printable(text) for text in ("a\x1bb", "a\x00b", "ab", "a\u202eb", "", "a b")}
    assert len(shown) == 6


def test_ordinary_ids_are_shown_as_they_are() -> None:
    for text in (
        "alice",
        "Ünïcode-7",
        "甲",
        "0xAbC",
        "[/red]",
        "6f9619ff-8b86-d011-b42d-00c04fc964ff",
    ):
        assert report.printable(text) == text
    assert report.printable(123) == "123"


def test_money_below_a_cent_is_not_shown_as_nothing() -> None:
    frame = accounts({"account_id": "a", "status": "bankrupt", "bad_debt": 0.0004})
    assert "0.0004" in report.worst(frame, HELD, unit="BTC")


def test_large_money_is_shown_without_cents() -> None:
    row = {"account_id": "a", "status": "bankrupt", "gross_notional": 12_345_678.9, "equity": -1e20}
    text = report.worst(accounts(row), HELD, unit="USD")
    assert "12,345,679" in text
    assert "-1.0000e+20" in text


def accounting(**given: Any) -> dict[str, Any]:
    nothing = {"positions": 0, "balances": 0}
    aside = {
        "indeterminate_accounts": 0,
        "rows_of_indeterminate_accounts": nothing,
        "rows_without_account": nothing,
    }
    control = {
        "quantity": [{"instrument_id": name} for name in ("BTC", "ETH", None)],
        "amount": [{"asset_id": "USD"}],
    }
    aside |= given.pop("set_aside", {})
    return {"set_aside": aside, "inexact_numbers": {}, "control": control} | given


CONTROL = "Control: in = used + set aside, 2 instruments, 1 asset"


def test_of_a_clean_night_the_accounting_is_one_line() -> None:
    assert report.accounting(accounting()) == CONTROL


def test_what_is_set_aside_is_told_with_its_rows() -> None:
    lost = {"positions.quantity": 1_234, "balances.amount": 1}
    rows = {"positions": 1_234_567, "balances": 2, "accounts": 1}
    aside = {
        "indeterminate_accounts": 1,
        "rows_of_indeterminate_accounts": rows,
        "rows_without_account": {"positions": 0, "balances": 3, "accounts": 0},
    }
    assert report.accounting(accounting(set_aside=aside, inexact_numbers=lost)) == (
        "Set aside: input that enters no figure\n"
        "  rows                        positions  balances  accounts\n"
        "  of 1 indeterminate account  1,234,567         2         1\n"
        "  without an account                  0         3         0\n"
        "Numbers that lost digits as 64-bit floats: positions.quantity 1,234, balances.amount 1\n"
        + CONTROL
    )


def test_rows_without_account_are_told_where_no_account_is_indeterminate() -> None:
    aside = {"rows_without_account": {"positions": 1, "balances": 0}}
    text = report.accounting(accounting(set_aside=aside))
    assert "of 0 indeterminate accounts" in text
    assert "without an account" in text


def test_a_report_loads_neither_engine_nor_core() -> None:
    code = (
        "import sys, types; package = types.ModuleType('margrave'); "
        f"package.__path__ = {list(sys.modules['margrave'].__path__)!r}; "
        "sys.modules['margrave'] = package; import margrave.report; "
        "print([name for name in sys.modules if name.startswith('margrave.')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "['margrave.report']"
