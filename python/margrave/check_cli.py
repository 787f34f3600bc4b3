"""The command `check`: what is wrong with a night, by rule, and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from margrave import delivery, exits, gates, night, sharded_cli, shards
from margrave.options import (
    Debug,
    FailAbove,
    Json,
    LogJson,
    MaxMarkAge,
    MaxRejects,
    Memory,
    Night,
    Quiet,
    Ruleset,
    Threads,
    Tiers,
    Weights,
    session_of,
)
from margrave.parts import Whole
from margrave.sharded_cli import Work
from margrave.terminal import Session

if TYPE_CHECKING:
    import margrave as mg
    from margrave.checks import Look
    from margrave.hygiene import Seen

__all__ = ["check"]


def check(
    context: typer.Context,
    folder: Night,
    rules: Ruleset = None,
    tiers: Tiers = None,
    weights: Weights = None,
    max_rejects: MaxRejects = 0,
    fail_above: FailAbove = None,
    max_mark_age: MaxMarkAge = None,
    hygiene: Annotated[
        bool,
        typer.Option(
            "--hygiene",
            help="Warn of what breaks no rule and looks wrong: sides of an instrument that "
            "differ, marks far from entries, stale times, an account of two owners. Changes no "
            "exit code.",
        ),
    ] = False,
    threads: Threads = None,
    memory: Memory = None,
    as_json: Json = False,
    log_json: LogJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Say what is wrong with a night, by rule; write nothing.

    Shows how many values break each rule, and the first of them. Goes past the first
    refusal: the ruleset, the book and the market are each looked at. Says how much memory a
    sweep takes at its peak. Ends with the exit code that sweep would end with.
    """
    session = session_of(context, quiet, debug, log_json)
    from margrave import checks

    files = night.find(folder)
    cut = shards.find(folder)
    work = Work.planned(files, cut, threads=threads, workers=None, room=memory, resume=False)
    wanted = gates.asked(files, max_rejects, fail_above, max_mark_age, session.began)
    seen: list[Seen] = []
    asked: dict[str, Any] = {"tiers": tiers, "weights": weights, "threads": threads}
    look = _look(seen) if hygiene else None
    with session.step("check", f"checking {folder}") as show, night.reading():
        if cut is None:
            found = checks.examine(folder, files, rules, **asked, look=look)
        else:
            told = _told(session, show, cut.count)
            found = checks.examine_shards(cut, rules, **asked, look=look, told=told)
    result, ruleset = found.swept, found.ruleset
    if result is None or ruleset is None:
        return _refuse(session, found.refusals)
    broken = checks.faults(result.rejects)
    verdict, code = delivery.judge(result, wanted)
    session.say(f"{checks.text(result, ruleset, broken)}Memory: {work.shown()}\n")
    looked = _hygiene(session, files, seen) if hygiene else {}
    delivery.tell_rejects(session, result)
    delivery.tell_gates(session, verdict["gates"])
    if as_json:
        about = {"estimated_peak_bytes": work.peak, "faults": broken, **looked}
        session.answer(delivery.printed({**_facts(result, ruleset), **about, **verdict}))
    return code


def _told(session: Session, show: Callable[[float], None], count: int) -> Callable[[int], None]:
    """Return what tells of a shard that was looked at: where the run logs, and on a terminal."""

    def told(shard: int) -> None:
        session.tell("shard", shard=shard, of=count, reused=False)
        show((shard + 1) / count)

    return told


def _facts(swept: mg.Sweep | Whole, ruleset: mg.Rules) -> dict[str, Any]:
    """Return what the manifest of a sweep states of what was computed."""
    if isinstance(swept, Whole):
        tables = {"totals": swept.totals, "rejects": swept.rejects}
        return sharded_cli.stated(swept, ruleset, tables)
    return swept.manifest


def _look(seen: list[Seen]) -> Look:
    """Return what keeps of each book what hygiene needs of it."""
    from margrave import hygiene

    def look(book: mg.Book, swept: mg.Sweep) -> None:
        seen.append(hygiene.seen(book._held.position_rows(), swept.accounts))

    return look


def _hygiene(
    session: Session, files: Mapping[str, list[Path]], seen: Sequence[Seen]
) -> dict[str, Any]:
    """Say what looks wrong in a night that can be swept, and return it as `--json` has it."""
    from margrave import hygiene

    with session.step("hygiene", "looking for what seems wrong"):
        looked = hygiene.examine(files, seen, session.began)
    if session.log:
        for warning in looked.warnings:
            session.tell("warning", **warning)
        for what in looked.not_looked_at:
            session.tell("warning", message=f"not looked at: {what}")
    session.say(f"{hygiene.text(looked)}\n")
    told = {"warnings": looked.warnings, "not_looked_at": looked.not_looked_at}
    return {"hygiene": told}


def _refuse(session: Session, refusals: Sequence[Exception]) -> int:
    """Say why a night is refused, and return the exit code that a sweep would end with."""
    codes = []
    for fault in refusals:
        message, code = exits.explain(fault, debug=session.debug, signal=session.signal)
        session.fail(fault, message, code)
        codes.append(code)
    return codes[0]
