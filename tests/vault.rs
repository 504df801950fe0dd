//! Backups: what is listed, verified, restored, exported, and never pruned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use shopmend::control::Control;
use shopmend::error::Kind;
use shopmend::exit::Exit;
use shopmend::model::{Class, Condition, Platform, StoreKind, Verdict};
use shopmend::repair::{
    BackupOptions, BackupStore, Done, Retention, UndoOptions, backup, prune, restore, undo,
};
use shopmend::vault::{self, RunId, StateDir};

use crate::support::plans::*;
use crate::support::shop::Shop;
use crate::support::tree::Tree;

/// Where an export puts what is at an absolute path.
fn below_the_top(path: &Path) -> PathBuf {
    path.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect()
}

fn store(root: &Path, path: &str, kind: StoreKind, class: Class) -> BackupStore {
    let members = if root.join(path).is_dir() { files_below(root, path) } else { vec![item(root, path)] };
    BackupStore {
        store: format!("test:{path}"),
        target: "test".into(),
        app: "app".into(),
        rule: "rule".into(),
        kind,
        class,
        root: root.to_path_buf(),
        path: rel(path),
        members,
        condition: None,
    }
}

fn back_up(state: &Path, stores: &[BackupStore]) -> shopmend::repair::Outcome {
    let options = BackupOptions { platform: Platform::host(), live: true, allow_root: false };
    backup(stores, &open(state), &options, &down, &Control::default()).unwrap()
}

fn target() -> Tree {
    let tree = Tree::new();
    tree.file("app/x.db", "database").file("app/l/CURRENT", "c").file("app/l/sub/1.ldb", "table");
    tree.dir("app/l/empty").mode("app/x.db", 0o640).mode("app/l/sub", 0o700).age();
    tree
}

fn both(root: &Path) -> Vec<BackupStore> {
    vec![
        store(root, "x.db", StoreKind::Sqlite, Class::User),
        store(root, "l", StoreKind::Leveldb, Class::State),
    ]
}

#[test]
fn a_backup_changes_nothing_and_brings_everything_back() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    let before = tree.snapshot();
    let done = back_up(&path, &both(&root));
    assert!(done.actions.iter().all(|a| a.done == Done::Done), "{done:?}");
    before.assert_same(&tree.snapshot());

    // The app wrecks it, adds to it, and makes a log beside the database.
    tree.file("app/x.db", "wrecked").file("app/x.db-wal", "log").file("app/l/sub/2.ldb", "new");
    std::fs::remove_file(root.join("l/CURRENT")).unwrap();
    let wrecked = tree.snapshot();
    let one = UndoOptions { store: Some("test:l".into()), ..UndoOptions::default() };
    restore(&open(&path), &done.run, &one, &down, &Control::default()).unwrap();
    assert_eq!(std::fs::read(root.join("x.db")).unwrap(), b"wrecked");
    let back = restore(&open(&path), &done.run, &UndoOptions::default(), &down, &Control::default()).unwrap();
    assert!(back.actions.iter().all(|a| a.done == Done::Done), "{back:?}");
    let now = tree.snapshot();
    // A backup does not know the time of the folder above: it touched nothing.
    let diff: Vec<String> = before.diff(&now).into_iter().filter(|d| !d.starts_with("app: time")).collect();
    assert!(diff.is_empty(), "{diff:?}");

    // What it replaced is not lost.
    undo_run(&path, &back.run).unwrap();
    let first = StateDir::open(&path).unwrap().runs().unwrap()[1].clone();
    undo_run(&path, &first).unwrap();
    let diff: Vec<String> =
        wrecked.diff(&tree.snapshot()).into_iter().filter(|d| !d.contains("time was")).collect();
    assert!(diff.is_empty(), "{diff:?}");
}

