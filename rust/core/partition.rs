//! Rows cut into parts, small enough to be worked on in cache.
//!
//! Input rows come in any order, and looking each one up where it stands costs a cache miss
//! a column. So they are read once, in order, slice by slice, and `Cut` copies each to its
//! part; `Parts::group` then brings a part's rows together by account. Rows that come grouped
//! by account already are read where they stand. All keep the input order within an account,
//! and nothing depends on the threads.

use std::ops::Range;

use bytemuck::Pod;

use crate::memory::Buffer;

/// Parts at most: each has an open end that a thread writes to.
const MOST_PARTS: usize = 4096;

/// The records of a slice of the input, those of each part together.
pub(crate) struct Cut<R> {
    records: Buffer<R>,
    start: Vec<u32>,
}

impl<R: Pod> Cut<R> {
    /// Brings `records` together by the part that each belongs to.
    pub(crate) fn new(records: &[R], parts: usize, part: impl Fn(&R) -> usize) -> Self {
        let mut start = vec![0u32; parts + 1];
        records.iter().for_each(|record| start[part(record) + 1] += 1);
        (0..parts).for_each(|part| start[part + 1] += start[part]);
        let mut next = start.clone();
        let mut placed = Buffer::new(records.len());
        let places: &mut [R] = &mut placed;
        for record in records {
            let next = &mut next[part(record)];
            places[*next as usize] = *record;
            *next += 1;
        }
        Self { records: placed, start }
    }

    /// The records of a part.
    #[inline]
    pub(crate) fn part(&self, part: usize) -> &[R] {
        &self.records[self.start[part] as usize..self.start[part + 1] as usize]
    }
}

/// Something that belongs to an account.
pub(crate) trait Owned: Pod {
    /// Number of the account.
    fn account(&self) -> u32;
}

/// How accounts are cut into parts: neighbours, a power of two of them.
#[derive(Clone, Copy)]
pub(crate) struct Width {
    shift: u32,
    accounts: usize,
}

impl Width {
    /// Parts of `least` accounts (a power of two) or more.
    pub(crate) fn new(accounts: usize, least: usize) -> Self {
        let width = accounts.div_ceil(MOST_PARTS).max(least).next_power_of_two();
        Self { shift: width.trailing_zeros(), accounts }
    }

    /// Number of parts.
    pub(crate) fn parts(self) -> usize {
        self.accounts.div_ceil(1 << self.shift).max(1)
    }

    /// The accounts of a part.
    pub(crate) fn accounts(self, part: usize) -> Range<usize> {
        let end = |part: usize| (part << self.shift).min(self.accounts);
        end(part)..end(part + 1)
    }

    /// Cuts the records of a slice.
    pub(crate) fn cut<R: Owned>(self, records: &[R]) -> Cut<R> {
        Cut::new(records, self.parts(), |record| (record.account() >> self.shift) as usize)
    }
}

/// Rows by part.
pub(crate) enum Parts<'a, R> {
    /// Copied, in slices of the input.
    Cut(Vec<Cut<R>>),
    /// As they stand: the account of each, which never falls.
    Standing(&'a [u32]),
}

impl<R: Owned> Parts<'_, R> {
    /// Brings the rows of `accounts`, a part, together by account; `read` makes records of rows
    /// that stand, from the first on, whose accounts are given.
    pub(crate) fn group(
        &self,
        part: usize,
        accounts: Range<usize>,
        read: impl Fn(usize, &[u32], &mut Vec<R>),
        grouped: &mut Grouped<R>,
    ) {
        grouped.first = accounts.start;
        grouped.start.clear();
        grouped.start.resize(accounts.len() + 1, 0);
        match self {
            Self::Cut(slices) => grouped.place(slices.iter().map(|slice| slice.part(part))),
            Self::Standing(owners) => {
                let from = owners.partition_point(|owner| (*owner as usize) < accounts.start);
                let rest = &owners[from..];
                let rows = rest.partition_point(|owner| (*owner as usize) < accounts.end);
                for owner in &rest[..rows] {
                    grouped.start[*owner as usize - accounts.start + 1] += 1;
                }
                grouped.rows.clear();
                grouped.rows.reserve(rows);
                read(from, &rest[..rows], &mut grouped.rows);
                grouped.sum_starts();
            }
        }
    }
}

