//! The first page of a new database, made byte by byte.
//!
//! Reserved bytes, schema format and auto-vacuum can be set only before the
//! first page is written, and SQLite offers no statement for some of them; it
//! honours whatever the header of an empty database says (fileformat2, "The
//! Database Header").

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::format::{Encoding, HEADER_LEN, MAGIC};
use crate::salvaged::Settings;

/// Makes an empty database of one page at `path`, which must not exist.
///
/// # Errors
/// The system's error.
pub(super) fn create(path: &Path, settings: &Settings) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(&first_page(settings))
}

/// Page 1 of an empty database.
fn first_page(settings: &Settings) -> Vec<u8> {
    let size = page_size(settings);
    let reserved = reserved(settings);
    let mut page = vec![0_u8; size as usize];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, MAGIC);
    // 65536 does not fit its field and is written as 1.
    put(16, &u16::try_from(size).unwrap_or(1).to_be_bytes());
    // Rollback journal while it is written; payload fractions are constants.
    put(18, &[1, 1, reserved, 64, 32, 32]);
    put(28, &1_u32.to_be_bytes());
    put(44, &settings.schema_format.min(4).to_be_bytes());
    put(48, &settings.default_cache_size.to_be_bytes());
    put(52, &u32::from(settings.auto_vacuum != 0).to_be_bytes());
    put(56, &encoding_number(settings.encoding).to_be_bytes());
    put(60, &settings.user_version.to_be_bytes());
    put(64, &u32::from(settings.auto_vacuum == 2).to_be_bytes());
    put(68, &settings.application_id.to_be_bytes());
    // An empty table leaf: no cells, content starts at the end of the page.
    put(HEADER_LEN, &[13]);
    let usable = size - u32::from(reserved);
    put(HEADER_LEN + 5, &u16::try_from(usable).unwrap_or(0).to_be_bytes());
    page
}

/// The page size that is used: a legal one, whatever was asked for.
fn page_size(settings: &Settings) -> u32 {
    let size = settings.page_size;
    if size.is_power_of_two() && (512..=65536).contains(&size) { size } else { 4096 }
}

/// SQLite refuses pages with fewer than 480 usable bytes.
fn reserved(settings: &Settings) -> u8 {
    if page_size(settings) - u32::from(settings.reserved) >= 480 { settings.reserved } else { 0 }
}

fn encoding_number(encoding: Encoding) -> u32 {
    match encoding {
        Encoding::Utf8 => 1,
        Encoding::Utf16le => 2,
        Encoding::Utf16be => 3,
    }
}

/// Marks a finished database as one in WAL mode when `wal` asks for it, and
/// makes it durable. No connection may be open on it.
///
/// # Errors
/// The system's error.
pub(crate) fn seal(path: &Path, wal: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let version = if wal { 2 } else { 1 };
    let mut now = [0_u8; 2];
    file.seek(SeekFrom::Start(18))?;
    file.read_exact(&mut now)?;
    if now != [version; 2] {
        file.seek(SeekFrom::Start(18))?;
        file.write_all(&[version; 2])?;
    }
    file.sync_all()?;
    sync_parent(path)
}

/// Makes the name of a new file durable.
///
/// # Errors
/// The system's error.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(parent)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn sqlite_takes_every_setting_from_the_page() {
        for (page_size, reserved, encoding, name) in [
            (512, 0, Encoding::Utf8, "UTF-8"),
            (512, 255, Encoding::Utf8, "UTF-8"),
            (4096, 8, Encoding::Utf16le, "UTF-16le"),
            (65536, 40, Encoding::Utf16be, "UTF-16be"),
        ] {
            for auto_vacuum in 0..=2_u8 {
                let settings = Settings {
                    page_size,
                    reserved,
                    encoding,
                    auto_vacuum,
                    user_version: -7,
                    application_id: 0x1234_5678,
                    default_cache_size: -4000,
                    schema_format: 1,
                    wal_mode: true,
                };
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("new.db");
                create(&path, &settings).unwrap();
                let db = Connection::open(&path).unwrap();
                let int = |pragma: &str| {
                    db.query_row(&format!("PRAGMA {pragma}"), [], |r| r.get::<_, i64>(0)).unwrap()
                };
                db.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(100000));").unwrap();
                assert_eq!(int("page_size"), i64::from(page_size));
                assert_eq!(int("auto_vacuum"), if auto_vacuum == 0 { 0 } else { i64::from(auto_vacuum) });
                assert_eq!(int("user_version"), -7);
                assert_eq!(int("application_id"), 0x1234_5678);
                assert_eq!(int("default_cache_size"), 4000);
                let text = |sql: &str| db.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
                assert_eq!(text("PRAGMA encoding"), name);
                assert_eq!(text("PRAGMA integrity_check"), "ok");
                drop(db);
                seal(&path, true).unwrap();
                let bytes = std::fs::read(&path).unwrap();
                assert_eq!(bytes[18..20], [2, 2]);
                let expected = if page_size - u32::from(reserved) >= 480 { reserved } else { 0 };
                assert_eq!(bytes[20], expected);
                assert_eq!(bytes[44..48], [0, 0, 0, 1]);
                let db = Connection::open(&path).unwrap();
                assert_eq!(
                    db.query_row("PRAGMA journal_mode", [], |r| r.get::<_, String>(0)).unwrap(),
                    "wal"
                );
            }
        }
    }
}
