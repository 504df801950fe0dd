//! One file of a Simple cache entry: `<hash>_0` with streams 0 and 1,
//! `<hash>_1` with stream 2, `<hash>_s` with sparse ranges.
//!
//! Layout after Chromium's `net/disk_cache/simple/simple_entry_format.h`; all
//! numbers little-endian:
//!
//! ```text
//! header (24)  u64 magic, u32 version, u32 key length, u32 key hash, u32 pad
//! record (24)  u64 magic, u32 flags, u32 CRC-32 of the stream, u32 size of stream 0, u32 pad
//! range  (32)  u64 magic, u64 offset, u64 length, u32 CRC-32 or 0, u32 pad
//! _0           header key stream1 record stream0 [SHA-256 of the key] record
//! _1           header key stream2 record
//! _s           header key (range data)*
//! ```

use std::io;
use std::ops::Range;

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::hash::super_fast_hash;
use crate::model::{Finding, Remedy, Severity};
use crate::store::Level;
use crate::store::read_at::{ReadAt, read_vec, stream, u32_le, u64_le};

/// First eight bytes of every entry file and of the index file.
pub(super) const INITIAL_MAGIC: u64 = 0xfcfb_6d1b_a772_5c30;
const FINAL_MAGIC: u64 = 0xf4fa_6f45_970d_41d8;
const RANGE_MAGIC: u64 = 0xeb97_bf01_6553_676b;
const HEADER: u64 = 24;
const RECORD: u64 = 24;
const RANGE: u64 = 32;
const DIGEST: u64 = 32;
/// The version of dense entry files never changed.
const ENTRY_VERSION: u32 = 5;
/// The versions of sparse files that the library still reads.
const SPARSE_VERSIONS: std::ops::RangeInclusive<u32> = 7..=9;
const HAS_CRC: u32 = 1;
const HAS_DIGEST: u32 = 2;
/// The longest key that is read into memory; URLs end far below.
const MAX_KEY: u64 = 16 * 1024 * 1024;
/// How much of the beginning is read at once: header and nearly every key.
const HEAD: u64 = 1024;

/// Which file of an entry it is, by the last letter of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// `_0`: streams 0 and 1.
    Main,
    /// `_1`: stream 2.
    Second,
    /// `_s`: sparse ranges.
    Sparse,
}

/// The name of an entry file, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) hash: u64,
    pub(super) part: Part,
}

impl Name {
    /// Takes apart `0123456789abcdef_0`; `None` for any other name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (hex, part) = name.split_once('_')?;
        let part = match part {
            "0" => Part::Main,
            "1" => Part::Second,
            "s" => Part::Sparse,
            _ => return None,
        };
        let plain = hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        Some(Self { hash: u64::from_str_radix(hex, 16).ok().filter(|_| plain)?, part })
    }
}

/// What one entry file turned out to be.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) seen: u64,
    /// Bytes that a checksum or a rule that pins them vouches for.
    pub(super) vouched: Vec<Range<u64>>,
    /// Streams that carry no checksum.
    pub(super) unsummed: u64,
    /// The version of the file, when it came after this program: then nothing
    /// else of it is judged.
    pub(super) newer: Option<u32>,
}

impl Report {
    fn bad(&mut self, code: &str, at: u64, message: impl Into<String>) -> &mut Finding {
        self.findings.push(damage(code, message).at(at));
        // Just pushed, so there is a last one; the index cannot fail.
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }
}

/// A finding of damage that clearing the entry mends.
pub(super) fn damage(code: &str, message: impl Into<String>) -> Finding {
    Finding::new(code, Severity::Error, Remedy::ClearEntry, message)
}

trait Values {
    fn values(&mut self, expected: impl Into<String>, found: impl Into<String>);
}

impl Values for Finding {
    fn values(&mut self, expected: impl Into<String>, found: impl Into<String>) {
        self.evidence.expected = Some(expected.into());
        self.evidence.found = Some(found.into());
    }
}

/// The number that the name of an entry with this key is made of.
pub(super) fn entry_hash(key: &[u8]) -> u64 {
    let digest = Sha1::digest(key);
    u64_le(digest.as_slice(), 0).unwrap_or_default()
}

/// Checks one entry file. Anything may be in it.
pub(super) fn check(source: &dyn ReadAt, name: Name, level: Level) -> io::Result<Report> {
    let mut report = Report::default();
    let Some(start) = check_head(source, name, &mut report)? else {
        return Ok(report);
    };
    match name.part {
        Part::Main => check_main(source, &start, level, &mut report)?,
        Part::Second => check_second(source, &start, level, &mut report)?,
        Part::Sparse => check_sparse(source, &start, level, &mut report)?,
    }
    Ok(report)
}

/// Whether the number may be the version of an entry file of a newer program;
/// that its key is sound has to show that it is.
fn is_future(version: u32) -> bool {
    version > ENTRY_VERSION && version <= 64
}

