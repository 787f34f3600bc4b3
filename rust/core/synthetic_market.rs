//! The market and the rules of the synthetic exchange.
//!
//! 20 assets, 400 instruments, and for each a table of tiers or weights, in order of rank:
//! the first are the most held. `Market::draw` makes one; the stream's seed decides the
//! prices. The valuation asset is USDT, at a price of 1.

use crate::synthetic_draws::Draws;

const ASSETS: usize = 20;
const STABLES: usize = 2;
const COINS: usize = ASSETS - STABLES;
const INSTRUMENTS: usize = 400;
/// Linear instruments of a lower rank follow a coin's price, the others stand alone.
const ON_COINS: usize = 40;

/// What is owned and settled in: columns of the `assets` frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Assets {
    /// Name of the asset.
    pub asset_id: Vec<String>,
    /// Price in USDT.
    pub price: Vec<f64>,
    /// Whether `*` in a scenario leaves it alone.
    pub is_stable: Vec<bool>,
}

/// Contract terms and marks: columns of the `instruments` frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruments {
    /// Name of the instrument, and of its tier table.
    pub instrument_id: Vec<String>,
    /// Whether it is an inverse contract; otherwise it is linear.
    pub inverse: Vec<bool>,
    /// Asset in which it settles, as its row of the assets.
    pub settle_asset: Vec<u16>,
    /// Mark price: settle asset per unit of base if linear, US dollars per coin if inverse.
    pub mark_price: Vec<f64>,
    /// Size of one contract: units of base if linear, US dollars if inverse.
    pub contract_size: Vec<f64>,
    /// What the contract follows: a coin's id, or a name that is no asset here.
    pub base_asset: Vec<String>,
}

/// Brackets of the maintenance and initial requirement: columns of the `tiers` frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiers {
    /// Name of the table; every instrument has its own.
    pub tier_table: Vec<String>,
    /// Notional at which the bracket starts, in the settle asset.
    pub floor: Vec<f64>,
    /// Share of the notional to keep a position.
    pub maintenance_rate: Vec<f64>,
    /// Share of the notional to open it.
    pub initial_rate: Vec<f64>,
}

/// How much collateral counts and what debt costs: columns of the `weights` frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Name of the table; every asset has its own.
    pub weight_table: Vec<String>,
    /// Value in USDT at which the slice starts.
    pub floor: Vec<f64>,
    /// Share of the slice that counts to keep a position.
    pub maintenance_weight: Vec<f64>,
    /// Share of the slice that counts to open one.
    pub initial_weight: Vec<f64>,
    /// How many times a debt counts.
    pub liability_weight: Vec<f64>,
    /// Share of a debt's value required to keep it.
    pub borrow_maintenance_rate: Vec<f64>,
    /// Share of a debt's value required to take it up.
    pub borrow_initial_rate: Vec<f64>,
}

/// Everything of the exchange but its accounts; get one with [`Market::draw`].
pub(crate) struct Market {
    pub(crate) assets: Assets,
    pub(crate) instruments: Instruments,
    pub(crate) tiers: Tiers,
    pub(crate) weights: Weights,
}

impl Market {
    /// Returns the market that the stream gives when read from here.
    pub(crate) fn draw(draws: &mut Draws) -> Self {
        let assets = draw_assets(draws);
        let instruments = draw_instruments(&assets, draws);
        let tiers = draw_tiers(&instruments, &assets, draws);
        let weights = weights(&assets);
        Self { assets, instruments, tiers, weights }
    }
}

/// Returns two stable assets, two coins of a known price and others between 0.05 and 500.
fn draw_assets(draws: &mut Draws) -> Assets {
    let known = [("USDT", 1.0), ("USDC", 0.9998), ("BTC", 60_000.0), ("ETH", 3_000.0)];
    let drawn = (known.len()..ASSETS)
        .map(|rank| (format!("C{:02}", rank + 1), draws.log_between(0.05, 500.0)));
    let (asset_id, price) =
        known.into_iter().map(|(id, price)| (id.to_owned(), price)).chain(drawn).unzip();
    Assets { asset_id, price, is_stable: (0..ASSETS).map(|rank| rank < STABLES).collect() }
}

