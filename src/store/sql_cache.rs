//! Chromium's newest backend of the HTTP cache: entries in SQLite databases.
//!
//! A folder of `index`, which only says which backend it is, and the databases
//! among which the entries are spread. After Chromium's `net/disk_cache/sql`
//! and what its builds write:
//!
//! | Chromium | `index` | databases | version in `meta` |
//! |---|---|---|---|
//! | 140, 141 | `SQLCache` | `sqldb` | 1 |
//! | 143 to 147 | `SQLCache3` | `sqldb0` to `sqldb2` | 7 |
//! | 148, 149 | `SQLCache3` | `sqldb0` to `sqldb2` | 8 |
//! | 150 | `SQLCache3` and the name of a field trial | `sqldb0` to `sqldb2` | 8 |
//! | 152 and later | `SQLCacheTruncate3` | `sqldb0` to `sqldb2` | 8 |
//!
//! `resources` holds an entry's key and head, `blobs` the parts of its body.
//! From version 7 on `check_sum` is the CRC-32 of the bytes followed by the
//! key's hash, big-endian; version 1 has no checksums, and its parts name their
//! entry by a token of two numbers. The library drops the cache when something
//! does not fit, so clearing the whole is the only remedy. Any other version
//! cannot be judged.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;

use super::read_at::{OpenFile, ReadAt as _, open, read_vec};
use super::simple_cache::super_fast_hash;
use super::sqlite::{check_error, watched};
use super::tally::Tally;
use super::{Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::{Kind, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};
use crate::sqlite::check::Files;
use crate::sqlite::check::rows::{Read, Row, rows};
use crate::sqlite::format::MAGIC;
use crate::sqlite::source::ReadAt as Source;

const INDEX: &str = "index";
const INDEX_MAGIC: &[u8] = b"SQLCache";
const DATABASE: &str = "sqldb";
/// Names by which a cache is recognised when its index is lost.
const FIRST_DATABASES: [&str; 3] = ["sqldb", "sqldb0", "sqldb1"];
/// How a database writes its journal, where the index says so.
const JOURNAL_MODES: [&[u8]; 2] = [b"Truncate", b"Wal"];
/// The longest index that could be sound: the rest is the name of a field trial.
const MAX_INDEX: u64 = 1024;
/// The library's own bound on the number of databases.
const MAX_DATABASES: u64 = 255;
/// Entries of one database whose keys are kept; 16 bytes each.
const MAX_ENTRIES: usize = 8_000_000;
/// The columns that are read of each table, in the order in which they are used.
const META: [&str; 2] = ["key", "value"];
const RESOURCES: [&str; 5] = ["res_id", "check_sum", "cache_key_hash", "cache_key", "head"];
const BLOBS: [&str; 5] = ["res_id", "start", "end", "check_sum", "blob"];
const TOKEN_RESOURCES: [&str; 4] = ["res_id", "token_high", "token_low", "body_end"];
const TOKEN_BLOBS: [&str; 5] = ["token_high", "token_low", "start", "end", "blob"];

/// Whether the folder is such a cache: by `index`, or by its first database
/// when that is lost.
///
/// # Errors
/// The system's error.
pub fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    let databases = FIRST_DATABASES.map(|name| (name, &MAGIC[..]));
    for (name, magic) in [(INDEX, INDEX_MAGIC)].into_iter().chain(databases) {
        if !glimpse.has_file(name) {
            continue;
        }
        let rel = subject.path.join(name).map_err(io::Error::other)?;
        let file = OpenFile::new(subject.dir.open_file(&rel)?)?;
        if file.len() >= magic.len() as u64 && read_vec(&file, 0, magic.len())? == magic {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks every database as one, and at [`Level::Deep`] the checksum of every
/// head and body as well.
///
/// # Errors
/// When a file cannot be read or keeps changing, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    examine(subject, level, control)?.finish(subject)
}

fn damage(code: &str, message: impl Into<String>, rel: &RelPath) -> Finding {
    Finding::new(code, Severity::Error, Remedy::ClearStore, message).in_file(rel.clone())
}

/// The check, before it is summed up.
pub(super) fn examine(subject: Subject<'_>, level: Level, control: &Control) -> Result<Tally, StoreError> {
    let root = RelPath::root();
    let fail = |e| subject.read_error(&root, e);
    let method = match level {
        Level::Fast => "sqlite single pass of every database",
        Level::Deep => "sqlite single pass of every database, checksums of heads and bodies",
    };
    let mut out = Tally::new(StoreKind::SqlCache, method);
    let form = read_index(subject, &mut out)?;
    let listed = subject.dir.dir(subject.path).and_then(|d| d.listed()).map_err(fail)?;
    let files: BTreeMap<&str, u64> = listed
        .iter()
        .filter(|item| item.meta.kind == Kind::File)
        .filter_map(|item| Some((item.name.to_str()?, item.meta.size)))
        .collect();
    let databases = databases(form, &files);
    let rel = |name: &str| RelPath::new(name).map_err(|e| fail(io::Error::other(e)));
    let (mut others, mut other_bytes) = (0, 0);
    for item in listed.iter() {
        let name = item.name.to_str().unwrap_or_default();
        let of_database = |d: &String| {
            let rest = name.strip_prefix(d.as_str());
            rest.is_some_and(|end| end.is_empty() || StoreKind::Sqlite.sidecars().contains(&end))
        };
        if name != INDEX && !databases.iter().any(of_database) {
            others += 1;
            other_bytes += if item.meta.kind == Kind::File { item.meta.size } else { 0 };
        }
    }
    // A cache that was just made or cleared has its index alone.
    let is_empty = !files.keys().any(|name| DatabaseName::parse(name).is_some());
    for name in &databases {
        control.safe_point()?;
        if files.contains_key(name.as_str()) {
            check_database(subject, &rel(name)?, level, control, &mut out)?;
        } else if !is_empty {
            out.finding(damage("sql-cache.missing", "a database of the cache is missing", &rel(name)?));
        }
    }
    if is_empty {
        out.not_checked("entries: the cache has none yet");
    } else if matches!(form, Some(Form::Single)) && !files.contains_key(DATABASE) {
        out.not_checked("whether databases are missing: the index does not say how many there are");
    }
    if level == Level::Fast && !is_empty {
        out.not_checked("the checksums of heads and bodies: only a deep check reads them");
    }
    out.not_checked("keys, times and sizes of the entries: no checksum covers them");
    out.not_of_format(others, other_bytes);
    Ok(out)
}

/// What the index says of the databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One, without a number; or several, and not how many.
    Single,
    /// So many, numbered from 0.
    Numbered(u64),
}

/// How a database of the cache is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DatabaseName {
    /// `sqldb`.
    Plain,
    /// `sqldb0` and so on.
    Numbered,
}