/// The header and the key; gives them back when the rest can be looked at.
fn check_head(source: &dyn ReadAt, name: Name, report: &mut Report) -> io::Result<Option<Vec<u8>>> {
    let len = source.len();
    let smallest = if name.part == Part::Sparse { HEADER } else { HEADER + RECORD };
    if len < smallest {
        report.seen += len;
        report
            .bad("simple-cache.truncated", len, "the entry file ends within its header")
            .values(format!("at least {smallest} bytes"), format!("{len} bytes"));
        return Ok(None);
    }
    let mut head = read_vec(source, 0, HEAD.min(len) as usize)?;
    let magic = u64_le(&head, 0).unwrap_or_default();
    let version = u32_le(&head, 8).unwrap_or_default();
    let key_len = u64::from(u32_le(&head, 12).unwrap_or_default());
    let key_hash = u32_le(&head, 16).unwrap_or_default();
    report.seen += HEADER;
    if magic != INITIAL_MAGIC {
        report
            .bad("simple-cache.header", 0, "the entry file does not begin as one")
            .values(format!("{INITIAL_MAGIC:#018x}"), format!("{magic:#018x}"));
        return Ok(None);
    }
    let known = match name.part {
        Part::Sparse => SPARSE_VERSIONS.contains(&version),
        Part::Main | Part::Second => version == ENTRY_VERSION,
    };
    let key_fits = key_len <= MAX_KEY && HEADER + key_len <= len;
    if !known && is_future(version) && key_fits {
        let whole = read_vec(source, 0, (HEADER + key_len) as usize)?;
        let key = whole.get(HEADER as usize..).unwrap_or_default();
        if entry_hash(key) == name.hash && super_fast_hash(key) == key_hash {
            report.newer = Some(version);
            return Ok(None);
        }
    }
    if !known {
        let expected = if name.part == Part::Sparse { "7 to 9" } else { "5" };
        report
            .bad("simple-cache.header", 8, "the entry file has a version that Chromium does not read")
            .values(expected, version.to_string());
    }
    if key_len > MAX_KEY || HEADER + key_len > len - (smallest - HEADER) {
        report
            .bad("simple-cache.header", 12, "the key's length does not fit the entry file")
            .values(format!("at most {} bytes", (len - smallest).min(MAX_KEY)), format!("{key_len} bytes"));
        return Ok(None);
    }
    let whole = (HEADER + key_len) as usize;
    if whole > head.len() {
        head = read_vec(source, 0, whole)?;
    }
    head.truncate(whole);
    report.seen += key_len;
    let key = head.get(HEADER as usize..).unwrap_or_default();
    let hash = entry_hash(key);
    if hash != name.hash {
        // At the key's length, which may be what is wrong.
        report
            .bad("simple-cache.key", 12, "the key in the entry file is not the one its name is made of")
            .values(format!("{:016x}", name.hash), format!("{hash:016x}"));
    } else if super_fast_hash(key) != key_hash {
        report
            .bad("simple-cache.key-hash", 16, "the key's hash in the header is wrong")
            .values(format!("{:08x}", super_fast_hash(key)), format!("{key_hash:08x}"));
    }
    if report.findings.is_empty() {
        // All but the padding is pinned: magic, version, key by name and hash.
        report.vouched.push(0..8);
        // Another version may be that of a newer program.
        report.vouched.push(9..HEADER - 4);
        report.vouched.push(HEADER..HEADER + key_len);
    }
    Ok(Some(head))
}

/// The record that ends a stream.
struct Record {
    flags: u32,
    crc: u32,
    size: u64,
}

/// Reads the record at `at`; `None` (with a finding) when none is there.
fn record(source: &dyn ReadAt, at: u64, stream: u32, report: &mut Report) -> io::Result<Option<Record>> {
    let bytes = read_vec(source, at, RECORD as usize)?;
    let magic = u64_le(&bytes, 0).unwrap_or_default();
    report.seen += RECORD;
    if magic != FINAL_MAGIC {
        report
            .bad("simple-cache.end-record", at, format!("the record that ends stream {stream} is not there"))
            .values(format!("{FINAL_MAGIC:#018x}"), format!("{magic:#018x}"));
        return Ok(None);
    }
    let flags = u32_le(&bytes, 8).unwrap_or_default();
    if flags & !(HAS_CRC | HAS_DIGEST) != 0 {
        report
            .bad("simple-cache.end-record", at + 8, format!("unknown flags in the record of stream {stream}"))
            .values("0 to 3", format!("{flags:#x}"));
        return Ok(None);
    }
    report.vouched.push(at..at + 8);
    Ok(Some(Record {
        flags,
        crc: u32_le(&bytes, 12).unwrap_or_default(),
        size: u64::from(u32_le(&bytes, 16).unwrap_or_default()),
    }))
}

