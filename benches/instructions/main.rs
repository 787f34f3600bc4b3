//! A fixed piece of work, whose instructions `check.py` counts under callgrind.
//!
//! `instructions WORK CALLS` prepares everything, then does the work so many times on one
//! thread. Two runs with different `CALLS` differ by the work alone. It prints how many rows
//! a call handles.

mod forms;
#[path = "../scenarios.rs"]
mod scenarios;
#[path = "../../tests/night/synthetic.rs"]
mod synthetic;

use std::hint::black_box;
use std::process::exit;

use margrave_core::book::{Book, BookInput};
use margrave_core::stress::Stress;
use margrave_core::sweep::Sweep;

use synthetic::Inputs;

const ACCOUNTS: usize = 20_000;
const SEED: u64 = 7;
const SCENARIOS: usize = 100;
/// Inputs that are made for `build`, whatever the number of calls.
const MOST_CALLS: usize = 6;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let work = arguments.next().unwrap_or_default();
    let calls = arguments.next().and_then(|calls| calls.parse().ok()).unwrap_or(0);
    let grouped = work == "ingest_grouped";
    let form = if grouped { forms::grouped } else { forms::shuffled };
    let inputs = form(ACCOUNTS, SEED);
    let rows = match work.as_str() {
        "ingest" | "ingest_grouped" => ingest(calls, || inputs.columns()),
        "ingest_texts" => {
            let ids = forms::text_ids(ACCOUNTS, SEED);
            ingest(calls, || forms::with_ids(&inputs, &ids))
        }
        "sweep" => sweep(calls, &inputs),
        "positions" => positions(calls, &inputs),
        "stress" => stress(calls, &inputs),
        _ => {
            println!("to count instructions: python benches/instructions/check.py");
            return;
        }
    };
    println!("{rows}");
    exit(0); // what was prepared stays: to release it would count
}

/// Builds the book, and releases it; rows are those of positions and balances.
fn ingest(calls: usize, columns: impl Fn() -> BookInput) -> usize {
    let inputs: Vec<BookInput> = (0..MOST_CALLS).map(|_| columns()).collect();
    let rows = inputs[0].positions.account.len() + inputs[0].balances.account.len();
    for (call, input) in inputs.into_iter().enumerate() {
        if call < calls {
            black_box(Book::build(input, 1).expect("a synthetic exchange fits"));
        } else {
            std::mem::forget(input);
        }
    }
    rows
}

/// Sweeps a prepared book, and releases the answer; rows are those of positions.
fn sweep(calls: usize, inputs: &Inputs) -> usize {
    let (book, market, rules) = (inputs.book(1), inputs.market(), inputs.rules());
    for _ in 0..calls {
        black_box(Sweep::run(&book, &market, &rules, false, 1).expect("tables"));
    }
    book.position_account.len()
}

/// The positions of a sweep with all prices; rows are those of positions.
fn positions(calls: usize, inputs: &Inputs) -> usize {
    let (book, market, rules) = (inputs.book(1), inputs.market(), inputs.rules());
    let swept = Sweep::run(&book, &market, &rules, false, 1).expect("tables");
    for _ in 0..calls {
        black_box(swept.positions(&book, &rules, 1));
    }
    book.position_account.len()
}

/// A prepared book in many scenarios; rows are pairs of account and scenario.
fn stress(calls: usize, inputs: &Inputs) -> usize {
    let (book, market, rules) = (inputs.book(1), inputs.market(), inputs.rules());
    let swept = Sweep::run(&book, &market, &rules, false, 1).expect("tables");
    let moves = scenarios::moves(&market, SCENARIOS);
    for _ in 0..calls {
        black_box(Stress::run(&book, &market, &rules, &swept, &moves, 1).expect("prices"));
    }
    book.accounts() * SCENARIOS
}
