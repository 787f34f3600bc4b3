//! From frames to the core's inputs: which column is which.

use std::collections::HashMap;

use margrave_core::book::{Balances, BookInput, Positions};
use margrave_core::columns::{Numbers, Range};
use margrave_core::conventions::{Conventions, Rung};
use margrave_core::market::{Assets, Instruments, Kind};
use margrave_core::tiers::TierRow;
use margrave_core::weights::WeightRow;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;

use crate::arrow::Frame;

/// Range of every number column by `frame.column`, from the schema.
pub(crate) struct Ranges(HashMap<String, Range>);

impl<'py> FromPyObject<'_, 'py> for Ranges {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let words: HashMap<String, String> = object.extract()?;
        let range = |(column, word): (String, String)| match Range::from_word(&word) {
            Some(range) => Ok((column, range)),
            None => Err(PyTypeError::new_err(format!("{column}: no range {word}"))),
        };
        words.into_iter().map(range).collect::<PyResult<_>>().map(Self)
    }
}

impl Ranges {
    fn of(&self, column: &str) -> PyResult<Range> {
        self.0.get(column).copied().ok_or_else(|| PyKeyError::new_err(column.to_owned()))
    }

    fn numbers(&self, table: &str, frame: &Frame, name: &'static str) -> PyResult<Option<Numbers>> {
        frame.numbers(name, self.of(&format!("{table}.{name}"))?)
    }

    fn required(&self, table: &str, frame: &Frame, name: &'static str) -> PyResult<Numbers> {
        let lacking = || PyTypeError::new_err(format!("no column {table}.{name}"));
        self.numbers(table, frame, name)?.ok_or_else(lacking)
    }

    fn optional(
        &self,
        table: &str,
        frame: &Frame,
        name: &'static str,
    ) -> PyResult<Option<Numbers>> {
        Ok(self.numbers(table, frame, name)?.map(Numbers::optional))
    }
}

pub(crate) fn book(
    positions: &Frame,
    balances: &Frame,
    accounts: Option<&Frame>,
    instruments: &Frame,
    ranges: &Ranges,
) -> PyResult<BookInput> {
    let optional = |name| ranges.optional("positions", positions, name);
    Ok(BookInput {
        positions: Positions {
            account: positions.ids("account_id")?,
            instrument: positions.ids("instrument_id")?,
            quantity: ranges.required("positions", positions, "quantity")?,
            entry_price: ranges.required("positions", positions, "entry_price")?,
            isolated: positions.codes("margin_mode")?,
            isolated_margin: optional("isolated_margin")?,
            leverage: optional("leverage")?,
            tier_table: positions.optional_ids("tier_table")?,
            open_buy: optional("open_buy_quantity")?,
            open_sell: optional("open_sell_quantity")?,
        },
        balances: Balances {
            account: balances.ids("account_id")?,
            asset: balances.ids("asset_id")?,
            amount: ranges.required("balances", balances, "amount")?,
        },
        accounts: accounts.map(|frame| frame.ids("account_id")).transpose()?,
        instruments: instruments.ids("instrument_id")?,
    })
}

/// Number columns of `instruments` that enter no figure yet and are checked all the same.
const OTHERS: [&str; 3] = ["open_interest", "strike", "mark_iv"];

pub(crate) fn instruments(frame: &Frame, ranges: &Ranges) -> PyResult<Instruments> {
    let optional = |name| ranges.optional("instruments", frame, name);
    let others = OTHERS.into_iter().map(optional);
    let kind = frame.codes("kind")?;
    let kind = kind.ok_or_else(|| PyTypeError::new_err("no column instruments.kind"))?;
    Ok(Instruments {
        instrument: frame.ids("instrument_id")?,
        kind: kind.iter().map(|code| kind_of(*code)).collect::<PyResult<_>>()?,
        settle_asset: frame.ids("settle_asset")?,
        mark_price: ranges.required("instruments", frame, "mark_price")?,
        contract_size: ranges.required("instruments", frame, "contract_size")?,
        base_asset: frame.optional_ids("base_asset")?,
        tier_table: frame.optional_ids("tier_table")?,
        close_fee_rate: optional("close_fee_rate")?,
        quanto_multiplier: optional("quanto_multiplier")?,
        underlying_price: optional("underlying_price")?,
        others: others.collect::<PyResult<Vec<_>>>()?.into_iter().flatten().collect(),
    })
}

