//! What of the device itself makes apps fail: full disks, no inodes left,
//! file systems mounted read-only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::fsys::{Dir, Space};

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
        // A device's own problems are looked for elsewhere.
        if crate::fsys::is_remote(root) {
            continue;
        }
        let Ok(dir) = Dir::open(root) else { continue };
        let Ok(meta) = dir.meta() else { continue };
        if let std::collections::btree_map::Entry::Vacant(slot) = seen.entry(meta.dev)
            && let Ok(space) = dir.space()
        {
            slot.insert(volume(root, space));
        }
    }
    seen.into_values().collect()
}

fn volume(path: &Path, space: Space) -> Volume {
    let Space { free: free_bytes, total: total_bytes, free_files: free_inodes, read_only } = space;
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
    Volume { path: path.to_path_buf(), total_bytes, free_bytes, free_inodes, read_only, problems }
}
