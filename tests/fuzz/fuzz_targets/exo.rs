//! ExoPlayer's cache index, with one span beside it.
#![no_main]

#[path = "common/in_folder.rs"]
mod in_folder;

use libfuzzer_sys::fuzz_target;
use shopmend::model::StoreKind;

fuzz_target!(|data: &[u8]| {
    let files: [(&str, &[u8]); 3] =
        [("c/cached_content_index.exi", data), ("c/1f.uid", b""), ("c/3/1.0.1763000000000.v3.exo", b"x")];
    in_folder::check(StoreKind::ExoCache, "c", &files);
});