fn check_main(source: &dyn ReadAt, head: &[u8], level: Level, report: &mut Report) -> io::Result<()> {
    let start = head.len() as u64;
    let end = source.len() - RECORD;
    let Some(last) = record(source, end, 0, report)? else { return Ok(()) };
    let digest_len = if last.flags & HAS_DIGEST == 0 { 0 } else { DIGEST };
    // Between the key and the last record: stream 1, its record, stream 0, digest.
    let room = (end - start).checked_sub(RECORD + digest_len);
    let Some(stream1_len) = room.and_then(|room| room.checked_sub(last.size)) else {
        report
            .bad("simple-cache.stream-size", end + 16, "stream 0 is longer than the entry file has room for")
            .values(format!("at most {} bytes", room.unwrap_or_default()), format!("{} bytes", last.size));
        return Ok(());
    };
    let stream0 = end - digest_len - last.size;
    let first = record(source, stream0 - RECORD, 1, report)?;
    if first.is_some() {
        // The record of stream 1 is where the size of stream 0 says.
        report.vouched.push(end + 16..end + 20);
    }
    if digest_len != 0 {
        let found = read_vec(source, end - DIGEST, DIGEST as usize)?;
        let expected = Sha256::digest(head.get(HEADER as usize..).unwrap_or_default());
        report.seen += DIGEST;
        if found.as_slice() == expected.as_slice() {
            report.vouched.push(end - DIGEST..end);
        } else {
            report
                .bad("simple-cache.key-digest", end - DIGEST, "the SHA-256 of the key is wrong")
                .values(crate::fsys::to_hex(expected.as_slice()), crate::fsys::to_hex(&found));
        }
    }
    if level == Level::Deep {
        check_stream(source, 0, stream0..stream0 + last.size, end, &last, report)?;
        if let Some(first) = first {
            let stream1 = start..start + stream1_len;
            check_stream(source, 1, stream1.clone(), stream1.end, &first, report)?;
        }
    }
    Ok(())
}

fn check_second(source: &dyn ReadAt, head: &[u8], level: Level, report: &mut Report) -> io::Result<()> {
    let start = head.len() as u64;
    let end = source.len() - RECORD;
    let Some(record) = record(source, end, 2, report)? else { return Ok(()) };
    if level == Level::Deep {
        check_stream(source, 2, start..end, end, &record, report)?;
    }
    Ok(())
}

fn check_stream(
    source: &dyn ReadAt,
    number: u32,
    range: Range<u64>,
    record_at: u64,
    record: &Record,
    report: &mut Report,
) -> io::Result<()> {
    let (at, len) = (range.start, range.end - range.start);
    report.seen += len;
    if record.flags & HAS_CRC == 0 {
        report.unsummed += u64::from(len > 0);
        return Ok(());
    }
    let found = crc(source, at, len)?;
    if found == record.crc {
        report.vouched.push(range);
        report.vouched.push(record_at + 12..record_at + 16);
    } else {
        report
            .bad("simple-cache.crc", at, format!("stream {number} ({len} bytes) does not match its checksum"))
            .values(format!("{:08x}", record.crc), format!("{found:08x}"));
    }
    Ok(())
}

fn check_sparse(source: &dyn ReadAt, head: &[u8], level: Level, report: &mut Report) -> io::Result<()> {
    let len = source.len();
    let mut at = head.len() as u64;
    while at < len {
        let room = (len - at).checked_sub(RANGE);
        let header = read_vec(source, at, RANGE.min(len - at) as usize)?;
        report.seen += header.len() as u64;
        let Some(room) = room else {
            report
                .bad("simple-cache.truncated", at, "the entry file ends within a sparse range's header")
                .values(format!("{RANGE} bytes"), format!("{} bytes", len - at));
            return Ok(());
        };
        let magic = u64_le(&header, 0).unwrap_or_default();
        if magic != RANGE_MAGIC {
            report
                .bad("simple-cache.sparse-range", at, "a sparse range does not begin as one")
                .values(format!("{RANGE_MAGIC:#018x}"), format!("{magic:#018x}"));
            return Ok(());
        }
        let data = u64_le(&header, 16).unwrap_or_default();
        if data > room {
            report
                .bad(
                    "simple-cache.sparse-range",
                    at + 16,
                    "a sparse range is longer than the file has room for",
                )
                .values(format!("at most {room} bytes"), format!("{data} bytes"));
            return Ok(());
        }
        report.vouched.push(at..at + 8);
        let expected = u32_le(&header, 24).unwrap_or_default();
        if level == Level::Deep {
            report.seen += data;
            let found = if expected == 0 { 0 } else { crc(source, at + RANGE, data)? };
            if expected == 0 {
                // Ranges that were written over in part lose their checksum.
                report.unsummed += u64::from(data > 0);
            } else if found == expected {
                report.vouched.push(at + 16..at + 28);
                report.vouched.push(at + RANGE..at + RANGE + data);
            } else {
                report
                    .bad(
                        "simple-cache.sparse-crc",
                        at + RANGE,
                        format!("a sparse range ({data} bytes) does not match its checksum"),
                    )
                    .values(format!("{expected:08x}"), format!("{found:08x}"));
            }
        }
        at += RANGE + data;
    }
    Ok(())
}

fn crc(source: &dyn ReadAt, at: u64, len: u64) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    stream(source, at, len, |part| hasher.update(part))?;
    Ok(hasher.finalize())
}
