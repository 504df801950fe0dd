//! A mounted disk, or a tree that was copied from a device.
//!
//! Nothing in it is trusted: no link is followed, and whose data it is comes
//! from where it lies, not from this machine's environment.

use std::path::{Path, PathBuf};

use super::look::Look;
use super::scope::{BaseFolder, Scope};
use super::{Affected, Note, Place, PlaceReport, Target, android, in_use};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::fsys::{Disk, real_path, shown};
use crate::model::Platform;
use crate::process::Running;

/// What tells a person's home folder on Linux from other folders.
const LINUX_HOME: &[&str] = &[".config", ".cache", ".mozilla", ".var/app", ".local/share", "snap"];

/// A mounted disk or a copied tree.
#[derive(Debug)]
pub struct ImagePlace {
    dir: PathBuf,
    scopes: Vec<Scope>,
    notes: Vec<Note>,
    /// Whether what cannot be told counts as not in use.
    trusting: bool,
}

impl ImagePlace {
    /// The tree below `dir`, in the layout of `platform`; every platform's
    /// layout is tried when none is given.
    ///
    /// It may be a whole disk, the home folder of one person, the folder of all
    /// home folders, or for Android a data partition, a shared storage, or
    /// folders of apps.
    ///
    /// # Errors
    /// Kind `Usage` when `dir` is no folder, or nobody's data is found in it.
    pub fn open(dir: &Path, platform: Option<Platform>) -> Result<Self> {
        let real = real_path(dir).map_err(|e| {
            Error::new(Kind::Usage, "cannot open the image")
                .on(dir)
                .because(e)
                .hint("name an existing folder")
        })?;
        if !real.is_dir() {
            return Err(Error::new(Kind::Usage, "the image is not a folder")
                .on(dir)
                .hint("mount the disk image first, or unpack the archive, and name the folder"));
        }
        let all = [Platform::Windows, Platform::Macos, Platform::Linux, Platform::Android];
        let mut out = Self { dir: real.clone(), scopes: Vec::new(), notes: Vec::new(), trusting: false };
        for one in all.into_iter().filter(|p| platform.is_none_or(|wanted| wanted == *p)) {
            let mut look = Look::new(one.ignores_case());
            let found = match one {
                Platform::Windows => windows(&real, &mut look),
                Platform::Macos => macos(&real, &mut look),
                Platform::Linux => linux(&real, platform.is_some(), &mut look),
                Platform::Android => android::image(&real, platform.is_some(), &mut look),
            };
            if !found.is_empty() || platform.is_some() {
                out.notes.append(&mut look.notes);
            }
            out.scopes.extend(found);
        }
        if out.scopes.is_empty() {
            let what = platform.map_or("no platform's data".to_owned(), |p| format!("no {p} data"));
            let unread =
                out.notes.first().map(|n| format!("; {}: {}", shown(&n.path), n.reason)).unwrap_or_default();
            return Err(Error::new(Kind::Usage, format!("{what} found in the image{unread}")).on(dir).hint(
                "name the top of the mounted disk, a home folder, or for Android the data partition or an app's folder",
            ));
        }
        Ok(out)
    }

    /// The same, which takes the user's word that no app has files open where
    /// that cannot be told.
    #[must_use]
    pub fn trusting(self, not_in_use: bool) -> Self {
        Self { trusting: not_in_use, ..self }
    }

    /// The image's real path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Place for ImagePlace {
    fn live(&self) -> bool {
        false
    }

    fn name(&self) -> String {
        format!("the image {}", shown(&self.dir))
    }

    fn options(&self) -> String {
        let platform = self.scopes.first().map(|s| format!(" --platform {}", s.platform));
        let dir = self.dir.to_string_lossy();
        format!(" --image {}{}", crate::lines::shell_word(&dir), platform.unwrap_or_default())
    }

    fn disk(&self) -> Disk {
        Disk::here()
    }

    fn records(&self, all: &Path) -> PathBuf {
        all.to_path_buf()
    }

    fn begin(&self, _control: &Control) -> Result<()> {
        Ok(())
    }

    fn load(&self, _targets: &[Target], _caches: bool, _control: &Control) -> Result<()> {
        Ok(())
    }

    fn end(&self) -> Result<()> {
        Ok(())
    }

    fn processes(&self, targets: &[Target]) -> Result<Vec<Vec<Running>>> {
        Ok(vec![Vec::new(); targets.len()])
    }

    fn in_use(&self, store: &Affected<'_>) -> Result<()> {
        in_use::of_store(store, self.trusting)
    }

    /// An image may lie on a disk of this machine that an app uses, in a
    /// container or a virtual machine.
    fn stop(&self, target: &Target, ask: bool, say: &dyn Fn(&str)) -> Result<()> {
        in_use::stop(target, false, self.trusting, ask, say)
    }

