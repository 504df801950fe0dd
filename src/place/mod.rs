//! Where files live and how they are reached: this machine, or a mounted
//! image or copied tree.

use std::path::PathBuf;
use std::sync::Arc;

use crate::fsys::RelPath;
use crate::model::Platform;
use crate::profile::{App, RuleSet};

/// One installed app found at one place, for one user.
#[derive(Debug, Clone)]
pub struct Target {
    /// Stable for the same app, user and packaging at the same place; shown
    /// in reports and used by the baseline: `chromium:default:/home/ann`.
    pub id: String,
    pub app: Arc<App>,
    pub platform: Platform,
    /// Whose data it is, when the place has several users.
    pub user: Option<String>,
    /// Its folders that exist, each a real directory.
    pub roots: Vec<Root>,
    /// When the app itself was last updated, in nanoseconds since 1970, when
    /// the place can tell.
    pub updated_ns: Option<i128>,
}

/// One existing folder of a target.
#[derive(Debug, Clone)]
pub struct Root {
    /// The root template's id: `data`, `cache`.
    pub id: String,
    /// Where it is on this machine; absolute, no link below its base folder.
    pub path: PathBuf,
    /// The rules whose `root` is this one, ready to match.
    pub rules: Arc<RuleSet>,
}

/// What a path below a root belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleMatch<'a> {
    pub rule: &'a crate::profile::Rule,
    /// How many leading components of the path are the store's own path.
    pub store_depth: usize,
}

impl RuleMatch<'_> {
    /// The store's own path, given the path that was matched.
    #[must_use]
    pub fn store_path(&self, path: &RelPath) -> RelPath {
        let mut out = RelPath::root();
        for name in path.components().take(self.store_depth) {
            // A component of a RelPath is always a valid name.
            if let Ok(next) = out.join(name) {
                out = next;
            }
        }
        out
    }
}
