"""The command `check`: what is wrong with a night, by rule, and nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from margrave.terminal import Session

if TYPE_CHECKING:
    from margrave import checks

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
    wanted = gates.asked(files, max_rejects, fail_above, max_mark_age, session.began)
    peak = sharded_cli.peak(files, memory)
    cut = shards.find(folder)
    with session.step("check", f"checking {folder}"), night.reading():
        if cut is not None:
            cut.check_all_accounts()
        found = checks.examine(folder, files, rules, tiers=tiers, weights=weights, threads=threads)
    result, ruleset = found.swept, found.ruleset
    if result is None or ruleset is None:
        return _refuse(session, found.refusals)
    broken = checks.faults(result.rejects)
    verdict, code = delivery.judge(result, wanted)
    session.say(f"{checks.text(result, ruleset, broken)}Memory: {peak[1]}\n")
    looked = _look(session, files, found) if hygiene else {}
    delivery.tell_rejects(session, result)
    delivery.tell_gates(session, verdict["gates"])
    if as_json:
        about = {"estimated_peak_bytes": peak[0], "faults": broken, **looked}
        session.answer(delivery.printed({**result.manifest, **about, **verdict}))
    return code


def _look(
    session: Session, files: Mapping[str, list[Path]], found: checks.Finding
) -> dict[str, Any]:
    """Say what looks wrong in a night that can be swept, and return it as `--json` has it."""
    from margrave import hygiene

    assert found.swept is not None
    assert found.book is not None
    with session.step("hygiene", "looking for what seems wrong"):
        positions = found.book._held.position_rows()
        looked = hygiene.examine(files, positions, found.swept.accounts, session.began)
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
