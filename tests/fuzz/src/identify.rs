//! What a file of any content is taken for, under names and at places that
//! say something of their own: the first byte chooses. Archives are unpacked.

use std::fs;

use shopmend::control::Control;
use shopmend::fsys::{Dir, RelPath};
use shopmend::store::{self, Identity, Subject, inside};

use super::scratch;

const NAMES: [&str; 12] = [
    "app.db",
    "app.db-wal",
    "app.db-journal",
    "kv",
    "shared_prefs/p.xml",
    "p.xml.bak",
    "a.json",
    "a.jsonlz4",
    "b.ab",
    "mmkv/kv",
    "000003.log",
    "x.preferences_pb",
];

/// Takes one input.
pub fn run(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let name = NAMES[usize::from(*first) % NAMES.len()];
    scratch::with(|folder| {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, data).unwrap();
        let dir = Dir::open(folder).unwrap();
        let path = RelPath::new(name).unwrap();
        let subject = Subject { dir: &dir, path: &path };
        store::part_of(subject).unwrap();
        let found = store::identify(subject).unwrap();
        if let Some(Identity::Archive(format) | Identity::Foreign(format)) = found {
            let out = folder.join(".out");
            let _ = fs::remove_dir_all(&out);
            fs::create_dir(&out).unwrap();
            let _ = inside::unpack(subject, format, &out, &Control::default());
        }
        if let Some(Identity::Store { kind, .. }) = found {
            let _ = store::check(kind, subject, store::Level::Deep, &Control::default());
        }
        fs::remove_file(&file).unwrap();
    });
}
