//! The database checker against SQLite's own: whatever `integrity_check` sees,
//! the checker sees; what only the checker sees is of a kind that SQLite does
//! not look at; a healthy database has no finding.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rusqlite::Connection;
use shopmend::fsys::{Dir, RelPath};
use shopmend::model::{Finding, Remedy, Severity};
use shopmend::sqlite::{Control, check};
use shopmend::store::{self, Level, Subject};

/// The crate's findings as this program gives them.
fn ours(found: Vec<shopmend::sqlite::Finding>) -> Vec<Finding> {
    found.into_iter().map(Finding::from).collect()
}

fn checked(db: &[u8]) -> Vec<Finding> {
    let db = db.to_vec();
    ours(check::bytes(&db, None, None, &Control::default()).unwrap().findings)
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

/// How many damaged databases are made. For the whole run:
/// `SHOPMEND_SEEDS=6000 cargo test --test integration -- sqlite_check sqlite_live`
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
            // A damaged collation name reads as the app's own: said, but no damage.
            (Some(message), false) if message.starts_with("no such collation sequence") => {
                let open = check::bytes(&db, None, None, &Control::default()).unwrap().not_checked;
                assert!(
                    open.iter().any(|n| n.contains("collation is the app's own")),
                    "seed {seed}: {open:?}"
                );
                none += 1;
            }
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

/// A folder's files: name, bytes and times.
fn folder(dir: &Path) -> Vec<(std::ffi::OsString, Vec<u8>, std::time::SystemTime)> {
    let mut out: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name(), std::fs::read(e.path()).unwrap(), e.metadata().unwrap().modified().unwrap()))
        .collect();
    out.sort();
    out
}

fn check_file(dir: &Path, level: Level) -> shopmend::store::Check {
    let dir = Dir::open(&dir.canonicalize().unwrap()).unwrap();
    let path = RelPath::new("a.db").unwrap();
    store::sqlite::check(Subject { dir: &dir, path: &path }, level, &shopmend::control::Control::default())
        .unwrap()
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|f| f.code.as_str()).collect()
}

/// A database in WAL mode whose newest rows are in the log alone; the connection keeps it so.
fn with_log(dir: &Path) -> Connection {
    let db = Connection::open(dir.join("a.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
         CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t(b);
         INSERT INTO t SELECT value, 'x' || value FROM generate_series(1, 500);
         PRAGMA wal_checkpoint; UPDATE t SET b = 'y' || a WHERE a % 3 = 0;"
            .replace("SELECT value, 'x' || value FROM generate_series(1, 500)", SERIES)
            .as_str(),
    )
    .unwrap();
    db
}

const SERIES: &str =
    "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 500) SELECT i, 'x' || i FROM s";

#[test]
fn a_check_leaves_no_trace_and_reads_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_log(dir.path());
    let before = folder(dir.path());
    for level in [Level::Fast, Level::Deep] {
        let check = check_file(dir.path(), level);
        assert_eq!(check.findings, []);
        assert_eq!(check.facts["rows"]["t"], 500);
    }
    assert!(folder(dir.path()) == before);
    assert_eq!(before.len(), 3, "database, log and its index");
    drop(db);
}

#[test]
fn another_program_writes_during_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_log(dir.path());
    let (stop, written) = (&AtomicBool::new(false), &AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !stop.load(Relaxed) {
                db.execute("INSERT INTO t(b) VALUES('more')", []).unwrap();
                written.fetch_add(1, Relaxed);
            }
        });
        // However slow the machine is: each check meets a writer at work.
        for _ in 0..5 {
            let before = written.load(Relaxed);
            while written.load(Relaxed) == before {
                std::thread::yield_now();
            }
            assert_eq!(check_file(dir.path(), Level::Fast).findings, []);
        }
        stop.store(true, Relaxed);
    });
}

