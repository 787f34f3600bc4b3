//! Margin of one bucket and of one account.
//!
//! `bucket_margin` is the kernel: what a bucket is worth, what it must hold, and whether it
//! is past the line. It has no error path and allocates nothing. It adds in stored order, so
//! the bits depend on the bucket alone.

use crate::block::{Bucket, Rows, Span};
use crate::collateral::Collateral;
pub use crate::conclusion::{Margin, STATUS, Status};
use crate::conclusion::{Positions, Sink, Sums};
use crate::conventions::CloseFee;
use crate::marks::Marks;
use crate::plain::Plain;
use crate::rules::Rules;
use crate::sizes::{holding, worth};

/// The profit that joins each balance of a bucket; kept from one bucket to the next.
#[derive(Default)]
pub struct Joined(Vec<f64>);

impl Joined {
    /// Counted profit by balance of the bucket that `bucket_margin` looked at last; empty where
    /// profit stands beside the balances.
    pub fn profits(&self) -> &[f64] {
        &self.0
    }
}

/// Returns what a bucket is worth and what it must hold.
///
/// Every code in the bucket must be priced and have its tables (`Marks::lacking`,
/// `Marks::check_tables`).
///
/// # Example
///
/// Long 2 at 100, now at 90, with 15 in cash and a flat 5 %: equity and margin balance are
/// `15 + 2 * (90 - 100) = -5`, the requirement is `2 * 90 * 0.05 = 9`, and `-5 < 9`: bankrupt.
/// Buckets like it, with every figure, are the files in `tests/cases`.
pub fn bucket_margin(
    bucket: &Bucket<'_>,
    marks: &Marks,
    rules: &Rules,
    joined: &mut Joined,
) -> Margin {
    bucket_sums(bucket, marks, rules, joined).conclude(&rules.conventions)
}

/// The sums that `bucket_margin` concludes.
fn bucket_sums(bucket: &Bucket<'_>, marks: &Marks, rules: &Rules, joined: &mut Joined) -> Sums {
    let joined = &mut joined.0;
    joined.clear();
    if !bucket.home.is_empty() {
        joined.resize(bucket.asset.len(), 0.0);
    }
    let equity = match rules.conventions.close_fee {
        CloseFee::Bankruptcy => bucket_equity(bucket, marks),
        CloseFee::None | CloseFee::Mark => 0.0,
    };
    let mut positions = Positions::default();
    let mut row = 0;
    while row < bucket.instrument.len() {
        let end = bucket.instrument_end(row);
        let settle_price = marks.instruments[bucket.instrument[row] as usize].settle_price;
        let held = holding(bucket, row..end, marks, rules, equity);
        let profit = held.profit * settle_price;
        positions.unrealized_pnl += profit;
        positions.option_value += held.option_value * settle_price;
        let counted = rules.conventions.counted(profit);
        match bucket.home.get(row) {
            Some(home) => joined[*home as usize] += counted,
            None => positions.counted += counted,
        }
        positions.gross_notional += held.gross_notional * settle_price;
        positions.net_notional += held.net_notional * settle_price;
        positions.two_sided_notional += held.two_sided_notional * settle_price;
        positions.maintenance += held.maintenance * settle_price;
        positions.initial += held.initial * settle_price;
        positions.open |= u64::from(held.is_open);
        row = end;
    }
    let mut collateral = Collateral::default();
    if let Some(posted) = bucket.isolated_margin {
        collateral.add_posted(posted, &marks.instruments[bucket.instrument[0] as usize], rules);
    }
    collateral.add_balances(bucket.asset, bucket.amount, joined, marks, rules);
    Sums { positions, collateral, rows: bucket.rows }
}

/// The same with the bits of `bucket_margin`, by the short way where `plain` has one.
#[inline(always)]
pub fn margin_of(
    bucket: &Bucket<'_>,
    plain: Option<&Plain>,
    marks: &Marks,
    rules: &Rules,
    joined: &mut Joined,
) -> Margin {
    let (rows, span) = bucket.alone();
    let mut sums = Sums::default();
    if !plain.is_some_and(|plain| plain_sums(&rows, &span, plain, marks, rules, &mut sums)) {
        sums = bucket_sums(bucket, marks, rules, joined);
    }
    sums.conclude(&rules.conventions)
}

