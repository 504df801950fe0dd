//! Firefox's HTTP cache, the folder `cache2`: one file per entry in `entries`,
//! named by the SHA-1 of its key; `doomed` for entries being dropped; an
//! index that Firefox makes anew whenever it does not fit.
//!
//! After Firefox's `netwerk/cache2/CacheFileMetadata.cpp`, all numbers
//! big-endian; an entry file is
//!
//! ```text
//! data            in chunks of 256 KiB
//! u32             hash of the metadata that follows
//! u16 ...         low half of the hash of each chunk
//! header          u32: version, fetch count, last fetched, last modified,
//!                 frecency, expiration, key length, flags (not in version 1)
//! key NUL, then pairs of name NUL value NUL
//! u32             version again (from version 4)
//! u32             length of the data; highest bit: encrypted (from version 4)
//! ```

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use sha1::{Digest as _, Sha1};

use super::lookup2::{Lookup2, lookup2};
use super::read_at::{OpenFile, ReadAt, WHOLE, open, read_vec, stream, with_whole};
use super::tally::{Tally, each_file};
use super::{CacheEntries, CacheEntry, Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::{Brief, Kind, Named, RelPath, to_hex};
use crate::model::{Finding, Remedy, Severity, StoreKind};

const ENTRIES: &str = "entries";
const DOOMED: &str = "doomed";
const CHUNK: u64 = 256 * 1024;
/// Versions of the entry format that are understood.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=4;
/// From this version on the version stands before the last word as well.
const TWO_WORDS: u32 = 4;
/// A version word up to this is taken for one, so that a newer format is
/// called unknown and not damaged.
const FUTURE: u32 = 32;
const ENCRYPTED: u32 = 0x8000_0000;
/// The longest metadata that is read, without the chunk hashes. Firefox keeps
/// at most 64 KiB of pairs; a key is a URL.
const MAX_METADATA: u64 = 4 * 1024 * 1024;
/// How many entry files `recognise` opens at most.
const SAMPLE: usize = 8;

/// Whether the folder is a Firefox cache: by the names in `entries` and what
/// the files there hold, or, while that is empty, by its sibling folder.
///
/// # Errors
/// The system's error.
pub fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    if !glimpse.has_dir(ENTRIES) {
        return Ok(false);
    }
    let rel = subject.path.join(ENTRIES).map_err(io::Error::other)?;
    let listed = subject.dir.dir(&rel)?.listed()?;
    if listed.is_empty() {
        return Ok(glimpse.has_dir(DOOMED));
    }
    for entry in listed.iter().filter(|e| is_entry(e)).take(SAMPLE) {
        let path = rel.join(&entry.name).map_err(io::Error::other)?;
        let source = OpenFile::new(subject.dir.open_file(&path)?)?;
        let report = check_entry(&source, entry.name.to_str(), Level::Fast)?;
        if report.encrypted || (report.damage.is_none() && !report.unknown) {
            return Ok(true);
        }
    }
    // Every one of the first entries damaged: then the names have to tell.
    Ok(glimpse.has_dir(DOOMED) && listed.iter().any(is_entry))
}

fn is_entry(entry: &Named) -> bool {
    let digits = |name: &str| name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit());
    entry.meta.kind == Kind::File && entry.name.to_str().is_some_and(digits)
}

/// One file of the listing.
struct Listed {
    rel: RelPath,
    meta: Brief,
}

#[derive(Default)]
struct Listing {
    entries: Vec<Listed>,
    doomed: Vec<Listed>,
    control: Vec<RelPath>,
    unknown: Vec<RelPath>,
    unknown_bytes: u64,
}

impl Listing {
    fn unknown(&mut self, rel: RelPath, meta: Brief) {
        self.unknown_bytes += if meta.kind == Kind::File { meta.size } else { 0 };
        self.unknown.push(rel);
    }
}

fn list(subject: Subject<'_>) -> Result<Listing, StoreError> {
    let mut out = Listing::default();
    for (rel, item) in subject.listed(&RelPath::root())? {
        match (item.meta.kind, item.name.to_str().unwrap_or_default()) {
            (Kind::Dir, ENTRIES) => {
                for (rel, item) in subject.listed(&rel)? {
                    if is_entry(&item) {
                        out.entries.push(Listed { rel, meta: item.meta });
                    } else {
                        out.unknown(rel, item.meta);
                    }
                }
            }
            (Kind::Dir, DOOMED) => {
                for (rel, item) in subject.listed(&rel)? {
                    match item.meta.kind {
                        Kind::File => out.doomed.push(Listed { rel, meta: item.meta }),
                        _ => out.unknown(rel, item.meta),
                    }
                }
            }
            (Kind::File, "index" | "index.tmp" | "index.log") => out.control.push(rel),
            // Notes of which sites are being cleared.
            (Kind::File, name) if name.starts_with("ce_") => out.control.push(rel),
            _ => out.unknown(rel, item.meta),
        }
    }
    Ok(out)
}

