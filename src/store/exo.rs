//! ExoPlayer's `SimpleCache` (androidx media3 `CachedContentIndex`,
//! `SimpleCacheSpan`): an index of contents and their spans in files.
//!
//! The index is `cached_content_index.exi` or tables of a database. Spans that
//! do not fit it are deleted by the library itself.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};

use super::source::Source;
use super::tally::Tally;
use super::{CacheEntries, CacheEntry, Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::{Brief, Kind, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};

const INDEX: &str = "cached_content_index.exi";
const INDEX_BACKUP: &str = "cached_content_index.exi.bak";
const UID: &str = ".uid";
const SPAN: &str = ".exo";
/// Longest index that is read.
const MAX_INDEX: u64 = 256 << 20;
/// Longest metadata value that the library itself accepts.
const MAX_VALUE: u32 = 10 << 20;
/// A version up to this is taken for that of a newer library, not for damage.
const FUTURE: i32 = 64;

/// Whether a folder is one: its index, its uid file, or a span in it.
pub(super) fn recognise(glimpse: &Glimpse) -> bool {
    let files =
        || glimpse.entries.iter().filter(|e| e.meta.kind == Kind::File).filter_map(|e| e.name.to_str());
    glimpse.has_file(INDEX) || files().any(|n| is_uid(n) || Span::parse(n).is_some())
}

fn is_uid(name: &str) -> bool {
    name.strip_suffix(UID).is_some_and(|hex| {
        let hex = hex.strip_prefix('-').unwrap_or(hex);
        (1..=16).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// A span's name: `<id>.<position>.<time>.v3.exo`, before version 3 with the
/// content's key in place of its id.
#[derive(Debug, PartialEq, Eq)]
struct Span<'a> {
    content: &'a str,
    position: u64,
    /// Milliseconds since 1970.
    time_ms: i64,
    version: u8,
}

impl<'a> Span<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let rest = name.strip_suffix(SPAN)?;
        let (rest, version) = rest.rsplit_once(".v")?;
        let version = version.parse().ok().filter(|v| (1..=3).contains(v))?;
        let (rest, time) = rest.rsplit_once('.')?;
        let (content, position) = rest.rsplit_once('.')?;
        let time_ms = time.parse().ok()?;
        Some(Self { content, position: position.parse().ok()?, time_ms, version })
    }

    /// Whether the name is that of a span of a version that came after this program.
    fn is_newer(name: &str) -> bool {
        let version = name.strip_suffix(SPAN).and_then(|rest| rest.rsplit_once(".v"));
        version.and_then(|(_, v)| v.parse::<i32>().ok()).is_some_and(|v| (4..=FUTURE).contains(&v))
    }

    /// The content's number, for version 3.
    fn id(&self) -> Option<i32> {
        if self.version == 3 { self.content.parse().ok() } else { None }
    }
}

/// What an index says.
#[derive(Debug, PartialEq, Eq)]
enum Index {
    Sound {
        ids: HashSet<i32>,
    },
    /// Encrypted: only its length and header can be seen.
    Encrypted,
    /// Of a version that came after this program.
    Newer(i32),
    Broken {
        offset: u64,
        expected: String,
        found: String,
    },
}

/// One file of the cache.
struct Found {
    path: RelPath,
    meta: Brief,
}

/// Checks the folder at `subject.path`.
///
/// # Errors
/// When it cannot be read, changes meanwhile, or is beyond a bound.
pub fn check(subject: Subject<'_>, _level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, control)?.finish(subject)
}

pub(super) fn tally(subject: Subject<'_>, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::ExoCache, "index hash and spans");
    let files = walk(subject)?;
    let index_path = RelPath::root().join(INDEX).unwrap_or_default();
    let mut ids = None;
    if let Some(source) = Source::open(subject.dir, &subject.path.join_rel(&index_path))? {
        source.at_most(MAX_INDEX)?;
        tally.seen(source.len());
        let index = parse(source.reader(), source.len()).map_err(|e| source.error(e))?;
        source.unchanged()?;
        match index {
            Index::Sound { ids: known } => {
                tally.vouch(Some(&index_path), 0..source.len());
                ids = Some(known);
            }
            Index::Newer(version) => {
                let what = format!("its index has a version of the format that is not known: {version}");
                return Err(StoreError::UnknownForm { path: subject.shown(), what });
            }
            Index::Encrypted => tally.not_checked("the index: it is encrypted"),
            Index::Broken { offset, expected, found } => {
                let message = "the index of the video cache is broken: the library will drop the whole cache";
                tally.finding(
                    Finding::new("exo.index", Severity::Error, Remedy::ClearStore, message)
                        .in_file(index_path)
                        .at(offset)
                        .expected_found(expected, found),
                );
            }
        }
        if files.iter().any(|f| f.path.file_name().is_some_and(|n| n == INDEX_BACKUP)) {
            let message = "a write of the index was interrupted; the library will go back to its backup";
            let backup = RelPath::root().join(INDEX_BACKUP).unwrap_or_default();
            tally.finding(
                Finding::new("exo.interrupted-write", Severity::Warning, Remedy::Report, message)
                    .in_file(backup),
            );
        }
    } else {
        tally.not_checked("which contents the cache knows: its index is in a database");
    }
    let uids = files.iter().filter(|f| uid_file(f)).count();
    if uids != 1 && files.iter().any(|f| span_name(f).is_some()) {
        let message =
            "the cache must have exactly one uid file: the library makes a new one and drops its index";
        tally.finding(
            Finding::new("exo.uid", Severity::Warning, Remedy::ClearStore, message)
                .expected_found("1 file *.uid", uids.to_string()),
        );
    }
    for file in &files {
        control.safe_point()?;
        let Some(name) = span_name(file) else { continue };
        if Span::is_newer(name) {
            tally.unknown_form(file.meta.size, "spans of a version that is not known");
            continue;
        }
        tally.seen(file.meta.size);
        tally.known_form(file.meta.size);
        let Some(span) = Span::parse(name) else {
            let message = "the name of the span is not one the library can read: it will delete the file";
            let finding = Finding::new("exo.span-name", Severity::Warning, Remedy::ClearEntry, message);
            tally.finding(finding.in_file(file.path.clone()));
            continue;
        };
        if file.meta.size == 0 {
            let message = "the span is empty: the library will delete it";
            let finding = Finding::new("exo.span-empty", Severity::Error, Remedy::ClearEntry, message);
            tally.finding(finding.in_file(file.path.clone()).at(0));
        }
        if let (Some(ids), Some(id)) = (&ids, span.id())
            && !ids.contains(&id)
        {
            let message =
                "the index does not know the content of this span: the library will delete the file";
            let finding = Finding::new("exo.span-unknown", Severity::Warning, Remedy::ClearEntry, message);
            tally.finding(
                finding.in_file(file.path.clone()).expected_found("a content of the index", id.to_string()),
            );
        }
    }
    overlaps(&files, &mut tally);
    tally.not_checked("the content of spans: the cache has no checksum of it");
    Ok(tally)
}

/// Spans of one content must not overlap: one of them is longer than it was.
fn overlaps(files: &[Found], tally: &mut Tally) {
    let mut by_content: BTreeMap<&str, Vec<(u64, u64, &Found)>> = BTreeMap::new();
    for file in files {
        if let Some(span) = span_name(file).and_then(Span::parse) {
            by_content.entry(span.content).or_default().push((span.position, file.meta.size, file));
        }
    }
    for spans in by_content.values_mut() {
        spans.sort_by_key(|(position, ..)| *position);
        for pair in spans.windows(2) {
            let [(position, size, file), (next, ..)] = pair else { continue };
            if position.saturating_add(*size) > *next {
                let message = "the span runs into the next one of the same content";
                tally.finding(
                    Finding::new("exo.span-overlap", Severity::Error, Remedy::ClearEntry, message)
                        .in_file(file.path.clone())
                        .at(next - position)
                        .expected_found(
                            format!("at most {} bytes", next - position),
                            format!("{size} bytes"),
                        ),
                );
            }
        }
    }
}

/// Lists the contents, each with all its spans.
///
/// # Errors
/// When the folder cannot be read.
pub fn entries(subject: Subject<'_>, _control: &Control) -> Result<Clearable, StoreError> {
    let mut out = CacheEntries::default();
    let mut by_content: BTreeMap<String, CacheEntry> = BTreeMap::new();
    for file in walk(subject)? {
        if let Some(name) = span_name(&file) {
            let span = Span::parse(name);
            let key =
                span.as_ref().map_or_else(|| format!("?{}", file.path.to_text()), |s| s.content.to_owned());
            let used = span.map_or(file.meta.mtime_ns, |s| i128::from(s.time_ms) * 1_000_000);
            let whole = by_content.entry(key).or_insert_with(|| CacheEntry {
                files: Vec::new(),
                last_used_ns: i128::MIN,
                bytes: 0,
            });
            whole.bytes += file.meta.size;
            whole.last_used_ns = whole.last_used_ns.max(used).max(file.meta.mtime_ns);
            whole.files.push(file.path);
        } else if uid_file(&file) || file.path.file_name().is_some_and(|n| n == INDEX || n == INDEX_BACKUP) {
            out.control.push(file.path);
        } else {
            out.unknown.push(file.path);
        }
    }
    out.entries = by_content.into_values().collect();
    for entry in &mut out.entries {
        entry.files.sort();
    }
    Ok(Clearable::ByEntry(out))
}

fn uid_file(file: &Found) -> bool {
    file.path.components().count() == 1 && file.path.file_name().and_then(|n| n.to_str()).is_some_and(is_uid)
}

fn span_name(file: &Found) -> Option<&str> {
    let name = file.path.file_name()?.to_str()?;
    (file.meta.kind == Kind::File && name.ends_with(SPAN)).then_some(name)
}

/// The files of the folder and of its numbered folders, in order.
fn walk(subject: Subject<'_>) -> Result<Vec<Found>, StoreError> {
    let mut out = Vec::new();
    for (path, entry) in subject.listed(&RelPath::root())? {
        let numbered =
            entry.name.to_str().is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()));
        if entry.meta.kind == Kind::Dir && numbered {
            out.extend(subject.listed(&path)?.into_iter().map(|(path, e)| Found { path, meta: e.meta }));
        } else {
            out.push(Found { path, meta: entry.meta });
        }
    }
    Ok(out)
}

