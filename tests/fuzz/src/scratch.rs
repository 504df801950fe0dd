//! One folder for all inputs of a target, in memory where there is such a place.

use std::path::Path;

thread_local! {
    static FOLDER: tempfile::TempDir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
}

/// Does something in it.
pub fn with<T>(what: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| what(folder.path()))
}
