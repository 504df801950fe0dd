//! Databases made by SQLite, damaged class by class, and what comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::salvaged::{Orphan, Row, SchemaObject, SchemaOrigin, Settings, Sink, SinkError, Value};
use super::*;

/// Keeps everything.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) settings: Option<Settings>,
    pub(super) schema: Vec<SchemaObject>,
    pub(super) rows: Vec<Row>,
    pub(super) orphans: Vec<Orphan>,
}

impl Sink for Memory {
    fn begin(&mut self, settings: &Settings, schema: &[SchemaObject]) -> Result<(), SinkError> {
        self.settings = Some(*settings);
        self.schema = schema.to_vec();
        Ok(())
    }
    fn row(&mut self, row: Row) -> Result<(), SinkError> {
        self.rows.push(row);
        Ok(())
    }
    fn orphan(&mut self, orphan: Orphan) -> Result<(), SinkError> {
        self.orphans.push(orphan);
        Ok(())
    }
}

/// How a sample database is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    pub(super) page_size: u32,
    pub(super) auto_vacuum: u8,
    pub(super) encoding: &'static str,
    pub(super) rows: u32,
    /// Whether rows are deleted and grown afterwards, so that remains lie about.
    pub(super) churn: bool,
}

pub(super) const PLAIN: Recipe =
    Recipe { page_size: 4096, auto_vacuum: 0, encoding: "UTF-8", rows: 2000, churn: true };

pub(super) struct Sample {
    pub(super) bytes: Vec<u8>,
    /// By table and key: the values.
    pub(super) truth: BTreeMap<(String, String), Vec<Value>>,
}

/// A cheap pseudo-random sequence.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

pub(super) const TABLES: [(&str, bool); 4] =
    [("msgs", true), ("files", true), ("kv", false), ("users", true)];

pub(super) fn fill(db: &rusqlite::Connection, r: &Recipe) {
    db.execute_batch(&format!(
        "PRAGMA page_size={}; PRAGMA auto_vacuum={}; PRAGMA encoding='{}';
         CREATE TABLE msgs(id INTEGER PRIMARY KEY, chat INT, body TEXT NOT NULL, at INTEGER, flag INT);
         CREATE INDEX msgs_cover ON msgs(chat, at, flag);
         CREATE TABLE files(id INTEGER PRIMARY KEY, name TEXT, data BLOB);
         CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT, n INT) WITHOUT ROWID;
         CREATE TABLE users(uid INTEGER PRIMARY KEY, email TEXT UNIQUE, score REAL, bio TEXT);",
        r.page_size, r.auto_vacuum, r.encoding
    ))
    .unwrap();
    let mut rng = Rng(7);
    db.execute_batch("BEGIN").unwrap();
    for i in 0..r.rows {
        let body = format!("message {i} {}", "lorem ipsum ".repeat(rng.below(12)));
        let at = 1_700_000_000_i64 + i64::from(i) * 37;
        db.execute(
            "INSERT INTO msgs VALUES(NULL, ?1, ?2, ?3, ?4)",
            (rng.below(50) as i64, body, at, rng.below(3) as i64),
        )
        .unwrap();
        if i % 20 == 0 {
            let blob: Vec<u8> = (0..3000 + rng.below(20_000)).map(|_| rng.below(256) as u8).collect();
            db.execute("INSERT INTO files VALUES(NULL, ?1, ?2)", (format!("file{i}.bin"), blob)).unwrap();
        }
        db.execute(
            "INSERT OR REPLACE INTO kv VALUES(?1, ?2, ?3)",
            (format!("key-{:08x}", rng.below(1 << 30)), format!("value {i}"), i),
        )
        .unwrap();
        if i % 2 == 0 {
            db.execute(
                "INSERT INTO users VALUES(NULL, ?1, ?2, ?3)",
                (format!("u{i}@example.org"), f64::from(i) / 4.0, "b".repeat(rng.below(60))),
            )
            .unwrap();
        }
    }
    db.execute_batch("COMMIT").unwrap();
    if r.churn {
        db.execute_batch(
            "DELETE FROM msgs WHERE id % 11 = 3;
             UPDATE msgs SET body = body || ' edited at some length afterwards' WHERE id % 17 = 5;
             DELETE FROM kv WHERE n % 13 = 2; DELETE FROM users WHERE uid % 9 = 4;
             DELETE FROM files WHERE id % 7 = 3; DELETE FROM msgs WHERE id BETWEEN 700 AND 760;",
        )
        .unwrap();
    }
}

