//! Building blocks: an account's rows merged by instrument, tier table and side.
//!
//! `Builder` takes the rows of a part (`partition`) and writes one block after another. What
//! few rows have (orders, leverage, a tier table of their own) is told by a flag of the
//! record and read where it stands.

use std::ops::Range;

use crate::block::Block;

use crate::columns::{Numbers, View};
use crate::holdings::Positions;
use crate::keys::NONE;
use crate::partition::{Grouped, Owned};

/// A position row on its way to its block.
#[derive(Clone, Copy)]
pub(crate) struct PositionRecord {
    account: u32,
    row: u32,
    instrument: u32,
    /// Which of the rarer columns say something of this row.
    special: u32,
    quantity: f64,
    entry: f64,
}

impl Owned for PositionRecord {
    fn account(&self) -> u32 {
        self.account
    }
}

const ISOLATED: u32 = 1;
const TABLE: u32 = 2;
const ORDERS: u32 = 4;
const LEVERAGE: u32 = 8;

/// A balance row on its way to its block.
#[derive(Clone, Copy)]
pub(crate) struct BalanceRecord {
    pub(crate) account: u32,
    pub(crate) asset: u32,
    pub(crate) amount: f64,
}

impl Owned for BalanceRecord {
    fn account(&self) -> u32 {
        self.account
    }
}

/// What position rows are read from.
pub(crate) struct Source<'a> {
    instrument: &'a [u32],
    quantity: &'a [f64],
    entry: &'a [f64],
    isolated: Option<&'a [u8]>,
    isolated_margin: Option<View<'a>>,
    table: Option<&'a [u32]>,
    open_buy: Option<View<'a>>,
    open_sell: Option<View<'a>>,
    leverage: Option<View<'a>>,
}

impl<'a> Source<'a> {
    /// Reads `positions`, whose instruments and tier tables have these codes.
    pub(crate) fn new(
        positions: &'a Positions,
        instrument: &'a [u32],
        table: Option<&'a [u32]>,
    ) -> Self {
        let view = |column: &'a Option<Numbers>| column.as_ref().map(Numbers::view);
        Self {
            instrument,
            quantity: positions.quantity.values(),
            entry: positions.entry_price.values(),
            isolated: positions.isolated.as_deref(),
            isolated_margin: view(&positions.isolated_margin),
            table,
            open_buy: view(&positions.open_buy),
            open_sell: view(&positions.open_sell),
            leverage: view(&positions.leverage),
        }
    }

    /// The row of an account, with what is rare told by a flag.
    #[inline]
    pub(crate) fn record(&self, account: u32, row: usize) -> PositionRecord {
        let given = |column: Option<View<'_>>| column.and_then(|c| c.get(row));
        let ordered = |column| given(column).is_some_and(|contracts| contracts > 0.0);
        let mut special = 0;
        if self.isolated.is_some_and(|isolated| isolated[row] == 1) {
            special |= ISOLATED;
        }
        if self.table.is_some_and(|table| table[row] != NONE) {
            special |= TABLE;
        }
        if ordered(self.open_buy) || ordered(self.open_sell) {
            special |= ORDERS;
        }
        if given(self.leverage).is_some() {
            special |= LEVERAGE;
        }
        PositionRecord {
            account,
            row: row as u32,
            instrument: self.instrument[row],
            special,
            quantity: self.quantity[row],
            entry: self.entry[row],
        }
    }

    fn merged(&self, record: &PositionRecord) -> Merged {
        let PositionRecord { instrument, special, quantity, entry, .. } = *record;
        let mut merged = Merged {
            instrument,
            table: NONE,
            side: if quantity > 0.0 {
                1
            } else if quantity < 0.0 {
                -1
            } else {
                0
            },
            quantity,
            cost: quantity * entry,
            inverse_cost: quantity / entry,
            orders: [0.0; 2],
            leverage: f64::INFINITY,
            next: NONE,
        };
        if special & !ISOLATED != 0 {
            self.add_special(record, &mut merged);
        }
        merged
    }

    #[cold]
    fn add_special(&self, record: &PositionRecord, merged: &mut Merged) {
        let row = record.row as usize;
        let given = |column: Option<View<'_>>| column.and_then(|c| c.get(row));
        if record.special & TABLE != 0 {
            merged.table = self.table.map_or(NONE, |table| table[row]);
        }
        if record.special & ORDERS != 0 {
            let contracts = |column| given(column).unwrap_or(0.0);
            merged.orders = [contracts(self.open_buy), contracts(self.open_sell)];
        }
        if record.special & LEVERAGE != 0 {
            merged.leverage = given(self.leverage).unwrap_or(f64::INFINITY);
        }
    }
}

/// A row in the making: all rows of a bucket with the same instrument, table and side.
#[derive(Clone, Copy)]
struct Merged {
    instrument: u32,
    table: u32,
    side: i8,
    quantity: f64,
    cost: f64,
    inverse_cost: f64,
    orders: [f64; 2],
    leverage: f64,
    /// The row after it among those of its instrument.
    next: u32,
}

impl Merged {
    fn absorb(&mut self, row: &Self) {
        self.quantity += row.quantity;
        self.cost += row.cost;
        self.inverse_cost += row.inverse_cost;
        self.orders[0] += row.orders[0];
        self.orders[1] += row.orders[1];
        self.leverage = self.leverage.min(row.leverage);
    }
}

