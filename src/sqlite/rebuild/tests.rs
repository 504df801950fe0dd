//! Databases made by SQLite go through the writer and must come out equal, to
//! the byte of every value. The rows are read by a small walker of their own.

use super::keys::decoded;
use super::*;
use crate::ddl::{self, Statement};
use crate::format::{DbHeader, PageType, be16, be32, local_payload, serial_len, varint};
use crate::salvaged::ObjectKind;
use rusqlite::functions::FunctionFlags;

/// A sound database file, read page by page.
struct Plain {
    bytes: Vec<u8>,
    size: usize,
    usable: usize,
}

impl Plain {
    fn read(path: &Path) -> (Self, Settings) {
        let bytes = std::fs::read(path).unwrap();
        let h = DbHeader::parse(&bytes).unwrap();
        let size = h.page_size.unwrap() as usize;
        let settings = Settings {
            page_size: size as u32,
            reserved: h.reserved,
            encoding: h.text_encoding().unwrap(),
            auto_vacuum: if h.largest_root == 0 { 0 } else { 1 + u8::from(h.incremental_vacuum != 0) },
            user_version: h.user_version as i32,
            application_id: h.application_id as i32,
            default_cache_size: h.default_cache_size as i32,
            schema_format: h.schema_format,
            wal_mode: h.write_version == 2,
        };
        let usable = size - usize::from(h.reserved);
        (Self { bytes, size, usable }, settings)
    }

    fn page(&self, number: u32) -> &[u8] {
        let at = (number as usize - 1) * self.size;
        &self.bytes[at..at + self.size]
    }

    /// Every record of the tree: rowid, values, page.
    fn walk(&self, root: u32, out: &mut Vec<(Option<i64>, Vec<Value>, u32)>) {
        let page = self.page(root);
        let at = if root == 1 { 100 } else { 0 };
        let kind = PageType::from_byte(page[at]).unwrap();
        for i in 0..usize::from(be16(page, at + 3).unwrap()) {
            let mut p = usize::from(be16(page, at + kind.header_len() + 2 * i).unwrap());
            if !kind.is_leaf() {
                self.walk(be32(page, p).unwrap(), out);
                p += 4;
            }
            if kind == PageType::TableInterior {
                continue;
            }
            let (length, n) = varint(&page[p..]).unwrap();
            p += n;
            let mut rowid = None;
            if kind == PageType::TableLeaf {
                let (id, n) = varint(&page[p..]).unwrap();
                rowid = Some(id as i64);
                p += n;
            }
            let local = local_payload(kind, self.usable as u32, length) as usize;
            let mut payload = page[p..p + local].to_vec();
            let mut next = if local as u64 == length { 0 } else { be32(page, p + local).unwrap() };
            while next != 0 {
                let page = self.page(next);
                next = be32(page, 0).unwrap();
                payload.extend(&page[4..self.usable]);
            }
            payload.truncate(length as usize);
            out.push((rowid, record(&payload), root));
        }
        if !kind.is_leaf() {
            self.walk(be32(page, at + 8).unwrap(), out);
        }
    }
}

fn record(payload: &[u8]) -> Vec<Value> {
    let (header, mut at) = varint(payload).unwrap();
    let mut body = header as usize;
    let mut out = Vec::new();
    while at < header as usize {
        let (serial, n) = varint(&payload[at..]).unwrap();
        at += n;
        let length = serial_len(serial).unwrap() as usize;
        let bytes = &payload[body..body + length];
        body += length;
        let int = || {
            bytes
                .iter()
                .fold(-i64::from(bytes.first().is_some_and(|b| b & 0x80 != 0)), |v, &b| v << 8 | i64::from(b))
        };
        out.push(match serial {
            0 => Value::Null,
            1..=6 => Value::Integer(int()),
            7 => Value::Real(f64::from_bits(int() as u64)),
            8 | 9 => Value::Integer(serial as i64 - 8),
            n if n % 2 == 0 => Value::Blob(bytes.to_vec()),
            _ => Value::Text(bytes.to_vec()),
        });
    }
    out
}

type Rows = Vec<(Option<i64>, Vec<Value>)>;

