//! What of an account must be looked at closely.
//!
//! Is something past a line in a run of scenarios, or the margin buffer lowest? Bounds tell of most
//! runs; in those that they leave open, sums do (`fused`). How far both may be off is known: so what
//! is told to be neither is neither.

#![allow(clippy::needless_range_loop)] // runs are walked by number, several facts at once

use pulp::Simd;

use crate::block::Bucket;
use crate::fused::{Form, ROUNDINGS};
use crate::lanes::{LANES, Lanes, RUNS, least, stored};

/// What of an account must be looked at closely.
pub(crate) enum Needed {
    /// Runs, by bits.
    Runs(u32),
    /// Nothing but the scenario at this place: in it the margin buffer is lowest, and in none is
    /// anything past a line.
    Scenario(usize),
}

impl Needed {
    #[inline(always)]
    pub(crate) fn has(&self, run: usize) -> bool {
        matches!(self, Self::Runs(runs) if runs >> run & 1 == 1)
    }
}

impl Lanes<'_> {
    /// Looks at an account whose buckets are all admitted; `forms` are kept from one to the next.
    #[inline(always)]
    pub(crate) fn needed<S: Simd, const R: usize>(
        &self,
        simd: S,
        buckets: &[Bucket<'_>],
        forms: &mut Vec<Form>,
    ) -> Needed {
        let all = Needed::Runs(u32::MAX);
        if !self.are_fused {
            return all;
        }
        forms.resize_with(buckets.len().max(forms.len()), Form::default);
        let forms = &mut forms[..buckets.len()];
        let (mut error, mut bounds) = (0.0, [0.0; LANES]);
        let (mut is_near, mut is_far) = ([false; RUNS], [true; RUNS]);
        for (bucket, form) in buckets.iter().zip(&mut *forms) {
            if !form.fuse(bucket, self) {
                return all;
            }
            let of_bucket = stored::<S, R>(&form.bounds::<S, R>(simd, self));
            for run in 0..RUNS {
                is_far[run] &= of_bucket[run] > form.error;
                is_near[run] |= of_bucket[RUNS + run] < -form.error;
            }
            for lane in 0..LANES {
                bounds[lane] += of_bucket[lane];
            }
            error += form.error;
        }
        // The sum of the buckets is rounded once for each, on either way.
        let error = 4.0 * error * (1.0 + buckets.len() as f64 / ROUNDINGS);
        let mut lows = [f64::INFINITY; RUNS];
        let mut lowest = bounds[RUNS..].iter().copied().fold(f64::INFINITY, f64::min) + error;
        let (mut needed, mut lowest_runs, mut lowest_run) = (0, 0, (0, [f64::INFINITY; LANES]));
        for at in 0..self.runs {
            if is_near[at] {
                needed |= 1 << at;
                continue;
            }
            if is_far[at] && bounds[at] > lowest {
                continue;
            }
            let mut buffer = [simd.splat_f64s(0.0); R];
            for (number, form) in forms.iter().enumerate() {
                let of_bucket = form.margin_buffer::<S, R>(simd, self, at);
                if least::<S, R>(simd, &of_bucket) <= form.error {
                    needed |= 1 << at;
                }
                if number == 0 {
                    buffer = of_bucket;
                } else {
                    for v in 0..R {
                        buffer[v] = simd.add_f64s(buffer[v], of_bucket[v]);
                    }
                }
            }
            lows[at] = least::<S, R>(simd, &buffer);
            if lows[at] + error <= lowest {
                lowest = lows[at] + error;
                lowest_run = (at, stored::<S, R>(&buffer));
            }
        }
        for (at, low) in lows.iter().enumerate() {
            lowest_runs |= u32::from(*low <= lowest) << at;
        }
        let (at, buffer) = lowest_run;
        if needed == 0 && lowest_runs == 1 << at {
            let mut least = (0..LANES).filter(|lane| buffer[*lane] <= lowest);
            if let (Some(lane), None) = (least.next(), least.next()) {
                return Needed::Scenario(at * LANES + lane);
            }
        }
        Needed::Runs(needed | lowest_runs)
    }
}
