//! The words that every room shares: platform, class, store kind, finding,
//! verdict. They read the same in code, on the command line and in JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fsys::RelPath;

/// An operating system whose layout a profile describes.
///
/// A value, not a `cfg`: every platform's profile resolves on every host.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    Windows,
    Macos,
    Linux,
    Android,
}

impl Platform {
    /// The platform this program runs on; an unlisted Unix counts as Linux.
    #[must_use]
    pub fn host() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::Macos
        } else if cfg!(target_os = "android") {
            Self::Android
        } else {
            Self::Linux
        }
    }

    /// Whether names that differ only in case mean the same file there.
    #[must_use]
    pub fn ignores_case(self) -> bool {
        matches!(self, Self::Windows | Self::Macos)
    }

    /// The word used on the command line and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Macos => "macos",
            Self::Linux => "linux",
            Self::Android => "android",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What losing a store would mean. Only [`Class::Cache`] is ever cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The app rebuilds it by itself.
    Cache,
    /// Settings and indexes; rebuilt, restored or reported.
    State,
    /// Messages, orders, drafts, sessions; rebuilt, restored or reported.
    User,
}

impl Class {
    /// The word used in profiles and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::State => "state",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The format of a store, by content rather than by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// A SQLite database with its `-wal`, `-journal` and `-shm`.
    Sqlite,
    /// A LevelDB folder.
    Leveldb,
    /// A Chromium Simple cache folder.
    SimpleCache,
    /// A Chromium blockfile cache folder.
    BlockfileCache,
    /// A Chromium SQL-backend cache folder.
    SqlCache,
    /// A Chromium Cache Storage folder of one origin (`index.txt` and caches).
    CacheStorage,
    /// A Firefox `cache2` folder.
    FirefoxCache,
    /// An Android `SharedPreferences` XML file with its `.bak`.
    SharedPrefs,
    /// A JSON state file.
    Json,
    /// An Apple property list, binary or XML.
    Plist,
    /// An MMKV file with its `.crc`.
    Mmkv,
    /// A ByteDance Keva repository.
    Keva,
    /// A `DiskLruCache` folder (OkHttp, Glide).
    DiskLruCache,
    /// A Fresco image cache folder.
    Fresco,
    /// An ExoPlayer `SimpleCache` folder.
    ExoCache,
    /// A ByteDance media-loader cache folder (`.mdl` and `.mdlnodeconf`).
    MediaLoader,
    /// One media or archive file judged by its own content.
    Media,
    /// Files without a format of their own.
    Files,
}

impl StoreKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Sqlite,
        Self::Leveldb,
        Self::SimpleCache,
        Self::BlockfileCache,
        Self::SqlCache,
        Self::CacheStorage,
        Self::FirefoxCache,
        Self::SharedPrefs,
        Self::Json,
        Self::Plist,
        Self::Mmkv,
        Self::Keva,
        Self::DiskLruCache,
        Self::Fresco,
        Self::ExoCache,
        Self::MediaLoader,
        Self::Media,
        Self::Files,
    ];

    /// The word used in profiles and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Leveldb => "leveldb",
            Self::SimpleCache => "simple-cache",
            Self::BlockfileCache => "blockfile-cache",
            Self::SqlCache => "sql-cache",
            Self::CacheStorage => "cache-storage",
            Self::FirefoxCache => "firefox-cache",
            Self::SharedPrefs => "shared-prefs",
            Self::Json => "json",
            Self::Plist => "plist",
            Self::Mmkv => "mmkv",
            Self::Keva => "keva",
            Self::DiskLruCache => "disk-lru-cache",
            Self::Fresco => "fresco",
            Self::ExoCache => "exo-cache",
            Self::MediaLoader => "media-loader",
            Self::Media => "media",
            Self::Files => "files",
        }
    }

    /// What it is called in a sentence or a table for a person.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite database",
            Self::Leveldb => "LevelDB store",
            Self::SimpleCache => "Simple cache",
            Self::BlockfileCache => "blockfile cache",
            Self::SqlCache => "SQL cache",
            Self::CacheStorage => "Cache Storage",
            Self::FirefoxCache => "Firefox cache",
            Self::SharedPrefs => "preferences",
            Self::Json => "JSON",
            Self::Plist => "property list",
            Self::Mmkv => "MMKV store",
            Self::Keva => "Keva repository",
            Self::DiskLruCache => "DiskLruCache",
            Self::Fresco => "Fresco cache",
            Self::ExoCache => "ExoPlayer cache",
            Self::MediaLoader => "media-loader cache",
            Self::Media => "media file",
            Self::Files => "plain files",
        }
    }

    /// What the names of files that belong to a store of this kind, beside its
    /// own file, add to that file's name. A file without a format of its own
    /// may turn out to be a database.
    #[must_use]
    pub fn sidecars(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite | Self::Files => &SQLITE_SIDECARS,
            Self::SharedPrefs => &[PREFS_BACKUP],
            Self::Mmkv => &[MMKV_META],
            _ => &[],
        }
    }
}

