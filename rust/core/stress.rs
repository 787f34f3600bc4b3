//! A stress: one book against many markets, a scenario each.
//!
//! `Stress::run` puts every account through every scenario, many at a time (`lanes`), and keeps
//! what the contract asks for: totals by scenario, and of each account its worst. No array of
//! accounts times scenarios is made. Each figure has the bits of the sweep of its market.

#![allow(clippy::needless_range_loop)] // lanes are walked by number: so vectors come of them

use pulp::Simd;

use crate::batch;
use crate::block::{Block, Bucket, Rows};
use crate::book::Book;
use crate::error::{Error, Result};
use crate::fused::Form;
use crate::keys::NONE;
use crate::lanes::{LANES, Lane, Lanes, Past, Standing, Vectors, lanes, least, vectors};
use crate::margin::{Joined, Margin, Status, margin_of};
use crate::market::Market;
use crate::marks::Marks;
use crate::memory::Buffer;
use crate::plain::Plain;
use crate::rules::Rules;
use crate::scenarios::{Quotes, Scenario};
use crate::sweep::{Sweep, THREAD_ACCOUNTS, group};
pub use crate::tallies::Outcome;
use crate::tallies::{Tallies, tally_bankrupt, tally_lack, tally_past};

/// Scenarios that are looked at in one pass over the book, at most.
const PASS: usize = 8 * LANES;
/// Bytes that the prices of a pass may take.
const ROOM: usize = 64 << 20;
/// Accounts for which it is worth to start a thread, in one scenario.
const THREAD_PAIRS: usize = 4 * THREAD_ACCOUNTS;

/// The worst scenario of each account, by the account's number.
pub struct Worst {
    /// Its number; `NONE` for an indeterminate account.
    pub scenario: Buffer<u32>,
    /// The margin buffer in it.
    pub margin_buffer: Buffer<f64>,
    /// `Status` in it.
    pub status: Buffer<u8>,
    /// Bad debt in it.
    pub bad_debt: Buffer<f64>,
    /// In how many scenarios the account is past the line.
    pub liquidatable: Buffer<i64>,
}

/// A book in many markets. See the module.
pub struct Stress {
    /// One for each scenario.
    pub outcomes: Vec<Outcome>,
    /// One row per account; none where there are no scenarios.
    pub worst: Worst,
}

impl Stress {
    /// Puts the accounts of `base`, the sweep of `book` in `market` as given, through `scenarios`.
    ///
    /// # Errors
    ///
    /// `Error::Data` where a scenario leaves no price, moves the base of a held option without
    /// naming it, or makes an account's money overflow.
    pub fn run(
        book: &Book,
        market: &Market,
        rules: &Rules,
        base: &Sweep,
        scenarios: &[Scenario],
        threads: usize,
    ) -> Result<Self> {
        let rows = if scenarios.is_empty() { 0 } else { book.accounts() };
        let mut worst = Worst::new(rows);
        let mut outcomes = Vec::with_capacity(scenarios.len());
        let threads = batch::enough(threads, rows * scenarios.len(), THREAD_PAIRS);
        let prices = base.marks.instruments.len() + base.marks.assets.len();
        let pass = (ROOM / (256 * prices + 1)).clamp(LANES, PASS);
        let asset = &rules.conventions.valuation_asset;
        let quotes = Quotes::of(market, asset)?;
        let count = scenarios.len() as f64;
        for (number, scenarios) in scenarios.chunks(pass).enumerate() {
            let moved = |scenario: &Scenario| {
                let moves = market.moves(&scenario.factors, asset);
                let whose = format!("scenarios.factor: scenario {:?} moves", scenario.name);
                let factors = (&scenario.factors, &moves);
                base.marks.check_options(book, market, factors, &base.indeterminate, &whose)?;
                let quotes = quotes.under(scenario, market, &moves)?;
                Ok((moves.mean(), base.marks.quoted(market, &quotes)))
            };
            let moved = scenarios.iter().map(moved).collect::<Result<Vec<(f64, Marks)>>>()?;
            // Scenarios that are alike stand together: then most runs are far from any line.
            let mut order: Vec<(f64, u32, Marks)> =
                moved.into_iter().zip(0..).map(|((mean, marks), at)| (mean, at, marks)).collect();
            order.sort_by(|one, other| one.0.total_cmp(&other.0));
            let first = number * pass;
            let numbers: Vec<u32> = order.iter().map(|(_, at, _)| first as u32 + at).collect();
            let marks: Vec<Marks> = order.into_iter().map(|(_, _, marks)| marks).collect();
            let kernel = Kernel::new(&marks, &numbers, rules, base, first == 0);
            batch::part(first as f64 / count, (first + scenarios.len()) as f64 / count);
            let tallies = kernel.run(base.blocks(book), &mut worst, threads);
            if let Some(place) = tallies.overflown {
                let name = &scenarios[numbers[place] as usize - first].name;
                return Err(Error::Data(format!(
                    "scenarios.price_shock: in scenario {name:?} the money of an account overflows"
                )));
            }
            outcomes.resize(first + scenarios.len(), Outcome::default());
            for (number, tally) in numbers.iter().zip(&tallies.of) {
                outcomes[*number as usize] = tally.outcome();
            }
        }
        Ok(Self { outcomes, worst })
    }
}

