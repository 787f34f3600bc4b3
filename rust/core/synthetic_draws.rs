//! Random draws with the same bits on every platform.
//!
//! [`Draws`] is one PCG64 stream read through our own inverse transforms, and
//! [`Popularity`] a table to pick from by weight. Transforms use arithmetic that IEEE 754
//! fixes and the `libm` crate: `exp`, `ln` and `powf` of the standard library may differ by
//! platform and release.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

/// One stream of random numbers; get one with [`Draws::new`].
pub(crate) struct Draws(Pcg64Mcg);

impl Draws {
    /// Returns the stream of `seed`. Neighbouring seeds have unrelated streams.
    pub(crate) fn new(seed: u64) -> Self {
        let low = mix(seed);
        let high = mix(low ^ 0x9e37_79b9_7f4a_7c15);
        Self(Pcg64Mcg::new(u128::from(high) << 64 | u128::from(low)))
    }

    /// Returns a number evenly spread over the open interval (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 52) as f64;
        // 52 bits and a half fit a double exactly, so neither end is ever reached.
        ((self.0.next_u64() >> 12) as f64 + 0.5) * STEP
    }

    /// Returns a number evenly spread between `low` and `high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Returns a number between `low` and `high` whose logarithm is evenly spread.
    pub(crate) fn log_between(&mut self, low: f64, high: f64) -> f64 {
        libm::exp(self.between(libm::log(low), libm::log(high)))
    }

    /// Returns one of 0, 1, ... `count - 1`, all equally likely.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }

    /// Returns true with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Returns a draw of the standard normal distribution.
    pub(crate) fn normal(&mut self) -> f64 {
        normal_quantile(self.uniform())
    }

    /// Returns a positive number whose logarithm is normal around that of `median`.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * libm::exp(sigma * self.normal())
    }

    /// Returns a rank, each as likely as its weight says.
    pub(crate) fn pick(&mut self, popularity: &Popularity) -> usize {
        let bits = self.0.next_u64();
        let slot = (((bits >> 32) * popularity.slots.len() as u64) >> 32) as usize;
        let (threshold, alias) = popularity.slots[slot];
        if (bits as u32) < threshold { slot } else { alias as usize }
    }

    /// Puts the items into an order in which every one is equally likely.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Ranks to pick from by weight, in constant time (Walker's alias method).
///
/// A slot gives its own rank below its threshold, and its alias above it.
pub(crate) struct Popularity {
    slots: Vec<(u32, u32)>,
}

impl Popularity {
    /// Returns the table in which rank `i` is as likely as `weights[i]` is of their sum.
    ///
    /// Each slot too small for its share of the draws is topped up by one that is too large.
    pub(crate) fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut left: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut slots: Vec<(u32, u32)> =
            (0..weights.len() as u32).map(|rank| (u32::MAX, rank)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..left.len()).partition(|&rank| left[rank] < 1.0);
        while let (Some(&little), Some(&lot)) = (small.last(), large.last()) {
            small.pop();
            slots[little] = ((left[little] * 4_294_967_296.0) as u32, lot as u32);
            left[lot] -= 1.0 - left[little];
            if left[lot] < 1.0 {
                large.pop();
                small.push(lot);
            }
        }
        Self { slots }
    }
}

/// Returns a 64-bit number that looks random; different inputs give different outputs.
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let value = (value ^ value >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ value >> 32
}

/// Returns the number below which a standard normal draw lies with `probability`.
///
/// Wichura's rational approximations (algorithm AS 241, the short form), good to seven
/// digits: five draws in six take the first, which needs no logarithm.
fn normal_quantile(probability: f64) -> f64 {
    let centred = probability - 0.5;
    if centred.abs() <= 0.425 {
        let r = 0.180_625 - centred * centred;
        let above = ((59.109_374_720 * r + 159.291_132_02) * r + 50.434_271_938) * r;
        let below = ((67.187_563_600 * r + 78.757_757_664) * r + 17.895_169_469) * r;
        return centred * (above + 3.387_132_717_9) / (below + 1.0);
    }
    let tail = if centred < 0.0 { probability } else { 1.0 - probability };
    let r = libm::sqrt(-libm::log(tail));
    let size = if r <= 5.0 {
        let r = r - 1.6;
        let above = ((0.170_238_211_03 * r + 1.306_728_481_6) * r + 2.756_815_390_0) * r;
        (above + 1.423_437_277_7) / ((0.120_211_329_75 * r + 0.737_001_642_50) * r + 1.0)
    } else {
        let r = r - 5.0;
        let above = ((0.017_337_203_997 * r + 0.428_682_943_37) * r + 3.081_226_386_0) * r;
        (above + 6.657_905_115_0) / ((0.012_258_202_635 * r + 0.241_978_942_25) * r + 1.0)
    };
    size.copysign(centred)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_published_ones() {
        for (probability, quantile) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.8, 0.841_621_233_572_914_4),
            (0.001, -3.090_232_306_167_813_5),
            (1e-12, -7.034_483_825_301_131),
        ] {
            assert!((normal_quantile(probability) - quantile).abs() < 1e-6 * 7.0);
        }
    }

    #[test]
    fn uniform_and_normal_draws_have_their_moments() {
        let mut draws = Draws::new(1);
        let count = 200_000;
        let uniform = (0..count).map(|_| draws.uniform()).sum::<f64>() / f64::from(count);
        assert!((uniform - 0.5).abs() < 0.003, "{uniform}");
        let normals: Vec<f64> = (0..count).map(|_| draws.normal()).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(count);
        let square = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(count);
        assert!(mean.abs() < 0.01 && (square - 1.0).abs() < 0.02, "{mean} {square}");
    }

    #[test]
    fn picks_follow_their_weights() {
        let mut draws = Draws::new(2);
        let popularity = Popularity::new(&[5.0, 1.0, 3.0, 1.0]);
        let mut picked = [0.0_f64; 4];
        for _ in 0..100_000 {
            picked[draws.pick(&popularity)] += 1.0 / 100_000.0;
        }
        for (share, expected) in picked.into_iter().zip([0.5_f64, 0.1, 0.3, 0.1]) {
            assert!((share - expected).abs() < 0.01, "{picked:?}");
        }
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..1000).collect();
        Draws::new(3).shuffle(&mut items);
        assert_ne!(items, (0..1000).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..1000).collect::<Vec<_>>());
    }
}
