//! A block of the book: the buckets of some neighbouring accounts, as columns.
//!
//! Rows of one instrument stand together, by first appearance; among them those of one tier
//! table; among those, one row a side (long, short, nothing). So the order, and with it
//! every bit of a sum, depends on the account's own rows alone. `builder` makes blocks.

use std::ops::Range;

use crate::keys::NONE;
use crate::slabs::Column;

/// What few rows say besides instrument, quantity and entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Special {
    /// The tier table that the row names, or `NONE`.
    pub table: u32,
    /// Contracts to buy and to sell.
    pub orders: [f64; 2],
    /// Smallest leverage chosen, +inf for none.
    pub leverage: f64,
}

impl Special {
    /// Nothing.
    pub const NOTHING: Self = Self { table: NONE, orders: [0.0; 2], leverage: f64::INFINITY };

    /// What rows with these places in `specials` say together; None where one names a table.
    #[inline(always)]
    pub(crate) fn together(places: &[u32], specials: &[Self]) -> Option<Self> {
        let mut together = Self::NOTHING;
        for place in places.iter().filter(|place| **place != NONE) {
            let of_row = &specials[*place as usize];
            if of_row.table != NONE {
                return None;
            }
            together.absorb(of_row);
        }
        Some(together)
    }

    /// Adds what another row of the same table says.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.orders[0] += other.orders[0];
        self.orders[1] += other.orders[1];
        self.leverage = self.leverage.min(other.leverage);
    }
}

/// The buckets of neighbouring accounts.
#[derive(Clone)]
pub struct Block {
    /// Number of its first account in the book.
    pub first_account: usize,
    /// Number of its first bucket in the book.
    pub first_bucket: usize,
    /// Buckets of account `a`: `bucket_start[a]..bucket_start[a + 1]`.
    pub bucket_start: Column<u32>,
    /// The position row that an isolated bucket is; `NONE` for a cross bucket. Empty where no
    /// bucket is isolated.
    pub isolated_row: Column<u32>,
    /// What is posted to an isolated bucket, settle asset; 0 for a cross bucket. Empty likewise.
    pub isolated_margin: Column<f64>,
    /// Input position rows in each bucket.
    pub row_count: Column<u32>,
    /// The asset whose pool a cross bucket is, by its place in `Marks::assets`; empty where an
    /// account has one cross bucket.
    pub pool: Column<u32>,
    /// Merged rows of bucket `b`: `row_start[b]..row_start[b + 1]`.
    pub row_start: Column<u32>,
    /// Merged balances of bucket `b`: `cash_start[b]..cash_start[b + 1]`.
    pub cash_start: Column<u32>,
    /// Merged rows: the instrument.
    pub instrument: Column<u32>,
    /// Merged rows: signed contracts.
    pub quantity: Column<f64>,
    /// Merged rows: `sum(q * E)`.
    pub cost: Column<f64>,
    /// Merged rows: `sum(q / E)`.
    pub inverse_cost: Column<f64>,
    /// Merged rows: what else they say, by its place in `specials`, or `NONE`; empty where none
    /// says more.
    pub special: Column<u32>,
    /// What some merged rows say besides.
    pub specials: Vec<Special>,
    /// Merged rows: the balance of the bucket, counted from its first, that profit joins;
    /// empty where profit stands beside the balances.
    pub home: Column<u32>,
    /// Merged balances: the asset.
    pub asset: Column<u32>,
    /// Merged balances: units of it.
    pub amount: Column<f64>,
    /// Input position rows, by account.
    pub row: Column<u32>,
    /// For each of them, its merged row.
    pub slot: Column<u32>,
}

impl Block {
    /// Number of accounts.
    pub fn accounts(&self) -> usize {
        self.bucket_start.len() - 1
    }

    /// Number of buckets.
    pub fn buckets(&self) -> usize {
        self.row_count.len()
    }

    /// The position row that an isolated bucket is; `NONE` for a cross bucket.
    pub fn isolated_row_of(&self, bucket: usize) -> u32 {
        self.isolated_row.get(bucket).copied().unwrap_or(NONE)
    }

    /// The buckets of an account, which is counted from the block's first.
    pub fn buckets_of(&self, account: usize) -> Range<usize> {
        self.bucket_start[account] as usize..self.bucket_start[account + 1] as usize
    }

    /// What the bucket holds.
    #[inline]
    pub fn bucket(&self, bucket: usize) -> Bucket<'_> {
        self.rows().bucket(bucket)
    }

    /// Its columns as slices, for looking at many buckets: to look up one costs as much. Those
    /// that are looked at together are of one length, so that one look at the end is enough.
    #[inline(always)]
    pub fn rows(&self) -> Rows<'_> {
        let (row_count, instrument, asset) = (&*self.row_count, &*self.instrument, &*self.asset);
        let (buckets, rows, cash) = (row_count.len(), instrument.len(), asset.len());
        Rows {
            bucket_start: &self.bucket_start,
            isolated_row: &self.isolated_row,
            isolated_margin: &self.isolated_margin,
            row_count,
            row_start: &self.row_start[..buckets + 1],
            cash_start: &self.cash_start[..buckets + 1],
            instrument,
            quantity: &self.quantity[..rows],
            cost: &self.cost[..rows],
            inverse_cost: &self.inverse_cost[..rows],
            special: &self.special,
            specials: &self.specials,
            home: &self.home,
            asset,
            amount: &self.amount[..cash],
        }
    }
}

