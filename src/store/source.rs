//! One file of a store, open for reading, with a bound on its length and a
//! way to tell that it changed underneath.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Take};

use super::StoreError;
use crate::fsys::{Dir, Meta, RelPath, shown};

/// An open file of a store.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    meta: Meta,
    shown: String,
}

impl Source {
    /// Opens the file; `None` when there is no such name.
    ///
    /// # Errors
    /// [`StoreError::Read`] for whatever else keeps it from being opened.
    pub(super) fn open(dir: &Dir, path: &RelPath) -> Result<Option<Self>, StoreError> {
        let name = shown(&dir.path().join(path.as_path()));
        let file = match dir.open_file(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Read { path: name, source }),
        };
        match Meta::of(&file) {
            Ok(meta) => Ok(Some(Self { file, meta, shown: name })),
            Err(source) => Err(StoreError::Read { path: name, source }),
        }
    }

    /// Opens the file, which must be there.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub(super) fn must(dir: &Dir, path: &RelPath) -> Result<Self, StoreError> {
        Self::open(dir, path)?.ok_or_else(|| StoreError::Read {
            path: shown(&dir.path().join(path.as_path())),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// Its length when it was opened, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.meta.size
    }

    /// Refuses a file longer than `max` bytes.
    ///
    /// # Errors
    /// [`StoreError::Limit`].
    pub(super) fn at_most(&self, max: u64) -> Result<(), StoreError> {
        if self.meta.size <= max {
            return Ok(());
        }
        Err(StoreError::Limit { path: self.shown.clone(), limit: format!("{max} bytes in one file") })
    }

    /// Its bytes from the present position, no more than it had when opened.
    pub(super) fn reader(&self) -> BufReader<Take<&File>> {
        BufReader::with_capacity(64 * 1024, (&self.file).take(self.meta.size))
    }

    /// The file itself, for reading at positions.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// All of it, at most `max` bytes.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when it is longer, [`StoreError::Read`].
    pub(super) fn bytes(&self, max: u64) -> Result<Vec<u8>, StoreError> {
        self.at_most(max)?;
        let mut out = Vec::new();
        self.reader().read_to_end(&mut out).map_err(|e| self.error(e))?;
        Ok(out)
    }

    /// A read error of this file.
    pub(super) fn error(&self, source: io::Error) -> StoreError {
        StoreError::Read { path: self.shown.clone(), source }
    }

    /// That the file did not change since it was opened.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when its length or time differ now.
    pub(super) fn unchanged(&self) -> Result<(), StoreError> {
        let now = Meta::of(&self.file).map_err(|e| self.error(e))?;
        if now.size == self.meta.size && now.mtime_ns == self.meta.mtime_ns {
            return Ok(());
        }
        Err(StoreError::Busy { path: self.shown.clone() })
    }
}
