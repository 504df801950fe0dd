//! JSON state files.
#![no_main]

#[path = "common/in_folder.rs"]
mod in_folder;

use libfuzzer_sys::fuzz_target;
use shopmend::model::StoreKind;

fuzz_target!(|data: &[u8]| {
    in_folder::check(StoreKind::Json, "state.json", &[("state.json", data)]);
});
