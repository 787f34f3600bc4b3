//! The common case of the kernel: what most rulesets say of most buckets, without a look at
//! what they do not say.
//!
//! Where sizes are net, valued at the mark and tiered by notional, without fees, without
//! tables that rows name, and with profit beside the balances, `Plain` has each instrument's
//! numbers in one line of the cache. It gives the bits of `bucket_margin`'s general way.

use std::ops::Range;

use crate::block::{Rows, Special};
use crate::collateral::Collateral;
use crate::conclusion::Positions;
use crate::conventions::{Initial, OpenOrders, ProfitAndLoss};
use crate::keys::NONE;
use crate::market::Kind;
use crate::marks::{AssetMark, Mark, Marks};
use crate::rules::Rules;
use crate::tiers::Tier;

/// What a bucket's rows need of one instrument; it fills a line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    value: f64,
    price: f64,
    multiplier: f64,
    settle_price: f64,
    /// Notional from which on the first tier may not be the right one; -inf of an option, which
    /// has none.
    bound: f64,
    maintenance_rate: f64,
    initial_rate: f64,
    tiers: u32,
    is_inverse: bool,
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

    /// What some balances, those of a cross bucket that no profit joins, come to where each lies
    /// in the first slice of its asset; None where one does not.
    #[inline(always)]
    pub(crate) fn collateral(&self, rows: &Rows<'_>, cash: Range<usize>) -> Option<Collateral> {
        let (assets, amounts) = (rows.asset, rows.amount);
        let (mut held, mut weighted_maintenance, mut weighted_initial) = (0.0, 0.0, 0.0);
        for balance in cash.start..cash.end.min(assets.len()) {
            let coin = &self.coins[assets[balance] as usize];
            let value = amounts[balance] * coin.price;
            if !(value >= 0.0 && value < coin.bound) {
                return None;
            }
            held += value;
            weighted_maintenance += value * coin.maintenance_weight;
            weighted_initial += value * coin.initial_weight;
        }
        // Without debt, what is held and what it is worth are one sum.
        let value = held;
        let none = Collateral::default();
        Some(Collateral { held, value, weighted_maintenance, weighted_initial, ..none })
    }

    /// What is posted to a bucket of one instrument without balances, as collateral; None where
    /// it is a debt.
    #[inline(always)]
    pub(crate) fn posted(&self, instrument: u32, posted: f64) -> Option<Collateral> {
        let value = posted * self.lines[instrument as usize].settle_price;
        let held = 0.0 + value; // a sum of one: -0 is 0
        let all = Collateral {
            held,
            value: held,
            weighted_maintenance: held,
            weighted_initial: held,
            ..Collateral::default()
        };
        (value >= 0.0).then_some(all)
    }

    /// What some rows, those of a bucket, come to; None where one says more than a line does.
    #[inline(always)]
    pub(crate) fn positions(
        &self,
        rows: &Rows<'_>,
        its: Range<usize>,
        rules: &Rules,
    ) -> Option<Positions> {
        let (instrument, lines, special) = (rows.instrument, &*self.lines, rows.special);
        let (quantity, cost, inverse_cost) = (rows.quantity, rows.cost, rows.inverse_cost);
        // One look at the end is enough.
        let (mut row, end) = (its.start, its.end.min(instrument.len()));
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
            sum.open |= all.open;
            let profit = all.profit * line.settle_price;
            // Neither value nor price is below 0: sizes without their sign come to the same bits.
            let signed = all.quantity * line.value;
            let notional = signed.abs();
            let net_notional = signed * line.settle_price;
            sum.unrealized_pnl += profit;
            sum.gross_notional += net_notional.abs();
            sum.net_notional += net_notional;
            sum.two_sided_notional += all.gross * line.value * line.settle_price;
            let (maintenance, mut initial) = if notional < line.bound {
                (notional * line.maintenance_rate, notional * line.initial_rate)
            } else {
                line.beyond(notional, rules)?
            };
            if is_special {
                let said = Special::together(&special[first..row], rows.specials)?;
                let mut opened = notional;
                if self.sees_orders && said.orders != [0.0; 2] {
                    (opened, initial) = self.opened(said.orders, all.quantity, line, rules)?;
                }
                initial = self.by_leverage(initial, opened, said.leverage);
            }
            sum.maintenance += maintenance * line.settle_price;
            sum.initial += initial * line.settle_price;
        }
        sum.counted =
            if self.weighs_profit { self.counted(*rows, its, rules) } else { sum.unrealized_pnl };
        sum.open <<= 1; // without the sign: -0 is nothing too
        Some(sum)
    }

    /// What counts of the profits of a bucket's rows where it is weighed.
    #[cold]
    #[inline(never)]
    fn counted(&self, rows: Rows<'_>, its: Range<usize>, rules: &Rules) -> f64 {
        let (mut counted, mut row) = (0.0, its.start);
        while row < its.end {
            let code = rows.instrument[row];
            let line = &self.lines[code as usize];
            let profit = |row: usize| {
                Held::new(rows.quantity[row], rows.cost[row], rows.inverse_cost[row], line).profit
            };
            let mut all = profit(row);
            row += 1;
            while row < its.end && rows.instrument[row] == code {
                all += profit(row);
                row += 1;
            }
            counted += rules.conventions.counted(all * line.settle_price);
        }
        counted
    }

    /// The size that is opened with orders, and its initial requirement, settle asset.
    #[cold]
    #[inline(never)]
    fn opened(
        &self,
        orders: [f64; 2],
        quantity: f64,
        line: &Line,
        rules: &Rules,
    ) -> Option<(f64, f64)> {
        let [buy, sell] = orders;
        let opened = (quantity + buy).abs().max((quantity - sell).abs()) * line.value;
        if opened < line.bound {
            return Some((opened, opened * line.initial_rate));
        }
        Some((opened, line.beyond(opened, rules)?.1))
    }

    /// The initial requirement of a size of this leverage, where by its tier it is `initial`.
    #[inline(always)]
    fn by_leverage(&self, initial: f64, size: f64, leverage: f64) -> f64 {
        match self.initial {
            _ if leverage == f64::INFINITY => initial,
            Initial::Tier => initial,
            Initial::Leverage => size / leverage,
            Initial::Larger => initial.max(size / leverage),
        }
    }
}

