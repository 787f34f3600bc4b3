//! The common case of a stress: a bucket in several scenarios at a time.
//!
//! A lane is a scenario, a run is `LANES` of them, and a vector some lanes of a run. Where
//! `Plain` has a short way, every lane takes it, operation by operation in the order of
//! `margin_of`, nothing fused: so each has the bits of the sweep of its own market.

#![allow(clippy::needless_range_loop)] // vectors are walked by number, several at once

use pulp::Simd;

use crate::block::Bucket;
use crate::conventions::{Compare, Conventions, ProfitAndLoss, TierEdge, ZeroRequirement};
use crate::keys::NONE;
use crate::margin::{Margin, Status};
use crate::market::Kind;
use crate::marks::{Mark, Marks};
use crate::rules::Rules;
use crate::tiers::{Tier, tier_at};
use crate::weights::WeightTable;

/// Scenarios that are looked at together.
pub(crate) const LANES: usize = 16;

/// A mark below which an inverse contract's value may overflow.
const TINY: f64 = 1e-200;

/// A number in each of them.
pub(crate) type Lane = [f64; LANES];

/// What rows need of an instrument whatever its price.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) multiplier: f64,
    /// The least and the greatest notional of a contract in the pass, settle asset.
    pub(crate) span: [f64; 2],
    /// The greatest, valuation asset.
    pub(crate) most: f64,
    /// Notional from which on the first tier may not be the right one.
    pub(crate) bound: f64,
    pub(crate) rate: f64,
    pub(crate) tiers: u32,
    /// The settle asset, by its place in `Marks::assets`.
    pub(crate) settle: u32,
    pub(crate) settle_weights: u32,
    pub(crate) is_inverse: bool,
    is_option: bool,
}

/// Prices of an instrument in a run.
#[derive(Clone, Copy)]
struct Prices {
    /// The mark.
    mark: Lane,
    /// Notional of a contract, settle asset.
    value: Lane,
    /// The least and the greatest of these.
    span: [f64; 2],
}

/// What balances need of an asset whatever its price.
#[derive(Clone, Copy)]
pub(crate) struct Coin {
    /// The greatest price in the pass, valuation asset.
    pub(crate) highest: f64,
    /// Value from which on the first slice may not be the right one.
    pub(crate) bound: f64,
    pub(crate) weight: f64,
    pub(crate) weights: u32,
}

/// Prices of an asset in a run, valuation asset.
#[derive(Clone, Copy)]
struct AssetPrices {
    price: Lane,
    highest: f64,
}

/// All instruments and assets in some scenarios. See the module.
pub(crate) struct Lanes<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) lines: Vec<Line>,
    pub(crate) coins: Vec<Coin>,
    /// By run, then by instrument, then by asset: notional of a contract, price; valuation asset.
    worths: Vec<Lane>,
    are_fused: bool,
    /// By run, then by instrument.
    prices: Vec<Prices>,
    /// By run, then by asset.
    assets: Vec<AssetPrices>,
    has_options: bool,
}

/// A number in each lane of a run, as `R` vectors.
pub(crate) type Vectors<S, const R: usize> = [<S as Simd>::f64s; R];

/// What is past a line in an account, in a run of scenarios.
#[derive(Default)]
pub(crate) struct Past {
    /// Whether anything may be.
    pub(crate) is_near: bool,
    /// Scenarios, by bits, in which it is past the line.
    pub(crate) is_past: u32,
    /// Scenarios, by bits, in which it is bankrupt.
    pub(crate) is_bankrupt: u32,
    pub(crate) bad_debt: Lane,
}

