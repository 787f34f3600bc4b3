//! Rows cut into parts, small enough to be worked on in cache.
//!
//! Input rows come in any order, and looking each one up where it stands costs a cache miss
//! a column. So they are read once, in order, slice by slice, and `Cut` copies each to its
//! part; `Parts::group` then brings a part's rows together by account. Rows that come grouped
//! by account already are read where they stand. All keep the input order within an account,
//! and nothing depends on the threads.

use std::ops::Range;

use bytemuck::Pod;

use crate::columns::BLOCK;
use crate::keys::NONE;
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

    /// How many rows each part has, of rows whose accounts are given.
    pub(crate) fn count(self, accounts: &[u32]) -> Vec<u32> {
        let mut counts = vec![0; self.parts()];
        for account in accounts.iter().filter(|account| **account != NONE) {
            counts[(*account >> self.shift) as usize] += 1;
        }
        counts
    }

    /// The accounts of neighbouring parts.
    pub(crate) fn owners(self, parts: Range<usize>) -> Owners {
        let first = self.accounts(parts.start).start;
        let end = self.accounts(parts.end.max(1) - 1).end;
        Owners { first: first as u32, count: (end - first) as u32, width: self }
    }
}

/// Neighbouring accounts, whose rows are brought to their parts at a time.
#[derive(Clone, Copy)]
pub(crate) struct Owners {
    first: u32,
    count: u32,
    width: Width,
}

impl Owners {
    /// Whether an account is among them; `NONE` never is.
    #[inline(always)]
    pub(crate) fn has(self, account: u32) -> bool {
        account.wrapping_sub(self.first) < self.count
    }

    /// Whether the accounts of a part are among them.
    fn has_part(self, part: usize) -> bool {
        self.has((part << self.width.shift) as u32)
    }

    /// Whether they are all that there are.
    pub(crate) fn are_all(self) -> bool {
        self.count as usize == self.width.accounts
    }

    /// Brings records, all of them theirs, together by part.
    pub(crate) fn cut<R: Owned>(self, records: &[R]) -> Cut<R> {
        let Width { shift, .. } = self.width;
        Cut::new(records, self.width.parts(), |record| (record.account() >> shift) as usize)
    }

    /// How many of these rows are theirs.
    pub(crate) fn count(self, accounts: &[u32]) -> usize {
        accounts.iter().map(|account| u32::from(self.has(*account))).sum::<u32>() as usize
    }
}

/// Places records of a slice by part, as they are made.
pub(crate) struct Placer<R> {
    owners: Owners,
    cut: Cut<R>,
    /// Where each part's next record belongs.
    next: Vec<u32>,
}

impl<R: Pod> Placer<R> {
    /// For the rows of `owners` in a slice whose accounts are given.
    pub(crate) fn new(accounts: &[u32], owners: Owners) -> Self {
        let counts = owners.width.count(accounts).into_iter().enumerate();
        let (mut next, mut start) = (0, vec![0]);
        start.extend(counts.map(|(part, count)| {
            next += if owners.has_part(part) { count } else { 0 };
            next
        }));
        let records = Buffer::new(next as usize);
        Self { owners, next: start.clone(), cut: Cut { records, start } }
    }

    /// Places what `record` makes of the next rows, `BLOCK` or fewer, whose accounts are given;
    /// it is told a row by its place among them.
    #[inline(always)]
    pub(crate) fn place(&mut self, accounts: &[u32], record: impl Fn(usize) -> R) {
        let Self { owners, cut, next } = self;
        let places: &mut [R] = &mut cut.records;
        let shift = owners.width.shift;
        if owners.are_all() {
            for (i, account) in accounts.iter().enumerate() {
                if *account != NONE {
                    put(places, &mut next[(*account >> shift) as usize], record(i));
                }
            }
            return;
        }
        // Whose a row is cannot be foreseen, so nothing branches on it.
        let (mut theirs, mut count) = ([0u16; BLOCK], 0);
        for (i, account) in accounts.iter().enumerate() {
            theirs[count % BLOCK] = i as u16;
            count += usize::from(owners.has(*account));
        }
        for i in theirs[..count].iter().map(|i| usize::from(*i)) {
            put(places, &mut next[(accounts[i] >> shift) as usize], record(i));
        }
    }

    /// Whose rows are placed.
    pub(crate) fn owners(&self) -> Owners {
        self.owners
    }

    /// What was placed.
    pub(crate) fn finish(self) -> Cut<R> {
        self.cut
    }
}

#[inline(always)]
fn put<R>(places: &mut [R], next: &mut u32, record: R) {
    places[*next as usize] = record;
    *next += 1;
}

/// Rows by part.
pub(crate) enum Parts<'a, R> {
    /// Copied, in slices of the input.
    Cut(&'a [Cut<R>]),
    /// As they stand: the account of each, which never falls.
    Standing(&'a [u32]),
}

impl<'a, R: Owned> Parts<'a, R> {
    /// Rows of accounts that were cut, or stand.
    pub(crate) fn new(stand: bool, cut: &'a [Cut<R>], accounts: &'a [u32]) -> Self {
        if stand { Self::Standing(accounts) } else { Self::Cut(cut) }
    }

    /// Brings the rows of `accounts`, a part, together by account; `read` makes records of those
    /// that stand, from the first on, whose accounts are given, or of some of them.
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
                grouped.rows.clear();
                read(from, &rest[..rows], &mut grouped.rows);
                for row in &grouped.rows {
                    grouped.start[row.account() as usize - accounts.start + 1] += 1;
                }
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
        for records in slices.clone() {
            records.iter().for_each(|record| self.start[local(record) + 1] += 1);
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
                put(&mut self.rows, &mut self.next[local(record)], *record);
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

    fn cut(rows: &[Row], owners: Owners) -> Cut<Row> {
        let accounts: Vec<u32> = rows.iter().map(|row| row.0).collect();
        let mut placer = Placer::new(&accounts, owners);
        for (accounts, rows) in accounts.chunks(BLOCK).zip(rows.chunks(BLOCK)) {
            placer.place(accounts, |i| rows[i]);
        }
        placer.finish()
    }

    /// Every row of all parts, by account.
    fn grouped(parts: &Parts<'_, Row>, width: Width) -> Vec<Row> {
        grouped_in(parts, width, 0..width.parts())
    }

    fn grouped_in(parts: &Parts<'_, Row>, width: Width, of: Range<usize>) -> Vec<Row> {
        let mut grouped = Grouped::default();
        let mut seen = Vec::new();
        for part in of {
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
                let mut expected = rows.clone();
                expected.sort_by_key(|row| row.0);
                for parts in [width.parts(), 3] {
                    let mut seen = Vec::new();
                    for first in (0..width.parts()).step_by(parts) {
                        let parts = first..(first + parts).min(width.parts());
                        let owners = width.owners(parts.clone());
                        let slices = rows.chunks(slice).map(|rows| cut(rows, owners));
                        let slices: Vec<Cut<Row>> = slices.collect();
                        seen.extend(grouped_in(&Parts::Cut(&slices), width, parts));
                    }
                    assert_eq!(seen, expected);
                }
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
        assert!(grouped(&Parts::Cut(&[]), width).is_empty());
        assert!(grouped(&Parts::Standing(&[]), width).is_empty());
    }
}