/// Builds blocks, keeping its scratch from one to the next.
pub(crate) struct Builder {
    /// For each instrument, the bucket in which it was seen last and its first row there.
    seen_instrument: Vec<(u32, u32)>,
    /// For each asset, the bucket in which it was seen last and its balance there.
    seen_asset: Vec<(u32, u32)>,
    stamp: u32,
    merged: Vec<Merged>,
    /// First merged row of each instrument, by first appearance.
    heads: Vec<u32>,
    /// For each row of the account, the row in `merged` that took it; `NONE` if isolated.
    taken: Vec<u32>,
    /// For each row in `merged`, where it stands in the block.
    placed: Vec<u32>,
}

impl Builder {
    pub(crate) fn new(instruments: usize, assets: usize) -> Self {
        Self {
            seen_instrument: vec![(0, 0); instruments],
            seen_asset: vec![(0, 0); assets],
            stamp: 0,
            merged: Vec::new(),
            heads: Vec::new(),
            taken: Vec::new(),
            placed: Vec::new(),
        }
    }

    pub(crate) fn build(
        &mut self,
        source: &Source<'_>,
        positions: &Grouped<PositionRecord>,
        balances: &Grouped<BalanceRecord>,
        accounts: Range<usize>,
    ) -> Block {
        let mut block = Block {
            first_account: accounts.start,
            bucket_start: vec![0],
            row_start: vec![0],
            cash_start: vec![0],
            ..Block::default()
        };
        for account in accounts {
            self.account(&mut block, source, positions.rows(account), balances.rows(account));
            block.bucket_start.push(block.buckets() as u32);
        }
        block
    }

    fn account(
        &mut self,
        block: &mut Block,
        source: &Source<'_>,
        rows: &[PositionRecord],
        balances: &[BalanceRecord],
    ) {
        let first_slot = block.slot.len();
        self.start_bucket();
        for row in rows {
            block.row.push(row.row);
            if row.special & ISOLATED != 0 {
                self.taken.push(NONE);
            } else {
                self.merge(source.merged(row));
            }
        }
        let cross = self.taken.iter().filter(|taken| **taken != NONE).count();
        self.place(block, source);
        let placed = &self.placed;
        let slot = |taken: &u32| if *taken == NONE { NONE } else { placed[*taken as usize] };
        block.slot.extend(self.taken.iter().map(slot));
        if cross + balances.len() > 0 {
            self.cash(block, balances);
            close_bucket(block, NONE, 0.0, cross);
        }
        for (i, row) in rows.iter().enumerate().filter(|(_, row)| row.special & ISOLATED != 0) {
            block.slot[first_slot + i] = block.instrument.len() as u32;
            push(block, source, &source.merged(row));
            let margin = source.isolated_margin.and_then(|margin| margin.get(row.row as usize));
            let margin = margin.unwrap_or(0.0);
            close_bucket(block, row.row, margin, 1);
        }
    }

    fn start_bucket(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.seen_instrument.fill((0, 0));
            self.seen_asset.fill((0, 0));
            self.stamp = 1;
        }
        self.merged.clear();
        self.heads.clear();
        self.taken.clear();
        self.placed.clear();
    }

    /// Adds a row to the one that it belongs to, or puts it after the last of its table.
    fn merge(&mut self, row: Merged) {
        let new = self.merged.len() as u32;
        let (stamp, head) = self.seen_instrument[row.instrument as usize];
        if stamp != self.stamp {
            self.seen_instrument[row.instrument as usize] = (self.stamp, new);
            self.heads.push(new);
            self.merged.push(row);
            self.taken.push(new);
            return;
        }
        let (mut at, mut after) = (head, NONE);
        loop {
            let here = &mut self.merged[at as usize];
            if here.table == row.table {
                if here.side == row.side {
                    here.absorb(&row);
                    self.taken.push(at);
                    return;
                }
                after = at;
            } else if after != NONE {
                break;
            }
            if here.next == NONE {
                break;
            }
            at = here.next;
        }
        let after = if after == NONE { at } else { after };
        let next = std::mem::replace(&mut self.merged[after as usize].next, new);
        self.merged.push(Merged { next, ..row });
        self.taken.push(new);
    }

    /// Writes the merged rows to the block, instrument by instrument.
    fn place(&mut self, block: &mut Block, source: &Source<'_>) {
        self.placed.resize(self.merged.len(), NONE);
        for head in &self.heads {
            let mut at = *head;
            while at != NONE {
                let row = &self.merged[at as usize];
                self.placed[at as usize] = block.instrument.len() as u32;
                push(block, source, row);
                at = row.next;
            }
        }
    }

    /// Writes an account's balances to the block, merged by asset.
    fn cash(&mut self, block: &mut Block, balances: &[BalanceRecord]) {
        for balance in balances {
            let seen = &mut self.seen_asset[balance.asset as usize];
            if seen.0 == self.stamp {
                block.amount[seen.1 as usize] += balance.amount;
            } else {
                *seen = (self.stamp, block.asset.len() as u32);
                block.asset.push(balance.asset);
                block.amount.push(balance.amount);
            }
        }
    }
}

fn push(block: &mut Block, source: &Source<'_>, row: &Merged) {
    block.instrument.push(row.instrument);
    block.quantity.push(row.quantity);
    block.cost.push(row.cost);
    block.inverse_cost.push(row.inverse_cost);
    if source.table.is_some() {
        block.table.push(row.table);
    }
    if source.open_buy.is_some() || source.open_sell.is_some() {
        block.orders.push(row.orders);
    }
    if source.leverage.is_some() {
        block.leverage.push(row.leverage);
    }
}

fn close_bucket(block: &mut Block, isolated_row: u32, isolated_margin: f64, rows: usize) {
    block.isolated_row.push(isolated_row);
    block.isolated_margin.push(isolated_margin);
    block.row_count.push(rows as u32);
    block.row_start.push(block.instrument.len() as u32);
    block.cash_start.push(block.asset.len() as u32);
}
