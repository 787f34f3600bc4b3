//! Liquidation and bankruptcy prices: the mark of one instrument, all else held, at which its
//! bucket reaches the trigger, or is worth nothing.
//!
//! Everything is a straight line in the value of one contract between corners (`curve`). So the
//! walk goes from corner to corner, away from the mark, and solves the piece in which the margin
//! balance meets the line. Both directions are walked; the nearer price by ratio is kept.

use std::ops::Range;

use crate::bankruptcy::BankruptcyValue;
use crate::block::Bucket;
use crate::curve::{Curve, Joins, Leg, Place};
use crate::margin::{Joined, Margin};
use crate::market::Kind;
use crate::marks::{Mark, Marks};
use crate::piece::{inside, is_required};
use crate::rules::Rules;
use crate::single::{Single, Steepest};
use crate::sizes::{Fee, Requirement, net, requirements, worth};

/// Where the trigger is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Liquidation {
    /// At this mark.
    Root(f64),
    /// At no positive price.
    None,
    /// It holds already.
    Breached,
}

/// Prices of one instrument of a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// The mark at which the trigger is reached.
    pub liquidation: Liquidation,
    /// The mark at which the bucket's equity is 0.
    pub bankruptcy: Option<f64>,
}

/// Reusable room for `prices`.
pub struct Scratch<'a> {
    steepest: &'a Steepest,
    requirements: Vec<Requirement>,
    legs: Vec<Leg>,
    place: Place,
}

impl<'a> Scratch<'a> {
    /// Room for prices of a book whose tables are as steep as this.
    pub fn new(steepest: &'a Steepest) -> Self {
        Self { steepest, requirements: Vec::new(), legs: Vec::new(), place: Place::default() }
    }

    /// The sizes of the instrument that `prices` looked at last, and what they require.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

/// Returns the prices of the instrument that `rows` of `bucket` hold.
///
/// `margin` is the bucket's, `joined` as `bucket_margin` left it. At the liquidation price the
/// margin balance equals `level * maintenance_margin`, so under `lt` the flag comes just past
/// it; where a slab's step jumps the line, it is the price of the step.
///
/// # Example
///
/// Long 1 at 100 with 20 in cash and a flat 5 %: `20 + P - 100 = 0.05 P` at `P = 80 / 0.95`.
pub fn prices(
    bucket: &Bucket<'_>,
    rows: Range<usize>,
    margin: &Margin,
    joined: &Joined,
    marks: &Marks,
    rules: &Rules,
    scratch: &mut Scratch<'_>,
) -> Prices {
    let Scratch { steepest, requirements: sizes, legs, place } = scratch;
    let mark = &marks.instruments[bucket.instrument[rows.start] as usize];
    let net = net(bucket, rows.clone(), mark);
    let (profit, option_value) = worth(bucket, rows.clone(), mark);
    let rest_equity = margin.equity - (profit + option_value) * mark.settle_price;
    let fee = Fee::new(mark, || net, rest_equity, rules);
    sizes.clear();
    requirements(bucket, rows.clone(), marks, rules, fee, |required| sizes.push(required));
    let bankruptcy = BankruptcyValue::new(mark, net, rest_equity);
    let bankruptcy = bankruptcy.and_then(|at| mark.price_at(at.value()));
    let priced = |liquidation| Prices { liquidation, bankruptcy };
    if margin.is_liquidatable {
        return priced(Liquidation::Breached);
    }
    if net.gross == 0.0 || mark.kind.is_option() {
        return priced(Liquidation::None);
    }
    legs.clear();
    legs.extend(sizes.iter().map(|size| Leg::new(&size.side, mark, rules, fee)));
    let counted = rules.conventions.counted(profit * mark.settle_price);
    let joins = bucket.home.get(rows.start).map(|home| {
        let home = *home as usize;
        let asset = &marks.assets[bucket.asset[home] as usize];
        let value = bucket.amount[home] * asset.price + joined.profits()[home];
        Joins { weights: rules.weights.table(asset.weights), rest: value - counted, value }
    });
    let (own_balance, borrow) = joins.map_or((counted, 0.0), |joins| {
        let stretch = joins.weights.stretch(joins.weights.stretch_at(joins.value));
        let borrow = -joins.value * stretch.borrow_rate;
        (stretch.constant + stretch.slope * joins.value, borrow)
    });
    let own: f64 = sizes.iter().map(|size| size.maintenance).sum();
    let curve = Curve {
        mark,
        rules,
        legs,
        net,
        rest_balance: margin.margin_balance - own_balance,
        rest_maintenance: margin.maintenance_margin - own * mark.settle_price - borrow,
        joins,
    };
    if margin.margin_buffer == 0.0 && is_required(margin.maintenance_margin, &rules.conventions) {
        return priced(Liquidation::Root(mark.price));
    }
    let (up, down) = match Single::of(&curve) {
        Some(single) => {
            let instrument = bucket.instrument[rows.start];
            single.reached(single.tier(), steepest.rate(instrument, bucket.table_of(rows.start)))
        }
        None => Walk { curve: &curve }.reached(place),
    };
    priced(nearest(mark, up, down))
}

/// A walk along a curve, away from the mark.
pub(crate) struct Walk<'a> {
    pub(crate) curve: &'a Curve<'a>,
}

