"""Leverage tiers in ccxt's structure: read as they stand, refused where they do not fit."""

from __future__ import annotations

import copy
import json
import math
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import refused

read: Any = mg.tiers_from_ccxt

BINANCE = Path(__file__).parents[2] / "shared/data/margin_tiers/binance_usdm_leverage_tiers.parquet"


def tier(low: Any, high: Any, rate: Any, leverage: Any, info: Any = None, **more: Any) -> Any:
    """Return one tier as ccxt has it."""
    figures = {"minNotional": low, "maxNotional": high, "maintenanceMarginRate": rate}
    return {"tier": 1, "currency": "USDT", **figures, "maxLeverage": leverage, "info": info, **more}


#: Two symbols; the second has an open end, and a venue that publishes no deduction.
#: BTC: 50,000 * (0.005 - 0.004) = 50, then 50 + 250,000 * (0.01 - 0.005) = 1,300
TIERS: dict[str, Any] = {
    "BTC/USDT:USDT": [
        tier(0.0, 50_000.0, 0.004, 125.0, {"bracket": "1", "cum": "0.0"}),
        tier(50_000.0, 250_000.0, 0.005, 100.0, {"bracket": "2", "cum": "50.0"}),
        tier(250_000.0, 3e6, 0.01, 50.0, {"bracket": "3", "cum": 1_300}),
    ],
    "ETH/USD:ETH": [tier(0, 10, 0.01, 50, {}), tier(10, None, 0.02, 25)],
}


def with_figure(row: int, key: str, value: Any) -> dict[str, Any]:
    """Return the tiers with one figure of BTC replaced."""
    content = copy.deepcopy(TIERS)
    content["BTC/USDT:USDT"][row][key] = value
    return content


def test_tiers_become_a_frame_for_with_tables() -> None:
    frame = read(TIERS)
    assert frame.columns == [
        *("tier_table", "floor", "maintenance_rate", "initial_rate", "deduction")
    ]
    assert frame.rows() == [
        ("BTC/USDT:USDT", 0.0, 0.004, 0.008, 0.0),
        ("BTC/USDT:USDT", 50_000.0, 0.005, 0.01, 50.0),
        ("BTC/USDT:USDT", 250_000.0, 0.01, 0.02, 1_300.0),
        ("ETH/USD:ETH", 0.0, 0.01, 0.02, None),
        ("ETH/USD:ETH", 10.0, 0.02, 0.04, None),
    ]
    rules = mg.Rules.preset("binance_usdm").with_tables(tiers=frame)
    assert rules.tiers.equals(frame)


def test_a_file_and_a_mapping_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "tiers.json"
    path.write_text(json.dumps(TIERS), encoding="utf-8")
    for source in (path, str(path)):
        assert read(source).equals(read(TIERS))


def test_an_end_may_lie_beyond_all_sizes() -> None:
    assert read(with_figure(2, "maxNotional", 2**63 - 1)).equals(read(TIERS))


def test_numbers_may_be_integers_or_decimals() -> None:
    content = copy.deepcopy(TIERS)
    for row in content["BTC/USDT:USDT"]:
        row["maintenanceMarginRate"] = Decimal(str(row["maintenanceMarginRate"]))
        row["maxLeverage"] = int(row["maxLeverage"])
    assert read(content).equals(read(TIERS))


@pytest.mark.parametrize("field", ["cum", "mmDeduction", "maintAmount", "maintAmt"])
def test_a_deduction_is_checked_wherever_a_venue_has_it(field: str) -> None:
    right, wrong = ({field: value} for value in ("50.0", "50.1"))
    assert read(with_figure(1, "info", right))["deduction"][1] == 50.0
    message = refused(mg.RulesError, partial(read, with_figure(1, "info", wrong)))
    assert message.startswith("BTC/USDT:USDT: row 1: deduction: 50.1 is given, but floors and")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_deduction_that_is_left_open_is_none(nothing: Any) -> None:
    assert read(with_figure(1, "info", {"mmDeduction": nothing}))["deduction"][1] is None


