//! Control totals: what came in is what was swept and what was set aside, to the last bit.
//!
//! `Control::prove` adds every input row to one of two heaps, independently of how the book was
//! built, and holds both to the frames: rows are counted, quantities are summed exactly by
//! instrument and amounts by asset. The sizes that the kernel saw are added again from the rows
//! and must be the same. Anything else is an error, in every build.

use std::borrow::Cow;

use crate::batch;
use crate::block::Block;
use crate::book::Book;
use crate::columns::View;
use crate::error::{Error, Result};
use crate::exact::ExactSum;
use crate::keys::NONE;
use crate::names::Names;
use crate::sweep::{Sweep, THREAD_ACCOUNTS};

/// Rows of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// All of them.
    pub rows: u64,
    /// Those that were swept.
    pub used: u64,
    /// Those of accounts that are indeterminate, and those of nobody.
    pub set_aside: u64,
    /// Among those set aside: rows that name no account.
    pub without_account: u64,
}

/// Exact sums of one instrument or asset.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// The instrument or asset; None for rows that name none.
    pub name: Option<String>,
    /// Over all rows that hold a number.
    pub input: ExactSum,
    /// Over the rows that were swept.
    pub used: ExactSum,
    /// Over the rows that were set aside.
    pub set_aside: ExactSum,
}

/// What a sweep did with its input. See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Rows of `positions`.
    pub positions: Rows,
    /// Rows of `balances`.
    pub balances: Rows,
    /// Distinct accounts of all frames.
    pub accounts: u64,
    /// Those that are indeterminate.
    pub indeterminate_accounts: u64,
    /// Contracts by instrument, where there are rows of it.
    pub quantity: Vec<Sums>,
    /// Units by asset, where there are rows of it.
    pub amount: Vec<Sums>,
}

/// Three exact sums of one instrument or asset.
#[derive(Clone, Default)]
struct Heap {
    rows: u64,
    input: ExactSum,
    used: ExactSum,
    set_aside: ExactSum,
}

impl Heap {
    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.input.merge(&other.input);
        self.used.merge(&other.used);
        self.set_aside.merge(&other.set_aside);
    }

    fn balances(&self) -> bool {
        let mut out = self.used.clone();
        out.merge(&self.set_aside);
        out == self.input
    }
}

/// Heaps by code; the last one for rows without a code.
struct Heaps {
    rows: Rows,
    by_code: Vec<Heap>,
}

impl Heaps {
    fn new(codes: usize) -> Self {
        Self { rows: Rows::default(), by_code: vec![Heap::default(); codes + 1] }
    }

    fn heap(&mut self, code: u32) -> &mut Heap {
        let last = self.by_code.len() - 1;
        &mut self.by_code[(code as usize).min(last)]
    }

    fn merge(&mut self, other: &Self) {
        self.rows.rows += other.rows.rows;
        self.rows.used += other.rows.used;
        self.rows.set_aside += other.rows.set_aside;
        self.rows.without_account += other.rows.without_account;
        for (mine, theirs) in self.by_code.iter_mut().zip(&other.by_code) {
            mine.merge(theirs);
        }
    }

    /// Adds a row of a frame to what came in and, where it was not swept, to what was set aside.
    #[inline]
    fn take(&mut self, account: u32, code: u32, value: Option<f64>, indeterminate: &[bool]) {
        self.rows.rows += 1;
        let is_aside = account == NONE || indeterminate[account as usize];
        self.rows.set_aside += u64::from(is_aside);
        self.rows.without_account += u64::from(account == NONE);
        let heap = self.heap(code);
        heap.rows += 1;
        if let Some(value) = value.filter(|value| value.is_finite()) {
            heap.input.add(value);
            if is_aside {
                heap.set_aside.add(value);
            }
        }
    }

    /// Adds a row that the kernel saw.
    #[inline]
    fn sweep(&mut self, code: u32, value: f64) {
        self.rows.used += 1;
        self.heap(code).used.add(value);
    }

