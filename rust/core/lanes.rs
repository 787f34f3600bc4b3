//! Scenarios side by side: what every instrument and asset is worth in several at a time.
//!
//! A lane is a scenario, a run is `LANES` of them, and a vector some lanes of a run. `Lanes` has
//! the prices of a pass, run by run, for buckets that `Plain` has a short way for; `standing`
//! takes that way in all lanes of a run at once.

#![allow(clippy::needless_range_loop)] // vectors are walked by number, several at once

use pulp::{Simd, WithSimd};

use crate::block::Bucket;
use crate::conventions::{ProfitAndLoss, TierEdge};
use crate::keys::NONE;
use crate::market::Kind;
use crate::marks::{Mark, Marks};
use crate::rules::Rules;
use crate::tiers::{Tier, tier_at};

/// Scenarios that are looked at together.
pub(crate) const LANES: usize = 16;

/// Runs of a pass, at most.
pub(crate) const RUNS: usize = LANES / 2;

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
    pub(crate) is_option: bool,
}

/// Prices of an instrument in a run.
#[derive(Clone, Copy)]
pub(crate) struct Prices {
    /// The mark.
    pub(crate) mark: Lane,
    /// Notional of a contract, settle asset.
    pub(crate) value: Lane,
    /// The least and the greatest of these.
    pub(crate) span: [f64; 2],
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
pub(crate) struct AssetPrices {
    pub(crate) price: Lane,
    pub(crate) highest: f64,
}

/// All instruments and assets in some scenarios. See the module.
pub(crate) struct Lanes<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) lines: Vec<Line>,
    pub(crate) coins: Vec<Coin>,
    /// By run, then by instrument, then by asset: notional of a contract, price; valuation asset.
    worths: Vec<Lane>,
    /// By instrument, then by asset. See `Edges`.
    pub(crate) edges: Vec<Edges>,
    /// Whether a bucket's margin buffer may be told by one sum, and a bankrupt one is below 0; and
    /// there is more than one run, so that something may be left out.
    pub(crate) are_fused: bool,
    pub(crate) runs: usize,
    /// By run, then by instrument.
    prices: Vec<Prices>,
    /// By run, then by asset.
    assets: Vec<AssetPrices>,
    has_options: bool,
}

/// The worth of something in each run, rather than in each scenario: in the first half of the
/// lanes an end of what it has in the run, in the second what it has in one of its scenarios.
#[derive(Clone, Copy)]
pub(crate) struct Edges {
    pub(crate) least: Lane,
    pub(crate) greatest: Lane,
}

/// A number in each lane of a run, as `R` vectors.
pub(crate) type Vectors<S, const R: usize> = [<S as Simd>::f64s; R];

/// The vectors of a run.
#[inline(always)]
pub(crate) fn vectors<S: Simd, const R: usize>(lane: &Lane) -> &Vectors<S, R> {
    &S::as_simd_f64s(lane).0.as_chunks::<R>().0[0]
}

/// The lanes of vectors.
#[inline(always)]
pub(crate) fn stored<S: Simd, const R: usize>(vectors: &Vectors<S, R>) -> Lane {
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
        let width = lines.len() + coins.len();
        let edges =
            (0..width).map(|place| edges(|run| &worths[run.min(runs - 1) * width + place], runs));
        let edges = edges.collect();
        // Then what is bankrupt is past the line, and the buffer is a sum.
        let are_fused = runs > 1 && conventions.profit_weight == 1.0 && rules.weights.lend_at_par();
        let has_options = lines.iter().any(|line| line.is_option);
        Some(Self {
            rules,
            lines,
            coins,
            worths,
            edges,
            are_fused,
            runs,
            prices,
            assets,
            has_options,
        })
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
        let (line, prices) =
            (&self.lines[instrument as usize], &self.prices(run)[instrument as usize]);
        let settle = vectors::<S, R>(&self.assets(run)[line.settle as usize].price);
        let notional = prices.notional::<S, R>(simd, contracts);
        let mut required = self.required::<S, R>(simd, line, contracts, prices, &notional);
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

    /// Prices of all instruments in a run.
    #[inline(always)]
    pub(crate) fn prices(&self, run: usize) -> &[Prices] {
        &self.prices[run * self.lines.len()..][..self.lines.len()]
    }

    /// Prices of all assets in a run.
    #[inline(always)]
    pub(crate) fn assets(&self, run: usize) -> &[AssetPrices] {
        &self.assets[run * self.coins.len()..][..self.coins.len()]
    }

    /// What contracts of so much notional must hold, settle asset.
    #[inline(always)]
    pub(crate) fn required<S: Simd, const R: usize>(
        &self,
        simd: S,
        line: &Line,
        contracts: f64,
        prices: &Prices,
        notional: &Vectors<S, R>,
    ) -> Vectors<S, R> {
        // A product grows with its factor, rounded too.
        if contracts * prices.span[1] >= line.bound {
            let tiers = self.rules.tiers.table(line.tiers);
            let edge = self.rules.conventions.tier_edge;
            let mut required = [0.0; LANES];
            simd.vectorize(Above { tiers, edge, contracts, prices, required: &mut required });
            return *vectors::<S, R>(&required);
        }
        let mut required = *notional;
        let rate = simd.splat_f64s(line.rate);
        for v in 0..R {
            required[v] = simd.mul_f64s(required[v], rate);
        }
        required
    }
}

