//! Ids: numbering accounts in order of first appearance, and naming instruments and assets.
//!
//! Ids meet by value: `Ids` holds them as integers, as texts, or as codes into texts.
//! `number_accounts` gives every distinct account its rank of first appearance over several
//! frames. Rows are cut by hash into parts that fit in cache, so that threads share nothing;
//! the ranks do not depend on the hash, on the parts, or on the threads.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::batch;
use crate::columns::{Texts, Validity, Values};

/// The code of a row or name that has none.
pub const NONE: u32 = u32::MAX;

/// Ids of a column, by row.
#[derive(Clone)]
pub struct Ids {
    kind: Kind,
    validity: Option<Validity>,
}

#[derive(Clone)]
enum Kind {
    Integers(Values<i64>),
    Texts(Arc<dyn Texts>),
    /// Codes into distinct or repeated texts (Enum, Categorical).
    Codes(Values<u32>, Arc<dyn Texts>),
}

impl Ids {
    /// Ids that are integers.
    pub fn integers(values: Values<i64>, validity: Option<Validity>) -> Self {
        Self { kind: Kind::Integers(values), validity }
    }

    /// Ids that are texts.
    pub fn texts(texts: Arc<dyn Texts>, validity: Option<Validity>) -> Self {
        Self { kind: Kind::Texts(texts), validity }
    }

    /// Ids that are codes into texts; every valid row's code must be below their number.
    pub fn codes(codes: Values<u32>, texts: Arc<dyn Texts>, validity: Option<Validity>) -> Self {
        Self { kind: Kind::Codes(codes, texts), validity }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Integers(values) => values.len(),
            Kind::Texts(texts) => texts.len(),
            Kind::Codes(codes, _) => codes.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the row has an id.
    pub fn is_valid(&self, row: usize) -> bool {
        self.validity.as_ref().is_none_or(|validity| validity.get(row))
    }

    /// The id of a row as text; None where it is null.
    pub fn text(&self, row: usize) -> Option<String> {
        self.is_valid(row).then(|| match self.key(row) {
            Key::Integer(value) => value.to_string(),
            Key::Text(text) => text.to_owned(),
        })
    }

    fn key(&self, row: usize) -> Key<'_> {
        match &self.kind {
            Kind::Integers(values) => Key::Integer(values[row]),
            Kind::Texts(texts) => Key::Text(texts.text(row)),
            Kind::Codes(codes, texts) => Key::Text(texts.text(codes[row] as usize)),
        }
    }

    /// Calls `each` with the hash of every valid row of the range.
    fn hashes(&self, seed: Seed, rows: std::ops::Range<usize>, mut each: impl FnMut(usize, u64)) {
        let by_code: Vec<u64> = match &self.kind {
            Kind::Codes(_, texts) if texts.len() <= self.len() => {
                (0..texts.len()).map(|i| seed.text(texts.text(i))).collect()
            }
            _ => Vec::new(),
        };
        for row in rows {
            if !self.is_valid(row) {
                continue;
            }
            let hash = match &self.kind {
                Kind::Integers(values) => seed.integer(values[row]),
                Kind::Codes(codes, _) if !by_code.is_empty() => by_code[codes[row] as usize],
                Kind::Texts(_) | Kind::Codes(..) => match self.key(row) {
                    Key::Text(text) => seed.text(text),
                    Key::Integer(value) => seed.integer(value),
                },
            };
            each(row, hash);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key<'a> {
    Integer(i64),
    Text(&'a str),
}

/// Hashing with a seed of its own per process: crafted ids gain nothing.
#[derive(Clone, Copy)]
struct Seed(u64);

impl Seed {
    fn random() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// A bijection of 64 bits: equal hashes are equal integers.
    fn integer(self, value: i64) -> u64 {
        let mut x = (value as u64) ^ self.0;
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x ^ (x >> 32)
    }

    fn text(self, text: &str) -> u64 {
        let mut hash = self.0 ^ text.len() as u64;
        let mut chunks = text.as_bytes().chunks_exact(8);
        for chunk in &mut chunks {
            hash = fold(hash, u64::from_le_bytes(chunk.try_into().expect("chunks are 8 long")));
        }
        let mut last = [0; 8];
        last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        fold(fold(hash, u64::from_le_bytes(last)), self.0)
    }
}

fn fold(hash: u64, word: u64) -> u64 {
    let wide = u128::from(hash ^ word ^ 0x9e37_79b9_7f4a_7c15)
        * u128::from(hash.rotate_left(23) ^ 0xd6e8_feb8_6659_fd93);
    (wide as u64) ^ (wide >> 64) as u64 ^ word.rotate_left(32)
}

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
    let integers = frames.iter().all(|ids| matches!(ids.kind, Kind::Integers(_)));
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

/// Distinct names in order of first appearance, each with a code.
#[derive(Clone, Default)]
pub struct Names {
    texts: Vec<String>,
    codes: HashMap<String, u32>,
    integers: HashMap<i64, u32>,
}

impl Names {
    /// Number of names.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The name with this code.
    pub fn text(&self, code: u32) -> &str {
        &self.texts[code as usize]
    }

    /// All names, by code.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The code of a name.
    pub fn code(&self, text: &str) -> Option<u32> {
        self.codes.get(text).copied()
    }

    /// The code of a name, which is added when new.
    pub fn add(&mut self, text: &str) -> u32 {
        if let Some(code) = self.code(text) {
            return code;
        }
        let code = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.codes.insert(text.to_owned(), code);
        if let Ok(value) = text.parse::<i64>()
            && value.to_string() == text
        {
            self.integers.insert(value, code);
        }
        code
    }

    /// The code of every row's id, `NONE` where it is null or no name here.
    pub fn find(&self, ids: &Ids) -> Vec<u32> {
        let look = |key: Key<'_>| match key {
            Key::Integer(value) => self.integers.get(&value).copied(),
            Key::Text(text) => self.code(text),
        };
        each_code(ids, |key| look(key).unwrap_or(NONE))
    }

    /// The code of every row's id, with names added when new; `NONE` where it is null.
    pub fn find_or_add(&mut self, ids: &Ids) -> Vec<u32> {
        each_code(ids, |key| match key {
            Key::Text(text) => self.add(text),
            Key::Integer(value) => match self.integers.get(&value) {
                Some(code) => *code,
                None => self.add(&value.to_string()),
            },
        })
    }
}

/// What `look` says of every row's id, asked once for each code; `NONE` where it is null.
fn each_code(ids: &Ids, mut look: impl FnMut(Key<'_>) -> u32) -> Vec<u32> {
    let rows = 0..ids.len();
    let Kind::Codes(codes, texts) = &ids.kind else {
        return rows.map(|r| if ids.is_valid(r) { look(ids.key(r)) } else { NONE }).collect();
    };
    let mut known: Vec<Option<u32>> = vec![None; texts.len()];
    rows.map(|row| {
        if !ids.is_valid(row) {
            return NONE;
        }
        let code = codes[row] as usize;
        *known[code].get_or_insert_with(|| look(Key::Text(texts.text(code))))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn names_find_integers_written_as_text_only_canonically() {
        let mut names = Names::default();
        let codes = names.find_or_add(&texts(&["056", "56", "-3"]));
        assert_eq!(codes, [0, 1, 2]);
        assert_eq!(names.find(&integers(&[56, -3, 0])), [1, 2, NONE]);
    }
}
