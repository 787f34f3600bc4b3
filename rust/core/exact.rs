//! Exact sums of `f64`: the correctly rounded total, whatever the order or the partition.
//!
//! `ExactSum` is a fixed-point number wide enough for every finite `f64`, kept in limbs of
//! 32 bits inside `i64`, so that carries can wait. After R. M. Neal, "Fast exact summation
//! using small and large superaccumulators", arXiv:1505.05571 (2015).

const LIMB_BITS: u32 = 32;
/// The lowest bit of a finite `f64` is 2^-1074; this many limbs reach past 2^1023 by 64 bits.
const LIMBS: usize = 69;
/// Additions before carries have to move: each adds less than 2^32 to a limb of 63 bits.
const CARRY_EVERY: u32 = 1 << 29;

/// A running sum without rounding.
#[derive(Clone, Debug)]
pub struct ExactSum {
    limbs: [i64; LIMBS],
    pending: u32,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], pending: 0 }
    }
}

impl PartialEq for ExactSum {
    /// Whether two sums are the same number: without carries each number has one form.
    fn eq(&self, other: &Self) -> bool {
        let settled = |sum: &Self| {
            let mut sum = sum.clone();
            sum.carry();
            sum.limbs
        };
        settled(self) == settled(other)
    }
}

impl ExactSum {
    /// Adds a finite value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        debug_assert!(value.is_finite());
        if value == 0.0 {
            return;
        }
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as u32;
        let fraction = bits & ((1 << 52) - 1);
        // value = mantissa * 2^(shift - 1074)
        let (mantissa, shift) =
            if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        let mantissa = mantissa as i64;
        let signed = if bits >> 63 == 1 { -mantissa } else { mantissa };
        let wide = i128::from(signed) << (shift % LIMB_BITS);
        let limb = (shift / LIMB_BITS) as usize;
        let limbs = &mut self.limbs[limb..limb + 3];
        limbs[0] += i64::from(wide as u32);
        limbs[1] += i64::from((wide >> 32) as u32);
        limbs[2] += (wide >> 64) as i64;
        self.pending += 1;
        if self.pending >= CARRY_EVERY {
            self.carry();
        }
    }

    /// Adds at most `FEW` finite values, far faster than one by one.
    ///
    /// Let every `|v| < 2^e`. With `s = 1.5 * 2^(e + 7)`, `(s + v) - s` is the nearest multiple
    /// of `2^(e - 45)` to `v`: adding rounds to it, taking off is exact, and what is left of `v`
    /// is exact too (Dekker 1971, for `s` is the larger). 64 such multiples sum to less than
    /// `2^(e + 7)`, 53 bits of that grid, so their sum is exact in any order. What is left is at
    /// most half of the grid's width and goes through a second grid, of `2^(e - 91)`, the same
    /// way. Only values that have bits below it leave anything; that is added one by one.
    #[inline]
    pub fn add_few(&mut self, values: &[f64]) {
        let mut few = [0.0; FEW];
        few[..values.len()].copy_from_slice(values);
        self.add_block(&few);
    }

    /// The same of exactly so many values.
    #[inline(always)]
    pub(crate) fn add_block(&mut self, values: &[f64; FEW]) {
        let lanes = values.as_chunks::<LANES>().0;
        let larger = |a: f64, b: f64| if a > b { a } else { b };
        let mut largest = lanes[0].map(f64::abs);
        for values in &lanes[1..] {
            for lane in 0..LANES {
                largest[lane] = larger(values[lane].abs(), largest[lane]);
            }
        }
        let largest = largest_of(&largest);
        if largest == 0.0 {
            return;
        }
        let exponent = (largest.to_bits() >> 52) as i32 - 1022; // largest < 2^exponent
        if !(-900..=1000).contains(&exponent) {
            values.iter().for_each(|value| self.add(*value));
            return;
        }
        let (coarse, fine) = (grid(exponent + 7), grid(exponent - 39));
        let (mut upper, mut lower, mut rest) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for values in lanes {
            for lane in 0..LANES {
                let (high, left) = split(values[lane], coarse);
                let (low, left) = split(left, fine);
                upper[lane] += high;
                lower[lane] += low;
                rest[lane] += left.abs();
            }
        }
        if self.add_lanes(&upper, &lower, &rest) {
            values.iter().for_each(|v| self.add(split(split(*v, coarse).1, fine).1));
        }
    }

    /// Adds sums on two grids, those of either being on it too together, and says whether any
    /// value left a rest.
    #[inline(never)]
    fn add_lanes(&mut self, upper: &Lanes, lower: &Lanes, rest: &Lanes) -> bool {
        let plus = |a: f64, b: f64| a + b;
        self.add(fold(upper, plus));
        self.add(fold(lower, plus));
        fold(rest, plus) > 0.0
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.limbs.iter_mut().zip(other.limbs) {
            *mine += theirs;
        }
        // Without carries too a limb holds as much as one addition brings: one more is pending.
        self.pending += other.pending + 1;
        if self.pending >= CARRY_EVERY {
            self.carry();
        }
    }

    /// The sum, rounded once to the nearest `f64`, ties to even.
    pub fn round(&self) -> f64 {
        let mut exact = self.clone();
        exact.carry();
        let negative = exact.limbs.iter().rev().find(|limb| **limb != 0).is_some_and(|l| *l < 0);
        if negative {
            exact.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            exact.carry();
        }
        let size = round_limbs(&exact.limbs);
        if negative { -size } else { size }
    }

    /// The sum in units of 2^-1074, the smallest double: a signed integer, lowest byte first.
    ///
    /// What parts of an exchange give here adds up to what the whole of it gives.
    pub fn units(&self) -> Vec<u8> {
        let mut exact = self.clone();
        exact.carry();
        let [lower @ .., last] = &exact.limbs;
        let lower = lower.iter().flat_map(|limb| (*limb as u32).to_le_bytes());
        lower.chain(last.to_le_bytes()).collect()
    }

    /// Moves carries up, so that every limb but the last lies in [0, 2^32).
    fn carry(&mut self) {
        let mut carry = 0;
        for limb in &mut self.limbs[..LIMBS - 1] {
            let sum = *limb + carry;
            carry = sum >> LIMB_BITS;
            *limb = sum & 0xffff_ffff;
        }
        self.limbs[LIMBS - 1] += carry;
        self.pending = 0;
    }
}

