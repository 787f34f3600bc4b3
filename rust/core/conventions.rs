//! Conventions: how a ruleset counts, in the words of its file.
//!
//! Each key is an enum whose variants are the words of the contract; the first is the default.
//! `Conventions::set` takes a key by name, so that a ruleset file needs no code of its own.

use crate::columns::LIMIT;
use crate::error::{Error, Result};
use crate::trigger::Trigger;

/// Declares the words of a key: the first is what stands where the key is left out.
macro_rules! words {
    ($(#[$about:meta])* $key:ident { $(#[$first:meta])* $default:ident = $word:literal,
        $($(#[$doc:meta])* $other:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $key {
            $(#[$first])* #[default] $default,
            $($(#[$doc])* $other,)*
        }

        impl $key {
            /// What the word of a ruleset file means; None where it is no word of this key.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $word => Some(Self::$default),
                    $($text => Some(Self::$other),)*
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// What a cross bucket holds.
    Pooling {
        /// Everything of the account.
        All = "all",
        /// What settles in one asset, and its balance.
        SettleAsset = "settle_asset",
    }
}

words! {
    /// How rows of one instrument and tier table in a bucket make sizes.
    Netting {
        /// One size: the net quantity.
        Net = "net",
        /// Longs and shorts apart, both margined.
        Gross = "gross",
        /// Longs and shorts apart, the one with the larger requirement margined.
        LargerSide = "larger_side",
    }
}

words! {
    /// What a tier's rate applies to.
    TierMode {
        /// The part of the size inside the tier.
        Marginal = "marginal",
        /// The whole size.
        Slab = "slab",
    }
}

words! {
    /// What the floors of tiers are measured in.
    TierBasis {
        /// Notional, settle asset.
        Notional = "notional",
        /// Units of the base asset.
        Base = "base",
        /// Contracts.
        Contracts = "contracts",
    }
}

words! {
    /// Where a size equal to a floor belongs.
    TierEdge {
        /// To the tier that begins there.
        Upper = "upper",
        /// To the tier that ends there.
        Lower = "lower",
    }
}

words! {
    /// Which price the requirement is worked out at.
    PriceBasis {
        /// The mark.
        Mark = "mark",
        /// The average entry of the size.
        Entry = "entry",
    }
}

words! {
    /// Which initial requirement a position has.
    Initial {
        /// By tier: `x * initial_rate - deduction`.
        Tier = "tier",
        /// Notional over the smallest leverage chosen; by tier where none is.
        Leverage = "leverage",
        /// The larger of the two.
        Larger = "larger",
    }
}

words! {
    /// The price at which the fee to close is counted in maintenance.
    CloseFee {
        /// No fee is counted.
        None = "none",
        /// The mark.
        Mark = "mark",
        /// The bankruptcy price.
        Bankruptcy = "bankruptcy",
    }
}

words! {
    /// Which requirement counts open orders.
    OpenOrders {
        /// The initial one.
        Initial = "initial",
        /// Both.
        Both = "both",
        /// Neither.
        None = "none",
    }
}

words! {
    /// Where unrealised profit or loss is added.
    ProfitAndLoss {
        /// Beside the weighted collateral.
        Beside = "beside",
        /// To the balance of the settle asset, before its weight.
        SettleAsset = "settle_asset",
    }
}

words! {
    /// How the margin balance is held against the requirement.
    Compare {
        /// Past the line below it.
        Lt = "lt",
        /// Past the line on it.
        Le = "le",
    }
}

words! {
    /// Whether a bucket that must hold nothing can be past the line.
    ZeroRequirement {
        /// The comparison stands as it is.
        Compare = "compare",
        /// It never is.
        Never = "never",
    }
}

/// A named rung of a ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct Rung {
    /// What it is called.
    pub name: String,
    /// It holds where `margin_balance` is below this many times the requirement.
    pub margin_level_below: f64,
}

/// The conventions of a ruleset, apart from its tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Conventions {
    /// The asset that money is counted in.
    pub valuation_asset: String,
    /// What a cross bucket holds.
    pub pooling: Pooling,
    /// How rows make sizes.
    pub netting: Netting,
    /// What a tier's rate applies to.
    pub tier_mode: TierMode,
    /// What floors of tiers are measured in.
    pub tier_basis: TierBasis,
    /// Where a size equal to a floor belongs.
    pub tier_edge: TierEdge,
    /// Which price the requirement is worked out at.
    pub price_basis: PriceBasis,
    /// Which initial requirement a position has.
    pub initial: Initial,
    /// The price at which the fee to close is counted.
    pub close_fee: CloseFee,
    /// Which requirement counts open orders.
    pub open_orders: OpenOrders,
    /// Where unrealised profit or loss is added.
    pub profit_and_loss: ProfitAndLoss,
    /// Share of unrealised profit that counts; losses count in full.
    pub profit_weight: f64,
    /// How the margin balance is held against the requirement.
    pub compare: Compare,
    /// What the maintenance requirement is multiplied by at the line.
    pub level: f64,
    /// Whether a bucket that must hold nothing can be past the line.
    pub zero_requirement: ZeroRequirement,
    /// Rungs by margin level, the worst last.
    pub ladder: Vec<Rung>,
}

impl Default for Conventions {
    fn default() -> Self {
        Self {
            valuation_asset: "USD".to_owned(),
            pooling: Pooling::All,
            netting: Netting::Net,
            tier_mode: TierMode::Marginal,
            tier_basis: TierBasis::Notional,
            tier_edge: TierEdge::Upper,
            price_basis: PriceBasis::Mark,
            initial: Initial::Tier,
            close_fee: CloseFee::None,
            open_orders: OpenOrders::Initial,
            profit_and_loss: ProfitAndLoss::Beside,
            profit_weight: 1.0,
            compare: Compare::Lt,
            level: 1.0,
            zero_requirement: ZeroRequirement::Compare,
            ladder: Vec::new(),
        }
    }
}

impl Conventions {
    /// Sets a key of a ruleset file to one of its words.
    ///
    /// # Errors
    ///
    /// `Error::Rules` with the key's path where the word is none of its words, or the key none.
    pub fn set(&mut self, key: &str, word: &str) -> Result<()> {
        fn put<T>(place: &mut T, word: Option<T>) -> bool {
            word.map(|word| *place = word).is_some()
        }
        let (section, known) = match key {
            "pooling" => ("buckets", put(&mut self.pooling, Pooling::from_word(word))),
            "netting" => ("buckets", put(&mut self.netting, Netting::from_word(word))),
            "tier_mode" => ("requirement", put(&mut self.tier_mode, TierMode::from_word(word))),
            "tier_basis" => ("requirement", put(&mut self.tier_basis, TierBasis::from_word(word))),
            "tier_edge" => ("requirement", put(&mut self.tier_edge, TierEdge::from_word(word))),
            "price_basis" => {
                ("requirement", put(&mut self.price_basis, PriceBasis::from_word(word)))
            }
            "initial" => ("requirement", put(&mut self.initial, Initial::from_word(word))),
            "close_fee" => ("requirement", put(&mut self.close_fee, CloseFee::from_word(word))),
            "open_orders" => {
                ("requirement", put(&mut self.open_orders, OpenOrders::from_word(word)))
            }
            "profit_and_loss" => {
                ("collateral", put(&mut self.profit_and_loss, ProfitAndLoss::from_word(word)))
            }
            "compare" => ("trigger", put(&mut self.compare, Compare::from_word(word))),
            "zero_requirement" => {
                ("trigger", put(&mut self.zero_requirement, ZeroRequirement::from_word(word)))
            }
            _ => return Err(Error::Rules(format!("{key}: no such key"))),
        };
        if known {
            Ok(())
        } else {
            Err(Error::Rules(format!("{section}.{key}: {word:?} is no word of it")))
        }
    }

    /// What is wrong with the numbers, each after its path.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if !(0.0..=1.0).contains(&self.profit_weight) {
            let given = self.profit_weight;
            mistakes.push(format!("collateral.profit_weight: {given} is outside 0 to 1"));
        }
        if !(0.0..=100.0).contains(&self.level) {
            mistakes.push(format!("trigger.level: {} is outside 0 to 100", self.level));
        }
        let mut above = f64::INFINITY;
        for (i, rung) in self.ladder.iter().enumerate() {
            let below = rung.margin_level_below;
            if !(below > 0.0 && below <= LIMIT && below < above) {
                mistakes.push(format!(
                    "ladder.{i}.margin_level_below: {below} is not above 0, at most 1e18 and below \
                     the rung before"
                ));
            }
            above = below;
        }
        mistakes
    }

    /// Whether sizes are net, valued at the mark and tiered by notional, without fees and without
    /// orders: what most rulesets say, and the short ways of the kernel are for.
    pub fn are_plain(&self) -> bool {
        self.close_fee == CloseFee::None
            && self.price_basis == PriceBasis::Mark
            && self.tier_basis == TierBasis::Notional
            && self.netting == Netting::Net
            && self.open_orders != OpenOrders::Both
    }

    /// Whether the trigger holds: decided by comparing money, never by a ratio.
    #[inline]
    pub fn is_past(&self, margin_balance: f64, maintenance_margin: f64) -> bool {
        self.trigger().is_past(margin_balance, maintenance_margin)
    }

    /// What the trigger compares.
    #[inline(always)]
    pub(crate) fn trigger(&self) -> Trigger {
        Trigger {
            level: self.level,
            is_past_on_line: self.compare == Compare::Le,
            is_past_at_zero: self.zero_requirement == ZeroRequirement::Compare,
        }
    }

    /// The same of a margin buffer: a difference is below 0, or 0, where its numbers compare so.
    #[inline]
    pub fn is_past_by(&self, margin_buffer: f64, maintenance_margin: f64) -> bool {
        let past = match self.compare {
            Compare::Lt => margin_buffer < 0.0,
            Compare::Le => margin_buffer <= 0.0,
        };
        past && (self.zero_requirement == ZeroRequirement::Compare || maintenance_margin > 0.0)
    }

    /// What counts of an instrument's profit or loss.
    #[inline]
    pub fn counted(&self, profit: f64) -> f64 {
        if profit > 0.0 { profit * self.profit_weight } else { profit }
    }

    /// The lowest rung that holds, as an index; None where none does or nothing is required.
    #[inline]
    pub fn rung(&self, margin_balance: f64, maintenance_margin: f64) -> Option<u32> {
        if self.ladder.is_empty() || maintenance_margin <= 0.0 {
            return None;
        }
        let holds = |rung: &Rung| margin_balance < rung.margin_level_below * maintenance_margin;
        self.ladder.iter().rposition(holds).map(|index| index as u32)
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
    fn a_buffer_is_past_where_its_numbers_are() {
        for compare in [Compare::Lt, Compare::Le] {
            for zero_requirement in [ZeroRequirement::Compare, ZeroRequirement::Never] {
                let rules = Conventions { compare, zero_requirement, ..Conventions::default() };
                for (balance, required) in
                    [(4.0, 5.0), (5.0, 5.0), (6.0, 5.0), (-1.0, 0.0), (0.0, 0.0), (1.0, 0.0)]
                {
                    let by = rules.is_past_by(balance - required, required);
                    assert_eq!(by, rules.is_past(balance, required), "{rules:?} {balance}");
                }
            }
        }
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

    #[test]
    fn a_word_of_another_key_is_refused_with_its_path() {
        let mut conventions = Conventions::default();
        conventions.set("netting", "gross").unwrap();
        assert_eq!(conventions.netting, Netting::Gross);
        let message = conventions.set("netting", "slab").unwrap_err().to_string();
        assert!(message.contains("buckets.netting"), "{message}");
        assert!(conventions.set("nettings", "gross").is_err());
    }

    #[test]
    fn the_worst_rung_that_holds_is_given() {
        let rung = |name: &str, margin_level_below| Rung { name: name.into(), margin_level_below };
        let ladder = vec![rung("call", 1.5), rung("reduce_only", 1.2)];
        let conventions = Conventions { ladder, ..Conventions::default() };
        assert_eq!(conventions.rung(15.0, 10.0), None);
        assert_eq!(conventions.rung(14.9, 10.0), Some(0));
        assert_eq!(conventions.rung(-1.0, 10.0), Some(1));
        assert_eq!(conventions.rung(-1.0, 0.0), None);
    }

    #[test]
    fn every_number_out_of_place_is_told_with_its_path() {
        let rung = |below| Rung { name: "call".into(), margin_level_below: below };
        let paths = |conventions: Conventions| -> Vec<String> {
            let mistakes = conventions.mistakes().into_iter();
            mistakes.map(|text| text.split(':').next().unwrap().to_owned()).collect()
        };
        let ladder = |rungs: &[f64]| {
            let ladder = rungs.iter().map(|below| rung(*below)).collect();
            paths(Conventions { ladder, ..Conventions::default() })
        };
        assert!(ladder(&[1.5, 1.2, 1.0]).is_empty());
        assert_eq!(ladder(&[1.5, 1.5]), ["ladder.1.margin_level_below"]);
        assert_eq!(ladder(&[1.2, 1.5]), ["ladder.1.margin_level_below"]);
        assert_eq!(ladder(&[0.0]), ["ladder.0.margin_level_below"]);
        assert_eq!(ladder(&[f64::NAN]), ["ladder.0.margin_level_below"]);
        assert_eq!(ladder(&[1.1e18, 1.0]), ["ladder.0.margin_level_below"]);
        assert!(ladder(&[1e18, 1.0]).is_empty());
        let wrong = Conventions { profit_weight: 1.1, level: 101.0, ..Conventions::default() };
        assert_eq!(paths(wrong), ["collateral.profit_weight", "trigger.level"]);
        let edges = Conventions { profit_weight: 1.0, level: 100.0, ..Conventions::default() };
        assert!(paths(edges).is_empty());
    }
}
