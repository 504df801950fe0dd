//! Repair followed by undo gives the same tree again: names, contents,
//! nanosecond times, modes, owners.

use std::path::Path;

use shopmend::control::Control;
use shopmend::error::Kind;
use shopmend::repair::{Done, ExecuteOptions, UndoOptions, execute, undo};
use shopmend::vault::StateDir;

use crate::support::plans::*;
use crate::support::tree::{Snapshot, Tree};

/// A target with a cache of several levels, and things beside it.
fn target() -> Tree {
    let tree = Tree::new();
    tree.file("app/cache/a/1", "one").file("app/cache/a/2", "two").file("app/cache/b/3", vec![7; 100_000]);
    tree.file("app/cache/top", "t").dir("app/cache/empty/inner").file("app/data/keep", "precious");
    tree.file_named("app/cache/a", b"\xff\xfe \x1b[31m", "odd name");
    tree.mode("app/cache/a/1", 0o640).mode("app/cache/b", 0o750).mode("app/cache/a/2", 0o444);
    tree.link("app/data/link", "keep").fifo("app/data/fifo");
    tree.age();
    tree
}

fn state_of(tree: &Tree) -> std::path::PathBuf {
    tree.at("state")
}

#[test]
fn a_whole_folder() {
    let tree = target();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = Tree::new();
    let done = run(&state_of(&state), vec![clear_whole(&root, "cache")]);
    assert_eq!((done.actions[0].done, done.actions[0].files), (Done::Done, 5), "{done:?}");
    assert!(done.actions[0].skipped.is_empty());
    let cleared = tree.snapshot();
    assert!(cleared.get("app/cache").is_some(), "the folder is there, and empty");
    assert!(cleared.paths().all(|p| p == Path::new("app/cache") || !p.starts_with("app/cache")));
    assert_eq!(cleared.get("app/cache").unwrap().mode, before.get("app/cache").unwrap().mode);
    assert_eq!(done.bytes_held, done.allocated_cleared);
    let back = undo_last(&state_of(&state));
    assert_eq!(back.actions[0].done, Done::Done, "{back:?}");
    // The files of a folder that moved as a whole are counted one by one.
    let (cleared, put_back) = (&done.actions[0], &back.actions[0]);
    assert_eq!((put_back.files, put_back.bytes), (cleared.files, cleared.bytes));
    before.assert_same(&tree.snapshot());
}

#[test]
fn single_files_and_both_mixed() {
    let tree = target();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = Tree::new();
    let some = vec![item(&root, "cache/a/1"), item(&root, "cache/top")];
    let mut mixed = clear_whole(&root, "cache/b");
    mixed.path = rel("cache");
    if let shopmend::plan::Op::Clear { files, .. } = &mut mixed.op {
        files.extend(files_below(&root, "cache/a"));
    }
    run(&state_of(&state), vec![clear_files(&root, "cache", some)]);
    assert!(!root.join("cache/a/1").exists() && root.join("cache/a/2").exists());
    let halfway = tree.snapshot();
    // The file that is gone already is skipped.
    let second = run(&state_of(&state), vec![mixed]);
    assert_eq!(second.actions[0].skipped.len(), 1);
    assert!(!root.join("cache/a/2").exists());
    undo_last(&state_of(&state));
    halfway.assert_same(&tree.snapshot());
    let first = StateDir::open(&state_of(&state)).unwrap().runs().unwrap()[0].clone();
    undo_run(&state_of(&state), &first).unwrap();
    before.assert_same(&tree.snapshot());
}

#[test]
fn an_undo_can_be_undone_and_that_again() {
    let tree = target();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = Tree::new();
    let state = state_of(&state);
    run(&state, vec![clear_whole(&root, "cache")]);
    tree.file("app/cache/new", "made by the app since").mtime("app/cache/new", 1).mtime("app/cache", 2);
    let cleared = tree.snapshot();
    // What the app made since stays beside what comes back.
    let as_before = |now: &Snapshot| {
        assert_eq!(before.diff(now), ["app/cache/new: is new"]);
    };
    let first = undo_last(&state);
    as_before(&tree.snapshot());
    let second = undo_run(&state, &first.run).unwrap();
    cleared.assert_same(&tree.snapshot());
    undo_run(&state, &second.run).unwrap();
    as_before(&tree.snapshot());
}

