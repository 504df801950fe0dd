//! Salvage, scored on damaged databases from seeds.

use crate::support::sqlite_gen::damage::{CLASSES, Case, apply};
use crate::support::sqlite_gen::make::Beside;
use crate::support::sqlite_gen::{Dice, score};

#[test]
fn the_generator_knows_every_row_and_damages_in_every_class() {
    let dir = tempfile::tempdir().unwrap();
    let mut hit_rows = 0;
    for (class, (name, beside)) in CLASSES.iter().enumerate() {
        let case = Case::new(class as u64, *beside, dir.path());
        let path = dir.path().join("sound.db");
        std::fs::write(&path, &case.made.files.db).unwrap();
        for (suffix, bytes) in [("-wal", &case.made.files.wal), ("-journal", &case.made.files.journal)] {
            let side = dir.path().join(format!("sound.db{suffix}"));
            let _ = std::fs::remove_file(&side);
            if let Some(bytes) = bytes {
                std::fs::write(side, bytes).unwrap();
            }
        }
        // SQLite counts as many rows as the walker found.
        let db = rusqlite::Connection::open(&path).unwrap();
        for (spec, rows) in case.made.tables.iter().zip(&case.rows) {
            let n: i64 =
                db.query_row(&format!("SELECT count(*) FROM {}", spec.name), [], |r| r.get(0)).unwrap();
            assert_eq!(n as usize, rows.len(), "{name}: {} of {}", spec.name, case.made.describe);
        }
        drop(db);
        let damaged = apply(class, &case, &mut Dice::new(class as u64));
        let alive: usize = score::survivors(&case, &damaged).iter().flatten().filter(|a| **a).count();
        let all: usize = case.rows.iter().map(Vec::len).sum();
        assert!(all > 150, "{name}: {all} rows, {}", case.made.describe);
        hit_rows += all - alive;
        let key = name.split(' ').next().unwrap();
        match key {
            "none" | "S0" | "S11" => assert!(damaged.files == case.made.files),
            "A1" | "A2" | "A3" | "B1" | "B2" | "E2" | "F1" | "F3" | "F7" | "F8" | "G1" | "S5" | "S6"
            | "S7" | "S12" | "S13" => {
                assert_eq!(alive, all, "{name} destroys no row");
                assert!(damaged.files != case.made.files, "{name}");
            }
            // A database may have no overflow page with a successor.
            "D1" | "D2" | "D3" => {}
            _ => assert!(damaged.files != case.made.files, "{name}"),
        }
        if matches!(*beside, Beside::Nothing) && key == "B5" {
            assert!(alive < all && alive > 0);
        }
    }
    assert!(hit_rows > 1000, "{hit_rows}");
}