    fn prove(&self, frame: &str, column: &str, names: &Names, breaks: &mut Vec<String>) {
        let Rows { rows, used, set_aside, .. } = self.rows;
        if rows != used + set_aside {
            breaks.push(format!(
                "{frame}: {rows} rows came in, {used} were swept and {set_aside} set aside"
            ));
        }
        for (code, heap) in self.by_code.iter().enumerate().filter(|(_, heap)| !heap.balances()) {
            let name = if code < names.len() { names.text(code as u32) } else { "(null)" };
            breaks.push(format!(
                "{frame}.{column} of {name:?}: {} came in, {} were swept and {} set aside",
                heap.input.round(),
                heap.used.round(),
                heap.set_aside.round()
            ));
        }
    }

    fn sums(&self, names: &Names) -> Vec<Sums> {
        let held = self.by_code.iter().enumerate().filter(|(_, heap)| heap.rows > 0);
        held.map(|(code, heap)| Sums {
            name: (code < names.len()).then(|| names.text(code as u32).to_owned()),
            input: heap.input.clone(),
            used: heap.used.clone(),
            set_aside: heap.set_aside.clone(),
        })
        .collect()
    }
}

impl Control {
    /// Proves that every input row was swept or set aside, and what the kernel saw of it.
    ///
    /// # Errors
    ///
    /// `Error::Internal` with every total that does not come out.
    pub fn prove(book: &Book, sweep: &Sweep, threads: usize) -> Result<Self> {
        let threads = batch::enough(threads, book.accounts(), THREAD_ACCOUNTS);
        let mut breaks = Vec::new();
        let (instruments, codes) = named(book, threads);
        let positions = positions(book, sweep, instruments.len(), &codes, threads, &mut breaks);
        positions.prove("positions", "quantity", &instruments, &mut breaks);
        let balances = balances(book, sweep, threads, &mut breaks);
        balances.prove("balances", "amount", &book.assets, &mut breaks);
        let aside = |margins: &[bool]| margins.iter().filter(|is| **is).count() as u64;
        let indeterminate_accounts = aside(&sweep.indeterminate);
        if sweep.totals.by_status.iter().sum::<u64>() != book.accounts() as u64
            || sweep.totals.by_status[5] != indeterminate_accounts
        {
            breaks.push(format!(
                "accounts: {} came in, {:?} came out by status",
                book.accounts(),
                sweep.totals.by_status
            ));
        }
        if !breaks.is_empty() {
            return Err(Error::Internal(breaks.join("\n")));
        }
        Ok(Self {
            positions: positions.rows,
            balances: balances.rows,
            accounts: book.accounts() as u64,
            indeterminate_accounts,
            quantity: positions.sums(&instruments),
            amount: balances.sums(&book.assets),
        })
    }
}

/// Adds rows `rows` of a frame to what came in.
fn taken(
    accounts: &[u32],
    codes: &[u32],
    values: View<'_>,
    sweep: &Sweep,
    names: usize,
    threads: usize,
) -> Heaps {
    let runs = batch::ranges(accounts.len(), 4 * threads);
    let parts = batch::map(threads, runs, |run| {
        let mut heaps = Heaps::new(names);
        for row in run {
            heaps.take(accounts[row], codes[row], values.get(row), &sweep.indeterminate);
        }
        heaps
    });
    merged(parts, names)
}

fn merged(parts: Vec<Heaps>, names: usize) -> Heaps {
    let mut heaps = Heaps::new(names);
    parts.iter().for_each(|part| heaps.merge(part));
    heaps
}

/// The instruments of all position rows, those that no frame lists after those of the book.
fn named(book: &Book, threads: usize) -> (Cow<'_, Names>, Cow<'_, [u32]>) {
    let codes = &book.position_instrument;
    if !codes.contains(&NONE) {
        return (Cow::Borrowed(&book.instruments), Cow::Borrowed(codes));
    }
    let mut names = book.instruments.clone();
    let codes = names.find_or_add(&book.positions.instrument, threads);
    (Cow::Owned(names), Cow::Owned(codes))
}

