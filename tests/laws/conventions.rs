//! What one word of a ruleset does against another, all else equal.

use margrave_core::conventions::{
    CloseFee, Conventions, Initial, Netting, OpenOrders, Pooling, PriceBasis, ProfitAndLoss,
    TierEdge, TierMode,
};
use margrave_core::keys::NONE;
use margrave_core::results::{MONEY, RATIOS};
use proptest::prelude::*;

use crate::cases;
use crate::draws::{Numbers, nights};
use crate::rounding::slacks;
use crate::rows::Night;
use crate::swept::{Swept, figures, row_bits, under};

/// Checks that a figure is at least as large in every bucket of the first sweep.
fn check_at_least(more: &Swept, less: &Swept, name: &str) -> Result<(), TestCaseError> {
    let slacks = slacks(more).into_iter().zip(slacks(less));
    let pairs = figures(more, name).iter().zip(figures(less, name));
    for ((more, less), (a, b)) in pairs.zip(slacks) {
        prop_assert!(*more >= less - a - b, "{}: {} is below {}", name, more, less);
    }
    Ok(())
}

/// The night with rates that rise from tier to tier.
fn rising(night: &Night) -> Night {
    let mut night = night.clone();
    for i in 1..night.tiers.len() {
        let (before, rows) = night.tiers.split_at_mut(i);
        let (below, row) = (&before[i - 1], &mut rows[0]);
        if below.tier_table == row.tier_table {
            row.maintenance_rate = row.maintenance_rate.max(below.maintenance_rate);
            row.initial_rate = row.initial_rate.max(below.initial_rate);
        }
    }
    night
}

