//! What a sweep of a small night must be: the plain figures, the same bits on any number of
//! threads, and prices on whose near side no flag is and past which one is.

use margrave_core::conventions::{Compare, Pooling, ZeroRequirement};
use margrave_core::margin::Status;
use margrave_core::positions::PositionColumns;
use margrave_core::results::{MONEY, MarginColumns, RATIOS};
use margrave_core::sweep::{Buckets, Sweep};

use crate::night::{Night, Position};
use crate::plain::{Bucket, Figures};
use crate::sides::value;

/// How far figures may lie apart, over the size of the terms that were added.
const SLACK: f64 = 1e-9;

/// Sweeps `swept` and holds it to what is said of `night`: the same one, or the alarm must ring.
pub(crate) fn check(swept: &Night, night: &Night) {
    let (book, market, rules) = (swept.book(1), swept.market(), swept.rules());
    let sweep = Sweep::run(&book, &market, &rules, true, 1).expect("every table is there");
    assert!(sweep.faults.is_empty(), "sound rows are refused: {:?}", sweep.faults);
    let buckets = sweep.buckets(&book, &rules, 1);
    let positions = sweep.positions(&book, &rules, 1);
    if night.positions.len() % 4 == 3 {
        let other = Sweep::run(&swept.book(3), &market, &rules, true, 3).expect("tables");
        let others = other.buckets(&book, &rules, 3);
        let rows = other.positions(&book, &rules, 3);
        assert_eq!(bits(&sweep.accounts), bits(&other.accounts), "accounts on 3 threads");
        assert_eq!(bits(&buckets.margins), bits(&others.margins), "buckets on 3 threads");
        assert_eq!(position_bits(&positions), position_bits(&rows), "positions on 3 threads");
    }
    for margins in [&sweep.accounts, &buckets.margins] {
        for (name, column) in MONEY.iter().chain(&RATIOS).zip(&margins.numbers) {
            assert!(!column.iter().any(|value| value.is_nan()), "{name} is NaN");
        }
    }
    let mut row = 0;
    for account in 0..book.accounts() {
        let own = account_of(night, book.first[account]);
        let first = row;
        for bucket in night.buckets_of(own) {
            assert_eq!(
                buckets.account.get(row),
                Some(&(account as u32)),
                "another number of buckets"
            );
            check_bucket(night, &bucket, &buckets, row, &positions);
            row += 1;
        }
        check_account(&sweep.accounts, account, &buckets.margins, first..row);
    }
    assert_eq!(buckets.account.len(), row, "more buckets than there are");
}

fn account_of(night: &Night, (frame, row): (u32, u32)) -> usize {
    if frame == 0 {
        night.positions[row as usize].account
    } else {
        night.balances[row as usize].account
    }
}

impl Night {
    /// The buckets of an account: cross ones by first appearance, then isolated ones.
    fn buckets_of(&self, account: usize) -> Vec<Bucket<'_>> {
        let mut cross: Vec<(usize, Bucket<'_>)> = Vec::new();
        let by_asset = self.conventions.pooling == Pooling::SettleAsset;
        let place = |cross: &mut Vec<(usize, Bucket<'_>)>, asset: usize| {
            let key = if by_asset { asset } else { 0 };
            cross.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
                let bucket = Bucket { rows: Vec::new(), balances: Vec::new(), posted: None };
                cross.push((key, bucket));
                cross.len() - 1
            })
        };
        let own = self.positions.iter().filter(|row| row.account == account);
        for row in own.clone().filter(|row| row.isolated.is_none()) {
            let at = place(&mut cross, self.instruments[row.instrument].settle);
            cross[at].1.rows.push(row);
        }
        for row in self.balances.iter().filter(|row| row.account == account) {
            let at = place(&mut cross, row.asset);
            let balances = &mut cross[at].1.balances;
            match balances.iter_mut().find(|(asset, _)| *asset == row.asset) {
                Some((_, amount)) => *amount += row.amount,
                None => balances.push((row.asset, row.amount)),
            }
        }
        let isolated = |row: &'_ _| -> Bucket<'_> {
            let row: &Position = row;
            Bucket { rows: Vec::new(), balances: Vec::new(), posted: row.isolated }
        };
        let mut buckets: Vec<Bucket<'_>> = cross.into_iter().map(|(_, bucket)| bucket).collect();
        for row in own.filter(|row| row.isolated.is_some()) {
            let mut bucket = isolated(row);
            bucket.rows.push(row);
            buckets.push(bucket);
        }
        buckets
    }

    pub(crate) fn marks(&self) -> Vec<f64> {
        self.instruments.iter().map(|terms| terms.mark).collect()
    }

    /// What is left before the trigger.
    fn buffer(&self, figures: &Figures) -> f64 {
        figures.margin_balance - self.conventions.level * figures.maintenance
    }
}

