"""What a night says, in plain text: `summary`, `accounting`, `worst`; `scenarios`, `breach`.

Knows the frames of a result and nothing else of Margrave. Ids are hostile strings: they
are shown escaped and cut, and nothing here interprets them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

__all__ = [
    "accounting",
    "breach",
    "candidates",
    "printable",
    "rejected",
    "scenarios",
    "summary",
    "worst",
]

#: The statuses as a risk officer reads them: the worst first, what was not computed last.
_STATUSES = ("bankrupt", "liquidation", "below_initial", "healthy", "flat", "indeterminate")

#: A row of a frame by column name.
_Row = dict[str, Any]

_ID_WIDTH = 36
_REASONS_SHOWN = 5

#: Shocks at which the liquidation curve is read, until nobody is left.
_ROUND = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)

#: What becomes of an account along a direction, by `breach_kind`.
_KINDS = {
    "breached": "past its trigger already",
    "root": "reaches its trigger",
    "none": "never reaches it",
}


def summary(
    accounts: pl.DataFrame, totals: pl.DataFrame, rejects: pl.DataFrame, *, unit: str
) -> str:
    """Return accounts by status and what is at risk, as lines of plain text.

    Args:
        accounts: The `accounts` of a sweep.
        totals: Its `totals`, one row.
        rejects: Its `rejects`.
        unit: What money is in, the ruleset's valuation asset.
    """
    total = totals.row(0, named=True)
    parts = [_by_status(accounts, total, unit), _at_risk(total, unit)]
    if rejects.height:
        parts.append(rejected(rejects))
    return "\n\n".join(parts)


def accounting(facts: Mapping[str, Any]) -> str:
    """Return what became of the rows of the input, as lines of plain text.

    Args:
        facts: The `accounting` of a sweep: `set_aside`, `inexact_numbers`, `control`.
    """
    lines = []
    aside = facts["set_aside"]
    accounts = _count(aside["indeterminate_accounts"], "indeterminate account")
    rows = {
        f"of {accounts}": aside["rows_of_indeterminate_accounts"],
        "without an account": aside["rows_without_account"],
    }
    if aside["indeterminate_accounts"] or any(rows["without an account"].values()):
        cells = [[name, *(f"{n:,}" for n in counts.values())] for name, counts in rows.items()]
        heading = ["rows", *aside["rows_without_account"]]
        lines += ["Set aside: input that enters no figure", *_table([heading, *cells])]
    if facts["inexact_numbers"]:
        counts = ", ".join(f"{name} {n:,}" for name, n in facts["inexact_numbers"].items())
        lines.append(f"Numbers that lost digits as 64-bit floats: {counts}")
    control = facts["control"]
    names = [row["instrument_id"] for row in control["quantity"]]
    instruments = _count(len(names) - names.count(None), "instrument")
    names = [row["asset_id"] for row in control["amount"]]
    assets = _count(len(names) - names.count(None), "asset")
    lines.append(f"Control: in = used + set aside, {instruments}, {assets}")
    return "\n".join(lines)


def worst(
    accounts: pl.DataFrame, positions: pl.DataFrame, *, unit: str, count: int = 10, held: int = 3
) -> str:
    """Return the `count` worst accounts and the largest positions of each, as plain text.

    The worst status comes first; within `bankrupt` and `liquidation` the largest bad debt,
    then the lowest margin buffer; among accounts that cover their requirement the lowest
    margin level. Accounts that are flat or indeterminate are never among them. Of what an
    account holds, positions past their trigger come first, then the largest.

    Args:
        accounts: The `accounts` of a sweep.
        positions: Its `positions`.
        unit: What money is in, the ruleset's valuation asset.
        count: How many accounts to show at most.
        held: How many positions of each to show at most.
    """
    chosen = _worst_accounts(accounts, count)
    if chosen.is_empty():
        return "No account has anything at stake."
    columns = ("equity", "bad_debt", "margin_buffer", "gross_notional")
    places = _places(value for column in columns for value in chosen[column])
    rows = [["account", "status", "equity", "bad debt", "margin buffer", "notional", "positions"]]
    rows += [
        [
            printable(account["account_id"]),
            _words(account["status"]),
            *(_money(account[column], places) for column in columns),
            f"{account['positions']:,}",
        ]
        for account in chosen.iter_rows(named=True)
    ]
    heading, *lines = _table(rows, left=2)
    holdings = _largest(positions, chosen["account_id"], held)
    cells = [_holding(row, places) for rows in holdings for row in rows]
    holding_lines = iter(_table(cells, notes=True))
    title = f"The {_count(chosen.height, 'worst account')} and what they hold, in {unit}"
    shown = [f"{title} (status: of the worst bucket)", heading]
    for line, rows_held in zip(lines, holdings, strict=True):
        shown.append(line)
        shown.extend(next(holding_lines) for _ in rows_held)
    return "\n".join(shown)


def rejected(rejects: pl.DataFrame) -> str:
    """Return why values were set aside, the most frequent reasons first, as lines of plain text.

    Args:
        rejects: The `rejects` of a sweep, with a row at least.
    """
    groups = (
        rejects.group_by("frame", "column", "reason", maintain_order=True)
        .agg(pl.len().alias("rows"), pl.col("row").first(), pl.col("value").first())
        .sort("rows", descending=True, maintain_order=True)
    )
    lines = [f"{_count(rejects.height, 'value')} rejected, the most frequent reasons first"]
    for group in groups.head(_REASONS_SHOWN).iter_rows(named=True):
        value = "" if group["value"] is None else f": {printable(group['value'])}"
        first = f"{group['rows']:,}, first in row {group['row']:,}{value}"
        reason = printable(group["reason"], 100)
        lines.append(f"  {group['frame']}.{group['column']}: {reason} ({first})")
    return "\n".join(lines)


def scenarios(frame: pl.DataFrame, *, unit: str, count: int = 10) -> str:
    """Return the `count` worst scenarios, as lines of plain text.

    The largest bad debt comes first, then the largest margin deficit, then the largest
    liquidatable notional; equals keep their order.

    Args:
        frame: The `scenarios` of a stress.
        unit: What money is in, the ruleset's valuation asset.
        count: How many scenarios to show at most.
    """
    if frame.is_empty():
        return "There are no scenarios."
    columns = ("liquidatable_notional", "total_bad_debt", "total_margin_deficit")
    order = ("total_bad_debt", "total_margin_deficit", "liquidatable_notional")
    chosen = frame.sort(*order, descending=True, maintain_order=True).head(count)
    places = _places(value for column in columns for value in chosen[column])
    counts = ("liquidatable_accounts", "newly_liquidatable_accounts", "bankrupt_accounts")
    rows = [["scenario", "liquidatable", "newly", "bankrupt", "notional", "bad debt", "deficit"]]
    rows += [
        [
            printable(scenario["scenario_id"]),
            *(f"{scenario[column]:,}" for column in counts),
            *(_money(scenario[column], places) for column in columns),
        ]
        for scenario in chosen.iter_rows(named=True)
    ]
    shown = f"The {_count(chosen.height, 'worst scenario')} of {frame.height:,}"
    title = shown if chosen.height < frame.height else _count(frame.height, "scenario")
    notes = "newly: not so at the marks as given; notional: of the liquidatable"
    return "\n".join([f"{title}, in {unit} ({notes})", *_table(rows)])


def breach(
    found: pl.DataFrame, curve: pl.DataFrame, *, direction: str, unit: str, steps: int = 5
) -> str:
    """Return who reaches the trigger along a direction, and where, as lines of plain text.

    Args:
        found: The frame of `Book.breach`.
        curve: Its liquidation curve.
        direction: What to call the direction.
        unit: What money is in, the ruleset's valuation asset.
        steps: How many steps of the curve to show at most, from 0 outwards.
    """
    kinds = found["breach_kind"].cast(pl.String)
    counts = {words: int((kinds == kind).sum()) for kind, words in _KINDS.items()}
    if kinds.null_count():
        counts["indeterminate"] = kinds.null_count()
    rows = [[words, f"{n:,}", _share(n, found.height)] for words, n in counts.items()]
    parts = ["\n".join([f"Accounts along the direction {printable(direction, 60)}", *_table(rows)])]
    if curve.height:
        parts.append(_first_steps(curve.head(steps), curve.height, unit))
        if curve["breach_shock"][-1] != 0:  # else all of it stands at 0
            parts.append(_at_round(curve, unit))
    return "\n\n".join(parts)


def printable(value: object, width: int = _ID_WIDTH) -> str:
    """Return `value` as text of at most `width` characters that is safe on a terminal.

    Control and format characters, line ends and lone surrogates are written as escapes
    (`\\x1b`), so that no id can move the cursor, colour the screen or reorder a line; an
    empty text is shown as `''`.
    """
    text = str(value)
    if not text:
        return "''"
    cut = text[:width]
    shown = "".join(c if _is_plain(c) else c.encode("unicode_escape").decode() for c in cut)
    if len(text) > width or len(shown) > width:
        return shown[: width - 1] + "…"
    return shown


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _by_status(accounts: pl.DataFrame, total: _Row, unit: str) -> str:
    notional = dict(
        accounts.group_by(pl.col("status").cast(pl.String))
        .agg(pl.col("gross_notional").sum())
        .iter_rows()
    )
    everybody = int(total["accounts"])
    places = _places([total["gross_notional"]])
    rows = [["status", "accounts", "share", f"notional, {unit}"]]
    for status in _STATUSES:
        number = int(total[f"{status}_accounts"])
        computed = status != "indeterminate"
        money = _money(notional.get(status, 0.0), places) if computed else "not computed"
        rows.append([_words(status), f"{number:,}", _share(number, everybody), money])
    money = _money(total["gross_notional"], places)
    rows.append(["all", f"{everybody:,}", _share(everybody, everybody), money])
    return "\n".join(["Accounts by status", *_table(rows)])


def _at_risk(total: _Row, unit: str) -> str:
    share = _share(total["liquidatable_notional"], total["gross_notional"])
    notes = {
        "liquidatable_notional": f"{share} of all notional",
        "total_margin_deficit": "what buckets past their trigger lack",
        "total_bad_debt": "what buckets owe beyond what they hold",
        "equity": "of all accounts",
        "maintenance_margin": "of all accounts",
    }
    places = _places(total[column] for column in notes)
    rows = [["liquidatable accounts", f"{total['liquidatable_accounts']:,}", ""]]
    rows += [
        [_words(column.removeprefix("total_")), _money(total[column], places), note]
        for column, note in notes.items()
    ]
    return "\n".join([f"At risk, in {unit}", *_table(rows, notes=True)])


def _worst_accounts(accounts: pl.DataFrame, count: int) -> pl.DataFrame:
    found = accounts.clear()
    for status in _STATUSES[:4]:
        rows = accounts.filter(pl.col("status") == status)
        if status in ("bankrupt", "liquidation"):
            rows = rows.sort(
                "bad_debt", "margin_buffer", descending=[True, False], maintain_order=True
            )
        else:
            rows = rows.sort("margin_level", nulls_last=True, maintain_order=True)
        found = found.vstack(rows.head(count - found.height))
        if found.height == count:
            break
    return found


def candidates(
    accounts: pl.DataFrame, positions: pl.DataFrame, count: int, held: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of a part of an exchange that `worst` may show of the whole.

    Args:
        accounts: The `accounts` of the part.
        positions: Its `positions`.
        count: How many accounts are shown at most.
        held: How many positions of each.
    """
    chosen = _worst_accounts(accounts, count)
    rows = _largest(positions, chosen["account_id"], held)
    return chosen, pl.DataFrame([row for of in rows for row in of], schema=positions.schema)