/// Schema and rows of every table, by its name.
fn read(path: &Path) -> (Settings, Vec<SchemaObject>, Vec<Rows>) {
    let (plain, settings) = Plain::read(path);
    let mut raw = Vec::new();
    plain.walk(1, &mut raw);
    let text = |v: &Value| match v {
        Value::Text(b) => Some(decoded(b, settings.encoding)),
        _ => None,
    };
    let mut objects = Vec::new();
    let mut rows = Vec::new();
    for (_, v, _) in &raw {
        let Value::Integer(root) = v[3] else { panic!("root page") };
        let kind = match text(&v[0]).unwrap().as_str() {
            "table" => ObjectKind::Table,
            "index" => ObjectKind::Index,
            "view" => ObjectKind::View,
            _ => ObjectKind::Trigger,
        };
        let object = SchemaObject {
            kind,
            name: text(&v[1]).unwrap(),
            table: text(&v[2]).unwrap(),
            root_page: root as u32,
            sql: text(&v[4]),
            origin: SchemaOrigin::File,
        };
        let mut of_table = Vec::new();
        if kind == ObjectKind::Table && root > 0 {
            let mut found = Vec::new();
            plain.walk(root as u32, &mut found);
            let Ok(Statement::Table(table)) = ddl::parse(object.sql.as_ref().unwrap()) else { panic!("ddl") };
            for (rowid, values, _) in found {
                let values = if table.without_rowid { in_table_order(&table, values) } else { values };
                of_table.push((rowid, values));
            }
        }
        objects.push(object);
        rows.push(of_table);
    }
    (settings, objects, rows)
}

fn in_table_order(table: &ddl::Table, values: Vec<Value>) -> Vec<Value> {
    let layout = table.record_layout();
    let mut placed: Vec<(usize, Value)> = layout.into_iter().zip(values).collect();
    placed.sort_by_key(|(column, _)| *column);
    placed.dedup_by_key(|(column, _)| *column);
    placed.into_iter().map(|(_, v)| v).collect()
}

/// Puts a sound database through the writer.
fn rebuild(from: &Path, to: &Path, damaged: bool) -> Written {
    let (settings, objects, rows) = read(from);
    let mut writer = Writer::new(to, &Control::default(), WriterOptions::default());
    writer.begin(&settings, &objects).unwrap();
    for (object, rows) in rows.into_iter().enumerate() {
        for (rowid, values) in rows {
            writer.row(row(object, rowid, values)).unwrap();
        }
    }
    writer.finish(damaged).unwrap()
}

fn row(object: usize, rowid: Option<i64>, values: Vec<Value>) -> Row {
    let (surplus, doubts, placed_by) = (vec![], vec![], PlacedBy::Tree);
    Row { object, rowid, values, surplus, doubts, placed_by, page: 9, offset: 99 }
}

/// Asserts that two databases hold the same, to the byte.
fn assert_equal(a: &Path, b: &Path) {
    let (sa, oa, ra) = read(a);
    let (sb, ob, rb) = read(b);
    assert_eq!(sa, sb);
    // An index in the app's own order is left out.
    let (oa, ra): (Vec<_>, Vec<_>) = oa.into_iter().zip(ra).filter(|(o, _)| o.name != "i4").unzip();
    let shown = |o: &SchemaObject| (o.kind, o.name.clone(), o.table.clone(), o.sql.clone());
    assert_eq!(oa.iter().map(shown).collect::<Vec<_>>(), ob.iter().map(shown).collect::<Vec<_>>());
    for ((object, a), b) in oa.iter().zip(ra).zip(rb) {
        assert_eq!(a.len(), b.len(), "rows of {}", object.name);
        for (a, b) in a.iter().zip(&b) {
            assert_eq!(a, b, "a row of {}", object.name);
        }
    }
}

fn integrity(path: &Path) -> String {
    let db = Connection::open(path).unwrap();
    db.create_collation("unicase", |a: &str, b: &str| a.to_lowercase().cmp(&b.to_lowercase())).unwrap();
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("app_f", -1, flags, |c| c.get::<i64>(0).map(|v| v > 0)).unwrap();
    let mut s = db.prepare("PRAGMA integrity_check").unwrap();
    let lines: Vec<String> = s.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    lines.join("\n")
}

