//! The synthetic exchange as input of the core.

use std::sync::Arc;

use margrave_core::book::{Balances, Book, BookInput, Positions};
use margrave_core::columns::{Numbers, Range, Texts, Validity, Values};
use margrave_core::conventions::{Conventions, Initial};
use margrave_core::keys::Ids;
use margrave_core::market::{self, Kind, Market};
use margrave_core::rules::Rules;
use margrave_core::synthetic::{Exchange, exchange};
use margrave_core::tiers::TierRow;
use margrave_core::weights::WeightRow;

/// Columns of a synthetic exchange, to be read any number of times.
pub(crate) struct Inputs {
    night: Exchange,
}

impl Inputs {
    /// The exchange of so many accounts from this seed.
    pub(crate) fn new(accounts: usize, seed: u64) -> Self {
        Self::of(exchange(accounts, seed))
    }

    /// This exchange.
    pub(crate) fn of(night: Exchange) -> Self {
        Self { night }
    }

    /// What a book is built from.
    pub(crate) fn columns(&self) -> BookInput {
        let night = &self.night;
        let rows = &night.positions;
        let isolated: Vec<u8> = rows.isolated.iter().map(|isolated| u8::from(*isolated)).collect();
        let given = |name, values: &[f64]| {
            let zero = |values: &[f64]| {
                let bit = |(i, value): (usize, &f64)| u64::from(*value != 0.0) << i;
                values.iter().enumerate().map(bit).sum()
            };
            let validity = Validity::from_words(values.chunks(64).map(zero).collect());
            let numbers = Numbers::new(name, Range::Any, Values::new(values.to_vec()));
            Some(numbers.with_validity(Some(validity)).optional())
        };
        BookInput {
            positions: Positions {
                account: Ids::integers(Values::new(rows.account_id.clone()), None),
                instrument: codes(&rows.instrument, &night.instruments.instrument_id),
                quantity: numbers("quantity", Range::Any, &rows.quantity),
                entry_price: numbers("entry_price", Range::Positive, &rows.entry_price),
                isolated: Some(Values::new(isolated)),
                isolated_margin: given("isolated_margin", &rows.isolated_margin),
                leverage: given("leverage", &rows.leverage),
                tier_table: None,
                open_buy: given("open_buy_quantity", &rows.open_buy_quantity),
                open_sell: given("open_sell_quantity", &rows.open_sell_quantity),
            },
            balances: Balances {
                account: Ids::integers(Values::new(night.balances.account_id.clone()), None),
                asset: codes(&night.balances.asset, &night.assets.asset_id),
                amount: numbers("amount", Range::Any, &night.balances.amount),
            },
            accounts: None,
            instruments: texts(&night.instruments.instrument_id),
        }
    }

    /// The book of the exchange.
    pub(crate) fn book(&self, threads: usize) -> Book {
        Book::build(self.columns(), threads).expect("a synthetic exchange fits")
    }

    /// The market of the exchange.
    pub(crate) fn market(&self) -> Market {
        let (rows, assets) = (&self.night.instruments, &self.night.assets);
        let kind = |inverse: &bool| if *inverse { Kind::Inverse } else { Kind::Linear };
        let fees = vec![0.0005; rows.mark_price.len()];
        let instruments = market::Instruments {
            instrument: texts(&rows.instrument_id),
            kind: rows.inverse.iter().map(kind).collect(),
            settle_asset: codes(&rows.settle_asset, &assets.asset_id),
            mark_price: numbers("mark_price", Range::Positive, &rows.mark_price),
            contract_size: numbers("contract_size", Range::Positive, &rows.contract_size),
            base_asset: None,
            tier_table: None,
            close_fee_rate: Some(numbers("close_fee_rate", Range::Rate, &fees)),
            quanto_multiplier: None,
            underlying_price: None,
            others: Vec::new(),
        };
        let assets = market::Assets {
            asset: texts(&assets.asset_id),
            price: numbers("price", Range::Positive, &assets.price),
            weight_table: None,
            is_stable: None,
        };
        Market::build(&instruments, &assets).unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    /// The ruleset of the exchange.
    pub(crate) fn rules(&self) -> Rules {
        self.rules_by(Conventions { initial: Initial::Larger, ..Conventions::default() })
    }

    /// The tables of the exchange under other conventions.
    pub(crate) fn rules_by(&self, conventions: Conventions) -> Rules {
        let (tiers, weights) = (&self.night.tiers, &self.night.weights);
        let tier = |row: usize| TierRow {
            table: tiers.tier_table[row].clone(),
            floor: tiers.floor[row],
            maintenance_rate: tiers.maintenance_rate[row],
            initial_rate: tiers.initial_rate[row],
            deduction: None,
        };
        let weight = |row: usize| WeightRow {
            table: weights.weight_table[row].clone(),
            floor: weights.floor[row],
            maintenance_weight: weights.maintenance_weight[row],
            initial_weight: weights.initial_weight[row],
            liability_weight: weights.liability_weight[row],
            borrow_maintenance_rate: weights.borrow_maintenance_rate[row],
            borrow_initial_rate: weights.borrow_initial_rate[row],
        };
        let tiers: Vec<TierRow> = (0..tiers.floor.len()).map(tier).collect();
        let weights: Vec<WeightRow> = (0..weights.floor.len()).map(weight).collect();
        Rules::try_new(conventions, &tiers, &weights).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn numbers(name: &'static str, range: Range, values: &[f64]) -> Numbers {
    Numbers::new(name, range, Values::new(values.to_vec()))
}

fn texts(names: &[String]) -> Ids {
    Ids::texts(Arc::new(names.to_vec()), None)
}

fn codes(codes: &[u16], names: &[String]) -> Ids {
    let names: Arc<dyn Texts> = Arc::new(names.to_vec());
    Ids::codes(
        Values::new(codes.iter().map(|code| u32::from(*code)).collect::<Vec<_>>()),
        names,
        None,
    )
}
