//! Who holds what on the synthetic exchange.
//!
//! [`Positions`] and [`Balances`] are columns, a row each; `Book::draw` makes both. Account ids
//! look random and rows stand in random order, so that nothing is sorted and nothing grouped.

use crate::synthetic_draws::{Draws, Popularity};
use crate::synthetic_market::{Assets, Market};

/// Position rows an account, over the whole exchange.
const POSITIONS_PER_ACCOUNT: usize = 5;
/// No account is drawn with more positions.
const MOST_POSITIONS: f64 = 5_000.0;

/// Columns of the `positions` frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Positions {
    /// Account that holds the position.
    pub account_id: Vec<i64>,
    /// Instrument, as its row of the instruments.
    pub instrument: Vec<u16>,
    /// Contracts, long above 0; whole ones if inverse.
    pub quantity: Vec<f64>,
    /// Entry price, in the unit of the mark price.
    pub entry_price: Vec<f64>,
    /// Whether the position has a bucket of its own.
    pub isolated: Vec<bool>,
    /// What is posted to an isolated position, in its settle asset; 0 on others.
    pub isolated_margin: Vec<f64>,
    /// Chosen leverage, a whole number from 1 to 50; 0 where none was chosen.
    pub leverage: Vec<f64>,
    /// Contracts in open orders to buy.
    pub open_buy_quantity: Vec<f64>,
    /// Contracts in open orders to sell.
    pub open_sell_quantity: Vec<f64>,
}

/// Columns of the `balances` frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Balances {
    /// Account that owns or owes.
    pub account_id: Vec<i64>,
    /// Asset, as its row of the assets.
    pub asset: Vec<u16>,
    /// Units of the asset; below 0 is debt.
    pub amount: Vec<f64>,
}

/// All positions and balances of the exchange; get one with [`Book::draw`].
pub(crate) struct Book {
    pub(crate) positions: Positions,
    pub(crate) balances: Balances,
}

impl Book {
    /// Returns the book of so many accounts that the stream gives when read from here.
    pub(crate) fn draw(accounts: usize, market: &Market, draws: &mut Draws) -> Self {
        let contracts = contracts(market);
        let owners = draw_owners(accounts, draws);
        let positions = draw_positions(&owners, &contracts, draws);
        let exposure = exposure(&positions, &owners, &contracts, accounts);
        let balances = draw_balances(&exposure, &market.assets, draws);
        Self { positions, balances }
    }
}

/// Returns the id of an account: a number below 2^63 that looks random, another for each.
///
/// Every step can be undone (a shift-xor, and a product with an odd number, modulo 2^63), so
/// no two accounts share an id.
fn account_id(account: u32) -> i64 {
    const MASK: u64 = i64::MAX as u64;
    let id = u64::from(account) + 1;
    let id = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) & MASK;
    let id = (id ^ id >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) & MASK;
    (id ^ id >> 29) as i64
}

/// Returns the account of each position row, shuffled.
///
/// One account in ten has no position, the others 1 + floor(1.9 Lomax(1.35)); then single
/// positions are given to or taken from accounts that have some until there are five a head.
fn draw_owners(accounts: usize, draws: &mut Draws) -> Vec<u32> {
    let mut counts: Vec<u32> = (0..accounts)
        .map(|_| {
            if draws.chance(0.1) {
                return 0;
            }
            let lomax = libm::pow(draws.uniform(), -1.0 / 1.35) - 1.0;
            f64::min(MOST_POSITIONS, 1.0 + (1.9 * lomax).floor()) as u32
        })
        .collect();
    let wanted = POSITIONS_PER_ACCOUNT * accounts;
    let mut drawn: usize = counts.iter().map(|&count| count as usize).sum();
    if drawn == 0 {
        counts.fill(1);
        drawn = accounts;
    }
    while drawn != wanted {
        let count = &mut counts[draws.below(accounts)];
        if drawn < wanted && *count > 0 {
            *count += 1;
            drawn += 1;
        } else if drawn > wanted && *count > 1 {
            *count -= 1;
            drawn -= 1;
        }
    }
    shuffled_rows(&counts, draws)
}

/// Returns each account as often as it has rows, in random order.
fn shuffled_rows(counts: &[u32], draws: &mut Draws) -> Vec<u32> {
    let mut rows: Vec<u32> = (0_u32..)
        .zip(counts)
        .flat_map(|(account, &count)| std::iter::repeat_n(account, count as usize))
        .collect();
    draws.shuffle(&mut rows);
    rows
}

