//! Columns as they come in, and the checks that let them pass.
//!
//! A `Column` shares its values with whoever made them: nothing is copied. `check` finds
//! every value that is null, not finite or out of range; no NaN passes this file, so the
//! kernel behind it needs no error path.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The largest size of an input value. Exactly this much passes.
pub const LIMIT: f64 = 1e18;

/// Values shared with their owner, immutable.
pub struct Values<T: 'static>(Arc<dyn AsRef<[T]> + Send + Sync>);

impl<T> Values<T> {
    /// Shares what `owner` holds.
    pub fn new(owner: impl AsRef<[T]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(owner))
    }
}

impl<T> Clone for Values<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Values<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        (*self.0).as_ref()
    }
}

/// Texts by row, wherever they live.
pub trait Texts: Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;
    /// The text of a row; empty where the row is null.
    fn text(&self, row: usize) -> &str;
    /// Numbers by row, where there are any: rows with equal ones hold the same text, and 0 is
    /// that of the empty text.
    fn views(&self) -> Option<&[u128]> {
        None
    }
    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Texts for Vec<String> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn text(&self, row: usize) -> &str {
        &self[row]
    }
}

/// One bit a row, the first row in the lowest bit: set where there is a value.
#[derive(Clone)]
pub struct Validity(Arc<[u64]>);

impl Validity {
    /// Takes words of 64 rows each, the first row in the lowest bit.
    pub fn from_words(words: Vec<u64>) -> Self {
        Self(words.into())
    }

    /// Whether the row holds a value.
    pub fn get(&self, row: usize) -> bool {
        self.0[row / 64] >> (row % 64) & 1 == 1
    }
}

/// Numbers of a frame: values and where they are null.
#[derive(Clone)]
pub struct Numbers {
    /// Name of the column, as faults name it.
    pub name: &'static str,
    /// What it may hold.
    pub range: Range,
    /// Whether null is a fault.
    pub required: bool,
    values: Values<f64>,
    validity: Option<Validity>,
}

impl Numbers {
    /// Wraps a column that `check` is still to pass.
    pub fn new(name: &'static str, range: Range, values: Values<f64>) -> Self {
        Self { name, range, required: true, values, validity: None }
    }

    /// The same column with rows that are null.
    pub fn with_validity(mut self, validity: Option<Validity>) -> Self {
        self.validity = validity;
        self
    }

    /// The same column, in which null means *not given*.
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a row; None where it is null.
    pub fn get(&self, row: usize) -> Option<f64> {
        self.view().get(row)
    }

    /// The column as slices, for reading many rows.
    pub fn view(&self) -> View<'_> {
        View { values: &self.values, validity: self.validity.as_ref().map(|v| &*v.0) }
    }

    /// All values; what stands under a null means nothing.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Every row that may not pass, with the reason, in row order.
    pub fn check(&self) -> Vec<(u32, Reason)> {
        let mut faults = Vec::new();
        let length = self.len();
        for first in (0..length).step_by(BLOCK) {
            self.check_rows(first..(first + BLOCK).min(length), |row, reason| {
                faults.push((row, reason));
            });
        }
        faults
    }

    /// Whether those of up to 64 values that a word has a bit for may pass.
    #[inline]
    fn hold(&self, values: &[f64], word: u64) -> bool {
        let (mut given, mut holds) = (word, true);
        while given != 0 {
            let value = values.get(given.trailing_zeros() as usize);
            holds &= value.is_none_or(|value| self.range.holds(*value));
            given &= given - 1;
        }
        holds
    }

    /// Shows each of `rows` that may not pass to `fault`, with the reason. They begin at a
    /// multiple of 64, and are few, so that they stay in cache.
    pub(crate) fn check_rows(
        &self,
        rows: std::ops::Range<usize>,
        mut fault: impl FnMut(u32, Reason),
    ) {
        let view = self.view();
        let values = &view.values[rows.clone()];
        let holds = match view.validity {
            None => values.iter().fold(true, |holds, value| holds & self.range.holds(*value)),
            Some(_) if self.required => false,
            Some(words) => {
                let words = &words[rows.start / 64..];
                values.chunks(64).zip(words).all(|(values, word)| self.hold(values, *word))
            }
        };
        if holds {
            return;
        }
        for row in rows {
            let reason = match view.get(row) {
                None if self.required => Some(Reason::Null),
                None => None,
                Some(value) => self.range.refuse(value),
            };
            if let Some(reason) = reason {
                fault(row as u32, reason);
            }
        }
    }
}