/// Where a bucket stands in a run, and what it must hold.
#[derive(Clone, Copy)]
pub(crate) struct Standing<S: Simd, const R: usize> {
    pub(crate) equity: Vectors<S, R>,
    pub(crate) margin_buffer: Vectors<S, R>,
    required: Vectors<S, R>,
    debt: Vectors<S, R>,
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

/// The vectors of a run.
#[inline(always)]
pub(crate) fn vectors<S: Simd, const R: usize>(lane: &Lane) -> &Vectors<S, R> {
    &S::as_simd_f64s(lane).0.as_chunks::<R>().0[0]
}

/// The lanes of vectors.
#[inline(always)]
pub(crate) fn lanes<S: Simd, const R: usize>(vectors: &Vectors<S, R>) -> Lane {
    let mut lane = [0.0; LANES];
    S::as_mut_simd_f64s(&mut lane).0.copy_from_slice(vectors);
    lane
}

impl<'a> Lanes<'a> {
    /// None where the ruleset asks for more than the short way has, there are no scenarios, or
    /// a price is so near 0 that money might overflow, which the short way does not look at.
    pub(crate) fn new(scenarios: &[Marks], rules: &'a Rules) -> Option<Self> {
        let conventions = &rules.conventions;
        let is_plain =
            conventions.are_plain() && conventions.profit_and_loss == ProfitAndLoss::Beside;
        let first = scenarios.first().filter(|_| is_plain)?;
        let is_tiny = |mark: &Mark| mark.is_priced && mark.price < TINY;
        if scenarios.iter().any(|marks| marks.instruments.iter().any(is_tiny)) {
            return None;
        }
        let mut prices = Vec::new();
        let mut assets = Vec::new();
        for run in scenarios.chunks(LANES) {
            // The last run is filled up with its last scenario.
            let of = |number: &dyn Fn(&Marks) -> f64| -> Lane {
                std::array::from_fn(|lane| number(&run[lane.min(run.len() - 1)]))
            };
            for place in 0..first.instruments.len() {
                let value = of(&|marks| marks.instruments[place].value);
                prices.push(Prices {
                    mark: of(&|marks| marks.instruments[place].price),
                    value,
                    span: span(&value),
                });
            }
            for place in 0..first.assets.len() {
                let price = of(&|marks| marks.assets[place].price);
                assets.push(AssetPrices { price, highest: span(&price)[1] });
            }
        }
        let runs = scenarios.len().div_ceil(LANES);
        let coins = first.assets.iter().enumerate().map(|(place, mark)| {
            let of_runs = (0..runs).map(|run| assets[run * first.assets.len() + place].highest);
            let slice = (mark.weights != NONE).then(|| rules.weights.table(mark.weights).first());
            Coin {
                highest: of_runs.fold(0.0, f64::max),
                bound: slice.map_or(f64::NEG_INFINITY, |slice| slice.end),
                weight: slice.map_or(0.0, |slice| slice.maintenance),
                weights: mark.weights,
            }
        });
        let coins: Vec<Coin> = coins.collect();
        let nothing = [Tier::default()];
        let lines = first.instruments.iter().enumerate().map(|(place, mark)| {
            let known = mark.tiers != NONE;
            let table = if known { rules.tiers.table(mark.tiers) } else { &nothing };
            let spans = (0..runs).map(|run| prices[run * first.instruments.len() + place].span);
            let span = spans.fold([f64::INFINITY, 0.0], |all, its| {
                [f64::min(all[0], its[0]), f64::max(all[1], its[1])]
            });
            Line {
                multiplier: mark.multiplier,
                span,
                most: span[1] * coins.get(mark.settle as usize).map_or(0.0, |coin| coin.highest),
                bound: table.get(1).map_or(f64::INFINITY, |tier| tier.floor),
                rate: table[0].maintenance.rate,
                tiers: mark.tiers,
                settle: mark.settle,
                settle_weights: mark.settle_weights,
                is_inverse: mark.kind == Kind::Inverse,
                is_option: mark.kind.is_option(),
            }
        });
        let lines: Vec<Line> = lines.collect();
        let mut worths = Vec::with_capacity(runs * (lines.len() + coins.len()));
        for run in 0..runs {
            let of_run = &assets[run * coins.len()..][..coins.len()];
            worths.extend(lines.iter().zip(&prices[run * lines.len()..]).map(|(line, prices)| {
                let settle = of_run.get(line.settle as usize).map_or([0.0; LANES], |a| a.price);
                std::array::from_fn(|lane| prices.value[lane] * settle[lane])
            }));
            worths.extend(of_run.iter().map(|asset| asset.price));
        }
        // Then what is bankrupt is past the line, and the buffer is a sum.
        let are_fused = conventions.profit_weight == 1.0 && rules.weights.lend_at_par();
        let has_options = lines.iter().any(|line| line.is_option);
        Some(Self { rules, lines, coins, worths, are_fused, prices, assets, has_options })
    }

