"""The commands `verify` and `replay`: whether a night is what it was, and comes out again.

Each returns its exit code or raises; `cli` ends the process.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from margrave import manifest, night, proof
from margrave.exits import DONE, INPUT, REJECTS
from margrave.options import APART, Debug, Quiet, Threads, session_of
from margrave.sources import ChangedError

if TYPE_CHECKING:
    from margrave.terminal import Session

__all__ = ["REPLAY_ENDS", "VERIFY_ENDS", "replay", "verify"]

VERIFY_ENDS = """\b
Exit codes:
  0    all files are what manifest.json says
  2    wrong usage
  3    a file changed, is missing or was added: each is named; or there is no
       manifest.json that can be read
  70   internal error, please report it
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)"""

REPLAY_ENDS = """\b
Exit codes:
  0    the same digests came out
  1    others came out: each table that differs is named
  2    wrong usage, or a command that this version does not know
  3    an input or manifest.json changed, is missing or cannot be read, or an
       input was added: each is named
  4    the temporary folder could not be written
  70   internal error, please report it
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)"""

#: The commands that a manifest may hold.
_COMMANDS = ("sweep", "stress", "breach", "demo")

_Written = Annotated[
    Path,
    typer.Argument(
        metavar="OUT", help="Folder that sweep, stress or breach wrote, with its manifest.json."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print what was found as one JSON object.")]


def verify(
    context: typer.Context,
    out: _Written,
    as_json: _Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Say whether the files of a night are those that were written.

    Reads every file that manifest.json names and compares size and BLAKE3; names those that
    changed, are missing or were added. The manifest itself is held to its own digest.
    """
    session = session_of(context, quiet, debug)
    with session.step("verify", f"verifying {out}") as show, night.reading():
        facts, is_intact = manifest.load(out)
        found = proof.files(out, facts, show)
    if not is_intact:
        found.changed.insert(0, manifest.NAME)
    code = INPUT if found else DONE
    size = sum(file["bytes"] for file in facts["files"].values())
    if found:
        session.complain(
            f"error: {out} is not what was written to it:\n{found.text()}\n"
            f"hint: margrave replay {shlex.quote(str(out))} says whether the same comes out again"
        )
    else:
        session.say(
            f"{out}: {len(facts['files'])} files, {size:,} bytes, all as written by run "
            f"{facts['run_id']}"
        )
    if as_json:
        told = {"changed": found.changed, "missing": found.missing, "added": found.added}
        counts = {"files": len(facts["files"]), "bytes": size}
        _answer(session, facts, {**counts, **told, "exit_code": code})
    return code


def replay(
    context: typer.Context,
    out: _Written,
    threads: Threads = None,
    as_json: _Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> int:
    """Run a night's command again and compare what comes out.

    The command and its inputs are those that manifest.json names; where an input changed or is
    missing, nothing is run. What comes out is compared digest by digest, table by table, and
    thrown away; it is written to the system's temporary folder (TMPDIR) meanwhile.
    """
    session = session_of(context, quiet, debug)
    with session.step("inputs", f"looking at what {out} was made of") as show, night.reading():
        facts, is_intact = manifest.load(out)
        command = _command(context, out, facts, is_intact)
        _require_unchanged(out, proof.inputs(facts, show))
    with session.step("replay", f"replaying {out}"):
        again = _run(context, session, command, threads)
    _require_unchanged(out, proof.read_otherwise(facts, again))
    differing = proof.results(facts, again)
    code = REJECTS if differing else DONE
    if differing:
        session.complain(
            f"exit code {code}: {out} does not come out again:\n" + _why(differing, facts, again)
        )
    else:
        tables = ", ".join(facts["results"])
        session.say(f"{out}: the same digests came out again ({tables})")
    if as_json:
        now = {"replay_version": again["margrave_version"], "replay_numerics": again["numerics"]}
        both = {"results": facts["results"], "replay_results": again["results"]}
        _answer(session, facts, {**now, **both, "differing": differing, "exit_code": code})
    return code


def _answer(session: Session, facts: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    about = {key: facts[key] for key in ("run_id", "margrave_version", "numerics", "command")}
    session.answer(json.dumps({**about, **found}, indent=2))


def _command(
    context: typer.Context, out: Path, facts: Mapping[str, Any], is_intact: bool
) -> list[str]:
    """Return the command that a manifest holds.

    Raises:
        ChangedError: The manifest was changed: whoever did may have written any command.
        UnreadableError: It holds a command that computes no night.
    """
    path = out / manifest.NAME
    if not is_intact:
        raise ChangedError(
            f"{path} changed since it was written\nhint: put it back; it says what is run"
        )
    command: list[str] = facts["command"]
    options = {word.partition("=")[0] for word in command}
    if not command or command[0] not in _COMMANDS or APART & options:
        raise night.UnreadableError(
            f"{path} holds no command that can be replayed: {shlex.join(command)}"
        )
    return command


def _require_unchanged(out: Path, found: proof.Difference) -> None:
    if found:
        raise ChangedError(
            f"{out} cannot be replayed, its inputs are not what they were:\n{found.text()}\n"
            "hint: a replay needs the bytes that the run read; put them back"
        )


def _run(
    context: typer.Context, session: Session, command: list[str], threads: int | None
) -> dict[str, Any]:
    """Return the manifest of the command, run here and now into a folder that goes with the run."""
    from tempfile import TemporaryDirectory

    from margrave.publish import UnpublishedError

    try:
        folder = Path(session.enter(TemporaryDirectory(prefix="margrave-replay-")), "out")
    except OSError as error:
        raise UnpublishedError(
            f"no temporary folder could be made: {error}\nhint: TMPDIR names the place for it"
        ) from error
    more = [] if threads is None else ["--threads", str(threads)]
    root = context.find_root().command
    quiet, session.muted = session.quiet, True
    try:
        arguments = [command[0], "--out", str(folder), "--quiet", *more, *command[1:]]
        with root.make_context("margrave", arguments, obj=session) as inner:
            root.invoke(inner)
    finally:
        session.quiet, session.muted = quiet, False
    return manifest.load(folder)[0]


def _why(differing: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    lines = [f"  differs: {name}" for name in differing]
    versions = [f"{f['margrave_version']} (numerics {f['numerics']})" for f in (old, new)]
    if old["numerics"] != new["numerics"]:
        cure = f"the night was made by margrave {versions[0]}, this is {versions[1]}: other figures"
        lines.append(f"hint: {cure} are due; replay it with that version")
    else:
        lines.append(
            "hint: equal numerics must give equal figures: that is a bug, or the manifest is not "
            "what was written; please report it"
        )
    return "\n".join(lines)
