"""Texts that UTF-8 cannot hold, which no frame can either, are refused where they come in."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import margrave as mg
from faulty import refused
from small_night import frames

#: Half of a surrogate pair: alone, inside a text, and as Python shows a byte of a file name.
HALVES = ["\ud800", "a\udfffb", "\udcff"]
TIER = {"tier_table": "X", "floor": 0.0, "maintenance_rate": 0.1, "initial_rate": 0.2}
WEIGHT = {"weight_table": "X", "maintenance_weight": 1.0}
LEVEL = {"minNotional": 0, "maxNotional": 5, "maintenanceMarginRate": 0.004, "maxLeverage": 125}


def written(error: type[mg.MargraveError], run: Any) -> str:
    """Return the message of what `run` raises, which any file can hold."""
    message = refused(error, run)
    assert message.encode()
    return message


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("id", lambda half: {"id": half}),
        ("title", lambda half: {"title": half}),
        ("source", lambda half: {"source": half}),
        ("as_of", lambda half: {"as_of": half}),
        ("differs.1", lambda half: {"differs": ["fine", half]}),
        ("buckets.valuation_asset", lambda half: {"buckets": {"valuation_asset": half}}),
        ("buckets.pooling", lambda half: {"buckets": {"pooling": half}}),
        ("trigger.level", lambda half: {"trigger": {"level": half}}),
        ("ladder.0.name", lambda half: {"ladder": [{"name": half, "margin_level_below": 1.0}]}),
        ("tiers.1.tier_table", lambda half: {"tiers": [TIER, TIER | {"tier_table": half}]}),
        ("tiers.0.floor", lambda half: {"tiers": [TIER | {"floor": half}]}),
        ("weights.0.weight_table", lambda half: {"weights": [WEIGHT | {"weight_table": half}]}),
        ("tiers", lambda half: {"tiers": half}),
    ],
)
def test_half_a_letter_in_a_ruleset_is_named_by_its_path(path: str, make: Any, half: str) -> None:
    message = written(mg.RulesError, lambda: mg.Rules.load(make(half)))
    assert f"{path}: {half!r} holds half of a surrogate pair; write whole letters" in message


@pytest.mark.parametrize("half", HALVES)
def test_half_a_letter_in_a_key_is_named(half: str) -> None:
    for content in ({half: 1}, {"buckets": {half: half}}, {"tiers": [TIER | {half: 1}]}):
        message = written(mg.RulesError, lambda content=content: mg.Rules.load(content))
        assert f"{half!r} holds half" in message


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("key", ["id", "title", "source", "as_of", "valuation_asset", "netting"])
def test_half_a_letter_in_a_replaced_key_is_named(key: str, half: str) -> None:
    rules = mg.Rules.preset("hyperliquid")
    message = written(mg.RulesError, lambda: rules.replace(**{key: half}))
    assert f"{key}: {half!r} holds half" in message
    assert "no such key" in written(mg.RulesError, lambda: rules.replace(**{half: 1}))


@pytest.mark.parametrize("half", HALVES)
def test_half_a_letter_is_no_symbol(half: str, tmp_path: Path) -> None:
    file = tmp_path / "tiers.json"
    file.write_text(json.dumps({half: [LEVEL]}), encoding="utf-8")  # JSON writes it as an escape
    for source in ({half: [LEVEL]}, file, str(file)):
        message = written(mg.RulesError, lambda source=source: mg.tiers_from_ccxt(source))
        assert f"{half!r} is no symbol" in message


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_name_that_is_no_text_is_refused(suffix: str, half: str, tmp_path: Path) -> None:
    night = frames()
    name = half + suffix
    held: list[Any] = [night["positions"], night["balances"], night["instruments"]]
    sources: list[Any] = [name, Path(name), [name], [Path(name), Path(name)]]
    for source in sources:
        message = written(mg.SchemaError, lambda source=source: mg.Book(source, *held[1:]))
        assert "positions: " in message
        assert "its name is no UTF-8 text; rename the file" in message
        assert "assets: " in written(
            mg.SchemaError, lambda source=source: mg.Market(held[2], source)
        )
    rules = mg.Rules.preset("hyperliquid")
    assert "tiers: " in written(mg.SchemaError, lambda: rules.with_tables(tiers=name))
    for run in (mg.Rules.load, mg.tiers_from_ccxt):
        written(mg.RulesError, lambda run=run: run(tmp_path / name))


@pytest.mark.parametrize("suffix", ["", ".csv", ".parquet", ".toml"])
def test_a_path_with_a_null_byte_is_refused(suffix: str) -> None:
    night, name = frames(), "a\0b" + suffix
    written(mg.SchemaError, lambda: mg.Book(name, night["balances"], night["instruments"]))
    for run in (mg.Rules.load, mg.tiers_from_ccxt, lambda path: mg.Rules.load({"tiers": path})):
        written(mg.RulesError, lambda run=run: run(name))


def test_half_a_letter_in_a_pandas_frame_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    night = frames()
    for column in ("account_id", "instrument_id", "margin_mode", "tier_table"):
        rows = night["positions"].to_pandas()
        rows[column] = pandas.Series(["\ud800"] * len(rows), dtype=object)
        held = (rows, night["balances"], night["instruments"])
        message = written(mg.SchemaError, lambda held=held: mg.Book(*held))
        assert message.startswith("positions: ")


def test_whole_letters_of_any_plane_are_names() -> None:
    name = "\U0001d11e é 漢"
    rules = mg.Rules.load({"id": name, "tiers": [TIER | {"tier_table": name}]})
    assert (rules.id, rules.tiers["tier_table"].to_list()) == (name, [name])


@pytest.mark.parametrize("error", [mg.MargraveError, mg.SchemaError, mg.InternalError])
def test_every_message_can_be_written(error: type[mg.MargraveError]) -> None:
    assert str(error("a \ud800 b")) == "a \\ud800 b"
    assert str(error("a 漢 b")) == "a 漢 b"
    assert str(error()) == ""
    again = pickle.loads(pickle.dumps(error("a \ud800 b")))
    assert (type(again), str(again)) == (error, "a \\ud800 b")


def test_a_mapping_deeper_than_python_can_walk_is_no_crash() -> None:
    content: Any = "\ud800"
    for _ in range(100):
        content = [content]
    assert "holds half" in written(mg.RulesError, lambda: mg.Rules.load({"differs": content}))
    assert isinstance(mg.Rules.load({}).tiers, pl.DataFrame)