/// What a position row needs to know of its instrument.
struct Contract {
    inverse: bool,
    mark_price: f64,
    /// Notional of one contract in the settle asset.
    notional: f64,
    /// Price of the settle asset in USDT.
    settle_price: f64,
}

/// Returns the contracts in order of rank.
fn contracts(market: &Market) -> Vec<Contract> {
    let Market { assets, instruments, .. } = market;
    (0..instruments.instrument_id.len())
        .map(|rank| {
            let inverse = instruments.inverse[rank];
            let mark_price = instruments.mark_price[rank];
            let size = instruments.contract_size[rank];
            Contract {
                inverse,
                mark_price,
                notional: if inverse { size / mark_price } else { size * mark_price },
                settle_price: assets.price[usize::from(instruments.settle_asset[rank])],
            }
        })
        .collect()
}

/// Returns a position for each row.
///
/// What a row holds does not depend on its account, so rows are drawn where they stand and
/// only their accounts had to be shuffled.
fn draw_positions(owners: &[u32], contracts: &[Contract], draws: &mut Draws) -> Positions {
    let popularity = popularity(contracts.len(), 2.0, 1.05);
    let mut positions = Positions::with_capacity(owners.len());
    for &owner in owners {
        let instrument = draws.pick(&popularity);
        positions.push(owner, instrument, &contracts[instrument], draws);
    }
    positions
}

/// Returns the notional of each account's cross positions, in USDT.
///
/// A pass of its own: these sums jump about in memory, and drawing would wait for each.
fn exposure(
    positions: &Positions,
    owners: &[u32],
    contracts: &[Contract],
    accounts: usize,
) -> Vec<f64> {
    let mut exposure = vec![0.0; accounts];
    for (row, &owner) in owners.iter().enumerate() {
        let contract = &contracts[usize::from(positions.instrument[row])];
        if !positions.isolated[row] {
            exposure[owner as usize] += positions.quantity[row].abs() * contract.value();
        }
    }
    exposure
}

/// Returns the table that picks rank `i` in proportion to `1 / (i + offset)^exponent`.
fn popularity(ranks: usize, offset: f64, exponent: f64) -> Popularity {
    let weight = |rank| libm::pow(rank as f64 + offset, -exponent);
    Popularity::new(&(0..ranks).map(weight).collect::<Vec<_>>())
}

impl Positions {
    fn with_capacity(rows: usize) -> Self {
        Self {
            account_id: Vec::with_capacity(rows),
            instrument: Vec::with_capacity(rows),
            quantity: Vec::with_capacity(rows),
            entry_price: Vec::with_capacity(rows),
            isolated: Vec::with_capacity(rows),
            isolated_margin: Vec::with_capacity(rows),
            leverage: Vec::with_capacity(rows),
            open_buy_quantity: Vec::with_capacity(rows),
            open_sell_quantity: Vec::with_capacity(rows),
        }
    }

    /// Draws a position in the contract.
    fn push(&mut self, owner: u32, instrument: usize, contract: &Contract, draws: &mut Draws) {
        let size = contract.contracts(draws.log_normal(1_500.0, 1.6) / contract.value());
        let isolated = draws.chance(0.03);
        let leverage = if isolated || draws.chance(0.05) {
            draws.log_normal(5.0, 0.8).round().clamp(1.0, 50.0)
        } else {
            0.0
        };
        let (buys, sells) = open_orders(size, contract, draws);
        self.account_id.push(account_id(owner));
        self.instrument.push(instrument as u16);
        self.quantity.push(if draws.chance(0.55) { size } else { -size });
        self.entry_price.push(draws.log_normal(contract.mark_price, 0.08));
        self.isolated.push(isolated);
        self.isolated_margin.push(if isolated { size * contract.notional / leverage } else { 0.0 });
        self.leverage.push(leverage);
        self.open_buy_quantity.push(buys);
        self.open_sell_quantity.push(sells);
    }
}

impl Contract {
    /// Returns the notional of one contract in USDT.
    fn value(&self) -> f64 {
        self.notional * self.settle_price
    }

    /// Returns how many contracts can be held: whole ones if inverse, one at least.
    fn contracts(&self, wanted: f64) -> f64 {
        if self.inverse { f64::max(1.0, wanted.round()) } else { wanted }
    }
}

