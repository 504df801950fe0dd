//! WebP (RFC 9649): RIFF chunks that fill the file.

use super::{Problem, Walk, Walked};

/// Walks the chunks to the end that the RIFF header announces.
pub(super) fn walk(walk: &mut Walk<'_>) -> Walked {
    let Some(size) = walk.window.le32(4)? else {
        return Err(Problem::cut(walk.window.len(), "a RIFF header"));
    };
    let len = walk.window.len();
    let end = 8 + u64::from(size);
    if end > len {
        return Err(Problem::cut(len, format!("{end} bytes")));
    }
    // Some writers leave the padding byte out of the announced size.
    if len > end + 1 {
        return Err(Problem::broken(
            4,
            format!("{} bytes behind the RIFF header", len - 8),
            size.to_string(),
        ));
    }
    walk.pin(0..12);
    let mut at = 12;
    let mut image = false;
    while at < end {
        walk.control.safe_point()?;
        let (Some(kind), Some(size)) = (walk.window.array::<4>(at)?, walk.window.le32(at + 4)?) else {
            return Err(Problem::cut(len, "a chunk"));
        };
        if !kind.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
            return Err(Problem::broken(at, "a chunk's name", kind.escape_ascii().to_string()));
        }
        let next = at + 8 + u64::from(size) + u64::from(size & 1);
        if next > end + 1 {
            return Err(Problem::broken(at + 4, format!("at most {} bytes", end - at - 8), size.to_string()));
        }
        let body = at + 8;
        let begins = match &kind {
            // The start code of a key frame; the signature of lossless data.
            b"VP8 " => walk.window.array::<3>(body + 3)? == Some([0x9d, 0x01, 0x2a]),
            b"VP8L" => walk.window.byte(body)? == Some(0x2f),
            b"VP8X" => size == 10,
            b"ANMF" => size >= 16,
            _ => at > 12,
        };
        if !begins {
            return Err(Problem::broken(body, "image data", kind.escape_ascii().to_string()));
        }
        image |= matches!(&kind, b"VP8 " | b"VP8L" | b"ANMF");
        walk.pin(at + 4..at + 8);
        at = next;
    }
    if image { Ok(()) } else { Err(Problem::broken(12, "image data", "none")) }
}