/// A database of every feature that a rebuild must keep.
fn make(path: &Path, pragmas: &str) {
    let db = Connection::open(path).unwrap();
    db.create_collation("unicase", |a: &str, b: &str| a.to_lowercase().cmp(&b.to_lowercase())).unwrap();
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("app_f", -1, flags, |c| c.get::<i64>(0).map(|v| v > 0)).unwrap();
    db.execute_batch(pragmas).unwrap();
    db.execute_batch(
        "CREATE TABLE plain(a, b TEXT, c REAL, d BLOB DEFAULT x'01');
         CREATE TABLE keyed(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, n INT CHECK(n < 100));
         CREATE TABLE descending(id INTEGER PRIMARY KEY DESC, v);
         CREATE TABLE shadowed(rowid TEXT, _rowid_, oid, v UNIQUE);
         CREATE TABLE wr(a TEXT, b INT, c, d, PRIMARY KEY(b DESC, a COLLATE NOCASE)) WITHOUT ROWID;
         CREATE TABLE gen(a INT, v AS (a * 2), s AS (a + 1) STORED, z TEXT);
         CREATE TABLE strict_t(a INTEGER, b TEXT, c REAL, d ANY) STRICT;
         CREATE TABLE app(a TEXT COLLATE unicase, b CHECK(app_f(b)));
         CREATE TABLE \"odd \"\"name\"\"\"(\"a b\", [c d]);
         CREATE INDEX i1 ON plain(b DESC, c);
         CREATE INDEX i2 ON plain(length(d)) WHERE a IS NOT NULL;
         CREATE UNIQUE INDEX i3 ON gen(v, z);
         CREATE INDEX i4 ON app(a);
         CREATE VIEW v AS SELECT a FROM plain;
         CREATE TRIGGER tr AFTER INSERT ON plain BEGIN DELETE FROM keyed; END;
         CREATE VIRTUAL TABLE ft USING fts5(title, body);
         CREATE VIRTUAL TABLE ft4 USING fts4(title, body);
         CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1);",
    )
    .unwrap();
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    db.execute_batch("BEGIN").unwrap();
    for i in 0..300_i64 {
        db.execute(
            "INSERT INTO plain(a,b,c,d) VALUES(?1, 'text '||?1||char(0,233,8364)||?1, ?1*1.0, zeroblob(?1*17))",
            [i],
        )
        .unwrap();
        db.execute("INSERT INTO keyed(id,name,n) VALUES(?1*3,'n'||?1,?1%100)", [i]).unwrap();
        db.execute("INSERT INTO descending VALUES(?1*1000,?1)", [i]).unwrap();
        db.execute("INSERT INTO shadowed VALUES('r'||?1,?1,?1+5,?1)", [i]).unwrap();
        db.execute("INSERT INTO wr VALUES('k'||?1,?1%7,?1*0.5,zeroblob(?1*11))", [i]).unwrap();
        db.execute("INSERT INTO gen(a,z) VALUES(?1,'z'||?1)", [i]).unwrap();
        db.execute("INSERT INTO strict_t VALUES(?1,'x',?1,x'00')", [i]).unwrap();
        db.execute("INSERT INTO app VALUES('A'||?1,?1+1)", [i]).unwrap();
        db.execute("INSERT INTO ft VALUES('title '||?1,'some body text '||?1)", [i]).unwrap();
        db.execute("INSERT INTO ft4 VALUES('title '||?1,'some body text '||?1)", [i]).unwrap();
        db.execute("INSERT INTO rt VALUES(?1,?1,?1+1)", [i]).unwrap();
        db.execute("INSERT INTO \"odd \"\"name\"\"\" VALUES(?1, NULL)", [i]).unwrap();
    }
    db.execute_batch(
        "COMMIT; DELETE FROM keyed WHERE id > 800; DELETE FROM plain WHERE a % 5 = 3;
         INSERT INTO plain(a,b) VALUES(-1, CAST(x'ffd8fe41' AS TEXT)), (9223372036854775807, CAST(x'00d84100' AS TEXT));
         ALTER TABLE plain ADD COLUMN e TEXT DEFAULT 'later';
         ALTER TABLE wr ADD COLUMN f DEFAULT 42;
         INSERT INTO plain(a,e) VALUES(1,'own'),(2,NULL);
         INSERT INTO wr VALUES('own',1,2,3,4);
         ANALYZE;
         PRAGMA user_version=77; PRAGMA application_id=-5;",
    )
    .unwrap();
    assert_eq!(integrity(path), "ok");
}