fn number(margins: &MarginColumns, name: &str, row: usize) -> f64 {
    let column = MONEY.iter().chain(&RATIOS).position(|known| *known == name).expect("a column");
    margins.numbers[column][row]
}

fn check_bucket(
    night: &Night,
    bucket: &Bucket<'_>,
    buckets: &Buckets,
    row: usize,
    positions: &PositionColumns,
) {
    let margins = &buckets.margins;
    let figures = night.figures(bucket, &night.marks());
    let slack = SLACK * figures.scale.max(1e-300) * (1.0 + night.conventions.level);
    let near = |name: &str, wanted: f64| {
        let found = number(margins, name, row);
        assert!(
            (found - wanted).abs() <= slack,
            "{name} is {found}, plainly {wanted}: {figures:?}"
        );
    };
    near("equity", figures.equity);
    near("margin_balance", figures.margin_balance);
    near("collateral_value", figures.collateral);
    near("debt_value", figures.debt);
    near("unrealized_pnl", figures.profit);
    near("gross_notional", figures.gross);
    near("net_notional", figures.net);
    near("bad_debt", (-figures.equity).max(0.0));
    if !figures.is_delicate {
        near("maintenance_margin", figures.maintenance);
        near("initial_margin", figures.initial);
        near("margin_buffer", night.buffer(&figures));
        near("free_collateral", (figures.initial_balance - figures.initial).max(0.0));
    }
    check_flag(night, bucket, margins, row);
    if !figures.is_delicate {
        for (number, position) in night.positions.iter().enumerate() {
            if bucket.rows.iter().any(|own| std::ptr::eq(*own, position)) {
                assert_eq!(positions.bucket[number], buckets.bucket[row], "the bucket of a row");
                let is_flagged = margins.is_liquidatable[row];
                check_price(night, bucket, position, positions, number, is_flagged);
                check_row(night, bucket, position, positions, number);
            }
        }
    }
}

fn check_flag(night: &Night, bucket: &Bucket<'_>, margins: &MarginColumns, row: usize) {
    let rules = &night.conventions;
    let (balance, required) =
        (number(margins, "margin_balance", row), number(margins, "maintenance_margin", row));
    let line = rules.level * required;
    let past = if rules.compare == Compare::Le { balance <= line } else { balance < line };
    let never = rules.zero_requirement == ZeroRequirement::Never && required <= 0.0;
    let status = margins.status[row];
    let flat = status == Status::Flat as u8;
    let is_open = bucket.rows.iter().any(|row| row.quantity != 0.0);
    assert!(!(flat && is_open), "an open bucket is flat");
    assert_eq!(margins.is_liquidatable[row], past && !never && !flat, "the flag");
    assert_eq!(number(margins, "margin_buffer", row), balance - line, "the buffer");
    let bankrupt = !flat && number(margins, "equity", row) < 0.0;
    assert_eq!(status == Status::Bankrupt as u8, bankrupt, "bankrupt");
}

