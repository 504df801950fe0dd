//! Firefox's cache2: one entry file, raw or under hashes that hold.

use shopmend::model::StoreKind;
use shopmend::store::lookup2;

use super::{framed, in_folder};

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((&mode, rest)) = data.split_first() else { return };
    data = rest;
    let body = framed::part(&mut data);
    let mut entry = body.to_vec();
    if mode & 1 == 0 {
        let mut meta = Vec::new();
        for chunk in body.chunks(256 * 1024) {
            meta.extend((lookup2(chunk) as u16).to_be_bytes());
        }
        meta.extend_from_slice(data);
        entry.extend(lookup2(&meta).to_be_bytes());
        entry.extend(meta);
    } else {
        entry.extend_from_slice(data);
    }
    if mode & 2 == 0 {
        entry.extend(u32::from(mode >> 4).to_be_bytes());
    }
    entry.extend((body.len() as u32).to_be_bytes());
    let files: [(&str, &[u8]); 2] =
        [("cache2/entries/5F5BB766E90E90BCB26E524C14DDD9F7164C88CC", &entry), ("cache2/index", data)];
    in_folder::check(StoreKind::FirefoxCache, "cache2", &files);
}
