"""Where two rulesets differ: `difference` returns one row per key, rung or figure of a table.

It speaks of what the hash counts and nothing else, so it is empty exactly where two hashes
are equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import polars as pl

from margrave.ruleset import TABLES, RulesFile
from margrave.schema import FRAMES
from margrave.tables import canonical

__all__ = ["content", "difference"]


def content(file: RulesFile, tables: Mapping[str, pl.DataFrame]) -> dict[str, object]:
    """Return what tells one ruleset from another: keys, ladder and rows, defaults filled in."""
    sections = {
        section: {k: v if isinstance(v, str) else v + 0.0 for k, v in keys.items()}
        for section, keys in file.sections().items()
    }
    rows = {name: canonical(tables[name]) for name in TABLES}
    return {"id": file.id, **sections, "ladder": [list(rung) for rung in file.rungs()], **rows}


def difference(left: Mapping[str, object], right: Mapping[str, object]) -> pl.DataFrame:
    """Return `path`, `left`, `right` (text) of what differs; null where one side lacks it.

    Args:
        left: What `content` returns of a ruleset.
        right: The same of another.
    """
    one, other = _by_path(left), _by_path(right)
    paths = [path for path in one if other.get(path) != one[path]]
    paths += [path for path in other if path not in one]
    place = {name: number for number, name in enumerate(left)}
    paths.sort(key=lambda path: place[path.split(".")[0]])
    named = {"path": paths, "left": [one.get(p) for p in paths]}
    named["right"] = [other.get(p) for p in paths]
    return pl.DataFrame(named, schema=dict.fromkeys(("path", "left", "right"), pl.String))


def _by_path(ruleset: Mapping[str, object]) -> dict[str, str]:
    """Return every value as text, by its path."""
    texts: dict[str, str] = {}
    for name, part in ruleset.items():
        if isinstance(part, str):
            texts[name] = part
        elif isinstance(part, dict):
            texts |= {f"{name}.{key}": str(value) for key, value in part.items()}
        elif isinstance(part, list):
            texts |= _rungs(part) if name == "ladder" else _rows(name, part)
    return texts


def _rungs(ladder: list[list[object]]) -> dict[str, str]:
    columns = ("name", "margin_level_below")
    return {
        f"ladder.{number}.{column}": str(value)
        for number, rung in enumerate(ladder)
        for column, value in zip(columns, rung, strict=True)
    }


def _rows(name: str, rows: list[list[object]]) -> dict[str, str]:
    columns = [column.name for column in FRAMES[name] if column.name != "deduction"]
    return {
        f"{name}.{_named(table)}.{_floor(floor)}.{column}": str(value)
        for table, floor, *values in rows
        for column, value in zip(columns[2:], values, strict=True)
    }


def _named(table: object) -> str:
    """Return a table's name, in quotes where a dot in it could be taken for the path's."""
    text = str(table)
    return json.dumps(text, ensure_ascii=False) if set(text) & set('."') else text


def _floor(floor: object) -> str:
    """Return a floor as ruleset files write it: whole ones without a fraction."""
    return str(floor).removesuffix(".0")
