//! Names of buckets: `cross`, `isolated:ETH`, and `isolated:ETH:2` for the second in an account.

use hashbrown::{HashMap, HashSet};

use crate::block::Block;
use crate::book::Book;
use crate::keys::{NONE, Names};

/// The name of each bucket, as a code into distinct texts.
pub struct Labels {
    /// Distinct names, by code.
    pub names: Names,
    /// For each bucket of the book, in order, its name.
    pub codes: Vec<u32>,
}

impl Labels {
    /// Names every bucket of a book.
    ///
    /// A number is appended, and rises until the name is new in its account.
    pub fn build(book: &Book) -> Self {
        let mut names = Names::default();
        let cross = names.add("cross");
        let mut codes = Vec::with_capacity(book.buckets());
        for block in &book.blocks {
            for account in 0..block.accounts() {
                name_account(book, block, account, cross, &mut names, &mut codes);
            }
        }
        Self { names, codes }
    }
}

fn name_account(
    book: &Book,
    block: &Block,
    account: usize,
    cross: u32,
    names: &mut Names,
    codes: &mut Vec<u32>,
) {
    let buckets = block.buckets_of(account);
    let mut used: HashSet<u32> = HashSet::new();
    let mut next: HashMap<u32, u32> = HashMap::new();
    for bucket in buckets {
        if block.isolated_row[bucket] == NONE {
            codes.push(cross);
            continue;
        }
        let instrument = block.instrument[block.row_start[bucket] as usize];
        let base = format!("isolated:{}", book.instruments.text(instrument));
        let number = next.entry(instrument).or_insert(1);
        let code = loop {
            let code = if *number == 1 {
                names.add(&base)
            } else {
                names.add(&format!("{base}:{number}"))
            };
            *number += 1;
            if used.insert(code) {
                break code;
            }
        };
        codes.push(code);
    }
}
