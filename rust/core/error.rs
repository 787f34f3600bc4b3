//! What the core refuses, one variant per class that a user sees.

use std::fmt;

/// Why a book, a market or a ruleset was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Figures cannot be computed from the values given.
    Data(String),
    /// A ruleset contradicts itself or lacks a table; one line per mistake.
    Rules(String),
    /// A total does not come out: a fault of the engine.
    Internal(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(text) | Self::Rules(text) | Self::Internal(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// `Result` with the core's `Error`.
pub type Result<T> = std::result::Result<T, Error>;
