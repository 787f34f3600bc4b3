//! A small night swept by the core.

use margrave_core::block::Bucket;
use margrave_core::book::Book;
use margrave_core::keys::NONE;
use margrave_core::labels::Labels;
use margrave_core::positions::PositionColumns;
use margrave_core::results::{MONEY, MarginColumns, RATIOS};
use margrave_core::rules::{Conventions, Rules};
use margrave_core::sweep::{Buckets, Sweep};

use crate::rows::{Id, Night};

/// A night and everything that the core says of it.
pub(crate) struct Swept {
    pub(crate) night: Night,
    pub(crate) book: Book,
    pub(crate) rules: Rules,
    pub(crate) sweep: Sweep,
    pub(crate) buckets: Buckets,
    pub(crate) positions: Vec<PositionRow>,
}

impl Swept {
    /// Sweeps a night; accounts with bad rows become indeterminate.
    pub(crate) fn new(night: &Night) -> Self {
        let (book, market, rules) = (night.book(1), night.market(), night.rules());
        let sweep = Sweep::run(&book, &market, &rules, true, 1).expect("tables are all there");
        let buckets = sweep.buckets(&book, &rules, 1);
        let positions = position_rows(&sweep.positions(&book, &rules, 1));
        Self { night: night.clone(), book, rules, sweep, buckets, positions }
    }

    /// The id of an account.
    pub(crate) fn account_id(&self, account: usize) -> &Id {
        let (frame, row) = self.book.first[account];
        let row = row as usize;
        let id = match frame {
            0 => &self.night.positions[row].account_id,
            1 => &self.night.balances[row].account_id,
            _ => &self.night.accounts.as_ref().expect("it appears there")[row].account_id,
        };
        id.as_ref().expect("accounts have an id")
    }

    /// The bits of an account, of its buckets with their names, and of its positions, in order.
    pub(crate) fn bits_of(&self, account: &Id) -> Vec<Vec<u64>> {
        let labels = Labels::build(&self.book, self.sweep.blocks(&self.book), &self.sweep.marks);
        let hash = |bucket: u32| {
            let label = labels.names.text(labels.codes[bucket as usize]);
            label.bytes().fold(0u64, |hash, byte| hash.wrapping_mul(257) + u64::from(byte))
        };
        let is_its = |number: u32| self.account_id(number as usize) == account;
        let accounts = (0..self.book.accounts()).filter(|number| is_its(*number as u32));
        let mut bits: Vec<Vec<u64>> = accounts.map(|n| row_bits(&self.sweep.accounts, n)).collect();
        for (row, (number, bucket)) in
            self.buckets.account.iter().zip(&self.buckets.bucket).enumerate()
        {
            if is_its(*number) {
                bits.push([vec![hash(*bucket)], row_bits(&self.buckets.margins, row)].concat());
            }
        }
        for (row, number) in self.positions.iter().zip(&self.book.position_account) {
            if *number != NONE && is_its(*number) {
                let label = if row.is_known { hash(row.bucket) } else { 0 };
                bits.push([vec![label], position_bits(row)].concat());
            }
        }
        bits
    }

    /// What a bucket holds, by its number in the blocks that were swept.
    pub(crate) fn bucket(&self, number: u32) -> Bucket<'_> {
        let number = number as usize;
        let is_in = |first: usize, count: usize| (first..first + count).contains(&number);
        let mut blocks = self.sweep.blocks(&self.book).iter();
        let block = blocks.find(|b| is_in(b.first_bucket, b.buckets())).expect("a bucket");
        block.bucket(number - block.first_bucket)
    }
}

/// The night swept under other conventions.
pub(crate) fn under(night: &Night, change: impl FnOnce(&mut Conventions)) -> Swept {
    let mut night = night.clone();
    change(&mut night.conventions);
    Swept::new(&night)
}

/// A figure of every bucket.
pub(crate) fn figures<'a>(swept: &'a Swept, name: &str) -> &'a [f64] {
    &swept.buckets.margins.numbers[column(name)]
}

/// All figures of a row of accounts or buckets, as bits.
pub(crate) fn row_bits(margins: &MarginColumns, row: usize) -> Vec<u64> {
    let numbers = margins.numbers.iter().map(|column| column[row].to_bits());
    let others = [
        u64::from(margins.status[row]),
        u64::from(margins.is_liquidatable[row]),
        margins.positions[row] as u64,
        margins.ladder.get(row).map_or(u64::from(NONE), |rung| u64::from(*rung)),
    ];
    others.into_iter().chain(numbers).collect()
}

/// What the core says of one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PositionRow {
    pub(crate) is_known: bool,
    pub(crate) bucket: u32,
    pub(crate) mark_price: f64,
    pub(crate) notional: f64,
    pub(crate) unrealized_pnl: f64,
    pub(crate) tier: i64,
    pub(crate) maintenance_margin: f64,
    pub(crate) initial_margin: f64,
    pub(crate) liquidation_price: f64,
    pub(crate) kind: u8,
    pub(crate) bankruptcy_price: f64,
}

pub(crate) fn position_rows(columns: &PositionColumns) -> Vec<PositionRow> {
    let row = |row: usize| PositionRow {
        is_known: columns.is_known[row],
        bucket: columns.bucket[row],
        mark_price: columns.mark_price[row],
        notional: columns.notional[row],
        unrealized_pnl: columns.unrealized_pnl[row],
        tier: columns.tier[row],
        maintenance_margin: columns.maintenance_margin[row],
        initial_margin: columns.initial_margin[row],
        liquidation_price: columns.liquidation_price[row],
        kind: columns.kind[row],
        bankruptcy_price: columns.bankruptcy_price[row],
    };
    (0..columns.len()).map(row).collect()
}

/// All figures of a position but its bucket, as bits.
pub(crate) fn position_bits(row: &PositionRow) -> Vec<u64> {
    let numbers = [
        row.mark_price,
        row.notional,
        row.unrealized_pnl,
        row.maintenance_margin,
        row.initial_margin,
        row.liquidation_price,
        row.bankruptcy_price,
    ];
    let others = [u64::from(row.is_known), row.tier as u64, u64::from(row.kind)];
    others.into_iter().chain(numbers.map(f64::to_bits)).collect()
}

/// The index of a column of numbers.
pub(crate) fn column(name: &str) -> usize {
    let mut names = MONEY.iter().chain(&RATIOS);
    names.position(|known| *known == name).expect("a column of the contract")
}
