//! Numbering accounts in order of first appearance.
//!
//! `number_accounts` gives every distinct account its rank over several frames. Neighbouring
//! rows of one id are a run; runs are cut by hash into parts that fit in cache, so that threads
//! share nothing. The ranks depend neither on the hash nor on the parts nor on the threads.

use std::ops::Range;

use bytemuck::Pod;

use crate::batch;
use crate::hashes::Seed;
use crate::keys::{Ids, NONE};
use crate::memory::{Buffer, slice_length};
use crate::partition::Cut;

/// Accounts of several frames, numbered by first appearance.
pub struct Accounts {
    /// For each frame, the account of each row; `NONE` where the id is null.
    pub row_account: Vec<Buffer<u32>>,
    /// For each account, where it appears first: frame and row.
    pub first: Vec<(u32, u32)>,
}

/// Runs in a part, about: its table and its records stay in cache.
const PART_RUNS: usize = 32768;
/// Parts at most: each has an open end that a thread writes to.
const MOST_PARTS: usize = 4096;
/// Rows that are looked at at a time, or more.
const RANGE: usize = 1 << 18;
/// Rows for which it is worth to start a thread.
const THREAD_ROWS: usize = 1 << 14;

/// Numbers the distinct ids of `frames`, read one after another, by first appearance.
///
/// All frames must hold the same kind of id, and fewer than 2^32 - 1 rows in all. Texts are
/// told apart by 128 bits of a hash whose secret is drawn anew each time.
pub fn number_accounts(frames: &[&Ids], threads: usize) -> Accounts {
    let seed = Seed::random();
    if frames.iter().all(|ids| ids.as_integers().is_some()) {
        number(frames, threads, |ids, slice: &Slice, runs: &mut [[u64; 2]]| {
            let mut places = runs.iter_mut();
            seed.integer_runs(ids, slice.rows.clone(), |hash, row, count| {
                if let Some(place) = places.next() {
                    *place = [hash, slice.run(row, count)];
                }
            });
            slice.rows.len() - places.len()
        })
    } else {
        let by_code: Vec<_> = frames.iter().map(|ids| seed.hash_codes(ids, threads)).collect();
        number(frames, threads, |ids, slice: &Slice, runs: &mut [[u64; 3]]| {
            let mut places = runs.iter_mut();
            let by_code = by_code[slice.frame].as_deref();
            seed.text_runs(ids, by_code, slice.rows.clone(), |[a, b], row, count| {
                if let Some(place) = places.next() {
                    *place = [a, b, slice.run(row, count)];
                }
            });
            slice.rows.len() - places.len()
        })
    }
}

/// A run as words: its hash, whose first word says where it belongs, and that of `Slice::run`.
trait Run: Pod + Send + Sync {
    /// The hash; what comes last is equal for all runs.
    fn hash(&self) -> Self;
    /// Its first word.
    fn top(&self) -> u64;
    /// The word of `Slice::run`.
    fn rows(&self) -> u64;
}

impl<const WORDS: usize> Run for [u64; WORDS]
where
    Self: Pod,
{
    #[inline]
    fn hash(&self) -> Self {
        let mut hash = *self;
        hash[WORDS - 1] = 0;
        hash
    }

    #[inline]
    fn top(&self) -> u64 {
        self[0]
    }

    #[inline]
    fn rows(&self) -> u64 {
        self[WORDS - 1]
    }
}

