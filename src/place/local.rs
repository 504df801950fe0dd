//! This machine, for the person who runs the program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::look::Look;
use super::scope::{Scope, from_env};
use super::session::{Session, elsewhere};
use super::{Affected, Note, Place, PlaceReport, Target, android, in_use};
use crate::error::{Error, Kind, Result};
use crate::model::Platform;
use crate::process::{Processes, Running};

/// Where Waydroid's whole-system installation keeps Android's `/data`.
const WAYDROID_SYSTEM: &str = "/var/lib/waydroid/data";

/// This machine.
#[derive(Debug)]
pub struct LocalPlace {
    scopes: Vec<Scope>,
    notes: Vec<Note>,
    /// Whether what cannot be told counts as not in use.
    trusting: bool,
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
        Self::with_env(Platform::host(), platform, &|name| std::env::var_os(name), &Session::look)
    }

    pub(super) fn with_env(
        host: Platform,
        platform: Option<Platform>,
        env: super::scope::Env<'_>,
        session: &dyn Fn(&OsStr) -> Session,
    ) -> Result<Self> {
        if platform.is_some_and(|p| p != host && (host, p) != (Platform::Linux, Platform::Android)) {
            let wanted = platform.map_or("", Platform::as_str);
            return Err(Error::new(Kind::Usage, format!("this machine runs {host}, not {wanted}"))
                .hint("name the mounted disk or copied tree of the other machine with --image DIR"));
        }
        let mut own = from_env(host, env)?;
        let home = env(if host == Platform::Windows { "USERPROFILE" } else { "HOME" }).unwrap_or_default();
        let session = session(&home);
        if host == Platform::Linux {
            own.elsewhere = elsewhere(&own, &session);
        }
        own.programs = session.programs;
        let mut out = Self { scopes: Vec::new(), notes: Vec::new(), trusting: false };
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
    /// The same, which takes the user's word that no app has files open where
    /// that cannot be told.
    #[must_use]
    pub fn trusting(self, not_in_use: bool) -> Self {
        Self { trusting: not_in_use, ..self }
    }

    /// This machine for work that its records describe: what is worked on is
    /// named by them, so nobody's base folders are looked up.
    #[must_use]
    pub fn by_records() -> Self {
        Self { scopes: Vec::new(), notes: Vec::new(), trusting: false }
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

    fn processes(&self, targets: &[Target]) -> Result<Vec<Vec<Running>>> {
        let processes = Processes::look()?;
        let of = |target: &Target| {
            let mut running = processes.holding(&target.files());
            let marked = in_use::marked(target).into_iter();
            let others: Vec<Running> = marked.filter(|m| running.iter().all(|r| r.pid != m.pid)).collect();
            running.extend(others);
            running
        };
        Ok(targets.iter().map(of).collect())
    }

    fn in_use(&self, store: &Affected<'_>) -> Result<()> {
        in_use::of_store(store, self.trusting)
    }

    fn stop(&self, target: &Target, ask: bool, say: &dyn Fn(&str)) -> Result<()> {
        in_use::stop(target, true, self.trusting, ask, say)
    }

    fn report(&self) -> PlaceReport {
        PlaceReport::default()
    }

    fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    fn notes(&self) -> &[Note] {
        &self.notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: &OsStr) -> Session {
        Session::default()
    }

    #[test]
    fn another_platform_needs_an_image() {
        let env = |name: &str| (name == "HOME").then(|| "/home/ann".into());
        for wrong in [Platform::Windows, Platform::Macos] {
            let err = LocalPlace::with_env(Platform::Linux, Some(wrong), &env, &nobody).unwrap_err();
            assert_eq!(err.kind(), Kind::Usage);
        }
        assert!(LocalPlace::with_env(Platform::Linux, Some(Platform::Android), &env, &nobody).is_ok());
        assert!(LocalPlace::with_env(Platform::Macos, Some(Platform::Android), &env, &nobody).is_err());
    }

    #[test]
    fn waydroid_is_found_below_the_data_folder() {
        let tmp = tempfile::tempdir().unwrap();
        let home = tmp.path().canonicalize().unwrap();
        let app = home.join(".local/share/waydroid/data/data/com.tiktokshop.seller");
        std::fs::create_dir_all(&app).unwrap();
        let env = |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
        let place = LocalPlace::with_env(Platform::Linux, None, &env, &nobody).unwrap();
        let android: Vec<_> = place.scopes().iter().filter(|s| s.platform == Platform::Android).collect();
        assert_eq!(android.len(), 1);
        assert_eq!(android[0].bases["DATA"][0].path, app.parent().unwrap());
    }
}
