//! Chromium's newest backend of the HTTP cache: entries in SQLite databases.
//!
//! A folder of `index`, which only says which backend it is, and the databases
//! `sqldb0`, `sqldb1`, ... among which the entries are spread. After Chromium's
//! `net/disk_cache/sql`: `resources` holds an entry's key and head, `blobs`
//! the parts of its body, and `check_sum` is the CRC-32 of the bytes followed
//! by the key's hash, big-endian. The library drops a database in which
//! something does not fit, so clearing the whole is the only remedy.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;

use super::read_at::{OpenFile, ReadAt as _, open, read_vec};
use super::simple_cache::super_fast_hash;
use super::sqlite::{check_error, watched};
use super::tally::Tally;
use super::{Check, Glimpse, Level, StoreError, Subject};
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
/// The longest index that could be sound: the rest is the name of a field trial.
const MAX_INDEX: u64 = 1024;
/// The library's own bound on the number of databases.
const MAX_DATABASES: u64 = 255;
/// Entries of one database whose keys are kept; 16 bytes each.
const MAX_ENTRIES: usize = 8_000_000;
/// Columns that are read, in the order of the constants below.
const RESOURCES: [&str; 5] = ["res_id", "check_sum", "cache_key_hash", "cache_key", "head"];
const BLOBS: [&str; 5] = ["res_id", "start", "end", "check_sum", "blob"];

/// Whether the folder is such a cache: by `index`, or by its first database
/// when that is lost.
///
/// # Errors
/// The system's error.
pub fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    for (name, magic) in [(INDEX, INDEX_MAGIC), ("sqldb0", &MAGIC[..]), ("sqldb1", &MAGIC[..])] {
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
    Ok(examine(subject, level, control)?.done())
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
    let listed = subject.dir.dir(subject.path).and_then(|d| d.list()).map_err(fail)?;
    let mut databases = Vec::new();
    let mut unknown = 0;
    for item in &listed {
        let name = item.name.to_str().unwrap_or_default();
        let rest = name.strip_prefix(DATABASE).unwrap_or_default();
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_database = item.meta.kind == Kind::File && rest.len() > digits.len();
        if is_database && digits.is_empty() {
            databases.push(name.to_owned());
        } else if !(name == INDEX || is_database && StoreKind::Sqlite.sidecars().contains(&digits)) {
            unknown += 1;
        }
    }
    let expected = check_index(subject, &mut out)?;
    let rel = |name: &str| RelPath::new(name).map_err(|e| fail(io::Error::other(e)));
    for number in 0..expected.unwrap_or_default() {
        let name = format!("{DATABASE}{number}");
        if !databases.contains(&name) {
            out.finding(damage("sql-cache.missing", "a database of the cache is missing", &rel(&name)?));
        }
    }
    for name in &databases {
        control.safe_point()?;
        check_database(subject, &rel(name)?, level, control, &mut out)?;
    }
    if level == Level::Fast && !databases.is_empty() {
        out.not_checked("the checksums of heads and bodies: only a deep check reads them");
    }
    out.not_checked("keys, times and sizes of the entries: no checksum covers them");
    out.strangers(unknown);
    Ok(out)
}

/// Checks `index` and gives the number of databases, when it says one.
fn check_index(subject: Subject<'_>, out: &mut Tally) -> Result<Option<u64>, StoreError> {
    let rel = RelPath::new(INDEX).unwrap_or_default();
    let Some(source) = open(subject, &rel)? else {
        out.finding(damage("sql-cache.index", "the cache's index file is missing", &rel));
        return Ok(None);
    };
    let len = source.len();
    let bytes = read_vec(&source, 0, len.min(MAX_INDEX) as usize).map_err(|e| subject.read_error(&rel, e))?;
    out.seen(bytes.len() as u64);
    let mut bad = |at: u64, expected: &str, found: &[u8]| {
        let found = crate::fsys::printable(&String::from_utf8_lossy(found.get(..32).unwrap_or(found)));
        let message = "the cache's index file does not say which cache it is: the browser drops the cache";
        out.finding(damage("sql-cache.index", message, &rel).at(at).expected_found(expected, found));
    };
    let Some(rest) = bytes.strip_prefix(INDEX_MAGIC) else {
        bad(0, "SQLCache", &bytes);
        return Ok(None);
    };
    let pinned = INDEX_MAGIC.len() as u64;
    // The first version of the format had nothing more.
    let mode = [&b"Truncate"[..], b"Wal"].into_iter().find_map(|m| rest.strip_prefix(m));
    let Some(tail) = mode.filter(|_| len <= MAX_INDEX) else {
        if rest.is_empty() {
            out.vouch(Some(&rel), 0..pinned);
        } else {
            bad(pinned, "Truncate or Wal, and the number of databases", rest);
        }
        return Ok(None);
    };
    let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
    let number = tail.get(..digits).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse().ok());
    let Some(number) = number.filter(|n| (1..=MAX_DATABASES).contains(n)) else {
        bad(len - tail.len() as u64, "a number of databases from 1 to 255", tail);
        return Ok(None);
    };
    out.vouch(Some(&rel), 0..len - tail.len() as u64);
    Ok(Some(number))
}

