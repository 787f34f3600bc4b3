//! Liquidation and bankruptcy prices against the flag itself, at many marks.
//!
//! A bucket is looked at through the kernel alone, with one mark moved and all else held: on
//! a grid of marks over sixteen decades, and around every mark where a tier begins or where
//! profit turns into loss.

use std::cell::RefCell;

use margrave_core::block::Bucket;
use margrave_core::keys::NONE;
use margrave_core::margin::bucket_margin;
use margrave_core::market::Market;
use margrave_core::marks::Marks;
use margrave_core::positions::PriceKind;
use margrave_core::rules::{Compare, ZeroRequirement};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::cases;
use crate::draws::{Numbers, nights, within_limit};
use crate::rows::{Asset, Balance, Id, Night, Weight};
use crate::swept::{PositionRow, Swept, scale};

const ROOT: u8 = PriceKind::Root as u8;
const BREACHED: u8 = PriceKind::Breached as u8;

/// A bucket, and the instrument whose mark moves.
struct Moved<'a> {
    swept: &'a Swept,
    market: Market,
    bucket: u32,
    instrument: u32,
    numbers: Numbers,
}

/// What the kernel says of a bucket at one mark.
#[derive(Clone, Copy, Debug)]
struct Seen {
    is_liquidatable: bool,
    margin_buffer: f64,
    maintenance_margin: f64,
    equity: f64,
    /// How far rounding reaches; 0 where all arithmetic is exact.
    slack: f64,
}

impl Seen {
    /// The flag, None where rounding decides it.
    fn flag(&self) -> Option<bool> {
        let is_clear = self.margin_buffer.abs() > self.slack
            && (self.maintenance_margin == 0.0 || self.maintenance_margin > self.slack);
        (is_clear || self.slack == 0.0).then_some(self.is_liquidatable)
    }
}

impl<'a> Moved<'a> {
    fn new(swept: &'a Swept, bucket: u32, instrument: u32, numbers: Numbers) -> Self {
        Self { swept, market: swept.night.market(), bucket, instrument, numbers }
    }

    fn held(&self) -> Bucket<'a> {
        self.swept.bucket(self.bucket)
    }

    fn mark(&self) -> f64 {
        self.swept.market.terms[self.instrument as usize].mark_price
    }

    fn at(&mut self, price: f64) -> Seen {
        let Swept { book, rules, sweep, .. } = self.swept;
        self.market.terms[self.instrument as usize].mark_price = price;
        let marks = Marks::build(book, &self.market, rules);
        let held = self.held();
        let margin = bucket_margin(&held, &marks, rules);
        let mark = &marks.instruments[self.instrument as usize];
        // Notional is made of the contract's value, profit of the price or of its inverse.
        let factor = if mark.inverse { 1.0 / price } else { price };
        let is_whole = |number: &f64| (1024.0 * number).fract() == 0.0;
        let is_exact =
            self.numbers == Numbers::Dyadic && [price, factor, mark.value].iter().all(is_whole);
        let scale = scale(&held, &marks, rules) + scale(&held, &sweep.marks, rules);
        Seen {
            is_liquidatable: margin.is_liquidatable,
            margin_buffer: margin.margin_buffer,
            maintenance_margin: margin.maintenance_margin,
            equity: margin.equity,
            slack: if is_exact { 0.0 } else { 1e-13 * scale },
        }
    }

    /// The merged rows that hold the instrument.
    fn rows(&self) -> impl Iterator<Item = usize> + use<'a> {
        let (held, instrument) = (self.held(), self.instrument);
        (0..held.instrument.len()).filter(move |row| held.instrument[*row] == instrument)
    }

    /// Marks at which a tier begins or profit turns into loss.
    fn kinks(&self) -> Vec<f64> {
        let held = self.held();
        let Swept { sweep, rules, .. } = self.swept;
        let mark = &sweep.marks.instruments[self.instrument as usize];
        let mut values = Vec::new();
        for row in self.rows() {
            let table = sweep.marks.tiers(mark, held.table_of(row));
            let same = |row: &usize| sweep.marks.tiers(mark, held.table_of(*row)) == table;
            let size = self.rows().filter(same).map(|row| held.quantity[row]).sum::<f64>().abs();
            values.extend(rules.tiers.table(table).iter().map(|tier| tier.floor / size));
        }
        let (quantity, cost) = self.rows().fold((0.0, 0.0), |(quantity, cost), row| {
            let of_row = mark.cost(held.cost[row], held.inverse_cost[row]);
            (quantity + held.quantity[row], cost + of_row)
        });
        values.push(cost / quantity);
        let size = mark.contract_size;
        let price = |value: f64| if mark.inverse { size / value } else { value / size };
        let mut prices: Vec<f64> = values.into_iter().map(price).collect();
        prices.retain(|price| (1e-30..1e30).contains(price));
        prices.sort_by(f64::total_cmp);
        prices
    }

    /// Marks just below and just above a price, before the next kink.
    fn beside(&self, price: f64, step: f64) -> [f64; 2] {
        let kinks = self.kinks();
        let next = |kink: f64| (kink + price) / 2.0;
        let below = kinks.iter().filter(|kink| **kink < price).map(|kink| next(*kink));
        let above = kinks.iter().filter(|kink| **kink > price).map(|kink| next(*kink));
        [below.fold(price * (1.0 - step), f64::max), above.fold(price * (1.0 + step), f64::min)]
    }

    /// Marks to look at: a grid, every kink and both sides of it, and half-way between kinks.
    fn grid(&self) -> Vec<f64> {
        let kinks = self.kinks();
        let wide = (-48..=48).map(|step| self.mark() * 10f64.powf(f64::from(step) / 6.0));
        let near = (1..30).flat_map(|step| {
            let ratio = 1.0 + 2f64.powi(-step);
            [self.mark() * ratio, self.mark() / ratio]
        });
        let at = kinks.iter().flat_map(|k| [*k, k * (1.0 + 1e-9), k * (1.0 - 1e-9)]);
        let between = kinks.windows(2).map(|pair| (pair[0] * pair[1]).sqrt());
        wide.chain(near).chain(at).chain(between).collect()
    }
}

