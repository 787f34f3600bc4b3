//! Control totals: what they say of a night, and that they notice whatever goes missing.

#[allow(dead_code)]
#[path = "night/rows.rs"]
mod rows;

use margrave_core::book::Book;
use margrave_core::control::{Control, Rows, Sums};
use margrave_core::conventions::{Conventions, Pooling, ProfitAndLoss};
use margrave_core::error::Error;
use margrave_core::exact::ExactSum;
use margrave_core::sweep::Sweep;
use serde::Deserialize;

use rows::{Account, Asset, Balance, Instrument, Night, Position, Tier, Weight};

/// Two accounts that are swept; `bad` holds what nobody lists, and two rows are nobody's.
const NIGHT: &str = r#"
positions = [
    { account_id = "a", instrument_id = "X", quantity = 0.1, entry_price = 100.0 },
    { account_id = "b", instrument_id = "X", quantity = -3.0, entry_price = 100.0 },
    { account_id = "a", instrument_id = "X", quantity = 0.2, entry_price = 90.0 },
    { account_id = "a", instrument_id = "Y", quantity = 5.0, entry_price = 10.0 },
    { account_id = "a", instrument_id = "X", quantity = -0.5, entry_price = 90.0 },
    { account_id = "bad", instrument_id = "X", quantity = 7.0, entry_price = 90.0 },
    { account_id = "bad", instrument_id = "unlisted", quantity = 1.0, entry_price = 90.0 },
    { instrument_id = "Y", quantity = 2.0, entry_price = 10.0 },
    { account_id = "bad", quantity = 4.0, entry_price = 10.0 },
]
balances = [
    { account_id = "a", asset_id = "USD", amount = 0.1 },
    { account_id = "b", asset_id = "USD", amount = 500.0 },
    { account_id = "a", asset_id = "EUR", amount = 20.0 },
    { account_id = "a", asset_id = "USD", amount = 0.2 },
    { account_id = "bad", asset_id = "USD", amount = 9.0 },
    { asset_id = "EUR", amount = 4.0 },
]
accounts = [{ account_id = "c" }]
instruments = [
    { instrument_id = "X", kind = "linear", settle_asset = "USD", mark_price = 100.0 },
    { instrument_id = "Y", kind = "linear", settle_asset = "EUR", mark_price = 10.0 },
    { instrument_id = "Z", kind = "linear", settle_asset = "EUR", mark_price = 10.0 },
]
assets = [{ asset_id = "USD", price = 1.0 }, { asset_id = "EUR", price = 1.25 }]
tiers = [
    { tier_table = "X", floor = 0.0, maintenance_rate = 0.05, initial_rate = 0.1 },
    { tier_table = "Y", floor = 0.0, maintenance_rate = 0.05, initial_rate = 0.1 },
]
weights = [
    { weight_table = "USD", maintenance_weight = 1.0 },
    { weight_table = "EUR", maintenance_weight = 0.5 },
]
"#;

#[derive(Deserialize)]
struct Frames {
    positions: Vec<Position>,
    balances: Vec<Balance>,
    accounts: Vec<Account>,
    instruments: Vec<Instrument>,
    assets: Vec<Asset>,
    tiers: Vec<Tier>,
    weights: Vec<Weight>,
}

fn night(conventions: Conventions) -> Night {
    let frames: Frames = toml::from_str(NIGHT).expect("a night");
    Night {
        positions: frames.positions,
        balances: frames.balances,
        accounts: Some(frames.accounts),
        instruments: frames.instruments,
        assets: frames.assets,
        conventions,
        tiers: frames.tiers,
        weights: frames.weights,
    }
}

fn swept(conventions: Conventions) -> (Book, Sweep) {
    let night = night(conventions);
    let book = night.book(1);
    let sweep = Sweep::run(&book, &night.market(), &night.rules(), true, 1).expect("swept");
    (book, sweep)
}

fn as_cut() -> [Conventions; 3] {
    let plain = Conventions::default();
    [
        plain.clone(),
        Conventions { pooling: Pooling::SettleAsset, ..plain.clone() },
        Conventions { profit_and_loss: ProfitAndLoss::SettleAsset, ..plain },
    ]
}

type Rounded<'a> = (Option<&'a str>, [f64; 3]);

