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
            slot.insert(Volume::of(root, &space));
        }
    }
    seen.into_values().collect()
}

impl Volume {
    /// Judges how much room there is.
    #[must_use]
    pub fn of(path: &Path, space: &Space) -> Self {
        let mut problems = Vec::new();
        if space.read_only {
            problems.push("mounted read-only: apps cannot save and nothing can be repaired".to_owned());
        }
        if space.free < LOW_BYTES {
            let free = bytesize::ByteSize::b(space.free).display().iec();
            problems.push(format!("only {free} free: apps fail to save below about 500 MiB"));
        }
        if let Some(left) = space.free_files.filter(|n| *n < LOW_INODES) {
            problems.push(format!("only {left} more files can be made"));
        }
        Self {
            path: path.to_path_buf(),
            total_bytes: space.total,
            free_bytes: space.free,
            free_inodes: space.free_files,
            read_only: space.read_only,
            problems,
        }
    }
}
