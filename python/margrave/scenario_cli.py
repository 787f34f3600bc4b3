"""The commands `stress` and `breach`: what a move would do, and how far everyone is from one.

Each returns its exit code or raises; `cli` ends the process.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from margrave import delivery, gates, night, sharded_cli, shards
from margrave.options import (
    Date,
    Debug,
    FailAbove,
    Json,
    LogJson,
    MaxMarkAge,
    MaxRejects,
    Memory,
    Night,
    OnError,
    Out,
    Overwrite,
    Quiet,
    Resume,
    Ruleset,
    Threads,
    Tiers,
    Weights,
    Workers,
    run_of,
    session_of,
)
from margrave.sharded_cli import Work
from margrave.sources import Sources

if TYPE_CHECKING:
    import polars as pl

    import margrave as mg

__all__ = ["breach", "stress"]

_SUFFIXES = (".parquet", ".csv")
_DIRECTIONS = ("down", "up", "adverse")

#: A factor with its move, as people write it.
_BETA = "FACTOR=BETA"


def stress(
    context: typer.Context,
    folder: Night,
    scenarios: Annotated[
        list[str],
        typer.Option(
            "--scenarios",
            metavar="S",
            help="A .parquet or .csv file of scenarios, or events of the library, such as "
            "2020-03-12, joined by commas; may be given again.",
        ),
    ],
    out: Out,
    rules: Ruleset = None,
    tiers: Tiers = None,
    weights: Weights = None,
    date: Date = None,
    overwrite: Overwrite = False,
    max_rejects: MaxRejects = 0,
    fail_above: FailAbove = None,
    max_mark_age: MaxMarkAge = None,
    on_error: OnError = "quarantine",
    threads: Threads = None,
    workers: Workers = None,
    memory: Memory = None,
    resume: Resume = False,
    as_json: Json = False,
    log_json: LogJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Compute every account of a night in many scenarios.

    Written to --out are scenarios and accounts, each with its worst scenario (.parquet), and
    manifest.json; of a night in shards accounts is a folder, a file each shard. Exit code and
    totals are those of the market as given.
    """
    session = session_of(context, quiet, debug, log_json)
    from margrave import report
    from margrave.publish import Publication

    files = night.find(folder)
    work = Work.planned(
        files, shards.find(folder), threads=threads, workers=workers, room=memory, resume=resume
    )
    sources = _sources(scenarios)
    named = [source for source in sources if isinstance(source, Path)]
    read = Sources({**files, "scenarios": named})
    if work.cut is not None:
        read.note("shards", [folder / shards.MARK])
    under = night.rules_file(folder, rules) or rules
    run = run_of(context, read, scenarios=sources, rules=under)
    wanted = gates.asked(files, max_rejects, fail_above, max_mark_age, session.began)
    given = [*_given(rules, tiers, weights), *named]
    inputs = [folder, *given]
    publication = session.enter(
        Publication(out, overwrite=overwrite, inputs=inputs, date=date, resume=resume)
    )
    with session.step("read", f"reading {folder}"), night.reading():
        ruleset = night.ruleset(folder, rules, tiers=tiers, weights=weights, sources=read)
        market = _market(files)
        moves = _together(sources, market)
        book = None if work.cut else _book(files, on_error, threads)
    if book is None:
        with night.reading():
            job = sharded_cli.Job(session, work, ruleset, publication, run, on_error)
            result = job.stress(market, moves)
        return delivery.hand_over(session, result, publication, run, wanted=wanted, as_json=as_json)
    with delivery.computing(session, "stress", f"stressing {folder}"):
        found = book.stress(market, ruleset, moves, threads=threads)
    tables = {"scenarios": found.scenarios, "accounts": found.accounts}
    text = ""
    if not quiet:
        counts = {"accounts": found.base.accounts.height, "scenarios": found.scenarios.height}
        told = report.scenarios(found.scenarios, unit=ruleset.valuation_asset)
        text = _text(ruleset, counts, told, found.base)
    result = delivery.Result(found.base, ruleset, tables, lambda: found.manifest, text)
    return delivery.hand_over(session, result, publication, run, wanted=wanted, as_json=as_json)


