//! A block of the book: the buckets of some neighbouring accounts, as columns.
//!
//! Rows of one instrument stand together, by first appearance; among them those of one tier
//! table; among those, one row a side (long, short, nothing). So the order, and with it
//! every bit of a sum, depends on the account's own rows alone. `builder` makes blocks.

use std::ops::Range;

use crate::keys::NONE;

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
    /// Merged rows: what else they say, by its place in `specials`, or `NONE`; empty where no
    /// row of the book says more.
    pub special: Vec<u32>,
    /// What some merged rows say besides.
    pub specials: Vec<Special>,
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

impl Default for Block {
    fn default() -> Self {
        let mut block = Self {
            first_account: 0,
            first_bucket: 0,
            bucket_start: Vec::new(),
            isolated_row: Vec::new(),
            isolated_margin: Vec::new(),
            row_count: Vec::new(),
            pool: Vec::new(),
            row_start: Vec::new(),
            cash_start: Vec::new(),
            instrument: Vec::new(),
            quantity: Vec::new(),
            cost: Vec::new(),
            inverse_cost: Vec::new(),
            special: Vec::new(),
            specials: Vec::new(),
            home: Vec::new(),
            asset: Vec::new(),
            amount: Vec::new(),
            row: Vec::new(),
            slot: Vec::new(),
        };
        block.clear();
        block
    }
}

impl Block {
    /// Empties it: no accounts.
    pub(crate) fn clear(&mut self) {
        for starts in [&mut self.bucket_start, &mut self.row_start, &mut self.cash_start] {
            starts.clear();
            starts.push(0);
        }
        let codes = [
            &mut self.isolated_row,
            &mut self.row_count,
            &mut self.pool,
            &mut self.instrument,
            &mut self.special,
            &mut self.home,
            &mut self.asset,
            &mut self.row,
            &mut self.slot,
        ];
        codes.into_iter().for_each(Vec::clear);
        let numbers = [
            &mut self.isolated_margin,
            &mut self.quantity,
            &mut self.cost,
            &mut self.inverse_cost,
            &mut self.amount,
        ];
        numbers.into_iter().for_each(Vec::clear);
        self.specials.clear();
    }

    /// Makes room for so many accounts and rows.
    pub(crate) fn reserve(&mut self, accounts: usize, rows: usize) {
        let by_account = [&mut self.bucket_start, &mut self.row_start, &mut self.cash_start];
        by_account.into_iter().for_each(|column| column.reserve(accounts + 1));
        let by_row = [&mut self.instrument, &mut self.row, &mut self.slot];
        by_row.into_iter().for_each(|column| column.reserve(rows));
        let numbers = [&mut self.quantity, &mut self.cost, &mut self.inverse_cost];
        numbers.into_iter().for_each(|column| column.reserve(rows));
    }

    /// Ends a bucket, whose rows and balances are what was written since the last one.
    pub(crate) fn close_bucket(&mut self, isolated_row: u32, isolated_margin: f64, rows: usize) {
        self.isolated_row.push(isolated_row);
        self.isolated_margin.push(isolated_margin);
        self.row_count.push(rows as u32);
        self.row_start.push(self.instrument.len() as u32);
        self.cash_start.push(self.asset.len() as u32);
    }

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
        self.rows().bucket(bucket)
    }

    /// Its columns as slices, for looking at many buckets.
    #[inline]
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            isolated_row: &self.isolated_row,
            isolated_margin: &self.isolated_margin,
            row_count: &self.row_count,
            row_start: &self.row_start,
            cash_start: &self.cash_start,
            instrument: &self.instrument,
            quantity: &self.quantity,
            cost: &self.cost,
            inverse_cost: &self.inverse_cost,
            special: &self.special,
            specials: &self.specials,
            home: &self.home,
            asset: &self.asset,
            amount: &self.amount,
        }
    }
}

/// The columns of a block's buckets.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    isolated_row: &'a [u32],
    isolated_margin: &'a [f64],
    row_count: &'a [u32],
    row_start: &'a [u32],
    cash_start: &'a [u32],
    instrument: &'a [u32],
    quantity: &'a [f64],
    cost: &'a [f64],
    inverse_cost: &'a [f64],
    special: &'a [u32],
    specials: &'a [Special],
    home: &'a [u32],
    asset: &'a [u32],
    amount: &'a [f64],
}

impl<'a> Rows<'a> {
    /// What the bucket holds.
    #[inline(always)]
    pub fn bucket(&self, bucket: usize) -> Bucket<'a> {
        let rows = self.row_start[bucket] as usize..self.row_start[bucket + 1] as usize;
        let cash = self.cash_start[bucket] as usize..self.cash_start[bucket + 1] as usize;
        let isolated = self.isolated_row[bucket] != NONE;
        Bucket {
            instrument: &self.instrument[rows.clone()],
            quantity: &self.quantity[rows.clone()],
            cost: &self.cost[rows.clone()],
            inverse_cost: &self.inverse_cost[rows.clone()],
            special: self.special.get(rows.clone()).unwrap_or_default(),
            specials: self.specials,
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

impl Bucket<'_> {
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
