//! Kills, full disks, other file systems: the tree is as before or as wished,
//! and what was there can be brought back.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use shopmend::control::Control;
use shopmend::exit::Exit;
use shopmend::model::StoreKind;
use shopmend::repair::{Done, execute};

use crate::support::plans::*;
use crate::support::skip::skipped;
use crate::support::tree::{Snapshot, Tree};

/// Set for a child of this test binary: what it is to do, and where.
const CHILD: &str = "SHOPMEND_TEST_CHILD";

fn target() -> Tree {
    let tree = Tree::new();
    for i in 0..120 {
        tree.file(format!("app/cache/{}/{i}", i % 7), format!("entry {i}"));
        tree.file(format!("app/loose/{i}"), format!("loose {i}"));
    }
    tree.file("app/x.db", vec![1; 300_000]).file("app/x.db-wal", "log").file("app/l/CURRENT", "c");
    tree.file("app/l/1.ldb", vec![2; 200_000])
        .file("app/p.xml", "<bro")
        .file("app/p.xml.bak", "<map/>")
        .age();
    tree
}

fn everything(root: &Path) -> Vec<shopmend::plan::Action> {
    vec![
        clear_whole(root, "cache"),
        rebuild(root, "x.db", StoreKind::Sqlite),
        clear_files(root, "loose", files_below(root, "loose")),
        rebuild(root, "l", StoreKind::Leveldb),
        restore_backup(root, "p.xml"),
    ]
}

/// What a child process does; nothing in an ordinary run of the tests.
#[test]
fn child() {
    let Some(what) = std::env::var_os(CHILD) else { return };
    let root = PathBuf::from(std::env::var_os("SHOPMEND_TEST_ROOT").unwrap());
    let state = PathBuf::from(std::env::var_os("SHOPMEND_TEST_STATE").unwrap());
    let actions = if what == "undo" { Vec::new() } else { everything(&root) };
    println!("ready");
    std::io::stdout().flush().unwrap();
    if what == "undo" {
        undo_last(&state);
    } else {
        run(&state, actions);
    }
}

/// Lets a child begin and kills it after `delay`; whether it was still alive.
fn killed_child(what: &str, root: &Path, state: &Path, delay: Duration) -> bool {
    use std::io::BufRead as _;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture"])
        .env(CHILD, what)
        .env("SHOPMEND_TEST_ROOT", root)
        .env("SHOPMEND_TEST_STATE", state)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child did not begin");
    }
    std::thread::sleep(delay);
    let alive = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    child.wait().unwrap();
    alive
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing() {
    let tree = target();
    let root = tree.at("app");
    let before = tree.snapshot();
    let mut killed = 0;
    for i in 0..25u64 {
        let state = Tree::new();
        let path = state.at("s");
        let delay = Duration::from_micros(700 * i * i);
        killed += u32::from(killed_child("repair", &root, &path, delay));
        restart(&path);
        let halfway = tree.snapshot();
        // Killed while it takes back what was done.
        if halfway.diff(&before).iter().any(|d| !d.contains("time was")) {
            killed += u32::from(killed_child("undo", &root, &path, delay / 2));
            restart(&path);
        }
        bring_back(&path);
        before.assert_same(&tree.snapshot());
    }
    assert!(killed > 5, "{killed}");
}

/// Undoes whatever is not undone yet.
fn bring_back(state: &Path) {
    let runs = shopmend::vault::list(&shopmend::vault::StateDir::open(state).unwrap()).unwrap();
    let Some(first) = runs.first() else { return };
    if first.stores.iter().any(|s| s.undone_by.is_none()) {
        undo_run(state, &first.run).unwrap();
    }
}

/// A file system of its own in memory; only root may have one.
pub(crate) struct Mount(Tree);