#[test]
fn undone_twice_is_said_and_not_done() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let state = state_of(&state);
    let e = undo(&open(&state), None, &UndoOptions::default(), &down, &Control::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::Usage);
    let done = run(&state, vec![clear_whole(&root, "cache")]);
    undo_last(&state);
    let before = tree.snapshot();
    let again = undo_run(&state, &done.run).unwrap_err();
    assert_eq!(again.kind(), Kind::Usage);
    assert!(again.to_string().contains("undone already"), "{again}");
    // Without a name, an older run is never undone by surprise.
    let e = undo(&open(&state), None, &UndoOptions::default(), &down, &Control::default()).unwrap_err();
    assert!(e.hint_text().unwrap().contains("shopmend undo 2"), "{e:?}");
    before.assert_same(&tree.snapshot());
}

#[test]
fn reclaimed_space_cannot_be_undone_and_is_free() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let path = state_of(&state);
    let options = ExecuteOptions { reclaim: true, allow_root: false };
    let plan = plan(vec![clear_whole(&root, "cache")]);
    let done = execute(&plan, &open(&path), &options, &hooks(), &Control::default()).unwrap();
    assert_eq!((done.bytes_held, done.bytes_freed), (0, done.allocated_cleared));
    assert!(done.bytes_freed > 100_000);
    assert!(!path.join(format!("runs/{}/quarantine/0", done.run)).exists());
    let e = undo_run(&path, &done.run).unwrap_err();
    assert!(e.to_string().contains("freed for good"), "{e}");
}

/// Space is what is allocated: holes are none, and what has another name
/// elsewhere is not free when one of its names is gone.
#[test]
#[cfg(unix)]
fn freed_is_what_the_disk_has_more_of() {
    use std::os::unix::fs::MetadataExt as _;
    let tree = Tree::new();
    tree.file("app/cache/plain", vec![1; 200_000]).file("app/cache/twice", vec![2; 300_000]);
    tree.file("app/cache/outside", vec![3; 400_000]).file("app/cache/a/sparse", "").dir("app/data");
    let root = tree.at("app");
    std::fs::hard_link(root.join("cache/twice"), root.join("cache/a/again")).unwrap();
    std::fs::hard_link(root.join("cache/outside"), root.join("data/kept")).unwrap();
    let sparse = std::fs::File::options().write(true).open(root.join("cache/a/sparse")).unwrap();
    sparse.set_len(8 << 30).unwrap();
    drop(sparse);
    let allocated = |path: &str| std::fs::metadata(root.join(path)).unwrap().blocks() * 512;
    let gone = allocated("cache/plain") + allocated("cache/twice") + allocated("cache/a/sparse");
    for (reclaim, whole) in [(false, true), (false, false), (true, true)] {
        let state = Tree::new();
        let path = state_of(&state);
        let action = if whole {
            clear_whole(&root, "cache")
        } else {
            clear_files(&root, "cache", files_below(&root, "cache"))
        };
        let options = ExecuteOptions { reclaim, allow_root: false };
        let done =
            execute(&plan(vec![action]), &open(&path), &options, &hooks(), &Control::default()).unwrap();
        assert_eq!(done.allocated_cleared, gone, "{reclaim} {whole}: {done:?}");
        assert!(done.bytes_cleared > 8 << 30);
        if reclaim {
            assert_eq!((done.bytes_freed, done.bytes_held), (gone, 0));
        } else {
            assert_eq!(done.bytes_held, gone);
            undo_last(&path);
        }
    }
    assert!(root.join("data/kept").exists());
}

#[test]
fn one_store_of_several() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let state = state_of(&state);
    let before = tree.snapshot();
    let done = run(&state, vec![clear_whole(&root, "cache/a"), clear_whole(&root, "cache/b")]);
    let options = UndoOptions { store: Some("test:cache/b".into()), ..UndoOptions::default() };
    undo(&open(&state), Some(&done.run), &options, &down, &Control::default()).unwrap();
    assert!(root.join("cache/b/3").exists() && !root.join("cache/a/1").exists());
    undo_run(&state, &done.run).unwrap();
    before.assert_same(&tree.snapshot());
}

/// The first store's work changed the time of the folder that both are in.
#[test]
fn stores_undone_in_another_order_leave_the_times_of_their_folder_too() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let state = state_of(&state);
    let before = tree.snapshot();
    let done = run(&state, vec![clear_whole(&root, "cache/a"), clear_whole(&root, "cache/b")]);
    for store in ["test:cache/a", "test:cache/b"] {
        let options = UndoOptions { store: Some(store.into()), ..UndoOptions::default() };
        undo(&open(&state), Some(&done.run), &options, &down, &Control::default()).unwrap();
    }
    before.assert_same(&tree.snapshot());
}

