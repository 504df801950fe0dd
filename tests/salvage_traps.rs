//! Healthy databases that other tools damage must come out equal: every value,
//! its type, its bytes, every rowid.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use shopmend::exit::Exit;
use shopmend::sqlite::Control;
use shopmend::sqlite::recover::{SalvageOptions, salvage};
use shopmend::sqlite::report::SalvageReport;
use shopmend::store::sqlite::exit;

use crate::support::sqlite_gen::walk::{Files, Record, View};

/// Opens a database with the app's own collation and functions.
fn app(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    for name in ["unicase", "LOCALIZED", "icu_root"] {
        db.create_collation(name, |a: &str, b: &str| a.to_lowercase().cmp(&b.to_lowercase())).unwrap();
    }
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("app_ok", 1, flags, |c| c.get::<i64>(0).map(|v| v >= 0)).unwrap();
    db.create_scalar_function("app_key", 1, flags, |c| c.get::<i64>(0).map(|v| v * 31)).unwrap();
    db
}

/// Records of every ordinary table, in key order.
fn contents(path: &Path) -> Vec<(String, Option<String>, Vec<Record>)> {
    let files = Files { db: std::fs::read(path).unwrap(), wal: None, journal: None };
    let view = View::new(&files);
    let mut pages = Vec::new();
    let mut out = Vec::new();
    for row in view.schema(&mut pages) {
        let mut records = Vec::new();
        if row.kind == "table" && row.root > 0 {
            view.tree(row.root, true, &row.name, &mut records, &mut pages);
        }
        out.push((row.name, row.sql, records));
    }
    out
}

/// Makes a database by `setup`, salvages it, and asserts that all is equal.
fn comes_out_equal(setup: impl FnOnce(&Connection)) -> (SalvageReport, tempfile::TempDir) {
    comes_out_equal_but(&[], setup)
}

/// As [`comes_out_equal`], but these objects of the schema are left out.
fn comes_out_equal_but(
    left_out: &[&str],
    setup: impl FnOnce(&Connection),
) -> (SalvageReport, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.db"), dir.path().join("b.db"));
    let db = app(&from);
    db.execute_batch("PRAGMA synchronous=OFF").unwrap();
    setup(&db);
    drop(db);
    let report = salvage(&from, &to, &SalvageOptions::default(), &Control::default()).unwrap();
    let (mut a, b) = (contents(&from), contents(&to));
    a.retain(|(name, ..)| !left_out.contains(&name.as_str()));
    assert_eq!(
        a.iter().map(|t| (&t.0, &t.1)).collect::<Vec<_>>(),
        b.iter().map(|t| (&t.0, &t.1)).collect::<Vec<_>>()
    );
    for ((name, _, a), (_, _, b)) in a.iter().zip(&b) {
        assert_eq!(a.len(), b.len(), "rows of {name}\n{}", report.text());
        for (a, b) in a.iter().zip(b) {
            assert_eq!(a.rowid, b.rowid, "{name}");
            assert!(a.values == b.values, "{name} rowid {:?}: {:?} became {:?}", a.rowid, a.values, b.values);
        }
    }
    (report, dir)
}

fn numbers(db: &Connection, sql: &str) {
    let mut insert = db.prepare(sql).unwrap();
    for i in 0..100_i64 {
        insert.execute([i]).unwrap();
    }
}

#[test]
fn collations_and_functions_of_the_app() {
    let (report, dir) = comes_out_equal_but(&["people_key"], |db| {
        db.execute_batch(
            "CREATE TABLE decks(id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE unicase);
             CREATE UNIQUE INDEX deck_name ON decks(name);
             CREATE TABLE people(a TEXT COLLATE LOCALIZED, b CHECK(app_ok(b)), c AS (app_key(b)) STORED);
             CREATE INDEX people_key ON people(app_key(b));
             CREATE TABLE tags(tag TEXT COLLATE icu_root PRIMARY KEY, n) WITHOUT ROWID;",
        )
        .unwrap();
        numbers(db, "INSERT INTO decks VALUES(?1, iif(?1 % 2, 'Deck ', 'deck ') || ?1)");
        numbers(db, "INSERT INTO people(a,b) VALUES('Name ' || ?1, ?1)");
    });
    assert_eq!(exit(report.outcome()), Exit::Left, "{}", report.text());
    assert_eq!(report.integrity, "ok");
    assert!(report.dropped.iter().any(|d| d.name == "people_key"), "{:?}", report.dropped);
    let ordered: Vec<&str> = report.ordered_by_app.iter().map(|order| order.table.as_str()).collect();
    assert_eq!(ordered, ["decks", "people", "tags"], "{}", report.text());
    assert!(report.stand_ins.contains(&"collation unicase".to_owned()), "{:?}", report.stand_ins);
    // In the app, REINDEX makes the indexes right.
    let db = app(&dir.path().join("b.db"));
    db.execute_batch("REINDEX").unwrap();
    assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
}

#[test]
fn a_descending_integer_key_is_not_the_rowid() {
    let (report, _) = comes_out_equal(|db| {
        db.execute_batch("CREATE TABLE turbo(at INTEGER PRIMARY KEY DESC, level INT)").unwrap();
        numbers(db, "INSERT INTO turbo VALUES(1600000000000 + ?1 * 977, ?1)");
    });
    assert_eq!(exit(report.outcome()), Exit::Ok);
}

