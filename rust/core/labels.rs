//! Names of buckets: `cross`, `cross:BTC` where a ruleset pools by settle asset, `isolated:ETH`,
//! and `isolated:ETH:2` for the second in an account.

use hashbrown::{HashMap, HashSet};

use crate::block::Block;
use crate::book::Book;
use crate::keys::NONE;
use crate::marks::Marks;
use crate::names::Names;

/// The name of each bucket, as a code into distinct texts.
pub struct Labels {
    /// Distinct names, by code.
    pub names: Names,
    /// For each bucket of the blocks, in order, its name.
    pub codes: Vec<u32>,
}

impl Labels {
    /// Names every bucket of `blocks`: those of the book, or as a ruleset cuts them.
    ///
    /// A number is appended, and rises until the name is new in its account.
    pub fn build(book: &Book, blocks: &[Block], marks: &Marks) -> Self {
        let mut names = Names::default();
        let cross = names.add("cross");
        let pool = |asset: u32| format!("cross:{}", marks.asset_name(book, asset));
        let mut pools: HashMap<u32, u32> = HashMap::new();
        let mut codes = Vec::with_capacity(blocks.iter().map(Block::buckets).sum());
        for block in blocks {
            if block.pool.is_empty() && block.isolated_row.iter().all(|row| *row == NONE) {
                codes.resize(codes.len() + block.buckets(), cross);
                continue;
            }
            let mut of_cross = |names: &mut Names, bucket: usize| match block.pool.get(bucket) {
                Some(asset) => *pools.entry(*asset).or_insert_with(|| names.add(&pool(*asset))),
                None => cross,
            };
            for account in 0..block.accounts() {
                let buckets = block.buckets_of(account);
                if buckets.clone().all(|bucket| block.isolated_row_of(bucket) == NONE) {
                    codes.extend(buckets.map(|bucket| of_cross(&mut names, bucket)));
                } else {
                    name_account(book, block, account, &mut names, &mut codes, &mut of_cross);
                }
            }
        }
        Self { names, codes }
    }
}

fn name_account(
    book: &Book,
    block: &Block,
    account: usize,
    names: &mut Names,
    codes: &mut Vec<u32>,
    mut cross: impl FnMut(&mut Names, usize) -> u32,
) {
    let buckets = block.buckets_of(account);
    let mut used: HashSet<u32> = HashSet::new();
    let mut next: HashMap<u32, u32> = HashMap::new();
    for bucket in buckets {
        if block.isolated_row_of(bucket) == NONE {
            codes.push(cross(names, bucket));
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