#[test]
fn everything_comes_out_equal_in_every_layout() {
    let dir = tempfile::tempdir().unwrap();
    for (i, pragmas) in [
        "PRAGMA page_size=512; PRAGMA default_cache_size=50",
        "PRAGMA page_size=4096; PRAGMA encoding='UTF-16le'; PRAGMA auto_vacuum=FULL",
        "PRAGMA page_size=1024; PRAGMA encoding='UTF-16be'; PRAGMA auto_vacuum=INCREMENTAL",
        "PRAGMA page_size=65536; PRAGMA journal_mode=WAL",
    ]
    .into_iter()
    .enumerate()
    {
        let (from, to) = (dir.path().join(format!("{i}.db")), dir.path().join(format!("{i}.out")));
        make(&from, pragmas);
        let written = rebuild(&from, &to, false);
        assert_eq!(integrity(&to), "ok");
        assert_equal(&from, &to);
        let dropped: Vec<&str> = written.dropped.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(dropped, ["i4"], "the app's own order");
        assert_eq!((written.orphans, written.doubts), (0, 0));
        assert_eq!(written.lost_and_found, None);
        assert_eq!(written.stand_ins, ["function app_f", "collation unicase"]);
        assert_eq!(written.notes, [""; 0], "{:?}", written.notes);
        let all: u64 = written.tables.iter().map(|t| t.recovered).sum();
        assert!(all > 3000, "{all}");
    }
}

#[test]
fn what_cannot_stand_is_kept_aside_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.db"), dir.path().join("b.db"));
    Connection::open(&from)
        .unwrap()
        .execute_batch(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE, n NOT NULL, c CHECK(c > 0), v AS (c), e);
             CREATE UNIQUE INDEX ix ON t(lower(e)) WHERE c > 5;
             CREATE TABLE w(a, b, PRIMARY KEY(a)) WITHOUT ROWID; CREATE UNIQUE INDEX wb ON w(b);",
        )
        .unwrap();
    let (settings, objects, _) = read(&from);
    let t = objects.iter().position(|o| o.name == "t").unwrap();
    let w = objects.iter().position(|o| o.name == "w").unwrap();
    let text = |s: &str| Value::Text(s.as_bytes().to_vec());
    let int = Value::Integer;
    let mut writer = Writer::new(&to, &Control::default(), WriterOptions::default());
    writer.begin(&settings, &objects).unwrap();
    let mut put = |id: i64, u: &str, n: Value, c: i64, e: &str, placed_by, doubts| {
        let values = vec![Value::Null, text(u), n, int(c), text(e)];
        writer
            .row(Row { doubts, placed_by, page: id as u32, offset: 0, ..row(t, Some(id), values) })
            .unwrap();
    };
    let lost =
        |column| Doubt { column: Some(column), reason: "gone".into(), bytes: Some(vec![1]), missing: true };
    put(1, "a", int(1), 1, "x", PlacedBy::Tree, vec![]);
    put(2, "b", int(1), 10, "E", PlacedBy::Carved, vec![]);
    put(3, "a", int(1), 1, "x", PlacedBy::Tree, vec![]); // u again
    put(4, "c", int(1), 10, "e", PlacedBy::Tree, vec![]); // ix again, better placed than 2
    put(5, "d", Value::Null, 1, "x", PlacedBy::Tree, vec![]); // NOT NULL
    put(6, "e", int(1), -1, "x", PlacedBy::Tree, vec![]); // CHECK
    put(7, "f", int(1), 1, "x", PlacedBy::Tree, vec![lost(5)]); // may be NULL
    put(8, "g", int(1), 1, "x", PlacedBy::Tree, vec![lost(2)]); // may not
    put(1, "a", int(1), 1, "x", PlacedBy::Carved, vec![]); // the same again
    put(1, "z", int(1), 1, "x", PlacedBy::Carved, vec![]); // another of that rowid
    put(9, "h", int(1), 1, "x", PlacedBy::Carved, vec![]);
    put(9, "i", int(1), 1, "y", PlacedBy::Tree, vec![]); // better than the one before
    writer.row(row(t, Some(10), vec![int(1); 9])).unwrap(); // too wide
    writer.row(row(t, None, vec![Value::Null, text("k"), int(1)])).unwrap(); // no rowid
    writer.row(row(w, None, vec![int(1), int(5)])).unwrap();
    writer.row(row(w, None, vec![int(2), int(5)])).unwrap(); // wb again
    writer.row(row(w, None, vec![Value::Null, int(6)])).unwrap();
    let orphan =
        Orphan { page: 3, offset: 7, guess: None, rowid: Some(77), values: vec![int(1); 12], doubts: vec![] };
    writer.orphan(orphan).unwrap();
    let written = writer.finish(true).unwrap();
    assert_eq!(integrity(&to), "ok");
    let db = Connection::open(&to).unwrap();
    let list = |sql: &str| -> String {
        let mut s = db.prepare(sql).unwrap();
        let rows: Vec<String> = s.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        rows.join(" ")
    };
    assert_eq!(list("SELECT id||u FROM t ORDER BY id"), "1a 4c 7f 9i");
    assert_eq!(list("SELECT typeof(e) FROM t WHERE id=7"), "null");
    assert_eq!(list("SELECT a||'-'||b FROM w"), "1-5");
    assert_eq!(
        list("SELECT coalesce(id,'-')||coalesce(c1,'') FROM lost_and_found ORDER BY id, c1, c0"),
        "-5 -6 -k 1z 2b 3a 5d 6e 8g 9h 101 771"
    );
    let doubts = list(
        "SELECT row_key||':'||coalesce(column_name,'*')||':'||reason||',' FROM shopmend_doubtful WHERE row_key NOT NULL ORDER BY row_key",
    );
    for expected in [
        "1:*:another record has its key",
        "2:*:breaks UNIQUE index ix",
        "3:*:breaks UNIQUE index sqlite_autoindex_t_1",
        "5:*:NULL in n, which must not be NULL",
        "6:*:CHECK constraint failed",
        "7:e:gone",
        "8:*:n is lost and must not be NULL",
        "8:n:gone",
        "9:*:a better placed record has its rowid",
        "10:*:more values than its table has columns",
    ] {
        assert!(doubts.contains(expected), "{expected} not in {doubts}");
    }
    let counts = &written.tables[0];
    assert_eq!((counts.recovered, counts.partial, counts.doubtful), (3, 1, 0));
    assert_eq!(counts.repeated, 1);
    assert_eq!(written.orphans, 1);
    assert_eq!(written.dropped, []);
}

