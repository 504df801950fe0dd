//! ExoPlayer's cache index, with one span beside it.

use shopmend::model::StoreKind;

use super::in_folder;

/// Takes one input.
pub fn run(data: &[u8]) {
    let files: [(&str, &[u8]); 3] =
        [("c/cached_content_index.exi", data), ("c/1f.uid", b""), ("c/3/1.0.1763000000000.v3.exo", b"x")];
    in_folder::check(StoreKind::ExoCache, "c", &files);
}
