"""Builders of scenarios: every row is what the page says, and the library is its prices."""

from __future__ import annotations

import doctest
import re
import tomllib
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from itertools import product
from math import inf, nan
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import margrave as mg
from faulty import refused

ROOT = Path(__file__).parent.parent
PRICES = ROOT.parent / "shared" / "data" / "prices"
TEXT = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
SCHEMA = {"scenario_id": pl.String, "factor": pl.String, "price_shock": pl.Float64}

EVENTS = [
    "2020-03-12",
    "2021-05-19",
    "2022-05 LUNA",
    "2022-11 FTX",
    "2023-03 USDC depeg",
    "2024-08-05",
    "2025-10-10",
]

#: Coins of an event whose peg broke; the median leaves them out.
UNPEGGED = {"2022-05 LUNA": "UST", "2023-03 USDC depeg": "USDC"}

# A skip hides in a row of dots; the warning stands in the summary, also where warnings are errors.
pytestmark = pytest.mark.filterwarnings("default:the shared prices are absent")


@pytest.fixture(scope="module")
def shared() -> Path:
    """Skip what needs the shared prices where they are absent, and say so."""
    names = ["ohlcv_1d_binance_spot", "ohlcv_crash_windows", "usdc_depeg_2023-03_1m"]
    absent = [name for name in names if not (PRICES / f"{name}.parquet").exists()]
    if absent:
        reason = (
            "the shared prices are absent, nothing was computed from them: "
            f"{', '.join(absent)} below {PRICES}"
        )
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    return PRICES


def market(assets: list[str], **terms: list[str]) -> mg.Market:
    """Return a market of these assets, and of the instruments with these base assets."""
    rows = [
        {
            "instrument_id": name,
            "kind": "linear",
            "settle_asset": assets[0],
            "mark_price": 1.0,
            "base_asset": base,
        }
        for name, base in zip(terms.get("names", []), terms.get("bases", []), strict=True)
    ]
    columns = ("instrument_id", "kind", "settle_asset", "mark_price", "base_asset")
    types = {name: pl.Float64 if name == "mark_price" else pl.String for name in columns}
    prices = pl.DataFrame({"asset_id": assets, "price": [1.0] * len(assets)})
    return mg.Market(pl.DataFrame(rows, schema=types), prices)


# One shock for everything


def test_uniform_is_one_scenario_per_shock_for_everything() -> None:
    made = mg.scenarios.uniform([-0.2, 0.05, 0])
    assert made.rows() == [("-20%", "*", -0.2), ("+5%", "*", 0.05), ("0%", "*", 0.0)]
    assert made.schema == SCHEMA


@pytest.mark.parametrize(
    ("shock", "name"),
    [
        (-0.07, "-7%"),  # 0.07 * 100 is 7.000000000000001
        (0.29, "+29%"),
        (-0.125, "-12.5%"),
        (10.0, "+1000%"),
        (-0.0, "0%"),
        (0.1 + 0.2, "+30.000000000000004%"),
        (-1e-300, "-1E-298%"),
        (1e18, "+100000000000000000000%"),
        (-0.9999999999999999, "-99.99999999999999%"),
    ],
)
def test_an_id_is_the_shock_in_percent_to_its_last_digit(shock: float, name: str) -> None:
    assert mg.scenarios.uniform([shock])["scenario_id"].to_list() == [name]


@given(st.lists(st.floats(-0.999999, 1e18), unique_by=lambda shock: shock + 0.0))
def test_different_shocks_have_different_ids(shocks: list[float]) -> None:
    made = mg.scenarios.uniform(shocks)
    assert made["scenario_id"].n_unique() == len(shocks)
    assert made["price_shock"].to_list() == shocks
    parsed = [float(Fraction(i.removesuffix("%")) / 100) for i in made["scenario_id"]]
    assert parsed == shocks


