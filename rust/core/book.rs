//! The book: who holds what, as compressed rows by bucket, in output order.
//!
//! Accounts stand in order of first appearance, in blocks of `BLOCK_ACCOUNTS`. A bucket's
//! rows are merged by instrument, tier table and side: each keeps its quantity and both
//! entry sums, `sum(q * E)` and `sum(q / E)`, because only the market knows which of the
//! two a contract needs. `Book::build` makes one; it never changes afterwards.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

pub use crate::holdings::{Balances, BookInput, Positions};

use crate::accounts::{Accounts, number_accounts};
use crate::batch;
use crate::block::Block;
use crate::builder::Builder;
use crate::columns::{Fault, Numbers, Values};
use crate::error::{Error, Result};
use crate::intake::{self, stand};
use crate::keys::{Ids, NONE};
use crate::memory::{Buffer, KEPT};
use crate::names::Names;
use crate::partition::{Grouped, Parts, Width};
use crate::records::{BalanceRecord, PositionRecord, RareRecord, Source};
use crate::slabs::Slabs;

/// Accounts in a block.
pub const BLOCK_ACCOUNTS: usize = 1024;
/// Bytes of a row of the account frame: what a sweep takes once the records are gone, so they may
/// take as much.
const FRAME_ROW: usize = 160;
/// Rows for which it is worth to start a thread.
const THREAD_ROWS: usize = 1 << 14;

/// Who holds what. See the module.
pub struct Book {
    /// Instruments by code.
    pub instruments: Names,
    /// Assets of the balances by code.
    pub assets: Names,
    /// Tier tables that positions name, by code.
    pub tables: Names,
    /// For each account, the frame (positions, balances, accounts) and row of first appearance.
    pub first: Vec<(u32, u32)>,
    /// For each account, its id, where ids are integers.
    pub account_ids: Option<Arc<Buffer<i64>>>,
    /// For each account, its row of the accounts frame, `NONE` where it has none; empty where the
    /// frame has no rows.
    pub account_row: Vec<u32>,
    /// Bad rows, in order of frame, row and column.
    pub faults: Vec<Fault>,
    /// For each account, whether one of its rows is bad.
    pub indeterminate: Vec<bool>,
    /// The accounts in blocks.
    pub blocks: Vec<Block>,
    /// For each position row, its account, `NONE` where it has none.
    pub position_account: Buffer<u32>,
    /// For each position row, its instrument, `NONE` where it is null or unlisted.
    pub position_instrument: Buffer<u32>,
    /// For each balance row, its account, `NONE` where it has none.
    pub balance_account: Buffer<u32>,
    /// For each balance row, its asset, `NONE` where it is null.
    pub balance_asset: Vec<u32>,
    /// The `positions` frame as it came.
    pub positions: Positions,
    /// The amounts of the `balances` frame as they came.
    pub amounts: Numbers,
}

impl Book {
    /// Builds the book, with accounts that have a bad row left out and the rows in `faults`.
    ///
    /// # Errors
    ///
    /// `Error::Data` where there are 2^32 - 1 rows or more.
    pub fn build(input: BookInput, threads: usize) -> Result<Self> {
        Self::build_by(input, |accounts| KEPT.max(accounts * FRAME_ROW), threads)
    }

