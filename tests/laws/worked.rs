//! Breaches and reverse stresses worked by hand, and an account of very many rows.

use margrave_core::breach::Direction;
use margrave_core::conventions::{
    CloseFee, Compare, Conventions, PriceBasis, ProfitAndLoss, TierMode,
};
use margrave_core::margin::{Joined, bucket_margin};
use margrave_core::market::{Factors, Market};
use margrave_core::positions::PriceKind;
use margrave_core::reverse::{Target, reverse_stress};
use margrave_core::sweep::Sweep;
use proptest::prelude::*;

use crate::breach::{breaches_of, ways, without_options};
use crate::cases;
use crate::draws::nights;
use crate::rows::{
    Asset, Balance, Id, Instrument, Kind, MarginMode, Night, Others, Position, Tier, Weight,
};
use crate::swept::Swept;

const ROOT: u8 = PriceKind::Root as u8;

fn id(name: &str) -> Id {
    Id::Text(name.to_owned())
}

fn position(instrument: &str, quantity: f64, entry_price: f64) -> Position {
    Position {
        account_id: Some(id("a")),
        instrument_id: Some(id(instrument)),
        quantity,
        entry_price,
        margin_mode: None,
        isolated_margin: None,
        leverage: None,
        tier_table: None,
        open_buy_quantity: None,
        open_sell_quantity: None,
    }
}

fn instrument(name: &str, kind: Kind, settle: &str, mark_price: f64, size: f64) -> Instrument {
    Instrument {
        instrument_id: id(name),
        kind,
        settle_asset: id(settle),
        mark_price,
        contract_size: Some(size),
        tier_table: Some(id("T")),
        close_fee_rate: None,
        quanto_multiplier: None,
        underlying_price: None,
        _others: Others,
    }
}

fn balance(asset: &str, amount: f64) -> Balance {
    Balance { account_id: Some(id("a")), asset_id: Some(id(asset)), amount }
}

/// One account `a` with an instrument X in the valuation asset USD and C in a coin, both at 100.
/// What is required is by `tiers`, floor and rate; coins weigh `weight`.
fn night(tiers: &[(f64, f64)], weight: f64, conventions: Conventions) -> Night {
    let asset = |name: &str, price| Asset {
        asset_id: id(name),
        price,
        weight_table: Some(id(name)),
        _others: Others,
    };
    let tier = |(floor, rate): &(f64, f64)| Tier {
        tier_table: id("T"),
        floor: *floor,
        maintenance_rate: *rate,
        initial_rate: *rate,
        deduction: None,
    };
    let weights = |name: &str, maintenance_weight| Weight {
        weight_table: id(name),
        floor: None,
        maintenance_weight,
        initial_weight: None,
        liability_weight: None,
        borrow_maintenance_rate: None,
        borrow_initial_rate: None,
    };
    Night {
        instruments: vec![
            instrument("X", Kind::Linear, "USD", 100.0, 1.0),
            instrument("I", Kind::Inverse, "USD", 100.0, 100.0),
            instrument("C", Kind::Linear, "COIN", 100.0, 1.0),
        ],
        assets: vec![asset("USD", 1.0), asset("COIN", 1.0)],
        tiers: tiers.iter().map(tier).collect(),
        weights: vec![weights("USD", 1.0), weights("COIN", weight)],
        conventions,
        ..Night::default()
    }
}

/// The shock of the only account; None where there is none.
fn shock(night: &Night, direction: &Direction) -> Option<f64> {
    let swept = Swept::new(night);
    let breaches = breaches_of(&swept, &night.market(), direction);
    (breaches.kind[0] == ROOT).then_some(breaches.shock[0])
}

fn is_near(found: Option<f64>, expected: f64) {
    let found = found.expect("a root");
    assert!((found - expected).abs() < 1e-15, "{found} is not {expected}");
}

#[test]
fn a_long_falls_to_its_line_and_a_short_rises_to_it() {
    let mut night = night(&[(0.0, 0.05)], 1.0, Conventions::default());
    night.positions = vec![position("X", 1.0, 100.0)];
    night.balances = vec![balance("USD", 20.0)];
    // 20 + 100 s = 0.05 * 100 (1 + s)
    is_near(shock(&night, &Direction::Down), -15.0 / 95.0);
    assert_eq!(shock(&night, &Direction::Up), None);
    is_near(shock(&night, &Direction::Adverse), 15.0 / 95.0);
    // 20 - 100 s = 0.05 * 100 (1 + s)
    night.positions[0].quantity = -1.0;
    is_near(shock(&night, &Direction::Up), 15.0 / 105.0);
    let half = Direction::Factors(Factors::from([("X".to_owned(), 0.5)]));
    is_near(shock(&night, &half), 30.0 / 105.0);
}

