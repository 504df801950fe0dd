//! LevelDB: Local and Session Storage, IndexedDB and many small stores of
//! Chromium and of apps built on it.
//!
//! A folder of immutable tables, a write-ahead log, a MANIFEST that says which
//! tables are live, and CURRENT that names the MANIFEST. Everything but CURRENT
//! is under CRC-32C. Chromium opens a store strictly: one bad byte, and it
//! throws the whole store away. So damage is mended from what is still sound.

mod age;
mod coding;
mod examine;
mod folder;
mod indexed_db;
mod log;
mod manifest;
mod order;
mod rebuild;
mod salvage;
mod scan;
mod state;
mod table;

use std::io;

use rayon::prelude::*;

use self::coding::Batch;
use self::examine::{Stop, TableReport};
use self::folder::{Folder, Listed, Name};
use self::log::Item;
use self::manifest::{TableMeta, Version};
use self::order::Order;
pub use self::rebuild::rebuild;
use super::read_at::{OpenFile, ReadAt, open, read_vec, with_whole};
use super::tally::Tally;
use super::{
    Check, Foreign, Format, Glimpse, Level, RebuildRequest, Rebuilt, Shape, StoreError, Subject, foreign,
};
use crate::control::Control;
use crate::fsys::{Kind, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};

/// What a MANIFEST may name at most: the live tables with their keys, in bytes
/// of memory.
const MAX_NAMED: usize = 1 << 30;
/// Findings on one MANIFEST or log that are kept.
const MAX_FINDINGS: usize = 20_000;
/// Tables up to this length are read as a whole.
const WHOLE_TABLE: u64 = 16 * 1024 * 1024;
/// Tables of so many bytes in all are read to their last block by a fast check
/// as well: that takes some hundredths of a second, and most stores are smaller.
const CHEAP_TABLES: u64 = 16 * 1024 * 1024;
/// The longest CURRENT that could be sound.
const MAX_CURRENT: u64 = 64;
/// How many files `recognise` opens at most.
const SAMPLE: usize = 8;

/// Whether the folder is a LevelDB store: by CURRENT, or, when that is lost,
/// by what its other files hold.
///
/// # Errors
/// The system's error.
pub fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    let named = |entry: &crate::fsys::Named| {
        let name = entry.name.to_str().filter(|_| entry.meta.kind == Kind::File)?;
        Some((RelPath::new(name).ok()?, Name::parse(name)?))
    };
    let mut opened = 0;
    for (rel, name) in glimpse.entries.iter().filter_map(named) {
        if opened == SAMPLE {
            break;
        }
        let sound = |check: &dyn Fn(&OpenFile) -> io::Result<bool>| -> io::Result<bool> {
            check(&OpenFile::new(subject.dir.open_file(&subject.path.join_rel(&rel))?)?)
        };
        let found = match name {
            Name::Current => sound(&|f| Ok(read_vec(f, 0, f.len().min(9) as usize)? == b"MANIFEST-"))?,
            Name::Manifest(_) => sound(&|f| begins_as_log(f))?,
            Name::Table(_) => sound(&|f| Ok(table::footer(f)?.is_ok()))?,
            // `000003.log` alone could be anybody's, so it has to read as one.
            Name::Log(_) => sound(&|f| Ok(f.len() > 0 && begins_as_log(f)?))?,
            Name::Lock | Name::Backup(_) | Name::Flag | Name::Chatter => continue,
        };
        opened += 1;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the first block of a file holds a sound log record.
fn begins_as_log(file: &OpenFile) -> io::Result<bool> {
    let head = read_vec(file, 0, file.len().min(log::BLOCK) as usize)?;
    let mut found = false;
    log::read(&head, &mut |item| found |= matches!(item, Item::Record { .. }))?;
    Ok(found)
}

/// Checks the store: at [`Level::Fast`] CURRENT, MANIFEST, the logs and the
/// indexes of the tables; at [`Level::Deep`], or when the tables are small,
/// every block of every table too.
///
/// # Errors
/// When a file cannot be read, the store is in use while damage shows, a file
/// is beyond a bound, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    Ok(examine_store(subject, level, control)?.done())
}

