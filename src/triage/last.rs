//! What the triage before this one said of the same place, so that a person who
//! acted sees what changed. Codes and a time are kept, nothing else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::result::Triage;

/// What pointed at a cause, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// Nanoseconds since 1970.
    pub at_ns: i128,
    /// Codes of what was found, and of hints.
    pub codes: BTreeSet<String>,
    /// Codes of what was not looked at: what was seen then and is not now is not gone.
    pub unseen: BTreeSet<String>,
}

/// What changed since then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When the triage before was, in RFC 3339.
    pub since: String,
    /// What pointed at a cause then and does not now.
    pub gone: Vec<String>,
    /// What points at one now and did not then.
    pub new: Vec<String>,
    /// What is as it was.
    pub still: Vec<String>,
}

/// Its name in the records of a place.
const FILE: &str = "triage.json";
/// Maximum size of the file.
const MAX_BYTES: u64 = 64 << 10;

impl Last {
    /// What a triage said.
    #[must_use]
    pub fn of(triage: &Triage, now_ns: i128) -> Self {
        let codes = |answer| triage.with(answer).map(|s| s.code.to_owned());
        Self {
            at_ns: now_ns,
            codes: codes(Answer::Found).chain(codes(Answer::Hint)).collect(),
            unseen: codes(Answer::NotLookedAt).collect(),
        }
    }

    /// Reads what was kept in a folder of records; none when there is nothing,
    /// or nothing that can be read: it is no more than a convenience.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let mut text = Vec::new();
        File::open(folder.join(FILE)).ok()?.take(MAX_BYTES).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes it atomically.
    ///
    /// # Errors
    /// The system's.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(&serde_json::to_vec(self)?)?;
        new.persist(folder.join(FILE))?;
        Ok(())
    }

    /// What changed from this to `now`.
    #[must_use]
    pub fn change(&self, now: &Self) -> Change {
        let at = jiff::Timestamp::from_nanosecond(self.at_ns);
        let list = |all: Vec<&String>| all.into_iter().cloned().collect();
        // Codes share a prefix with the check that produces them: `data.failing`, `data.reports`.
        let unseen = |code: &&String| {
            let family = code.split('.').next().unwrap_or_default();
            now.unseen.difference(&self.unseen).any(|u| u.split('.').next() == Some(family))
        };
        Change {
            since: at.map(|t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default(),
            gone: list(self.codes.difference(&now.codes).filter(|c| !unseen(c)).collect()),
            new: list(now.codes.difference(&self.codes).collect()),
            still: list(self.codes.intersection(&now.codes).collect()),
        }
    }
}

impl Change {
    /// A sentence for the user; `None` if nothing changed and nothing was found.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let part = |word: &str, codes: &[String]| {
            (!codes.is_empty()).then(|| format!("{word}: {}", codes.join(", ")))
        };
        let parts: Vec<String> =
            [part("gone", &self.gone), part("new", &self.new), part("still there", &self.still)]
                .into_iter()
                .flatten()
                .collect();
        let day = self.since.get(..16)?.replace('T', " ");
        (!parts.is_empty()).then(|| format!("Since {day} UTC: {}", parts.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(codes: &[&str], unseen: &[&str]) -> Last {
        let set = |all: &[&str]| all.iter().map(|c| (*c).to_owned()).collect();
        Last { at_ns: 1_790_000_000_000_000_000, codes: set(codes), unseen: set(unseen) }
    }

    #[test]
    fn what_changed_is_told_and_what_is_not_seen_is_not_gone() {
        let before = last(&["network.vpn", "data.failing", "app.old"], &["outage.reach"]);
        let now = last(&["app.old", "network.proxy"], &["outage.reach", "data.reports"]);
        let change = before.change(&now);
        assert_eq!(
            (change.gone, change.new, change.still),
            (vec!["network.vpn".into()], vec!["network.proxy".into()], vec!["app.old".into()])
        );
        assert_eq!(last(&[], &[]).change(&last(&[], &[])).sentence(), None);
        assert_eq!(
            before.change(&last(&["data.failing", "app.old"], &["outage.reach"])).sentence().as_deref(),
            Some("Since 2026-09-21 14:13 UTC: gone: network.vpn; still there: app.old, data.failing")
        );
    }

    #[test]
    fn what_is_kept_is_read_back_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Last::read(folder.path()), None);
        let kept = last(&["a.b"], &["c"]);
        kept.keep(folder.path()).unwrap();
        kept.keep(folder.path()).unwrap();
        assert_eq!(Last::read(folder.path()), Some(kept));
        std::fs::write(folder.path().join(FILE), b"\xff{").unwrap();
        assert_eq!(Last::read(folder.path()), None);
    }
}