    /// The same with the records of so many bytes alive at a time, about, as `at_once` says of
    /// a number of accounts.
    fn build_by(
        input: BookInput,
        at_once: impl Fn(usize) -> usize,
        threads: usize,
    ) -> Result<Self> {
        let BookInput { positions, balances, accounts, instruments: listed } = input;
        let none = Ids::integers(Values::new(Vec::new()), None);
        let frames = [&positions.account, &balances.account, accounts.as_ref().unwrap_or(&none)];
        let rows: usize = frames.iter().map(|ids| ids.len()).sum();
        if rows >= NONE as usize {
            return Err(Error::Data(format!(
                "positions, balances and accounts hold {rows} rows; a book takes fewer than 2^32 - 1: split it by account"
            )));
        }
        let threads = batch::enough(threads, rows, THREAD_ROWS);
        let frames: Vec<&Ids> = frames.into_iter().filter(|ids| !ids.is_empty()).collect();
        let numbered = number_accounts(&frames, threads);
        let (row_account, first) = by_frame(&positions, &balances, accounts.as_ref(), numbered);
        let [position_account, balance_account, account_account] = row_account;
        let account_ids = integer_ids(&positions, &balances, accounts.as_ref(), &first, threads);

        let mut instruments = Names::default();
        instruments.find_or_add(&listed, 1);
        let (mut assets, mut tables) = (Names::default(), Names::default());
        let balance_asset = assets.find_or_add(&balances.asset, threads);
        let position_table =
            positions.tier_table.as_ref().map(|ids| tables.find_or_add(ids, threads));

        let mut position_instrument = Buffer::new(position_account.len());
        let source = Source::new(&positions, position_table.as_deref());
        let width = Width::new(first.len(), BLOCK_ACCOUNTS);
        let (held_stand, owned_stand) = (stand(&position_account), stand(&balance_account));
        let bytes = |stand: bool, of_record: usize| if stand { 0 } else { of_record };
        let held = (&*position_account, bytes(held_stand, source.bytes()));
        let owned = (&*balance_account, bytes(owned_stand, size_of::<BalanceRecord>()));
        let passes = intake::passes(width, [held, owned], at_once(first.len()), threads);
        let owners =
            |parts: &Range<usize>, stand: bool| (!stand).then(|| width.owners(parts.clone()));
        let codes = (&*position_account, &mut *position_instrument);
        let of_positions = owners(&passes[0], held_stand);
        let held =
            intake::positions(&positions, &source, codes, &instruments, of_positions, threads);
        let of_balances = owners(&passes[0], owned_stand);
        let owned =
            intake::balances(&balances, &balance_account, &balance_asset, of_balances, threads);
        let mut faults = held.faults;
        faults.extend(owned.faults);
        if let Some(ids) = &accounts {
            intake::nulls("accounts", "account_id", ids, &mut faults);
        }
        faults.sort_by_key(|fault| (fault.frame, fault.row, fault.column));
        let mut indeterminate = vec![false; first.len()];
        for fault in &faults {
            let account = match fault.frame {
                "positions" => position_account[fault.row as usize],
                "balances" => balance_account[fault.row as usize],
                _ => account_account[fault.row as usize],
            };
            if account != NONE {
                indeterminate[account as usize] = true;
            }
        }
        let mut account_row = vec![NONE; if account_account.is_empty() { 0 } else { first.len() }];
        for (row, account) in account_account.iter().enumerate() {
            if *account != NONE {
                account_row[*account as usize] = row as u32;
            }
        }
        let read_positions = |from: usize, owners: &[u32], records: &mut Vec<PositionRecord>| {
            source.read(from, owners, &position_instrument, records);
        };
        let amounts = balances.amount.values();
        let read_balances = |from: usize, owners: &[u32], records: &mut Vec<BalanceRecord>| {
            let rows = owners.iter().zip(from..);
            records.extend(rows.map(|(account, row)| {
                BalanceRecord::new(*account, balance_asset[row], amounts[row])
            }));
        };
        let read_rare = |from: usize, owners: &[u32], rare: &mut Vec<RareRecord>| {
            source.read_rare(from, owners, rare);
        };
        let read = (read_positions, read_rare, read_balances);
        let size = 4 * position_account.len() + 3 * first.len() + 2 * balance_account.len();
        let slabs = Slabs::new(size, threads);
        let builder = || Builder::new(instruments.len(), assets.len(), slabs.filler());
        let (mut held, mut rare): (Vec<_>, Vec<_>) = held.cut.into_iter().unzip();
        let mut owned = owned.cut;
        let mut blocks = Vec::new();
        for (pass, parts) in passes.into_iter().enumerate() {
            if pass > 0 {
                // Before more is taken.
                drop((mem::take(&mut held), mem::take(&mut rare), mem::take(&mut owned)));
                let codes = (&*position_account, &*position_instrument);
                let of_positions = owners(&parts, held_stand);
                let more = intake::more_positions(&source, codes, of_positions, threads);
                (held, rare) = more.into_iter().unzip();
                let codes = (&*balance_account, &*balance_asset);
                let of_balances = owners(&parts, owned_stand);
                owned = intake::more_balances(&balances, codes, of_balances, threads);
            }
            let rows = (
                Parts::new(held_stand, &held, &position_account),
                match source.says_more() {
                    true => Parts::new(held_stand, &rare, &position_account),
                    false => Parts::Cut(&[]),
                },
                Parts::new(owned_stand, &owned, &balance_account),
            );
            let runs = (parts, width);
            blocks.extend(build_blocks(rows, &read, &builder, runs, &indeterminate, threads));
        }
        slabs.close();
        number_buckets(&mut blocks);
        Ok(Self {
            instruments,
            assets,
            tables,
            first,
            account_ids: account_ids.map(Arc::new),
            account_row,
            faults,
            indeterminate,
            blocks,
            position_account,
            position_instrument,
            balance_account,
            balance_asset,
            positions,
            amounts: balances.amount,
        })
    }

