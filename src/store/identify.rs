//! What a path holds, when no profile says so: by its content, and where that
//! is damaged by name and place, by the files beside it, or by the structure
//! that is left. No single trait decides: many programs call their files
//! `.db`, and any eight bytes can be chance.

use std::io::{self, Read as _};

use super::foreign::{self, Family, Foreign};
use super::read_at::{OpenFile, ReadAt as _};
use super::{Glimpse, Subject, format, mmkv, pages, shared_prefs};
use crate::fsys::{Kind, RelPath};
use crate::model::{MMKV_META, PREFS_BACKUP, SQLITE_SIDECARS, StoreKind};

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A store that can be checked.
    Store { kind: StoreKind, by: By },
    /// An archive whose own checksums can be checked, but not what is in it.
    Archive(Foreign),
    /// A format that this program does not check.
    Foreign(Foreign),
}

/// By what a store was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// It begins, or is made up, as its kind is.
    Content,
    /// Its name, or the folder that it lies in, and nothing that speaks against it.
    Name,
    /// The files that belong to it and lie beside it.
    Sidecar,
    /// Parts of it that are still whole.
    Structure,
}

impl By {
    /// For a person; `None` when nothing is to be said.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Content => None,
            Self::Name => Some("identified by its name and place; its own first bytes are lost"),
            Self::Sidecar => Some("identified by the files beside it; its own first bytes are lost"),
            Self::Structure => Some("identified by the structure that is left; its first bytes are wrong"),
        }
    }
}

/// Bytes that could be a SQLCipher database, or any that was overwritten.
const RANDOM: Foreign = Foreign {
    id: "encrypted",
    name: "random bytes: either an encrypted database, such as SQLCipher's, or a damaged SQLite database that was \
           overwritten; the two look the same",
    how_to_see: "if the app encrypts it, check it with `PRAGMA cipher_integrity_check` and the app's key; if not, \
                 restore a copy, or try `shopmend salvage FILE -o NEW.db`",
    family: Family::Database,
};

/// Says what `subject` holds; `None` for plain files and mixed folders.
///
/// # Errors
/// The system's error when it cannot be looked at.
pub fn identify(subject: Subject<'_>) -> io::Result<Option<Identity>> {
    let glimpse = Glimpse::of(subject)?;
    if glimpse.is_dir() {
        if let Some(found) = foreign::recognise(subject, &glimpse)? {
            return Ok(Some(Identity::Foreign(found)));
        }
        if let Some(kind) = format::recognise_glimpse(subject, &glimpse)? {
            return Ok(Some(Identity::Store { kind, by: By::Content }));
        }
        let kind = likely_folder(subject, &glimpse);
        return Ok(kind.map(|kind| Identity::Store { kind, by: By::Name }));
    }
    if !glimpse.is_file() {
        return Ok(None);
    }
    let name = name_of(subject);
    let by_content = format::recognise_glimpse(subject, &glimpse)?;
    let binary = foreign::recognise(subject, &glimpse)?;
    match (by_content, binary) {
        // An encrypted database can begin as a plain one does.
        (Some(StoreKind::Sqlite), Some(found)) if found == foreign::SQLCIPHER => {
            return Ok(Some(Identity::Foreign(found)));
        }
        (Some(kind @ (StoreKind::Media | StoreKind::Json)), archive) if is_database_name(&name) => {
            let file = OpenFile::new(subject.dir.open_file(subject.path)?)?;
            return Ok(Some(match (pages::holds_btrees(&file, true)?, archive) {
                (true, _) => Identity::Store { kind: StoreKind::Sqlite, by: By::Structure },
                (false, Some(found)) => Identity::Archive(found),
                (false, None) => Identity::Store { kind, by: By::Content },
            }));
        }
        (Some(StoreKind::Media), Some(found)) => return Ok(Some(Identity::Archive(found))),
        (Some(kind), _) => return Ok(Some(Identity::Store { kind, by: By::Content })),
        (None, Some(found)) => return Ok(Some(Identity::Foreign(found))),
        (None, None) => {}
    }
    if let Some(found) = likely_file(subject, &glimpse, &name)? {
        return Ok(Some(found));
    }
    Ok(foreign::recognise_text(subject, &glimpse).map(Identity::Foreign))
}