def _largest(positions: pl.DataFrame, account_ids: pl.Series, held: int) -> list[list[_Row]]:
    """Return for each account its first `held` positions: those breached, then by notional."""
    open_rows = positions.filter(
        pl.col("account_id").is_in(account_ids.implode()) & (pl.col("quantity") != 0)
    ).sort(
        pl.col("liquidation_price_kind") == "breached",
        "notional",
        descending=True,
        nulls_last=True,
        maintain_order=True,
    )
    return [
        open_rows.filter(pl.col("account_id") == account_id).head(held).rows(named=True)
        for account_id in account_ids
    ]


def _holding(row: _Row, places: int) -> list[str]:
    side = "long" if row["quantity"] > 0 else "short"
    isolated = ", isolated" if row["bucket_id"].startswith("isolated") else ""
    return [
        f"    {side} {printable(row['instrument_id'])}{isolated}",
        _money(row["notional"], places),
        f"mark {_price(row['mark_price'])}, {_liquidation(row)}",
    ]


def _liquidation(row: _Row) -> str:
    price, mark = row["liquidation_price"], row["mark_price"]
    if row["liquidation_price_kind"] == "breached":
        return "past its trigger"
    if price is None:
        return "no liquidation price"
    way = "below" if price < mark else "above"
    return f"liquidated at {_price(price)}, {_share(abs(price - mark), mark)} {way}"


