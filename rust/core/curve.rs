//! How a bucket's margin moves with the value of one contract of one instrument, all else held.
//!
//! Between corners everything is a straight line in that value `v` (`m P`, or `m / P` for
//! inverse). Corners are floors of tiers, the point where profit turns into loss, floors of the
//! slices that a joined balance moves through, and values at which the larger side changes.
//! `Place` says between which corners one stands; `Curve::next_corner` and `Curve::pass` move
//! it on, `Curve::piece` gives the line there.

use crate::bankruptcy::Net;
use crate::conventions::{CloseFee, Netting, PriceBasis, TierBasis, TierEdge};
use crate::market::Kind;
use crate::marks::Mark;
use crate::piece::{Piece, Ray};
use crate::rules::Rules;
use crate::sizes::{Fee, Side};
use crate::tiers::{Tier, tier_at};
use crate::weights::WeightTable;

/// One size of the instrument.
#[derive(Clone, Copy, Debug)]
pub struct Leg {
    /// Code of its tier table.
    tiers: u32,
    /// Its size on the tier basis per unit of `v`, where that moves with `v`.
    floating: Option<f64>,
    /// What it requires besides what floats.
    fixed: Ray,
}

impl Leg {
    /// The leg of a side; `fee` is that of `Fee::new`.
    pub fn new(side: &Side, mark: &Mark, rules: &Rules, fee: Fee) -> Self {
        let conventions = &rules.conventions;
        let contracts = side.kept(conventions);
        let unit = side.unit(mark, conventions);
        let is_at_entry = conventions.price_basis == PriceBasis::Entry && side.gross > 0.0;
        let floats = !is_at_entry
            && match conventions.tier_basis {
                TierBasis::Notional => true,
                TierBasis::Base => mark.kind == Kind::Inverse,
                TierBasis::Contracts => false,
            };
        let mut fixed = Ray::default();
        if !floats {
            let size = contracts * unit.size;
            let table = rules.tiers.table(side.tiers);
            let line = table[tier_at(table, size, conventions.tier_edge)].maintenance;
            if is_at_entry {
                fixed.constant = unit.require(line, contracts);
            } else {
                fixed.slope = line.at(size) / unit.size;
            }
        }
        match conventions.close_fee {
            CloseFee::None => {}
            CloseFee::Mark => fixed.slope += mark.close_fee_rate * contracts,
            CloseFee::Bankruptcy => fixed.constant += fee.of(contracts),
        }
        Self { tiers: side.tiers, floating: floats.then_some(contracts), fixed }
    }

    /// A size of so many contracts, tiered by notional at the mark, without a fee.
    #[inline(always)]
    pub(crate) fn plain(tiers: u32, contracts: f64) -> Self {
        Self { tiers, floating: Some(contracts), fixed: Ray::default() }
    }

    /// The tier that a contract of this value puts it in.
    #[inline(always)]
    pub(crate) fn tier(&self, table: &[Tier], value: f64, edge: TierEdge) -> usize {
        self.floating.map_or(0, |size| tier_at(table, size * value, edge))
    }

    /// What it requires more for each unit of `v` at most, where this is its steepest rate.
    #[inline(always)]
    pub(crate) fn steepest(&self, rate: f64) -> f64 {
        self.fixed.slope + self.floating.unwrap_or(0.0) * rate
    }

    /// The value at which the tier of this index begins; None where it does nowhere.
    #[inline(always)]
    pub(crate) fn floor(&self, table: &[Tier], index: usize) -> Option<f64> {
        let floor = table.get(index)?.floor / self.floating?;
        floor.is_finite().then_some(floor)
    }

    /// What it requires in this tier.
    #[inline(always)]
    pub(crate) fn required(&self, table: &[Tier], index: usize) -> Ray {
        let Some(size) = self.floating else {
            return self.fixed;
        };
        let line = table[index].maintenance;
        Ray {
            constant: self.fixed.constant - line.deduction,
            slope: self.fixed.slope + size * line.rate,
        }
    }
}

/// The balance that the instrument's profit joins.
#[derive(Clone, Copy)]
pub struct Joins<'a> {
    /// How it is weighted.
    pub weights: &'a WeightTable,
    /// Its value without the profit of this instrument, valuation asset.
    pub rest: f64,
    /// Its value with it, at the mark.
    pub value: f64,
}