#[test]
fn a_step_that_jumps_the_line_is_the_shock() {
    let slab = Conventions { tier_mode: TierMode::Slab, ..Conventions::default() };
    let mut night = night(&[(0.0, 0.2), (80.0, 0.05)], 1.0, slab);
    night.positions = vec![position("X", 1.0, 100.0)];
    night.balances = vec![balance("USD", 30.0)];
    // At 80, 30 - 20 = 10 covers 4, but not the 16 below it.
    is_near(shock(&night, &Direction::Down), -0.2);
}

#[test]
fn an_inverse_contract_beside_dollars_is_a_pole() {
    let mut night = night(&[(0.0, 0.25)], 1.0, Conventions::default());
    night.positions = vec![position("I", 1.0, 100.0)];
    night.balances = vec![balance("USD", 1.0)];
    // 1 + 1 - 1 / (1 + s) = 0.25 / (1 + s)
    is_near(shock(&night, &Direction::Down), -0.375);
}

#[test]
fn what_moves_with_its_settle_asset_is_a_square() {
    let mut night = night(&[(0.0, 0.0)], 0.5, Conventions::default());
    night.positions = vec![position("C", 1.0, 100.0)];
    night.balances = vec![balance("COIN", 20.0), balance("USD", 4.0)];
    // 4 + 0.5 * 20 (1 + s) + 100 s (1 + s) = 100 s^2 + 110 s + 14
    let root = (-110.0 + (110.0f64 * 110.0 - 4.0 * 100.0 * 14.0).sqrt()) / 200.0;
    is_near(shock(&night, &Direction::Down), root);
}

#[test]
fn money_that_only_dwindles_with_its_coin_is_never_gone() {
    let mut night = night(&[(0.0, 0.0)], 1.0, Conventions::default());
    night.instruments[2].mark_price = 0.1;
    night.positions = vec![position("C", 6587.5, 0.1), position("C", -2806.0, 0.1 + 0.2)];
    // (1 + s) (378.15 (1 + s) - 658.75 + 841.8) is above 0 for every s above -1.
    assert_eq!(shock(&night, &Direction::Down), None);
}

#[test]
fn profit_that_joins_a_balance_is_weighted_and_becomes_a_debt() {
    let joined =
        Conventions { profit_and_loss: ProfitAndLoss::SettleAsset, ..Conventions::default() };
    let mut night = night(&[(0.0, 0.0)], 0.5, joined);
    night.weights[1].liability_weight = Some(2.0);
    night.positions = vec![position("C", 1.0, 100.0)];
    night.balances = vec![balance("COIN", 10.0), balance("USD", 9.0)];
    let only = Direction::Factors(Factors::from([("C".to_owned(), -1.0)]));
    // The coins are gone at 0.1; from there 9 - 2 (100 s - 10).
    is_near(shock(&night, &only), 0.145);
}

#[test]
fn the_fee_at_the_bankruptcy_price_follows_the_market() {
    let fees = Conventions { close_fee: CloseFee::Bankruptcy, ..Conventions::default() };
    let mut night = night(&[(0.0, 0.0)], 0.5, fees);
    night.instruments[0].close_fee_rate = Some(0.125);
    night.positions = vec![position("X", 1.0, 100.0)];
    night.balances = vec![balance("COIN", 60.0)];
    let only = Direction::Factors(Factors::from([("COIN".to_owned(), -1.0)]));
    // Bankruptcy is at 100 - 60 (1 - s): 30 (1 - s) = 0.125 (40 + 60 s), 30 - 30 s = 5 + 7.5 s.
    is_near(shock(&night, &only), 25.0 / 37.5);
}

#[test]
fn a_bucket_is_moved_against_by_what_it_holds() {
    let mut night = night(&[(0.0, 0.05)], 0.5, Conventions::default());
    night.positions = vec![position("X", 1.0, 100.0), position("I", -1.0, 100.0)];
    night.balances = vec![balance("COIN", 50.0)];
    // 25 (1 - s) - 100 s - (1 - 1 / (1 + s)) = 5 (1 - s) + 0.05 / (1 + s); times 1 + s:
    // 20 - 120 s^2 - 100 s - s - 0.05 = 0
    let root = (-101.0 + (101.0f64 * 101.0 + 4.0 * 120.0 * 19.95).sqrt()) / 240.0;
    is_near(shock(&night, &Direction::Adverse), root);
}

