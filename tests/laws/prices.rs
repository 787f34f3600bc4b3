//! Liquidation and bankruptcy prices against the flag itself, at many marks.
//!
//! A bucket is looked at through the kernel alone, with one mark moved and all else held: on
//! a grid of marks over sixteen decades, and around every mark where something bends.

use std::cell::RefCell;
use std::collections::HashMap;

use margrave_core::conventions::{Compare, TierEdge, TierMode, ZeroRequirement};
use margrave_core::keys::NONE;
use margrave_core::market::Kind;
use margrave_core::positions::PriceKind;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use crate::cases;
use crate::draws::{Numbers, nights};
use crate::draws_rules::{KEYS, words_of};
use crate::lines::{ABOVE, on_the_line, two_sided};
use crate::moved::{Moved, Seen};
use crate::rows::Night;
use crate::swept::{PositionRow, Swept};

const ROOT: u8 = PriceKind::Root as u8;
const BREACHED: u8 = PriceKind::Breached as u8;

/// How far apart two prices are, as a ratio of 1 or more.
fn ratio(a: f64, b: f64) -> f64 {
    (a / b).max(b / a)
}

/// Whether two prices are the same but for rounding.
fn is_near(a: f64, b: f64) -> bool {
    ratio(a, b) < 1.0 + 1e-12
}

/// Checks what the core says of one position.
fn check(moved: &mut Moved<'_>, row: &PositionRow) -> Result<(), TestCaseError> {
    let mark = moved.mark();
    let here = moved.at(mark);
    prop_assert_eq!(here.is_liquidatable, row.kind == BREACHED);
    if row.kind == BREACHED {
        return Ok(());
    }
    if moved.own().kind.is_option() || moved.net().gross == 0.0 {
        prop_assert!(row.kind != ROOT, "a price that is none");
        return Ok(());
    }
    let price = (row.kind == ROOT).then_some(row.liquidation_price);
    let reach = price.map_or(f64::INFINITY, |price| ratio(price, mark));
    for other in moved.grid() {
        if ratio(other, mark) < reach * (1.0 - 1e-12) {
            let seen = moved.at(other);
            prop_assert!(seen.flag() != Some(true), "a flag at {}: {:?}", other, seen);
        }
    }
    let Some(price) = price else { return Ok(()) };
    prop_assert!(price > 0.0 && price.is_finite());
    if !(1e-100..1e100).contains(&price) {
        return Ok(());
    }
    let seen = moved.at(price);
    check_at(moved, price, seen)?;
    let never = moved.swept.night.conventions.zero_requirement == ZeroRequirement::Never;
    let is_met = seen.margin_buffer.abs() <= seen.slack;
    if price == mark && is_met && !(never && here.maintenance_margin == 0.0) {
        return Ok(());
    }
    let step = if price == mark { 1e-6 } else { 1e-6 * (reach - 1.0).min(1.0) };
    let [below, above] = moved.beside(price, step);
    let is_past = |moved: &mut Moved<'_>, price: f64| moved.at(price).flag() != Some(false);
    let up = price >= mark && is_past(moved, above);
    let down = price <= mark && is_past(moved, below);
    if !up && !down {
        // The buffer touches the line and turns back: at a kink alone, and, unless rounding
        // decides, only under `le` and where the flag is there at the touch.
        let is_kink = moved.kinks().iter().any(|kink| ratio(*kink, price) < 1.0 + 1e-9);
        let is_touch = is_kink && (seen.slack > 0.0 || seen.is_liquidatable);
        prop_assert!(is_touch, "no flag past it: {:?}", seen);
    }
    Ok(())
}

/// Checks that the line is met at the price, or stepped over.
fn check_at(moved: &Moved<'_>, price: f64, seen: Seen) -> Result<(), TestCaseError> {
    let rules = &moved.swept.night.conventions;
    let mark = moved.mark();
    // Where nothing is required there, the requirement begins: perhaps below the line already.
    let never = rules.zero_requirement == ZeroRequirement::Never;
    let begins = never && seen.maintenance_margin <= seen.slack;
    if seen.margin_buffer.abs() <= seen.slack {
        let is_expected = seen.flag().is_none_or(|flag| flag == (rules.compare == Compare::Le));
        prop_assert!(is_expected || begins, "{:?}", seen);
        return Ok(());
    }
    let is_slab = rules.tier_mode == TierMode::Slab;
    let is_step = is_slab && moved.steps().iter().any(|step| is_near(*step, price));
    let is_begun = begins && seen.margin_buffer < 0.0;
    prop_assert!(is_step || is_begun, "the line is not met at {}: {:?}", price, seen);
    if is_step && !begins && seen.slack == 0.0 && price != mark {
        // The step itself belongs to the tier that the edge says.
        let grows = (price > mark) == (moved.own().kind != Kind::Inverse);
        let is_past = grows == (rules.tier_edge == TierEdge::Upper);
        prop_assert_eq!(seen.is_liquidatable, is_past, "at the step {}: {:?}", price, seen);
    }
    Ok(())
}