impl DatabaseName {
    fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_prefix(DATABASE)?;
        if digits.is_empty() {
            return Some(Self::Plain);
        }
        let number: u64 = digits.parse().ok()?;
        // `sqldb01` and `sqldb+1` are not names that the library gives.
        (number.to_string() == digits).then_some(Self::Numbered)
    }
}

/// The databases that the cache has, or must have, by its index; without one,
/// those that are there.
fn databases(form: Option<Form>, files: &BTreeMap<&str, u64>) -> Vec<String> {
    let present = |wanted: &[DatabaseName]| -> Vec<String> {
        let is_one = |name: &&&str| DatabaseName::parse(name).is_some_and(|n| wanted.contains(&n));
        files.keys().filter(is_one).map(|name| (*name).to_owned()).collect()
    };
    match form {
        Some(Form::Numbered(n)) => (0..n).map(|i| format!("{DATABASE}{i}")).collect(),
        Some(Form::Single) => {
            let numbered = present(&[DatabaseName::Numbered]);
            if files.contains_key(DATABASE) || numbered.is_empty() {
                vec![DATABASE.to_owned()]
            } else {
                numbered
            }
        }
        None => present(&[DatabaseName::Plain, DatabaseName::Numbered]),
    }
}

/// Reads `index`; `None` (with a finding) when it is damaged.
///
/// # Errors
/// [`StoreError::UnknownForm`] for a version that is not known, or when the
/// file cannot be read.
fn read_index(subject: Subject<'_>, out: &mut Tally) -> Result<Option<Form>, StoreError> {
    let rel = RelPath::new(INDEX).unwrap_or_default();
    let Some(source) = open(subject, &rel)? else {
        out.finding(damage("sql-cache.index", "the cache's index file is missing", &rel));
        return Ok(None);
    };
    let len = source.len();
    let bytes = read_vec(&source, 0, len.min(MAX_INDEX) as usize).map_err(|e| subject.read_error(&rel, e))?;
    let shown = || crate::fsys::printable(&String::from_utf8_lossy(bytes.get(..64).unwrap_or(&bytes)));
    out.seen(bytes.len() as u64);
    out.known_form(bytes.len() as u64);
    match parse_index(&bytes, len) {
        Index::Known(form) => {
            out.vouch(Some(&rel), 0..INDEX_MAGIC.len() as u64);
            Ok(Some(form))
        }
        Index::Unknown => Err(StoreError::UnknownForm {
            path: subject.shown(),
            what: format!("its index names a version of the SQL cache that is not known: {}", shown()),
        }),
        Index::Damaged(at, expected) => {
            let message =
                "the cache's index file does not say which cache it is: the browser drops the cache";
            let finding = damage("sql-cache.index", message, &rel).at(at);
            out.finding(finding.expected_found(expected, shown()));
            Ok(None)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Index {
    Known(Form),
    /// Text as a version of the format could have it.
    Unknown,
    /// Where, and what should be there.
    Damaged(u64, &'static str),
}

/// What the first bytes of an index that is `len` bytes long say.
fn parse_index(bytes: &[u8], len: u64) -> Index {
    let Some(rest) = bytes.strip_prefix(INDEX_MAGIC) else { return Index::Damaged(0, "SQLCache") };
    let pinned = INDEX_MAGIC.len() as u64;
    if rest.is_empty() {
        return Index::Known(Form::Single);
    }
    if len > MAX_INDEX {
        return Index::Damaged(pinned, "at most 1024 bytes");
    }
    if let Some(at) = rest.iter().position(|b| !(b' '..=b'~').contains(b)) {
        return Index::Damaged(pinned + at as u64, "printable characters");
    }
    let mode = JOURNAL_MODES.into_iter().find_map(|mode| rest.strip_prefix(mode));
    let tail = mode.unwrap_or(rest);
    let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 && (mode.is_none() || !tail.is_empty()) {
        return Index::Unknown;
    }
    let number = tail.get(..digits).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse().ok());
    match number.filter(|n| (1..=MAX_DATABASES).contains(n)) {
        Some(number) => Index::Known(Form::Numbered(number)),
        None => Index::Damaged(len - tail.len() as u64, "a number of databases from 1 to 255"),
    }
}

/// How the tables of a database are laid out, by the version in `meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Parts of a body name their entry by a token; no checksums.
    Tokens,
    /// Parts name the entry's number, and everything has a checksum.
    Sums,
}

impl Layout {
    fn of_version(version: &str) -> Option<Self> {
        match version {
            "1" => Some(Self::Tokens),
            "7" | "8" => Some(Self::Sums),
            _ => None,
        }
    }
}

/// One database: as SQLite's, then by its own rules and checksums.
fn check_database(
    subject: Subject<'_>,
    rel: &RelPath,
    level: Level,
    control: &Control,
    out: &mut Tally,
) -> Result<(), StoreError> {
    let path = subject.path.join_rel(rel);
    let inner = Subject { dir: subject.dir, path: &path };
    let check = super::sqlite::check(inner, level, control)?;
    let sound = check.findings.iter().all(|f| f.severity <= Severity::Info);
    for mut finding in check.findings {
        if finding.remedy != Remedy::None {
            finding.remedy = Remedy::ClearStore;
        }
        out.finding(finding.in_file(rel.clone()));
    }
    for why in check.not_checked {
        out.not_checked(format!("{rel}: {why}"));
    }
    let bytes = check.coverage.bytes_seen;
    let Some(main) = file(subject, &path)? else { return Ok(()) };
    let wal = file(subject, &path.with_suffix("-wal"))?;
    let journal = file(subject, &path.with_suffix("-journal"))?;
    let files = Files { main: &main, wal: wal.as_ref().map(source), journal: journal.as_ref().map(source) };
    // One that the browser was killed over before it wrote to it.
    let is_empty = bytes == 0;
    if !sound || is_empty {
        out.seen(bytes);
        out.known_form(bytes);
        return Ok(());
    }
    let shown = inner.shown();
    let control = watched(control);
    let failed = |e| check_error(e, &shown);
    let version = version(files, &control).map_err(failed)?;
    let Some(layout) = version.as_deref().and_then(Layout::of_version) else {
        let found = version.map_or("it names none".to_owned(), |v| crate::fsys::printable(&v));
        out.unknown_form(bytes, format!("{rel}: the version of its tables is not known: {found}"));
        return Ok(());
    };
    if level == Level::Fast {
        out.seen(bytes);
        out.known_form(bytes);
        return Ok(());
    }
    let mut sums = Sums { rel, out, keys: HashMap::new(), ends: HashMap::new(), strangers: 0 };
    let (heads, bodies) = match layout {
        Layout::Sums => (
            rows(files, "resources", &RESOURCES, &control, &mut |row| sums.head(row)).map_err(failed)?,
            rows(files, "blobs", &BLOBS, &control, &mut |row| sums.body(row)).map_err(failed)?,
        ),
        Layout::Tokens => (
            rows(files, "resources", &TOKEN_RESOURCES, &control, &mut |row| sums.token_head(row))
                .map_err(failed)?,
            rows(files, "blobs", &TOKEN_BLOBS, &control, &mut |row| sums.token_body(row)).map_err(failed)?,
        ),
    };
    let strangers = sums.strangers;
    if !heads.found || !bodies.found {
        out.unknown_form(bytes, format!("{rel}: its tables are not those of its version"));
        return Ok(());
    }
    out.seen(bytes);
    out.known_form(bytes);
    let unread = |read: Read| read.unreadable + read.too_long;
    if unread(heads) + unread(bodies) > 0 {
        out.not_checked(format!("{rel}: {} rows could not be read", unread(heads) + unread(bodies)));
    }
    if strangers > 0 {
        out.not_checked(format!("{rel}: {strangers} parts of bodies belong to no entry"));
    }
    if layout == Layout::Tokens {
        out.not_checked(format!("{rel}: heads and bodies: this version of the cache has no checksums"));
    }
    Ok(())
}

/// The version that the database gives in its table `meta`.
fn version(
    files: Files<'_>,
    control: &crate::sqlite::Control,
) -> Result<Option<String>, crate::sqlite::check::CheckError> {
    let mut version = None;
    rows(files, "meta", &META, control, &mut |row| {
        if row.bytes(0) == Some(b"version") {
            let text =
                row.bytes(1).filter(|b| !b.is_empty()).map(|b| String::from_utf8_lossy(b).into_owned());
            version = text.or_else(|| row.integer(1).map(|n| n.to_string()));
        }
    })?;
    Ok(version)
}

fn source(file: &File) -> &dyn Source {
    file
}

fn file(subject: Subject<'_>, path: &RelPath) -> Result<Option<File>, StoreError> {
    match subject.dir.open_file(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Read {
            path: crate::fsys::shown(&subject.dir.path().join(path.as_path())),
            source,
        }),
    }
}

/// Compares one database's rows with their checksums, or with each other.
struct Sums<'a> {
    rel: &'a RelPath,
    out: &'a mut Tally,
    /// The hash of each entry's key, by the entry's number.
    keys: HashMap<i64, u32>,
    /// Each entry's number and the end of its body, by its token.
    ends: HashMap<(i64, i64), (i64, i64)>,
    /// Parts of bodies without an entry.
    strangers: u64,
}

