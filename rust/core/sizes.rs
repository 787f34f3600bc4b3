//! One instrument of a bucket: its sizes, one for each tier table, and what they require.

use crate::block::Bucket;
use crate::marks::{Mark, Marks};
use crate::rules::{Initial, Rules};
use crate::tiers::tier_at;

/// One instrument of a bucket, all its rows together, settle asset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holding {
    /// Profit of all rows.
    pub profit: f64,
    /// Sizes that are margined.
    pub gross_notional: f64,
    /// Signed notional.
    pub net_notional: f64,
    /// Longs and shorts, before netting.
    pub two_sided_notional: f64,
    /// Maintenance requirement.
    pub maintenance: f64,
    /// Initial requirement.
    pub initial: f64,
    /// Whether a row has a quantity other than 0.
    pub is_open: bool,
}

/// Rows of one instrument and tier table in a bucket: one size.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// Net contracts.
    pub quantity: f64,
    /// Contracts to buy and to sell.
    pub orders: [f64; 2],
    /// Smallest leverage, +inf for none.
    pub leverage: f64,
    /// Contracts without their sign.
    pub gross: f64,
    /// Code of the tier table.
    pub tiers: u32,
}

impl Side {
    /// Sums merged rows of one instrument and table.
    #[inline]
    fn sum(bucket: &Bucket<'_>, rows: impl Iterator<Item = usize>, tiers: u32) -> Self {
        let mut side =
            Self { quantity: 0.0, orders: [0.0; 2], leverage: f64::INFINITY, gross: 0.0, tiers };
        for row in rows {
            let [buy, sell] = bucket.orders_of(row);
            side.quantity += bucket.quantity[row];
            side.gross += bucket.quantity[row].abs();
            side.orders[0] += buy;
            side.orders[1] += sell;
            side.leverage = side.leverage.min(bucket.leverage_of(row));
        }
        side
    }

    /// Contracts if the worse of its orders were filled: `max(|Q + buy|, |Q - sell|)`.
    #[inline]
    pub fn worst_fill(&self) -> f64 {
        (self.quantity + self.orders[0]).abs().max((self.quantity - self.orders[1]).abs())
    }

    /// Tier and maintenance requirement, settle asset.
    #[inline]
    pub fn maintenance(&self, mark: &Mark, rules: &Rules) -> (usize, f64) {
        let size = self.quantity.abs() * mark.value;
        let table = rules.tiers.table(self.tiers);
        let tier = tier_at(table, size);
        (tier, table[tier].maintenance.at(size))
    }

    /// Initial requirement at the worst fill of its orders, settle asset.
    #[inline]
    pub fn initial(&self, mark: &Mark, rules: &Rules) -> f64 {
        let size = self.worst_fill() * mark.value;
        let by_tier = || {
            let table = rules.tiers.table(self.tiers);
            table[tier_at(table, size)].initial.at(size)
        };
        match rules.conventions.initial {
            Initial::Tier => by_tier(),
            _ if self.leverage == f64::INFINITY => by_tier(),
            Initial::Leverage => size / self.leverage,
            Initial::Larger => by_tier().max(size / self.leverage),
        }
    }
}

/// The sizes of the instrument that `rows` hold, one for each tier table.
///
/// A row that names no table is one size with a row that names the instrument's.
#[inline]
pub fn sides(
    bucket: &Bucket<'_>,
    rows: std::ops::Range<usize>,
    marks: &Marks,
) -> impl Iterator<Item = Side> {
    let mark = &marks.instruments[bucket.instrument[rows.start] as usize];
    let tiers = move |row: usize| marks.tiers(mark, bucket.table_of(row));
    rows.clone().filter_map(move |row| {
        let table = tiers(row);
        let is_first = (rows.start..row).all(|earlier| tiers(earlier) != table);
        let its = (row..rows.end).filter(|other| tiers(*other) == table);
        is_first.then(|| Side::sum(bucket, its, table))
    })
}

/// Sums the rows `rows` of one instrument.
#[inline]
pub fn holding(
    bucket: &Bucket<'_>,
    rows: std::ops::Range<usize>,
    marks: &Marks,
    rules: &Rules,
) -> Holding {
    let mark = &marks.instruments[bucket.instrument[rows.start] as usize];
    let mut holding = Holding::default();
    for row in rows.clone() {
        holding.profit +=
            mark.profit(bucket.quantity[row], bucket.cost[row], bucket.inverse_cost[row]);
    }
    for side in sides(bucket, rows, marks) {
        holding.is_open |= side.gross > 0.0;
        holding.two_sided_notional += side.gross * mark.value;
        holding.gross_notional += side.quantity.abs() * mark.value;
        holding.net_notional += side.quantity * mark.value;
        holding.maintenance += side.maintenance(mark, rules).1;
        holding.initial += side.initial(mark, rules);
    }
    holding
}