/// The check, before it is summed up.
pub(super) fn examine_store(
    subject: Subject<'_>,
    level: Level,
    control: &Control,
) -> Result<Tally, StoreError> {
    let folder = Folder::list(subject)?;
    let tables: u64 = folder.tables.values().map(|t| t.meta.size).fold(0, u64::saturating_add);
    let level = if tables <= CHEAP_TABLES { Level::Deep } else { level };
    let method = match level {
        Level::Fast => "leveldb manifest, log and index checksums",
        Level::Deep => "leveldb block and record checksums",
    };
    let mut out = Tally::new(StoreKind::Leveldb, method);
    if folder.is_new() {
        return Ok(out);
    }
    if let Some(flag) = &folder.flagged {
        let message = "the browser has marked the store as corrupt and will discard it when it next opens it";
        out.finding(damage("leveldb.flagged", message).in_file(flag.rel.clone()));
    }
    let version = match read_current(subject, &folder, &mut out)? {
        Some(number) => read_manifest(subject, &folder, number, &mut out)?,
        None => None,
    };
    if let Some(version) = &version {
        check_state(&folder, version, &mut out);
        check_tables(subject, &folder, version, level, control, &mut out)?;
    } else {
        out.not_checked("which tables and logs belong to the store: its MANIFEST cannot be read");
    }
    for (number, file) in &folder.logs {
        control.safe_point()?;
        if version.as_ref().is_none_or(|v| v.needs_log(*number)) {
            check_log(subject, file, &mut out)?;
        }
    }
    if level == Level::Fast && !folder.tables.is_empty() {
        out.not_checked("the data blocks of the tables: only a deep check reads them");
    }
    out.strangers(folder.unknown.len());
    if out.has_errors() && folder.is_busy(subject) {
        return Err(StoreError::Busy { path: subject.shown() });
    }
    Ok(out)
}

/// A finding of damage that a rebuild mends.
fn damage(code: &str, message: impl Into<String>) -> Finding {
    Finding::new(code, Severity::Error, Remedy::Rebuild, message)
}

/// A fact worth knowing; the store is sound all the same.
fn remark(code: &str, message: impl Into<String>) -> Finding {
    Finding::new(code, Severity::Info, Remedy::None, message)
}

/// The number of the MANIFEST that CURRENT names.
fn read_current(subject: Subject<'_>, folder: &Folder, out: &mut Tally) -> Result<Option<u64>, StoreError> {
    let Some((file, source)) = open_listed(subject, folder.current.as_ref())? else {
        let rel = RelPath::new("CURRENT").unwrap_or_default();
        out.finding(
            damage("leveldb.current", "CURRENT is missing, so the store cannot be opened").in_file(rel),
        );
        return Ok(None);
    };
    let bytes = read_vec(&source, 0, source.len().min(MAX_CURRENT) as usize)
        .map_err(|e| subject.read_error(&file.rel, e))?;
    out.seen(bytes.len() as u64);
    let text = std::str::from_utf8(&bytes).ok().filter(|_| source.len() <= MAX_CURRENT);
    let Some(Name::Manifest(number)) = text.and_then(|t| t.strip_suffix('\n')).and_then(Name::parse) else {
        let found = crate::fsys::printable(&String::from_utf8_lossy(&bytes));
        out.finding(
            damage("leveldb.current", "CURRENT does not name a MANIFEST")
                .in_file(file.rel.clone())
                .at(0)
                .expected_found("MANIFEST-<number> and a line feed", found),
        );
        return Ok(None);
    };
    if folder.manifests.contains_key(&number) {
        out.vouch(Some(&file.rel), 0..source.len());
        return Ok(Some(number));
    }
    let there: Vec<String> = folder.manifests.keys().map(|n| format!("MANIFEST-{n:06}")).collect();
    out.finding(
        damage("leveldb.manifest", "the MANIFEST that CURRENT names is missing")
            .in_file(file.rel.clone())
            .at(0)
            .expected_found(
                format!("MANIFEST-{number:06}"),
                if there.is_empty() { "none".to_owned() } else { there.join(", ") },
            ),
    );
    Ok(None)
}

/// The state that the MANIFEST adds up to; `None` when it cannot be told.
fn read_manifest(
    subject: Subject<'_>,
    folder: &Folder,
    number: u64,
    out: &mut Tally,
) -> Result<Option<Version>, StoreError> {
    let Some((file, source)) = open_listed(subject, folder.manifests.get(&number))? else { return Ok(None) };
    let read = load_manifest(subject, folder, file, &source)?;
    out.seen(read.seen);
    for range in read.vouched {
        out.vouch(Some(&file.rel), range);
    }
    let sound = read.findings.iter().all(|f| f.severity < Severity::Error);
    for finding in read.findings {
        out.finding(finding.in_file(file.rel.clone()));
    }
    let missing = read.version.missing_field();
    if let Some(missing) = missing.filter(|_| sound) {
        let message = format!("the MANIFEST does not state {missing}");
        out.finding(damage("leveldb.manifest", message).in_file(file.rel.clone()));
    }
    Ok(Some(read.version).filter(|_| sound && missing.is_none()))
}

/// A MANIFEST as far as it can be read.
struct ManifestRead {
    version: Version,
    findings: Vec<Finding>,
    vouched: Vec<std::ops::Range<u64>>,
    seen: u64,
}