    fn report(&self) -> PlaceReport {
        PlaceReport { image: Some(self.dir.clone()), ..PlaceReport::default() }
    }

    fn lost(&self) -> Option<String> {
        None
    }

    fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    fn notes(&self) -> &[Note] {
        &self.notes
    }
}

fn name_of(path: &Path) -> Option<String> {
    path.file_name().map(|n| n.to_string_lossy().into_owned())
}

fn windows(dir: &Path, look: &mut Look) -> Vec<Scope> {
    let mut homes = Vec::new();
    let users = look.folder(dir, "Users");
    let whole = users.is_some();
    if let Some(users) = users {
        homes.extend(look.folders(&users));
    } else if look.has_any(dir, &["AppData"]) {
        homes.push(dir.to_path_buf());
    } else {
        homes.extend(look.folders(dir));
    }
    let mut out = Vec::new();
    // `Default` is the mould for new users, `Public` nobody's.
    let nobody = ["default", "public", "all users", "default user"];
    for home in homes {
        if !look.has_any(&home, &["AppData"]) {
            continue;
        }
        let user = name_of(&home);
        if whole && user.as_ref().is_some_and(|u| nobody.contains(&u.to_lowercase().as_str())) {
            continue;
        }
        let mut scope = Scope::new(Platform::Windows, &home);
        scope.user = user;
        for (name, below) in [("LOCALAPPDATA", "AppData/Local"), ("APPDATA", "AppData/Roaming")] {
            if let Some(path) = look.folder(&home, below) {
                scope.base(name, BaseFolder::found(path));
            }
        }
        if whole {
            for (name, top) in [
                ("PROGRAMFILES", "Program Files"),
                ("PROGRAMFILES_X86", "Program Files (x86)"),
                ("PROGRAMDATA", "ProgramData"),
            ] {
                if let Some(path) = look.folder(dir, top) {
                    scope.base(name, BaseFolder::found(path));
                }
            }
        }
        scope.base("HOME", BaseFolder::found(home));
        out.push(scope);
    }
    out
}

fn macos(dir: &Path, look: &mut Look) -> Vec<Scope> {
    let mut homes = Vec::new();
    let mut top = None;
    // A system volume has the users' data volume mounted inside.
    for users in ["Users", "System/Volumes/Data/Users"] {
        if look.has_any(dir, &[users])
            && let Some(users) = look.folder(dir, users)
        {
            homes.extend(look.folders(&users));
            top = Some(dir.to_path_buf());
        }
    }
    if top.is_none() {
        if look.has_any(dir, &["Library/Application Support", "Library/Caches", "Library/Containers"]) {
            homes.push(dir.to_path_buf());
        } else {
            homes.extend(look.folders(dir));
        }
    }
    let mut out = Vec::new();
    for home in homes {
        if !look.has_any(&home, &["Library/Application Support", "Library/Caches", "Library/Containers"]) {
            continue;
        }
        let mut scope = Scope::new(Platform::Macos, &home);
        scope.user = name_of(&home);
        scope.top.clone_from(&top);
        scope.base("HOME", BaseFolder::found(home));
        out.push(scope);
    }
    out
}

fn linux(dir: &Path, sure: bool, look: &mut Look) -> Vec<Scope> {
    let mut homes = Vec::new();
    let mut top = None;
    for users in ["home", "var/home"] {
        if look.has_any(dir, &[users]) {
            homes.extend(look.folders(&dir.join(users)).into_iter().map(|h| (h, sure)));
            top = Some(dir.to_path_buf());
        }
    }
    if look.has_any(dir, &["root"]) && (top.is_some() || look.has_any(dir, &["etc"])) {
        homes.push((dir.join("root"), false));
        top = Some(dir.to_path_buf());
    }
    if top.is_none() {
        if look.has_any(dir, LINUX_HOME) {
            homes.push((dir.to_path_buf(), false));
        } else {
            homes.extend(look.folders(dir).into_iter().map(|h| (h, false)));
        }
    }
    let mut out = Vec::new();
    for (home, sure) in homes {
        if !sure && !look.has_any(&home, LINUX_HOME) {
            continue;
        }
        let mut scope = Scope::new(Platform::Linux, &home);
        scope.user = name_of(&home);
        scope.top.clone_from(&top);
        for (name, below) in
            [("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache"), ("XDG_DATA_HOME", ".local/share")]
        {
            if let Some(path) = look.folder(&home, below) {
                scope.base(name, BaseFolder::found(path));
            }
        }
        let waydroid = look.folder(&home, ".local/share/waydroid/data");
        scope.base("HOME", BaseFolder::found(home));
        out.push(scope);
        if let Some(data) = waydroid {
            out.extend(android::data_partition(&data, look));
        }
    }
    if look.has_any(dir, &["var/lib/waydroid/data"]) {
        out.extend(android::data_partition(&dir.join("var/lib/waydroid/data"), look));
    }
    out
}
