//! What must hold for any change of real databases: the readers end and stay
//! within bounds, and what tables, indexes and inferred schemas say is true.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{Memory, PLAIN, Recipe, leaves, salvage, sample};
use super::*;
use crate::salvaged::{PlacedBy, SchemaOrigin, Value};
use crate::{journal, wal};

/// A change: where (a share of the file), how, with what.
type Change = (u16, u8, Vec<u8>);

fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let one = (any::<u16>(), 0_u8..6, prop::collection::vec(any::<u8>(), 1..24));
    prop::collection::vec(one, 0..most)
}

/// Overwrites, cuts, empties, inserts, moves.
fn change(bytes: &mut Vec<u8>, list: &[Change]) {
    for (at, how, what) in list {
        let at = bytes.len() * usize::from(*at) / 65536;
        match how {
            0 => bytes.truncate(at),
            1 => {
                let end = (at / 512 * 512 + 512).min(bytes.len());
                bytes[at / 512 * 512..end].fill(0);
            }
            2 => drop(bytes.splice(at..at, what.iter().copied())),
            3 => {
                let page = bytes[at / 1024 * 1024..].iter().take(1024).copied().collect::<Vec<u8>>();
                let to = bytes.len() * usize::from(what[0]) / 256 / 1024 * 1024;
                for (old, new) in bytes[to..].iter_mut().zip(page) {
                    *old = new;
                }
            }
            _ => {
                for (old, new) in bytes[at..].iter_mut().zip(what) {
                    *old = *new;
                }
            }
        }
    }
}

/// A database in the middle of a transaction: its file and its log or journal.
fn live(wal: bool) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let mode =
        if wal { "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0" } else { "PRAGMA cache_size=3" };
    db.execute_batch(&format!(
        "PRAGMA page_size=1024; PRAGMA synchronous=OFF; {mode};
         CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b); CREATE INDEX ta ON t(a);
         CREATE TABLE k(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200)
         INSERT INTO t SELECT i, 'text '||i, zeroblob(iif(i % 40, i % 30, 2500)) FROM n;
         INSERT INTO k SELECT 'key '||id, a FROM t; BEGIN; UPDATE t SET a = 'new '||a; DELETE FROM k WHERE v > 'text 5';"
    ))
    .unwrap();
    if wal {
        db.execute_batch("COMMIT").unwrap();
    }
    let side = if wal { "a.db-wal" } else { "a.db-journal" };
    (std::fs::read(&path).unwrap(), std::fs::read(dir.path().join(side)).unwrap())
}

