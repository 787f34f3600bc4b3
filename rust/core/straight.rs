//! The common case of a breach: a buffer that is straight between bends and never bends up.
//!
//! Where sizes are net, valued at the mark and marginal by rates that rise, where slices of
//! value weigh less the higher they lie, and where no contract moves with what it settles in,
//! the buffer is concave along the path. So it is above 0 up to its only root, and a tangent
//! beyond the root leads back towards it, never past it. Most buckets need two looks.

use crate::block::Bucket;
use crate::conventions::{Compare, ProfitAndLoss, TierMode, ZeroRequirement};
use crate::keys::NONE;
use crate::market::Kind;
use crate::marks::{AssetMark, Mark, Marks};
use crate::path::Course;
use crate::piece::Ray;
use crate::rules::Rules;
use crate::single::steepest;
use crate::tiers::tier_at;
use crate::weights::WeightTable;

/// A buffer of at most this share of what it is made of may be 0 by rounding.
const DOUBT: f64 = 1e-12;
/// Rows whose sum is still exact enough without keeping what rounding takes off.
const FEW_ROWS: usize = 64;
/// Tangents that are followed; a walk follows bends where these do not do.
const TANGENTS: usize = 64;

/// What a bucket's rows need of one instrument.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    value: f64,
    multiplier: f64,
    settle_price: f64,
    /// Notional from which on the first tier may not be the right one.
    bound: f64,
    /// Of the first tier.
    rate: f64,
    tiers: u32,
    settle: u32,
    is_inverse: bool,
    /// Whether it is no option and its rates rise.
    is_straight: bool,
}

/// What a bucket's balances need of one asset.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Coin {
    price: f64,
    /// Value from which on the first slice may not be the right one.
    bound: f64,
    /// Of the first slice.
    weight: f64,
    liability_weight: f64,
    borrow_rate: f64,
    weights: u32,
    /// Whether slices weigh less and less.
    is_straight: bool,
}

/// Instruments and assets of a book under a ruleset that allows the short way. See the module.
pub(crate) struct Straight<'a> {
    lines: Vec<Line>,
    coins: Vec<Coin>,
    rules: &'a Rules,
}

/// A bucket's lines at one place.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    balance: Ray,
    required: Ray,
    /// What the sums are made of, without signs.
    gross: f64,
    is_held: bool,
}

impl<'a> Straight<'a> {
    /// None where the ruleset bends buffers otherwise.
    pub(crate) fn new(marks: &Marks, rules: &'a Rules) -> Option<Self> {
        let conventions = &rules.conventions;
        let is_straight = conventions.are_plain()
            && conventions.tier_mode == TierMode::Marginal
            && conventions.profit_and_loss == ProfitAndLoss::Beside
            && conventions.profit_weight == 1.0;
        is_straight.then(|| Self {
            lines: marks.instruments.iter().map(|mark| Line::new(mark, rules)).collect(),
            coins: marks.assets.iter().map(|mark| Coin::new(mark, rules)).collect(),
            rules,
        })
    }

    /// Where the trigger of a bucket is first reached, from 0 to `end`; None where the bucket
    /// needs a walk.
    #[inline(always)]
    pub(crate) fn first(
        &self,
        bucket: &Bucket<'_>,
        course: &Course,
        end: f64,
    ) -> Option<Option<f64>> {
        if bucket.instrument.len() > FEW_ROWS {
            return None;
        }
        let conventions = &self.rules.conventions;
        let here = self.look(bucket, course, 0.0)?;
        if !here.is_held {
            return Some(None);
        }
        let mut line = here.balance.plus(here.required, -conventions.level);
        if line.constant <= DOUBT * here.gross {
            return None;
        }
        let mut t = root(line).min(end);
        for _ in 0..TANGENTS {
            let there = self.look(bucket, course, t)?;
            let next = there.balance.plus(there.required, -conventions.level);
            let value = next.at(t);
            let is_root = if next == line { root(line) <= end } else { t < end && value >= 0.0 };
            if is_root {
                let is_past = root(line) < end || conventions.compare == Compare::Le;
                let never = conventions.zero_requirement == ZeroRequirement::Never;
                let is_sure = is_past && (!never || there.required.at(t) > 0.0);
                return is_sure.then_some(Some(t));
            }
            if value > 0.0 || next == line {
                return Some(None);
            }
            if value == 0.0 || next.slope >= 0.0 {
                return None;
            }
            line = next;
            t = root(line).clamp(0.0, t);
        }
        None
    }

    /// The lines of a bucket at `t`; None where one of its rows is not straight.
    #[inline(always)]
    fn look(&self, bucket: &Bucket<'_>, course: &Course, t: f64) -> Option<Sum> {
        let mut sum = Sum::default();
        let rows = bucket.instrument.len();
        let (quantity, cost) = (&bucket.quantity[..rows], &bucket.cost[..rows]);
        let inverse_cost = &bucket.inverse_cost[..rows];
        let mut row = 0;
        while row < rows {
            let code = bucket.instrument[row];
            let line = &self.lines[code as usize];
            let entry = if line.is_inverse { inverse_cost } else { cost };
            let (mut net, mut paid) = (0.0, 0.0);
            while row < rows && bucket.instrument[row] == code {
                net += quantity[row];
                paid += entry[row];
                sum.is_held |= quantity[row] != 0.0;
                if names_table(bucket, row) {
                    return None;
                }
                row += 1;
            }
            let beta = course.marks[code as usize];
            let settle_beta = course.assets[line.settle as usize];
            self.add(&mut sum, line, [net, paid], [beta, settle_beta], t)?;
        }
        if let Some(posted) = bucket.isolated_margin {
            let line = &self.lines[bucket.instrument[0] as usize];
            let worth = posted * line.settle_price;
            let beta = course.assets[line.settle as usize];
            sum.balance = sum.balance.plus(Ray { constant: worth, slope: worth * beta }, 1.0);
            sum.gross += worth.abs();
            if posted < 0.0 {
                return None;
            }
        }
        for (asset, amount) in bucket.asset.iter().zip(bucket.amount) {
            let beta = course.assets[*asset as usize];
            self.add_balance(&mut sum, &self.coins[*asset as usize], *amount, beta, t)?;
        }
        Some(sum)
    }

