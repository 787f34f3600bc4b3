//! The common case of the kernel: what most rulesets say of most buckets, without a look at
//! what they do not say.
//!
//! Where sizes are net, valued at the mark and tiered by notional, without fees, without
//! tables that rows name, and with profit beside the balances, `Plain` has each instrument's
//! numbers in one line of the cache. It gives the bits of `bucket_margin`'s general way.

use std::ops::Range;

use crate::block::{Rows, Special};
use crate::conventions::{Initial, OpenOrders, ProfitAndLoss};
use crate::keys::NONE;
use crate::market::Kind;
use crate::marks::{AssetMark, Mark, Marks};
use crate::rules::Rules;
use crate::tiers::{Tier, tier_at};

/// What a bucket's rows need of one instrument; it fills a line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    value: f64,
    price: f64,
    multiplier: f64,
    settle_price: f64,
    /// Notional from which on the first tier may not be the right one.
    bound: f64,
    maintenance_rate: f64,
    initial_rate: f64,
    tiers: u32,
    is_inverse: bool,
    is_option: bool,
}

/// What a bucket's balances need of one asset; it fills a line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Coin {
    /// Valuation asset.
    pub(crate) price: f64,
    /// Value from which on the first slice may not be the right one.
    pub(crate) bound: f64,
    /// Of the first slice.
    pub(crate) maintenance_weight: f64,
    /// Of the first slice.
    pub(crate) initial_weight: f64,
}

/// Lines of all instruments and assets, under a ruleset that allows them. See the module.
pub struct Plain {
    lines: Vec<Line>,
    coins: Vec<Coin>,
    initial: Initial,
    sees_orders: bool,
    weighs_profit: bool,
}

/// What the positions of a bucket are worth and must hold, valuation asset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Positions {
    pub(crate) unrealized_pnl: f64,
    pub(crate) counted: f64,
    pub(crate) gross_notional: f64,
    pub(crate) net_notional: f64,
    pub(crate) two_sided_notional: f64,
    pub(crate) maintenance: f64,
    pub(crate) initial: f64,
    /// Contracts without their sign: 0 where nothing is held.
    pub(crate) gross: f64,
}

impl Plain {
    /// None where the ruleset asks for more than a line says.
    pub fn new(marks: &Marks, rules: &Rules) -> Option<Self> {
        let conventions = &rules.conventions;
        let is_plain =
            conventions.are_plain() && conventions.profit_and_loss == ProfitAndLoss::Beside;
        is_plain.then(|| Self {
            lines: marks.instruments.iter().map(|mark| Line::new(mark, rules)).collect(),
            coins: marks.assets.iter().map(|mark| Coin::new(mark, rules)).collect(),
            initial: conventions.initial,
            sees_orders: conventions.open_orders == OpenOrders::Initial,
            weighs_profit: conventions.profit_weight != 1.0,
        })
    }

    /// What a bucket's balances need of an asset.
    #[inline(always)]
    pub(crate) fn coin(&self, asset: u32) -> &Coin {
        &self.coins[asset as usize]
    }

    /// What some rows, those of a bucket, come to; None where one says more than a line does.
    #[inline(always)]
    pub(crate) fn positions(
        &self,
        rows: &Rows<'_>,
        its: Range<usize>,
        rules: &Rules,
    ) -> Option<Positions> {
        let (instrument, lines, weighs_profit) =
            (rows.instrument, &*self.lines, self.weighs_profit);
        // One length, so that one look at the end is enough.
        let count = instrument.len();
        let (quantity, cost) = (&rows.quantity[..count], &rows.cost[..count]);
        let (inverse_cost, special) = (&rows.inverse_cost[..count], rows.special);
        let (mut row, end) = (its.start, its.end.min(count));
        let mut sum = Positions::default();
        let held =
            |row: usize, line: &Line| Held::new(quantity[row], cost[row], inverse_cost[row], line);
        let says_more = |row: usize| special.get(row).is_some_and(|place| *place != NONE);
        while row < end {
            let (first, code) = (row, instrument[row]);
            let line = &lines[code as usize];
            let mut all = held(row, line);
            let mut is_special = says_more(row);
            row += 1;
            while row < end && instrument[row] == code {
                all.add(&held(row, line));
                is_special |= says_more(row);
                row += 1;
            }
            let (notional, mut initial) = sum.add(&all, line, rules, weighs_profit);
            // Options are rare, and so are rows that name a table.
            if line.is_option {
                return None;
            }
            if is_special {
                let quantity = all.quantity;
                initial = self.special(rows, first..row, quantity, notional, initial, rules)?;
            }
            sum.initial += initial * line.settle_price;
        }
        if !weighs_profit {
            sum.counted = sum.unrealized_pnl;
        }
        Some(sum)
    }

