//! Control totals: they come out on every night, and an alarm rings where a row is lost.

use margrave_core::control::{Control, Rows};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::draws::{Numbers, nights};
use crate::rows::{Id, Night};
use crate::rows_in_and_out::{accounts_in, is_bad, spoil};
use crate::swept::Swept;

/// Rows of a frame, counted by whose they are.
fn count<'a>(night: &Night, accounts: impl Iterator<Item = Option<&'a Id>>) -> Rows {
    let mut rows = Rows::default();
    for account in accounts {
        let is_aside = account.is_none_or(|account| is_bad(night, account));
        rows.rows += 1;
        rows.used += u64::from(!is_aside);
        rows.set_aside += u64::from(is_aside);
        rows.without_account += u64::from(account.is_none());
    }
    rows
}

/// Breaks what was swept in one of the ways in which a row can be lost; whether there was one.
fn lose(swept: &mut Swept, how: usize) -> bool {
    let is_known = |account: usize| !swept.sweep.indeterminate[account];
    let blocks = swept.sweep.blocks.as_mut().unwrap_or(&mut swept.book.blocks);
    let Some(block) = blocks.first_mut() else { return false };
    let account_of = |row: u32| swept.book.position_account[row as usize] as usize;
    let held = block.row.iter().position(|row| is_known(account_of(*row)));
    let mut owners = (0..block.accounts()).filter(|account| is_known(*account));
    let cash = owners.find_map(|account| {
        let buckets = block.buckets_of(account);
        let slots = block.cash_start[buckets.start]..block.cash_start[buckets.end];
        slots.map(|slot| slot as usize).next()
    });
    let more = |number: &mut f64| *number = if *number == 0.0 { 0.5 } else { 2.0 * *number };
    match (how, held, cash) {
        (0, Some(at), _) => {
            block.row.remove(at);
            block.slot.remove(at);
        }
        (1, Some(at), _) => {
            block.row.push(block.row[at]);
            block.slot.push(block.slot[at]);
        }
        (2, Some(at), _) => more(&mut block.quantity[block.slot[at] as usize]),
        (3, _, Some(slot)) => more(&mut block.amount[slot]),
        (4, _, _) => swept.sweep.totals.by_status[1] += 1,
        _ => return false,
    }
    true
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn control_totals_come_out_and_count_what_was_set_aside(
        (night, numbers) in nights(),
        spoilt in vec((any::<prop::sample::Index>(), 0usize..11), 0..3),
    ) {
        let mut night = night;
        spoilt.into_iter().for_each(|(row, how)| spoil(&mut night, row, how));
        let swept = Swept::new(&night);
        let control = Control::prove(&swept.book, &swept.sweep, 2);
        prop_assert!(control.is_ok(), "{}", control.err().map(|e| e.to_string()).unwrap_or_default());
        let control = control.expect("just seen");
        let positions = night.positions.iter().map(|row| row.account_id.as_ref());
        prop_assert_eq!(control.positions, count(&night, positions));
        let balances = night.balances.iter().map(|row| row.account_id.as_ref());
        prop_assert_eq!(control.balances, count(&night, balances));
        let accounts = accounts_in(&night);
        prop_assert_eq!(control.accounts, accounts.len() as u64);
        let bad = accounts.iter().filter(|account| is_bad(&night, account)).count();
        prop_assert_eq!(control.indeterminate_accounts, bad as u64);
        let used = |row: &crate::rows::Position| {
            row.account_id.as_ref().is_some_and(|account| !is_bad(&night, account))
        };
        for sums in control.quantity.iter().filter(|_| numbers == Numbers::Dyadic) {
            let is_its = |id: &Option<Id>| id.as_ref().map(ToString::to_string) == sums.name;
            let its = night.positions.iter().filter(|row| is_its(&row.instrument_id) && used(row));
            let expected: f64 = its.map(|row| row.quantity).sum();
            prop_assert!(sums.name.is_none() || sums.used.round() == expected, "{:?}", sums);
        }
    }

    #[test]
    fn a_row_that_is_lost_breaks_a_control_total((night, _) in nights(), how in 0usize..5) {
        let mut swept = Swept::new(&night);
        let lost = lose(&mut swept, how);
        let control = Control::prove(&swept.book, &swept.sweep, 1);
        prop_assert_eq!(control.is_err(), lost);
    }
}
