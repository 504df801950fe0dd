//! Where files live and how they are reached: this machine, a mounted image or
//! copied tree, or an Android device.
//!
//! A [`Place`] says whose data there is and what the base folders are; the
//! profiles say what to look for below them; [`locate()`] brings the two
//! together and finds the folders that exist.

pub mod adb;
mod android;
mod explain;
mod image;
mod local;
mod locate;
mod look;
pub(crate) mod privacy;
mod resolve;
mod scope;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use explain::{Explained, InRoot, InStore, explain, explain_text};
pub use image::ImagePlace;
pub use local::LocalPlace;
pub use locate::{Filter, Located, locate};
pub use scope::{BaseFolder, Scope};

use crate::error::Result;
use crate::fsys::{Dir, RelPath};
use crate::model::Platform;
pub use crate::profile::RuleMatch;
use crate::profile::{App, RuleSet};

/// Where files live.
pub trait Place {
    /// Whether the files belong to this machine's running system, so that a
    /// process can have them open.
    fn live(&self) -> bool;

    /// The place for a person: `this machine`, or the image's path.
    fn name(&self) -> String;

    /// Whose data there is, each with its base folders.
    fn scopes(&self) -> &[Scope];

    /// What could not be looked at while the place was opened.
    fn notes(&self) -> &[Note];
}

/// The place that the command line names: an image, or this machine.
///
/// # Errors
/// What [`ImagePlace::open`] and [`LocalPlace::open`] refuse.
pub fn open(image: Option<&Path>, platform: Option<Platform>) -> Result<Box<dyn Place>> {
    Ok(match image {
        Some(dir) => Box::new(ImagePlace::open(dir, platform)?),
        None => Box::new(LocalPlace::open(platform)?),
    })
}

/// Why a folder that a profile names is not among the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// A safety rule forbids it: a link, a mount point, a shared folder.
    Refused,
    /// It, or a folder above it, could not be read: what is there is unknown.
    Unreadable,
}

/// A folder that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    pub kind: NoteKind,
    /// The app that was looked for; none when it concerns the place.
    pub app: Option<String>,
    pub path: PathBuf,
    /// For a person.
    pub reason: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", crate::fsys::shown(&self.path), crate::fsys::printable(&self.reason))
    }
}

/// One installed app found at one place, for one user.
#[derive(Debug, Clone)]
pub struct Target {
    /// Stable for the same app, user and packaging at the same place; shown
    /// in reports and used by the baseline: `chromium:snap:/home/ann`.
    pub id: String,
    pub app: Arc<App>,
    /// Which of the app's packagings or channels this is.
    pub install: String,
    pub platform: Platform,
    /// Whose data it is, when the place has several users.
    pub user: Option<String>,
    /// Its folders that exist, each a real directory; several of one id when
    /// its template has a wildcard.
    pub roots: Vec<Root>,
    /// When the app itself was last updated, in nanoseconds since 1970, when
    /// the place can tell.
    pub updated_ns: Option<i128>,
}

impl Target {
    /// The app's own signs of running that are there: its lock files. A crash
    /// leaves them behind and so does an image of a running machine, so they
    /// tell that the app had not ended, not that it runs now.
    #[must_use]
    pub fn running_markers(&self) -> Vec<PathBuf> {
        let mut out = Vec::new();
        for marker in &self.app.running_markers {
            let Some((id, names)) = marker.split_once(':') else { continue };
            for root in self.roots.iter().filter(|r| r.id.split(['~', '@']).next() == Some(id)) {
                if let Ok(dir) = root.open() {
                    let found = resolve::entries(&dir, names, self.platform.ignores_case());
                    out.extend(found.iter().map(|rel| root.path.join(rel.as_path())));
                }
            }
        }
        out
    }
}

/// One existing folder of a target.
#[derive(Debug, Clone)]
pub struct Root {
    /// Unique in the target: the template's id (`data`, `cache`), with what its
    /// wildcards stood for (`data@12`) or which of its places it is (`data~2`).
    pub id: String,
    /// Where it is on this machine; absolute, no link below its base folder.
    pub path: PathBuf,
    /// The rules whose `root` is this one, ready to match.
    pub rules: Arc<RuleSet>,
    /// The base folder, absolute and free of links when it was found.
    pub base: PathBuf,
    /// The root below its base folder.
    pub below: RelPath,
}

impl Root {
    /// Opens the folder; a link that was put into its path since it was found
    /// is refused.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(&self) -> io::Result<Dir> {
        Dir::open(&self.base)?.dir(&self.below)
    }
}
