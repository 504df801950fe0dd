//! Templates of folders: a base folder given by a variable, and names below
//! it: `{XDG_CONFIG_HOME}/google-chrome`.
//!
//! A template can only name a folder that is clearly an app's own: deep enough
//! below its base, not a folder of the person's or of the system's.

use crate::model::Platform;

use super::pattern::{BadPattern, NameGlob, name_glob};

/// Longest template, in bytes, and most names in it.
const MAX_LEN: usize = 512;
const MAX_NAMES: usize = 16;

/// The base folders that templates of each platform may start from, and how
/// many names a root must have below each.
///
/// `PROGRAMFILES` and the like hold programs, not data: no root may lie there.
const VARIABLES: &[(Platform, &str, usize)] = &[
    (Platform::Linux, "HOME", 2),
    (Platform::Linux, "XDG_CONFIG_HOME", 1),
    (Platform::Linux, "XDG_CACHE_HOME", 1),
    (Platform::Linux, "XDG_DATA_HOME", 1),
    (Platform::Macos, "HOME", 3),
    (Platform::Windows, "HOME", 3),
    (Platform::Windows, "LOCALAPPDATA", 1),
    (Platform::Windows, "APPDATA", 1),
    (Platform::Windows, "PROGRAMFILES", usize::MAX),
    (Platform::Windows, "PROGRAMFILES_X86", usize::MAX),
    (Platform::Windows, "PROGRAMDATA", 2),
    (Platform::Android, "DATA", 1),
    (Platform::Android, "DATA_DE", 1),
    (Platform::Android, "EXTERNAL", 1),
];

/// How many names a root given without a variable must have.
const ABSOLUTE_NAMES: usize = 3;

/// Folders below a person's home that are theirs: neither a root nor above one.
const PERSONAL: &[&str] = &[
    "Documents",
    "Desktop",
    "Downloads",
    "Pictures",
    "Music",
    "Videos",
    "Movies",
    "Public",
    "Templates",
    "OneDrive",
    "Dropbox",
    "iCloudDrive",
    ".ssh",
    ".gnupg",
    ".pki",
    ".password-store",
    ".kube",
    ".aws",
    ".local/bin",
    ".local/share/Trash",
    ".local/share/keyrings",
    ".local/state",
    ".config/systemd",
    ".config/autostart",
    "Library/Mobile Documents",
    "Library/CloudStorage",
    "Library/Keychains",
    "Library/Mail",
    "Library/Messages",
    "Library/Preferences",
];

/// Folders that many apps share: a root may lie below, but not be one of them.
const SHARED: &[&str] = &[
    ".config",
    ".cache",
    ".local",
    ".local/share",
    ".mozilla",
    ".var",
    ".var/app",
    "snap",
    "Library",
    "Library/Application Support",
    "Library/Caches",
    "Library/Containers",
    "Library/Group Containers",
    "Library/WebKit",
    "Library/HTTPStorages",
    "Library/Logs",
    "AppData",
    "AppData/Local",
    "AppData/LocalLow",
    "AppData/Roaming",
    "AppData/Local/Packages",
    "AppData/Local/Temp",
    "AppData/Local/Microsoft",
    "AppData/Local/Google",
    "AppData/Local/Programs",
    "AppData/Local/Mozilla",
    "AppData/Roaming/Microsoft",
    "AppData/Roaming/Mozilla",
    ".config/mozilla",
    ".config/google",
    ".cache/mozilla",
    ".config/BraveSoftware",
    ".cache/BraveSoftware",
];

/// Folders of the system: neither a root nor above one.
const SYSTEM: &[&str] = &[
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "usr",
    "var/lib/dpkg",
    "var/lib/apt",
    "var/lib/systemd",
    "var/log",
    "var/mail",
    "var/spool",
    "lost+found",
    "System",
    "Library",
    "Applications",
    "private/etc",
    "private/var/db",
    "cores",
    "Windows",
    "data/system",
    "data/misc",
    "data/app",
    "data/adb",
    "vendor",
    "apex",
    "system",
];

