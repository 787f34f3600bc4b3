"""A ruleset in which every key has a value, and ways to change one of them.

The keys and their words are read from the model of the ruleset file, so that a new one cannot be
forgotten by the tests that go over all of them.
"""

from __future__ import annotations

import copy
from datetime import date
from typing import Any, get_args

import margrave as mg
from margrave.ruleset import RulesFile

__all__ = ["FULL", "NUMBERS", "SECTIONS", "load", "with_key", "words"]

load: Any = mg.Rules.load

SECTIONS = ("buckets", "requirement", "collateral", "trigger")

TIERS = ("tier_table", "floor", "maintenance_rate", "initial_rate", "deduction")
WEIGHTS = ["weight_table", "maintenance_weight", "floor", "initial_weight", "liability_weight"]
WEIGHTS += ["borrow_maintenance_rate", "borrow_initial_rate"]

FULL: dict[str, Any] = {
    **{"id": "full", "title": "A ruleset with every key", "source": "nowhere"},
    "as_of": date(2026, 2, 4),
    "differs": ["it rounds", "it rounds twice"],
    "buckets": {"pooling": "all", "netting": "net", "valuation_asset": "USDC"},
    "requirement": {
        **{"tier_mode": "marginal", "tier_basis": "notional", "tier_edge": "upper"},
        **{"price_basis": "mark", "initial": "larger"},
        **{"close_fee": "none", "open_orders": "initial"},
    },
    "collateral": {"profit_and_loss": "beside", "profit_weight": 0.5},
    "trigger": {"compare": "le", "level": 1.25, "zero_requirement": "never"},
    "ladder": [
        {"name": "warned", "margin_level_below": 2},
        {"name": "reduce_only", "margin_level_below": 1.2},
    ],
    "tiers": [
        dict(zip(TIERS, row, strict=False))
        for row in [("56", 0, 0.05, 0.1), ("56", 100, 0.1, 0.2, 5.0), ("ETH", 0, 0.2, 0.4)]
    ],
    "weights": [
        dict(zip(WEIGHTS, ("BTC", 0.9, 0, 0.8, 1.1, 0.01, 0.02), strict=True)),
        {"weight_table": "BTC", "maintenance_weight": 0.5, "floor": 1000},
        {"weight_table": "USDC", "maintenance_weight": 1},
    ],
}


def words() -> list[tuple[str, str, tuple[str, ...]]]:
    """Return section, key and words of every key that has words, from the model itself."""
    found = []
    for section in SECTIONS:
        model: Any = RulesFile.model_fields[section].annotation
        for key, field in model.model_fields.items():
            if field.annotation not in (str, float):
                found.append((section, key, get_args(field.annotation)))
    return found


def with_key(path: str, value: Any) -> dict[str, Any]:
    """Return the full ruleset with the value at a path replaced."""
    content = copy.deepcopy(FULL)
    *parents, key = (int(part) if part.isdigit() else part for part in path.split("."))
    place: Any = content
    for parent in parents:
        place = place[parent]
    place[key] = value
    return content


#: Keys that are numbers, with the least and the largest value they may have.
NUMBERS = [("collateral.profit_weight", 0.0, 1.0), ("trigger.level", 0.0, 100.0)]
NUMBERS += [(f"tiers.0.{key}", 0.0, 1.0) for key in ("maintenance_rate", "initial_rate")]
NUMBERS += [(f"weights.0.{key}", 0.0, 1.0) for key in ("maintenance_weight", "initial_weight")]
NUMBERS += [(f"weights.0.borrow_{key}_rate", 0.0, 1.0) for key in ("maintenance", "initial")]
NUMBERS += [("weights.0.liability_weight", 0.0, 1e18), ("tiers.2.floor", 0.0, 0.0)]
