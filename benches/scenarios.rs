//! Scenarios for the kernel's figures: uniform moves, then moves in which each contract and coin
//! goes its own way.

use margrave_core::market::{Factors, Market};
use margrave_core::scenarios::{EVERYTHING, Scenario};

/// So many scenarios of a market: half of them uniform, by 1 to 50 %, down and up; in the others
/// a market move of up to 30 % times a factor of its own for each name.
pub(crate) fn moves(market: &Market, count: usize) -> Vec<Scenario> {
    let names: Vec<&String> =
        market.instruments.texts().iter().chain(market.assets.texts()).collect();
    let uniform = count / 2;
    let of = |number: usize| -> Factors {
        let sign = if number.is_multiple_of(2) { -1.0 } else { 1.0 };
        if number < uniform {
            let size = 0.5 * (number + 1) as f64 / uniform as f64;
            return Factors::from([(EVERYTHING.to_owned(), sign * size)]);
        }
        let market_move = sign * 0.3 * spread(number);
        let own = |place: usize| market_move * (0.6 + 0.9 * spread(place * count + number));
        names.iter().enumerate().map(|(place, name)| ((*name).clone(), own(place))).collect()
    };
    (0..count).map(|number| Scenario { name: number.to_string(), factors: of(number) }).collect()
}

/// A number from 0 to 1 for each integer, in no visible order.
fn spread(number: usize) -> f64 {
    let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}
