//! The positions of a sweep: one row per input position, in input order.
//!
//! Figures of a side and prices of an instrument are worked out once per merged row, in book
//! order; each input row then takes its share.

use crate::batch;
use crate::block::Block;
use crate::book::{BLOCK_ACCOUNTS, Book};
use crate::columns::{Numbers, View};
use crate::conventions::{Netting, OpenOrders};
use crate::keys::NONE;
use crate::liquidation::{Liquidation, Scratch, prices};
use crate::margin::{Joined, bucket_margin};
use crate::rules::Rules;
use crate::sweep::Sweep;

/// How a liquidation price came about, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PriceKind {
    /// There is one.
    Root,
    /// No positive price reaches the trigger.
    None,
    /// The trigger holds already.
    Breached,
}

/// One row per input position, as columns. A price that is absent is 0, which no price is.
#[derive(Default)]
pub struct PositionColumns {
    /// Whether the figures of a row mean anything: false for indeterminate accounts.
    pub is_known: Vec<bool>,
    /// The bucket's number in the book; `NONE` where nothing is known.
    pub bucket: Vec<u32>,
    /// Mark of the instrument; 0 where the market has none.
    pub mark_price: Vec<f64>,
    /// Value of the row at the mark, without its sign.
    pub notional: Vec<f64>,
    /// Profit of the row; of an option its value.
    pub unrealized_pnl: Vec<f64>,
    /// Tier of its side, from 1.
    pub tier: Vec<i64>,
    /// Its share of its side's maintenance margin.
    pub maintenance_margin: Vec<f64>,
    /// Its share of its side's initial margin.
    pub initial_margin: Vec<f64>,
    /// Mark at which the bucket's trigger is reached.
    pub liquidation_price: Vec<f64>,
    /// `PriceKind` as a number.
    pub kind: Vec<u8>,
    /// Mark at which the bucket's equity is 0.
    pub bankruptcy_price: Vec<f64>,
}

impl PositionColumns {
    fn new(rows: usize) -> Self {
        let numbers = || vec![0.0; rows];
        Self {
            is_known: vec![false; rows],
            bucket: vec![NONE; rows],
            mark_price: numbers(),
            notional: numbers(),
            unrealized_pnl: numbers(),
            tier: vec![0; rows],
            maintenance_margin: numbers(),
            initial_margin: numbers(),
            liquidation_price: numbers(),
            kind: vec![0; rows],
            bankruptcy_price: numbers(),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.bucket.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.bucket.is_empty()
    }

    /// Neighbouring runs of `length` rows, for writing.
    fn parts(&mut self, length: usize) -> Vec<Part<'_>> {
        let mut known = self.is_known.chunks_mut(length);
        let mut bucket = self.bucket.chunks_mut(length);
        let mut tier = self.tier.chunks_mut(length);
        let mut kind = self.kind.chunks_mut(length);
        let mut numbers = [
            self.mark_price.chunks_mut(length),
            self.notional.chunks_mut(length),
            self.unrealized_pnl.chunks_mut(length),
            self.maintenance_margin.chunks_mut(length),
            self.initial_margin.chunks_mut(length),
            self.liquidation_price.chunks_mut(length),
            self.bankruptcy_price.chunks_mut(length),
        ];
        let mut first = 0;
        std::iter::from_fn(|| {
            let part = Part {
                first,
                is_known: known.next()?,
                bucket: bucket.next()?,
                tier: tier.next()?,
                kind: kind.next()?,
                numbers: numbers.each_mut().map(|n| n.next().expect("columns are of one length")),
            };
            first += length;
            Some(part)
        })
        .collect()
    }
}

/// A run of rows, to be written by one thread. `numbers` are the columns of `f64` in order.
struct Part<'a> {
    first: usize,
    is_known: &'a mut [bool],
    bucket: &'a mut [u32],
    tier: &'a mut [i64],
    kind: &'a mut [u8],
    numbers: [&'a mut [f64]; 7],
}

