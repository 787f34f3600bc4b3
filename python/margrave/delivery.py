"""Handing over what was computed: tables published whole, people told, one object printed.

Every command that sweeps ends in `hand_over`, which returns its exit code. A `Result` is
what such a command has: the sweep of the market as given, tables, a manifest, and a text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from margrave import events, gates, manifest, night
from margrave.exits import DONE, REJECTS
from margrave.gates import Gates
from margrave.manifest import Run, printed
from margrave.terminal import Session

if TYPE_CHECKING:
    import polars as pl

    import margrave as mg
    from margrave.parts import Whole
    from margrave.publish import Publication

__all__ = [
    "Result",
    "computing",
    "hand_over",
    "heading",
    "judge",
    "of_sweep",
    "printed",
    "publish",
    "tell_gates",
    "tell_rejects",
]

_TABLES = ("accounts", "buckets", "positions", "totals", "rejects")


@dataclass(frozen=True)
class Result:
    """What a command computed.

    Attributes:
        swept: The sweep of the market as given, whose rejects and indeterminate accounts
            decide the exit code.
        ruleset: What it was swept under.
        tables: What is written, by name.
        manifest: Makes the manifest: digests are computed only where somebody asks for them.
        text: What people are told; empty where the run is quiet.
        folders: Tables in folders, a file each shard, which are written already.
    """

    swept: mg.Sweep | Whole
    ruleset: mg.Rules
    tables: Mapping[str, pl.DataFrame]
    manifest: Callable[[], dict[str, Any]]
    text: str
    folders: Sequence[str] = ()


def of_sweep(
    session: Session, swept: mg.Sweep, ruleset: mg.Rules, *, worst: int, held: int
) -> Result:
    """Return the result of a sweep, whose text shows the `worst` accounts and what they hold.

    Args:
        session: The run it is part of.
        swept: The sweep.
        ruleset: What it was swept under.
        worst: How many of the worst accounts are shown.
        held: How many positions of each.
    """
    from margrave import report

    with session.step("tables", "making the tables"):
        tables = {name: getattr(swept, name) for name in _TABLES}
    if session.quiet:
        return Result(swept, ruleset, tables, lambda: swept.manifest, "")
    accounts, positions, unit = tables["accounts"], tables["positions"], ruleset.valuation_asset
    parts = [
        heading(ruleset, accounts=accounts.height, positions=positions.height),
        report.summary(accounts, tables["totals"], tables["rejects"], unit=unit),
        report.accounting(swept.accounting),
        report.worst(accounts, positions, unit=unit, count=worst, held=held),
    ]
    return Result(swept, ruleset, tables, lambda: swept.manifest, "\n\n".join(parts) + "\n")


def heading(ruleset: mg.Rules, **counts: int) -> str:
    """Return the line that says under which ruleset how much was computed."""
    numbers = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"Ruleset {ruleset.id} ({ruleset.hash[:12]}): {numbers}"


def judge(swept: mg.Sweep | Whole, wanted: Gates) -> tuple[dict[str, Any], int]:
    """Return totals, failed gates and exit code of a sweep as the manifest has them, and the code.

    Args:
        swept: The sweep.
        wanted: The gates of the run.
    """
    totals = swept.totals.row(0, named=True)
    failed = wanted.failed(totals, swept.rejects.height)
    code = REJECTS if failed else DONE
    return {"totals": totals, "gates": failed, "exit_code": code}, code


def tell_rejects(session: Session, swept: mg.Sweep | Whole) -> None:
    """Log what a sweep rejected, where the run logs."""
    if session.log:
        indeterminate = swept.totals["indeterminate_accounts"].item()
        session.tell("rejects", **events.rejected(swept.rejects, indeterminate))


def tell_gates(session: Session, failed: Iterable[Mapping[str, Any]]) -> None:
    """Say which gates a night did not pass, quiet or not."""
    for gate in failed:
        if session.log:
            session.tell("gate", **gate, message=gates.text(gate))
        else:
            session.complain(gates.text(gate))


def hand_over(
    session: Session,
    result: Result,
    publication: Publication | None,
    run: Run,
    *,
    wanted: Gates | None = None,
    as_json: bool = False,
) -> int:
    """Publish the tables and the manifest, say what was found, and return the exit code.

    Args:
        session: The run it is part of.
        result: What was computed.
        publication: Where it goes; None writes nothing.
        run: What was asked for.
        wanted: The gates of the run; those of a run without options by default.
        as_json: Whether what the manifest says is printed too.
    """
    verdict, code = judge(result.swept, wanted or Gates())
    tell_rejects(session, result.swept)
    facts: dict[str, Any] = {}
    if publication is not None or as_json:
        with session.step("digest", "digesting input and result"), night.reading():
            facts = manifest.facts(run, result.ruleset, {**result.manifest(), **verdict})
    if publication is not None:
        files = {f"{name}.parquet": frame for name, frame in result.tables.items()}
        facts = publish(session, publication, files, facts)
    elif as_json:
        facts = manifest.sealed(facts, {})
    session.say(result.text)
    if publication is not None:
        written = ", ".join([*(f"{name}/" for name in result.folders), *result.tables])
        session.say(f"Written to {publication.name}: {written}, manifest.json")
    session.say("Seconds: " + ", ".join(f"{n} {s:.2f}" for n, s in session.seconds.items()))
    tell_gates(session, verdict["gates"])
    if as_json:
        session.answer(printed(facts))
    return code


def publish(
    session: Session,
    publication: Publication,
    files: Mapping[str, pl.DataFrame | str],
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write all of `files`, or none: from the commit on, no signal is heard.

    Args:
        session: The run it is part of.
        publication: Where they go.
        files: What is written, by name.
        facts: What the manifest says, which is written last; None writes none.

    Returns:
        The manifest, with the digests of the files; empty where there is none.
    """
    whole: dict[str, Any] = {}
    with session.step("write", f"writing {publication.name}"):
        for name, content in files.items():
            publication.write(name, content)
        if facts is not None:
            whole = manifest.sealed(facts, publication.records())
            publication.write(manifest.NAME, f"{printed(whole)}\n")
        session.hold()
        publication.commit()
    names = [*(whole.get("files") or files), *([manifest.NAME] if whole else [])]
    session.tell("publish", out=publication.name, files=names)
    return whole


@contextlib.contextmanager
def computing(session: Session, name: str, what: str) -> Iterator[None]:
    """Time a step of one call of the core, which says on a terminal how long it will take."""
    with session.step(name, what) as show, _told(show):
        yield


def _told(show: Callable[[float], None]) -> AbstractContextManager[object]:
    """Return a context in which calls of the core tell `show` how far they are."""
    from margrave import engine

    return engine.progress(show)
