//! What the rows of a book ask of market and rules, and what is missing there.

use std::collections::BTreeMap;

use crate::book::Book;
use crate::columns::{Fault, Reason};
use crate::conventions::ProfitAndLoss;
use crate::error::{Error, Result};
use crate::keys::NONE;
use crate::market::{Factors, Market};
use crate::marks::Marks;
use crate::rules::Rules;
use crate::scenarios::Moves;

impl Marks {
    /// Rows whose instrument or asset the market lacks, in order of frame, row and column.
    pub fn lacking(&self, book: &Book, market: &Market) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.assets.iter().any(|asset| !asset.is_priced) {
            for (row, asset) in book.balance_asset.iter().enumerate() {
                if *asset != NONE && !self.assets[*asset as usize].is_priced {
                    let (row, reason) = (row as u32, Reason::UnmarkedAsset);
                    faults.push(Fault { frame: "balances", column: "asset_id", row, reason });
                }
            }
        }
        if self.instruments.iter().any(|instrument| !instrument.is_priced) {
            for (row, code) in book.position_instrument.iter().enumerate() {
                if *code != NONE && !self.instruments[*code as usize].is_priced {
                    let listed = market.terms_of(book.instruments.text(*code)).is_some();
                    let reason = if listed {
                        Reason::UnmarkedSettleAsset
                    } else {
                        Reason::UnmarkedInstrument
                    };
                    let (row, frame) = (row as u32, "positions");
                    faults.push(Fault { frame, column: "instrument_id", row, reason });
                }
            }
        }
        faults
    }

    /// Checks that every option whose underlying the factors move, and which a determinate
    /// account holds, is named by them; `whose` says whose factors they are.
    ///
    /// # Errors
    ///
    /// `Error::Data` naming the first options that are not.
    pub fn check_options(
        &self,
        book: &Book,
        market: &Market,
        (factors, moves): (&Factors, &Moves),
        indeterminate: &[bool],
        whose: &str,
    ) -> Result<()> {
        let unpriced = market.unpriced_options(factors, moves);
        if unpriced.is_empty() {
            return Ok(());
        }
        let held = self.held_instruments(book, indeterminate);
        let is_held = |code: &u32| self.listed.iter().zip(&held).any(|(l, h)| *h && l == code);
        let unpriced: Vec<u32> = unpriced.into_iter().filter(is_held).collect();
        let Some(first) = unpriced.first() else {
            return Ok(());
        };
        let name = market.instruments.text(*first);
        let count = unpriced.len();
        Err(Error::Data(format!(
            "{whose} the base of {count} options that are held (first: {name:?}) without naming \
             them; options are not repriced\nhint: add a row for each option, with the move of \
             its own price"
        )))
    }

    /// Whether a determinate account has a row of each instrument.
    pub fn held_instruments(&self, book: &Book, indeterminate: &[bool]) -> Vec<bool> {
        let mut held = vec![false; self.instruments.len()];
        for (account, code) in book.position_account.iter().zip(book.position_instrument.iter()) {
            if *account != NONE && *code != NONE && !indeterminate[*account as usize] {
                held[*code as usize] = true;
            }
        }
        held
    }

    /// Checks that the rules have every table that the rows of determinate accounts ask for, and
    /// that the market's shocks name the options whose base they move.
    ///
    /// # Errors
    ///
    /// `Error::Rules` naming each table that is missing and what asks for it; `Error::Data`
    /// naming an option.
    pub fn check_tables(
        &self,
        book: &Book,
        market: &Market,
        rules: &Rules,
        indeterminate: &[bool],
    ) -> Result<()> {
        for factors in &market.shocks {
            let moves = market.moves(factors, &rules.conventions.valuation_asset);
            let whose = "scenarios.factor: the shocks of the market move";
            self.check_options(book, market, (factors, &moves), indeterminate, whose)?;
        }
        let joined = rules.conventions.profit_and_loss == ProfitAndLoss::SettleAsset;
        let may_lack = self.instruments.iter().any(|i| i.tiers == NONE || i.settle_weights == NONE)
            || self.assets.iter().any(|asset| asset.weights == NONE)
            || self.tables.contains(&NONE);
        if !may_lack {
            return Ok(());
        }
        let mut missing = Missing::default();
        for (row, account) in book.position_account.iter().enumerate() {
            if *account != NONE && !indeterminate[*account as usize] {
                self.note_position(book, market, row, joined, &mut missing);
            }
        }
        for (row, account) in book.balance_account.iter().enumerate() {
            if *account != NONE && !indeterminate[*account as usize] {
                let code = book.balance_asset[row];
                if self.assets[code as usize].weights == NONE {
                    let name = book.assets.text(code);
                    let price = market.price_of(market.assets.code(name).unwrap_or(NONE));
                    let table = price.map_or(name, |price| &price.weight_table);
                    missing.note("weights.weight_table", table, "asset", name);
                }
            }
        }
        missing.into_result()
    }

    fn note_position(
        &self,
        book: &Book,
        market: &Market,
        row: usize,
        joined: bool,
        missing: &mut Missing,
    ) {
        let code = book.position_instrument[row];
        let mark = &self.instruments[code as usize];
        let name = book.instruments.text(code);
        let Some(terms) = market.terms_of(name) else {
            return;
        };
        let own = book.positions.tier_table.as_ref().and_then(|ids| ids.text(row));
        let tiers = match &own {
            Some(table) => book.tables.code(table).map_or(NONE, |t| self.tables[t as usize]),
            None => mark.tiers,
        };
        if tiers == NONE {
            let table = own.as_deref().unwrap_or(&terms.tier_table);
            missing.note("tiers.tier_table", table, "instrument", name);
        }
        let isolated = book.positions.isolated.as_ref().is_some_and(|mode| mode[row] == 1);
        let margin = book.positions.isolated_margin.as_ref().and_then(|margin| margin.get(row));
        let weighed = if isolated { margin.is_some_and(|m| m < 0.0) } else { joined };
        if weighed && mark.settle_weights == NONE {
            let settle = market.price_of(terms.settle_asset);
            let table = settle.map_or("", |settle| &settle.weight_table);
            missing.note("weights.weight_table", table, "asset", &terms.settle_name);
        }
    }
}

/// Tables that are asked for and missing, each with who asks first.
#[derive(Default)]
struct Missing(BTreeMap<(&'static str, String), (String, u64)>);

impl Missing {
    fn note(&mut self, path: &'static str, table: &str, kind: &str, name: &str) {
        let asks = || (format!("{kind} {name:?}"), 0);
        self.0.entry((path, table.to_owned())).or_insert_with(asks).1 += 1;
    }

    fn into_result(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let shown = self.0.iter().take(10).map(|((path, table), (asks, rows))| {
            format!("{path}: no table {table:?}, which {asks} asks for ({rows} rows in all)")
        });
        let mut lines: Vec<String> = shown.collect();
        if self.0.len() > 10 {
            lines.push(format!("and {} more tables", self.0.len() - 10));
        }
        lines.push("hint: add the rows to the ruleset or give them by with_tables".to_owned());
        Err(Error::Rules(lines.join("\n")))
    }
}
