//! Every operation that changes the disk is made to fail, one after the
//! other: once by itself, and once for good as if the process had been
//! killed there. After the next start the tree is as before or as wished, and
//! no content is lost.

use std::path::{Path, PathBuf};

use super::*;
use crate::fsys::{Fault, Meta, RelPath, fault_count, tree, with_faults};
use crate::model::{Class, Platform, Remedy, StoreKind};
use crate::vault::{RunId, StateDir};

#[path = "../../tests/support/tree.rs"]
mod support;
use support::{Snapshot, Tree};

const NO_SPACE: i32 = 28;
const IO_ERROR: i32 = 5;

fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn below(root: &Path, path: &str) -> Vec<Item> {
    let dir = crate::fsys::Dir::open(root).unwrap();
    let files = |m: &Meta| m.kind == crate::fsys::Kind::File;
    tree(&dir, &rel(path), usize::MAX)
        .unwrap()
        .iter()
        .filter(|(_, m)| files(m))
        .map(|(p, m)| Item::new(p.clone(), m))
        .collect()
}

fn item(root: &Path, path: &str) -> Item {
    Item::new(rel(path), &crate::fsys::Dir::open(root).unwrap().stat(&rel(path)).unwrap())
}

fn action(root: &Path, path: &str, kind: StoreKind, class: Class, op: Op) -> Action {
    Action {
        store: path.to_owned(),
        target: "t".into(),
        app: "a".into(),
        rule: "r".into(),
        kind,
        class,
        root: root.to_owned(),
        path: rel(path),
        why: "test".into(),
        condition: None,
        allocated_bytes: 0,
        op,
    }
}

/// One of each kind of work.
fn actions(root: &Path) -> Vec<Action> {
    let whole = Op::Clear { files: below(root, "cache"), whole: vec![item(root, "cache")] };
    let single = Op::Clear { files: below(root, "loose"), whole: Vec::new() };
    let db = ["d/x.db", "d/x.db-journal", "d/x.db-wal"].map(|p| item(root, p)).to_vec();
    let how = Remedy::Rebuild;
    let prefs =
        Op::RestoreBackup { current: Some(item(root, "p/prefs.xml")), backup: item(root, "p/prefs.xml.bak") };
    vec![
        action(root, "cache", StoreKind::Files, Class::Cache, whole),
        action(root, "loose", StoreKind::Files, Class::Cache, single),
        action(
            root,
            "d/x.db",
            StoreKind::Sqlite,
            Class::User,
            Op::Rebuild { members: db, how, unnamed_tables: false },
        ),
        action(
            root,
            "l",
            StoreKind::Leveldb,
            Class::State,
            Op::Rebuild { members: below(root, "l"), how, unnamed_tables: false },
        ),
        action(root, "p/prefs.xml", StoreKind::SharedPrefs, Class::State, prefs),
    ]
}

/// Hundreds of runs, each with many syncs: in memory where that is possible.
fn fast_tree() -> Tree {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { Tree::under(memory) } else { Tree::new() }
}

fn target() -> Tree {
    let tree = fast_tree();
    tree.file("cache/a/1", "one").file("cache/b", "b").file("loose/x", "x").file("loose/s/y", "y");
    tree.file("d/x.db", "damaged").file("d/x.db-wal", "log").file("d/x.db-journal", "journal");
    tree.file("l/CURRENT", "MANIFEST-1").file("l/sub/000001.ldb", "table").dir("l/empty");
    tree.file("p/prefs.xml", "<broken").file("p/prefs.xml.bak", "<map/>").file("other", "other");
    tree.mode("d/x.db", 0o640).mode("l/sub", 0o750).age();
    tree
}

fn rebuild(action: &Action, request: &RebuildRequest) -> Result<Rebuilt, StoreError> {
    if action.kind == StoreKind::Leveldb {
        std::fs::create_dir(request.out).unwrap();
        std::fs::write(request.out.join("CURRENT"), "MANIFEST-2").unwrap();
        std::fs::create_dir(request.out.join("sub")).unwrap();
        std::fs::write(request.out.join("sub/000002.ldb"), "new table").unwrap();
    } else {
        assert_eq!(std::fs::read(request.copy).unwrap(), b"damaged");
        std::fs::write(request.out, "rebuilt").unwrap();
    }
    Ok(Rebuilt::default())
}

fn up_to_now(_: &Affected) -> Result<()> {
    Ok(())
}

