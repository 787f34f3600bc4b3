//! One bit a row: where a column holds something.
//!
//! `Run` is the bits of neighbouring rows, made by one thread while their values are in cache;
//! `Bits::join` puts runs together, wherever they begin. Nothing is stored where every bit is
//! set.

use std::ops::Index;

/// One bit a row, the first row in the lowest bit of the first word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    /// Empty where all bits are set.
    words: Vec<u64>,
    rows: usize,
}

/// Bits of the rows from `first` on, in the words in which `Bits` has them.
pub(crate) struct Run {
    first: usize,
    words: Vec<u64>,
}

impl Run {
    /// Whether each value, those of the rows from `first` on, `holds`.
    #[inline(always)]
    pub(crate) fn new<T: Copy>(first: usize, values: &[T], holds: impl Fn(T) -> bool) -> Self {
        let (head, rest) = values.split_at(values.len().min(first.next_multiple_of(64) - first));
        let (whole, tail) = rest.as_chunks::<64>();
        let word = |values: &[T], begin: usize| {
            let bit = |(i, value): (usize, &T)| u64::from(holds(*value)) << (begin + i);
            values.iter().enumerate().map(bit).fold(0, |word, bit| word | bit)
        };
        let mut words = Vec::with_capacity(whole.len() + 2);
        if !head.is_empty() {
            words.push(word(head, first % 64));
        }
        words.extend(whole.iter().map(|values| gathered(&values.map(|v| u8::from(holds(v))))));
        if !tail.is_empty() {
            words.push(word(tail, 0));
        }
        Self { first, words }
    }

    /// So many rows from `first` on, all of which hold.
    pub(crate) fn full(first: usize, rows: usize) -> Self {
        let end = first + rows;
        let up_to = |row: usize, word: usize| match row.saturating_sub(64 * word) {
            bits @ 0..64 => (1 << bits) - 1,
            _ => u64::MAX,
        };
        let words =
            (first / 64..end.div_ceil(64)).map(|word| up_to(end, word) & !up_to(first, word));
        Self { first, words: words.collect() }
    }
}

/// The lowest bits of 64 bytes.
#[inline(always)]
fn gathered(flags: &[u8; 64]) -> u64 {
    let (eights, _) = flags.as_chunks::<8>();
    let eight = |flags: &[u8; 8]| {
        // Multiplied so, the first byte's bit comes to the lowest of the highest byte.
        u64::from_le_bytes(*flags).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    eights.iter().rev().fold(0, |word, flags| word << 8 | eight(flags))
}

impl Bits {
    /// The bits of `runs`, which cover so many rows once; bits that no run has are not set.
    pub(crate) fn join(rows: usize, runs: impl Iterator<Item = Run>) -> Self {
        let mut words = vec![0; rows.div_ceil(64)];
        for run in runs {
            let its = &mut words[run.first / 64..];
            its.iter_mut().zip(&run.words).for_each(|(word, bits)| *word |= bits);
        }
        let set: usize = words.iter().map(|word: &u64| word.count_ones() as usize).sum();
        Self { words: if set == rows { Vec::new() } else { words }, rows }
    }

    /// Several columns, each of its own runs.
    pub(crate) fn join_all<const N: usize>(
        rows: usize,
        parts: impl Iterator<Item = [Run; N]>,
    ) -> [Self; N] {
        let mut columns = [const { Vec::new() }; N];
        for part in parts {
            columns
                .iter_mut()
                .zip(part)
                .for_each(|(column, run): (&mut Vec<Run>, _)| column.push(run));
        }
        columns.map(|runs| Self::join(rows, runs.into_iter()))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Words of 64 rows each; None where all bits are set.
    pub fn into_words(self) -> Option<Vec<u64>> {
        Some(self.words).filter(|words| !words.is_empty())
    }
}

impl Index<usize> for Bits {
    type Output = bool;

    fn index(&self, row: usize) -> &bool {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let is_set = self.words.get(row / 64).is_none_or(|word| word >> (row % 64) & 1 == 1);
        if is_set { &true } else { &false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_begin_anywhere_join_to_the_bits_of_all_rows() {
        for rows in [0, 1, 63, 64, 65, 200] {
            let values: Vec<usize> = (0..rows).collect();
            for length in [1, 3, 64, 70] {
                let cut = values.chunks(length).enumerate();
                let runs = cut.map(|(i, run)| Run::new(i * length, run, |v| v % 3 == 0));
                let bits = Bits::join(rows, runs);
                assert!(values.iter().all(|row| bits[*row] == (row % 3 == 0)));
                let cut = values.chunks(length).enumerate().filter(|(i, _)| i % 2 == 1);
                let full = cut.map(|(i, run)| Run::full(i * length, run.len()));
                let odd = Bits::join(rows, full);
                assert!(values.iter().all(|row| odd[*row] == (row / length % 2 == 1)));
                assert_eq!(bits.len(), rows);
            }
        }
    }

    #[test]
    fn nothing_is_stored_where_all_bits_are_set() {
        let all = Bits::join(70, [Run::new(0, &[1; 70], |v| v == 1)].into_iter());
        assert!((0..70).all(|row| all[row]));
        assert_eq!(all.into_words(), None);
        let some = Bits::join(70, [Run::new(0, &[1; 69], |v| v == 1)].into_iter());
        assert!(!some[69]);
        assert_eq!(some.into_words(), Some(vec![u64::MAX, 31]));
    }

    #[test]
    fn no_rows_are_empty() {
        let of = |rows: usize| Bits::join(rows, [Run::full(0, rows)].into_iter());
        assert!(of(0).is_empty() && !of(1).is_empty() && !of(64).is_empty());
    }
}
