//! Liquidation and bankruptcy prices: the mark of one instrument, all else held, at which its
//! bucket reaches the trigger, or is worth nothing.
//!
//! Everything is linear in the value `v` of one contract (`m P`, or `m / P` for inverse)
//! between corners: tier floors, and the point where profit turns into loss. So the walk
//! goes from corner to corner, away from the mark, and solves the piece in which the margin
//! balance meets the line. Both directions are walked; the nearer price by ratio is kept.

use crate::block::Bucket;
use crate::margin::Margin;
use crate::marks::{Mark, Marks};
use crate::rules::{Compare, Rules, ZeroRequirement};
use crate::sizes::{Side, holding, sides};
use crate::tiers::Tier;

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

/// A net quantity of at most this share of the gross one counts as none.
const NEGLIGIBLE: f64 = 1e-12;

/// One tier table's size of the instrument.
struct Leg<'a> {
    size: f64,
    tiers: &'a [Tier],
}

impl Leg<'_> {
    /// The value at which tier `index` begins; +inf past the last.
    fn corner(&self, index: usize) -> f64 {
        self.tiers.get(index).map_or(f64::INFINITY, |tier| tier.floor / self.size)
    }
}

/// Reusable room for `prices`.
#[derive(Default)]
pub struct Scratch {
    sides: Vec<Side>,
    at: Vec<usize>,
}

impl Scratch {
    /// The sizes of the instrument that `prices` looked at last, one for each tier table.
    pub fn sides(&self) -> &[Side] {
        &self.sides
    }
}

/// Returns the prices of the instrument that `rows` of `bucket` hold.
///
/// `margin` is the bucket's. At the liquidation price the margin balance equals
/// `level * maintenance_margin`, so under `lt` the flag comes just past it.
///
/// # Example
///
/// Long 1 at 100 with 20 in cash and a flat 5 %: `20 + P - 100 = 0.05 P` at `P = 80 / 0.95`.
pub fn prices(
    bucket: &Bucket<'_>,
    rows: std::ops::Range<usize>,
    margin: &Margin,
    marks: &Marks,
    rules: &Rules,
    scratch: &mut Scratch,
) -> Prices {
    let mark = &marks.instruments[bucket.instrument[rows.start] as usize];
    let held = holding(bucket, rows.clone(), marks, rules);
    scratch.sides.clear();
    scratch.sides.extend(sides(bucket, rows.clone(), marks));
    let quantity: f64 = scratch.sides.iter().map(|side| side.quantity).sum();
    let gross: f64 = scratch.sides.iter().map(|side| side.gross).sum();
    let cost: f64 = rows.map(|row| mark.cost(bucket.cost[row], bucket.inverse_cost[row])).sum();
    let profit = held.profit * mark.settle_price;
    let curve = Curve {
        mark,
        rules,
        quantity,
        cost,
        rest_balance: margin.margin_balance - rules.conventions.counted(profit),
        rest_maintenance: margin.maintenance_margin - held.maintenance * mark.settle_price,
    };
    let liquidation = if margin.is_liquidatable {
        Liquidation::Breached
    } else if gross == 0.0 {
        Liquidation::None
    } else if margin.margin_buffer == 0.0
        && curve.is_required(margin.maintenance_margin)
        && rules.conventions.compare == Compare::Lt
    {
        Liquidation::Root(mark.price)
    } else {
        curve.nearest(scratch)
    };
    let rest_equity = margin.equity - profit;
    Prices { liquidation, bankruptcy: curve.bankruptcy(gross, rest_equity) }
}

/// How a bucket's margin moves with the value of one contract of one instrument.
struct Curve<'a> {
    mark: &'a Mark,
    rules: &'a Rules,
    /// Net contracts, and what they cost in contract value.
    quantity: f64,
    cost: f64,
    /// Margin balance and maintenance margin of everything else, valuation asset.
    rest_balance: f64,
    rest_maintenance: f64,
}

/// Distance to the line, and what is required, as straight lines in the contract's value.
struct Piece {
    constant: f64,
    slope: f64,
    required_constant: f64,
    required_slope: f64,
}

