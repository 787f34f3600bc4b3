//! A small night made of bytes, and the core's input made of the night.

use margrave_core::book::{Balances, Book, BookInput, Positions};
use margrave_core::columns::{Numbers, Range, Validity, Values};
use margrave_core::conventions::Conventions;
use margrave_core::keys::Ids;
use margrave_core::market::{Assets, Instruments, Kind, Market};
use margrave_core::rules::Rules;
use margrave_core::tiers::TierRow;
use margrave_core::weights::WeightRow;

use crate::Bytes;

/// The keys that have words, with their words.
pub(crate) const KEYS: [(&str, &[&str]); 12] = [
    ("pooling", &["all", "settle_asset"]),
    ("netting", &["net", "gross", "larger_side"]),
    ("tier_mode", &["marginal", "slab"]),
    ("tier_basis", &["notional", "base", "contracts"]),
    ("tier_edge", &["upper", "lower"]),
    ("price_basis", &["mark", "entry"]),
    ("initial", &["tier", "leverage", "larger"]),
    ("close_fee", &["none", "mark", "bankruptcy"]),
    ("open_orders", &["initial", "both", "none"]),
    ("profit_and_loss", &["beside", "settle_asset"]),
    ("compare", &["lt", "le"]),
    ("zero_requirement", &["compare", "never"]),
];

#[derive(Debug)]
pub(crate) struct Instrument {
    pub(crate) kind: Kind,
    pub(crate) settle: usize,
    pub(crate) mark: f64,
    pub(crate) size: f64,
    pub(crate) table: usize,
    pub(crate) fee: f64,
    pub(crate) multiplier: f64,
    pub(crate) underlying: f64,
}

#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) price: f64,
    pub(crate) table: usize,
}

#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) account: usize,
    pub(crate) instrument: usize,
    pub(crate) quantity: f64,
    pub(crate) entry: f64,
    pub(crate) isolated: Option<f64>,
    pub(crate) leverage: Option<f64>,
    pub(crate) table: usize,
    pub(crate) buy: f64,
    pub(crate) sell: f64,
}

#[derive(Debug)]
pub(crate) struct Balance {
    pub(crate) account: usize,
    pub(crate) asset: usize,
    pub(crate) amount: f64,
}

#[derive(Debug)]
pub(crate) struct Night {
    pub(crate) instruments: Vec<Instrument>,
    pub(crate) assets: Vec<Asset>,
    pub(crate) positions: Vec<Position>,
    pub(crate) balances: Vec<Balance>,
    pub(crate) conventions: Conventions,
    pub(crate) tiers: Vec<Vec<TierRow>>,
    pub(crate) weights: Vec<Vec<WeightRow>>,
}

const TABLES: usize = 3;

impl Night {
    pub(crate) fn read(bytes: &mut Bytes<'_>) -> Self {
        let mut conventions = Conventions::default();
        for (key, words) in KEYS {
            conventions.set(key, bytes.one(words)).expect("a word of the contract");
        }
        conventions.profit_weight = bytes.one(&[1.0, 1.0, 0.5, 0.0, 0.9]);
        conventions.level = bytes.one(&[1.0, 1.0, 1.05, 0.5, 0.0, 4.0]);
        let assets: Vec<Asset> = (0..1 + bytes.below(3))
            .map(|_| Asset { price: bytes.size(), table: bytes.below(TABLES) })
            .collect();
        let instruments: Vec<Instrument> = (0..1 + bytes.below(3))
            .map(|_| Instrument {
                kind: bytes.one(&[
                    Kind::Linear,
                    Kind::Linear,
                    Kind::Inverse,
                    Kind::Quanto,
                    Kind::Call,
                    Kind::Put,
                ]),
                settle: bytes.below(assets.len()),
                mark: bytes.size(),
                size: if bytes.seldom(3) { bytes.size() } else { 1.0 },
                table: bytes.below(TABLES),
                fee: if bytes.seldom(2) { bytes.rate() } else { 0.0 },
                multiplier: bytes.size(),
                underlying: bytes.size(),
            })
            .collect();
        let positions = (0..bytes.below(6)).map(|_| position(bytes, &instruments)).collect();
        let balances = (0..bytes.below(5))
            .map(|_| Balance {
                account: bytes.below(2),
                asset: bytes.below(assets.len()),
                amount: bytes.signed() * bytes.one(&[1.0, 10.0, 1000.0]),
            })
            .collect();
        let tiers = (0..TABLES).map(|table| tiers(bytes, table)).collect();
        let weights = (0..TABLES).map(|table| weights(bytes, table)).collect();
        Self { instruments, assets, positions, balances, conventions, tiers, weights }
    }

    pub(crate) fn book(&self, threads: usize) -> Book {
        let rows = &self.positions;
        let column = |name, range, get: fn(&Position) -> f64| {
            numbers(name, range, rows.iter().map(get).collect())
        };
        let isolated: Vec<u8> = rows.iter().map(|row| u8::from(row.isolated.is_some())).collect();
        let input = BookInput {
            positions: Positions {
                account: ids(rows.iter().map(|row| row.account)),
                instrument: ids(rows.iter().map(|row| row.instrument)),
                quantity: column("quantity", Range::Any, |row| row.quantity),
                entry_price: column("entry_price", Range::Positive, |row| row.entry),
                isolated: Some(Values::new(isolated)),
                isolated_margin: given(
                    "isolated_margin",
                    Range::Any,
                    rows.iter().map(|r| r.isolated),
                ),
                leverage: given("leverage", Range::Positive, rows.iter().map(|row| row.leverage)),
                tier_table: Some(ids(rows.iter().map(|row| row.table))),
                open_buy: Some(column("open_buy_quantity", Range::NotNegative, |row| row.buy)),
                open_sell: Some(column("open_sell_quantity", Range::NotNegative, |row| row.sell)),
            },
            balances: Balances {
                account: ids(self.balances.iter().map(|row| row.account)),
                asset: ids(self.balances.iter().map(|row| row.asset)),
                amount: numbers(
                    "amount",
                    Range::Any,
                    self.balances.iter().map(|row| row.amount).collect(),
                ),
            },
            accounts: None,
            instruments: ids(0..self.instruments.len()),
        };
        Book::build(input, threads).expect("a small night fits")
    }

