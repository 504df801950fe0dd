//! The checks on stores that the real Chromium and Firefox wrote, when there is
//! a home that they filled (`SHOPMEND_BROWSER_HOME`, see `scripts/test`): every
//! change and cut where a check vouches is found, and where none does it says so.

use std::fs;
use std::path::{Path, PathBuf};

use super::damage::{Bench, Checked};
use super::{Level, Subject, blockfile, cache_storage, firefox_cache, leveldb, simple_cache, sql_cache};
use crate::control::Control;
use crate::skip::{beyond, skipped};

/// A folder of that name and kind below the filled home; `None`, and said so,
/// where there is no such home.
fn find(test: &str, suffix: &str, is_it: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut home = std::env::var_os("SHOPMEND_BROWSER_HOME").unwrap_or_default();
    home.push(suffix);
    if !Path::new(&home).is_dir() {
        skipped(test, &format!("{} is no home that browsers filled (SHOPMEND_BROWSER_HOME)", home.display()));
        return None;
    }
    let found = walkdir::WalkDir::new(&home).sort_by_file_name().into_iter().map(|e| e.unwrap().into_path());
    Some(found.into_iter().find(|p| is_it(p)).expect("the browsers made such a store"))
}

/// Chromium's HTTP cache in the filled home, of the kind whose index begins
/// with `magic`; `None`, and said so, where there is none: not every version
/// can be asked for every kind.
fn http_cache(test: &str, suffix: &str, magic: &[u8]) -> Option<PathBuf> {
    // Old versions have no `Cache_Data`.
    let has_index = |p: &Path| {
        (p.ends_with("Cache/Cache_Data") || p.ends_with("Default/Cache")) && p.join("index").is_file()
    };
    let store = find(test, suffix, &has_index)?;
    if fs::read(store.join("index")).unwrap().starts_with(magic) {
        return Some(store);
    }
    beyond(test, "the installed Chromium keeps no HTTP cache of that kind");
    None
}

/// Leaves only the first `n` files of that ending: each damage means another
/// look at the whole store.
fn keep(bench: &Bench, folder: &str, ending: &str, n: usize) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(bench.path().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|p| p.is_file() && p.to_string_lossy().ends_with(ending)).skip(n) {
        fs::remove_file(path).unwrap();
    }
}

fn prove(bench: &Bench, seed: u64, check: &dyn Fn(Subject<'_>) -> Checked) {
    bench.every_damage_is_found(seed, check);
    bench.what_is_not_covered_is_said(seed, check);
}

#[test]
fn a_real_leveldb_log_and_manifest() {
    let is_it = |p: &Path| p.ends_with("Local Storage/leveldb");
    let Some(store) = find("a_real_leveldb_log_and_manifest", "", &is_it) else { return };
    prove(&Bench::copy_of(&store), 201, &|s| leveldb::examine_store(s, Level::Deep, &Control::default()));
}

#[test]
fn a_real_indexed_db() {
    let is_it = |p: &Path| p.to_string_lossy().ends_with("seller-us.tiktok.com_0.indexeddb.leveldb");
    let Some(store) = find("a_real_indexed_db", "", &is_it) else { return };
    let check = |s: Subject<'_>| leveldb::examine_store(s, Level::Deep, &Control::default());
    Bench::copy_of(&store).damage_is_found(60, 203, &check);
}

#[test]
fn a_real_simple_cache() {
    let magic = 0xfcfb_6d1b_a772_5c30_u64.to_le_bytes();
    let Some(store) = http_cache("a_real_simple_cache", "", &magic) else { return };
    let bench = Bench::copy_of(&store);
    keep(&bench, "store", "_0", 25);
    prove(&bench, 204, &|s| simple_cache::examine(s, Level::Deep, &Control::default()));
}

#[test]
fn a_real_code_cache() {
    let is_it = |p: &Path| p.ends_with("Code Cache/js");
    let Some(store) = find("a_real_code_cache", "", &is_it) else { return };
    let bench = Bench::copy_of(&store);
    keep(&bench, "store", "_0", 25);
    prove(&bench, 205, &|s| simple_cache::examine(s, Level::Deep, &Control::default()));
}

#[test]
fn a_real_service_worker_script_cache() {
    let is_it = |p: &Path| p.ends_with("Service Worker/ScriptCache");
    let Some(store) = find("a_real_service_worker_script_cache", "", &is_it) else { return };
    prove(&Bench::copy_of(&store), 206, &|s| simple_cache::examine(s, Level::Deep, &Control::default()));
}

#[test]
fn a_real_cache_storage() {
    let is_it = |p: &Path| p.join("index.txt").is_file();
    let Some(store) = find("a_real_cache_storage", "", &is_it) else { return };
    prove(&Bench::copy_of(&store), 207, &|s| cache_storage::examine(s, Level::Deep, &Control::default()));
}

#[test]
fn a_real_firefox_cache() {
    let is_it = |p: &Path| p.ends_with("cache2");
    let Some(store) = find("a_real_firefox_cache", "", &is_it) else { return };
    let bench = Bench::copy_of(&store);
    keep(&bench, "store/entries", "", 25);
    prove(&bench, 208, &|s| firefox_cache::examine(s, Level::Deep, &Control::default()));
}

#[test]
fn a_real_blockfile_cache() {
    let magic = 0xc103_cac3_u32.to_le_bytes();
    let Some(store) = http_cache("a_real_blockfile_cache", "-blockfile", &magic) else { return };
    prove(&Bench::copy_of(&store), 209, &|s| blockfile::examine(s, &Control::default()));
}

#[test]
fn a_real_sql_cache() {
    let Some(store) = http_cache("a_real_sql_cache", "-sql", b"SQLCache") else { return };
    let index = fs::read_to_string(store.join("index")).unwrap_or_default();
    // How many databases there are stands in it, whatever else a version writes there.
    let Some(number) = index.find(|c: char| c.is_ascii_digit()) else {
        return beyond("a_real_sql_cache", "the installed Chromium keeps no SQL cache of several databases");
    };
    let bench = Bench::copy_of(&store);
    // One of the databases, and of that a few rows as Chromium wrote them.
    for entry in fs::read_dir(bench.path().join("store")).unwrap() {
        let entry = entry.unwrap();
        if !["index", "sqldb0", "sqldb0-journal"].map(Some).contains(&entry.file_name().to_str()) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    bench.write("store/index", format!("{}1{}", &index[..number], &index[number + 1..]));
    let db = rusqlite::Connection::open(bench.path().join("store/sqldb0")).unwrap();
    db.execute_batch(
        "DELETE FROM resources WHERE res_id % 20 <> 3; DELETE FROM blobs WHERE res_id % 20 <> 3; VACUUM",
    )
    .unwrap();
    drop(db);
    prove(&bench, 210, &|s| sql_cache::examine(s, Level::Deep, &Control::default()));
}