/// No flag between the mark and the price, or as far on the other side; one just past it.
fn check_price(
    night: &Night,
    bucket: &Bucket<'_>,
    position: &Position,
    positions: &PositionColumns,
    number: usize,
    is_flagged: bool,
) {
    let (price, kind) = (positions.liquidation_price[number], positions.kind[number]);
    assert_eq!(kind == 2, is_flagged, "breached where the flag is");
    assert_eq!(kind == 0, price > 0.0, "a price where there is a root");
    let own = bucket.rows.iter().filter(|row| row.instrument == position.instrument);
    let is_fixed = night.instruments[position.instrument].kind.is_option()
        || own.clone().all(|row| row.quantity == 0.0);
    assert!(!(is_fixed && kind == 0), "a price where none moves anything");
    if is_flagged || is_fixed {
        return;
    }
    let mark = night.instruments[position.instrument].mark;
    let at = |price: f64| {
        let mut marks = night.marks();
        marks[position.instrument] = price;
        let figures = night.figures(bucket, &marks);
        let slack = 10.0 * SLACK * figures.scale.max(1e-300) * (1.0 + night.conventions.level);
        (night.buffer(&figures), slack, figures)
    };
    let never = night.conventions.zero_requirement == ZeroRequirement::Never;
    let reach = if kind == 0 { (price / mark).ln().abs() * (1.0 - 1e-7) } else { 16.0 };
    for step in -12..=12 {
        let moved = mark * (reach * f64::from(step) / 12.0).exp();
        let (buffer, slack, figures) = at(moved);
        let spared = figures.is_delicate || (never && figures.maintenance <= slack);
        assert!(
            spared || buffer >= -slack,
            "flagged at {moved} on the way from {mark} to {price} (kind {kind}): {buffer}, {figures:?}"
        );
    }
    if kind == 0 && price.is_finite() {
        // Just past it: how far is rounding's to say, and a tier may be narrow.
        let side = if price < mark { -1.0 } else { 1.0 };
        let sides: &[f64] = if price == mark { &[-1.0, 1.0] } else { &[side] };
        let steps = [1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7];
        let mut past = sides.iter().flat_map(|side| steps.map(|step| price * (1.0 + side * step)));
        let holds = |price: f64| {
            let (buffer, slack, figures) = at(price);
            figures.is_delicate || buffer <= slack
        };
        assert!(past.any(holds), "no flag past {price} from {mark}: {:?}", at(price).2);
    }
}

/// A row's own figures; its bankruptcy price where equity is no rounded nothing.
fn check_row(
    night: &Night,
    bucket: &Bucket<'_>,
    position: &Position,
    positions: &PositionColumns,
    number: usize,
) {
    let terms = &night.instruments[position.instrument];
    let notional = position.quantity.abs() * value(terms, terms.mark) * night.settle_price(terms);
    let found = positions.notional[number];
    assert!((found - notional).abs() <= SLACK * notional, "notional is {found}, not {notional}");
    let tier = positions.tier[number];
    let wanted = night.tier_of(&bucket.rows, position).unwrap_or(tier);
    assert!(tier >= 1 && tier == wanted, "tier {tier}, plainly {wanted}");
    let (found, plain) = (positions.bankruptcy_price[number], night.bankruptcy(bucket, position));
    let Some((price, slack)) = plain else {
        assert!(found.is_nan() || found <= 0.0, "a bankruptcy price {found} where there is none");
        return;
    };
    let found = if found > 0.0 { found } else { 0.0 };
    assert!((found - price).abs() <= slack, "bankruptcy price {found}, plainly {price} +- {slack}");
}

fn check_account(
    accounts: &MarginColumns,
    account: usize,
    buckets: &MarginColumns,
    rows: std::ops::Range<usize>,
) {
    for (index, name) in MONEY.iter().enumerate() {
        let values = rows.clone().map(|row| buckets.numbers[index][row]);
        let sum = values.reduce(|sum, value| sum + value).unwrap_or(0.0);
        assert_eq!(accounts.numbers[index][account], sum, "{name} is the sum over buckets");
    }
    let worst = rows.clone().map(|row| buckets.status[row]).max().unwrap_or(0);
    assert_eq!(accounts.status[account], worst, "the worst status");
    let flagged = rows.clone().any(|row| buckets.is_liquidatable[row]);
    assert_eq!(accounts.is_liquidatable[account], flagged, "any flag");
}

fn bits(margins: &MarginColumns) -> Vec<Vec<u64>> {
    let mut columns: Vec<Vec<u64>> =
        margins.numbers.iter().map(|column| column.iter().map(|v| v.to_bits()).collect()).collect();
    columns.push(margins.status.iter().map(|status| u64::from(*status)).collect());
    columns.push(margins.is_liquidatable.iter().map(|flag| u64::from(*flag)).collect());
    columns
}

fn position_bits(rows: &PositionColumns) -> Vec<Vec<u64>> {
    let numbers = [
        &rows.mark_price,
        &rows.notional,
        &rows.unrealized_pnl,
        &rows.maintenance_margin,
        &rows.initial_margin,
        &rows.liquidation_price,
        &rows.bankruptcy_price,
    ];
    let mut columns: Vec<Vec<u64>> =
        numbers.iter().map(|column| column.iter().map(|v| v.to_bits()).collect()).collect();
    columns.push(rows.tier.iter().map(|tier| *tier as u64).collect());
    columns.push(rows.kind.iter().map(|kind| u64::from(*kind)).collect());
    columns
}
