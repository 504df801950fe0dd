//! The hosts file: which of its lines send the shop's hosts elsewhere.

use std::net::IpAddr;

use crate::triage::markets::Markets;

/// A line that is about one of the shop's hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1.
    pub line: usize,
    /// The shop's name below which the host lies: `tiktok.com`.
    pub suffix: String,
    /// Whether it leads nowhere; else it leads to another address.
    pub blocked: bool,
}

/// Maximum number of lines read; blocklists have hundreds of thousands.
const MAX_LINES: usize = 1_000_000;
/// Maximum number of entries kept.
const MAX_ENTRIES: usize = 10_000;

/// The lines that are about the shop's hosts.
#[must_use]
pub fn hosts(text: &[u8]) -> Vec<Entry> {
    let known = Markets::known();
    let mut out = Vec::new();
    for (n, line) in text.split(|&b| b == b'\n').take(MAX_LINES).enumerate() {
        let line = String::from_utf8_lossy(line);
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        // One entry per line, however many names it lists.
        if let Some(suffix) = words.find_map(|host| known.suffix_of(host)) {
            let blocked = address.is_loopback() || address.is_unspecified();
            out.push(Entry { line: n + 1, suffix: suffix.to_owned(), blocked });
        }
        if out.len() >= MAX_ENTRIES {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_labels_and_several_names_a_line_are_read() {
        let text = b"# 0.0.0.0 www.tiktok.com\r\n127.0.0.1 localhost\r\n0.0.0.0 ads.example www.TikTok.com # x\r\n\
            ::1 nottiktok.com\n10.1.2.3 seller-us.tiktok.com\n:: p16.tiktokcdn.com\n0.0.0.0 analytics.tiktok.com\nx y\n";
        let found = hosts(text);
        let of: Vec<_> = found.iter().map(|e| (e.line, e.suffix.as_str(), e.blocked)).collect();
        assert_eq!(of, [(3, "tiktok.com", true), (5, "tiktok.com", false), (6, "tiktokcdn.com", true)]);
    }
}
