//! What a device says of itself and of its apps.

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
}

impl AppFacts {
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
        let time = || listing::time(format!("{value} {zone}").as_bytes());
        match key {
            "versionName" if out.version.is_none() => out.version = Some(printable(value)),
            "firstInstallTime" if out.installed_ns.is_none() => out.installed_ns = time(),
            "lastUpdateTime" if out.updated_ns.is_none() => out.updated_ns = time(),
            "flags" | "pkgFlags" if value.contains(" DEBUGGABLE ") => out.debuggable = true,
            _ => {}
        }
    }
    out
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