    /// Adds an instrument: net contracts, and what they cost at entry.
    #[inline(always)]
    fn add(
        &self,
        sum: &mut Sum,
        line: &Line,
        [net, paid]: [f64; 2],
        [beta, settle_beta]: [f64; 2],
        t: f64,
    ) -> Option<()> {
        let moved = 1.0 + beta * t;
        let (is_straight, rise, growth, sign) = if line.is_inverse {
            (settle_beta == beta || beta == 0.0, settle_beta - beta, 1.0 / moved, -1.0)
        } else {
            (settle_beta == 0.0 || beta == 0.0, settle_beta + beta, moved, 1.0)
        };
        if !is_straight || !line.is_straight {
            return None;
        }
        let size = net.abs() * line.value;
        let (worth, notional) = (net * line.value * line.settle_price, size * line.settle_price);
        let paid = paid * line.multiplier * line.settle_price;
        sum.balance.constant += sign * (worth - paid);
        sum.balance.slope += sign * (worth * rise - paid * settle_beta);
        sum.gross += notional + paid.abs();
        if size * growth < line.bound {
            let required = notional * line.rate;
            sum.required.constant += required;
            sum.required.slope += required * rise;
        } else {
            let table = self.rules.tiers.table(line.tiers);
            let tier = tier_at(table, size * growth, self.rules.conventions.tier_edge);
            let required = notional * table[tier].maintenance.rate;
            let deducted = table[tier].maintenance.deduction * line.settle_price;
            sum.required.constant += required - deducted;
            sum.required.slope += required * rise - deducted * settle_beta;
        }
        Some(())
    }

    /// Adds a balance.
    #[inline(always)]
    fn add_balance(
        &self,
        sum: &mut Sum,
        coin: &Coin,
        amount: f64,
        beta: f64,
        t: f64,
    ) -> Option<()> {
        let value = amount * coin.price;
        let moved = value * (1.0 + beta * t);
        let worth = Ray { constant: value, slope: value * beta };
        sum.gross += value.abs();
        if !coin.is_straight {
            return None;
        }
        if value < 0.0 {
            sum.is_held = true;
            sum.balance = sum.balance.plus(worth, coin.liability_weight);
            sum.required = sum.required.plus(worth, -coin.borrow_rate);
        } else if moved < coin.bound {
            sum.balance = sum.balance.plus(worth, coin.weight);
        } else {
            let table = self.rules.weights.table(coin.weights);
            let stretch = table.stretch(table.stretch_at(moved));
            sum.balance = sum.balance.plus(worth, stretch.slope);
            sum.balance.constant += stretch.constant;
        }
        Some(())
    }
}

/// Where a line is 0, if it falls; else nowhere.
#[inline(always)]
fn root(line: Ray) -> f64 {
    if line.slope < 0.0 { -line.constant / line.slope } else { f64::INFINITY }
}

/// Whether a merged row names a tier table of its own.
#[inline(always)]
fn names_table(bucket: &Bucket<'_>, row: usize) -> bool {
    bucket.special.get(row).is_some_and(|place| *place != NONE) && bucket.table_of(row) != NONE
}

impl Line {
    fn new(mark: &Mark, rules: &Rules) -> Self {
        // A table that is missing is asked for by no determinate account.
        let table = if mark.tiers == NONE { &[] } else { rules.tiers.table(mark.tiers) };
        Self {
            value: mark.value,
            multiplier: mark.multiplier,
            settle_price: mark.settle_price,
            bound: table.get(1).map_or(f64::INFINITY, |tier| tier.floor),
            rate: table.first().map_or(0.0, |tier| tier.maintenance.rate),
            tiers: mark.tiers,
            settle: mark.settle,
            is_inverse: mark.kind == Kind::Inverse,
            is_straight: !mark.kind.is_option() && steepest(table).is_finite(),
        }
    }
}

impl Coin {
    fn new(mark: &AssetMark, rules: &Rules) -> Self {
        let table = (mark.weights != NONE).then(|| rules.weights.table(mark.weights));
        let first = table.map(|table| table.stretch(1));
        Self {
            price: mark.price,
            bound: first.map_or(f64::INFINITY, |stretch| stretch.end),
            weight: first.map_or(0.0, |stretch| stretch.slope),
            liability_weight: table.map_or(0.0, |table| table.liability_weight),
            borrow_rate: table.map_or(0.0, |table| table.borrow_maintenance_rate),
            weights: mark.weights,
            is_straight: table.is_some_and(weighs_less),
        }
    }
}

/// Whether each slice of a table weighs at most what the one below it does.
fn weighs_less(table: &WeightTable) -> bool {
    let mut stretch = table.stretch(1);
    let mut index = 2;
    while stretch.end.is_finite() {
        let next = table.stretch(index);
        if next.slope > stretch.slope {
            return false;
        }
        (stretch, index) = (next, index + 1);
    }
    true
}