/// Why a template is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    #[error("the path is empty")]
    Empty,
    #[error("the path is longer than {MAX_LEN} bytes or has more than {MAX_NAMES} names")]
    TooLong,
    #[error("the path is relative: start it with a base folder, one of {0}")]
    Relative(String),
    #[error("`{{{0}}}` is not set on {1}: the base folders there are {2}")]
    Unset(String, Platform, String),
    #[error("only {found} name(s) below {base}; a root needs at least {needed}")]
    TooShort { base: String, found: usize, needed: usize },
    #[error("no root may lie below {0}: programs live there, not data")]
    Programs(String),
    #[error("`{0}` holds a person's own files")]
    Personal(String),
    #[error("`{0}` is shared by many apps")]
    Shared(String),
    #[error("`{0}` belongs to the system")]
    System(String),
    #[error("a wildcard is allowed only after two plain names below the base folder")]
    EarlyWildcard,
    #[error("the last name is only wildcards: say with `identify` how the app's folder is recognised")]
    OnlyWildcards,
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error("alternatives and `**` are not allowed in the path of a folder: write it out")]
    Alternatives,
}

/// Where a template starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A base folder that the place knows.
    Var(&'static str),
    /// The top of the file system (of the image).
    Top,
}

/// A base folder's name, and names below it.
pub(crate) type Prefix = (&'static str, Vec<String>);

/// A folder or file, as a base folder and names below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    base: Base,
    names: Vec<NameGlob>,
}

impl Template {
    /// Reads a template of a root folder.
    ///
    /// # Errors
    /// [`BadTemplate`] says what is wrong with it.
    pub fn root(text: &str, platform: Platform, identified: bool) -> Result<Self, BadTemplate> {
        let out = Self::read(text, platform)?;
        let found = out.names.len();
        let (base, needed) = match out.base {
            Base::Var(name) => (format!("{{{name}}}"), least(platform, name)),
            Base::Top => ("/".to_owned(), ABSOLUTE_NAMES),
        };
        if needed == usize::MAX {
            return Err(BadTemplate::Programs(base));
        }
        if found < needed {
            return Err(BadTemplate::TooShort { base, found, needed });
        }
        if out.names.iter().take(2).any(|n| n.literal().is_none()) {
            return Err(BadTemplate::EarlyWildcard);
        }
        if !identified && out.names.last().is_some_and(|n| !n.has_literal()) {
            return Err(BadTemplate::OnlyWildcards);
        }
        out.refuse_protected(platform)?;
        Ok(out)
    }

    /// Reads a template of a program's file: it is only looked at, so it may lie
    /// anywhere, but it is as absolute as a root.
    ///
    /// # Errors
    /// [`BadTemplate`] says what is wrong with it.
    pub fn program(text: &str, platform: Platform) -> Result<Self, BadTemplate> {
        let out = Self::read(text, platform)?;
        if out.names.is_empty() { Err(BadTemplate::Empty) } else { Ok(out) }
    }

