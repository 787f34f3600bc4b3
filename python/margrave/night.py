"""A night: the folder that holds one day's frames and the ruleset they are swept under.

Each frame is `positions.parquet`, `positions.csv` or a folder `positions` of such files;
`find` returns the files of every frame, in name order. Nothing is guessed: a frame found
twice, or a folder that holds anything else, is refused rather than half read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from margrave.rules import Rules
    from margrave.sources import Sources

__all__ = [
    "OPTIONAL",
    "REQUIRED",
    "RULES_FILE",
    "MissingError",
    "RefusedError",
    "UnreadableError",
    "check_preset",
    "find",
    "named_rules",
    "reading",
    "rules_file",
    "ruleset",
    "there",
]

REQUIRED = ("positions", "balances", "instruments", "assets")
OPTIONAL = ("accounts",)

#: The ruleset that a night is swept under unless another one is asked for.
RULES_FILE = "rules.toml"

_SUFFIXES = (".parquet", ".csv")


class MissingError(Exception):
    """The folder, or a frame that must be in it, is not there."""


class RefusedError(Exception):
    """What was asked for is not one thing: a frame found twice, a preset that is none."""


class UnreadableError(Exception):
    """A file is there and cannot be read."""


def find(folder: Path) -> dict[str, list[Path]]:
    """Return the files of every frame that `folder` holds, each in name order.

    Rows of a frame count on through its files in that order. The optional frame
    `accounts` is absent from the answer where the night has none.

    Raises:
        MissingError: There is no such folder, or it lacks required frames; all are named.
        RefusedError: A frame is there twice, or its folder holds what is no frame.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise MissingError(f"{folder} {what}\nhint: NIGHT is a folder with {_listed(REQUIRED)}")
    found = {name: _files(folder, name) for name in (*REQUIRED, *OPTIONAL)}
    lacking = [name for name in REQUIRED if not found[name]]
    if lacking:
        looked = "; ".join(f"{name} ({_listed(_forms(name), 'or')})" for name in lacking)
        raise MissingError(f"{folder} lacks {looked}")
    return {name: files for name, files in found.items() if files}


def ruleset(
    folder: Path,
    rules: str | None,
    *,
    tiers: Path | None = None,
    weights: Path | None = None,
    sources: Sources | None = None,
) -> Rules:
    """Return the ruleset to sweep a night under.

    Args:
        folder: The night, whose own `rules.toml` is taken where none is named.
        rules: A preset's id or a file. A preset goes before a file of the same name.
        tiers: A file of tier tables instead of the ruleset's.
        weights: A file of weight tables instead of the ruleset's.
        sources: Where every file that is read for it is noted, where that is wanted.

    Raises:
        RefusedError: The id is no preset's.
        MissingError: A file is not there: no ruleset is named, and the night has none.
        RulesError: It cannot be used.
    """
    from margrave.rules import Rules

    own = folder / RULES_FILE
    if rules is None and not own.exists():
        raise MissingError(
            f"--rules: {own} does not exist\n"
            f"hint: name a preset ({', '.join(Rules.presets())}) or a file with --rules"
        )
    file = rules_file(folder, rules)
    tables = {"tiers": tiers, "weights": weights}
    given = {name: path for name, path in tables.items() if path is not None}
    if sources is not None and file is not None:
        sources.note("rules", [file])
    chosen = Rules.load(there(file)) if file else named_rules(str(rules), "--rules")
    if sources is not None:
        named = chosen.table_files(file.absolute().parent) if file else {}
        for name, path in [*named.items(), *given.items()]:
            sources.note(name, [path])
    given = {name: there(path) for name, path in given.items()}
    return chosen.with_tables(**given) if given else chosen


def rules_file(folder: Path, rules: str | None) -> Path | None:
    """Return the file of the ruleset that a night is swept under; None where it is a preset."""
    if rules is None:
        return folder / RULES_FILE
    return Path(rules) if _is_rules_file(rules) else None


def named_rules(given: str, argument: str) -> Rules:
    """Return the ruleset of a preset's id or, where it looks like one, of a file.

    Raises:
        RefusedError: It is neither a preset's id nor the name of a file; `argument` is named.
        MissingError: The file is not there.
        RulesError: It has mistakes.
    """
    from margrave.rules import Rules

    if _is_rules_file(given):
        return Rules.load(there(Path(given)))
    check_preset(given, argument)
    return Rules.preset(given)


def _is_rules_file(given: str) -> bool:
    from margrave.rules import Rules

    path = Path(given)
    is_file = path.suffix != "" or len(path.parts) > 1 or path.exists()
    return is_file and given not in Rules.presets()


def there(path: Path) -> Path:
    """Return the path of a file that is there and may be read.

    Raises:
        MissingError: It is not there, or no file.
        OSError: It may not be read.
    """
    if not path.is_file():
        raise MissingError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    path.open("rb").close()
    return path


def check_preset(preset: str, argument: str) -> None:
    """Return if there is such a preset.

    Raises:
        RefusedError: There is none; the message names `argument` and the presets there are.
    """
    from margrave.rules import Rules

    known = Rules.presets()
    if preset not in known:
        raise RefusedError(
            f"{argument}: there is no preset {preset!r}\nhint: presets are {', '.join(known)}; "
            "a file is named by its path"
        )


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turn what the system says of a file inside the block into `UnreadableError`."""
    try:
        yield
    except OSError as error:
        raise UnreadableError(f"input cannot be read: {error}") from error


def _files(folder: Path, name: str) -> list[Path]:
    places = [folder / f"{name}{suffix}" for suffix in _SUFFIXES] + [folder / name]
    there = [place for place in places if place.exists()]
    if len(there) > 1:
        raise RefusedError(
            f"{folder} holds {name} twice: {_listed(place.name for place in there)}\n"
            "hint: leave one of them"
        )
    if not there:
        return []
    return _parts(there[0]) if there[0].is_dir() else there


def _parts(folder: Path) -> list[Path]:
    """Return the files of a frame that is a folder; hidden names are no part of it."""
    inside = sorted(
        (path for path in folder.iterdir() if not path.name.startswith((".", "_"))),
        key=lambda path: path.name,
    )
    strange = [path.name for path in inside if path.suffix not in _SUFFIXES or path.is_dir()]
    if strange:
        raise RefusedError(
            f"{folder} holds {_listed(map(repr, strange[:3]))}, neither a .parquet nor a .csv "
            "file\nhint: move it away; rows that were not read would be missed by nobody"
        )
    if len({path.suffix for path in inside}) > 1:
        raise RefusedError(f"{folder} holds .parquet and .csv files\nhint: leave one kind")
    if not inside:
        raise MissingError(f"{folder} holds no .parquet or .csv file")
    return inside


def _forms(name: str) -> list[str]:
    return [*(f"{name}{suffix}" for suffix in _SUFFIXES), f"{name}/"]


def _listed(names: Iterable[str], word: str = "and") -> str:
    *some, last = names
    return f"{', '.join(some)} {word} {last}" if some else last
