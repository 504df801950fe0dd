//! Browsers in which Seller Center is used: what in their profiles stands in
//! the shop's way. Only what covers the shop's hosts is kept: the rest of such
//! lists tells where a person was.

use std::io::{self, Read as _};

use super::{chromium, firefox};
use crate::fsys::{Dir, RelPath};
use crate::model::Platform;
use crate::scan::{Scan, ScannedTarget};
use crate::triage::markets::Markets;

/// What a browser may do with something on the shop's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Setting {
    #[default]
    Allowed,
    /// Of every page.
    Blocked,
    /// Of the shop's pages.
    BlockedForShop,
}

/// An extension that may block requests of the shop's pages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extension(pub String);

/// One browser.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Browser {
    /// Its name: `Chromium`.
    pub name: String,
    pub version: Option<String>,
    /// When that version last ran, in nanoseconds since 1970.
    pub ran_ns: Option<i128>,
    /// Profiles that were looked at.
    pub profiles: u32,
    pub cookies: Setting,
    pub javascript: Setting,
    pub images: Setting,
    /// The resolver that blocks by choice, if it is set to use such a one.
    pub dns_filter: Option<String>,
    pub third_party_cookies_blocked: bool,
    pub proxy: bool,
    pub blockers: Vec<Extension>,
    /// Whether it did not end in an orderly way, and does not run now.
    pub crashed: bool,
    /// Files that could not be read.
    pub unread: u32,
}

/// Maximum size of a browser file.
const MAX_FILE: u64 = 32 << 20;
/// Maximum number of profiles checked per browser.
pub(super) const MAX_PROFILES: usize = 16;

pub(super) fn look(scan: &Scan) -> Vec<Browser> {
    let computers = scan.targets.iter().filter(|t| t.target.platform != Platform::Android);
    computers.filter_map(one).collect()
}

fn one(scanned: &ScannedTarget) -> Option<Browser> {
    let target = &scanned.target;
    let roots = target.roots.iter().filter(|r| r.id.split(['~', '@']).next() == Some("data"));
    let running = !scanned.running.is_empty();
    let mut out: Option<Browser> = None;
    for dir in roots.filter_map(|root| root.open().ok()) {
        let found = chromium::look(&dir, running).or_else(|| firefox::look(&dir));
        match (&mut out, found) {
            (None, found) => out = found,
            (Some(out), Some(found)) => out.add(found),
            (Some(_), None) => {}
        }
    }
    out.map(|browser| Browser { name: target.app.name.clone(), ..browser })
}

impl Browser {
    /// Adds what another folder, or another profile, of the same browser shows.
    pub(super) fn add(&mut self, other: Self) {
        let worse = |a: Setting, b: Setting| if a == Setting::Allowed { b } else { a };
        self.cookies = worse(self.cookies, other.cookies);
        self.javascript = worse(self.javascript, other.javascript);
        self.images = worse(self.images, other.images);
        self.dns_filter = self.dns_filter.take().or(other.dns_filter);
        self.profiles += other.profiles;
        self.third_party_cookies_blocked |= other.third_party_cookies_blocked;
        self.proxy |= other.proxy;
        self.crashed |= other.crashed;
        self.unread += other.unread;
        self.blockers.extend(other.blockers);
        self.blockers.sort();
        self.blockers.dedup();
        self.version = self.version.take().or(other.version);
        self.ran_ns = self.ran_ns.max(other.ran_ns);
    }
}

/// A file below a folder, cut at a size; `None` if it does not exist.
pub(super) fn read(dir: &Dir, path: &str) -> Option<io::Result<Vec<u8>>> {
    let rel = RelPath::new(path).ok()?;
    let whole = || -> io::Result<Vec<u8>> {
        let mut out: Vec<u8> = Vec::new();
        dir.open_file(&rel)?.take(MAX_FILE).read_to_end(&mut out)?;
        Ok(out)
    };
    match whole() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        read => Some(read),
    }
}

/// Whether a pattern of a host, an origin or an address covers one of the
/// shop's hosts: `[*.]tiktok.com,*`, `https://seller-us.tiktok.com:443,*`,
/// `*://*.tiktok.com/*`.
pub(super) fn covers_shop(pattern: &str) -> bool {
    let first = pattern.split(',').next().unwrap_or_default().trim();
    let host = first.split_once("://").map_or(first, |(_, rest)| rest);
    let host = host.trim_start_matches("[*.]").trim_start_matches("*.").trim_start_matches('.');
    let host = host.split(['/', ':']).next().unwrap_or_default();
    Markets::known().suffix_of(host).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_the_shop_are_told_from_others() {
        for ours in
            ["[*.]tiktok.com,*", "https://seller-us.tiktok.com:443,*", "*://*.tiktok.com/*", ".tiktokcdn.com"]
        {
            assert!(covers_shop(ours), "{ours}");
        }
        for other in ["*", "", "https://example.com,*", "[*.]nottiktok.com,*", "com"] {
            assert!(!covers_shop(other), "{other}");
        }
    }
}
