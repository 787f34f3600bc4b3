//! Numbers at the ends of what a frame may hold: nothing panics, and no NaN comes out.

use margrave_core::margin::Status;
use margrave_core::results::MONEY;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;
use crate::draws::nights;
use crate::rows::Night;
use crate::swept::Swept;

/// The least and the largest that may pass, and others that overflow when multiplied.
const EXTREMES: [f64; 8] = [5e-324, f64::MIN_POSITIVE, 1e-300, 1e-160, 1e-18, 1e17, 0.1, 1e18];

/// Puts an extreme number in one place of a night.
fn stretch(night: &mut Night, index: prop::sample::Index, place: usize, number: f64) {
    if place < 3 {
        let row = index.get_mut(&mut night.instruments);
        match place {
            0 => row.mark_price = number,
            1 => row.contract_size = Some(number),
            _ => index.get_mut(&mut night.assets).price = number,
        }
    } else if place < 8 && !night.positions.is_empty() {
        let row = index.get_mut(&mut night.positions);
        match place {
            3 => row.quantity = number * row.quantity.signum(),
            4 => row.entry_price = number,
            5 => row.leverage = Some(number),
            6 => row.open_sell_quantity = Some(number),
            _ => row.isolated_margin = row.isolated_margin.map(|margin| number * margin.signum()),
        }
    } else if place == 8 && !night.balances.is_empty() {
        let row = index.get_mut(&mut night.balances);
        row.amount = number * row.amount.signum();
    } else if place > 9 {
        let row = index.get_mut(&mut night.instruments);
        match place {
            10 => row.close_fee_rate = Some(number.min(1.0)),
            11 => row.quanto_multiplier = row.quanto_multiplier.map(|_| number),
            _ => row.underlying_price = row.underlying_price.map(|_| number),
        }
    } else if place == 9 {
        // Only the last floor of a table can be anything.
        let table = index.get(&night.tiers).tier_table.clone();
        let rows = night.tiers.iter_mut().filter(|row| row.tier_table == table);
        let mut rows: Vec<_> = rows.collect();
        let below = rows.len().checked_sub(2).map(|before| rows[before].floor);
        if let (Some(below), Some(last)) = (below, rows.last_mut()) {
            last.floor = if number > below { number } else { below.next_up() };
        }
    }
}

/// Money that may be below 0.
const SIGNED: [&str; 5] =
    ["equity", "margin_balance", "unrealized_pnl", "net_notional", "margin_buffer"];

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn no_nan_leaves_the_engine_and_money_is_finite(
        (night, _) in nights(),
        places in vec((any::<prop::sample::Index>(), 0usize..13, select(&EXTREMES[..])), 1..6),
    ) {
        let mut night = night;
        for (index, place, number) in places {
            stretch(&mut night, index, place, number);
        }
        let swept = Swept::new(&night);
        for margins in [&swept.sweep.accounts, &swept.buckets.margins] {
            for (index, column) in margins.numbers.iter().enumerate() {
                prop_assert!(column.iter().all(|number| !number.is_nan()));
                prop_assert!(index >= MONEY.len() || column.iter().all(|n| n.is_finite()));
                let may_be_less = MONEY.get(index).is_none_or(|name| SIGNED.contains(name));
                prop_assert!(may_be_less || column.iter().all(|n| *n >= 0.0), "{}", MONEY[index]);
            }
        }
        for row in &swept.positions {
            let money = [
                row.notional,
                row.unrealized_pnl,
                row.maintenance_margin,
                row.initial_margin,
                row.liquidation_price,
                row.bankruptcy_price,
            ];
            prop_assert!(!row.is_known || money.iter().all(|n| n.is_finite()), "{:?}", row);
        }
        let sums = swept.sweep.totals.money;
        prop_assert!(sums.iter().all(|sum| sum.is_finite()));
        let rejected: Vec<u32> =
            swept.sweep.faults.iter().map(|f| swept.book.position_account[f.row as usize]).collect();
        for (account, status) in swept.sweep.accounts.status.iter().enumerate() {
            let indeterminate = *status == Status::Indeterminate as u8;
            prop_assert_eq!(indeterminate, rejected.contains(&(account as u32)));
        }
    }
}
