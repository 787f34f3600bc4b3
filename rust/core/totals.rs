//! Totals over the exchange: counts, and money summed exactly.

use crate::exact::ExactSum;
use crate::margin::{Margin, Status};
use crate::results::MONEY;
use crate::staged::{STAGED, Stage};

/// Counts by status and sums of money over determinate accounts.
#[derive(Clone, Default)]
pub struct Totals {
    by_status: [u64; 6],
    money: [ExactSum; MONEY.len()],
    liquidatable_accounts: u64,
    liquidatable_notional: ExactSum,
    margin_deficit: ExactSum,
    positions: u64,
}

/// `Totals`, rounded: what the `totals` frame shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// Accounts by status, in the order of `Status`.
    pub by_status: [u64; 6],
    /// Each the correctly rounded sum of the accounts column, in the order of `MONEY`.
    pub money: [f64; MONEY.len()],
    /// Accounts past the line.
    pub liquidatable_accounts: u64,
    /// Their gross notional.
    pub liquidatable_notional: f64,
    /// What buckets lack to reach the line, summed over buckets.
    pub total_margin_deficit: f64,
    /// Input position rows of determinate accounts.
    pub positions: u64,
}

impl Totals {
    /// Adds accounts that are concluded, column by column.
    #[inline(always)]
    pub(crate) fn add_accounts(&mut self, staged: &Stage) {
        for (status, total) in self.by_status.iter_mut().enumerate() {
            let is_it = |of_row: &u8| u8::from(*of_row == status as u8);
            let count = staged.status.iter().fold(0, |count, of_row| count + is_it(of_row));
            *total += u64::from(count);
        }
        // Beyond the staged rows there is nothing, which is flat.
        self.by_status[Status::Flat as usize] -= (STAGED - staged.len()) as u64;
        self.positions += staged.positions[..STAGED].iter().sum::<i64>() as u64;
        let past = staged.flags.iter().fold(0, |count, flag| count + u8::from(*flag));
        self.liquidatable_accounts += u64::from(past);
        for (sum, values) in self.money.iter_mut().zip(staged.money()) {
            sum.add_block(values);
        }
        self.liquidatable_notional.add_block(&staged.past_notional());
        self.margin_deficit.add_block(&staged.lacking);
    }

    /// Counts what a bucket lacks, one of several of an account.
    pub fn add_bucket(&mut self, bucket: &Margin) {
        if bucket.margin_buffer < 0.0 {
            self.margin_deficit.add(-bucket.margin_buffer);
        }
    }

    /// Adds another part of the exchange.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.by_status.iter_mut().zip(other.by_status) {
            *mine += theirs;
        }
        for (mine, theirs) in self.money.iter_mut().zip(&other.money) {
            mine.merge(theirs);
        }
        self.liquidatable_accounts += other.liquidatable_accounts;
        self.liquidatable_notional.merge(&other.liquidatable_notional);
        self.margin_deficit.merge(&other.margin_deficit);
        self.positions += other.positions;
    }

    /// The exact sums: of money, in the order of `MONEY`, of the notional of accounts past the
    /// line, and of what buckets lack.
    pub fn sums(&self) -> impl Iterator<Item = &ExactSum> {
        self.money.iter().chain([&self.liquidatable_notional, &self.margin_deficit])
    }

    /// Rounds every sum, once.
    pub fn round(&self) -> Rounded {
        Rounded {
            by_status: self.by_status,
            money: std::array::from_fn(|i| self.money[i].round()),
            liquidatable_accounts: self.liquidatable_accounts,
            liquidatable_notional: self.liquidatable_notional.round(),
            total_margin_deficit: self.margin_deficit.round(),
            positions: self.positions,
        }
    }
}
