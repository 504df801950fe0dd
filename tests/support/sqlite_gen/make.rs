//! Sound databases of every layout.

use std::path::Path;

use rusqlite::{Connection, params};

use super::Dice;
use super::walk::{Files, frames};

/// A table as the generator made it.
#[derive(Debug, Clone)]
pub struct TableSpec {
    pub name: String,
    /// Table column of each record field, for a WITHOUT ROWID table.
    pub layout: Option<Vec<usize>>,
    /// What a record that ends early reads as, by column.
    pub defaults: Vec<Option<super::walk::Val>>,
}

/// A made database.
pub struct Made {
    pub files: Files,
    /// Tables whose rows are scored.
    pub tables: Vec<TableSpec>,
    /// A database of the same schema without rows.
    pub schema_only: Vec<u8>,
    pub page_size: usize,
    pub describe: String,
}

/// What lies beside the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    Nothing,
    Wal,
    Journal,
}

const WORDS: [&str; 16] = [
    "order",
    "ship",
    "label",
    "größe",
    "заказ",
    "商品",
    "paid",
    "refund",
    "draft",
    "label",
    "note",
    "batch",
    "sku",
    "x",
    "pending",
    "customer",
];

fn text(dice: &mut Dice, words: usize) -> String {
    let mut out = String::new();
    for _ in 0..=dice.below(words) {
        let word: &str = dice.pick::<&str>(&WORDS);
        out.push_str(word);
        out.push(if dice.one_in(9) { '\n' } else { ' ' });
    }
    out
}

/// Makes a database in `dir`.
pub fn make(seed: u64, beside: Beside, dir: &Path) -> Made {
    let mut dice = Dice::new(seed);
    // Small pages more often: more trees for the same bytes.
    let page_size = *dice.pick(&[512, 1024, 1024, 2048, 4096, 4096, 4096, 8192, 16384, 65536_usize]);
    let encoding = *dice.pick(&["UTF-8", "UTF-8", "UTF-8", "UTF-16le", "UTF-16be"]);
    let auto_vacuum = dice.below(3);
    let reserved: u8 = if page_size >= 1024 && dice.one_in(5) { 8 } else { 0 };
    let path = dir.join("made.db");
    let _ = std::fs::remove_file(&path);
    let open = || {
        let db = Connection::open(&path).unwrap();
        db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
        db
    };
    let db = open();
    db.execute_batch(&format!(
        "PRAGMA page_size={page_size}; PRAGMA encoding='{encoding}'; PRAGMA auto_vacuum={auto_vacuum};
         PRAGMA foreign_keys=OFF; PRAGMA synchronous=OFF; CREATE TABLE first_of_all(a); DROP TABLE first_of_all;"
    ))
    .unwrap();
    if reserved > 0 {
        // The reserve of an empty database is what its header says.
        drop(db);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] = reserved;
        let usable = (page_size - reserved as usize) as u16;
        bytes[105..107].copy_from_slice(&usable.to_be_bytes());
        bytes.truncate(page_size);
        bytes[28..32].copy_from_slice(&1_u32.to_be_bytes());
        bytes[32..40].fill(0);
        std::fs::write(&path, bytes).unwrap();
    } else {
        drop(db);
    }
    let db = open();
    db.execute_batch("PRAGMA foreign_keys=OFF; PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY").unwrap();
    let tables = schema(&mut dice, &db);
    db.execute_batch(&format!("PRAGMA user_version={}; PRAGMA application_id=4711", seed % 1000)).unwrap();
    // About 70 pages of rows, between 150 KB and 1.5 MB.
    let target = (page_size * 70).clamp(150_000, 1_500_000);
    db.execute_batch("BEGIN").unwrap();
    fill(&mut dice, &db, &tables, target);
    churn(&mut dice, &db, &tables, 12);
    db.execute_batch("COMMIT").unwrap();
    if tables.iter().any(|t| t.name == "msgs") && dice.one_in(2) {
        db.execute_batch("ALTER TABLE msgs ADD COLUMN flags INT DEFAULT 7").unwrap();
        db.execute_batch("UPDATE msgs SET flags=1 WHERE id % 11 = 0").unwrap();
    }
    if dice.one_in(3) {
        db.execute_batch("ANALYZE").unwrap();
    }
    let schema_only = without_rows(&db, encoding, dir);
    let files = match beside {
        Beside::Nothing => {
            drop(db);
            Files { db: std::fs::read(&path).unwrap(), wal: None, journal: None }
        }
        Beside::Wal => {
            db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0").unwrap();
            for _ in 0..4 {
                db.execute_batch("BEGIN").unwrap();
                fill(&mut dice, &db, &tables, target / 12);
                churn(&mut dice, &db, &tables, 30);
                db.execute_batch("COMMIT").unwrap();
            }
            let wal = std::fs::read(dir.join("made.db-wal")).unwrap();
            assert!(frames(&wal).len() > 5);
            Files { db: std::fs::read(&path).unwrap(), wal: Some(wal), journal: None }
        }
        Beside::Journal => {
            db.execute_batch(
                "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL; PRAGMA cache_size=4; BEGIN",
            )
            .unwrap();
            fill(&mut dice, &db, &tables, target / 6);
            churn(&mut dice, &db, &tables, 5);
            let files = Files {
                db: std::fs::read(&path).unwrap(),
                wal: None,
                journal: Some(std::fs::read(dir.join("made.db-journal")).unwrap()),
            };
            db.execute_batch("ROLLBACK").unwrap();
            files
        }
    };
    let _ = std::fs::remove_file(&path);
    let describe = format!("page {page_size} {encoding} av{auto_vacuum} reserve {reserved} {beside:?}");
    let mut tables = tables;
    // Rows from before ADD COLUMN read as its default.
    for t in &mut tables {
        if t.name == "msgs" {
            t.defaults.push(Some(super::walk::Val::Int(7)));
        }
    }
    Made { files, tables, schema_only, page_size, describe }
}

