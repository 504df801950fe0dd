//! What a device says of itself and of its apps.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::listing;
use crate::fsys::printable;

/// Prints what [`Facts::parse`] reads.
pub(crate) const SCRIPT: &[u8] = b"for p in ro.serialno ro.product.model ro.build.version.release \
ro.build.version.sdk; do echo \"$p=$(getprop $p)\"; done; echo \"zone=$(date +%z)\"; echo \"uid=$(id -u)\"; \
command -v su >/dev/null 2>&1 && echo su=yes; \
s=$(cd -P /sdcard/Android/data 2>/dev/null && pwd -P) && echo \"shared=$s\"; \
pm list users 2>/dev/null | while read -r l; do case $l in UserInfo*) echo \"user=$l\";; esac; done; \
pm list packages --user 0 2>/dev/null; exit 0";

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
    #[serde(skip)]
    pub(crate) packages: BTreeSet<String>,
}

impl Facts {
    /// Reads what the device printed, whatever it is.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut out = Self::default();
        for line in String::from_utf8_lossy(text).lines().take(20_000) {
            if let Some(package) = line.strip_prefix("package:") {
                if is_package(package) {
                    out.packages.insert(package.to_owned());
                }
                continue;
            }
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
                // `UserInfo{10:Work profile:1030} running`
                "user" => {
                    let name = value.strip_prefix("UserInfo{").and_then(|v| v.split('}').next());
                    out.other_users.extend(name.filter(|n| !n.starts_with("0:")).map(str::to_owned));
                }
                _ => {}
            }
        }
        out
    }
}

/// A serial number as the name of a folder and of a place: other characters
/// than letters, digits, `-` and `_` become `_`.
pub(crate) fn plain(serial: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    serial.chars().take(64).map(keep).collect()
}

fn is_package(name: &str) -> bool {
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

/// What stands before the facts of each package.
pub(crate) const ABOUT: &str = "== about";

/// Cuts what several packages' facts were printed into, at [`ABOUT`].
pub(crate) fn by_package(text: &[u8]) -> BTreeMap<String, &[u8]> {
    let mut out = BTreeMap::new();
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, ABOUT.as_bytes()) {
        let after = rest.get(at + ABOUT.len()..).unwrap_or_default();
        let line = after.iter().position(|&b| b == b'\n').unwrap_or(after.len());
        let (name, body) = after.split_at_checked(line).unwrap_or((after, &[]));
        let end = memchr::memmem::find(body, ABOUT.as_bytes()).unwrap_or(body.len());
        let (body, next) = body.split_at_checked(end).unwrap_or((body, &[]));
        out.insert(String::from_utf8_lossy(name).trim().to_owned(), body);
        rest = next;
    }
    out
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
        let text = b"ro.serialno=R58/../N\nro.product.model=SM-A515F\nro.build.version.sdk=33\nzone=+0700\nuid=2000\n\
            user=UserInfo{0:Owner:c13} running\nuser=UserInfo{10:Work profile:1030}\npackage:com.zhiliaoapp.musically\npackage:../x\nsu=yes\n";
        let facts = Facts::parse(text);
        assert_eq!((facts.serial.as_str(), facts.sdk, facts.has_su), ("R58____N", 33, true));
        assert_eq!(facts.other_users, ["10:Work profile:1030"]);
        assert_eq!(facts.packages.len(), 1);
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
    fn the_facts_of_several_packages_are_kept_apart() {
        let text = b"noise\n== about a.b\nversionName=1\n== about c.d\nversionName=2\n";
        let about = by_package(text);
        assert_eq!(about.len(), 2);
        assert_eq!(app_facts(about["c.d"], "+0000").version.as_deref(), Some("2"));
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
            let _ = by_package(&[ABOUT.as_bytes(), &bytes].concat());
            let _ = (app_facts(&bytes, "+0000"), processes(&bytes, "a.b"));
        }
    }
}
