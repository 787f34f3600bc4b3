//! `margrave._core`: one thin function per operation over `margrave_core`.

mod arrow;
mod breach;
mod decimals;
mod errors;
mod inputs;
mod outputs;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use margrave_core::exact::ExactSum;
use margrave_core::keys::NONE;
use margrave_core::labels::Labels;
use margrave_core::results::MarginColumns;
use margrave_core::scenarios::Scenario;
use margrave_core::{batch, book, control, digest, market, rules, stress, sweep};
use pyo3::prelude::*;

use crate::arrow::{Foreign, Frame, Table};
use crate::errors::{Refused, detached, unread};
use crate::inputs::Ranges;

/// Keeps the memory of a book's blocks for the next book: fresh pages cost more than the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Who holds what.
#[pyclass(frozen, module = "margrave._core")]
struct Book {
    book: book::Book,
    /// Names of its own buckets, which any sweep that does not cut them shares.
    labels: OnceLock<Labels>,
}

#[pymethods]
impl Book {
    /// Number of accounts.
    #[getter]
    fn accounts(&self) -> usize {
        self.book.accounts()
    }

    /// The id of each account, where ids are integers.
    fn account_ids(&self) -> PyResult<Option<Table>> {
        let ids = self.book.account_ids.as_ref().map(Arc::clone);
        ids.map(|ids| Table::new(vec![("account_id", outputs::integers(ids))])).transpose()
    }

    /// Where each account appears first: frame (0 positions, 1 balances, 2 accounts) and row;
    /// and its row of the accounts frame, or null.
    fn account_rows(&self) -> PyResult<Table> {
        let (frames, rows) = self.book.first.iter().copied().unzip();
        let mut listed = self.book.account_row.clone();
        listed.resize(self.book.accounts(), NONE); // empty without an accounts frame
        Table::new(vec![
            ("frame", outputs::codes(frames)),
            ("row", outputs::codes(rows)),
            ("account_row", outputs::codes(listed)),
        ])
    }

    /// Bad rows: frame, row, column, reason.
    fn faults(&self) -> PyResult<Table> {
        outputs::faults(&self.book.faults)
    }
}

/// What it is worth.
#[pyclass(frozen, module = "margrave._core")]
struct Market(market::Market);

#[pymethods]
impl Market {
    /// The market moved by these factors, after whatever moved it before.
    fn shocked(&self, factors: BTreeMap<String, f64>) -> Self {
        Self(self.0.shocked(factors))
    }
}

/// What must be held.
#[pyclass(frozen, module = "margrave._core")]
struct Rules(rules::Rules);

/// The margin of every account.
#[pyclass(frozen, module = "margrave._core")]
struct Sweep {
    sweep: sweep::Sweep,
    book: Py<Book>,
    rules: Py<Rules>,
    accounts: Py<Table>,
    /// Names of the buckets, where the ruleset cuts its own.
    labels: OnceLock<Labels>,
}

impl Sweep {
    fn labels(&self) -> &Labels {
        let book = self.book.get();
        let place = if self.sweep.blocks.is_some() { &self.labels } else { &book.labels };
        let blocks = self.sweep.blocks(&book.book);
        place.get_or_init(|| Labels::build(&book.book, blocks, &self.sweep.marks))
    }
}

/// Builds a book. Accounts with a bad row are indeterminate; `Book.faults` has the rows.
#[pyfunction]
fn build_book(
    py: Python<'_>,
    positions: Foreign,
    balances: Foreign,
    accounts: Option<Foreign>,
    instruments: Frame,
    ranges: Ranges,
    threads: Option<usize>,
) -> PyResult<Book> {
    let threads = batch::threads(threads);
    let book = detached(py, || -> PyResult<book::Book> {
        let (positions, balances) = (positions.frame(threads)?, balances.frame(threads)?);
        let accounts = accounts.map(|accounts| accounts.frame(threads)).transpose()?;
        let input = inputs::book(&positions, &balances, accounts.as_ref(), &instruments, &ranges)?;
        Ok(book::Book::build(input, threads).map_err(Refused)?)
    })?;
    Ok(Book { book: book?, labels: OnceLock::new() })
}

/// Builds a market, or returns its bad rows.
#[pyfunction]
fn build_market(
    py: Python<'_>,
    instruments: Frame,
    assets: Frame,
    ranges: Ranges,
) -> PyResult<(Option<Market>, Table)> {
    let instruments = inputs::instruments(&instruments, &ranges)?;
    let assets = inputs::assets(&assets, &ranges)?;
    match detached(py, || market::Market::build(&instruments, &assets))? {
        Ok(market) => Ok((Some(Market(market)), outputs::faults(&[])?)),
        Err(faults) => Ok((None, outputs::faults(&faults)?)),
    }
}

