//! A bucket as one sum: its margin buffer in any scenario, but for rounding.
//!
//! With marginal tiers and plain weights the buffer is a sum of coefficients times what one
//! contract, or one unit of an asset, is worth. That is a fraction of the work of `lanes`, and
//! its last bits differ; so it only tells where nothing is near a line and nothing lowest.
//! `Form::error` bounds how far it is from what `lanes` says: each of the `n` terms and each of
//! their sums is rounded a few times, by at most half of 2^-52 of the sum of all sizes.

#![allow(clippy::needless_range_loop)] // vectors are walked by number, several at once

use std::ops::RangeInclusive;

use pulp::Simd;

use crate::block::Bucket;
use crate::keys::NONE;
use crate::lanes::{Lanes, Line, Vectors, vectors};
use crate::tiers::tier_at;

/// Roundings of a term, and of what is done with it, on either way; ample.
pub(crate) const ROUNDINGS: f64 = 32.0;

/// A coefficient, and what it is of: an instrument, or beyond all of them an asset.
#[derive(Clone, Copy)]
struct Term {
    of: u32,
    coefficient: f64,
}

/// Contracts that change tier between scenarios, and the tiers that they are in.
struct Crossing {
    instrument: u32,
    contracts: f64,
    tiers: RangeInclusive<usize>,
}

/// A bucket's margin buffer as a sum. See the module.
#[derive(Default)]
pub(crate) struct Form {
    terms: Vec<Term>,
    crossing: Vec<Crossing>,
    /// How far the sum may be from the margin buffer.
    pub(crate) error: f64,
    size: f64,
}

impl Form {
    /// Takes a bucket that `lanes` admits; false where its buffer is no such sum.
    #[inline(always)]
    pub(crate) fn fuse(&mut self, bucket: &Bucket<'_>, lanes: &Lanes<'_>) -> bool {
        self.terms.clear();
        self.crossing.clear();
        self.size = 0.0;
        let level = lanes.rules.conventions.level;
        if let Some(posted) = bucket.isolated_margin {
            let line = &lanes.lines[bucket.instrument[0] as usize];
            let known = posted < 0.0 && line.settle_weights != NONE;
            let table = known.then(|| lanes.rules.weights.table(line.settle_weights));
            let rate = table.map_or(0.0, |table| table.borrow_maintenance_rate);
            self.add_asset(lanes, line.settle, posted * (1.0 + level * rate));
        }
        for (asset, amount) in bucket.asset.iter().zip(bucket.amount) {
            let coin = &lanes.coins[*asset as usize];
            let weight = if *amount >= 0.0 {
                if amount * coin.highest >= coin.bound {
                    return false;
                }
                coin.weight
            } else {
                let table = lanes.rules.weights.table(coin.weights);
                table.liability_weight + level * table.borrow_maintenance_rate
            };
            self.add_asset(lanes, *asset, amount * weight);
        }
        let rows = bucket.instrument.len();
        let mut row = 0;
        while row < rows {
            let instrument = bucket.instrument[row];
            let line = &lanes.lines[instrument as usize];
            let settle = line.multiplier * lanes.coins[line.settle as usize].highest;
            let (mut held, mut cost) = (0.0, 0.0);
            while row < rows && bucket.instrument[row] == instrument {
                let its =
                    if line.is_inverse { bucket.inverse_cost[row] } else { -bucket.cost[row] };
                held += bucket.quantity[row];
                cost += its;
                self.size += bucket.quantity[row].abs() * line.most + its.abs() * settle;
                row += 1;
            }
            self.add_asset(lanes, line.settle, line.multiplier * cost);
            let required = self.required(lanes, line, instrument, held.abs());
            let moved = if line.is_inverse { -held } else { held };
            self.size += held.abs() * line.most * level;
            self.terms.push(Term { of: instrument, coefficient: moved - level * required });
        }
        for crossing in &self.crossing {
            // What is taken off in its steepest tier may be as large as what it is taken off of.
            let line = &lanes.lines[crossing.instrument as usize];
            let table = lanes.rules.tiers.table(line.tiers);
            let most = table.iter().map(|tier| tier.maintenance.deduction.abs());
            let most = most.fold(0.0, f64::max);
            self.size += level * most * lanes.coins[line.settle as usize].highest;
        }
        let terms = (self.terms.len() + self.crossing.len() + rows) as f64;
        self.error = self.size * (terms + ROUNDINGS) * f64::EPSILON;
        self.error.is_finite()
    }

