//! A block in the making: what it holds, row by row, kept for the next block.
//!
//! A row's values are written together, because they are known together; `Draft::pack` writes
//! them to the block column by column.

use crate::block::{Block, Special};
use crate::keys::NONE;
use crate::slabs::{Filler, words};

/// A merged row: all rows of a bucket with the same instrument, tier table and side.
#[derive(Clone, Copy)]
pub(crate) struct Merged {
    pub(crate) instrument: u32,
    /// What else it says, by its place in `Draft::specials`; `NONE` for nothing.
    pub(crate) special: u32,
    pub(crate) quantity: f64,
    pub(crate) cost: f64,
    pub(crate) inverse_cost: f64,
}

/// A bucket.
#[derive(Clone, Copy)]
struct Closed {
    isolated_row: u32,
    /// Input position rows.
    rows: u32,
    /// Where its merged rows end.
    row_end: u32,
    /// Where its balances end.
    cash_end: u32,
    isolated_margin: f64,
}

/// What `Block` has as columns, and what it means there.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) first_account: usize,
    bucket_start: Vec<u32>,
    buckets: Vec<Closed>,
    pub(crate) pool: Vec<u32>,
    pub(crate) merged: Vec<Merged>,
    pub(crate) specials: Vec<Special>,
    pub(crate) home: Vec<u32>,
    /// The asset of each balance, and units of it.
    pub(crate) cash: Vec<(u32, f64)>,
    /// Input position rows, by account, and for each of them its merged row.
    pub(crate) taken: Vec<(u32, u32)>,
}

impl Draft {
    /// Empties it: no accounts, the first of which is to be this one of the book.
    pub(crate) fn start(&mut self, first_account: usize) {
        self.first_account = first_account;
        self.bucket_start.clear();
        self.bucket_start.push(0);
        self.buckets.clear();
        self.merged.clear();
        self.specials.clear();
        self.cash.clear();
        self.taken.clear();
        [&mut self.pool, &mut self.home].into_iter().for_each(Vec::clear);
    }

    /// Ends a bucket of so many input rows, whose merged rows and balances are what was written
    /// since the last one.
    #[inline]
    pub(crate) fn close_bucket(&mut self, isolated_row: u32, isolated_margin: f64, rows: usize) {
        self.buckets.push(Closed {
            isolated_row,
            rows: rows as u32,
            row_end: self.merged.len() as u32,
            cash_end: self.cash.len() as u32,
            isolated_margin,
        });
    }

    /// Ends an account.
    #[inline]
    pub(crate) fn close_account(&mut self) {
        self.bucket_start.push(self.buckets.len() as u32);
    }

    /// Number of buckets.
    #[inline]
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Counts one more input row of a bucket.
    pub(crate) fn count_row(&mut self, bucket: usize) {
        self.buckets[bucket].rows += 1;
    }

    /// The block, packed in slabs.
    pub(crate) fn pack(&self, filler: &mut Filler<'_>) -> Block {
        let Self { bucket_start, buckets, pool, merged, specials, home, cash, taken, .. } = self;
        let is_isolated = buckets.iter().any(|bucket| bucket.isolated_row != NONE);
        let says_more = merged.iter().any(|row| row.special != NONE);
        let isolated = if is_isolated { &buckets[..] } else { &[] };
        let special = if says_more { &merged[..] } else { &[] };
        let codes = [
            bucket_start.len(),
            isolated.len(),
            buckets.len(),
            pool.len(),
            buckets.len() + 1,
            buckets.len() + 1,
            merged.len(),
            special.len(),
            home.len(),
            cash.len(),
            taken.len(),
            taken.len(),
        ];
        let numbers = [isolated.len(), merged.len(), merged.len(), merged.len(), cash.len()];
        let of_codes = codes.iter().map(|length| words::<u32>(*length));
        let of_numbers = numbers.iter().map(|length| words::<f64>(*length));
        filler.make_room(of_codes.sum::<usize>() + of_numbers.sum::<usize>());
        Block {
            first_account: self.first_account,
            first_bucket: 0,
            bucket_start: filler.place(bucket_start),
            isolated_row: filler.fill(isolated.iter().map(|bucket| bucket.isolated_row)),
            isolated_margin: filler.fill(isolated.iter().map(|bucket| bucket.isolated_margin)),
            row_count: filler.fill(buckets.iter().map(|bucket| bucket.rows)),
            pool: filler.place(pool),
            row_start: filler.starts(buckets.iter().map(|bucket| bucket.row_end)),
            cash_start: filler.starts(buckets.iter().map(|bucket| bucket.cash_end)),
            instrument: filler.fill(merged.iter().map(|row| row.instrument)),
            quantity: filler.fill(merged.iter().map(|row| row.quantity)),
            cost: filler.fill(merged.iter().map(|row| row.cost)),
            inverse_cost: filler.fill(merged.iter().map(|row| row.inverse_cost)),
            special: filler.fill(special.iter().map(|row| row.special)),
            specials: specials.clone(),
            home: filler.place(home),
            asset: filler.fill(cash.iter().map(|(asset, _)| *asset)),
            amount: filler.fill(cash.iter().map(|(_, amount)| *amount)),
            row: filler.fill(taken.iter().map(|(row, _)| *row)),
            slot: filler.fill(taken.iter().map(|(_, slot)| *slot)),
        }
    }
}
