//! Digests: BLAKE3 over the values of columns, so that equal frames have equal digests.
//!
//! A frame is hashed as its name and number of rows, then column by column as named by the
//! caller: the column's name, a byte for its kind, a byte telling whether there are nulls
//! (and then one byte a row, 1 for a value), and the values in row order, little endian, 0
//! under a null. Numbers are IEEE 754 doubles, integers 64 bits, flags one byte; a text is
//! its length in bytes (64 bits) and its UTF-8. Names are hashed as texts. Chunks, threads
//! and the type that a text came in play no part.

use blake3::Hasher;

/// A digest in the making. See the module.
pub struct Digest {
    hasher: Hasher,
    buffer: Vec<u8>,
}

/// Bytes gathered before they are hashed.
const BUFFER: usize = 1 << 16;

impl Default for Digest {
    fn default() -> Self {
        Self { hasher: Hasher::new(), buffer: Vec::with_capacity(BUFFER + 64) }
    }
}

impl Digest {
    /// Begins a frame of `rows` rows.
    pub fn frame(&mut self, name: &str, rows: usize) {
        self.write_text(name);
        self.write(&(rows as u64).to_le_bytes());
    }

    /// Adds a column of numbers.
    pub fn numbers(&mut self, name: &str, values: impl Iterator<Item = Option<f64>> + Clone) {
        self.column(name, b'n', values.clone());
        values.for_each(|v| self.write(&v.unwrap_or(0.0).to_le_bytes()));
    }

    /// Adds a column of integers.
    pub fn integers(&mut self, name: &str, values: impl Iterator<Item = Option<i64>> + Clone) {
        self.column(name, b'i', values.clone());
        values.for_each(|v| self.write(&v.unwrap_or(0).to_le_bytes()));
    }

    /// Adds a column of flags.
    pub fn flags(&mut self, name: &str, values: impl Iterator<Item = Option<bool>> + Clone) {
        self.column(name, b'b', values.clone());
        values.for_each(|v| self.write(&[u8::from(v.unwrap_or(false))]));
    }

    /// Adds a column of texts.
    pub fn texts<'a>(&mut self, name: &str, values: impl Iterator<Item = Option<&'a str>> + Clone) {
        self.column(name, b't', values.clone());
        values.for_each(|v| self.write_text(v.unwrap_or("")));
    }

    /// The digest of everything added, as 64 hex digits.
    pub fn finish(mut self) -> String {
        self.hasher.update(&self.buffer);
        self.buffer.clear();
        self.hasher.finalize().to_hex().to_string()
    }

    fn column<T>(&mut self, name: &str, kind: u8, values: impl Iterator<Item = Option<T>> + Clone) {
        self.write_text(name);
        let has_nulls = values.clone().any(|value| value.is_none());
        self.write(&[kind, u8::from(has_nulls)]);
        if has_nulls {
            values.for_each(|value| self.write(&[u8::from(value.is_some())]));
        }
    }

    fn write_text(&mut self, text: &str) {
        self.write(&(text.len() as u64).to_le_bytes());
        self.write(text.as_bytes());
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(add: impl Fn(&mut Digest)) -> String {
        let mut digest = Digest::default();
        add(&mut digest);
        digest.finish()
    }

    #[test]
    fn the_same_values_have_the_same_digest_and_others_another() {
        let one = digest(|d| d.numbers("x", [Some(1.0), None].into_iter()));
        assert_eq!(one, digest(|d| d.numbers("x", [Some(1.0), None].into_iter())));
        assert_ne!(one, digest(|d| d.numbers("y", [Some(1.0), None].into_iter())));
        assert_ne!(one, digest(|d| d.numbers("x", [Some(1.0), Some(0.0)].into_iter())));
        let joined = digest(|d| d.texts("x", [Some("ab"), Some("c")].into_iter()));
        assert_ne!(joined, digest(|d| d.texts("x", [Some("a"), Some("bc")].into_iter())));
    }

    #[test]
    fn long_columns_are_hashed_whole() {
        let values = || (0..100_000).map(|i| Some(f64::from(i)));
        let changed = || values().map(|v| if v == Some(99_999.0) { Some(0.5) } else { v });
        assert_ne!(digest(|d| d.numbers("x", values())), digest(|d| d.numbers("x", changed())));
    }
}
