//! From the core's results to frames.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{
    Array, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, StringViewArray,
    UInt8Array, UInt16Array, UInt32Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::Field;
use margrave_core::batch;
use margrave_core::bits::Bits;
use margrave_core::columns::Fault;
use margrave_core::control::{self, Rows};
use margrave_core::conventions::Rung;
use margrave_core::exact::ExactSum;
use margrave_core::keys::NONE;
use margrave_core::labels::Labels;
use margrave_core::margin::STATUS;
use margrave_core::memory;
use margrave_core::names::Names;
use margrave_core::positions::{PRICE_KIND, PositionColumns};
use margrave_core::results::{Applies, MONEY, MarginColumns, RATIOS, applies};
use margrave_core::stress::{Outcome, Worst};
use margrave_core::synthetic::Exchange;
use pyo3::prelude::*;

use crate::arrow::{Table, adopted, shared, viewed};

/// Words as Polars keeps an Enum: the field that says so, and codes into the words.
pub(crate) fn words(name: &str, codes: Buffer, nulls: Option<NullBuffer>, words: &[&str]) -> Named {
    let keys = UInt8Array::new(ScalarBuffer::from(codes), nulls);
    let texts = Arc::new(StringViewArray::from_iter_values(words));
    let listed: String = words.iter().map(|word| format!("{};{word}", word.len())).collect();
    let column = DictionaryArray::new(keys, texts);
    #[allow(deprecated)] // the order of the words is told by nothing else
    let field = Field::new_dict(name, column.data_type().clone(), true, 0, true);
    let told = HashMap::from([("_PL_ENUM_VALUES2".to_owned(), listed)]);
    (field.with_metadata(told), Arc::new(column))
}

fn numbers(values: memory::Buffer<f64>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(Float64Array::new(ScalarBuffer::from(adopted(values)), nulls))
}

/// Bits as Arrow has them, one a row.
fn flags(bits: Bits) -> BooleanBuffer {
    let rows = bits.len();
    match bits.into_words() {
        Some(words) => BooleanBuffer::new(Buffer::from(words), 0, rows),
        None => BooleanBuffer::new_set(rows),
    }
}

/// The same as validity; None where all are set.
fn validity(bits: Bits) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(flags(bits));
    (nulls.null_count() > 0).then_some(nulls)
}

/// A column with its name and type.
pub(crate) type Named = (Field, ArrayRef);

/// A column that says no more than its name and type.
pub(crate) fn named(name: &str, column: ArrayRef) -> Named {
    (Field::new(name, column.data_type().clone(), true), column)
}

/// The columns of accounts or buckets, in the order of the contract.
pub(crate) fn margins(margins: MarginColumns, ladder: &[Rung], threads: usize) -> Vec<Named> {
    let rows = margins.len();
    let [determinate, with_notional, with_equity, is_liquidatable] = margins.bits(threads);
    let [determinate, with_notional, with_equity] =
        [determinate, with_notional, with_equity].map(validity);
    let flags = flags(is_liquidatable);
    let mut columns: Vec<Named> = vec![
        words("status", adopted(margins.status), None, &STATUS),
        named("is_liquidatable", Arc::new(BooleanArray::new(flags, determinate.clone()))),
    ];
    let names = MONEY.into_iter().chain(RATIOS);
    for (index, (name, values)) in names.zip(margins.numbers).enumerate() {
        let nulls = match applies(index) {
            Applies::Determinate => &determinate,
            Applies::WithNotional => &with_notional,
            Applies::WithEquity => &with_equity,
        };
        columns.push(named(name, numbers(values, nulls.clone())));
    }
    let positions = ScalarBuffer::from(adopted(margins.positions));
    columns.push(named("positions", Arc::new(Int64Array::new(positions, determinate))));
    if ladder.is_empty() {
        let none = StringViewArray::new_null(0);
        let untouched = ScalarBuffer::from(adopted(memory::Buffer::<u128>::zeroed(rows)));
        let nulls = Some(NullBuffer::new_null(rows));
        columns.push(named("ladder", Arc::new(viewed(untouched, &none, nulls))));
    } else {
        let mut names = Names::default();
        let codes: Vec<u32> = ladder.iter().map(|rung| names.add(&rung.name)).collect();
        let code = |rung: &u32| codes.get(*rung as usize).copied().unwrap_or(NONE);
        let rungs: Vec<u32> = margins.ladder.iter().map(code).collect();
        columns.push(named("ladder", texts(names.texts(), &rungs, threads)));
    }
    columns
}

/// A column of integers that others read too.
pub(crate) fn integers(values: Arc<memory::Buffer<i64>>) -> ArrayRef {
    Arc::new(Int64Array::new(ScalarBuffer::from(shared(values)), None))
}

/// A column of codes, null where there is none.
pub(crate) fn codes(values: Vec<u32>) -> ArrayRef {
    let nulls = given(&values);
    Arc::new(UInt32Array::new(ScalarBuffer::from(values), nulls))
}

