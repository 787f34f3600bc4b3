"""The commands under `margrave rules`: list, show, diff and check rulesets.

Each returns its exit code or raises; `cli` ends the process. Answers go to standard output.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from margrave import night
from margrave.exits import DONE, REJECTS
from margrave.manifest import preset_text
from margrave.terminal import Session

if TYPE_CHECKING:
    import polars as pl

    import margrave as mg

__all__ = ["app"]

app = typer.Typer(help="Rulesets: those that come with Margrave, and yours.", no_args_is_help=True)

_ENDS = """\b
Exit codes:
  0  done
  2  wrong usage, or a ruleset with mistakes
  3  a file is missing or cannot be read"""

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]


@app.command("list")
def list_rules(context: typer.Context) -> int:
    """Print the id and the title of every preset."""
    import margrave as mg

    ids = mg.Rules.presets()
    width = max(map(len, ids), default=0)
    for preset in ids:
        context.obj.answer(f"{preset:{width}}  {mg.Rules.preset(preset).title}")
    return DONE


@app.command()
def show(
    context: typer.Context,
    preset: Annotated[str, typer.Argument(metavar="ID", help="A preset's id.")],
) -> int:
    """Print the file of a preset: copy it, change it, name it with --rules."""
    night.check_preset(preset, "ID")
    context.obj.answer(preset_text(preset).rstrip("\n"))
    return DONE


@app.command(epilog=_ENDS.replace("done", "done\n  1  they differ, and --exit-code was given"))
def diff(
    context: typer.Context,
    left: Annotated[str, typer.Argument(metavar="A", help="A preset's id or a ruleset file.")],
    right: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 1 where they differ.")
    ] = False,
    as_json: _Json = False,
) -> int:
    """Print where two rulesets differ.

    One line for every key, rung and figure of a table that differs; none where they are
    equal. Title, date, source and the list of what a venue does differently are not
    compared: they decide nothing.
    """
    session: Session = context.obj
    with night.reading():
        one, other = night.named_rules(left, "A"), night.named_rules(right, "B")
    found = one.diff(other)
    code = REJECTS if exit_code and found.height else DONE
    if as_json:
        answer = {
            **{"left": _about(one), "right": _about(other), "equal": found.is_empty()},
            **{"differences": found.to_dicts(), "exit_code": code},
        }
        session.answer(json.dumps(answer, indent=2))
    elif found.height:
        session.answer(_table(found, left, right))
    else:
        session.say("The rulesets are equal.")
    return code


@app.command(epilog=_ENDS)
def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A ruleset file.")],
    as_json: _Json = False,
) -> int:
    """Print what a ruleset file holds, or all its mistakes."""
    import margrave as mg

    with night.reading():
        rules = mg.Rules.load(night.there(file))
    facts = {
        **_about(rules),
        **{"title": rules.title, "valuation_asset": rules.valuation_asset},
        "tier_tables": rules.tiers["tier_table"].n_unique(),
        "tier_rows": rules.tiers.height,
        "weight_tables": rules.weights["weight_table"].n_unique(),
        "weight_rows": rules.weights.height,
        **{"rungs": len(rules.ladder), "differs": len(rules.differs)},
    }
    if as_json:
        context.obj.answer(json.dumps({**facts, "exit_code": DONE}, indent=2))
        return DONE
    from margrave.report import printable

    width = max(map(len, facts))
    lines = [f"{name:{width}}  {printable(value, 100)}" for name, value in facts.items()]
    context.obj.answer("\n".join(lines))
    context.obj.say(f"{file}: no mistakes")
    return DONE


def _about(rules: mg.Rules) -> dict[str, str]:
    return {"id": rules.id, "hash": rules.hash}


def _table(found: pl.DataFrame, left: str, right: str) -> str:
    """Return differences as lines of three columns; `-` is what a side lacks."""
    from margrave.report import printable

    rows = [("path", left, right), *found.rows()]
    texts = [["-" if cell is None else printable(cell, 100) for cell in row] for row in rows]
    widths = [max(len(text[column]) for text in texts) for column in range(2)]
    return "\n".join(f"{path:{widths[0]}}  {a:{widths[1]}}  {b}" for path, a, b in texts)
