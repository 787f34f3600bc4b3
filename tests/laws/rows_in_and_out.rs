//! Every account that comes in goes out once, whatever its rows and its neighbours are.

use std::collections::HashSet;

use margrave_core::margin::Status;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::cases;
use crate::draws::nights;
use crate::rows::{Id, Night};
use crate::swept::Swept;

/// Ids of all frames in order of first appearance.
pub(crate) fn accounts_in(night: &Night) -> Vec<Id> {
    let positions = night.positions.iter().map(|row| &row.account_id);
    let balances = night.balances.iter().map(|row| &row.account_id);
    let accounts = night.accounts.iter().flatten().map(|row| &row.account_id);
    let mut seen = HashSet::new();
    let ids = positions.chain(balances).chain(accounts).flatten();
    ids.filter(|id| seen.insert(*id)).cloned().collect()
}

fn accounts_out(swept: &Swept) -> Vec<Id> {
    (0..swept.book.accounts()).map(|account| swept.account_id(account).clone()).collect()
}

/// Spoils a row in one of the ways in which rows are bad.
pub(crate) fn spoil(night: &mut Night, row: prop::sample::Index, how: usize) {
    let (positions, balances) = (&mut night.positions, &mut night.balances);
    let unlisted = Some(Id::Integer(99));
    if how < 7 && !positions.is_empty() {
        let row = row.get_mut(positions);
        match how {
            0 => row.account_id = None,
            1 => row.instrument_id = None,
            2 => row.instrument_id = unlisted,
            3 => row.quantity = f64::NAN,
            4 => row.entry_price = 0.0,
            5 => row.leverage = Some(-1.0),
            _ => {
                row.margin_mode = Some(crate::rows::MarginMode::Isolated);
                row.isolated_margin = None;
            }
        }
    } else if how >= 7 && !balances.is_empty() {
        let row = row.get_mut(balances);
        match how {
            7 => row.account_id = None,
            8 => row.asset_id = None,
            9 => row.asset_id = unlisted,
            _ => row.amount = f64::INFINITY,
        }
    }
}

/// Whether a row of the account may not enter any figure.
pub(crate) fn is_bad(night: &Night, account: &Id) -> bool {
    let unlisted = Some(Id::Integer(99));
    let bad_position = night.positions.iter().any(|row| {
        let lacks_margin = row.is_isolated() && row.isolated_margin.is_none();
        let bad_numbers = row.quantity.is_nan() || row.entry_price == 0.0 || lacks_margin;
        let bad_id = row.instrument_id.is_none() || row.instrument_id == unlisted;
        row.account_id.as_ref() == Some(account)
            && (bad_numbers || bad_id || row.leverage == Some(-1.0))
    });
    let bad_balance = night.balances.iter().any(|row| {
        let bad_id = row.asset_id.is_none() || row.asset_id == unlisted;
        row.account_id.as_ref() == Some(account) && (bad_id || row.amount.is_infinite())
    });
    bad_position || bad_balance
}

/// The night of one account alone.
fn alone(night: &Night, account: &Id) -> Night {
    let mut night = night.clone();
    night.positions.retain(|row| row.account_id.as_ref() == Some(account));
    night.balances.retain(|row| row.account_id.as_ref() == Some(account));
    night.accounts.iter_mut().for_each(|a| a.retain(|a| a.account_id.as_ref() == Some(account)));
    night
}

/// The night of as many accounts again as there are copies, under ids of their own: one copy
/// behind the other, or row by row.
fn copied(night: &Night, copies: usize, by_row: bool) -> Night {
    fn all<T: Clone>(
        rows: &[T],
        copies: usize,
        by_row: bool,
        id: fn(&mut T) -> &mut Option<Id>,
    ) -> Vec<T> {
        let copy = |row: &T, copy: usize| {
            let mut row = row.clone();
            let own = id(&mut row).take();
            *id(&mut row) = own.map(|id| copy_of(&id, copy));
            row
        };
        if by_row {
            rows.iter().flat_map(|row| (0..copies).map(move |number| copy(row, number))).collect()
        } else {
            (0..copies).flat_map(|number| rows.iter().map(move |row| copy(row, number))).collect()
        }
    }
    Night {
        positions: all(&night.positions, copies, by_row, |row| &mut row.account_id),
        balances: all(&night.balances, copies, by_row, |row| &mut row.account_id),
        accounts: night
            .accounts
            .as_ref()
            .map(|rows| all(rows, copies, by_row, |row| &mut row.account_id)),
        ..night.clone()
    }
}

