//! ZIP (PKWARE APPNOTE): the directory at the end, and what it points to.

use std::io::Read as _;

use flate2::bufread::DeflateDecoder;

use super::gzip::MAX_INFLATED;
use super::window::Part;
use super::{Problem, Stop, Walk, Walked};

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
/// The end record is 22 bytes and a comment of at most 65 535.
const MAX_END: u64 = 22 + 65_535;
/// Most entries that are followed.
const MAX_ENTRIES: u64 = 200_000;

/// Walks the directory and its entries; at the deep level each entry is
/// inflated and its CRC-32 held against the directory's.
pub(super) fn walk(walk: &mut Walk<'_>) -> Walked {
    let len = walk.window.len();
    let Some(end) = end_record(walk)? else {
        return Err(Problem::cut(len, "the end of the directory"));
    };
    let count = walk.window.le16(end + 10)?.unwrap_or(0);
    let size = walk.window.le32(end + 12)?.unwrap_or(0);
    let start = walk.window.le32(end + 16)?.unwrap_or(0);
    if count == u16::MAX || size == u32::MAX || start == u32::MAX {
        return Err(Stop::Bound("ZIP archives with 64-bit directories"));
    }
    if u64::from(start) + u64::from(size) > end {
        let expected = format!("a directory that ends by byte {end}");
        return Err(Problem::broken(end + 12, expected, format!("{size} bytes from byte {start}")));
    }
    // Something before the archive, as in a self-extracting program.
    let shift = end - u64::from(start) - u64::from(size);
    if shift > 0 {
        walk.note("ZIP archives with data before their first entry");
    }
    walk.pin(end..end + 4);
    walk.pin(end + 10..end + 20);
    let mut at = u64::from(start) + shift;
    let mut inflated = 0;
    for _ in 0..u64::from(count).min(MAX_ENTRIES) {
        walk.control.safe_point()?;
        let Some(record) = walk.window.array::<46>(at)? else {
            return Err(Problem::cut(len, "a directory entry"));
        };
        if record.first_chunk() != Some(&CENTRAL) {
            return Err(Problem::broken(
                at,
                "a directory entry",
                record.first_chunk::<4>().map_or_else(String::new, |s| s.escape_ascii().to_string()),
            ));
        }
        entry(walk, at, &record, shift, &mut inflated)?;
        walk.pin(at..at + 4);
        let variable: u64 = [28, 30, 32].into_iter().map(|i| u64::from(le16(&record, i))).sum();
        at += 46 + variable;
    }
    if at != end {
        return Err(Problem::broken(at, format!("the end of the directory at byte {end}"), "another place"));
    }
    if !walk.deep() {
        walk.note("the content of ZIP archives: use --deep");
    }
    Ok(())
}

/// Where the end record begins: the last one whose comment fits the file.
fn end_record(walk: &mut Walk<'_>) -> Result<Option<u64>, Stop> {
    let len = walk.window.len();
    let from = len.saturating_sub(MAX_END);
    let mut tail = Vec::new();
    Part::new(&mut walk.window, from, len).read_to_end(&mut tail)?;
    let fits = |&at: &usize| {
        let record = tail.get(at..).unwrap_or_default();
        record.first_chunk() == Some(&END) && record.len() == 22 + usize::from(le16(record, 20))
    };
    let found = (0..tail.len().saturating_sub(21)).rev().find(fits);
    Ok(found.map(|at| from + at as u64))
}

/// Judges one entry by its directory record.
fn entry(walk: &mut Walk<'_>, at: u64, record: &[u8; 46], shift: u64, inflated: &mut u64) -> Walked {
    let method = le16(record, 10);
    let (crc, packed, plain) = (le32(record, 16), le32(record, 20), le32(record, 24));
    let local = u64::from(le32(record, 42)) + shift;
    if packed == u32::MAX || plain == u32::MAX || le32(record, 42) == u32::MAX {
        walk.note("ZIP entries with 64-bit lengths");
        return Ok(());
    }
    let Some(head) = walk.window.array::<30>(local)? else {
        return Err(Problem::broken(at + 42, "an entry inside the file", format!("byte {local}")));
    };
    if head.first_chunk() != Some(&LOCAL) {
        return Err(Problem::broken(
            local,
            "an entry",
            head.first_chunk::<4>().map_or_else(String::new, |s| s.escape_ascii().to_string()),
        ));
    }
    if le16(&head, 8) != method {
        return Err(Problem::broken(local + 8, format!("method {method}"), le16(&head, 8).to_string()));
    }
    let data = local + 30 + u64::from(le16(&head, 26)) + u64::from(le16(&head, 28));
    let end = data + u64::from(packed);
    if end > at {
        return Err(Problem::broken(
            local,
            format!("an entry that ends by byte {at}"),
            format!("byte {end}"),
        ));
    }
    walk.pin(local..local + 4);
    let encrypted = le16(record, 8) & 1 != 0;
    if !walk.deep() {
        return Ok(());
    }
    if encrypted || !matches!(method, 0 | 8) {
        walk.note("ZIP entries that are encrypted or packed by a rare method");
        return Ok(());
    }
    let part = Part::new(&mut walk.window, data, end);
    let (found, length) = if method == 0 {
        sum(part, walk.control, inflated)
    } else {
        sum(DeflateDecoder::new(part), walk.control, inflated)
    }
    .map_err(|stop| match stop {
        Stop::Read(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::InvalidInput
                    | std::io::ErrorKind::InvalidData
                    | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            Problem::stop("media.checksum", data, "sound deflated data", e.to_string())
        }
        stop => stop,
    })?;
    if found != crc {
        return Err(Problem::checksum(data, crc, found));
    }
    if length != u64::from(plain) {
        return Err(Problem::broken(data, format!("{plain} bytes"), format!("{length} bytes")));
    }
    if data < end {
        walk.pin(data..end);
    }
    walk.pin(at + 16..at + 20);
    Ok(())
}

/// CRC-32 and length of what `input` yields.
fn sum(
    mut input: impl std::io::Read,
    control: &crate::control::Control,
    total: &mut u64,
) -> Result<(u32, u64), Stop> {
    let mut hasher = crc32fast::Hasher::new();
    let mut length = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        control.safe_point()?;
        let n = input.read(&mut buffer)?;
        if n == 0 {
            return Ok((hasher.finalize(), length));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
        length += n as u64;
        *total += n as u64;
        if *total > MAX_INFLATED {
            return Err(Stop::Bound("ZIP archives that inflate to more than 1 GiB"));
        }
    }
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}
