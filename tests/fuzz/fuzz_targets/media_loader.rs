//! The media loader's pairs of files.
#![no_main]

#[path = "common/framed.rs"]
mod framed;
#[path = "common/in_folder.rs"]
mod in_folder;

use libfuzzer_sys::fuzz_target;
use shopmend::model::StoreKind;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let conf = framed::part(&mut data);
    let files: [(&str, &[u8]); 3] =
        [("c/v1_h264.mdl", data), ("c/v1.mdlnodeconf", conf), ("c/v2.mdl", conf)];
    in_folder::check(StoreKind::MediaLoader, "c", &files);
});
