//! The two index files of a Simple cache: `index`, which names the backend,
//! and `index-dir/the-real-index`, which says when each entry was last used.
//!
//! Layout after Chromium's `net/disk_cache/simple/simple_index_file.cc`,
//! little-endian: u32 payload length, u32 CRC-32 of the payload; the payload
//! is u64 magic, u32 version, u64 entry count, u64 cache size, u32 reason
//! (from version 7), then per entry u64 hash, i64 last used (microseconds
//! since 1601), u64 packed size; at the end i64 the folder's time.

use super::entry::INITIAL_MAGIC;
use crate::store::read_at::{u32_le, u64_le};

const REAL_MAGIC: u64 = 0x656e_7465_7220_796f;
/// The library's own bound on the number of entries.
const MAX_ENTRIES: u64 = 1_000_000;
const ENTRY: u64 = 24;
/// The largest real index that is read: the library's bound, plus its frame.
pub(super) const MAX_REAL_INDEX: u64 = MAX_ENTRIES * ENTRY + 64;
/// The length of `index`.
pub(super) const INDEX_LEN: u64 = 24;
/// Microseconds from 1601 to 1970.
const EPOCH_US: i128 = 11_644_473_600_000_000;

/// What is wrong with an index file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) at: u64,
    pub(super) message: &'static str,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Wrong {
    fn new(at: u64, message: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { at, message, expected: expected.into(), found: found.into() }
    }
}

/// What `index` turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// Of a version that is known.
    Sound,
    /// Of a version that came after this program.
    Newer(u32),
}

/// Checks the content of `index`.
pub(super) fn check_index(bytes: &[u8], len: u64) -> Result<Index, Wrong> {
    if len != INDEX_LEN {
        return Err(Wrong::new(
            INDEX_LEN.min(len),
            "the cache's index file has a wrong length",
            format!("{INDEX_LEN} bytes"),
            format!("{len} bytes"),
        ));
    }
    let magic = u64_le(bytes, 0).unwrap_or_default();
    if magic != INITIAL_MAGIC {
        return Err(Wrong::new(
            0,
            "the cache's index file does not begin as one",
            format!("{INITIAL_MAGIC:#018x}"),
            format!("{magic:#018x}"),
        ));
    }
    match u32_le(bytes, 8).unwrap_or_default() {
        5..=LAST_VERSION => Ok(Index::Sound),
        version if is_newer(version) => Ok(Index::Newer(version)),
        version => Err(Wrong::new(
            8,
            "the cache has a version that Chromium does not read",
            format!("5 to {LAST_VERSION}"),
            version.to_string(),
        )),
    }
}

/// The newest version of the cache, its index and its sparse files that is known.
pub(super) const LAST_VERSION: u32 = 9;
/// A version up to this is taken for that of a newer program, not for damage.
const FUTURE: u32 = 64;

/// Whether the number may be the version of a newer program.
pub(super) fn is_newer(version: u32) -> bool {
    (LAST_VERSION + 1..=FUTURE).contains(&version)
}

/// A sound real index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RealIndex {
    /// The hash of each entry's key and the number that tells when it was last
    /// used, sorted.
    used: Vec<(u64, u64)>,
    /// Its version, when it came after this program: then the entries are not read.
    pub(super) newer: Option<u32>,
}

impl RealIndex {
    /// When the entry was last used, in nanoseconds since 1970. Caches that
    /// keep another number in its place (Service Worker scripts) do not tell.
    pub(super) fn last_used(&self, hash: u64) -> Option<i128> {
        let at = self.used.binary_search_by_key(&hash, |(hash, _)| *hash).ok()?;
        time_ns(self.used.get(at)?.1)
    }
}