/// Returns 80 inverse contracts, every fifth rank, and 320 linear ones.
///
/// The first linear ones are on the coins, in USDT and then in USDC. A coin's second inverse
/// contract is its first future, and so on.
fn draw_instruments(assets: &Assets, draws: &mut Draws) -> Instruments {
    let mut instruments = Instruments {
        instrument_id: Vec::with_capacity(INSTRUMENTS),
        inverse: (0..INSTRUMENTS).map(|rank| rank % 5 == 4).collect(),
        settle_asset: Vec::with_capacity(INSTRUMENTS),
        mark_price: Vec::with_capacity(INSTRUMENTS),
        contract_size: Vec::with_capacity(INSTRUMENTS),
        base_asset: Vec::with_capacity(INSTRUMENTS),
    };
    for rank in 0..INSTRUMENTS {
        let inverses = rank / 5;
        let linears = rank - inverses;
        let (id, settle, mark, size, base);
        if instruments.inverse[rank] {
            let coin = STABLES + inverses % COINS;
            base = assets.asset_id[coin].clone();
            id = match inverses / COINS {
                0 => format!("{base}-USD"),
                future => format!("{base}-USD-Q{future}"),
            };
            settle = coin;
            mark = assets.price[coin] * draws.between(0.999, 1.001);
            size = if base == "BTC" { 100.0 } else { 10.0 };
        } else if rank < ON_COINS {
            let coin = STABLES + linears % COINS;
            settle = linears / COINS;
            base = assets.asset_id[coin].clone();
            id = format!("{base}-{}", assets.asset_id[settle]);
            mark = assets.price[coin] * draws.between(0.999, 1.001);
            size = linear_contract_size(mark);
        } else {
            settle = usize::from(draws.chance(0.3));
            base = format!("X{:03}", rank + 1);
            id = format!("{base}-{}", assets.asset_id[settle]);
            mark = draws.log_between(1e-3, 2_000.0);
            size = linear_contract_size(mark);
        }
        instruments.instrument_id.push(id);
        instruments.settle_asset.push(settle as u16);
        instruments.mark_price.push(mark);
        instruments.contract_size.push(size);
        instruments.base_asset.push(base);
    }
    instruments
}

/// Returns the size of a contract that is neither dust nor a fortune at this mark.
fn linear_contract_size(mark: f64) -> f64 {
    match mark {
        ..0.1 => 1_000.0,
        1_000.0.. => 0.01,
        _ => 1.0,
    }
}

/// Returns 4 to 12 brackets an instrument, the less held the narrower and dearer.
///
/// Maintenance rises geometrically to 0.5, initial is twice that. Floors are drawn in USDT and
/// stand in the settle asset.
fn draw_tiers(instruments: &Instruments, assets: &Assets, draws: &mut Draws) -> Tiers {
    let mut tiers = Tiers {
        tier_table: Vec::new(),
        floor: Vec::new(),
        maintenance_rate: Vec::new(),
        initial_rate: Vec::new(),
    };
    for (rank, id) in instruments.instrument_id.iter().enumerate() {
        let settle_price = assets.price[usize::from(instruments.settle_asset[rank])];
        let (mut next_floor, lowest_rate) = match rank {
            ..20 => (50_000.0, 0.004),
            20..100 => (20_000.0, 0.0065),
            _ => (5_000.0, 0.01),
        };
        let brackets = 4 + draws.below(9);
        let mut floor = 0.0;
        for bracket in 0..brackets {
            let exponent = bracket as f64 / (brackets - 1) as f64;
            let rate = f64::min(0.5, lowest_rate * libm::pow(0.5 / lowest_rate, exponent));
            tiers.tier_table.push(id.clone());
            tiers.floor.push(floor / settle_price);
            tiers.maintenance_rate.push(rate);
            tiers.initial_rate.push(2.0 * rate);
            floor = next_floor;
            next_floor *= draws.between(2.0, 5.0);
        }
    }
    tiers
}