fn copy_of(id: &Id, number: usize) -> Id {
    Id::Text(format!("{id}, {number}"))
}

/// Rows in another order in which those of each account stay as they are.
fn shuffle<T: Clone>(rows: &[T], account: impl Fn(&T) -> &Option<Id>, keys: &[u32]) -> Vec<T> {
    let mut turns: Vec<(u32, &Option<Id>)> =
        rows.iter().enumerate().map(|(i, row)| (keys[i % keys.len()], account(row))).collect();
    turns.sort_by_key(|turn| turn.0);
    let mut left: Vec<&T> = rows.iter().collect();
    let mut take = |id: &Option<Id>| {
        let next = left.iter().position(|row| account(row) == id).expect("a turn for each row");
        left.remove(next).clone()
    };
    turns.into_iter().map(|(_, id)| take(id)).collect()
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn rows_out_equal_accounts_in(
        (night, _) in nights(),
        spoilt in vec((any::<prop::sample::Index>(), 0usize..11), 0..4),
    ) {
        let mut night = night;
        spoilt.into_iter().for_each(|(row, how)| spoil(&mut night, row, how));
        let swept = Swept::new(&night);
        let ids = accounts_in(&night);
        prop_assert_eq!(accounts_out(&swept), ids.clone());
        prop_assert_eq!(swept.sweep.accounts.len(), ids.len());
        prop_assert_eq!(swept.sweep.totals.by_status.iter().sum::<u64>(), ids.len() as u64);
        prop_assert_eq!(swept.positions.len(), night.positions.len());
        for (account, id) in ids.iter().enumerate() {
            let bad = is_bad(&night, id);
            let status = swept.sweep.accounts.status[account];
            prop_assert_eq!(status == Status::Indeterminate as u8, bad);
            let has_buckets = swept.buckets.account.contains(&(account as u32));
            prop_assert!(!(bad && has_buckets));
        }
        let kept = swept.positions.iter().zip(&night.positions);
        for (row, given) in kept {
            let bad = given.account_id.as_ref().is_none_or(|id| is_bad(&night, id));
            prop_assert_eq!(row.is_known, !bad);
        }
    }

    #[test]
    fn the_bits_of_an_account_do_not_depend_on_other_accounts(
        (night, _) in nights(),
        spoilt in vec((any::<prop::sample::Index>(), 0usize..11), 0..2),
    ) {
        let mut night = night;
        spoilt.into_iter().for_each(|(row, how)| spoil(&mut night, row, how));
        let together = Swept::new(&night);
        for id in accounts_in(&night) {
            let alone = Swept::new(&alone(&night, &id));
            prop_assert_eq!(together.bits_of(&id), alone.bits_of(&id));
        }
    }

    #[test]
    fn row_order_between_accounts_does_not_matter(
        (night, _) in nights(),
        keys in vec(any::<u32>(), 7),
    ) {
        let mut other = night.clone();
        other.positions = shuffle(&night.positions, |row| &row.account_id, &keys);
        other.balances = shuffle(&night.balances, |row| &row.account_id, &keys);
        let (before, after) = (Swept::new(&night), Swept::new(&other));
        prop_assert_eq!(accounts_out(&after), accounts_in(&other));
        for id in accounts_in(&night) {
            prop_assert_eq!(before.bits_of(&id), after.bits_of(&id));
        }
        prop_assert_eq!(&before.sweep.totals, &after.sweep.totals);
    }
}

proptest! {
    #![proptest_config(cases(150))]

    /// Enough accounts, buckets and rows that none of the ways of working by the piece is left out.
    #[test]
    fn an_account_among_hundreds_has_the_bits_that_it_has_alone(
        (night, _) in nights(),
        spoilt in vec((any::<prop::sample::Index>(), 0usize..11), 0..2),
        // Now and then more accounts than a block holds.
        copies in prop_oneof![4 => 100usize..300, 1 => 2100usize..2200],
        by_row: bool,
    ) {
        let mut night = night;
        spoilt.into_iter().for_each(|(row, how)| spoil(&mut night, row, how));
        let together = Swept::new(&copied(&night, copies, by_row));
        prop_assert_eq!(together.sweep.accounts.len(), copies * accounts_in(&night).len());
        for id in accounts_in(&night) {
            let alone = Swept::new(&alone(&night, &id)).bits_of(&id);
            for number in [0, copies / 2, copies - 1] {
                prop_assert_eq!(together.bits_of(&copy_of(&id, number)), &*alone);
            }
        }
    }
}
