//! A ruleset: what must be held against a book, and when an account is past the line.
//!
//! `Rules` holds a venue's conventions and its tables. A venue is data: nothing here knows
//! one by name.

use crate::error::{Error, Result};
use crate::tiers::{TierRow, Tiers};
use crate::weights::{WeightRow, Weights};

/// Which initial requirement a position has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// By tier: `x * initial_rate - deduction`.
    #[default]
    Tier,
    /// Notional over the smallest leverage chosen; by tier where none is.
    Leverage,
    /// The larger of the two.
    Larger,
}

/// How the margin balance is held against the requirement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compare {
    /// Past the line below it.
    #[default]
    Lt,
    /// Past the line on it.
    Le,
}

/// Whether a bucket that must hold nothing can be past the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroRequirement {
    /// The comparison stands as it is.
    #[default]
    Compare,
    /// It never is.
    Never,
}

/// The conventions of a ruleset, apart from its tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Conventions {
    /// Which initial requirement a position has.
    pub initial: Initial,
    /// Share of unrealised profit that counts; losses count in full.
    pub profit_weight: f64,
    /// How the margin balance is held against the requirement.
    pub compare: Compare,
    /// What the maintenance requirement is multiplied by at the line.
    pub level: f64,
    /// Whether a bucket that must hold nothing can be past the line.
    pub zero_requirement: ZeroRequirement,
}

impl Default for Conventions {
    fn default() -> Self {
        Self {
            initial: Initial::Tier,
            profit_weight: 1.0,
            compare: Compare::Lt,
            level: 1.0,
            zero_requirement: ZeroRequirement::Compare,
        }
    }
}

impl Conventions {
    /// Reads the words of a ruleset file.
    pub fn from_words(
        initial: &str,
        compare: &str,
        zero_requirement: &str,
        profit_weight: f64,
        level: f64,
    ) -> Result<Self> {
        let unknown = |path: &str, word: &str| Error::Rules(format!("{path}: {word:?} is no word"));
        let initial = match initial {
            "tier" => Initial::Tier,
            "leverage" => Initial::Leverage,
            "larger" => Initial::Larger,
            _ => return Err(unknown("requirement.initial", initial)),
        };
        let compare = match compare {
            "lt" => Compare::Lt,
            "le" => Compare::Le,
            _ => return Err(unknown("trigger.compare", compare)),
        };
        let zero_requirement = match zero_requirement {
            "compare" => ZeroRequirement::Compare,
            "never" => ZeroRequirement::Never,
            _ => return Err(unknown("trigger.zero_requirement", zero_requirement)),
        };
        Ok(Self { initial, profit_weight, compare, level, zero_requirement })
    }

    /// Whether the trigger holds: decided by comparing money, never by a ratio.
    #[inline]
    pub fn is_past(&self, margin_balance: f64, maintenance_margin: f64) -> bool {
        let line = self.level * maintenance_margin;
        let past = match self.compare {
            Compare::Lt => margin_balance < line,
            Compare::Le => margin_balance <= line,
        };
        past && (self.zero_requirement == ZeroRequirement::Compare || maintenance_margin > 0.0)
    }

    /// What counts of an instrument's profit or loss.
    #[inline]
    pub fn counted(&self, profit: f64) -> f64 {
        if profit > 0.0 { profit * self.profit_weight } else { profit }
    }
}

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
        let mut mistakes = Vec::new();
        if !(0.0..=1.0).contains(&conventions.profit_weight) {
            let given = conventions.profit_weight;
            mistakes.push(format!("collateral.profit_weight: {given} is outside 0 to 1"));
        }
        if !(0.0..=100.0).contains(&conventions.level) {
            mistakes.push(format!("trigger.level: {} is outside 0 to 100", conventions.level));
        }
        let mut keep = |table_mistakes: Vec<String>| mistakes.extend(table_mistakes);
        let tiers = Tiers::try_new(tiers).map_err(&mut keep);
        let weights = Weights::try_new(weights).map_err(&mut keep);
        match (tiers, weights) {
            (Ok(tiers), Ok(weights)) if mistakes.is_empty() => {
                Ok(Self { conventions, tiers, weights })
            }
            _ => Err(Error::Rules(mistakes.join("\n"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_le_is_past_on_the_line() {
        let lt = Conventions::default();
        let le = Conventions { compare: Compare::Le, ..lt.clone() };
        assert!(!lt.is_past(5.0, 5.0) && le.is_past(5.0, 5.0));
        assert!(lt.is_past(4.9, 5.0) && le.is_past(4.9, 5.0));
    }

    #[test]
    fn nothing_required_is_never_past_where_the_rules_say_so() {
        let never =
            Conventions { zero_requirement: ZeroRequirement::Never, ..Conventions::default() };
        assert!(!never.is_past(-5.0, 0.0));
        assert!(never.is_past(-5.0, 1e-9));
        assert!(Conventions::default().is_past(-5.0, 0.0));
    }

    #[test]
    fn losses_count_in_full() {
        let half = Conventions { profit_weight: 0.5, ..Conventions::default() };
        assert_eq!((half.counted(8.0), half.counted(-8.0)), (4.0, -8.0));
    }
}
