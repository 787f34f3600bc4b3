//! Spans: where along a path buckets are past their line, or worth less than nothing.
//!
//! A span runs from a root of a bucket's form to another. `Exchange::debts` and
//! `Exchange::breaches` give the ends of all spans of all buckets, in order.

use std::cmp::Ordering;

use crate::batch;
use crate::block::{Block, Bucket};
use crate::conventions::{Compare, ZeroRequirement};
use crate::form::Look;
use crate::outlook::add_equity;
use crate::path::{Course, Path};
use crate::rules::Rules;
use crate::straight::Straight;
use crate::sweep::Sweep;
use crate::trail::{Part, Trail};

/// Where a span begins or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    /// Here.
    pub(crate) at: f64,
    /// Whether it ends.
    pub(crate) ends: bool,
    /// The account.
    pub(crate) account: u32,
    /// The bucket, counted from its block's first.
    pub(crate) bucket: u32,
}

impl Edge {
    /// Where, then those that begin, then whose.
    fn order(&self, other: &Self) -> Ordering {
        let order = self.at.total_cmp(&other.at).then(self.ends.cmp(&other.ends));
        order.then((self.account, self.bucket).cmp(&(other.account, other.bucket)))
    }
}

/// All buckets of a book on a path.
pub(crate) struct Exchange<'a> {
    pub(crate) blocks: &'a [Block],
    pub(crate) rules: &'a Rules,
    pub(crate) sweep: &'a Sweep,
    pub(crate) path: &'a Path,
    pub(crate) threads: usize,
}

impl Exchange<'_> {
    /// Runs `work` on neighbouring blocks.
    pub(crate) fn map<R: Send>(&self, work: impl Fn(&[Block]) -> R + Sync) -> Vec<R> {
        let runs = batch::ranges(self.blocks.len(), 8 * self.threads);
        batch::map(self.threads, runs, |run| work(&self.blocks[run]))
    }

    /// The block of an account.
    pub(crate) fn block_of(&self, account: u32) -> &Block {
        let after = |block: &Block| block.first_account <= account as usize;
        &self.blocks[self.blocks.partition_point(after) - 1]
    }

    /// Where equity of a bucket falls below 0 and rises above it again.
    pub(crate) fn debts(&self) -> Vec<Edge> {
        self.edges(|bucket, course, trail, spans| {
            trail.clear();
            let Trail { equity, betas, marks, .. } = trail;
            add_equity(equity, betas, bucket, course, marks);
            spans.stretch(Look::new(equity, betas), [0.0, self.path.end], false);
        })
    }

    /// Where a bucket is past its line and no longer so.
    pub(crate) fn breaches(&self) -> Vec<Edge> {
        let straight = Straight::new(&self.sweep.marks, self.rules);
        let conventions = &self.rules.conventions;
        let le = conventions.compare == Compare::Le;
        let always = conventions.zero_requirement == ZeroRequirement::Compare;
        let straight = straight.as_ref().filter(|_| always);
        let end = self.path.end;
        self.edges(|bucket, course, trail, spans| {
            if let Some(only) = straight.and_then(|s| s.first(bucket, course, end)) {
                return only.into_iter().for_each(|at| spans.turn(at));
            }
            if !trail.load(bucket, course, end) {
                return;
            }
            trail.walk(|part| {
                match part {
                    Part::Stretch { near, far, buffer, is_required } if always || is_required => {
                        spans.stretch(buffer, [near, far], le);
                    }
                    Part::Stretch { near, .. } if spans.is_in => spans.turn(near),
                    Part::Place { at, buffer, is_required }
                        if (always || is_required)
                            && !spans.is_in
                            && (buffer < 0.0 || (le && buffer == 0.0)) =>
                    {
                        spans.turn(at);
                    }
                    _ => {}
                }
                true
            });
        })
    }

    /// The edges of the spans that `find` finds in each bucket, in order.
    fn edges(
        &self,
        find: impl Fn(&Bucket<'_>, &Course, &mut Trail<'_>, &mut Spans<'_>) + Sync,
    ) -> Vec<Edge> {
        let Self { rules, sweep, path, .. } = self;
        let parts = self.map(|blocks| {
            let mut trail = Trail::new(&sweep.marks, rules);
            let mut courses = path.courses(&sweep.marks, rules);
            let mut edges = Vec::new();
            for block in blocks {
                let rows = block.rows();
                for account in 0..block.accounts() {
                    let number = block.first_account + account;
                    if sweep.indeterminate[number] {
                        continue;
                    }
                    for bucket in block.buckets_of(account) {
                        let whose = (number as u32, bucket as u32);
                        let bucket = rows.bucket(bucket);
                        let course = courses.of(&bucket, number as u32);
                        let mut spans = Spans::new(whose, &mut edges);
                        find(&bucket, course, &mut trail, &mut spans);
                    }
                }
            }
            edges
        });
        let mut edges = parts.concat();
        edges.sort_unstable_by(Edge::order);
        edges
    }
}

/// The spans of one bucket.
struct Spans<'a> {
    account: u32,
    bucket: u32,
    edges: &'a mut Vec<Edge>,
    /// Whether one is in a span.
    is_in: bool,
    /// How far beyond 0 one must be: what was crossed is not crossed back by rounding.
    apart: f64,
}

impl<'a> Spans<'a> {
    fn new((account, bucket): (u32, u32), edges: &'a mut Vec<Edge>) -> Self {
        Self { account, bucket, edges, is_in: false, apart: 0.0 }
    }

    /// Begins or ends a span.
    fn turn(&mut self, at: f64) {
        let (account, bucket) = (self.account, self.bucket);
        self.edges.push(Edge { at, ends: self.is_in, account, bucket });
        self.is_in = !self.is_in;
    }

    /// Begins and ends spans wherever a form crosses 0; with `touches`, 0 is in a span.
    fn stretch(&mut self, look: Look<'_>, [mut near, far]: [f64; 2], touches: bool) {
        while near <= far {
            let crossed = match self.is_in {
                true => look.below(self.apart).falls(near, far, false),
                false => look.above(-self.apart).falls(near, far, touches),
            };
            let Some(at) = crossed else { return };
            self.turn(at);
            self.apart = look.blur(at);
            near = at.next_up();
        }
    }
}
