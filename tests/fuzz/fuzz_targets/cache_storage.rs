//! Cache Storage: the index from the input, with one cache beside it.
#![no_main]

#[path = "common/framed.rs"]
mod framed;
#[path = "common/in_folder.rs"]
mod in_folder;

use libfuzzer_sys::fuzz_target;
use shopmend::model::StoreKind;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let index = framed::part(&mut data);
    let files: [(&str, &[u8]); 3] =
        [("o/index.txt", index), ("o/a-1/index", data), ("o/a-1/5d0e393d9cd7fb13_0", data)];
    in_folder::check(StoreKind::CacheStorage, "o", &files);
});
