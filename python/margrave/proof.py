"""Proof of a night: whether its files are what its manifest says, and whether it comes out again.

`files` compares a folder with its manifest, `inputs` what a run read with what is there now,
`read_otherwise` and `results` the manifests of two runs. They say what differs; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from margrave.manifest import NAME, preset_text
from margrave.sources import inside, record

__all__ = ["Difference", "files", "inputs", "read_otherwise", "results"]

#: Takes how much is done, from 0 to 1.
_Show = Callable[[float], None]


@dataclass
class Difference:
    """Files that are not as a manifest has them, by name: `changed`, `missing`, `added`."""

    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing or self.added)

    def text(self) -> str:
        """Return one line for each file."""
        kinds = {"changed": self.changed, "missing": self.missing, "added": self.added}
        return "\n".join(f"  {kind}: {name}" for kind, names in kinds.items() for name in names)

    def look(self, name: str, path: Path, wanted: Mapping[str, Any]) -> None:
        """Note the file where it is not what is wanted; one of another size is not read.

        Raises:
            OSError: It is there and cannot be read.
        """
        if not path.is_file():
            self.missing.append(name)
        elif path.stat().st_size != wanted["bytes"] or record(path)["blake3"] != wanted["blake3"]:
            self.changed.append(name)


def files(out: Path, facts: Mapping[str, Any], show: _Show) -> Difference:
    """Return which files of a folder are not as its manifest has them.

    What the manifest does not name is added: who reads `*.parquet` would read it too.

    Args:
        out: The folder.
        facts: Its manifest, which is not among these files.
        show: Told how much is done.

    Raises:
        OSError: A file cannot be read.
    """
    wanted: Mapping[str, Mapping[str, Any]] = facts["files"]
    found = Difference()
    size, done = max(1, sum(file["bytes"] for file in wanted.values())), 0
    for name in sorted(wanted):
        found.look(name, out / name, wanted[name])
        done += wanted[name]["bytes"]
        show(done / size)
    known = {*wanted, NAME, *(str(p) for name in wanted for p in Path(name).parents)}
    there = (path.relative_to(out).as_posix() for path in inside(out))
    found.added = sorted(name for name in there if name not in known)
    return found


def inputs(facts: Mapping[str, Any], show: _Show) -> Difference:
    """Return which files that a run read are not what they were; a preset counts as one.

    Args:
        facts: The manifest of the run.
        show: Told how much is done.

    Raises:
        OSError: A file cannot be read.
    """
    wanted = [file for part in facts["inputs"].values() for file in part]
    found = Difference()
    size, done = max(1, sum(file["bytes"] for file in wanted)), 0
    for file in wanted:
        found.look(file["path"], Path(file["path"]), file)
        done += file["bytes"]
        show(done / size)
    preset = facts["ruleset"].get("preset")
    if preset is not None and _preset(preset) != facts["ruleset"].get("text"):
        found.changed.append(f"the preset {preset}")
    return found


def read_otherwise(old: Mapping[str, Any], new: Mapping[str, Any]) -> Difference:
    """Return which inputs a second run read that the first did not read, or read as others."""
    before, after = (
        {(name, file["path"]): file for name, part in facts["inputs"].items() for file in part}
        for facts in (old, new)
    )
    found = Difference()
    found.missing = [path for name, path in before if (name, path) not in after]
    found.added = [path for name, path in after if (name, path) not in before]
    found.changed = [
        path for name, path in before.keys() & after if before[name, path] != after[name, path]
    ]
    return found


def results(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the names of what came out otherwise: tables, and what is no table.

    Tables are compared by the digests of their values. `input` is what the inputs say (where
    no file changed, the events of the library have), `totals` are those of the market as
    given, and `ruleset` is its hash.
    """
    names = sorted({*old["results"], *new["results"]})
    differing = [name for name in names if old["results"].get(name) != new["results"].get(name)]
    besides = {"ruleset": "ruleset_hash", "input": "input_digest", "totals": "totals"}
    return differing + [
        word for word, key in besides.items() if word not in names and old.get(key) != new.get(key)
    ]


def _preset(preset: object) -> str | None:
    try:
        return preset_text(str(preset))
    except (OSError, ValueError):
        return None