impl Prices {
    /// Notional of contracts, settle asset.
    #[inline(always)]
    pub(crate) fn notional<S: Simd, const R: usize>(
        &self,
        simd: S,
        contracts: f64,
    ) -> Vectors<S, R> {
        let mut notional = *vectors::<S, R>(&self.value);
        let contracts = simd.splat_f64s(contracts);
        for v in 0..R {
            notional[v] = simd.mul_f64s(contracts, notional[v]);
        }
        notional
    }
}

/// What contracts must hold whose notionals lie, some or all, beyond the first tier. Not a part of
/// what calls it: that would have no registers left.
struct Above<'a> {
    tiers: &'a [Tier],
    edge: TierEdge,
    contracts: f64,
    prices: &'a Prices,
    required: &'a mut Lane,
}

impl WithSimd for Above<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiers, edge, contracts, prices, required } = self;
        let [least, most] = prices.span.map(|value| contracts * value);
        let (lowest, above) = tiers[tier_at(tiers, least, edge)..].split_first().expect("a tier");
        let (zero, contracts) = (simd.splat_f64s(0.0), simd.splat_f64s(contracts));
        let values = S::as_simd_f64s(&prices.value).0;
        let required = S::as_mut_simd_f64s(required).0;
        let its = |tier: &Tier, notional| {
            let rate = simd.splat_f64s(tier.maintenance.rate);
            let deduction = simd.splat_f64s(tier.maintenance.deduction);
            let all = simd.sub_f64s(simd.mul_f64s(notional, rate), deduction);
            simd.select_f64s(simd.less_than_f64s(zero, all), all, zero)
        };
        for (required, value) in required.iter_mut().zip(values) {
            *required = its(lowest, simd.mul_f64s(contracts, *value));
        }
        for tier in above.iter().take_while(|tier| tier.is_reached(most, edge)) {
            let floor = simd.splat_f64s(tier.floor);
            for (required, value) in required.iter_mut().zip(values) {
                let notional = simd.mul_f64s(contracts, *value);
                let reached = match edge {
                    TierEdge::Upper => simd.less_than_or_equal_f64s(floor, notional),
                    TierEdge::Lower => simd.less_than_f64s(floor, notional),
                };
                *required = simd.select_f64s(reached, its(tier, notional), *required);
            }
        }
    }
}

/// The edges of a worth that is given by run. A run's outermost scenario is where most is past a
/// line: the first in the runs of the falls, the last in those of the rises.
fn edges<'a>(of: impl Fn(usize) -> &'a Lane, runs: usize) -> Edges {
    let [mut least, mut greatest] = [[0.0; LANES]; 2];
    for run in 0..RUNS {
        [least[run], greatest[run]] = span(of(run));
        let outermost = of(run)[if 2 * run < runs { 0 } else { LANES - 1 }];
        (least[RUNS + run], greatest[RUNS + run]) = (outermost, outermost);
    }
    Edges { least, greatest }
}

fn span(lane: &Lane) -> [f64; 2] {
    [lane.iter().copied().fold(f64::INFINITY, f64::min), lane.iter().copied().fold(0.0, f64::max)]
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
