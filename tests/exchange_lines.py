"""Exchanges without rounding: are all their figures exact in doubles, and do they tie.

`is_exact` says whether the quotients that some rules ask for (an average entry, a bankruptcy
price) are short binary fractions too. `on_the_line` pays in what buckets lack, so that buffers are
exactly 0 and ties are real.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from reference_bucket import evaluate, fee_values
from reference_inputs import Bucket, World, build_buckets, build_world
from reference_requirement import requirement_value

if TYPE_CHECKING:
    from exchanges import Exchange

_SHORT = 2**30


def is_exact(exchange: Exchange) -> bool:
    """Return whether average entries and bankruptcy prices lose nothing as doubles.

    Of an inverse contract the reciprocal must be short too: both are prices of something. A
    bankruptcy price divides by the net quantity, at whatever point: that must be a power of two.
    """
    world, buckets = _built(exchange)
    quotients: list[tuple[Any, Fraction]] = []
    for bucket in buckets:
        for rows in bucket.sides(world.rule["netting"]):
            instrument = rows[0].instrument_id
            value = world.marks()[instrument]
            quotients.append((instrument, requirement_value(rows, value, world)))
        for instrument, value in fee_values(bucket, world.marks(), world).items():
            quotients.append((instrument, value))
            net, _ = bucket.net_and_gross(instrument)
            if net and value and world.rule["close_fee"] == "bankruptcy":
                quotients.append((instrument, 1 / net))
    return all(
        _is_short(value)
        and (world.kind(instrument) != "inverse" or value == 0 or _is_short(1 / value))
        for instrument, value in quotients
    )


def _is_short(value: Fraction) -> bool:
    """Return whether a number is a small multiple of a power of two, so that products are exact."""
    bits = value.denominator.bit_length() - 1
    return value.denominator == 1 << bits and bits <= 24 and abs(value.numerator) < _SHORT


def _built(exchange: Exchange) -> tuple[World, list[Bucket]]:
    world = build_world(exchange.instruments, exchange.assets, exchange.rules)
    return world, build_buckets(exchange.positions, exchange.balances, world)


def lacks(exchange: Exchange) -> dict[tuple[Any, str], Fraction]:
    """Return the margin buffer of each bucket with the sign turned: what it lacks."""
    world, buckets = _built(exchange)
    return {
        (bucket.account_id, bucket.label): -evaluate(bucket, world.marks(), world)["margin_buffer"]
        for bucket in buckets
    }


def on_the_line(exchange: Exchange) -> Exchange:
    """Return it with money paid into the buckets that lack some, until buffers are exactly 0.

    Pays what is lacking, then once more along the straight line through the two outcomes: what is
    paid in may be weighted, and moves a fee charged at the bankruptcy price. Returns the exchange
    as it was where the figures would no longer be exact.
    """
    short = {key: lack for key, lack in lacks(exchange).items() if lack > 0}
    paid = dict(short)
    once = _with_payments(exchange, paid)
    for key, left in lacks(once).items():
        if key in short and left and left != short[key]:
            paid[key] = max(Fraction(0), short[key] * paid[key] / (short[key] - left))
    if not all(_is_short(amount) for amount in paid.values()):
        return once if is_exact(once) else exchange
    twice = _with_payments(exchange, paid)
    return twice if is_exact(twice) else exchange


def _with_payments(exchange: Exchange, paid: dict[tuple[Any, str], Fraction]) -> Exchange:
    """Return it with that much value paid into each bucket; cash where one bucket holds all."""
    cash: Any = "cash" if isinstance(exchange.assets[0]["asset_id"], str) else 99
    world, buckets = _built(exchange)
    positions = [dict(row) for row in exchange.positions]
    added = []
    for bucket in buckets:
        value = paid.get((bucket.account_id, bucket.label), Fraction(0))
        if not value:
            continue
        if bucket.isolated:
            row = bucket.rows[0]
            price = world.settle_price(row.instrument_id)
            positions[row.index]["isolated_margin"] += float(value / price)
            continue
        asset, price = cash, Fraction(1)
        if world.rule["pooling"] == "settle_asset":
            held = [world.instruments[row.instrument_id]["settle_asset"] for row in bucket.rows]
            asset = [*held, *bucket.balances][0]
            price = Fraction(world.assets[asset]["price"])
        amount = float(value / price)
        added.append({"account_id": bucket.account_id, "asset_id": asset, "amount": amount})
    weight = {"weight_table": str(cash), "maintenance_weight": 1.0}
    return replace(
        exchange,
        positions=positions,
        balances=[*exchange.balances, *added],
        assets=[*exchange.assets, {"asset_id": cash, "price": 1.0}],
        rules={**exchange.rules, "weights": [*exchange.rules["weights"], weight]},
    )