fn hooks() -> Hooks<'static> {
    Hooks { rebuild: &rebuild, verify: &|_, _| Ok(()), guard: &|_, _| Ok(()), running: &up_to_now }
}

fn lock(state: &Path) -> LockedState {
    StateDir::open(state).unwrap().lock().unwrap()
}

fn repair(root: &Path, state: &LockedState, which: usize) -> Result<Outcome> {
    let plan = Plan {
        schema: 1,
        platform: Platform::host(),
        live: true,
        actions: vec![actions(root).swap_remove(which)],
    };
    execute(&plan, state, &ExecuteOptions::default(), &hooks(), &Control::default())
}

fn take_back(state: &LockedState, run: Option<&RunId>) -> Result<Outcome> {
    undo(state, run, &UndoOptions::default(), &up_to_now, &Control::default())
}

fn state_of(tree: &Tree) -> PathBuf {
    tree.path().with_extension("state")
}

fn drop_state(tree: &Tree) {
    if !state_of(tree).exists() {
        return;
    }
    let parent = crate::fsys::Dir::open(tree.path().parent().unwrap()).unwrap();
    let name = state_of(tree).file_name().unwrap().to_owned();
    crate::fsys::remove_tree(&parent, &RelPath::new(name).unwrap()).unwrap();
}

/// After a fault: starts again until nothing is left to do, then the tree
/// must be `before` or `after`; and if it is after, undo gives `before`.
fn check(tree: &Tree, before: &Snapshot, after: &Snapshot, what: &str) {
    let state = lock(&state_of(tree));
    recover(&state, &up_to_now).unwrap_or_else(|e| panic!("{what}: {e} {:?}", e.hint_text()));
    assert!(recover(&state, &up_to_now).unwrap().is_empty(), "{what}: recovery left something to do");
    let now = tree.snapshot();
    if now.diff(before).is_empty() {
        return;
    }
    let differs = strip_times(after, &now);
    assert!(
        differs.is_empty(),
        "{what}: neither as before nor as after:\n{}\n or\n{}",
        before.diff(&now).join("\n"),
        differs.join("\n")
    );
    take_back(&state, None).unwrap_or_else(|e| panic!("{what}: cannot undo: {e}"));
    let undone = before.diff(&tree.snapshot());
    assert!(undone.is_empty(), "{what}: undo after recovery:\n{}", undone.join("\n"));
}

/// Differences but for times: those of new files and touched folders are when
/// it happened.
fn strip_times(wanted: &Snapshot, now: &Snapshot) -> Vec<String> {
    wanted
        .diff(now)
        .into_iter()
        .filter(|d| !(d.contains(": time was") && d.matches(", ").count() == 1))
        .collect()
}

#[test]
fn a_failure_or_a_kill_at_any_operation_of_a_repair_loses_nothing() {
    let mut cases = 0;
    for which in 0..5 {
        let tree = target();
        let before = tree.snapshot();
        let locked = lock(&state_of(&tree));
        let count = with_faults(Fault::Never, || {
            let done = repair(tree.path(), &locked, which).unwrap();
            assert_eq!(done.actions[0].done, Done::Done, "{done:?}");
            fault_count()
        });
        drop(locked);
        let after = tree.snapshot();
        assert!(!strip_times(&before, &after).is_empty());
        take_back(&lock(&state_of(&tree)), None).unwrap();
        before.assert_same(&tree.snapshot());
        drop_state(&tree);
        for n in 1..=count {
            for fault in [Fault::From(n), Fault::Once(n, IO_ERROR), Fault::Once(n, NO_SPACE)] {
                let what = format!("work {which}, {fault:?} of {count}");
                let locked = lock(&state_of(&tree));
                let _ = with_faults(fault, || repair(tree.path(), &locked, which));
                drop(locked);
                check(&tree, &before, &after, &what);
                drop_state(&tree);
                cases += 1;
            }
        }
    }
    assert!(cases > 300, "{cases}");
}

