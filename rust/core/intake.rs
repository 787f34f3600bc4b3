//! Intake: every input row is read once, slice by slice: checked, coded, and cut to its part.
//!
//! Nothing is left out here. A bad row is a fault; what becomes of its account is the book's.

use std::ops::Range;

use crate::batch;
use crate::columns::{BLOCK, Fault, Numbers, Reason};
use crate::holdings::{Balances, Positions};
use crate::keys::{Ids, NONE};
use crate::memory::slice_length;
use crate::names::{Finder, Names};
use crate::partition::{Cut, Owners, Placer, Width};
use crate::records::{BalanceRecord, PositionRecord, RareRecord, Source};

/// Rows of a slice at most, for each record that it is to hold.
const MOST_SPARSE: usize = 8;
/// Blocks whose records are counted at a time.
const COUNTED: usize = 64;

/// What was read of a frame.
pub(crate) struct Intake<C> {
    /// Its bad rows, in no order.
    pub(crate) faults: Vec<Fault>,
    /// The rows of some accounts, by part, slice by slice; none where rows stand by account.
    pub(crate) cut: Vec<C>,
}

/// Positions of a slice, and what is rare of them.
pub(crate) type CutPositions = (Cut<PositionRecord>, Cut<RareRecord>);

/// Reads `positions`: checks them, writes the code of each row's instrument among `names`, and
/// cuts the rows of `owners`: of none where rows stand by account.
pub(crate) fn positions(
    positions: &Positions,
    source: &Source<'_>,
    (account, instrument): (&[u32], &mut [u32]),
    names: &Names,
    owners: Option<Owners>,
    threads: usize,
) -> Intake<CutPositions> {
    let optional = [
        positions.isolated_margin.as_ref(),
        positions.leverage.as_ref(),
        positions.open_buy.as_ref(),
        positions.open_sell.as_ref(),
    ];
    let mut numbers = vec![&positions.quantity, &positions.entry_price];
    numbers.extend(optional.into_iter().flatten());
    let finder = Finder::new(names, &positions.instrument);
    let slices = slices::<PositionRecord>(account, owners, threads);
    let mut rest = instrument;
    let targets = slices.iter().map(|rows| cut(&mut rest, rows.len()));
    let tasks = targets.zip(slices.iter().cloned()).collect();
    let read = batch::map(threads, tasks, |(codes, rows): (&mut [u32], Range<usize>)| {
        let mut faults = Vec::new();
        let mut finder = finder.clone();
        let mut placer = owners.map(|owners| PositionPlacer::new(&account[rows.clone()], owners));
        for block in batch::steps(rows.len(), BLOCK) {
            let codes = &mut codes[block.clone()];
            let block = rows.start + block.start..rows.start + block.end;
            finder.find(block.start, codes);
            unlisted(&positions.instrument, block.start, codes, &mut faults);
            numbers.iter().for_each(|numbers| check("positions", numbers, &block, &mut faults));
            if let Some(placer) = &mut placer {
                placer.place(source, block.start, &account[block], codes);
            }
        }
        (faults, placer.map(PositionPlacer::finish))
    });
    let mut intake = gathered(read);
    nulls("positions", "account_id", &positions.account, &mut intake.faults);
    margin_lacking(positions, &mut intake.faults);
    intake
}