FAULTS: list[tuple[int, str, Any, str]] = [
    (0, "minNotional", 1.0, "minNotional: 1.0 is given, but the first tier begins at 0"),
    (1, "minNotional", 49_999.0, "minNotional: 49999.0 is given, but the tier before ends at"),
    (1, "minNotional", 50_001.0, "minNotional: 50001.0 is given, but the tier before ends at"),
    (1, "maxNotional", 50_000.0, "maxNotional: 50000.0 does not lie above 50000.0"),
    (1, "maxNotional", None, "maxNotional: it is null"),
    (1, "maintenanceMarginRate", None, "maintenanceMarginRate: it is null"),
    (1, "maintenanceMarginRate", "0.005", "maintenanceMarginRate: '0.005' is no number"),
    (1, "maintenanceMarginRate", True, "maintenanceMarginRate: True is no number"),
    (1, "maintenanceMarginRate", math.nan, "maintenanceMarginRate: nan is not a finite number"),
    (1, "maintenanceMarginRate", Decimal("NaN"), "maintenanceMarginRate: Decimal('NaN') is not"),
    (1, "maxNotional", math.inf, "maxNotional: inf is not a finite number"),
    (1, "maxNotional", 10**400, "maxNotional: 1000"),
    (1, "maintenanceMarginRate", 1.5, "maintenanceMarginRate: 1.5 is not a fraction from 0 to 1"),
    (1, "maintenanceMarginRate", -0.1, "maintenanceMarginRate: -0.1 is not a fraction"),
    (1, "maxLeverage", None, "maxLeverage: it is null"),
    (1, "maxLeverage", 0, "maxLeverage: 0.0 is below 1"),
    (1, "maxLeverage", -5.0, "maxLeverage: -5.0 is below 1"),
    (1, "symbol", "ETH/USDT:USDT", "symbol: 'ETH/USDT:USDT' is not the one"),
    (1, "minNotional", -5.0, "minNotional: -5.0 is given, but the tier before ends at 50000.0"),
    (2, "maintenanceMarginRate", 1e19, "maintenanceMarginRate: 1e+19 is not a fraction"),
    (1, "info", [], "info: list is no mapping"),
    (1, "info", {"cum": "fifty"}, "info.cum: 'fifty' is no number"),
    (1, "info", {"cum": "nan"}, "info.cum: 'nan' is no number"),
    (1, "info", {"cum": "5_0"}, "info.cum: '5_0' is no number"),
    (1, "info", {"cum": True}, "info.cum: True is no number"),
    (1, "info", {"cum": [50]}, "info.cum: [50] is no number"),
]


@pytest.mark.parametrize(("row", "key", "value", "wanted"), FAULTS, ids=str)
def test_a_wrong_figure_is_named_with_its_symbol_and_row(
    row: int, key: str, value: Any, wanted: str
) -> None:
    lines = refused(mg.RulesError, partial(read, with_figure(row, key, value))).splitlines()
    assert lines[0].startswith(f"BTC/USDT:USDT: row {row}: {wanted}")
    assert not any("ETH" in line and "symbol" not in line for line in lines)


@pytest.mark.parametrize(
    "key", ["minNotional", "maxNotional", "maintenanceMarginRate", "maxLeverage"]
)
def test_a_missing_key_is_named(key: str) -> None:
    content = copy.deepcopy(TIERS)
    del content["ETH/USD:ETH"][1][key]
    message = refused(mg.RulesError, partial(read, content))
    assert message == f"ETH/USD:ETH: row 1: {key}: this key is missing"