/// Rows that one thread writes at a time.
const PART_ROWS: usize = 1 << 16;

/// What the input rows of one merged row share.
#[derive(Clone, Copy)]
struct Shared {
    bucket: u32,
    tier: u32,
    kind: PriceKind,
    /// Maintenance margin of the side, valuation asset, and the contracts that share it.
    maintenance: f64,
    kept: f64,
    /// The same of the initial margin.
    initial: f64,
    opened: f64,
    liquidation_price: f64,
    bankruptcy_price: f64,
}

impl Sweep {
    /// One row per input position, in input order.
    pub fn positions(&self, book: &Book, rules: &Rules, threads: usize) -> PositionColumns {
        let blocks = self.blocks(book);
        let shared = batch::map(threads, blocks.iter().collect(), |block: &Block| {
            self.share_block(block, rules)
        });
        let slots = slots(book, blocks);
        let rows = Rows::new(book, &slots, &shared, rules);
        let mut columns = PositionColumns::new(slots.len());
        batch::map(threads, columns.parts(PART_ROWS), |mut part: Part<'_>| {
            for local in 0..part.bucket.len() {
                self.write_row(&rows, &mut part, local);
            }
        });
        columns
    }

    fn write_row(&self, rows: &Rows<'_>, part: &mut Part<'_>, local: usize) {
        let row = part.first + local;
        let code = rows.instrument[row];
        if code == NONE {
            return;
        }
        let mark = &self.marks.instruments[code as usize];
        part.numbers[0][local] = if mark.price > 0.0 { mark.price } else { 0.0 };
        let account = rows.account[row];
        if account == NONE || self.indeterminate[account as usize] {
            return;
        }
        let block = &rows.shared[account as usize / BLOCK_ACCOUNTS];
        let shared = &block[rows.slots[row] as usize];
        let (quantity, entry) = (rows.quantity[row], rows.entry[row]);
        let size = quantity.abs();
        let profit =
            mark.profit(quantity, quantity * entry, quantity / entry) + mark.option_value(quantity);
        let share =
            |part: f64, whole: f64, of: f64| if whole > 0.0 { of * (part / whole) } else { 0.0 };
        part.is_known[local] = true;
        part.bucket[local] = shared.bucket;
        part.tier[local] = i64::from(shared.tier);
        part.kind[local] = shared.kind as u8;
        let numbers = [
            size * mark.value * mark.settle_price,
            profit * mark.settle_price + 0.0,
            share(rows.kept(row, size), shared.kept, shared.maintenance),
            share(rows.opened(row, size), shared.opened, shared.initial),
            shared.liquidation_price,
            shared.bankruptcy_price,
        ];
        for (column, number) in part.numbers[1..].iter_mut().zip(numbers) {
            column[local] = number;
        }
    }

    /// What the rows of each merged row of a block share.
    fn share_block(&self, block: &Block, rules: &Rules) -> Vec<Shared> {
        let mut shared = Vec::with_capacity(block.instrument.len());
        let mut scratch = (Joined::default(), Scratch::default());
        for account in 0..block.accounts() {
            for number in block.buckets_of(account) {
                let known = !self.indeterminate[block.first_account + account];
                self.share_bucket(block, number, known, rules, &mut scratch, &mut shared);
            }
        }
        shared
    }

    fn share_bucket(
        &self,
        block: &Block,
        number: usize,
        is_known: bool,
        rules: &Rules,
        (joined, scratch): &mut (Joined, Scratch),
        shared: &mut Vec<Shared>,
    ) {
        let bucket = block.bucket(number);
        if !is_known {
            shared.extend(bucket.instrument.iter().map(|_| NOTHING));
            return;
        }
        let margin = bucket_margin(&bucket, &self.marks, rules, joined);
        let apart = rules.conventions.netting != Netting::Net;
        let mut row = 0;
        while row < bucket.instrument.len() {
            let end = bucket.instrument_end(row);
            let mark = &self.marks.instruments[bucket.instrument[row] as usize];
            let found = prices(&bucket, row..end, &margin, joined, &self.marks, rules, scratch);
            let (kind, liquidation_price) = match found.liquidation {
                Liquidation::Root(price) => (PriceKind::Root, price),
                Liquidation::None => (PriceKind::None, 0.0),
                Liquidation::Breached => (PriceKind::Breached, 0.0),
            };
            for merged in row..end {
                let tiers = self.marks.tiers(mark, bucket.table_of(merged));
                let is_short = bucket.quantity[merged] < 0.0;
                // Of two sides of one table, the first is the long one.
                let of_table = scratch.requirements().iter().filter(|r| r.side.tiers == tiers);
                let mut sides = of_table.filter(|r| !apart || (r.side.quantity < 0.0) == is_short);
                let found_side = sides.next().expect("each row has a size");
                let side = &found_side.side;
                let with_orders = side.gross + side.orders[0] + side.orders[1];
                let share_of = |sees_orders| if sees_orders { with_orders } else { side.gross };
                shared.push(Shared {
                    bucket: (block.first_bucket + number) as u32,
                    tier: found_side.tier as u32 + 1,
                    kind,
                    maintenance: found_side.maintenance * mark.settle_price,
                    kept: share_of(rules.conventions.open_orders == OpenOrders::Both),
                    initial: found_side.initial * mark.settle_price,
                    opened: share_of(rules.conventions.open_orders != OpenOrders::None),
                    liquidation_price,
                    bankruptcy_price: found.bankruptcy.unwrap_or(0.0),
                });
            }
            row = end;
        }
    }
}

