//! Databases that are in use while they are checked, what a check must never
//! call sound, and what the report says of how each was proved.

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use shopmend::exit::Exit;
use shopmend::fsys::{Dir, RelPath};
use shopmend::model::Finding;
use shopmend::sqlite::{Control, check, wal};
use shopmend::store::{self, Check, Level, StoreError, Subject};

use crate::support::run::Run;
use crate::support::shop::Shop;
use crate::support::tree::{Snapshot, Tree};

fn look(db: &[u8], wal: Option<&Vec<u8>>) -> Vec<Finding> {
    let (db, wal) = (db.to_vec(), wal.cloned());
    let wal = wal.as_ref().map(|w| w as &dyn shopmend::sqlite::source::ReadAt);
    check::bytes(&db, wal, None, &Control::default())
        .unwrap()
        .findings
        .into_iter()
        .map(Finding::from)
        .collect()
}

fn check_in(dir: &Path, name: &str, level: Level) -> Result<Check, StoreError> {
    let dir = Dir::open(&dir.canonicalize().unwrap()).unwrap();
    let path = RelPath::new(name).unwrap();
    store::sqlite::check(Subject { dir: &dir, path: &path }, level, &shopmend::control::Control::default())
}

fn database(dir: &Path, name: &str, sql: &str) -> Connection {
    let db = Connection::open(dir.join(name)).unwrap();
    db.execute_batch(sql).unwrap_or_else(|e| panic!("{name}: {e}"));
    db
}

const ROWS: &str = "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 3000) SELECT i, 'x' || i FROM s";

/// Another process checks while this one holds the database open and writes.
#[test]
#[cfg_attr(
    windows,
    ignore = "under Wine, SQLite now and then finds the journal gone that it deletes while it is read; not tried on Windows"
)]
fn a_program_that_writes_is_not_held_up() {
    for mode in ["DELETE", "WAL"] {
        let tree = Tree::new();
        let db = database(
            tree.path(),
            "a.db",
            &format!(
                "PRAGMA journal_mode={mode}; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
                 CREATE INDEX i ON t(b); INSERT INTO t {ROWS};"
            ),
        );
        db.busy_timeout(Duration::ZERO).unwrap();
        let before = tree.snapshot();
        let run = Run::new();
        let path = tree.at("a.db").display().to_string();
        // Open, but at rest: bit by bit, names and times included, nothing changes.
        for deep in [&["check", path.as_str()][..], &["check", "--deep", path.as_str()][..]] {
            run.call(deep).expect(Exit::Ok);
        }
        before.assert_same(&tree.snapshot());
        // And while it writes, it never finds the database locked.
        let mut child = run.command(["check", path.as_str()]).spawn().unwrap();
        let mut written = 0;
        while child.try_wait().unwrap().is_none() || written < 3 {
            db.execute("INSERT INTO t(b) VALUES('more')", []).unwrap();
            written += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
        let status = child.wait().unwrap();
        // One that never stands still is not judged, and that is said.
        let ends = [Exit::Ok, Exit::Incomplete].map(|exit| Some(i32::from(exit.code())));
        assert!(ends.contains(&status.code()), "mode {mode}: {status:?}");
        assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
        let names: Vec<_> = Snapshot::of(tree.path()).paths().map(Path::to_path_buf).collect();
        let ours = |p: &Path| p.to_string_lossy().is_empty() || p.to_string_lossy().starts_with("a.db");
        assert!(names.iter().all(|p| ours(p)), "{names:?}");
    }
}

/// A file that never stands still is "busy"; one that comes to rest is checked.
#[test]
fn a_file_that_changes_is_tried_again_and_then_called_busy() {
    let dir = tempfile::tempdir().unwrap();
    drop(database(dir.path(), "a.db", &format!("CREATE TABLE t(a, b); INSERT INTO t {ROWS};")));
    let stop = &AtomicBool::new(false);
    let touch = || {
        let mut file = std::fs::OpenOptions::new().write(true).open(dir.path().join("a.db")).unwrap();
        let mut n = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            // The user version: a change without damage.
            file.seek(std::io::SeekFrom::Start(60)).unwrap();
            file.write_all(&n.to_be_bytes()).unwrap();
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(touch);
        std::thread::sleep(Duration::from_millis(20));
        // Where other work keeps the writer from running, the file stands still for once.
        let outcome = (0..500)
            .map(|_| check_in(dir.path(), "a.db", Level::Fast))
            .find(|outcome| outcome.as_ref().map_or(true, |check| !check.findings.is_empty()));
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(outcome, Some(Err(StoreError::Busy { .. }))), "{outcome:?}");
    });
    stop.store(false, Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(touch);
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(100));
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(check_in(dir.path(), "a.db", Level::Fast).unwrap().findings, []);
    });
}

