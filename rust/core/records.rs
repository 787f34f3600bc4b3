//! Records: a row of `positions` or `balances` on its way to its block.
//!
//! What few rows have (orders, leverage, a tier table of their own, a bucket of their own) is
//! told by a flag of the record, and goes the same way in a record of its own: looked up later, in
//! the order of accounts, it would cost a cache miss a column. `Source` makes both, slice by slice.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::block::Special;
use crate::columns::{BLOCK, Numbers, View};
use crate::holdings::Positions;
use crate::keys::NONE;
use crate::partition::{Owned, Placer};

/// Two codes as one word: records are written to places far apart, and wait for each store.
#[repr(transparent)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Pair(u64);

impl Pair {
    #[inline(always)]
    fn new(low: u32, high: u32) -> Self {
        Self(u64::from(low) | u64::from(high) << 32)
    }

    #[inline(always)]
    fn low(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    fn high(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A position row on its way to its block.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct PositionRecord {
    /// Account and row.
    whose: Pair,
    /// Instrument, and which of the rarer columns say something of this row.
    what: Pair,
    pub(crate) quantity: f64,
    pub(crate) entry: f64,
}

impl Owned for PositionRecord {
    #[inline]
    fn account(&self) -> u32 {
        self.whose.low()
    }
}

impl PositionRecord {
    /// The input row.
    #[inline]
    pub(crate) fn row(&self) -> u32 {
        self.whose.high()
    }

    #[inline]
    pub(crate) fn instrument(&self) -> u32 {
        self.what.low()
    }

    /// Whether the row is a bucket of its own.
    #[inline]
    pub(crate) fn is_isolated(&self) -> bool {
        self.what.high() & u32::from(ISOLATED) != 0
    }

    /// Whether it has a `RareRecord`.
    #[inline]
    pub(crate) fn is_rare(&self) -> bool {
        self.what.high() != 0
    }
}

/// What a position row says in the rarer columns, on its way to its block.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct RareRecord {
    account: u32,
    table: u32,
    orders: [f64; 2],
    leverage: f64,
    /// What is posted to an isolated row; else 0.
    pub(crate) posted: f64,
}

impl Owned for RareRecord {
    #[inline]
    fn account(&self) -> u32 {
        self.account
    }
}

impl RareRecord {
    /// What it says beside being isolated, if anything.
    pub(crate) fn special(&self) -> Option<Special> {
        let Self { table, orders, leverage, .. } = *self;
        let special = Special { table, orders, leverage };
        (special != Special::NOTHING).then_some(special)
    }
}

/// Blocks of rows that tell how many are rare.
const SAMPLE: usize = 16;

const ISOLATED: u8 = 1;
const TABLE: u8 = 2;
const ORDERS: u8 = 4;
const LEVERAGE: u8 = 8;

/// A balance row on its way to its block.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct BalanceRecord {
    /// Account and asset.
    whose: Pair,
    pub(crate) amount: f64,
}

impl BalanceRecord {
    #[inline(always)]
    pub(crate) fn new(account: u32, asset: u32, amount: f64) -> Self {
        Self { whose: Pair::new(account, asset), amount }
    }

    #[inline]
    pub(crate) fn asset(&self) -> u32 {
        self.whose.high()
    }
}

impl Owned for BalanceRecord {
    #[inline]
    fn account(&self) -> u32 {
        self.whose.low()
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
    /// Whether any of the rarer columns is there.
    says_more: bool,
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
            says_more: positions.isolated.is_some()
                || table.is_some()
                || [&positions.open_buy, &positions.open_sell, &positions.leverage]
                    .into_iter()
                    .any(Option::is_some),
        }
    }

    /// Whether any of the rarer columns is there.
    pub(crate) fn says_more(&self) -> bool {
        self.says_more
    }

