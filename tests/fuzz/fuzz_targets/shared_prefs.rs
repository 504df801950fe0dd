//! Android preferences.
#![no_main]

#[path = "common/in_folder.rs"]
mod in_folder;

use libfuzzer_sys::fuzz_target;
use shopmend::model::StoreKind;

fuzz_target!(|data: &[u8]| {
    in_folder::check(StoreKind::SharedPrefs, "p.xml", &[("p.xml", data)]);
});
