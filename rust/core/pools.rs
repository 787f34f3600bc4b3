//! Pools: the blocks of a book as a ruleset cuts them.
//!
//! A book keeps one cross bucket an account, because only rules and market know better. Where
//! a ruleset pools by settle asset, `regroup` cuts it into one bucket for each; where profit
//! joins the settle asset's balance, it gives every bucket that balance, 0 where there is none,
//! and tells each row which one it is.

use crate::batch;
use crate::block::{Block, Bucket};
use crate::book::{Book, number_buckets};
use crate::conventions::{Conventions, Pooling, ProfitAndLoss};
use crate::draft::{Draft, Merged};
use crate::keys::NONE;
use crate::marks::Marks;
use crate::slabs::{Slabs, words};

/// The blocks of `book` under these conventions; None where its own will do.
pub fn regroup(
    book: &Book,
    marks: &Marks,
    conventions: &Conventions,
    threads: usize,
) -> Option<Vec<Block>> {
    let pooled = conventions.pooling == Pooling::SettleAsset;
    let joined = conventions.profit_and_loss == ProfitAndLoss::SettleAsset;
    if !pooled && !joined {
        return None;
    }
    let runs = batch::ranges(book.blocks.len(), 4 * threads);
    let slabs = Slabs::new(book.blocks.iter().map(size).sum(), threads);
    let regrouped = batch::map(threads, runs, |run| {
        let mut cutter = Cutter::new(marks, pooled, joined);
        let (mut block, mut filler) = (Draft::default(), slabs.filler());
        let cut = |from: &Block| {
            cutter.block(from, &mut block);
            block.pack(&mut filler)
        };
        book.blocks[run].iter().map(cut).collect::<Vec<Block>>()
    });
    slabs.close();
    let mut blocks: Vec<Block> = regrouped.into_iter().flatten().collect();
    number_buckets(&mut blocks);
    Some(blocks)
}

/// Words of the columns that are longest in a block.
fn size(block: &Block) -> usize {
    let numbers = 3 * block.instrument.len() + block.amount.len();
    let codes = block.instrument.len() + 2 * block.row.len() + 5 * block.buckets();
    words::<f64>(numbers) + words::<u32>(codes)
}

/// A value for each asset that is forgotten from one bucket to the next.
struct PerAsset {
    seen: Vec<(u32, u32)>,
    stamp: u32,
}

impl PerAsset {
    fn new(assets: usize) -> Self {
        Self { seen: vec![(0, 0); assets], stamp: 0 }
    }

    fn forget(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.seen.fill((0, 0));
            self.stamp = 1;
        }
    }

    /// The value of an asset; where there is none, `new` is kept and given back as new.
    fn get_or_insert(&mut self, asset: u32, new: u32) -> (u32, bool) {
        let place = &mut self.seen[asset as usize];
        let is_new = place.0 != self.stamp;
        if is_new {
            *place = (self.stamp, new);
        }
        (place.1, is_new)
    }
}

/// Cuts blocks, keeping its scratch from one to the next.
struct Cutter<'a> {
    marks: &'a Marks,
    pooled: bool,
    joined: bool,
    /// For each asset, its group in the cross bucket that is being cut.
    group: PerAsset,
    /// For each asset, its balance in the bucket that is being written.
    balance: PerAsset,
    /// The asset of each group, in order of first appearance.
    pools: Vec<u32>,
    /// The group of each merged row and of each balance of the bucket.
    row_group: Vec<u32>,
    balance_group: Vec<u32>,
    /// For each merged row of the block, where it went.
    moved: Vec<u32>,
    /// For each merged row of the new block, its bucket.
    bucket_of: Vec<u32>,
}

impl<'a> Cutter<'a> {
    fn new(marks: &'a Marks, pooled: bool, joined: bool) -> Self {
        let assets = marks.assets.len() + 1; // the last for instruments without a settle asset
        Self {
            marks,
            pooled,
            joined,
            group: PerAsset::new(assets),
            balance: PerAsset::new(assets),
            pools: Vec::new(),
            row_group: Vec::new(),
            balance_group: Vec::new(),
            moved: Vec::new(),
            bucket_of: Vec::new(),
        }
    }

