//! `vault verify`: read every copy and compare it with its hash.

use std::fmt::Write as _;

use super::super::Session;
use crate::error::Result;
use crate::exit::Exit;
use crate::fsys::printable;
use crate::report::{count, size};
use crate::vault::{self, StateDir};

pub(super) fn verify(session: &Session, state: &StateDir) -> Result<Exit> {
    let found = vault::verify(state, &session.control)?;
    session.quiet_bars();
    let mut out = format!(
        "{} in {} verified, {} set aside as they were\n",
        count(found.objects, "copy"),
        size(found.bytes),
        count(found.held_files, "file")
    );
    if found.unneeded > 0 {
        let _ = writeln!(
            out,
            "{} no longer needed; `shopmend vault prune` deletes them",
            count(found.unneeded, "copy")
        );
    }
    for problem in &found.problems {
        let _ = writeln!(out, "PROBLEM: {}: {}", problem.path, printable(&problem.what));
    }
    session.console.print(&out)?;
    Ok(if found.problems.is_empty() { Exit::Ok } else { Exit::Findings })
}
