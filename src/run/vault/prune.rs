//! `vault prune`: free what is no longer to be kept.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::{Session, open};
use crate::cli::Age;
use crate::error::Result;
use crate::exit::Exit;
use crate::fsys::printable;
use crate::place::LocalPlace;
use crate::repair::{self, Retention};
use crate::report::{count, size};
use crate::vault::StateDir;

pub(super) fn prune(
    session: &Session,
    state: StateDir,
    keep_last: Option<usize>,
    older_than: Option<Age>,
    max_bytes: Option<u64>,
    dry_run: bool,
) -> Result<Exit> {
    let rules = Retention {
        keep_last,
        older_than: older_than.map(|age| Duration::from_nanos(u64::try_from(age.0).unwrap_or(u64::MAX))),
        max_bytes,
        dry_run,
    };
    let state = open::lock(session, state, &LocalPlace::by_records().trusting(session.global.not_in_use))?;
    let done = repair::prune(&state, &rules)?;
    let verb = if dry_run { "would be freed" } else { "freed" };
    let mut out = format!("{} in {} {verb}\n", size(done.bytes), count(done.runs.len() as u64, "run"));
    for kept in &done.kept {
        let _ = writeln!(out, "kept: {}", printable(kept));
    }
    for note in &done.notes {
        let _ = writeln!(out, "note: {}", printable(note));
    }
    session.console.print(&out)?;
    Ok(Exit::Ok)
}
