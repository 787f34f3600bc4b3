//! The margin of one bucket by plain arithmetic, rule by rule as the contract states them.
//!
//! Nothing is fast here and nothing is shared with the kernel. `scale` is the sum of the sizes of
//! all terms that were added: what rounding may be measured against.

use margrave_core::conventions::{CloseFee, Netting, OpenOrders, PriceBasis, ProfitAndLoss};
use margrave_core::market::Kind;
use margrave_core::weights::WeightRow;

use crate::night::{Instrument, Night, Position};
use crate::sides::value;

/// What stands or falls together: rows of positions, balances by asset, or what is posted.
#[derive(Debug)]
pub(crate) struct Bucket<'a> {
    pub(crate) rows: Vec<&'a Position>,
    pub(crate) balances: Vec<(usize, f64)>,
    /// Of an isolated bucket: what is posted, units of the settle asset.
    pub(crate) posted: Option<f64>,
}

/// Money, valuation asset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) equity: f64,
    pub(crate) margin_balance: f64,
    pub(crate) initial_balance: f64,
    pub(crate) collateral: f64,
    pub(crate) debt: f64,
    pub(crate) profit: f64,
    pub(crate) gross: f64,
    pub(crate) net: f64,
    pub(crate) maintenance: f64,
    pub(crate) initial: f64,
    pub(crate) scale: f64,
    /// Whether rounding may have been blown up: a size at a tier's floor, a bankruptcy price of a
    /// net quantity that is next to nothing.
    pub(crate) is_delicate: bool,
}

impl Night {
    pub(crate) fn settle_price(&self, terms: &Instrument) -> f64 {
        self.assets[terms.settle].price
    }

    /// The figures of a bucket with marks by instrument.
    ///
    /// Closing fees are at the bankruptcy prices of the market as given: where one mark is moved
    /// its own does not move with it, and those of others are held.
    pub(crate) fn figures(&self, bucket: &Bucket<'_>, marks: &[f64]) -> Figures {
        let rules = &self.conventions;
        let mut f = Figures::default();
        let mut sums: Vec<(usize, f64)> = Vec::new();
        for (asset, amount) in &bucket.balances {
            let value = amount * self.assets[*asset].price;
            f.equity += value;
            f.scale += value.abs();
            add(&mut sums, *asset, value);
        }
        let mut counted_beside = 0.0;
        let mut option_value = 0.0;
        for (instrument, terms) in self.instruments.iter().enumerate() {
            let rows = || bucket.rows.iter().filter(|row| row.instrument == instrument);
            let (mark, price) = (marks[instrument], self.settle_price(terms));
            let profit: f64 = rows().map(|row| profit(terms, row, mark) * price).sum();
            f.scale += rows().map(|row| turnover(terms, row, mark) * price).sum::<f64>();
            f.equity += profit;
            if terms.kind.is_option() {
                option_value += profit;
                continue;
            }
            f.profit += profit;
            let counted = if profit > 0.0 { profit * rules.profit_weight } else { profit };
            let joins =
                rules.profit_and_loss == ProfitAndLoss::SettleAsset && bucket.posted.is_none();
            if joins && rows().next().is_some() {
                add(&mut sums, terms.settle, counted);
            } else {
                counted_beside += counted;
            }
        }
        if let Some(posted) = bucket.posted {
            let terms = &self.instruments[bucket.rows[0].instrument];
            let value = posted * self.settle_price(terms);
            f.equity += value;
            f.scale += value.abs();
            f.collateral = value.max(0.0);
            f.debt = (-value).max(0.0);
            f.margin_balance = value;
            f.initial_balance = value;
            let first = &self.weights[self.assets[terms.settle].table][0];
            f.maintenance += f.debt * first.borrow_maintenance_rate;
            f.initial += f.debt * first.borrow_initial_rate;
        }
        for (asset, value) in sums {
            let table = &self.weights[self.assets[asset].table];
            f.scale += value.abs();
            if value >= 0.0 {
                f.collateral += value;
                f.margin_balance += weighted(table, value, |row| row.maintenance_weight);
                f.initial_balance += weighted(table, value, |row| row.initial_weight);
            } else {
                f.debt -= value;
                f.margin_balance += value * table[0].liability_weight;
                f.initial_balance += value * table[0].liability_weight;
                f.maintenance -= value * table[0].borrow_maintenance_rate;
                f.initial -= value * table[0].borrow_initial_rate;
            }
        }
        f.margin_balance += counted_beside + option_value;
        f.initial_balance += counted_beside + option_value;
        self.requirements(bucket, marks, &mut f);
        f
    }