/// The system numbers devices anew at each start; what was moved aside is
/// still the same.
#[test]
#[cfg(unix)]
fn a_device_with_another_number_after_the_next_start_changes_nothing() {
    use shopmend::fsys::Dir;
    use shopmend::vault::{Journal, Record, read_records};
    use std::os::unix::fs::MetadataExt as _;
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let state = state_of(&state);
    let before = tree.snapshot();
    let done = run(
        &state,
        vec![clear_whole(&root, "cache/a"), clear_files(&root, "cache", files_below(&root, "cache/b"))],
    );
    let folder = state.join("runs").join(done.run.as_str());
    let closed = folder.join("journal.closed");
    let records = read_records(std::fs::File::open(&closed).unwrap()).unwrap();
    let number = root.metadata().unwrap().dev();
    let elsewhere = |record: &Record| -> Record {
        let text = serde_json::to_string(record).unwrap();
        let text = text.replace(&format!("\"dev\":{number}"), "\"dev\":987654321");
        serde_json::from_str(&text).unwrap()
    };
    let records: Vec<Record> = records.iter().map(elsewhere).collect();
    assert!(format!("{records:?}").contains("987654321"));
    std::fs::remove_file(&closed).unwrap();
    let mut journal = Journal::create(&Dir::open(&folder).unwrap(), &records[0]).unwrap();
    journal.add(&records[1..]).unwrap();
    drop(journal);
    restart(&state);
    let verified = shopmend::vault::verify(&StateDir::open(&state).unwrap(), &Control::default()).unwrap();
    assert!(verified.problems.is_empty(), "{verified:?}");
    undo_last(&state);
    before.assert_same(&tree.snapshot());
}

#[test]
fn folders_that_are_gone_are_made_again() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let state = state_of(&state);
    let before = tree.snapshot();
    let all = files_below(&root, "cache");
    run(&state, vec![clear_files(&root, "cache", all)]);
    std::fs::remove_dir_all(root.join("cache")).unwrap();
    undo_last(&state);
    let now = tree.snapshot();
    // Folders that never held a file are not the plan's.
    let diff = before.diff(&now);
    assert_eq!(diff, ["app/cache/empty: is gone", "app/cache/empty/inner: is gone"]);
}

#[test]
fn a_running_app_stops_it_before_anything() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let state = state_of(&state);
    run(&state, vec![clear_whole(&root, "cache")]);
    let before = tree.snapshot();
    let up = |_: &shopmend::repair::Affected| -> shopmend::error::Result<()> {
        Err(shopmend::error::Error::new(Kind::AppRunning, "the app is running"))
    };
    let e = undo(&open(&state), None, &UndoOptions::default(), &up, &Control::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::AppRunning);
    before.assert_same(&tree.snapshot());
}

#[test]
fn rebuilt_stores_of_every_shape() {
    let tree = Tree::new();
    tree.file("app/x.db", "damaged").file("app/x.db-wal", "log").file("app/x.db-journal", "journal");
    tree.file("app/l/CURRENT", "MANIFEST-1").file("app/l/sub/x", "x").file("app/l/000001.ldb", "table");
    tree.dir("app/l/empty").file("app/p/prefs.xml", "<broken").file("app/p/prefs.xml.bak", "<map/>");
    tree.file("app/p/only.xml.bak", "<map/>").mode("app/x.db", 0o604).mode("app/l/sub", 0o711).age();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = Tree::new();
    let state = state_of(&state);
    let actions = vec![
        rebuild(&root, "x.db", shopmend::model::StoreKind::Sqlite),
        rebuild(&root, "l", shopmend::model::StoreKind::Leveldb),
        restore_backup(&root, "p/prefs.xml"),
        restore_backup(&root, "p/only.xml"),
    ];
    let done = run(&state, actions);
    assert!(done.actions.iter().all(|a| a.done == Done::Done), "{done:?}");
    let after = tree.snapshot();
    let names: Vec<String> = after.paths().map(|p| rel(p).to_text()).filter(|p| p.contains('/')).collect();
    assert_eq!(
        names,
        [
            "app/l",
            "app/l/000003.log",
            "app/l/CURRENT",
            "app/l/MANIFEST-000002",
            "app/l/sub",
            "app/l/sub/x",
            "app/p",
            "app/p/only.xml",
            "app/p/prefs.xml",
            "app/x.db"
        ]
    );
    assert_eq!(after.get("app/x.db").unwrap().content, b"rebuilt");
    if cfg!(unix) {
        assert_eq!(after.get("app/x.db").unwrap().mode, 0o604);
        assert_eq!(after.get("app/l/sub").unwrap().mode, 0o711);
    }
    assert_eq!(after.get("app/p/prefs.xml").unwrap().content, b"<map/>");

    // The app opens the new database and writes a log beside it.
    tree.file("app/x.db-wal", "the app's new log").mtime("app/x.db-wal", 1).mtime("app", 2);
    let used = tree.snapshot();
    let undone = undo_last(&state);
    assert!(undone.actions.iter().all(|a| a.done == Done::Done), "{undone:?}");
    before.assert_same(&tree.snapshot());
    undo_run(&state, &undone.run).unwrap();
    used.assert_same(&tree.snapshot());
}

