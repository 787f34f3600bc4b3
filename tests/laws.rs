//! Laws of the engine, on random small nights.
//!
//! Dyadic nights are exact in doubles, so there a law holds to the bit; elsewhere it holds as
//! far as rounding lets it. The cases are the same on every run.

#[path = "laws/breach.rs"]
mod breach;
#[path = "laws/controls.rs"]
mod controls;
#[path = "laws/conventions.rs"]
mod conventions;
#[path = "laws/corners.rs"]
mod corners;
#[path = "night/draws.rs"]
mod draws;
#[path = "night/draws_rules.rs"]
mod draws_rules;
#[path = "laws/extremes.rs"]
mod extremes;
#[path = "laws/legs.rs"]
mod legs;
#[path = "laws/lines.rs"]
mod lines;
#[path = "laws/moved.rs"]
mod moved;
#[path = "laws/numbering.rs"]
mod numbering;
#[path = "laws/prices.rs"]
mod prices;
#[path = "laws/ratios.rs"]
mod ratios;
#[path = "laws/reverse.rs"]
mod reverse;
#[path = "night/rounding.rs"]
mod rounding;
#[path = "night/rows.rs"]
mod rows;
#[path = "laws/rows_in_and_out.rs"]
mod rows_in_and_out;
#[path = "laws/sums.rs"]
mod sums;
#[path = "night/swept.rs"]
mod swept;
#[path = "night/synthetic.rs"]
mod synthetic;
#[path = "laws/worked.rs"]
mod worked;
#[path = "laws/worth.rs"]
mod worth;

use margrave_core::conventions::{CloseFee, Compare, Rung, TierEdge, TierMode, ZeroRequirement};
use margrave_core::keys::NONE;
use margrave_core::margin::Status;
use margrave_core::results::MONEY;
use margrave_core::sweep::Sweep;
use margrave_core::tiers::tier_at;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use draws::{dyadic_nights, nights};
use rounding::{rounding, scale};
use rows::{Balance, Position};
use swept::{Swept, column, position_bits, position_rows, row_bits};

