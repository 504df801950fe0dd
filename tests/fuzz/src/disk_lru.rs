//! `DiskLruCache` journals, with two values of an entry beside them.

use shopmend::model::StoreKind;

use super::in_folder;

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut journal = b"libcore.io.DiskLruCache\n1\n201105\n2\n\n".to_vec();
    journal.extend_from_slice(data);
    let head: &[u8] = data.get(..200).unwrap_or(data);
    let files: [(&str, &[u8]); 3] = [("c/journal", &journal), ("c/a.0", head), ("c/a.1", b"body")];
    in_folder::check(StoreKind::DiskLruCache, "c", &files);
}
