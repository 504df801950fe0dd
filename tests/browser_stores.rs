//! Stores that the real browsers wrote: sound ones are called sound, damage is
//! found where it is, and what was rebuilt is what Chromium goes on with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use shopmend::control::Control;
use shopmend::exit::Exit;
use shopmend::fsys::{Dir, RelPath};
use shopmend::model::{Finding, Remedy, StoreKind};
use shopmend::store::{self, Level, RebuildRequest, Subject};

use crate::support::browsers::{
    Browser, End, FilledHome, as_filled, asked_for, filled_home, home_with_cache, visit,
};
use crate::support::run::Run;
use crate::support::skip::beyond;
use crate::support::tree::Snapshot;

const SITES: [&str; 3] = ["seller-us.tiktok.com", "www.tiktok.com", "forum.example.net"];

fn walk(path: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            out.push(entry.path());
            out.extend(walk(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            out.push(entry.path());
        }
    }
    out.sort();
    out
}

/// `check` on everything that the browsers wrote, by kind.
#[test]
fn every_healthy_store_is_called_sound() {
    let name = "every_healthy_store_is_called_sound";
    let Some(home) = filled_home(name) else { return };
    let homes = [Some(home), home_with_cache("blockfile", name), home_with_cache("sql", name)];
    let mut kinds: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for home in homes.into_iter().flatten() {
        let run = Run::new();
        let before = Snapshot::of(home.path());
        let report = run.call(["check", "--deep", "--format", "json", &home.path().to_string_lossy()]);
        before.assert_same(&Snapshot::of(home.path()));
        let report = report.expect(Exit::Ok).json();
        for store in report["stores"].as_array().unwrap() {
            assert_eq!(store["verdict"], "healthy", "{store:#}");
            let bytes = |name: &str| store["coverage"][name].as_u64().unwrap();
            let (verified, seen) = (bytes("bytes_verified"), bytes("bytes_seen"));
            // What is not under a checksum that held is said.
            assert!(verified == seen || !store["not_checked"].as_array().unwrap().is_empty(), "{store:#}");
            let kind = kinds.entry(store["kind"].as_str().unwrap().to_owned()).or_default();
            *kind = (kind.0 + 1, kind.1 + verified, kind.2 + seen);
        }
    }
    for (kind, (count, verified, seen)) in &kinds {
        println!("{kind}: {count} stores, {verified} of {seen} bytes under a check that held");
    }
    let of_every_version = ["leveldb", "simple-cache", "cache-storage", "firefox-cache", "sqlite", "json"];
    for kind in of_every_version {
        assert!(kinds.contains_key(kind), "the browsers made no {kind}: {kinds:?}");
    }
    for (home, kind, magic) in
        [("blockfile", "blockfile-cache", &[0xc3, 0xca, 0x03, 0xc1][..]), ("sql", "sql-cache", b"SQLCache")]
    {
        // Not every version can be asked for it.
        let index =
            home_with_cache(home, name).and_then(|home| fs::read(home.http_cache().join("index")).ok());
        if index.is_some_and(|index| index.starts_with(magic)) {
            assert!(kinds.contains_key(kind), "there is a {kind}: {kinds:?}");
        }
    }
}

/// A scan names every store with its kind and its coverage, store by store.
#[test]
fn a_scan_reports_the_home_store_by_store() {
    let Some(home) = filled_home("a_scan_reports_the_home_store_by_store") else { return };
    let report = Run::new()
        .home(home.path())
        .call(["scan", "--deep", "--format", "json"])
        .expect(Exit::Incomplete)
        .json();
    let lines: BTreeSet<String> = all_stores(&report)
        .map(|s| {
            format!(
                "{} {} {}",
                s["rule"]["id"].as_str().unwrap_or("-"),
                s["kind"].as_str().unwrap(),
                s["class"].as_str().unwrap()
            )
        })
        .collect();
    for wanted in [
        "http-cache simple-cache cache",
        "code-cache simple-cache cache",
        "local-storage leveldb user",
        "session-storage leveldb user",
        "indexed-db leveldb user",
        "cache-storage cache-storage user",
        "service-worker-register leveldb user",
        "service-worker-scripts simple-cache state",
        "cookies sqlite user",
        "http-cache firefox-cache cache",
    ] {
        assert!(lines.contains(wanted), "{wanted}: {lines:#?}");
    }
    for store in all_stores(&report) {
        assert_eq!(store["verdict"], crate::support::browsers::verdict_when_sound(store), "{store:#}");
        let covered =
            store["coverage"]["bytes_verified"].as_u64() <= store["coverage"]["bytes_seen"].as_u64();
        assert!(covered && !store["method"].as_str().unwrap().is_empty(), "{store:#}");
    }
}