fn kind_of(code: u8) -> PyResult<Kind> {
    let unknown = || PyTypeError::new_err(format!("instruments.kind: no kind {code}"));
    Kind::ALL.get(usize::from(code)).copied().ok_or_else(unknown)
}

pub(crate) fn assets(frame: &Frame, ranges: &Ranges) -> PyResult<Assets> {
    Ok(Assets {
        asset: frame.ids("asset_id")?,
        price: ranges.required("assets", frame, "price")?,
        weight_table: frame.optional_ids("weight_table")?,
        is_stable: frame.flags("is_stable")?,
    })
}

/// The conventions of a ruleset: the valuation asset, words by key, and rungs by name, the worst
/// last.
pub(crate) fn conventions(
    valuation_asset: String,
    words: HashMap<String, String>,
    profit_weight: f64,
    level: f64,
    ladder: Vec<(String, f64)>,
) -> margrave_core::error::Result<Conventions> {
    let rung = |(name, margin_level_below)| Rung { name, margin_level_below };
    let ladder = ladder.into_iter().map(rung).collect();
    let given =
        Conventions { valuation_asset, profit_weight, level, ladder, ..Conventions::default() };
    let mut conventions = given;
    for (key, word) in words {
        conventions.set(&key, &word)?;
    }
    Ok(conventions)
}

pub(crate) fn tiers(frame: &Frame) -> PyResult<Vec<TierRow>> {
    let table = frame.ids("tier_table")?;
    let floor = plain(frame, "floor")?;
    let maintenance = plain(frame, "maintenance_rate")?;
    let initial = plain(frame, "initial_rate")?;
    let deduction = frame.numbers("deduction", Range::Any)?;
    let row = |i: usize| TierRow {
        table: table.text(i).unwrap_or_default(),
        floor: value(&floor, i),
        maintenance_rate: value(&maintenance, i),
        initial_rate: value(&initial, i),
        deduction: deduction.as_ref().and_then(|deduction| deduction.get(i)),
    };
    Ok((0..frame.rows()).map(row).collect())
}

pub(crate) fn weights(frame: &Frame) -> PyResult<Vec<WeightRow>> {
    let table = frame.ids("weight_table")?;
    let floor = plain(frame, "floor")?;
    let maintenance = plain(frame, "maintenance_weight")?;
    let initial = plain(frame, "initial_weight")?;
    let liability = plain(frame, "liability_weight")?;
    let borrow_maintenance = plain(frame, "borrow_maintenance_rate")?;
    let borrow_initial = plain(frame, "borrow_initial_rate")?;
    let row = |i: usize| WeightRow {
        table: table.text(i).unwrap_or_default(),
        floor: value(&floor, i),
        maintenance_weight: value(&maintenance, i),
        initial_weight: value(&initial, i),
        liability_weight: value(&liability, i),
        borrow_maintenance_rate: value(&borrow_maintenance, i),
        borrow_initial_rate: value(&borrow_initial, i),
    };
    Ok((0..frame.rows()).map(row).collect())
}

/// A column of a rules table: the core checks the values themselves.
fn plain(frame: &Frame, name: &'static str) -> PyResult<Numbers> {
    let lacking = || PyTypeError::new_err(format!("no column {name}"));
    frame.numbers(name, Range::Any)?.ok_or_else(lacking)
}

/// The value of a row; NaN, which no range admits, where it is null.
fn value(numbers: &Numbers, row: usize) -> f64 {
    numbers.get(row).unwrap_or(f64::NAN)
}
