//! Rows of positions: each takes its part of what its merged row shares.
//!
//! Rows are staged, a few at a time: what they need is gathered into short arrays, worked out
//! there without a branch, and written a column at a time.

use std::ops::Range;

use crate::bits::Run;
use crate::book::Book;
use crate::columns::{Numbers, View};
use crate::conventions::OpenOrders;
use crate::market::Kind;
use crate::marks::{Mark, Marks};
use crate::rules::Rules;
use crate::shared::Shared;

/// Neighbouring rows of the columns, to be written by one thread.
pub(crate) struct Part<'a> {
    /// The first of them.
    pub(crate) first: usize,
    pub(crate) bucket: &'a mut [u32],
    pub(crate) tier: &'a mut [i64],
    pub(crate) kind: &'a mut [u8],
    /// Mark, notional, profit, maintenance and initial margin, liquidation and bankruptcy price.
    pub(crate) numbers: [&'a mut [f64]; 7],
}

/// Bits of a part: what is known, has a mark, a liquidation price, a bankruptcy price.
pub(crate) type Runs = [Run; 4];

impl<'a> Part<'a> {
    /// Cuts off the first `length` rows.
    pub(crate) fn take(&mut self, length: usize) -> Self {
        fn cut<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
            let (head, tail) = std::mem::take(rest).split_at_mut(length);
            *rest = tail;
            head
        }
        let first = self.first;
        self.first += length;
        Self {
            first,
            bucket: cut(&mut self.bucket, length),
            tier: cut(&mut self.tier, length),
            kind: cut(&mut self.kind, length),
            numbers: self.numbers.each_mut().map(|column| cut(column, length)),
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.bucket.len()
    }

    /// Writes rows that were staged.
    #[inline(always)]
    fn write(&mut self, rows: Range<usize>, staged: &Stage) {
        let length = rows.len();
        self.bucket[rows.clone()].copy_from_slice(&staged.bucket[..length]);
        self.tier[rows.clone()].copy_from_slice(&staged.tier[..length]);
        self.kind[rows.clone()].copy_from_slice(&staged.kind[..length]);
        for (column, values) in self.numbers.iter_mut().zip(&staged.numbers) {
            column[rows.clone()].copy_from_slice(&values[..length]);
        }
    }

    /// The bits of rows that are all written.
    #[inline(always)]
    fn runs(&self, are_known: bool) -> Runs {
        let is_price = |price: f64| price > 0.0;
        let [mark_price, .., liquidation_price, bankruptcy_price] = &self.numbers;
        let full = || Run::full(self.first, self.len());
        let prices = |prices| Run::new(self.first, prices, is_price);
        [
            if are_known { full() } else { Run::new(self.first, self.tier, |tier| tier > 0) },
            if are_known { full() } else { prices(mark_price) },
            prices(liquidation_price),
            prices(bankruptcy_price),
        ]
    }
}

/// What rows need of one instrument; it fills a line of the cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Terms {
    /// 0 where there is none.
    mark_price: f64,
    price: f64,
    value: f64,
    multiplier: f64,
    settle_price: f64,
    /// Value of one option; 0 of other kinds.
    option_value: f64,
    kind: f64,
}

const LINEAR: f64 = 0.0;
const INVERSE: f64 = 1.0;
const OPTION: f64 = 2.0;

impl Terms {
    const NONE: Self = Self {
        mark_price: 0.0,
        price: 0.0,
        value: 0.0,
        multiplier: 0.0,
        settle_price: 0.0,
        option_value: 0.0,
        kind: LINEAR,
    };

    fn new(mark: &Mark) -> Self {
        Self {
            mark_price: if mark.price > 0.0 { mark.price } else { 0.0 },
            price: mark.price,
            value: mark.value,
            multiplier: mark.multiplier,
            settle_price: mark.settle_price,
            option_value: mark.option_value(1.0),
            kind: match mark.kind {
                Kind::Linear | Kind::Quanto => LINEAR,
                Kind::Inverse => INVERSE,
                Kind::Call | Kind::Put => OPTION,
            },
        }
    }
}

/// The input rows, and what their instruments are worth.
pub(crate) struct Rows<'a> {
    instrument: &'a [u32],
    quantity: &'a [f64],
    entry: &'a [f64],
    orders: [Option<View<'a>>; 2],
    open_orders: OpenOrders,
    /// By instrument; the last of them for rows without one.
    terms: Vec<Terms>,
}

