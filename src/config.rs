//! The configuration file: what a person always wants kept, and defaults.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::{Age, parse_age};
use crate::error::{Error, Kind, Result};
use crate::model::Platform;

/// `config.toml`; unknown fields are refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    keep: Vec<String>,
    older_than: Option<String>,
    state_dir: Option<PathBuf>,
    profiles: Option<PathBuf>,
}

/// What the configuration says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// Patterns that every plan leaves alone.
    pub(crate) keep: Vec<String>,
    /// Default for `--older-than`.
    pub(crate) older_than: Option<Age>,
    /// Default for `--state-dir`.
    pub(crate) state_dir: Option<PathBuf>,
    /// Default for `--profiles`.
    pub(crate) profiles: Option<PathBuf>,
}

/// Larger files are no configuration.
const MAX_BYTES: u64 = 1024 * 1024;

impl Config {
    /// Reads `given`, which must exist, or `config.toml` in the configuration
    /// folder, which need not.
    ///
    /// # Errors
    /// When the file cannot be read or says what is not understood.
    pub(crate) fn load(given: Option<&Path>) -> Result<Self> {
        let (path, required) = match given {
            Some(path) => (path.to_path_buf(), true),
            None => match folder() {
                Some(folder) => (folder.join("config.toml"), false),
                None => return Ok(Self::default()),
            },
        };
        let size = match std::fs::metadata(&path) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => return Ok(Self::default()),
            Err(e) => return Err(Error::io("the configuration cannot be read", &path, e)),
        };
        if size > MAX_BYTES {
            return Err(Error::new(Kind::Profile, "the configuration is larger than 1 MiB").on(&path));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::io("the configuration cannot be read", &path, e))?;
        Self::parse(&text).map_err(|e| {
            Error::new(Kind::Profile, "the configuration is not valid")
                .on(&path)
                .because(e)
                .hint("known fields: keep, older-than, state-dir, profiles")
        })
    }

    fn parse(text: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let file: File = toml::from_str(text)?;
        // A pattern that does not compile is refused here, where it can be named.
        crate::keep::Keep::new(file.keep.clone())?;
        Ok(Self {
            keep: file.keep,
            older_than: file.older_than.as_deref().map(parse_age).transpose()?,
            state_dir: file.state_dir,
            profiles: file.profiles,
        })
    }
}

/// The folder for configuration and profiles of the user, when one is known.
#[must_use]
pub(crate) fn folder() -> Option<PathBuf> {
    folder_of(Platform::host(), &|name| std::env::var_os(name))
}

/// [`folder`] on a platform, by an environment.
fn folder_of(platform: Platform, env: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let base = match platform {
        Platform::Windows => absolute("APPDATA")?,
        Platform::Macos => absolute("HOME")?.join("Library/Application Support"),
        Platform::Linux | Platform::Android => {
            absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?
        }
    };
    Some(base.join("shopmend"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_knows_and_refuses_the_rest() {
        let config = Config::parse("keep = ['*.png']\nolder-than = '14d'").unwrap();
        assert_eq!(config.keep, ["*.png"]);
        assert!(config.older_than.is_some());
        for bad in ["keeep = []", "keep = [' ']", "older-than = 'soon'", "keep = 3"] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_platform_has_a_folder_of_its_own() {
        let env = |name: &str| {
            let known = [("HOME", "/u/ann"), ("APPDATA", "/c/roaming"), ("XDG_CONFIG_HOME", "conf")];
            known.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        for (platform, folder) in [
            (Platform::Linux, "/u/ann/.config/shopmend"),
            (Platform::Macos, "/u/ann/Library/Application Support/shopmend"),
            (Platform::Windows, "/c/roaming/shopmend"),
        ] {
            assert_eq!(folder_of(platform, &env).unwrap(), Path::new(folder));
            assert_eq!(folder_of(platform, &|_| None), None);
        }
    }
}
