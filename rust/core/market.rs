//! The market: what contracts are, and what they and the assets are worth.
//!
//! `Market::build` takes the `instruments` and `assets` frames. A market knows nothing of a
//! book; `marks` brings the two together.

use std::collections::BTreeMap;

use crate::columns::{Fault, Numbers, Reason};
use crate::keys::{Ids, NONE};
use crate::names::Names;

/// A number for each factor, by its name: an instrument, an asset, a base asset, or `*`.
pub type Factors = BTreeMap<String, f64>;

/// Kind of contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Profit is the move of the price.
    #[default]
    Linear,
    /// Notional and profit in units of 1 / price.
    Inverse,
    /// The move of the price, paid in another asset at a fixed rate.
    Quanto,
    /// An option to buy, valued at its mark.
    Call,
    /// An option to sell, valued at its mark.
    Put,
}

impl Kind {
    /// All kinds, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::Linear, Self::Inverse, Self::Quanto, Self::Call, Self::Put];

    /// Whether it is worth its mark, instead of the move since entry.
    #[inline]
    pub fn is_option(self) -> bool {
        matches!(self, Self::Call | Self::Put)
    }
}

/// The `instruments` frame.
pub struct Instruments {
    /// The contract.
    pub instrument: Ids,
    /// Kind of contract.
    pub kind: Vec<Kind>,
    /// Asset that profit is paid in.
    pub settle_asset: Ids,
    /// Price of one unit.
    pub mark_price: Numbers,
    /// Units a contract.
    pub contract_size: Numbers,
    /// Asset that the contract is on; of none where null or absent.
    pub base_asset: Option<Ids>,
    /// Tier table; the instrument's own name where null or absent.
    pub tier_table: Option<Ids>,
    /// Fee to close, fraction of the value closed; 0 where null or absent.
    pub close_fee_rate: Option<Numbers>,
    /// Settle asset that a unit of price is paid as; a quanto needs it.
    pub quanto_multiplier: Option<Numbers>,
    /// Price of the underlying, settle asset; an option needs it.
    pub underlying_price: Option<Numbers>,
    /// Columns that enter no figure, checked all the same.
    pub others: Vec<Numbers>,
}

/// The `assets` frame.
pub struct Assets {
    /// The asset.
    pub asset: Ids,
    /// Price in the valuation asset.
    pub price: Numbers,
    /// Weight table; the asset's own name where null or absent.
    pub weight_table: Option<Ids>,
    /// Whether the factor `*` leaves it alone; false where absent.
    pub is_stable: Option<Vec<bool>>,
}

/// Terms and mark of an instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Kind of contract.
    pub kind: Kind,
    /// Price of one unit.
    pub mark_price: f64,
    /// Units a contract.
    pub contract_size: f64,
    /// Fee to close, fraction of the value closed.
    pub close_fee_rate: f64,
    /// Settle asset that a unit of price is paid as; 1 but for a quanto.
    pub quanto_multiplier: f64,
    /// Price of an option's underlying, settle asset; 0 for other kinds.
    pub underlying_price: f64,
    /// Code of the settle asset in the market, `NONE` where it is not listed.
    pub settle_asset: u32,
    /// Name of the settle asset.
    pub settle_name: String,
    /// Name of the asset that it is on.
    pub base_asset: Option<String>,
    /// Name of the tier table.
    pub tier_table: String,
}

/// Price of an asset.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// In the valuation asset.
    pub price: f64,
    /// Name of the weight table.
    pub weight_table: String,
    /// Whether the factor `*` leaves it alone.
    pub is_stable: bool,
}

/// Contract terms, marks and asset prices. See the module.
#[derive(Clone)]
pub struct Market {
    /// Instruments by code.
    pub instruments: Names,
    /// Terms by instrument code.
    pub terms: Vec<Terms>,
    /// Assets by code.
    pub assets: Names,
    /// Prices by asset code.
    pub prices: Vec<Price>,
    /// Moves of all these, one after another; a ruleset tells what `*` is.
    pub shocks: Vec<Factors>,
}