/// Neighbouring parts whose records, of so many bytes a row of each frame, are to be alive
/// together: about `at_once` bytes. Rows that stand are of no bytes.
pub(crate) fn passes(
    width: Width,
    frames: [(&[u32], usize); 2],
    at_once: usize,
    threads: usize,
) -> Vec<Range<usize>> {
    let total: usize = frames.iter().map(|(account, bytes)| account.len() * bytes).sum();
    let count = total.div_ceil(at_once);
    if count <= 1 {
        return batch::ranges(width.parts(), 1);
    }
    // Accounts that appear early hold more than others.
    let mut bytes = vec![0; width.parts()];
    for (account, each) in frames.into_iter().filter(|(_, each)| *each > 0) {
        let ranges = batch::ranges(account.len(), threads);
        let counted = batch::map(threads, ranges, |rows| width.count(&account[rows]));
        for count in counted {
            bytes.iter_mut().zip(count).for_each(|(bytes, rows)| *bytes += rows as usize * each);
        }
    }
    let (mut passes, mut first, mut held) = (Vec::new(), 0, 0);
    for (part, bytes) in bytes.into_iter().enumerate() {
        if held > 0 && held + bytes > total.div_ceil(count) && passes.len() + 1 < count {
            passes.push(first..part);
            (first, held) = (part, 0);
        }
        held += bytes;
    }
    passes.push(first..width.parts());
    passes
}

/// Cuts the rows of `owners` alone, whose instruments have these codes.
pub(crate) fn more_positions(
    source: &Source<'_>,
    (account, instrument): (&[u32], &[u32]),
    owners: Option<Owners>,
    threads: usize,
) -> Vec<CutPositions> {
    let Some(some) = owners else { return Vec::new() };
    let slices = slices::<PositionRecord>(account, owners, threads);
    batch::map(threads, slices, |rows| {
        let mut placer = PositionPlacer::new(&account[rows.clone()], some);
        for block in batch::steps(rows.len(), BLOCK) {
            let block = rows.start + block.start..rows.start + block.end;
            let codes = &instrument[block.clone()];
            placer.place(source, block.start, &account[block], codes);
        }
        placer.finish()
    })
}

/// Places position rows of a slice by part.
struct PositionPlacer {
    placer: Placer<PositionRecord>,
    rare: Vec<RareRecord>,
}

impl PositionPlacer {
    fn new(accounts: &[u32], owners: Owners) -> Self {
        Self { placer: Placer::new(accounts, owners), rare: Vec::new() }
    }

    #[inline]
    fn place(&mut self, source: &Source<'_>, first: usize, accounts: &[u32], codes: &[u32]) {
        source.place(first, accounts, codes, &mut self.placer, &mut self.rare);
    }

    fn finish(self) -> CutPositions {
        let rare = self.placer.owners().cut(&self.rare);
        (self.placer.finish(), rare)
    }
}

/// Reads `balances`, whose assets have these codes: checks them, and cuts the rows of `owners`: of
/// none where rows stand by account.
pub(crate) fn balances(
    balances: &Balances,
    account: &[u32],
    asset: &[u32],
    owners: Option<Owners>,
    threads: usize,
) -> Intake<Cut<BalanceRecord>> {
    let slices = slices::<BalanceRecord>(account, owners, threads);
    let read = batch::map(threads, slices, |rows| {
        let mut faults = Vec::new();
        for block in batch::steps(rows.len(), BLOCK) {
            let block = rows.start + block.start..rows.start + block.end;
            check("balances", &balances.amount, &block, &mut faults);
        }
        (faults, None)
    });
    let mut intake = gathered(read);
    intake.cut = more_balances(balances, (account, asset), owners, threads);
    nulls("balances", "account_id", &balances.account, &mut intake.faults);
    nulls("balances", "asset_id", &balances.asset, &mut intake.faults);
    intake
}

/// Cuts the rows of `owners` alone.
pub(crate) fn more_balances(
    balances: &Balances,
    (account, asset): (&[u32], &[u32]),
    owners: Option<Owners>,
    threads: usize,
) -> Vec<Cut<BalanceRecord>> {
    let Some(some) = owners else { return Vec::new() };
    let amounts = balances.amount.values();
    batch::map(threads, slices::<BalanceRecord>(account, owners, threads), |rows| {
        let mut placer = Placer::new(&account[rows.clone()], some);
        for block in batch::steps(rows.len(), BLOCK) {
            let block = rows.start + block.start..rows.start + block.end;
            let owner = &account[block.clone()];
            let (asset, amount) = (&asset[block.clone()], &amounts[block]);
            let (asset, amount) = (&asset[..owner.len()], &amount[..owner.len()]);
            placer.place(owner, |i| BalanceRecord::new(owner[i], asset[i], amount[i]));
        }
        placer.finish()
    })
}

