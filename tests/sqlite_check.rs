//! The database checker against SQLite's own: whatever `integrity_check` sees,
//! the checker sees; what only the checker sees is of a kind that SQLite does
//! not look at; a healthy database has no finding.

use std::path::Path;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use shopmend::control::Control;
use shopmend::model::{Finding, Severity};
use shopmend::sqlite::check;

fn checked(db: &[u8]) -> Vec<Finding> {
    let db = db.to_vec();
    check::bytes(&db, None, None, "test.db", &Control::default()).unwrap().findings
}

/// What SQLite says of a private copy: `None` when it is content.
fn sqlite_says(dir: &Path, db: &[u8]) -> Option<String> {
    let path = dir.join("copy.db");
    std::fs::write(&path, db).unwrap();
    let conn = Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let rows = conn
        .prepare("PRAGMA integrity_check")
        .and_then(|mut s| s.query_map([], |r| r.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>());
    match rows {
        Ok(rows) if rows == ["ok"] => None,
        Ok(rows) => Some(rows.join("\n")),
        Err(e) => Some(e.to_string()),
    }
}

/// The kinds of databases that damage is done to.
fn sample(kind: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let conn = Connection::open(&path).unwrap();
    let page = [512, 1024, 4096, 1024][kind % 4];
    let encoding = ["UTF-8", "UTF-8", "UTF-16le", "UTF-8", "UTF-16be"][kind % 5];
    let vacuum = ["NONE", "FULL", "NONE", "INCREMENTAL"][kind / 2 % 4];
    conn.execute_batch(&format!(
        "PRAGMA page_size={page}; PRAGMA encoding='{encoding}'; PRAGMA auto_vacuum={vacuum};"
    ))
    .unwrap();
    conn.execute_batch(
        "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE COLLATE NOCASE, score REAL, bio BLOB);
         CREATE INDEX users_name ON users(name COLLATE RTRIM DESC, score);
         CREATE INDEX users_part ON users(score) WHERE score > 50 AND email IS NOT NULL;
         CREATE TABLE kv(k TEXT, n INT, v, PRIMARY KEY(k, n DESC)) WITHOUT ROWID;
         CREATE INDEX kv_v ON kv(v DESC);
         CREATE TABLE plain(a INT, b, c AS (a + 1) STORED);
         CREATE INDEX plain_ab ON plain(b, a);
         CREATE UNIQUE INDEX plain_c ON plain(c, a, b, rowid_);
         CREATE TABLE strict_one(a INTEGER PRIMARY KEY, b TEXT NOT NULL, c REAL) STRICT;
         CREATE TABLE quirk(a INTEGER PRIMARY KEY DESC, b UNIQUE);
         CREATE TRIGGER tr AFTER DELETE ON users BEGIN DELETE FROM kv WHERE n = old.id; END;"
            .replace(", rowid_)", ")")
            .as_str(),
    )
    .unwrap();
    let rows = rng.random_range(40..240);
    let word = |rng: &mut ChaCha8Rng, n: usize| -> String {
        (0..n).map(|_| char::from(b"abcdeABCDE \xe9"[rng.random_range(0..11)])).collect()
    };
    conn.execute_batch("BEGIN").unwrap();
    for i in 0..rows {
        let n = rng.random_range(0..12);
        let name = word(rng, n);
        let email = if rng.random_ratio(1, 5) { None } else { Some(format!("{}{i}@x", word(rng, 4))) };
        let score = rng.random_range(0..2000_i64) as f64 / 20.0;
        let bio = vec![7_u8; if rng.random_ratio(1, 8) { rng.random_range(0..6000) } else { 3 }];
        conn.execute(
            "INSERT INTO users(name, email, score, bio) VALUES(?1,?2,?3,?4)",
            (&name, email, score.round(), bio),
        )
        .unwrap();
        let value = if rng.random_ratio(1, 10) { word(rng, 900) } else { word(rng, 9) };
        conn.execute("INSERT OR IGNORE INTO kv VALUES(?1,?2,?3)", (&name, i % 7, value)).unwrap();
        conn.execute("INSERT OR IGNORE INTO plain VALUES(?1,?2)", (rng.random_range(-9..900_i64), score))
            .unwrap();
        conn.execute("INSERT INTO strict_one(b, c) VALUES(?1,?2)", (&name, score)).unwrap();
        conn.execute("INSERT OR IGNORE INTO quirk VALUES(?1,?2)", (i * 3, &name)).unwrap();
    }
    conn.execute_batch("COMMIT").unwrap();
    if kind.is_multiple_of(7) {
        conn.execute_batch("CREATE VIEW good AS SELECT * FROM users WHERE score > 1").unwrap();
    }
    if kind.is_multiple_of(3) {
        conn.execute_batch(
            "ALTER TABLE plain ADD COLUMN d TEXT DEFAULT 5; CREATE INDEX plain_d ON plain(d, a);
             ALTER TABLE users ADD COLUMN e NOT NULL DEFAULT 'x'; CREATE INDEX users_e ON users(e);",
        )
        .unwrap();
    }
    if kind.is_multiple_of(2) {
        conn.execute_batch(
            "DELETE FROM users WHERE id % 3 = 1; DELETE FROM kv WHERE n = 3; DROP TABLE quirk;",
        )
        .unwrap();
    }
    drop(conn);
    std::fs::read(&path).unwrap()
}

/// Damages `db`; says how.
fn hurt(db: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) -> String {
    let size = match u16::from_be_bytes([other[16], other[17]]) {
        1 => 65536,
        n => usize::from(n),
    };
    if db.len() < 2 * size {
        db.truncate(50);
        return "truncated to 50".into();
    }
    let pages = db.len() / size;
    let some_page = |rng: &mut ChaCha8Rng| rng.random_range(0..pages) * size;
    let class = rng.random_range(0..14);
    match class {
        0 | 1 => {
            let n = if class == 0 { 1 } else { rng.random_range(2..40) };
            for _ in 0..n {
                let at = rng.random_range(0..db.len());
                db[at] ^= 1 << rng.random_range(0..8);
            }
            format!("{n} bits flipped")
        }
        2 => {
            let (a, b) = (some_page(rng), some_page(rng));
            for i in 0..size {
                db.swap(a + i, b + i);
            }
            format!("pages {} and {} swapped", a / size + 1, b / size + 1)
        }
        3 => {
            let (a, b) = (some_page(rng), some_page(rng));
            let copy = db[a..a + size].to_vec();
            db[b..b + size].copy_from_slice(&copy);
            format!("page {} copied over {}", a / size + 1, b / size + 1)
        }
        4 => {
            let n = rng.random_range(1..db.len());
            db.truncate(n);
            format!("truncated to {n}")
        }
        5 => {
            let n = rng.random_range(1..3 * size);
            db.extend((0..n).map(|i| i as u8 | 1));
            format!("extended by {n}")
        }
        6 => {
            let a = some_page(rng);
            let (from, to) = if rng.random() { (0, size) } else { (0, 8.min(size)) };
            db[a + from..a + to].fill(0);
            format!("page {} zeroed to {to}", a / size + 1)
        }
        7 => {
            let a = some_page(rng);
            let at = a + rng.random_range(0..size.min(40));
            db[at] = rng.random();
            format!("byte {} of the header of page {}", at - a, a / size + 1)
        }
        8 => {
            let at = rng.random_range(16..100);
            db[at] = rng.random();
            format!("header byte {at}")
        }
        9 => {
            let a = some_page(rng);
            let n = rng.random_range(1..=size.min(64));
            let at = a + rng.random_range(0..=size - n);
            for b in &mut db[at..at + n] {
                *b = rng.random();
            }
            format!("{n} random bytes at {at}")
        }
        10 if other.len() == db.len() || other.len() > 2 * size => {
            // A page of an earlier or other version of the database.
            let a = rng.random_range(0..pages.min(other.len() / size)) * size;
            db[a..a + size].copy_from_slice(&other[a..a + size]);
            format!("page {} from another version", a / size + 1)
        }
        11 => {
            // An overflow or child pointer, anywhere.
            let a = some_page(rng) + rng.random_range(0..size / 4) * 4;
            let to = rng.random_range(0..pages as u32 + 2);
            db[a..a + 4].copy_from_slice(&to.to_be_bytes());
            format!("pointer at {a} set to {to}")
        }
        12 => {
            // A byte of a b-tree leaf's content.
            for _ in 0..50 {
                let a = some_page(rng);
                if matches!(db[a], 10 | 13) {
                    let at = a + rng.random_range(size / 2..size);
                    db[at] = db[at].wrapping_add(1);
                    return format!("byte {at} of leaf {}", a / size + 1);
                }
            }
            "nothing".into()
        }
        _ => {
            let a = some_page(rng);
            let n = rng.random_range(1..5);
            for _ in 0..n {
                let at = a + rng.random_range(0..size);
                db[at] = rng.random();
            }
            format!("{n} bytes of page {}", a / size + 1)
        }
    }
}

fn seeds(default: u64) -> u64 {
    std::env::var("SHOPMEND_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_sqlite_sees_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let samples: Vec<(Vec<u8>, Vec<u8>)> =
        (0..20).map(|k| (sample(k, &mut rng), sample(k, &mut rng))).collect();
    let mut failures = Vec::new();
    let (mut both, mut ours, mut none) = (0, 0, 0);
    for seed in 0..seeds(300) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (good, other) = &samples[(seed % samples.len() as u64) as usize];
        let mut db = good.clone();
        let mut how = hurt(&mut db, other, &mut rng);
        if rng.random_ratio(1, 6) {
            how += " and ";
            how += &hurt(&mut db, other, &mut rng);
        }
        let found = checked(&db);
        if std::env::var("SHOPMEND_DUMP").is_ok_and(|d| d == seed.to_string()) {
            std::fs::write("/tmp/dump.db", &db).unwrap();
        }
        let errors = found.iter().any(|f| f.severity > Severity::Info);
        match (sqlite_says(dir.path(), &db), errors) {
            (Some(_), true) => both += 1,
            (None, false) => none += 1,
            (Some(message), false) if found.is_empty() => {
                failures.push(format!("seed {seed}, {how}: only SQLite: {message}"));
            }
            (Some(_), false) => both += 1,
            (None, true) => {
                ours += 1;
                let view = (seed % samples.len() as u64).is_multiple_of(7);
                let known = |f: &Finding| {
                    check::BEYOND_SQLITE.iter().any(|(code, _)| *code == f.code)
                        || (view && check::BESIDE_A_VIEW.contains(&f.code.as_str()))
                };
                for f in found.iter().filter(|f| !known(f)) {
                    failures.push(format!("seed {seed}, {how}: only we: {f:?}"));
                }
            }
        }
    }
    println!("both {both}, only the checker {ours}, neither {none}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn healthy_databases_have_no_finding() {
    let dir = tempfile::tempdir().unwrap();
    for kind in 0..40 {
        let db = sample(kind, &mut ChaCha8Rng::seed_from_u64(kind as u64));
        assert_eq!(sqlite_says(dir.path(), &db), None, "kind {kind}");
        assert_eq!(checked(&db), [], "kind {kind}");
    }
    assert_eq!(checked(&[]), []);
}
