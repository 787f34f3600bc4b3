//! A sweep: one book against one market under one ruleset.
//!
//! `Sweep::run` prices the book, finds the rows that cannot be priced, and puts the kernel
//! over all accounts, block by block. Buckets are computed again when they are asked for:
//! the kernel gives the same bits each time.

use crate::batch;
use crate::block::Block;
use crate::book::Book;
use crate::columns::Fault;
use crate::error::{Error, Result};
use crate::exact::ExactSum;
use crate::keys::NONE;
use crate::margin::{Joined, sums_of};
use crate::market::Market;
use crate::marks::Marks;
use crate::overflow::overflow_faults;
use crate::plain::Plain;
use crate::pools::regroup;
use crate::results::{MarginColumns, Part};
use crate::rules::Rules;
use crate::staged::{STAGED, Stage};
use crate::totals::{Rounded, Totals};

/// Accounts for which it is worth to start a thread.
pub(crate) const THREAD_ACCOUNTS: usize = 4096;

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
    /// The same without rounding, in the order of `Totals::sums`.
    pub sums: Vec<ExactSum>,
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
        let threads = batch::enough(threads, book.accounts(), THREAD_ACCOUNTS);
        let marks = Marks::build(book, market, rules)?;
        let mut faults = marks.lacking(book, market);
        let mut indeterminate = book.indeterminate.clone();
        mark_accounts(book, &faults, &mut indeterminate);
        if !quarantine && !faults.is_empty() {
            let (accounts, none) = (MarginColumns::new(0, false), Totals::default());
            let (blocks, totals, sums) = (None, none.round(), Vec::new());
            return Ok(Self { marks, blocks, indeterminate, faults, accounts, totals, sums });
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
        let sums = totals.sums().cloned().collect();
        let (blocks, totals) = (regrouped, totals.round());
        check_rows(book, &indeterminate, &totals)?;
        Ok(Self { marks, blocks, indeterminate, faults, accounts, totals, sums })
    }

    /// The blocks that were swept.
    pub fn blocks<'a>(&'a self, book: &'a Book) -> &'a [Block] {
        self.blocks.as_deref().unwrap_or(&book.blocks)
    }

    /// One row per bucket: its account, its number in the book, and its margin.
    pub fn buckets(&self, book: &Book, rules: &Rules, threads: usize) -> Buckets {
        let threads = batch::enough(threads, book.accounts(), THREAD_ACCOUNTS);
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
        let plain = Plain::new(&self.marks, rules);
        let plain = plain.as_ref();
        let numbers = batch::map(threads, tasks, |(block, mut part): (&Block, Part<'_>)| {
            let mut numbers = Vec::new();
            let (mut joined, mut stage) = (Joined::default(), Stage::new());
            let rows = block.rows();
            for account in (0..block.accounts()).filter(|account| shown(block, account)) {
                for bucket in rows.buckets_of(account) {
                    stage.begin();
                    sums_of(&rows, bucket, plain, &self.marks, rules, &mut joined, &mut stage);
                    if stage.is_full() {
                        stage.conclude(&rules.conventions, |_| {});
                        stage.copy_to(&mut part, numbers.len() + 1 - STAGED);
                        stage.clear();
                    }
                    let number = (block.first_bucket + bucket) as u32;
                    numbers.push(((block.first_account + account) as u32, number));
                }
            }
            stage.conclude(&rules.conventions, |_| {});
            stage.copy_to(&mut part, numbers.len() - numbers.len() % STAGED);
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

/// What a thread carries from block to block.
#[derive(Default)]
struct Run {
    totals: Totals,
    overflown: Vec<usize>,
    joined: Joined,
}

/// A sweep's inputs. `plain` has a short way where there is one.
struct Kernel<'a> {
    marks: &'a Marks,
    rules: &'a Rules,
    plain: Option<&'a Plain>,
    indeterminate: &'a [bool],
}

impl Kernel<'_> {
    /// Sweeps the accounts of a block.
    #[inline(always)]
    fn sweep(&self, block: &Block, part: &mut Part<'_>, run: &mut Run, stage: &mut Stage) {
        let rows = block.rows();
        let accounts = block.accounts();
        for first in (0..accounts).step_by(STAGED) {
            for account in first..(first + STAGED).min(accounts) {
                if self.indeterminate[block.first_account + account] {
                    stage.push_indeterminate();
                    continue;
                }
                let buckets = rows.buckets_of(account);
                stage.begin();
                if buckets.is_empty() {
                    stage.take_nothing();
                }
                for bucket in buckets.clone() {
                    let Self { plain, marks, rules, .. } = self;
                    if bucket != buckets.start {
                        stage.begin_more();
                    }
                    sums_of(&rows, bucket, *plain, marks, rules, &mut run.joined, stage);
                    if bucket != buckets.start {
                        stage.end_more(&rules.conventions);
                    }
                }
            }
            let totals = &mut run.totals;
            stage.conclude(&self.rules.conventions, |bucket| totals.add_bucket(bucket));
            if !stage.are_finite() {
                let overflown = &mut run.overflown;
                stage.forget_overflown(|row| overflown.push(block.first_account + first + row));
            }
            run.totals.add_accounts(stage);
            stage.copy_to(part, first);
            stage.clear();
        }
    }
}

/// The sweep of a block, to be run with the widest registers there are: the same bits, for
/// nothing in it is fused or reordered.
struct BlockSweep<'a, 'p> {
    kernel: &'a Kernel<'a>,
    block: &'a Block,
    part: &'a mut Part<'p>,
    run: &'a mut Run,
    stage: &'a mut Stage,
}

impl pulp::WithSimd for BlockSweep<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.kernel.sweep(self.block, self.part, self.run, self.stage);
    }
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
    let plain = Plain::new(marks, rules);
    let kernel = Kernel { marks, rules, plain: plain.as_ref(), indeterminate };
    let arch = pulp::Arch::new();
    let answers = batch::map(threads, runs, |tasks: Vec<(&Block, Part<'_>)>| {
        let (mut run, mut stage) = (Run::default(), Stage::new());
        for (block, mut part) in tasks {
            let (part, run, stage) = (&mut part, &mut run, &mut stage);
            arch.dispatch(BlockSweep { kernel: &kernel, block, part, run, stage });
        }
        (run.totals, run.overflown)
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
    // Where nobody is indeterminate, no row is: one of nobody is a fault, and those were looked at.
    let is_any = indeterminate.iter().fold(false, |any, is_it| any | is_it);
    let is_clean = book.faults.is_empty() && !is_any;
    let rows = book.position_account.len() as u64;
    let aside = match is_clean {
        true => 0,
        false => book.position_account.iter().filter(is_aside).count() as u64,
    };
    if rows == totals.positions + aside {
        return Ok(());
    }
    Err(Error::Internal(format!(
        "positions: {rows} rows came in, {} were swept and {aside} set aside",
        totals.positions
    )))
}

/// Neighbours grouped into at most `runs` runs of nearly equal length.
pub(crate) fn group<T>(items: Vec<T>, runs: usize) -> Vec<Vec<T>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::BookInput;
    use crate::columns::{Numbers, Range, Reason, Validity, Values};
    use crate::holdings::{Balances, Positions};
    use crate::keys::Ids;

    /// A book of four rows: one of account 8, two of account 9, one of nobody.
    fn book() -> Book {
        let numbers =
            |name, values: &[f64]| Numbers::new(name, Range::Any, Values::new(values.to_vec()));
        let ids = |ids: &[i64], validity| Ids::integers(Values::new(ids.to_vec()), validity);
        let input = BookInput {
            positions: Positions {
                account: ids(&[8, 9, 9, 7], Some(Validity::from_words(vec![0b111]))),
                instrument: ids(&[1, 1, 1, 1], None),
                quantity: numbers("quantity", &[1.0; 4]),
                entry_price: numbers("entry_price", &[1.0; 4]),
                isolated: None,
                isolated_margin: None,
                leverage: None,
                tier_table: None,
                open_buy: None,
                open_sell: None,
            },
            balances: Balances {
                account: ids(&[], None),
                asset: ids(&[], None),
                amount: numbers("amount", &[]),
            },
            accounts: None,
            instruments: ids(&[1], None),
        };
        Book::build(input, 1).expect("it fits")
    }

    #[test]
    fn a_row_that_is_neither_swept_nor_set_aside_is_an_error() {
        let book = book();
        let swept = |positions| Rounded { positions, ..Totals::default().round() };
        for (indeterminate, rows) in [([false, false], 3), ([false, true], 1), ([true, true], 0)] {
            assert!(check_rows(&book, &indeterminate, &swept(rows)).is_ok());
            for wrong in [rows + 1, 7] {
                let error = check_rows(&book, &indeterminate, &swept(wrong));
                assert!(matches!(error, Err(Error::Internal(_))), "{rows} {wrong}");
            }
        }
    }

    #[test]
    fn a_fault_is_laid_to_the_account_of_its_row() {
        let book = book();
        let fault = |row| Fault { frame: "positions", column: "x", row, reason: Reason::Null };
        let mut indeterminate = [false; 2];
        mark_accounts(&book, &[fault(3)], &mut indeterminate);
        assert_eq!(indeterminate, [false, false]);
        mark_accounts(&book, &[fault(2)], &mut indeterminate);
        assert_eq!(indeterminate, [false, true]);
    }
}
