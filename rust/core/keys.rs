//! Ids, and codes for the few that name instruments, assets and tables.
//!
//! Ids meet by value: `Ids` holds them as integers, as texts, or as codes into texts. `Names`
//! gives each distinct one a code. Accounts, which are many, are numbered by `accounts`.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use hashbrown::HashMap;

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

    /// Whether they are integers, so that equal hashes are equal ids.
    pub(crate) fn are_integers(&self) -> bool {
        matches!(self.kind, Kind::Integers(_))
    }

    pub(crate) fn key(&self, row: usize) -> Key<'_> {
        match &self.kind {
            Kind::Integers(values) => Key::Integer(values[row]),
            Kind::Texts(texts) => Key::Text(texts.text(row)),
            Kind::Codes(codes, texts) => Key::Text(texts.text(codes[row] as usize)),
        }
    }

    /// Calls `each` with the hash of every valid row of the range.
    pub(crate) fn hashes(
        &self,
        seed: Seed,
        rows: std::ops::Range<usize>,
        mut each: impl FnMut(usize, u64),
    ) {
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
pub(crate) enum Key<'a> {
    Integer(i64),
    Text(&'a str),
}

/// Hashing with a seed of its own per process: crafted ids gain nothing.
#[derive(Clone, Copy)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn random() -> Self {
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
    fn names_find_integers_written_as_text_only_canonically() {
        let mut names = Names::default();
        let codes = names.find_or_add(&texts(&["056", "56", "-3"]));
        assert_eq!(codes, [0, 1, 2]);
        assert_eq!(names.find(&integers(&[56, -3, 0])), [1, 2, NONE]);
    }
}
