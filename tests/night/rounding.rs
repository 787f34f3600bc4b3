//! How far rounding reaches in the money of a bucket.

use margrave_core::block::Bucket;
use margrave_core::conventions::{CloseFee, OpenOrders, PriceBasis};
use margrave_core::marks::{Mark, Marks};
use margrave_core::rules::Rules;

use crate::draws::Numbers;
use crate::swept::Swept;

/// Rounding reaches this share of `scale` at most; nowhere in dyadic nights.
pub(crate) fn rounding(numbers: Numbers) -> f64 {
    if numbers == Numbers::Dyadic { 0.0 } else { 1e-13 }
}

/// Everything that enters a bucket's money, without signs: rounding is a small share of it.
///
/// A fee at the bankruptcy price is a share of all that the bucket is worth, for each net
/// contract that the price is worked out for: where little is net, rounding there reaches far.
pub(crate) fn scale(bucket: &Bucket<'_>, marks: &Marks, rules: &Rules) -> f64 {
    let debt = |mark: u32| rules.weights.table(mark).liability_weight;
    let mut heaviest: f64 = 1.0;
    let mut worth = 0.0;
    for (asset, amount) in bucket.asset.iter().zip(bucket.amount) {
        let mark = &marks.assets[*asset as usize];
        heaviest = heaviest.max(debt(mark.weights));
        worth += amount.abs() * mark.price;
    }
    let mark = |row: usize| &marks.instruments[bucket.instrument[row] as usize];
    for row in 0..bucket.instrument.len() {
        worth += row_scale(bucket, row, mark(row), rules);
    }
    if let Some(posted) = bucket.isolated_margin {
        worth += posted.abs() * mark(0).settle_price;
    }
    let mut fees = 0.0;
    let mut row = 0;
    while row < bucket.instrument.len() {
        let end = bucket.instrument_end(row);
        fees += fee_scale(bucket, row..end, mark(row), rules, worth);
        row = end;
    }
    (worth * (1.0 + heaviest) + fees) * (1.0 + rules.conventions.level)
}

/// How far rounding reaches in every bucket, in nights of any numbers.
pub(crate) fn slacks(swept: &Swept) -> Vec<f64> {
    let of_bucket = |bucket: &u32| {
        rounding(Numbers::Ugly) * scale(&swept.bucket(*bucket), &swept.sweep.marks, &swept.rules)
    };
    swept.buckets.bucket.iter().map(of_bucket).collect()
}

/// Contracts of a row that a requirement may see.
fn contracts(bucket: &Bucket<'_>, row: usize, rules: &Rules) -> f64 {
    let [buy, sell] = bucket.orders_of(row);
    let sees_orders = rules.conventions.open_orders != OpenOrders::None;
    bucket.quantity[row].abs() + if sees_orders { buy + sell } else { 0.0 }
}

/// What a row is worth and cost, and what it is margined as.
fn row_scale(bucket: &Bucket<'_>, row: usize, mark: &Mark, rules: &Rules) -> f64 {
    let quantity = bucket.quantity[row].abs();
    let cost = mark.cost(bucket.cost[row], bucket.inverse_cost[row]).abs();
    let of_entry = rules.conventions.price_basis == PriceBasis::Entry && quantity > 0.0;
    let entry = if of_entry { cost / quantity } else { 0.0 };
    let held = contracts(bucket, row, rules) * (mark.value + entry);
    (held + cost + mark.option_value(quantity)) * mark.settle_price
}

/// The fees of the rows of one instrument.
fn fee_scale(
    bucket: &Bucket<'_>,
    rows: std::ops::Range<usize>,
    mark: &Mark,
    rules: &Rules,
    worth: f64,
) -> f64 {
    let size: f64 = rows.clone().map(|row| contracts(bucket, row, rules)).sum();
    let net = rows.map(|row| bucket.quantity[row]).sum::<f64>().abs();
    let value = match rules.conventions.close_fee {
        CloseFee::None => 0.0,
        CloseFee::Bankruptcy if net > 0.0 && !mark.kind.is_option() => worth / net,
        CloseFee::Mark | CloseFee::Bankruptcy => mark.value * mark.settle_price,
    };
    size * value * mark.close_fee_rate
}