    /// The bankruptcy price of a row's instrument, 0 where it is not positive, and how far off
    /// rounding may put it; None where the net quantity is none.
    pub(crate) fn bankruptcy(&self, bucket: &Bucket<'_>, row: &Position) -> Option<(f64, f64)> {
        let terms = &self.instruments[row.instrument];
        let of: Vec<&Position> = bucket
            .rows
            .iter()
            .copied()
            .filter(|other| other.instrument == row.instrument)
            .collect();
        let settle = self.settle_price(terms);
        let at = |equity: f64| bankruptcy_price(terms, &of, equity / settle).unwrap_or(0.0);
        let net: f64 = of.iter().map(|row| row.quantity).sum();
        let gross: f64 = of.iter().map(|row| row.quantity.abs()).sum();
        if net.abs() <= 1e-12 * gross {
            return None;
        }
        let (equity, scale) = (self.equity(bucket), self.figures(bucket, &self.marks()).scale);
        let doubt = 1e-9 * scale * gross / net.abs();
        let (low, price, high) = (at(equity - doubt), at(equity), at(equity + doubt));
        let wide = (price - low).abs().max((high - price).abs());
        // From a price to none, by rounding alone.
        let is_lost = (low > 0.0) != (price > 0.0) || (high > 0.0) != (price > 0.0);
        Some((price, if is_lost { f64::INFINITY } else { wide + 1e-9 * price }))
    }

    /// What a bucket is worth at the marks as given.
    fn equity(&self, bucket: &Bucket<'_>) -> f64 {
        let balances =
            bucket.balances.iter().map(|(asset, amount)| amount * self.assets[*asset].price);
        let profits = bucket.rows.iter().map(|row| {
            let terms = &self.instruments[row.instrument];
            profit(terms, row, terms.mark) * self.settle_price(terms)
        });
        let posted = bucket.posted.map_or(0.0, |posted| {
            posted * self.settle_price(&self.instruments[bucket.rows[0].instrument])
        });
        balances.sum::<f64>() + profits.sum::<f64>() + posted
    }