/// Which rows stand more than once in their table without a doubt.
fn twice(mem: &Memory) -> Vec<(usize, Option<i64>)> {
    let mut seen = BTreeSet::new();
    let certain = mem.rows.iter().filter(|r| r.rowid.is_some() && r.doubts.is_empty());
    certain.map(|r| (r.object, r.rowid)).filter(|key| !seen.insert(*key)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The readers of pages, records, schema, log and journal, all at once.
    #[test]
    fn any_change_of_a_real_database_is_survived(
        in_log in any::<bool>(), main in changes(8), side in changes(4),
    ) {
        let (mut db, mut log) = live(in_log);
        change(&mut db, &main);
        change(&mut log, &side);
        let _ = (wal::strict(&log), wal::structural(&log, None, 5000));
        let _ = (journal::strict(&log), journal::structural(&log, None, 5000));
        let (wal, journal) = if in_log { (Some(log), None) } else { (None, Some(log)) };
        let arc = |b: Vec<u8>| -> Arc<dyn ReadAt> { Arc::new(b) };
        let input = Input { main: arc(db), wal: wal.map(arc), journal: journal.map(arc) };
        let mut mem = Memory::default();
        if let Ok(salvager) = Salvager::open(&input, Options::default()) {
            salvager.run(&mut mem, &Control::default()).unwrap();
        }
        for row in &mem.rows {
            prop_assert!(row.object < mem.schema.len());
            // What only an index has left is never given out as a whole row.
            prop_assert!(row.placed_by != PlacedBy::Index || !row.doubts.is_empty());
            let missing = row.doubts.iter().filter(|d| d.missing).count();
            prop_assert!(missing <= row.values.len().max(1) * 2, "{row:?}");
        }
        prop_assert_eq!(twice(&mem), vec![]);
    }

    /// Indexes bear witness: rows whose leaf is gone come back with the
    /// indexed columns, each once and doubted; all others stay as they were.
    #[test]
    fn rows_of_lost_leaves_come_back_from_their_index(lost in prop::collection::btree_set(0_usize..40, 1..6)) {
        let s = sample(Recipe { rows: 700, page_size: 1024, churn: false, ..PLAIN });
        let mut db = s.bytes.clone();
        let list = leaves(&db, "msgs");
        let lost: BTreeSet<usize> = lost.into_iter().map(|i| list[i % list.len()]).collect();
        for page in &lost {
            db[(page - 1) * 1024..page * 1024].fill(0);
        }
        let (whole, _) = salvage(s.bytes.clone(), None, None);
        let (mem, report) = salvage(db, None, None);
        let msgs = mem.schema.iter().position(|o| o.name == "msgs").unwrap();
        let of = |mem: &Memory| -> BTreeMap<i64, (Vec<Value>, bool, PlacedBy, u32)> {
            let rows = mem.rows.iter().filter(|r| r.object == msgs);
            rows.map(|r| (r.rowid.unwrap(), (r.values.clone(), r.doubts.is_empty(), r.placed_by, r.page))).collect()
        };
        let (before, after) = (of(&whole), of(&mem));
        prop_assert_eq!(before.len(), after.len());
        for (key, (values, _, _, page)) in &before {
            let (now, certain, by, _) = &after[key];
            if lost.contains(&(*page as usize)) {
                prop_assert!(!certain && *by == PlacedBy::Index);
                // chat, at and flag are in the index, the text is not.
                prop_assert_eq!((&now[1], &now[2], &now[3], &now[4]), (&values[1], &Value::Null, &values[3], &values[4]));
            } else {
                prop_assert!(*certain && now == values);
            }
        }
        let count = report.tables.iter().find(|t| t.object == msgs).unwrap();
        prop_assert_eq!(count.expected, Some(before.len() as u64));
    }

    /// A value that an index contradicts is doubted, and no other.
    #[test]
    fn a_changed_value_is_contradicted_by_its_index(picks in prop::collection::btree_set(0_usize..700, 1..5)) {
        let s = sample(Recipe { rows: 700, page_size: 1024, churn: false, ..PLAIN });
        let (whole, _) = salvage(s.bytes.clone(), None, None);
        let users = whole.schema.iter().position(|o| o.name == "users").unwrap();
        let rows: Vec<_> = whole.rows.iter().filter(|r| r.object == users).collect();
        let mut db = s.bytes.clone();
        let mut hit = BTreeSet::new();
        for pick in picks {
            let row = rows[pick % rows.len()];
            let Value::Text(email) = &row.values[1] else { panic!("{:?}", row.values) };
            let from = row.offset as usize;
            let at = from + s.bytes[from..].windows(email.len()).position(|w| w == email).unwrap();
            if hit.insert(row.rowid.unwrap()) {
                db[at] ^= 1;
            }
        }
        let (mem, _) = salvage(db, None, None);
        let doubted: BTreeSet<i64> =
            mem.rows.iter().filter(|r| r.object == users && !r.doubts.is_empty()).map(|r| r.rowid.unwrap()).collect();
        prop_assert_eq!(doubted, hit);
    }

    /// Tables whose schema is lost: each comes out as one table with all its
    /// rows, also one without rowids, and no index entry passes for a row.
    #[test]
    fn inferred_tables_have_the_rows_of_one_table_each(
        columns in 1_usize..6, rows in 1_u32..400, keyed in any::<bool>(), auto_vacuum in 0_u8..2, wide in 1_usize..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        let names: Vec<String> = (0..columns).map(|i| format!("v{i} TEXT")).collect();
        let (key, tail) = if keyed { ("k TEXT PRIMARY KEY", "WITHOUT ROWID") } else { ("k TEXT", "") };
        db.execute_batch(&format!(
            "PRAGMA page_size=1024; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA synchronous=OFF;
             CREATE TABLE one({key}, {}) {tail}; CREATE INDEX one_v ON one(v0);
             CREATE TABLE two(id INTEGER PRIMARY KEY, n REAL); CREATE INDEX two_n ON two(n);",
            names.join(", ")
        ))
        .unwrap();
        for i in 0..rows {
            let values: Vec<String> = (0..columns).map(|c| format!("'{}{c}-{i}'", "x".repeat(wide))).collect();
            db.execute_batch(&format!("INSERT INTO one VALUES('key {}', {})", i * 7919 % 1009, values.join(","))).unwrap();
            db.execute_batch(&format!("INSERT INTO two VALUES({}, {}.5)", 5 * i + 3, i * 31 % 77)).unwrap();
        }
        drop(db);
        let bytes = std::fs::read(&path).unwrap();
        let (whole, _) = salvage(bytes.clone(), None, None);
        let mut hurt = bytes;
        hurt[..1024].fill(0);
        let (mem, report) = salvage(hurt, None, None);
        prop_assert!(report.schema_incomplete);
        prop_assert!(mem.schema.iter().all(|o| o.origin == SchemaOrigin::Inferred));
        let sets = |mem: &Memory| -> BTreeMap<usize, BTreeSet<String>> {
            let mut out: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
            for r in &mem.rows {
                out.entry(r.object).or_default().insert(format!("{:?} {:?}", r.rowid, r.values));
            }
            out
        };
        let (mut before, mut after): (Vec<_>, Vec<_>) =
            (sets(&whole).into_values().collect(), sets(&mem).into_values().collect());
        before.sort();
        after.sort();
        prop_assert_eq!(before, after, "{:?} {} orphans", mem.schema, mem.orphans.len());
        prop_assert_eq!(mem.orphans.len(), 0);
    }
}
