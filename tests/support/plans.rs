//! Makes plans by hand and runs them, for the topics about repair and undo.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};

use shopmend::control::Control;
use shopmend::error::{Error, Result};
use shopmend::fsys::{Dir, Kind, RelPath, tree};
use shopmend::model::{Class, Platform, Remedy, StoreKind};
use shopmend::plan::{Action, Item, Op, Plan};
use shopmend::repair::{Affected, ExecuteOptions, Hooks, Outcome, UndoOptions, execute, recover, undo};
use shopmend::store::{RebuildRequest, Rebuilt, StoreError};
use shopmend::vault::{LockedState, RunId, StateDir};

/// A path below a root.
pub fn rel(path: impl AsRef<Path>) -> RelPath {
    RelPath::new(path).unwrap()
}

/// A file or folder as it is now.
pub fn item(root: &Path, path: impl AsRef<Path>) -> Item {
    let path = rel(path);
    let meta = Dir::open(root).unwrap().stat(&path).unwrap();
    Item::new(path, &meta)
}

/// All regular files below `path`.
pub fn files_below(root: &Path, path: impl AsRef<Path>) -> Vec<Item> {
    let all = tree(&Dir::open(root).unwrap(), &rel(path), usize::MAX).unwrap();
    all.into_iter().filter(|(_, m)| m.kind == Kind::File).map(|(p, m)| Item::new(p, &m)).collect()
}

fn action(root: &Path, path: impl AsRef<Path>, kind: StoreKind, class: Class, op: Op) -> Action {
    let path = rel(path);
    Action {
        store: format!("test:{}", path.to_text()),
        target: "test".into(),
        app: "app".into(),
        rule: "rule".into(),
        kind,
        class,
        root: root.to_path_buf(),
        path,
        why: "for the test".into(),
        condition: None,
        allocated_bytes: 0,
        op,
    }
}

/// Clears everything below a cache folder, the folder moved as a whole.
pub fn clear_whole(root: &Path, path: impl AsRef<Path>) -> Action {
    let op = Op::Clear { files: files_below(root, &path), whole: vec![item(root, &path)] };
    action(root, path, StoreKind::Files, Class::Cache, op)
}

/// Clears some files of a cache folder.
pub fn clear_files(root: &Path, path: impl AsRef<Path>, files: Vec<Item>) -> Action {
    action(root, path, StoreKind::Files, Class::Cache, Op::Clear { files, whole: Vec::new() })
}

/// Rebuilds a store: the named files of a database, or all in a folder.
pub fn rebuild(root: &Path, path: impl AsRef<Path>, kind: StoreKind) -> Action {
    let path = path.as_ref();
    let members = if root.join(path).is_dir() {
        files_below(root, path)
    } else {
        ["", "-journal", "-shm", "-wal"]
            .iter()
            .map(|suffix| PathBuf::from(format!("{}{suffix}", path.display())))
            .filter(|p| root.join(p).exists())
            .map(|p| item(root, p))
            .collect()
    };
    action(
        root,
        path,
        kind,
        Class::User,
        Op::Rebuild { members, how: Remedy::Rebuild, unnamed_tables: false },
    )
}

/// Puts the `.bak` in place.
pub fn restore_backup(root: &Path, path: impl AsRef<Path>) -> Action {
    let path = path.as_ref();
    let bak = PathBuf::from(format!("{}.bak", path.display()));
    let current = root.join(path).exists().then(|| item(root, path));
    let op = Op::RestoreBackup { current, backup: item(root, bak) };
    action(root, path, StoreKind::SharedPrefs, Class::State, op)
}

/// A plan of these actions on a running system.
pub fn plan(actions: Vec<Action>) -> Plan {
    Plan { schema: Plan::SCHEMA, platform: Platform::host(), live: true, actions }
}

pub fn open(state: &Path) -> LockedState {
    StateDir::open(state).unwrap().lock().unwrap()
}

pub fn down(_: &Affected) -> Result<()> {
    Ok(())
}

/// A rebuild that writes a new file or folder with the content `rebuilt`.
pub fn fake_rebuild(action: &Action, request: &RebuildRequest) -> Result<Rebuilt, StoreError> {
    if action.kind == StoreKind::Leveldb {
        std::fs::create_dir(request.out).unwrap();
        std::fs::create_dir(request.out.join("sub")).unwrap();
        for name in ["CURRENT", "MANIFEST-000002", "000003.log", "sub/x"] {
            std::fs::write(request.out.join(name), format!("rebuilt {name}")).unwrap();
        }
    } else {
        std::fs::write(request.out, "rebuilt").unwrap();
    }
    Ok(Rebuilt { method: "fake".into(), recovered: 1, ..Rebuilt::default() })
}

pub fn hooks() -> Hooks<'static> {
    Hooks { rebuild: &fake_rebuild, verify: &|_, _| Ok(()), guard: &|_, _| Ok(()), running: &down }
}

/// Whether to work in folders that a user other than root could replace: the
/// tests run as any user.
pub fn options() -> ExecuteOptions {
    ExecuteOptions { reclaim: false, allow_root: false }
}

pub fn run(state: &Path, actions: Vec<Action>) -> Outcome {
    run_with(state, actions, &hooks())
}

pub fn run_with(state: &Path, actions: Vec<Action>, hooks: &Hooks) -> Outcome {
    execute(&plan(actions), &open(state), &options(), hooks, &Control::default()).unwrap()
}

pub fn undo_last(state: &Path) -> Outcome {
    undo(&open(state), None, &UndoOptions::default(), &down, &Control::default()).unwrap()
}

pub fn undo_run(state: &Path, run: &RunId) -> Result<Outcome, Error> {
    undo(&open(state), Some(run), &UndoOptions::default(), &down, &Control::default())
}

/// Starts again: whatever was left unfinished is set in order.
pub fn restart(state: &Path) {
    recover(&open(state), &down).unwrap();
}