impl<'a> Rows<'a> {
    /// The rows of a book.
    pub(crate) fn new(book: &'a Book, marks: &Marks, rules: &Rules) -> Self {
        let positions = &book.positions;
        let open_orders = rules.conventions.open_orders;
        let orders = [&positions.open_buy, &positions.open_sell];
        let seen =
            |column: &&'a Option<Numbers>| open_orders != OpenOrders::None && column.is_some();
        Self {
            instrument: &book.position_instrument,
            quantity: positions.quantity.values(),
            entry: positions.entry_price.values(),
            orders: orders.map(|column| Some(column).filter(seen)?.as_ref().map(Numbers::view)),
            open_orders,
            terms: marks.instruments.iter().map(Terms::new).chain([Terms::NONE]).collect(),
        }
    }

    /// Writes the rows of a part, each with what is shared at its slot.
    #[inline(always)]
    pub(crate) fn write(
        &self,
        part: &mut Part<'_>,
        shared: &[Shared],
        slot: impl Fn(usize) -> u32,
    ) -> Runs {
        let mut stage = Stage::new();
        let mut are_known = true;
        for begin in (0..part.len()).step_by(STAGED) {
            let rows = begin..(begin + STAGED).min(part.len());
            let first = part.first + begin;
            // One after another, so that the waits for memory overlap.
            for (i, fetched) in stage.fetched[..rows.len()].iter_mut().enumerate() {
                *fetched = *shared.get(slot(first + i) as usize).unwrap_or(&Shared::NOTHING);
            }
            self.stage(&mut stage, first, rows.len());
            stage.work_out(self.open_orders);
            are_known &= stage.forget_unknown(rows.len());
            part.write(rows, &stage);
        }
        part.runs(are_known)
    }

    /// Gathers what rows need.
    #[inline(always)]
    fn stage(&self, stage: &mut Stage, first: usize, length: usize) {
        let rows = first..first + length;
        stage.quantity[..length].copy_from_slice(&self.quantity[rows.clone()]);
        stage.entry[..length].copy_from_slice(&self.entry[rows.clone()]);
        let last = self.terms.len() - 1;
        for (i, code) in self.instrument[rows.clone()].iter().take(STAGED).enumerate() {
            let terms = &self.terms[last.min(*code as usize)];
            stage.numbers[MARK][i] = terms.mark_price;
            stage.price[i] = terms.price;
            stage.value[i] = terms.value;
            stage.multiplier[i] = terms.multiplier;
            stage.settle_price[i] = terms.settle_price;
            stage.option_value[i] = terms.option_value;
            stage.instrument_kind[i] = terms.kind;
        }
        for (i, shared) in stage.fetched.iter().enumerate() {
            stage.bucket[i] = shared.bucket;
            stage.tier[i] = i64::from(shared.tier);
            stage.kind[i] = shared.kind as u8;
            stage.numbers[MAINTENANCE][i] = shared.maintenance;
            stage.kept[i] = shared.kept;
            stage.numbers[INITIAL][i] = shared.initial;
            stage.opened[i] = shared.opened;
            stage.numbers[LIQUIDATION][i] = shared.liquidation_price;
            stage.numbers[BANKRUPTCY][i] = shared.bankruptcy_price;
        }
        stage.orders = [0.0; STAGED];
        for column in self.orders.iter().flatten() {
            each_given(*column, rows.clone(), |i, contracts| stage.orders[i] += contracts);
        }
    }
}

/// Shows what is given in `rows` to `each`, with its place among them.
#[inline(always)]
fn each_given(column: View<'_>, rows: Range<usize>, mut each: impl FnMut(usize, f64)) {
    let Some(words) = column.validity else {
        return column.values[rows].iter().enumerate().for_each(|(i, value)| each(i, *value));
    };
    for first in (rows.start / 64 * 64..rows.end).step_by(64) {
        let mut given = words[first / 64];
        while given != 0 {
            let row = first + given.trailing_zeros() as usize;
            if rows.contains(&row) {
                each(row - rows.start, column.values[row]);
            }
            given &= given - 1;
        }
    }
}

/// Rows that are staged at a time: they stay in the nearest cache.
const STAGED: usize = 64;

const MARK: usize = 0;
const NOTIONAL: usize = 1;
const PROFIT: usize = 2;
const MAINTENANCE: usize = 3;
const INITIAL: usize = 4;
const LIQUIDATION: usize = 5;
const BANKRUPTCY: usize = 6;

/// A few rows on their way to the columns.
struct Stage {
    fetched: [Shared; STAGED],
    quantity: [f64; STAGED],
    entry: [f64; STAGED],
    /// Contracts in the orders of a row, both sides, where they are seen.
    orders: [f64; STAGED],
    price: [f64; STAGED],
    value: [f64; STAGED],
    multiplier: [f64; STAGED],
    settle_price: [f64; STAGED],
    option_value: [f64; STAGED],
    instrument_kind: [f64; STAGED],
    kept: [f64; STAGED],
    opened: [f64; STAGED],
    bucket: [u32; STAGED],
    tier: [i64; STAGED],
    kind: [u8; STAGED],
    /// The columns of numbers, with both margins of the whole side until they are shared out.
    numbers: [[f64; STAGED]; 7],
}

