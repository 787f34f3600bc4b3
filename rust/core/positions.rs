//! The positions of a sweep: one row per input position, in input order.
//!
//! What the rows of a merged row share is worked out in book order (`shares`), then each row
//! takes its part (`rows`). Where blocks hold neighbouring rows of the input, as they do of a
//! grouped frame, a block's rows are written at once; elsewhere what is shared is kept until
//! every block is done.

use std::sync::atomic::{AtomicU32, Ordering};

use pulp::{Arch, Simd, WithSimd};

pub use crate::shared::{PRICE_KIND, PriceKind};

use crate::batch;
use crate::bits::Bits;
use crate::block::Block;
use crate::book::Book;
use crate::keys::NONE;
use crate::memory::Buffer;
use crate::rows::{Part, Rows, Runs};
use crate::rules::Rules;
use crate::shared::Shared;
use crate::shares::{Sharer, Shares};
use crate::sweep::Sweep;

/// One row per input position, as columns. A price that is absent is 0, which no price is.
#[derive(Default)]
pub struct PositionColumns {
    /// Whether the figures of a row mean anything: false for indeterminate accounts.
    pub is_known: Bits,
    /// Whether the market has a mark.
    pub is_marked: Bits,
    /// Whether there is a liquidation price.
    pub is_reached: Bits,
    /// Whether there is a bankruptcy price.
    pub is_bankrupted: Bits,
    /// The bucket's number in the book; `NONE` where nothing is known.
    pub bucket: Buffer<u32>,
    /// Mark of the instrument; 0 where the market has none.
    pub mark_price: Buffer<f64>,
    /// Value of the row at the mark, without its sign.
    pub notional: Buffer<f64>,
    /// Profit of the row; of an option its value.
    pub unrealized_pnl: Buffer<f64>,
    /// Tier of its side, from 1.
    pub tier: Buffer<i64>,
    /// Its share of its side's maintenance margin.
    pub maintenance_margin: Buffer<f64>,
    /// Its share of its side's initial margin.
    pub initial_margin: Buffer<f64>,
    /// Mark at which the bucket's trigger is reached.
    pub liquidation_price: Buffer<f64>,
    /// `PriceKind` as a number.
    pub kind: Buffer<u8>,
    /// Mark at which the bucket's equity is 0.
    pub bankruptcy_price: Buffer<f64>,
}

/// Rows that one thread writes at a time, where they gather what is shared.
const PART_ROWS: usize = 1 << 14;

/// Rows for which it is worth to start a thread.
const THREAD_ROWS: usize = 1 << 14;

/// Neighbouring blocks that one thread takes at a time.
const RUN_BLOCKS: usize = 8;

impl PositionColumns {
    /// Columns of so many rows, each of which is to be written.
    fn new(rows: usize) -> Self {
        let numbers = || Buffer::new(rows);
        Self {
            bucket: Buffer::new(rows),
            mark_price: numbers(),
            notional: numbers(),
            unrealized_pnl: numbers(),
            tier: Buffer::new(rows),
            maintenance_margin: numbers(),
            initial_margin: numbers(),
            liquidation_price: numbers(),
            kind: Buffer::new(rows),
            bankruptcy_price: numbers(),
            ..Self::default()
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

    /// Neighbouring parts that begin at these rows, for writing.
    fn parts(&mut self, begins: &[usize]) -> Vec<Part<'_>> {
        let rows = self.len();
        let mut rest = Part {
            first: 0,
            bucket: &mut self.bucket,
            tier: &mut self.tier,
            kind: &mut self.kind,
            numbers: [
                &mut self.mark_price,
                &mut self.notional,
                &mut self.unrealized_pnl,
                &mut self.maintenance_margin,
                &mut self.initial_margin,
                &mut self.liquidation_price,
                &mut self.bankruptcy_price,
            ],
        };
        let ends = begins.iter().skip(1).copied().chain([rows]);
        begins.iter().zip(ends).map(|(begin, end)| rest.take(end - begin)).collect()
    }

    /// Keeps the bits of all parts.
    fn keep_bits(&mut self, parts: impl Iterator<Item = Runs>) {
        let joined = Bits::join_all(self.len(), parts);
        [self.is_known, self.is_marked, self.is_reached, self.is_bankrupted] = joined;
    }
}

impl Sweep {
    /// One row per input position, in input order.
    pub fn positions(&self, book: &Book, rules: &Rules, threads: usize) -> PositionColumns {
        let threads = batch::enough(threads, book.position_account.len(), THREAD_ROWS);
        let blocks = self.blocks(book);
        let rows = Rows::new(book, &self.marks, rules);
        let shares = Shares::new(&self.marks, rules, &self.indeterminate);
        let mut columns = PositionColumns::new(book.position_account.len());
        let arch = Arch::new();
        let bits = match neighbours(blocks) {
            Some(begins) => write_in_place(blocks, columns.parts(&begins), &rows, &shares, threads),
            None => {
                let (shared, slots) = share_all(blocks, columns.len(), &shares, threads);
                let slot = |row: usize| slots[row].load(Ordering::Relaxed);
                let begins: Vec<usize> = (0..columns.len()).step_by(PART_ROWS).collect();
                batch::map(threads, columns.parts(&begins), |mut part: Part<'_>| {
                    arch.dispatch(Gathered { rows: &rows, part: &mut part, shared: &shared, slot })
                })
            }
        };
        columns.keep_bits(bits.into_iter());
        columns
    }
}

