//! Fresco's image cache: a picture where it belongs and one elsewhere.

use shopmend::model::StoreKind;

use super::in_folder;

/// Takes one input.
pub fn run(data: &[u8]) {
    // Java's hash of "a" is 97.
    let files: [(&str, &[u8]); 3] = [
        ("v2.ols100.1/97/a.cnt", data),
        ("v2.ols100.1/1/a.cnt", data.get(1..).unwrap_or_default()),
        ("v2.ols100.1/97/a.1.tmp", data),
    ];
    in_folder::check(StoreKind::Fresco, "v2.ols100.1", &files);
}
