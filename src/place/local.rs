//! This machine, for the person who runs the program.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::look::Look;
use super::scope::{Scope, from_env};
use super::{Affected, Note, Place, PlaceReport, Target, android};
use crate::control::Control;
use crate::error::{Error, Kind, Result};
use crate::fsys::{Disk, RelPath};
use crate::model::Platform;
use crate::process::in_use::{self, InUse, Question};
use crate::process::{Processes, Running, stop};

/// How long an app is given to end by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where Waydroid's whole-system installation keeps Android's `/data`.
const WAYDROID_SYSTEM: &str = "/var/lib/waydroid/data";

/// This machine.
#[derive(Debug)]
pub struct LocalPlace {
    scopes: Vec<Scope>,
    notes: Vec<Note>,
}

impl LocalPlace {
    /// This machine, by the environment of this process. `platform` must be the
    /// one that it runs, or Android for the apps in Waydroid on Linux.
    ///
    /// # Errors
    /// Kind `Usage` for another platform; `Refused` when the home folder cannot
    /// be told for sure.
    pub fn open(platform: Option<Platform>) -> Result<Self> {
        // Nothing found in a home that does not exist says nothing.
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|h| cfg!(unix) && h.is_absolute());
        if let Some(home) = home.filter(|home| !home.is_dir()) {
            return Err(Error::new(Kind::Usage, "there is no home folder there, though HOME names it")
                .on(&home)
                .hint("set HOME to a folder that exists, or name a copied tree with --image DIR"));
        }
        Self::with_env(Platform::host(), platform, &|name| std::env::var_os(name))
    }

    pub(super) fn with_env(
        host: Platform,
        platform: Option<Platform>,
        env: super::scope::Env<'_>,
    ) -> Result<Self> {
        if platform.is_some_and(|p| p != host && (host, p) != (Platform::Linux, Platform::Android)) {
            let wanted = platform.map_or("", Platform::as_str);
            return Err(Error::new(Kind::Usage, format!("this machine runs {host}, not {wanted}"))
                .hint("name the mounted disk or copied tree of the other machine with --image DIR"));
        }
        let own = from_env(host, env)?;
        let mut out = Self { scopes: Vec::new(), notes: Vec::new() };
        if host == Platform::Linux {
            let own_data =
                own.bases.get("XDG_DATA_HOME").into_iter().flatten().map(|b| b.path.join("waydroid/data"));
            for data in own_data.chain([PathBuf::from(WAYDROID_SYSTEM)]) {
                out.waydroid(&data);
            }
        }
        if platform != Some(Platform::Android) || host == Platform::Android {
            out.scopes.insert(0, own);
        }
        Ok(out)
    }

    fn waydroid(&mut self, data: &Path) {
        let mut look = Look::new(false);
        self.scopes.extend(android::data_partition(data, &mut look));
        self.notes.append(&mut look.notes);
    }
}

impl LocalPlace {
    /// This machine for work that its records describe: what is worked on is
    /// named by them, so nobody's base folders are looked up.
    #[must_use]
    pub fn by_records() -> Self {
        Self { scopes: Vec::new(), notes: Vec::new() }
    }
}

impl Place for LocalPlace {
    fn live(&self) -> bool {
        true
    }

    fn name(&self) -> String {
        "this machine".to_owned()
    }

    fn options(&self) -> String {
        String::new()
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
        let processes = Processes::look()?;
        let of = |target: &Target| {
            let mut running = processes.holding(&target.files());
            let names = names_of(target);
            let marked = in_use::marked(&target.running_markers(), Some(&names));
            running.extend(marked.into_iter().filter(|m| running.iter().all(|r| r.pid != m.pid)).collect::<Vec<_>>());
            running
        };
        Ok(targets.iter().map(of).collect())
    }

    fn in_use(&self, store: &Affected<'_>) -> Result<()> {
        store_in_use(store)
    }

    fn stop(&self, target: &Target, ask: bool, say: &dyn Fn(&str)) -> Result<()> {
        stop_on(target, true, ask, say)
    }

