//! Margin arithmetic for whole exchanges.
//!
//! Which accounts no longer cover what they must hold, and by how much? Validated columns
//! become a `Book`; a `Book`, a `Market` and `Rules` become a `Sweep`. No Python, no Arrow.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod bankruptcy;
pub mod batch;
pub mod block;
pub mod book;
mod builder;
pub mod columns;
pub mod control;
pub mod conventions;
pub mod curve;
pub mod digest;
pub mod error;
pub mod exact;
pub mod holdings;
pub mod keys;
pub mod labels;
pub mod liquidation;
pub mod margin;
pub mod market;
pub mod marks;
mod partition;
pub mod pools;
pub mod positions;
pub mod results;
pub mod rules;
pub mod sizes;
pub mod sweep;
pub mod synthetic;
mod synthetic_book;
mod synthetic_draws;
mod synthetic_market;
pub mod tiers;
pub mod totals;
pub mod weights;
