//! Looking around in a tree that may be hostile: by plain names, never through
//! a link.

use std::path::{Path, PathBuf};

use super::resolve::absent;
use super::{Note, NoteKind};
use crate::profile::prepared;

/// Most entries of a folder that are looked at for users or apps.
const MAX_ENTRIES: usize = 10_000;

/// A look around, with what could not be looked at.
#[derive(Debug)]
pub(crate) struct Look {
    fold: bool,
    pub notes: Vec<Note>,
}

impl Look {
    /// `fold` where names that differ only in case are the same.
    pub(crate) fn new(fold: bool) -> Self {
        Self { fold, notes: Vec::new() }
    }

    /// The folder reached by these names, `/` between them, if it is there.
    pub(crate) fn folder(&mut self, parent: &Path, names: &str) -> Option<PathBuf> {
        let mut at = parent.to_path_buf();
        for name in names.split('/') {
            at = self.one(&at, name)?;
        }
        Some(at)
    }

    fn one(&mut self, parent: &Path, name: &str) -> Option<PathBuf> {
        let exact = parent.join(name);
        match std::fs::symlink_metadata(&exact) {
            Ok(meta) if meta.is_dir() => return Some(exact),
            Ok(meta) if meta.is_symlink() => {
                self.notes.push(Note::link_in_image(&exact));
                return None;
            }
            Ok(_) => return None,
            Err(e) if absent(&e) => {}
            Err(e) => {
                self.notes.push(Note::unreadable(&exact, &e));
                return None;
            }
        }
        if !self.fold {
            return None;
        }
        let wanted = prepared(name.as_ref(), true).into_owned();
        self.folders(parent).into_iter().find(|p| p.file_name().is_some_and(|n| prepared(n, true) == wanted))
    }

    /// The real folders in a folder, sorted by name; none when it is absent.
    pub(crate) fn folders(&mut self, parent: &Path) -> Vec<PathBuf> {
        let entries = match std::fs::read_dir(parent) {
            Ok(entries) => entries,
            Err(e) if absent(&e) => return Vec::new(),
            Err(e) => {
                self.notes.push(Note::unreadable(parent, &e));
                return Vec::new();
            }
        };
        let mut out = Vec::new();
        for (nth, entry) in entries.enumerate() {
            if nth == MAX_ENTRIES {
                let why = format!("it has more than {MAX_ENTRIES} entries; the others were not looked at");
                self.notes.push(Note::new(NoteKind::Refused, parent, why));
                break;
            }
            match entry {
                // `file_type` does not follow a link.
                Ok(entry) if entry.file_type().is_ok_and(|t| t.is_dir()) => out.push(entry.path()),
                Ok(_) => {}
                Err(e) => {
                    self.notes.push(Note::unreadable(parent, &e));
                    break;
                }
            }
        }
        out.sort();
        out
    }

    /// Whether any of these folders is there; nothing is noted.
    pub(crate) fn has_any(&self, parent: &Path, names: &[&str]) -> bool {
        let mut quiet = Self::new(self.fold);
        names.iter().any(|n| quiet.folder(parent, n).is_some())
    }
}
