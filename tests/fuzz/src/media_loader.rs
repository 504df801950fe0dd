//! The media loader's pairs of files.

use shopmend::model::StoreKind;

use super::{framed, in_folder};

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut data = data;
    let conf = framed::part(&mut data);
    let files: [(&str, &[u8]); 3] = [("c/v1_h264.mdl", data), ("c/v1.mdlnodeconf", conf), ("c/v2.mdl", conf)];
    in_folder::check(StoreKind::MediaLoader, "c", &files);
}
