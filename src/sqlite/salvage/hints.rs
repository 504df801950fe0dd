//! What the structure no longer says and other bytes of the file still tell.

use super::tests::{PLAIN, Recipe, Rng, leaves, salvage, salvage_with, sample, score, tree_pages};
use super::*;
use crate::salvaged::{Row, SchemaOrigin, Value};

/// A database that statements make.
fn made(sql: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(sql).unwrap();
    drop(db);
    std::fs::read(path).unwrap()
}

/// A statement that fills `table` with `n` rows of `values`, made of the number `i`.
fn rows(table: &str, n: usize, values: &str) -> String {
    format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{n})
         INSERT INTO {table} SELECT {values} FROM n;"
    )
}

#[test]
fn statistics_and_sequences_name_tables_without_a_schema() {
    for encoding in ["UTF-8", "UTF-16be"] {
        let sql = [
            format!("PRAGMA encoding='{encoding}'; PRAGMA page_size=4096;"),
            "CREATE TABLE orders(id INTEGER PRIMARY KEY, shop TEXT, sum INT);
             CREATE INDEX by_shop ON orders(shop); CREATE INDEX some ON orders(sum) WHERE sum > 100;
             CREATE TABLE parts(id INTEGER PRIMARY KEY, shop TEXT, sum INT);
             CREATE TABLE kv(k TEXT PRIMARY KEY, v) WITHOUT ROWID;"
                .to_owned(),
            rows("orders", 400, "i, 'shop ' || (i % 20), i * 3"),
            rows("parts", 400, "i, 'part ' || i, i"),
            rows("kv", 90, "'key ' || i, i"),
            "ANALYZE;".to_owned(),
            // Made afterwards, so that only its sequence is noted.
            "CREATE TABLE events(id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);
             CREATE TABLE told(a TEXT, b INT);"
                .to_owned(),
            rows("events", 77, "NULL, 'event ' || i"),
            rows("told", 60, "'word ' || i, i * i"),
        ];
        let mut db = made(&sql.concat());
        db[..4096].fill(0);
        let (mem, report) = salvage(db, None, None);
        let count = |name: &str| {
            let at = mem.schema.iter().position(|o| o.name == name);
            mem.rows.iter().filter(|r| Some(r.object) == at).count()
        };
        // The number of rows does not part these two, but their indexes do.
        assert_eq!((count("orders"), count("parts")), (400, 400), "{encoding} {report:?}");
        assert_eq!((count("kv"), count("events")), (90, 77), "{encoding} {report:?}");
        assert!(mem.schema.iter().all(|o| o.name != "told"), "nothing tells this name");
        assert!(mem.schema.iter().all(|o| o.origin == SchemaOrigin::Inferred));
    }
}

#[test]
fn a_root_is_not_taken_for_the_leaf_that_it_once_was() {
    let s = sample(PLAIN);
    let mut rng = Rng(5);
    for (table, _) in super::tests::TABLES {
        let (_, interior) = tree_pages(&s.bytes, table);
        let mut db = s.bytes.clone();
        let start = (interior[0] - 1) * 4096;
        db[start..start + 512].fill_with(|| rng.below(256) as u8);
        let (mem, report) = salvage(db, None, None);
        let got = score(&mem, &s.truth, "UTF-8");
        // Rows of a table without rowids stand on its branches, too.
        let lost = if table == "kv" { 4 } else { 0 };
        assert!(got.exact + lost >= s.truth.len(), "{table}: {got:?} {report:?}");
        assert_eq!(got.wrong, 0, "{table}: {got:?}");
    }
}

#[test]
fn rows_part_columns_that_a_hurt_comma_made_one() {
    for encoding in ["UTF-8", "UTF-16le"] {
        let s = sample(Recipe { encoding, ..PLAIN });
        let wide = |text: &str| -> Vec<u8> {
            if encoding == "UTF-8" {
                text.bytes().collect()
            } else {
                text.encode_utf16().flat_map(u16::to_le_bytes).collect()
            }
        };
        for (from, to) in [("REAL, bio", "REALz bio"), ("REAL, bio", "REAL\u{2} bio"), ("v TEXT", "v T,XT")] {
            let (from, to) = (wide(from), wide(to));
            let mut db = s.bytes.clone();
            let at = db.windows(from.len()).position(|w| w == from).unwrap();
            db[at..at + to.len()].copy_from_slice(&to);
            let (mem, report) = salvage(db, None, None);
            let got = score(&mem, &s.truth, encoding);
            assert_eq!(got.exact, s.truth.len(), "{got:?} {report:?}");
            assert_eq!((got.wrong, got.doubted), (0, 0), "{got:?} {report:?}");
            let mended = mem.schema.iter().any(|o| o.origin == SchemaOrigin::Mended);
            assert!(mended, "{encoding} {:?} {report:?}", mem.schema);
        }
    }
}

