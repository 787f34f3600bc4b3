"""Arguments and options that several commands have in common, and the run they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from margrave.terminal import Session

__all__ = [
    "Debug",
    "FailAbove",
    "Json",
    "LogJson",
    "MaxMarkAge",
    "MaxRejects",
    "Night",
    "OnError",
    "Out",
    "Overwrite",
    "Quiet",
    "Ruleset",
    "Seed",
    "Threads",
    "Tiers",
    "Weights",
    "session_of",
]

Night = Annotated[
    Path,
    typer.Argument(
        metavar="NIGHT",
        help="Folder with positions, balances, instruments, assets and, if you like, "
        "accounts: each a .parquet or .csv file or a folder of them.",
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write, whole or not.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what Margrave wrote to --out before.")
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


def session_of(context: typer.Context, quiet: bool, debug: bool, log_json: bool = False) -> Session:
    """Return the run that a command is part of, as quiet and as talkative as asked for."""
    from margrave import __version__

    session: Session = context.obj
    session.quiet = quiet
    session.debug = session.debug or debug
    session.log = log_json
    session.tell("start", command=context.info_name, margrave_version=__version__)
    return session
