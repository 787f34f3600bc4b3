//! The common case of a stress: where a bucket stands in a run of scenarios.
//!
//! Every lane takes the short way of `Plain`, operation by operation in the order of
//! `margin_of`, nothing fused: so each has the bits of the sweep of its own market.

#![allow(clippy::needless_range_loop)] // vectors are walked by number, several at once

use pulp::Simd;

use crate::block::Bucket;
use crate::conventions::{Compare, Conventions, ZeroRequirement};
use crate::keys::NONE;
use crate::lanes::{AssetPrices, LANES, Lane, Lanes, Line, Vectors, stored, vectors};
use crate::margin::{Margin, Status};
use crate::weights::WeightTable;

/// What is past a line in an account, in a run of scenarios. Whether it is so is a 1 or a 0.
#[derive(Clone, Copy)]
pub(crate) struct Past<S: Simd, const R: usize> {
    /// Whether anything may be.
    pub(crate) is_near: bool,
    pub(crate) is_past: Vectors<S, R>,
    pub(crate) is_bankrupt: Vectors<S, R>,
    pub(crate) bad_debt: Vectors<S, R>,
    /// Of all its buckets.
    pub(crate) gross_notional: Vectors<S, R>,
}

/// Where a bucket stands in a run, and what it must hold.
#[derive(Clone, Copy)]
pub(crate) struct Standing<S: Simd, const R: usize> {
    pub(crate) equity: Vectors<S, R>,
    pub(crate) margin_buffer: Vectors<S, R>,
    required: Vectors<S, R>,
    debt: Vectors<S, R>,
    /// Notional that is margined, valuation asset.
    pub(crate) gross_notional: Vectors<S, R>,
    is_open: bool,
}

/// What is owned and owed.
#[derive(Clone, Copy)]
struct Owned<S: Simd, const R: usize> {
    held: Vectors<S, R>,
    weighted: Vectors<S, R>,
    debt: Vectors<S, R>,
    liability: Vectors<S, R>,
    borrow: Vectors<S, R>,
}