fn number<R: Run + PartialEq>(
    frames: &[&Ids],
    threads: usize,
    read: impl Fn(&Ids, &Slice, &mut [R]) -> usize + Sync,
) -> Accounts {
    let total: usize = frames.iter().map(|ids| ids.len()).sum();
    let threads = batch::enough(threads, total, THREAD_ROWS);
    let slices = slices(frames, slice_length::<R>(total, threads));
    let parts = (total / PART_RUNS).next_power_of_two().min(MOST_PARTS);
    let cut: Vec<Cut<R>> = batch::map(threads, slices.iter().collect(), |slice: &Slice| {
        let mut runs = Buffer::new(slice.rows.len()); // a run is a row or more
        let count = read(frames[slice.frame], slice, &mut runs);
        let shift = 64 - parts.trailing_zeros();
        let part = |run: &R| if parts == 1 { 0 } else { (run.top() >> shift) as usize };
        Cut::new(&runs[..count], parts, part)
    });
    let mut grouped: Vec<Part> =
        batch::map(threads, (0..parts).collect(), |part| group(&cut, part));
    let first = rank(&mut grouped, frames, total, threads);
    let mut row_account: Vec<Buffer<u32>> =
        frames.iter().map(|ids| Buffer::new(ids.len())).collect();
    let targets = targets(&mut row_account, &slices);
    let tasks = targets.into_iter().zip(&slices).enumerate().collect();
    batch::map(threads, tasks, |(index, (target, slice)): (usize, (&mut [u32], &Slice))| {
        if frames[slice.frame].has_nulls() {
            target.fill(NONE); // every other row is of some run
        }
        for (number, part) in grouped.iter().enumerate() {
            let ranks = &part.runs[part.slices[index]..];
            for (run, rank) in cut[index].part(number).iter().zip(ranks) {
                let first = (run.rows() as u32) as usize - slice.first;
                match run.rows() >> 32 {
                    1 => target[first] = *rank,
                    count => target[first..first + count as usize].fill(*rank),
                }
            }
        }
    });
    Accounts { row_account, first }
}

/// A run of rows of one frame; `first` is its first row over all frames.
struct Slice {
    frame: usize,
    first: usize,
    rows: Range<usize>,
}

impl Slice {
    /// A run as a word: its first row over all frames, and of how many rows it is.
    #[inline]
    fn run(&self, row: usize, count: usize) -> u64 {
        (self.first + row - self.rows.start) as u64 | (count as u64) << 32
    }
}

fn slices(frames: &[&Ids], width: usize) -> Vec<Slice> {
    let mut start = 0;
    let mut slices = Vec::new();
    for (frame, ids) in frames.iter().enumerate() {
        for rows in batch::steps(ids.len(), width) {
            slices.push(Slice { frame, first: start + rows.start, rows });
        }
        start += ids.len();
    }
    slices
}

/// The distinct ids of a part by their first rows; the id of each run, or its rank once ranks are
/// known; where the runs of each slice begin.
struct Part {
    ids: Vec<u32>,
    runs: Buffer<u32>,
    slices: Vec<usize>,
}

fn group<R: Run + PartialEq>(cut: &[Cut<R>], part: usize) -> Part {
    let runs: usize = cut.iter().map(|slice| slice.part(part).len()).sum();
    // Half full at most, so that looking on from a place soon ends.
    let mask = (2 * runs).next_power_of_two().max(16) - 1;
    let mut table = vec![0u32; mask + 1];
    let mut hashes: Vec<R> = Vec::new();
    let mut firsts: Vec<u32> = Vec::new();
    let mut locals = Buffer::new(runs);
    let mut slices = Vec::with_capacity(cut.len());
    let mut begin = 0;
    for slice in cut {
        let runs = slice.part(part);
        slices.push(begin);
        let locals = &mut locals[begin..begin + runs.len()];
        begin += runs.len();
        for (run, local) in runs.iter().zip(locals) {
            let hash = run.hash();
            let mut place = run.top() as usize & mask;
            *local = loop {
                match table[place] {
                    0 => {
                        firsts.push(run.rows() as u32);
                        hashes.push(hash);
                        table[place] = firsts.len() as u32;
                        break firsts.len() as u32 - 1;
                    }
                    // Equal hashes of integers are equal integers; of texts see `Seed`.
                    seen if hashes[seen as usize - 1] == hash => break seen - 1,
                    _ => place = (place + 1) & mask,
                }
            };
        }
    }
    Part { ids: firsts, runs: locals, slices }
}

