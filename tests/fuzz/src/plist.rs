//! Property lists, binary and XML.

use shopmend::model::StoreKind;

use super::in_folder;

/// Takes one input.
pub fn run(data: &[u8]) {
    in_folder::check(StoreKind::Plist, "a.plist", &[("a.plist", data)]);
}