@pytest.mark.parametrize(
    "shocks",
    [
        (-0.5, 0.5),
        range(2),
        pl.Series([-0.25, 0.25]),
        (shock for shock in (-0.5, 0.5)),
        [Decimal("-0.5"), Fraction(1, 2)],
    ],
    ids=lambda shocks: type(shocks).__name__,
)
def test_shocks_may_be_any_iterable_of_numbers(shocks: Any) -> None:
    assert mg.scenarios.uniform(shocks).height == 2


def test_shocks_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    made = mg.scenarios.uniform(numpy.linspace(-0.5, 0.5, 3))
    assert made["scenario_id"].to_list() == ["-50%", "0%", "+50%"]


BUILDERS: list[Callable[[Any], pl.DataFrame]] = [
    mg.scenarios.uniform,
    lambda shocks: mg.scenarios.grid(["BTC"], shocks),
]


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("shock", [nan, inf, -inf, -1, -1.5, None, 1e19, 10**400])
def test_a_shock_that_no_scenario_can_have_is_refused(
    build: Callable[[Any], pl.DataFrame], shock: Any
) -> None:
    message = refused(mg.DataError, lambda: build([-0.1, shock]))
    assert "shocks: number 1 is" in message
    assert "above -1" in message


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("shocks", ["-0.1", -0.1, None, ["a"], [True], [[-0.1]]])
def test_shocks_that_are_no_list_of_numbers_are_refused(
    build: Callable[[Any], pl.DataFrame], shocks: Any
) -> None:
    assert "shocks: " in refused(mg.MargraveError, lambda: build(shocks))


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("shocks", [[-0.1, 0.2, -0.1], [0.0, -0.0], [1, 1.0]])
def test_a_shock_given_twice_is_refused(build: Callable[[Any], pl.DataFrame], shocks: Any) -> None:
    assert "shocks: " in refused(mg.SchemaError, lambda: build(shocks))


# Every combination


def test_grid_is_every_combination_the_last_factor_first() -> None:
    made = mg.scenarios.grid(["BTC", "ETH"], [-0.2, 0.1])
    assert made.rows() == [
        ("BTC -20%, ETH -20%", "BTC", -0.2),
        ("BTC -20%, ETH -20%", "ETH", -0.2),
        ("BTC -20%, ETH +10%", "BTC", -0.2),
        ("BTC -20%, ETH +10%", "ETH", 0.1),
        ("BTC +10%, ETH -20%", "BTC", 0.1),
        ("BTC +10%, ETH -20%", "ETH", -0.2),
        ("BTC +10%, ETH +10%", "BTC", 0.1),
        ("BTC +10%, ETH +10%", "ETH", 0.1),
    ]
    assert made.schema == SCHEMA


@given(
    st.lists(st.text("AB ,+%-*1", min_size=1, max_size=4), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(-9, 9).map(lambda tenth: tenth / 10), max_size=4, unique=True),
)
def test_a_grid_has_an_id_for_each_of_its_combinations(
    factors: list[str], shocks: list[float]
) -> None:
    made = mg.scenarios.grid(factors, shocks)
    by_id = made.group_by("scenario_id", maintain_order=True).agg("factor", "price_shock")
    assert by_id["factor"].to_list() == [factors] * len(shocks) ** len(factors)
    assert list(map(tuple, by_id["price_shock"])) == list(product(shocks, repeat=len(factors)))


def test_factors_may_be_integers_and_everything() -> None:
    assert mg.scenarios.grid([56, "*"], [0.5])["factor"].to_list() == ["56", "*"]


@pytest.mark.parametrize("factors", ["BTC", None, 5, [None], [0.5], [True], [b"BTC"]])
def test_factors_that_are_no_list_of_names_are_refused(factors: Any) -> None:
    assert "factors: " in refused(mg.MargraveError, lambda: mg.scenarios.grid(factors, [0.1]))


@pytest.mark.parametrize("factors", [["BTC", "BTC"], [56, "56"]])
def test_a_factor_given_twice_is_refused(factors: Any) -> None:
    assert "factors: " in refused(mg.SchemaError, lambda: mg.scenarios.grid(factors, [0.1]))