pub(crate) fn local_storage(home: &FilledHome) -> PathBuf {
    home.chromium().join("Default/Local Storage/leveldb")
}

pub(crate) fn indexed_db(home: &FilledHome) -> PathBuf {
    home.chromium().join("Default/IndexedDB/https_seller-us.tiktok.com_0.indexeddb.leveldb")
}

fn all_stores(report: &Value) -> impl Iterator<Item = &Value> {
    let targets = report["targets"].as_array().unwrap();
    targets.iter().flat_map(|t| t["stores"].as_array().unwrap())
}

/// `repair` on damage in these stores: it does what its preview says, gives
/// what a rebuild of each brought back, and its `undo` is exact.
fn mend(home: &FilledHome, damaged: &[PathBuf]) -> Vec<Value> {
    let run = Run::new().home(home.path());
    let before = Snapshot::of(home.path());
    let preview =
        run.call(["repair", "--deep", "--dry-run", "--format", "json"]).expect(Exit::Findings).json();
    before.assert_same(&Snapshot::of(home.path()));
    // Doubtful and lost records are left; some of a profile cannot be judged.
    let ends = [Exit::Ok, Exit::Incomplete, Exit::Left];
    let repair = run.call(["repair", "--deep", "--yes", "--format", "json"]).expect_one_of(&ends).json();
    assert_eq!(preview["plan"]["hash"], repair["plan"]["hash"]);
    let after = home.copy();
    let scan = run.call(["scan", "--deep", "--format", "json"]).expect_one_of(&ends[..2]).json();
    for store in all_stores(&scan) {
        // Files of an unknown format cannot be judged.
        let unknown = store["kind"] != "leveldb" && store["verdict"] == "unknown";
        assert!(unknown || store["verdict"] == "healthy", "{store:#}");
    }
    // The damage is back.
    run.call(["undo"]).expect_one_of(&ends);
    before.assert_same(&Snapshot::of(home.path()));
    // The browser goes on with what was repaired.
    fs::remove_dir_all(home.path()).unwrap();
    fs::rename(after.path(), home.path()).unwrap();
    let rebuilt = |store: &PathBuf| {
        let actions = repair["repair"]["actions"].as_array().unwrap();
        let ended = |a: &&Value| store.ends_with(a["path"].as_str().unwrap()) && a["op"] == "rebuild";
        let action = actions.iter().find(ended).unwrap_or_else(|| panic!("{} {actions:#?}", store.display()));
        assert_eq!(action["done"], "done", "{action:#}");
        action["rebuilt"].clone()
    };
    damaged.iter().map(rebuilt).collect()
}

/// 200 changes of single bytes and 200 cuts, at random in the tables that
/// Chromium wrote: found in the right file, at the block or part they are in.
fn every_damage_to_tables_is_found(store: &Path) {
    let tmp = tempfile::tempdir().unwrap();
    let copy = tmp.path().join("store");
    assert!(std::process::Command::new("cp").arg("-a").arg(store).arg(&copy).status().unwrap().success());
    let findings = || {
        let dir = Dir::open(&copy).unwrap();
        let subject = Subject { dir: &dir, path: &RelPath::root() };
        store::check(StoreKind::Leveldb, subject, Level::Deep, &Control::default()).unwrap().findings
    };
    let table = find(&copy, |name| has_suffix(name, "ldb"));
    let rel = RelPath::new(table.file_name().unwrap()).unwrap();
    let good = fs::read(&table).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for cut in [false, true] {
        let mut missed = Vec::new();
        for _ in 0..200 {
            let at = rng.random_range(0..good.len());
            let mut bad = good.clone();
            if cut {
                bad.truncate(at);
            } else {
                bad[at] ^= rng.random_range(1..=255_u8);
            }
            fs::write(&table, bad).unwrap();
            let here = |f: &Finding| {
                f.evidence.file.as_ref() == Some(&rel) && f.evidence.offset.is_some_and(|o| o <= at as u64)
            };
            if !findings().iter().any(here) {
                missed.push(at);
            }
        }
        println!("a table of {} bytes: {} of 200 missed (cuts: {cut})", good.len(), missed.len());
        assert!(missed.len() <= 2, "cuts: {cut}, missed at {missed:?} of {}", good.len());
    }
    fs::write(&table, good).unwrap();
    assert_eq!(findings(), []);
}

