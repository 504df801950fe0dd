//! What a journal says. A record is durable before what it announces is done.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::RunId;
use crate::fsys::{Attributes, Ident, RelPath, path_text};
use crate::model::{Class, Condition, Platform, StoreKind};
use crate::plan::Item;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// First of all: what kind of run it is.
    Begin(Begin),
    /// Work on one store begins. Nothing of it is touched yet.
    Unit(Box<Unit>),
    /// These files are in the vault, verified. Long lists take several records.
    Copied { unit: u32, copies: Vec<Copied> },
    /// These steps follow, in this order.
    Steps { unit: u32, steps: Vec<Step> },
    /// All steps are done and verified. Paths in `skipped` were left as they
    /// were after all. What [`Step::Remove`] names may go from now on.
    Committed { unit: u32, skipped: Vec<RelPath> },
    /// All steps are taken back; the store is as it was.
    RolledBack { unit: u32, reason: String },
    /// What [`Step::Remove`] names is gone, but for `kept`.
    Cleaned { unit: u32, kept: Vec<RelPath> },
    /// What the unit holds in quarantine will be deleted for good.
    Dropping { unit: u32 },
    /// It is deleted.
    Dropped { unit: u32, bytes: u64 },
    /// The run is over.
    End { interrupted: bool },
}

/// What a run is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKind {
    /// It executes a plan.
    Repair,
    /// It takes a run back.
    Undo { of: RunId },
    /// It puts back what a run holds, though that run was no repair or was
    /// taken back before.
    Restore { of: RunId },
    /// It copies stores into the vault.
    Backup,
}

impl RunKind {
    /// The word for a person.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Undo { .. } => "undo",
            Self::Restore { .. } => "restore",
            Self::Backup => "backup",
        }
    }
}

/// The beginning of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Version of the program.
    pub tool: String,
    pub run: RunId,
    pub kind: RunKind,
    pub platform: Platform,
    /// Whether the files belong to this machine's running system.
    pub live: bool,
    /// BLAKE3 of the plan, for a repair.
    pub plan: Option<String>,
    /// Whether the user took the responsibility for folders that others could
    /// put something else in the place of.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_root: bool,
    /// Nanoseconds since 1970.
    pub started_ns: i128,
    pub pid: u32,
}

/// What is done to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitOp {
    Clear,
    Rebuild,
    RestoreBackup,
    Backup,
    /// What the store was like before another run is put back.
    PutBack,
}

impl UnitOp {
    /// The word for a person.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Rebuild => "rebuild",
            Self::RestoreBackup => "restore-backup",
            Self::Backup => "backup",
            Self::PutBack => "put-back",
        }
    }
}

/// Work on one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Number in the run, from 0 without gaps.
    pub number: u32,
    pub op: UnitOp,
    /// Where the run's plan has it; a store may take several attempts.
    pub action: u32,
    pub store: String,
    pub target: String,
    pub app: String,
    pub rule: String,
    pub kind: StoreKind,
    pub class: Class,
    /// The folder that all paths are relative to.
    #[serde(with = "path_text")]
    pub root: PathBuf,
    /// Which folder the root was: after the system's next start the device that
    /// it is on may have another number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_was: Option<Ident>,
    /// The store's own path below it.
    pub path: RelPath,
    pub why: String,
    /// What the scan before this work said of the store, and so of what this
    /// unit keeps of it; absent when nobody looked, as in the journals of
    /// versions before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Which unit of which run is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub puts_back: Option<(RunId, u32)>,
    /// Folders that the work touches and those above them, as they were;
    /// outermost first.
    pub folders: Vec<Folder>,
    /// Names that are made beside the store and removed again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temps: Vec<RelPath>,
}

/// A folder as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    pub path: RelPath,
    pub attributes: Attributes,
    /// Whether the steps change what is in it, and so its time; the others
    /// only have to be made anew should they be gone at an undo.
    pub touched: bool,
}

/// A file of which the vault has a verified copy; or a folder, of which the
/// attributes are all there is to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// Relative to the unit's root.
    pub path: RelPath,
    /// BLAKE3 of the content in hex, which is the object's name; absent for a
    /// folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    pub size: u64,
    /// Which file it was copied from.
    pub ident: Ident,
    pub attributes: Attributes,
}

impl Copied {
    /// A folder.
    #[must_use]
    pub fn folder(path: RelPath, ident: Ident, attributes: Attributes) -> Self {
        Self { path, object: None, size: 0, ident, attributes }
    }
}

/// Where a path is relative to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// The unit's root.
    Root,
    /// The quarantine of a run's unit: `runs/<run>/quarantine/<unit>/`.
    Held { run: RunId, unit: u32 },
}

/// A change of the disk that can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Files and whole folders go from one base to the other, under the same
    /// path. `inside` lists the files in the folders among them.
    Move {
        from: Base,
        to: Base,
        items: Vec<Item>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        inside: Vec<Item>,
    },
    /// One file or folder, `item`, goes to a free name.
    Shift { from: Base, from_path: RelPath, to: Base, to_path: RelPath, item: Item },
    /// Two names below the root change places; the items are as before.
    Exchange { a: Item, b: Item },
    /// An empty folder is made below the root.
    MakeDir { path: RelPath, attributes: Attributes },
    /// Folders below the root get these times; done once more after
    /// everything else.
    Times { folders: Vec<Folder> },
    /// These files and then empty folders below the root go for good, after
    /// the commit; the vault has them.
    Remove { items: Vec<Item> },
}

impl Step {
    /// One file or folder below the root goes to a free name below it.
    #[must_use]
    pub fn shift(item: &Item, to: &RelPath) -> Self {
        let (from_path, to_path) = (item.path.clone(), to.clone());
        Self::Shift { from: Base::Root, from_path, to: Base::Root, to_path, item: item.clone() }
    }
}