#[test]
fn an_isolated_bucket_may_be_the_first() {
    let mut night = night(&[(0.0, 0.05)], 1.0, Conventions::default());
    let mut alone = position("X", -1.0, 100.0);
    (alone.margin_mode, alone.isolated_margin) = (Some(MarginMode::Isolated), Some(10.0));
    night.positions = vec![position("X", -1.0, 100.0), alone];
    night.balances = vec![balance("USD", 1000.0)];
    // 10 - 100 s = 5 (1 + s)
    is_near(shock(&night, &Direction::Up), 5.0 / 105.0);
}

#[test]
fn exactly_on_the_line_it_is_0_or_breached() {
    for (compare, kind) in [(Compare::Lt, ROOT), (Compare::Le, PriceKind::Breached as u8)] {
        let mut night =
            night(&[(0.0, 0.0625)], 1.0, Conventions { compare, ..Conventions::default() });
        night.positions = vec![position("X", 1.0, 100.0)];
        night.balances = vec![balance("USD", 6.25)];
        let swept = Swept::new(&night);
        for direction in [Direction::Down, Direction::Up] {
            let breaches = breaches_of(&swept, &night.market(), &direction);
            assert_eq!((breaches.kind[0], breaches.shock[0].to_bits()), (kind, 0));
        }
    }
}

#[test]
fn bad_debt_and_notional_reach_what_they_are_asked_for() {
    let mut night = night(&[(0.0, 0.05)], 1.0, Conventions::default());
    let mut other = position("X", 2.0, 100.0);
    other.account_id = Some(id("b"));
    night.positions = vec![position("X", 1.0, 100.0), other];
    night.balances = vec![balance("USD", 20.0), balance("USD", 100.0)];
    night.balances[1].account_id = Some(id("b"));
    let swept = Swept::new(&night);
    let market = night.market();
    let reached = |target| {
        let Swept { book, rules, sweep, .. } = &swept;
        reverse_stress(book, &market, rules, sweep, &Direction::Down, target, 1)
            .expect("no options")
    };
    // a is worth 20 + 100 s, b 100 + 200 s: 5 by a alone; 60 by both, 300 s = -180.
    let at = reached(Target::BadDebt(5.0)).expect("reached");
    assert!((at.shock + 0.25).abs() < 1e-15 && at.bad_debt >= 5.0 && at.liquidatable_accounts == 1);
    let at = reached(Target::BadDebt(60.0)).expect("reached");
    assert!((at.shock + 0.6).abs() < 1e-15 && (at.bad_debt - 60.0).abs() < 1e-12);
    assert_eq!((reached(Target::BadDebt(180.0)), at.liquidatable_accounts), (None, 2));
    // a is past its line from -15 / 95 on, with 80 / 0.95 of notional and falling; b from -90 / 190
    // on, with 200 / 1.9 more.
    let at = reached(Target::LiquidatableNotional(80.0)).expect("reached");
    assert!((at.shock + 15.0 / 95.0).abs() < 1e-15 && at.liquidatable_accounts == 1);
    let at = reached(Target::LiquidatableNotional(85.0)).expect("reached");
    assert!((at.shock + 90.0 / 190.0).abs() < 1e-15 && at.liquidatable_accounts == 2);
    assert_eq!(reached(Target::LiquidatableNotional(160.0)), None);
}

/// An account of very many rows: a long and a short row of each instrument, tiers of many rows.
/// It loses where prices move by `beta`.
fn crowd(conventions: Conventions, beta: f64) -> Night {
    let steps = |i: usize| (f64::from(i as u32) * 97.3, 0.01 + 0.003 * ((i * 7) % 11) as f64);
    let tiers: Vec<(f64, f64)> = (0..40).map(steps).collect();
    let mut night = night(&tiers, 0.9, conventions);
    night.instruments.clear();
    for i in 0..1500 {
        let kind = if i % 3 == 0 { Kind::Inverse } else { Kind::Linear };
        let settle = if i % 2 == 0 { "USD" } else { "COIN" };
        let mark = 1.0 + (i * 31 % 97) as f64 / 3.0;
        let mut row = instrument(&format!("{i}"), kind, settle, mark, 1.0 + (i % 5) as f64);
        row.close_fee_rate = Some(0.0004);
        night.instruments.push(row);
        for (side, size) in [(1.0, 3.1 + (i % 13) as f64), (-1.0, 1.7 + (i % 17) as f64)] {
            let units = size * if kind == Kind::Inverse { mark * mark } else { 1.0 };
            let entry = mark * (1.0 - beta * side * 0.01);
            night.positions.push(position(&format!("{i}"), beta * side * units, entry));
        }
    }
    night.balances = vec![balance("COIN", 4e4), balance("USD", 2e4)];
    night
}

