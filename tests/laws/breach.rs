//! Breaches against the flag itself, at many shocks.
//!
//! A bucket is looked at through the kernel alone, with every price moved along the direction:
//! on a grid of shocks, and around the one that the core gives.

use std::cell::RefCell;
use std::collections::BTreeMap;

use margrave_core::block::Bucket;
use margrave_core::breach::{Breaches, Direction, breach};
use margrave_core::conventions::{TierMode, ZeroRequirement};
use margrave_core::margin::{Joined, Status, bucket_margin};
use margrave_core::market::Market;
use margrave_core::marks::Marks;
use margrave_core::positions::PriceKind;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use crate::cases;
use crate::draws::{Numbers, nights};
use crate::lines::{ABOVE, on_the_line, two_sided};
use crate::rounding::scale;
use crate::rows::{Kind, Night};
use crate::swept::Swept;

const ROOT: u8 = PriceKind::Root as u8;
const NONE: u8 = PriceKind::None as u8;
const BREACHED: u8 = PriceKind::Breached as u8;

/// A direction by its words.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    Down,
    Up,
    Adverse,
    /// Betas of instruments and assets of these names.
    Betas(Vec<(&'static str, f64)>),
}

impl Way {
    pub(crate) fn direction(&self) -> Direction {
        match self {
            Self::Down => Direction::Down,
            Self::Up => Direction::Up,
            Self::Adverse => Direction::Adverse,
            Self::Betas(betas) => {
                let betas = betas.iter().map(|(name, beta)| ((*name).to_owned(), *beta));
                Direction::Factors(betas.collect())
            }
        }
    }
}

/// Random directions. A name of a night is an instrument and an asset.
pub(crate) fn ways() -> impl Strategy<Value = Way> {
    let betas = [1.0, -1.0, 0.5, -0.5, 0.25, 2.0, -2.0, 0.1, -0.3, 0.0];
    let named = |name: &'static str| select(betas.to_vec()).prop_map(move |beta| (name, beta));
    let some = (named("0"), named("1"), named("2"), named("*"), any::<[bool; 4]>());
    let some = some.prop_map(|(a, b, c, d, kept)| {
        let kept = [a, b, c, d].into_iter().zip(kept).filter(|(_, kept)| *kept);
        Way::Betas(kept.map(|(beta, _)| beta).collect())
    });
    prop_oneof![Just(Way::Down), Just(Way::Up), Just(Way::Adverse), some.clone(), some]
}

/// The night without options where the direction moves what they are on.
pub(crate) fn without_options(night: &Night, way: &Way) -> Night {
    let mut night = night.clone();
    let names_all = matches!(way, Way::Betas(betas) if betas.iter().all(|(name, _)| *name != "*"));
    for instrument in &mut night.instruments {
        if !names_all && matches!(instrument.kind, Kind::Call | Kind::Put) {
            (instrument.kind, instrument.underlying_price) = (Kind::Linear, None);
        }
    }
    night
}

/// A night with some assets stable, swept, and how far each account is.
pub(crate) struct Breached {
    pub(crate) swept: Swept,
    pub(crate) market: Market,
    breaches: Breaches,
    pub(crate) way: Way,
}

/// Betas of prices along a path, `t` from 0 outwards.
pub(crate) struct Betas {
    marks: Vec<f64>,
    assets: Vec<f64>,
}

/// What the kernel says of a bucket at one shock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) is_liquidatable: bool,
    margin_buffer: f64,
    maintenance_margin: f64,
    pub(crate) equity: f64,
    pub(crate) gross_notional: f64,
    /// How far rounding reaches.
    pub(crate) slack: f64,
}

impl Seen {
    /// The flag, None where rounding decides it.
    pub(crate) fn flag(&self) -> Option<bool> {
        let is_clear = self.margin_buffer.abs() > self.slack
            && (self.maintenance_margin == 0.0 || self.maintenance_margin > self.slack);
        is_clear.then_some(self.is_liquidatable)
    }
}

impl Breached {
    pub(crate) fn new(night: &Night, way: &Way, stable: usize) -> Self {
        let night = without_options(night, way);
        let swept = Swept::new(&night);
        let mut market = night.market();
        if let Some(price) = market.prices.get_mut(stable) {
            price.is_stable = true;
        }
        let breaches = breaches_of(&swept, &market, &way.direction());
        Self { swept, market, breaches, way: way.clone() }
    }

