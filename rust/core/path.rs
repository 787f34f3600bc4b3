//! Paths: how every price moves as a shock goes outwards from 0.
//!
//! A `Direction` says what moves, resolved by the precedence of scenarios. `Path::new` makes of
//! it one `Course` for all buckets, or, where the direction is adverse, a course for each: a
//! price there is `price * (1 + beta * t)`, with `t` from 0 to the last number inside the range.

use hashbrown::HashMap;

use crate::block::Bucket;
use crate::book::Book;
use crate::error::{Error, Result};
use crate::keys::NONE;
use crate::market::{Factors, Kind, Market};
use crate::marks::{Mark, Marks};
use crate::rules::Rules;
use crate::scenarios::{EVERYTHING, Moves};
use crate::sweep::Sweep;

/// How far a rise goes.
const FARTHEST: f64 = 10.0;
/// How near to 0, as a share of what it was, a price is near 0.
const NEAR: f64 = 1e-9;
/// A sum of at most this share of its gross counts as 0.
pub(crate) const NEGLIGIBLE: f64 = 1e-12;

/// What moves, and which way.
#[derive(Clone, Debug, PartialEq)]
pub enum Direction {
    /// What `*` moves, by shocks in (-1, 0].
    Down,
    /// The same by shocks in [0, 10].
    Up,
    /// Each factor by its beta times a shock in [0, 10], as long as all prices stay above 0.
    Factors(Factors),
    /// Every bucket against itself, by shocks in [0, 1): instruments against the net position,
    /// assets owned down and assets owed up. What `*` would not move stays.
    Adverse,
}

/// How prices move with `t`, by the book's codes: `price * (1 + beta * t)`.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    /// Betas of marks.
    pub(crate) marks: Vec<f64>,
    /// Betas of assets.
    pub(crate) assets: Vec<f64>,
}

impl Course {
    /// Nothing moves.
    fn still(marks: &Marks) -> Self {
        Self { marks: vec![0.0; marks.instruments.len()], assets: vec![0.0; marks.assets.len()] }
    }

    /// The beta of an instrument's mark, and that of its settle asset.
    #[inline(always)]
    pub(crate) fn of(&self, instrument: u32, mark: &Mark) -> [f64; 2] {
        [self.marks[instrument as usize], self.assets[mark.settle as usize]]
    }

    /// An instrument at `t`, with the bits of the market moved so.
    pub(crate) fn mark_at(&self, instrument: u32, mark: &Mark, t: f64) -> Mark {
        let [beta, settle_beta] = self.of(instrument, mark);
        let price = mark.price * (1.0 + beta * t);
        let value = match mark.kind {
            Kind::Inverse => mark.contract_size / price,
            Kind::Linear | Kind::Quanto => mark.multiplier * price,
            Kind::Call | Kind::Put => mark.value,
        };
        let settle_price = mark.settle_price * (1.0 + settle_beta * t);
        Mark { price, value, settle_price, ..*mark }
    }

    /// The price of an asset at `t`.
    pub(crate) fn price_at(&self, asset: u32, price: f64, t: f64) -> f64 {
        price * (1.0 + self.assets[asset as usize] * t)
    }

    /// All marks at `t`.
    pub(crate) fn marks_at(&self, marks: &Marks, t: f64) -> Marks {
        let mut moved = marks.clone();
        for (code, mark) in moved.instruments.iter_mut().enumerate() {
            if mark.is_priced {
                *mark = self.mark_at(code as u32, mark, t);
            }
        }
        for (code, asset) in moved.assets.iter_mut().enumerate() {
            asset.price = self.price_at(code as u32, asset.price, t);
        }
        moved
    }
}

/// A direction resolved against a market and a book. See the module.
pub(crate) struct Path {
    /// The course of every bucket; under an adverse direction, 1 for what may move.
    course: Course,
    /// The last `t`.
    pub(crate) end: f64,
    /// From here on prices are so near 0 that rounding may make a root: the kernel confirms it.
    pub(crate) doubt: f64,
    /// Whether shocks are negative.
    is_down: bool,
    against: Option<Gross>,
}

/// Amounts without their signs of balances that are the sum of several rows, by account and
/// asset: there the sum may be rounding alone.
type Gross = HashMap<(u32, u32), f64>;

