"""The command line: `main`, which alone ends the process, and the commands below it.

A command returns its exit code or raises; `run` turns whatever was raised into a message
and a code. Text for people goes to standard error, answers to standard output.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from margrave import (
    check_cli,
    delivery,
    exits,
    gates,
    night,
    proof_cli,
    rules_cli,
    scenario_cli,
    shard_cli,
    sharded_cli,
    shards,
)
from margrave.exits import DONE, UNPUBLISHED, USAGE
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
    Seed,
    Threads,
    Tiers,
    Weights,
    Workers,
    run_of,
    session_of,
)
from margrave.sharded_cli import Work
from margrave.sources import Sources
from margrave.terminal import Session

if TYPE_CHECKING:
    import margrave as mg

__all__ = ["main", "run"]

#: What a run ends with that a signal stopped.
_STOPPED = (130, 143)

#: The crash that `demo` shows.
_EVENT = "2020-03-12"

_ENVIRONMENT = """\b
Environment:
  MARGRAVE_DEBUG=1        as --debug
  MARGRAVE_NO_PROGRESS=1  no progress on a terminal
  NO_COLOR                no colours in it"""

app = typer.Typer(
    name="margrave",
    help="Which accounts no longer cover what they must hold, by how much, and what would "
    "push the others over.",
    epilog=f"{exits.MEANINGS}\n\n{_ENVIRONMENT}",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(rules_cli.app, name="rules")


def main() -> NoReturn:
    """Run the command line of this process and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Return the exit code of `margrave` with these arguments, whatever happens in it."""
    session = Session()
    session.log = "--log-json" in arguments  # what is wrong with the others is logged, too
    try:
        code = _dispatch(arguments, session)
        session.end()
    except BaseException as fault:
        session.abort()
        message, code = exits.explain(fault, debug=session.debug, signal=session.signal)
        more = session.at_stop() if code in (UNPUBLISHED, *_STOPPED) else ""
        message = f"{message}\nhint: {more}" if more else message
        session.fail(fault, message, code)
    session.close(code)
    return code


def _dispatch(arguments: Sequence[str], session: Session) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(
            args=list(arguments), prog_name="margrave", standalone_mode=False, obj=session
        )
    except SystemExit as stop:  # shell completion; or a reader of --help that has gone
        gone = isinstance(stop.__context__, BrokenPipeError)
        return DONE if gone or not stop.code else USAGE
    if code == 130:  # what typer makes of KeyboardInterrupt
        raise KeyboardInterrupt
    return int(code or DONE)


def _print_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        from margrave import __version__

        context.obj.answer(f"margrave {__version__}")
        raise typer.Exit


@app.callback()
def _margrave(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command(epilog=exits.MEANINGS)
def demo(
    context: typer.Context,
    accounts: Annotated[
        int, typer.Option("--accounts", metavar="N", min=1, help="How many accounts.")
    ] = 100_000,
    seed: Seed = 7,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Keep the tables here; written whole or not."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Generate an exchange, sweep and stress it, print what was found.

    Shows what a risk officer asks first: accounts by status, what is at risk, the worst, and
    what a fall of all prices would do. Kept in --out is what sweep writes.
    """
    session = session_of(context, quiet, debug)
    import margrave as mg
    from margrave.publish import Publication

    publication = session.enter(Publication(out, overwrite=overwrite)) if out else None
    with session.step("generate", f"generating {accounts:,} accounts"):
        exchange = mg.generate(accounts, seed)
    with session.step("sweep", f"sweeping {accounts:,} accounts"):
        book = mg.Book(exchange.positions, exchange.balances, exchange.instruments)
        market = mg.Market(exchange.instruments, exchange.assets)
        swept = book.sweep(market, exchange.rules)
    result = delivery.of_sweep(session, swept, exchange.rules, worst=10, held=3)
    if not quiet:
        falls = _falls(session, book, market, exchange.rules)
        result = replace(result, text=f"{result.text}\n{falls}\n")
    run = run_of(context, Sources())
    code = delivery.hand_over(session, result, publication, run, as_json=as_json)
    if publication is None:
        session.say("Nothing was written; --out DIR keeps the tables.")
    session.say(
        "\nNext, see what a night of your own looks like, then sweep it:\n"
        "  margrave generate --accounts 1000 --out night\n"
        "  margrave sweep night --out tables\n"
        f"  margrave stress night --scenarios {_EVENT} --out stress"
    )
    return code


