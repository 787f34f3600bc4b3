//! Memory of large columns: in huge pages where there are any, and recycled between calls.
//!
//! A page that is touched for the first time costs more than anything that is done with it, so
//! a `Buffer` of 64 KiB or more takes its memory from those that were given back before.
//! What was written there is still there: whoever makes a `Buffer` writes all of it. `release`
//! empties the store.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use bytemuck::Pod;
use memmap2::MmapMut;

/// Bytes from which on memory is recycled; less comes from the allocator.
const LARGE: usize = 1 << 16;
/// Bytes of a huge page.
const PAGE: usize = 2 << 20;
/// Bytes that are kept for the next call at most, unless `keep` allows more.
pub(crate) const KEPT: usize = 1 << 29;
/// `keep` allows one in so many free bytes.
const SHARE: usize = 4;
/// Huge pages of a column of ten million numbers.
const COLUMN: usize = 40;
/// Bytes over which the beginnings of columns are spread.
const LINES: usize = 4096;

/// Values of a column: `Pod`, so that any bytes are some value.
pub struct Buffer<T> {
    store: Store<T>,
    length: usize,
}

enum Store<T> {
    Small(Vec<T>),
    Large(Region, PhantomData<T>),
}

impl<T: Pod> Buffer<T> {
    /// `length` values of unknown content, which the caller is to write.
    pub fn new(length: usize) -> Self {
        let bytes = length * size_of::<T>();
        let store = if bytes < LARGE {
            Store::Small(bytemuck::zeroed_vec(length))
        } else {
            Store::Large(Region::take(bytes), PhantomData)
        };
        Self { store, length }
    }

    /// `length` zeros. Many are fresh memory, which costs nothing until it is looked at, and which is
    /// not kept.
    pub fn zeroed(length: usize) -> Self {
        let bytes = length * size_of::<T>();
        if bytes < LARGE {
            return Self::new(length);
        }
        Self { store: Store::Large(Region::fresh(bytes), PhantomData), length }
    }

    /// `length` times the same value.
    pub fn filled(length: usize, value: T) -> Self {
        let mut buffer = Self::new(length);
        buffer.fill(value);
        buffer
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.store {
            Store::Small(values) => values,
            Store::Large(region, _) => {
                let bytes = region.begin..region.begin + self.length * size_of::<T>();
                bytemuck::cast_slice(&region.map()[bytes])
            }
        }
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.store {
            Store::Small(values) => values,
            Store::Large(region, _) => {
                let bytes = region.begin..region.begin + self.length * size_of::<T>();
                bytemuck::cast_slice_mut(&mut region.map_mut()[bytes])
            }
        }
    }
}

impl<T: Pod> Default for Buffer<T> {
    fn default() -> Self {
        Self::new(0)
    }
}

impl<T: Pod> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.length);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Pod> From<Vec<T>> for Buffer<T> {
    fn from(values: Vec<T>) -> Self {
        Self { length: values.len(), store: Store::Small(values) }
    }
}

impl<T: Pod> FromIterator<T> for Buffer<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().collect::<Vec<T>>().into()
    }
}

impl<'a, T: Pod> IntoIterator for &'a Buffer<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Pod + PartialEq, S: AsRef<[T]>> PartialEq<S> for Buffer<T> {
    fn eq(&self, other: &S) -> bool {
        **self == *other.as_ref()
    }
}

impl<T: Pod> AsRef<[T]> for Buffer<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Pod + std::fmt::Debug> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// A mapping of its own. Values begin at `begin`.
struct Region {
    /// None only while it is being dropped.
    map: Option<MmapMut>,
    begin: usize,
    /// Whether it is given to the store when it is dropped: what was never touched is not worth it.
    is_kept: bool,
}

/// Mappings that nobody uses, how many bytes there may be of them, and where the next one's
/// values are to begin.
struct Kept {
    maps: Vec<MmapMut>,
    bytes: usize,
    most: usize,
    begun: usize,
}

static KEPT_MAPS: Mutex<Kept> = Mutex::new(Kept::new());

impl Kept {
    const fn new() -> Self {
        Self { maps: Vec::new(), bytes: 0, most: KEPT, begun: 0 }
    }

    /// The smallest mapping that holds `bytes` and is not much larger.
    fn take(&mut self, bytes: usize) -> Option<MmapMut> {
        let fits = |map: &&MmapMut| map.len() >= bytes && map.len() <= bytes + bytes / 2 + LARGE;
        let least = self.maps.iter().filter(fits).map(|map| map.len()).min()?;
        let at = self.maps.iter().position(|map| map.len() == least)?;
        self.bytes -= least;
        Some(self.maps.swap_remove(at))
    }