/// Checks every entry: at [`Level::Fast`] its metadata, key and name; at
/// [`Level::Deep`] the hash of every chunk as well.
///
/// # Errors
/// When the folder or a file in it cannot be read, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    examine(subject, level, control)?.finish(subject)
}

/// The check, before it is summed up.
pub(super) fn examine(subject: Subject<'_>, level: Level, control: &Control) -> Result<Tally, StoreError> {
    let listing = list(subject)?;
    let method = match level {
        Level::Fast => "firefox cache metadata hashes",
        Level::Deep => "firefox cache chunk hashes",
    };
    let mut out = Tally::new(StoreKind::FirefoxCache, method);
    let changing = AtomicU64::new(0);
    let (mut encrypted, mut unknown, mut unread) = (0_u64, 0_u64, 0_u64);
    let look = |file: &Listed| {
        control.safe_point()?;
        let report = check_file(subject, file, level, &changing)?;
        control.progress().advance(file.meta.size);
        Ok(report)
    };
    each_file(&listing.entries, look, |file, report| {
        out.seen(report.seen);
        for range in report.vouched {
            out.vouch(Some(&file.rel), range);
        }
        encrypted += u64::from(report.encrypted);
        unknown += u64::from(report.unknown);
        if report.unknown || report.encrypted {
            unread += file.meta.size.saturating_sub(report.seen);
        } else {
            out.known_form(file.meta.size);
        }
        if let Some(finding) = report.damage {
            out.finding(finding.in_file(file.rel.clone()));
        }
    })?;
    if level == Level::Fast && !listing.entries.is_empty() {
        out.not_checked("chunk hashes: only a deep check reads them");
    }
    if encrypted > 0 {
        out.not_checked(format!("{encrypted} entries are encrypted: their hashes cannot be computed"));
    }
    if unknown > 0 {
        out.not_checked(format!("{unknown} entries are of a newer format"));
    }
    out.unknown_bytes(unread);
    out.being_written(changing.into_inner(), "entries");
    if !listing.control.is_empty() {
        out.not_checked("the index: Firefox makes it anew when it does not fit");
    }
    out.not_of_format(listing.unknown.len(), listing.unknown_bytes);
    Ok(out)
}

fn check_file(
    subject: Subject<'_>,
    file: &Listed,
    level: Level,
    changing: &AtomicU64,
) -> Result<Report, StoreError> {
    let Some(source) = open(subject, &file.rel)? else { return Ok(Report::default()) };
    let name = file.rel.file_name().and_then(|n| n.to_str());
    let result = if level == Level::Deep && source.len() <= WHOLE {
        with_whole(&source, |bytes| check_entry(bytes, name, level)).flatten()
    } else {
        check_entry(&source, name, level)
    };
    if !matches!(&result, Ok(report) if report.damage.is_none()) {
        let now = subject.dir.stat(&subject.path.join_rel(&file.rel));
        if now.map_or(true, |now| now.size != file.meta.size || now.mtime_ns != file.meta.mtime_ns) {
            changing.fetch_add(1, Ordering::Relaxed);
            return Ok(Report::default());
        }
    }
    result.map_err(|e| subject.read_error(&file.rel, e))
}

/// What one entry file turned out to be.
#[derive(Debug, Default)]
struct Report {
    damage: Option<Finding>,
    vouched: Vec<Range<u64>>,
    seen: u64,
    encrypted: bool,
    /// Of a version that is not understood.
    unknown: bool,
}

impl Report {
    fn bad(mut self, code: &str, at: u64, message: &str, expected: String, found: String) -> Self {
        let finding = Finding::new(code, Severity::Error, Remedy::ClearEntry, message).at(at);
        self.damage = Some(finding.expected_found(expected, found));
        self
    }
}

/// Where the parts of an entry file lie.
struct Layout {
    /// Length of the data, and so the offset of the metadata.
    data: u64,
    chunks: u64,
    /// Behind the pairs, before the words at the end.
    end: u64,
    /// The version that stands at the end, when it does.
    version: Option<u32>,
}

