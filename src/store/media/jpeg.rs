//! JPEG (ITU T.81, annex B): segments, scans, end of image.

use super::{Problem, Stop, Walk, Walked};

/// Where a fast look searches for the end of a long image.
const TAIL: u64 = 64 * 1024;
/// Images up to this length are walked to their end at every level.
const SHORT: u64 = 256 * 1024;

/// Walks the segments to the end of image.
pub(super) fn walk(walk: &mut Walk<'_>) -> Walked {
    walk.pin(0..2);
    let mut at = 2;
    let mut frame = false;
    let mut scanned = false;
    loop {
        walk.control.safe_point()?;
        match walk.window.byte(at)? {
            Some(0xff) => {}
            Some(other) => return Err(Problem::broken(at, "a marker (0xff)", format!("{other:#04x}"))),
            None => return Err(Problem::cut(at, "an end-of-image marker")),
        }
        let first = at;
        let marker = loop {
            at += 1;
            match walk.window.byte(at)? {
                Some(0xff) => {}
                Some(marker) => break marker,
                None => return Err(Problem::cut(at, "a marker")),
            }
        };
        at += 1;
        match marker {
            0xd9 if frame => {
                walk.pin(first..at);
                return Ok(());
            }
            0xd9 => return Err(Problem::broken(first, "a frame before the end of image", "none")),
            // Markers without a segment.
            0x01 | 0xd0..=0xd7 => continue,
            0x00 | 0xd8 | 0x02..=0xbf => {
                return Err(Problem::broken(first, "a marker", format!("0xff{marker:02x}")));
            }
            _ => {}
        }
        let Some(length) = walk.window.be16(at)? else { return Err(Problem::cut(at, "a segment's length")) };
        let end = at + u64::from(length);
        if length < 2 {
            return Err(Problem::broken(at, "a segment of at least 2 bytes", length.to_string()));
        }
        if end > walk.window.len() {
            return Err(Problem::cut(walk.window.len(), format!("a segment up to byte {end}")));
        }
        if !scanned {
            // Behind coded data, a marker that lost its 0xff reads as more of it.
            walk.pin(first..first + 1);
        }
        let body = at + 2;
        match marker {
            0xc4 | 0xdb => tables(walk, marker, body, end)?,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let components = u64::from(walk.window.byte(at + 7)?.unwrap_or(0));
                exact(at, length, 8 + 3 * components)?;
                frame = true;
            }
            0xda => {
                let components = u64::from(walk.window.byte(body)?.unwrap_or(0));
                exact(at, length, 6 + 2 * components)?;
                if !frame {
                    return Err(Problem::broken(first, "a frame before a scan", "none"));
                }
                scanned = true;
                at = scan(walk, end)?;
                continue;
            }
            _ => {}
        }
        at = end;
    }
}

fn exact(at: u64, length: u16, expected: u64) -> Walked {
    if u64::from(length) == expected {
        return Ok(());
    }
    Err(Problem::broken(at, format!("a segment of {expected} bytes"), length.to_string()))
}

/// Quantisation and Huffman tables must fill their segment exactly.
fn tables(walk: &mut Walk<'_>, marker: u8, body: u64, end: u64) -> Walked {
    let mut at = body;
    while at < end {
        let kind = walk.window.byte(at)?.unwrap_or(0);
        at += if marker == 0xdb {
            1 + 64 * (1 + u64::from(kind >> 4 == 1))
        } else {
            let counts = walk.window.array::<16>(at + 1)?.unwrap_or_default();
            17 + counts.iter().map(|&n| u64::from(n)).sum::<u64>()
        };
    }
    if at == end {
        return Ok(());
    }
    Err(Problem::broken(body, format!("tables up to byte {end}"), format!("tables up to byte {at}")))
}

/// Passes over coded data: hands back where the next marker begins.
fn scan(walk: &mut Walk<'_>, start: u64) -> Result<u64, Stop> {
    let len = walk.window.len();
    let mut at = start;
    if !walk.deep() && len > SHORT && len - at > TAIL {
        walk.note("the coded data of long JPEG images: use --deep");
        at = len - TAIL;
        // Not at a stuffed byte's second half.
        if walk.window.byte(at - 1)? == Some(0xff) {
            at += 1;
        }
    }
    loop {
        walk.control.safe_point()?;
        let chunk = walk.window.chunk(at)?;
        if chunk.is_empty() {
            return Err(Problem::cut(at, "an end-of-image marker"));
        }
        let Some(found) = chunk.iter().position(|&b| b == 0xff) else {
            at += chunk.len() as u64;
            continue;
        };
        at += found as u64;
        match walk.window.byte(at + 1)? {
            // A stuffed byte or a restart marker.
            Some(0x00 | 0xd0..=0xd7) => at += 2,
            Some(0xff) => at += 1,
            Some(_) => return Ok(at),
            None => return Err(Problem::cut(at + 1, "an end-of-image marker")),
        }
    }
}
