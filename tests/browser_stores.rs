//! Stores that the real browsers wrote: sound ones are called sound, damage is
//! found where it is, and what was rebuilt is what Chromium goes on with.

use std::fs;
use std::path::{Path, PathBuf};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use shopmend::control::Control;
use shopmend::fsys::{Dir, RelPath};
use shopmend::model::{Remedy, Severity, StoreKind};
use shopmend::store::{self, Check, Level, RebuildRequest, Rebuilt, Subject};

use crate::support::browsers::{Browser, End, FilledHome, as_filled, filled_home, visit};

const SITES: [&str; 3] = ["seller-us.tiktok.com", "www.tiktok.com", "forum.example.net"];
/// The kinds that the browsers' folders are made of.
const KINDS: [StoreKind; 3] = [StoreKind::Leveldb, StoreKind::SimpleCache, StoreKind::FirefoxCache];

fn check_folder(path: &Path, level: Level) -> Option<Check> {
    let dir = Dir::open(path).unwrap();
    let root = RelPath::root();
    let subject = Subject { dir: &dir, path: &root };
    let kind = store::recognise(subject).unwrap().filter(|k| KINDS.contains(k))?;
    Some(store::check(kind, subject, level, &Control::default()).unwrap())
}

/// Every folder below `path` that is a store, with what its check says.
fn stores(path: &Path, level: Level) -> Vec<(PathBuf, Check)> {
    let mut out = Vec::new();
    for entry in walk(path) {
        if entry.is_dir()
            && let Some(check) = check_folder(&entry, level)
        {
            out.push((entry, check));
        }
    }
    out
}

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

#[test]
fn every_healthy_store_is_called_sound() {
    let Some(home) = filled_home("every_healthy_store_is_called_sound") else { return };
    for level in [Level::Fast, Level::Deep] {
        let stores = stores(home.path(), level);
        for kind in KINDS {
            let (mut seen, mut verified, mut count) = (0, 0, 0);
            for (path, check) in stores.iter().filter(|(_, c)| c.kind == kind) {
                let bad: Vec<_> = check.findings.iter().filter(|f| f.severity > Severity::Info).collect();
                assert!(bad.is_empty(), "{}: {bad:#?}", path.display());
                seen += check.coverage.bytes_seen;
                verified += check.coverage.bytes_verified;
                count += 1;
            }
            println!(
                "{kind}, {level:?}: {count} stores, {verified} of {seen} bytes under a checksum that held"
            );
            assert!(count > 0, "the browsers made no {kind}");
        }
    }
}

/// 200 changes of single bytes and 200 cuts, at random in all files of the
/// store that its check reads.
fn every_damage_is_found(store: &Path, is_part: &dyn Fn(&str) -> bool) {
    let before = check_folder(store, Level::Deep).unwrap();
    let unsure = before.coverage.bytes_seen - before.coverage.bytes_verified;
    let files: Vec<PathBuf> = walk(store)
        .into_iter()
        .filter(|p| p.is_file() && is_part(&p.file_name().unwrap().to_string_lossy()))
        .filter(|p| p.metadata().unwrap().len() > 0)
        .collect();
    let sizes: Vec<u64> = files.iter().map(|f| f.metadata().unwrap().len()).collect();
    let total: u64 = sizes.iter().sum();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for cut in [false, true] {
        let mut missed = 0;
        for _ in 0..200 {
            let mut at = rng.random_range(0..total);
            let i = sizes
                .iter()
                .position(|n| {
                    if at < *n {
                        true
                    } else {
                        at -= n;
                        false
                    }
                })
                .unwrap();
            let good = fs::read(&files[i]).unwrap();
            let mut bad = good.clone();
            if cut {
                bad.truncate(at as usize);
            } else {
                bad[at as usize] ^= rng.random_range(1..=255_u8);
            }
            fs::write(&files[i], bad).unwrap();
            let check = check_folder(store, Level::Deep).unwrap();
            let rel = RelPath::new(files[i].strip_prefix(store).unwrap()).unwrap();
            missed += i32::from(!check.findings.iter().any(|f| f.evidence.file.as_ref() == Some(&rel)));
            fs::write(&files[i], good).unwrap();
        }
        println!("{}: {missed} of 200 missed (cuts: {cut}); {unsure} bytes unsure", store.display());
        assert!(missed <= 2, "{}: {missed} of 200 missed (cuts: {cut})", store.display());
    }
}

