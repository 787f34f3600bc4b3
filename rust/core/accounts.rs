//! Numbering accounts in order of first appearance.
//!
//! `number_accounts` gives every distinct account its rank over several frames. Rows are cut
//! by hash into parts that fit in cache, so that threads share nothing; the ranks depend
//! neither on the hash nor on the parts nor on the threads.

use crate::batch;
use crate::keys::{Ids, NONE, Seed};

/// Accounts of several frames, numbered by first appearance.
pub struct Accounts {
    /// For each frame, the account of each row; `NONE` where the id is null.
    pub row_account: Vec<Vec<u32>>,
    /// For each account, where it appears first: frame and row.
    pub first: Vec<(u32, u32)>,
}

/// Rows of one slice that fall into one part: hash and row.
type Records = Vec<(u64, u32)>;

/// Numbers the distinct ids of `frames`, read one after another, by first appearance.
///
/// All frames must hold the same kind of id, and fewer than 2^32 - 1 rows in all.
pub fn number_accounts(frames: &[&Ids], threads: usize) -> Accounts {
    let seed = Seed::random();
    let starts: Vec<usize> = frames
        .iter()
        .scan(0, |at, ids| {
            *at += ids.len();
            Some(*at - ids.len())
        })
        .collect();
    let total: usize = frames.iter().map(|ids| ids.len()).sum();
    let parts = (total / 4096).next_power_of_two().min(2048);
    let slices = slices(frames, &starts, threads);

    let records: Vec<Vec<Records>> = batch::map(threads, slices.clone(), |slice| {
        scatter(frames[slice.frame], &slice, seed, parts)
    });
    let grouped: Vec<Part> = batch::map(threads, (0..parts).collect(), |part| {
        let records = records.iter().map(|slice| slice[part].as_slice());
        group(frames, &starts, records)
    });
    let (first, ranks) = rank(&grouped, total);
    let mut row_account: Vec<Vec<u32>> = frames.iter().map(|ids| vec![NONE; ids.len()]).collect();
    let targets = cut(&mut row_account, &slices);
    let tasks = targets.into_iter().zip(&slices).enumerate().collect();
    batch::map(threads, tasks, |(index, (target, slice)): (usize, (&mut [u32], &Slice))| {
        for (part, records) in records[index].iter().enumerate() {
            for ((_, row), local) in records.iter().zip(&grouped[part].locals[index]) {
                target[*row as usize - slice.first] = ranks[part][*local as usize];
            }
        }
    });
    let located = first.into_iter().map(|row| {
        let (frame, row) = locate(&starts, row);
        (frame as u32, row as u32)
    });
    Accounts { row_account, first: located.collect() }
}

/// The frame that holds a row counted over all frames, and the row there.
fn locate(starts: &[usize], row: u32) -> (usize, usize) {
    let frame = starts.partition_point(|start| *start <= row as usize) - 1;
    (frame, row as usize - starts[frame])
}

/// A run of rows of one frame; `first` is its first row over all frames.
#[derive(Clone)]
struct Slice {
    frame: usize,
    first: usize,
    rows: std::ops::Range<usize>,
}

fn slices(frames: &[&Ids], starts: &[usize], threads: usize) -> Vec<Slice> {
    let pieces = if threads > 1 { 2 * threads } else { 1 };
    let cut = |frame: usize| {
        batch::ranges(frames[frame].len(), pieces).into_iter().map(move |rows| Slice {
            frame,
            first: starts[frame] + rows.start,
            rows,
        })
    };
    (0..frames.len()).flat_map(cut).collect()
}

fn scatter(ids: &Ids, slice: &Slice, seed: Seed, parts: usize) -> Vec<Records> {
    let shift = 64 - parts.trailing_zeros();
    let part = |hash: u64| if parts == 1 { 0 } else { (hash >> shift) as usize };
    let mean = slice.rows.len() / parts;
    let room = if parts == 1 { mean } else { mean + mean / 4 + 8 };
    let mut records: Vec<Records> = (0..parts).map(|_| Vec::with_capacity(room)).collect();
    ids.hashes(seed, slice.rows.clone(), |row, hash| {
        let row = (slice.first + row - slice.rows.start) as u32;
        records[part(hash)].push((hash, row));
    });
    records
}

/// The distinct ids of a part: their first rows, and for each slice the id of each record.
struct Part {
    firsts: Vec<u32>,
    locals: Vec<Vec<u32>>,
}