    fn report(&self) -> PlaceReport {
        PlaceReport::default()
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

/// Sees to it that nothing of this machine uses a target; `live` says whether
/// the target belongs to its running system, so that its app may be asked to
/// end.
pub(super) fn stop_on(target: &Target, live: bool, ask: bool, say: &dyn Fn(&str)) -> Result<()> {
    let running = match of_target(target, live)? {
        InUse::By(running) => running,
        other => return judge(other),
    };
    if !ask || !live || running.iter().any(|r| r.pid == 0) {
        return judge(InUse::By(running));
    }
    say(&format!("Asking {} to end", target.app.name));
    let left = || match of_target(target, live)? {
        InUse::By(running) => Ok(running),
        _ => Ok(Vec::new()),
    };
    let stopped = stop(running, PATIENCE, left)?;
    if !stopped.remaining.is_empty() {
        return judge(InUse::By(stopped.remaining));
    }
    say(&format!("{} has ended", target.app.name));
    // What asked nobody may still be unknown.
    judge(of_target(target, live)?)
}

fn names_of(target: &Target) -> HashSet<String> {
    target.app.processes.iter().map(|n| n.to_lowercase()).collect()
}

/// Whether anything of a target is in use.
fn of_target(target: &Target, live: bool) -> Result<InUse> {
    let whole = RelPath::root();
    let roots: Vec<&Path> = target.roots.iter().map(|r| r.path.as_path()).collect();
    let stores: Vec<(&Path, &RelPath)> = roots.iter().map(|root| (*root, &whole)).collect();
    let (names, markers) = (names_of(target), target.running_markers());
    in_use::ask(&Question {
        live,
        roots: &roots,
        stores: &stores,
        moved: None,
        names: Some(&names),
        markers: &markers,
    })
}

/// An error when a process of this machine has the store open or, of what was
/// moved already, a part of it; and when that cannot be told.
pub(super) fn store_in_use(store: &Affected<'_>) -> Result<()> {
    let markers: Vec<PathBuf> =
        if store.live { in_use::markers_beside(store.root, store.path) } else { Vec::new() };
    judge(in_use::ask(&Question {
        live: store.live,
        roots: &[store.root],
        stores: &[(store.root, store.path)],
        moved: (!store.moved.is_empty()).then_some((store.root, store.moved)),
        names: None,
        markers: &markers,
    })?)
}

/// What an answer means for the work.
fn judge(answer: InUse) -> Result<()> {
    match answer {
        InUse::No => Ok(()),
        InUse::CannotTell { .. } if in_use::vouched() => Ok(()),
        InUse::CannotTell { file, why } => Err(Error::new(
            Kind::AppRunning,
            format!("it cannot be told whether an app has the files open: {why}; nothing was changed"),
        )
        .on(&file)
        .hint("make sure that no app uses it, here or elsewhere, and give --not-in-use")),
        InUse::By(running) => Err(match running.first() {
            Some(Running { pid: 0, holds: Some(file), .. }) => file_in_use(file),
            Some(running) => app_runs(&running.name, running.pid),
            None => file_in_use(Path::new("")),
        }),
    }
}

/// When the system does not tell who it is.
fn file_in_use(file: &Path) -> Error {
    Error::new(Kind::AppRunning, "a program has a file open; nothing was changed")
        .on(file)
        .hint("close the program that uses it and try again")
}

fn app_runs(name: &str, pid: u32) -> Error {
    let name = crate::fsys::printable(name);
    Error::new(Kind::AppRunning, format!("{name} (process {pid}) is using the files; nothing was changed"))
        .hint("close it and try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_platform_needs_an_image() {
        let env = |name: &str| (name == "HOME").then(|| "/home/ann".into());
        for wrong in [Platform::Windows, Platform::Macos] {
            let err = LocalPlace::with_env(Platform::Linux, Some(wrong), &env).unwrap_err();
            assert_eq!(err.kind(), Kind::Usage);
        }
        assert!(LocalPlace::with_env(Platform::Linux, Some(Platform::Android), &env).is_ok());
        assert!(LocalPlace::with_env(Platform::Macos, Some(Platform::Android), &env).is_err());
    }

    #[test]
    fn waydroid_is_found_below_the_data_folder() {
        let tmp = tempfile::tempdir().unwrap();
        let home = tmp.path().canonicalize().unwrap();
        let app = home.join(".local/share/waydroid/data/data/com.tiktokshop.seller");
        std::fs::create_dir_all(&app).unwrap();
        let env = |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
        let place = LocalPlace::with_env(Platform::Linux, None, &env).unwrap();
        let android: Vec<_> = place.scopes().iter().filter(|s| s.platform == Platform::Android).collect();
        assert_eq!(android.len(), 1);
        assert_eq!(android[0].bases["DATA"][0].path, app.parent().unwrap());
    }
}