    /// Whether a bucket's margin buffer may be told by one sum, and a bankrupt one is below 0.
    #[inline(always)]
    pub(crate) fn are_fused(&self) -> bool {
        self.are_fused
    }

    /// What one contract of each instrument, then one unit of each asset is worth in a run.
    #[inline(always)]
    pub(crate) fn worths(&self, run: usize) -> &[Lane] {
        let width = self.lines.len() + self.coins.len();
        &self.worths[run * width..][..width]
    }

    /// What contracts of an instrument must hold, valuation asset.
    #[inline(always)]
    pub(crate) fn required_of<S: Simd, const R: usize>(
        &self,
        simd: S,
        instrument: u32,
        contracts: f64,
        run: usize,
    ) -> Vectors<S, R> {
        let (line, prices) = self.priced(instrument, run);
        let settle = vectors::<S, R>(&self.asset(line.settle, run).price);
        let mut required = self.required::<S, R>(simd, line, contracts, prices);
        for v in 0..R {
            required[v] = simd.mul_f64s(required[v], settle[v]);
        }
        required
    }

    /// Whether the bucket has no row that says more than a line does.
    #[inline(always)]
    pub(crate) fn admits(&self, bucket: &Bucket<'_>) -> bool {
        let rows = 0..bucket.instrument.len();
        let names_none =
            bucket.special.is_empty() || rows.into_iter().all(|row| bucket.table_of(row) == NONE);
        let is_option = |instrument: &u32| self.lines[*instrument as usize].is_option;
        names_none && !(self.has_options && bucket.instrument.iter().any(is_option))
    }

    #[inline(always)]
    fn asset(&self, asset: u32, run: usize) -> &AssetPrices {
        &self.assets[run * self.coins.len() + asset as usize]
    }

    #[inline(always)]
    fn priced(&self, instrument: u32, run: usize) -> (&Line, &Prices) {
        let place = instrument as usize;
        (&self.lines[place], &self.prices[run * self.lines.len() + place])
    }