#[test]
fn a_failure_or_a_kill_at_any_operation_of_an_undo_loses_nothing() {
    for which in 0..5 {
        let tree = target();
        let state = state_of(&tree);
        let before = tree.snapshot();
        let mut count = usize::MAX;
        let mut n = 0;
        while n < count {
            for fault in [Fault::From(n + 1), Fault::Once(n + 1, IO_ERROR)] {
                let locked = lock(&state);
                let run = repair(tree.path(), &locked, which).unwrap().run;
                let after = tree.snapshot();
                let fault = if count == usize::MAX { Fault::Never } else { fault };
                let seen = with_faults(fault, || {
                    let _ = take_back(&locked, Some(&run));
                    fault_count()
                });
                if count == usize::MAX {
                    count = seen;
                }
                drop(locked);
                let what = format!("undo of {which}, {fault:?} of {count}");
                let locked = lock(&state);
                recover(&locked, &up_to_now).unwrap_or_else(|e| panic!("{what}: {e}"));
                let now = tree.snapshot();
                if !before.diff(&now).is_empty() {
                    let diff = after.diff(&now);
                    assert!(diff.is_empty(), "{what}:\n{}", diff.join("\n"));
                    take_back(&locked, Some(&run)).unwrap();
                }
                before.assert_same(&tree.snapshot());
                drop(locked);
                drop_state(&tree);
            }
            n += 1;
        }
    }
}

#[test]
fn a_failure_or_a_kill_during_recovery_loses_nothing() {
    for which in [0, 2, 3, 4] {
        let tree = target();
        let before = tree.snapshot();
        let count = with_faults(Fault::Never, || {
            drop(repair(tree.path(), &lock(&state_of(&tree)), which).unwrap());
            fault_count()
        });
        let after = tree.snapshot();
        take_back(&lock(&state_of(&tree)), None).unwrap();
        drop_state(&tree);
        // Killed late, when there is something to set in order; and the
        // recovery killed at each of its operations in turn.
        for first in (count / 3..=count).step_by(3) {
            let locked = lock(&state_of(&tree));
            let _ = with_faults(Fault::From(first), || repair(tree.path(), &locked, which));
            drop(locked);
            for n in 1..100 {
                let locked = lock(&state_of(&tree));
                let (done, seen) =
                    with_faults(Fault::From(n), || (recover(&locked, &up_to_now), fault_count()));
                if done.is_ok() && seen < n {
                    break;
                }
            }
            check(&tree, &before, &after, &format!("work {which} killed at {first}, then its recovery"));
            drop_state(&tree);
        }
    }
}

/// Freeing space for good, and pruning, cut short anywhere: what is to stay
/// can be brought back, and the next try finishes.
#[test]
fn a_failure_or_a_kill_while_space_is_freed_loses_nothing_that_is_to_stay() {
    use crate::vault::verify;
    let tree = target();
    let setup = || {
        drop_state(&tree);
        let state = lock(&state_of(&tree));
        // A cleared cache, and two backups of a database of which one may go.
        let cleared = repair(tree.path(), &state, 0).unwrap().run;
        let first = repair(tree.path(), &state, 2).unwrap().run;
        take_back(&state, Some(&first)).unwrap();
        take_back(&state, Some(&cleared)).unwrap();
        let kept = repair(tree.path(), &state, 2).unwrap().run;
        (state, cleared, kept)
    };
    let all = Retention { keep_last: Some(0), ..Retention::default() };
    let (state, _, kept) = setup();
    let count = with_faults(Fault::Never, || {
        let done = prune(&state, &all).unwrap();
        assert!(done.stores > 2 && done.kept.len() == 1, "{done:?}");
        fault_count()
    });
    let before_kept = tree.snapshot();
    take_back(&state, Some(&kept)).unwrap();
    let before = tree.snapshot();
    drop(state);
    assert!(!before_kept.diff(&before).is_empty() && count > 10, "{count}");
    for n in 1..=count {
        let (state, cleared, kept) = setup();
        let _ = with_faults(Fault::From(n), || prune(&state, &all));
        drop(state);
        let state = lock(&state_of(&tree));
        recover(&state, &up_to_now).unwrap();
        prune(&state, &all).unwrap();
        let found = verify(&state, &Control::default()).unwrap();
        assert!(found.problems.is_empty() && found.unneeded == 0, "{n}: {found:?}");
        assert!(take_back(&state, Some(&cleared)).is_err(), "{n}");
        take_back(&state, Some(&kept)).unwrap();
        let diff = before.diff(&tree.snapshot());
        assert!(diff.is_empty(), "{n}: {diff:?}");
        drop(state);
    }
    drop_state(&tree);
}

