//! What a device says of itself and of its apps.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::listing;
use crate::fsys::{Space, printable};

/// What a device says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The hardware's own serial number; records are kept under it.
    pub serial: String,
    pub model: String,
    /// Android's version: `14`.
    pub release: String,
    /// Android's API level.
    pub sdk: u32,
    /// Its users besides the first, which are not looked at.
    pub other_users: Vec<String>,
    /// Whether there is a `su`; it was not run.
    pub has_su: bool,
    /// Whether adb itself is root.
    #[serde(skip)]
    pub is_root: bool,
    #[serde(skip)]
    pub(crate) zone: String,
    /// The apps' folder in the shared storage.
    #[serde(skip)]
    pub(crate) shared: Option<String>,
}

impl Facts {
    /// Reads what the device printed, whatever it is.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut out = Self::default();
        for line in String::from_utf8_lossy(text).lines().take(20_000) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = printable(value.trim());
            match key {
                "ro.serialno" => out.serial = plain(&value),
                "ro.product.model" => out.model = value,
                "ro.build.version.release" => out.release = value,
                "ro.build.version.sdk" => out.sdk = value.parse().unwrap_or(0),
                "zone" => out.zone = value,
                "uid" => out.is_root = value == "0",
                "su" => out.has_su = true,
                "shared" => out.shared = Some(value),
                _ => {}
            }
        }
        out
    }
}

/// Reads `pm list users`, whose lines are `UserInfo{10:Work profile:1030} running`:
/// all but the first user.
pub(crate) fn other_users(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let users = text.lines().take(1000).filter_map(|l| l.trim().strip_prefix("UserInfo{")?.split('}').next());
    let shown = |user: &str| match user.split(':').collect::<Vec<_>>().as_slice() {
        [id, name, ..] => format!("{id} ({name})"),
        _ => user.to_owned(),
    };
    users.filter(|u| !u.starts_with("0:")).map(|u| printable(&shown(u))).collect()
}

/// A serial number as the name of a folder and of a place: other characters
/// than letters, digits, `-` and `_` become `_`.
pub(crate) fn plain(serial: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    serial.chars().take(64).map(keep).collect()
}

pub(crate) fn is_package(name: &str) -> bool {
    name.len() < 256
        && name.contains('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

/// What the package manager knows of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AppFacts {
    pub version: Option<String>,
    /// Nanoseconds since 1970.
    pub installed_ns: Option<i128>,
    /// Nanoseconds since 1970.
    pub updated_ns: Option<i128>,
    pub debuggable: bool,
    /// Where its private data are, when that is not the usual place: an app can
    /// be moved to storage that was adopted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
}

impl AppFacts {
    /// The folder of apps' folders that this one's lies in, on storage that was
    /// adopted: `/mnt/expand/UUID/user/0`; none when it is where all are.
    ///
    /// # Errors
    /// The folder itself, when it is no place that is known.
    pub(crate) fn adopted(&self, package: &str) -> Result<Option<PathBuf>, String> {
        let Some(folder) = &self.data_dir else { return Ok(None) };
        if ["/data/user/0/", "/data/data/"].iter().any(|usual| folder.strip_prefix(usual) == Some(package)) {
            return Ok(None);
        }
        let path = Path::new(folder);
        let above = path.parent().filter(|_| path.file_name().is_some_and(|n| n == package));
        let is_volume = |above: &Path| {
            let names: Vec<_> = above.iter().skip(1).collect();
            matches!(names.as_slice(), [mnt, expand, _, user, zero]
                if *mnt == "mnt" && *expand == "expand" && *user == "user" && *zero == "0")
        };
        let plain = listing::is_plain_below(path, Path::new("/"));
        match above.filter(|above| plain && is_volume(above)) {
            Some(above) => Ok(Some(above.to_path_buf())),
            None => Err(folder.clone()),
        }
    }

    /// For a person: the version, and when the app came and changed.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let day = |ns: Option<i128>| {
            ns.and_then(|ns| jiff::Timestamp::from_nanosecond(ns).ok())
                .map(|t| t.strftime("%Y-%m-%d").to_string())
        };
        let mut parts = vec![format!("version {}", self.version.as_ref()?)];
        parts.extend(day(self.installed_ns).map(|d| format!("installed {d}")));
        parts.extend(day(self.updated_ns).map(|d| format!("updated {d}")));
        Some(parts.join(", "))
    }
}

