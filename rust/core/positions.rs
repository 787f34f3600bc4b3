//! The positions of a sweep: one row per input position, in input order.
//!
//! Figures of a side and prices of an instrument are worked out once per merged row, in book
//! order; each input row then takes its share.

use crate::batch;
use crate::block::Block;
use crate::book::Book;
use crate::keys::NONE;
use crate::liquidation::{Liquidation, Scratch, prices};
use crate::margin::{Side, bucket_margin};
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

/// One row per input position. A price that is absent is 0, which no price is.
#[derive(Clone, Copy, Debug)]
pub struct PositionRow {
    /// Whether the figures below mean anything: false for indeterminate accounts.
    pub is_determinate: bool,
    /// The bucket's number in the book.
    pub bucket: u32,
    /// Mark of the instrument; NaN where the market has none.
    pub mark_price: f64,
    /// Value of the row at the mark, without its sign.
    pub notional: f64,
    /// Profit of the row.
    pub unrealized_pnl: f64,
    /// Tier of its side, from 1.
    pub tier: i64,
    /// Its share of its side's maintenance margin.
    pub maintenance_margin: f64,
    /// Its share of its side's initial margin.
    pub initial_margin: f64,
    /// Mark at which the bucket's trigger is reached.
    pub liquidation_price: f64,
    /// What that price is.
    pub kind: PriceKind,
    /// Mark at which the bucket's equity is 0.
    pub bankruptcy_price: f64,
}

/// What the input rows of one merged row share.
#[derive(Clone, Copy)]
struct Shared {
    bucket: u32,
    tier: u32,
    kind: PriceKind,
    /// Maintenance margin per contract of the side, valuation asset; its size without sign.
    maintenance: f64,
    gross: f64,
    /// Initial margin of the side; its size without sign, orders included.
    initial: f64,
    gross_with_orders: f64,
    liquidation_price: f64,
    bankruptcy_price: f64,
}

impl Sweep {
    /// One row per input position, in input order.
    pub fn positions(&self, book: &Book, rules: &Rules, threads: usize) -> Vec<PositionRow> {
        let shared = batch::map(threads, book.blocks.iter().collect(), |block: &Block| {
            self.share_block(block, rules)
        });
        let slots = slots(book);
        let rows = batch::ranges(book.position_account.len(), 8 * threads);
        let rows = batch::map(threads, rows, |rows| {
            let row = |row: usize| {
                let account = book.position_account[row];
                let known = account != NONE && !self.indeterminate[account as usize];
                let shared = known.then(|| {
                    let block = account as usize / crate::book::BLOCK_ACCOUNTS;
                    &shared[block][slots[row] as usize]
                });
                self.position(book, row, shared)
            };
            rows.map(row).collect::<Vec<PositionRow>>()
        });
        rows.into_iter().flatten().collect()
    }

    fn position(&self, book: &Book, row: usize, shared: Option<&Shared>) -> PositionRow {
        let code = book.position_instrument[row];
        let mark = (code != NONE).then(|| &self.marks.instruments[code as usize]);
        let mark_price = mark.map_or(f64::NAN, |mark| mark.price);
        let (Some(mark), Some(shared)) = (mark, shared) else {
            return PositionRow { mark_price, ..UNKNOWN };
        };
        let quantity = book.positions.quantity.values()[row];
        let entry = book.positions.entry_price.values()[row];
        let given = |column: &Option<crate::columns::Numbers>| {
            column.as_ref().and_then(|column| column.get(row)).unwrap_or(0.0)
        };
        let orders = given(&book.positions.open_buy) + given(&book.positions.open_sell);
        let cost = mark.cost(quantity * entry, quantity / entry);
        let share = |part: f64, whole: f64, of: f64| {
            if whole > 0.0 { of * (part / whole) } else { 0.0 }
        };
        PositionRow {
            is_determinate: true,
            bucket: shared.bucket,
            mark_price,
            notional: quantity.abs() * mark.value * mark.settle_price,
            unrealized_pnl: mark.profit(quantity, cost) * mark.settle_price + 0.0,
            tier: i64::from(shared.tier),
            maintenance_margin: share(quantity.abs(), shared.gross, shared.maintenance),
            initial_margin: share(
                quantity.abs() + orders,
                shared.gross_with_orders,
                shared.initial,
            ),
            liquidation_price: shared.liquidation_price,
            kind: shared.kind,
            bankruptcy_price: shared.bankruptcy_price,
        }
    }

    /// What the rows of each merged row of a block share.
    fn share_block(&self, block: &Block, rules: &Rules) -> Vec<Shared> {
        let mut shared = Vec::with_capacity(block.instrument.len());
        let mut scratch = Scratch::default();
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
        scratch: &mut Scratch,
        shared: &mut Vec<Shared>,
    ) {
        let bucket = block.bucket(number);
        if !is_known {
            shared.extend(bucket.instrument.iter().map(|_| NOTHING));
            return;
        }
        let margin = bucket_margin(&bucket, &self.marks, rules);
        let mut row = 0;
        while row < bucket.instrument.len() {
            let end = bucket.instrument_end(row);
            let mark = &self.marks.instruments[bucket.instrument[row] as usize];
            let found = prices(&bucket, row..end, &margin, &self.marks, rules, scratch);
            let (kind, liquidation_price) = match found.liquidation {
                Liquidation::Root(price) => (PriceKind::Root, price),
                Liquidation::None => (PriceKind::None, 0.0),
                Liquidation::Breached => (PriceKind::Breached, 0.0),
            };
            while row < end {
                let side_end = bucket.side_end(row, end);
                let tiers = self.marks.tiers(mark, bucket.table_of(row));
                let side = Side::sum(&bucket, row..side_end, tiers);
                let (tier, maintenance) = side.maintenance(mark, rules);
                let one = Shared {
                    bucket: (block.first_bucket + number) as u32,
                    tier: tier as u32 + 1,
                    kind,
                    maintenance: maintenance * mark.settle_price,
                    gross: side.gross,
                    initial: side.initial(mark, rules) * mark.settle_price,
                    gross_with_orders: side.gross + side.orders[0] + side.orders[1],
                    liquidation_price,
                    bankruptcy_price: found.bankruptcy.unwrap_or(0.0),
                };
                shared.extend((row..side_end).map(|_| one));
                row = side_end;
            }
        }
    }
}

/// For each input row, its merged row in its account's block.
fn slots(book: &Book) -> Vec<u32> {
    let mut slots = vec![NONE; book.position_account.len()];
    for block in &book.blocks {
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
    gross: 0.0,
    initial: 0.0,
    gross_with_orders: 0.0,
    liquidation_price: 0.0,
    bankruptcy_price: 0.0,
};

const UNKNOWN: PositionRow = PositionRow {
    is_determinate: false,
    bucket: NONE,
    mark_price: f64::NAN,
    notional: 0.0,
    unrealized_pnl: 0.0,
    tier: 0,
    maintenance_margin: 0.0,
    initial_margin: 0.0,
    liquidation_price: 0.0,
    kind: PriceKind::None,
    bankruptcy_price: 0.0,
};
