//! Trees on Windows.

use std::ffi::OsString;
use std::fs::{self, FileTimes, FileType, Metadata, OpenOptions};
use std::os::windows::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Facts;

/// `FILE_WRITE_ATTRIBUTES`: also allowed where writing is not.
const WRITE_ATTRIBUTES: u32 = 0x100;
/// `FILE_FLAG_BACKUP_SEMANTICS`: folders too.
const FOLDERS_TOO: u32 = 0x0200_0000;
/// Read-only, hidden, system, archive, not indexed: what an undo brings back.
const KEPT: u32 = 0x1 | 0x2 | 0x4 | 0x20 | 0x2000;

/// As people write it.
pub(super) fn real(path: &Path) -> PathBuf {
    let path = path.canonicalize().unwrap().display().to_string();
    PathBuf::from(path.strip_prefix(r"\\?\").unwrap_or(&path))
}

/// A path that is taken as it is written.
pub(super) fn exact(path: &Path) -> PathBuf {
    let path = path.display().to_string().replace('/', r"\");
    if path.starts_with(r"\\?\") { path.into() } else { format!(r"\\?\{path}").into() }
}

pub(super) fn name(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).replace(|c: char| c.is_control() || "<>\"|?*:\\/".contains(c), "_").into()
}

pub(super) fn link(_target: &Path, _at: &Path) {}

pub(super) fn fifo(_at: &Path) {}

pub(super) fn is_fifo(_kind: FileType) -> bool {
    false
}

pub(super) fn set_mode(at: &Path, mode: u32) {
    if !at.is_dir() {
        let mut permissions = fs::metadata(at).unwrap().permissions();
        permissions.set_readonly(mode & 0o200 == 0);
        fs::set_permissions(at, permissions).unwrap();
    }
}

pub(super) fn set_mtime(path: &Path, ns: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
    let file = OpenOptions::new().access_mode(WRITE_ATTRIBUTES).custom_flags(FOLDERS_TOO).open(path).unwrap();
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
}

pub(super) fn facts(_path: &Path, meta: &Metadata) -> Facts {
    Facts {
        mtime_ns: i128::from(meta.last_write_time()) * 100 - 11_644_473_600_000_000_000,
        mode: meta.file_attributes() & KEPT,
        owner: (0, 0),
        links: 1,
        ident: (0, 0),
        xattrs: Vec::new(),
    }
}
