"""Arguments and options that several commands have in common, and the run they belong to."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from margrave.manifest import Run
from margrave.sources import Sources
from margrave.terminal import Session

__all__ = [
    "APART",
    "Date",
    "Debug",
    "FailAbove",
    "Json",
    "LogJson",
    "MaxMarkAge",
    "MaxRejects",
    "Memory",
    "Night",
    "OnError",
    "Out",
    "Overwrite",
    "Quiet",
    "Resume",
    "Ruleset",
    "Seed",
    "Threads",
    "Tiers",
    "Weights",
    "Workers",
    "run_of",
    "session_of",
]


def _date(given: str | None) -> str | None:
    """Return the date as ISO has it.

    >>> _date("2026-01-31")
    '2026-01-31'
    """
    if given is None:
        return None
    if given == "today":
        return datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", given):
            return datetime.date.fromisoformat(given).isoformat()
    except ValueError:
        pass
    raise typer.BadParameter(f"{given!r} is no date; write it as 2026-01-31, or today")


#: Options on which no result depends: where it goes, what people see, how it is worked out.
APART: Final = {
    *("--out", "--overwrite", "--date", "--quiet", "--json", "--debug", "--log-json"),
    *("--threads", "--workers", "--memory", "--resume"),
}

Night = Annotated[
    Path,
    typer.Argument(
        metavar="NIGHT",
        help="Folder with positions, balances, instruments, assets and, if you like, "
        "accounts: each a .parquet or .csv file or a folder of them.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        readable=False,  # not asked here: what publishes says what is wrong with it
        help="Folder to write, whole or not.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what Margrave wrote to --out before.")
]
Date = Annotated[
    str | None,
    typer.Option(
        "--date",
        metavar="D",
        callback=_date,
        help="Write to DIR/business_date=D and replace that date alone: 2026-01-31 or today "
        "(UTC, when the run begins).",
    ),
]
Ruleset = Annotated[
    str | None,
    typer.Option(
        "--rules", metavar="R", help="A preset's id or a ruleset file. [default: NIGHT/rules.toml]"
    ),
]
Tiers = Annotated[
    Path | None, typer.Option("--tiers", metavar="F", help="Tier tables instead of the ruleset's.")
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="F", help="Weight tables instead of the ruleset's."),
]
MaxRejects = Annotated[
    int,
    typer.Option(
        "--max-rejects", metavar="N", min=0, help="Rejects, or indeterminate accounts, to accept."
    ),
]
FailAbove = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-above",
        metavar="COLUMN=N",
        help="End with 1 where a column of totals is above N, such as liquidatable_accounts=100; "
        "may be given again.",
    ),
]
MaxMarkAge = Annotated[
    str | None,
    typer.Option(
        "--max-mark-age",
        metavar="AGE",
        help="End with 1 where a mark or asset price is older (mark_time, price_time): 90s, 15m, "
        "1.5h, 2d.",
    ),
]
OnError = Annotated[
    Literal["quarantine", "raise"],
    typer.Option("--on-error", help="Set bad rows aside with their accounts, or refuse the night."),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="Threads to use. [default: all cores]"),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="Shards to work on at a time. [default: 2]"),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", metavar="SIZE", help="Memory to use, as 6GiB. [default: 80% of what is free]"
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with a run over the same shards that was stopped."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Which exchange.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print manifest, totals and exit code as one JSON object.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but what went wrong.")]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error (or set MARGRAVE_DEBUG=1).")
]
LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json", help="Log to standard error for machines: one JSON object a line, no text."
    ),
]


def run_of(context: typer.Context, sources: Sources, **resolved: Any) -> Run:
    """Return what a command was asked for, as its manifest has it.

    Args:
        context: The command's.
        sources: The files that it reads.
        resolved: What to take for an option instead of what was typed, by parameter: the
            path of what may be a path or a name.
    """
    return Run(_command(context, resolved), sources, context.params.get("date"))


def _command(context: typer.Context, resolved: Mapping[str, Any]) -> list[str]:
    """Return the command with all that its result depends on.

    Defaults are written out, paths are absolute, arguments come before options and these in
    the order of the help: one command in one way, however it was typed.
    """
    words, options = [str(context.command.name)], []
    for parameter in context.command.params:
        value = resolved.get(str(parameter.name), context.params.get(str(parameter.name)))
        if value is None or value is False or APART & set(parameter.opts):
            continue
        several = value if isinstance(value, (list, tuple)) else [value]
        texts = [str(v.absolute() if isinstance(v, Path) else v) for v in several]
        if parameter.param_type_name == "argument":
            words += texts
        elif value is True:
            options.append(parameter.opts[0])
        else:
            options += [part for text in texts for part in (parameter.opts[0], text)]
    return [*words, *options]


def session_of(context: typer.Context, quiet: bool, debug: bool, log_json: bool = False) -> Session:
    """Return the run that a command is part of, as quiet and as talkative as asked for."""
    from margrave import __version__

    session: Session = context.obj
    session.quiet = quiet
    session.debug = session.debug or debug
    session.log = log_json
    session.tell("start", command=context.info_name, margrave_version=__version__)
    return session