#[test]
fn damage_in_the_vault_is_found_and_named() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    tree.file("app/cache/1", "cached");
    back_up(&path, &both(&root));
    run(&path, vec![clear_whole(&root, "cache")]);
    let open_state = StateDir::open(&path).unwrap();
    let good = vault::verify(&open_state, &Control::default()).unwrap();
    assert_eq!((good.objects, good.held_files, good.problems.len()), (3, 1, 0), "{good:?}");

    let hash = blake3::hash(b"database").to_string();
    std::fs::write(path.join(vault::object_path(&hash)), b"databasE").unwrap();
    let second = &open_state.runs().unwrap()[1];
    std::fs::write(path.join(format!("runs/{second}/quarantine/0/cache/1")), "changed").unwrap();
    let bad = vault::verify(&open_state, &Control::default()).unwrap();
    let mut what: Vec<String> =
        bad.problems.iter().map(|p| format!("{}: {}", p.store, p.path.to_text())).collect();
    what.sort();
    assert_eq!(what, ["test:cache: cache/1", "test:x.db: x.db"], "{bad:?}");

    // Neither is put back as if it were sound.
    let before = tree.snapshot();
    let first = open_state.runs().unwrap()[0].clone();
    std::fs::write(root.join("x.db"), "now").unwrap();
    drop(open_state);
    let done = restore(&open(&path), &first, &UndoOptions::default(), &down, &Control::default()).unwrap();
    let db = done.actions.iter().find(|a| a.store == "test:x.db").unwrap();
    assert_eq!(db.done, Done::RolledBack);
    assert_eq!(std::fs::read(root.join("x.db")).unwrap(), b"now");
    let second = StateDir::open(&path).unwrap().runs().unwrap()[1].clone();
    let done = undo_run(&path, &second).unwrap();
    assert_eq!(done.actions[0].done, Done::Skipped, "{done:?}");
    assert!(before.get("app/cache/1").is_none() && !root.join("cache/1").exists());
}

#[test]
fn an_export_holds_plain_files_with_their_times() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    tree.file("app/cache/1", "cached").age();
    let saved = back_up(&path, &both(&root)).run;
    let cleared = run(&path, vec![clear_whole(&root, "cache")]).run;
    let open_state = StateDir::open(&path).unwrap();
    let out = Tree::new();
    let done = vault::export(&open_state, &saved, &out.at("e"), &Control::default()).unwrap();
    assert_eq!((done.files, done.notes.len()), (3, 0), "{done:?}");
    let inside: PathBuf = out.at("e/files").join(below_the_top(&root));
    let copy = std::fs::metadata(inside.join("x.db")).unwrap();
    assert_eq!(copy.modified().unwrap(), std::fs::metadata(root.join("x.db")).unwrap().modified().unwrap());
    assert!(inside.join("l/empty").is_dir());
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.at("e/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["stores"].as_array().unwrap().len(), 2);
    let e = vault::export(&open_state, &saved, &out.at("e"), &Control::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::Usage);
    vault::restore_to(&open_state, &cleared, None, &out.at("r"), &Control::default()).unwrap();
    let held = out.at("r").join(below_the_top(&root)).join("cache/1");
    assert_eq!(std::fs::read(held).unwrap(), b"cached");
}

#[test]
fn the_listing_says_what_is_held_undone_and_freed() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    tree.file("app/cache/1", "cached");
    back_up(&path, &both(&root));
    run(&path, vec![clear_whole(&root, "cache")]);
    undo_last(&path);
    let runs = vault::list(&StateDir::open(&path).unwrap()).unwrap();
    let kinds: Vec<&str> = runs.iter().map(|r| r.kind).collect();
    assert_eq!(kinds, ["backup", "repair", "undo"]);
    assert_eq!((runs[0].stores.len(), runs[0].bytes()), (2, 14));
    assert_eq!(runs[1].stores[0].undone_by.as_ref(), Some(&runs[2].run));
    assert_eq!(runs[1].bytes(), 0);
    assert!(runs.iter().all(|r| !r.unfinished && r.problem.is_none()));
    // A damaged journal does not hide the others.
    let journal = path.join(format!("runs/{}/journal.closed", runs[1].run));
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let runs = vault::list(&StateDir::open(&path).unwrap()).unwrap();
    assert!(runs[1].problem.as_ref().unwrap().contains("damaged"));
    // And nothing is pruned then.
    let e = prune(&open(&path), &Retention { keep_last: Some(0), ..Retention::default() }).unwrap_err();
    assert_eq!(e.kind(), Kind::Failed);
}

