//! `dumpsys activity exit-info APP` (Android 11 and newer): how the app's
//! processes ended. Android 11 prints one field a line, newer ones several:
//! what counts is the fields, wherever they stand.

use super::said::{Answers, MAX_LINES, time, token};
use crate::triage::evidence::Seen;

/// One end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Nanoseconds since 1970.
    pub at_ns: Option<i128>,
    /// Android's number for it; the names differ between versions.
    pub reason: u32,
    /// Whether it was the app itself and not a part of it.
    pub main: bool,
}

impl Exit {
    /// It crashed, in Java or in native code, or did not come up.
    #[must_use]
    pub fn is_crash(&self) -> bool {
        matches!(self.reason, 4 | 5 | 7)
    }

    /// It did not respond.
    #[must_use]
    pub fn is_hang(&self) -> bool {
        self.reason == 6
    }

    /// The phone needed its memory.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        self.reason == 3
    }
}

/// How an app's processes ended, the newest sixteen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exits(pub Vec<Exit>);

/// Maximum number of records; Android keeps 16 per app.
const MAX_EXITS: usize = 64;

pub(super) fn read(answers: &Answers, app: &str, zone: &str) -> Seen<Exits> {
    let text = answers.text(&format!("exits {app}"), &["ACTIVITY MANAGER PROCESS EXIT INFO"])?;
    let mut out = Vec::new();
    let mut ours = false;
    let mut open: Option<Partial> = None;
    for line in text.lines().take(MAX_LINES) {
        let line = line.trim();
        if let Some(package) = line.strip_prefix("package:") {
            out.extend(open.take().and_then(|p| p.done(app)));
            ours = package.trim() == app;
        } else if line.starts_with("ApplicationExitInfo #") {
            out.extend(open.take().and_then(|p| p.done(app)));
            open = ours.then(Partial::default);
        } else if let Some(partial) = &mut open {
            partial.take(line, zone);
        }
        if out.len() >= MAX_EXITS {
            break;
        }
    }
    out.extend(open.and_then(|p| p.done(app)));
    Ok(Exits(out))
}

#[derive(Default)]
struct Partial {
    at_ns: Option<i128>,
    reason: Option<u32>,
    process: Option<String>,
}

impl Partial {
    fn take(&mut self, line: &str, zone: &str) {
        if let Some((_, rest)) = line.split_once("timestamp=") {
            let words: Vec<&str> = rest.split_whitespace().take(2).collect();
            self.at_ns = self.at_ns.or_else(|| time(&words.join(" "), zone));
        }
        // `description=` is free text and can contain anything.
        let line = line.split("description=").next().unwrap_or_default();
        self.reason = self.reason.or_else(|| token(line, "reason")?.parse().ok());
        self.process = self.process.take().or_else(|| token(line, "process").map(str::to_owned));
    }

    fn done(self, app: &str) -> Option<Exit> {
        Some(Exit { at_ns: self.at_ns, reason: self.reason?, main: self.process.as_deref() == Some(app) })
    }
}
