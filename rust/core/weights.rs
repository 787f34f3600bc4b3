//! Collateral weights: how much of an asset's value a ruleset lets an account count.
//!
//! Weights are marginal by slices of value: a slice between two floors counts at its own
//! weight, `sum(slice * weight)`. What a table says of debt stands in its first row.

use crate::columns::LIMIT;
use crate::names::Names;

/// One row of the `weights` frame.
#[derive(Clone, Debug)]
pub struct WeightRow {
    /// Name of the table that it belongs to.
    pub table: String,
    /// Value at which the slice begins, in the valuation asset.
    pub floor: f64,
    /// Fraction of value that counts towards the margin balance.
    pub maintenance_weight: f64,
    /// The same towards the initial balance.
    pub initial_weight: f64,
    /// What debt is multiplied by.
    pub liability_weight: f64,
    /// Maintenance requirement of debt, fraction of its value.
    pub borrow_maintenance_rate: f64,
    /// Initial requirement of debt, fraction of its value.
    pub borrow_initial_rate: f64,
}

/// One slice of value, and what the slices below it count.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slice {
    floor: f64,
    maintenance: Share,
    initial: Share,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Share {
    /// What all slices below count together.
    below: f64,
    weight: f64,
}

impl Share {
    fn next(self, width: f64, weight: f64) -> Self {
        Self { below: self.below + width * self.weight, weight }
    }

    #[inline]
    fn at(self, value_in_slice: f64) -> f64 {
        self.below + value_in_slice * self.weight
    }
}

/// Values of an asset that count along one straight line: `constant + slope * value` towards
/// the margin balance; of debt (values below 0), `borrow_rate * -value` towards maintenance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// The lowest value.
    pub begin: f64,
    /// The highest value, which belongs to the next stretch.
    pub end: f64,
    /// What 0 would count.
    pub constant: f64,
    /// What a unit more counts.
    pub slope: f64,
    /// What a unit of debt requires.
    pub borrow_rate: f64,
}

/// The slice of a table that begins at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct First {
    /// Where it ends.
    pub(crate) end: f64,
    /// Its weight towards the margin balance.
    pub(crate) maintenance: f64,
    /// Its weight towards the initial balance.
    pub(crate) initial: f64,
}

/// The weights of one asset.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightTable {
    slices: Vec<Slice>,
    /// What debt is multiplied by.
    pub liability_weight: f64,
    /// Maintenance requirement of debt, fraction of its value.
    pub borrow_maintenance_rate: f64,
    /// Initial requirement of debt, fraction of its value.
    pub borrow_initial_rate: f64,
}

impl WeightTable {
    /// The stretch of value numbered `index`, as a straight line towards the margin balance:
    /// 0 is debt, `k` the `k`-th slice.
    pub fn stretch(&self, index: usize) -> Stretch {
        let floor = |slice: usize| self.slices.get(slice).map_or(f64::INFINITY, |s| s.floor);
        match index.checked_sub(1) {
            None => Stretch {
                begin: f64::NEG_INFINITY,
                end: 0.0,
                constant: 0.0,
                slope: self.liability_weight,
                borrow_rate: self.borrow_maintenance_rate,
            },
            Some(slice) => {
                let Share { below, weight } = self.slices[slice].maintenance;
                Stretch {
                    begin: floor(slice),
                    end: floor(slice + 1),
                    constant: below - floor(slice) * weight,
                    slope: weight,
                    borrow_rate: 0.0,
                }
            }
        }
    }

    /// The slice that begins at 0.
    pub(crate) fn first(&self) -> First {
        let Slice { maintenance, initial, .. } = self.slices[0];
        let end = self.slices.get(1).map_or(f64::INFINITY, |slice| slice.floor);
        First { end, maintenance: maintenance.weight, initial: initial.weight }
    }

    /// The number of the stretch that a value falls in.
    pub fn stretch_at(&self, value: f64) -> usize {
        if value < 0.0 { 0 } else { 1 + self.slice_at(value) }
    }

    #[inline]
    fn slice_at(&self, value: f64) -> usize {
        self.slices[1..].partition_point(|slice| slice.floor <= value)
    }

    /// What a positive value counts: towards the margin balance, towards the initial balance.
    #[inline]
    pub fn weigh(&self, value: f64) -> (f64, f64) {
        let slice = self.slices[self.slice_at(value)];
        let inside = value - slice.floor;
        (slice.maintenance.at(inside), slice.initial.at(inside))
    }
}

/// All weight tables of a ruleset.
#[derive(Clone, Default)]
pub struct Weights {
    names: Names,
    tables: Vec<WeightTable>,
}