#[test]
fn a_log_of_another_database_and_a_damaged_log_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_log(dir.path());
    let (file, log) = (dir.path().join("a.db"), dir.path().join("a.db-wal"));
    let (good, frames) = (std::fs::read(&file).unwrap(), std::fs::read(&log).unwrap());
    drop(db);
    let other = tempfile::tempdir().unwrap();
    let conn = Connection::open(other.path().join("a.db")).unwrap();
    conn.execute_batch("CREATE TABLE u(a, b); CREATE INDEX ub ON u(b); INSERT INTO u VALUES(1, 2);").unwrap();
    drop(conn);
    let look = |db: &[u8], wal: &[u8]| {
        let (db, wal) = (db.to_vec(), wal.to_vec());
        ours(check::bytes(&db, Some(&wal), None, &Control::default()).unwrap().findings)
    };
    assert_eq!(look(&good, &frames), []);
    // The page in the file does not count where the log has a newer one.
    let mut behind = good.clone();
    behind[4096 + 200..4096 + 300].fill(0xaa);
    assert_eq!(look(&behind, &frames), []);
    let foreign = std::fs::read(other.path().join("a.db")).unwrap();
    assert_eq!(codes(&look(&foreign, &frames)), ["sqlite.stale-wal"]);
    assert_eq!(codes(&look(&[], &frames)), ["sqlite.stale-wal"]);
    let mut broken = frames.clone();
    broken[32 + 24 + 100] ^= 1;
    assert!(codes(&look(&good, &broken)).contains(&"sqlite.wal-damaged"));
}

#[test]
fn a_hot_journal_is_rolled_back_in_the_view() {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("a.db")).unwrap();
    db.execute_batch(
        &"PRAGMA page_size=1024; PRAGMA cache_size=4; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t(b);
         INSERT INTO t SERIES; BEGIN; UPDATE t SET b = b || 'zzz';"
            .replace("SERIES", SERIES),
    )
    .unwrap();
    let file = std::fs::read(dir.path().join("a.db")).unwrap();
    let journal = std::fs::read(dir.path().join("a.db-journal")).unwrap();
    let found = ours(check::bytes(&file, None, Some(&journal), &Control::default()).unwrap().findings);
    assert_eq!(codes(&found), ["sqlite.hot-journal"]);
    assert_eq!(found[0].severity, Severity::Info);
    assert!(!checked(&file).is_empty(), "without its journal the file is torn");
}

#[test]
fn every_swap_of_two_pages_is_seen() {
    let db = sample(1, &mut ChaCha8Rng::seed_from_u64(5));
    let size = 1024;
    let leaves: Vec<usize> =
        (1..db.len() / size).filter(|p| matches!(db[p * size], 2 | 5 | 10 | 13)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for _ in 0..300 {
        let (a, b) = (leaves[rng.random_range(0..leaves.len())], leaves[rng.random_range(0..leaves.len())]);
        if a == b {
            continue;
        }
        let mut hurt = db.clone();
        for i in 0..size {
            hurt.swap(a * size + i, b * size + i);
        }
        assert!(!checked(&hurt).is_empty(), "pages {} and {}", a + 1, b + 1);
        let mut hurt = db.clone();
        hurt.copy_within(a * size..(a + 1) * size, b * size);
        assert!(!checked(&hurt).is_empty(), "page {} over {}", a + 1, b + 1);
    }
}

#[test]
fn the_remedy_is_the_cheapest_that_suffices() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        &"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t(b); INSERT INTO t SERIES;"
            .replace("SERIES", SERIES),
    )
    .unwrap();
    let root: u32 =
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name='i'", [], |r| r.get(0)).unwrap();
    let table: u32 =
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name='t'", [], |r| r.get(0)).unwrap();
    drop(db);
    let good = std::fs::read(&path).unwrap();
    let remedies = |db: &[u8]| -> Vec<Remedy> {
        let mut all: Vec<Remedy> = checked(db).iter().map(|f| f.remedy).collect();
        all.sort_by_key(|r| format!("{r:?}"));
        all.dedup();
        all
    };
    let leaf = (0..good.len() / 4096).rfind(|p| good[p * 4096] == 10 && p + 1 != root as usize).unwrap();
    let mut index = good.clone();
    index[leaf * 4096 + 4090] ^= 1;
    assert_eq!(remedies(&index), [Remedy::RebuildIndexes]);
    let found = checked(&index);
    assert!(codes(&found).contains(&"sqlite.index-mismatch"), "{found:?}");
    assert!(
        found.iter().any(|f| f.code == "sqlite.index-entry" && f.message.starts_with("row ")),
        "{found:?}"
    );
    let mut counters = good.clone();
    counters[36..40].copy_from_slice(&7_u32.to_be_bytes());
    assert_eq!(remedies(&counters), [Remedy::Vacuum]);
    let mut rows = good.clone();
    rows[(table as usize - 1) * 4096] = 0;
    assert!(remedies(&rows).contains(&Remedy::Rebuild));
}

