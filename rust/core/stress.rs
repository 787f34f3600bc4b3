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
use crate::exact::{ExactSum, FEW};
use crate::keys::NONE;
use crate::lanes::{LANES, Lane, Lanes, Standing, Vectors, lanes, least};
use crate::margin::{Joined, Margin, Status, margin_of};
use crate::market::Market;
use crate::marks::Marks;
use crate::memory::Buffer;
use crate::plain::Plain;
use crate::rules::Rules;
use crate::scenarios::{Quotes, Scenario};
use crate::sweep::{Sweep, THREAD_ACCOUNTS, group};

/// Scenarios that are looked at in one pass over the book, at most.
const PASS: usize = 8 * LANES;
/// Bytes that the prices of a pass may take.
const ROOM: usize = 64 << 20;
/// Accounts for which it is worth to start a thread, in one scenario.
const THREAD_PAIRS: usize = 4 * THREAD_ACCOUNTS;

/// What one scenario does to the exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Accounts past the line.
    pub liquidatable_accounts: u64,
    /// Those that are not so in the market as given.
    pub newly_liquidatable_accounts: u64,
    /// Accounts with a bucket whose equity is below 0.
    pub bankrupt_accounts: u64,
    /// Gross notional of the accounts past the line, correctly rounded.
    pub liquidatable_notional: f64,
    /// Correctly rounded.
    pub total_bad_debt: f64,
    /// What buckets lack to reach the line, correctly rounded.
    pub total_margin_deficit: f64,
}

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
        for (number, scenarios) in scenarios.chunks(pass).enumerate() {
            let moved = |scenario: &Scenario| {
                let moves = market.moves(&scenario.factors, asset);
                let whose = format!("scenarios.factor: scenario {:?} moves", scenario.name);
                let factors = (&scenario.factors, &moves);
                base.marks.check_options(book, market, factors, &base.indeterminate, &whose)?;
                Ok(base.marks.quoted(market, &quotes.under(scenario, market, &moves)?))
            };
            let marks = scenarios.iter().map(moved).collect::<Result<Vec<Marks>>>()?;
            let kernel = Kernel::new(&marks, rules, base, number * pass);
            let tallies = kernel.run(base.blocks(book), &mut worst, threads);
            if let Some(lane) = tallies.overflown {
                let name = &scenarios[lane.min(scenarios.len() - 1)].name;
                return Err(Error::Data(format!(
                    "scenarios.price_shock: in scenario {name:?} the money of an account overflows"
                )));
            }
            outcomes.extend(tallies.of.iter().map(Tally::outcome));
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

/// A sum that takes its values in heaps.
#[derive(Clone)]
struct Heap {
    sum: ExactSum,
    few: [f64; FEW],
    held: usize,
}

impl Default for Heap {
    fn default() -> Self {
        Self { sum: ExactSum::default(), few: [0.0; FEW], held: 0 }
    }
}

impl Heap {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        self.few[self.held] = value;
        self.held += 1;
        if self.held == FEW {
            self.settle();
        }
    }

    #[inline(never)]
    fn settle(&mut self) {
        self.sum.add_few(&self.few[..self.held]);
        self.held = 0;
    }

    fn merge(&mut self, mut other: Self) {
        other.settle();
        self.sum.merge(&other.sum);
    }

    fn round(&self) -> f64 {
        let mut all = self.clone();
        all.settle();
        all.sum.round()
    }
}

/// What one scenario does to the accounts seen so far.
#[derive(Clone, Default)]
struct Tally {
    liquidatable: u64,
    newly: u64,
    bankrupt: u64,
    notional: Heap,
    bad_debt: Heap,
    deficit: Heap,
}

impl Tally {
    fn merge(&mut self, other: Self) {
        self.liquidatable += other.liquidatable;
        self.newly += other.newly;
        self.bankrupt += other.bankrupt;
        self.notional.merge(other.notional);
        self.bad_debt.merge(other.bad_debt);
        self.deficit.merge(other.deficit);
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            liquidatable_accounts: self.liquidatable,
            newly_liquidatable_accounts: self.newly,
            bankrupt_accounts: self.bankrupt,
            liquidatable_notional: self.notional.round(),
            total_bad_debt: self.bad_debt.round(),
            total_margin_deficit: self.deficit.round(),
        }
    }
}