/// How many records the store has, by a rebuild of a copy.
fn records_in(store: &Path) -> u64 {
    let tmp = tempfile::tempdir().unwrap();
    // Named otherwise on purpose: the rebuild must not depend on the name.
    let (copy, out) = (tmp.path().join("copy"), tmp.path().join("out"));
    assert!(std::process::Command::new("cp").arg("-a").arg(store).arg(&copy).status().unwrap().success());
    let control = Control::default();
    let how = Remedy::Rebuild;
    let request = RebuildRequest { copy: &copy, out: &out, how, known: None, control: &control };
    store::rebuild(StoreKind::Leveldb, &request).unwrap().details["records_kept"].as_u64().unwrap()
}

pub(crate) fn has_suffix(name: &str, suffix: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == suffix)
}

pub(crate) fn find(store: &Path, is_it: impl Fn(&str) -> bool) -> PathBuf {
    walk(store).into_iter().find(|p| is_it(&p.file_name().unwrap().to_string_lossy())).unwrap()
}

pub(crate) fn change(file: &Path, at: usize) {
    change_range(file, at..at + 1);
}

pub(crate) fn change_range(file: &Path, range: Range<usize>) {
    let mut bytes = fs::read(file).unwrap();
    bytes[range].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(file, bytes).unwrap();
}

/// What Chromium finds, without what the visit itself changes.
fn found(home: &FilledHome) -> Value {
    visit(home.path(), Browser::Chromium, End::Close)
}

#[test]
fn chromium_reads_everything_after_a_lost_current_or_manifest() {
    let Some(home) = filled_home("chromium_reads_everything_after_a_lost_current_or_manifest") else {
        return;
    };
    let filled = as_filled(Browser::Chromium);
    for lost in ["CURRENT", "MANIFEST-"] {
        let home = home.copy();
        let stores = [local_storage(&home), indexed_db(&home)];
        for store in &stores {
            fs::remove_file(find(store, |name| name.starts_with(lost))).unwrap();
        }
        for result in mend(&home, &stores) {
            assert_eq!(result["lost"], 0, "{result:#}");
        }
        assert_eq!(found(&home), filled, "{lost}");
    }
}

/// One write holds all that one site or several stored at once.
#[test]
fn chromium_reads_every_record_of_a_write_with_a_damaged_byte() {
    let name = "chromium_reads_every_record_of_a_write_with_a_damaged_byte";
    let Some(home) = filled_home(name) else { return };
    let filled = as_filled(Browser::Chromium);
    let stores = [local_storage(&home), indexed_db(&home)];
    for store in &stores {
        let log = find(store, |name| has_suffix(name, "log"));
        let middle = fs::metadata(&log).unwrap().len() as usize / 2;
        change(&log, middle);
    }
    for result in mend(&home, &stores) {
        assert_eq!(result["lost"], 0, "{result:#}");
        assert!(result["doubtful"].as_u64().unwrap() > 0, "{result:#}");
        assert!(result["details"]["doubtful"][0]["keys_from"].is_string(), "{result:#}");
    }
    let after = found(&home);
    for site in SITES {
        assert_eq!(after[site], filled[site], "{site}");
    }
}

