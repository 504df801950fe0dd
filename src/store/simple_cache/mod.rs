//! Chromium's Simple cache: the HTTP cache on most systems, compiled code,
//! Service Worker scripts, and each cache inside Cache Storage.
//!
//! A folder of one to three files per entry, each with the key, checksums of
//! its streams and a name made of the key. A damaged entry is dropped alone;
//! the library drops everything only when `index` is wrong.

mod entry;
mod hash;
mod index;

pub(super) use self::hash::super_fast_hash;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::entry::{Name, Part, Report};
use self::index::{MAX_REAL_INDEX, RealIndex};
use super::read_at::{ReadAt, WHOLE, open, read_vec, with_whole};
use super::tally::{Tally, each_file};
use super::{CacheEntries, CacheEntry, Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::{Brief, Kind, Named, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};

/// How many entry files `recognise` opens at most.
const SAMPLE: usize = 8;
const INDEX: &str = "index";
const INDEX_DIR: &str = "index-dir";
const REAL_INDEX: &str = "the-real-index";

/// Whether the folder is a Simple cache: by the first bytes of `index`, or,
/// when that is lost, by those of its entry files.
///
/// # Errors
/// The system's error.
pub fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    if glimpse.has_file(INDEX) {
        let file = open_plain(subject, INDEX)?;
        if starts_with_magic(&file)? {
            return Ok(true);
        }
    }
    let names = glimpse.entries.iter().filter(|e| e.meta.kind == Kind::File);
    for name in names.filter_map(|e| e.name.to_str()).filter(|n| Name::parse(n).is_some()).take(SAMPLE) {
        if starts_with_magic(&open_plain(subject, name)?)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn open_plain(subject: Subject<'_>, name: &str) -> io::Result<super::read_at::OpenFile> {
    let rel = subject.path.join(name).map_err(io::Error::other)?;
    super::read_at::OpenFile::new(subject.dir.open_file(&rel)?)
}

fn starts_with_magic(source: &dyn ReadAt) -> io::Result<bool> {
    if source.len() < 8 {
        return Ok(false);
    }
    Ok(read_vec(source, 0, 8)? == entry::INITIAL_MAGIC.to_le_bytes())
}

/// One entry file of the listing.
struct EntryFile<'a> {
    name: Name,
    listed: &'a Named,
}

impl EntryFile<'_> {
    /// Relative to the store.
    fn rel(&self) -> RelPath {
        // Nothing but hexadecimal digits and one underscore has a `Name`.
        RelPath::name(self.listed.name.clone()).unwrap_or_default()
    }
}

/// The folder, sorted out by what each name means.
#[derive(Default)]
struct Listing<'a> {
    entries: Vec<EntryFile<'a>>,
    index: Option<RelPath>,
    /// Files of `index-dir`.
    real_index: Option<RelPath>,
    leftovers: Vec<(RelPath, Brief)>,
    unknown: Vec<RelPath>,
    unknown_bytes: u64,
}

fn listed(subject: Subject<'_>) -> Result<Arc<[Named]>, StoreError> {
    let dir = subject.dir.dir(subject.path);
    dir.and_then(|d| d.listed()).map_err(|e| subject.read_error(&RelPath::root(), e))
}

fn sort_out<'a>(subject: Subject<'_>, items: &'a [Named]) -> Result<Listing<'a>, StoreError> {
    let fail = |e| subject.read_error(&RelPath::root(), e);
    let mut out = Listing { entries: Vec::with_capacity(items.len()), ..Listing::default() };
    for item in items {
        let name = item.name.to_str().unwrap_or_default();
        if item.meta.kind == Kind::File
            && let Some(name) = Name::parse(name)
        {
            out.entries.push(EntryFile { name, listed: item });
            continue;
        }
        let rel = RelPath::name(item.name.clone()).map_err(|e| fail(io::Error::other(e)))?;
        match item.meta.kind {
            Kind::File if name == INDEX => out.index = Some(rel),
            Kind::File if name.starts_with("todelete_") => out.leftovers.push((rel, item.meta)),
            Kind::Dir if name == INDEX_DIR => list_index_dir(subject, &rel, &mut out)?,
            Kind::File | Kind::Dir | Kind::Link | Kind::Other => {
                out.unknown_bytes += if item.meta.kind == Kind::File { item.meta.size } else { 0 };
                out.unknown.push(rel);
            }
        }
    }
    Ok(out)
}

fn list_index_dir(subject: Subject<'_>, rel: &RelPath, out: &mut Listing<'_>) -> Result<(), StoreError> {
    for (path, item) in subject.listed(rel)? {
        match item.name.to_str() {
            Some(REAL_INDEX) if item.meta.kind == Kind::File => out.real_index = Some(path),
            Some("temp-index") if item.meta.kind == Kind::File => out.leftovers.push((path, item.meta)),
            _ => out.unknown.push(path),
        }
    }
    Ok(())
}

