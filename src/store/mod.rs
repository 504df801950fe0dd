//! One file per store kind: recognise it by content, check it, rebuild it. What
//! a kind offers, and the table of all, is `format.rs`; what a path holds when
//! its first bytes do not say so is `identify.rs`.
//!
//! Checks never write. A rebuild reads a private copy of the store and writes
//! a new one; putting it in place is the repair stage's work.

pub mod blockfile;
pub mod cache_storage;
pub mod disk_lru;
pub mod entries;
pub mod exo;
pub mod firefox_cache;
pub mod foreign;
mod format;
pub mod fresco;
mod glimpse;
pub mod identify;
pub mod inside;
pub mod json;
pub mod keva;
pub mod leveldb;
mod lookup2;
mod lz4;
pub mod media;
pub mod media_loader;
pub mod mmkv;
mod pages;
pub mod plist;
mod read_at;
pub mod salvage;
pub mod shared_prefs;
pub mod simple_cache;
mod source;
pub mod sql_cache;
pub mod sqlite;
mod tally;

#[cfg(test)]
mod damage;
#[cfg(test)]
mod real_files;

use std::io;
use std::path::Path;

pub use entries::{CacheEntries, CacheEntry, Clearable};
pub use foreign::{Family, Foreign, may_hold_store};
use format::{Format, Shape};
pub use format::{check, entries, rebuild, recognise, recognise_alone};
pub use glimpse::Glimpse;
pub use identify::{By, Identity, Part, filled_with, identify, part_of};
pub use lookup2::lookup2;
/// What the baseline remembers of a healthy database, so that a later salvage
/// knows what it lost.
pub use shopmend_sqlite::Facts as SqliteFacts;

use serde::{Deserialize, Serialize};

use crate::control::{Cancelled, Control};
use crate::fsys::{Dir, Named, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind, Verdict};

/// Where a store lies: a file or folder below an open directory.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The directory that the path is relative to.
    pub dir: &'a Dir,
    /// The store itself.
    pub path: &'a RelPath,
}

impl Subject<'_> {
    /// Its path made safe to print, for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        crate::fsys::shown(&self.dir.path().join(self.path.as_path()))
    }

    /// The path of `file` inside the store, for messages.
    #[must_use]
    pub fn shown_file(&self, file: &RelPath) -> String {
        crate::fsys::shown(&self.dir.path().join(self.path.as_path()).join(file.as_path()))
    }

    /// The entries of a folder of the store (the root for the store itself), in
    /// order, each with its path inside the store.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn listed(&self, folder: &RelPath) -> Result<Vec<(RelPath, Named)>, StoreError> {
        let below = || -> io::Result<Vec<_>> {
            let listed = self.dir.dir(&self.path.join_rel(folder))?.listed()?;
            let with_path = |e: &Named| Ok((folder.join(&e.name).map_err(io::Error::other)?, e.clone()));
            listed.iter().map(with_path).collect()
        };
        below().map_err(|e| self.read_error(folder, e))
    }

    /// A reading error on `file` inside the store (the root for the store itself).
    pub fn read_error(&self, file: &RelPath, source: io::Error) -> StoreError {
        let path = if file.is_root() { self.shown() } else { self.shown_file(file) };
        StoreError::Read { path, source }
    }
}

/// How much a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Structure: headers, indexes, lengths.
    Fast,
    /// Every checksum and every page.
    Deep,
}

/// How much of a store a check could vouch for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Bytes of the store that were read.
    pub bytes_seen: u64,
    /// Bytes under a checksum, or under a structure rule that pins them, that held.
    pub bytes_verified: u64,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What the store turned out to be.
    pub kind: StoreKind,
    /// What is wrong with it; empty when sound.
    pub findings: Vec<Finding>,
    /// How much was vouched for.
    pub coverage: Coverage,
    /// What proved it, for the report: `leveldb block checksums`, `sqlite single pass`.
    pub method: String,
    /// Which method proved what; empty for kinds that have one method, and for damaged stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proved: Vec<Proof>,
    /// What could not be checked, with the reason; a person reads it.
    pub not_checked: Vec<String>,
    /// What a later rebuild wants to know of the healthy store; `Null` for
    /// kinds that have nothing. For a database: [`SqliteFacts`] as JSON.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub facts: serde_json::Value,
}

