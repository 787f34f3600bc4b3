//! Reverse stress: the least move at which the exchange as a whole comes to a given loss.
//!
//! Along a path every bucket's equity is one form, and it begins and ceases to be below 0 at
//! the roots of that form; an account is past its line from one root of a buffer to another. So
//! bad debt, and the notional of accounts past the line, are sums of forms between the roots of
//! all buckets together (`spans`). These are sorted, the sums kept from one to the next, and the
//! first interval solved in which the target is reached.

use crate::batch;
use crate::block::Bucket;
use crate::book::Book;
use crate::error::Result;
use crate::exact::ExactSum;
use crate::form::{Form, Look};
use crate::margin::{Joined, Margin, bucket_margin, margin_of};
use crate::market::Market;
use crate::marks::Marks;
use crate::outlook::{add_equity, add_notional};
use crate::path::{Course, Courses, Path};
use crate::plain::Plain;
use crate::rules::Rules;
use crate::spans::{Edge, Exchange};
use crate::sweep::{Sweep, THREAD_ACCOUNTS};

pub use crate::path::Direction;

/// What is to be reached, valuation asset, above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Total bad debt.
    BadDebt(f64),
    /// Gross notional of the accounts past the line.
    LiquidatableNotional(f64),
}

/// The exchange where a target is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    /// The shock.
    pub shock: f64,
    /// Total bad debt, correctly rounded.
    pub bad_debt: f64,
    /// Gross notional of the accounts past the line, correctly rounded.
    pub liquidatable_notional: f64,
    /// Accounts past the line.
    pub liquidatable_accounts: u64,
}

/// Returns the least move along `direction` at which `target` is reached; None where it is not.
///
/// `sweep` is that of `book` at `market` under `rules`. The figures are those of a sweep of the
/// market moved by the shock. Under `lt` an account is past its line only beyond its breach: so
/// the shock is the nearest number at which such a sweep shows the target reached.
///
/// # Errors
///
/// `Error::Data` where a determinate account holds an option whose base the direction moves.
///
/// # Example
///
/// Long 1 at 100 with 20 in cash: `max(0, -(20 + 100 s))` reaches 5 at `s = -0.25`.
pub fn reverse_stress(
    book: &Book,
    market: &Market,
    rules: &Rules,
    sweep: &Sweep,
    direction: &Direction,
    target: Target,
    threads: usize,
) -> Result<Option<Reached>> {
    let threads = batch::enough(threads, book.accounts(), THREAD_ACCOUNTS);
    let path = Path::new(book, market, rules, sweep, direction)?;
    let blocks = sweep.blocks(book);
    let exchange = Exchange { blocks, rules, sweep, path: &path, threads };
    let totals = &sweep.totals;
    let here = Reached {
        shock: 0.0,
        bad_debt: totals.money[totals.money.len() - 1],
        liquidatable_notional: totals.liquidatable_notional,
        liquidatable_accounts: totals.liquidatable_accounts,
    };
    if target.is_reached(&here) {
        return Ok(Some(here));
    }
    let first = match target {
        Target::BadDebt(amount) => first_debt(&exchange, amount),
        Target::LiquidatableNotional(amount) => first_notional(&exchange, amount),
    };
    Ok(first.map(|t| settle(&exchange, t, target)))
}

impl Target {
    fn is_reached(self, at: &Reached) -> bool {
        match self {
            Self::BadDebt(amount) => at.bad_debt >= amount,
            Self::LiquidatableNotional(amount) => at.liquidatable_notional >= amount,
        }
    }
}

/// Where total bad debt first reaches `amount`.
fn first_debt(exchange: &Exchange<'_>, amount: f64) -> Option<f64> {
    let marks = &exchange.sweep.marks;
    let mut sum = Sum::new(exchange, 1.0, amount);
    sum.first(&exchange.debts(), |sum, edge| {
        let block = exchange.block_of(edge.account);
        let bucket = block.bucket(edge.bucket as usize);
        sum.add(&bucket, edge, |form, betas, course| {
            add_equity(form, betas, &bucket, course, marks);
        });
    })
}

/// Where the notional of accounts past the line first reaches `amount`.
fn first_notional(exchange: &Exchange<'_>, amount: f64) -> Option<f64> {
    let (marks, rules) = (&exchange.sweep.marks, exchange.rules);
    let mut sum = Sum::new(exchange, -1.0, amount);
    let mut past = vec![0u32; exchange.sweep.indeterminate.len()];
    sum.first(&exchange.breaches(), |sum, edge| {
        let buckets = &mut past[edge.account as usize];
        *buckets = if edge.ends { *buckets - 1 } else { *buckets + 1 };
        if *buckets != u32::from(!edge.ends) {
            return; // Another bucket is past the line.
        }
        let block = exchange.block_of(edge.account);
        let rows = block.rows();
        for number in block.buckets_of(edge.account as usize - block.first_account) {
            let bucket = rows.bucket(number);
            sum.add(&bucket, edge, |form, betas, course| {
                add_notional(form, betas, &bucket, course, marks, rules);
            });
        }
    })
}

/// A sum over the exchange along its path.
struct Sum<'a> {
    /// What counts here.
    total: Form,
    betas: Vec<f64>,
    /// Room for one bucket.
    own: Form,
    courses: Courses<'a>,
    /// The sign by which the total lacks less.
    sign: f64,
    amount: f64,
    end: f64,
}