def test_a_grid_beyond_all_use_is_refused_before_it_is_made() -> None:
    shocks = [tenth / 100 for tenth in range(-90, 90)]
    factors = [f"coin {number}" for number in range(40)]
    message = refused(mg.MargraveError, lambda: mg.scenarios.grid(factors, shocks))
    assert "180 shocks for each of 40 factors" in message
    assert "1,000,000" in message


@pytest.mark.parametrize(
    "empty",
    [
        mg.scenarios.uniform([]),
        mg.scenarios.grid([], [0.1]),
        mg.scenarios.grid(["BTC"], []),
        mg.scenarios.grid([], []),
        mg.scenarios.historical(pl.DataFrame(schema=["time", "factor", "price"]), "1d"),
    ],
)
def test_of_nothing_no_scenarios_come(empty: pl.DataFrame) -> None:
    assert empty.is_empty()
    assert empty.schema == SCHEMA


# The library


def test_the_library_has_its_events_in_order() -> None:
    assert mg.scenarios.names() == EVENTS


def files() -> list[dict[str, Any]]:
    """Return the content of every file of the library."""
    folder = resources.files("margrave").joinpath("library")
    return [tomllib.loads(entry.read_text(encoding="utf-8")) for entry in folder.iterdir()]


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file["name"]))
def test_a_file_of_the_library_says_when_where_from_and_how_much(file: dict[str, Any]) -> None:
    assert set(file) == {"name", "first_day", "last_day", "source", "shocks"}
    assert isinstance(file["first_day"], date)
    assert file["name"].startswith(file["last_day"].strftime("%Y-%m"))
    assert file["first_day"] <= file["last_day"]
    assert "/" in file["source"], "the repositories that the prices were kept in"
    shocks = dict(file["shocks"])
    assert all(-1 < shock <= 0 for shock in shocks.values())
    everything = shocks.pop("*")
    shocks.pop(UNPEGGED.get(file["name"], ""), None)
    assert {"BTC", "ETH"} <= set(shocks)
    assert abs(everything - median(shocks.values())) <= 1e-6  # six decimals are kept


def test_coins_that_the_market_has_move_by_their_own_the_rest_by_the_median() -> None:
    (file,) = (file for file in files() if file["name"] == "2022-11 FTX")
    shocks = file["shocks"]
    # FTT is an asset, SOL a base asset, XRP an instrument; DAI and PERP are not of the event.
    has = market(["USD", "FTT", "DAI"], names=["PERP", "XRP"], bases=["SOL", "USD"])
    made = mg.scenarios.library("2022-11 FTX", has)
    assert made.schema == SCHEMA
    assert made["scenario_id"].unique().to_list() == ["2022-11 FTX"]
    rows = dict(made.select("factor", "price_shock").iter_rows())
    assert list(rows) == ["*", "FTT", "PERP", "SOL", "XRP"]
    assert rows == {factor: shocks[factor] for factor in rows}


def test_usdc_moves_by_its_own_in_its_depeg_and_in_no_other_event() -> None:
    has = market(["USD", "USDC"])
    for name in EVENTS:
        factors = mg.scenarios.library(name, has)["factor"].to_list()
        assert factors == (["*", "USDC"] if name == "2023-03 USDC depeg" else ["*"])


def test_no_figure_of_the_library_can_be_changed_through_a_frame() -> None:
    has = market(["USD", "BTC"])
    made = mg.scenarios.library("2020-03-12", has)
    made.extend(made)
    made[0, "price_shock"] = 0.5
    assert mg.scenarios.library("2020-03-12", has).height == 2
    assert mg.scenarios.library("2020-03-12", has)[0, "price_shock"] < 0


@pytest.mark.parametrize("name", ["2022-05 luna", "2022-05_LUNA", "2022-05-luna", " 2022-05 LUNA "])
def test_capitals_and_hyphens_make_no_difference_to_a_name(name: str) -> None:
    made = mg.scenarios.library(name, market(["USD"]))
    assert made["scenario_id"].to_list() == ["2022-05 LUNA"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("2020-03-13", "'2020-03-12'"),
        ("2022-05 LUNAR", "'2022-05 LUNA'"),
        ("2023-03 USDC", "'2023-03 USDC depeg'"),
    ],
)
def test_a_near_miss_of_a_name_says_which_was_meant(name: str, meant: str) -> None:
    message = refused(mg.MargraveError, lambda: mg.scenarios.library(name, market(["USD"])))
    assert "name: " in message
    assert f"did you mean {meant}" in message