/// Checks that equity is gone at the bankruptcy price, or nowhere.
fn check_bankruptcy(moved: &mut Moved<'_>, row: &PositionRow) -> Result<(), TestCaseError> {
    let net = moved.net();
    let is_net = net.quantity.abs() > 1e-12 * net.gross;
    let price = row.bankruptcy_price;
    if price == 0.0 {
        let [low, high] = [1e-12, 1e12].map(|ratio| moved.at(moved.mark() * ratio));
        let is_kept = low.equity.signum() == high.equity.signum();
        let is_clear = low.equity.abs() > low.slack && high.equity.abs() > high.slack;
        prop_assert!(!is_net || is_kept || !is_clear);
    } else if (1e-100..1e100).contains(&price) {
        let seen = moved.at(price);
        prop_assert!(is_net);
        prop_assert!(seen.equity.abs() <= seen.slack, "{:?}", seen);
    }
    Ok(())
}

/// Checks the prices of every position of a night.
fn check_all(night: &Night, numbers: Numbers) -> Result<(), TestCaseError> {
    let swept = Swept::new(night);
    let mut done = Vec::new();
    for (row, position) in swept.positions.iter().enumerate() {
        let instrument = swept.book.position_instrument[row];
        let key = (position.bucket, instrument);
        prop_assert!(position.is_known && position.bucket != NONE);
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let mut moved = Moved::new(&swept, position.bucket, instrument, numbers);
        if moved.rows().all(|row| moved.held().quantity[row] == 0.0) {
            prop_assert!(position.kind != ROOT && position.bankruptcy_price == 0.0);
        }
        check(&mut moved, position)?;
        check_bankruptcy(&mut moved, position)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(5000))]

    #[test]
    fn no_flag_at_the_liquidation_price_and_a_flag_just_past_it((night, numbers) in nights()) {
        check_all(&night, numbers)?;
    }

    #[test]
    fn prices_hold_for_buckets_on_the_line(
        (night, numbers) in nights(),
        choice in any::<prop::sample::Index>(),
        above in select(&ABOVE[..]),
    ) {
        check_all(&on_the_line(&night, numbers, choice, above), numbers)?;
    }

    #[test]
    fn prices_hold_at_steps_and_where_the_larger_side_changes(
        (night, numbers) in nights().prop_filter("two rows", |(n, _)| n.positions.len() > 1),
        choice in any::<prop::sample::Index>(),
        above in select(&ABOVE[..]),
        at_entry in any::<bool>(),
    ) {
        let night = two_sided(&night, at_entry);
        check_all(&on_the_line(&night, numbers, choice, above), numbers)?;
    }
}

#[test]
fn random_nights_have_prices_of_every_kind_under_every_word() {
    let kinds = RefCell::new([0; 3]);
    let words: RefCell<HashMap<String, usize>> = RefCell::new(HashMap::new());
    let steps = RefCell::new(0);
    let count = |((night, numbers), choice, above): ((Night, Numbers), _, _)| {
        let swept = Swept::new(&on_the_line(&night, numbers, choice, above));
        for (row, position) in swept.positions.iter().enumerate() {
            kinds.borrow_mut()[position.kind as usize] += 1;
            if position.kind != ROOT {
                continue;
            }
            for (key, word) in words_of(&night.conventions) {
                *words.borrow_mut().entry(format!("{key} = {word}")).or_default() += 1;
            }
            let instrument = swept.book.position_instrument[row];
            let mut moved = Moved::new(&swept, position.bucket, instrument, numbers);
            let seen = moved.at(position.liquidation_price);
            *steps.borrow_mut() += usize::from(seen.margin_buffer.abs() > seen.slack);
        }
        Ok(())
    };
    let nights = (nights(), any::<prop::sample::Index>(), select(&ABOVE[..]));
    TestRunner::new(cases(1000)).run(&nights, count).expect("counting never fails");
    let kinds = kinds.into_inner();
    assert!(kinds.iter().all(|count| *count > 200), "{kinds:?}");
    let words = words.into_inner();
    assert_eq!(words.len(), KEYS.iter().map(|(_, words)| words.len()).sum::<usize>());
    assert!(words.values().all(|count| *count > 50), "{words:?}");
    let steps = steps.into_inner();
    assert!(steps > 10, "{steps} steps that jump the line");
}
