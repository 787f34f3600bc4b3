"""The peers of `benches/` answer what Margrave answers. Their times are nobody's business here."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import answers
import cases
import margrave as mg
import scenarios
import targets
from exchange import Columns, Exchange, Order, Shape, make, read, write
from peers.catalogue import PLAIN_ONLY, WORKS, Entry, load
from peers.ours import book_of, rules_of, sweep_of
from peers.process import Peer

ACCOUNTS = 2_000
PEERS = [
    (work, name, columns)
    for work, peers in WORKS.items()
    for name in peers
    for columns in ("plain", "full")
    if name != "margrave" and (columns == "plain" or (work, name) not in PLAIN_ONLY)
]


@cache
def exchange_of(shape: Shape) -> Exchange:
    return make(shape)


def answer_of(work: str, name: str, exchange: Exchange) -> pl.DataFrame:
    task = load(work, name)(exchange)
    return task.answer(task.call())


@cache
def our_answer(work: str, shape: Shape) -> pl.DataFrame:
    return answer_of(work, "margrave", exchange_of(shape))


@pytest.mark.parametrize(("work", "name", "columns"), PEERS)
def test_a_peer_answers_what_margrave_answers(work: str, name: str, columns: Columns) -> None:
    pytest.importorskip(library(WORKS[work][name]))
    shape = Shape(ACCOUNTS, columns=columns, ids="text" if work == "w3s" else "int")
    exchange, ours = exchange_of(shape), our_answer(work, shape)
    found = answer_of(work, name, exchange)
    compared = compare(work, name, exchange, ours, found)
    assert compared > ACCOUNTS / 2


def library(entry: Entry) -> str:
    """What a peer needs that may be missing."""
    known = {"duckdb_thin": "duckdb", "pandas_thin": "pandas", "scipy_stress": "scipy"}
    return "numba" if entry.module.startswith("numba") else known.get(entry.module, "numpy")


def compare(
    work: str, name: str, exchange: Exchange, ours: pl.DataFrame, found: pl.DataFrame
) -> int:
    kind = WORKS[work][name].answer
    if kind == "same":
        return answers.compare_same(ours, found, ordered=name != "numba-wide")
    if kind == "thin":
        ids = answers.comparable(exchange, ours)
        return answers.compare_thin_with_same(found, ours, ids)
    if kind == "book":
        return answers.compare_books(ours, found)
    if kind in ("stress", "outcomes"):
        given = answer_of("hot", "margrave", exchange)
        return answers.compare_stress(ours, found, given)
    if kind == "breach":
        return answers.compare_breaches(ours, found)
    return answers.compare_positions(ours, found)


@pytest.mark.parametrize("columns", ["plain", "full"])
def test_thin_peers_answer_alike_in_every_account(columns: Columns) -> None:
    exchange = exchange_of(Shape(ACCOUNTS, columns=columns))
    names = ["polars-split-streaming", "polars-convex-memory", "polars-when-streaming", "numpy"]
    found = [answer_of("w1", name, exchange) for name in names]
    for other in found[1:]:
        assert answers.compare_thin(found[0], other) == ACCOUNTS


@pytest.mark.parametrize("order", ["grouped", "sorted", "skewed"])
def test_an_order_of_rows_changes_no_answer(order: Order) -> None:
    exchange = exchange_of(Shape(ACCOUNTS, order=order))
    ours = answer_of("w1", "margrave", exchange)
    assert answers.compare_same(ours, answer_of("w1", "polars-same", exchange), ordered=True)


def test_a_wrong_figure_is_found() -> None:
    ours = our_answer("w1", Shape(ACCOUNTS))
    wrong = ours.with_columns(
        equity=pl.when(pl.int_range(pl.len()) == 7)
        .then(pl.col("equity") * (1 + 1e-7) + 1e-3)
        .otherwise("equity")
    )
    with pytest.raises(AssertionError, match="'equity': 1"):
        answers.compare_same(ours, wrong, ordered=True)


def test_a_wrong_worst_scenario_is_found() -> None:
    exchange = exchange_of(Shape(ACCOUNTS))
    ours, given = our_answer("w2", Shape(ACCOUNTS)), answer_of("hot", "margrave", exchange)
    is_one = pl.col("account_id") == ours["account_id"].drop_nulls()[7]
    wrong = ours.with_columns(worst_scenario=pl.when(~is_one).then("worst_scenario"))
    with pytest.raises(AssertionError, match="worst_scenario: 1"):
        answers.compare_stress(ours, wrong, given)
    more = pl.col("total_bad_debt") * (1 + 1e-8)
    with pytest.raises(AssertionError, match="total_bad_debt"):
        answers.compare_stress(ours, ours.with_columns(more), given)


def test_scenarios_are_as_described() -> None:
    exchange = exchange_of(Shape(ACCOUNTS))
    drawn = scenarios.draw(exchange)
    assert drawn.equals(scenarios.draw(exchange))
    names = scenarios.names(drawn)
    assert len(names) == 100
    uniform = drawn.filter(pl.col("factor") == "*")
    assert uniform["price_shock"].abs().is_between(0.0099, 0.5001).all()
    assert uniform.height == 50
    depegs = drawn.filter(pl.col("factor").is_in(["USDT", "USDC"]))
    assert depegs["scenario_id"].unique(maintain_order=True).equals(names[-5:])


@pytest.mark.parametrize("number", [0, 60, 99])
def test_scenarios_move_the_prices_that_peers_are_given(number: int) -> None:
    exchange = exchange_of(Shape(ACCOUNTS))
    drawn = scenarios.draw(exchange)
    name = scenarios.names(drawn)[number]
    moves = drawn.filter(pl.col("scenario_id") == name)
    marks, prices = (moved[:, number] for moved in scenarios.moved(exchange, drawn))
    instruments = exchange.instruments.with_columns(mark_price=pl.Series(marks))
    assets = exchange.assets.with_columns(price=pl.Series(prices))
    there = replace(exchange, instruments=instruments, assets=assets)
    shocked = mg.Market(exchange.instruments, exchange.assets).shocked(
        dict(zip(moves["factor"], moves["price_shock"], strict=True))
    )
    book, rules = book_of(exchange), rules_of(exchange)
    assert book.sweep(shocked, rules).accounts.equals(sweep_of(book, there).accounts)


def test_a_peer_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = write(Shape(ACCOUNTS), tmp_path)
    with Peer("w1", "margrave", path, cores=1) as peer:
        cost = peer.run()
        peer.answer(tmp_path / "answer.arrow")
    assert 0 < cost.seconds < 60
    assert cost.peak_bytes > read(path).size
    ours = our_answer("w1", Shape(ACCOUNTS))
    assert pl.read_ipc(tmp_path / "answer.arrow").equals(ours, null_equal=True)


@pytest.mark.parametrize(
    "shape", {case.shape: 0 for case in cases.growth(2_000)}, ids=lambda shape: shape.name
)
def test_an_exchange_grows_as_asked(shape: Shape) -> None:
    exchange = exchange_of(shape)
    assert exchange.positions.height == shape.accounts * shape.positions
    assert exchange.instruments.height == shape.instruments
    assert exchange.tiers.group_by("tier_table").len()["len"].max() == shape.brackets
    assert answer_of("hot", "margrave", exchange).height == shape.accounts


def test_a_target_is_met_or_missed(tmp_path: Path) -> None:
    def peer(seconds: float, answer: str) -> dict[str, Any]:
        return {"min": seconds, "first": seconds, "answer": answer}

    peers = {
        "margrave": peer(1.0, "same"),
        "polars-same": peer(4.0, "same"),
        "polars-when-streaming": peer(1.1, "thin"),
    }
    shape = {"accounts": targets.SMALL, "columns": "plain", "order": "shuffled"}
    case = {"work": "w1", "cores": 2, "series": "", "peers": peers}
    case["shape"] = {**shape, "ids": "int", "chunks": 1}
    head = {"date": "2026-01-01", "set": "comparison", "machine": {"processor": "One", "cores": 2}}
    (tmp_path / "one.json").write_text(json.dumps({**head, "cases": [case]}))
    found = {row[0]: row for row in targets.rows(targets.Results.read([tmp_path / "one.json"]))}
    assert found["w1 S: Polars, same answer / ours"][3:] == ("4.00", "met")
    assert found["w1 S: fastest thin Polars / ours"][3:] == ("1.10", "MISSED")
    assert found["w3s S: Polars' sorted book / ours"][3:] == ("–", "not measured")


def test_what_is_in_results_can_be_read() -> None:
    """All of it: what `run.sh` writes, and what other scripts put beside it."""
    paths = sorted((Path(targets.__file__).parent / "results").glob("*.json"))
    read = targets.Results.read(paths)
    assert read.cases
    assert read.memory
    assert {row[4] for row in targets.rows(read)} <= {"aim", "met", "MISSED", "not measured"}