/// One instrument of a bucket, and everything else there is. Money is in the valuation asset.
pub struct Curve<'a> {
    /// The instrument.
    pub mark: &'a Mark,
    /// The ruleset.
    pub rules: &'a Rules,
    /// Its sizes; a long and a short one of a table are neighbours.
    pub legs: &'a [Leg],
    /// All its rows.
    pub net: Net,
    /// Margin balance but for this instrument's profit, and for the balance that it joins.
    pub rest_balance: f64,
    /// Maintenance margin but for this instrument's, and for the debt that it joins.
    pub rest_maintenance: f64,
    /// The balance that its profit joins.
    pub joins: Option<Joins<'a>>,
}

/// The profit of an instrument.
#[inline(always)]
fn profit(mark: &Mark, net: Net) -> Ray {
    let scale = mark.settle_price * mark.direction;
    Ray { constant: -scale * net.cost, slope: scale * net.quantity }
}

/// The margin balance of a bucket where an instrument's profit counts in full beside `rest`.
#[inline(always)]
pub(crate) fn straight_balance(mark: &Mark, net: Net, rest: f64) -> Ray {
    let counted = Ray::default().plus(profit(mark, net), 1.0);
    Ray { constant: rest, slope: 0.0 }.plus(counted, 1.0)
}

/// Between which corners one stands.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The tier of each leg.
    tiers: Vec<usize>,
    /// The stretch of the joined balance.
    stretch: usize,
    /// Whether the value is above the point where profit turns into loss.
    is_above_turn: bool,
}

