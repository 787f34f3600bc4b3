//! A block in the making: columns that grow, and are kept for the next block.

use crate::block::{Block, Special};
use crate::keys::NONE;
use crate::slabs::{Filler, words};

/// The columns of `Block`, and what they mean there.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) first_account: usize,
    pub(crate) bucket_start: Vec<u32>,
    pub(crate) isolated_row: Vec<u32>,
    pub(crate) isolated_margin: Vec<f64>,
    pub(crate) row_count: Vec<u32>,
    pub(crate) pool: Vec<u32>,
    pub(crate) row_start: Vec<u32>,
    pub(crate) cash_start: Vec<u32>,
    pub(crate) instrument: Vec<u32>,
    pub(crate) quantity: Vec<f64>,
    pub(crate) cost: Vec<f64>,
    pub(crate) inverse_cost: Vec<f64>,
    pub(crate) special: Vec<u32>,
    pub(crate) specials: Vec<Special>,
    pub(crate) home: Vec<u32>,
    pub(crate) asset: Vec<u32>,
    pub(crate) amount: Vec<f64>,
    pub(crate) row: Vec<u32>,
    pub(crate) slot: Vec<u32>,
}

impl Draft {
    /// Empties it: no accounts, the first of which is to be this one of the book.
    pub(crate) fn start(&mut self, first_account: usize) {
        self.first_account = first_account;
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

    /// Ends a bucket, whose rows and balances are what was written since the last one.
    #[inline]
    pub(crate) fn close_bucket(&mut self, isolated_row: u32, isolated_margin: f64, rows: usize) {
        self.isolated_row.push(isolated_row);
        self.isolated_margin.push(isolated_margin);
        self.row_count.push(rows as u32);
        self.row_start.push(self.instrument.len() as u32);
        self.cash_start.push(self.asset.len() as u32);
    }

    /// Number of buckets.
    #[inline]
    pub(crate) fn buckets(&self) -> usize {
        self.isolated_row.len()
    }

    /// The block, packed in slabs.
    pub(crate) fn pack(&self, filler: &mut Filler<'_>) -> Block {
        let mut isolated: (&[u32], &[f64]) = (&self.isolated_row, &self.isolated_margin);
        if self.isolated_row.iter().all(|row| *row == NONE) {
            isolated = (&[], &[]);
        }
        let codes = [
            &self.bucket_start[..],
            isolated.0,
            &self.row_count,
            &self.pool,
            &self.row_start,
            &self.cash_start,
            &self.instrument,
            &self.special,
            &self.home,
            &self.asset,
            &self.row,
            &self.slot,
        ];
        let numbers = [isolated.1, &self.quantity, &self.cost, &self.inverse_cost, &self.amount];
        let of_codes = codes.iter().map(|codes| words::<u32>(codes.len()));
        let of_numbers = numbers.iter().map(|numbers| words::<f64>(numbers.len()));
        filler.make_room(of_codes.sum::<usize>() + of_numbers.sum::<usize>());
        let codes = codes.map(|codes| filler.place(codes));
        let [isolated_margin, quantity, cost, inverse_cost, amount] =
            numbers.map(|numbers| filler.place(numbers));
        let [
            bucket_start,
            isolated_row,
            row_count,
            pool,
            row_start,
            cash_start,
            instrument,
            special,
            home,
            asset,
            row,
            slot,
        ] = codes;
        Block {
            first_account: self.first_account,
            first_bucket: 0,
            bucket_start,
            isolated_row,
            isolated_margin,
            row_count,
            pool,
            row_start,
            cash_start,
            instrument,
            quantity,
            cost,
            inverse_cost,
            special,
            specials: self.specials.clone(),
            home,
            asset,
            amount,
            row,
            slot,
        }
    }
}