/// Endings of the files that belong to the SQLite database beside them.
pub const SQLITE_SIDECARS: [&str; 3] = ["-wal", "-journal", "-shm"];
/// Ending of the copy that Android keeps of preferences while it writes them.
pub const PREFS_BACKUP: &str = ".bak";
/// Ending of the file in which MMKV keeps checksum and length of its data.
pub const MMKV_META: &str = ".crc";
/// Every ending by which a file belongs to the store of another.
pub const SIDECARS: [&str; 5] =
    [SQLITE_SIDECARS[0], SQLITE_SIDECARS[1], SQLITE_SIDECARS[2], PREFS_BACKUP, MMKV_META];

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Stale, leftover or over budget: the app works, the device suffers.
    Warning,
    /// Damaged: data is wrong, missing or unreadable.
    Error,
}

/// What would mend a finding, cheapest sufficient way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Nothing to do.
    None,
    /// Nothing this program may do; a person decides.
    Report,
    /// Clear the files named in the evidence (class `cache` only).
    ClearEntry,
    /// Clear the whole store (class `cache` only).
    ClearStore,
    /// Rebuild the indexes of a database; no row is touched.
    RebuildIndexes,
    /// Rewrite a database with `VACUUM INTO`; every row is readable.
    Vacuum,
    /// Rebuild a store from what can still be read of it.
    Rebuild,
    /// Put the authoritative backup beside the file in its place (`.bak`).
    RestoreBackup,
}

/// Where the damage is and how it shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// File inside the store, relative to the store's own path; absent when
    /// the store is that one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<RelPath>,
    /// Page number, from 1, for page-structured files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Byte offset in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What a sound store would show there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// What is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable code, for example `sqlite.index-mismatch`; never changes meaning.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence for a person.
    pub message: String,
    /// Where and how it shows.
    #[serde(default)]
    pub evidence: Evidence,
    /// What would mend it.
    pub remedy: Remedy,
}

impl Finding {
    /// A finding without evidence; add it with the `with_` methods.
    pub fn new(code: &str, severity: Severity, remedy: Remedy, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity,
            message: message.into(),
            evidence: Evidence::default(),
            remedy,
        }
    }

    /// Names the file inside the store.
    #[must_use]
    pub fn in_file(mut self, file: RelPath) -> Self {
        self.evidence.file = Some(file);
        self
    }

    /// Names the page, from 1.
    #[must_use]
    pub fn on_page(mut self, page: u32) -> Self {
        self.evidence.page = Some(page);
        self
    }

    /// Names the byte offset in the file.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.evidence.offset = Some(offset);
        self
    }

    /// Says what a sound store would show and what is there instead.
    #[must_use]
    pub fn expected_found(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.evidence.expected = Some(expected.into());
        self.evidence.found = Some(found.into());
        self
    }
}

/// Something that a command should have looked at and did not. It is part of
/// the result like a finding: it decides between the exit codes 0 and 2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NotChecked {
    /// What was not looked at: a path, a place, an app's data, another user.
    pub what: String,
    /// Why it was not.
    pub why: String,
    /// What the user can do to have it looked at; absent when nothing would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how_to_see: Option<String>,
}

impl NotChecked {
    /// Something that was not looked at, and why.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), how_to_see: None }
    }

    /// Says what would make it visible.
    #[must_use]
    pub fn see_by(mut self, how: impl Into<String>) -> Self {
        self.how_to_see = Some(how.into());
        self
    }
}

impl fmt::Display for NotChecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        match &self.how_to_see {
            Some(how) => write!(f, "; {how}"),
            None => Ok(()),
        }
    }
}

/// The judgement of one store; the worst finding decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is wrong with it.
    Healthy,
    /// Sound, but overgrown or outdated.
    Stale,
    /// Its format is not known, or nothing in it could be checked.
    Unknown,
    /// It, or a part of it, could not be read.
    Unreadable,
    /// Its content is wrong.
    Damaged,
}

impl Verdict {
    /// The word used in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a scan said of a store. Every copy in the vault carries the condition
/// that the store was in when it was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub verdict: Verdict,
    /// When it was scanned, in nanoseconds since 1970.
    pub scanned_ns: i128,
    /// Rows by table name, for a database whose rows could be counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<BTreeMap<String, u64>>,
}

impl Condition {
    /// Rows of all tables together.
    #[must_use]
    pub fn total_rows(&self) -> Option<u64> {
        self.rows.as_ref().map(|rows| rows.values().fold(0, |sum: u64, n| sum.saturating_add(*n)))
    }
}

impl fmt::Display for Condition {
    /// For a person: `healthy on 2026-11-30 08:40, 2020 rows`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.verdict, day_and_time(self.scanned_ns))?;
        match self.total_rows() {
            Some(1) => f.write_str(", 1 row"),
            Some(rows) => write!(f, ", {rows} rows"),
            None => Ok(()),
        }
    }
}

/// A moment for a person, to the minute and in UTC.
#[must_use]
pub fn day_and_time(ns: i128) -> String {
    match jiff::Timestamp::from_nanosecond(ns) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => "a time that no calendar has".to_owned(),
    }
}
