//! Other builds of the browsers than the installed ones, old and new: what each
//! wrote is called sound, damage in it is found and repaired, and the same
//! build then finds what it held before. Only what every build promises is
//! asked for, never what one of them leaves behind.
//!
//! Ignored unless they are asked for: `scripts/test --versions` fetches the
//! builds and names them in `SHOPMEND_BROWSER_BUILDS`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use shopmend::exit::Exit;

use crate::browser_stores::{change, change_range, find, has_suffix, indexed_db, local_storage};
use crate::browsers::{age, damage_an_index, root_pages};
use crate::support::browsers::{Browser, Build, End, FilledHome, verdict_when_sound};
use crate::support::run::Run;
use crate::support::tree::Snapshot;

/// The kinds of HTTP cache that a Chromium may be asked for. One that does not
/// know a kind keeps another, which has to be judged rightly too.
const HTTP_CACHES: [&str; 2] = ["blockfile", "sql"];

#[test]
#[ignore = "fetches browsers: scripts/test --versions"]
fn every_fetched_build_goes_on_with_what_was_repaired() {
    let builds = Build::fetched();
    assert!(!builds.is_empty(), "SHOPMEND_BROWSER_BUILDS names no build");
    let mut failed = Vec::new();
    for build in &builds {
        let started = Instant::now();
        // Each build is tried whatever became of the others.
        let outcome = std::panic::catch_unwind(|| try_build(build));
        let seconds = started.elapsed().as_secs();
        if let Ok(kinds) = outcome {
            println!("{}: {seconds} s, {kinds:?}", build.name());
        } else {
            println!("{}: {seconds} s, FAILED", build.name());
            failed.push(build.name());
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// The whole round with one build; gives how many stores of each kind it made.
fn try_build(build: &Build) -> BTreeMap<String, u64> {
    let (home, filled) = build.fill(None);
    let mut kinds = all_are_sound(build, &home);
    // What an undamaged home gives at the next start: some builds drop cookies then.
    let control = home.copy();
    let held = build.read(control.path(), End::Close);
    for site in ["seller-us.tiktok.com", "www.tiktok.com", "forum.example.net"] {
        for store in ["localStorage", "indexedDB", "cacheStorage"] {
            assert_eq!(held[site][store], filled[site][store], "{}: {site} {store}", build.name());
        }
    }
    a_killed_one_is_not_damaged(build, &home);
    match build.browser {
        Browser::Chromium => {
            for cache in HTTP_CACHES {
                let (home, _) = build.fill(Some(cache));
                for (kind, count) in all_are_sound(build, &home) {
                    *kinds.entry(kind).or_default() += count;
                }
                damage_in_the_http_cache_is_cleared(build, &home);
            }
            lost_manifests_cost_nothing(build, &home, &held);
            a_damaged_log_costs_what_was_written_there(build, &home, &held);
        }
        Browser::Firefox => damaged_indexes_cost_nothing(build, &home, &held),
    }
    kinds
}

/// `check` calls every store of the home sound, and a scan too.
fn all_are_sound(build: &Build, home: &FilledHome) -> BTreeMap<String, u64> {
    let run = Run::new().home(home.path());
    let before = Snapshot::of(home.path());
    let check = run.call(["check", "--deep", "--format", "json", &home.path().to_string_lossy()]).json();
    let scan = run.call(["scan", "--deep", "--format", "json"]).json();
    before.assert_same(&Snapshot::of(home.path()));
    let mut kinds = BTreeMap::new();
    let checked = check["stores"].as_array().unwrap();
    for store in checked.iter().chain(stores(&scan)) {
        let verdict = verdict_when_sound(store);
        assert_eq!(store["verdict"], verdict, "{}: {store:#}", build.name());
        if verdict == "unknown" {
            continue;
        }
        let path = Path::new(store["path"].as_str().unwrap());
        // Of a loose store only its path is said.
        let bytes = store["bytes"].as_u64().unwrap_or_else(|| bytes_in(path));
        let unread = store["coverage"]["bytes_seen"] == 0 && bytes > 0;
        assert!(!unread, "{}: healthy unread: {store:#}", build.name());
    }
    for store in checked {
        *kinds.entry(store["kind"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    for cache in home.http_caches() {
        let kind = kind_by_index(&cache);
        let of_kind = |s: &&Value| Path::new(s["path"].as_str().unwrap()) == cache;
        let store =
            checked.iter().find(of_kind).unwrap_or_else(|| panic!("{} was not seen", cache.display()));
        assert_eq!(store["kind"], kind, "{}: {store:#}", build.name());
        let seen = store["coverage"]["bytes_seen"].as_u64().unwrap();
        // Streams that a check need not read may be missing, databases may not.
        let least = if kind == "sql-cache" { bytes_in(&cache) } else { 1 };
        assert!(seen >= least, "{}: {seen} of {least} bytes: {store:#}", build.name());
    }
    kinds
}

/// A browser that was killed leaves hot journals and entries that it was just
/// writing; no more than these entries may be called damaged.
fn a_killed_one_is_not_damaged(build: &Build, home: &FilledHome) {
    let home = home.copy();
    let started = SystemTime::now() - Duration::from_secs(1);
    build.read(home.path(), End::Kill);
    let scan = Run::new().home(home.path()).call(["scan", "--deep", "--format", "json"]).json();
    for store in stores(&scan).filter(|s| s["verdict"] == "damaged") {
        assert_eq!(store["class"], "cache", "{}: {store:#}", build.name());
        for finding in store["findings"].as_array().unwrap() {
            assert_eq!(finding["remedy"], "clear-entry", "{}: {store:#}", build.name());
            let rel = finding["evidence"]["file"].as_str().unwrap();
            let store = Path::new(store["path"].as_str().unwrap());
            let entry = store.ancestors().map(|a| a.join(rel)).find(|p| p.is_file()).unwrap();
            assert!(entry.metadata().unwrap().modified().unwrap() > started, "{}: {finding:#}", build.name());
        }
    }
}

/// A byte is changed in what the cache has a checksum of: it is found, and
/// cleared; the rest of the home stays as it is.
fn damage_in_the_http_cache_is_cleared(build: &Build, home: &FilledHome) {
    for cache in home.http_caches() {
        let kind = kind_by_index(&cache);
        let large = |name: &str| name.starts_with("sqldb") && !name.contains('-');
        let (file, at) = match kind {
            "sql-cache" => (find(&cache, large), 4096..12_000),
            "simple-cache" => (find(&cache, |name| name.ends_with("_0")), 30..31),
            // No checksum of the data: the number of the file in its header.
            _ => (find(&cache, |name| name == "data_1"), 8..9),
        };
        change_range(&file, at);
        let run = Run::new().home(home.path());
        let scan = run.call(["scan", "--deep", "--format", "json"]).expect(Exit::Findings).json();
        let damaged: Vec<&Value> = stores(&scan).filter(|s| s["verdict"] == "damaged").collect();
        assert_eq!(damaged.len(), 1, "{}: {damaged:#?}", build.name());
        assert!(file.starts_with(damaged[0]["path"].as_str().unwrap()), "{}: {damaged:#?}", build.name());
        repaired(build, home);
        assert!(!file.exists(), "{}: {} was to be cleared", build.name(), file.display());
    }
}

/// LevelDB folders without their MANIFEST are rebuilt from their tables and
/// logs with every record.
fn lost_manifests_cost_nothing(build: &Build, home: &FilledHome, held: &Value) {
    let home = home.copy();
    for store in [local_storage(&home), indexed_db(&home)] {
        fs::remove_file(find(&store, |name| name.starts_with("MANIFEST-"))).unwrap();
    }
    let cookies = ["Cookies", "Network/Cookies"].map(|c| home.chromium().join("Default").join(c));
    damage_first_index(cookies.iter().find(|c| c.exists()).expect("the browser keeps cookies"));
    repaired(build, &home);
    assert_eq!(build.read(home.path(), End::Close), *held, "{}", build.name());
}

/// A changed byte in the middle of a log: what was written elsewhere is there.
fn a_damaged_log_costs_what_was_written_there(build: &Build, home: &FilledHome, held: &Value) {
    let home = home.copy();
    for store in [local_storage(&home), indexed_db(&home)] {
        let log = find(&store, |name| has_suffix(name, "log"));
        let middle = fs::metadata(&log).unwrap().len() as usize / 2;
        change(&log, middle);
    }
    repaired(build, &home);
    let after = build.read(home.path(), End::Close);
    let mut whole = 0;
    for (site, was) in held.as_object().unwrap() {
        whole += i32::from(after[site]["localStorage"] == was["localStorage"]);
        // One transaction wrote 250 records.
        let records = after[site]["indexedDB"]["records"].as_u64().unwrap_or_default();
        assert!(records >= 1250, "{}: {site}: {:#}", build.name(), after[site]["indexedDB"]);
    }
    assert!(whole > 0, "{}: {after:#}", build.name());
}

/// Firefox keeps what sites store in databases: the rows of one whose index is
/// damaged are all there.
fn damaged_indexes_cost_nothing(build: &Build, home: &FilledHome, held: &Value) {
    let home = home.copy();
    let site = home.firefox().join("storage/default/https+++seller-us.tiktok.com");
    let databases = [
        find(&site.join("idb"), |name| has_suffix(name, "sqlite")),
        site.join("ls/data.sqlite"),
        home.firefox().join("places.sqlite"),
    ];
    for database in &databases {
        damage_first_index(database);
    }
    age(&home.at(".cache"), 400 * 24 * 60 * 60);
    repaired(build, &home);
    assert_eq!(build.read(home.path(), End::Close), *held, "{}", build.name());
}

fn damage_first_index(database: &Path) {
    let tmp = tempfile::tempdir().unwrap();
    let copy = tmp.path().join("copy");
    fs::copy(database, &copy).unwrap();
    let db = rusqlite::Connection::open(&copy).unwrap();
    let sql = "SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name LIMIT 1";
    let name: String = db.query_row(sql, [], |row| row.get(0)).unwrap();
    assert!(!root_pages(database, &format!("name = '{name}'")).is_empty());
    damage_an_index(database, &name);
}

/// Repairs the home; a scan then finds nothing damaged.
fn repaired(build: &Build, home: &FilledHome) {
    let run = Run::new().home(home.path());
    let repair = run.call(["repair", "--deep", "--yes", "--format", "json"]);
    repair.expect_one_of(&[Exit::Ok, Exit::Incomplete, Exit::Left]);
    let scan = run.call(["scan", "--deep", "--format", "json"]).json();
    for store in stores(&scan) {
        assert_eq!(store["verdict"], verdict_when_sound(store), "{}: {store:#}", build.name());
    }
}

fn stores(report: &Value) -> impl Iterator<Item = &Value> {
    report["targets"].as_array().unwrap().iter().flat_map(|t| t["stores"].as_array().unwrap())
}

/// What kind of cache the folder's own index says it is.
fn kind_by_index(cache: &Path) -> &'static str {
    let index = fs::read(cache.join("index")).unwrap();
    match index.get(..4) {
        Some(b"SQLC") => "sql-cache",
        Some([0xc3, 0xca, 0x03, 0xc1]) => "blockfile-cache",
        _ => "simple-cache",
    }
}

/// The bytes of a file, or of all files below a folder.
fn bytes_in(path: &Path) -> u64 {
    let entries = walkdir::WalkDir::new(path).into_iter().map(|e| e.unwrap().metadata().unwrap());
    entries.filter(std::fs::Metadata::is_file).map(|meta| meta.len()).sum()
}
