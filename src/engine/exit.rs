//! Exit codes from what is left, never from what was done.

use serde::Serialize;

use super::{EndState, Inspection, Outcome};
use crate::exit::Exit;
use crate::model::Verdict;
use crate::repair;
use crate::scan::Scan;

/// What work on stores could not bring back, in rows, records or entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Known to be gone.
    pub lost: u64,
    /// Brought back, and maybe wrong or incomplete.
    pub doubtful: u64,
    /// Stores that lost something else than what is counted: a version, an
    /// index, a part of the schema.
    pub incomplete: u64,
}

impl Losses {
    /// What the rebuilds of a run lost.
    #[must_use]
    pub fn of(done: &repair::Outcome) -> Self {
        let rebuilt = done.actions.iter().filter(|a| a.done == repair::Done::Done);
        let rebuilt = rebuilt.filter_map(|a| a.rebuilt.as_ref());
        rebuilt.fold(Self::default(), |sum, r| Self {
            lost: sum.lost.saturating_add(r.lost),
            doubtful: sum.doubtful.saturating_add(r.doubtful),
            incomplete: sum.incomplete + u64::from(r.incomplete),
        })
    }

    /// Whether there are any.
    #[must_use]
    pub fn any(self) -> bool {
        self.lost > 0 || self.doubtful > 0 || self.incomplete > 0
    }
}

/// The exit code of a scan: 1 for findings, 2 when only something was not
/// looked at or could not be judged.
#[must_use]
pub fn of_scan(scan: &Scan) -> Exit {
    let verdicts = scan.stores().map(|(_, s)| s.verdict);
    let worst = verdicts.map(of_verdict).fold(Exit::Ok, Exit::worst);
    let covered = scan.coverage().next().is_none();
    if covered { worst } else { worst.worst(Exit::Incomplete) }
}

/// The exit code that one store gives a command that only looks.
#[must_use]
fn of_verdict(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Healthy => Exit::Ok,
        Verdict::Unknown | Verdict::Unreadable => Exit::Incomplete,
        Verdict::Stale | Verdict::Damaged => Exit::Findings,
    }
}

/// The exit code of a backup: a copy of a damaged store is a copy of the
/// damage. A stale cache is no fault of a copy.
#[must_use]
pub fn of_backup(found: &Inspection, outcome: &Outcome) -> Exit {
    let verdicts = found.scan.stores().map(|(_, s)| s.verdict).filter(|v| *v != Verdict::Stale);
    let mut exit = verdicts.map(of_verdict).fold(Exit::Ok, Exit::worst);
    if found.scan.coverage().next().is_some() {
        exit = exit.worst(Exit::Incomplete);
    }
    exit = exit.worst(outcome.done.as_ref().map_or(Exit::Ok, repair::Outcome::exit));
    if outcome.lost.is_some() { exit.worst(Exit::Device) } else { exit }
}

/// The exit code of a repair, an undo or a restore.
///
/// `skipped` tells whether something was left out of the plan, not by choice;
/// `lost` whether the device went away meanwhile.
#[must_use]
pub fn of_end(
    done: Option<&repair::Outcome>,
    skipped: bool,
    after: &EndState,
    losses: Losses,
    lost: bool,
) -> Exit {
    let left = |verdict| matches!(verdict, Verdict::Damaged | Verdict::Unreadable);
    let mut exit = done.map_or(Exit::Ok, repair::Outcome::exit);
    if skipped || losses.any() || after.stores.iter().any(|s| left(s.verdict)) {
        exit = exit.worst(Exit::Left);
    }
    if !after.not_checked.is_empty() || after.stores.iter().any(|s| s.verdict == Verdict::Unknown) {
        exit = exit.worst(Exit::Incomplete);
    }
    match exit {
        // Something has to be put in order: that is worse than a lost cable.
        Exit::Failed | Exit::Interrupted => exit,
        _ if lost => Exit::Device,
        _ => exit,
    }
}
