//! One size alone: an instrument of a bucket where nothing bends but its requirement.
//!
//! Its profit counts in full beside the balances, so the only corners are floors of one tier
//! table. Most positions are so. `Single::of` a curve passes the same corners and solves the
//! same pieces as a walk along the curve, by the same arithmetic: to the same bits. It leaves
//! out the way on which nothing can be reached.

use crate::conventions::{Conventions, TierMode};
use crate::curve::{Curve, Leg, straight_balance};
use crate::keys::NONE;
use crate::marks::{Mark, Marks};
use crate::piece::{Piece, Ray};
use crate::rules::Rules;
use crate::tiers::Tier;

/// Tiers of a table whose rounding is still far below `DOUBT`.
const FEW_TIERS: usize = 1000;

/// A buffer of at least this share of what it is the difference of is not 0 by rounding alone.
const DOUBT: f64 = 1e-9;

/// The steepest maintenance rate of a table; +inf where rates fall, or of very many tiers.
pub(crate) fn steepest(table: &[Tier]) -> f64 {
    let rises = |pair: &[Tier]| pair[0].maintenance.rate <= pair[1].maintenance.rate;
    let is_plain = table.len() <= FEW_TIERS && table.windows(2).all(rises);
    table.last().filter(|_| is_plain).map_or(f64::INFINITY, |tier| tier.maintenance.rate)
}

/// The steepest rate of each tier table: by instrument, and by table that positions name.
pub struct Steepest {
    by_instrument: Vec<f64>,
    by_table: Vec<f64>,
}

impl Steepest {
    /// Looks at every table that a book asks for.
    pub fn new(marks: &Marks, rules: &Rules) -> Self {
        let of = |code: u32| steepest(if code == NONE { &[] } else { rules.tiers.table(code) });
        Self {
            by_instrument: marks.instruments.iter().map(|mark| of(mark.tiers)).collect(),
            by_table: marks.tables.iter().map(|code| of(*code)).collect(),
        }
    }

    /// That of the table which a merged row of this instrument asks for.
    #[inline]
    pub fn rate(&self, instrument: u32, table: u32) -> f64 {
        match self.by_table.get(table as usize) {
            Some(rate) => *rate,
            None => self.by_instrument[instrument as usize],
        }
    }
}

/// One size and what it stands against. Money is in the valuation asset.
pub(crate) struct Single<'a> {
    pub(crate) conventions: &'a Conventions,
    /// The instrument.
    pub(crate) mark: &'a Mark,
    /// Its tiers.
    pub(crate) table: &'a [Tier],
    /// Its size.
    pub(crate) leg: Leg,
    /// The margin balance, as it moves with the instrument.
    pub(crate) balance: Ray,
    /// Maintenance margin but for this instrument's.
    pub(crate) rest_maintenance: f64,
}

impl<'a> Single<'a> {
    /// The tier in which it is at the mark.
    #[inline]
    pub(crate) fn tier(&self) -> usize {
        self.leg.tier(self.table, self.mark.value, self.conventions.tier_edge)
    }

    /// The one size of `curve`; None where it has two, or where profit bends or joins a balance.
    #[inline]
    pub(crate) fn of(curve: &'a Curve<'a>) -> Option<Self> {
        let conventions = &curve.rules.conventions;
        let [leg] = curve.legs else { return None };
        let is_straight = curve.joins.is_none() && conventions.profit_weight == 1.0;
        is_straight.then(|| Self {
            conventions,
            mark: curve.mark,
            table: curve.table(leg),
            leg: *leg,
            balance: straight_balance(curve.mark, curve.net, curve.rest_balance),
            rest_maintenance: curve.rest_maintenance,
        })
    }

    /// The values above and below the mark at which the trigger is first reached.
    ///
    /// `tier` is that of its leg, and the steepest rate of its table that of `Steepest`.
    #[inline(always)]
    pub(crate) fn reached(&self, tier: usize, steepest: f64) -> (Option<f64>, Option<f64>) {
        let piece = self.piece(tier);
        match self.harmless(tier, &piece, steepest) {
            Some(harmless) => {
                let reached = self.first(tier, piece, !harmless);
                if harmless { (None, reached) } else { (reached, None) }
            }
            None => self.both(tier, piece),
        }
    }

    #[cold]
    fn both(&self, tier: usize, piece: Piece) -> (Option<f64>, Option<f64>) {
        (self.first(tier, piece, true), self.first(tier, piece, false))
    }

    /// The way, up or down, on which the trigger is not reached for certain.
    ///
    /// It is the way on which the size wins, where the buffer never falls: the requirement has
    /// no step up on it, and rises by less than the profit. The buffer is far enough from 0 that
    /// no rounding on the way makes it less than that: on the way down everything is the sum of
    /// smaller numbers than at the mark, on the way up it grows by a thousandth of them at least.
    #[inline(always)]
    fn harmless(&self, tier: usize, piece: &Piece, steepest: f64) -> Option<bool> {
        let (here, scale) = (self.mark.value, self.mark.settle_price);
        let line = self.leg.required(self.table, tier);
        let buffer = piece.buffer.at(here);
        let Ray { constant, slope } = self.balance;
        let deducted = self.table[tier].maintenance.deduction.abs();
        let required = self.rest_maintenance.abs()
            + scale * (line.constant.abs() + deducted + line.slope * here);
        let sum = constant.abs() + slope.abs() * here + self.conventions.level * required;
        if !(buffer > DOUBT * sum && steepest.is_finite()) {
            return None;
        }
        let is_marginal = self.conventions.tier_mode == TierMode::Marginal;
        let rises_by = self.conventions.level * scale * self.leg.steepest(steepest);
        let up = is_marginal && rises_by < 0.999 * slope;
        (up || slope < 0.0).then_some(up)
    }