/// Reads `dumpsys package PACKAGE`; `zone` is the device's, as `date +%z`
/// prints it, since the times there are local ones.
#[must_use]
pub fn app_facts(text: &[u8], zone: &str) -> AppFacts {
    let mut out = AppFacts::default();
    for line in String::from_utf8_lossy(text).lines().take(100_000) {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        let time = || listing::time(format!("{} {zone}", ascii_digits(value)).as_bytes());
        match key {
            "versionName" if out.version.is_none() => out.version = Some(printable(value)),
            "firstInstallTime" if out.installed_ns.is_none() => out.installed_ns = time(),
            "lastUpdateTime" if out.updated_ns.is_none() => out.updated_ns = time(),
            "dataDir" if out.data_dir.is_none() => out.data_dir = Some(printable(value)),
            "flags" | "pkgFlags" if value.contains(" DEBUGGABLE ") => out.debuggable = true,
            _ => {}
        }
    }
    out
}

/// The first ten code points of each script's decimal digits, from Unicode's
/// `DerivedNumericType.txt`; each is followed by the other nine.
const ZEROS: &[char] = &[
    '\u{660}',
    '\u{6f0}',
    '\u{7c0}',
    '\u{966}',
    '\u{9e6}',
    '\u{a66}',
    '\u{ae6}',
    '\u{b66}',
    '\u{be6}',
    '\u{c66}',
    '\u{ce6}',
    '\u{d66}',
    '\u{de6}',
    '\u{e50}',
    '\u{ed0}',
    '\u{f20}',
    '\u{1040}',
    '\u{1090}',
    '\u{17e0}',
    '\u{1810}',
    '\u{1946}',
    '\u{19d0}',
    '\u{1a80}',
    '\u{1a90}',
    '\u{1b50}',
    '\u{1bb0}',
    '\u{1c40}',
    '\u{1c50}',
    '\u{a620}',
    '\u{a8d0}',
    '\u{a900}',
    '\u{a9d0}',
    '\u{a9f0}',
    '\u{aa50}',
    '\u{abf0}',
    '\u{ff10}',
    '\u{104a0}',
    '\u{10d30}',
    '\u{11066}',
    '\u{110f0}',
    '\u{11136}',
    '\u{111d0}',
    '\u{112f0}',
    '\u{11450}',
    '\u{114d0}',
    '\u{11650}',
    '\u{116c0}',
    '\u{11730}',
    '\u{118e0}',
    '\u{11950}',
    '\u{11c50}',
    '\u{11d50}',
    '\u{11da0}',
    '\u{11f50}',
    '\u{16a60}',
    '\u{16ac0}',
    '\u{16b50}',
    '\u{1e140}',
    '\u{1e2f0}',
    '\u{1e4d0}',
    '\u{1e950}',
    '\u{1fbf0}',
];

/// Digits of any script as `0` to `9`: a phone writes times in its language's
/// own. Marks that only turn the direction of writing are left out.
pub(crate) fn ascii_digits(text: &str) -> String {
    let digit = |c: char| {
        if c.is_ascii() {
            return c;
        }
        let of = ZEROS.iter().find_map(|zero| u32::from(c).checked_sub(u32::from(*zero)).filter(|n| *n < 10));
        of.and_then(|n| char::from_digit(n, 10)).unwrap_or(c)
    };
    let turns = |c: &char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| !turns(c)).map(digit).collect()
}

/// Reads the folders in portable storage that belong to an app, one a line:
/// `/storage/ABCD-1234/Android/data/PACKAGE`.
pub(crate) fn cards(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter(|l| l.starts_with("/storage/")).take(1000).map(printable).collect()
}

/// Whether `dumpsys package PACKAGE` found that package.
pub(crate) fn is_about(text: &[u8], package: &str) -> bool {
    memchr::memmem::find(text, format!("Package [{package}]").as_bytes()).is_some()
}

/// Reads `stat -f -c '%a %b %S %d %c'`.
pub(crate) fn room(text: &[u8]) -> Option<Space> {
    let text = String::from_utf8_lossy(text);
    let numbers: Option<Vec<u64>> = text.split_whitespace().map(|w| w.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[free, total, block, free_files, files]) => Some(Space {
            free: free.saturating_mul(block),
            total: total.saturating_mul(block),
            free_files: (files > 0).then_some(free_files),
            read_only: false,
        }),
        _ => None,
    }
}

/// Whether it is what `ps` prints: a device that shows no process at all does
/// not show them.
pub(crate) fn is_process_list(text: &[u8]) -> bool {
    text.split(|&b| b == b'\n').filter(|l| !l.is_empty()).count() >= 2
}

