"""Random exchanges close to their lines and corners, so that moves reach something.

`near` takes an exchange and draws floors of tiers and weights around the sizes that it has, and
money paid into (or owed by) its buckets so that their buffers are a share of what they hold. What
was free of rounding stays free of it, up to buffers that are no short binary fractions.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from exchanges import Exchange, Rows
from reference_bucket import evaluate, joined_values
from reference_inputs import ZERO, Bucket, World, build_buckets, build_world
from reference_requirement import own_needs, requirement_value, tier_unit

#: Where floors lie, of a size that there is.
FLOORS = (0.875, 1.125, 0.75, 1.25, 0.5, 1.5, 1.0, 2.0, 0.25, 3.0, 6.0)
#: What buffers are, of the gross notional.
BUFFERS = (0.125, 0.03125, 0.0625, 0.25, 0.375, 0.5, 0.75, 2.0)
LARGEST = 1e16
_OFTEN = st.sampled_from([True, True, True, False])


@st.composite
def near(draw: st.DrawFn, exchange: Exchange) -> Exchange:
    """Draw the exchange with floors and balances around what it holds."""
    world, buckets = _built(exchange)
    sizes: dict[str, list[float]] = {}
    values: dict[str, list[float]] = {}
    for bucket in buckets:
        for table, size in _sizes(bucket, world):
            sizes.setdefault(table, []).append(size)
        for asset, value in joined_values(bucket, world.marks(), world)[0].items():
            named = world.assets[asset].get("weight_table")
            table = str(asset if named is None else named)
            values.setdefault(table, []).append(abs(float(value)))
    rules = {
        **exchange.rules,
        "tiers": _with_floors(draw, exchange.rules["tiers"], "tier_table", sizes),
        "weights": _with_floors(draw, exchange.rules["weights"], "weight_table", values),
    }
    return _with_buffers(draw, replace(exchange, rules=rules))


def _built(exchange: Exchange) -> tuple[World, list[Bucket]]:
    world = build_world(exchange.instruments, exchange.assets, exchange.rules)
    return world, build_buckets(exchange.positions, exchange.balances, world)


def _sizes(bucket: Bucket, world: World) -> list[tuple[str, float]]:
    """Return the tier table of each side and its size on the tier basis."""
    marks, out = world.marks(), []
    for need in own_needs(bucket, marks, dict.fromkeys(marks, ZERO), world):
        instrument = need.instrument_id
        value = requirement_value(need.rows, marks[instrument], world)
        size = need.kept * tier_unit(instrument, value, world)
        out.append((need.rows[0].tier_table, float(size)))
    return out


def _with_floors(draw: st.DrawFn, rows: Rows, name: str, sizes: dict[str, list[float]]) -> Rows:
    """Return the tables with floors around the sizes that they are asked for."""
    out: Rows = []
    for table in dict.fromkeys(row[name] for row in rows):
        own = [row for row in rows if row[name] == table]
        found = [size for size in sizes.get(str(table), []) if 1e-9 < size < LARGEST]
        is_moved: bool = draw(_OFTEN)
        if found and is_moved:
            size = draw(st.sampled_from(found))
            shares = draw(st.lists(st.sampled_from(FLOORS), min_size=1, max_size=3, unique=True))
            floors = [0.0, *(size * share for share in sorted(shares))]
            own = [{**own[k % len(own)], "floor": floor} for k, floor in enumerate(floors)]
        out += own
    return out


def _with_buffers(draw: st.DrawFn, exchange: Exchange) -> Exchange:
    """Return it with money added to buckets, so that their buffers are small beside them."""
    world, buckets = _built(exchange)
    cash: Any = "cash" if isinstance(exchange.assets[0]["asset_id"], str) else 99
    positions = [dict(row) for row in exchange.positions]
    added: Rows = []
    for bucket in buckets:
        figures = evaluate(bucket, world.marks(), world)
        if not figures["gross_notional"] or not draw(_OFTEN):
            continue
        share = Fraction(draw(st.sampled_from(BUFFERS)))
        lack = share * figures["gross_notional"] - figures["margin_buffer"]
        if abs(lack) > LARGEST:
            continue
        first = bucket.rows[0]
        settled = world.instruments[first.instrument_id]["settle_asset"]
        if bucket.isolated:
            posted = first.isolated_margin + lack / world.settle_price(first.instrument_id)
            # Posted margin owes nothing here: that would ask for a weight table.
            positions[first.index]["isolated_margin"] = float(max(ZERO, posted))
        elif world.rule["pooling"] == "all":
            added.append({"account_id": bucket.account_id, "asset_id": cash, "amount": float(lack)})
        else:
            amount = float(lack / world.settle_price(first.instrument_id))
            added.append({"account_id": bucket.account_id, "asset_id": settled, "amount": amount})
    weight = {"weight_table": str(cash), "maintenance_weight": 1.0}
    stable = {"asset_id": cash, "price": 1.0, "is_stable": draw(st.booleans())}
    return replace(
        exchange,
        positions=positions,
        balances=[*exchange.balances, *added],
        assets=[*exchange.assets, stable],
        rules={**exchange.rules, "weights": [*exchange.rules["weights"], weight]},
    )