/// What the rows of a block share, to be worked out in wide registers: nothing is fused or
/// reordered, so the bits are the same.
struct SharedOf<'a, 'b> {
    sharer: &'a mut Sharer<'b>,
    block: &'a Block,
    shared: &'a mut [Shared],
}

impl WithSimd for SharedOf<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.sharer.block(self.block, self.shared);
    }
}

/// Rows of a part that take what is at their slots, in the same way.
struct Gathered<'a, 'b, F> {
    rows: &'a Rows<'b>,
    part: &'a mut Part<'b>,
    shared: &'a [Shared],
    slot: F,
}

impl<F: Fn(usize) -> u32> WithSimd for Gathered<'_, '_, F> {
    type Output = Runs;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Runs {
        self.rows.write(self.part, self.shared, self.slot)
    }
}

/// Where the rows of each block begin, if each holds neighbouring rows of the input: those in
/// no block are with the block before, the first ones with the first.
fn neighbours(blocks: &[Block]) -> Option<Vec<usize>> {
    let mut begins = Vec::with_capacity(blocks.len());
    let mut end = 0;
    for block in blocks {
        let begin = block.row.iter().min().map_or(end, |row| *row as usize);
        if begin < end {
            return None;
        }
        begins.push(if begins.is_empty() { 0 } else { begin });
        end = block.row.iter().max().map_or(end, |row| *row as usize + 1);
    }
    (!begins.is_empty()).then_some(begins)
}

/// Writes the rows of each block to its part.
fn write_in_place(
    blocks: &[Block],
    parts: Vec<Part<'_>>,
    rows: &Rows<'_>,
    shares: &Shares<'_>,
    threads: usize,
) -> Vec<Runs> {
    let mut parts = parts.into_iter();
    let runs = blocks.chunks(RUN_BLOCKS);
    let tasks = runs.map(|run| (run, parts.by_ref().take(run.len()).collect())).collect();
    let bits = batch::map(threads, tasks, |(run, parts): (&[Block], Vec<Part<'_>>)| {
        let (arch, mut sharer) = (Arch::new(), shares.sharer());
        let (mut shared, mut slots) = (Vec::new(), Vec::new());
        let write = |(block, mut part): (&Block, Part<'_>)| {
            shared.resize(block.instrument.len(), Shared::NOTHING);
            arch.dispatch(SharedOf { sharer: &mut sharer, block, shared: &mut shared });
            let (slots, first) = (slots_of(block, &part, &mut slots), part.first);
            let slot = |row: usize| slots[row - first];
            arch.dispatch(Gathered { rows, part: &mut part, shared: &shared, slot })
        };
        run.iter().zip(parts).map(write).collect::<Vec<Runs>>()
    });
    bits.into_iter().flatten().collect()
}

/// For each row of a part, its merged row in the block.
fn slots_of<'a>(block: &Block, part: &Part<'_>, slots: &'a mut Vec<u32>) -> &'a [u32] {
    slots.clear();
    slots.resize(part.len(), NONE);
    for (row, slot) in block.row.iter().zip(&block.slot) {
        slots[*row as usize - part.first] = *slot;
    }
    slots
}

/// What is shared, by merged row of all blocks; and for each input row, its merged row.
fn share_all(
    blocks: &[Block],
    rows: usize,
    shares: &Shares<'_>,
    threads: usize,
) -> (Buffer<Shared>, Vec<AtomicU32>) {
    let mut shared = Buffer::new(blocks.iter().map(|block| block.instrument.len()).sum());
    let mut slots = Vec::with_capacity(rows);
    slots.resize_with(rows, || AtomicU32::new(NONE));
    let (mut rest, mut first) = (&mut shared[..], 0);
    let runs = blocks.chunks(RUN_BLOCKS).map(|run| {
        let merged = run.iter().map(|block| block.instrument.len()).sum();
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(merged);
        rest = tail;
        first += merged as u32;
        (run, first - merged as u32, head)
    });
    batch::map(threads, runs.collect(), |(run, mut first, mut its): (&[Block], u32, &mut [_])| {
        let mut sharer = shares.sharer();
        let arch = Arch::new();
        for block in run {
            let (head, tail) = std::mem::take(&mut its).split_at_mut(block.instrument.len());
            arch.dispatch(SharedOf { sharer: &mut sharer, block, shared: head });
            for (row, slot) in block.row.iter().zip(&block.slot) {
                slots[*row as usize].store(first + slot, Ordering::Relaxed);
            }
            first += head.len() as u32;
            its = tail;
        }
    });
    (shared, slots)
}