def _first_steps(first: pl.DataFrame, steps: int, unit: str) -> str:
    places = _places(first["cumulated_notional"])
    rows = [["shock", "accounts", "notional", "all accounts", "all notional"]]
    rows += [
        [_percent(s), f"{n:,}", _money(money, places), f"{all_n:,}", _money(all_money, places)]
        for s, n, money, all_n, all_money in first.iter_rows()
    ]
    some = f" first {first.height:,} of {steps:,} steps of the" if first.height < steps else ""
    return "\n".join([f"The{some} liquidation curve, in {unit}", *_table(rows)])


def _at_round(curve: pl.DataFrame, unit: str) -> str:
    sizes = curve["breach_shock"].abs()
    sign = -1 if curve["breach_shock"][-1] < 0 else 1
    places = _places(curve["cumulated_notional"].tail(1))
    rows = [["shock", "accounts", "notional"]]
    for level in _ROUND:
        reached = int((sizes <= level).sum())  # from 0 outwards: those come first
        accounts = int(curve["cumulated_accounts"][reached - 1]) if reached else 0
        money = float(curve["cumulated_notional"][reached - 1]) if reached else 0.0
        rows.append([_percent(sign * level), f"{accounts:,}", _money(money, places)])
        if reached == curve.height:
            break
    return "\n".join([f"Reached up to a shock, in {unit}", *_table(rows)])