    /// Writes a block as it is to be cut.
    fn block(&mut self, from: &Block, block: &mut Draft) {
        block.start(from.first_account);
        block.specials.extend_from_slice(&from.specials);
        self.moved.clear();
        self.moved.resize(from.instrument.len(), NONE);
        self.bucket_of.clear();
        for account in 0..from.accounts() {
            for number in from.buckets_of(account) {
                self.bucket(from, number, block);
            }
            block.close_account();
        }
        for (row, slot) in from.row.iter().zip(&from.slot) {
            let slot = self.moved[*slot as usize];
            block.taken.push((*row, slot));
            block.count_row(self.bucket_of[slot as usize] as usize);
        }
    }

    /// Writes a bucket: as it is, or a cross one cut by settle asset.
    fn bucket(&mut self, from: &Block, number: usize, block: &mut Draft) {
        let bucket = from.bucket(number);
        let is_cross = bucket.isolated_margin.is_none();
        self.pools.clear();
        self.row_group.clear();
        self.balance_group.clear();
        if is_cross && self.pooled {
            self.group(&bucket);
        } else {
            self.pools.push(NONE);
            self.row_group.resize(bucket.instrument.len(), 0);
            self.balance_group.resize(bucket.asset.len(), 0);
        }
        for group in 0..self.pools.len() as u32 {
            self.part(from, number, &bucket, group, block);
            let posted = bucket.isolated_margin.unwrap_or(0.0);
            block.close_bucket(from.isolated_row_of(number), posted, 0); // rows are counted later
            if self.pooled {
                block.pool.push(self.pools[group as usize]);
            }
        }
    }

    /// Finds the groups of a cross bucket: by first appearance, positions before balances.
    fn group(&mut self, bucket: &Bucket<'_>) {
        self.group.forget();
        let (group, pools) = (&mut self.group, &mut self.pools);
        let mut find = |asset: u32| {
            let (found, is_new) = group.get_or_insert(asset, pools.len() as u32);
            if is_new {
                pools.push(asset);
            }
            found
        };
        self.row_group.extend(bucket.instrument.iter().map(|i| find(settle(self.marks, *i))));
        self.balance_group.extend(bucket.asset.iter().map(|asset| find(*asset)));
    }

    /// Writes the rows and balances of one group.
    fn part(
        &mut self,
        from: &Block,
        number: usize,
        bucket: &Bucket<'_>,
        group: u32,
        block: &mut Draft,
    ) {
        let joins = self.joined && bucket.isolated_margin.is_none();
        let first = block.cash.len();
        self.balance.forget();
        for (i, asset) in bucket.asset.iter().enumerate() {
            if self.balance_group[i] == group {
                self.balance.get_or_insert(*asset, (block.cash.len() - first) as u32);
                block.cash.push((*asset, bucket.amount[i]));
            }
        }
        let start = from.row_start[number] as usize;
        for row in 0..bucket.instrument.len() {
            if self.row_group[row] != group {
                continue;
            }
            self.moved[start + row] = block.merged.len() as u32;
            self.bucket_of.push(block.buckets() as u32);
            block.merged.push(merged(from, start + row));
            if self.joined {
                let settle = settle(self.marks, bucket.instrument[row]);
                let home = if joins { self.home(settle, first, block) } else { NONE };
                block.home.push(home);
            }
        }
    }

    /// The balance of the bucket from `first` on that is of this asset; 0 of it if need be.
    fn home(&mut self, asset: u32, first: usize, block: &mut Draft) -> u32 {
        let (home, is_new) = self.balance.get_or_insert(asset, (block.cash.len() - first) as u32);
        if is_new {
            block.cash.push((asset, 0.0));
        }
        home
    }
}

/// The settle asset of an instrument, by its place in `Marks::assets`; one past the last where
/// it has none, which only indeterminate accounts hold.
fn settle(marks: &Marks, instrument: u32) -> u32 {
    marks.instruments[instrument as usize].settle.min(marks.assets.len() as u32)
}

/// A merged row of a block.
fn merged(from: &Block, row: usize) -> Merged {
    Merged {
        instrument: from.instrument[row],
        special: from.special.get(row).copied().unwrap_or(NONE),
        quantity: from.quantity[row],
        cost: from.cost[row],
        inverse_cost: from.inverse_cost[row],
    }
}
