//! PNG (ISO/IEC 15948): chunks with their CRC-32.

use std::io::Read as _;

use super::window::Part;
use super::{Problem, Walk, Walked};

/// The first eight bytes.
pub(super) const MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Walks the chunks to `IEND`; at the deep level every CRC.
pub(super) fn walk(walk: &mut Walk<'_>) -> Walked {
    walk.pin(0..8);
    let len = walk.window.len();
    let mut at = 8;
    let mut data = false;
    loop {
        walk.control.safe_point()?;
        let (Some(size), Some(kind)) = (walk.window.be32(at)?, walk.window.array::<4>(at + 4)?) else {
            return Err(Problem::cut(at, "a chunk"));
        };
        if !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err(Problem::broken(at + 4, "a chunk's type", kind.escape_ascii().to_string()));
        }
        if at == 8 && (kind != *b"IHDR" || size != 13) {
            return Err(Problem::broken(at, "the chunk IHDR of 13 bytes", kind.escape_ascii().to_string()));
        }
        let end = at + 12 + u64::from(size);
        if end > len {
            return Err(Problem::cut(len, format!("a chunk up to byte {end}")));
        }
        if walk.deep() {
            let expected = walk.window.be32(end - 4)?.unwrap_or(0);
            let found = crc(walk, at + 4, end - 4)?;
            if expected != found {
                return Err(Problem::checksum(at, expected, found));
            }
            walk.pin(at..end);
        } else {
            walk.pin(at..at + 4);
        }
        data |= kind == *b"IDAT";
        at = end;
        if kind == *b"IEND" {
            break;
        }
    }
    if !walk.deep() {
        walk.note("the checksums of PNG images: use --deep");
    }
    if data { Ok(()) } else { Err(Problem::broken(at, "image data (IDAT)", "none")) }
}

fn crc(walk: &mut Walk<'_>, from: u64, to: u64) -> std::io::Result<u32> {
    let mut part = Part::new(&mut walk.window, from, to);
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = [0; 8192];
    loop {
        match part.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            n => hasher.update(buffer.get(..n).unwrap_or_default()),
        }
    }
}
