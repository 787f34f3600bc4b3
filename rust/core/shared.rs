//! What the input rows of one merged row share: their side's figures, their instrument's prices.

use bytemuck::{Pod, Zeroable};

use crate::keys::NONE;
use crate::liquidation::{Liquidation, Prices};

/// How a liquidation price came about, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PriceKind {
    /// There is one.
    Root,
    /// No positive price reaches the trigger.
    None,
    /// The trigger holds already.
    Breached,
}

/// Words for `PriceKind`, by number.
pub const PRICE_KIND: [&str; 3] = ["root", "none", "breached"];

/// A size and what it must hold, valuation asset, with the contracts that share each of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// From 0.
    pub(crate) tier: usize,
    pub(crate) maintenance: f64,
    pub(crate) kept: f64,
    pub(crate) initial: f64,
    pub(crate) opened: f64,
}

/// What the input rows of one merged row share; it fills a line of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Shared {
    /// Maintenance margin of the side, valuation asset, and the contracts that share it.
    pub(crate) maintenance: f64,
    pub(crate) kept: f64,
    /// The same of the initial margin.
    pub(crate) initial: f64,
    pub(crate) opened: f64,
    /// 0 where there is none.
    pub(crate) liquidation_price: f64,
    /// 0 where there is none.
    pub(crate) bankruptcy_price: f64,
    /// Number of the bucket in the blocks; `NONE` where nothing is known.
    pub(crate) bucket: u32,
    /// Tier of the side, from 1.
    pub(crate) tier: u32,
    /// `PriceKind` as a number.
    pub(crate) kind: u32,
    unused: u32,
}

impl Shared {
    /// Of an indeterminate account.
    pub(crate) const NOTHING: Self = Self {
        maintenance: 0.0,
        kept: 0.0,
        initial: 0.0,
        opened: 0.0,
        liquidation_price: 0.0,
        bankruptcy_price: 0.0,
        bucket: NONE,
        tier: 0,
        kind: 0,
        unused: 0,
    };

    /// Of rows of this size, in this bucket, whose instrument has these prices.
    #[inline]
    pub(crate) fn new(bucket: u32, size: &Size, prices: &Prices) -> Self {
        let (kind, liquidation_price) = match prices.liquidation {
            Liquidation::Root(price) => (PriceKind::Root, price),
            Liquidation::None => (PriceKind::None, 0.0),
            Liquidation::Breached => (PriceKind::Breached, 0.0),
        };
        Self {
            maintenance: size.maintenance,
            kept: size.kept,
            initial: size.initial,
            opened: size.opened,
            liquidation_price,
            bankruptcy_price: prices.bankruptcy.unwrap_or(0.0),
            bucket,
            tier: size.tier as u32 + 1,
            kind: kind as u32,
            unused: 0,
        }
    }
}
