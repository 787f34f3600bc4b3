//! The synthetic exchange in the forms that frames come in: shuffled, grouped, with text ids.

use std::cmp::Reverse;
use std::sync::Arc;

use margrave_core::book::BookInput;
use margrave_core::keys::Ids;
use margrave_core::synthetic::{Exchange, exchange};

use crate::synthetic::Inputs;

/// The exchange with its rows in no order, as it is drawn.
pub(crate) fn shuffled(accounts: usize, seed: u64) -> Inputs {
    Inputs::new(accounts, seed)
}

/// The same rows, those of an account together; accounts are in no order of their ids.
pub(crate) fn grouped(accounts: usize, seed: u64) -> Inputs {
    let mut night = exchange(accounts, seed);
    group_positions(&mut night);
    group_balances(&mut night);
    Inputs::of(night)
}

/// Account ids of positions and balances as texts of 36 bytes, the length of a UUID.
pub(crate) fn text_ids(accounts: usize, seed: u64) -> [Ids; 2] {
    let night = exchange(accounts, seed);
    [night.positions.account_id, night.balances.account_id].map(|ids| {
        let text = |id: &i64| format!("{:08x}-0000-4000-8000-{:012}", *id as u32, *id as u64 >> 32);
        Ids::texts(Arc::new(ids.iter().map(text).collect::<Vec<String>>()), None)
    })
}

/// The columns of the exchange under other account ids.
pub(crate) fn with_ids(inputs: &Inputs, [positions, balances]: &[Ids; 2]) -> BookInput {
    let mut input = inputs.columns();
    input.positions.account = positions.clone();
    input.balances.account = balances.clone();
    input
}

fn group_positions(night: &mut Exchange) {
    let rows = &mut night.positions;
    let order = order(&rows.account_id);
    permute(&mut rows.account_id, &order);
    permute(&mut rows.instrument, &order);
    permute(&mut rows.isolated, &order);
    for column in [
        &mut rows.quantity,
        &mut rows.entry_price,
        &mut rows.isolated_margin,
        &mut rows.leverage,
        &mut rows.open_buy_quantity,
        &mut rows.open_sell_quantity,
    ] {
        permute(column, &order);
    }
}

fn group_balances(night: &mut Exchange) {
    let rows = &mut night.balances;
    let order = order(&rows.account_id);
    permute(&mut rows.account_id, &order);
    permute(&mut rows.asset, &order);
    permute(&mut rows.amount, &order);
}

/// Rows by account, in input order within one, with ids that do not ascend.
fn order(accounts: &[i64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..accounts.len()).collect();
    order.sort_by_key(|row| Reverse(accounts[*row].wrapping_mul(0x5851_f42d_4c95_7f2d)));
    order
}

fn permute<T: Copy>(column: &mut Vec<T>, order: &[usize]) {
    *column = order.iter().map(|row| column[*row]).collect();
}
