//! Random small nights, with the corners that break margin engines.
//!
//! Up to five accounts hold up to ten positions of every kind under random conventions:
//! quantities of 0, rows that net to nothing, orders alone, debts, several tier tables on one
//! instrument. Numbers are either *dyadic*, so that doubles are exact and ties are real, or
//! *ugly*, as doubles get.

use std::ops::Range;

use margrave_core::columns::LIMIT;
use margrave_core::conventions::{CloseFee, Netting, OpenOrders, PriceBasis};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use crate::draws_rules::{conventions, tiers, weights};
use crate::rows::{
    Account, Asset, Balance, Id, Instrument, Kind, MarginMode, Night, Others, Position,
};

const ACCOUNTS: usize = 5;
const INSTRUMENTS: usize = 3;
const ASSETS: usize = 3;
/// One table for each instrument or asset, and one that several may share.
pub(crate) const TABLES: usize = 4;

/// Where the numbers of a night come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Products and sums of these are exact in doubles, in any order.
    Dyadic,
    /// Sensible sizes, round decimals, and what a generous double can do to both.
    Ugly,
}

type Drawn = BoxedStrategy<f64>;

impl Numbers {
    /// Dyadic numbers from a list; ugly ones from another, or from a range, log-uniform.
    pub(crate) fn pick(
        self,
        dyadic: &'static [f64],
        ugly: &'static [f64],
        range: Range<f64>,
    ) -> Drawn {
        let sized = (range.start.ln()..range.end.ln()).prop_map(f64::exp);
        match self {
            Self::Dyadic => select(dyadic).boxed(),
            Self::Ugly => prop_oneof![select(ugly), sized].boxed(),
        }
    }

    fn quantity(self) -> Drawn {
        let size =
            self.pick(&[1.0, 2.0, 4.0, 0.5, 3.0, 6.0], &[0.1, 0.2, 0.3, 1e6, 1e-6], 1e-9..1e4);
        let sign = select(&[1.0, 1.0, 1.0, -1.0, -1.0, 0.0][..]);
        (size, sign).prop_map(|(size, sign)| size * sign).boxed()
    }

    fn orders(self) -> Drawn {
        self.pick(&[0.0, 1.0, 2.0, 5.0, 0.5], &[0.0, 0.1, 3.0, 1e5], 1e-9..1e3)
    }

    fn mark(self) -> Drawn {
        self.pick(&[8.0, 16.0, 4.0, 2.0, 1.0], &[0.1, 97.566, 76497.0, 1e-9, 1e12], 1e-3..1e5)
    }

    /// Entry over mark.
    fn entry(self) -> Drawn {
        self.pick(&[1.0, 1.0, 1.0, 0.5, 2.0, 0.25], &[1.0, 1.0, 0.9, 1.1, 3.0], 0.5..2.0)
    }

    fn contract_size(self) -> Drawn {
        self.pick(&[1.0, 2.0, 0.5], &[1.0, 100.0, 0.001], 0.5..2.0)
    }

    fn asset_price(self) -> Drawn {
        self.pick(&[1.0, 2.0, 0.5, 4.0], &[1.0, 0.9998, 76535.0, 0.05], 1e-6..1e6)
    }

    /// Balance or margin over what is held.
    fn share(self) -> Drawn {
        let dyadic = &[0.0, 0.125, 0.25, 0.5, 1.0, 1.0, 2.0, 4.0, -0.0625, -0.5];
        self.pick(dyadic, &[0.0, 0.05, 0.1, 0.5, 1.0, 2.0, -0.01, -0.3], 1e-9..4.0)
    }

    fn leverage(self) -> Drawn {
        self.pick(&[1.0, 2.0, 8.0, 0.5], &[1.0, 3.0, 10.0, 125.0, 0.1], 1.0..50.0)
    }

    fn fee(self) -> Drawn {
        self.pick(&[0.0, 0.0625, 0.25, 0.015625], &[0.0, 0.0005, 0.00075, 1.0], 1e-6..0.1)
    }

    fn quanto_multiplier(self) -> Drawn {
        self.pick(&[1.0, 2.0, 0.5, 0.25], &[0.0001, 1e-6, 3.0], 1e-3..10.0)
    }
}