pub(super) fn truth(db: &rusqlite::Connection) -> BTreeMap<(String, String), Vec<Value>> {
    let mut out = BTreeMap::new();
    for (table, _) in TABLES {
        let mut stmt = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let n = stmt.column_count();
        let mut rows = stmt.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<Value> = (0..n)
                .map(|i| match row.get_ref(i).unwrap() {
                    rusqlite::types::ValueRef::Null => Value::Null,
                    rusqlite::types::ValueRef::Integer(n) => Value::Integer(n),
                    rusqlite::types::ValueRef::Real(x) => Value::Real(x),
                    rusqlite::types::ValueRef::Text(b) => Value::Text(b.to_vec()),
                    rusqlite::types::ValueRef::Blob(b) => Value::Blob(b.to_vec()),
                })
                .collect();
            out.insert((table.to_string(), format!("{:?}", values[0])), values);
        }
    }
    out
}

pub(super) fn sample(r: Recipe) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    fill(&db, &r);
    let truth = truth(&db);
    drop(db);
    Sample { bytes: std::fs::read(&path).unwrap(), truth }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Score {
    pub(super) exact: usize,
    /// In their table, not equal, and said so.
    pub(super) marked: usize,
    /// In their table, not equal, and nothing said.
    pub(super) wrong: usize,
    /// Exact rows that were doubted all the same.
    pub(super) doubted: usize,
    pub(super) lost: usize,
    pub(super) orphans: usize,
}

pub(super) fn score(mem: &Memory, truth: &BTreeMap<(String, String), Vec<Value>>, encoding: &str) -> Score {
    let mut s = Score { orphans: mem.orphans.len(), ..Score::default() };
    let mut seen = std::collections::BTreeSet::new();
    let utf8 = |v: &Value| match v {
        Value::Text(b) if encoding == "UTF-16le" => {
            Value::Text(text::decode(b, Encoding::Utf16le).into_bytes())
        }
        Value::Text(b) if encoding == "UTF-16be" => {
            Value::Text(text::decode(b, Encoding::Utf16be).into_bytes())
        }
        v => v.clone(),
    };
    for row in &mem.rows {
        let table = &mem.schema[row.object].name;
        let Some((_, alias)) = TABLES.iter().find(|(t, _)| t == table) else { continue };
        let mut values: Vec<Value> = row.values.iter().map(utf8).collect();
        if *alias {
            values[0] = Value::Integer(row.rowid.unwrap());
        }
        let key = (table.clone(), format!("{:?}", values[0]));
        let right = truth.get(&key) == Some(&values);
        if right && seen.insert(key.clone()) {
            s.exact += 1;
            s.doubted += usize::from(!row.doubts.is_empty());
        } else if row.doubts.is_empty() {
            s.wrong += 1;
            if s.wrong < 4 {
                println!(
                    "wrong: {key:?} page {} {:?} {values:?} / {:?}",
                    row.page,
                    row.placed_by,
                    truth.get(&key)
                );
            }
        } else {
            s.marked += 1;
            if std::env::var_os("SHOW").is_some() {
                println!(
                    "marked: {key:?} page {} {:?} {:?} / {:?}",
                    row.page, row.placed_by, row.doubts, values
                );
            }
        }
    }
    s.lost = truth.len() - s.exact;
    s
}

pub(super) fn salvage(
    bytes: Vec<u8>,
    wal: Option<Vec<u8>>,
    journal: Option<Vec<u8>>,
) -> (Memory, ReadReport) {
    salvage_with(bytes, wal, journal, Options::default())
}

pub(super) fn salvage_with(
    bytes: Vec<u8>,
    wal: Option<Vec<u8>>,
    journal: Option<Vec<u8>>,
    options: Options,
) -> (Memory, ReadReport) {
    let mut mem = Memory::default();
    let arc = |b: Vec<u8>| -> Arc<dyn ReadAt> { Arc::new(b) };
    let input = Input { main: arc(bytes), wal: wal.map(arc), journal: journal.map(arc) };
    let report = Salvager::open(&input, options).unwrap().run(&mut mem, &Control::default()).unwrap();
    (mem, report)
}

/// Page size of the bytes, from the header.
fn size_of(db: &[u8]) -> usize {
    match u16::from_be_bytes([db[16], db[17]]) {
        1 => 65536,
        n => usize::from(n),
    }
}

/// Sound leaf pages of table `name`, by number.
pub(super) fn leaves(db: &[u8], name: &str) -> Vec<usize> {
    let (leaves, _) = tree_pages(db, name);
    leaves
}

