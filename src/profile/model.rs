//! What a profile says, after it was read and found valid.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::listing::{Listing, Open};
use super::origin::{Origins, host_of};
use super::pattern::Pattern;
use super::rules::RuleSet;
use super::template::Template;
use crate::fsys::RelPath;
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

impl Confidence {
    /// The word used in profiles and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guess => "guess",
            Self::Likely => "likely",
            Self::Confirmed => "confirmed",
        }
    }
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

impl May {
    /// The word used in profiles and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClearEntries => "clear-entries",
            Self::ClearStore => "clear-store",
            Self::Rebuild => "rebuild",
            Self::RestoreBackup => "restore-backup",
        }
    }

    /// Whether it lets something be cleared.
    #[must_use]
    pub fn clears(self) -> bool {
        matches!(self, Self::ClearEntries | Self::ClearStore)
    }
}

/// Whether a store of a kind is a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    File,
    Folder,
    /// Either; what is found decides.
    Either,
}

impl Shape {
    /// The shape of a rule's stores; `None` is "by content".
    #[must_use]
    pub fn of(kind: Option<StoreKind>) -> Self {
        use StoreKind as K;
        match kind {
            Some(K::Sqlite | K::SharedPrefs | K::Json | K::Plist | K::Mmkv) => Self::File,
            Some(K::Files | K::Media) | None => Self::Either,
            Some(
                K::Leveldb
                | K::SimpleCache
                | K::BlockfileCache
                | K::SqlCache
                | K::CacheStorage
                | K::FirefoxCache
                | K::Keva
                | K::DiskLruCache
                | K::Fresco
                | K::ExoCache
                | K::MediaLoader,
            ) => Self::Folder,
        }
    }
}

/// What belongs to the same store as a file, by its name's ending; without a
/// kind any file may turn out to be a database.
#[must_use]
pub fn sidecars(kind: Option<StoreKind>) -> &'static [&'static str] {
    kind.unwrap_or(StoreKind::Files).sidecars()
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
    pub roots: Vec<String>,
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
        self.may.iter().any(|m| m.clears() && self.may(*m))
    }

    /// Whether a permission is given and can be used: clearing needs class
    /// `cache` and more than a guess.
    #[must_use]
    pub fn may(&self, what: May) -> bool {
        self.may.contains(&what)
            && (!what.clears() || (self.class == Class::Cache && self.confidence > Confidence::Guess))
    }

    /// Whether single entries may be cleared, now that the store is known to be
    /// of this kind: a block file or a SQL backend has no separable entries,
    /// whatever the rule expected to find.
    #[must_use]
    pub fn may_clear_entries_of(&self, found: StoreKind) -> bool {
        self.may(May::ClearEntries)
            && !matches!(found, StoreKind::BlockfileCache | StoreKind::SqlCache | StoreKind::Sqlite)
    }

    /// Whether its stores are files or folders.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape::of(self.kind)
    }

    /// Whether everything in a store of this rule is of the store's own format,
    /// so that names inside it mean nothing by themselves.
    pub(crate) fn is_opaque(&self) -> bool {
        self.kind.is_some() && self.shape() == Shape::Folder
    }
}

/// A folder of an app, as a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootTemplate {
    /// `data`, `cache`, `external`.
    pub id: String,
    /// `{XDG_CONFIG_HOME}/google-chrome`.
    pub template: Template,
}

/// How a folder whose name says nothing is recognised: by a value in a
/// property list inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identify {
    /// The property list, relative to the root.
    pub file: String,
    /// Its key at the top level.
    pub key: String,
    /// The values that name the app.
    pub values: Vec<String>,
}

/// One packaging or channel of an app; each that is found is a target of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// `stable`, `beta`, `snap`, `flatpak`.
    pub id: String,
    pub roots: Vec<RootTemplate>,
    /// The installed program, whose modification time is the app's last update.
    pub program: Vec<Template>,
    /// What must hold of a root that a wildcard found.
    pub identify: Option<Identify>,
}

/// One app on one platform.
#[derive(Debug, Clone)]
pub struct App {
    /// Stable id for `--app`: `chrome`, `com.tiktokshop.seller`.
    pub id: String,
    pub name: String,
    pub platform: Platform,
    pub installs: Vec<Install>,
    pub rules: Vec<Rule>,
    /// Executable names (desktop) or process names (Android) of the running app.
    pub processes: Vec<String>,
    /// Files that exist while it runs, relative to a root, `*` allowed:
    /// `data:SingletonLock`, `data:*/lock`.
    pub running_markers: Vec<String>,
    /// The profile file it came from, for messages.
    pub file: String,
    /// Line in that file, from 1.
    pub line: usize,
    /// Where the app says which folders it uses.
    pub listings: Vec<Listing>,
    /// The rules that such a folder can get.
    pub(crate) open: Vec<Open>,
    /// The shop's own hosts.
    pub(crate) origins: Arc<Origins>,
    /// The rules of each root, by root id, made ready to match when asked for.
    pub(crate) rule_sets: BTreeMap<String, RuleSetOf>,
}

/// The patterns of a rule, read: its paths and its exceptions.
pub(crate) type Patterns = (Vec<Pattern>, Vec<Pattern>);

/// A rule set that is made when it is first needed: most apps are not there.
#[derive(Debug, Clone)]
pub(crate) struct RuleSetOf {
    /// Which of the app's rules, in their order.
    pub rules: Vec<usize>,
    /// The patterns of all rules of the app.
    pub patterns: Arc<Vec<Patterns>>,
    pub never: Arc<Vec<Arc<Pattern>>>,
    pub made: OnceLock<Arc<RuleSet>>,
}

impl App {
    /// The rules of one root, ready to match; none when no rule is about it.
    #[must_use]
    pub fn rules_of(&self, root: &str) -> Arc<RuleSet> {
        let Some(of) = self.rule_sets.get(root) else { return Arc::default() };
        let make = || {
            let own =
                of.rules.iter().filter_map(|i| Some((self.rules.get(*i)?.clone(), of.patterns.get(*i)?)));
            Arc::new(RuleSet::new(own, &of.never, self.platform.ignores_case()))
        };
        Arc::clone(of.made.get_or_init(make))
    }

    /// The host, when a store of this app belongs to one of the shop's own web
    /// pages, by its path.
    #[must_use]
    pub fn shop_site(&self, store: &RelPath) -> Option<String> {
        host_of(store).filter(|host| self.origins.is_shop(host))
    }

    /// The ids of its roots, each once.
    #[must_use]
    pub fn root_ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.installs.iter().flat_map(|i| &i.roots).map(|r| r.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
