//! Clearing does what the plan says and nothing else.

use std::path::Path;

use shopmend::control::Control;
use shopmend::error::{Error, Kind};
use shopmend::exit::Exit;
use shopmend::model::{Class, StoreKind};
use shopmend::repair::{Affected, Done, Hooks, execute};

use crate::support::plans::*;
use crate::support::tree::Tree;

fn target() -> Tree {
    let tree = Tree::new();
    tree.file("app/cache/a/1", "one").file("app/cache/a/2", "two").file("app/cache/b/3", "three");
    tree.file("app/data/keep", "precious").age();
    tree
}

#[test]
fn what_changed_since_the_plan_is_skipped_and_said() {
    let tree = target();
    let root = tree.at("app");
    let whole = clear_whole(&root, "cache");
    let single = clear_files(&root, "cache", files_below(&root, "cache"));
    tree.file("app/cache/a/1", "One").file("app/cache/a/new", "new");
    std::fs::remove_file(root.join("cache/b/3")).unwrap();
    for action in [whole, single] {
        let state = Tree::new();
        let before = tree.snapshot();
        let done = run(&state.at("s"), vec![action]);
        let mut skipped: Vec<String> =
            done.actions[0].skipped.iter().map(|s| format!("{}: {}", s.path.to_text(), s.reason)).collect();
        skipped.sort();
        assert_eq!(skipped, ["cache/a/1: it changed since the plan was made", "cache/b/3: it is gone"]);
        assert_eq!(done.exit(), Exit::Left);
        assert_eq!(std::fs::read(root.join("cache/a/1")).unwrap(), b"One");
        assert_eq!(std::fs::read(root.join("cache/a/new")).unwrap(), b"new");
        assert!(!root.join("cache/a/2").exists());
        undo_last(&state.at("s"));
        before.assert_same(&tree.snapshot());
    }
}

#[test]
fn only_caches_are_cleared_whatever_the_plan_says() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let before = tree.snapshot();
    for class in [Class::State, Class::User] {
        let mut action = clear_whole(&root, "data");
        action.class = class;
        let done = run(&state.at("s"), vec![action]);
        assert_eq!(done.actions[0].done, Done::Skipped);
    }
    let mut outside = clear_whole(&root, "data");
    outside.path = rel("cache");
    let done = run(&state.at("s"), vec![outside]);
    assert_eq!(done.actions[0].done, Done::Skipped);
    before.assert_same(&tree.snapshot());
}

#[test]
fn the_guard_has_the_last_word() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let guard = |_: &shopmend::plan::Action, item: &shopmend::plan::Item| {
        if item.path == rel("cache/a/1") { Err("kept".to_owned()) } else { Ok(()) }
    };
    let hooks = Hooks { guard: &guard, ..hooks() };
    let done = run_with(&state.at("s"), vec![clear_whole(&root, "cache")], &hooks);
    assert_eq!(done.actions[0].skipped.len(), 1);
    assert!(root.join("cache/a/1").exists() && !root.join("cache/a/2").exists());
}

#[test]
#[cfg(unix)]
fn links_in_the_way_are_not_followed() {
    let tree = target();
    let root = tree.at("app");
    tree.dir("outside/a").file("outside/a/1", "foreign").file("outside/a/2", "foreign");
    let action = clear_files(&root, "cache", files_below(&root, "cache/a"));
    // The folder becomes a link to another of the same shape.
    std::fs::rename(root.join("cache/a"), tree.at("real")).unwrap();
    tree.link("app/cache/a", "../../outside/a");
    let before = tree.snapshot();
    let state = Tree::new();
    let done = run(&state.at("s"), vec![action]);
    assert_eq!(done.actions[0].done, Done::Skipped, "{done:?}");
    before.assert_same(&tree.snapshot());

    let mut whole = clear_whole(&root, "cache/b");
    whole.root = tree.at("rootlink");
    tree.link("rootlink", "app");
    let before = tree.snapshot();
    let e = execute(&plan(vec![whole]), &open(&state.at("s")), &options(), &hooks(), &Control::default());
    assert!(e.is_err());
    before.assert_same(&tree.snapshot());
}

#[test]
#[cfg(unix)]
fn links_in_a_cache_stay_and_keep_the_folder_from_going_whole() {
    let tree = target();
    let root = tree.at("app");
    tree.link("app/cache/a/link", "../../data/keep").fifo("app/cache/a/fifo");
    let before = tree.snapshot();
    let state = Tree::new();
    let done = run(&state.at("s"), vec![clear_whole(&root, "cache")]);
    assert_eq!(done.actions[0].files, 3);
    assert!(root.join("cache/a/link").symlink_metadata().is_ok() && root.join("cache/a/fifo").exists());
    assert_eq!(std::fs::read(root.join("data/keep")).unwrap(), b"precious");
    undo_last(&state.at("s"));
    before.assert_same(&tree.snapshot());
}

#[test]
fn hard_links_survive_repair_and_undo() {
    let tree = target();
    tree.hard_link("app/cache/a/1", "app/data/second").hard_link("app/cache/a/2", "app/cache/b/two").age();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = Tree::new();
    run(&state.at("s"), vec![clear_whole(&root, "cache")]);
    assert_eq!(std::fs::read(root.join("data/second")).unwrap(), b"one");
    undo_last(&state.at("s"));
    before.assert_same(&tree.snapshot());
}

