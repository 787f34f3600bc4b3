"""A case: a random night, spoilt or not, and every call of the API that it is put through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

import margrave as mg
from fuzz.api import Api, Counts
from fuzz.draw import Draw
from fuzz.files import file_case
from fuzz.judge import judge, require
from fuzz.night import SHARED, Night, ruleset, sound
from fuzz.scan import Scan, scan
from fuzz.shapes import chunked, hostile, produced
from fuzz.spoil import spoil, spoil_rules

__all__ = ["run"]


def run(
    mode: str,
    seed: int,
    number: int,
    counts: Counts,
    talk: Callable[[str], None] = lambda _: None,
) -> None:
    """Run one case.

    Args:
        mode: `frames` or `files`.
        seed: Of the whole run.
        number: Of the case.
        counts: Where calls and their outcomes are counted.
        talk: Told what is done and what came of it.

    Raises:
        Found: A law did not hold.
    """
    counts.cases += 1
    draw = Draw(seed, number)
    with Api(counts, talk) as api:
        if mode == "files":
            file_case(draw, api)
        else:
            _frame_case(draw, api)


def _frame_case(draw: Draw, api: Api) -> None:
    night = sound(draw)
    spoilt = [] if draw.chance(0.15) else [spoil(draw, night)]
    if spoilt and draw.chance(0.4):
        spoilt += [spoil(draw, night) for _ in range(draw.upto(1, 5))]
    api.talk(f"spoilt: {spoilt}")
    rules, as_drawn = _rules(draw, api, night)
    given, seen = _given(draw, api, night)
    if rules is None:
        return
    is_sound = as_drawn and not spoilt and night.is_mild and seen is not None
    _nights(draw, api, night, rules, given, seen, is_sound)


def _rules(draw: Draw, api: Api, night: Night) -> tuple[mg.Rules | None, bool]:
    """Return a ruleset by one of the ways that there are, and whether its tables are as drawn."""
    content: Any = night.rules
    spoilt = draw.chance(0.12)
    if spoilt:
        content = spoil_rules(draw, content)
    rules, refusal = api.attempt("Rules.load", lambda: mg.Rules.load(content))
    require(spoilt or rules is not None, f"a sound ruleset was refused: {refusal}")
    if rules is None or not draw.chance(0.15):
        return rules, not spoilt
    words = {
        key: draw.one([draw.text(), draw.number(), "le", "gross", "slab"])
        for key in ("compare", "netting", "tier_mode", "level", "ladder", "id", draw.text())
        if draw.chance(0.3)
    }
    other = api.call("Rules.replace", lambda: rules.replace(**words)) or rules
    same = api.call("Rules.diff", lambda: rules.diff(other))
    require(same is not None and same.is_empty() == (other == rules), "diff and hash disagree")
    api.call("Rules.repr", lambda: (repr(other), other._repr_html_(), other.ladder, other.as_of))
    text = api.call("Rules.to_toml", rules.to_toml)
    require(text is not None, "no TOML")
    if draw.chance(0.5):
        tables = {n: _table(draw, rules, n) for n in ("tiers", "weights") if draw.chance(0.7)}
        return api.call("Rules.with_tables", lambda: other.with_tables(**tables)), False
    return other, not spoilt


def _table(draw: Draw, rules: mg.Rules, name: str) -> Any:
    """Return a table of a ruleset as a frame, spoilt now and then, in any hands."""
    frame = rules.tiers if name == "tiers" else rules.weights
    if draw.chance(0.5):
        spoilt = Night({}, {}, is_mild=True)
        spoil(draw, spoilt, name, frame)
        frame = spoilt.frames[name]
    return produced(draw, frame)[0] if isinstance(frame, pl.DataFrame) else frame


def _given(draw: Draw, api: Api, night: Night) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the frames in some producer's hands, and as they will be seen; None if unknown."""
    given, seen = {}, {}
    is_known = True
    plain = draw.chance(0.5)
    for name, frame in night.frames.items():
        given[name] = seen[name] = frame
        if not isinstance(frame, pl.DataFrame):
            is_known = False
        elif draw.chance(0.02):
            given[name], is_known = hostile(draw, frame), False
        elif not plain:
            given[name], lost = produced(draw, chunked(draw, frame))
            seen[name] = _without_nan(frame) if lost else frame
    return given, seen if is_known else None


