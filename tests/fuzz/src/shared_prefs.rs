//! Android preferences.

use shopmend::model::StoreKind;

use super::in_folder;

/// Takes one input.
pub fn run(data: &[u8]) {
    in_folder::check(StoreKind::SharedPrefs, "p.xml", &[("p.xml", data)]);
}