/// `Numbers` as slices.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(crate) values: &'a [f64],
    pub(crate) validity: Option<&'a [u64]>,
}

impl View<'_> {
    /// The value of a row; None where it is null.
    #[inline]
    pub fn get(self, row: usize) -> Option<f64> {
        match self.validity {
            Some(words) if words[row / 64] >> (row % 64) & 1 == 0 => None,
            _ => Some(self.values[row]),
        }
    }
}

/// Rows looked at together before any is looked at alone.
pub(crate) const BLOCK: usize = 4096;

/// What a number may be. Everything is finite and at most `LIMIT` in size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Any such number.
    Any,
    /// Above 0.
    Positive,
    /// 0 or more.
    NotNegative,
    /// From 0 to 1.
    Rate,
}

impl Range {
    /// The range that the schema calls `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "any" => Some(Self::Any),
            "positive" => Some(Self::Positive),
            "not_negative" => Some(Self::NotNegative),
            "rate" => Some(Self::Rate),
            _ => None,
        }
    }

    /// Whether the value may pass. NaN never does.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Any => value.abs() <= LIMIT,
            Self::Positive => value > 0.0 && value <= LIMIT,
            Self::NotNegative => (0.0..=LIMIT).contains(&value),
            Self::Rate => (0.0..=1.0).contains(&value),
        }
    }

    fn refuse(self, value: f64) -> Option<Reason> {
        if self.holds(value) {
            return None;
        }
        Some(match self {
            _ if value.is_nan() => Reason::NotANumber,
            _ if value.is_infinite() => Reason::Infinite,
            Self::Rate => Reason::NotARate,
            _ if value.abs() > LIMIT => Reason::TooLarge,
            Self::Positive => Reason::NotPositive,
            _ => Reason::Negative,
        })
    }
}

/// Why a value was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing there where something must be.
    Null,
    /// NaN.
    NotANumber,
    /// Plus or minus infinity.
    Infinite,
    /// Beyond `LIMIT` in size.
    TooLarge,
    /// 0 or below where it must be above.
    NotPositive,
    /// Below 0 where it may not be.
    Negative,
    /// Outside [0, 1].
    NotARate,
    /// An instrument that the book's instruments frame lacks.
    UnlistedInstrument,
    /// An instrument that the market lacks.
    UnmarkedInstrument,
    /// An asset that the market lacks.
    UnmarkedAsset,
    /// An instrument whose settle asset the market lacks.
    UnmarkedSettleAsset,
    /// Divided by this value, or by the mark, money is beyond what a number can hold.
    Overflow,
}

impl Reason {
    /// The reason as messages and `rejects` state it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::NotANumber => "NaN",
            Self::Infinite => "infinite",
            Self::TooLarge => "beyond 1e18 in size",
            Self::NotPositive => "not above 0",
            Self::Negative => "below 0",
            Self::NotARate => "outside 0 to 1",
            Self::UnlistedInstrument => "instrument missing in instruments",
            Self::UnmarkedInstrument => "instrument missing in the market",
            Self::UnmarkedAsset => "asset missing in the market",
            Self::UnmarkedSettleAsset => "settle asset missing in the market",
            Self::Overflow => "with this market, money of the row overflows",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One bad value: where it stands and why it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Name of the frame.
    pub frame: &'static str,
    /// Name of the column.
    pub column: &'static str,
    /// Row in the frame, from 0.
    pub row: u32,
    /// Why.
    pub reason: Reason,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    fn reasons(range: Range, values: Vec<f64>) -> Vec<(u32, Reason)> {
        Numbers::new("x", range, Values::new(values)).check()
    }

