//! One instrument of a bucket on a path: what its settle asset and one contract are worth.

use crate::bankruptcy::Net;
use crate::form::Atom;
use crate::market::Kind;
use crate::marks::Mark;
use crate::piece::Ray;

/// One instrument of a bucket on its path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Contract {
    /// A unit of its settle asset, valuation asset.
    pub(crate) unit: Atom,
    /// One contract, valuation asset; of an option its mark.
    pub(crate) worth: Atom,
    /// One contract where the path begins, settle asset.
    pub(crate) value: f64,
    /// Beta of the mark.
    beta: f64,
    is_inverse: bool,
}

impl Contract {
    /// An instrument whose mark and settle asset move by these betas; `pole` gives the place of
    /// a beta in the list of poles.
    pub(crate) fn new(
        mark: &Mark,
        [beta, settle_beta]: [f64; 2],
        pole: impl FnOnce(f64) -> u32,
    ) -> Self {
        let is_inverse = mark.kind == Kind::Inverse;
        let is_option = mark.kind.is_option();
        let value = if is_option { mark.contract_size * mark.price } else { mark.value };
        let worth = value * mark.settle_price;
        // (1 + a t) / (1 + b t) = 1 + (a - b) t / (1 + b t)
        let worth = match is_inverse {
            true if beta == 0.0 || settle_beta == beta => Atom::straight(worth, settle_beta - beta),
            true => Atom {
                terms: [worth, 0.0, 0.0],
                pole: worth * (settle_beta - beta),
                place: pole(beta),
            },
            false => Atom {
                terms: [worth, worth * (settle_beta + beta), worth * settle_beta * beta],
                ..Atom::default()
            },
        };
        let unit = Atom::straight(mark.settle_price, settle_beta);
        Self { unit, worth, value, beta, is_inverse }
    }

    /// Profit of all rows of an instrument by the value of a contract, settle asset.
    pub(crate) fn profit(net: Net, mark: &Mark) -> Ray {
        Ray { constant: -mark.direction * net.cost, slope: mark.direction * net.quantity }
    }

    /// Whether its value rises: None where it stands.
    pub(crate) fn rises(&self) -> Option<bool> {
        (self.beta != 0.0).then_some((self.beta > 0.0) != self.is_inverse)
    }

    /// Where one contract is worth `value`, settle asset; None where it is so nowhere.
    pub(crate) fn when(&self, value: f64) -> Option<f64> {
        let whole = if self.is_inverse { value } else { self.value };
        let away = if self.is_inverse { self.value - value } else { value - self.value };
        let t = away / (whole * self.beta);
        t.is_finite().then_some(t)
    }
}
