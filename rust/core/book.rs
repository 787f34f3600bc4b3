//! The book: who holds what, as compressed rows by bucket, in output order.
//!
//! Accounts stand in order of first appearance, in blocks of `BLOCK_ACCOUNTS`. A bucket's
//! rows are merged by instrument, tier table and side: each keeps its quantity and both
//! entry sums, `sum(q * E)` and `sum(q / E)`, because only the market knows which of the
//! two a contract needs. `Book::build` makes one; it never changes afterwards.

pub use crate::holdings::{Balances, BookInput, Positions};

use crate::accounts::{Accounts, number_accounts};
use crate::batch;
use crate::block::Block;
use crate::builder::{BalanceRecord, Builder, PositionRecord, Source};
use crate::columns::{Fault, Numbers, Reason, Values};
use crate::error::{Error, Result};
use crate::keys::{Ids, NONE, Names};
use crate::partition::{Grouped, Parts};

/// Accounts in a block.
pub const BLOCK_ACCOUNTS: usize = 1024;

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
    /// For each account, its row of the accounts frame; `NONE` where it has none.
    pub account_row: Vec<u32>,
    /// Bad rows, in order of frame, row and column.
    pub faults: Vec<Fault>,
    /// For each account, whether one of its rows is bad.
    pub indeterminate: Vec<bool>,
    /// The accounts in blocks.
    pub blocks: Vec<Block>,
    /// For each position row, its account, `NONE` where it has none.
    pub position_account: Vec<u32>,
    /// For each position row, its instrument, `NONE` where it is null or unlisted.
    pub position_instrument: Vec<u32>,
    /// For each balance row, its account, `NONE` where it has none.
    pub balance_account: Vec<u32>,
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
        let BookInput { positions, balances, accounts, instruments: listed } = input;
        let none = Ids::integers(Values::new(Vec::new()), None);
        let frames = [&positions.account, &balances.account, accounts.as_ref().unwrap_or(&none)];
        let rows: usize = frames.iter().map(|ids| ids.len()).sum();
        if rows >= NONE as usize {
            return Err(Error::Data(format!(
                "positions, balances and accounts hold {rows} rows; a book takes fewer than 2^32 - 1: split it by account"
            )));
        }
        let frames: Vec<&Ids> = frames.into_iter().filter(|ids| !ids.is_empty()).collect();
        let numbered = number_accounts(&frames, threads);
        let (row_account, first) = by_frame(&positions, &balances, accounts.as_ref(), numbered);
        let [position_account, balance_account, account_account] = row_account;

        let mut instruments = Names::default();
        instruments.find_or_add(&listed);
        let (mut assets, mut tables) = (Names::default(), Names::default());
        let position_instrument = instruments.find(&positions.instrument);
        let balance_asset = assets.find_or_add(&balances.asset);
        let position_table = positions.tier_table.as_ref().map(|ids| tables.find_or_add(ids));

        let faults =
            faults(&positions, &balances, accounts.as_ref(), &position_instrument, threads);
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
        let mut account_row = vec![NONE; first.len()];
        for (row, account) in account_account.iter().enumerate() {
            if *account != NONE {
                account_row[*account as usize] = row as u32;
            }
        }
        let source = Source::new(&positions, &position_instrument, position_table.as_deref());
        let owner = |accounts: &[u32], row: usize| {
            let account = accounts[row];
            (account != NONE && !indeterminate[account as usize]).then_some(account)
        };
        let position = |row| Some(source.record(owner(&position_account, row)?, row));
        let amounts = balances.amount.values();
        let balance = |row| {
            let account = owner(&balance_account, row)?;
            Some(BalanceRecord { account, asset: balance_asset[row], amount: amounts[row] })
        };
        let rows = [position_account.len(), balance_account.len()];
        let count = first.len();
        let position_parts = Parts::cut(rows[0], count, BLOCK_ACCOUNTS, threads, position);
        let balance_parts = Parts::cut(rows[1], count, BLOCK_ACCOUNTS, threads, balance);
        let sizes = [instruments.len(), assets.len()];
        let blocks = build_blocks(&source, &position_parts, &balance_parts, sizes, threads);
        Ok(Self {
            instruments,
            assets,
            tables,
            first,
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

/// Puts rows and first appearances back to the three frames, the empty ones included.
fn by_frame(
    positions: &Positions,
    balances: &Balances,
    accounts: Option<&Ids>,
    numbered: Accounts,
) -> ([Vec<u32>; 3], Vec<(u32, u32)>) {
    let filled = [
        !positions.account.is_empty(),
        !balances.account.is_empty(),
        accounts.is_some_and(|ids| !ids.is_empty()),
    ];
    let place: Vec<u32> = (0..3).filter(|frame| filled[*frame as usize]).collect();
    let mut row_account = [Vec::new(), Vec::new(), Vec::new()];
    for (rows, frame) in numbered.row_account.into_iter().zip(&place) {
        row_account[*frame as usize] = rows;
    }
    let first = numbered.first.into_iter().map(|(frame, row)| (place[frame as usize], row));
    (row_account, first.collect())
}

/// Every bad row of the three frames, in order of frame, row and column.
fn faults(
    positions: &Positions,
    balances: &Balances,
    accounts: Option<&Ids>,
    position_instrument: &[u32],
    threads: usize,
) -> Vec<Fault> {
    type Check<'a> = Box<dyn Fn() -> Vec<Fault> + Send + 'a>;
    let numbers = |frame: &'static str, column: &'static str, numbers| -> Check<'_> {
        let numbers: &Numbers = numbers;
        Box::new(move || {
            let fault = |(row, reason)| Fault { frame, column, row, reason };
            numbers.check().into_iter().map(fault).collect()
        })
    };
    let ids = |frame: &'static str, column: &'static str, ids| -> Check<'_> {
        let ids: &Ids = ids;
        Box::new(move || {
            let null = (0..ids.len()).filter(|row| !ids.is_valid(*row));
            let fault = |row| Fault { frame, column, row: row as u32, reason: Reason::Null };
            null.map(fault).collect()
        })
    };
    let mut checks: Vec<Check<'_>> = vec![
        ids("positions", "account_id", &positions.account),
        ids("positions", "instrument_id", &positions.instrument),
        Box::new(|| unlisted(&positions.instrument, position_instrument)),
        Box::new(|| margin_lacking(positions)),
        ids("balances", "account_id", &balances.account),
        ids("balances", "asset_id", &balances.asset),
        numbers("balances", balances.amount.name, &balances.amount),
    ];
    checks.extend(accounts.map(|column| ids("accounts", "account_id", column)));
    let given = [
        Some(&positions.quantity),
        Some(&positions.entry_price),
        positions.isolated_margin.as_ref(),
        positions.leverage.as_ref(),
        positions.open_buy.as_ref(),
        positions.open_sell.as_ref(),
    ];
    checks.extend(given.into_iter().flatten().map(|c| numbers("positions", c.name, c)));
    let mut faults: Vec<Fault> =
        batch::map(threads, checks, |check| check()).into_iter().flatten().collect();
    faults.sort_by_key(|fault| (fault.frame, fault.row, fault.column));
    faults
}