@pytest.mark.parametrize("name", ["tulips", "", None, 5, "x" * 10_000])
def test_an_unknown_name_is_told_those_there_are(name: Any) -> None:
    message = refused(mg.MargraveError, lambda: mg.scenarios.library(name, market(["USD"])))
    assert all(event in message for event in EVENTS)
    assert len(message) < 1_000


@pytest.mark.parametrize("other", [None, {"BTC"}, "market"])
def test_what_is_no_market_has_no_coins(other: Any) -> None:
    message = refused(mg.MargraveError, lambda: mg.scenarios.library("2020-03-12", other))
    assert "market: " in message


def derivation() -> dict[str, Any]:
    """Return the functions that the page computes the library's figures with."""
    (block,) = (block for block in BLOCKS if ">>>" not in block)
    names: dict[str, Any] = {"pl": pl}
    exec(block, names)
    return names


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file["name"]))
def test_the_library_is_what_the_page_computes_from_the_prices(
    shared: Path, file: dict[str, Any]
) -> None:
    compute = derivation()
    window = (str(shared), file["first_day"], file["last_day"])
    computed: dict[str, float] = compute["shocks"](*window)
    everything = median(computed.values())
    if (coin := UNPEGGED.get(file["name"])) is not None:
        computed[coin] = compute[coin.lower()](*window)
    shipped = dict(file["shocks"])
    assert abs(shipped.pop("*") - everything) <= 1e-6  # six decimals are kept
    assert shipped.keys() == computed.keys()
    assert all(abs(shipped[coin] - computed[coin]) <= 5.1e-7 for coin in shipped)


# The page


def test_the_examples_of_the_page_give_their_results() -> None:
    examples = "\n".join(block for block in BLOCKS if ">>>" in block)
    names: dict[str, Any] = {"mg": mg, "pl": pl}
    test = doctest.DocTestParser().get_doctest(examples, names, "docs/scenarios.md", None, 0)
    assert len(test.examples) >= 20
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_table_of_the_page_is_the_library() -> None:
    part = TEXT.split("## The library")[1]
    rows = re.findall(r"^\| `(\d{4}-.*?)` \|(.*)\|$", part, re.MULTILINE)
    assert [name for name, _ in rows] == EVENTS
    of_file = {file["name"]: file for file in files()}
    for name, text in rows:
        days, coins, *percents, besides = (cell.strip() for cell in text.split("|"))
        file, shocks = of_file[name], dict(of_file[name]["shocks"])
        window = list(dict.fromkeys([str(file["first_day"]), str(file["last_day"])]))
        assert days == " to ".join(window)
        assert int(coins) == len(shocks) - 1 - (name in UNPEGGED)
        assert percents == [f"{100 * shocks[factor]:.1f} %" for factor in ("*", "BTC", "ETH")]
        told = dict(re.findall(r"(\w+) (-[\d.]+) %", besides))
        assert (UNPEGGED.get(name) in told) == (name in UNPEGGED)
        for coin, percent in told.items():
            decimals = len(percent.split(".")[1])
            assert percent == f"{100 * shocks[coin]:.{decimals}f}"


# Into a stress


