//! Ids, and codes for the few that name instruments, assets and tables.
//!
//! Ids meet by value: `Ids` holds them as integers, as texts, or as codes into texts. `Names`
//! gives each distinct one a code. Accounts, which are many, are numbered by `accounts`.

use std::ops::Range;
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

    fn get(&self, row: usize) -> usize {
        match self {
            Self::Narrow(codes) => usize::from(codes[row]),
            Self::Short(codes) => usize::from(codes[row]),
            Self::Wide(codes) => codes[row] as usize,
        }
    }

    /// Shows each code of `rows` to `each`, in order.
    #[inline]
    fn each(&self, rows: Range<usize>, mut each: impl FnMut(usize)) {
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

    fn key(&self, row: usize) -> Key<'_> {
        match &self.kind {
            Kind::Integers(values) => Key::Integer(values[row]),
            Kind::Texts(texts) => Key::Text(texts.text(row)),
            Kind::Codes(codes, texts) => Key::Text(texts.text(codes.get(row))),
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
enum Key<'a> {
    Integer(i64),
    Text(&'a str),
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

    fn look(&self, key: Key<'_>) -> u32 {
        let code = match key {
            Key::Integer(value) => self.integers.get(&value).copied(),
            Key::Text(text) => self.code(text),
        };
        code.unwrap_or(NONE)
    }

    /// The code of every row's id, `NONE` where it is null or no name here.
    pub fn find(&self, ids: &Ids) -> Vec<u32> {
        let mut codes = vec![NONE; ids.len()];
        Finder::new(self, ids).find(0, &mut codes);
        codes
    }

    /// The code of every row's id, with names added when new; `NONE` where it is null.
    pub fn find_or_add(&mut self, ids: &Ids, threads: usize) -> Vec<u32> {
        let mut codes = vec![NONE; ids.len()];
        let (early, late) = codes.split_at_mut(ids.len().min(EARLY));
        self.add_new(ids, 0, early);
        let finder = Finder::new(self, ids);
        let late_by_step = late.chunks_mut(EARLY).enumerate().collect();
        batch::map(threads, late_by_step, |(step, codes): (usize, &mut [u32])| {
            finder.clone().find((step + 1) * EARLY, codes);
        });
        self.add_new(ids, EARLY, late);
        codes
    }

    /// Gives a code to each row from `first` on that has none yet but an id.
    fn add_new(&mut self, ids: &Ids, first: usize, codes: &mut [u32]) {
        let mut known = match &ids.kind {
            Kind::Codes(_, texts) => vec![NONE; texts.len()],
            _ => Vec::new(),
        };
        let mut add = |key: Key<'_>| match self.look(key) {
            NONE => match key {
                Key::Text(text) => self.add(text),
                Key::Integer(value) => self.add(&value.to_string()),
            },
            code => code,
        };
        for (row, code) in (first..).zip(codes).filter(|(_, code)| **code == NONE) {
            *code = match &ids.kind {
                _ if !ids.is_valid(row) => NONE,
                Kind::Codes(codes, texts) => {
                    let known = &mut known[codes.get(row)];
                    if *known == NONE {
                        *known = add(Key::Text(texts.text(codes.get(row))));
                    }
                    *known
                }
                _ => add(ids.key(row)),
            };
        }
    }
}

/// Finds the codes of a column's ids among names. What it has found it remembers: by code, or
/// by view, since equal views are equal texts.
#[derive(Clone)]
pub(crate) struct Finder<'a> {
    names: &'a Names,
    ids: &'a Ids,
    by_code: Vec<u32>,
    by_view: Vec<(u128, u32)>,
}

/// Views that are remembered.
const VIEWS: usize = 4096;
/// Rows that are looked at one after another, for names that are new: nearly all come early.
const EARLY: usize = 1 << 14;

impl<'a> Finder<'a> {
    pub(crate) fn new(names: &'a Names, ids: &'a Ids) -> Self {
        let by_code = match &ids.kind {
            Kind::Codes(_, texts) => {
                (0..texts.len()).map(|code| names.look(Key::Text(texts.text(code)))).collect()
            }
            _ => Vec::new(),
        };
        Self { names, ids, by_code, by_view: Vec::new() }
    }

