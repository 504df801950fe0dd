//! One look at a path, shared by every kind's `recognise`: what it is, how it
//! begins, and what a folder holds.

use std::io::{self, Read as _};
use std::sync::Arc;

use super::Subject;
use crate::fsys::{Kind, Meta, Named};

/// How many leading bytes of a file are looked at.
const HEAD: u64 = 4096;

/// What one look at a subject shows.
#[derive(Debug, Clone)]
pub struct Glimpse {
    /// The entry itself; a link is not followed.
    pub meta: Meta,
    /// The first bytes of a file, at most 4 KiB; empty for a folder.
    pub head: Vec<u8>,
    /// The entries of a folder, sorted by name; empty for a file.
    pub entries: Arc<[Named]>,
}

impl Glimpse {
    /// Looks at `subject`. What is neither a file nor a folder shows nothing.
    ///
    /// # Errors
    /// The system's error.
    pub fn of(subject: Subject<'_>) -> io::Result<Self> {
        let meta = subject.dir.stat(subject.path)?;
        let mut out = Self { meta, head: Vec::new(), entries: Arc::default() };
        match meta.kind {
            Kind::Dir => out.entries = subject.dir.dir(subject.path)?.listed()?,
            Kind::File => {
                subject.dir.open_file(subject.path)?.take(HEAD).read_to_end(&mut out.head)?;
            }
            Kind::Link | Kind::Other => {}
        }
        Ok(out)
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.meta.kind == Kind::Dir
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.meta.kind == Kind::File
    }

    /// The folder's entry of exactly this name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Named> {
        self.entries.binary_search_by(|e| (*e.name).cmp(name.as_ref())).ok().and_then(|i| self.entries.get(i))
    }

    /// Whether the folder has a regular file of this name.
    #[must_use]
    pub fn has_file(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|e| e.meta.kind == Kind::File)
    }

    /// Whether the folder has a folder of this name.
    #[must_use]
    pub fn has_dir(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|e| e.meta.kind == Kind::Dir)
    }
}
