//! From the core's results to frames.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringViewArray, UInt8Array, UInt16Array,
    UInt32Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use margrave_core::columns::Fault;
use margrave_core::control::{self, Rows};
use margrave_core::conventions::Rung;
use margrave_core::keys::{NONE, Names};
use margrave_core::positions::PositionColumns;
use margrave_core::results::{Applies, MONEY, MarginColumns, RATIOS, applies};
use margrave_core::synthetic::Exchange;
use pyo3::prelude::*;

use crate::arrow::Table;

fn nulls(valid: Option<Vec<bool>>) -> Option<NullBuffer> {
    valid.map(|valid| NullBuffer::new(BooleanBuffer::from(valid)))
}

fn numbers(values: Vec<f64>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(Float64Array::new(ScalarBuffer::from(values), nulls))
}

/// The columns of accounts or buckets, in the order of the contract.
pub(crate) fn margins(margins: MarginColumns, ladder: &[Rung]) -> Vec<(&'static str, ArrayRef)> {
    let by = |kind| nulls(margins.validity(kind));
    let (determinate, with_notional, with_equity) =
        (by(Applies::Determinate), by(Applies::WithNotional), by(Applies::WithEquity));
    let flags = BooleanBuffer::from(margins.is_liquidatable);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("status", Arc::new(UInt8Array::new(ScalarBuffer::from(margins.status), None))),
        ("is_liquidatable", Arc::new(BooleanArray::new(flags, determinate.clone()))),
    ];
    let names = MONEY.into_iter().chain(RATIOS);
    for (index, (name, values)) in names.zip(margins.numbers).enumerate() {
        let nulls = match applies(index) {
            Applies::Determinate => &determinate,
            Applies::WithNotional => &with_notional,
            Applies::WithEquity => &with_equity,
        };
        columns.push((name, numbers(values, nulls.clone())));
    }
    let positions = Int64Array::new(ScalarBuffer::from(margins.positions), determinate);
    columns.push(("positions", Arc::new(positions)));
    if !ladder.is_empty() {
        let mut names = Names::default();
        let codes: Vec<u32> = ladder.iter().map(|rung| names.add(&rung.name)).collect();
        let code = |rung: &u32| codes.get(*rung as usize).copied().unwrap_or(NONE);
        let rungs: Vec<u32> = margins.ladder.iter().map(code).collect();
        columns.push(("ladder", texts(&names, rungs.iter())));
    }
    columns
}

/// A column of codes, null where there is none.
pub(crate) fn codes(values: Vec<u32>) -> ArrayRef {
    let valid: Vec<bool> = values.iter().map(|code| *code != NONE).collect();
    let nulls = valid.contains(&false).then(|| NullBuffer::new(BooleanBuffer::from(valid)));
    Arc::new(UInt32Array::new(ScalarBuffer::from(values), nulls))
}

/// A column of texts, each looked up by its code; null where there is none.
///
/// Every distinct text is stored once, its view copied.
pub(crate) fn texts<'a>(names: &Names, codes: impl Iterator<Item = &'a u32>) -> ArrayRef {
    let distinct = StringViewArray::from_iter_values(names.texts());
    let views = distinct.views();
    let codes: Vec<u32> = codes.copied().collect();
    let view = |code: &u32| if *code == NONE { 0 } else { views[*code as usize] };
    let column: ScalarBuffer<u128> = codes.iter().map(view).collect();
    let valid = BooleanBuffer::collect_bool(codes.len(), |row| codes[row] != NONE);
    let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
    let buffers = distinct.data_buffers().to_vec();
    // Views of the same buffers; a null's view is that of the empty text.
    Arc::new(StringViewArray::new(column, Arc::<[Buffer]>::from(buffers), nulls))
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
type Sums = Vec<(Option<String>, f64, f64, f64)>;
/// Rows of positions and of balances, accounts and indeterminate ones, sums by instrument and
/// by asset.
pub(crate) type Control = (Counts, Counts, u64, u64, Sums, Sums);

/// Control totals as plain values.
pub(crate) fn control(control: margrave_core::control::Control) -> Control {
    let counts = |rows: Rows| [rows.rows, rows.used, rows.set_aside, rows.without_account];
    let sums = |sums: Vec<control::Sums>| {
        sums.into_iter().map(|sum| (sum.name, sum.input, sum.used, sum.set_aside)).collect()
    };
    (
        counts(control.positions),
        counts(control.balances),
        control.accounts,
        control.indeterminate_accounts,
        sums(control.quantity),
        sums(control.amount),
    )
}

/// What a sweep says of each input position.
pub(crate) fn positions(rows: PositionColumns, labels: &Names, codes: &[u32]) -> PyResult<Table> {
    let all = rows.is_known.iter().all(|known| *known);
    let known = (!all).then(|| NullBuffer::new(BooleanBuffer::from(rows.is_known)));
    let label = |bucket: &u32| if *bucket == NONE { NONE } else { codes[*bucket as usize] };
    let label: Vec<u32> = rows.bucket.iter().map(label).collect();
    let price = |values: Vec<f64>| {
        let valid = BooleanBuffer::collect_bool(values.len(), |row| values[row] > 0.0);
        numbers(values, Some(NullBuffer::new(valid)))
    };
    let tier = Int64Array::new(ScalarBuffer::from(rows.tier), known.clone());
    let kind = UInt8Array::new(ScalarBuffer::from(rows.kind), known.clone());
    Table::new(vec![
        ("bucket_id", texts(labels, label.iter())),
        ("mark_price", price(rows.mark_price)),
        ("notional", numbers(rows.notional, known.clone())),
        ("unrealized_pnl", numbers(rows.unrealized_pnl, known.clone())),
        ("tier", Arc::new(tier)),
        ("maintenance_margin", numbers(rows.maintenance_margin, known.clone())),
        ("initial_margin", numbers(rows.initial_margin, known)),
        ("liquidation_price", price(rows.liquidation_price)),
        ("liquidation_price_kind", Arc::new(kind)),
        ("bankruptcy_price", price(rows.bankruptcy_price)),
    ])
}

/// The columns of a synthetic exchange, by frame.
pub(crate) fn synthetic(night: Exchange) -> PyResult<Vec<(&'static str, Table)>> {
    fn plain(values: Vec<f64>) -> ArrayRef {
        numbers(values, None)
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