#[test]
fn random_damage_to_a_real_simple_cache_is_found() {
    let Some(home) = filled_home("random_damage_to_a_real_simple_cache_is_found") else { return };
    let cache = home.at(".cache/chromium/Default/Cache/Cache_Data");
    // A few entries stand for all: each change means another look at the whole.
    for entry in walk(&cache).into_iter().filter(|p| p.to_string_lossy().ends_with("_0")).skip(25) {
        fs::remove_file(entry).unwrap();
    }
    every_damage_is_found(&cache, &|name| name.ends_with("_0") || name.ends_with("_1"));
}

#[test]
fn random_damage_to_a_real_leveldb_is_found() {
    let Some(home) = filled_home("random_damage_to_a_real_leveldb_is_found") else { return };
    every_damage_is_found(&local_storage(&home), &|name| {
        has_suffix(name, "log") || name.starts_with("MANIFEST") || name == "CURRENT"
    });
}

#[test]
fn random_damage_to_a_real_firefox_cache_is_found() {
    let Some(home) = filled_home("random_damage_to_a_real_firefox_cache_is_found") else { return };
    let cache = walk(home.path()).into_iter().find(|p| p.is_dir() && p.ends_with("cache2")).unwrap();
    // A few entries stand for all: each change means another look at the whole.
    for entry in walk(&cache.join("entries")).into_iter().skip(25) {
        fs::remove_file(entry).unwrap();
    }
    every_damage_is_found(&cache, &|name| name.len() == 40);
}

fn local_storage(home: &FilledHome) -> PathBuf {
    home.chromium().join("Default/Local Storage/leveldb")
}

fn indexed_db(home: &FilledHome) -> PathBuf {
    home.chromium().join("Default/IndexedDB/https_seller-us.tiktok.com_0.indexeddb.leveldb")
}

/// Finds the damage, rebuilds a copy, and puts the result in the store's place.
fn mend(store: &Path) -> Rebuilt {
    let check = check_folder(store, Level::Deep).unwrap();
    assert!(check.findings.iter().any(|f| f.remedy == Remedy::Rebuild), "{check:#?}");
    let result = rebuild(store);
    let check = check_folder(store, Level::Deep).unwrap();
    assert_eq!(check.findings, [], "{}", store.display());
    result
}

fn rebuild(store: &Path) -> Rebuilt {
    let tmp = tempfile::tempdir().unwrap();
    // Named otherwise on purpose: the rebuild must not depend on the name.
    let (copy, out) = (tmp.path().join("copy"), tmp.path().join("out"));
    assert!(std::process::Command::new("cp").arg("-a").arg(store).arg(&copy).status().unwrap().success());
    let control = Control::default();
    let how = Remedy::Rebuild;
    let request = RebuildRequest { copy: &copy, out: &out, how, schema_from: None, control: &control };
    let result = store::rebuild(StoreKind::Leveldb, &request).unwrap();
    fs::remove_dir_all(store).unwrap();
    assert!(std::process::Command::new("cp").arg("-a").arg(&out).arg(store).status().unwrap().success());
    result
}

fn has_suffix(name: &str, suffix: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == suffix)
}

fn find(store: &Path, is_it: impl Fn(&str) -> bool) -> PathBuf {
    walk(store).into_iter().find(|p| is_it(&p.file_name().unwrap().to_string_lossy())).unwrap()
}

fn change(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 0x5a;
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
        for store in [local_storage(&home), indexed_db(&home)] {
            fs::remove_file(find(&store, |name| name.starts_with(lost))).unwrap();
            let result = mend(&store);
            assert_eq!(result.lost, 0, "{result:#?}");
        }
        assert_eq!(found(&home), filled, "{lost}");
    }
}