/// Leaf and interior pages of a table or index.
pub(super) fn tree_pages(db: &[u8], name: &str) -> (Vec<usize>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.db");
    std::fs::write(&path, db).unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let root: u32 =
        conn.query_row("SELECT rootpage FROM sqlite_schema WHERE name=?1", [name], |r| r.get(0)).unwrap();
    let size = size_of(db);
    let (mut leaves, mut interior) = (Vec::new(), Vec::new());
    let mut stack = vec![root as usize];
    while let Some(p) = stack.pop() {
        let page = &db[(p - 1) * size..p * size];
        match page[0] {
            2 | 5 => {
                interior.push(p);
                let n = usize::from(u16::from_be_bytes([page[3], page[4]]));
                for i in 0..n {
                    let at = usize::from(u16::from_be_bytes([page[12 + 2 * i], page[13 + 2 * i]]));
                    stack.push(u32::from_be_bytes(page[at..at + 4].try_into().unwrap()) as usize);
                }
                stack.push(u32::from_be_bytes(page[8..12].try_into().unwrap()) as usize);
            }
            _ => leaves.push(p),
        }
    }
    leaves.sort_unstable();
    (leaves, interior)
}

#[test]
fn healthy_databases_come_out_equal() {
    for page_size in [512, 4096, 65536] {
        for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
            for auto_vacuum in [0, 1, 2] {
                let r = Recipe { page_size, auto_vacuum, encoding, rows: 700, churn: true };
                let s = sample(r);
                let (mem, report) = salvage(s.bytes.clone(), None, None);
                let got = score(&mem, &s.truth, encoding);
                let want = Score { exact: s.truth.len(), ..Score::default() };
                assert_eq!(got, want, "{r:?} {report:?}");
                let set = mem.settings.unwrap();
                assert_eq!((set.page_size, set.auto_vacuum), (page_size, auto_vacuum));
            }
        }
    }
}

/// Damages every `nth` leaf of the rowid tables and of `kv`.
fn hurt_leaves(db: &mut [u8], nth: usize, mut how: impl FnMut(&mut [u8], &mut Rng)) {
    let size = size_of(db);
    let mut rng = Rng(99);
    for (table, _) in TABLES {
        for p in leaves(db, table).into_iter().skip(1).step_by(nth) {
            how(&mut db[(p - 1) * size..p * size], &mut rng);
        }
    }
}

fn report_class(name: &str, s: &Sample, bytes: Vec<u8>, r: &Recipe) -> Score {
    let (mem, report) = salvage(bytes, None, None);
    let got = score(&mem, &s.truth, r.encoding);
    println!("{name}: of {} {got:?} pages {:?} notes {:?}", s.truth.len(), report.pages, report.notes);
    got
}

#[test]
fn damaged_leaves_give_their_cells() {
    for page_size in [1024, 4096] {
        for churn in [false, true] {
            let r = Recipe { page_size, churn, ..PLAIN };
            let s = sample(r);
            let run = |name: &str, how: &mut dyn FnMut(&mut [u8], &mut Rng)| {
                let mut db = s.bytes.clone();
                hurt_leaves(&mut db, 3, how);

                report_class(&format!("{name} {page_size} {churn}"), &s, db, &r)
            };
            let all = s.truth.len();
            let got = run("A1", &mut |p, _| p[10..12].fill(0xff));
            assert_eq!(got.exact, all);
            let got = run("A3", &mut |p, _| {
                let n = usize::from(u16::from_be_bytes([p[3], p[4]]));
                p[8..8 + 2 * n].fill(0);
            });
            assert_eq!(got.exact, all);
            let got = run("B1", &mut |p, _| p[0] = 0);
            assert_eq!(got.exact, all);
            run("B2", &mut |p, _| p[..8].fill(0));
            run("B3", &mut |p, _| p[..512].fill(0));
            run("B4", &mut |p, _| {
                let mid = p.len() / 2 / 512 * 512;
                p[mid..mid + 512].fill(0);
            });
            run("half random", &mut |p, rng| {
                let half = p.len() / 2;
                p[..half].fill_with(|| rng.below(256) as u8);
            });
        }
    }
}

/// Interior pages and roots of the tables of `names`.
fn zero_pages(db: &mut [u8], list: &[usize]) {
    let size = size_of(db);
    for p in list {
        let from = if *p == 1 { 100 } else { 0 };
        db[(p - 1) * size + from..p * size].fill(0);
    }
}

