"""`docs/operations.md` is true: each option, exit code, event, gate and warning is there."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import typer

from command_line import make_night, margrave
from margrave import events, exits, hygiene, night
from margrave.cli import app

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```\w+\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)

COMMON = {"schema", "time", "event"}


def options() -> dict[str, set[str]]:
    """Return the options of each command."""
    group = typer.main.get_command(app)
    commands = getattr(group, "commands", {})
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands.items()
    }


def table(heading: str) -> dict[str, list[str]]:
    """Return the other cells of the first table after a heading by its first cell."""
    part = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [row.strip("|").split("|") for row in part.splitlines() if row.startswith("|")]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row[1:]] for row in rows[2:]}


def in_code(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", text))


def commands() -> list[tuple[str, list[str]]]:
    """Return each command that the page shows, with its options."""
    shown = "\n".join([*BLOCKS, *re.findall(r"`(margrave [^`]+)`", TEXT)])
    lines = re.sub(r"[\[\],]", " ", shown.replace("\\\n", " ")).splitlines()
    found = []
    for line in lines:
        if match := re.search(r"\bmargrave +(sweep|stress|breach|check|generate)\b(.*)", line):
            found.append((match[1], re.findall(r"(?<!\S)--[a-z-]+", match[2])))
    return found


def test_every_command_that_is_shown_has_its_options() -> None:
    known = options()
    assert len(commands()) >= 6
    for command, given in commands():
        assert given
        assert set(given) <= known[command]


def test_every_option_that_is_named_is_there() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT))
    assert len(named) >= 10
    assert named <= set().union(*options().values())


def test_the_commands_that_have_gates_and_a_log_are_those_that_are_named() -> None:
    known = options()
    for option, named in (
        ("--log-json", {"generate", "sweep", "stress", "breach", "check"}),
        ("--max-rejects", {"sweep", "stress", "breach", "check"}),
        ("--fail-above", {"sweep", "stress", "breach", "check"}),
        ("--max-mark-age", {"sweep", "stress", "breach", "check"}),
        ("--hygiene", {"check"}),
    ):
        assert {name for name in known if option in known[name]} >= named


def test_every_exit_code_says_what_it_asks_for() -> None:
    codes = re.findall(r"^  (\d+) ", exits.MEANINGS, re.MULTILINE)
    assert list(table("What an exit code asks for")) == codes


def test_what_is_not_tried_again_is_the_same_for_every_scheduler() -> None:
    rows = table("What an exit code asks for")
    again = {code: cells[2] for code, cells in rows.items()}
    lasting = [code for code, word in again.items() if code != "0" and not word.startswith("yes")]
    assert f"RestartPreventExitStatus={' '.join(lasting)}" in TEXT
    assert f"values: [{', '.join(lasting)}]" in TEXT


def test_every_event_is_listed() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "python" / "margrave").glob("*.py"))
    told = set(re.findall(r"\.tell\(\s*\"(\w+)\"", code))
    assert told <= set(table("The log for machines"))
    assert f"`schema` is {events.SCHEMA} until" in TEXT


def test_the_log_that_is_shown_is_one() -> None:
    (log,) = [block for block in BLOCKS if block.startswith('{"schema"')]
    listed = table("The log for machines")
    for line in log.splitlines():
        event = json.loads(line)
        at = datetime.fromisoformat(event["time"])
        facts = {key: value for key, value in event.items() if key not in COMMON}
        assert events.line(event["event"], facts, at) == line
        assert set(facts) == in_code(listed[event["event"]][1])


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """Return a night that fails every gate and has every warning but one of owners."""
    folder = make_night(tmp_path / "night")
    balances = pl.read_parquet(folder / "balances.parquet")
    balances.with_columns(amount=pl.Series([1.0, None, 1.0])).write_parquet(
        folder / "balances.parquet"
    )
    now = datetime.now(UTC)
    times = [now - timedelta(days=1), now - timedelta(days=1), now - timedelta(days=2)]
    times += [now + timedelta(hours=1)]
    one = pl.read_parquet(folder / "instruments.parquet")
    more = one.head(1).with_columns(instrument_id=pl.lit("X"), mark_price=pl.lit(1.0))
    last = one.head(1).with_columns(instrument_id=pl.lit("Y"))
    whole = pl.concat([one, more, last, last.with_columns(instrument_id=pl.lit("Z"))])
    whole.with_columns(mark_time=pl.Series([*times, None])).write_parquet(
        folder / "instruments.parquet"
    )
    assets = pl.DataFrame({"asset_id": ["USDC"], "price": [1.0]})
    assets.with_columns(price_time=pl.lit(now)).write_parquet(folder / "assets.parquet")
    return folder


def test_events_and_gates_have_the_fields_that_are_listed(spoiled: Path) -> None:
    gates = ("--fail-above", "accounts=2", "--max-mark-age", "1h")
    ran = margrave("check", spoiled, "--log-json", "--hygiene", *gates)
    assert ran.code == 1
    listed = table("The log for machines")
    options = {
        "max_rejects": "--max-rejects N",
        "fail_above": "--fail-above COLUMN=N",
        "max_mark_age": "--max-mark-age AGE",
    }
    seen = set()
    for event in map(json.loads, ran.err.splitlines()):
        fields = set(event) - COMMON
        if event["event"] == "gate":
            seen.add(event["gate"])
            entry = table("Gates")[options[event["gate"]]][1]
            assert fields - {"gate", "message"} == in_code(entry)
        elif event["event"] == "rejects":
            rule = set(event["by_rule"][0])
            assert fields | rule == in_code(listed["rejects"][1])
        elif event["event"] == "warning" and "warning" not in event:
            assert fields == {"message"}
        else:
            assert fields == in_code(listed[event["event"]][1])
    assert seen == set(options)


def test_every_warning_is_listed_with_its_line(spoiled: Path) -> None:
    files = night.find(spoiled)
    positions = pl.DataFrame(
        {"instrument_id": ["BTC", "X"], "quantity": [1.0, -1.0], "entry_price": [1.0, 1.0]}
    )
    accounts = pl.DataFrame({"account_id": ["a", "A"], "owner_id": ["x", "y"]})
    found = hygiene.examine(files, [hygiene.seen(positions, accounts)], datetime.now(UTC))
    listed = table("Hygiene")
    assert {warning["warning"] for warning in found.warnings} == set(listed)
    assert set(found.warnings[0]) - {"message", "warning", "where"} == {"count", "of", "first"}
    assert hygiene.APART == 1e-9
    for warning, line in (
        ("open_interest_differs", "more than 1e-9 of the larger"),
        ("mark_far_from_entries", f"more than {hygiene.FAR:g} times the median"),
        ("mark_far_from_entries", f"less than 1/{hygiene.FAR:g} of it"),
        ("stale_time", f"more than {hygiene.STALE / 60:g} minutes older"),
        ("time_ahead", f"more than {hygiene.SKEW:g} seconds ahead"),
    ):
        assert line in listed[warning][0]