    #[test]
    fn every_range_has_its_edges() {
        let edges = vec![0.0, -0.0, 1.0, LIMIT, -LIMIT, f64::NAN, f64::INFINITY, 1.1e18, -1.0];
        let any = vec![(5, Reason::NotANumber), (6, Reason::Infinite), (7, Reason::TooLarge)];
        assert_eq!(reasons(Range::Any, edges.clone()), any);
        let positive: Vec<u32> =
            reasons(Range::Positive, edges.clone()).iter().map(|f| f.0).collect();
        assert_eq!(positive, [0, 1, 4, 5, 6, 7, 8]);
        let not_negative: Vec<u32> =
            reasons(Range::NotNegative, edges.clone()).iter().map(|f| f.0).collect();
        assert_eq!(not_negative, [4, 5, 6, 7, 8]);
        let rate: Vec<u32> = reasons(Range::Rate, edges).iter().map(|f| f.0).collect();
        assert_eq!(rate, [3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn null_is_a_fault_only_where_required() {
        let column = Numbers::new("x", Range::Any, Values::new(vec![1.0, f64::NAN]))
            .with_validity(Some(Validity::from_words(vec![1])));
        assert_eq!(column.check(), [(1, Reason::Null)]);
        assert_eq!(column.get(1), None);
        assert!(column.optional().check().is_empty());
    }

    #[test]
    fn the_last_row_of_a_long_column_is_checked() {
        let mut values = vec![1.0; 2 * BLOCK + 1];
        values[2 * BLOCK] = f64::NAN;
        assert_eq!(reasons(Range::Any, values), [(2 * BLOCK as u32, Reason::NotANumber)]);
    }

    #[test]
    fn a_fault_says_what_the_value_is_not() {
        let edges = vec![-LIMIT, 1.1e18, -1.1e18, 1.5, -0.5];
        let of = |range| reasons(range, edges.clone()).iter().map(|f| f.1).collect::<Vec<_>>();
        use Reason::{Negative, NotARate, NotPositive, TooLarge};
        assert_eq!(of(Range::Any), [TooLarge, TooLarge]);
        assert_eq!(of(Range::Positive), [NotPositive, TooLarge, TooLarge, NotPositive]);
        assert_eq!(of(Range::NotNegative), [Negative, TooLarge, TooLarge, Negative]);
        assert_eq!(of(Range::Rate), [NotARate; 5]);
    }

    #[test]
    fn every_range_has_its_word() {
        let words = ["any", "positive", "not_negative", "rate", "Any", ""];
        let ranges = [Range::Any, Range::Positive, Range::NotNegative, Range::Rate].map(Some);
        assert_eq!(words.map(Range::from_word)[..4], ranges);
        assert_eq!(words.map(Range::from_word)[4..], [None, None]);
    }

    #[test]
    fn a_null_excuses_no_value_but_the_one_under_it() {
        let null = 5;
        let pairs = [&[BLOCK + null][..], &[BLOCK + null, BLOCK + 7], &[BLOCK + null, BLOCK + 70]];
        for bad in pairs {
            let mut values = vec![1.0; 2 * BLOCK];
            bad.iter().for_each(|row| values[*row] = f64::NAN);
            let mut words = vec![u64::MAX; 2 * BLOCK / 64];
            words[0] = !(1 << null);
            let column = Numbers::new("x", Range::Any, Values::new(values))
                .with_validity(Some(Validity::from_words(words)))
                .optional();
            let expected = bad.iter().map(|row| (*row as u32, Reason::NotANumber));
            assert_eq!(column.check(), expected.collect::<Vec<_>>());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Blocks are passed over at a glance where all of them holds; nothing else may be.
        #[test]
        fn rows_in_blocks_are_refused_as_they_are_one_by_one(
            length in 0usize..2 * BLOCK + 200,
            odd in vec((any::<Index>(), select(vec![f64::NAN, -1.0, 0.0, 2.0, 1e19])), 0..3),
            nulls in proptest::option::of(vec((any::<Index>(), any::<bool>()), 0..4)),
            range in select(vec![Range::Any, Range::Positive, Range::NotNegative, Range::Rate]),
            required: bool,
        ) {
            let mut values = vec![0.5; length];
            let mut words = vec![u64::MAX; length.div_ceil(64)];
            if length > 0 {
                odd.iter().for_each(|(row, value)| values[row.index(length)] = *value);
                for (row, is_odd) in nulls.iter().flatten() {
                    let row = row.index(length);
                    words[row / 64] &= !(1 << (row % 64));
                    values[row] = if *is_odd { -1e20 } else { 0.5 };
                }
            }
            let validity = nulls.is_some().then(|| Validity::from_words(words));
            let column = Numbers::new("x", range, Values::new(values)).with_validity(validity);
            let column = if required { column } else { column.optional() };
            let refused = |row: usize| match column.get(row) {
                None => required.then_some(Reason::Null),
                Some(value) => range.refuse(value),
            };
            let expected: Vec<(u32, Reason)> =
                (0..length).filter_map(|row| Some((row as u32, refused(row)?))).collect();
            prop_assert_eq!(column.check(), expected);
        }
    }

    #[test]
    fn no_rows_are_empty() {
        let texts = |count| vec![String::new(); count];
        assert!(Texts::is_empty(&texts(0)) && !Texts::is_empty(&texts(1)));
        let numbers = |values| Numbers::new("x", Range::Any, Values::new(values));
        assert!(numbers(vec![]).is_empty() && !numbers(vec![0.0]).is_empty());
    }
}
