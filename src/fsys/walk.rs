//! The one way to walk a tree: links are leaves (the root included), other
//! file systems are not entered, and a folder that cannot be listed is an
//! error of its own, never an empty folder.

use std::io;

use walkdir::WalkDir;

use super::dir::meta_of;
use super::remote::Listed;
use super::{Dir, Kind, Meta, RelPath};

/// How deep a tree may be; what lies deeper is reported, not entered.
pub const MAX_DEPTH: usize = 128;

/// One entry below the walked directory.
#[derive(Debug, Clone)]
pub struct Walked {
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
    /// `enter` decides for each folder whether to look inside; it sees the
    /// folder as an item first.
    pub fn walk(&self, mut enter: impl FnMut(&RelPath) -> bool) -> impl Iterator<Item = Step> {
        let far = self.there(&RelPath::root()).map(|(there, on)| walk_there(there.walk(&on), &mut enter));
        let is_far = far.is_some();
        let mut walk = WalkDir::new(self.path())
            .follow_links(false)
            .follow_root_links(false)
            .same_file_system(true)
            .min_depth(1)
            .max_depth(MAX_DEPTH)
            .sort_by_file_name()
            .into_iter();
        let base = self.path().to_path_buf();
        let near = std::iter::from_fn(move || {
            if is_far {
                return None;
            }
            let item = walk.next()?;
            Some(match item {
                Ok(entry) => {
                    let path = relative(&base, entry.path());
                    match (path, entry.metadata()) {
                        (Ok(path), Ok(meta)) => {
                            if entry.file_type().is_dir() {
                                if !enter(&path) {
                                    walk.skip_current_dir();
                                } else if entry.depth() >= MAX_DEPTH {
                                    return Some(Err(Unreadable {
                                        path,
                                        source: io::Error::other(
                                            "the folder is nested too deeply to be looked at",
                                        ),
                                    }));
                                }
                            }
                            Ok(Walked { path, meta: meta_of(&meta) })
                        }
                        (Ok(path), Err(e)) => Err(Unreadable { path, source: e.into() }),
                        (Err(source), _) => Err(Unreadable { path: RelPath::root(), source }),
                    }
                }
                Err(e) => {
                    let path = e.path().and_then(|p| relative(&base, p).ok()).unwrap_or_default();
                    Err(Unreadable { path, source: e.into() })
                }
            })
        });
        far.into_iter().flatten().chain(near)
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
                out.push(Ok(Walked { path, meta }));
            }
            Err((path, source)) => out.push(Err(Unreadable { path, source })),
        }
    }
    out
}

fn relative(base: &std::path::Path, path: &std::path::Path) -> io::Result<RelPath> {
    path.strip_prefix(base)
        .map_err(io::Error::other)
        .and_then(|rel| RelPath::new(rel).map_err(io::Error::other))
}

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
