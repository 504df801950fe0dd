//! What the person, or the system, allows the app in the background.

use super::said::Answers;
use crate::triage::evidence::{Seen, Unseen};

/// What the app may do in the background.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Background {
    /// Whether it was restricted by the person.
    pub restricted: bool,
}

const OP: &str = "RUN_ANY_IN_BACKGROUND:";

pub(super) fn read(answers: &Answers, app: &str) -> Seen<Background> {
    let text = answers.text(&format!("background {app}"), &[OP, "No operations."])?;
    // A line may begin with `Uid mode: `.
    let modes = text.lines().filter_map(|l| l.split_once(OP)).map(|(_, mode)| mode.trim());
    let restricts = |mode: &str| ["ignore", "deny"].iter().any(|m| mode.split([';', ' ']).next() == Some(m));
    Ok(Background { restricted: modes.into_iter().any(restricts) })
}

/// `am get-standby-bucket` prints a number alone.
pub(super) fn bucket(answers: &Answers, app: &str) -> Seen<u32> {
    let text = answers.text(&format!("bucket {app}"), &["0", "5"])?;
    let number = text.trim().parse().ok().filter(|n| [5, 10, 20, 30, 40, 45, 50].contains(n));
    number.ok_or(Unseen::Unknown)
}

/// `cmd netpolicy get restrict-background`.
pub(super) fn data_saver(answers: &Answers) -> Seen<bool> {
    let text = answers.text("netpolicy", &["Restrict background status:"])?;
    Ok(text.split_once("status:").is_some_and(|(_, s)| s.trim().starts_with("enabled")))
}
