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
mod in_use;
mod listed;
mod local;
mod locate;
mod look;
pub(crate) mod privacy;
mod request;
mod resolve;
mod scope;
mod session;
mod uncovered;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use explain::{Explained, InRoot, InStore, explain, explain_text};
pub use image::ImagePlace;
pub use local::LocalPlace;
pub use locate::{Filter, Located, locate};
pub use request::{OnDevice, Request};
pub use scope::{BaseFolder, Scope};
pub use session::{Elsewhere, Program};
pub use uncovered::{Coverage, Uncovered, uncovered, uncovered_text};

use crate::control::Control;
use crate::error::Result;
use crate::fsys::{Dir, Disk, Ident, RelPath, Space};
use crate::model::{NotChecked, Platform};
use crate::process::{AppFiles, Running};
pub use crate::profile::RuleMatch;
use crate::profile::{App, Profiles, RuleSet};

/// Where files live, and everything that depends on it: their file system,
/// the processes that use them, where the records of work on them are kept.
///
/// One implementation for each kind of place: this machine, an image, an
/// Android device. Whoever works on a place works through this trait alone.
///
/// What is provided is right for a place on this machine's own disks.
pub trait Place: Send + Sync + std::fmt::Debug {
    /// The place for the user: `this machine`, or the image's path.
    fn name(&self) -> String;

    /// The options that name it to another command, with a leading space:
    /// ` --device SERIAL`; empty for this machine.
    fn options(&self) -> String;

    /// Whether the files belong to a running system, so that a process can
    /// have them open.
    fn live(&self) -> bool;

    /// Whose data there is, each with its base folders.
    fn scopes(&self) -> &[Scope];

    /// What could not be looked at while the place was opened.
    fn notes(&self) -> &[Note];

    /// What its paths are opened on.
    fn disk(&self) -> Disk {
        Disk::here()
    }

    /// The folder, in the folder for all records, that keeps those of this
    /// place: backups, journals and the baseline.
    fn records(&self, all: &Path) -> PathBuf {
        all.to_path_buf()
    }

    /// Begins a look at it: what was known of its files is looked up again.
    ///
    /// # Errors
    /// Kind `Device` when a device does not answer.
    fn begin(&self, _control: &Control) -> Result<()> {
        Ok(())
    }

    /// Brings near what the checks of these targets will read, for a place
    /// where that is quicker than asking for each file: all but caches, or
    /// with `caches` those as well.
    ///
    /// # Errors
    /// As [`Place::begin`].
    fn load(&self, _targets: &[Target], _caches: bool, _control: &Control) -> Result<()> {
        Ok(())
    }

    /// Ends a look at it.
    ///
    /// # Errors
    /// Kind `Device` when a device was lost meanwhile.
    fn end(&self) -> Result<()> {
        Ok(())
    }

    /// The processes that use the files of each target, in the order of the
    /// targets.
    ///
    /// # Errors
    /// When the processes cannot be seen: then nothing may be concluded.
    fn processes(&self, targets: &[Target]) -> Result<Vec<Vec<Running>>>;

    /// Fails when a store is in use, or when that cannot be told. Asked
    /// before and while a store is worked on.
    ///
    /// # Errors
    /// Kind `AppRunning`, naming the program.
    fn in_use(&self, store: &Affected<'_>) -> Result<()>;

    /// Sees to it that nothing of a target's app runs. The app is asked to
    /// end where `ask` allows that or the place never needs to be asked;
    /// `say` hears of it.
    ///
    /// # Errors
    /// Kind `AppRunning` when something of it still runs.
    fn stop(&self, target: &Target, ask: bool, say: &dyn Fn(&str)) -> Result<()>;

    /// What is known of the place besides its files.
    fn report(&self) -> PlaceReport;

    /// Why the place is no longer there, when it was lost meanwhile.
    fn lost(&self) -> Option<String> {
        None
    }

    /// The Android device, when it is one that can be asked more than for its
    /// files.
    fn phone(&self) -> Option<&adb::DevicePlace> {
        None
    }
}

/// A store that is about to be touched, for the question whether it is in use.
#[derive(Debug, Clone, Copy)]
pub struct Affected<'a> {
    /// The app's id.
    pub app: &'a str,
    /// The target's id.
    pub target: &'a str,
    /// Whether the files belong to a running system; of an image they can be
    /// open all the same where it is a tree on a disk of this machine.
    pub live: bool,
    /// The target's root folder.
    pub root: &'a Path,
    /// The store's path below it.
    pub path: &'a RelPath,
    /// What was moved from its place just now, before the commit: when there
    /// is any, the question is whether a process still has one of these open,
    /// by what they are, and not who opened what took their places.
    pub moved: &'a [Ident],
}