#[test]
fn a_number_that_leads_to_a_cell_by_chance_is_no_pointer_array() {
    let s = sample(PLAIN);
    let mut db = s.bytes.clone();
    for p in leaves(&db, "msgs").into_iter().skip(1).step_by(3) {
        let page = &mut db[(p - 1) * 4096..p * 4096];
        let n = usize::from(u16::from_be_bytes([page[3], page[4]]));
        let cell = [page[8 + n], page[9 + n]];
        page[..8].fill(0xa7);
        page[8..8 + 2 * n].fill(0xfe);
        page[10..12].copy_from_slice(&cell);
    }
    let (mem, report) = salvage(db, None, None);
    let got = score(&mem, &s.truth, "UTF-8");
    assert_eq!(got.exact, s.truth.len(), "{got:?} {report:?}");
    assert_eq!(got.wrong, 0, "{got:?}");
}

#[test]
fn a_tree_that_two_tables_could_have_goes_to_the_one_with_room() {
    // The rows of `plain` could be those of `typed` as well, but these have their keys already:
    // they stand in a whole tree, or, where its root is lost, on leaves that no other table can have.
    for (typed_first, root_lost) in [(true, false), (false, false), (true, true), (false, true)] {
        let typed = rows("typed", 1500, "i, 'text ' || i, 'more of ' || i");
        let plain = rows("plain", 500, "i, 'word ' || i, 'more ' || i");
        let sql = [
            "PRAGMA page_size=1024; CREATE TABLE junk(x BLOB);
             CREATE TABLE typed(a INT, s TEXT, z TEXT); CREATE TABLE plain(id INTEGER PRIMARY KEY, a, b);"
                .to_owned(),
            rows("junk", 60, "randomblob(500)"),
            if typed_first { format!("{typed}{plain}") } else { format!("{plain}{typed}") },
        ];
        let mut db = made(&sql.concat());
        let (healthy, _) = salvage(db.clone(), None, None);
        let (leaves, interior) = tree_pages(&db, "junk");
        let mut destroyed: Vec<usize> = leaves.into_iter().chain(interior).chain([1]).collect();
        let mut schema = healthy.schema.clone();
        if root_lost {
            destroyed.push(tree_pages(&db, "typed").1[0]);
            // As from another database of the same app.
            for object in &mut schema {
                object.root_page = 0;
            }
        }
        for page in destroyed {
            db[(page - 1) * 1024..page * 1024].fill(0);
        }
        let options = Options { schema_from: schema, ..Options::default() };
        let (mem, report) = salvage_with(db, None, None, options);
        for (name, n, start) in [("typed", 1500, "text "), ("plain", 500, "word ")] {
            let at = mem.schema.iter().position(|o| o.name == name).unwrap();
            let own = |v: &Value| matches!(v, Value::Text(b) if b.starts_with(start.as_bytes()));
            let rows: Vec<_> = mem.rows.iter().filter(|r| r.object == at).collect();
            assert_eq!(rows.len(), n, "{name} {typed_first} {root_lost}: {report:?}");
            assert!(rows.iter().all(|r| r.values.iter().any(own)), "{name} {typed_first} {root_lost}");
        }
    }
}

#[test]
fn a_value_over_a_break_in_the_file_is_doubted() {
    let s = sample(Recipe { rows: 600, ..PLAIN });
    let pages = s.bytes.len() / 4096;
    for page in (4..pages - 8).step_by(7) {
        for sector in [1, 5] {
            let mut db = s.bytes.clone();
            let at = page * 4096 + sector * 512;
            db.drain(at..at + 512);
            let (mem, report) = salvage(db, None, None);
            let got = score(&mem, &s.truth, "UTF-8");
            assert_eq!(got.wrong, 0, "page {page} sector {sector}: {got:?} {report:?}");
        }
    }
}

