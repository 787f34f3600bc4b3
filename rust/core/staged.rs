//! A few rows on their way to the result columns: buckets as they are added up, then all that
//! follows from their sums, worked out a column at a time.
//!
//! `Stage` takes the sums of a row's buckets; `Stage::conclude` makes columns of them, with the
//! bits of `Sums::conclude` and `Margin::add`. Most rows have one bucket.

use crate::collateral::Collateral;
use crate::conclusion::{Margin, Positions, Sink, Status, Sums};
use crate::conventions::Conventions;
use crate::exact::FEW;
use crate::keys::NONE;
use crate::results::{
    COLLATERAL_VALUE, DEBT_VALUE, EQUITY, GROSS_NOTIONAL, MAINTENANCE_MARGIN, MARGIN_BALANCE,
    MONEY, NUMBERS, Part,
};
use crate::trigger::Trigger;

/// Rows that are staged at a time: their columns stay in the nearest cache.
pub(crate) const STAGED: usize = FEW;

type Column = [f64; STAGED];
const ZEROS: Column = [0.0; STAGED];

/// Sums of a bucket, in the order of `Stage::sums`.
const SUMS: usize = 16;
const TWO_SIDED_NOTIONAL: usize = 5;
/// Places for sums: those of rows, then one for further buckets. A line of the cache more, so
/// that columns do not fall on the same lines.
const SLOTS: usize = STAGED + 8;

/// See the module.
pub(crate) struct Stage {
    rows: usize,
    /// Where the next sums go.
    slot: usize,
    sums: [[f64; SLOTS]; SUMS],
    open: [u64; SLOTS],
    pub(crate) positions: [i64; SLOTS],
    /// Further buckets, each with its row.
    more: Vec<(usize, Margin)>,
    /// Rows of which nothing is known.
    unknown: Vec<usize>,
    pub(crate) status: [u8; STAGED],
    pub(crate) flags: [bool; STAGED],
    pub(crate) rungs: [u32; STAGED],
    pub(crate) numbers: [Column; NUMBERS],
    weighted_collateral: Column,
    /// What a row's first bucket lacks to reach the line.
    pub(crate) lacking: Column,
    are_finite: [bool; STAGED],
}

impl Sink for Stage {
    #[inline(always)]
    fn take_positions(&mut self, positions: &Positions, rows: u32) {
        let slot = self.slot.min(STAGED);
        self.positions[slot] = i64::from(rows);
        self.open[slot] = positions.open;
        let sums = [
            positions.unrealized_pnl,
            positions.counted,
            positions.option_value,
            positions.gross_notional,
            positions.net_notional,
            positions.two_sided_notional,
            positions.maintenance,
            positions.initial,
        ];
        for (column, sum) in self.sums[..8].iter_mut().zip(sums) {
            column[slot] = sum;
        }
    }

    #[inline(always)]
    fn take_collateral(&mut self, collateral: &Collateral) {
        let slot = self.slot.min(STAGED);
        let sums = [
            collateral.held,
            collateral.value,
            collateral.debt,
            collateral.weighted_maintenance,
            collateral.weighted_initial,
            collateral.liability,
            collateral.borrow_maintenance,
            collateral.borrow_initial,
        ];
        for (column, sum) in self.sums[8..].iter_mut().zip(sums) {
            column[slot] = sum;
        }
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            rows: 0,
            slot: 0,
            sums: [[0.0; SLOTS]; SUMS],
            open: [0; SLOTS],
            positions: [0; SLOTS],
            more: Vec::new(),
            unknown: Vec::new(),
            status: [0; STAGED],
            flags: [false; STAGED],
            rungs: [NONE; STAGED],
            numbers: [ZEROS; NUMBERS],
            weighted_collateral: ZEROS,
            lacking: ZEROS,
            are_finite: [true; STAGED],
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows == STAGED
    }

    /// Makes room for the next rows.
    pub(crate) fn clear(&mut self) {
        self.rows = 0;
        self.more.clear();
        self.unknown.clear();
    }

    /// Begins a row: the next sums are those of its first bucket.
    #[inline(always)]
    pub(crate) fn begin(&mut self) {
        self.slot = self.rows % STAGED;
        self.rows = self.slot + 1;
    }

    /// The next sums are those of a further bucket of the row.
    #[inline(always)]
    pub(crate) fn begin_more(&mut self) {
        self.slot = STAGED;
    }

