//! Building blocks: an account's rows merged by instrument, tier table and side.
//!
//! `Builder` takes the rows of a part (`partition`) and writes one block after another, in
//! memory that it keeps; a finished block is packed in slabs.

use std::ops::Range;

use crate::block::{Block, Special};
use crate::draft::{Draft, Merged};
use crate::keys::NONE;
use crate::partition::Grouped;
use crate::records::{BalanceRecord, PositionRecord, RareRecord};
use crate::slabs::Filler;

/// Which way a quantity goes.
#[inline]
fn side(quantity: f64) -> i32 {
    i32::from(quantity > 0.0) - i32::from(quantity < 0.0)
}

/// Builds blocks, keeping its scratch from one to the next.
pub(crate) struct Builder<'a> {
    /// For each instrument, the bucket in which it was seen last and its first row there.
    seen_instrument: Vec<(u32, u32)>,
    /// For each asset, the bucket in which it was seen last and its balance there.
    seen_asset: Vec<(u32, u32)>,
    stamp: u32,
    links: Links,
    /// The block that is being written.
    block: Draft,
    filler: Filler<'a>,
}

/// The merged rows of a bucket that come after others of their instrument, counted from its
/// first. Few buckets have any.
#[derive(Default)]
struct Links {
    /// For each row, up to the last that has one, the next of its instrument; `NONE` for none.
    next: Vec<u32>,
    /// The rows that are the next of some other, in order.
    linked: Vec<u32>,
    /// Rows in their final order, for each where it stands there, and as they were.
    order: Vec<u32>,
    placed: Vec<u32>,
    before: Vec<Merged>,
}

impl Links {
    fn after(&self, row: u32) -> u32 {
        self.next.get(row as usize).copied().unwrap_or(NONE)
    }

    /// Puts a new row after another.
    fn link(&mut self, row: u32, new: u32) {
        let after = self.after(row);
        self.next.resize(self.next.len().max(new as usize + 1), NONE);
        self.next[row as usize] = new;
        self.next[new as usize] = after;
        self.linked.push(new);
    }

    /// Brings the rows of a bucket together by instrument, and `taken`, which say where rows
    /// of the block went, to where they are then; `first` is where the bucket begins there.
    fn arrange(&mut self, first: usize, merged: &mut [Merged], taken: &mut [(u32, u32)]) {
        self.order.clear();
        self.placed.clear();
        self.placed.resize(merged.len(), NONE);
        let mut linked = self.linked.iter().peekable();
        for head in 0..merged.len() as u32 {
            if linked.next_if(|row| **row == head).is_some() {
                continue;
            }
            let mut at = head;
            while at != NONE {
                self.placed[at as usize] = (first + self.order.len()) as u32;
                self.order.push(at);
                at = self.after(at);
            }
        }
        self.before.clear();
        self.before.extend_from_slice(merged);
        for (row, from) in merged.iter_mut().zip(&self.order) {
            *row = self.before[*from as usize];
        }
        for (_, slot) in taken.iter_mut().filter(|(_, slot)| *slot != NONE) {
            *slot = self.placed[*slot as usize - first];
        }
        self.next.clear();
        self.linked.clear();
    }
}

impl<'a> Builder<'a> {
    pub(crate) fn new(instruments: usize, assets: usize, filler: Filler<'a>) -> Self {
        Self {
            seen_instrument: vec![(0, 0); instruments],
            seen_asset: vec![(0, 0); assets],
            stamp: 0,
            links: Links::default(),
            block: Draft::default(),
            filler,
        }
    }

    /// The block of `accounts`; those that are indeterminate have no buckets.
    pub(crate) fn build(
        &mut self,
        (positions, rare): (&Grouped<PositionRecord>, &Grouped<RareRecord>),
        balances: &Grouped<BalanceRecord>,
        accounts: Range<usize>,
        indeterminate: &[bool],
    ) -> Block {
        self.block.start(accounts.start);
        for account in accounts {
            if !indeterminate[account] {
                let rare = rare.rows(account);
                self.account(positions.rows(account), rare, balances.rows(account));
            }
            self.block.close_account();
        }
        self.block.pack(&mut self.filler)
    }

