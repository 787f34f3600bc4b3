"""Exit codes: what each means, and which fault ends in which.

`explain` returns the message and the code of whatever was raised; only `cli.main` ends the
process with it. An exception that nobody caught would end Python with 1, which here means
*done, with rejects*: that must not happen.
"""

from __future__ import annotations

import platform
from typing import Final

import typer

from margrave import errors, night, sources

__all__ = [
    "DONE",
    "INPUT",
    "INTERNAL",
    "MEANINGS",
    "REJECTS",
    "UNPUBLISHED",
    "USAGE",
    "explain",
]

DONE: Final = 0
REJECTS: Final = 1
USAGE: Final = 2
INPUT: Final = 3
UNPUBLISHED: Final = 4
INTERNAL: Final = 70

#: For the help texts; the first line keeps typer from filling the lines.
MEANINGS = """\b
Exit codes:
  0    done
  1    done, but a gate failed: more rejects or indeterminate accounts than
       --max-rejects allows, --fail-above or --max-mark-age; the output is
       written, and manifest.json says so
  2    wrong usage, a ruleset that cannot be used, or output that exists
  3    input missing, unreadable or refused; nothing is written
  4    output could not be published; what was there before is intact
  70   internal error, please report it
  130  interrupted (SIGINT)
  143  terminated (SIGTERM)"""

_INPUT_FAULTS = (
    errors.SchemaError,
    errors.DataError,
    errors.UnknownInstrument,
    errors.UnknownAsset,
    night.MissingError,
    night.UnreadableError,
    sources.ChangedError,
)


def explain(fault: BaseException, *, debug: bool, signal: int) -> tuple[str, int]:
    """Return what to tell people about `fault`, and the exit code it stands for.

    Args:
        fault: What ended the run.
        debug: Whether its traceback is shown already.
        signal: The signal behind a `KeyboardInterrupt`.
    """
    if isinstance(fault, KeyboardInterrupt):
        return "interrupted; nothing was published", 128 + signal
    if isinstance(fault, typer.TyperException):
        return _usage(fault), USAGE
    code = _code(fault)
    if code == INTERNAL:
        return _request(fault, debug), code
    if _is_of_a_stream(fault):
        return f"error: standard output could not be written: {fault}", code
    return f"error: {fault}", code


def _code(fault: BaseException) -> int:
    from margrave.publish import OutputRefusedError, UnpublishedError

    if isinstance(fault, errors.InternalError):
        return INTERNAL
    if isinstance(fault, _INPUT_FAULTS):
        return INPUT
    if isinstance(fault, (errors.MargraveError, night.RefusedError, OutputRefusedError)):
        return USAGE
    if isinstance(fault, UnpublishedError) or _is_of_a_stream(fault):
        return UNPUBLISHED
    return INTERNAL


def _is_of_a_stream(fault: BaseException) -> bool:
    """Return whether standard output failed: an error about a file would name the file."""
    return isinstance(fault, OSError) and fault.filename is None


def _usage(fault: typer.TyperException) -> str:
    message = fault.format_message()
    context = getattr(fault, "ctx", None)
    if context is None:
        return f"error: {message}\nhint: margrave --help"
    if message == context.get_help():  # no command was given
        return message
    return f"{context.get_usage()}\nerror: {message}\nhint: {context.command_path} --help"


def _request(fault: BaseException, debug: bool) -> str:
    from margrave import __version__

    more = "the traceback above" if debug else "what the same command says with --debug"
    return (
        f"internal error: {type(fault).__name__}: {fault}\n"
        "This is a bug in Margrave. Please report it with this text, the command and "
        f"{more}\n(margrave {__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()})."
    )
