//! A piece: between two corners of a bucket's curve everything is a straight line in the value
//! of one contract. `Piece::reach` says where on it the trigger is reached.

use crate::conventions::{Compare, Conventions, TierEdge, ZeroRequirement};

/// A straight line in the contract's value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ray {
    /// Its value at 0.
    pub constant: f64,
    /// What it rises by.
    pub slope: f64,
}

impl Ray {
    /// Its value at `v`.
    #[inline(always)]
    pub fn at(self, v: f64) -> f64 {
        self.constant + self.slope * v
    }

    /// The sum of it and so many times another.
    #[inline(always)]
    pub fn plus(self, other: Self, times: f64) -> Self {
        Self {
            constant: self.constant + times * other.constant,
            slope: self.slope + times * other.slope,
        }
    }

    /// Where it is `height`; None where it is so nowhere or everywhere.
    #[inline(always)]
    pub fn root(self, height: f64) -> Option<f64> {
        let root = (height - self.constant) / self.slope;
        root.is_finite().then_some(root)
    }
}

/// Distance to the line, and what is required, between two corners.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// `margin_balance - level * maintenance_margin`.
    pub buffer: Ray,
    /// `maintenance_margin`.
    pub required: Ray,
}

/// Whether a bucket that must hold so much can be past the line.
#[inline(always)]
pub fn is_required(maintenance: f64, conventions: &Conventions) -> bool {
    conventions.zero_requirement == ZeroRequirement::Compare || maintenance > 0.0
}

/// A value inside a piece from `near` to `far`.
#[inline(always)]
pub fn inside(near: f64, far: f64) -> f64 {
    if far.is_finite() { near + (far - near) / 2.0 } else { 2.0 * near }
}

impl Piece {
    /// The piece on which a bucket has this margin balance and this requirement.
    #[inline(always)]
    pub fn new(balance: Ray, required: Ray, conventions: &Conventions) -> Self {
        Self { buffer: balance.plus(required, -conventions.level), required }
    }

    /// The first value from `near` to `far`, which lies above it or below, at which the trigger is reached.
    ///
    /// Inside a piece something is required everywhere or nowhere; at its ends nothing may be
    /// required although inside something is, so a buffer that only touches the line there has
    /// not reached the trigger. Of two pieces that meet, the tier edge says which has the corner.
    #[inline(always)]
    pub fn reach(&self, near: f64, far: f64, up: bool, conventions: &Conventions) -> Option<f64> {
        if !is_required(self.required.at(inside(near, far)), conventions) {
            return None;
        }
        let here = self.buffer.at(near);
        let there = if far.is_finite() {
            self.buffer.at(far)
        } else if self.buffer.slope == 0.0 {
            here
        } else {
            self.buffer.slope * f64::INFINITY
        };
        let le = conventions.compare == Compare::Le;
        let touches = |buffer: f64, at: f64, is_lower_end: bool| {
            let upper = conventions.tier_edge == TierEdge::Upper;
            let is_on_it = le && buffer == 0.0 && at > 0.0 && is_lower_end == upper;
            is_on_it && is_required(self.required.at(at), conventions)
        };
        if here < 0.0 || (le && here == 0.0 && there <= 0.0) || touches(here, near, up) {
            return Some(near);
        }
        let reached = there < 0.0 || touches(there, far, !up);
        let root = self.buffer.root(0.0).filter(|_| reached)?;
        Some(if up { root.clamp(near, far) } else { root.clamp(far, near) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a buffer of so much at 0, and so much more a unit, reaches the line from 2 to 4, or
    /// from 4 to 2. Something is required everywhere.
    fn reach((constant, slope): (f64, f64), up: bool, words: (Compare, TierEdge)) -> Option<f64> {
        let buffer = Ray { constant, slope };
        let piece = Piece { buffer, required: Ray { constant: 1.0, slope: 0.0 } };
        let (compare, tier_edge) = words;
        let conventions = Conventions { compare, tier_edge, ..Conventions::default() };
        let (near, far) = if up { (2.0, 4.0) } else { (4.0, 2.0) };
        piece.reach(near, far, up, &conventions)
    }

    #[test]
    fn a_piece_is_past_the_line_where_it_begins_or_at_its_root_or_nowhere() {
        for edge in [TierEdge::Upper, TierEdge::Lower] {
            for compare in [Compare::Lt, Compare::Le] {
                let words = (compare, edge);
                assert_eq!(reach((-1.0, 0.0), true, words), Some(2.0));
                assert_eq!(reach((3.0, -1.0), true, words), Some(3.0));
                assert_eq!(reach((-3.0, 1.0), false, words), Some(3.0));
                assert_eq!(reach((1.0, 0.0), true, words), None);
                assert_eq!(reach((-2.0, 1.5), true, words), None);
            }
            // On the line all the way: past it under `le` alone.
            assert_eq!(reach((0.0, 0.0), true, (Compare::Lt, edge)), None);
            assert_eq!(reach((0.0, 0.0), true, (Compare::Le, edge)), Some(2.0));
            assert_eq!(reach((0.0, 0.0), false, (Compare::Le, edge)), Some(4.0));
        }
    }

    #[test]
    fn a_corner_on_the_line_belongs_to_the_piece_that_the_edge_gives_it_to() {
        // On the line at 2, and above it from there to 4.
        for (edge, at_its_lower_end) in [(TierEdge::Upper, true), (TierEdge::Lower, false)] {
            let found = at_its_lower_end.then_some(2.0);
            assert_eq!(reach((-2.0, 1.0), true, (Compare::Le, edge)), found);
            assert_eq!(reach((-2.0, 1.0), false, (Compare::Le, edge)), found);
            assert_eq!(reach((-2.0, 1.0), true, (Compare::Lt, edge)), None);
            // The same at 4.
            let found = (!at_its_lower_end).then_some(4.0);
            assert_eq!(reach((4.0, -1.0), true, (Compare::Le, edge)), found);
            assert_eq!(reach((4.0, -1.0), false, (Compare::Le, edge)), found);
        }
    }

    #[test]
    fn a_value_inside_lies_between_the_ends() {
        for (near, far) in [(2.0, 3.0), (3.0, 2.0), (1e-9, 1e9), (7.0, 0.0)] {
            let value = inside(near, far);
            assert!(near.min(far) < value && value < near.max(far), "{near} {far} {value}");
        }
        assert!((8.0..f64::INFINITY).contains(&inside(7.0, f64::INFINITY)));
    }
}
