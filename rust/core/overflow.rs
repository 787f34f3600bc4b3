//! What is to blame where the money of an account is beyond all doubles.

use crate::book::Book;
use crate::columns::{Fault, Numbers, Reason};
use crate::market::Kind;
use crate::marks::Marks;
/// Money beyond which no sum of it makes sense.
pub(crate) const VAST: f64 = 1e300;

/// The values that make an account's money overflow: an entry price (or, by it, a mark) of an
/// inverse contract or a leverage so near 0 that dividing by it leaves all sense; where only
/// the sum of the account does, all of its entry prices.
pub(crate) fn overflow_faults(book: &Book, marks: &Marks, accounts: &[usize]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for account in accounts {
        let of_account = |row: &&u32| book.position_account[**row as usize] as usize == *account;
        let rows: Vec<u32> =
            book.block_of(*account).row.iter().filter(of_account).copied().collect();
        let fault = |row: &u32, column| Fault {
            frame: "positions",
            column,
            row: *row,
            reason: Reason::Overflow,
        };
        let blamed = rows.iter().filter_map(|row| {
            vast_column(book, marks, *row as usize).map(|column| fault(row, column))
        });
        let blamed: Vec<Fault> = blamed.collect();
        if blamed.is_empty() {
            faults.extend(rows.iter().map(|row| fault(row, "entry_price")));
        } else {
            faults.extend(blamed);
        }
    }
    faults
}

/// The column of a position row by which its money overflows alone.
fn vast_column(book: &Book, marks: &Marks, row: usize) -> Option<&'static str> {
    let positions = &book.positions;
    let mark = &marks.instruments[book.position_instrument[row] as usize];
    let given = |column: &Option<Numbers>| column.as_ref().and_then(|column| column.get(row));
    let quantity = positions.quantity.values()[row];
    let orders =
        given(&positions.open_buy).unwrap_or(0.0) + given(&positions.open_sell).unwrap_or(0.0);
    let value = (quantity.abs() + orders) * mark.value * mark.settle_price;
    let cost = mark.cost(0.0, quantity / positions.entry_price.values()[row]) * mark.settle_price;
    let is_vast = |money: f64| money.is_nan() || money.abs() >= VAST;
    if mark.kind == Kind::Inverse && (is_vast(value) || is_vast(cost)) {
        return Some("entry_price");
    }
    let leverage = given(&positions.leverage);
    leverage.is_some_and(|leverage| is_vast(value / leverage)).then_some("leverage")
}
