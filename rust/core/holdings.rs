//! What comes in: the `positions` and `balances` frames as columns, before anything is checked.

use crate::columns::{Numbers, Values};
use crate::keys::Ids;

/// The `positions` frame.
pub struct Positions {
    /// Whose position it is.
    pub account: Ids,
    /// What is held.
    pub instrument: Ids,
    /// Contracts, long > 0.
    pub quantity: Numbers,
    /// Price of one unit.
    pub entry_price: Numbers,
    /// 1 where the row is a bucket of its own; none at all where the column is absent.
    pub isolated: Option<Values<u8>>,
    /// Posted to the isolated bucket, settle asset.
    pub isolated_margin: Option<Numbers>,
    /// Leverage chosen.
    pub leverage: Option<Numbers>,
    /// Tier table instead of the instrument's.
    pub tier_table: Option<Ids>,
    /// Contracts in open buy orders.
    pub open_buy: Option<Numbers>,
    /// Contracts in open sell orders.
    pub open_sell: Option<Numbers>,
}

/// The `balances` frame.
pub struct Balances {
    /// Whose balance it is.
    pub account: Ids,
    /// What is held.
    pub asset: Ids,
    /// Units of the asset, < 0 is debt.
    pub amount: Numbers,
}

/// What a book is built from.
pub struct BookInput {
    /// Positions, any order.
    pub positions: Positions,
    /// Balances, any order.
    pub balances: Balances,
    /// Ids of the `accounts` frame.
    pub accounts: Option<Ids>,
    /// Ids of the `instruments` frame.
    pub instruments: Ids,
}