impl Weights {
    /// Builds the tables; on mistakes, one message for each, beginning with its path.
    pub fn try_new(rows: &[WeightRow]) -> Result<Self, Vec<String>> {
        let mut weights = Self::default();
        let mut mistakes = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let code = weights.names.add(&row.table) as usize;
            if code == weights.tables.len() {
                weights.tables.push(WeightTable {
                    slices: Vec::new(),
                    liability_weight: row.liability_weight,
                    borrow_maintenance_rate: row.borrow_maintenance_rate,
                    borrow_initial_rate: row.borrow_initial_rate,
                });
            }
            if let Err(mistake) = push(&mut weights.tables[code].slices, row) {
                mistakes.push(format!("weights.{i}.{mistake} (table {:?})", row.table));
            }
        }
        if mistakes.is_empty() { Ok(weights) } else { Err(mistakes) }
    }

    /// The code of the table with this name.
    pub fn code(&self, name: &str) -> Option<u32> {
        self.names.code(name)
    }

    /// Whether debt counts in full at least, in every table.
    pub(crate) fn lend_at_par(&self) -> bool {
        self.tables.iter().all(|table| table.liability_weight >= 1.0)
    }

    /// The table with this code.
    #[inline]
    pub fn table(&self, code: u32) -> &WeightTable {
        &self.tables[code as usize]
    }
}

fn push(slices: &mut Vec<Slice>, row: &WeightRow) -> Result<(), String> {
    for (name, rate) in [
        ("maintenance_weight", row.maintenance_weight),
        ("initial_weight", row.initial_weight),
        ("borrow_maintenance_rate", row.borrow_maintenance_rate),
        ("borrow_initial_rate", row.borrow_initial_rate),
    ] {
        if !(0.0..=1.0).contains(&rate) {
            return Err(format!("{name}: {rate} is not a fraction from 0 to 1"));
        }
    }
    if !(0.0..=LIMIT).contains(&row.liability_weight) {
        return Err(format!("liability_weight: {} is not from 0 to 1e18", row.liability_weight));
    }
    let slice = match slices.last() {
        _ if !(0.0..=LIMIT).contains(&row.floor) => {
            return Err(format!("floor: {} is not a number from 0 to 1e18", row.floor));
        }
        None if row.floor != 0.0 => {
            return Err(format!("floor: {} is the table's first and must be 0", row.floor));
        }
        Some(last) if row.floor <= last.floor => {
            let last = last.floor;
            return Err(format!("floor: {} does not rise above {last}, the one before", row.floor));
        }
        None => Slice {
            floor: 0.0,
            maintenance: Share { below: 0.0, weight: row.maintenance_weight },
            initial: Share { below: 0.0, weight: row.initial_weight },
        },
        Some(last) => {
            let width = row.floor - last.floor;
            Slice {
                floor: row.floor,
                maintenance: last.maintenance.next(width, row.maintenance_weight),
                initial: last.initial.next(width, row.initial_weight),
            }
        }
    };
    slices.push(slice);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(floor: f64, weight: f64) -> WeightRow {
        WeightRow {
            table: "BTC".to_owned(),
            floor,
            maintenance_weight: weight,
            initial_weight: weight / 2.0,
            liability_weight: 1.1,
            borrow_maintenance_rate: 0.1,
            borrow_initial_rate: 0.2,
        }
    }

    #[test]
    fn debt_counts_in_full_where_every_table_says_so() {
        let of = |weights: [f64; 2]| {
            let rows = [("A", weights[0]), ("B", weights[1])].map(|(table, liability_weight)| {
                WeightRow { table: table.to_owned(), liability_weight, ..row(0.0, 1.0) }
            });
            Weights::try_new(&rows).unwrap().lend_at_par()
        };
        assert!(of([1.0, 1.2]));
        assert!(!of([1.0, 0.9]) && !of([0.9, 1.0]));
    }

    #[test]
    fn slices_count_at_their_own_weight() {
        let weights = Weights::try_new(&[row(0.0, 1.0), row(100.0, 0.5), row(200.0, 0.0)]).unwrap();
        let table = weights.table(weights.code("BTC").unwrap());
        assert_eq!(table.weigh(50.0), (50.0, 25.0));
        assert_eq!(table.weigh(150.0), (100.0 + 25.0, 50.0 + 12.5));
        assert_eq!(table.weigh(1000.0), (150.0, 75.0));
    }

    #[test]
    fn a_table_starts_at_zero_and_rises() {
        let mistakes = Weights::try_new(&[row(5.0, 1.0), row(0.0, 2.0)]).err().unwrap();
        assert!(mistakes[0].starts_with("weights.0.floor: 5"));
        assert!(mistakes[1].starts_with("weights.1.maintenance_weight: 2"));
    }
}
