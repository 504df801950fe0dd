//! Situations that went wrong once: each is made, salvaged, and looked at as
//! the user would.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use shopmend_sqlite::check::{self, Files, Level};
use shopmend_sqlite::report::Outcome;
use shopmend_sqlite::{Control, Remedy, SalvageOptions, SalvageReport, salvage};

/// A folder with one damaged database and what was made of it.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A database that `sql` makes, as bytes.
    fn made(&self, sql: &str) -> Vec<u8> {
        let path = self.path("made.db");
        let _ = std::fs::remove_file(&path);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        std::fs::read(path).unwrap()
    }

    fn salvaged(&self, damaged: &[u8], options: &SalvageOptions<'_>) -> (SalvageReport, Connection) {
        std::fs::write(self.path("damaged.db"), damaged).unwrap();
        self.salvaged_file("damaged.db", options)
    }

    fn salvaged_file(&self, name: &str, options: &SalvageOptions<'_>) -> (SalvageReport, Connection) {
        let new = self.path("new.db");
        let _ = std::fs::remove_file(&new);
        let report = salvage(&self.path(name), &new, options, &Control::default()).unwrap();
        assert_eq!(report.integrity, "ok");
        (report, Connection::open(new).unwrap())
    }
}

fn count(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |r| r.get(0)).unwrap()
}

fn findings(path: &Path) -> Vec<(String, Remedy)> {
    let beside = |suffix: &str| std::fs::read(format!("{}{suffix}", path.display())).ok();
    let (main, wal, journal) = (std::fs::read(path).unwrap(), beside("-wal"), beside("-journal"));
    let files =
        Files { main: &main, wal: wal.as_ref().map(|w| w as _), journal: journal.as_ref().map(|j| j as _) };
    let checked = check::check(files, Level::Fast, &Control::default()).unwrap();
    checked.findings.into_iter().map(|f| (f.code, f.remedy)).collect()
}

const SERIES: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500)";

#[test]
fn values_that_an_older_first_page_has_no_column_for_are_kept_aside() {
    let bench = Bench::new();
    let old = bench
        .made("CREATE TABLE orders(id INTEGER PRIMARY KEY, buyer TEXT); INSERT INTO orders VALUES(1,'a');");
    let path = bench.path("made.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "ALTER TABLE orders ADD COLUMN remark; {SERIES} INSERT INTO orders SELECT i+1, 'buyer '||i,
         CASE i%2 WHEN 0 THEN 'remark '||i ELSE i END FROM n LIMIT 60;"
    ))
    .unwrap();
    drop(db);
    let mut bytes = std::fs::read(path).unwrap();
    bytes[100..4096].copy_from_slice(&old[100..4096]);
    let (report, db) = bench.salvaged(&bytes, &SalvageOptions::default());
    assert_eq!(report.outcome(), Outcome::Incomplete);
    assert_eq!(report.orphans, 0, "no row is counted twice");
    assert_eq!(count(&db, "SELECT count(*) FROM orders"), 61);
    // Page, offset, table, rowid; then the record: id, buyer, remark.
    let kept = "SELECT count(*) FROM lost_and_found WHERE guess='orders' AND id>1
                AND c6 IS CASE (id-1)%2 WHEN 0 THEN 'remark '||(id-1) ELSE id-1 END";
    let names: Vec<String> = db
        .prepare("SELECT name FROM pragma_table_info('lost_and_found')")
        .unwrap()
        .query_map([], |r| r.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let kept = kept.replace("c6", names.last().unwrap());
    assert_eq!(count(&db, &kept), 60, "{names:?}");
}