    /// Writes the codes of the rows from `first` on; `NONE` where an id is null or no name.
    pub(crate) fn find(&mut self, first: usize, codes: &mut [u32]) {
        let rows = first..first + codes.len();
        match &self.ids.kind {
            Kind::Integers(values) => {
                for (code, value) in codes.iter_mut().zip(&values[rows]) {
                    *code = self.names.look(Key::Integer(*value));
                }
            }
            Kind::Texts(texts) => match texts.views() {
                Some(views) => self.find_views(&**texts, &views[rows], first, codes),
                None => {
                    for (code, row) in codes.iter_mut().zip(rows) {
                        *code = self.names.look(Key::Text(texts.text(row)));
                    }
                }
            },
            Kind::Codes(ids, _) => {
                let mut places = codes.iter_mut();
                ids.each(rows, |id| {
                    if let Some(code) = places.next() {
                        // Under a null stands any code.
                        *code = self.by_code.get(id).copied().unwrap_or(NONE);
                    }
                });
            }
        }
        if self.ids.validity.is_some() {
            for (i, code) in codes.iter_mut().enumerate() {
                if !self.ids.is_valid(first + i) {
                    *code = NONE;
                }
            }
        }
    }

    fn find_views(&mut self, texts: &dyn Texts, views: &[u128], first: usize, codes: &mut [u32]) {
        if self.by_view.is_empty() {
            self.by_view = vec![(0, self.names.look(Key::Text(""))); VIEWS]; // 0 is the view of ""
        }
        for (i, (code, view)) in codes.iter_mut().zip(views).enumerate() {
            let mixed = (*view ^ (*view >> 64)) as u64;
            let place = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
            let known = &mut self.by_view[place as usize];
            if known.0 != *view {
                *known = (*view, self.names.look(Key::Text(texts.text(first + i))));
            }
            *code = known.1;
        }
    }
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
        let codes = names.find_or_add(&texts(&["056", "56", "-3"]), 1);
        assert_eq!(codes, [0, 1, 2]);
        assert_eq!(names.find(&integers(&[56, -3, 0])), [1, 2, NONE]);
    }

    #[test]
    fn names_that_come_late_get_their_codes_in_order_of_appearance() {
        // By 7 rows in the first 100,000 rows, then by 50,000: some names are new near the end.
        let number = |row: usize| if row < 100_000 { row % 7 } else { 7 + row / 50_000 };
        let numbers: Vec<usize> = (0..250_000).map(number).collect();
        let words: Vec<String> = (0..20).map(|number| format!("name {number}")).collect();
        let repeated: Vec<String> = words.iter().chain(&words).cloned().collect();
        let validity = || {
            let word = |word: usize| if word.is_multiple_of(500) { !2 } else { u64::MAX };
            Some(Validity::from_words((0..250_000_usize.div_ceil(64)).map(word).collect()))
        };
        let all: Vec<String> = numbers.iter().map(|number| words[*number].clone()).collect();
        let of = |row: usize| (numbers[row] + row % 2 * 20) as u32; // two codes for each name
        let coded = Values::new((0..250_000).map(of).collect::<Vec<u32>>());
        let integers = numbers.iter().map(|number| *number as i64).collect::<Vec<i64>>();
        for ids in [
            Ids::texts(Arc::new(all), validity()),
            Ids::codes(coded, Arc::new(repeated), validity()),
            Ids::integers(Values::new(integers), validity()),
        ] {
            let mut first: Vec<usize> = Vec::new();
            let expected: Vec<u32> = (0..250_000)
                .map(|row| match first.iter().position(|number| *number == numbers[row]) {
                    _ if !ids.is_valid(row) => NONE,
                    Some(code) => code as u32,
                    None => {
                        first.push(numbers[row]);
                        first.len() as u32 - 1
                    }
                })
                .collect();
            for threads in [1, 2, 5] {
                assert!(Names::default().find_or_add(&ids, threads) == expected);
            }
        }
    }

    #[test]
    fn no_rows_are_empty_and_some_are_not() {
        assert!(integers(&[]).is_empty() && texts(&[]).is_empty());
        assert!(!integers(&[0]).is_empty() && !texts(&[""]).is_empty());
        let mut names = Names::default();
        assert!(names.is_empty());
        names.find_or_add(&texts(&["x"]), 1);
        assert!(!names.is_empty());
    }
}
