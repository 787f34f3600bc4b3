//! One instrument of a bucket: its sizes, and what they require.
//!
//! Rows with the same tier table are one size, or a long and a short one, as `netting` says.
//! `requirements` gives each size with its tier and both requirements.

use std::ops::Range;

use crate::bankruptcy::{BankruptcyValue, Net};
use crate::block::Bucket;
use crate::conventions::{
    CloseFee, Conventions, Initial, Netting, OpenOrders, PriceBasis, TierBasis,
};
use crate::market::Kind;
use crate::marks::{Mark, Marks};
use crate::rules::Rules;
use crate::tiers::{Line, tier_at};

/// Rows of one instrument and tier table in a bucket that are one size.
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
    /// What the contracts cost at entry without their sign, settle asset.
    pub entry: f64,
    /// Code of the tier table.
    pub tiers: u32,
}

/// What one contract of a side is margined as.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// Notional, settle asset.
    pub value: f64,
    /// Size on the tier basis.
    pub size: f64,
}

impl Unit {
    /// What a requirement on the tier basis is in the settle asset: notional over size.
    #[inline]
    pub fn scale(self) -> f64 {
        if self.size == self.value { 1.0 } else { self.value / self.size }
    }

    /// What `contracts` must hold by a tier's line, settle asset.
    #[inline]
    pub fn require(self, line: Line, contracts: f64) -> f64 {
        line.at(contracts * self.size) * self.scale()
    }
}

/// The fee to close `per` contracts, settle asset.
#[derive(Clone, Copy, Debug)]
pub struct Fee {
    /// Of so many contracts.
    pub per: f64,
    /// Their fee.
    pub amount: f64,
}

impl Fee {
    const NOTHING: Self = Self { per: 1.0, amount: 0.0 };

    /// The fee that maintenance counts for this instrument.
    ///
    /// `rest` is what everything else in the bucket is worth, valuation asset; with `net` it is
    /// asked for where the fee is that at bankruptcy.
    #[inline]
    pub fn new(mark: &Mark, net: impl FnOnce() -> Net, rest: f64, rules: &Rules) -> Self {
        let rate = mark.close_fee_rate;
        match rules.conventions.close_fee {
            CloseFee::None => Self::NOTHING,
            CloseFee::Bankruptcy if !mark.kind.is_option() => {
                let at = BankruptcyValue::new(mark, net(), rest);
                at.map_or(Self::NOTHING, |at| Self { per: at.contracts, amount: at.amount * rate })
            }
            CloseFee::Mark | CloseFee::Bankruptcy => Self { per: 1.0, amount: mark.value * rate },
        }
    }

    /// The fee to close so many contracts.
    #[inline]
    pub fn of(self, contracts: f64) -> f64 {
        if self.amount == 0.0 { 0.0 } else { self.amount * (contracts / self.per) }
    }
}