#[test]
fn records_that_end_before_their_key_do_not_end_the_salvage_of_other_tables() {
    let bench = Bench::new();
    let bytes = bench.made(
        "CREATE TABLE wide(a TEXT, b INT, c TEXT, v TEXT, PRIMARY KEY(a,b,c)) WITHOUT ROWID;
         CREATE TABLE pair(k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;
         CREATE TABLE sound(id INTEGER PRIMARY KEY, t TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<25)
         INSERT INTO wide SELECT 'x', i, 'y', 'v'||i FROM n;
         INSERT INTO pair SELECT 'k'||b, v FROM wide; INSERT INTO sound SELECT b, v FROM wide;
         PRAGMA writable_schema=ON;
         CREATE TEMP TABLE r AS SELECT name, rootpage FROM sqlite_schema;
         UPDATE sqlite_schema SET rootpage=(SELECT rootpage FROM r WHERE r.name='pair') WHERE name='wide';
         UPDATE sqlite_schema SET rootpage=(SELECT rootpage FROM r WHERE r.name='wide') WHERE name='pair';",
    );
    let (report, db) = bench.salvaged(&bytes, &SalvageOptions::default());
    assert_eq!(report.outcome(), Outcome::Incomplete);
    assert_eq!(count(&db, "SELECT count(*) FROM sound"), 25);
    let rest = count(&db, "SELECT (SELECT count(*) FROM wide) + (SELECT count(*) FROM pair)")
        + count(&db, "SELECT count(*) FROM lost_and_found");
    assert_eq!(rest, 50, "every record is in a table or aside");
}

#[test]
fn a_value_across_an_overwritten_overflow_page_is_doubtful_with_and_without_a_pointer_map() {
    for auto_vacuum in [0, 1] {
        let bench = Bench::new();
        let mut bytes = bench.made(&format!(
            "PRAGMA page_size=1024; PRAGMA auto_vacuum={auto_vacuum};
             CREATE TABLE pictures(id INTEGER PRIMARY KEY, content BLOB);
             {SERIES} INSERT INTO pictures SELECT i, CASE i WHEN 7 THEN randomblob(9000) ELSE randomblob(40) END
             FROM n LIMIT 15;"
        ));
        let truth: Vec<u8> = Connection::open(bench.path("made.db"))
            .unwrap()
            .query_row("SELECT content FROM pictures WHERE id=7", [], |r| r.get(0))
            .unwrap();
        let at = bytes.windows(64).position(|w| w == &truth[4000..4064]).unwrap() / 1024 * 1024;
        for (i, b) in bytes[at..at + 1024].iter_mut().enumerate() {
            *b = (i * 151 % 251) as u8 | 0x40;
        }
        let (report, db) = bench.salvaged(&bytes, &SalvageOptions::default());
        assert_eq!(report.outcome(), Outcome::Incomplete, "auto_vacuum {auto_vacuum}");
        let listed = "SELECT count(*) FROM shopmend_doubtful WHERE table_name='pictures' AND row_key=7";
        assert!(count(&db, listed) > 0, "auto_vacuum {auto_vacuum}");
    }
}

#[test]
fn the_versions_come_from_intact_bytes_or_from_a_healthy_copy_and_their_loss_is_said() {
    let bench = Bench::new();
    let bytes = bench.made(&format!(
        "PRAGMA user_version=12; PRAGMA application_id=77001; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);
         {SERIES} INSERT INTO t SELECT i, 'text '||i FROM n;"
    ));
    let versions = |db: &Connection| (count(db, "PRAGMA user_version"), count(db, "PRAGMA application_id"));
    let mut head = bytes.clone();
    head[..40].fill(0xa5);
    let (report, db) = bench.salvaged(&head, &SalvageOptions::default());
    assert_eq!(versions(&db), (12, 77001));
    assert!(!report.versions_lost);
    let mut gone = bytes.clone();
    gone[..4096].fill(0);
    let healthy = bench.path("made.db");
    let options = SalvageOptions { schema_from: Some(&healthy), ..SalvageOptions::default() };
    let (report, db) = bench.salvaged(&gone, &options);
    assert_eq!(versions(&db), (12, 77001));
    assert!(!report.versions_lost);
    let (report, _) = bench.salvaged(&gone, &SalvageOptions::default());
    assert!(report.versions_lost && report.text().contains("user_version"));
    assert_eq!(report.outcome(), Outcome::Incomplete);
}

#[test]
fn a_row_across_the_place_where_a_byte_was_lost_or_added_is_doubtful() {
    let bench = Bench::new();
    let bytes = bench.made(&format!(
        "PRAGMA page_size=4096; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT);
         {SERIES} INSERT INTO notes SELECT i, 'note '||i||': '||printf('%.*c', 180, 'x')||i FROM n LIMIT 200;"
    ));
    for at in [4096 * 4 + 1900, 4096 * 6 + 700, 4096 * 8 + 3000] {
        for lost in [true, false] {
            let mut damaged = bytes.clone();
            if lost {
                damaged.remove(at);
            } else {
                damaged.insert(at, b'\r');
            }
            let (_, db) = bench.salvaged(&damaged, &SalvageOptions::default());
            db.execute("ATTACH ?1 AS healthy", [bench.path("made.db").to_str().unwrap()]).unwrap();
            let silent = "SELECT count(*) FROM notes n WHERE NOT EXISTS
                (SELECT 1 FROM healthy.notes h WHERE h.id=n.id AND h.body=n.body)";
            let listed = "AND NOT EXISTS (SELECT 1 FROM shopmend_doubtful WHERE row_key=n.id)";
            let any = count(&db, silent);
            let silent = if any == 0 { 0 } else { count(&db, &format!("{silent} {listed}")) };
            assert_eq!(silent, 0, "byte {at}, lost {lost}: {any} wrong");
        }
    }
}

/// A database in the midst of a transaction that spilled to the disk: its file
/// and its hot journal; before the transaction all 500 notes began with `old`.
fn in_transaction(bench: &Bench) -> (Vec<u8>, Vec<u8>) {
    bench.made(&format!(
        "PRAGMA page_size=1024; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX b ON notes(body);
         {SERIES} INSERT INTO notes SELECT i, 'old note '||i||printf('%.*c', 60, 'x') FROM n;"
    ));
    let db = Connection::open(bench.path("made.db")).unwrap();
    db.execute_batch("PRAGMA cache_size=3; BEGIN; UPDATE notes SET body = 'new' || body;").unwrap();
    let read = |name: &str| std::fs::read(bench.path(name)).unwrap();
    (read("made.db"), read("made.db-journal"))
}

#[test]
fn a_journal_alone_or_beside_an_empty_or_renamed_database_brings_its_rows_back() {
    let bench = Bench::new();
    let (file, journal) = in_transaction(&bench);
    let old = |db: &Connection| count(db, "SELECT count(*) FROM notes WHERE body LIKE 'old%'");
    let name = |n: &str| bench.path(n);
    std::fs::write(name("moved.db.corrupt"), &file).unwrap();
    std::fs::write(name("moved.db-journal"), &journal).unwrap();
    let (_, db) = bench.salvaged_file("moved.db.corrupt", &SalvageOptions::default());
    assert_eq!(old(&db), 500);
    let (_, db) = bench.salvaged_file("moved.db-journal", &SalvageOptions::default());
    assert!(old(&db) > 400, "{}", old(&db));
    std::fs::write(name("empty.db"), b"").unwrap();
    std::fs::write(name("empty.db-journal"), &journal).unwrap();
    assert_eq!(findings(&name("empty.db")), [("sqlite.stale-journal".to_owned(), Remedy::Rebuild)]);
    let (report, db) = bench.salvaged_file("empty.db", &SalvageOptions::default());
    assert!(old(&db) > 400);
    assert_eq!(report.outcome(), Outcome::Incomplete);
}

#[test]
fn a_log_alone_brings_its_rows_back() {
    let bench = Bench::new();
    let path = bench.path("made.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT);
         {SERIES} INSERT INTO t SELECT i, 'row '||i FROM n;"
    ))
    .unwrap();
    let log = std::fs::read(bench.path("made.db-wal")).unwrap();
    std::fs::write(bench.path("app.db-wal"), &log).unwrap();
    let (_, new) = bench.salvaged_file("app.db-wal", &SalvageOptions::default());
    assert_eq!(count(&new, "SELECT count(*) FROM t"), 500);
    std::fs::write(bench.path("app.db"), b"").unwrap();
    assert_eq!(findings(&bench.path("app.db")), [("sqlite.stale-wal".to_owned(), Remedy::Rebuild)]);
}