    /// Takes out what is to go when `bytes` are mapped anew, for which nothing here was of use:
    /// what is kept and what comes new stay within `most` together, and large columns take the
    /// place of as much.
    fn make_room(&mut self, bytes: usize) -> Vec<MmapMut> {
        let place = if bytes < 8 * PAGE { 0 } else { bytes };
        let most = self.most.saturating_sub(bytes).min(self.bytes.saturating_sub(place));
        let mut count = 0;
        while count < self.maps.len() && self.bytes > most {
            self.bytes -= self.maps[count].len();
            count += 1;
        }
        self.maps.drain(..count).collect()
    }

    /// How much may be kept where so much is free.
    fn allowed(&self, free: usize) -> usize {
        (free.saturating_add(self.bytes) / SHARE).max(KEPT)
    }

    /// Where values begin: columns that all begin at a page share sets of the cache.
    fn next_begin(&mut self) -> usize {
        self.begun = (self.begun + 5 * 64) % LINES;
        self.begun
    }
}

impl Region {
    /// Room for so many bytes, with old content or none.
    fn take(bytes: usize) -> Self {
        // Never wait: in a child after `fork` nobody may be left to give the lock back.
        let Ok(mut kept) = KEPT_MAPS.try_lock() else {
            return Self { map: Some(mapped(bytes)), begin: 0, is_kept: true };
        };
        let begin = kept.next_begin();
        let found = kept.take(bytes + begin);
        let gone = if found.is_none() { kept.make_room(bytes) } else { Vec::new() };
        drop(kept);
        drop(gone);
        let map = Some(found.unwrap_or_else(|| mapped(bytes + begin)));
        Self { map, begin, is_kept: true }
    }

    /// Room that nobody has touched.
    fn fresh(bytes: usize) -> Self {
        Self { map: Some(mapped(bytes)), begin: 0, is_kept: false }
    }

    #[inline]
    fn map(&self) -> &MmapMut {
        self.map.as_ref().expect("only a dropped region has none")
    }

    #[inline]
    fn map_mut(&mut self) -> &mut MmapMut {
        self.map.as_mut().expect("only a dropped region has none")
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let Some(map) = self.map.take().filter(|_| self.is_kept) else { return };
        let Ok(mut kept) = KEPT_MAPS.try_lock() else { return };
        if kept.bytes + map.len() <= kept.most {
            kept.bytes += map.len();
            kept.maps.push(map);
        }
    }
}

/// Fresh zeros, in huge pages where the system has any.
///
/// # Panics
///
/// Where the system has no memory left, as any allocation does.
fn mapped(bytes: usize) -> MmapMut {
    let length = bytes.next_multiple_of(if bytes < PAGE / 4 * 3 { LARGE } else { PAGE });
    let map = MmapMut::map_anon(length);
    let map = map.unwrap_or_else(|error| panic!("no memory for {length} bytes: {error}"));
    #[cfg(target_os = "linux")]
    if length >= PAGE {
        let _ = map.advise(memmap2::Advice::HugePage); // without them it is only slower
    }
    map
}

/// How many of `values` values to work on at a time, so that what holds them fills whole huge
/// pages, and is used again for the next ones and for values of another size. Of very many, as
/// many as fill what later holds a column, but several for each thread.
pub(crate) fn slice_length<T>(values: usize, threads: usize) -> usize {
    let pages = values * size_of::<T>() / PAGE;
    let pages = if pages < 256 { 1 } else { (pages / (4 * threads)).clamp(1, COLUMN) };
    (pages * PAGE - LINES) / size_of::<T>()
}

/// Allows a share of `free` bytes to be kept for the next call, 512 MiB at least; what is kept
/// already is as good as free.
pub fn keep(free: usize) {
    if let Ok(mut kept) = KEPT_MAPS.try_lock() {
        kept.most = kept.allowed(free);
    }
}