impl Lanes<'_> {
    /// Where a bucket that is admitted stands in a run.
    #[inline(always)]
    pub(crate) fn standing<S: Simd, const R: usize>(
        &self,
        simd: S,
        bucket: &Bucket<'_>,
        run: usize,
    ) -> Standing<S, R> {
        let conventions = &self.rules.conventions;
        let (priced, assets) = (self.prices(run), self.assets(run));
        let rows = bucket.instrument.len();
        let (quantity, cost) = (&bucket.quantity[..rows], &bucket.cost[..rows]);
        let inverse_cost = &bucket.inverse_cost[..rows];
        let zero = [simd.splat_f64s(0.0); R];
        let (mut pnl, mut counted, mut maintenance, mut notionals) = (zero, zero, zero, zero);
        let counts_in_full = conventions.profit_weight == 1.0;
        let mut gross = 0.0;
        let mut row = 0;
        while row < rows {
            let instrument = bucket.instrument[row];
            let line = &self.lines[instrument as usize];
            let prices = &priced[instrument as usize];
            let mark = vectors::<S, R>(&prices.mark);
            let settle = vectors::<S, R>(&assets[line.settle as usize].price);
            // Called as it is: a closure would not be inlined, and know no wide vectors.
            let of = (quantity[row], cost[row], inverse_cost[row]);
            let mut made = profit::<S, R>(simd, line, mark, of);
            let mut held = quantity[row];
            gross += quantity[row].abs();
            row += 1;
            while row < rows && bucket.instrument[row] == instrument {
                let of = (quantity[row], cost[row], inverse_cost[row]);
                let more = profit::<S, R>(simd, line, mark, of);
                for v in 0..R {
                    made[v] = simd.add_f64s(made[v], more[v]);
                }
                held += quantity[row];
                gross += quantity[row].abs();
                row += 1;
            }
            for v in 0..R {
                made[v] = simd.mul_f64s(made[v], settle[v]);
                pnl[v] = simd.add_f64s(pnl[v], made[v]);
            }
            if !counts_in_full {
                let weight = simd.splat_f64s(conventions.profit_weight);
                for v in 0..R {
                    let gains = simd.less_than_f64s(zero[v], made[v]);
                    let share = simd.mul_f64s(made[v], weight);
                    counted[v] = simd.add_f64s(counted[v], simd.select_f64s(gains, share, made[v]));
                }
            }
            let notional = prices.notional::<S, R>(simd, held.abs());
            for v in 0..R {
                notionals[v] = simd.add_f64s(notionals[v], simd.mul_f64s(notional[v], settle[v]));
            }
            let required = self.required::<S, R>(simd, line, held.abs(), prices, &notional);
            for v in 0..R {
                let required = simd.mul_f64s(required[v], settle[v]);
                maintenance[v] = simd.add_f64s(maintenance[v], required);
            }
        }
        let counted = if counts_in_full { pnl } else { counted };
        let owned = self.owned::<S, R>(simd, bucket, assets);
        let level = simd.splat_f64s(conventions.level);
        let mut standing = Standing {
            equity: zero,
            margin_buffer: zero,
            required: zero,
            debt: owned.debt,
            gross_notional: notionals,
            is_open: gross > 0.0,
        };
        for v in 0..R {
            standing.equity[v] = simd.add_f64s(owned.held[v], pnl[v]);
            let balance = simd.sub_f64s(owned.weighted[v], owned.liability[v]);
            let balance = simd.add_f64s(balance, counted[v]);
            standing.required[v] = simd.add_f64s(maintenance[v], owned.borrow[v]);
            let line = simd.mul_f64s(level, standing.required[v]);
            standing.margin_buffer[v] = simd.sub_f64s(balance, line);
        }
        standing
    }

    /// What a bucket owns and owes.
    #[inline(always)]
    fn owned<S: Simd, const R: usize>(
        &self,
        simd: S,
        bucket: &Bucket<'_>,
        assets: &[AssetPrices],
    ) -> Owned<S, R> {
        let zero = [simd.splat_f64s(0.0); R];
        let mut owned =
            Owned { held: zero, weighted: zero, debt: zero, liability: zero, borrow: zero };
        if let Some(posted) = bucket.isolated_margin {
            let line = &self.lines[bucket.instrument[0] as usize];
            let price = vectors::<S, R>(&assets[line.settle as usize].price);
            if posted >= 0.0 {
                owned.add(simd, posted, price, 1.0);
            } else {
                let known = line.settle_weights != NONE;
                let table = known.then(|| self.rules.weights.table(line.settle_weights));
                let rate = table.map_or(0.0, |table| table.borrow_maintenance_rate);
                owned.add_debt(simd, posted, price, 1.0, rate);
            }
        }
        for (asset, amount) in bucket.asset.iter().zip(bucket.amount) {
            let coin = &self.coins[*asset as usize];
            let prices = &assets[*asset as usize];
            let price = vectors::<S, R>(&prices.price);
            if *amount >= 0.0 {
                if amount * prices.highest < coin.bound {
                    owned.add(simd, *amount, price, coin.weight);
                } else {
                    let table = self.rules.weights.table(coin.weights);
                    owned.add_in_slices(simd, *amount, &prices.price, table);
                }
            } else {
                let table = self.rules.weights.table(coin.weights);
                let (weight, rate) = (table.liability_weight, table.borrow_maintenance_rate);
                owned.add_debt(simd, *amount, price, weight, rate);
            }
        }
        owned
    }
}

/// Profit of a merged row, settle asset.
#[inline(always)]
fn profit<S: Simd, const R: usize>(
    simd: S,
    line: &Line,
    mark: &Vectors<S, R>,
    (quantity, cost, inverse_cost): (f64, f64, f64),
) -> Vectors<S, R> {
    let multiplier = simd.splat_f64s(line.multiplier);
    let held = simd.splat_f64s(quantity);
    let mut profit = *mark;
    if line.is_inverse {
        let cost = simd.splat_f64s(inverse_cost);
        for v in 0..R {
            profit[v] = simd.sub_f64s(cost, simd.div_f64s(held, mark[v]));
        }
    } else {
        let cost = simd.splat_f64s(cost);
        for v in 0..R {
            profit[v] = simd.sub_f64s(simd.mul_f64s(held, mark[v]), cost);
        }
    }
    for profit in &mut profit {
        *profit = simd.mul_f64s(multiplier, *profit);
    }
    profit
}