/// Reads a MANIFEST of any length, one record at a time.
fn load_manifest(
    subject: Subject<'_>,
    folder: &Folder,
    file: &Listed,
    source: &OpenFile,
) -> Result<ManifestRead, StoreError> {
    let mut edits = Edits::new(folder);
    let mut findings = Vec::new();
    let contents = log::read(source, &mut |item| {
        let finding = match item {
            Item::Record { at, data } => match edits.apply(&data) {
                Ok(()) => return,
                Err(what) => {
                    let message = format!("an edit of the MANIFEST cannot be read: {what}");
                    damage("leveldb.manifest-edit", message).at(at)
                }
            },
            other => log_finding("leveldb.manifest", other),
        };
        if findings.len() < MAX_FINDINGS {
            findings.push(finding);
        }
    });
    let contents = contents.map_err(|e| subject.read_error(&file.rel, e))?;
    let version = edits.done(subject, file)?;
    Ok(ManifestRead { version, findings, vouched: contents.vouched, seen: contents.seen })
}

/// The edits of a MANIFEST being added up, in bounded memory.
struct Edits<'a> {
    folder: &'a Folder,
    version: Version,
    overfull: bool,
}

impl<'a> Edits<'a> {
    /// Removed tables are forgotten when so many are remembered, unless their
    /// files are still there.
    const FORGET: usize = 1 << 16;

    fn new(folder: &'a Folder) -> Self {
        Self { folder, version: Version::default(), overfull: false }
    }

    fn apply(&mut self, edit: &[u8]) -> Result<(), &'static str> {
        if self.overfull {
            return Ok(());
        }
        let applied = self.version.apply(edit);
        let folder = self.folder;
        if self.version.removed.len() > Self::FORGET + folder.tables.len() + folder.backups.len() {
            let is_there = |n: &u64| folder.tables.contains_key(n) || folder.backups.contains_key(n);
            self.version.removed.retain(is_there);
        }
        if self.version.weight > MAX_NAMED {
            self.overfull = true;
            self.version.tables.clear();
        }
        applied
    }

    fn done(self, subject: Subject<'_>, file: &Listed) -> Result<Version, StoreError> {
        if self.overfull {
            return Err(StoreError::Limit {
                path: subject.shown_file(&file.rel),
                limit: format!("live tables that take {MAX_NAMED} bytes to name"),
            });
        }
        Ok(self.version)
    }
}

/// The finding that something other than a record in a log stands for.
fn log_finding(prefix: &str, item: Item) -> Finding {
    match item {
        Item::Bad { range, what, expected, found } => {
            let message = format!("{} bytes hold no usable record: {what}", range.end - range.start);
            let finding = damage(&format!("{prefix}-record"), message).at(range.start);
            if expected.is_empty() { finding } else { finding.expected_found(expected, found) }
        }
        Item::Tail { at } => {
            remark(&format!("{prefix}-tail"), "the last record is incomplete: its writer was stopped").at(at)
        }
        Item::Padding { at } | Item::Record { at, .. } => {
            remark(&format!("{prefix}-padding"), "the padding of a block is not zero").at(at)
        }
    }
}

/// What the MANIFEST says against what is there.
fn check_state(folder: &Folder, version: &Version, out: &mut Tally) {
    for table in version.tables.values() {
        let Some(file) = folder.tables.get(&table.number) else {
            let rel = RelPath::new(format!("{:06}.ldb", table.number)).unwrap_or_default();
            let keys = format!("{} to {}", user(&table.smallest), user(&table.largest));
            out.finding(
                damage("leveldb.missing-table", format!("a table is missing; it held keys from {keys}"))
                    .in_file(rel)
                    .expected_found(format!("{} bytes", table.size), "no file"),
            );
            continue;
        };
        if file.meta.size != table.size {
            out.finding(
                damage("leveldb.table-size", "a table has not the length that the MANIFEST states")
                    .in_file(file.rel.clone())
                    .at(file.meta.size.min(table.size))
                    .expected_found(format!("{} bytes", table.size), format!("{} bytes", file.meta.size)),
            );
        }
    }
    if let Some(number) = version.log_number.filter(|n| *n > 0 && !folder.logs.contains_key(n)) {
        let rel = RelPath::new(format!("{number:06}.log")).unwrap_or_default();
        let message = "the write-ahead log that the MANIFEST names is missing";
        out.finding(damage("leveldb.missing-log", message).in_file(rel));
    }
    for (number, file) in &folder.tables {
        if !version.tables.contains_key(number) {
            let name = crate::fsys::shown(file.rel.as_path());
            out.not_checked(format!(
                "{name}: not part of the store; the app removes it when it next opens it"
            ));
        }
    }
}

