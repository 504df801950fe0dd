//! Formats that this program knows by name and does not check: other
//! databases, archives, text in place of a database. A file or folder of one
//! of them is neither sound nor damaged here; it is named, and said how to
//! look into it.
//!
//! A format is told by two traits at least (a magic number and a field or a
//! length that agrees with it), so that a damaged store whose first bytes
//! happen to look like another format's is not taken for that.

use std::io;

use super::identify::extension;
use super::pages;
use super::read_at::{OpenFile, ReadAt as _, read_vec, u32_le};
use super::{Glimpse, Subject};
use crate::fsys::Kind;
#[cfg(test)]
use crate::fsys::RelPath;

/// A format that is named and not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// The word used in JSON: `rocksdb`.
    pub id: &'static str,
    /// With its article, for a sentence: `a RocksDB database`.
    pub name: &'static str,
    /// How the user can look into it.
    pub how_to_see: &'static str,
    /// What it is by nature.
    pub family: Family,
}

/// What a foreign format is by nature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A database or settings of another engine.
    Database,
    /// An archive or a compressed file, which may hold a store.
    Archive,
    /// Text where a database would be.
    Text,
}

const fn database(id: &'static str, name: &'static str, how_to_see: &'static str) -> Foreign {
    Foreign { id, name, how_to_see, family: Family::Database }
}

const fn archive(id: &'static str, name: &'static str, how_to_see: &'static str) -> Foreign {
    Foreign { id, name, how_to_see, family: Family::Archive }
}

const fn text(id: &'static str, name: &'static str, how_to_see: &'static str) -> Foreign {
    Foreign { id, name, how_to_see, family: Family::Text }
}

pub(super) const ROCKSDB: Foreign =
    database("rocksdb", "a RocksDB database", "check it with RocksDB's `ldb --db=FOLDER checkconsistency`");
pub(super) const WIREDTIGER: Foreign =
    database("wiredtiger", "a WiredTiger (MongoDB) database", "check it with `wt verify`");
const LMDB: Foreign = database("lmdb", "an LMDB database", "check it with `mdb_stat -af` or `mdb_dump`");
const DUCKDB: Foreign = database("duckdb", "a DuckDB database", "open a copy with the `duckdb` shell");
const REALM: Foreign = database("realm", "a Realm database", "open a copy with Realm Studio");
const H2: Foreign = database("h2", "an H2 database", "check a copy with H2's Recover tool");
const ACCESS: Foreign =
    database("access", "a Microsoft Access database", "check it with `mdb-tables` of mdbtools");
const SQLITE2: Foreign =
    database("sqlite2", "a SQLite 2 database", "turn it into SQLite 3: `sqlite FILE .dump | sqlite3 NEW.db`");
const BERKELEY: Foreign = database("berkeley-db", "a Berkeley DB database", "check it with `db_verify`");
const BOLT: Foreign = database("bbolt", "a bbolt database", "check it with `bbolt check`");
const REDB: Foreign = database("redb", "a redb database", "open a copy with the program that wrote it");
const GDBM: Foreign = database("gdbm", "a GDBM database", "check it with `gdbmtool`");
const ESE: Foreign =
    database("ese", "an Extensible Storage Engine database", "check it with Windows' `esentutl /g`");
const OLE: Foreign = database("ole", "an OLE compound file", "open it with the program that wrote it");
const DATASTORE: Foreign = database(
    "datastore",
    "an Android DataStore preferences file",
    "decode a copy with `protoc --decode_raw`",
);
const ABX: Foreign = database("android-binary-xml", "an Android binary XML file", "decode it with `abx2xml`");
pub(super) const SQLCIPHER: Foreign = database(
    "sqlcipher",
    "an encrypted SQLite database (SQLCipher)",
    "check it with `PRAGMA cipher_integrity_check`; that needs the app's key",
);
pub(super) const JSON_COMMENTS: Foreign =
    database("jsonc", "JSON with comments", "a parser for JSON with comments reads it");
pub(super) const JSON_LINES: Foreign =
    database("json-lines", "JSON Lines", "`jq . FILE` reads it line by line");