#[test]
fn pruning_frees_quarantine_and_keeps_the_newest_backup() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    tree.file("app/cache/1", vec![1; 50_000]);
    back_up(&path, &both(&root));
    tree.file("app/x.db", "database, later");
    back_up(&path, &both(&root));
    run(&path, vec![clear_whole(&root, "cache")]);
    let all = Retention { keep_last: Some(0), ..Retention::default() };
    let would = prune(&open(&path), &Retention { dry_run: true, ..all }).unwrap();
    assert_eq!(would.stores, 3, "{would:?}");
    assert_eq!(StateDir::open(&path).unwrap().runs().unwrap().len(), 3);
    let young = Retention { older_than: Some(Duration::from_hours(1)), ..Retention::default() };
    assert_eq!(prune(&open(&path), &young).unwrap().stores, 0);
    let done = prune(&open(&path), &all).unwrap();
    assert!(done.bytes >= 50_000 && done.runs.len() == 2 && done.kept.len() == 2, "{done:?}");
    let left = vault::verify(&StateDir::open(&path).unwrap(), &Control::default()).unwrap();
    assert_eq!((left.objects, left.unneeded, left.problems.len()), (3, 0, 0));
    let again = prune(&open(&path), &all).unwrap();
    assert_eq!((again.stores, again.bytes), (0, 0));
}

#[test]
fn a_newest_backup_that_went_bad_does_not_count() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    let db = |root: &Path| [store(root, "x.db", StoreKind::Sqlite, Class::User)];
    back_up(&path, &db(&root));
    tree.file("app/x.db", "later");
    back_up(&path, &db(&root));
    let hash = blake3::hash(b"later").to_string();
    std::fs::write(path.join(vault::object_path(&hash)), b"Later").unwrap();
    prune(&open(&path), &Retention { keep_last: Some(0), ..Retention::default() }).unwrap();
    assert!(path.join(vault::object_path(&blake3::hash(b"database").to_string())).exists());
}

#[test]
fn an_undone_run_does_not_come_to_life_when_its_undo_is_pruned() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    let done = run(&path, vec![rebuild(&root, "x.db", StoreKind::Sqlite)]);
    undo_last(&path);
    prune(&open(&path), &Retention { max_bytes: Some(0), ..Retention::default() }).unwrap();
    let before = tree.snapshot();
    assert!(undo_run(&path, &done.run).is_err());
    before.assert_same(&tree.snapshot());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Whatever was backed up, changed, damaged and pruned: of each store the
    /// newest backup that was sound can still be restored.
    #[test]
    fn the_newest_sound_backup_of_a_store_is_never_pruned(
        versions in prop::collection::vec((0..3usize, 0..6u8, any::<bool>()), 1..8),
        keep in 0..3usize,
        max in prop::option::of(0..60u64),
    ) {
        let tree = Tree::new();
        tree.dir("app");
        let root = tree.at("app");
        let state = Tree::new();
        let path = state.at("s");
        let mut newest: BTreeMap<usize, Vec<(Vec<u8>, shopmend::vault::RunId)>> = BTreeMap::new();
        let mut bad: Vec<Vec<u8>> = Vec::new();
        for (which, content, damage) in versions {
            let name = format!("s{which}.db");
            let content = vec![content; 10 + which];
            tree.file(format!("app/{name}"), &content);
            let run = back_up(&path, &[store(&root, &name, StoreKind::Sqlite, Class::User)]).run;
            // Writing the same content again mends the copy.
            bad.retain(|b| *b != content);
            newest.entry(which).or_default().push((content.clone(), run));
            if damage {
                let object = path.join(vault::object_path(&blake3::hash(&content).to_string()));
                std::fs::write(object, b"bad").unwrap();
                bad.push(content);
            }
        }
        let rules = Retention { keep_last: Some(keep), max_bytes: max, ..Retention::default() };
        prune(&open(&path), &rules).unwrap();
        for (which, all) in newest {
            let Some((content, run)) = all.iter().rev().find(|(c, _)| !bad.contains(c)) else { continue };
            let out = Tree::new();
            let control = Control::default();
            vault::restore_to(&StateDir::open(&path).unwrap(), run, None, &out.at("o"), &control).unwrap();
            let file = out.at("o").join(below_the_top(&root)).join(format!("s{which}.db"));
            prop_assert_eq!(&std::fs::read(file).unwrap(), content);
        }
    }
}

