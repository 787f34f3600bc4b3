//! What a side of positions must hold, by plain arithmetic: sizes, tiers, leverage, closing fee.

use margrave_core::conventions::{
    CloseFee, Conventions, Initial, Netting, OpenOrders, PriceBasis, TierBasis, TierEdge, TierMode,
};
use margrave_core::market::Kind;
use margrave_core::tiers::TierRow;

use crate::night::{Instrument, Night, Position};

/// The value of one contract at a price, settle asset: of an option, that of its underlying.
pub(crate) fn value(terms: &Instrument, price: f64) -> f64 {
    match terms.kind {
        Kind::Linear => terms.size * price,
        Kind::Inverse => terms.size / price,
        Kind::Quanto => terms.size * terms.multiplier * price,
        Kind::Call | Kind::Put => terms.size * terms.underlying,
    }
}

/// The sizes of a side, contracts, and the price that its requirement is worked out at.
struct Sizes {
    kept: f64,
    opened: f64,
    at: f64,
}

/// Where a size stands: its measure on the tier basis, notional, tier from 0, and whether rounding
/// may have carried it over a floor.
struct Place {
    x: f64,
    notional: f64,
    tier: usize,
    is_near: bool,
}

impl Night {
    fn sizes(&self, terms: &Instrument, side: &[&Position], mark: f64) -> Sizes {
        let rules = &self.conventions;
        let quantity: f64 = side.iter().map(|row| row.quantity).sum();
        let buy: f64 = side.iter().map(|row| row.buy).sum();
        let sell: f64 = side.iter().map(|row| row.sell).sum();
        let filled = (quantity + buy).abs().max((quantity - sell).abs());
        let kept = if rules.open_orders == OpenOrders::Both { filled } else { quantity.abs() };
        let opened = if rules.open_orders == OpenOrders::None { quantity.abs() } else { filled };
        let at = match rules.price_basis {
            PriceBasis::Entry if !terms.kind.is_option() => average(terms, side).unwrap_or(mark),
            _ => mark,
        };
        Sizes { kept, opened, at }
    }

    /// The tier that a row shows, from 1; None where rounding decides, and of options.
    pub(crate) fn tier_of(&self, rows: &[&Position], row: &Position) -> Option<i64> {
        let terms = &self.instruments[row.instrument];
        let is_its = |other: &&&Position| {
            other.instrument == row.instrument
                && other.table == row.table
                && (self.conventions.netting == Netting::Net
                    || (other.quantity >= 0.0) == (row.quantity >= 0.0))
        };
        let side: Vec<&Position> = rows.iter().filter(is_its).copied().collect();
        let Sizes { kept, at, .. } = self.sizes(terms, &side, terms.mark);
        let place = place(&self.conventions, terms, &self.tiers[row.table], kept, at);
        (!place.is_near && !terms.kind.is_option()).then_some(place.tier as i64 + 1)
    }

    /// What a side must hold to keep and to open, settle asset; and whether it is at a floor.
    pub(crate) fn side(
        &self,
        terms: &Instrument,
        side: &[&Position],
        mark: f64,
        bankruptcy: Option<f64>,
    ) -> (f64, f64, bool) {
        let rules = &self.conventions;
        let quantity: f64 = side.iter().map(|row| row.quantity).sum();
        if terms.kind.is_option() && quantity >= 0.0 {
            return (0.0, 0.0, false);
        }
        let Sizes { kept, opened, at } = self.sizes(terms, side, mark);
        let table = &self.tiers[side[0].table];
        let (keep, open) =
            (place(rules, terms, table, kept, at), place(rules, terms, table, opened, at));
        let mut maintenance = by_tier(rules, table, &keep, |row| row.maintenance_rate);
        let by_rate = by_tier(rules, table, &open, |row| row.initial_rate);
        let least = side.iter().filter_map(|row| row.leverage).reduce(f64::min);
        let initial = match (rules.initial, least) {
            (Initial::Leverage, Some(leverage)) => open.notional / leverage,
            (Initial::Larger, Some(leverage)) => by_rate.max(open.notional / leverage),
            _ => by_rate,
        };
        maintenance += match rules.close_fee {
            CloseFee::None => 0.0,
            CloseFee::Bankruptcy if !terms.kind.is_option() => {
                bankruptcy.map_or(0.0, |price| kept * value(terms, price) * terms.fee)
            }
            CloseFee::Mark | CloseFee::Bankruptcy => kept * value(terms, mark) * terms.fee,
        };
        let is_slab = rules.tier_mode == TierMode::Slab;
        (maintenance, initial, is_slab && (keep.is_near || open.is_near))
    }
}

/// The entry that keeps the value at entry; None where nothing is held.
fn average(terms: &Instrument, side: &[&Position]) -> Option<f64> {
    let held: f64 = side.iter().map(|row| row.quantity.abs()).sum();
    let entry = match terms.kind {
        Kind::Inverse => held / side.iter().map(|row| row.quantity.abs() / row.entry).sum::<f64>(),
        _ => side.iter().map(|row| row.quantity.abs() * row.entry).sum::<f64>() / held,
    };
    (held > 0.0).then_some(entry)
}

/// Where a size of so many contracts stands in a table.
fn place(
    rules: &Conventions,
    terms: &Instrument,
    table: &[TierRow],
    contracts: f64,
    at: f64,
) -> Place {
    let notional = contracts * value(terms, at);
    let x = match (rules.tier_basis, terms.kind) {
        (TierBasis::Notional, _) => notional,
        (TierBasis::Base, Kind::Inverse) => contracts * terms.size / at,
        (TierBasis::Base, _) => contracts * terms.size,
        (TierBasis::Contracts, _) => contracts,
    };
    let is_in = |row: &&TierRow| match rules.tier_edge {
        TierEdge::Upper => row.floor <= x,
        TierEdge::Lower => row.floor < x,
    };
    let tier = table.iter().filter(is_in).count().max(1) - 1;
    // Exactly at a floor is for the edge to decide, where nothing was rounded on the way there.
    let last = match terms.kind {
        Kind::Inverse => f64::NAN,
        Kind::Linear => 1.0,
        Kind::Quanto => terms.multiplier,
        Kind::Call | Kind::Put => terms.underlying,
    };
    let is_exact = [contracts, at, terms.size, last].into_iter().all(is_short);
    let at_floor = |row: &TierRow| (x - row.floor).abs() <= 1e-9 * x;
    let is_near =
        table.iter().any(|row| row.floor > 0.0 && at_floor(row) && !(is_exact && x == row.floor));
    Place { x, notional, tier, is_near }
}

/// A requirement by tier, settle asset.
fn by_tier(
    rules: &Conventions,
    table: &[TierRow],
    place: &Place,
    rate: fn(&TierRow) -> f64,
) -> f64 {
    let x = place.x;
    if x == 0.0 {
        return 0.0;
    }
    let mut required = 0.0;
    if rules.tier_mode == TierMode::Slab {
        required = x * rate(&table[place.tier]);
    } else {
        for (i, row) in table.iter().enumerate() {
            let end = table.get(i + 1).map_or(f64::INFINITY, |next| next.floor);
            required += (x.min(end) - row.floor).max(0.0) * rate(row);
        }
    }
    required * place.notional / x
}

/// Whether products of a few such numbers are exact.
fn is_short(number: f64) -> bool {
    number < 1024.0 && (number * 64.0).fract() == 0.0
}
