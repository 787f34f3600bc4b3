//! Marks: what each instrument and asset of a book is worth under one market and one ruleset.
//!
//! `Marks::build` resolves every name once, so that the kernel reads plain numbers by code.
//! What cannot be resolved is marked `NONE`; `lacking` finds the rows that need it.

use hashbrown::HashMap;

use crate::book::Book;
use crate::columns::{Fault, Reason};
use crate::conventions::ProfitAndLoss;
use crate::error::{Error, Result};
use crate::keys::NONE;
use crate::market::{Kind, Market, Terms};
use crate::rules::Rules;

/// One instrument of the book, priced.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Notional of one contract in the settle asset: `m P` linear, `m / P` inverse, `m k P`
    /// quanto, `m U` for an option.
    pub value: f64,
    /// Contract size `m`.
    pub contract_size: f64,
    /// Settle asset that a unit of price of one contract is paid as: `m`, of a quanto `m k`.
    pub multiplier: f64,
    /// +1 where profit rises with the contract's value, -1 (inverse) where it falls.
    pub direction: f64,
    /// Price of the settle asset, valuation asset.
    pub settle_price: f64,
    /// Price of one unit.
    pub price: f64,
    /// Fee to close, fraction of the value closed.
    pub close_fee_rate: f64,
    /// Kind of contract.
    pub kind: Kind,
    /// Whether market and settle asset are known: otherwise nothing above means anything.
    pub is_priced: bool,
    /// Code of the tier table, `NONE` where the rules lack it.
    pub tiers: u32,
    /// The settle asset, by its place in `Marks::assets`; `NONE` where it is not priced.
    pub settle: u32,
    /// Code of the settle asset's weight table, `NONE` where the rules lack it.
    pub settle_weights: u32,
}

impl Mark {
    fn new(terms: &Terms, settle_price: f64) -> Self {
        let (size, price) = (terms.contract_size, terms.mark_price);
        let multiplier = size * terms.quanto_multiplier;
        Self {
            value: match terms.kind {
                Kind::Inverse => size / price,
                Kind::Linear | Kind::Quanto => multiplier * price,
                Kind::Call | Kind::Put => size * terms.underlying_price,
            },
            contract_size: size,
            multiplier,
            direction: if terms.kind == Kind::Inverse { -1.0 } else { 1.0 },
            settle_price,
            price,
            close_fee_rate: terms.close_fee_rate,
            kind: terms.kind,
            is_priced: true,
            ..UNPRICED
        }
    }

    /// The entry sum that this contract needs, of the two that a row keeps, settle asset; an
    /// option's entry enters no figure.
    #[inline]
    pub fn cost(&self, cost: f64, inverse_cost: f64) -> f64 {
        match self.kind {
            Kind::Inverse => self.multiplier * inverse_cost,
            Kind::Linear | Kind::Quanto => self.multiplier * cost,
            Kind::Call | Kind::Put => 0.0,
        }
    }

    /// Profit of `quantity` contracts with these entry sums (`q E` and `q / E`), settle asset;
    /// 0 for an option.
    ///
    /// The contract size comes last, so that a row entered at the mark has a profit of 0.
    #[inline]
    pub fn profit(&self, quantity: f64, cost: f64, inverse_cost: f64) -> f64 {
        let moved = match self.kind {
            Kind::Inverse => inverse_cost - quantity / self.price,
            Kind::Linear | Kind::Quanto => quantity * self.price - cost,
            Kind::Call | Kind::Put => 0.0,
        };
        self.multiplier * moved
    }

    /// What `quantity` options are worth at their mark, settle asset; 0 for other kinds.
    #[inline]
    pub fn option_value(&self, quantity: f64) -> f64 {
        if self.kind.is_option() { quantity * (self.contract_size * self.price) } else { 0.0 }
    }

    /// The price at which one contract has this value; None where it is no positive number.
    pub fn price_at(&self, value: f64) -> Option<f64> {
        let price = match self.kind {
            Kind::Inverse => self.contract_size / value,
            _ => value / self.multiplier,
        };
        (price > 0.0 && price.is_finite()).then_some(price)
    }
}