#[test]
fn a_sound_database_keeps_rows_that_break_its_constraints() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.db"), dir.path().join("b.db"));
    let db = Connection::open(&from).unwrap();
    db.execute_batch(
        "CREATE TABLE t(a INT CHECK(a > 0), b TEXT, c NOT NULL);
         PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES(-1,'x',1),(2,'y',1);
         PRAGMA writable_schema=ON;
         UPDATE sqlite_schema SET sql='CREATE TABLE t(a INT CHECK(a > 0), b, c)' WHERE name='t';
         PRAGMA writable_schema=RESET;
         INSERT INTO t VALUES(3, 17, NULL);
         PRAGMA writable_schema=ON;
         UPDATE sqlite_schema SET sql='CREATE TABLE t(a INT CHECK(a > 0), b TEXT, c NOT NULL)' WHERE name='t';",
    )
    .unwrap();
    drop(db);
    let written = rebuild(&from, &to, false);
    assert_equal(&from, &to);
    assert_eq!(written.notes.len(), 2, "{:?}", written.notes);
    assert_eq!(integrity(&from), integrity(&to));
}

#[test]
fn a_bad_statement_costs_only_its_own_object() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("b.db");
    let object = |kind, name: &str, table: &str, sql: Option<&str>| SchemaObject {
        kind,
        name: name.into(),
        table: table.into(),
        root_page: 5,
        sql: sql.map(Into::into),
        origin: SchemaOrigin::File,
    };
    use ObjectKind::{Index, Table, Trigger, View};
    let objects = [
        object(Index, "i", "good", Some("CREATE INDEX i ON good(a)")),
        object(
            Table,
            "good",
            "good",
            Some("CREATE TABLE good(a UNIQUE, b INTEGER PRIMARY KEY AUTOINCREMENT)"),
        ),
        object(Table, "bad", "bad", Some("CREATE TABLE bad(a,, b)")),
        object(Table, "good", "good", Some("CREATE TABLE good(z)")),
        object(Index, "j", "nowhere", Some("CREATE INDEX j ON nowhere(a)")),
        object(Index, "sqlite_autoindex_bad_1", "bad", None),
        object(View, "v", "v", Some("CREATE VIEW v AS SELECT")),
        object(Trigger, "tr", "bad", Some("CREATE TRIGGER tr AFTER INSERT ON bad BEGIN SELECT 1; END")),
        object(Table, "x", "x", Some("DROP TABLE good")),
        object(Table, "vt", "vt", Some("CREATE VIRTUAL TABLE vt USING no_such(a, b)")),
        object(Table, "vb", "vb", Some("CREATE VIRTUAL TABLE")),
    ];
    let settings = Settings {
        page_size: 4096,
        reserved: 0,
        encoding: Encoding::Utf16le,
        auto_vacuum: 1,
        user_version: 0,
        application_id: 0,
        default_cache_size: 0,
        schema_format: 4,
        wal_mode: false,
    };
    let mut writer = Writer::new(&to, &Control::default(), WriterOptions::default());
    writer.begin(&settings, &objects).unwrap();
    let int = Value::Integer;
    writer.row(row(1, Some(5), vec![int(1), Value::Null])).unwrap();
    writer.row(row(2, Some(6), vec![int(1)])).unwrap();
    writer.row(row(2, Some(7), vec![int(1), int(2), Value::Text(vec![0x41, 0, 0x42])])).unwrap();
    writer.row(row(3, Some(8), vec![int(9)])).unwrap();
    writer.row(row(99, Some(8), vec![int(9)])).unwrap();
    let written = writer.finish(true).unwrap();
    assert_eq!(integrity(&to), "ok");
    let db = Connection::open(&to).unwrap();
    let one = |sql: &str| db.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
    assert_eq!(
        one(
            "SELECT group_concat(name, ' ') FROM sqlite_schema WHERE name NOT LIKE 'shopmend%' AND name <> 'lost_and_found'"
        ),
        "good sqlite_autoindex_good_1 bad good_2 x vt sqlite_sequence i"
    );
    assert_eq!(one("SELECT group_concat(coalesce(c2,'-')) FROM bad"), "-,A");
    assert_eq!(one("SELECT seq||'' FROM sqlite_sequence"), "5");
    assert_eq!(one("SELECT c0||'' FROM good_2"), "9");
    assert_eq!(one("SELECT id||'-'||c0 FROM lost_and_found"), "8-9");
    assert_eq!(written.dropped.len(), 8, "{:?}", written.dropped);
}