/// A table of each kind, and over them an index of each kind.
const EVERY_KIND: &str = "
    PRAGMA page_size=1024;
    CREATE TABLE plain(a INT, b TEXT, c REAL, d BLOB, e AS (a * 2) STORED);
    CREATE INDEX plain_asc ON plain(b, a); CREATE INDEX plain_desc ON plain(a DESC, c);
    CREATE UNIQUE INDEX plain_unique ON plain(d, a, b); CREATE INDEX plain_stored ON plain(e);
    CREATE INDEX plain_nocase ON plain(b COLLATE NOCASE); CREATE INDEX plain_rtrim ON plain(b COLLATE RTRIM DESC);
    CREATE INDEX plain_part ON plain(c) WHERE NOT a OR c BETWEEN 3 AND 9000;
    CREATE INDEX plain_some ON plain(c) WHERE c > 3 AND b IS NOT NULL;
    CREATE TABLE named(id INTEGER PRIMARY KEY, mail TEXT UNIQUE COLLATE NOCASE, n);
    CREATE INDEX named_n ON named(n, id);
    CREATE TABLE quirk(id INTEGER PRIMARY KEY DESC, v); CREATE INDEX quirk_v ON quirk(v);
    CREATE TABLE clustered(k TEXT, n INT, v, PRIMARY KEY(k, n DESC)) WITHOUT ROWID;
    CREATE INDEX clustered_v ON clustered(v); CREATE UNIQUE INDEX clustered_u ON clustered(v, k DESC, n);
    CREATE TABLE strict_one(id INTEGER PRIMARY KEY, t TEXT NOT NULL, r REAL) STRICT;
    CREATE INDEX strict_r ON strict_one(r, t);";

