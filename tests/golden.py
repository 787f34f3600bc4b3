"""Golden nights: digests of what the engine makes of fixed input, kept by `numerics`.

`python tests/golden.py` writes `tests/golden/numerics-N.json` for the N of this engine, and
refuses where that file says otherwise: a changed bit needs a raised N, and an entry under
*Numbers* in the changelog that names it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

import margrave as mg
from margrave import engine
from small_night import frames, rules_of

__all__ = ["CHANGELOG", "complaints", "entries", "made", "stored"]

FOLDER = Path(__file__).parent / "golden"
CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"

#: Conventions that lead through other arithmetic than the exchange's own.
RULES: dict[str, dict[str, Any]] = {
    "own": {},
    "slab": {
        **{"tier_mode": "slab", "netting": "gross", "tier_edge": "lower"},
        **{"close_fee": "mark", "open_orders": "both"},
    },
    "joined": {
        **{"profit_and_loss": "settle_asset", "profit_weight": 0.9, "close_fee": "bankruptcy"},
        **{"price_basis": "entry", "compare": "le", "level": 1.1},
    },
    "pooled": {
        **{"pooling": "settle_asset", "netting": "larger_side", "zero_requirement": "never"},
    },
}

#: Kinds of the small night's instruments, each time others.
KINDS = {
    "linear and inverse": ["linear", "linear", "inverse"],
    "quanto and options": ["call", "quanto", "put"],
}


def made() -> dict[str, Any]:
    """Return what this engine makes of the golden nights: digests of input and of tables."""
    exchange = mg.generate(accounts=2000, seed=7)
    book = mg.Book(exchange.positions, exchange.balances, exchange.instruments)
    market = mg.Market(exchange.instruments, exchange.assets)
    found: dict[str, Any] = {}
    digests = {}
    for name, keys in RULES.items():
        rules = exchange.rules.replace(**keys)
        swept = book.sweep(market, rules)
        digests[name] = swept.manifest["input_digest"]
        found[name] = {"sweep": swept.manifest["results"], **_moved(book, market, rules, swept)}
    for name, kinds in KINDS.items():
        night = frames()
        night["instruments"] = night["instruments"].with_columns(pl.Series("kind", kinds))
        inputs = {k: night[k] for k in ("positions", "balances", "instruments", "assets")}
        swept = mg.sweep(**inputs, rules=rules_of(night), accounts=night["accounts"])
        digests[name] = swept.manifest["input_digest"]
        found[name] = {"sweep": swept.manifest["results"]}
    return {"numerics": engine.numerics(), "inputs": digests, "results": found}


def _moved(book: mg.Book, market: mg.Market, rules: mg.Rules, base: mg.Sweep) -> dict[str, Any]:
    """Return the digests of a stress, and of breach and curve by direction."""
    crash = mg.scenarios.library("2020-03-12", market)
    scenarios = pl.concat([mg.scenarios.uniform([-0.3, -0.1, 0.2]), crash])
    found = {"stress": book.stress(market, rules, scenarios).manifest["results"]}
    for direction in ("down", "up", "adverse"):
        breach = book.breach(market, rules, direction)
        tables = [("breach", breach), ("curve", mg.liquidation_curve(breach, base.accounts))]
        found[direction] = base.about([], tables, {})["results"]
    return found


def stored(numerics: int) -> dict[str, Any] | None:
    """Return what is kept for these numerics; None where nothing is."""
    file = FOLDER / f"numerics-{numerics}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def entries(changelog: str) -> set[int]:
    """Return the numerics that have an entry: a line that begins `* numerics N:`.

    It stands under a heading *Numbers* and says what follows N.
    """
    found: set[int] = set()
    heading = ""
    for line in changelog.splitlines():
        heading = line if line.startswith("#") else heading
        number, colon, text = line.removeprefix("* numerics ").partition(":")
        is_entry = heading == "### Numbers" and line.startswith("* numerics ") and colon
        if is_entry and number.isdecimal() and text.strip():
            found.add(int(number))
    return found


def complaints(kept: Mapping[str, Any] | None, now: Mapping[str, Any], changelog: str) -> list[str]:
    """Return what is amiss between what is kept for these numerics and what is made now."""
    number = now["numerics"]
    told = []
    if number not in entries(changelog):
        told.append(f"CHANGELOG.md has no entry '* numerics {number}: ...' under ### Numbers")
    if kept is None:
        return [*told, f"numerics {number} has no golden night: python tests/golden.py"]
    for name, digest in kept["inputs"].items():
        if now["inputs"].get(name) != digest:
            told.append(f"{name}: the input itself changed (generator, presets of the tests)")
    for name, parts in kept["results"].items():
        for part, tables in parts.items():
            for table, digest in tables.items():
                if now["results"].get(name, {}).get(part, {}).get(table) != digest:
                    told.append(f"{name}: {part}: {table} has other bits: raise NUMERICS")
    return told


def main() -> int:
    """Write the golden nights of this engine; refuse to change those that are kept."""
    now = made()
    kept = stored(now["numerics"])
    told = complaints(kept, now, CHANGELOG.read_text(encoding="utf-8")) if kept else []
    if told:
        print("\n".join(told))
        return 1
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"numerics-{now['numerics']}.json"
    file.write_text(f"{json.dumps(now, indent=2)}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
