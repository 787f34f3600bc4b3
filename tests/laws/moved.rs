//! A bucket seen by the kernel alone, with the mark of one instrument moved and all else held.
//!
//! `Moved::at` shows it at any mark; `Moved::kinks` lists the marks at which it may bend.

use std::ops::Range;

use margrave_core::bankruptcy::Net;
use margrave_core::block::Bucket;
use margrave_core::conventions::CloseFee;
use margrave_core::margin::{Joined, Margin, Status, bucket_margin};
use margrave_core::market::{Kind, Market};
use margrave_core::marks::{Mark, Marks};
use margrave_core::sizes::Fee;

use crate::draws::Numbers;
use crate::legs::{Leg, legs};
use crate::rounding::scale;
use crate::swept::Swept;

/// A bucket, and the instrument whose mark moves.
pub(crate) struct Moved<'a> {
    pub(crate) swept: &'a Swept,
    market: Market,
    bucket: u32,
    instrument: u32,
    numbers: Numbers,
    /// Its margin at the mark.
    margin: Margin,
    /// The profit that joins each of its balances, at the mark.
    profits: Vec<f64>,
    /// Fees of other instruments, which stay although their bankruptcy prices move.
    other_fees: f64,
}

/// What the kernel says of a bucket at one mark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) is_liquidatable: bool,
    pub(crate) margin_buffer: f64,
    pub(crate) maintenance_margin: f64,
    pub(crate) equity: f64,
    /// How far rounding reaches; 0 where all arithmetic is exact.
    pub(crate) slack: f64,
}

impl Seen {
    /// The flag, None where rounding decides it.
    pub(crate) fn flag(&self) -> Option<bool> {
        let is_clear = self.margin_buffer.abs() > self.slack
            && (self.maintenance_margin == 0.0 || self.maintenance_margin > self.slack);
        (is_clear || self.slack == 0.0).then_some(self.is_liquidatable)
    }
}

impl<'a> Moved<'a> {
    pub(crate) fn new(swept: &'a Swept, bucket: u32, instrument: u32, numbers: Numbers) -> Self {
        let Swept { rules, sweep, book, .. } = swept;
        let held = swept.bucket(bucket);
        let mut joined = Joined::default();
        let margin = bucket_margin(&held, &sweep.marks, rules, &mut joined);
        let profits = joined.profits().to_vec();
        let mut market = swept.night.market();
        let mut other_fees = 0.0;
        if rules.conventions.close_fee == CloseFee::Bankruptcy {
            let terms = market.terms.iter_mut().enumerate();
            let others = terms.filter(|(other, _)| *other != instrument as usize);
            others.for_each(|(_, terms)| terms.close_fee_rate = 0.0);
            let marks = Marks::build(book, &market, rules).expect("no shocks");
            let without = bucket_margin(&held, &marks, rules, &mut joined);
            other_fees = margin.maintenance_margin - without.maintenance_margin;
        }
        Self { swept, market, bucket, instrument, numbers, margin, profits, other_fees }
    }