/// Builds a ruleset from its conventions (words by key, rungs by name) and its tables.
#[pyfunction]
fn build_rules(
    tiers: Frame,
    weights: Frame,
    valuation_asset: String,
    words: HashMap<String, String>,
    profit_weight: f64,
    level: f64,
    ladder: Vec<(String, f64)>,
) -> PyResult<Rules> {
    let conventions = inputs::conventions(valuation_asset, words, profit_weight, level, ladder)
        .map_err(Refused)?;
    let (tiers, weights) = (inputs::tiers(&tiers)?, inputs::weights(&weights)?);
    Ok(Rules(rules::Rules::try_new(conventions, &tiers, &weights).map_err(Refused)?))
}

/// Sweeps a book. Without `quarantine`, rows that cannot be priced end it: see `Sweep.faults`.
#[pyfunction]
fn run_sweep(
    py: Python<'_>,
    book: Py<Book>,
    market: Py<Market>,
    rules: Py<Rules>,
    quarantine: bool,
    threads: Option<usize>,
) -> PyResult<Sweep> {
    let (b, m, r) = (&book.get().book, &market.get().0, &rules.get().0);
    let threads = batch::threads(threads);
    let run = || sweep::Sweep::run(b, m, r, quarantine, threads);
    let sweep = detached(py, run)?.map_err(Refused)?;
    shown(py, sweep, book, rules, threads)
}

/// A sweep whose columns are Python's.
fn shown(
    py: Python<'_>,
    mut sweep: sweep::Sweep,
    book: Py<Book>,
    rules: Py<Rules>,
    threads: usize,
) -> PyResult<Sweep> {
    let ladder = &rules.get().0.conventions.ladder;
    let accounts = std::mem::replace(&mut sweep.accounts, MarginColumns::new(0, false));
    let accounts = Table::of_fields(outputs::margins(accounts, ladder, threads).into_iter());
    let accounts = Py::new(py, accounts?)?;
    Ok(Sweep { sweep, book, rules, accounts, labels: OnceLock::new() })
}

/// Puts a book through scenarios, each a name and the moves of its factors. Returns the sweep of
/// the market as given; a row per scenario, and its money without rounding (`Sweep.sums`); a row
/// per account. Without `quarantine`, rows that cannot be priced end it: see `Sweep.faults`.
#[pyfunction]
fn run_stress(
    py: Python<'_>,
    book: Py<Book>,
    market: Py<Market>,
    rules: Py<Rules>,
    scenarios: Vec<(String, BTreeMap<String, f64>)>,
    quarantine: bool,
    threads: Option<usize>,
) -> PyResult<(Sweep, Table, Vec<[outputs::Units; 3]>, Table)> {
    let (b, m, r) = (&book.get().book, &market.get().0, &rules.get().0);
    let threads = batch::threads(threads);
    let named = scenarios.into_iter().map(|(name, factors)| Scenario { name, factors });
    let scenarios: Vec<Scenario> = named.collect();
    let run = || {
        let base = sweep::Sweep::run(b, m, r, quarantine, threads)?;
        let is_refused = !quarantine && !base.faults.is_empty();
        let asked = if is_refused { &[] } else { &*scenarios };
        let stress = stress::Stress::run(b, m, r, &base, asked, threads)?;
        Ok((base, stress))
    };
    let (base, stress) = detached(py, run)?.map_err(Refused)?;
    let outcomes = outputs::outcomes(&stress.outcomes)?;
    let sums = outputs::outcome_sums(&stress.outcomes);
    let names: Vec<String> = scenarios.into_iter().map(|scenario| scenario.name).collect();
    let worst = outputs::worst(stress.worst, &names, threads)?;
    Ok((shown(py, base, book, rules, threads)?, outcomes, sums, worst))
}

#[pymethods]
impl Sweep {
    /// Rows refused by this sweep: frame, row, column, reason.
    fn faults(&self) -> PyResult<Table> {
        outputs::faults(&self.sweep.faults)
    }

    /// One row per account, without ids.
    fn accounts(&self, py: Python<'_>) -> Py<Table> {
        self.accounts.clone_ref(py)
    }

    /// Counts by status, sums of money, liquidatable accounts, their notional, the deficit.
    fn totals(&self) -> ([u64; 6], [f64; 12], u64, f64, f64) {
        let totals = &self.sweep.totals;
        (
            totals.by_status,
            totals.money,
            totals.liquidatable_accounts,
            totals.liquidatable_notional,
            totals.total_margin_deficit,
        )
    }