/// A database of the same schema, made by its statements.
fn without_rows(db: &Connection, encoding: &str, dir: &Path) -> Vec<u8> {
    let path = dir.join("blank.db");
    let _ = std::fs::remove_file(&path);
    let blank = Connection::open(&path).unwrap();
    blank.execute_batch(&format!("PRAGMA encoding='{encoding}'; PRAGMA synchronous=OFF")).unwrap();
    let mut statements = db
        .prepare(
            "SELECT sql FROM sqlite_schema WHERE sql NOT NULL AND name NOT GLOB 'sqlite_*'
             AND name NOT GLOB 'ft_*' AND name NOT GLOB 'area_*' ORDER BY rowid",
        )
        .unwrap();
    for sql in statements.query_map([], |r| r.get::<_, String>(0)).unwrap() {
        blank.execute_batch(&sql.unwrap()).unwrap();
    }
    drop(blank);
    std::fs::read(&path).unwrap()
}

fn spec(name: &str, columns: usize, layout: Option<&[usize]>) -> TableSpec {
    TableSpec { name: name.into(), layout: layout.map(<[usize]>::to_vec), defaults: vec![None; columns] }
}

/// Some of the tables, with their indexes, in an order from the seed.
fn schema(dice: &mut Dice, db: &Connection) -> Vec<TableSpec> {
    let mut out = Vec::new();
    let mut make = |name: &str, columns: usize, layout: Option<&[usize]>, sql: &str| {
        db.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        out.push(spec(name, columns, layout));
    };
    make(
        "msgs",
        6,
        None,
        "CREATE TABLE msgs(id INTEGER PRIMARY KEY, chat INT NOT NULL, ts INT, kind TEXT, body TEXT, attach BLOB);
         CREATE INDEX msgs_cover ON msgs(chat, ts DESC, kind);
         CREATE INDEX msgs_part ON msgs(ts) WHERE kind IS NOT NULL;
         CREATE INDEX msgs_expr ON msgs(length(body));",
    );
    if !dice.one_in(4) {
        make(
            "kv",
            4,
            Some(&[1, 0, 2, 3]),
            "CREATE TABLE kv(sub INT, k TEXT, v, w REAL, PRIMARY KEY(k, sub)) WITHOUT ROWID;
             CREATE INDEX kv_w ON kv(w);",
        );
    }
    if !dice.one_in(4) {
        make(
            "docs",
            3,
            None,
            "CREATE TABLE docs(title TEXT, size REAL, content BLOB); CREATE INDEX docs_title ON docs(title);",
        );
    }
    if dice.one_in(2) {
        make(
            "events",
            3,
            None,
            "CREATE TABLE events(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, at REAL);",
        );
    }
    if dice.one_in(2) {
        make(
            "typed",
            4,
            None,
            "CREATE TABLE typed(a INTEGER NOT NULL, b TEXT, c REAL, d ANY) STRICT; CREATE INDEX typed_b ON typed(b);",
        );
    }
    if dice.one_in(2) {
        // The virtual column is no part of the record.
        make(
            "made",
            3,
            None,
            "CREATE TABLE made(a INT, twice AS (a * 2), s TEXT AS ('s' || a) STORED, z TEXT);",
        );
    }
    if dice.one_in(3) {
        db.execute_batch("CREATE VIRTUAL TABLE ft USING fts5(title, body)").unwrap();
        out.push(spec("ft_content", 3, None));
    }
    if dice.one_in(3) {
        db.execute_batch("CREATE VIRTUAL TABLE area USING rtree(id, x0, x1, y0, y1)").unwrap();
    }
    db.execute_batch(
        "CREATE VIEW recent AS SELECT * FROM msgs WHERE ts > 100;
         CREATE TRIGGER on_msg AFTER DELETE ON msgs WHEN 0 BEGIN SELECT 1; END;",
    )
    .unwrap();
    out
}