/// The rows of one part, by account.
pub(crate) struct Grouped<R> {
    first: usize,
    start: Vec<u32>,
    next: Vec<u32>,
    rows: Vec<R>,
}

impl<R> Default for Grouped<R> {
    fn default() -> Self {
        Self { first: 0, start: Vec::new(), next: Vec::new(), rows: Vec::new() }
    }
}

impl<R: Owned> Grouped<R> {
    /// Places records by account, whose counts are 0 yet.
    fn place<'a>(&mut self, slices: impl Iterator<Item = &'a [R]> + Clone)
    where
        R: 'a,
    {
        let first = self.first as u32;
        let local = |record: &R| (record.account() - first) as usize;
        for record in slices.clone().flatten() {
            self.start[local(record) + 1] += 1;
        }
        self.sum_starts();
        self.next.clear();
        self.next.extend_from_slice(&self.start);
        let total = self.start.last().map_or(0, |total| *total as usize);
        if self.rows.len() < total {
            self.rows.resize(total, R::zeroed());
        }
        for records in slices {
            for record in records {
                let next = &mut self.next[local(record)];
                self.rows[*next as usize] = *record;
                *next += 1;
            }
        }
    }

    fn sum_starts(&mut self) {
        let mut sum = 0;
        for start in &mut self.start {
            sum += *start;
            *start = sum;
        }
    }

    /// The rows of an account of the part, in input order.
    #[inline]
    pub(crate) fn rows(&self, account: usize) -> &[R] {
        let local = account - self.first;
        &self.rows[self.start[local] as usize..self.start[local + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    struct Row(u32, u32);

    impl Owned for Row {
        fn account(&self) -> u32 {
            self.0
        }
    }

    /// Every row of all parts, by account.
    fn grouped(parts: &Parts<'_, Row>, width: Width) -> Vec<Row> {
        let mut grouped = Grouped::default();
        let mut seen = Vec::new();
        for part in 0..width.parts() {
            let accounts = width.accounts(part);
            let read = |from: usize, owners: &[u32], rows: &mut Vec<Row>| {
                rows.extend(owners.iter().zip(from as u32..).map(|(owner, row)| Row(*owner, row)));
            };
            parts.group(part, accounts.clone(), read, &mut grouped);
            for account in accounts {
                assert!(grouped.rows(account).iter().all(|row| row.0 as usize == account));
                seen.extend_from_slice(grouped.rows(account));
            }
        }
        seen
    }

    #[test]
    fn every_account_gets_its_rows_in_input_order() {
        let rows: Vec<Row> = (0..30_000).map(|row| Row((row * 7919) % 10_000, row)).collect();
        for (accounts, least) in [(10_000, 4), (10_000, 1 << 14), (20_000, 1)] {
            let width = Width::new(accounts, least);
            for slice in [1000, 30_000] {
                let slices = rows.chunks(slice).map(|rows| width.cut(rows)).collect();
                let mut expected = rows.clone();
                expected.sort_by_key(|row| row.0);
                assert_eq!(grouped(&Parts::Cut(slices), width), expected);
            }
        }
    }

    #[test]
    fn rows_that_stand_by_account_are_read_where_they_stand() {
        let owners: Vec<u32> = (0..5000).map(|row| row / 3 + row / 1000).collect();
        let width = Width::new(1700, 64);
        let rows: Vec<Row> = owners.iter().zip(0..).map(|(owner, row)| Row(*owner, row)).collect();
        assert_eq!(grouped(&Parts::Standing(&owners), width), rows);
    }

    #[test]
    fn no_accounts_make_one_part_without_rows() {
        let width = Width::new(0, 1024);
        assert_eq!((width.parts(), width.accounts(0)), (1, 0..0));
        assert!(grouped(&Parts::Cut(Vec::new()), width).is_empty());
        assert!(grouped(&Parts::Standing(&[]), width).is_empty());
    }
}