/// The columns of a block's buckets.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    bucket_start: &'a [u32],
    isolated_row: &'a [u32],
    isolated_margin: &'a [f64],
    row_count: &'a [u32],
    row_start: &'a [u32],
    cash_start: &'a [u32],
    pub(crate) instrument: &'a [u32],
    pub(crate) quantity: &'a [f64],
    pub(crate) cost: &'a [f64],
    pub(crate) inverse_cost: &'a [f64],
    pub(crate) special: &'a [u32],
    pub(crate) specials: &'a [Special],
    home: &'a [u32],
    pub(crate) asset: &'a [u32],
    pub(crate) amount: &'a [f64],
}

/// Where in `Rows` a bucket's rows and balances are, and what else it says.
#[derive(Clone)]
pub(crate) struct Span {
    pub(crate) rows: Range<usize>,
    pub(crate) cash: Range<usize>,
    /// What is posted to an isolated bucket; None for a cross bucket.
    pub(crate) posted: Option<f64>,
    /// Input position rows.
    pub(crate) count: u32,
}

impl<'a> Rows<'a> {
    /// The buckets of an account, which is counted from the block's first.
    #[inline(always)]
    pub fn buckets_of(&self, account: usize) -> Range<usize> {
        self.bucket_start[account] as usize..self.bucket_start[account + 1] as usize
    }

    /// Where a bucket is.
    #[inline(always)]
    pub(crate) fn span(&self, bucket: usize) -> Span {
        let isolated = self.isolated_row.get(bucket).is_some_and(|row| *row != NONE);
        Span {
            rows: self.row_start[bucket] as usize..self.row_start[bucket + 1] as usize,
            cash: self.cash_start[bucket] as usize..self.cash_start[bucket + 1] as usize,
            posted: isolated.then(|| self.isolated_margin[bucket]),
            count: self.row_count[bucket],
        }
    }

    /// What the bucket holds.
    #[inline(always)]
    pub fn bucket(&self, bucket: usize) -> Bucket<'a> {
        let Span { rows, cash, posted, count } = self.span(bucket);
        let home = self.home.get(rows.clone()).unwrap_or_default();
        Bucket {
            instrument: &self.instrument[rows.clone()],
            quantity: &self.quantity[rows.clone()],
            cost: &self.cost[rows.clone()],
            inverse_cost: &self.inverse_cost[rows.clone()],
            special: self.special.get(rows).unwrap_or_default(),
            specials: self.specials,
            home: if posted.is_some() { &[] } else { home },
            asset: &self.asset[cash.clone()],
            amount: &self.amount[cash],
            isolated_margin: posted,
            rows: count,
        }
    }
}

/// What one bucket holds. Columns that no row of the book needs are empty.
#[derive(Clone, Copy)]
pub struct Bucket<'a> {
    /// The instrument of each merged row; equal ones are neighbours.
    pub instrument: &'a [u32],
    /// Signed contracts.
    pub quantity: &'a [f64],
    /// `sum(q * E)`.
    pub cost: &'a [f64],
    /// `sum(q / E)`.
    pub inverse_cost: &'a [f64],
    /// What else each merged row says, by its place in `specials`, or `NONE`; rows of an
    /// instrument that name the same tier table are neighbours.
    pub special: &'a [u32],
    /// Of the whole block.
    pub specials: &'a [Special],
    /// The balance that the profit of each merged row joins; none where it stands beside them.
    pub home: &'a [u32],
    /// The asset of each balance.
    pub asset: &'a [u32],
    /// Units of it, < 0 is debt.
    pub amount: &'a [f64],
    /// What is posted to an isolated bucket; None for a cross bucket.
    pub isolated_margin: Option<f64>,
    /// Input position rows.
    pub rows: u32,
}

impl<'a> Bucket<'a> {
    /// The bucket as the only one of `Rows`, and where it is there.
    #[inline(always)]
    pub(crate) fn alone(&self) -> (Rows<'a>, Span) {
        let (rows, cash) = (self.instrument.len(), self.asset.len());
        let columns = Rows {
            bucket_start: &[],
            isolated_row: &[],
            isolated_margin: &[],
            row_count: &[],
            row_start: &[],
            cash_start: &[],
            instrument: self.instrument,
            quantity: &self.quantity[..rows],
            cost: &self.cost[..rows],
            inverse_cost: &self.inverse_cost[..rows],
            special: self.special,
            specials: self.specials,
            home: &[],
            asset: self.asset,
            amount: &self.amount[..cash],
        };
        let posted = self.isolated_margin;
        (columns, Span { rows: 0..rows, cash: 0..cash, posted, count: self.rows })
    }

    /// What a merged row says besides instrument, quantity and entry.
    #[inline]
    pub fn special_of(&self, row: usize) -> Special {
        match self.special.get(row) {
            Some(place) if *place != NONE => self.specials[*place as usize],
            _ => Special::NOTHING,
        }
    }

    /// The tier table that a merged row names, or `NONE`.
    #[inline]
    pub fn table_of(&self, row: usize) -> u32 {
        self.special_of(row).table
    }

    /// Contracts to buy and to sell of a merged row.
    #[inline]
    pub fn orders_of(&self, row: usize) -> [f64; 2] {
        self.special_of(row).orders
    }

    /// Smallest leverage of a merged row, +inf for none.
    #[inline]
    pub fn leverage_of(&self, row: usize) -> f64 {
        self.special_of(row).leverage
    }

    /// The end of the rows from `row` on that hold the same instrument.
    #[inline]
    pub fn instrument_end(&self, row: usize) -> usize {
        let same = |i: &u32| *i == self.instrument[row];
        row + self.instrument[row..].iter().take_while(|i| same(i)).count()
    }
}
