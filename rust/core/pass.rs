//! A pass over the book: every account in some scenarios.
//!
//! What an account needs is first told by bounds and sums (`screen`); where something may be past
//! a line, or the buffer lowest, it is looked at closely (`standing`), or, where a ruleset asks for
//! more than the short way has, margined one scenario after another.

#![allow(clippy::needless_range_loop)] // vectors are walked by number, several at once

use pulp::Simd;

use crate::batch;
use crate::block::{Block, Bucket, Rows};
use crate::fused::Form;
use crate::keys::NONE;
use crate::lanes::{LANES, Lane, Lanes, RUNS, Vectors, least, vectors};
use crate::margin::{Joined, Margin, Status, margin_of};
use crate::marks::Marks;
use crate::overflow::VAST;
use crate::plain::Plain;
use crate::rules::Rules;
use crate::screen::Needed;
use crate::standing::{Past, Standing};
use crate::sweep::{Sweep, group};
use crate::tallies::Tallies;
use crate::worst::{Worst, WorstPart};

/// Scenarios of a pass, at most.
pub(crate) const MOST: usize = RUNS * LANES;

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
    /// The same by run; what fills the last one up repeats its last scenario.
    by_run: Vec<Lane>,
    /// The place of each number, counted from the least.
    places: Vec<usize>,
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
        let by_run = numbers
            .chunks(LANES)
            .map(|run| std::array::from_fn(|lane| f64::from(run[lane.min(run.len() - 1)])));
        let mut places: Vec<usize> = (0..numbers.len()).collect();
        places.sort_by_key(|place| numbers[*place]);
        Self {
            marks,
            plains: marks.iter().map(|marks| Plain::new(marks, rules)).collect(),
            lanes: Lanes::new(marks, rules),
            rules,
            base,
            numbers,
            by_run: by_run.collect(),
            places,
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
        let first = self.numbers.iter().copied().min().unwrap_or(NONE);
        let mut buckets = Vec::new();
        for account in 0..block.accounts() {
            if indeterminate[account] {
                part.status[account] = Status::Indeterminate as u8;
                continue;
            }
            buckets.clear();
            let mut is_plain = self.lanes.is_some();
            for number in rows.buckets_of(account) {
                let bucket = rows.bucket(number);
                is_plain = is_plain && self.lanes.as_ref().is_some_and(|l| l.admits(&bucket));
                buckets.push(bucket);
            }
            let (mut lowest, mut number) = (part.margin_buffer[account], part.scenario[account]);
            let mut worst = None;
            let needed = match &self.lanes {
                Some(lanes) if is_plain => lanes.needed::<S, R>(simd, &buckets, &mut run.forms),
                _ => Needed::Runs(u32::MAX),
            };
            if let Needed::Scenario(place) = needed {
                let margin = self.margin(&rows, account, place, run);
                let its = self.numbers[place];
                if (margin.margin_buffer, its) < (lowest, number) {
                    (lowest, number) = (margin.margin_buffer, its);
                    worst = Some((place, Some((margin.status, margin.bad_debt))));
                }
            }
            for at in 0..self.marks.len().div_ceil(LANES) {
                if !needed.has(at) {
                    continue;
                }
                let mut past = Past::new(simd);
                let buffer = self.account::<S, R>(simd, &buckets, is_plain, at, &mut past, run);
                let of_run = least::<S, R>(simd, &buffer);
                if of_run <= lowest {
                    let its = self.number::<S, R>(simd, &buffer, of_run, at);
                    if of_run < lowest || its < number {
                        (lowest, number) = (of_run, its);
                        let place = self.places[(number - first) as usize];
                        let known = past.status(place % LANES);
                        // Vast money may have overflowed: then a margin says so.
                        worst = Some((place, known.filter(|_| of_run > -VAST)));
                    }
                }
                if !past.is_near {
                    continue;
                }
                let times = past.times(simd, (self.marks.len() - at * LANES).min(LANES));
                if times > 0 {
                    part.liquidatable[account] += times;
                    run.tallies.of[at].add_past(simd, &past, is_past_now[account]);
                }
                if past.is_bankrupt(simd) {
                    run.tallies.of[at].add_bankrupt(simd, &past);
                }
            }
            if let Some((place, known)) = worst {
                let (status, bad_debt) = known.unwrap_or_else(|| {
                    let margin = self.margin(&rows, account, place, run);
                    (margin.status, margin.bad_debt)
                });
                part.scenario[account] = number;
                part.margin_buffer[account] = lowest;
                part.status[account] = status as u8;
                part.bad_debt[account] = bad_debt;
            }
        }
    }

    /// The least number of the scenarios of a run in which the buffer is so low.
    #[inline(always)]
    fn number<S: Simd, const R: usize>(
        &self,
        simd: S,
        buffer: &Vectors<S, R>,
        lowest: f64,
        at: usize,
    ) -> u32 {
        let mut numbers = *vectors::<S, R>(&self.by_run[at]);
        for v in 0..R {
            let is_lowest = simd.equal_f64s(buffer[v], simd.splat_f64s(lowest));
            let none = simd.splat_f64s(f64::INFINITY);
            numbers[v] = simd.select_f64s(is_lowest, numbers[v], none);
        }
        least::<S, R>(simd, &numbers) as u32
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
        past: &mut Past<S, R>,
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
                past.gross_notional = standing.gross_notional;
            } else {
                for v in 0..R {
                    buffer[v] = simd.add_f64s(buffer[v], standing.margin_buffer[v]);
                    past.gross_notional[v] =
                        simd.add_f64s(past.gross_notional[v], standing.gross_notional[v]);
                }
            }
            if standing.lowest(simd) <= 0.0 {
                let lack = standing.near(simd, &self.rules.conventions, past);
                run.tallies.of[at].add_lack::<S, R>(&lack);
            }
        }
        buffer
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

    /// The margin of an account in one scenario; notes where money overflows.
    #[inline(never)]
    fn margin(&self, rows: &Rows<'_>, account: usize, place: usize, run: &mut Run) -> Margin {
        let Run { joined, tallies, .. } = run;
        let mut buckets = rows.buckets_of(account);
        let mut margin = match buckets.next() {
            Some(first) => self.bucket_margin(&rows.bucket(first), place, joined),
            None => Margin::default(),
        };
        for number in buckets {
            margin.add(&self.bucket_margin(&rows.bucket(number), place, joined));
        }
        if !margin.is_finite() {
            tallies.overflown = Some(place);
        }
        margin
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
