//! Bends: what of a bucket changes its line along a path, and where.
//!
//! Between bends all money is one form (`form`). A size bends at the floors of its tiers, a
//! balance at those of its slices, profit where it turns into loss, a balance that profit joins
//! where it gets into another slice or into debt, a fee at the bankruptcy price where there
//! ceases to be one, a long and a short side where the other one becomes the larger.

use crate::contract::Contract;
use crate::conventions::Conventions;
use crate::curve::Leg;
use crate::form::{Atom, Form, Look};
use crate::marks::Mark;
use crate::piece::Ray;
use crate::tiers::Tier;
use crate::weights::WeightTable;

/// One size: rows of an instrument with the same tier table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// The place of its contract.
    pub(crate) contract: u32,
    /// What it requires, by the value of a contract.
    pub(crate) leg: Leg,
    /// Code of its tier table.
    pub(crate) table: u32,
    /// Its tier.
    pub(crate) tier: usize,
    /// What it requires in this tier.
    pub(crate) required: Ray,
    /// Contracts that are margined.
    pub(crate) contracts: f64,
    /// Whether it is margined: not if the other side is larger.
    pub(crate) is_kept: bool,
    /// The place of its pair, if it has one.
    pub(crate) pair: Option<u32>,
}

impl Size {
    /// The floor before which it stands, as the value of a contract, and the tier beyond it.
    pub(crate) fn next(&self, table: &[Tier], rises: bool) -> Option<(f64, usize)> {
        let (floor, beyond) = match rises {
            true => (self.tier + 1, self.tier + 1),
            false => (Some(self.tier).filter(|tier| *tier > 0)?, self.tier - 1),
        };
        self.leg.floor(table, floor).map(|value| (value, beyond))
    }

    /// Whether it requires anything inside its tier.
    pub(crate) fn is_required(&self) -> bool {
        self.is_kept && self.required != Ray::default()
    }
}

/// Profit that counts by another weight than loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// The place of its contract.
    pub(crate) contract: u32,
    /// Profit by the value of a contract, settle asset.
    pub(crate) profit: Ray,
    /// Whether there is profit, else loss.
    pub(crate) gains: bool,
    /// The place of the pool that it joins, if there is one.
    pub(crate) pool: Option<u32>,
}

impl Turn {
    /// Where profit turns into loss or back, at `near` or beyond.
    pub(crate) fn next(&self, contract: &Contract, near: f64) -> Option<f64> {
        let rises = contract.rises()? == (self.profit.slope > 0.0);
        let value = self.profit.root(0.0).filter(|value| *value > 0.0 && rises != self.gains)?;
        contract.when(value).map(|t| t.max(near))
    }

    /// What counts of each unit.
    pub(crate) fn weight(&self, conventions: &Conventions) -> f64 {
        if self.gains { conventions.profit_weight } else { 1.0 }
    }
}

/// A balance above 0 that nothing joins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stock {
    /// What it is worth.
    pub(crate) worth: Atom,
    /// The same where the path begins.
    pub(crate) value: f64,
    /// Beta of its asset.
    pub(crate) beta: f64,
    /// Code of its weight table.
    pub(crate) table: u32,
    /// Its stretch.
    pub(crate) stretch: usize,
}

impl Stock {
    /// Where it gets into another stretch, at `near` or beyond.
    pub(crate) fn next(&self, table: &WeightTable, near: f64) -> Option<f64> {
        let stretch = table.stretch(self.stretch);
        let height = if self.beta > 0.0 { stretch.end } else { stretch.begin };
        let t = (height / self.value - 1.0) / self.beta;
        t.is_finite().then_some(t.max(near))
    }

    /// Moves it on.
    pub(crate) fn pass(&mut self) {
        self.stretch = if self.beta > 0.0 { self.stretch + 1 } else { self.stretch - 1 };
    }
}

/// A balance that profit joins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    /// Its value.
    pub(crate) form: Form,
    /// Code of its weight table.
    pub(crate) table: u32,
    /// Its stretch.
    pub(crate) stretch: usize,
    /// Whether it rises out of its stretch next.
    rises: bool,
    /// How far beyond the lower and the upper end it must be.
    apart: [f64; 2],
    /// Counts its searches: an end found before the last one is none.
    pub(crate) search: u32,
}

impl Pool {
    /// Makes it anew.
    pub(crate) fn start(&mut self, worth: &Atom, table: u32) {
        self.form.clear();
        self.form.add(worth, 1.0);
        (self.table, self.stretch, self.apart, self.search) = (table, 0, [0.0; 2], 0);
    }

    /// Where it gets into another stretch, from `near` to `end`.
    pub(crate) fn next(
        &mut self,
        table: &WeightTable,
        betas: &[f64],
        near: f64,
        end: f64,
    ) -> Option<f64> {
        self.search += 1;
        let (look, stretch) = (Look::new(&self.form, betas), table.stretch(self.stretch));
        let [lower, upper] = self.apart;
        let falls = match stretch.begin.is_finite() {
            true => look.above(stretch.begin - lower).falls(near, end, false),
            false => None,
        };
        let rises = match stretch.end.is_finite() {
            true => look.below(stretch.end + upper).falls(near, falls.unwrap_or(end), false),
            false => None,
        };
        self.rises = rises.is_some_and(|up| falls.is_none_or(|down| up < down));
        if self.rises { rises } else { falls }
    }

    /// Moves it on at `t`.
    pub(crate) fn pass(&mut self, betas: &[f64], t: f64) {
        let apart = Look::new(&self.form, betas).blur(t);
        if self.rises {
            self.stretch += 1;
            self.apart = [apart, 0.0];
        } else {
            self.stretch -= 1;
            self.apart = [0.0, apart];
        }
    }