/// Findings that say why the content could not be judged.
const UNJUDGED: [&str; 1] = ["sqlite.encrypted"];

impl Check {
    /// What the findings come to; the worst decides.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.findings.iter().map(|f| f.severity).max() {
            Some(Severity::Error) => Verdict::Damaged,
            _ if self.findings.iter().any(|f| UNJUDGED.contains(&f.code.as_str())) => Verdict::Unknown,
            Some(Severity::Warning) => Verdict::Stale,
            Some(Severity::Info) | None => Verdict::Healthy,
        }
    }
}

/// What one method proved of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The method, for a person.
    pub by: String,
    /// What it vouches for: parts of the store by name.
    pub of: Vec<String>,
}

impl Proof {
    /// Most parts that a line for a person names.
    const NAMED: usize = 4;

    pub(crate) fn new(by: &str, of: impl Iterator<Item = String>) -> Self {
        Self { by: by.to_owned(), of: of.collect() }
    }

    /// One line for a person.
    #[must_use]
    pub fn line(&self) -> String {
        let named: Vec<&str> = self.of.iter().take(Self::NAMED).map(String::as_str).collect();
        let more = match self.of.len().saturating_sub(Self::NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        format!("{}: {}{more}", self.by, named.join(", "))
    }
}

/// Why a check or rebuild could not be done; damage is a finding, not an error.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the store could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file, for the message.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The new store could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file, for the message.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The store kept changing while it was read.
    #[error("{path} is being changed by another program")]
    Busy {
        /// The file, for the message.
        path: String,
    },
    /// The store is larger or deeper than the reader's bound.
    #[error("{path} is beyond a limit: {limit}")]
    Limit {
        /// The file, for the message.
        path: String,
        /// Which bound, with its value.
        limit: String,
    },
    /// This program has no check for the kind.
    #[error("no check exists for {path} as a store of kind {kind}")]
    NoCheck {
        /// The store, for the message.
        path: String,
        /// The kind it was asked to be checked as.
        kind: StoreKind,
    },
    /// The store is of a format that this program does not check.
    #[error("{path} is {}, which shopmend does not check", .foreign.name)]
    Foreign {
        /// The store, for the message.
        path: String,
        /// What it is.
        foreign: Foreign,
    },
    /// The store, or the greater part of it, has a version or a form that this
    /// program does not know: it can be called neither sound nor damaged.
    #[error("cannot judge {path}: {what}")]
    UnknownForm {
        /// The store, for the message.
        path: String,
        /// What is not known, with what was found.
        what: String,
    },
    /// Nothing could be brought back, or this kind cannot be rebuilt.
    #[error("cannot rebuild {path}: {reason}")]
    CannotRebuild {
        /// The store, for the message.
        path: String,
        /// Why, and what to try instead.
        reason: String,
    },
    /// The run was asked to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What a rebuild brought back; counts are rows, records or blocks by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// How it was done: `reindex`, `vacuum`, `salvage`, `leveldb rebuild`.
    pub method: String,
    /// Units that are whole in the new store.
    pub recovered: u64,
    /// Units in the new store that may be wrong or incomplete.
    pub doubtful: u64,
    /// Units known to be gone.
    pub lost: u64,
    /// Whether something else is lost or uncertain than the units counted: a
    /// version in the header, an index, a part of the schema; the notes say what.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// Details for the JSON report, by kind (per table for a database).
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
    /// Sentences for a person.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a rebuild is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct RebuildRequest<'a> {
    /// A private copy of the store: the database file with its sidecars beside
    /// it, or the folder. The rebuild may do with it what it likes.
    pub copy: &'a Path,
    /// Where the new store goes: a path at which nothing exists yet. Files that
    /// belong beside it ([`StoreKind::sidecars`]) are written with the same
    /// suffixes; a sidecar that is not written is none of the new store.
    pub out: &'a Path,
    /// The cheapest way that the findings allow; the rebuild may go further
    /// when that is not sufficient, and says so in [`Rebuilt::method`].
    pub how: Remedy,
    /// What the store held when it was last healthy, as far as it is known.
    pub known: Option<&'a SqliteFacts>,
    /// Cancellation and progress.
    pub control: &'a Control,
}