/// Reads an index to its end. Java's numbers are big-endian.
fn parse(input: impl Read, length: u64) -> io::Result<Index> {
    let mut input = Fields { input, at: 0, length };
    match input.index() {
        Ok(index) => Ok(index),
        Err(Stop::Broken { offset, expected, found }) => Ok(Index::Broken { offset, expected, found }),
        Err(Stop::Read(e)) => Err(e),
    }
}

enum Stop {
    Broken { offset: u64, expected: String, found: String },
    Read(io::Error),
}

fn broken(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Stop {
    Stop::Broken { offset, expected: expected.into(), found: found.into() }
}

struct Fields<R> {
    input: R,
    at: u64,
    length: u64,
}

impl<R: Read> Fields<R> {
    fn index(&mut self) -> Result<Index, Stop> {
        let version = self.int()?;
        if (3..=FUTURE).contains(&version) {
            return Ok(Index::Newer(version));
        }
        if !(0..=2).contains(&version) {
            return Err(broken(0, "version 0 to 2", version.to_string()));
        }
        match self.int()? {
            0 => {}
            1 => return Ok(Index::Encrypted),
            other => return Err(broken(4, "the flags 0 or 1", other.to_string())),
        }
        let count = self.int()?;
        let mut ids = HashSet::new();
        let mut sum = 0_i32;
        for _ in 0..count {
            let at = self.at;
            let id = self.int()?;
            let key = self.utf()?;
            let rest = if version < 2 {
                let length = self.long()?;
                (length ^ (length >> 32)) as i32
            } else {
                self.metadata()?
            };
            let item = id.wrapping_mul(31).wrapping_add(key).wrapping_mul(31).wrapping_add(rest);
            sum = sum.wrapping_add(item);
            if !ids.insert(id) {
                return Err(broken(at, "a new content", format!("content {id} again")));
            }
        }
        let expected = self.int()?;
        if expected != sum {
            // It covers everything before it.
            return Err(broken(
                0,
                format!("hash {:08x}", sum.cast_unsigned()),
                format!("{:08x}", expected.cast_unsigned()),
            ));
        }
        if self.at != self.length {
            return Err(broken(
                self.at,
                "the end of the file",
                format!("{} more bytes", self.length - self.at),
            ));
        }
        Ok(Index::Sound { ids })
    }

    /// The hash of a content's metadata, as Java's map of names to arrays.
    fn metadata(&mut self) -> Result<i32, Stop> {
        let mut hash = 0_i32;
        for _ in 0..self.int()? {
            let name = self.utf()?;
            let at = self.at;
            let length = self.int()?;
            let Some(length) = u32::try_from(length).ok().filter(|&n| n <= MAX_VALUE) else {
                return Err(broken(at, format!("a length of at most {MAX_VALUE}"), length.to_string()));
            };
            let mut value = 1_i32;
            for _ in 0..length {
                let [byte] = self.array()?;
                value = value.wrapping_mul(31).wrapping_add(i32::from(byte.cast_signed()));
            }
            hash = hash.wrapping_add(name ^ value);
        }
        Ok(hash)
    }

    /// Java's hash of a string in modified UTF-8.
    fn utf(&mut self) -> Result<i32, Stop> {
        let mut left = u16::from_be_bytes(self.array()?);
        let mut hash = 0_i32;
        while left > 0 {
            let at = self.at;
            let mut next = |fields: &mut Self| -> Result<u16, Stop> {
                left = left.checked_sub(1).ok_or_else(|| broken(at, "a whole character", "a part of one"))?;
                let [byte] = fields.array()?;
                Ok(u16::from(byte))
            };
            let mut tail = |fields: &mut Self| match next(fields)? {
                byte @ 0x80..=0xbf => Ok(byte & 0x3f),
                other => Err(broken(at, "modified UTF-8", format!("{other:#04x}"))),
            };
            let [first] = [self.array::<1>()?[0]];
            let first = u16::from(first);
            let unit = match first {
                0x01..=0x7f => first,
                0xc0..=0xdf => (first & 0x1f) << 6 | tail(self)?,
                0xe0..=0xef => {
                    let high = tail(self)?;
                    (first & 0x0f) << 12 | high << 6 | tail(self)?
                }
                other => return Err(broken(at, "modified UTF-8", format!("{other:#04x}"))),
            };
            left = left.saturating_sub(1);
            hash = hash.wrapping_mul(31).wrapping_add(i32::from(unit));
        }
        Ok(hash)
    }

    fn int(&mut self) -> Result<i32, Stop> {
        self.array().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Result<i64, Stop> {
        self.array().map(i64::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut out = [0; N];
        match self.input.read_exact(&mut out) {
            Ok(()) => {
                self.at += N as u64;
                Ok(out)
            }
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(broken(self.length, format!("{N} bytes at byte {}", self.at), "the end of the file"))
            }
            Err(e) => Err(Stop::Read(e)),
        }
    }
}

/// The table's line for this kind.
pub(super) struct Exo;

impl Format for Exo {
    fn kind(&self) -> StoreKind {
        StoreKind::ExoCache
    }

    fn shape(&self) -> Shape {
        Shape::Folder
    }

    fn recognise(&self, _subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        Ok(recognise(glimpse))
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }

    fn entries(&self, subject: Subject<'_>, control: &Control) -> Result<Clearable, StoreError> {
        entries(subject, control)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::super::damage::{Bench, Checked};
    use super::*;
    use crate::sample::{Tree, exo as sample};

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, &Control::default())
    }

    fn bench() -> Bench {
        let bench = Bench::new("exo");
        let tree = Tree::new(&bench.path().join("exo"), SystemTime::now());
        sample::cache(&tree, &[("https://v.example/a", 2), ("https://v.example/b?ü", 40)]).unwrap();
        bench
    }

    #[test]
    fn damage_in_the_index_is_found() {
        bench().parsed().every_damage_is_found(7, &check);
    }

    #[test]
    fn a_version_of_a_newer_library_is_neither_sound_nor_damaged() {
        let outcome = |bench: &Bench| {
            let dir = crate::fsys::Dir::open(bench.path()).unwrap();
            let path = RelPath::new("exo").unwrap();
            super::check(Subject { dir: &dir, path: &path }, Level::Deep, &Control::default())
        };
        let newer = bench();
        let path = newer.path().join("exo").join(INDEX);
        let mut index = std::fs::read(&path).unwrap();
        index[3] = 3;
        std::fs::write(&path, index).unwrap();
        assert!(matches!(outcome(&newer), Err(StoreError::UnknownForm { .. })));
        let newer = bench();
        newer.write("exo/3/9.0.1763000000000.v4.exo", vec![7; 1 << 20]);
        assert!(matches!(outcome(&newer), Err(StoreError::UnknownForm { .. })));
        newer.write("exo/3/9.0.1763000000000.v4.exo", "x");
        let check = outcome(&newer).unwrap();
        assert_eq!(check.findings, []);
        assert!(check.not_checked.iter().any(|n| n.contains("version")), "{:?}", check.not_checked);
    }

    #[test]
    fn each_way_a_span_can_be_wrong_is_named() {
        let bench = bench();
        bench.write("exo/3/9.0.1763000000000.v3.exo", "x");
        bench.write("exo/4/1.900000.1763000000000.v3.exo", "");
        bench.write("exo/5/odd.exo", "x");
        bench.write("exo/6/0.10.1763000000000.v3.exo", "x");
        assert_eq!(
            bench.codes(&check),
            ["exo.span-empty", "exo.span-name", "exo.span-overlap", "exo.span-unknown"]
        );
        let dir = crate::fsys::Dir::open(bench.path()).unwrap();
        let path = RelPath::new("exo").unwrap();
        let found = entries(Subject { dir: &dir, path: &path }, &Control::default()).unwrap();
        let Clearable::ByEntry(found) = found else { panic!("{found:?}") };
        assert_eq!((found.entries.len(), found.control.len(), found.unknown.len()), (4, 2, 0));
        assert!(found.entries.iter().any(|e| e.files.len() >= 3));
    }

    #[test]
    fn the_uid_belongs_to_the_index() {
        let bench = bench();
        bench.write("exo/1f.uid", "");
        assert_eq!(bench.codes(&check), ["exo.uid"]);
    }

    #[test]
    fn names_are_read_as_the_library_reads_them() {
        let span = Span::parse("12.4096.1763000000000.v3.exo").unwrap();
        assert_eq!((span.id(), span.position, span.time_ms), (Some(12), 4096, 1_763_000_000_000));
        let old = Span::parse("http%3A%2F%2Fa.b.0.5.v2.exo").unwrap();
        assert_eq!((old.content, old.id()), ("http%3A%2F%2Fa.b", None));
        assert_eq!(Span::parse("1.2.v3.exo"), None);
        assert_eq!(Span::parse("1.2.3.v4.exo"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(bytes.as_slice(), bytes.len() as u64).is_ok());
        }

        #[test]
        fn any_index_of_version_2_is_judged(rest in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = vec![0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 1];
            bytes.extend(rest);
            prop_assert!(parse(bytes.as_slice(), bytes.len() as u64).is_ok());
        }
    }
}