def _without_nan(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame([c.fill_nan(None) if c.dtype.is_float() else c for c in frame])


def _nights(
    draw: Draw,
    api: Api,
    night: Night,
    rules: mg.Rules,
    given: dict[str, Any],
    seen: dict[str, Any] | None,
    is_sound: bool,
) -> None:
    """Build a book and a market, sweep, compare, and hold everything to the laws."""
    if not isinstance(given["instruments"], (pl.DataFrame, pl.LazyFrame)):
        # A stream may be read once only: what reads it twice is refused, and rightly.
        once = night.frames["instruments"]
        if isinstance(once, pl.DataFrame):
            given["instruments"] = chunked(draw, once)
            if seen is not None:
                seen["instruments"] = once
    on_error: Any = draw.one(("raise", "quarantine", "quarantine"))
    threads: Any = draw.one((None, 1, 1, 2, 3, 7))
    if draw.chance(0.01):
        on_error, threads = draw.one(("ignore", None, 1)), draw.one((0, -1, True, "2", 1.5))
        is_sound = False
    book, refused = api.attempt("Book", lambda: _book(given, on_error, threads))
    market, unpriced = api.attempt(
        "Market", lambda: mg.Market(given["instruments"], given["assets"])
    )
    require(
        not is_sound or (book is not None and market is not None), f"sound: {refused}{unpriced}"
    )
    if book is None or market is None:
        _check_refusal(refused or unpriced, on_error)
        return
    if draw.chance(0.3):
        api.call("Book.repr", lambda: (repr(book), repr(market)))
        html = api.call("Book._repr_html_", book._repr_html_)
        require(html is not None and len(html.encode()) <= 20_000, "the notebook's table is long")
    if draw.chance(0.1):
        _compare(draw, api, night, book, market, rules)
    swept, refusal = api.attempt("Book.sweep", lambda: book.sweep(market, rules, threads=threads))
    require(not is_sound or swept is not None, f"a sound night was refused: {refusal}")
    found = None if seen is None else scan(seen, seen)
    if swept is None:
        _check_refusal(refusal, on_error, found)
        return
    if found is None:
        return
    require(on_error == "quarantine" or not found.places, f"bad rows passed: {found.places}")
    require(not found.market_places, f"a bad market passed: {found.market_places}")

    def read(name: str) -> Any:
        return api.call(f"Sweep.{name}", lambda: getattr(swept, name))

    judge(read, found, seen["positions"], rules)  # type: ignore[index]
    api.counts.sweeps += 1
    html = api.call("Sweep._repr_html_", lambda: repr(swept) and swept._repr_html_())
    require(html is not None and len(html.encode()) <= 20_000, "the notebook's table is long")
    if draw.chance(0.3):
        _again(draw, api, seen or {}, rules, on_error, read("manifest"))


def _book(given: dict[str, Any], on_error: Any, threads: Any) -> mg.Book:
    return mg.Book(
        given["positions"],
        given["balances"],
        given["instruments"],
        given.get("accounts"),
        on_error=on_error,
        threads=threads,
    )


def _check_refusal(
    refusal: mg.MargraveError | None, on_error: str, found: Scan | None = None
) -> None:
    """A refusal is of a class that its cause deserves."""
    kind, text = type(refusal), str(refusal)
    of_rows = kind in (mg.DataError, mg.UnknownAsset, mg.UnknownInstrument)
    if on_error == "quarantine":
        of_book = kind is not mg.DataError or text.startswith(
            ("positions.", "balances.", "accounts.")
        )
        require(not of_rows or not of_book, f"quarantine raised {refusal!r}")
    elif found is not None and of_rows:
        require(bool(found.places) or "overflow" in text, f"sound rows were refused: {refusal!r}")


def _compare(
    draw: Draw, api: Api, night: Night, book: mg.Book, market: mg.Market, rules: mg.Rules
) -> None:
    names = [*_names(night.rules, "tiers"), *_names(night.rules, "weights"), SHARED]
    other = api.call("Rules.load", lambda: mg.Rules.load(ruleset(draw, names, names)))
    if other is None:
        return
    found = api.call("Book.compare", lambda: book.compare(market, rules, other))
    if found is None:
        return
    counted = int(found.transitions["accounts"].sum())
    require(counted == found.accounts.height, "transitions do not count every account once")
    html = api.call("Comparison.repr", lambda: repr(found) and found._repr_html_())
    require(html is not None and len(html.encode()) <= 20_000, "the notebook's table is long")


def _names(rules: Any, table: str) -> list[str]:
    rows = rules.get(table) if isinstance(rules, dict) else None
    found = (
        [next(iter(r.values()), "") for r in rows if isinstance(r, dict)]
        if isinstance(rows, list)
        else []
    )
    return [name for name in found if isinstance(name, str) and "\ud800" not in name]


def _again(
    draw: Draw,
    api: Api,
    seen: dict[str, Any],
    rules: mg.Rules,
    on_error: Any,
    manifest: dict[str, Any],
) -> None:
    """The same rows in other chunks and on other threads give the same manifest."""
    frames = {name: chunked(draw, frame) for name, frame in seen.items()}
    swept = api.call(
        "sweep",
        lambda: mg.sweep(
            frames["positions"],
            frames["balances"],
            frames["instruments"],
            frames["assets"],
            rules,
            accounts=frames.get("accounts"),
            on_error=on_error,
            threads=draw.one((1, 2, 5)),
        ),
    )
    require(swept is not None, "the same night was refused when it came in other chunks")
    other = api.call("Sweep.manifest", lambda: swept.manifest)  # type: ignore[union-attr]
    for key in {**manifest, **(other or {})}:
        same = key == "seconds" or (other or {}).get(key) == manifest.get(key)
        require(same, f"manifest.{key} differs in other chunks: {manifest.get(key)}, {other}")