#[test]
fn a_journal_that_is_cut_leaves_a_part_of_its_transaction_and_says_so() {
    let bench = Bench::new();
    let (file, journal) = in_transaction(&bench);
    std::fs::write(bench.path("cut.db"), &file).unwrap();
    std::fs::write(bench.path("cut.db-journal"), &journal[..journal.len() * 2 / 3]).unwrap();
    let (report, _) = bench.salvaged_file("cut.db", &SalvageOptions::default());
    assert!(report.cut_log);
    assert_eq!(report.outcome(), Outcome::Incomplete);
}

#[test]
fn a_journal_of_an_older_generation_is_left_out() {
    let bench = Bench::new();
    let (_, journal) = in_transaction(&bench);
    let _ = std::fs::remove_file(bench.path("made.db-journal"));
    let newer = bench.made(&format!(
        "PRAGMA page_size=1024; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX b ON notes(body);
         {SERIES} INSERT INTO notes SELECT i+n.i%3*1000, 'another note '||i||printf('%.*c', 90, 'y') FROM n;"
    ));
    std::fs::write(bench.path("app.db"), &newer).unwrap();
    std::fs::write(bench.path("app.db-journal"), &journal).unwrap();
    assert_eq!(findings(&bench.path("app.db")), [("sqlite.stale-journal".to_owned(), Remedy::Rebuild)]);
    let (report, db) = bench.salvaged_file("app.db", &SalvageOptions::default());
    assert_eq!(
        count(&db, "SELECT count(*) FROM notes WHERE body LIKE 'another%'"),
        500,
        "{:?}",
        report.notes
    );
}

