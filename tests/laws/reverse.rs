//! Reverse stress against what the kernel says of the whole exchange, at many shocks.

use margrave_core::breach::Direction;
use margrave_core::conventions::CloseFee;
use margrave_core::market::Factors;
use margrave_core::positions::PriceKind;
use margrave_core::reverse::{Reached, Target, reverse_stress};
use proptest::prelude::*;

use crate::breach::{Breached, Way, breaches_of, ways};
use crate::cases;
use crate::draws::{Numbers, nights};
use crate::moved::Moved;
use crate::rows::{Id, Night};
use crate::swept::Swept;

/// What the kernel says of an exchange at `t`.
#[derive(Clone, Copy, Debug)]
struct Whole {
    bad_debt: f64,
    notional: f64,
    /// How far rounding reaches.
    slack: f64,
    /// Whether rounding decides a flag.
    is_open: bool,
}

fn whole(breached: &Breached, t: f64) -> Whole {
    let mut whole = Whole { bad_debt: 0.0, notional: 0.0, slack: 0.0, is_open: false };
    for account in 0..breached.swept.book.accounts() {
        let buckets = breached.buckets(account);
        let seen = buckets.iter().map(|(bucket, betas)| breached.at(bucket, betas, t));
        let (mut notional, mut past) = (0.0, false);
        for seen in seen {
            whole.bad_debt += (-seen.equity).max(0.0);
            whole.slack += seen.slack;
            whole.is_open |= seen.flag().is_none();
            notional += seen.gross_notional;
            past |= seen.is_liquidatable;
        }
        whole.notional += if past { notional } else { 0.0 };
    }
    whole
}

fn reached(breached: &Breached, target: Target) -> Option<Reached> {
    let Swept { book, rules, sweep, .. } = &breached.swept;
    let direction = breached.way.direction();
    let market = &breached.market;
    reverse_stress(book, market, rules, sweep, &direction, target, 1).expect("no options")
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn bad_debt_reaches_its_target_at_the_shock_and_not_inside(
        (night, _) in nights(),
        way in ways(),
        place in 0.001f64..0.999,
    ) {
        let breached = Breached::new(&night, &way, 5);
        let (end, _) = breached.end();
        let goal = whole(&breached, place * end);
        let here = whole(&breached, 0.0);
        let is_clear = goal.bad_debt > here.bad_debt + 1e6 * (here.slack + goal.slack);
        if !is_clear {
            return Ok(());
        }
        let amount = goal.bad_debt;
        let found = reached(&breached, Target::BadDebt(amount));
        prop_assert!(found.is_some(), "{amount} is there at {}", place * end);
        let found = found.expect("looked at");
        let t = found.shock.abs();
        prop_assert!(t <= place * end * (1.0 + 1e-9));
        let there = whole(&breached, t);
        let slack = 1e-9 * amount;
        prop_assert!((there.bad_debt - amount).abs() <= slack, "{there:?} for {amount}");
        prop_assert!((found.bad_debt - there.bad_debt).abs() <= 1e-12 * amount);
        prop_assert!(found.bad_debt >= amount, "{} of {amount}", found.bad_debt);
        for other in Breached::grid(t * (1.0 - 1e-9)) {
            let inside = whole(&breached, other);
            prop_assert!(inside.bad_debt <= amount + slack, "{inside:?} at {other} before {t}");
        }
        // More than there ever is.
        let most = Breached::grid(end * (1.0 - 1e-6)).map(|t| whole(&breached, t).bad_debt);
        let most = most.fold(0.0, f64::max);
        let beyond = reached(&breached, Target::BadDebt(1e3 * most));
        prop_assert!(beyond.is_none_or(|at| at.shock.abs() > end * (1.0 - 1e-2)), "{beyond:?}");
    }

    #[test]
    fn notional_reaches_its_target_at_the_shock_and_not_inside(
        (night, _) in nights(),
        way in ways(),
        place in 0.001f64..0.999,
        share in 0.1f64..1.0,
    ) {
        let breached = Breached::new(&night, &way, 5);
        let (end, _) = breached.end();
        let goal = whole(&breached, place * end);
        let here = whole(&breached, 0.0);
        let amount = here.notional + share * (goal.notional - here.notional);
        if goal.is_open || amount <= here.notional * (1.0 + 1e-6) {
            return Ok(());
        }
        let found = reached(&breached, Target::LiquidatableNotional(amount));
        prop_assert!(found.is_some(), "{amount} is there at {}", place * end);
        let found = found.expect("looked at");
        let t = found.shock.abs();
        prop_assert!(t <= place * end * (1.0 + 1e-9), "{t} after {}", place * end);
        prop_assert!(found.liquidatable_notional >= amount * (1.0 - 1e-12), "{found:?} {amount}");
        for other in Breached::grid(t * (1.0 - 1e-9)) {
            let inside = whole(&breached, other);
            let is_less = inside.notional <= amount * (1.0 + 1e-9);
            prop_assert!(is_less || inside.is_open, "{inside:?} at {other} before {t}: {amount}");
        }
    }

    #[test]
    fn breach_of_one_instrument_is_its_liquidation_price(
        (night, _) in nights(),
        choice in any::<prop::sample::Index>(),
    ) {
        let night = apart(&night);
        if night.positions.is_empty() || night.conventions.close_fee == CloseFee::Bankruptcy {
            return Ok(());
        }
        let swept = Swept::new(&night);
        let row = choice.index(night.positions.len());
        check_price(&swept, row)?;
    }
}

