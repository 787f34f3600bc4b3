//! Marks: what each instrument and asset of a book is worth under one market and one ruleset.
//!
//! `Marks::build` resolves every name once, so that the kernel reads plain numbers by code.
//! What cannot be resolved is marked `NONE`; `lacking` finds the rows that need it.

use crate::book::Book;
use crate::columns::{Fault, Reason};
use crate::error::{Error, Result};
use crate::keys::NONE;
use crate::market::Market;
use crate::rules::Rules;

/// One instrument of the book, priced.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Value of one contract in the settle asset: `m P` linear, `m / P` inverse.
    pub value: f64,
    /// Contract size `m`.
    pub contract_size: f64,
    /// +1 where profit rises with the contract's value, -1 (inverse) where it falls.
    pub direction: f64,
    /// Price of the settle asset, valuation asset.
    pub settle_price: f64,
    /// Price of one unit.
    pub price: f64,
    /// Whether it is inverse.
    pub inverse: bool,
    /// Whether market and settle asset are known: otherwise nothing above means anything.
    pub is_priced: bool,
    /// Code of the tier table, `NONE` where the rules lack it.
    pub tiers: u32,
    /// Code of the settle asset's weight table, `NONE` where the rules lack it.
    pub settle_weights: u32,
}

impl Mark {
    /// The entry sum that this contract needs, of the two that a row keeps.
    #[inline]
    pub fn cost(&self, cost: f64, inverse_cost: f64) -> f64 {
        self.contract_size * if self.inverse { inverse_cost } else { cost }
    }

    /// Profit of `quantity` contracts with these entry sums (`q E` and `q / E`), settle asset.
    ///
    /// The contract size comes last, so that a row entered at the mark has a profit of 0.
    #[inline]
    pub fn profit(&self, quantity: f64, cost: f64, inverse_cost: f64) -> f64 {
        let moved = if self.inverse {
            inverse_cost - quantity / self.price
        } else {
            quantity * self.price - cost
        };
        self.contract_size * moved
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
    /// By asset.
    pub assets: Vec<AssetMark>,
    /// By tier table that positions name: its code in the rules, or `NONE`.
    pub tables: Vec<u32>,
}

impl Marks {
    /// Prices the instruments and assets of `book`.
    pub fn build(book: &Book, market: &Market, rules: &Rules) -> Self {
        let weights = |name: &str| rules.weights.code(name).unwrap_or(NONE);
        let tiers = |name: &str| rules.tiers.code(name).unwrap_or(NONE);
        let instrument = |name: &String| {
            let terms = market.terms_of(name);
            let settle = terms.and_then(|terms| market.price_of(terms.settle_asset));
            let (Some(terms), Some(settle)) = (terms, settle) else {
                return Mark { price: terms.map_or(f64::NAN, |t| t.mark_price), ..UNPRICED };
            };
            let (size, price) = (terms.contract_size, terms.mark_price);
            Mark {
                value: if terms.inverse { size / price } else { size * price },
                contract_size: size,
                direction: if terms.inverse { -1.0 } else { 1.0 },
                settle_price: settle.price,
                price,
                inverse: terms.inverse,
                is_priced: true,
                tiers: tiers(&terms.tier_table),
                settle_weights: weights(&settle.weight_table),
            }
        };
        let asset = |name: &String| match market.price_of(market.assets.code(name).unwrap_or(NONE))
        {
            Some(price) => AssetMark {
                price: price.price,
                is_priced: true,
                weights: weights(&price.weight_table),
            },
            None => AssetMark { price: 0.0, is_priced: false, weights: NONE },
        };
        Self {
            instruments: book.instruments.texts().iter().map(instrument).collect(),
            assets: book.assets.texts().iter().map(asset).collect(),
            tables: book.tables.texts().iter().map(|name| tiers(name)).collect(),
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
    pub fn check_tables(&self, book: &Book, market: &Market, indeterminate: &[bool]) -> Result<()> {
        let may_lack = self.instruments.iter().any(|i| i.tiers == NONE || i.settle_weights == NONE)
            || self.assets.iter().any(|asset| asset.weights == NONE)
            || self.tables.contains(&NONE);
        if !may_lack {
            return Ok(());
        }
        let mut missing = Missing::default();
        for (row, account) in book.position_account.iter().enumerate() {
            if *account != NONE && !indeterminate[*account as usize] {
                self.note_position(book, market, row, &mut missing);
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

    fn note_position(&self, book: &Book, market: &Market, row: usize, missing: &mut Missing) {
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
        if isolated && margin.is_some_and(|m| m < 0.0) && mark.settle_weights == NONE {
            let settle = market.price_of(terms.settle_asset);
            let table = settle.map_or("", |settle| &settle.weight_table);
            missing.note("weights.weight_table", table, "asset", &terms.settle_name);
        }
    }
}

const UNPRICED: Mark = Mark {
    value: 0.0,
    contract_size: 0.0,
    direction: 0.0,
    settle_price: 0.0,
    price: f64::NAN,
    inverse: false,
    is_priced: false,
    tiers: NONE,
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
