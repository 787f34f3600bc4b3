//! Building blocks: an account's rows merged by instrument, tier table and side.
//!
//! `Builder` takes the rows of a part (`partition`) and writes one block after another, in
//! memory that it keeps; a finished block is packed in slabs.

use std::ops::Range;

use crate::block::{Block, Special};
use crate::draft::Draft;
use crate::keys::NONE;
use crate::partition::Grouped;
use crate::records::{BalanceRecord, PositionRecord, Source};
use crate::slabs::Filler;

/// A row in the making: all rows of a bucket with the same instrument, table and side.
#[derive(Clone, Copy)]
struct Merged {
    instrument: u32,
    /// The row after it among those of its instrument.
    next: u32,
    side: i32,
    quantity: f64,
    cost: f64,
    inverse_cost: f64,
    /// What else it says, by its place among what rows of the bucket say; `NONE` for nothing.
    special: u32,
}

impl Merged {
    #[inline(always)]
    fn new(record: &PositionRecord, special: u32) -> Self {
        let PositionRecord { instrument, quantity, entry, .. } = *record;
        Self {
            instrument,
            next: NONE,
            side: i32::from(quantity > 0.0) - i32::from(quantity < 0.0),
            quantity,
            cost: quantity * entry,
            inverse_cost: quantity / entry,
            special,
        }
    }

    #[inline]
    fn absorb(&mut self, row: &Self, said: &mut [Special]) {
        self.quantity += row.quantity;
        self.cost += row.cost;
        self.inverse_cost += row.inverse_cost;
        if row.special != NONE && self.special != NONE {
            let other = said[row.special as usize];
            said[self.special as usize].absorb(&other);
        } else if row.special != NONE {
            self.special = row.special;
        }
    }
}