/// How a backup ends that copied everything: its exit code is that of the scan.
const LOOKED: [Exit; 3] = [Exit::Ok, Exit::Findings, Exit::Incomplete];

/// What a scan would have said.
fn judged(verdict: Verdict) -> Option<Condition> {
    Some(Condition { verdict, scanned_ns: 1, rows: None })
}

fn back_up_as(state: &Path, root: &Path, verdict: Option<Verdict>) -> RunId {
    let mut one = store(root, "x.db", StoreKind::Sqlite, Class::User);
    one.condition = verdict.and_then(judged);
    back_up(state, &[one]).run
}

/// What a run's copy of the database holds.
fn restored(state: &Path, root: &Path, run: &RunId) -> Result<Vec<u8>, String> {
    let out = Tree::new();
    let state = StateDir::open(state).map_err(|e| e.to_string())?;
    vault::restore_to(&state, run, Some("test:x.db"), &out.at("o"), &Control::default())
        .map_err(|e| e.to_string())?;
    std::fs::read(out.at("o").join(below_the_top(root)).join("x.db")).map_err(|e| e.to_string())
}

/// A backup of the healthy file, damage, a repair that keeps the damaged file:
/// the newest copy is the worthless one.
#[test]
fn a_copy_of_a_damaged_store_does_not_push_out_the_healthy_one() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    let healthy = back_up_as(&path, &root, Some(Verdict::Healthy));
    tree.file("app/x.db", "damaged");
    let mut action = rebuild(&root, "x.db", StoreKind::Sqlite);
    action.condition = judged(Verdict::Damaged);
    let repaired = run(&path, vec![action]).run;
    for rules in [
        Retention { keep_last: Some(1), ..Retention::default() },
        Retention { keep_last: Some(0), ..Retention::default() },
        Retention { max_bytes: Some(0), ..Retention::default() },
        Retention { older_than: Some(Duration::ZERO), ..Retention::default() },
        Retention::default(),
    ] {
        let done = prune(&open(&path), &rules).unwrap();
        let any = rules != Retention::default();
        let said =
            done.kept.iter().any(|k| k.contains(healthy.as_str()) && k.contains("newest healthy copy"));
        assert_eq!(said, any, "{rules:?}: {done:?}");
        assert_eq!(restored(&path, &root, &healthy).unwrap(), b"database", "{rules:?}");
    }
    // The damaged one was let go of.
    assert!(restored(&path, &root, &repaired).is_err());
}

/// Copies from before the verdict was kept stay readable, and count as what
/// they are: a copy that may be sound.
#[test]
fn a_copy_whose_verdict_is_not_known_stands_between_healthy_and_damaged() {
    for newer in [None, Some(Verdict::Damaged), Some(Verdict::Healthy)] {
        let tree = target();
        let root = tree.at("app");
        let state = Tree::new();
        let path = state.at("s");
        let old = back_up_as(&path, &root, None);
        let listed = vault::list(&StateDir::open(&path).unwrap()).unwrap();
        assert_eq!(listed[0].stores[0].condition, None);
        tree.file("app/x.db", "later");
        let new = back_up_as(&path, &root, newer);
        prune(&open(&path), &Retention { keep_last: Some(0), ..Retention::default() }).unwrap();
        let old_stays = newer == Some(Verdict::Damaged);
        assert_eq!(restored(&path, &root, &old).is_ok(), old_stays, "{newer:?}");
        assert_eq!(restored(&path, &root, &new).is_ok(), !old_stays, "{newer:?}");
    }
    // One that is newer than the healthy copy may have what was added since.
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state.at("s");
    let healthy = back_up_as(&path, &root, Some(Verdict::Healthy));
    tree.file("app/x.db", "later");
    let unknown = back_up_as(&path, &root, None);
    prune(&open(&path), &Retention { max_bytes: Some(0), ..Retention::default() }).unwrap();
    assert_eq!(restored(&path, &root, &healthy).unwrap(), b"database");
    assert_eq!(restored(&path, &root, &unknown).unwrap(), b"later");
}

