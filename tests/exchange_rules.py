"""Where the numbers and the rules of random exchanges come from.

`DYADIC` numbers are exact in doubles under products and sums; `UGLY` ones are not. `rulesets`
draws every key of a ruleset with every word, ladders, tiers and weights among them; with `only` it
draws rulesets in which nothing but the given keys differs from the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from reference_inputs import DEFAULTS, WORDS

SHARED_TABLE = "shared"
_OFTEN = st.sampled_from([False, True, True, True])


@dataclass(frozen=True)
class Numbers:
    """Where the numbers of one exchange come from."""

    quantity: st.SearchStrategy[float]
    order: st.SearchStrategy[float]
    mark: st.SearchStrategy[float]
    inverse_mark: st.SearchStrategy[float]
    move: st.SearchStrategy[float]  # entry over mark
    contract_size: st.SearchStrategy[float]
    asset_price: st.SearchStrategy[float]
    share: st.SearchStrategy[float]  # of notional: what is posted, or owed
    leverage: st.SearchStrategy[float]
    floor: st.SearchStrategy[float]
    rate: st.SearchStrategy[float]
    weight: st.SearchStrategy[float]
    liability_weight: st.SearchStrategy[float]
    level: st.SearchStrategy[float]
    profit_weight: st.SearchStrategy[float]
    fee_rate: st.SearchStrategy[float]
    multiplier: st.SearchStrategy[float]  # of a quanto
    rung: st.SearchStrategy[float]  # margin level below which a rung of the ladder holds


def _pick(*values: float) -> st.SearchStrategy[float]:
    return st.sampled_from(values)


def _sized(low: float, high: float) -> st.SearchStrategy[float]:
    """Return doubles in a range above 0, so that no product of a few of them underflows."""
    return st.floats(low, high)


#: Two of these net to next to nothing: to 1e-12 of the gross and less, or a little more.
_ALMOST_OPPOSITE = (123.456, -123.456, -123.45600000012345, -123.4560000005)

#: Products and sums of these are exact in doubles, in any order.
DYADIC = Numbers(
    quantity=_pick(1.0, -1.0, 2.0, -2.0, 4.0, -8.0, 0.5, -3.0, 6.0, 0.0),
    order=_pick(0.0, 1.0, 2.0, 5.0, 0.5),
    mark=_pick(8.0, 16.0, 12.0, 10.0, 24.0, 1.0),
    inverse_mark=_pick(8.0, 16.0, 4.0, 2.0),
    move=_pick(1.0, 1.0, 1.0, 0.5, 2.0, 0.25),
    contract_size=_pick(1.0, 2.0, 0.5),
    asset_price=_pick(1.0, 2.0, 0.5, 4.0),
    share=_pick(0.0, 0.125, 0.25, 0.5, 1.0, 1.0, 2.0, 4.0, -0.0625, -0.5),
    leverage=_pick(1.0, 2.0, 8.0, 0.5),
    floor=_pick(1.0, 2.0, 8.0, 16.0, 20.0, 48.0, 96.0),
    rate=_pick(0.0, 0.0625, 0.0625, 0.125, 0.25, 0.5, 1.0),
    weight=_pick(1.0, 0.875, 0.5, 0.25, 0.0),
    liability_weight=_pick(1.0, 1.25, 0.5, 0.0, 2.0),
    level=_pick(1.0, 1.0, 1.25, 0.5, 0.0, 4.0),
    profit_weight=_pick(1.0, 0.5, 0.0, 0.75),
    fee_rate=_pick(0.0, 0.015625, 0.0625, 0.25),
    multiplier=_pick(1.0, 0.5, 2.0, 0.125),
    rung=_pick(0.5, 1.0, 1.25, 1.5, 2.0, 4.0),
)

#: Sensible sizes, round decimals, and what a generous double can do to both.
UGLY = Numbers(
    quantity=_pick(0.1, -0.3, 0.2, 1.0, -7.0, -1e6, 1e-6, 0.0, *_ALMOST_OPPOSITE)
    | _sized(1e-9, 1e4)
    | _sized(1e-9, 1e4).map(lambda size: -size),
    order=_pick(0.0, 0.1, 3.0, 1e5) | _sized(1e-9, 1e3),
    mark=_pick(0.1, 1.0, 97.566, 76497.0, 1e-9, 1e12) | _sized(1e-3, 1e5),
    inverse_mark=_pick(0.1, 97.566, 76497.0, 1e-6) | _sized(1e-3, 1e5),
    move=_pick(1.0, 1.0, 0.9, 1.1, 3.0) | _sized(0.5, 2.0),
    contract_size=_pick(1.0, 100.0, 0.001, 1.0),
    asset_price=_pick(1.0, 0.9998, 76535.0, 0.05) | _sized(1e-6, 1e6),
    share=_pick(0.0, 0.05, 0.1, 0.5, 1.0, 2.0, 3.0, -0.01, -0.3) | _sized(1e-9, 4.0),
    leverage=_pick(1.0, 3.0, 10.0, 125.0, 0.1),
    floor=_pick(1.0, 10.0, 5e4, 3e6, 150e6) | _sized(0.01, 1e9),
    rate=_pick(0.0, 0.004, 0.0125, 0.05, 1 / 3, 1.0) | _sized(1e-9, 0.25),
    weight=_pick(1.0, 0.95, 0.9, 0.5, 0.0) | _sized(1e-9, 1.0),
    liability_weight=_pick(1.0, 1.05, 0.0) | _sized(1e-9, 3.0),
    level=_pick(1.0, 1.05, 1.1, 0.0, 100.0),
    profit_weight=_pick(1.0, 0.9, 0.5, 0.0),
    fee_rate=_pick(0.0, 0.0005, 0.00075, 0.06, 1.0) | _sized(1e-9, 0.1),
    multiplier=_pick(1.0, 1e-6, 0.0001, 50.0) | _sized(1e-6, 10.0),
    rung=_pick(0.7, 1.0, 1.05, 1.2, 2.0) | _sized(1e-3, 1e3),
)


def rulesets(
    draw: st.DrawFn,
    numbers: Numbers,
    tables: list[str],
    assets: list[str],
    only: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a ruleset with a table for every instrument and asset, and one that all may share.

    `only` gives keys by name, values as they are or as strategies; every other key keeps its
    default, and so does the ladder.
    """
    rules: dict[str, Any] = {"id": "random"}
    for section, keys in DEFAULTS.items():
        if only is not None:
            chosen = {key: _value(draw, only[key]) for key in keys if key in only}
        else:
            present = draw(_OFTEN)
            chosen = {key: draw(_any_value(key, numbers)) for key in keys} if present else {}
        if chosen:
            rules[section] = chosen
    if only is None or "ladder" in only:
        rules["ladder"] = _ladder(draw, numbers, 0 if only is None else 1)
    return rules | _tables(draw, numbers, tables, assets)


