//! macOS keeps people's files and other apps' data from programs that the
//! person did not allow to see them. Its error says no more than "not
//! permitted"; what helps is a setting.

use std::io;
use std::path::{Component, Path};

use crate::model::Platform;

/// `EPERM` on every system that has it. macOS answers so where its privacy
/// settings forbid, and `EACCES` where permission bits do.
const EPERM: i32 = 1;

/// An error of looking at `path` in words, with what helps when it is one of
/// the privacy settings of the system that the program runs on.
pub(crate) fn reason(path: &Path, e: &io::Error) -> String {
    reason_on(Platform::host(), path, e)
}

/// [`reason`] on a given system.
fn reason_on(host: Platform, path: &Path, e: &io::Error) -> String {
    if host != Platform::Macos || e.raw_os_error() != Some(EPERM) {
        return e.to_string();
    }
    match keeper(path) {
        None => e.to_string(),
        Some(what) => format!(
            "{e}: macOS shows {what} only to programs with Full Disk Access; turn it on for your terminal (for \
             shopmend itself, when a schedule runs it) in System Settings > Privacy & Security > Full Disk Access, \
             then start it again"
        ),
    }
}

/// What macOS guards there; none where its privacy settings do not reach.
/// Apple's "Controlling app access to files in macOS" (Platform Security) and
/// the settings themselves name these.
fn keeper(path: &Path) -> Option<&'static str> {
    let names: Vec<String> = path
        .components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_string_lossy().to_lowercase()),
            _ => None,
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // A mounted disk first: it can have anything below.
    match names.as_slice() {
        ["volumes", _, ..] => Some("mounted disks"),
        // The same folder, as the system itself mounts it.
        ["users", _, below @ ..] | ["system", "volumes", "data", "users", _, below @ ..] => match below {
            ["desktop" | "documents" | "downloads", ..] => Some("a person's own files"),
            ["library", "containers" | "group containers", ..] => Some("other apps' data"),
            ["library", "mobile documents" | "cloudstorage", ..] => Some("files in the cloud"),
            ["library", ..] => Some("the data of Safari, Mail, Messages and other apps"),
            // Of another person, or the home as a whole.
            _ => Some("other people's files"),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(host: Platform, path: &str, errno: i32) -> String {
        reason_on(host, Path::new(path), &io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn what_privacy_settings_forbid_is_explained_on_macos_alone() {
        for (path, what) in [
            ("/Users/ann/Library/Containers/com.apple.Safari/Data/Library", "other apps' data"),
            ("/users/ann/library/group containers/x", "other apps' data"),
            ("/System/Volumes/Data/Users/ann/Library/Containers/1", "other apps' data"),
            ("/Users/ann/Library/Caches/com.apple.Safari", "the data of Safari"),
            ("/Users/ann/Documents/copy", "a person's own files"),
            ("/Users/bob", "other people's files"),
            ("/Volumes/Old Mac/Users/ann/Library/Containers", "mounted disks"),
        ] {
            let told = on(Platform::Macos, path, EPERM);
            assert!(told.contains(&format!("macOS shows {what}")), "{path}: {told}");
            assert!(told.starts_with(&io::Error::from_raw_os_error(EPERM).to_string()), "{told}");
            assert!(told.contains("System Settings > Privacy & Security > Full Disk Access"));
            for (host, errno) in [(Platform::Linux, EPERM), (Platform::Windows, EPERM), (Platform::Macos, 13)]
            {
                assert_eq!(on(host, path, errno), io::Error::from_raw_os_error(errno).to_string());
            }
        }
        for path in ["/etc/x", "/Volumes", "/Applications/Safari.app", "/private/var/folders/x", "/"] {
            assert!(!on(Platform::Macos, path, EPERM).contains("Full Disk Access"), "{path}");
        }
    }
}