impl<S: Simd, const R: usize> Owned<S, R> {
    /// Adds what is owned, all of it at one weight.
    #[inline(always)]
    fn add(&mut self, simd: S, amount: f64, price: &Vectors<S, R>, weight: f64) {
        let (amount, weight) = (simd.splat_f64s(amount), simd.splat_f64s(weight));
        for v in 0..R {
            let value = simd.mul_f64s(amount, price[v]);
            self.held[v] = simd.add_f64s(self.held[v], value);
            self.weighted[v] = simd.add_f64s(self.weighted[v], simd.mul_f64s(value, weight));
        }
    }

    /// Adds what is owned and counts by slices.
    #[inline(always)]
    fn add_in_slices(&mut self, simd: S, amount: f64, price: &Lane, table: &WeightTable) {
        let mut weighed = [0.0; LANES];
        weigh(amount, price, table, &mut weighed);
        let (amount, price) = (simd.splat_f64s(amount), vectors::<S, R>(price));
        let weighed = vectors::<S, R>(&weighed);
        for v in 0..R {
            let value = simd.mul_f64s(amount, price[v]);
            self.held[v] = simd.add_f64s(self.held[v], value);
            self.weighted[v] = simd.add_f64s(self.weighted[v], weighed[v]);
        }
    }

    /// Adds what is owed.
    #[inline(always)]
    fn add_debt(&mut self, simd: S, amount: f64, price: &Vectors<S, R>, weight: f64, rate: f64) {
        let (weight, rate) = (simd.splat_f64s(weight), simd.splat_f64s(rate));
        let amount = simd.splat_f64s(amount);
        for v in 0..R {
            let value = simd.mul_f64s(amount, price[v]);
            self.held[v] = simd.add_f64s(self.held[v], value);
            self.debt[v] = simd.sub_f64s(self.debt[v], value);
            self.liability[v] = simd.sub_f64s(self.liability[v], simd.mul_f64s(value, weight));
            self.borrow[v] = simd.sub_f64s(self.borrow[v], simd.mul_f64s(value, rate));
        }
    }
}

#[inline(never)]
fn weigh(amount: f64, price: &Lane, table: &WeightTable, weighed: &mut Lane) {
    for (weighed, price) in weighed.iter_mut().zip(price) {
        *weighed = table.weigh(amount * price).0;
    }
}

impl<S: Simd, const R: usize> Standing<S, R> {
    /// Where the margins of a bucket, one for each lane, put it.
    pub(crate) fn of_margins(margins: &[Margin; LANES]) -> Self {
        let vectors = |number: fn(&Margin) -> f64| {
            *vectors::<S, R>(&std::array::from_fn(|lane| number(&margins[lane])))
        };
        Self {
            equity: vectors(|margin| margin.equity),
            margin_buffer: vectors(|margin| margin.margin_buffer),
            required: vectors(|margin| margin.maintenance_margin),
            // Whatever keeps it from being flat.
            debt: vectors(|margin| f64::from(u8::from(margin.status != Status::Flat))),
            gross_notional: vectors(|margin| margin.gross_notional),
            is_open: false,
        }
    }

    /// The lowest of all margin buffers and equities: above 0 nothing is past a line.
    #[inline(always)]
    pub(crate) fn lowest(&self, simd: S) -> f64 {
        let mut lowest = simd.min_f64s(self.equity[0], self.margin_buffer[0]);
        for v in 1..R {
            let both = simd.min_f64s(self.equity[v], self.margin_buffer[v]);
            lowest = simd.min_f64s(lowest, both);
        }
        simd.reduce_min_f64s(lowest)
    }