    /// Number of accounts.
    pub fn accounts(&self) -> usize {
        self.first.len()
    }

    /// Number of buckets; indeterminate accounts have none.
    pub fn buckets(&self) -> usize {
        self.blocks.iter().map(Block::buckets).sum()
    }

    /// The block that an account stands in.
    pub fn block_of(&self, account: usize) -> &Block {
        &self.blocks[account / BLOCK_ACCOUNTS]
    }
}

/// The id of each account, where those of all frames are integers.
fn integer_ids(
    positions: &Positions,
    balances: &Balances,
    accounts: Option<&Ids>,
    first: &[(u32, u32)],
    threads: usize,
) -> Option<Buffer<i64>> {
    let frames = [Some(&positions.account), Some(&balances.account), accounts];
    let held =
        |ids: Option<&'_ Ids>| ids.is_none_or(|ids| ids.is_empty() || ids.as_integers().is_some());
    if !frames.iter().all(|ids| held(*ids)) {
        return None;
    }
    let values = frames.map(|ids| ids.and_then(Ids::as_integers).unwrap_or_default());
    let mut ids = Buffer::new(first.len());
    let tasks = ids.chunks_mut(THREAD_ROWS).zip(first.chunks(THREAD_ROWS)).collect();
    batch::map(threads, tasks, |(ids, first): (&mut [i64], &[(u32, u32)])| {
        for (id, (frame, row)) in ids.iter_mut().zip(first) {
            *id = values[*frame as usize][*row as usize];
        }
    });
    Some(ids)
}

/// Puts rows and first appearances back to the three frames, the empty ones included.
fn by_frame(
    positions: &Positions,
    balances: &Balances,
    accounts: Option<&Ids>,
    numbered: Accounts,
) -> ([Buffer<u32>; 3], Vec<(u32, u32)>) {
    let filled = [
        !positions.account.is_empty(),
        !balances.account.is_empty(),
        accounts.is_some_and(|ids| !ids.is_empty()),
    ];
    let place: Vec<u32> = (0..3).filter(|frame| filled[*frame as usize]).collect();
    let mut row_account: [Buffer<u32>; 3] = Default::default();
    for (rows, frame) in numbered.row_account.into_iter().zip(&place) {
        row_account[*frame as usize] = rows;
    }
    let mut first = numbered.first;
    if place.iter().enumerate().any(|(number, frame)| number != *frame as usize) {
        first.iter_mut().for_each(|(frame, _)| *frame = place[*frame as usize]);
    }
    (row_account, first)
}

/// The blocks of the accounts of some parts; the closures read rows that stand.
fn build_blocks<'a>(
    (positions, rare, balances): (
        Parts<'_, PositionRecord>,
        Parts<'_, RareRecord>,
        Parts<'_, BalanceRecord>,
    ),
    (read_position, read_rare, read_balance): &(
        impl Fn(usize, &[u32], &mut Vec<PositionRecord>) + Sync,
        impl Fn(usize, &[u32], &mut Vec<RareRecord>) + Sync,
        impl Fn(usize, &[u32], &mut Vec<BalanceRecord>) + Sync,
    ),
    builder: &(impl Fn() -> Builder<'a> + Sync),
    (parts, width): (Range<usize>, Width),
    indeterminate: &[bool],
    threads: usize,
) -> Vec<Block> {
    let built = batch::map(threads, batch::ranges(parts.len(), 16 * threads), |run| {
        let mut builder = builder();
        let (mut held, mut owned) = (Grouped::default(), Grouped::default());
        let mut said = Grouped::default();
        let mut blocks = Vec::new();
        for part in run {
            let part = parts.start + part;
            let accounts = width.accounts(part);
            positions.group(part, accounts.clone(), read_position, &mut held);
            rare.group(part, accounts.clone(), read_rare, &mut said);
            balances.group(part, accounts.clone(), read_balance, &mut owned);
            for first in accounts.clone().step_by(BLOCK_ACCOUNTS) {
                let block = first..(first + BLOCK_ACCOUNTS).min(accounts.end);
                blocks.push(builder.build((&held, &said), &owned, block, indeterminate));
            }
        }
        blocks
    });
    built.into_iter().flatten().collect()
}

