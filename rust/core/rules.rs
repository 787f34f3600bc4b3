//! A ruleset: what must be held against a book, and when an account is past the line.
//!
//! `Rules` holds a venue's conventions and its tables. A venue is data: nothing here knows
//! one by name.

pub use crate::conventions::Conventions;

use crate::error::{Error, Result};
use crate::tiers::{TierRow, Tiers};
use crate::weights::{WeightRow, Weights};

/// A venue's conventions and tables.
#[derive(Clone, Default)]
pub struct Rules {
    /// Everything but the tables.
    pub conventions: Conventions,
    /// Requirements by size.
    pub tiers: Tiers,
    /// Collateral weights by value.
    pub weights: Weights,
}

impl Rules {
    /// Builds a ruleset; all mistakes of its tables are in one error, a line each.
    pub fn try_new(
        conventions: Conventions,
        tiers: &[TierRow],
        weights: &[WeightRow],
    ) -> Result<Self> {
        let mut mistakes = conventions.mistakes();
        let mut keep = |table_mistakes: Vec<String>| mistakes.extend(table_mistakes);
        let tiers = Tiers::try_new(tiers, conventions.tier_mode).map_err(&mut keep);
        let weights = Weights::try_new(weights).map_err(&mut keep);
        match (tiers, weights) {
            (Ok(tiers), Ok(weights)) if mistakes.is_empty() => {
                Ok(Self { conventions, tiers, weights })
            }
            _ => Err(Error::Rules(mistakes.join("\n"))),
        }
    }
}
