//! Result columns: what a sweep says of accounts and buckets.
//!
//! Columns are sized once and written in place, block by block; nothing is null here. Where
//! a figure does not apply is told by `MarginColumns::validity`.

use crate::keys::NONE;
use crate::margin::{Margin, Status};

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

const NUMBERS: usize = MONEY.len() + RATIOS.len();
const EQUITY: usize = 0;
const GROSS_NOTIONAL: usize = 5;

/// The money of `margin`, in the order of `MONEY`.
#[inline]
pub fn money(margin: &Margin) -> [f64; MONEY.len()] {
    [
        margin.equity,
        margin.margin_balance,
        margin.collateral_value,
        margin.debt_value,
        margin.unrealized_pnl,
        margin.gross_notional,
        margin.net_notional,
        margin.initial_margin,
        margin.maintenance_margin,
        margin.margin_buffer,
        margin.free_collateral,
        margin.bad_debt,
    ]
}

/// The ratios of `margin`, in the order of `RATIOS`. Those that do not apply are 0.
#[inline]
fn ratios(margin: &Margin) -> [f64; RATIOS.len()] {
    let over = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let debt = margin.debt_value;
    let (ltv, health_factor) = if debt > 0.0 {
        let ltv = debt / margin.collateral_value;
        (ltv, margin.weighted_collateral / debt)
    } else {
        (0.0, f64::INFINITY)
    };
    [
        margin.margin_ratio,
        margin.margin_level,
        over(margin.maintenance_margin, margin.gross_notional),
        over(margin.margin_balance, margin.gross_notional),
        over(margin.gross_notional, margin.equity),
        ltv,
        health_factor,
    ]
}

/// The columns that accounts and buckets share.
pub struct MarginColumns {
    /// `Status` as a number.
    pub status: Vec<u8>,
    /// Whether the trigger holds.
    pub is_liquidatable: Vec<bool>,
    /// Columns of `MONEY`, then of `RATIOS`.
    pub numbers: [Vec<f64>; NUMBERS],
    /// Input position rows.
    pub positions: Vec<i64>,
    /// The rung of the ladder that holds, `NONE` where none does; empty without a ladder.
    pub ladder: Vec<u32>,
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
            status: vec![0; rows],
            is_liquidatable: vec![false; rows],
            numbers: std::array::from_fn(|_| vec![0.0; rows]),
            positions: vec![0; rows],
            ladder: vec![NONE; if has_ladder { rows } else { 0 }],
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

    /// Whether each row has a figure, or None where all have.
    pub fn validity(&self, applies: Applies) -> Option<Vec<bool>> {
        let determinate = |row: usize| self.status[row] != Status::Indeterminate as u8;
        let holds = |row: usize| {
            determinate(row)
                && match applies {
                    Applies::Determinate => true,
                    Applies::WithNotional => self.numbers[GROSS_NOTIONAL][row] > 0.0,
                    Applies::WithEquity => self.numbers[EQUITY][row] > 0.0,
                }
        };
        let valid: Vec<bool> = (0..self.len()).map(holds).collect();
        if valid.iter().all(|valid| *valid) { None } else { Some(valid) }
    }

    /// Cuts the columns into neighbouring parts of the given lengths, for writing.
    pub(crate) fn parts(&mut self, lengths: impl Iterator<Item = usize>) -> Vec<Part<'_>> {
        let mut rest = Part {
            status: &mut self.status,
            is_liquidatable: &mut self.is_liquidatable,
            numbers: self.numbers.each_mut().map(Vec::as_mut_slice),
            positions: &mut self.positions,
            ladder: &mut self.ladder,
        };
        lengths.map(|length| rest.take(length)).collect()
    }
}

/// Neighbouring rows of `MarginColumns`, to be written by one thread.
pub(crate) struct Part<'a> {
    status: &'a mut [u8],
    is_liquidatable: &'a mut [bool],
    numbers: [&'a mut [f64]; NUMBERS],
    positions: &'a mut [i64],
    ladder: &'a mut [u32],
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

    /// Writes what is known of a row.
    #[inline]
    pub(crate) fn write(&mut self, row: usize, margin: &Margin) {
        self.status[row] = margin.status as u8;
        self.is_liquidatable[row] = margin.is_liquidatable;
        self.positions[row] = i64::from(margin.positions);
        if let Some(rung) = self.ladder.get_mut(row) {
            *rung = margin.rung;
        }
        let numbers = money(margin).into_iter().chain(ratios(margin));
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column[row] = number;
        }
    }

    /// Writes that nothing is known of a row.
    pub(crate) fn write_indeterminate(&mut self, row: usize) {
        self.status[row] = Status::Indeterminate as u8;
    }
}
