//! The common case of `shares`: what most rulesets say of most rows, without a look at what
//! they do not say.
//!
//! Where sizes are net, valued at the mark and tiered by notional, without fees, and profit
//! counts in full beside the balances, the rows of an instrument are one size that stands
//! alone (`single`). It gives the bits of the general way.

use std::ops::Range;

use crate::bankruptcy::{BankruptcyValue, Net};
use crate::block::Bucket;
use crate::conventions::{Conventions, Initial, OpenOrders};
use crate::curve::{Leg, straight_balance};
use crate::keys::NONE;
use crate::liquidation::{Liquidation, Prices, nearest};
use crate::margin::Margin;
use crate::market::Kind;
use crate::marks::{Mark, Marks};
use crate::piece::is_required;
use crate::rules::Rules;
use crate::shared::{Shared, Size};
use crate::single::{Single, Steepest};
use crate::tiers::{Line, Tier, tier_at};

/// What is asked of one instrument.
struct Terms<'a> {
    mark: Mark,
    /// Empty where none is asked for.
    table: &'a [Tier],
    steepest: f64,
}

/// Terms of all instruments, under a ruleset that allows them. See the module.
pub(crate) struct PlainShares<'a> {
    conventions: &'a Conventions,
    terms: Vec<Terms<'a>>,
}

/// The merged rows of one instrument, without their sides.
struct Held {
    net: Net,
    profit: f64,
    orders: [f64; 2],
    leverage: f64,
}

impl Held {
    #[inline(always)]
    fn sum(bucket: &Bucket<'_>, rows: Range<usize>, mark: &Mark) -> Self {
        let mut held =
            Self { net: Net::default(), profit: 0.0, orders: [0.0; 2], leverage: f64::INFINITY };
        let is_inverse = mark.kind == Kind::Inverse;
        for row in rows {
            let quantity = bucket.quantity[row];
            let (cost, inverse_cost) = (bucket.cost[row], bucket.inverse_cost[row]);
            let [buy, sell] = bucket.orders_of(row);
            held.net.quantity += quantity;
            held.net.gross += quantity.abs();
            // What is not needed is worked out too: a branch on the kind costs more.
            let (inverse, linear) =
                (inverse_cost - quantity / mark.price, quantity * mark.price - cost);
            held.net.cost += mark.multiplier * if is_inverse { inverse_cost } else { cost };
            held.profit += mark.multiplier * if is_inverse { inverse } else { linear };
            held.orders[0] += buy;
            held.orders[1] += sell;
            held.leverage = held.leverage.min(bucket.leverage_of(row));
        }
        held
    }

    /// Contracts that the initial requirement sees, and those that share it.
    #[inline(always)]
    fn opened(&self, conventions: &Conventions) -> (f64, f64) {
        let Net { quantity, gross, .. } = self.net;
        let [buy, sell] = self.orders;
        if conventions.open_orders == OpenOrders::None {
            return (quantity.abs(), gross);
        }
        ((quantity + buy).abs().max((quantity - sell).abs()), gross + buy + sell)
    }
}

impl<'a> PlainShares<'a> {
    /// None where the ruleset asks for more.
    pub(crate) fn new(marks: &Marks, rules: &'a Rules, steepest: &Steepest) -> Option<Self> {
        let conventions = &rules.conventions;
        let is_plain = conventions.are_plain() && conventions.profit_weight == 1.0;
        let terms = |(code, mark): (usize, &Mark)| Terms {
            mark: *mark,
            table: if mark.tiers == NONE { &[] } else { rules.tiers.table(mark.tiers) },
            steepest: steepest.rate(code as u32, NONE),
        };
        let terms = || marks.instruments.iter().enumerate().map(terms).collect();
        is_plain.then(|| Self { conventions, terms: terms() })
    }

    /// What the rows of one instrument share; None where they say more.
    #[inline(always)]
    pub(crate) fn share(
        &self,
        bucket: &Bucket<'_>,
        number: u32,
        rows: Range<usize>,
        margin: &Margin,
    ) -> Option<Shared> {
        let Terms { mark, table, steepest } = &self.terms[bucket.instrument[rows.start] as usize];
        let names_a_table = || rows.clone().any(|row| bucket.table_of(row) != NONE);
        if mark.kind.is_option() || !bucket.home.is_empty() || names_a_table() {
            return None;
        }
        let held = Held::sum(bucket, rows, mark);
        let notional = held.net.quantity.abs() * mark.value;
        let tier = self.tier(table, notional);
        let maintenance = table[tier].maintenance.at(notional);
        let (contracts, opened) = held.opened(self.conventions);
        let size = Size {
            tier,
            maintenance: maintenance * mark.settle_price,
            kept: held.net.gross,
            initial: self.initial(table, contracts * mark.value, held.leverage) * mark.settle_price,
            opened,
        };
        let rest_equity = margin.equity - (held.profit + 0.0) * mark.settle_price;
        let bankruptcy = BankruptcyValue::new(mark, held.net, rest_equity);
        let bankruptcy = bankruptcy.and_then(|at| mark.price_at(at.value()));
        let liquidation = if margin.is_liquidatable {
            Liquidation::Breached
        } else if held.net.gross == 0.0 {
            Liquidation::None
        } else {
            let single = Single {
                conventions: self.conventions,
                mark,
                table,
                leg: Leg::plain(mark.tiers, held.net.quantity.abs()),
                balance: straight_balance(
                    mark,
                    held.net,
                    margin.margin_balance - held.profit * mark.settle_price,
                ),
                rest_maintenance: margin.maintenance_margin - maintenance * mark.settle_price,
            };
            if margin.margin_buffer == 0.0
                && is_required(margin.maintenance_margin, self.conventions)
            {
                Liquidation::Root(mark.price)
            } else {
                let (up, down) = single.reached(tier, *steepest);
                nearest(mark, up, down)
            }
        };
        Some(Shared::new(number, &size, &Prices { liquidation, bankruptcy }))
    }

    /// The tier of a size.
    #[inline(always)]
    fn tier(&self, table: &[Tier], size: f64) -> usize {
        if table.get(1).is_none_or(|second| size < second.floor) {
            return 0;
        }
        tier_at(table, size, self.conventions.tier_edge)
    }

    /// Initial requirement of a size, settle asset.
    #[inline(always)]
    fn initial(&self, table: &[Tier], size: f64, leverage: f64) -> f64 {
        let by_tier = || {
            let line: Line = table[self.tier(table, size)].initial;
            line.at(size)
        };
        match self.conventions.initial {
            Initial::Tier => by_tier(),
            _ if leverage == f64::INFINITY => by_tier(),
            Initial::Leverage => size / leverage,
            Initial::Larger => by_tier().max(size / leverage),
        }
    }
}