    /// The initial requirement of rows that say more, settle asset, where by notional and tier
    /// alone it is `initial`; None where one names a table.
    #[inline(never)]
    fn special(
        &self,
        rows: &Rows<'_>,
        its: Range<usize>,
        quantity: f64,
        notional: f64,
        mut initial: f64,
        rules: &Rules,
    ) -> Option<f64> {
        let line = &self.lines[rows.instrument[its.start] as usize];
        let mut special = Special::NOTHING;
        for row in its {
            let of_row = rows.special_of(row);
            if of_row.table != NONE {
                return None;
            }
            special.absorb(&of_row);
        }
        let mut opened = notional;
        if self.sees_orders && special.orders != [0.0; 2] {
            let [buy, sell] = special.orders;
            opened = (quantity + buy).abs().max((quantity - sell).abs()) * line.value;
            initial = if opened < line.bound {
                opened * line.initial_rate
            } else {
                line.above(opened, rules).1
            };
        }
        Some(match self.initial {
            _ if special.leverage == f64::INFINITY => initial,
            Initial::Tier => initial,
            Initial::Leverage => opened / special.leverage,
            Initial::Larger => initial.max(opened / special.leverage),
        })
    }
}

/// Merged rows of one instrument.
struct Held {
    quantity: f64,
    gross: f64,
    profit: f64,
}

impl Held {
    #[inline(always)]
    fn new(quantity: f64, cost: f64, inverse_cost: f64, line: &Line) -> Self {
        let inverse = inverse_cost - quantity / line.price;
        let linear = quantity * line.price - cost;
        let moved = if line.is_inverse { inverse } else { linear };
        Self { quantity, gross: quantity.abs(), profit: line.multiplier * moved }
    }

    #[inline(always)]
    fn add(&mut self, other: &Self) {
        self.quantity += other.quantity;
        self.gross += other.gross;
        self.profit += other.profit;
    }
}

impl Positions {
    /// Adds the rows of an instrument, all but what they must hold to open: that is for the
    /// caller, and so is what counts of profit where it is not weighed. Returns their notional
    /// and what it requires to open, settle asset.
    #[inline(always)]
    fn add(&mut self, held: &Held, line: &Line, rules: &Rules, weighs_profit: bool) -> (f64, f64) {
        let settle_price = line.settle_price;
        let profit = held.profit * settle_price;
        // Neither value nor price is below 0: sizes without their sign come to the same bits.
        let signed = held.quantity * line.value;
        let notional = signed.abs();
        let (maintenance, initial) = if notional < line.bound {
            (notional * line.maintenance_rate, notional * line.initial_rate)
        } else {
            line.above(notional, rules)
        };
        let net_notional = signed * settle_price;
        self.unrealized_pnl += profit;
        if weighs_profit {
            self.counted += rules.conventions.counted(profit);
        }
        self.gross_notional += net_notional.abs();
        self.net_notional += net_notional;
        self.two_sided_notional += held.gross * line.value * settle_price;
        self.gross += held.gross;
        self.maintenance += maintenance * settle_price;
        (notional, initial)
    }
}

impl Line {
    fn new(mark: &Mark, rules: &Rules) -> Self {
        // A table that is missing is asked for by no determinate account.
        let nothing = [Tier::default()];
        let table = if mark.tiers == NONE { &nothing } else { rules.tiers.table(mark.tiers) };
        Self {
            value: mark.value,
            price: mark.price,
            multiplier: mark.multiplier,
            settle_price: mark.settle_price,
            bound: table.get(1).map_or(f64::INFINITY, |tier| tier.floor),
            maintenance_rate: table[0].maintenance.rate,
            initial_rate: table[0].initial.rate,
            tiers: mark.tiers,
            is_inverse: mark.kind == Kind::Inverse,
            is_option: mark.kind.is_option(),
        }
    }

    /// Maintenance and initial requirement of a size beyond the first tier, settle asset.
    #[inline(never)]
    fn above(&self, notional: f64, rules: &Rules) -> (f64, f64) {
        let table = rules.tiers.table(self.tiers);
        let tier = &table[tier_at(table, notional, rules.conventions.tier_edge)];
        (tier.maintenance.at(notional), tier.initial.at(notional))
    }
}

impl Coin {
    fn new(mark: &AssetMark, rules: &Rules) -> Self {
        let Some(first) = (mark.weights != NONE).then(|| rules.weights.table(mark.weights).first())
        else {
            let bound = f64::NEG_INFINITY; // asked for by no determinate account
            return Self { price: mark.price, bound, maintenance_weight: 0.0, initial_weight: 0.0 };
        };
        Self {
            price: mark.price,
            bound: first.end,
            maintenance_weight: first.maintenance,
            initial_weight: first.initial,
        }
    }
}