#[test]
fn very_many_rows_are_as_exact_as_few() {
    let joined = ProfitAndLoss::SettleAsset;
    let plain = Conventions::default();
    let slab = Conventions { tier_mode: TierMode::Slab, ..Conventions::default() };
    let bent =
        Conventions { profit_and_loss: joined, profit_weight: 0.75, ..Conventions::default() };
    let entry = Conventions { price_basis: PriceBasis::Entry, ..Conventions::default() };
    for conventions in [plain, slab, bent, entry] {
        let is_slab = conventions.tier_mode == TierMode::Slab;
        for beta in [-1.0, 1.0] {
            let night = crowd(conventions.clone(), beta);
            let swept = Swept::new(&night);
            let market = night.market();
            let factors = Factors::from([("*".to_owned(), beta), ("7".to_owned(), 0.5 * beta)]);
            let breaches = breaches_of(&swept, &market, &Direction::Factors(factors.clone()));
            assert_eq!(breaches.kind[0], ROOT);
            let at = |shock: f64| {
                let moved = factors.iter().map(|(name, beta)| (name.clone(), beta * shock));
                buffer(&swept, &market.shocked(moved.collect()))
            };
            let shock = breaches.shock[0];
            let [inside, there, past] = [1.0 - 1e-9, 1.0, 1.0 + 1e-9].map(|s| at(shock * s));
            assert!(inside.0 > 0.0 && past.0 < 0.0, "{inside:?} {past:?}");
            assert!(is_slab || there.0.abs() < 1e-12 * there.1, "{there:?} of {shock}");
        }
    }
}

/// The buffer of the only bucket in a market, and its notional.
fn buffer(swept: &Swept, market: &Market) -> (f64, f64) {
    let sweep = Sweep::run(&swept.book, market, &swept.rules, true, 1).expect("as before");
    let bucket = sweep.blocks(&swept.book)[0].bucket(0);
    let margin = bucket_margin(&bucket, &sweep.marks, &swept.rules, &mut Joined::default());
    (margin.margin_buffer, margin.two_sided_notional)
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn the_short_way_leads_where_the_walk_does((night, _) in nights(), way in ways()) {
        let mut night = without_options(&night, &way);
        let Conventions { pooling, compare, level, zero_requirement, .. } = night.conventions;
        night.conventions =
            Conventions { pooling, compare, level, zero_requirement, ..Conventions::default() };
        rising(&mut night);
        let mut named = night.clone();
        // A row that names its table takes the walk.
        for row in &mut named.positions {
            let is_its = |i: &&Instrument| Some(&i.instrument_id) == row.instrument_id.as_ref();
            let its = named.instruments.iter().find(is_its).expect("listed").tier_table.clone();
            row.tier_table = row.tier_table.take().or(its);
        }
        let market = night.market();
        let [short, walk] = [&night, &named]
            .map(|night| breaches_of(&Swept::new(night), &market, &way.direction()));
        prop_assert_eq!(&short.kind[..], &walk.kind[..]);
        for (short, walk) in short.shock.iter().zip(&walk.shock) {
            prop_assert!((short - walk).abs() <= 1e-9 * walk.abs(), "{} is not {}", short, walk);
        }
    }
}

/// Makes rates of tiers rise and weights of slices fall.
fn rising(night: &mut Night) {
    for i in 1..night.tiers.len() {
        let (below, [tier, ..]) = night.tiers.split_at_mut(i) else { continue };
        let last = below.last().filter(|last| last.tier_table == tier.tier_table);
        let rate = last.map_or(0.0, |last| last.maintenance_rate);
        tier.maintenance_rate = tier.maintenance_rate.max(rate);
    }
    for i in 1..night.weights.len() {
        let (below, [slice, ..]) = night.weights.split_at_mut(i) else { continue };
        let last = below.last().filter(|last| last.weight_table == slice.weight_table);
        let weight = last.map_or(1.0, |last| last.maintenance_weight);
        slice.maintenance_weight = slice.maintenance_weight.min(weight);
    }
}
