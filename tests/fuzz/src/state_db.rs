//! The state database of earlier scans, damaged or made up: a scan goes on
//! with what it can use of it, or without it.

use std::path::Path;
use std::sync::OnceLock;

use shopmend::scan::Baseline;

use super::scratch;

/// A database as a scan leaves it, to change bytes of.
fn sound() -> Vec<u8> {
    let tmp = tempfile::tempdir().unwrap();
    let made = shopmend::scan::Baseline::open(tmp.path()).unwrap();
    drop(made);
    let path = tmp.path().join("state.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    for store in ["a", "b"] {
        db.execute(
            "INSERT INTO store(target, store, fingerprint, level, result, scanned_ns, facts, healthy_ns)
             VALUES('t', ?1, zeroblob(32), 0, '{}', '1', '{\"rows\":{}}', '1')",
            [store],
        )
        .unwrap();
        for n in 0..40 {
            db.execute(
                "INSERT INTO file VALUES('t', ?1, ?2, 5, '7', 9, zeroblob(32))",
                (store, format!("path/{n}")),
            )
            .unwrap();
        }
    }
    db.execute_batch("PRAGMA journal_mode=DELETE").unwrap();
    drop(db);
    std::fs::read(path).unwrap()
}

/// Takes one input.
pub fn run(data: &[u8]) {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    // The first byte: a file of its own, or places in a sound one with new bytes.
    let Some((&how, rest)) = data.split_first() else { return };
    let mut bytes = if how & 1 == 0 { rest.to_vec() } else { SOUND.get_or_init(sound).clone() };
    if how & 1 == 1 {
        for change in rest.chunks_exact(4) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
            bytes[at] ^= change[2];
        }
        if how & 2 == 2 {
            let len = bytes.len();
            bytes.truncate(len - usize::from(how) * 97 % len);
        }
    }
    scratch::with(|folder| recalled(folder, &bytes));
}

fn recalled(folder: &Path, bytes: &[u8]) {
    for name in ["state.db", "state.db-wal", "state.db-shm", "state.db-journal"] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    std::fs::write(folder.join("state.db"), bytes).unwrap();
    let Ok(baseline) = Baseline::open(folder) else { return };
    for store in ["a", "b", "c"] {
        let _ = (baseline.recall("t", store), baseline.files("t", store).len(), baseline.facts("t", store));
    }
}