#[cfg(unix)]
mod random {
    //! For any tree and any choice of files and folders to clear, undo after
    //! repair is the identity, and nothing outside the plan changes.

    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use shopmend::plan::Op;

    use super::*;

    /// Names that are hard to carry: not UTF-8, control characters, escapes.
    const NAMES: [&[u8]; 7] =
        [b"a", b"b b", b"%41", b"\xff\xfe", b"\n\x1b[2J", "ü\u{202e}".as_bytes(), b"x.db-wal"];

    #[derive(Debug, Clone)]
    struct Entry {
        path: Vec<usize>,
        content: Vec<u8>,
        mode: u32,
        /// 0 nothing, 1 file chosen, 2 its folder chosen whole.
        choice: u8,
        link: bool,
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (
            prop::collection::vec(0..NAMES.len(), 1..4),
            prop::collection::vec(any::<u8>(), 0..20),
            prop_oneof![Just(0o644u32), Just(0o600), Just(0o444), Just(0o4755)],
            0..3u8,
            prop::bool::weighted(0.1),
        );
        let entry =
            entry.prop_map(|(path, content, mode, choice, link)| Entry { path, content, mode, choice, link });
        prop::collection::vec(entry, 1..25)
    }

    fn path_of(entry: &Entry) -> std::path::PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let names = entry.path.iter().map(|&n| std::ffi::OsStr::from_bytes(NAMES[n]));
        Path::new("cache").join(names.collect::<std::path::PathBuf>())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn undo_after_repair_is_the_identity(entries in entries(), again in any::<bool>()) {
            let tree = Tree::new();
            tree.file("app/data/keep", "precious").dir("app/cache");
            let root = tree.at("app");
            let mut files = BTreeSet::new();
            let mut whole = BTreeSet::new();
            for entry in &entries {
                let path = path_of(entry);
                let full = root.join(&path);
                if full.symlink_metadata().is_ok() || std::fs::create_dir_all(full.parent().unwrap()).is_err() {
                    continue;
                }
                if entry.link {
                    std::os::unix::fs::symlink("../data/keep", &full).unwrap();
                    continue;
                }
                if std::fs::write(&full, &entry.content).is_err() {
                    continue;
                }
                tree.mode(Path::new("app").join(&path), entry.mode);
                match entry.choice {
                    0 => {}
                    1 => drop(files.insert(path)),
                    _ => drop(whole.insert(path.parent().unwrap().to_path_buf())),
                }
            }
            tree.age();
            let outermost: Vec<_> =
                whole.iter().filter(|w| !whole.iter().any(|o| o != *w && w.starts_with(o))).cloned().collect();
            for folder in &outermost {
                files.extend(files_below(&root, folder).iter().map(|i| i.path.as_path().to_path_buf()));
            }
            let planned: BTreeSet<_> = files.clone();
            let mut action = clear_files(&root, "cache", files.iter().map(|f| item(&root, f)).collect());
            if let Op::Clear { whole, .. } = &mut action.op {
                whole.extend(outermost.iter().map(|w| item(&root, w)));
            }
            let before = tree.snapshot();
            let state = Tree::new();
            let path = state_of(&state);
            let done = run(&path, vec![action]);
            let after = tree.snapshot();
            // Only planned files are gone, and each is gone or said to be kept.
            for gone in before.paths().filter(|p| after.get(p).is_none() && before.get(p).unwrap().kind != "folder") {
                prop_assert!(planned.contains(gone.strip_prefix("app").unwrap()), "{gone:?}");
            }
            let kept: BTreeSet<_> = done.actions[0].skipped.iter().map(|s| s.path.as_path().to_path_buf()).collect();
            for file in &planned {
                prop_assert_eq!(kept.contains(file), root.join(file).symlink_metadata().is_ok(), "{:?}", file);
            }
            if done.actions[0].done == Done::Done {
                let undone = undo_last(&path);
                before.assert_same(&tree.snapshot());
                if again {
                    let redone = undo_run(&path, &undone.run).unwrap();
                    after.assert_same(&tree.snapshot());
                    undo_run(&path, &redone.run).unwrap();
                }
            }
            before.assert_same(&tree.snapshot());
        }
    }
}