const GZIP: Foreign =
    archive("gzip", "a gzip archive", "unpack a copy with `gzip -dk FILE` and check what comes out");
const ZIP: Foreign =
    archive("zip", "a ZIP archive", "unpack it with `unzip FILE -d FOLDER` and check the folder");
const ANDROID_BACKUP: Foreign = archive(
    "android-backup",
    "an Android backup (.ab)",
    "unpack it with `(printf '\\037\\213\\010\\0\\0\\0\\0\\0'; tail -c +25 FILE) | gzip -dc | tar x` and check the folder",
);
const ENCRYPTED_BACKUP: Foreign = archive(
    "android-backup",
    "an encrypted Android backup (.ab)",
    "unpack it with Android Backup Extractor and its password",
);
const XZ: Foreign =
    archive("xz", "an xz archive", "unpack a copy with `xz -dk FILE` and check what comes out");
const BZIP2: Foreign =
    archive("bzip2", "a bzip2 archive", "unpack a copy with `bzip2 -dk FILE` and check what comes out");
const ZSTD: Foreign =
    archive("zstd", "a Zstandard archive", "unpack it with `zstd -d FILE` and check what comes out");
const LZ4: Foreign =
    archive("lz4", "an LZ4 archive", "unpack it with `lz4 -d FILE` and check what comes out");
const SEVEN_ZIP: Foreign =
    archive("7z", "a 7-Zip archive", "unpack it with `7z x FILE` and check the folder");
const RAR: Foreign = archive("rar", "a RAR archive", "unpack it with `unrar x FILE` and check the folder");
const TAR: Foreign = archive("tar", "a tar archive", "unpack it with `tar xf FILE` and check the folder");

const SQL_DUMP: Foreign =
    text("sql-dump", "an SQL dump in text form", "load it into a new database: `sqlite3 NEW.db < FILE`");
const BASE64: Foreign =
    text("base64", "a database in Base64", "decode it with `base64 -d FILE > NEW.db` and check that");
const HTML: Foreign =
    text("html", "an HTML page, as a server sends it in place of a file", "fetch the file again");
const PLAIN_TEXT: Foreign = text("text", "plain text, not a database", "open it in an editor");

/// What the tests below see of a file.
struct Look<'a> {
    head: &'a [u8],
    len: u64,
    /// In lower case.
    name: String,
    file: &'a OpenFile,
}

impl Look<'_> {
    fn at(&self, offset: usize, magic: &[u8]) -> bool {
        self.head.get(offset..).is_some_and(|h| h.starts_with(magic))
    }

    fn word(&self, offset: usize) -> Option<u32> {
        u32_le(self.head, offset)
    }
}