/// Sums that are kept side by side, for registers that are so wide.
const LANES: usize = 8;
type Lanes = [f64; LANES];

/// Values that `add_few` takes at most.
pub const FEW: usize = 64;

#[inline(never)]
fn largest_of(lanes: &Lanes) -> f64 {
    fold(lanes, |a, b| if a > b { a } else { b })
}

/// Lanes brought together, half on half.
#[inline]
fn fold(lanes: &Lanes, join: impl Fn(f64, f64) -> f64) -> f64 {
    let [a, b, c, d, e, f, g, h] = *lanes;
    join(join(join(a, e), join(b, f)), join(join(c, g), join(d, h)))
}

/// `1.5 * 2^exponent`.
#[inline]
pub(crate) fn grid(exponent: i32) -> f64 {
    1.5 * f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// A value rounded to the grid, and what that leaves of it. Both are exact.
#[inline]
fn split(value: f64, grid: f64) -> (f64, f64) {
    let rounded = (grid + value) - grid;
    (rounded, value - rounded)
}

/// Rounds a sum that is not negative and has no carries left.
fn round_limbs(limbs: &[i64; LIMBS]) -> f64 {
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else {
        return 0.0;
    };
    let at = |i: Option<usize>| i.map_or(0, |i| limbs[i] as u128);
    // Three limbs hold the leading 65 bits or more; the rest only says whether it is exact.
    let leading = at(Some(top)) << 64 | at(top.checked_sub(1)) << 32 | at(top.checked_sub(2));
    let rest = limbs[..top.saturating_sub(2)].iter().any(|limb| *limb != 0);
    let exponent = (top as i32 - 2) * LIMB_BITS as i32 - 1074;
    // The value is (leading + [0, 1)) * 2^exponent. A subnormal keeps fewer bits.
    let width = 128 - leading.leading_zeros() as i32;
    let drop = (width - 53).max(-1074 - exponent).max(0) as u32;
    let kept = (leading >> drop) as u64;
    let half = drop > 0 && leading >> (drop - 1) & 1 == 1;
    let below = rest || (drop > 1 && leading & ((1 << (drop - 1)) - 1) != 0);
    let up = half && (below || kept & 1 == 1);
    scale(kept + u64::from(up), exponent + drop as i32)
}

/// `mantissa * 2^exponent`, for a mantissa of at most 53 bits (or 2^53) that fits exactly.
fn scale(mantissa: u64, exponent: i32) -> f64 {
    let mut value = mantissa as f64;
    let mut left = exponent;
    while left > 0 {
        let step = left.min(1000);
        value *= f64::from_bits(((step + 1023) as u64) << 52);
        left -= step;
    }
    while left < 0 {
        let step = (-left).min(1000);
        value *= f64::from_bits(((1023 - step) as u64) << 52);
        left += step;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let mut exact = ExactSum::default();
        values.iter().for_each(|v| exact.add(*v));
        exact.round()
    }

    #[test]
    fn units_are_the_sum_as_an_integer() {
        let of = |values: &[f64]| {
            let mut sum = ExactSum::default();
            values.iter().for_each(|value| sum.add(*value));
            sum.units()
        };
        let smallest = f64::from_bits(1);
        assert_eq!(of(&[smallest; 300])[..3], [300_u16.to_le_bytes()[0], 1, 0]);
        assert!(of(&[-smallest]).iter().all(|byte| *byte == 0xff));
        // 1 is 2^1074 units: bit 2 of byte 134.
        let one = of(&[1.0, 2.0, -2.0]);
        assert_eq!(one.iter().position(|byte| *byte != 0), Some(134));
        assert_eq!(one[134], 4);
        assert_eq!(of(&[0.1, -0.1]), vec![0; one.len()]);
    }

    #[test]
    fn cancellation_loses_nothing() {
        assert_eq!(sum(&[1e300, 1.0, -1e300]), 1.0);
        assert_eq!(sum(&[1e18, 1e-300, -1e18]), 1e-300);
        assert_eq!(sum(&[0.1, 0.2, -0.3]), 2.7755575615628914e-17);
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[-5.0, 2.0]), -3.0);
    }

    #[test]
    fn one_value_comes_back_as_it_is() {
        for value in [5e-324, -5e-324, 2.2250738585072014e-308, f64::MAX, -f64::MIN_POSITIVE, 0.1] {
            assert_eq!(sum(&[value]), value);
        }
        assert_eq!(sum(&[5e-324, 5e-324]), 1e-323);
    }

    #[test]
    fn few_values_add_up_to_what_each_of_them_adds() {
        let mut state = 7u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 11
        };
        for round in 0..2000 {
            let spread = [0, 1, 30, 60, 200, 2000][round % 6];
            let values: Vec<f64> = (0..1 + draw() % FEW as u64)
                .map(|_| {
                    let fraction = draw() as f64 / (1u64 << 53) as f64 - 0.5;
                    fraction * 2f64.powi((draw() % (spread + 1)) as i32 - spread as i32 / 2)
                })
                .collect();
            let (mut one_by_one, mut few) = (ExactSum::default(), ExactSum::default());
            values.iter().for_each(|value| one_by_one.add(*value));
            few.add_few(&values);
            assert!(few == one_by_one, "{values:?}");
        }
        for values in [&[][..], &[0.0, -0.0], &[f64::MAX, f64::MAX], &[5e-324, -1e-310, 2.0]] {
            let (mut one_by_one, mut few) = (ExactSum::default(), ExactSum::default());
            values.iter().for_each(|value| one_by_one.add(*value));
            few.add_few(values);
            assert!(few == one_by_one, "{values:?}");
        }
    }

    #[test]
    fn ties_go_to_even() {
        let one = 1.0_f64;
        let half_ulp = f64::EPSILON / 2.0;
        assert_eq!(sum(&[one, half_ulp]), 1.0);
        assert_eq!(sum(&[one + f64::EPSILON, half_ulp]), 1.0 + 2.0 * f64::EPSILON);
        assert_eq!(sum(&[one, half_ulp, 1e-200]), 1.0 + f64::EPSILON);
    }

    #[test]
    fn parts_in_any_order_make_the_same_sum() {
        let values: Vec<f64> =
            (0..1000).map(|i| (f64::from(i) - 500.3) * 10f64.powi(i % 37 - 18)).collect();
        let whole = sum(&values);
        for cut in [1, 7, 500] {
            let mut parts: Vec<ExactSum> = values
                .chunks(cut)
                .map(|part| {
                    let mut exact = ExactSum::default();
                    part.iter().for_each(|v| exact.add(*v));
                    exact
                })
                .collect();
            parts.reverse();
            let mut total = ExactSum::default();
            parts.iter().for_each(|part| total.merge(part));
            assert_eq!(total.round().to_bits(), whole.to_bits());
        }
    }
}