impl Curve<'_> {
    pub(crate) fn table(&self, leg: &Leg) -> &[Tier] {
        self.rules.tiers.table(leg.tiers)
    }

    /// Puts `place` to the mark, as the kernel sees it, on the way up or down.
    pub fn start(&self, place: &mut Place, up: bool) {
        let (here, edge) = (self.mark.value, self.rules.conventions.tier_edge);
        place.tiers.clear();
        place.tiers.extend(self.legs.iter().map(|leg| leg.tier(self.table(leg), here, edge)));
        let turn = self.turn();
        place.is_above_turn = if up { here >= turn } else { here > turn };
        place.stretch = self.joins.map_or(0, |joins| joins.weights.stretch_at(joins.value));
    }

    /// The value at which profit turns into loss; 0 where it never does or it changes nothing.
    fn turn(&self) -> f64 {
        if self.rules.conventions.profit_weight == 1.0 {
            return 0.0;
        }
        let turn = self.net.cost / self.net.quantity;
        if turn > 0.0 && turn.is_finite() { turn } else { 0.0 }
    }

    /// What counts of the instrument's profit.
    fn counted(&self, place: &Place) -> Ray {
        let profit = profit(self.mark, self.net);
        let gains = if self.turn() > 0.0 {
            place.is_above_turn == (profit.slope > 0.0)
        } else {
            profit.slope > 0.0 || (profit.slope == 0.0 && profit.constant > 0.0)
        };
        let weight = if gains { self.rules.conventions.profit_weight } else { 1.0 };
        Ray::default().plus(profit, weight)
    }

    /// The joined balance.
    fn joined(&self, place: &Place) -> Option<(Joins<'_>, Ray)> {
        let joins = self.joins?;
        let mut value = self.counted(place);
        value.constant += joins.rest;
        Some((joins, value))
    }

    /// The floor of leg `i`'s table that one stands before, on the way up or down.
    fn tier_corner(&self, place: &Place, i: usize, up: bool) -> Option<f64> {
        let (leg, tier) = (&self.legs[i], place.tiers[i]);
        let index = if up { tier + 1 } else { Some(tier).filter(|tier| *tier > 0)? };
        leg.floor(self.table(leg), index)
    }

    /// The point where profit turns into loss, where one stands before it.
    fn turn_corner(&self, place: &Place, up: bool) -> Option<f64> {
        Some(self.turn()).filter(|turn| *turn > 0.0 && up != place.is_above_turn)
    }

    /// The end of the joined balance's stretch, and whether the balance rises to it.
    fn stretch_corner(&self, place: &Place, up: bool) -> Option<(f64, bool)> {
        let (joins, value) = self.joined(place).filter(|(_, value)| value.slope != 0.0)?;
        let stretch = joins.weights.stretch(place.stretch);
        let rises = up == (value.slope > 0.0);
        let height = if rises { stretch.end } else { stretch.begin };
        value.root(height).map(|v| (v, rises))
    }

    /// The first corner beyond `near`: +inf (up) or 0 (down) where there is none.
    ///
    /// A corner that rounding puts behind `near` is at `near`.
    pub fn next_corner(&self, place: &Place, near: f64, up: bool) -> f64 {
        let tiers = (0..self.legs.len()).filter_map(|i| self.tier_corner(place, i, up));
        let turn = self.turn_corner(place, up);
        let stretch = self.stretch_corner(place, up).map(|(v, _)| v);
        let corners = tiers.chain(turn).chain(stretch);
        let mut far: f64 = if up {
            corners.fold(f64::INFINITY, |far, v| far.min(v.max(near)))
        } else {
            corners.fold(0.0, |far: f64, v| far.max(v.min(near)))
        };
        for crossing in self.crossings(place) {
            let is_before = if up {
                crossing > near && crossing < far
            } else {
                crossing < near && crossing > far
            };
            if is_before {
                far = crossing;
            }
        }
        far
    }

    /// Moves `place` past every corner up to `far`.
    pub fn pass(&self, place: &mut Place, far: f64, up: bool) {
        let passed = |v: f64| if up { v <= far } else { v >= far };
        for i in 0..self.legs.len() {
            while self.tier_corner(place, i, up).is_some_and(passed) {
                place.tiers[i] = if up { place.tiers[i] + 1 } else { place.tiers[i] - 1 };
            }
        }
        match self.stretch_corner(place, up) {
            Some((v, true)) if passed(v) => place.stretch += 1,
            Some((v, false)) if passed(v) => place.stretch -= 1,
            _ => {}
        }
        if self.turn_corner(place, up).is_some_and(passed) {
            place.is_above_turn = up;
        }
    }

    /// Values at which the long and the short leg of a table require the same.
    fn crossings(&self, place: &Place) -> impl Iterator<Item = f64> {
        let pairs = (0..self.legs.len()).filter_map(|i| self.pair(i, place));
        pairs.filter_map(|[long, short]| long.plus(short, -1.0).root(0.0))
    }

    /// What legs `i` and `i + 1` require, where only the larger of the two counts.
    fn pair(&self, i: usize, place: &Place) -> Option<[Ray; 2]> {
        let is_pair = self.rules.conventions.netting == Netting::LargerSide
            && i + 1 < self.legs.len()
            && self.legs[i].tiers == self.legs[i + 1].tiers;
        let ray = |i: usize| self.legs[i].required(self.table(&self.legs[i]), place.tiers[i]);
        is_pair.then(|| [ray(i), ray(i + 1)])
    }

    /// The lines of the piece, which holds the value `inside`.
    pub fn piece(&self, place: &Place, inside: f64) -> Piece {
        let scale = self.mark.settle_price;
        let mut required = Ray { constant: self.rest_maintenance, slope: 0.0 };
        for (i, leg) in self.legs.iter().enumerate() {
            if self.is_kept(i, place, inside) {
                required = required.plus(leg.required(self.table(leg), place.tiers[i]), scale);
            }
        }
        let mut balance = Ray { constant: self.rest_balance, slope: 0.0 };
        if let Some((joins, value)) = self.joined(place) {
            let stretch = joins.weights.stretch(place.stretch);
            balance = balance.plus(value, stretch.slope);
            balance.constant += stretch.constant;
            required = required.plus(value, -stretch.borrow_rate);
        } else {
            balance = balance.plus(self.counted(place), 1.0);
        }
        Piece::new(balance, required, &self.rules.conventions)
    }

    /// Whether leg `i` is margined at the value `inside`: not if it is the smaller side.
    fn is_kept(&self, i: usize, place: &Place, inside: f64) -> bool {
        if let Some([long, short]) = self.pair(i, place) {
            return long.at(inside) >= short.at(inside);
        }
        let before = i.checked_sub(1).and_then(|before| self.pair(before, place));
        before.is_none_or(|[long, short]| long.at(inside) < short.at(inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_requires_more_by_its_size_times_its_rate_and_what_is_fixed() {
        assert_eq!(Leg::plain(0, 8.0).steepest(0.25), 2.0);
        let fixed = Ray { constant: 5.0, slope: 3.0 };
        assert_eq!(Leg { fixed, ..Leg::plain(0, 8.0) }.steepest(0.25), 5.0);
        assert_eq!(Leg { floating: None, fixed, ..Leg::plain(0, 8.0) }.steepest(0.25), 3.0);
    }
}
