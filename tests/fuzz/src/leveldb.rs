//! LevelDB: MANIFEST, log and table from the input, raw, under checksums that
//! hold, or with a part overwritten behind these; and what a rebuild makes of
//! them has to be a sound store.

use shopmend::model::StoreKind;

use super::{framed, in_folder};

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((&mode, rest)) = data.split_first() else { return };
    data = rest;
    let (edit, block, index) = (framed::part(&mut data), framed::part(&mut data), framed::part(&mut data));
    let table = if mode & 1 == 0 { framed::table(block, index) } else { block.to_vec() };
    let mut first = Vec::new();
    let comparator: &[u8] = if mode & 8 == 0 { b"leveldb.BytewiseComparator" } else { b"idb_cmp1" };
    first.extend([1, comparator.len() as u8]);
    first.extend_from_slice(comparator);
    first.extend([2, 3, 9, 0, 3, 9, 4, 100, 7, 0, 2]);
    framed::varint(&mut first, table.len() as u64);
    first.extend(b"\x09a\x01\x01\0\0\0\0\0\0\x09z\x01\x01\0\0\0\0\0\0");
    let manifest = if mode & 2 == 0 { framed::log(&[&first, edit]) } else { edit.to_vec() };
    let log = if mode & 4 == 0 { framed::log(&[data]) } else { data.to_vec() };
    let (mut manifest, mut table, mut log) = (manifest, table, log);
    if mode & 32 != 0 {
        // Where and what, by the last bytes of the input.
        let (place, fill) = data
            .split_last_chunk::<3>()
            .map_or((0, 0), |(_, [low, high, fill])| (usize::from(u16::from_le_bytes([*low, *high])), *fill));
        for file in [&mut manifest, &mut table, &mut log] {
            let start = place % file.len().max(1);
            let end = file.len().min(start + 1 + usize::from(fill & 63));
            file[start..end].fill(fill >> 6);
        }
    }
    let current: &[u8] = if mode & 16 == 0 { b"MANIFEST-000001\n" } else { edit };
    let files: [(&str, &[u8]); 4] = [
        ("d/CURRENT", current),
        ("d/MANIFEST-000001", &manifest),
        ("d/000002.ldb", &table),
        ("d/000003.log", &log),
    ];
    in_folder::check(StoreKind::Leveldb, "d", &files);
    in_folder::rebuild(StoreKind::Leveldb, "d");
}