impl Path {
    /// Resolves `direction`.
    ///
    /// # Errors
    ///
    /// `Error::Data` where a determinate account holds an option whose base it moves.
    pub(crate) fn new(
        book: &Book,
        market: &Market,
        rules: &Rules,
        sweep: &Sweep,
        direction: &Direction,
    ) -> Result<Self> {
        let everything = |beta: f64| Factors::from([(EVERYTHING.to_owned(), beta)]);
        let (factors, end) = match direction {
            Direction::Down => (everything(-1.0), 1.0f64.next_down()),
            Direction::Up => (everything(1.0), FARTHEST),
            Direction::Adverse => (everything(1.0), 1.0f64.next_down()),
            Direction::Factors(factors) => (factors.clone(), FARTHEST),
        };
        let moves = market.moves(&factors, &rules.conventions.valuation_asset);
        let end = if matches!(direction, Direction::Factors(_)) { last(&moves) } else { end };
        let moves = sweep.marks.moves(&moves);
        let is_adverse = *direction == Direction::Adverse;
        check_options(book, sweep, &moves, is_adverse)?;
        let course = Course { marks: moves.marks, assets: moves.assets };
        let is_down = *direction == Direction::Down;
        let doubt = if end < FARTHEST { end * (1.0 - NEAR) } else { f64::INFINITY };
        let against = is_adverse.then(|| gross_amounts(book));
        Ok(Self { course, end, doubt, is_down, against })
    }

    /// The shock at `t`.
    pub(crate) fn shock(&self, t: f64) -> f64 {
        if self.is_down { 0.0 - t } else { t }
    }

    /// The course of every bucket; None where each has its own.
    pub(crate) fn common(&self) -> Option<&Course> {
        self.against.is_none().then_some(&self.course)
    }

    /// Room for the courses of buckets.
    pub(crate) fn courses<'a>(&'a self, marks: &'a Marks, rules: &'a Rules) -> Courses<'a> {
        let own = if self.against.is_some() {
            Course::still(marks)
        } else {
            Course { marks: Vec::new(), assets: Vec::new() }
        };
        Courses { path: self, marks, rules, own, sums: Vec::new() }
    }
}

/// Gives each bucket its course.
pub(crate) struct Courses<'a> {
    path: &'a Path,
    marks: &'a Marks,
    rules: &'a Rules,
    own: Course,
    /// For each balance of a bucket, what is weighted, and the same without signs.
    sums: Vec<[f64; 2]>,
}

impl Courses<'_> {
    /// The course of a bucket of this account, for what the bucket holds.
    #[inline]
    pub(crate) fn of(&mut self, bucket: &Bucket<'_>, account: u32) -> &Course {
        match &self.path.against {
            None => &self.path.course,
            Some(gross) => {
                self.against(bucket, account, gross);
                &self.own
            }
        }
    }

    /// What moves against a bucket, on the market as given.
    fn against(&mut self, bucket: &Bucket<'_>, account: u32, gross: &Gross) {
        let Self { path, marks, rules, own, sums } = self;
        sums.clear();
        sums.extend(bucket.asset.iter().zip(bucket.amount).map(|(asset, amount)| {
            let price = marks.assets[*asset as usize].price;
            let gross = gross.get(&(account, *asset)).copied();
            [amount * price, gross.unwrap_or(amount.abs()) * price]
        }));
        let mut row = 0;
        while row < bucket.instrument.len() {
            let end = bucket.instrument_end(row);
            let code = bucket.instrument[row];
            let mark = &marks.instruments[code as usize];
            let (mut net, mut gross, mut profit) = (0.0, 0.0, 0.0);
            for row in row..end {
                let quantity = bucket.quantity[row];
                net += quantity;
                gross += quantity.abs();
                profit += mark.profit(quantity, bucket.cost[row], bucket.inverse_cost[row]);
            }
            own.marks[code as usize] = -sign(net, gross) * path.course.marks[code as usize];
            own.assets[mark.settle as usize] = 0.0;
            if let Some(home) = bucket.home.get(row) {
                let counted = rules.conventions.counted(profit * mark.settle_price);
                let [sum, gross] = &mut sums[*home as usize];
                *sum += counted;
                *gross += counted.abs();
            }
            row = end;
        }
        for (asset, [sum, gross]) in bucket.asset.iter().zip(&*sums) {
            let place = *asset as usize;
            own.assets[place] = -sign(*sum, *gross) * path.course.assets[place];
        }
        if let Some(posted) = bucket.isolated_margin {
            let settle = marks.instruments[bucket.instrument[0] as usize].settle as usize;
            own.assets[settle] = -sign(posted, posted.abs()) * path.course.assets[settle];
        }
    }
}

