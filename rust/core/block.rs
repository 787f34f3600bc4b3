//! A block of the book: the buckets of some neighbouring accounts, as columns.
//!
//! Rows of one instrument stand together, by first appearance; among them those of one tier
//! table; among those, one row a side (long, short, nothing). So the order, and with it
//! every bit of a sum, depends on the account's own rows alone. `builder` makes blocks.

use std::ops::Range;

use crate::keys::NONE;

/// The buckets of neighbouring accounts.
#[derive(Default)]
pub struct Block {
    /// Number of its first account in the book.
    pub first_account: usize,
    /// Number of its first bucket in the book.
    pub first_bucket: usize,
    /// Buckets of account `a`: `bucket_start[a]..bucket_start[a + 1]`.
    pub bucket_start: Vec<u32>,
    /// The position row that an isolated bucket is; `NONE` for a cross bucket.
    pub isolated_row: Vec<u32>,
    /// What is posted to an isolated bucket, settle asset; 0 for a cross bucket.
    pub isolated_margin: Vec<f64>,
    /// Input position rows in each bucket.
    pub row_count: Vec<u32>,
    /// The asset whose pool a cross bucket is, by its place in `Marks::assets`; empty where an
    /// account has one cross bucket.
    pub pool: Vec<u32>,
    /// Merged rows of bucket `b`: `row_start[b]..row_start[b + 1]`.
    pub row_start: Vec<u32>,
    /// Merged balances of bucket `b`: `cash_start[b]..cash_start[b + 1]`.
    pub cash_start: Vec<u32>,
    /// Merged rows: the instrument.
    pub instrument: Vec<u32>,
    /// Merged rows: signed contracts.
    pub quantity: Vec<f64>,
    /// Merged rows: `sum(q * E)`.
    pub cost: Vec<f64>,
    /// Merged rows: `sum(q / E)`.
    pub inverse_cost: Vec<f64>,
    /// Merged rows: the tier table that they name, or `NONE`; empty where no row names one.
    pub table: Vec<u32>,
    /// Merged rows: contracts to buy and to sell; empty where there are no orders.
    pub orders: Vec<[f64; 2]>,
    /// Merged rows: smallest leverage, +inf for none; empty where no row gives one.
    pub leverage: Vec<f64>,
    /// Merged rows: the balance of the bucket, counted from its first, that profit joins;
    /// empty where profit stands beside the balances.
    pub home: Vec<u32>,
    /// Merged balances: the asset.
    pub asset: Vec<u32>,
    /// Merged balances: units of it.
    pub amount: Vec<f64>,
    /// Input position rows, by account.
    pub row: Vec<u32>,
    /// For each of them, its merged row.
    pub slot: Vec<u32>,
}

impl Block {
    /// Number of accounts.
    pub fn accounts(&self) -> usize {
        self.bucket_start.len() - 1
    }

    /// Number of buckets.
    pub fn buckets(&self) -> usize {
        self.isolated_row.len()
    }

    /// The buckets of an account, which is counted from the block's first.
    pub fn buckets_of(&self, account: usize) -> Range<usize> {
        self.bucket_start[account] as usize..self.bucket_start[account + 1] as usize
    }

    /// What the bucket holds.
    #[inline]
    pub fn bucket(&self, bucket: usize) -> Bucket<'_> {
        let rows = self.row_start[bucket] as usize..self.row_start[bucket + 1] as usize;
        let cash = self.cash_start[bucket] as usize..self.cash_start[bucket + 1] as usize;
        let isolated = self.isolated_row[bucket] != NONE;
        Bucket {
            instrument: &self.instrument[rows.clone()],
            quantity: &self.quantity[rows.clone()],
            cost: &self.cost[rows.clone()],
            inverse_cost: &self.inverse_cost[rows.clone()],
            table: self.table.get(rows.clone()).unwrap_or_default(),
            orders: self.orders.get(rows.clone()).unwrap_or_default(),
            leverage: self.leverage.get(rows.clone()).unwrap_or_default(),
            home: if isolated { &[] } else { self.home.get(rows).unwrap_or_default() },
            asset: &self.asset[cash.clone()],
            amount: &self.amount[cash],
            isolated_margin: isolated.then(|| self.isolated_margin[bucket]),
            rows: self.row_count[bucket],
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
    /// The tier table named, or `NONE`; equal ones of an instrument are neighbours.
    pub table: &'a [u32],
    /// Contracts to buy and to sell.
    pub orders: &'a [[f64; 2]],
    /// Smallest leverage, +inf for none.
    pub leverage: &'a [f64],
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

impl Bucket<'_> {
    /// The tier table that a merged row names, or `NONE`.
    #[inline]
    pub fn table_of(&self, row: usize) -> u32 {
        self.table.get(row).copied().unwrap_or(NONE)
    }

    /// Contracts to buy and to sell of a merged row.
    #[inline]
    pub fn orders_of(&self, row: usize) -> [f64; 2] {
        self.orders.get(row).copied().unwrap_or_default()
    }

    /// Smallest leverage of a merged row, +inf for none.
    #[inline]
    pub fn leverage_of(&self, row: usize) -> f64 {
        self.leverage.get(row).copied().unwrap_or(f64::INFINITY)
    }

    /// The end of the rows from `row` on that hold the same instrument.
    #[inline]
    pub fn instrument_end(&self, row: usize) -> usize {
        let same = |i: &u32| *i == self.instrument[row];
        row + self.instrument[row..].iter().take_while(|i| same(i)).count()
    }
}