fn group<'a>(
    frames: &[&Ids],
    starts: &[usize],
    slices: impl Iterator<Item = &'a [(u64, u32)]> + Clone,
) -> Part {
    let key = |row: u32| {
        let (frame, row) = locate(starts, row);
        frames[frame].key(row)
    };
    // Equal hashes of integers are equal integers; texts are compared.
    let integers = frames.iter().all(|ids| ids.are_integers());
    let records: usize = slices.clone().map(<[_]>::len).sum();
    let mask = (2 * records).next_power_of_two().max(16) - 1;
    let mut table: Vec<(u64, u32)> = vec![(0, NONE); mask + 1];
    let mut firsts: Vec<u32> = Vec::new();
    let mut find = |hash: u64, row: u32| {
        let mut slot = hash as usize & mask;
        loop {
            let (seen, local) = table[slot];
            if local == NONE {
                table[slot] = (hash, firsts.len() as u32);
                firsts.push(row);
                return firsts.len() as u32 - 1;
            }
            if seen == hash && (integers || key(firsts[local as usize]) == key(row)) {
                return local;
            }
            slot = (slot + 1) & mask;
        }
    };
    let locals =
        slices.map(|records| records.iter().map(|(hash, row)| find(*hash, *row)).collect());
    let locals = locals.collect();
    Part { firsts, locals }
}

/// The first rows of all accounts in order, and for each part the rank of each of its ids.
fn rank(parts: &[Part], total: usize) -> (Vec<u32>, Vec<Vec<u32>>) {
    let mut is_first = vec![0u64; total.div_ceil(64)];
    for row in parts.iter().flat_map(|part| &part.firsts) {
        is_first[*row as usize / 64] |= 1 << (row % 64);
    }
    let mut before = Vec::with_capacity(is_first.len());
    let mut first = Vec::new();
    for (word, bits) in is_first.iter().enumerate() {
        before.push(first.len() as u32);
        let mut bits = *bits;
        while bits != 0 {
            first.push(word as u32 * 64 + bits.trailing_zeros());
            bits &= bits - 1;
        }
    }
    let rank_of = |row: &u32| {
        let below = is_first[*row as usize / 64] & ((1 << (row % 64)) - 1);
        before[*row as usize / 64] + below.count_ones()
    };
    let ranks = parts.iter().map(|part| part.firsts.iter().map(rank_of).collect()).collect();
    (first, ranks)
}

/// The part of each frame's rows that belongs to each slice.
fn cut<'a>(frames: &'a mut [Vec<u32>], slices: &[Slice]) -> Vec<&'a mut [u32]> {
    let mut rest: Vec<&mut [u32]> = frames.iter_mut().map(Vec::as_mut_slice).collect();
    let take = |slice: &Slice| {
        let (head, tail) = std::mem::take(&mut rest[slice.frame]).split_at_mut(slice.rows.len());
        rest[slice.frame] = tail;
        head
    };
    slices.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hashbrown::HashMap;

    use super::*;
    use crate::columns::{Texts, Validity, Values};

    fn integers(values: &[i64]) -> Ids {
        Ids::integers(Values::new(values.to_vec()), None)
    }

    fn texts(values: &[&str]) -> Ids {
        let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        Ids::texts(Arc::new(texts), None)
    }

    #[test]
    fn accounts_are_numbered_by_first_appearance_over_all_frames() {
        let (a, b, c) = (integers(&[7, -1, 7]), integers(&[]), integers(&[3, -1, i64::MIN]));
        let accounts = number_accounts(&[&a, &b, &c], 2);
        assert_eq!(accounts.row_account, [vec![0, 1, 0], vec![], vec![2, 1, 3]]);
        assert_eq!(accounts.first, [(0, 0), (0, 1), (2, 0), (2, 2)]);
    }

    #[test]
    fn texts_and_codes_meet_by_value_and_nulls_have_no_account() {
        let words: Arc<dyn Texts> = Arc::new(vec!["x".to_owned(), "longer than eight".to_owned()]);
        let codes =
            Ids::codes(Values::new(vec![1, 0, 1]), words, Some(Validity::from_words(vec![0b101])));
        let accounts = number_accounts(&[&codes, &texts(&["", "longer than eight", "x"])], 1);
        assert_eq!(accounts.row_account, [vec![0, NONE, 0], vec![1, 0, 2]]);
    }

    #[test]
    fn numbers_do_not_depend_on_threads() {
        let ids: Vec<i64> = (0..50_000i64).map(|i| (i * 7919) % 9973).collect();
        let one = number_accounts(&[&integers(&ids)], 1);
        let mut seen = HashMap::new();
        for (row, id) in ids.iter().enumerate() {
            let next = seen.len() as u32;
            assert_eq!(one.row_account[0][row], *seen.entry(id).or_insert(next));
        }
        for threads in [2, 3, 16] {
            let many = number_accounts(&[&integers(&ids)], threads);
            assert_eq!(many.row_account, one.row_account);
            assert_eq!(many.first, one.first);
        }
    }
}