fn unlisted(ids: &Ids, codes: &[u32]) -> Vec<Fault> {
    let missing = |(row, code): &(usize, &u32)| **code == NONE && ids.is_valid(*row);
    let fault = |(row, _)| Fault {
        frame: "positions",
        column: "instrument_id",
        row: row as u32,
        reason: Reason::UnlistedInstrument,
    };
    codes.iter().enumerate().filter(missing).map(fault).collect()
}

/// Isolated rows without the margin that they must state.
fn margin_lacking(positions: &Positions) -> Vec<Fault> {
    let Some(isolated) = &positions.isolated else {
        return Vec::new();
    };
    let given =
        |row| positions.isolated_margin.as_ref().is_some_and(|margin| margin.get(row).is_some());
    let lacking = isolated.iter().enumerate().filter(|(row, mode)| **mode == 1 && !given(*row));
    let fault = |(row, _)| Fault {
        frame: "positions",
        column: "isolated_margin",
        row: row as u32,
        reason: Reason::Null,
    };
    lacking.map(fault).collect()
}

fn build_blocks(
    source: &Source<'_>,
    positions: &Parts<PositionRecord>,
    balances: &Parts<BalanceRecord>,
    [instruments, assets]: [usize; 2],
    threads: usize,
) -> Vec<Block> {
    let built = batch::map(threads, batch::ranges(positions.len(), 4 * threads), |parts| {
        let mut builder = Builder::new(instruments, assets);
        let (mut held, mut owned) = (Grouped::default(), Grouped::default());
        let mut blocks = Vec::new();
        for part in parts {
            positions.group(part, &mut held);
            balances.group(part, &mut owned);
            let accounts = positions.accounts(part);
            for first in accounts.clone().step_by(BLOCK_ACCOUNTS) {
                let block = first..(first + BLOCK_ACCOUNTS).min(accounts.end);
                blocks.push(builder.build(source, &held, &owned, block));
            }
        }
        blocks
    });
    let mut blocks: Vec<Block> = built.into_iter().flatten().collect();
    let mut first_bucket = 0;
    for block in &mut blocks {
        block.first_bucket = first_bucket;
        first_bucket += block.buckets();
    }
    blocks
}