    /// The end of the range, and whether it belongs to it.
    pub(crate) fn end(&self) -> (f64, bool) {
        match &self.way {
            Way::Down | Way::Adverse => (1.0, false),
            Way::Up => (10.0, true),
            Way::Betas(_) => {
                let marks = self.market.instruments.texts().iter();
                let marks = marks.map(|name| self.beta(name, self.rest()));
                let assets = self.market.assets.texts().iter().zip(&self.market.prices);
                let assets = assets.map(|(name, price)| {
                    self.beta(name, if price.is_stable { 0.0 } else { self.rest() })
                });
                let least = marks.chain(assets).fold(0.0, f64::min);
                if least > -0.1 { (10.0, true) } else { (-1.0 / least, false) }
            }
        }
    }

    /// What everything moves by that is not named; it does not move stable assets.
    fn rest(&self) -> f64 {
        match &self.way {
            Way::Down => -1.0,
            Way::Up | Way::Adverse => 1.0,
            Way::Betas(betas) => betas.iter().find(|(n, _)| *n == "*").map_or(0.0, |(_, b)| *b),
        }
    }

    fn beta(&self, name: &str, otherwise: f64) -> f64 {
        match &self.way {
            Way::Betas(betas) => {
                betas.iter().find(|(known, _)| *known == name).map_or(otherwise, |(_, beta)| *beta)
            }
            _ => otherwise,
        }
    }

    /// How prices move for a bucket.
    fn betas(&self, bucket: &Bucket<'_>, account: usize) -> Betas {
        let (marks, book) = (&self.swept.sweep.marks, &self.swept.book);
        let mut betas = Betas {
            marks: book.instruments.texts().iter().map(|n| self.beta(n, self.rest())).collect(),
            assets: Vec::new(),
        };
        for asset in 0..marks.assets.len() {
            let name = marks.asset_name(book, asset as u32);
            let code = self.market.assets.code(name);
            let is_stable = code.is_none_or(|code| self.market.prices[code as usize].is_stable);
            betas.assets.push(self.beta(name, if is_stable { 0.0 } else { self.rest() }));
        }
        if matches!(self.way, Way::Adverse) { self.against(bucket, account, &betas) } else { betas }
    }

    /// The same against a bucket.
    fn against(&self, bucket: &Bucket<'_>, account: usize, free: &Betas) -> Betas {
        let (marks, rules) = (&self.swept.sweep.marks, &self.swept.rules);
        let sign = |sum: f64, gross: f64| {
            if sum.abs() <= 1e-12 * gross { 0.0 } else { -sum.signum() }
        };
        let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        let mut owned = |asset: u32, value: f64, gross: f64| {
            let sum = sums.entry(asset).or_default();
            *sum = (sum.0 + value, sum.1 + gross);
        };
        for (asset, amount) in bucket.asset.iter().zip(bucket.amount) {
            let price = marks.assets[*asset as usize].price;
            let name = marks.asset_name(&self.swept.book, *asset).to_owned();
            let rows = self.swept.night.balances.iter().filter(|row| {
                row.account_id.as_ref() == Some(self.swept.account_id(account))
                    && row.asset_id.as_ref().map(ToString::to_string) == Some(name.clone())
            });
            owned(*asset, amount * price, rows.map(|row| row.amount.abs() * price).sum());
        }
        let mut betas =
            Betas { marks: vec![0.0; free.marks.len()], assets: vec![0.0; free.assets.len()] };
        let mut row = 0;
        while row < bucket.instrument.len() {
            let end = bucket.instrument_end(row);
            let code = bucket.instrument[row] as usize;
            let mark = &marks.instruments[code];
            let held = &bucket.quantity[row..end];
            let (net, gross) = (held.iter().sum(), held.iter().map(|q| q.abs()).sum());
            betas.marks[code] = sign(net, gross) * free.marks[code];
            let profit: f64 = (row..end)
                .map(|r| mark.profit(bucket.quantity[r], bucket.cost[r], bucket.inverse_cost[r]))
                .sum();
            if !bucket.home.is_empty() {
                let counted = rules.conventions.counted(profit * mark.settle_price);
                owned(mark.settle, counted, counted.abs());
            }
            row = end;
        }
        if let Some(posted) = bucket.isolated_margin {
            owned(marks.instruments[bucket.instrument[0] as usize].settle, posted, posted.abs());
        }
        for (asset, (sum, gross)) in sums {
            betas.assets[asset as usize] = sign(sum, gross) * free.assets[asset as usize];
        }
        betas
    }

