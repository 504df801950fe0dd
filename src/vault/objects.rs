//! Copies of files, named by the BLAKE3 of their content.
//!
//! A copy is written under a temporary name, made durable, read back from the
//! medium and hashed again, and only then gets its name. What is there
//! already is verified before it is relied on.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StateDir;
use super::state::rel;
use crate::fsys::{
    Dir, Ident, Kind, Meta, RelPath, WrongOrder, copy_hashed, forget_cached, hash_file, sync_file,
    wrong_order,
};

/// So many new copies wait to be made durable together.
const BATCH: usize = 128;
/// From so many on, one sync of the whole file system is cheaper than one each.
const MANY: usize = 16;

/// Names under which copies are written are never the same twice in one
/// process: what one store leaves must not be in the way of the next.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// The folder of copies.
#[derive(Debug)]
pub struct Objects {
    dir: Dir,
    tmp: Dir,
    staged: Vec<Staged>,
}

/// What was copied of a store that is then left alone is no copy of anything.
impl Drop for Objects {
    fn drop(&mut self) {
        self.discard();
    }
}

#[derive(Debug)]
struct Staged {
    name: RelPath,
    file: File,
    hash: blake3::Hash,
    size: u64,
    ident: Ident,
}

/// What was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    pub hash: blake3::Hash,
    pub size: u64,
}

/// What is wrong with a copy.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    #[error("the copy is missing")]
    Missing,
    #[error("the copy's content has changed: its hash is {found}")]
    Content {
        /// BLAKE3 of what is there.
        found: blake3::Hash,
    },
    #[error("the copy cannot be read: {0}")]
    Read(#[from] io::Error),
}

