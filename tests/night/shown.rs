//! A sweep as rows of named figures, with the words and the order of the result frames.

use margrave_core::book::Book;
use margrave_core::conventions::Rung;
use margrave_core::labels::Labels;
use margrave_core::results::{MONEY, MarginColumns, RATIOS, applies};
use margrave_core::rules::Rules;
use margrave_core::sweep::Sweep;
use toml::Value;

use crate::rows::{Id, Night, Position};

/// One value of a result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Figure {
    Null,
    Number(f64),
    Integer(i64),
    Flag(bool),
    Word(String),
}

impl From<&Value> for Figure {
    fn from(value: &Value) -> Self {
        match value {
            Value::Float(number) => Self::Number(*number),
            Value::Integer(integer) => Self::Integer(*integer),
            Value::Boolean(flag) => Self::Flag(*flag),
            Value::String(word) => Self::Word(word.clone()),
            other => panic!("{other} is no figure"),
        }
    }
}

impl From<Option<&Id>> for Figure {
    fn from(id: Option<&Id>) -> Self {
        match id {
            None => Self::Null,
            Some(Id::Integer(value)) => Self::Integer(*value),
            Some(Id::Text(text)) => Self::Word(text.clone()),
        }
    }
}

/// A row: figures by column.
pub(crate) type Row = Vec<(String, Figure)>;
/// Rows of a result.
pub(crate) type Frame = Vec<Row>;

const STATUS: [&str; 6] =
    ["flat", "healthy", "below_initial", "liquidation", "bankrupt", "indeterminate"];

const PRICE_KIND: [&str; 3] = ["root", "none", "breached"];

/// One row per account, without what is carried.
pub(crate) fn accounts(night: &Night, book: &Book, sweep: &Sweep) -> Frame {
    let margins = margins(&sweep.accounts, &night.conventions.ladder);
    let ids = (0..book.accounts()).map(|account| account_id(night, book, account));
    ids.zip(margins).map(|(id, margin)| [vec![named("account_id", id)], margin].concat()).collect()
}

/// One row per bucket.
pub(crate) fn buckets(night: &Night, book: &Book, sweep: &Sweep, rules: &Rules) -> Frame {
    let buckets = sweep.buckets(book, rules, 1);
    let labels = Labels::build(book, sweep.blocks(book), &sweep.marks);
    let names = buckets.account.iter().zip(&buckets.bucket).map(|(account, bucket)| {
        vec![
            named("account_id", account_id(night, book, *account as usize)),
            named("bucket_id", label(&labels, *bucket)),
        ]
    });
    let margins = margins(&buckets.margins, &night.conventions.ladder);
    names.zip(margins).map(|(names, margin)| [names, margin].concat()).collect()
}

/// One row per position. Accounts that are indeterminate are not for this.
pub(crate) fn positions(night: &Night, book: &Book, sweep: &Sweep, rules: &Rules) -> Frame {
    let labels = Labels::build(book, sweep.blocks(book), &sweep.marks);
    let price = |price: f64| if price > 0.0 { Figure::Number(price) } else { Figure::Null };
    let columns = sweep.positions(book, rules, 1);
    let row = |(row, given): (usize, &Position)| {
        let kind = PRICE_KIND[columns.kind[row] as usize];
        vec![
            named("account_id", Figure::from(given.account_id.as_ref())),
            named("bucket_id", label(&labels, columns.bucket[row])),
            named("instrument_id", Figure::from(given.instrument_id.as_ref())),
            named("quantity", Figure::Number(given.quantity)),
            named("entry_price", Figure::Number(given.entry_price)),
            named("mark_price", Figure::Number(columns.mark_price[row])),
            named("notional", Figure::Number(columns.notional[row])),
            named("unrealized_pnl", Figure::Number(columns.unrealized_pnl[row])),
            named("tier", Figure::Integer(columns.tier[row])),
            named("maintenance_margin", Figure::Number(columns.maintenance_margin[row])),
            named("initial_margin", Figure::Number(columns.initial_margin[row])),
            named("liquidation_price", price(columns.liquidation_price[row])),
            named("liquidation_price_kind", Figure::Word(kind.to_owned())),
            named("bankruptcy_price", price(columns.bankruptcy_price[row])),
        ]
    };
    night.positions.iter().enumerate().map(row).collect()
}

/// One row: counts and money over the exchange.
pub(crate) fn totals(sweep: &Sweep) -> Frame {
    let totals = &sweep.totals;
    let count = |count: u64| Figure::Integer(i64::try_from(count).expect("a count"));
    let mut row = vec![named("accounts", count(totals.by_status.iter().sum()))];
    for (status, accounts) in STATUS.iter().zip(totals.by_status) {
        row.push((format!("{status}_accounts"), count(accounts)));
    }
    row.extend(MONEY.iter().zip(totals.money).map(|(name, sum)| named(name, Figure::Number(sum))));
    let bad_debt = totals.money[MONEY.len() - 1];
    row.extend([
        named("liquidatable_accounts", count(totals.liquidatable_accounts)),
        named("liquidatable_notional", Figure::Number(totals.liquidatable_notional)),
        named("total_bad_debt", Figure::Number(bad_debt)),
        named("total_margin_deficit", Figure::Number(totals.total_margin_deficit)),
    ]);
    vec![row]
}

/// The columns that accounts and buckets share.
fn margins(margins: &MarginColumns, ladder: &[Rung]) -> Vec<Row> {
    let shown = (0..MONEY.len() + RATIOS.len()).map(|column| margins.validity(applies(column)));
    let shown: Vec<Option<Vec<bool>>> = shown.collect();
    let row = |row: usize| {
        let mut figures = vec![
            named("status", Figure::Word(STATUS[margins.status[row] as usize].to_owned())),
            named("is_liquidatable", Figure::Flag(margins.is_liquidatable[row])),
        ];
        for (column, name) in MONEY.iter().chain(&RATIOS).enumerate() {
            let is_shown = shown[column].as_ref().is_none_or(|shown| shown[row]);
            let number = Figure::Number(margins.numbers[column][row]);
            figures.push(named(name, if is_shown { number } else { Figure::Null }));
        }
        figures.push(named("positions", Figure::Integer(margins.positions[row])));
        let rung = margins.ladder.get(row).and_then(|rung| ladder.get(*rung as usize));
        figures.push(named("ladder", rung.map_or(Figure::Null, |r| Figure::Word(r.name.clone()))));
        figures
    };
    (0..margins.len()).map(row).collect()
}

fn account_id(night: &Night, book: &Book, account: usize) -> Figure {
    let (frame, row) = book.first[account];
    let row = row as usize;
    Figure::from(match frame {
        0 => night.positions[row].account_id.as_ref(),
        1 => night.balances[row].account_id.as_ref(),
        _ => night.accounts.as_ref().expect("it appears there")[row].account_id.as_ref(),
    })
}

fn label(labels: &Labels, bucket: u32) -> Figure {
    Figure::Word(labels.names.text(labels.codes[bucket as usize]).to_owned())
}

fn named(name: &str, figure: Figure) -> (String, Figure) {
    (name.to_owned(), figure)
}