/// Gives all memory that is kept for the next call back to the system; returns its bytes.
pub fn release() -> usize {
    let Ok(mut kept) = KEPT_MAPS.try_lock() else { return 0 };
    kept.maps.clear();
    std::mem::take(&mut kept.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_holds_what_is_written_and_zeros_are_zeros() {
        for length in [0, 1, 1000, LARGE, 3 * LARGE + 1] {
            let mut buffer = Buffer::<u64>::new(length);
            assert_eq!(buffer.len(), length);
            buffer.fill(7);
            assert!(buffer.iter().all(|value| *value == 7));
            assert!(buffer.clone() == buffer.to_vec());
            drop(buffer);
            assert!(Buffer::<u64>::zeroed(length) == vec![0; length]);
            assert!(Buffer::filled(length, 3u32) == vec![3; length]);
        }
    }

    #[test]
    fn what_is_given_back_is_used_again_unless_it_is_far_too_large() {
        let mut kept = Kept::new();
        for pages in [8, 2, 4] {
            kept.maps.push(mapped(pages * PAGE));
            kept.bytes += pages * PAGE;
        }
        assert_eq!(kept.take(3 * PAGE).map(|map| map.len()), Some(4 * PAGE));
        assert!(kept.take(3 * PAGE).is_none());
        assert_eq!(kept.take(2 * PAGE).map(|map| map.len()), Some(2 * PAGE));
        assert_eq!(kept.bytes, 8 * PAGE);
    }

    #[test]
    fn what_is_kept_makes_room_for_what_it_cannot_be() {
        let mut kept = Kept::new();
        for pages in [1, 2, 3] {
            kept.maps.push(mapped(pages * PAGE));
            kept.bytes += pages * PAGE;
        }
        assert!(kept.make_room(7 * PAGE).is_empty());
        kept.bytes += KEPT - 10 * PAGE; // as if so much more were kept
        let gone = kept.make_room(7 * PAGE);
        assert_eq!(gone.iter().map(|map| map.len()).collect::<Vec<_>>(), [PAGE, 2 * PAGE]);
        kept.bytes -= KEPT - 10 * PAGE;
        assert_eq!(kept.bytes, 3 * PAGE);
        assert_eq!((kept.make_room(8 * PAGE).len(), kept.bytes), (1, 0));
    }

    #[test]
    fn more_is_kept_where_more_may_be() {
        let mut kept = Kept::new();
        kept.maps.push(mapped(PAGE));
        kept.bytes = KEPT; // as if so much were kept
        assert_eq!(kept.allowed(3 * KEPT - 4), KEPT);
        kept.most = kept.allowed(3 * KEPT + 16 * PAGE);
        assert_eq!(kept.most, KEPT + 4 * PAGE);
        assert!(kept.make_room(4 * PAGE).is_empty());
        assert_eq!(kept.make_room(5 * PAGE).len(), 1);
    }

    #[test]
    fn values_come_in_and_out_as_they_are() {
        let buffer: Buffer<u32> = (0..3).collect();
        assert_eq!(buffer, [0, 1, 2]);
        assert_eq!(Buffer::from(vec![0, 1, 2]), [0, 1, 2]);
        assert_eq!((&buffer).into_iter().sum::<u32>(), 3);
        assert_eq!(format!("{buffer:?}"), "[0, 1, 2]");
    }

    #[test]
    fn columns_begin_at_different_places_of_a_page() {
        let mut kept = Kept::new();
        let begins: Vec<usize> = (0..LINES / 64).map(|_| kept.next_begin()).collect();
        let mut distinct = begins.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), begins.len());
        assert!(begins.iter().all(|begin| begin % 64 == 0 && *begin < LINES));
    }

    #[test]
    fn mappings_are_of_whole_pages_huge_ones_from_where_they_pay() {
        let lengths = [1, LARGE, LARGE + 1, PAGE / 4 * 3 - 1, PAGE / 4 * 3, PAGE, PAGE + 1];
        let mapped = lengths.map(|bytes| mapped(bytes).len());
        assert_eq!(mapped, [LARGE, LARGE, 2 * LARGE, PAGE / 4 * 3, PAGE, PAGE, 2 * PAGE]);
    }

    #[test]
    fn work_is_cut_into_what_fills_huge_pages() {
        let of_pages = |pages| (pages * PAGE - LINES) / 8;
        assert_eq!(slice_length::<u64>(1000, 1), of_pages(1));
        assert_eq!(slice_length::<u64>(256 * PAGE / 8 - 1, 2), of_pages(1));
        assert_eq!(slice_length::<u64>(256 * PAGE / 8, 2), of_pages(32));
        assert_eq!(slice_length::<u64>(1000 * PAGE / 8, 2), of_pages(COLUMN));
        assert_eq!(slice_length::<u64>(256 * PAGE / 8, 1000), of_pages(1));
        // What held a slice holds a column afterwards.
        let mut kept = Kept::new();
        kept.maps.push(mapped(slice_length::<u64>(1000 * PAGE / 8, 2) * 8 + LINES));
        kept.bytes = kept.maps[0].len();
        assert!(kept.take(10_000_000 * 8 + LINES).is_some());
    }

    #[test]
    fn what_was_kept_goes_back_to_the_system_and_is_counted() {
        // Other tests take what is kept, too, and hold the lock now and then.
        let is_counted = |_| {
            drop(Buffer::<u64>::new(LARGE));
            release() >= 8 * LARGE
        };
        assert!((0..1000).any(is_counted));
    }
}
