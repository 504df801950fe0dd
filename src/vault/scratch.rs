//! A private folder in the state folder for copies that a check works on: on
//! no other disk, readable by nobody else, and gone at the next start when
//! the process could not remove it itself.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::StateDir;
use super::state::rel;
use crate::fsys::{Dir, Kind, RelPath, remove_tree};

const FOLDER: &str = "scratch";
/// Locked while folders are made and removed, and in each of them by its owner.
const LOCK: &str = "lock";

/// The folder of this process.
static OWN: Mutex<Option<Scratch>> = Mutex::new(None);

#[derive(Debug)]
struct Scratch {
    all: Dir,
    name: RelPath,
    /// The system lets go of it when the process ends, however it ends.
    _lock: File,
}

/// Removes what processes that are gone have left, and has all temporary files
/// of this one made in a folder of its own, from here on and once for all.
///
/// # Errors
/// The system's error; temporary files are then made where they were before.
pub fn begin(state: &StateDir) -> io::Result<()> {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if own.is_some() {
        return Ok(());
    }
    let all = state.dir().make_dirs(&rel(FOLDER)?)?;
    let guard = lock_file(&all, &rel(LOCK)?)?;
    guard.lock()?;
    clean_up(&all)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let name = rel(format!("{}-{now}", std::process::id()))?;
    let dir = all.make_dir(&name, 0o700)?;
    let lock = lock_file(&dir, &rel(LOCK)?)?;
    lock.lock()?;
    guard.unlock()?;
    let path: PathBuf = dir.path().to_path_buf();
    *own = Some(Scratch { all, name, _lock: lock });
    // Fails when it was set before: by a test, in a process of many runs.
    let _ = tempfile::env::override_temp_dir(&path);
    Ok(())
}

/// Removes the folder of this process, when it ends.
pub fn end() {
    let own = OWN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(own) = own {
        let _leftover_is_removed_at_the_next_start = remove_tree(&own.all, &own.name);
    }
}

fn lock_file(dir: &Dir, name: &RelPath) -> io::Result<File> {
    match dir.create_file(name, 0o600) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => dir.append_file(name),
        other => other,
    }
}

/// Only while the lock over all is held: a folder without its own lock is of a
/// process that is gone.
fn clean_up(all: &Dir) -> io::Result<()> {
    for entry in all.list()?.into_iter().filter(|e| e.meta.kind == Kind::Dir) {
        let name = rel(&entry.name)?;
        let lives = match all.append_file(&name.join(LOCK).map_err(io::Error::other)?) {
            Ok(lock) => lock.try_lock().is_err(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(_) => true,
        };
        if !lives {
            remove_tree(all, &name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let tmp = tempfile::tempdir().unwrap();
        let all = Dir::open(&tmp.path().canonicalize().unwrap()).unwrap();
        for name in ["dead", "killed-before-its-lock", "alive"] {
            let dir = all.make_dir(&rel(name).unwrap(), 0o700).unwrap();
            dir.create_file(&rel("copy.db").unwrap(), 0o600).unwrap();
        }
        lock_file(&all.dir(&rel("dead").unwrap()).unwrap(), &rel(LOCK).unwrap()).unwrap();
        let alive = lock_file(&all.dir(&rel("alive").unwrap()).unwrap(), &rel(LOCK).unwrap()).unwrap();
        alive.lock().unwrap();
        clean_up(&all).unwrap();
        let left: Vec<_> = all.list().unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(left, ["alive"]);
    }
}
