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
        debug_assert!(self.held == 0 && other.held == 0);
        self.sums.iter_mut().zip(&other.sums).for_each(|(mine, theirs)| mine.merge(theirs));
    }

    /// The sum in a lane, of which nothing waits.
    pub(crate) fn sum(&self, lane: usize) -> &ExactSum {
        debug_assert!(self.held == 0);
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