impl Worst {
    fn new(rows: usize) -> Self {
        Self {
            scenario: Buffer::new(rows),
            margin_buffer: Buffer::new(rows),
            status: Buffer::new(rows),
            bad_debt: Buffer::new(rows),
            liquidatable: Buffer::new(rows),
        }
    }

    /// Cuts the columns into neighbouring parts of the given lengths, for writing.
    fn parts(&mut self, lengths: impl Iterator<Item = usize>) -> Vec<WorstPart<'_>> {
        let mut rest = (
            &mut *self.scenario,
            &mut *self.margin_buffer,
            &mut *self.status,
            &mut *self.bad_debt,
            &mut *self.liquidatable,
        );
        let part = |length: usize| WorstPart {
            scenario: take(&mut rest.0, length),
            margin_buffer: take(&mut rest.1, length),
            status: take(&mut rest.2, length),
            bad_debt: take(&mut rest.3, length),
            liquidatable: take(&mut rest.4, length),
        };
        lengths.map(part).collect()
    }
}

fn take<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    rest.split_off_mut(..length).unwrap_or_default()
}

/// Neighbouring rows of `Worst`, to be written by one thread.
struct WorstPart<'a> {
    scenario: &'a mut [u32],
    margin_buffer: &'a mut [f64],
    status: &'a mut [u8],
    bad_debt: &'a mut [f64],
    liquidatable: &'a mut [i64],
}

/// What a thread carries from account to account.
struct Run {
    tallies: Tallies,
    joined: Joined,
    /// Of the buckets of the account that is looked at.
    forms: Vec<Form>,
}

/// The inputs of a pass over the book.
struct Kernel<'a> {
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

impl<'a> Kernel<'a> {
    fn new(
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

    fn run(&self, blocks: &[Block], worst: &mut Worst, threads: usize) -> Tallies {
        let parts = worst.parts(blocks.iter().map(Block::accounts));
        let tasks: Vec<(&Block, WorstPart<'_>)> = blocks.iter().zip(parts).collect();
        let nothing = || Tallies::new(self.marks.len());
        let arch = pulp::Arch::new();
        let answers = batch::map(threads, group(tasks, 8 * threads), |tasks| {
            let mut run = Run { tallies: nothing(), joined: Joined::default(), forms: Vec::new() };
            for (block, mut part) in tasks {
                let (part, run) = (&mut part, &mut run);
                arch.dispatch(BlockStress { kernel: self, block, part, run });
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
        let (mut lows, mut needed) = ([f64::INFINITY; PASS / LANES], 0);
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
                _ => self.one_by_one::<S, R>(bucket, at, &mut run.joined),
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

    /// Where a bucket stands in a run of scenarios, one after another.
    #[inline(never)]
    fn one_by_one<S: Simd, const R: usize>(
        &self,
        bucket: &Bucket<'_>,
        at: usize,
        joined: &mut Joined,
    ) -> Standing<S, R> {
        Standing::of_margins(&self.margins(bucket, at, joined))
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
    kernel: &'a Kernel<'a>,
    block: &'a Block,
    part: &'a mut WorstPart<'p>,
    run: &'a mut Run,
}

impl pulp::WithSimd for BlockStress<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { kernel, block, part, run } = self;
        match S::F64_LANES {
            8 => kernel.block::<S, { LANES / 8 }>(simd, block, part, run),
            4 => kernel.block::<S, { LANES / 4 }>(simd, block, part, run),
            2 => kernel.block::<S, { LANES / 2 }>(simd, block, part, run),
            _ => kernel.block::<S, LANES>(simd, block, part, run),
        }
    }
}
