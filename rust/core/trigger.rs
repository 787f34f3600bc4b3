//! The trigger: what is compared to say that a bucket is past the line.
//!
//! `Conventions::trigger` gives one. It has no branch, so that many buckets are compared at once.

/// What is compared. See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trigger {
    /// Of the maintenance margin: where the line is.
    pub(crate) level: f64,
    /// Whether a balance on the line is past it.
    pub(crate) is_past_on_line: bool,
    /// Whether a balance may be past the line where nothing is required.
    pub(crate) is_past_at_zero: bool,
}

impl Trigger {
    /// Whether it holds.
    #[inline(always)]
    pub(crate) fn is_past(self, margin_balance: f64, maintenance_margin: f64) -> bool {
        let line = self.level * maintenance_margin;
        let past = (margin_balance < line) | (self.is_past_on_line & (margin_balance == line));
        past & (self.is_past_at_zero | (maintenance_margin > 0.0))
    }
}