fn positions(
    book: &Book,
    sweep: &Sweep,
    names: usize,
    codes: &[u32],
    threads: usize,
    breaks: &mut Vec<String>,
) -> Heaps {
    let (accounts, view) = (&book.position_account, book.positions.quantity.view());
    let mut heaps = taken(accounts, codes, view, sweep, names, threads);
    let blocks = sweep.blocks(book);
    let parts = batch::map(threads, batch::ranges(blocks.len(), 4 * threads), |run| {
        let (mut heaps, mut wrong) = (Heaps::new(names), 0);
        for block in &blocks[run] {
            wrong += swept_positions(book, sweep, block, &mut heaps);
        }
        (heaps, wrong)
    });
    let wrong: usize = parts.iter().map(|(_, wrong)| wrong).sum();
    if wrong > 0 {
        breaks.push(format!("positions: {wrong} sizes are not the sums of their rows"));
    }
    parts.iter().for_each(|(part, _)| heaps.merge(part));
    heaps
}

/// Adds the rows of a block; returns how many of its sizes are not the sums of their rows.
fn swept_positions(book: &Book, sweep: &Sweep, block: &Block, heaps: &mut Heaps) -> usize {
    let quantities = book.positions.quantity.values();
    let mut sizes = vec![0.0; block.instrument.len()];
    let mut is_swept = vec![false; block.instrument.len()];
    for (row, slot) in block.row.iter().zip(&block.slot) {
        let (row, slot) = (*row as usize, *slot as usize);
        let account = book.position_account[row] as usize;
        let is_here = (block.first_account..block.first_account + block.accounts())
            .contains(&account)
            && block.instrument[slot] == book.position_instrument[row];
        if is_here && !sweep.indeterminate[account] {
            heaps.sweep(block.instrument[slot], quantities[row]);
            sizes[slot] += quantities[row];
            is_swept[slot] = true;
        }
    }
    let is_wrong = |slot: &usize| is_swept[*slot] && sizes[*slot] != block.quantity[*slot];
    (0..sizes.len()).filter(is_wrong).count()
}

fn balances(book: &Book, sweep: &Sweep, threads: usize, breaks: &mut Vec<String>) -> Heaps {
    let (accounts, codes) = (&book.balance_account, &book.balance_asset);
    let (view, names) = (book.amounts.view(), book.assets.len());
    let mut heaps = taken(accounts, codes, view, sweep, names, threads);
    let blocks = sweep.blocks(book);
    let mut sums: Vec<Vec<f64>> = blocks.iter().map(|block| vec![0.0; block.asset.len()]).collect();
    let amounts = book.amounts.values();
    for (row, account) in accounts.iter().enumerate() {
        if *account == NONE || sweep.indeterminate[*account as usize] {
            continue;
        }
        let number = *account as usize / crate::book::BLOCK_ACCOUNTS;
        if let Some(slot) = balance_slot(&blocks[number], *account, codes[row]) {
            sums[number][slot] += amounts[row];
            heaps.sweep(codes[row], amounts[row]);
        }
    }
    let is_wrong = |(block, sums): &(&Block, &Vec<f64>)| {
        let shown = |account: usize| !sweep.indeterminate[block.first_account + account];
        let mut accounts = (0..block.accounts()).filter(|account| shown(*account));
        accounts.any(|account| {
            let buckets = block.buckets_of(account);
            let slots =
                block.cash_start[buckets.start] as usize..block.cash_start[buckets.end] as usize;
            sums[slots.clone()] != block.amount[slots]
        })
    };
    let wrong = blocks.iter().zip(&sums).filter(is_wrong).count();
    if wrong > 0 {
        breaks.push(format!("balances: sums of {wrong} blocks are not those of their rows"));
    }
    heaps
}

/// Where a block keeps the balance of an account in an asset.
fn balance_slot(block: &Block, account: u32, asset: u32) -> Option<usize> {
    let buckets = block.buckets_of((account as usize).checked_sub(block.first_account)?);
    let first = block.cash_start[buckets.start] as usize;
    let slots = &block.asset[first..block.cash_start[buckets.end] as usize];
    slots.iter().position(|held| *held == asset).map(|slot| first + slot)
}
