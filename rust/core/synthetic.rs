//! The synthetic exchange: a night's input of any size, from one seed.
//!
//! Get one with [`exchange`]. Its shape is that of a real venue: few accounts hold most
//! positions, few instruments are in most of them, sizes are lognormal, and a few accounts
//! in a hundred no longer cover what they must hold. The same arguments give the same bits
//! on every platform, and the seed alone decides market and rules: exchanges of different
//! sizes have them in common.

pub use crate::synthetic_book::{Balances, Positions};
pub use crate::synthetic_market::{Assets, Instruments, Tiers, Weights};

use crate::synthetic_book::Book;
use crate::synthetic_draws::Draws;
use crate::synthetic_market::Market;

/// Who holds what, what it is worth and what must be held; get one with [`exchange`].
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Positions, in random order.
    pub positions: Positions,
    /// Balances, in random order; every account has one at least.
    pub balances: Balances,
    /// Contract terms and marks, the most held first.
    pub instruments: Instruments,
    /// Assets, the most held first.
    pub assets: Assets,
    /// Tiers of each instrument.
    pub tiers: Tiers,
    /// Weights of each asset.
    pub weights: Weights,
}

/// Returns an exchange of so many accounts, the same one for the same arguments.
///
/// There are five position rows an account and about 1.73 balance rows: 330 MB in all for a
/// million accounts.
///
/// # Panics
///
/// If more than `u32::MAX` accounts are asked for.
///
/// # Example
///
/// ```
/// use margrave_core::synthetic::exchange;
///
/// let night = exchange(1_000, 7);
///
/// assert_eq!(night.positions.quantity.len(), 5_000);
/// assert_eq!(night.instruments.instrument_id[0], "BTC-USDT");
/// assert!(night == exchange(1_000, 7));
/// ```
pub fn exchange(accounts: usize, seed: u64) -> Exchange {
    assert!(u32::try_from(accounts).is_ok(), "accounts must be at most u32::MAX");
    let mut draws = Draws::new(seed);
    let market = Market::draw(&mut draws);
    let Book { positions, balances } = Book::draw(accounts, &market, &mut draws);
    let Market { assets, instruments, tiers, weights } = market;
    Exchange { positions, balances, instruments, assets, tiers, weights }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const ACCOUNTS: usize = 100_000;

    /// Digest of every number that was drawn.
    fn digest(night: &Exchange) -> String {
        let (positions, balances) = (&night.positions, &night.balances);
        let mut hasher = blake3::Hasher::new();
        for ids in [&positions.account_id, &balances.account_id] {
            for id in ids {
                hasher.update(&id.to_le_bytes());
            }
        }
        for codes in [&positions.instrument, &balances.asset] {
            for code in codes {
                hasher.update(&code.to_le_bytes());
            }
        }
        for numbers in [
            &positions.quantity,
            &positions.entry_price,
            &positions.isolated_margin,
            &positions.leverage,
            &positions.open_buy_quantity,
            &positions.open_sell_quantity,
            &balances.amount,
            &night.instruments.mark_price,
            &night.assets.price,
            &night.tiers.floor,
            &night.tiers.maintenance_rate,
        ] {
            for number in numbers {
                hasher.update(&number.to_le_bytes());
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// Share of the values for which the question is answered with yes.
    fn share<T>(values: &[T], question: impl Fn(&T) -> bool) -> f64 {
        values.iter().filter(|value| question(value)).count() as f64 / values.len() as f64
    }

    #[test]
    fn the_exchange_of_a_seed_never_changes() {
        assert_eq!(digest(&exchange(1_000, 7)), "cbd4ff90b3b88213");
    }

    #[test]
    fn other_seeds_give_other_exchanges() {
        assert_ne!(digest(&exchange(100, 7)), digest(&exchange(100, 8)));
        assert_ne!(digest(&exchange(100, 0)), digest(&exchange(100, u64::MAX)));
    }

    #[test]
    fn exchanges_of_one_seed_share_market_and_rules() {
        let (small, large) = (exchange(10, 7), exchange(1_000, 7));
        assert_eq!(small.instruments, large.instruments);
        assert_eq!(small.assets, large.assets);
        assert_eq!(small.tiers, large.tiers);
        assert_eq!(small.weights, large.weights);
    }

    #[test]
    fn the_smallest_exchanges_exist() {
        for accounts in 0..20 {
            let night = exchange(accounts, 7);
            assert_eq!(night.positions.account_id.len(), 5 * accounts);
            let mut ids = night.balances.account_id;
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), accounts);
        }
    }

    #[test]
    fn rows_follow_the_published_distributions() {
        let positions = exchange(ACCOUNTS, 7).positions;
        for (what, drawn, published) in [
            ("first", share(&positions.instrument, |&rank| rank == 0), 0.10),
            ("first 20", share(&positions.instrument, |&rank| rank < 20), 0.51),
            ("long", share(&positions.quantity, |&quantity| quantity > 0.0), 0.55),
            ("isolated", share(&positions.isolated, |&isolated| isolated), 0.03),
            ("leverage", share(&positions.leverage, |&leverage| leverage > 0.0), 0.0785),
            ("buying", share(&positions.open_buy_quantity, |&orders| orders > 0.0), 0.0133),
        ] {
            assert!((drawn - published).abs() < 0.003, "{what}: {drawn}, not {published}");
        }
    }

    #[test]
    fn notionals_are_lognormal_and_inverse_sizes_whole() {
        let night = exchange(ACCOUNTS, 7);
        let instruments = &night.instruments;
        let mut notionals = Vec::new();
        for (&rank, quantity) in night.positions.instrument.iter().zip(&night.positions.quantity) {
            let rank = usize::from(rank);
            let size = quantity.abs() * instruments.contract_size[rank];
            if instruments.inverse[rank] {
                assert_eq!(quantity.fract(), 0.0);
            } else {
                notionals.push(size * instruments.mark_price[rank]);
            }
        }
        notionals.sort_unstable_by(f64::total_cmp);
        // One standard deviation to either side of the median is a factor of exp(1.6), 4.953.
        for (share, published) in [(0.5, 1_500.0), (0.1587, 302.8), (0.8413, 7_430.0)] {
            let drawn = notionals[(notionals.len() as f64 * share) as usize];
            assert!((drawn / published - 1.0).abs() < 0.02, "{share}: {drawn}");
        }
    }

    #[test]
    fn positions_are_within_the_contract() {
        let positions = exchange(ACCOUNTS, 7).positions;
        for row in 0..positions.account_id.len() {
            let (size, entry) = (positions.quantity[row].abs(), positions.entry_price[row]);
            assert!(size > 0.0 && size <= 1e18 && entry > 0.0 && entry <= 1e18);
            let (margin, leverage) = (positions.isolated_margin[row], positions.leverage[row]);
            assert_eq!(positions.isolated[row], margin > 0.0);
            assert!((1.0..=50.0).contains(&leverage) || leverage == 0.0 && margin == 0.0);
            let (buys, sells) =
                (positions.open_buy_quantity[row], positions.open_sell_quantity[row]);
            assert!((0.0..=1e18).contains(&buys) && (0.0..=1e18).contains(&sells));
        }
    }

    #[test]
    fn every_account_has_one_to_four_balances() {
        let balances = exchange(ACCOUNTS, 7).balances;
        let mut owned: HashMap<i64, usize> = HashMap::new();
        for &id in &balances.account_id {
            *owned.entry(id).or_default() += 1;
        }
        assert_eq!(owned.len(), ACCOUNTS);
        let counts: Vec<usize> = owned.into_values().collect();
        for (count, published) in [(1, 0.55), (2, 0.25), (3, 0.12), (4, 0.08)] {
            let drawn = share(&counts, |&owned| owned == count);
            assert!((drawn - published).abs() < 0.005, "{count}: {drawn}");
        }
        let debts = share(&balances.amount, |&amount| amount < 0.0);
        assert!((0.018..0.022).contains(&debts), "{debts}");
        assert!(balances.amount.iter().all(|amount| amount.abs() <= 1e18));
    }
}