#[test]
fn chromium_reads_every_write_but_the_damaged_one() {
    let Some(home) = filled_home("chromium_reads_every_write_but_the_damaged_one") else { return };
    let filled = as_filled(Browser::Chromium);
    for store in [local_storage(&home), indexed_db(&home)] {
        let log = find(&store, |name| has_suffix(name, "log"));
        let middle = fs::metadata(&log).unwrap().len() as usize / 2;
        change(&log, middle);
        let result = mend(&store);
        assert_eq!(result.lost, 1, "{result:#?}");
    }
    let after = found(&home);
    let mut whole = 0;
    for site in SITES {
        let (was, is) = (&filled[site], &after[site]);
        assert_eq!(is["cookies"], was["cookies"]);
        // One write holds all that one site or several stored at once.
        let intact = is["localStorage"] == was["localStorage"];
        assert!(intact || is["localStorage"]["keys"] == 0, "{site}: {is:#}");
        whole += i32::from(intact);
        if site != SITES[0] {
            assert_eq!(is["indexedDB"], was["indexedDB"], "{site}");
        }
    }
    assert!((1..3).contains(&whole), "{after:#}");
    // One transaction wrote 250 records and a draft.
    let records = after[SITES[0]]["indexedDB"]["records"].as_u64().unwrap();
    assert!((1250..=1500).contains(&records), "{records} records");
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
    let mut lost_records = Vec::new();
    let mut lost_range = Value::Null;
    for store in [local_storage(&home), indexed_db(&home)] {
        let whole = rebuild(&store).details["records_kept"].as_u64().unwrap();
        let table = find(&store, |name| has_suffix(name, "ldb"));
        let middle = fs::metadata(&table).unwrap().len() as usize / 2;
        change(&table, middle);
        let result = mend(&store);
        assert_eq!(result.lost, 1, "{result:#?}");
        lost_records.push(whole - result.details["records_kept"].as_u64().unwrap());
        if lost_range.is_null() {
            lost_range = result.details["lost"][0].clone();
        }
    }
    let after = found(&home);
    let (from, to) = (lost_range["keys_after"].as_str().unwrap(), lost_range["keys_up_to"].as_str().unwrap());
    for site in SITES {
        // The keys as they stand in the store: origin, 0, 1 (Latin-1), name.
        let key = |i: u32| format!("_https://{site}\\x00\\x01setting.{i}");
        let gone = (0..150).filter(|i| key(*i).as_str() > from && key(*i).as_str() <= to).count() as u64;
        assert_eq!(
            after[site]["localStorage"]["keys"].as_u64().unwrap(),
            150 - gone,
            "{site} {lost_range:#}"
        );
        let records = after[site]["indexedDB"]["records"].as_u64().unwrap();
        let expected = if site == SITES[0] { 1500 - lost_records[1] } else { 1500 };
        assert!(records >= expected, "{site}: {records} of {expected} records");
    }
    assert!(lost_records[0] > 0 && lost_records[0] < 60, "{lost_records:?}");
    assert!(lost_records[1] > 0 && lost_records[1] < 200, "{lost_records:?}");
}

#[test]
fn a_damaged_cache_entry_goes_alone() {
    let Some(home) = filled_home("a_damaged_cache_entry_goes_alone") else { return };
    let cache = home.at(".cache/chromium/Default/Cache/Cache_Data");
    let entry = find(&cache, |name| name.ends_with("_0"));
    let middle = fs::metadata(&entry).unwrap().len() as usize / 2;
    change(&entry, middle);
    let check = check_folder(&cache, Level::Deep).unwrap();
    let named: Vec<PathBuf> =
        check.findings.iter().map(|f| cache.join(f.evidence.file.clone().unwrap().as_path())).collect();
    assert_eq!(named, std::slice::from_ref(&entry));
    assert_eq!(check.findings[0].remedy, Remedy::ClearEntry);
    let others: Vec<PathBuf> =
        walk(&cache).into_iter().filter(|p| p.to_string_lossy().ends_with("_0")).collect();
    fs::remove_file(&entry).unwrap();
    assert_eq!(found(&home), as_filled(Browser::Chromium));
    // The browser kept the entries beside it, so it did not start anew.
    let kept = others.iter().filter(|p| **p != entry && p.exists()).count();
    assert!(kept + 5 >= others.len(), "{kept} of {} entries are still there", others.len());
}