#[test]
fn pages_without_a_parent_find_their_table() {
    for auto_vacuum in [0, 1] {
        for page_size in [512, 4096] {
            let r = Recipe { page_size, auto_vacuum, ..PLAIN };
            let s = sample(r);
            for names in
                [&["msgs"][..], &["msgs", "files", "users"], &["kv"], &["msgs", "files", "kv", "users"]]
            {
                let mut db = s.bytes.clone();
                for name in names {
                    // The root is where the walk began: the only page that no other names.
                    let (_, interior) = tree_pages(&db, name);
                    zero_pages(&mut db, &interior[..1.min(interior.len())]);
                }
                let got = report_class(&format!("C roots {names:?} {page_size} av{auto_vacuum}"), &s, db, &r);
                assert_eq!(got.wrong, 0);
                assert!(got.exact * 100 >= s.truth.len() * 98, "{got:?}");
            }
            let mut db = s.bytes.clone();
            let (_, interior) = tree_pages(&db, "msgs");
            zero_pages(&mut db, &interior);
            let got = report_class(&format!("C interior {page_size} av{auto_vacuum}"), &s, db, &r);
            assert_eq!((got.wrong, got.exact), (0, s.truth.len()));
        }
    }
}

#[test]
fn swapped_and_overwritten_leaves() {
    let r = PLAIN;
    let s = sample(r);
    let size = r.page_size as usize;
    let (msgs, users) = (leaves(&s.bytes, "msgs"), leaves(&s.bytes, "users"));
    let copy = |db: &mut Vec<u8>, from: usize, to: usize| {
        let page = s.bytes[(from - 1) * size..from * size].to_vec();
        db[(to - 1) * size..to * size].copy_from_slice(&page);
    };
    let mut db = s.bytes.clone();
    copy(&mut db, msgs[3], users[2]);
    copy(&mut db, users[2], msgs[3]);
    let got = report_class("G1 swapped", &s, db, &r);
    assert_eq!((got.wrong, got.exact), (0, s.truth.len()));
    let mut db = s.bytes.clone();
    copy(&mut db, msgs[3], msgs[7]);
    copy(&mut db, msgs[7], msgs[3]);
    let got = report_class("G1 swapped in one table", &s, db, &r);
    assert_eq!((got.wrong, got.exact), (0, s.truth.len()));
    let mut db = s.bytes.clone();
    for i in 0..8 {
        copy(&mut db, users[i % users.len()], msgs[i * 3 + 1]);
    }
    let got = report_class("G2 overwritten", &s, db, &r);
    assert_eq!(got.wrong, 0);
    let mut db = s.bytes.clone();
    for i in 0..5 {
        copy(&mut db, msgs[i * 2], msgs[i * 2 + 11]);
    }
    let got = report_class("G2 overwritten by own", &s, db, &r);
    assert_eq!(got.wrong, 0);
}

#[test]
fn overflow_chains_are_not_trusted_blindly() {
    let r = Recipe { page_size: 1024, ..PLAIN };
    let s = sample(r);
    let size = r.page_size as usize;
    let db = &s.bytes;
    // Chains by walking from cells of the leaf pages of `files`.
    let mut chain_pages = Vec::new();
    for leaf in leaves(db, "files") {
        let page = &db[(leaf - 1) * size..leaf * size];
        let (mut cells, mut slots) = (Vec::new(), Vec::new());
        cells::strict(page, 0, size as u32, &mut cells, &mut slots).unwrap();
        for c in cells.iter().filter(|c| c.overflow != 0) {
            let mut chain = vec![c.overflow as usize];
            loop {
                let at = (chain[chain.len() - 1] - 1) * size;
                match u32::from_be_bytes(db[at..at + 4].try_into().unwrap()) {
                    0 => break,
                    n => chain.push(n as usize),
                }
            }
            chain_pages.push(chain);
        }
    }
    assert!(chain_pages.len() > 40);
    let hurt: Vec<(usize, usize)> = (0..chain_pages.len() - 1)
        .step_by(5)
        .map(|i| (chain_pages[i][chain_pages[i].len() / 2], chain_pages[i + 1][chain_pages[i + 1].len() / 2]))
        .collect();
    for class in ["zeroed", "last zeroed", "next zero", "cross-linked", "circle", "to a leaf"] {
        let mut db = s.bytes.clone();
        for (i, (p, q)) in hurt.iter().enumerate() {
            let chain = &chain_pages[i * 5];
            let last = chain[chain.len() - 1];
            let at = (p - 1) * size;
            match class {
                "zeroed" => db[at..at + size].fill(0),
                "last zeroed" => db[(last - 1) * size..last * size].fill(0),
                "next zero" => db[at..at + 4].fill(0),
                "cross-linked" => db[at..at + 4].copy_from_slice(&(*q as u32).to_be_bytes()),
                "circle" => db[at..at + 4].copy_from_slice(&(*p as u32).to_be_bytes()),
                _ => {
                    let leaf = leaves(&s.bytes, "msgs")[3] as u32;
                    db[at..at + 4].copy_from_slice(&leaf.to_be_bytes());
                }
            }
        }
        let got = report_class(&format!("D {class}"), &s, db, &r);
        assert_eq!(got.wrong, 0, "{class}");
        assert!(got.lost <= hurt.len() * 2, "{class}");
    }
}

