"""Events: what a run tells machines with `--log-json`, one JSON object a line.

`docs/operations.md` lists them with their fields. A field that is renamed, dropped or given
another meaning raises `SCHEMA`; a new field or a new event does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

__all__ = ["SCHEMA", "line", "rejected"]

#: The version of the events, in each of them.
SCHEMA = 1

#: How many of the rules that values broke are listed.
_RULES = 20

_HALVES = re.compile("[\ud800-\udfff]")


def line(event: str, facts: Mapping[str, Any], now: datetime) -> str:
    """Return one event as a line of ASCII, whatever is in it.

    Example:
        >>> line("end", {"exit_code": 0}, datetime(2026, 12, 25, 8, tzinfo=UTC))
        '{"schema": 1, "time": "2026-12-25T08:00:00.000Z", "event": "end", "exit_code": 0}'
    """
    time = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    whole = {"schema": SCHEMA, "time": time, "event": event, **facts}
    text = json.dumps(whole, ensure_ascii=False, allow_nan=False, default=str)
    # A file name may hold half a character, which no strict reader of JSON accepts.
    return json.dumps(json.loads(_HALVES.sub("\N{REPLACEMENT CHARACTER}", text)))


def rejected(rejects: pl.DataFrame, indeterminate: int) -> dict[str, Any]:
    """Return what a `rejects` event says: counts, and the rules that most values broke.

    Args:
        rejects: The `rejects` of a sweep.
        indeterminate: How many accounts are indeterminate.
    """
    rule = ("frame", "column", "reason")
    rules = rejects.group_by(rule).len("rows").sort("rows", *rule, descending=[True] + [False] * 3)
    return {
        "rejects": rejects.height,
        "indeterminate_accounts": indeterminate,
        "rules": rules.height,
        "by_rule": rules.head(_RULES).to_dicts(),
    }
