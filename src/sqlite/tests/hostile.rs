//! Schemas whose own expressions cost without bound: every place that holds an
//! expression with every kind of expensive one. The check and the salvage end,
//! within little memory, every row comes back, and what was not evaluated is said.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use shopmend_sqlite::check::{self, Files, Level};
use shopmend_sqlite::{Control, SalvageOptions, salvage};

const ROWS: i64 = 200;

/// Expressions over a column `b` of some forty characters.
fn expensive() -> Vec<(&'static str, String)> {
    let nested = (0..24).fold("b".to_owned(), |inner, _| format!("replace({inner},'0','0000')"));
    let doubled = (0..12).fold("b".to_owned(), |inner, _| format!("({inner}||{inner})"));
    let deep = format!("{}b{}", "abs(".repeat(90), ")".repeat(90));
    let zeros = "hex(zeroblob(300000))";
    vec![
        ("hex", "length(hex(zeroblob(400000000)))>0".into()),
        ("blob", "zeroblob(900000000) IS NOT b".into()),
        ("quote", "length(quote(zeroblob(300000000)))>0".into()),
        ("printf", "printf('%400000000d',id)>''".into()),
        ("precision", "printf('%.*f',400000000,1.5)>''".into()),
        ("nested replace", format!("length({nested})>0")),
        ("doubled", format!("length({doubled})>0")),
        ("instr", format!("instr({zeros}||b,hex(zeroblob(140000))||'1'||b)=0")),
        ("replace", format!("length(replace({zeros}||b,hex(zeroblob(140000))||'1'||b,'x'))>0")),
        ("trim", format!("length(trim({zeros}||b,{zeros}))>=0")),
        ("like", format!("{zeros}||b NOT LIKE '%0%0%0%0%0%0%0%0%0%0%1_x'||b")),
        ("glob", format!("{zeros}||b NOT GLOB '*0*0*0*0*0*0*0*0*0*0*1?x'||b")),
        ("deep", format!("{deep} IS NOT 1")),
        ("json", "json_array(hex(zeroblob(200000000)),b)>''".into()),
        ("concat", "length(concat_ws(hex(zeroblob(90000000)),b,b,b,b,b))>0".into()),
        ("char", "length(char(1,2,3)||zeroblob(800000000))>0".into()),
    ]
}

/// The statements of table `m` and its index with an expression at one place.
fn places(expression: &str) -> Vec<(&'static str, String, String)> {
    let table = |more: &str| format!("CREATE TABLE m(id INTEGER PRIMARY KEY,b TEXT{more})");
    let plain = "CREATE INDEX i ON m(b)".to_owned();
    vec![
        ("CHECK of a column", table(&format!(" CHECK({expression})")), plain.clone()),
        ("CHECK of the table", table(&format!(", CHECK({expression})")), plain.clone()),
        ("DEFAULT", table(&format!(", d DEFAULT ({expression})")), plain.clone()),
        ("generated column", table(&format!(", g AS ({expression})")), plain.clone()),
        ("NOT NULL generated column", table(&format!(", g AS ({expression}) NOT NULL")), plain.clone()),
        (
            "indexed generated column",
            table(&format!(", g AS ({expression})")),
            "CREATE INDEX i ON m(g)".into(),
        ),
        ("index by expression", table(""), format!("CREATE INDEX i ON m(({expression}))")),
        ("index by two expressions", table(""), format!("CREATE INDEX i ON m(b,({expression})||id)")),
        ("unique index by expression", table(""), format!("CREATE UNIQUE INDEX i ON m(({expression})||id)")),
        ("partial index", table(""), format!("CREATE INDEX i ON m(b) WHERE {expression}")),
        ("unique partial index", table(""), format!("CREATE UNIQUE INDEX i ON m(b) WHERE {expression}")),
        (
            "chain of generated columns",
            table(&format!(
                ", c0 AS ({expression}){}",
                (1..60).map(|i| format!(", c{i} AS (c{0}||c{0})", i - 1)).collect::<Vec<_>>().concat()
            )),
            plain.clone(),
        ),
        (
            "STRICT table",
            format!("CREATE TABLE m(id INTEGER PRIMARY KEY,b TEXT CHECK({expression})) STRICT"),
            plain,
        ),
    ]
}