/// Builds blocks, keeping its scratch from one to the next.
pub(crate) struct Builder<'a> {
    source: &'a Source<'a>,
    /// For each instrument, the bucket in which it was seen last and its first row there.
    seen_instrument: Vec<(u32, u32)>,
    /// For each asset, the bucket in which it was seen last and its balance there.
    seen_asset: Vec<(u32, u32)>,
    stamp: u32,
    merged: Vec<Merged>,
    /// What merged rows of the bucket say besides.
    said: Vec<Special>,
    /// First merged row of each instrument, by first appearance.
    heads: Vec<u32>,
    /// For each row of the account, the row in `merged` that took it; `NONE` if isolated.
    taken: Vec<u32>,
    /// Where some instrument has several merged rows: rows in `merged` in their final order,
    /// and for each where it stands there.
    order: Vec<u32>,
    placed: Vec<u32>,
    /// The block that is being written.
    block: Draft,
    filler: Filler<'a>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        source: &'a Source<'a>,
        instruments: usize,
        assets: usize,
        filler: Filler<'a>,
    ) -> Self {
        Self {
            source,
            seen_instrument: vec![(0, 0); instruments],
            seen_asset: vec![(0, 0); assets],
            stamp: 0,
            merged: Vec::new(),
            said: Vec::new(),
            heads: Vec::new(),
            taken: Vec::new(),
            order: Vec::new(),
            placed: Vec::new(),
            block: Draft::default(),
            filler,
        }
    }

    /// The block of `accounts`; those that are indeterminate have no buckets.
    pub(crate) fn build(
        &mut self,
        positions: &Grouped<PositionRecord>,
        balances: &Grouped<BalanceRecord>,
        accounts: Range<usize>,
        indeterminate: &[bool],
    ) -> Block {
        self.block.start(accounts.start);
        for account in accounts {
            if !indeterminate[account] {
                self.account(positions.rows(account), balances.rows(account));
            }
            self.block.bucket_start.push(self.block.buckets() as u32);
        }
        self.block.pack(&mut self.filler)
    }

    fn account(&mut self, rows: &[PositionRecord], balances: &[BalanceRecord]) {
        let mut isolated = 0;
        self.start_bucket();
        for row in rows {
            if row.is_isolated() {
                isolated += 1;
                self.taken.push(NONE);
            } else {
                let row = self.read(row);
                self.merge(row);
            }
        }
        self.block.row.extend(rows.iter().map(|row| row.row));
        let first_slot = self.block.slot.len();
        self.place();
        let cross = rows.len() - isolated;
        if cross + balances.len() > 0 {
            self.cash(balances);
            self.block.close_bucket(NONE, 0.0, cross);
        }
        if isolated == 0 {
            return;
        }
        for (i, row) in rows.iter().enumerate().filter(|(_, row)| row.is_isolated()) {
            self.block.slot[first_slot + i] = self.block.instrument.len() as u32;
            let merged = self.read(row);
            self.write([&merged].into_iter());
            self.block.close_bucket(row.row, self.source.posted(row.row), 1);
        }
    }

    #[inline(always)]
    fn read(&mut self, row: &PositionRecord) -> Merged {
        let mut special = NONE;
        if row.is_special() {
            special = self.said.len() as u32;
            self.said.push(self.source.special(row));
        }
        Merged::new(row, special)
    }

    fn start_bucket(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.seen_instrument.fill((0, 0));
            self.seen_asset.fill((0, 0));
            self.stamp = 1;
        }
        self.merged.clear();
        self.said.clear();
        self.heads.clear();
        self.taken.clear();
    }

    /// Adds a row to the one that it belongs to, or puts it after the last of its table.
    #[inline]
    fn merge(&mut self, row: Merged) {
        let new = self.merged.len() as u32;
        let (stamp, head) = self.seen_instrument[row.instrument as usize];
        if stamp != self.stamp {
            self.seen_instrument[row.instrument as usize] = (self.stamp, new);
            self.heads.push(new);
            self.merged.push(row);
            self.taken.push(new);
        } else {
            self.merge_into(head, row);
        }
    }

    fn merge_into(&mut self, head: u32, row: Merged) {
        let new = self.merged.len() as u32;
        let (mut at, mut after) = (head, NONE);
        let said = &mut self.said;
        let table = |special: u32, said: &[Special]| match special {
            NONE => NONE,
            special => said[special as usize].table,
        };
        let of_row = table(row.special, said);
        loop {
            let here = &mut self.merged[at as usize];
            if table(here.special, said) == of_row {
                if here.side == row.side {
                    here.absorb(&row, said);
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

    /// Writes the merged rows to the block, instrument by instrument, and where each row went.
    fn place(&mut self) {
        let first = self.block.instrument.len() as u32;
        if self.merged.len() == self.heads.len() {
            let slot = |taken: &u32| if *taken == NONE { NONE } else { first + taken };
            self.block.slot.extend(self.taken.iter().map(slot));
            let merged = std::mem::take(&mut self.merged);
            self.write(merged.iter());
            self.merged = merged;
            return;
        }
        self.order.clear();
        self.placed.clear();
        self.placed.resize(self.merged.len(), NONE);
        for head in &self.heads {
            let mut at = *head;
            while at != NONE {
                self.placed[at as usize] = first + self.order.len() as u32;
                self.order.push(at);
                at = self.merged[at as usize].next;
            }
        }
        let placed = &self.placed;
        let slot = |taken: &u32| if *taken == NONE { NONE } else { placed[*taken as usize] };
        self.block.slot.extend(self.taken.iter().map(slot));
        let (order, merged) = (std::mem::take(&mut self.order), std::mem::take(&mut self.merged));
        self.write(order.iter().map(|at| &merged[*at as usize]));
        (self.order, self.merged) = (order, merged);
    }

    /// Writes merged rows to the block, column by column.
    #[inline]
    fn write<'m>(&mut self, merged: impl ExactSizeIterator<Item = &'m Merged> + Clone) {
        let block = &mut self.block;
        block.instrument.extend(merged.clone().map(|row| row.instrument));
        block.quantity.extend(merged.clone().map(|row| row.quantity));
        block.cost.extend(merged.clone().map(|row| row.cost));
        block.inverse_cost.extend(merged.clone().map(|row| row.inverse_cost));
        if self.source.has_specials() {
            let (specials, said) = (&mut block.specials, &self.said);
            block.special.extend(merged.map(|row| {
                if row.special == NONE {
                    return NONE;
                }
                specials.push(said[row.special as usize]);
                specials.len() as u32 - 1
            }));
        }
    }

    /// Writes an account's balances to the block, merged by asset.
    fn cash(&mut self, balances: &[BalanceRecord]) {
        let block = &mut self.block;
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
