//! Breaches and reverse stresses: how far accounts and the exchange are from their lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::Float64Array;
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use margrave_core::breach::{self, Breaches, PRICE_KIND, PriceKind};
use margrave_core::reverse::{self, Target};
use margrave_core::{batch, sweep};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arrow::{Table, adopted};
use crate::errors::{Refused, detached};
use crate::outputs::{named, words};
use crate::{Book, Market, Rules, Sweep, shown};

/// A direction as Python gives it: a word, or betas by factor.
#[derive(FromPyObject)]
pub(crate) enum Direction {
    Word(String),
    Betas(BTreeMap<String, f64>),
}

impl Direction {
    fn named(self) -> PyResult<breach::Direction> {
        match self {
            Self::Betas(betas) => Ok(breach::Direction::Factors(betas)),
            Self::Word(word) => match word.as_str() {
                "down" => Ok(breach::Direction::Down),
                "up" => Ok(breach::Direction::Up),
                "adverse" => Ok(breach::Direction::Adverse),
                _ => Err(PyValueError::new_err(format!("direction: {word:?} is none"))),
            },
        }
    }
}

/// How far every account is from its trigger. Returns the sweep of the market as given, and a
/// row per account. Without `quarantine`, rows that cannot be priced end it: see `Sweep.faults`.
#[pyfunction]
pub(crate) fn run_breach(
    py: Python<'_>,
    book: Py<Book>,
    market: Py<Market>,
    rules: Py<Rules>,
    direction: Direction,
    quarantine: bool,
    threads: Option<usize>,
) -> PyResult<(Sweep, Table)> {
    let (b, m, r) = (&book.get().book, &market.get().0, &rules.get().0);
    let (threads, direction) = (batch::threads(threads), direction.named()?);
    let run = || {
        let base = sweep::Sweep::run(b, m, r, quarantine, threads)?;
        let breaches = match !quarantine && !base.faults.is_empty() {
            true => Breaches::none(),
            false => breach::breach(b, m, r, &base, &direction, threads)?,
        };
        Ok((base, breaches))
    };
    let (base, breaches) = detached(py, run)?.map_err(Refused)?;
    Ok((shown(py, base, book, rules, threads)?, breaches_table(breaches)?))
}

/// A shock, and bad debt, notional past the line and accounts past it there.
type Reached = (f64, f64, f64, u64);

/// The least move at which bad debt (`by_debt`) or the notional of accounts past the line
/// reaches `amount`. Returns the sweep of the market as given, and, where it is reached, the
/// shock, and bad debt, that notional and these accounts at it.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn run_reverse_stress(
    py: Python<'_>,
    book: Py<Book>,
    market: Py<Market>,
    rules: Py<Rules>,
    direction: Direction,
    by_debt: bool,
    amount: f64,
    quarantine: bool,
    threads: Option<usize>,
) -> PyResult<(Sweep, Option<Reached>)> {
    let (b, m, r) = (&book.get().book, &market.get().0, &rules.get().0);
    let (threads, direction) = (batch::threads(threads), direction.named()?);
    let target = match by_debt {
        true => Target::BadDebt(amount),
        false => Target::LiquidatableNotional(amount),
    };
    let run = || {
        let base = sweep::Sweep::run(b, m, r, quarantine, threads)?;
        let reached = match !quarantine && !base.faults.is_empty() {
            true => None,
            false => reverse::reverse_stress(b, m, r, &base, &direction, target, threads)?,
        };
        Ok((base, reached))
    };
    let (base, reached) = detached(py, run)?.map_err(Refused)?;
    let figures = reached
        .map(|at| (at.shock, at.bad_debt, at.liquidatable_notional, at.liquidatable_accounts));
    Ok((shown(py, base, book, rules, threads)?, figures))
}

/// Shock and kind of every account.
fn breaches_table(breaches: Breaches) -> PyResult<Table> {
    let Breaches { shock, kind, indeterminate } = breaches;
    let nulls = |is_given: &dyn Fn(usize) -> bool| {
        let nulls = NullBuffer::new(BooleanBuffer::collect_bool(kind.len(), is_given));
        (nulls.null_count() > 0).then_some(nulls)
    };
    let roots = nulls(&|row| !indeterminate[row] && kind[row] == PriceKind::Root as u8);
    let known = nulls(&|row| !indeterminate[row]);
    let shocks = Float64Array::new(ScalarBuffer::from(adopted(shock)), roots);
    let columns = [
        named("breach_shock", Arc::new(shocks)),
        words("breach_kind", adopted(kind), known, &PRICE_KIND),
    ];
    Table::of_fields(columns.into_iter())
}