    fn read(text: &str, platform: Platform) -> Result<Self, BadTemplate> {
        if text.is_empty() {
            return Err(BadTemplate::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(BadTemplate::TooLong);
        }
        let (base, rest) = if let Some(tail) = text.strip_prefix('{') {
            let (name, rest) = tail.split_once('}').ok_or(BadPattern::Brace)?;
            if name.contains(',') {
                return Err(BadTemplate::Alternatives);
            }
            let known = VARIABLES.iter().find(|(p, n, _)| *p == platform && *n == name).map(|(_, n, _)| *n);
            let known =
                known.ok_or_else(|| BadTemplate::Unset(name.to_owned(), platform, base_names(platform)))?;
            (Base::Var(known), rest)
        } else if text.starts_with('/') && platform != Platform::Windows {
            (Base::Top, text)
        } else {
            return Err(BadTemplate::Relative(base_names(platform)));
        };
        let mut names = Vec::new();
        if !rest.is_empty() {
            let below = rest.strip_prefix('/').ok_or_else(|| BadTemplate::Relative(base_names(platform)))?;
            for name in below.split('/') {
                if name == "**" || name.contains(['{', '}', ',']) {
                    return Err(BadTemplate::Alternatives);
                }
                names.push(name_glob(name, platform.ignores_case())?);
            }
        }
        if names.len() > MAX_NAMES {
            return Err(BadTemplate::TooLong);
        }
        Ok(Self { text: text.to_owned(), base, names })
    }

    fn refuse_protected(&self, platform: Platform) -> Result<(), BadTemplate> {
        // The plain names at the start, as they stand below the home (or the
        // top): wildcards come later, see `EarlyWildcard`.
        let home: Option<&[&str]> = match (&self.base, platform) {
            (Base::Top | Base::Var("PROGRAMDATA"), _) | (_, Platform::Android) => None,
            (Base::Var("XDG_CONFIG_HOME"), _) => Some(&[".config"]),
            (Base::Var("XDG_CACHE_HOME"), _) => Some(&[".cache"]),
            (Base::Var("XDG_DATA_HOME"), _) => Some(&[".local", "share"]),
            (Base::Var("LOCALAPPDATA"), _) => Some(&["AppData", "Local"]),
            (Base::Var("APPDATA"), _) => Some(&["AppData", "Roaming"]),
            (Base::Var(_), _) => Some(&[]),
        };
        let mut names: Vec<String> = home.unwrap_or(&[]).iter().map(|n| (*n).to_owned()).collect();
        names.extend(self.names.iter().map_while(NameGlob::literal));
        let whole = names.len() == home.map_or(0, <[_]>::len) + self.names.len();
        if home.is_some() {
            if let Some(hit) = PERSONAL.iter().find(|p| starts_with(&names, p)) {
                return Err(BadTemplate::Personal((*hit).to_owned()));
            }
            if let Some(hit) = SHARED.iter().find(|p| whole && is(&names, p)) {
                return Err(BadTemplate::Shared((*hit).to_owned()));
            }
        } else if self.base == Base::Top {
            if let Some(hit) = SYSTEM.iter().find(|p| starts_with(&names, p)) {
                return Err(BadTemplate::System((*hit).to_owned()));
            }
            // `/home/ann/x` would be a guess about whose home it is.
            if let Some(first) =
                names.first().filter(|n| ["home", "users"].contains(&n.to_lowercase().as_str()))
            {
                return Err(BadTemplate::Personal(first.clone()));
            }
        }
        Ok(())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it starts.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Two templates that end alike: where each begins, as its base folder and
    /// names below. `{XDG_CONFIG_HOME}/x` and `{XDG_CACHE_HOME}/x` give these
    /// two base folders.
    pub(crate) fn prefixes(&self, other: &Self) -> Option<(Prefix, Prefix)> {
        let alike = self.names.iter().rev().zip(other.names.iter().rev()).take_while(|(a, b)| a == b).count();
        let prefix = |of: &Self| -> Option<Prefix> {
            let Base::Var(name) = of.base else { return None };
            let written = of.written();
            let own = written.get(..of.names.len() - alike)?;
            Some((name, own.iter().map(|n| (*n).to_owned()).collect()))
        };
        (alike > 0).then(|| prefix(self).zip(prefix(other))).flatten().filter(|(a, b)| a != b)
    }

    /// The names below the base.
    pub(crate) fn names(&self) -> &[NameGlob] {
        &self.names
    }

    /// The same as they are written, in their own case.
    pub(crate) fn written(&self) -> Vec<&str> {
        self.text.split('/').skip(1).collect()
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a resolved path below a home is one of the folders that no root may
/// be, by the same lists that templates are checked against: a base folder may
/// have been moved to anywhere.
pub(crate) fn protected_below_home(names: &[String]) -> Option<&'static str> {
    PERSONAL.iter().find(|p| starts_with(names, p)).or_else(|| SHARED.iter().find(|p| is(names, p))).copied()
}

/// The same for a path below the top of the file system.
pub(crate) fn protected_below_top(names: &[String]) -> Option<&'static str> {
    SYSTEM.iter().filter(|p| **p != "root").find(|p| starts_with(names, p)).copied()
}

fn variables(platform: Platform) -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().filter(move |(p, ..)| *p == platform).map(|(_, name, _)| *name)
}

pub(crate) fn least(platform: Platform, name: &str) -> usize {
    VARIABLES.iter().find(|(p, n, _)| *p == platform && *n == name).map_or(usize::MAX, |(.., least)| *least)
}

fn base_names(platform: Platform) -> String {
    variables(platform).map(|n| format!("{{{n}}}")).collect::<Vec<_>>().join(", ")
}

/// Compared without case: to refuse too much is safe.
fn starts_with(names: &[String], protected: &str) -> bool {
    let mut names = names.iter();
    protected.split('/').all(|p| names.next().is_some_and(|n| n.to_lowercase() == p.to_lowercase()))
}

fn is(names: &[String], protected: &str) -> bool {
    names.len() == protected.split('/').count() && starts_with(names, protected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str, platform: Platform) -> BadTemplate {
        Template::root(text, platform, false).expect_err(text)
    }

    #[test]
    fn roots_of_real_apps_are_read() {
        for (text, platform) in [
            ("{XDG_CONFIG_HOME}/google-chrome", Platform::Linux),
            ("{HOME}/snap/brave/*/.config/BraveSoftware/Brave-Browser", Platform::Linux),
            ("{HOME}/Library/Application Support/Google/Chrome", Platform::Macos),
            ("{APPDATA}/TikTok LIVE Studio", Platform::Windows),
            ("{DATA}/com.tiktokshop.seller", Platform::Android),
            ("/var/opt/vendor/app", Platform::Linux),
        ] {
            assert!(Template::root(text, platform, false).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_apps_own_folder_is_refused() {
        use BadTemplate as B;
        let linux = Platform::Linux;
        assert!(matches!(refused("", linux), B::Empty));
        assert!(matches!(refused("google-chrome", linux), B::Relative(_)));
        assert!(matches!(refused("{HOME}x/y/z", linux), B::Relative(_)));
        assert!(matches!(refused("{LOCALAPPDATA}/x", linux), B::Unset(..)));
        assert!(matches!(refused("{}/x/y", linux), B::Unset(..)));
        assert!(matches!(refused("{HOME}", linux), B::TooShort { found: 0, .. }));
        assert!(matches!(refused("{HOME}/x", linux), B::TooShort { found: 1, .. }));
        assert!(matches!(refused("/", linux), B::Pattern(BadPattern::EmptyName)));
        assert!(matches!(refused("/srv/x", linux), B::TooShort { found: 2, .. }));
        assert!(matches!(refused("{HOME}/../x/y", linux), B::Pattern(BadPattern::Dots)));
        assert!(matches!(refused("{HOME}/x//y", linux), B::Pattern(BadPattern::EmptyName)));
        assert!(matches!(refused("{HOME}/x/y/", linux), B::Pattern(BadPattern::EmptyName)));
        assert!(matches!(refused("{HOME}/Documents/app", linux), B::Personal(_)));
        assert!(matches!(refused("{HOME}/documents/app", linux), B::Personal(_)));
        assert!(matches!(refused("{HOME}/.ssh/app", linux), B::Personal(_)));
        assert!(matches!(refused("{HOME}/.local/share", linux), B::Shared(_)));
        assert!(matches!(refused("{HOME}/x/*", linux), B::EarlyWildcard));
        assert!(matches!(refused("{HOME}/x/y/*", linux), B::OnlyWildcards));
        assert!(matches!(refused("{HOME}/*/y/z", linux), B::EarlyWildcard));
        assert!(matches!(refused("{HOME}/x/{a,b}", linux), B::Alternatives));
        assert!(matches!(refused("/etc/x/y/z", linux), B::System(_)));
        assert!(matches!(refused("/home/ann/x/y", linux), B::Personal(_)));
        assert!(matches!(refused("C:\\Windows\\x", Platform::Windows), B::Relative(_)));
        assert!(matches!(refused("{PROGRAMFILES}/TikTok LIVE Studio", Platform::Windows), B::Programs(_)));
        assert!(matches!(refused("{LOCALAPPDATA}/Packages", Platform::Windows), B::Shared(_)));
        assert!(matches!(refused("{LOCALAPPDATA}/packages", Platform::Windows), B::Shared(_)));
        assert!(matches!(refused("{HOME}/Library/Application Support", Platform::Macos), B::TooShort { .. }));
        assert!(Template::root("{HOME}/Library/Containers/*", Platform::Macos, true).is_ok());
        assert!(
            Template::program("{PROGRAMFILES}/Google/Chrome/Application/chrome.exe", Platform::Windows)
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[{}A-Z/a-z.*, ]{0,40}") {
            for platform in [Platform::Linux, Platform::Windows, Platform::Macos, Platform::Android] {
                if let Ok(t) = Template::root(&text, platform, false) {
                    prop_assert!(!t.names().is_empty());
                }
            }
        }
    }
}