#[test]
fn links_exchanged_with_the_end_of_a_chain_are_put_right() {
    let sql = [
        "PRAGMA page_size=512; CREATE TABLE t(id INTEGER PRIMARY KEY, d BLOB);".to_owned(),
        rows("t", 12, "i, randomblob(2200 + i * 100)"),
    ];
    let sound = made(&sql.concat());
    let (healthy, _) = salvage(sound.clone(), None, None);
    let link = |db: &[u8], page: usize| {
        let at = (page - 1) * 512;
        u32::from_be_bytes(db[at..at + 4].try_into().unwrap()) as usize
    };
    // Chains run in order: each page leads to its neighbour, the last to nowhere.
    let pages = sound.len() / 512;
    let overflow: Vec<usize> = (3..pages)
        .filter(|p| ![2, 5, 10, 13].contains(&sound[(p - 1) * 512]) && link(&sound, *p) < pages)
        .collect();
    let ends: Vec<usize> = overflow.iter().copied().filter(|p| link(&sound, *p) == 0).collect();
    let middle: Vec<usize> = overflow.iter().copied().filter(|p| link(&sound, *p) == p + 1).collect();
    assert!(ends.len() > 8 && middle.len() > 30, "{ends:?} {middle:?}");
    let mut rng = Rng(11);
    for _ in 0..40 {
        // The last page of a chain takes the link of one in the middle, this one that of the
        // next, and the last of these leads nowhere.
        let mut ring = vec![ends[rng.below(ends.len())]];
        while ring.len() < 4 {
            let page = middle[rng.below(middle.len())];
            // Chains have up to 7 pages; that of the last page is whole but for its end.
            if ring[0].abs_diff(page) > 8 && ring.iter().all(|p| p.abs_diff(page) > 1) {
                ring.push(page);
            }
        }
        let mut db = sound.clone();
        for (i, page) in ring.iter().enumerate() {
            let next = ring.get(i + 1).map_or(0, |p| link(&sound, *p)) as u32;
            db[(page - 1) * 512..(page - 1) * 512 + 4].copy_from_slice(&next.to_be_bytes());
        }
        let (mem, report) = salvage(db, None, None);
        for row in mem.rows.iter().filter(|r| r.doubts.is_empty()) {
            let was = healthy.rows.iter().find(|r| r.rowid == row.rowid).unwrap();
            assert!(row.values == was.values, "{ring:?} row {:?} {report:?}", row.rowid);
        }
    }
}

#[test]
fn a_length_that_lost_a_bit_is_doubted() {
    let sql = [
        "PRAGMA page_size=4096; CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT);".to_owned(),
        rows("t", 100, "i, printf('%.3d', i) || substr(hex(zeroblob(80)), 1, 147)"),
    ];
    let mut db = made(&sql.concat());
    // Payload of 154 bytes, rowid, header of 4 bytes, NULL, text of 150 bytes.
    let cell = [0x81, 0x1a, 40, 4, 0, 0x82, 0x39];
    let at = db.windows(cell.len()).position(|w| w == cell).unwrap();
    // Text of 22 bytes: as a payload of 26 bytes, the length from its second byte on fits.
    db[at + 5] = 0x80;
    let (mem, report) = salvage(db, None, None);
    let good = |r: &Row| matches!(r.values.last(), Some(Value::Text(b)) if b.len() == 150);
    assert!(mem.rows.iter().filter(|r| good(r) && r.doubts.is_empty()).count() >= 99, "{report:?}");
    assert!(mem.rows.iter().all(|r| good(r) || !r.doubts.is_empty()), "{:?}", mem.rows.last());
}

