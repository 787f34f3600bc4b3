//! What scenarios do to the exchange, account by account: counts, and money summed exactly.

use crate::exact::{ExactSum, FEW};
use crate::lanes::Lane;
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

/// A sum that takes its values in heaps.
#[derive(Clone)]
struct Heap {
    sum: ExactSum,
    few: [f64; FEW],
    held: usize,
}

impl Default for Heap {
    fn default() -> Self {
        Self { sum: ExactSum::default(), few: [0.0; FEW], held: 0 }
    }
}

impl Heap {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.few[self.held] = value;
        self.held += 1;
        if self.held == FEW {
            self.settle();
        }
    }

    #[inline(never)]
    fn settle(&mut self) {
        self.sum.add_few(&self.few[..self.held]);
        self.held = 0;
    }

    fn merge(&mut self, mut other: Self) {
        other.settle();
        self.sum.merge(&other.sum);
    }

    fn exact(&self) -> ExactSum {
        let mut all = self.clone();
        all.settle();
        all.sum
    }
}

/// What one scenario does to the accounts seen so far.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    liquidatable: u64,
    newly: u64,
    bankrupt: u64,
    notional: Heap,
    bad_debt: Heap,
    deficit: Heap,
}

impl Tally {
    fn merge(&mut self, other: Self) {
        self.liquidatable += other.liquidatable;
        self.newly += other.newly;
        self.bankrupt += other.bankrupt;
        self.notional.merge(other.notional);
        self.bad_debt.merge(other.bad_debt);
        self.deficit.merge(other.deficit);
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            liquidatable_accounts: self.liquidatable,
            newly_liquidatable_accounts: self.newly,
            bankrupt_accounts: self.bankrupt,
            liquidatable_notional: self.notional.exact(),
            total_bad_debt: self.bad_debt.exact(),
            total_margin_deficit: self.deficit.exact(),
        }
    }
}

/// Tallies of a pass, and a scenario in which money overflowed.
pub(crate) struct Tallies {
    pub(crate) of: Vec<Tally>,
    pub(crate) overflown: Option<usize>,
}

impl Tallies {
    /// Of so many scenarios, of no account.
    pub(crate) fn new(scenarios: usize) -> Self {
        Self { of: vec![Tally::default(); scenarios], overflown: None }
    }

    /// Adds those of other accounts.
    pub(crate) fn merge(&mut self, other: Self) {
        self.overflown = self.overflown.or(other.overflown);
        self.of.iter_mut().zip(other.of).for_each(|(mine, theirs)| mine.merge(theirs));
    }
}

/// The scenarios whose bits are set.
#[inline(always)]
fn each(mut bits: u32, mut each: impl FnMut(usize)) {
    while bits != 0 {
        each(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}

/// Tallies what a bucket lacks.
#[inline(never)]
pub(crate) fn tally_lack(lacks: u32, margin_buffer: &Lane, tallies: &mut [Tally]) {
    each(lacks, |lane| tallies[lane].deficit.add(-margin_buffer[lane]));
}

/// Tallies an account where it is past the line.
#[inline(never)]
pub(crate) fn tally_past(past: &Past, is_past_now: bool, gross: &Lane, tallies: &mut [Tally]) {
    each(past.is_past, |lane| {
        let tally = &mut tallies[lane];
        tally.liquidatable += 1;
        tally.newly += u64::from(!is_past_now);
        tally.notional.add(gross[lane]);
    });
}

/// Tallies an account where it is bankrupt: there and nowhere else it owes what it has not.
#[inline(never)]
pub(crate) fn tally_bankrupt(past: &Past, tallies: &mut [Tally]) {
    each(past.is_bankrupt, |lane| {
        tallies[lane].bankrupt += 1;
        tallies[lane].bad_debt.add(past.bad_debt[lane]);
    });
}