/// Sums of what came in, was swept and was set aside, each rounded once.
fn rounded(sums: &[Sums]) -> Vec<Rounded<'_>> {
    let row = |sum: &Sums| [&sum.input, &sum.used, &sum.set_aside].map(ExactSum::round);
    sums.iter().map(|sum| (sum.name.as_deref(), row(sum))).collect()
}

#[test]
fn every_row_is_counted_once_and_every_sum_is_exact() {
    for conventions in as_cut() {
        let (book, sweep) = swept(conventions);
        for threads in [1, 3] {
            let control = Control::prove(&book, &sweep, threads).expect("it comes out");
            let positions = Rows { rows: 9, used: 5, set_aside: 4, without_account: 1 };
            let balances = Rows { rows: 6, used: 4, set_aside: 2, without_account: 1 };
            assert_eq!((control.positions, control.balances), (positions, balances));
            assert_eq!((control.accounts, control.indeterminate_accounts), (4, 1));
            let quantity = [
                // 0.1 - 3 + 0.2 - 0.5 + 7, rounded once; in doubles 0.1 + 0.2 is more than 0.3
                (Some("X"), [3.8, -3.2, 7.0]),
                (Some("Y"), [7.0, 5.0, 2.0]),
                (Some("unlisted"), [1.0, 0.0, 1.0]),
                (None, [4.0, 0.0, 4.0]),
            ];
            assert_eq!(rounded(&control.quantity), quantity);
            // 0.1 + 500 + 0.2 + 9 and 0.1 + 500 + 0.2; 20 + 4
            let amount = [(Some("USD"), [509.3, 500.3, 9.0]), (Some("EUR"), [24.0, 20.0, 4.0])];
            assert_eq!(rounded(&control.amount), amount);
        }
    }
}

/// What `break_it` makes of a sweep is refused, and the message names what it must.
fn is_noticed(named: &str, break_it: impl Fn(&mut Book, &mut Sweep)) {
    for conventions in as_cut() {
        let (mut book, mut sweep) = swept(conventions);
        break_it(&mut book, &mut sweep);
        for threads in [1, 3] {
            match Control::prove(&book, &sweep, threads) {
                Err(Error::Internal(text)) => assert!(text.contains(named), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The block that was swept, of the book or of the sweep.
fn block<'a>(book: &'a mut Book, sweep: &'a mut Sweep) -> &'a mut margrave_core::block::Block {
    match &mut sweep.blocks {
        Some(blocks) => &mut blocks[0],
        None => &mut book.blocks[0],
    }
}

#[test]
fn a_row_that_is_lost_is_noticed() {
    is_noticed("positions: 9 rows came in, 4 were swept and 4 set aside", |book, sweep| {
        let block = block(book, sweep);
        block.row.pop();
        block.slot.pop();
    });
}

#[test]
fn a_row_that_is_swept_twice_is_noticed() {
    is_noticed("quantity of \"X\"", |book, sweep| {
        let block = block(book, sweep);
        let (row, slot) = (block.row[0], block.slot[0]);
        block.row.push(row);
        block.slot.push(slot);
    });
}

#[test]
fn a_row_under_another_instrument_is_noticed() {
    is_noticed("positions: 9 rows came in", |book, sweep| {
        let block = block(book, sweep);
        let other = block.instrument.iter().position(|code| *code == 1).expect("Y is held");
        block.slot[0] = other as u32;
    });
}

#[test]
fn a_size_that_is_not_the_sum_of_its_rows_is_noticed() {
    is_noticed("sizes are not the sums of their rows", |book, sweep| {
        block(book, sweep).quantity[0] += 1e-9;
    });
}

#[test]
fn a_balance_that_is_not_the_sum_of_its_rows_is_noticed() {
    is_noticed("balances: sums of 1 blocks", |book, sweep| {
        let block = block(book, sweep);
        let slot = block.amount.iter().position(|amount| *amount == 20.0).expect("EUR is held");
        block.amount[slot] = 21.0;
    });
}

#[test]
fn a_balance_that_is_lost_is_noticed() {
    is_noticed("amount of \"EUR\": 24 came in, 0 were swept and 4 set aside", |book, sweep| {
        let block = block(book, sweep);
        block.asset.iter_mut().filter(|asset| **asset == 1).for_each(|asset| *asset = 7);
    });
}

#[test]
fn an_account_that_changes_sides_is_noticed() {
    is_noticed("accounts: 4 came in", |_, sweep| sweep.indeterminate[2] = false);
    is_noticed("positions: 9 rows came in", |_, sweep| sweep.indeterminate[2] = false);
}
