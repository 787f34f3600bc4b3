//! Random nights for the kernel, made of bytes: what it computes is held to plain arithmetic
//! and to the laws of the contract.
//!
//! `check` panics at the first figure that is wrong. `plain` is written from the contract, rule
//! by rule and one bucket at a time; it shares no code with the kernel.

mod bytes;
mod laws;
mod night;
mod plain;
mod sides;

pub use bytes::Bytes;

/// Makes a night of the bytes, sweeps it, and holds the answer to what it must be.
///
/// # Panics
///
/// Where a figure is not what plain arithmetic gives, or a law does not hold.
pub fn check(data: &[u8]) {
    let night = night::Night::read(&mut Bytes::new(data));
    laws::check(&night, &night);
}

/// The keys of a ruleset that have words.
pub fn keys() -> impl Iterator<Item = &'static str> {
    night::KEYS.into_iter().map(|(key, _)| key)
}

/// The same check, which must fail: plain arithmetic is told another word of a key.
///
/// # Panics
///
/// Where the word makes a difference.
pub fn check_twisted(data: &[u8], key: &str, turn: usize) {
    let night = night::Night::read(&mut Bytes::new(data));
    let mut other = night::Night::read(&mut Bytes::new(data));
    let (_, words) = night::KEYS.into_iter().find(|(name, _)| *name == key).expect("a key");
    other.conventions.set(key, words[turn % words.len()]).expect("one of its words");
    laws::check(&night, &other);
}

/// The night that these bytes make, for people.
pub fn shown(data: &[u8]) -> String {
    format!("{:#?}", night::Night::read(&mut Bytes::new(data)))
}