def _value(draw: st.DrawFn, given: Any) -> Any:
    return draw(given) if isinstance(given, st.SearchStrategy) else given


def _any_value(key: str, numbers: Numbers) -> st.SearchStrategy[Any]:
    if key in WORDS:
        return st.sampled_from(WORDS[key])
    other: dict[str, st.SearchStrategy[Any]] = {
        "valuation_asset": st.just("USD"),
        "profit_weight": numbers.profit_weight,
        "level": numbers.level,
    }
    return other[key]


def _ladder(draw: st.DrawFn, numbers: Numbers, least: int) -> list[dict[str, Any]]:
    rungs = draw(st.lists(numbers.rung, min_size=least, max_size=3, unique=True))
    return [
        {"name": f"rung {number}", "margin_level_below": below}
        for number, below in enumerate(sorted(rungs, reverse=True))
    ]


def _tables(
    draw: st.DrawFn, n: Numbers, tables: list[str], assets: list[str]
) -> dict[str, list[dict[str, Any]]]:
    tiers, weights = [], []
    for table in [*tables, SHARED_TABLE]:
        for floor in _floors(draw, n, 4):
            rates = {"maintenance_rate": draw(n.rate), "initial_rate": draw(n.rate)}
            tiers.append({"tier_table": table, "floor": floor, **rates})
    for table in [*assets, SHARED_TABLE]:
        for floor in _floors(draw, n, 3):
            row = {"weight_table": table, "floor": floor, "maintenance_weight": draw(n.weight)}
            if draw(st.booleans()):
                row["initial_weight"] = draw(n.weight)
            if draw(st.booleans()):
                row["liability_weight"] = draw(n.liability_weight)
                row["borrow_maintenance_rate"] = draw(n.rate)
                row["borrow_initial_rate"] = draw(n.rate)
            weights.append(row)
    return {"tiers": tiers, "weights": weights}


def _floors(draw: st.DrawFn, numbers: Numbers, most: int) -> list[float]:
    return [0.0, *sorted(draw(st.lists(numbers.floor, max_size=most - 1, unique=True)))]
