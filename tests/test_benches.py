"""The peers of `benches/` answer what Margrave answers. Their times are nobody's business here."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import answers
import cases
import targets
from exchange import Columns, Exchange, Order, Shape, make, read, write
from peers.catalogue import PLAIN_ONLY, WORKS, Entry, load
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
    known = {"numba_peer": "numba", "duckdb_thin": "duckdb", "pandas_thin": "pandas"}
    return known.get(entry.module, "numpy")


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
    head = {"date": "2026-01-01", "set": "comparison", "machine": {"cores": 2}}
    (tmp_path / "one.json").write_text(json.dumps({**head, "cases": [case]}))
    found = {row[0]: row for row in targets.rows(targets.Results.read([tmp_path / "one.json"]))}
    assert found["w1 S: Polars, same answer / ours"][3:] == ("4.00", "met")
    assert found["w1 S: fastest thin Polars / ours"][3:] == ("1.10", "MISSED")
    assert found["w3s S: Polars' sorted book / ours"][3:] == ("–", "not measured")