/// Tells each block how many buckets are before it.
pub(crate) fn number_buckets(blocks: &mut [Block]) {
    let mut first_bucket = 0;
    for block in blocks {
        block.first_bucket = first_bucket;
        first_bucket += block.buckets();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{Range, Validity};

    fn numbers(name: &'static str, values: impl Iterator<Item = f64>) -> Numbers {
        Numbers::new(name, Range::Any, Values::new(values.collect::<Vec<f64>>()))
    }

    /// Rows of 9,000 accounts in no order, or by account.
    fn input(is_sorted: bool) -> BookInput {
        let ids = |rows: i64, step: i64| {
            let mut ids: Vec<i64> = (0..rows).map(|row| row * step % 9_000).collect();
            if is_sorted {
                ids.sort();
            }
            Ids::integers(Values::new(ids), None)
        };
        let codes = |rows: i64, codes: i64| {
            Ids::integers(
                Values::new((0..rows).map(|row| row * row % codes).collect::<Vec<_>>()),
                None,
            )
        };
        BookInput {
            positions: Positions {
                account: ids(40_000, 7919),
                instrument: codes(40_000, 11),
                quantity: numbers("quantity", (0..40_000).map(|row| f64::from(row % 17) - 8.0)),
                entry_price: numbers(
                    "entry_price",
                    (0..40_000).map(|row| f64::from(row % 97) + 0.1),
                ),
                isolated: Some(Values::new(
                    (0..40_000).map(|row| u8::from(row % 5 == 1)).collect::<Vec<u8>>(),
                )),
                isolated_margin: Some(numbers("isolated_margin", (0..40_000).map(f64::from))),
                leverage: Some(
                    numbers("leverage", (0..40_000).map(|row| f64::from(row % 50)))
                        .optional()
                        .with_validity(Some(Validity::from_words(vec![
                            0x0421_0000_9000_0012;
                            625
                        ]))),
                ),
                tier_table: Some(codes(40_000, 3)),
                open_buy: Some(numbers("open_buy", (0..40_000).map(|row| f64::from(row % 4)))),
                open_sell: None,
            },
            balances: Balances {
                account: ids(10_000, 31),
                asset: codes(10_000, 3),
                amount: numbers("amount", (0..10_000).map(f64::from)),
            },
            accounts: None,
            instruments: codes(11, 11),
        }
    }

    #[test]
    fn a_book_is_the_same_however_many_records_are_alive_at_a_time() {
        for is_sorted in [false, true] {
            let whole = Book::build(input(is_sorted), 1).expect("it fits");
            assert!(whole.faults.is_empty());
            for (at_once, threads) in [(1 << 19, 1), (1 << 18, 2), (1, 3)] {
                let book = Book::build_by(input(is_sorted), |_| at_once, threads).expect("it fits");
                assert_eq!(book.blocks.len(), whole.blocks.len());
                for (block, same) in book.blocks.iter().zip(&whole.blocks) {
                    let firsts = |block: &Block| (block.first_account, block.first_bucket);
                    assert_eq!(firsts(block), firsts(same));
                    assert_eq!(*block.bucket_start, *same.bucket_start);
                    assert_eq!(*block.row_count, *same.row_count);
                    assert_eq!(*block.instrument, *same.instrument);
                    assert_eq!(*block.quantity, *same.quantity);
                    assert_eq!(*block.inverse_cost, *same.inverse_cost);
                    assert_eq!(*block.amount, *same.amount);
                    assert_eq!((&*block.row, &*block.slot), (&*same.row, &*same.slot));
                    assert_eq!(
                        (&*block.special, &block.specials),
                        (&*same.special, &same.specials)
                    );
                    assert_eq!(*block.isolated_row, *same.isolated_row);
                    // What is posted is the number of its row here.
                    let posted = block.isolated_row.iter().map(|row| match *row {
                        NONE => 0.0,
                        row => f64::from(row),
                    });
                    assert!(posted.eq(block.isolated_margin.iter().copied()));
                    assert!(block.isolated_row.iter().any(|row| *row != NONE));
                }
            }
        }
    }
}