/// One asset of the book, priced.
#[derive(Clone, Copy, Debug)]
pub struct AssetMark {
    /// Price, valuation asset.
    pub price: f64,
    /// Whether the market lists it.
    pub is_priced: bool,
    /// Code of the weight table, `NONE` where the rules lack it.
    pub weights: u32,
}

/// Everything that a sweep looks up, by the book's codes. See the module.
pub struct Marks {
    /// By instrument.
    pub instruments: Vec<Mark>,
    /// By asset: those of the book, then other assets that its instruments settle in.
    pub assets: Vec<AssetMark>,
    /// Names of the assets that the book has not.
    settled_only: Vec<String>,
    /// By tier table that positions name: its code in the rules, or `NONE`.
    pub tables: Vec<u32>,
}

impl Marks {
    /// Prices the instruments and assets of `book`.
    pub fn build(book: &Book, market: &Market, rules: &Rules) -> Self {
        let weights = |name: &str| rules.weights.code(name).unwrap_or(NONE);
        let tiers = |name: &str| rules.tiers.code(name).unwrap_or(NONE);
        let asset = |name: &String| match market.price_of(market.assets.code(name).unwrap_or(NONE))
        {
            Some(price) => AssetMark {
                price: price.price,
                is_priced: true,
                weights: weights(&price.weight_table),
            },
            None => AssetMark { price: 0.0, is_priced: false, weights: NONE },
        };
        let mut assets: Vec<AssetMark> = book.assets.texts().iter().map(asset).collect();
        let mut settled_only = Vec::new();
        let mut place = HashMap::new();
        let instrument = |name: &String| {
            let terms = market.terms_of(name);
            let settle = terms.and_then(|terms| market.price_of(terms.settle_asset));
            let (Some(terms), Some(settle)) = (terms, settle) else {
                return Mark { price: terms.map_or(f64::NAN, |t| t.mark_price), ..UNPRICED };
            };
            let settle_weights = weights(&settle.weight_table);
            let settle_at = *place.entry(terms.settle_asset).or_insert_with(|| {
                let name = market.assets.text(terms.settle_asset);
                book.assets.code(name).unwrap_or_else(|| {
                    settled_only.push(name.to_owned());
                    let (price, is_priced) = (settle.price, true);
                    assets.push(AssetMark { price, is_priced, weights: settle_weights });
                    assets.len() as u32 - 1
                })
            });
            Mark {
                tiers: tiers(&terms.tier_table),
                settle: settle_at,
                settle_weights,
                ..Mark::new(terms, settle.price)
            }
        };
        Self {
            instruments: book.instruments.texts().iter().map(instrument).collect(),
            tables: book.tables.texts().iter().map(|name| tiers(name)).collect(),
            assets,
            settled_only,
        }
    }

    /// The name of an asset, by its place in `assets`; empty for a place beyond them.
    pub fn asset_name<'a>(&'a self, book: &'a Book, asset: u32) -> &'a str {
        match (asset as usize).checked_sub(book.assets.len()) {
            Some(other) => self.settled_only.get(other).map_or("", String::as_str),
            None => book.assets.text(asset),
        }
    }

    /// The tier table of a merged row: the one that it names, or the instrument's.
    #[inline]
    pub fn tiers(&self, mark: &Mark, table: u32) -> u32 {
        if table == NONE { mark.tiers } else { self.tables[table as usize] }
    }