    /// What it lacks to reach the line; what of it is past one joins what is of its account.
    #[inline(always)]
    pub(crate) fn near(
        &self,
        simd: S,
        conventions: &Conventions,
        past: &mut Past<S, R>,
    ) -> Vectors<S, R> {
        let (zero, one) = (simd.splat_f64s(0.0), simd.splat_f64s(1.0));
        let mut lack = [zero; R];
        let (mut is_past, mut is_bankrupt) = (lack, lack);
        for v in 0..R {
            let (buffer, equity) = (self.margin_buffer[v], self.equity[v]);
            let (lacks, owes) =
                (simd.less_than_f64s(buffer, zero), simd.less_than_f64s(equity, zero));
            lack[v] = simd.select_f64s(lacks, simd.neg_f64s(buffer), zero);
            is_past[v] = simd.select_f64s(lacks, one, zero);
            is_bankrupt[v] = simd.select_f64s(owes, one, zero);
            let bad_debt = simd.select_f64s(owes, simd.neg_f64s(equity), zero);
            past.bad_debt[v] = simd.add_f64s(past.bad_debt[v], bad_debt);
        }
        let is_usual = conventions.compare == Compare::Lt
            && conventions.zero_requirement == ZeroRequirement::Compare;
        if !self.is_open || !is_usual {
            let mut flags = [stored::<S, R>(&is_past), stored::<S, R>(&is_bankrupt)];
            let figures = [self.margin_buffer, self.required, self.debt]
                .map(|figure| stored::<S, R>(&figure));
            look_closely(&mut flags, &figures, self.is_open, conventions);
            (is_past, is_bankrupt) = (*vectors::<S, R>(&flags[0]), *vectors::<S, R>(&flags[1]));
        }
        for v in 0..R {
            past.is_past[v] = simd.max_f64s(past.is_past[v], is_past[v]);
            past.is_bankrupt[v] = simd.max_f64s(past.is_bankrupt[v], is_bankrupt[v]);
        }
        past.is_near = true;
        lack
    }
}

impl<S: Simd, const R: usize> Past<S, R> {
    /// Nothing.
    #[inline(always)]
    pub(crate) fn new(simd: S) -> Self {
        let none = [simd.splat_f64s(0.0); R];
        Self {
            is_near: false,
            is_past: none,
            is_bankrupt: none,
            bad_debt: none,
            gross_notional: none,
        }
    }

    /// In how many of the first scenarios it is past the line.
    #[inline(always)]
    pub(crate) fn times(&self, simd: S, scenarios: usize) -> i64 {
        if scenarios < LANES {
            return stored::<S, R>(&self.is_past)[..scenarios].iter().sum::<f64>() as i64;
        }
        let mut all = self.is_past[0];
        for v in 1..R {
            all = simd.add_f64s(all, self.is_past[v]);
        }
        simd.reduce_sum_f64s(all) as i64
    }

    /// Whether it is bankrupt in any.
    #[inline(always)]
    pub(crate) fn is_bankrupt(&self, simd: S) -> bool {
        let mut any = self.is_bankrupt[0];
        for v in 1..R {
            any = simd.max_f64s(any, self.is_bankrupt[v]);
        }
        simd.reduce_max_f64s(any) > 0.0
    }

    /// Its status and bad debt in a lane where it is past a line.
    #[inline(always)]
    pub(crate) fn status(&self, lane: usize) -> Option<(Status, f64)> {
        if !self.is_near {
            None
        } else if stored::<S, R>(&self.is_bankrupt)[lane] > 0.0 {
            Some((Status::Bankrupt, stored::<S, R>(&self.bad_debt)[lane]))
        } else if stored::<S, R>(&self.is_past)[lane] > 0.0 {
            Some((Status::Liquidation, 0.0))
        } else {
            None
        }
    }
}

/// Decides lane by lane, of margin buffer, requirement and debt, whether a bucket is past the line,
/// and that one without positions and debt is not bankrupt.
#[inline(never)]
fn look_closely(
    [is_past, is_bankrupt]: &mut [Lane; 2],
    [margin_buffer, required, debt]: &[Lane; 3],
    is_open: bool,
    conventions: &Conventions,
) {
    for lane in 0..LANES {
        let is_flat = !is_open && debt[lane] == 0.0;
        let past = !is_flat && conventions.is_past_by(margin_buffer[lane], required[lane]);
        is_past[lane] = f64::from(u8::from(past));
        if is_flat {
            is_bankrupt[lane] = 0.0;
        }
    }
}
