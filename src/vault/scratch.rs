//! A private folder in the state folder for copies that a check works on: on
//! no other disk, readable by nobody else, and gone at the next start when
//! the process could not remove it itself. So is what must lie elsewhere: a new
//! file is made beside its place.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::StateDir;
use super::state::rel;
use crate::fsys::{
    Dir, Kind, Meta, RelPath, effective_user, path_from_text, path_to_text, real_path, remove_tree,
    sync_file, write_all,
};

const FOLDER: &str = "scratch";
/// Locked while folders are made and removed, and in each of them by its owner.
const LOCK: &str = "lock";
/// In each folder: the folders that its owner makes beside other files.
const BESIDE: &str = "beside";
/// How their names begin; nothing else is ever removed there.
const PREFIX: &str = ".shopmend-salvage-";

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

/// A private folder beside a file that is to be; removed when dropped.
#[derive(Debug)]
pub struct Beside {
    parent: Dir,
    name: RelPath,
    /// The file that is to be.
    file: RelPath,
}

impl Beside {
    /// Makes one on the disk of `file`, after it was written down where the next
    /// start looks.
    ///
    /// # Errors
    /// The system's error.
    pub fn make(file: &Path) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let file = std::path::absolute(file)?;
        let parent = Dir::open(&real_path(file.parent().unwrap_or(&file))?)?;
        let to_be = rel(file.file_name().unwrap_or_default())?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = rel(format!("{PREFIX}{}-{number}", std::process::id()))?;
        let own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = own.as_ref() {
            let dir = own.all.dir(&own.name)?;
            let mut list = lock_file(&dir, &rel(BESIDE)?)?;
            let line = format!("{}\n", path_to_text(&parent.path().join(name.as_path())));
            write_all(&mut list, line.as_bytes())?;
            sync_file(&list)?;
            dir.sync()?;
        }
        parent.make_dir(&name, 0o700)?;
        Ok(Self { parent, name, file: to_be })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.parent.path().join(self.name.as_path())
    }

    /// Gives the file or folder `made` in it the name that was wanted, durably
    /// and never over another; before it those that go by its name and an ending.
    ///
    /// # Errors
    /// The system's error.
    pub fn publish(&self, made: &str, endings: &[&str]) -> io::Result<()> {
        let made = self.name.join(made).map_err(io::Error::other)?;
        for ending in endings.iter().chain(&[""]) {
            let from = made.with_suffix(ending);
            if ending.is_empty() || self.parent.exists(&from)? {
                self.parent.rename_new(&from, &self.parent, &self.file.with_suffix(ending))?;
            }
        }
        self.parent.sync()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _leftover_is_removed_at_the_next_start = remove_tree(&self.parent, &self.name);
    }
}

/// Removes what a process that is gone has left beside other files.
fn remove_beside(dir: &Dir) -> io::Result<()> {
    let mut list = Vec::new();
    match dir.open_file(&rel(BESIDE)?) {
        Ok(file) => file.take(MAX_LIST).read_to_end(&mut list)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    // A last line without its end was not complete, and its folder not made.
    let lines = String::from_utf8_lossy(&list);
    for line in lines.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')) {
        let Ok(path) = path_from_text(line) else { continue };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        // Its disk may not be there now, or the folder be another's by now.
        let Ok(parent) = Dir::open(parent) else { continue };
        let Ok(name) = rel(name) else { continue };
        let ours = |meta: Meta| {
            meta.kind == Kind::Dir
                && name.to_text().starts_with(PREFIX)
                && effective_user().is_none_or(|me| me == meta.uid)
        };
        if parent.stat(&name).is_ok_and(ours) {
            remove_tree(&parent, &name)?;
        }
    }
    Ok(())
}

/// The longest list that is read.
const MAX_LIST: u64 = 1 << 20;

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
            remove_beside(&all.dir(&name)?)?;
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
        // What a killed salvage left beside its output, and what only has such a name.
        let outside = tempfile::tempdir().unwrap();
        let outside = outside.path().canonicalize().unwrap();
        let mut list = String::new();
        for name in [".shopmend-salvage-7-0", ".shopmend-salvage-7-1", "documents"] {
            std::fs::create_dir(outside.join(name)).unwrap();
            std::fs::write(outside.join(name).join("new.db"), "private").unwrap();
            list += &format!("{}\n", path_to_text(&outside.join(name)));
        }
        // The last line was not complete when the process was killed.
        let list = list.replace(".shopmend-salvage-7-1\n", ".shopmend-salvage-7-9\n");
        std::fs::write(all.path().join("dead").join(BESIDE), list + "/incomplete").unwrap();
        clean_up(&all).unwrap();
        let mut there: Vec<_> = outside.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        there.sort();
        assert_eq!(there, [".shopmend-salvage-7-1", "documents"]);
        let left: Vec<_> = all.list().unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(left, ["alive"]);
    }
}