/// Where each account appears first, in order; the runs of the parts get ranks.
fn rank(parts: &mut [Part], frames: &[&Ids], total: usize, threads: usize) -> Vec<(u32, u32)> {
    // For 32 rows each: a bit for each row where an account appears first, and above them how
    // many do before.
    let mut words = vec![0u64; total.div_ceil(32)];
    let range = RANGE.max(total / (16 * threads)) / 32;
    let tasks = words.chunks_mut(range).enumerate().collect();
    let counts = batch::map(threads, tasks, |(number, words): (usize, &mut [u64])| {
        mark(parts, 32 * range * number, words);
        let mut count = 0;
        for word in words {
            let here = u64::from(word.count_ones());
            *word |= count << 32;
            count += here;
        }
        count as usize
    });
    let mut first = vec![(0, 0); counts.iter().sum()];
    let mut rest = &mut first[..];
    let take = |count: &usize| rest.split_off_mut(..*count).unwrap_or_default();
    let starts = counts.iter().scan(0, |next, count| {
        let start = *next;
        *next += *count as u64;
        Some(start)
    });
    let tasks = counts.iter().map(take).zip(words.chunks_mut(range)).zip(starts);
    batch::map(threads, tasks.enumerate().collect(), |(number, ((first, words), start))| {
        words.iter_mut().for_each(|word| *word += start << 32);
        locate(frames, 32 * range * number, words, first);
    });
    let rank_of = |row: u32| {
        let word = words[row as usize / 32];
        (word >> 32) as u32 + (word as u32 & ((1 << (row % 32)) - 1)).count_ones()
    };
    batch::map(threads, parts.iter_mut().collect(), |part: &mut Part| {
        part.ids.iter_mut().for_each(|row| *row = rank_of(*row));
        part.runs.iter_mut().for_each(|run| *run = part.ids[*run as usize]);
    });
    first
}

/// Sets the bits of the rows from `begin` on where an account of any part appears first.
fn mark(parts: &[Part], begin: usize, words: &mut [u64]) {
    let end = begin + 32 * words.len();
    for part in parts {
        // A part's ids come in order of their first rows.
        let from = part.ids.partition_point(|row| (*row as usize) < begin);
        let here = part.ids[from..].iter().take_while(|row| (**row as usize) < end);
        for row in here.map(|row| *row as usize - begin) {
            words[row / 32] |= 1 << (row % 32);
        }
    }
}

/// Writes the frame and the row there of the rows whose bits are set; the first bit is that of
/// row `begin` over all frames.
fn locate(frames: &[&Ids], begin: usize, words: &[u64], first: &mut [(u32, u32)]) {
    let (mut frame, mut start) = (0, 0);
    let mut places = first.iter_mut();
    for (word, bits) in words.iter().enumerate() {
        let mut bits = *bits as u32;
        while bits != 0 {
            let row = begin + word * 32 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            while row - start >= frames[frame].len() {
                start += frames[frame].len();
                frame += 1;
            }
            if let Some(place) = places.next() {
                *place = (frame as u32, (row - start) as u32);
            }
        }
    }
}

/// The part of each frame's rows that belongs to each slice.
fn targets<'a>(frames: &'a mut [Buffer<u32>], slices: &[Slice]) -> Vec<&'a mut [u32]> {
    let mut rest: Vec<&mut [u32]> = frames.iter_mut().map(|rows| &mut **rows).collect();
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
    use crate::keys::tests::{integers, texts};

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
    fn a_null_within_a_run_of_a_text_has_no_account() {
        let words = ["a", "b", "x", "x", "x", "", "x"].map(str::to_owned).to_vec();
        let validity = Validity::from_words(vec![!(1 << 5)]);
        let ids = Ids::texts(Arc::new(words), Some(validity));
        let accounts = number_accounts(&[&ids], 1);
        assert_eq!(accounts.row_account, [vec![0, 1, 2, 2, 2, NONE, 2]]);
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

    #[test]
    fn columns_of_many_slices_are_numbered_as_by_a_map() {
        let ids: Vec<i64> = (0..450_000i64).map(|row| (row * 7919) % 100_003 - 50_000).collect();
        let frames = [integers(&ids[..150_000]), integers(&ids[150_000..])];
        let accounts = number_accounts(&[&frames[0], &frames[1]], 2);
        let (mut seen, mut first) = (HashMap::new(), Vec::new());
        for (row, id) in ids.iter().enumerate() {
            seen.entry(*id).or_insert_with(|| {
                let frame = usize::from(row >= 150_000);
                first.push((frame, row - 150_000 * frame));
                first.len() as u32 - 1
            });
        }
        let numbers: Vec<u32> = ids.iter().map(|id| seen[id]).collect();
        assert!(*accounts.row_account[0] == numbers[..150_000]);
        assert!(*accounts.row_account[1] == numbers[150_000..]);
        let firsts: Vec<(usize, usize)> =
            accounts.first.iter().map(|(frame, row)| (*frame as usize, *row as usize)).collect();
        assert!(firsts == first);
    }
}