impl Sums<'_> {
    fn head(&mut self, row: &Row) {
        let fields = (row.integer(0), row.integer(1), row.integer(2), row.bytes(3), row.bytes(4));
        let (Some(id), Some(sum), Some(hash), Some(key), Some(head)) = fields else {
            return self.wrong("sql-cache.row", "an entry has values of other types", row, 4, "", "");
        };
        // Numbers stand as signed 32-bit ones.
        let hash = hash as u32;
        let own = super_fast_hash(key);
        if own != hash {
            let message = format!("the key of entry {id} does not match its hash");
            return self.wrong("sql-cache.key-hash", &message, row, 3, &hex(hash), &hex(own));
        }
        for place in row.places(3) {
            self.out.vouch(Some(self.rel), place);
        }
        if self.keys.len() < MAX_ENTRIES {
            self.keys.insert(id, hash);
        }
        self.compare(row, 4, head, sum, hash, &format!("the head of entry {id}"));
    }

    fn body(&mut self, row: &Row) {
        let fields = (row.integer(0), row.integer(1), row.integer(2), row.integer(3), row.bytes(4));
        let (Some(id), Some(start), Some(end), Some(sum), Some(body)) = fields else {
            return self.wrong("sql-cache.row", "a part of a body has values of other types", row, 4, "", "");
        };
        let Some(hash) = self.keys.get(&id).copied() else {
            self.strangers += 1;
            return;
        };
        if self.has_length(row, id, start, end, body) {
            self.compare(row, 4, body, sum, hash, &format!("the body of entry {id} (from byte {start})"));
        }
    }

    fn token_head(&mut self, row: &Row) {
        let fields = (row.integer(0), row.integer(1), row.integer(2), row.integer(3));
        let (Some(id), Some(high), Some(low), Some(end)) = fields else {
            return self.wrong("sql-cache.row", "an entry has values of other types", row, 3, "", "");
        };
        if self.ends.len() < MAX_ENTRIES {
            self.ends.insert((high, low), (id, end));
        }
    }

    fn token_body(&mut self, row: &Row) {
        let fields = (row.integer(0), row.integer(1), row.integer(2), row.integer(3), row.bytes(4));
        let (Some(high), Some(low), Some(start), Some(end), Some(body)) = fields else {
            return self.wrong("sql-cache.row", "a part of a body has values of other types", row, 4, "", "");
        };
        let Some((id, last)) = self.ends.get(&(high, low)).copied() else {
            self.strangers += 1;
            return;
        };
        if self.has_length(row, id, start, end, body) && (start < 0 || end > last) {
            let message = format!("a part of the body of entry {id} lies outside it");
            let (expected, found) = (format!("0 to {last}"), format!("{start} to {end}"));
            self.wrong("sql-cache.length", &message, row, 4, &expected, &found);
        }
    }

    /// Whether the part is as long as its numbers say; a finding when not.
    fn has_length(&mut self, row: &Row, id: i64, start: i64, end: i64, body: &[u8]) -> bool {
        let len = end.checked_sub(start).and_then(|n| usize::try_from(n).ok());
        if len == Some(body.len()) {
            return true;
        }
        let message = format!("a part of the body of entry {id} has another length than it says");
        let (expected, found) = (format!("{start} to {end}"), format!("{} bytes", body.len()));
        self.wrong("sql-cache.length", &message, row, 4, &expected, &found);
        false
    }

    fn compare(&mut self, row: &Row, column: usize, bytes: &[u8], sum: i64, hash: u32, what: &str) {
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes);
        crc.update(&hash.to_be_bytes());
        let (found, expected) = (crc.finalize(), sum as u32);
        if found == expected {
            for place in row.places(column) {
                self.out.vouch(Some(self.rel), place);
            }
        } else {
            let message = format!("{what} does not match its checksum");
            self.wrong("sql-cache.crc", &message, row, column, &hex(expected), &hex(found));
        }
    }

    fn wrong(&mut self, code: &str, message: &str, row: &Row, column: usize, expected: &str, found: &str) {
        let mut finding = damage(code, message, self.rel);
        let first: Option<Range<u64>> = row.places(column).into_iter().min_by_key(|r| r.start);
        if let Some(first) = first {
            finding = finding.at(first.start);
        }
        self.out.finding(finding.expected_found(expected, found));
    }
}