/// Returns weights that fall from 1.0 to 0.5 by rank, and by a fifth above a million USDT.
///
/// USDT alone counts in full, whatever its size. Of what counts to keep a position, 95 % count
/// to open one.
fn weights(assets: &Assets) -> Weights {
    let mut weights = Weights {
        weight_table: Vec::new(),
        floor: Vec::new(),
        maintenance_weight: Vec::new(),
        initial_weight: Vec::new(),
        liability_weight: Vec::new(),
        borrow_maintenance_rate: Vec::new(),
        borrow_initial_rate: Vec::new(),
    };
    for (rank, id) in assets.asset_id.iter().enumerate() {
        let first = 1.0 - 0.5 * rank as f64 / (ASSETS - 1) as f64;
        let borrow = if assets.is_stable[rank] { 0.02 } else { 0.05 };
        let slices: &[(f64, f64)] =
            if rank == 0 { &[(0.0, first)] } else { &[(0.0, first), (1e6, 0.8 * first)] };
        for &(floor, weight) in slices {
            weights.weight_table.push(id.clone());
            weights.floor.push(floor);
            weights.maintenance_weight.push(weight);
            weights.initial_weight.push(if rank == 0 { weight } else { 0.95 * weight });
            weights.liability_weight.push(1.0);
            weights.borrow_maintenance_rate.push(borrow);
            weights.borrow_initial_rate.push(2.0 * borrow);
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn market() -> Market {
        Market::draw(&mut Draws::new(7))
    }

    #[test]
    fn names_are_unique() {
        let Market { assets, instruments, .. } = market();
        assert_eq!(assets.asset_id.iter().collect::<HashSet<_>>().len(), 20);
        assert_eq!(instruments.instrument_id.iter().collect::<HashSet<_>>().len(), 400);
    }

    #[test]
    fn kinds_and_settle_assets_are_shared_out_as_published() {
        let Market { assets, instruments, .. } = market();
        assert_eq!(instruments.inverse.iter().filter(|&&inverse| inverse).count(), 80);
        let mut in_usdt = 0.0;
        for (rank, &settle) in instruments.settle_asset.iter().enumerate() {
            let settle = usize::from(settle);
            assert_eq!(instruments.inverse[rank], !assets.is_stable[settle]);
            in_usdt += f64::from(u8::from(settle == 0)) / 320.0;
        }
        assert!((0.6..0.8).contains(&in_usdt), "{in_usdt}");
    }

    #[test]
    fn first_and_inverse_instruments_follow_a_coin() {
        let Market { assets, instruments, .. } = market();
        for (rank, base) in instruments.base_asset.iter().enumerate() {
            let coin = assets.asset_id.iter().position(|id| id == base);
            assert_eq!(coin.is_some(), rank < 40 || instruments.inverse[rank]);
            if let Some(coin) = coin {
                let basis = instruments.mark_price[rank] / assets.price[coin] - 1.0;
                assert!(basis.abs() < 0.002, "{basis}");
            } else {
                assert!((1e-3..=2000.0).contains(&instruments.mark_price[rank]));
            }
        }
    }

    #[test]
    fn tables_start_at_zero_and_rise_strictly() {
        let Market { instruments, tiers, weights, .. } = market();
        let brackets = tiers.floor.len() as f64 / 400.0;
        assert!((7.4..8.6).contains(&brackets), "{brackets}");
        for (table, floor) in
            [(&tiers.tier_table, &tiers.floor), (&weights.weight_table, &weights.floor)]
        {
            for row in 0..table.len() {
                if row == 0 || table[row] != table[row - 1] {
                    assert_eq!(floor[row], 0.0);
                } else {
                    assert!(floor[row] > floor[row - 1] && floor[row] <= 1e18);
                }
            }
        }
        let mut tables = tiers.tier_table.clone();
        tables.dedup();
        assert_eq!(tables, instruments.instrument_id);
    }

    #[test]
    fn rates_and_weights_are_fractions() {
        let Market { tiers, weights, .. } = market();
        for (&maintenance, &initial) in tiers.maintenance_rate.iter().zip(&tiers.initial_rate) {
            assert!(
                (0.004..=0.5).contains(&maintenance) && maintenance <= initial && initial <= 1.0
            );
        }
        for (&maintenance, &initial) in
            weights.maintenance_weight.iter().zip(&weights.initial_weight)
        {
            assert!((0.0..=1.0).contains(&maintenance) && initial <= maintenance && initial > 0.0);
        }
        assert_eq!(weights.maintenance_weight[0], 1.0);
        assert_eq!(weights.maintenance_weight[weights.floor.len() - 2], 0.5);
    }
}
