//! Shards: files that hold whole accounts, told by a hash of the id that never changes.
//!
//! Whoever has the id can say where its rows are, in any version and any language: the hash is
//! XXH3 of 64 bits, seed 0, of the id as UTF-8 text, integers as they are written in decimal.

use xxhash_rust::xxh3::xxh3_64;

use crate::keys::Ids;

/// The shard, from 0, that the account of this id belongs to.
pub fn shard_of(id: &str, shards: u32) -> u32 {
    (xxh3_64(id.as_bytes()) % u64::from(shards)) as u32
}

/// The shard of each of these texts; rows without an id are nobody's, and stand in the first.
///
/// # Panics
///
/// If the ids are integers, or there are no shards.
pub fn of(ids: &Ids, shards: u32) -> Vec<u32> {
    assert!(shards > 0, "no shards");
    let mut numbers = vec![0; ids.len()];
    ids.each_text(0..ids.len(), |row, text| numbers[row] = shard_of(text, shards));
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of `xxhash.xxh3_64_intdigest` of Python's package xxhash 3.
    #[test]
    fn the_hash_is_the_published_one() {
        let published = [
            ("", 0x2d06_8005_38d3_94c2),
            ("1", 0x65cd_2502_8f98_f158),
            ("abc", 0x78af_5f94_892f_3950),
            ("ß", 0xf97d_566e_e0d1_7954),
        ];
        for (text, hash) in published {
            assert_eq!(xxh3_64(text.as_bytes()), hash, "{text:?}");
        }
        assert_eq!(["1", "42", "abc", "-7"].map(|id| shard_of(id, 16)), [8, 1, 0, 8]);
        assert_eq!(shard_of("42", 1), 0);
    }
}
