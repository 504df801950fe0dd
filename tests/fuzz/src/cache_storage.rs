//! Cache Storage: the index from the input, with one cache beside it.

use shopmend::model::StoreKind;

use super::{framed, in_folder};

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut data = data;
    let index = framed::part(&mut data);
    let files: [(&str, &[u8]); 3] =
        [("o/index.txt", index), ("o/a-1/index", data), ("o/a-1/5d0e393d9cd7fb13_0", data)];
    in_folder::check(StoreKind::CacheStorage, "o", &files);
}