#[test]
fn an_interrupted_run_waits_until_its_app_is_closed() {
    let tree = target();
    let before = tree.snapshot();
    let state = lock(&state_of(&tree));
    let count = with_faults(Fault::Never, || {
        repair(tree.path(), &state, 2).unwrap();
        fault_count()
    });
    take_back(&state, None).unwrap();
    drop(state);
    drop_state(&tree);
    let up = |_: &Affected| Err(Error::new(Kind::AppRunning, "it runs"));
    let mut waited = 0;
    for n in 1..=count {
        let state = lock(&state_of(&tree));
        let _ = with_faults(Fault::From(n), || repair(tree.path(), &state, 2));
        let halfway = tree.snapshot();
        match recover(&state, &up) {
            Err(e) => {
                assert_eq!(e.kind(), Kind::AppRunning);
                halfway.assert_same(&tree.snapshot());
                assert_eq!(recover(&state, &up_to_now).unwrap()[0].taken_back.len(), 1);
                before.assert_same(&tree.snapshot());
                waited += 1;
            }
            // Nothing was touched yet, or all was done.
            Ok(_) if before.diff(&tree.snapshot()).is_empty() => {}
            Ok(_) => drop(take_back(&state, None).unwrap()),
        }
        drop(state);
        drop_state(&tree);
    }
    assert!(waited > 5, "{waited} of {count}");
}

#[test]
fn what_the_app_made_in_the_meantime_is_kept_aside_by_recovery() {
    let tree = target();
    let before = tree.snapshot();
    let state = lock(&state_of(&tree));
    let count = with_faults(Fault::Never, || {
        repair(tree.path(), &state, 0).unwrap();
        fault_count()
    });
    take_back(&state, None).unwrap();
    drop(state);
    drop_state(&tree);
    // Killed after the move: the app starts first and fills the cache anew.
    for n in (count / 2)..count {
        let state = lock(&state_of(&tree));
        let _ = with_faults(Fault::From(n), || repair(tree.path(), &state, 0));
        let moved = !tree.at("cache/b").exists();
        if moved {
            tree.file("cache/new", "made by the app");
        }
        let done = recover(&state, &up_to_now).unwrap();
        let now = tree.snapshot();
        if moved && now.get("cache/b").is_some() {
            before.assert_same(&now);
            assert!(done[0].notes.iter().any(|n| n.contains("cache is now")), "{done:?}");
            let run = &done[0].run;
            let aside = state_of(&tree).join(format!("runs/{run}/displaced/0/0-cache/new"));
            assert_eq!(std::fs::read(aside).unwrap(), b"made by the app");
        } else if moved {
            // It was all done: what the app made since stays in its place.
            take_back(&state, None).unwrap();
            let now = tree.snapshot();
            assert_eq!(now.get("cache/new").unwrap().content, b"made by the app");
            let changed = before.diff(&now);
            assert!(changed.iter().all(|c| c.contains("cache/new")), "{changed:?}");
            std::fs::remove_file(tree.at("cache/new")).unwrap();
            tree.mtime("cache", before.get("cache").unwrap().mtime_ns as u64);
        }
        drop(state);
        drop_state(&tree);
    }
}

#[test]
fn a_damaged_journal_stops_everything_and_says_how_to_go_on() {
    let tree = target();
    let before = tree.snapshot();
    let locked = lock(&state_of(&tree));
    let count = with_faults(Fault::Never, || {
        repair(tree.path(), &locked, 2).unwrap();
        fault_count()
    });
    take_back(&locked, None).unwrap();
    drop(locked);
    drop_state(&tree);
    let locked = lock(&state_of(&tree));
    let _ = with_faults(Fault::From(count * 2 / 3), || repair(tree.path(), &locked, 2));
    let run = locked.runs().unwrap().pop().unwrap();
    let folder = state_of(&tree).join("runs").join(run.as_str());
    let mut journal = std::fs::read(folder.join("journal")).unwrap();
    let middle = journal.len() / 2;
    journal[middle] ^= 1;
    std::fs::write(folder.join("journal"), journal).unwrap();
    let halfway = tree.snapshot();
    for _ in 0..2 {
        let e = recover(&locked, &up_to_now).unwrap_err();
        assert_eq!(e.kind(), Kind::Failed);
        assert!(e.hint_text().unwrap().contains("RESTORE.txt"), "{e}");
        halfway.assert_same(&tree.snapshot());
    }
    // The text brings back what the vault has, by hand.
    let text = folder.join("RESTORE.txt");
    let shell = std::process::Command::new("bash").arg(&text).current_dir("/").output().unwrap();
    assert!(shell.status.success(), "{shell:?}");
    for path in ["d/x.db", "d/x.db-wal", "d/x.db-journal"] {
        assert!(tree.snapshot().get(path) == before.get(path), "{path} is not as it was");
    }
    drop(locked);
    drop_state(&tree);
}