/// Rows for every table, so that every tree changes on many pages.
fn grow(db: &Connection, from: i64, to: i64) {
    db.execute_batch("BEGIN").unwrap();
    for i in from..to {
        // Spread over the keys, so that old pages change as well.
        let key = i * 7919 % 100_003;
        let text = format!("k{key} {}", "y".repeat(usize::try_from(key % 23).unwrap()));
        db.execute(
            "INSERT INTO plain(a, b, c, d) VALUES(?1, ?2, ?3, ?4)",
            (key, &text, key as f64 / 8.0, text.as_bytes()),
        )
        .unwrap();
        db.execute("INSERT INTO named(mail, n) VALUES(?1, ?2)", (&text, key)).unwrap();
        db.execute("INSERT INTO quirk(id, v) VALUES(?1, ?2)", (key, &text)).unwrap();
        db.execute("INSERT INTO clustered VALUES(?1, ?2, ?3)", (&text, i % 9, key)).unwrap();
        db.execute("INSERT INTO strict_one(t, r) VALUES(?1, ?2)", (&text, key as f64)).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
}

fn is_tree(page: &[u8]) -> bool {
    matches!(page[0], 2 | 5 | 10 | 13)
}

/// For each kind of table and index: a page of another tree in its place, two
/// leaves swapped, a page as it was before, a file cut or drawn out.
#[test]
fn nothing_out_of_place_is_called_sound() {
    const SIZE: usize = 1024;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = database(dir.path(), "a.db", EVERY_KIND);
    grow(&db, 0, 250);
    let earlier = std::fs::read(&path).unwrap();
    grow(&db, 250, 330);
    let roots: BTreeMap<u32, String> = db
        .prepare("SELECT rootpage, name FROM sqlite_schema WHERE rootpage > 0")
        .unwrap()
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    drop(db);
    let good = std::fs::read(&path).unwrap();
    assert_eq!(look(&good, None), []);
    assert!(roots.len() >= 18, "{roots:?}");
    let pages = good.len() / SIZE;
    // Which tree each page belongs to, by walking the interior pages.
    let mut owner = vec![0_u32; pages + 1];
    let mut left: Vec<(u32, u32)> = roots.keys().map(|r| (*r, *r)).collect();
    while let Some((page, root)) = left.pop() {
        owner[page as usize] = root;
        let bytes = &good[(page as usize - 1) * SIZE..page as usize * SIZE];
        if matches!(bytes[0], 2 | 5) {
            let be = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            left.push((be(8), root));
            for i in 0..usize::from(u16::from_be_bytes([bytes[3], bytes[4]])) {
                let at = u16::from_be_bytes([bytes[12 + 2 * i], bytes[13 + 2 * i]]);
                left.push((be(usize::from(at)), root));
            }
        }
    }
    let at = |page: usize| (page - 1) * SIZE..page * SIZE;
    let of_tree = |root: u32| (2..=pages).filter(|p| owner[*p] == root).collect::<Vec<_>>();
    let mut stale = BTreeMap::new();
    for (root, name) in &roots {
        let own = of_tree(*root);
        let leaves: Vec<usize> =
            own.iter().copied().filter(|p| matches!(good[at(*p).start], 10 | 13)).collect();
        assert!(leaves.len() > 2, "{name} has {} leaves", leaves.len());
        // Every kind in the place of every other takes minutes; a few of them always.
        let whole = std::env::var_os("SHOPMEND_SEEDS").is_some();
        let some = |n: usize| if whole { 1 } else { n };
        for (other, other_name) in roots.iter().skip(*root as usize % some(5)).step_by(some(5)) {
            let from = of_tree(*other)[0];
            for to in [own[0], leaves[leaves.len() / 2]] {
                if from != to {
                    let mut hurt = good.clone();
                    hurt.copy_within(at(from), at(to).start);
                    assert!(!look(&hurt, None).is_empty(), "a page of {other_name} in {name}, page {to}");
                }
            }
        }
        let neighbours = leaves.iter().zip(leaves.iter().skip(1));
        for (a, b) in neighbours.chain(leaves.iter().zip(leaves.iter().rev())).step_by(some(3)) {
            if a != b {
                let mut hurt = good.clone();
                hurt[at(*a)].copy_from_slice(&good[at(*b)]);
                hurt[at(*b)].copy_from_slice(&good[at(*a)]);
                assert!(!look(&hurt, None).is_empty(), "leaves {a} and {b} of {name} swapped");
            }
        }
        for page in own.iter().filter(|p| **p * SIZE <= earlier.len()).step_by(some(2)) {
            let before = &earlier[at(*page)];
            if before != &good[at(*page)] && is_tree(before) {
                let mut hurt = good.clone();
                hurt[at(*page)].copy_from_slice(before);
                assert!(!look(&hurt, None).is_empty(), "page {page} of {name} as it was");
                *stale.entry(name).or_insert(0) += 1;
            }
        }
    }
    assert!(stale.len() >= roots.len() / 2, "stale pages of each tree: {stale:?}");
    for cut in [1, SIZE / 2, SIZE, SIZE + 1, 5 * SIZE, good.len() - 600] {
        assert!(!look(&good[..good.len() - cut], None).is_empty(), "cut by {cut}");
    }
    for more in [vec![7; 1], vec![7; SIZE], good[at(2)].to_vec()] {
        let mut long = good.clone();
        long.extend(&more);
        assert!(!look(&long, None).is_empty(), "{} more bytes", more.len());
    }
}

/// A log that is grown in chunks: after its frames stand those of an earlier
/// round, or zeros, and the commit counts the pages that were set aside.
#[test]
fn a_log_grown_in_chunks_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(
        dir.path(),
        "a.db",
        &format!(
            "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
             CREATE INDEX i ON t(b); INSERT INTO t {ROWS}; PRAGMA wal_checkpoint(RESTART); UPDATE t SET b = 'new' WHERE a = 5;"
        ),
    );
    let (file, log) = (
        std::fs::read(dir.path().join("a.db")).unwrap(),
        std::fs::read(dir.path().join("a.db-wal")).unwrap(),
    );
    drop(db);
    let frame = 24 + 4096;
    let count = wal::strict(&log).unwrap().unwrap().frames.len();
    assert!(log.len() > 32 + (count + 10) * frame, "frames of an earlier round follow");
    assert_eq!(look(&file, Some(&log)), []);
    // Set aside to the end of a chunk, with zeros or with what lay on the disk before.
    let mut zeros = log.clone();
    zeros.resize(log.len().next_multiple_of(1 << 20), 0);
    assert_eq!(look(&file, Some(&zeros)), []);
    let mut short = log[..32 + count * frame].to_vec();
    short.extend(vec![0; 32 << 10]);
    assert_eq!(look(&file, Some(&short)), []);
    // The database, too, is grown in chunks, and the commit counts the whole of it.
    let mut grown = file.clone();
    grown.resize(file.len() + (64 << 10), 0);
    assert_eq!(look(&grown, Some(&log)), []);
    let pages = u32::try_from(grown.len() / 4096).unwrap();
    let header = wal::WalHeader::parse(&log).unwrap();
    let mut sum = header.sum;
    let mut counted = log.clone();
    for i in 0..count {
        let start = 32 + i * frame;
        if counted[start + 4..start + 8] != [0; 4] {
            counted[start + 4..start + 8].copy_from_slice(&pages.to_be_bytes());
        }
        sum = wal::checksum(&counted[start..start + 8], header.magic & 1 == 1, sum);
        sum = wal::checksum(&counted[start + 24..start + frame], header.magic & 1 == 1, sum);
        counted[start + 16..start + 20].copy_from_slice(&sum[0].to_be_bytes());
        counted[start + 20..start + 24].copy_from_slice(&sum[1].to_be_bytes());
    }
    assert_eq!(wal::strict(&counted).unwrap().unwrap().pages, pages);
    assert_eq!(look(&grown, Some(&counted)), []);
}