/// The input rows, and what is known of their merged rows.
struct Rows<'a> {
    account: &'a [u32],
    instrument: &'a [u32],
    quantity: &'a [f64],
    entry: &'a [f64],
    open_buy: Option<View<'a>>,
    open_sell: Option<View<'a>>,
    slots: &'a [u32],
    shared: &'a [Vec<Shared>],
    open_orders: OpenOrders,
}

impl<'a> Rows<'a> {
    fn new(book: &'a Book, slots: &'a [u32], shared: &'a [Vec<Shared>], rules: &Rules) -> Self {
        Self {
            account: &book.position_account,
            instrument: &book.position_instrument,
            quantity: book.positions.quantity.values(),
            entry: book.positions.entry_price.values(),
            open_buy: book.positions.open_buy.as_ref().map(Numbers::view),
            open_sell: book.positions.open_sell.as_ref().map(Numbers::view),
            slots,
            shared,
            open_orders: rules.conventions.open_orders,
        }
    }

    /// A row's part of what shares maintenance.
    fn kept(&self, row: usize, size: f64) -> f64 {
        if self.open_orders == OpenOrders::Both { size + self.orders(row) } else { size }
    }

    /// A row's part of what shares the initial margin.
    fn opened(&self, row: usize, size: f64) -> f64 {
        if self.open_orders == OpenOrders::None { size } else { size + self.orders(row) }
    }

    /// Contracts in the orders of a row, both sides.
    fn orders(&self, row: usize) -> f64 {
        let given = |column: Option<View<'_>>| column.and_then(|c| c.get(row)).unwrap_or(0.0);
        given(self.open_buy) + given(self.open_sell)
    }
}

/// For each input row, its merged row in its account's block.
fn slots(book: &Book, blocks: &[Block]) -> Vec<u32> {
    let mut slots = vec![NONE; book.position_account.len()];
    for block in blocks {
        for (row, slot) in block.row.iter().zip(&block.slot) {
            slots[*row as usize] = *slot;
        }
    }
    slots
}

const NOTHING: Shared = Shared {
    bucket: NONE,
    tier: 0,
    kind: PriceKind::None,
    maintenance: 0.0,
    kept: 0.0,
    initial: 0.0,
    opened: 0.0,
    liquidation_price: 0.0,
    bankruptcy_price: 0.0,
};
