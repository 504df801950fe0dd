//! Repair followed by undo gives the same tree again: names, contents,
//! nanosecond times, modes, owners.

use std::path::Path;

use shopmend::control::Control;
use shopmend::error::Kind;
use shopmend::repair::{Done, ExecuteOptions, UndoOptions, execute, undo};
use shopmend::vault::StateDir;

use crate::support::plans::*;
use crate::support::tree::Tree;

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
    assert_eq!(done.bytes_held, done.bytes_cleared);
    let back = undo_last(&state_of(&state));
    assert_eq!(back.actions[0].done, Done::Done, "{back:?}");
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
    let first = undo_last(&state);
    before.assert_same(&tree.snapshot());
    let second = undo_run(&state, &first.run).unwrap();
    cleared.assert_same(&tree.snapshot());
    undo_run(&state, &second.run).unwrap();
    before.assert_same(&tree.snapshot());
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
    assert_eq!((done.bytes_held, done.bytes_freed), (0, done.bytes_cleared));
    assert!(done.bytes_freed > 100_000);
    assert!(!path.join(format!("runs/{}/quarantine/0", done.run)).exists());
    let e = undo_run(&path, &done.run).unwrap_err();
    assert!(e.to_string().contains("freed for good"), "{e}");
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