/// Returns contracts in orders to buy and to sell: none, but for two rows in a hundred.
///
/// A third of those has both.
fn open_orders(size: f64, contract: &Contract, draws: &mut Draws) -> (f64, f64) {
    if !draws.chance(0.02) {
        return (0.0, 0.0);
    }
    let side = draws.below(3);
    let mut order = |there| {
        let wanted = size * draws.between(0.1, 2.0);
        if there { contract.contracts(wanted) } else { 0.0 }
    };
    (order(side != 0), order(side != 1))
}

/// Returns one to four balances for each account, shuffled.
///
/// Together they are worth the account's exposure over a lognormal leverage, or what a purse
/// without positions holds. A debt is owed beside what it was swapped for, so that it leaves
/// the worth as it is: an account's last row is never one.
fn draw_balances(exposure: &[f64], assets: &Assets, draws: &mut Draws) -> Balances {
    let popularity = popularity(assets.price.len(), 1.0, 1.3);
    let mut worth: Vec<f64> =
        exposure.iter().map(|&exposure| draw_worth(exposure, draws)).collect();
    let mut left: Vec<u32> = exposure.iter().map(|_| draw_balance_count(draws)).collect();
    let owners = shuffled_rows(&left, draws);
    let mut balances = Balances {
        account_id: Vec::with_capacity(owners.len()),
        asset: Vec::with_capacity(owners.len()),
        amount: Vec::with_capacity(owners.len()),
    };
    for &owner in &owners {
        let (left, worth) = (&mut left[owner as usize], &mut worth[owner as usize]);
        // 42 % of the rows are not the last of their account: 2 % of all are debts.
        let value = match *left {
            1 => *worth,
            _ if draws.chance(0.02 / 0.422) => -*worth * draws.between(0.0, 0.5),
            rows => *worth * draws.between(0.0, 2.0 / f64::from(rows)),
        };
        *left -= 1;
        *worth -= value;
        let asset = draws.pick(&popularity);
        balances.account_id.push(account_id(owner));
        balances.asset.push(asset as u16);
        balances.amount.push(value / assets.price[asset]);
    }
    balances
}

/// Returns what the balances of an account of this exposure are worth, in USDT.
fn draw_worth(exposure: f64, draws: &mut Draws) -> f64 {
    if exposure > 0.0 {
        exposure / f64::min(60.0, draws.log_normal(3.0, 0.9))
    } else {
        draws.log_normal(150.0, 2.0)
    }
}

/// Returns 1, 2, 3 or 4, in 55, 25, 12 and 8 cases of a hundred.
fn draw_balance_count(draws: &mut Draws) -> u32 {
    match draws.uniform() {
        ..0.55 => 1,
        ..0.80 => 2,
        ..0.92 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_accounts_share_an_id() {
        let mut ids: Vec<i64> = (0..1_000_000).map(account_id).collect();
        ids.sort_unstable();
        assert!(ids[0] >= 0);
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        let median = ids[500_000] as f64 / i64::MAX as f64;
        assert!((median - 0.5).abs() < 0.005, "{median}: spread unevenly");
    }

    #[test]
    fn position_counts_are_heavy_tailed_around_five() {
        const ACCOUNTS: usize = 100_000;
        let owners = draw_owners(ACCOUNTS, &mut Draws::new(7));
        assert_eq!(owners.len(), 5 * ACCOUNTS);
        let mut counts = vec![0_u32; ACCOUNTS];
        for owner in owners {
            counts[owner as usize] += 1;
        }
        counts.retain(|&count| count > 0);
        counts.sort_unstable();
        assert!((89_500..90_500).contains(&counts.len()), "{}", counts.len());
        let quantile = |share: f64| counts[(counts.len() as f64 * share) as usize];
        assert_eq!([0.25, 0.5, 0.75].map(quantile), [1, 2, 4]);
        assert!((50..62).contains(&quantile(0.99)), "{}", quantile(0.99));
        assert!((250..400).contains(&quantile(0.999)), "{}", quantile(0.999));
    }

    #[test]
    fn a_tenth_of_the_accounts_holds_nothing_however_far_the_draws_were_off() {
        const ACCOUNTS: usize = 1000;
        let mut flat = 0;
        for seed in 0..100 {
            let owners = draw_owners(ACCOUNTS, &mut Draws::new(seed));
            let mut counts = vec![0_u32; ACCOUNTS];
            owners.iter().for_each(|owner| counts[*owner as usize] += 1);
            flat += counts.iter().filter(|count| **count == 0).count();
        }
        assert!((9_700..10_300).contains(&flat), "{flat} of 100,000; 95 is the standard deviation");
    }
}
