//! Text of a database in its own encoding.

use crate::format::Encoding;

/// As UTF-8, what is not valid replaced.
#[must_use]
pub fn decode(bytes: &[u8], encoding: Encoding) -> String {
    let unit = |pair: &[u8]| match (pair, encoding) {
        (&[a, b], Encoding::Utf16be) => u16::from_be_bytes([a, b]),
        (&[a, b], _) => u16::from_le_bytes([a, b]),
        _ => 0xfffd,
    };
    match encoding {
        Encoding::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::from_utf16_lossy(&bytes.chunks(2).map(unit).collect::<Vec<_>>()),
    }
}

/// The encoding that makes `bytes` one of `words`, which are ASCII.
#[must_use]
pub fn encoding_of(bytes: &[u8], words: &[&str]) -> Option<Encoding> {
    [Encoding::Utf8, Encoding::Utf16le, Encoding::Utf16be]
        .into_iter()
        .find(|&e| words.contains(&decode(bytes, e).as_str()))
}

/// Which encoding a text of unknown kind is likely in, by where its zero bytes
/// stand; `None` when nothing tells.
#[must_use]
pub fn guess(bytes: &[u8]) -> Option<Encoding> {
    if bytes.len() < 2 {
        return None;
    }
    let zeros = |start: usize| bytes.iter().skip(start).step_by(2).filter(|b| **b == 0).count();
    let half = bytes.len() / 2;
    let (even, odd) = (zeros(0), zeros(1));
    if bytes.len().is_multiple_of(2) && odd * 2 > half && even * 8 < half {
        Some(Encoding::Utf16le)
    } else if bytes.len().is_multiple_of(2) && even * 2 > half && odd * 8 < half {
        Some(Encoding::Utf16be)
    } else if even + odd == 0 && std::str::from_utf8(bytes).is_ok() {
        Some(Encoding::Utf8)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_by_words_and_zeros() {
        let le: Vec<u8> = "table".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = "table".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(encoding_of(&le, &["table"]), Some(Encoding::Utf16le));
        assert_eq!(encoding_of(&be, &["table"]), Some(Encoding::Utf16be));
        assert_eq!(encoding_of(b"table", &["table"]), Some(Encoding::Utf8));
        assert_eq!(guess(&le), Some(Encoding::Utf16le));
        assert_eq!(guess(&be), Some(Encoding::Utf16be));
        assert_eq!(guess("grün".as_bytes()), Some(Encoding::Utf8));
        assert_eq!(guess(&[0, 0, 0, 0]), None);
        assert_eq!(decode(&[0x3d, 0xd8], Encoding::Utf16le), "\u{fffd}");
    }
}