/// The night with instruments that no asset is named like.
fn apart(night: &Night) -> Night {
    let mut night = night.clone();
    let renamed = |id: &mut Id| {
        if let Id::Integer(number) = id {
            *number += 50;
        }
    };
    night.instruments.iter_mut().for_each(|row| renamed(&mut row.instrument_id));
    night.positions.iter_mut().filter_map(|row| row.instrument_id.as_mut()).for_each(renamed);
    night
}

/// Checks that a position's liquidation price is the breach of its mark, moved up or down.
fn check_price(swept: &Swept, row: usize) -> Result<(), TestCaseError> {
    let position = &swept.positions[row];
    let instrument = swept.book.position_instrument[row];
    let account = swept.book.position_account[row] as usize;
    let buckets = swept.buckets.account.iter().filter(|a| **a as usize == account).count();
    let mark = &swept.sweep.marks.instruments[instrument as usize];
    if buckets != 1 || mark.kind.is_option() {
        return Ok(()); // Another bucket may be nearer.
    }
    let name = swept.book.instruments.text(instrument).to_owned();
    let market = swept.night.market();
    for beta in [-1.0, 1.0] {
        let direction = Direction::Factors(Factors::from([(name.clone(), beta)]));
        let breaches = breaches_of(swept, &market, &direction);
        let (kind, shock) = (breaches.kind[account], breaches.shock[account]);
        let (root, breached) = (PriceKind::Root as u8, PriceKind::Breached as u8);
        prop_assert_eq!(kind == breached, position.kind == breached);
        let price = mark.price * (1.0 + beta * shock);
        let given = position.liquidation_price;
        let is_this_way = position.kind == root && (given - mark.price) * beta >= 0.0;
        let is_within = given <= 10.999 * mark.price && given > 1e-9 * mark.price;
        let mut moved = Moved::new(swept, position.bucket, instrument, Numbers::Ugly);
        if is_this_way && is_within {
            let is_same = (price / given - 1.0).abs() <= 1e-9;
            let mut meets = |price: f64| {
                let seen = moved.at(price);
                seen.margin_buffer.abs() <= seen.slack
            };
            let is_met = kind == root && meets(price) && meets(given);
            prop_assert!(kind == root && is_same || is_met, "{price} is {given} by {beta}");
        }
        if position.kind == PriceKind::None as u8 {
            let is_far = kind == root && price < 1e-9 * mark.price;
            prop_assert!(kind != root || is_far, "{price} is none");
        }
    }
    Ok(())
}

#[test]
fn a_target_that_is_reached_already_has_a_shock_of_0() {
    let mut runner = proptest::test_runner::TestRunner::new(cases(300));
    let seen = std::cell::Cell::new(0);
    let check = |(night, _): (Night, Numbers)| {
        let breached = Breached::new(&night, &Way::Up, 5);
        let totals = &breached.swept.sweep.totals;
        let debt = totals.money[totals.money.len() - 1];
        if debt > 0.0 {
            let found = reached(&breached, Target::BadDebt(debt)).expect("there already");
            prop_assert_eq!((found.shock, found.bad_debt), (0.0, debt));
            seen.set(seen.get() + 1);
        }
        Ok(())
    };
    runner.run(&nights(), check).expect("already");
    assert!(seen.get() > 20, "{} nights with bad debt", seen.get());
}