/// A class of damage to a log, by name.
type Hurt<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));

pub(super) fn wal_sample() -> (Vec<u8>, Vec<u8>, Sample) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    fill(&db, &Recipe { rows: 800, ..PLAIN });
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;").unwrap();
    for i in 0..300 {
        db.execute(
            "INSERT INTO msgs(chat, body, at, flag) VALUES(?1, ?2, ?1, 1)",
            (i, format!("later message {i} {}", "x".repeat(100))),
        )
        .unwrap();
        if i % 3 == 0 {
            db.execute("UPDATE users SET bio = ?1 WHERE uid = ?2", (format!("bio {i}"), i)).unwrap();
        }
    }
    let truth = truth(&db);
    let main = std::fs::read(&path).unwrap();
    let wal = std::fs::read(dir.path().join("a.db-wal")).unwrap();
    (main.clone(), wal, Sample { bytes: main, truth })
}

#[test]
fn logs_are_applied_past_damage() {
    let (main, wal, s) = wal_sample();
    let step = 24 + 4096;
    let frames = (wal.len() - 32) / step;
    let hurt: [Hurt<'_>; 7] = [
        ("healthy", &|_| {}),
        ("S4 one byte", &|w| w[32 + step * (frames / 3) + 24 + 2000] ^= 0x55),
        ("S4 checksum", &|w| w[32 + step * (frames / 3) + 17] ^= 0x55),
        ("S5 magic", &|w| w[..4].fill(0)),
        ("S6 salt", &|w| w[16] ^= 0xff),
        ("zeroed header", &|w| w[..32].fill(0)),
        ("a frame header", &|w| w[32 + step * 9..32 + step * 9 + 24].fill(0)),
    ];
    for (name, how) in hurt {
        let mut log = wal.clone();
        how(&mut log);
        let (mem, report) = salvage(main.clone(), Some(log), None);
        let got = score(&mem, &s.truth, "UTF-8");
        println!("{name}: of {} {got:?} {:?}", s.truth.len(), report.notes);
        assert_eq!(got.wrong, 0, "{name}");
        if name != "a frame header" {
            assert_eq!(got.exact, s.truth.len(), "{name}");
        }
    }
    // The log of another database is left out.
    let other = sample(Recipe { rows: 900, churn: false, ..PLAIN });
    let (mem, report) = salvage(other.bytes.clone(), Some(wal), None);
    let got = score(&mem, &other.truth, "UTF-8");
    assert_eq!((got.exact, got.wrong), (other.truth.len(), 0), "{got:?} {:?}", report.notes);
}

#[test]
fn a_log_in_which_most_pages_changed_their_table_is_still_the_databases() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA page_size=512; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
         CREATE TABLE a(id INTEGER PRIMARY KEY, n INT, t TEXT); CREATE TABLE b(t TEXT, u TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)
           INSERT INTO a SELECT i, i*7, 'some text of row ' || i FROM n;
         PRAGMA wal_checkpoint(TRUNCATE);
         DELETE FROM a WHERE id > 200;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1500)
           INSERT INTO b SELECT 'word ' || i, 'other text ' || i FROM n;",
    )
    .unwrap();
    let main = std::fs::read(&path).unwrap();
    let mut wal = std::fs::read(dir.path().join("a.db-wal")).unwrap();
    wal[16] ^= 0xff;
    let (mem, report) = salvage(main, Some(wal), None);
    let count = |name: &str| {
        let at = mem.schema.iter().position(|o| o.name == name);
        mem.rows.iter().filter(|r| Some(r.object) == at).count()
    };
    assert_eq!((count("a"), count("b")), (200, 1500), "{:?}", report.notes);
    assert!(!report.doubtful_log);
}

