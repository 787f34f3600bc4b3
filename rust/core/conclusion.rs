//! What a bucket's sums come to: balances and positions brought together, and where it stands.
//!
//! `Sums` is what is added up over the rows of a bucket; `Sums::conclude` works out all that
//! follows from it. There is no branch in it but selections, so that it is also worked out for
//! many buckets at once, a column at a time (`staged`), with the same bits.

use crate::collateral::Collateral;
use crate::conventions::Conventions;
use crate::keys::NONE;
use crate::margin::{Margin, Status};
use crate::trigger::Trigger;

/// What the positions of a bucket are worth and must hold, valuation asset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Positions {
    pub(crate) unrealized_pnl: f64,
    /// Profit that counts beside the balances.
    pub(crate) counted: f64,
    pub(crate) option_value: f64,
    pub(crate) gross_notional: f64,
    pub(crate) net_notional: f64,
    /// Longs and shorts at the mark, before netting.
    pub(crate) two_sided_notional: f64,
    pub(crate) maintenance: f64,
    pub(crate) initial: f64,
    /// 0 where nothing is held: the bits of all quantities but their signs, one over the other.
    pub(crate) open: u64,
}

/// What is added up over the rows of a bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) positions: Positions,
    pub(crate) collateral: Collateral,
    /// Input position rows.
    pub(crate) rows: u32,
}

/// Where the sums of a bucket go, part by part: columns, or `Sums`.
pub(crate) trait Sink {
    fn take_positions(&mut self, positions: &Positions, rows: u32);
    fn take_collateral(&mut self, collateral: &Collateral);
}

impl Sink for Sums {
    #[inline(always)]
    fn take_positions(&mut self, positions: &Positions, rows: u32) {
        (self.positions, self.rows) = (*positions, rows);
    }

    #[inline(always)]
    fn take_collateral(&mut self, collateral: &Collateral) {
        self.collateral = *collateral;
    }
}

impl Sums {
    /// The margin that follows.
    #[inline(always)]
    pub(crate) fn conclude(&self, conventions: &Conventions) -> Margin {
        let mut margin = self.without_rung(conventions.trigger());
        margin.rung =
            conventions.rung(margin.margin_balance, margin.maintenance_margin).unwrap_or(NONE);
        margin
    }

    /// The same without the rung of the ladder.
    #[inline(always)]
    pub(crate) fn without_rung(&self, trigger: Trigger) -> Margin {
        let Self { positions, collateral, rows } = self;
        let equity = collateral.held + positions.unrealized_pnl + positions.option_value;
        let balance = |weighted: f64| {
            weighted - collateral.liability + positions.counted + positions.option_value
        };
        let margin_balance = balance(collateral.weighted_maintenance);
        let initial_balance = balance(collateral.weighted_initial);
        let maintenance_margin = positions.maintenance + collateral.borrow_maintenance;
        let initial_margin = positions.initial + collateral.borrow_initial;
        let is_flat = (positions.open == 0) & (collateral.debt == 0.0);
        let is_liquidatable = !is_flat & trigger.is_past(margin_balance, maintenance_margin);
        // From the best to the worst: each is said over what was said before.
        let lacks = initial_balance < initial_margin;
        let status = if lacks { Status::BelowInitial } else { Status::Healthy };
        let status = if is_liquidatable { Status::Liquidation } else { status };
        let status = if equity < 0.0 { Status::Bankrupt } else { status };
        let status = if is_flat { Status::Flat } else { status };
        let (level, ratio) =
            (margin_balance / maintenance_margin, maintenance_margin / margin_balance);
        let ratio = if margin_balance > 0.0 { ratio } else { f64::INFINITY };
        let is_required = maintenance_margin > 0.0;
        Margin {
            equity,
            margin_balance,
            collateral_value: collateral.value,
            debt_value: collateral.debt,
            unrealized_pnl: positions.unrealized_pnl,
            gross_notional: positions.gross_notional,
            net_notional: positions.net_notional,
            initial_margin,
            maintenance_margin,
            margin_buffer: margin_balance - trigger.level * maintenance_margin,
            free_collateral: above_zero(initial_balance - initial_margin),
            bad_debt: above_zero(-equity),
            weighted_collateral: collateral.weighted_maintenance,
            two_sided_notional: positions.two_sided_notional,
            margin_ratio: if is_required { ratio } else { 0.0 },
            margin_level: if is_required { level } else { f64::INFINITY },
            status,
            is_liquidatable,
            positions: *rows,
            rung: NONE,
        }
    }
}

/// The number where it is above 0, else +0.
#[inline(always)]
fn above_zero(value: f64) -> f64 {
    if value > 0.0 { value } else { 0.0 }
}