/// A sound database of which two statements were put in place of others.
fn hostile(path: &Path, table: &str, index: &str) {
    let _ = std::fs::remove_file(path);
    let db = Connection::open(path).unwrap();
    db.execute_batch(
        "PRAGMA page_size=1024; CREATE TABLE m(id INTEGER PRIMARY KEY,b TEXT); CREATE INDEX i ON m(b); BEGIN",
    )
    .unwrap();
    for i in 1..=ROWS {
        db.execute("INSERT INTO m VALUES(?1,?2)", (i, text(i))).unwrap();
    }
    db.execute_batch("COMMIT; PRAGMA writable_schema=ON").unwrap();
    for (name, sql) in [("m", table), ("i", index)] {
        db.execute("UPDATE sqlite_schema SET sql=?2 WHERE name=?1", [name, sql]).unwrap();
    }
}

fn text(i: i64) -> String {
    format!("text {:040X}", i.wrapping_mul(0x5851_F42D_4C95_7F2D).unsigned_abs())
}

/// The rows of `m` or of what stands for it, read without its schema.
fn rows_of(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    // A statement that SQLite refuses leaves columns without their names.
    let named = db.prepare("SELECT id,b FROM m NOT INDEXED");
    let mut rows = named.or_else(|_| db.prepare("SELECT rowid,c1 FROM m NOT INDEXED")).unwrap();
    let rows = rows.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?))).unwrap();
    rows.filter(|r| r.as_ref().is_ok_and(|(i, b)| *b == text(*i))).count() as i64
}

fn deep_check(path: &Path) -> check::Checked {
    let main = std::fs::read(path).unwrap();
    let files = Files { main: &main, wal: None, journal: None };
    check::check(files, Level::Deep, &Control::default()).unwrap()
}

/// The most memory that this process had so far, in MiB, where that can be told.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// The most memory that the tests here may need, in MiB: each runs in a thread.
const MOST: u64 = 300;

struct Bench {
    dir: tempfile::TempDir,
    /// Whether the last salvage said what it did not evaluate.
    said: bool,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), said: false }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Checks and salvages, and gives the rows that came back.
    fn survives(&mut self, what: &str) -> i64 {
        let (given, made) = (self.path("given.db"), self.path("made.db"));
        let _ = std::fs::remove_file(&made);
        let checked = deep_check(&given);
        assert!(!checked.findings.iter().any(|f| f.code == "sqlite.checker-disagrees"), "{what}");
        let report = salvage(&given, &made, &SalvageOptions::default(), &Control::default());
        let report = report.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(report.integrity, "ok", "{what}");
        assert!(peak() < MOST, "{what}: {} MiB", peak());
        self.said = report.notes.iter().any(|n| n.contains("not checked"))
            || report.dropped.iter().any(|d| d.reason.contains("expressions"));
        rows_of(&made)
    }
}

#[test]
fn every_expensive_expression_at_every_place_ends_and_loses_no_row() {
    let mut bench = Bench::new();
    let mut cases = 0;
    for (construct, expression) in expensive() {
        for (place, table, index) in places(&expression) {
            cases += 1;
            hostile(&bench.path("given.db"), &table, &index);
            assert_eq!(bench.survives(&format!("{construct} as {place}")), ROWS, "{construct} as {place}");
            // Nothing needs the value of a default or of a column that no index has.
            let evaluated = !["DEFAULT", "generated column"].contains(&place);
            assert!(bench.said || !evaluated || construct != "hex", "{construct} as {place}");
        }
    }
    println!("{cases} hostile schemas");
}

