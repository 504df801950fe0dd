//! Small, healthy sample stores, as the real programs leave them, and ways to
//! damage them: what `shopmend demo` shows and what the tests start from.
//!
//! Nothing here reads or touches a real app's data. Content is made up and the
//! same on every run.

pub mod android;
pub mod disk_lru;
pub mod exo;
pub mod fresco;
pub mod harm;
pub mod keva;
pub mod leveldb;
pub mod media;
pub mod media_loader;
pub mod mmkv;
pub mod prefs;
pub mod sqlite;
mod tree;

pub use tree::Tree;

/// Bytes that look random and are the same for the same `seed`.
#[must_use]
pub fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut out);
    out
}

/// A number below `below` that is the same for the same `seed`.
#[must_use]
pub fn pick(seed: &str, below: u64) -> u64 {
    let mut bytes = [0; 8];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes) % below.max(1)
}

pub use crate::fsys::to_hex as hex;