    /// Concludes the further bucket.
    #[cold]
    #[inline(never)]
    pub(crate) fn end_more(&mut self, conventions: &Conventions) {
        let margin = self.sums(STAGED).conclude(conventions);
        self.more.push((self.rows - 1, margin));
    }

    /// Takes the sums of no bucket.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_nothing(&mut self) {
        let Sums { positions, collateral, rows } = Sums::default();
        self.take_positions(&positions, rows);
        self.take_collateral(&collateral);
    }

    /// Stages a row of which nothing is known.
    pub(crate) fn push_indeterminate(&mut self) {
        self.begin();
        self.unknown.push(self.slot);
        self.take_nothing();
    }

    /// Copies the rows, concluded, to a part of the result columns, from row `first` on.
    #[inline(always)]
    pub(crate) fn copy_to(&self, part: &mut Part<'_>, first: usize) {
        let length = self.rows;
        let rows = first..first + length;
        part.status[rows.clone()].copy_from_slice(&self.status[..length]);
        part.is_liquidatable[rows.clone()].copy_from_slice(&self.flags[..length]);
        part.positions[rows.clone()].copy_from_slice(&self.positions[..length]);
        for (column, values) in part.numbers.iter_mut().zip(&self.numbers) {
            column[rows.clone()].copy_from_slice(&values[..length]);
        }
        if !part.ladder.is_empty() {
            part.ladder[rows].copy_from_slice(&self.rungs[..length]);
        }
    }

    /// The sums in a slot.
    #[inline(always)]
    fn sums(&self, row: usize) -> Sums {
        let sum = |place: usize| self.sums[place][row];
        Sums {
            positions: Positions {
                unrealized_pnl: sum(0),
                counted: sum(1),
                option_value: sum(2),
                gross_notional: sum(3),
                net_notional: sum(4),
                two_sided_notional: sum(TWO_SIDED_NOTIONAL),
                maintenance: sum(6),
                initial: sum(7),
                open: self.open[row],
            },
            collateral: Collateral {
                held: sum(8),
                value: sum(9),
                debt: sum(10),
                weighted_maintenance: sum(11),
                weighted_initial: sum(12),
                liability: sum(13),
                borrow_maintenance: sum(14),
                borrow_initial: sum(15),
            },
            rows: self.positions[row] as u32,
        }
    }

    /// Works out the columns of all staged rows, and shows further buckets to `each`. Where not
    /// all `are_finite`, the caller is to `forget_overflown`.
    #[inline(always)]
    pub(crate) fn conclude(&mut self, conventions: &Conventions, each: impl FnMut(&Margin)) {
        for row in self.rows..STAGED {
            self.sums.iter_mut().for_each(|column| column[row] = 0.0);
            (self.open[row], self.positions[row]) = (0, 0);
        }
        self.conclude_first(conventions.trigger());
        if !conventions.ladder.is_empty() {
            for row in 0..self.rows {
                let (balance, maintenance) =
                    (self.numbers[MARGIN_BALANCE][row], self.numbers[MAINTENANCE_MARGIN][row]);
                self.rungs[row] = conventions.rung(balance, maintenance).unwrap_or(NONE);
            }
        }
        if !self.more.is_empty() {
            self.add_more(each);
        }
        for place in 0..self.unknown.len() {
            self.write_all(self.unknown[place], &Margin::INDETERMINATE);
        }
        self.work_out_ratios();
    }

    /// Concludes the first bucket of each row, all but its rung.
    #[inline(always)]
    fn conclude_first(&mut self, trigger: Trigger) {
        // As wide as money, and apart from it, so that rows are worked out side by side.
        let (mut status, mut flags, mut are_finite) = ([0; STAGED], [0; STAGED], [0; STAGED]);
        for row in 0..STAGED {
            let margin = self.sums(row).without_rung(trigger);
            self.write(row, &margin);
            let buffer = margin.margin_buffer;
            self.lacking[row] = if buffer < 0.0 { -buffer } else { 0.0 };
            status[row] = margin.status as u64;
            flags[row] = u64::from(margin.is_liquidatable);
            are_finite[row] = u64::from(margin.is_finite());
        }
        self.status = status.map(|status| status as u8);
        self.flags = flags.map(|flag| flag != 0);
        self.are_finite = are_finite.map(|is_finite| is_finite != 0);
    }

    /// Adds further buckets, each to its row.
    #[inline(never)]
    fn add_more(&mut self, mut each: impl FnMut(&Margin)) {
        let mut place = 0;
        while let Some((row, _)) = self.more.get(place) {
            let (row, mut margin) = (*row, self.margin(*row));
            while let Some((_, bucket)) = self.more.get(place).filter(|(of, _)| *of == row) {
                if bucket.is_finite() {
                    each(bucket);
                } else {
                    self.are_finite[row] = false;
                }
                margin.add(bucket);
                place += 1;
            }
            self.are_finite[row] &= margin.is_finite();
            self.write_all(row, &margin);
        }
    }

    /// The margin of a row's first bucket, concluded.
    fn margin(&self, row: usize) -> Margin {
        let number = |place: usize| self.numbers[place][row];
        Margin {
            equity: number(0),
            margin_balance: number(1),
            collateral_value: number(2),
            debt_value: number(3),
            unrealized_pnl: number(4),
            gross_notional: number(5),
            net_notional: number(6),
            initial_margin: number(7),
            maintenance_margin: number(8),
            margin_buffer: number(9),
            free_collateral: number(10),
            bad_debt: number(11),
            margin_ratio: number(12),
            margin_level: number(13),
            weighted_collateral: self.weighted_collateral[row],
            two_sided_notional: self.sums[TWO_SIDED_NOTIONAL][row],
            status: Status::ALL[self.status[row] as usize],
            is_liquidatable: self.flags[row],
            positions: self.positions[row] as u32,
            rung: self.rungs[row],
        }
    }

    /// Writes the numbers of a row.
    #[inline(always)]
    fn write(&mut self, row: usize, margin: &Margin) {
        self.weighted_collateral[row] = margin.weighted_collateral;
        let numbers = [
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
            margin.margin_ratio,
            margin.margin_level,
        ];
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column[row] = number;
        }
    }

    /// Writes all of a row.
    #[cold]
    #[inline(never)]
    fn write_all(&mut self, row: usize, margin: &Margin) {
        self.write(row, margin);
        self.status[row] = margin.status as u8;
        self.flags[row] = margin.is_liquidatable;
        self.rungs[row] = margin.rung;
        self.positions[row] = i64::from(margin.positions);
    }

    /// Whether no row's money overflowed.
    #[inline(always)]
    pub(crate) fn are_finite(&self) -> bool {
        self.are_finite.iter().fold(true, |all, is_finite| all & is_finite)
    }

    /// Makes rows whose money overflowed indeterminate, and says which.
    #[cold]
    #[inline(never)]
    pub(crate) fn forget_overflown(&mut self, mut each: impl FnMut(usize)) {
        for row in (0..self.rows).filter(|row| !self.are_finite[*row]).collect::<Vec<usize>>() {
            self.write_all(row, &Margin::INDETERMINATE);
            self.lacking[row] = 0.0;
            each(row);
        }
    }

    /// The staged columns of money, in the order of `MONEY`; 0 beyond the staged rows.
    pub(crate) fn money(&self) -> &[Column] {
        &self.numbers[..MONEY.len()]
    }

    /// Gross notional of rows past the line, 0 of others.
    #[inline(always)]
    pub(crate) fn past_notional(&self) -> Column {
        let mut past = ZEROS;
        let rows = self.flags.iter().zip(&self.numbers[GROSS_NOTIONAL]);
        for (past, (is_past, notional)) in past.iter_mut().zip(rows) {
            *past = if *is_past { *notional } else { 0.0 };
        }
        past
    }

    /// Works out the ratios of a row's own money; 0 where they do not apply.
    #[inline(always)]
    fn work_out_ratios(&mut self) {
        let over = |a: f64, b: f64| {
            let ratio = a / b;
            if b > 0.0 { ratio } else { 0.0 }
        };
        let (money, ratios) = self.numbers.split_at_mut(MONEY.len());
        let [_, _, maintenance_margin_ratio, equity_ratio, leverage, ltv, health_factor] = ratios
        else {
            return;
        };
        let gross_notional = &money[GROSS_NOTIONAL];
        for row in 0..STAGED {
            maintenance_margin_ratio[row] =
                over(money[MAINTENANCE_MARGIN][row], gross_notional[row]);
            equity_ratio[row] = over(money[MARGIN_BALANCE][row], gross_notional[row]);
            leverage[row] = over(gross_notional[row], money[EQUITY][row]);
        }
        for row in 0..STAGED {
            let debt = money[DEBT_VALUE][row];
            let of_collateral = debt / money[COLLATERAL_VALUE][row];
            let health = self.weighted_collateral[row] / debt;
            ltv[row] = if debt > 0.0 { of_collateral } else { 0.0 };
            health_factor[row] = if debt > 0.0 { health } else { f64::INFINITY };
        }
    }
}
