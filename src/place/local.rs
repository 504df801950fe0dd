//! This machine, for the person who runs the program.

use std::path::{Path, PathBuf};

use super::look::Look;
use super::scope::{Scope, from_env};
use super::{Note, Place, android};
use crate::error::{Error, Kind, Result};
use crate::model::Platform;

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

impl Place for LocalPlace {
    fn live(&self) -> bool {
        true
    }

    fn name(&self) -> String {
        "this machine".to_owned()
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