/// Foreign keys are counted as SQLite counts them, whatever types, collations
/// and shapes of keys meet.
#[test]
fn foreign_keys_are_looked_up_as_sqlite_does() {
    let dir = tempfile::tempdir().unwrap();
    let values = [
        "NULL",
        "1",
        "2",
        "3.0",
        "2.5",
        "'1'",
        "' 2 '",
        "'3.0'",
        "'a'",
        "'A'",
        "'a  '",
        "x'61'",
        "x'31'",
        "''",
        "9007199254740993",
        "-1",
        "'x1'",
        "1e300",
    ];
    let mut sql = String::from(
        "PRAGMA foreign_keys=OFF;
         CREATE TABLE p_id(id INTEGER PRIMARY KEY, x); CREATE TABLE p_text(k TEXT PRIMARY KEY);
         CREATE TABLE p_nocase(k TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;
         CREATE TABLE p_rtrim(k COLLATE RTRIM UNIQUE); CREATE TABLE p_real(k REAL UNIQUE); CREATE TABLE p_any(k UNIQUE);
         CREATE TABLE p_two(a INT, b TEXT COLLATE NOCASE, PRIMARY KEY(a, b));
         CREATE TABLE p_num(k NUMERIC UNIQUE, long TEXT);
         INSERT INTO p_id(id) VALUES(1), (3), (9007199254740993); INSERT INTO p_text VALUES('1'), ('a'), ('3.0'), (x'61');
         INSERT INTO p_nocase VALUES('A'), ('x1'); INSERT INTO p_rtrim VALUES('a'), (1), (x'31'), ('');
         INSERT INTO p_real VALUES(1), (2.5), ('a'), (NULL); INSERT INTO p_any VALUES(1), ('1'), (2.5), (x'61'), (1e300);
         INSERT INTO p_two VALUES(1, 'a'), (2, NULL), (3, 'X1'); INSERT INTO p_num VALUES('1', 'x'), (2.5, hex(zeroblob(3000))), ('a', 1);
         CREATE TABLE c_id(v, w REFERENCES p_id); CREATE TABLE c_id_int(v, w INT REFERENCES p_id(id));
         CREATE TABLE c_text(v, w REFERENCES p_text); CREATE TABLE c_nocase(v, w REFERENCES p_nocase);
         CREATE TABLE c_rtrim(v, w REFERENCES p_rtrim(k)); CREATE TABLE c_real(v, w REFERENCES p_real(k));
         CREATE TABLE c_any(v, w REFERENCES p_any(k)); CREATE TABLE c_num(v, w TEXT REFERENCES p_num(k));
         CREATE TABLE c_none(v, w REFERENCES nowhere);
         CREATE TABLE c_clustered(v INT, w REFERENCES p_any(k), PRIMARY KEY(v)) WITHOUT ROWID;
         CREATE TABLE c_self(v INTEGER PRIMARY KEY, w REFERENCES c_self(v));
         CREATE TABLE c_two(v, w, u, FOREIGN KEY(w, u) REFERENCES p_two); ",
    );
    for (i, a) in values.iter().enumerate() {
        // Text that a REAL would turn into is left to SQLite, and tested apart.
        let number = a.contains('.') && !a.starts_with('\'') || *a == "1e300";
        let tables = ["id", "id_int", "nocase", "rtrim", "real", "any", "num", "none", "clustered", "self"];
        for t in tables.iter().filter(|t| !(number && **t == "nocase")) {
            sql.push_str(&format!("INSERT INTO c_{t} VALUES({i}, {a});"));
        }
        if !number {
            sql.push_str(&format!("INSERT INTO c_text VALUES({i}, {a});"));
        }
        for b in ["NULL", "'a'", "'A'", "'x1'", "7"] {
            sql.push_str(&format!("INSERT INTO c_two VALUES({i}, {a}, {b});"));
        }
    }
    for encoding in ["UTF-8", "UTF-16le"] {
        let name = format!("{encoding}.db");
        let db = database(dir.path(), &name, &format!("PRAGMA encoding='{encoding}'; {sql}"));
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let mut rows = db.prepare("PRAGMA foreign_key_check").unwrap();
        for table in rows.query_map([], |r| r.get::<_, String>(0)).unwrap() {
            *expected.entry(table.unwrap()).or_default() += 1;
        }
        drop(rows);
        drop(db);
        let bytes = std::fs::read(dir.path().join(&name)).unwrap();
        let examined = check::bytes(&bytes, None, None, &Control::default()).unwrap();
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for finding in &examined.findings {
            assert_eq!(
                (finding.code.as_str(), finding.severity),
                ("sqlite.foreign-key", shopmend::sqlite::Severity::Info)
            );
            let words: Vec<&str> = finding.message.split(' ').collect();
            *found.entry(words[4].to_owned()).or_default() += words[0].parse::<u64>().unwrap();
        }
        assert_eq!(found, expected, "{encoding}");
        assert!(expected.len() >= 11, "{expected:?}");
        let by_keys = examined.proved.iter().find(|p| p.by == "64-bit hash of all keys").unwrap();
        assert_eq!(by_keys.of.len(), 12, "{by_keys:?}");
        // SQLite agrees also when it is asked for its own count.
        let deep = check_in(dir.path(), &name, Level::Deep).unwrap();
        assert!(deep.findings.iter().all(|f| f.code == "sqlite.foreign-key"), "{:?}", deep.findings);
    }
}

/// What the passes leave open is asked of SQLite on a private copy, and the
/// report says so; of a damaged database it is not.
#[test]
fn what_is_left_open_is_asked_of_sqlite_on_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(
        dir.path(),
        "a.db",
        "CREATE TABLE t(a CHECK(a > 0), b); CREATE INDEX low ON t(lower(b)); CREATE INDEX plain ON t(b);
         CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('one two'); INSERT INTO t VALUES(1, 'Q'), (2, 'r');
         CREATE TABLE real_child(r REAL REFERENCES text_parent); CREATE TABLE text_parent(k TEXT PRIMARY KEY);
         INSERT INTO text_parent VALUES('2.5'); INSERT INTO real_child VALUES(2.5);",
    );
    let sound = check_in(dir.path(), "a.db", Level::Fast).unwrap();
    assert_eq!((sound.findings.as_slice(), sound.not_checked.as_slice()), (&[][..], &[][..]));
    let by: BTreeMap<&str, &[String]> =
        sound.proved.iter().map(|p| (p.by.as_str(), p.of.as_slice())).collect();
    assert!(by["128-bit hash of all entries against all rows"].contains(&"index plain".to_owned()));
    assert!(!by["128-bit hash of all entries against all rows"].contains(&"index low".to_owned()));
    let open = by["SQLite on a private copy"].join("\n");
    for what in
        ["CHECK constraints of table t", "index low", "virtual table f", "foreign keys of table real_child"]
    {
        assert!(open.contains(what), "{what} in {open}");
    }
    assert!(sound.method.contains("SQLite on a private copy"), "{}", sound.method);
    db.execute_batch("PRAGMA foreign_keys=OFF; PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES(-5, 'x'); INSERT INTO real_child VALUES(7.5);")
        .unwrap();
    let broken = check_in(dir.path(), "a.db", Level::Fast).unwrap();
    let codes: Vec<&str> = broken.findings.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes.iter().filter(|c| **c == "sqlite.integrity-check").count(), 1, "{codes:?}");
    assert!(codes.contains(&"sqlite.foreign-key"), "{codes:?}");
}