/// The manifest and the listing say what the copy was worth.
#[test]
fn the_verdict_of_a_copy_is_in_its_manifest_and_in_the_listing() {
    let shop = Shop::new().aged();
    shop.run.call(shop.args(&["backup"])).expect_one_of(&LOOKED);
    let listed = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
    let stores = listed["runs"][0]["stores"].as_array().unwrap();
    let messages = stores.iter().find(|s| s["path"].as_str().unwrap().ends_with("messages.db")).unwrap();
    assert_eq!(messages["condition"]["verdict"], "healthy");
    assert_eq!(messages["condition"]["rows"]["msg"], 500);
    let text = shop.run.call(["vault", "list"]).expect(Exit::Ok).stdout;
    assert!(text.contains("when it was copied: healthy on 20") && text.contains("500 rows"), "{text}");
    let run = listed["runs"][0]["run"].as_str().unwrap();
    let manifest = std::fs::read(shop.run.state_path().join(format!("runs/{run}/manifest.json"))).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let stores = manifest["stores"].as_array().unwrap();
    let messages = stores.iter().find(|s| s["path"].as_str().unwrap().ends_with("messages.db")).unwrap();
    assert_eq!(messages["verdict"], "healthy");
    assert_eq!(messages["rows"]["msg"], 500);
    assert!(messages["scanned"].as_str().unwrap().starts_with("20"), "{messages}");

    // A second scan reads nothing again and knows it all the same.
    shop.run.call(shop.args(&["backup"])).expect_one_of(&LOOKED);
    let listed = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
    let stores = listed["runs"][1]["stores"].as_array().unwrap();
    let messages = stores.iter().find(|s| s["path"].as_str().unwrap().ends_with("messages.db")).unwrap();
    assert_eq!(messages["condition"]["rows"]["msg"], 500, "{messages}");
}

/// A store whose content changed though its size and time did not is not
/// copied under the verdict of the scan before.
#[test]
fn a_silent_change_is_not_copied_as_healthy() {
    let shop = Shop::new().aged();
    shop.run.call(shop.args(&["scan"]));
    let file = shop.at("messages.db");
    let was = std::fs::metadata(&file).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 0xff;
    std::fs::write(&file, bytes).unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(was).unwrap();
    let done = shop.run.call(shop.args(&["backup"])).expect(Exit::Left).stdout;
    assert!(done.contains("content changed"), "{done}");
    let listed = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
    let stores = listed["runs"][0]["stores"].as_array().unwrap();
    assert!(stores.iter().all(|s| !s["path"].as_str().unwrap().ends_with("messages.db")), "{stores:?}");
}

/// The whole way with the program: backup, damage, repair, every way to prune.
#[test]
fn after_damage_repair_and_pruning_the_healthy_copy_can_be_restored() {
    for (n, args) in [
        &["--keep-last", "1"][..],
        &["--keep-last", "0"],
        &["--max-size", "0"],
        &["--keep-last", "0", "--max-size", "1"],
        &[],
    ]
    .iter()
    .enumerate()
    {
        let shop = Shop::new().aged();
        let healthy = std::fs::read(shop.at("messages.db")).unwrap();
        shop.run.call(shop.args(&["backup"])).expect_one_of(&LOOKED);
        let before_repair = n % 2 == 1;
        let prune = || {
            let all = ["vault", "prune"].iter().chain(*args);
            shop.run.call(all).expect(Exit::Ok)
        };
        let mut bytes = healthy.clone();
        bytes[4096 * 2..4096 * 3].fill(0x55);
        std::fs::write(shop.at("messages.db"), bytes).unwrap();
        if before_repair {
            prune();
        }
        shop.run.call(shop.args(&["repair", "--yes", "--only", "rebuild"]));
        let said = prune().stdout;
        assert!(args.is_empty() || said.contains("newest healthy copy"), "{said}");
        let listed = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
        let first = &listed["runs"][0];
        assert_eq!(first["kind"], "backup", "{listed}");
        let stores = first["stores"].as_array().unwrap();
        let messages = stores.iter().find(|s| s["path"].as_str().unwrap().ends_with("messages.db")).unwrap();
        let (run, id) = (first["run"].as_str().unwrap(), messages["store"].as_str().unwrap());
        shop.run.call(["vault", "restore", run, "--store", id]).expect_one_of(&LOOKED);
        assert_eq!(std::fs::read(shop.at("messages.db")).unwrap(), healthy);
    }
}

