//! Scenarios: what the prices of a market are once factors have moved.
//!
//! A factor names an instrument, an asset, a base asset, or `*`, everything that may move. The
//! most specific one wins: an instrument moves by the factor that names it, else by its base
//! asset's, else by `*`; an asset by its own, else by `*`. `*` leaves the valuation asset and
//! stable assets alone, and what is on them. An option's price moves by its own name only, its
//! underlying price by the base asset's or by `*`: options are not repriced.

use crate::columns::LIMIT;
use crate::error::{Error, Result};
use crate::market::{Factors, Market, Terms};

/// The factor that moves whatever nothing else moves.
pub const EVERYTHING: &str = "*";

/// A named move of the market.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// Relative moves, above -1.
    pub factors: Factors,
}

/// A number for every price of a market, or of a book: what the factor that moves it says, 0
/// where none does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moves {
    /// Marks, by instrument.
    pub marks: Vec<f64>,
    /// Underlying prices of options, by instrument; 0 for other kinds.
    pub underlyings: Vec<f64>,
    /// By asset.
    pub assets: Vec<f64>,
}

/// Every price of a market.
#[derive(Clone, Debug, PartialEq)]
pub struct Quotes {
    /// Marks, by instrument.
    pub marks: Vec<f64>,
    /// Underlying prices of options, by instrument; 0 for other kinds.
    pub underlyings: Vec<f64>,
    /// By asset, valuation asset.
    pub assets: Vec<f64>,
}

impl Moves {
    /// The mean move of the marks; 0 where there are none.
    pub(crate) fn mean(&self) -> f64 {
        self.marks.iter().sum::<f64>() / self.marks.len().max(1) as f64
    }
}

impl Market {
    /// What each price moves by, by the market's codes.
    pub fn moves(&self, factors: &Factors, valuation_asset: &str) -> Moves {
        let of = |name: &str| factors.get(name).copied();
        let everything = of(EVERYTHING).unwrap_or(0.0);
        // Each factor is looked for once, not once for each price that it might move.
        let (mut named, mut assets) = (vec![None; self.terms.len()], vec![None; self.prices.len()]);
        for (name, factor) in factors {
            if let Some(code) = self.instruments.code(name) {
                named[code as usize] = Some(*factor);
            }
            if let Some(code) = self.assets.code(name) {
                assets[code as usize] = Some(*factor);
            }
        }
        let stays = |asset: &str| asset == valuation_asset || self.is_stable(asset);
        // What moves with the asset that a contract is on.
        let by_base = |terms: &Terms| match terms.base_asset.as_deref() {
            None => everything,
            Some(base) => of(base).unwrap_or_else(|| if stays(base) { 0.0 } else { everything }),
        };
        let by_asset = |name: &String| if stays(name) { 0.0 } else { everything };
        let is_option = |terms: &Terms| terms.kind.is_option();
        let marks = named.into_iter().zip(&self.terms).map(|(factor, terms)| {
            factor.unwrap_or_else(|| if is_option(terms) { 0.0 } else { by_base(terms) })
        });
        let underlyings =
            self.terms.iter().map(|terms| if is_option(terms) { by_base(terms) } else { 0.0 });
        let assets = assets.into_iter().zip(self.assets.texts());
        let assets = assets.map(|(factor, name)| factor.unwrap_or_else(|| by_asset(name)));
        Moves {
            marks: marks.collect(),
            underlyings: underlyings.collect(),
            assets: assets.collect(),
        }
    }

    /// Whether an asset is marked stable.
    fn is_stable(&self, asset: &str) -> bool {
        self.assets.code(asset).is_some_and(|code| self.prices[code as usize].is_stable)
    }

    /// The options whose underlying these factors move without naming them, by code.
    pub fn unpriced_options(&self, factors: &Factors, moves: &Moves) -> Vec<u32> {
        let is_left = |code: &u32| {
            moves.underlyings[*code as usize] != 0.0
                && !factors.contains_key(self.instruments.text(*code))
        };
        (0..self.terms.len() as u32).filter(is_left).collect()
    }
}

impl Quotes {
    /// The prices of a market, moved by its shocks.
    ///
    /// # Errors
    ///
    /// `Error::Data` where a shock moves a price out of what prices may be.
    pub fn of(market: &Market, valuation_asset: &str) -> Result<Self> {
        let mut quotes = Self {
            marks: market.terms.iter().map(|terms| terms.mark_price).collect(),
            underlyings: market.terms.iter().map(|terms| terms.underlying_price).collect(),
            assets: market.prices.iter().map(|price| price.price).collect(),
        };
        for factors in &market.shocks {
            quotes = quotes.moved(&market.moves(factors, valuation_asset));
            quotes.check(market).map_err(|text| {
                Error::Data(format!("scenarios.price_shock: the shocks of the market move {text}"))
            })?;
        }
        Ok(quotes)
    }

    /// Every price times one and what it moves by.
    pub fn moved(&self, moves: &Moves) -> Self {
        let moved = |prices: &[f64], moves: &[f64]| {
            prices.iter().zip(moves).map(|(price, shock)| price * (1.0 + shock)).collect()
        };
        Self {
            marks: moved(&self.marks, &moves.marks),
            underlyings: moved(&self.underlyings, &moves.underlyings),
            assets: moved(&self.assets, &moves.assets),
        }
    }

    /// The same by a scenario.
    ///
    /// # Errors
    ///
    /// `Error::Data` where it moves a price out of what prices may be.
    pub fn under(&self, scenario: &Scenario, market: &Market, moves: &Moves) -> Result<Self> {
        let quotes = self.moved(moves);
        quotes.check(market).map_err(|text| {
            let name = &scenario.name;
            Error::Data(format!("scenarios.price_shock: scenario {name:?} moves {text}"))
        })?;
        Ok(quotes)
    }

    /// Whether every price is one: above 0 and at most 1e18.
    fn check(&self, market: &Market) -> std::result::Result<(), String> {
        let is_price = |price: f64| price > 0.0 && price <= LIMIT;
        let range = "allowed is a price above 0 and at most 1e18";
        let rows = self.marks.iter().zip(&self.underlyings).zip(&market.terms).enumerate();
        for (code, ((mark, underlying), terms)) in rows {
            let name = market.instruments.text(code as u32);
            if !is_price(*mark) {
                return Err(format!("the mark_price of {name:?} to {mark:e}; {range}"));
            }
            if terms.kind.is_option() && !is_price(*underlying) {
                return Err(format!("the underlying_price of {name:?} to {underlying:e}; {range}"));
            }
        }
        for (code, price) in self.assets.iter().enumerate() {
            if !is_price(*price) {
                let name = market.assets.text(code as u32);
                return Err(format!("the price of {name:?} to {price:e}; {range}"));
            }
        }
        Ok(())
    }
}
