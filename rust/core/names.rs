//! Names of instruments, assets and tables: the few distinct ids of a column, each with a code.
//!
//! `Names` gives codes in order of first appearance; `Finder` looks up those of a column's rows.

use hashbrown::HashMap;

use crate::batch;
use crate::columns::Texts;
use crate::keys::{Ids, Key, Kind, NONE};

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
    use std::sync::Arc;

    use super::*;
    use crate::columns::{Validity, Values};
    use crate::keys::tests::{integers, texts};

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
    fn no_names_are_empty_and_some_are_not() {
        let mut names = Names::default();
        assert!(names.is_empty());
        names.find_or_add(&texts(&["x"]), 1);
        assert!(!names.is_empty());
    }
}