/// A column of texts, each looked up by its code; null where there is none.
pub(crate) fn texts(texts: &[String], codes: &[u32], threads: usize) -> ArrayRef {
    viewed_by(texts, codes, |code| code, given(codes), threads)
}

/// Which rows have a code; None where all have.
fn given(codes: &[u32]) -> Option<NullBuffer> {
    let given = BooleanBuffer::collect_bool(codes.len(), |row| codes[row] != NONE);
    Some(NullBuffer::new(given)).filter(|given| given.null_count() > 0)
}

/// One row per scenario, without its name.
pub(crate) fn outcomes(outcomes: &[Outcome]) -> PyResult<Table> {
    let count = |of: fn(&Outcome) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(outcomes.iter().map(|row| of(row) as i64)))
    };
    let money = |of: fn(&Outcome) -> &ExactSum| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(outcomes.iter().map(|row| of(row).round())))
    };
    Table::new(vec![
        ("liquidatable_accounts", count(|row| row.liquidatable_accounts)),
        ("newly_liquidatable_accounts", count(|row| row.newly_liquidatable_accounts)),
        ("bankrupt_accounts", count(|row| row.bankrupt_accounts)),
        ("liquidatable_notional", money(|row| &row.liquidatable_notional)),
        ("total_bad_debt", money(|row| &row.total_bad_debt)),
        ("total_margin_deficit", money(|row| &row.total_margin_deficit)),
    ])
}

/// The exact sums behind `outcomes`: of each row those of its money, in order.
pub(crate) fn outcome_sums(outcomes: &[Outcome]) -> Vec<[Units; 3]> {
    let of = |row: &Outcome| {
        [&row.liquidatable_notional, &row.total_bad_debt, &row.total_margin_deficit]
            .map(ExactSum::units)
    };
    outcomes.iter().map(of).collect()
}

/// One row per account: its worst scenario, how it stands in it, and in how many it is past the
/// line. `names` are those of the scenarios.
pub(crate) fn worst(worst: Worst, names: &[String], threads: usize) -> PyResult<Table> {
    let scenario = texts(names, &worst.scenario, threads);
    let known = scenario.nulls().cloned();
    let past = ScalarBuffer::from(adopted(worst.liquidatable));
    let columns = [
        named("worst_scenario", scenario),
        named("margin_buffer", numbers(worst.margin_buffer, known.clone())),
        words("status", adopted(worst.status), None, &STATUS),
        named("bad_debt", numbers(worst.bad_debt, known.clone())),
        named("scenarios_liquidatable", Arc::new(Int64Array::new(past, known))),
    ];
    Table::of_fields(columns.into_iter())
}

/// Bad rows: frame, column, row, reason.
pub(crate) fn faults(faults: &[Fault]) -> PyResult<Table> {
    let column = |text: fn(&Fault) -> &'static str| -> ArrayRef {
        let mut builder = StringViewBuilder::new().with_deduplicate_strings();
        faults.iter().for_each(|fault| builder.append_value(text(fault)));
        Arc::new(builder.finish())
    };
    let rows: Int64Array = faults.iter().map(|fault| Some(i64::from(fault.row))).collect();
    Table::new(vec![
        ("frame", column(|fault| fault.frame)),
        ("row", Arc::new(rows)),
        ("column", column(|fault| fault.column)),
        ("reason", column(|fault| fault.reason.text())),
    ])
}

type Counts = [u64; 4];
/// An exact sum in units of 2^-1074: a signed integer, lowest byte first.
pub(crate) type Units = Vec<u8>;
type Sums = Vec<(Option<String>, Units, Units, Units)>;
/// Rows of positions and of balances, accounts and indeterminate ones, sums by instrument and
/// by asset.
pub(crate) type Control = (Counts, Counts, u64, u64, Sums, Sums);

/// Control totals as plain values.
pub(crate) fn control(control: &margrave_core::control::Control) -> Control {
    let counts = |rows: Rows| [rows.rows, rows.used, rows.set_aside, rows.without_account];
    let sums = |sums: &[control::Sums]| {
        sums.iter()
            .map(|s| (s.name.clone(), s.input.units(), s.used.units(), s.set_aside.units()))
            .collect()
    };
    (
        counts(control.positions),
        counts(control.balances),
        control.accounts,
        control.indeterminate_accounts,
        sums(&control.quantity),
        sums(&control.amount),
    )
}

