//! Fresco's image cache: `v2.ols100.1/<shard>/<resource id>.cnt`.

use std::io;

use super::Tree;

/// Makes a cache that holds `images` by resource id.
///
/// # Errors
/// The system's error.
pub fn cache(tree: &Tree, images: &[(String, Vec<u8>, u64)]) -> io::Result<()> {
    for (id, bytes, days) in images {
        tree.file(&format!("v2.ols100.1/{}/{id}.cnt", shard(id)), bytes, *days)?;
    }
    Ok(())
}

/// The folder that Fresco puts `id` into: |Java's string hash modulo 100|.
#[must_use]
pub fn shard(id: &str) -> u32 {
    let hash = id.encode_utf16().fold(0_i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash % 100).unsigned_abs()
}

/// A resource id in Fresco's usual form: 27 characters of URL-safe Base64.
#[must_use]
pub fn resource_id(url: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    super::noise(url, 27).iter().map(|&b| char::from(ALPHABET[usize::from(b & 63)])).collect()
}
