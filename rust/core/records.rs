//! Records: a row of `positions` or `balances` on its way to its block.
//!
//! What few rows have (orders, leverage, a tier table of their own, a bucket of their own) is
//! told by a flag of the record and read where it stands. `Source` makes records, slice by
//! slice, and reads what is rare.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::block::Special;
use crate::columns::{BLOCK, Numbers, View};
use crate::holdings::Positions;
use crate::keys::NONE;
use crate::partition::{Owned, Placer};

/// A position row on its way to its block.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct PositionRecord {
    pub(crate) account: u32,
    pub(crate) row: u32,
    pub(crate) instrument: u32,
    /// Which of the rarer columns say something of this row.
    special: u32,
    pub(crate) quantity: f64,
    pub(crate) entry: f64,
}

impl Owned for PositionRecord {
    #[inline]
    fn account(&self) -> u32 {
        self.account
    }
}

impl PositionRecord {
    /// Whether the row is a bucket of its own.
    #[inline]
    pub(crate) fn is_isolated(&self) -> bool {
        self.special & u32::from(ISOLATED) != 0
    }

    /// Whether it says more than instrument, quantity and entry.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        self.special & !u32::from(ISOLATED) != 0
    }
}

const ISOLATED: u8 = 1;
const TABLE: u8 = 2;
const ORDERS: u8 = 4;
const LEVERAGE: u8 = 8;

/// A balance row on its way to its block.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct BalanceRecord {
    pub(crate) account: u32,
    pub(crate) asset: u32,
    pub(crate) amount: f64,
}

impl Owned for BalanceRecord {
    #[inline]
    fn account(&self) -> u32 {
        self.account
    }
}

/// What position rows are read from.
pub(crate) struct Source<'a> {
    quantity: &'a [f64],
    entry: &'a [f64],
    isolated: Option<&'a [u8]>,
    isolated_margin: Option<View<'a>>,
    table: Option<&'a [u32]>,
    open_buy: Option<View<'a>>,
    open_sell: Option<View<'a>>,
    leverage: Option<View<'a>>,
}

impl<'a> Source<'a> {
    /// Reads `positions`, whose tier tables have these codes.
    pub(crate) fn new(positions: &'a Positions, table: Option<&'a [u32]>) -> Self {
        let view = |column: &'a Option<Numbers>| column.as_ref().map(Numbers::view);
        Self {
            quantity: positions.quantity.values(),
            entry: positions.entry_price.values(),
            isolated: positions.isolated.as_deref(),
            isolated_margin: view(&positions.isolated_margin),
            table,
            open_buy: view(&positions.open_buy),
            open_sell: view(&positions.open_sell),
            leverage: view(&positions.leverage),
        }
    }

    /// Writes which of the rarer columns say something of `rows`, column by column.
    pub(crate) fn specials(&self, rows: Range<usize>, specials: &mut [u8]) {
        specials.fill(0);
        if let Some(isolated) = self.isolated {
            for (special, isolated) in specials.iter_mut().zip(&isolated[rows.clone()]) {
                *special |= u8::from(*isolated == 1) * ISOLATED;
            }
        }
        if let Some(table) = self.table {
            for (special, table) in specials.iter_mut().zip(&table[rows.clone()]) {
                *special |= u8::from(*table != NONE) * TABLE;
            }
        }
        for column in [self.open_buy, self.open_sell].into_iter().flatten() {
            mark(column, rows.clone(), ORDERS, specials, |contracts| contracts > 0.0);
        }
        if let Some(column) = self.leverage {
            mark(column, rows, LEVERAGE, specials, |_| true);
        }
    }

    /// The record of an account's row.
    #[inline]
    pub(crate) fn record(
        &self,
        account: u32,
        row: usize,
        instrument: u32,
        special: u8,
    ) -> PositionRecord {
        PositionRecord {
            account,
            row: row as u32,
            instrument,
            special: u32::from(special),
            quantity: self.quantity[row],
            entry: self.entry[row],
        }
    }

