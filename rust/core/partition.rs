//! Rows cut into parts of neighbouring accounts, small enough to be grouped in cache.
//!
//! Input rows come in any order, and looking each one up where it stands costs a cache miss
//! a column. So they are read once, in order, and copied to the part of their account;
//! `Parts::grouped` then brings a part's rows together by account. Both steps keep the input
//! order within an account, and neither depends on the threads.

use std::ops::Range;

use crate::batch;

/// Parts at most: each has an open end that a thread writes to.
const MOST_PARTS: usize = 2048;

/// Something that belongs to an account.
pub(crate) trait Owned: Copy + Send + Sync {
    /// Number of the account.
    fn account(&self) -> u32;
}

/// Rows by part; in each, those of the first slice of the input first.
pub(crate) struct Parts<R> {
    width: usize,
    accounts: usize,
    slices: Vec<Vec<Vec<R>>>,
}

impl<R: Owned> Parts<R> {
    /// Cuts the rows that `row` gives into parts whose width is a multiple of `block`.
    pub(crate) fn cut(
        rows: usize,
        accounts: usize,
        block: usize,
        threads: usize,
        row: impl Fn(usize) -> Option<R> + Sync,
    ) -> Self {
        let blocks = accounts.div_ceil(block).max(1);
        let width = block * blocks.div_ceil(MOST_PARTS);
        let parts = accounts.div_ceil(width).max(1);
        let pieces = if threads > 1 { 2 * threads } else { 1 };
        let slices = batch::map(threads, batch::ranges(rows, pieces), |range| {
            let mean = range.len() / parts;
            let room = mean + mean / 8 + 8;
            let mut slice: Vec<Vec<R>> = (0..parts).map(|_| Vec::with_capacity(room)).collect();
            for record in range.filter_map(&row) {
                slice[record.account() as usize / width].push(record);
            }
            slice
        });
        Self { width, accounts, slices }
    }

    /// Number of parts.
    pub(crate) fn len(&self) -> usize {
        self.slices[0].len()
    }

    /// The accounts of a part.
    pub(crate) fn accounts(&self, part: usize) -> Range<usize> {
        (part * self.width).min(self.accounts)..((part + 1) * self.width).min(self.accounts)
    }

    /// Brings the rows of a part together by account.
    pub(crate) fn group(&self, part: usize, grouped: &mut Grouped<R>) {
        let accounts = self.accounts(part);
        let records = || self.slices.iter().flat_map(|slice| &slice[part]);
        let local = |record: &R| record.account() as usize - accounts.start;
        grouped.first = accounts.start;
        grouped.start.clear();
        grouped.start.resize(accounts.len() + 1, 0);
        records().for_each(|record| grouped.start[local(record) + 1] += 1);
        for account in 0..accounts.len() {
            grouped.start[account + 1] += grouped.start[account];
        }
        grouped.next.clear();
        grouped.next.extend_from_slice(&grouped.start);
        grouped.rows.clear();
        if let Some(any) = records().next() {
            grouped.rows.resize(grouped.start[accounts.len()], *any);
        }
        for record in records() {
            let next = &mut grouped.next[local(record)];
            grouped.rows[*next] = *record;
            *next += 1;
        }
    }
}

/// The rows of one part, by account.
pub(crate) struct Grouped<R> {
    first: usize,
    start: Vec<usize>,
    next: Vec<usize>,
    rows: Vec<R>,
}

impl<R> Default for Grouped<R> {
    fn default() -> Self {
        Self { first: 0, start: Vec::new(), next: Vec::new(), rows: Vec::new() }
    }
}

impl<R> Grouped<R> {
    /// The rows of an account of the part, in input order.
    pub(crate) fn rows(&self, account: usize) -> &[R] {
        let local = account - self.first;
        &self.rows[self.start[local]..self.start[local + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Row(u32, usize);

    impl Owned for Row {
        fn account(&self) -> u32 {
            self.0
        }
    }

    #[test]
    fn every_account_gets_its_rows_in_input_order() {
        let accounts = 10_000;
        let owner = |row: usize| (row as u32 * 7919) % accounts;
        for threads in [1, 3] {
            let row = |row: usize| (!row.is_multiple_of(10)).then(|| Row(owner(row), row));
            let parts = Parts::cut(30_000, accounts as usize, 4, threads, row);
            let mut grouped = Grouped::default();
            let mut seen = 0;
            for part in 0..parts.len() {
                parts.group(part, &mut grouped);
                for account in parts.accounts(part) {
                    let rows = grouped.rows(account);
                    assert!(rows.iter().all(|row| row.0 as usize == account));
                    assert!(rows.is_sorted_by_key(|row| row.1));
                    seen += rows.len();
                }
            }
            assert_eq!(seen, 27_000);
        }
    }

    #[test]
    fn no_accounts_make_one_part_without_rows() {
        let parts = Parts::cut(5, 0, 1024, 2, |_| None::<Row>);
        assert_eq!((parts.len(), parts.accounts(0)), (1, 0..0));
        parts.group(0, &mut Grouped::default());
    }
}
