//! Small real databases that the fuzzer changes: it cannot invent a b-tree.

use std::sync::LazyLock;

/// A database, its log and its journal.
pub struct Base {
    pub db: Vec<u8>,
    pub wal: Vec<u8>,
    pub journal: Vec<u8>,
}

/// One with small pages and deep trees, one with pointer maps and a log, one in UTF-16 with a hot journal.
pub static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap_or_default();
    let open = |name: &str, pragmas: &str| {
        let db = rusqlite::Connection::open(dir.path().join(name)).unwrap();
        db.execute_batch(pragmas).unwrap();
        db.execute_batch(
            "PRAGMA synchronous=OFF;
             CREATE TABLE msgs(id INTEGER PRIMARY KEY, chat INT NOT NULL, body TEXT, data BLOB);
             CREATE INDEX msgs_chat ON msgs(chat, body);
             CREATE TABLE kv(k TEXT PRIMARY KEY, v, w REAL) WITHOUT ROWID;
             CREATE VIEW recent AS SELECT * FROM msgs;",
        )
        .unwrap();
        db
    };
    let fill = |db: &rusqlite::Connection, rows: u32| {
        db.execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
             INSERT INTO msgs(chat,body,data) SELECT i%7, 'message '||i, zeroblob(iif(i%9,i%40,1500)) FROM n;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
             INSERT OR REPLACE INTO kv SELECT 'key '||i*31%997, i, i/4.0 FROM n;
             DELETE FROM msgs WHERE id%13=5;"
        ))
        .unwrap();
    };
    let mut out = Vec::new();
    let db = open("a.db", "PRAGMA page_size=512");
    fill(&db, 120);
    drop(db);
    out.push(Base { db: read("a.db"), wal: Vec::new(), journal: Vec::new() });
    let db = open("b.db", "PRAGMA page_size=1024; PRAGMA auto_vacuum=1; PRAGMA journal_mode=WAL");
    fill(&db, 40);
    db.execute_batch("PRAGMA wal_checkpoint").unwrap();
    fill(&db, 40);
    out.push(Base { db: read("b.db"), wal: read("b.db-wal"), journal: Vec::new() });
    drop(db);
    let db = open("c.db", "PRAGMA page_size=512; PRAGMA encoding='UTF-16le'; PRAGMA cache_size=2");
    fill(&db, 40);
    db.execute_batch("BEGIN").unwrap();
    fill(&db, 60);
    out.push(Base { db: read("c.db"), wal: Vec::new(), journal: read("c.db-journal") });
    out
});

/// Changes `bytes` as `script` says: two bytes where, one how many, then what.
pub fn patch(bytes: &mut Vec<u8>, mut script: &[u8]) {
    while let [a, b, n, rest @ ..] = script {
        let at = usize::from(u16::from_le_bytes([*a, *b])) % (bytes.len() + 1);
        let (what, rest) = rest.split_at(usize::from(n % 16).min(rest.len()));
        match n / 16 {
            // Cut, zero a sector, insert; else overwrite.
            0 if what.is_empty() => bytes.truncate(at),
            1 => {
                let end = (at + 512).min(bytes.len());
                bytes[at..end].fill(0);
            }
            2 => drop(bytes.splice(at..at, what.iter().copied())),
            _ => {
                for (to, from) in bytes[at..].iter_mut().zip(what) {
                    *to = *from;
                }
            }
        }
        script = rest;
    }
}