#[test]
fn a_journal_from_before_the_database_grew_is_left_out_though_its_pages_are_the_same() {
    let bench = Bench::new();
    let grow = "INSERT INTO notes SELECT max(id)+1, printf('%.*c', 70, 'g')||max(id) FROM notes;";
    bench.made(&format!(
        "PRAGMA page_size=1024; CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT);
         {SERIES} INSERT INTO notes SELECT i, 'note '||i||printf('%.*c', 60, 'x') FROM n;"
    ));
    let path = bench.path("made.db");
    std::fs::copy(&path, bench.path("older.db")).unwrap();
    let older = Connection::open(bench.path("older.db")).unwrap();
    older
        .execute_batch("PRAGMA cache_size=3; BEGIN; UPDATE notes SET body = upper(body) WHERE id < 400;")
        .unwrap();
    let db = Connection::open(&path).unwrap();
    for _ in 0..300 {
        db.execute_batch(grow).unwrap();
    }
    drop(db);
    std::fs::copy(&path, bench.path("app.db")).unwrap();
    std::fs::copy(bench.path("older.db-journal"), bench.path("app.db-journal")).unwrap();
    let found = findings(&bench.path("app.db"));
    assert_eq!(found, [("sqlite.stale-journal".to_owned(), Remedy::Rebuild)]);
    let (report, db) = bench.salvaged_file("app.db", &SalvageOptions::default());
    assert_eq!(count(&db, "SELECT count(*) FROM notes"), 800, "{:?}", report.notes);
}

