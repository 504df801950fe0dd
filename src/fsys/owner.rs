//! Whose a folder is, and who could put another in its place.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Dir, Ident, Kind, Meta, RelPath, sys};

/// The user that this process acts for; `None` where there are none.
#[must_use]
pub fn effective_user() -> Option<u32> {
    sys::effective_user()
}

impl Dir {
    /// Which folders it lies in, itself first, up to the top of the file system.
    ///
    /// # Errors
    /// The system's error.
    pub fn ancestry(&self) -> io::Result<Vec<Ident>> {
        if self.is_remote() {
            // In no folder of this machine.
            return Ok(Vec::new());
        }
        sys::ancestry(self.fd()?)
    }

    /// Opens `path` one folder at a time, never through a link, and says
    /// which folder above it, if any, lets somebody other than `me` and the
    /// system's owner put another folder in its place.
    ///
    /// A link above it is taken only where nobody else could have made it.
    ///
    /// # Errors
    /// The system's error.
    pub fn open_guarded(path: &Path, me: u32) -> io::Result<(Self, Option<PathBuf>)> {
        if super::remote::is_remote(path) {
            return Ok((Self::open(path)?, None));
        }
        let mut path = path.to_path_buf();
        // As many links as systems follow themselves.
        for _ in 0..40 {
            match walk_down(&path, me)? {
                Walk::There(dir, weak) => return Ok((dir, weak)),
                Walk::Link(next) => path = next,
            }
        }
        Err(sys::link_refusal())
    }
}

enum Walk {
    There(Dir, Option<PathBuf>),
    Link(PathBuf),
}

fn walk_down(path: &Path, me: u32) -> io::Result<Walk> {
    let not_plain = || io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute and plain");
    let names: Vec<_> = path.components().collect();
    let mut names = names.into_iter();
    if names.next() != Some(Component::RootDir) {
        return Err(not_plain());
    }
    let mut dir = Dir::open(Path::new("/"))?;
    let mut weak = None;
    let mut rest: Vec<Component> = names.collect();
    rest.reverse();
    while let Some(name) = rest.pop() {
        let Component::Normal(name) = name else { return Err(not_plain()) };
        let rel = RelPath::root().join(name).map_err(io::Error::other)?;
        let (above, here) = (dir.meta()?, dir.stat(&rel)?);
        if weak.is_none() && replaceable(&above, &here, me) {
            weak = Some(dir.path().to_path_buf());
        }
        if here.kind == Kind::Link && !rest.is_empty() {
            if weak.is_some() || (here.uid != 0 && here.uid != me) {
                return Err(sys::link_refusal());
            }
            let target = std::fs::read_link(dir.path().join(name))?;
            let mut next = dir.path().join(target);
            next.extend(rest.iter().rev().map(|c| c.as_os_str()));
            return Ok(Walk::Link(plain(&next)));
        }
        dir = dir.enter(name)?;
    }
    Ok(Walk::There(dir, weak))
}

/// Without `.` and `..`, by name alone: links above were resolved before.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other.as_os_str()),
        }
    }
    out
}

/// Whether somebody other than `me` and the system's owner can rename `here`
/// out of the folder `above` and put something else there.
fn replaceable(above: &Meta, here: &Meta, me: u32) -> bool {
    let ours = |uid: u32| uid == 0 || uid == me;
    let others_write = above.mode & 0o022 != 0;
    let sticky = above.mode & 0o1000 != 0;
    !ours(above.uid) || (others_write && !(sticky && ours(here.uid)))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn ancestry_goes_to_the_top() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(tmp.path()).unwrap();
        let all = dir.ancestry().unwrap();
        assert_eq!(all.first(), Some(&dir.meta().unwrap().ident()));
        assert_eq!(all.last(), Some(&Dir::open(Path::new("/")).unwrap().meta().unwrap().ident()));
    }

    #[test]
    fn a_folder_that_others_may_write_is_named() {
        let tmp = tempfile::tempdir().unwrap();
        let base = tmp.path().canonicalize().unwrap();
        let me = effective_user().unwrap();
        std::fs::create_dir_all(base.join("open/in")).unwrap();
        std::fs::create_dir_all(base.join("closed/in")).unwrap();
        std::fs::set_permissions(base.join("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::set_permissions(base.join("closed"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let weak = |path: &str| Dir::open_guarded(&base.join(path), me).unwrap().1;
        assert_eq!(weak("open/in"), Some(base.join("open")));
        assert_eq!(weak("closed/in"), None);
        // Another user's folder is in that user's hands.
        let (_, weak) = Dir::open_guarded(&base.join("closed/in"), me + 1).unwrap();
        assert_eq!(weak, if me == 0 { None } else { Some(base.clone()) });

        symlink(base.join("closed"), base.join("link")).unwrap();
        symlink(base.join("closed/in"), base.join("last")).unwrap();
        let (dir, _) = Dir::open_guarded(&base.join("link/in"), me).unwrap();
        assert_eq!(dir.path(), base.join("closed/in"));
        assert!(Dir::open_guarded(&base.join("last"), me).is_err());
        symlink(base.join("closed"), base.join("open/link")).unwrap();
        assert!(Dir::open_guarded(&base.join("open/link/in"), me).is_err());
    }
}
