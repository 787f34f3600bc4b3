//! A sweep: one book against one market under one ruleset.
//!
//! `Sweep::run` prices the book, finds the rows that cannot be priced, and puts the kernel
//! over all accounts, block by block. Buckets are computed again when they are asked for:
//! the kernel gives the same bits each time.

use crate::batch;
use crate::block::Block;
use crate::book::Book;
use crate::columns::{Fault, Numbers, Reason};
use crate::error::{Error, Result};
use crate::keys::NONE;
use crate::margin::{Joined, Margin, bucket_margin};
use crate::market::{Kind, Market};
use crate::marks::Marks;
use crate::pools::regroup;
use crate::results::{MarginColumns, Part};
use crate::rules::Rules;
use crate::totals::{Rounded, Totals};

/// The margin of every account of a book. See the module.
pub struct Sweep {
    /// The book's marks under the market and the ruleset.
    pub marks: Marks,
    /// The book's blocks as the ruleset cuts them; None where the book's own will do.
    pub blocks: Option<Vec<Block>>,
    /// For each account, whether nothing can be said of it.
    pub indeterminate: Vec<bool>,
    /// Rows that this sweep refused, in order of frame, row and column.
    pub faults: Vec<Fault>,
    /// One row per account.
    pub accounts: MarginColumns,
    /// Sums over the exchange.
    pub totals: Rounded,
}

impl Sweep {
    /// Sweeps `book`. With `quarantine`, accounts with a row that cannot be priced become
    /// indeterminate; without, such rows end the sweep: `faults` holds them, no figures.
    ///
    /// # Errors
    ///
    /// `Error::Rules` where a determinate account asks for a table that the rules lack,
    /// `Error::Internal` where a position row was neither swept nor set aside.
    pub fn run(
        book: &Book,
        market: &Market,
        rules: &Rules,
        quarantine: bool,
        threads: usize,
    ) -> Result<Self> {
        let marks = Marks::build(book, market, rules);
        let mut faults = marks.lacking(book, market);
        let mut indeterminate = book.indeterminate.clone();
        mark_accounts(book, &faults, &mut indeterminate);
        if !quarantine && !faults.is_empty() {
            let (accounts, totals) = (MarginColumns::new(0, false), Totals::default().round());
            return Ok(Self { marks, blocks: None, indeterminate, faults, accounts, totals });
        }
        marks.check_tables(book, market, rules, &indeterminate)?;
        let regrouped = regroup(book, &marks, &rules.conventions, threads);
        let blocks = regrouped.as_deref().unwrap_or(&book.blocks);
        let (mut accounts, mut totals, overflown) =
            sweep_accounts(blocks, &marks, rules, &indeterminate, threads);
        if !overflown.is_empty() {
            faults.extend(overflow_faults(book, &marks, &overflown));
            faults.sort_by_key(|fault| (fault.frame, fault.row, fault.column));
            overflown.iter().for_each(|account| indeterminate[*account] = true);
            (accounts, totals, _) = sweep_accounts(blocks, &marks, rules, &indeterminate, threads);
        }
        let (blocks, totals) = (regrouped, totals.round());
        check_rows(book, &indeterminate, &totals)?;
        Ok(Self { marks, blocks, indeterminate, faults, accounts, totals })
    }

    /// The blocks that were swept.
    pub fn blocks<'a>(&'a self, book: &'a Book) -> &'a [Block] {
        self.blocks.as_deref().unwrap_or(&book.blocks)
    }

    /// One row per bucket: its account, its number in the book, and its margin.
    pub fn buckets(&self, book: &Book, rules: &Rules, threads: usize) -> Buckets {
        let shown =
            |block: &Block, account: &usize| !self.indeterminate[block.first_account + account];
        let count = |block: &Block| {
            let accounts = (0..block.accounts()).filter(|account| shown(block, account));
            accounts.map(|account| block.buckets_of(account).len()).sum::<usize>()
        };
        let blocks = self.blocks(book);
        let counts: Vec<usize> = blocks.iter().map(count).collect();
        let has_ladder = !rules.conventions.ladder.is_empty();
        let mut margins = MarginColumns::new(counts.iter().sum(), has_ladder);
        let tasks = blocks.iter().zip(margins.parts(counts.into_iter())).collect();
        let numbers = batch::map(threads, tasks, |(block, mut part): (&Block, Part<'_>)| {
            let mut numbers = Vec::new();
            let mut joined = Joined::default();
            for account in (0..block.accounts()).filter(|account| shown(block, account)) {
                for bucket in block.buckets_of(account) {
                    let bucket_of = block.bucket(bucket);
                    let margin = bucket_margin(&bucket_of, &self.marks, rules, &mut joined);
                    part.write(numbers.len(), &margin);
                    let number = (block.first_bucket + bucket) as u32;
                    numbers.push(((block.first_account + account) as u32, number));
                }
            }
            numbers
        });
        let (account, bucket) = numbers.into_iter().flatten().unzip();
        Buckets { account, bucket, margins }
    }
}

/// One row per bucket.
pub struct Buckets {
    /// Its account.
    pub account: Vec<u32>,
    /// Its number in the blocks, as `Labels` counts.
    pub bucket: Vec<u32>,
    /// Its margin.
    pub margins: MarginColumns,
}

/// The margin of an account of a block, each bucket shown to `each` on the way.
#[inline]
fn account_margin(
    block: &Block,
    account: usize,
    marks: &Marks,
    rules: &Rules,
    joined: &mut Joined,
    mut each: impl FnMut(&Margin),
) -> Margin {
    let mut buckets = block.buckets_of(account);
    let Some(first) = buckets.next() else {
        return Margin::default();
    };
    let mut margin = bucket_margin(&block.bucket(first), marks, rules, joined);
    each(&margin);
    for bucket in buckets {
        let bucket = bucket_margin(&block.bucket(bucket), marks, rules, joined);
        each(&bucket);
        margin.add(&bucket);
    }
    margin
}

