//! Slabs: memory in which the columns of many blocks lie one after another.
//!
//! A block has a dozen small columns. With memory of its own each would be touched page by page
//! and rounded up; so threads fill slabs of whole huge pages, and a `Column` is a piece of one.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytemuck::Pod;

use crate::memory::{Buffer, slice_length};

/// A slab's content, there once it is full.
type Words = Arc<OnceLock<Buffer<u64>>>;

/// Values of `u32` or `f64` in a slab. To change them moves them to memory of their own.
#[derive(Clone)]
pub struct Column<T> {
    words: Words,
    begin: usize,
    length: usize,
    values: PhantomData<T>,
}

impl<T: Pod> Column<T> {
    /// Puts a value at the end.
    pub fn push(&mut self, value: T) {
        *self = self.iter().copied().chain([value]).collect::<Vec<T>>().into();
    }

    /// Takes the last value away.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.last().copied();
        self.length = self.length.saturating_sub(1);
        last
    }

    /// Takes the value at a place away; those behind it move up.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn remove(&mut self, place: usize) -> T {
        let mut values = self.to_vec();
        let value = values.remove(place);
        *self = values.into();
        value
    }
}

impl<T: Pod> Deref for Column<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let words = self.words.get().map_or(&[][..], |words| &words[self.begin..]);
        &bytemuck::cast_slice(words)[..self.length]
    }
}

impl<T: Pod> DerefMut for Column<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if Arc::get_mut(&mut self.words).is_none() {
            *self = self.to_vec().into();
        }
        let words = Arc::get_mut(&mut self.words).and_then(OnceLock::get_mut);
        let words = words.map_or(&mut [][..], |words| &mut words[self.begin..]);
        &mut bytemuck::cast_slice_mut(words)[..self.length]
    }
}

impl<T: Pod> Default for Column<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Pod> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        let slabs = Slabs::new(0, 1);
        let column = slabs.filler().place(&values);
        slabs.close();
        column
    }
}

impl<'a, T: Pod> IntoIterator for &'a Column<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A slab that is being filled.
#[derive(Default)]
struct Open {
    buffer: Buffer<u64>,
    used: usize,
    words: Words,
}

impl Open {
    fn close(self) {
        let _ = self.words.set(self.buffer); // nobody else sets it
    }
}

/// Slabs that threads fill.
pub(crate) struct Slabs {
    /// Words of a slab; more where a block needs more.
    words: usize,
    /// Those that have room and that nobody fills at the moment.
    open: Mutex<Vec<Open>>,
}

impl Slabs {
    /// For about so many words in all, filled by so many threads.
    pub(crate) fn new(words: usize, threads: usize) -> Self {
        let words = slice_length::<u64>(words, threads).min(words / threads);
        Self { words, open: Mutex::default() }
    }

    /// Somebody to fill slabs.
    pub(crate) fn filler(&self) -> Filler<'_> {
        let open = self.opened().pop().unwrap_or_default();
        Filler { slabs: self, open }
    }

    /// Ends the filling: until then columns are empty.
    pub(crate) fn close(&self) {
        self.opened().drain(..).for_each(Open::close);
    }

    fn opened(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills one slab after another; what is left of the last is for the next filler.
pub(crate) struct Filler<'a> {
    slabs: &'a Slabs,
    open: Open,
}

impl Filler<'_> {
    /// Sees to it that columns of so many words in all come to lie in one slab.
    pub(crate) fn make_room(&mut self, words: usize) {
        if self.open.buffer.len() - self.open.used < words {
            let buffer = Buffer::new(words.max(self.slabs.words));
            let next = Open { buffer, ..Open::default() };
            std::mem::replace(&mut self.open, next).close();
        }
    }

    /// Copies values to the slab.
    pub(crate) fn place<T: Pod>(&mut self, values: &[T]) -> Column<T> {
        self.write(values.len(), |places| places.copy_from_slice(values))
    }

    /// Writes values to the slab.
    #[inline]
    pub(crate) fn fill<T: Pod>(&mut self, values: impl ExactSizeIterator<Item = T>) -> Column<T> {
        self.write(values.len(), |places: &mut [T]| {
            places.iter_mut().zip(values).for_each(|(place, value)| *place = value);
        })
    }

    /// Writes 0, and after it where each of some neighbours ends.
    #[inline]
    pub(crate) fn starts(&mut self, ends: impl ExactSizeIterator<Item = u32>) -> Column<u32> {
        self.write(ends.len() + 1, |places: &mut [u32]| {
            places[0] = 0;
            places[1..].iter_mut().zip(ends).for_each(|(place, end)| *place = end);
        })
    }

    #[inline]
    fn write<T: Pod>(&mut self, length: usize, write: impl FnOnce(&mut [T])) -> Column<T> {
        self.make_room(words::<T>(length));
        let begin = self.open.used;
        self.open.used += words::<T>(length);
        let target = &mut self.open.buffer[begin..self.open.used];
        write(&mut bytemuck::cast_slice_mut(target)[..length]);
        let words = Arc::clone(&self.open.words);
        Column { words, begin, length, values: PhantomData }
    }
}

impl Drop for Filler<'_> {
    fn drop(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.slabs.opened().push(open);
    }
}

/// Words that so many values fill.
pub(crate) fn words<T>(values: usize) -> usize {
    (values * size_of::<T>()).div_ceil(size_of::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_what_was_placed_whatever_slab_they_lie_in() {
        for room in [0, 7, 100, 1 << 20] {
            let slabs = Slabs::new(room, 2);
            let mut columns = Vec::new();
            for round in 0..20u32 {
                let mut filler = slabs.filler();
                let codes: Vec<u32> = (0..round * 3).collect();
                let numbers: Vec<f64> = codes.iter().map(|code| f64::from(*code) + 0.5).collect();
                let placed = (filler.place(&codes), filler.place(&numbers));
                columns.push((codes, numbers, placed));
            }
            slabs.close();
            for (codes, numbers, placed) in columns {
                assert_eq!((&*placed.0, &*placed.1), (&*codes, &*numbers));
            }
        }
    }

    #[test]
    fn a_column_that_is_changed_leaves_its_neighbours_alone() {
        let slabs = Slabs::new(100, 1);
        let (mut one, other) = {
            let mut filler = slabs.filler();
            (filler.place(&[1u32, 2, 3]), filler.place(&[4u32, 5]))
        };
        slabs.close();
        let copy = one.clone();
        one[1] = 7;
        one.push(8);
        assert_eq!((one.remove(0), one.pop()), (1, Some(8)));
        assert_eq!((&*one, &*other, &*copy), (&[7, 3][..], &[4, 5][..], &[1, 2, 3][..]));
    }
}
