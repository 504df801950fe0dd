//! What stores are told of the entries of a folder, and listings that a walk
//! has already made: a folder of tens of thousands of files is looked at once
//! a scan, not once for every question about it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;

use super::{Kind, Meta, RelPath};

/// The part of [`Meta`] that tells whether a file is what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brief {
    pub kind: Kind,
    /// Length in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i128,
}

impl From<&Meta> for Brief {
    fn from(meta: &Meta) -> Self {
        Self { kind: meta.kind, size: meta.size, mtime_ns: meta.mtime_ns }
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub name: Box<OsStr>,
    pub meta: Brief,
}

/// The complete listings of some folders below a directory, as a walk met them.
#[derive(Debug, Default)]
pub struct Listings(HashMap<RelPath, Arc<[Named]>>);

impl Listings {
    /// Takes the entries of a folder, sorted by name.
    pub fn insert(&mut self, folder: RelPath, entries: Vec<Named>) {
        self.0.insert(folder, entries.into());
    }

    pub(super) fn get(&self, folder: &RelPath) -> Option<&Arc<[Named]>> {
        self.0.get(folder)
    }
}
