//! Where contents of a device's files lie on this machine for as long as they
//! are looked at: a private folder, under names of our own, bounded in size.

use std::collections::HashMap;
use std::fs::{File, FileTimes};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::bytes::bytes;
use super::records::{self, Magic};
use crate::fsys::{Dir, Meta};

/// No more than this lies here at any time.
const MOST: u64 = 16 << 30;
/// So much of the disk is left to others.
const SPARE: u64 = 64 << 20;
/// How much of a beginning is remembered.
const HEAD: usize = 16;

/// Contents of a device's files.
#[derive(Debug)]
pub(crate) struct Mirror {
    folder: tempfile::TempDir,
    files: HashMap<PathBuf, (PathBuf, u64)>,
    bytes: u64,
    number: u64,
}

/// A file that is being received.
#[derive(Debug)]
pub(crate) struct Taken {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Taken {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

impl Mirror {
    /// A new, empty one below a folder that is this user's alone.
    pub(crate) fn new(below: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mirror-").tempdir_in(below)?;
        Ok(Self { folder, files: HashMap::new(), bytes: 0, number: 0 })
    }

    /// Refuses what would not fit.
    pub(crate) fn has_room(&self, size: u64) -> io::Result<()> {
        let free = Dir::open(self.folder.path()).and_then(|d| d.space()).map_or(u64::MAX, |s| s.free);
        if self.bytes.saturating_add(size) > MOST || size.saturating_add(SPARE) > free {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "too little room here for what the device holds",
            ));
        }
        Ok(())
    }

    /// Begins to receive one file after the other.
    pub(crate) fn begin(&mut self) -> io::Result<Taken> {
        self.number += 1;
        let path = self.folder.path().join(self.number.to_string());
        Ok(Taken { file: File::create_new(&path)?, path, size: 0 })
    }

    /// Ends one file: it is kept when it came whole. The next one begins.
    pub(crate) fn end(&mut self, taken: &mut Taken, of: &Path, meta: &Meta, whole: bool) -> io::Result<()> {
        let next = self.begin()?;
        let done = std::mem::replace(taken, next);
        if !whole || done.size != meta.size {
            return std::fs::remove_file(&done.path);
        }
        // Who reads it compares this with what was listed.
        if let Some(time) = time(meta.mtime_ns) {
            done.file.set_times(FileTimes::new().set_modified(time))?;
        }
        self.bytes += done.size;
        if let Some((old, size)) = self.files.insert(of.to_path_buf(), (done.path, done.size)) {
            self.bytes = self.bytes.saturating_sub(size);
            std::fs::remove_file(old)?;
        }
        Ok(())
    }

    pub(crate) fn has(&self, of: &Path) -> bool {
        self.files.contains_key(of)
    }

    /// Opens a content; unless it is kept, it is gone from here then.
    pub(crate) fn open(&mut self, of: &Path, keep: bool) -> io::Result<Option<File>> {
        let Some((path, size)) = self.files.get(of).cloned() else { return Ok(None) };
        let file = File::open(&path)?;
        if !keep {
            self.files.remove(of);
            self.bytes = self.bytes.saturating_sub(size);
            std::fs::remove_file(&path)?;
        }
        Ok(Some(file))
    }

    /// Where a content lies.
    pub(crate) fn path(&self, of: &Path) -> Option<&Path> {
        self.files.get(of).map(|(path, _)| path.as_path())
    }

    /// How a content begins.
    pub(crate) fn head(&self, of: &Path) -> Option<Vec<u8>> {
        let (path, _) = self.files.get(of)?;
        let mut head = Vec::new();
        File::open(path).ok()?.take(HEAD as u64).read_to_end(&mut head).ok()?;
        Some(head)
    }

    /// Throws everything away.
    pub(crate) fn clear(&mut self) {
        for (_, (path, _)) in self.files.drain() {
            // What stays goes with the folder.
            let _ = std::fs::remove_file(path);
        }
        self.bytes = 0;
    }
}

/// A time of a file, where this machine can express it.
pub(super) fn time(ns: i128) -> Option<SystemTime> {
    let size = |ns: i128| u64::try_from(ns).ok().map(Duration::from_nanos);
    if ns >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(size(ns)?)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(size(-ns)?)
    }
}

/// How files begin that earlier scans read: so that an unchanged file need not
/// be read again only to tell what it is.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    known: HashMap<Key, Vec<u8>>,
    used: HashMap<Key, Vec<u8>>,
}

/// What [`Heads::save`] writes before everything else.
const MAGIC: Magic = *b"heads 2\n";
/// A key, a length, and a beginning.
const RECORD: usize = 16 + 1 + HEAD;
/// More files than any device has.
const MAX_HEADS: usize = 1_000_000;

impl Heads {
    /// What was saved; nothing when it is not there or not to be understood.
    pub(crate) fn load(from: &Path) -> Self {
        let mut out = Self::default();
        for record in records::load(from, MAGIC, RECORD, MAX_HEADS).chunks_exact(RECORD) {
            if let Some((key, [length, head @ ..])) = record.split_first_chunk::<16>() {
                out.known.insert(*key, head.get(..usize::from(*length)).unwrap_or_default().to_vec());
            }
        }
        out
    }

    /// Keeps what this scan met; what it did not meet is forgotten.
    pub(crate) fn save(&self, to: &Path) -> io::Result<()> {
        let mut out = Vec::new();
        for (key, head) in self.used.iter().take(MAX_HEADS) {
            out.extend(key);
            out.push(head.len().min(HEAD) as u8);
            let mut fixed = head.clone();
            fixed.resize(HEAD, 0);
            out.extend(fixed);
        }
        records::save(to, MAGIC, &out)
    }

    pub(crate) fn get(&self, path: &Path, meta: &Meta) -> Option<&[u8]> {
        let key = key(path, meta);
        self.used.get(&key).or_else(|| self.known.get(&key)).map(Vec::as_slice)
    }

    pub(crate) fn set(&mut self, path: &Path, meta: &Meta, head: &[u8]) {
        self.used.insert(key(path, meta), head.to_vec());
    }

    /// Counts a known one as met.
    pub(crate) fn keep(&mut self, path: &Path, meta: &Meta) {
        let key = key(path, meta);
        if let Some(head) = self.known.get(&key).cloned() {
            self.used.entry(key).or_insert(head);
        }
    }
}

/// What stands for an unchanged file of the device.
pub(super) type Key = [u8; 16];

/// Stands for an unchanged file of the device: its path, size, times and inode.
pub(super) fn key(path: &Path, meta: &Meta) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes(path));
    hasher.update(&[0]);
    for number in [i128::from(meta.size), meta.mtime_ns, meta.ctime_ns, i128::from(meta.ino)] {
        hasher.update(&number.to_le_bytes());
    }
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    out
}
