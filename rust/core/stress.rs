//! A stress: one book against many markets, a scenario each.
//!
//! `Stress::run` puts every account through every scenario, many at a time (`lanes`), and keeps
//! what the contract asks for: totals by scenario, and of each account its worst. No array of
//! accounts times scenarios is made. Each figure has the bits of the sweep of its market.

use crate::batch;
use crate::book::Book;
use crate::error::{Error, Result};
use crate::lanes::LANES;
use crate::market::Market;
use crate::marks::Marks;
use crate::pass::{MOST, Pass};
use crate::rules::Rules;
use crate::scenarios::{Quotes, Scenario};
use crate::sweep::{Sweep, THREAD_ACCOUNTS};
pub use crate::tallies::Outcome;
pub use crate::worst::Worst;

/// Bytes that the prices of a pass may take.
const ROOM: usize = 64 << 20;
/// Accounts for which it is worth to start a thread, in one scenario.
const THREAD_PAIRS: usize = 4 * THREAD_ACCOUNTS;

/// A book in many markets. See the module.
pub struct Stress {
    /// One for each scenario.
    pub outcomes: Vec<Outcome>,
    /// One row per account; none where there are no scenarios.
    pub worst: Worst,
}

impl Stress {
    /// Puts the accounts of `base`, the sweep of `book` in `market` as given, through `scenarios`.
    ///
    /// # Errors
    ///
    /// `Error::Data` where a scenario leaves no price, moves the base of a held option without
    /// naming it, or makes an account's money overflow.
    pub fn run(
        book: &Book,
        market: &Market,
        rules: &Rules,
        base: &Sweep,
        scenarios: &[Scenario],
        threads: usize,
    ) -> Result<Self> {
        let rows = if scenarios.is_empty() { 0 } else { book.accounts() };
        let mut worst = Worst::new(rows);
        let mut outcomes = Vec::with_capacity(scenarios.len());
        let threads = batch::enough(threads, rows * scenarios.len(), THREAD_PAIRS);
        let prices = base.marks.instruments.len() + base.marks.assets.len();
        let width = (ROOM / (256 * prices + 1)).clamp(LANES, MOST);
        let asset = &rules.conventions.valuation_asset;
        let quotes = Quotes::of(market, asset)?;
        let count = scenarios.len() as f64;
        for (number, scenarios) in scenarios.chunks(width).enumerate() {
            let moved = |scenario: &Scenario| {
                let moves = market.moves(&scenario.factors, asset);
                let whose = format!("scenarios.factor: scenario {:?} moves", scenario.name);
                let factors = (&scenario.factors, &moves);
                base.marks.check_options(book, market, factors, &base.indeterminate, &whose)?;
                let quotes = quotes.under(scenario, market, &moves)?;
                Ok((moves.mean(), base.marks.quoted(market, &quotes)))
            };
            let moved = scenarios.iter().map(moved).collect::<Result<Vec<(f64, Marks)>>>()?;
            // Scenarios that are alike stand together: then most runs are far from any line.
            let mut order: Vec<(f64, u32, Marks)> =
                moved.into_iter().zip(0..).map(|((mean, marks), at)| (mean, at, marks)).collect();
            order.sort_by(|one, other| one.0.total_cmp(&other.0));
            let first = number * width;
            let numbers: Vec<u32> = order.iter().map(|(_, at, _)| first as u32 + at).collect();
            let marks: Vec<Marks> = order.into_iter().map(|(_, _, marks)| marks).collect();
            let pass = Pass::new(&marks, &numbers, rules, base, first == 0);
            batch::part(first as f64 / count, (first + scenarios.len()) as f64 / count);
            let tallies = pass.run(base.blocks(book), &mut worst, threads);
            if let Some(place) = tallies.overflown {
                let name = &scenarios[numbers[place] as usize - first].name;
                return Err(Error::Data(format!(
                    "scenarios.price_shock: in scenario {name:?} the money of an account overflows"
                )));
            }
            outcomes.resize(first + scenarios.len(), Outcome::default());
            for (number, outcome) in numbers.iter().zip(tallies.outcomes()) {
                outcomes[*number as usize] = outcome;
            }
        }
        Ok(Self { outcomes, worst })
    }
}
