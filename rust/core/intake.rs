//! Intake: every input row is read once, slice by slice: checked, coded, and cut to its part.
//!
//! Nothing is left out here. A bad row is a fault; what becomes of its account is the book's.

use std::ops::Range;

use crate::batch;
use crate::columns::{BLOCK, Fault, Numbers, Reason};
use crate::holdings::{Balances, Positions};
use crate::keys::{Finder, Ids, NONE, Names};
use crate::memory::{Buffer, slice_length};
use crate::partition::{Cut, Owned, Parts, Width};
use crate::records::{BalanceRecord, PositionRecord, Source};

/// What was read of a frame.
pub(crate) struct Intake<'a, R> {
    /// Its bad rows, in no order.
    pub(crate) faults: Vec<Fault>,
    /// Its rows of an account, by part.
    pub(crate) parts: Parts<'a, R>,
}

/// Reads `positions`; writes the code of each row's instrument among `names`.
pub(crate) fn positions<'a>(
    positions: &Positions,
    source: &Source<'_>,
    (account, instrument): (&'a [u32], &mut [u32]),
    names: &Names,
    width: Width,
    threads: usize,
) -> Intake<'a, PositionRecord> {
    let optional = [
        positions.isolated_margin.as_ref(),
        positions.leverage.as_ref(),
        positions.open_buy.as_ref(),
        positions.open_sell.as_ref(),
    ];
    let mut numbers = vec![&positions.quantity, &positions.entry_price];
    numbers.extend(optional.into_iter().flatten());
    let finder = Finder::new(names, &positions.instrument);
    let stands = account.is_sorted() && account.last() != Some(&NONE);
    let slices = slices::<PositionRecord>(account.len());
    let mut rest = instrument;
    let targets = slices.iter().map(|rows| cut(&mut rest, rows.len()));
    let tasks = targets.zip(slices.iter().cloned()).collect();
    let read = batch::map(threads, tasks, |(codes, rows): (&mut [u32], Range<usize>)| {
        let mut faults = Vec::new();
        let mut finder = finder.clone();
        let mut records = Buffer::new(if stands { 0 } else { rows.len() });
        let mut places = records.iter_mut();
        let mut specials = [0; BLOCK];
        for block in batch::steps(rows.len(), BLOCK) {
            let codes = &mut codes[block.clone()];
            let block = rows.start + block.start..rows.start + block.end;
            finder.find(block.start, codes);
            unlisted(&positions.instrument, block.start, codes, &mut faults);
            numbers.iter().for_each(|numbers| check("positions", numbers, &block, &mut faults));
            if stands {
                continue;
            }
            let specials = &mut specials[..block.len()];
            source.specials(block.clone(), specials);
            let known = account[block.clone()].iter().zip(&*codes).zip(&*specials).zip(block);
            for (((account, code), special), row) in known {
                if *account != NONE
                    && let Some(place) = places.next()
                {
                    *place = source.record(*account, row, *code, *special);
                }
            }
        }
        let count = rows.len() - places.len();
        (faults, (!stands).then(|| width.cut(&records[..count])))
    });
    let mut intake = gathered(read, account);
    nulls("positions", "account_id", &positions.account, &mut intake.faults);
    margin_lacking(positions, &mut intake.faults);
    intake
}

/// Reads `balances`, whose assets have these codes.
pub(crate) fn balances<'a>(
    balances: &Balances,
    account: &'a [u32],
    asset: &[u32],
    width: Width,
    threads: usize,
) -> Intake<'a, BalanceRecord> {
    let amounts = balances.amount.values();
    let stands = account.is_sorted() && account.last() != Some(&NONE);
    let read = batch::map(threads, slices::<BalanceRecord>(account.len()), |rows| {
        let mut faults = Vec::new();
        for block in batch::steps(rows.len(), BLOCK) {
            let block = rows.start + block.start..rows.start + block.end;
            check("balances", &balances.amount, &block, &mut faults);
        }
        let record = |row: usize| BalanceRecord {
            account: account[row],
            asset: asset[row],
            amount: amounts[row],
        };
        let cut = || {
            let (mut records, mut count) = (Buffer::new(rows.len()), 0);
            let of_accounts = rows.clone().map(record).filter(|record| record.account != NONE);
            for (place, record) in records.iter_mut().zip(of_accounts) {
                *place = record;
                count += 1;
            }
            width.cut(&records[..count])
        };
        (faults, (!stands).then(cut))
    });
    let mut intake = gathered(read, account);
    nulls("balances", "account_id", &balances.account, &mut intake.faults);
    nulls("balances", "asset_id", &balances.asset, &mut intake.faults);
    intake
}

/// Adds a fault for every null of a column of ids.
pub(crate) fn nulls(frame: &'static str, column: &'static str, ids: &Ids, faults: &mut Vec<Fault>) {
    let fault = |row| Fault { frame, column, row: row as u32, reason: Reason::Null };
    faults.extend(ids.nulls().map(fault));
}

/// Rows that one thread reads at a time: a multiple of `BLOCK`.
fn slices<R>(rows: usize) -> Vec<Range<usize>> {
    batch::steps(rows, slice_length::<R>(rows) / BLOCK * BLOCK)
}

fn cut<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    let (head, tail) = std::mem::take(rest).split_at_mut(length);
    *rest = tail;
    head
}

fn gathered<R: Owned>(read: Vec<(Vec<Fault>, Option<Cut<R>>)>, account: &[u32]) -> Intake<'_, R> {
    let (mut faults, mut slices) = (Vec::new(), Vec::new());
    let stands = read.iter().any(|(_, cut)| cut.is_none());
    for (found, cut) in read {
        faults.extend(found);
        slices.extend(cut);
    }
    Intake { faults, parts: if stands { Parts::Standing(account) } else { Parts::Cut(slices) } }
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