#[test]
fn files_that_are_no_databases_are_named() {
    let random: Vec<u8> = {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..8192).map(|_| rng.random()).collect()
    };
    assert_eq!(codes(&checked(&random)), ["sqlite.encrypted"]);
    assert_eq!(codes(&checked(&vec![0; 8192])), ["sqlite.zeroed"]);
    assert_eq!(codes(&checked(&b"some text, no database ".repeat(100))), ["sqlite.not-a-database"]);
    assert_eq!(codes(&checked(b"SQLite format 3\0")), ["sqlite.header"]);
    let good = sample(2, &mut ChaCha8Rng::seed_from_u64(9));
    let mut no_magic = good.clone();
    no_magic[..16].fill(b'?');
    assert_eq!(codes(&checked(&no_magic)), ["sqlite.header"]);
}

#[test]
fn rare_shapes_are_healthy() {
    let shapes = [
        "CREATE VIRTUAL TABLE f USING fts5(a, b); INSERT INTO f VALUES('one two', 'three');",
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 2, 3);",
        "CREATE TABLE t(a, b AS (a * 2), c AS (a || 'x') STORED, CHECK(a <> 99)); CREATE INDEX e ON t(lower(a), b); CREATE INDEX g ON t(c);
         CREATE INDEX h ON t(b) WHERE length(a) > 1; INSERT INTO t(a) VALUES('Q'), (7), (NULL), (1.5), (x'00ff');",
        "PRAGMA page_size=65536; CREATE TABLE t(a PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO t VALUES(1, zeroblob(300000)), ('x', 2);",
        "CREATE TABLE w(a COLLATE nocase, b, c, PRIMARY KEY(a, b DESC, a COLLATE binary)) WITHOUT ROWID; CREATE UNIQUE INDEX wc ON w(c DESC, a);
         INSERT INTO w VALUES('a', 1, 3), ('A', 2, 2), ('b', 1, NULL), ('B', 0, NULL);",
        "CREATE TABLE n(a INTEGER PRIMARY KEY, b REAL UNIQUE); INSERT INTO n VALUES(-9223372036854775808, 1), (-1, 2.5), (0, -0.0), (9223372036854775807, 1e300);
         CREATE INDEX nb ON n(b DESC, a);",
        "CREATE TABLE big(a, b); INSERT INTO big VALUES(zeroblob(100000), 'after'), ('x', printf('%.*c', 9000, 'y')); CREATE INDEX bb ON big(b); CREATE INDEX ba ON big(a);",
        "PRAGMA auto_vacuum=FULL; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(50000)), (zeroblob(9000)); DELETE FROM t WHERE rowid=1; CREATE TABLE u(x UNIQUE); DROP TABLE t;",
        "PRAGMA auto_vacuum=INCREMENTAL; CREATE TABLE t(a); INSERT INTO t VALUES(zeroblob(500000)); DELETE FROM t;",
        "CREATE TABLE d(a); INSERT INTO d VALUES(1), (2); ALTER TABLE d ADD COLUMN b TEXT DEFAULT 5; ALTER TABLE d ADD COLUMN c REAL DEFAULT 2; ALTER TABLE d ADD COLUMN e DEFAULT 'é';
         CREATE INDEX db ON d(b, c, e); CREATE INDEX dp ON d(a) WHERE b = 5 AND c >= 2 AND e IN ('é', 'x'); INSERT INTO d VALUES(3, 9, 1.5, NULL); ANALYZE;",
        "PRAGMA encoding='UTF-16le'; CREATE TABLE t(a TEXT COLLATE NOCASE, b TEXT DEFAULT 'öl'); INSERT INTO t(a) VALUES('Zz'), ('aA'), ('é'); CREATE INDEX ta ON t(a); CREATE INDEX tb ON t(b COLLATE rtrim, a DESC) WHERE b = 'öl';",
        "CREATE TABLE s(a INTEGER PRIMARY KEY AUTOINCREMENT, b ANY) STRICT; INSERT INTO s(b) VALUES(1), ('1'), (x'31'), (NULL); CREATE INDEX sb ON s(b);",
        "CREATE TABLE numbers(a NUMERIC, b TEXT); INSERT INTO numbers VALUES('1e', 5), ('x', '7'), (9007199254740993, 1), (9007199254740992.0, 2); CREATE INDEX na ON numbers(a, b);",
        "CREATE TABLE p(a INT, b); CREATE INDEX p1 ON p(b) WHERE a; CREATE INDEX p2 ON p(b) WHERE NOT a OR b IS NULL; CREATE INDEX p3 ON p(a) WHERE b BETWEEN 'a' AND 'm' AND a <> 3;
         INSERT INTO p VALUES(0, 'x'), (1, 'b'), (NULL, 'c'), (3, NULL), (4, 'm'), ('7z', 'l'), ('z', 'k');",
    ];
    let dir = tempfile::tempdir().unwrap();
    for (i, sql) in shapes.iter().enumerate() {
        let path = dir.path().join(format!("{i}.db"));
        let db = Connection::open(&path).unwrap();
        db.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
        drop(db);
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(checked(&bytes), [], "{sql}");
        // Space that was set aside after the last page.
        bytes.extend([0; 8192]);
        assert_eq!(checked(&bytes), [], "{sql}");
    }
}

