"""What venues publish, read from `cases/venues/*.toml`, and the page that compares it with ours.

`python tests/venues.py` runs every case through the public API and writes `docs/venues.md`. A
figure is met when ours lies within the rounding that its venue prints with, which the case states.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import margrave as mg
from exchanges import Exchange
from test_cases import read as read_case

TESTS = Path(__file__).parent
FILES = sorted((TESTS / "cases" / "venues").glob("*.toml"))
UNSAID = TESTS / "venues_unsaid.toml"
PAGE = TESTS.parent / "docs" / "venues.md"
EXACT = Fraction(1, 10**12)  # relative: what the cases promise of our own figures

Frames = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Figure:
    """One printed figure: where ours stands, what was printed and how it was rounded."""

    what: str
    frame: str
    row: int
    column: str
    published: str | bool
    within: Fraction  # in our unit
    scale: Fraction  # our units in one printed unit
    tick: Fraction  # the venue's step, where it rounds to steps rather than digits; 0 for none
    terms: int  # rounded amounts that the figure sums
    digits: Fraction  # what the printed inputs allow, where that is coarser than the last digit

    @property
    def number(self) -> Fraction | None:
        """The printed number in our unit; None for a flag or a word."""
        try:
            return Fraction(str(self.published)) * self.scale
        except ValueError:
            return None

    def coarsest(self) -> Fraction:
        """The largest tolerance that the way of printing justifies, in our unit."""
        number = self.number
        if number is None:
            return Fraction(0)
        places = len(str(self.published).partition(".")[2])
        unit = Fraction(1, 10**places) * self.scale * self.terms
        slightly_more = self.tick * (1 + Fraction(1, 10**6))
        return max(unit, slightly_more, self.digits, 2 * EXACT * abs(number))

    def is_met(self, ours: Any) -> bool:
        """Whether ours is what was printed."""
        number = self.number
        if number is None:
            return bool(ours == self.published)
        return ours is not None and abs(Fraction(ours) - number) <= self.within


@dataclass(frozen=True)
class Case:
    """One published example: its source, its figures and the file that rebuilds it."""

    path: Path
    title: str
    venue: str
    source: str
    url: str
    as_of: str
    note: str
    inferred: str
    figures: tuple[Figure, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def _exact(value: Any) -> Fraction:
    """The decimal that was written, not the double next to it."""
    return Fraction(str(value))


def read(path: Path) -> Case:
    """Return the published side of a case file."""
    document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Fraction)
    published = document["published"]
    figures = tuple(
        Figure(
            what=given["what"],
            frame=given["frame"],
            row=given["row"],
            column=given["column"],
            published=given["published"],
            within=_exact(given.get("within", 0)),
            scale=_exact(given.get("scale", 1)),
            tick=_exact(given.get("tick", 0)),
            terms=given.get("terms", 1),
            digits=_exact(given.get("digits", 0)),
        )
        for given in published["figures"]
    )
    return Case(
        path=path,
        title=document["title"],
        venue=published["venue"],
        source=published["source"],
        url=published.get("url", ""),
        as_of=str(published["as_of"]),
        note=published["note"],
        inferred=published.get("inferred", ""),
        figures=figures,
    )


def read_all() -> list[Case]:
    """Return every case, by venue and name."""
    return sorted((read(path) for path in FILES), key=lambda c: (c.venue.lower(), c.name))


def read_unsaid() -> list[dict[str, str]]:
    """Return what can't be said yet, in the order of its file."""
    document = tomllib.loads(UNSAID.read_text(encoding="utf-8"))
    return list(document["unsaid"])


def load(path: Path) -> tuple[Exchange, dict[str, Any]]:
    """Return the exchange of a case file and what the file expects of it."""
    text, mark, _ = path.read_text(encoding="utf-8").partition("\n[published]\n")
    assert mark, f"{path.name} publishes nothing"
    return read_case(text)


@cache
def swept(path: Path) -> Frames:
    """Return the frames that the public API makes of a case."""
    exchange, _ = load(path)
    night = mg.sweep(**exchange.frames(), rules=mg.Rules.load(exchange.rules))
    return {name: getattr(night, name).to_dicts() for name in ("accounts", "buckets", "positions")}


def ours_of(figure: Figure, frames: Frames) -> Any:
    return frames[figure.frame][figure.row][figure.column]


def page(cases: Iterable[Case], unsaid: Iterable[Mapping[str, str]]) -> str:
    """Return the text of `docs/venues.md`."""
    cases, unsaid = list(cases), list(unsaid)
    venues = list(dict.fromkeys(case.venue for case in cases))
    figures = sum(len(case.figures) for case in cases)
    lines = [
        "# Published figures, and ours",
        "",
        "Written by `python tests/venues.py` from `tests/cases/venues/*.toml`; don't edit it by",
        "hand. Each case rebuilds an example that a venue, or the tests of a known project,",
        "published, under a ruleset that says how the venue computes. Figures and citations are",
        "taken from the sources, nothing else.",
        "",
        f"{len(cases)} cases of {len(venues)} venues, {figures} figures. *Difference* is ours less",
        "the published figure, in the printed unit; 0 means equal to 1e-12. *Allowed* is half a",
        "unit of the last printed digit where the source rounds, one unit where it cuts, the",
        "venue's tick, or 1e-12 of the figure where more digits are printed than that; each case",
        "says which, and a test holds it to that. An *inferred* input was not printed but follows",
        "from another figure of the same source; such a case shows that the source's numbers agree",
        "with each other under the ruleset.",
        "",
    ]
    for venue in venues:
        lines += [f"## {venue}", "", *_venue([c for c in cases if c.venue == venue]), ""]
    lines += [
        "## What can't be said yet",
        "",
        "Published examples that the contract has no words for. Nothing is widened to meet them.",
        "",
        "| venue | what | published | why not | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    keys = ("venue", "what", "published", "reason", "source")
    lines += ["| " + " | ".join(_cell(entry[key]) for key in keys) + " |" for entry in unsaid]
    return "\n".join(lines) + "\n"


def _venue(cases: list[Case]) -> list[str]:
    lines = [
        "| case | figure | published | ours | difference | allowed |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        frames = swept(case.path)
        for number, figure in enumerate(case.figures):
            name = f"[{case.name}](../tests/cases/venues/{case.name}.toml)" if not number else ""
            cells = [name, _cell(figure.what), *_compared(figure, ours_of(figure, frames))]
            lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for case in cases:
        source = f"[{case.source}]({case.url})" if case.url else case.source
        lines.append(f"- `{case.name}`: {case.title}. Source: {source}; as of {case.as_of}.")
        lines.append(f"  Printing: {case.note}.")
        if case.inferred:
            lines.append(f"  Inferred: {case.inferred}.")
    return lines


def _compared(figure: Figure, ours: Any) -> list[str]:
    """Return published, ours, difference and allowed as cells, in the printed unit."""
    number = figure.number
    if number is None:
        return [_word(figure.published), _word(ours), "", ""]
    off = (Fraction(ours) - number) / figure.scale
    near = abs(off) <= EXACT * max(abs(number / figure.scale), Fraction(1))
    difference = "0" if near else f"{float(off):.2g}"
    scaled = float(Fraction(ours) / figure.scale)
    return [
        str(figure.published),
        f"{scaled:.13g}",
        difference,
        f"{float(figure.within / figure.scale):.2g}",
    ]


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(read_all(), read_unsaid()), encoding="utf-8")


if __name__ == "__main__":
    main()