    /// Places the records of the rows from `first` on, `BLOCK` or fewer, whose accounts and
    /// instruments are given.
    #[inline]
    pub(crate) fn place(
        &self,
        first: usize,
        accounts: &[u32],
        instrument: &[u32],
        placer: &mut Placer<PositionRecord>,
    ) {
        let rows = first..first + accounts.len();
        let mut specials = [0; BLOCK];
        let specials = &mut specials[..accounts.len()];
        self.specials(rows.clone(), specials);
        let (quantity, entry) = (&self.quantity[rows.clone()], &self.entry[rows]);
        let instrument = &instrument[..accounts.len()];
        let (quantity, entry) = (&quantity[..accounts.len()], &entry[..accounts.len()]);
        placer.place(accounts, |i| PositionRecord {
            account: accounts[i],
            row: (first + i) as u32,
            instrument: instrument[i],
            special: u32::from(specials[i]),
            quantity: quantity[i],
            entry: entry[i],
        });
    }

    /// Adds the records of the rows from `from` on, whose accounts are given.
    pub(crate) fn read(
        &self,
        from: usize,
        accounts: &[u32],
        instrument: &[u32],
        records: &mut Vec<PositionRecord>,
    ) {
        let mut specials = [0; BLOCK];
        let mut first = from;
        for accounts in accounts.chunks(BLOCK) {
            let rows = first..first + accounts.len();
            let specials = &mut specials[..accounts.len()];
            self.specials(rows.clone(), specials);
            let known = accounts.iter().zip(&*specials).zip(&instrument[rows.clone()]).zip(rows);
            records.extend(known.map(|(((account, special), instrument), row)| {
                self.record(*account, row, *instrument, *special)
            }));
            first += accounts.len();
        }
    }

    /// What is posted to an isolated row.
    pub(crate) fn posted(&self, row: u32) -> f64 {
        self.isolated_margin.and_then(|margin| margin.get(row as usize)).unwrap_or(0.0)
    }

    /// The rarer things that a row says.
    pub(crate) fn special(&self, record: &PositionRecord) -> Special {
        let row = record.row as usize;
        let given = |column: Option<View<'_>>| column.and_then(|c| c.get(row));
        let says = |flag| record.special & u32::from(flag) != 0;
        let mut special = Special::NOTHING;
        if says(TABLE) {
            special.table = self.table.map_or(NONE, |table| table[row]);
        }
        if says(ORDERS) {
            let contracts = |column| given(column).unwrap_or(0.0);
            special.orders = [contracts(self.open_buy), contracts(self.open_sell)];
        }
        if says(LEVERAGE) {
            special.leverage = given(self.leverage).unwrap_or(f64::INFINITY);
        }
        special
    }
}

/// Marks the rows that hold a value which `says` something.
fn mark(
    column: View<'_>,
    rows: Range<usize>,
    flag: u8,
    specials: &mut [u8],
    says: impl Fn(f64) -> bool,
) {
    let values = &column.values[rows.clone()];
    match column.validity {
        None => {
            for (special, value) in specials.iter_mut().zip(values) {
                *special |= u8::from(says(*value)) * flag;
            }
        }
        Some(words) => {
            // Few are given, as a rule.
            for first in (rows.start / 64 * 64..rows.end).step_by(64) {
                let mut given = words[first / 64] & u64::MAX << rows.start.saturating_sub(first);
                while given != 0 {
                    let row = first + given.trailing_zeros() as usize;
                    given &= given - 1;
                    let i = row - rows.start;
                    if let (Some(special), Some(value)) = (specials.get_mut(i), values.get(i)) {
                        *special |= u8::from(says(*value)) * flag;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{Range as Allowed, Validity, Values};

    #[test]
    fn rows_that_say_something_are_marked_beside_what_they_were_marked_with() {
        let words: Vec<u64> = (0..5u64).map(|i| 0x9111_0000_0204_8001 << i).collect();
        let values: Vec<f64> = (0..300).map(|row| f64::from(row % 3)).collect();
        let column = |validity| {
            Numbers::new("x", Allowed::Any, Values::new(values.clone())).with_validity(validity)
        };
        for column in [column(None), column(Some(Validity::from_words(words)))] {
            for rows in [0..300, 0..0, 1..64, 63..65, 64..128, 70..290, 299..300] {
                let mut specials: Vec<u8> = rows.clone().map(|row| (row % 2) as u8).collect();
                mark(column.view(), rows.clone(), ORDERS, &mut specials, |value| value > 0.0);
                let says = |row| column.get(row).is_some_and(|value| value > 0.0);
                let expected: Vec<u8> =
                    rows.map(|row| (row % 2) as u8 | (u8::from(says(row)) * ORDERS)).collect();
                assert_eq!(specials, expected);
            }
        }
    }
}