/// A database of one table with `leaves` full pages of rows that all lead to
/// the same `chain` overflow pages.
fn shared_chain(path: &Path, chain: u32, leaves: u32) -> u64 {
    const PAGE: usize = 4096;
    {
        let _ = std::fs::remove_file(path);
        let db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA page_size=4096; CREATE TABLE t(a BLOB)").unwrap();
    }
    let mut file = std::fs::read(path).unwrap();
    file.truncate(PAGE);
    let varint = |mut n: u64| {
        let mut out = vec![(n & 0x7F) as u8];
        while n > 0x7F {
            n >>= 7;
            out.insert(0, (n & 0x7F) as u8 | 0x80);
        }
        out
    };
    let (first_leaf, first_over) = (3, 3 + leaves);
    // The least local part leaves the rest of the payload in whole pages.
    let least = (PAGE - 12) * 32 / 255 - 23;
    let rest = chain as usize * (PAGE - 4);
    let payload = least + rest;
    let header = |len: usize| {
        let serial = varint(12 + 2 * len as u64);
        [vec![serial.len() as u8 + 1], serial].concat()
    };
    let head = header(payload - header(payload).len());
    let mut rowid = 0;
    let mut pages = vec![vec![0; PAGE]; 1 + leaves as usize];
    let mut last = Vec::new();
    for page in &mut pages[1..] {
        let (mut at, mut count) = (PAGE, 0);
        loop {
            let mut cell = [varint(payload as u64), varint(rowid + 1), head.clone()].concat();
            cell.resize(cell.len() + least - head.len(), b'Z');
            cell.extend(first_over.to_be_bytes());
            if at < cell.len() + 8 + 2 * (count + 1) {
                break;
            }
            rowid += 1;
            at -= cell.len();
            page[at..at + cell.len()].copy_from_slice(&cell);
            page[8 + 2 * count..10 + 2 * count].copy_from_slice(&(at as u16).to_be_bytes());
            count += 1;
        }
        page[0] = 13;
        page[3..5].copy_from_slice(&(count as u16).to_be_bytes());
        page[5..7].copy_from_slice(&(at as u16).to_be_bytes());
        last.push(rowid);
    }
    let root = &mut pages[0];
    let (mut at, mut count) = (PAGE, 0);
    for (leaf, key) in (first_leaf..).zip(&last[..last.len() - 1]) {
        let cell = [u32::to_be_bytes(leaf).to_vec(), varint(*key)].concat();
        at -= cell.len();
        root[at..at + cell.len()].copy_from_slice(&cell);
        root[12 + 2 * count..14 + 2 * count].copy_from_slice(&(at as u16).to_be_bytes());
        count += 1;
    }
    root[0] = 5;
    root[3..5].copy_from_slice(&(count as u16).to_be_bytes());
    root[5..7].copy_from_slice(&(at as u16).to_be_bytes());
    root[8..12].copy_from_slice(&(first_over - 1).to_be_bytes());
    file.extend(pages.concat());
    for i in 0..chain {
        let next = if i + 1 < chain { first_over + i + 1 } else { 0 };
        file.extend(next.to_be_bytes());
        file.extend([b'Z'; PAGE - 4]);
    }
    let pages = (file.len() / PAGE) as u32;
    file[28..32].copy_from_slice(&pages.to_be_bytes());
    std::fs::write(path, file).unwrap();
    rowid
}

#[test]
fn rows_that_share_one_overflow_chain_do_not_multiply_it() {
    let bench = Bench::new();
    for (chain, leaves) in [(1, 2), (50, 2), (50, 20), (500, 60)] {
        let (given, made) = (bench.path("given.db"), bench.path("made.db"));
        let rows = shared_chain(&given, chain, leaves);
        let _ = std::fs::remove_file(&made);
        let report = salvage(&given, &made, &SalvageOptions::default(), &Control::default()).unwrap();
        let size = |path: &Path| path.metadata().unwrap().len();
        assert!(size(&made) < 3 * size(&given), "{chain} pages, {rows} rows: {}", size(&made));
        let (_, doubtful, _) = report.totals();
        assert_eq!(doubtful, rows, "no value is certain");
    }
}

#[test]
fn a_schema_of_many_tables_or_of_one_long_statement_loses_no_row() {
    let mut bench = Bench::new();
    let given = bench.path("given.db");
    // All of them claim the rows of one.
    for tables in [300, 3000] {
        hostile(&given, "CREATE TABLE m(id INTEGER PRIMARY KEY,b TEXT)", "CREATE INDEX i ON m(b)");
        let db = Connection::open(&given).unwrap();
        db.execute_batch("PRAGMA writable_schema=ON; BEGIN").unwrap();
        for n in 0..tables {
            db.execute(
                "INSERT INTO sqlite_schema SELECT 'table','t'||?1,'t'||?1,rootpage,'CREATE TABLE t'||?1||'(a,b)'
                 FROM sqlite_schema WHERE name='m'",
                [n],
            )
            .unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
        drop(db);
        assert_eq!(bench.survives(&format!("{tables} tables")), ROWS);
    }
    let comment = format!("/*{}*/", "x".repeat(6 << 20));
    let default = format!(", d DEFAULT '{}'", "x".repeat(6 << 20));
    for more in [comment, default] {
        let table = format!("CREATE TABLE m(id INTEGER PRIMARY KEY,b TEXT{more})");
        hostile(&given, &table, "CREATE INDEX i ON m(b)");
        let main = std::fs::read(&given).unwrap();
        let files = Files { main: &main, wal: None, journal: None };
        let checked = check::check(files, Level::Fast, &Control::default()).unwrap();
        assert!(checked.findings.is_empty(), "{:?}", checked.findings);
        assert_eq!(bench.survives("a long statement"), ROWS);
    }
}
