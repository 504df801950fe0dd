//! Cached media and archives.

use shopmend::model::StoreKind;

use super::in_folder;

/// Takes one input.
pub fn run(data: &[u8]) {
    in_folder::check(StoreKind::Media, "file", &[("file", data)]);
}