/// Twenty databases of a home, sound and damaged, with a log, with expressions
/// and full text: the report of a scan says of each what proved it.
#[test]
fn a_scan_of_twenty_databases_says_what_proved_each() {
    let shop = Shop::new();
    let dir = shop.at("databases");
    std::fs::create_dir(&dir).unwrap();
    let plain = format!(
        "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX i ON t(b); INSERT INTO t {ROWS};"
    );
    let kinds = [
        plain.clone(),
        "CREATE TABLE t(a, b); CREATE INDEX i ON t(b); CREATE INDEX low ON t(lower(b)); INSERT INTO t VALUES(1, 'Q');".into(),
        "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('one two three');".into(),
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(x REFERENCES p); INSERT INTO p VALUES(1); INSERT INTO c VALUES(1);".into(),
        "CREATE TABLE k(a TEXT PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO k VALUES('x', 1); CREATE INDEX kb ON k(b);".into(),
    ];
    let mut open = Vec::new();
    for n in 0..20 {
        let sql = &kinds[n % kinds.len()];
        let mode = if n % 7 == 3 { "PRAGMA journal_mode=WAL;" } else { "" };
        let db = database(&dir, &format!("{n:02}.db"), &format!("{mode}{sql}"));
        if n % 7 == 3 {
            open.push(db);
        }
    }
    let damaged = [0, 5, 15];
    for n in damaged {
        shopmend::sample::harm::break_index(&dir.join(format!("{n:02}.db"))).unwrap();
    }
    let before = Snapshot::of(&dir);
    let report = shop.run.call(shop.args(&["scan", "--format", "json"])).expect(Exit::Findings).json();
    before.assert_same(&Snapshot::of(&dir));
    let stores = report["targets"][0]["stores"].as_array().unwrap();
    for n in 0..20 {
        let name = Path::new("databases").join(format!("{n:02}.db"));
        let store = stores.iter().find(|s| Path::new(s["path"].as_str().unwrap()).ends_with(&name)).unwrap();
        let proved: BTreeMap<&str, String> = store["proved"]
            .as_array()
            .map(|all| all.iter().map(|p| (p["by"].as_str().unwrap(), p["of"].to_string())).collect())
            .unwrap_or_default();
        assert!(store["method"].as_str().unwrap().starts_with("sqlite single pass"), "{store:#}");
        if damaged.contains(&n) {
            assert_eq!((store["verdict"].as_str(), proved.len()), (Some("damaged"), 0), "{store:#}");
            continue;
        }
        assert_eq!(store["verdict"], "healthy", "{store:#}");
        assert_eq!(store["not_checked"].as_array().unwrap().len(), 0, "{store:#}");
        assert!(proved["one pass over every page"].contains("table"), "{store:#}");
        let by_hash = proved.get("128-bit hash of all entries against all rows");
        match n % kinds.len() {
            0 => assert!(by_hash.unwrap().contains("index i")),
            1 => {
                assert!(by_hash.unwrap().contains("index i") && !by_hash.unwrap().contains("index low"));
                assert!(proved["SQLite on a private copy"].contains("index low"), "{store:#}");
            }
            2 => assert!(proved["SQLite on a private copy"].contains("virtual table f"), "{store:#}"),
            3 => assert!(proved["64-bit hash of all keys"].contains("foreign keys of table c"), "{store:#}"),
            _ => assert!(by_hash.unwrap().contains("index kb"), "{store:#}"),
        }
    }
    let text = shop.run.call(shop.args(&["scan", "-v"])).expect(Exit::Findings).stdout;
    let page = shop.run.call(shop.args(&["scan", "--format", "html"])).expect(Exit::Findings).stdout;
    for line in ["proved by one pass over every page", "proved by SQLite on a private copy"] {
        assert!(text.contains(line), "{line} in {text}");
        assert!(page.contains(line), "{line} in {page}");
    }
    let folder = dir.display().to_string();
    let text = shop.run.call(["check", folder.as_str()]).expect(Exit::Findings).stdout;
    assert!(text.contains("proved by 128-bit hash of all entries against all rows: index i"), "{text}");
    drop(open);
}
