//! What is never cleared, whatever the plan says: looked at once more at the
//! act, independent of how the plan came about.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::fsys::{Dir, Kind, RelPath};
use crate::model::{Class, SQLITE_SIDECARS};
use crate::plan::{Action, Item, Op};

/// The endings that make a file part of a database, those included that only
/// some builds of SQLite write.
fn endings() -> impl Iterator<Item = &'static str> {
    SQLITE_SIDECARS.into_iter().chain(["-wal2"])
}

/// Why an action as a whole may not be done.
pub(super) fn action(action: &Action) -> Result<(), String> {
    let Op::Clear { files, whole } = &action.op else { return Ok(()) };
    if action.class != Class::Cache {
        return Err(format!("its class is {}, and only caches are ever cleared", action.class));
    }
    for item in files.iter().chain(whole) {
        if item.path.is_root() {
            return Err("the root folder of an app is never cleared".into());
        }
        if !item.path.starts_with(&action.path) {
            return Err(format!("{} is no part of this store", item.path));
        }
    }
    Ok(())
}

/// Which of `files` must stay because they would leave a part of a store
/// behind: a database and its log, a LevelDB and its tables go together or
/// not at all. `moved` tells whether a folder goes as a whole.
pub(super) fn torn_stores(
    root: &Dir,
    files: &[&Item],
    moved: &dyn Fn(&RelPath) -> bool,
) -> io::Result<BTreeMap<RelPath, String>> {
    let mut by_folder: BTreeMap<RelPath, BTreeSet<&std::ffi::OsStr>> = BTreeMap::new();
    for item in files {
        let (Some(folder), Some(name)) = (item.path.parent(), item.path.file_name()) else { continue };
        by_folder.entry(folder).or_default().insert(name);
    }
    let mut out = BTreeMap::new();
    for (folder, going) in &by_folder {
        let suspicious = going.iter().any(|n| is_part(n)) || moved(folder);
        // A database has no telling name: its sidecars on the disk tell.
        let listing = match root.dir(folder) {
            Ok(dir) => dir.list()?,
            Err(e) if super::steps::absent(&e) => continue,
            Err(e) => return Err(e),
        };
        let there: BTreeSet<&std::ffi::OsStr> =
            listing.iter().filter(|e| e.meta.kind == Kind::File).map(|e| e.name.as_os_str()).collect();
        if !suspicious && !there.iter().any(|n| is_part(n)) {
            continue;
        }
        let mut keep = |name: &std::ffi::OsStr, why: &str| {
            if let Ok(path) = folder.join(name) {
                out.insert(path, why.to_owned());
            }
        };
        for name in &there {
            let Some(base) = database_of(name) else { continue };
            let base_there = there.contains(base.as_os_str());
            let (base_goes, name_goes) = (going.contains(base.as_os_str()), going.contains(*name));
            if base_there && base_goes != name_goes {
                let why = "a database and its -wal, -shm and -journal stay together";
                keep(name, why);
                keep(&base, why);
                for suffix in endings() {
                    let mut sidecar = base.clone();
                    sidecar.push(suffix);
                    keep(&sidecar, why);
                }
            }
        }
        let leveldb = there.contains(std::ffi::OsStr::new("CURRENT"))
            || there.iter().any(|n| n.as_encoded_bytes().starts_with(b"MANIFEST-"));
        if leveldb && going.iter().any(|n| is_leveldb_part(n)) && there.iter().any(|n| !going.contains(*n)) {
            for name in going.iter().filter(|n| is_leveldb_part(n)) {
                keep(name, "the files of a LevelDB stay together");
            }
        }
    }
    Ok(out)
}

fn is_part(name: &std::ffi::OsStr) -> bool {
    database_of(name).is_some() || is_leveldb_part(name)
}

/// The database that a sidecar of that name belongs to.
fn database_of(name: &std::ffi::OsStr) -> Option<std::ffi::OsString> {
    endings().find_map(|suffix| crate::fsys::without_ending(name, suffix).filter(|base| !base.is_empty()))
}

fn is_leveldb_part(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let numbered = |suffix: &[u8]| {
        name.strip_suffix(suffix).is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
    };
    name == b"CURRENT"
        || name == b"LOCK"
        || name.starts_with(b"MANIFEST-")
        || [b".ldb".as_slice(), b".sst", b".log"].iter().any(|s| numbered(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torn(all: &[&str], going: &[&str]) -> Vec<String> {
        let tmp = tempfile::tempdir().unwrap();
        for name in all {
            std::fs::create_dir_all(tmp.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(tmp.path().join(name), "x").unwrap();
        }
        let root = Dir::open(tmp.path()).unwrap();
        let items: Vec<Item> = going
            .iter()
            .map(|n| {
                let path = RelPath::new(n).unwrap();
                Item::new(path.clone(), &root.stat(&path).unwrap())
            })
            .collect();
        let items: Vec<&Item> = items.iter().collect();
        let out = torn_stores(&root, &items, &|_| false).unwrap();
        out.keys().map(RelPath::to_text).filter(|p| going.contains(&p.as_str())).collect()
    }

    #[test]
    fn a_database_goes_with_its_sidecars_or_not_at_all() {
        let all = ["c/a.db", "c/a.db-wal", "c/a.db-journal", "c/x"];
        assert_eq!(torn(&all, &["c/a.db-wal", "c/x"]), ["c/a.db-wal"]);
        assert_eq!(torn(&all, &["c/a.db-journal"]), ["c/a.db-journal"]);
        assert_eq!(torn(&all, &["c/a.db"]), ["c/a.db"]);
        assert_eq!(torn(&all, &["c/a.db", "c/a.db-wal"]), ["c/a.db", "c/a.db-wal"]);
        assert!(torn(&all, &["c/a.db", "c/a.db-wal", "c/a.db-journal"]).is_empty());
        assert!(torn(&["c/y-journal"], &["c/y-journal"]).is_empty(), "it belongs to no database");
    }

    #[test]
    fn a_leveldb_goes_whole_or_not_at_all() {
        let all =
            ["l/CURRENT", "l/MANIFEST-000001", "l/000003.log", "l/000005.ldb", "l/LOG", "log/000003.log"];
        assert_eq!(torn(&all, &["l/000003.log", "l/CURRENT"]), ["l/000003.log", "l/CURRENT"]);
        assert!(torn(&all, &["l/LOG"]).is_empty());
        assert!(torn(&all, &all).is_empty());
        assert!(torn(&all, &["log/000003.log"]).is_empty(), "an ordinary log");
    }
}