#[test]
fn an_app_collation_leaves_only_its_order_open() {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("a.db")).unwrap();
    db.create_collation("LOCALIZED", |a: &str, b: &str| b.cmp(a)).unwrap();
    db.execute_batch(
        &"CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT COLLATE LOCALIZED); CREATE INDEX i ON t(b); INSERT INTO t SERIES;"
            .replace("SERIES", SERIES),
    )
    .unwrap();
    drop(db);
    let check = check_file(dir.path(), Level::Fast);
    assert_eq!(check.findings, []);
    assert!(check.not_checked.iter().any(|n| n.starts_with("order of index i")), "{:?}", check.not_checked);
    let path = dir.path().join("a.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let leaf = (0..bytes.len() / 4096).rfind(|p| bytes[p * 4096] == 10).unwrap();
    bytes[leaf * 4096 + 4090] ^= 1;
    assert!(codes(&checked(&bytes)).contains(&"sqlite.index-mismatch"));
}

#[test]
fn a_deep_check_adds_what_only_sqlite_can_say() {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("a.db")).unwrap();
    db.execute_batch(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(a CHECK(a > 0), b REFERENCES p);
         INSERT INTO p VALUES(1); PRAGMA foreign_keys=OFF; INSERT INTO c VALUES(1, 1), (2, 77);",
    )
    .unwrap();
    let fast = check_file(dir.path(), Level::Fast);
    assert_eq!(codes(&fast.findings), ["sqlite.foreign-key"]);
    assert_eq!(fast.not_checked, Vec::<String>::new());
    let deep = check_file(dir.path(), Level::Deep);
    assert_eq!(codes(&deep.findings), ["sqlite.foreign-key"]);
    assert_eq!(deep.not_checked, Vec::<String>::new());
    db.execute_batch("PRAGMA ignore_check_constraints=ON; INSERT INTO c VALUES(-5, 1);").unwrap();
    let deep = check_file(dir.path(), Level::Deep);
    assert_eq!(codes(&deep.findings), ["sqlite.integrity-check", "sqlite.foreign-key"]);
    assert_eq!(deep.findings[0].remedy, Remedy::Report);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_examined_in_bounded_time(
        mut db in proptest::collection::vec(proptest::prelude::any::<u8>(), 100..6000),
        wal in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000),
    ) {
        db[..24].copy_from_slice(b"SQLite format 3\0\x02\0\x01\x01\0\x40\x20\x20");
        check::bytes(&db, Some(&wal), Some(&wal), &Control::default()).unwrap();
    }
}

/// A check of the same bytes says the same at any number of threads, though it
/// keeps only the first of very many findings.
#[test]
fn the_same_bytes_give_the_same_findings_at_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TABLE msg(id INTEGER PRIMARY KEY, conv TEXT, body TEXT); CREATE INDEX by_conv ON msg(conv);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
         INSERT INTO msg SELECT i, 'c' || (i * 7919 % 3000), printf('%.*c', 50 + i * 31 % 350, 'x') FROM n;",
    )
    .unwrap();
    drop(db);
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    for n in 0..120 {
        let page = 3 + n * 7919 % (pages - 3);
        bytes[page * 4096..(page + 1) * 4096].fill(b'U');
    }
    std::fs::write(&path, bytes).unwrap();
    let said = |threads: &str| {
        let run = crate::support::run::Run::new().env("RAYON_NUM_THREADS", threads);
        let text = path.to_str().unwrap();
        run.call(["check", "--format", "json", text]).expect(shopmend::exit::Exit::Findings).stdout
    };
    let first = said("1");
    for threads in ["2", "3", "8", "2"] {
        assert_eq!(said(threads), first, "{threads} threads");
    }
}
