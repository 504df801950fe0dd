//! The files by which browsers say that they run.
//!
//! Chromium's `SingletonLock` is a link to `HOST-PID`
//! (<https://source.chromium.org/chromium/chromium/src/+/main:chrome/browser/process_singleton_posix.cc>),
//! Firefox's `lock` one to `IP:+PID`, where the `+` says that `.parentlock` is
//! locked as well (<https://searchfox.org/mozilla-central/source/toolkit/profile/nsProfileLock.cpp>).
//! A crash leaves both behind, and so they are looked into.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{InUse, Running};
#[cfg(windows)]
use crate::fsys::Dir;
use crate::fsys::RelPath;

/// Names that a marker has in any app's folder.
const NAMES: [&str; 5] = ["SingletonLock", "lock", ".parentlock", "parent.lock", "lockfile"];

/// How long after its process a mark may have been made at the earliest, in
/// seconds: both clocks are read at different times.
const SLACK: u64 = 5;

/// The markers in the folders from `root` down to that of the store at `path`.
pub(crate) fn beside(root: &Path, path: &RelPath) -> Vec<PathBuf> {
    let folders =
        std::iter::once(RelPath::root()).chain(path.above()).collect::<std::collections::BTreeSet<_>>();
    let mut out = Vec::new();
    for folder in folders {
        let at = root.join(folder.as_path());
        out.extend(NAMES.iter().map(|name| at.join(name)).filter(|p| p.symlink_metadata().is_ok()));
    }
    out
}

/// What one marker says. With `names` a process counts only when it bears one
/// of them; without, when it was there before the mark.
pub(super) fn read(marker: &Path, names: Option<&HashSet<String>>) -> InUse {
    let Ok(meta) = marker.symlink_metadata() else { return InUse::No };
    if meta.is_symlink() {
        let Ok(said) = std::fs::read_link(marker) else { return InUse::No };
        let made = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        return said.to_str().map_or(InUse::No, |said| {
            link(marker, said, names, made.map_or(u64::MAX, |t| t.as_secs()), &host())
        });
    }
    if meta.is_file() {
        return file(marker);
    }
    InUse::No
}

/// What the text of a link says.
fn link(marker: &Path, said: &str, names: Option<&HashSet<String>>, made: u64, own: &str) -> InUse {
    let cannot_tell = |why: String| InUse::CannotTell { file: marker.to_path_buf(), why };
    if let Some((address, pid)) = said.rsplit_once(':') {
        // Firefox. With a `+` the lock on the file beside it decides.
        let (locked, pid) = pid.strip_prefix('+').map_or((false, pid), |pid| (true, pid));
        let Ok(pid) = pid.parse::<u32>() else { return InUse::No };
        return match process(marker, pid, names, made) {
            // The number alone proves nothing where a lock could be asked for.
            _ if locked => InUse::No,
            Some(running) => InUse::By(vec![running]),
            None if address.starts_with("127.") => InUse::No,
            None => {
                cannot_tell(format!("its lock says that process {pid} of the computer {address} uses it"))
            }
        };
    }
    let Some((host, pid)) = said.rsplit_once('-') else { return InUse::No };
    let Ok(pid) = pid.parse::<u32>() else { return InUse::No };
    if !same_host(host, own) {
        return cannot_tell(format!("its lock says that process {pid} of the computer {host} uses it"));
    }
    match process(marker, pid, names, made) {
        Some(running) => InUse::By(vec![running]),
        None => InUse::No,
    }
}

/// The process of that number, when it is the one that made the mark.
fn process(marker: &Path, pid: u32, names: Option<&HashSet<String>>, made: u64) -> Option<Running> {
    let process = super::super::one(pid)?;
    let fits = match names {
        Some(names) => process.bears(names),
        None => process.started <= made.saturating_add(SLACK),
    };
    fits.then(|| Running { pid, name: process.shown(), holds: Some(marker.to_path_buf()) })
}

/// Networks add their names to a computer's: only the first part is its own.
fn same_host(a: &str, b: &str) -> bool {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_lowercase();
    first(a) == first(b)
}

fn host() -> String {
    sysinfo::System::host_name().unwrap_or_default()
}

/// A file that is locked, or open where that can be told, while the app runs.
fn file(marker: &Path) -> InUse {
    let (Some(folder), Some(name)) = (marker.parent(), marker.file_name()) else { return InUse::No };
    let Ok(name) = RelPath::name(name) else { return InUse::No };
    #[cfg(unix)]
    if let Some(running) = super::locks::held(&[(folder.to_path_buf(), name)]) {
        return InUse::By(vec![running]);
    }
    #[cfg(windows)]
    if let Ok(dir) = Dir::open(folder)
        && dir.is_open(&name).unwrap_or(true)
    {
        let holders = dir.holders(&name);
        let (pid, who) = holders.into_iter().next().unwrap_or_default();
        return InUse::By(vec![Running { pid, name: who, holds: Some(marker.to_path_buf()) }]);
    }
    InUse::No
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn says(text: &str, names: &[&str], made: u64) -> InUse {
        let names: HashSet<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let names = (!names.is_empty()).then_some(&names);
        link(Path::new("/p/SingletonLock"), text, names, made, "here.example")
    }

    #[test]
    fn a_lock_that_names_another_computer_is_respected() {
        assert!(matches!(says("otherhost-1234", &["chromium"], 0), InUse::CannotTell { .. }));
        assert!(matches!(says("other-host.lan-1234", &["chromium"], 0), InUse::CannotTell { .. }));
        assert!(matches!(says("10.0.0.7:1234", &["firefox"], 0), InUse::CannotTell { .. }));
    }

    #[test]
    fn a_lock_of_a_process_that_is_gone_or_another_one_by_now_is_stale() {
        let own = std::process::id();
        for text in ["here-4194303".to_owned(), format!("HERE.lan-{own}")] {
            assert_eq!(says(&text, &["chromium"], u64::MAX - 9), InUse::No, "{text}");
        }
        // Without a name: this process was not there when the mark was made.
        assert_eq!(says(&format!("here-{own}"), &[], 1_000), InUse::No);
        for odd in ["", "-", "here-", "here-x", "here-99999999999", ":", ":+", "a:+b"] {
            assert_eq!(says(odd, &["chromium"], 0), InUse::No, "{odd}");
        }
    }

    #[test]
    fn a_lock_of_a_living_process_of_the_app_counts() {
        let own = std::process::id();
        let exe = std::env::current_exe().unwrap();
        let name = exe.file_name().unwrap().to_str().unwrap().to_lowercase();
        assert!(matches!(says(&format!("here-{own}"), &[&name], 0), InUse::By(_)));
        assert!(matches!(says(&format!("here-{own}"), &[], u64::MAX - 9), InUse::By(_)));
        assert!(matches!(says(&format!("127.0.1.1:{own}"), &[&name], 0), InUse::By(_)));
        assert_eq!(says(&format!("127.0.1.1:+{own}"), &[&name], 0), InUse::No, "the lock itself decides");
    }
}