impl Side {
    /// Sums merged rows of one instrument and table.
    #[inline]
    fn sum(
        bucket: &Bucket<'_>,
        rows: impl Iterator<Item = usize>,
        mark: &Mark,
        tiers: u32,
    ) -> Self {
        let mut side = Self {
            quantity: 0.0,
            orders: [0.0; 2],
            leverage: f64::INFINITY,
            gross: 0.0,
            entry: 0.0,
            tiers,
        };
        for row in rows {
            let [buy, sell] = bucket.orders_of(row);
            side.quantity += bucket.quantity[row];
            side.gross += bucket.quantity[row].abs();
            side.entry += mark.cost(bucket.cost[row], bucket.inverse_cost[row]).abs();
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

    /// Contracts that the maintenance requirement sees.
    #[inline]
    pub fn kept(&self, conventions: &Conventions) -> f64 {
        match conventions.open_orders {
            OpenOrders::Both => self.worst_fill(),
            OpenOrders::Initial | OpenOrders::None => self.quantity.abs(),
        }
    }

    /// Contracts that the initial requirement sees.
    #[inline]
    pub fn opened(&self, conventions: &Conventions) -> f64 {
        match conventions.open_orders {
            OpenOrders::None => self.quantity.abs(),
            OpenOrders::Initial | OpenOrders::Both => self.worst_fill(),
        }
    }

    /// Whether anything is required of it: of an option only if it is short.
    #[inline]
    pub fn is_margined(&self, mark: &Mark) -> bool {
        !mark.kind.is_option() || self.quantity < 0.0
    }

    /// What one contract is margined as: by the mark or by the average entry.
    #[inline]
    pub fn unit(&self, mark: &Mark, conventions: &Conventions) -> Unit {
        let by_entry = conventions.price_basis == PriceBasis::Entry
            && !mark.kind.is_option()
            && self.gross > 0.0;
        let value = if by_entry { self.entry / self.gross } else { mark.value };
        let size = match conventions.tier_basis {
            TierBasis::Base if mark.kind != Kind::Inverse => mark.contract_size,
            TierBasis::Notional | TierBasis::Base => value,
            TierBasis::Contracts => 1.0,
        };
        Unit { value, size }
    }

    /// Tier of the maintenance size, from 0, and maintenance requirement, settle asset.
    #[inline]
    fn maintenance(&self, mark: &Mark, rules: &Rules, fee: Fee) -> (usize, f64) {
        let conventions = &rules.conventions;
        let (unit, contracts) = (self.unit(mark, conventions), self.kept(conventions));
        let table = rules.tiers.table(self.tiers);
        let tier = tier_at(table, contracts * unit.size, conventions.tier_edge);
        if !self.is_margined(mark) {
            return (tier, 0.0);
        }
        (tier, unit.require(table[tier].maintenance, contracts) + fee.of(contracts))
    }

    /// Initial requirement, settle asset.
    #[inline]
    fn initial(&self, mark: &Mark, rules: &Rules) -> f64 {
        if !self.is_margined(mark) {
            return 0.0;
        }
        let conventions = &rules.conventions;
        let (unit, contracts) = (self.unit(mark, conventions), self.opened(conventions));
        let by_tier = || {
            let table = rules.tiers.table(self.tiers);
            let tier = tier_at(table, contracts * unit.size, conventions.tier_edge);
            unit.require(table[tier].initial, contracts)
        };
        match conventions.initial {
            Initial::Tier => by_tier(),
            _ if self.leverage == f64::INFINITY => by_tier(),
            Initial::Leverage => contracts * unit.value / self.leverage,
            Initial::Larger => by_tier().max(contracts * unit.value / self.leverage),
        }
    }
}

/// The sizes of the instrument that `rows` hold: one for each tier table, or a long one and a
/// short one after it. Rows of quantity 0 are with the longs.
///
/// A row that names no table is one size with a row that names the instrument's.
#[inline]
pub fn sides(
    bucket: &Bucket<'_>,
    rows: Range<usize>,
    marks: &Marks,
    netting: Netting,
) -> impl Iterator<Item = Side> {
    let mark = &marks.instruments[bucket.instrument[rows.start] as usize];
    let tiers = move |row: usize| marks.tiers(mark, bucket.table_of(row));
    rows.clone().flat_map(move |row| {
        let table = tiers(row);
        let is_first = (rows.start..row).all(|earlier| tiers(earlier) != table);
        let of = |is_short: Option<bool>| {
            let mut its = (row..rows.end)
                .filter(move |other| tiers(*other) == table)
                .filter(move |other| {
                    is_short.is_none_or(|is| (bucket.quantity[*other] < 0.0) == is)
                })
                .peekable();
            its.peek().is_some().then(|| Side::sum(bucket, its, mark, table))
        };
        let found = match netting {
            _ if !is_first => [None, None],
            Netting::Net => [of(None), None],
            Netting::Gross | Netting::LargerSide => [of(Some(false)), of(Some(true))],
        };
        found.into_iter().flatten()
    })
}

/// A size and what it must hold, settle asset.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// The size.
    pub side: Side,
    /// Tier of its maintenance size, from 0.
    pub tier: usize,
    /// To keep, fee included.
    pub maintenance: f64,
    /// To open.
    pub initial: f64,
}

/// Shows every size of the instrument that `rows` hold, with what it must hold, to `each`.
#[inline]
pub fn requirements(
    bucket: &Bucket<'_>,
    rows: Range<usize>,
    marks: &Marks,
    rules: &Rules,
    fee: Fee,
    mut each: impl FnMut(Requirement),
) {
    let mark = &marks.instruments[bucket.instrument[rows.start] as usize];
    let netting = rules.conventions.netting;
    let required = |side: Side| {
        let (tier, maintenance) = side.maintenance(mark, rules, fee);
        Requirement { side, tier, maintenance, initial: side.initial(mark, rules) }
    };
    if rows.len() == 1 {
        let tiers = marks.tiers(mark, bucket.table_of(rows.start));
        return each(required(Side::sum(bucket, rows, mark, tiers)));
    }
    let mut sides = sides(bucket, rows, marks, netting).peekable();
    while let Some(side) = sides.next() {
        let mut one = required(side);
        let is_pair = |other: &Side| netting == Netting::LargerSide && other.tiers == side.tiers;
        if let Some(short) = sides.next_if(is_pair) {
            let mut other = required(short);
            let dropped = if one.maintenance >= other.maintenance { &mut other } else { &mut one };
            (dropped.maintenance, dropped.initial) = (0.0, 0.0);
            each(one);
            each(other);
        } else {
            each(one);
        }
    }
}

/// One instrument of a bucket, all its rows together, settle asset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holding {
    /// Profit of all rows.
    pub profit: f64,
    /// Value of options.
    pub option_value: f64,
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

/// What the rows of one instrument are worth, settle asset: profit, and value of options.
#[inline]
pub fn worth(bucket: &Bucket<'_>, rows: Range<usize>, mark: &Mark) -> (f64, f64) {
    let (mut profit, mut option_value) = (0.0, 0.0);
    for row in rows {
        profit += mark.profit(bucket.quantity[row], bucket.cost[row], bucket.inverse_cost[row]);
        option_value += mark.option_value(bucket.quantity[row]);
    }
    (profit, option_value)
}

/// Sums the rows of one instrument: quantities and entry sums.
#[inline]
pub fn net(bucket: &Bucket<'_>, rows: Range<usize>, mark: &Mark) -> Net {
    let mut net = Net::default();
    for row in rows {
        net.quantity += bucket.quantity[row];
        net.gross += bucket.quantity[row].abs();
        net.cost += mark.cost(bucket.cost[row], bucket.inverse_cost[row]);
    }
    net
}

/// Sums the rows `rows` of one instrument.
///
/// `equity` is the bucket's, where a fee at the bankruptcy price needs it.
#[inline]
pub fn holding(
    bucket: &Bucket<'_>,
    rows: Range<usize>,
    marks: &Marks,
    rules: &Rules,
    equity: f64,
) -> Holding {
    let mark = &marks.instruments[bucket.instrument[rows.start] as usize];
    let (profit, option_value) = worth(bucket, rows.clone(), mark);
    let mut holding = Holding { profit, option_value, ..Holding::default() };
    let rest = equity - profit * mark.settle_price;
    let fee = Fee::new(mark, || net(bucket, rows.clone(), mark), rest, rules);
    requirements(bucket, rows.clone(), marks, rules, fee, |required| {
        let side = required.side;
        holding.is_open |= side.gross > 0.0;
        holding.two_sided_notional += side.gross * mark.value;
        holding.gross_notional += side.quantity.abs() * mark.value;
        holding.net_notional += side.quantity * mark.value;
        holding.maintenance += required.maintenance;
        holding.initial += required.initial;
    });
    holding
}