impl Objects {
    /// Opens the vault of a state folder.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(state: &StateDir) -> io::Result<Self> {
        Ok(Self {
            dir: state.dir().dir(&rel("vault/objects")?)?,
            tmp: state.dir().dir(&rel("vault/tmp")?)?,
            staged: Vec::new(),
        })
    }

    /// Removes what an interrupted run left half-written. Only under the lock.
    ///
    /// # Errors
    /// The system's error.
    pub fn clean_up(&self) -> io::Result<()> {
        for entry in self.tmp.list()? {
            self.tmp.unlink(&rel(&entry.name)?, entry.meta.ident())?;
        }
        Ok(())
    }

    /// Copies a file's content in, from its beginning. The copy may be relied
    /// on only after [`Objects::finish`].
    ///
    /// # Errors
    /// The system's error, also when it grows beyond `limit` bytes meanwhile.
    pub fn put(&mut self, source: &mut File, limit: u64) -> io::Result<Put> {
        use std::io::Seek as _;
        source.rewind()?;
        let sparse = Meta::of(source).is_ok_and(|m| m.allocated < m.size);
        let (name, mut file) = self.create()?;
        let ident = Meta::of(&file)?.ident();
        let done = copy_hashed(source, &mut file, sparse, limit.saturating_add(1));
        let done = match done {
            Ok(done) if done.size <= limit => done,
            other => {
                let _leftover_is_removed_at_the_next_start = self.tmp.unlink(&name, ident);
                return Err(other.err().unwrap_or_else(|| io::Error::other("it grows while it is copied")));
            }
        };
        self.staged.push(Staged { name, file, hash: done.blake3, size: done.size, ident });
        if self.staged.len() >= BATCH {
            self.finish()?;
        }
        Ok(Put { hash: done.blake3, size: done.size })
    }

    /// A new file under a name that is free. Processes of another PID
    /// namespace may have the same number.
    fn create(&self) -> io::Result<(RelPath, File)> {
        loop {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let name = rel(format!("{}-{serial}", std::process::id()))?;
            match self.tmp.create_file(&name, 0o600) {
                Ok(file) => return Ok((name, file)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Removes what was put in and not finished.
    fn discard(&mut self) {
        for one in std::mem::take(&mut self.staged) {
            let _leftover_is_removed_at_the_next_start = self.tmp.unlink(&one.name, one.ident);
        }
    }

    /// Makes all copies durable, reads them back and gives them their names.
    ///
    /// # Errors
    /// The system's error, also when what comes back is not what was written.
    pub fn finish(&mut self) -> io::Result<()> {
        let staged = std::mem::take(&mut self.staged);
        let result = self.finish_all(&staged);
        if result.is_err() {
            for one in &staged {
                let _leftover_is_removed_at_the_next_start = self.tmp.unlink(&one.name, one.ident);
            }
        }
        result
    }

    fn finish_all(&self, staged: &[Staged]) -> io::Result<()> {
        if staged.is_empty() {
            return Ok(());
        }
        if wrong_order(WrongOrder::CopiesUnsynced) {
            // Only the tests of the sweep ask for this.
        } else if staged.len() < MANY || !synced_together(&self.tmp)? {
            for one in staged {
                sync_file(&one.file)?;
            }
        }
        let mut folders: Vec<RelPath> = Vec::new();
        for one in staged {
            if !wrong_order(WrongOrder::CopiesUnsynced) {
                forget_cached(&one.file);
            }
            let back = hash_file(&mut one.file.try_clone()?, u64::MAX)?;
            if (back.blake3, back.size) != (one.hash, one.size) {
                return Err(io::Error::other("a copy reads back differently than it was written"));
            }
            let (folder, path) = place(&one.hash)?;
            self.dir.make_dirs(&folder)?;
            match self.check(&one.hash) {
                Ok(_) => self.tmp.unlink(&one.name, one.ident)?,
                // A damaged object is replaced by the sound one of that name.
                Err(Wrong::Content { .. } | Wrong::Read(_)) => {
                    self.tmp.rename_over(&one.name, &self.dir, &path)?;
                }
                Err(Wrong::Missing) => self.tmp.rename_new(&one.name, &self.dir, &path)?,
            }
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        if folders.len() >= MANY && synced_together(&self.dir)? {
            return Ok(());
        }
        folders.iter().try_for_each(|folder| self.dir.dir(folder)?.sync())?;
        // A folder that was there may have been made by a run that was killed.
        self.dir.sync()
    }

    /// Reads a copy through and compares it with its name; gives its size.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn check(&self, hash: &blake3::Hash) -> Result<u64, Wrong> {
        let mut file = self.open_object(hash)?;
        forget_cached(&file);
        let found = hash_file(&mut file, u64::MAX)?;
        if found.blake3 == *hash { Ok(found.size) } else { Err(Wrong::Content { found: found.blake3 }) }
    }

    /// Opens a copy for reading; the reader compares the hash.
    ///
    /// # Errors
    /// [`Wrong::Missing`] or [`Wrong::Read`].
    pub fn open_object(&self, hash: &blake3::Hash) -> Result<File, Wrong> {
        let (_, path) = place(hash)?;
        self.dir.open_file(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Wrong::Missing,
            _ => Wrong::Read(e),
        })
    }

    /// Every copy with its size; what has another name is not ours and is
    /// left out.
    ///
    /// # Errors
    /// The system's error.
    pub fn all(&self) -> io::Result<Vec<(blake3::Hash, u64)>> {
        let mut out = Vec::new();
        for folder in self.dir.list()?.into_iter().filter(|e| e.meta.kind == Kind::Dir) {
            for entry in self.dir.dir(&rel(&folder.name)?)?.list()? {
                if let Some(hash) = named(&folder.name, &entry.name) {
                    out.push((hash, entry.meta.size));
                }
            }
        }
        Ok(out)
    }

    /// Deletes a copy for good; gives the bytes freed.
    ///
    /// # Errors
    /// The system's error.
    pub fn remove(&self, hash: &blake3::Hash) -> io::Result<u64> {
        let (folder, path) = place(hash)?;
        let meta = self.dir.stat(&path)?;
        self.dir.unlink(&path, meta.ident())?;
        self.dir.dir(&folder)?.sync()?;
        Ok(meta.allocated)
    }

    /// Whether the vault is on the file system of `dir`.
    ///
    /// # Errors
    /// The system's error.
    pub fn device(&self) -> io::Result<u64> {
        Ok(self.dir.meta()?.dev)
    }
}

/// Where the copy of that content is, below the state folder.
#[must_use]
pub fn object_path(hash: &str) -> String {
    format!("vault/objects/{}/{hash}", hash.get(..2).unwrap_or_default())
}

fn place(hash: &blake3::Hash) -> io::Result<(RelPath, RelPath)> {
    let hex = hash.to_hex();
    let folder = rel(hex.get(..2).unwrap_or_default())?;
    let path = folder.join(hex.as_str()).map_err(io::Error::other)?;
    Ok((folder, path))
}

fn named(folder: &OsStr, name: &OsStr) -> Option<blake3::Hash> {
    let (folder, name) = (folder.to_str()?, name.to_str()?);
    let hash = blake3::Hash::from_hex(name).ok()?;
    (name.starts_with(folder) && hash.to_hex().as_str() == name).then_some(hash)
}

/// Whether one call made everything durable; `false` where there is none.
fn synced_together(dir: &Dir) -> io::Result<bool> {
    match dir.sync_file_system() {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn vault() -> (tempfile::TempDir, PathBuf, Objects) {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().canonicalize().unwrap().join("state");
        let objects = Objects::open(&StateDir::open(&path).unwrap()).unwrap();
        (tmp, path, objects)
    }

    fn file(tmp: &tempfile::TempDir, content: &[u8]) -> File {
        let path = tmp.path().join("source");
        std::fs::write(&path, content).unwrap();
        File::open(path).unwrap()
    }

    #[test]
    fn the_same_content_is_kept_once_and_verified() {
        let (tmp, state, mut objects) = vault();
        for _ in 0..2 {
            let put = objects.put(&mut file(&tmp, b"content"), 100).unwrap();
            objects.finish().unwrap();
            assert_eq!(put, Put { hash: blake3::hash(b"content"), size: 7 });
            assert_eq!(objects.check(&put.hash).unwrap(), 7);
        }
        let hash = blake3::hash(b"content");
        assert_eq!(objects.all().unwrap(), [(hash, 7)]);
        assert_eq!(std::fs::read_dir(state.join("vault/tmp")).unwrap().count(), 0);

        // A copy that went bad is noticed, and made good by the next one.
        let path = state.join(object_path(&hash.to_string()));
        std::fs::write(&path, b"Content").unwrap();
        assert!(matches!(objects.check(&hash), Err(Wrong::Content { .. })));
        objects.put(&mut file(&tmp, b"content"), 100).unwrap();
        objects.finish().unwrap();
        assert_eq!(objects.check(&hash).unwrap(), 7);
        let room = objects.dir.stat(&place(&hash).unwrap().1).unwrap().allocated;
        assert_eq!(objects.remove(&hash).unwrap(), room);
        assert!(matches!(objects.check(&hash), Err(Wrong::Missing)));
    }

    #[test]
    fn what_one_store_leaves_unfinished_is_not_in_the_way_of_the_next() {
        let (tmp, state, mut first) = vault();
        first.put(&mut file(&tmp, b"of a store that changed meanwhile"), 100).unwrap();
        let mut second = Objects::open(&StateDir::open(&state).unwrap()).unwrap();
        second.put(&mut file(&tmp, b"of the next one"), 100).unwrap();
        drop(first);
        second.finish().unwrap();
        assert_eq!(second.all().unwrap().len(), 1);
        assert_eq!(std::fs::read_dir(state.join("vault/tmp")).unwrap().count(), 0);
    }

    #[test]
    fn many_at_once() {
        let (tmp, _, mut objects) = vault();
        for i in 0..300u32 {
            objects.put(&mut file(&tmp, &i.to_le_bytes()), 100).unwrap();
        }
        objects.finish().unwrap();
        assert_eq!(objects.all().unwrap().len(), 300);
        for (hash, _) in objects.all().unwrap() {
            objects.check(&hash).unwrap();
        }
    }

    #[test]
    fn a_failure_at_any_point_leaves_no_wrong_copy_and_the_next_try_works() {
        use crate::fsys::{Fault, fault_count, with_faults};
        let (tmp, state, mut objects) = vault();
        let content = b"some content";
        let count = with_faults(Fault::Never, || {
            objects.put(&mut file(&tmp, content), 100).unwrap();
            objects.finish().unwrap();
            fault_count()
        });
        assert!(count >= 6, "{count}");
        for n in 1..=count {
            for fault in [Fault::Once(n, 28), Fault::From(n)] {
                let vault = StateDir::open(&state).unwrap();
                crate::fsys::remove_tree(vault.dir(), &rel("vault").unwrap()).unwrap();
                objects = Objects::open(&StateDir::open(&state).unwrap()).unwrap();
                let failed = with_faults(fault, || {
                    objects.put(&mut file(&tmp, content), 100).and_then(|_| objects.finish())
                });
                assert!(failed.is_err(), "{n}");
                for (hash, _) in objects.all().unwrap() {
                    objects.check(&hash).unwrap();
                }
            }
            objects = Objects::open(&StateDir::open(&state).unwrap()).unwrap();
            objects.clean_up().unwrap();
            objects.put(&mut file(&tmp, content), 100).unwrap();
            objects.finish().unwrap();
            assert_eq!(objects.all().unwrap().len(), 1);
        }
    }

    #[test]
    fn what_grows_without_end_is_cut_off() {
        let (tmp, state, mut objects) = vault();
        assert!(objects.put(&mut file(&tmp, &[1; 50]), 49).is_err());
        assert_eq!(std::fs::read_dir(state.join("vault/tmp")).unwrap().count(), 0);
    }
}