/// One database: as SQLite's, then by its own checksums.
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
    out.seen(check.coverage.bytes_seen);
    if level == Level::Fast || !sound {
        return Ok(());
    }
    let Some(main) = file(subject, &path)? else { return Ok(()) };
    let wal = file(subject, &path.with_suffix("-wal"))?;
    let journal = file(subject, &path.with_suffix("-journal"))?;
    let files = Files { main: &main, wal: wal.as_ref().map(source), journal: journal.as_ref().map(source) };
    let shown = inner.shown();
    let mut sums = Sums { rel, out, keys: HashMap::new(), strangers: 0 };
    let control = watched(control);
    let failed = |e| check_error(e, &shown);
    let heads = rows(files, "resources", &RESOURCES, &control, &mut |row| sums.head(row)).map_err(failed)?;
    let bodies = rows(files, "blobs", &BLOBS, &control, &mut |row| sums.body(row)).map_err(failed)?;
    let strangers = sums.strangers;
    let unread = |read: Read| read.unreadable + read.too_long;
    if !heads.found || !bodies.found {
        out.not_checked(format!("{rel}: its tables are not those of a version that is known"));
    } else if unread(heads) + unread(bodies) > 0 {
        out.not_checked(format!("{rel}: {} rows could not be read", unread(heads) + unread(bodies)));
    }
    if strangers > 0 {
        out.not_checked(format!("{rel}: {strangers} parts of bodies belong to no entry"));
    }
    Ok(())
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

/// Compares the checksums of one database's rows.
struct Sums<'a> {
    rel: &'a RelPath,
    out: &'a mut Tally,
    /// The hash of each entry's key, by the entry's number.
    keys: HashMap<i64, u32>,
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
        let len = end.checked_sub(start).and_then(|n| usize::try_from(n).ok());
        if len != Some(body.len()) {
            let message = format!("a part of the body of entry {id} has another length than it says");
            let (expected, found) = (format!("{start} to {end}"), format!("{} bytes", body.len()));
            return self.wrong("sql-cache.length", &message, row, 4, &expected, &found);
        }
        self.compare(row, 4, body, sum, hash, &format!("the body of entry {id} (from byte {start})"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsys::Dir;
    use crate::store::damage::Bench;
    use crate::store::registry;
    use rusqlite::Connection;

    const SCHEMA: &str = "PRAGMA page_size=1024;
        CREATE TABLE resources(res_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,last_used INTEGER NOT NULL,
        hints INTEGER NOT NULL,body_end INTEGER NOT NULL,bytes_usage INTEGER NOT NULL,doomed INTEGER NOT NULL,
        check_sum INTEGER NOT NULL,cache_key_hash INTEGER NOT NULL,cache_key TEXT NOT NULL,head BLOB);
        CREATE TABLE blobs(blob_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,res_id INTEGER NOT NULL,
        start INTEGER NOT NULL,end INTEGER NOT NULL,check_sum INTEGER NOT NULL,blob BLOB NOT NULL);
        CREATE UNIQUE INDEX index_blobs_res_id_start ON blobs(res_id, start);";

    fn sum(bytes: &[u8], hash: u32) -> i32 {
        crc32fast::hash(&[bytes, &hash.to_be_bytes()].concat()) as i32
    }

    /// One database of a cache, as the library writes it.
    fn database(path: &std::path::Path, from: u8) {
        let db = Connection::open(path).unwrap();
        db.execute_batch(SCHEMA).unwrap();
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

    fn sound() -> Bench {
        let bench = Bench::new("cache");
        bench.write("cache/index", "SQLCacheTruncate2");
        database(&bench.path().join("cache/sqldb0"), 0);
        database(&bench.path().join("cache/sqldb1"), 40);
        bench
    }

    fn deep(subject: Subject<'_>) -> Result<Tally, StoreError> {
        examine(subject, Level::Deep, &Control::default())
    }

    #[test]
    fn damage_under_a_checksum_is_found_in_the_right_file() {
        sound().damage_is_found(24, 71, &deep);
    }

    #[test]
    fn any_damage_is_survived() {
        sound().any_damage_is_survived(84, &deep);
    }

    #[test]
    fn it_is_recognised_by_its_index_or_by_a_database() {
        let bench = sound();
        let kind = |bench: &Bench| {
            let dir = Dir::open(bench.path()).unwrap();
            registry::recognise(Subject { dir: &dir, path: &RelPath::new("cache").unwrap() }).unwrap()
        };
        assert_eq!(kind(&bench), Some(StoreKind::SqlCache));
        bench.write("cache/index", "broken");
        assert_eq!(kind(&bench), Some(StoreKind::SqlCache));
        assert_eq!(bench.codes(&deep), ["sql-cache.index"]);
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
    fn an_index_of_another_form_is_damage() {
        for (text, codes) in [
            ("SQLCache", 0),
            ("SQLCacheWal2Group_A", 0),
            ("SQLCacheWal", 1),
            ("SQLCacheTruncate0", 1),
            ("SQLCacheTruncate9999", 1),
            ("SQLCacheX", 1),
        ] {
            let bench = sound();
            bench.write("cache/index", text);
            assert_eq!(bench.codes(&deep).len(), codes, "{text}");
        }
    }
}
