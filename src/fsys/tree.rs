//! Everything below a folder as it is at the act: read through open handles
//! alone, so that nobody can slip in a link between two looks, and whole or
//! not at all.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use super::{Dir, Doomed, Kind, Meta, RelPath, Room, RoomCount};

/// Deeper trees are refused; no file system path is that long.
const MAX_DEPTH: usize = 2048;

/// All entries below `at`, each folder before what is in it, sorted by name;
/// paths are relative to `dir`. At most `limit` entries.
///
/// # Errors
/// The system's error: a folder that cannot be listed is an error, never an
/// empty one. A mount point inside gives `CrossesDevices`.
pub fn tree(dir: &Dir, at: &RelPath, limit: usize) -> io::Result<Vec<(RelPath, Meta)>> {
    let device = dir.dir(at)?.meta()?.dev;
    if let Some((there, on)) = dir.there(at) {
        let listed = there.walk(&on)?;
        if listed.len() > limit {
            return Err(io::Error::other(format!("more than {limit} entries")));
        }
        let mut out = Vec::with_capacity(listed.len());
        for item in listed {
            let (path, meta) = item.map_err(|(_, e)| e)?;
            if meta.dev != device {
                return Err(io::ErrorKind::CrossesDevices.into());
            }
            out.push((at.join_rel(&path), meta));
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        return Ok(out);
    }
    let mut out: Vec<(RelPath, Meta)> = Vec::new();
    // Folders still to be listed with their depth, the next one last.
    let mut todo = vec![(at.clone(), 0)];
    while let Some((folder, depth)) = todo.pop() {
        if depth > MAX_DEPTH {
            return Err(io::Error::other("the folders are nested too deeply"));
        }
        let open = dir.dir(&folder)?;
        let mut inner = Vec::new();
        for entry in open.list()? {
            let path = folder.join(&entry.name).map_err(io::Error::other)?;
            if entry.meta.dev != device {
                return Err(io::ErrorKind::CrossesDevices.into());
            }
            if entry.meta.kind == Kind::Dir {
                inner.push((path.clone(), depth + 1));
            }
            out.push((path, entry.meta));
            if out.len() > limit {
                return Err(io::Error::other(format!("more than {limit} entries")));
            }
        }
        todo.extend(inner.into_iter().rev());
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(out)
}

/// Whether `at` or anything below it has one of these inodes, by what the
/// folders themselves have: much cheaper than [`tree`]. Only for file systems
/// whose folders have the files' own inodes.
///
/// # Errors
/// The system's error, and `Unsupported` where a listing tells no kinds.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn has_inode(dir: &Dir, at: &RelPath, inodes: &HashSet<u64>) -> io::Result<bool> {
    let top = dir.dir(at)?;
    let mut found = inodes.contains(&top.meta()?.ino);
    let mut todo = vec![(top, 0)];
    while let Some((folder, depth)) = todo.pop().filter(|_| !found) {
        if depth > MAX_DEPTH {
            return Err(io::Error::other("the folders are nested too deeply"));
        }
        let (mut inner, mut unknown) = (Vec::new(), false);
        folder.each_inode(|name, kind, inode| {
            found |= inodes.contains(&inode);
            match kind {
                Some(Kind::Dir) => inner.push(name.to_owned()),
                Some(_) => {}
                None => unknown = true,
            }
        })?;
        if unknown {
            return Err(io::ErrorKind::Unsupported.into());
        }
        for name in inner {
            todo.push((folder.dir(&RelPath::new(name).map_err(io::Error::other)?)?, depth + 1));
        }
    }
    Ok(found)
}

/// Deletes a folder of this program's own with everything in it, through open
/// handles, no link followed and no other file system entered; gives the
/// room on the disk that is free now, in bytes: see [`RoomCount::freed`]. Nothing to do when it is not there.
///
/// # Errors
/// The system's error; the rest is then still there.
pub fn remove_tree(dir: &Dir, at: &RelPath) -> io::Result<u64> {
    let all = match tree(dir, at, usize::MAX) {
        Ok(all) => all,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    if dir.is_remote() {
        return remove_remote_tree(dir, at, &all);
    }
    let mut room = RoomCount::default();
    let mut open: Option<(RelPath, Dir)> = None;
    for (path, meta) in all.iter().rev() {
        let folder = path.parent().unwrap_or_default();
        if open.as_ref().is_none_or(|(path, _)| *path != folder) {
            let inside = dir.dir(&folder)?;
            // A folder that was read-only where it came from.
            if inside.meta()?.mode & 0o300 != 0o300 {
                inside.set_mode(0o700)?;
            }
            open = Some((folder.clone(), inside));
        }
        let (Some((_, inside)), Some(name)) = (&open, path.file_name()) else { continue };
        let name = RelPath::root().join(name).map_err(io::Error::other)?;
        if meta.kind == Kind::Dir {
            inside.remove_dir(&name)?;
        } else {
            inside.unlink(&name, meta.ident())?;
            room.extend((meta.kind == Kind::File).then(|| Room::from(meta)));
        }
    }
    if !at.is_root() {
        dir.remove_dir(at)?;
    }
    Ok(room.freed())
}

/// The same on another device, in a few requests.
fn remove_remote_tree(dir: &Dir, at: &RelPath, all: &[(RelPath, Meta)]) -> io::Result<u64> {
    let doomed = all.iter().rev().map(|(path, meta)| {
        let what = Doomed {
            path: PathBuf::new(),
            dir: meta.kind == Kind::Dir,
            ident: meta.ident(),
            size: meta.size,
            mtime_ns: meta.mtime_ns,
        };
        (path.clone(), what)
    });
    if let Some((path, why)) = dir.remove_all(doomed.collect())?.into_iter().next() {
        return Err(io::Error::other(format!("{path} stays: {why}")));
    }
    if !at.is_root() {
        dir.remove_dir(at)?;
    }
    let mut room = RoomCount::default();
    room.extend(all.iter().filter(|(_, m)| m.kind == Kind::File).map(|(_, m)| Room::from(m)));
    Ok(room.freed())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_listed_parents_first_and_links_are_leaves() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        std::fs::create_dir_all(at("a/b/c")).unwrap();
        std::fs::write(at("a/b.x"), "").unwrap();
        std::fs::write(at("a/b/z"), "").unwrap();
        std::os::unix::fs::symlink("/etc", at("a/b/link")).unwrap();
        let dir = Dir::open(tmp.path()).unwrap();
        let all = tree(&dir, &RelPath::root(), 100).unwrap();
        let names: Vec<String> = all.iter().map(|(p, _)| p.to_text()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/link", "a/b/z", "a/b.x"]);
        assert_eq!(all[3].1.kind, Kind::Link);
        assert!(tree(&dir, &RelPath::root(), 3).is_err());
        assert!(tree(&dir, &RelPath::new("a/b/link").unwrap(), 100).is_err());

        let outside = at("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("precious"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, at("a/b/out")).unwrap();
        assert!(remove_tree(&dir, &RelPath::new("a/b/out").unwrap()).is_err());
        std::fs::write(at("a/b/z"), "12345").unwrap();
        let room = dir.stat(&RelPath::new("a/b/z").unwrap()).unwrap().allocated;
        assert_eq!(remove_tree(&dir, &RelPath::new("a").unwrap()).unwrap(), room);
        assert!(!at("a").exists() && outside.join("precious").exists());
        assert_eq!(remove_tree(&dir, &RelPath::new("a").unwrap()).unwrap(), 0);
    }
}