/// What a place says of itself in a report.
#[derive(Debug, Clone, Default)]
pub struct PlaceReport {
    /// The image's folder, when it is one.
    pub image: Option<PathBuf>,
    /// The Android device, when it is one.
    pub device: Option<adb::DeviceReport>,
    /// What of it is out of reach.
    pub not_checked: Vec<NotChecked>,
    /// What the user can do there by hand instead.
    pub by_hand: Vec<String>,
    /// Remarks on the place.
    pub notes: Vec<String>,
    /// Remarks on an app, by its id.
    pub app_notes: BTreeMap<String, Vec<String>>,
    /// How much room there is, and where, on a place whose disks are not this
    /// machine's.
    pub room: Option<(PathBuf, Space)>,
}

/// The place that the command line names.
///
/// # Errors
/// What [`ImagePlace::open`], [`LocalPlace::open`] and [`adb::open`] refuse.
pub fn open(wanted: &Request, context: &Context<'_>) -> Result<Box<dyn Place>> {
    Ok(match (&wanted.device.serial, &wanted.image) {
        (Some(serial), _) => Box::new(adb::open(serial, wanted.device.root, context)?),
        (None, Some(dir)) => Box::new(ImagePlace::open(dir, wanted.platform)?.trusting(context.not_in_use)),
        (None, None) => Box::new(LocalPlace::open(wanted.platform)?.trusting(context.not_in_use)),
    })
}

/// What opening a place needs from the program around it.
pub struct Context<'a> {
    /// Loads the profiles of some platforms.
    pub profiles: &'a dyn Fn(Vec<Platform>) -> Result<Profiles>,
    /// Opens, and creates where it is missing, the folder of that name in the
    /// folder for all records.
    pub records: &'a dyn Fn(&Path) -> Result<PathBuf>,
    /// Whether the files are to be looked at, so that a listing is needed.
    pub look: bool,
    /// Whether the user vouches for what cannot be told: that no app has the
    /// files open.
    pub not_in_use: bool,
    /// Cancellation and progress.
    pub control: &'a Control,
}

/// Why a folder that a profile names is not among the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// A safety rule forbids it: a link, a mount point, a shared folder.
    Refused,
    /// It, or a folder above it, could not be read: what is there is unknown.
    Unreadable,
    /// The app uses it, but no rule leads there from where this scan looked.
    Elsewhere,
    /// It is looked at all the same, as a part of something else.
    Remark,
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
    /// What would make it visible.
    pub how: Option<String>,
}

impl Note {
    pub(crate) fn new(kind: NoteKind, path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self { kind, app: None, path: path.into(), reason: reason.into(), how: None }
    }

    /// A link below a base folder of this machine.
    pub(crate) fn link(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let reason = "it is a link, and links below the base folder are never followed";
        let to = crate::fsys::real_path(&path).ok().filter(|_| !crate::fsys::is_remote(&path));
        let how = to.map(|to| format!("what it leads to is looked at by {}", check_it(&to)));
        Self { how, ..Self::new(NoteKind::Refused, path, reason) }
    }

    /// A link in an image. Where it leads is the image's own word, so it is no
    /// part of the advice.
    pub(crate) fn link_in_image(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let (whose, how) = if crate::fsys::is_remote(&path) {
            ("on a device", "copy what it leads to from the device, and name the copy with --image")
        } else {
            ("in an image", "name the folder that it leads to with --image, if the image has it")
        };
        let reason = format!("it is a link, or reached through one, and links {whose} are never followed");
        Self::new(NoteKind::Refused, path, reason).see_by(how)
    }

    /// Something that could not be read.
    pub(crate) fn unreadable(path: impl Into<PathBuf>, e: &io::Error) -> Self {
        let path = path.into();
        let reason = privacy::reason(&path, e);
        Self { how: how_to_read(e), ..Self::new(NoteKind::Unreadable, path, reason) }
    }

    #[must_use]
    pub(crate) fn see_by(mut self, how: impl Into<String>) -> Self {
        self.how = Some(how.into());
        self
    }

    /// As what was not looked at; a remark is none.
    #[must_use]
    pub fn not_checked(&self) -> Option<NotChecked> {
        if self.kind == NoteKind::Remark {
            return None;
        }
        let out = NotChecked::new(crate::fsys::shown(&self.path), crate::fsys::printable(&self.reason));
        Some(match &self.how {
            Some(how) => out.see_by(crate::fsys::printable(how)),
            None => out,
        })
    }
}

/// The command that looks at a folder which is part of no target.
pub(crate) fn check_it(path: &Path) -> String {
    format!("`shopmend check {}`", crate::lines::shell_word(&crate::fsys::shown(path)))
}

/// What helps against an error of reading.
pub(crate) fn how_to_read(e: &io::Error) -> Option<String> {
    (e.kind() == io::ErrorKind::PermissionDenied)
        .then(|| "run shopmend as its owner, or give yourself the right to read it".to_owned())
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
    /// What tells its processes from others.
    #[must_use]
    pub fn files(&self) -> AppFiles<'_> {
        AppFiles { names: &self.app.processes, roots: self.roots.iter().map(|r| r.path.as_path()).collect() }
    }

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
    /// What its folders are opened on.
    pub disk: Disk,
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
        self.disk.open(&self.base)?.dir(&self.below)
    }
}
