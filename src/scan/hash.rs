//! Reads and hashes files on all cores.

use std::cell::RefCell;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::{FileRecord, Store};
use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, Meta};
use crate::model::{Finding, Remedy, Severity};

/// Content differs though size, times and inode do not.
pub(super) const SILENT_CHANGE: &str = "file.silent-change";
/// The file changed while it was read.
pub(super) const CHANGING: &str = "file.changing";

const BUFFER: usize = 256 * 1024;

/// From so many bytes of holes on a file is not hashed.
const HOLES: u64 = 64 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

#[derive(Default)]
pub(super) struct Hashed {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

enum Outcome {
    Hash([u8; 32]),
    /// Next to nothing is in it but holes.
    Holes,
    Changing,
    Failed(std::io::Error),
}

/// Hashes every file without a known hash; with `rehash` every file, and
/// compares with the known hash.
pub(super) fn hash(
    dir: &Dir,
    stores: &mut [Store],
    rehash: bool,
    control: &Control,
) -> Result<Hashed, Cancelled> {
    let mut work: Vec<(usize, &mut FileRecord)> = stores
        .iter_mut()
        .enumerate()
        .filter(|(_, s)| !s.unchanged)
        .flat_map(|(i, s)| s.files.iter_mut().map(move |f| (i, f)))
        .filter(|(_, f)| (rehash || f.hash.is_none()) && dir.is_here(&f.path))
        .collect();
    control.progress().stage("Reading", work.iter().map(|(_, f)| f.size).sum());
    let bytes = AtomicU64::new(0);
    let files = work.len() as u64;
    let findings: Vec<(usize, Finding)> = work
        .par_iter_mut()
        .filter_map(|(store, file)| {
            if control.is_cancelled() {
                return None;
            }
            let outcome = hash_file(dir, file).unwrap_or_else(Outcome::Failed);
            bytes.fetch_add(file.size, Ordering::Relaxed);
            control.progress().advance(file.size);
            Some((*store, settle(file, outcome)?))
        })
        .collect();
    control.safe_point()?;
    for (store, finding) in findings {
        stores[store].findings.push(finding);
    }
    Ok(Hashed { files, bytes: bytes.into_inner() })
}

/// Records the hash; the finding when something is not as it should be.
fn settle(file: &mut FileRecord, outcome: Outcome) -> Option<Finding> {
    let found = |code: &str, severity, message: String| {
        Finding::new(code, severity, Remedy::Report, message).in_file(file.path.clone())
    };
    let (hash, finding) = match outcome {
        Outcome::Hash(hash) => {
            let silent = file.hash.filter(|old| *old != hash).map(|old| {
                let message = format!(
                    "{} has other content than at the last healthy scan, but the same size and times",
                    file.path
                );
                let hex = |h: [u8; 32]| blake3::Hash::from_bytes(h).to_hex()[..16].to_owned();
                found(SILENT_CHANGE, Severity::Error, message).expected_found(hex(old), hex(hash))
            });
            (Some(hash), silent)
        }
        Outcome::Holes => (None, None),
        Outcome::Changing => {
            (None, Some(found(CHANGING, Severity::Info, format!("{} changed while it was read", file.path))))
        }
        Outcome::Failed(e) => {
            let message = format!("{} could not be read: {e}", file.path);
            (None, Some(found(super::UNREADABLE, Severity::Error, message)))
        }
    };
    file.hash = hash;
    finding
}

fn hash_file(dir: &Dir, record: &FileRecord) -> std::io::Result<Outcome> {
    let mut file = dir.open_file(&record.path)?;
    // A terabyte of holes takes no room on the disk and minutes to hash; its
    // size and time tell enough of it.
    if !dir.is_remote() {
        let now = Meta::of(&file)?;
        if now.size.saturating_sub(now.allocated) >= HOLES {
            return Ok(Outcome::Holes);
        }
    }
    let mut hasher = blake3::Hasher::new();
    let read = SCRATCH.with_borrow_mut(|buffer| -> std::io::Result<u64> {
        let mut read = 0;
        while read <= record.size {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    read += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(read)
    })?;
    // The length tells of growth and cuts; a write of the same length shows in the time.
    if read != record.size || Meta::of(&file)?.mtime_ns != record.mtime_ns {
        return Ok(Outcome::Changing);
    }
    Ok(Outcome::Hash(*hasher.finalize().as_bytes()))
}