    /// The lines of the piece in this tier.
    #[inline(always)]
    fn piece(&self, tier: usize) -> Piece {
        let rest = Ray { constant: self.rest_maintenance, slope: 0.0 };
        let line = self.leg.required(self.table, tier);
        Piece::new(self.balance, rest.plus(line, self.mark.settle_price), self.conventions)
    }

    /// The floor that one stands before in this tier, on the way up or down.
    #[inline(always)]
    fn corner(&self, tier: usize, up: bool) -> Option<f64> {
        let index = if up { tier + 1 } else { Some(tier).filter(|tier| *tier > 0)? };
        self.leg.floor(self.table, index)
    }

    /// The first value above or below the mark at which the trigger is reached.
    #[inline(always)]
    fn first(&self, mut tier: usize, mut piece: Piece, up: bool) -> Option<f64> {
        let mut near = self.mark.value;
        let mut corner = self.corner(tier, up);
        loop {
            let far = match corner {
                Some(v) if up => v.max(near),
                Some(v) => v.min(near),
                None if up => f64::INFINITY,
                None => 0.0,
            };
            let reached = piece.reach(near, far, up, self.conventions);
            if reached.is_some() || far == 0.0 || far == f64::INFINITY {
                return reached;
            }
            while corner.is_some_and(|v| if up { v <= far } else { v >= far }) {
                tier = if up { tier + 1 } else { tier - 1 };
                corner = self.corner(tier, up);
            }
            piece = self.piece(tier);
            near = far;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bankruptcy::Net;
    use crate::conventions::{CloseFee, Compare, TierBasis, TierEdge, ZeroRequirement};
    use crate::curve::Place;
    use crate::liquidation::tests::{long, mark};
    use crate::liquidation::{Walk, nearest};
    use crate::sizes::{Fee, Side};
    use crate::tiers::TierRow;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// One size, by the walk along its curve and by the way of a single size.
    fn both_ways(rules: &Rules, mark: &Mark, side: &Side, net: Net, rest: [f64; 2]) {
        let fee = Fee::new(mark, || net, rest[0], rules);
        let curve = Curve {
            mark,
            rules,
            legs: &[Leg::new(side, mark, rules, fee)],
            net,
            rest_balance: rest[0],
            rest_maintenance: rest[1],
            joins: None,
        };
        let single = Single::of(&curve).expect("one leg");
        let found = single.reached(single.tier(), steepest(rules.tiers.table(0)));
        let plain = Walk { curve: &curve }.reached(&mut Place::default());
        let bits = |(up, down): (Option<f64>, Option<f64>)| [up, down].map(|v| v.map(f64::to_bits));
        assert_eq!(bits(found), bits(plain), "{found:?} {plain:?} {mark:?} {side:?} {rest:?}");
        assert_eq!(nearest(mark, found.0, found.1), nearest(mark, plain.0, plain.1));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 20_000,
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(7),
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_single_size_ends_where_its_curve_does(
            floors in prop::collection::btree_set(1u32..64, 0..5),
            (mut rates, rise) in (prop::collection::vec(0u32..=8, 6), any::<bool>()),
            words in (0..2usize, 0..2usize, 0..2usize, 0..2usize, 0..3usize, 0..3usize),
            level in select(vec![0.0, 0.5, 1.0, 1.0, 1.0, 2.0]),
            // In steps that meet corners exactly, or not.
            step in select(vec![1.0, 0.5, 0.1, 1e-7, 3e9]),
            (quantity, gross, entry, value) in (-8i32..=8, 0u32..4, 1u32..64, 1u32..64),
            (balance, required) in (prop_oneof![-8i32..32, -64i32..512], 0u32..8),
            (is_inverse, settle) in (any::<bool>(), select(vec![1.0, 0.3])),
        ) {
            let (mode, edge, compare, zero, basis, fee) = words;
            let conventions = Conventions {
                tier_mode: [TierMode::Marginal, TierMode::Slab][mode],
                tier_edge: [TierEdge::Upper, TierEdge::Lower][edge],
                compare: [Compare::Lt, Compare::Le][compare],
                zero_requirement: [ZeroRequirement::Compare, ZeroRequirement::Never][zero],
                tier_basis: [TierBasis::Notional, TierBasis::Base, TierBasis::Contracts][basis],
                close_fee: [CloseFee::None, CloseFee::Mark, CloseFee::Bankruptcy][fee],
                level,
                ..Conventions::default()
            };
            if rise {
                rates.sort_unstable();
            }
            let floors = [0].into_iter().chain(floors);
            let tiers = floors.zip(&rates).map(|(floor, rate)| TierRow {
                table: "T".to_owned(),
                floor: f64::from(floor) * step,
                maintenance_rate: f64::from(*rate) / 8.0,
                initial_rate: 1.0,
                deduction: None,
            });
            let rules = Rules::try_new(conventions, &tiers.collect::<Vec<_>>(), &[]).unwrap();
            let value = f64::from(value) * step;
            let mark = Mark { settle_price: settle, ..mark(value, is_inverse) };
            let quantity = f64::from(quantity);
            let gross = quantity.abs() + f64::from(gross / 3);
            let cost = mark.direction * quantity * f64::from(entry) * step;
            let net = Net { quantity, gross, cost: mark.direction * cost };
            let side = Side { quantity, gross, entry: cost.abs(), ..long(1.0) };
            // The margin balance at the mark is `balance` steps.
            let profit = settle * mark.direction * (quantity * value - net.cost);
            let rest = [f64::from(balance) * step - profit, f64::from(required) * step];
            both_ways(&rules, &mark, &side, net, rest);
        }
    }
}
