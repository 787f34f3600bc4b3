"""Published figures of venues, met by the engine; and the page that lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from test_cases import assert_engine, assert_oracle
from venues import FILES, PAGE, load, ours_of, page, read, read_all, read_unsaid, swept


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_oracle_gives_the_figures_worked_by_hand(path: Path) -> None:
    assert_oracle(*load(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_engine_gives_the_figures_worked_by_hand(path: Path) -> None:
    assert_engine(*load(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_published_figure_is_met(path: Path) -> None:
    frames = swept(path)
    for figure in read(path).figures:
        ours = ours_of(figure, frames)
        assert figure.is_met(ours), (figure.what, figure.published, ours, float(figure.within))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_published_figure_stands_in_the_case_worked_by_hand(path: Path) -> None:
    _, expect = load(path)
    for figure in read(path).figures:
        worked = expect[figure.frame][figure.row][figure.column]
        assert figure.is_met(worked), (figure.what, figure.published, worked)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_tolerance_is_wider_than_the_way_of_printing(path: Path) -> None:
    for figure in read(path).figures:
        assert figure.within <= figure.coarsest(), (figure.what, float(figure.within))
        assert (figure.within > 0) == (figure.number is not None), figure.what


def test_a_figure_beyond_its_tolerance_is_not_met() -> None:
    for figure in (figure for path in FILES for figure in read(path).figures):
        if figure.number is None:
            assert not figure.is_met("another word")
        else:
            assert not figure.is_met(figure.number + 2 * figure.within)
            assert not figure.is_met(None)


def test_there_are_thirty_cases_of_eight_venues_each_with_source_and_date() -> None:
    cases = read_all()
    assert len(cases) >= 30
    assert len({case.venue for case in cases}) >= 8
    assert len({case.title for case in cases}) == len(cases)
    for case in cases:
        assert case.source, case.name
        assert case.as_of, case.name
        assert case.note, case.name
        assert case.figures, case.name


def test_what_cannot_be_said_names_venue_figure_source_and_reason() -> None:
    entries = read_unsaid()
    assert len(entries) >= 12
    for entry in entries:
        assert set(entry) == {"venue", "what", "source", "published", "reason"}, entry
        assert all(entry.values()), entry


def test_the_page_is_what_the_cases_give() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(read_all(), read_unsaid()), "run: python tests/venues.py"