#[test]
fn hot_journals_are_rolled_back_past_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    fill(&db, &Recipe { rows: 1500, ..PLAIN });
    let before = truth(&db);
    db.execute_batch(
        "PRAGMA cache_size=5; BEGIN; UPDATE msgs SET body = upper(body) || id; DELETE FROM users WHERE uid > 100;",
    )
    .unwrap();
    let journal = std::fs::read(dir.path().join("a.db-journal")).unwrap();
    let main = std::fs::read(&path).unwrap();
    let hurt: [Hurt<'_>; 3] = [
        ("healthy", &|_| {}),
        ("S12 magic", &|j| j[..8].fill(0)),
        ("S13 checksum", &|j| j[512 + 4 + 4096] ^= 1),
    ];
    for (name, how) in hurt {
        let mut log = journal.clone();
        how(&mut log);
        let (mem, report) = salvage(main.clone(), None, Some(log));
        let got = score(&mem, &before, "UTF-8");
        println!("{name}: of {} {got:?} {:?}", before.len(), report.notes);
        assert_eq!((got.wrong, got.exact), (0, before.len()), "{name}");
    }
}

#[test]
fn shifted_grids_are_found_again() {
    for page_size in [512, 4096] {
        let r = Recipe { page_size, ..PLAIN };
        let s = sample(r);
        let size = page_size as usize;
        for at in [s.bytes.len() / 3 / size * size, s.bytes.len() / 2 / size * size + 512 * 3] {
            let mut db = s.bytes.clone();
            db.splice(at..at, (0..512).map(|i| (i * 7 + 13) as u8));
            let got = report_class(&format!("F8 inserted {page_size}"), &s, db, &r);
            assert_eq!(got.wrong, 0);
            assert!(got.exact * 100 >= s.truth.len() * 98, "{got:?}");
            let mut db = s.bytes.clone();
            db.drain(at..at + 512);
            let got = report_class(&format!("F9 missing {page_size}"), &s, db, &r);
            assert_eq!(got.wrong, 0);
            assert!(got.exact * 100 >= s.truth.len() * 97, "{got:?}");
        }
    }
}

#[test]
fn a_lost_first_page_costs_no_row_when_the_schema_is_given() {
    for auto_vacuum in [0, 1] {
        for encoding in ["UTF-8", "UTF-16le"] {
            let r = Recipe { auto_vacuum, encoding, ..PLAIN };
            let s = sample(r);
            let (healthy, _) = salvage(s.bytes.clone(), None, None);
            let options = Options { schema_from: healthy.schema.clone(), ..Options::default() };
            let mut db = s.bytes.clone();
            db[..4096].fill(0);
            let (mem, report) = salvage_with(db.clone(), None, None, options);
            let got = score(&mem, &s.truth, encoding);
            println!("E1 {auto_vacuum} {encoding}: of {} {got:?} {:?}", s.truth.len(), report.pages);
            assert_eq!(got.wrong, 0);
            assert!(got.exact * 1000 >= s.truth.len() * 995, "{got:?}");
            assert_eq!(mem.settings.unwrap().encoding, healthy.settings.unwrap().encoding);
            // Without a schema the rows come out in tables named after their root, or without one.
            let (mem, report) = salvage(db, None, None);
            let found = mem.orphans.len() + mem.rows.len();
            assert!(found >= s.truth.len() * 99 / 100, "{found}");
            assert!(mem.schema.iter().any(|o| o.origin == SchemaOrigin::Inferred));
            assert!(report.schema_incomplete);
        }
    }
}

#[test]
fn a_wrong_encoding_or_page_size_in_the_header_is_overruled() {
    let s = sample(PLAIN);
    for (at, byte) in [(59, 3), (59, 2), (16, 0x04), (17, 0x01)] {
        let mut db = s.bytes.clone();
        db[at] = byte;
        let got = report_class(&format!("F byte {at}"), &s, db, &PLAIN);
        assert_eq!((got.wrong, got.exact), (0, s.truth.len()));
    }
    let mut db = s.bytes.clone();
    db[..100].fill(0);
    let got = report_class("E2", &s, db, &PLAIN);
    assert_eq!((got.wrong, got.exact), (0, s.truth.len()));
    let mut db = vec![0x5a; 1000];
    db.extend_from_slice(&s.bytes);
    let got = report_class("F7", &s, db, &PLAIN);
    assert_eq!((got.wrong, got.exact), (0, s.truth.len()));
}