impl Stage {
    fn new() -> Self {
        let zeros = [0.0; STAGED];
        Self {
            fetched: [Shared::NOTHING; STAGED],
            quantity: zeros,
            entry: zeros,
            orders: zeros,
            price: zeros,
            value: zeros,
            multiplier: zeros,
            settle_price: zeros,
            option_value: zeros,
            instrument_kind: zeros,
            kept: zeros,
            opened: zeros,
            bucket: [0; STAGED],
            tier: [0; STAGED],
            kind: [0; STAGED],
            numbers: [zeros; 7],
        }
    }

    /// Works out notional and profit of each row, and its part of both margins.
    #[inline(always)]
    fn work_out(&mut self, open_orders: OpenOrders) {
        for i in 0..STAGED {
            let (quantity, entry, price) = (self.quantity[i], self.entry[i], self.price[i]);
            let inverse = quantity / entry - quantity / price;
            let linear = quantity * price - quantity * entry;
            let kind = self.instrument_kind[i];
            let moved = if kind == INVERSE { inverse } else { linear };
            let moved = if kind == OPTION { 0.0 } else { moved };
            let profit = self.multiplier[i] * moved + quantity * self.option_value[i];
            let settle_price = self.settle_price[i];
            self.numbers[NOTIONAL][i] = quantity.abs() * self.value[i] * settle_price;
            self.numbers[PROFIT][i] = profit * settle_price + 0.0;
        }
        for i in 0..STAGED {
            let size = self.quantity[i].abs();
            let with_orders = size + self.orders[i];
            let kept = if open_orders == OpenOrders::Both { with_orders } else { size };
            self.numbers[MAINTENANCE][i] *= share(kept, self.kept[i]);
            self.numbers[INITIAL][i] *= share(with_orders, self.opened[i]);
        }
    }

    /// Whether everything is known of the first `length` rows; where not, it is made 0.
    #[inline(always)]
    fn forget_unknown(&mut self, length: usize) -> bool {
        let are_known = self.tier[..length].iter().fold(true, |known, tier| known & (*tier > 0));
        for i in 0..if are_known { 0 } else { length } {
            if self.tier[i] == 0 {
                (self.numbers[NOTIONAL][i], self.numbers[PROFIT][i]) = (0.0, 0.0);
                (self.numbers[MAINTENANCE][i], self.numbers[INITIAL][i]) = (0.0, 0.0);
            }
        }
        are_known
    }
}

/// A part of a whole; 0 of nothing.
#[inline(always)]
fn share(part: f64, whole: f64) -> f64 {
    let share = part / whole;
    if whole > 0.0 { share } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{Range as Allowed, Validity, Values};

    #[test]
    fn what_is_given_is_shown_with_its_place_wherever_rows_begin() {
        let words: Vec<u64> = (0..5u64).map(|i| 0x9111_0000_0204_8001 << i).collect();
        let values: Vec<f64> = (0..300).map(f64::from).collect();
        let column = |validity| {
            Numbers::new("x", Allowed::Any, Values::new(values.clone())).with_validity(validity)
        };
        for column in [column(None), column(Some(Validity::from_words(words)))] {
            for rows in [0..300, 0..0, 1..64, 63..65, 64..128, 70..290, 299..300, 130..131] {
                let mut shown = Vec::new();
                each_given(column.view(), rows.clone(), |i, value| shown.push((i, value)));
                let given = |(i, row)| Some((i, column.get(row)?));
                let expected: Vec<(usize, f64)> = rows.enumerate().filter_map(given).collect();
                assert_eq!(shown, expected);
            }
        }
    }

    #[test]
    fn parts_that_are_cut_off_begin_one_behind_the_other() {
        let mut columns = [const { Vec::new() }; 7];
        columns.iter_mut().for_each(|column: &mut Vec<f64>| column.resize(10, 0.0));
        let (mut bucket, mut tier, mut kind) = (vec![0; 10], vec![0; 10], vec![0; 10]);
        let numbers = columns.each_mut().map(|column| &mut column[..]);
        let mut rest =
            Part { first: 100, bucket: &mut bucket, tier: &mut tier, kind: &mut kind, numbers };
        let parts = [3, 0, 5].map(|length| {
            let part = rest.take(length);
            (part.first, part.len(), part.numbers.map(|column| column.len()))
        });
        assert_eq!(parts, [(100, 3, [3; 7]), (103, 0, [0; 7]), (103, 5, [5; 7])]);
        assert_eq!((rest.first, rest.len()), (108, 2));
    }
}
