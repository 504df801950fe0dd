//! Every store kind on the sample device: sound stores are sound, and each
//! kind of damage is found where it was done.

use std::collections::BTreeMap;
use std::path::Path;

use shopmend::control::Control;
use shopmend::exit::Exit;
use shopmend::fsys::{Dir, RelPath};
use shopmend::model::{Remedy, Severity, StoreKind};
use shopmend::sample::harm::Harm;
use shopmend::store::{self, Check, Clearable, Level, Subject};

use crate::support::android_tree::AndroidTree;
use crate::support::run::Run;
use crate::support::tree::Snapshot;

fn with<T>(path: &Path, run: impl FnOnce(Subject<'_>) -> T) -> T {
    let dir = Dir::open(path.parent().unwrap()).unwrap();
    let name = RelPath::new(path.file_name().unwrap()).unwrap();
    run(Subject { dir: &dir, path: &name })
}

fn check(kind: StoreKind, path: &Path) -> Check {
    with(path, |subject| store::check(kind, subject, Level::Deep, &Control::default()).unwrap())
}

/// Every store below the image, by kind; what lies in a folder store is part
/// of it.
fn stores(image: &Path) -> Vec<(StoreKind, std::path::PathBuf)> {
    let mut out = Vec::new();
    let mut walk = walkdir::WalkDir::new(image).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.unwrap();
        if entry.depth() == 0 {
            continue;
        }
        if let Some(kind) = with(entry.path(), store::recognise).unwrap() {
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
            out.push((kind, entry.into_path()));
        }
    }
    out
}

/// What a browser that came after this program keeps in newer formats is
/// neither called damaged, nor sound, nor changed.
#[test]
fn what_a_newer_browser_keeps_is_unknown_and_left_as_it_is() {
    let run = Run::new();
    let home = run.home_path().to_owned();
    let put = |rel: &str, content: &[u8]| {
        let path = home.join(rel);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    put(".config/chromium/Local State", b"{}");
    put(".cache/chromium/Default/Cache/Cache_Data/index", b"SQLCacheV9Shards3");
    put(".cache/chromium/Default/Cache/Cache_Data/shard0", &[7; 9000]);
    let mut index = vec![0; 368 + 4 * 65_536];
    index[..8].copy_from_slice(&[0xc3, 0xca, 0x03, 0xc1, 0, 0, 7, 0]);
    put(".config/chromium/Default/GPUCache/index", &index);
    let history = home.join(".config/chromium/Default/History");
    rusqlite::Connection::open(&history)
        .unwrap()
        .execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES(1)")
        .unwrap();
    let mut bytes = std::fs::read(&history).unwrap();
    bytes[18..20].copy_from_slice(&[3, 3]);
    std::fs::write(&history, bytes).unwrap();
    let before = Snapshot::of(&home);
    for depth in [&["scan", "--format", "json"][..], &["scan", "--deep", "--format", "json"]] {
        let report = run.call(depth).expect(Exit::Incomplete).json();
        let stores = report["targets"][0]["stores"].as_array().unwrap();
        for name in ["Default/Cache/Cache_Data", "Default/GPUCache", "Default/History"] {
            let store = stores.iter().find(|s| s["path"].as_str().unwrap().ends_with(name)).unwrap();
            assert_eq!(store["verdict"], "unknown", "{store:#}");
        }
    }
    run.call(["repair", "--deep", "--yes"]);
    before.assert_same(&Snapshot::of(&home));
}

#[test]
fn every_store_of_a_healthy_device_is_sound() {
    let tree = AndroidTree::healthy();
    let mut seen: BTreeMap<&str, (u32, u64, u64)> = BTreeMap::new();
    for (kind, path) in stores(tree.image()) {
        let check = check(kind, &path);
        assert_eq!(check.findings, vec![], "{kind} {}", path.display());
        assert_eq!(check.kind, kind);
        assert!(check.coverage.bytes_verified <= check.coverage.bytes_seen, "{kind} {}", path.display());
        // What is not fully covered says what is left unjudged.
        let full = check.coverage.bytes_verified == check.coverage.bytes_seen;
        assert!(full || !check.not_checked.is_empty(), "{kind} {}: {:?}", path.display(), check.coverage);
        let (count, verified, bytes) = seen.entry(kind.as_str()).or_default();
        *count += 1;
        *verified += check.coverage.bytes_verified;
        *bytes += check.coverage.bytes_seen;
    }
    for (kind, (count, verified, bytes)) in &seen {
        println!("{kind}: {count} stores, {verified} of {bytes} bytes verified");
    }
    for kind in [
        "sqlite",
        "shared-prefs",
        "json",
        "mmkv",
        "keva",
        "leveldb",
        "disk-lru-cache",
        "fresco",
        "exo-cache",
        "media-loader",
        "media",
    ] {
        assert!(seen.contains_key(kind), "the device has a store of kind {kind}: {:?}", seen.keys());
    }
}

fn spelled(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

fn wrong(check: &Check) -> bool {
    check.findings.iter().any(|f| f.severity > Severity::Info)
}

#[test]
fn each_damage_is_found() {
    for harm in Harm::ALL {
        let tree = AndroidTree::healthy();
        let damaged = tree.damage(harm);
        let found = check(harm.kind(), &damaged);
        assert!(wrong(&found), "{harm:?}: {found:?}");
        // Only what is cache may be cleared.
        let private = !damaged.iter().any(|name| name == "cache");
        let clears =
            found.findings.iter().any(|f| matches!(f.remedy, Remedy::ClearEntry | Remedy::ClearStore));
        assert!(!(private && clears), "{harm:?}: {found:?}");
    }
}

#[test]
fn damage_shows_nowhere_else() {
    let tree = AndroidTree::healthy();
    let damaged: Vec<String> = Harm::ALL.into_iter().map(|harm| spelled(&tree.damage(harm))).collect();
    for (kind, path) in stores(tree.image()) {
        // A store, its sidecars, or something in it.
        let hit = damaged.iter().any(|d| spelled(&path).starts_with(d.as_str()));
        assert!(hit || !wrong(&check(kind, &path)), "damage shows in {kind} {}", path.display());
    }
}

#[test]
fn every_file_of_a_cache_is_accounted_for_once() {
    let tree = AndroidTree::healthy();
    for (kind, path) in stores(tree.image()) {
        let Ok(Clearable::ByEntry(found)) = with(&path, |s| store::entries(kind, s, &Control::default()))
        else {
            continue;
        };
        let mut named: Vec<_> = found
            .entries
            .iter()
            .chain(&found.leftovers)
            .flat_map(|e| e.files.iter())
            .chain(&found.control)
            .chain(&found.unknown)
            .map(|rel| path.join(rel.as_path()))
            .collect();
        named.sort();
        let mut files: Vec<_> = walkdir::WalkDir::new(&path)
            .into_iter()
            .map(Result::unwrap)
            .filter(|e| e.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .collect();
        files.sort();
        assert_eq!(named.iter().map(|p| p.components().as_path()).collect::<Vec<_>>(), files, "{kind}");
        assert!(!found.entries.is_empty(), "{kind} {}", path.display());
    }
}
