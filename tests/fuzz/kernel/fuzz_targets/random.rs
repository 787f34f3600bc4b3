//! The same target on seeded random bytes, for a stable toolchain.
//!
//! `random SEED SECONDS` runs cases until one fails, which is shown, or the time is up;
//! `random SEED SECONDS CASE` runs one again; `random self-test` tells plain arithmetic another
//! word of each key in turn, which must be found.

use std::time::{Duration, Instant};

use margrave_fuzz::{Bytes, check, check_twisted, keys};

/// How many cases the alarm may take to ring.
const MOST_CASES: u64 = 20_000;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("self-test") {
        std::process::exit(self_test());
    }
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut next = |default| arguments.next().map_or(default, |number| number.expect("a number"));
    let (seed, seconds, only) = (next(1), next(60), next(u64::MAX));
    let begun = Instant::now();
    let mut number = if only == u64::MAX { 0 } else { only };
    let mut said = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let data = Bytes::random(seed, number);
        let outcome = std::panic::catch_unwind(|| check(&data));
        if outcome.is_err() {
            println!("FAULT: seed {seed}, case {number}\n{}", margrave_fuzz::shown(&data));
            std::process::exit(1);
        }
        number += 1;
        if only != u64::MAX {
            println!("{}", margrave_fuzz::shown(&data));
            break;
        }
        if begun.elapsed().as_secs() / 30 > said {
            said = begun.elapsed().as_secs() / 30;
            println!("{} s: {number} cases", begun.elapsed().as_secs());
        }
    }
    println!("seed {seed}: {number} cases held in {} s", begun.elapsed().as_secs());
}

/// 0 where every key that plain arithmetic gets wrong is found, else 1.
fn self_test() -> i32 {
    std::panic::set_hook(Box::new(|_| ()));
    let mut missed = 0;
    for key in keys() {
        let differs = |number: &u64| {
            let data = Bytes::random(1, *number);
            std::panic::catch_unwind(|| check_twisted(&data, key, *number as usize)).is_err()
        };
        match (0..MOST_CASES).find(differs) {
            Some(number) => println!("{key}: case {number}"),
            None => {
                println!("{key}: MISSED");
                missed += 1;
            }
        }
    }
    i32::from(missed > 0)
}
