//! `dumpsys dropbox --print TAG`: the reports of crashes that the system keeps
//! for three days, of every app. Of ours the time, the kind and SQLite's own
//! words are kept, of others nothing.

use super::said::{Answers, MAX_LINES, time};
use super::sqlite::{Harm, harm_of};
use crate::triage::evidence::{Seen, Unseen};

/// The reports about an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drops {
    /// When it crashed, in nanoseconds since 1970.
    pub crashes: Vec<i128>,
    /// How often it did not respond.
    pub hangs: u32,
    /// Crashes that SQLite puts down to a damaged database.
    pub corrupt: u32,
    pub full: u32,
    pub io: u32,
}

/// Where reports are: the probe, and whether they are about an app that hangs.
const TAGS: [(&str, bool); 6] = [
    ("drop-data-crash", false),
    ("drop-data-anr", true),
    ("drop-data-native", false),
    ("drop-system-crash", false),
    ("drop-system-anr", true),
    ("drop-system-native", false),
];
const HEADINGS: &[&str] =
    &["Drop box contents:", "(No entries found.)", "========================================"];
/// Maximum number of entries; Android keeps at most 1,000.
const MAX_CRASHES: usize = 1000;

pub(super) fn read(answers: &Answers, app: &str, zone: &str) -> Seen<Drops> {
    let mut out = Drops::default();
    let mut seen = Err(Unseen::NotAsked);
    for (name, hang) in TAGS {
        match answers.text(name, HEADINGS) {
            Ok(text) => {
                seen = Ok(());
                one(&text, app, zone, hang, &mut out);
            }
            Err(why) => seen = seen.or(Err(why)),
        }
    }
    seen.map(|()| out)
}

fn one(text: &str, app: &str, zone: &str, hang: bool, out: &mut Drops) {
    let mut at = None;
    let mut ours = false;
    let mut head = false;
    let mut lines = text.lines().take(MAX_LINES).peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("====================") {
            // `2026-01-05 09:41:07 data_app_crash (compressed text, 1204 bytes)`
            let words: Vec<&str> = lines.peek().unwrap_or(&"").split_whitespace().take(2).collect();
            at = time(&words.join(" "), zone);
            (ours, head) = (false, true);
        } else if head && line.trim().is_empty() {
            head = false;
        } else if head && let Some(package) = line.strip_prefix("Package: ") {
            ours = package.split_whitespace().next() == Some(app);
            if ours && hang {
                out.hangs += 1;
            } else if ours && out.crashes.len() < MAX_CRASHES {
                out.crashes.extend(at);
            }
        } else if ours && !head && !line.starts_with(['\t', ' ']) {
            match harm_of(line) {
                Some(Harm::Corrupt) => out.corrupt += 1,
                Some(Harm::Full) => out.full += 1,
                Some(Harm::Io) => out.io += 1,
                None => {}
            }
        }
    }
}