/// Whether rows stand by account and all have one: they are read where they stand.
pub(crate) fn stand(account: &[u32]) -> bool {
    account.is_sorted() && account.last() != Some(&NONE)
}

/// Adds a fault for every null of a column of ids.
pub(crate) fn nulls(frame: &'static str, column: &'static str, ids: &Ids, faults: &mut Vec<Fault>) {
    let fault = |row| Fault { frame, column, row: row as u32, reason: Reason::Null };
    faults.extend(ids.nulls().map(fault));
}

/// Rows that one thread reads at a time, in multiples of 64: as many as there are records
/// of `owners` among them in some huge pages, but not many times more.
fn slices<R>(account: &[u32], owners: Option<Owners>, threads: usize) -> Vec<Range<usize>> {
    let Some(owners) = owners.filter(|owners| !owners.are_all()) else {
        let length = slice_length::<R>(account.len(), threads);
        return batch::steps(account.len(), length / 64 * 64);
    };
    let counted = batch::map(threads, batch::steps(account.len(), COUNTED * BLOCK), |rows| {
        account[rows].chunks(BLOCK).map(|rows| owners.count(rows)).collect::<Vec<usize>>()
    });
    let counted: Vec<usize> = counted.into_iter().flatten().collect();
    let blocks = slice_length::<R>(counted.iter().sum(), threads) / BLOCK;
    let (mut slices, mut first, mut records) = (Vec::new(), 0, 0);
    for (block, count) in counted.into_iter().enumerate() {
        let row = block * BLOCK;
        if records + count > blocks * BLOCK || row - first >= MOST_SPARSE * blocks * BLOCK {
            slices.push(first..row);
            (first, records) = (row, 0);
        }
        records += count;
    }
    slices.push(first..account.len());
    slices
}

fn cut<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(rest).split_at_mut(length);
    *rest = tail;
    head
}

fn gathered<C>(read: Vec<(Vec<Fault>, Option<C>)>) -> Intake<C> {
    let (mut faults, mut slices) = (Vec::new(), Vec::new());
    for (found, cut) in read {
        faults.extend(found);
        slices.extend(cut);
    }
    Intake { faults, cut: slices }
}

fn check(frame: &'static str, numbers: &Numbers, rows: &Range<usize>, faults: &mut Vec<Fault>) {
    let column = numbers.name;
    let fault = |row, reason| faults.push(Fault { frame, column, row, reason });
    numbers.check_rows(rows.clone(), fault);
}

/// Adds a fault for each row from `first` on whose instrument is null or has no code.
fn unlisted(ids: &Ids, first: usize, codes: &[u32], faults: &mut Vec<Fault>) {
    if !codes.contains(&NONE) {
        return;
    }
    for (row, _) in (first..).zip(codes).filter(|(_, code)| **code == NONE) {
        let is_null = !ids.is_valid(row);
        let reason = if is_null { Reason::Null } else { Reason::UnlistedInstrument };
        let (row, frame, column) = (row as u32, "positions", "instrument_id");
        faults.push(Fault { frame, column, row, reason });
    }
}