    /// Bytes of a row's records, on average: some blocks of rows tell how many have a rare one.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.quantity.len();
        if !self.says_more || rows == 0 {
            return size_of::<PositionRecord>();
        }
        let (mut seen, mut rare, mut flags) = (0, 0, [0; BLOCK]);
        let step = rows.div_ceil(BLOCK).div_ceil(SAMPLE) * BLOCK;
        for first in (0..rows).step_by(step) {
            let rows = first..(first + BLOCK).min(rows);
            let flags = &mut flags[..rows.len()];
            self.flag(rows, flags);
            seen += flags.len();
            rare += flags.iter().filter(|flags| **flags != 0).count();
        }
        size_of::<PositionRecord>() + (size_of::<RareRecord>() * rare).div_ceil(seen)
    }

    /// Writes which of the rarer columns say something of `rows`, column by column.
    fn flag(&self, rows: Range<usize>, flags: &mut [u8]) {
        flags.fill(0);
        if let Some(isolated) = self.isolated {
            for (flags, isolated) in flags.iter_mut().zip(&isolated[rows.clone()]) {
                *flags |= u8::from(*isolated == 1) * ISOLATED;
            }
        }
        if let Some(table) = self.table {
            for (flags, table) in flags.iter_mut().zip(&table[rows.clone()]) {
                *flags |= u8::from(*table != NONE) * TABLE;
            }
        }
        for column in [self.open_buy, self.open_sell].into_iter().flatten() {
            mark(column, rows.clone(), ORDERS, flags, |contracts| contracts > 0.0);
        }
        if let Some(column) = self.leverage {
            mark(column, rows, LEVERAGE, flags, |_| true);
        }
    }

    /// Places the records of the rows from `first` on, `BLOCK` or fewer, whose accounts and
    /// instruments are given, and adds what is rare of the same accounts.
    #[inline]
    pub(crate) fn place(
        &self,
        first: usize,
        accounts: &[u32],
        instrument: &[u32],
        placer: &mut Placer<PositionRecord>,
        rare: &mut Vec<RareRecord>,
    ) {
        let rows = first..first + accounts.len();
        let mut flags = [0; BLOCK];
        let flags = &mut flags[..accounts.len()];
        self.flag(rows.clone(), flags);
        let owners = placer.owners();
        self.add_rare(first, accounts, flags, |account| owners.has(account), rare);
        let (quantity, entry) = (&self.quantity[rows.clone()], &self.entry[rows]);
        let instrument = &instrument[..accounts.len()];
        let (quantity, entry) = (&quantity[..accounts.len()], &entry[..accounts.len()]);
        placer.place(accounts, |i| PositionRecord {
            whose: Pair::new(accounts[i], (first + i) as u32),
            what: Pair::new(instrument[i], u32::from(flags[i])),
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
        self.by_block(from, accounts, |first, accounts, flags| {
            let rows = first..first + accounts.len();
            let (quantity, entry) = (&self.quantity[rows.clone()], &self.entry[rows.clone()]);
            let said = accounts.iter().zip(flags).zip(&instrument[rows.clone()]);
            let known = said.zip(quantity.iter().zip(entry)).zip(rows);
            records.extend(known.map(
                |((((account, flags), instrument), (quantity, entry)), row)| PositionRecord {
                    whose: Pair::new(*account, row as u32),
                    what: Pair::new(*instrument, u32::from(*flags)),
                    quantity: *quantity,
                    entry: *entry,
                },
            ));
        });
    }

    /// Adds what is rare of the same rows.
    pub(crate) fn read_rare(&self, from: usize, accounts: &[u32], rare: &mut Vec<RareRecord>) {
        if self.says_more {
            self.by_block(from, accounts, |first, accounts, flags| {
                self.add_rare(first, accounts, flags, |_| true, rare);
            });
        }
    }

    /// Shows the rows from `from` on block by block: the first row, accounts and flags.
    fn by_block(&self, from: usize, accounts: &[u32], mut show: impl FnMut(usize, &[u32], &[u8])) {
        let (mut flags, mut first) = ([0; BLOCK], from);
        for accounts in accounts.chunks(BLOCK) {
            let flags = &mut flags[..accounts.len()];
            self.flag(first..first + accounts.len(), flags);
            show(first, accounts, flags);
            first += accounts.len();
        }
    }

    /// Adds what the rows from `first` on say in the rarer columns, where their accounts are among
    /// `theirs`.
    fn add_rare(
        &self,
        first: usize,
        accounts: &[u32],
        flags: &[u8],
        theirs: impl Fn(u32) -> bool,
        rare: &mut Vec<RareRecord>,
    ) {
        if !self.says_more {
            return;
        }
        let said = accounts.iter().zip(flags).zip(first..);
        let said = said.filter(|((account, flags), _)| **flags != 0 && theirs(**account));
        rare.extend(said.map(|((account, flags), row)| self.rare(*account, row, *flags)));
    }

    /// What a row of these flags says in the rarer columns.
    fn rare(&self, account: u32, row: usize, flags: u8) -> RareRecord {
        let given = |column: Option<View<'_>>| column.and_then(|c| c.get(row));
        let says = |flag| flags & flag != 0;
        let Special { mut table, mut orders, mut leverage } = Special::NOTHING;
        if says(TABLE) {
            table = self.table.map_or(NONE, |table| table[row]);
        }
        if says(ORDERS) {
            let contracts = |column| given(column).unwrap_or(0.0);
            orders = [contracts(self.open_buy), contracts(self.open_sell)];
        }
        if says(LEVERAGE) {
            leverage = given(self.leverage).unwrap_or(f64::INFINITY);
        }
        let posted = if says(ISOLATED) { given(self.isolated_margin).unwrap_or(0.0) } else { 0.0 };
        RareRecord { account, table, orders, leverage, posted }
    }
}

/// Marks the rows that hold a value which `says` something.
fn mark(
    column: View<'_>,
    rows: Range<usize>,
    flag: u8,
    flags: &mut [u8],
    says: impl Fn(f64) -> bool,
) {
    let values = &column.values[rows.clone()];
    match column.validity {
        None => {
            for (flags, value) in flags.iter_mut().zip(values) {
                *flags |= u8::from(says(*value)) * flag;
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
                    if let (Some(flags), Some(value)) = (flags.get_mut(i), values.get(i)) {
                        *flags |= u8::from(says(*value)) * flag;
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
    use crate::keys::Ids;

    #[test]
    fn records_take_as_many_bytes_as_there_are_rare_ones() {
        let rows = 200_000_u32;
        let numbers = |name| {
            let values = (0..rows).map(|row| f64::from(row % 4)).collect::<Vec<f64>>();
            Numbers::new(name, Allowed::Any, Values::new(values))
        };
        let ids = || Ids::integers(Values::new(vec![0; rows as usize]), None);
        let mut positions = Positions {
            account: ids(),
            instrument: ids(),
            quantity: numbers("quantity"),
            entry_price: numbers("entry_price"),
            isolated: None,
            isolated_margin: None,
            leverage: None,
            tier_table: None,
            open_buy: None,
            open_sell: None,
        };
        assert_eq!(Source::new(&positions, None).bytes(), 32);
        positions.open_sell = Some(numbers("open_sell"));
        assert_eq!(Source::new(&positions, None).bytes(), 32 + 40 * 3 / 4);
        positions.leverage = Some(numbers("leverage"));
        assert_eq!(Source::new(&positions, None).bytes(), 72);
    }

    #[test]
    fn rows_that_say_something_are_marked_beside_what_they_were_marked_with() {
        let words: Vec<u64> = (0..5u64).map(|i| 0x9111_0000_0204_8001 << i).collect();
        let values: Vec<f64> = (0..300).map(|row| f64::from(row % 3)).collect();
        let column = |validity| {
            Numbers::new("x", Allowed::Any, Values::new(values.clone())).with_validity(validity)
        };
        for column in [column(None), column(Some(Validity::from_words(words)))] {
            for rows in [0..300, 0..0, 1..64, 63..65, 64..128, 70..290, 299..300] {
                let mut flags: Vec<u8> = rows.clone().map(|row| (row % 2) as u8).collect();
                mark(column.view(), rows.clone(), ORDERS, &mut flags, |value| value > 0.0);
                let says = |row| column.get(row).is_some_and(|value| value > 0.0);
                let expected: Vec<u8> =
                    rows.map(|row| (row % 2) as u8 | (u8::from(says(row)) * ORDERS)).collect();
                assert_eq!(flags, expected);
            }
        }
    }
}
