//! A pass over the book: every account in some scenarios.
//!
//! An account's buckets are first told by sums (`fused`), run by run; where something may be past
//! a line, or the buffer lowest, they are looked at closely (`standing`), or, where a ruleset asks
//! for more than the short way has, margined one scenario after another.

#![allow(clippy::needless_range_loop)] // vectors are walked by number, several at once

use pulp::Simd;

use crate::batch;
use crate::block::{Block, Bucket, Rows};
use crate::fused::Form;
use crate::keys::NONE;
use crate::lanes::{LANES, Lane, Lanes, Vectors, lanes, least, vectors};
use crate::margin::{Joined, Margin, Status, margin_of};
use crate::marks::Marks;
use crate::plain::Plain;
use crate::rules::Rules;
use crate::standing::{Past, Standing};
use crate::sweep::{Sweep, group};
use crate::tallies::{Tallies, tally_bankrupt, tally_lack, tally_past};
use crate::worst::{Worst, WorstPart};

/// Scenarios of a pass, at most.
pub(crate) const MOST: usize = 8 * LANES;

/// What a thread carries from account to account.
struct Run {
    tallies: Tallies,
    joined: Joined,
    /// Of the buckets of the account that is looked at.
    forms: Vec<Form>,
}

/// Some scenarios, and what all accounts are put through them with. See the module.
pub(crate) struct Pass<'a> {
    marks: &'a [Marks],
    plains: Vec<Option<Plain>>,
    lanes: Option<Lanes<'a>>,
    rules: &'a Rules,
    base: &'a Sweep,
    /// The number of each scenario of the pass.
    numbers: &'a [u32],
    /// Whether this is the first pass.
    is_first: bool,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(
        marks: &'a [Marks],
        numbers: &'a [u32],
        rules: &'a Rules,
        base: &'a Sweep,
        is_first: bool,
    ) -> Self {
        Self {
            marks,
            plains: marks.iter().map(|marks| Plain::new(marks, rules)).collect(),
            lanes: Lanes::new(marks, rules),
            rules,
            base,
            numbers,
            is_first,
        }
    }

    pub(crate) fn run(&self, blocks: &[Block], worst: &mut Worst, threads: usize) -> Tallies {
        let parts = worst.parts(blocks.iter().map(Block::accounts));
        let tasks: Vec<(&Block, WorstPart<'_>)> = blocks.iter().zip(parts).collect();
        let nothing = || Tallies::new(self.marks.len());
        let arch = pulp::Arch::new();
        let answers = batch::map(threads, group(tasks, 8 * threads), |tasks| {
            let mut run = Run { tallies: nothing(), joined: Joined::default(), forms: Vec::new() };
            for (block, mut part) in tasks {
                let (part, run) = (&mut part, &mut run);
                arch.dispatch(BlockStress { pass: self, block, part, run });
            }
            run.tallies
        });
        let mut all = nothing();
        answers.into_iter().for_each(|tallies| all.merge(tallies));
        all
    }

    /// Puts the accounts of a block through a pass.
    #[inline(always)]
    fn block<S: Simd, const R: usize>(
        &self,
        simd: S,
        block: &Block,
        part: &mut WorstPart<'_>,
        run: &mut Run,
    ) {
        if self.is_first {
            part.scenario.fill(NONE);
            part.margin_buffer.fill(f64::INFINITY);
            part.liquidatable.fill(0);
        }
        let rows = block.rows();
        let indeterminate = &self.base.indeterminate[block.first_account..][..block.accounts()];
        let is_past_now =
            &self.base.accounts.is_liquidatable[block.first_account..][..block.accounts()];
        let mut buckets = Vec::new();
        for account in 0..block.accounts() {
            if indeterminate[account] {
                part.status[account] = Status::Indeterminate as u8;
                continue;
            }
            buckets.clear();
            let mut is_plain = self.lanes.is_some();
            for number in block.buckets_of(account) {
                let bucket = rows.bucket(number);
                is_plain = is_plain && self.lanes.as_ref().is_some_and(|l| l.admits(&bucket));
                buckets.push(bucket);
            }
            let (mut lowest, mut number) = (part.margin_buffer[account], part.scenario[account]);
            let mut worst = None;
            let needed = self.needed::<S, R>(simd, &buckets, is_plain, run);
            for at in 0..self.marks.len().div_ceil(LANES) {
                if needed >> at & 1 == 0 {
                    continue;
                }
                let mut past = Past::default();
                let buffer = self.account::<S, R>(simd, &buckets, is_plain, at, &mut past, run);
                let of_run = least::<S, R>(simd, &buffer);
                if of_run <= lowest {
                    for (lane, of_lane) in lanes::<S, R>(&buffer).iter().enumerate() {
                        // What fills the last run up repeats its last scenario.
                        let place = (at * LANES + lane).min(self.marks.len() - 1);
                        let is_worse = of_run < lowest || self.numbers[place] < number;
                        if *of_lane == of_run && is_worse {
                            (lowest, number, worst) = (of_run, self.numbers[place], Some(place));
                        }
                    }
                }
                if past.is_near {
                    past.is_past &= self.used(at);
                    past.is_bankrupt &= self.used(at);
                    part.liquidatable[account] += i64::from(past.is_past.count_ones());
                    if past.is_past != 0 {
                        let gross = self.gross::<S, R>(simd, &buckets, is_plain, at, run);
                        tally_past(
                            &past,
                            is_past_now[account],
                            &gross,
                            &mut run.tallies.of[at * LANES..],
                        );
                    }
                    tally_bankrupt(&past, &mut run.tallies.of[at * LANES..]);
                }
            }
            if let Some(place) = worst {
                let margin = self.margin(block, &rows, account, place, &mut run.joined);
                if !margin.is_finite() {
                    run.tallies.overflown = Some(place);
                }
                part.scenario[account] = number;
                part.margin_buffer[account] = margin.margin_buffer;
                part.status[account] = margin.status as u8;
                part.bad_debt[account] = margin.bad_debt;
            }
        }
    }

    /// The runs, by bits, that must be looked at closely: those in which something may be past a
    /// line, or the margin buffer lowest. All others are told by sums whose error is bounded.
    #[inline(always)]
    fn needed<S: Simd, const R: usize>(
        &self,
        simd: S,
        buckets: &[Bucket<'_>],
        is_plain: bool,
        run: &mut Run,
    ) -> u32 {
        let all = u32::MAX;
        let Some(lanes) = self.lanes.as_ref().filter(|lanes| is_plain && lanes.are_fused()) else {
            return all;
        };
        let forms = &mut run.forms;
        forms.resize_with(buckets.len().max(forms.len()), Form::default);
        let mut error = 0.0;
        for (bucket, form) in buckets.iter().zip(&mut *forms) {
            if !form.fuse(bucket, lanes) {
                return all;
            }
            error += form.error;
        }
        let (mut lows, mut needed) = ([f64::INFINITY; MOST / LANES], 0);
        for (at, low) in lows.iter_mut().enumerate().take(self.marks.len().div_ceil(LANES)) {
            let mut buffer = [simd.splat_f64s(0.0); R];
            for (number, form) in forms.iter().take(buckets.len()).enumerate() {
                let of_bucket = form.margin_buffer::<S, R>(simd, lanes, at);
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
            *low = least::<S, R>(simd, &buffer);
        }
        let lowest = lows.iter().copied().fold(f64::INFINITY, f64::min) + 4.0 * error;
        for (at, low) in lows.iter().enumerate() {
            needed |= u32::from(*low <= lowest) << at;
        }
        needed
    }

    /// The margin buffers of an account in a run, and what is past a line; what its buckets lack
    /// is tallied.
    #[inline(always)]
    fn account<S: Simd, const R: usize>(
        &self,
        simd: S,
        buckets: &[Bucket<'_>],
        is_plain: bool,
        at: usize,
        past: &mut Past,
        run: &mut Run,
    ) -> Vectors<S, R> {
        let zero = simd.splat_f64s(0.0);
        let mut buffer = [zero; R];
        for (number, bucket) in buckets.iter().enumerate() {
            let standing = match &self.lanes {
                Some(lanes) if is_plain => lanes.standing::<S, R>(simd, bucket, at),
                _ => self.one_by_one::<S, R>(bucket, at, run),
            };
            if number == 0 {
                buffer = standing.margin_buffer;
            } else {
                for v in 0..R {
                    buffer[v] = simd.add_f64s(buffer[v], standing.margin_buffer[v]);
                }
            }
            if standing.lowest(simd) <= 0.0 {
                let near = standing.near(simd, &self.rules.conventions);
                past.is_near = true;
                past.is_past |= near.is_past;
                past.is_bankrupt |= near.is_bankrupt;
                if near.is_bankrupt != 0 {
                    for (all, bad_debt) in past.bad_debt.iter_mut().zip(near.bad_debt) {
                        *all += bad_debt;
                    }
                }
                tally_lack(
                    near.lacks & self.used(at),
                    &near.margin_buffer,
                    &mut run.tallies.of[at * LANES..],
                );
            }
        }
        buffer
    }

    /// Gross notional of an account in a run.
    #[inline(always)]
    fn gross<S: Simd, const R: usize>(
        &self,
        simd: S,
        buckets: &[Bucket<'_>],
        is_plain: bool,
        at: usize,
        run: &mut Run,
    ) -> Lane {
        let mut all = [simd.splat_f64s(0.0); R];
        for bucket in buckets {
            let gross = match &self.lanes {
                Some(lanes) if is_plain => lanes.gross_notional::<S, R>(simd, bucket, at),
                _ => {
                    let margins = self.margins(bucket, at, &mut run.joined);
                    *vectors::<S, R>(&margins.map(|margin| margin.gross_notional))
                }
            };
            for v in 0..R {
                all[v] = simd.add_f64s(all[v], gross[v]);
            }
        }
        lanes::<S, R>(&all)
    }

    /// Where a bucket stands in a run of scenarios, one after another; notes where money overflows.
    #[inline(never)]
    fn one_by_one<S: Simd, const R: usize>(
        &self,
        bucket: &Bucket<'_>,
        at: usize,
        run: &mut Run,
    ) -> Standing<S, R> {
        let margins = self.margins(bucket, at, &mut run.joined);
        if let Some(lane) = margins.iter().position(|margin| !margin.is_finite()) {
            run.tallies.overflown = Some((at * LANES + lane).min(self.marks.len() - 1));
        }
        Standing::of_margins(&margins)
    }

    /// The margin of a bucket in each scenario of a run.
    fn margins(&self, bucket: &Bucket<'_>, at: usize, joined: &mut Joined) -> [Margin; LANES] {
        std::array::from_fn(|lane| {
            let place = (at * LANES + lane).min(self.marks.len() - 1);
            self.bucket_margin(bucket, place, joined)
        })
    }

    #[inline(always)]
    fn bucket_margin(&self, bucket: &Bucket<'_>, place: usize, joined: &mut Joined) -> Margin {
        margin_of(bucket, self.plains[place].as_ref(), &self.marks[place], self.rules, joined)
    }

    /// The margin of an account in one scenario.
    #[inline(never)]
    fn margin(
        &self,
        block: &Block,
        rows: &Rows<'_>,
        account: usize,
        place: usize,
        joined: &mut Joined,
    ) -> Margin {
        let mut buckets = block.buckets_of(account);
        let mut margin = match buckets.next() {
            Some(first) => self.bucket_margin(&rows.bucket(first), place, joined),
            None => Margin::default(),
        };
        for number in buckets {
            margin.add(&self.bucket_margin(&rows.bucket(number), place, joined));
        }
        margin
    }

    /// The lanes of a run that are scenarios of their own, by bits.
    #[inline(always)]
    fn used(&self, at: usize) -> u32 {
        let lanes = (self.marks.len() - at * LANES).min(LANES);
        (1 << lanes) - 1
    }
}

/// The stress of a block, to be run with the widest registers there are: the same bits, for
/// nothing in it is fused or reordered.
struct BlockStress<'a, 'p> {
    pass: &'a Pass<'a>,
    block: &'a Block,
    part: &'a mut WorstPart<'p>,
    run: &'a mut Run,
}

impl pulp::WithSimd for BlockStress<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { pass, block, part, run } = self;
        match S::F64_LANES {
            8 => pass.block::<S, { LANES / 8 }>(simd, block, part, run),
            4 => pass.block::<S, { LANES / 4 }>(simd, block, part, run),
            2 => pass.block::<S, { LANES / 2 }>(simd, block, part, run),
            _ => pass.block::<S, LANES>(simd, block, part, run),
        }
    }
}