/// Checks one entry file; `name` is the one it has. Anything may be in it.
fn check_entry(source: &dyn ReadAt, name: Option<&str>, level: Level) -> io::Result<Report> {
    let len = source.len();
    let mut report = Report::default();
    if len == 0 {
        // Made when an entry is opened, filled when it is closed: a browser that
        // was killed in between leaves it so, and drops it at its next use.
        return Ok(report);
    }
    if len < 8 {
        report.seen = len;
        return Ok(report.bad(
            "firefox-cache.truncated",
            len,
            "the entry file ends before its metadata",
            "more than 8 bytes".to_owned(),
            format!("{len} bytes"),
        ));
    }
    let tail = read_vec(source, len - 8, 8)?;
    report.seen = 8;
    let word = |at| be32(&tail, at).unwrap_or_default();
    let layout = match (word(0), word(4)) {
        (version, offset) if is_newer(source, version, offset)? => {
            report.unknown = true;
            return Ok(report);
        }
        (TWO_WORDS, offset) if offset & ENCRYPTED != 0 && fits(offset & !ENCRYPTED, len) => {
            report.encrypted = true;
            return Ok(report);
        }
        (TWO_WORDS, offset) => layout(offset, len - 8, Some(TWO_WORDS)),
        (_, offset) => layout(offset, len - 4, None),
    };
    let hashes = layout.chunks * 2;
    let room = layout.end.checked_sub(layout.data).and_then(|room| room.checked_sub(4 + hashes));
    if room.is_none_or(|room| room > MAX_METADATA) {
        return Ok(report.bad(
            "firefox-cache.metadata-offset",
            len - 4,
            "the entry's metadata is not where the entry says",
            format!("at most {}", layout.end.saturating_sub(4)),
            layout.data.to_string(),
        ));
    }
    let metadata = read_vec(source, layout.data, (layout.end - layout.data) as usize)?;
    report.seen += metadata.len() as u64;
    let stored = be32(&metadata, 0).unwrap_or_default();
    let computed = lookup2(metadata.get(4..).unwrap_or_default());
    if stored != computed {
        return Ok(report.bad(
            "firefox-cache.metadata-hash",
            layout.data,
            "the entry's metadata does not match its hash",
            format!("{stored:08x}"),
            format!("{computed:08x}"),
        ));
    }
    let content = metadata.get(4 + hashes as usize..).unwrap_or_default();
    if let Err((message, expected, found)) = check_content(content, &layout, name) {
        return Ok(report.bad("firefox-cache.metadata", layout.data, message, expected, found));
    }
    if level == Level::Deep {
        report.seen += layout.data;
        let sums = metadata.get(4..4 + hashes as usize).unwrap_or_default();
        for (i, stored) in sums.as_chunks().0.iter().enumerate() {
            let at = i as u64 * CHUNK;
            let n = CHUNK.min(layout.data - at);
            let mut hash = Lookup2::default();
            stream(source, at, n, |part| hash.update(part))?;
            let computed = hash.finish() as u16;
            if u16::from_be_bytes(*stored) != computed {
                return Ok(report.bad(
                    "firefox-cache.chunk-hash",
                    at,
                    "a chunk of the entry's data does not match its hash",
                    format!("{:04x}", u16::from_be_bytes(*stored)),
                    format!("{computed:04x}"),
                ));
            }
        }
        report.vouched.push(0..len);
    } else {
        report.vouched.push(layout.data..len);
    }
    Ok(report)
}

/// Whether data of that length leaves room for the smallest metadata.
fn fits(data: u32, len: u64) -> bool {
    u64::from(data) + 8 + 4 + 32 <= len
}

/// Whether the entry is of a version that came after this program: one that
/// is stated at the end and in the header alike.
fn is_newer(source: &dyn ReadAt, version: u32, offset: u32) -> io::Result<bool> {
    if version <= *VERSIONS.end() || version > FUTURE || !fits(offset & !ENCRYPTED, source.len()) {
        return Ok(false);
    }
    let layout = layout(offset & !ENCRYPTED, source.len() - 8, Some(version));
    let header = layout.data + 4 + layout.chunks * 2;
    if header + 4 > layout.end {
        return Ok(false);
    }
    let stated = be32(&read_vec(source, header, 4)?, 0);
    Ok(stated == Some(version) || offset & ENCRYPTED != 0)
}

fn layout(data: u32, end: u64, version: Option<u32>) -> Layout {
    let data = u64::from(data);
    Layout { data, chunks: data.div_ceil(CHUNK), end, version }
}