    /// Adds so many units of an asset.
    #[inline(always)]
    fn add_asset(&mut self, lanes: &Lanes<'_>, asset: u32, units: f64) {
        self.size += units.abs() * lanes.coins[asset as usize].highest;
        let of = lanes.lines.len() as u32 + asset;
        match self.terms.iter_mut().find(|term| term.of == of) {
            Some(term) => term.coefficient += units,
            None => self.terms.push(Term { of, coefficient: units }),
        }
    }

    /// What each unit of notional must hold, times contracts; what does not depend on the notional
    /// goes to the settle asset.
    #[inline(always)]
    fn required(&mut self, lanes: &Lanes<'_>, line: &Line, instrument: u32, contracts: f64) -> f64 {
        if contracts * line.span[1] < line.bound {
            return contracts * line.rate;
        }
        let (table, edge) =
            (lanes.rules.tiers.table(line.tiers), lanes.rules.conventions.tier_edge);
        let [least, most] = line.span.map(|value| tier_at(table, contracts * value, edge));
        let tier = table[least].maintenance;
        let is_above_0 = |value: f64| contracts * value * tier.rate > tier.deduction;
        if least == most && line.span.into_iter().all(is_above_0) {
            let level = lanes.rules.conventions.level;
            self.add_asset(lanes, line.settle, level * tier.deduction);
            return contracts * tier.rate;
        }
        self.crossing.push(Crossing { instrument, contracts, tiers: least..=most });
        0.0
    }

    /// What the margin buffer is at least in each run, then what it is at most where it is lowest
    /// in each run; but for an error of at most `error`.
    #[inline(always)]
    pub(crate) fn bounds<S: Simd, const R: usize>(
        &self,
        simd: S,
        lanes: &Lanes<'_>,
    ) -> Vectors<S, R> {
        let mut bounds = [simd.splat_f64s(0.0); R];
        for term in &self.terms {
            let edges = &lanes.edges[term.of as usize];
            let end = if term.coefficient < 0.0 { &edges.greatest } else { &edges.least };
            let (worth, coefficient) = (vectors::<S, R>(end), simd.splat_f64s(term.coefficient));
            for v in 0..R {
                bounds[v] = simd.add_f64s(bounds[v], simd.mul_f64s(coefficient, worth[v]));
            }
        }
        for crossing in &self.crossing {
            // No tier asks for more than the steepest does, and it for nothing less than 0.
            let line = &lanes.lines[crossing.instrument as usize];
            let settle = &lanes.edges[lanes.lines.len() + line.settle as usize];
            let notional = vectors::<S, R>(&lanes.edges[crossing.instrument as usize].greatest);
            let mut most = [simd.splat_f64s(0.0); R];
            for tier in &lanes.rules.tiers.table(line.tiers)[crossing.tiers.clone()] {
                let (rate, deduction) = (tier.maintenance.rate, tier.maintenance.deduction);
                let end = if deduction < 0.0 { &settle.greatest } else { &settle.least };
                let price = vectors::<S, R>(end);
                let rate = simd.splat_f64s(crossing.contracts * rate);
                let deduction = simd.splat_f64s(deduction);
                for v in 0..R / 2 {
                    let its = simd.mul_f64s(rate, notional[v]);
                    let its = simd.sub_f64s(its, simd.mul_f64s(deduction, price[v]));
                    most[v] = simd.max_f64s(most[v], its);
                }
            }
            let level = simd.splat_f64s(lanes.rules.conventions.level);
            for v in 0..R / 2 {
                bounds[v] = simd.sub_f64s(bounds[v], simd.mul_f64s(level, most[v]));
            }
        }
        bounds
    }

    /// The margin buffer in a run, but for an error of at most `error`.
    #[inline(always)]
    pub(crate) fn margin_buffer<S: Simd, const R: usize>(
        &self,
        simd: S,
        lanes: &Lanes<'_>,
        run: usize,
    ) -> Vectors<S, R> {
        let mut buffer = [simd.splat_f64s(0.0); R];
        let worths = lanes.worths(run);
        for term in &self.terms {
            let worth = vectors::<S, R>(&worths[term.of as usize]);
            let coefficient = simd.splat_f64s(term.coefficient);
            for v in 0..R {
                buffer[v] = simd.add_f64s(buffer[v], simd.mul_f64s(coefficient, worth[v]));
            }
        }
        for Crossing { instrument, contracts, .. } in &self.crossing {
            let required = lanes.required_of::<S, R>(simd, *instrument, *contracts, run);
            let level = simd.splat_f64s(lanes.rules.conventions.level);
            for v in 0..R {
                buffer[v] = simd.sub_f64s(buffer[v], simd.mul_f64s(level, required[v]));
            }
        }
        buffer
    }
}