    /// The sums of `totals` without rounding: money, liquidatable notional, the deficit. Each is
    /// a signed integer of units of 2^-1074, lowest byte first.
    fn sums(&self) -> Vec<outputs::Units> {
        self.sweep.sums.iter().map(ExactSum::units).collect()
    }

    /// Control totals: rows of positions and of balances (all, used, set aside, of nobody),
    /// accounts and indeterminate ones, sums of quantity by instrument and of amount by asset.
    ///
    /// Raises `InternalError` where what came in is not what was swept and what was set aside.
    fn control(&self, py: Python<'_>, threads: Option<usize>) -> PyResult<outputs::Control> {
        let book = &self.book.get().book;
        let threads = batch::threads(threads);
        let proved = detached(py, || control::Control::prove(book, &self.sweep, threads))?;
        Ok(outputs::control(&proved.map_err(Refused)?))
    }

    /// One row per bucket: number of the account, name of the bucket, its margin.
    fn buckets(&self, py: Python<'_>, threads: Option<usize>) -> PyResult<Table> {
        let (book, rules) = (self.book.get(), &self.rules.get().0);
        let threads = batch::threads(threads);
        let buckets = detached(py, || self.sweep.buckets(&book.book, rules, threads))?;
        let labels = self.labels();
        let codes: Vec<u32> = buckets.bucket.iter().map(|b| labels.codes[*b as usize]).collect();
        let own = vec![
            outputs::named("account", outputs::codes(buckets.account)),
            outputs::named("bucket_id", outputs::texts(labels.names.texts(), &codes, threads)),
        ];
        let margins = outputs::margins(buckets.margins, &rules.conventions.ladder, threads);
        Table::of_fields(own.into_iter().chain(margins))
    }

    /// One row per input position, without what the input holds already.
    fn positions(&self, py: Python<'_>, threads: Option<usize>) -> PyResult<Table> {
        let (book, rules) = (self.book.get(), &self.rules.get().0);
        let threads = batch::threads(threads);
        detached(py, || {
            let rows = self.sweep.positions(&book.book, rules, threads);
            outputs::positions(rows, self.labels(), threads)
        })?
    }
}

/// Gives memory that is kept for the next call back to the system; returns its bytes.
#[pyfunction]
fn release_memory() -> usize {
    margrave_core::memory::release()
}

/// Allows a quarter of `free` bytes and of those kept already to be kept for the next call, 512 MiB
/// at least.
#[pyfunction]
fn keep_memory(free: usize) {
    margrave_core::memory::keep(free);
}

/// BLAKE3 over named frames, all together and each alone: 64 hex digits each. The order is that
/// of `margrave_core::digest`.
#[pyfunction]
#[pyo3(name = "digest")]
fn digest_frames(py: Python<'_>, frames: Vec<(String, Frame)>) -> PyResult<(String, Vec<String>)> {
    detached(py, || {
        let mut digest = digest::Digest::default();
        for (name, frame) in &frames {
            arrow::digest(&mut digest, name, frame)?;
        }
        Ok(digest.finish())
    })?
}

/// The shard of each id of a frame of one column of texts; 0 for null.
#[pyfunction]
fn shards_of(py: Python<'_>, ids: Frame, shards: u32) -> PyResult<Table> {
    let ids = ids.ids("account_id")?;
    let numbers = detached(py, || margrave_core::shards::of(&ids, shards))?;
    Table::new(vec![("shard", outputs::codes(numbers))])
}

/// Bytes of a file, how many and their BLAKE3. Raises `OSError`, which names the file.
#[pyfunction]
fn digest_file(py: Python<'_>, path: PathBuf) -> PyResult<(u64, String)> {
    detached(py, || digest::file(&path))?.map_err(|error| unread(&error, &path))
}

/// The number of threads that calls use where none is asked for.
#[pyfunction]
fn cores() -> usize {
    batch::threads(None)
}

/// The columns of a synthetic exchange, by frame.
#[pyfunction]
fn synthetic(py: Python<'_>, accounts: usize, seed: u64) -> PyResult<HashMap<&'static str, Table>> {
    let night = detached(py, || margrave_core::synthetic::exchange(accounts, seed))?;
    Ok(outputs::synthetic(night)?.into_iter().collect())
}

/// The compiled core of Margrave.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::{
        Book, Market, Rules, Sweep, Table, build_book, build_market, build_rules, cores,
        digest_file, digest_frames, keep_memory, release_memory, run_stress, run_sweep, shards_of,
        synthetic,
    };

    #[pymodule_export]
    use crate::arrow::read_stream;

    #[pymodule_export]
    use crate::breach::{run_breach, run_reverse_stress};

    #[pymodule_export]
    use crate::errors::progress;

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    const NUMERICS: u32 = margrave_core::NUMERICS;
}
