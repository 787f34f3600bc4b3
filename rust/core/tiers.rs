//! Tier tables: what a position of a given size must hold.
//!
//! A table is rows of floor and rates. Marginal arithmetic gives tier `k` the requirement
//! `x * r_k - d_k`, with `d_1 = 0` and `d_k = d_(k-1) + floor_k * (r_k - r_(k-1))`, so that
//! the requirement has no jump (Binance's cumulative maintenance amount). Slab arithmetic
//! gives it `x * r_k`: the whole size at its tier's rate, with a step at each floor (OKX).

use crate::columns::LIMIT;
use crate::conventions::{TierEdge, TierMode};
use crate::names::Names;

/// One row of the `tiers` frame.
#[derive(Clone, Debug)]
pub struct TierRow {
    /// Name of the table that it belongs to.
    pub table: String,
    /// Size at which the tier begins, on the tier basis.
    pub floor: f64,
    /// Maintenance requirement, fraction of size.
    pub maintenance_rate: f64,
    /// Initial requirement, fraction of size.
    pub initial_rate: f64,
    /// Maintenance deduction as published, checked against the rates.
    pub deduction: Option<f64>,
}

/// One tier with its deductions worked out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tier {
    /// Size at which it begins.
    pub floor: f64,
    /// Maintenance rate and deduction.
    pub maintenance: Line,
    /// Initial rate and deduction.
    pub initial: Line,
}

/// A requirement as a straight line in size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// Fraction of size.
    pub rate: f64,
    /// Taken off, so that neighbouring tiers meet at their floor; 0 in slab arithmetic.
    pub deduction: f64,
}

impl Line {
    /// What a size must hold; never below 0.
    #[inline]
    pub fn at(self, size: f64) -> f64 {
        let required = size * self.rate - self.deduction;
        if required > 0.0 { required } else { 0.0 }
    }

    /// The line of the next tier, whose floor and rate are given.
    fn next(self, floor: f64, rate: f64) -> Self {
        Self { rate, deduction: self.deduction + floor * (rate - self.rate) }
    }
}

/// All tier tables of a ruleset.
#[derive(Clone, Default)]
pub struct Tiers {
    names: Names,
    tables: Vec<Vec<Tier>>,
}

impl Tiers {
    /// Builds the tables; on mistakes, one message for each, beginning with its path.
    ///
    /// Rows of several tables may be mixed. Within a table floors start at 0 and rise. A
    /// deduction is checked by marginal arithmetic, whatever the mode.
    pub fn try_new(rows: &[TierRow], mode: TierMode) -> Result<Self, Vec<String>> {
        let mut tiers = Self::default();
        let mut mistakes = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let code = tiers.names.add(&row.table) as usize;
            if code == tiers.tables.len() {
                tiers.tables.push(Vec::new());
            }
            if let Err(mistake) = push(&mut tiers.tables[code], row) {
                mistakes.push(format!("tiers.{i}.{mistake} (table {:?})", row.table));
            }
        }
        if mode == TierMode::Slab {
            for tier in tiers.tables.iter_mut().flatten() {
                tier.maintenance.deduction = 0.0;
                tier.initial.deduction = 0.0;
            }
        }
        if mistakes.is_empty() { Ok(tiers) } else { Err(mistakes) }
    }

    /// The code of the table with this name.
    pub fn code(&self, name: &str) -> Option<u32> {
        self.names.code(name)
    }

    /// The tiers of a table, from the lowest.
    #[inline]
    pub fn table(&self, code: u32) -> &[Tier] {
        &self.tables[code as usize]
    }
}

impl Tier {
    /// Whether a size is in this tier, or in one above it.
    #[inline(always)]
    pub(crate) fn is_reached(&self, size: f64, edge: TierEdge) -> bool {
        self.floor < size || (edge == TierEdge::Upper && self.floor == size)
    }
}

/// The index of the tier that a size falls in.
#[inline]
pub fn tier_at(table: &[Tier], size: f64, edge: TierEdge) -> usize {
    table[1..].partition_point(|tier| tier.is_reached(size, edge))
}

