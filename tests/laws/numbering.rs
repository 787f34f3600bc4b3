//! Accounts are numbered as a plain map would number them.

use std::collections::HashMap;
use std::sync::Arc;

use margrave_core::accounts::number_accounts;
use margrave_core::columns::{Texts, Validity, Values};
use margrave_core::keys::{Ids, NONE};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::cases;

/// How the ids of a frame are held.
#[derive(Clone, Copy, Debug)]
enum Held {
    Texts,
    Codes,
    /// With texts that no row uses and texts that come twice.
    WideCodes,
}

/// Ids of one frame; None is null.
type Column<T> = Vec<Option<T>>;

fn validity<T>(rows: &[Option<T>]) -> Option<Validity> {
    let word = |rows: &[Option<T>]| {
        let bit = |(i, row): (usize, &Option<T>)| u64::from(row.is_some()) << i;
        rows.iter().enumerate().map(bit).sum()
    };
    Some(Validity::from_words(rows.chunks(64).map(word).collect()))
}

fn integers(rows: &[Option<i64>]) -> Ids {
    let values: Vec<i64> = rows.iter().map(|row| row.unwrap_or(0)).collect();
    Ids::integers(Values::new(values), validity(rows))
}

fn texts(rows: &[Option<String>], held: Held) -> Ids {
    let plain: Vec<String> = rows.iter().map(|row| row.clone().unwrap_or_default()).collect();
    if let Held::Texts = held {
        return Ids::texts(Arc::new(plain), validity(rows));
    }
    let mut distinct: Vec<String> = plain.clone();
    if let Held::WideCodes = held {
        distinct.extend((0..rows.len()).map(|i| format!("unused {i}")));
    }
    distinct.sort();
    if let Held::Codes = held {
        distinct.dedup();
    }
    // Of a text that comes twice, rows use now one and now the other.
    let code = |(i, row): (usize, &Option<String>)| match row {
        None => u32::MAX,
        Some(text) => {
            let range = distinct.partition_point(|t| t < text)..distinct.len();
            let equal = range.clone().take_while(|at| distinct[*at] == *text).count();
            (range.start + i % equal) as u32
        }
    };
    let codes: Vec<u32> = rows.iter().enumerate().map(code).collect();
    let distinct: Arc<dyn Texts> = Arc::new(distinct);
    Ids::codes(Values::new(codes), distinct, validity(rows))
}

/// Checks the numbers of accounts against those of a map, on several numbers of threads.
fn check<T: Clone + Eq + std::hash::Hash>(columns: &[Column<T>], ids: &[Ids]) {
    let mut seen: HashMap<&T, u32> = HashMap::new();
    let mut first = Vec::new();
    let mut expected = Vec::new();
    for (frame, rows) in columns.iter().enumerate() {
        let mut numbers = Vec::new();
        for (row, id) in rows.iter().enumerate() {
            numbers.push(id.as_ref().map_or(NONE, |id| {
                *seen.entry(id).or_insert_with(|| {
                    first.push((frame as u32, row as u32));
                    first.len() as u32 - 1
                })
            }));
        }
        expected.push(numbers);
    }
    let frames: Vec<&Ids> = ids.iter().collect();
    for threads in [1, 2, 3, 16] {
        let accounts = number_accounts(&frames, threads);
        assert!(accounts.row_account == expected, "{threads} threads");
        assert!(accounts.first == first, "{threads} threads");
    }
}

/// Texts that a careless hash or comparison would take for one another.
fn text() -> impl Strategy<Value = String> {
    let near =
        select(&["", "a", "a\0", "\0", "aaaaaaaa", "aaaaaaaaa", "bbbbbbbbaaaaaaaa", "é"][..]);
    prop_oneof![near.prop_map(str::to_owned), "[ab]{0,18}", "[0-9]{1,3}"]
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![-3i64..3, any::<i64>(), Just(i64::MIN), (0u32..63).prop_map(|bit| 1 << bit)]
}

fn columns<T: std::fmt::Debug>(
    id: impl Strategy<Value = T>,
    rows: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Column<T>>> {
    vec(vec(proptest::option::weighted(0.9, id), rows), 1..4)
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn integers_are_numbered_as_by_a_map(columns in columns(integer(), 0..200)) {
        let ids: Vec<Ids> = columns.iter().map(|rows| integers(rows)).collect();
        check(&columns, &ids);
    }

    #[test]
    fn texts_and_codes_are_numbered_as_by_a_map(
        columns in columns(text(), 0..200),
        held in vec(select(&[Held::Texts, Held::Codes, Held::WideCodes][..]), 4),
    ) {
        let ids: Vec<Ids> = columns.iter().zip(held).map(|(rows, held)| texts(rows, held)).collect();
        check(&columns, &ids);
    }
}

#[test]
fn long_columns_are_numbered_as_by_a_map() {
    // Enough rows for many parts; ids that come once, ids that come often, and nulls.
    let id = |row: i64| match row % 7 {
        0 => None,
        1 | 2 => Some(row % 100 - 50),
        _ => Some(row.wrapping_mul(0x5851_f42d_4c95_7f2d) >> (row % 50)),
    };
    let rows = |first: i64, count: i64| (first..first + count).map(id).collect::<Column<i64>>();
    let columns = [rows(0, 30_000), rows(10_000, 25_000), Vec::new(), rows(50_000, 5)];
    let ids: Vec<Ids> = columns.iter().map(|rows| integers(rows)).collect();
    check(&columns, &ids);
    let text = |rows: &Column<i64>| -> Column<String> {
        rows.iter().map(|id| id.map(|id| id.to_string())).collect()
    };
    let columns: Vec<Column<String>> = columns.iter().map(text).collect();
    for held in [Held::Texts, Held::Codes, Held::WideCodes] {
        let ids: Vec<Ids> = columns.iter().map(|rows| texts(rows, held)).collect();
        check(&columns, &ids);
    }
}
