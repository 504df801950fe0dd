//! A mounted disk, or a tree that was copied from a device.
//!
//! Nothing in it is trusted: no link is followed, and whose data it is comes
//! from where it lies, not from this machine's environment.

use std::path::{Path, PathBuf};

use super::look::Look;
use super::scope::{BaseFolder, Scope};
use super::{Affected, Note, Place, PlaceReport, Target, android, in_use};
use crate::error::{Error, Kind, Result};
use crate::fsys::{real_path, shown};
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
    if let Some(users) = &users {
        homes.extend(look.folders(users));
    } else if look.has_any(dir, &["AppData"]) {
        homes.push(dir.to_path_buf());
    } else {
        homes.extend(look.folders(dir));
    }
    let mut out = Vec::new();
    // `Default` is the mould for new users, `Public` nobody's.
    let nobody = ["default", "public", "all users", "default user"];
    if let Some(users) = users {
        look.links_to_homes(dir, &users, &homes, &nobody);
    }
    for home in homes {
        let user = name_of(&home);
        if whole && user.as_ref().is_some_and(|u| nobody.contains(&u.to_lowercase().as_str())) {
            continue;
        }
        if !is_home(look, whole, &home, &["AppData"]) {
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
            let found = look.folders(&users);
            look.links_to_homes(dir, &users, &found, &[]);
            homes.extend(found);
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
        let whole = top.is_some() && name_of(&home).is_none_or(|n| n != "Shared");
        let traits = ["Library/Application Support", "Library/Caches", "Library/Containers"];
        if !is_home(look, whole, &home, &traits) {
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
            let found = look.folders(&dir.join(users));
            look.links_to_homes(dir, &dir.join(users), &found, &[]);
            homes.extend(found.into_iter().map(|h| (h, sure)));
            top = Some(dir.to_path_buf());
        }
    }
    // Domain accounts have theirs a folder deeper: /home/DOMAIN/USER.
    let mut deeper = Vec::new();
    homes.retain(|(home, _)| {
        // One whose folders are links is a home all the same.
        let is_home = LINUX_HOME.iter().any(|name| std::fs::symlink_metadata(home.join(name)).is_ok());
        let inside = if is_home { Vec::new() } else { quiet_folders(home) };
        let people: Vec<PathBuf> = inside.into_iter().filter(|h| look.has_any(h, LINUX_HOME)).collect();
        let is_one = people.is_empty();
        deeper.extend(people.into_iter().map(|h| (h, false)));
        is_one
    });
    homes.extend(deeper);
    if look.has_any(dir, &["root"]) && (top.is_some() || look.has_any(dir, &["etc"])) {
        homes.push((dir.join("root"), false));
        top = Some(dir.to_path_buf());
    }
    if top.is_some() || look.has_any(dir, &["etc"]) {
        for home in passwd_homes(dir, look) {
            top = Some(dir.to_path_buf());
            if !homes.iter().any(|(h, _)| *h == home) {
                homes.push((home, false));
            }
        }
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
        let whole = top.is_some() && name_of(&home).is_none_or(|n| n != "lost+found");
        if !is_home(look, whole, &home, LINUX_HOME) && !sure {
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

/// Whether a folder is a person's home. Where every folder should be one, what
/// keeps that from being told is noted.
fn is_home(look: &mut Look, whole: bool, home: &Path, names: &[&str]) -> bool {
    if whole { look.is_home(home, names) } else { look.has_any(home, names) }
}

/// The real folders in a folder, as far as they can be listed.
fn quiet_folders(parent: &Path) -> Vec<PathBuf> {
    Look::new(false).folders(parent)
}

/// Largest list of accounts that is read.
const MAX_PASSWD: u64 = 4 << 20;
/// Accounts of people begin here on every current distribution (login.defs(5)).
const FIRST_PERSON: u32 = 1000;

/// The homes of the accounts in `etc/passwd` (passwd(5)) that are there. Those
/// of services have no home of a person's sort, and are passed over in silence.
fn passwd_homes(dir: &Path, look: &mut Look) -> Vec<PathBuf> {
    let Some(list) = look.file(dir, "etc/passwd", MAX_PASSWD) else { return Vec::new() };
    let mut out = Vec::new();
    for line in String::from_utf8_lossy(&list).lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let (Some(uid), Some(home)) = (fields.get(2).and_then(|u| u.parse::<u32>().ok()), fields.get(5))
        else {
            continue;
        };
        let names = home.trim_matches('/');
        let plain = !names.is_empty() && names.split('/').all(|n| !matches!(n, "" | "." | ".."));
        if !home.starts_with('/') || !plain {
            continue;
        }
        if look.has_any(dir, &[names]) {
            let home = dir.join(names);
            if look.has_any(&home, LINUX_HOME) {
                out.push(home);
            } else if uid >= FIRST_PERSON {
                look.is_home(&home, LINUX_HOME);
            }
        } else if uid >= FIRST_PERSON {
            // Through a link, or closed: that is noted.
            look.folder(dir, names);
        }
    }
    out.sort();
    out.dedup();
    out
}