/// One night, and whether its numbers are dyadic.
pub(crate) fn nights() -> impl Strategy<Value = (Night, Numbers)> {
    prop_oneof![
        dyadic_nights().prop_map(|night| (night, Numbers::Dyadic)),
        nights_of(Numbers::Ugly).prop_map(|night| (night, Numbers::Ugly)),
    ]
}

/// One night, all of whose sums are exact in doubles.
pub(crate) fn dyadic_nights() -> impl Strategy<Value = Night> {
    nights_of(Numbers::Dyadic)
}

fn nights_of(n: Numbers) -> impl Strategy<Value = Night> {
    let market = (vec(instrument(n), INSTRUMENTS), vec(asset(n), ASSETS));
    let rules = (conventions(n), tiers(n), weights(n));
    let accounts = prop_oneof![Just(None), vec(0..ACCOUNTS + 2, 0..3).prop_map(Some)];
    let book = (vec(position(n), 0..10), vec(balance(n), 0..8), accounts, any::<bool>());
    (market, rules, book).prop_map(move |((mut instruments, mut assets), rules, book)| {
        let (mut positions, shares, accounts, integers) = book;
        let (conventions, tiers, weights) = rules;
        instruments.iter_mut().enumerate().for_each(|(i, row)| row.instrument_id = named(i));
        assets.iter_mut().enumerate().for_each(|(i, row)| row.asset_id = named(i));
        let mut night =
            Night { instruments, assets, conventions, tiers, weights, ..Night::default() };
        positions.iter_mut().for_each(|row| anchor(row, &night));
        let worth: Vec<f64> =
            (0..ACCOUNTS).map(|account| worth(&positions, &night, account)).collect();
        let balance = |(account, asset, share): (usize, usize, f64)| Balance {
            account_id: Some(account_id(account)),
            asset_id: Some(night.assets[asset].asset_id.clone()),
            amount: within_limit(share * worth[account] / night.assets[asset].price),
        };
        night.balances = shares.into_iter().map(balance).collect();
        let listed = |account| Account { account_id: Some(account_id(account)) };
        night.accounts = accounts.map(|accounts| accounts.into_iter().map(listed).collect());
        night.positions = positions;
        if n == Numbers::Dyadic {
            keep_exact(&mut night);
        }
        if integers { with_integer_accounts(night) } else { night }
    })
}

/// Takes the divisions out of a dyadic night: an average entry is that of each of its rows,
/// and a fee at the bankruptcy price closes the net quantity that the price is worked out for.
fn keep_exact(night: &mut Night) {
    if night.conventions.price_basis == PriceBasis::Entry {
        for i in 1..night.positions.len() {
            let (before, [row, ..]) = night.positions.split_at_mut(i) else { continue };
            let mut same = before.iter().filter(|other| other.instrument_id == row.instrument_id);
            row.entry_price = same.next().map_or(row.entry_price, |other| other.entry_price);
        }
    }
    if night.conventions.close_fee == CloseFee::Bankruptcy {
        night.conventions.netting = Netting::Net;
        if night.conventions.open_orders == OpenOrders::Both {
            night.conventions.open_orders = OpenOrders::Initial;
        }
        night.positions.iter_mut().for_each(|row| row.tier_table = None);
    }
}

fn account_id(account: usize) -> Id {
    Id::Text(["b", "a", "", "é", "longer than eight", "c", "d"][account].to_owned())
}

/// The same night with integers for account ids.
fn with_integer_accounts(mut night: Night) -> Night {
    let integer = |id: &mut Option<Id>| {
        let known = (0..ACCOUNTS + 2).find(|account| id.as_ref() == Some(&account_id(*account)));
        *id = known.map(|account| Id::Integer([3, -1, 0, i64::MAX, 56, 7, 8][account]));
    };
    night.positions.iter_mut().for_each(|row| integer(&mut row.account_id));
    night.balances.iter_mut().for_each(|row| integer(&mut row.account_id));
    night.accounts.iter_mut().flatten().for_each(|row| integer(&mut row.account_id));
    night
}

/// The instrument, asset or table with this number.
pub(crate) fn named(index: usize) -> Id {
    Id::Integer(index as i64)
}

