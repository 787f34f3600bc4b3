//! What a bucket's sums come to: balances and positions brought together, and where it stands.
//!
//! `Sums` is what is added up over the rows of a bucket; `Sums::conclude` works out all that
//! follows from it. There is no branch in it but selections, so that it is also worked out for
//! many buckets at once, a column at a time (`staged`), with the same bits.

use crate::collateral::Collateral;
use crate::conventions::Conventions;
use crate::keys::NONE;
use crate::trigger::Trigger;

/// How an account stands, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Holds no quantity and owes nothing.
    #[default]
    Flat,
    /// Covers what it must hold to open more.
    Healthy,
    /// Covers maintenance, not initial margin.
    BelowInitial,
    /// The trigger holds.
    Liquidation,
    /// Equity is below 0.
    Bankrupt,
    /// One of its rows was rejected: nothing is known.
    Indeterminate,
}

impl Status {
    /// All, in their order.
    pub(crate) const ALL: [Self; 6] = [
        Self::Flat,
        Self::Healthy,
        Self::BelowInitial,
        Self::Liquidation,
        Self::Bankrupt,
        Self::Indeterminate,
    ];
}

/// The words of `Status`, in their order.
pub const STATUS: [&str; 6] =
    ["flat", "healthy", "below_initial", "liquidation", "bankrupt", "indeterminate"];

/// What a bucket or an account is worth and what it must hold, valuation asset.
#[derive(Clone, Copy, Debug)]
pub struct Margin {
    /// What it is worth: balances at full price and unrealised profit.
    pub equity: f64,
    /// The same after weights: what is held against the requirement.
    pub margin_balance: f64,
    /// Balances above 0 at full price.
    pub collateral_value: f64,
    /// Balances below 0 at full price, as a positive number.
    pub debt_value: f64,
    /// Value of positions at the mark minus at entry.
    pub unrealized_pnl: f64,
    /// Sizes that are margined, at the mark.
    pub gross_notional: f64,
    /// Signed notionals.
    pub net_notional: f64,
    /// What must be held to open.
    pub initial_margin: f64,
    /// What must be held to keep.
    pub maintenance_margin: f64,
    /// `margin_balance - level * maintenance_margin`.
    pub margin_buffer: f64,
    /// `max(0, initial balance - initial_margin)`.
    pub free_collateral: f64,
    /// `max(0, -equity)`.
    pub bad_debt: f64,
    /// Collateral at maintenance weights.
    pub weighted_collateral: f64,
    /// Longs and shorts at the mark, before netting.
    pub two_sided_notional: f64,
    /// `maintenance_margin / margin_balance` of the worst bucket; +inf where the balance is gone.
    pub margin_ratio: f64,
    /// `margin_balance / maintenance_margin` of the worst bucket; +inf where nothing is required.
    pub margin_level: f64,
    /// How it stands; of an account, its worst bucket.
    pub status: Status,
    /// Whether the trigger holds; of an account, in any bucket.
    pub is_liquidatable: bool,
    /// Input position rows, those of quantity 0 too.
    pub positions: u32,
    /// The rung of the ladder that holds; of an account, in its worst bucket. `NONE` for none.
    pub rung: u32,
}

impl Default for Margin {
    fn default() -> Self {
        Self::NOTHING
    }
}

impl Margin {
    /// Of no rows.
    const NOTHING: Self = Self {
        equity: 0.0,
        margin_balance: 0.0,
        collateral_value: 0.0,
        debt_value: 0.0,
        unrealized_pnl: 0.0,
        gross_notional: 0.0,
        net_notional: 0.0,
        initial_margin: 0.0,
        maintenance_margin: 0.0,
        margin_buffer: 0.0,
        free_collateral: 0.0,
        bad_debt: 0.0,
        weighted_collateral: 0.0,
        two_sided_notional: 0.0,
        margin_ratio: 0.0,
        margin_level: f64::INFINITY,
        status: Status::Flat,
        is_liquidatable: false,
        positions: 0,
        rung: NONE,
    };

    /// Of which nothing is known.
    pub(crate) const INDETERMINATE: Self = Self { status: Status::Indeterminate, ..Self::NOTHING };

    /// Adds a bucket: money is summed, and the worst bucket speaks for the account.
    ///
    /// The worst bucket has the highest status, then the lowest margin level, then is first.
    pub fn add(&mut self, bucket: &Self) {
        self.equity += bucket.equity;
        self.margin_balance += bucket.margin_balance;
        self.collateral_value += bucket.collateral_value;
        self.debt_value += bucket.debt_value;
        self.unrealized_pnl += bucket.unrealized_pnl;
        self.gross_notional += bucket.gross_notional;
        self.net_notional += bucket.net_notional;
        self.initial_margin += bucket.initial_margin;
        self.maintenance_margin += bucket.maintenance_margin;
        self.margin_buffer += bucket.margin_buffer;
        self.free_collateral += bucket.free_collateral;
        self.bad_debt += bucket.bad_debt;
        self.weighted_collateral += bucket.weighted_collateral;
        self.two_sided_notional += bucket.two_sided_notional;
        self.is_liquidatable |= bucket.is_liquidatable;
        self.positions += bucket.positions;
        let worse = bucket.status > self.status
            || (bucket.status == self.status && bucket.margin_level < self.margin_level);
        if worse {
            self.status = bucket.status;
            self.margin_ratio = bucket.margin_ratio;
            self.margin_level = bucket.margin_level;
            self.rung = bucket.rung;
        }
    }

    /// Whether every figure is a number: false where money overflowed.
    #[inline(always)]
    pub fn is_finite(&self) -> bool {
        let money = self.equity.abs()
            + self.margin_balance.abs()
            + self.collateral_value
            + self.debt_value
            + self.two_sided_notional
            + self.initial_margin
            + self.margin_buffer.abs();
        money.is_finite()
    }
}

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
