//! Locks on files, asked for and never taken: whoever holds one has the file
//! in use, in whatever namespace it runs.
//!
//! SQLite locks bytes from 0x40000000 on of the database and from 120 on of
//! its `-shm` (<https://sqlite.org/src/file/src/os_unix.c>, "Posix Advisory
//! Locking"); LevelDB its whole `LOCK`; Firefox its whole `.parentlock`.

use std::fs::File;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::Running;
use crate::fsys::{Dir, RelPath};

/// Those who hold a lock on one of the files. What cannot be opened has no
/// lock that could be asked for.
pub(super) fn held(files: &[(PathBuf, RelPath)]) -> Option<Running> {
    let mut open: Option<(PathBuf, Dir)> = None;
    for (root, path) in files {
        if open.as_ref().is_none_or(|(at, _)| at != root) {
            open = Dir::open(root).ok().map(|dir| (root.clone(), dir));
        }
        let Some(file) = open.as_ref().and_then(|(_, dir)| dir.open_file(path).ok()) else { continue };
        let Some(pid) = holder(&file) else { continue };
        if pid == std::process::id() {
            continue;
        }
        let name = super::super::name_of(pid).unwrap_or_else(|| "a program".to_owned());
        return Some(Running { pid, name, holds: Some(root.join(path.as_path())) });
    }
    None
}

/// Who holds a lock on any byte of a file; 0 for one who cannot be named.
fn holder(file: &File) -> Option<u32> {
    let mut lock = whole(libc::F_WRLCK as _);
    fcntl(file, FcntlArg::F_GETLK(&mut lock)).ok()?;
    let locked = i32::from(lock.l_type) != i32::from(libc::F_UNLCK as libc::c_short);
    locked.then(|| u32::try_from(lock.l_pid).unwrap_or(0))
}

/// A lock on every byte.
fn whole(kind: libc::c_short) -> libc::flock {
    libc::flock { l_type: kind, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 }
}
