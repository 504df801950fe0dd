//! Whose data lies where: one user's base folders, as values.
//!
//! Every platform's variables are given their values here by plain functions of
//! an environment or of a tree, so that each can be tested on any machine.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::session::{Elsewhere, MOVING, Program};
use crate::error::{Error, Kind, Result};
use crate::fsys::Disk;
use crate::model::Platform;

/// A folder that a variable stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFolder {
    /// Absolute.
    pub path: PathBuf,
    /// Whether the path itself may lead through links: it is the person's own
    /// choice. In an image it may not. What is below never may.
    pub links: bool,
    /// The only name to look at in it, when just that was given to look at.
    pub only: Option<OsString>,
}

impl BaseFolder {
    /// A folder that the environment or the command line names.
    pub(crate) fn given(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), links: true, only: None }
    }

    /// A folder that was found below another.
    pub(crate) fn found(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), links: false, only: None }
    }
}

/// One user's data at a place.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Which platform's profiles apply.
    pub platform: Platform,
    /// Whose data it is, when the place has several users.
    pub user: Option<String>,
    /// What tells this scope from others of the place: the home folder, or
    /// what stands for it. Part of the target's id.
    pub key: String,
    /// What each variable stands for; several folders are tried in turn.
    pub bases: BTreeMap<&'static str, Vec<BaseFolder>>,
    /// The top of the file system that programs lie in, when it is there.
    pub top: Option<PathBuf>,
    /// When each Android app was last updated, in nanoseconds since 1970.
    pub updates: BTreeMap<String, i128>,
    /// What its folders are opened on.
    pub disk: Disk,
    /// Base folders that this run does not see, though apps may use them.
    pub elsewhere: Vec<Elsewhere>,
    /// This person's running programs.
    pub programs: Vec<Program>,
}

impl Scope {
    pub(crate) fn new(platform: Platform, key: &std::path::Path) -> Self {
        Self {
            platform,
            user: None,
            key: key.display().to_string(),
            bases: BTreeMap::new(),
            top: None,
            updates: BTreeMap::new(),
            disk: Disk::here(),
            elsewhere: Vec::new(),
            programs: Vec::new(),
        }
    }

    pub(crate) fn base(&mut self, name: &'static str, folder: BaseFolder) {
        self.bases.entry(name).or_default().push(folder);
    }
}

/// An environment, as a function from names to values.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The base folders of the person who runs this program, from the environment.
///
/// # Errors
/// Kind `Refused` when the home, or another variable that is needed, is unset,
/// empty, relative, or the top of the file system: nothing is ever guessed.
pub(crate) fn from_env(platform: Platform, env: Env<'_>) -> Result<Scope> {
    let given = BaseFolder::given;
    let mut scope;
    match platform {
        Platform::Linux => {
            let home = needed(env, "HOME")?;
            scope = Scope::new(platform, &home);
            for (name, default) in MOVING {
                // The XDG base directory specification: unset or empty means
                // the default. A relative path it would ignore; here that is
                // an error, as the apps may have taken it at its word.
                match env(name).filter(|v| !v.is_empty()) {
                    Some(value) => scope.base(name, given(absolute(name, &value)?)),
                    None => scope.base(name, given(home.join(default))),
                }
            }
            scope.base("HOME", given(home));
            scope.top = Some(PathBuf::from("/"));
        }
        Platform::Macos => {
            let home = needed(env, "HOME")?;
            scope = Scope::new(platform, &home);
            scope.base("HOME", given(home));
            scope.top = Some(PathBuf::from("/"));
        }
        Platform::Windows => {
            let home = needed(env, "USERPROFILE")?;
            scope = Scope::new(platform, &home);
            scope.base("HOME", given(home));
            for name in ["LOCALAPPDATA", "APPDATA"] {
                scope.base(name, given(needed(env, name)?));
            }
            for (name, variable) in [
                ("PROGRAMFILES", "ProgramFiles"),
                ("PROGRAMFILES_X86", "ProgramFiles(x86)"),
                ("PROGRAMDATA", "ProgramData"),
            ] {
                if let Some(value) = env(variable).filter(|v| !v.is_empty()) {
                    scope.base(name, given(absolute(variable, &value)?));
                }
            }
        }
        Platform::Android => {
            scope = Scope::new(platform, Path::new("/data/user/0"));
            scope.base("DATA", given(PathBuf::from("/data/user/0")));
            scope.base("DATA_DE", given(PathBuf::from("/data/user_de/0")));
            scope.base("EXTERNAL", given(PathBuf::from("/storage/emulated/0/Android/data")));
            scope.top = Some(PathBuf::from("/"));
        }
    }
    Ok(scope)
}

