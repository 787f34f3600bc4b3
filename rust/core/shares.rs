//! What rows share, worked out once for each merged row, in book order.
//!
//! `Shares` is what a ruleset asks of a sweep's instruments; a `Sharer` goes through blocks.

use std::ops::Range;

use crate::block::{Block, Bucket};
use crate::conventions::{Netting, OpenOrders};
use crate::liquidation::{Scratch, prices};
use crate::margin::{Joined, Margin, margin_of};
use crate::marks::Marks;
use crate::plain::Plain;
use crate::plain_shares::PlainShares;
use crate::rules::Rules;
use crate::shared::{Shared, Size};
use crate::single::Steepest;
use crate::sizes::Requirement;

/// Marks and rules, with the short ways that they allow.
pub(crate) struct Shares<'a> {
    marks: &'a Marks,
    rules: &'a Rules,
    indeterminate: &'a [bool],
    steepest: Steepest,
    plain: Option<Plain>,
    plain_shares: Option<PlainShares<'a>>,
}

impl<'a> Shares<'a> {
    /// Under these marks and rules; nothing is known of accounts that are indeterminate.
    pub(crate) fn new(marks: &'a Marks, rules: &'a Rules, indeterminate: &'a [bool]) -> Self {
        let steepest = Steepest::new(marks, rules);
        let plain_shares = PlainShares::new(marks, rules, &steepest);
        let plain = Plain::new(marks, rules);
        Self { marks, rules, indeterminate, steepest, plain, plain_shares }
    }

    /// Somebody to go through blocks.
    pub(crate) fn sharer(&self) -> Sharer<'_> {
        let (joined, scratch) = (Joined::default(), Scratch::new(&self.steepest));
        Sharer { shares: self, joined, scratch }
    }
}

/// Works out what the rows of blocks share, keeping its scratch from one to the next.
pub(crate) struct Sharer<'a> {
    shares: &'a Shares<'a>,
    joined: Joined,
    scratch: Scratch<'a>,
}

impl Sharer<'_> {
    /// Writes what the rows of each merged row of a block share.
    #[inline(always)]
    pub(crate) fn block(&mut self, block: &Block, shared: &mut [Shared]) {
        let rows = block.rows();
        for account in 0..block.accounts() {
            for number in rows.buckets_of(account) {
                let its = rows.span(number).rows;
                if its.is_empty() {
                    continue;
                }
                let its = &mut shared[its];
                if self.shares.indeterminate[block.first_account + account] {
                    its.fill(Shared::NOTHING);
                } else {
                    self.bucket(&rows.bucket(number), (block.first_bucket + number) as u32, its);
                }
            }
        }
    }

    #[inline(always)]
    fn bucket(&mut self, bucket: &Bucket<'_>, number: u32, shared: &mut [Shared]) {
        let Shares { marks, rules, plain, plain_shares, .. } = self.shares;
        let margin = margin_of(bucket, plain.as_ref(), marks, rules, &mut self.joined);
        let mut row = 0;
        while row < shared.len() {
            let end = bucket.instrument_end(row);
            let plain =
                plain_shares.as_ref().and_then(|p| p.share(bucket, number, row..end, &margin));
            match plain {
                Some(one) => shared[row..end].fill(one),
                None => self.instrument(bucket, row..end, number, &margin, &mut shared[row..end]),
            }
            row = end;
        }
    }

    /// Writes what the rows of one instrument of a bucket share.
    fn instrument(
        &mut self,
        bucket: &Bucket<'_>,
        rows: Range<usize>,
        number: u32,
        margin: &Margin,
        shared: &mut [Shared],
    ) {
        let Self { shares, joined, scratch } = self;
        let Shares { marks, rules, .. } = shares;
        let mark = &marks.instruments[bucket.instrument[rows.start] as usize];
        let prices = prices(bucket, rows.clone(), margin, joined, marks, rules, scratch);
        let apart = rules.conventions.netting != Netting::Net;
        for (row, shared) in rows.zip(shared) {
            let tiers = marks.tiers(mark, bucket.table_of(row));
            let is_short = bucket.quantity[row] < 0.0;
            // Of two sides of one table, the first is the long one.
            let of_table = scratch.requirements().iter().filter(|r| r.side.tiers == tiers);
            let mut sides = of_table.filter(|r| !apart || (r.side.quantity < 0.0) == is_short);
            let found = sides.next().expect("each row has a size");
            let size = size(found, mark.settle_price, rules.conventions.open_orders);
            *shared = Shared::new(number, &size, &prices);
        }
    }
}

/// A side and what it must hold, with what shares it.
fn size(required: &Requirement, settle_price: f64, open_orders: OpenOrders) -> Size {
    let side = &required.side;
    let with_orders = side.gross + side.orders[0] + side.orders[1];
    let share_of = |sees_orders| if sees_orders { with_orders } else { side.gross };
    Size {
        tier: required.tier,
        maintenance: required.maintenance * settle_price,
        kept: share_of(open_orders == OpenOrders::Both),
        initial: required.initial * settle_price,
        opened: share_of(open_orders != OpenOrders::None),
    }
}