/// One thing that happens to a store or to the vault.
#[derive(Debug, Clone)]
enum Happening {
    BackUp(u8, Option<Verdict>),
    Repair(u8, Option<Verdict>),
    Undo,
    Restore(usize),
    Prune(Retention),
}

fn happening() -> impl Strategy<Value = Happening> {
    let verdict = || {
        prop_oneof![
            2 => Just(Some(Verdict::Healthy)),
            2 => Just(Some(Verdict::Damaged)),
            1 => Just(Some(Verdict::Stale)),
            1 => Just(Some(Verdict::Unknown)),
            1 => Just(None),
        ]
    };
    let rules = (
        prop::option::of(0..3usize),
        prop::option::of(prop_oneof![Just(Duration::ZERO), Just(Duration::from_hours(1))]),
        prop::option::of(0..60u64),
        any::<bool>(),
    );
    prop_oneof![
        3 => (0..5u8, verdict()).prop_map(|(c, v)| Happening::BackUp(c, v)),
        2 => (0..5u8, verdict()).prop_map(|(c, v)| Happening::Repair(c, v)),
        1 => Just(Happening::Undo),
        1 => (0..8usize).prop_map(Happening::Restore),
        3 => rules.prop_map(|(keep_last, older_than, max_bytes, dry_run)| {
            Happening::Prune(Retention { keep_last, older_than, max_bytes, dry_run })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    /// Backups, damage, repairs, undos, restores and pruning in any order and
    /// with any option: once there is a healthy copy there always is one, and
    /// the newest of them comes back byte for byte.
    #[test]
    fn a_healthy_copy_that_existed_can_always_be_restored(
        happenings in prop::collection::vec(happening(), 1..14),
    ) {
        let tree = target();
        let root = tree.at("app");
        let state = Tree::new();
        let path = state.at("s");
        let mut healthy: Option<(RunId, Vec<u8>)> = None;
        let mut runs: Vec<RunId> = Vec::new();
        for happening in happenings {
            match happening.clone() {
                Happening::BackUp(content, verdict) => {
                    let content = vec![b'a' + content; 20];
                    tree.file("app/x.db", &content);
                    let run = back_up_as(&path, &root, verdict);
                    if verdict == Some(Verdict::Healthy) {
                        healthy = Some((run.clone(), content));
                    }
                    runs.push(run);
                }
                Happening::Repair(content, verdict) => {
                    let content = vec![b'A' + content; 20];
                    tree.file("app/x.db", &content);
                    let mut action = rebuild(&root, "x.db", StoreKind::Sqlite);
                    action.condition = verdict.and_then(judged);
                    let done = run(&path, vec![action]);
                    if verdict == Some(Verdict::Healthy) {
                        healthy = Some((done.run.clone(), content));
                    }
                    runs.push(done.run);
                }
                Happening::Undo => {
                    let _ = undo(&open(&path), None, &UndoOptions::default(), &down, &Control::default());
                }
                Happening::Restore(which) => {
                    if let Some(run) = runs.get(which) {
                        let all = UndoOptions::default();
                        let _ = restore(&open(&path), run, &all, &down, &Control::default());
                    }
                }
                Happening::Prune(rules) => drop(prune(&open(&path), &rules).unwrap()),
            }
            if let Some((run, content)) = &healthy {
                let back = restored(&path, &root, run);
                prop_assert_eq!(back.as_ref(), Ok(content), "after {:?}", happening);
            }
        }
    }
}

/// Nobody else can read what is kept, wherever the state folder is.
#[test]
#[cfg(unix)]
fn everything_in_the_state_folder_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let shop = crate::support::shop::Shop::new();
    shop.break_index();
    let shop = shop.aged();
    shop.run.call(shop.args(&["backup"]));
    shop.run.call(shop.args(&["repair", "--yes"]));
    shop.run.call(["undo"]);
    let mut seen = 0;
    for entry in walkdir::WalkDir::new(shop.run.state_path()).into_iter().map(Result::unwrap) {
        // What was moved aside keeps the mode that it had; the folders above do not let anybody in.
        if entry.path().components().any(|c| c.as_os_str() == "quarantine") {
            continue;
        }
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        let wanted = if entry.file_type().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, wanted, "{}: {mode:04o}", entry.path().display());
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}