    /// The buckets of an account.
    pub(crate) fn buckets(&self, account: usize) -> Vec<(Bucket<'_>, Betas)> {
        let block = &self.swept.sweep.blocks(&self.swept.book)[0];
        let buckets = block.buckets_of(account - block.first_account);
        let buckets = buckets.map(|number| block.bucket(number));
        buckets.map(|bucket| (bucket, self.betas(&bucket, account))).collect()
    }

    /// A bucket at `t`.
    pub(crate) fn at(&self, bucket: &Bucket<'_>, betas: &Betas, t: f64) -> Seen {
        let Swept { rules, sweep, .. } = &self.swept;
        let marks = moved(&sweep.marks, betas, t);
        let margin = bucket_margin(bucket, &marks, rules, &mut Joined::default());
        // Near a price of 0 or beyond all prices a shock of one bit more is far away.
        let factors = betas.marks.iter().chain(&betas.assets).map(|beta| 1.0 + beta * t);
        let steep = factors.fold(1.0, |steep: f64, factor| steep.max(1.0 / factor));
        let scale = scale(bucket, &marks, rules) + scale(bucket, &sweep.marks, rules);
        Seen {
            is_liquidatable: margin.is_liquidatable && margin.status != Status::Flat,
            margin_buffer: margin.margin_buffer,
            maintenance_margin: margin.maintenance_margin,
            equity: margin.equity,
            gross_notional: margin.gross_notional,
            slack: 1e-13 * scale * steep,
        }
    }

