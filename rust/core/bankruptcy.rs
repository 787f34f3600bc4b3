//! The value of a contract at which its bucket is worth nothing, all else held.
//!
//! Equity is one straight line in the mark of one instrument, whatever the rules: so this is
//! the root of a line. It is kept as a fraction, so that a fee on it does not overflow where
//! next to nothing is held.

use crate::marks::Mark;

/// A net quantity of at most this share of the gross one counts as none.
const NEGLIGIBLE: f64 = 1e-12;

/// A contract's value in the settle asset, as money over contracts; both are above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BankruptcyValue {
    /// What `contracts` of them are worth.
    pub amount: f64,
    /// Net contracts, without their sign.
    pub contracts: f64,
}

/// All rows of an instrument in a bucket, summed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Net {
    /// Signed contracts.
    pub quantity: f64,
    /// Contracts without their signs.
    pub gross: f64,
    /// What they cost at entry, settle asset.
    pub cost: f64,
}

impl BankruptcyValue {
    /// The value at which equity is 0, where everything but this instrument is worth `rest`
    /// (valuation asset). None where it is not positive, and where next to nothing is net.
    ///
    /// # Example
    ///
    /// Long 1 at 100 with 20 in cash: `20 + v - 100 = 0` at `v = 80`.
    #[inline]
    pub fn new(mark: &Mark, net: Net, rest: f64) -> Option<Self> {
        if net.quantity.abs() <= NEGLIGIBLE * net.gross {
            return None;
        }
        let amount = net.cost - mark.direction * (rest / mark.settle_price);
        let positive = amount != 0.0 && (amount > 0.0) == (net.quantity > 0.0);
        positive.then_some(Self { amount: amount.abs(), contracts: net.quantity.abs() })
    }

    /// The value of one contract.
    pub fn value(self) -> f64 {
        self.amount / self.contracts
    }
}
