"""What shows itself in a notebook: a small escaped table, and nothing computed for it."""

from __future__ import annotations

import html.parser
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import margrave as mg
from margrave import notebook
from small_night import frames, rules_of, sweep

HOSTILE = (
    "<script>alert(1)</script>",
    "</table><img src=x onerror=alert(1)>",
    "\"'&amp;",
    "\u202eevil",
    "\x1b[2J",
    "a\nb",
    "\ud800",
    "",
    "x" * 1_000_000,
)


class Reader(html.parser.HTMLParser):
    """Collects tags and texts of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.styles: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.styles |= {str(value) for _, value in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def named(text: str) -> mg.Rules:
    return mg.Rules.load({"id": text or "none", "buckets": {"valuation_asset": "USD"}})


def comparison(ruleset: mg.Rules) -> mg.Comparison:
    night = frames()
    book = mg.Book(night["positions"], night["balances"], night["instruments"])
    rules = ruleset.with_tables(tiers=night["tiers"], weights=night["weights"])
    return book.compare(mg.Market(night["instruments"], night["assets"]), rules, rules)


def swept(ruleset: mg.Rules) -> mg.Sweep:
    night = frames()
    inputs = {name: night[name] for name in ("positions", "balances", "instruments", "assets")}
    rules = ruleset.with_tables(tiers=night["tiers"], weights=night["weights"])
    return mg.sweep(**inputs, rules=rules)


SHOWN: dict[str, Callable[[mg.Rules], Any]] = {"Sweep": swept, "Comparison": comparison}


@pytest.mark.parametrize("text", [t for t in HOSTILE if t != "\ud800"], ids=range(8))
@pytest.mark.parametrize("name", SHOWN)
def test_hostile_ids_are_text_and_nothing_else(name: str, text: str) -> None:
    thing = SHOWN[name](named(text))
    document = thing._repr_html_()
    found = Reader(document)
    assert set(found.tags) <= {"table", "caption", "b", "tbody", "tr", "th", "td"}
    assert document.isprintable()
    assert len(document.encode()) <= 20_000
    if 0 < len(text) < 70 and text.isprintable() and "\\" not in repr(text):
        assert text in found.texts
    assert len(repr(thing).splitlines()) <= 12
    assert len(repr(thing)) < 1_000


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_titles_names_and_values_of_a_table_are_escaped(text: str) -> None:
    found = Reader(notebook.table(text, {text: text, "b": None}))
    assert found.tags == ["table", "caption", "b", "tbody", *["tr", "th", "td"] * 2]


def test_a_table_has_no_colours_of_its_own() -> None:
    for make in SHOWN.values():
        document = make(named("x"))._repr_html_()
        assert Reader(document).styles <= {"text-align:left", "text-align:right"}


def test_a_table_is_never_larger_than_20_kilobytes() -> None:
    facts = {f"{number:05}" + "<" * 200: "&" * 10_000 for number in range(10_000)}
    document = notebook.table("<" * 10_000, facts)
    assert len(document.encode()) <= 20_000
    shown = Reader(document).tags.count("tr") - 1
    assert f"{10_000 - shown:,}" in Reader(document).texts  # what is left out is counted


def test_a_sweep_shows_totals_and_computes_nothing_for_it() -> None:
    result = sweep(frames())
    texts = Reader(result._repr_html_()).texts
    pairs = dict(zip(texts[1::2], texts[2::2], strict=True))
    totals = result.totals.row(0, named=True)
    assert pairs["accounts"] == "5"
    assert pairs["rejects"] == "0"
    assert float(pairs["equity"].replace(",", "")) == pytest.approx(totals["equity"], abs=0.005)
    computed = {"buckets", "positions", "manifest", "accounts", "accounting"}
    assert not computed & set(vars(result))


def test_a_book_shows_how_many_rows_it_has() -> None:
    night = frames()
    spoilt = night["positions"].with_columns(quantity=pl.lit(None, pl.Float64))
    book = mg.Book(spoilt, night["balances"], night["instruments"], on_error="quarantine")
    texts = Reader(book._repr_html_()).texts
    assert texts == ["Book", "accounts", "4", "positions", "5", "balances", "5", "rejects", "5"]
    assert "5 rejects" in repr(book)


def test_a_comparison_shows_who_moves() -> None:
    night = frames()
    rules = rules_of(night)
    tiers = night["tiers"].drop("deduction").with_columns(initial_rate=1.0)
    book = mg.Book(night["positions"], night["balances"], night["instruments"])
    market = mg.Market(night["instruments"], night["assets"])
    compared = book.compare(market, rules, rules.with_tables(tiers=tiers))
    texts = Reader(compared._repr_html_()).texts
    # a: 100 + 25 of profit against 200 + 50; b: 50 against 100 in its cross bucket
    assert texts[texts.index("healthy to below_initial") + 1] == "2"
    assert "2 change status" in repr(compared)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "true"),
        (1_234_567, "1,234,567"),
        (-1234.567, "-1,234.57"),
        (0.05, "0.05"),
        (0.0, "0"),
        (1e20, "1e+20"),
        (float("inf"), "inf"),
        ("it's", "it's"),
    ],
)
def test_values_are_written_for_people(value: object, text: str) -> None:
    assert notebook.fact(value) == text
