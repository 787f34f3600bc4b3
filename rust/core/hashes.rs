//! Hashes of ids, with a secret of their own per book: crafted ids gain nothing.
//!
//! An integer's hash is a bijection of 64 bits, so that equal hashes are equal integers. A
//! text's has 128 bits: among ten million texts the odds that two share one are 1.5e-25, so
//! texts are not compared again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128_with_secret;

use crate::keys::Ids;

/// Bytes of a secret.
const SECRET: usize = 192;

/// A secret, drawn at random.
pub(crate) struct Seed {
    word: u64,
    secret: [u8; SECRET],
}

impl Seed {
    pub(crate) fn random() -> Self {
        let state = RandomState::new();
        let word = |number: usize| {
            let mut hasher = state.build_hasher();
            hasher.write_usize(number);
            hasher.finish()
        };
        let mut secret = [0; SECRET];
        for (number, bytes) in secret.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&word(number).to_le_bytes());
        }
        Self { word: word(SECRET), secret }
    }

    /// A bijection of 64 bits.
    #[inline]
    fn integer(&self, value: i64) -> u64 {
        let mut x = (value as u64) ^ self.word;
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x ^ (x >> 32)
    }

    fn text(&self, text: &str) -> [u64; 2] {
        let hash = xxh3_128_with_secret(text.as_bytes(), &self.secret);
        [(hash >> 64) as u64, hash as u64]
    }

    /// Shows each run of equal integers to `each`: its hash, its first row and its length.
    #[inline]
    pub(crate) fn integer_runs(
        &self,
        ids: &Ids,
        rows: Range<usize>,
        mut each: impl FnMut(u64, usize, usize),
    ) {
        let Some(values) = ids.as_integers() else { return };
        let mut row = rows.start;
        while row < rows.end {
            let value = values[row];
            let first = row;
            row += 1;
            if !ids.is_valid(first) {
                continue;
            }
            while row < rows.end && values[row] == value && ids.is_valid(row) {
                row += 1;
            }
            each(self.integer(value), first, row - first);
        }
    }

    /// The same of texts.
    pub(crate) fn text_runs(
        &self,
        ids: &Ids,
        rows: Range<usize>,
        mut each: impl FnMut([u64; 2], usize, usize),
    ) {
        let mut by_code: Vec<Option<[u64; 2]>> = Vec::new();
        let mut last: Option<(&str, [u64; 2], usize, usize)> = None;
        ids.each_text(rows, |row, text, code| {
            if let Some((before, _, first, count)) = &mut last
                && *before == text
                && *first + *count == row
            {
                *count += 1;
                return;
            }
            let hash = match code {
                None => self.text(text),
                Some(code) => {
                    if by_code.len() <= code {
                        by_code.resize(code + 1, None);
                    }
                    *by_code[code].get_or_insert_with(|| self.text(text))
                }
            };
            if let Some((_, hash, first, count)) = last.replace((text, hash, row, 1)) {
                each(hash, first, count);
            }
        });
        if let Some((_, hash, first, count)) = last {
            each(hash, first, count);
        }
    }
}