type Wrong = (&'static str, String, String);

/// The header, key and pairs, whose hash is right already.
fn check_content(content: &[u8], layout: &Layout, name: Option<&str>) -> Result<(), Wrong> {
    let wrong = |message, expected: &str, found: String| Err((message, expected.to_owned(), found));
    let version = be32(content, 0).unwrap_or_default();
    if !VERSIONS.contains(&version) || layout.version.is_some_and(|v| v != version) {
        let expected = layout.version.map_or("1 to 4".to_owned(), |v| v.to_string());
        return wrong("the entry's two versions differ or are unknown", &expected, version.to_string());
    }
    let header = if version == 1 { 28 } else { 32 };
    let key_len = be32(content, 24).unwrap_or_default() as usize;
    let key = content.get(header..).and_then(|rest| rest.get(..key_len));
    let pairs =
        content.get(header..).and_then(|rest| rest.get(key_len..)).and_then(|rest| rest.strip_prefix(&[0]));
    let (Some(key), Some(pairs)) = (key, pairs) else {
        return wrong("the entry's key does not fit", "a key and a zero byte", format!("length {key_len}"));
    };
    let zeros = pairs.split(|b| *b == 0).count().saturating_sub(1);
    if zeros % 2 != 0 || pairs.last().is_some_and(|b| *b != 0) {
        return wrong("the entry's pairs are not pairs", "an even number of strings", zeros.to_string());
    }
    let hash = to_hex(Sha1::digest(key).as_slice()).to_ascii_uppercase();
    if name.is_some_and(|name| !name.eq_ignore_ascii_case(&hash)) {
        return wrong("the entry's key is not the one its name is made of", name.unwrap_or_default(), hash);
    }
    Ok(())
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The entries, each one file. Firefox writes to an entry's metadata when it
/// uses it, so the file's time is when it was last used.
///
/// # Errors
/// When the folder cannot be read.
pub fn entries(subject: Subject<'_>) -> Result<CacheEntries, StoreError> {
    let listing = list(subject)?;
    let entry = |file: Listed| CacheEntry {
        files: vec![file.rel],
        last_used_ns: file.meta.mtime_ns,
        bytes: file.meta.size,
    };
    Ok(CacheEntries {
        entries: listing.entries.into_iter().map(entry).collect(),
        leftovers: listing.doomed.into_iter().map(entry).collect(),
        control: listing.control,
        unknown: listing.unknown,
    })
}

/// The table's line for this kind.
pub(super) struct FirefoxCache;

impl Format for FirefoxCache {
    fn kind(&self) -> StoreKind {
        StoreKind::FirefoxCache
    }

    fn shape(&self) -> Shape {
        Shape::Folder
    }

    fn recognise(&self, subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        recognise(subject, glimpse)
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }

    fn entries(&self, subject: Subject<'_>, _control: &Control) -> Result<Clearable, StoreError> {
        Ok(Clearable::ByEntry(entries(subject)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsys::Dir;
    use crate::store::damage::Bench;
    use proptest::prelude::*;

    fn name_of(key: &str) -> String {
        to_hex(Sha1::digest(key.as_bytes()).as_slice()).to_ascii_uppercase()
    }

    fn entry_file(version: u32, key: &str, data: &[u8]) -> Vec<u8> {
        let mut meta = Vec::new();
        for chunk in data.chunks(CHUNK as usize) {
            meta.extend((lookup2(chunk) as u16).to_be_bytes());
        }
        for field in [version, 1, 1_700_000_000, 1_700_000_000, 5, u32::MAX, key.len() as u32] {
            meta.extend(field.to_be_bytes());
        }
        if version > 1 {
            meta.extend(0u32.to_be_bytes());
        }
        meta.extend(key.as_bytes());
        meta.extend(b"\0request-method\0GET\0");
        let mut out = data.to_vec();
        out.extend(lookup2(&meta).to_be_bytes());
        out.extend(meta);
        if version >= 4 {
            out.extend(version.to_be_bytes());
        }
        out.extend((data.len() as u32).to_be_bytes());
        out
    }

    fn sound() -> Bench {
        let bench = Bench::new("cache2");
        let data: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
        for (version, key, data) in [
            (4, ":http://a/", &data[..]),
            (4, ":http://b/", &[]),
            (3, ":http://c/", &data[..900]),
            (1, ":http://d/", &data[..40]),
        ] {
            bench.write(&format!("cache2/entries/{}", name_of(key)), entry_file(version, key, data));
        }
        bench.write("cache2/doomed/12345", b"x").write("cache2/index.log", b"x");
        bench
    }

    fn deep(subject: Subject<'_>) -> Result<Tally, StoreError> {
        examine(subject, Level::Deep, &Control::default())
    }

    #[test]
    fn an_entry_that_was_never_filled_is_no_damage() {
        let report = check_entry(&Vec::<u8>::new(), None, Level::Deep).unwrap();
        assert!(report.damage.is_none());
    }

    #[test]
    fn damage_under_a_hash_is_found_in_the_right_file() {
        sound().every_damage_is_found(31, &deep);
        sound().any_damage_is_survived(89, &deep);
    }

    #[test]
    fn damage_to_metadata_is_found_without_reading_the_data() {
        sound().every_damage_is_found(32, &|s| examine(s, Level::Fast, &Control::default()));
    }

    #[test]
    fn it_is_recognised_and_its_entries_are_listed() {
        let bench = sound();
        let dir = Dir::open(bench.path()).unwrap();
        let path = RelPath::new("cache2").unwrap();
        let subject = Subject { dir: &dir, path: &path };
        assert_eq!(crate::store::recognise(subject).unwrap(), Some(StoreKind::FirefoxCache));
        let listed = entries(subject).unwrap();
        assert_eq!((listed.entries.len(), listed.leftovers.len(), listed.control.len()), (4, 1, 1));
    }

    #[test]
    fn what_cannot_be_judged_is_said_and_not_called_damaged() {
        let bench = sound();
        let mut encrypted = vec![7; 100];
        encrypted.extend(4u32.to_be_bytes());
        encrypted.extend(0x8000_0040_u32.to_be_bytes());
        bench.write(&format!("cache2/entries/{}", name_of("e")), encrypted);
        let mut newer = entry_file(4, "n", b"data");
        let end = newer.len() - 8;
        newer[end + 3] = 5;
        newer[4 + 4 + 2 + 3] = 5;
        bench.write(&format!("cache2/entries/{}", name_of("n")), newer);
        let check = bench.run(&deep).unwrap().done();
        assert_eq!(check.findings, []);
        assert!(check.not_checked.iter().any(|n| n.contains("1 entries are encrypted")));
        assert!(check.not_checked.iter().any(|n| n.contains("1 entries are of a newer format")));
    }

    #[test]
    fn a_cache_of_a_newer_version_is_neither_sound_nor_damaged() {
        let bench = Bench::new("cache2");
        for name in ["a", "b", "c"] {
            let mut newer = entry_file(4, name, &[7; 3000]);
            let end = newer.len() - 8;
            newer[end + 3] = 5;
            newer[3000 + 4 + 2 + 3] = 5;
            bench.write(&format!("cache2/entries/{}", name_of(name)), newer);
        }
        let outcome = |level| {
            let dir = Dir::open(bench.path()).unwrap();
            let path = RelPath::new("cache2").unwrap();
            check(Subject { dir: &dir, path: &path }, level, &Control::default())
        };
        for level in [Level::Fast, Level::Deep] {
            assert!(matches!(outcome(level), Err(StoreError::UnknownForm { .. })));
        }
        for name in ["d", "e", "f", "g"] {
            bench.write(&format!("cache2/entries/{}", name_of(name)), entry_file(4, name, &[7; 3000]));
        }
        for level in [Level::Fast, Level::Deep] {
            let check = outcome(level).unwrap();
            assert_eq!(check.findings, []);
            assert!(check.coverage.bytes_seen > 9000, "what was not read counts: {:?}", check.coverage);
        }
    }

    #[test]
    fn an_entry_under_another_name_is_damaged() {
        let bench = sound();
        bench.write(&format!("cache2/entries/{}", name_of("x")), entry_file(4, "y", b"data"));
        assert_eq!(bench.codes(&deep), ["firefox-cache.metadata"]);
    }

    proptest! {
        #[test]
        fn anything_may_be_in_an_entry(mut bytes in prop::collection::vec(any::<u8>(), 0..300), offset in 0u32..300) {
            let _ = check_entry(&bytes, None, Level::Deep).unwrap();
            bytes.extend(4u32.to_be_bytes());
            bytes.extend(offset.to_be_bytes());
            let _ = check_entry(&bytes, None, Level::Deep).unwrap();
        }

        #[test]
        fn a_changed_entry_is_never_called_sound(
            data in prop::collection::vec(any::<u8>(), 0..600),
            key in "[a-z]{1,20}",
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let good = entry_file(4, &key, &data);
            prop_assert!(check_entry(&good, Some(&name_of(&key)), Level::Deep).unwrap().damage.is_none());
            let mut bad = good.clone();
            bad[at.index(good.len())] ^= 1 << bit;
            let report = check_entry(&bad, Some(&name_of(&key)), Level::Deep).unwrap();
            prop_assert!(report.damage.is_some() || report.encrypted || report.unknown);
        }
    }
}