/// Tallies of a pass, and a scenario in which money overflowed.
struct Tallies {
    of: Vec<Tally>,
    overflown: Option<usize>,
}

/// What a thread carries from account to account.
struct Run {
    tallies: Tallies,
    joined: Joined,
    /// Whether each bucket of the block goes the short way.
    is_plain: Vec<bool>,
}

/// What is past a line in an account, in a run of scenarios.
#[derive(Default)]
struct Past {
    /// Whether anything may be.
    is_near: bool,
    bad_debt: Lane,
    /// Scenarios, by bits, in which it is past the line.
    is_past: u32,
    /// Scenarios, by bits, in which it is bankrupt.
    is_bankrupt: u32,
}

/// The inputs of a pass over the book.
struct Kernel<'a> {
    marks: &'a [Marks],
    plains: Vec<Option<Plain>>,
    lanes: Option<Lanes<'a>>,
    rules: &'a Rules,
    base: &'a Sweep,
    /// The number of the pass's first scenario.
    first: usize,
}

impl<'a> Kernel<'a> {
    fn new(marks: &'a [Marks], rules: &'a Rules, base: &'a Sweep, first: usize) -> Self {
        Self {
            marks,
            plains: marks.iter().map(|marks| Plain::new(marks, rules)).collect(),
            lanes: Lanes::new(marks, rules),
            rules,
            base,
            first,
        }
    }