impl Market {
    /// Builds a market, or returns every bad value of the two frames.
    ///
    /// Ids must be distinct within their frame.
    ///
    /// # Errors
    ///
    /// The faults, in order of frame, row and column.
    pub fn build(instruments: &Instruments, assets: &Assets) -> Result<Self, Vec<Fault>> {
        let faults = faults(instruments, assets);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut asset_names = Names::default();
        asset_names.find_or_add(&assets.asset, 1);
        let settle = asset_names.find(&instruments.settle_asset);
        let mut instrument_names = Names::default();
        instrument_names.find_or_add(&instruments.instrument, 1);
        let name = |ids: &Option<Ids>, row: usize, own: &str| {
            ids.as_ref().and_then(|ids| ids.text(row)).unwrap_or_else(|| own.to_owned())
        };
        let terms = instrument_names.texts().iter().enumerate().map(|(row, own)| Terms {
            kind: instruments.kind[row],
            mark_price: instruments.mark_price.values()[row],
            contract_size: instruments.contract_size.values()[row],
            close_fee_rate: given(&instruments.close_fee_rate, row).unwrap_or(0.0),
            quanto_multiplier: match instruments.kind[row] {
                Kind::Quanto => given(&instruments.quanto_multiplier, row).unwrap_or(1.0),
                _ => 1.0,
            },
            underlying_price: match instruments.kind[row].is_option() {
                true => given(&instruments.underlying_price, row).unwrap_or(0.0),
                false => 0.0,
            },
            settle_asset: settle[row],
            settle_name: instruments.settle_asset.text(row).unwrap_or_default(),
            base_asset: instruments.base_asset.as_ref().and_then(|ids| ids.text(row)),
            tier_table: name(&instruments.tier_table, row, own),
        });
        let terms = terms.collect();
        let prices = asset_names.texts().iter().enumerate().map(|(row, own)| Price {
            price: assets.price.values()[row],
            weight_table: name(&assets.weight_table, row, own),
            is_stable: assets.is_stable.as_ref().is_some_and(|flags| flags[row]),
        });
        let prices = prices.collect();
        let shocks = Vec::new();
        Ok(Self { instruments: instrument_names, terms, assets: asset_names, prices, shocks })
    }

    /// The market moved by these shocks, after those that moved it before.
    pub fn shocked(&self, factors: Factors) -> Self {
        let mut shocked = self.clone();
        shocked.shocks.push(factors);
        shocked
    }

    /// The terms of the instrument with this name.
    pub fn terms_of(&self, name: &str) -> Option<&Terms> {
        self.instruments.code(name).map(|code| &self.terms[code as usize])
    }

    /// The price of the asset with this code; None for `NONE`.
    pub fn price_of(&self, code: u32) -> Option<&Price> {
        (code != NONE).then(|| &self.prices[code as usize])
    }
}

fn given(numbers: &Option<Numbers>, row: usize) -> Option<f64> {
    numbers.as_ref().and_then(|numbers| numbers.get(row))
}

/// The number that a row's kind needs and the row has not.
fn lacking(instruments: &Instruments, row: usize) -> Option<&'static str> {
    let kind = instruments.kind[row];
    if kind == Kind::Quanto && given(&instruments.quanto_multiplier, row).is_none() {
        return Some("quanto_multiplier");
    }
    let lacks = kind.is_option() && given(&instruments.underlying_price, row).is_none();
    lacks.then_some("underlying_price")
}

fn faults(instruments: &Instruments, assets: &Assets) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut ids = |frame, column, ids: &Ids| {
        let null = (0..ids.len()).filter(|row| !ids.is_valid(*row));
        faults.extend(null.map(|row| Fault {
            frame,
            column,
            row: row as u32,
            reason: Reason::Null,
        }));
    };
    ids("assets", "asset_id", &assets.asset);
    ids("instruments", "instrument_id", &instruments.instrument);
    ids("instruments", "settle_asset", &instruments.settle_asset);
    let mut numbers = |frame, numbers: &Numbers| {
        let column = numbers.name;
        let bad = numbers.check().into_iter();
        faults.extend(bad.map(|(row, reason)| Fault { frame, column, row, reason }));
    };
    numbers("assets", &assets.price);
    numbers("instruments", &instruments.mark_price);
    numbers("instruments", &instruments.contract_size);
    let optional = [
        &instruments.close_fee_rate,
        &instruments.quanto_multiplier,
        &instruments.underlying_price,
    ];
    optional.into_iter().flatten().for_each(|column| numbers("instruments", column));
    instruments.others.iter().for_each(|column| numbers("instruments", column));
    let rows = 0..instruments.kind.len();
    faults.extend(rows.filter_map(|row| {
        lacking(instruments, row).map(|column| Fault {
            frame: "instruments",
            column,
            row: row as u32,
            reason: Reason::Null,
        })
    }));
    faults.sort_by_key(|fault| (fault.frame, fault.row, fault.column));
    faults
}
