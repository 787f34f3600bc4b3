//! What scenarios do to the exchange, run by run: counts, and money summed exactly.

#![allow(clippy::needless_range_loop)] // vectors are walked by number, several at once

use pulp::Simd;

use crate::exact::ExactSum;
use crate::heap::Heap;
use crate::lanes::{LANES, Lane, Vectors, vectors};
use crate::standing::Past;

/// What one scenario does to the exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Accounts past the line.
    pub liquidatable_accounts: u64,
    /// Those that are not so in the market as given.
    pub newly_liquidatable_accounts: u64,
    /// Accounts with a bucket whose equity is below 0.
    pub bankrupt_accounts: u64,
    /// Gross notional of the accounts past the line.
    pub liquidatable_notional: ExactSum,
    /// Of all accounts.
    pub total_bad_debt: ExactSum,
    /// What buckets lack to reach the line.
    pub total_margin_deficit: ExactSum,
}

/// What the scenarios of a run do to the accounts seen so far. Counts are whole numbers, exact up
/// to 2^53.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// Accounts past the line: those that are not so in the market as given, then those that are.
    liquidatable: [Lane; 2],
    bankrupt: Lane,
    notional: Heap,
    bad_debt: Heap,
    deficit: Heap,
}

impl Tally {
    /// Takes an account that is past the line in some scenarios.
    #[inline(always)]
    pub(crate) fn add_past<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        past: &Past<S, R>,
        is_past_now: bool,
    ) {
        count::<S, R>(simd, &mut self.liquidatable[usize::from(is_past_now)], &past.is_past);
        let mut notional = past.gross_notional;
        for v in 0..R {
            let none = simd.equal_f64s(past.is_past[v], simd.splat_f64s(0.0));
            notional[v] = simd.select_f64s(none, simd.splat_f64s(0.0), notional[v]);
        }
        self.notional.add::<S, R>(&notional);
    }

    /// Takes an account that is bankrupt in some: there and nowhere else it owes what it has not.
    #[inline(always)]
    pub(crate) fn add_bankrupt<S: Simd, const R: usize>(&mut self, simd: S, past: &Past<S, R>) {
        count::<S, R>(simd, &mut self.bankrupt, &past.is_bankrupt);
        self.bad_debt.add::<S, R>(&past.bad_debt);
    }

    /// Takes what a bucket lacks.
    #[inline(always)]
    pub(crate) fn add_lack<S: Simd, const R: usize>(&mut self, lack: &Vectors<S, R>) {
        self.deficit.add::<S, R>(lack);
    }

    fn settle(&mut self) {
        self.notional.settle();
        self.bad_debt.settle();
        self.deficit.settle();
    }

    fn merge(&mut self, mut other: Self) {
        self.settle();
        other.settle();
        for lane in 0..LANES {
            self.liquidatable[0][lane] += other.liquidatable[0][lane];
            self.liquidatable[1][lane] += other.liquidatable[1][lane];
            self.bankrupt[lane] += other.bankrupt[lane];
        }
        self.notional.merge(&other.notional);
        self.bad_debt.merge(&other.bad_debt);
        self.deficit.merge(&other.deficit);
    }

    fn outcome(&self, lane: usize) -> Outcome {
        let [newly, before] = self.liquidatable.map(|count| count[lane] as u64);
        Outcome {
            liquidatable_accounts: newly + before,
            newly_liquidatable_accounts: newly,
            bankrupt_accounts: self.bankrupt[lane] as u64,
            liquidatable_notional: self.notional.sum(lane).clone(),
            total_bad_debt: self.bad_debt.sum(lane).clone(),
            total_margin_deficit: self.deficit.sum(lane).clone(),
        }
    }
}

/// Adds the ones of a row to counts.
#[inline(always)]
fn count<S: Simd, const R: usize>(simd: S, counts: &mut Lane, ones: &Vectors<S, R>) {
    let mut all = *vectors::<S, R>(counts);
    for v in 0..R {
        all[v] = simd.add_f64s(all[v], ones[v]);
    }
    S::as_mut_simd_f64s(counts).0.copy_from_slice(&all);
}

/// Tallies of a pass, and a scenario in which money overflowed.
pub(crate) struct Tallies {
    /// By run.
    pub(crate) of: Vec<Tally>,
    pub(crate) overflown: Option<usize>,
}

impl Tallies {
    /// Of so many scenarios, of no account.
    pub(crate) fn new(scenarios: usize) -> Self {
        Self { of: vec![Tally::default(); scenarios.div_ceil(LANES)], overflown: None }
    }

    /// Adds those of other accounts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.overflown = self.overflown.or(other.overflown);
        self.of.iter_mut().zip(other.of).for_each(|(mine, theirs)| mine.merge(theirs));
    }

    /// Of each scenario, then of what fills the last run up.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.of.iter().flat_map(|tally| (0..LANES).map(|lane| tally.outcome(lane)))
    }
}