def _falls(session: Session, book: mg.Book, market: mg.Market, rules: mg.Rules) -> str:
    """Return what a few falls of all prices, and a known crash, would do to an exchange."""
    import polars as pl

    import margrave as mg
    from margrave import report

    falls = [mg.scenarios.uniform([-0.1, -0.2, -0.3]), mg.scenarios.library(_EVENT, market)]
    with delivery.computing(session, "stress", "stressing them"):
        stress = book.stress(market, rules, pl.concat(falls))
    return report.scenarios(stress.scenarios, unit=rules.valuation_asset)


@app.command(epilog=exits.MEANINGS)
def generate(
    context: typer.Context,
    accounts: Annotated[
        int, typer.Option("--accounts", metavar="N", min=1, help="How many accounts.")
    ],
    out: Out,
    seed: Seed = 7,
    overwrite: Overwrite = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as one JSON object.")
    ] = False,
    log_json: LogJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Write a synthetic night that sweep can read.

    Frames as NIGHT has them, and a ruleset beside them: the same files for the same N and S.
    """
    session = session_of(context, quiet, debug, log_json)
    import margrave as mg
    from margrave.publish import Publication

    publication = session.enter(Publication(out, overwrite=overwrite))
    with session.step("generate", f"generating {accounts:,} accounts"):
        exchange = mg.generate(accounts, seed)
    files = {f"{name}.parquet": getattr(exchange, name) for name in night.REQUIRED}
    files |= {f"{name}.parquet": getattr(exchange.rules, name) for name in ("tiers", "weights")}
    files[night.RULES_FILE] = exchange.rules.to_toml(
        tiers="tiers.parquet", weights="weights.parquet"
    )
    delivery.publish(session, publication, files)
    session.say(
        f"{out}: {accounts:,} accounts, {exchange.positions.height:,} positions, "
        f"{exchange.balances.height:,} balances\n"
        f"next: margrave sweep {shlex.quote(str(out))} --out tables"
    )
    if as_json:
        facts = {"margrave_version": mg.__version__, "seed": seed, "accounts": accounts}
        rows = {name: getattr(exchange, name).height for name in night.REQUIRED}
        ruleset = {"ruleset_id": exchange.rules.id, "ruleset_hash": exchange.rules.hash}
        session.answer(delivery.printed({**facts, **rows, **ruleset, "exit_code": DONE}))
    return DONE


@app.command(epilog=exits.MEANINGS)
def sweep(
    context: typer.Context,
    folder: Night,
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
    """Compute the margin of every account of a night.

    Written to --out are accounts, buckets, positions, totals and rejects (.parquet) and
    manifest.json. Of a night in shards accounts, buckets and positions are folders, a file
    each shard.
    """
    session = session_of(context, quiet, debug, log_json)
    import margrave as mg
    from margrave.publish import Publication

    files = night.find(folder)
    work = Work.planned(
        files, shards.find(folder), threads=threads, workers=workers, room=memory, resume=resume
    )
    sources = Sources(files)
    if work.cut is not None:
        sources.note("shards", [folder / shards.MARK])
    run = run_of(context, sources, rules=night.rules_file(folder, rules) or rules)
    wanted = gates.asked(files, max_rejects, fail_above, max_mark_age, session.began)
    named = [Path(rules)] if rules else []
    inputs = [folder, *named, *(path for path in (tiers, weights) if path)]
    publication = session.enter(
        Publication(out, overwrite=overwrite, inputs=inputs, date=date, resume=resume)
    )
    if work.cut is not None:
        with night.reading():
            ruleset = night.ruleset(
                folder, rules, tiers=tiers, weights=weights, sources=run.sources
            )
            job = sharded_cli.Job(session, work, ruleset, publication, run, on_error)
            result = job.sweep()
        return delivery.hand_over(session, result, publication, run, wanted=wanted, as_json=as_json)
    with session.step("sweep", f"sweeping {folder}"), night.reading():
        ruleset = night.ruleset(folder, rules, tiers=tiers, weights=weights, sources=run.sources)
        swept = mg.sweep(
            files["positions"],
            files["balances"],
            files["instruments"],
            files["assets"],
            ruleset,
            accounts=files.get("accounts"),
            on_error=on_error,
            threads=threads,
        )
    result = delivery.of_sweep(session, swept, ruleset, worst=3, held=1)
    return delivery.hand_over(session, result, publication, run, wanted=wanted, as_json=as_json)


app.command(epilog=exits.MEANINGS)(shard_cli.shard)
app.command(epilog=exits.MEANINGS)(scenario_cli.stress)
app.command(epilog=exits.MEANINGS)(scenario_cli.breach)
app.command(epilog=proof_cli.VERIFY_ENDS)(proof_cli.verify)
app.command(epilog=proof_cli.REPLAY_ENDS)(proof_cli.replay)
app.command(epilog=exits.MEANINGS)(check_cli.check)
