//! Trees on unix.

use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::Facts;

pub(super) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap()
}

/// A path that is taken as it is written.
pub(super) fn exact(path: &Path) -> PathBuf {
    path.to_path_buf()
}

pub(super) fn name(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

pub(super) fn link(target: &Path, at: &Path) {
    symlink(target, at).unwrap();
}

pub(super) fn fifo(at: &Path) {
    // Not every system lets it be made by a call that is at hand.
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(at).status();
    assert!(made.unwrap().success());
}

pub(super) fn is_fifo(kind: FileType) -> bool {
    kind.is_fifo()
}

pub(super) fn set_mode(at: &Path, mode: u32) {
    fs::set_permissions(at, fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn set_mtime(path: &Path, ns: u64) {
    let time = Timespec { tv_sec: (ns / 1_000_000_000) as _, tv_nsec: (ns % 1_000_000_000) as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(super) fn facts(path: &Path, meta: &Metadata) -> Facts {
    let plain = meta.is_file() || meta.is_dir();
    Facts {
        mtime_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        links: meta.nlink(),
        ident: (meta.dev(), meta.ino()),
        xattrs: if plain { xattrs(path) } else { Vec::new() },
    }
}

fn xattrs(path: &Path) -> Vec<(OsString, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let Ok(n) = rustix::fs::llistxattr(path, names.as_mut_slice()) else { return Vec::new() };
    let mut out = Vec::new();
    for name in names[..n].split(|&b| b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 65536];
        if let Ok(n) = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()) {
            value.truncate(n);
            out.push((OsStr::from_bytes(name).to_owned(), value));
        }
    }
    out.sort();
    out
}
