//! Marks: what each instrument and asset of a book is worth under one market and one ruleset.
//!
//! `Marks::build` resolves every name once, so that the kernel reads plain numbers by code.
//! What cannot be resolved is marked `NONE`; `asked` finds the rows that need it.

use hashbrown::HashMap;

use crate::book::Book;
use crate::error::Result;
use crate::keys::NONE;
use crate::market::{Kind, Market, Terms};
use crate::rules::Rules;
use crate::scenarios::{Moves, Quotes};

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
    fn new(terms: &Terms, price: f64, underlying_price: f64, settle_price: f64) -> Self {
        let size = terms.contract_size;
        let multiplier = size * terms.quanto_multiplier;
        Self {
            value: match terms.kind {
                Kind::Inverse => size / price,
                Kind::Linear | Kind::Quanto => multiplier * price,
                Kind::Call | Kind::Put => size * underlying_price,
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
#[derive(Clone)]
pub struct Marks {
    /// By instrument.
    pub instruments: Vec<Mark>,
    /// By asset: those of the book, then other assets that its instruments settle in.
    pub assets: Vec<AssetMark>,
    /// Names of the assets that the book has not.
    settled_only: Vec<String>,
    /// By tier table that positions name: its code in the rules, or `NONE`.
    pub tables: Vec<u32>,
    /// The market's code of each instrument, `NONE` where it is not listed.
    pub(crate) listed: Vec<u32>,
    /// The market's code of each asset, `NONE` where it is not listed.
    listed_assets: Vec<u32>,
}

impl Marks {
    /// Prices the instruments and assets of `book`.
    ///
    /// # Errors
    ///
    /// `Error::Data` where the market's shocks leave no price.
    pub fn build(book: &Book, market: &Market, rules: &Rules) -> Result<Self> {
        let marks = Self::unmoved(book, market, rules);
        if market.shocks.is_empty() {
            return Ok(marks);
        }
        let quotes = Quotes::of(market, &rules.conventions.valuation_asset)?;
        Ok(marks.quoted(market, &quotes))
    }

    /// The same at these prices of the market.
    pub fn quoted(&self, market: &Market, quotes: &Quotes) -> Self {
        let mut moved = self.clone();
        for (asset, code) in moved.assets.iter_mut().zip(&self.listed_assets) {
            if *code != NONE {
                asset.price = quotes.assets[*code as usize];
            }
        }
        for (mark, code) in moved.instruments.iter_mut().zip(&self.listed) {
            if *code == NONE {
                continue;
            }
            let place = *code as usize;
            let (price, terms) = (quotes.marks[place], &market.terms[place]);
            mark.price = price;
            if mark.is_priced {
                let settle_price = quotes.assets[terms.settle_asset as usize];
                *mark = Mark {
                    tiers: mark.tiers,
                    settle: mark.settle,
                    settle_weights: mark.settle_weights,
                    ..Mark::new(terms, price, quotes.underlyings[place], settle_price)
                };
            }
        }
        moved
    }

    /// What each price of the book moves by, given what those of the market do.
    pub fn moves(&self, moves: &Moves) -> Moves {
        let by_code = |codes: &[u32], numbers: &[f64]| {
            let number = |code: &u32| if *code == NONE { 0.0 } else { numbers[*code as usize] };
            codes.iter().map(number).collect()
        };
        Moves {
            marks: by_code(&self.listed, &moves.marks),
            underlyings: by_code(&self.listed, &moves.underlyings),
            assets: by_code(&self.listed_assets, &moves.assets),
        }
    }

    fn unmoved(book: &Book, market: &Market, rules: &Rules) -> Self {
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
                ..Mark::new(terms, terms.mark_price, terms.underlying_price, settle.price)
            }
        };
        let instruments = book.instruments.texts().iter().map(instrument).collect();
        let code = |name: &String| market.assets.code(name).unwrap_or(NONE);
        let listed = |name: &String| market.instruments.code(name).unwrap_or(NONE);
        Self {
            instruments,
            tables: book.tables.texts().iter().map(|name| tiers(name)).collect(),
            listed: book.instruments.texts().iter().map(listed).collect(),
            listed_assets: book.assets.texts().iter().chain(&settled_only).map(code).collect(),
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