#[test]
fn text_with_nuls_and_bytes_that_are_no_text() {
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
        let (report, _) = comes_out_equal(|db| {
            db.execute_batch(&format!("PRAGMA encoding='{encoding}'; CREATE TABLE t(a TEXT, b TEXT UNIQUE)"))
                .unwrap();
            numbers(
                db,
                "INSERT INTO t VALUES('a' || char(0) || 'b' || ?1, CAST(x'00d84100' || CAST(?1 + 10 AS BLOB) AS TEXT))",
            );
            numbers(
                db,
                "INSERT INTO t VALUES(CAST(x'fffed800dc00' AS TEXT), CAST(x'd800' || CAST(?1 + 10 AS BLOB) AS TEXT))",
            );
        });
        assert_eq!(exit(report.outcome()), Exit::Ok, "{encoding}");
    }
}

#[test]
fn columns_named_like_the_rowid() {
    let (report, _) = comes_out_equal(|db| {
        db.execute_batch(
            "CREATE TABLE one(_rowid_ TEXT, a); CREATE TABLE all_three(rowid, _rowid_ UNIQUE, oid);
             CREATE TABLE odd(oid INTEGER PRIMARY KEY, \"rowid\" TEXT);",
        )
        .unwrap();
        numbers(db, "INSERT INTO one(rowid, _rowid_, a) VALUES(?1 * 5, 'r' || ?1, ?1)");
        numbers(db, "INSERT INTO all_three VALUES(?1, -?1, ?1 || 'x')");
        numbers(db, "INSERT INTO odd VALUES(?1 * 3, 'z')");
        db.execute_batch("DELETE FROM all_three WHERE oid < '5'").unwrap();
    });
    assert_eq!(exit(report.outcome()), Exit::Ok);
}

#[test]
fn rows_that_break_check_or_not_null_stay() {
    let (report, _) = comes_out_equal(|db| {
        db.execute_batch(
            "CREATE TABLE t(a CHECK(a > 50), b); CREATE TABLE n(a, b);
             PRAGMA ignore_check_constraints=ON;",
        )
        .unwrap();
        numbers(db, "INSERT INTO t VALUES(?1, ?1)");
        numbers(db, "INSERT INTO n VALUES(nullif(?1 % 2, 0), ?1)");
        db.execute_batch(
            "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE TABLE n(a NOT NULL, b)' WHERE name='n';",
        )
        .unwrap();
    });
    assert!(!report.notes.is_empty());
}

#[test]
fn integers_in_a_column_that_became_text() {
    comes_out_equal(|db| {
        db.execute_batch("CREATE TABLE t(a, b)").unwrap();
        numbers(db, "INSERT INTO t VALUES(?1, ?1 * 1.5)");
        db.execute_batch(
            "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE TABLE t(a TEXT, b TEXT)'",
        )
        .unwrap();
    });
}

#[test]
fn rows_under_a_stale_unique_index_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.db"), dir.path().join("b.db"));
    let db = app(&from);
    db.execute_batch("CREATE TABLE t(a, b); CREATE INDEX u ON t(a);").unwrap();
    numbers(&db, "INSERT INTO t VALUES(?1 / 2, 'row ' || ?1)");
    db.execute_batch(
        "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='CREATE UNIQUE INDEX u ON t(a)' WHERE name='u';",
    )
    .unwrap();
    drop(db);
    let report = salvage(&from, &to, &SalvageOptions::default(), &Control::default()).unwrap();
    assert_eq!((exit(report.outcome()), report.integrity.as_str()), (Exit::Left, "ok"));
    let db = Connection::open(&to).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM t"), 50);
    let both = "SELECT count(DISTINCT b) FROM (SELECT b FROM t UNION ALL SELECT c1 FROM lost_and_found)";
    assert_eq!(count(both), 100);
    assert_eq!(count("SELECT count(*) FROM shopmend_doubtful WHERE reason LIKE '%UNIQUE index u%'"), 50);
}

#[test]
fn a_big_blob() {
    // 600 MB takes a while and as much memory twice; 40 MB has the same shape.
    let size = if std::env::var_os("SHOPMEND_SLOW").is_some() { 600_000_000 } else { 40_000_000 };
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.db"), dir.path().join("b.db"));
    let db = app(&from);
    db.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF; CREATE TABLE t(a, big BLOB, z)")
        .unwrap();
    db.execute("INSERT INTO t VALUES(1, zeroblob(?1), 'end')", [size]).unwrap();
    db.execute("INSERT INTO t VALUES(2, ?1, 'end')", [vec![7_u8; 1_000_000]]).unwrap();
    drop(db);
    let report = salvage(&from, &to, &SalvageOptions::default(), &Control::default()).unwrap();
    assert_eq!(exit(report.outcome()), Exit::Ok, "{}", report.text());
    let (a, b) = (std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());
    assert_eq!(a.len(), b.len());
    drop((a, b));
    let one = |path: &Path| {
        let db = Connection::open(path).unwrap();
        db.query_row(
            "SELECT length(big) || z || (SELECT big = zeroblob(1000000) FROM t WHERE a=2) FROM t WHERE a=1",
            [],
            |r| r.get::<_, String>(0),
        )
        .unwrap()
    };
    assert_eq!(one(&from), one(&to));
}