impl<'a> Sum<'a> {
    fn new(exchange: &Exchange<'a>, sign: f64, amount: f64) -> Self {
        Self {
            total: Form::default(),
            betas: Vec::new(),
            own: Form::default(),
            courses: exchange.path.courses(&exchange.sweep.marks, exchange.rules),
            sign,
            amount,
            end: exchange.path.end,
        }
    }

    /// Adds what a bucket comes to, or takes it off.
    fn add(
        &mut self,
        bucket: &Bucket<'_>,
        edge: &Edge,
        add: impl FnOnce(&mut Form, &mut Vec<f64>, &Course),
    ) {
        let Self { total, betas, own, courses, .. } = self;
        own.clear();
        add(own, betas, courses.of(bucket, edge.account));
        total.add_form(own, if edge.ends { -1.0 } else { 1.0 });
    }

    /// What lacks to the amount.
    fn lack(&self) -> Look<'_> {
        Look { form: &self.total, betas: &self.betas, sign: self.sign, shift: self.amount }
    }

    /// Where nothing lacks any more; `pass` adds what begins at an edge and takes off what ends.
    fn first(&mut self, edges: &[Edge], mut pass: impl FnMut(&mut Self, &Edge)) -> Option<f64> {
        let (mut near, mut next) = (0.0, 0);
        loop {
            let far = edges.get(next).map_or(self.end, |edge| edge.at);
            let found = self.lack().falls(near, far, true);
            if found.is_some() {
                return found;
            }
            for ends in [false, true] {
                while edges.get(next).is_some_and(|edge| edge.at == far && edge.ends == ends) {
                    pass(self, &edges[next]);
                    next += 1;
                }
                if !ends && self.lack().value(far) <= 0.0 {
                    return Some(far);
                }
            }
            if far >= self.end {
                return None;
            }
            near = far;
        }
    }
}

/// The exchange at `t`, or at the nearest place beyond it at which a sweep shows the target
/// reached: a price of one bit more, or a few.
fn settle(exchange: &Exchange<'_>, t: f64, target: Target) -> Reached {
    let mut reached = at(exchange, t);
    let mut beyond = 0.5 * f64::EPSILON;
    while !target.is_reached(&reached) && beyond < 1e-11 * (1.0 + t) {
        reached = at(exchange, (t + beyond).max(t.next_up()).min(exchange.path.end));
        beyond *= 2.0;
    }
    reached
}

/// The exchange at `t`: the figures of a sweep.
fn at(exchange: &Exchange<'_>, t: f64) -> Reached {
    let Exchange { rules, sweep, path, .. } = exchange;
    let common = path.common().map(|course| course.marks_at(&sweep.marks, t));
    let plain = common.as_ref().and_then(|marks| Plain::new(marks, rules));
    let parts = exchange.map(|blocks| {
        let mut courses = path.courses(&sweep.marks, rules);
        let mut own = if common.is_none() { Some(sweep.marks.clone()) } else { None };
        let (mut joined, mut tally) = (Joined::default(), Tally::default());
        for block in blocks {
            let rows = block.rows();
            for account in 0..block.accounts() {
                let number = block.first_account + account;
                if sweep.indeterminate[number] {
                    continue;
                }
                let mut margin = Margin::default();
                for bucket in block.buckets_of(account) {
                    let bucket = rows.bucket(bucket);
                    let of_bucket = match (&common, &mut own) {
                        (Some(marks), _) => {
                            margin_of(&bucket, plain.as_ref(), marks, rules, &mut joined)
                        }
                        (None, Some(own)) => {
                            let course = courses.of(&bucket, number as u32);
                            move_bucket(own, &sweep.marks, &bucket, course, t);
                            bucket_margin(&bucket, own, rules, &mut joined)
                        }
                        (None, None) => Margin::default(),
                    };
                    margin.add(&of_bucket);
                }
                tally.add(&margin);
            }
        }
        tally
    });
    let mut tally = Tally::default();
    parts.iter().for_each(|part| tally.merge(part));
    Reached {
        shock: path.shock(t),
        bad_debt: tally.debt.round(),
        liquidatable_notional: tally.notional.round(),
        liquidatable_accounts: tally.accounts,
    }
}

/// Moves what a bucket holds, and nothing else that it is looked at with.
fn move_bucket(own: &mut Marks, given: &Marks, bucket: &Bucket<'_>, course: &Course, t: f64) {
    for code in bucket.instrument {
        let mark = &given.instruments[*code as usize];
        own.instruments[*code as usize] = course.mark_at(*code, mark, t);
    }
    for asset in bucket.asset {
        let price = given.assets[*asset as usize].price;
        own.assets[*asset as usize].price = course.price_at(*asset, price, t);
    }
}

/// Sums over accounts.
#[derive(Default)]
struct Tally {
    debt: ExactSum,
    notional: ExactSum,
    accounts: u64,
}

impl Tally {
    fn add(&mut self, margin: &Margin) {
        if !margin.is_finite() {
            return; // Its money overflows there.
        }
        self.debt.add(margin.bad_debt);
        if margin.is_liquidatable {
            self.notional.add(margin.gross_notional);
            self.accounts += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.debt.merge(&other.debt);
        self.notional.merge(&other.notional);
        self.accounts += other.accounts;
    }
}