/// Checks every entry: at [`Level::Fast`] headers, names, keys and records; at
/// [`Level::Deep`] the checksum of every stream as well.
///
/// # Errors
/// When the folder or a file in it cannot be read, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    examine(subject, level, control)?.finish(subject)
}

/// The check, before it is summed up.
pub(super) fn examine(subject: Subject<'_>, level: Level, control: &Control) -> Result<Tally, StoreError> {
    let all = listed(subject)?;
    let listing = sort_out(subject, &all)?;
    let method = match level {
        Level::Fast => "simple cache headers, names and end records",
        Level::Deep => "simple cache stream checksums",
    };
    let mut out = Tally::new(StoreKind::SimpleCache, method);
    check_indexes(subject, &listing, &mut out)?;

    let changing = AtomicU64::new(0);
    let mut unsummed = 0;
    let (mut newer, mut newer_bytes) = (BTreeSet::new(), 0);
    let mut broken = BTreeSet::new();
    let mut named = BTreeSet::new();
    let look = |file: &EntryFile<'_>| {
        control.safe_point()?;
        let report = check_file(subject, file, level, &changing)?;
        control.progress().advance(file.listed.meta.size);
        Ok(report)
    };
    each_file(&listing.entries, look, |file, report| {
        out.seen(report.seen);
        for range in report.vouched {
            out.vouch(Some(&file.rel()), range);
        }
        unsummed += report.unsummed;
        if let Some(version) = report.newer {
            newer.insert(version);
            newer_bytes += file.listed.meta.size.saturating_sub(report.seen);
        } else {
            out.known_form(file.listed.meta.size);
        }
        if !report.findings.is_empty() {
            broken.insert(file.name.hash);
            named.insert(file.name);
        }
        for finding in report.findings {
            out.finding(finding.in_file(file.rel()));
        }
    })?;
    name_companions(&listing, &broken, &named, &mut out);

    if level == Level::Fast && !listing.entries.is_empty() {
        out.not_checked("stream checksums: only a deep check reads them".to_owned());
    }
    if unsummed > 0 {
        out.not_checked(format!("{unsummed} streams carry no checksum"));
    }
    if !newer.is_empty() {
        out.unknown_form(newer_bytes, format!("entry files of versions that are not known: {newer:?}"));
    }
    out.being_written(changing.into_inner(), "entry files");
    out.not_of_format(listing.unknown.len(), listing.unknown_bytes);
    Ok(out)
}

fn check_file(
    subject: Subject<'_>,
    file: &EntryFile<'_>,
    level: Level,
    changing: &AtomicU64,
) -> Result<Report, StoreError> {
    let rel = file.rel();
    // The app may drop an entry while it is being looked at.
    let Some(source) = open(subject, &rel)? else { return Ok(Report::default()) };
    let result = if level == Level::Deep && source.len() <= WHOLE {
        with_whole(&source, |bytes| entry::check(bytes, file.name, level)).flatten()
    } else {
        entry::check(&source, file.name, level)
    };
    let sound = matches!(&result, Ok(report) if report.findings.is_empty());
    if !sound && is_changing(subject, &rel, file.listed.meta)? {
        changing.fetch_add(1, Ordering::Relaxed);
        return Ok(Report::default());
    }
    result.map_err(|e| subject.read_error(&rel, e))
}

/// Whether the file is not any more what the listing said.
fn is_changing(subject: Subject<'_>, rel: &RelPath, was: Brief) -> Result<bool, StoreError> {
    match subject.dir.stat(&subject.path.join_rel(rel)) {
        Ok(now) => Ok(now.size != was.size || now.mtime_ns != was.mtime_ns),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(subject.read_error(rel, e)),
    }
}

/// The files of an entry go together: names those beside a damaged one, and
/// those whose main file is gone.
fn name_companions(listing: &Listing<'_>, broken: &BTreeSet<u64>, named: &BTreeSet<Name>, out: &mut Tally) {
    let whole: BTreeSet<u64> =
        listing.entries.iter().filter(|f| f.name.part == Part::Main).map(|f| f.name.hash).collect();
    for file in listing.entries.iter().filter(|f| !named.contains(&f.name)) {
        let (code, message) = if broken.contains(&file.name.hash) {
            ("simple-cache.companion", "belongs to a damaged entry and goes with it")
        } else if !whole.contains(&file.name.hash) {
            ("simple-cache.orphan", "the entry's main file is gone, so nothing reads this one")
        } else {
            continue;
        };
        out.finding(Finding::new(code, Severity::Warning, Remedy::ClearEntry, message).in_file(file.rel()));
    }
}