    fn run(&self, blocks: &[Block], worst: &mut Worst, threads: usize) -> Tallies {
        let parts = worst.parts(blocks.iter().map(Block::accounts));
        let tasks: Vec<(&Block, WorstPart<'_>)> = blocks.iter().zip(parts).collect();
        let nothing = || Tallies { of: vec![Tally::default(); self.marks.len()], overflown: None };
        let arch = pulp::Arch::new();
        let answers = batch::map(threads, group(tasks, 8 * threads), |tasks| {
            let (joined, is_plain) = (Joined::default(), Vec::new());
            let mut run = Run { tallies: nothing(), joined, is_plain };
            for (block, mut part) in tasks {
                let (part, run) = (&mut part, &mut run);
                arch.dispatch(BlockStress { kernel: self, block, part, run });
            }
            run.tallies
        });
        let mut all = nothing();
        for tallies in answers {
            all.overflown = all.overflown.or(tallies.overflown);
            all.of.iter_mut().zip(tallies.of).for_each(|(mine, theirs)| mine.merge(theirs));
        }
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
        if self.first == 0 {
            part.scenario.fill(NONE);
            part.margin_buffer.fill(f64::INFINITY);
            part.liquidatable.fill(0);
        }
        let rows = block.rows();
        let goes_short =
            |bucket| self.lanes.as_ref().is_some_and(|lanes| lanes.admits(&rows.bucket(bucket)));
        run.is_plain.clear();
        run.is_plain.extend((0..block.buckets()).map(goes_short));
        let indeterminate = &self.base.indeterminate[block.first_account..][..block.accounts()];
        for at in 0..self.marks.len().div_ceil(LANES) {
            for account in 0..block.accounts() {
                if indeterminate[account] {
                    continue;
                }
                let (buffer, past) = self.account::<S, R>(simd, block, &rows, account, at, run);
                let lowest = least::<S, R>(simd, &buffer);
                if lowest < part.margin_buffer[account] {
                    // What fills the last run up repeats its last scenario.
                    let lane = lanes::<S, R>(&buffer).iter().position(|b| *b == lowest);
                    let place = self.first + at * LANES + lane.unwrap_or(0);
                    part.scenario[account] = place as u32;
                    part.margin_buffer[account] = lowest;
                }
                if past.is_near {
                    let flagged = past.is_past & self.used(at);
                    part.liquidatable[account] += i64::from(flagged.count_ones());
                    self.tally(block, &rows, account, at, &past, run);
                }
            }
        }
        for account in 0..block.accounts() {
            if indeterminate[account] {
                part.status[account] = Status::Indeterminate as u8;
            } else if let Some(place) = (part.scenario[account] as usize).checked_sub(self.first) {
                let margin = self.margin(block, &rows, account, place, &mut run.joined);
                if !margin.is_finite() {
                    run.tallies.overflown = Some(place);
                }
                part.margin_buffer[account] = margin.margin_buffer;
                part.status[account] = margin.status as u8;
                part.bad_debt[account] = margin.bad_debt;
            }
        }
    }

    /// The margin buffers of an account in a run, and what is past a line; what its buckets lack
    /// is tallied.
    #[inline(always)]
    fn account<S: Simd, const R: usize>(
        &self,
        simd: S,
        block: &Block,
        rows: &Rows<'_>,
        account: usize,
        at: usize,
        run: &mut Run,
    ) -> (Vectors<S, R>, Past) {
        let mut past = Past::default();
        let mut buffer = [simd.splat_f64s(0.0); R];
        let buckets = block.buckets_of(account);
        for number in buckets.clone() {
            let bucket = rows.bucket(number);
            let lanes = self.lanes.as_ref().filter(|_| run.is_plain[number]);
            let standing = match lanes {
                Some(lanes) => lanes.standing::<S, R>(simd, &bucket, at),
                None => self.one_by_one::<S, R>(&bucket, at, &mut run.joined),
            };
            if number == buckets.start {
                buffer = standing.margin_buffer;
            } else {
                for v in 0..R {
                    buffer[v] = simd.add_f64s(buffer[v], standing.margin_buffer[v]);
                }
            }
            if standing.lowest(simd) <= 0.0 {
                self.add(&standing, at, &mut past, run);
            }
        }
        (buffer, past)
    }

    /// Adds what of a bucket is past a line; tallies what it lacks.
    #[inline(never)]
    fn add<S: Simd, const R: usize>(
        &self,
        bucket: &Standing<S, R>,
        at: usize,
        past: &mut Past,
        run: &mut Run,
    ) {
        let [is_past, is_bankrupt] = bucket.past_and_bankrupt(&self.rules.conventions);
        past.is_near = true;
        past.is_past |= is_past;
        past.is_bankrupt |= is_bankrupt;
        let equities = lanes::<S, R>(&bucket.equity);
        for (bad_debt, equity) in past.bad_debt.iter_mut().zip(equities) {
            *bad_debt += if equity < 0.0 { -equity } else { 0.0 };
        }
        let tallies = run.tallies.of[at * LANES..].iter_mut();
        for (tally, buffer) in tallies.zip(lanes::<S, R>(&bucket.margin_buffer)) {
            if buffer < 0.0 {
                tally.deficit.add(-buffer);
            }
        }
    }

    /// Tallies what is past a line in a run of scenarios.
    #[inline(never)]
    fn tally(
        &self,
        block: &Block,
        rows: &Rows<'_>,
        account: usize,
        at: usize,
        past: &Past,
        run: &mut Run,
    ) {
        let is_past_now = self.base.accounts.is_liquidatable[block.first_account + account];
        let notional = match past.is_past {
            0 => [0.0; LANES],
            _ => self.gross_notional(block, rows, account, at, run),
        };
        for (lane, tally) in run.tallies.of[at * LANES..].iter_mut().take(LANES).enumerate() {
            if past.is_past >> lane & 1 == 1 {
                tally.liquidatable += 1;
                tally.newly += u64::from(!is_past_now);
                tally.notional.add(notional[lane]);
            }
            tally.bankrupt += u64::from(past.is_bankrupt >> lane & 1);
            if past.bad_debt[lane] > 0.0 {
                tally.bad_debt.add(past.bad_debt[lane]);
            }
        }
    }

    #[inline(always)]
    fn gross_notional(
        &self,
        block: &Block,
        rows: &Rows<'_>,
        account: usize,
        at: usize,
        run: &mut Run,
    ) -> Lane {
        let mut all = [0.0; LANES];
        for number in block.buckets_of(account) {
            let bucket = rows.bucket(number);
            let lanes = self.lanes.as_ref().filter(|_| run.is_plain[number]);
            let gross = match lanes {
                Some(lanes) => lanes.gross_notional(&bucket, at),
                None => self.margins(&bucket, at, &mut run.joined).map(|m| m.gross_notional),
            };
            all.iter_mut().zip(gross).for_each(|(all, gross)| *all += gross);
        }
        all
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
