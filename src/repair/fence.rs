//! Keeps apps out of a store for the moment in which it is replaced, by the
//! lock that they themselves take before they write: an app that comes in
//! that moment finds its database busy, and one that has opened the old file
//! is found by the look after the swap.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::fs::File;

use super::session::Halt;
use crate::fsys::{Dir, RelPath};
use crate::model::StoreKind;

/// Stands until it is dropped.
#[must_use]
pub(super) struct Fence {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    _locked: Option<File>,
}

/// `PENDING_BYTE` of SQLite; with it the 511 bytes behind it are its locks
/// (<https://sqlite.org/fileformat2.html#the_lock_byte_page>).
#[cfg(any(target_os = "linux", target_os = "android"))]
const SQLITE_LOCKS: (i64, i64) = (0x4000_0000, 512);

impl Fence {
    /// Puts it around the store at `path`. A file that may not be opened for
    /// writing, or whose file system knows no locks, goes without.
    ///
    /// # Errors
    /// `AppRunning` when somebody else has a lock on it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn raise(root: &Dir, kind: StoreKind, path: &RelPath) -> Result<Self, Halt> {
        use nix::errno::Errno;
        use nix::fcntl::{FcntlArg, fcntl};
        use nix::libc;

        let none = Self { _locked: None };
        let (file, (start, len)) = match kind {
            StoreKind::Sqlite => (path.clone(), SQLITE_LOCKS),
            // LevelDB locks all of it (`env_posix.cc`, `LockOrUnlock`).
            StoreKind::Leveldb => match path.join("LOCK") {
                Ok(lock) => (lock, (0, 0)),
                Err(_) => return Ok(none),
            },
            _ => return Ok(none),
        };
        if root.is_remote() || !root.exists(&file).unwrap_or(false) {
            return Ok(none);
        }
        let Ok(open) = root.append_file(&file) else { return Ok(none) };
        let lock = libc::flock {
            l_type: libc::F_WRLCK as _,
            l_whence: libc::SEEK_SET as _,
            l_start: start,
            l_len: len,
            l_pid: 0,
        };
        // Belongs to the open file, not to the process: reading the same file
        // again and closing it does not let go of it (fcntl(2)).
        match fcntl(&open, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(Self { _locked: Some(open) }),
            Err(Errno::EAGAIN | Errno::EACCES) => {
                Err(Halt::AppRunning(format!("an app has locked {file}; nothing was changed")))
            }
            Err(_) => Ok(none),
        }
    }

    /// Puts it around the store at `path`, where the system can.
    ///
    /// # Errors
    /// None here.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn raise(_root: &Dir, _kind: StoreKind, _path: &RelPath) -> Result<Self, Halt> {
        Ok(Self {})
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_comes_in_the_moment_of_the_swap_finds_its_database_busy() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().canonicalize().unwrap();
        for mode in ["DELETE", "WAL"] {
            let db = path.join(format!("{mode}.db"));
            let app = rusqlite::Connection::open(&db).unwrap();
            app.execute_batch(&format!("PRAGMA journal_mode={mode}; CREATE TABLE t(a);")).unwrap();
            drop(app);
            let (root, name) = (Dir::open(&path).unwrap(), RelPath::new(format!("{mode}.db")).unwrap());
            let fence = Fence::raise(&root, StoreKind::Sqlite, &name).unwrap();
            let app = rusqlite::Connection::open(&db).unwrap();
            app.busy_timeout(std::time::Duration::ZERO).unwrap();
            assert!(app.execute_batch("INSERT INTO t VALUES(1)").is_err(), "{mode}");
            // A look at the same file does not let go of it.
            drop(root.open_file(&name).unwrap());
            assert!(app.execute_batch("INSERT INTO t VALUES(1)").is_err(), "{mode}");
            drop(fence);
            app.execute_batch("INSERT INTO t VALUES(1)").unwrap();
        }
    }
}
