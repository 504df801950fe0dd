//! What `repair` does to an app's settings and key-value stores: what Android
//! or the app's own library would load is what stays, and what nobody can
//! judge is never touched. Every undo is exact.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use shopmend::exit::Exit;
use shopmend::sample::harm::Harm;

use crate::support::android_tree::AndroidTree;
use crate::support::run::Run;
use crate::support::tree::Snapshot;

/// Settings and databases only; the device has old cache as well.
const MEND: [&str; 5] = ["repair", "--only", "rebuild", "--deep", "--yes"];

fn stores(report: &Value) -> impl Iterator<Item = &Value> {
    report["targets"].as_array().unwrap().iter().flat_map(|t| t["stores"].as_array().unwrap())
}

/// The actions of the plan on what lies at `path`, by their kind.
fn planned(report: &Value, path: &Path) -> Vec<String> {
    let actions = report["plan"]["actions"].as_array().unwrap().iter();
    let there = |a: &&Value| Path::new(a["root"].as_str().unwrap()).join(a["path"].as_str().unwrap()) == path;
    actions.filter(there).map(|a| a["op"].as_str().unwrap().to_owned()).collect()
}

fn call(run: &Run, tree: &AndroidTree, arguments: &[&str], exit: Exit) -> Value {
    let image = tree.image().to_string_lossy().into_owned();
    let place = ["--platform", "android", "--image", &image, "--format", "json"];
    run.call(arguments.iter().chain(&place)).expect(exit).json()
}

fn backup(path: &Path) -> PathBuf {
    path.with_extension("xml.bak")
}

/// Good, interrupted, gone with a backup, and lost without one: each ends as
/// Android's own loading would end it, or is only reported.
#[test]
fn preferences_end_in_each_state_of_the_backup_as_android_resolves_it() {
    for state in ["good", "interrupted", "gone", "lost"] {
        let tree = AndroidTree::healthy();
        let prefs = Harm::PrefsTorn.store(&tree.tiktok());
        let sound = fs::read(&prefs).unwrap();
        let newer = String::from_utf8(sound.clone())
            .unwrap()
            .replace("</map>", "<int name=\"x\" value=\"1\" /></map>");
        match state {
            "interrupted" => {
                fs::rename(&prefs, backup(&prefs)).unwrap();
                fs::write(&prefs, newer).unwrap();
            }
            "gone" => fs::rename(&prefs, backup(&prefs)).unwrap(),
            "lost" => fs::write(&prefs, &sound[..sound.len() / 2]).unwrap(),
            _ => {}
        }
        let before = Snapshot::of(tree.image());
        let run = Run::new();
        let repaired = matches!(state, "interrupted" | "gone");
        let exit = if state == "lost" { Exit::Left } else { Exit::Incomplete };
        let report = call(&run, &tree, &MEND, exit);
        let store = stores(&report).find(|s| Path::new(s["path"].as_str().unwrap()) == prefs).unwrap();
        let verdict = match state {
            "good" => "healthy",
            "interrupted" => "stale",
            _ => "damaged",
        };
        assert_eq!(store["verdict"], verdict, "{state}: {store:#}");
        if repaired {
            assert_eq!(planned(&report, &prefs), ["restore-backup"], "{state}");
            assert_eq!(fs::read(&prefs).unwrap(), sound, "{state}");
            assert!(!backup(&prefs).exists(), "{state}: what Android leaves is the file alone");
            // What comes back is what it was.
            run.call(["undo"]).expect(if state == "gone" { Exit::Left } else { Exit::Ok });
        } else {
            assert_eq!(planned(&report, &prefs), Vec::<String>::new(), "{state}");
        }
        before.assert_same(&Snapshot::of(tree.image()));
    }
}

/// The last confirmed state is what MMKV itself would go back to: it is
/// proposed, made on a copy, put in place, and taken back.
#[test]
fn mmkv_goes_back_to_its_last_confirmed_state() {
    let tree = AndroidTree::healthy();
    let store = tree.damage(Harm::MmkvTail);
    let before = Snapshot::of(tree.image());
    let run = Run::new();
    let preview = call(&run, &tree, &["repair", "--only", "rebuild", "--dry-run"], Exit::Findings);
    assert_eq!(planned(&preview, &store), ["rebuild"]);
    before.assert_same(&Snapshot::of(tree.image()));
    let repair = call(&run, &tree, &MEND, Exit::Left);
    let done = repair["repair"]["actions"].as_array().unwrap();
    assert_eq!(done.len(), 1, "{done:#?}");
    assert_eq!(done[0]["rebuilt"]["method"], "mmkv last sound state");
    assert_eq!(done[0]["rebuilt"]["lost"], 1, "{:#}", done[0]);
    let again = call(&run, &tree, &["scan", "--deep"], Exit::Findings);
    assert!(stores(&again).all(|s| s["verdict"] != "damaged"));
    // Only the two files of the store differ.
    let after = Snapshot::of(tree.image());
    let crc = store.with_extension("default.crc");
    for path in before.paths().chain(after.paths()) {
        let whole = tree.image().join(path);
        let own = whole == store || whole == crc || store.starts_with(&whole);
        assert!(own || before.get(path) == after.get(path), "{}", path.display());
    }
    run.call(["undo"]).expect(Exit::Left);
    before.assert_same(&Snapshot::of(tree.image()));
}

