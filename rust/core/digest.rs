//! Digests: BLAKE3 over the values of columns, so that equal frames have equal digests.
//!
//! A frame is hashed as its name and number of rows, then column by column as named by the
//! caller: the column's name, a byte for its kind, a byte telling whether there are nulls
//! (and then one byte a row, 1 for a value), and the values in row order, little endian, 0
//! under a null. Numbers are IEEE 754 doubles, integers 64 bits, flags one byte; a text is
//! its length in bytes (64 bits) and its UTF-8. Names are hashed as texts. Chunks, threads
//! and the type that a text came in play no part.
//!
//! A file is hashed as its bytes are: `b3sum` prints the same.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use blake3::Hasher;

use crate::batch;

/// A digest in the making: of all frames together, and of each frame alone. See the module.
pub struct Digest {
    whole: Hasher,
    frame: Option<Hasher>,
    frames: Vec<String>,
    buffer: Vec<u8>,
}

/// Bytes gathered before they are hashed.
const BUFFER: usize = 1 << 16;

/// Bytes of a file that are read at once.
const PIECE: usize = 1 << 20;

/// Returns the size of a file and the digest of its bytes, as 64 hex digits.
///
/// Looks between pieces whether it is to stop, as `batch::map` does between tasks.
///
/// # Errors
///
/// The file cannot be opened or read.
pub fn file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut size, mut piece) = (Hasher::new(), 0, vec![0; PIECE]);
    loop {
        batch::look(0.0);
        match file.read(&mut piece) {
            Ok(0) => return Ok((size, hasher.finalize().to_hex().to_string())),
            Ok(count) => {
                hasher.update(&piece[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Default for Digest {
    fn default() -> Self {
        let buffer = Vec::with_capacity(BUFFER + 64);
        Self { whole: Hasher::new(), frame: None, frames: Vec::new(), buffer }
    }
}

impl Digest {
    /// Begins a frame of `rows` rows.
    pub fn frame(&mut self, name: &str, rows: usize) {
        self.end_frame();
        self.frame = Some(Hasher::new());
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

    /// The digest of everything added, and those of each frame, as if it were the only one:
    /// 64 hex digits each.
    pub fn finish(mut self) -> (String, Vec<String>) {
        self.end_frame();
        (self.whole.finalize().to_hex().to_string(), self.frames)
    }

    fn end_frame(&mut self) {
        self.empty();
        let frame = self.frame.take();
        self.frames.extend(frame.map(|hasher| hasher.finalize().to_hex().to_string()));
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
            self.empty();
        }
    }

    fn empty(&mut self) {
        self.whole.update(&self.buffer);
        if let Some(frame) = &mut self.frame {
            frame.update(&self.buffer);
        }
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(add: impl Fn(&mut Digest)) -> String {
        let mut digest = Digest::default();
        add(&mut digest);
        digest.finish().0
    }

    #[test]
    fn the_same_values_have_the_same_digest_and_others_another() {
        let one = digest(|d| d.numbers("x", [Some(1.0), None].into_iter()));
        assert_eq!(one, digest(|d| d.numbers("x", [Some(1.0), None].into_iter())));
        assert_ne!(one, digest(|d| d.numbers("y", [Some(1.0), None].into_iter())));
        assert_ne!(one, digest(|d| d.numbers("x", [Some(1.0), Some(0.0)].into_iter())));
        let integers = |values: [Option<i64>; 2]| digest(|d| d.integers("x", values.into_iter()));
        assert_ne!(integers([Some(1), None]), integers([Some(1), Some(0)]));
        assert_ne!(integers([Some(1), None]), integers([Some(2), None]));
        let flags = |values: [Option<bool>; 2]| digest(|d| d.flags("x", values.into_iter()));
        assert_ne!(flags([Some(true), None]), flags([Some(true), Some(false)]));
        assert_ne!(flags([Some(true), None]), flags([Some(false), None]));
        let joined = digest(|d| d.texts("x", [Some("ab"), Some("c")].into_iter()));
        assert_ne!(joined, digest(|d| d.texts("x", [Some("a"), Some("bc")].into_iter())));
    }

    #[test]
    fn long_columns_are_hashed_whole() {
        let values = || (0..100_000).map(|i| Some(f64::from(i)));
        let changed = || values().map(|v| if v == Some(99_999.0) { Some(0.5) } else { v });
        assert_ne!(digest(|d| d.numbers("x", values())), digest(|d| d.numbers("x", changed())));
    }

    #[test]
    fn each_frame_has_the_digest_that_it_has_alone() {
        let frame = |d: &mut Digest, name: &str, rows: u32| {
            d.frame(name, rows as usize);
            d.numbers("x", (0..rows).map(|row| Some(f64::from(row))));
        };
        let alone = |name: &str, rows| digest(|d| frame(d, name, rows));
        let mut both = Digest::default();
        frame(&mut both, "one", 20_000);
        frame(&mut both, "two", 3);
        let (whole, frames) = both.finish();
        assert_eq!(frames, [alone("one", 20_000), alone("two", 3)]);
        assert!(!frames.contains(&whole));
        assert_eq!(Digest::default().finish().1, Vec::<String>::new());
    }

    #[test]
    fn a_file_is_its_bytes() {
        let path = std::env::temp_dir().join(format!("margrave-digest-{}", std::process::id()));
        for size in [0, 1, PIECE, PIECE + 1, 3 * PIECE] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let wanted = blake3::hash(&bytes).to_hex().to_string();
            assert_eq!(file(&path).unwrap(), (size as u64, wanted));
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