/// The head of a file as text, when it is text.
fn text_of(head: &[u8]) -> Option<&str> {
    let whole = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The end of what was read may cut a character.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(head.get(..e.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    let odd = |b: u8| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0c);
    (!whole.is_empty() && !whole.bytes().any(odd)).then_some(whole)
}

/// Names the foreign binary format of a file or folder; `None` when it has none
/// that is known here.
///
/// # Errors
/// The system's error.
pub fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<Option<Foreign>> {
    if glimpse.is_dir() {
        return folder(subject, glimpse);
    }
    if !glimpse.is_file() || glimpse.head.is_empty() {
        return Ok(None);
    }
    let file = OpenFile::new(subject.dir.open_file(subject.path)?)?;
    let look = Look { head: &glimpse.head, len: glimpse.meta.size, name: name_of(subject), file: &file };
    Ok(database_file(&look)?.or_else(|| archive_file(&look)))
}

/// Names the text that stands where a database is expected; a dump or an
/// encoded database also elsewhere.
pub(super) fn recognise_text(subject: Subject<'_>, glimpse: &Glimpse) -> Option<Foreign> {
    text_file(text_of(&glimpse.head)?, &name_of(subject))
}

fn name_of(subject: Subject<'_>) -> String {
    subject.path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// The same for what was not looked at yet; `None` also for what is not there,
/// such as preferences of which only the backup is.
pub(super) fn of(subject: Subject<'_>) -> io::Result<Option<Foreign>> {
    match Glimpse::of(subject) {
        Ok(glimpse) => recognise(subject, &glimpse),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn folder(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<Option<Foreign>> {
    if glimpse.has_file("WiredTiger") && glimpse.has_file("WiredTiger.wt") {
        return Ok(Some(WIREDTIGER));
    }
    Ok(is_rocksdb(subject, glimpse)?.then_some(ROCKSDB))
}

/// RocksDB began as a copy of LevelDB and kept its names, and added an
/// `OPTIONS-` file, an `IDENTITY` and another magic number in its tables.
pub(super) fn is_rocksdb(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    /// `kBlockBasedTableMagicNumber` of RocksDB's `block_based_table_builder.cc`.
    const TABLE: &[u8] = b"\xf7\xcf\xf4\x85\xb7\x41\xe2\x88";
    const TABLES_SEEN: usize = 4;
    let files = || {
        glimpse
            .entries
            .iter()
            .filter(|e| e.meta.kind == Kind::File)
            .filter_map(|e| e.name.to_str().map(|n| (n, e)))
    };
    let alike = files().any(|(n, _)| n == "CURRENT" || n.starts_with("MANIFEST-"));
    let options = files().any(|(n, _)| {
        n.strip_prefix("OPTIONS-").is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
    });
    let marks = [options, glimpse.has_file("IDENTITY"), files().any(|(n, _)| n.starts_with("marker."))];
    let marks = marks.iter().filter(|m| **m).count();
    if marks >= 2 || (alike && marks == 1) {
        return Ok(true);
    }
    for (name, entry) in files().filter(|(n, _)| extension(n) == "sst").take(TABLES_SEEN) {
        if entry.meta.size < TABLE.len() as u64 {
            continue;
        }
        let rel = subject.path.join(name).map_err(io::Error::other)?;
        let table = OpenFile::new(subject.dir.open_file(&rel)?)?;
        let end = table.len().saturating_sub(TABLE.len() as u64);
        if table.len() >= TABLE.len() as u64 && read_vec(&table, end, TABLE.len())? == TABLE {
            return Ok(true);
        }
    }
    Ok(false)
}

fn database_file(look: &Look<'_>) -> io::Result<Option<Foreign>> {
    let word64 = |offset: usize| {
        look.head.get(offset..offset + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
    };
    Ok(Some(if lmdb(look)? {
        LMDB
    } else if look.at(8, b"DUCK") && word64(12).is_some_and(|v| (1..1000).contains(&v)) {
        DUCKDB
    } else if look.at(16, b"T-DB") && [word64(0), word64(8)].iter().flatten().any(|top| *top < look.len) {
        REALM
    } else if (look.at(0, b"H:2,") || look.at(0, b"H:3,"))
        && [&b"block:"[..], b"blockSize:", b"format:"]
            .iter()
            .all(|f| memchr::memmem::find(look.head, f).is_some())
    {
        H2
    } else if look.at(0, b"\0\x01\0\0")
        && (look.at(4, b"Standard Jet DB\0") || look.at(4, b"Standard ACE DB\0"))
    {
        ACCESS
    } else if look.at(0, b"** This file contains an SQLite 2") {
        SQLITE2
    } else if berkeley(look) {
        BERKELEY
    } else if [16, 4096 + 16]
        .iter()
        .any(|at| look.word(*at) == Some(0xed0c_daed) && look.word(*at + 4) == Some(2))
    {
        BOLT
    } else if look.at(0, b"redb\x1a\x0a\xa9\x0d\x0a") {
        REDB
    } else if matches!(look.word(0), Some(0x1357_9acd..=0x1357_9acf))
        && look.word(4).is_some_and(u32::is_power_of_two)
    {
        GDBM
    } else if look.word(4) == Some(0x89ab_cdef)
        && look.word(8).is_some_and(|v| v < 0x1000)
        && look.len >= 4096
    {
        ESE
    } else if look.at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") && look.at(28, b"\xfe\xff") {
        OLE
    } else if look.at(0, b"ABX\0") {
        ABX
    } else if is_datastore(look) {
        DATASTORE
    } else if has_plain_header(look)? {
        SQLCIPHER
    } else {
        return Ok(None);
    }))
}

/// Two meta pages, each with the magic number behind its page header and a
/// data version (LMDB `mdb.c`); the second counts when the first is damaged.
fn lmdb(look: &Look<'_>) -> io::Result<bool> {
    const MAGIC: u32 = 0xbeef_c0de;
    let sound = |bytes: &[u8], at: usize| {
        u32_le(bytes, at) == Some(MAGIC) && matches!(u32_le(bytes, at + 4), Some(1 | 2 | 999))
    };
    // 16 bytes of page header on 64-bit systems, 12 on 32-bit ones.
    if sound(look.head, 16) || sound(look.head, 12) {
        return Ok(true);
    }
    for size in [4096_u64, 16384, 65536] {
        if look.len >= size + 24 {
            let meta = read_vec(look.file, size, 24)?;
            if sound(&meta, 16) || sound(&meta, 12) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A meta page: magic at byte 12, version at 16, page size at 20, in either
/// byte order (Berkeley DB `db_page.h`).
fn berkeley(look: &Look<'_>) -> bool {
    let fields = |read: fn([u8; 4]) -> u32| {
        let field = |at: usize| {
            look.head.get(at..at + 4).and_then(|b| b.try_into().ok()).map(read).unwrap_or_default()
        };
        let magic = matches!(field(12), 0x0005_3162 | 0x0006_1561 | 0x0004_2253 | 0x0007_4582);
        magic && (1..64).contains(&field(16)) && field(20).is_power_of_two()
    };
    fields(u32::from_le_bytes) || fields(u32::from_be_bytes)
}

/// Jetpack DataStore: a protocol buffer that is a map from names to values
/// (`preferences.proto`: field 1, each with name 1 and value 2).
fn is_datastore(look: &Look<'_>) -> bool {
    extension(&look.name) == "preferences_pb" && look.head.first() == Some(&0x0a)
        || (extension(&look.name) == "pb" && map_entry(look.head).is_some_and(str::is_ascii))
}

/// The name of the first entry of such a map.
fn map_entry(bytes: &[u8]) -> Option<&str> {
    let [0x0a, len, 0x0a, name_len, rest @ ..] = bytes else { return None };
    let (len, name_len) = (usize::from(*len), usize::from(*name_len));
    let name = rest.get(..name_len)?;
    (len < 0x80 && name_len > 0 && name_len + 4 <= len && rest.get(name_len) == Some(&0x12)).then_some(())?;
    std::str::from_utf8(name).ok()
}

/// SQLCipher leaves the first 16 to 32 bytes readable when it is asked to (iOS
/// wants that), and encrypts the rest: behind a good magic number the fields
/// that must be zero are not, and every page is random.
fn has_plain_header(look: &Look<'_>) -> io::Result<bool> {
    if !look.at(0, b"SQLite format 3\0") || look.len < 1024 || !look.len.is_multiple_of(512) {
        return Ok(false);
    }
    let reserved_is_zero = look.head.get(72..92).is_some_and(|r| r.iter().all(|b| *b == 0));
    let root = matches!(look.head.get(100), Some(5 | 13)) && look.head.get(21..24) == Some(&[64, 32, 32]);
    if reserved_is_zero || (root && matches!(look.head.get(44..48), Some([0, 0, 0, 0..=4]))) {
        return Ok(false);
    }
    pages::is_random(look.file, 32)
}

fn archive_file(look: &Look<'_>) -> Option<Foreign> {
    Some(if look.at(0, b"\x1f\x8b\x08") && look.head.get(3).is_some_and(|flags| flags & 0xe0 == 0) {
        // Inflates, so that four bytes that a damage left do not decide.
        inflates(look).then_some(GZIP)?
    } else if look.at(0, b"PK\x03\x04") || look.at(0, b"PK\x05\x06") {
        ZIP
    } else if look.at(0, b"ANDROID BACKUP\n") {
        let lines: Vec<&[u8]> = look.head.splitn(5, |b| *b == b'\n').collect();
        if lines.get(3).is_some_and(|l| *l == b"none") { ANDROID_BACKUP } else { ENCRYPTED_BACKUP }
    } else if look.at(0, b"\xfd7zXZ\0") {
        XZ
    } else if look.at(0, b"BZh")
        && (look.at(4, b"\x31\x41\x59\x26\x53\x59") || look.at(4, b"\x17\x72\x45\x38\x50\x90"))
    {
        BZIP2
    } else if look.at(0, b"\x28\xb5\x2f\xfd") {
        ZSTD
    } else if look.at(0, b"\x04\x22\x4d\x18") {
        LZ4
    } else if look.at(0, b"7z\xbc\xaf\x27\x1c") {
        SEVEN_ZIP
    } else if look.at(0, b"Rar!\x1a\x07") {
        RAR
    } else if look.at(257, b"ustar") {
        TAR
    } else {
        return None;
    })
}

fn inflates(look: &Look<'_>) -> bool {
    use std::io::Read as _;
    let mut out = [0; 64];
    let mut stream = flate2::read::MultiGzDecoder::new(look.head);
    match stream.read(&mut out) {
        Ok(n) => n > 0 || look.len < 64,
        // A header that goes on behind what was read, such as a long name.
        Err(e) => e.kind() == io::ErrorKind::UnexpectedEof && look.len > look.head.len() as u64,
    }
}

fn text_file(text: &str, name: &str) -> Option<Foreign> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let begins = |word: &str| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    if text.starts_with("U1FMaXRlIGZvcm1hdCAz") {
        return Some(BASE64);
    }
    let dump = ["PRAGMA foreign_keys", "BEGIN TRANSACTION;", "BEGIN;", "CREATE TABLE ", "-- SQLite"];
    if dump.iter().any(|w| begins(w)) && (text.contains("CREATE TABLE") || text.contains("INSERT INTO")) {
        return Some(SQL_DUMP);
    }
    // What else is text is worth a word only where a database is expected.
    if !super::identify::is_database_name(name) {
        return None;
    }
    let html = begins("<!doctype html") || begins("<html");
    Some(if html { HTML } else { PLAIN_TEXT })
}

/// Whether an archive probably holds a store: by its own name without the
/// archive's ending, by the first name in it, or by how its content begins.
#[must_use]
pub fn may_hold_store(subject: Subject<'_>) -> bool {
    use std::io::Read as _;
    let name = name_of(subject);
    let inner = name.rsplit_once('.').map_or("", |(inner, _)| inner);
    if extension(&name) == "ab" || [name.as_str(), inner].iter().any(|n| super::identify::is_database_name(n))
    {
        return true;
    }
    let Ok(glimpse) = Glimpse::of(subject) else { return false };
    let head = glimpse.head.as_slice();
    let text = |from: usize, len: usize| {
        head.get(from..from + len).map(|n| String::from_utf8_lossy(n).trim_end_matches('\0').to_lowercase())
    };
    // The name in the first local header of a ZIP file, and in the first header of a tar file.
    let first = if head.starts_with(b"PK\x03\x04") {
        head.get(26..28).and_then(|n| text(30, usize::from(u16::from_le_bytes([n[0], n[1]]))))
    } else if head.get(257..).is_some_and(|h| h.starts_with(b"ustar")) {
        text(0, 100)
    } else {
        None
    };
    if first.is_some_and(|n| super::identify::is_database_name(n.rsplit('/').next().unwrap_or_default())) {
        return true;
    }
    let mut begins = [0; 16];
    head.starts_with(b"\x1f\x8b")
        && flate2::read::MultiGzDecoder::new(head).read_exact(&mut begins).is_ok()
        && begins == *b"SQLite format 3\0"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::damage::Bench;
    use super::*;
    use crate::fsys::Dir;

    fn named(name: &str, bytes: &[u8]) -> Option<&'static str> {
        let bench = Bench::new(name);
        bench.write(name, bytes);
        seen(&bench, name)
    }

    fn seen(bench: &Bench, name: &str) -> Option<&'static str> {
        let dir = Dir::open(bench.path()).unwrap();
        let path = RelPath::new(name).unwrap();
        let subject = Subject { dir: &dir, path: &path };
        let glimpse = Glimpse::of(subject).unwrap();
        recognise(subject, &glimpse).unwrap().or_else(|| recognise_text(subject, &glimpse)).map(|f| f.id)
    }

    fn padded(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut out = vec![0; 8192];
        for (at, part) in parts {
            out[*at..at + part.len()].copy_from_slice(part);
        }
        out
    }

    #[test]
    fn other_databases_are_told_by_two_traits_and_not_by_one() {
        let magic = 0xbeef_c0de_u32.to_le_bytes();
        assert_eq!(named("data.mdb", &padded(&[(16, &magic), (20, &[1])])), Some("lmdb"));
        assert_eq!(named("data.mdb", &padded(&[(4112, &magic), (4116, &[1])])), Some("lmdb"));
        assert_eq!(named("data.mdb", &padded(&[(16, &magic), (20, &[77])])), None);
        assert_eq!(named("a.db", &padded(&[(8, b"DUCK"), (12, &[64])])), Some("duckdb"));
        assert_eq!(named("a.db", &padded(&[(8, b"DUCK"), (12, &[0xff; 8])])), None);
        assert_eq!(named("a.realm", &padded(&[(1, &[16]), (16, b"T-DB")])), Some("realm"));
        assert_eq!(named("a.mdb", &padded(&[(1, &[1]), (4, b"Standard Jet DB\0")])), Some("access"));
        assert_eq!(named("a.accdb", &padded(&[(1, &[1]), (4, b"Standard ACE DB\0")])), Some("access"));
        let h2 = b"H:2,block:2,blockSize:1000,chunk:1,format:3,fletcher:0\n";
        assert_eq!(named("a.mv.db", &padded(&[(0, h2)])), Some("h2"));
        assert_eq!(named("a", b"** This file contains an SQLite 2.1 database **\0"), Some("sqlite2"));
        let hash = [0x61, 0x15, 0x06, 0, 9, 0, 0, 0, 0, 16, 0, 0];
        assert_eq!(named("a.db", &padded(&[(12, &hash)])), Some("berkeley-db"));
        assert_eq!(
            named("prefs.preferences_pb", b"\x0a\x08\x0a\x01n\x12\x03\x18\xac\x02"),
            Some("datastore")
        );
    }

    #[test]
    fn rocksdb_is_no_leveldb_with_or_without_tables() {
        let bench = Bench::new("r");
        bench
            .write("r/CURRENT", "MANIFEST-000001\n")
            .write("r/MANIFEST-000001", "")
            .write("r/OPTIONS-000007", "");
        assert_eq!(seen(&bench, "r"), Some("rocksdb"));
        let bench = Bench::new("r");
        bench.write("r/CURRENT", "x").write("r/000009.sst", b"block\xf7\xcf\xf4\x85\xb7\x41\xe2\x88");
        assert_eq!(seen(&bench, "r"), Some("rocksdb"));
        let bench = Bench::new("r");
        bench.write("r/CURRENT", "MANIFEST-000001\n").write("r/000009.sst", b"W\xfb\x80\x8b\x24\x75\x47\xdb");
        assert_eq!(seen(&bench, "r"), None);
    }

    #[test]
    fn archives_and_text_are_named() {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"SQLite format 3\0").unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(named("app.db", &gzip), Some("gzip"));
        assert_eq!(named("app.db", &padded(&[(0, b"\x1f\x8b\x08\xff")])), None);
        assert_eq!(named("b.ab", b"ANDROID BACKUP\n5\n1\nnone\nx"), Some("android-backup"));
        assert_eq!(named("a.tar", &padded(&[(257, b"ustar")])), Some("tar"));
        assert_eq!(named("app.db", b"U1FMaXRlIGZvcm1hdCAzABAAAQEAQCAg"), Some("base64"));
        assert_eq!(named("a", b"BEGIN TRANSACTION;\nCREATE TABLE t(a);\nCOMMIT;\n"), Some("sql-dump"));
        assert_eq!(named("app.db", b"<!DOCTYPE html><title>403</title>"), Some("html"));
        assert_eq!(named("page.html", b"<!DOCTYPE html><title>403</title>"), None);
        assert_eq!(named("notes.db", "čaj, kava\n".as_bytes()), Some("text"));
        assert_eq!(named("notes.txt", b"tea\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            named("any.db", &bytes);
        }
    }
}
