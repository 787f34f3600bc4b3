"""The manifest of a run: what was asked, under which rules, of which files, and what came out.

`facts` gathers what is known before anything is written, `sealed` adds the files that were
written, the time it took and the machine, and a digest over all of it. `load` reads it again.

All but `seconds`, `machine` and `manifest_digest` is equal for equal input and command,
whatever the machine.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from margrave import night
from margrave.sources import Sources

if TYPE_CHECKING:
    import margrave as mg

__all__ = ["NAME", "Run", "facts", "load", "preset_text", "printed", "sealed"]

#: The file that a manifest is.
NAME: Final = "manifest.json"

#: The keys that a machine's speed and make decide, last in the file.
_APART = ("seconds", "machine", "manifest_digest")


@dataclass(frozen=True)
class Run:
    """What a command was asked for.

    Attributes:
        command: Its arguments so far as they determine the result, as `options.run_of` has
            them.
        sources: The files that it reads.
        business_date: The date that it was run for, ISO; None where none was given.
    """

    command: list[str]
    sources: Sources
    business_date: str | None = None


def facts(run: Run, ruleset: mg.Rules, computed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says, but for the files written, and what stands apart.

    Args:
        run: What was asked for.
        ruleset: What it was computed under.
        computed: What the result says of itself: versions, counts, digests, totals, gates.

    Raises:
        ChangedError: An input has changed since the run began.
        OSError: An input cannot be read any more.
    """
    text = _ruleset(run.sources, ruleset)
    inputs = run.sources.records()  # after the text of the ruleset was read: one of these files
    dated = {} if run.business_date is None else {"business_date": run.business_date}
    determining = {
        **{key: computed[key] for key in ("margrave_version", "numerics")},
        **{"command": run.command, "inputs": inputs, "ruleset_hash": computed["ruleset_hash"]},
        **{"input_digest": computed["input_digest"], **dated},
    }
    return {
        "run_id": _digest(determining)[:32],
        **dated,
        "command": run.command,
        **computed,
        "ruleset": text,
        "inputs": inputs,
    }


def sealed(facts: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the whole manifest.

    Args:
        facts: What `facts` returned.
        files: Bytes and BLAKE3 of each file that was written, by its name.
    """
    whole = {key: value for key, value in facts.items() if key not in _APART}
    whole |= {"files": dict(files), "seconds": facts["seconds"], "machine": _machine()}
    return {**whole, "manifest_digest": _seal(whole)}


def printed(facts: Mapping[str, Any]) -> str:
    """Return one JSON object, as `--json` prints it and as manifest.json has it."""
    return json.dumps(facts, indent=2, allow_nan=False)


def load(out: Path) -> tuple[dict[str, Any], bool]:
    """Return what the manifest in a folder says, and whether it is as it was written.

    Only what is in `seconds` can be changed without being noticed: nothing follows from it.

    Raises:
        MissingError: There is no such folder, or no manifest in it.
        UnreadableError: It is no manifest, or that of a version that proved nothing.
    """
    path = out / NAME
    if not path.is_file():
        raise night.MissingError(_missing(out))
    try:
        text = path.read_bytes().decode("utf-8")
        found = json.loads(text)
        wrong = _mistake(found)
    except (OSError, ValueError, RecursionError) as error:
        raise night.UnreadableError(f"{path} is no manifest: {error}") from error
    if wrong:
        raise night.UnreadableError(
            f"{path} is no manifest that can be checked: {wrong}\nhint: write the night anew"
        )
    rest = {key: value for key, value in found.items() if key != "manifest_digest"}
    return found, f"{printed(found)}\n" == text and _seal(rest) == found["manifest_digest"]


def preset_text(preset: str) -> str:
    """Return the file of a preset as text."""
    file = resources.files("margrave").joinpath("presets", f"{preset}.toml")
    return file.read_bytes().decode("utf-8")


def _ruleset(sources: Sources, ruleset: mg.Rules) -> dict[str, Any]:
    """Return where a ruleset came from, the text of its file, and the digests of its tables.

    Both origin and text are None where it was made and not read.
    """
    from margrave import engine
    from margrave.rules import Rules

    files = sources.paths("rules")
    preset = ruleset.id if not files and ruleset.id in Rules.presets() else None
    text = files[0].read_bytes().decode("utf-8") if files else preset and preset_text(preset)
    _, tables = engine.digests([("tiers", ruleset.tiers), ("weights", ruleset.weights)])
    return {"preset": preset, "text": text, "tables": tables}


def _machine() -> dict[str, Any]:
    """Return where a run ran: nothing in its result depends on it."""
    import polars as pl

    from margrave import engine

    return {
        "cpu": _cpu(),
        "cores": engine.cores(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "polars": pl.__version__,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _seal(facts: Mapping[str, Any]) -> str:
    """Return the digest of all that a manifest says but how long it took."""
    return _digest({key: value for key, value in facts.items() if key != "seconds"})


def _digest(facts: Mapping[str, Any]) -> str:
    """Return SHA-256 over facts as JSON, without regard to the order of keys."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _missing(out: Path) -> str:
    if not out.is_dir():
        return f"{out} is not a folder" if out.exists() else f"{out} does not exist"
    dates = sorted(path.parent.name for path in out.glob(f"business_date=*/{NAME}"))
    cure = f"\nhint: name one of its dates, {out / dates[-1]}" if dates else ""
    return f"{out / NAME} does not exist{cure}"


def _mistake(found: object) -> str:
    """Return what of a manifest is not as it must be to be checked; empty where all is."""
    if not isinstance(found, dict):
        return "it is no object"
    kinds: dict[str, type] = {
        **dict.fromkeys(("run_id", "margrave_version", "manifest_digest"), str),
        **dict.fromkeys(("ruleset_hash", "input_digest"), str),
        **dict.fromkeys(("ruleset", "inputs", "results", "files"), dict),
        **{"numerics": int, "command": list},
    }
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind):
            return f"{key} is missing" if key not in found else f"{key} is of the wrong kind"
    if not all(isinstance(word, str) for word in found["command"]):
        return "command is of the wrong kind"
    for name, file in found["files"].items():
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts:
            return f"files: {name!r} lies outside of it"
        if not _is_record(file):
            return f"files: {name!r} is of the wrong kind"
    for name, files in found["inputs"].items():
        is_list = isinstance(files, list)
        if not is_list or not all(_is_record(f) and isinstance(f.get("path"), str) for f in files):
            return f"inputs: {name!r} is of the wrong kind"
    return ""


def _is_record(file: object) -> bool:
    return (
        isinstance(file, dict)
        and isinstance(file.get("bytes"), int)
        and isinstance(file.get("blake3"), str)
    )