def _table(rows: Sequence[Sequence[str]], *, left: int = 1, notes: bool = False) -> list[str]:
    """Return `rows` as lines of aligned cells: the first `left` ones and notes to the left."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if at < left or (notes and at == last) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def _places(values: Iterable[float | None]) -> int:
    """Return how many decimals to show of these amounts: cents, unless they are large."""
    return 2 if max((abs(value) for value in values if value is not None), default=0) < 1e7 else 0


def _money(value: float | None, places: int) -> str:
    if value is None:
        return "-"
    if abs(value) >= 1e15:
        return f"{value:.4e}"
    if value != 0 and round(value, places) == 0:  # too small for its column, but not nothing
        return f"{value:.1g}"
    return f"{value:,.{places}f}"


def _price(value: float | None) -> str:
    if value is None:
        return "-"
    if 1e5 <= value < 1e15:
        return f"{value:,.0f}"
    if 1e-12 < value < 1e-4:
        return f"{value:.18f}"[: 7 - math.floor(math.log10(value))].rstrip("0")
    return f"{value:,.6g}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f} %" if whole > 0 else "-"


def _percent(shock: float) -> str:
    return f"{100 * shock:+.4g} %" if shock else "0 %"


def _words(status: str) -> str:
    return status.replace("_", " ")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
