//! Keva repositories: the three files of one, and of a sibling.

use shopmend::model::StoreKind;

use super::{framed, in_folder};

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((&mode, rest)) = data.split_first() else { return };
    data = rest;
    let page = |part: &[u8]| {
        let mut out = part.to_vec();
        out.resize(out.len().next_multiple_of(if mode & 1 == 0 { 4096 } else { 1 }), mode);
        out
    };
    let parts: [Vec<u8>; 4] = std::array::from_fn(|_| page(framed::part(&mut data)));
    let files: [(&str, &[u8]); 4] = [
        ("repo/a/a.blk", &parts[0]),
        ("repo/a/a.chk", &parts[1]),
        ("repo/a/a.lxi", &parts[2]),
        ("repo/b/b.blk", &parts[3]),
    ];
    in_folder::check(StoreKind::Keva, "repo/a", &files);
}