/// Account columns, totals, and the accounts whose money overflowed.
fn sweep_accounts(
    blocks: &[Block],
    marks: &Marks,
    rules: &Rules,
    indeterminate: &[bool],
    threads: usize,
) -> (MarginColumns, Totals, Vec<usize>) {
    let accounts = blocks.iter().map(Block::accounts);
    let has_ladder = !rules.conventions.ladder.is_empty();
    let mut columns = MarginColumns::new(accounts.clone().sum(), has_ladder);
    let parts = columns.parts(accounts);
    let tasks: Vec<(&Block, Part<'_>)> = blocks.iter().zip(parts).collect();
    let runs = group(tasks, 8 * threads);
    let answers = batch::map(threads, runs, |run: Vec<(&Block, Part<'_>)>| {
        let mut totals = Totals::default();
        let mut overflown = Vec::new();
        let mut joined = Joined::default();
        for (block, mut part) in run {
            for account in 0..block.accounts() {
                if indeterminate[block.first_account + account] {
                    part.write_indeterminate(account);
                    totals.add_indeterminate();
                    continue;
                }
                let mut finite = true;
                let margin = account_margin(block, account, marks, rules, &mut joined, |bucket| {
                    finite &= bucket.is_finite();
                    if bucket.is_finite() {
                        totals.add_bucket(bucket);
                    }
                });
                if finite && margin.is_finite() {
                    part.write(account, &margin);
                    totals.add_account(&margin);
                } else {
                    overflown.push(block.first_account + account);
                }
            }
        }
        (totals, overflown)
    });
    let mut totals = Totals::default();
    let mut overflown = Vec::new();
    for (part, accounts) in answers {
        totals.merge(&part);
        overflown.extend(accounts);
    }
    (columns, totals, overflown)
}

/// Whether each position row was swept or set aside: counted in every sweep. `control` proves
/// the rest, exactly, when it is asked for.
fn check_rows(book: &Book, indeterminate: &[bool], totals: &Rounded) -> Result<()> {
    let is_aside = |account: &&u32| **account == NONE || indeterminate[**account as usize];
    let aside = book.position_account.iter().filter(is_aside).count() as u64;
    let rows = book.position_account.len() as u64;
    if rows == totals.positions + aside {
        return Ok(());
    }
    Err(Error::Internal(format!(
        "positions: {rows} rows came in, {} were swept and {aside} set aside",
        totals.positions
    )))
}

/// Neighbours grouped into at most `runs` runs of nearly equal length.
fn group<T>(items: Vec<T>, runs: usize) -> Vec<Vec<T>> {
    let lengths: Vec<usize> = batch::ranges(items.len(), runs).iter().map(|r| r.len()).collect();
    let mut items = items.into_iter();
    lengths.into_iter().map(|length| items.by_ref().take(length).collect()).collect()
}

fn mark_accounts(book: &Book, faults: &[Fault], indeterminate: &mut [bool]) {
    for fault in faults {
        let accounts = match fault.frame {
            "positions" => &book.position_account,
            _ => &book.balance_account,
        };
        let account = accounts[fault.row as usize];
        if account != NONE {
            indeterminate[account as usize] = true;
        }
    }
}

/// Money beyond which no sum of it makes sense.
const VAST: f64 = 1e300;

/// The values that make an account's money overflow: an entry price (or, by it, a mark) of an
/// inverse contract or a leverage so near 0 that dividing by it leaves all sense; where only
/// the sum of the account does, all of its entry prices.
fn overflow_faults(book: &Book, marks: &Marks, accounts: &[usize]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for account in accounts {
        let of_account = |row: &&u32| book.position_account[**row as usize] as usize == *account;
        let rows: Vec<u32> =
            book.block_of(*account).row.iter().filter(of_account).copied().collect();
        let fault = |row: &u32, column| Fault {
            frame: "positions",
            column,
            row: *row,
            reason: Reason::Overflow,
        };
        let blamed = rows.iter().filter_map(|row| {
            vast_column(book, marks, *row as usize).map(|column| fault(row, column))
        });
        let blamed: Vec<Fault> = blamed.collect();
        if blamed.is_empty() {
            faults.extend(rows.iter().map(|row| fault(row, "entry_price")));
        } else {
            faults.extend(blamed);
        }
    }
    faults
}

/// The column of a position row by which its money overflows alone.
fn vast_column(book: &Book, marks: &Marks, row: usize) -> Option<&'static str> {
    let positions = &book.positions;
    let mark = &marks.instruments[book.position_instrument[row] as usize];
    let given = |column: &Option<Numbers>| column.as_ref().and_then(|column| column.get(row));
    let quantity = positions.quantity.values()[row];
    let orders =
        given(&positions.open_buy).unwrap_or(0.0) + given(&positions.open_sell).unwrap_or(0.0);
    let value = (quantity.abs() + orders) * mark.value * mark.settle_price;
    let cost = mark.cost(0.0, quantity / positions.entry_price.values()[row]) * mark.settle_price;
    let is_vast = |money: f64| money.is_nan() || money.abs() >= VAST;
    if mark.kind == Kind::Inverse && (is_vast(value) || is_vast(cost)) {
        return Some("entry_price");
    }
    let leverage = given(&positions.leverage);
    leverage.is_some_and(|leverage| is_vast(value / leverage)).then_some("leverage")
}
