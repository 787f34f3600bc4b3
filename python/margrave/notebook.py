"""How objects show themselves in a notebook: one small table, escaped, with no colours.

`table` makes it of a title and of facts by name. It is handed what is there already and
computes nothing. Ids and titles are hostile strings: they are escaped, cut, and stripped of
what could reorder a line.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from margrave.frames import shown

__all__ = ["fact", "table"]

#: Bytes of rows; facts beyond them are counted and not shown, so that no table exceeds 20 kB.
MOST_BYTES = 18_000


def table(title: str, facts: Mapping[str, object]) -> str:
    """Return an HTML table with a row for each fact.

    Args:
        title: What it is, over the table.
        facts: Numbers and texts by name; None is shown as a dash. Names and texts are
            escaped and cut; a name may be a user's.

    Example:
        >>> table("Book", {"accounts": 1200, "owner": "<b>"}).count("&lt;b&gt;")
        1
    """
    rows: list[str] = []
    size = 0
    for name, value in facts.items():
        row = _row(name, value)
        size += len(row.encode())
        if size > MOST_BYTES:
            rows.append(_row("and more", len(facts) - len(rows)))
            break
        rows.append(row)
    heading = f'<caption style="text-align:left"><b>{_escaped(title)}</b></caption>'
    return f"<table>{heading}<tbody>{''.join(rows)}</tbody></table>"


def fact(value: object) -> str:
    """Return a value as people read it, on one line: 1,200 and 0.05 and text as it is, cut."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if 1 <= abs(value) < 1e15 else f"{value:.6g}"
    return shown(str(value))[1:-1]


def _row(name: str, value: object) -> str:
    side = "right" if isinstance(value, (int, float)) else "left"
    return (
        f'<tr><th style="text-align:left">{_escaped(name)}</th>'
        f'<td style="text-align:{side}">{_escaped(value)}</td></tr>'
    )


def _escaped(value: object) -> str:
    return html.escape(fact(value))
