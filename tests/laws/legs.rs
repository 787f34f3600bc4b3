//! The sizes of one instrument of a bucket and what they require, from the words of the contract:
//! only to know where a requirement bends as the mark moves.

use std::ops::Range;

use margrave_core::block::Bucket;
use margrave_core::conventions::{CloseFee, Netting, OpenOrders, PriceBasis, TierBasis};
use margrave_core::market::Kind;
use margrave_core::marks::{Mark, Marks};
use margrave_core::rules::Rules;
use margrave_core::sizes::Fee;
use margrave_core::tiers::tier_at;

/// One size. What it requires is a straight line in the contract's value for each tier.
pub(crate) struct Leg {
    table: u32,
    is_short: bool,
    /// Values at which a tier begins.
    pub(crate) floors: Vec<f64>,
    /// What each tier requires: at value 0, and for each unit more.
    lines: Vec<[f64; 2]>,
}

/// Rows of one size, summed.
#[derive(Default)]
struct Sum {
    quantity: f64,
    gross: f64,
    entry: f64,
    orders: [f64; 2],
}

/// The sizes of the instrument that `rows` hold; a long and a short one of a table are
/// neighbours.
pub(crate) fn legs(
    held: &Bucket<'_>,
    rows: Range<usize>,
    marks: &Marks,
    rules: &Rules,
    fee: Fee,
) -> Vec<Leg> {
    let mark = &marks.instruments[held.instrument[rows.start] as usize];
    let is_apart = rules.conventions.netting != Netting::Net;
    let key =
        |row: usize| (marks.tiers(mark, held.table_of(row)), is_apart && held.quantity[row] < 0.0);
    let mut keys: Vec<(u32, bool)> = rows.clone().map(key).collect();
    keys.sort_unstable();
    keys.dedup();
    let leg = |(table, is_short)| {
        let mut sum = Sum::default();
        for row in rows.clone().filter(|row| key(*row) == (table, is_short)) {
            let [buy, sell] = held.orders_of(row);
            sum.quantity += held.quantity[row];
            sum.gross += held.quantity[row].abs();
            sum.entry += mark.cost(held.cost[row], held.inverse_cost[row]).abs();
            sum.orders = [sum.orders[0] + buy, sum.orders[1] + sell];
        }
        Leg::new(table, is_short, &sum, mark, rules, fee)
    };
    keys.into_iter().map(leg).collect()
}

impl Leg {
    fn new(table: u32, is_short: bool, sum: &Sum, mark: &Mark, rules: &Rules, fee: Fee) -> Self {
        let conventions = &rules.conventions;
        let [buy, sell] = sum.orders;
        let size = match conventions.open_orders {
            OpenOrders::Both => (sum.quantity + buy).abs().max((sum.quantity - sell).abs()),
            OpenOrders::Initial | OpenOrders::None => sum.quantity.abs(),
        };
        let at_entry = conventions.price_basis == PriceBasis::Entry && sum.gross > 0.0;
        let value = if at_entry { sum.entry / sum.gross } else { mark.value };
        let is_inverse = mark.kind == Kind::Inverse;
        let (unit, moves) = match conventions.tier_basis {
            TierBasis::Notional => (value, !at_entry),
            TierBasis::Base if is_inverse => (value, !at_entry),
            TierBasis::Base => (mark.contract_size, false),
            TierBasis::Contracts => (1.0, false),
        };
        let tiers = rules.tiers.table(table);
        let by_tier = tiers.iter().map(|tier| {
            let (rate, deduction) = (tier.maintenance.rate, tier.maintenance.deduction);
            let required = (size * unit * rate - deduction) / unit;
            match (moves, at_entry) {
                (true, _) => [-deduction, size * rate],
                (false, true) => [required * value, 0.0],
                (false, false) => [0.0, required],
            }
        });
        let [constant, slope] = match conventions.close_fee {
            CloseFee::None => [0.0, 0.0],
            CloseFee::Mark => [0.0, size * mark.close_fee_rate],
            CloseFee::Bankruptcy => [fee.of(size), 0.0],
        };
        let lines: Vec<[f64; 2]> = by_tier.map(|[c, s]| [c + constant, s + slope]).collect();
        if moves {
            let floors = tiers[1..].iter().map(|tier| tier.floor / size).collect();
            Self { table, is_short, floors, lines }
        } else {
            let tier = tier_at(tiers, size * unit, conventions.tier_edge);
            Self { table, is_short, floors: Vec::new(), lines: vec![lines[tier]] }
        }
    }

    /// Values at which this size and another of the same table may require the same.
    pub(crate) fn crossings(&self, other: &Self) -> Vec<f64> {
        if self.table != other.table || self.is_short == other.is_short {
            return Vec::new();
        }
        let pairs = self.lines.iter().flat_map(|a| other.lines.iter().map(move |b| (a, b)));
        pairs.map(|(a, b)| (b[0] - a[0]) / (a[1] - b[1])).collect()
    }
}