    /// Whether any bucket is flagged at `t`: None where rounding decides it.
    fn flag(&self, buckets: &[(Bucket<'_>, Betas)], t: f64) -> Option<bool> {
        let flag = |(bucket, betas): &(Bucket<'_>, Betas)| self.at(bucket, betas, t).flag();
        let flags: Vec<Option<bool>> = buckets.iter().map(flag).collect();
        if flags.contains(&Some(true)) {
            return Some(true);
        }
        (!flags.contains(&None)).then_some(false)
    }

    /// Places to look at up to `last`.
    pub(crate) fn grid(last: f64) -> impl Iterator<Item = f64> {
        let even = (0..200).map(move |step| last * f64::from(step) / 200.0);
        let near_start = (4..60).map(move |step| last * 2f64.powi(-step));
        let near_end = (4..40).map(move |step| last * (1.0 - 2f64.powi(-step)));
        even.chain(near_start).chain(near_end)
    }

    /// Checks what the core says of an account.
    fn check(&self, account: usize) -> Result<(), TestCaseError> {
        let sweep = &self.swept.sweep;
        let (kind, shock) = (self.breaches.kind[account], self.breaches.shock[account]);
        prop_assert!(!sweep.indeterminate[account]);
        prop_assert_eq!(kind == BREACHED, sweep.accounts.is_liquidatable[account]);
        let (end, is_closed) = self.end();
        let is_down = matches!(self.way, Way::Down);
        if kind != ROOT {
            prop_assert_eq!(shock.to_bits(), 0);
        }
        if kind == BREACHED {
            return Ok(());
        }
        let buckets = self.buckets(account);
        let t = if is_down { -shock } else { shock };
        let last = if kind == ROOT { t * (1.0 - 1e-9) } else { end * (1.0 - 1e-12) };
        for other in Self::grid(last).filter(|other| *other < last) {
            let flag = self.flag(&buckets, other);
            prop_assert!(flag != Some(true), "a flag at {other} before {t} ({kind})");
        }
        if kind == NONE {
            let there = self.flag(&buckets, end);
            prop_assert!(!is_closed || there != Some(true), "a flag at the end");
            return Ok(());
        }
        prop_assert!((0.0..=end).contains(&t) && (is_closed || t < end), "{t} of {end}");
        self.check_root(&buckets, t, end)
    }

    /// Checks that a bucket is on its line at `t`, or jumps over it.
    fn check_root(
        &self,
        buckets: &[(Bucket<'_>, Betas)],
        t: f64,
        end: f64,
    ) -> Result<(), TestCaseError> {
        let rules = &self.swept.rules.conventions;
        let seen: Vec<Seen> = buckets.iter().map(|(b, betas)| self.at(b, betas, t)).collect();
        // A step at the line itself may lie just inside, by rounding.
        let inside = buckets.iter().map(|(b, betas)| self.at(b, betas, t * (1.0 - 4e-15)));
        let mut near = seen.iter().copied().chain(inside);
        let is_met = near.any(|seen| seen.margin_buffer.abs() <= seen.slack);
        let steps = [1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5];
        let beyond = steps.iter().map(|step| t + step * t.max(1e-3)).filter(|t| *t < end);
        let is_past = beyond.clone().any(|other| self.flag(buckets, other) == Some(true));
        if is_met {
            // Exactly on the line it is 0, whatever comes after.
            let counts = t > 0.0 && t < end * (1.0 - 1e-3);
            TOUCHED.with_borrow_mut(|count| count[usize::from(is_past)] += usize::from(counts));
            return Ok(());
        }
        let is_jump =
            rules.tier_mode == TierMode::Slab || rules.zero_requirement == ZeroRequirement::Never;
        // What begins to be required may be less than rounding can tell from nothing.
        let is_begun =
            |t: f64| buckets.iter().any(|(b, betas)| self.at(b, betas, t).is_liquidatable);
        let is_flagged = is_past || t.next_up() >= end || beyond.chain([t]).any(is_begun);
        prop_assert!(is_jump && is_flagged, "the line is not met at {t}: {seen:?}");
        Ok(())
    }

    fn check_all(&self) -> Result<(), TestCaseError> {
        (0..self.swept.book.accounts()).try_for_each(|account| self.check(account))
    }
}

thread_local! {
    /// Roots at which the line is met: without a flag just past them, and with one.
    static TOUCHED: RefCell<[usize; 2]> = const { RefCell::new([0; 2]) };
}

/// How far every account of a night is from its trigger.
pub(crate) fn breaches_of(swept: &Swept, market: &Market, direction: &Direction) -> Breaches {
    let Swept { book, rules, sweep, .. } = swept;
    breach(book, market, rules, sweep, direction, 1).expect("no options")
}

/// All marks at `t`.
fn moved(marks: &Marks, betas: &Betas, t: f64) -> Marks {
    let mut moved = marks.clone();
    for (asset, beta) in moved.assets.iter_mut().zip(&betas.assets) {
        asset.price *= 1.0 + beta * t;
    }
    for (mark, beta) in moved.instruments.iter_mut().zip(&betas.marks) {
        mark.price *= 1.0 + beta * t;
        mark.settle_price = moved.assets[mark.settle as usize].price;
        if !mark.kind.is_option() {
            mark.value = match mark.direction > 0.0 {
                true => mark.multiplier * mark.price,
                false => mark.contract_size / mark.price,
            };
        }
    }
    moved
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn breach_is_on_the_line_and_nothing_inside_is_past_it(
        (night, _) in nights(),
        way in ways(),
        stable in 0usize..5,
    ) {
        Breached::new(&night, &way, stable).check_all()?;
    }

    #[test]
    fn breaches_hold_for_buckets_that_begin_on_the_line(
        (night, numbers) in nights(),
        way in ways(),
        choice in any::<prop::sample::Index>(),
        above in select(&ABOVE[..]),
    ) {
        let night = without_options(&on_the_line(&night, numbers, choice, above), &way);
        Breached::new(&night, &way, 5).check_all()?;
    }

    #[test]
    fn breaches_hold_where_the_larger_side_changes(
        (night, numbers) in nights().prop_filter("two rows", |(n, _)| n.positions.len() > 1),
        way in ways(),
        choice in any::<prop::sample::Index>(),
        at_entry in any::<bool>(),
    ) {
        let night = on_the_line(&two_sided(&night, at_entry), numbers, choice, 0.015625);
        Breached::new(&without_options(&night, &way), &way, 5).check_all()?;
    }
}

#[test]
fn random_nights_have_breaches_of_every_kind() {
    let kinds = RefCell::new([0; 3]);
    let count = |((night, _), way, stable): ((Night, Numbers), Way, usize)| {
        let breached = Breached::new(&night, &way, stable);
        breached.breaches.kind.iter().for_each(|kind| kinds.borrow_mut()[*kind as usize] += 1);
        breached.check_all()
    };
    let nights = (nights(), ways(), 0usize..5);
    TestRunner::new(cases(1000)).run(&nights, count).expect("as in the laws");
    let kinds = kinds.into_inner();
    assert!(kinds.iter().all(|count| *count > 200), "{kinds:?}");
    let [without, with] = TOUCHED.take();
    assert!(
        with > 100 && 20 * without < with,
        "{without} of {with} roots that only touch the line"
    );
}