fn needed(env: Env<'_>, name: &str) -> Result<PathBuf> {
    let value = env(name).filter(|v| !v.is_empty()).ok_or_else(|| {
        Error::new(Kind::Refused, format!("the environment variable {name} is not set or empty"))
            .hint(format!("set {name} to your home folder's path, or name a copied tree with --image DIR"))
    })?;
    absolute(name, &value)
}

/// The value of a variable as a path that can be a base folder.
fn absolute(name: &str, value: &OsStr) -> Result<PathBuf> {
    let refuse = |why: &str| {
        Error::new(Kind::Refused, format!("the environment variable {name} {why}"))
            .on(Path::new(value))
            .hint(format!("set {name} to the full path of a folder of yours"))
    };
    let path = Path::new(value);
    if !path.is_absolute() {
        return Err(refuse("is not an absolute path"));
    }
    if path.components().any(|c| matches!(c, Component::ParentDir)) || value.as_encoded_bytes().contains(&0) {
        return Err(refuse("has `..` in it"));
    }
    // Rebuilt by component, so that no trailing separator is left.
    let path: PathBuf = path.components().collect();
    if path.parent().is_none() {
        return Err(refuse("is the top of the file system"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn scope(platform: Platform, vars: &[(&str, &str)]) -> Result<Scope> {
        let map: HashMap<String, OsString> =
            vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        from_env(platform, &|name| map.get(name).cloned())
    }

    fn first(scope: &Scope, name: &str) -> PathBuf {
        scope.bases[name][0].path.clone()
    }

    #[test]
    fn xdg_folders_have_their_defaults() {
        let s = scope(
            Platform::Linux,
            &[("HOME", "/home/ann/"), ("XDG_CACHE_HOME", "/big/cache"), ("XDG_DATA_HOME", "")],
        );
        let s = s.unwrap();
        assert_eq!(first(&s, "HOME"), Path::new("/home/ann"));
        assert_eq!(first(&s, "XDG_CONFIG_HOME"), Path::new("/home/ann/.config"));
        assert_eq!(first(&s, "XDG_CACHE_HOME"), Path::new("/big/cache"));
        assert_eq!(first(&s, "XDG_DATA_HOME"), Path::new("/home/ann/.local/share"));
        assert_eq!(s.key, "/home/ann");
    }

    #[test]
    fn what_is_unset_empty_or_relative_is_an_error_and_never_a_guess() {
        for vars in [
            &[][..],
            &[("HOME", "")],
            &[("HOME", "home/ann")],
            &[("HOME", ".")],
            &[("HOME", "/")],
            &[("HOME", "/home/../etc")],
            &[("HOME", "/home/ann"), ("XDG_CONFIG_HOME", "config")],
            &[("XDG_CONFIG_HOME", "/home/ann/.config")],
        ] {
            let err = scope(Platform::Linux, vars).expect_err(&format!("{vars:?}"));
            assert_eq!(err.kind(), Kind::Refused);
            assert!(err.hint_text().is_some());
        }
        assert!(scope(Platform::Macos, &[("HOME", "")]).is_err());
        assert!(scope(Platform::Windows, &[("USERPROFILE", "/c/Users/ann"), ("APPDATA", "/c/a")]).is_err());
    }

    proptest! {
        #[test]
        fn any_environment_gives_absolute_folders_or_an_error(
            values in prop::collection::vec(prop::option::of("[/.a~$ ]{0,8}"), 4),
        ) {
            let names = ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"];
            let env = |name: &str| names.iter().position(|n| *n == name).and_then(|i| values[i].clone()).map(Into::into);
            if let Ok(scope) = from_env(Platform::Linux, &env) {
                for base in scope.bases.values().flatten() {
                    prop_assert!(base.path.is_absolute() && base.path.parent().is_some());
                    let plain = base.path.components().all(|c| !matches!(c, Component::ParentDir | Component::CurDir));
                    prop_assert!(plain);
                }
            }
        }
    }
}
