//! Hashes of ids, with a secret of their own per book: crafted ids gain nothing.
//!
//! An integer's hash is a bijection of 64 bits, so that equal hashes are equal integers. A
//! text's has 128 bits: among ten million texts the odds that two share one are 1.5e-25, so
//! texts are not compared again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128_with_secret;

use crate::batch;
use crate::keys::Ids;
use crate::memory::Buffer;

/// Bytes of a secret.
const SECRET: usize = 192;
/// Texts that a thread hashes at a time.
const TEXTS: usize = 1 << 14;

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

    /// The same of texts; `by_code` is what `hash_codes` made of these ids.
    pub(crate) fn text_runs(
        &self,
        ids: &Ids,
        by_code: Option<&[[u64; 2]]>,
        rows: Range<usize>,
        mut each: impl FnMut([u64; 2], usize, usize),
    ) {
        if let Some(hashes) = by_code {
            // Unequal codes may be of equal texts: two runs then, of one hash.
            let mut runs = Runs::new(|code: usize, row, count| each(hashes[code], row, count));
            ids.each_code(rows, |row, code| runs.add(row, code));
            runs.end();
        } else {
            // The first word of a view has the length and the first bytes: it tells most apart.
            let views = ids.text_views();
            let head = |row: usize| views.map_or(0, |views| views[row] as u64);
            let mut runs =
                Runs::new(|(_, text): (u64, &str), row, count| each(self.text(text), row, count));
            ids.each_text(rows, |row, text| runs.add(row, (head(row), text)));
            runs.end();
        }
    }

    /// The hash of each text that codes go into, so that none is hashed again in every slice.
    ///
    /// None where ids are no codes, and where there are more texts than rows: most of them
    /// would be hashed for nothing.
    pub(crate) fn hash_codes(&self, ids: &Ids, threads: usize) -> Option<Buffer<[u64; 2]>> {
        let texts = ids.coded_texts().filter(|texts| texts.len() <= ids.len())?;
        let mut hashes = Buffer::new(texts.len());
        let threads = batch::enough(threads, texts.len(), TEXTS);
        let tasks = hashes.chunks_mut(TEXTS).enumerate().collect();
        batch::map(threads, tasks, |(task, hashes): (usize, &mut [[u64; 2]])| {
            for (code, hash) in (task * TEXTS..).zip(hashes) {
                *hash = self.text(texts.text(code));
            }
        });
        Some(hashes)
    }
}

/// Neighbouring rows of one value, gathered and then shown: the value, the first row, how many.
struct Runs<T, F> {
    last: Option<(T, usize, usize)>,
    each: F,
}

impl<T: PartialEq, F: FnMut(T, usize, usize)> Runs<T, F> {
    fn new(each: F) -> Self {
        Self { last: None, each }
    }

    #[inline]
    fn add(&mut self, row: usize, value: T) {
        if let Some((before, first, count)) = &mut self.last
            && *before == value
            && *first + *count == row
        {
            *count += 1;
        } else if let Some((before, first, count)) = self.last.replace((value, row, 1)) {
            (self.each)(before, first, count);
        }
    }

    fn end(mut self) {
        if let Some((value, first, count)) = self.last {
            (self.each)(value, first, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::accounts::number_accounts;
    use crate::columns::{Texts, Validity, Values};
    use crate::keys::NONE;

    /// Codes into some texts, every seventh null with a code of nothing, and the texts themselves.
    fn both(rows: usize, texts: usize, distinct: usize) -> (Ids, Ids) {
        let words: Vec<String> =
            (0..texts).map(|code| format!("account {}", code % distinct)).collect();
        // Runs of three rows, some of codes that differ and are of one text.
        let code = |row: usize| (row / 3 * 7919 + row % 2 * distinct) % texts;
        let is_null = |row: usize| row % 7 == 5;
        let bits = |word: usize| {
            (0..64).map(|bit| u64::from(!is_null(word * 64 + bit)) << bit).sum::<u64>()
        };
        let validity = Validity::from_words((0..rows.div_ceil(64)).map(bits).collect());
        let codes: Vec<u32> =
            (0..rows).map(|row| if is_null(row) { NONE } else { code(row) as u32 }).collect();
        let of_rows: Vec<String> = (0..rows).map(|row| words[code(row)].clone()).collect();
        let words: Arc<dyn Texts> = Arc::new(words);
        let coded = Ids::codes(Values::new(codes), words, Some(validity.clone()));
        (coded, Ids::texts(Arc::new(of_rows), Some(validity)))
    }

    #[test]
    fn codes_number_accounts_as_their_texts_do() {
        let other = Ids::texts(Arc::new(vec!["account 3".to_owned(), "nobody".to_owned()]), None);
        // Few texts; many; as many as rows; more than rows; and texts that come again.
        for (rows, texts, distinct) in [
            (90_000, 7, 7),
            (90_000, 50_000, 50_000),
            (40_000, 40_000, 40_000),
            (40_000, 40_001, 40_001),
            (500, 90_000, 90_000),
            (90_000, 50_000, 30_000),
            (500, 90_000, 40),
            (9, 1, 1),
        ] {
            let (coded, plain) = both(rows, texts, distinct);
            for threads in [1, 3] {
                let by_code = number_accounts(&[&other, &coded, &coded], threads);
                let by_text = number_accounts(&[&other, &plain, &plain], threads);
                assert!(by_code.row_account == by_text.row_account, "{rows} {texts} {distinct}");
                assert!(by_code.first == by_text.first, "{rows} {texts} {distinct}");
            }
        }
    }

    #[test]
    fn texts_are_hashed_beforehand_unless_they_outnumber_the_rows() {
        let seed = Seed::random();
        let hashed = |rows, texts| seed.hash_codes(&both(rows, texts, texts).0, 2);
        assert!(hashed(500, 501).is_none());
        assert!(seed.hash_codes(&both(500, 7, 7).1, 2).is_none());
        let hashes = hashed(50_000, 50_000).expect("as many rows as texts");
        for (code, hash) in hashes.iter().enumerate() {
            assert_eq!(*hash, seed.text(&format!("account {code}")));
        }
    }
}