    fn requirements(&self, bucket: &Bucket<'_>, marks: &[f64], f: &mut Figures) {
        let rules = &self.conventions;
        let equity = self.equity(bucket);
        for (instrument, terms) in self.instruments.iter().enumerate() {
            let (mark, price) = (marks[instrument], self.settle_price(terms));
            let of: Vec<&Position> =
                bucket.rows.iter().copied().filter(|row| row.instrument == instrument).collect();
            let bankruptcy = bankruptcy_price(terms, &of, equity / price);
            let gross: f64 = of.iter().map(|row| row.quantity.abs()).sum();
            let net: f64 = of.iter().map(|row| row.quantity).sum();
            let by_fee = rules.close_fee == CloseFee::Bankruptcy && terms.fee > 0.0;
            f.is_delicate |= by_fee && net.abs() < 1e-6 * gross;
            for table in 0..self.tiers.len() {
                let rows: Vec<&Position> =
                    of.iter().copied().filter(|row| row.table == table).collect();
                if rows.is_empty() {
                    continue;
                }
                let unit = value(terms, mark) * price;
                f.net += rows.iter().map(|row| row.quantity).sum::<f64>() * unit;
                let sides: Vec<Vec<&Position>> = if rules.netting == Netting::Net {
                    vec![rows]
                } else {
                    let (longs, shorts) = rows.into_iter().partition(|row| row.quantity >= 0.0);
                    vec![longs, shorts]
                };
                let mut asked = Vec::new();
                for side in sides.iter().filter(|side| !side.is_empty()) {
                    let quantity: f64 = side.iter().map(|row| row.quantity).sum();
                    f.gross += quantity.abs() * unit;
                    let (maintenance, initial, is_delicate) =
                        self.side(terms, side, mark, bankruptcy);
                    f.is_delicate |= is_delicate;
                    f.scale += (maintenance.abs() + initial.abs()) * price;
                    f.scale +=
                        side.iter().map(|r| r.quantity.abs() + r.buy + r.sell).sum::<f64>() * unit;
                    asked.push((quantity, maintenance * price, initial * price));
                }
                if rules.netting == Netting::LargerSide && asked.len() == 2 {
                    // A tie is for the longs, unless rounding breaks it: that of unlike sizes may.
                    let near = (asked[0].1 - asked[1].1).abs() <= 1e-9 * asked[0].1.abs();
                    let alike = asked[0].0 == -asked[1].0
                        && rules.price_basis == PriceBasis::Mark
                        && rules.open_orders != OpenOrders::Both;
                    f.is_delicate |= near && asked[0].1 != 0.0 && !alike;
                    let keep = if asked[1].1 > asked[0].1 { 1 } else { 0 };
                    asked = vec![asked[keep]];
                }
                f.maintenance += asked.iter().map(|side| side.1).sum::<f64>();
                f.initial += asked.iter().map(|side| side.2).sum::<f64>();
            }
        }
    }
}

fn add(sums: &mut Vec<(usize, f64)>, asset: usize, value: f64) {
    match sums.iter_mut().find(|(other, _)| *other == asset) {
        Some((_, sum)) => *sum += value,
        None => sums.push((asset, value)),
    }
}

/// The profit of a row, settle asset; of an option, its value.
fn profit(terms: &Instrument, row: &Position, mark: f64) -> f64 {
    let q = row.quantity * terms.size;
    match terms.kind {
        Kind::Linear => q * (mark - row.entry),
        Kind::Inverse => q * (1.0 / row.entry - 1.0 / mark),
        Kind::Quanto => q * terms.multiplier * (mark - row.entry),
        Kind::Call | Kind::Put => q * mark,
    }
}

/// The size of what a row's profit is the difference of, settle asset.
fn turnover(terms: &Instrument, row: &Position, mark: f64) -> f64 {
    let q = row.quantity.abs() * terms.size;
    match terms.kind {
        Kind::Linear => q * (mark + row.entry),
        Kind::Inverse => q * (1.0 / row.entry + 1.0 / mark),
        Kind::Quanto => q * terms.multiplier * (mark + row.entry),
        Kind::Call | Kind::Put => q * mark,
    }
}

fn weighted(table: &[WeightRow], value: f64, weight: fn(&WeightRow) -> f64) -> f64 {
    let slice = |(i, row): (usize, &WeightRow)| {
        let end = table.get(i + 1).map_or(f64::INFINITY, |next| next.floor);
        (value.min(end) - row.floor).max(0.0) * weight(row)
    };
    table.iter().enumerate().map(slice).sum()
}

/// The mark at which equity is 0, all else held; `equity` at the mark as given, settle asset.
fn bankruptcy_price(terms: &Instrument, rows: &[&Position], equity: f64) -> Option<f64> {
    let mark = terms.mark;
    let gross: f64 = rows.iter().map(|row| row.quantity.abs()).sum();
    let net: f64 = rows.iter().map(|row| row.quantity).sum();
    if net.abs() <= 1e-12 * gross {
        return None;
    }
    let per_price = net * terms.size;
    let price = match terms.kind {
        Kind::Inverse => 1.0 / (1.0 / mark + equity / per_price),
        Kind::Quanto => mark - equity / (per_price * terms.multiplier),
        _ => mark - equity / per_price,
    };
    (price > 0.0 && price.is_finite()).then_some(price)
}