fn check_tables(
    subject: Subject<'_>,
    folder: &Folder,
    version: &Version,
    level: Level,
    control: &Control,
    out: &mut Tally,
) -> Result<(), StoreError> {
    let order = Order::named(version.comparator.as_deref());
    let live: Vec<(&Listed, &TableMeta)> =
        version.tables.values().filter_map(|t| Some((folder.tables.get(&t.number)?, t))).collect();
    let reports: Vec<TableReport> = live
        .par_iter()
        .map(|(file, _)| {
            let report = examine_table(subject, file, order, level, control)?;
            control.progress().advance(file.meta.size);
            Ok(report)
        })
        .collect::<Result<_, StoreError>>()?;
    for ((file, table), report) in live.iter().zip(reports) {
        out.seen(report.seen);
        let rel = &file.rel;
        let sound = report.faults.is_empty();
        if let Some((smallest, largest)) = report.bounds().filter(|_| sound)
            && (smallest != table.smallest || largest != table.largest)
        {
            let message = "a table's first and last keys are not those that the MANIFEST states";
            let found = format!("{} to {}", user(smallest), user(largest));
            out.finding(
                damage("leveldb.table-range", message)
                    .in_file(rel.clone())
                    .expected_found(format!("{} to {}", user(&table.smallest), user(&table.largest)), found),
            );
        }
        for fault in report.faults {
            let finding = damage(fault.code, fault.message).in_file(rel.clone()).at(fault.at);
            out.finding(if fault.expected.is_empty() {
                finding
            } else {
                finding.expected_found(fault.expected, fault.found)
            });
        }
        for range in report.vouched {
            out.vouch(Some(rel), range);
        }
    }
    if order == Order::Unknown && level == Level::Deep && !live.is_empty() {
        let name = version.comparator.as_deref().map(coding::show_key).unwrap_or_default();
        out.not_checked(format!("the order of different keys: it is the app's own ({name})"));
    }
    Ok(())
}

/// Opens and examines one table.
fn examine_table(
    subject: Subject<'_>,
    file: &Listed,
    order: Order,
    level: Level,
    control: &Control,
) -> Result<TableReport, StoreError> {
    let Some(source) = open(subject, &file.rel)? else { return Ok(TableReport::default()) };
    let result = if level == Level::Deep && source.len() <= WHOLE_TABLE {
        with_whole(&source, |bytes| examine::table(bytes, order, level, control))
            .map_err(|e| subject.read_error(&file.rel, e))?
    } else {
        examine::table(&source, order, level, control)
    };
    result.map_err(|stop| match stop {
        Stop::Read(e) => subject.read_error(&file.rel, e),
        Stop::Cancelled(c) => c.into(),
    })
}

fn check_log(subject: Subject<'_>, file: &Listed, out: &mut Tally) -> Result<(), StoreError> {
    let Some((_, source)) = open_listed(subject, Some(file))? else { return Ok(()) };
    let mut findings = Vec::new();
    let contents = log::read(&source, &mut |item| match item {
        Item::Record { at, data } => {
            if let Err(what) = Batch::parse(&data, |_| {}) {
                findings.push(damage("leveldb.log-batch", format!("a write cannot be read: {what}")).at(at));
            }
        }
        other => findings.push(log_finding("leveldb.log", other)),
    });
    let contents = contents.map_err(|e| subject.read_error(&file.rel, e))?;
    out.seen(contents.seen);
    for range in contents.vouched {
        out.vouch(Some(&file.rel), range);
    }
    for finding in findings {
        out.finding(finding.in_file(file.rel.clone()));
    }
    Ok(())
}

/// The user's part of an internal key, readable.
fn user(key: &[u8]) -> String {
    coding::show_key(coding::InternalKey::parse(key).map_or(key, |k| k.user))
}

fn open_listed<'l>(
    subject: Subject<'_>,
    file: Option<&'l Listed>,
) -> Result<Option<(&'l Listed, OpenFile)>, StoreError> {
    let Some(file) = file else { return Ok(None) };
    Ok(open(subject, &file.rel)?.map(|source| (file, source)))
}

/// The table's line for this kind.
pub(super) struct Leveldb;

impl Format for Leveldb {
    fn kind(&self) -> StoreKind {
        StoreKind::Leveldb
    }

    fn shape(&self) -> Shape {
        Shape::Folder
    }

    fn recognise(&self, subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        // RocksDB began as a copy of LevelDB, and is much like it from outside.
        Ok(!foreign::is_rocksdb(subject, glimpse)? && recognise(subject, glimpse)?)
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }

    fn rebuild(&self, request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
        rebuild(request)
    }

    fn other_engine(&self, subject: Subject<'_>) -> io::Result<Option<Foreign>> {
        foreign::of(subject)
    }
}

#[cfg(test)]
mod tests;