/// What a sweep says of each input position.
pub(crate) fn positions(rows: PositionColumns, labels: &Labels, threads: usize) -> PyResult<Table> {
    let known = validity(rows.is_known);
    let label = |bucket: u32| labels.codes[bucket as usize];
    let names = viewed_by(labels.names.texts(), &rows.bucket, label, known.clone(), threads);
    let tier = Int64Array::new(ScalarBuffer::from(adopted(rows.tier)), known.clone());
    let kind = words("liquidation_price_kind", adopted(rows.kind), known.clone(), &PRICE_KIND);
    let columns = [
        named("bucket_id", names),
        named("mark_price", numbers(rows.mark_price, validity(rows.is_marked))),
        named("notional", numbers(rows.notional, known.clone())),
        named("unrealized_pnl", numbers(rows.unrealized_pnl, known.clone())),
        named("tier", Arc::new(tier)),
        named("maintenance_margin", numbers(rows.maintenance_margin, known.clone())),
        named("initial_margin", numbers(rows.initial_margin, known)),
        named("liquidation_price", numbers(rows.liquidation_price, validity(rows.is_reached))),
        kind,
        named("bankruptcy_price", numbers(rows.bankruptcy_price, validity(rows.is_bankrupted))),
    ];
    Table::of_fields(columns.into_iter())
}

/// Rows of texts that one thread writes at a time.
const TEXT_ROWS: usize = 1 << 16;

/// The texts of rows, which `number` finds by their codes: each distinct one is stored once, its
/// view copied; that of "" where there is no code.
fn viewed_by(
    texts: &[String],
    codes: &[u32],
    number: impl Fn(u32) -> u32 + Sync,
    nulls: Option<NullBuffer>,
    threads: usize,
) -> ArrayRef {
    let distinct = StringViewArray::from_iter_values(texts);
    let views = distinct.views();
    let mut column = memory::Buffer::<u128>::new(codes.len());
    let parts = codes.chunks(TEXT_ROWS).zip(column.chunks_mut(TEXT_ROWS)).collect();
    batch::map(threads, parts, |(codes, column): (&[u32], &mut [u128])| {
        for (code, view) in codes.iter().zip(column) {
            *view = if *code == NONE { 0 } else { views[number(*code) as usize] };
        }
    });
    Arc::new(viewed(ScalarBuffer::from(adopted(column)), &distinct, nulls))
}

/// The columns of a synthetic exchange, by frame.
pub(crate) fn synthetic(night: Exchange) -> PyResult<Vec<(&'static str, Table)>> {
    fn plain(values: Vec<f64>) -> ArrayRef {
        numbers(values.into(), None)
    }
    fn ids(values: Vec<i64>) -> ArrayRef {
        Arc::new(Int64Array::from(values))
    }
    fn small(values: Vec<u16>) -> ArrayRef {
        Arc::new(UInt16Array::from(values))
    }
    fn flags(values: Vec<bool>) -> ArrayRef {
        Arc::new(BooleanArray::from(values))
    }
    fn words(values: Vec<String>) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(values))
    }
    let Exchange { positions, balances, instruments, assets, tiers, weights } = night;
    let positions = vec![
        ("account_id", ids(positions.account_id)),
        ("instrument", small(positions.instrument)),
        ("quantity", plain(positions.quantity)),
        ("entry_price", plain(positions.entry_price)),
        ("isolated", flags(positions.isolated)),
        ("isolated_margin", plain(positions.isolated_margin)),
        ("leverage", plain(positions.leverage)),
        ("open_buy_quantity", plain(positions.open_buy_quantity)),
        ("open_sell_quantity", plain(positions.open_sell_quantity)),
    ];
    let balances = vec![
        ("account_id", ids(balances.account_id)),
        ("asset", small(balances.asset)),
        ("amount", plain(balances.amount)),
    ];
    let instruments = vec![
        ("instrument_id", words(instruments.instrument_id)),
        ("inverse", flags(instruments.inverse)),
        ("settle_asset", small(instruments.settle_asset)),
        ("mark_price", plain(instruments.mark_price)),
        ("contract_size", plain(instruments.contract_size)),
        ("base_asset", words(instruments.base_asset)),
    ];
    let assets = vec![
        ("asset_id", words(assets.asset_id)),
        ("price", plain(assets.price)),
        ("is_stable", flags(assets.is_stable)),
    ];
    let tiers = vec![
        ("tier_table", words(tiers.tier_table)),
        ("floor", plain(tiers.floor)),
        ("maintenance_rate", plain(tiers.maintenance_rate)),
        ("initial_rate", plain(tiers.initial_rate)),
    ];
    let weights = vec![
        ("weight_table", words(weights.weight_table)),
        ("floor", plain(weights.floor)),
        ("maintenance_weight", plain(weights.maintenance_weight)),
        ("initial_weight", plain(weights.initial_weight)),
        ("liability_weight", plain(weights.liability_weight)),
        ("borrow_maintenance_rate", plain(weights.borrow_maintenance_rate)),
        ("borrow_initial_rate", plain(weights.borrow_initial_rate)),
    ];
    let frames = [
        ("positions", positions),
        ("balances", balances),
        ("instruments", instruments),
        ("assets", assets),
        ("tiers", tiers),
        ("weights", weights),
    ];
    frames.into_iter().map(|(name, columns)| Ok((name, Table::new(columns)?))).collect()
}
