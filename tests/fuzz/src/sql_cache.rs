//! The SQL cache backend: an index from the input, and a database as the
//! library makes it with some bytes changed.

use shopmend::model::StoreKind;

use super::{framed, in_folder};

const SCHEMA: &str = "PRAGMA page_size=512; BEGIN;
    CREATE TABLE resources(res_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,last_used INTEGER NOT NULL,
    hints INTEGER NOT NULL,body_end INTEGER NOT NULL,bytes_usage INTEGER NOT NULL,doomed INTEGER NOT NULL,
    check_sum INTEGER NOT NULL,cache_key_hash INTEGER NOT NULL,cache_key TEXT NOT NULL,head BLOB);
    CREATE TABLE blobs(blob_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,res_id INTEGER NOT NULL,
    start INTEGER NOT NULL,end INTEGER NOT NULL,check_sum INTEGER NOT NULL,blob BLOB NOT NULL);
    CREATE UNIQUE INDEX index_blobs_res_id_start ON blobs(res_id, start);";

thread_local! {
    static DATABASE: Vec<u8> = database();
}

fn database() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sqldb0");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(SCHEMA).unwrap();
    // The key `k` and its hash.
    let hash = 0x4ea5_85c0_u32;
    let sum = |bytes: &[u8]| crc32fast::hash(&[bytes, &hash.to_be_bytes()].concat()) as i32;
    for _ in 0..8 {
        let (head, body) = ([7; 90], [9; 900]);
        db.execute(
            "INSERT INTO resources VALUES(NULL,1,0,900,999,0,?1,?2,'k',?3)",
            (sum(&head), hash as i32, head),
        )
        .unwrap();
        let id = db.last_insert_rowid();
        db.execute("INSERT INTO blobs VALUES(NULL,?1,0,900,?2,?3)", (id, sum(&body), &body[..])).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
    drop(db);
    std::fs::read(path).unwrap()
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut data = data;
    let index = framed::part(&mut data);
    let mut bytes = DATABASE.with(Clone::clone);
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] = change[2];
    }
    let index = [b"SQLCache", index].concat();
    in_folder::check(StoreKind::SqlCache, "c", &[("c/index", &index), ("c/sqldb0", &bytes)]);
}
