//! Result columns: what a sweep says of accounts and buckets.
//!
//! Columns are sized once and written in place, block by block; nothing is null here. Where
//! a figure does not apply is told by `MarginColumns::bits`.

use crate::batch;
use crate::bits::{Bits, Run};
use crate::conclusion::Status;
use crate::memory::Buffer;

/// Columns of money, in the order of the contract.
pub const MONEY: [&str; 12] = [
    "equity",
    "margin_balance",
    "collateral_value",
    "debt_value",
    "unrealized_pnl",
    "gross_notional",
    "net_notional",
    "initial_margin",
    "maintenance_margin",
    "margin_buffer",
    "free_collateral",
    "bad_debt",
];

/// Columns of ratios, which follow those of money.
pub const RATIOS: [&str; 7] = [
    "margin_ratio",
    "margin_level",
    "maintenance_margin_ratio",
    "equity_ratio",
    "effective_leverage",
    "ltv",
    "health_factor",
];

/// Rows for which it is worth to start a thread.
const THREAD_ROWS: usize = 1 << 16;

pub(crate) const NUMBERS: usize = MONEY.len() + RATIOS.len();
pub(crate) const EQUITY: usize = 0;
pub(crate) const MARGIN_BALANCE: usize = 1;
pub(crate) const COLLATERAL_VALUE: usize = 2;
pub(crate) const DEBT_VALUE: usize = 3;
pub(crate) const GROSS_NOTIONAL: usize = 5;
pub(crate) const MAINTENANCE_MARGIN: usize = 8;

/// The columns that accounts and buckets share.
pub struct MarginColumns {
    /// `Status` as a number.
    pub status: Buffer<u8>,
    /// Whether the trigger holds.
    pub is_liquidatable: Vec<bool>,
    /// Columns of `MONEY`, then of `RATIOS`.
    pub numbers: [Buffer<f64>; NUMBERS],
    /// Input position rows.
    pub positions: Buffer<i64>,
    /// The rung of the ladder that holds, `NONE` where none does; empty without a ladder.
    pub ladder: Buffer<u32>,
}

/// Where a column holds figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// In all determinate rows.
    Determinate,
    /// Where there is notional.
    WithNotional,
    /// Where equity is above 0.
    WithEquity,
}

/// Where the number column with this index holds figures.
pub fn applies(column: usize) -> Applies {
    match column.checked_sub(MONEY.len()).map(|ratio| RATIOS[ratio]) {
        Some("maintenance_margin_ratio" | "equity_ratio") => Applies::WithNotional,
        Some("effective_leverage") => Applies::WithEquity,
        _ => Applies::Determinate,
    }
}

impl MarginColumns {
    /// Columns of `rows` rows, to be written; that of rungs where there is a ladder.
    pub fn new(rows: usize, has_ladder: bool) -> Self {
        Self {
            status: Buffer::new(rows),
            is_liquidatable: vec![false; rows],
            numbers: std::array::from_fn(|_| Buffer::new(rows)),
            positions: Buffer::new(rows),
            ladder: Buffer::new(if has_ladder { rows } else { 0 }),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.status.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.status.is_empty()
    }

    /// The column of numbers of this name; empty where there is none.
    pub fn number(&self, name: &str) -> &[f64] {
        let column = MONEY.iter().chain(&RATIOS).position(|known| *known == name);
        column.map_or(&[], |column| &self.numbers[column])
    }

    /// Whether each row has a figure, or None where all have.
    pub fn validity(&self, applies: Applies) -> Option<Vec<bool>> {
        let [determinate, with_notional, with_equity, _] = self.bits(1);
        let holds = match applies {
            Applies::Determinate => determinate,
            Applies::WithNotional => with_notional,
            Applies::WithEquity => with_equity,
        };
        let valid: Vec<bool> = (0..self.len()).map(|row| holds[row]).collect();
        if valid.iter().all(|valid| *valid) { None } else { Some(valid) }
    }

    /// Where rows are determinate, have notional, have equity above 0, and are liquidatable. What
    /// nothing is known of has 0 there.
    pub fn bits(&self, threads: usize) -> [Bits; 4] {
        let threads = batch::enough(threads, self.len(), THREAD_ROWS);
        let runs = batch::map(threads, batch::steps(self.len(), THREAD_ROWS), |rows| {
            let above_0 = |column: usize| {
                Run::new(rows.start, &self.numbers[column][rows.clone()], |number| number > 0.0)
            };
            let determinate = |status| status != Status::Indeterminate as u8;
            [
                Run::new(rows.start, &self.status[rows.clone()], determinate),
                above_0(GROSS_NOTIONAL),
                above_0(EQUITY),
                Run::new(rows.start, &self.is_liquidatable[rows.clone()], |is_so| is_so),
            ]
        });
        Bits::join_all(self.len(), runs.into_iter())
    }

    /// Cuts the columns into neighbouring parts of the given lengths, for writing.
    pub(crate) fn parts(&mut self, lengths: impl Iterator<Item = usize>) -> Vec<Part<'_>> {
        let mut rest = Part {
            status: &mut self.status,
            is_liquidatable: &mut self.is_liquidatable,
            numbers: self.numbers.each_mut().map(|column| &mut **column),
            positions: &mut self.positions,
            ladder: &mut self.ladder,
        };
        lengths.map(|length| rest.take(length)).collect()
    }
}

/// Neighbouring rows of `MarginColumns`, to be written by one thread.
pub(crate) struct Part<'a> {
    pub(crate) status: &'a mut [u8],
    pub(crate) is_liquidatable: &'a mut [bool],
    pub(crate) numbers: [&'a mut [f64]; NUMBERS],
    pub(crate) positions: &'a mut [i64],
    pub(crate) ladder: &'a mut [u32],
}

impl<'a> Part<'a> {
    fn take(&mut self, length: usize) -> Self {
        fn cut<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
            let (head, tail) = std::mem::take(rest).split_at_mut(length);
            *rest = tail;
            head
        }
        Self {
            status: cut(&mut self.status, length),
            is_liquidatable: cut(&mut self.is_liquidatable, length),
            numbers: self.numbers.each_mut().map(|column| cut(column, length)),
            positions: cut(&mut self.positions, length),
            ladder: if self.ladder.is_empty() { &mut [] } else { cut(&mut self.ladder, length) },
        }
    }
}