/// Isolated rows without the margin that they must state.
fn margin_lacking(positions: &Positions, faults: &mut Vec<Fault>) {
    let Some(isolated) = &positions.isolated else {
        return;
    };
    let margin = positions.isolated_margin.as_ref().map(Numbers::view);
    let given = |row| margin.is_some_and(|margin| margin.get(row).is_some());
    let lacking = isolated.iter().enumerate().filter(|(row, mode)| **mode == 1 && !given(*row));
    faults.extend(lacking.map(|(row, _)| Fault {
        frame: "positions",
        column: "isolated_margin",
        row: row as u32,
        reason: Reason::Null,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a record is of here: 32 bytes, so that a slice holds 15 blocks of them.
    type Record = [u64; 4];

    /// Slices, how many records of theirs they hold, and how many a slice may hold.
    fn sliced(account: &[u32], owners: Owners, threads: usize) -> (Vec<Range<usize>>, usize) {
        let most = slice_length::<Record>(owners.count(account), threads) / BLOCK * BLOCK;
        (slices::<Record>(account, Some(owners), threads), most)
    }

    #[test]
    fn a_slice_holds_as_many_records_as_fit_and_not_many_times_more_rows() {
        let width = Width::new(1 << 20, 4);
        let some = width.owners(0..width.parts() / 16);
        for (rows, step) in [(2_000_000_u32, 1), (700_000, 5), (3_000_000, 16), (100, 1), (0, 1)] {
            let is_theirs = |row: u32| row % 977 < 200 && row.is_multiple_of(step);
            let account: Vec<u32> =
                (0..rows).map(|row| if is_theirs(row) { row % 1000 } else { NONE }).collect();
            let (slices, most) = sliced(&account, some, 2);
            let ends: Vec<usize> = slices.iter().map(|rows| rows.end).collect();
            let begins: Vec<usize> = slices.iter().map(|rows| rows.start).collect();
            assert_eq!((begins[0], *ends.last().unwrap()), (0, account.len()));
            assert_eq!(begins[1..], ends[..ends.len() - 1]);
            assert!(begins.iter().all(|begin| begin % BLOCK == 0));
            for rows in &slices {
                let held = some.count(&account[rows.clone()]);
                assert!(held <= most && rows.len() <= MOST_SPARSE * most);
                let next = &account[rows.end..account.len().min(rows.end + BLOCK)];
                let is_full = held + some.count(next) > most || rows.len() == MOST_SPARSE * most;
                assert!(is_full || rows.end == account.len());
            }
        }
    }

    #[test]
    fn passes_hold_like_many_bytes_where_early_accounts_hold_most_rows() {
        let width = Width::new(1 << 20, 4);
        // Every second row is of the first 32nd of the accounts.
        let account: Vec<u32> = (0..1_000_000_u32)
            .map(|row| row.wrapping_mul(2_654_435_761) >> if row % 2 == 0 { 17 } else { 12 })
            .collect();
        let owner = [&account[..10], &[NONE]].concat();
        for threads in [1, 2] {
            for (at_once, count) in [(33_000_000, 1), (8_000_000, 5), (4_000_000, 9)] {
                let frames = [(&account[..], 32), (&owner[..], 16)];
                let passes = passes(width, frames, at_once, threads);
                assert_eq!((passes.len(), passes[0].start), (count, 0));
                assert!(passes.windows(2).all(|two| two[0].end == two[1].start));
                assert_eq!(passes[count - 1].end, width.parts());
                let held = |parts: &Range<usize>| width.owners(parts.clone()).count(&account);
                let most = passes.iter().map(|parts| 32 * held(parts)).max();
                assert!(most.is_some_and(|most| most <= at_once + at_once / 20), "{most:?}");
            }
            // Rows that stand are not copied.
            assert_eq!(passes(width, [(&account, 0), (&owner, 0)], 1, threads).len(), 1);
        }
    }

    #[test]
    fn all_owners_are_read_in_slices_of_whole_words() {
        let account = vec![3; 200_000];
        let width = Width::new(1000, 4);
        let (slices, _) = sliced(&account, width.owners(0..width.parts()), 2);
        assert!(slices.len() > 2 && slices.iter().all(|rows| rows.start % 64 == 0));
        assert!(slices.iter().all(|rows| rows.len() <= slice_length::<Record>(200_000, 2)));
        assert!(slices.into_iter().flatten().eq(0..200_000));
    }

    #[test]
    fn rows_stand_where_accounts_never_fall_and_all_have_one() {
        assert!(stand(&[0, 0, 2, 5]) && stand(&[]));
        assert!(!stand(&[0, 2, 1]) && !stand(&[0, 1, NONE]));
    }
}