impl Walk<'_> {
    /// The values above and below the mark at which the trigger is first reached.
    pub(crate) fn reached(&self, place: &mut Place) -> (Option<f64>, Option<f64>) {
        (self.first(place, true), self.first(place, false))
    }

    /// The first value above or below the mark at which the trigger is reached.
    fn first(&self, place: &mut Place, up: bool) -> Option<f64> {
        let mut near = self.curve.mark.value;
        self.curve.start(place, up);
        loop {
            let far = self.curve.next_corner(place, near, up);
            let piece = self.curve.piece(place, inside(near, far));
            let reached = piece.reach(near, far, up, &self.curve.rules.conventions);
            if reached.is_some() || far == 0.0 || far == f64::INFINITY {
                return reached;
            }
            self.curve.pass(place, far, up);
            near = far;
        }
    }
}

/// The nearer of two values at which the trigger is reached, above and below the mark, as a price.
#[inline(always)]
pub(crate) fn nearest(mark: &Mark, up: Option<f64>, down: Option<f64>) -> Liquidation {
    let here = mark.value;
    let value = match (up, down) {
        (Some(up), Some(down)) => {
            let (rise, fall) = (up / here, here / down);
            // If equal, the lower price.
            let is_up = rise < fall || (rise == fall && mark.kind == Kind::Inverse);
            Some(if is_up { up } else { down })
        }
        (up, down) => up.or(down),
    };
    let price =
        value.and_then(|value| if value == here { Some(mark.price) } else { mark.price_at(value) });
    price.map_or(Liquidation::None, Liquidation::Root)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bankruptcy::Net;
    use crate::conventions::{Compare, Conventions, TierEdge, TierMode, ZeroRequirement};
    use crate::keys::NONE;
    use crate::sizes::Side;
    use crate::tiers::TierRow;

    /// An instrument whose contract has this value, fee 1/1024.
    pub(crate) fn mark(value: f64, inverse: bool) -> Mark {
        let size = if inverse { 100.0 * value } else { 1.0 };
        Mark {
            value,
            contract_size: size,
            multiplier: size,
            direction: if inverse { -1.0 } else { 1.0 },
            settle_price: 1.0,
            price: if inverse { 100.0 } else { value },
            close_fee_rate: 1.0 / 1024.0,
            kind: if inverse { Kind::Inverse } else { Kind::Linear },
            is_priced: true,
            tiers: 0,
            settle: 0,
            settle_weights: NONE,
        }
    }

    /// A contract, bought at `entry`.
    pub(crate) fn long(entry: f64) -> Side {
        Side {
            quantity: 1.0,
            orders: [0.0; 2],
            leverage: f64::INFINITY,
            gross: 1.0,
            entry,
            tiers: 0,
        }
    }

    /// Where a bucket with 1 contract long (of value 100, from `entry`) and `cash` ends, under
    /// tiers of floor and rate. An inverse contract is short, so that it moves alike.
    fn reached(
        entry: f64,
        cash: f64,
        tiers: &[(f64, f64)],
        conventions: Conventions,
        inverse: bool,
    ) -> Liquidation {
        reached_from(100.0, entry, cash, tiers, conventions, inverse)
    }

    fn reached_from(
        value: f64,
        entry: f64,
        cash: f64,
        tiers: &[(f64, f64)],
        conventions: Conventions,
        inverse: bool,
    ) -> Liquidation {
        let tier = |(floor, rate): &(f64, f64)| TierRow {
            table: "T".to_owned(),
            floor: *floor,
            maintenance_rate: *rate,
            initial_rate: *rate,
            deduction: None,
        };
        let tiers: Vec<TierRow> = tiers.iter().map(tier).collect();
        let rules = Rules::try_new(conventions, &tiers, &[]).unwrap();
        let mark = mark(value, inverse);
        let net = Net { quantity: mark.direction, gross: 1.0, cost: mark.direction * entry };
        let side = Side { quantity: mark.direction, ..long(entry) };
        let fee = Fee::new(&mark, || net, 0.0, &rules);
        let curve = Curve {
            mark: &mark,
            rules: &rules,
            legs: &[Leg::new(&side, &mark, &rules, fee)],
            net,
            rest_balance: cash,
            rest_maintenance: 0.0,
            joins: None,
        };
        let (up, down) = Walk { curve: &curve }.reached(&mut Place::default());
        nearest(&mark, up, down)
    }

    #[test]
    fn a_step_that_jumps_the_line_is_the_price() {
        // 30 + P - 100 >= 0.05 P until, from 80 down, 0.2 P is required: 10 < 16.
        let slab = |edge| Conventions {
            tier_mode: TierMode::Slab,
            tier_edge: edge,
            ..Conventions::default()
        };
        for edge in [TierEdge::Upper, TierEdge::Lower] {
            let tiers = [(0.0, 0.2), (80.0, 0.05)];
            assert_eq!(reached(100.0, 30.0, &tiers, slab(edge), false), Liquidation::Root(80.0));
        }
    }

    #[test]
    fn a_touch_at_a_step_counts_where_the_corner_belongs() {
        // 25 + P - 100 is 5 at 80. The tier above requires 0.0625 P = 5 there: a touch, which
        // only a corner of its own has; below it nothing is required, until P = 75.
        let slab = |edge| Conventions {
            tier_mode: TierMode::Slab,
            tier_edge: edge,
            compare: Compare::Le,
            ..Conventions::default()
        };
        let tiers = [(0.0, 0.0), (80.0, 0.0625)];
        let upper = reached(100.0, 25.0, &tiers, slab(TierEdge::Upper), false);
        assert_eq!(upper, Liquidation::Root(80.0));
        let lower = reached(100.0, 25.0, &tiers, slab(TierEdge::Lower), false);
        assert_eq!(lower, Liquidation::Root(75.0));
    }

    #[test]
    fn a_touch_where_nothing_is_required_reaches_nothing() {
        // 20 + P - 100 is 0 at 80, where the requirement 0.1 * (P - 80) begins.
        let tiers = [(0.0, 0.0), (80.0, 0.1)];
        let le = Conventions { compare: Compare::Le, ..Conventions::default() };
        let never = Conventions { zero_requirement: ZeroRequirement::Never, ..le.clone() };
        assert_eq!(reached(100.0, 20.0, &tiers, le, false), Liquidation::Root(80.0));
        assert_eq!(reached(100.0, 20.0, &tiers, never, false), Liquidation::None);
    }

    #[test]
    fn of_two_equally_near_prices_the_lower_is_given() {
        // No profit counts: 50 = 0.25 P at 200, and 50 + P - 87.5 = 0.25 P at 50.
        let lossy = Conventions { profit_weight: 0.0, ..Conventions::default() };
        for inverse in [false, true] {
            let found = reached(87.5, 50.0, &[(0.0, 0.25)], lossy.clone(), inverse);
            assert_eq!(found, Liquidation::Root(50.0));
        }
    }

    #[test]
    fn a_touch_at_no_price_leaves_one_however_far_away() {
        // The buffer is P up to 1e17, where 0.5 of what is above is required four times over:
        // it is 0 at a price of 0, and at 2e17.
        let le = Conventions { compare: Compare::Le, level: 4.0, ..Conventions::default() };
        let tiers = [(0.0, 0.0), (1e17, 0.5)];
        let found = reached_from(1e-300, 1.0, 1.0, &tiers, le, false);
        assert_eq!(found, Liquidation::Root(2e17));
    }
}
