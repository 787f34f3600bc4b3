//! Exact sums side by side: one in each lane of a run.
//!
//! Values wait in a heap, a row of them for each bucket or account, and are added many at a time,
//! as `ExactSum::add_few` does it, but in all lanes at once. A 0 adds nothing: so a row is taken as
//! it is, without looking for what its scenarios have to add.

use pulp::{Simd, WithSimd};

use crate::exact::{ExactSum, FEW, grid};
use crate::lanes::{LANES, Lane, Vectors};

/// Exponents of which both grids are numbers, and what the finer leaves is one.
const EXPONENTS: std::ops::RangeInclusive<i32> = -900..=1000;

/// Sums of a run. See the module.
#[derive(Clone)]
pub(crate) struct Heap {
    sums: Vec<ExactSum>,
    /// Those that wait; what lies beyond `held` is of no meaning.
    rows: Vec<Lane>,
    held: usize,
}

impl Default for Heap {
    fn default() -> Self {
        let sums = vec![ExactSum::default(); LANES];
        Self { sums, rows: vec![[0.0; LANES]; FEW], held: 0 }
    }
}

impl Heap {
    /// Adds a finite number, not below 0, in each lane.
    #[inline(always)]
    pub(crate) fn add<S: Simd, const R: usize>(&mut self, values: &Vectors<S, R>) {
        S::as_mut_simd_f64s(&mut self.rows[self.held]).0.copy_from_slice(values);
        self.held += 1;
        if self.held == FEW {
            self.settle();
        }
    }

    /// Adds what waits.
    #[inline(never)]
    pub(crate) fn settle(&mut self) {
        pulp::Arch::new().dispatch(Settle(self));
    }

    /// Adds the sums of others; nothing waits in either.
    pub(crate) fn merge(&mut self, other: &Self) {
        assert!(self.held == 0 && other.held == 0);
        self.sums.iter_mut().zip(&other.sums).for_each(|(mine, theirs)| mine.merge(theirs));
    }

    /// The sum in a lane, of which nothing waits.
    pub(crate) fn sum(&self, lane: usize) -> &ExactSum {
        assert!(self.held == 0);
        &self.sums[lane]
    }
}

/// What waits is added, with the widest registers there are.
struct Settle<'a>(&'a mut Heap);

impl WithSimd for Settle<'_> {
    type Output = ();

    /// Each lane is split by grids of its own: `ExactSum::add_few` says why nothing is lost.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Heap { sums, rows, held } = self.0;
        let rows = &rows[..*held];
        *held = 0;
        let zero = simd.splat_f64s(0.0);
        let mut largest = [0.0; LANES];
        for (v, largest) in S::as_mut_simd_f64s(&mut largest).0.iter_mut().enumerate() {
            for row in rows {
                *largest = simd.max_f64s(*largest, S::as_simd_f64s(row).0[v]);
            }
        }
        let (mut coarse, mut fine, mut has_grids) = ([0.0; LANES], [0.0; LANES], [true; LANES]);
        for (lane, size) in largest.iter().enumerate().filter(|(_, size)| **size != 0.0) {
            let exponent = (size.to_bits() >> 52) as i32 - 1022; // largest < 2^exponent
            has_grids[lane] = EXPONENTS.contains(&exponent);
            if has_grids[lane] {
                (coarse[lane], fine[lane]) = (grid(exponent + 7), grid(exponent - 39));
            }
        }
        let (mut upper, mut lower, mut rest) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for v in 0..LANES / S::F64_LANES {
            let (coarse, fine) = (S::as_simd_f64s(&coarse).0[v], S::as_simd_f64s(&fine).0[v]);
            let (mut highs, mut lows, mut lefts) = (zero, zero, zero);
            for row in rows {
                let value = S::as_simd_f64s(row).0[v];
                let high = simd.sub_f64s(simd.add_f64s(coarse, value), coarse);
                let left = simd.sub_f64s(value, high);
                let low = simd.sub_f64s(simd.add_f64s(fine, left), fine);
                let left = simd.sub_f64s(left, low);
                highs = simd.add_f64s(highs, high);
                lows = simd.add_f64s(lows, low);
                lefts = simd.max_f64s(lefts, simd.abs_f64s(left));
            }
            S::as_mut_simd_f64s(&mut upper).0[v] = highs;
            S::as_mut_simd_f64s(&mut lower).0[v] = lows;
            S::as_mut_simd_f64s(&mut rest).0[v] = lefts;
        }
        for (lane, sum) in sums.iter_mut().enumerate() {
            if !has_grids[lane] || rest[lane] != 0.0 {
                rows.iter().for_each(|row| sum.add(row[lane]));
            } else {
                sum.add(upper[lane]);
                sum.add(lower[lane]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose numbers spread over so many powers of 2, each lane about a power of its own.
    fn rows(count: u64, spread: u64) -> Vec<Lane> {
        let mut state = 7_u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 11
        };
        let mut number = |lane: usize| {
            let power = (draw() % (spread + 1)) as i32 - spread as i32 / 2 + 9 * lane as i32;
            let is_there = draw() % 3 > 0;
            if is_there { draw() as f64 / (1_u64 << 53) as f64 * 2_f64.powi(power) } else { 0.0 }
        };
        (0..count).map(|_| std::array::from_fn(&mut number)).collect()
    }

    fn assert_sums(rows: &[Lane]) {
        let (mut heap, mut half) = (Heap::default(), Heap::default());
        for (number, row) in rows.iter().enumerate() {
            let heap = if number % 5 == 0 { &mut half } else { &mut heap };
            heap.add::<pulp::Scalar, LANES>(row);
        }
        heap.settle();
        half.settle();
        heap.merge(&half);
        for lane in 0..LANES {
            let mut expected = ExactSum::default();
            rows.iter().for_each(|row| expected.add(row[lane]));
            assert!(*heap.sum(lane) == expected, "lane {lane} of {rows:?}");
        }
    }

    #[test]
    fn rows_add_up_to_what_each_of_their_numbers_adds() {
        for (count, spread) in
            [(0, 0), (1, 1), (64, 30), (400, 0), (400, 40), (200, 90), (80, 1700)]
        {
            assert_sums(&rows(count, spread));
        }
    }

    #[test]
    fn numbers_that_have_no_grids_are_added_one_by_one() {
        let mut row = [1.0; LANES];
        (row[0], row[1], row[2], row[3]) = (f64::MAX, 5e-324, 1e-290, 0.0);
        let mut other = [3.0 * f64::EPSILON; LANES];
        (other[0], other[2]) = (1e-300, 1e-310);
        assert_sums(&[row, other, row, other, other]);
    }
}