fn hex(n: u32) -> String {
    format!("{n:08x}")
}

/// The table's line for this kind.
pub(super) struct SqlCache;

impl Format for SqlCache {
    fn kind(&self) -> StoreKind {
        StoreKind::SqlCache
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

    fn entries(&self, _subject: Subject<'_>, _control: &Control) -> Result<Clearable, StoreError> {
        Ok(Clearable::WholeOnly)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fsys::Dir;
    use crate::store::damage::Bench;
    use rusqlite::Connection;

    /// The tables of version 8, without the columns and indexes that are not read.
    const SUMS: &str = "PRAGMA page_size=1024;
        CREATE TABLE resources(res_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,last_used INTEGER NOT NULL,
        hints INTEGER NOT NULL,body_end INTEGER NOT NULL,bytes_usage INTEGER NOT NULL,doomed INTEGER NOT NULL,
        check_sum INTEGER NOT NULL,cache_key_hash INTEGER NOT NULL,cache_key TEXT NOT NULL,head BLOB);
        CREATE TABLE blobs(blob_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,res_id INTEGER NOT NULL,
        start INTEGER NOT NULL,end INTEGER NOT NULL,check_sum INTEGER NOT NULL,blob BLOB NOT NULL);
        CREATE UNIQUE INDEX index_blobs_res_id_start ON blobs(res_id, start);";
    /// Those of version 1.
    const TOKENS: &str = "PRAGMA page_size=1024;
        CREATE TABLE resources(res_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,token_high INTEGER NOT NULL,
        token_low INTEGER NOT NULL,last_used INTEGER NOT NULL,body_end INTEGER NOT NULL,bytes_usage INTEGER NOT NULL,
        doomed INTEGER NOT NULL,cache_key TEXT NOT NULL,head BLOB);
        CREATE TABLE blobs(blob_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,token_high INTEGER NOT NULL,
        token_low INTEGER NOT NULL,start INTEGER NOT NULL,end INTEGER NOT NULL,blob BLOB NOT NULL);
        CREATE UNIQUE INDEX index_blobs_token_start ON blobs(token_high, token_low, start);";
    const META_TABLE: &str =
        "CREATE TABLE meta(key LONGVARCHAR NOT NULL UNIQUE PRIMARY KEY, value LONGVARCHAR);";

    fn sum(bytes: &[u8], hash: u32) -> i32 {
        crc32fast::hash(&[bytes, &hash.to_be_bytes()].concat()) as i32
    }

    /// A database without entries, of the version that `meta` is to give.
    fn tables(path: &Path, schema: &str, version: &str) -> Connection {
        let db = Connection::open(path).unwrap();
        db.execute_batch(schema).unwrap();
        db.execute_batch(META_TABLE).unwrap();
        db.execute("INSERT INTO meta VALUES('version', ?1)", [version]).unwrap();
        db
    }

    /// One database of a cache, as the library writes it.
    fn database(path: &Path, version: &str, from: u8) {
        let db = tables(path, SUMS, version);
        db.execute_batch("BEGIN").unwrap();
        for i in from..from + 12 {
            let key = format!("1/0/_dk_https://a.example https://a.example/{i}");
            let hash = super_fast_hash(key.as_bytes());
            let head = vec![i; 300];
            db.execute(
                "INSERT INTO resources VALUES(NULL,1,0,4000,5000,0,?1,?2,?3,?4)",
                (sum(&head, hash), hash as i32, &key, &head),
            )
            .unwrap();
            let id = db.last_insert_rowid();
            for start in [0_i64, 2500] {
                let body = vec![i ^ 0x55; 2500];
                db.execute(
                    "INSERT INTO blobs VALUES(NULL,?1,?2,?3,?4,?5)",
                    (id, start, start + 2500, sum(&body, hash), &body),
                )
                .unwrap();
            }
        }
        db.execute_batch("COMMIT").unwrap();
    }

    /// The one database of a cache of Chromium 140.
    fn token_database(path: &Path) {
        let db = tables(path, TOKENS, "1");
        for i in 0..12_i64 {
            let token = (i * -0x0123_4567_89ab_cdef, i + 77);
            let key = format!("1/0/https://a.example https://a.example/{i}");
            db.execute(
                "INSERT INTO resources VALUES(NULL,?1,?2,1,5000,6000,0,?3,?4)",
                (token.0, token.1, &key, vec![7_u8; 300]),
            )
            .unwrap();
            for start in [0_i64, 2500] {
                db.execute(
                    "INSERT INTO blobs VALUES(NULL,?1,?2,?3,?4,?5)",
                    (token.0, token.1, start, start + 2500, vec![i as u8; 2500]),
                )
                .unwrap();
            }
        }
    }

    fn cache(index: &str, version: &str) -> Bench {
        let bench = Bench::new("cache");
        bench.write("cache/index", index);
        database(&bench.path().join("cache/sqldb0"), version, 0);
        database(&bench.path().join("cache/sqldb1"), version, 40);
        bench
    }

    fn sound() -> Bench {
        cache("SQLCacheTruncate2", "8")
    }

    fn single() -> Bench {
        let bench = Bench::new("cache");
        bench.write("cache/index", "SQLCache");
        token_database(&bench.path().join("cache/sqldb"));
        bench
    }

    fn deep(subject: Subject<'_>) -> Result<Tally, StoreError> {
        examine(subject, Level::Deep, &Control::default())
    }

    /// What `check` answers, at both levels.
    fn checked(bench: &Bench) -> [Result<Check, StoreError>; 2] {
        let dir = Dir::open(bench.path()).unwrap();
        let path = RelPath::new("cache").unwrap();
        [Level::Fast, Level::Deep]
            .map(|level| check(Subject { dir: &dir, path: &path }, level, &Control::default()))
    }

    #[track_caller]
    fn assert_unknown(bench: &Bench, wanted: &str) {
        for outcome in checked(bench) {
            match outcome {
                Err(StoreError::UnknownForm { what, .. }) => assert!(what.contains(wanted), "{what}"),
                other => panic!("{wanted}: {other:?}"),
            }
        }
    }

    #[test]
    fn damage_under_a_checksum_is_found_in_the_right_file() {
        sound().damage_is_found(24, 71, &deep);
    }

    #[test]
    fn any_damage_is_survived() {
        sound().any_damage_is_survived(84, &deep);
        single().any_damage_is_survived(87, &deep);
    }

    #[test]
    fn it_is_recognised_by_its_index_or_by_a_database() {
        for bench in [sound(), single()] {
            let kind = |bench: &Bench| {
                let dir = Dir::open(bench.path()).unwrap();
                crate::store::recognise(Subject { dir: &dir, path: &RelPath::new("cache").unwrap() }).unwrap()
            };
            assert_eq!(kind(&bench), Some(StoreKind::SqlCache));
            bench.write("cache/index", "broken");
            assert_eq!(kind(&bench), Some(StoreKind::SqlCache));
            assert_eq!(bench.codes(&deep), ["sql-cache.index"]);
        }
    }

    #[test]
    fn a_missing_database_is_found() {
        let bench = sound();
        std::fs::remove_file(bench.path().join("cache/sqldb1")).unwrap();
        assert_eq!(bench.codes(&deep), ["sql-cache.missing"]);
    }

    #[test]
    fn a_changed_body_is_found_where_it_lies_and_clears_the_whole() {
        let bench = sound();
        let path = bench.path().join("cache/sqldb1");
        let mut bytes = std::fs::read(&path).unwrap();
        let name = Some(RelPath::new("sqldb1").unwrap());
        // A page of nothing but a body.
        let vouched = bench.run(&deep).unwrap().vouched;
        let page = vouched.into_iter().find(|(f, r)| *f == name && r.end - r.start > 1000).unwrap().1;
        let at = page.start as usize;
        bytes[at + 500] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let findings = bench.findings(&deep);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let evidence = &findings[0].evidence;
        assert_eq!(findings[0].code, "sql-cache.crc");
        assert_eq!(findings[0].remedy, Remedy::ClearStore);
        assert_eq!(evidence.file, name);
        let offset = evidence.offset.unwrap() as usize;
        assert!(offset <= at && at - offset < 6000, "{offset} for a change at {}", at + 500);
        let fast = bench.findings(&|s| examine(s, Level::Fast, &Control::default()));
        assert_eq!(fast, [], "the structure is sound");
    }

    #[test]
    fn every_form_that_a_chromium_wrote_is_sound() {
        for (index, version) in [
            ("SQLCache2", "7"),
            ("SQLCache2", "8"),
            ("SQLCache2GroupDiskCacheBackendExperiment", "8"),
            ("SQLCacheTruncate2", "8"),
            ("SQLCacheWal2Group_A", "8"),
        ] {
            for check in checked(&cache(index, version)).map(Result::unwrap) {
                assert_eq!(check.findings, [], "{index}");
                assert!(check.coverage.bytes_seen > 100_000, "{index}: {:?}", check.coverage);
            }
        }
        for check in checked(&single()).map(Result::unwrap) {
            assert_eq!(check.findings, []);
            assert!(check.coverage.bytes_seen > 50_000, "its database was read: {:?}", check.coverage);
        }
    }

    #[test]
    fn a_wrecked_database_without_a_number_is_found() {
        let bench = single();
        let path = bench.path().join("cache/sqldb");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2048..20_000].fill(b'A');
        std::fs::write(&path, bytes).unwrap();
        for check in checked(&bench).map(Result::unwrap) {
            assert!(check.findings.iter().any(|f| f.severity == Severity::Error), "{:?}", check.findings);
            assert!(check.findings.iter().all(|f| f.remedy == Remedy::ClearStore), "{:?}", check.findings);
        }
    }

    #[test]
    fn a_part_of_a_body_outside_its_entry_is_found_without_checksums() {
        let bench = single();
        let db = Connection::open(bench.path().join("cache/sqldb")).unwrap();
        db.execute_batch(
            "UPDATE blobs SET blob = zeroblob(2600) WHERE blob_id = 3;
             UPDATE resources SET body_end = 4000 WHERE res_id = 5;
             UPDATE blobs SET token_low = 1 WHERE blob_id = 20",
        )
        .unwrap();
        drop(db);
        assert_eq!(bench.codes(&deep), ["sql-cache.length"; 2]);
        let not_checked = bench.run(&deep).unwrap().done().not_checked;
        assert!(
            not_checked.iter().any(|n| n.contains("1 parts of bodies belong to no entry")),
            "{not_checked:?}"
        );
    }

    /// A newer program's cache is not damaged for being newer, nor sound.
    #[test]
    fn a_version_that_is_not_known_is_neither_sound_nor_damaged() {
        for index in ["SQLCacheV2Shards2", "SQLCachePersist2", "SQLCacheX"] {
            assert_unknown(&cache(index, "8"), index);
        }
        assert_unknown(&cache("SQLCacheTruncate2", "9"), "not known: 9");
        assert_unknown(&cache("SQLCacheTruncate2", "next"), "not known: next");
        let bench = sound();
        for name in ["sqldb0", "sqldb1"] {
            let db = Connection::open(bench.path().join("cache").join(name)).unwrap();
            db.execute_batch("DROP TABLE meta").unwrap();
        }
        assert_unknown(&bench, "it names none");
        // What is unknown in the greater part of the cache decides.
        let bench = sound();
        bench.write("cache/journal.bin", vec![1; 1 << 20]);
        assert_unknown(&bench, "1 files are not of this format");
    }

    #[test]
    fn a_damaged_database_of_another_version_is_damaged_all_the_same() {
        let bench = cache("SQLCacheTruncate2", "9");
        let path = bench.path().join("cache/sqldb0");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1024..9000].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        for check in checked(&bench).map(Result::unwrap) {
            assert!(check.findings.iter().any(|f| f.severity == Severity::Error), "{:?}", check.findings);
        }
    }