fn push(table: &mut Vec<Tier>, row: &TierRow) -> Result<(), String> {
    for (name, rate) in
        [("maintenance_rate", row.maintenance_rate), ("initial_rate", row.initial_rate)]
    {
        if !(0.0..=1.0).contains(&rate) {
            return Err(format!("{name}: {rate} is not a fraction from 0 to 1"));
        }
    }
    let tier = match table.last() {
        _ if !(0.0..=LIMIT).contains(&row.floor) => {
            return Err(format!("floor: {} is not a number from 0 to 1e18", row.floor));
        }
        None if row.floor != 0.0 => {
            return Err(format!("floor: {} is the table's first and must be 0", row.floor));
        }
        Some(below) if row.floor <= below.floor => {
            let below = below.floor;
            return Err(format!(
                "floor: {} does not rise above {below}, the one before",
                row.floor
            ));
        }
        None => Tier {
            floor: 0.0,
            maintenance: Line { rate: row.maintenance_rate, deduction: 0.0 },
            initial: Line { rate: row.initial_rate, deduction: 0.0 },
        },
        Some(below) => Tier {
            floor: row.floor,
            maintenance: below.maintenance.next(row.floor, row.maintenance_rate),
            initial: below.initial.next(row.floor, row.initial_rate),
        },
    };
    table.push(tier);
    check_deduction(row, tier.maintenance.deduction)
}

/// Whether two numbers agree to a relative 1e-9. NaN agrees with nothing.
fn is_near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).min(f64::MAX)
}

/// A deduction that is given must be the one that the rates imply (relative 1e-9).
fn check_deduction(row: &TierRow, implied: f64) -> Result<(), String> {
    match row.deduction {
        Some(given) if !is_near(given, implied) => {
            Err(format!("deduction: {given} is given, but floors and rates imply {implied}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(table: &str, floor: f64, rate: f64) -> TierRow {
        TierRow {
            table: table.to_owned(),
            floor,
            maintenance_rate: rate,
            initial_rate: (2.0 * rate).min(1.0),
            deduction: None,
        }
    }

    #[test]
    fn a_size_equal_to_a_floor_belongs_where_the_edge_says() {
        let rows = [row("a", 0.0, 0.01), row("b", 0.0, 0.5), row("a", 100.0, 0.05)];
        let tiers = Tiers::try_new(&rows, TierMode::Marginal).unwrap();
        let table = tiers.table(tiers.code("a").unwrap());
        assert_eq!(tier_at(table, 99.999, TierEdge::Upper), 0);
        assert_eq!(tier_at(table, 100.0, TierEdge::Upper), 1);
        assert_eq!(tier_at(table, 100.0, TierEdge::Lower), 0);
        assert_eq!(tier_at(table, 100.001, TierEdge::Lower), 1);
        // 100 * 0.05 - 100 * (0.05 - 0.01) = 5 - 4
        assert_eq!(table[1].maintenance.at(100.0), 1.0);
        assert_eq!(tiers.code("c"), None);
    }

    #[test]
    fn a_slab_charges_the_whole_size_at_its_rate() {
        let mut second = row("a", 100.0, 0.05);
        second.deduction = Some(4.0); // 100 * (0.05 - 0.01), checked all the same
        let tiers = Tiers::try_new(&[row("a", 0.0, 0.01), second], TierMode::Slab).unwrap();
        let table = tiers.table(0);
        assert_eq!(table[1].maintenance.at(100.0), 5.0);
        assert_eq!(table[1].initial.at(100.0), 10.0);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut deducted = row("c", 0.0, 0.1);
        deducted.deduction = Some(3.0);
        let rows = [row("a", 1.0, 0.1), row("b", 0.0, 1.5), deducted, row("c", 0.0, 0.2)];
        let mistakes = Tiers::try_new(&rows, TierMode::Marginal).err().unwrap();
        let paths: Vec<_> = mistakes.iter().map(|m| m.split(':').next().unwrap()).collect();
        let expected =
            ["tiers.0.floor", "tiers.1.maintenance_rate", "tiers.2.deduction", "tiers.3.floor"];
        assert_eq!(paths, expected);
    }
}