/// Gives the sums of a bucket among `rows` to `sink`, by the short way where `plain` has one.
#[inline(always)]
pub(crate) fn sums_of(
    rows: &Rows<'_>,
    bucket: usize,
    plain: Option<&Plain>,
    marks: &Marks,
    rules: &Rules,
    joined: &mut Joined,
    sink: &mut impl Sink,
) {
    let span = rows.span(bucket);
    if !plain.is_some_and(|plain| plain_sums(rows, &span, plain, marks, rules, sink)) {
        general_sums(*rows, bucket, marks, rules, joined, sink);
    }
}

#[cold]
#[inline(never)]
fn general_sums(
    rows: Rows<'_>,
    bucket: usize,
    marks: &Marks,
    rules: &Rules,
    joined: &mut Joined,
    sink: &mut impl Sink,
) {
    let sums = bucket_sums(&rows.bucket(bucket), marks, rules, joined);
    sink.take_positions(&sums.positions, sums.rows);
    sink.take_collateral(&sums.collateral);
}

/// Gives the sums of a bucket to `sink` by the short way; false where a row says more than that
/// looks at.
#[inline(always)]
fn plain_sums(
    rows: &Rows<'_>,
    span: &Span,
    plain: &Plain,
    marks: &Marks,
    rules: &Rules,
    sink: &mut impl Sink,
) -> bool {
    let Some(positions) = plain.positions(rows, span.rows.clone(), rules) else {
        return false;
    };
    sink.take_positions(&positions, span.count);
    let short = match span.posted {
        None => plain.collateral(rows, span.cash.clone()),
        Some(posted) if span.cash.is_empty() => {
            plain.posted(rows.instrument[span.rows.start], posted)
        }
        Some(_) => None,
    };
    match short {
        Some(collateral) => sink.take_collateral(&collateral),
        None => general_collateral(*rows, span.clone(), marks, rules, sink),
    }
    true
}

#[cold]
#[inline(never)]
fn general_collateral(
    rows: Rows<'_>,
    span: Span,
    marks: &Marks,
    rules: &Rules,
    sink: &mut impl Sink,
) {
    sink.take_collateral(&Collateral::of(&rows, span, marks, rules));
}

/// What a bucket is worth, in the order and with the bits of `bucket_margin`.
fn bucket_equity(bucket: &Bucket<'_>, marks: &Marks) -> f64 {
    let (mut held, mut profits, mut option_values) = (0.0, 0.0, 0.0);
    if let Some(posted) = bucket.isolated_margin {
        held += posted * marks.instruments[bucket.instrument[0] as usize].settle_price;
    }
    for (asset, amount) in bucket.asset.iter().zip(bucket.amount) {
        held += amount * marks.assets[*asset as usize].price;
    }
    let mut row = 0;
    while row < bucket.instrument.len() {
        let end = bucket.instrument_end(row);
        let mark = &marks.instruments[bucket.instrument[row] as usize];
        let (profit, option_value) = worth(bucket, row..end, mark);
        profits += profit * mark.settle_price;
        option_values += option_value * mark.settle_price;
        row = end;
    }
    held + profits + option_values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_finite_where_each_figure_is() {
        let large = |figure| Margin {
            equity: -1e200,
            margin_balance: 1e200,
            collateral_value: 1e200,
            debt_value: 1e200,
            two_sided_notional: 1e200,
            initial_margin: figure,
            margin_buffer: -1e200,
            ..Margin::default()
        };
        assert!(large(1e200).is_finite());
        assert!(!large(f64::NAN).is_finite() && !large(f64::INFINITY).is_finite());
    }

    #[test]
    fn buckets_add_up_and_a_sum_that_overflows_is_seen() {
        let bucket = Margin { two_sided_notional: 1e308, positions: 2, ..Margin::default() };
        let mut account = bucket;
        account.add(&Margin { two_sided_notional: 7e307, ..bucket });
        assert_eq!((account.two_sided_notional, account.positions), (1.7e308, 4));
        assert!(account.is_finite());
        account.add(&bucket);
        assert!(!account.is_finite());
    }
}
