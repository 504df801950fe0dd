//! What would be done: one immutable, hashed list that preview, confirmation,
//! execution and report all use.

mod able;
mod guard;
mod make;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fsys::{Kind, Meta, RelPath};
use crate::model::{Class, Condition, Platform, Remedy, StoreKind};

pub use guard::Guard;
pub use make::{Choice, Only, SavedCopy, Skipped, item, make};

/// A file or folder as it was when the plan was made; what differs at the act
/// is skipped and said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Relative to the action's root.
    pub path: RelPath,
    /// Whether it is a folder (else a regular file).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dir: bool,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i128,
    pub dev: u64,
    pub ino: u64,
    /// BLAKE3 of the content in hex, where the scan hashed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

impl Item {
    /// The item that `meta` describes.
    #[must_use]
    pub fn new(path: RelPath, meta: &Meta) -> Self {
        Self {
            path,
            dir: meta.kind == Kind::Dir,
            size: if meta.kind == Kind::Dir { 0 } else { meta.size },
            mtime_ns: meta.mtime_ns,
            dev: meta.dev,
            ino: meta.ino,
            blake3: None,
        }
    }

    /// Whether `meta` still is that item: same kind, device and inode, and
    /// for a file the same size and modification time.
    #[must_use]
    pub fn is(&self, meta: &Meta) -> bool {
        let kind = if self.dir { Kind::Dir } else { Kind::File };
        meta.kind == kind
            && meta.dev == self.dev
            && meta.ino == self.ino
            && (self.dir || (meta.size == self.size && meta.mtime_ns == self.mtime_ns))
    }
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "op")]
pub enum Op {
    /// Move files of a cache aside; with `--reclaim` free the space after
    /// verification.
    Clear {
        /// The files, sorted by path.
        files: Vec<Item>,
        /// Folders (below or at the store's path, never the root of the
        /// target) of which every file is in `files`: each may be moved as a
        /// whole and is made anew, empty. Outermost only.
        whole: Vec<Item>,
    },
    /// Replace a store by one rebuilt from a copy, as one unit with its
    /// sidecars.
    Rebuild {
        /// Every file of the store, sidecars included; the folder's files for
        /// a store that is a folder.
        members: Vec<Item>,
        how: Remedy,
        /// Whether a database of which all names of tables are lost may be put
        /// in place with names such as `table_4`, which no app knows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unnamed_tables: bool,
    },
    /// Put `backup` in place of the store's file, as the app itself would
    /// (`SharedPreferences` `.bak`).
    RestoreBackup {
        /// The present file, when there is one.
        current: Option<Item>,
        backup: Item,
    },
    /// Put the vault's copy of the store in its place. Only ever planned when
    /// the user named the run.
    PutBack {
        /// The run that made the copy.
        run: String,
        /// Which of its units.
        unit: u32,
        /// The store's files as they are now: they go aside.
        current: Vec<Item>,
    },
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The store's id in the report.
    pub store: String,
    /// The target it belongs to.
    pub target: String,
    /// The app's id.
    pub app: String,
    /// The profile rule that allows it.
    pub rule: String,
    pub kind: StoreKind,
    pub class: Class,
    /// The target's root folder on this machine; all paths are relative to it.
    #[serde(with = "crate::fsys::path_text")]
    pub root: PathBuf,
    /// The store's own path below the root.
    pub path: RelPath,
    /// Why, for a person: `412 files older than 30 days`.
    pub why: String,
    /// What the scan said of the store; the journal keeps it with the copy. It
    /// names the time of the scan, and the same plan made twice is the same
    /// plan: so it is no part of what is hashed and shown.
    #[serde(skip)]
    pub condition: Option<Condition>,
    /// Bytes that are free on the disk when the files are cleared, or that the
    /// present files take up: blocks, not lengths.
    #[serde(default)]
    pub allocated_bytes: u64,
    #[serde(flatten)]
    pub op: Op,
}

impl Action {
    /// Bytes of the files it would clear or replace.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.items().map(|i| i.size).sum()
    }

    /// The files it would clear or replace.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        let (many, one, two): (&[Item], _, _) = match &self.op {
            Op::Clear { files, .. } => (files, None, None),
            Op::Rebuild { members, .. } => (members, None, None),
            Op::RestoreBackup { current, backup } => (&[], current.as_ref(), Some(backup)),
            Op::PutBack { current, .. } => (current, None, None),
        };
        many.iter().chain(one).chain(two)
    }

    fn items_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        let (many, whole, one, two): (&mut [Item], &mut [Item], _, _) = match &mut self.op {
            Op::Clear { files, whole } => (files, whole, None, None),
            Op::Rebuild { members, .. } => (members, &mut [], None, None),
            Op::RestoreBackup { current, backup } => (&mut [], &mut [], current.as_mut(), Some(backup)),
            Op::PutBack { current, .. } => (current, &mut [], None, None),
        };
        many.iter_mut().chain(whole).chain(one).chain(two)
    }
}

/// The whole plan. It is made once and never changed; its hash is shown in
/// the preview and recorded in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this format.
    pub schema: u32,
    pub platform: Platform,
    /// Whether the files belong to this machine's running system (else to an
    /// image, where no process can hold them open).
    pub live: bool,
    pub actions: Vec<Action>,
}

impl Plan {
    /// Version of the format that this program writes.
    pub const SCHEMA: u32 = 1;

    /// BLAKE3, in hex, of the plan's canonical JSON without the content hashes and
    /// without what the scan said of the stores: a scan that finds a store
    /// unchanged does not look the hashes up again and is of another time, and
    /// the plan is the same all the same.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut plain = self.clone();
        for action in &mut plain.actions {
            action.items_mut().for_each(|item| item.blake3 = None);
            // When the scan was made, and how the disk stores the same content.
            action.condition = None;
            action.allocated_bytes = 0;
        }
        let mut hasher = blake3::Hasher::new();
        // Serialising plain data into a hasher cannot fail.
        let _ = serde_json::to_writer(&mut hasher, &plain);
        hasher.finalize().to_hex().to_string()
    }
}