    #[inline]
    fn account(
        &mut self,
        rows: &[PositionRecord],
        rare: &[RareRecord],
        balances: &[BalanceRecord],
    ) {
        self.start_bucket();
        let (first, first_taken) = (self.block.merged.len(), self.block.taken.len());
        let mut isolated = 0;
        let mut said = rare.iter();
        for row in rows {
            let said = if row.is_rare() { said.next() } else { None };
            let slot = if row.is_isolated() {
                isolated += 1;
                NONE
            } else {
                self.merge(row, said, first)
            };
            self.block.taken.push((row.row(), slot));
        }
        if !self.links.linked.is_empty() {
            let Draft { merged, taken, .. } = &mut self.block;
            self.links.arrange(first, &mut merged[first..], &mut taken[first_taken..]);
        }
        let cross = rows.len() - isolated;
        if cross + balances.len() > 0 {
            self.cash(balances);
            self.block.close_bucket(NONE, 0.0, cross);
        }
        if isolated == 0 {
            return;
        }
        let rare_rows = rows.iter().enumerate().filter(|(_, row)| row.is_rare()).zip(rare);
        for ((i, row), said) in rare_rows.filter(|((_, row), _)| row.is_isolated()) {
            self.block.taken[first_taken + i].1 = self.push(row, said.special());
            self.block.close_bucket(row.row(), said.posted, 1);
        }
    }

    fn start_bucket(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.seen_instrument.fill((0, 0));
            self.seen_asset.fill((0, 0));
            self.stamp = 1;
        }
    }

    /// Writes a row as a merged row of its own, and says where.
    #[inline]
    fn push(&mut self, row: &PositionRecord, said: Option<Special>) -> u32 {
        let Draft { merged, specials, .. } = &mut self.block;
        let (instrument, quantity, entry) = (row.instrument(), row.quantity, row.entry);
        let mut special = NONE;
        if let Some(said) = said {
            special = specials.len() as u32;
            specials.push(said);
        }
        let (cost, inverse_cost) = (quantity * entry, quantity / entry);
        merged.push(Merged { instrument, special, quantity, cost, inverse_cost });
        merged.len() as u32 - 1
    }

    /// Adds a row to the merged row that it belongs to, or puts it after the last of its table;
    /// says where. The bucket's rows begin at `first`.
    #[inline]
    fn merge(&mut self, row: &PositionRecord, said: Option<&RareRecord>, first: usize) -> u32 {
        let special = said.and_then(RareRecord::special);
        let seen = &mut self.seen_instrument[row.instrument() as usize];
        if seen.0 == self.stamp {
            let head = seen.1;
            return self.merge_into(head, row, special, first);
        }
        *seen = (self.stamp, self.block.merged.len() as u32);
        self.push(row, special)
    }

    fn merge_into(
        &mut self,
        head: u32,
        row: &PositionRecord,
        special: Option<Special>,
        first: usize,
    ) -> u32 {
        let Draft { merged, specials, .. } = &mut self.block;
        let of_row = special.map_or(NONE, |special| special.table);
        let side_of_row = side(row.quantity);
        let (mut at, mut after) = (head, NONE);
        loop {
            let here = &mut merged[at as usize];
            let table = match here.special {
                NONE => NONE,
                place => specials[place as usize].table,
            };
            if table == of_row {
                // Amounts of one side add up to that side.
                if side(here.quantity) == side_of_row {
                    absorb(here, row, special, specials);
                    return at;
                }
                after = at;
            } else if after != NONE {
                break;
            }
            match self.links.after(at - first as u32) {
                NONE => break,
                next => at = first as u32 + next,
            }
        }
        let after = if after == NONE { at } else { after };
        let new = self.push(row, special);
        self.links.link(after - first as u32, new - first as u32);
        new
    }

    /// Writes an account's balances to the block, merged by asset.
    fn cash(&mut self, balances: &[BalanceRecord]) {
        let cash = &mut self.block.cash;
        for balance in balances {
            let seen = &mut self.seen_asset[balance.asset() as usize];
            if seen.0 == self.stamp {
                cash[seen.1 as usize].1 += balance.amount;
            } else {
                *seen = (self.stamp, cash.len() as u32);
                cash.push((balance.asset(), balance.amount));
            }
        }
    }
}

/// Adds a row to a merged row.
#[inline]
fn absorb(
    merged: &mut Merged,
    row: &PositionRecord,
    special: Option<Special>,
    specials: &mut Vec<Special>,
) {
    merged.quantity += row.quantity;
    merged.cost += row.quantity * row.entry;
    merged.inverse_cost += row.quantity / row.entry;
    let Some(special) = special else { return };
    if merged.special == NONE {
        merged.special = specials.len() as u32;
        specials.push(special);
    } else {
        specials[merged.special as usize].absorb(&special);
    }
}
