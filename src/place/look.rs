//! Looking around in a tree that may be hostile: by plain names, never through
//! a link.

use std::io::Read as _;
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

    /// Whether a folder is a person's home: whether any of these folders is in
    /// it. When that cannot be told, or one is a link, it is noted.
    pub(crate) fn is_home(&mut self, home: &Path, names: &[&str]) -> bool {
        let mut quiet = Self::new(self.fold);
        let found = names.iter().any(|n| quiet.folder(home, n).is_some());
        if !found {
            let closed = quiet.notes.iter().position(|n| n.kind == NoteKind::Unreadable);
            // One that cannot be entered says the same of every name.
            match closed.map(|at| quiet.notes.swap_remove(at)) {
                Some(note) => self.notes.push(Note { path: home.to_path_buf(), ..note }),
                None => self.notes.append(&mut quiet.notes),
            }
        }
        found
    }

    /// The links in a folder of homes, below `top`, that lead to none of
    /// `homes`: whose home it is behind one is not known.
    pub(crate) fn links_to_homes(&mut self, top: &Path, parent: &Path, homes: &[PathBuf], known: &[&str]) {
        let Ok(entries) = std::fs::read_dir(parent) else { return };
        let mut links: Vec<PathBuf> = entries
            .take(MAX_ENTRIES)
            .flatten()
            .filter(|e| e.file_type().is_ok_and(|t| t.is_symlink()))
            .map(|e| e.path())
            .collect();
        links.sort();
        for link in links {
            let name = link.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            let to = std::fs::read_link(&link).unwrap_or_default();
            let to = match to.strip_prefix("/") {
                Ok(below) => top.join(below),
                Err(_) => parent.join(&to),
            };
            let to = super::listed::without_dots(&to);
            let is_file = std::fs::symlink_metadata(&to).is_ok_and(|m| m.is_file());
            if !known.contains(&name.as_str()) && !homes.contains(&to) && !is_file {
                self.notes.push(Note::link_in_image(&link));
            }
        }
    }

    /// A small file, when it is one; what it is beyond `most` bytes is left out.
    pub(crate) fn file(&mut self, parent: &Path, names: &str, most: u64) -> Option<Vec<u8>> {
        let (folder, name) = names.rsplit_once('/').map_or((None, names), |(f, n)| (Some(f), n));
        let folder = match folder {
            Some(folder) => self.folder(parent, folder)?,
            None => parent.to_path_buf(),
        };
        let path = folder.join(name);
        if !std::fs::symlink_metadata(&path).ok()?.is_file() {
            return None;
        }
        let mut out = Vec::new();
        let read =
            std::fs::File::open(&path).and_then(|f| std::io::Read::take(f, most).read_to_end(&mut out));
        if let Err(e) = read {
            self.notes.push(Note::unreadable(&path, &e));
        }
        Some(out)
    }

    /// Whether any of these folders is there; nothing is noted.
    pub(crate) fn has_any(&self, parent: &Path, names: &[&str]) -> bool {
        let mut quiet = Self::new(self.fold);
        names.iter().any(|n| quiet.folder(parent, n).is_some())
    }
}