/// How far apart two prices are, as a ratio of 1 or more.
fn ratio(a: f64, b: f64) -> f64 {
    (a / b).max(b / a)
}

/// Checks what the core says of one position.
fn check(moved: &mut Moved<'_>, row: &PositionRow) -> Result<(), TestCaseError> {
    let rules = moved.swept.night.conventions.clone();
    let mark = moved.mark();
    let here = moved.at(mark);
    prop_assert_eq!(here.is_liquidatable, row.kind == BREACHED);
    if row.kind == BREACHED {
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
    let is_met = seen.margin_buffer.abs() <= seen.slack;
    // Where nothing is required there, the requirement begins: perhaps below the line already.
    let never = rules.zero_requirement == ZeroRequirement::Never;
    let begins = never && seen.maintenance_margin <= seen.slack;
    prop_assert!(is_met || (begins && seen.margin_buffer < 0.0), "the line is not met: {:?}", seen);
    let expected = rules.compare == Compare::Le;
    let is_expected = seen.flag().is_none_or(|flag| flag == expected);
    prop_assert!(is_expected || begins, "{:?}", seen);
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

/// Checks that equity is gone at the bankruptcy price, or nowhere.
fn check_bankruptcy(moved: &mut Moved<'_>, row: &PositionRow) -> Result<(), TestCaseError> {
    let held = moved.held();
    let (net, gross) = moved.rows().fold((0.0, 0.0), |(net, gross), row| {
        (net + held.quantity[row], gross + held.quantity[row].abs())
    });
    let price = row.bankruptcy_price;
    if price == 0.0 {
        let [low, high] = [1e-12, 1e12].map(|ratio| moved.at(moved.mark() * ratio));
        let is_kept = low.equity.signum() == high.equity.signum();
        let is_clear = low.equity.abs() > low.slack && high.equity.abs() > high.slack;
        prop_assert!(f64::abs(net) <= 1e-12 * gross || is_kept || !is_clear);
    } else if (1e-100..1e100).contains(&price) {
        let seen = moved.at(price);
        prop_assert!(f64::abs(net) > 1e-12 * gross);
        prop_assert!(seen.equity.abs() <= seen.slack, "{:?}", seen);
    }
    Ok(())
}

/// The night with money added until each bucket stands on the line, at one of its kinks or at
/// the mark.
fn on_the_line(night: &Night, numbers: Numbers, choice: prop::sample::Index) -> Night {
    let swept = Swept::new(night);
    let cash = Id::Integer(99);
    let mut moved = night.clone();
    moved.assets.push(Asset { asset_id: cash.clone(), price: 1.0, weight_table: None });
    moved.weights.push(Weight {
        weight_table: cash.clone(),
        floor: None,
        maintenance_weight: 1.0,
        initial_weight: None,
        liability_weight: None,
        borrow_maintenance_rate: None,
        borrow_initial_rate: None,
    });
    let mut done = Vec::new();
    for (row, position) in swept.positions.iter().enumerate() {
        if done.contains(&position.bucket) {
            continue;
        }
        done.push(position.bucket);
        let instrument = swept.book.position_instrument[row];
        let mut bucket = Moved::new(&swept, position.bucket, instrument, numbers);
        let mut marks = bucket.kinks();
        marks.push(bucket.mark());
        let lack = -bucket.at(marks[choice.index(marks.len())]).margin_buffer;
        if numbers == Numbers::Dyadic && (2f64.powi(20) * lack).fract() != 0.0 {
            continue; // It must stay exact.
        }
        let settle = swept.sweep.marks.instruments[instrument as usize].settle_price;
        match &mut moved.positions[row].isolated_margin {
            Some(margin) => *margin = within_limit(*margin + lack / settle),
            None => moved.balances.push(Balance {
                account_id: night.positions[row].account_id.clone(),
                asset_id: Some(cash.clone()),
                amount: within_limit(lack),
            }),
        }
    }
    moved
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
    #![proptest_config(cases(1500))]

    #[test]
    fn no_flag_at_the_liquidation_price_and_a_flag_just_past_it((night, numbers) in nights()) {
        check_all(&night, numbers)?;
    }

    #[test]
    fn prices_hold_for_buckets_on_the_line(
        (night, numbers) in nights(),
        choice in any::<prop::sample::Index>(),
    ) {
        check_all(&on_the_line(&night, numbers, choice), numbers)?;
    }
}

#[test]
fn random_nights_have_prices_of_every_kind() {
    let counts = RefCell::new([0; 3]);
    let count = |(night, _): (Night, Numbers)| {
        let mut counts = counts.borrow_mut();
        Swept::new(&night).positions.iter().for_each(|row| counts[row.kind as usize] += 1);
        Ok(())
    };
    TestRunner::new(cases(200)).run(&nights(), count).expect("counting never fails");
    let counts = counts.into_inner();
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}
