//! The entries of a cache: what may be cleared one by one, and what only
//! together.

use crate::fsys::RelPath;

/// One entry of a cache: its files go together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its files, relative to the store's own path, sorted.
    pub files: Vec<RelPath>,
    /// When the app last used it, in nanoseconds since 1970: from the cache's
    /// own index where it says so, else the newest time of its files.
    pub last_used_ns: i128,
    /// Sum of the files' lengths in bytes.
    pub bytes: u64,
}

/// What a cache folder consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheEntries {
    /// Each may be cleared by itself, by age or to come below a budget.
    pub entries: Vec<CacheEntry>,
    /// What an interrupted run left behind: doomed and temporary files that
    /// the app no longer reads.
    pub leftovers: Vec<CacheEntry>,
    /// Indexes and other files that belong to the whole; they stay while an
    /// entry is cleared, and go only with the whole store.
    pub control: Vec<RelPath>,
    /// Files and folders that the kind does not know; left alone.
    pub unknown: Vec<RelPath>,
}

/// How a cache kind can be cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clearable {
    /// Entry by entry.
    ByEntry(CacheEntries),
    /// Only as a whole: its files mean nothing without each other.
    WholeOnly,
}