def test_every_builder_s_frame_is_a_stress() -> None:
    has = market(["USD", "BTC"], names=["BTC-PERP"], bases=["BTC"])
    instruments = pl.DataFrame(
        {
            "instrument_id": ["BTC-PERP"],
            "kind": ["linear"],
            "settle_asset": ["USD"],
            "mark_price": [1.0],
        }
    )
    book = mg.Book(
        pl.DataFrame(
            {
                "account_id": ["a"],
                "instrument_id": ["BTC-PERP"],
                "quantity": [100.0],
                "entry_price": [1.0],
            }
        ),
        pl.DataFrame({"account_id": ["a"], "asset_id": ["USD"], "amount": [50.0]}),
        instruments,
    )
    tiers = [{"tier_table": "BTC-PERP", "floor": 0, "maintenance_rate": 0.01, "initial_rate": 0.02}]
    weights = [{"weight_table": name, "maintenance_weight": 1.0} for name in ("USD", "BTC")]
    rules = mg.Rules.load({"tiers": tiers, "weights": weights})
    days = [date(2024, 8, 3), date(2024, 8, 4), date(2024, 8, 5)]
    prices = pl.DataFrame({"date": days, "symbol": "BTC", "close": [1.0, 0.9, 0.4]})
    frames = [
        mg.scenarios.uniform([-0.6, 0.6]),
        mg.scenarios.grid(["*", "BTC"], [-0.6, 0.6]),
        mg.scenarios.historical(prices, horizon="1d"),
        *(mg.scenarios.library(name, has) for name in EVENTS),
    ]
    scenarios = pl.concat(frames)
    stress = book.stress(has, rules, scenarios)
    assert stress.scenarios["scenario_id"].to_list() == (
        scenarios["scenario_id"].unique(maintain_order=True).to_list()
    )
    # 50 in cash and 100 long at 1: a fall by 49 to 50 % is the line, 1 % of the rest is held.
    falls: dict[object, dict[str, float]] = {
        scenario: dict(zip(part["factor"], part["price_shock"], strict=True))
        for (scenario,), part in scenarios.group_by("scenario_id")
    }
    flagged = dict(stress.scenarios.select("scenario_id", "liquidatable_accounts").iter_rows())
    for scenario, moves in falls.items():
        fall = -moves.get("BTC", moves.get("*", 0.0))
        assert flagged[scenario] == (50 - 100 * fall < 100 * (1 - fall) * 0.01), scenario


# The past is in test_historical.py; here it meets the shared prices.


def test_the_shared_prices_are_windows_of_the_past(shared: Path) -> None:
    days = pl.col("date").is_between(date(2020, 3, 1), date(2020, 3, 31))
    coin = pl.col("symbol").cast(pl.String).str.strip_suffix("USDT")
    bars = pl.read_parquet(shared / "ohlcv_1d_binance_spot.parquet").filter(days)
    made = mg.scenarios.historical(bars.with_columns(symbol=coin), horizon="1d")
    assert made["scenario_id"].n_unique() == 30
    closes = dict(bars.filter(coin == "BTC").select("date", "close").iter_rows())
    expected = closes[date(2020, 3, 12)] / closes[date(2020, 3, 11)] - 1
    row = made.filter(scenario_id="2020-03-11 to 2020-03-12", factor="BTC")
    assert row["price_shock"].to_list() == [expected]
    hourly = pl.read_parquet(shared / "ohlcv_1h_btc_eth.parquet").filter(
        pl.col("ts").is_between(datetime(2024, 8, 4), datetime(2024, 8, 6))
    )
    made = mg.scenarios.historical(hourly, horizon=timedelta(days=1))
    assert made["scenario_id"][0] == "2024-08-04T00:00 to 2024-08-05T00:00"
    assert made["scenario_id"].n_unique() == 25
    windows = pl.read_parquet(shared / "ohlcv_crash_windows.parquet")
    message = refused(mg.SchemaError, lambda: mg.scenarios.historical(windows, horizon="1d"))
    assert "prices.symbol, prices.ts" in message


def test_times_with_a_zone_are_those_of_utc() -> None:
    zone = datetime(2024, 8, 4, 12, tzinfo=UTC)
    prices = pl.DataFrame(
        {"time": [zone, zone + timedelta(hours=4)], "asset": "X", "price": [2, 1]}
    )
    there = prices.with_columns(pl.col("time").dt.convert_time_zone("Asia/Tokyo"))
    made = mg.scenarios.historical(there, horizon="4h")
    assert made.rows() == [("2024-08-04T12:00 to 2024-08-04T16:00", "X", -0.5)]
    assert made.equals(mg.scenarios.historical(prices, horizon="4h"))
