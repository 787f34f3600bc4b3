//! Corners that random nights seldom reach.

use margrave_core::conventions::{Conventions, Initial, PriceBasis, Rung, TierEdge, TierMode};
use margrave_core::positions::PriceKind;
use margrave_core::rules::Rules;
use margrave_core::sweep::Sweep;
use margrave_core::tiers::TierRow;
use margrave_core::weights::WeightRow;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::draws_rules::{KEYS, in_words};
use crate::rows::{
    Asset, Balance, Id, Instrument, Kind, MarginMode, Night, Others, Position, Tier, Weight,
};
use crate::swept::Swept;

/// One account with rows of one instrument, each a quantity and an entry, and cash that counts
/// in full, under tiers of floor and rate.
fn night(
    kind: Kind,
    mark_price: f64,
    rows: &[(f64, f64)],
    cash: f64,
    tiers: &[(f64, f64)],
) -> Night {
    let id = || Id::Text("X".to_owned());
    let position = |(quantity, entry_price): &(f64, f64)| Position {
        account_id: Some(id()),
        instrument_id: Some(id()),
        quantity: *quantity,
        entry_price: *entry_price,
        margin_mode: None,
        isolated_margin: None,
        leverage: None,
        tier_table: None,
        open_buy_quantity: None,
        open_sell_quantity: None,
    };
    let tier = |(floor, rate): &(f64, f64)| Tier {
        tier_table: id(),
        floor: *floor,
        maintenance_rate: *rate,
        initial_rate: *rate,
        deduction: None,
    };
    Night {
        positions: rows.iter().map(position).collect(),
        balances: vec![Balance { account_id: Some(id()), asset_id: Some(id()), amount: cash }],
        instruments: vec![Instrument {
            instrument_id: id(),
            kind,
            settle_asset: id(),
            mark_price,
            contract_size: None,
            tier_table: None,
            close_fee_rate: None,
            quanto_multiplier: None,
            underlying_price: None,
            _others: Others,
        }],
        assets: vec![Asset { asset_id: id(), price: 1.0, weight_table: None, _others: Others }],
        tiers: tiers.iter().map(tier).collect(),
        weights: vec![Weight {
            weight_table: id(),
            floor: None,
            maintenance_weight: 1.0,
            initial_weight: None,
            liability_weight: None,
            borrow_maintenance_rate: None,
            borrow_initial_rate: None,
        }],
        ..Night::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_step_at_the_mark_is_the_mark_itself(quantity in select(&[0.5, 1.0, 4.0][..]), mark in 0.1..1e5) {
        // At the floor 0 is required, and just past it all of a notional that is not there.
        let floor = quantity * (1.0 / mark);
        let mut night =
            night(Kind::Inverse, mark, &[(quantity, mark)], floor / 2.0, &[(0.0, 0.0), (floor, 1.0)]);
        night.conventions = Conventions {
            tier_mode: TierMode::Slab,
            tier_edge: TierEdge::Lower,
            ..Conventions::default()
        };
        let row = Swept::new(&night).positions[0];
        prop_assert_eq!(row.kind, PriceKind::Root as u8);
        prop_assert_eq!(row.liquidation_price.to_bits(), mark.to_bits());
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn no_requirement_is_below_0_where_floors_all_but_meet(
        floor in 1.0..1e9,
        rates in (1e-3..1.0, 1e-3..1.0),
    ) {
        // Where the second rate begins, all that is required is an ulp at the first.
        let rates = [(0.0, 0.0), (floor, rates.0), (f64::next_up(floor), rates.1)];
        let tiers = night(Kind::Linear, 1.0, &[], 0.0, &rates).rules().tiers;
        let required = tiers.table(0)[2].maintenance.at(f64::next_up(floor));
        prop_assert!(required >= 0.0, "{}", required);
    }
}

#[test]
fn rows_that_cost_nothing_together_gain_from_a_price_of_0_on() {
    // 2 at 8 and -1 at 16: the profit is P, of which half counts: P / 2 - 3.5 = P / 16 at 8.
    let rows = [(2.0, 8.0), (-1.0, 16.0)];
    let mut night = night(Kind::Linear, 16.0, &rows, -3.5, &[(0.0, 0.0625)]);
    night.conventions.profit_weight = 0.5;
    for row in Swept::new(&night).positions {
        assert_eq!((row.kind, row.liquidation_price), (PriceKind::Root as u8, 8.0));
    }
}

#[test]
fn an_isolated_bucket_needs_no_weights_under_any_word() {
    for turn in 0..6 {
        let mut night = night(Kind::Linear, 16.0, &[(2.0, 8.0)], 0.0, &[(0.0, 0.0625)]);
        night.conventions = in_words(std::array::from_fn(|key| {
            let words = KEYS[key].1;
            words[(turn / (1 + key % 2)) % words.len()]
        }));
        night.balances.clear();
        night.weights.clear();
        night.positions[0].margin_mode = Some(MarginMode::Isolated);
        night.positions[0].isolated_margin = Some(1.0);
        let swept = Swept::new(&night);
        assert_eq!(swept.sweep.accounts.numbers[0], [1.0 + 16.0]);
        let entry = night.conventions.price_basis == PriceBasis::Entry;
        let required = if entry { 1.0 } else { 2.0 };
        assert_eq!(swept.positions[0].maintenance_margin, required);
    }
}

#[test]
fn an_isolated_debt_needs_the_weights_of_its_asset_under_any_word() {
    for word in ["beside", "settle_asset"] {
        let mut night = night(Kind::Linear, 16.0, &[(2.0, 8.0)], 0.0, &[(0.0, 0.0625)]);
        night.conventions.set("profit_and_loss", word).expect("a word of the contract");
        night.balances.clear();
        night.weights.clear();
        night.positions[0].margin_mode = Some(MarginMode::Isolated);
        night.positions[0].isolated_margin = Some(-1.0);
        let (book, market, rules) = (night.book(1), night.market(), night.rules());
        let refused = Sweep::run(&book, &market, &rules, false, 1).err().expect("no weights");
        assert!(refused.to_string().starts_with("weights.weight_table"), "{word}: {refused}");
    }
}

#[test]
fn numbers_of_a_ruleset_have_their_bounds() {
    let mistakes = |change: fn(&mut Conventions)| {
        let mut conventions = Conventions::default();
        change(&mut conventions);
        Rules::try_new(conventions, &[], &[]).err().map(|error| error.to_string())
    };
    assert_eq!(mistakes(|c| (c.profit_weight, c.level) = (0.0, 0.0)), None);
    assert_eq!(mistakes(|c| (c.profit_weight, c.level) = (1.0, 100.0)), None);
    let both = mistakes(|c| (c.profit_weight, c.level) = (1.0f64.next_up(), 100.0f64.next_up()));
    let both = both.expect("both are too large");
    assert!(
        both.starts_with("collateral.profit_weight") && both.contains("\ntrigger.level"),
        "{both}"
    );
    assert!(mistakes(|c| c.level = f64::NAN).is_some());
    assert!(mistakes(|c| c.profit_weight = -1e-9).is_some());
    for (below, is_wrong) in [
        (&[2.0, 1.0][..], false),
        (&[1e18], false),
        (&[2.0, 2.0], true),
        (&[1.0, 2.0], true),
        (&[1.0, 0.0], true),
        (&[f64::NAN], true),
    ] {
        let rung = |below: &f64| Rung { name: below.to_string(), margin_level_below: *below };
        let ladder = below.iter().map(rung).collect();
        let conventions = Conventions { ladder, ..Conventions::default() };
        assert_eq!(Rules::try_new(conventions, &[], &[]).is_err(), is_wrong, "{below:?}");
    }
}

#[test]
fn of_the_rows_of_an_account_the_one_that_overflows_is_refused() {
    // Orders of 1e18 at 1e300 each are beyond all doubles; the other row is not.
    let mut night = night(Kind::Inverse, 1e-300, &[(1e-200, 1.0), (0.0, 1.0)], 1.0, &[(0.0, 0.1)]);
    night.positions[1].open_buy_quantity = Some(1e18);
    let swept = Swept::new(&night);
    let rows: Vec<u32> = swept.sweep.faults.iter().map(|fault| fault.row).collect();
    assert_eq!((rows, swept.sweep.faults[0].column), (vec![1], "entry_price"));
}

/// Which rows of the night's one account are refused for what overflows, and their columns.
fn refused(night: &Night) -> Vec<(u32, &'static str)> {
    Swept::new(night).sweep.faults.iter().map(|fault| (fault.row, fault.column)).collect()
}

#[test]
fn what_overflows_is_told_by_size_by_orders_and_in_the_valuation_asset() {
    // A contract is worth 1e295, so 1e18 of them are beyond all doubles, and 1e10 are not.
    let rows = [(1e10, 1.0), (0.0, 1.0), (1e18, 1.0), (0.0, 1.0)];
    let mut night = night(Kind::Inverse, 1e-295, &rows, 1.0, &[(0.0, 0.1)]);
    night.assets[0].price = 1e-18;
    night.positions[1].open_buy_quantity = Some(1e10);
    assert_eq!(refused(&night), [(2, "entry_price")]);
    for row in [2, 3] {
        night.positions[row].open_buy_quantity = Some(5e17);
        night.positions[row].open_sell_quantity = Some(5e17);
    }
    assert_eq!(refused(&night), [(2, "entry_price"), (3, "entry_price")]);
}

#[test]
fn what_overflows_is_told_by_its_entry() {
    // 1 / 5e-324 is beyond all doubles; 1 / 1e-305 is not, once in the valuation asset.
    let rows = [(1.0, 1e-305), (1.0, 5e-324), (1.0, 1.0)];
    let mut night = night(Kind::Inverse, 1.0, &rows, 1.0, &[(0.0, 0.1)]);
    night.assets[0].price = 1e-18;
    assert_eq!(refused(&night), [(1, "entry_price")]);
}

#[test]
fn what_overflows_is_told_by_its_leverage() {
    let rows = [(1e18, 1e18), (1e18, 1e18)];
    let mut night = night(Kind::Linear, 1e18, &rows, 1.0, &[(0.0, 0.1)]);
    night.conventions = Conventions { initial: Initial::Leverage, ..Conventions::default() };
    night.positions[0].leverage = Some(5e-324);
    night.positions[1].leverage = Some(2.0);
    assert_eq!(refused(&night), [(0, "leverage")]);
}

#[test]
fn accounts_whose_buckets_are_finite_and_whose_sum_is_not_are_refused() {
    // Each bucket's notional is 1.2e308, and the largest double is 1.8e308.
    let rows = [(1.2e8, 1e-300); 2];
    let mut night = night(Kind::Inverse, 1e-300, &rows, 1.0, &[(0.0, 0.1)]);
    let isolate = |position: &mut Position| {
        position.margin_mode = Some(MarginMode::Isolated);
        position.isolated_margin = Some(1.0);
    };
    night.positions.iter_mut().for_each(isolate);
    assert_eq!(refused(&night), [(0, "entry_price"), (1, "entry_price")]);
    night.positions.truncate(1);
    assert_eq!(refused(&night), []);
}

#[test]
fn of_many_accounts_the_one_that_overflows_is_refused() {
    let mut night = night(Kind::Inverse, 1.0, &[(1.0, 1.0); 200], 1.0, &[(0.0, 0.1)]);
    for (row, position) in night.positions.iter_mut().enumerate() {
        position.account_id = Some(Id::Text(format!("account {row}")));
    }
    night.positions[170].entry_price = 5e-324;
    assert_eq!(refused(&night), [(170, "entry_price")]);
}

#[test]
fn floors_of_tables_begin_at_0_and_rise_within_their_bounds() {
    let refused = |floors: &[f64]| {
        let tier = |floor: &f64| TierRow {
            table: "T".to_owned(),
            floor: *floor,
            maintenance_rate: 0.1,
            initial_rate: 0.1,
            deduction: None,
        };
        let weight = |floor: &f64| WeightRow {
            table: "W".to_owned(),
            floor: *floor,
            maintenance_weight: 1.0,
            initial_weight: 1.0,
            liability_weight: 1.0,
            borrow_maintenance_rate: 0.0,
            borrow_initial_rate: 0.0,
        };
        let tiers: Vec<TierRow> = floors.iter().map(tier).collect();
        let weights: Vec<WeightRow> = floors.iter().map(weight).collect();
        let wrong = [
            Rules::try_new(Conventions::default(), &tiers, &[]).is_err(),
            Rules::try_new(Conventions::default(), &[], &weights).is_err(),
        ];
        assert_eq!(wrong[0], wrong[1], "{floors:?}");
        wrong[0]
    };
    for good in [&[0.0][..], &[0.0, 1.0], &[0.0, 5e-324, 1e18]] {
        assert!(!refused(good), "{good:?}");
    }
    let bad = [
        &[1.0][..],
        &[-1.0],
        &[f64::NAN],
        &[0.0, 0.0],
        &[0.0, 2.0, 1.0],
        &[0.0, f64::NAN],
        &[0.0, 1.1e18],
    ];
    for bad in bad {
        assert!(refused(bad), "{bad:?}");
    }
}

#[test]
fn no_rows_are_empty_and_columns_are_known_by_name() {
    let mut night = night(Kind::Linear, 2.0, &[(3.0, 1.0)], 4.0, &[(0.0, 0.1)]);
    let swept = Swept::new(&night);
    let positions = swept.sweep.positions(&swept.book, &swept.rules, 1);
    assert!(!positions.is_empty() && !swept.sweep.accounts.is_empty());
    assert_eq!(swept.sweep.accounts.number("equity"), [7.0]);
    assert_eq!(swept.sweep.accounts.number("effective_leverage"), [6.0 / 7.0]);
    assert!(swept.sweep.accounts.number("no such column").is_empty());
    assert_eq!(swept.book.buckets(), 1);
    night.positions.clear();
    night.balances.clear();
    let swept = Swept::new(&night);
    let positions = swept.sweep.positions(&swept.book, &swept.rules, 1);
    assert!(positions.is_empty() && swept.sweep.accounts.is_empty());
    assert_eq!(swept.book.buckets(), 0);
}

#[test]
fn rows_of_a_table_are_netted_whatever_rows_of_others_stand_between() {
    let tables = ["A", "B", "C", "B", "A", "C"];
    let quantities = [1.0, 2.0, 4.0, -1.0, 2.0, -4.0]; // A: 3, B: 1, C: 0
    let rows: Vec<(f64, f64)> = quantities.iter().map(|quantity| (*quantity, 10.0)).collect();
    let mut night = night(Kind::Linear, 10.0, &rows, 100.0, &[]);
    for (position, table) in night.positions.iter_mut().zip(tables) {
        position.tier_table = Some(Id::Text(table.to_owned()));
    }
    let tier = |(table, rate): (&str, f64)| Tier {
        tier_table: Id::Text(table.to_owned()),
        floor: 0.0,
        maintenance_rate: rate,
        initial_rate: rate,
        deduction: None,
    };
    night.tiers = [("A", 0.25), ("B", 0.5), ("C", 1.0)].map(tier).to_vec();
    let swept = Swept::new(&night);
    assert_eq!(swept.sweep.accounts.number("maintenance_margin"), [3.0 * 10.0 * 0.25 + 10.0 * 0.5]);
}

#[test]
fn a_kind_lacks_the_number_that_it_needs_and_no_other() {
    let lacks = |kind, multiplier, underlying| {
        let mut night = night(kind, 1.0, &[], 1.0, &[(0.0, 0.1)]);
        night.instruments[0].quanto_multiplier = multiplier;
        night.instruments[0].underlying_price = underlying;
        let faults = night.try_market().err().unwrap_or_default();
        faults.into_iter().map(|fault| (fault.column, fault.row)).collect::<Vec<_>>()
    };
    let number = Some(2.0);
    assert_eq!(lacks(Kind::Linear, None, None), []);
    assert_eq!(lacks(Kind::Inverse, None, None), []);
    assert_eq!(lacks(Kind::Quanto, number, None), []);
    assert_eq!(lacks(Kind::Quanto, None, number), [("quanto_multiplier", 0)]);
    for kind in [Kind::Call, Kind::Put] {
        assert_eq!(lacks(kind, None, number), []);
        assert_eq!(lacks(kind, number, None), [("underlying_price", 0)]);
    }
}

#[test]
fn blocks_whose_rows_interleave_behind_a_row_of_nobody_get_their_own() {
    const ACCOUNTS: usize = 1100; // more than a block holds
    let rows: Vec<(f64, f64)> = (0..=3 * ACCOUNTS).map(|row| (row as f64, 10.0)).collect();
    let mut night = night(Kind::Linear, 10.0, &rows, 1.0, &[(0.0, 0.1)]);
    for (row, position) in night.positions.iter_mut().enumerate() {
        let account = row.checked_sub(1).map(|row| row % ACCOUNTS);
        position.account_id = account.map(|account| Id::Text(format!("account {account}")));
    }
    let swept = Swept::new(&night);
    assert!(!swept.positions[0].is_known);
    for (row, position) in swept.positions.iter().enumerate().skip(1) {
        assert_eq!((position.is_known, position.notional), (true, 10.0 * row as f64));
    }
}

#[test]
fn a_long_whose_requirement_outgrows_its_profit_is_liquidated_on_the_way_up() {
    // 190 + (P - 100) = 2 * 0.8 P: 0.6 P = 90. Below the mark the buffer only grows.
    let mut night = night(Kind::Linear, 100.0, &[(1.0, 100.0)], 190.0, &[(0.0, 0.8)]);
    night.conventions = Conventions { level: 2.0, ..Conventions::default() };
    for settle_price in [1.0, 1024.0, 1.0 / 1024.0] {
        night.assets[0].price = settle_price;
        let row = Swept::new(&night).positions[0];
        assert_eq!(row.kind, PriceKind::Root as u8);
        assert!((row.liquidation_price - 150.0).abs() < 1e-9, "{}", row.liquidation_price);
    }
}