    /// Rows whose instrument or asset the market lacks, in order of frame, row and column.
    pub fn lacking(&self, book: &Book, market: &Market) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.assets.iter().any(|asset| !asset.is_priced) {
            for (row, asset) in book.balance_asset.iter().enumerate() {
                if *asset != NONE && !self.assets[*asset as usize].is_priced {
                    let (row, reason) = (row as u32, Reason::UnmarkedAsset);
                    faults.push(Fault { frame: "balances", column: "asset_id", row, reason });
                }
            }
        }
        if self.instruments.iter().any(|instrument| !instrument.is_priced) {
            for (row, code) in book.position_instrument.iter().enumerate() {
                if *code != NONE && !self.instruments[*code as usize].is_priced {
                    let listed = market.terms_of(book.instruments.text(*code)).is_some();
                    let reason = if listed {
                        Reason::UnmarkedSettleAsset
                    } else {
                        Reason::UnmarkedInstrument
                    };
                    let (row, frame) = (row as u32, "positions");
                    faults.push(Fault { frame, column: "instrument_id", row, reason });
                }
            }
        }
        faults
    }

    /// Checks that the rules have every table that the rows of determinate accounts ask for.
    ///
    /// # Errors
    ///
    /// `Error::Rules` naming each table that is missing and what asks for it.
    pub fn check_tables(
        &self,
        book: &Book,
        market: &Market,
        rules: &Rules,
        indeterminate: &[bool],
    ) -> Result<()> {
        let joined = rules.conventions.profit_and_loss == ProfitAndLoss::SettleAsset;
        let may_lack = self.instruments.iter().any(|i| i.tiers == NONE || i.settle_weights == NONE)
            || self.assets.iter().any(|asset| asset.weights == NONE)
            || self.tables.contains(&NONE);
        if !may_lack {
            return Ok(());
        }
        let mut missing = Missing::default();
        for (row, account) in book.position_account.iter().enumerate() {
            if *account != NONE && !indeterminate[*account as usize] {
                self.note_position(book, market, row, joined, &mut missing);
            }
        }
        for (row, account) in book.balance_account.iter().enumerate() {
            if *account != NONE && !indeterminate[*account as usize] {
                let code = book.balance_asset[row];
                if self.assets[code as usize].weights == NONE {
                    let name = book.assets.text(code);
                    let price = market.price_of(market.assets.code(name).unwrap_or(NONE));
                    let table = price.map_or(name, |price| &price.weight_table);
                    missing.note("weights.weight_table", table, "asset", name);
                }
            }
        }
        missing.into_result()
    }

    fn note_position(
        &self,
        book: &Book,
        market: &Market,
        row: usize,
        joined: bool,
        missing: &mut Missing,
    ) {
        let code = book.position_instrument[row];
        let mark = &self.instruments[code as usize];
        let name = book.instruments.text(code);
        let Some(terms) = market.terms_of(name) else {
            return;
        };
        let own = book.positions.tier_table.as_ref().and_then(|ids| ids.text(row));
        let tiers = match &own {
            Some(table) => book.tables.code(table).map_or(NONE, |t| self.tables[t as usize]),
            None => mark.tiers,
        };
        if tiers == NONE {
            let table = own.as_deref().unwrap_or(&terms.tier_table);
            missing.note("tiers.tier_table", table, "instrument", name);
        }
        let isolated = book.positions.isolated.as_ref().is_some_and(|mode| mode[row] == 1);
        let margin = book.positions.isolated_margin.as_ref().and_then(|margin| margin.get(row));
        let weighed = if isolated { margin.is_some_and(|m| m < 0.0) } else { joined };
        if weighed && mark.settle_weights == NONE {
            let settle = market.price_of(terms.settle_asset);
            let table = settle.map_or("", |settle| &settle.weight_table);
            missing.note("weights.weight_table", table, "asset", &terms.settle_name);
        }
    }
}

const UNPRICED: Mark = Mark {
    value: 0.0,
    contract_size: 0.0,
    multiplier: 0.0,
    direction: 0.0,
    settle_price: 0.0,
    price: f64::NAN,
    close_fee_rate: 0.0,
    kind: Kind::Linear,
    is_priced: false,
    tiers: NONE,
    settle: NONE,
    settle_weights: NONE,
};

/// Tables that are asked for and missing, each with who asks first.
#[derive(Default)]
struct Missing(std::collections::BTreeMap<(&'static str, String), (String, u64)>);

impl Missing {
    fn note(&mut self, path: &'static str, table: &str, kind: &str, name: &str) {
        let asks = || (format!("{kind} {name:?}"), 0);
        self.0.entry((path, table.to_owned())).or_insert_with(asks).1 += 1;
    }

    fn into_result(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let shown = self.0.iter().take(10).map(|((path, table), (asks, rows))| {
            format!("{path}: no table {table:?}, which {asks} asks for ({rows} rows in all)")
        });
        let mut lines: Vec<String> = shown.collect();
        if self.0.len() > 10 {
            lines.push(format!("and {} more tables", self.0.len() - 10));
        }
        lines.push("hint: add the rows to the ruleset or give them by with_tables".to_owned());
        Err(Error::Rules(lines.join("\n")))
    }
}
