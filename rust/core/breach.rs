//! Breaches: how far every account is from its trigger along a direction.
//!
//! `breach` walks each bucket of each account outwards from where prices stand and gives the
//! least move at which one of them reaches the trigger: exactly, from bend to bend, never by
//! sampling. Most buckets take the short way of `straight`, the others that of `trail`.

use crate::batch;
use crate::block::{Block, Bucket};
use crate::book::Book;
use crate::conventions::{Compare, ZeroRequirement};
use crate::error::Result;
use crate::margin::{Joined, bucket_margin};
use crate::market::Market;
use crate::memory::Buffer;
use crate::path::{Course, Path};
use crate::piece::is_required;
use crate::rules::Rules;
use crate::straight::Straight;
use crate::sweep::{Sweep, THREAD_ACCOUNTS, group};
use crate::trail::{Part, Trail};

pub use crate::path::Direction;
pub use crate::shared::{PRICE_KIND, PriceKind};

/// A buffer of at most this share of what it is made of is looked at by the kernel.
const DOUBT: f64 = 1e-12;

/// One row per account.
pub struct Breaches {
    /// The shock at which the trigger is reached; 0 where there is none.
    pub shock: Buffer<f64>,
    /// `PriceKind` as a number.
    pub kind: Buffer<u8>,
    /// For each account, whether nothing can be said of it.
    pub indeterminate: Vec<bool>,
}

impl Breaches {
    /// Those of no account.
    pub fn none() -> Self {
        Self { shock: Buffer::new(0), kind: Buffer::new(0), indeterminate: Vec::new() }
    }
}

/// Returns the least move along `direction` at which each account reaches its trigger.
///
/// `sweep` is that of `book` at `market` under `rules`. Exactly on the line under `lt` the
/// shock is 0; where a step of the requirement jumps the line, it is that of the step.
///
/// # Errors
///
/// `Error::Data` where a determinate account holds an option whose base the direction moves.
///
/// # Example
///
/// Long 1 at 100 with 20 in cash and a flat 5 %: `20 + 100 s = 0.05 * 100 (1 + s)` at
/// `s = -15 / 95`.
pub fn breach(
    book: &Book,
    market: &Market,
    rules: &Rules,
    sweep: &Sweep,
    direction: &Direction,
    threads: usize,
) -> Result<Breaches> {
    let threads = batch::enough(threads, book.accounts(), THREAD_ACCOUNTS);
    let path = Path::new(book, market, rules, sweep, direction)?;
    let straight = Straight::new(&sweep.marks, rules);
    let walker = Outwards { sweep, rules, path: &path, straight: straight.as_ref() };
    let (mut shock, mut kind) = (Buffer::new(book.accounts()), Buffer::new(book.accounts()));
    let (mut shocks, mut kinds) = (&mut shock[..], &mut kind[..]);
    let tasks = sweep.blocks(book).iter().map(|block| {
        let (its_shocks, rest) = std::mem::take(&mut shocks).split_at_mut(block.accounts());
        let (its_kinds, rest_kinds) = std::mem::take(&mut kinds).split_at_mut(block.accounts());
        (shocks, kinds) = (rest, rest_kinds);
        (block, its_shocks, its_kinds)
    });
    let runs = group(tasks.collect(), 8 * threads);
    batch::map(threads, runs, |blocks: Vec<(&Block, &mut [f64], &mut [u8])>| {
        let mut trail = Trail::new(&sweep.marks, rules);
        let mut courses = path.courses(&sweep.marks, rules);
        for (block, shocks, kinds) in blocks {
            let rows = block.rows();
            for account in 0..block.accounts() {
                let number = block.first_account + account;
                let (kind, shock) = if sweep.indeterminate[number] {
                    (PriceKind::None, 0.0)
                } else if sweep.accounts.is_liquidatable[number] {
                    (PriceKind::Breached, 0.0)
                } else {
                    let mut least = None;
                    for bucket in block.buckets_of(account) {
                        let bucket = rows.bucket(bucket);
                        let course = courses.of(&bucket, number as u32);
                        let end = least.unwrap_or(path.end);
                        least = walker.first(&bucket, course, end, &mut trail).or(least);
                    }
                    least.map_or((PriceKind::None, 0.0), |t| (PriceKind::Root, path.shock(t)))
                };
                (shocks[account], kinds[account]) = (shock, kind as u8);
            }
        }
    });
    Ok(Breaches { shock, kind, indeterminate: sweep.indeterminate.clone() })
}

/// What buckets that are not past the line are walked with.
pub(crate) struct Outwards<'a> {
    pub(crate) sweep: &'a Sweep,
    pub(crate) rules: &'a Rules,
    pub(crate) path: &'a Path,
    /// The short way, where there is one.
    pub(crate) straight: Option<&'a Straight<'a>>,
}

impl Outwards<'_> {
    /// Where a bucket that is not past the line first reaches its trigger, from 0 to `end`.
    #[inline]
    fn first(
        &self,
        bucket: &Bucket<'_>,
        course: &Course,
        end: f64,
        trail: &mut Trail<'_>,
    ) -> Option<f64> {
        let found = self.straight.and_then(|straight| straight.first(bucket, course, end));
        let found = found.unwrap_or_else(|| self.walk(bucket, course, end, trail));
        found.filter(|t| *t < self.path.doubt || self.is_past_at_end(bucket, course))
    }

    /// Whether a bucket is past its line at the last place, where hardly a price is left.
    #[cold]
    fn is_past_at_end(&self, bucket: &Bucket<'_>, course: &Course) -> bool {
        let marks = course.marks_at(&self.sweep.marks, self.path.end);
        bucket_margin(bucket, &marks, self.rules, &mut Joined::default()).is_liquidatable
    }

    fn walk(
        &self,
        bucket: &Bucket<'_>,
        course: &Course,
        end: f64,
        trail: &mut Trail<'_>,
    ) -> Option<f64> {
        if !trail.load(bucket, course, end) {
            return None;
        }
        let conventions = &self.rules.conventions;
        if trail.look().value(0.0).abs() <= DOUBT * trail.gross {
            let margin =
                bucket_margin(bucket, &self.sweep.marks, self.rules, &mut Joined::default());
            let is_required = is_required(margin.maintenance_margin, conventions);
            if margin.margin_buffer == 0.0 && is_required {
                return Some(0.0);
            }
        }
        let le = conventions.compare == Compare::Le;
        let always = conventions.zero_requirement == ZeroRequirement::Compare;
        let mut found = None;
        trail.walk(|part| {
            match part {
                Part::Stretch { near, far, buffer, is_required } if always || is_required => {
                    found = buffer.falls(near, far, le);
                }
                Part::Place { at, buffer, is_required } if always || is_required => {
                    let is_past = buffer < 0.0 || (le && buffer == 0.0);
                    found = is_past.then_some(at);
                }
                _ => {}
            }
            found.is_none()
        });
        found
    }
}
