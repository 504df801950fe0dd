//! The raw answers of a phone, and whether one is of the form that it should
//! have.

use std::collections::{BTreeMap, BTreeSet};

use super::probes::probes;
use crate::place::adb::{Output, ascii_digits};
use crate::triage::evidence::{Seen, Unseen};

/// Maximum number of lines read from an answer.
pub(super) const MAX_LINES: usize = 40_000;
/// Codes of `timeout` and of signals that end a command that hangs.
const ENDED: [u8; 3] = [124, 137, 143];

/// What a phone answered, by the name of the probe.
#[derive(Debug, Clone, Default)]
pub struct Answers(BTreeMap<String, Output>);

impl Answers {
    /// Takes what was answered.
    #[must_use]
    pub fn new(all: BTreeMap<String, Output>) -> Self {
        Self(all)
    }

    /// The text of an answer that has one of these headings. A service that
    /// refuses says so on standard output and ends with 0, so nothing else than
    /// the heading tells an answer from a refusal.
    pub(super) fn text(&self, name: &str, headings: &[&str]) -> Seen<String> {
        let said = self.0.get(name).ok_or(Unseen::NotAsked)?;
        let most = probes().iter().find(|p| name.split(' ').next() == Some(p.name)).map_or(0, |p| p.most);
        let text = String::from_utf8_lossy(said.stdout.get(..most).unwrap_or(&said.stdout));
        if headings.iter().any(|h| text.contains(h)) {
            return Ok(ascii_digits(&text));
        }
        let complaint = String::from_utf8_lossy(&said.ran.stderr);
        let says = |words: &[&str]| words.iter().any(|w| text.contains(w) || complaint.contains(w));
        Err(if says(&["Permission Denial", "SecurityException", "not allowed", "ermission denied"]) {
            Unseen::Refused
        } else if says(&["DUMP TIMEOUT"]) || ENDED.contains(&said.ran.code) {
            Unseen::TimedOut
        } else if says(&[
            "find service",
            "Bad activity command",
            "Unknown command",
            "not found",
            "inaccessible",
        ]) {
            Unseen::Absent
        } else {
            Unseen::Unknown
        })
    }

    /// The probes whose answers are as long as they may be.
    pub(super) fn cut(&self) -> BTreeSet<&'static str> {
        let is_cut = |name: &str| {
            self.0.iter().any(|(n, said)| {
                let of = n.split(' ').next() == Some(name);
                of && probes().iter().any(|p| p.name == name && said.stdout.len() >= p.most)
            })
        };
        probes().iter().map(|p| p.name).filter(|name| is_cut(name)).collect()
    }
}

/// The value behind `key=` in a line of such tokens, up to the next blank.
pub(super) fn token<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut from = 0;
    while let Some(at) = line.get(from..)?.find(key).map(|n| n + from) {
        let begins = line.get(..at).is_some_and(|b| b.is_empty() || b.ends_with([' ', '\t', '{', '(', ',']));
        let rest = line.get(at + key.len()..)?;
        if begins && let Some(value) = rest.strip_prefix('=') {
            return value.split([' ', ',', '\t', '}', ')']).next();
        }
        from = at + key.len();
    }
    None
}

/// A time of the phone's own calendar, `2026-01-05 09:41:07.120`, in
/// nanoseconds since 1970.
pub(super) fn time(text: &str, zone: &str) -> Option<i128> {
    let zone = if zone.is_empty() { "+0000" } else { zone };
    crate::place::adb::time(format!("{} {zone}", text.trim()).as_bytes())
}