/// The night without open orders.
fn without_orders(night: &Night) -> Night {
    let mut night = night.clone();
    for row in &mut night.positions {
        (row.open_buy_quantity, row.open_sell_quantity) = (None, None);
    }
    night
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn both_sides_require_at_least_the_larger_and_that_at_least_the_net((night, _) in nights()) {
        let gross = under(&night, |c| c.netting = Netting::Gross);
        let larger = under(&night, |c| c.netting = Netting::LargerSide);
        check_at_least(&gross, &larger, "maintenance_margin")?;
        check_at_least(&gross, &larger, "initial_margin")?;
        // Of what is net, entry, orders and bankruptcy price are others.
        let plain = |c: &mut Conventions, netting| {
            c.netting = netting;
            c.tier_mode = TierMode::Marginal;
            c.price_basis = PriceBasis::Mark;
            c.open_orders = OpenOrders::Initial;
            if c.close_fee == CloseFee::Bankruptcy {
                c.close_fee = CloseFee::Mark;
            }
        };
        let larger = under(&night, |c| plain(c, Netting::LargerSide));
        let net = under(&night, |c| plain(c, Netting::Net));
        check_at_least(&larger, &net, "maintenance_margin")?;
    }

    #[test]
    fn a_slab_requires_at_least_the_marginal_where_rates_rise((night, _) in nights()) {
        let night = rising(&night);
        let slab = under(&night, |c| c.tier_mode = TierMode::Slab);
        let marginal = under(&night, |c| c.tier_mode = TierMode::Marginal);
        check_at_least(&slab, &marginal, "maintenance_margin")?;
        if night.conventions.netting != Netting::LargerSide {
            check_at_least(&slab, &marginal, "initial_margin")?;
        }
    }

    #[test]
    fn the_edge_of_a_tier_changes_no_marginal_requirement((mut night, numbers) in nights()) {
        night.conventions.tier_mode = TierMode::Marginal;
        let upper = under(&night, |c| c.tier_edge = TierEdge::Upper);
        let lower = under(&night, |c| c.tier_edge = TierEdge::Lower);
        for name in ["maintenance_margin", "margin_buffer"] {
            check_at_least(&upper, &lower, name)?;
            check_at_least(&lower, &upper, name)?;
        }
        if numbers == Numbers::Dyadic {
            let prices = upper.positions.iter().zip(&lower.positions);
            for (upper, lower) in prices {
                prop_assert_eq!(upper.liquidation_price, lower.liquidation_price);
                prop_assert!(upper.tier >= lower.tier);
            }
        }
    }

    #[test]
    fn a_fee_never_lowers_the_requirement((night, _) in nights()) {
        let drawn = night.conventions.close_fee;
        let fee = if drawn == CloseFee::None { CloseFee::Mark } else { drawn };
        let with = under(&night, |c| c.close_fee = fee);
        let without = under(&night, |c| c.close_fee = CloseFee::None);
        check_at_least(&with, &without, "maintenance_margin")?;
        if night.conventions.netting != Netting::LargerSide {
            prop_assert_eq!(figures(&with, "initial_margin"), figures(&without, "initial_margin"));
        }
    }

    #[test]
    fn orders_that_maintenance_counts_never_lower_it((night, _) in nights()) {
        let slab = night.conventions.tier_mode == TierMode::Slab;
        let night = if slab { rising(&night) } else { night };
        let both = under(&night, |c| c.open_orders = OpenOrders::Both);
        let initial = under(&night, |c| c.open_orders = OpenOrders::Initial);
        let none = under(&night, |c| c.open_orders = OpenOrders::None);
        check_at_least(&both, &initial, "maintenance_margin")?;
        for name in ["maintenance_margin", "gross_notional", "equity"] {
            prop_assert_eq!(figures(&initial, name), figures(&none, name));
        }
        if night.conventions.netting != Netting::LargerSide {
            prop_assert_eq!(figures(&both, "initial_margin"), figures(&initial, "initial_margin"));
            check_at_least(&initial, &none, "initial_margin")?;
        }
    }

    #[test]
    fn orders_that_nothing_counts_change_nothing((night, _) in nights()) {
        let with = under(&night, |c| c.open_orders = OpenOrders::None);
        let without = under(&without_orders(&night), |c| c.open_orders = OpenOrders::None);
        for account in 0..with.book.accounts() {
            let id = with.account_id(account);
            prop_assert_eq!(with.bits_of(id), without.bits_of(id));
        }
    }

    #[test]
    fn orders_enter_no_exposure((night, _) in nights()) {
        let (with, without) = (Swept::new(&night), Swept::new(&without_orders(&night)));
        let exposure =
            ["equity", "margin_balance", "unrealized_pnl", "gross_notional", "net_notional"];
        for name in exposure {
            prop_assert_eq!(figures(&with, name), figures(&without, name), "{}", name);
        }
    }

    #[test]
    fn the_larger_initial_requirement_is_no_less_than_either((night, _) in nights()) {
        let larger = under(&night, |c| c.initial = Initial::Larger);
        let tier = under(&night, |c| c.initial = Initial::Tier);
        let leverage = under(&night, |c| c.initial = Initial::Leverage);
        check_at_least(&larger, &tier, "initial_margin")?;
        check_at_least(&larger, &leverage, "initial_margin")?;
    }

    #[test]
    fn a_requirement_at_entry_does_not_move_with_the_mark((night, _) in nights()) {
        let mut night = without_orders(&night);
        night.conventions.price_basis = PriceBasis::Entry;
        night.conventions.close_fee = CloseFee::None;
        night.conventions.profit_and_loss = ProfitAndLoss::Beside;
        let before = Swept::new(&night);
        night.instruments.iter_mut().for_each(|row| row.mark_price *= 2.0);
        let after = Swept::new(&night);
        for name in ["maintenance_margin", "initial_margin"] {
            prop_assert_eq!(figures(&before, name), figures(&after, name), "{}", name);
        }
    }

    #[test]
    fn profit_joined_to_what_counts_in_full_gives_the_figures_of_profit_beside(
        (mut night, numbers) in nights(),
    ) {
        for row in &mut night.weights {
            (row.maintenance_weight, row.initial_weight) = (1.0, None);
            (row.liability_weight, row.borrow_maintenance_rate) = (None, None);
            row.borrow_initial_rate = None;
        }
        let joined = under(&night, |c| c.profit_and_loss = ProfitAndLoss::SettleAsset);
        let beside = under(&night, |c| c.profit_and_loss = ProfitAndLoss::Beside);
        if numbers == Numbers::Dyadic {
            let of_profit = ["collateral_value", "debt_value", "ltv", "health_factor"];
            for name in MONEY.iter().chain(&RATIOS).filter(|name| !of_profit.contains(name)) {
                prop_assert_eq!(figures(&joined, name), figures(&beside, name), "{}", name);
            }
            prop_assert_eq!(&joined.buckets.margins.status, &beside.buckets.margins.status);
            prop_assert_eq!(&joined.positions, &beside.positions);
        }
        for name in ["equity", "margin_balance", "margin_buffer", "free_collateral"] {
            check_at_least(&joined, &beside, name)?;
            check_at_least(&beside, &joined, name)?;
        }
    }

    #[test]
    fn pools_add_up_to_the_bucket_that_they_were_cut_from((night, numbers) in nights()) {
        let whole = under(&night, |c| c.pooling = Pooling::All);
        let pooled = under(&night, |c| c.pooling = Pooling::SettleAsset);
        let mut slack = vec![0.0; whole.book.accounts()];
        for (account, reach) in whole.buckets.account.iter().zip(slacks(&whole)) {
            let is_exact = numbers == Numbers::Dyadic;
            slack[*account as usize] += if is_exact { 0.0 } else { reach };
        }
        let has_fee = night.conventions.close_fee == CloseFee::Bankruptcy;
        let own = ["free_collateral", "bad_debt"];
        let of_fee = ["maintenance_margin", "margin_buffer"];
        for (index, name) in MONEY.iter().enumerate() {
            if own.contains(name) || (has_fee && of_fee.contains(name)) {
                continue;
            }
            let of = |swept: &Swept, account: usize| swept.sweep.accounts.numbers[index][account];
            for (account, slack) in slack.iter().enumerate() {
                let (whole, pooled) = (of(&whole, account), of(&pooled, account));
                prop_assert!((whole - pooled).abs() <= *slack, "{}: {} {}", name, whole, pooled);
            }
        }
    }

    #[test]
    fn the_rung_agrees_with_the_margin_level((night, numbers) in nights()) {
        let swept = Swept::new(&night);
        let (margins, ladder) = (&swept.buckets.margins, &night.conventions.ladder);
        prop_assert_eq!(margins.ladder.is_empty(), ladder.is_empty() || margins.is_empty());
        for (row, rung) in margins.ladder.iter().enumerate() {
            let level = figures(&swept, "margin_level")[row];
            let required = figures(&swept, "maintenance_margin")[row] > 0.0;
            let holds = ladder.iter().rposition(|rung| level < rung.margin_level_below);
            let expected = holds.filter(|_| required).map_or(NONE, |rung| rung as u32);
            let is_near = |line: f64| (level - line).abs() <= 1e-12 * line;
            let near = ladder.iter().any(|rung| is_near(rung.margin_level_below));
            prop_assert!(*rung == expected || (near && numbers == Numbers::Ugly));
        }
    }

    #[test]
    fn a_ladder_changes_no_other_figure((night, _) in nights()) {
        let (with, without) = (Swept::new(&night), under(&night, |c| c.ladder.clear()));
        for row in 0..with.buckets.margins.len() {
            let bits = |swept: &Swept| {
                let mut bits = row_bits(&swept.buckets.margins, row);
                bits.remove(3);
                bits
            };
            prop_assert_eq!(bits(&with), bits(&without));
        }
    }
}
