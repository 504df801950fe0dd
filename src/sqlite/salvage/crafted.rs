//! Files that nobody but an attacker makes: they end, in work that is bounded
//! by the file, and what is sound in them comes back.

use super::tests::{Memory, salvage, wal_sample};
use super::*;
use crate::salvaged::Value;

const SIZE: usize = 1024;

/// A database of one table whose rows take several pages, and the table's root.
fn base(rows: u32) -> (Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA page_size={SIZE}; PRAGMA synchronous=OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
         INSERT INTO t SELECT i, 'row number ' || i, zeroblob(iif(i % 50, 20, 5000)) FROM n"
    ))
    .unwrap();
    let root: i64 =
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name='t'", [], |r| r.get(0)).unwrap();
    drop(db);
    (std::fs::read(path).unwrap(), root as usize)
}

fn page(db: &mut [u8], number: usize) -> &mut [u8] {
    &mut db[(number - 1) * SIZE..number * SIZE]
}

/// Children of an interior page with their places.
fn cells(db: &[u8], number: usize) -> Vec<usize> {
    let page = &db[(number - 1) * SIZE..];
    let head = if page[0] == 5 { 12 } else { 8 };
    let n = usize::from(u16::from_be_bytes([page[3], page[4]]));
    (0..n).map(|i| usize::from(u16::from_be_bytes([page[head + 2 * i], page[head + 2 * i + 1]]))).collect()
}

fn rows(mem: &Memory) -> usize {
    mem.rows.iter().filter(|r| r.doubts.is_empty()).count()
}

#[test]
fn pages_that_lead_to_themselves_are_read_once() {
    let (sound, root) = base(600);
    assert_eq!(rows(&salvage(sound.clone(), None, None).0), 600);
    assert_eq!(sound[(root - 1) * SIZE], 5, "an interior root");
    for which in 0..3 {
        let mut db = sound.clone();
        for at in cells(&db, root).into_iter().step_by(2) {
            let to = if which == 2 { 1 } else { root as u32 };
            page(&mut db, root)[at..at + 4].copy_from_slice(&to.to_be_bytes());
        }
        if which == 1 {
            page(&mut db, root)[8..12].copy_from_slice(&(root as u32).to_be_bytes());
        }
        let (mem, _) = salvage(db, None, None);
        // The leaves that lost their parent come back.
        assert!(rows(&mem) >= 500, "{}", rows(&mem));
        assert!(mem.rows.len() <= 600);
    }
}

#[test]
fn overflow_chains_that_never_end_are_cut() {
    let (sound, _) = base(200);
    let pages = sound.len() / SIZE;
    // Pages that belong to no tree, by their first byte: all lead to themselves, then in a ring.
    let over: Vec<usize> = (2..=pages)
        .filter(|p| {
            ![2, 5, 10, 13].contains(&sound[(p - 1) * SIZE])
                && sound[(p - 1) * SIZE + 4..].iter().take(64).all(|b| *b == 0)
        })
        .collect();
    assert!(over.len() > 5, "{}", over.len());
    for ring in [false, true] {
        let mut db = sound.clone();
        for (i, p) in over.iter().enumerate() {
            let next = if ring { over[(i + 1) % over.len()] } else { *p };
            page(&mut db, *p)[..4].copy_from_slice(&(next as u32).to_be_bytes());
        }
        let (mem, _) = salvage(db, None, None);
        assert!(rows(&mem) >= 190, "{}", rows(&mem));
        let most =
            mem.rows.iter().flat_map(|r| &r.values).map(|v| if let Value::Blob(b) = v { b.len() } else { 0 });
        assert!(most.max().unwrap() <= 5000);
    }
}

#[test]
fn a_payload_of_two_gigabytes_takes_no_memory() {
    let (sound, root) = base(40);
    let leaf = if sound[(root - 1) * SIZE] == 13 {
        root
    } else {
        let at = cells(&sound, root)[0];
        u32::from_be_bytes(sound[(root - 1) * SIZE + at..][..4].try_into().unwrap()) as usize
    };
    let mut db = sound.clone();
    let at = *cells(&db, leaf).last().unwrap();
    // Payload of 2^31 - 1 bytes, rowid 5, a header of one blob of that size.
    let cell = [0x87, 0xff, 0xff, 0xff, 0x7f, 5, 6, 0x8f, 0xff, 0xff, 0xff, 0x70];
    page(&mut db, leaf)[at..at + cell.len()].copy_from_slice(&cell);
    let (mem, _) = salvage(db, None, None);
    assert!(
        mem.rows.iter().flat_map(|r| &r.values).all(|v| !matches!(v, Value::Blob(b) if b.len() > 10_000))
    );
    assert!(rows(&mem) >= 10);
}

