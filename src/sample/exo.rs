//! An ExoPlayer `SimpleCache` with its index in a file (androidx media3
//! `CachedContentIndex`, `SimpleCacheSpan`).

use std::io;

use super::{Tree, hex, noise, pick};

/// Makes a cache of `videos`, each in spans of at most 8 000 bytes.
///
/// # Errors
/// The system's error.
pub fn cache(tree: &Tree, videos: &[(&str, u64)]) -> io::Result<()> {
    let mut index = Vec::new();
    for number in [2_i32, 0, i32::try_from(videos.len()).unwrap_or(0)] {
        index.extend_from_slice(&number.to_be_bytes());
    }
    let mut sum = 0_i32;
    for (id, (key, days)) in videos.iter().enumerate() {
        let bytes = noise(key, 9_000 + pick(key, 12_000) as usize);
        let mut position = 0;
        for part in bytes.chunks(8_000) {
            let folder = pick(&format!("{key}{position}"), 10);
            let name = format!("{folder}/{id}.{position}.{}.v3.exo", tree.millis(*days));
            tree.file(&name, part, *days)?;
            position += part.len();
        }
        let id = i32::try_from(id).unwrap_or(0);
        let length = (bytes.len() as u64).to_be_bytes();
        index.extend_from_slice(&id.to_be_bytes());
        utf(&mut index, key);
        index.extend_from_slice(&1_i32.to_be_bytes());
        utf(&mut index, "exo_len");
        index.extend_from_slice(&8_i32.to_be_bytes());
        index.extend_from_slice(&length);
        let metadata = string_hash("exo_len") ^ bytes_hash(&length);
        let item = id.wrapping_mul(31).wrapping_add(string_hash(key)).wrapping_mul(31).wrapping_add(metadata);
        sum = sum.wrapping_add(item);
    }
    index.extend_from_slice(&sum.to_be_bytes());
    tree.file("cached_content_index.exi", index, 0)?;
    let uid = hex(&noise("exo uid", 8));
    tree.file(&format!("{}.uid", uid.trim_start_matches('0')), b"", 90)
}

fn utf(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Java's `String.hashCode`, of ASCII text here.
fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |h: i32, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Java's `Arrays.hashCode(byte[])`.
fn bytes_hash(bytes: &[u8]) -> i32 {
    bytes.iter().fold(1, |h: i32, &b| h.wrapping_mul(31).wrapping_add(i32::from(b.cast_signed())))
}
