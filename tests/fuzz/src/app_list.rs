//! The lists in which apps name the folders that they use.

use shopmend::profile::{ListFormat, MAX_LISTED, listed};

/// Takes one input.
pub fn run(data: &[u8]) {
    for (format, key) in [
        (ListFormat::Json, "profile.info_cache"),
        (ListFormat::Json, "a"),
        (ListFormat::Ini, "Profile*/Path"),
        (ListFormat::Ini, "*/Default"),
    ] {
        if let Ok(names) = listed(data, format, key) {
            assert!(names.len() <= MAX_LISTED + 1 && names.iter().all(|n| !n.is_empty()));
        }
    }
}