fn has(tables: &[TableSpec], name: &str) -> bool {
    tables.iter().any(|t| t.name == name)
}

/// Adds rows of about `target` bytes, a third of them to each big table.
fn fill(dice: &mut Dice, db: &Connection, tables: &[TableSpec], target: usize) {
    let mut run = |name: &str, share: usize, row: &mut dyn FnMut(&mut Dice) -> usize| {
        let mut left = if has(tables, name) { target / share } else { 0 };
        while left > 0 {
            left = left.saturating_sub(row(dice) + 12);
        }
    };
    let exec = |sql: &str, p: &[&dyn rusqlite::ToSql]| {
        db.prepare_cached(sql).unwrap().execute(p).unwrap();
    };
    run("msgs", 3, &mut |d| {
        let kind = (!d.one_in(4)).then(|| *d.pick(&WORDS));
        let body = text(d, 25);
        let attach = (d.one_in(5)).then(|| {
            let n = d.below(300);
            d.bytes(n)
        });
        exec(
            "INSERT INTO msgs(chat,ts,kind,body,attach) VALUES(?1,?2,?3,?4,?5)",
            params![d.below(40) as i64, d.below(1_000_000) as i64, kind, body, attach],
        );
        body.len() + attach.map_or(0, |a| a.len())
    });
    run("kv", 4, &mut |d| {
        let key = format!("{}{}", text(d, 2), d.below(1_000_000));
        let value = text(d, 12);
        exec(
            "INSERT OR REPLACE INTO kv VALUES(?1,?2,?3,?4)",
            params![d.below(100) as i64, key, value, d.below(10_000) as f64 / 4.0],
        );
        key.len() + value.len()
    });
    run("docs", 3, &mut |d| {
        let n = if d.one_in(4) { d.below(20_000) } else { d.below(500) };
        let title = text(d, 4);
        exec("INSERT INTO docs VALUES(?1,?2,?3)", params![title, d.below(999) as f64 + 0.5, d.bytes(n)]);
        title.len() + n
    });
    run("events", 12, &mut |d| {
        exec(
            "INSERT OR IGNORE INTO events(name,at) VALUES(?1,?2)",
            params![format!("e{}", d.next()), d.below(1000) as f64 / 8.0],
        );
        24
    });
    run("typed", 12, &mut |d| {
        let b = text(d, 6);
        exec(
            "INSERT INTO typed VALUES(?1,?2,?3,?4)",
            params![d.next() as i64 >> d.below(60), b, 0.25 * d.below(50) as f64, d.below(9) as i64],
        );
        b.len() + 20
    });
    run("made", 12, &mut |d| {
        let z = text(d, 5);
        exec("INSERT INTO made(a,z) VALUES(?1,?2)", params![d.below(100_000) as i64, z]);
        z.len() + 14
    });
    run("ft_content", 10, &mut |d| {
        let (a, b) = (text(d, 4), text(d, 20));
        exec("INSERT INTO ft VALUES(?1,?2)", params![a, b]);
        (a.len() + b.len()) * 2
    });
    if db.prepare("SELECT 1 FROM area").is_ok() {
        for _ in 0..60 {
            let (x, y) = (dice.below(10_000) as f64, dice.below(10_000) as f64);
            exec("INSERT INTO area VALUES(NULL,?1,?2,?3,?4)", params![x, x + 3.0, y, y + 3.0]);
        }
    }
}

/// Deletes one row in `n`, some ranges, and changes one in `n`, so that free
/// space and free pages hold old rows.
fn churn(dice: &mut Dice, db: &Connection, tables: &[TableSpec], n: usize) {
    let k = dice.below(n);
    let go = |sql: String| {
        db.execute_batch(&sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    };
    go(format!("DELETE FROM msgs WHERE id % {n} = {k}"));
    go(format!("UPDATE msgs SET body = body || ' edited ' || body WHERE id % {n} = {}", (k + 1) % n));
    go(format!("UPDATE msgs SET body = substr(body, 1, 5), ts = ts + 1 WHERE id % {n} = {}", (k + 2) % n));
    let from = dice.below(400);
    go(format!("DELETE FROM msgs WHERE id BETWEEN {from} AND {}", from + 60));
    if has(tables, "kv") {
        go(format!("DELETE FROM kv WHERE sub % {n} = {k}"));
        go(format!("UPDATE kv SET v = v || v WHERE sub % {n} = {}", (k + 1) % n));
    }
    if has(tables, "docs") {
        go(format!("DELETE FROM docs WHERE rowid % {n} = {k}"));
    }
    if has(tables, "events") {
        go(format!("DELETE FROM events WHERE id % {n} = {k}"));
    }
    if has(tables, "ft_content") {
        go(format!("DELETE FROM ft WHERE rowid % {n} = {k}"));
    }
}