/// The sign of a sum; 0 where it is next to nothing.
fn sign(sum: f64, gross: f64) -> f64 {
    if sum.abs() <= NEGLIGIBLE * gross { 0.0 } else { sum.signum() }
}

/// The last `t` up to the farthest at which every mark and asset price is above 0.
fn last(moves: &Moves) -> f64 {
    let betas = moves.marks.iter().chain(&moves.assets);
    let steepest = betas.fold(0.0, |least: f64, beta| least.min(*beta));
    let mut end = FARTHEST;
    if 1.0 + steepest * end <= 0.0 {
        end = -1.0 / steepest;
        while 1.0 + steepest * end <= 0.0 {
            end = end.next_down();
        }
    }
    end
}

/// Checks that no determinate account holds an option that the direction would have to reprice.
fn check_options(book: &Book, sweep: &Sweep, moves: &Moves, is_adverse: bool) -> Result<()> {
    let marks = &sweep.marks.instruments;
    let is_moved = |code: usize| {
        marks[code].kind.is_option() && (is_adverse || moves.underlyings[code] != 0.0)
    };
    let moved: Vec<bool> = (0..marks.len()).map(is_moved).collect();
    if !moved.contains(&true) {
        return Ok(());
    }
    let rows = book.position_instrument.iter().zip(&book.position_account);
    let mut held = rows.filter(|(code, account)| {
        **code != NONE
            && moved[**code as usize]
            && **account != NONE
            && !sweep.indeterminate[**account as usize]
    });
    let Some((first, _)) = held.next() else {
        return Ok(());
    };
    let name = book.instruments.text(*first);
    let count = 1 + held.count();
    let moved = if is_adverse { "may have to move" } else { "moves" };
    Err(Error::Data(format!(
        "direction.factor: the direction {moved} the base of options, which are not repriced: \
         {count} positions hold one (first: {name:?}); leave these accounts out of the book, or \
         the base asset out of the direction"
    )))
}

/// Amounts without signs where a balance is the sum of several rows.
fn gross_amounts(book: &Book) -> Gross {
    let mut rows = vec![0u32; book.accounts()];
    book.balance_account.iter().filter(|account| **account != NONE).for_each(|account| {
        rows[*account as usize] += 1;
    });
    for block in &book.blocks {
        let held = block.rows();
        for account in 0..block.accounts() {
            let buckets = block.buckets_of(account).map(|bucket| held.bucket(bucket));
            let merged: usize = buckets.map(|bucket| bucket.asset.len()).sum();
            let rows = &mut rows[block.first_account + account];
            *rows = rows.saturating_sub(merged as u32);
        }
    }
    let mut gross = Gross::new();
    for (row, account) in book.balance_account.iter().enumerate() {
        let asset = book.balance_asset[row];
        if *account != NONE && asset != NONE && rows[*account as usize] > 0 {
            *gross.entry((*account, asset)).or_default() += book.amounts.values()[row].abs();
        }
    }
    gross
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(marks: &[f64], underlyings: &[f64], assets: &[f64]) -> Moves {
        Moves { marks: marks.to_vec(), underlyings: underlyings.to_vec(), assets: assets.to_vec() }
    }

    #[test]
    fn the_range_ends_before_the_first_price_is_0() {
        assert_eq!(last(&moves(&[1.0, 0.0], &[0.0], &[2.0])), 10.0);
        assert_eq!(last(&moves(&[-0.05], &[0.0], &[])), 10.0);
        assert_eq!(last(&moves(&[-0.1], &[0.0], &[])), 10.0f64.next_down());
        assert_eq!(last(&moves(&[1.0], &[-0.5], &[-0.25])), 4.0f64.next_down());
        assert_eq!(last(&moves(&[1.0], &[0.0], &[-1.0])), 1.0f64.next_down());
    }

    #[test]
    fn next_to_nothing_has_no_sign() {
        assert_eq!((sign(2.0, 3.0), sign(-1e-9, 1.0)), (1.0, -1.0));
        assert_eq!((sign(1e-12, 1.0), sign(0.0, 0.0)), (0.0, 0.0));
    }
}
