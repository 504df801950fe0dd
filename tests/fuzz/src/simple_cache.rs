//! Simple cache: an entry's three files and both indexes, raw or under
//! checksums that hold.

use shopmend::model::StoreKind;

use super::{framed, in_folder};

/// Header of an entry whose key is `k`.
fn header(version: u8) -> Vec<u8> {
    let mut out = 0xfcfb_6d1b_a772_5c30_u64.to_le_bytes().to_vec();
    out.extend([version, 0, 0, 0, 1, 0, 0, 0, 0xc0, 0x85, 0xa5, 0x4e, 0, 0, 0, 0, b'k']);
    out
}

fn record(flags: u8, data: &[u8], size: usize) -> Vec<u8> {
    let mut out = 0xf4fa_6f45_970d_41d8_u64.to_le_bytes().to_vec();
    out.extend([flags, 0, 0, 0]);
    out.extend(crc32fast::hash(data).to_le_bytes());
    out.extend((size as u32).to_le_bytes());
    out.extend([0; 4]);
    out
}

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((&mode, rest)) = data.split_first() else { return };
    data = rest;
    let (head, body, sparse) = (framed::part(&mut data), framed::part(&mut data), framed::part(&mut data));
    let main = match mode & 3 {
        0 => [&header(5)[..], body, &record(1, body, 0), head, &record(1, head, head.len())].concat(),
        1 => [&header(5)[..], body, &record(mode >> 4, body, 0), head, &record(mode >> 4, head, body.len())]
            .concat(),
        2 => [&header(5)[..], body].concat(),
        _ => body.to_vec(),
    };
    let second = [&header(5)[..], head, &record(1, head, 0)].concat();
    let sparse = [&header(9)[..], sparse].concat();
    let mut real = (data.len() as u32).to_le_bytes().to_vec();
    real.extend(crc32fast::hash(data).to_le_bytes());
    real.extend_from_slice(data);
    let index: &[u8] = if mode & 4 == 0 { &[&header(9)[..12], &[0; 12]].concat() } else { data };
    let files: [(&str, &[u8]); 5] = [
        ("c/index", index),
        ("c/index-dir/the-real-index", if mode & 8 == 0 { &real } else { data }),
        ("c/5d0e393d9cd7fb13_0", &main),
        ("c/5d0e393d9cd7fb13_1", &second),
        ("c/5d0e393d9cd7fb13_s", &sparse),
    ];
    in_folder::check(StoreKind::SimpleCache, "c", &files);
}
