//! Checks bytes as the files of a store, in a folder of their own.

use std::fs;

use shopmend::control::Control;
use shopmend::fsys::{Dir, RelPath};
use shopmend::model::StoreKind;
use shopmend::store::{self, Level, Subject};

use super::scratch;

/// Writes the files and checks the store of that name at both levels; what it
/// says must hold together.
pub fn check(kind: StoreKind, store: &str, files: &[(&str, &[u8])]) {
    scratch::with(|folder| {
        for (name, bytes) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let dir = Dir::open(folder).unwrap();
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

/// Rebuilds a copy of the store that was checked last; what comes out has to
/// be sound by its own check.
pub fn rebuild(kind: StoreKind, store: &str) {
    scratch::with(|folder| {
        let (copy, out) = (folder.join(".copy"), folder.join(".out"));
        for path in [&copy, &out] {
            let _ = fs::remove_dir_all(path);
        }
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(folder.join(store)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let control = Control::default();
        let request = store::RebuildRequest {
            copy: &copy,
            out: &out,
            how: shopmend::model::Remedy::Rebuild,
            known: None,
            control: &control,
        };
        if store::rebuild(kind, &request).is_ok() {
            let dir = Dir::open(folder).unwrap();
            let path = RelPath::new(".out").unwrap();
            let check =
                store::check(kind, Subject { dir: &dir, path: &path }, Level::Deep, &control).unwrap();
            let wrong: Vec<_> =
                check.findings.iter().filter(|f| f.severity > shopmend::model::Severity::Info).collect();
            assert!(wrong.is_empty(), "a rebuilt store is not sound: {wrong:?}");
        }
    });
}
