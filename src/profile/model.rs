//! What a profile says, after it was read and found valid.

use serde::{Deserialize, Serialize};

use crate::model::{Class, Platform, StoreKind};

/// How sure the rule is about what it describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Inferred by analogy: reported, never cleared.
    Guess,
    /// One secondary source, or well-known behaviour.
    Likely,
    /// Read in primary code, or several independent sources.
    Confirmed,
}

/// What may be done to a store of a rule, beyond checking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum May {
    /// Single entries may be cleared (class `cache` only).
    ClearEntries,
    /// The whole content may be cleared, but only as a whole (class `cache` only).
    ClearStore,
    /// It may be rebuilt from what can be read of it.
    Rebuild,
    /// The backup beside it may be put in its place (`.bak`).
    RestoreBackup,
}

/// One store rule of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rule {
    /// Unique within the app, stable: `http-cache`.
    pub id: String,
    /// What it is for a person: `HTTP cache`.
    pub name: String,
    /// The store kind; `None` means by content (a folder of mixed files whose
    /// databases are recognised by header).
    pub kind: Option<StoreKind>,
    pub class: Class,
    /// Which of the app's roots the patterns are relative to.
    pub root: String,
    /// Patterns of the store's own path below the root: names with `*` and
    /// `?`, `**` for any depth, `{a,b}` for alternatives, `/` between names.
    pub paths: Vec<String>,
    /// Patterns below the store that are not part of it, relative to the root
    /// as well.
    pub except: Vec<String>,
    pub may: Vec<May>,
    /// Size above which the oldest entries are stale, in bytes.
    pub budget_bytes: Option<u64>,
    /// Age above which an entry is stale, in days.
    pub max_age_days: Option<u32>,
    /// Why this class and these permissions are right.
    pub reason: String,
    /// Where the fact comes from.
    pub source: String,
    pub confidence: Confidence,
    /// Paths below the root that the rule must cover.
    pub matches: Vec<String>,
    /// Paths below the root that the rule must not cover.
    pub not_matches: Vec<String>,
    /// The profile file it came from, for messages.
    pub file: String,
    /// Line in that file, from 1.
    pub line: usize,
}

impl Rule {
    /// Whether single entries or the whole may be cleared at all: class
    /// `cache`, a permission, and more than a guess.
    #[must_use]
    pub fn may_clear(&self) -> bool {
        self.class == Class::Cache
            && self.confidence > Confidence::Guess
            && self.may.iter().any(|m| matches!(m, May::ClearEntries | May::ClearStore))
    }

    /// Whether a permission is given.
    #[must_use]
    pub fn may(&self, what: May) -> bool {
        self.may.contains(&what)
    }
}

/// A folder of an app, as a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RootTemplate {
    /// `data`, `cache`, `external`.
    pub id: String,
    /// `{XDG_CONFIG_HOME}/google-chrome`; several when the app has several
    /// packagings or channels, each giving a target of its own.
    pub templates: Vec<String>,
}

/// One app on one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct App {
    /// Stable id for `--app`: `chrome`, `com.tiktokshop.seller`.
    pub id: String,
    pub name: String,
    pub platform: Platform,
    pub roots: Vec<RootTemplate>,
    pub rules: Vec<Rule>,
    /// Executable names (desktop) or process names (Android) of the running app.
    pub processes: Vec<String>,
    /// Files that exist while it runs, relative to a root: `data:SingletonLock`.
    pub running_markers: Vec<String>,
}
