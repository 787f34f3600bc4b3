//! Nights whose buckets stand on the line, or just beside it: at the mark, or at a mark where
//! something bends or jumps.

use margrave_core::conventions::{CloseFee, Netting, PriceBasis, TierBasis, TierMode};
use proptest::sample::Index;

use crate::draws::{Numbers, within_limit};
use crate::moved::Moved;
use crate::rows::{Id, Instrument, Kind, Night, Others, Position, Tier};
use crate::swept::Swept;

/// What is added to a cross bucket: options worth 1 of each asset, of which nothing is required.
/// Their value counts in full, whatever the rules do to balances and to profit.
fn add_options(night: &mut Night) {
    let table = Id::Integer(99);
    night.tiers.push(Tier {
        tier_table: table.clone(),
        floor: 0.0,
        maintenance_rate: 0.0,
        initial_rate: 0.0,
        deduction: None,
    });
    night.instruments.extend(night.assets.iter().map(|asset| Instrument {
        instrument_id: option_on(&asset.asset_id),
        kind: Kind::Call,
        settle_asset: asset.asset_id.clone(),
        mark_price: 1.0,
        contract_size: None,
        tier_table: Some(table.clone()),
        close_fee_rate: None,
        quanto_multiplier: None,
        underlying_price: Some(1.0),
        _others: Others,
    }));
}

/// The option that settles in an asset.
fn option_on(asset: &Id) -> Id {
    match asset {
        Id::Integer(asset) => Id::Integer(90 + asset),
        Id::Text(_) => unreachable!("nights number their assets"),
    }
}

/// Where a bucket is put: above the line by so much of its notional.
pub(crate) const ABOVE: [f64; 4] = [0.0, 0.0, 0.015625, -0.015625];

/// The night with what each bucket lacks at one of its kinks, or at the mark, added to it.
pub(crate) fn on_the_line(night: &Night, numbers: Numbers, choice: Index, above: f64) -> Night {
    let swept = Swept::new(night);
    let mut moved = night.clone();
    add_options(&mut moved);
    let mut done = Vec::new();
    for (row, position) in swept.positions.iter().enumerate() {
        if done.contains(&position.bucket) {
            continue;
        }
        done.push(position.bucket);
        let instrument = swept.book.position_instrument[row];
        let mut bucket = Moved::new(&swept, position.bucket, instrument, numbers);
        let marks = near_marks(&bucket);
        let buffer = bucket.at(marks[choice.index(marks.len())]).margin_buffer;
        let own = bucket.own();
        let lack = above * bucket.net().gross * own.value * own.settle_price - buffer;
        if numbers == Numbers::Dyadic && (2f64.powi(20) * lack).fract() != 0.0 {
            continue; // It must stay exact.
        }
        let lack = within_limit(lack / own.settle_price);
        match &mut moved.positions[row].isolated_margin {
            Some(margin) => *margin = within_limit(*margin + lack),
            None => moved.positions.push(option_row(night, row, instrument as usize, lack)),
        }
    }
    moved
}

/// One long and one short row of an instrument, of which the larger is margined, so that the
/// mark may make it the other: at entry with a fee, or by slabs.
pub(crate) fn two_sided(night: &Night, at_entry: bool) -> Night {
    let mut night = night.clone();
    let [long, short] = &mut night.positions[..2] else { unreachable!("two rows") };
    (long.margin_mode, long.isolated_margin, long.tier_table) = (None, None, None);
    let quantity = if short.quantity == 0.0 { 1.0 } else { short.quantity.abs() };
    *short = Position { quantity: -quantity, entry_price: short.entry_price, ..long.clone() };
    long.quantity = if long.quantity == 0.0 { 2.0 } else { long.quantity.abs() };
    night.positions.truncate(2);
    let conventions = &mut night.conventions;
    conventions.netting = Netting::LargerSide;
    conventions.tier_basis = TierBasis::Notional;
    if at_entry {
        (conventions.price_basis, conventions.close_fee) = (PriceBasis::Entry, CloseFee::Mark);
    } else {
        (conventions.price_basis, conventions.tier_mode) = (PriceBasis::Mark, TierMode::Slab);
        conventions.close_fee = CloseFee::None;
    }
    night
}

/// The mark, and the nearest kinks on both sides of it.
fn near_marks(bucket: &Moved<'_>) -> Vec<f64> {
    let (kinks, mark) = (bucket.kinks(), bucket.mark());
    let above = kinks.partition_point(|kink| *kink <= mark);
    let near = above.saturating_sub(2)..kinks.len().min(above + 2);
    kinks[near].iter().copied().chain([mark]).collect()
}

/// So many options beside a position of the night.
fn option_row(night: &Night, row: usize, instrument: usize, quantity: f64) -> Position {
    Position {
        account_id: night.positions[row].account_id.clone(),
        instrument_id: Some(option_on(&night.instruments[instrument].settle_asset)),
        quantity,
        entry_price: 1.0,
        margin_mode: None,
        isolated_margin: None,
        leverage: None,
        tier_table: None,
        open_buy_quantity: None,
        open_sell_quantity: None,
    }
}