/// Reads `ps -A -o PID,NAME`: the processes of `package`, which are named like
/// it or `PACKAGE:PART`.
#[must_use]
pub fn processes(text: &[u8], package: &str) -> Vec<(u32, String)> {
    let lines = String::from_utf8_lossy(text);
    let of =
        |name: &str| name == package || name.strip_prefix(package).is_some_and(|rest| rest.starts_with(':'));
    lines
        .lines()
        .filter_map(|line| {
            let (pid, name) = line.trim().split_once(char::is_whitespace)?;
            let name = name.trim();
            of(name).then(|| Some((pid.parse().ok()?, printable(name)))).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_device_is_described() {
        let text = b"ro.serialno=R58/../N\nro.product.model=SM-A515F\nro.build.version.sdk=33\nzone=+0700\nuid=2000\nsu=yes\n";
        let facts = Facts::parse(text);
        assert_eq!((facts.serial.as_str(), facts.sdk, facts.has_su), ("R58____N", 33, true));
        let users = b"Users:\n\tUserInfo{0:Owner:c13} running\n\tUserInfo{10:Work profile:1030}\n";
        assert_eq!(other_users(users), ["10 (Work profile)"]);
        assert!(
            is_about(b"  Package [com.x] (1):", "com.x")
                && !is_about(b"Unable to find package: com.x", "com.x")
        );
        assert!(is_package("com.zhiliaoapp.musically") && !is_package("../x"));
    }

    #[test]
    fn an_app_is_described() {
        let text = b"    versionName=38.1.2\n    flags=[ HAS_CODE DEBUGGABLE ALLOW_CLEAR_USER_DATA ]\n    firstInstallTime=2026-01-02 03:04:05\n    lastUpdateTime=2026-11-01 07:00:00\n";
        let app = app_facts(text, "+0700");
        assert_eq!(app.version.as_deref(), Some("38.1.2"));
        assert_eq!(app.updated_ns, listing::time(b"2026-11-01 00:00:00 +0000"));
        assert!(app.debuggable && app.installed_ns < app.updated_ns);
    }

    #[test]
    fn times_are_read_in_the_digits_of_any_script() {
        let at = listing::time(b"2026-11-01 07:00:00 +0330");
        assert!(at.is_some());
        for zero in ZEROS.iter().chain(&['0']) {
            let own =
                |c: char| c.to_digit(10).and_then(|n| char::from_u32(u32::from(*zero) + n)).unwrap_or(c);
            let text: String = "lastUpdateTime=2026-11-01 07:00:00".chars().map(own).collect();
            assert_eq!(app_facts(text.as_bytes(), "+0330").updated_ns, at, "{text}");
        }
        let turned = "lastUpdateTime=\u{200f}\u{6f2}\u{6f0}\u{6f2}\u{6f6}-11-01 07:00:00";
        assert_eq!(app_facts(turned.as_bytes(), "+0330").updated_ns, at);
    }

    #[test]
    fn an_app_on_adopted_storage_is_told_from_others() {
        let of = |dir: &str| app_facts(format!("    dataDir={dir}\n").as_bytes(), "+0000").adopted("com.x");
        let volume = "/mnt/expand/5af0-11/user/0";
        assert_eq!(of(&format!("{volume}/com.x")), Ok(Some(PathBuf::from(volume))));
        assert_eq!(AppFacts::default().adopted("com.x"), Ok(None));
        for usual in ["/data/user/0/com.x", "/data/data/com.x"] {
            assert_eq!(of(usual), Ok(None), "{usual}");
        }
        for odd in [
            "/mnt/expand/../user/0/com.x",
            "/mnt/expand/5af0/user/10/com.x",
            "/mnt/expand/5af0/user/0/com.y",
            "x",
        ] {
            assert_eq!(of(odd), Err(odd.to_owned()));
        }
    }

    #[test]
    fn parts_of_an_app_are_its_processes_and_others_are_not() {
        let text = b"  PID NAME\n  12 com.x\n 13 com.x:push\n 14 com.xy\n 15 sh\n x com.x\n";
        let found = processes(text, "com.x");
        assert_eq!(found, [(12, "com.x".to_owned()), (13, "com.x:push".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let facts = Facts::parse(&bytes);
            prop_assert!(!facts.serial.contains('/'));
            let _ = (room(&bytes), other_users(&bytes), is_about(&bytes, "a.b"));
            let _ = (app_facts(&bytes, "+0000"), processes(&bytes, "a.b"));
        }
    }
}
