//! What options and fees are worth, from the terms of the instruments.

use margrave_core::conventions::{CloseFee, Netting, OpenOrders};
use proptest::prelude::*;

use crate::cases;
use crate::draws::{Numbers, nights};
use crate::rounding::slacks;
use crate::rows::{Instrument, Kind, Night, Position};
use crate::swept::{PositionRow, Swept, column, figures, under};

fn terms<'a>(night: &'a Night, row: &Position) -> &'a Instrument {
    let is_its = |terms: &&Instrument| Some(&terms.instrument_id) == row.instrument_id.as_ref();
    night.instruments.iter().find(is_its).expect("listed")
}

fn settle_price(night: &Night, terms: &Instrument) -> f64 {
    let mut assets = night.assets.iter();
    assets.find(|asset| asset.asset_id == terms.settle_asset).expect("listed").price
}

/// The fee to close a row, valuation asset: of an option only if it is short.
fn fee(night: &Night, row: &Position, swept: &PositionRow, close_fee: CloseFee) -> f64 {
    let terms = terms(night, row);
    let price = match close_fee {
        CloseFee::None => 0.0,
        CloseFee::Mark => terms.mark_price,
        CloseFee::Bankruptcy => swept.bankruptcy_price,
    };
    let value = match terms.kind {
        Kind::Linear => price,
        Kind::Quanto => price * terms.quanto_multiplier.expect("a quanto has one"),
        Kind::Inverse => {
            if price > 0.0 {
                1.0 / price
            } else {
                0.0
            }
        }
        Kind::Call | Kind::Put if row.quantity > 0.0 => 0.0,
        Kind::Call | Kind::Put => terms.underlying_price.expect("an option has one"),
    };
    let size = row.quantity.abs() * terms.contract_size.unwrap_or(1.0);
    size * value * terms.close_fee_rate.unwrap_or(0.0) * settle_price(night, terms)
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn a_fee_is_its_rate_of_what_is_closed_at_the_mark_or_the_bankruptcy_price(
        (mut night, _) in nights(),
        at_mark in any::<bool>(),
    ) {
        let close_fee = if at_mark { CloseFee::Mark } else { CloseFee::Bankruptcy };
        night.conventions.netting = Netting::Gross;
        night.conventions.open_orders = OpenOrders::Initial;
        let with = under(&night, |c| c.close_fee = close_fee);
        let without = under(&night, |c| c.close_fee = CloseFee::None);
        let mut fees = vec![0.0; with.buckets.bucket.len()];
        for (row, swept) in night.positions.iter().zip(&with.positions) {
            let value = fee(&night, row, swept, close_fee);
            fees[swept.bucket as usize] += value;
        }
        let required = figures(&with, "maintenance_margin").iter();
        let required = required.zip(figures(&without, "maintenance_margin"));
        let slacks = slacks(&with);
        for (bucket, ((with, without), slack)) in required.zip(slacks).enumerate() {
            let fee = with - without;
            prop_assert!((fee - fees[bucket]).abs() <= slack, "{} {}", fee, fees[bucket]);
        }
    }

    #[test]
    fn the_value_of_an_option_moves_equity_and_not_profit((night, numbers) in nights()) {
        let mut higher = night.clone();
        let options = higher.instruments.iter_mut().filter(|row| row.underlying_price.is_some());
        options.for_each(|row| row.mark_price *= 2.0);
        let (before, after) = (Swept::new(&night), Swept::new(&higher));
        let mut gained = vec![0.0; before.book.accounts()];
        for (row, account) in night.positions.iter().zip(&before.book.position_account) {
            let terms = terms(&night, row);
            if terms.underlying_price.is_some() {
                let worth = terms.contract_size.unwrap_or(1.0) * terms.mark_price;
                gained[*account as usize] += row.quantity * worth * settle_price(&night, terms);
            }
        }
        let mut slack = vec![0.0; before.book.accounts()];
        for (account, reach) in after.buckets.account.iter().zip(slacks(&after)) {
            slack[*account as usize] += if numbers == Numbers::Dyadic { 0.0 } else { reach };
        }
        for (account, gain) in gained.iter().enumerate() {
            let of = |s: &Swept, name: &str| s.sweep.accounts.numbers[column(name)][account];
            for name in ["equity", "margin_balance"] {
                let moved = of(&after, name) - of(&before, name);
                prop_assert!((moved - gain).abs() <= slack[account], "{}: {}", name, moved);
            }
            let still = ["unrealized_pnl", "collateral_value", "debt_value", "gross_notional"];
            for name in still {
                prop_assert_eq!(of(&after, name), of(&before, name), "{}", name);
            }
            if night.conventions.close_fee != CloseFee::Bankruptcy {
                let (was, is) = (of(&before, "maintenance_margin"), of(&after, "maintenance_margin"));
                prop_assert_eq!(was, is);
            }
        }
    }
}