#[test]
fn a_free_list_in_a_ring_ends() {
    let (mut db, _) = base(100);
    // Its first trunk is page 2, which names itself and every page.
    db[32..36].copy_from_slice(&2_u32.to_be_bytes());
    db[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
    let (mem, _) = salvage(db.clone(), None, None);
    assert_eq!(mem.rows.len(), 100);
    let more = db.len() / SIZE + 1;
    db.resize(more * SIZE, 0);
    db[32..36].copy_from_slice(&(more as u32).to_be_bytes());
    let trunk = page(&mut db, more);
    trunk[..4].copy_from_slice(&(more as u32).to_be_bytes());
    trunk[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let (mem, _) = salvage(db, None, None);
    assert_eq!(mem.rows.len(), 100);
}

#[test]
fn a_tree_of_ten_thousand_levels_ends() {
    let (mut db, root) = base(3);
    let leaf = page(&mut db, root).to_vec();
    let first = db.len() / SIZE + 1;
    for i in 0..10_000 {
        let mut level = vec![0; SIZE];
        level[0] = 5;
        level[5..7].copy_from_slice(&(SIZE as u16).to_be_bytes());
        level[8..12].copy_from_slice(&((first + i + 1) as u32).to_be_bytes());
        db.extend(level);
    }
    db.extend(leaf);
    let top = db[(first - 1) * SIZE..first * SIZE].to_vec();
    page(&mut db, root).copy_from_slice(&top);
    let (mem, _) = salvage(db, None, None);
    // The leaf at the end is deeper than SQLite goes, but its rows are there.
    assert_eq!(mem.rows.len() + mem.orphans.len(), 3);
}

#[test]
fn a_record_of_a_million_columns_is_none() {
    // Header of a million NULLs: its length, then a serial type each.
    let (header, payload) = (1_000_003_u64, 1_000_003_u64);
    let mut bytes =
        vec![0x80 | (header >> 14) as u8, 0x80 | (header >> 7 & 0x7f) as u8, (header & 0x7f) as u8];
    bytes.resize(payload as usize, 0);
    let mut slots = Vec::new();
    assert!(record::decode(&bytes, payload, &mut slots).is_err());
    assert!(slots.len() <= record::MAX_COLUMNS);
    // A statement of as many columns is too long to be read, or has no such table.
    let columns: Vec<String> = (0..1_000_000).map(|i| format!("c{i}")).collect();
    let sql = format!("CREATE TABLE t({})", columns.join(","));
    assert!(crate::ddl::parse(&sql).is_err());
}

#[test]
fn a_schema_of_a_hundred_thousand_rows_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    db.execute_batch(
        "PRAGMA synchronous=OFF; CREATE TABLE t(a); INSERT INTO t VALUES(1),(2),(3);
         PRAGMA writable_schema=ON;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100000)
         INSERT INTO sqlite_schema SELECT 'table', 'u'||i, 'u'||i, 2, 'CREATE TABLE u'||i||'(a, b TEXT)' FROM n",
    )
    .unwrap();
    drop(db);
    let (mem, _) = salvage(std::fs::read(path).unwrap(), None, None);
    assert!(mem.schema.len() >= 100_000, "{}", mem.schema.len());
    // All name the same root; only one table has its rows.
    assert_eq!(mem.rows.len(), 3);
}

#[test]
fn thousands_of_hurt_statements_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    db.execute_batch(
        "PRAGMA synchronous=OFF; CREATE TABLE t(a TEXT, b INT, c); INSERT INTO t VALUES('x',2,3),('y',2,3);
         PRAGMA writable_schema=ON;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<4000)
         INSERT INTO sqlite_schema SELECT 'table', 'u'||i, 'u'||i, 2,
             iif(i % 2, 'CREATE TABLE u'||i||'((((((((((a INT, b TEXT', 'CREATE TABLE u'||i||'(a TEXTz b WORD, c)')
         FROM n",
    )
    .unwrap();
    drop(db);
    let (mem, _) = salvage(std::fs::read(path).unwrap(), None, None);
    assert!(mem.schema.len() >= 2000, "{}", mem.schema.len());
    assert_eq!(mem.rows.len(), 2);
}

#[test]
fn a_log_that_speaks_of_billions_of_pages_takes_no_memory() {
    let (db, wal, s) = wal_sample();
    let size = usize::from(u16::from_be_bytes([db[16], db[17]]));
    let frames = (wal.len() - 32) / (24 + size);
    for last_only in [true, false] {
        let mut wal = wal.clone();
        for i in 0..frames {
            let at = 32 + i * (24 + size) + 4;
            if wal[at..at + 4] != [0; 4] && (i + 1 == frames || !last_only) {
                wal[at..at + 4].copy_from_slice(&0x7fff_0000_u32.to_be_bytes());
            }
        }
        let (mem, report) = salvage(db.clone(), Some(wal), None);
        assert!(report.pages.total < 100_000, "{report:?}");
        assert!(mem.rows.len() * 10 >= s.truth.len() * 9, "{} of {}", mem.rows.len(), s.truth.len());
    }
}
