//! What a bucket owns and owes: balances at full price, and what the weights let count of them.

use crate::block::{Rows, Span};
use crate::keys::NONE;
use crate::marks::{AssetMark, Mark, Marks};
use crate::rules::Rules;

/// What is owned and owed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Collateral {
    /// Balances at full price, debts taken off: no profit in it.
    pub(crate) held: f64,
    pub(crate) value: f64,
    pub(crate) debt: f64,
    pub(crate) weighted_maintenance: f64,
    pub(crate) weighted_initial: f64,
    pub(crate) liability: f64,
    pub(crate) borrow_maintenance: f64,
    pub(crate) borrow_initial: f64,
}

impl Collateral {
    /// Adds balances, each with the profit that joins it: values above 0 are weighted by slice,
    /// debts by the liability weight.
    #[inline]
    pub(crate) fn add_balances(
        &mut self,
        assets: &[u32],
        amounts: &[f64],
        joined: &[f64],
        marks: &Marks,
        rules: &Rules,
    ) {
        for (i, (asset, amount)) in assets.iter().zip(amounts).enumerate() {
            let mark = &marks.assets[*asset as usize];
            let held = amount * mark.price;
            let value = joined.get(i).map_or(held, |profit| held + profit);
            self.add_value(held, value, mark, rules);
        }
    }

    /// Adds a balance at full price, `held`, that counts as `value`.
    #[inline]
    fn add_value(&mut self, held: f64, value: f64, mark: &AssetMark, rules: &Rules) {
        let table = rules.weights.table(mark.weights);
        self.held += held;
        if value >= 0.0 {
            let (maintenance, initial) = table.weigh(value);
            self.value += value;
            self.weighted_maintenance += maintenance;
            self.weighted_initial += initial;
        } else {
            self.debt -= value;
            self.liability -= value * table.liability_weight;
            self.borrow_maintenance -= value * table.borrow_maintenance_rate;
            self.borrow_initial -= value * table.borrow_initial_rate;
        }
    }

    /// What a bucket's balances come to, no profit joining them, with what is posted to it.
    pub(crate) fn of(rows: &Rows<'_>, span: Span, marks: &Marks, rules: &Rules) -> Self {
        let mut collateral = Self::default();
        if let Some(posted) = span.posted {
            let instrument = rows.instrument[span.rows.start] as usize;
            collateral.add_posted(posted, &marks.instruments[instrument], rules);
        }
        let (assets, amounts) = (&rows.asset[span.cash.clone()], &rows.amount[span.cash]);
        collateral.add_balances(assets, amounts, &[], marks, rules);
        collateral
    }

    /// Adds what is posted to an isolated bucket: at full price, debt at weight 1.
    pub(crate) fn add_posted(&mut self, margin: f64, mark: &Mark, rules: &Rules) {
        let value = margin * mark.settle_price;
        self.held += value;
        if value >= 0.0 {
            self.value += value;
            self.weighted_maintenance += value;
            self.weighted_initial += value;
        } else {
            self.debt -= value;
            self.liability -= value;
            if mark.settle_weights != NONE {
                let table = rules.weights.table(mark.settle_weights);
                self.borrow_maintenance -= value * table.borrow_maintenance_rate;
                self.borrow_initial -= value * table.borrow_initial_rate;
            }
        }
    }
}
