//! Ids of a column: integers, texts, or codes into texts. They meet by value.
//!
//! `names` gives each of the few that name instruments, assets and tables a code. Accounts, which
//! are many, are numbered by `accounts`.

use std::ops::Range;
use std::sync::Arc;

use crate::columns::{Texts, Validity, Values};

/// The code of a row or name that has none.
pub const NONE: u32 = u32::MAX;

/// Ids of a column, by row.
#[derive(Clone)]
pub struct Ids {
    pub(crate) kind: Kind,
    pub(crate) validity: Option<Validity>,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Integers(Values<i64>),
    Texts(Arc<dyn Texts>),
    /// Codes into distinct or repeated texts (Enum, Categorical).
    Codes(Codes, Arc<dyn Texts>),
}

/// Codes into texts, as wide as they came.
#[derive(Clone)]
pub enum Codes {
    /// Below 2^8.
    Narrow(Values<u8>),
    /// Below 2^16.
    Short(Values<u16>),
    /// Below 2^32.
    Wide(Values<u32>),
}

impl Codes {
    fn len(&self) -> usize {
        match self {
            Self::Narrow(codes) => codes.len(),
            Self::Short(codes) => codes.len(),
            Self::Wide(codes) => codes.len(),
        }
    }

    pub(crate) fn get(&self, row: usize) -> usize {
        match self {
            Self::Narrow(codes) => usize::from(codes[row]),
            Self::Short(codes) => usize::from(codes[row]),
            Self::Wide(codes) => codes[row] as usize,
        }
    }

    /// Shows each code of `rows` to `each`, in order.
    #[inline]
    pub(crate) fn each(&self, rows: Range<usize>, mut each: impl FnMut(usize)) {
        match self {
            Self::Narrow(codes) => codes[rows].iter().for_each(|code| each(usize::from(*code))),
            Self::Short(codes) => codes[rows].iter().for_each(|code| each(usize::from(*code))),
            Self::Wide(codes) => codes[rows].iter().for_each(|code| each(*code as usize)),
        }
    }
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
        Self::coded(Codes::Wide(codes), texts, validity)
    }

    /// The same with codes of any width.
    pub fn coded(codes: Codes, texts: Arc<dyn Texts>, validity: Option<Validity>) -> Self {
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

    /// Whether any row may have no id.
    pub(crate) fn has_nulls(&self) -> bool {
        self.validity.is_some()
    }

    /// The rows without an id, in order.
    pub(crate) fn nulls(&self) -> impl Iterator<Item = usize> {
        let rows = if self.validity.is_none() { 0 } else { self.len() };
        (0..rows).filter(|row| !self.is_valid(*row))
    }

    /// The id of a row as text; None where it is null.
    pub fn text(&self, row: usize) -> Option<String> {
        self.is_valid(row).then(|| match self.key(row) {
            Key::Integer(value) => value.to_string(),
            Key::Text(text) => text.to_owned(),
        })
    }

    /// The integers, where they are integers.
    pub(crate) fn as_integers(&self) -> Option<&[i64]> {
        match &self.kind {
            Kind::Integers(values) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn key(&self, row: usize) -> Key<'_> {
        match &self.kind {
            Kind::Integers(values) => Key::Integer(values[row]),
            Kind::Texts(texts) => Key::Text(texts.text(row)),
            Kind::Codes(codes, texts) => Key::Text(texts.text(codes.get(row))),
        }
    }

    /// What `Texts::views` has of them, where they are texts.
    pub(crate) fn text_views(&self) -> Option<&[u128]> {
        match &self.kind {
            Kind::Texts(texts) => texts.views(),
            _ => None,
        }
    }

    /// The texts that codes go into, where ids are codes.
    pub(crate) fn coded_texts(&self) -> Option<&dyn Texts> {
        match &self.kind {
            Kind::Codes(_, texts) => Some(&**texts),
            _ => None,
        }
    }

    /// Shows the code of each row that has an id to `each`, where ids are codes.
    #[inline]
    pub(crate) fn each_code(&self, rows: Range<usize>, mut each: impl FnMut(usize, usize)) {
        let Kind::Codes(codes, _) = &self.kind else { return };
        let mut row = rows.start;
        codes.each(rows, |code| {
            // Under a null stands any code.
            if self.is_valid(row) {
                each(row, code);
            }
            row += 1;
        });
    }

    /// Shows the text of each row that has an id to `each`.
    pub(crate) fn each_text<'a>(
        &'a self,
        rows: Range<usize>,
        mut each: impl FnMut(usize, &'a str),
    ) {
        match &self.kind {
            // Rows are never left out in silence: an integer here would have no account.
            Kind::Integers(_) => {
                assert!(!rows.into_iter().any(|row| self.is_valid(row)), "integers meet texts");
            }
            Kind::Texts(texts) => {
                rows.filter(|row| self.is_valid(*row)).for_each(|row| each(row, texts.text(row)))
            }
            Kind::Codes(_, texts) => self.each_code(rows, |row, code| each(row, texts.text(code))),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    Integer(i64),
    Text(&'a str),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn integers(values: &[i64]) -> Ids {
        Ids::integers(Values::new(values.to_vec()), None)
    }

    pub(crate) fn texts(values: &[&str]) -> Ids {
        let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
        Ids::texts(Arc::new(texts), None)
    }

    #[test]
    fn no_rows_are_empty_and_some_are_not() {
        assert!(integers(&[]).is_empty() && texts(&[]).is_empty());
        assert!(!integers(&[0]).is_empty() && !texts(&[""]).is_empty());
    }
}