def breach(
    context: typer.Context,
    folder: Night,
    out: Out,
    direction: Annotated[
        str,
        typer.Option(
            "--direction",
            metavar="D",
            help=f"{', '.join(_DIRECTIONS)}, {_BETA} (several joined by commas), or a .parquet or "
            ".csv file of factor and beta.",
        ),
    ] = "down",
    rules: Ruleset = None,
    tiers: Tiers = None,
    weights: Weights = None,
    date: Date = None,
    overwrite: Overwrite = False,
    max_rejects: MaxRejects = 0,
    fail_above: FailAbove = None,
    max_mark_age: MaxMarkAge = None,
    on_error: OnError = "quarantine",
    threads: Threads = None,
    workers: Workers = None,
    memory: Memory = None,
    resume: Resume = False,
    as_json: Json = False,
    log_json: LogJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Compute the move that brings each account to its trigger.

    Written to --out are breach, a row for each account, curve, how much is past its trigger
    at which shock (.parquet), and manifest.json; of a night in shards breach is a folder, a file
    each shard. Exit code and totals are those of the market
    as given.
    """
    session = session_of(context, quiet, debug, log_json)
    import margrave as mg
    from margrave import report
    from margrave.breach import about, check_direction
    from margrave.publish import Publication

    files = night.find(folder)
    work = Work.planned(
        files, shards.find(folder), threads=threads, workers=workers, room=memory, resume=resume
    )
    asked = _direction(direction)
    named = [asked] if isinstance(asked, Path) else []
    read = Sources({**files, "direction": named})
    if work.cut is not None:
        read.note("shards", [folder / shards.MARK])
    along = asked if isinstance(asked, Path) else direction
    under = night.rules_file(folder, rules) or rules
    run = run_of(context, read, direction=along, rules=under)
    wanted = gates.asked(files, max_rejects, fail_above, max_mark_age, session.began)
    given = [*_given(rules, tiers, weights), *named]
    inputs = [folder, *given]
    publication = session.enter(
        Publication(out, overwrite=overwrite, inputs=inputs, date=date, resume=resume)
    )
    with session.step("read", f"reading {folder}"), night.reading():
        ruleset = night.ruleset(folder, rules, tiers=tiers, weights=weights, sources=read)
        market = _market(files)
        checked = check_direction(asked, market.factors)
        book = None if work.cut else _book(files, on_error, threads)
    if book is None:
        with night.reading():
            job = sharded_cli.Job(session, work, ruleset, publication, run, on_error)
            result = job.breach(market=market, direction=checked, name=direction)
        return delivery.hand_over(session, result, publication, run, wanted=wanted, as_json=as_json)
    with session.step("sweep", f"sweeping {folder}"):
        base = book.sweep(market, ruleset, threads=threads)
    with delivery.computing(session, "breach", f"moving {folder} along the direction"):
        found = book.breach(market, ruleset, checked, threads=threads)
    with session.step("curve", "making the liquidation curve"):
        curve = mg.liquidation_curve(found, base.accounts)
    text = ""
    if not quiet:
        unit = ruleset.valuation_asset
        told = report.breach(found, curve, direction=direction, unit=unit)
        text = _text(ruleset, {"accounts": found.height}, told, base)
    tables = {"breach": found, "curve": curve}
    seconds = session.seconds["breach"]
    facts = partial(about, base, checked, tables, seconds)
    result = delivery.Result(base, ruleset, tables, facts, text)
    return delivery.hand_over(session, result, publication, run, wanted=wanted, as_json=as_json)


def _given(*files: str | Path | None) -> list[Path]:
    return [Path(file) for file in files if file]


def _market(files: Mapping[str, list[Path]]) -> mg.Market:
    import margrave as mg

    return mg.Market(files["instruments"], files["assets"])


def _book(files: Mapping[str, list[Path]], on_error: OnError, threads: int | None) -> mg.Book:
    import margrave as mg

    return mg.Book(
        files["positions"],
        files["balances"],
        files["instruments"],
        files.get("accounts"),
        on_error=on_error,
        threads=threads,
    )


def _text(ruleset: mg.Rules, counts: Mapping[str, int], told: str, base: mg.Sweep) -> str:
    """Return what people are told: what was found, and what became of the rows."""
    from margrave import report

    parts = [delivery.heading(ruleset, **counts), told]
    if base.rejects.height:
        parts.append(report.rejected(base.rejects))
    return "\n\n".join([*parts, report.accounting(base.accounting)]) + "\n"


def _is_file(text: str) -> bool:
    path = Path(text)
    return bool(text) and (path.suffix in _SUFFIXES or path.exists())


def _sources(texts: Sequence[str]) -> list[Path | str]:
    """Return the files and the names that `--scenarios` asks for, in order.

    A name of the library goes before a file of that name.

    Raises:
        MissingError: A file is not there.
    """
    from margrave import scenarios

    known = set(scenarios.names())
    found: list[Path | str] = []
    for text in texts:
        parts = [text] if _is_file(text) else text.split(",")
        for part in map(str.strip, parts):
            is_file = part not in known and _is_file(part)
            found.append(night.there(Path(part)) if is_file else part)
    return found


def _together(sources: Sequence[Path | str], market: mg.Market) -> object:
    """Return the scenarios of all sources, one after another, as `Book.stress` takes them.

    Of one source its ids keep their type; of several they are integers where all are.

    Raises:
        RefusedError: A name is no event of the library, or a scenario is there twice.
        SchemaError: A file has no columns of scenarios.
        DataError: A file holds a bad value, or a factor that the market lacks.
    """
    import polars as pl

    from margrave.errors import MargraveError
    from margrave.moves import check_scenarios

    frames = [s if isinstance(s, Path) else _event(s, market) for s in sources]
    checked = []
    for source, frame in zip(sources, frames, strict=True):
        try:
            checked.append(check_scenarios(frame, market.factors))
        except MargraveError as error:
            if len(sources) == 1 or str(source) in str(error):
                raise
            raise type(error)(f"in {source}, {error}") from error
    if len(frames) == 1:
        return frames[0]
    _require_once([(str(s), c.named()) for s, c in zip(sources, checked, strict=True)])
    whole = pl.concat([scenarios.frame for scenarios in checked])
    if all(scenarios.ids.dtype.is_integer() for scenarios in checked):
        integers = whole["scenario_id"].cast(pl.Int64, strict=False)
        return whole.with_columns(integers) if integers.null_count() == 0 else whole
    return whole


def _require_once(parts: Sequence[tuple[str, Sequence[tuple[str, object]]]]) -> None:
    homes: dict[str, str] = {}
    for source, scenarios in parts:
        for name, _ in scenarios:
            if name in homes:
                raise night.RefusedError(
                    f"--scenarios: scenario {name!r} is in {homes[name]} and in {source}\n"
                    "hint: give each once, or under another scenario_id"
                )
        homes |= {name: source for name, _ in scenarios}


def _event(name: str, market: mg.Market) -> pl.DataFrame:
    import margrave as mg

    try:
        return mg.scenarios.library(name, market)
    except mg.MargraveError as error:
        raise night.RefusedError(
            f"--scenarios: {str(error).removeprefix('name: ')}\nhint: a file ends in .parquet or "
            ".csv"
        ) from error


def _direction(text: str) -> str | Path | dict[str, float]:
    """Return the word, the file or the betas that `--direction` asks for.

    Raises:
        RefusedError: It is none of them.
        MissingError: The file is not there.
    """
    if text in _DIRECTIONS:
        return text
    if _is_file(text):
        return night.there(Path(text))
    if "=" in text:
        return _betas(text)
    near = difflib.get_close_matches(text.lower(), _DIRECTIONS, n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise night.RefusedError(
        f"--direction: {text!r} is no direction{meant}\nhint: {', '.join(_DIRECTIONS)}, "
        f"{_BETA},... or a .parquet or .csv file of factor and beta"
    )


def _betas(text: str) -> dict[str, float]:
    betas: dict[str, float] = {}
    for part in text.split(","):
        factor, _, beta = part.rpartition("=")
        name = factor.strip()
        try:
            number = float(beta)
        except ValueError:
            name = ""
        if not name:
            raise night.RefusedError(
                f"--direction: {part!r} is not {_BETA}\nhint: write BTC=-1,ETH=-1.5; a factor "
                "with a comma in it can be given in a file"
            )
        if name in betas:
            raise night.RefusedError(f"--direction: {name!r} is there twice\nhint: give it once")
        betas[name] = number
    return betas