impl Mount {
    pub(crate) fn new(size: &str) -> Option<Self> {
        let tree = Tree::new();
        tree.dir("m");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(tree.at("m"))
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|s| s.success()).then_some(Self(tree))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.at("m")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn another_file_system_for_the_state_changes_nothing_for_the_user() {
    let Some(mount) = Mount::new("64m") else {
        return skipped("another_file_system_for_the_state", "mounting a tmpfs takes root");
    };
    let tree = target();
    tree.hard_link("app/cache/1/1", "app/second").link("app/cache/link", "1/1").age();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = mount.path().join("s");
    let done = run(&state, everything(&root));
    assert!(done.actions.iter().all(|a| a.done == Done::Done), "{done:?}");
    let skipped: Vec<String> = done.actions[0].skipped.iter().map(|s| s.path.to_text()).collect();
    assert_eq!(skipped, ["cache/1/1"], "a hard link is not copied apart");
    assert!(root.join("cache/1/1").exists() && !root.join("cache/2/2").exists());
    assert!(done.bytes_held > 0);
    let repaired = tree.snapshot();
    let undone = undo_last(&state);
    assert!(undone.actions.iter().all(|a| a.done == Done::Done), "{undone:?}");
    before.assert_same(&tree.snapshot());
    undo_run(&state, &undone.run).unwrap();
    let diff: Vec<String> =
        repaired.diff(&tree.snapshot()).into_iter().filter(|d| !d.contains("time was")).collect();
    assert!(diff.is_empty(), "{diff:?}");
}

/// Root works in another user's folder only when told to, and gives
/// everything back to its owner.
#[test]
fn root_does_not_work_where_another_user_could_redirect_it() {
    let tree = target();
    let root = tree.at("app");
    let chown = |who: &str| {
        Command::new("chown")
            .args(["-R", who])
            .arg(tree.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let me = std::fs::metadata(tree.path()).unwrap();
    if std::os::unix::fs::MetadataExt::uid(&me) != 0 || !chown("12345:12345") {
        return skipped("root_does_not_work_where_another_user_could_redirect_it", "chown takes root");
    }
    let before = tree.snapshot();
    let state = Tree::new();
    let path = state.at("s");
    let actions = everything(&root);
    let e =
        execute(&plan(actions.clone()), &open(&path), &options(), &hooks(), &Control::default()).unwrap_err();
    assert_eq!(e.kind(), shopmend::error::Kind::Refused, "{e}");
    before.assert_same(&tree.snapshot());

    let options = shopmend::repair::ExecuteOptions { reclaim: false, allow_root: true };
    let done = execute(&plan(actions), &open(&path), &options, &hooks(), &Control::default()).unwrap();
    assert!(done.actions.iter().all(|a| a.done == Done::Done), "{done:?}");
    let after = tree.snapshot();
    assert!(after.paths().all(|p| after.get(p).unwrap().uid == 12345), "{after:?}");
    let allow = shopmend::repair::UndoOptions { allow_root: true, ..Default::default() };
    assert!(undo_run(&path, &done.run).is_err());
    shopmend::repair::undo(&open(&path), None, &allow, &down, &Control::default()).unwrap();
    before.assert_same(&tree.snapshot());
}

#[test]
fn a_mount_inside_a_cache_is_left_alone() {
    let tree = target();
    tree.dir("app/cache/mounted");
    let root = tree.at("app");
    let action = clear_whole(&root, "cache");
    let done = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(root.join("cache/mounted")).status();
    if !done.is_ok_and(|s| s.success()) {
        return skipped("a_mount_inside_a_cache_is_left_alone", "mounting a tmpfs takes root");
    }
    std::fs::write(root.join("cache/mounted/foreign"), "foreign").unwrap();
    let state = Tree::new();
    let done = run(&state.at("s"), vec![action]);
    let foreign = std::fs::read(root.join("cache/mounted/foreign"));
    let _ = Command::new("umount").arg("-l").arg(root.join("cache/mounted")).status();
    assert_eq!(foreign.unwrap(), b"foreign");
    assert_eq!((done.actions[0].done, done.actions[0].files), (Done::Done, 120), "{done:?}");
}

#[test]
fn a_full_disk_is_refused_with_numbers_or_taken_back() {
    let Some(mount) = Mount::new("1m") else {
        return skipped("a_full_disk_is_refused_with_numbers_or_taken_back", "mounting a tmpfs takes root");
    };
    // All on the small disk: refused before anything is touched.
    let root = mount.path().join("app");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("x.db"), vec![3; 400_000]).unwrap();
    let before = Snapshot::of(&root);
    let plan_all = plan(vec![rebuild(&root, "x.db", StoreKind::Sqlite)]);
    let state = open(&mount.path().join("s"));
    let e = execute(&plan_all, &state, &options(), &hooks(), &Control::default()).unwrap_err();
    assert!(e.to_string().contains("too little free space"), "{e}");
    drop(state);
    before.assert_same(&Snapshot::of(&root));

    // The new store turns out larger than anybody could know.
    let state = Tree::new();
    let greedy = |_: &shopmend::plan::Action, request: &shopmend::store::RebuildRequest| {
        std::fs::write(request.out, vec![5; 3_000_000]).unwrap();
        Ok(shopmend::store::Rebuilt::default())
    };
    let hooks = shopmend::repair::Hooks { rebuild: &greedy, ..hooks() };
    let done = run_with(&state.at("s"), vec![rebuild(&root, "x.db", StoreKind::Sqlite)], &hooks);
    assert_eq!((done.actions[0].done, done.exit()), (Done::RolledBack, Exit::RolledBack), "{done:?}");
    before.assert_same(&Snapshot::of(&root));

    // The disk of the state fills up between the look and the work.
    let tree = target();
    let root = tree.at("app");
    let before = tree.snapshot();
    let small = mount.path().join("s2");
    let filler = mount.path().join("filler");
    let fill = |_: &shopmend::plan::Action, _: &shopmend::plan::Item| {
        if !filler.exists() {
            let _ = std::fs::write(&filler, vec![0; 1 << 20]);
        }
        Ok(())
    };
    std::fs::remove_file(mount.path().join("app/x.db")).unwrap();
    let hooks = shopmend::repair::Hooks { guard: &fill, ..crate::support::plans::hooks() };
    let actions = vec![clear_files(&root, "loose", files_below(&root, "loose"))];
    let done = execute(&plan(actions), &open(&small), &options(), &hooks, &Control::default());
    if let Ok(done) = done {
        assert_ne!(done.actions[0].done, Done::Done, "{done:?}");
    }
    std::fs::remove_file(&filler).unwrap();
    restart(&small);
    before.assert_same(&tree.snapshot());
}

#[test]
fn what_may_not_be_changed_is_skipped_and_said() {
    let tree = target();
    let root = tree.at("app");
    // Also root may not change what is immutable.
    let immutable = root.join("loose");
    let set = |flag: &str| Command::new("chattr").arg(flag).arg(&immutable).stderr(Stdio::null()).status();
    if !set("+i").is_ok_and(|s| s.success()) {
        return skipped(
            "what_may_not_be_changed_is_skipped_and_said",
            "chattr +i takes root and ext4 or the like",
        );
    }
    let before = tree.snapshot();
    let state = Tree::new();
    let whole = run(&state.at("s"), vec![clear_whole(&root, "loose")]);
    let single = run(&state.at("s"), vec![clear_files(&root, "loose", files_below(&root, "loose"))]);
    set("-i").unwrap();
    for done in [whole, single] {
        assert_eq!(done.actions[0].files, 0, "{done:?}");
        assert!(done.actions[0].skipped.iter().all(|s| s.reason == "permission denied"), "{done:?}");
        assert_eq!(done.exit(), Exit::Left);
    }
    before.assert_same(&tree.snapshot());
}
