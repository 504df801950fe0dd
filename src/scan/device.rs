//! What of the device itself makes apps fail: full disks, no inodes left,
//! file systems mounted read-only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A file system that targets lie on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// One of the folders on it.
    pub path: PathBuf,
    pub total_bytes: u64,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Files that may still be made; `None` where the file system has no limit.
    pub free_inodes: Option<u64>,
    pub read_only: bool,
    /// Sentences for a person; empty when all is well.
    pub problems: Vec<String>,
}

/// Below this, apps begin to fail in odd ways.
const LOW_BYTES: u64 = 500 * 1024 * 1024;
const LOW_INODES: u64 = 5_000;

/// The file systems that `roots` lie on, each once.
pub fn volumes<'a>(roots: impl Iterator<Item = &'a Path>) -> Vec<Volume> {
    let mut seen = BTreeMap::new();
    for root in roots {
        let Ok(stat) = rustix::fs::stat(root) else { continue };
        if let std::collections::btree_map::Entry::Vacant(slot) = seen.entry(stat.st_dev)
            && let Ok(fs) = rustix::fs::statvfs(root)
        {
            slot.insert(volume(root, &fs));
        }
    }
    seen.into_values().collect()
}

fn volume(path: &Path, fs: &rustix::fs::StatVfs) -> Volume {
    let free_bytes = fs.f_bavail.saturating_mul(fs.f_frsize);
    let free_inodes = (fs.f_files > 0).then_some(fs.f_favail);
    let read_only = fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    let mut problems = Vec::new();
    if read_only {
        problems.push("mounted read-only: apps cannot save and nothing can be repaired".to_owned());
    }
    if free_bytes < LOW_BYTES {
        let free = bytesize::ByteSize::b(free_bytes).display().iec();
        problems.push(format!("only {free} free: apps fail to save below about 500 MiB"));
    }
    if free_inodes.is_some_and(|n| n < LOW_INODES) {
        problems.push(format!("only {} more files can be made", free_inodes.unwrap_or(0)));
    }
    Volume {
        path: path.to_path_buf(),
        total_bytes: fs.f_blocks.saturating_mul(fs.f_frsize),
        free_bytes,
        free_inodes,
        read_only,
        problems,
    }
}
