//! The last word on every path: what may never be touched, whatever a profile
//! or a plan says. It knows nothing of findings; it only refuses.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Action, Op};
use crate::fsys::{Disk, RelPath};
use crate::model::{Class, SQLITE_SIDECARS, StoreKind};
use crate::place::Target;

/// Refuses actions; made once per run.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Folders that no action may touch or contain: our own state.
    pub own: Vec<PathBuf>,
    /// Home folders: never a root themselves.
    pub homes: Vec<PathBuf>,
    /// What the roots are opened on.
    pub disk: Disk,
}

/// A cleared root must have at least this many components: `/home/ann/.cache`.
const SHORTEST_ROOT: usize = 3;

impl Guard {
    /// Whether `action` may be done on `target`.
    ///
    /// # Errors
    /// The reason, for a person.
    pub fn allows(&self, target: &Target, action: &Action) -> Result<(), String> {
        self.root(&action.root)?;
        for item in action.items() {
            self.item(target, action, &item.path)?;
        }
        if let Op::Clear { files, whole } = &action.op {
            for folder in whole {
                self.clearable(&action.root, &action.path, &folder.path)?;
            }
            self.sidecars_go_with_their_database(action, files.iter().map(|i| &i.path))?;
        }
        Ok(())
    }

    /// Whether one file of an action may be touched; asked again at the act.
    ///
    /// # Errors
    /// The reason, for a person.
    pub fn item(&self, target: &Target, action: &Action, path: &RelPath) -> Result<(), String> {
        let root = target
            .roots
            .iter()
            .find(|r| r.path == action.root)
            .ok_or_else(|| format!("{} is no root of the app", crate::fsys::shown(&action.root)))?;
        let found = root.rules.find(path, false).ok_or_else(|| format!("{path} is under no rule"))?;
        if found.rule.id != action.rule || found.rule.class != action.class {
            return Err(format!("{path} is under the rule {}, not {}", found.rule.id, action.rule));
        }
        if !matches!(action.op, Op::Clear { .. }) {
            return Ok(());
        }
        if action.class != Class::Cache {
            return Err(format!("only caches are cleared, and {} is {} data", action.path, action.class));
        }
        if !found.rule.may_clear() {
            return Err(format!("the rule {} does not allow clearing", action.rule));
        }
        self.clearable(&action.root, &action.path, path)
    }

    /// A root must be a folder of an app, not a home, a drive or our own state.
    ///
    /// # Errors
    /// The reason, for a person.
    pub fn root(&self, root: &Path) -> Result<(), String> {
        let shown = crate::fsys::shown(root);
        if !root.is_absolute() && !crate::fsys::is_remote(root) {
            return Err(format!("{shown} is not absolute"));
        }
        let depth = root.components().filter(|c| matches!(c, std::path::Component::Normal(_))).count();
        if depth < SHORTEST_ROOT {
            return Err(format!("{shown} is too close to the top of the file system"));
        }
        if self.homes.iter().any(|home| home == root || home.starts_with(root)) {
            return Err(format!("{shown} is or holds a home folder"));
        }
        if self.own.iter().any(|own| own.starts_with(root) || root.starts_with(own)) {
            return Err(format!("{shown} and the folder for backups lie in each other"));
        }
        Ok(())
    }

    /// Whether one path of the cache at `store` may be cleared.
    ///
    /// # Errors
    /// The reason, for a person.
    pub fn clearable(&self, root: &Path, store: &RelPath, path: &RelPath) -> Result<(), String> {
        if !path.starts_with(store) {
            return Err(format!("{path} lies outside {store}"));
        }
        let absolute = root.join(path.as_path());
        if self.own.iter().any(|own| own.starts_with(&absolute) || absolute.starts_with(own)) {
            return Err(format!("{path} holds or belongs to the folder for backups"));
        }
        Ok(())
    }

    /// A `-wal` or `-journal` without its database, or LevelDB's control files
    /// without the rest, is how cleaners corrupt healthy stores.
    fn sidecars_go_with_their_database<'a>(
        &self,
        action: &Action,
        files: impl Iterator<Item = &'a RelPath> + Clone,
    ) -> Result<(), String> {
        let all: std::collections::HashSet<&RelPath> = files.clone().collect();
        for path in files {
            let Some(name) = path.file_name() else { continue };
            let bytes = name.as_encoded_bytes();
            for suffix in SQLITE_SIDECARS {
                let Some(stem) = bytes.strip_suffix(suffix.as_bytes()) else { continue };
                let Ok(stem) = std::str::from_utf8(stem) else { continue };
                let base = path.parent().unwrap_or_default().join(stem);
                let with_base = base.as_ref().is_ok_and(|b| all.contains(b));
                let lone = base.is_ok_and(|b| {
                    self.disk.open(&action.root).and_then(|root| root.exists(&b)).is_ok_and(|there| !there)
                });
                if !with_base && !lone {
                    return Err(format!("{path} would go without its database"));
                }
            }
            if action.kind == StoreKind::Leveldb || is_leveldb_control(name) {
                let folder = path.parent().unwrap_or_default();
                let whole = matches!(&action.op, Op::Clear { whole, .. } if whole.iter().any(|w| folder.starts_with(&w.path)));
                if !whole {
                    return Err(format!("{path} would go without the rest of its LevelDB folder"));
                }
            }
        }
        Ok(())
    }
}

fn is_leveldb_control(name: &OsStr) -> bool {
    name == "CURRENT" || name.to_string_lossy().starts_with("MANIFEST-")
}