/// Reads and checks the content of `the-real-index`.
pub(super) fn read_real_index(bytes: &[u8]) -> Result<RealIndex, Wrong> {
    let short = |at: u64, need: u64| {
        Wrong::new(
            at,
            "the real index is cut short",
            format!("{need} bytes"),
            format!("{} bytes", bytes.len()),
        )
    };
    let (Some(payload_len), Some(crc)) = (u32_le(bytes, 0), u32_le(bytes, 4)) else {
        return Err(short(bytes.len() as u64, 8));
    };
    let payload = bytes.get(8..).unwrap_or_default();
    if payload.len() as u64 != u64::from(payload_len) {
        return Err(Wrong::new(
            0,
            "the real index's length does not match its header",
            format!("{payload_len} bytes"),
            format!("{} bytes", payload.len()),
        ));
    }
    let found = crc32fast::hash(payload);
    if found != crc {
        return Err(Wrong::new(
            8,
            "the real index does not match its checksum",
            format!("{crc:08x}"),
            format!("{found:08x}"),
        ));
    }
    let magic = u64_le(payload, 0).unwrap_or_default();
    if magic != REAL_MAGIC {
        return Err(Wrong::new(
            8,
            "the real index does not begin as one",
            format!("{REAL_MAGIC:#018x}"),
            format!("{magic:#018x}"),
        ));
    }
    let version = u32_le(payload, 8).unwrap_or_default();
    if is_newer(version) {
        // The checksum proves that it is what the browser wrote.
        return Ok(RealIndex { newer: Some(version), ..RealIndex::default() });
    }
    if !(6..=LAST_VERSION).contains(&version) {
        let expected = format!("6 to {LAST_VERSION}");
        return Err(Wrong::new(16, "the real index has an unknown version", expected, version.to_string()));
    }
    let count = u64_le(payload, 12).unwrap_or_default();
    let start = if version >= 7 { 32 } else { 28 };
    if count > MAX_ENTRIES || start + count * ENTRY > payload.len() as u64 {
        return Err(Wrong::new(
            20,
            "the real index counts more entries than it holds",
            format!("at most {}", (payload.len() as u64).saturating_sub(start) / ENTRY),
            count.to_string(),
        ));
    }
    let records = payload.get(start as usize..).unwrap_or_default().chunks_exact(ENTRY as usize);
    let mut used: Vec<(u64, u64)> =
        records.take(count as usize).filter_map(|r| Some((u64_le(r, 0)?, u64_le(r, 8)?))).collect();
    used.sort_unstable();
    Ok(RealIndex { used, newer: None })
}

/// A time of the index in nanoseconds since 1970; `None` for what is no time
/// between 2000 and 2200.
fn time_ns(us_since_1601: u64) -> Option<i128> {
    let us = i128::from(us_since_1601) - EPOCH_US;
    (946_684_800_000_000..7_258_118_400_000_000).contains(&us).then_some(us * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sound(version: u32, entries: &[(u64, u64)]) -> Vec<u8> {
        let mut payload = REAL_MAGIC.to_le_bytes().to_vec();
        payload.extend(version.to_le_bytes());
        payload.extend((entries.len() as u64).to_le_bytes());
        payload.extend(77u64.to_le_bytes());
        if version >= 7 {
            payload.extend(1u32.to_le_bytes());
        }
        for (hash, used) in entries {
            payload.extend(hash.to_le_bytes());
            payload.extend(used.to_le_bytes());
            payload.extend(5u64.to_le_bytes());
        }
        payload.extend(9u64.to_le_bytes());
        let mut out = (payload.len() as u32).to_le_bytes().to_vec();
        out.extend(crc32fast::hash(&payload).to_le_bytes());
        out.extend(payload);
        out
    }

    #[test]
    fn a_sound_index_gives_the_times_of_its_entries() {
        let us = 11_644_473_600_000_000 + 1_700_000_000_000_000;
        let index = read_real_index(&sound(9, &[(1, us), (2, 688)])).unwrap();
        assert_eq!((index.last_used(1), index.last_used(2)), (Some(1_700_000_000_000_000_000), None));
        assert!(read_real_index(&sound(6, &[(1, us)])).is_ok());
        assert!(read_real_index(&sound(5, &[])).is_err());
        let newer = read_real_index(&sound(10, &[(1, us)])).unwrap();
        assert_eq!((newer.newer, newer.last_used(1)), (Some(10), None));
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_found(at in 0usize..200, xor in 1u8.., cut in 0usize..200) {
            let good = sound(9, &[(1, 2), (3, 4), (5, 6)]);
            let mut bad = good.clone();
            let at = at % bad.len();
            bad[at] ^= xor;
            prop_assert!(read_real_index(&bad).is_err());
            prop_assert!(read_real_index(&good[..cut % good.len()]).is_err());
        }

        #[test]
        fn anything_may_be_in_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_real_index(&bytes);
            let _ = check_index(&bytes, bytes.len() as u64);
        }
    }
}
