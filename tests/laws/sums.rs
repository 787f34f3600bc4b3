//! Exact sums against whole numbers of 2176 bits.

use margrave_core::exact::ExactSum;
use margrave_core::results::MONEY;
use margrave_core::sweep::Sweep;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::draws::nights;
use crate::swept::{Swept, column};
use crate::synthetic::Inputs;

const WORDS: usize = 34;

/// A whole multiple of 2^-1074, in two's complement: every finite `f64` is one.
#[derive(Clone, PartialEq, Eq)]
struct Whole([u64; WORDS]);

impl Whole {
    fn new(value: f64) -> Self {
        let bits = value.to_bits();
        let (exponent, fraction) = (bits >> 52 & 0x7ff, bits & ((1 << 52) - 1));
        let (mantissa, shift) =
            if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        let mut words = [0; WORDS];
        let wide = u128::from(mantissa) << (shift % 64);
        words[shift as usize / 64] = wide as u64;
        words[shift as usize / 64 + 1] = (wide >> 64) as u64;
        if value < 0.0 { Self(words).negated() } else { Self(words) }
    }

    fn plus(&self, other: &Self) -> Self {
        let mut carry = 0;
        Self(std::array::from_fn(|word| {
            let sum = u128::from(self.0[word]) + u128::from(other.0[word]) + carry;
            carry = sum >> 64;
            sum as u64
        }))
    }

    fn negated(&self) -> Self {
        let mut one = [0; WORDS];
        one[0] = 1;
        Self(self.0.map(|word| !word)).plus(&Self(one))
    }

    fn is_negative(&self) -> bool {
        self.0[WORDS - 1] >> 63 == 1
    }

    /// The distance to `value`.
    fn distance(&self, value: f64) -> Self {
        let difference = self.plus(&Self::new(value).negated());
        if difference.is_negative() { difference.negated() } else { difference }
    }

    fn is_below(&self, other: &Self) -> bool {
        self.0.iter().rev().cmp(other.0.iter().rev()).is_lt()
    }
}

/// Whether `rounded` is the double nearest to the sum of `values`, the even one of two.
fn is_rounded_sum(rounded: f64, values: impl Iterator<Item = f64>) -> bool {
    let sum = values.fold(Whole([0; WORDS]), |sum, value| sum.plus(&Whole::new(value)));
    let distance = sum.distance(rounded);
    [rounded.next_down(), rounded.next_up()].into_iter().all(|neighbour| {
        let to_neighbour = sum.distance(neighbour);
        let is_tie = to_neighbour == distance;
        distance.is_below(&to_neighbour) || (is_tie && rounded.to_bits() & 1 == 0)
    })
}

/// Doubles of all sizes, many of them near in size or exact opposites.
fn numbers() -> impl Strategy<Value = Vec<f64>> {
    let bits = any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |v| v.abs() < 1e300);
    let near = (-1.0..1.0, 0..120).prop_map(|(mantissa, power)| mantissa * 2f64.powi(power));
    let tiny = (0u64..1 << 54).prop_map(f64::from_bits);
    let whole = (-9i32..9).prop_map(f64::from);
    let one = prop_oneof![bits, near, tiny, whole.boxed(), Just(f64::EPSILON / 2.0)];
    (vec(one, 0..40), any::<bool>()).prop_map(|(mut values, opposites)| {
        if opposites {
            let opposites: Vec<f64> = values.iter().skip(1).map(|value| -value).collect();
            values.extend(opposites);
        }
        values
    })
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn a_sum_is_rounded_once_whatever_the_order_and_the_parts(
        values in numbers(),
        cut in any::<prop::sample::Index>(),
    ) {
        let sum = |values: &[f64]| {
            let mut sum = ExactSum::default();
            values.iter().for_each(|value| sum.add(*value));
            sum
        };
        let whole = sum(&values).round();
        prop_assert!(is_rounded_sum(whole, values.iter().copied()), "{}", whole);
        let (left, right) = values.split_at(cut.index(values.len() + 1));
        let mut parts = sum(right);
        parts.merge(&sum(left));
        prop_assert_eq!(parts.round().to_bits(), whole.to_bits());
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn totals_are_the_rounded_sums_of_the_account_columns((night, _) in nights()) {
        let swept = Swept::new(&night);
        let deficits = swept.buckets.margins.numbers[column("margin_buffer")].iter();
        let deficits = deficits.map(|buffer| if *buffer < 0.0 { -buffer } else { 0.0 });
        prop_assert!(is_rounded_sum(swept.sweep.totals.total_margin_deficit, deficits));
        check_totals(&swept.sweep);
    }
}

#[test]
fn totals_of_a_whole_exchange_are_rounded_once() {
    let night = Inputs::new(2_000, 7);
    let (book, market, rules) = (night.book(2), night.market(), night.rules());
    check_totals(&Sweep::run(&book, &market, &rules, false, 2).expect("tables are there"));
}

fn check_totals(sweep: &Sweep) {
    let (accounts, totals) = (&sweep.accounts, &sweep.totals);
    for (index, name) in MONEY.iter().enumerate() {
        let column = accounts.numbers[index].iter().copied();
        assert!(is_rounded_sum(totals.money[index], column), "{name}: {}", totals.money[index]);
    }
    let flagged = || (0..accounts.len()).filter(|row| accounts.is_liquidatable[*row]);
    let notional = flagged().map(|row| accounts.numbers[column("gross_notional")][row]);
    assert!(is_rounded_sum(totals.liquidatable_notional, notional));
    assert_eq!(totals.liquidatable_accounts, flagged().count() as u64);
    for (status, count) in totals.by_status.iter().enumerate() {
        let accounts = accounts.status.iter().filter(|s| **s as usize == status).count();
        assert_eq!(*count, accounts as u64);
    }
}