/// Merged rows of one instrument.
struct Held {
    quantity: f64,
    gross: f64,
    profit: f64,
    /// The bits of their quantities, one over the other.
    open: u64,
}

impl Held {
    #[inline(always)]
    fn new(quantity: f64, cost: f64, inverse_cost: f64, line: &Line) -> Self {
        let inverse = inverse_cost - quantity / line.price;
        let linear = quantity * line.price - cost;
        let moved = if line.is_inverse { inverse } else { linear };
        let (gross, open) = (quantity.abs(), quantity.to_bits());
        Self { quantity, gross, profit: line.multiplier * moved, open }
    }

    #[inline(always)]
    fn add(&mut self, other: &Self) {
        self.quantity += other.quantity;
        self.gross += other.gross;
        self.profit += other.profit;
        self.open |= other.open;
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
            bound: match mark.kind.is_option() {
                true => f64::NEG_INFINITY,
                false => table.get(1).map_or(f64::INFINITY, |tier| tier.floor),
            },
            maintenance_rate: table[0].maintenance.rate,
            initial_rate: table[0].initial.rate,
            tiers: mark.tiers,
            is_inverse: mark.kind == Kind::Inverse,
        }
    }

    /// Maintenance and initial requirement of a size from `bound` on, settle asset; None of
    /// options.
    #[inline(always)]
    fn beyond(&self, size: f64, rules: &Rules) -> Option<(f64, f64)> {
        if self.bound == f64::NEG_INFINITY {
            return None;
        }
        let edge = rules.conventions.tier_edge;
        let mut tiers = rules.tiers.table(self.tiers);
        // Most sizes beyond the first tier are in the next ones: no search by halves.
        while let [_, rest @ ..] = tiers
            && rest.first().is_some_and(|tier| tier.is_reached(size, edge))
        {
            tiers = rest;
        }
        let tier = tiers.first()?;
        Some((tier.maintenance.at(size), tier.initial.at(size)))
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