/// The length of a file and the one byte that fills it; `None` when it holds
/// more than one value.
///
/// # Errors
/// The system's error.
pub fn filled_with(subject: Subject<'_>) -> io::Result<Option<(u64, u8)>> {
    let file = OpenFile::new(subject.dir.open_file(subject.path)?)?;
    match file.len() {
        0 => Ok(Some((0, 0))),
        len => Ok(pages::filled_with(&file)?.map(|byte| (len, byte))),
    }
}

fn name_of(subject: Subject<'_>) -> String {
    let name = subject.path.file_name().or_else(|| subject.dir.path().file_name());
    name.map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// What stands behind the last dot of a name.
pub(super) fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, end)| end)
}

/// The name of the folder that holds the subject.
fn place_of(subject: Subject<'_>) -> String {
    let parent = subject.path.parent().unwrap_or_default();
    let name = parent.file_name().or_else(|| subject.dir.path().file_name());
    name.map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Whether a name, in lower case, is one that databases have: `app.db`, and
/// what people and programs make of it: `app.db.corrupt`, `app (1).db`,
/// `app.db.bak`, `app.db~`.
pub(super) fn is_database_name(name: &str) -> bool {
    const ENDS: [&str; 9] =
        ["db", "db3", "sqlite", "sqlite3", "sqlitedb", "s3db", "sdb", "vscdb", "sqlite-db"];
    const ADDED: [&str; 9] = ["corrupt", "bak", "backup", "old", "orig", "damaged", "broken", "copy", "tmp"];
    let mut rest = name;
    loop {
        rest = rest.trim_end_matches('~').trim_end();
        // `app.db (1)`, as browsers name a second download.
        if let Some((head, number)) = rest.strip_suffix(')').and_then(|r| r.rsplit_once(" ("))
            && number.bytes().all(|b| b.is_ascii_digit())
        {
            rest = head;
            continue;
        }
        let Some((head, end)) = rest.rsplit_once('.') else { return false };
        if ENDS.contains(&end) {
            return !head.is_empty();
        }
        // `app.db.20260101`, as some programs name a copy.
        let dated = end.len() <= 14 && digits(end);
        if !dated && !ADDED.contains(&end) {
            return false;
        }
        rest = head;
    }
}

/// A folder whose files carry the names of a kind, though what is in them is
/// lost.
fn likely_folder(subject: Subject<'_>, glimpse: &Glimpse) -> Option<StoreKind> {
    let files =
        || glimpse.entries.iter().filter(|e| e.meta.kind == Kind::File).filter_map(|e| e.name.to_str());
    let numbered = |ends: &[&str]| {
        files().any(|n| {
            n.rsplit_once('.')
                .is_some_and(|(number, end)| ends.contains(&end) && number.len() >= 6 && digits(number))
        })
    };
    let manifest = files().any(|n| n.strip_prefix("MANIFEST-").is_some_and(digits));
    let kinds = [glimpse.has_file("CURRENT"), manifest, numbered(&["ldb", "sst"]), numbered(&["log"])];
    let kinds = kinds.iter().filter(|k| **k).count();
    let name = name_of(subject);
    if kinds >= 2 || (kinds == 1 && (name == "leveldb" || extension(&name) == "leveldb")) {
        return Some(StoreKind::Leveldb);
    }
    let blocks = (0..4).filter(|n| glimpse.has_file(&format!("data_{n}"))).count();
    if glimpse.has_file("index") && blocks >= 3 {
        return Some(StoreKind::BlockfileCache);
    }
    None
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn likely_file(subject: Subject<'_>, glimpse: &Glimpse, name: &str) -> io::Result<Option<Identity>> {
    let store = |kind, by| Ok(Some(Identity::Store { kind, by }));
    let place = place_of(subject);
    if shared_prefs::is_torn(&glimpse.head) {
        return store(StoreKind::SharedPrefs, By::Structure);
    }
    let file = OpenFile::new(subject.dir.open_file(subject.path)?)?;
    let len = glimpse.meta.size;
    let filled = if glimpse.head.iter().all(|b| Some(b) == glimpse.head.first()) {
        pages::filled_with(&file)?
    } else {
        None
    };
    let nothing = len == 0 || filled == Some(0);
    if extension(name) == "xml" && (place == "shared_prefs" || (nothing && has(subject, PREFS_BACKUP))) {
        return store(StoreKind::SharedPrefs, By::Name);
    }
    if nothing && extension(name) == "plist" {
        return store(StoreKind::Plist, By::Name);
    }
    let json = [".json", ".mozlz4", ".jsonlz4"].iter().any(|end| name.ends_with(end));
    if json && (nothing || glimpse.head.iter().take(512).all(|b| *b >= 0x20 || b.is_ascii_whitespace())) {
        return store(StoreKind::Json, By::Name);
    }
    if let Some(by) = likely_sqlite(subject, glimpse, &file, name, &place, filled)? {
        return Ok(Some(by));
    }
    if has(subject, MMKV_META) && len.is_multiple_of(4096) && len > 0 {
        return store(StoreKind::Mmkv, By::Sidecar);
    }
    if mmkv::is_walkable(&file, len)? {
        return store(StoreKind::Mmkv, By::Structure);
    }
    if place == "mmkv" && len > 0 && len.is_multiple_of(4096) && !name.ends_with(MMKV_META) {
        return store(StoreKind::Mmkv, By::Name);
    }
    Ok(None)
}

fn likely_sqlite(
    subject: Subject<'_>,
    glimpse: &Glimpse,
    file: &OpenFile,
    name: &str,
    place: &str,
    filled: Option<u8>,
) -> io::Result<Option<Identity>> {
    let found = |by| Ok(Some(Identity::Store { kind: StoreKind::Sqlite, by }));
    // Android's own folder for an app's databases, which often have no ending.
    let named = is_database_name(name) || (place == "databases" && !is_sidecar(name));
    if header_is_close(&glimpse.head) || displaced_header(&glimpse.head) {
        return found(By::Structure);
    }
    if has_log(subject)? {
        return found(By::Sidecar);
    }
    let len = glimpse.meta.size;
    if len == 0 || filled.is_some() {
        return if named { found(By::Name) } else { Ok(None) };
    }
    if pages::holds_btrees(file, named)? {
        return found(By::Structure);
    }
    if named && pages::is_random(file, 0)? {
        // Every page of an encrypted database is whole.
        return if len.is_multiple_of(512) { Ok(Some(Identity::Foreign(RANDOM))) } else { found(By::Name) };
    }
    Ok(None)
}

/// Whether the fields of a SQLite header are there, though its magic is not:
/// page size, versions and the three fixed fractions.
fn header_is_close(head: &[u8]) -> bool {
    let Some(fields) = head.get(16..24) else { return false };
    let size = u16::from_be_bytes([fields[0], fields[1]]);
    let versions = (1..=2).contains(&fields[2]) && (1..=2).contains(&fields[3]);
    (size == 1 || (size >= 512 && size.is_power_of_two())) && versions && fields.ends_with(&[64, 32, 32])
}

/// Whether a whole SQLite header stands behind something put in front of it.
fn displaced_header(head: &[u8]) -> bool {
    memchr::memmem::find_iter(head, b"SQLite format 3\0")
        .any(|at| at > 0 && head.get(at..).is_some_and(header_is_close))
}

/// Whether a write-ahead log or a rollback journal with its magic lies beside.
fn has_log(subject: Subject<'_>) -> io::Result<bool> {
    for (end, magics) in LOGS {
        if let Some(head) = beginning(subject, end)?
            && magics.iter().any(|m| head.starts_with(m))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Endings of a database's logs, and how they begin (SQLite file format, "The
/// Rollback Journal", "The Write-Ahead Log").
const LOGS: [(&str, &[&[u8]]); 2] = [
    ("-wal", &[b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"]),
    ("-journal", &[b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"]),
];

fn beginning(subject: Subject<'_>, end: &str) -> io::Result<Option<Vec<u8>>> {
    match subject.dir.open_file(&subject.path.with_suffix(end)) {
        Ok(file) => {
            let mut head = Vec::new();
            file.take(16).read_to_end(&mut head)?;
            Ok(Some(head))
        }
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => Ok(None),
        Err(e) => Err(e),
    }
}

fn has(subject: Subject<'_>, end: &str) -> bool {
    subject.dir.stat(&subject.path.with_suffix(end)).is_ok_and(|m| m.kind == Kind::File)
}

fn is_sidecar(name: &str) -> bool {
    SQLITE_SIDECARS.iter().any(|end| name.ends_with(end))
}

/// How a file belongs to a store that is more than this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// It is a part of the store at that path, which is there.
    Of(RelPath, StoreKind),
    /// It is a log of a database that is not there.
    LogAlone(RelPath),
}

/// Says which store the file at `subject` is a part of: a log or journal of
/// its database, a backup of its preferences, a checksum file of its MMKV
/// store, a table of its LevelDB folder. `None` for what stands by itself.
///
/// # Errors
/// The system's error when a neighbour cannot be looked at.
pub fn part_of(subject: Subject<'_>) -> io::Result<Option<Part>> {
    let Some(name) = subject.path.file_name().and_then(|n| n.to_str()) else { return Ok(None) };
    let base = |end: &str| {
        let stem = name.strip_suffix(end).filter(|s| !s.is_empty())?;
        subject.path.parent().unwrap_or_default().join(stem).ok()
    };
    let there = |path: &RelPath| subject.dir.stat(path).is_ok_and(|m| m.kind == Kind::File);
    for end in SQLITE_SIDECARS {
        let Some(base) = base(end) else { continue };
        if there(&base) {
            let own = Subject { dir: subject.dir, path: &base };
            let known = matches!(identify(own)?, Some(Identity::Store { kind: StoreKind::Sqlite, .. }));
            return Ok(known.then_some(Part::Of(base, StoreKind::Sqlite)));
        }
        let magics = LOGS.iter().find(|(e, _)| *e == end).map_or(&[][..], |(_, m)| m);
        let head = beginning(subject, "")?.unwrap_or_default();
        return Ok(magics.iter().any(|m| head.starts_with(m)).then_some(Part::LogAlone(base)));
    }
    if let Some(base) = base(PREFS_BACKUP) {
        let prefs = |path: &RelPath| -> io::Result<bool> {
            let own = Subject { dir: subject.dir, path };
            let glimpse = Glimpse::of(own)?;
            Ok(shared_prefs::recognise(&glimpse) || shared_prefs::is_torn(&glimpse.head))
        };
        let xml = name.strip_suffix(PREFS_BACKUP).is_some_and(|n| extension(n) == "xml");
        let paired = there(&base) && prefs(&base)?;
        if xml && (paired || prefs(subject.path)? || place_of(subject) == "shared_prefs") {
            return Ok(Some(Part::Of(base, StoreKind::SharedPrefs)));
        }
    }
    if let Some(base) = base(MMKV_META)
        && there(&base)
    {
        let own = Subject { dir: subject.dir, path: &base };
        let known = matches!(identify(own)?, Some(Identity::Store { kind: StoreKind::Mmkv, .. }));
        return Ok(known.then_some(Part::Of(base, StoreKind::Mmkv)));
    }
    part_of_leveldb(subject, name)
}

/// `000005.ldb`, `CURRENT` and their like belong to the folder they lie in.
fn part_of_leveldb(subject: Subject<'_>, name: &str) -> io::Result<Option<Part>> {
    let numbered =
        name.rsplit_once('.').is_some_and(|(n, e)| digits(n) && ["ldb", "sst", "log"].contains(&e));
    if !numbered && name != "CURRENT" && !name.starts_with("MANIFEST-") {
        return Ok(None);
    }
    let folder = subject.path.parent().unwrap_or_default();
    let own = Subject { dir: subject.dir, path: &folder };
    Ok(match identify(own)? {
        Some(Identity::Store { kind: StoreKind::Leveldb, .. }) => Some(Part::Of(folder, StoreKind::Leveldb)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::damage::Bench;
    use super::*;
    use crate::fsys::Dir;

    fn seen(bench: &Bench, name: &str) -> Option<Identity> {
        let dir = Dir::open(bench.path()).unwrap();
        let path = RelPath::new(name).unwrap();
        identify(Subject { dir: &dir, path: &path }).unwrap()
    }

    fn store(kind: StoreKind, by: By) -> Option<Identity> {
        Some(Identity::Store { kind, by })
    }

    #[test]
    fn names_of_databases_are_known_through_what_is_added_to_them() {
        for name in [
            "app.db",
            "app.db.corrupt",
            "app (1).db",
            "app.db (2)",
            "places.sqlite.corrupt",
            "a.db.bak",
            "a.db~",
            "state.vscdb.backup",
            "a.db.20260101",
            "a.db3",
        ] {
            assert!(is_database_name(name), "{name}");
        }
        for name in ["app", ".db", "app.txt", "db", "notes.corrupt", "a.db.gz", "app.db-wal", "a.20260101"] {
            assert!(!is_database_name(name), "{name}");
        }
    }

    #[test]
    fn a_name_alone_decides_nothing() {
        let bench = Bench::new("x");
        bench
            .write("notes.db", "tea\n")
            .write("odd.db", b"\x01\x02not random, no pages\x03")
            .write("a.xml", "");
        assert!(matches!(seen(&bench, "notes.db"), Some(Identity::Foreign(f)) if f.id == "text"));
        assert_eq!(seen(&bench, "odd.db"), None);
        assert_eq!(seen(&bench, "a.xml"), None);
    }

    #[test]
    fn what_lost_its_first_bytes_is_told_by_what_is_left() {
        let bench = Bench::new("x");
        bench.write("empty.db", "").write("zero.db", [0; 8192]).write("ff.db", [0xff; 4096]);
        for name in ["empty.db", "zero.db", "ff.db"] {
            assert_eq!(seen(&bench, name), store(StoreKind::Sqlite, By::Name), "{name}");
        }
        bench.write("zero.bin", [0; 8192]);
        assert_eq!(seen(&bench, "zero.bin"), None);
        let mut wal = b"\x37\x7f\x06\x82".to_vec();
        wal.resize(32, 0);
        bench.write("cookies", "").write("cookies-wal", wal);
        assert_eq!(seen(&bench, "cookies"), store(StoreKind::Sqlite, By::Sidecar));
        bench.write("ldb/CURRENT", [0; 16]).write("ldb/MANIFEST-000001", [0; 50]);
        assert_eq!(seen(&bench, "ldb"), store(StoreKind::Leveldb, By::Name));
        bench.write("b/index", "").write("b/data_0", "").write("b/data_1", "").write("b/data_2", "");
        assert_eq!(seen(&bench, "b"), store(StoreKind::BlockfileCache, By::Name));
        bench.write("shared_prefs/p.xml", [0; 300]);
        assert_eq!(seen(&bench, "shared_prefs/p.xml"), store(StoreKind::SharedPrefs, By::Name));
        bench.write("p.xml", "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<ma");
        assert_eq!(seen(&bench, "p.xml"), store(StoreKind::SharedPrefs, By::Structure));
    }

    #[test]
    fn a_part_belongs_to_its_store() {
        let bench = Bench::new("x");
        let mut journal = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7".to_vec();
        journal.resize(512, 0);
        bench.write("a.db", "").write("a.db-journal", &journal).write("gone.db-journal", &journal);
        bench.write("p.xml.bak", "<map />").write("empty-wal", "");
        let dir = Dir::open(bench.path()).unwrap();
        let part = |name: &str| part_of(Subject { dir: &dir, path: &RelPath::new(name).unwrap() }).unwrap();
        let path = |name: &str| RelPath::new(name).unwrap();
        assert_eq!(part("a.db-journal"), Some(Part::Of(path("a.db"), StoreKind::Sqlite)));
        assert_eq!(part("gone.db-journal"), Some(Part::LogAlone(path("gone.db"))));
        assert_eq!(part("p.xml.bak"), Some(Part::Of(path("p.xml"), StoreKind::SharedPrefs)));
        assert_eq!(part("empty-wal"), None);
        assert_eq!(part("a.db"), None);
    }
}