#[test]
fn two_tables_whose_roots_lead_into_each_other_keep_their_rows() {
    let bench = Bench::new();
    let table = |name: &str, base: i64| {
        format!(
            "CREATE TABLE {name}(k INT PRIMARY KEY, a TEXT, n INT);
             {SERIES} INSERT INTO {name} SELECT i+{base}, 'name '||i||printf('%.*c', 30, 'x'), i*7 FROM n;"
        )
    };
    let mut bytes =
        bench.made(&format!("PRAGMA page_size=1024; {}{}", table("east", 10_000), table("west", 70_000)));
    let healthy = Connection::open(bench.path("made.db")).unwrap();
    let root = |name: &str| {
        count(&healthy, &format!("SELECT rootpage FROM sqlite_schema WHERE name='{name}'")) as usize
    };
    for (one, other) in [("east", "west"), ("west", "east")] {
        let page = (root(one) - 1) * 1024;
        let cell = usize::from(u16::from_be_bytes([bytes[page + 12], bytes[page + 13]]));
        bytes[page + cell..page + cell + 4].copy_from_slice(&(root(other) as u32).to_be_bytes());
    }
    let (_, db) = bench.salvaged(&bytes, &SalvageOptions::default());
    db.execute("ATTACH ?1 AS healthy", [bench.path("made.db").to_str().unwrap()]).unwrap();
    for name in ["east", "west"] {
        let same =
            format!("SELECT count(*) FROM (SELECT * FROM {name} INTERSECT SELECT * FROM healthy.{name})");
        assert_eq!(count(&db, &same), 500, "{name}");
    }
}

#[test]
fn rows_of_a_leaf_that_kept_its_old_content_are_in_their_table_or_aside() {
    let bench = Bench::new();
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name}(id INTEGER PRIMARY KEY, a TEXT);
             {SERIES} INSERT INTO {name} SELECT i, '{name} row '||i||' '||printf('%.*c', 30 + i*7%13, 'x') FROM n;"
        )
    };
    let old = bench.made(&format!("PRAGMA page_size=4096; {}{}", table("t"), table("u")));
    let path = bench.path("made.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("UPDATE t SET a = a || ' version 2' WHERE id % 7 = 0").unwrap();
    let root = count(&db, "SELECT rootpage FROM sqlite_schema WHERE name='t'") as usize;
    drop(db);
    let new = std::fs::read(&path).unwrap();
    let texts = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let rows =
            text.split("t row ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        rows.collect::<std::collections::BTreeSet<u32>>()
    };
    let mut tried = 0;
    for page in 1..old.len() / 4096 {
        let there = page * 4096..(page + 1) * 4096;
        if page + 1 == root || old[there.start] != 13 || old[there.clone()] == new[there.clone()] {
            continue;
        }
        tried += 1;
        let mut damaged = new.clone();
        damaged[there.clone()].copy_from_slice(&old[there.clone()]);
        let (report, db) = bench.salvaged(&damaged, &SalvageOptions::default());
        drop(db);
        assert_eq!(report.outcome(), Outcome::Incomplete);
        let out = std::fs::read(bench.path("new.db")).unwrap();
        let lost = texts(&damaged[there]).difference(&texts(&out)).count();
        assert_eq!(lost, 0, "page {}", page + 1);
    }
    assert!(tried > 2, "{tried}");
}

#[test]
fn a_database_of_many_tables_is_salvaged_whole() {
    let bench = Bench::new();
    let path = bench.path("many.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA synchronous=OFF; BEGIN").unwrap();
    for t in 0..700 {
        db.execute_batch(&format!(
            "CREATE TABLE t{t}(id INTEGER PRIMARY KEY, a TEXT UNIQUE); INSERT INTO t{t}(a) VALUES('x'),('y');
             {}",
            // A short record makes the table be filled by two entries.
            if t % 50 == 0 {
                format!("ALTER TABLE t{t} ADD COLUMN n INT DEFAULT 5; INSERT INTO t{t} VALUES(9,'z',1);")
            } else {
                String::new()
            }
        ))
        .unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    drop(db);
    let (report, db) = bench.salvaged_file("many.db", &SalvageOptions::default());
    assert_eq!(report.outcome(), Outcome::Complete, "{:?}", report.notes);
    assert_eq!(report.in_tables(), 1414);
    assert_eq!(count(&db, "SELECT count(*) FROM sqlite_schema"), 1400);
    assert_eq!(count(&db, "SELECT sum(n) FROM t50"), 11);
}