    pub(crate) fn held(&self) -> Bucket<'a> {
        self.swept.bucket(self.bucket)
    }

    /// The instrument as it is.
    pub(crate) fn own(&self) -> &'a Mark {
        &self.swept.sweep.marks.instruments[self.instrument as usize]
    }

    pub(crate) fn mark(&self) -> f64 {
        self.own().price
    }

    pub(crate) fn at(&mut self, price: f64) -> Seen {
        let Swept { book, rules, sweep, .. } = self.swept;
        self.market.terms[self.instrument as usize].mark_price = price;
        let marks = Marks::build(book, &self.market, rules).expect("no shocks");
        let held = self.held();
        let margin = bucket_margin(&held, &marks, rules, &mut Joined::default());
        let maintenance_margin = margin.maintenance_margin + self.other_fees;
        let past = rules.conventions.is_past(margin.margin_balance, maintenance_margin);
        let scale = scale(&held, &marks, rules) + scale(&held, &sweep.marks, rules);
        Seen {
            is_liquidatable: past && margin.status != Status::Flat,
            margin_buffer: margin.margin_balance - rules.conventions.level * maintenance_margin,
            maintenance_margin,
            equity: margin.equity,
            slack: if self.is_exact(price, &marks) { 0.0 } else { 1e-13 * scale },
        }
    }

    /// Whether all sums and products are exact at a mark: notional is made of the contract's
    /// value, profit of the price or of its inverse.
    fn is_exact(&self, price: f64, marks: &Marks) -> bool {
        let mark = &marks.instruments[self.instrument as usize];
        let factor = if mark.kind == Kind::Inverse { 1.0 / price } else { price };
        let is_short = |number: &f64| (1024.0 * number).fract() == 0.0 && *number < 1e6;
        self.numbers == Numbers::Dyadic && [price, factor, mark.value].iter().all(is_short)
    }

    /// The merged rows that hold the instrument.
    pub(crate) fn rows(&self) -> Range<usize> {
        let held = self.held();
        let first = held.instrument.iter().position(|i| *i == self.instrument);
        let first = first.expect("the bucket holds it");
        first..held.instrument_end(first)
    }

    /// All rows of the instrument together.
    pub(crate) fn net(&self) -> Net {
        let (held, mark) = (self.held(), self.own());
        self.rows().fold(Net::default(), |net, row| Net {
            quantity: net.quantity + held.quantity[row],
            gross: net.gross + held.quantity[row].abs(),
            cost: net.cost + mark.cost(held.cost[row], held.inverse_cost[row]),
        })
    }

    /// Marks at which a tier begins, profit turns into loss, the joined balance gets into
    /// another slice or into debt, or the larger side changes.
    pub(crate) fn kinks(&self) -> Vec<f64> {
        let mark = self.own();
        if mark.kind.is_option() {
            return Vec::new();
        }
        let legs = self.legs();
        let mut values: Vec<f64> = legs.iter().flat_map(|leg| leg.floors.iter().copied()).collect();
        let net = self.net();
        values.push(net.cost / net.quantity);
        values.extend(self.slices(net));
        values.extend(legs.windows(2).flat_map(|pair| pair[0].crossings(&pair[1])));
        let mut prices: Vec<f64> = values.into_iter().filter_map(|v| mark.price_at(v)).collect();
        prices.retain(|price| (1e-30..1e30).contains(price));
        prices.sort_by(f64::total_cmp);
        prices
    }

    /// Marks at which the requirement of the instrument jumps, in slab arithmetic.
    pub(crate) fn steps(&self) -> Vec<f64> {
        let values = self.legs().into_iter().flat_map(|leg| leg.floors);
        values.filter_map(|value| self.own().price_at(value)).collect()
    }

    /// Values at which the joined balance is 0 or at the floor of a slice, whether profit
    /// counts in full or by its weight.
    fn slices(&self, net: Net) -> Vec<f64> {
        let (mark, held) = (self.own(), self.held());
        let Swept { sweep, rules, .. } = self.swept;
        let Some(home) = held.home.get(self.rows().start) else {
            return Vec::new();
        };
        let home = *home as usize;
        let asset = &sweep.marks.assets[held.asset[home] as usize];
        let sign = mark.direction * mark.settle_price;
        let profit = sign * (net.quantity * mark.value - net.cost);
        let counted = rules.conventions.counted(profit);
        let rest = held.amount[home] * asset.price + self.profits[home] - counted;
        let table = rules.weights.table(asset.weights);
        let floors = (1..).map(|slice| table.stretch(slice));
        let mut floors: Vec<f64> =
            floors.map(|s| s.end).take_while(|floor| floor.is_finite()).collect();
        floors.push(0.0);
        let root = |floor: f64, weight: f64| (floor - rest) / weight / sign / net.quantity;
        let weights = [1.0, rules.conventions.profit_weight];
        let roots = floors.iter().flat_map(|floor| weights.map(|weight| root(*floor, weight)));
        roots.map(|root| root + net.cost / net.quantity).collect()
    }

    /// The sizes of the instrument.
    fn legs(&self) -> Vec<Leg> {
        let Swept { sweep, rules, .. } = self.swept;
        let (mark, net) = (self.own(), self.net());
        let profit = mark.direction * (net.quantity * mark.value - net.cost);
        let rest = self.margin.equity - profit * mark.settle_price;
        let fee = Fee::new(mark, || net, rest, rules);
        legs(&self.held(), self.rows(), &sweep.marks, rules, fee)
    }

    /// Marks just below and just above a price, before the next kink.
    pub(crate) fn beside(&self, price: f64, step: f64) -> [f64; 2] {
        let kinks = self.kinks();
        let next = |kink: f64| (kink + price) / 2.0;
        let below = kinks.iter().filter(|kink| **kink < price).map(|kink| next(*kink));
        let above = kinks.iter().filter(|kink| **kink > price).map(|kink| next(*kink));
        [below.fold(price * (1.0 - step), f64::max), above.fold(price * (1.0 + step), f64::min)]
    }

    /// Marks to look at: a grid, every kink and both sides of it, and half-way between kinks.
    pub(crate) fn grid(&self) -> Vec<f64> {
        let kinks = self.kinks();
        let wide = (-48..=48).map(|step| self.mark() * 10f64.powf(f64::from(step) / 6.0));
        let near = (1..30).flat_map(|step| {
            let ratio = 1.0 + 2f64.powi(-step);
            [self.mark() * ratio, self.mark() / ratio]
        });
        let at = kinks.iter().flat_map(|k| [*k, k * (1.0 + 1e-9), k * (1.0 - 1e-9)]);
        let between = kinks.windows(2).map(|pair| (pair[0] * pair[1]).sqrt());
        wide.chain(near).chain(at).chain(between).collect()
    }
}
