//! Bytes as a source of choices; where they end, the first choice of each kind is taken.

/// Choices, made by bytes.
pub struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// The choices that these bytes make.
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// Bytes of a seed and a number, as many as a night may take.
    pub fn random(seed: u64, number: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        next();
        (0..64).flat_map(|_| next().to_le_bytes()).collect()
    }

    /// The next byte; 0 where there is none.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// One of the values.
    pub fn one<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// True in one of `times` cases.
    pub fn seldom(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// A size above 0: a handy number, or any from 1e-4 to 1e6.
    pub fn size(&mut self) -> f64 {
        const HANDY: [f64; 12] =
            [1.0, 2.0, 4.0, 0.5, 10.0, 3.0, 0.1, 100.0, 97.566, 1e-3, 76497.0, 8.0];
        let byte = self.byte();
        if byte < 160 {
            return HANDY[usize::from(byte) % HANDY.len()];
        }
        let exponent = f64::from(self.byte()) / 25.5 - 4.0;
        10f64.powf(exponent) * (1.0 + f64::from(self.byte()) / 256.0)
    }

    /// A size with a sign; 0 now and then.
    pub fn signed(&mut self) -> f64 {
        match self.below(8) {
            0 => 0.0,
            1..=4 => self.size(),
            _ => -self.size(),
        }
    }

    /// A fraction from 0 to 1.
    pub fn rate(&mut self) -> f64 {
        const HANDY: [f64; 8] = [0.05, 0.1, 0.0, 0.0125, 0.5, 1.0, 1.0 / 3.0, 0.004];
        let byte = self.byte();
        if byte < 200 { HANDY[usize::from(byte) % 8] } else { f64::from(self.byte()) / 1000.0 }
    }
}