    /// Whether it leaves debt next.
    pub(crate) fn leaves_debt(&self) -> bool {
        self.stretch == 0
    }
}

/// A fee to close at the bankruptcy price.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// The place of its contract.
    pub(crate) contract: u32,
    /// Net contracts, without their sign.
    net: f64,
    /// Their sign, the other one for an inverse contract.
    lean: f64,
    /// The fee, fraction of the value closed.
    rate: f64,
    /// From the first of its sizes to beyond the last.
    pub(crate) sizes: (u32, u32),
    /// Contracts to close.
    pub(crate) contracts: f64,
    /// Whether there is a bankruptcy price.
    pub(crate) is_due: bool,
    /// How far beyond 0 the price must be.
    apart: f64,
}

impl Due {
    /// The fee of this net position.
    pub(crate) fn new(contract: u32, sizes: (u32, u32), net: f64, mark: &Mark) -> Self {
        let lean = net.signum() * mark.direction;
        let (net, rate) = (net.abs(), mark.close_fee_rate);
        Self { contract, net, lean, rate, sizes, contracts: 0.0, is_due: false, apart: 0.0 }
    }

    /// Adds so many times what the net contracts are worth at bankruptcy: `|q| v S - E`, with
    /// the equity `E` taken the other way for a short position.
    pub(crate) fn add(&self, form: &mut Form, contract: &Contract, equity: &Form, times: f64) {
        form.add(&contract.worth, times * self.net);
        form.add_form(equity, -times * self.lean);
    }

    /// The fee over what `add` adds, for so many contracts.
    pub(crate) fn share(&self, contracts: f64) -> f64 {
        self.rate * (contracts / self.net)
    }

    /// Whether there is a price where the path begins; `room` is written over.
    pub(crate) fn start(&mut self, room: &mut Form, ground: Ground<'_>) {
        room.clear();
        self.add(room, ground.contract, ground.equity, 1.0);
        self.is_due = Look::new(room, ground.betas).value(0.0) > 0.0;
    }

    /// Where there ceases to be a price or begins to be one; `room` is written over.
    pub(crate) fn next(
        &self,
        room: &mut Form,
        ground: Ground<'_>,
        near: f64,
        end: f64,
    ) -> Option<f64> {
        room.clear();
        self.add(room, ground.contract, ground.equity, 1.0);
        let look = Look::new(room, ground.betas);
        let look = if self.is_due { look.above(-self.apart) } else { look.below(self.apart) };
        look.falls(near, end, false)
    }

    /// Moves it on at `t`.
    pub(crate) fn pass(&mut self, room: &mut Form, ground: Ground<'_>, t: f64) {
        room.clear();
        self.add(room, ground.contract, ground.equity, 1.0);
        self.apart = Look::new(room, ground.betas).blur(t);
        self.is_due = !self.is_due;
    }
}

/// What a fee or a pair is looked at with.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// Its contract.
    pub(crate) contract: &'a Contract,
    /// Equity of the bucket.
    pub(crate) equity: &'a Form,
    /// The poles.
    pub(crate) betas: &'a [f64],
}

/// A long and a short size of one table, the larger of which is margined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// The place of the long size; the short one follows.
    pub(crate) long: u32,
    /// The place of the fee, if there is one.
    pub(crate) due: Option<u32>,
    /// Whether the long size is kept.
    pub(crate) keeps_long: bool,
    /// How far the other must be larger.
    apart: f64,
    /// Counts its searches: a place found before the last one is none.
    pub(crate) search: u32,
}

impl Pair {
    /// The pair of the long size at this place and the one after it.
    pub(crate) fn new(long: u32) -> Self {
        Self { long, due: None, keeps_long: true, apart: 0.0, search: 0 }
    }

    /// What the long size requires more than the short one, in `room`.
    fn lead(&self, room: &mut Form, sizes: &[Size], due: Option<&Due>, ground: Ground<'_>) {
        let [long, short] = [&sizes[self.long as usize], &sizes[self.long as usize + 1]];
        let more = long.required.plus(short.required, -1.0);
        room.clear();
        room.add(&ground.contract.unit, more.constant);
        room.add(&ground.contract.worth, more.slope);
        if let Some(due) = due.filter(|due| due.is_due) {
            let share = due.share(long.contracts) - due.share(short.contracts);
            due.add(room, ground.contract, ground.equity, share);
        }
    }

    /// Which size is the larger just beyond `near`.
    pub(crate) fn decide(
        &mut self,
        room: &mut Form,
        sizes: &[Size],
        due: Option<&Due>,
        ground: Ground<'_>,
        near: f64,
    ) {
        self.lead(room, sizes, due, ground);
        let look = Look::new(room, ground.betas);
        let lead = look.value(near);
        self.keeps_long = lead > 0.0 || (lead == 0.0 && look.slope(near) >= 0.0);
        self.apart = 0.0;
    }

    /// Where the other size becomes the larger; `room` is written over.
    pub(crate) fn next(
        &mut self,
        room: &mut Form,
        sizes: &[Size],
        due: Option<&Due>,
        ground: Ground<'_>,
        [near, end]: [f64; 2],
    ) -> Option<f64> {
        self.search += 1;
        self.lead(room, sizes, due, ground);
        let look = Look::new(room, ground.betas);
        let look = if self.keeps_long { look.above(-self.apart) } else { look.below(self.apart) };
        look.falls(near, end, false)
    }

    /// Moves it on at `t`.
    pub(crate) fn pass(
        &mut self,
        room: &mut Form,
        sizes: &[Size],
        due: Option<&Due>,
        ground: Ground<'_>,
        t: f64,
    ) {
        self.lead(room, sizes, due, ground);
        self.apart = Look::new(room, ground.betas).blur(t);
        self.keeps_long = !self.keeps_long;
    }
}