    /// Where a bucket that is admitted stands in a run.
    #[inline(always)]
    pub(crate) fn standing<S: Simd, const R: usize>(
        &self,
        simd: S,
        bucket: &Bucket<'_>,
        run: usize,
    ) -> Standing<S, R> {
        let conventions = &self.rules.conventions;
        let rows = bucket.instrument.len();
        let (quantity, cost) = (&bucket.quantity[..rows], &bucket.cost[..rows]);
        let inverse_cost = &bucket.inverse_cost[..rows];
        let zero = [simd.splat_f64s(0.0); R];
        let (mut pnl, mut counted, mut maintenance) = (zero, zero, zero);
        let counts_in_full = conventions.profit_weight == 1.0;
        let mut gross = 0.0;
        let mut row = 0;
        while row < rows {
            let instrument = bucket.instrument[row];
            let (line, prices) = self.priced(instrument, run);
            let mark = vectors::<S, R>(&prices.mark);
            let settle = vectors::<S, R>(&self.asset(line.settle, run).price);
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
            let required = self.required::<S, R>(simd, line, held.abs(), prices);
            for v in 0..R {
                let required = simd.mul_f64s(required[v], settle[v]);
                maintenance[v] = simd.add_f64s(maintenance[v], required);
            }
        }
        let counted = if counts_in_full { pnl } else { counted };
        let owned = self.owned::<S, R>(simd, bucket, run);
        let level = simd.splat_f64s(conventions.level);
        let mut standing = Standing {
            equity: zero,
            margin_buffer: zero,
            required: zero,
            debt: owned.debt,
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

    /// What contracts must hold, settle asset.
    #[inline(always)]
    fn required<S: Simd, const R: usize>(
        &self,
        simd: S,
        line: &Line,
        contracts: f64,
        prices: &Prices,
    ) -> Vectors<S, R> {
        let value = vectors::<S, R>(&prices.value);
        let mut required = [simd.splat_f64s(contracts); R];
        let rate = simd.splat_f64s(line.rate);
        for v in 0..R {
            required[v] = simd.mul_f64s(required[v], value[v]);
        }
        // A product grows with its factor, rounded too.
        if contracts * prices.span[1] >= line.bound {
            return self.required_above::<S, R>(simd, line, contracts, prices, required);
        }
        for v in 0..R {
            required[v] = simd.mul_f64s(required[v], rate);
        }
        required
    }

    /// The same of notionals that lie, some or all, beyond the first tier.
    #[inline(always)]
    fn required_above<S: Simd, const R: usize>(
        &self,
        simd: S,
        line: &Line,
        contracts: f64,
        prices: &Prices,
        notional: Vectors<S, R>,
    ) -> Vectors<S, R> {
        let table = self.rules.tiers.table(line.tiers);
        let edge = self.rules.conventions.tier_edge;
        let [least, most] = prices.span.map(|value| tier_at(table, contracts * value, edge));
        let zero = simd.splat_f64s(0.0);
        let mut required = notional;
        for (index, tier) in table[least..=most].iter().enumerate() {
            let floor = simd.splat_f64s(tier.floor);
            let rate = simd.splat_f64s(tier.maintenance.rate);
            let deduction = simd.splat_f64s(tier.maintenance.deduction);
            for v in 0..R {
                let all = simd.sub_f64s(simd.mul_f64s(notional[v], rate), deduction);
                let its = simd.select_f64s(simd.less_than_f64s(zero, all), all, zero);
                let reached = match edge {
                    TierEdge::Upper => simd.less_than_or_equal_f64s(floor, notional[v]),
                    TierEdge::Lower => simd.less_than_f64s(floor, notional[v]),
                };
                let before = required[v];
                required[v] = if index == 0 { its } else { simd.select_f64s(reached, its, before) };
            }
        }
        required
    }

    /// What a bucket owns and owes.
    #[inline(always)]
    fn owned<S: Simd, const R: usize>(
        &self,
        simd: S,
        bucket: &Bucket<'_>,
        run: usize,
    ) -> Owned<S, R> {
        let zero = [simd.splat_f64s(0.0); R];
        let mut owned =
            Owned { held: zero, weighted: zero, debt: zero, liability: zero, borrow: zero };
        if let Some(posted) = bucket.isolated_margin {
            let line = &self.lines[bucket.instrument[0] as usize];
            let price = vectors::<S, R>(&self.asset(line.settle, run).price);
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
            let prices = self.asset(*asset, run);
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

    /// Notional that is margined, valuation asset.
    #[inline(always)]
    pub(crate) fn gross_notional<S: Simd, const R: usize>(
        &self,
        simd: S,
        bucket: &Bucket<'_>,
        run: usize,
    ) -> Vectors<S, R> {
        let mut gross = [simd.splat_f64s(0.0); R];
        let rows = bucket.instrument.len();
        let mut row = 0;
        while row < rows {
            let instrument = bucket.instrument[row];
            let (line, prices) = self.priced(instrument, run);
            let settle = vectors::<S, R>(&self.asset(line.settle, run).price);
            let value = vectors::<S, R>(&prices.value);
            let mut held = bucket.quantity[row];
            row += 1;
            while row < rows && bucket.instrument[row] == instrument {
                held += bucket.quantity[row];
                row += 1;
            }
            let contracts = simd.splat_f64s(held.abs());
            for v in 0..R {
                let notional = simd.mul_f64s(contracts, value[v]);
                gross[v] = simd.add_f64s(gross[v], simd.mul_f64s(notional, settle[v]));
            }
        }
        gross
    }
}

fn span(lane: &Lane) -> [f64; 2] {
    [lane.iter().copied().fold(f64::INFINITY, f64::min), lane.iter().copied().fold(0.0, f64::max)]
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

/// The least of the numbers of a run.
#[inline(always)]
pub(crate) fn least<S: Simd, const R: usize>(simd: S, vectors: &Vectors<S, R>) -> f64 {
    let mut least = vectors[0];
    for vector in &vectors[1..] {
        least = simd.min_f64s(least, *vector);
    }
    simd.reduce_min_f64s(least)
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

    /// What of it is past a line.
    #[inline(always)]
    pub(crate) fn near(&self, simd: S, conventions: &Conventions) -> Near {
        // The sign of a zero is none, once 0 is added.
        let (zero, mut buffers, mut equities) =
            (simd.splat_f64s(0.0), self.margin_buffer, self.equity);
        for v in 0..R {
            buffers[v] = simd.add_f64s(buffers[v], zero);
            equities[v] = simd.add_f64s(equities[v], zero);
        }
        let (margin_buffer, equity) = (lanes::<S, R>(&buffers), lanes::<S, R>(&equities));
        let (lacks, is_bankrupt) = (signs(&margin_buffer), signs(&equity));
        let mut near = Near {
            margin_buffer,
            lacks,
            is_past: lacks,
            is_bankrupt,
            bad_debt: equity.map(bad_debt),
        };
        let is_usual = conventions.compare == Compare::Lt
            && conventions.zero_requirement == ZeroRequirement::Compare;
        if !self.is_open || !is_usual {
            let (required, debt) = (lanes::<S, R>(&self.required), lanes::<S, R>(&self.debt));
            near.look_closely(&required, &debt, self.is_open, conventions);
        }
        near
    }
}

/// A bucket of which something may be past a line, in a run.
pub(crate) struct Near {
    pub(crate) margin_buffer: Lane,
    /// Scenarios, by bits, in which it lacks something to reach the line.
    pub(crate) lacks: u32,
    /// Scenarios, by bits, in which it is past the line.
    pub(crate) is_past: u32,
    /// Scenarios, by bits, in which it is bankrupt.
    pub(crate) is_bankrupt: u32,
    pub(crate) bad_debt: Lane,
}

impl Near {
    #[inline(never)]
    fn look_closely(
        &mut self,
        required: &Lane,
        debt: &Lane,
        is_open: bool,
        conventions: &Conventions,
    ) {
        for lane in 0..LANES {
            let is_flat = !is_open && debt[lane] == 0.0;
            let is_past =
                !is_flat && conventions.is_past_by(self.margin_buffer[lane], required[lane]);
            self.is_past = self.is_past & !(1 << lane) | u32::from(is_past) << lane;
            if is_flat {
                self.is_bankrupt &= !(1 << lane);
            }
        }
    }
}

#[inline(always)]
fn bad_debt(equity: f64) -> f64 {
    if equity < 0.0 { -equity } else { 0.0 }
}

/// The lanes, by bits, whose number has a sign.
#[inline(always)]
fn signs(lane: &Lane) -> u32 {
    let mut signs = 0;
    for (place, number) in lane.iter().enumerate() {
        signs |= ((number.to_bits() >> 63) as u32) << place;
    }
    signs
}
