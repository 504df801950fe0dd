//! The one way to walk a tree: by directory handles, so that nobody can slip a
//! link in between two looks. Links are leaves, other file systems are not
//! entered, and a folder that cannot be listed is an error of its own, never
//! an empty folder.

use std::ffi::{OsStr, OsString};
use std::io;

use super::entries::Entries;
use super::remote::Listed;
use super::{Dir, Kind, Meta, RelPath};

/// How deep a tree may be; what lies deeper is reported, not entered.
pub const MAX_DEPTH: usize = 128;

/// One entry below the walked directory.
#[derive(Debug, Clone)]
pub struct Walked {
    /// Its last component.
    pub name: OsString,
    pub path: RelPath,
    pub meta: Meta,
}

/// A place that could not be looked at: what is below it is unknown.
#[derive(Debug)]
pub struct Unreadable {
    pub path: RelPath,
    pub source: io::Error,
}

/// What a walk meets, parents before children, names sorted.
pub type Step = Result<Walked, Unreadable>;

impl Dir {
    /// Walks everything below this directory; the directory itself is not an item.
    ///
    /// `enter` decides for each folder whether to look inside, before the
    /// folder itself is an item.
    pub fn walk<F: FnMut(&RelPath) -> bool>(&self, mut enter: F) -> Walk<'_, F> {
        let far = self.there(&RelPath::root()).map(|(there, on)| walk_there(there.walk(&on), &mut enter));
        let next = far.is_none().then(RelPath::root);
        let far = far.unwrap_or_default().into_iter();
        Walk { top: self, device: None, enter, open: Vec::new(), next, far }
    }
}

/// See [`Dir::walk`].
#[derive(Debug)]
pub struct Walk<'a, F> {
    top: &'a Dir,
    /// The file system of the walked directory, once that is open.
    device: Option<u64>,
    enter: F,
    /// The folders that lead to where the walk is, the outermost first.
    open: Vec<Folder>,
    /// The folder to look into next.
    next: Option<RelPath>,
    /// All of a walk on another device.
    far: std::vec::IntoIter<Step>,
}

#[derive(Debug)]
struct Folder {
    dir: Dir,
    path: RelPath,
    entries: Entries,
}

impl<F: FnMut(&RelPath) -> bool> Iterator for Walk<'_, F> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(step) = self.far.next() {
            return Some(step);
        }
        if let Some(path) = self.next.take()
            && let Err(source) = self.look_into(&path)
        {
            return Some(Err(Unreadable { path, source }));
        }
        loop {
            let folder = self.open.last_mut()?;
            let Some(entry) = folder.entries.next() else {
                self.open.pop();
                continue;
            };
            let named = entry.and_then(|entry| {
                let path = folder.path.join(&entry.name).map_err(io::Error::other)?;
                Ok(Walked { name: entry.name, path, meta: entry.meta })
            });
            return Some(match named {
                Ok(walked) => self.step(walked),
                Err(source) => {
                    let path = folder.path.clone();
                    self.open.pop();
                    Err(Unreadable { path, source })
                }
            });
        }
    }
}

impl<F: FnMut(&RelPath) -> bool> Walk<'_, F> {
    /// How many more entries the folder of the last item has.
    #[must_use]
    pub fn left(&self) -> usize {
        self.open.last().map_or(0, |folder| folder.entries.left())
    }

    fn look_into(&mut self, path: &RelPath) -> io::Result<()> {
        let dir = match (self.open.last(), path.file_name()) {
            (Some(folder), Some(name)) => {
                folder.dir.dir(&RelPath::name(name.to_owned()).map_err(io::Error::other)?)?
            }
            _ => self.top.dir(path)?,
        };
        if self.device.is_none() {
            self.device = Some(dir.stat(&RelPath::root())?.dev);
        }
        let entries = dir.entries()?;
        self.open.push(Folder { dir, path: path.clone(), entries });
        Ok(())
    }

    fn step(&mut self, walked: Walked) -> Step {
        // What another file system is mounted on is an item, and left alone.
        if walked.meta.kind == Kind::Dir && Some(walked.meta.dev) == self.device && (self.enter)(&walked.path)
        {
            if self.open.len() >= MAX_DEPTH {
                let source = io::Error::other("the folder is nested too deeply to be looked at");
                return Err(Unreadable { path: walked.path, source });
            }
            self.next = Some(walked.path.clone());
        }
        Ok(walked)
    }
}

/// The walk of another device, which lists a tree in one go.
fn walk_there(all: io::Result<Vec<Listed>>, enter: &mut dyn FnMut(&RelPath) -> bool) -> Vec<Step> {
    let all = match all {
        Ok(all) => all,
        Err(source) => return vec![Err(Unreadable { path: RelPath::root(), source })],
    };
    let mut out = Vec::with_capacity(all.len());
    let mut left: Option<RelPath> = None;
    for item in all {
        let path = item.as_ref().map_or_else(|(path, _)| path, |(path, _)| path);
        if left.as_ref().is_some_and(|left| path != left && path.starts_with(left)) {
            continue;
        }
        match item {
            Ok((path, meta)) => {
                if meta.kind == Kind::Dir && !enter(&path) {
                    left = Some(path.clone());
                }
                let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
                out.push(Ok(Walked { name, path, meta }));
            }
            Err((path, source)) => out.push(Err(Unreadable { path, source })),
        }
    }
    out
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsys::Kind;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_leaves_and_pruned_folders_are_not_entered() {
        let tmp = tempfile::tempdir().unwrap();
        let base = tmp.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("root/a/b")).unwrap();
        std::fs::create_dir_all(base.join("root/skip/deep")).unwrap();
        std::fs::create_dir_all(base.join("outside")).unwrap();
        std::fs::write(base.join("outside/precious"), "x").unwrap();
        std::fs::write(base.join("root/a/b/f"), "x").unwrap();
        symlink(base.join("outside"), base.join("root/a/link")).unwrap();

        let dir = Dir::open(&base.join("root")).unwrap();
        let seen: Vec<(String, Kind)> = dir
            .walk(|p| p.to_text() != "skip")
            .map(|s| s.map(|w| (w.path.to_text(), w.meta.kind)).unwrap())
            .collect();
        let expected = [
            ("a", Kind::Dir),
            ("a/b", Kind::Dir),
            ("a/b/f", Kind::File),
            ("a/link", Kind::Link),
            ("skip", Kind::Dir),
        ];
        assert_eq!(seen, expected.map(|(p, k)| (p.to_owned(), k)));
    }
}