fn check_indexes(subject: Subject<'_>, listing: &Listing<'_>, out: &mut Tally) -> Result<(), StoreError> {
    let drop_all = |message: &str| {
        Finding::new("simple-cache.index", Severity::Error, Remedy::ClearStore, message.to_owned())
    };
    if let Some((rel, source)) = open_listed(subject, listing.index.as_ref())? {
        let bytes =
            read_vec(&source, 0, source.len().min(64) as usize).map_err(|e| subject.read_error(rel, e))?;
        out.seen(bytes.len() as u64);
        match index::check_index(&bytes, source.len()) {
            Ok(index::Index::Sound) => out.vouch(Some(rel), 0..12),
            Ok(index::Index::Newer(version)) => {
                return Err(StoreError::UnknownForm {
                    path: subject.shown(),
                    what: format!("its index gives a version of the cache that is not known: {version}"),
                });
            }
            Err(wrong) => out.finding(
                drop_all(wrong.message)
                    .in_file(rel.clone())
                    .at(wrong.at)
                    .expected_found(wrong.expected, wrong.found),
            ),
        }
    } else if !listing.entries.is_empty() {
        let file = RelPath::new(INDEX).unwrap_or_default();
        out.finding(drop_all("the cache's index file is missing").in_file(file));
    }
    if let Some((rel, source)) = open_listed(subject, listing.real_index.as_ref())? {
        if source.len() > MAX_REAL_INDEX {
            return Err(StoreError::Limit {
                path: subject.shown_file(rel),
                limit: format!("an index of {MAX_REAL_INDEX} bytes"),
            });
        }
        let bytes = read_vec(&source, 0, source.len() as usize).map_err(|e| subject.read_error(rel, e))?;
        out.seen(bytes.len() as u64);
        match index::read_real_index(&bytes) {
            Ok(index) => {
                out.vouch(Some(rel), 0..bytes.len() as u64);
                if let Some(version) = index.newer {
                    out.not_checked(format!("the real index: its version is not known: {version}"));
                }
            }
            // Chromium makes it anew from the entries.
            Err(wrong) => out.finding(
                entry::damage("simple-cache.real-index", wrong.message)
                    .in_file(rel.clone())
                    .at(wrong.at)
                    .expected_found(wrong.expected, wrong.found),
            ),
        }
    }
    Ok(())
}

fn open_listed<'r>(
    subject: Subject<'_>,
    rel: Option<&'r RelPath>,
) -> Result<Option<(&'r RelPath, super::read_at::OpenFile)>, StoreError> {
    let Some(rel) = rel else { return Ok(None) };
    Ok(open(subject, rel)?.map(|source| (rel, source)))
}

/// The entries with their files grouped, and when each was last used.
///
/// # Errors
/// When the folder cannot be read.
pub fn entries(subject: Subject<'_>) -> Result<CacheEntries, StoreError> {
    let all = listed(subject)?;
    let listing = sort_out(subject, &all)?;
    let used = last_used(subject, &listing).unwrap_or_default();
    let mut out = CacheEntries::default();
    out.entries.reserve(listing.entries.len());
    let mut files = listing.entries.into_iter().peekable();
    // Sorted by name, the files of an entry follow one another.
    while let Some(first) = files.next() {
        let hash = first.name.hash;
        let mut whole = first.name.part == Part::Main;
        let mut newest = first.listed.meta.mtime_ns;
        let mut entry =
            CacheEntry { files: vec![first.rel()], last_used_ns: 0, bytes: first.listed.meta.size };
        while let Some(more) = files.next_if(|f| f.name.hash == hash) {
            whole |= more.name.part == Part::Main;
            newest = newest.max(more.listed.meta.mtime_ns);
            entry.bytes += more.listed.meta.size;
            entry.files.push(more.rel());
        }
        entry.last_used_ns = used.last_used(hash).map_or(newest, |used| newest.max(used));
        if whole { out.entries.push(entry) } else { out.leftovers.push(entry) }
    }
    out.leftovers.extend(listing.leftovers.into_iter().map(|(rel, meta)| CacheEntry {
        files: vec![rel],
        last_used_ns: meta.mtime_ns,
        bytes: meta.size,
    }));
    out.control.extend(listing.index);
    out.control.extend(listing.real_index);
    out.unknown = listing.unknown;
    Ok(out)
}

/// The times of a sound real index; an unreadable one gives none, for the
/// files' own times serve as well.
fn last_used(subject: Subject<'_>, listing: &Listing<'_>) -> Option<RealIndex> {
    let (_, source) = open_listed(subject, listing.real_index.as_ref()).ok()??;
    if source.len() > MAX_REAL_INDEX {
        return None;
    }
    index::read_real_index(&read_vec(&source, 0, source.len() as usize).ok()?).ok()
}

#[cfg(test)]
pub(super) mod tests;

/// The table's line for this kind.
pub(super) struct SimpleCache;

impl Format for SimpleCache {
    fn kind(&self) -> StoreKind {
        StoreKind::SimpleCache
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
