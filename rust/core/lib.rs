//! Margin arithmetic for whole exchanges.
//!
//! Which accounts no longer cover what they must hold, and by how much? Validated columns
//! become a `Book`; a `Book`, a `Market` and `Rules` become a `Sweep`. No Python, no Arrow.

#![forbid(unsafe_code)]

pub mod accounts;
mod asked;
pub mod bankruptcy;
pub mod batch;
mod bending;
mod bends;
pub mod bits;
pub mod block;
pub mod book;
pub mod breach;
mod builder;
mod collateral;
pub mod columns;
mod conclusion;
mod contract;
pub mod control;
pub mod conventions;
pub mod curve;
pub mod digest;
mod draft;
pub mod error;
pub mod exact;
mod form;
mod fused;
mod hashes;
mod heap;
pub mod holdings;
mod intake;
pub mod keys;
pub mod labels;
mod lanes;
pub mod liquidation;
pub mod margin;
pub mod market;
pub mod marks;
pub mod memory;
pub mod names;
mod onset;
mod outlook;
mod overflow;
mod partition;
mod pass;
mod path;
pub mod piece;
pub mod plain;
mod plain_shares;
pub mod pools;
pub mod positions;
mod records;
pub mod results;
pub mod reverse;
mod roots;
mod rows;
pub mod rules;
pub mod scenarios;
mod screen;
pub mod shards;
mod shared;
mod shares;
mod single;
pub mod sizes;
pub mod slabs;
mod spans;
mod staged;
mod standing;
mod straight;
pub mod stress;
pub mod sweep;
pub mod synthetic;
mod synthetic_book;
mod synthetic_draws;
mod synthetic_market;
mod tallies;
pub mod tiers;
pub mod totals;
mod trail;
mod trigger;
pub mod weights;
mod worst;

/// Which numbers this engine makes. Rises when any bit of any result may change, for equal input.
///
/// Two versions of equal `NUMERICS` give equal digests. See *Numbers* in `CONTRIBUTING.md`.
pub const NUMERICS: u32 = 1;