    pub(crate) fn market(&self) -> Market {
        let rows = &self.instruments;
        let column = |name, range, get: fn(&Instrument) -> f64| {
            numbers(name, range, rows.iter().map(get).collect())
        };
        let instruments = Instruments {
            instrument: ids(0..rows.len()),
            kind: rows.iter().map(|row| row.kind).collect(),
            settle_asset: ids(rows.iter().map(|row| row.settle)),
            mark_price: column("mark_price", Range::Positive, |row| row.mark),
            contract_size: column("contract_size", Range::Positive, |row| row.size),
            base_asset: None,
            tier_table: Some(ids(rows.iter().map(|row| row.table))),
            close_fee_rate: Some(column("close_fee_rate", Range::Rate, |row| row.fee)),
            quanto_multiplier: Some(column("quanto_multiplier", Range::Positive, |r| r.multiplier)),
            underlying_price: Some(column("underlying_price", Range::Positive, |r| r.underlying)),
            others: Vec::new(),
        };
        let assets = Assets {
            asset: ids(0..self.assets.len()),
            price: numbers(
                "price",
                Range::Positive,
                self.assets.iter().map(|row| row.price).collect(),
            ),
            weight_table: Some(ids(self.assets.iter().map(|row| row.table))),
            is_stable: None,
        };
        Market::build(&instruments, &assets).expect("sound values")
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules::try_new(self.conventions.clone(), &self.tiers.concat(), &self.weights.concat())
            .expect("sound tables")
    }
}

fn position(bytes: &mut Bytes<'_>, instruments: &[Instrument]) -> Position {
    let instrument = bytes.below(instruments.len());
    let terms = &instruments[instrument];
    let entry = terms.mark * bytes.one(&[1.0, 0.5, 2.0, 0.9, 1.1, 3.0]);
    let (buy, sell) =
        if bytes.seldom(3) { (bytes.signed().abs(), bytes.signed().abs()) } else { (0.0, 0.0) };
    Position {
        account: bytes.below(2),
        instrument,
        quantity: bytes.signed(),
        entry,
        isolated: bytes.seldom(4).then(|| bytes.signed() * bytes.one(&[1.0, 100.0])),
        leverage: bytes.seldom(2).then(|| bytes.one(&[1.0, 3.0, 10.0, 125.0, 0.5])),
        table: if bytes.seldom(4) { bytes.below(TABLES) } else { terms.table },
        buy,
        sell,
    }
}

fn floors(bytes: &mut Bytes<'_>) -> Vec<f64> {
    let mut floors = vec![0.0];
    for _ in 0..bytes.below(3) {
        let last = floors[floors.len() - 1];
        floors.push(last + bytes.size() * bytes.one(&[1.0, 100.0]));
    }
    floors
}

fn tiers(bytes: &mut Bytes<'_>, table: usize) -> Vec<TierRow> {
    let floors = floors(bytes);
    let row = |floor| TierRow {
        table: table.to_string(),
        floor,
        maintenance_rate: bytes.rate(),
        initial_rate: bytes.rate(),
        deduction: None,
    };
    floors.into_iter().map(row).collect()
}

fn weights(bytes: &mut Bytes<'_>, table: usize) -> Vec<WeightRow> {
    let floors = floors(bytes);
    let row = |floor| WeightRow {
        table: table.to_string(),
        floor,
        maintenance_weight: bytes.rate(),
        initial_weight: bytes.rate(),
        liability_weight: bytes.one(&[1.0, 1.1, 0.0, 2.0]),
        borrow_maintenance_rate: bytes.one(&[0.0, 0.05, 0.5]),
        borrow_initial_rate: bytes.one(&[0.0, 0.1, 1.0]),
    };
    floors.into_iter().map(row).collect()
}

fn ids(values: impl Iterator<Item = usize>) -> Ids {
    Ids::integers(Values::new(values.map(|id| id as i64).collect::<Vec<_>>()), None)
}

fn numbers(name: &'static str, range: Range, values: Vec<f64>) -> Numbers {
    Numbers::new(name, range, Values::new(values))
}

/// An optional column: null where no value is given.
fn given(
    name: &'static str,
    range: Range,
    values: impl Iterator<Item = Option<f64>> + Clone,
) -> Option<Numbers> {
    let valid: Vec<bool> = values.clone().map(|value| value.is_some()).collect();
    let word = valid.iter().rev().fold(0u64, |word, valid| word << 1 | u64::from(*valid));
    let column = numbers(name, range, values.map(|value| value.unwrap_or(f64::NAN)).collect());
    let validity = valid.contains(&false).then(|| Validity::from_words(vec![word]));
    valid.contains(&true).then(|| column.with_validity(validity).optional())
}
