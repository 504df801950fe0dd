//! `vault export`: the copies of a run as plain files.

use std::path::Path;

use super::super::{Session, undo::run_id};
use crate::error::Result;
use crate::exit::Exit;
use crate::vault::{StateDir, export as write_copies};

pub(super) fn export(session: &Session, state: &StateDir, run: &str, dir: &Path) -> Result<Exit> {
    let run = run_id(run)?;
    crate::output::folder(dir, &[])?;
    let done = write_copies(state, &run, dir, &session.control)?;
    super::written(session, &done, dir)
}
