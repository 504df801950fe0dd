//! The database checker, fed with a file, its log and its journal.
//!
//! The first four bytes of the input say where the log and the journal begin.
//! The first 24 bytes of the database are made plausible, so that the fuzzer
//! does not spend its time on the magic.

use shopmend::sqlite::Control;
use shopmend::sqlite::check;
use shopmend::sqlite::ddl;
use shopmend::sqlite::source::ReadAt;

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((cuts, rest)) = data.split_at_checked(4) else { return };
    let cut = |i: usize| usize::from(u16::from_le_bytes([cuts[i], cuts[i + 1]])) % (rest.len() + 1);
    let (first, second) = (cut(0).min(cut(2)), cut(0).max(cut(2)));
    let (wal, journal) = (rest[..first].to_vec(), rest[first..second].to_vec());
    let mut db = rest[second..].to_vec();
    if db.len() >= 100 {
        db[..16].copy_from_slice(b"SQLite format 3\0");
        db[16] = if db[16] == 0 { 0 } else { 2 << (db[16] % 4) };
        db[17] = u8::from(db[16] == 0);
        db[20] = 0;
        db[21..24].copy_from_slice(&[64, 32, 32]);
    }
    let some = |part: &Vec<u8>| !part.is_empty();
    let _ = check::bytes(
        &db,
        Some(&wal).filter(|w| some(w)).map(|w| w as &dyn ReadAt),
        Some(&journal).filter(|j| some(j)).map(|j| j as &dyn ReadAt),
        &Control::default(),
    );
    if let Ok(text) = std::str::from_utf8(&db) {
        let _ = ddl::parse(text);
    }
}