#[test]
fn chromium_reads_every_record_outside_a_damaged_block() {
    let Some(home) = filled_home("chromium_reads_every_record_outside_a_damaged_block") else { return };
    let filled = as_filled(Browser::Chromium);
    // A log that is not the last one is made a table when the store is opened.
    for store in [local_storage(&home), indexed_db(&home)] {
        fs::write(store.join("000099.log"), "").unwrap();
    }
    assert_eq!(found(&home), filled);
    every_damage_to_tables_is_found(&local_storage(&home));
    let mut whole = Vec::new();
    let stores = [local_storage(&home), indexed_db(&home)];
    for store in &stores {
        whole.push(records_in(store));
        let table = find(store, |name| has_suffix(name, "ldb"));
        let mut bytes = fs::read(&table).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 200].iter_mut().for_each(|b| *b ^= 0x5a);
        fs::write(&table, bytes).unwrap();
    }
    let results = mend(&home, &stores);
    let number = |result: &Value, name: &str| result[name].as_u64().unwrap();
    for (whole, result) in whole.iter().zip(&results) {
        let kept = number(&result["details"], "records_kept") + number(result, "doubtful");
        assert!(kept <= *whole && kept + 300 > *whole, "{kept} of {whole} {result:#}");
        assert!(number(result, "lost") + number(result, "doubtful") > 0, "{result:#}");
    }
    let after = found(&home);
    // The damage may lie in two blocks.
    let ranges: Vec<(&str, &str)> = results[0]["details"]["lost"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lost| (lost["keys_after"].as_str().unwrap(), lost["keys_up_to"].as_str().unwrap()))
        .collect();
    for site in SITES {
        // The keys as they stand in the store: origin, 0, 1 (Latin-1), name.
        let key = |i: u32| format!("_https://{site}\\x00\\x01setting.{i}");
        let gone =
            |i: &u32| ranges.iter().any(|(from, to)| (*from < key(*i).as_str()) && key(*i).as_str() <= *to);
        let hit = (0..150).filter(gone).count() as u64;
        let keys = after[site]["localStorage"]["keys"].as_u64().unwrap();
        assert!((150 - hit..=150).contains(&keys), "{site}: {keys} {:#}", results[0]);
        let records = after[site]["indexedDB"]["records"].as_u64().unwrap();
        let gone = whole[1] - number(&results[1]["details"], "records_kept");
        let expected = if site == SITES[0] { 1500 - gone } else { 1500 };
        assert!(records >= expected, "{site}: {records} of {expected} records");
    }
}

/// The name of the file that holds the entry of a URL.
fn entry_of(cache: &Path, url: &str) -> PathBuf {
    let entries = walk(cache).into_iter().filter(|p| p.to_string_lossy().ends_with("_0"));
    let holds = |p: &PathBuf| fs::read(p).unwrap().windows(url.len()).any(|w| w == url.as_bytes());
    entries.into_iter().find(holds).unwrap_or_else(|| panic!("{url} is not in the cache"))
}

#[test]
fn a_damaged_cache_entry_goes_alone_and_the_others_still_hit() {
    let Some(home) = filled_home("a_damaged_cache_entry_goes_alone_and_the_others_still_hit") else { return };
    let cache = home.http_cache();
    let entry = entry_of(&cache, "https://seller-us.tiktok.com/asset/17.js");
    let middle = fs::metadata(&entry).unwrap().len() as usize / 2;
    change(&entry, middle);
    let before = Snapshot::of(home.path());
    let run = Run::new().home(home.path());
    let repair = run.call(["repair", "--deep", "--yes", "--format", "json"]).expect(Exit::Incomplete).json();
    let gone: Vec<PathBuf> =
        before.paths().map(|p| home.at(p)).filter(|p| p.symlink_metadata().is_err()).collect();
    assert_eq!(gone, std::slice::from_ref(&entry), "{:#}", repair["repair"]);
    // The damaged file is cleared; the browser asks the server for it, and for no other.
    let used = home.copy();
    let asked = asked_for(used.path());
    for site in SITES {
        let expected = if site == SITES[0] { serde_json::json!(["17.js"]) } else { serde_json::json!([]) };
        assert_eq!(asked[site]["asked"], expected, "{site}");
        assert_eq!(asked[site]["loaded"], 240, "{site}");
    }
    run.call(["undo"]).expect(Exit::Ok);
    before.assert_same(&Snapshot::of(home.path()));
}

/// Where the library itself would drop everything, the whole cache goes.
#[test]
fn a_cache_that_the_browser_would_drop_goes_whole() {
    let name = "a_cache_that_the_browser_would_drop_goes_whole";
    let Some(home) = home_with_cache("sql", name) else { return };
    let cache = home.http_cache();
    let database = cache.join("sqldb1");
    if !database.exists() {
        return beyond(name, "the installed Chromium keeps no SQL cache of several databases");
    }
    let middle = fs::metadata(&database).unwrap().len() as usize / 2;
    change_range(&database, middle..middle + 3000);
    let before = Snapshot::of(home.path());
    let run = Run::new().home(home.path());
    run.call(["repair", "--deep", "--yes"]).expect(Exit::Incomplete);
    let left: Vec<PathBuf> = if cache.exists() { walk(&cache) } else { Vec::new() };
    assert_eq!(left, Vec::<PathBuf>::new());
    run.call(["undo"]).expect(Exit::Left);
    before.assert_same(&Snapshot::of(home.path()));
}
