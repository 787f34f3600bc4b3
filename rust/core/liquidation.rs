//! Liquidation and bankruptcy prices: the mark of one instrument, all else held, at which its
//! bucket reaches the trigger, or is worth nothing.
//!
//! Everything is linear in the value `v` of one contract (`m P`, or `m / P` for inverse)
//! between corners: tier floors, and the point where profit turns into loss. So the walk
//! goes from corner to corner, away from the mark, and solves the piece in which the margin
//! balance meets the line. Both directions are walked; the nearer price by ratio is kept.

use crate::block::Bucket;
use crate::margin::{Margin, Side, holding};
use crate::marks::{Mark, Marks};
use crate::rules::{Compare, Rules, ZeroRequirement};
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
    let mut row = rows.start;
    let (mut quantity, mut gross, mut cost) = (0.0, 0.0, 0.0);
    while row < rows.end {
        let end = bucket.side_end(row, rows.end);
        let side = Side::sum(bucket, row..end, marks.tiers(mark, bucket.table_of(row)));
        quantity += side.quantity;
        gross += side.gross;
        for row in row..end {
            cost += mark.cost(bucket.cost[row], bucket.inverse_cost[row]);
        }
        scratch.sides.push(side);
        row = end;
    }
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
            (Some(up), Some(down)) if up / here < here / down => Some(up),
            (up, None) => up,
            (_, down) => down,
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
    fn reach(&self, piece: &Piece, near: f64, far: f64, inside: f64) -> Option<f64> {
        let required = piece.required_constant + piece.required_slope * inside;
        if !self.is_required(required) {
            return None;
        }
        let is_past = |distance: f64| match self.rules.conventions.compare {
            Compare::Lt => distance < 0.0,
            Compare::Le => distance <= 0.0,
        };
        if is_past(piece.constant + piece.slope * near) {
            return Some(near);
        }
        let reached = if far == 0.0 {
            piece.constant < 0.0
        } else if far.is_finite() {
            is_past(piece.constant + piece.slope * far)
        } else {
            piece.slope < 0.0
        };
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