STRUCTURES: list[tuple[Any, str]] = [
    ({}, "there are no symbols"),
    ({"BTC": []}, "BTC: it has no tiers"),
    ({"BTC": None}, "BTC: NoneType is no list of tiers"),
    ({"BTC": TIERS["ETH/USD:ETH"][0]}, "BTC: dict is no list of tiers"),
    ({"BTC": "tiers"}, "BTC: str is no list of tiers"),
    ({"BTC": ["tier"]}, "BTC: row 0: str is no tier"),
    ({"BTC": [[0, 1]]}, "BTC: row 0: list is no tier"),
    ({5: TIERS["ETH/USD:ETH"]}, "5 is no symbol"),
    ({"": TIERS["ETH/USD:ETH"]}, "'' is no symbol"),
    (TIERS["ETH/USD:ETH"], "list is neither a path nor a mapping"),
    (None, "NoneType is neither a path nor a mapping"),
    (5, "int is neither a path nor a mapping"),
    (b"tiers.json", "bytes is neither a path nor a mapping"),
]


@pytest.mark.parametrize(("source", "wanted"), STRUCTURES, ids=str)
def test_another_structure_is_refused(source: Any, wanted: str) -> None:
    assert wanted in refused(mg.RulesError, partial(read, source))


FILES: list[tuple[bytes | None, str]] = [
    (None, "cannot be read"),
    (b"\xff\xfe", "cannot be read"),
    (b"", "no JSON"),
    (b"[]", "list holds no tiers by symbol"),
    (b"5", "int holds no tiers by symbol"),
    (b'{"BTC": [], "BTC": []}', "'BTC' is there twice"),
    (b'{"BTC": [{"minNotional": NaN}]}', "NaN is no number"),
    (b"[" * 100_000, "no JSON"),
    (b'{"BTC": ' + b"9" * 10_000 + b"}", "no JSON"),
]


@pytest.mark.parametrize(("content", "wanted"), FILES, ids=range(len(FILES)))
def test_a_file_that_holds_none_is_named(
    content: bytes | None, wanted: str, tmp_path: Path
) -> None:
    path = tmp_path / "tiers.json"
    if content is not None:
        path.write_bytes(content)
    message = refused(mg.RulesError, partial(read, path))
    assert wanted in message
    assert str(path) in message or "holds no tiers" in message


def test_all_mistakes_of_all_symbols_are_told_at_once() -> None:
    content = copy.deepcopy(TIERS)
    content["BTC/USDT:USDT"][0]["maxLeverage"] = None
    content["BTC/USDT:USDT"][2]["minNotional"] = "many"
    content["ETH/USD:ETH"][0]["maintenanceMarginRate"] = math.inf
    assert len(refused(mg.RulesError, partial(read, content)).splitlines()) == 3
    many: dict[str, list[Any]] = {f"S{number}": [] for number in range(1_000)}
    lines = refused(mg.RulesError, partial(read, many)).splitlines()
    assert (len(lines), lines[-1]) == (101, "and 900 more mistakes")


@pytest.mark.skipif(not BINANCE.exists(), reason=f"{BINANCE} is not here: no real brackets read")
def test_all_brackets_of_binance_agree_with_their_deductions() -> None:
    rows = pl.read_parquet(BINANCE)
    names = {"minNotional": "notional_floor", "maxNotional": "notional_cap"}
    names |= {"maintenanceMarginRate": "maintenance_margin_rate", "maxLeverage": "max_leverage"}
    count = 0
    for version, part in rows.group_by("freqtrade_version", maintain_order=True):
        content: dict[str, Any] = {}
        for row in part.iter_rows(named=True):
            info = {"bracket": str(row["tier"]), "cum": str(row["maintenance_amount_cum"])}
            figures = {name: row[column] for name, column in names.items()}
            tiers = content.setdefault(row["symbol"], [])
            tiers.append({"tier": float(row["tier"]), **figures, "info": info})
        frame = read(content)
        assert frame.height == part.height, version
        assert frame["tier_table"].equals(part["symbol"].alias("tier_table"))
        assert frame["floor"].equals(part["notional_floor"].alias("floor"))
        assert frame["deduction"].null_count() == 0
        mg.Rules.preset("binance_usdm").with_tables(tiers=frame)
        count += frame.height
    assert count == 19_429