    #[test]
    fn a_cache_that_was_just_made_is_sound() {
        let bench = Bench::new("cache");
        for index in ["SQLCache", "SQLCacheTruncate3"] {
            bench.write("cache/index", index);
            assert_eq!(bench.codes(&deep), [""; 0], "{index}");
        }
        bench.write("cache/sqldb0", "").write("cache/sqldb1", "").write("cache/sqldb2", "");
        assert_eq!(bench.codes(&deep), [""; 0]);
    }

    #[test]
    fn an_index_that_no_version_has_is_damage() {
        for (text, index) in [
            ("SQLCache", Index::Known(Form::Single)),
            ("SQLCache3", Index::Known(Form::Numbered(3))),
            ("SQLCacheWal2Group_A", Index::Known(Form::Numbered(2))),
            ("SQLCacheNext", Index::Unknown),
            ("SQLCa", Index::Damaged(0, "SQLCache")),
            ("SQLCache\u{3}", Index::Damaged(8, "printable characters")),
            ("SQLCacheWal", Index::Damaged(11, "a number of databases from 1 to 255")),
            ("SQLCacheTruncate0", Index::Damaged(16, "a number of databases from 1 to 255")),
            ("SQLCache9999", Index::Damaged(8, "a number of databases from 1 to 255")),
        ] {
            assert_eq!(parse_index(text.as_bytes(), text.len() as u64), index, "{text}");
        }
        let long = format!("SQLCache3{}", "x".repeat(2000));
        assert_eq!(parse_index(&long.as_bytes()[..1024], 2009), Index::Damaged(8, "at most 1024 bytes"));
    }
}