#[test]
fn a_store_is_never_torn() {
    let tree = Tree::new();
    tree.file("app/cache/x.db", "db").file("app/cache/x.db-wal", "wal").file("app/cache/l/CURRENT", "c");
    tree.file("app/cache/l/000001.log", "log").age();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = Tree::new();
    let parts = vec![item(&root, "cache/x.db-wal"), item(&root, "cache/l/000001.log")];
    let done = run(&state.at("s"), vec![clear_files(&root, "cache", parts)]);
    assert_eq!((done.actions[0].done, done.actions[0].skipped.len()), (Done::Skipped, 2));
    before.assert_same(&tree.snapshot());
    let done = run(&state.at("s"), vec![clear_files(&root, "cache", files_below(&root, "cache"))]);
    assert_eq!((done.actions[0].done, done.actions[0].files), (Done::Done, 4));
}

#[test]
fn a_running_app_stops_everything() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let before = tree.snapshot();
    let up = |_: &Affected| -> Result<(), Error> { Err(Error::new(Kind::AppRunning, "the app is running")) };
    let hooks = Hooks { running: &up, ..hooks() };
    let plan = plan(vec![clear_whole(&root, "cache")]);
    let e = execute(&plan, &open(&state.at("s")), &options(), &hooks, &Control::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::AppRunning);
    before.assert_same(&tree.snapshot());

    // It starts in the middle.
    let asked = std::cell::Cell::new(0);
    let up = |_: &Affected| -> Result<(), Error> {
        asked.set(asked.get() + 1);
        if asked.get() < 2 { Ok(()) } else { Err(Error::new(Kind::AppRunning, "the app is running")) }
    };
    let hooks = Hooks { running: &up, ..hooks };
    let done = execute(&plan, &open(&state.at("s")), &options(), &hooks, &Control::default()).unwrap();
    assert_eq!(done.exit(), Exit::AppRunning, "{done:?}");
    before.assert_same(&tree.snapshot());
}

/// A guard that allows everything, and asks for a stop at the first question.
fn stops(control: &Control) -> impl Fn(&shopmend::plan::Action, &shopmend::plan::Item) -> Result<(), String> {
    let stop = control.clone();
    move |_, _| {
        stop.cancel();
        Ok(())
    }
}

#[test]
fn a_request_to_stop_leaves_the_rest_undone_and_said() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let control = Control::default();
    let guard = stops(&control);
    let hooks = Hooks { guard: &guard, ..hooks() };
    let plan = plan(vec![clear_whole(&root, "cache/a"), clear_whole(&root, "cache/b")]);
    let done = execute(&plan, &open(&state.at("s")), &options(), &hooks, &control).unwrap();
    let each: Vec<Done> = done.actions.iter().map(|a| a.done).collect();
    assert_eq!(each, [Done::Done, Done::NotDone]);
    assert_eq!(done.exit(), Exit::Interrupted);
    assert!(!root.join("cache/a/1").exists() && root.join("cache/b/3").exists());
}

#[test]
fn a_request_to_stop_that_comes_after_the_last_action_changes_nothing() {
    let tree = target();
    let root = tree.at("app");
    let state = Tree::new();
    let control = Control::default();
    let guard = stops(&control);
    let hooks = Hooks { guard: &guard, ..hooks() };
    let plan = plan(vec![clear_whole(&root, "cache")]);
    let done = execute(&plan, &open(&state.at("s")), &options(), &hooks, &control).unwrap();
    assert_eq!((done.actions[0].done, done.interrupted, done.exit()), (Done::Done, false, Exit::Ok));
}

/// It is not the new store that is at fault.
#[test]
fn a_request_to_stop_during_the_last_check_is_no_failure() {
    let tree = target();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = Tree::new();
    let control = Control::default();
    let verify = |_, _: &Path| {
        control.cancel();
        control.safe_point().map_err(|e| e.to_string())
    };
    let hooks = Hooks { verify: &verify, ..hooks() };
    let plan = plan(vec![rebuild(&root, "data/keep", StoreKind::Sqlite)]);
    let done = execute(&plan, &open(&state.at("s")), &options(), &hooks, &control).unwrap();
    assert_eq!((done.actions[0].done, done.exit()), (Done::NotDone, Exit::Interrupted), "{done:?}");
    before.assert_same(&tree.snapshot());
}

#[test]
fn a_state_folder_inside_a_root_is_refused() {
    let tree = target();
    let root = tree.at("app");
    let before = tree.snapshot();
    let plan = plan(vec![clear_whole(&root, "cache")]);
    let state = open(&root.join("state"));
    let e = execute(&plan, &state, &options(), &hooks(), &Control::default()).unwrap_err();
    assert_eq!(e.kind(), Kind::Refused);
    drop(state);
    std::fs::remove_dir_all(root.join("state")).unwrap();
    tree.mtime("app", before.get(Path::new("app")).unwrap().mtime_ns as u64);
    before.assert_same(&tree.snapshot());
}
