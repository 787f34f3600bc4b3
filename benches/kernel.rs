//! The core alone, positions a second: building the book, sweeping it, and its positions; and
//! account-scenarios a second: putting it through 100 scenarios.
//!
//! `cargo bench --bench kernel`: a synthetic exchange of 100,000 accounts and 500,000
//! positions, on one thread and on all. Inputs are made outside the timed part; the answers
//! are released outside it, too.

#[path = "instructions/forms.rs"]
mod forms;
#[path = "scenarios.rs"]
mod scenarios;
#[path = "../tests/night/synthetic.rs"]
mod synthetic;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use margrave_core::batch;
use margrave_core::book::{Book, BookInput};
use margrave_core::stress::Stress;
use margrave_core::sweep::Sweep;

const ACCOUNTS: usize = 100_000;
const SCENARIOS: usize = 100;
const SEED: u64 = 7;

fn kernel(criterion: &mut Criterion) {
    let shuffled = forms::shuffled(ACCOUNTS, SEED);
    let grouped = forms::grouped(ACCOUNTS, SEED);
    let ids = forms::text_ids(ACCOUNTS, SEED);
    let texts = || forms::with_ids(&shuffled, &ids);
    let (market, rules) = (shuffled.market(), shuffled.rules());
    let book = shuffled.book(1);
    let positions = book.position_account.len() as u64;
    assert!(book.faults.is_empty());
    let moves = scenarios::moves(&market, SCENARIOS);
    let mut counts = vec![1, batch::threads(None)];
    counts.dedup();
    for threads in counts {
        let mut group = criterion.benchmark_group(format!("threads {threads}"));
        group.throughput(Throughput::Elements(positions)).sample_size(10);
        let mut build = |name, columns: &dyn Fn() -> BookInput| {
            let build = |columns| Book::build(columns, threads).expect("it fits");
            group.bench_function(name, |bencher| {
                bencher.iter_batched(columns, build, BatchSize::PerIteration);
            });
        };
        build("build", &|| shuffled.columns());
        build("build, grouped rows", &|| grouped.columns());
        build("build, text ids", &texts);
        let sweep = || Sweep::run(&book, &market, &rules, false, threads).expect("tables");
        group.bench_function("sweep", |bencher| bencher.iter_with_large_drop(sweep));
        let swept = sweep();
        assert!(swept.faults.is_empty());
        group.bench_function("positions", |bencher| {
            bencher.iter_with_large_drop(|| swept.positions(&book, &rules, threads));
        });
        let stress =
            || Stress::run(&book, &market, &rules, &swept, &moves, threads).expect("prices");
        group.throughput(Throughput::Elements((book.accounts() * SCENARIOS) as u64));
        group.bench_function("stress", |bencher| bencher.iter_with_large_drop(stress));
        group.finish();
    }
}

criterion_group!(benches, kernel);
criterion_main!(benches);