fn instrument(n: Numbers) -> impl Strategy<Value = Instrument> {
    const KINDS: [Kind; 8] = [
        Kind::Linear,
        Kind::Linear,
        Kind::Linear,
        Kind::Inverse,
        Kind::Inverse,
        Kind::Quanto,
        Kind::Call,
        Kind::Put,
    ];
    let sizes = (n.mark(), weighted(0.5, n.contract_size()), weighted(0.6, n.fee()));
    let extra = (n.quanto_multiplier(), n.mark());
    (select(&KINDS[..]), 0..ASSETS, sizes, extra, 0..TABLES).prop_map(
        |(kind, settle, (mark_price, contract_size, close_fee_rate), extra, tiers)| Instrument {
            instrument_id: named(0),
            kind,
            settle_asset: named(settle),
            mark_price,
            contract_size,
            tier_table: Some(named(tiers)),
            close_fee_rate,
            quanto_multiplier: (kind == Kind::Quanto).then_some(extra.0),
            underlying_price: matches!(kind, Kind::Call | Kind::Put).then_some(extra.1),
            _others: Others,
        },
    )
}

fn asset(n: Numbers) -> impl Strategy<Value = Asset> {
    (n.asset_price(), 0..TABLES).prop_map(|(price, weights)| Asset {
        asset_id: named(0),
        price,
        weight_table: Some(named(weights)),
        _others: Others,
    })
}

/// A position whose entry and margin are still multiples of what is held.
fn position(n: Numbers) -> impl Strategy<Value = Position> {
    let ids = (0..ACCOUNTS, 0..INSTRUMENTS, weighted(0.3, 0..TABLES));
    let orders = weighted(0.3, (n.orders(), n.orders()));
    let numbers = (n.quantity(), n.entry(), weighted(0.25, n.share()), weighted(0.4, n.leverage()));
    (ids, numbers, orders).prop_map(|((account, instrument, tiers), numbers, orders)| {
        let (quantity, entry_price, isolated_margin, leverage) = numbers;
        Position {
            account_id: Some(account_id(account)),
            instrument_id: Some(named(instrument)),
            quantity,
            entry_price,
            margin_mode: isolated_margin.map(|_| MarginMode::Isolated),
            isolated_margin,
            leverage,
            tier_table: tiers.map(named),
            open_buy_quantity: orders.map(|orders| orders.0),
            open_sell_quantity: orders.map(|orders| orders.1),
        }
    })
}

/// An account, an asset, and the balance over what the account holds.
fn balance(n: Numbers) -> impl Strategy<Value = (usize, usize, f64)> {
    (0..ACCOUNTS, 0..ASSETS, n.share())
}

/// The number, or as much of it as a frame may hold.
pub(crate) fn within_limit(number: f64) -> f64 {
    number.clamp(-LIMIT, LIMIT)
}

/// Gives a drawn position the entry and the margin that its instrument implies.
fn anchor(row: &mut Position, night: &Night) {
    let instrument = terms(row, night);
    row.entry_price *= instrument.mark_price;
    row.isolated_margin =
        row.isolated_margin.map(|share| within_limit(share * notional(row, instrument)));
}

fn terms<'a>(row: &Position, night: &'a Night) -> &'a Instrument {
    let is_its = |i: &&Instrument| row.instrument_id.as_ref() == Some(&i.instrument_id);
    night.instruments.iter().find(is_its).expect("positions are drawn so")
}

/// Value of a position at the mark, settle asset.
fn notional(row: &Position, instrument: &Instrument) -> f64 {
    let size = row.quantity.abs() * instrument.contract_size.unwrap_or(1.0);
    match instrument.kind {
        Kind::Inverse => size / instrument.mark_price,
        Kind::Linear => size * instrument.mark_price,
        Kind::Quanto => size * instrument.mark_price * instrument.quanto_multiplier.unwrap_or(1.0),
        Kind::Call | Kind::Put => size * instrument.underlying_price.unwrap_or(0.0),
    }
}

/// What an account holds, roughly, valuation asset; 16 for nothing.
fn worth(positions: &[Position], night: &Night, account: usize) -> f64 {
    let rows = positions.iter().filter(|row| row.account_id == Some(account_id(account)));
    let value = |row: &Position| {
        let terms = terms(row, night);
        let settle = night.assets.iter().find(|asset| asset.asset_id == terms.settle_asset);
        notional(row, terms) * settle.expect("listed").price
    };
    let worth: f64 = rows.map(value).sum();
    if worth > 0.0 { worth } else { 16.0 }
}
