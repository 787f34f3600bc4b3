//! Random rulesets: every word of every key, tables of few rows, rates that fall.

use margrave_core::conventions::{Conventions, Rung};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

use crate::draws::{Numbers, TABLES, named};
use crate::rows::{Tier, Weight};

/// The keys of a ruleset file and their words, the default first.
pub(crate) const KEYS: [(&str, &[&str]); 12] = [
    ("pooling", &["all", "settle_asset"]),
    ("netting", &["net", "gross", "larger_side"]),
    ("tier_mode", &["marginal", "slab"]),
    ("tier_basis", &["notional", "base", "contracts"]),
    ("tier_edge", &["upper", "lower"]),
    ("price_basis", &["mark", "entry"]),
    ("initial", &["tier", "leverage", "larger"]),
    ("close_fee", &["none", "mark", "bankruptcy"]),
    ("open_orders", &["initial", "both", "none"]),
    ("profit_and_loss", &["beside", "settle_asset"]),
    ("compare", &["lt", "le"]),
    ("zero_requirement", &["compare", "never"]),
];

/// Conventions of these words, in the order of `KEYS`.
pub(crate) fn in_words(words: [&str; KEYS.len()]) -> Conventions {
    let mut conventions = Conventions::default();
    for ((key, _), word) in KEYS.iter().zip(words) {
        conventions.set(key, word).expect("a word of the contract");
    }
    conventions
}

/// The keys of a ruleset file, and the word of each in these conventions.
pub(crate) fn words_of(conventions: &Conventions) -> [(&'static str, &'static str); KEYS.len()] {
    KEYS.map(|(key, words)| {
        let holds = |word: &&&str| {
            let mut same = conventions.clone();
            same.set(key, word).expect("a word of the contract");
            same == *conventions
        };
        (key, *words.iter().find(holds).expect("one of its words"))
    })
}

impl Numbers {
    fn floor(self) -> BoxedStrategy<f64> {
        let dyadic = &[1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 32.0, 96.0];
        self.pick(dyadic, &[1.0, 10.0, 5e4, 3e6, 150e6], 0.01..1e9)
    }

    fn rate(self) -> BoxedStrategy<f64> {
        let ugly = &[0.0, 0.004, 0.0125, 0.05, 1.0 / 3.0, 0.8, 1.0];
        self.pick(&[0.0, 0.0625, 0.0625, 0.125, 0.25, 0.5, 1.0], ugly, 1e-9..0.25)
    }

    fn weight(self) -> BoxedStrategy<f64> {
        self.pick(&[1.0, 1.0, 0.875, 0.5, 0.0], &[1.0, 0.95, 0.9, 0.5, 0.0], 1e-9..1.0)
    }

    fn liability_weight(self) -> BoxedStrategy<f64> {
        self.pick(&[1.0, 1.25, 0.5, 0.0, 2.0], &[1.0, 1.05, 0.0], 1e-9..3.0)
    }

    fn level(self) -> BoxedStrategy<f64> {
        self.pick(&[1.0, 1.0, 1.0, 1.25, 0.5, 0.0, 4.0], &[1.0, 1.05, 1.1, 0.0, 100.0], 0.5..2.0)
    }

    fn profit_weight(self) -> BoxedStrategy<f64> {
        self.pick(&[1.0, 1.0, 0.5, 0.0, 0.75], &[1.0, 0.9, 0.5, 0.0], 1e-3..1.0)
    }

    fn rung(self) -> BoxedStrategy<f64> {
        self.pick(&[4.0, 2.0, 1.5, 1.0, 0.5], &[10.0, 1.2, 1.0, 0.9], 0.1..20.0)
    }
}

pub(crate) fn conventions(n: Numbers) -> impl Strategy<Value = Conventions> {
    // Where requirements do not follow the mark, there is less to go wrong.
    let often = |key| matches!(key, "tier_basis" | "price_basis");
    let words = KEYS.map(|(key, words)| {
        let more = usize::from(often(key)) * words.len();
        (0..words.len() + more).prop_map(move |i| words[i.saturating_sub(more)])
    });
    let ladder = prop_oneof![Just(Vec::new()), vec(n.rung(), 1..4)];
    (words, n.profit_weight(), n.level(), ladder).prop_map(
        |(words, profit_weight, level, mut below)| {
            below.sort_by(|a, b| b.total_cmp(a));
            below.dedup();
            let rung = |(i, margin_level_below)| Rung { name: format!("{i}"), margin_level_below };
            let ladder = below.into_iter().enumerate().map(rung).collect();
            Conventions { profit_weight, level, ladder, ..in_words(words) }
        },
    )
}

/// Floors that rise from 0, each with something.
fn floors<S: Strategy>(n: Numbers, of_row: S) -> impl Strategy<Value = Vec<(f64, S::Value)>>
where
    S::Value: Clone,
{
    vec((n.floor(), of_row), 1..5).prop_map(|mut rows| {
        rows[0].0 = 0.0;
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        rows.dedup_by_key(|row| row.0);
        rows
    })
}

pub(crate) fn tiers(n: Numbers) -> impl Strategy<Value = Vec<Tier>> {
    vec(floors(n, (n.rate(), n.rate())), TABLES).prop_map(|tables| {
        let row = |(index, (floor, (maintenance_rate, initial_rate)))| Tier {
            tier_table: named(index),
            floor,
            maintenance_rate,
            initial_rate,
            deduction: None,
        };
        let rows = |(index, rows): (usize, Vec<_>)| rows.into_iter().map(move |row| (index, row));
        tables.into_iter().enumerate().flat_map(rows).map(row).collect()
    })
}

pub(crate) fn weights(n: Numbers) -> impl Strategy<Value = Vec<Weight>> {
    let debt = (n.liability_weight(), n.rate(), n.rate());
    let of_row = (n.weight(), weighted(0.5, n.weight()), weighted(0.5, debt));
    vec(floors(n, of_row), TABLES).prop_map(|tables| {
        type Debt = (f64, f64, f64);
        type Row = (usize, (f64, (f64, Option<f64>, Option<Debt>)));
        let row = |(index, (floor, (maintenance_weight, initial_weight, debt))): Row| Weight {
            weight_table: named(index),
            floor: Some(floor),
            maintenance_weight,
            initial_weight,
            liability_weight: debt.map(|debt| debt.0),
            borrow_maintenance_rate: debt.map(|debt| debt.1),
            borrow_initial_rate: debt.map(|debt| debt.2),
        };
        let rows = |(index, rows): (usize, Vec<_>)| rows.into_iter().map(move |row| (index, row));
        tables.into_iter().enumerate().flat_map(rows).map(row).collect()
    })
}