/// Puts a sound database through the writer without some of its objects; the
/// names of the columns of the others' own tables are lost.
fn rebuild_without(from: &Path, to: &Path, lost: &[&str], nameless: &[(&str, &str)]) -> Written {
    let (settings, mut objects, rows) = read(from);
    for (name, sql) in nameless {
        let object = objects.iter_mut().find(|o| o.name == *name).unwrap();
        (object.sql, object.origin) = (Some((*sql).to_owned()), SchemaOrigin::Inferred);
    }
    let kept = |o: &SchemaObject| !lost.contains(&o.name.as_str()) && !lost.contains(&o.table.as_str());
    let (objects, rows): (Vec<_>, Vec<_>) = objects.into_iter().zip(rows).filter(|(o, _)| kept(o)).unzip();
    let mut writer = Writer::new(to, &Control::default(), WriterOptions::default());
    writer.begin(&settings, &objects).unwrap();
    for (object, rows) in rows.into_iter().enumerate() {
        for (rowid, values) in rows {
            writer.row(row(object, rowid, values)).unwrap();
        }
    }
    writer.finish(true).unwrap()
}

#[test]
fn virtual_tables_whose_own_tables_are_lost_are_sound_again() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.db"), dir.path().join("b.db"));
    Connection::open(&from)
        .unwrap()
        .execute_batch(
            "PRAGMA page_size=1024; PRAGMA auto_vacuum=2;
             CREATE TABLE docs(id INTEGER PRIMARY KEY, title, body);
             CREATE VIRTUAL TABLE ft USING fts5(title, body);
             CREATE VIRTUAL TABLE ext USING fts5(title, content='docs', content_rowid='id');
             CREATE VIRTUAL TABLE bare USING fts5(title, content='');
             CREATE VIRTUAL TABLE ft4 USING fts4(title, body);
             CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200)
             INSERT INTO docs SELECT i, 'title '||i, 'body '||i FROM n;
             INSERT INTO ft(rowid, title, body) SELECT id, title, body FROM docs;
             INSERT INTO bare(rowid, title) SELECT id, title FROM docs;
             INSERT INTO ext(ext) VALUES('rebuild');
             INSERT INTO ft4(docid, title, body) SELECT id, title, body FROM docs;
             INSERT INTO rt SELECT id, id, id+1 FROM docs;",
        )
        .unwrap();
    let hits = |db: &Connection, table: &str| -> rusqlite::Result<i64> {
        db.query_row(&format!("SELECT count(*) FROM {table} WHERE {table} MATCH 'title'"), [], |r| r.get(0))
    };
    let all = [
        "ft_data",
        "ft_idx",
        "ft_content",
        "ft_docsize",
        "ft_config",
        "ext_data",
        "ext_idx",
        "ext_docsize",
        "ext_config",
        "bare_data",
        "bare_idx",
        "bare_docsize",
        "bare_config",
        "ft4_content",
        "ft4_segments",
        "ft4_segdir",
        "ft4_docsize",
        "ft4_stat",
        "rt_node",
        "rt_rowid",
        "rt_parent",
    ];
    let nameless = [
        ("ft_content", r#"CREATE TABLE "ft_content"(c0 INTEGER PRIMARY KEY, c1, c2)"#),
        ("ft_docsize", r#"CREATE TABLE "ft_docsize"(c0 INTEGER PRIMARY KEY, c1)"#),
    ];
    for (lost, nameless, expected) in [
        (&["ft_data", "ext_data", "ext_idx", "bare_data", "ft4_segdir"][..], &[][..], [200, 200, 0, 200]),
        (&["ft_content", "ft_config", "ext_docsize", "ext_config", "ft4_content"], &[], [0, 200, 200, 0]),
        (&["ft_data", "ft_idx", "ft_config"], &nameless, [200, 200, 200, 200]),
        (&all, &[], [0, 200, 0, 0]),
    ] {
        let _ = std::fs::remove_file(&to);
        let written = rebuild_without(&from, &to, lost, nameless);
        let db = Connection::open(&to).unwrap();
        assert_eq!(integrity(&to), "ok", "{lost:?}: {written:?}");
        assert_eq!(written.dropped, [], "{lost:?}");
        let found = ["ft", "ext", "bare", "ft4"].map(|t| hits(&db, t).unwrap());
        assert_eq!(found, expected, "{lost:?}: {:?}", written.notes);
        let said = |what: &str| written.notes.iter().any(|n| n.contains(what));
        assert!(lost.iter().all(|name| said(name)), "{:?}", written.notes);
        // They work from then on.
        db.execute_batch(
            "INSERT INTO ft(title) VALUES('title'); INSERT INTO bare(rowid, title) VALUES(999, 'x');
             INSERT INTO ft4(title) VALUES('title'); INSERT INTO rt VALUES(1000, 1, 2)",
        )
        .unwrap();
    }
}

#[test]
fn a_virtual_table_that_cannot_be_is_left_out_and_one_of_the_apps_tokenizer_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.db"), dir.path().join("b.db"));
    Connection::open(&from)
        .unwrap()
        .execute_batch(
            "CREATE VIRTUAL TABLE ft USING fts5(body); INSERT INTO ft VALUES('some words');
             CREATE VIRTUAL TABLE own USING fts5(body); INSERT INTO own VALUES('some words');
             PRAGMA writable_schema=ON;
             UPDATE sqlite_schema SET sql='CREATE VIRTUAL TABLE ft USING fts5(body, prefix=''x'')' WHERE name='ft';
             UPDATE sqlite_schema SET sql='CREATE VIRTUAL TABLE own USING fts5(body, tokenize=''of_the_app'')'
             WHERE name='own';",
        )
        .unwrap();
    let written = rebuild(&from, &to, true);
    assert_eq!(written.dropped.iter().map(|d| d.0.as_str()).collect::<Vec<_>>(), ["ft"], "{written:?}");
    assert!(written.notes.iter().any(|n| n.contains("own") && n.contains("tokenizer")), "{written:?}");
    let db = Connection::open(&to).unwrap();
    let rows = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert_eq!(rows("SELECT count(*) FROM ft_content WHERE c0='some words'"), 1);
    assert_eq!(rows("SELECT count(*) FROM sqlite_schema WHERE name IN ('own', 'own_data')"), 2);
}