/// MMKV without a state that holds, and Keva whatever befell it: reported, and
/// not a byte changed.
#[test]
fn what_cannot_be_judged_is_reported_and_never_changed() {
    let tree = AndroidTree::healthy();
    let damaged = [Harm::MmkvLost, Harm::KevaZero].map(|harm| tree.damage(harm));
    let keva = damaged[1].parent().unwrap().to_path_buf();
    fs::remove_file(damaged[1].join("aweme-app.chk")).unwrap();
    let before = Snapshot::of(tree.image());
    let run = Run::new();
    let report = call(&run, &tree, &MEND, Exit::Left);
    before.assert_same(&Snapshot::of(tree.image()));
    for path in &damaged {
        let store = stores(&report).find(|s| Path::new(s["path"].as_str().unwrap()) == *path).unwrap();
        assert_eq!(store["verdict"], "damaged", "{store:#}");
        assert_eq!(planned(&report, path), Vec::<String>::new());
    }
    let below_keva = |a: &&Value| {
        Path::new(a["root"].as_str().unwrap()).join(a["path"].as_str().unwrap()).starts_with(&keva)
    };
    assert_eq!(report["plan"]["actions"].as_array().unwrap().iter().filter(below_keva).count(), 0);
}

/// A database that lies among the plain files of a cache is checked by its
/// header, and a damaged one goes alone.
#[test]
fn a_damaged_database_among_cached_files_goes_alone() {
    let tree = AndroidTree::healthy();
    let (sound, cache) = (Harm::ContactsCut.store(&tree.tiktok()), Harm::OkhttpJournal.store(&tree.tiktok()));
    let folder = cache.parent().unwrap().join("http_state");
    fs::create_dir(&folder).unwrap();
    for name in ["one", "two"] {
        fs::copy(&sound, folder.join(name)).unwrap();
    }
    let scan = call(&Run::new(), &tree, &["scan", "--deep"], Exit::Findings);
    let of = |report: &Value| {
        let holds = |s: &&Value| folder.starts_with(s["path"].as_str().unwrap()) && s["class"] == "cache";
        stores(report).filter(holds).max_by_key(|s| s["path"].as_str().unwrap().len()).unwrap().clone()
    };
    assert!(of(&scan)["method"].as_str().unwrap().contains("2 databases"), "{:#}", of(&scan));
    assert_eq!(of(&scan)["findings"], serde_json::json!([]));
    shopmend::sample::harm::cut(&folder.join("two")).unwrap();
    let before = Snapshot::of(tree.image());
    let run = Run::new();
    let repair = call(
        &run,
        &tree,
        &["repair", "--only", "clear", "--deep", "--yes", "--store", of(&scan)["id"].as_str().unwrap()],
        Exit::Incomplete,
    );
    assert_eq!(of(&repair)["verdict"], "damaged", "{:#}", of(&repair));
    assert!(folder.join("one").exists() && !folder.join("two").exists());
    run.call(["undo"]).expect(Exit::Left);
    before.assert_same(&Snapshot::of(tree.image()));
}

/// The device store by store: its rule, kind and class, its verdict, and how
/// much of it a check could vouch for.
#[test]
#[cfg(unix)]
fn a_scan_reports_the_device_store_by_store() {
    let tree = AndroidTree::healthy();
    let lines = |report: &Value| {
        let line = |s: &Value| {
            let path = s["path"].as_str().unwrap().strip_prefix(tree.image().to_str().unwrap()).unwrap();
            let share = s["coverage"]["bytes_verified"].as_u64().unwrap() * 100
                / s["coverage"]["bytes_seen"].as_u64().unwrap().max(1);
            let codes: Vec<&str> =
                s["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
            let [kind, class, verdict] = ["kind", "class", "verdict"].map(|f| s[f].as_str().unwrap());
            format!("{path}: {kind}, {class}, {verdict}, {share} % covered {}", codes.join(" "))
                .trim_end()
                .to_owned()
        };
        let mut lines: Vec<String> = stores(report).map(line).collect();
        lines.sort();
        lines.join("\n")
    };
    let healthy = call(&Run::new(), &tree, &["scan", "--deep"], Exit::Findings);
    insta::assert_snapshot!("healthy_device", lines(&healthy));
    for harm in Harm::ALL {
        tree.damage(harm);
    }
    let damaged = call(&Run::new(), &tree, &["scan", "--deep"], Exit::Findings);
    insta::assert_snapshot!("damaged_device", lines(&damaged));
}
