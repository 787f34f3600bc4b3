//! Ratios are quotients of the money beside them; what a number may be is told by its range.

use margrave_core::columns::{LIMIT, Numbers, Range, Reason, Values};
use margrave_core::margin::Status;
use margrave_core::results::{Applies, MarginColumns, RATIOS, applies};
use proptest::prelude::*;

use crate::cases;
use crate::draws::nights;
use crate::swept::Swept;

/// The ratio of two amounts of money; `none` where there is nothing below the line.
fn quotient(above: f64, below: f64, none: f64) -> f64 {
    if below > 0.0 { above / below } else { none }
}

/// What each ratio of a row must be by its money, by name; those of its worst bucket apart.
fn of_sums(margins: &MarginColumns, row: usize) -> Vec<(&'static str, f64)> {
    let money = |name| margins.number(name)[row];
    let (debt, gross) = (money("debt_value"), money("gross_notional"));
    let mut expected = Vec::new();
    if gross > 0.0 {
        expected.push(("maintenance_margin_ratio", money("maintenance_margin") / gross));
        expected.push(("equity_ratio", money("margin_balance") / gross));
    }
    if money("equity") > 0.0 {
        expected.push(("effective_leverage", gross / money("equity")));
    }
    let ltv = quotient(debt, money("collateral_value"), f64::INFINITY);
    expected.push(("ltv", if debt == 0.0 { 0.0 } else { ltv }));
    if debt == 0.0 {
        expected.push(("health_factor", f64::INFINITY));
    }
    expected
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn ratios_are_quotients_of_the_money_beside_them((night, _) in nights()) {
        let swept = Swept::new(&night);
        let margins = &swept.buckets.margins;
        for row in 0..margins.len() {
            let figure = |name| margins.number(name)[row];
            let (balance, required) = (figure("margin_balance"), figure("maintenance_margin"));
            let level = quotient(balance, required, f64::INFINITY);
            prop_assert_eq!(figure("margin_level"), level);
            let ratio = quotient(required, balance, f64::INFINITY);
            prop_assert_eq!(figure("margin_ratio"), if required > 0.0 { ratio } else { 0.0 });
            for (name, expected) in of_sums(margins, row) {
                prop_assert_eq!(figure(name), expected, "{}", name);
            }
        }
        let accounts = &swept.sweep.accounts;
        for row in 0..accounts.len() {
            if accounts.status[row] != Status::Indeterminate as u8 {
                for (name, expected) in of_sums(accounts, row) {
                    prop_assert_eq!(accounts.number(name)[row], expected, "{}", name);
                }
            }
        }
    }

    #[test]
    fn a_ratio_holds_where_there_is_something_below_the_line((night, _) in nights()) {
        let swept = Swept::new(&night);
        let margins = &swept.sweep.accounts;
        prop_assert_eq!(margins.is_empty(), swept.book.accounts() == 0);
        prop_assert_eq!(margins.len(), swept.book.accounts());
        for (name, below) in [("equity_ratio", "gross_notional"), ("effective_leverage", "equity")] {
            let column = RATIOS.iter().position(|known| *known == name).expect("a ratio");
            let of = applies(margrave_core::results::MONEY.len() + column);
            let holds = |row: usize| margins.number(below)[row] > 0.0;
            let expected: Vec<bool> = (0..margins.len())
                .map(|row| margins.status[row] != Status::Indeterminate as u8 && holds(row))
                .collect();
            let valid = margins.validity(of);
            prop_assert_eq!(valid.is_none(), expected.iter().all(|valid| *valid));
            prop_assert_eq!(valid.unwrap_or_else(|| vec![true; margins.len()]), expected);
        }
        prop_assert_eq!(applies(0), Applies::Determinate);
    }
}

#[test]
fn what_is_refused_is_told_by_the_range_of_its_column() {
    use Reason::{Infinite, Negative, NotANumber, NotARate, NotPositive, TooLarge};
    let given =
        [f64::NAN, f64::INFINITY, -f64::INFINITY, 1.1e18, -1.1e18, LIMIT, -LIMIT, 1.5, 0.0, -0.5];
    let always = vec![(0, NotANumber), (1, Infinite), (2, Infinite)];
    let large = vec![(3, TooLarge), (4, TooLarge)];
    let expected = [
        ("any", vec![]),
        ("positive", vec![(6, NotPositive), (8, NotPositive), (9, NotPositive)]),
        ("not_negative", vec![(6, Negative), (9, Negative)]),
    ];
    let refused = |word| {
        let range = Range::from_word(word).expect("a word of the schema");
        let numbers = Numbers::new("column", range, Values::new(given.to_vec()));
        assert_eq!((numbers.len(), numbers.is_empty()), (given.len(), false));
        numbers.check()
    };
    for (word, further) in expected {
        assert_eq!(refused(word), [always.clone(), large.clone(), further].concat(), "{word}");
    }
    let no_rates: Vec<(u32, Reason)> = [3, 4, 5, 6, 7, 9].map(|row| (row, NotARate)).into();
    assert_eq!(refused("rate"), [always, no_rates].concat());
    assert_eq!(Range::from_word("rates"), None);
    let none = Numbers::new("column", Range::Any, Values::new(Vec::<f64>::new()));
    assert_eq!((none.len(), none.is_empty(), none.check()), (0, true, vec![]));
}

#[test]
fn every_reason_has_words_of_its_own() {
    let words = [
        (Reason::Null, "null"),
        (Reason::NotANumber, "NaN"),
        (Reason::Infinite, "infinite"),
        (Reason::TooLarge, "beyond 1e18 in size"),
        (Reason::NotPositive, "not above 0"),
        (Reason::Negative, "below 0"),
        (Reason::NotARate, "outside 0 to 1"),
    ];
    for (reason, text) in words {
        assert_eq!((reason.text(), reason.to_string()), (text, text.to_owned()));
    }
}