#[test]
fn reserved_bytes_are_found_behind_a_destroyed_beginning() {
    let mut rng = Rng(3);
    let mut db = made(
        "PRAGMA page_size=1024; PRAGMA encoding='UTF-16le';
         CREATE TABLE gone(a); CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX t_body ON t(body);",
    );
    // The reserve of an empty database is what its header says.
    db[20] = 8;
    for page in 0..db.len() / 1024 {
        let at = page * 1024 + if page == 0 { 105 } else { 5 };
        if page > 0 {
            db[at..at + 2].copy_from_slice(&1016_u16.to_be_bytes());
        }
    }
    let first = 1024 - 8;
    let moved: Vec<u8> = db[..1024].to_vec();
    // Cells of the schema end where the reserve begins.
    let content = usize::from(u16::from_be_bytes([moved[105], moved[106]]));
    db[content - 8..first].copy_from_slice(&moved[content..1024]);
    db[105..107].copy_from_slice(&((content - 8) as u16).to_be_bytes());
    let cells = usize::from(u16::from_be_bytes([moved[103], moved[104]]));
    for i in 0..cells {
        let p = 108 + 2 * i;
        let to = u16::from_be_bytes([moved[p], moved[p + 1]]) - 8;
        db[p..p + 2].copy_from_slice(&to.to_be_bytes());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    std::fs::write(&path, &db).unwrap();
    let conn = rusqlite::Connection::open(&path).unwrap();
    let fill = rows("gone", 300, "randomblob(200)") + &rows("t", 600, "i, 'text number ' || i * 7919");
    conn.execute_batch(&fill).unwrap();
    drop(conn);
    let mut db = std::fs::read(&path).unwrap();
    let (healthy, _) = salvage(db.clone(), None, None);
    assert_eq!(healthy.settings.unwrap().reserved, 8);
    let half = db.len() / 2048 * 1024;
    db[..half].fill_with(|| rng.below(256) as u8);
    let (mem, report) =
        salvage_with(db, None, None, Options { schema_from: healthy.schema, ..Options::default() });
    let set = mem.settings.unwrap();
    assert_eq!((set.page_size, set.reserved), (1024, 8), "{report:?}");
    assert!(mem.rows.len() > 100, "{report:?}");
}

#[test]
fn a_value_that_the_end_of_the_file_cuts_is_doubted() {
    let sql = "PRAGMA page_size=4096; CREATE TABLE t(id INTEGER PRIMARY KEY, d BLOB);
        INSERT INTO t VALUES(1, randomblob(3000)), (2, randomblob(300));";
    let mut db = made(sql);
    db.truncate(db.len() - 200);
    let (mem, report) = salvage(db, None, None);
    let doubts: Vec<_> = mem.rows.iter().map(|r| (r.rowid, r.doubts.is_empty())).collect();
    assert_eq!(doubts, [(Some(1), false), (Some(2), true)], "{report:?}");
}

#[test]
fn zeros_at_the_end_of_reals_need_not_be_lost() {
    for (step, stands) in [(0.25, true), (0.1, false)] {
        // The last bytes of some row's real go with a sector that is lost.
        let across = (0..60).find_map(|pad| {
            let db = made(&format!(
                "PRAGMA page_size=4096; CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, at REAL); {}",
                rows("t", 60, &format!("i, '{}row number ' || i, i * {step} + 77.0", "-".repeat(pad)))
            ));
            (30..50).find_map(|i| {
                let text = format!("row number {i}");
                let found = db[4096..].windows(text.len()).position(|w| w == text.as_bytes())?;
                let real = 4096 + found + text.len();
                let edge = (real + 3..real + 8).find(|b| b % 512 == 0)?;
                Some((db.clone(), i64::from(i), edge))
            })
        });
        let (mut db, i, edge) = across.unwrap();
        db[edge..edge + 512].fill(0);
        let (mem, report) = salvage(db, None, None);
        let row = mem.rows.iter().find(|r| r.rowid == Some(i)).unwrap_or_else(|| panic!("{report:?}"));
        assert!(!row.doubts.is_empty());
        let there = row.values.last() == Some(&Value::Real(i as f64 * step + 77.0));
        assert_eq!(there, stands, "{row:?}");
    }
}

#[test]
fn a_leaf_whose_type_became_a_branchs_gives_its_rows() {
    let sql = [
        "PRAGMA page_size=2048; CREATE TABLE t(a INTEGER NOT NULL, b TEXT);".to_owned(),
        rows("t", 400, "i * 7919, 'some text of row ' || i"),
    ];
    let sound = made(&sql.concat());
    let leaves: Vec<usize> = (2..sound.len() / 2048).filter(|p| sound[p * 2048] == 13).collect();
    assert!(leaves.len() > 3);
    for leaf in leaves {
        let mut db = sound.clone();
        db[leaf * 2048] = 5;
        let (mem, report) = salvage(db, None, None);
        assert_eq!(mem.rows.len(), 400, "page {}: {report:?}", leaf + 1);
    }
}

#[test]
fn a_capital_that_one_bit_made_is_no_other_name() {
    let mut db = made("CREATE TABLE msgs(a); CREATE INDEX msgs_a ON msgs(a); INSERT INTO msgs VALUES(1);");
    let at = db.windows(13).position(|w| w == b"tablemsgsmsgs").unwrap();
    db[at + 8] = b'S';
    let (mem, _) = salvage(db, None, None);
    assert_eq!(mem.schema[0].name, "msgs");
}

#[test]
fn rows_older_than_a_column_come_back_where_no_page_is_sound() {
    let sql = [
        "PRAGMA page_size=4096; CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT);".to_owned(),
        rows("t", 300, "i, 'some text of row ' || i"),
        "ALTER TABLE t ADD COLUMN flags INT DEFAULT 7;".to_owned(),
    ];
    let mut db = made(&sql.concat());
    for page in 1..db.len() / 4096 {
        if db[page * 4096] == 13 {
            // Not as many fragments as that.
            db[page * 4096 + 7] = 50;
        }
    }
    let (mem, report) = salvage(db, None, None);
    assert_eq!(mem.rows.len(), 300, "{report:?}");
}
