//! Paul Hsieh's `SuperFastHash`, by which Chromium hashes keys of its caches.

/// The hash of `data`. Input is read as little-endian 16-bit words; the one
/// to three bytes left over are mixed in by their own rules.
pub(crate) fn super_fast_hash(data: &[u8]) -> u32 {
    if data.is_empty() {
        return 0;
    }
    let word = |lo: u8, hi: u8| u32::from(u16::from_le_bytes([lo, hi]));
    // Bytes at the very end count as signed.
    let signed = |b: u8| i32::from(b.cast_signed()).cast_unsigned();
    let mut hash = data.len() as u32;
    let (groups, rest) = data.as_chunks::<4>();
    for &[a, b, c, d] in groups {
        hash = hash.wrapping_add(word(a, b));
        hash = (hash << 16) ^ ((word(c, d) << 11) ^ hash);
        hash = hash.wrapping_add(hash >> 11);
    }
    match *rest {
        [a, b, c] => {
            hash = hash.wrapping_add(word(a, b));
            hash ^= hash << 16;
            hash ^= signed(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(word(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(signed(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

#[cfg(test)]
mod tests {
    use super::super_fast_hash;

    #[test]
    fn agrees_with_entries_that_chromium_wrote() {
        // Key and hash as found in the headers of real entry files.
        for (key, hash) in KNOWN {
            assert_eq!(super_fast_hash(key.as_bytes()), *hash, "{key}");
        }
    }

    const KNOWN: &[(&str, u32)] = &[
        ("http://127.0.0.1:18431/cs/10", 0xd69d_3b26),
        ("0", 0xf247_5372),
        ("1/0/_dk_http://127.0.0.1 http://127.0.0.1 http://127.0.0.1:18431/a.png", 0x7e70_8d09),
        ("http://127.0.0.1:18431/cs/0", 0x71f0_3c45),
    ];
}