/// So many cases, the same on every run, with nothing written to disk.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn flag_agrees_with_buffer((night, _) in nights()) {
        let swept = Swept::new(&night);
        let (margins, rules) = (&swept.buckets.margins, &night.conventions);
        for (row, bucket) in swept.buckets.bucket.iter().enumerate() {
            let figure = |name| margins.numbers[column(name)][row];
            let buffer = figure("margin_buffer");
            let is_open = swept.bucket(*bucket).quantity.iter().any(|quantity| *quantity != 0.0);
            let is_flat = !is_open && figure("debt_value") == 0.0;
            let past = if rules.compare == Compare::Le { buffer <= 0.0 } else { buffer < 0.0 };
            let never = rules.zero_requirement == ZeroRequirement::Never
                && figure("maintenance_margin") == 0.0;
            prop_assert_eq!(margins.is_liquidatable[row], past && !never && !is_flat);
            let status = margins.status[row];
            prop_assert_eq!(status == Status::Flat as u8, is_flat);
            if !is_flat {
                prop_assert_eq!(status == Status::Bankrupt as u8, figure("equity") < 0.0);
                let flagged = status == Status::Liquidation as u8;
                prop_assert!(!flagged || margins.is_liquidatable[row]);
                let is_below = status == Status::BelowInitial as u8;
                prop_assert!(!is_below || figure("free_collateral") == 0.0);
            }
        }
    }

    #[test]
    fn an_account_is_the_sum_of_its_buckets_and_as_bad_as_the_worst((night, _) in nights()) {
        let swept = Swept::new(&night);
        let (accounts, margins) = (&swept.sweep.accounts, &swept.buckets.margins);
        for account in 0..swept.book.accounts() {
            let rows = (0..margins.len()).filter(|r| swept.buckets.account[*r] == account as u32);
            let rows: Vec<usize> = rows.collect();
            for (index, name) in MONEY.iter().enumerate() {
                // A sum of nothing is 0; `Sum` of floats would make it -0.
                let sum = rows.iter().map(|row| margins.numbers[index][*row]).reduce(|a, b| a + b);
                prop_assert_eq!(accounts.numbers[index][account], sum.unwrap_or(0.0), "{}", name);
            }
            let level = |row: usize| margins.numbers[column("margin_level")][row];
            let ratio = |row: usize| margins.numbers[column("margin_ratio")][row];
            let worst = rows.iter().copied().min_by(|a, b| {
                let worse = margins.status[*b].cmp(&margins.status[*a]);
                worse.then(level(*a).total_cmp(&level(*b)))
            });
            let rung = |rungs: &[u32], row: usize| rungs.get(row).copied().unwrap_or(NONE);
            let spoken = (
                accounts.status[account],
                accounts.numbers[column("margin_level")][account],
                accounts.numbers[column("margin_ratio")][account],
                rung(&accounts.ladder, account),
            );
            let of_row =
                |row| (margins.status[row], level(row), ratio(row), rung(&margins.ladder, row));
            let nothing = (Status::Flat as u8, f64::INFINITY, 0.0, NONE);
            prop_assert_eq!(spoken, worst.map_or(nothing, of_row));
            let flagged = rows.iter().any(|row| margins.is_liquidatable[*row]);
            prop_assert_eq!(accounts.is_liquidatable[account], flagged);
            let positions = rows.iter().map(|row| margins.positions[*row]).sum::<i64>();
            prop_assert_eq!(accounts.positions[account], positions);
        }
    }

    #[test]
    fn more_cash_never_hurts(
        (night, numbers) in nights(),
        account in any::<prop::sample::Index>(),
        asset in any::<prop::sample::Index>(),
        eighths in 1u32..64,
    ) {
        let before = Swept::new(&night);
        // The fee of a short at the bankruptcy price grows with cash.
        if before.book.accounts() == 0 || night.conventions.close_fee == CloseFee::Bankruptcy {
            return Ok(());
        }
        let account = account.index(before.book.accounts());
        let asset = &night.assets[asset.index(night.assets.len())];
        let amount = f64::from(eighths) / 8.0 / asset.price;
        let id = before.account_id(account).clone();
        let mut richer = night.clone();
        richer.balances.push(Balance {
            account_id: Some(id.clone()),
            asset_id: Some(asset.asset_id.clone()),
            amount,
        });
        let after = Swept::new(&richer);
        let now = (0..after.book.accounts()).find(|now| *after.account_id(*now) == id);
        let now = now.expect("nobody is lost");
        let figure = |swept: &Swept, account: usize, name| {
            swept.sweep.accounts.numbers[column(name)][account]
        };
        let buckets = after.buckets.bucket.iter().zip(&after.buckets.account);
        let scales = buckets.filter(|(_, account)| **account == now as u32).map(|(bucket, _)| {
            scale(&after.bucket(*bucket), &after.sweep.marks, &after.rules)
        });
        let slack = rounding(numbers) * scales.sum::<f64>();
        for name in ["equity", "margin_balance", "margin_buffer", "free_collateral"] {
            let (was, is) = (figure(&before, account, name), figure(&after, now, name));
            prop_assert!(is >= was - slack, "{} falls from {} to {}", name, was, is);
        }
        for name in ["maintenance_margin", "initial_margin", "bad_debt"] {
            let (was, is) = (figure(&before, account, name), figure(&after, now, name));
            prop_assert!(is <= was + slack, "{} rises from {} to {}", name, was, is);
        }
        let newly = after.sweep.accounts.is_liquidatable[now]
            && !before.sweep.accounts.is_liquidatable[account];
        let near = after.buckets.margins.numbers[column("margin_buffer")]
            .iter()
            .any(|buffer| buffer.abs() <= slack);
        prop_assert!(!newly || (near && slack > 0.0), "cash brings a flag");
    }

    #[test]
    fn marginal_tiers_are_continuous((mut night, numbers) in nights()) {
        night.conventions.tier_mode = TierMode::Marginal;
        let rules = night.rules();
        for table in 0..4 {
            let code = rules.tiers.code(&table.to_string()).expect("a table of the night");
            let tiers = rules.tiers.table(code);
            let mut below = 0.0;
            for pair in tiers.windows(2) {
                let (low, high) = (pair[0], pair[1]);
                // What all slices below the floor must hold, each at its own rate.
                below += (high.floor - low.floor) * low.maintenance.rate;
                let slack = 8.0 * rounding(numbers) * high.floor;
                prop_assert!((low.maintenance.at(high.floor) - below).abs() <= slack);
                prop_assert!((high.maintenance.at(high.floor) - below).abs() <= slack);
                let (left, right) = (low.initial.at(high.floor), high.initial.at(high.floor));
                prop_assert!((left - right).abs() <= slack);
                let at = |size, edge| tier_at(tiers, size, edge);
                let (upper, lower) = (TierEdge::Upper, TierEdge::Lower);
                prop_assert_eq!(at(high.floor, upper), at(low.floor, upper) + 1);
                prop_assert_eq!(at(high.floor, lower), at(low.floor, upper));
                for edge in [upper, lower] {
                    prop_assert_eq!(at(high.floor.next_down(), edge), at(low.floor, upper));
                    prop_assert_eq!(at(high.floor.next_up(), edge), at(high.floor, upper));
                }
            }
        }
    }

    #[test]
    fn splitting_a_row_changes_nothing(
        night in dyadic_nights(),
        row in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
    ) {
        let cross = |row: &usize| !night.positions[*row].is_isolated();
        let rows: Vec<usize> = (0..night.positions.len()).filter(cross).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let row = *row.get(&rows);
        let half = |number: Option<f64>| number.map(|number| number / 2.0);
        let whole = &night.positions[row];
        let part = Position {
            quantity: whole.quantity / 2.0,
            open_buy_quantity: half(whole.open_buy_quantity),
            open_sell_quantity: half(whole.open_sell_quantity),
            ..whole.clone()
        };
        let mut split = night.clone();
        split.positions[row] = part.clone();
        let second = row + 1 + place.index(night.positions.len() - row);
        split.positions.insert(second, part);
        let (whole, parts) = (Swept::new(&night), Swept::new(&split));
        for margins in [
            [&whole.sweep.accounts, &parts.sweep.accounts],
            [&whole.buckets.margins, &parts.buckets.margins],
        ] {
            for row in 0..margins[0].len() {
                let [before, after] = margins.map(|margins| row_bits(margins, row));
                prop_assert_eq!((&before[..2], &before[3..]), (&after[..2], &after[3..]));
            }
        }
        let mut positions = parts.positions;
        let half = positions.remove(second);
        let other = &mut positions[row];
        other.notional += half.notional;
        other.unrealized_pnl += half.unrealized_pnl;
        other.maintenance_margin += half.maintenance_margin;
        other.initial_margin += half.initial_margin;
        for (before, after) in whole.positions.iter().zip(&positions) {
            prop_assert_eq!(position_bits(before), position_bits(after));
        }
    }

    #[test]
    fn naming_the_table_that_holds_anyway_changes_nothing(
        night in dyadic_nights(),
        named in proptest::collection::vec(any::<bool>(), 10),
    ) {
        let mut other = night.clone();
        for (row, named) in other.positions.iter_mut().zip(named) {
            if named && row.tier_table.is_none() {
                let is_its = |i: &&rows::Instrument| Some(&i.instrument_id) == row.instrument_id.as_ref();
                let instrument = night.instruments.iter().find(is_its).expect("listed");
                row.tier_table = instrument.tier_table.clone();
            }
        }
        let (silent, spoken) = (Swept::new(&night), Swept::new(&other));
        for account in 0..silent.book.accounts() {
            let id = silent.account_id(account);
            prop_assert_eq!(silent.bits_of(id), spoken.bits_of(id));
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    let night = synthetic::Inputs::new(14_000, 7);
    let (market, rules) = (night.market(), night.rules());
    let answer = |threads: usize| {
        let book = night.book(threads);
        let sweep = Sweep::run(&book, &market, &rules, false, threads).expect("tables are there");
        let buckets = sweep.buckets(&book, &rules, threads);
        let positions = position_rows(&sweep.positions(&book, &rules, threads));
        let bits = |margins| -> Vec<Vec<u64>> {
            let margins: &margrave_core::results::MarginColumns = margins;
            (0..margins.len()).map(|row| row_bits(margins, row)).collect()
        };
        let positions: Vec<Vec<u64>> = positions.iter().map(position_bits).collect();
        let totals = format!("{:?}", sweep.totals);
        (bits(&sweep.accounts), bits(&buckets.margins), buckets.account, positions, totals)
    };
    let one = answer(1);
    assert_eq!(one.0.len(), 14_000);
    for threads in [2, 3, 8, 64] {
        assert!(answer(threads) == one, "{threads} threads");
    }
}

#[test]
fn threads_do_not_change_bits_under_any_word() {
    let night = synthetic::Inputs::new(2_500, 7);
    let (book, market) = (night.book(1), night.market());
    assert!(book.blocks.len() > 2);
    for turn in 0..6 {
        // Each turn the next word of every key, so that neighbours do not turn together.
        let word = |key: usize| {
            let words = draws_rules::KEYS[key].1;
            words[(turn / (1 + key % 2) + key) % words.len()]
        };
        let mut conventions = draws_rules::in_words(std::array::from_fn(word));
        conventions.ladder = vec![Rung { name: "call".to_owned(), margin_level_below: 2.0 }];
        let rules = night.rules_by(conventions);
        let answer = |threads: usize| {
            let sweep = Sweep::run(&book, &market, &rules, false, threads).expect("tables");
            let buckets = sweep.buckets(&book, &rules, threads);
            let positions = position_rows(&sweep.positions(&book, &rules, threads));
            assert!(buckets.bucket.iter().copied().eq(0..buckets.bucket.len() as u32));
            for (row, account) in positions.iter().zip(&book.position_account) {
                assert_eq!(buckets.account[row.bucket as usize], *account);
            }
            let rows = (0..buckets.margins.len()).map(|row| row_bits(&buckets.margins, row));
            let places: Vec<u32> = positions.iter().map(|row| row.bucket).collect();
            let positions: Vec<Vec<u64>> = positions.iter().map(position_bits).collect();
            let totals = format!("{:?}", sweep.totals);
            let rows: Vec<Vec<u64>> = rows.collect();
            (rows, buckets.account, buckets.bucket, positions, places, totals)
        };
        let one = answer(1);
        for threads in [2, 3, 16] {
            assert!(answer(threads) == one, "turn {turn}, {threads} threads");
        }
    }
}