impl Curve<'_> {
    fn is_required(&self, maintenance: f64) -> bool {
        maintenance > 0.0 || self.rules.conventions.zero_requirement == ZeroRequirement::Compare
    }

    /// The nearer of the two values at which the trigger is reached, as a price.
    fn nearest(&self, scratch: &mut Scratch) -> Liquidation {
        let Scratch { sides, at } = scratch;
        let legs = || {
            sides.iter().map(|side| Leg {
                size: side.quantity.abs(),
                tiers: self.rules.tiers.table(side.tiers),
            })
        };
        let up = self.walk_up(legs, at);
        let down = self.walk_down(legs, at);
        let here = self.mark.value;
        let value = match (up, down) {
            (Some(up), Some(down)) => {
                let (rise, fall) = (up / here, here / down);
                // If equal, the lower price.
                let is_up = rise < fall || (rise == fall && self.mark.inverse);
                Some(if is_up { up } else { down })
            }
            (up, down) => up.or(down),
        };
        match value.and_then(|value| self.price(value)) {
            Some(price) => Liquidation::Root(price),
            None => Liquidation::None,
        }
    }

    /// The first value above the mark at which the trigger is reached.
    fn walk_up<'t, I: Iterator<Item = Leg<'t>>>(
        &self,
        legs: impl Fn() -> I,
        at: &mut Vec<usize>,
    ) -> Option<f64> {
        let turn = self.turn();
        let mut near = self.mark.value;
        at.clear();
        at.extend(
            legs().map(|leg| (1..leg.tiers.len()).take_while(|i| leg.corner(*i) <= near).count()),
        );
        loop {
            let beyond = legs().zip(at.iter()).map(|(leg, tier)| leg.corner(tier + 1));
            let far = beyond.fold(if turn > near { turn } else { f64::INFINITY }, f64::min);
            let piece = self.piece(legs(), at, near >= turn);
            let inside = if far.is_finite() { near + (far - near) / 2.0 } else { 2.0 * near };
            if let Some(value) = self.reach(&piece, near, far, inside) {
                return Some(value);
            }
            if far == f64::INFINITY {
                return None;
            }
            near = far;
            for (leg, tier) in legs().zip(at.iter_mut()) {
                while leg.corner(*tier + 1) <= near {
                    *tier += 1;
                }
            }
        }
    }

    /// The first value below the mark at which the trigger is reached.
    fn walk_down<'t, I: Iterator<Item = Leg<'t>>>(
        &self,
        legs: impl Fn() -> I,
        at: &mut Vec<usize>,
    ) -> Option<f64> {
        let turn = self.turn();
        let mut near = self.mark.value;
        at.clear();
        at.extend(
            legs().map(|leg| (1..leg.tiers.len()).take_while(|i| leg.corner(*i) < near).count()),
        );
        loop {
            let below = legs().zip(at.iter()).map(|(leg, tier)| leg.corner(*tier));
            let far = below.fold(if turn < near { turn } else { 0.0 }, f64::max);
            let piece = self.piece(legs(), at, near > turn);
            if let Some(value) = self.reach(&piece, near, far, far + (near - far) / 2.0) {
                return Some(value);
            }
            if far == 0.0 {
                return None;
            }
            near = far;
            for (leg, tier) in legs().zip(at.iter_mut()) {
                while *tier > 0 && leg.corner(*tier) >= near {
                    *tier -= 1;
                }
            }
        }
    }

    /// The value at which profit turns into loss; 0 where it never does or it changes nothing.
    fn turn(&self) -> f64 {
        let turn = self.cost / self.quantity;
        let matters = self.rules.conventions.profit_weight != 1.0 && turn.is_finite();
        if matters && turn > 0.0 { turn } else { 0.0 }
    }

    /// The lines of the piece in which each leg is in tier `at`.
    fn piece<'t>(
        &self,
        legs: impl Iterator<Item = Leg<'t>>,
        at: &[usize],
        is_above_turn: bool,
    ) -> Piece {
        let scale = self.mark.settle_price;
        let slope = self.mark.direction * self.quantity;
        let constant = -self.mark.direction * self.cost;
        let gains = if self.turn() > 0.0 {
            is_above_turn == (slope > 0.0)
        } else {
            slope > 0.0 || (slope == 0.0 && constant > 0.0)
        };
        let weight = if gains { self.rules.conventions.profit_weight } else { 1.0 };
        let (mut rate, mut deduction) = (0.0, 0.0);
        for (leg, tier) in legs.zip(at) {
            rate += leg.size * leg.tiers[*tier].maintenance.rate;
            deduction += leg.tiers[*tier].maintenance.deduction;
        }
        let level = self.rules.conventions.level;
        let required_constant = self.rest_maintenance - scale * deduction;
        let required_slope = scale * rate;
        Piece {
            constant: self.rest_balance + scale * weight * constant - level * required_constant,
            slope: scale * weight * slope - level * required_slope,
            required_constant,
            required_slope,
        }
    }

    /// The first value from `near` to `far` at which the trigger is reached.
    ///
    /// Inside a piece something is required everywhere or nowhere; at its ends nothing may be
    /// required although inside something is, so a buffer that only touches the line there
    /// has not reached the trigger.
    fn reach(&self, piece: &Piece, near: f64, far: f64, inside: f64) -> Option<f64> {
        let required = |value: f64| piece.required_constant + piece.required_slope * value;
        if !self.is_required(required(inside)) {
            return None;
        }
        let here = piece.constant + piece.slope * near;
        let there = if far.is_finite() {
            piece.constant + piece.slope * far
        } else if piece.slope == 0.0 {
            here
        } else {
            piece.slope * f64::INFINITY
        };
        let le = self.rules.conventions.compare == Compare::Le;
        if here < 0.0 || (le && here == 0.0 && there <= 0.0) {
            return Some(near);
        }
        let is_price = far > 0.0 && far.is_finite();
        let touches = le && there == 0.0 && is_price && self.is_required(required(far));
        let reached = there < 0.0 || touches;
        let root = -piece.constant / piece.slope;
        (reached && root.is_finite()).then(|| root.clamp(near.min(far), near.max(far)))
    }

    /// The price at which one contract has this value; None where it is no positive number.
    fn price(&self, value: f64) -> Option<f64> {
        let price = if value == self.mark.value {
            self.mark.price
        } else if self.mark.inverse {
            self.mark.contract_size / value
        } else {
            value / self.mark.contract_size
        };
        (price > 0.0 && price.is_finite()).then_some(price)
    }

    /// The price at which the bucket is worth nothing, everything else being worth `rest`.
    fn bankruptcy(&self, gross: f64, rest: f64) -> Option<f64> {
        if self.quantity.abs() <= NEGLIGIBLE * gross {
            return None;
        }
        let settle = rest / self.mark.settle_price;
        let value = (self.cost - self.mark.direction * settle) / self.quantity;
        if value > 0.0 { self.price(value) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::NONE;
    use crate::rules::Conventions;
    use crate::tiers::TierRow;

    /// Where a bucket with 1 contract long (of value 100, from `entry`) and `cash` ends, under
    /// tiers of floor and rate. An inverse contract is short, so that it moves alike.
    fn reached(
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
        let direction = if inverse { -1.0 } else { 1.0 };
        let mark = Mark {
            value: 100.0,
            contract_size: if inverse { 10_000.0 } else { 1.0 },
            direction,
            settle_price: 1.0,
            price: 100.0,
            inverse,
            is_priced: true,
            tiers: 0,
            settle_weights: NONE,
        };
        let (quantity, cost) = (direction, direction * entry);
        let curve = Curve {
            mark: &mark,
            rules: &rules,
            quantity,
            cost,
            rest_balance: cash,
            rest_maintenance: 0.0,
        };
        let side =
            Side { quantity, orders: [0.0; 2], leverage: f64::INFINITY, gross: 1.0, tiers: 0 };
        curve.nearest(&mut Scratch { sides: vec![side], at: Vec::new() })
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
}
