//! A small night as rows, and the core's input made of them.
//!
//! `Night` holds what the frames hold, one struct a row, with the words of the frames; case
//! files and random exchanges both become one. A column that no row gives is absent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use margrave_core::book::{self, Book, BookInput};
use margrave_core::columns::{Fault, Numbers, Range, Validity, Values};
use margrave_core::keys::Ids;
use margrave_core::market::{self, Market};
use margrave_core::rules::{Conventions, Rules};
use margrave_core::tiers::TierRow;
use margrave_core::weights::WeightRow;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An id or the name of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(untagged)]
pub(crate) enum Id {
    Integer(i64),
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// How a position is margined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MarginMode {
    Cross,
    Isolated,
}

/// What a contract is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Linear,
    Inverse,
    Quanto,
    Call,
    Put,
}

impl Kind {
    fn of_core(self) -> market::Kind {
        match self {
            Self::Linear => market::Kind::Linear,
            Self::Inverse => market::Kind::Inverse,
            Self::Quanto => market::Kind::Quanto,
            Self::Call => market::Kind::Call,
            Self::Put => market::Kind::Put,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    pub(crate) account_id: Option<Id>,
    pub(crate) instrument_id: Option<Id>,
    pub(crate) quantity: f64,
    pub(crate) entry_price: f64,
    pub(crate) margin_mode: Option<MarginMode>,
    pub(crate) isolated_margin: Option<f64>,
    pub(crate) leverage: Option<f64>,
    pub(crate) tier_table: Option<Id>,
    pub(crate) open_buy_quantity: Option<f64>,
    pub(crate) open_sell_quantity: Option<f64>,
}

impl Position {
    pub(crate) fn is_isolated(&self) -> bool {
        self.margin_mode == Some(MarginMode::Isolated)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Balance {
    pub(crate) account_id: Option<Id>,
    pub(crate) asset_id: Option<Id>,
    pub(crate) amount: f64,
}

/// Columns that are carried are no business of the core.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Account {
    pub(crate) account_id: Option<Id>,
}

/// Columns by name that no figure is made of.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, IgnoredAny>")]
pub(crate) struct Others;

impl TryFrom<BTreeMap<String, IgnoredAny>> for Others {
    type Error = String;

    fn try_from(others: BTreeMap<String, IgnoredAny>) -> Result<Self, String> {
        let mut unknown = others.keys().filter(|name| !UNUSED.contains(&name.as_str()));
        unknown.next().map_or(Ok(Self), |name| Err(format!("{name} is no column")))
    }
}

/// Columns of instruments and assets that enter no figure.
const UNUSED: [&str; 9] = [
    "base_asset",
    "open_interest",
    "underlying_id",
    "strike",
    "expiry",
    "mark_iv",
    "mark_time",
    "is_stable",
    "price_time",
];

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Instrument {
    pub(crate) instrument_id: Id,
    pub(crate) kind: Kind,
    pub(crate) settle_asset: Id,
    pub(crate) mark_price: f64,
    pub(crate) contract_size: Option<f64>,
    pub(crate) tier_table: Option<Id>,
    pub(crate) close_fee_rate: Option<f64>,
    pub(crate) quanto_multiplier: Option<f64>,
    pub(crate) underlying_price: Option<f64>,
    /// Columns that enter no figure.
    #[serde(flatten)]
    pub(crate) _others: Others,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Asset {
    pub(crate) asset_id: Id,
    pub(crate) price: f64,
    pub(crate) weight_table: Option<Id>,
    /// Columns that enter no figure.
    #[serde(flatten)]
    pub(crate) _others: Others,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tier {
    pub(crate) tier_table: Id,
    pub(crate) floor: f64,
    pub(crate) maintenance_rate: f64,
    pub(crate) initial_rate: f64,
    pub(crate) deduction: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weight {
    pub(crate) weight_table: Id,
    pub(crate) floor: Option<f64>,
    pub(crate) maintenance_weight: f64,
    pub(crate) initial_weight: Option<f64>,
    pub(crate) liability_weight: Option<f64>,
    pub(crate) borrow_maintenance_rate: Option<f64>,
    pub(crate) borrow_initial_rate: Option<f64>,
}

/// The frames of one night. See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Night {
    pub(crate) positions: Vec<Position>,
    pub(crate) balances: Vec<Balance>,
    pub(crate) accounts: Option<Vec<Account>>,
    pub(crate) instruments: Vec<Instrument>,
    pub(crate) assets: Vec<Asset>,
    pub(crate) conventions: Conventions,
    pub(crate) tiers: Vec<Tier>,
    pub(crate) weights: Vec<Weight>,
}

impl Night {
    pub(crate) fn book(&self, threads: usize) -> Book {
        let input = BookInput {
            positions: positions(&self.positions),
            balances: book::Balances {
                account: ids(self.balances.iter().map(|row| row.account_id.as_ref())),
                asset: ids(self.balances.iter().map(|row| row.asset_id.as_ref())),
                amount: numbers("amount", Range::Any, self.balances.iter().map(|row| row.amount)),
            },
            accounts: self
                .accounts
                .as_ref()
                .map(|accounts| ids(accounts.iter().map(|row| row.account_id.as_ref()))),
            instruments: ids(self.instruments.iter().map(|row| Some(&row.instrument_id))),
        };
        Book::build(input, threads).expect("a small night fits")
    }

    pub(crate) fn market(&self) -> Market {
        self.try_market().unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    pub(crate) fn try_market(&self) -> Result<Market, Vec<Fault>> {
        let rows = || self.instruments.iter();
        let size = rows().map(|row| row.contract_size.unwrap_or(1.0));
        let given = |name, range, get: fn(&Instrument) -> Option<f64>| {
            given_numbers(name, range, rows().map(get))
        };
        let instruments = market::Instruments {
            instrument: ids(rows().map(|row| Some(&row.instrument_id))),
            kind: rows().map(|row| row.kind.of_core()).collect(),
            settle_asset: ids(rows().map(|row| Some(&row.settle_asset))),
            mark_price: numbers("mark_price", Range::Positive, rows().map(|row| row.mark_price)),
            contract_size: numbers("contract_size", Range::Positive, size),
            base_asset: None,
            tier_table: given_ids(rows().map(|row| row.tier_table.as_ref())),
            close_fee_rate: given("close_fee_rate", Range::Rate, |row| row.close_fee_rate),
            quanto_multiplier: given("quanto_multiplier", Range::Positive, |row| {
                row.quanto_multiplier
            }),
            underlying_price: given("underlying_price", Range::Positive, |row| {
                row.underlying_price
            }),
            others: Vec::new(),
        };
        let rows = || self.assets.iter();
        let assets = market::Assets {
            asset: ids(rows().map(|row| Some(&row.asset_id))),
            price: numbers("price", Range::Positive, rows().map(|row| row.price)),
            weight_table: given_ids(rows().map(|row| row.weight_table.as_ref())),
            is_stable: None,
        };
        Market::build(&instruments, &assets)
    }

    pub(crate) fn rules(&self) -> Rules {
        let tier = |row: &Tier| TierRow {
            table: row.tier_table.to_string(),
            floor: row.floor,
            maintenance_rate: row.maintenance_rate,
            initial_rate: row.initial_rate,
            deduction: row.deduction,
        };
        let weight = |row: &Weight| WeightRow {
            table: row.weight_table.to_string(),
            floor: row.floor.unwrap_or(0.0),
            maintenance_weight: row.maintenance_weight,
            initial_weight: row.initial_weight.unwrap_or(row.maintenance_weight),
            liability_weight: row.liability_weight.unwrap_or(1.0),
            borrow_maintenance_rate: row.borrow_maintenance_rate.unwrap_or(0.0),
            borrow_initial_rate: row.borrow_initial_rate.unwrap_or(0.0),
        };
        let tiers: Vec<TierRow> = self.tiers.iter().map(tier).collect();
        let weights: Vec<WeightRow> = self.weights.iter().map(weight).collect();
        Rules::try_new(self.conventions.clone(), &tiers, &weights)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

fn positions(rows: &[Position]) -> book::Positions {
    let isolated: Vec<u8> = rows.iter().map(|row| u8::from(row.is_isolated())).collect();
    let given = |name, range, get: fn(&Position) -> Option<f64>| {
        given_numbers(name, range, rows.iter().map(get))
    };
    book::Positions {
        account: ids(rows.iter().map(|row| row.account_id.as_ref())),
        instrument: ids(rows.iter().map(|row| row.instrument_id.as_ref())),
        quantity: numbers("quantity", Range::Any, rows.iter().map(|row| row.quantity)),
        entry_price: numbers("entry_price", Range::Positive, rows.iter().map(|r| r.entry_price)),
        isolated: isolated.contains(&1).then(|| Values::new(isolated)),
        isolated_margin: given("isolated_margin", Range::Any, |row| row.isolated_margin),
        leverage: given("leverage", Range::Positive, |row| row.leverage),
        tier_table: given_ids(rows.iter().map(|row| row.tier_table.as_ref())),
        open_buy: given("open_buy_quantity", Range::NotNegative, |row| row.open_buy_quantity),
        open_sell: given("open_sell_quantity", Range::NotNegative, |row| row.open_sell_quantity),
    }
}

fn numbers(name: &'static str, range: Range, values: impl Iterator<Item = f64>) -> Numbers {
    Numbers::new(name, range, Values::new(values.collect::<Vec<f64>>()))
}

/// An optional column: None where no row gives a value.
fn given_numbers(
    name: &'static str,
    range: Range,
    values: impl Iterator<Item = Option<f64>> + Clone,
) -> Option<Numbers> {
    let validity = validity(values.clone().map(|value| value.is_some()));
    let column = numbers(name, range, values.clone().map(|value| value.unwrap_or(f64::NAN)));
    let is_given = values.flatten().next().is_some();
    is_given.then(|| column.with_validity(validity).optional())
}

/// Ids as integers where every one is an integer, else as texts.
fn ids<'a>(values: impl Iterator<Item = Option<&'a Id>> + Clone) -> Ids {
    let validity = validity(values.clone().map(|id| id.is_some()));
    let integer = |id: Option<&Id>| match id {
        None => Some(0),
        Some(Id::Integer(value)) => Some(*value),
        Some(Id::Text(_)) => None,
    };
    match values.clone().map(integer).collect::<Option<Vec<i64>>>() {
        Some(integers) => Ids::integers(Values::new(integers), validity),
        None => {
            let text = |id: Option<&Id>| id.map(ToString::to_string).unwrap_or_default();
            Ids::texts(Arc::new(values.map(text).collect::<Vec<String>>()), validity)
        }
    }
}

/// An optional column of ids: None where no row gives one.
fn given_ids<'a>(values: impl Iterator<Item = Option<&'a Id>> + Clone) -> Option<Ids> {
    values.clone().flatten().next().is_some().then(|| ids(values))
}

fn validity(valid: impl Iterator<Item = bool>) -> Option<Validity> {
    let valid: Vec<bool> = valid.collect();
    let word =
        |rows: &[bool]| rows.iter().rev().fold(0u64, |word, valid| word << 1 | u64::from(*valid));
    let words = || Validity::from_words(valid.chunks(64).map(word).collect());
    valid.contains(&false).then(words)
}
