//! Checks bytes as the files of a store, in a folder of their own.

use std::fs;

use shopmend::control::Control;
use shopmend::fsys::{Dir, RelPath};
use shopmend::model::StoreKind;
use shopmend::store::{self, Level, Subject};

thread_local! {
    // In memory where there is such a place.
    static FOLDER: tempfile::TempDir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
}

/// Writes the files and checks the store of that name at both levels; what it
/// says must hold together.
pub fn check(kind: StoreKind, store: &str, files: &[(&str, &[u8])]) {
    FOLDER.with(|folder| {
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let dir = Dir::open(folder.path()).unwrap();
        let path = RelPath::new(store).unwrap();
        let subject = Subject { dir: &dir, path: &path };
        let _ = store::recognise(subject).unwrap();
        for level in [Level::Fast, Level::Deep] {
            if let Ok(check) = store::check(kind, subject, level, &Control::default()) {
                assert!(check.coverage.bytes_verified <= check.coverage.bytes_seen, "{check:?}");
            }
        }
        let _ = store::entries(kind, subject, &Control::default());
    });
}
